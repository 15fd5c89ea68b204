"""Similarity alignment, projection and rotations: torch, any leading batch axes, float32 or float64."""

import roma
import torch
from torch import Tensor

NEWTON_STEPS = 10
NEWTON_DONE = 1e-10
UNIQUE = 1e-3
# Squared covariances beyond these leave float64 in the fourth power.
SMALLEST, LARGEST = 1e-100, 1e100
# Squared spreads below this part of the squared distance from the origin may be rounding: those of coincident joints.
APART = 1e-22


def blocks(count: int, size: int) -> list[slice]:
    """Slices of ``size`` that cover ``count`` rows; of no rows one, empty."""
    return [slice(start, min(start + size, count)) for start in range(0, max(count, 1), size)]


def similarity_align(pred: Tensor, gt: Tensor, used: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(scale (...), rotation (..., 3, 3), translation (..., 3)) that bring ``pred`` (..., J, 3) nearest to ``gt`` (..., J, 3).

    Least squares over the joints ``used`` (..., J) bool (default: all); the rotation is proper (det +1) also where a
    reflection would fit better. Computed and returned in float64. Coincident joints on either side: scale 0, rotation
    identity, so that the aligned prediction is the mean of ``gt`` (as in the 3DPW challenge's evaluator). Collinear joints:
    one of the equally good rotations. A person with NaN or Inf among the used joints, or with none used, gets NaN alone.

    Source: Umeyama 1991. The rotation is the polar factor in closed form (see ``polar_rotation``), several times as fast as
    a batched SVD, which still serves the rows whose rotation is nearly not unique.
    """
    if pred.shape != gt.shape or pred.shape[-1] != 3:
        raise ValueError(f"similarity_align: expected two equal shapes (..., J, 3), but got {tuple(pred.shape)} and {tuple(gt.shape)}")
    leading, count = pred.shape[:-2], pred.shape[-2]
    x = pred.reshape(-1, count, 3).to(torch.float64)
    y = gt.reshape(-1, count, 3).to(torch.float64)
    if used is None:
        weight = torch.ones((*x.shape[:2], 1), dtype=torch.float64, device=x.device)
    else:
        weight = used.expand(pred.shape[:-1]).reshape(-1, count, 1).to(torch.float64)
    bad = ~(torch.isfinite(x) & torch.isfinite(y)).all(-1, keepdim=True)
    lost = (bad & (weight > 0)).any(1)[:, 0] | (weight.sum((1, 2)) == 0)
    keep = weight > 0
    x, x_mean, x_size = _centred(torch.where(keep & ~lost[:, None, None], x, 0.0), weight)
    y, y_mean, y_size = _centred(torch.where(keep & ~lost[:, None, None], y, 0.0), weight)
    spread = x.square().sum((1, 2))
    rotation, trace = _best_rotation(y.transpose(1, 2) @ x, (spread * y.square().sum((1, 2))).sqrt())
    scale = torch.where(spread > 0, trace / spread.clamp_min(1e-300), 0.0) * (y_size / x_size)
    translation = y_mean - scale[:, None] * (rotation @ x_mean[..., None])[..., 0]
    answer = (scale, rotation, translation)
    scale, rotation, translation = (torch.where(lost.view(-1, *[1] * (a.dim() - 1)), torch.nan, a) for a in answer)
    return scale.reshape(leading), rotation.reshape(*leading, 3, 3), translation.reshape(*leading, 3)


def apply_similarity(points: Tensor, scale: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """scale * rotation @ point + translation for ``points`` (..., P, 3), in the dtype of ``scale``."""
    moved = points.to(scale.dtype) @ rotation.transpose(-1, -2)
    return scale[..., None, None] * moved + translation[..., None, :]


def lengths(vectors: Tensor, dim: int = -1) -> Tensor:
    """The lengths of vectors that have their three coordinates along ``dim``: several times as fast as ``norm`` over so short an axis."""
    return squared_lengths(vectors, dim).sqrt()


def squared_lengths(vectors: Tensor, dim: int = -1) -> Tensor:
    """The squares of ``lengths``."""
    x, y, z = vectors.unbind(dim)
    return x * x + y * y + z * z


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Pixels (..., P, 2) of camera-frame ``points`` (..., P, 3) m under ``intrinsics`` (..., 3, 3); NaN at or behind the camera."""
    homogeneous = points @ intrinsics.to(points.dtype).transpose(-1, -2)
    depth = homogeneous[..., 2:]
    return homogeneous[..., :2] / torch.where(depth > 0, depth, torch.nan)


def rot6d_rows_to_rotmat(rot6d: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of six numbers (..., 6): the first two ROWS, made orthonormal one after the other.

    Source: Zhou et al. 2019 in pytorch3d's row convention. Norms below 1e-12 are taken as 1e-12.
    """
    a, b = rot6d[..., :3], rot6d[..., 3:]
    first = a / a.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    rest = b - (first * b).sum(-1, keepdim=True) * first
    second = rest / rest.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return torch.stack([first, second, torch.linalg.cross(first, second, dim=-1)], dim=-2)


def rotmat_to_rot6d_rows(rotmats: Tensor) -> Tensor:
    """The first two ROWS of rotations (..., 3, 3), flattened to (..., 6)."""
    return rotmats[..., :2, :].flatten(-2)


def rotvec_to_rotmat(rotvecs: Tensor) -> Tensor:
    """Rotations (..., 3, 3) of rotation vectors (..., 3) rad."""
    return roma.rotvec_to_rotmat(rotvecs)


def rotmat_to_rotvec(rotmats: Tensor) -> Tensor:
    """Rotation vectors (..., 3) rad, of norm at most pi, of rotations (..., 3, 3)."""
    return roma.rotmat_to_rotvec(rotmats)


def geodesic_angle(first: Tensor, second: Tensor) -> Tensor:
    """The angle (...) rad, 0 to pi, of the rotation between ``first`` and ``second`` (..., 3, 3)."""
    return chord_angle(first - second)


def chord_angle(difference: Tensor) -> Tensor:
    """The angle (...) rad, 0 to pi, between two rotations whose ``difference`` (..., 3, 3) this is; it is overwritten."""
    # |first - second|_F = 2 sqrt 2 sin(angle / 2); the sum of squares as a product, which is quick for rows of nine.
    squares = difference.flatten(-2).square_()
    chord = (squares @ squares.new_ones(9)).sqrt_()
    return chord.div_(8**0.5).clamp_max_(1).asin_().mul_(2)


def _centred(points: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points (N, J, 3) about their weighted mean and divided by their largest coordinate; that mean (N, 3); that size (N,)."""
    mean = (points * weight).sum(1) / weight.sum(1).clamp_min(1)
    centred = (points - mean[:, None]) * weight
    size = centred.abs().amax((1, 2))
    coincident = size <= 1e-14 * points.abs().amax((1, 2))
    size = torch.where(coincident, 1.0, size)
    centred = torch.where(coincident[:, None, None], 0.0, centred / size[:, None, None])
    return centred, mean, size


def _best_rotation(covariance: Tensor, ceiling: Tensor) -> tuple[Tensor, Tensor]:
    """(rotation (N, 3, 3), trace (N,)): the proper R that maximises tr(R^T A) over ``covariance`` A (N, 3, 3), and that maximum, which
    is at most ``ceiling`` (N,)."""
    rotation, trace, unique = polar_rotation(covariance.permute(1, 2, 0).contiguous(), ceiling)
    rotation = rotation.permute(2, 0, 1).contiguous()
    rows = (~unique).nonzero()[:, 0]
    if len(rows):
        exact_rotation, exact_trace = svd_rotation(covariance[rows])
        rotation, trace = rotation.index_copy(0, rows, exact_rotation), trace.index_copy(0, rows, exact_trace)
    return rotation, trace


def svd_rotation(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """``_best_rotation`` by SVD: exact wherever the maximum is defined, identity where A is zero."""
    U, s, Vh = torch.linalg.svd(covariance)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.linalg.det(U @ Vh).sign()
    rotation = (U * sign[:, None]) @ Vh
    nothing = (s[:, 0] == 0)[:, None, None]
    return torch.where(nothing, torch.eye(3, dtype=s.dtype, device=s.device), rotation), (s * sign).sum(1)


def polar_rotation(A: Tensor, ceiling: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(rotation (3, 3, N), trace (N,), unique (N,)): as ``_best_rotation`` of A (3, 3, N), right where ``unique`` is true.

    People lie along the last axis, so that every step is elementwise over them and no number depends on the others.
    R^T A is symmetric with eigenvalues h = (s1, s2, sign(det A) s3). Their sum is the largest root of the quartic
    x^4 - 2 F x^2 - 8 D x + F^2 - 4 G with F = |A|^2, D = det A, G = |cof A|^2 (Theobald 2005), found by Newton from above:
    from sqrt(F + 2 sqrt(3 G)) or, where it is less, the ``ceiling`` (N,) |x| |y| of the points that A comes from.
    By Cayley-Hamilton R = [x cof A + (x^2 + F)/2 A - A A^T A] / (x (x^2 - F)/2 - D), whose denominator
    (h1+h2)(h2+h3)(h3+h1) vanishes just where R is not unique. The sign of D settles reflections without a branch.
    """
    wide = torch.cat([A, A[:2]], dim=0)
    wide = torch.cat([wide, wide[:, :2]], dim=1)  # (5, 5, N): rows and columns go round
    cof = wide[1:4, 1:4] * wide[2:5, 2:5] - wide[1:4, 2:5] * wide[2:5, 1:4]  # (3, 3, N)
    D = (A[0] * cof[0]).sum(0)  # (N,), as all the following
    F = A.square().sum((0, 1))
    G = cof.square().sum((0, 1))
    x = torch.minimum((F + 2 * (3 * G).sqrt()).sqrt(), ceiling)
    constant, half, twice = (F * F - 4 * G) / 4, F / 2, 2 * D
    for _ in range(NEWTON_STEPS):
        square = x * x
        value = constant - twice * x + (square / 4 - half) * square
        step = value / (x * (square - F) - twice)
        x = x - step
    denominator = x * (x * x - F) / 2 - D
    unique = (denominator > UNIQUE * F * F.sqrt()) & (step.abs() < NEWTON_DONE * x) & (F > SMALLEST) & (F < LARGEST)
    AAt = (A[:, None] * A[None]).sum(2)  # (3, 3, N)
    AAtA = (AAt[:, :, None] * A[None]).sum(1)  # (3, 3, N)
    return (x * cof + (x * x + F) / 2 * A - AAtA) / denominator, x, unique
