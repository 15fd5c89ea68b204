"""What a thing draws its shape and colours from: numbers fixed by the thing's name, and palettes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from hpsbench.occluders.drawn.paints import Rgb, rgb
from hpsbench.occluders.drawn.solids import Solid
from hpsbench.seeds import rng_of

Item = TypeVar("Item")


def _palette(text: str) -> tuple[Rgb, ...]:
    return tuple(rgb(word) for word in text.split())


VIVID = _palette("d1352b 1f6fb5 f2b619 2f9e52 e8752a 7b4aa0 17989b d94f8c 3049a5 a3c531")
QUIET = _palette("8c6f56 5d7487 7a8b6c a4876f 9a5b52 4f5a68 b59a76 6d6480")
PALE = _palette("f2ead9 dfe7ec f4d9cf d7e6d1 efe3b4 e3daee ffffff")
DARK = _palette("23262b 2d2a33 3a2a22 1f2d3a 30362d")
METAL = _palette("b9bec4 8f969d c9c3b5 6f757b")
GREEN = _palette("3f8a3a 5aa047 2f6f3d 6f9a3d 4b8f63")
WOODS = tuple(zip(_palette("d9ac73 b9824d e6c796 8f5f3a a86a42"), _palette("a8743f 7d4f29 c49a61 55341d 6e3d22"), strict=True))
BLACK, WHITE, RUBBER = rgb("1b1c1f"), rgb("f7f5f0"), rgb("2a2b2e")


@dataclass(frozen=True)
class Thing:
    """A solid and how it is turned before the camera, degrees about x, y and z."""

    solid: Solid
    turn: tuple[float, float, float]


class Chance:
    """Numbers fixed by what is drawn, by which of its variants (from 1), and by a seed."""

    def __init__(self, name: str, variant: int, seed: int):
        self._rng, self._variant = rng_of("drawn", seed, name, variant), variant

    def between(self, low: float, high: float) -> float:
        """A number, uniform from ``low`` to ``high``."""
        return low + (high - low) * self._rng.random()

    def pick(self, items: Sequence[Item]) -> Item:
        """One of some items."""
        return items[int(self._rng.random() * len(items))]

    def each(self, items: Sequence[Item]) -> Item:
        """The items in turn, one a variant."""
        return items[(self._variant - 1) % len(items)]

    def two(self, items: Sequence[Item]) -> tuple[Item, Item]:
        """Two different ones of some items."""
        first = int(self._rng.random() * len(items))
        second = (first + 1 + int(self._rng.random() * (len(items) - 1))) % len(items)
        return items[first], items[second]

    def seed(self) -> int:
        """A seed for a pattern."""
        return int(self._rng.random() * 64)

    def view(self, down: tuple[float, float] = (8, 22), around: tuple[float, float] = (-50, 50)) -> tuple[float, float, float]:
        """A turn of a thing that stands upright: seen from somewhat above, and from somewhere around."""
        return self.between(*down), self.between(*around), 0.0
