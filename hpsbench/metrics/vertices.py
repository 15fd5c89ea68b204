"""Errors of vertices: distances in metres, one per person and vertex, never reduced; and their means over parts of the body."""

import torch
from torch import Tensor

from hpsbench.geometry import apply_similarity, similarity_align
from hpsbench.metrics.joints import fit_similarity


def pve(pred: Tensor, gt: Tensor, pred_root: Tensor | None = None, gt_root: Tensor | None = None) -> Tensor:
    """The distance (..., V) m of each vertex of ``pred`` to ``gt`` (..., V, 3), relative to the roots (..., 3) if given."""
    if pred_root is not None and gt_root is not None:
        pred, gt = pred - pred_root[..., None, :], gt - gt_root[..., None, :]
    return (pred - gt).norm(dim=-1)


def pa_pve(pred: Tensor, gt: Tensor, *, scaled: bool = True) -> Tensor:
    """``pve`` after the similarity that brings all vertices of ``pred`` nearest to ``gt``; without ``scaled`` the rigid motion."""
    similarity = similarity_align(pred, gt) if scaled else fit_similarity(pred, gt, scaled=False)
    return pve(apply_similarity(pred, *similarity), gt.to(pred.dtype))


def parts_of(weights: Tensor) -> tuple[Tensor, Tensor]:
    """(joint (V,) that moves each vertex most, number (J,) of vertices of each joint) of skinning weights (V, J)."""
    joint = weights.argmax(1)
    return joint, joint.bincount(minlength=weights.shape[1])


def part_means(errors: Tensor, joint: Tensor, sizes: Tensor) -> Tensor:
    """The mean (..., J) of errors (..., V) over the vertices of each joint as ``parts_of`` has them; NaN where it has none."""
    sums = errors.new_zeros((*errors.shape[:-1], len(sizes))).index_add(-1, joint, errors)
    return torch.where(sizes > 0, sums / sizes, torch.nan)
