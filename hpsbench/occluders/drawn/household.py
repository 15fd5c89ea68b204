"""Things of a household: what stands on tables, is carried, worn or played with."""

import numpy as np

from hpsbench.occluders.drawn.chance import BLACK, DARK, GREEN, METAL, PALE, QUIET, VIVID, WHITE, WOODS, Chance, Thing
from hpsbench.occluders.drawn.paints import (
    Paint,
    banded,
    blend,
    cloth,
    clouds,
    coat,
    dots,
    marble,
    noise,
    plain,
    rgb,
    speckle,
    stripes,
    wood,
)
from hpsbench.occluders.drawn.solids import Solid, Surface, blob, box, leaf, lifted, moved, plate, tube, turned


def bottle(chance: Chance) -> Thing:
    """A bottle with a label and a cap, upright or tilted."""
    body, label = (
        plain(chance.each((GREEN[2], chance.pick(VIVID), rgb("5a3216"), chance.pick(DARK))), 0.9, worn=0.02),
        chance.pick((plain(chance.pick(PALE)), stripes(WHITE, chance.pick(VIVID), 0.05))),
    )
    wide, neck = chance.between(0.15, 0.2), chance.between(0.045, 0.065)
    low, high = chance.between(0.15, 0.22), chance.between(0.46, 0.54)
    paint = banded([(low, body), (high, label), (0.93, body), (2, plain(chance.pick(VIVID), 0.4))], gloss=0.7)
    profile = [
        (0, 0.01),
        (wide * 0.9, 0),
        (wide, 0.03),
        (wide, 0.55),
        (wide * 0.8, 0.66),
        (neck, 0.8),
        (neck, 0.93),
        (neck * 1.2, 0.94),
        (neck * 1.2, 1.0),
        (0, 1.0),
    ]
    return Thing(turned(profile, (0, 0, 0), paint, rows=70), (chance.between(4, 14), 0, chance.pick((0, 0, chance.between(-40, 40)))))


def cup(chance: Chance) -> Thing:
    """A mug with a handle."""
    first, second = chance.two(VIVID)
    paint = chance.each(
        (
            plain(first, 0.6),
            stripes(WHITE, first, 0.08, gloss=0.5),
            dots(second, WHITE, 0.13, gloss=0.5),
            dots(WHITE, first, 0.15, gloss=0.5),
        )
    )
    wide, tall = chance.between(0.28, 0.34), chance.between(0.58, 0.75)
    solid = turned(
        [(0, 0.02), (wide * 0.9, 0), (wide, 0.06), (wide, tall), (wide * 0.93, tall), (wide * 0.9, 0.1), (0, 0.1)],
        (0, 0, 0),
        paint,
        curved=False,
    )
    solid += turned([(0, tall * 0.86), (wide * 0.92, tall * 0.86)], (0, 0, 0), plain(rgb("4a2c1a"), 0.5), curved=False)
    handle = [(wide * 0.96, tall * 0.84, 0), (wide * 1.6, tall * 0.76, 0), (wide * 1.6, tall * 0.35, 0), (wide * 0.94, tall * 0.2, 0)]
    solid += tube(handle, 0.05, plain(first, 0.6), rows=30)
    return Thing(solid, (chance.between(16, 30), chance.pick((1, -1)) * chance.between(-35, 35) + chance.pick((0, 180)), 0))


def bowl(chance: Chance) -> Thing:
    """A bowl of fruit."""
    paint = chance.each(
        (
            plain(chance.pick(VIVID), 0.6),
            stripes(WHITE, chance.pick(VIVID), 0.09, gloss=0.5),
            speckle(chance.pick(PALE), chance.pick(QUIET), chance.seed(), gloss=0.4),
        )
    )
    solid = turned([(0.16, 0), (0.18, 0.03), (0.4, 0.14), (0.5, 0.32), (0.47, 0.32), (0.37, 0.17), (0, 0.08)], (0, 0, 0), paint)
    fruit = (rgb("d8322a"), rgb("f09a22"), rgb("a9c23a"), rgb("f3cf3b"), rgb("8c3f6d"))
    for step in range(7):
        angle, reach = 2 * np.pi * step / 6, 0.26 if step < 6 else 0
        size = chance.between(0.13, 0.16)
        skin = speckle(chance.pick(fruit), rgb("7a4a22"), chance.seed(), scale=44, share=0.16, gloss=0.4)
        solid += blob((size, size * 0.95, size), (reach * np.cos(angle), 0.33 if step < 6 else 0.45, reach * np.sin(angle)), skin, steps=18)
    return Thing(solid, (chance.between(14, 24), chance.between(0, 60), 0))


def vase(chance: Chance) -> Thing:
    """A vase with flowers."""
    paint = chance.each(
        (
            marble(chance.pick(PALE), chance.pick(QUIET), chance.seed()),
            stripes(chance.pick(VIVID), chance.pick(PALE), 0.07, gloss=0.5),
            plain(chance.pick(VIVID), 0.7),
        )
    )
    belly = chance.between(0.16, 0.24)
    solid: Solid = ()
    for _ in range(chance.pick((5, 6, 7))):
        lean, angle, tall = chance.between(0.05, 0.3), chance.between(0, 2 * np.pi), chance.between(0.85, 1.15)
        x, z = lean * np.cos(angle), lean * np.sin(angle)
        solid += tube([(0, 0.45, 0), (0.4 * x, 0.7, 0.4 * z), (x, tall, z)], 0.012, plain(chance.pick(GREEN)), steps=6)
        solid += leaf_pair((0.5 * x, 0.72, 0.5 * z), chance)
        solid += moved(_blossom(chance), (x, tall, z), turn=(chance.between(-30, 10), 0, -60 * x), size=0.13)
    solid += turned(
        [(0, 0), (belly * 0.7, 0), (belly, 0.2), (belly * 0.8, 0.4), (0.09, 0.53), (0.12, 0.6), (0.1, 0.6), (0.07, 0.53)], (0, 0, 0), paint
    )
    return Thing(solid, (chance.between(4, 12), 0, 0))


def leaf_pair(at: tuple[float, float, float], chance: Chance) -> Solid:
    """Two small leaves of a stem."""
    green, solid = plain(chance.pick(GREEN), worn=0.15), ()
    for side in (-1, 1):
        tip = (at[0] + side * 0.13, at[1] + 0.09, at[2] + 0.06)
        solid += leaf(at, tip, 0.06, 0.03, green)
    return solid


def _blossom(chance: Chance) -> Solid:
    """A flower of radius 1 that looks towards the viewer."""
    petal = plain(chance.pick((*VIVID, *PALE)), 0.1, worn=0.12)
    solid: Solid = ()
    for angle in range(0, 360, 45):
        solid += moved(blob((0.52, 0.26, 0.12), (0.55, 0, 0), petal, steps=10), turn=(0, 0, angle))
    return solid + lifted(blob((0.34, 0.34, 0.24), (0, 0, 0.1), speckle(rgb("f0b429"), rgb("8a5a1c"), 3), steps=12), 0.02)


def book(chance: Chance) -> Thing:
    """A pile of books."""
    solid, top = (), 0.0
    for _ in range(chance.pick((3, 4, 5))):
        thick, width, depth = chance.between(0.06, 0.13), chance.between(0.5, 0.66), chance.between(0.4, 0.48)
        cover = chance.pick((cloth(chance.pick((*VIVID, *QUIET)), chance.seed()), plain(chance.pick(VIVID), 0.3)))
        pages = stripes(rgb("f3ecd9"), rgb("d8ceb6"), 0.012, axis=1)
        one = box((width * 0.97, thick * 0.74, depth * 0.96), (0, thick / 2, 0), pages)
        one += box((width, thick * 0.14, depth), (0, thick * 0.07, 0), cover) + box(
            (width, thick * 0.14, depth), (0, thick * 0.93, 0), cover
        )
        one += box((0.02, thick, depth), (-width / 2, thick / 2, 0), cover)
        solid += moved(one, (0, top, 0), turn=(0, chance.between(-25, 25), 0))
        top += thick
    return Thing(solid, chance.view(down=(14, 26), around=(15, 40)))


def laptop(chance: Chance) -> Thing:
    """An open laptop with something on its screen."""
    metal = plain(chance.pick((*METAL, *DARK)), 0.4)
    open_by = chance.between(8, 25)
    keys = box((1.0, 0.035, 0.68), (0, 0, 0), metal)
    for row in range(5):
        for column in range(12):
            keys += lifted(box((0.062, 0.012, 0.062), (-0.418 + 0.076 * column, 0.022, -0.22 + 0.076 * row), plain(BLACK)), 0.02)
    keys += lifted(box((0.26, 0.004, 0.16), (0, 0.02, 0.24), plain(chance.pick(METAL), 0.3)), 0.02)
    lid = box((1.0, 0.66, 0.025), (0, 0.33, 0), metal) + lifted(
        plate(_rectangle(0.94, 0.58), 0.004, (0, 0.34, 0.016), _screen(chance)), 0.03
    )
    return Thing(keys + moved(lid, (0, 0.01, -0.34), turn=(-open_by, 0, 0)), chance.view(down=(14, 24), around=(-35, 35)))


def _rectangle(width: float, height: float) -> np.ndarray:
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * [width / 2, height / 2]


def _screen(chance: Chance) -> Paint:
    """What a screen shows: hills under a sky, lines of a text, or bars of a chart."""
    first, second = chance.two(VIVID)
    seed, kind = chance.seed(), chance.each(("hills", "bars", "text"))

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        x, y = uv[:, 0] - 10, uv[:, 1] - 10
        line = np.column_stack([x * 3, np.zeros_like(x), np.zeros_like(x)])
        if kind == "hills":
            colour = blend(rgb("bfe0f2"), rgb("4f9fd6"), np.clip(y * 2.5 + 0.4, 0, 1))
            colour[np.hypot(x - 0.14, y - 0.12) < 0.06] = rgb("fbe07a")
            for height, tint in ((0.16, "6f9a6a"), (0.02, "3f7f45")):
                colour[y < height - 0.28 + 0.3 * clouds(line + height * 50, seed)] = rgb(tint)
            return colour
        place = np.floor(x / 0.09) if kind == "bars" else np.floor(y / 0.05)
        long = noise(np.column_stack([place * 0.7 + 0.3, np.full_like(x, 0.5), np.full_like(x, 0.5)]), seed)
        mark = (
            (y < 0.5 * long - 0.3) & (x / 0.09 % 1 < 0.7)
            if kind == "bars"
            else (x < 0.5 * long - 0.05) & (x > -0.4) & (y / 0.05 % 1 < 0.55)
        )
        return np.where(mark[:, None], np.where((place % 3 == 0)[:, None], first, second) if kind == "bars" else rgb("5a6472"), WHITE)

    return Paint(of, 0.25)


def phone(chance: Chance) -> Thing:
    """A phone, seen from the front."""
    solid = blob((0.27, 0.52, 0.035), (0, 0, 0), plain(chance.pick((*DARK, *METAL)), 0.5), square=7)
    solid += lifted(plate(_rectangle(0.47, 0.86), 0.004, (0, 0, 0.036), _screen(chance)), 0.15)
    icons = [(x, y) for x in (-0.15, 0, 0.15) for y in (-0.3, -0.14, 0.02)]
    for x, y in icons:
        solid += lifted(plate(_rectangle(0.09, 0.09), 0.004, (x, y, 0.042), plain(chance.pick((*VIVID, WHITE)), 0.2)), 0.25)
    return Thing(solid, (chance.between(-25, 10), chance.between(-35, 35), chance.between(-25, 25)))


def television(chance: Chance) -> Thing:
    """A screen on a foot."""
    frame = plain(chance.pick(DARK), 0.4)
    solid = turned([(0, 0), (0.28, 0), (0.26, 0.03), (0.05, 0.04), (0.05, 0.2)], (0, 0, 0), frame, curved=False)
    solid += box((1.2, 0.72, 0.05), (0, 0.5, 0), frame) + lifted(
        plate(_rectangle(1.12, 0.64), 0.004, (0, 0.5, 0.03), _screen(chance)), 0.05
    )
    return Thing(solid, chance.view(down=(2, 10), around=(-35, 35)))


def umbrella(chance: Chance) -> Thing:
    """An open umbrella of eight panels."""
    first, second = chance.two((*VIVID, *VIVID, WHITE))
    panels = chance.each((1, 2, 2))
    around, down = np.linspace(np.pi / 2, 2.5 * np.pi, 97), np.linspace(0.02, 1, 16)[:, None]
    scallop = 1 - 0.05 * np.abs(np.sin(4 * around))
    points = np.stack(
        np.broadcast_arrays(
            down * np.cos(around) * scallop, 0.55 * (1 - down**2) + 0.03 * (scallop - 1) * down, down * np.sin(around) * scallop
        ),
        axis=-1,
    )
    solid: Solid = ()
    for panel in range(8):
        paint = cloth(first if panel % 2 == 0 or panels == 1 else second, chance.seed(), gloss=0.15)
        solid += (Surface(points[:, 12 * panel : 12 * panel + 13], paint),)
    solid += tube([(0, 0.5, 0), (0, -0.55, 0)], 0.02, plain(chance.pick(METAL), 0.5), steps=8, rows=40)
    solid += tube(
        [(0, -0.5, 0), (0, -0.75, 0), (0.09, -0.86, 0), (0.18, -0.76, 0)], 0.04, wood(*chance.pick(WOODS), chance.seed()), rows=20
    )
    solid += tube([(0, 0.54, 0), (0, 0.66, 0)], 0.02, plain(BLACK), steps=8, rows=6)
    return Thing(solid, (chance.between(-4, 24), chance.between(0, 40), chance.between(-40, 40)))


def ball(chance: Chance) -> Thing:
    """A beach ball, a basketball, a football or a tennis ball."""
    kind = chance.each(("beach", "basket", "foot", "tennis"))
    return Thing(
        blob((0.5, 0.5, 0.5), (0, 0, 0), Paint(_ball_colour(kind, chance), 0.5 if kind == "beach" else 0.15), steps=40),
        (chance.between(-40, 40), chance.between(0, 360), chance.between(-40, 40)),
    )


def _ball_colour(kind: str, chance: Chance):
    first, second = chance.two(VIVID)
    base = {"basket": rgb("d9752b"), "foot": WHITE, "tennis": rgb("cfe04a")}.get(kind, WHITE)
    skin = speckle(base, tuple(0.85 * value for value in base), chance.seed(), scale=60)
    angle = np.arange(12) * (1 + 5**0.5) * np.pi
    height = 1 - 2 * (np.arange(12) + 0.5) / 12
    spots = np.column_stack([np.sqrt(1 - height**2) * np.cos(angle), height, np.sqrt(1 - height**2) * np.sin(angle)])

    def of(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        place, colour = xyz / 0.5, skin.colour(uv, xyz)
        if kind == "beach":
            around = np.floor((np.arctan2(place[:, 2], place[:, 0]) / (2 * np.pi) % 1) * 6).astype(int)
            colour = np.array([WHITE, first, WHITE, second, WHITE, first])[around]
            colour[np.abs(place[:, 1]) > 0.95] = WHITE
        elif kind == "foot":
            colour[(place @ spots.T).max(axis=1) > 0.93] = BLACK
        elif kind == "basket":
            seams = np.stack([np.abs(place[:, 0]), np.abs(place[:, 1]), np.abs(np.hypot(np.abs(place[:, 0]) - 1.05, place[:, 2]) - 0.62)])
            colour[seams.min(axis=0) < 0.025] = BLACK
        else:
            colour[np.abs(place[:, 1] - 0.55 * np.sin(2 * np.arctan2(place[:, 2], place[:, 0]))) < 0.05] = WHITE
        return colour

    return of


def balloon(chance: Chance) -> Thing:
    """A balloon on a string, or a bunch of three."""
    solid: Solid = ()
    places = chance.each((((-0.3, 0), (0.3, 0.06), (0.0, 0.34)), ((0, 0.0),)))
    for (x, y), colour in zip(places, (*chance.two(VIVID), chance.pick(VIVID)), strict=False):
        one = turned(
            [(0, 0.5), (0.2, 0.47), (0.36, 0.3), (0.39, 0.1), (0.3, -0.2), (0.1, -0.45), (0.03, -0.5), (0.06, -0.56), (0, -0.54)],
            (x, y, y / 2),
            plain(colour, 0.9, worn=0.02),
            rows=40,
        )
        solid += one + tube(
            [(x, y - 0.52, y / 2), (0.6 * x + 0.03, -0.9, 0), (0.3 * x - 0.02, -1.15, 0), (0, -1.4, 0)],
            0.009,
            plain(chance.pick(PALE)),
            steps=6,
        )
    return Thing(solid, (chance.between(-6, 6), chance.between(-20, 20), chance.between(-8, 8)))


def bag(chance: Chance) -> Thing:
    """A shopping bag, full, with two handles."""
    first, second = chance.two((*VIVID, *QUIET))
    paint = chance.each(
        (cloth(first, chance.seed(), coarse=1.5), stripes(first, chance.pick(PALE), 0.07, axis=0), dots(chance.pick(PALE), second, 0.12))
    )
    solid = blob((0.36, 0.4, 0.17), (0, 0.4, 0), paint, square=5, across=(0, 1))
    for z in (-0.09, 0.09):
        solid += tube([(-0.17, 0.76, z), (-0.15, 0.98, z), (0, 1.1, z), (0.15, 0.98, z), (0.17, 0.76, z)], 0.02, plain(second), steps=8)
    return Thing(solid, chance.view(around=(-35, 35)))


def backpack(chance: Chance) -> Thing:
    """A backpack with pockets."""
    first, second = chance.two((*VIVID, *QUIET))
    body, trim = cloth(first, chance.seed()), cloth(second, chance.seed())
    solid = blob((0.34, 0.46, 0.18), (0, 0.46, 0), body, square=4)
    solid += lifted(blob((0.25, 0.17, 0.09), (0, 0.28, 0.19), trim, square=4), 0.04)
    solid += lifted(tube([(-0.24, 0.6, 0.17), (0, 0.68, 0.19), (0.24, 0.6, 0.17)], 0.012, plain(chance.pick(METAL), 0.6), steps=6), 0.06)
    for side in (-1, 1):
        solid += blob((0.09, 0.15, 0.1), (side * 0.35, 0.26, 0), trim, square=4, steps=16)
        solid += tube(
            [(side * 0.17, 0.86, -0.14), (side * 0.22, 0.72, -0.3), (side * 0.22, 0.4, -0.32), (side * 0.17, 0.1, -0.14)],
            0.035,
            trim,
            steps=8,
        )
    solid += tube([(-0.08, 0.9, -0.05), (0, 1.0, -0.05), (0.08, 0.9, -0.05)], 0.022, trim, steps=8)
    return Thing(solid, chance.view(around=(-50, 50)))


def suitcase(chance: Chance) -> Thing:
    """A suitcase on wheels."""
    colour = chance.pick((*VIVID, *QUIET, *DARK))
    shell = Paint(stripes(colour, tuple(0.82 * value for value in colour), 0.045, axis=0).colour, 0.4)
    solid = blob((0.34, 0.46, 0.16), (0, 0.54, 0), shell, square=7, across=(0, 1))
    for x in (-0.12, 0.12):
        solid += tube([(x, 0.95, -0.06), (x, 1.25, -0.06)], 0.017, plain(chance.pick(METAL), 0.6), steps=8, rows=14)
    solid += tube([(-0.13, 1.26, -0.06), (0.13, 1.26, -0.06)], 0.03, plain(BLACK), steps=10, rows=10)
    solid += lifted(tube([(-0.1, 0.99, 0.04), (0, 1.04, 0.04), (0.1, 0.99, 0.04)], 0.02, plain(BLACK), steps=8, rows=12), 0.02)
    for x in (-0.24, 0.24):
        for z in (-0.1, 0.1):
            solid += blob((0.04, 0.06, 0.06), (x, 0.05, z), plain(BLACK), steps=12)
    return Thing(solid, chance.view(around=(-45, 45)))


def hat(chance: Chance) -> Thing:
    """A hat with a brim and a ribbon."""
    straw, ribbon = chance.each((rgb("e0c483"), *QUIET, *DARK)), plain(chance.pick(VIVID), 0.2)
    paint = banded([(0.06, cloth(straw, chance.seed(), coarse=2)), (0.15, ribbon), (9, cloth(straw, chance.seed(), coarse=2))])
    solid = turned([(0.72, 0.02), (0.55, 0.0), (0.36, 0.04), (0.34, 0.2), (0.3, 0.34), (0.16, 0.4), (0, 0.38)], (0, 0, 0), paint, rows=60)
    return Thing(solid, (chance.between(14, 30), chance.between(0, 90), chance.between(-18, 18)))


def guitar(chance: Chance) -> Thing:
    """A guitar, leaning."""
    top, side = wood(*chance.pick(WOODS), chance.seed(), gloss=0.4), plain(rgb("4a2a1a"), 0.3)
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    waist = 0.29 + 0.05 * np.cos(2 * angle) - 0.055 * np.sin(angle) - 0.05 * np.cos(4 * angle)
    outline = np.column_stack([waist * np.cos(angle) * 1.25, 0.43 * np.sin(angle)])
    solid = plate(outline, 0.12, (0, 0, 0), top, edge=side)
    hole = np.column_stack([np.cos(angle), np.sin(angle)]) * 0.105
    solid += lifted(plate(hole * 1.2, 0.002, (0, 0.1, 0.065), side), 0.02) + lifted(plate(hole, 0.002, (0, 0.1, 0.067), plain(BLACK)), 0.04)
    solid += lifted(box((0.075, 0.85, 0.04), (0, 0.64, 0.06), side), 0.05) + lifted(box((0.12, 0.2, 0.03), (0, 1.14, 0.05), top), 0.05)
    solid += lifted(box((0.22, 0.045, 0.03), (0, -0.2, 0.08), side), 0.05)
    for x in np.linspace(-0.025, 0.025, 4):
        solid += lifted(tube([(x, -0.2, 0.1), (x, 1.05, 0.09)], 0.0035, plain(rgb("e8e4da"), 0.5), steps=4, rows=30, round_ends=False), 0.1)
    for x in (-0.08, 0.08):
        for y in (1.08, 1.14, 1.2):
            solid += blob((0.025, 0.015, 0.015), (x, y, 0.05), plain(chance.pick(METAL), 0.6), steps=8)
    return Thing(solid, (chance.between(-8, 8), chance.between(-35, 35), chance.between(-40, 40)))


def clock(chance: Chance) -> Thing:
    """A wall clock."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    disc = np.column_stack([np.cos(angle), np.sin(angle)]) * 0.5
    solid = moved(
        turned(
            [(0.47, -0.04), (0.54, -0.04), (0.55, 0.03), (0.5, 0.05), (0.47, 0.0)],
            (0, 0, 0),
            plain(chance.pick((*VIVID, *DARK, *METAL)), 0.5),
            steps=72,
        ),
        turn=(90, 0, 0),
    )
    solid += plate(disc, 0.02, (0, 0, 0), plain(chance.pick(PALE), 0.1, worn=0.02))
    for hour in range(12):
        size = (0.025, 0.09, 0.01) if hour % 3 == 0 else (0.014, 0.05, 0.01)
        solid += lifted(moved(box(size, (0, 0.4, 0.02), plain(BLACK)), turn=(0, 0, 30 * hour)), 0.04)
    for length, width, turn in ((0.24, 0.03, chance.between(0, 360)), (0.34, 0.02, chance.between(0, 360))):
        solid += lifted(moved(box((width, length, 0.01), (0, length / 2 - 0.04, 0.03), plain(BLACK)), turn=(0, 0, turn)), 0.06)
    solid += lifted(blob((0.035, 0.035, 0.02), (0, 0, 0.04), plain(chance.pick(VIVID), 0.4), steps=10), 0.1)
    return Thing(solid, (chance.between(-12, 12), chance.between(-30, 30), 0))


def teddy(chance: Chance) -> Thing:
    """A teddy bear that sits."""
    brown = chance.pick((rgb("b98148"), rgb("8a5a34"), rgb("d9b884"), rgb("c9a3a0")))
    fur, pale = coat(brown, tuple(0.9 * v for v in brown), chance.seed()), coat(rgb("ead6b2"), rgb("e2c99e"), chance.seed())
    solid = (
        blob((0.27, 0.32, 0.23), (0, 0.32, 0), fur)
        + blob((0.17, 0.2, 0.06), (0, 0.32, 0.19), pale)
        + blob((0.25, 0.23, 0.22), (0, 0.76, 0.02), fur)
    )
    solid += lifted(blob((0.11, 0.085, 0.09), (0, 0.7, 0.2), pale, steps=18), 0.03) + lifted(
        blob((0.035, 0.025, 0.02), (0, 0.73, 0.29), plain(BLACK, 0.6), steps=10), 0.08
    )
    for side in (-1, 1):
        solid += blob((0.09, 0.09, 0.05), (side * 0.19, 0.95, 0), fur, steps=18) + lifted(
            blob((0.055, 0.055, 0.02), (side * 0.19, 0.95, 0.05), pale, steps=12), 0.02
        )
        solid += lifted(blob((0.026, 0.03, 0.02), (side * 0.1, 0.8, 0.21), plain(BLACK, 0.9), steps=10), 0.06)
        solid += tube([(side * 0.2, 0.5, 0.02), (side * 0.33, 0.36, 0.1), (side * 0.34, 0.26, 0.2)], [0.08, 0.09, 0.09], fur)
        solid += tube([(side * 0.14, 0.12, 0.05), (side * 0.24, 0.1, 0.25), (side * 0.27, 0.1, 0.36)], [0.11, 0.11, 0.11], fur)
        solid += lifted(blob((0.075, 0.085, 0.02), (side * 0.28, 0.1, 0.48), pale, steps=14), 0.03)
    return Thing(solid, chance.view(around=(-30, 30)))


def pan(chance: Chance) -> Thing:
    """A pan with a long handle."""
    metal = plain(chance.pick((*METAL, *DARK, *VIVID)), 0.6)
    solid = turned([(0, 0.02), (0.38, 0.0), (0.45, 0.17), (0.43, 0.17), (0.36, 0.03), (0, 0.03)], (0, 0, 0), metal, curved=False)
    solid += tube(
        [(0.43, 0.14, 0), (0.7, 0.2, 0), (1.05, 0.22, 0)],
        [0.03, 0.03, 0.045],
        chance.pick((plain(BLACK, 0.3), wood(*chance.pick(WOODS), chance.seed(), along=0))),
    )
    return Thing(solid, (chance.between(20, 50), chance.between(-60, 240), 0))


HOUSEHOLD = {
    "bottle": bottle,
    "cup": cup,
    "bowl": bowl,
    "vase": vase,
    "book": book,
    "laptop": laptop,
    "phone": phone,
    "television": television,
    "umbrella": umbrella,
    "ball": ball,
    "balloon": balloon,
    "bag": bag,
    "backpack": backpack,
    "suitcase": suitcase,
    "hat": hat,
    "guitar": guitar,
    "clock": clock,
    "teddy": teddy,
    "pan": pan,
}
