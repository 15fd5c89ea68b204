"""Which joint's occlusion damages which joint, and how far along the skeleton the damage travels."""

from collections.abc import Sequence

import numpy as np

from hpsbench.metrics.sensitivity import Mean
from hpsbench.skeleton import edges, joint_index, joint_names


def influence(excess: np.ndarray, hidden: np.ndarray) -> Mean:
    """The matrix (J, J): row i, column j the mean ``excess`` (N, P, J) of joint j over the pairs of person and position that hide joint i.

    ``hidden`` (N, P, J) bool. The diagonal is what hiding a joint does to itself. A patch that hides several joints enters the row of each.
    """
    measured = ~np.isnan(excess)
    under = hidden.reshape(-1, hidden.shape[-1]).astype(np.float64)  # NP J
    sums = under.T @ np.where(measured, excess, 0.0).reshape(under.shape)
    counts = under.T @ measured.reshape(under.shape).astype(np.float64)
    return Mean(sums, np.rint(counts).astype(np.int64))


def bones_between(names: Sequence[str], skeleton: str) -> np.ndarray:
    """The number (J, J) of bones of a skeleton on the way from one of its joints ``names`` to another.

    In "h36m17" the way from hip to hip leads over the pelvis, and from there to the neck over the spine. Raises UnknownNameError.
    """
    places = [joint_index(skeleton, name) for name in names]
    steps = np.full((len(joint_names(skeleton)),) * 2, np.inf)
    np.fill_diagonal(steps, 0)
    for parent, child in edges(skeleton):
        steps[parent, child] = steps[child, parent] = 1
    for via in range(len(steps)):
        steps = np.minimum(steps, steps[:, via, None] + steps[None, via])
    return steps[np.ix_(places, places)].astype(np.int64)


def damage_by_distance(matrix: Mean, bones: np.ndarray) -> Mean:
    """The mean excess (D + 1,) of the joints 0, 1, ..., D bones away from an occluded one, over the pairs of an ``influence`` matrix.

    ``bones`` (J, J) as ``bones_between`` gives them.
    """
    sums = np.bincount(bones.ravel(), matrix.sums.ravel())
    return Mean(sums, np.bincount(bones.ravel(), matrix.counts.ravel()).astype(np.int64))
