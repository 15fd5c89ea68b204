"""What lies over a person's crop at each position, and how whole batches are painted: the very pixels of ``occlude.apply_to_crop``."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpsbench.occlude import apply_to_crop
from hpsbench.occluders.base import Canvas, occluder
from hpsbench.occluders.base_shapes import extent_of, within
from hpsbench.occluders.base_stencil import Raster
from hpsbench.types import Occlusion, OcclusionPlan

CLEAN = -1
_FAR = 2.0**30
_FLAT = ("black", "mean", "white")


@dataclass(frozen=True)
class PlannedCover:
    """The plans of all positions, each painted by itself. ``square_xyxy`` (4,) px of the image: what the crop shows."""

    plans: tuple[OcclusionPlan, ...]
    square_xyxy: np.ndarray

    def paint(self, crop: Tensor, position: int) -> None:
        """Paint one position over a crop (3, S, S) uint8, in place."""
        apply_to_crop(crop, self.plans[position], self.square_xyxy)


@dataclass(frozen=True)
class GridCover:
    """An upright patch that shows the same picture everywhere: px of the crop.

    ``boxes`` (P, 4) int64 xyxy, none where x0 = x1. ``tile`` (3, h, w) uint8 lies with its first pixel at ``origins`` (P, 2); of a single
    colour it is (3, 1, 1), and lies everywhere.
    """

    boxes: np.ndarray
    origins: np.ndarray
    tile: Tensor

    def paint(self, crop: Tensor, position: int) -> None:
        """Paint one position over a crop (3, S, S) uint8, in place."""
        x0, y0, x1, y1 = self.boxes[position].tolist()
        tile = self.tile.to(crop.device)
        if tile.shape[1:] != (1, 1):
            left, top = self.origins[position].tolist()
            tile = tile[:, y0 - top : y1 - top, x0 - left : x1 - left]
        crop[:, y0:y1, x0:x1] = tile


Cover = PlannedCover | GridCover
# Rows of a batch: whose crop, and the positions that it is shown at, one after the other (CLEAN: as it is).
Shown = Sequence[tuple[Cover | None, Sequence[int]]]


def paint(crops: Tensor, shown: Shown) -> Tensor:
    """Crops (B, 3, S, S) uint8, row by row occluded as ``shown`` says; ``crops`` are overwritten, or not, as it suits the device.

    On a GPU all patches of grids are painted by one operation, where crop by crop the time goes into starting kernels; on a CPU, which
    would then write every pixel anew, crop by crop.
    """
    return paint_at_once(crops, shown) if crops.is_cuda else paint_each(crops, shown)


def paint_each(crops: Tensor, shown: Shown) -> Tensor:
    """``paint`` crop by crop, in place."""
    row = 0
    for cover, positions in shown:
        for position in positions:
            if position != CLEAN:
                cover.paint(crops[row], position)
            row += 1
    return crops


def paint_at_once(crops: Tensor, shown: Shown) -> Tensor:
    """``paint`` with one operation for the patches of all grids: the same bytes."""
    grids = [(cover, positions) for cover, positions in shown if isinstance(cover, GridCover)]
    if not grids:
        return paint_each(crops, shown)
    rest = [(cover, [CLEAN] * len(positions) if isinstance(cover, GridCover) else positions) for cover, positions in shown]
    crops = paint_each(crops, rest)
    boxes, origins, of_tile = (torch.from_numpy(part).to(crops.device, non_blocking=True) for part in _rows_of(shown))
    places = torch.arange(crops.shape[-1], device=crops.device)
    columns = (places >= boxes[:, :1]) & (places < boxes[:, 2:3])  # (B, S)
    rows = (places >= boxes[:, 1:2]) & (places < boxes[:, 3:])
    inside = rows[:, None, :, None] & columns[:, None, None, :]  # (B, 1, S, S)
    tiles = _stacked([cover.tile for cover, _ in grids]).to(crops.device, non_blocking=True)  # (G, 3, h, w)
    if tiles.shape[2:] == (1, 1):
        return torch.where(inside, tiles[of_tile], crops)
    x = (places - origins[:, :1]).clamp(0, tiles.shape[3] - 1)  # (B, S)
    y = (places - origins[:, 1:]).clamp(0, tiles.shape[2] - 1)
    picture = tiles.permute(0, 2, 3, 1)[of_tile[:, None, None], y[:, :, None], x[:, None, :]]  # (B, S, S, 3)
    return torch.where(inside, picture.permute(0, 3, 1, 2), crops)


def _rows_of(shown: Shown) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row of a batch the patch's box (B, 4) and origin (B, 2), and which of the grids' tiles it shows (B,); no box: no patch."""
    boxes, origins, tiles, grid = [], [], [], 0
    for cover, positions in shown:
        places = np.asarray(positions, dtype=np.int64)
        if isinstance(cover, GridCover):
            boxes.append(np.where(places[:, None] == CLEAN, 0, cover.boxes[places]))
            origins.append(cover.origins[places])
        else:
            boxes.append(np.zeros((len(places), 4), dtype=np.int64))
            origins.append(np.zeros((len(places), 2), dtype=np.int64))
        tiles.append(np.full(len(places), grid if isinstance(cover, GridCover) else 0, dtype=np.int64))
        grid += isinstance(cover, GridCover)
    return np.concatenate(boxes), np.concatenate(origins), np.concatenate(tiles)


def _stacked(tiles: Sequence[Tensor]) -> Tensor:
    """Tiles (3, h, w) of different sizes as one tensor; those of one colour are that everywhere, ends that no box reaches are black."""
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (1, 2))
    room = torch.zeros((len(tiles), 3, height, width), dtype=torch.uint8)
    for place, tile in enumerate(tiles):
        flat = tile.shape[1:] == (1, 1)
        room[place, :, : None if flat else tile.shape[1], : None if flat else tile.shape[2]] = tile
    return room


@dataclass(frozen=True)
class Grid:
    """Where a protocol's patch goes, in px of the canvas and so the same for everybody.

    ``whole`` (P, 4) float64 xyxy: the patch; ``seen``: what of it lies on the canvas.
    """

    side: float
    whole: np.ndarray
    seen: np.ndarray
    rows: int
    columns: int

    @classmethod
    def of(cls, plans: Sequence[OcclusionPlan], rows: int) -> "Grid":
        """The grid of anybody's plans, of one occluder each, that lie in ``rows``."""
        side = Canvas.of(plans[0].occlusions[0]).side
        whole = [extent_of(plan.occlusions[0].params) for plan in plans]
        seen = [within(extent, side) for extent in whole]
        return cls(side, np.array(whole, dtype=np.float64), np.array(seen, dtype=np.float64), rows, len(plans) // rows)

    def cover(self, first: Occlusion, square_xyxy: np.ndarray, side: int) -> GridCover | None:
        """What is laid over a crop of ``side`` px that shows a square, by the occlusion of the first position; None: by plans alone."""
        canvas = Canvas.of(first)
        x0, y0, x1, _ = (float(value) for value in square_xyxy)
        raster = canvas.raster(Raster(x0, y0, (x1 - x0) / side, side, side))
        boxes = pixel_boxes(raster, self.seen)
        origins = np.stack(first_pixels(raster, self.whole[:, 0], self.whole[:, 1]), axis=1)
        if first.params["fill"] in _FLAT:
            tile = next(iter(occluder(first.kind).stencils(first, Raster(0, 0, 1, round(canvas.side), round(canvas.side))))).colour()
            return GridCover(boxes, origins, torch.from_numpy(tile.reshape(3, 1, 1).copy()))
        return self._textured(first, raster, boxes, origins) if first.params["fill"] == "texture" else None

    def _textured(self, first: Occlusion, raster: Raster, boxes: np.ndarray, origins: np.ndarray) -> GridCover | None:
        """The cover of a picture, taken off the position that shows the most of it; None where that is not all that any other shows."""
        reach = boxes[:, 2:] - origins
        place = int(reach.sum(1).argmax())
        if (boxes[:, :2] < origins).any() or (reach > reach[place]).any() or (boxes[place, :2] != origins[place]).any():
            return None
        x0, y0, x1, y1 = self.whole[place]
        centre = {"centre": [(x0 + x1) / 2, (y0 + y1) / 2]}
        stencil = occluder(first.kind).stencil(Occlusion(first.kind, first.space, {**first.params, **centre}), raster)
        if stencil is None or tuple(stencil.box) != tuple(boxes[place].tolist()):
            return None
        return GridCover(boxes, origins, torch.from_numpy(stencil.colour().transpose(2, 0, 1).copy()))


def first_pixels(raster: Raster, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``raster.first`` of many points at once, by the same operations: int64."""
    distances = ((x - raster.x0) / raster.step, (y - raster.y0) / raster.step)
    return tuple(np.ceil(np.clip(distance, -_FAR, _FAR) - 0.5).astype(np.int64) for distance in distances)


def pixel_boxes(raster: Raster, extents: np.ndarray) -> np.ndarray:
    """``raster.pixels`` of many extents (P, 4) at once: (P, 4) int64, zeros where there are none."""
    left, top = first_pixels(raster, extents[:, 0], extents[:, 1])
    right, bottom = first_pixels(raster, extents[:, 2], extents[:, 3])
    boxes = np.stack([left.clip(0), top.clip(0), right.clip(max=raster.width), bottom.clip(max=raster.height)], axis=1)
    some = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    return np.where(some[:, None], boxes, 0)
