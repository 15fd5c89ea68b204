"""Objects of a bank as plans hold them, and the stencils that follow: which object, its size and its corner, in whole px of the plan.

Source: the published object pasting (Sárándi et al. 2018): sides rounded, bilinear where the object grows and by area where it shrinks,
its corner at round(centre) - floor(size / 2). A side has at least 1 px here, where published code fails on thin objects.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from hpsbench.errors import DataError
from hpsbench.occluders.bank import Bank, load_bank
from hpsbench.occluders.base import Draws
from hpsbench.occluders.base_shapes import within
from hpsbench.occluders.base_stencil import Raster, Stencil

VOC, VOC_FOLDER = "voc", "HPSBENCH_VOC_BANK"
_HASH = 16


def object_bank(name: str) -> Bank:
    """The bank "hpsbench" or "voc", or that in a folder.

    "voc" is the folder that ``HPSBENCH_VOC_BANK`` names, as `hpsbench occluders extract` makes it. Raises DataError where that is not set,
    and where the bank is missing or broken.
    """
    if name != VOC:
        return load_bank(name)
    folder = os.environ.get(VOC_FOLDER)
    if not folder:
        raise DataError(
            f"The bank '{VOC}' holds objects of Pascal VOC, which cannot ship with the package, and {VOC_FOLDER} names no folder. Cut them "
            f"out with `hpsbench occluders extract --voc VOC2012 --out BANK`, then set {VOC_FOLDER}=BANK."
        )
    return load_bank(folder)


def bank_record(name: str) -> dict[str, str]:
    """A bank as plans hold it: its name and the start of its hash."""
    return {"bank": name, "bank_sha256": object_bank(name).sha256[:_HASH]}


def drawn_object(bank: Bank, draws: Draws) -> tuple[str, tuple[int, int]]:
    """The name and (width, height) px of an object, each of the bank as likely; one draw."""
    name = bank.names[int(draws.random() * len(bank.names))]
    height, width = bank.read(name).shape[:2]
    return name, (width, height)


def placed(name: str, size: tuple[int, int], factor: float, centre: tuple[float, float]) -> dict[str, Any]:
    """An object of ``size`` px, ``factor`` times as large, about a centre, as plans hold it."""
    width, height = (max(round(side * factor), 1) for side in size)
    return {"object": name, "size": [width, height], "corner": [round(centre[0]) - width // 2, round(centre[1]) - height // 2]}


def object_stencil(thing: Mapping[str, Any], bank: Mapping[str, str], raster: Raster, side: float | None) -> Stencil | None:
    """The stencil of an object of a plan's bank; what lies beyond a canvas of this side (None: there is none) is cut off.

    It is as coarse as the plan's own px: a pixel shows the px of the resized object that its centre lies on. Raises DataError where the
    bank is not that of the plan.
    """
    (left, top), (width, height) = thing["corner"], thing["size"]
    extent = (left, top, left + width, top + height)
    box = raster.pixels(extent if side is None else within(extent, side))
    if box is None:
        return None
    picture = _resized(bank["bank"], bank["bank_sha256"], thing["object"], (width, height))
    # A centre that is on the extent's very border may come out on either side of it.
    columns = np.clip(np.floor(raster.columns(box)[0]).astype(np.int64) - left, 0, width - 1)
    rows = np.clip(np.floor(raster.rows(box)[:, 0]).astype(np.int64) - top, 0, height - 1)
    part = picture[rows[:, None], columns[None]]
    return Stencil(box, part[..., 3], lambda: part[..., :3])


@lru_cache(maxsize=64)
def _resized(name: str, sha256: str, thing: str, size: tuple[int, int]) -> np.ndarray:
    """An object (h, w, 4) uint8 in a size (w, h), all four channels alike, read-only."""
    bank = object_bank(name)
    if not bank.sha256.startswith(sha256):
        raise DataError(
            f"The objects in {bank.folder} are not those that the plan was made with ({bank.sha256[:_HASH]} found, {sha256} expected). "
            "Put the same files there, or generate the plans again."
        )
    picture = bank.read(thing)
    grows = size[0] > picture.shape[1] or size[1] > picture.shape[0]
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR if grows else cv2.INTER_AREA)
    resized.flags.writeable = False
    return resized
