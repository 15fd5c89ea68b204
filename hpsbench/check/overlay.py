"""A contact sheet of a few samples: image, box and 2D joints, and below them the projected body or skeleton."""

from collections.abc import Sequence

import numpy as np
import torch

from hpsbench.body.bodies import Bodies
from hpsbench.check.seen import spread
from hpsbench.datasets.base import Dataset
from hpsbench.draw import crop_intrinsics, label, paint_bones, paint_box, paint_dots, paint_mesh, sheet
from hpsbench.errors import HpsbenchError
from hpsbench.image import crop_square, square_of_box
from hpsbench.skeleton import JOINT_NAMES, edges
from hpsbench.types import Sample, Truth

_COLUMNS = 6
_SIDE = 288
_MARGIN = 1.3
_COLOURS = {"left": (70, 140, 255), "right": (255, 80, 60)}
_MIDDLE, _BOX, _BODY = (250, 210, 60), (255, 255, 255), (110, 170, 235)
_GREY = 128


def split_sheet(dataset: Dataset, bodies: Bodies | None) -> np.ndarray:
    """The sheet (H, W, 3) of a split: samples evenly from first to last; an image that does not open is a grey tile that says so.

    First row: box, annotated 2D joints (rings) and projected joints (dots). Second row: the body of the annotated parameters where
    ``bodies`` are given and the sample has them, else the skeleton's bones.
    """
    samples = [dataset[i] for i in spread(len(dataset), _COLUMNS)]
    pairs = [_tiles(sample, bodies) for sample in samples]
    blank = np.full_like(pairs[0][0], 255)
    rows = [[pair[k] for pair in pairs] + [blank] * (_COLUMNS - len(pairs)) for k in (0, 1)]
    head = f"{dataset.name}/{dataset.split}: box, annotated 2D joints (rings), projected joints (dots), body or bones; left blue, right red"
    return sheet(rows, [head, *[""] * (_COLUMNS - 1)])


def stacked(sheets: Sequence[np.ndarray]) -> np.ndarray:
    """Sheets of equal width below one another."""
    return np.concatenate(list(sheets))


def _tiles(sample: Sample, bodies: Bodies | None) -> tuple[np.ndarray, np.ndarray]:
    name = "/".join(sample.id.split("/")[2:])
    square = square_of_box(sample.view.bbox_xyxy, _MARGIN)
    try:
        crop = crop_square(sample.view.read(), square, _SIDE)
    except HpsbenchError:
        grey = np.full((_SIDE, _SIDE, 3), _GREY, dtype=np.uint8)
        return label(grey, f"{name}: image does not open"), label(grey, "")
    return label(_flat(sample, crop, square), name), _solid(sample, crop, square, bodies)


def _flat(sample: Sample, crop: np.ndarray, square: np.ndarray) -> np.ndarray:
    truth = sample.truth
    tile = paint_box(crop, _in_tile(sample.view.bbox_xyxy.reshape(2, 2), square).ravel(), _BOX)
    if truth.keypoints2d is not None:
        known = truth.keypoints2d[:, 2:] > 0
        points = _in_tile(np.where(known, truth.keypoints2d[:, :2], np.nan), square)
        tile = paint_dots(tile, points, _colours(truth.keypoints_skeleton), 6, ring=True)
    return paint_dots(tile, _in_tile(truth.joints2d, square), _colours(truth.skeleton), 2.5)


def _solid(sample: Sample, crop: np.ndarray, square: np.ndarray, bodies: Bodies | None) -> np.ndarray:
    truth = sample.truth
    if bodies is not None and all(part is not None for part in (truth.rotvecs, truth.betas, truth.trans)):
        camera = crop_intrinsics(sample.view.intrinsics, square, _SIDE)
        faces = np.asarray(bodies[truth.gender].faces)
        return label(paint_mesh(crop, _vertices(truth, bodies), faces, camera, colour=_BODY), f"{truth.gender} body")
    tile = paint_bones(crop, _in_tile(truth.joints2d, square), edges(truth.skeleton), _colours(truth.skeleton))
    return label(tile, f"bones of {truth.skeleton}")


def _vertices(truth: Truth, bodies: Bodies) -> np.ndarray:
    """(V, 3) m in the camera frame."""
    betas, rotvecs, trans = (torch.as_tensor(part, dtype=bodies.dtype)[None] for part in (truth.betas, truth.rotvecs, truth.trans))
    return bodies.forward(betas, rotvecs=rotvecs, trans=trans, genders=[truth.gender]).vertices[0].double().cpu().numpy()


def _in_tile(points: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Points (..., 2) px of the image in the tile that shows its ``square``."""
    return (points - square[:2]) * (_SIDE / (square[2] - square[0]))


def _colours(skeleton: str) -> list[tuple[int, int, int]]:
    return [_COLOURS.get(name.partition("_")[0], _MIDDLE) for name in JOINT_NAMES[skeleton]]
