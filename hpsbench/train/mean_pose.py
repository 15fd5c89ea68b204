"""The numbers of the model mean-pose out of a training set."""

import json
from pathlib import Path

import numpy as np
import torch

from hpsbench.geometry import rotmat_to_rotvec
from hpsbench.store import write_text
from hpsbench.train.cache import CropCache

WHAT = (
    "The answer of the model mean-pose: relative rotation vectors (24, 3) rad in the camera frame (x right, y down, z forward) "
    "and betas (10,) of the neutral body."
)


def chordal_mean(rotmats: np.ndarray) -> np.ndarray:
    """The rotation (..., 3, 3) nearest to the mean of rotations (N, ..., 3, 3) in squared matrix distance, computed in float64."""
    U, _, Vh = np.linalg.svd(np.asarray(rotmats, np.float64).mean(0))
    U[..., :, 2] *= np.linalg.det(U @ Vh)[..., None]
    return U @ Vh


def write_mean_pose(cache: CropCache, path: Path) -> Path:
    """Write the mean pose (joint by joint, chordal) and the mean betas of all cached people, as the model mean-pose reads them."""
    rotvecs = rotmat_to_rotvec(torch.from_numpy(chordal_mean(cache.labels["rotmats"]))).numpy()
    how = f"Chordal mean of every joint's rotation and mean betas over {len(cache)} person-frames of OpenHPS train."
    betas = cache.labels["betas"].astype(np.float64).mean(0)
    record = {"what": WHAT, "how": how, "rotvecs": rotvecs.round(5).tolist(), "betas": betas.round(5).tolist()}
    write_text(path, json.dumps(record, indent=1) + "\n")
    return path
