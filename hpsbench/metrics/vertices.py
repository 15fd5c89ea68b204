"""Errors of vertices: distances in metres, one per person and vertex, never reduced; and their means over parts of the body."""

import torch
from torch import Tensor

from hpsbench.body.people import worth_numba
from hpsbench.geometry import apply_similarity, blocks, similarity_align, squared_lengths
from hpsbench.metrics import compiled
from hpsbench.metrics.joints import fit_similarity

_PEOPLE, _PEOPLE_ELSEWHERE = 8, 1024


def pve(pred: Tensor, gt: Tensor, pred_root: Tensor | None = None, gt_root: Tensor | None = None) -> Tensor:
    """The distance (..., V) m of each vertex of ``pred`` to ``gt`` (..., V, 3), relative to the roots (..., 3) if given."""
    return _squares(pred, gt, pred_root, gt_root).sqrt()


def _squares(pred: Tensor, gt: Tensor, pred_root: Tensor | None, gt_root: Tensor | None) -> Tensor:
    if pred_root is not None and gt_root is not None:
        pred, gt = pred - pred_root[..., None, :], gt - gt_root[..., None, :]
    return squared_lengths(pred - gt)


def mean_pve(pred: Tensor, gt: Tensor, pred_root: Tensor | None = None, gt_root: Tensor | None = None) -> Tensor:
    """The mean (...) float64 m of ``pve`` over the vertices: a few people at a time, so that nothing leaves the cache and memory is
    bounded whatever the number of people."""
    sides = [side if side is None else side.reshape(-1, *side.shape[pred.dim() - 2 :]) for side in (pred, gt, pred_root, gt_root)]
    if worth_numba(len(sides[0]), *sides) and all(side.is_contiguous() and side.dtype == pred.dtype for side in sides[:2]):
        return compiled.mean_distances(*sides).reshape(pred.shape[:-2])
    means = torch.empty(len(sides[0]), dtype=torch.float64, device=pred.device)
    for rows in blocks(len(means), _PEOPLE if means.device.type == "cpu" else _PEOPLE_ELSEWHERE):
        squares = _squares(*(side if side is None else side[rows] for side in sides))
        means[rows] = squares.to(torch.float64).sqrt().mean(-1)
    return means.reshape(pred.shape[:-2])


def distance_sums(first: Tensor, second: Tensor, shift: Tensor | None = None, *, seen: int = 0) -> Tensor:
    """The sum (B,) m of the distances of points ``first`` (B, 3, n), which are overwritten, to ``second`` moved by ``shift`` (B, 3, 1).

    All float64. By numba where that is installed and ``seen`` people before these make it worth while.
    """
    if worth_numba(seen + len(first), first, second, shift):
        return compiled.distance_sums(first, second, shift)
    off = first.sub_(second) if shift is None else first.sub_(second).sub_(shift)
    x, y, z = off.mul_(off).unbind(1)
    return x.add_(y).add_(z).sqrt_().sum(-1)


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
    pieces = errors[..., joint.argsort(stable=True)].split(sizes.tolist(), dim=-1)
    sums = torch.stack([piece.sum(-1) for piece in pieces], dim=-1)
    return torch.where(sizes > 0, sums / sizes, torch.nan)
