"""What surfaces are painted with: plain colours and procedural patterns of places on the surface (u, v) and in space (x, y, z)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hpsbench.seeds import rng_of

Rgb = tuple[float, float, float]
_LATTICE = 32
_STRIDES = np.array([[_LATTICE**2], [_LATTICE], [1]])


@dataclass(frozen=True)
class Paint:
    """Colour of N places, (uv (N, 2), xyz (N, 3)) to RGB (N, 3) in 0 to 1, and how it shines (0 matt, 1 polished)."""

    colour: Callable[[np.ndarray, np.ndarray], np.ndarray]
    gloss: float = 0.1


def rgb(text: str) -> Rgb:
    """A colour written as six hexadecimal digits."""
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def plain(colour: Rgb, gloss: float = 0.15, *, worn: float = 0.05, seed: int = 0) -> Paint:
    """One colour, by ``worn`` lighter and darker here and there."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        return np.array(colour) * (1 + worn * (2 * noise(xyz * 6, seed) - 1))[:, None]

    return Paint(of, gloss)


def wood(light: Rgb, dark: Rgb, seed: int, *, gloss: float = 0.12, along: int = 1, rings: float = 9.0) -> Paint:
    """Wood whose grain runs along an axis of space."""
    stretch = np.full(3, 3.0)
    stretch[along] = 0.35

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        bend = clouds(xyz * stretch, seed)
        grain = 0.5 + 0.5 * np.sin(2 * np.pi * rings * (bend + 0.15 * xyz[:, (along + 1) % 3]))
        fibre = noise(xyz * np.where(np.arange(3) == along, 2.0, 34.0), seed + 1)
        return blend(light, dark, 0.62 * grain**2 + 0.38 * fibre)

    return Paint(of, gloss)


def stripes(first: Rgb, second: Rgb, width: float, *, axis: int = 1, gloss: float = 0.1, slant: float = 0.0) -> Paint:
    """Bands of two colours, ``width`` apart, across an axis of the surface (0: u, 1: v)."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        place = (uv[:, axis] + slant * uv[:, 1 - axis]) / width
        return blend(first, second, soft_step(np.abs(place % 2 - 1), 0.5, 0.04))

    return Paint(of, gloss)


def checks(first: Rgb, second: Rgb, width: float, *, gloss: float = 0.08) -> Paint:
    """Woven checks: bands of both directions, darker where they cross."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        bands = [soft_step(np.abs(uv[:, axis] / width % 2 - 1), 0.5, 0.04) for axis in (0, 1)]
        return blend(first, second, (bands[0] + bands[1]) / 2) * (1 + 0.05 * thread(uv))[:, None]

    return Paint(of, gloss)


def dots(ground: Rgb, dot: Rgb, pitch: float, *, radius: float = 0.3, gloss: float = 0.1) -> Paint:
    """Dots in rows, every second row half a step on; ``radius`` in steps."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        place = uv / pitch
        place = np.column_stack([place[:, 0] + 0.5 * (np.floor(place[:, 1]) % 2), place[:, 1]]) % 1 - 0.5
        return blend(ground, dot, 1 - soft_step(np.linalg.norm(place, axis=1), radius, 0.06))

    return Paint(of, gloss)


def cloth(colour: Rgb, seed: int = 0, *, gloss: float = 0.03, coarse: float = 1.0) -> Paint:
    """Cloth: fine threads over soft folds of light and dark."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        return np.array(colour) * (1 + 0.07 * thread(uv / coarse) + 0.18 * (clouds(xyz * 3.5, seed) - 0.5))[:, None]

    return Paint(of, gloss)


def speckle(ground: Rgb, dark: Rgb, seed: int, *, scale: float = 26.0, share: float = 0.42, gloss: float = 0.05) -> Paint:
    """Grains of a second colour: stone, terrazzo, sponge."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        grains = soft_step(noise(xyz * scale, seed), 1 - share, 0.12)
        return blend(ground, dark, 0.8 * grains + 0.2 * clouds(xyz * 4, seed + 1))

    return Paint(of, gloss)


def marble(ground: Rgb, vein: Rgb, seed: int, *, scale: float = 2.5, gloss: float = 0.35) -> Paint:
    """Veins through stone."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        place = xyz[:, 0] + 0.7 * xyz[:, 1] + 1.1 * clouds(xyz * scale, seed)
        return blend(ground, vein, (1 - np.abs(np.sin(2 * np.pi * scale * 0.6 * place))) ** 4 * 0.9)

    return Paint(of, gloss)


def coat(ground: Rgb, patch: Rgb, seed: int, *, scale: float = 3.0, share: float = 0.45, gloss: float = 0.02) -> Paint:
    """The coat of an animal: soft patches of two colours, fine hair over both."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        patches = soft_step(clouds(xyz * scale, seed), 1 - share, 0.05)
        hair = noise(xyz * np.array([60.0, 22.0, 60.0]), seed + 2)
        return blend(ground, patch, patches) * (0.86 + 0.26 * hair)[:, None]

    return Paint(of, gloss)


def bricks(brick: Rgb, mortar: Rgb, seed: int, *, height: float = 0.1) -> Paint:
    """Courses of bricks on the (u, v) of a surface, each of a tint of its own; v runs up."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        row = np.floor(uv[:, 1] / height)
        place = np.column_stack([uv[:, 0] / (2.2 * height) + 0.5 * (row % 2), uv[:, 1] / height])
        inside = np.minimum(
            soft_step(0.5 - np.abs(place[:, 0] % 1 - 0.5), 0.03, 0.02), soft_step(0.5 - np.abs(place[:, 1] % 1 - 0.5), 0.06, 0.04)
        )
        tint = noise(np.column_stack([np.floor(place) * 0.73 + 0.31, np.full(len(uv), 0.4)]), seed)
        colour = np.array(brick) * (0.78 + 0.4 * tint + 0.16 * (noise(np.column_stack([uv * 40, row]), seed + 1) - 0.5))[:, None]
        return blend(np.broadcast_to(mortar, colour.shape), colour, inside)

    return Paint(of, 0.02)


def weave(light: Rgb, dark: Rgb, width: float, *, gloss: float = 0.08) -> Paint:
    """Wickerwork: strands that go over and under one another."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        place = uv / width
        over = (np.floor(place[:, 0]) + np.floor(place[:, 1])) % 2
        strand = np.where(over > 0, np.abs(np.sin(np.pi * place[:, 0])), np.abs(np.sin(np.pi * place[:, 1])))
        return blend(dark, light, strand**0.7)

    return Paint(of, gloss)


def banded(bands: list[tuple[float, Paint]], axis: int = 1, *, gloss: float | None = None) -> Paint:
    """Paints one above the other along an axis of space: each up to its height, the last one above all."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        colour = bands[-1][1].colour(uv, xyz)
        for top, paint in reversed(bands[:-1]):
            below = xyz[:, axis] < top
            colour[below] = paint.colour(uv[below], xyz[below])
        return colour

    return Paint(of, bands[-1][1].gloss if gloss is None else gloss)


def leafy(colour: Rgb, seed: int, gloss: float = 0.12) -> Paint:
    """Leaf green that is paler and yellower here and there."""

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        tint = noise(xyz * 5.0, seed)[:, None]
        return np.array(colour) * (0.65 + 0.6 * tint) + np.array([0.10, 0.06, -0.02]) * tint

    return Paint(of, gloss)


def blend(first, second, weight: np.ndarray) -> np.ndarray:
    """From the first colour to the second by the weights (N,)."""
    return np.asarray(first) + (np.asarray(second) - np.asarray(first)) * weight[:, None]


def soft_step(values: np.ndarray, edge: float, width: float) -> np.ndarray:
    """0 below the edge, 1 above it, smooth over ``width`` to both sides."""
    t = np.clip((values - edge + width) / (2 * width), 0, 1)
    return t * t * (3 - 2 * t)


def thread(uv: np.ndarray) -> np.ndarray:
    """The up and down of a weave, -1 to 1."""
    return np.sin(uv[:, 0] * 150) * np.sin(uv[:, 1] * 150)


def clouds(xyz: np.ndarray, seed: int) -> np.ndarray:
    """Three octaves of noise, 0 to 1."""
    return (4 * noise(xyz, seed) + 2 * noise(xyz * 2.03, seed + 11) + noise(xyz * 4.07, seed + 23)) / 7


def noise(xyz: np.ndarray, seed: int) -> np.ndarray:
    """Smooth noise (N,) from 0 to 1, about one bump a unit: values of a lattice, blended."""
    values = _lattice(seed % 64)
    base = np.floor(xyz)
    x, y, z = (part * part * (3 - 2 * part) for part in (xyz - base).T)
    low = base.astype(np.int64) % _LATTICE
    places = list(zip(low.T * _STRIDES, (low.T + 1) % _LATTICE * _STRIDES, strict=True))

    def along_z(at: np.ndarray) -> np.ndarray:
        first, second = (values[at + end] for end in places[2])
        return first + (second - first) * z

    def along_y(at: np.ndarray) -> np.ndarray:
        first, second = (along_z(at + end) for end in places[1])
        return first + (second - first) * y

    first, second = (along_y(end) for end in places[0])
    return first + (second - first) * x


@lru_cache(maxsize=64)
def _lattice(seed: int) -> np.ndarray:
    return rng_of("drawn", "lattice", seed).random(_LATTICE**3)
