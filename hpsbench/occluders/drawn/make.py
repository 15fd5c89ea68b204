"""The whole bank and the textures, drawn from a seed: the same pixels from the same versions of numpy and OpenCV."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from hpsbench.occluders.bank import Picture, write_bank
from hpsbench.occluders.drawn.animals import ANIMALS
from hpsbench.occluders.drawn.chance import Chance, Thing
from hpsbench.occluders.drawn.furniture import FURNITURE
from hpsbench.occluders.drawn.household import HOUSEHOLD
from hpsbench.occluders.drawn.outdoors import OUTDOORS
from hpsbench.occluders.drawn.picture import picture_of
from hpsbench.occluders.drawn.textures import TEXTURES

SEED = 0
TEXTURE_SIDE = 256
_SIDES = (110, 230)
_VARIANTS = 2
_OTHER_VARIANTS = {
    "ball": 4,
    "sign": 4,
    "bottle": 3,
    "cat": 3,
    "dog": 3,
    "sofa": 3,
    "clock": 1,
    "cone": 1,
    "giraffe": 1,
    "pan": 1,
    "rock": 1,
    "scooter": 1,
    "teddy": 1,
    "wall": 1,
}
_SOURCE = "drawn by hpsbench.occluders.drawn"
_LICENCE = "CC0-1.0"
THINGS: dict[str, Callable[[Chance], Thing]] = {**ANIMALS, **FURNITURE, **HOUSEHOLD, **OUTDOORS}


def draw_bank(folder: Path | str, seed: int = SEED, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Write ``bank`` (objects), ``textures`` and their catalogue to a new folder; gives the number of images.

    ``progress`` is told of images done, and of all. Raises HpsbenchError where the folder is there and not empty.
    """
    total = len(object_names()) + len(TEXTURES)

    def counted() -> Iterator[Picture]:
        for done, picture in enumerate(chain(_objects(seed), _textures(seed)), start=1):
            yield picture
            progress(done, total)

    return write_bank(folder, counted())


def object_names() -> list[tuple[str, int]]:
    """Every object of the bank as (thing, variant from 1), in the order of their names."""
    return [(thing, variant) for thing in sorted(THINGS) for variant in range(1, _OTHER_VARIANTS.get(thing, _VARIANTS) + 1)]


def _objects(seed: int) -> Iterator[Picture]:
    """The objects, one by one."""
    for thing, variant in object_names():
        yield Picture(f"bank/{thing}-{variant}", thing, draw_object(thing, variant, seed), _SOURCE, _LICENCE)


def draw_object(thing: str, variant: int, seed: int = SEED) -> np.ndarray:
    """One object as RGBA (h, w, 4) uint8, 110 to 230 px along its longer side."""
    chance = Chance(thing, variant, seed)
    side = round(chance.between(*_SIDES))
    drawn = THINGS[thing](chance)
    return picture_of(drawn.solid, side, turn=drawn.turn)


def _textures(seed: int) -> Iterator[Picture]:
    """The textures, one by one."""
    for name in sorted(TEXTURES):
        yield Picture(f"textures/{name}", name, draw_texture(name, seed), _SOURCE, _LICENCE)


def draw_texture(name: str, seed: int = SEED) -> np.ndarray:
    """One texture as RGB (256, 256, 3) uint8."""
    paint = TEXTURES[name](Chance(f"texture {name}", 1, seed))
    u, v = np.meshgrid((np.arange(TEXTURE_SIDE) + 0.5) / TEXTURE_SIDE, 1 - (np.arange(TEXTURE_SIDE) + 0.5) / TEXTURE_SIDE)
    uv = np.column_stack([u.ravel(), v.ravel()])
    colour = paint.colour(uv + 10, np.column_stack([uv, np.full(len(uv), 0.37)]))
    return np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8).reshape(TEXTURE_SIDE, TEXTURE_SIDE, 3)
