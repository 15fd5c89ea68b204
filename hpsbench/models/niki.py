"""``niki``: HybrIK's joints, twist, shape and uncertainty, turned into rotations by an invertible network.

Source: Li et al., NIKI: Neural Inverse Kinematics with Invertible Neural Networks for 3D Human Pose and Shape Estimation, CVPR 2023.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hpsbench.body.bodies import Bodies
from hpsbench.models.base import build_network, card_of, checkpoints_by_family, joint_sha256
from hpsbench.models.base_joint_stage import JointStageModel
from hpsbench.models.ik.analytic import AnalyticIK
from hpsbench.models.ik.niki import NikiOneStage, placed_translation, projected_uv
from hpsbench.models.nets.hybrik_net import HybrikState, crop_geometry, true_camera
from hpsbench.skeleton import J29_LEAF_VERTICES
from hpsbench.types import Card, CropSpec, ViewBatch


class Niki(JointStageModel):
    """A HybrIK network and a NIKI network (released twist-and-swing or one-stage, or the bundled small one), frame by frame.

    Both checkpoints are given as weights, in any order. The padding noise that the released model draws anew at every call is left at its
    mean, zero, here: answers repeat, and a person gets the same one under every id and in every dataset.
    """

    card = Card(
        name="niki",
        what="HybrIK's joints, twist and uncertainty; rotations by an invertible network",
        source="own implementation of https://github.com/Jeff-sjtu/NIKI",
        licence="Apache-2.0 (code); that of the files for weights given",
        paper="Li et al., CVPR 2023",
    )

    def __init__(self, weights: Sequence[Path], bodies: Bodies, device: torch.device):
        super().__init__(weights, bodies.to(device, torch.float32), device)
        found = checkpoints_by_family(weights, ["hybrik", "niki"])
        self.net = build_network(found["hybrik"], "hybrik", device)
        self.flow = build_network(found["niki"], "niki", device)
        self.weights_sha256 = joint_sha256([found[family].sha256 for family in ("hybrik", "niki")])
        self.card = card_of(found["niki"], self.card)
        self.crop = CropSpec(side=self.net.config.input_side)
        self.refine = "niki" if self.net.config.refine == "hybrik" else self.net.config.refine
        self.pose = AnalyticIK(self.bodies.neutral.rest_joints29).posed

    def _answer(self, state: HybrikState, batch: ViewBatch) -> dict[str, Tensor]:
        rotmats = self.flow.ik(state.joints29, state.sigma, state.phi, state.betas).rotmats
        root = self._root_by_camera_head(state, rotmats, batch) if isinstance(self.flow, NikiOneStage) else state.root
        pelvis = true_camera(root, batch, self.net.config)
        trans = pelvis - self.bodies.neutral.rest_joints(state.betas)[:, 0]
        return {"rotmats": rotmats, "betas": state.betas, "trans": trans, "confidence": 1 - state.sigma}

    def _root_by_camera_head(self, state: HybrikState, rotmats: Tensor, batch: ViewBatch) -> Tensor:
        """Joint 0 (B, 3) m by the one-stage model's camera head; HybrIK's where every joint is too unsure to place it."""
        leaves = torch.tensor(J29_LEAF_VERTICES, device=self.device)
        body = self.bodies.neutral(state.betas, rotmats, vertex_ids=leaves)
        joints29 = torch.cat([body.joints, body.vertices], dim=1)
        camera = torch.cat([1000 / (256 * state.root[:, 2:] + 1e-9), state.root[:, :2]], dim=-1)
        camera = self.flow.camnet(state.uvd[..., :2], joints29, state.sigma, camera)
        offset, _ = crop_geometry(batch.squares_xyxy, batch.intrinsics, self.net.config)
        placed = placed_translation(joints29, projected_uv(joints29, camera), state.sigma, camera, -256 * offset)
        return torch.where(placed.isfinite().all(dim=-1, keepdim=True), placed, state.root)
