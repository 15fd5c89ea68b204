"""A bar, a circle or a rectangle laid over one joint after the other, at growing sizes.

Source: HKMR (Georgakis et al., ECCV 2020), section 4 and figure 6, which gives the sizes and leaves the rest open.
"""

from dataclasses import dataclass
from typing import Any, Literal

from hpsbench.occluders.base import NotPossible, Occluder, Target, cases_of, check_joints
from hpsbench.occluders.base_shapes import box, disc, shape_stencil, strip
from hpsbench.occluders.base_stencil import Fill, Raster, Stencil
from hpsbench.types import Card, Occlusion


@dataclass(frozen=True)
class JointShapeParams:
    """Every number of the shapes, as protocol files name them.

    ``sizes``: of levels 1, 2, ...: px of the canvas, width of a bar, radius of a circle, or px^2 of a rectangle. ``joints``: one after the
    other; "head_top|head" is the first of these that the truth has. ``angles`` degrees, of bars and rectangles. ``ratio``: height over
    width of a rectangle. ``bar_length``: times its width, 0 for a bar to the canvas's ends.
    """

    space: Literal["crop", "image"]
    canvas_side: float
    canvas_scale: float
    shape: Literal["bar", "circle", "rectangle"]
    sizes: tuple[float, ...]
    joints: tuple[str, ...]
    angles: tuple[float, ...]
    ratio: float
    bar_length: float
    fill: Fill

    def __post_init__(self):
        if not self.sizes or min(self.sizes) <= 0 or not self.joints or not self.angles:
            raise ValueError("expected at least one size, all above 0, at least one joint and at least one angle.")
        if self.canvas_side <= 0 or self.canvas_scale <= 0 or self.ratio <= 0 or self.bar_length < 0:
            raise ValueError("expected canvas_side, canvas_scale and ratio above 0, and a bar_length of at least 0.")
        check_joints(self.joints)


class JointShape(Occluder):
    """One joint at a time under a bar, a circle or a rectangle centred on its projection."""

    kind = "joint-shape"
    card = Card(
        name="joint-shape",
        what="HKMR's bar, circle or rectangle over one joint at a time, at growing sizes",
        source="HKMR (ECCV 2020), section 4; no code is public",
        licence="Apache-2.0 (this implementation)",
        paper="Georgakis et al., Hierarchical Kinematic Human Mesh Recovery, ECCV 2020",
    )
    Params = JointShapeParams

    def cases(self, params: JointShapeParams) -> tuple[str, ...]:
        """level=1,on=right_ankle and so on; with an angle where there are several."""
        joints = [name.partition("|")[0] for name in params.joints]
        levels = range(1, len(params.sizes) + 1)
        if len(params.angles) == 1:
            return cases_of(level=levels, on=joints)
        return cases_of(level=levels, on=joints, angle=[f"{angle:g}" for angle in params.angles])

    def plan(self, target: Target, params: JointShapeParams) -> Occlusion:
        """The shape over the case's joint. Raises NotPossible where the joint is not known or not on the canvas."""
        canvas, choice = target.canvas(params.canvas_side, params.canvas_scale), target.choice
        (names,) = (name for name in params.joints if name.partition("|")[0] == choice["on"])
        x, y = (float(value) for value in canvas.points(target.joint(names)[None])[0])
        if not (0 <= x < canvas.side and 0 <= y < canvas.side):
            raise NotPossible("joint outside the canvas")
        size = params.sizes[int(choice["level"]) - 1]
        shape = _shape(params, (x, y), size, float(choice.get("angle", params.angles[0])))
        fill: dict[str, Any] = {"fill": params.fill}
        if params.fill == "noise":
            fill["noise"] = target.words(self.kind, target.case)
        return Occlusion(self.kind, params.space, {"canvas": canvas.record} | shape | fill)

    def stencil(self, occlusion: Occlusion, raster: Raster) -> Stencil | None:
        """The pixels of the shape."""
        return shape_stencil(occlusion, raster)


def _shape(params: JointShapeParams, centre: tuple[float, float], size: float, angle: float) -> dict[str, Any]:
    if params.shape == "circle":
        return disc(centre, size)
    if params.shape == "rectangle":
        return box(centre, ((size / params.ratio) ** 0.5, (size * params.ratio) ** 0.5), angle)
    return box(centre, (params.bar_length * size, size), angle) if params.bar_length else strip(centre, size, angle)
