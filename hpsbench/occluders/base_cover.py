"""What plans hide of many people at once, where each plan hides one box of pixels at most and cuts to one window at most: numbers alone.

The same numbers as counting pixels gives: a pixel is hidden where the box holds it, and seen where the window holds its centre.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpsbench.occluders.base_stencil import IntBox
from hpsbench.types import Hidden, Sample

NOTHING: IntBox = (0, 0, 0, 0)
_EVERYWHERE = np.array([-np.inf, -np.inf, np.inf, np.inf])


class Cover(NamedTuple):
    """The box of pixels of the whole image that a plan hides, and the window (4,) px that it cuts to (None: no cut)."""

    box: IntBox
    window_xyxy: np.ndarray | None


def hidden_by_covers(covers: Sequence[Cover], samples: Sequence[Sample]) -> list[Hidden]:
    """What each cover hides of its sample, as ``hidden_by`` of hpsbench.occlude says; all have as many joints. Raises ValueError for a box
    or a window that is not finite."""
    if not covers:
        return []
    boxes = np.array([cover.box for cover in covers], dtype=np.float64)
    sizes = np.array([sample.image_size for sample in samples], dtype=np.float64)
    images = np.concatenate([np.zeros_like(sizes), sizes], axis=1)
    cut = np.array([[cover.window_xyxy is not None] for cover in covers])
    windows = np.array([_EVERYWHERE if cover.window_xyxy is None else cover.window_xyxy for cover in covers])
    people = _whole(np.array([sample.view.bbox_xyxy for sample in samples], dtype=np.float64))
    canvases = np.where(cut, _whole(np.where(cut, windows, images)), images)
    joints = np.array([sample.truth.joints2d for sample in samples], dtype=np.float64)
    known = np.array([sample.truth.valid for sample in samples], dtype=bool) & np.isfinite(joints).all(axis=2)
    inside = _in_boxes(joints, images) & _in_boxes(joints, windows)
    in_canvas, in_box = _shares(canvases, boxes, np.tile(_EVERYWHERE, (len(boxes), 1))), _shares(people, boxes, windows)
    shares = np.where(cut[:, 0], in_canvas, in_box), in_canvas, in_box
    if not np.isfinite(shares).all():
        raise ValueError("a person's box or window is not finite, expected four numbers of px. Correct the dataset's boxes.")
    rows = zip(known & inside & _in_boxes(joints, boxes), known & ~inside, *(share.tolist() for share in shares), strict=True)
    return [Hidden(*row) for row in rows]


def _whole(boxes: np.ndarray) -> np.ndarray:
    """The smallest whole boxes (N, 4) around boxes, of one pixel a side at least."""
    low = np.floor(boxes[:, :2])
    return np.concatenate([low, np.maximum(np.ceil(boxes[:, 2:]), low + 1)], axis=1)


def _in_boxes(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which points (N, J, 2) lie in the box (N, 4) of their row: bool (N, J)."""
    return ((points >= boxes[:, None, :2]) & (points < boxes[:, None, 2:])).all(axis=2)


def _shares(whole: np.ndarray, boxes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """The shares (N,) of the pixels of whole boxes (N, 4) that whole boxes (N, 4) hide, or whose centres lie outside of windows (N, 4)."""
    corners = np.tile(whole[:, :2], 2)
    seen, count = _shared(whole, corners + np.ceil(windows - corners - 0.5)), _areas(whole)
    return (count - _areas(seen) + _areas(_shared(seen, boxes))) / count


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What boxes (N, 4) share with others, row by row."""
    return np.concatenate([np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])], axis=1)


def _areas(boxes: np.ndarray) -> np.ndarray:
    """The areas (N,) of boxes (N, 4); 0 of those that end before they begin."""
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
