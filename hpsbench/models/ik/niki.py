"""The NIKI inverse-kinematics networks: one-stage, and twist-and-swing.

A joint side [J29 relative to joint 0 (87), sigma (29), padding (60)] and a pose side [6D rotations (144), latent] are tied by an
invertible network. Rotations are pairs of ROWS (6D); sigma is HybrIK's, low is sure; nothing here sees an image.

Source: Li et al., NIKI: Neural Inverse Kinematics with Invertible Neural Networks, CVPR 2023, and its released code.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.body.kinematics import normalised_phi
from hpsbench.geometry import rot6d_rows_to_rotmat
from hpsbench.models.ik.flow import CouplingFlow, ShapedCouplingFlow

JOINT_VALUES = 29 * 3
SCORES = 29
ROTATION_VALUES = 24 * 6
PHI_VALUES = 23 * 2
Z_SWING = 32
Z_TWIST = PHI_VALUES
SIZE = ROTATION_VALUES + Z_SWING
PADDING = SIZE - JOINT_VALUES - SCORES
NOISE = 1e-3
CAMERA_START = (0.8, 0.0, 0.0)
KINDS = ("twist-swing", "one-stage")


@dataclass(frozen=True)
class NikiConfig:
    """The shape of one NIKI network; the defaults are the released twist-and-swing model.

    ``hidden``: width of the coupling networks. ``dropout``: of the second flow in training. ``shaped``: the first flow sees
    the betas (it does not in the released model).
    """

    kind: str = "twist-swing"
    hidden: int = 512
    couplings: int = 16
    dropout: float = 0.5
    shaped: bool = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected one of {KINDS}, but got '{self.kind}'")

    def to_record(self) -> dict[str, Any]:
        """Plain JSON of all fields."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "NikiConfig":
        """The configuration out of parsed JSON; an unknown field raises TypeError."""
        return cls(**record)


TWIST_SWING = NikiConfig()
ONE_STAGE = NikiConfig(kind="one-stage")


@dataclass(frozen=True)
class NikiPose:
    """A pose out of the IK direction.

    ``rotmats`` (B, 24, 3, 3) relative; ``rot6d`` (B, 24, 6) as the flow gave it; ``z`` (B, 32), latent of the (first) flow.
    Twist-and-swing only: ``swing6d`` (B, 24, 6) and ``z_twist`` (B, 46).
    """

    rotmats: Tensor
    rot6d: Tensor
    z: Tensor
    swing6d: Tensor | None = None
    z_twist: Tensor | None = None


@dataclass(frozen=True)
class NikiJoints:
    """What the FK direction gives.

    ``joints29`` (B, 29, 3) m; ``sigma`` (B, 29); ``padding`` (B, 60); ``logdet`` (B,). Twist-and-swing only: ``swing6d`` (B, 24, 6)
    and ``phi`` (B, 23, 2).
    """

    joints29: Tensor
    sigma: Tensor
    padding: Tensor
    logdet: Tensor
    swing6d: Tensor | None = None
    phi: Tensor | None = None


def joint_side(joints29: Tensor, sigma: Tensor, noise: Tensor | None) -> Tensor:
    """The flow vector (B, 176): joints (B, 29, 3) m made relative to joint 0, sigma (B, 29), 1e-3 times ``noise`` (B, 60; None: zeros)."""
    flat = (joints29 - joints29[:, :1]).flatten(1)
    padding = flat.new_zeros(len(flat), PADDING) if noise is None else NOISE * noise
    return torch.cat([flat, sigma, padding], dim=-1)


def _joints_of(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    joints, sigma, padding = x.split([JOINT_VALUES, SCORES, PADDING], dim=-1)
    return joints.reshape(-1, 29, 3), sigma, padding


class NikiTwistSwing(nn.Module):
    """Joints to swing rotations by one flow, swing and twist to rotations by another."""

    def __init__(self, config: NikiConfig = TWIST_SWING):
        super().__init__()
        self.config = config
        self.flow_j2s = ShapedCouplingFlow(SIZE, config.hidden, config.couplings, shaped=config.shaped)
        self.flow_s2r = CouplingFlow(ROTATION_VALUES + Z_TWIST, config.hidden, config.couplings, dropout=config.dropout)

    def ik(
        self, joints29: Tensor, sigma: Tensor, phi: Tensor, betas: Tensor, *, noise: Tensor | None = None, normalise_phi: bool = True
    ) -> NikiPose:
        """The pose of joints (B, 29, 3) m with sigma (B, 29), twists (B, 23, 2) and betas (B, 10); ``noise`` (B, 60) standard normal."""
        swing, z = self.flow_j2s.ik(joint_side(joints29, sigma, noise), betas)[0].split([ROTATION_VALUES, Z_SWING], dim=-1)
        twist = (normalised_phi(phi) if normalise_phi else phi).flatten(1)
        rot6d, z_twist = self.flow_s2r.ik(torch.cat([swing, twist], dim=-1))[0].split([ROTATION_VALUES, Z_TWIST], dim=-1)
        rot6d = rot6d.reshape(-1, 24, 6)
        return NikiPose(rot6d_rows_to_rotmat(rot6d), rot6d, z, swing.reshape(-1, 24, 6), z_twist)

    def fk(self, rot6d: Tensor, betas: Tensor, *, z: Tensor | None = None, z_twist: Tensor | None = None) -> NikiJoints:
        """The joints of a pose (B, 24, 6) and betas (B, 10); latents that are not given are zero."""
        z = rot6d.new_zeros(len(rot6d), Z_SWING) if z is None else z
        z_twist = rot6d.new_zeros(len(rot6d), Z_TWIST) if z_twist is None else z_twist
        stage2, logdet2 = self.flow_s2r.fk(torch.cat([rot6d.flatten(1), z_twist], dim=-1))
        swing, phi = stage2.split([ROTATION_VALUES, PHI_VALUES], dim=-1)
        stage1, logdet1 = self.flow_j2s.fk(torch.cat([swing, z], dim=-1), betas)
        return NikiJoints(*_joints_of(stage1), logdet1 + logdet2, swing.reshape(-1, 24, 6), phi.reshape(-1, 23, 2))


class NikiOneStage(nn.Module):
    """Joints to rotations by one flow that sees neither twist nor betas, and a camera head beside it."""

    def __init__(self, config: NikiConfig = ONE_STAGE):
        super().__init__()
        self.config = config
        self.flow = CouplingFlow(SIZE, config.hidden, config.couplings, gap=False)
        self.camnet = CameraNet()

    def ik(self, joints29: Tensor, sigma: Tensor, phi: Tensor, betas: Tensor, *, noise: Tensor | None = None) -> NikiPose:
        """The pose of joints (B, 29, 3) m with sigma (B, 29); ``noise`` (B, 60) standard normal. ``phi``, ``betas``: not looked at."""
        rot6d, z = self.flow.ik(joint_side(joints29, sigma, noise))[0].split([ROTATION_VALUES, Z_SWING], dim=-1)
        rot6d = rot6d.reshape(-1, 24, 6)
        return NikiPose(rot6d_rows_to_rotmat(rot6d), rot6d, z)

    def fk(self, rot6d: Tensor, betas: Tensor, *, z: Tensor | None = None) -> NikiJoints:
        """The joints of a pose (B, 24, 6); a latent that is not given is zero; ``betas`` are not looked at."""
        z = rot6d.new_zeros(len(rot6d), Z_SWING) if z is None else z
        x, logdet = self.flow.fk(torch.cat([rot6d.flatten(1), z], dim=-1))
        return NikiJoints(*_joints_of(x), logdet)


class CameraNet(nn.Module):
    """The weak-perspective camera (B, 3) = (s, tx, ty) of the one-stage model."""

    def __init__(self, hidden: int = 1024):
        super().__init__()
        self.register_buffer("init_cam", torch.tensor(CAMERA_START))
        layers: list[nn.Module] = []
        for inputs in (29 * 2 + 29 * 3 + 29 + 3, hidden, hidden):
            layers += [nn.Linear(inputs, hidden), nn.Dropout(), nn.ReLU(inplace=True)]
        self.camera_net = nn.Sequential(*layers, nn.Linear(hidden, 3))

    def forward(self, uv: Tensor, joints29: Tensor, sigma: Tensor, camera: Tensor) -> Tensor:
        """``uv`` (B, 29, 2) fractions of the crop, posed ``joints29`` (B, 29, 3) m not re-centred, ``sigma`` (B, 29), ``camera`` (B, 3)."""
        seen = torch.cat([uv.flatten(1), joints29.flatten(1), sigma, camera], dim=-1)
        return self.camera_net(seen) + self.init_cam


def projected_uv(joints29: Tensor, camera: Tensor) -> Tensor:
    """Joints (B, 29, 3) m in fractions of the crop (B, 29, 2) under camera (s, tx, ty), taken about the middle of the hips."""
    centred = joints29 - (joints29[:, 1:2] + joints29[:, 2:3]) / 2
    return (centred[..., :2] + camera[:, None, 1:]) / (centred[..., 2:] * 0.256 + 1 / camera[:, None, :1])


def placed_translation(joints29: Tensor, uv: Tensor, sigma: Tensor, camera: Tensor, centre_px: Tensor) -> Tensor:
    """The translation (B, 3) m that brings root-relative joints (B, 29, 3) onto (u, v), joints weighted by clamp(1 - 5 sigma, 0, 1).

    ``uv`` (B, 29, 2): ``projected_uv`` of the same joints and camera; NaN where every weight is zero. ``centre_px`` (B, 2):
    (image centre - box centre) / box size * 256. Only the 24 joints of the body chain count.
    """
    depth = 1000 / (256 * camera[:, :1])
    joints = (joints29 - joints29[:, :1])[:, :24]
    target = (uv[:, :24] - centre_px[:, None] / 256) * (joints[..., 2:] + depth[:, None]) * 0.256 - joints[..., :2]
    weights = (1 - 5 * sigma[:, :24, None]).clamp(0, 1)
    return torch.cat([(weights * target).sum(dim=1) / weights.sum(dim=1), depth], dim=-1)


def build_niki(config: NikiConfig) -> NikiTwistSwing | NikiOneStage:
    """The network of a configuration."""
    return NikiTwistSwing(config) if config.kind == "twist-swing" else NikiOneStage(config)
