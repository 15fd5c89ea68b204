"""Batches of made-up crops."""

from dataclasses import replace

import numpy as np
import torch

from hpsbench.types import ViewBatch


def batch_of(count: int, side: int | None = 64) -> ViewBatch:
    """Different people, each with a crop of noise; None: without pixels."""
    rng = np.random.default_rng(5)
    crops = None if side is None else torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8))
    corner = torch.from_numpy(rng.uniform(0, 300, (count, 2)).astype(np.float32))
    intrinsics = torch.tensor([[1000.0, 0, 480], [0, 1000.0, 270], [0, 0, 1]]).expand(count, 3, 3)
    return ViewBatch(tuple(f"set/test/walk/{k:05d}/0" for k in range(count)), crops, torch.cat([corner, corner + 250], dim=1), intrinsics)


def patched(batch: ViewBatch) -> ViewBatch:
    """The batch with a white patch of a sixth of the crop, at another place in each row; the last row stays as it is."""
    crops, side = batch.crops.clone(), batch.crops.shape[-1]
    for row in range(len(crops) - 1):
        top, left = (11 * row) % (side - 2), (side - 9 + 23 * row) % (side - 2)
        crops[row, :, top : top + side // 6, left : left + side // 6] = 255
    return replace(batch, crops=crops)
