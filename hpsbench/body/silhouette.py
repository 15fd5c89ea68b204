"""Which pixels of an image a person's true mesh covers. No OpenGL."""

from typing import NamedTuple

import cv2
import numpy as np
import torch

from hpsbench.body.bodies import Bodies
from hpsbench.types import Sample

_NEAR = 0.05
_FINE_BITS = 4  # cv2 takes sixteenths of a pixel


class Silhouette(NamedTuple):
    """The mask (h, w) bool of the pixels from ``corner`` (x, y) on; beyond it there is nothing of the person."""

    corner: tuple[int, int]
    mask: np.ndarray


def silhouette_of(sample: Sample, bodies: Bodies) -> Silhouette | None:
    """The silhouette of a sample's true body within its image; None without a body, or where none of it lies in the image.

    The camera is the view's, without lens distortion, and nobody stands in front.
    """
    truth = sample.truth
    if any(part is None for part in (truth.rotvecs, truth.betas, truth.trans)):
        return None
    betas, rotvecs, trans = (torch.as_tensor(part, dtype=bodies.dtype)[None] for part in (truth.betas, truth.rotvecs, truth.trans))
    vertices = bodies.forward(betas, rotvecs=rotvecs, trans=trans, genders=[truth.gender]).vertices[0].double().cpu().numpy()
    return silhouette(vertices, np.asarray(bodies[truth.gender].faces), np.asarray(sample.view.intrinsics), sample.image_size)


def silhouette(vertices: np.ndarray, faces: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> Silhouette | None:
    """The pixels of an image of ``size`` (w, h) that triangles ``faces`` (F, 3) of ``vertices`` (V, 3) m in the camera frame touch.

    Triangles that reach behind the camera are left out. None where no pixel is touched.
    """
    shown = faces[(vertices[faces][..., 2] > _NEAR).all(axis=1)]
    homogeneous = vertices @ intrinsics.T
    points = homogeneous[:, :2] / np.maximum(homogeneous[:, 2:], _NEAR)
    if not len(shown):
        return None
    low = np.maximum(np.floor(points[shown].min(axis=(0, 1))), 0).astype(int)
    high = np.minimum(np.ceil(points[shown].max(axis=(0, 1))), size).astype(int)
    if (low >= high).any():
        return None
    canvas = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    # cv2's (0, 0) is the centre of the first pixel.
    corners = np.round((points[shown] - low - 0.5) * 2**_FINE_BITS).clip(-(2**20), 2**20).astype(np.int32)
    for triangle in corners:
        cv2.fillConvexPoly(canvas, triangle, 1, cv2.LINE_8, _FINE_BITS)
    return Silhouette((int(low[0]), int(low[1])), canvas.astype(bool)) if canvas.any() else None
