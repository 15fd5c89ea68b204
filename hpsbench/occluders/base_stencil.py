"""What an occluder lays over pixels: rasters, stencils, fills, and how a stencil is pasted, on arrays and on tensors alike.

A plan's numbers live in coordinates of its own: pixels of the whole image or, with a canvas, of a square of it that counts so many px a
side. A raster says where the pixels of some picture lie in these. Whether a pixel is hidden is decided at its centre (hard edges, no
anti-aliasing), so that image and crop, numpy and torch, whole and part agree to the byte.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hpsbench.seeds import noise_bytes, rng_of

IntBox = tuple[int, int, int, int]
Fill = Literal["black", "mean", "white", "noise"]

_FAR = 2.0**30
# The mean colour of ImageNet, which published code writes as 0 into the normalised crop: 255 (0.485, 0.456, 0.406).
_COLOURS = {"black": (0, 0, 0), "mean": (124, 116, 104), "white": (255, 255, 255)}


class Raster(NamedTuple):
    """``width`` x ``height`` square pixels in a plan's coordinates: the first one's corner (``x0``, ``y0``) and the ``step`` of each."""

    x0: float
    y0: float
    step: float
    width: int
    height: int

    def columns(self, box: IntBox) -> np.ndarray:
        """The x of the centres (1, w) of a pixel box's columns."""
        return self.x0 + (np.arange(box[0], box[2])[None] + 0.5) * self.step

    def rows(self, box: IntBox) -> np.ndarray:
        """The y of the centres (h, 1) of a pixel box's rows."""
        return self.y0 + (np.arange(box[1], box[3])[:, None] + 0.5) * self.step

    def pixels(self, extent: tuple[float, float, float, float]) -> IntBox | None:
        """The pixels whose centres lie in [x0, x1) x [y0, y1) of the plan's coordinates; None where none do."""
        return overlap((*self.first(extent[0], extent[1]), *self.first(extent[2], extent[3])), (0, 0, self.width, self.height))

    def first(self, x: float, y: float) -> tuple[int, int]:
        """The first column and row whose centres are at or beyond (x, y) of the plan's coordinates, also beyond the raster."""
        return _first(x - self.x0, self.step), _first(y - self.y0, self.step)


def _first(distance: float, step: float) -> int:
    """The first pixel whose centre is at or beyond a distance from the first corner."""
    return math.ceil(min(max(distance / step, -_FAR), _FAR) - 0.5)


@dataclass(frozen=True)
class Stencil:
    """The pixels ``box`` of a raster, how much of each is covered, and with what.

    ``alpha`` (h, w) uint8, None: all of it. ``colour`` gives (3,) or (h, w, 3) uint8 RGB when pixels are wanted.
    """

    box: IntBox
    alpha: np.ndarray | None
    colour: Callable[[], np.ndarray]

    def hides(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether it covers at least half of the raster's pixels in columns ``x`` and rows ``y`` (integers of one shape): bool."""
        x0, y0, x1, y1 = self.box
        inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        if self.alpha is None:
            return inside
        return inside & (self.alpha[np.clip(y - y0, 0, y1 - y0 - 1), np.clip(x - x0, 0, x1 - x0 - 1)] >= 128)

    def mark(self, covered: np.ndarray) -> None:
        """Set what it hides of a raster's mask (H, W) bool, in place."""
        x0, y0, x1, y1 = self.box
        covered[y0:y1, x0:x1] |= True if self.alpha is None else self.alpha >= 128

    def area(self, mask: np.ndarray | None = None) -> int:
        """How many pixels it hides; of a ``mask`` (H, W) bool over the raster, how many of its own."""
        x0, y0, x1, y1 = self.box
        if mask is None:
            return (x1 - x0) * (y1 - y0) if self.alpha is None else int(np.count_nonzero(self.alpha >= 128))
        part = mask[y0:y1, x0:x1]
        return int(np.count_nonzero(part if self.alpha is None else part & (self.alpha >= 128)))


def paste(picture: np.ndarray, stencil: Stencil) -> None:
    """Lay a stencil over a picture (H, W, 3) uint8, in place: floor((alpha colour + (255 - alpha) picture) / 255), in whole numbers."""
    x0, y0, x1, y1 = stencil.box
    part, colour = picture[y0:y1, x0:x1], stencil.colour()
    if stencil.alpha is None:
        part[:] = colour
        return
    alpha = stencil.alpha[..., None].astype(np.uint32)
    part[:] = ((alpha * colour + (255 - alpha) * part) // 255).astype(np.uint8)


def paste_on_tensor(crops: Tensor, stencil: Stencil) -> None:
    """Lay a stencil over crops (..., 3, H, W) uint8 on their device, in place: the same bytes as ``paste``."""
    x0, y0, x1, y1 = stencil.box
    part = crops[..., y0:y1, x0:x1]
    colour = torch.from_numpy(np.broadcast_to(stencil.colour(), (y1 - y0, x1 - x0, 3)).copy()).to(crops.device).permute(2, 0, 1)
    if stencil.alpha is None:
        part.copy_(colour.expand_as(part))
        return
    alpha = torch.from_numpy(stencil.alpha).to(crops.device, torch.int32)
    part.copy_((alpha * colour + (255 - alpha) * part).div(255, rounding_mode="floor").to(torch.uint8))


def filled(
    fill: Mapping[str, Any], raster: Raster, box: IntBox, corner: tuple[int, int], size: tuple[int, int]
) -> Callable[[], np.ndarray]:
    """The colour of a box of a raster under a plan's fill: one colour, or noise that covers ``size`` (w, h) px from ``corner`` on.

    ``fill``: {"fill": name} and, of noise, {"noise": the words that it is drawn from}. Noise is as coarse as the plan's own pixels.
    """
    if fill["fill"] != "noise":
        colour = np.array(_COLOURS[fill["fill"]], dtype=np.uint8)
        return lambda: colour

    def noise() -> np.ndarray:
        field = noise_bytes(rng_of(*fill["noise"]), (size[1], size[0], 3))
        x = np.clip(np.floor(raster.columns(box)[0]).astype(np.int64) - corner[0], 0, size[0] - 1)
        y = np.clip(np.floor(raster.rows(box)[:, 0]).astype(np.int64) - corner[1], 0, size[1] - 1)
        return field[y[:, None], x[None]]

    return noise


def overlap(box: IntBox, other: IntBox) -> IntBox | None:
    """The pixels that two integer boxes share; None where there are none."""
    x0, y0, x1, y1 = max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
