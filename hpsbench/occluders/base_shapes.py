"""Plain shapes as plans hold them, and the stencils that follow: which pixel centres lie inside, and nothing of another canvas's.

A shape is plain JSON in a plan's coordinates: {"shape": "disc", "centre", "radius"}, {"shape": "box", "centre", "size": [along, across],
"angle"} and {"shape": "strip", "centre", "width", "angle"}, which goes on to the canvas's ends. Angles are degrees from the x axis
towards the y axis, so that 0 lies and 90 stands. Edges are hard: a pixel is hidden whose centre lies inside, ends at the far side not.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpsbench.occluders.base import Canvas
from hpsbench.occluders.base_stencil import IntBox, Raster, Stencil, filled
from hpsbench.types import Occlusion

Extent = tuple[float, float, float, float]


def disc(centre: tuple[float, float], radius: float) -> dict[str, Any]:
    """A disc, as plans hold it."""
    return {"shape": "disc", "centre": list(centre), "radius": radius}


def box(centre: tuple[float, float], size: tuple[float, float], angle: float = 0.0) -> dict[str, Any]:
    """A rectangle of ``size`` along and across its angle, as plans hold it."""
    return {"shape": "box", "centre": list(centre), "size": list(size), "angle": angle}


def strip(centre: tuple[float, float], width: float, angle: float) -> dict[str, Any]:
    """A bar without ends, as plans hold it."""
    return {"shape": "strip", "centre": list(centre), "width": width, "angle": angle}


def shape_stencil(occlusion: Occlusion, raster: Raster) -> Stencil | None:
    """The stencil of a plan whose params hold a shape, its fill and, where its px are not the image's, its canvas."""
    params, canvas = occlusion.params, Canvas.of(occlusion)
    extent = extent_of(params)
    if canvas is not None:
        extent = within(extent, canvas.side)
    pixels = raster.pixels(extent)
    if pixels is None:
        return None
    noisy = math.ceil(max(extent[2:]) if canvas is None else canvas.side) if params["fill"] == "noise" else 0
    colour = filled(params, raster, pixels, (0, 0), (noisy, noisy))
    return Stencil(pixels, None if _fills(params) else _alpha(params, raster, pixels), colour)


def within(extent: Extent, side: float) -> Extent:
    """What of an extent lies on a canvas of this side."""
    return max(extent[0], 0.0), max(extent[1], 0.0), min(extent[2], side), min(extent[3], side)


def extent_of(shape: Mapping[str, Any]) -> Extent:
    """The upright box (x0, y0, x1, y1) that holds a shape; endless for a strip."""
    x, y = shape["centre"]
    if shape["shape"] == "strip":
        across = shape["width"] / 2
        return {0.0: (-math.inf, y - across, math.inf, y + across), 90.0: (x - across, -math.inf, x + across, math.inf)}.get(
            shape["angle"], (-math.inf, -math.inf, math.inf, math.inf)
        )
    if shape["shape"] == "disc":
        half = (shape["radius"], shape["radius"])
    else:
        cos, sin = _direction(shape["angle"])
        along, across = (side / 2 for side in shape["size"])
        half = (abs(cos) * along + abs(sin) * across, abs(sin) * along + abs(cos) * across)
    return x - half[0], y - half[1], x + half[0], y + half[1]


def _direction(angle: float) -> tuple[float, float]:
    """(cos, sin) of degrees, rounded so that they are the same on every machine and exact at quarter turns."""
    return round(math.cos(math.radians(angle)), 12), round(math.sin(math.radians(angle)), 12)


def _fills(shape: Mapping[str, Any]) -> bool:
    """Whether a shape is all of its extent."""
    return shape["shape"] != "disc" and shape["angle"] in (0.0, 90.0)


def _alpha(shape: Mapping[str, Any], raster: Raster, pixels: IntBox) -> np.ndarray:
    return inside(shape, raster.columns(pixels), raster.rows(pixels)).astype(np.uint8) * np.uint8(255)


def inside(shape: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether the points (x, y), broadcast, lie inside a shape: bool."""
    right, down = x - shape["centre"][0], y - shape["centre"][1]
    if shape["shape"] == "disc":
        return right * right + down * down < shape["radius"] ** 2
    cos, sin = _direction(shape["angle"])
    across = cos * down - sin * right
    if shape["shape"] == "strip":
        return (across >= -shape["width"] / 2) & (across < shape["width"] / 2)
    along, (length, width) = cos * right + sin * down, shape["size"]
    return (along >= -length / 2) & (along < length / 2) & (across >= -width / 2) & (across < width / 2)
