"""What every dataset is: an ordered collection of samples with stable ids, and the count of what was left out, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hpsbench.errors import DataError, UnknownNameError
from hpsbench.registry import load_plugin
from hpsbench.types import Card, Sample

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

# Built tracks that stay in memory: more than the people of one sequence, so that frames visited in order build each track once.
_TRACKS_KEPT = 16


@dataclass(frozen=True)
class FrameCounts:
    """Person-frames: all that the files hold, those kept, and those dropped by reason (a reason that dropped none counts 0)."""

    total: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self):
        if self.total != self.kept + sum(self.dropped.values()):
            raise ValueError(f"FrameCounts: {self.kept} kept and {dict(self.dropped)} dropped do not add up to {self.total}")

    def __str__(self) -> str:
        lost = ", ".join(f"{count:,} ({reason})" for reason, count in self.dropped.items())
        return f"{self.kept:,} of {self.total:,} person-frames kept; dropped: {lost or 'none'}"


class Entry(NamedTuple):
    """One sample of a dataset before it is built: names and numbers as in ``Sample``, and the image that it shares."""

    id: str
    image_key: str
    track: str
    frame: int


class PackedEntries(Sequence[Entry]):
    """Entries as four arrays, which worker processes share; one is made anew each time that it is asked for."""

    def __init__(self, entries: Sequence[Entry]):
        columns = zip(*entries, strict=True) if len(entries) else ((), (), (), ())
        ids, keys, tracks, frames = columns
        self._ids, self._keys = (np.array([text.encode() for text in texts], dtype=bytes) for texts in (ids, keys))
        self._tracks = list(dict.fromkeys(tracks))
        places = {name: place for place, name in enumerate(self._tracks)}
        self._track_of, self._frames = np.array([places[name] for name in tracks], dtype=np.int32), np.array(frames, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, i: int) -> Entry:
        i = range(len(self))[i]
        return Entry(self._ids[i].decode(), self._keys[i].decode(), self._tracks[self._track_of[i]], int(self._frames[i]))


class Dataset:
    """An ordered collection of samples. A subclass fills in the class attributes and ``sample_at``.

    ``card`` says what it is; ``splits`` are the names that ``split`` may take beside "all", ``subsets`` further ones, whose samples come
    out of several splits; ``frame_rules`` and ``box_rules`` the names of its rules, frame rules from the loosest to the strictest;
    ``counts`` what the frame rule and the box rule kept and dropped; ``fingerprint`` is a SHA-256 over the annotation files. Datasets of
    one ``family`` are forms of the same recordings ("": it has no other form).
    """

    name: str
    family: str = ""
    card: Card
    splits: tuple[str, ...]
    subsets: tuple[str, ...] = ()
    frame_rules: tuple[str, ...]
    box_rules: tuple[str, ...]

    def __init__(self, entries: Sequence[Entry], *, split: str, counts: FrameCounts, fingerprint: str):
        self.split = split
        self.counts = counts
        self.fingerprint = fingerprint
        self._entries = entries
        self._tracks: dict[str, list[int]] = {}
        for i, entry in enumerate(entries):
            self._tracks.setdefault(entry.track, []).append(i)
        self._built: dict[str, list[Sample]] = {}

    @classmethod
    def check_rules(cls, split: str, frames: str, bbox: str, bbox_scale: float) -> None:
        """Raises UnknownNameError for a split, frame rule or box rule that this dataset lacks, ValueError for a scale not above 0."""
        rules = (
            (split, "split", (*cls.splits, *cls.subsets, "all")),
            (frames, "frame rule", cls.frame_rules),
            (bbox, "box rule", cls.box_rules),
        )
        for value, kind, names in rules:
            if value not in names:
                raise UnknownNameError(value, f"{kind} of dataset '{cls.name}'", names)
        if not bbox_scale > 0:
            raise ValueError(f"bbox_scale: expected a positive number, but got {bbox_scale}")

    @classmethod
    def default_root(cls) -> Path:
        """The folder used where none is named. Raises DataError: only an embedded set has one."""
        raise DataError(
            f"No folder is named for the dataset '{cls.name}'. {cls.where()} Then name its folder with --data or HPSBENCH_DATA."
        )

    @classmethod
    def where(cls) -> str:
        """A sentence: where to get the data and under which terms."""
        return f"Get it from {cls.card.source} (terms: {cls.card.licence})."

    @classmethod
    def splits_in(cls, root: Path) -> tuple[str, ...]:
        """Those of ``splits`` that lie below ``root``."""
        del root
        return cls.splits

    @classmethod
    def holds(cls, split: str) -> frozenset[str]:
        """The takes or people that a split or subset, or "all", is made of, by names that hold for the family: splits that share none
        share no name. Here each split is one of its own; a dataset whose splits overlap says of what they are made."""
        return frozenset(cls.splits if split == "all" else (split,))

    @classmethod
    def inspect(cls, root: Path) -> list[tuple[str, str]]:
        """(level, message) about the files below ``root``, for ``hpsbench check data``; a level is "ok", "warning" or "error"."""
        del root
        return []

    def against_known(self) -> list[tuple[str, str]]:
        """(level, message): what was read against the published numbers, for ``hpsbench check data``."""
        return []

    def sample_at(self, i: int) -> Sample:
        """The ``i``-th sample, 0 <= i < len(self)."""
        raise NotImplementedError

    def __getstate__(self) -> dict:
        """For worker processes: what is long in arrays, which they share; what follows from it is left out."""
        tracks = {name: np.array(places) for name, places in self._tracks.items()}
        state = {**self.__dict__, "_built": {}, "_entries": PackedEntries(self._entries), "_tracks": tracks}
        state.pop("_index", None)
        return state

    @cached_property
    def _index(self) -> dict[str, int]:
        return {entry.id: i for i, entry in enumerate(self._entries)}

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, i: int) -> Sample:
        return self.sample_at(range(len(self))[i])

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample_at(i) for i in range(len(self)))

    @property
    def ids(self) -> list[str]:
        """Sample ids, sorted by sequence, then frame, then person."""
        return [entry.id for entry in self._entries]

    @property
    def track_lengths(self) -> dict[str, int]:
        """How many samples each track kept, tracks in order of their first one."""
        return {name: len(places) for name, places in self._tracks.items()}

    def index_of(self, sample_id: str) -> int:
        """The place of a sample. Raises UnknownNameError where the id is none of this dataset's."""
        if sample_id not in self._index:
            raise UnknownNameError(sample_id, f"sample of {self.name}/{self.split}", [], f"It has {len(self):,} others.")
        return self._index[sample_id]

    def track(self, name: str) -> list[Sample]:
        """The kept samples of a track, ordered by frame. Raises UnknownNameError."""
        if name not in self._tracks:
            raise UnknownNameError(name, f"track of {self.name}/{self.split}", self._tracks)
        if name not in self._built:
            while len(self._built) >= _TRACKS_KEPT:
                del self._built[next(iter(self._built))]
            self._built[name] = [self.sample_at(int(i)) for i in self._tracks[name]]
        return self._built[name]

    def frames(self) -> list[list[int]]:
        """Places of samples grouped by the image that they share, in order: for decoding each image once."""
        groups: dict[str, list[int]] = {}
        for i, entry in enumerate(self._entries):
            groups.setdefault(entry.image_key, []).append(i)
        return list(groups.values())


def open_dataset(
    name: str, root: Path | str | None, *, split: str, frames: str, bbox: str, bbox_scale: float, bodies: "Bodies | None"
) -> Dataset:
    """The dataset registered as ``name`` in the folder ``root`` (None: its embedded set, if it has one).

    ``frames`` names the frame rule and ``bbox`` the box rule of that dataset; boxes grow by ``bbox_scale`` about their centre.
    Without ``bodies`` no sample has a ``trans``. Raises UnknownNameError for any of the names, DataError for the files.
    """
    kind = load_plugin("dataset", name)
    folder = kind.default_root() if root is None else Path(root)
    return kind(folder, split=split, frames=frames, bbox=bbox, bbox_scale=bbox_scale, bodies=bodies)
