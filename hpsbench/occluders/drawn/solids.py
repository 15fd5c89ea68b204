"""Surfaces as grids of points: boxes, blobs, turned shapes, tubes, plates and leaves, each with what it is painted with.

Coordinates: x right, y up, z towards the viewer; about 1 for the height of a thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.interpolate import PchipInterpolator

from hpsbench.occluders.drawn.paints import Paint

Points = Sequence[Sequence[float]] | np.ndarray
_FULL = 2 * np.pi


@dataclass(frozen=True)
class Surface:
    """A grid of ``points`` (M, N, 3) and its paint.

    ``lift`` moves it towards the viewer where two surfaces lie on one another; ``uv`` (M, N, 2) are places for patterns, where they are
    not lengths along the grid.
    """

    points: np.ndarray
    paint: Paint
    lift: float = 0.0
    uv: np.ndarray | None = None


Solid = tuple[Surface, ...]


def box(size: Sequence[float], centre: Sequence[float], paint: Paint) -> Solid:
    """A box of ``size`` (x, y, z) about ``centre``, its edges sharp; on its upright sides patterns run up by v."""
    half, middle = np.array(size) / 2, np.array(centre)
    sides = []
    for axis in range(3):
        across, along = ((1, 2), (0, 2), (1, 0))[axis]
        a, b = (np.linspace(-half[other], half[other], max(2, 1 + int(np.ceil(2 * half[other] / 0.09)))) for other in (across, along))
        for sign in (-1, 1):
            points = np.empty((len(a), len(b), 3))
            points[..., across], points[..., along], points[..., axis] = a[:, None], b[None], sign * half[axis]
            sides.append(Surface(points + middle, paint))
    return tuple(sides)


def blob(
    radii: Sequence[float],
    centre: Sequence[float],
    paint: Paint,
    *,
    square: float = 2.0,
    steps: int = 28,
    across: Sequence[int] | None = None,
) -> Solid:
    """An ellipsoid; with ``square`` above 2 it nears a box with round edges (a superquadric of that exponent).

    Patterns run around it and up, or by two axes of space where ``across`` names them.
    """
    up, around = np.linspace(-np.pi / 2, np.pi / 2, steps)[:, None], np.linspace(np.pi / 2, np.pi / 2 + _FULL, 2 * steps)[None]
    points = np.stack(
        np.broadcast_arrays(
            _bent(np.cos(up), square) * _bent(np.cos(around), square),
            _bent(np.sin(up), square),
            _bent(np.cos(up), square) * _bent(np.sin(around), square),
        ),
        axis=-1,
    )
    points = points * np.array(radii) + np.array(centre)
    return (Surface(points, paint, uv=None if across is None else points[..., list(across)]),)


def _bent(values: np.ndarray, square: float) -> np.ndarray:
    return np.sign(values) * np.abs(values) ** (2 / square)


def turned(profile: Points, centre: Sequence[float], paint: Paint, *, curved: bool = True, steps: int = 44, rows: int = 36) -> Solid:
    """What a lathe makes: the (radius, height) points of ``profile`` turned about the vertical through ``centre``."""
    outline = curve(profile, rows) if curved else _dense(profile)
    around = np.linspace(np.pi / 2, np.pi / 2 + _FULL, steps)
    radius, height = outline[:, :1], outline[:, 1:]
    points = np.stack(np.broadcast_arrays(radius * np.cos(around), height, radius * np.sin(around)), axis=-1)
    return (Surface(points + np.array(centre), paint),)


def tube(path: Points, radius: float | Sequence[float], paint: Paint, *, steps: int = 14, rows: int = 28, round_ends: bool = True) -> Solid:
    """A tube along a smooth path (K, 3), of one radius or one for each of its points, its ends round."""
    radii = np.broadcast_to(np.asarray(radius, dtype=float), len(path))
    line = curve(np.column_stack([np.asarray(path, dtype=float), radii]), rows)
    centres, radii = line[:, :3], line[:, 3]
    tangents = np.gradient(centres, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True) + 1e-12
    if round_ends:
        bend = np.linspace(0, 1, 5)[1:]
        reach, thin = np.sin(bend * np.pi / 2)[:, None], np.cos(bend * np.pi / 2)
        first, last = (centres[end] + sign * reach * radii[end] * tangents[end] for end, sign in ((0, -1), (-1, 1)))
        centres = np.concatenate([first[::-1], centres, last])
        radii = np.concatenate([thin[::-1] * radii[0], radii, thin * radii[-1]])
        tangents = np.concatenate([tangents[[0] * 4], tangents, tangents[[-1] * 4]])
    reference = np.eye(3)[np.argmin(np.abs(tangents).max(axis=0))]
    side = np.cross(tangents, reference)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-12
    other = np.cross(tangents, side)
    around = np.linspace(0, _FULL, steps + 1)
    ring = side[:, None] * np.cos(around)[:, None] + other[:, None] * np.sin(around)[:, None]
    return (Surface(centres[:, None] + ring * radii[:, None, None], paint),)


def ring(radius: float, thickness: float, centre: Sequence[float], paint: Paint, *, steps: int = 60) -> Solid:
    """A torus that stands in the plane of x and y."""
    around, small = np.linspace(0, _FULL, steps)[:, None], np.linspace(0, _FULL, 15)[None]
    reach = radius + thickness * np.cos(small)
    points = np.stack(np.broadcast_arrays(reach * np.cos(around), reach * np.sin(around), thickness * np.sin(small)), axis=-1)
    return (Surface(points + np.array(centre), paint),)


def plate(outline: Points, depth: float, centre: Sequence[float], paint: Paint, *, edge: Paint | None = None, rings: int = 9) -> Solid:
    """A flat thing of some depth (z) whose (x, y) ``outline`` is seen whole from its middle."""
    closed = _dense(np.concatenate([np.asarray(outline, dtype=float), np.asarray(outline, dtype=float)[:1]]))
    middle, middle3 = closed[:-1].mean(axis=0), np.array(centre)
    flat = middle + np.linspace(0, 1, rings)[:, None, None] * (closed - middle)
    front = np.dstack([flat, np.full(flat.shape[:2], depth / 2)])
    rim = np.stack([np.dstack([closed[None], np.full((1, len(closed)), z)])[0] for z in (depth / 2, -depth / 2)])
    return (
        Surface(front * [1, 1, -1] + middle3, edge or paint),
        Surface(rim + middle3, edge or paint),
        Surface(front + middle3, paint, lift=1e-3, uv=flat + 10),
    )


def leaf(root: Sequence[float], tip: Sequence[float], width: float, sag: float, paint: Paint, *, steps: int = 7) -> Solid:
    """A pointed leaf from root to tip that sags on the way."""
    root, tip = np.array(root, dtype=float), np.array(tip, dtype=float)
    along = np.linspace(0, 1, steps)[:, None]
    across = np.cross(tip - root, [0.12, 0.05, 1.0])
    across /= np.linalg.norm(across) + 1e-12
    spine = root + along * (tip - root) - np.array([0, sag, 0]) * along**2
    half = width / 2 * np.sin(np.pi * along**0.8)
    points = np.stack([spine + half * across * s + np.array([0, 0, 0.25 * width]) * abs(s) for s in (-1, 0, 1)], axis=1)
    return (Surface(points, paint),)


def curve(points: Points, count: int) -> np.ndarray:
    """``count`` points (count, D) of a curve through ``points`` that does not overshoot."""
    points = np.asarray(points, dtype=float)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1) + 1e-9)])
    if len(points) == 2:
        return points[0] + np.linspace(0, 1, count)[:, None] * (points[1] - points[0])
    return PchipInterpolator(length, points)(np.linspace(0, length[-1], count))


def _dense(points: Points, step: float = 0.05) -> np.ndarray:
    """A polyline with its corners kept and points between them, ``step`` apart at most."""
    points = np.asarray(points, dtype=float)
    parts = []
    for start, end in pairwise(points):
        count = max(1, int(np.ceil(np.linalg.norm(end - start) / step)))
        parts.append(start + np.arange(count)[:, None] / count * (end - start))
    return np.concatenate([*parts, points[-1:]])


def lifted(solid: Solid, lift: float) -> Solid:
    """A solid that lies on another: nearer to the viewer by ``lift`` where it is decided what hides what."""
    return tuple(replace(surface, lift=surface.lift + lift) for surface in solid)


def moved(solid: Solid, offset: Sequence[float] = (0, 0, 0), *, turn: Sequence[float] = (0, 0, 0), size: float = 1.0) -> Solid:
    """A solid made ``size`` times as large, turned by degrees about x, then y, then z, and moved by ``offset``."""
    matrix = turning(turn) * size
    return tuple(replace(surface, points=surface.points @ matrix.T + np.array(offset)) for surface in solid)


def turning(degrees: Sequence[float]) -> np.ndarray:
    """The rotation (3, 3) about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
