"""Objects pasted over the person: how many, which, how large and where, drawn once.

Sources: Sárándi et al. 2018 (arXiv 1808.09316, 1809.04987) by the facts of their public code, and those who changed its numbers:
3DCrowdNet (Choi et al., CVPR 2022), Human3.6M-Occluded (Bragagnolo et al., ECCV 2024 workshops).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from hpsbench.errors import DataError
from hpsbench.occluders.base import Canvas, Draws, Occluder, Target, cases_of
from hpsbench.occluders.base_objects import bank_record, drawn_object, object_bank, object_stencil, placed
from hpsbench.occluders.base_stencil import Raster, Stencil
from hpsbench.seeds import rng_of
from hpsbench.types import Card, Occlusion

# The crop that Sárándi's factors are for: an object of a bank has its own size at factor 1 there.
_OWN_SIZE_AT = 256


@dataclass(frozen=True)
class Views:
    """Which views of one moment are occluded: ``occluded`` of ``names``, drawn once for all.

    A sample's id holds its view's name behind ``mark``; one without a mark is the only view of its moment, and as likely to be occluded.
    """

    mark: str
    names: tuple[str, ...]
    occluded: int

    def __post_init__(self):
        if not self.mark or not all(self.names) or len(set(self.names)) < len(self.names):
            raise ValueError("expected a mark and names, none empty and none twice.")
        if not 0 <= self.occluded <= len(self.names):
            raise ValueError(f"expected occluded from 0 to the number of names, {len(self.names)}, but got {self.occluded}.")


@dataclass(frozen=True)
class PastedObjectsParams:
    """Every number of the pasting, as protocol files name them. Without ``canvas_side`` and ``canvas_scale`` the whole image is the canvas.

    ``bank``: "hpsbench", "voc", or a folder. ``count``: the fewest and the most objects. ``scale`` is uniform, and counts times the
    object's own size on a canvas of 256 px ("object"), is the object's longer side over the canvas's shorter one ("canvas"), or its
    shorter side over that of the person's box ("person"). Centres are uniform on the canvas without a ``margin`` on each side, a share
    of it, or in the person's box, likewise. ``draws``: how often each person is occluded anew.
    """

    space: Literal["crop", "image"]
    bank: str
    count: tuple[int, int]
    scale: tuple[float, float]
    scale_of: Literal["object", "canvas", "person"]
    centre_in: Literal["canvas", "person"]
    margin: float
    draws: int
    canvas_side: float | None = None
    canvas_scale: float | None = None
    views: Views | None = None

    def __post_init__(self):
        if not 1 <= self.count[0] <= self.count[1] or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"expected count and scale as [smallest, largest], above 0, but got {self.count} and {self.scale}.")
        if not 0 <= self.margin < 0.5 or self.draws < 1:
            raise ValueError(f"expected a margin of at least 0 and below 0.5 and at least one draw, but got {self.margin}, {self.draws}.")
        if (self.canvas_side is None) != (self.canvas_scale is None):
            raise ValueError("expected both canvas_side and canvas_scale, or neither (the whole image).")
        if self.canvas_side is None:
            if self.space == "crop":
                raise ValueError("space 'crop' needs a canvas: give canvas_side and canvas_scale, or say space = 'image'.")
        elif self.canvas_side <= 0 or self.canvas_scale <= 0:
            raise ValueError(f"expected canvas_side and canvas_scale above 0, but got {self.canvas_side}, {self.canvas_scale}.")


class Area(NamedTuple):
    """An upright box in px of the plan."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def shorter(self) -> float:
        """Its shorter side."""
        return min(self.x1 - self.x0, self.y1 - self.y0)

    def point(self, draws: Draws, margin: float) -> tuple[float, float]:
        """A point, uniform in the box less a share of it on each side; x is drawn before y."""
        u, v = (margin + draws.random() * (1 - 2 * margin) for _ in range(2))
        return self.x0 + u * (self.x1 - self.x0), self.y0 + v * (self.y1 - self.y0)


class PastedObjects(Occluder):
    """Objects of a bank, pasted one over the other."""

    kind = "pasted-objects"
    card = Card(
        name="pasted-objects",
        what="objects cut out of pictures, pasted at random over the canvas or the person",
        source="https://github.com/isarandi/synthetic-occlusion and its descendants (facts; re-implemented)",
        licence="Apache-2.0 (this implementation)",
        paper="Sárándi et al., How robust is 3D human pose estimation to occlusion?, IROS workshops 2018",
    )
    Params = PastedObjectsParams

    def cases(self, params: PastedObjectsParams) -> tuple[str, ...]:
        """draw=0, draw=1 and so on; one without a name where there is one draw only."""
        return ("",) if params.draws == 1 else cases_of(draw=range(params.draws))

    def plan(self, target: Target, params: PastedObjectsParams) -> Occlusion:
        """The objects of the case's draw; drawn in the published order: how many, then of each which one, its scale, x and y."""
        canvas = None if params.canvas_side is None else target.canvas(params.canvas_side, params.canvas_scale)
        numbers: dict[str, Any] = {} if canvas is None else {"canvas": canvas.record}
        things = [] if params.views and not self._chosen(target, params.views) else list(self._drawn(target, params, canvas))
        return Occlusion(self.kind, params.space, numbers | bank_record(params.bank) | {"objects": things})

    def _chosen(self, target: Target, views: Views) -> bool:
        """Whether the sample's view is among those of its moment that are occluded."""
        scene, mark, rest = target.sample.id.partition(views.mark)
        view = next((name for name in views.names if rest.startswith(name)), None)
        if not mark:
            view = views.names[0]
        elif view is None:
            raise DataError(
                f"Sample '{target.sample.id}' has a view behind '{views.mark}' that is none of {', '.join(views.names)}. Name all views of "
                "the dataset in the protocol."
            )
        rng = rng_of(target.seed, scene, rest.removeprefix(view), self.kind, "views", target.case)
        order = sorted(views.names, key=lambda _: rng.random())
        return view in order[: views.occluded]

    def _drawn(self, target: Target, params: PastedObjectsParams, canvas: Canvas | None) -> Iterator[dict[str, Any]]:
        bank, rng = object_bank(params.bank), rng_of(*target.words(self.kind, target.case))
        x1, y1 = target.sample.image_size if canvas is None else (canvas.side, canvas.side)
        whole, person = Area(0.0, 0.0, float(x1), float(y1)), _person(target, canvas)
        fewest, most = params.count
        for _ in range(fewest + int(rng.random() * (most - fewest + 1))):
            name, size = drawn_object(bank, rng)
            scale = params.scale[0] + rng.random() * (params.scale[1] - params.scale[0])
            centre = (whole if params.centre_in == "canvas" else person).point(rng, params.margin)
            of_scale_one = {
                "object": whole.shorter / _OWN_SIZE_AT,
                "canvas": whole.shorter / max(size),
                "person": person.shorter / min(size),
            }
            yield placed(name, size, scale * of_scale_one[params.scale_of], centre)

    def stencils(self, occlusion: Occlusion, raster: Raster) -> Iterable[Stencil]:
        """The objects in their order, later ones over earlier ones."""
        params, canvas = occlusion.params, Canvas.of(occlusion)
        found = (object_stencil(thing, params, raster, canvas and canvas.side) for thing in params["objects"])
        return [stencil for stencil in found if stencil is not None]


def _person(target: Target, canvas: Canvas | None) -> Area:
    """The person's box in px of the plan."""
    corners = target.sample.view.bbox_xyxy.reshape(2, 2)
    return Area(*(float(value) for value in (corners if canvas is None else canvas.points(corners)).ravel()))
