"""Which places of a grid to ask for, so that each person's worst one and the shape of the map are found with few passes.

First a coarse lattice, twice as coarse where the patch does not touch the person's box. Then, round by round, the places at which the error
may be largest: a Gaussian process (Matern 3/2, over the places asked so far) gives each place a mean and how little is known of it, which
counts by how much the errors change thereabouts. A place whose mean and KAPPA deviations do not reach beyond the largest error found so far
by the bound is not asked for. "The error" is each metric's mean over all joints, and over those that the patch leaves visible: whichever
promises most.
"""

from collections.abc import Sequence

import numpy as np

from hpsbench.protocol import RefineRule
from hpsbench.sensitivity.covers import CLEAN, Grid
from hpsbench.sensitivity.passes import Found
from hpsbench.sensitivity.rows import nanmean

# Of the process, in steps of the grid; of how widely changes count; how many deviations; the least one, as a share of a person's own.
LENGTH, WIDE, KAPPA, LEAST = 1.8, 2.5, 4.0, 0.3
# Places to a round: many make full batches, few waste none.
ROUND = 8
_NUGGET = 1e-4
_DIGITS = 6


class Refinement:
    """Asks for places of a grid by a protocol's rule; one for all people, who do not know one another."""

    def __init__(self, rule: RefineRule, grid: Grid):
        self.rule, self.grid = rule, grid
        y, x = np.divmod(np.arange(grid.rows * grid.columns), grid.columns)
        self.distances = np.hypot(y[:, None] - y[None], x[:, None] - x[None])
        scaled = np.sqrt(3) * self.distances / LENGTH
        self.alike = (1 + scaled) * np.exp(-scaled)
        self.near = np.exp(-((self.distances / WIDE) ** 2) / 2)
        self.fine, self.coarse = ((y % step == step // 2) & (x % step == step // 2) for step in (rule.coarse, 2 * rule.coarse))
        self.most = int(rule.share * len(y))

    def __call__(self, found: Found) -> Sequence[int]:
        """The next places of a person, and with the first the clean crop; none: that was all."""
        possible = np.zeros(len(self.distances), dtype=bool)
        possible[found.possible] = True
        seen = found.visited[:-1]
        if not found.visited.any():
            return [*np.flatnonzero(self.lattice(found.subject.person_box) & possible).tolist(), CLEAN]
        left = min(ROUND, self.most - int(seen.sum()))
        return self.promising(targets_of(found), possible & ~seen, left) if left > 0 else []

    def lattice(self, person_box: np.ndarray) -> np.ndarray:
        """(P,) bool: the places to begin with, for a person's box (4,) in px of the canvas."""
        seen = self.grid.seen
        touch = (seen[:, :2] < person_box[2:]).all(axis=1) & (seen[:, 2:] > person_box[:2]).all(axis=1)
        return np.where(touch, self.fine, self.coarse)

    def promising(self, targets: np.ndarray, free: np.ndarray, most: int) -> list[int]:
        """At most so many of the ``free`` places (P,) bool, no two side by side, best first; none where none can raise a maximum by more
        than the bound. ``targets`` (T, P) mm, NaN where nothing is known."""
        gain = np.where(free, self.gains(targets), -np.inf)
        chosen: list[int] = []
        for place in np.argsort(-np.round(gain, _DIGITS), kind="stable"):
            if gain[place] <= self.rule.bound_mm or len(chosen) == most:
                break
            if all(self.distances[place, other] > 1 for other in chosen):
                chosen.append(int(place))
        return chosen

    def gains(self, targets: np.ndarray) -> np.ndarray:
        """(P,) mm: by how much each place may exceed what was found; the largest of all targets (T, P)."""
        best = np.full(targets.shape[1], -np.inf)
        known = np.isfinite(targets)
        for pattern in np.unique(known, axis=0):
            places = np.flatnonzero(pattern)
            if not len(places):
                continue
            weights = np.linalg.solve(self.alike[np.ix_(places, places)] + _NUGGET * np.eye(len(places)), self.alike[places])  # (v, P)
            unknown = np.sqrt(np.clip(1 - (self.alike[places] * weights).sum(0), 0, None))  # (P,)
            near = self.near[:, places] / self.near[:, places].sum(1, keepdims=True)
            for values in targets[(known == pattern).all(1)][:, places]:
                middle = np.median(values)
                mean = middle + (values - middle) @ weights
                around = near @ values**2 - (near @ values) ** 2
                deviation = unknown * np.sqrt(around.clip(0) + (LEAST * values.std()) ** 2)
                best = np.maximum(best, mean + KAPPA * deviation - values.max())
        return best


def targets_of(found: Found) -> np.ndarray:
    """(T, P) mm: of each metric the mean over all joints, and over those neither hidden nor outside; NaN where nothing is known."""
    errors = found.errors[:-1].astype(np.float64).transpose(1, 0, 2)  # (M, P, J)
    gone = found.subject.hidden | found.subject.outside
    return np.concatenate([nanmean(errors), nanmean(np.where(gone, np.nan, errors))])
