"""Errors after the best similarity of many people at once: people along the last axis, so that every step is elementwise over them."""

import torch
from torch import Tensor

from hpsbench.body.people import worth_numba
from hpsbench.geometry import APART, blocks, polar_rotation
from hpsbench.metrics import compiled

# People at a time: what is in work (some two megabytes) stays in the cache, and memory is bounded whatever the number of people.
_PEOPLE, _PEOPLE_ELSEWHERE = 2048, 65536


def aligned_errors(pred: Tensor, gt: Tensor, pred_fit: Tensor, gt_fit: Tensor, *, scaled: bool = True) -> tuple[Tensor, Tensor]:
    """(errors (N, J) m, sure (N,) bool): what ``plain_pa_mpjpe`` gives for (N, J, 3) and the fit's (N, F, 3), where ``sure``.

    Not sure: of people with NaN or Inf, and where the rotation is nearly not unique (collinear, coincident). All in float64, without
    gradients; a person's errors do not depend on the others. By numba where that is installed and there are enough people for it.
    """
    if worth_numba(len(pred), pred, gt, pred_fit, gt_fit):
        return compiled.aligned_errors(pred, gt, pred_fit, gt_fit, scaled=scaled)
    count = len(pred)
    errors = torch.empty(pred.shape[:2], dtype=torch.float64, device=pred.device)
    sure = torch.empty(count, dtype=torch.bool, device=pred.device)
    for rows in blocks(count, _PEOPLE if pred.device.type == "cpu" else _PEOPLE_ELSEWHERE):
        fitted = planes(pred_fit[rows]), planes(gt_fit[rows])
        scored = fitted if pred is pred_fit and gt is gt_fit else (planes(pred[rows]), planes(gt[rows]))
        found, sure[rows] = _errors(*scored, *fitted, scaled)
        errors[rows] = found.t()
    return errors, sure


def planes(points: Tensor) -> Tensor:
    """Points (N, J, 3) as contiguous (J, 3, N) float64."""
    return points.flatten(1).t().contiguous().to(torch.float64).unflatten(0, (-1, 3))


def _errors(pred: Tensor, gt: Tensor, pred_fit: Tensor, gt_fit: Tensor, scaled: bool) -> tuple[Tensor, Tensor]:
    """(errors (J, N), sure (N,)) of ``planes``."""
    x_mean, y_mean = pred_fit.mean(0), gt_fit.mean(0)  # (3, N)
    x, y = pred_fit - x_mean, gt_fit - y_mean  # (F, 3, N)
    A = torch.stack([(y[:, row : row + 1] * x).sum(0) for row in range(3)])  # (3, 3, N)
    x_spread, y_spread = (side.flatten(0, 1).square().sum(0) for side in (x, y))  # (N,)
    rotation, trace, sure = polar_rotation(A, (x_spread * y_spread).sqrt())
    for spread, mean in ((x_spread, x_mean), (y_spread, y_mean)):
        sure &= spread > APART * mean.square().sum(0)
    if pred is not pred_fit:
        x, y = pred - x_mean, gt - y_mean  # (J, 3, N)
    R = rotation * (trace / x_spread) if scaled else rotation
    squares = None
    for row in range(3):
        off = (R[row, 0] * x[:, 0] - y[:, row]).addcmul_(R[row, 1], x[:, 1]).addcmul_(R[row, 2], x[:, 2])  # (J, N)
        squares = off * off if squares is None else squares.addcmul_(off, off)
    return squares.sqrt(), sure
