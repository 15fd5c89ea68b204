"""Animals: bodies of blobs and tubes, standing on y = 0 and looking along x."""

import numpy as np

from hpsbench.occluders.drawn.chance import BLACK, VIVID, WHITE, Chance, Thing
from hpsbench.occluders.drawn.paints import Paint, Rgb, banded, coat, plain, rgb, speckle, stripes
from hpsbench.occluders.drawn.solids import Solid, blob, leaf, lifted, tube

_EYE = plain(BLACK, 0.9)


def _view(chance: Chance) -> tuple[float, float, float]:
    """From the side, either side, somewhat from the front."""
    return chance.between(4, 14), chance.each((chance.between(-45, -10), chance.between(190, 225))), 0.0


def _fur(chance: Chance, colours: tuple[tuple[str, str], ...]) -> Paint:
    ground, patch = chance.each(colours)
    return coat(rgb(ground), rgb(patch), chance.seed())


def _darker(colour: Rgb, by: float = 0.8) -> Rgb:
    return tuple(by * value for value in colour)


def _four_legs(paint: Paint, *, fore: float, hind: float, apart: float, height: float, thick: float, foot: Paint | None = None) -> Solid:
    """Four legs from the ground to ``height``, of which the hind ones are bent."""
    solid: Solid = ()
    for z in (-apart, apart):
        solid += tube([(fore, height, z), (fore + 0.01, 0.5 * height, z), (fore, 0.05, z)], [1.3 * thick, thick, 0.85 * thick], paint)
        solid += tube(
            [(hind, height, z), (hind - 0.07 * height, 0.5 * height, z), (hind + 0.0, 0.05, z)], [1.6 * thick, thick, 0.85 * thick], paint
        )
        for x in (fore, hind):
            solid += blob((1.4 * thick, 0.045, 1.1 * thick), (x + 0.4 * thick, 0.04, z), foot or paint, steps=14)
    return solid


def _eyes(x: float, y: float, z: float, size: float) -> Solid:
    return tuple(part for side in (-z, z) for part in lifted(blob((size, size, size), (x, y, side), _EYE, steps=10), 0.02))


def dog(chance: Chance) -> Thing:
    """A dog with hanging or upright ears."""
    fur = _fur(chance, (("b98148", "8a5a2f"), ("f0ece4", "3a2f29"), ("3b3533", "8a5a34"), ("e3c89a", "c9a56f")))
    solid = tube([(-0.34, 0.52, 0), (-0.1, 0.53, 0), (0.2, 0.54, 0), (0.34, 0.58, 0)], [0.15, 0.16, 0.19, 0.16], fur, steps=24)
    solid += tube([(0.32, 0.6, 0), (0.42, 0.78, 0), (0.47, 0.86, 0)], [0.14, 0.11, 0.1], fur) + blob(
        (0.15, 0.13, 0.125), (0.5, 0.9, 0), fur
    )
    solid += tube([(0.56, 0.88, 0), (0.74, 0.85, 0)], [0.085, 0.055], fur, rows=10) + blob(
        (0.035, 0.03, 0.035), (0.8, 0.87, 0), _EYE, steps=12
    )
    solid += _eyes(0.61, 0.95, 0.075, 0.022) + _four_legs(fur, fore=0.26, hind=-0.32, apart=0.09, height=0.45, thick=0.052)
    for z in (-1, 1):
        if chance.each((True, False, True)):
            solid += lifted(
                tube([(0.46, 1.0, 0.1 * z), (0.44, 0.92, 0.16 * z), (0.46, 0.8, 0.16 * z)], [0.03, 0.06, 0.045], fur, rows=10), 0.02
            )
        else:
            solid += tube([(0.45, 0.98, 0.08 * z), (0.43, 1.13, 0.11 * z)], [0.055, 0.01], fur, rows=10)
    solid += tube([(-0.46, 0.58, 0), (-0.6, 0.72, 0), (-0.62, 0.9, 0)], [0.05, 0.04, 0.02], fur)
    solid += lifted(tube([(0.33, 0.72, 0.1), (0.4, 0.66, 0.0), (0.33, 0.72, -0.1)], 0.02, plain(chance.pick(VIVID), 0.4), rows=12), 0.03)
    return Thing(solid, _view(chance))


def cat(chance: Chance) -> Thing:
    """A cat that sits or stands."""
    fur = _fur(chance, (("d98b3f", "b4662a"), ("4a4a4f", "2c2c31"), ("f2eee6", "8d8479"), ("9a948c", "5f5a54")))
    if chance.each((True, False)):
        solid = (
            blob((0.23, 0.3, 0.2), (0, 0.3, 0), fur)
            + blob((0.16, 0.24, 0.15), (0.1, 0.5, 0), fur)
            + blob((0.15, 0.135, 0.155), (0.17, 0.82, 0), fur)
        )
        for z in (-1, 1):
            solid += tube([(0.2, 0.5, 0.07 * z), (0.24, 0.2, 0.07 * z), (0.26, 0.04, 0.07 * z)], [0.06, 0.05, 0.05], fur) + blob(
                (0.17, 0.15, 0.07), (-0.02, 0.15, 0.17 * z), fur
            )
        solid += tube([(-0.2, 0.08, 0), (-0.32, 0.05, 0.14), (-0.1, 0.05, 0.3), (0.12, 0.05, 0.3)], [0.05, 0.045, 0.04, 0.03], fur)
        head = np.array([0.17, 0.82])
    else:
        solid = tube([(-0.32, 0.4, 0), (0, 0.41, 0), (0.3, 0.42, 0)], [0.13, 0.13, 0.12], fur, steps=24) + blob(
            (0.14, 0.125, 0.14), (0.47, 0.57, 0), fur
        )
        solid += tube([(0.3, 0.44, 0), (0.42, 0.54, 0)], [0.11, 0.1], fur, rows=8) + _four_legs(
            fur, fore=0.27, hind=-0.3, apart=0.07, height=0.36, thick=0.042
        )
        solid += tube([(-0.42, 0.45, 0), (-0.58, 0.55, 0), (-0.62, 0.75, 0), (-0.55, 0.9, 0)], [0.04, 0.035, 0.035, 0.03], fur)
        head = np.array([0.47, 0.57])
    x, y = head
    for z in (-1, 1):
        solid += tube([(x, y + 0.09, 0.09 * z), (x - 0.01, y + 0.22, 0.11 * z)], [0.06, 0.008], fur, rows=10)
        solid += lifted(blob((0.012, 0.03, 0.026), (x + 0.135, y + 0.03, 0.06 * z), plain(rgb("a8c94a"), 0.8), steps=10), 0.02)
    solid += lifted(blob((0.03, 0.035, 0.05), (x + 0.14, y - 0.045, 0), plain(WHITE, worn=0.1), steps=12), 0.01) + lifted(
        blob((0.015, 0.014, 0.018), (x + 0.165, y - 0.025, 0), plain(rgb("d98b8b")), steps=10), 0.03
    )
    return Thing(solid, (chance.between(4, 12), chance.each((-1, 1)) * chance.between(25, 60) - 45 + chance.each((0, 45)), 0))


def sheep(chance: Chance) -> Thing:
    """A sheep with curly wool."""
    wool, face = speckle(rgb("f1ebdc"), rgb("d3c9b3"), chance.seed(), scale=24), plain(chance.each((rgb("2d2926"), rgb("cdb79a"))))
    solid = _four_legs(face, fore=0.24, hind=-0.26, apart=0.1, height=0.34, thick=0.042)
    solid += blob((0.38, 0.24, 0.24), (0, 0.55, 0), wool)
    for step in range(90):
        height, angle = 1 - 2 * (step + 0.5) / 90, step * (1 + 5**0.5) * np.pi
        out = np.array([np.sqrt(1 - height**2) * np.cos(angle), height, np.sqrt(1 - height**2) * np.sin(angle)])
        solid += blob((0.075, 0.07, 0.075), (0, 0.55, 0) + out * [0.38, 0.24, 0.24], wool, steps=8)
    solid += tube([(0.36, 0.7, 0), (0.5, 0.74, 0), (0.6, 0.66, 0)], [0.1, 0.1, 0.065], face) + blob(
        (0.11, 0.08, 0.1), (0.42, 0.84, 0), wool, steps=16
    )
    for z in (-1, 1):
        solid += blob((0.035, 0.03, 0.09), (0.42, 0.77, 0.15 * z), face, steps=12)
    return Thing(solid + _eyes(0.55, 0.77, 0.075, 0.018), _view(chance))


def horse(chance: Chance) -> Thing:
    """A horse, or a zebra."""
    zebra = chance.each((False, True))
    fur = stripes(WHITE, BLACK, 0.06, axis=1) if zebra else _fur(chance, (("8a5a34", "7a4a28"), ("d8c6a8", "b39a78"), ("4a3a33", "2f2724")))
    mane, hoof = plain(rgb("26211f"), 0.05, worn=0.3), plain(rgb("3a3330"))
    solid = tube([(-0.36, 0.78, 0), (-0.1, 0.76, 0), (0.2, 0.76, 0), (0.36, 0.8, 0)], [0.18, 0.18, 0.18, 0.16], fur, steps=24)
    solid += tube([(0.34, 0.84, 0), (0.5, 1.08, 0), (0.58, 1.22, 0)], [0.16, 0.11, 0.09], fur)
    solid += tube([(0.56, 1.22, 0), (0.72, 1.12, 0), (0.84, 1.0, 0)], [0.1, 0.08, 0.06], fur) + blob(
        (0.05, 0.055, 0.058), (0.87, 0.98, 0), hoof if zebra else fur, steps=12
    )
    solid += _four_legs(fur, fore=0.3, hind=-0.36, apart=0.1, height=0.7, thick=0.052, foot=hoof)
    for z in (-1, 1):
        solid += tube([(0.54, 1.28, 0.05 * z), (0.54, 1.4, 0.06 * z)], [0.035, 0.008], fur, rows=8)
    for step in range(14):
        at = np.array([0.34, 1.0, 0]) + step / 13 * np.array([0.2, 0.3, 0])
        solid += leaf(at + np.array([0, 0.02, 0]), at + np.array([-0.13, 0.0, chance.between(-0.06, 0.1)]), 0.08, 0.08, mane)
    solid += tube([(-0.52, 0.84, 0), (-0.64, 0.7, 0), (-0.66, 0.42, 0)], [0.04, 0.06, 0.02], mane)
    return Thing(solid + _eyes(0.66, 1.21, 0.075, 0.02), _view(chance))


def bird(chance: Chance) -> Thing:
    """A bird on its two legs."""
    first, second = chance.two(VIVID)
    body = coat(first, _darker(first), chance.seed(), scale=5)
    belly = banded([(0.42, coat(second, _darker(second), chance.seed())), (9, body)])
    beak = plain(rgb("e8a02c"), 0.4)
    solid = blob((0.3, 0.22, 0.2), (0, 0.48, 0), belly) + blob((0.16, 0.155, 0.15), (0.26, 0.72, 0), body)
    solid += tube([(0.4, 0.72, 0), (0.54, 0.69, 0)], [0.05, 0.008], beak, rows=8) + _eyes(0.34, 0.77, 0.12, 0.026)
    solid += lifted(blob((0.24, 0.12, 0.05), (-0.07, 0.5, 0.18), coat(second, _darker(second), 5)), 0.02) + blob(
        (0.24, 0.12, 0.05), (-0.07, 0.5, -0.18), coat(second, _darker(second), 5)
    )
    for z in (-0.05, 0, 0.05):
        solid += leaf((-0.22, 0.5, z), (-0.58, 0.5 + abs(z), 2 * z), 0.13, 0.02, body)
    for z in (-0.07, 0.07):
        solid += tube([(0.02, 0.3, z), (0.02, 0.05, z)], 0.018, beak, steps=8, rows=8)
        for way in (-0.06, 0.0, 0.06):
            solid += tube([(0.02, 0.04, z), (0.13, 0.02, z + way)], 0.014, beak, steps=6, rows=6)
    return Thing(solid, _view(chance))


def duck(chance: Chance) -> Thing:
    """A rubber duck."""
    yellow, beak = plain(chance.each((rgb("f4c920"), *VIVID)), 0.8, worn=0.02), plain(rgb("e8702a"), 0.7)
    solid = blob((0.4, 0.26, 0.3), (0, 0.26, 0), yellow) + blob((0.22, 0.21, 0.21), (0.2, 0.64, 0), yellow)
    solid += tube([(-0.28, 0.34, 0), (-0.42, 0.44, 0), (-0.5, 0.56, 0)], [0.16, 0.1, 0.02], yellow)
    solid += blob((0.13, 0.035, 0.11), (0.42, 0.62, 0), beak, steps=16) + blob((0.1, 0.03, 0.09), (0.4, 0.57, 0), beak, steps=14)
    for z in (-1, 1):
        solid += blob((0.22, 0.13, 0.06), (-0.07, 0.32, 0.27 * z), yellow, steps=18)
    return Thing(solid + _eyes(0.35, 0.72, 0.13, 0.032), _view(chance))


def fish(chance: Chance) -> Thing:
    """A fish of bright bands."""
    first, second = chance.two(VIVID)
    paint = Paint(stripes(first, chance.pick((second, WHITE)), chance.between(0.09, 0.16), axis=0).colour, 0.5)
    solid = blob((0.46, 0.3, 0.13), (0, 0, 0), paint, across=(0, 1))
    fin = stripes(second, _darker(second), 0.03, axis=1, gloss=0.3)
    for y in (-0.24, 0.24):
        solid += leaf((-0.36, 0, 0), (-0.74, y, 0), 0.24, 0, fin)
    solid += leaf((0.12, 0.26, 0), (-0.32, 0.38, 0), 0.2, 0, fin) + leaf((0.0, -0.26, 0), (-0.26, -0.36, 0), 0.14, 0, fin)
    solid += lifted(leaf((0.1, -0.04, 0.13), (-0.14, -0.1, 0.2), 0.12, 0, fin), 0.05)
    for z in (-1, 1):
        solid += lifted(blob((0.05, 0.05, 0.03), (0.3, 0.07, 0.08 * z), plain(WHITE, 0.5), steps=12), 0.02) + lifted(
            blob((0.026, 0.026, 0.02), (0.31, 0.07, 0.105 * z), _EYE, steps=10), 0.05
        )
    return Thing(
        solid, (chance.between(-10, 10), chance.each((chance.between(-35, 35), 180 + chance.between(-35, 35))), chance.between(-12, 12))
    )


def giraffe(chance: Chance) -> Thing:
    """A giraffe."""
    fur = coat(rgb("ecd29a"), rgb("9a5f2a"), chance.seed(), scale=8, share=0.55)
    solid = tube([(-0.28, 0.72, 0), (0, 0.76, 0), (0.24, 0.84, 0)], [0.15, 0.16, 0.16], fur, steps=24) + tube(
        [(0.22, 0.88, 0), (0.36, 1.2, 0), (0.46, 1.62, 0)], [0.13, 0.085, 0.065], fur
    )
    solid += tube([(0.44, 1.66, 0), (0.58, 1.62, 0), (0.68, 1.56, 0)], [0.08, 0.07, 0.05], fur) + _four_legs(
        fur, fore=0.22, hind=-0.28, apart=0.09, height=0.66, thick=0.045
    )
    for z in (-1, 1):
        solid += tube([(0.44, 1.72, 0.03 * z), (0.42, 1.84, 0.04 * z)], 0.014, fur, rows=6) + blob(
            (0.025, 0.025, 0.025), (0.42, 1.85, 0.04 * z), _EYE, steps=8
        )
        solid += blob((0.03, 0.025, 0.07), (0.4, 1.69, 0.1 * z), fur, steps=10)
    solid += tube([(-0.42, 0.76, 0), (-0.5, 0.6, 0), (-0.5, 0.42, 0)], [0.02, 0.014, 0.03], fur)
    return Thing(solid + _eyes(0.53, 1.68, 0.065, 0.018), _view(chance))


ANIMALS = {
    "dog": dog,
    "cat": cat,
    "sheep": sheep,
    "horse": horse,
    "bird": bird,
    "duck": duck,
    "fish": fish,
    "giraffe": giraffe,
}
