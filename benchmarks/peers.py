"""The field's way of doing things, in our own few lines each, to be measured against."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import smplx
import torch
from scipy.sparse import csc_matrix
from scipy.spatial.transform import Rotation
from torch import Tensor

from hpsbench.models.nets.local import Box
from hpsbench.occlude import Planner, apply_to_image
from hpsbench.skeleton import subset
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


def pa_mpjpe_batched(pred: Tensor, gt: Tensor) -> Tensor:
    """PA-MPJPE (N,) of (N, J, 3), all people in one batched SVD, in float64."""
    x, y = (side.double() - side.double().mean(1, keepdim=True) for side in (pred, gt))
    u, s, vt = torch.linalg.svd(y.mT @ x)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ vt).sign()
    scale = (s * sign).sum(1) / x.square().sum((1, 2))
    rotation = (u * sign[:, None]) @ vt
    return (scale[:, None, None] * x @ rotation.mT - y).norm(dim=-1).mean(1)


def pve_numpy(pred: Tensor, gt: Tensor) -> np.ndarray:
    """PVE (N,) of (N, V, 3)."""
    return np.linalg.norm(pred.numpy() - gt.numpy(), axis=-1).mean(-1)


def auc_loop(errors: np.ndarray) -> float:
    """AUC of errors (N, J) m, NaN where not measured: the PCK of the measured ones at each threshold from 0 to 150 mm, and the mean."""
    hits = (np.where(np.isnan(errors), np.nan, errors < threshold) for threshold in np.linspace(0, 0.150, 31))
    return float(np.mean([np.nanmean(hit) for hit in hits]))


def angles_scipy(pred: Tensor, gt: Tensor) -> np.ndarray:
    """Angles (N, 9) between the challenge's joints of (N, 24, 3, 3)."""
    joints = [0, 1, 2, 4, 5, 16, 17, 18, 19]
    first, second = (Rotation.from_matrix(side[:, joints].reshape(-1, 3, 3).numpy()) for side in (pred, gt))
    return (first.inv() * second).magnitude().reshape(-1, 9)


def whole_evaluation(layer, regressor: Tensor, pred_betas: Tensor, pred_pose: Tensor, betas: Tensor, pose: Tensor, *, batch: int):
    """(MPJPE, PA-MPJPE, PVE) of parameters: both bodies by ``layer`` batch by batch, 14 joints by a dense regressor, means."""
    chosen = list(subset("h36m17", "eval14"))
    errors = []
    for parts in zip(*(side.split(batch) for side in (pred_betas, pred_pose, betas, pose)), strict=True):
        pred, gt = layer(betas=parts[0], pose=parts[1]).vertices, layer(betas=parts[2], pose=parts[3]).vertices
        x, y = (regressor @ side for side in (pred, gt))
        rooted = ((x - x[:, :1]) - (y - y[:, :1]))[:, chosen].norm(dim=-1).mean(-1)
        errors.append((rooted, pa_mpjpe_batched(x[:, chosen], y[:, chosen]), (pred - gt).norm(dim=-1).mean(-1)))
    return [torch.cat(metric).mean() for metric in zip(*errors, strict=True)]


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


@torch.no_grad()
def slid_one_by_one(net: Callable[[Tensor], Tensor], image: Tensor, gt: Tensor, boxes: Sequence[Box]) -> Tensor:
    """Errors (P, J) mm of joints relative to joint 0, with a patch at each box of an image (1, 3, S, S), all on the host.

    One pass to a box; errors before and after Procrustes are taken in numpy after each.
    """
    field, gt = [], gt.numpy()
    for box in boxes:
        occluded = image.clone()
        occluded[box.slices()] = 0
        joints = net(occluded)[0].numpy()
        field.append(1000 * np.linalg.norm((joints - joints[:1]) - (gt - gt[:1]), axis=-1))
        pa_mpjpe_loop(joints[None], gt[None])
    return torch.from_numpy(np.stack(field))
