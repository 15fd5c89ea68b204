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
    measured joints of all people, "sequences" the mean over sequences of their pooled means. ``count`` people and ``values``
    joints (or meshes) entered. ``low`` and ``high``: 95 % interval from 2000 resamples of whole tracks, None for fewer than
    two tracks, since one track says nothing about another.
    """
    rows = []
    for key in metrics:
        table = np.asarray(errors.values[key], dtype=np.float64)
        masks = {"all": np.ones(table.shape, dtype=bool)}
        if flags is not None:
            states = joint_states(errors.columns[key], flags.names, flags.occluded, flags.outside)
            masks |= {state: states[state] for state in STATES if table.shape[1] > 1}
        rows += [_row(key, split, table, mask, errors, averaging) for split, mask in masks.items()]
    return rows


def _row(key: str, split: str, table: np.ndarray, mask: np.ndarray, errors: Errors, averaging: str) -> dict[str, object]:
    metric = METRICS[key]
    measured = mask & ~np.isnan(table)
    value, low, high = mean_and_interval(np.where(measured, table, 0.0).sum(1), measured.sum(1), errors.tracks, averaging)
    return {
        "metric": key,
        "split": split,
        "unit": metric.unit,
        "value": _scaled(value, metric.factor),
        "low": _scaled(low, metric.factor),
        "high": _scaled(high, metric.factor),
        "count": int(measured.any(1).sum()),
        "values": int(measured.sum()),
    }


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else float(value * factor)


def mean_and_interval(
    sums: np.ndarray, counts: np.ndarray, tracks: Iterable[str], averaging: str
) -> tuple[float | None, float | None, float | None]:
    """(mean, low, high) of rows with ``sums`` (N,) over ``counts`` (N,) values each, resampled by track.

    A track is dataset/split/sequence/person; all before its last slash is the sequence.
    """
    names, track_of = np.unique(np.asarray(list(tracks), dtype=object).astype(str), return_inverse=True)
    sums = np.bincount(track_of, sums, minlength=len(names))
    counts = np.bincount(track_of, counts, minlength=len(names))
    names, sums, counts = names[counts > 0], sums[counts > 0], counts[counts > 0]
    if not len(names):
        return None, None, None
    starts = _starts(names, averaging)
    value = float(_means(np.ones((1, len(names))), sums, counts, starts)[0])
    if len(names) < 2:
        return value, None, None
    low, high = np.quantile(_resampled_means(sums, counts, starts), _LEVEL)
    return value, float(low), float(high)


def _resampled_means(sums: np.ndarray, counts: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The mean (RESAMPLES,) of as many tracks drawn with replacement, the same draws for the same number of tracks."""
    rng = rng_of("bootstrap", RESAMPLES)
    tracks = len(sums)
    means = []
    for part in np.array_split(np.arange(RESAMPLES), -(-RESAMPLES * tracks // _CELLS)):
        cells = len(part) * tracks
        drawn = (rng.random(cells) * tracks).astype(np.int64) + np.repeat(np.arange(len(part)) * tracks, tracks)
        weights = np.bincount(drawn, minlength=cells).reshape(len(part), tracks).astype(np.float64)
        means.append(_means(weights, sums, counts, starts))
    return np.concatenate(means)


def _starts(names: np.ndarray, averaging: str) -> np.ndarray:
    """Where, among the sorted tracks, each group begins whose tracks are pooled before the mean over groups."""
    if averaging == "pooled":
        return np.array([0])
    if averaging != "sequences":
        raise ValueError(f"averaging: expected 'pooled' or 'sequences', but got '{averaging}'")
    sequences = np.array([name.rpartition("/")[0] for name in names])
    return np.concatenate([[0], np.flatnonzero(sequences[1:] != sequences[:-1]) + 1])


def _means(weights: np.ndarray, sums: np.ndarray, counts: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """For each row of ``weights`` (R, T): the mean over groups of sum / count, leaving out groups of which no track was drawn."""
    total = np.add.reduceat(weights * sums, starts, axis=1)
    number = np.add.reduceat(weights * counts, starts, axis=1)
    present = number > 0
    return np.divide(total, number, out=np.zeros_like(total), where=present).sum(1) / present.sum(1)


def counts_of(errors: Errors) -> Mapping[str, int]:
    """How many people failed, and how many have a value in any metric."""
    scored = np.zeros(len(errors), dtype=bool)
    for table in errors.values.values():
        scored |= ~np.isnan(table).all(1)
    return {"n_evaluated": int(scored.sum()), "n_failed": int(np.asarray(errors.failed).sum())}
