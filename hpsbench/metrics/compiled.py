"""The loops over tens of thousands of people by numba, where the extra 'fast' is installed: the same numbers as the plain ways to 1e-9."""

import numpy as np
import torch
from torch import Tensor


def aligned_errors(pred: Tensor, gt: Tensor, pred_fit: Tensor, gt_fit: Tensor, *, scaled: bool) -> tuple[Tensor, Tensor]:
    """``metrics.aligned.aligned_errors``."""
    from hpsbench.metrics import kernels

    errors, sure = np.empty(pred.shape[:2]), np.empty(len(pred), dtype=np.bool_)
    kernels.aligned_errors(*(side.numpy() for side in (pred, gt, pred_fit, gt_fit)), scaled, errors, sure)
    return torch.from_numpy(errors), torch.from_numpy(sure)


def mean_distances(pred: Tensor, gt: Tensor, pred_root: Tensor | None, gt_root: Tensor | None) -> Tensor:
    """``metrics.vertices.mean_pve`` of (N, V, 3): (N,) float64."""
    from hpsbench.metrics import kernels

    if pred_root is None or gt_root is None:
        pred_root, gt_root = (side.new_zeros(1, 3).expand(len(side), 3) for side in (pred, gt))
    means = np.empty(len(pred))
    kernels.mean_distances(*(side.numpy() for side in (pred.flatten(1), gt.flatten(1), pred_root, gt_root)), means)
    return torch.from_numpy(means)


def distance_sums(first: Tensor, second: Tensor, shift: Tensor | None) -> Tensor:
    """``metrics.vertices.distance_sums``."""
    from hpsbench.metrics import kernels

    sums = np.empty(len(first))
    shift = first.new_zeros(1, 3, 1).expand(len(first), 3, 1) if shift is None else shift
    kernels.distance_sums(first.numpy(), second.numpy(), shift.numpy(), sums)
    return torch.from_numpy(sums)
