"""The mean over actions that Human3.6M's tables report."""

from collections.abc import Mapping, Sequence

import numpy as np


def mean_of_action_means(errors: np.ndarray, actions: Sequence[str]) -> tuple[float, Mapping[str, tuple[float, int]]]:
    """(mean over actions, {action: (its mean, its count)}) of ``errors`` (N,) or (N, K), in their unit.

    Row i is a person doing ``actions[i]``. First the K of a person are averaged, then the people of an action, then the
    actions, each with equal weight however many people it has. NaN is not measured: it enters neither mean nor count (the people that
    have a number); an action of which nothing was measured has the mean NaN and the count 0, and is left out of the mean over actions,
    which is NaN where none is left. Actions stand in order of their first row. Source: Martinez et al. 2017, VideoPose3D.
    """
    table = np.asarray(errors, dtype=np.float64)
    table = table.reshape(len(table), int(np.prod(table.shape[1:])))
    if len(table) != len(actions):
        raise ValueError(f"mean_of_action_means: expected an action for each of {len(table)} people, but got {len(actions)}")
    measured = ~np.isnan(table)
    known = measured.any(1)
    people = np.where(measured, table, 0.0).sum(1) / np.maximum(measured.sum(1), 1)
    names = np.array(actions, dtype=str)
    means: dict[str, tuple[float, int]] = {}
    for name in dict.fromkeys(actions):
        rows = people[known & (names == name)]
        means[name] = (float(rows.mean()) if len(rows) else float("nan"), len(rows))
    measured_means = [mean for mean, count in means.values() if count]
    return (float(np.mean(measured_means)) if measured_means else float("nan")), means
