"""Shapes scattered over the person until a given share of the box is hidden: circles, rectangles, oriented bars, objects, or all of these.

Source: Sárándi et al., "How robust is 3D human pose estimation to occlusion?" (2018), which names the shapes and degrees of occlusion;
their sizes, their fill and how a degree is reached are not public, and are ours here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np

from hpsbench.occluders.base import Canvas, Draws, NotPossible, Occluder, Target, cases_of
from hpsbench.occluders.base_objects import bank_record, drawn_object, object_bank, object_stencil, placed
from hpsbench.occluders.base_shapes import box, disc, extent_of, inside, within
from hpsbench.occluders.base_stencil import Fill, IntBox, Raster, Stencil, filled
from hpsbench.seeds import rng_of
from hpsbench.types import Card, Occlusion

Range = tuple[float, float]
Thing = dict[str, Any]


def _check_ranges(**ranges: Range) -> None:
    for name, (low, high) in ranges.items():
        if not 0 < low <= high:
            raise ValueError(f"{name}: expected [smallest, largest], above 0, but got {[low, high]}.")


@dataclass(frozen=True)
class Circle:
    """Discs: ``radius`` as a share of the canvas's side."""

    radius: Range

    def __post_init__(self):
        _check_ranges(radius=self.radius)

    def drawn(self, draws: Draws, side: float, centre: tuple[float, float]) -> Thing:
        return disc(centre, _px(draws, self.radius, side))


@dataclass(frozen=True)
class Rectangle:
    """Upright rectangles: ``sides``, both drawn (width, then height), as shares of the canvas's side."""

    sides: Range

    def __post_init__(self):
        _check_ranges(sides=self.sides)

    def drawn(self, draws: Draws, side: float, centre: tuple[float, float]) -> Thing:
        return box(centre, (_px(draws, self.sides, side), _px(draws, self.sides, side)))


@dataclass(frozen=True)
class Bar:
    """Bars at any angle: ``length`` and ``width`` as shares of the canvas's side, drawn in this order, then the angle."""

    length: Range
    width: Range

    def __post_init__(self):
        _check_ranges(length=self.length, width=self.width)

    def drawn(self, draws: Draws, side: float, centre: tuple[float, float]) -> Thing:
        size = (_px(draws, self.length, side), _px(draws, self.width, side))
        return box(centre, size, round(180 * draws.random(), 2))


@dataclass(frozen=True)
class Object:
    """Objects of a bank, ``scale`` times their own size on a canvas of 256 px."""

    bank: str
    scale: Range

    def __post_init__(self):
        _check_ranges(scale=self.scale)

    def drawn(self, draws: Draws, side: float, centre: tuple[float, float]) -> Thing:
        name, size = drawn_object(object_bank(self.bank), draws)
        return placed(name, size, _uniform(draws, self.scale) * side / 256, centre)


def _uniform(draws: Draws, between: Range) -> float:
    return between[0] + draws.random() * (between[1] - between[0])


def _px(draws: Draws, between: Range, side: float) -> float:
    """A share of the canvas's side in px, to the hundredth."""
    return round(_uniform(draws, between) * side, 2)


@dataclass(frozen=True)
class ScatteredShapesParams:
    """Every number of the shapes, as protocol files name them.

    ``levels`` per cent of the person's box on the canvas, each met within ``tolerance`` points in at most ``tries`` shapes. The tables
    that are there (``circle``, ``rectangle``, ``bar``, ``object``) say what is drawn, each as likely. ``draws``: how often each person is
    occluded anew at each level.
    """

    space: Literal["crop", "image"]
    canvas_side: float
    canvas_scale: float
    levels: tuple[float, ...]
    tolerance: float
    tries: int
    draws: int
    fill: Fill
    circle: Circle | None = None
    rectangle: Rectangle | None = None
    bar: Bar | None = None
    object: Object | None = None

    def __post_init__(self):
        if self.canvas_side <= 0 or self.canvas_scale <= 0 or self.tries < 1 or self.draws < 1 or self.tolerance <= 0:
            raise ValueError("expected canvas_side, canvas_scale and tolerance above 0, and at least one try and one draw.")
        if not self.levels or len(set(self.levels)) < len(self.levels) or not all(0 <= level <= 100 for level in self.levels):
            raise ValueError(f"levels: expected per cents from 0 to 100, none twice, but got {list(self.levels)}.")
        if not self.rules:
            raise ValueError("nothing to draw: expected at least one of the tables circle, rectangle, bar and object.")

    @property
    def rules(self) -> list[Circle | Rectangle | Bar | Object]:
        """What is drawn, each as likely."""
        return [rule for rule in (self.circle, self.rectangle, self.bar, self.object) if rule is not None]


class ScatteredShapes(Occluder):
    """Shapes at random, one after the other, until the person's box is hidden to a given degree."""

    kind = "scattered-shapes"
    card = Card(
        name="scattered-shapes",
        what="Sárándi-style circles, rectangles, bars and objects up to a degree of occlusion; not a reproduction",
        source="Sárándi et al. 2018 (kinds and degrees; the code of shapes is not public)",
        licence="Apache-2.0 (this implementation)",
        paper="Sárándi et al., How robust is 3D human pose estimation to occlusion?, IROS workshops 2018",
    )
    Params = ScatteredShapesParams

    def cases(self, params: ScatteredShapesParams) -> tuple[str, ...]:
        """level=10, level=20 and so on; level=10,draw=0 where there are several draws."""
        levels = [f"{level:g}" for level in params.levels]
        return cases_of(level=levels) if params.draws == 1 else cases_of(level=levels, draw=range(params.draws))

    def plan(self, target: Target, params: ScatteredShapesParams) -> Occlusion:
        """Shapes until the case's level is met; one that overshoots is drawn and left out. The levels of one draw see the same shapes.

        "coverage" is the share of the person's box that was reached, by px of the canvas (whole px of the image may tell another).
        Raises NotPossible where the level is not met, or nothing of the person's box lies on the canvas.
        """
        choice, canvas = target.choice, target.canvas(params.canvas_side, params.canvas_scale)
        words = target.words(self.kind, choice.get("draw", "0"))
        level = float(choice["level"])
        bank = {} if params.object is None else bank_record(params.object.bank)
        cover = _Cover(_person(target, canvas), canvas.side, bank)
        things = _reached(cover, _drawn(rng_of(*words), params, canvas.side), level / 100, params.tolerance / 100)
        fill: dict[str, Any] = {"fill": params.fill} | ({"noise": [*words, "pixels"]} if params.fill == "noise" else {})
        numbers = {"level": level, "coverage": round(cover.share, 6), "shapes": things}
        return Occlusion(self.kind, params.space, {"canvas": canvas.record} | numbers | bank | fill)

    def stencils(self, occlusion: Occlusion, raster: Raster) -> Iterable[Stencil]:
        """The shapes in their order; those of one fill that follow one another are one stencil."""
        params, side, found = occlusion.params, Canvas.of(occlusion).side, []
        for of_a_bank, things in groupby(params["shapes"], lambda thing: "object" in thing):
            if of_a_bank:
                found += [object_stencil(thing, params, raster, side) for thing in things]
            else:
                found.append(_painted(list(things), params, raster, side))
        return [stencil for stencil in found if stencil is not None]


def _person(target: Target, canvas: Canvas) -> IntBox:
    """The px of the canvas whose centres lie in the person's box. Raises NotPossible where there are none."""
    corners = canvas.points(target.sample.view.bbox_xyxy.reshape(2, 2)).ravel()
    pixels = _whole(canvas.side).pixels(within(tuple(corners), canvas.side))
    if pixels is None:
        raise NotPossible("person outside the canvas")
    return pixels


def _whole(side: float) -> Raster:
    return Raster(0.0, 0.0, 1.0, int(np.ceil(side)), int(np.ceil(side)))


def _drawn(draws: Draws, params: ScatteredShapesParams, side: float) -> Iterator[Thing]:
    """As many shapes as there are tries; of each: which kind (where there are several), x and y of its centre, its sizes."""
    rules = params.rules
    for _ in range(params.tries):
        rule = rules[int(draws.random() * len(rules))] if len(rules) > 1 else rules[0]
        centre = (round(draws.random() * side, 2), round(draws.random() * side, 2))
        yield rule.drawn(draws, side, centre)


def _reached(cover: "_Cover", things: Iterator[Thing], level: float, tolerance: float) -> list[Thing]:
    """The shapes that hide a share ``level`` of the person's box. Raises NotPossible where they run out before."""
    kept: list[Thing] = []
    while cover.share < level - tolerance:
        thing = next(things, None)
        if thing is None:
            raise NotPossible(f"{100 * level:g} % of the box not met")
        if cover.add(thing, level + tolerance):
            kept.append(thing)
    return kept


class _Cover:
    """What of the person's box on the canvas is hidden so far, px by px."""

    def __init__(self, person: IntBox, side: float, bank: Mapping[str, str]):
        self._raster, self._side, self._bank = Raster(person[0], person[1], 1.0, person[2] - person[0], person[3] - person[1]), side, bank
        self._hidden = np.zeros((self._raster.height, self._raster.width), dtype=bool)
        self._count = 0

    @property
    def share(self) -> float:
        """The share that is hidden."""
        return self._count / self._hidden.size

    def add(self, thing: Thing, most: float) -> bool:
        """Whether the share with a further shape is at most ``most`` and grows; the shape is added then."""
        stencil = object_stencil(thing, self._bank, self._raster, self._side) if "object" in thing else self._painted(thing)
        if stencil is None:
            return False
        x0, y0, x1, y1 = stencil.box
        part = self._hidden[y0:y1, x0:x1]
        new = (stencil.alpha >= 128) & ~part
        count = int(np.count_nonzero(new))
        if count == 0 or self._count + count > most * self._hidden.size:
            return False
        part |= new
        self._count += count
        return True

    def _painted(self, thing: Thing) -> Stencil | None:
        return _painted([thing], {"fill": "black"}, self._raster, self._side)


def _painted(things: Sequence[Thing], fill: Mapping[str, Any], raster: Raster, side: float) -> Stencil | None:
    """The stencil of all shapes of one fill together."""
    boxes = [(thing, raster.pixels(within(extent_of(thing), side))) for thing in things]
    seen = [(thing, pixels) for thing, pixels in boxes if pixels is not None]
    if not seen:
        return None
    corners = np.array([pixels for _, pixels in seen])
    x0, y0, x1, y1 = (int(value) for value in (*corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0)))
    alpha = np.zeros((y1 - y0, x1 - x0), dtype=np.uint8)
    for thing, pixels in seen:
        part = alpha[pixels[1] - y0 : pixels[3] - y0, pixels[0] - x0 : pixels[2] - x0]
        part[inside(thing, raster.columns(pixels), raster.rows(pixels))] = 255
    size = (int(np.ceil(side)), int(np.ceil(side)))
    return Stencil((x0, y0, x1, y1), alpha, filled(fill, raster, (x0, y0, x1, y1), (0, 0), size))
