"""An SMPL-family body: parameters to vertices and joints, batched, any device, float32 and float64, with gradients."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor, nn

from hpsbench.body.kinematics import forward_kinematics
from hpsbench.errors import BodyError
from hpsbench.skeleton import J29_LEAF_VERTICES, PARENTS

# People skinned at a time: keeps the temporaries at about ten megabytes, whatever the batch.
_BLOCK = 32


class BodyOutput(NamedTuple):
    """``vertices`` (B, V, 3) and the kinematic ``joints`` (B, 24, 3), metres."""

    vertices: Tensor
    joints: Tensor


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
    directions without touching a vertex. All buffers are constants of the file.
    """

    def __init__(self, arrays: BodyArrays, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.faces = arrays.faces
        self.n_vertices = len(arrays.v_template)
        self.parents = PARENTS["smpl24"]
        dirs = np.concatenate([arrays.shapedirs, arrays.posedirs], axis=2)
        for name, array in {
            "v_template": arrays.v_template,
            "blend": dirs.transpose(2, 1, 0),
            "J_regressor": arrays.J_regressor,
            "weights": arrays.weights,
            "joint_template": arrays.J_regressor @ arrays.v_template,
            "joint_dirs": np.einsum("jv,vcs->jcs", arrays.J_regressor, arrays.shapedirs),
        }.items():
            self.register_buffer(name, torch.from_numpy(np.array(array, order="C")).to(dtype), persistent=False)

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
        return self.v_template.dtype

    @property
    def device(self) -> torch.device:
        return self.v_template.device

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
        betas, rotmats, trans = self._inputs(betas, rotmats, trans, rotvecs)
        rest = self.rest_joints(betas)
        joints, rotations = forward_kinematics(rotmats, rest, self.parents)
        shifts = joints - (rotations @ rest[..., None])[..., 0]
        if trans is not None:
            joints, shifts = joints + trans[:, None], shifts + trans[:, None]
        transforms = torch.cat([rotations, shifts[..., None]], dim=-1).flatten(2).transpose(1, 2)
        eye = torch.eye(3, dtype=self.dtype, device=self.device)
        features = torch.cat([betas, (rotmats[:, 1:] - eye).flatten(1)], dim=1)
        return BodyOutput(self._skinned(features, transforms, vertex_ids), joints)

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

    def _skinned(self, features: Tensor, transforms: Tensor, vertex_ids: Tensor | None) -> Tensor:
        """Vertices (B, V, 3) of blend ``features`` (B, 217) and joint ``transforms`` (B, 12, 24), block by block."""
        template, blend, weights = self.v_template, self.blend, self.weights
        if vertex_ids is not None:
            template, blend, weights = template[vertex_ids], blend[:, :, vertex_ids], weights[vertex_ids]
        template, blend = template.t().flatten(), blend.flatten(1)  # (3V,), (217, 3V)
        weights = weights.t()  # (24, V)
        blocks = []
        for some, moves in zip(features.split(_BLOCK), transforms.split(_BLOCK), strict=True):
            x, y, z = torch.addmm(template, some, blend).view(len(some), 3, 1, weights.shape[1]).unbind(1)  # (b, 1, V) each
            skin = (moves.flatten(0, 1) @ weights).view(len(some), 3, 4, weights.shape[1])  # (b, 3, 4, V)
            points = skin[:, :, 3].addcmul(skin[:, :, 0], x).addcmul(skin[:, :, 1], y).addcmul(skin[:, :, 2], z)  # (b, 3, V)
            blocks.append(points.transpose(1, 2))
        return torch.cat(blocks)

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Kinematic joints (B, 24, 3) m of the shaped template in the rest pose."""
        return self.joint_template + torch.einsum("bs,jcs->bjc", betas.to(self.joint_dirs), self.joint_dirs)

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
