"""What coverage-matched ladders share: what a level is a share of, the place that is drawn once, and the size that meets the level.

Of the box: whole px of the person's box, which is the smallest integer box around it. Of the mask: the px of the image that the person's
true mesh covers. Of the joints: those that are annotated, in the picture and in the person's square. What lies beyond the image, or beyond
a window fixed before, does not count: nobody sees it, so nothing can hide it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np

from hpsbench.body.silhouette import Silhouette
from hpsbench.occluders.base import Canvas, NotPossible, Target, cases_of, whole_box
from hpsbench.occluders.base_stencil import IntBox, Raster, Stencil, overlap
from hpsbench.seeds import rng_of

Size = TypeVar("Size", int, float)
Of = Literal["box", "joints", "mask"]
_NAMES = {"box": "the box", "joints": "the visible joints", "mask": "the silhouette"}


@dataclass(frozen=True)
class LadderParams:
    """The numbers of every family, as protocol files name them.

    ``levels``: per cent of the person's box, silhouette or visible joints (``of``). A level of px is met within ``tolerance`` points; one
    of the joints by the whole number of joints that is nearest to it. The place is uniform in what is seen of the box, less a ``margin``
    on each side (a share of it). ``draws``: how often each person is occluded anew at each level.
    """

    of: Of
    levels: tuple[float, ...]
    tolerance: float
    margin: float
    draws: int

    def __post_init__(self):
        rising = list(self.levels) == sorted(self.levels) and len({f"{level:g}" for level in self.levels}) == len(self.levels)
        if not self.levels or not rising or not all(0 < level < 100 for level in self.levels):
            raise ValueError(f"levels: expected per cents above 0 and below 100, each above the one before, but got {list(self.levels)}.")
        if self.tolerance <= 0 or not 0 <= self.margin < 0.5 or self.draws < 1:
            raise ValueError(
                f"expected a tolerance above 0, a margin of at least 0 and below 0.5 and at least one draw, but got {self.tolerance:g}, "
                f"{self.margin:g} and {self.draws}."
            )

    @property
    def cases(self) -> tuple[str, ...]:
        """level=10, level=20 and so on; level=10,draw=0 where there are several draws."""
        levels = [f"{level:g}" for level in self.levels]
        return cases_of(level=levels) if self.draws == 1 else cases_of(level=levels, draw=range(self.draws))


@dataclass(frozen=True)
class Mask:
    """The px of a person in an integer box of the image, eight to a byte: equal where the px are, and small to keep."""

    box: IntBox
    packed: bytes

    @classmethod
    def of(cls, silhouette: Silhouette, picture: IntBox) -> "Mask | None":
        """What a picture (an integer box of the image) shows of a silhouette; None where it shows nothing of it."""
        (x, y), (height, width) = silhouette.corner, silhouette.mask.shape
        box = overlap((x, y, x + width, y + height), picture)
        if box is None:
            return None
        part = silhouette.mask[box[1] - y : box[3] - y, box[0] - x : box[2] - x]
        return cls(box, np.packbits(part).tobytes()) if part.any() else None

    @cached_property
    def px(self) -> np.ndarray:
        """Which px (h, w) of the box are the person's: bool."""
        x0, y0, x1, y1 = self.box
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), count=(x1 - x0) * (y1 - y0))
        return bits.astype(bool).reshape(y1 - y0, x1 - x0)

    @cached_property
    def count(self) -> int:
        """How many they are."""
        return int(np.count_nonzero(self.px))


@dataclass(frozen=True)
class Seen:
    """What there is to hide of a person: the px of the box (an integer box of the image), joints, (x, y) px of the image, or those of the
    mask, which is made for levels that are of it alone."""

    box: IntBox
    joints: tuple[tuple[float, float], ...]
    mask: Mask | None = None

    @property
    def points(self) -> np.ndarray:
        """The joints (n, 2) float64."""
        return np.array(self.joints, dtype=np.float64).reshape(-1, 2)

    def total(self, of: Of) -> int:
        """How many px, or joints."""
        if of == "mask":
            return self.mask.count
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0) if of == "box" else len(self.joints)

    def outside(self, window: Iterable[float], of: Of) -> int:
        """How many of them lie outside of a window xyxy px."""
        x0, y0, x1, y1 = window
        if of == "joints":
            x, y = self.points.T
            return int(np.count_nonzero((x < x0) | (y < y0) | (x >= x1) | (y >= y1)))
        left, top, right, bottom = self.box if of == "box" else self.mask.box
        inside = Raster(left, top, 1, right - left, bottom - top).pixels((x0, y0, x1, y1)) or (0, 0, 0, 0)
        if of == "mask":
            return self.mask.count - int(np.count_nonzero(self.mask.px[inside[1] : inside[3], inside[0] : inside[2]]))
        return self.total(of) - (inside[2] - inside[0]) * (inside[3] - inside[1])

    def place(self, words: list[str | int], margin: float) -> tuple[float, float]:
        """A point in the box less a share of it on each side, px of the image to the hundredth; x is drawn before y."""
        rng, (x0, y0, x1, y1) = rng_of(*words, "place"), self.box
        u, v = (margin + (1 - 2 * margin) * rng.random() for _ in range(2))
        return round(x0 + u * (x1 - x0), 2), round(y0 + v * (y1 - y0), 2)


def seen_of(target: Target, window_xyxy: np.ndarray | None, square_xyxy: Sequence[float], of: Of) -> Seen:
    """What is seen of the target's person, in the window where there is one; of joints those in the person's square too.

    Joints far from the box, which the box was not made for, are seen by no crop about it. Raises NotPossible where nothing is seen, or
    where levels are ``of`` the mask and there is none.
    """
    width, height = target.sample.image_size
    picture = (0, 0, width, height) if window_xyxy is None else Raster(0, 0, 1, width, height).pixels(tuple(window_xyxy.tolist()))
    box = picture and overlap(whole_box(target.sample.view.bbox_xyxy), picture)
    if not box:
        raise NotPossible("person outside the image" if window_xyxy is None else "person outside the window")
    truth, (x0, y0, x1, y1) = target.sample.truth, picture
    joints = np.asarray(truth.joints2d, dtype=np.float64)
    joints = joints[np.asarray(truth.valid, dtype=bool) & np.isfinite(joints).all(axis=1)]
    low, high = np.maximum((x0, y0), square_xyxy[:2]), np.minimum((x1, y1), square_xyxy[2:])
    seen = joints[((joints >= low) & (joints < high)).all(axis=1)]
    mask = Mask.of(target.silhouette, picture) if of == "mask" else None
    if of == "mask" and mask is None:
        raise NotPossible("silhouette outside the window")
    return Seen(box, tuple((x, y) for x, y in seen.tolist()), mask)


@dataclass(frozen=True)
class Measure:
    """What there is to hide as a raster in the plan's coordinates: all of its px, those of ``mask`` (h, w) or at ``points`` (n, 2)."""

    raster: Raster
    points: np.ndarray | None = None
    mask: np.ndarray | None = None

    @classmethod
    def on(cls, canvas: Canvas, seen: Seen, of: Of) -> "Measure":
        """Of a canvas: px of the image, or the canvas's px that joints lie on (as plans tell which joints they hide)."""
        if of != "joints":
            x0, y0, x1, y1 = seen.box if of == "box" else seen.mask.box
            return cls(canvas.raster(Raster(x0, y0, 1, x1 - x0, y1 - y0)), mask=None if of == "box" else seen.mask.px)
        if not seen.joints:
            raise NotPossible("no joint in the picture")
        pixels = np.floor(canvas.points(seen.points)).astype(np.int64)
        low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
        return cls(Raster(*low.tolist(), 1, *(high - low).tolist()), pixels - low)

    def hidden(self, stencil: Stencil | None) -> int:
        """How many of them a stencil over the raster hides."""
        if stencil is None:
            return 0
        if self.mask is not None:
            return stencil.area(self.mask)
        return stencil.area() if self.points is None else int(np.count_nonzero(stencil.hides(*self.points.T)))

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """The x and y of their px's centres in the plan's coordinates, to be broadcast."""
        whole = (0, 0, self.raster.width, self.raster.height)
        x, y = self.raster.columns(whole), self.raster.rows(whole)
        if self.mask is not None:
            rows, columns = np.nonzero(self.mask)
            return x[0][columns], y[rows, 0]
        return (x, y) if self.points is None else (x[0][self.points[:, 0]], y[self.points[:, 1], 0])


@dataclass(frozen=True)
class Goal:
    """A level, per cent of what ``of`` names, as a number to hide: ``wanted`` of ``total`` px or joints, met within ``slack`` of them."""

    of: str
    level: float
    total: int
    wanted: float
    slack: float

    @classmethod
    def at(cls, params: LadderParams, level: float, total: int) -> "Goal":
        """The goal of a level. Raises NotPossible where that is less than one of the joints."""
        wanted, of = level / 100 * total, _NAMES[params.of]
        if params.of != "joints":
            return cls(of, level, total, wanted, params.tolerance / 100 * total)
        if wanted < 0.5:
            raise NotPossible(f"{level:g} % of {of} is less than one")
        return cls(of, level, total, float(np.floor(wanted + 0.5)), 0.0)

    def fitted(self, sizes: Iterable[Size], hidden: Callable[[Size], int], by: str) -> tuple[Size, int]:
        """The one of some neighbouring sizes that comes nearest (the first of two), and how much it hides.

        Raises NotPossible where that misses the goal: nothing hides as much ("not reached ``by``"), or no size meets it.
        """
        found = [(size, hidden(size)) for size in sizes]
        best = min(found, key=lambda one: abs(one[1] - self.wanted), default=None)
        if best is not None and abs(best[1] - self.wanted) <= self.slack:
            return best
        if all(count < self.wanted for _, count in found):
            raise NotPossible(f"{self.level:g} % of {self.of} is not reached by {by}")
        raise NotPossible(f"{self.level:g} % of {self.of} is not met: a size more is too much, a size less too little")

    def record(self, of: Of, hidden: int) -> dict[str, str | float]:
        """As plans hold it: the level, what it is of, and the share that was reached."""
        return {"of": of, "level": self.level, "share": round(hidden / self.total, 6)}
