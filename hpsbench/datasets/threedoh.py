"""3DOH50K, 3D Occlusion Human: one person per image behind objects, calibrated in units of about a seventh of a metre."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from hpsbench.datasets.base import Entry, FrameCounts
from hpsbench.datasets.base_3dpw import TOO_SMALL, boxes_of, inside
from hpsbench.datasets.base_3dpw_files import fingerprint_of_hashes
from hpsbench.datasets.base_columns import ColumnDataset, SampleColumns
from hpsbench.datasets.base_threedoh import ANNOTATIONS, FOLDERS, SHAPES, annotation_file, annotation_files, load_people
from hpsbench.errors import DataError
from hpsbench.geometry import project, rotmat_to_rotvec, rotvec_to_rotmat
from hpsbench.image import image_size, read_sized
from hpsbench.skeleton import joint_index
from hpsbench.types import Card

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

_NO_BOX = {"annotated": "no box", "annotated-height": "no box", "joints-in-image": "no joint inside the image"}
_THIGH_M = (0.36, 0.46)
_SCALES = (4.0, 10.0)
_OTHERWISE = " as the first image. Unpack the zip again."


@dataclass(frozen=True)
class _People:
    """The N people of one split, camera frame, metres: arrays with N in front; ``keys`` are their places in the file.

    ``images`` are the names of their images, which are of ``size`` (width, height) px; ``sha256`` is the annotation file's. ``joints2d``
    are the projections of ``joints``, ``keypoints2d`` (N, 24, 3) what is annotated, every confidence 1.
    """

    split: str
    folder: Path
    sha256: str
    keys: tuple[str, ...]
    images: tuple[str, ...]
    size: tuple[int, int]
    scales: np.ndarray
    intrinsics: np.ndarray
    rotvecs: np.ndarray
    betas: np.ndarray
    trans: np.ndarray | None
    joints: np.ndarray
    joints2d: np.ndarray
    keypoints2d: np.ndarray
    lsp_joints: np.ndarray
    lsp_joints2d: np.ndarray
    boxes_xyxy: np.ndarray


class ThreeDOH(ColumnDataset):
    """3DOH50K as unpacked from trainset.zip and testset.zip.

    ``split``: "train", "test" or "all". ``frames``: "all" (nobody is flagged). ``bbox``: "annotated"; "annotated-height", the square
    about that box's centre that is as high as the box, however wide that is (PARE); or "joints-in-image", the tight box of the projected
    24 joints inside the image. The gender is not given: SMPL is neutral. Each image is a track of its own.

    Units: everything in the file is in calibration units, about 7 to the metre, and the fitted SMPL body was enlarged by ``scale``.
    All camera coordinates are divided by the person's own ``scale``: the SMPL body is then metric, projections under the
    unchanged camera stay, and ``trans`` is that of an ordinary SMPL call. A median thigh outside 0.36 to 0.46 m after that is a DataError.

    Source: Zhang, Huang and Wang 2020, and the authors' SMPL layer.
    """

    name = "3doh"
    card = Card(
        name="3doh",
        what="3DOH50K: people occluded by objects in a capture studio with six cameras, SMPL fits",
        source="https://www.yangangwang.com (paper ZHANG-OOH-2020-03)",
        licence="no licence text found: research only, no redistribution, cite the paper",
        paper="Zhang, Huang and Wang, Object-Occluded Human Shape and Pose Estimation from a Single Color Image, CVPR 2020",
    )
    splits = tuple(FOLDERS)
    frame_rules = ("all",)
    box_rules = tuple(_NO_BOX)
    # Images per split as commonly quoted; no published list was found.
    known_images: ClassVar[Mapping[str, int]] = {"train": 50_310, "test": 1_290}

    def __init__(self, root: Path, *, split: str, frames: str, bbox: str, bbox_scale: float, bodies: "Bodies | None"):
        self.check_rules(split, frames, bbox, bbox_scale)
        self.root = Path(root)
        self.rules = (bbox, bbox_scale)
        parts = sorted(self.splits if split == "all" else (split,))
        files = [annotation_file(self.root, part, self.where()) for part in parts]
        self._people = [self._load(file, part, bodies) for file, part in zip(files, parts, strict=True)]
        rows, counts = self._kept()
        fingerprint = fingerprint_of_hashes({f"{people.folder.name}/{ANNOTATIONS}": people.sha256 for people in self._people})
        columns = [self._columns_of(people, kept) for people, kept in zip(self._people, rows, strict=True)]
        super().__init__(columns, split=split, counts=counts, fingerprint=fingerprint)

    def _load(self, file: Path, split: str, bodies: "Bodies | None") -> _People:
        """The people of one file. Raises DataError for it and for its images."""
        columns = load_people(file)
        if not len(columns["keys"]):
            raise DataError(f"{file} holds nobody. Unpack {FOLDERS[split][0]}.zip again.")
        keys = tuple(columns["keys"].tolist())
        arrays = {name: columns[name] for name in SHAPES}
        images = self._images(file.parent, dict(zip(keys, columns["img_path"].tolist(), strict=True)))
        size = self._size_of(file.parent / "images" / images[0], arrays["intri"][0])
        scales = arrays["scale"][:, 0]
        R, t = arrays["extri"][:, :3, :3], arrays["extri"][:, :3, 3]
        joints = arrays["smpl_joints_3d"] / scales[:, None, None]
        _check_unit(file, joints)
        rotvecs = arrays["pose"].reshape(-1, 24, 3).copy()
        rotvecs[:, 0] = rotmat_to_rotvec(torch.from_numpy(R) @ rotvec_to_rotmat(torch.from_numpy(rotvecs[:, 0]))).numpy()
        betas = arrays["betas"][:, 0]
        trans = None
        if bodies is not None:
            J0 = bodies.neutral.rest_joints(torch.from_numpy(betas))[:, 0].double().cpu().numpy()
            trans = (np.einsum("nij,nj->ni", R, J0 + arrays["trans"][:, 0]) + t) / scales[:, None] - J0
        return _People(
            split=split,
            folder=file.parent,
            sha256=str(columns["sha256"][0]),
            keys=keys,
            images=images,
            size=size,
            scales=scales,
            intrinsics=arrays["intri"],
            rotvecs=rotvecs,
            betas=betas,
            trans=trans,
            joints=joints,
            joints2d=columns["joints2d"],
            keypoints2d=np.concatenate([arrays["smpl_joints_2d"], np.ones((len(keys), 24, 1))], axis=2),
            lsp_joints=arrays["lsp_joints_3d"] / scales[:, None, None],
            lsp_joints2d=arrays["lsp_joints_2d"],
            boxes_xyxy=self._boxes(arrays["bbox"], joints, arrays["intri"], size),
        )

    def _boxes(self, corners: np.ndarray, joints: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        bbox, scale = self.rules
        if bbox == "joints-in-image":
            joints2d = project(torch.from_numpy(joints), torch.from_numpy(K)).numpy()
            return boxes_of(joints2d, inside(joints2d, size), scale)
        boxes = boxes_of(corners, np.ones(corners.shape[:-1], dtype=bool), scale)
        return _as_wide_as_high(boxes) if bbox == "annotated-height" else boxes

    def _images(self, folder: Path, named: Mapping[str, str]) -> tuple[str, ...]:
        """The image's name of each record, by its key and ``img_path``. Raises DataError where any is missing, before anything long has
        begun."""
        there = set(os.listdir(folder / "images")) if (folder / "images").is_dir() else set()
        images = tuple(_image_name(key, path, there) for key, path in named.items())
        missing = [name for name in images if name not in there]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(images):,} images of {folder} are missing, the first is {folder / 'images' / missing[0]}. "
                f"Unpack the zip again. {self.where()}"
            )
        return images

    def _size_of(self, image: Path, K: np.ndarray) -> tuple[int, int]:
        width, height = image_size(image)
        cx, cy = K[:2, 2]
        if abs(2 * cx - width) > 0.1 * width or abs(2 * cy - height) > 0.1 * height:
            raise DataError(
                f"{image} is {width} x {height} px, but its camera has its principal point at ({cx:.0f}, {cy:.0f}), expected within "
                "10 % of the middle. Use the images as they were published, neither resized nor turned."
            )
        return width, height

    def _kept(self) -> tuple[list[np.ndarray], FrameCounts]:
        """The rows of the kept people of each split, in order, and the counts."""
        reason = _NO_BOX[self.rules[0]]
        dropped = {reason: 0, TOO_SMALL: 0}
        rows, total = [], 0
        for people in self._people:
            boxes = people.boxes_xyxy
            without = np.isnan(boxes[:, 0])
            small = ~without & (np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) < 1)
            total += len(boxes)
            dropped[reason] += int(without.sum())
            dropped[TOO_SMALL] += int(small.sum())
            rows.append(np.flatnonzero(~without & ~small))
        return rows, FrameCounts(total, sum(map(len, rows)), dropped)

    def _columns_of(self, people: _People, rows: np.ndarray) -> SampleColumns:
        count = len(people.keys)
        other = {int(key): name for key, name in zip(people.keys, people.images, strict=True) if name != f"{key}.jpg"}
        return SampleColumns(
            entries=[self._entry(people.split, people.keys[row]) for row in rows.tolist()],
            rows=rows,
            sequence="images",
            image_size=people.size,
            read=partial(_read_numbered, people.folder / "images", other, people.size),
            reducible=True,
            boxes_xyxy=people.boxes_xyxy,
            intrinsics=people.intrinsics,
            skeleton="smpl24",
            joints=people.joints,
            joints2d=people.joints2d,
            valid=np.ones((count, 24), dtype=bool),
            genders=["neutral"] * count,
            rotvecs=people.rotvecs,
            betas=people.betas,
            trans=people.trans,
            keypoints2d=people.keypoints2d,
            keypoints_skeleton="smpl24",
        )

    def _entry(self, split: str, key: str) -> Entry:
        stem = f"{self.name}/{split}/images/{key}"
        return Entry(f"{stem}/0", stem, f"{stem}/0", int(key))

    def _place(self, i: int) -> tuple[_People, int]:
        """The people of the split that sample ``i`` is of, and which row of them it is."""
        i = range(len(self))[i]
        part = self.sequence_at(i)
        return self._people[part], int(self._columns[part].rows[i - self._starts[part]])

    def lsp(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The annotated LSP joints of sample ``i`` in the order of "eval14": (14, 3) m in the camera frame, (14, 2) px."""
        people, row = self._place(i)
        return people.lsp_joints[row], people.lsp_joints2d[row]

    def scale(self, i: int) -> float:
        """Calibration units per metre of sample ``i``."""
        people, row = self._place(i)
        return float(people.scales[row])

    def mask(self, i: int) -> np.ndarray | None:
        """The visible part of the person of sample ``i``, (H, W) bool; None in the test split, which has no masks."""
        people, row = self._place(i)
        path = people.folder / "masks" / f"{Path(people.images[row]).stem}.png"
        return read_sized(path, people.size, _OTHERWISE)[:, :, 0] > 0 if people.split == "train" else None

    @classmethod
    def splits_in(cls, root: Path) -> tuple[str, ...]:
        """Those of ``splits`` that lie below ``root``. Raises DataError where there is none."""
        there = tuple(split for split in cls.splits if annotation_files(root, split))
        if not there:
            annotation_file(root, "test", cls.where())
        return there

    @classmethod
    def inspect(cls, root: Path) -> list[tuple[str, str]]:
        """(level, message) on the images of each split below ``root``."""
        there = cls.splits_in(root)
        lines = [("warning", f"{split}: no folder {root / FOLDERS[split][0]}") for split in cls.splits if split not in there]
        for split in there:
            found = len(list((annotation_file(root, split, cls.where()).parent / "images").glob("*.jpg")))
            lines.append(_against(f"{split}: images", found, cls.known_images[split]))
        return lines

    def against_known(self) -> list[tuple[str, str]]:
        """(level, message): people against the quoted numbers, and how far ``scale`` and the bones are from what is expected."""
        lines = []
        for people in self._people:
            lines.append(_against(f"{people.split}: people", len(people.keys), self.known_images[people.split]))
            more = sorted(set(os.listdir(people.folder / "images")) - set(people.images))
            if more:
                some = f"{len(more):,} images that no record names: {', '.join(more[:4])}"
                lines.append(("warning", f"{people.split}: unexpected: {some}. Images and {ANNOTATIONS} are not of one release"))
            low, high = people.scales.min(), people.scales.max()
            good = _SCALES[0] <= low and high <= _SCALES[1]
            text = (
                f"{people.split}: {low:.2f} to {high:.2f} calibration units per metre, thighs of {np.median(_thighs(people.joints)):.3f} m"
            )
            lines.append(("ok" if good else "warning", text + ("" if good else "; expected near 7 units")))
        return lines


def _image_name(key: str, path: str, there: set[str]) -> str:
    """The image's file name: that of the record's path, whatever its separators, or else the key's."""
    name = path.replace("\\", "/").rpartition("/")[2]
    return name if name in there else f"{key}.jpg"


def _as_wide_as_high(boxes: np.ndarray) -> np.ndarray:
    """Squares (..., 4) xyxy about the centres of ``boxes``, of their heights."""
    half = (boxes[..., 3] - boxes[..., 1]) / 2
    centre = (boxes[..., 0] + boxes[..., 2]) / 2
    return np.stack([centre - half, boxes[..., 1], centre + half, boxes[..., 3]], axis=-1)


def _thighs(joints: np.ndarray) -> np.ndarray:
    """Distances (N, 2) m of each hip from its knee."""
    hips, knees = ([joint_index("smpl24", f"{side}_{joint}") for side in ("left", "right")] for joint in ("hip", "knee"))
    return np.linalg.norm(joints[:, hips] - joints[:, knees], axis=-1)


def _check_unit(file: Path, joints: np.ndarray) -> None:
    found = float(np.median(_thighs(joints)))
    if not _THIGH_M[0] <= found <= _THIGH_M[1]:
        raise DataError(
            f"{file}: thighs of {found:.3g} m (median) after dividing by 'scale', expected {_THIGH_M[0]} to {_THIGH_M[1]}: the joints "
            "are not in the published units, about 7 to the metre. Take the annotations as they were published."
        )


def _against(what: str, found: int, known: int) -> tuple[str, str]:
    return ("ok", f"{what}: {found:,}") if found == known else ("warning", f"{what}: {found:,}, where {known:,} are quoted")


def _read_numbered(folder: Path, other: Mapping[int, str], size: tuple[int, int], number: int, reduction: int = 1) -> np.ndarray:
    """The image of a record's number: the file of that number, but for those that have ``other`` names. Raises DataError."""
    return read_sized(folder / other.get(number, f"{number:05d}.jpg"), size, _OTHERWISE, reduction)
