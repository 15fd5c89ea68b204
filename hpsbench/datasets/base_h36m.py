"""What every form of Human3.6M shares: clips cut to a frame rule, projected through the lens, and given out as samples."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hpsbench.datasets.base import Entry, FrameCounts
from hpsbench.datasets.base_3dpw_files import fingerprint_of_hashes, number_against
from hpsbench.datasets.base_columns import ColumnDataset, SampleColumns
from hpsbench.datasets.base_h36m_camera import Camera, cameras_of, find_metadata
from hpsbench.datasets.base_h36m_clips import (
    BOX_REASONS,
    NO_PICTURE,
    TOO_SMALL,
    Annotated,
    KeptClip,
    Rule,
    apart,
    cut,
    extrinsics_line,
    rightly_sided,
    usable_rows,
)
from hpsbench.datasets.base_h36m_files import held_in
from hpsbench.datasets.base_h36m_frames import Pictures
from hpsbench.datasets.base_h36m_names import (
    BAD_RULES,
    FRAME_RULES,
    SUBSETS,
    Clip,
    clips_of,
    frame_rule,
    parse_clip,
)
from hpsbench.errors import DataError, UnknownNameError
from hpsbench.types import Card

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

_LICENCE = "academic use only, no redistribution; account and approval at vision.imar.ro/human3.6m"
_PAPER = "Ionescu et al., Human3.6M: Large Scale Datasets and Predictive Methods for 3D Human Sensing in Natural Environments, TPAMI 2014"


def card_of(name: str, what: str, source: str = "http://vision.imar.ro/human3.6m") -> Card:
    """The Card of one form of Human3.6M."""
    counts = "train (S1, S5, S6, S7, S8) 1,559,752 and test (S9, S11) 543,344 person-frames of 4 cameras at 50 fps"
    return Card(name, f"Human3.6M, {what}; {counts}", source, _LICENCE, _PAPER)


class H36MLayout(ColumnDataset):
    """Human3.6M in one of its forms. A subclass gives ``name``, ``card``, ``box_rules`` and ``_annotated``.

    ``split``: a subset by name (``SUBSETS``); an id holds the half of its subject ("train" or "test"), so that a person-frame has one id
    in every subset and, but for the dataset's name, in every form: "h36m/test/s_09_act_02_subact_01_ca_04/00005/0".
    ``frames``: "all", "every-5th", "every-20th" or "every-64th" of the video from its first on, with "+" and a rule on bad
    sequences: "drop-s11-damaged" (HMR), "drop-s11-directions" (VideoPose3D), "drop-s9-shifted" (HybrIK), "drop-bad" (the first
    and the third), "fix-s9-shift" (posepile). ``bbox``: "joints-in-image", the tight box of the projected joints of
    ``skeleton`` inside the image; "keypoints" the dataset's own 2D joints; "masks" its rectangles; "annotation" a derived file's.
    ``skeleton``: "h36m17" (left leg first), or "h36m32" where the form has all.

    Joints are mocap in the camera frame; ``joints2d`` is through the lens, and ``camera_of`` tells its distortion. What lies
    on disk is read; ``inspect`` says what is missing. Raises DataError for the files, UnknownNameError for the names.

    Annotation files are parsed once, into indexes that serve every subset and rule: of what the files themselves hold, unprojected.
    """

    family = "h36m"
    splits: tuple[str, ...] = tuple(name for name in SUBSETS if name != "all")
    frame_rules = FRAME_RULES
    box_rules: tuple[str, ...] = ("joints-in-image",)
    # Person-frames by (split, frame rule), where published: lifting's loaders; SPIN's npz.
    known: ClassVar[Mapping[tuple[str, str], int]] = {
        ("train", "all"): 1_559_752,
        ("test", "all+drop-s11-directions"): 543_344,
        ("hmr-p1", "every-5th"): 109_867,
        ("spin-p2", "every-5th"): 27_558,
    }

    def __init__(
        self,
        root: Path,
        *,
        split: str,
        frames: str,
        bbox: str,
        bbox_scale: float,
        bodies: "Bodies | None",
        skeleton: str = "h36m17",
    ):
        for value, kind, names in (
            (split, "split", SUBSETS),
            (frames, "frame rule", FRAME_RULES),
            (bbox, "box rule", self.box_rules),
            (skeleton, "skeleton", ("h36m17", "h36m32")),
        ):
            if value not in names:
                raise UnknownNameError(value, f"{kind} of dataset '{self.name}'", names)
        if not bbox_scale > 0:
            raise ValueError(f"bbox_scale: expected a positive number, but got {bbox_scale}")
        self.root = Path(root)
        self.skeleton = skeleton
        self.rules = (frames, bbox, bbox_scale)
        if not self.root.is_dir():
            raise DataError(f"No folder {self.root}. {self.where()}")
        self._hashes: dict[Path, str] = {}
        self._clips: list[KeptClip] = []
        columns, counts = self._read(clips_of(split), bodies)
        # Files of several subjects have the same name.
        fingerprint = fingerprint_of_hashes({path.relative_to(self.root).as_posix(): sha256 for path, sha256 in self._hashes.items()})
        super().__init__(columns, split=split, counts=counts, fingerprint=fingerprint)

    def _annotated(self, wanted: Sequence[Clip]) -> Iterable[Annotated]:
        """The clips among ``wanted`` that the files hold, any order; adds the files' SHA-256 to ``_hashes``. Raises DataError."""
        raise NotImplementedError

    def _cameras(self) -> dict[tuple[int, int], Camera]:
        """The cameras of the metadata below ``root``, by subject and number. Raises DataError."""
        metadata = find_metadata(self.root, self.where())
        cameras, self._hashes[metadata] = cameras_of(metadata)
        return cameras

    def _read(self, wanted: Sequence[Clip], bodies: "Bodies | None") -> tuple[list[SampleColumns], FrameCounts]:
        frames, bbox, scale = self.rules
        step, bad = frame_rule(frames)
        rule = Rule(self.name, self.skeleton, bbox, scale, bad)
        too_often, left_out = f"not {frames.partition('+')[0]}", f"bad sequence ({bad})"
        some = [too_often] * (step > 1) + [left_out] * bad.startswith("drop")
        dropped = dict.fromkeys((*some, NO_PICTURE, BOX_REASONS[bbox], TOO_SMALL), 0)
        total, pictures = 0, Pictures(self.root)
        kept: list[tuple[KeptClip, np.ndarray]] = []
        absent = {clip.subject for clip in wanted}
        for found in self._annotated(wanted):
            total += len(found.frames)
            absent.discard(found.clip.subject)
            if BAD_RULES[bad](found.clip):
                dropped[left_out] += len(found.frames)
                continue
            rows = np.flatnonzero(found.frames % step == 0)
            if step > 1:
                dropped[too_often] += len(found.frames) - len(rows)
            if len(rows):
                clip = cut(found, rows, rule, pictures, bodies)
                kept.append((clip, usable_rows(clip, found.frames.max(), dropped, BOX_REASONS[bbox])))
        if absent:
            missing = ", ".join(f"S{subject}" for subject in sorted(absent))
            raise DataError(
                f"No sequence of {missing} in {self.root}, which holds {held_in(self.root)}. Expected {self._expected()}. {self.where()}"
            )
        kept.sort(key=lambda pair: pair[0].clip)
        self._clips = [clip for clip, _ in kept]
        columns = [self._columns_of(clip, np.flatnonzero(usable)) for clip, usable in kept]
        return columns, FrameCounts(total, sum(map(len, columns)), dropped)

    def _expected(self) -> str:
        """Where the annotations were looked for, in words."""
        raise NotImplementedError

    def _columns_of(self, clip: KeptClip, rows: np.ndarray) -> SampleColumns:
        stem, count = f"{self.name}/{clip.clip.split}/{clip.clip.name}", len(clip.frames)
        keys = [(f"{stem}/{frame:05d}", frame) for frame in clip.frames[rows].tolist()]
        return SampleColumns(
            entries=[Entry(f"{key}/0", key, f"{stem}/0", frame) for key, frame in keys],
            rows=rows,
            sequence=clip.clip.name,
            image_size=clip.pictures.size,
            read=clip.pictures.read,
            reducible=clip.pictures.reducible,
            boxes_xyxy=clip.boxes,
            intrinsics=[clip.camera.intrinsics] * count,
            skeleton=self.skeleton,
            joints=clip.joints,
            joints2d=clip.joints2d,
            valid=np.ones(clip.joints.shape[:2], dtype=bool),
            genders=["neutral"] * count,
            rotvecs=clip.rotvecs,
            betas=clip.betas,
            trans=clip.trans,
            keypoints2d=clip.keypoints,
            keypoints_skeleton=None if clip.keypoints is None else self.skeleton,
        )

    def camera_of(self, i: int) -> Camera:
        """The camera of the ``i``-th sample with its lens distortion, which a View does not hold."""
        return self._clips[self.sequence_at(i)].camera

    @property
    def actions(self) -> list[str]:
        """The action of each sample, in order, by one of 15 names: what a mean over actions is grouped by."""
        return [clip.clip.action_name for clip, part in zip(self._clips, self._columns, strict=True) for _ in range(len(part))]

    @classmethod
    def _clips_in(cls, root: Path) -> set[Clip]:
        """The clips whose annotations lie below ``root``, by the names of its files. Raises DataError."""
        raise NotImplementedError

    @classmethod
    def holds(cls, split: str) -> frozenset[str]:
        """The subjects of a subset: "S1" to "S11"."""
        return frozenset(f"S{subject}" for subject in SUBSETS[split].subjects)

    @classmethod
    def splits_in(cls, root: Path) -> tuple[str, ...]:
        """The subsets of which every subject has a clip below ``root``. Raises DataError where it is no such dataset."""
        subjects = {clip.subject for clip in cls._clips_in(Path(root))}
        return tuple(split for split in cls.splits if subjects >= set(SUBSETS[split].subjects))

    @classmethod
    def inspect(cls, root: Path) -> list[tuple[str, str]]:
        """(level, message) for each subject: how many of its 120 clips are annotated, and which are missing."""
        found, lines = cls._clips_in(Path(root)), []
        for subject in SUBSETS["all"].subjects:
            every = [clip for clip in clips_of("all") if clip.subject == subject]
            missing = [clip.name for clip in every if clip not in found]
            text = f"S{subject}: {len(every) - len(missing)} of {len(every)} clips annotated"
            text += f"; missing: {', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''}" if missing else ""
            level = "ok" if not missing else "warning" if len(missing) == len(every) else "error"
            lines.append((level, text))
        return lines

    def against_known(self) -> list[tuple[str, str]]:
        """(level, message): the person-frames kept against the published number, if any; clips whose left is their right; cameras that do
        not see a take in one place, where the form has both the cameras and their own joints."""
        key = (self.split, self.rules[0])
        lines = [number_against(f"{self.split}, {key[1]}: person-frames", len(self), self.known[key])] if key in self.known else []
        for part in ("hip", "shoulder"):
            wrong = [clip.clip.name for clip in self._clips if rightly_sided(clip.joints, self.skeleton)[part] < 0.5]
            text = f"{self.split}: {part}s left and right as the head faces in {len(self._clips) - len(wrong)} of {len(self._clips)} clips"
            lines.append(("error" if wrong else "ok", text + (f"; not in {', '.join(wrong[:4])}" if wrong else "")))
        return lines + extrinsics_line(self.split, self._views_apart())

    def _views_apart(self) -> list[str]:
        takes: dict[tuple[int, int, int], dict[str, KeptClip]] = {}
        for clip in self._clips:
            if clip.camera.rotation is not None and clip.camera.translation is not None:
                takes.setdefault(clip.clip[:3], {})[clip.clip.name] = clip
        every = ({name: (clip.frames, partial(_in_room, clip)) for name, clip in clips.items()} for clips in takes.values())
        return [name for views in every for name in apart(views)]


def _in_room(clip: KeptClip, rows: np.ndarray) -> np.ndarray:
    """The joints (n, J, 3) m of some rows of a clip in the world."""
    return clip.camera.to_world(clip.joints[rows])


def action_of(sample_id: str) -> str:
    """The action that a sample id of any form names, such as "Photo". Raises UnknownNameError."""
    clip = parse_clip(sample_id)
    if clip is None:
        raise UnknownNameError(sample_id, "sample of Human3.6M", ["DATASET/SPLIT/s_09_act_02_subact_01_ca_04/00005/0"])
    return clip.action_name
