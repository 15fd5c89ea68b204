"""Coverage-matched ladders: one occluder a family, grown about a drawn place until a given share of the person is hidden.

Ours, so that families can be compared on one axis: at 40 % a bar, a circle, a rectangle, an object, noise and a crop hide as much of the
person's box, silhouette or visible joints, about the same place. All levels of a person share place, angle and ratio: each shape, and each
crop, contains the one before. Objects are not solid, so that a larger one may show what a smaller one hid.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count, takewhile
from typing import Any, Literal

import numpy as np

from hpsbench.image import square_of_box
from hpsbench.occluders.base import Canvas, NotPossible, Occluder, Target
from hpsbench.occluders.base_crop import Crop
from hpsbench.occluders.base_matched import Goal, LadderParams, Measure, Seen, seen_of
from hpsbench.occluders.base_objects import bank_record, drawn_object, object_bank, object_stencil, placed
from hpsbench.occluders.base_shapes import box, disc, shape_stencil, strip
from hpsbench.occluders.base_stencil import Fill, Raster, Stencil
from hpsbench.seeds import rng_of
from hpsbench.types import Card, Occlusion

# Whose draws the place is: the same for every family, so that they are compared about one place.
_WORD = "matched"
_STEPS_TO_A_PX = 64
_WINDOWS = 4096
_LICENCE = "Apache-2.0 (this implementation)"


def _words(target: Target) -> list[str | int]:
    """The words that a person's draws start from, whatever the family and the level."""
    return target.words(_WORD, target.choice.get("draw", "0"))


def _check_canvas(side: float, scale: float, largest: float) -> None:
    if side <= 0 or largest <= 0 or scale < 1:
        raise ValueError(
            f"expected canvas_side and largest above 0 and a canvas_scale of at least 1 (the canvas holds the person's box), but got "
            f"{side:g}, {largest:g} and {scale:g}."
        )


@dataclass(frozen=True)
class MatchedShapeParams(LadderParams):
    """Every number of the shapes.

    ``largest`` px of the canvas: the width of a bar, the radius of a circle, the square root of a rectangle's area. ``angles``: degrees of
    bars and rectangles, uniform between both. ``ratio``: across over along of rectangles, its logarithm uniform.
    """

    space: Literal["crop", "image"]
    canvas_side: float
    canvas_scale: float
    shape: Literal["bar", "circle", "rectangle"]
    largest: float
    angles: tuple[float, float]
    ratio: tuple[float, float]
    fill: Fill

    def __post_init__(self):
        super().__post_init__()
        _check_canvas(self.canvas_side, self.canvas_scale, self.largest)
        if not 0 <= self.angles[0] <= self.angles[1] <= 180 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(
                f"expected angles as [smallest, largest] from 0 to 180 and ratio as [smallest, largest] above 0, but got "
                f"{list(self.angles)} and {list(self.ratio)}."
            )


class MatchedShape(Occluder):
    """A bar, a circle or a rectangle that hides a given share."""

    kind = "matched-shape"
    card = Card("matched-shape", "a bar, circle or rectangle grown until a given share of the person is hidden", "hpsbench", _LICENCE)
    Params = MatchedShapeParams

    def cases(self, params: MatchedShapeParams) -> tuple[str, ...]:
        """A case for each level."""
        return params.cases

    def needs_silhouette(self, params: LadderParams) -> bool:
        """Where levels are of it."""
        return params.of == "mask"

    def plan(self, target: Target, params: MatchedShapeParams) -> Occlusion:
        """The shape of the case's level. Raises NotPossible where no size up to the largest meets it.

        Each px enters a growing shape at a size of its own; the one wanted is that of the px at the level's place in this order.
        """
        canvas, words = target.canvas(params.canvas_side, params.canvas_scale), _words(target)
        seen = seen_of(target, target.window_xyxy, canvas.square_xyxy, params.of)
        measure = Measure.on(canvas, seen, params.of)
        goal = Goal.at(params, float(target.choice["level"]), seen.total(params.of))
        rng = rng_of(*words, "form")
        growing = _Growing(
            params.shape,
            _on_canvas(canvas, seen.place(words, params.margin)),
            round(params.angles[0] + rng.random() * (params.angles[1] - params.angles[0]), 2),
            round(math.exp(math.log(params.ratio[0]) + rng.random() * math.log(params.ratio[1] / params.ratio[0])), 4),
        )
        fill: dict[str, Any] = {"fill": params.fill} | ({"noise": [*words, "pixels"]} if params.fill == "noise" else {})

        def planned(size: float) -> Occlusion:
            return Occlusion(self.kind, params.space, {"canvas": canvas.record} | growing.shape(size) | fill)

        size, hidden = goal.fitted(
            _sizes_about(_on_canvas_alone(growing.entry, measure, canvas.side), goal.wanted, params.largest),
            lambda size: measure.hidden(shape_stencil(planned(size), measure.raster)),
            f"a {params.shape} of {params.largest:g} px",
        )
        found = planned(size)
        return Occlusion(self.kind, params.space, {**found.params, **goal.record(params.of, hidden)})

    def stencil(self, occlusion: Occlusion, raster: Raster) -> Stencil | None:
        """The pixels of the shape."""
        return shape_stencil(occlusion, raster)


@dataclass(frozen=True)
class _Growing:
    """A shape without a size: its centre in px of the plan, its angle in degrees, its ratio across over along."""

    name: Literal["bar", "circle", "rectangle"]
    centre: tuple[float, float]
    angle: float
    ratio: float

    def shape(self, size: float) -> dict[str, Any]:
        """The shape at a size, as plans hold it."""
        if self.name == "circle":
            return disc(self.centre, size)
        if self.name == "bar":
            return strip(self.centre, size, self.angle)
        return box(self.centre, (round(size / self.ratio**0.5, 6), round(size * self.ratio**0.5, 6)), self.angle)

    def entry(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The size from which on the shape holds each of the points (x, y), broadcast."""
        right, down = x - self.centre[0], y - self.centre[1]
        if self.name == "circle":
            return np.hypot(right, down)
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        across = 2 * np.abs(cos * down - sin * right)
        if self.name == "bar":
            return across
        along = 2 * np.abs(cos * right + sin * down)
        return np.maximum(along * self.ratio**0.5, across / self.ratio**0.5)


def _on_canvas(canvas: Canvas, place: tuple[float, float]) -> tuple[float, float]:
    """A place of the image on a canvas, to the hundredth of its px."""
    x, y = canvas.points(np.array([place]))[0]
    return round(float(x), 2), round(float(y), 2)


def _on_canvas_alone(entry: Callable[[np.ndarray, np.ndarray], np.ndarray], measure: Measure, side: float) -> np.ndarray:
    """The size at which each of what there is to hide enters; infinite for a silhouette's px beyond the canvas."""
    x, y = measure.centres
    sizes = entry(x, y)
    if measure.mask is None:
        return sizes
    return np.where((x >= 0) & (y >= 0) & (x < side) & (y < side), sizes, np.inf)


def _sizes_about(entries: np.ndarray, wanted: float, largest: float) -> list[float]:
    """The sizes next to the one at which as many as wanted have entered, in steps of 1/64 px, none above the largest."""
    place = min(max(round(wanted), 1), entries.size) - 1
    entry = float(np.partition(entries, place, axis=None)[place])
    if math.isinf(entry):
        return [largest]
    step = math.floor(entry * _STEPS_TO_A_PX)
    return sorted({min(near / _STEPS_TO_A_PX, largest) for near in (step - 1, step, step + 1) if near > 0})


@dataclass(frozen=True)
class MatchedObjectParams(LadderParams):
    """Every number of the objects.

    ``bank``: "hpsbench", "voc", or a folder. ``largest``: the longer side of an object, px of the canvas. All levels of a person take one
    object: the first that meets every one of them, of at most so many that are drawn (``tries``); the first of all where none does.
    """

    space: Literal["crop", "image"]
    canvas_side: float
    canvas_scale: float
    bank: str
    largest: int
    tries: int

    def __post_init__(self):
        super().__post_init__()
        _check_canvas(self.canvas_side, self.canvas_scale, self.largest)
        if self.tries < 1:
            raise ValueError("expected at least one try.")


class MatchedObject(Occluder):
    """An object of a bank that hides a given share."""

    kind = "matched-object"
    card = Card("matched-object", "an object of a bank, grown until a given share of the person is hidden", "hpsbench", _LICENCE)
    Params = MatchedObjectParams

    def cases(self, params: MatchedObjectParams) -> tuple[str, ...]:
        """A case for each level."""
        return params.cases

    def needs_silhouette(self, params: LadderParams) -> bool:
        """Where levels are of it."""
        return params.of == "mask"

    def plan(self, target: Target, params: MatchedObjectParams) -> Occlusion:
        """The object at the case's level; its longer side is a whole number of px. Raises NotPossible where no size meets it."""
        canvas = target.canvas(params.canvas_side, params.canvas_scale)
        seen = seen_of(target, target.window_xyxy, canvas.square_xyxy, params.of)
        bank = bank_record(params.bank)
        found = _object_ladder(tuple(_words(target)), params, tuple(bank.items()), canvas, seen)[target.choice["level"]]
        if isinstance(found, str):
            raise NotPossible(found)
        return Occlusion(self.kind, params.space, {"canvas": canvas.record} | bank | found)

    def stencil(self, occlusion: Occlusion, raster: Raster) -> Stencil | None:
        """The object."""
        return object_stencil(occlusion.params, occlusion.params, raster, Canvas.of(occlusion).side)


@lru_cache(maxsize=16)
def _object_ladder(
    words: tuple[str | int, ...], params: MatchedObjectParams, bank: tuple[tuple[str, str], ...], canvas: Canvas, seen: Seen
) -> dict[str, dict[str, Any] | str]:
    """For each level of a person the object as plans hold it, or why there is none. Cached, since the levels of a person come together."""
    measure, goals = Measure.on(canvas, seen, params.of), {}
    ladder: dict[str, dict[str, Any] | str] = {}
    for level in params.levels:
        try:
            goals[f"{level:g}"] = Goal.at(params, level, seen.total(params.of))
        except NotPossible as reason:
            ladder[f"{level:g}"] = str(reason)
    centre = _on_canvas(canvas, seen.place(list(words), params.margin))
    rng, first = rng_of(*words, "object"), None
    for _ in range(params.tries):
        name, size = drawn_object(object_bank(params.bank), rng)

        @cache
        def hidden(side: int, name: str = name, size: tuple[int, int] = size) -> int:
            return measure.hidden(object_stencil(_at(name, size, side, centre), dict(bank), measure.raster, canvas.side))

        grown = {level: _object_at(goal, hidden, params.largest) for level, goal in goals.items()}
        found = {
            level: end if isinstance(end, str) else _at(name, size, end, centre) | goals[level].record(params.of, hidden(end))
            for level, end in grown.items()
        }
        first = first or found
        if not any(isinstance(end, str) for end in grown.values()):
            return ladder | found
    return ladder | first


def _object_at(goal: Goal, hidden: Callable[[int], int], largest: int) -> int | str:
    """The longer side at which an object meets a goal, or why none does; sides double until one is large enough, then they are halved."""
    doubled = [*takewhile(lambda side: side < largest, (16 * 2**k for k in count())), largest]
    reach = next((side for side in doubled if hidden(side) >= goal.wanted), largest)
    sides = range(1, reach + 1)
    first = bisect_left(sides, True, key=lambda side: hidden(side) >= goal.wanted)
    try:
        return goal.fitted(sides[max(first - 2, 0) : first + 3], hidden, f"an object of {largest} px")[0]
    except NotPossible as reason:
        return str(reason)


def _at(name: str, size: tuple[int, int], side: int, centre: tuple[float, float]) -> dict[str, Any]:
    """An object whose longer side is ``side`` px about a centre."""
    return placed(name, size, side / max(size), centre)


@dataclass(frozen=True)
class MatchedCropParams(LadderParams):
    """Every number of the crops.

    ``box_scale``: the side of the whole square over the longer side of the box; the window shrinks from it towards the drawn place.
    ``smallest``: the side of a window, px of the image.
    """

    box_scale: float
    smallest: float

    def __post_init__(self):
        super().__post_init__()
        if self.box_scale < 1 or self.smallest < 1:
            raise ValueError(f"expected box_scale and smallest of at least 1, but got {self.box_scale:g} and {self.smallest:g}.")


class MatchedCrop(Crop):
    """A square window that leaves a given share of the person outside."""

    kind = "matched-crop"
    card = Card("matched-crop", "a square window, shrunk until a given share of the person is outside", "hpsbench", _LICENCE)
    Params = MatchedCropParams

    def cases(self, params: MatchedCropParams) -> tuple[str, ...]:
        """A case for each level."""
        return params.cases

    def needs_silhouette(self, params: LadderParams) -> bool:
        """Where levels are of it."""
        return params.of == "mask"

    def plan(self, target: Target, params: MatchedCropParams) -> Occlusion:
        """The window of the case's level, in steps of 1/4096 of the whole square. Raises NotPossible where none meets it.

        A window fixed before is replaced, and counts for nothing.
        """
        whole = square_of_box(target.sample.view.bbox_xyxy, params.box_scale)
        seen = seen_of(target, None, whole.tolist(), params.of)
        goal = Goal.at(params, float(target.choice["level"]), seen.total(params.of))
        place = np.tile(seen.place(_words(target), params.margin), 2)
        smallest = min(max(math.ceil(params.smallest / (whole[2] - whole[0]) * _WINDOWS), 1), _WINDOWS)

        def window(part: int) -> list[float]:
            return [round(float(value), 6) for value in place + (whole - place) * (part / _WINDOWS)]

        parts = range(_WINDOWS, smallest - 1, -1)
        first = bisect_left(parts, True, key=lambda part: seen.outside(window(part), params.of) >= goal.wanted)
        part, found = goal.fitted(
            parts[max(first - 1, 0) : first + 1],
            lambda part: seen.outside(window(part), params.of),
            f"a window of {params.smallest:g} px",
        )
        return Occlusion(self.kind, "image", {"window_xyxy": window(part)} | goal.record(params.of, found))
