"""Weights for tests: the golden files' recipe, and small random checkpoints of ours."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hpsbench.models.ik.niki import NikiConfig, build_niki
from hpsbench.models.nets.checkpoint import write_weights
from hpsbench.models.nets.hybrik_net import HybrikConfig, HybrikNet
from hpsbench.types import Card

SMALL_HYBRIK = HybrikConfig(layers=(1, 1, 1, 1), width=8, deconv=(8, 8, 8), features=16, input_side=64, depth_bins=8)
SMALL_NIKI = NikiConfig(hidden=16, couplings=4)
CARD = Card("small", "a random small network", "tests", "Apache-2.0", trained_on=("nothing",))


def fill_by_recipe(module: torch.nn.Module, seed: int, prefix: str, only: Callable[[str], bool] = lambda key: True) -> int:
    """Fill weights and biases with the golden files' integers q / 2^10 or 2^11, and give the sum of q."""
    total = 0
    for key, value in module.state_dict().items():
        if not key.endswith((".weight", ".bias")) or not only(key):
            continue
        rng = np.random.RandomState((zlib.crc32((prefix + key).encode()) + seed) % 2**32)
        q = np.floor(255 * rng.random_sample(tuple(value.shape))).astype(np.int64) - 127
        total += int(q.sum())
        power = 10 if key.endswith(".bias") or key.split(".")[-2] == "0" else 11
        value.copy_(torch.from_numpy(q * 2.0**-power))
    return total


def small_hybrik(path: Path, config: HybrikConfig = SMALL_HYBRIK, seed: int = 0) -> Path:
    """A random HybrIK network in a weights file of ours."""
    torch.manual_seed(seed)
    write_weights(path, HybrikNet(config), family="hybrik", config=config.to_record(), card=CARD)
    return path


def small_niki(path: Path, config: NikiConfig = SMALL_NIKI, seed: int = 1) -> Path:
    """A random NIKI network in a weights file of ours."""
    torch.manual_seed(seed)
    write_weights(path, build_niki(config), family="niki", config=config.to_record(), card=CARD)
    return path
