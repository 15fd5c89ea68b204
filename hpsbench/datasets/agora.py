"""AGORA: rendered crowds of clothed scans, with SMPL or SMPL-X fits, at either of its two resolutions."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hpsbench.datasets.base import FrameCounts
from hpsbench.datasets.base_3dpw import TOO_SMALL, boxes_of, inside
from hpsbench.datasets.base_3dpw_files import fingerprint_of_hashes
from hpsbench.datasets.base_agora import (
    DETECTIONS,
    FULL_SIZE,
    SPLITS,
    AgoraFit,
    image_paths,
    intrinsics_of,
    load_detections,
    load_fit,
    split_name,
    table_files,
)
from hpsbench.datasets.base_agora_columns import Scene, columns_of
from hpsbench.datasets.base_agora_fits import CameraFits, SmplFits
from hpsbench.datasets.base_agora_tables import FRAME_RULES, AgoraPeople, load_people, people_of
from hpsbench.datasets.base_columns import ColumnDataset
from hpsbench.errors import DataError
from hpsbench.skeleton import joint_names
from hpsbench.store import sha256_of_file
from hpsbench.types import Card

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

_NO_IMAGE = "image missing"
_NO_BOX = "nothing of them inside the image"
_TRAIN_JOINTS = 25
# A box rule: what the tight box is drawn around, of what lies inside the image. "detections": a file of boxes, for the test split.
BOX_RULES = ("joints-in-image", "joints25-in-image", "vertices-in-image", "detections")


class Agora(ColumnDataset):
    """AGORA at 1280 x 720 with SMPL fits. Subclasses have the other resolution, the SMPL-X fits, or both.

    ``split``: "train" and "validation" have ground truth; "test" has images and no more: its boxes come from AGORA_test_bbox.json
    (rule "detections"), its truths are NaN and never valid, and it is for making predictions only. "all" is train and validation.

    ``frames``: "all"; "valid" (isValid and 0 <= occlusion <= 90, as AGORA scores); "valid-bfh" (of those, the ones in images with hands
    and face, as AGORA scores SMPL-X); "occlusion-0-10" ... "occlusion-80-90" (of the valid, one bin). ``bbox``: the tight box, inside the
    image, of the 24 (SMPL-X: 22) body joints, of the first 25 annotated joints (AGORA's own training script) or of the vertices. People of
    a missing image, without a box or with one under a pixel are dropped and counted.

    Joints and 2D joints are AGORA's own; the camera follows from the image's name. SMPL parameters come out of smpl_gt where it is
    unpacked, in the camera frame, always neutral; a kid has no ``betas`` and no ``trans``, since ten shape numbers cannot tell a kid
    (``fit`` gives all eleven). SMPL-X samples have joints only; ``fit`` gives their parameters. Each image is a track of its own.

    Source: Patel et al. 2021 and AGORA's evaluation code.
    """

    name = "agora"
    family = "agora"
    model: ClassVar[str] = "smpl"
    size: ClassVar[tuple[int, int]] = (1280, 720)
    card = Card(
        name="agora",
        what="AGORA: renderings of 4,240 clothed scans, 257 of them children, 5 to 15 people per image, with SMPL and SMPL-X fits",
        source="https://agora.is.tue.mpg.de",
        licence="non-commercial scientific research; register at agora.is.tue.mpg.de; no redistribution of images or fits",
        paper="Patel et al., AGORA: Avatars in Geography Optimized for Regression Analysis, CVPR 2021",
    )
    splits = SPLITS
    frame_rules = tuple(FRAME_RULES)
    box_rules = BOX_RULES
    # Images per split as quoted from memory in places; no published list was found.
    known_images: ClassVar[Mapping[str, int]] = {"train": 14_529, "validation": 1_225, "test": 3_387}

    def __init__(self, root: Path, *, split: str, frames: str, bbox: str, bbox_scale: float, bodies: "Bodies | None"):
        self.check_rules(split, frames, bbox, bbox_scale)
        if (split == "test") != (bbox == "detections"):
            raise DataError(
                f"{self.name}/{split} with boxes by '{bbox}': the test split has no ground truth and takes the box rule 'detections' (from "
                f"{DETECTIONS}), the other splits take {', '.join(BOX_RULES[:-1])}. Change one of them."
            )
        self.root, self.bodies = Path(root), bodies
        self.rules = (frames, bbox, bbox_scale)
        scenes, self._tables, hashes = self._test_scenes() if split == "test" else self._scenes(split)
        self._scenes_of = sorted(scenes, key=lambda scene: split_name(scene.name))
        self._check_scenes(split)
        self._fits = self._smpl_fits()
        kept, counts = self._kept()
        self._places = [(s, person) for s, mask in enumerate(kept) for person in np.flatnonzero(mask).tolist()]
        fits = None if self._fits is None else self._in_camera
        columns = columns_of(self.name, self._skeleton(), self.size, self._scenes_of, kept, fits)
        # By paths below the folder: scans of one name lie in several folders of fits.
        fingerprint = fingerprint_of_hashes(hashes | ({} if self._fits is None else self._fits.hashes))
        super().__init__(columns, split=split, counts=counts, fingerprint=fingerprint)

    @classmethod
    def _folder(cls) -> str:
        return "SMPL" if cls.model == "smpl" else "SMPLX"

    def _scenes(self, split: str) -> tuple[list[Scene], tuple[Path, ...], dict[str, str]]:
        """The scenes of the tables of a split, those tables, and their SHA-256 by path below the folder."""
        tables = self.tables(self.root, split)
        images = {part: image_paths(self.root, part, self.size) for part, _ in tables}
        scenes, hashes = [], {}
        for part, file in tables:
            found, hashes[file.relative_to(self.root).as_posix()] = people_of(file, self.model, self.size)
            scenes += [self._scene(people, part, images[part].get(people.image)) for people in found]
        return scenes, tuple(file for _, file in tables), hashes

    @classmethod
    def tables(cls, root: Path, split: str) -> list[tuple[str, Path]]:
        """(split, table) of all tables of "train", "validation" or "all". Raises DataError where there is none."""
        parts = SPLITS[:2] if split == "all" else (split,)
        return [(part, file) for part in parts for file in table_files(root, cls._folder(), part, cls.where())]

    def _scene(self, people: AgoraPeople, split: str, path: Path | None) -> Scene:
        K = intrinsics_of(people.image, self.size)
        _, bbox, scale = self.rules
        if bbox == "vertices-in-image":
            boxes = boxes_of(people.corners, np.isfinite(people.corners).all(-1), scale)
        else:
            points = people.joints2d[:, : self._body_joints() if bbox == "joints-in-image" else _TRAIN_JOINTS]
            boxes = boxes_of(points, inside(points, self.size), scale)
        return Scene(people.image, split, path, K, people.slim(self._body_joints()), boxes)

    def _test_scenes(self) -> tuple[list[Scene], tuple[Path, ...], dict[str, str]]:
        file = self.root / DETECTIONS
        boxes, images = load_detections(file, self.where()), image_paths(self.root, "test", self.size)
        scenes = []
        for name, xywh in boxes.items():
            corners = np.stack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1) * (self.size[0] / FULL_SIZE[0])
            scaled = boxes_of(corners, np.ones(corners.shape[:2], dtype=bool), self.rules[2])
            scenes.append(Scene(name, "test", images.get(name), intrinsics_of(name, self.size), None, scaled))
        return scenes, (), {DETECTIONS: sha256_of_file(file)}

    @classmethod
    def _body_joints(cls) -> int:
        return len(joint_names(cls._skeleton()))

    @classmethod
    def _skeleton(cls) -> str:
        return "smpl24" if cls.model == "smpl" else "smplx22"

    def _check_scenes(self, split: str) -> None:
        names = [scene.name for scene in self._scenes_of]
        twice = sorted({name for name, other in pairwise(names) if split_name(name) == split_name(other)})
        if twice:
            raise DataError(
                f"{len(twice)} images of {self.name}/{split} are in two tables, the first is {twice[0]}. Unpack the tables again."
            )
        if not any(scene.path for scene in self._scenes_of):
            example = f"{names[0]}{'' if self.size == FULL_SIZE else f'_{self.size[0]}x{self.size[1]}'}.png" if names else "none"
            raise DataError(
                f"None of the {len(names):,} images of {self.name}/{split} is in {self.root}. Expected {example} in a folder whose name "
                f"begins with the split's. Unpack the images of {self.size[0]} x {self.size[1]} there. {self.where()}"
            )

    def _kept(self) -> tuple[list[np.ndarray], FrameCounts]:
        """Of each scene who is a sample, (P,) bool; and the counts."""
        rule = FRAME_RULES[self.rules[0]]
        dropped = dict.fromkeys((_NO_IMAGE, *rule, _NO_BOX, TOO_SMALL), 0)
        found, total = [], 0
        for scene in self._scenes_of:
            boxes = scene.boxes_xyxy
            masks = {_NO_IMAGE: np.full(len(boxes), scene.path is None)}
            masks |= {reason: mask(scene.people) for reason, mask in rule.items() if scene.people is not None}
            masks[_NO_BOX] = np.isnan(boxes[:, 0])
            masks[TOO_SMALL] = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) < 1
            kept = np.ones(len(boxes), dtype=bool)
            total += len(boxes)
            for reason, mask in masks.items():
                dropped[reason] += int((kept & mask).sum())
                kept &= ~mask
            found.append(kept)
        return found, FrameCounts(total, sum(int(kept.sum()) for kept in found), dropped)

    def _smpl_fits(self) -> SmplFits | None:
        """The fits that samples have: SMPL's, wherever there is ground truth. Raises DataError for a broken one."""
        if self.model != "smpl" or not self._tables:
            return None
        return SmplFits(self.root, (name for scene in self._scenes_of for name in scene.people.fits))

    def _in_camera(self, scenes: Sequence[Scene]) -> CameraFits:
        people = [scene.people for scene in scenes]
        rotations, shifts = (np.concatenate([getattr(each, name) for each in people]) for name in ("rotations", "shifts"))
        return self._fits.in_camera([name for each in people for name in each.fits], rotations, shifts, self.bodies)

    def annotations(self) -> Iterator[AgoraPeople]:
        """Everybody of the split with all joints and vertices, image by image, whether kept or not: what AGORA's own scores take.

        2D joints are in px of the 4K images, as in prediction files. Reads the tables anew; one is in memory at a time.
        """
        for file in self._tables:
            yield from load_people(file, self.model, FULL_SIZE)

    def person(self, i: int) -> dict[str, Any]:
        """What AGORA tells of the person of sample ``i``: image, place in it, occlusion %, valid, kid, gender. Not for the test split."""
        scene, people, person = self._placed(i)
        return {
            "image": scene.name,
            "person": person,
            "occlusion": float(people.occlusion[person]),
            "valid": bool(people.evaluated[person]),
            "kid": bool(people.kid[person]),
            "gender": people.genders[person],
        }

    def fit(self, i: int) -> AgoraFit | None:
        """The body model's parameters of sample ``i``; None where the fits are not unpacked. Raises DataError for a broken file."""
        _, people, person = self._placed(i)
        place = {"rotation": people.rotations[person], "shift": people.shifts[person]}
        if self._fits is not None:
            params = self._fits.params(people.fits[person])
            return None if params is None else AgoraFit(self.model, params, **place)
        path = self.root / people.fits[person]
        return load_fit(path, self.model, **place) if path.is_file() else None

    def _placed(self, i: int) -> tuple[Scene, AgoraPeople, int]:
        s, person = self._places[i]
        scene = self._scenes_of[s]
        if scene.people is None:
            raise DataError(f"{self.name}/test has no ground truth. Take the split 'validation'.")
        return scene, scene.people, person

    @classmethod
    def splits_in(cls, root: Path) -> tuple[str, ...]:
        """Those splits with ground truth whose tables lie below ``root``. Raises DataError where there is none."""
        found = tuple(split for split in SPLITS[:2] if list((root / cls._folder()).glob(f"{split}_*_withjv.pkl")))
        if not found:
            table_files(root, cls._folder(), "validation", cls.where())
        return found

    @classmethod
    def inspect(cls, root: Path) -> list[tuple[str, str]]:
        """(level, message) on the images, tables and fits below ``root``."""
        there = cls.splits_in(root)
        lines = [("warning", f"{split}: no {cls._folder()}/{split}_*_withjv.pkl") for split in SPLITS[:2] if split not in there]
        for split in SPLITS:
            found, known = len(image_paths(root, split, cls.size)), cls.known_images[split]
            near = 0.95 * known <= found <= 1.05 * known
            text = f"{split}: {found:,} images of {cls.size[0]} x {cls.size[1]}"
            lines.append(("ok" if near else "warning", text if near else f"{text}; about {known:,} are expected"))
        fits = root / f"{cls.model}_gt"
        lines.append(
            ("ok", f"fits: {fits}") if fits.is_dir() else ("warning", f"no {fits}: no body parameters. Unpack {fits.name}.zip there")
        )
        return lines

    def against_known(self) -> list[tuple[str, str]]:
        """(level, message): images that a table names and no folder holds, and the other way round."""
        missing = [scene.name for scene in self._scenes_of if scene.path is None]
        held = set().union(*(image_paths(self.root, part, self.size) for part in (SPLITS[:2] if self.split == "all" else (self.split,))))
        more = sorted(held - {scene.name for scene in self._scenes_of})
        found = f"{self.split}: {len(self._scenes_of) - len(missing):,} of {len(self._scenes_of):,} images of the tables are there"
        lines = [("error", f"{found}; missing: {', '.join(missing[:4])}. Unpack all images")] if missing else [("ok", found)]
        if more:
            lines.append(
                ("warning", f"{self.split}: unexpected: {len(more):,} images in no table: {', '.join(more[:4])}. Unpack its tables")
            )
        return lines


class Agora4K(Agora):
    """AGORA at 3840 x 2160 with SMPL fits."""

    name = "agora-4k"
    size = FULL_SIZE


class AgoraX(Agora):
    """AGORA at 1280 x 720 with SMPL-X fits."""

    name = "agora-smplx"
    model = "smplx"


class AgoraX4K(AgoraX):
    """AGORA at 3840 x 2160 with SMPL-X fits."""

    name = "agora-smplx-4k"
    size = FULL_SIZE
