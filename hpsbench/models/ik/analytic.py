"""HybrIK's analytic inverse kinematics: twist-and-swing, naive and adaptive, batched over people and over the joints of one tree depth.

Source: Li et al., HybrIK: A Hybrid Analytical-Neural Inverse Kinematics Solution, CVPR 2021, and its released code.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hpsbench.body.kinematics import bone_axes, forward_kinematics, normalised_phi, swing_rotation, twist_rotation
from hpsbench.skeleton import J29_CHILDREN, PARENTS

FALLBACK = 0.015
_PARENTS = PARENTS["j29"]
_PELVIS_BONES = (3, 1, 2)
_EPS = 1e-8


def _levels() -> tuple[tuple[int, ...], ...]:
    """Joints 1..23 grouped by their depth in the tree: those of one group need nothing of each other."""
    depth = [0]
    for joint in range(1, 24):
        depth.append(depth[_PARENTS[joint]] + 1)
    return tuple(tuple(j for j in range(1, 24) if depth[j] == d) for d in range(1, max(depth) + 1))


_LEVELS = _levels()


@dataclass(frozen=True)
class AnalyticPose:
    """``rotmats`` (B, 24, 3, 3) relative; ``chain`` (B, 24, 3) m: where the adaptive solution put the joints, None for the naive one."""

    rotmats: Tensor
    chain: Tensor | None = None


@dataclass(frozen=True)
class AnalyticIK:
    """The analytic solver behind the interface of all IK solvers; ``rest_joints29`` maps betas (B, 10) to rest joints (B, 29, 3) m."""

    rest_joints29: Callable[[Tensor], Tensor]
    adaptive: bool = True

    def ik(self, joints29: Tensor, sigma: Tensor, phi: Tensor, betas: Tensor) -> AnalyticPose:
        """The pose of joints (B, 29, 3) m with twists (B, 23, 2) and betas (B, 10); ``sigma`` is not looked at."""
        solve = adaptive_pose if self.adaptive else naive_pose
        return solve(joints29, phi, self.rest_joints29(betas))

    def posed(self, joints29: Tensor, phi: Tensor, betas: Tensor) -> Tensor:
        """The skeleton (B, 24, 3) m of rest bones in the pose that ``ik`` finds."""
        rest = self.rest_joints29(betas)
        rotmats = (adaptive_pose if self.adaptive else naive_pose)(joints29, phi, rest).rotmats
        return forward_kinematics(rotmats, rest[:, :24], PARENTS["smpl24"])[0]


def bones(joints29: Tensor) -> Tensor:
    """Each joint minus its parent (B, 29, 3); row 0 is zero."""
    return joints29 - joints29[:, [0, *_PARENTS[1:]]]


def pelvis_by_svd(p: Tensor, q: Tensor) -> Tensor:
    """The rotation (B, 3, 3) that best takes rest bones q (B, 29, 3) to bones p at the pelvis (spine and both hips), Kabsch.

    Where the bones' covariance sums to exactly 0, the identity (as released).
    """
    S = q[:, _PELVIS_BONES].mT @ p[:, _PELVIS_BONES]  # B 3 3: sum of q p^T
    U, _, Vh = torch.linalg.svd(S)
    V = Vh.mT
    sign = torch.linalg.det(V @ U.mT)
    V = torch.cat([V[..., :2], V[..., 2:] * sign[:, None, None]], dim=-1)
    still = (S.sum(dim=(1, 2)) == 0)[:, None, None]
    return torch.where(still, torch.eye(3, dtype=S.dtype, device=S.device), V @ U.mT)


def pelvis_by_spine(p: Tensor, q: Tensor) -> Tensor:
    """The rotation (B, 3, 3) that takes the rest spine bone onto the spine bone, then turns about it to the hips."""
    first = swing_rotation(q[:, 3], p[:, 3])
    up = p[:, 3] / (p[:, 3].norm(dim=-1, keepdim=True) + _EPS)
    hips = [(first @ (q[:, 1] + q[:, 2])[..., None] / 2)[..., 0], (p[:, 1] + p[:, 2]) / 2]
    flat = [x - (x * up).sum(dim=-1, keepdim=True) * up for x in hips]
    return swing_rotation(*flat) @ first


def _twists(phi: Tensor, rest29: Tensor) -> Tensor:
    """Twist rotations (B, 23, 3, 3) of joints 1..23 about their rest bones."""
    return twist_rotation(bone_axes(rest29)[:, 1:], normalised_phi(phi))


def _doubled(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in float64: a swing of nearly half a turn multiplies rounding by thousands, and each processor rounds in its own way."""
    return tuple(tensor.double() for tensor in tensors)


def _turn_back(rotation: Tensor, vector: Tensor) -> Tensor:
    return (rotation.mT @ vector[..., None])[..., 0]


def naive_pose(joints29: Tensor, phi: Tensor, rest29: Tensor) -> AnalyticPose:
    """The pose whose bones point along the bones of the joints (B, 29, 3) m, one by one; errors add up along the chain.

    Solved in float64, given back in the dtype of the joints.
    """
    dtype, (joints29, phi, rest29) = joints29.dtype, _doubled(joints29, phi, rest29)
    p, q = bones(joints29), bones(rest29)
    twist = _twists(phi, rest29)
    relative, total = {0: pelvis_by_spine(p, q)}, {}
    total[0] = relative[0]
    for level in _LEVELS:
        G = torch.stack([total[_PARENTS[i]] for i in level], dim=1)  # B n 3 3
        child = [J29_CHILDREN[i] for i in level]
        R = swing_rotation(q[:, child], _turn_back(G, p[:, child])) @ twist[:, [i - 1 for i in level]]
        for n, i in enumerate(level):
            relative[i], total[i] = R[:, n], G[:, n] @ R[:, n]
    return AnalyticPose(torch.stack([relative[i] for i in range(24)], dim=1).to(dtype))


def adaptive_pose(joints29: Tensor, phi: Tensor, rest29: Tensor) -> AnalyticPose:
    """The pose that aims every bone from where its joint has come to rest at its child's target.

    Where that aim differs by more than 15 mm from the bone itself (scaled to the rest length), the bone is used. A zero twist pair gives a
    matrix that is no rotation, as released; bones of zero length keep the aim. Solved in float64, given back in the dtype of the joints.
    """
    dtype, (joints29, phi, rest29) = joints29.dtype, _doubled(joints29, phi, rest29)
    p, q = bones(joints29), bones(rest29)
    target = joints29 - joints29[:, :1] + rest29[:, :1]
    twist = _twists(phi, rest29)
    relative, chain = {0: pelvis_by_svd(p, q)}, {0: rest29[:, 0]}
    total = {0: relative[0]}
    for level in _LEVELS:
        parents, child, nodes = [_PARENTS[i] for i in level], [J29_CHILDREN[i] for i in level], list(level)
        G = torch.stack([total[k] for k in parents], dim=1)  # B n 3 3
        C = torch.stack([chain[k] for k in parents], dim=1) + (G @ q[:, nodes, :, None])[..., 0]  # B n 3
        v = target[:, child] - C
        o = p[:, child] * (q[:, child].norm(dim=-1, keepdim=True) / p[:, child].norm(dim=-1, keepdim=True))
        v = torch.where((v - o).norm(dim=-1, keepdim=True) > FALLBACK, o, v)
        R = swing_rotation(q[:, child], _turn_back(G, v)) @ twist[:, [i - 1 for i in level]]
        for n, i in enumerate(level):
            relative[i], total[i], chain[i] = R[:, n], G[:, n] @ R[:, n], C[:, n]
    order = range(24)
    return AnalyticPose(torch.stack([relative[i] for i in order], dim=1).to(dtype), torch.stack([chain[i] for i in order], dim=1).to(dtype))
