"""MPI-INF-3DHP: people before 14 cameras in a green-screen studio, and test scenes indoors and outdoors."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hpsbench.datasets.base import Entry, FrameCounts
from hpsbench.datasets.base_3dpw_files import fingerprint_of_hashes, number_against
from hpsbench.datasets.base_columns import ColumnDataset, SampleColumns
from hpsbench.datasets.base_h36m_clips import apart, extrinsics_line
from hpsbench.datasets.base_mpi_inf_3dhp import (
    ACTIVITIES,
    AT_50_FPS,
    CAMERAS,
    SCENES,
    SUBSETS,
    TEST_FOLDER,
    USABLE,
    VALID_FRAMES,
    Camera,
    Clip,
    annotation_file,
    has_pictures,
    sequence_folder,
)
from hpsbench.datasets.base_mpi_inf_3dhp_cut import BOX_RULES, FRAME_RULES, NOT_IN_STEP, PAST, Cut, Rule, cut, reasons_of, usable_rows
from hpsbench.datasets.base_mpi_inf_3dhp_files import Annotated, load_test, load_train
from hpsbench.errors import DataError, UnknownNameError
from hpsbench.types import Card

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies


class Mpi3DHP(ColumnDataset):
    """MPI-INF-3DHP as its scripts download it: S1 to S8, and TS1 to TS6 in mpi_inf_3dhp_test_set (or directly in the folder).

    ``split``: a subset by name (``SUBSETS``), of which every sequence and view must be there; an id holds "train" or "test", so that
    a person-frame has one id in every subset: "3dhp/train/S1_Seq2_V0/00005/0", "3dhp/test/TS1/00005/0" (frames from 0).
    ``frames``: "all"; "valid", the test set's valid_frame; "every-10th" of the rows of each view, from the first on; with
    "-inside" only people with all 17 joints inside the image (SPIN). ``bbox``: "joints-in-image", the tight box of the projected
    17 joints inside the image; "keypoints" that of annot2 (SPIN). ``skeleton``: "mpi17", or for the train set "mpi28".

    Joints are annot3, true to size; the class beside gives the universal skeleton. A joint is valid where its row is flagged
    so and its numbers are finite. The test set's cameras are fitted (``camera_of``). There is no SMPL ground truth.
    Source: Mehta et al. 2017, the authors' readme and test_util.
    """

    name = "3dhp"
    family = "3dhp"
    card = Card(
        name="3dhp",
        what="MPI-INF-3DHP: markerless mocap of 8 actors before 14 cameras, and 2,929 test frames in and out of the studio",
        source="https://vcai.mpi-inf.mpg.de/3dhp-dataset (get_dataset.sh and get_testset.sh, after accepting the licence in conf.ig)",
        licence="non-commercial research only, no redistribution, cite the paper",
        paper="Mehta et al., Monocular 3D Human Pose Estimation In The Wild Using Improved CNN Supervision, 3DV 2017",
    )
    splits: tuple[str, ...] = tuple(SUBSETS)
    frame_rules = tuple(FRAME_RULES)
    box_rules = tuple(BOX_RULES)
    universal: ClassVar[bool] = False

    def __init__(
        self, root: Path, *, split: str, frames: str, bbox: str, bbox_scale: float, bodies: "Bodies | None", skeleton: str = "mpi17"
    ):
        del bodies
        wanted = sorted(clip for part in (("train", "test") if split == "all" else (split,)) for clip in SUBSETS.get(part, ()))
        skeletons = ("mpi17",) if any(clip.split == "test" for clip in wanted) else ("mpi17", "mpi28")
        for value, kind, names in (
            (split, "split", (*SUBSETS, "all")),
            (frames, "frame rule", FRAME_RULES),
            (bbox, "box rule", BOX_RULES),
            (skeleton, f"skeleton of split '{split}'", skeletons),
        ):
            if value not in names:
                raise UnknownNameError(value, f"{kind} of dataset '{self.name}'", names)
        if not bbox_scale > 0:
            raise ValueError(f"bbox_scale: expected a positive number, but got {bbox_scale}")
        self.root = Path(root)
        self.rule = Rule(frames, bbox, bbox_scale, skeleton, self.universal)
        self._check_files(wanted)
        self._cuts: list[Cut] = []
        columns, counts, fingerprint = self._read(wanted)
        super().__init__(columns, split=split, counts=counts, fingerprint=fingerprint)

    def _check_files(self, wanted: list[Clip]) -> None:
        """Raises DataError where a sequence is not there, before anything long has begun."""
        if not self.root.is_dir():
            raise DataError(f"No folder {self.root}. Expected one that holds S1 to S8 or {TEST_FOLDER}. {self.where()}")
        missing = list(dict.fromkeys(clip.folder for clip in wanted if not annotation_file(self.root, clip).is_file()))
        if missing:
            first = annotation_file(self.root, next(clip for clip in wanted if clip.folder == missing[0]))
            held = ", ".join(sorted(os.listdir(self.root))[:8])
            raise DataError(
                f"{len(missing)} of {len({clip.folder for clip in wanted})} sequences are missing ({', '.join(missing[:6])}), the first is "
                f"{first}. {self.root} holds {held or 'nothing'}. Download them, name the folder that holds them, or choose a smaller "
                f"split, such as S1 or TS1. {self.where()}"
            )

    def _annotated(self, wanted: list[Clip]) -> Iterator[Annotated]:
        for _, group in groupby(wanted, key=lambda clip: clip.folder):
            clips = list(group)
            if clips[0].split == "test":
                yield load_test(self.root, clips[0])
            else:
                yield from load_train(self.root, clips, universal=self.universal)

    def _read(self, wanted: list[Clip]) -> tuple[list[SampleColumns], FrameCounts, str]:
        """The kept samples of each view, the counts, and the fingerprint."""
        step = FRAME_RULES[self.rule.frames].step
        dropped = dict.fromkeys(reasons_of(self.rule), 0)
        total, listed, hashes, columns = 0, {}, {}, []
        for found in self._annotated(wanted):
            hashes[f"{found.clip.folder}/{annotation_file(self.root, found.clip).name}"] = found.sha256
            count = len(found.joints)
            usable = count if found.clip.usable is None else min(count, found.clip.usable)
            rows = np.arange(0, usable, step)
            total += count
            dropped[PAST] += count - usable
            if step > 1:
                dropped[NOT_IN_STEP] += usable - len(rows)
            made = cut(found, rows, self.rule, sequence_folder(self.root, found.clip), listed)
            columns.append(self._columns_of(made, np.flatnonzero(usable_rows(made, usable, self.rule, dropped))))
            self._cuts.append(made)
        return columns, FrameCounts(total, sum(map(len, columns)), dropped), fingerprint_of_hashes(hashes)

    def _columns_of(self, made: Cut, rows: np.ndarray) -> SampleColumns:
        stem, count = f"{self.name}/{made.clip.split}/{made.clip.name}", len(made.frames)
        keys = [(f"{stem}/{frame:05d}", frame) for frame in made.frames[rows].tolist()]
        return SampleColumns(
            entries=[Entry(f"{key}/0", key, f"{stem}/0", frame) for key, frame in keys],
            rows=rows,
            sequence=made.clip.name,
            image_size=made.clip.size,
            read=made.pictures.read,
            reducible=made.pictures.reducible,
            boxes_xyxy=made.boxes,
            intrinsics=[made.camera.intrinsics] * count,
            skeleton=self.rule.skeleton,
            joints=made.joints,
            joints2d=made.joints2d,
            valid=made.valid,
            genders=["neutral"] * count,
            keypoints2d=made.keypoints,
            keypoints_skeleton=self.rule.skeleton,
        )

    def camera_of(self, i: int) -> Camera:
        """The camera of the ``i``-th sample with its lens distortion, which a View does not hold."""
        return self._cuts[self.sequence_at(i)].camera

    def frames_per_second(self, i: int) -> int | None:
        """Of the ``i``-th sample's sequence: 25 or 50; None in the test set, which does not tell."""
        clip = self._cuts[self.sequence_at(i)].clip
        return None if clip.split == "test" else 50 if (clip.subject, clip.sequence) in AT_50_FPS else 25

    @property
    def scenes(self) -> list[str]:
        """The scene of each sample, in order: "green-screen" (and all of the train set), "studio" or "outdoor"."""
        clips = [(made.clip, len(part)) for made, part in zip(self._cuts, self._columns, strict=True)]
        return [SCENES[clip.subject] if clip.split == "test" else "green-screen" for clip, count in clips for _ in range(count)]

    @property
    def activities(self) -> list[str | None]:
        """The activity of each sample, in order, by one of seven names; None in the train set, and where the file has another number."""
        numbers = []
        for made, part in zip(self._cuts, self._columns, strict=True):
            numbers += [0] * len(part) if made.activity is None else made.activity[part.rows].tolist()
        return [ACTIVITIES[number - 1] if 1 <= number <= len(ACTIVITIES) else None for number in numbers]

    @classmethod
    def _sequences_in(cls, root: Path) -> set[str]:
        """The folders of the sequences whose annotation lies below ``root``. Raises DataError where there is none."""
        every = {clip.folder: annotation_file(Path(root), clip) for clip in (*SUBSETS["train"], *SUBSETS["test"])}
        found = {folder for folder, path in every.items() if path.is_file()}
        if not found:
            held = ", ".join(sorted(os.listdir(root))[:8]) if Path(root).is_dir() else "no such folder"
            raise DataError(f"No S1/Seq1/annot.mat and no {TEST_FOLDER}/TS1/annot_data.mat in {root} ({held or 'empty'}). {cls.where()}")
        return found

    @classmethod
    def holds(cls, split: str) -> frozenset[str]:
        """The subjects of a subset: "S1" to "S8" and "TS1" to "TS6"."""
        parts = ("train", "test") if split == "all" else (split,)
        return frozenset(clip.folder.partition("/")[0] for part in parts for clip in SUBSETS[part])

    @classmethod
    def splits_in(cls, root: Path) -> tuple[str, ...]:
        """Where whole, "train" and "test", else those of S1 to S8 or TS1 to TS6 that are, judged by the annotation files alone."""
        found = cls._sequences_in(root)
        whole = [split for split in cls.splits if found >= {clip.folder for clip in SUBSETS[split]}]
        parts = [split for split in whole if split in ("train", "test")]
        covered = {clip.folder for split in parts for clip in SUBSETS[split]}
        singles = [split for split in whole if split[-1].isdigit() and not covered & {clip.folder for clip in SUBSETS[split]}]
        return (*parts, *singles)

    @classmethod
    def inspect(cls, root: Path) -> list[tuple[str, str]]:
        """(level, message): the sequences that are there and missing, and of how many of its 14 views each has pictures."""
        root, found, lines = Path(root), cls._sequences_in(root), []
        for split in ("train", "test"):
            folders = list(dict.fromkeys(clip.folder for clip in SUBSETS[split]))
            missing = [folder for folder in folders if folder not in found]
            text = f"{split}: {len(folders) - len(missing)} of {len(folders)} sequences"
            level = "ok" if not missing else "warning" if len(missing) == len(folders) else "error"
            lines.append((level, text + (f"; missing: {', '.join(missing)}" if missing else "")))
        more = _unexpected(root)
        if more:
            advice = f"Expected S1/Seq1 to S8/Seq2, and in each video_{CAMERAS[0]} to video_{CAMERAS[-1]}: give them their names back"
            lines.append(("warning", f"unexpected: {', '.join(more[:4])}. {advice}"))
        for clip in SUBSETS["test"]:
            if clip.folder in found:
                count = len(list((sequence_folder(root, clip) / "imageSequence").glob("img_*.jpg")))
                lines.append(("ok" if count else "error", f"{clip.name}: {count:,} images"))
        for folder in dict.fromkeys(clip.folder for clip in SUBSETS["train"] if clip.folder in found):
            views = [clip for clip in SUBSETS["train"] if clip.folder == folder]
            there = [clip.camera for clip in views if has_pictures(root / folder, clip)]
            level = "ok" if len(there) == len(views) else "warning" if there else "error"
            lines.append((level, f"{folder}: pictures of {len(there)} of {len(views)} views: {', '.join(map(str, there)) or 'none'}"))
        return lines

    def against_known(self) -> list[tuple[str, str]]:
        """(level, message): frames against the published numbers; views whose left is their right; uneven universal skeletons."""
        lines = []
        for made in self._cuts:
            clip = made.clip
            if clip.split == "test":
                lines.append(number_against(f"{clip.name}: valid frames", made.flagged, VALID_FRAMES[clip.subject]))
            elif clip.camera == 0:
                known = USABLE[clip.subject][clip.sequence - 1]
                lines.append(number_against(f"{clip.folder}: usable frames", min(made.total, known), known))
        for part in ("hip", "shoulder"):
            wrong = [made.clip.name for made in self._cuts if made.right_sided[part] < 0.5]
            text = f"{self.split}: {part}s left and right as the knees bend in {len(self._cuts) - len(wrong)} of {len(self._cuts)} views"
            lines.append(("error" if wrong else "ok", text + (f"; not in {', '.join(wrong[:4])}" if wrong else "")))
        lines += [] if self.universal else extrinsics_line(self.split, _views_apart(self._cuts))
        uneven = [f"{made.clip.name} ({1 - made.even:.0%} of its frames)" for made in self._cuts if made.even < 1]
        if uneven:
            lines.append(("warning", f"{self.split}: bones of the universal skeleton are no constant multiple in {', '.join(uneven[:4])}"))
        return lines


def _views_apart(cuts: Sequence[Cut]) -> list[str]:
    """Views of the train set whose people stand elsewhere in the room than in the others of their sequence, see ``apart``."""
    wrong = []
    for _, group in groupby((made for made in cuts if made.clip.split == "train"), key=lambda made: made.clip.folder):
        wrong += apart({made.clip.name: (made.frames, partial(_in_room, made)) for made in group})
    return wrong


def _in_room(made: Cut, rows: np.ndarray) -> np.ndarray:
    """The joints (n, J, 3) m of some rows of a view in the world."""
    pose = made.camera.world_to_camera
    return (made.joints[rows] - pose[:3, 3]) @ pose[:3, :3]


def _unexpected(root: Path) -> list[str]:
    """Folders of sequences, and videos or folders of frames in a sequence, that the train set has not."""
    folders, views = {clip.folder for clip in SUBSETS["train"]}, {f"video_{camera}" for camera in CAMERAS}
    more = {path.relative_to(root).as_posix() for path in root.glob("S[0-9]*/Seq*")} - folders
    more |= {path.relative_to(root).as_posix() for path in root.glob("S[0-9]*/Seq*/image*/video_*") if path.stem not in views}
    return sorted(more)


class Mpi3DHPUniversal(Mpi3DHP):
    """The same people at the universal height (univ_annot3), as the authors' evaluator scores the test set.

    Everything in the image (``joints2d``, boxes, rules) stays that of the metric joints: the universal ones do not project onto it.
    """

    name = "3dhp-universal"
    card = Card(
        name="3dhp-universal",
        what=f"{Mpi3DHP.card.what}, skeletons scaled to one universal height",
        source=Mpi3DHP.card.source,
        licence=Mpi3DHP.card.licence,
        paper=Mpi3DHP.card.paper,
    )
    universal = True
