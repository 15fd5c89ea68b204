"""The noise patch of XOCC: a rectangle of coloured noise somewhere in the person's box.

Source: NIKI (Li et al., CVPR 2023), section 4, and the helper functions of its public code.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpsbench.image import square_of_box
from hpsbench.occluders.base import Draws, Occluder, Target
from hpsbench.occluders.base_stencil import IntBox, Raster, Stencil, filled, overlap
from hpsbench.types import Card, Occlusion

PatchXywh = tuple[float, float, float, float]


@dataclass(frozen=True)
class PatchParams:
    """Every number of the noise patch, as protocol files name them; ``ratio`` is height over width, ``area`` a share of the box."""

    interval: int
    box: Literal["window", "base"]
    base_scale: float
    area: tuple[float, float]
    ratio: tuple[float, float]
    tries: int

    def __post_init__(self):
        if self.interval < 1 or self.tries < 1:
            raise ValueError("expected an interval and a number of tries of at least 1.")
        if not 0 <= self.area[0] <= self.area[1] or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"expected area and ratio as [smallest, largest], but got {self.area} and {self.ratio}.")


def noise_patch(draws: Draws, box_xyxy: np.ndarray, image_size: tuple[int, int], params: PatchParams) -> PatchXywh:
    """(left, top, width, height) whole px of the patch of one key frame, inside the image; all 0 where no try fits.

    Draws, in the published order and once per try: area, ratio, x, y.
    """
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    (least, most), (low, high), (image_width, image_height) = params.area, params.ratio, image_size
    for _ in range(params.tries):
        area = (least + draws.random() * (most - least)) * (x1 - x0) * (y1 - y0)
        ratio = draws.random() * (high - low) + low
        height, width = (area * ratio) ** 0.5, (area / ratio) ** 0.5
        left = draws.random() * (x1 - x0 - width - 1) + x0
        top = draws.random() * (y1 - y0 - height - 1) + y0
        if left >= 0 and top >= 0 and left + width < image_width and top + height < image_height:
            return float(int(left)), float(int(top)), float(int(width)), float(int(height))
    return 0.0, 0.0, 0.0, 0.0


def blended(last: PatchXywh, after: PatchXywh, weight: float) -> PatchXywh:
    """The patch between two, ``weight`` of the way from the first; real-valued."""
    left, top, width, height = ((1 - weight) * a + weight * b for a, b in zip(last, after, strict=True))
    return left, top, width, height


def pixels_of(patch: PatchXywh, image_size: tuple[int, int]) -> IntBox:
    """The integer box that a patch paints: its corners cut to whole px, then to the image; empty where nothing is left."""
    left, top, width, height = patch
    box = (int(left), int(top), int(left + width), int(top + height))
    return overlap(box, (0, 0, *image_size)) or (0, 0, 0, 0)


class NoisePatch(Occluder):
    """Paints a rectangle of coloured noise, up to three tenths of the box, at a place blended between key frames."""

    kind = "noise-patch"
    card = Card(
        name="noise-patch",
        what="XOCC's patch: a rectangle of coloured noise, blended between key frames",
        source="https://github.com/Jeff-sjtu/NIKI (published functions; re-implemented from their facts)",
        licence="Apache-2.0 (this implementation)",
        paper="NIKI: Neural Inverse Kinematics with Invertible Neural Networks, CVPR 2023",
    )
    Params = PatchParams

    def plan(self, target: Target, params: PatchParams) -> Occlusion:
        """The patch of the target: both key frames' draws placed in the target's own box, then blended."""
        sample = target.sample
        box = target.window_xyxy
        if box is None or params.box == "base":
            box = square_of_box(sample.view.bbox_xyxy, params.base_scale)
        keys = target.seeding.index_keys(sample, target.track, params.interval)
        patch = noise_patch(target.draws(keys.last, self.kind), box, sample.image_size, params)
        if keys.weight > 0:
            after = noise_patch(target.draws(keys.next, self.kind), box, sample.image_size, params)
            patch = blended(patch, after, keys.weight)
        pixels = pixels_of(patch, sample.image_size)
        return Occlusion(self.kind, "image", {"box_xyxy": list(pixels), "noise": [target.seed, sample.id, self.kind, "pixels"]})

    def stencil(self, occlusion: Occlusion, raster: Raster) -> Stencil | None:
        """The pixels of the patch."""
        x0, y0, x1, y1 = occlusion.params["box_xyxy"]
        box = raster.pixels((x0, y0, x1, y1))
        noise = {"fill": "noise", "noise": occlusion.params["noise"]}
        return None if box is None else Stencil(box, None, filled(noise, raster, box, (x0, y0), (x1 - x0, y1 - y0)))
