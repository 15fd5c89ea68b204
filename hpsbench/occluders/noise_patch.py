"""The noise patch of XOCC: a rectangle of coloured noise somewhere in the person's box.

Source: NIKI (Li et al., CVPR 2023), section 4, and the helper functions of its public code.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hpsbench.image import square_of_box
from hpsbench.occluders.base import Draws, KeyRows, Occluder, Target, Targets
from hpsbench.occluders.base_stencil import IntBox, Raster, Stencil, filled, overlap
from hpsbench.types import Card, Occlusion

PatchXywh = tuple[float, float, float, float]
_DRAWS = 4


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
    box = [float(value) for value in box_xyxy]
    for _ in range(params.tries):
        placed = _placed([draws.random() for _ in range(_DRAWS)], box, params, math.sqrt)
        if _fits(placed, image_size):
            left, top, width, height = (float(int(value)) for value in placed)
            return left, top, width, height
    return 0.0, 0.0, 0.0, 0.0


def _placed(drawn: Sequence[Any], box: Sequence[Any], params: PatchParams, root: Callable[[Any], Any]) -> tuple[Any, Any, Any, Any]:
    """(left, top, width, height) of a try out of its draws, real-valued; all numbers, or all arrays of a row per patch."""
    (x0, y0, x1, y1), (least, most), (low, high) = box, params.area, params.ratio
    area = (least + drawn[0] * (most - least)) * (x1 - x0) * (y1 - y0)
    ratio = drawn[1] * (high - low) + low
    height, width = root(area * ratio), root(area / ratio)
    left = drawn[2] * (x1 - x0 - width - 1) + x0
    top = drawn[3] * (y1 - y0 - height - 1) + y0
    return left, top, width, height


def _fits(placed: Sequence[Any], image_size: Sequence[Any]) -> Any:
    """Whether a try lies inside the image: a bool, or an array of them."""
    left, top, width, height = placed
    return (left >= 0) & (top >= 0) & (left + width < image_size[0]) & (top + height < image_size[1])


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
        return self._occlusion(list(pixels_of(patch, sample.image_size)), target.seed, sample.id)

    def _occlusion(self, box_xyxy: list[int], seed: int, sample_id: str) -> Occlusion:
        return Occlusion(self.kind, "image", {"box_xyxy": box_xyxy, "noise": [seed, sample_id, self.kind, "pixels"]})

    def plan_many(self, targets: Targets, params: PatchParams) -> list[Occlusion]:
        """The same patches: their first tries all at once, and by ``noise_patch`` those that do not fit."""
        sizes = np.array([sample.image_size for sample in targets.samples])
        boxes, keys = _boxes(targets, params), targets.index_keys(params.interval)
        patches = keys.blended(*np.split(self._patches(targets, keys, boxes, sizes, params), 2))
        low = np.maximum(np.trunc(patches[:, :2]), 0)
        high = np.minimum(np.trunc(patches[:, :2] + patches[:, 2:]), sizes)
        pixels = np.where((low < high).all(axis=1, keepdims=True), np.concatenate([low, high], axis=1), 0).astype(np.int64)
        return [self._occlusion(box, targets.seed, sample.id) for box, sample in zip(pixels.tolist(), targets.samples, strict=True)]

    def _patches(self, targets: Targets, keys: KeyRows, boxes: np.ndarray, sizes: np.ndarray, params: PatchParams) -> np.ndarray:
        """Patches (2 N, 4) xywh: of the last key frame of each target in its box, then of the next."""
        rows, boxes, sizes = np.concatenate([keys.last, keys.next]), np.tile(boxes, (2, 1)), np.tile(sizes, (2, 1))
        fresh = (targets.draws(key, self.kind) for key in keys.keys)
        drawn = np.array([[draws.random() for _ in range(_DRAWS)] for draws in fresh])
        placed = _placed(drawn[rows].T, boxes.T, params, np.sqrt)
        patches = np.trunc(np.stack(placed, axis=1))
        for i in np.flatnonzero(~_fits(placed, sizes.T)).tolist():
            patches[i] = noise_patch(targets.draws(keys.keys[rows[i]], self.kind), boxes[i], tuple(sizes[i]), params)
        return patches

    def cover(self, occlusion: Occlusion) -> IntBox:
        """The patch."""
        x0, y0, x1, y1 = occlusion.params["box_xyxy"]
        return x0, y0, x1, y1

    def stencil(self, occlusion: Occlusion, raster: Raster) -> Stencil | None:
        """The pixels of the patch."""
        x0, y0, x1, y1 = occlusion.params["box_xyxy"]
        box = raster.pixels((x0, y0, x1, y1))
        noise = {"fill": "noise", "noise": occlusion.params["noise"]}
        return None if box is None else Stencil(box, None, filled(noise, raster, box, (x0, y0), (x1 - x0, y1 - y0)))


def _boxes(targets: Targets, params: PatchParams) -> np.ndarray:
    """The box (N, 4) xyxy px of each target that its patch is placed in."""
    x0, y0, x1, y1 = np.array([sample.view.bbox_xyxy for sample in targets.samples], dtype=np.float64).T
    x, y, half = (x0 + x1) / 2, (y0 + y1) / 2, np.maximum(x1 - x0, y1 - y0) * params.base_scale / 2
    squares = np.stack([x - half, y - half, x + half, y + half], axis=1)
    if params.box == "base":
        return squares
    return np.array([square if window is None else window for square, window in zip(squares, targets.windows_xyxy, strict=True)])
