"""The field's way of doing things, in our own few lines each, to be measured against."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import smplx
from scipy.sparse import csc_matrix

from hpsbench.occlude import Planner, apply_to_image
from hpsbench.types import Sample


def pa_mpjpe_loop(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """PA-MPJPE (N,) of (N, J, 3), person by person with one 3x3 SVD each."""
    out = []
    for x, y in zip(pred, gt, strict=True):
        x0, y0 = x - x.mean(0), y - y.mean(0)
        u, s, vt = np.linalg.svd(x0.T @ y0)
        sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
        rotation = (vt.T * sign) @ u.T
        scale = (s * sign).sum() / (x0**2).sum()
        out.append(np.linalg.norm(scale * x0 @ rotation.T - y0, axis=1).mean())
    return np.array(out)


def smplx_layer(body_file: Path, folder: Path):
    """A callable (betas, pose) around smplx's SMPL on the same body, which it reads from a pickle only."""
    with np.load(body_file) as arrays:
        content = {key: arrays[key] for key in arrays.files}
    content["posedirs"] = content["posedirs"].astype(np.float32)
    content["J_regressor"] = csc_matrix(content["J_regressor"])
    with open(folder / "SMPL_NEUTRAL.pkl", "wb") as stream:
        pickle.dump(content, stream)
    layer = smplx.SMPL(str(folder), gender="neutral", batch_size=1)
    return lambda betas, pose: layer(betas=betas, body_pose=pose[:, 1:].flatten(1), global_orient=pose[:, 0])


def written_per_person(samples: Sequence[Sample], planner: Planner, folder: Path) -> None:
    """Occluded images as scripts write them: for each person read the image, paint, encode, write; no plan, hash or check is kept."""
    folder.mkdir()
    for k, sample in enumerate(samples):
        cv2.imwrite(str(folder / f"{k}.png"), apply_to_image(sample.view.read(), planner(sample))[..., ::-1])
