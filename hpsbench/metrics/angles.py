"""Errors of joint rotations: angles in radians, one per person and joint."""

import torch
from torch import Tensor

from hpsbench.geometry import blocks, chord_angle

# Source: the 3DPW challenge's evaluator (root, hips, knees, shoulders, elbows, in its order).
MPJAE_JOINTS = (0, 1, 2, 4, 5, 16, 17, 18, 19)
# The same as runs of neighbours, which are read without being gathered first.
_RUNS = (slice(0, 3), slice(4, 6), slice(16, 20))

# People at a time: what is in work stays in the cache.
_PEOPLE = 256


def mpjae(pred: Tensor, gt: Tensor, rotation: Tensor | None = None) -> Tensor:
    """The geodesic angle (..., 9) rad between global rotations (..., 24, 3, 3) of the SMPL joints MPJAE_JOINTS.

    ``rotation`` (..., 3, 3) is applied to the prediction first: the Procrustes rotation gives PA-MPJAE.
    """
    leading = pred.shape[:-3]
    sides = [side if side is None else side.reshape(-1, *side.shape[len(leading) :]) for side in (pred, gt, rotation)]
    parts = [_angles(*(side if side is None else side[rows] for side in sides)) for rows in blocks(len(sides[0]), _PEOPLE)]
    return torch.cat(parts).reshape(*leading, len(MPJAE_JOINTS))


def _angles(pred: Tensor, gt: Tensor, rotation: Tensor | None) -> Tensor:
    """(N, 9) of (N, 24, 3, 3)."""
    if rotation is not None:
        pred = rotation[:, None].to(pred.dtype) @ pred
    return chord_angle(torch.cat([pred[:, run] - gt[:, run] for run in _RUNS], dim=1))
