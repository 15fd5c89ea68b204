"""Errors of joints of a batch, on the device, unreduced: the evaluator's, with each truth posed once for all positions."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hpsbench.body.bodies import Bodies
from hpsbench.errors import PredictionError
from hpsbench.evaluate.scoring import Scorer, failed_people
from hpsbench.metrics import METRICS
from hpsbench.metrics.joints import mpjpe, pa_mpjpe, root_position
from hpsbench.protocol import ScoreRule
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Prediction, Truth

OF_JOINTS = ("mpjpe", "pa_mpjpe")


class Measured(NamedTuple):
    """``errors`` (B, M, J) mm and ``joints`` (B, J, 3) mm from the root, of the scored joints, NaN where ``failed`` (B,);
    ``confidence`` (B, J), NaN for joints that the model has none of, None where it gives none."""

    errors: Tensor
    joints: Tensor
    failed: Tensor
    confidence: Tensor | None


class FieldScorer(Scorer):
    """The metrics of joints that a protocol's score rule names, in the evaluator's own float64."""

    def __init__(self, bodies: Bodies, rule: ScoreRule, device: torch.device):
        super().__init__(bodies, rule, device)
        self.metrics = tuple(key for key in rule.metrics if key in OF_JOINTS)
        self.names = JOINT_NAMES[rule.joints]

    def truth(self, truth: Truth) -> Tensor:
        """The joints (R, 3) m of the protocol's regressor."""
        return self._truth([truth]).joints[0]

    def measure_joints(self, prediction: Prediction, truths: Tensor) -> Measured:
        """The errors of answers against ``truths`` (B, R, 3) of ``truth``. Nothing waits for the device.

        Raises PredictionError where the answers are not what the protocol scores.
        """
        failed = failed_people(prediction).to(self.device)
        joints = self._answer(prediction).joints
        if joints is None:
            raise PredictionError(
                f"The answers are vertices alone, and no vertices tell the joints of '{self.rule.regressor}' that the protocol scores. "
                "Give rotmats and betas, or joints."
            )
        roots = [root_position(side, self.rule.regressor, self.rule.root) for side in (joints, truths)]
        found = {}
        if "mpjpe" in self.metrics:
            found["mpjpe"] = mpjpe(joints, truths, *roots)
        if "pa_mpjpe" in self.metrics:
            fitted = (side[:, self.fitted] for side in (joints, truths))
            found["pa_mpjpe"] = pa_mpjpe(joints, truths, *fitted, scaled=self.scaled)
        errors = torch.stack([found[key][:, self.scored] * METRICS[key].factor for key in self.metrics], dim=1)
        rooted = (joints - roots[0][:, None])[:, self.scored] * METRICS["mpjpe"].factor
        gone = failed[:, None, None]
        return Measured(errors.masked_fill(gone, torch.nan), rooted.masked_fill(gone, torch.nan), failed, self._confidence(prediction))

    def _confidence(self, prediction: Prediction) -> Tensor | None:
        if prediction.confidence is None:
            return None
        names = _names_of(prediction)
        if not set(names) & set(self.names):
            return None
        own = prediction.confidence.detach().to(self.device, torch.float64)
        given = torch.nn.functional.pad(own, (0, 1), value=torch.nan)
        return given[:, [names.index(name) if name in names else -1 for name in self.names]]


def _names_of(prediction: Prediction) -> Sequence[str]:
    """The joints that confidences are of: those of the answer's skeleton, else of the body's skeleton that has as many."""
    count = prediction.confidence.shape[1]
    if prediction.skeleton is not None:
        names = JOINT_NAMES[prediction.skeleton]
        return names if len(names) == count else ()
    return next((JOINT_NAMES[skeleton] for skeleton in ("smpl24", "j29") if len(JOINT_NAMES[skeleton]) == count), ())
