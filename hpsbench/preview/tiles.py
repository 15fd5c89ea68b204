"""One picture of a sheet: the crop that a model gets of a person, and a mark at each joint that says whether it is hidden."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from hpsbench.body.silhouette import Silhouette
from hpsbench.draw import paint_bones, paint_dots
from hpsbench.image import crop_square, square_of_box
from hpsbench.occlude import apply_plan, apply_to_crop, cut_box, hidden_by, plan_window
from hpsbench.types import CropSpec, Hidden, OcclusionPlan, Sample

# The crop's width px, whatever the tile's: the one that most protocols count in.
SIDE = 224
VISIBLE, OCCLUDED, OUTSIDE = (255, 255, 255), (255, 215, 0), (90, 180, 255)
_RIM = (0, 0, 0)
_GREY = 160
Lines = Sequence[tuple[tuple[int, int], tuple[int, int]]]
# Marks as lines between points, their reach 1.
_CROSS = (((-1, -1), (1, 1)), ((-1, 1), (1, -1)))
_DIAMOND = (((-1, 0), (0, -1)), ((0, -1), (1, 0)), ((1, 0), (0, 1)), ((0, 1), (-1, 0)))


@dataclass(frozen=True)
class Tile:
    """A picture (side, side, 3) and what is written below it, by lines."""

    picture: np.ndarray
    text: tuple[str, ...] = ()


def clean_tile(sample: Sample, side: int) -> Tile:
    """A person as no occluder touched them, and the end of their id."""
    view = sample.view
    square = square_of_box(view.bbox_xyxy, CropSpec.box_scale) if view.window_xyxy is None else view.window_xyxy
    return Tile(_shrunk(crop_square(view.read(), square, SIDE), side), ("/".join(sample.id.split("/")[2:]),))


def planned_tile(sample: Sample, plan: OcclusionPlan, side: int, *, with_frame: bool = False, silhouette: Silhouette | None = None) -> Tile:
    """A person under a plan, joints marked, and how many and how much of the box (with a ``silhouette``: of that) it hides; grey with the
    reason where the plan's case is not possible."""
    frame = (f"frame {sample.frame}",) if with_frame else ()
    if plan.skipped:
        return Tile(np.full((side, side, 3), _GREY, dtype=np.uint8), (*frame, plan.skipped))
    crop, square = planned_crop(sample, plan, SIDE)
    hidden = hidden_by(plan, sample, silhouette)
    covered = f"box {100 * hidden.coverage_box:.0f}%" if silhouette is None else f"mask {100 * hidden.coverage_mask:.0f}%"
    text = f"{hidden.occluded.sum()} hidden, {hidden.outside.sum()} out", ", ".join([*frame, covered])
    return Tile(_marked(_shrunk(crop, side), sample, hidden, square), text)


def _shrunk(crop: np.ndarray, side: int) -> np.ndarray:
    """A crop as small as a tile is, by area."""
    return crop if side == SIDE else cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)


def planned_crop(sample: Sample, plan: OcclusionPlan, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The crop (side, side, 3) that a model gets of a person under a plan, and the square (4,) px of the whole image that it shows.

    It is the window where there is one, else the default crop of the models, CropSpec().
    """
    view, window = apply_plan(sample.view, plan), plan_window(plan)
    corner = (0, 0) if window is None else cut_box(window)[:2]
    own = square_of_box(view.bbox_xyxy, CropSpec.box_scale) if view.window_xyxy is None else view.window_xyxy
    square = own + np.tile(np.array(corner, dtype=np.float64), 2)
    crop = crop_square(view.read(), own, side)
    apply_to_crop(crop, plan, square)
    return crop, square


def _marked(crop: np.ndarray, sample: Sample, hidden: Hidden, square: np.ndarray) -> np.ndarray:
    """A mark at every joint whose place is known; those beyond the crop are marked at its border."""
    side = crop.shape[0]
    joints = np.asarray(sample.truth.joints2d, dtype=np.float64)
    known = np.asarray(sample.truth.valid, dtype=bool) & np.isfinite(joints).all(axis=1)
    points = (joints - square[:2]) * (side / (square[2] - square[0]))
    points = np.clip(points, _reach(side) + 1, side - _reach(side) - 1)
    visible = known & ~hidden.occluded & ~hidden.outside
    return marks(crop, points[visible], points[hidden.occluded], points[hidden.outside], side)


def marks(image: np.ndarray, visible: np.ndarray, occluded: np.ndarray, outside: np.ndarray, side: int) -> np.ndarray:
    """A copy of ``image`` with a dot at each visible joint (N, 2) px, a cross at each occluded one and a diamond at each outside.

    Their size is that of tiles ``side`` px wide.
    """
    over = paint_dots(image, visible, [VISIBLE] * len(visible), max(1.2, side / 112))
    over = _stroked(over, outside, _DIAMOND, OUTSIDE, side)
    return _stroked(over, occluded, _CROSS, OCCLUDED, side)


def _stroked(
    image: np.ndarray,
    centres: np.ndarray,
    lines: Sequence[tuple[tuple[int, int], tuple[int, int]]],
    colour: tuple[int, int, int],
    side: int,
) -> np.ndarray:
    ends = _reach(side) * np.array(lines, dtype=np.float64).reshape(-1, 2)  # 2L 2
    points = (centres[:, None] + ends).reshape(-1, 2)
    pairs = [(k, k + 1) for k in range(0, len(points), 2)]
    thickness = max(1, round(side / 112))
    rimmed = paint_bones(image, points, pairs, [_RIM] * len(points), thickness + 2)
    return paint_bones(rimmed, points, pairs, [colour] * len(points), thickness)


def _reach(side: int) -> float:
    """Half the width px of a cross or diamond."""
    return max(3.5, side / 45)
