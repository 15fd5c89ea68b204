"""Procedural pictures: noise, cloth and building patterns, clutter. Everything is float32 RGB in 0 to 1."""

import cv2
import numpy as np

Colour = np.ndarray


def colour(rng: np.random.Generator, *, saturation: float = 0.6, value: tuple[float, float] = (0.15, 0.95)) -> Colour:
    """A random colour (3,): any hue, saturation mostly below ``saturation``, brightness within ``value``."""
    hue, sat = rng.uniform(0, 360), saturation * rng.uniform() ** 0.8
    hsv = np.array([[[hue, sat, rng.uniform(*value)]]], dtype=np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]


def noise(rng: np.random.Generator, side: int, *, coarse: int = 4, octaves: int = 5, fall: float = 0.55) -> np.ndarray:
    """Cloudy noise (side, side), mean about 0, extremes about -1 and 1; tiles seamlessly at its borders only roughly."""
    total, weight = np.zeros((side, side), np.float32), 1.0
    for octave in range(octaves):
        cells = min(coarse * 2**octave, side)
        grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        total += weight * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        weight *= fall
    return total / max(float(np.abs(total).max()), 1e-6)


def _two(rng: np.random.Generator, saturation: float) -> tuple[Colour, Colour]:
    first = colour(rng, saturation=saturation)
    second = colour(rng, saturation=saturation) if rng.random() < 0.6 else np.clip(first * rng.uniform(0.5, 1.6), 0, 1)
    return first, second


def _blend(first: Colour, second: Colour, share: np.ndarray) -> np.ndarray:
    return (first + (second - first) * share[..., None]).astype(np.float32)


def stripes(rng: np.random.Generator, side: int, saturation: float) -> np.ndarray:
    """Parallel bands of two colours, straight or tilted."""
    y, x = np.mgrid[:side, :side] / side
    angle = rng.choice([0, 0, 0.5, rng.uniform(0, 1)]) * np.pi
    wave = (np.cos(angle) * y + np.sin(angle) * x) * rng.integers(4, 20)
    return _blend(*_two(rng, saturation), (wave % 1 < rng.uniform(0.2, 0.8)).astype(np.float32))


def checks(rng: np.random.Generator, side: int, saturation: float) -> np.ndarray:
    """A board, a plaid or a tiled floor."""
    y, x = (np.mgrid[:side, :side] / side * rng.integers(3, 14)) % 1
    wide = rng.uniform(0.05, 0.5)
    share = ((y < wide).astype(np.float32) + (x < wide)) / 2 if rng.random() < 0.6 else ((y < 0.5) ^ (x < 0.5)).astype(np.float32)
    return _blend(*_two(rng, saturation), share)


def bricks(rng: np.random.Generator, side: int, saturation: float) -> np.ndarray:
    """Rows of bricks or planks with joints between, each of its own brightness."""
    rows, columns = int(rng.integers(4, 16)), int(rng.integers(2, 8))
    y, x = np.mgrid[:side, :side] / side
    row = np.floor(y * rows).astype(int)
    x = x * columns + rng.uniform(0, 1, rows)[row]
    column = np.floor(x).astype(int) % columns
    tone = rng.uniform(0.8, 1.15, (rows, columns))[row, column]
    joint = ((y * rows) % 1 < 0.08) | (x % 1 < 0.04)
    first, second = _two(rng, saturation)
    return np.where(joint[..., None], second * 0.7, np.clip(first * tone[..., None], 0, 1)).astype(np.float32)


def blotches(rng: np.random.Generator, side: int, saturation: float) -> np.ndarray:
    """Two or three colours in cloudy patches, hard or soft."""
    first, second = _two(rng, saturation)
    field = noise(rng, side, coarse=int(rng.integers(2, 12))) * rng.uniform(0.8, 6)
    out = _blend(first, second, np.clip(field + 0.5, 0, 1))
    if rng.random() < 0.5:
        third = np.clip(noise(rng, side, coarse=int(rng.integers(2, 10))) * 5, 0, 1)
        out = out + (colour(rng, saturation=saturation) - out) * third[..., None]
    return out.astype(np.float32)


def clutter(rng: np.random.Generator, side: int, saturation: float) -> np.ndarray:
    """Overlapping rectangles, ellipses, lines and scraps of writing."""
    image = np.empty((side, side, 3), np.uint8)
    image[:] = 255 * colour(rng, saturation=saturation)
    for _ in range(int(rng.integers(6, 40))):
        ink = tuple(float(c) for c in 255 * colour(rng, saturation=saturation))
        a, b = (tuple(int(c) for c in rng.integers(-side // 8, side, 2)) for _ in range(2))
        size = tuple(int(c) for c in rng.integers(2, max(side // 4, 3), 2))
        kind = int(rng.integers(0, 4))
        if kind == 0:
            cv2.rectangle(image, a, (a[0] + 2 * size[0], a[1] + 2 * size[1]), ink, -1)
        elif kind == 1:
            cv2.ellipse(image, a, size, float(rng.uniform(0, 180)), 0, 360, ink, -1)
        elif kind == 2:
            cv2.line(image, a, b, ink, int(rng.integers(1, max(side // 32, 2))), cv2.LINE_AA)
        else:
            word = "".join(chr(int(c)) for c in rng.integers(65, 91, 5))
            cv2.putText(image, word, a, cv2.FONT_HERSHEY_SIMPLEX, side / 256, ink, max(side // 128, 1), cv2.LINE_AA)
    return image.astype(np.float32) / 255


def plain(rng: np.random.Generator, side: int, saturation: float) -> np.ndarray:
    """One colour."""
    return np.tile(colour(rng, saturation=saturation), (side, side, 1)).astype(np.float32)


_KINDS = (plain, stripes, checks, bricks, blotches, clutter)


def pattern(rng: np.random.Generator, side: int, *, saturation: float = 0.5, shares: tuple[float, ...] = (2, 1, 1, 1, 2, 1)) -> np.ndarray:
    """A random pattern (side, side, 3) with a little dirt on it; ``shares``: of plain, stripes, checks, bricks, blotches, clutter."""
    kind = _KINDS[int(np.searchsorted(np.cumsum(shares) / np.sum(shares), rng.random()))]
    dirt = 1 + rng.uniform(0.02, 0.15) * noise(rng, side, coarse=int(rng.integers(3, 16)))
    return np.clip(kind(rng, side, saturation) * dirt[..., None], 0, 1).astype(np.float32)


def flattened(texture: np.ndarray, contrast: float) -> np.ndarray:
    """The texture with its contrast about its mean colour scaled."""
    mean = texture.mean((0, 1))
    return (mean + (texture - mean) * contrast).astype(np.float32)
