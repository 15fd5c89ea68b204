"""What is behind the people: floor, walls, sky, pictures in space, and the shadows on the floor; textured planes warped by homographies.

Stage frame: metres, y up, the floor at y = 0, people near the origin. ``view`` (3, 4) maps it to the camera frame.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from hpsbench.datasets.openhps import textures

_SIDE = 384
# Metres before the camera where planes end, pixels beyond which outlines are cut, and half the side of the floor in metres.
_NEAR, _FAR, _FLOOR = 0.2, 30000, 60.0


@dataclass(frozen=True)
class Plane:
    """A texture (S, S, 3) uint8 from ``origin`` along the unit vectors ``along`` and ``down``, repeated every ``repeat`` m.

    ``extent`` (2,) m: where it ends on both axes. ``mask`` (S, S) float32 or None: its opacity.
    """

    texture: np.ndarray
    origin: np.ndarray
    along: np.ndarray
    down: np.ndarray
    repeat: float
    extent: tuple[float, float]
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Backdrop:
    """Planes from back to front, the ``sky`` (S, S, 3) uint8 behind them all, and the share of full resolution at which they are drawn."""

    sky: np.ndarray
    planes: tuple[Plane, ...]
    sharpness: float
    shadow: float


def draw_backdrop(rng: np.random.Generator) -> Backdrop:
    """A random room, open place, studio or abstract picture."""
    kind = str(rng.choice(["room", "room", "place", "place", "studio", "abstract"]))
    planes: list[Plane] = []
    if kind == "place":
        planes += _walls(rng, far=rng.uniform(12, 30), high=rng.uniform(2, 9), number=int(rng.integers(1, 4)))
    if kind != "abstract":
        planes.append(_floor(rng, flat=kind == "studio"))
    if kind == "room":
        planes += _walls(rng, far=rng.uniform(3, 8), high=rng.uniform(2.6, 6), number=int(rng.integers(2, 4)))
    planes += [_picture(rng) for _ in range(int(rng.integers(0, 3 if kind == "studio" else 9)))]
    sky = textures.pattern(rng, _SIDE, saturation=0.7, shares=(0, 1, 1, 1, 3, 4)) if kind == "abstract" else _gradient(rng)
    return Backdrop(_bytes(sky), tuple(planes), float(rng.choice([0.3, 0.5, 0.5, 0.75, 1.0])), rng.uniform(0.2, 0.6))


def _bytes(texture: np.ndarray) -> np.ndarray:
    return np.round(texture * 255).astype(np.uint8)


def _gradient(rng: np.random.Generator) -> np.ndarray:
    top, bottom = textures.colour(rng, saturation=0.5, value=(0.4, 1)), textures.colour(rng, saturation=0.3, value=(0.5, 1))
    share = np.linspace(0, 1, _SIDE, dtype=np.float32)[:, None, None] + 0.25 * textures.noise(rng, _SIDE)[..., None] * rng.uniform()
    return np.clip(top + (bottom - top) * share, 0, 1).astype(np.float32)


def _floor(rng: np.random.Generator, *, flat: bool) -> Plane:
    shares = (1, 0, 0, 0, 0, 0) if flat else (1.5, 0.5, 2, 2, 3, 0.3)
    texture = textures.flattened(textures.pattern(rng, _SIDE, saturation=0.4, shares=shares), rng.uniform(0.15, 0.9))
    angle = rng.uniform(0, 2 * np.pi)
    along, down = np.array([np.cos(angle), 0, np.sin(angle)]), np.array([-np.sin(angle), 0, np.cos(angle)])
    return Plane(_bytes(texture), -_FLOOR * (along + down), along, down, rng.uniform(1.5, 5), (2 * _FLOOR, 2 * _FLOOR))


def _walls(rng: np.random.Generator, *, far: float, high: float, number: int) -> list[Plane]:
    """Vertical planes about the people, the farthest first; which of them the camera sees depends on where it stands."""
    walls, first = [], rng.uniform(0, 2 * np.pi)
    for k in range(number + 2):
        angle, distance, height = first + k * 2 * np.pi / (number + 2), far * rng.uniform(0.8, 1.4), high * rng.uniform(0.8, 1.3)
        out, along = np.array([np.cos(angle), 0, np.sin(angle)]), np.array([-np.sin(angle), 0, np.cos(angle)])
        length = distance * 2.4
        texture = textures.pattern(rng, _SIDE, saturation=0.45, shares=(2.5, 0.8, 0.8, 2, 2, 1.5))
        texture = textures.flattened(texture, rng.uniform(0.2, 1))
        origin = out * distance - along * length / 2 + np.array([0, height, 0])
        walls.append(Plane(_bytes(texture), origin, along, np.array([0, -1.0, 0]), rng.uniform(2, 6), (length, height)))
    return sorted(walls, key=lambda wall: -float(np.linalg.norm(wall.origin)))


def _picture(rng: np.random.Generator) -> Plane:
    """Something flat at some distance: a poster, a bush, a sign, a piece of furniture seen from the front."""
    angle, distance, size = rng.uniform(0, 2 * np.pi), rng.uniform(2, 7), rng.uniform(0.4, 2)
    out, along = np.array([np.cos(angle), 0, np.sin(angle)]), np.array([-np.sin(angle), 0, np.cos(angle)])
    low = 0.0 if rng.random() < 0.6 else rng.uniform(0, 1.5)
    mask = None
    if rng.random() < 0.5:
        y, x = np.mgrid[:128, :128] / 64 - 1
        bumps = textures.noise(rng, 128, coarse=5) * rng.uniform(0, 0.6)
        mask = np.clip((1 - np.hypot(x, y) + bumps) * 12, 0, 1).astype(np.float32)
    texture = textures.pattern(rng, 128, saturation=0.7, shares=(1, 1, 1, 1, 3, 4))
    origin = out * distance - along * size / 2 + np.array([0, low + size, 0])
    return Plane(_bytes(texture), origin, along, np.array([0, -1.0, 0]), size, (size, size), mask)


def draw(backdrop: Backdrop, view: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture (H, W, 3) uint8 of ``size`` (width, height) px that the camera sees behind everything."""
    small = tuple(max(round(side * backdrop.sharpness), 8) for side in size)
    scaled = np.diag([small[0] / size[0], small[1] / size[1], 1.0]) @ intrinsics
    image = cv2.resize(backdrop.sky, small, interpolation=cv2.INTER_LINEAR)
    for plane in backdrop.planes:
        _lay(image, plane, scaled @ view)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _lay(image: np.ndarray, plane: Plane, projection: np.ndarray) -> None:
    """Draw one plane into ``image`` in place. ``projection`` (3, 4): stage to pixels."""
    to_stage = np.column_stack([np.append(plane.along, 0), np.append(plane.down, 0), np.append(plane.origin, 1)])
    plane_to_pixel = projection @ to_stage  # metres on the plane to pixels
    outline = _outline(plane_to_pixel, plane.extent)
    size = np.array(image.shape[1::-1])
    if len(outline) == 0 or abs(np.linalg.det(plane_to_pixel)) < 1e-9:
        return
    low, high = np.clip(np.floor(outline.min(0)), 0, size).astype(int), np.clip(np.ceil(outline.max(0)), 0, size).astype(int)
    if (low >= high).any():
        return
    part = image[low[1] : high[1], low[0] : high[0]]
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1.0]])
    warp = shift @ plane_to_pixel @ np.diag([plane.repeat / len(plane.texture)] * 2 + [1.0])
    extent = (int(high[0] - low[0]), int(high[1] - low[1]))
    drawn = cv2.warpPerspective(plane.texture, warp, extent, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    inside = np.zeros(extent[::-1], np.uint8)
    cv2.fillConvexPoly(inside, np.round(np.clip(outline - low, -_FAR, _FAR)).astype(np.int32), 255)
    if plane.mask is None:
        cv2.copyTo(drawn, inside, part)
    else:
        opacity = cv2.warpPerspective(plane.mask, warp, extent, flags=cv2.INTER_LINEAR) * (inside > 0)
        part += ((drawn.astype(np.float32) - part) * opacity[..., None]).astype(np.int16).astype(np.uint8)


def _outline(plane_to_pixel: np.ndarray, extent: tuple[float, float]) -> np.ndarray:
    """The corners (N, 2) px of that part of a plane which is in front of the camera; none: (0, 2)."""
    corners = np.array([[0, 0, 1], [extent[0], 0, 1], [extent[0], extent[1], 1], [0, extent[1], 1]]) @ plane_to_pixel.T
    kept = []
    for here, there in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if here[2] > _NEAR:
            kept.append(here)
        if (here[2] > _NEAR) != (there[2] > _NEAR):
            kept.append(here + (there - here) * (_NEAR - here[2]) / (there[2] - here[2]))
    cut = np.array(kept).reshape(-1, 3)
    return cut[:, :2] / cut[:, 2:]


def shade_floor(image: np.ndarray, bodies: list[np.ndarray], light: np.ndarray, *, projection: np.ndarray, strength: float) -> None:
    """Darken the floor in place where things stand between it and the light: each of ``bodies`` (V, 3) m, stage frame.

    ``light`` (3,) points to the light; ``projection`` (3, 4): stage to pixels. The outline is that of the vertices, softened.
    """
    height, width = image.shape[0] // 4, image.shape[1] // 4
    mask = np.zeros((height, width), np.uint8)
    for vertices in bodies:
        reach = np.maximum(vertices[:, 1:2], 0) / max(light[1], 0.25)
        spots = vertices - reach * np.maximum(np.abs(light), 1e-6) * np.sign(light)
        spots = np.column_stack([spots[:, 0], np.zeros(len(spots)), spots[:, 2], np.ones(len(spots))]) @ projection.T
        spots = spots[spots[:, 2] > 0.1]
        x, y = (spots[:, :2] / spots[:, 2:] / 4).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        mask[y[inside], x[inside]] = 255
    mask = cv2.blur(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), (3, 3))
    soft = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)[..., None] / 255
    image *= 1 - strength * soft
