"""Samples out of columns: arrays of which each row belongs to one sample, checked as a whole instead of sample by sample."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, compress, repeat
from typing import Any

import numpy as np

from hpsbench.datasets.base import Dataset, Entry, FrameCounts, PackedEntries
from hpsbench.types import Sample, Truth, View, unchecked


@dataclass(frozen=True)
class SampleColumns:
    """The samples of one sequence: K ``entries`` and which of the R rows of the arrays each is (``rows`` (K,), ascending).

    The arrays have a row of what ``View`` and ``Truth`` hold: ``boxes_xyxy`` (R, 4), ``intrinsics`` (R, 3, 3) or R times one (3, 3),
    ``joints`` (R, J, 3), ``joints2d`` (R, J, 2), ``valid`` (R, J), ``rotvecs`` (R, 24, 3), ``betas`` (R, 10), ``trans`` (R, 3),
    ``keypoints2d`` (R, K, 3) and R ``genders``; ``rotvecs``, ``betas`` and ``trans`` may be lists with None for those who have no body.
    ``read`` gives the image of a frame number and, where ``reducible``, takes ``reduction`` as ``View.read`` does.
    A first record is made through the types' own checks, and all rows of a column have one shape: so none of the others can fail
    them. Raises ValueError where a column is of another length or shape.
    """

    entries: Sequence[Entry]
    rows: np.ndarray
    sequence: str
    image_size: tuple[int, int]
    read: Callable[..., np.ndarray]
    boxes_xyxy: np.ndarray
    intrinsics: np.ndarray | Sequence[np.ndarray]
    skeleton: str
    joints: np.ndarray
    joints2d: np.ndarray
    valid: np.ndarray
    genders: Sequence[str]
    rotvecs: np.ndarray | None = None
    betas: np.ndarray | None = None
    trans: np.ndarray | None = None
    keypoints2d: np.ndarray | None = None
    keypoints_skeleton: str | None = None
    reducible: bool = False

    def __post_init__(self):
        count = len(self.joints)
        for column in self._columns:
            if column is not None and len(column) != count:
                raise ValueError(f"SampleColumns of '{self.sequence}': a column has {len(column)} rows, expected {count}")
        if len(self.rows) != len(self.entries):
            raise ValueError(f"SampleColumns of '{self.sequence}': {len(self.rows)} rows for {len(self.entries)} entries")
        if count:
            self._check()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "entries": PackedEntries(self.entries)}

    def _check(self) -> None:
        """Raises ValueError where a row would be refused by ``View`` or ``Truth``; all rows of a column are alike but for genders."""
        joints, joints2d, valid, _, rotvecs, betas, trans, keypoints2d, box, intrinsics = self._row(0)
        for gender in sorted(set(self.genders)):
            Truth(joints, self.skeleton, joints2d, valid, rotvecs, betas, trans, gender, keypoints2d, self.keypoints_skeleton)
        View(partial(self.read, 0), "", box, intrinsics)

    @cached_property
    def _columns(self) -> tuple[Any, ...]:
        """In the order that ``_made`` takes them."""
        truth = (self.joints, self.joints2d, self.valid, self.genders, self.rotvecs, self.betas, self.trans, self.keypoints2d)
        return (*truth, self.boxes_xyxy, self.intrinsics)

    def _row(self, row: int) -> list[Any]:
        return [None if column is None else column[row] for column in self._columns]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, k: int) -> Sample:
        return self._made(self.entries[k], *self._row(int(self.rows[k])))

    def __iter__(self) -> Iterator[Sample]:
        kept = np.zeros(len(self.joints), dtype=bool)
        kept[self.rows] = True
        mask = kept.tolist()
        columns = [repeat(None) if column is None else compress(column, mask) for column in self._columns]
        return (self._made(*fields) for fields in zip(self.entries, *columns, strict=False))

    def _made(self, entry: Entry, joints, joints2d, valid, gender, rotvecs, betas, trans, keypoints2d, box, intrinsics) -> Sample:
        """One sample of an entry and a row of every column."""
        name, image_key, track, frame = entry
        truth = {
            "joints": joints,
            "skeleton": self.skeleton,
            "joints2d": joints2d,
            "valid": valid,
            "rotvecs": rotvecs,
            "betas": betas,
            "trans": trans,
            "gender": gender,
            "keypoints2d": keypoints2d,
            "keypoints_skeleton": self.keypoints_skeleton,
        }
        view = {
            "read": partial(self.read, frame),
            "image_key": image_key,
            "bbox_xyxy": box,
            "intrinsics": intrinsics,
            "window_xyxy": None,
            "reducible": self.reducible,
        }
        sample = {
            "id": name,
            "view": unchecked(View, view),
            "truth": unchecked(Truth, truth),
            "sequence": self.sequence,
            "track": track,
            "frame": frame,
            "image_size": self.image_size,
        }
        return unchecked(Sample, sample)


class ColumnDataset(Dataset):
    """A dataset whose samples are in columns, sequence after sequence."""

    def __init__(self, columns: Sequence[SampleColumns], *, split: str, counts: FrameCounts, fingerprint: str):
        self._columns = columns
        self._starts = [0, *accumulate(len(part) for part in columns)]
        super().__init__([entry for part in columns for entry in part.entries], split=split, counts=counts, fingerprint=fingerprint)

    def sample_at(self, i: int) -> Sample:
        """The ``i``-th sample: a few slices, the image unread."""
        place = self.sequence_at(i)
        return self._columns[place][i - self._starts[place]]

    def sequence_at(self, i: int) -> int:
        """Which of the sequences, in their order, the ``i``-th sample is in. Raises IndexError where there is none."""
        return bisect_right(self._starts, range(len(self))[i]) - 1

    def __iter__(self) -> Iterator[Sample]:
        return (sample for part in self._columns for sample in part)
