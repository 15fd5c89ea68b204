"""Pictures for people to look at: meshes, bones and joints over images, and sheets of tiles. No OpenGL, no number depends on it."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from hpsbench.geometry import project

_TO_LIGHT = np.array([0.3, -0.5, -1.0]) / np.linalg.norm([0.3, -0.5, -1.0])
_CAPTION_PX = 22
_LABEL_PX = 18
_FINE_BITS = 4  # cv2 takes sixteenths of a pixel


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
    points = np.round(pixels * 2**_FINE_BITS).astype(np.int32)
    shade = 0.35 + 0.65 * np.clip(normals[shown] @ _TO_LIGHT, 0, 1)
    over = image.copy()
    for corners, brightness in zip(points, shade, strict=True):
        cv2.fillConvexPoly(over, corners, [int(c * brightness) for c in colour], cv2.LINE_AA, shift=_FINE_BITS)
    return cv2.addWeighted(over, opacity, image, 1 - opacity, 0)


def paint_bones(
    image: np.ndarray, points: np.ndarray, bones: Sequence[tuple[int, int]], colours: Sequence[tuple[int, int, int]], thickness: int = 3
) -> np.ndarray:
    """A copy of ``image`` with a line for each of ``bones`` (pairs of ``points`` (J, 2) px) in the colour of its second end.

    Bones with an end that is NaN or further than some images away are left out.
    """
    over = image.copy()
    drawable = _drawable(points, image)
    for first, second in bones:
        if drawable[first] and drawable[second]:
            cv2.line(over, *(_fine(points[end]) for end in (first, second)), colours[second], thickness, cv2.LINE_AA, _FINE_BITS)
    return over


def paint_dots(
    image: np.ndarray, points: np.ndarray, colours: Sequence[tuple[int, int, int]], radius: float = 3.5, *, ring: bool = False
) -> np.ndarray:
    """A copy of ``image`` with a dot (or ``ring``) of ``radius`` px at each of ``points`` (J, 2) px that is not NaN."""
    over = image.copy()
    for point, colour, drawn in zip(points, colours, _drawable(points, image), strict=True):
        if drawn:
            place, size = _fine(point), int(radius * 2**_FINE_BITS)
            if not ring:
                cv2.circle(over, place, size + 2**_FINE_BITS, (0, 0, 0), -1, cv2.LINE_AA, _FINE_BITS)
            cv2.circle(over, place, size, colour, 2 if ring else -1, cv2.LINE_AA, _FINE_BITS)
    return over


def paint_box(image: np.ndarray, box_xyxy: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A copy of ``image`` with the outline of a box (4,) px."""
    over = image.copy()
    if _drawable(np.reshape(box_xyxy, (2, 2)), image).all():
        cv2.rectangle(over, _fine(box_xyxy[:2]), _fine(box_xyxy[2:]), colour, 1, cv2.LINE_AA, _FINE_BITS)
    return over


def _drawable(points: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Which ``points`` (J, 2) are numbers that cv2 can take."""
    return np.isfinite(points).all(axis=-1) & (np.abs(np.nan_to_num(points)) < 8 * max(image.shape[:2])).all(axis=-1)


def _fine(point: np.ndarray) -> tuple[int, int]:
    """A point px, (0, 0) the corner of the first pixel, in cv2's fixed point, whose (0, 0) is that pixel's centre."""
    x, y = np.round((np.asarray(point) - 0.5) * 2**_FINE_BITS).astype(int).tolist()
    return x, y


def label(tile: np.ndarray, text: str) -> np.ndarray:
    """A tile (H, W, 3) with a white strip of text above it; of a text that is too long the end is shown."""
    strip = np.full((_LABEL_PX, tile.shape[1], 3), 255, dtype=np.uint8)
    while text and cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.38, 1)[0][0] > tile.shape[1] - 4:
        text = text[1:]
    cv2.putText(strip, text, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (60, 60, 60), 1, cv2.LINE_AA)
    return np.concatenate([strip, tile])


def crop_intrinsics(intrinsics: np.ndarray, square_xyxy: np.ndarray, side: int) -> np.ndarray:
    """The camera (3, 3) of a square of its image that was cut out and made ``side`` px wide."""
    x0, y0, x1, _ = np.asarray(square_xyxy, dtype=np.float64)
    factor = side / (x1 - x0)
    return np.array([[factor, 0, -x0 * factor], [0, factor, -y0 * factor], [0, 0, 1]]) @ intrinsics


def sheet(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str], gap: int = 4) -> np.ndarray:
    """Equal tiles (height, side, 3) in rows, white between them, one caption above each column (a long one runs on into the next)."""
    side = rows[0][0].shape[1]
    width = len(captions) * (side + gap) - gap
    head = np.full((_CAPTION_PX, width, 3), 255, dtype=np.uint8)
    for column, caption in enumerate(captions):
        cv2.putText(head, caption, (column * (side + gap) + 2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    lines = [head]
    for row in rows:
        spaced = [np.pad(tile, ((0, gap), (0, gap), (0, 0)), constant_values=255) for tile in row]
        lines.append(np.concatenate(spaced, axis=1)[:, :width])
    return np.concatenate(lines)
