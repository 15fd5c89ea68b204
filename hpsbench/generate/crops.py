"""Crops of people as files: what a model of one ``CropSpec`` gets under a plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.image import REDUCTIONS, crop_square, square_of_box
from hpsbench.occlude import apply_plan, apply_to_crop, cut_box, paint, plan_window
from hpsbench.occluders.base_stencil import Raster
from hpsbench.types import CropSpec, OcclusionPlan, View


@dataclass(frozen=True)
class Crops:
    """Which crops: those of a ``spec``. ``reduced``: images are decoded at 1/2, 1/4 or 1/8 of their size where a crop needs no more of
    them, which is faster, and gives other pixels than those that are evaluated."""

    spec: CropSpec
    reduced: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """As manifests hold it."""
        return {"side": self.spec.side, "box_scale": self.spec.box_scale, "reduced": self.reduced}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Crops":
        """The crops of a manifest."""
        return cls(CropSpec(record["side"], record["box_scale"]), record["reduced"])


def cropped_view(view: View, plan: OcclusionPlan, crops: Crops) -> View:
    """A plan's view as the crop alone, finished: its window is the whole of it, so that a model of this ``CropSpec`` sees these pixels.

    The square is the plan's window or else about the box, as a model gets it.
    """
    seen, window, side = apply_plan(view, plan), plan_window(plan), crops.spec.side
    own = square_of_box(seen.bbox_xyxy, crops.spec.box_scale) if seen.window_xyxy is None else np.asarray(seen.window_xyxy)
    corner = np.zeros(2) if window is None else np.array(cut_box(window)[:2], dtype=np.float64)
    square = own + np.tile(corner, 2)
    factor = side / (own[2] - own[0])
    reduction = _reduction(view, factor) if crops.reduced else 1

    def read() -> np.ndarray:
        crop = crop_square(seen.read(), own, side) if reduction == 1 else _crop_of_reduced(view, plan, square, side, reduction)
        apply_to_crop(crop, plan, square)
        return crop

    to_crop = np.array([[factor, 0, -factor * own[0]], [0, factor, -factor * own[1]], [0, 0, 1]])
    return View(
        read,
        f"{view.image_key}#{plan.view_id}",
        (np.asarray(seen.bbox_xyxy, dtype=np.float64) - np.tile(own[:2], 2)) * factor,
        to_crop @ np.asarray(seen.intrinsics, dtype=np.float64),
        np.array([0.0, 0.0, side, side]),
    )


def _reduction(view: View, factor: float) -> int:
    """The largest part of an image at which a crop of ``factor`` px to a px need not be enlarged."""
    return max(reduction for reduction in REDUCTIONS if factor * reduction <= 1 or reduction == 1) if view.reducible else 1


def _crop_of_reduced(view: View, plan: OcclusionPlan, square: np.ndarray, side: int, reduction: int) -> np.ndarray:
    """The crop of a square of the whole image out of 1/``reduction`` of it, whose first pixel is about pixel (``reduction`` - 1) / 2."""
    image = view.read(reduction=reduction).copy()
    paint(image, plan, Raster(0, 0, reduction, image.shape[1], image.shape[0]), "image")
    return crop_square(image, (square - (reduction - 1) / 2) / reduction, side)
