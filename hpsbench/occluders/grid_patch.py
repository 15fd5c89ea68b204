"""A square patch slid over the crop: every place of a grid in turn, for sensitivity maps and for worst cases.

Sources: PARE's occlusion analysis (Kocabas et al., ICCV 2021) and 3DPW-AdvOcc (3DNBF, Zhang et al., ICCV 2023), as their public code has
them.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from hpsbench.occluders.base import Canvas, Occluder, Target, cases_of
from hpsbench.occluders.base_shapes import shape_stencil
from hpsbench.occluders.base_stencil import Raster, Stencil
from hpsbench.occluders.base_texture import drawn_texture, textured
from hpsbench.types import Card, Occlusion


@dataclass(frozen=True)
class GridPatchParams:
    """Every number of the grid, in px of the canvas. ``last``: what becomes of the last row and column where they reach beyond the canvas.

    ``fill`` "texture": a picture of ``textures`` (a folder, or "hpsbench"), one picture and one window of it for all places of a person.
    """

    space: Literal["crop", "image"]
    canvas_side: float
    canvas_scale: float
    size: float
    stride: float
    last: Literal["clipped", "shifted"]
    fill: Literal["black", "mean", "white", "noise", "texture"]
    textures: str = "hpsbench"

    def __post_init__(self):
        if self.canvas_side <= 0 or self.canvas_scale <= 0 or self.stride <= 0:
            raise ValueError(
                f"expected canvas_side, canvas_scale and stride above 0, but got {self.canvas_side}, {self.canvas_scale}, {self.stride}."
            )
        if not 0 < self.size <= self.canvas_side:
            raise ValueError(f"expected a size above 0 and at most that of the canvas, {self.canvas_side:g} px, but got {self.size:g} px.")

    @property
    def starts(self) -> tuple[float, ...]:
        """The first px of each row, and of each column: ceil((side - size) / stride + 1) of them, as published."""
        number = math.ceil((self.canvas_side - self.size) / self.stride + 1)
        farthest = self.canvas_side - self.size if self.last == "shifted" else math.inf
        return tuple(min(k * self.stride, farthest) for k in range(number))


class GridPatch(Occluder):
    """A square patch at one place of a grid after the other."""

    kind = "grid-patch"
    card = Card(
        name="grid-patch",
        what="PARE's and AdvOcc's square patch, slid over the crop place by place",
        source="https://github.com/mkocabas/PARE, https://github.com/edz-o/3DNBF (facts of their scripts; re-implemented)",
        licence="Apache-2.0 (this implementation)",
        paper="Kocabas et al., PARE, ICCV 2021; Zhang et al., 3DNBF, ICCV 2023",
    )
    Params = GridPatchParams

    def cases(self, params: GridPatchParams) -> tuple[str, ...]:
        """position=ROW-COLUMN, row by row."""
        places = range(len(params.starts))
        return cases_of(position=[f"{row}-{column}" for row in places for column in places])

    def plan(self, target: Target, params: GridPatchParams) -> Occlusion:
        """The patch at the case's place."""
        row, column = (int(number) for number in target.choice["position"].split("-"))
        canvas, left, top = target.canvas(params.canvas_side, params.canvas_scale), params.starts[column], params.starts[row]
        centre = (left + params.size / 2, top + params.size / 2)
        place = {"shape": "box", "centre": list(centre), "size": [params.size, params.size], "angle": 0.0}
        return Occlusion(self.kind, params.space, {"canvas": canvas.record} | place | self._fill(target, params, canvas))

    def _fill(self, target: Target, params: GridPatchParams, canvas: Canvas) -> dict[str, Any]:
        words = target.words(self.kind)
        if params.fill == "noise":
            return {"fill": "noise", "noise": words}
        return drawn_texture(words, params.textures, canvas.side, params.size) if params.fill == "texture" else {"fill": params.fill}

    def stencil(self, occlusion: Occlusion, raster: Raster) -> Stencil | None:
        """The pixels of the patch."""
        return textured(occlusion, raster) if occlusion.params["fill"] == "texture" else shape_stencil(occlusion, raster)
