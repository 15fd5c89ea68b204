"""``hybrik``: 3D joints, twist and shape out of a crop, then analytic inverse kinematics.

Source: Li et al., HybrIK: A Hybrid Analytical-Neural Inverse Kinematics Solution for 3D Human Pose and Shape Estimation, CVPR 2021.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hpsbench.body.bodies import Bodies
from hpsbench.models.base import build_network, card_of, checkpoints_by_family
from hpsbench.models.base_joint_stage import JointStageModel
from hpsbench.models.ik.analytic import AnalyticIK
from hpsbench.models.nets.hybrik_net import HybrikState, true_camera
from hpsbench.types import Card, CropSpec, ViewBatch


class Hybrik(JointStageModel):
    """A HybrIK network (released ResNet-34 or HRNet-W48 with camera, or the bundled small one) and the adaptive analytic IK."""

    card = Card(
        name="hybrik",
        what="3D heat maps, twist and shape from a crop; rotations by analytic inverse kinematics",
        source="own implementation of https://github.com/Jeff-sjtu/HybrIK",
        licence="Apache-2.0 (code); that of the file for weights given",
        paper="Li et al., CVPR 2021",
    )

    def __init__(self, weights: Sequence[Path], bodies: Bodies, device: torch.device):
        super().__init__(weights, bodies.to(device, torch.float32), device)
        checkpoint = checkpoints_by_family(weights, ["hybrik"])["hybrik"]
        self.net = build_network(checkpoint, "hybrik", device)
        self.weights_sha256 = checkpoint.sha256
        self.card = card_of(checkpoint, self.card)
        self.crop = CropSpec(side=self.net.config.input_side)
        rest = self.bodies.neutral.rest_joints29
        self.solver, self.refine, self.pose = AnalyticIK(rest), self.net.config.refine, AnalyticIK(rest, adaptive=False).posed

    def _answer(self, state: HybrikState, batch: ViewBatch) -> dict[str, Tensor]:
        pelvis = true_camera(state.root, batch, self.net.config)
        return {
            "rotmats": self.solver.ik(state.joints29, state.sigma, state.phi, state.betas).rotmats,
            "betas": state.betas,
            "joints": state.joints29 + pelvis[:, None],
            "trans": pelvis - self.bodies.neutral.rest_joints(state.betas)[:, 0],
            "confidence": 1 - state.sigma,
        }
