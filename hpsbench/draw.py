"""Pictures for people to look at: meshes painted over images, and sheets of tiles with captions. No OpenGL, no number depends on it."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from hpsbench.geometry import project

_TO_LIGHT = np.array([0.3, -0.5, -1.0]) / np.linalg.norm([0.3, -0.5, -1.0])
_CAPTION_PX = 22


def paint_mesh(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    intrinsics: np.ndarray,
    *,
    colour: tuple[int, int, int],
    opacity: float = 0.85,
) -> np.ndarray:
    """A copy of ``image`` (H, W, 3) with a shaded mesh over it, far triangles first.

    ``vertices`` (V, 3) m in the camera frame; triangles that turn away or reach behind the camera are left out.
    """
    triangles = vertices[faces]  # F 3 3
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    facing = (normals * triangles.mean(axis=1)).sum(axis=1) < 0
    shown = np.flatnonzero(facing & (triangles[..., 2] > 0.05).all(axis=1))
    shown = shown[np.argsort(-triangles[shown, :, 2].mean(axis=1))]
    pixels = project(torch.from_numpy(triangles[shown]), torch.from_numpy(intrinsics)).numpy()
    points = np.round(pixels * 16).astype(np.int32)  # cv2 takes sixteenths of a pixel
    shade = 0.35 + 0.65 * np.clip(normals[shown] @ _TO_LIGHT, 0, 1)
    over = image.copy()
    for corners, brightness in zip(points, shade, strict=True):
        cv2.fillConvexPoly(over, corners, [int(c * brightness) for c in colour], cv2.LINE_AA, shift=4)
    return cv2.addWeighted(over, opacity, image, 1 - opacity, 0)


def sheet(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str], gap: int = 4) -> np.ndarray:
    """Equal tiles (side, side, 3) in rows, white between them, one caption above each column."""
    side = rows[0][0].shape[0]
    width = len(captions) * (side + gap) - gap
    head = np.full((_CAPTION_PX, width, 3), 255, dtype=np.uint8)
    for column, caption in enumerate(captions):
        cv2.putText(head, caption, (column * (side + gap) + 2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    lines = [head]
    for row in rows:
        spaced = [np.pad(tile, ((0, gap), (0, gap), (0, 0)), constant_values=255) for tile in row]
        lines.append(np.concatenate(spaced, axis=1)[:, :width])
    return np.concatenate(lines)
