"""One rectangle at random, as random erasing draws it: area and ratio first, then a place, again where it does not fit.

Sources: Random Erasing (Zhong et al., 2017) in the numbers of timm and of MeTRo (Sárándi et al., 2020).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from hpsbench.occluders.base import Draws, NotPossible, Occluder, Target, cases_of
from hpsbench.occluders.base_shapes import box, shape_stencil
from hpsbench.occluders.base_stencil import Fill, IntBox, Raster, Stencil
from hpsbench.seeds import rng_of
from hpsbench.types import Card, Occlusion


@dataclass(frozen=True)
class RandomRectangleParams:
    """Every number of the rectangle, as protocol files name them.

    ``within``: the canvas, or the person's box on it, rounded to whole px; ``area`` is a share of it, uniform. ``ratio``, height over
    width, is uniform, or its logarithm is. ``place`` "inside": sides are rounded, must be below those of the whole, and its corner is a
    whole px, each as likely of those where it fits. "anywhere": its corner is uniform in the whole, it must fit as it is drawn, and both
    corners are then cut to whole px. ``none_fits`` in so many ``tries``: the case is not possible ("skip"), or nothing is hidden
    ("clean"). ``draws``: how often each person is occluded anew.
    """

    space: Literal["crop", "image"]
    canvas_side: float
    canvas_scale: float
    within: Literal["canvas", "person"]
    area: tuple[float, float]
    ratio: tuple[float, float]
    ratio_law: Literal["uniform", "log"]
    place: Literal["inside", "anywhere"]
    tries: int
    none_fits: Literal["skip", "clean"]
    fill: Fill
    draws: int

    def __post_init__(self):
        if self.canvas_side <= 0 or self.canvas_scale <= 0 or self.tries < 1 or self.draws < 1:
            raise ValueError("expected canvas_side and canvas_scale above 0, and at least one try and one draw.")
        if not 0 <= self.area[0] <= self.area[1] or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"expected area and ratio as [smallest, largest], but got {self.area} and {self.ratio}.")


class RandomRectangle(Occluder):
    """A rectangle of a random area, ratio and place."""

    kind = "random-rectangle"
    card = Card(
        name="random-rectangle",
        what="random erasing: one rectangle of random area, ratio and place",
        source="https://github.com/huggingface/pytorch-image-models, https://github.com/isarandi/metro-pose3d (facts; re-implemented)",
        licence="Apache-2.0 (this implementation)",
        paper="Zhong et al., Random Erasing Data Augmentation, arXiv 1708.04896",
    )
    Params = RandomRectangleParams

    def cases(self, params: RandomRectangleParams) -> tuple[str, ...]:
        """draw=0, draw=1 and so on; one without a name where there is one draw only."""
        return ("",) if params.draws == 1 else cases_of(draw=range(params.draws))

    def plan(self, target: Target, params: RandomRectangleParams) -> Occlusion:
        """The rectangle of the case's draw. Raises NotPossible where none fits, if the protocol says so."""
        canvas, words = target.canvas(params.canvas_side, params.canvas_scale), target.words(self.kind, target.case)
        whole = (0, 0, round(canvas.side), round(canvas.side))
        if params.within == "person":
            whole = tuple(round(float(value)) for value in canvas.points(target.sample.view.bbox_xyxy.reshape(2, 2)).ravel())
        found = _rectangle(rng_of(*words), whole, params)
        if found is None:
            if params.none_fits == "skip":
                raise NotPossible(f"no rectangle fits in {params.tries} tries")
            found = (0, 0, 0, 0)
        left, top, right, bottom = found
        shape = box(((left + right) / 2, (top + bottom) / 2), (float(right - left), float(bottom - top)))
        fill: dict[str, Any] = {"fill": params.fill} | ({"noise": [*words, "pixels"]} if params.fill == "noise" else {})
        return Occlusion(self.kind, params.space, {"canvas": canvas.record} | shape | fill)

    def stencil(self, occlusion: Occlusion, raster: Raster) -> Stencil | None:
        """The pixels of the rectangle."""
        return shape_stencil(occlusion, raster)


def _rectangle(draws: Draws, whole: IntBox, params: RandomRectangleParams) -> IntBox | None:
    """The rectangle in whole px; None where no try fits. Draws, of each try: area, ratio and, "inside" only of one that fits, x and y."""
    x0, y0, x1, y1 = whole
    for _ in range(params.tries):
        area, ratio = _uniform(draws, *params.area) * (x1 - x0) * (y1 - y0), _ratio(draws, params)
        height, width = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if params.place == "anywhere":
            left, top = _uniform(draws, x0, x1), _uniform(draws, y0, y1)
            if left + width < x1 and top + height < y1:
                return int(left), int(top), int(left + width), int(top + height)
        elif round(width) < x1 - x0 and round(height) < y1 - y0:
            width, height = round(width), round(height)
            left, top = (start + int(draws.random() * (room + 1)) for start, room in ((x0, x1 - x0 - width), (y0, y1 - y0 - height)))
            return left, top, left + width, top + height
    return None


def _uniform(draws: Draws, low: float, high: float) -> float:
    return low + draws.random() * (high - low)


def _ratio(draws: Draws, params: RandomRectangleParams) -> float:
    low, high = params.ratio
    if params.ratio_law == "uniform":
        return _uniform(draws, low, high)
    return math.exp(_uniform(draws, math.log(low), math.log(high)))
