"""3DOH50K, 3D Occlusion Human: one person per image behind objects, calibrated in units of about a seventh of a metre."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from hpsbench.datasets.base import Dataset, Entry, FrameCounts
from hpsbench.datasets.base_3dpw import TOO_SMALL, boxes_of, inside
from hpsbench.datasets.base_3dpw_files import fingerprint_of_hashes, folder_of
from hpsbench.datasets.base_threedoh import SHAPES, load_people
from hpsbench.errors import DataError
from hpsbench.geometry import project, rotmat_to_rotvec, rotvec_to_rotmat
from hpsbench.image import image_size, read_image
from hpsbench.skeleton import joint_index
from hpsbench.types import Card, Sample, Truth, View

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

ANNOTATIONS = "annots.json"
_FOLDERS = {"train": ("trainset", "train"), "test": ("testset", "test")}
_NO_BOX = {"annotated": "no box", "joints-in-image": "no joint inside the image"}
_THIGH_M = (0.36, 0.46)
_SCALES = (4.0, 10.0)


@dataclass(frozen=True)
class _People:
    """The N people of one split, camera frame, metres: arrays with N in front; ``keys`` are their places in the file."""

    split: str
    folder: Path
    keys: tuple[str, ...]
    images: tuple[Path, ...]
    scales: np.ndarray
    intrinsics: np.ndarray
    rotvecs: np.ndarray
    betas: np.ndarray
    trans: np.ndarray | None
    joints: np.ndarray
    joints2d: np.ndarray
    lsp_joints: np.ndarray
    lsp_joints2d: np.ndarray
    boxes_xyxy: np.ndarray


class ThreeDOH(Dataset):
    """3DOH50K as unpacked from trainset.zip and testset.zip.

    ``split``: "train", "test" or "all". ``frames``: "all" (nobody is flagged). ``bbox``: "annotated", or "joints-in-image", the tight
    box of the projected 24 joints inside the image. The gender is not given: SMPL is neutral. Each image is a track of its own.

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
    splits = tuple(_FOLDERS)
    frame_rules = ("all",)
    box_rules = tuple(_NO_BOX)
    # Images per split as commonly quoted; no published list was found.
    known_images: ClassVar[Mapping[str, int]] = {"train": 50_310, "test": 1_290}

    def __init__(self, root: Path, *, split: str, frames: str, bbox: str, bbox_scale: float, bodies: "Bodies | None"):
        self.check_rules(split, frames, bbox, bbox_scale)
        self.root = Path(root)
        self.rules = (bbox, bbox_scale)
        parts = self.splits if split == "all" else (split,)
        files = [self._folder(self.root, part) / ANNOTATIONS for part in sorted(parts)]
        loaded = [self._load(file, part, bodies) for file, part in zip(files, sorted(parts), strict=True)]
        self._people = [people for people, _, _ in loaded]
        self._sizes = [size for _, size, _ in loaded]
        self._places, counts = self._kept()
        fingerprint = fingerprint_of_hashes(
            {f"{file.parent.name}/{file.name}": sha256 for file, (_, _, sha256) in zip(files, loaded, strict=True)}
        )
        entries = [self._entry(self._people[p], k) for p, k in self._places]
        super().__init__(entries, split=split, counts=counts, fingerprint=fingerprint)

    @classmethod
    def _folder(cls, root: Path, split: str) -> Path:
        """The folder of a split. Raises DataError: what was found, and what to unpack."""
        for name in _FOLDERS[split]:
            if (folder_of(root, name) / ANNOTATIONS).is_file():
                return folder_of(root, name)
        inside_root = ", ".join(sorted(os.listdir(root))[:8]) if root.is_dir() else "no such folder"
        raise DataError(
            f"No {' or '.join(f'{name}/{ANNOTATIONS}' for name in _FOLDERS[split])} in {root} ({inside_root or 'empty'}). "
            f"Unpack {_FOLDERS[split][0]}.zip there. {cls.where()}"
        )

    def _load(self, file: Path, split: str, bodies: "Bodies | None") -> tuple[_People, tuple[int, int], str]:
        """The people of one file, (width, height) px of its images, and its SHA-256."""
        columns = load_people(file)
        if not len(columns["keys"]):
            raise DataError(f"{file} holds nobody. Unpack {_FOLDERS[split][0]}.zip again.")
        keys = tuple(columns["keys"].tolist())
        arrays = {name: columns[name] for name in SHAPES}
        images = self._images(file.parent, dict(zip(keys, columns["img_path"].tolist(), strict=True)))
        size = self._size_of(images[0], arrays["intri"][0])
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
        joints2d = project(torch.from_numpy(joints), torch.from_numpy(arrays["intri"])).numpy()
        people = _People(
            split=split,
            folder=file.parent,
            keys=keys,
            images=images,
            scales=scales,
            intrinsics=arrays["intri"],
            rotvecs=rotvecs,
            betas=betas,
            trans=trans,
            joints=joints,
            joints2d=arrays["smpl_joints_2d"],
            lsp_joints=arrays["lsp_joints_3d"] / scales[:, None, None],
            lsp_joints2d=arrays["lsp_joints_2d"],
            boxes_xyxy=self._boxes(arrays["bbox"], joints2d, size),
        )
        return people, size, str(columns["sha256"][0])

    def _boxes(self, corners: np.ndarray, joints2d: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        bbox, scale = self.rules
        if bbox == "annotated":
            return boxes_of(corners, np.ones(corners.shape[:-1], dtype=bool), scale)
        return boxes_of(joints2d, inside(joints2d, size), scale)

    def _images(self, folder: Path, named: Mapping[str, str]) -> tuple[Path, ...]:
        """The image of each record, by its key and ``img_path``. Raises DataError where any is missing, before anything long has begun."""
        there = set(os.listdir(folder / "images")) if (folder / "images").is_dir() else set()
        images = tuple(folder / "images" / _image_name(key, path, there) for key, path in named.items())
        missing = [path for path in images if path.name not in there]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(images):,} images of {folder} are missing, the first is {missing[0]}. Unpack the zip again. "
                f"{self.where()}"
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

    def _kept(self) -> tuple[list[tuple[int, int]], FrameCounts]:
        """Places (split, person) of the kept samples in order, and the counts."""
        reason = _NO_BOX[self.rules[0]]
        dropped = {reason: 0, TOO_SMALL: 0}
        places, total = [], 0
        for p, people in enumerate(self._people):
            boxes = people.boxes_xyxy
            without = np.isnan(boxes[:, 0])
            small = ~without & (np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) < 1)
            total += len(boxes)
            dropped[reason] += int(without.sum())
            dropped[TOO_SMALL] += int(small.sum())
            places += [(p, int(k)) for k in np.flatnonzero(~without & ~small)]
        return places, FrameCounts(total, len(places), dropped)

    def _entry(self, people: _People, k: int) -> Entry:
        stem = f"{self.name}/{people.split}/images/{people.keys[k]}"
        return Entry(f"{stem}/0", stem, f"{stem}/0", int(people.keys[k]))

    def sample_at(self, i: int) -> Sample:
        """The ``i``-th sample: a few slices, the image unread."""
        entry, (p, k) = self._entries[i], self._places[i]
        people, size = self._people[p], self._sizes[p]
        K = people.intrinsics[k]
        truth = Truth(
            joints=people.joints[k],
            skeleton="smpl24",
            joints2d=project(torch.from_numpy(people.joints[k]), torch.from_numpy(K)).numpy(),
            valid=np.ones(24, dtype=bool),
            rotvecs=people.rotvecs[k],
            betas=people.betas[k],
            trans=None if people.trans is None else people.trans[k],
            gender="neutral",
            keypoints2d=np.concatenate([people.joints2d[k], np.ones((24, 1))], axis=1),
            keypoints_skeleton="smpl24",
        )
        view = View(partial(_read_sized, people.images[k], size), entry.image_key, people.boxes_xyxy[k], K)
        return Sample(entry.id, view, truth, "images", entry.track, entry.frame, size)

    def lsp(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The annotated LSP joints of sample ``i`` in the order of "eval14": (14, 3) m in the camera frame, (14, 2) px."""
        p, k = self._places[i]
        return self._people[p].lsp_joints[k], self._people[p].lsp_joints2d[k]

    def scale(self, i: int) -> float:
        """Calibration units per metre of sample ``i``."""
        p, k = self._places[i]
        return float(self._people[p].scales[k])

    def mask(self, i: int) -> np.ndarray | None:
        """The visible part of the person of sample ``i``, (H, W) bool; None in the test split, which has no masks."""
        p, k = self._places[i]
        people = self._people[p]
        path = people.folder / "masks" / f"{people.images[k].stem}.png"
        return _read_sized(path, self._sizes[p])[:, :, 0] > 0 if people.split == "train" else None

    @classmethod
    def splits_in(cls, root: Path) -> tuple[str, ...]:
        """Those of ``splits`` that lie below ``root``. Raises DataError where there is none."""
        there = {split: any((folder_of(root, name) / ANNOTATIONS).is_file() for name in _FOLDERS[split]) for split in cls.splits}
        if not any(there.values()):
            cls._folder(root, "test")
        return tuple(split for split, found in there.items() if found)

    @classmethod
    def inspect(cls, root: Path) -> list[tuple[str, str]]:
        """(level, message) on the images of each split below ``root``."""
        there = cls.splits_in(root)
        lines = [("warning", f"{split}: no folder {root / _FOLDERS[split][0]}") for split in cls.splits if split not in there]
        for split in there:
            found = len(list((cls._folder(root, split) / "images").glob("*.jpg")))
            lines.append(_against(f"{split}: images", found, cls.known_images[split]))
        return lines

    def against_known(self) -> list[tuple[str, str]]:
        """(level, message): people against the quoted numbers, and how far ``scale`` and the bones are from what is expected."""
        lines = []
        for people in self._people:
            lines.append(_against(f"{people.split}: people", len(people.keys), self.known_images[people.split]))
            more = sorted(set(os.listdir(people.folder / "images")) - {path.name for path in people.images})
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


def _read_sized(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The image (H, W, 3). Raises DataError where it is missing, broken or not of its split's ``size``."""
    image = read_image(path)
    height, width = image.shape[:2]
    if (width, height) != size:
        raise DataError(f"{path} is {width} x {height} px, expected {size[0]} x {size[1]} as the first image. Unpack the zip again.")
    return image
