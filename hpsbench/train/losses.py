"""What the two networks are trained on: HybrIK's heat-map criterion and NIKI's twist-and-swing criterion.

Source: HybrIK (Laplace likelihood of its camera models) and NIKI (equations 7 to 15, and the criterion released with the paper).
"""

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

MMD_WIDTHS = (0.05, 0.2, 0.9)
LAPLACE_AMPLITUDE = 1 / math.sqrt(2 * math.pi)
Z_SIZES = (32, 46)


def laplace_nll(pred: Tensor, sigma: Tensor, gt: Tensor) -> Tensor:
    """Negative log likelihood (..., J, D) of ``gt`` (..., J, D) about ``pred`` with widths ``sigma`` (..., J, 1), same unit.

    Source: HybrIK's residual log-likelihood loss without its flow: log(sigma / amplitude) + |error| / (sqrt(2) sigma).
    """
    return torch.log(sigma / LAPLACE_AMPLITUDE) + (gt - pred).abs() / (math.sqrt(2) * sigma + 1e-5)


def cell_entropy(logits: Tensor, uvd: Tensor) -> Tensor:
    """Cross entropy (B, J) of heat maps with ``logits`` (B, J, D, H, W) against ``uvd`` (B, J, 3), shared by the eight nearest cells.

    A joint outside of the crop gives 0. Needed to start from nothing: through its expectation alone a flat heat map learns slowly.
    """
    shape = torch.tensor(logits.shape[2:][::-1], device=uvd.device)  # cells along u, v, d
    place = torch.minimum(((uvd + 0.5) * shape).clamp(min=0), shape - 1)
    low = torch.minimum(place.long(), shape - 2)
    rest = place - low
    corners = torch.tensor(list(itertools.product((0, 1), repeat=3)), device=uvd.device)  # 8 3
    weight = torch.where(corners == 1, rest[..., None, :], 1 - rest[..., None, :]).prod(-1)  # B J 8
    x, y, z = (low[..., None, :] + corners).unbind(-1)
    cell = (z * shape[1] + y) * shape[0] + x
    expected = (weight * logits.flatten(2).gather(2, cell)).sum(-1)
    inside = (uvd[..., :2].abs() < 0.5).all(-1)
    return torch.where(inside, logits.flatten(2).logsumexp(2) - expected, 0.0)


def hybrik_terms(out: Mapping[str, Tensor], gt: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weighted terms of HybrIK's criterion, each a scalar; their sum is the loss.

    Both sides hold ``uvd`` (B, 29, 3) in crops (depth: 2.2 m), ``betas`` (B, 10), ``phi`` (B, 23, 2), ``scale`` (B, 1); ``out`` also
    ``sigma`` (B, 29, 1) and ``logits`` (B, 29, D, H, W). As published but for three things, all for a small network trained from
    nothing: ``cell_entropy`` is added, betas weigh 0.2 and not 1, and the term on rotation matrices (0.01) is left out.
    """
    return {
        "uvd": laplace_nll(out["uvd"], out["sigma"], gt["uvd"].clamp(-0.6, 0.6)).mean(),
        "cells": 0.5 * cell_entropy(out["logits"], gt["uvd"]).mean(),
        "betas": 0.2 * (out["betas"] - gt["betas"]).square().mean(),
        "phi": (out["phi"] - gt["phi"]).square().mean(),
        "scale": (out["scale"] - gt["scale"]).square().mean(),
    }


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Maximum mean discrepancy (scalar, biased) between the rows of x (N, D) and y (N, D), summed over three kernel widths.

    The kernel is a^2 / (a^2 + d^2). No rows give 0. Source: NIKI's criterion, after Ardizzone et al. (ICLR 2019).
    """
    if len(x) == 0:
        return x.new_zeros(())
    xx, yy, xy = _squared_distances(x, x), _squared_distances(y, y), _squared_distances(x, y)
    return sum((_kernel(xx, a) + _kernel(yy, a) - 2 * _kernel(xy, a)).mean() for a in MMD_WIDTHS)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T


def _kernel(squared: Tensor, width: float) -> Tensor:
    return width**2 / (width**2 + squared)


def weighted_mean(error: Tensor, weight: Tensor) -> Tensor:
    """sum(w e) / sum(w), the weights broadcast to the errors; 0 where all weights are 0."""
    weight = weight.expand_as(error)
    return (weight * error).sum() / weight.sum().clamp(min=1e-12)


def draw_mmd_noise(count: int, n_valid: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The four normal draws of one iteration in the published order: z_sw, z_r (all frames), z_sw, z_r (valid frames)."""
    return tuple(torch.randn(n, size, generator=generator) for n in (count, n_valid) for size in Z_SIZES)


def niki_terms(out: Mapping[str, Tensor], gt: Mapping[str, Tensor], noise: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """The weighted terms 1 to 11 of NIKI's released twist-and-swing criterion, each a scalar; their sum is the loss.

    N frames. ``out``, three passes: IK of the prediction ``pred_rot6d``, ``pred_swing6d`` (N, 24, 6), ``pred_z_swing`` (N, 32),
    ``pred_z_rot`` (N, 46), ``pred_joints`` (N, 29, 3); IK of the truth, the same with ``gt_``; FK of the truth ``fk_joints``,
    ``fk_swing6d``, ``fk_phi`` (N, 23, 2), ``fk_zx`` (N, 60). ``gt``: ``rot6d``, ``swing6d``, ``joints`` (m, root-relative), ``phi`` and
    weights ``rot_weight`` (N, 24, 1), ``joint_weight`` (N, 29, 3), ``phi_weight`` (N, 23, 2), ``valid`` (N, 1). ``noise``:
    ``draw_mmd_noise``, its last two for the frames that ``whole_frames`` marks.
    """
    return {**_ik_terms(out, gt, noise), **_boundary_terms(out, gt)}


def whole_frames(gt: Mapping[str, Tensor]) -> Tensor:
    """(N,) bool: frames with all 24 rotations set, the ones that the independence term takes."""
    return (gt["rot_weight"][..., 0] > 0).all(1)


def _ik_terms(out: Mapping[str, Tensor], gt: Mapping[str, Tensor], noise: tuple[Tensor, ...]) -> dict[str, Tensor]:
    w_rot, whole = gt["rot_weight"], whole_frames(gt)
    z_swing, z_rot = out["pred_z_swing"], out["pred_z_rot"]
    n_swing, n_rot, v_swing, v_rot = noise

    def pair(pose: Tensor, z: Tensor) -> Tensor:
        return torch.cat([pose.flatten(1), z], 1)[whole]

    def truth(pose: Tensor, z: Tensor) -> Tensor:
        return torch.cat([pose.flatten(1)[whole], z], 1)

    return {
        "ik_rot": weighted_mean((out["pred_rot6d"] - gt["rot6d"]).square(), w_rot),
        "ik_swing": weighted_mean((out["pred_swing6d"] - gt["swing6d"]).square(), w_rot),
        "ik_z": mmd(z_swing, n_swing) + mmd(z_rot, n_rot),
        "ik_joints": weighted_mean((root_relative(out["pred_joints"]) - gt["joints"]).abs(), gt["joint_weight"]),
        "independence": mmd(truth(gt["swing6d"], v_swing), pair(out["pred_swing6d"].detach(), z_swing))
        + mmd(truth(gt["rot6d"], v_rot), pair(out["pred_rot6d"].detach(), z_rot)),
    }


def _boundary_terms(out: Mapping[str, Tensor], gt: Mapping[str, Tensor]) -> dict[str, Tensor]:
    valid = gt["valid"]  # (N, 1)
    w_rot, w_joints, w_phi = gt["rot_weight"] * valid[..., None], gt["joint_weight"] * valid[..., None], gt["phi_weight"] * valid[..., None]

    def rot_error(pred: Tensor, target: Tensor) -> Tensor:
        return weighted_mean((pred - target).square() * valid[..., None], w_rot)

    return {
        "gt_rot": rot_error(out["gt_rot6d"], gt["rot6d"]),
        "gt_swing": rot_error(out["gt_swing6d"], gt["swing6d"]),
        "gt_z": 0.1 * ((out["gt_z_swing"].square() * valid).mean() + (out["gt_z_rot"].square() * valid).mean()),
        "gt_joints": weighted_mean((root_relative(out["gt_joints"]) - gt["joints"]).abs(), w_joints),
        "fk_joints": weighted_mean((out["fk_joints"] - gt["joints"]).abs(), w_joints),
        "fk_swing": weighted_mean((out["fk_swing6d"] - gt["swing6d"]).square(), w_rot),
        "fk_phi": weighted_mean((out["fk_phi"] - gt["phi"]).square(), w_phi),
        "fk_zx": out["fk_zx"].square().mean(),
    }


def root_relative(joints: Tensor) -> Tensor:
    """Joints (N, J, 3) less their joint 0."""
    return joints - joints[:, :1]


def cycle_terms(out: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The forward terms of equations 9 and 10, which the released criterion lacks: FK of the true rotations with the z of the prediction.

    ``out``: ``cycle_joints`` (N, 29, 3), ``cycle_phi`` (N, 23, 2); ``observed``: what the image network saw, ``joints`` root-relative
    and ``phi``. L1.
    """
    return {
        "cycle_joints": (out["cycle_joints"] - observed["joints"]).abs().mean(),
        "cycle_phi": (out["cycle_phi"] - observed["phi"]).abs().mean(),
    }
