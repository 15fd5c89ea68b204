"""The reader of 3DPW's layout, for 3DPW itself and for every dataset written the same way."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from hpsbench.datasets.base import Dataset, Entry, FrameCounts
from hpsbench.datasets.base_3dpw_files import (
    SequenceArrays,
    find_sequence_folder,
    fingerprint_of,
    folder_of,
    images_against,
    load_sequence,
    names_against,
    number_against,
    sequence_files,
)
from hpsbench.errors import DataError
from hpsbench.geometry import project, rotmat_to_rotvec, rotvec_to_rotmat
from hpsbench.image import image_size, read_image
from hpsbench.types import Sample, Truth, View

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies


@dataclass(frozen=True)
class CameraSequence:
    """One sequence in the camera frame, P people and N images of ``size`` (width, height) px.

    ``rotvecs`` (P, N, 24, 3), ``trans`` (P, N, 3) m or None where no body was given, ``joints`` (P, N, 24, 3) m, ``joints2d`` (P, N, 24, 2)
    px (NaN behind the camera), ``boxes_xyxy`` (P, N, 4) px (NaN: no box); ``keypoints``, ``betas``, ``genders``, ``camera_valid`` and
    ``intrinsics`` as in ``SequenceArrays``.
    """

    name: str
    split: str
    size: tuple[int, int]
    rotvecs: np.ndarray
    trans: np.ndarray | None
    joints: np.ndarray
    joints2d: np.ndarray
    boxes_xyxy: np.ndarray
    keypoints: np.ndarray
    betas: np.ndarray
    genders: tuple[str, ...]
    camera_valid: np.ndarray
    intrinsics: np.ndarray


def _camera_invalid(sequence: CameraSequence) -> np.ndarray:
    return ~sequence.camera_valid


def _no_keypoints(sequence: CameraSequence) -> np.ndarray:
    return (sequence.keypoints == 0).all((2, 3))


# A frame rule: the reasons for dropping a person from a frame, each with the mask (P, N) of whom it drops.
FRAME_RULES: dict[str, dict[str, Callable[[CameraSequence], np.ndarray]]] = {
    "all": {},
    "campose-valid": {"camera pose not valid": _camera_invalid},
    "campose-and-2d": {"camera pose not valid": _camera_invalid, "2D keypoints all zero": _no_keypoints},
}
# A box rule: why a person can have no box by it.
BOX_RULES = {"joints-in-image": "no joint inside the image", "keypoints": "no 2D keypoint"}
TOO_SMALL = "box under one pixel"


def boxes_of(points: np.ndarray, used: np.ndarray, scale: float) -> np.ndarray:
    """Tight boxes (..., 4) xyxy of those of ``points`` (..., J, 2) that are ``used`` (..., J) bool, NaN where none is.

    Both sides are made ``scale`` times as long about the centre.
    """
    low = np.where(used[..., None], points, np.inf).min(-2)
    high = np.where(used[..., None], points, -np.inf).max(-2)
    some = used.any(-1)[..., None]
    low, high = np.where(some, low, np.nan), np.where(some, high, np.nan)
    centre, half = (low + high) / 2, (high - low) / 2 * scale
    return np.concatenate([centre - half, centre + half], axis=-1)


def inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which ``points`` (..., 2) px lie in an image of ``size`` (width, height); False for NaN."""
    return (points >= 0).all(-1) & (points < np.array(size)).all(-1)


class ThreeDPWLayout(Dataset):
    """People of a folder in 3DPW's layout. A subclass gives ``name``, ``card`` and, if it has other ones, ``splits``.

    ``split`` is one of ``splits`` or "all". ``frames``: "all"; "campose-valid" (the SPIN list); "campose-and-2d" (the challenge's).
    ``bbox``: "joints-in-image", the tight box of the projected 24 joints inside the image; "keypoints", of poses2d with
    confidence above 0 (SPIN). A person without a box, or with one under a pixel, is dropped and counted. ``known``: (people, images)
    by split and sequence, and ``known_valid``: person-frames with a valid camera pose by split, where published.

    Every pickle of the split is read once, when the dataset is made; images are read by the views. Raises DataError for
    the files and UnknownNameError for the names. Source: 3DPW's readme; von Marcard et al. 2018.
    """

    splits = ("train", "validation", "test")
    frame_rules = tuple(FRAME_RULES)
    box_rules = tuple(BOX_RULES)
    known: ClassVar[Mapping[str, Mapping[str, tuple[int, int]]]] = {}
    known_valid: ClassVar[Mapping[str, int]] = {}

    def __init__(self, root: Path, *, split: str, frames: str, bbox: str, bbox_scale: float, bodies: "Bodies | None"):
        self.check_rules(split, frames, bbox, bbox_scale)
        self.root = Path(root)
        self.rules = (frames, bbox, bbox_scale)
        folder = find_sequence_folder(self.root, self.where())
        files = [path for part in self._parts(split) for path in sequence_files(folder, part, self.where())]
        self._image_root = folder_of(self.root, "imageFiles")
        self._sequences = [self._load(path, bodies) for path in files]
        self._places, counts = self._kept()
        super().__init__([self._entry(*place) for place in self._places], split=split, counts=counts, fingerprint=fingerprint_of(files))
        self._check_images()

    @classmethod
    def _parts(cls, split: str) -> tuple[str, ...]:
        return cls.splits if split == "all" else (split,)

    def _load(self, path: Path, bodies: "Bodies | None") -> CameraSequence:
        world = load_sequence(path)
        size = self._size_of(world)
        R, t = world.cam_poses[:, :3, :3], world.cam_poses[:, :3, 3]
        joints = np.einsum("nij,pnkj->pnki", R, world.joints) + t[:, None]
        joints2d = project(torch.from_numpy(joints), torch.from_numpy(world.intrinsics)).numpy()
        rotvecs = world.poses.copy()
        rotvecs[:, :, 0] = rotmat_to_rotvec(torch.from_numpy(R) @ rotvec_to_rotmat(torch.from_numpy(world.poses[:, :, 0]))).numpy()
        _, bbox, scale = self.rules
        if bbox == "keypoints":
            boxes = boxes_of(world.keypoints[..., :2], world.keypoints[..., 2] > 0, scale)
        else:
            boxes = boxes_of(joints2d, inside(joints2d, size), scale)
        return CameraSequence(
            name=world.name,
            split=path.parent.name,
            size=size,
            rotvecs=rotvecs,
            trans=_trans_cam(world, bodies),
            joints=joints,
            joints2d=joints2d,
            boxes_xyxy=boxes,
            keypoints=world.keypoints,
            betas=world.betas,
            genders=world.genders,
            camera_valid=world.camera_valid,
            intrinsics=world.intrinsics,
        )

    def _size_of(self, world: SequenceArrays) -> tuple[int, int]:
        """(width, height) px of the sequence's images: that of the first one, held against the principal point."""
        path = self._image_path(world.name, 0)
        width, height = image_size(path)
        cx, cy = world.intrinsics[:2, 2]
        if abs(2 * cx - width) > 0.1 * width or abs(2 * cy - height) > 0.1 * height:
            raise DataError(
                f"{path} is {width} x {height} px, but the camera of its sequence has its principal point at ({cx:.0f}, {cy:.0f}), "
                "expected within 10 % of the middle. Use the images as they were published, neither resized nor turned."
            )
        return width, height

    def _image_path(self, sequence: str, frame: int) -> Path:
        return self._image_root / sequence / f"image_{frame:05d}.jpg"

    def _kept(self) -> tuple[list[tuple[int, int, int]], FrameCounts]:
        """Places (sequence, frame, person) of the kept samples in order, and the counts."""
        frames, bbox, _ = self.rules
        dropped = dict.fromkeys((*FRAME_RULES[frames], BOX_RULES[bbox], TOO_SMALL), 0)
        places, total = [], 0
        for s, sequence in enumerate(self._sequences):
            boxes = sequence.boxes_xyxy
            masks = {reason: mask(sequence) for reason, mask in FRAME_RULES[frames].items()}
            masks[BOX_RULES[bbox]] = np.isnan(boxes[..., 0])
            masks[TOO_SMALL] = np.maximum(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]) < 1
            kept = np.ones(boxes.shape[:2], dtype=bool)
            total += kept.size
            for reason, mask in masks.items():
                dropped[reason] += int((kept & mask).sum())
                kept &= ~mask
            places += [(s, int(frame), int(person)) for frame, person in np.argwhere(kept.T)]
        return places, FrameCounts(total, len(places), dropped)

    def _entry(self, s: int, frame: int, person: int) -> Entry:
        sequence = self._sequences[s]
        stem = f"{self.name}/{sequence.split}/{sequence.name}"
        return Entry(f"{stem}/{frame:05d}/{person}", f"{stem}/{frame:05d}", f"{stem}/{person}", frame)

    def _check_images(self) -> None:
        """Raises DataError where a kept sample has no image file, before anything long has begun."""
        there = [set(os.listdir(self._image_root / sequence.name)) for sequence in self._sequences]
        wanted = dict.fromkeys(self._image_path(self._sequences[s].name, frame) for s, frame, _ in self._places)
        of = {sequence.name: names for sequence, names in zip(self._sequences, there, strict=True)}
        missing = [path for path in wanted if path.name not in of[path.parent.name]]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(wanted):,} images of {self.name}/{self.split} are missing, the first is {missing[0]}. "
                f"Unpack all of imageFiles. {self.where()}"
            )

    @classmethod
    def splits_in(cls, root: Path) -> tuple[str, ...]:
        """Those of ``splits`` that have a folder below ``root``. Raises DataError where ``root`` is no such dataset."""
        folder = find_sequence_folder(root, cls.where())
        return tuple(split for split in cls.splits if (folder / split).is_dir())

    @classmethod
    def inspect(cls, root: Path) -> list[tuple[str, str]]:
        """(level, message) on the sequences and images that lie below ``root``, against the published lists where there are any."""
        folder, images, there = find_sequence_folder(root, cls.where()), folder_of(root, "imageFiles"), cls.splits_in(root)
        lines = [("warning", f"{split}: no folder {folder / split}") for split in cls.splits if split not in there]
        for split in there:
            names = [path.stem for path in sequence_files(folder, split, cls.where())]
            known = cls.known.get(split, {})
            lines.append(names_against(split, names, known))
            lines += images_against(split, names, known, images)
        return lines

    def against_known(self) -> list[tuple[str, str]]:
        """(level, message): the person-frames read against the published numbers, where there are any."""
        parts = self._parts(self.split)
        if not all(part in self.known for part in parts):
            return []
        total = sum(people * images for part in parts for people, images in self.known[part].values())
        lines = [number_against(f"{self.split}: person-frames", self.counts.total, total)]
        if all(part in self.known_valid for part in parts):
            valid = sum(int(sequence.camera_valid.sum()) for sequence in self._sequences)
            lines.append(number_against(f"{self.split}: of them with a valid camera pose", valid, sum(map(self.known_valid.get, parts))))
        return lines

    def sample_at(self, i: int) -> Sample:
        """The ``i``-th sample: a few slices, the image unread."""
        entry, (s, frame, person) = self._entries[i], self._places[i]
        sequence = self._sequences[s]
        truth = Truth(
            joints=sequence.joints[person, frame],
            skeleton="smpl24",
            joints2d=sequence.joints2d[person, frame],
            valid=np.ones(24, dtype=bool),
            rotvecs=sequence.rotvecs[person, frame],
            betas=sequence.betas[person],
            trans=None if sequence.trans is None else sequence.trans[person, frame],
            gender=sequence.genders[person],
            keypoints2d=sequence.keypoints[person, frame],
            keypoints_skeleton="openpose18",
        )
        read = partial(_read_sized, self._image_path(sequence.name, frame), sequence.size)
        view = View(read, entry.image_key, sequence.boxes_xyxy[person, frame], sequence.intrinsics)
        return Sample(entry.id, view, truth, sequence.name, entry.track, frame, sequence.size)


def _trans_cam(world: SequenceArrays, bodies: "Bodies | None") -> np.ndarray | None:
    """SMPL's translation in the camera frame, R (trans + J0) + t - J0, with J0 the rest pelvis of the gendered body; (P, N, 3) m."""
    if bodies is None:
        return None
    J0 = np.array([_rest_pelvis(bodies, gender, betas) for gender, betas in zip(world.genders, world.betas, strict=True)])[:, None]
    R, t = world.cam_poses[:, :3, :3], world.cam_poses[:, :3, 3]
    return np.einsum("nij,pnj->pni", R, world.trans + J0) + t - J0


def _rest_pelvis(bodies: "Bodies", gender: str, betas: np.ndarray) -> np.ndarray:
    return bodies[gender].rest_joints(torch.from_numpy(betas)[None])[0, 0].double().cpu().numpy()


def _read_sized(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The image (H, W, 3). Raises DataError where it is missing, broken or not of its sequence's ``size``."""
    image = read_image(path)
    height, width = image.shape[:2]
    if (width, height) != size:
        raise DataError(
            f"{path} is {width} x {height} px, expected {size[0]} x {size[1]} as the first image of its sequence. Unpack it again."
        )
    return image
