"""Patches that show a window of a textured picture: which picture and which window are drawn once, and stand in the plan.

Source: the patch of 3DPW-AdvOcc (3DNBF, Zhang et al., ICCV 2023): the picture's shorter side is as long as the canvas's.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from hpsbench.errors import DataError
from hpsbench.occluders.bank import load_textures
from hpsbench.occluders.base import Canvas
from hpsbench.occluders.base_shapes import extent_of, within
from hpsbench.occluders.base_stencil import Raster, Stencil
from hpsbench.seeds import rng_of
from hpsbench.types import Occlusion

_HASH = 16


def drawn_texture(words: Sequence[str | int], textures: str, side: float, size: float) -> dict[str, Any]:
    """A picture and a window of ``size`` canvas px of it, fixed by the words. Raises DataError where there are no pictures."""
    bank, rng = load_textures(textures), rng_of(*words, "texture")
    name = bank.names[int(rng.random() * len(bank.names))]
    height, width = bank.read(name).shape[:2]
    scaled = (side * width / min(width, height), side * height / min(width, height))
    corner = [rng.random() * (length - size) for length in scaled]
    return {"fill": "texture", "textures": textures, "textures_sha256": bank.sha256[:_HASH], "texture": name, "corner": corner}


def textured(occlusion: Occlusion, raster: Raster) -> Stencil | None:
    """The stencil of an upright box filled with its plan's window. Raises DataError where the pictures are not those of the plan."""
    params, canvas = occlusion.params, Canvas.of(occlusion)
    whole = extent_of(params)
    box = raster.pixels(within(whole, canvas.side))
    if box is None:
        return None

    def colour() -> np.ndarray:
        picture = _resized(params["textures"], params["textures_sha256"], params["texture"], canvas.side / raster.step)
        left, top = (round(corner / raster.step) for corner in params["corner"])
        column, row = raster.first(whole[0], whole[1])
        rows = np.arange(box[1] - row + top, box[3] - row + top).clip(0, len(picture) - 1)
        columns = np.arange(box[0] - column + left, box[2] - column + left).clip(0, picture.shape[1] - 1)
        return picture[rows[:, None], columns[None]]

    return Stencil(box, None, colour)


@lru_cache(maxsize=64)
def _resized(textures: str, sha256: str, name: str, side: float) -> np.ndarray:
    """A picture (H, W, 3) whose shorter side is ``side`` px, rounded."""
    bank = load_textures(textures)
    if not bank.sha256.startswith(sha256):
        raise DataError(
            f"The textures in {bank.folder} are not those that the plan was made with ({bank.sha256[:_HASH]} found, {sha256} expected). "
            "Put the same files there, or generate the plans again."
        )
    picture = bank.read(name)
    factor = side / min(picture.shape[:2])
    size = tuple(max(round(length * factor), 1) for length in picture.shape[1::-1])
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
