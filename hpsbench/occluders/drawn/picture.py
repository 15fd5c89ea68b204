"""Solids to pictures: turned before a camera, drawn far triangles first, lit from the upper left, reduced to soft edges."""

from collections.abc import Sequence
from functools import reduce

import cv2
import numpy as np

from hpsbench.occluders.drawn.paints import Paint
from hpsbench.occluders.drawn.solids import Solid, Surface, turning

_FINE = 3  # sub-pixels a pixel
_FINE_BITS = 4  # cv2 takes sixteenths of a sub-pixel
_LEAST_AREA = 0.02  # of twice a triangle, square fine pixels: seen on its edge, or at a pole
_CAMERA = 3.2  # how far the camera stands, in times the thing's longest side
_LIGHT = np.array([-0.45, 0.72, 0.55]) / np.linalg.norm([-0.45, 0.72, 0.55])
_HALFWAY = (_LIGHT + np.eye(3)[2]) / np.linalg.norm(_LIGHT + np.eye(3)[2])


def picture_of(solid: Solid, side: int, *, turn: Sequence[float] = (0, 0, 0)) -> np.ndarray:
    """RGBA (h, w, 4) uint8 of a solid turned by degrees about x, y and z (y first), ``side`` px along its longer side.

    Opaque but for a rim of about a pixel; what is transparent holds the mean colour, so that shrinking leaves no dark rim.
    """
    mesh = _Mesh(solid, turn, side)
    index = mesh.drawn()
    colour = np.zeros((*index.shape, 4))
    seen = index >= 0
    colour[seen] = np.column_stack([mesh.lit(index, seen), np.ones(seen.sum())])
    return _reduced(colour)


class _Mesh:
    """All surfaces of a solid as triangles on the canvas of fine pixels."""

    def __init__(self, solid: Solid, turn: Sequence[float], side: int):
        places = [surface.points.reshape(-1, 3) for surface in solid]
        starts = np.concatenate([[0], np.cumsum([len(place) for place in places])])
        faces = [_faces(surface) for surface in solid]
        about_x, about_y, about_z = turn
        matrix = turning((0, 0, about_z)) @ turning((about_x, 0, 0)) @ turning((0, about_y, 0))
        self.paints: list[Paint] = list(dict.fromkeys(surface.paint for surface in solid))
        self.paint_of = np.repeat([self.paints.index(surface.paint) for surface in solid], [len(face) for face in faces])
        self.faces = np.concatenate([face + start for face, start in zip(faces, starts[:-1], strict=True)])
        self.xyz = np.concatenate(places)
        self.uv = np.concatenate([_places(surface) for surface in solid])
        self.normals = np.concatenate([_normals(surface.points) for surface in solid]) @ matrix.T
        turned = self.xyz @ matrix.T
        turned -= (turned.min(axis=0) + turned.max(axis=0)) / 2
        self.depth = turned[:, 2] + np.repeat([surface.lift for surface in solid], [len(place) for place in places])
        self.pixels = self._on_canvas(turned, side)

    def _on_canvas(self, turned: np.ndarray, side: int) -> np.ndarray:
        """Places (V, 2) in fine pixels, a pixel of margin all round; sets the canvas."""
        away = _CAMERA * np.ptp(turned, axis=0).max()
        flat = turned[:, :2] * [1, -1] * (away / (away - turned[:, 2:]))
        flat -= flat.min(axis=0)
        scale = (side - 2) * _FINE / flat.max()
        width, height = np.ceil(flat.max(axis=0) * scale / _FINE).astype(int) + 2
        self.canvas, self.scale = (height * _FINE, width * _FINE), scale
        return flat * scale + _FINE

    def drawn(self) -> np.ndarray:
        """Which triangle is seen at each fine pixel (H, W) int32; -1 for none."""
        index = np.full(self.canvas, -1, dtype=np.int32)
        a, b, c = (self.pixels[self.faces[:, corner]] for corner in range(3))
        corners = np.round((self.pixels[self.faces] - 0.5) * 2**_FINE_BITS).astype(np.int32)
        order = np.argsort(np.round(self.depth[self.faces].mean(axis=1), 6), kind="stable")
        for triangle in order[np.abs(_cross(b - a, c - a))[order] > _LEAST_AREA].tolist():
            cv2.fillConvexPoly(index, corners[triangle], triangle, cv2.LINE_8, _FINE_BITS)
        return index

    def lit(self, index: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """The colours (N, 3) of the fine pixels that are seen, 0 to 1."""
        faces, weights = self.faces[index[seen]], self._weights(index, seen)
        uv, xyz, normals = (_mixed(values, faces, weights) for values in (self.uv, self.xyz, self.normals))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        normals *= np.where(normals[:, 2:] < 0, -1, 1)
        paint, colour, gloss = self.paint_of[index[seen]], np.empty((len(xyz), 3)), np.empty(len(xyz))
        for number in np.unique(paint):
            mine = paint == number
            colour[mine], gloss[mine] = self.paints[number].colour(uv[mine], xyz[mine]), self.paints[number].gloss
        depth = np.zeros(index.shape)
        depth[seen] = _mixed(self.depth[:, None], faces, weights)[:, 0] * self.scale
        light = 0.46 + 0.12 * normals[:, 1] + 0.62 * np.clip(normals @ _LIGHT, 0, 1)
        light *= (0.8 + 0.2 * normals[:, 2]) * _openness(depth, seen)[seen]
        shine = gloss * np.clip(normals @ _HALFWAY, 0, 1) ** (8 + 40 * gloss)
        return np.clip(colour, 0, 1) * light[:, None] + 0.8 * shine[:, None]

    def _weights(self, index: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """How near each fine pixel (N, 3) is to the three corners of its triangle; summing to 1."""
        y, x = np.nonzero(seen)
        a, b, c = (self.pixels[self.faces[index[seen], corner]] for corner in range(3))
        place = np.column_stack([x, y]) + 0.5
        area = _cross(b - a, c - a)
        second, third = _cross(place - a, c - a) / area, _cross(b - a, place - a) / area
        weights = np.clip(np.column_stack([1 - second - third, second, third]), 0, 1)
        return weights / weights.sum(axis=1, keepdims=True)


def _faces(surface: Surface) -> np.ndarray:
    """The triangles (F, 3) of a grid, two a cell."""
    rows, columns = surface.points.shape[:2]
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    first = np.column_stack([corner, corner + 1, corner + columns])
    second = np.column_stack([corner + 1, corner + columns + 1, corner + columns])
    return np.concatenate([first, second])


def _normals(points: np.ndarray) -> np.ndarray:
    """The normals (M * N, 3) of a grid; where it comes to a point, those of the row beside."""
    normals = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals /= length + 1e-12
    for row, beside in ((0, 1), (-1, -2)):
        if length[row].max() < 0.2 * length[beside].max():
            normals[row] = normals[beside]
    return normals.reshape(-1, 3)


def _places(surface: Surface) -> np.ndarray:
    """The (u, v) (M * N, 2) of a grid; where it has none, mean lengths along its rows and its columns."""
    if surface.uv is not None:
        return surface.uv.reshape(-1, 2)
    steps = [np.linalg.norm(np.diff(surface.points, axis=axis), axis=-1).mean(axis=1 - axis) for axis in (1, 0)]
    u, v = (np.concatenate([[0], np.cumsum(step)]) for step in steps)
    return np.stack(np.broadcast_arrays(u[None], v[:, None]), axis=-1).reshape(-1, 2)


def _mixed(values: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return reduce(np.add, (values[faces[:, corner]] * weights[:, corner, None] for corner in range(3)))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _openness(depth: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """How much light comes in (0.5 to 1): less where what lies about is nearer to the viewer. ``depth`` in fine pixels."""
    reach = max(depth.shape) / 24
    near = cv2.GaussianBlur(seen.astype(np.float64), (0, 0), reach)
    about = cv2.GaussianBlur(depth * seen, (0, 0), reach) / np.maximum(near, 1e-6)
    return np.clip(1 - 0.55 * np.clip((about - depth) / (2.5 * reach), 0, 1), 0.5, 1)


def _reduced(colour: np.ndarray) -> np.ndarray:
    """Fine pixels (H, W, 4), alpha 0 or 1, to RGBA uint8: blurred by half a pixel, averaged, cut to what is there."""
    fine = cv2.GaussianBlur(colour * colour[..., 3:], (0, 0), _FINE * 0.35)
    height, width = (size // _FINE for size in fine.shape[:2])
    small = fine.reshape(height, _FINE, width, _FINE, 4).mean(axis=(1, 3))
    alpha = small[..., 3:]
    pixels = np.round(np.clip(small[..., :3] / np.maximum(alpha, 1e-6), 0, 1) * 255)
    alpha = np.round(alpha * 255)
    mean = np.round((pixels * alpha).sum(axis=(0, 1)) / alpha.sum())
    pixels = np.where(alpha > 0, pixels, mean)
    rgba = np.concatenate([pixels, alpha], axis=-1).astype(np.uint8)
    rows, columns = (np.flatnonzero(rgba[..., 3].any(axis=axis)) for axis in (1, 0))
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
