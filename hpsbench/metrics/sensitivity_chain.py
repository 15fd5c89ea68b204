"""Which joint's occlusion damages which joint, and how far along the skeleton the damage travels."""

from collections.abc import Sequence

import numpy as np

from hpsbench.metrics.sensitivity import Mean
from hpsbench.skeleton import edges, joint_names

# Skeletons with the trunk in between, in which bones are counted: the first that has all of the joints.
_CHAINS = ("smpl24", "j29", "h36m17", "h36m32", "mpi28", "coco17", "openpose18")


def influence(excess: np.ndarray, hidden: np.ndarray) -> Mean:
    """The matrix (J, J): row i, column j the mean ``excess`` (N, P, J) of joint j over the pairs of person and position that hide joint i.

    ``hidden`` (N, P, J) bool. The diagonal is what hiding a joint does to itself.
    """
    measured = ~np.isnan(excess)
    under = hidden.reshape(-1, hidden.shape[-1]).astype(np.float64)  # NP J
    sums = under.T @ np.where(measured, excess, 0.0).reshape(under.shape)
    counts = under.T @ measured.reshape(under.shape).astype(np.float64)
    return Mean(sums, np.rint(counts).astype(np.int64))


def bones_between(names: Sequence[str]) -> np.ndarray:
    """The number (J, J) of bones on the way from one joint to another; NaN where no skeleton has all of the joints ``names``.

    Of the 14 evaluated joints the way from hip to hip or to the neck leads over the pelvis and the spine, as in Human3.6M's 17.
    """
    chain = next((chain for chain in _CHAINS if set(names) <= set(joint_names(chain))), None)
    if chain is None:
        return np.full((len(names), len(names)), np.nan)
    known = joint_names(chain)
    steps = np.full((len(known), len(known)), np.inf)
    np.fill_diagonal(steps, 0)
    for parent, child in edges(chain):
        steps[parent, child] = steps[child, parent] = 1
    for via in range(len(known)):
        steps = np.minimum(steps, steps[:, via, None] + steps[None, via])
    places = [known.index(name) for name in names]
    return steps[np.ix_(places, places)]


def damage_by_distance(matrix: Mean, bones: np.ndarray) -> Mean:
    """The mean excess (D + 1,) of the joints 0, 1, ..., D bones away from an occluded one, over the pairs of an ``influence`` matrix.

    ``bones`` (J, J) as ``bones_between`` gives them; cells with NaN enter nowhere.
    """
    known = np.isfinite(bones)
    away = bones[known].astype(np.int64)
    sums = np.bincount(away, matrix.sums[known])
    return Mean(sums, np.bincount(away, matrix.counts[known], minlength=len(sums)).astype(np.int64))
