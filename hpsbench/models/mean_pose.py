"""``mean-pose``: the floor of every table and the fake of every test."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from hpsbench.body.bodies import Bodies
from hpsbench.errors import WeightsError
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.models.base import Model
from hpsbench.store import sha256_of_bytes
from hpsbench.types import Card, Prediction, ViewBatch


class MeanPose(Model):
    """Always the same pose and shape, that of ``weights/mean_pose.json``: relative rotation vectors in the camera frame, and betas."""

    card = Card(
        name="mean-pose",
        what="One fixed pose and shape for everybody; looks at no pixels",
        source="hpsbench",
        licence="Apache-2.0",
    )

    def __init__(self, weights: Sequence[Path], bodies: Bodies, device: torch.device):
        super().__init__(weights, bodies, device)
        if weights:
            raise WeightsError(f"Model 'mean-pose' takes no weights, but was given {weights[0]}. Leave --weights out.")
        data = files("hpsbench.models").joinpath("weights", "mean_pose.json").read_bytes()
        pose = json.loads(data)
        self.weights_sha256 = sha256_of_bytes(data)
        rotvecs = torch.from_numpy(np.array(pose["rotvecs"], dtype=np.float64))
        self.rotmats = rotvec_to_rotmat(rotvecs).float().to(device)
        self.betas = torch.tensor(pose["betas"], dtype=torch.float32, device=device)

    def predict(self, batch: ViewBatch) -> Prediction:
        count = len(batch)
        return Prediction(
            failed=torch.zeros(count, dtype=torch.bool, device=self.device),
            rotmats=self.rotmats.expand(count, 24, 3, 3),
            betas=self.betas.expand(count, 10),
        )
