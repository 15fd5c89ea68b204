"""From the unreduced table of errors to means, each with its count and interval: here metres become millimetres."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpsbench.metrics import METRICS
from hpsbench.metrics.actions import mean_of_action_means
from hpsbench.metrics.keypoints import joint_groups
from hpsbench.metrics.onset import Onsets
from hpsbench.metrics.visibility import STATES, joint_states
from hpsbench.seeds import rng_of
from hpsbench.types import Errors

RESAMPLES = 2000
AVERAGINGS = ("pooled", "sequences", "actions", "samples")
# Frames after an occlusion's end at which it is told how many are not back yet.
_NOT_BACK_AT = (0, 1, 2, 5, 10, 20, 30, 60)
_LEVEL = (0.025, 0.975)
_CELLS = 4_000_000


@dataclass(frozen=True)
class Flags:
    """What plans hid, row by row of an Errors: ``occluded`` and ``outside`` (N, J) bool of the joints ``names``."""

    names: tuple[str, ...]
    occluded: np.ndarray
    outside: np.ndarray


def summarise(
    errors: Errors,
    flags: Flags | None,
    metrics: Iterable[str],
    averaging: str,
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    by: Sequence[str] = (),
    onsets: Onsets | None = None,
) -> list[dict[str, object]]:
    """One row per metric and split: "all", "visible", "occluded" and "outside" joints where ``flags`` are given, then those of ``by``.

    ``value`` is in ``unit`` (mm, degrees or percent), None where nothing was measured. ``averaging``: "pooled" is the mean over all
    measured joints of all people, "sequences" the mean over sequences of their pooled means, "actions" that of
    ``mean_of_action_means`` over ``labels["action"]``, "samples" the mean over ``labels["sample"]`` of their pooled means (a sample has a
    row for each of a protocol's cases). A vertex is as visible as the joint
    that moves it most. ``count`` people and ``values`` joints (of meshes: meshes, in a split vertices) entered. ``low`` and ``high``:
    95 % interval from 2000 resamples of whole tracks (with "sequences": of whole sequences; with "actions": of whole tracks of each
    action); None for fewer than two of them, since one says nothing about another.

    ``labels`` {kind: one for each person}. ``by``: a kind of label gives a split for each of its labels, "action:Walking"; "joint"
    gives metrics of joints one for each joint, left and right together, "joint:knee". "worst" gives the mean over ``labels["sample"]`` of
    each one's worst row, by its mean over all joints ("worst:all") and, with ``flags``, over visible ones alone ("worst:visible").

    "onset" needs ``onsets``, and gives the mean at each time, "onset:-3" three frames before an onset (frames without occlusion alone),
    "onset:0" at it; and of errors in mm, by occlusions in place of people: "recovery:frames", the mean ``unit`` "frames" from the first
    frame after the end to the first whose error is back, over those that are back at all, with beside it how many of the others are
    "censored" and how many have "no_baseline" (``metrics.onset.Recovery``); "unrecovered:5", the percent of those followed for more than
    five frames after the end that are not back by then.
    """
    labels = {} if labels is None else labels
    actions, samples = (np.array(labels.get(kind, [""] * len(errors)), dtype=str) for kind in ("action", "sample"))
    people = _People(np.array(errors.tracks, dtype=str), actions, samples, averaging)
    rows = []
    for key in metrics:
        table = np.asarray(errors.values[key], dtype=np.float64)
        measured = ~np.isnan(table)
        rows.append(_row(key, "all", table, measured, people))
        if flags is not None:
            rows += _rows_by_state(key, errors, flags, people)
        for kind in by:
            if kind == "worst":
                rows += _rows_of_worst(key, errors, flags, people)
            elif kind == "onset":
                rows += _rows_of_onset(key, table, onsets, people)
            elif kind == "joint":
                rows += _rows_by_joint(key, table, errors.columns[key], people)
            else:
                rows += _rows_by_label(key, kind, table, np.array(labels[kind], dtype=str), people)
    return rows


@dataclass(frozen=True)
class _People:
    """How rows of people are averaged, and what that needs to know of each: its track, its action and its sample (N,)."""

    tracks: np.ndarray
    actions: np.ndarray
    samples: np.ndarray
    averaging: str

    def part(self, rows: np.ndarray) -> "_People":
        return _People(self.tracks[rows], self.actions[rows], self.samples[rows], self.averaging)

    def mean_and_interval(self, sums: np.ndarray, counts: np.ndarray) -> tuple[float | None, float | None, float | None]:
        """(mean, low, high) of these rows with ``sums`` (N,) over ``counts`` (N,) values each."""
        if self.averaging != "samples":
            return mean_and_interval(sums, counts, self.tracks, self.averaging, self.actions)
        _, first, sample_of = np.unique(self.samples, return_index=True, return_inverse=True)
        sums, counts = (np.bincount(sample_of, of_rows, minlength=len(first)) for of_rows in (sums, counts))
        means = np.divide(sums, counts, out=np.zeros(len(first)), where=counts > 0)
        return mean_and_interval(means, (counts > 0).astype(np.int64), self.tracks[first], "pooled")


def _rows_by_state(key: str, errors: Errors, flags: Flags, people: _People) -> list[dict[str, object]]:
    table, counts = _of_states(key, errors, flags)
    return [_row(key, split, table, counts[split], people) for split in STATES]


def _of_states(key: str, errors: Errors, flags: Flags) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The table of a metric by joints (of meshes: by parts), and how many values each entry stands for in each state."""
    table = np.asarray(errors.values[key], dtype=np.float64)
    names, sizes = errors.columns[key], np.ones(table.shape[1], dtype=np.int64)
    if key in errors.parts:
        table, names, sizes = np.asarray(errors.parts[key]), errors.part_names, np.array(errors.part_sizes)
    states = joint_states(names, flags.names, flags.occluded, flags.outside)
    return table, {split: (states[split] & ~np.isnan(table)) * sizes for split in STATES}


def _rows_of_worst(key: str, errors: Errors, flags: Flags | None, people: _People) -> list[dict[str, object]]:
    table = np.asarray(errors.values[key], dtype=np.float64)
    rows = [_worst_row(key, "worst:all", table, ~np.isnan(table), people)]
    if flags is not None:
        table, counts = _of_states(key, errors, flags)
        rows.append(_worst_row(key, "worst:visible", table, counts["visible"], people))
    return rows


def _worst_row(key: str, split: str, table: np.ndarray, counts: np.ndarray, people: _People) -> dict[str, object]:
    """A row over each sample's worst row: the one of the largest mean or, of hits, of the smallest."""
    counted = counts.sum(1)
    rows = np.flatnonzero(counted)
    means = (np.where(counts > 0, table, 0.0) * counts).sum(1)[rows] / counted[rows]
    order = np.lexsort((means if METRICS[key].higher_is_better else -means, people.samples[rows]))
    _, first = np.unique(people.samples[rows][order], return_index=True)
    worst = rows[order[first]]
    return _row(key, split, table[worst], counts[worst], people.part(worst))


def _rows_of_onset(key: str, table: np.ndarray, onsets: Onsets, people: _People) -> list[dict[str, object]]:
    measured = ~np.isnan(table)
    rows = [
        _row(key, f"onset:{time}", table[some], measured[some], people.part(some)) if len(some) else _nothing(key, f"onset:{time}")
        for time, some in onsets.rows_by_time()
    ]
    return rows + _rows_of_recovery(key, table, measured, onsets, people) if METRICS[key].unit == "mm" else rows


def _nothing(key: str, split: str) -> dict[str, object]:
    """A row that nobody is in."""
    return {"metric": key, "split": split, "unit": METRICS[key].unit, "value": None, "low": None, "high": None, "count": 0, "values": 0}


def _rows_of_recovery(key: str, table: np.ndarray, measured: np.ndarray, onsets: Onsets, people: _People) -> list[dict[str, object]]:
    """Rows over occlusions, of which whole tracks are resampled; a frame's error is the mean over its measured values."""
    counts = measured.sum(1)
    sums = np.where(measured, table, 0.0).sum(1)
    found = onsets.recovery(np.divide(sums, counts, out=np.full(len(table), np.nan), where=counts > 0))
    track_of = dict(zip(onsets.courses, people.tracks.tolist(), strict=True))
    tracks = np.array([track_of[course] for course in found.tracks], dtype=str)
    back = ~np.isnan(found.times)
    others = {name: count for name, count in found.counts.items() if name != "recovered"}
    rows = [_occlusion_row(key, "recovery:frames", "frames", found.times[back], tracks[back]) | others]
    for time in (time for time in _NOT_BACK_AT if time <= onsets.after):
        known = ~found.no_baseline & (found.followed > time)
        late = 100.0 * ~(found.times[known] <= time)
        rows.append(_occlusion_row(key, f"unrecovered:{time}", "%", late, tracks[known]))
    return rows


def _occlusion_row(key: str, split: str, unit: str, values: np.ndarray, tracks: np.ndarray) -> dict[str, object]:
    """A row over occlusions with one value each, of tracks."""
    value, low, high = mean_and_interval(values, np.ones(len(values), dtype=np.int64), tracks.tolist(), "pooled")
    row = {"metric": key, "split": split, "unit": unit, "value": value, "low": low, "high": high}
    return row | {"count": len(values), "values": len(values)}


def _rows_by_joint(key: str, table: np.ndarray, columns: Sequence[str], people: _People) -> list[dict[str, object]]:
    if METRICS[key].needs not in ("joints", "track"):
        return []
    parts = {name: table[:, places] for name, places in joint_groups(columns).items()}
    return [_row(key, f"joint:{name}", part, ~np.isnan(part), people) for name, part in parts.items()]


def _rows_by_label(key: str, kind: str, table: np.ndarray, labels: np.ndarray, people: _People) -> list[dict[str, object]]:
    rows = []
    for label in np.unique(labels):
        some = labels == label
        rows.append(_row(key, f"{kind}:{label}", table[some], ~np.isnan(table[some]), people.part(some)))
    return rows


def _row(key: str, split: str, table: np.ndarray, counts: np.ndarray, people: _People) -> dict[str, object]:
    """A row over the entries of ``table`` (N, K), each of which stands for ``counts`` (N, K) values (0: it does not enter)."""
    metric = METRICS[key]
    sums = (np.where(counts > 0, table, 0.0) * counts).sum(1)
    value, low, high = people.mean_and_interval(sums, counts.sum(1))
    return {
        "metric": key,
        "split": split,
        "unit": metric.unit,
        "value": _scaled(value, metric.factor),
        "low": _scaled(low, metric.factor),
        "high": _scaled(high, metric.factor),
        "count": int((counts > 0).any(1).sum()),
        "values": int(counts.sum()),
    }


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else float(value * factor)


def mean_and_interval(
    sums: np.ndarray, counts: np.ndarray, tracks: Iterable[str], averaging: str, actions: Sequence[str] = ()
) -> tuple[float | None, float | None, float | None]:
    """(mean, low, high) of rows with ``sums`` (N,) over ``counts`` (N,) values each.

    What is resampled is a track, or with "sequences" a sequence: all before the last slash of its tracks' names. With "actions" row i
    is a person doing ``actions[i]``, and tracks are resampled within each action.
    """
    if averaging not in AVERAGINGS:
        raise ValueError(f"averaging: expected one of {', '.join(AVERAGINGS)}, but got '{averaging}'")
    if averaging == "actions":
        return _over_actions(sums, counts, np.array(list(tracks), dtype=str), actions)
    clusters = [name if averaging == "pooled" else name.rpartition("/")[0] for name in tracks]
    sums, counts = _clustered(sums, counts, np.array(clusters, dtype=str))
    if averaging == "sequences":
        sums, counts = sums / counts, np.ones_like(counts)
    if not len(sums):
        return None, None, None
    value = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return value, None, None
    low, high = np.quantile(_resampled_means(sums, counts), _LEVEL)
    return value, float(low), float(high)


def _clustered(sums: np.ndarray, counts: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sums and counts of those ``clusters`` (N,) in which anything was counted, in order of their names."""
    names, cluster_of = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster_of, sums, minlength=len(names))
    counts = np.bincount(cluster_of, counts, minlength=len(names))
    return sums[counts > 0], counts[counts > 0]


def _over_actions(
    sums: np.ndarray, counts: np.ndarray, tracks: np.ndarray, actions: Sequence[str]
) -> tuple[float | None, float | None, float | None]:
    """(mean over actions, low, high); without an interval where an action has one track alone."""
    people = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    value, means = mean_of_action_means(people, list(actions))
    if np.isnan(value):
        return None, None, None
    names, draws = np.array(actions, dtype=str), []
    for action in (action for action, (_, count) in means.items() if count):
        rows = (names == action) & (counts > 0)
        of_tracks = _clustered(people[rows], np.ones(rows.sum()), tracks[rows])
        if len(of_tracks[0]) < 2:
            return value, None, None
        draws.append(_resampled_means(*of_tracks, action))
    low, high = np.quantile(np.mean(draws, axis=0), _LEVEL)
    return value, float(low), float(high)


def _resampled_means(sums: np.ndarray, counts: np.ndarray, *words: str) -> np.ndarray:
    """The mean (RESAMPLES,) of as many clusters drawn with replacement; the same draws for the same number of clusters and ``words``."""
    rng, number = rng_of("bootstrap", RESAMPLES, *words), len(sums)
    means = []
    for part in np.array_split(np.arange(RESAMPLES), -(-RESAMPLES * number // _CELLS)):
        drawn = (rng.random((len(part), number)) * number).astype(np.int64)
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    return np.concatenate(means)


def counts_of(errors: Errors) -> Mapping[str, int]:
    """How many people failed, and how many have a value in any metric."""
    scored = np.zeros(len(errors), dtype=bool)
    for table in errors.values.values():
        scored |= ~np.isnan(table).all(1)
    return {"n_evaluated": int(scored.sum()), "n_failed": int(np.asarray(errors.failed).sum())}
