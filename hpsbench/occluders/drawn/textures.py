"""Patterns that fill a square, for patches of texture."""

from collections.abc import Callable

import numpy as np

from hpsbench.occluders.drawn.chance import METAL, PALE, QUIET, VIVID, WHITE, WOODS, Chance
from hpsbench.occluders.drawn.paints import (
    Paint,
    blend,
    bricks,
    checks,
    clouds,
    coat,
    dots,
    marble,
    noise,
    rgb,
    speckle,
    stripes,
    weave,
    wood,
)


def _sky(chance: Chance) -> Paint:
    """Clouds in a blue sky."""
    seed = chance.seed()

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        thick = np.clip(2.6 * clouds(xyz * [3, 5, 1], seed) - 0.9, 0, 1)[:, None]
        return np.array(rgb("4f93d6")) * (1 - thick) + np.array(WHITE) * thick

    return Paint(of)


def _grass(chance: Chance) -> Paint:
    """Blades of grass, two layers."""
    seed, dark, light = chance.seed(), np.array(rgb("23481f")), np.array(rgb("8fbf4a"))

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        lean = 0.06 * noise(xyz * 7, seed)
        blades = [noise(np.column_stack([(xyz[:, 0] + way * lean) * 60, xyz[:, 1] * 9, xyz[:, 2]]), seed + way) for way in (1, -1)]
        return blend(dark, light, np.maximum(*blades) ** 2 * 1.1)

    return Paint(of)


def _knit(chance: Chance) -> Paint:
    """Rows of knitted stitches."""
    yarn, width = np.array(chance.pick(VIVID)), 0.06

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        across = uv[:, 0] / width % 1 - 0.5
        stitch = (uv[:, 1] / (0.8 * width) - 1.2 * np.abs(across)) % 1
        round_ = np.sin(np.pi * stitch) ** 0.5 * np.sin(2 * np.pi * np.abs(across)) ** 0.3
        return yarn * (0.25 + 0.8 * round_ + 0.1 * noise(xyz * 60, 1))[:, None]

    return Paint(of)


def _planks(chance: Chance) -> Paint:
    """Boards of different woods."""
    boards, seam = [wood(*pair, chance.seed(), along=0) for pair in WOODS], np.array(rgb("2b1c12"))

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        row = np.floor(xyz[:, 1] * 6).astype(int)
        colour = np.empty((len(xyz), 3))
        for number in np.unique(row):
            mine = row == number
            colour[mine] = boards[number % len(boards)].colour(uv[mine], xyz[mine] + number)
        colour[xyz[:, 1] * 6 % 1 < 0.05] = seam
        return colour

    return Paint(of)


TEXTURES: dict[str, Callable[[Chance], Paint]] = {
    "bricks": lambda chance: bricks(rgb("a5482f"), rgb("c9c2b5"), chance.seed()),
    "checks": lambda chance: checks(WHITE, chance.pick(VIVID), 0.06),
    "dots": lambda chance: dots(chance.pick(VIVID), WHITE, 0.11),
    "fur": lambda chance: coat(rgb("d9b884"), rgb("7a4a28"), chance.seed(), scale=5),
    "grass": _grass,
    "knit": _knit,
    "marble": lambda chance: marble(chance.pick(PALE), chance.pick(QUIET), chance.seed()),
    "planks": _planks,
    "rust": lambda chance: speckle(METAL[3], rgb("a5562a"), chance.seed(), scale=12, share=0.5),
    "sky": _sky,
    "stripes": lambda chance: stripes(*chance.two(VIVID), 0.08, slant=0.7),
    "terrazzo": lambda chance: speckle(PALE[0], chance.pick(QUIET), chance.seed(), scale=34, share=0.35),
    "wicker": lambda chance: weave(*WOODS[2], 0.06),
}
