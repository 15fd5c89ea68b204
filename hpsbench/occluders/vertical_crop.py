"""A smaller square at a drawn height of the person's square: the vertical crops with which PARE and BEDLAM's models are trained.

Source: the public code of PARE (Kocabas et al., ICCV 2021) and BEDLAM (Black et al., CVPR 2023), whose functions are the same.
"""

from dataclasses import dataclass

import numpy as np

from hpsbench.occluders.base import NotPossible, Target, cases_of
from hpsbench.occluders.base_crop import Crop, seen_window
from hpsbench.seeds import rng_of
from hpsbench.types import Card, Occlusion


@dataclass(frozen=True)
class VerticalCropParams:
    """Every number of the crop, as protocol files name them.

    The person's square has ``box_scale`` times the longer side of the box, in whole px of the image; the window has 1 - ``factor`` of that
    side. ``draws``: how many heights are drawn for each person, each a case of its own.
    """

    box_scale: float
    factor: float
    draws: int

    def __post_init__(self):
        if self.box_scale <= 0 or not 0 <= self.factor < 1 or self.draws < 1:
            raise ValueError(
                f"expected a box_scale above 0, a factor from 0 to below 1 and at least one draw, but got {self.box_scale:g}, "
                f"{self.factor:g} and {self.draws}."
            )


class VerticalCrop(Crop):
    """The window of one drawn height at a time."""

    kind = "vertical-crop"
    card = Card(
        name="vertical-crop",
        what="PARE's and BEDLAM's vertical crop: a smaller square at a height drawn inside the person's square",
        source="https://github.com/mkocabas/PARE, https://github.com/pixelite1201/BEDLAM (facts of their code; re-implemented)",
        licence="Apache-2.0 (this implementation)",
        paper="Kocabas et al., PARE, ICCV 2021; Black et al., BEDLAM, CVPR 2023",
    )
    Params = VerticalCropParams

    def cases(self, params: VerticalCropParams) -> tuple[str, ...]:
        """draw=1 and so on."""
        return cases_of(draw=range(1, params.draws + 1))

    def plan(self, target: Target, params: VerticalCropParams) -> Occlusion:
        """The window of the case's draw. Raises NotPossible where it would have no pixel, or none of the image."""
        height = float(rng_of(*target.words(self.kind, target.case)).random())
        x0, y0, x1, y1 = (float(value) for value in target.sample.view.bbox_xyxy)
        whole = int(max(x1 - x0, y1 - y0) * params.box_scale)
        side = int(whole * (1 - params.factor))
        if side < 1:
            raise NotPossible("too small a person")
        left, top = vertical_corner(((x0 + x1) / 2, (y0 + y1) / 2), whole, side, height)
        window = np.array([left, top, left + side, top + side], dtype=np.float64)
        return Occlusion(self.kind, "image", {"window_xyxy": seen_window(window, target.sample), "height": height})


def vertical_corner(centre: tuple[float, float], whole: int, side: int, height: float) -> tuple[int, int]:
    """The corner (x, y) px of a window of ``side`` in a square of side ``whole``: in its middle, ``height`` (0: top, 1: bottom) of the way
    down. All numbers lose their fraction, as published."""
    left, top = (int(value - whole / 2) for value in centre)
    return left + int((whole - side) * 0.5), top + int((whole - side) * height)
