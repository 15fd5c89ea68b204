"""Furniture, standing on y = 0."""

import numpy as np

from hpsbench.occluders.drawn.chance import DARK, METAL, PALE, QUIET, VIVID, WHITE, WOODS, Chance, Thing
from hpsbench.occluders.drawn.paints import Paint, checks, cloth, dots, plain, stripes, weave, wood
from hpsbench.occluders.drawn.solids import Solid, Surface, blob, box, lifted, moved, tube, turned


def _timber(chance: Chance, along: int = 1) -> Paint:
    return wood(*chance.pick(WOODS), chance.seed(), along=along)


def _fabric(chance: Chance) -> Paint:
    first, second = chance.two((*VIVID, *QUIET))
    pale = chance.pick(PALE)
    return chance.pick(
        (
            cloth(first, chance.seed()),
            cloth(second, chance.seed(), coarse=1.6),
            stripes(first, pale, 0.06, axis=0),
            checks(pale, second, 0.05),
            dots(first, pale, 0.1),
        )
    )


def _legs(width: float, depth: float, height: float, thick: float, paint: Paint) -> Solid:
    """Four upright legs under a rectangle."""
    places = [(x * (width - thick) / 2, z * (depth - thick) / 2) for x in (-1, 1) for z in (-1, 1)]
    return tuple(surface for x, z in places for surface in box((thick, height, thick), (x, height / 2, z), paint))


def chair(chance: Chance) -> Thing:
    """A wooden chair with a slatted back."""
    paint, seat = _timber(chance), chance.between(0.42, 0.48)
    solid = _legs(0.44, 0.42, seat, 0.05, paint) + box(
        (0.48, 0.05, 0.46), (0, seat, 0), _fabric(chance) if chance.between(0, 1) < 0.5 else paint
    )
    for x in (-0.2, 0.2):
        solid += box((0.05, 0.55, 0.05), (x, seat + 0.27, -0.19), paint)
    if chance.each((True, False)):
        for height in np.linspace(0.2, 0.5, 3):
            solid += box((0.42, 0.08, 0.03), (0, seat + height, -0.19), paint)
    else:
        solid += box((0.42, 0.08, 0.04), (0, seat + 0.5, -0.19), paint)
        for x in np.linspace(-0.12, 0.12, 4):
            solid += tube([(x, seat, -0.19), (x, seat + 0.5, -0.19)], 0.014, paint, steps=8)
    return Thing(solid, chance.view(around=chance.each(((20, 50), (-50, -20), (-30, 30)))))


def stool(chance: Chance) -> Thing:
    """A round stool on three or four splayed legs."""
    paint, count = _timber(chance), chance.pick((3, 4))
    solid = turned(
        [(0, 0.5), (0.2, 0.5), (0.21, 0.52), (0.21, 0.55), (0.2, 0.57), (0, 0.57)],
        (0, 0, 0),
        chance.pick((paint, _fabric(chance))),
        curved=False,
    )
    for angle in np.arange(count) * 2 * np.pi / count + 0.5:
        x, z = np.cos(angle), np.sin(angle)
        solid += tube([(0.13 * x, 0.5, 0.13 * z), (0.22 * x, 0.0, 0.22 * z)], 0.022, paint, steps=10)
    return Thing(solid, chance.view())


def table(chance: Chance) -> Thing:
    """A table: rectangular, or round on one foot."""
    paint = _timber(chance, along=0)
    if chance.each((True, False)):
        width, depth = chance.between(0.9, 1.3), chance.between(0.5, 0.7)
        solid = _legs(width * 0.94, depth * 0.9, 0.66, 0.06, paint) + box((width, 0.05, depth), (0, 0.68, 0), paint)
        solid += box((width * 0.86, 0.09, depth * 0.8), (0, 0.62, 0), paint)
    else:
        solid = turned([(0, 0.66), (0.46, 0.66), (0.48, 0.68), (0.46, 0.70), (0, 0.70)], (0, 0, 0), paint, curved=False)
        solid += turned([(0.06, 0.66), (0.035, 0.5), (0.05, 0.25), (0.04, 0.1), (0.22, 0.03), (0.24, 0.0)], (0, 0, 0), paint)
    return Thing(solid, chance.view(down=(14, 24)))


def sofa(chance: Chance) -> Thing:
    """A sofa or an armchair with cushions."""
    paint, seats = _fabric(chance), chance.each((2, 1, 3))
    width = 0.5 * seats + 0.3
    solid = blob((width / 2, 0.16, 0.34), (0, 0.22, 0), paint, square=7)
    solid += blob((width / 2, 0.36, 0.11), (0, 0.46, -0.28), paint, square=6)
    for side in (-1, 1):
        solid += blob((0.1, 0.22, 0.36), (side * (width / 2 - 0.05), 0.36, 0.0), paint, square=5)
    for x in (np.arange(seats) - (seats - 1) / 2) * (width - 0.28) / seats:
        solid += blob((0.46 * (width - 0.26) / seats, 0.07, 0.27), (x, 0.41, 0.06), paint, square=6)
    solid += blob((0.16, 0.15, 0.06), (-0.3 * width + 0.05, 0.56, -0.08), _fabric(chance), square=3)
    for x in (-1, 1):
        solid += box((0.05, 0.1, 0.05), (x * (width / 2 - 0.1), 0.05, 0.25), plain(chance.pick(DARK)))
    return Thing(solid, chance.view(around=(-35, 35)))


def cushion(chance: Chance) -> Thing:
    """A pillow on one of its corners, or lying."""
    grid = np.linspace(-1, 1, 34)
    x, y = np.meshgrid(grid, grid)
    swell = 0.22 * np.sqrt(np.clip((1 - np.abs(x) ** 3) * (1 - np.abs(y) ** 3), 0, 1))
    pinch = 1 - 0.09 * (1 - x**2 * y**2) * (x**2 + y**2) / 2
    paint = _fabric(chance)
    front, back = (Surface(np.dstack([x * pinch, y * pinch, sign * swell]) * 0.5, paint) for sign in (1, -1))
    return Thing((back, front), (chance.between(-35, 10), chance.between(-30, 30), chance.between(-25, 25)))


def bookshelf(chance: Chance) -> Thing:
    """Shelves with books in them."""
    paint, shelves = _timber(chance), chance.pick((3, 4))
    height, width, depth = 0.32 * shelves + 0.04, chance.between(0.6, 0.8), 0.26
    solid = box((width, height, 0.02), (0, height / 2, -depth / 2), paint)
    for side in (-1, 1):
        solid += box((0.035, height, depth), (side * width / 2, height / 2, 0), paint)
    for level in range(shelves + 1):
        solid += box((width, 0.03, depth), (0, 0.015 + level * 0.32, 0), paint)
    for level in range(shelves):
        x = -width / 2 + 0.03
        while x < width / 2 - 0.1:
            thick, tall = chance.between(0.025, 0.06), chance.between(0.17, 0.26)
            if chance.between(0, 1) < 0.85:
                solid += box(
                    (thick, tall, 0.17), (x + thick / 2, 0.03 + level * 0.32 + tall / 2, 0.02), plain(chance.pick((*VIVID, *QUIET, *PALE)))
                )
            x += thick + 0.003
    return Thing(solid, chance.view(down=(5, 14), around=(-35, 35)))


def drawers(chance: Chance) -> Thing:
    """A chest of drawers with knobs."""
    body, front = _timber(chance, along=0), chance.pick((_timber(chance, along=0), plain(chance.pick((*PALE, *VIVID)))))
    rows, width = chance.pick((2, 3, 4)), chance.between(0.6, 0.85)
    height = 0.24 * rows + 0.06
    solid = box((width, height, 0.42), (0, height / 2 + 0.08, 0), body) + _legs(width, 0.42, 0.08, 0.05, body)
    for row in range(rows):
        y = 0.23 + row * 0.24
        solid += lifted(box((width - 0.07, 0.2, 0.03), (0, y, 0.22), front), 0.06)
        for x in (-0.16, 0.16):
            solid += lifted(blob((0.025, 0.025, 0.025), (x, y, 0.25), plain(chance.pick(METAL), 0.6), steps=10), 0.1)
    return Thing(solid, chance.view(around=(-40, 40)))


def lamp(chance: Chance) -> Thing:
    """A lamp with a shade, for a table or a floor."""
    tall = chance.each((0.35, 1.1, 0.42))
    foot = plain(chance.pick((*VIVID, *METAL, *DARK)), 0.5)
    shade = chance.pick((cloth(chance.pick(PALE), chance.seed()), stripes(chance.pick(PALE), chance.pick(VIVID), 0.05, axis=0)))
    top, bottom = chance.between(0.1, 0.16), chance.between(0.2, 0.26)
    solid = turned([(0, 0), (0.16, 0.0), (0.16, 0.02), (0.03, 0.05), (0.016, 0.08), (0.016, tall)], (0, 0, 0), foot, curved=False)
    if tall < 1:
        solid += turned([(0.03, 0.04), (0.11, 0.12), (0.09, 0.22), (0.02, tall)], (0, 0, 0), foot)
    solid += turned([(bottom, tall - 0.03), (top, tall + 0.27)], (0, 0, 0), shade, curved=False)
    return Thing(solid, chance.view(down=(4, 12)))


def bed(chance: Chance) -> Thing:
    """A bed with a blanket and pillows."""
    frame, width = _timber(chance, along=0), chance.pick((0.9, 1.3))
    solid = box((width, 0.14, 1.7), (0, 0.25, 0), frame) + _legs(width, 1.7, 0.2, 0.07, frame)
    solid += box((width, 0.7, 0.05), (0, 0.4, -0.86), frame)
    solid += blob((width / 2 - 0.02, 0.13, 0.83), (0, 0.38, 0), plain(WHITE, worn=0.03), square=8)
    solid += blob((width / 2 + 0.02, 0.14, 0.58), (0, 0.4, 0.26), _fabric(chance), square=8, across=(0, 2))
    for x in (0,) if width < 1 else (-0.3, 0.3):
        solid += blob((0.26, 0.08, 0.17), (x, 0.56, -0.62), plain(WHITE, worn=0.04), square=3.5)
    return Thing(solid, chance.view(down=(20, 28), around=(25, 50)))


def curtain(chance: Chance) -> Thing:
    """A curtain on a rod."""
    across, down = np.linspace(-0.45, 0.45, 120), np.linspace(0, 1.5, 20)
    folds = chance.between(5, 8)
    x, y = np.meshgrid(across, down)
    spread = 0.82 + 0.18 * (y / 1.5 - 0.2) ** 2
    z = (0.035 + 0.02 * (1 - y / 1.5)) * np.sin(2 * np.pi * folds * across / 0.9 + 0.7 * np.sin(3 * across))
    sheet = (Surface(np.dstack([x * spread, y, z]), _fabric(chance)),)
    rod = tube([(-0.55, 1.53, 0), (0.55, 1.53, 0)], 0.018, plain(chance.pick(METAL), 0.6))
    for x in (-0.56, 0.56):
        rod += blob((0.04, 0.04, 0.04), (x, 1.53, 0), plain(chance.pick(METAL), 0.6), steps=12)
    return Thing(sheet + rod, (chance.between(0, 5), chance.between(-25, 25), 0))


def ladder(chance: Chance) -> Thing:
    """A ladder, or a step ladder that stands open."""
    paint = chance.pick((_timber(chance), plain(chance.pick(METAL), 0.4)))
    side: Solid = ()
    for x in (-1, 1):
        side += tube([(x * 0.22, 0, 0), (x * 0.17, 1.3, 0)], 0.025, paint, steps=8)
    for height in np.linspace(0.15, 1.2, 6):
        side += box((0.43 - 0.04 * height, 0.03, 0.07), (0, height, 0), paint)
    if chance.each((True, False)):
        return Thing(side, (5, chance.between(-25, 25), chance.between(-14, 14)))
    back = moved(side[:2], (0, 0, -0.5), turn=(14, 0, 0))
    return Thing(back + moved(side, turn=(-10, 0, 0)), chance.view(around=(25, 45)))


def basket(chance: Chance) -> Thing:
    """A wicker basket with a handle."""
    light, dark = chance.pick(WOODS)
    height, wide = chance.between(0.3, 0.42), chance.between(0.26, 0.34)
    paint = weave(light, dark, 0.045)
    solid = turned(
        [(0, 0.02), (wide * 0.75, 0.0), (wide, height), (wide * 0.94, height), (wide * 0.72, 0.04)], (0, 0, 0), paint, curved=False
    )
    around = np.linspace(0, 2 * np.pi, 26)
    solid += tube(
        np.column_stack([wide * np.cos(around), np.full(26, height), wide * np.sin(around)]), 0.02, paint, rows=60, round_ends=False
    )
    arch = np.linspace(0, np.pi, 11)
    solid += tube(np.column_stack([wide * np.cos(arch), height + 0.34 * np.sin(arch), np.zeros(11)]), 0.018, paint, rows=40)
    return Thing(solid, chance.view(down=(14, 26)))


FURNITURE = {
    "chair": chair,
    "stool": stool,
    "table": table,
    "sofa": sofa,
    "cushion": cushion,
    "bookshelf": bookshelf,
    "drawers": drawers,
    "lamp": lamp,
    "bed": bed,
    "curtain": curtain,
    "ladder": ladder,
    "basket": basket,
}
