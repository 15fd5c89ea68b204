"""What is behind the people: floor, walls, sky, pictures in space, and the shadows on the floor; textured planes warped by homographies.

Stage frame: metres, y up, the floor at y = 0, people near the origin. ``view`` (3, 4) maps it to the camera frame.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from hpsbench.datasets.openhps import textures

_SIDE = 384
# Texture coordinates beyond this many pixels are cut: cv2.remap holds them in 16 bits.
_FAR = 30000


@dataclass(frozen=True)
class Plane:
    """A texture (S, S, 3) that starts at ``origin`` and goes on along the unit vectors ``along`` and ``down``, one copy every ``repeat`` m.

    ``extent`` (2,) m: where it ends on both axes; infinite where it does not. ``mask`` (S, S) or None: its opacity.
    """

    texture: np.ndarray
    origin: np.ndarray
    along: np.ndarray
    down: np.ndarray
    repeat: float
    extent: tuple[float, float] = (np.inf, np.inf)
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Backdrop:
    """Planes from back to front, the ``sky`` (S, S, 3) behind them all, and the share of full resolution at which they are drawn."""

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
    return Backdrop(sky, tuple(planes), float(rng.choice([0.3, 0.5, 0.5, 0.75, 1.0])), rng.uniform(0.2, 0.6))


def _gradient(rng: np.random.Generator) -> np.ndarray:
    top, bottom = textures.colour(rng, saturation=0.5, value=(0.4, 1)), textures.colour(rng, saturation=0.3, value=(0.5, 1))
    share = np.linspace(0, 1, _SIDE, dtype=np.float32)[:, None, None] + 0.25 * textures.noise(rng, _SIDE)[..., None] * rng.uniform()
    return np.clip(top + (bottom - top) * share, 0, 1).astype(np.float32)


def _floor(rng: np.random.Generator, *, flat: bool) -> Plane:
    shares = (1, 0, 0, 0, 0, 0) if flat else (1.5, 0.5, 2, 2, 3, 0.3)
    texture = textures.flattened(textures.pattern(rng, _SIDE, saturation=0.4, shares=shares), rng.uniform(0.15, 0.9))
    angle = rng.uniform(0, 2 * np.pi)
    along, down = np.array([np.cos(angle), 0, np.sin(angle)]), np.array([-np.sin(angle), 0, np.cos(angle)])
    return Plane(texture, np.zeros(3), along, down, rng.uniform(1.5, 5))


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
        walls.append(Plane(texture, origin, along, np.array([0, -1.0, 0]), rng.uniform(2, 6), (length, height)))
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
    return Plane(texture, origin, along, np.array([0, -1.0, 0]), size, (size, size), mask)


def draw(backdrop: Backdrop, view: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture (H, W, 3) float32 of ``size`` (width, height) px that the camera sees behind everything."""
    small = tuple(max(round(side * backdrop.sharpness), 8) for side in size)
    scaled = np.diag([small[0] / size[0], small[1] / size[1], 1.0]) @ intrinsics
    image = cv2.resize(backdrop.sky, small, interpolation=cv2.INTER_LINEAR)
    for plane in backdrop.planes:
        _lay(image, plane, scaled @ view)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _lay(image: np.ndarray, plane: Plane, projection: np.ndarray) -> None:
    """Draw one plane into ``image`` in place. ``projection`` (3, 4): stage to pixels."""
    corner = np.column_stack([np.append(plane.along, 0), np.append(plane.down, 0), np.append(plane.origin, 1)])
    plane_to_pixel = projection @ corner
    left, top, right, bottom = _reach(plane_to_pixel, plane.extent, image.shape[1::-1])
    if left >= right or top >= bottom or abs(np.linalg.det(plane_to_pixel)) < 1e-9:
        return
    inverse = np.linalg.inv(plane_to_pixel).astype(np.float32)
    x, y = np.arange(left, right, dtype=np.float32) + 0.5, np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5
    a, b, w = (row[0] * x + (row[1] * y + row[2]) for row in inverse)
    seen = w > 1e-6
    w[~seen] = 1
    a /= w
    b /= w
    if np.isfinite(plane.extent[0]):
        seen &= (a >= 0) & (b >= 0) & (a < plane.extent[0]) & (b < plane.extent[1])
    factor = len(plane.texture) / plane.repeat
    u, v = (np.clip(c * factor, -_FAR, _FAR) for c in (a, b))
    drawn = cv2.remap(plane.texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    opacity = seen.astype(np.float32)
    if plane.mask is not None:
        opacity *= cv2.remap(plane.mask, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    part = image[top:bottom, left:right]
    part += (drawn - part) * opacity[..., None]


def _reach(plane_to_pixel: np.ndarray, extent: tuple[float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box xyxy of whole pixels that a plane can touch: all of the image where it is infinite or comes close to the camera."""
    if not np.isfinite(extent[0]):
        return 0, 0, *size
    corners = np.array([[a, b, 1] for a in (0, extent[0]) for b in (0, extent[1])]) @ plane_to_pixel.T
    near = corners[:, 2] < 0.1
    if near.all():
        return 0, 0, 0, 0
    if near.any():
        return 0, 0, *size
    low, high = (corners[:, :2] / corners[:, 2:]).min(0), (corners[:, :2] / corners[:, 2:]).max(0)
    low, high = np.clip(np.floor(low), 0, size).astype(int), np.clip(np.ceil(high), 0, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


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
