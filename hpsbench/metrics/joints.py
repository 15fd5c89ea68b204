"""Errors of joints: distances in metres, one per person and joint, never reduced."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hpsbench.geometry import apply_similarity, lengths, similarity_align
from hpsbench.metrics.aligned import aligned_errors
from hpsbench.skeleton import joint_index

_FEWEST_JOINTS = 3


def root_position(joints: Tensor, skeleton: str, root: str) -> Tensor:
    """The root (..., 3) of joints (..., J, 3): joint "pelvis", or for "hips" the mean of both hips."""
    if root == "hips":
        hips = [joint_index(skeleton, name) for name in ("left_hip", "right_hip")]
        return joints[..., hips, :].mean(-2)
    return joints[..., joint_index(skeleton, root), :]


def joint_errors(pred: Tensor, gt: Tensor) -> Tensor:
    """The distance (..., J) m of each joint of (..., J, 3); NaN where either side is NaN. Nothing is aligned."""
    return lengths(pred - gt)


def mpjpe(pred: Tensor, gt: Tensor, pred_root: Tensor, gt_root: Tensor) -> Tensor:
    """The distance (..., J) m of each joint of (..., J, 3), both sides relative to their own root (..., 3)."""
    return joint_errors(pred - pred_root[..., None, :], gt - gt_root[..., None, :])


def pa_mpjpe(pred: Tensor, gt: Tensor, pred_fit: Tensor, gt_fit: Tensor, *, scaled: bool = True) -> Tensor:
    """The distance (..., J) m of each joint of (..., J, 3) after the similarity that brings ``pred_fit`` to ``gt_fit`` (..., F, 3).

    Joints whose truth is NaN do not enter the fit; with fewer than three left nothing is measured (NaN). Without ``scaled`` only
    rotation and translation are fitted. Collinear, coincident and reflected people: see ``similarity_align``. In float64.

    ``aligned_errors`` is the default as it takes a third of the time of ``plain_pa_mpjpe``, which serves the people that it is not sure of.
    """
    leading = pred.shape[:-1]
    flat = [side.reshape(-1, *side.shape[-2:]) for side in (pred, gt, pred_fit, gt_fit)]
    errors, sure = aligned_errors(*flat, scaled=scaled)
    rows = (~sure).nonzero()[:, 0]
    if len(rows):
        errors[rows] = plain_pa_mpjpe(*(side[rows] for side in flat), scaled=scaled)
    return errors.reshape(leading)


def plain_pa_mpjpe(pred: Tensor, gt: Tensor, pred_fit: Tensor, gt_fit: Tensor, *, scaled: bool = True) -> Tensor:
    """``pa_mpjpe`` step by step."""
    return joint_errors(apply_similarity(pred, *fit_similarity(pred_fit, gt_fit, scaled=scaled)), gt)


def fit_similarity(pred_fit: Tensor, gt_fit: Tensor, *, scaled: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """The similarity of ``pa_mpjpe``; NaN for a person with fewer than three known joints.

    Without ``scaled`` the best rigid motion: the rotation is the same (Umeyama 1991), the scale is 1, and means fall on means.
    """
    known = torch.isfinite(gt_fit).all(-1)
    enough = known.sum(-1, keepdim=True) >= _FEWEST_JOINTS
    scale, rotation, translation = similarity_align(pred_fit, gt_fit, known & enough)
    if scaled:
        return scale, rotation, translation
    weight = (known.to(scale.dtype) / known.sum(-1, keepdim=True).clamp_min(1))[..., None]
    mean = (torch.where(known[..., None], pred_fit.to(scale.dtype), 0.0) * weight).sum(-2)
    shift = ((scale - 1)[..., None, None] * (rotation @ mean[..., None]))[..., 0]
    return torch.where(scale.isnan(), scale, 1.0), rotation, translation + shift


def accel(pred: np.ndarray, gt: np.ndarray, tracks: Sequence[str], frames: np.ndarray) -> np.ndarray:
    """The distance (N, J) m/frame^2 between the second differences of root-relative joints (N, J, 3) of rows in any order.

    Row i is measured where its track also has the frames one step before and after it. The step is the smallest
    distance of two frames of that track. Elsewhere (ends, next to a dropped frame) NaN: no difference crosses a cut or
    goes from one track to the next. Source: Kanazawa et al. 2019 (HMMR), for which all frames of a track are consecutive.
    """
    answer = np.full(pred.shape[:2], np.nan)
    frames = np.asarray(frames)
    names = np.asarray(tracks)
    order = np.lexsort((frames, names))
    borders = np.flatnonzero(names[order][1:] != names[order][:-1]) + 1
    for rows in np.split(order, borders):
        gaps = np.diff(frames[rows])
        if len(rows) < 3:
            continue
        step = gaps.min()
        middle = 1 + np.flatnonzero((gaps[:-1] == step) & (gaps[1:] == step))
        before, at, after = rows[middle - 1], rows[middle], rows[middle + 1]
        bend = (pred - gt)[before] - 2 * (pred - gt)[at] + (pred - gt)[after]
        answer[at] = np.linalg.norm(bend, axis=-1)
    return answer
