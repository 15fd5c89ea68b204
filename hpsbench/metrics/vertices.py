"""Errors of vertices: the mean distance in metres of each person, (B, 1)."""

from torch import Tensor

from hpsbench.geometry import apply_similarity, similarity_align


def pve(pred: Tensor, gt: Tensor, pred_root: Tensor | None = None, gt_root: Tensor | None = None) -> Tensor:
    """The mean over vertices (..., 1) m of the distance of ``pred`` to ``gt`` (..., V, 3), relative to the roots (..., 3) if given."""
    if pred_root is not None and gt_root is not None:
        pred, gt = pred - pred_root[..., None, :], gt - gt_root[..., None, :]
    return (pred - gt).norm(dim=-1).mean(-1, keepdim=True)


def pa_pve(pred: Tensor, gt: Tensor) -> Tensor:
    """``pve`` after the similarity that brings all vertices of ``pred`` nearest to ``gt``."""
    return pve(apply_similarity(pred, *similarity_align(pred, gt)), gt.to(pred.dtype))
