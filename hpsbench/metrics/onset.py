"""Errors of video models against the time since an occlusion began, and how long a model needs to recover once it is over.

Both come from one table: an error for each frame, its track and frame number, and what the plans of ``temporal`` occluders say of the
frame: how long ago the last onset was ("onset"), how long that occlusion lasts ("duration"). Time is counted in frame numbers; a frame that
is missing, or whose error is NaN, is not measured and counts nowhere.

since, durations = since_onset_of(plan_of[id] for id in errors.ids)
course = error_since_onset(errors.values["mpjpe"].mean(1), errors.tracks, errors.frames, since, durations, before=5, after=30)

``Onsets`` are these columns for a summary.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hpsbench.types import OcclusionPlan


def onset_of(plan: OcclusionPlan) -> tuple[float, float]:
    """(frames since the last onset, how many that occlusion lasts) of a plan's frame: NaN before the first onset, and of a case that is not
    possible. Raises ValueError where the plan tells neither."""
    if plan.skipped:
        return float("nan"), float("nan")
    found = next((occlusion.params for occlusion in plan.occlusions if "onset" in occlusion.params), None)
    if found is None:
        raise ValueError(f"The plan of '{plan.sample_id}' names no onset. Take a protocol with a temporal occluder.")
    since, duration = (float("nan") if found[key] is None else float(found[key]) for key in ("onset", "duration"))
    return since, duration


def since_onset_of(plans: Iterable[OcclusionPlan]) -> tuple[np.ndarray, np.ndarray]:
    """(since, durations), (N,) each, of the frames of N plans, as ``onset_of`` gives them."""
    since, durations = np.array([onset_of(plan) for plan in plans], dtype=np.float64).reshape(-1, 2).T
    return since, durations


@dataclass(frozen=True)
class Course:
    """Mean errors by time: ``times`` (T,) frames since the onset, below 0 before it; ``means`` (T,), NaN where ``counts`` (T,) is 0."""

    times: np.ndarray
    means: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Recovery:
    """How long it took after each occlusion (E,), of track ``tracks[i]`` with its onset at frame ``onsets[i]``.

    ``times``: frames from the first one after the end to the first one whose error is back (0: at once); NaN where there is none.
    ``censored``: not back by the last measured frame before the next onset, or none was measured after the end; its time is longer than
    ``followed``: frames from the first one after the end up to and with the last measured one. ``no_baseline``: nothing was measured
    before the onset to compare with; neither recovered nor censored.
    """

    tracks: tuple[str, ...]
    onsets: np.ndarray
    times: np.ndarray
    censored: np.ndarray
    no_baseline: np.ndarray
    followed: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """How many occlusions were "recovered" from, "censored" and without a "baseline"."""
        recovered = int(np.count_nonzero(~np.isnan(self.times)))
        return {"recovered": recovered, "censored": int(self.censored.sum()), "no_baseline": int(self.no_baseline.sum())}

    @property
    def mean(self) -> float:
        """The mean time of those that recovered, NaN where none did: too short by what the censored ones lack, so read it by ``counts``."""
        times = self.times[~np.isnan(self.times)]
        return float(times.mean()) if len(times) else float("nan")

    def share_by(self, time: int) -> float:
        """The share back by ``time`` frames after the end, of the occlusions with a baseline that were followed so long; NaN of none.

        Those followed for less are left out whether they recovered or not, or quick recoveries alone would count of them.
        """
        known = ~self.no_baseline & (self.followed > time)
        return float((self.times[known] <= time).mean()) if known.any() else float("nan")


@dataclass(frozen=True)
class _Occlusion:
    """One occlusion as measured frames show it, in order of time.

    ``end``: the frame after its last one. ``frames`` and ``errors`` (n,): those from the end of the one before to before the next onset.
    """

    track: str
    onset: int
    end: int
    frames: np.ndarray
    errors: np.ndarray

    def part(self, first: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """The frames from ``first`` to before ``end``, and their errors."""
        some = (self.frames >= first) & (self.frames < end)
        return self.frames[some], self.errors[some]


def error_since_onset(
    errors: np.ndarray, tracks: Sequence[str], frames: np.ndarray, since: np.ndarray, durations: np.ndarray, *, before: int, after: int
) -> Course:
    """Mean ``errors`` (N,), in their unit, at each time from ``before`` frames before an onset to ``after`` frames after it.

    ``since`` (N,): frames since the last onset, NaN before the first one; ``durations`` (N,): how long that occlusion lasts. At a time of 0
    or more stand the frames whose last onset was so long ago; below 0 frames without occlusion alone, of which one that lies between two
    occlusions counts at both of its times. The mean is over frames. Raises ValueError where rows do not fit together.
    """
    times = np.arange(-before, after + 1)
    place, values = _by_time(errors, tracks, frames, since, durations, before=before, after=after)
    counts = np.bincount(place, minlength=len(times))
    sums = np.bincount(place, values, minlength=len(times))
    return Course(times, np.divide(sums, counts, out=np.full(len(times), np.nan), where=counts > 0), counts)


def _by_time(
    errors: np.ndarray, tracks: Sequence[str], frames: np.ndarray, since: np.ndarray, durations: np.ndarray, *, before: int, after: int
) -> tuple[np.ndarray, np.ndarray]:
    """(places, errors) of the measured frames of all occlusions: place 0 is ``before`` frames before the onset."""
    places: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
    values: list[np.ndarray] = [np.zeros(0)]
    for occlusion in _occlusions(errors, tracks, frames, since, durations):
        at, found = occlusion.part(occlusion.onset - before, occlusion.onset + after + 1)
        places.append(at - occlusion.onset + before)
        values.append(found)
    return np.concatenate(places), np.concatenate(values)


@dataclass(frozen=True)
class Onsets:
    """What a summary by time since onset needs to know of rows (N,) beside their errors.

    ``courses``: names, one for each track (of a protocol with cases: of each track under each case); ``frames``, ``since`` and
    ``durations`` as for ``error_since_onset``, ``before`` and ``after`` too; ``tolerance`` in metres as for ``recovery``.
    """

    courses: Sequence[str]
    frames: np.ndarray
    since: np.ndarray
    durations: np.ndarray
    before: int
    after: int
    tolerance: float

    def rows_by_time(self) -> Iterator[tuple[int, np.ndarray]]:
        """(time, which rows stand there) for each time from ``before`` frames before an onset to ``after`` frames after it."""
        rows = np.arange(len(self.courses), dtype=np.float64)
        columns = (self.courses, self.frames, self.since, self.durations)
        place, found = _by_time(rows, *columns, before=self.before, after=self.after)
        for k, time in enumerate(range(-self.before, self.after + 1)):
            yield time, np.sort(found[place == k].astype(np.int64))

    def recovery(self, errors: np.ndarray) -> Recovery:
        """How long after each occlusion the errors (N,) in metres, NaN where not measured, are back."""
        columns = (self.courses, self.frames, self.since, self.durations)
        return recovery(errors, *columns, before=self.before, tolerance=self.tolerance)


def recovery(
    errors: np.ndarray,
    tracks: Sequence[str],
    frames: np.ndarray,
    since: np.ndarray,
    durations: np.ndarray,
    *,
    before: int,
    tolerance: float,
) -> Recovery:
    """How long after each occlusion an error is back: at most ``tolerance``, in the errors' unit, above the error before its onset.

    That is the mean over the measured frames without occlusion among the last ``before`` ones. Rows as for ``error_since_onset``. Raises
    ValueError where they do not fit together.
    """
    found = list(_occlusions(errors, tracks, frames, since, durations))
    rows = [_recovered(occlusion, before, tolerance) for occlusion in found]
    times, censored, no_baseline, followed = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.zeros(0),) * 4
    return Recovery(
        tracks=tuple(occlusion.track for occlusion in found),
        onsets=np.array([occlusion.onset for occlusion in found], dtype=np.int64),
        times=times.astype(np.float64),
        censored=censored.astype(bool),
        no_baseline=no_baseline.astype(bool),
        followed=followed.astype(np.int64),
    )


def _recovered(occlusion: _Occlusion, before: int, tolerance: float) -> tuple[float, bool, bool, int]:
    """(time, censored, no baseline, followed) of one occlusion."""
    after, errors = occlusion.part(occlusion.end, np.inf)
    followed = int(after[-1]) - occlusion.end + 1 if len(after) else 0
    baseline = occlusion.part(occlusion.onset - before, occlusion.onset)[1]
    if not len(baseline):
        return float("nan"), False, True, followed
    back = after[errors <= baseline.mean() + tolerance]
    return (float(back[0] - occlusion.end), False, False, followed) if len(back) else (float("nan"), True, False, followed)


def _occlusions(
    errors: np.ndarray, tracks: Sequence[str], frames: np.ndarray, since: np.ndarray, durations: np.ndarray
) -> Iterator[_Occlusion]:
    """The occlusions of all tracks, by track and onset: those that some row names as its last one."""
    columns = {"errors": errors, "frames": frames, "since": since, "durations": durations}
    values = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    for name, column in values.items():
        if column.shape != (len(tracks),):
            raise ValueError(f"{name}: expected one number for each of {len(tracks)} rows, but got shape {column.shape}.")
    names = np.array(tracks, dtype=str)
    for track in np.unique(names):
        rows = np.flatnonzero(names == track)
        yield from _of_track(str(track), *(column[rows] for column in values.values()))


def _of_track(track: str, errors: np.ndarray, frames: np.ndarray, since: np.ndarray, durations: np.ndarray) -> Iterator[_Occlusion]:
    if len(np.unique(frames)) < len(frames):
        raise ValueError(f"Track '{track}' has two rows for one frame. Give one error for each frame (one case of a protocol).")
    known = ~np.isnan(since)
    if np.isnan(durations[known]).any():
        raise ValueError(f"Track '{track}' has a row with a time since onset and no duration. Give both, as the plans do.")
    found = sorted({(int(onset), int(length)) for onset, length in zip((frames - since)[known], durations[known], strict=True)})
    if len(found) > len(dict(found)):
        raise ValueError(f"Track '{track}' has rows of one onset with different durations. Give those of one protocol's plans.")
    ends = dict(found)
    order = np.argsort(frames)
    order = order[~np.isnan(errors[order])]
    measured, values = frames[order].astype(np.int64), errors[order]
    onsets, free_from = [*ends, np.inf], -np.inf
    for onset, following in pairwise(onsets):
        some = (measured >= free_from) & (measured < following)
        end = onset + ends[onset]
        yield _Occlusion(track, onset, end, measured[some], values[some])
        free_from = end
