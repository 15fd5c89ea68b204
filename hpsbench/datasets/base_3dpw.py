"""The reader of 3DPW's layout, for 3DPW itself and for every dataset written the same way."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from hpsbench.datasets.base import Entry, FrameCounts
from hpsbench.datasets.base_3dpw_columns import StoredSequence, by_person, columns_of, parse_sequence, rows_of, sequences_of
from hpsbench.datasets.base_3dpw_files import (
    find_sequence_folder,
    fingerprint_of_hashes,
    folder_of,
    images_against,
    names_against,
    number_against,
    sequence_files,
)
from hpsbench.datasets.base_3dpw_rules import FRAME_RULES, in_pieces
from hpsbench.datasets.base_columns import ColumnDataset, SampleColumns
from hpsbench.datasets.base_index import indexed
from hpsbench.errors import DataError
from hpsbench.image import image_size, read_sized

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies


@dataclass(frozen=True)
class CameraSequence(StoredSequence):
    """A sequence of a split with what the rules, the images and the body add; R rows as in ``StoredSequence``.

    ``size`` (width, height) px of its images, ``frames`` (first, end) those that belong to the split or subset; ``trans`` (R, 3) m in the
    camera frame, or None where no body was given; ``boxes_xyxy`` (R, 4) px (NaN: no box).
    """

    split: str
    size: tuple[int, int]
    frames: tuple[int, int]
    trans: np.ndarray | None
    boxes_xyxy: np.ndarray


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


class ThreeDPWLayout(ColumnDataset):
    """People of a folder in 3DPW's layout. A subclass gives ``name``, ``card`` and, if it has other ones, ``splits``.

    ``split`` is one of ``splits`` or "all", or one of ``subsets``, whose sequences and frames ``lists`` holds; ids name the split in all.
    ``frames``: "all"; "campose-valid" (the SPIN list); "campose-and-2d" (the challenge's); "limbs-seen", people of whose twelve shoulders,
    elbows, wrists, hips, knees and ankles more than six are in poses2d with a confidence above 0.3, whatever their camera pose (VIBE's
    file); with "+pieces-of-16" only whole pieces of 16 kept frames of each track, which is what VIBE and NIKI evaluate.
    ``bbox``: "joints-in-image", the tight box of the projected 24 joints inside the image; "keypoints", of poses2d with
    confidence above 0 (SPIN). A person without a box, or with one under a pixel, is dropped and counted. ``known``: (people, images)
    by split and sequence, and ``known_valid``: person-frames with a valid camera pose by split, where published.

    The pickles of a split are read once and kept as an index (``base_index``), which knows neither rules nor bodies; images are read by the
    views. Raises DataError for the files and UnknownNameError for the names. Source: 3DPW's readme; von Marcard et al. 2018.
    """

    splits = ("train", "validation", "test")
    frame_rules = tuple(FRAME_RULES)
    box_rules = tuple(BOX_RULES)
    # To be raised whenever an index made before would hold something else.
    index_version: ClassVar[int] = 1
    lists: ClassVar[Mapping[str, Mapping[str, tuple[int, int] | None]]] = {}
    known: ClassVar[Mapping[str, Mapping[str, tuple[int, int]]]] = {}
    known_valid: ClassVar[Mapping[str, int]] = {}

    def __init__(self, root: Path, *, split: str, frames: str, bbox: str, bbox_scale: float, bodies: "Bodies | None"):
        self.check_rules(split, frames, bbox, bbox_scale)
        self.root = Path(root)
        self.rules = (frames, bbox, bbox_scale)
        folder = find_sequence_folder(self.root, self.where())
        self._image_root = folder_of(self.root, "imageFiles")
        listed = self.lists.get(split)
        if listed is None:
            stored = [(part, one, None) for part in self._parts(split) for one in self._stored(folder, part)]
        else:
            stored = self._listed(folder, split, listed)
        self._sequences = [self._seen(part, one, some, bodies) for part, one, some in stored]
        rows, counts = self._kept()
        self._check_images(split, rows)
        fingerprint = fingerprint_of_hashes({f"{one.split}/{one.name}.pkl": one.sha256 for one in self._sequences})
        columns = [self._columns_of(one, kept) for one, kept in zip(self._sequences, rows, strict=True)]
        super().__init__(columns, split=split, counts=counts, fingerprint=fingerprint)

    @classmethod
    def _parts(cls, split: str) -> tuple[str, ...]:
        return cls.splits if split == "all" else (split,)

    def _stored(self, folder: Path, part: str) -> list[StoredSequence]:
        """The sequences of a split, sorted by name: out of the index, or parsed and indexed."""
        files = sequence_files(folder, part, self.where())
        return sequences_of(indexed("3dpw-layout", self.index_version, files, lambda: columns_of([parse_sequence(path) for path in files])))

    def _listed(
        self, folder: Path, subset: str, listed: Mapping[str, tuple[int, int] | None]
    ) -> list[tuple[str, StoredSequence, tuple[int, int] | None]]:
        """(split, sequence, frames) of a subset, in the order of its splits. Raises DataError where any of it is not there."""
        found = []
        for part in dict.fromkeys(name.partition("/")[0] for name in listed):
            there = {f"{part}/{one.name}": one for one in self._stored(folder, part)}
            found += [(part, there[name].copied(), frames) for name, frames in listed.items() if name in there]
        names = {f"{part}/{one.name}" for part, one, _ in found}
        missing = [name for name in listed if name not in names]
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(listed)} sequences of {self.name}/{subset} are not in {folder}, the first is {missing[0]}. "
                f"Unpack all of sequenceFiles. {self.where()}"
            )
        return found

    def _seen(self, part: str, stored: StoredSequence, frames: tuple[int, int] | None, bodies: "Bodies | None") -> CameraSequence:
        size, images = self._size_of(stored), len(stored.cam_poses)
        first, end = frames or (0, images)
        if end > images:
            raise DataError(
                f"{part}/{stored.name} has {images:,} images, but frames {first} to {end - 1} of it are listed. Unpack sequenceFiles again."
            )
        _, bbox, scale = self.rules
        if bbox == "keypoints":
            boxes = boxes_of(stored.keypoints[..., :2], stored.keypoints[..., 2] > 0, scale)
        else:
            boxes = boxes_of(stored.joints2d, inside(stored.joints2d, size), scale)
        trans = None if bodies is None else _trans_cam(stored, bodies)
        return CameraSequence(**vars(stored), split=part, size=size, frames=(first, end), trans=trans, boxes_xyxy=boxes)

    def _size_of(self, stored: StoredSequence) -> tuple[int, int]:
        """(width, height) px of the sequence's images: that of the first one, held against the principal point."""
        path = _image_path(self._image_root / stored.name, 0)
        width, height = image_size(path)
        cx, cy = stored.intrinsics[:2, 2]
        if abs(2 * cx - width) > 0.1 * width or abs(2 * cy - height) > 0.1 * height:
            raise DataError(
                f"{path} is {width} x {height} px, but the camera of its sequence has its principal point at ({cx:.0f}, {cy:.0f}), "
                "expected within 10 % of the middle. Use the images as they were published, neither resized nor turned."
            )
        return width, height

    def _kept(self) -> tuple[list[np.ndarray], FrameCounts]:
        """The rows of the kept samples of each sequence, in order, and the counts."""
        frames, bbox, _ = self.rules
        rule = FRAME_RULES[frames]
        dropped = dict.fromkeys((*rule.reasons, BOX_RULES[bbox], TOO_SMALL, *([rule.rest] if rule.piece else [])), 0)
        rows, total = [], 0
        for sequence in self._sequences:
            boxes = sequence.boxes_xyxy
            masks = {reason: mask(sequence) for reason, mask in rule.reasons.items()}
            masks[BOX_RULES[bbox]] = np.isnan(boxes[:, 0])
            masks[TOO_SMALL] = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) < 1
            first, end = sequence.frames
            kept = np.zeros(len(boxes), dtype=bool)
            kept[first * sequence.people : end * sequence.people] = True
            total += int(kept.sum())
            for reason, mask in masks.items():
                dropped[reason] += int((kept & mask).sum())
                kept &= ~mask
            if rule.piece:
                whole = in_pieces(kept, sequence.people, rule.piece)
                dropped[rule.rest] += int((kept & ~whole).sum())
                kept = whole
            rows.append(np.flatnonzero(kept))
        return rows, FrameCounts(total, sum(map(len, rows)), dropped)

    def _columns_of(self, sequence: CameraSequence, rows: np.ndarray) -> SampleColumns:
        people, count = sequence.people, len(sequence.joints)
        return SampleColumns(
            entries=self._entries_of(sequence, rows),
            rows=rows,
            sequence=sequence.name,
            image_size=sequence.size,
            read=partial(_read, self._image_root / sequence.name, sequence.size),
            reducible=True,
            boxes_xyxy=sequence.boxes_xyxy,
            intrinsics=np.tile(sequence.intrinsics, (count, 1, 1)),
            skeleton="smpl24",
            joints=sequence.joints,
            joints2d=sequence.joints2d,
            valid=np.ones((count, 24), dtype=bool),
            genders=sequence.genders.tolist() * (count // people),
            rotvecs=sequence.rotvecs,
            betas=np.tile(sequence.betas, (count // people, 1)),
            trans=sequence.trans,
            keypoints2d=sequence.keypoints,
            keypoints_skeleton="openpose18",
        )

    def _entries_of(self, sequence: CameraSequence, rows: np.ndarray) -> list[Entry]:
        stem, people = f"{self.name}/{sequence.split}/{sequence.name}", sequence.people
        tracks = [f"{stem}/{person}" for person in range(people)]
        entries = []
        for row in rows.tolist():
            frame, person = divmod(row, people)
            key = f"{stem}/{frame:05d}"
            entries.append(Entry(f"{key}/{person}", key, tracks[person], frame))
        return entries

    def _check_images(self, split: str, rows: Sequence[np.ndarray]) -> None:
        """Raises DataError where a kept sample has no image file, before anything long has begun."""
        missing, wanted = [], 0
        for sequence, kept in zip(self._sequences, rows, strict=True):
            folder = self._image_root / sequence.name
            there, frames = set(os.listdir(folder)), np.unique(kept // sequence.people).tolist()
            wanted += len(frames)
            missing += [_image_path(folder, frame) for frame in frames if f"image_{frame:05d}.jpg" not in there]
        if missing:
            raise DataError(
                f"{len(missing):,} of {wanted:,} images of {self.name}/{split} are missing, the first is {missing[0]}. "
                f"Unpack all of imageFiles. {self.where()}"
            )

    @classmethod
    def holds(cls, split: str) -> frozenset[str]:
        """The sequences "split/sequence" of a split or subset, as far as they are published, else the names of its splits."""
        if split in cls.lists:
            return frozenset(cls.lists[split])
        return frozenset(name for part in cls._parts(split) for name in ([f"{part}/{one}" for one in cls.known.get(part, ())] or [part]))

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
        named = {path.stem for split in there for path in sequence_files(folder, split, cls.where())}
        more = sorted(path.name for path in images.iterdir() if path.is_dir() and path.name not in named) if images.is_dir() else []
        if more:
            some = ", ".join(more[:4]) + (" ..." if len(more) > 4 else "")
            lines.append(
                ("warning", f"unexpected: {len(more)} folders of images without annotations: {some}. Unpack their sequenceFiles too")
            )
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


def _trans_cam(stored: StoredSequence, bodies: "Bodies") -> np.ndarray:
    """SMPL's translation in the camera frame, R (trans + J0) + t - J0, with J0 the rest pelvis of the gendered body; (R, 3) m."""
    people = zip(stored.genders.tolist(), stored.betas, strict=True)
    J0 = np.array([_rest_pelvis(bodies, gender, betas) for gender, betas in people])[:, None]
    R, t = stored.cam_poses[:, :3, :3], stored.cam_poses[:, :3, 3]
    return rows_of(np.einsum("nij,pnj->pni", R, by_person(stored.trans_world, stored.people) + J0) + t - J0)


def _rest_pelvis(bodies: "Bodies", gender: str, betas: np.ndarray) -> np.ndarray:
    return bodies[gender].rest_joints(torch.from_numpy(betas)[None])[0, 0].double().cpu().numpy()


def _image_path(folder: Path, frame: int) -> Path:
    return folder / f"image_{frame:05d}.jpg"


def _read(folder: Path, size: tuple[int, int], frame: int, reduction: int = 1) -> np.ndarray:
    """The image (H, W, 3) of a frame. Raises DataError where it is missing, broken or not of its sequence's ``size``."""
    return read_sized(_image_path(folder, frame), size, " as the first image of its sequence. Unpack it again.", reduction)
