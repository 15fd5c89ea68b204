"""From the unreduced table of errors to means, each with its count and interval: here metres become millimetres."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hpsbench.metrics import METRICS
from hpsbench.metrics.visibility import STATES, joint_states
from hpsbench.seeds import rng_of
from hpsbench.types import Errors

RESAMPLES = 2000
_LEVEL = (0.025, 0.975)
_CELLS = 4_000_000


@dataclass(frozen=True)
class Flags:
    """What plans hid, row by row of an Errors: ``occluded`` and ``outside`` (N, J) bool of the joints ``names``."""

    names: tuple[str, ...]
    occluded: np.ndarray
    outside: np.ndarray


def summarise(errors: Errors, flags: Flags | None, metrics: Iterable[str], averaging: str) -> list[dict[str, object]]:
    """One row per metric and split ("all", then "visible", "occluded" and "outside" joints where ``flags`` are given).

    ``value`` is in ``unit`` (mm or degrees), None where nothing was measured. ``averaging``: "pooled" is the mean over all
    measured joints of all people, "sequences" the mean over sequences of their pooled means. A vertex is as visible as the joint
    that moves it most. ``count`` people and ``values`` joints (of meshes: meshes, in a split vertices) entered. ``low`` and ``high``:
    95 % interval from 2000 resamples of whole tracks (with "sequences": of whole sequences); None for fewer than two of them, since
    one says nothing about another.
    """
    rows = []
    for key in metrics:
        table = np.asarray(errors.values[key], dtype=np.float64)
        rows.append(_row(key, "all", table, ~np.isnan(table), errors.tracks, averaging))
        if flags is None:
            continue
        names, sizes = errors.columns[key], np.ones(table.shape[1], dtype=np.int64)
        if key in errors.parts:
            table, names, sizes = np.asarray(errors.parts[key]), errors.part_names, np.array(errors.part_sizes)
        states = joint_states(names, flags.names, flags.occluded, flags.outside)
        rows += [_row(key, split, table, (states[split] & ~np.isnan(table)) * sizes, errors.tracks, averaging) for split in STATES]
    return rows


def _row(key: str, split: str, table: np.ndarray, counts: np.ndarray, tracks: Iterable[str], averaging: str) -> dict[str, object]:
    """A row over the entries of ``table`` (N, K), each of which stands for ``counts`` (N, K) values (0: it does not enter)."""
    metric = METRICS[key]
    value, low, high = mean_and_interval((np.where(counts > 0, table, 0.0) * counts).sum(1), counts.sum(1), tracks, averaging)
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
    sums: np.ndarray, counts: np.ndarray, tracks: Iterable[str], averaging: str
) -> tuple[float | None, float | None, float | None]:
    """(mean, low, high) of rows with ``sums`` (N,) over ``counts`` (N,) values each.

    What is resampled is a track, or with "sequences" a sequence: all before the last slash of its tracks' names.
    """
    if averaging not in ("pooled", "sequences"):
        raise ValueError(f"averaging: expected 'pooled' or 'sequences', but got '{averaging}'")
    clusters = [name if averaging == "pooled" else name.rpartition("/")[0] for name in tracks]
    names, cluster_of = np.unique(np.array(clusters, dtype=str), return_inverse=True)
    sums = np.bincount(cluster_of, sums, minlength=len(names))
    counts = np.bincount(cluster_of, counts, minlength=len(names))
    sums, counts = sums[counts > 0], counts[counts > 0]
    if averaging == "sequences":
        sums, counts = sums / counts, np.ones_like(counts)
    if not len(sums):
        return None, None, None
    value = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return value, None, None
    low, high = np.quantile(_resampled_means(sums, counts), _LEVEL)
    return value, float(low), float(high)


def _resampled_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean (RESAMPLES,) of as many clusters drawn with replacement; the same draws for the same number of clusters."""
    rng, number = rng_of("bootstrap", RESAMPLES), len(sums)
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
