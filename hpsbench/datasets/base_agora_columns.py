"""AGORA's samples as columns: the images of one scene from one camera are a sequence, and each row is one person in one of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from hpsbench.datasets.base import Entry
from hpsbench.datasets.base_agora import split_name
from hpsbench.datasets.base_agora_fits import CameraFits
from hpsbench.datasets.base_agora_tables import AgoraPeople
from hpsbench.datasets.base_columns import SampleColumns
from hpsbench.geometry import project
from hpsbench.image import read_sized
from hpsbench.skeleton import joint_names


@dataclass(frozen=True)
class Scene:
    """One image: its name without .png, its split, its people (None in the test split) and the boxes (P, 4) px of all P of them."""

    name: str
    split: str
    path: Path | None
    intrinsics: np.ndarray
    people: AgoraPeople | None
    boxes_xyxy: np.ndarray

    @property
    def sequence(self) -> str:
        return split_name(self.name)[0]


@dataclass(frozen=True)
class Images:
    """The images of one sequence by frame number, all of one ``size`` (width, height)."""

    paths: Mapping[int, Path | None]
    size: tuple[int, int]

    def read(self, frame: int, reduction: int = 1) -> np.ndarray:
        """(H, W, 3) RGB. Raises DataError where it is broken or not of its size."""
        return read_sized(self.paths[frame], self.size, ". Unpack the images of that size again.", reduction)


def columns_of(
    dataset: str,
    skeleton: str,
    size: tuple[int, int],
    scenes: Sequence[Scene],
    kept: Sequence[np.ndarray],
    fits: Callable[[Sequence[Scene]], CameraFits] | None,
) -> list[SampleColumns]:
    """The samples of ``scenes``, which are ordered by sequence and frame; ``kept`` (P,) bool tells of each who is one.

    ``fits`` gives the parameters of everybody in some scenes; None: the dataset's samples have none.
    """
    columns = []
    for sequence, group in groupby(range(len(scenes)), key=lambda s: scenes[s].sequence):
        places = list(group)
        some = [scenes[s] for s in places]
        masks = [kept[s] for s in places]
        truth = _no_truth(some, skeleton) if some[0].people is None else _truth(some, skeleton, fits)
        columns.append(
            SampleColumns(
                entries=[entry for scene, mask in zip(some, masks, strict=True) for entry in _entries(dataset, scene, mask)],
                rows=np.flatnonzero(np.concatenate(masks)),
                sequence=sequence,
                image_size=size,
                read=Images({split_name(scene.name)[1]: scene.path for scene in some}, size).read,
                reducible=True,
                boxes_xyxy=np.concatenate([scene.boxes_xyxy for scene in some]),
                intrinsics=[scene.intrinsics for scene in some for _ in scene.boxes_xyxy],
                skeleton=skeleton,
                **truth,
            )
        )
    return columns


def _entries(dataset: str, scene: Scene, kept: np.ndarray) -> list[Entry]:
    sequence, frame = split_name(scene.name)
    stem = f"{dataset}/{scene.split}/{sequence}/{frame:05d}"
    return [Entry(f"{stem}/{person}", stem, f"{stem}/{person}", frame) for person in np.flatnonzero(kept).tolist()]


def _no_truth(scenes: Sequence[Scene], skeleton: str) -> dict:
    count, joints = sum(len(scene.boxes_xyxy) for scene in scenes), len(joint_names(skeleton))
    return {
        "joints": np.full((count, joints, 3), np.nan),
        "joints2d": np.full((count, joints, 2), np.nan),
        "valid": np.zeros((count, joints), dtype=bool),
        "genders": ["neutral"] * count,
    }


def _truth(scenes: Sequence[Scene], skeleton: str, fits: Callable[[Sequence[Scene]], CameraFits] | None) -> dict:
    """What is annotated of everybody in ``scenes``. SMPL's fits are of the neutral body; samples without them have the person's gender."""
    people = [scene.people for scene in scenes]
    joints, keypoints = (np.concatenate([getattr(each, name) for each in people]) for name in ("joints", "joints2d"))
    K = torch.from_numpy(scenes[0].intrinsics)
    truth = {
        "joints": joints,
        "joints2d": project(torch.from_numpy(joints), K).numpy(),
        "valid": np.ones(joints.shape[:2], dtype=bool),
        "genders": [gender for each in people for gender in each.genders] if fits is None else ["neutral"] * len(joints),
        "keypoints2d": np.concatenate([keypoints, np.ones((*keypoints.shape[:2], 1))], axis=2),
        "keypoints_skeleton": skeleton,
    }
    return truth if fits is None else truth | vars(fits(scenes))
