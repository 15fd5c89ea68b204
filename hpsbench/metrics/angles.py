"""Errors of joint rotations: angles in radians, one per person and joint."""

from torch import Tensor

from hpsbench.geometry import geodesic_angle

# Source: the 3DPW challenge's evaluator (root, hips, knees, shoulders, elbows, in its order).
MPJAE_JOINTS = (0, 1, 2, 4, 5, 16, 17, 18, 19)


def mpjae(pred: Tensor, gt: Tensor, rotation: Tensor | None = None) -> Tensor:
    """The geodesic angle (..., 9) rad between global rotations (..., 24, 3, 3) of the SMPL joints MPJAE_JOINTS.

    ``rotation`` (..., 3, 3) is applied to the prediction first: the Procrustes rotation gives PA-MPJAE.
    """
    pred, gt = pred[..., MPJAE_JOINTS, :, :], gt[..., MPJAE_JOINTS, :, :]
    if rotation is not None:
        pred = rotation[..., None, :, :].to(pred.dtype) @ pred
    return geodesic_angle(pred, gt)
