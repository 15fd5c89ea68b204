"""Squares on joints, each joint hit or not by itself.

Source: GBT (FG 2024), H36M-Occl: white squares on the projected joints, each with probability 0.1, as later papers quote it; its side and
its seed are not public.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hpsbench.occluders.base import NotPossible, Occluder, Target, cases_of, check_joints
from hpsbench.occluders.base_shapes import box, shape_stencil
from hpsbench.occluders.base_stencil import Raster, Stencil
from hpsbench.seeds import rng_of
from hpsbench.types import Card, Occlusion


@dataclass(frozen=True)
class JointSquaresParams:
    """Every number of the squares, as protocol files name them.

    ``joints``: "head_top|head" is the first of these that the truth has. ``side``: over the longer side of the person's box, in px of the
    image. ``draws``: how often each person is occluded anew.
    """

    joints: tuple[str, ...]
    probability: float
    side: float
    fill: Literal["black", "mean", "white"]
    draws: int

    def __post_init__(self):
        if not self.joints or self.draws < 1:
            raise ValueError("expected at least one joint and at least one draw.")
        if not 0 < self.probability <= 1 or self.side <= 0:
            raise ValueError(f"expected a probability above 0 and at most 1, a side above 0, but got {self.probability} and {self.side}.")
        check_joints(self.joints)


class JointSquares(Occluder):
    """Squares of one colour on some of the joints, in the whole image."""

    kind = "joint-squares"
    card = Card(
        name="joint-squares",
        what="GBT's squares on joints, each joint hit by chance",
        source="GBT (FG 2024), as later papers quote it; no code is public",
        licence="Apache-2.0 (this implementation)",
    )
    Params = JointSquaresParams

    def cases(self, params: JointSquaresParams) -> tuple[str, ...]:
        """draw=0, draw=1 and so on; one without a name where there is one draw only."""
        return ("",) if params.draws == 1 else cases_of(draw=range(params.draws))

    def plan(self, target: Target, params: JointSquaresParams) -> Occlusion:
        """The squares of the case's draw; one number is drawn for each joint, in their order, whether it is known or not.

        A joint that is not annotated gets no square, and is among the plan's "unknown". Raises NotPossible where no joint is annotated.
        """
        rng = rng_of(*target.words(self.kind, target.case))
        hit = [rng.random() < params.probability for _ in params.joints]
        places = [_place(target, names) for names in params.joints]
        unknown = [names.partition("|")[0] for names, place in zip(params.joints, places, strict=True) if place is None]
        if len(unknown) == len(places):
            raise NotPossible("no joint annotated")
        x0, y0, x1, y1 = (float(value) for value in target.sample.view.bbox_xyxy)
        side = params.side * max(x1 - x0, y1 - y0)
        squares = [
            box((place[0], place[1]), (side, side)) for place, is_hit in zip(places, hit, strict=True) if is_hit and place is not None
        ]
        return Occlusion(self.kind, "image", {"fill": params.fill, "squares": squares, "unknown": unknown})

    def stencils(self, occlusion: Occlusion, raster: Raster) -> Iterable[Stencil]:
        """The squares."""
        fill = {"fill": occlusion.params["fill"]}
        squares = (Occlusion(self.kind, occlusion.space, square | fill) for square in occlusion.params["squares"])
        return [stencil for stencil in (shape_stencil(square, raster) for square in squares) if stencil is not None]


def _place(target: Target, names: str) -> list[float] | None:
    """The projection of a joint in px of the image; None where it is not annotated."""
    try:
        return target.joint(names).tolist()
    except NotPossible:
        return None
