"""An SMPL-family body: parameters to vertices and joints, batched, any device, float32 and float64, with gradients."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor, nn

from hpsbench.body.kinematics import forward_kinematics
from hpsbench.errors import BodyError
from hpsbench.geometry import blocks
from hpsbench.skeleton import J29_LEAF_VERTICES, PARENTS

# Vertices skinned at a time; the people, see people_at_once.
_TILE = 512


class BodyOutput(NamedTuple):
    """``vertices`` (B, V, 3) and the kinematic ``joints`` (B, 24, 3), metres."""

    vertices: Tensor
    joints: Tensor


class Posed(NamedTuple):
    """What the vertices of some people are made of: blend ``features`` (B, 217) = [betas, R - I], ``transforms`` (B, 12, 24) that map
    each joint's rest frame to the posed one, (3, 4) row-major, and the kinematic ``joints`` (B, 24, 3) m."""

    features: Tensor
    transforms: Tensor
    joints: Tensor

    @property
    def rotations(self) -> Tensor:
        """Global rotations (B, 24, 3, 3)."""
        return self.transforms.unflatten(1, (3, 4))[:, :, :3].permute(0, 3, 1, 2)

    def of(self, rows: slice | Tensor) -> "Posed":
        """Some of the people."""
        return Posed(*(part[rows] for part in self))


@dataclass(frozen=True)
class BodyArrays:
    """What a body file holds, checked: float64 numpy but for ``faces`` (F, 3) int64.

    ``v_template`` (V, 3) m, ``shapedirs`` (V, 3, 10), ``posedirs`` (V, 3, 207), ``J_regressor`` (24, V), ``weights`` (V, 24).
    """

    v_template: np.ndarray
    shapedirs: np.ndarray
    posedirs: np.ndarray
    J_regressor: np.ndarray
    weights: np.ndarray
    faces: np.ndarray


class BodyModel(nn.Module):
    """SMPL by linear blend skinning in the module's own dtype and device (``.to()``).

    Source: Loper et al. 2015. All blend shapes are one product of [betas, R - I] with ``blend`` (217, 3, V), vertices along
    the last axis so that every pass over them is contiguous; rest joints come from the regressed template and shape
    directions without touching a vertex. Vertices are skinned in tiles, each by the joints that move it (some 7 of 24).
    All buffers are constants of the file.
    """

    def __init__(self, arrays: BodyArrays, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.faces = arrays.faces
        self.n_vertices = len(arrays.v_template)
        self.parents = PARENTS["smpl24"]
        self.places = [slice(start, min(start + _TILE, self.n_vertices)) for start in range(0, self.n_vertices, _TILE)]
        self._movers = [np.flatnonzero((arrays.weights[place] != 0).any(axis=0)).tolist() for place in self.places]
        dirs = np.concatenate([arrays.shapedirs, arrays.posedirs], axis=2)
        pairs = zip(self.places, self._movers, strict=True)
        for name, array in {
            "template": arrays.v_template.T,
            "blend": dirs.transpose(2, 1, 0),
            "J_regressor": arrays.J_regressor,
            "weights": arrays.weights,
            "tile_weights": np.concatenate([arrays.weights[place, joints].T.ravel() for place, joints in pairs]),
            "joint_template": arrays.J_regressor @ arrays.v_template,
            "joint_dirs": np.einsum("jv,vcs->jcs", arrays.J_regressor, arrays.shapedirs),
        }.items():
            self.register_buffer(name, torch.from_numpy(np.array(array, order="C")).to(dtype), persistent=False)

    @property
    def v_template(self) -> Tensor:
        """(V, 3) m."""
        return self.template.t()

    @property
    def shapedirs(self) -> Tensor:
        """(V, 3, 10) m per unit of beta."""
        return self.blend[:10].permute(2, 1, 0)

    @property
    def posedirs(self) -> Tensor:
        """(V, 3, 207) m per entry of the 23 R - I, row-major."""
        return self.blend[10:].permute(2, 1, 0)

    @property
    def dtype(self) -> torch.dtype:
        return self.template.dtype

    @property
    def device(self) -> torch.device:
        return self.template.device

    def forward(
        self,
        betas: Tensor,
        rotmats: Tensor | None = None,
        trans: Tensor | None = None,
        *,
        rotvecs: Tensor | None = None,
        vertex_ids: Tensor | None = None,
    ) -> BodyOutput:
        """The posed body of ``betas`` (B, 10), relative ``rotmats`` (B, 24, 3, 3) or ``rotvecs`` (B, 24, 3) rad, ``trans`` (B, 3) m.

        Without ``trans`` the pelvis stays at its shape-dependent rest position. ``vertex_ids`` (N,) int64: only those
        vertices are computed, (B, N, 3). Inputs are brought to the body's dtype and device. Raises ValueError on shapes.
        """
        posed = self.pose(betas, rotmats, trans, rotvecs=rotvecs)
        return BodyOutput(self.vertices(posed, vertex_ids), posed.joints)

    def pose(self, betas: Tensor, rotmats: Tensor | None = None, trans: Tensor | None = None, *, rotvecs: Tensor | None = None) -> Posed:
        """``forward`` up to the vertices."""
        betas, rotmats, trans = self._inputs(betas, rotmats, trans, rotvecs)
        rest = self.rest_joints(betas)
        joints, rotations = forward_kinematics(rotmats, rest, self.parents)
        shifts = joints - (rotations @ rest[..., None])[..., 0]
        if trans is not None:
            joints, shifts = joints + trans[:, None], shifts + trans[:, None]
        transforms = torch.cat([rotations, shifts[..., None]], dim=-1).flatten(2).transpose(1, 2)
        eye = torch.eye(3, dtype=self.dtype, device=self.device)
        return Posed(torch.cat([betas, (rotmats[:, 1:] - eye).flatten(1)], dim=1), transforms, joints)

    def vertices(self, posed: Posed, vertex_ids: Tensor | None = None) -> Tensor:
        """The vertices (B, V, 3) m of posed people, all or those of some numbers (N,); planes of x, y and z in memory."""
        if vertex_ids is not None:
            return self._some_vertices(posed, vertex_ids)
        parts = blocks(len(posed.joints), people_at_once(self.device))
        if torch.is_grad_enabled() and any(part.requires_grad for part in posed):
            return torch.cat([torch.cat(list(self.tiles(posed.of(rows))), dim=2) for rows in parts]).transpose(1, 2)
        points = self.template.new_empty(len(posed.joints), 3, self.n_vertices)
        for rows in parts:
            for place, tile in zip(self.places, self.tiles(posed.of(rows)), strict=True):
                points[rows, :, place] = tile
        return points.transpose(1, 2)

    def tiles(self, posed: Posed) -> Iterator[Tensor]:
        """The vertices (B, 3, n) m of posed people at each of ``places``."""
        offsets = (posed.features @ self.blend.flatten(1)).unflatten(1, (3, -1))  # (B, 3, V)
        weights = iter(self.tile_weights.split([len(j) * (p.stop - p.start) for p, j in zip(self.places, self._movers, strict=True)]))
        for place, joints in zip(self.places, self._movers, strict=True):
            moves = posed.transforms[:, :, joints]  # (B, 12, k)
            skin = (moves.flatten(0, 1) @ next(weights).view(len(joints), -1)).unflatten(0, (-1, 3, 4))  # (B, 3, 4, n)
            yield moved(skin, self.template[:, place] + offsets[:, :, place])

    def _inputs(
        self, betas: Tensor, rotmats: Tensor | None, trans: Tensor | None, rotvecs: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        if (rotmats is None) == (rotvecs is None):
            raise ValueError("BodyModel: give either rotmats or rotvecs")
        betas = self._checked("betas", betas, (10,))
        if rotmats is None:
            rotmats = roma.rotvec_to_rotmat(self._checked("rotvecs", rotvecs, (24, 3)))
        rotmats = self._checked("rotmats", rotmats, (24, 3, 3))
        trans = None if trans is None else self._checked("trans", trans, (3,))
        if len(betas) != len(rotmats) or (trans is not None and len(trans) != len(betas)):
            raise ValueError(f"BodyModel: betas are of {len(betas)} people, rotations of {len(rotmats)}, trans of another number or absent")
        return betas, rotmats, trans

    def _checked(self, name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
        if value.shape[1:] != shape or value.dim() != len(shape) + 1:
            raise ValueError(f"BodyModel: expected {name} of shape (B, {', '.join(map(str, shape))}), but got {tuple(value.shape)}")
        return value.to(device=self.device, dtype=self.dtype)

    def _some_vertices(self, posed: Posed, vertex_ids: Tensor) -> Tensor:
        """The vertices (B, N, 3) of numbers ``vertex_ids`` (N,), a block of people at a time."""
        template, blend, weights = self.template[:, vertex_ids], self.blend[:, :, vertex_ids], self.weights[vertex_ids].t()
        parts = []
        for rows in blocks(len(posed.joints), 1024):
            some = posed.of(rows)
            skin = (some.transforms.flatten(0, 1) @ weights).unflatten(0, (-1, 3, 4))  # (b, 3, 4, N)
            parts.append(moved(skin, template + (some.features @ blend.flatten(1)).unflatten(1, (3, -1))))
        return torch.cat(parts).transpose(1, 2)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Kinematic joints (B, 24, 3) m of the shaped template in the rest pose."""
        moved_by_shape = betas.to(self.joint_dirs) @ self.joint_dirs.flatten(0, 1).t()
        return self.joint_template + moved_by_shape.unflatten(1, (24, 3))

    def rest_joints29(self, betas: Tensor) -> Tensor:
        """The 29 joints (B, 29, 3) m at rest: 24 kinematic joints and the five leaf vertices of the shaped template."""
        self._need_leaves()
        ids = list(J29_LEAF_VERTICES)
        dirs = self.blend[:10][:, :, ids]
        leaves = self.v_template[ids] + torch.einsum("bs,scv->bvc", betas.to(dirs), dirs)
        return torch.cat([self.rest_joints(betas), leaves], dim=1)

    def joints29(self, output: BodyOutput) -> Tensor:
        """The 29 joints (B, 29, 3) m of a posed body with all its vertices."""
        self._need_leaves()
        return torch.cat([output.joints, output.vertices[:, list(J29_LEAF_VERTICES)]], dim=1)

    def _need_leaves(self) -> None:
        if self.n_vertices <= max(J29_LEAF_VERTICES):
            raise BodyError(
                f"The 29-joint set takes mesh vertices {J29_LEAF_VERTICES}, but this body has {self.n_vertices}. Use one of 6890."
            )


def people_at_once(device: torch.device) -> int:
    """How many people's vertices are in work at a time: a cacheful, or on a GPU enough that launching the steps takes less than they do."""
    return 128 if device.type == "cpu" else 1024


def moved(skin: Tensor, points: Tensor) -> Tensor:
    """Points (B, 3, n), each moved by its own ``skin`` (B, 3, 4, n): a rotation and a shift beside it."""
    x, y, z = points.unsqueeze(2).unbind(1)  # (B, 1, n) each
    return skin[:, :, 3].addcmul(skin[:, :, 0], x).addcmul(skin[:, :, 1], y).addcmul(skin[:, :, 2], z)
