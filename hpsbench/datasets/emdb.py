"""EMDB: people with electromagnetic sensors filmed by a moving phone, SMPL ground truth in the world."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from hpsbench.body.kinematics import forward_kinematics
from hpsbench.datasets.base import Entry, FrameCounts
from hpsbench.datasets.base_3dpw import TOO_SMALL, boxes_of, inside
from hpsbench.datasets.base_3dpw_files import fingerprint_of_hashes
from hpsbench.datasets.base_columns import ColumnDataset, SampleColumns
from hpsbench.datasets.base_emdb import World, load_world, sequence_files
from hpsbench.errors import DataError
from hpsbench.geometry import project, rotmat_to_rotvec, rotvec_to_rotmat
from hpsbench.image import image_size, read_sized
from hpsbench.skeleton import PARENTS
from hpsbench.types import Card

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

_FRAME_RULES = ("all", "good")
_BOX_RULES = {"joints-in-image": "no joint inside the image", "annotated": "no annotated box"}
_NOT_GOOD = "not a good frame"
_OTHERWISE = " as its camera says. Use the images as they were published."


@dataclass(frozen=True)
class _Seen:
    """A sequence in the camera frame: ``rotvecs`` (N, 24, 3), ``trans`` (N, 3) m or None, ``joints`` (N, 24, 3) m and ``joints2d``
    (N, 24, 2) px, ``valid`` (N, 24) bool, ``keypoints`` (N, 24, 3) with confidence 0 or 1, ``boxes`` (N, 4) px or NaN."""

    world: World
    rotvecs: np.ndarray
    trans: np.ndarray | None
    joints: np.ndarray
    joints2d: np.ndarray
    valid: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray


class Emdb(ColumnDataset):
    """EMDB as unpacked: P0 to P9 with a folder for each sequence, one person in each.

    ``split``: "emdb1" (body pose), "emdb2" (global trajectory) or "all"; a sequence can be in both, and an id holds "test" in all:
    "emdb/test/P0_<sequence>/00005/0". ``frames``: "all", or "good" (good_frames_mask). ``bbox``: "joints-in-image", the tight box of kp2d
    inside the image, or "annotated".

    The files hold SMPL parameters and 2D joints, no 3D ones: ``joints`` are those of the gendered one of ``bodies``, and the joints2d
    their projection. Without ``bodies`` the joints are NaN, not valid, and joints2d is kp2d. In frames that are not good no joint is valid.
    Source: Kaufmann et al. 2023, and the authors' repository.
    """

    name = "emdb"
    card = Card(
        name="emdb",
        what="EMDB: ten people with electromagnetic sensors filmed in and out of doors by a moving phone, SMPL ground truth",
        source="https://emdb.ait.ethz.ch (form, approval by e-mail)",
        licence="non-commercial research only, no redistribution, cite the paper",
        paper="Kaufmann et al., EMDB: The Electromagnetic Database of Global 3D Human Pose and Shape in the Wild, ICCV 2023",
    )
    splits = ("emdb1", "emdb2")
    frame_rules = _FRAME_RULES
    box_rules = tuple(_BOX_RULES)
    # Sequences as commonly quoted; no published list was found.
    known_sequences: ClassVar[dict[str, int]] = {"emdb1": 17, "emdb2": 25, "all": 81}

    def __init__(self, root: Path, *, split: str, frames: str, bbox: str, bbox_scale: float, bodies: "Bodies | None"):
        self.check_rules(split, frames, bbox, bbox_scale)
        self.root = Path(root)
        self.rules = (frames, bbox, bbox_scale)
        files = sequence_files(self.root, self.where())
        read = {path: load_world(path) for path in files}
        worlds = {path: world for path, world in read.items() if split in ("all", *world.subsets)}
        if not worlds:
            raise DataError(f"None of the {len(files)} sequences in {self.root} is in {split}. Get those of {split} too. {self.where()}")
        self._sequences = [self._seen(world, bodies) for world in worlds.values()]
        rows, counts = self._kept()
        self._check_images(split, rows)
        fingerprint = fingerprint_of_hashes({f"{path.parent.name}/{path.name}": world.sha256 for path, world in worlds.items()})
        columns = [self._columns_of(one, kept) for one, kept in zip(self._sequences, rows, strict=True)]
        super().__init__(columns, split=split, counts=counts, fingerprint=fingerprint)

    def _seen(self, world: World, bodies: "Bodies | None") -> _Seen:
        R, t = (torch.from_numpy(part) for part in (world.extrinsics[:, :3, :3], world.extrinsics[:, :3, 3]))
        rotmats = rotvec_to_rotmat(torch.from_numpy(world.poses))
        rotmats[:, 0] = R @ rotmats[:, 0]
        rotvecs = world.poses.copy()
        rotvecs[:, 0] = rotmat_to_rotvec(rotmats[:, 0]).numpy()
        trans, joints, joints2d = None, np.full((len(world.good), 24, 3), np.nan), world.keypoints
        if bodies is not None:
            rest = bodies[world.gender].rest_joints(torch.from_numpy(world.betas)[None])[0].double().cpu()
            moved = (R @ (torch.from_numpy(world.trans) + rest[0])[..., None])[..., 0] + t - rest[0]
            local, _ = forward_kinematics(rotmats, rest.expand(len(rotmats), 24, 3), PARENTS["smpl24"])
            trans, joints = moved.numpy(), (local + moved[:, None]).numpy()
            joints2d = project(torch.from_numpy(joints), torch.from_numpy(world.intrinsics)).numpy()
        _, bbox, scale = self.rules
        if bbox == "annotated":
            corners = world.boxes.reshape(-1, 2, 2)
            boxes = boxes_of(corners, np.isfinite(corners).all(-1), scale)
        else:
            boxes = boxes_of(world.keypoints, inside(world.keypoints, world.size), scale)
        good = np.repeat(world.good[:, None], 24, axis=1)
        return _Seen(
            world=world,
            rotvecs=rotvecs,
            trans=trans,
            joints=joints,
            joints2d=joints2d,
            valid=np.isfinite(joints).all(-1) & good,
            keypoints=np.concatenate([world.keypoints, good[..., None]], axis=-1),
            boxes=boxes,
        )

    def _kept(self) -> tuple[list[np.ndarray], FrameCounts]:
        """The frames of the kept samples of each sequence, in order, and the counts."""
        frames, bbox, _ = self.rules
        dropped = dict.fromkeys(([_NOT_GOOD] if frames == "good" else []) + [_BOX_RULES[bbox], TOO_SMALL], 0)
        rows, total = [], 0
        for sequence in self._sequences:
            width, height = (sequence.boxes[:, 2:] - sequence.boxes[:, :2]).T
            masks = {_NOT_GOOD: ~sequence.world.good, _BOX_RULES[bbox]: np.isnan(width), TOO_SMALL: np.maximum(width, height) < 1}
            kept = np.ones(len(width), dtype=bool)
            total += len(width)
            for reason in dropped:
                dropped[reason] += int((kept & masks[reason]).sum())
                kept &= ~masks[reason]
            rows.append(np.flatnonzero(kept))
        return rows, FrameCounts(total, sum(map(len, rows)), dropped)

    def _columns_of(self, sequence: _Seen, rows: np.ndarray) -> SampleColumns:
        world, count = sequence.world, len(sequence.joints)
        stem = f"{self.name}/test/{world.name}"
        keys = [(f"{stem}/{frame:05d}", frame) for frame in rows.tolist()]
        return SampleColumns(
            entries=[Entry(f"{key}/0", key, f"{stem}/0", frame) for key, frame in keys],
            rows=rows,
            sequence=world.name,
            image_size=world.size,
            read=partial(_read, world.folder / "images", world.size),
            reducible=True,
            boxes_xyxy=sequence.boxes,
            intrinsics=np.tile(world.intrinsics, (count, 1, 1)),
            skeleton="smpl24",
            joints=sequence.joints,
            joints2d=sequence.joints2d,
            valid=sequence.valid,
            genders=[world.gender] * count,
            rotvecs=sequence.rotvecs,
            betas=np.tile(world.betas, (count, 1)),
            trans=sequence.trans,
            keypoints2d=sequence.keypoints,
            keypoints_skeleton="smpl24",
        )

    def _check_images(self, split: str, rows: Sequence[np.ndarray]) -> None:
        """Raises DataError where a kept sample has no image file, or a sequence's first is of another size than its camera."""
        missing, firsts = [], []
        for sequence, kept in zip(self._sequences, rows, strict=True):
            folder = sequence.world.folder / "images"
            there = set(os.listdir(folder)) if folder.is_dir() else set()
            missing += [_image_path(folder, frame) for frame in kept.tolist() if f"{frame:05d}.jpg" not in there]
            firsts += [(_image_path(folder, frame), sequence.world.size) for frame in kept[:1].tolist()]
        if missing:
            raise DataError(
                f"{len(missing):,} of {sum(map(len, rows)):,} images of {self.name}/{split} are missing, the first is {missing[0]}. "
                f"Unpack all of its images. {self.where()}"
            )
        for path, size in firsts:
            if image_size(path) != size:
                _refuse(path, image_size(path), size)

    @classmethod
    def holds(cls, split: str) -> frozenset[str]:
        """One thing for every split: a sequence can be in both, and the same ten people are in all."""
        del split
        return frozenset([cls.name])

    @classmethod
    def splits_in(cls, root: Path) -> tuple[str, ...]:
        """Those of ``splits`` that a sequence below ``root`` is in. Raises DataError where there is none, or a pickle is broken."""
        there = {subset for path in sequence_files(Path(root), cls.where()) for subset in load_world(path).subsets}
        return tuple(split for split in cls.splits if split in there)

    @classmethod
    def inspect(cls, root: Path) -> list[tuple[str, str]]:
        """(level, message): sequences against the quoted number, and each whose number of images is not that of its frames."""
        files = sequence_files(Path(root), cls.where())
        lines = [_against("all: sequences", len(files), cls.known_sequences["all"])]
        for path in files:
            found, frames = len(list((path.parent / "images").glob("*.jpg"))), len(load_world(path).good)
            if found != frames:
                lines.append(("error", f"{path.parent}: {found:,} images, but its pickle has {frames:,} frames"))
        return lines

    def against_known(self) -> list[tuple[str, str]]:
        """(level, message): the sequences read against the quoted number."""
        return [_against(f"{self.split}: sequences", len(self._sequences), self.known_sequences[self.split])]


def _against(what: str, found: int, known: int) -> tuple[str, str]:
    return ("ok", f"{what}: {found:,}") if found == known else ("warning", f"{what}: {found:,}, where {known:,} are quoted")


def _image_path(folder: Path, frame: int) -> Path:
    return folder / f"{frame:05d}.jpg"


def _read(folder: Path, size: tuple[int, int], frame: int, reduction: int = 1) -> np.ndarray:
    """The image (H, W, 3) of a frame. Raises DataError where it is missing, broken or not of its sequence's ``size``."""
    return read_sized(_image_path(folder, frame), size, _OTHERWISE, reduction)


def _refuse(path: Path, found: tuple[int, int], size: tuple[int, int]) -> None:
    raise DataError(f"{path} is {found[0]} x {found[1]} px, expected {size[0]} x {size[1]}{_OTHERWISE}")
