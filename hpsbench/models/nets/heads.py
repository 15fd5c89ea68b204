"""What HybrIK reads out of heat maps: expectations, their flip test, back-projection, camera scale.

Positions (u, v, d) are fractions of the crop's side and of the depth unit, in [-0.5, 0.5): nothing here depends on the
number of pixels. ``ratio`` is crop side / focal length: 0.256 (256 px / 1000 px) wherever the official models are
concerned, whatever the true camera; or the true one, per person.

Source: Li et al., HybrIK, CVPR 2021, and its released code.
"""

import torch
from torch import Tensor

from hpsbench.skeleton import mirror

DEPTH_UNIT = 2.2
CROP_OVER_FOCAL = 0.256
_EPS = 1e-12
_MIRROR29 = mirror("j29")


def heatmap_probabilities(logits: Tensor) -> Tensor:
    """Softmax over all cells of a joint: (B, J, D, H, W) to the same shape, each joint's sum 1."""
    return logits.flatten(2).softmax(dim=2).reshape(logits.shape)


def expected_uvd(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """The mean position (B, J, 3) as (u, v, d) and the largest cell (B, J) of heat maps (B, J, D, H, W).

    Cell i of n stands for i / n - 0.5 (the crop's left edge is -0.5, as in HybrIK).
    """
    marginals = (probabilities.sum(dim=(2, 3)), probabilities.sum(dim=(2, 4)), probabilities.sum(dim=(3, 4)))
    axes = []
    for marginal in marginals:
        count = marginal.shape[-1]
        cells = torch.arange(count, dtype=marginal.dtype, device=marginal.device)
        axes.append((marginal @ cells) / count - 0.5)
    return torch.stack(axes, dim=-1), probabilities.flatten(2).amax(dim=2)


def unflip_probabilities(probabilities: Tensor) -> Tensor:
    """Heat maps of the mirrored crop as heat maps of the crop: mirrored back, left and right swapped, moved by one cell.

    A crop's mirror image takes column i to n - 1 - i while the cell's place i / n goes to 1 - i / n: hence one cell to the
    right, the first column repeated.
    """
    mirrored = probabilities.flip(-1)[:, list(_MIRROR29)]
    return torch.cat([mirrored[..., :1], mirrored[..., :-1]], dim=-1)


def unflip_phi(phi: Tensor) -> Tensor:
    """Twists (B, 23, 2) of the mirrored person as twists of the person: pairs swapped, sines negated."""
    swapped = [joint - 1 for joint in _MIRROR29[1:24]]
    return phi[:, swapped] * phi.new_tensor([1.0, -1.0])


def unflip_sigma(sigma: Tensor) -> Tensor:
    """Per-joint values (B, 29) of the mirrored person, left and right swapped."""
    return sigma[:, list(_MIRROR29)]


def distance_of(scale: Tensor, ratio: Tensor | float = CROP_OVER_FOCAL) -> Tensor:
    """Metres from the camera to the depth origin, from the camera scale s = 1 / (metres that the crop spans there)."""
    return 1 / (ratio * scale + _EPS)


def back_project(
    uvd: Tensor, scale: Tensor, offset: Tensor, *, ratio: Tensor | float = CROP_OVER_FOCAL, shift: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Joints (B, J, 3) m relative to joint 0, and joint 0 (B, 3) m in the camera frame.

    ``scale`` (B, 1); ``offset`` (B, 2): (crop centre - principal point) / crop side; ``ratio`` a number or (B, 1);
    ``shift`` (B, 2) m is taken off x and y.
    """
    distance = distance_of(scale, ratio)  # B 1
    z = uvd[..., 2] * DEPTH_UNIT  # B J
    slope = ratio * (z + distance)  # B J
    xy = (uvd[..., :2] + offset[:, None]) * slope[..., None]  # B J 2
    if shift is not None:
        xy = xy - shift[:, None]
    joints = torch.cat([xy, z[..., None]], dim=-1)
    root = joints[:, 0]
    return joints - root[:, None], torch.cat([root[:, :2], root[:, 2:] + distance], dim=-1)


def fitted_scale(
    posed: Tensor, uvd: Tensor, weights: Tensor, *, scale: Tensor, offset: Tensor, ratio: Tensor | float = CROP_OVER_FOCAL
) -> Tensor:
    """The camera scale (B, 1) under which posed joints (B, J, 3) project best onto (u, v), weighted least squares in 1 / s.

    ``posed`` is in metres, in the frame of ``back_project`` before the distance is added. Where every weight is zero, ``scale``
    is given back.
    """
    uv = uvd[..., :2] + offset[:, None]
    slope = torch.as_tensor(ratio, dtype=uv.dtype, device=uv.device).reshape(-1, 1, 1)
    left = weights[..., None] * uv
    right = weights[..., None] * (posed[..., :2] - slope * uv * posed[..., 2:])
    square = (left * left).sum(dim=(1, 2))
    solvable = square > 0
    inverse = (left * right).sum(dim=(1, 2)) / torch.where(solvable, square, torch.ones_like(square))
    solvable = solvable & (inverse != 0)
    return torch.where(solvable, 1 / torch.where(solvable, inverse, torch.ones_like(inverse)), scale[:, 0])[:, None]
