"""Forward kinematics and the twist-and-swing decomposition: pure functions, any leading batch axes, gradients everywhere.

Rotations are relative to the parent and map the rest pose to the posed frame (column vectors); metres.
Source: HybrIK (Li et al. 2021), section 3.2; NIKI (Li et al. 2023).
"""

from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from hpsbench.skeleton import J29_CHILDREN

_EPS = 1e-8
_CHILDREN = J29_CHILDREN[:24]


@cache
def _levels(parents: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """(joints of each depth, place of their parents in the depth above, order that undoes the concatenation of depths)."""
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents[1:], start=1):
        if not 0 <= parent < joint:
            raise ValueError(f"parents: joint {joint} has parent {parent}; expected one of 0 to {joint - 1}")
        depth[joint] = depth[parent] + 1
    levels = tuple(tuple(j for j, d in enumerate(depth) if d == level) for level in range(max(depth) + 1))
    places = ((), *(tuple(above.index(parents[j]) for j in level) for above, level in pairwise(levels)))
    flat = [j for level in levels for j in level]
    return levels, places, tuple(flat.index(j) for j in range(len(parents)))


def forward_kinematics(rotmats: Tensor, rest_joints: Tensor, parents: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(joints (..., J, 3) m, global rotations (..., J, 3, 3)) of relative ``rotmats`` (..., K, 3, 3), K <= J = len(parents).

    Joint 0 stays where ``rest_joints`` (..., J, 3) puts it; joints from K on are rigid with their parent. One product per
    depth of the tree. Raises ValueError where a parent does not come before its child.
    """
    missing = len(parents) - rotmats.shape[-3]
    if missing:
        eye = torch.eye(3, dtype=rotmats.dtype, device=rotmats.device)
        rotmats = torch.cat([rotmats, eye.expand(*rotmats.shape[:-3], missing, 3, 3)], dim=-3)
    levels, places, order = _levels(tuple(parents))
    rotation, position = rotmats[..., :1, :, :], rest_joints[..., :1, :]
    rotations, positions = [rotation], [position]
    for level, place in zip(levels[1:], places[1:], strict=True):
        above = [parents[joint] for joint in level]
        bones = rest_joints[..., level, :] - rest_joints[..., above, :]
        rotation = rotation[..., place, :, :]
        position = position[..., place, :] + (rotation @ bones[..., None])[..., 0]
        rotation = rotation @ rotmats[..., level, :, :]
        rotations.append(rotation)
        positions.append(position)
    return torch.cat(positions, dim=-2)[..., order, :], torch.cat(rotations, dim=-3)[..., order, :, :]


def swing_rotation(source: Tensor, target: Tensor) -> Tensor:
    """The smallest rotation (..., 3, 3) that turns the direction of ``source`` (..., 3) into that of ``target`` (..., 3).

    Zero or exactly opposite vectors define no axis: the identity comes back; within about 1e-8 of opposite, no rotation at all.
    """
    norms = source.norm(dim=-1) * target.norm(dim=-1) + _EPS
    cross = torch.linalg.cross(source, target, dim=-1)
    length = cross.norm(dim=-1)
    cos = (source * target).sum(-1) / norms
    return _rodrigues(cross / (length[..., None] + _EPS), cos, length / norms)


def twist_rotation(axis: Tensor, cos_sin: Tensor) -> Tensor:
    """The rotation (..., 3, 3) about the unit ``axis`` (..., 3) by the angle whose (cos, sin) is ``cos_sin`` (..., 2).

    ``cos_sin`` is taken as it is: normalise it first. A zero pair gives the projection on the axis, which is no rotation.
    """
    return _rodrigues(axis, cos_sin[..., 0], cos_sin[..., 1])


def normalised_phi(phi: Tensor) -> Tensor:
    """(cos, sin) pairs (..., 2) at length one; a zero pair stays zero."""
    return phi / (phi.norm(dim=-1, keepdim=True) + _EPS)


def bone_axes(rest_joints29: Tensor) -> Tensor:
    """Unit rest bones (..., 24, 3) from each chain joint to the one child that gives its direction, of (..., 29, 3) m."""
    bones = rest_joints29[..., _CHILDREN, :] - rest_joints29[..., :24, :]
    return bones / bones.norm(dim=-1, keepdim=True)


def split_swing_twist(rotmats: Tensor, rest_joints29: Tensor) -> tuple[Tensor, Tensor]:
    """(swing (..., 24, 3, 3), twist (..., 23, 3, 3)) with R = swing @ twist for joints 1 to 23 of ``rotmats`` (..., 24, 3, 3).

    The swing turns the rest bone into its rotated direction, the twist turns about the rest bone. Joint 0 has no twist: its
    swing is its rotation.
    """
    axes = bone_axes(rest_joints29)[..., 1:, :]
    limbs = rotmats[..., 1:, :, :]
    swing = swing_rotation(axes.expand(limbs.shape[:-1]), (limbs @ axes[..., None])[..., 0])
    return torch.cat([rotmats[..., :1, :, :], swing], dim=-3), swing.transpose(-1, -2) @ limbs


def twist_angles(rotmats: Tensor, rest_joints29: Tensor) -> Tensor:
    """Twist angles (..., 23) rad in (-pi, pi] about the rest bones, row i - 1 for joint i, of ``rotmats`` (..., 24, 3, 3)."""
    axes = bone_axes(rest_joints29)[..., 1:, :]
    _, twist = split_swing_twist(rotmats, rest_joints29)
    curl = torch.stack([twist[..., 2, 1] - twist[..., 1, 2], twist[..., 0, 2] - twist[..., 2, 0], twist[..., 1, 0] - twist[..., 0, 1]], -1)
    trace = twist.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2((axes * curl).sum(-1), trace - 1)


def join_swing_twist(swing: Tensor, phi: Tensor, rest_joints29: Tensor) -> Tensor:
    """Relative rotations (..., 24, 3, 3) of ``swing`` (..., 24, 3, 3) and twists ``phi`` (..., 23, 2) as (cos, sin), any length."""
    twist = twist_rotation(bone_axes(rest_joints29)[..., 1:, :], normalised_phi(phi))
    return torch.cat([swing[..., :1, :, :], swing[..., 1:, :, :] @ twist], dim=-3)


def _rodrigues(axis: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """I + sin K + (1 - cos) K K with K the cross-product matrix of ``axis`` (..., 3)."""
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return eye + sin[..., None, None] * K + (1 - cos)[..., None, None] * (K @ K)
