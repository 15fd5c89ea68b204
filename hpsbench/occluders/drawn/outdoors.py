"""What stands in streets and gardens, and what one rides on."""

import numpy as np

from hpsbench.occluders.drawn.chance import BLACK, DARK, GREEN, METAL, PALE, RUBBER, VIVID, WHITE, WOODS, Chance, Thing
from hpsbench.occluders.drawn.paints import Paint, banded, bricks, cloth, clouds, leafy, plain, rgb, speckle, stripes, wood
from hpsbench.occluders.drawn.solids import Solid, Surface, blob, box, curve, leaf, lifted, moved, plate, ring, tube, turned


def _timber(chance: Chance, along: int = 1) -> Paint:
    return wood(*chance.pick(WOODS), chance.seed(), along=along)


def carton(chance: Chance) -> Thing:
    """A box of cardboard with tape over it."""
    board = speckle(rgb("c49a66"), rgb("b98d58"), chance.seed(), scale=30)
    width, height, depth = chance.between(0.7, 1.0), chance.between(0.45, 0.9), chance.between(0.5, 0.8)
    solid = box((width, height, depth), (0, height / 2, 0), board)
    tape = plain(rgb("dcc08c"), 0.4)
    solid += lifted(box((0.11, 0.006, depth + 0.004), (0, height, 0), tape), 0.06)
    for side in (-1, 1):
        solid += lifted(box((0.11, 0.2, 0.006), (0, height - 0.1, side * depth / 2), tape), 0.06)
    solid += lifted(
        plate(
            np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * [0.13, 0.09],
            0.004,
            (0.2 * width, 0.3 * height, depth / 2),
            plain(WHITE, worn=0.02),
        ),
        0.06,
    )
    return Thing(solid, chance.view(down=(16, 30), around=chance.each(((20, 50), (-50, -20)))))


def crate(chance: Chance) -> Thing:
    """A crate of planks."""
    across, up = _timber(chance, along=0), _timber(chance)
    deep = _timber(chance, along=2)
    planks = chance.pick((3, 4))
    solid = box((0.9, 0.9, 0.9), (0, 0.45, 0), plain(rgb("3a2616"), 0.02))
    for row in range(planks):
        tall = 0.94 / planks
        y = (row + 0.5) * 0.9 / planks
        for side in (-1, 1):
            solid += lifted(box((0.92, tall * 0.9, 0.03), (0, y, side * 0.46), across), 0.05)
            solid += lifted(box((0.03, tall * 0.9, 0.92), (side * 0.46, y, 0), deep), 0.05)
        solid += lifted(box((0.92, 0.03, tall * 0.9), (0, 0.91, y - 0.45), across), 0.05)
    for x in (-0.4, 0.4):
        for side in (-1, 1):
            solid += lifted(box((0.12, 0.92, 0.03), (x, 0.45, side * 0.49), up), 0.1)
            solid += lifted(box((0.03, 0.92, 0.12), (side * 0.49, 0.45, x), up), 0.1)
    return Thing(solid, chance.view(down=(14, 28), around=chance.each(((20, 50), (-50, -20)))))


def barrel(chance: Chance) -> Thing:
    """A barrel of staves with hoops, or a drum of metal."""
    profile = [(0, 0), (0.3, 0), (0.38, 0.25), (0.4, 0.5), (0.38, 0.75), (0.3, 1.0), (0.28, 1.0), (0.27, 0.96), (0, 0.96)]
    if chance.each((True, False)):
        staves, hoop = _timber(chance), plain(chance.pick(METAL), 0.5)
        paint = banded(
            [(0.06, hoop), (0.24, staves), (0.3, hoop), (0.7, staves), (0.76, hoop), (0.94, staves), (1.001, hoop), (2, staves)], gloss=0.15
        )
        return Thing(turned(profile, (0, 0, 0), paint, rows=80), chance.view(down=(12, 24)))
    drum = [
        (0, 0),
        (0.34, 0),
        (0.35, 0.02),
        (0.34, 0.32),
        (0.36, 0.34),
        (0.34, 0.36),
        (0.34, 0.64),
        (0.36, 0.66),
        (0.34, 0.68),
        (0.34, 0.98),
        (0.35, 1.0),
        (0.33, 1.0),
        (0.32, 0.97),
        (0, 0.97),
    ]
    colour = chance.pick(VIVID)
    return Thing(
        turned(
            drum, (0, 0, 0), speckle(colour, tuple(0.8 * v for v in colour), chance.seed(), scale=9, share=0.3, gloss=0.5), curved=False
        ),
        chance.view(down=(12, 24)),
    )


def fence(chance: Chance) -> Thing:
    """A fence of pickets or of rails."""
    paint = chance.each((plain(WHITE, worn=0.08), _timber(chance), plain(chance.pick(GREEN), worn=0.1)))
    solid: Solid = ()
    for y in (0.25, 0.65):
        solid += box((1.5, 0.07, 0.03), (0, y, -0.03), paint)
    for x in np.linspace(-0.68, 0.68, chance.pick((7, 8, 9))):
        tall, wide = 0.86, 0.06
        picket = [(-wide, -tall / 2), (wide, -tall / 2), (wide, tall / 2 - 0.08), (0, tall / 2), (-wide, tall / 2 - 0.08)]
        solid += plate(picket, 0.03, (x, tall / 2, 0), paint)
    return Thing(solid, chance.view(down=(4, 12), around=(-30, 30)))


def pole(chance: Chance) -> Thing:
    """A post: a bollard, or striped in two colours."""
    first = chance.pick(VIVID)
    bands = stripes(WHITE, first, 0.16, gloss=0.3, slant=0.5)
    paint = chance.each((bands, plain(chance.pick(DARK), 0.5), _timber(chance)))
    wide = chance.between(0.05, 0.09)
    profile = [
        (0, 0),
        (wide * 1.7, 0),
        (wide * 1.7, 0.06),
        (wide, 0.09),
        (wide, 0.98),
        (wide * 1.2, 1.0),
        (wide * 1.2, 1.05),
        (wide, 1.09),
        (wide * 0.5, 1.14),
        (0, 1.15),
    ]
    return Thing(turned(profile, (0, 0, 0), paint, curved=False), chance.view(down=(4, 14)))


def sign(chance: Chance) -> Thing:
    """A sign on a post: a stop, a triangle, a disc or an arrow."""
    kind = chance.each(("octagon", "triangle", "disc", "arrow"))
    corners = {"octagon": 8, "triangle": 3, "disc": 48, "arrow": 0}[kind]
    angle = np.arange(corners) * 2 * np.pi / max(corners, 1) + {"octagon": np.pi / 8, "triangle": np.pi / 2}.get(kind, 0)
    outline = np.column_stack([np.cos(angle), np.sin(angle)]) * 0.34
    red, white, blue = plain(rgb("c8281f"), 0.3), plain(WHITE, 0.3), plain(rgb("1f5fae"), 0.3)
    if kind == "arrow":
        outline = np.array([(-0.42, -0.13), (0.26, -0.13), (0.44, 0), (0.26, 0.13), (-0.42, 0.13)])
    outer, inner = {"octagon": (white, red), "triangle": (red, white), "disc": (white, blue), "arrow": (white, plain(rgb("2f7d45"), 0.3))}[
        kind
    ]
    solid = tube([(0, 0, 0), (0, 1.25, 0)], 0.028, plain(chance.pick(METAL), 0.5), rows=20)
    solid += lifted(plate(outline, 0.02, (0, 1.1, 0.04), outer, edge=plain(METAL[1], 0.4)), 0.06)
    solid += lifted(plate(outline * (0.76 if kind == "triangle" else 0.88), 0.004, (0, 1.1, 0.055), inner), 0.1)
    mark = white if kind in ("octagon", "arrow", "disc") else plain(BLACK)
    bars = {
        "octagon": ((0.4, 0.09, 0, 0),),
        "triangle": ((0.045, 0.2, 0, 0.03), (0.05, 0.05, 0, -0.11)),
        "disc": ((0.07, 0.32, 0, -0.04), (0.2, 0.07, 0, 0.13)),
        "arrow": ((0.42, 0.05, -0.08, 0.04), (0.3, 0.05, -0.14, -0.05)),
    }[kind]
    for width, height, x, y in bars:
        solid += lifted(box((width, height, 0.004), (x, 1.1 + y, 0.06), mark), 0.16)
    return Thing(solid, (chance.between(-4, 6), chance.between(-35, 35), chance.between(-5, 5)))


def cone(chance: Chance) -> Thing:
    """A traffic cone."""
    orange, white = plain(chance.each((rgb("e8621f"), rgb("d8352a"))), 0.25), plain(WHITE, 0.3)
    paint = banded([(0.22, orange), (0.38, white), (0.52, orange), (0.64, white), (2, orange)], gloss=0.25)
    solid = blob((0.36, 0.035, 0.36), (0, 0.035, 0), orange, square=8)
    solid += turned([(0.27, 0.06), (0.25, 0.08), (0.06, 0.86), (0.045, 0.87), (0.03, 0.8)], (0, 0, 0), paint, curved=False)
    return Thing(solid, (chance.between(8, 20), chance.between(0, 80), chance.each((0, chance.between(-70, 70)))))


def _wheel(radius: float, thick: float, spokes: int, chance: Chance, rim: Paint) -> Solid:
    """A wheel in the plane of x and y."""
    solid = ring(radius, thick, (0, 0, 0), plain(RUBBER, 0.15, worn=0.1)) + ring(radius - 1.6 * thick, 0.6 * thick, (0, 0, 0), rim)
    for angle in np.arange(spokes) * 2 * np.pi / spokes + chance.between(0, 1):
        reach = radius - 1.5 * thick
        solid += tube(
            [(0, 0, 0), (reach * np.cos(angle), reach * np.sin(angle), 0)], 0.012 * radius / 0.3, rim, steps=5, rows=6, round_ends=False
        )
    return solid + lifted(blob((0.08 * radius / 0.3, 0.08 * radius / 0.3, 0.06), (0, 0, 0), rim, steps=12), 0.02)


def wheel(chance: Chance) -> Thing:
    """A wheel of a cart, or of a car."""
    if chance.each((True, False)):
        timber = _timber(chance)
        solid = ring(0.46, 0.045, (0, 0, 0), timber) + ring(0.5, 0.03, (0, 0, 0), plain(chance.pick(DARK), 0.3))
        for angle in np.arange(10) * np.pi / 5:
            solid += tube([(0, 0, 0), (0.45 * np.cos(angle), 0.45 * np.sin(angle), 0)], 0.028, timber, steps=8, rows=10)
        return Thing(solid + lifted(blob((0.1, 0.1, 0.08), (0, 0, 0), timber), 0.05), (chance.between(-10, 10), chance.between(-45, 45), 0))
    alloy = plain(chance.pick(METAL), 0.8)
    solid = ring(0.38, 0.13, (0, 0, 0), stripes(RUBBER, rgb("1c1d20"), 0.035, axis=1, gloss=0.15))
    disc = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    solid += plate(np.column_stack([np.cos(disc), np.sin(disc)]) * 0.3, 0.02, (0, 0, 0.02), plain(rgb("3b3e43"), 0.3))
    for angle in range(0, 360, 72):
        solid += lifted(moved(box((0.09, 0.28, 0.05), (0, 0.14, 0.06), alloy), turn=(0, 0, angle)), 0.05)
    solid += lifted(ring(0.29, 0.022, (0, 0, 0.06), alloy), 0.05) + lifted(blob((0.07, 0.07, 0.04), (0, 0, 0.09), alloy, steps=14), 0.1)
    return Thing(solid, (chance.between(-10, 10), chance.between(-40, 40), 0))


def bicycle(chance: Chance) -> Thing:
    """A bicycle, from the side."""
    frame, metal = plain(chance.pick(VIVID), 0.6), plain(METAL[0], 0.7)
    solid: Solid = ()
    for x in (-0.52, 0.52):
        solid += moved(_wheel(0.31, 0.022, 14, chance, metal), (x, 0.33, 0))
    crank, seat, head = (-0.08, 0.33, 0), (-0.2, 0.82, 0), (0.36, 0.8, 0)
    for start, end in ((crank, seat), (crank, head), (seat, head), ((-0.52, 0.33, 0), crank), ((-0.52, 0.33, 0), seat)):
        solid += tube([start, end], 0.022, frame, steps=10, rows=14)
    solid += tube([(0.52, 0.33, 0), (0.42, 0.55, 0), head, (0.33, 0.93, 0)], 0.022, frame, rows=20)
    solid += tube([(0.45, 0.97, 0.2), (0.36, 0.95, 0.1), (0.33, 0.93, 0), (0.36, 0.95, -0.1), (0.45, 0.97, -0.2)], 0.02, plain(BLACK, 0.3))
    solid += tube([seat, (-0.22, 0.9, 0)], 0.018, metal, rows=6) + blob(
        (0.14, 0.035, 0.07), (-0.22, 0.92, 0), plain(chance.pick(DARK)), square=2.6, steps=14
    )
    solid += (
        ring(0.08, 0.014, (*crank[:2], 0.03), metal)
        + tube([(-0.08, 0.33, 0.05), (0.02, 0.2, 0.06)], 0.014, metal, rows=8)
        + box((0.1, 0.02, 0.07), (0.03, 0.2, 0.1), plain(BLACK))
    )
    return Thing(solid, (chance.between(2, 10), chance.each((chance.between(-30, 30), chance.between(150, 210))), 0))


def skateboard(chance: Chance) -> Thing:
    """A skateboard, or a surfboard on its end."""
    first, second = chance.two((*VIVID, *PALE))
    angle = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    if chance.each((True, False)):
        x, z = np.meshgrid(np.linspace(-1, 1, 50), np.linspace(-1, 1, 10))
        wide = 0.17 * np.clip(1 - np.abs(x) ** 7, 0, 1) ** 0.5
        bent = 0.09 * np.clip(np.abs(x) - 0.7, 0, 1) ** 1.3 * 4
        top, under = (np.dstack([0.6 * x, bent + y, wide * z]) for y in (0.02, -0.01))
        solid = (Surface(under, plain(first, 0.3)), Surface(top, speckle(rgb("303236"), rgb("44474d"), chance.seed(), scale=60), lift=0.02))
        for x0 in (-0.36, 0.36):
            solid += box((0.05, 0.05, 0.24), (x0, -0.06, 0), plain(METAL[0], 0.6))
            for z0 in (-0.13, 0.13):
                solid += moved(
                    turned([(0, -0.035), (0.06, -0.035), (0.06, 0.035), (0, 0.035)], (0, 0, 0), plain(second, 0.4), curved=False, steps=24),
                    (x0, -0.09, z0),
                    turn=(90, 0, 0),
                )
        return Thing(solid, (chance.between(14, 55), chance.between(-30, 30), chance.between(-20, 20)))
    outline = np.column_stack([0.2 * np.sin(angle) * (1 - 0.12 * np.cos(angle)), 0.85 * np.cos(angle)])
    solid = plate(
        outline,
        0.05,
        (0, 0, 0),
        stripes(first, second, chance.pick((0.12, 0.2)), axis=chance.pick((0, 1)), gloss=0.5, slant=chance.pick((0.0, 0.6))),
        edge=plain(WHITE, 0.3),
    )
    return Thing(solid, (chance.between(-15, 15), chance.between(-35, 35), chance.between(-20, 20)))


def scooter(chance: Chance) -> Thing:
    """A kick scooter."""
    frame, metal = plain(chance.pick(VIVID), 0.5), plain(METAL[0], 0.7)
    solid = box((0.62, 0.04, 0.14), (-0.02, 0.12, 0), frame)
    for x in (-0.38, 0.42):
        solid += moved(_wheel(0.085, 0.022, 5, chance, metal), (x, 0.1, 0))
    solid += tube([(0.3, 0.13, 0), (0.4, 0.22, 0), (0.36, 0.5, 0), (0.31, 0.98, 0)], 0.025, metal) + tube(
        [(0.31, 0.98, -0.22), (0.31, 1.0, 0), (0.31, 0.98, 0.22)], 0.022, metal
    )
    for z in (-0.2, 0.2):
        solid += tube([(0.31, 0.985, z * 0.75), (0.31, 0.98, z * 1.25)], 0.033, plain(chance.pick(VIVID)), rows=8)
    return Thing(solid, (chance.between(4, 14), chance.between(-40, 40), 0))


def bench(chance: Chance) -> Thing:
    """A park bench of slats."""
    timber, iron = _timber(chance, along=0), plain(chance.pick(DARK), 0.3)
    solid: Solid = ()
    for x in (-0.55, 0.55):
        solid += tube([(x, 0, 0.2), (x, 0.4, 0.22), (x, 0.41, -0.15), (x, 0.85, -0.28)], 0.026, iron) + tube(
            [(x, 0, -0.24), (x, 0.4, -0.15)], 0.026, iron, rows=10
        )
    for z in np.linspace(-0.12, 0.2, 4):
        solid += lifted(box((1.3, 0.035, 0.075), (0, 0.44, z), timber), 0.02)
    for y, z in zip((0.56, 0.67, 0.78), (-0.17, -0.21, -0.25), strict=True):
        solid += lifted(box((1.3, 0.08, 0.03), (0, y, z), timber), 0.02)
    return Thing(solid, chance.view(around=(-40, 40)))


def bin_(chance: Chance) -> Thing:
    """A bin with a lid, or a bucket with a handle."""
    colour = chance.pick((*VIVID, *METAL))
    if chance.each((True, False)):
        ribs = stripes(colour, tuple(0.86 * value for value in colour), 0.06, axis=0, gloss=0.35)
        solid = turned([(0, 0), (0.27, 0), (0.33, 0.75)], (0, 0, 0), ribs, curved=False)
        solid += turned([(0.36, 0.74), (0.37, 0.79), (0.3, 0.86), (0.12, 0.92), (0, 0.93)], (0, 0, 0), plain(colour, 0.4)) + blob(
            (0.09, 0.05, 0.05), (0, 0.96, 0), plain(chance.pick(DARK)), steps=14
        )
        return Thing(solid, chance.view())
    solid = turned(
        [(0, 0.02), (0.24, 0), (0.34, 0.5), (0.36, 0.52), (0.33, 0.52), (0.235, 0.03), (0, 0.03)],
        (0, 0, 0),
        plain(colour, 0.5),
        curved=False,
    )
    arch = np.linspace(0.1, np.pi - 0.1, 15)
    handle = np.column_stack([0.35 * np.cos(arch), 0.47 + 0.4 * np.sin(arch), 0.06 * np.sin(arch)])
    return Thing(solid + tube(handle, 0.013, plain(METAL[0], 0.6), rows=40), chance.view(down=(14, 28), around=(-30, 30)))


def rock(chance: Chance) -> Thing:
    """A boulder."""
    (surface,) = blob(
        (0.5, 0.36, 0.42),
        (0, 0, 0),
        speckle(chance.pick(METAL), rgb("5b5750"), chance.seed(), scale=20, share=0.5),
        square=2.6,
        steps=40,
    )
    flat = surface.points.reshape(-1, 3)
    swell = 0.72 + 0.55 * clouds(flat * 3.2 + chance.between(0, 20), chance.seed())
    points = (flat * swell[:, None]).reshape(surface.points.shape)
    points[:, -1] = points[:, 0]
    return Thing((Surface(points, surface.paint),), chance.view(around=(0, 90)))


def wall(chance: Chance) -> Thing:
    """A piece of a brick wall."""
    paint = bricks(chance.pick((rgb("a5482f"), rgb("8f5a44"), rgb("c2703f"))), rgb("c9c2b5"), chance.seed(), height=0.085)
    cap = speckle(rgb("b5b0a5"), rgb("8f8b82"), chance.seed())
    solid = box((1.3, 0.8, 0.2), (0, 0.4, 0), paint) + lifted(box((1.38, 0.07, 0.27), (0, 0.83, 0), cap), 0.03)
    return Thing(solid, chance.view(down=(8, 18), around=chance.each(((15, 35), (-35, -15)))))


def bush(chance: Chance) -> Thing:
    """A round bush of many leaves."""
    return Thing(_foliage(chance, (0.5, 0.42, 0.45), (0, 0.42, 0), 420, chance.between(0.11, 0.15)), chance.view())


def _foliage(chance: Chance, radii: tuple[float, float, float], centre: tuple[float, float, float], count: int, size: float) -> Solid:
    """Leaves all over an ellipsoid, and dark inside."""
    green = chance.pick(GREEN)
    paints = [leafy(green, chance.seed()) for _ in range(3)]
    solid = blob(np.array(radii) * 0.86, centre, plain(tuple(0.4 * value for value in green), 0.0, worn=0.3, seed=chance.seed()))
    for step in range(count):
        height, angle = 1 - 2 * (step + 0.5) / count, step * (1 + 5**0.5) * np.pi
        out = np.array([np.sqrt(1 - height**2) * np.cos(angle), height, np.sqrt(1 - height**2) * np.sin(angle)])
        root = np.array(centre) + out * np.array(radii) * chance.between(0.75, 0.95)
        away = out + np.array([chance.between(-0.7, 0.7), chance.between(-0.3, 0.7), chance.between(-0.7, 0.7)])
        solid += leaf(root, root + away * size / np.linalg.norm(away), size * 0.5, 0.2 * size, paints[step % 3], steps=4)
    return solid


def tree(chance: Chance) -> Thing:
    """A small tree, round or a fir."""
    bark = wood(rgb("7a5a3c"), rgb("4a3323"), chance.seed(), rings=14)
    if chance.each((True, False)):
        solid = tube([(0, 0, 0), (0.03, 0.4, 0), (0, 0.8, 0)], [0.08, 0.055, 0.05], bark)
        for centre, radius in (((-0.2, 0.85, 0), 0.26), ((0.22, 0.9, -0.05), 0.27), ((0.0, 1.12, 0), 0.3), ((0.03, 0.85, 0.16), 0.25)):
            solid += _foliage(chance, (radius, radius * 0.9, radius), centre, 130, 0.13)
        return Thing(solid, chance.view(down=(2, 8)))
    solid = turned([(0.07, 0), (0.05, 0.25)], (0, 0, 0), bark)
    needles = [leafy(chance.pick(GREEN), chance.seed()) for _ in range(2)]
    for tier in range(8):
        y, reach = 0.22 + tier * 0.12, 0.42 * (1 - tier / 8.6)
        for angle in np.arange(22) * 2 * np.pi / 22 + tier:
            tip = (reach * np.cos(angle), y - 0.05 + chance.between(-0.03, 0.03), reach * np.sin(angle))
            solid += leaf((0, y + 0.17, 0), tip, 0.15, 0.06, needles[tier % 2], steps=5)
    return Thing(solid, chance.view(down=(2, 10)))


def plant(chance: Chance) -> Thing:
    """A plant in a pot."""
    clay = chance.each(
        (plain(rgb("b5603c"), 0.1, worn=0.12), stripes(chance.pick(PALE), chance.pick(VIVID), 0.07), plain(chance.pick(VIVID), 0.5))
    )
    paint, leaves = leafy(chance.pick(GREEN), chance.seed(), 0.25), chance.pick((16, 22, 28))
    wide = chance.between(0.09, 0.16)
    solid: Solid = ()
    for step in range(leaves):
        angle, lean = step * 2.4, chance.between(0.15, 0.5)
        tip = (lean * np.cos(angle), chance.between(0.75, 1.2) - 0.5 * lean, lean * np.sin(angle))
        solid += leaf((0.03 * np.cos(angle), 0.36, 0.03 * np.sin(angle)), tip, wide, 0.35 * lean, paint, steps=9)
    solid += turned(
        [(0, 0.0), (0.17, 0), (0.23, 0.32), (0.26, 0.33), (0.26, 0.4), (0.23, 0.4), (0.22, 0.36), (0, 0.36)], (0, 0, 0), clay, curved=False
    )
    return Thing(solid, chance.view(down=(6, 18)))


def cactus(chance: Chance) -> Thing:
    """A cactus in a pot."""
    green = chance.pick(GREEN)
    skin = stripes(green, tuple(0.72 * value for value in green), 0.045, axis=0, gloss=0.1)
    solid = tube([(0, 0.3, 0), (0, 0.7, 0), (0, 1.05, 0)], [0.14, 0.15, 0.12], skin, steps=30)
    for side, low, high in ((1, 0.55, 0.9), (-1, 0.65, 1.05)):
        solid += tube(
            [(side * 0.1, low, 0), (side * 0.24, low, 0), (side * 0.31, low + 0.1, 0), (side * 0.31, high, 0)], 0.075, skin, steps=24
        )
    solid += blob((0.06, 0.05, 0.06), (0, 1.19, 0), plain(chance.pick(VIVID)), steps=12)
    solid += turned(
        [(0, 0.0), (0.17, 0), (0.23, 0.28), (0.26, 0.29), (0.26, 0.36), (0.2, 0.36), (0, 0.34)],
        (0, 0, 0),
        plain(rgb("b5603c"), 0.1, worn=0.12),
        curved=False,
    )
    return Thing(solid, chance.view(down=(4, 14), around=(-30, 30)))


def kite(chance: Chance) -> Thing:
    """A kite with a tail of bows."""
    first, second = chance.two(VIVID)
    third = chance.pick(PALE)
    top, side, foot = np.array([0, 0.45, 0]), 0.34, np.array([0, -0.6, 0])
    solid: Solid = ()
    for number, (corner, end) in enumerate(
        (((side, 0.08, 0), top), ((side, 0.08, 0), foot), ((-side, 0.08, 0), top), ((-side, 0.08, 0), foot))
    ):
        share = np.linspace(0, 1, 16)[:, None, None]
        edge = np.array(corner) + np.linspace(0, 1, 16)[None, :, None] * (end - np.array(corner))
        middle = np.array([0, 0.08, 0.07])
        solid += (Surface(middle + share * (edge - middle), cloth((first, second, second, first)[number], chance.seed())),)
    tail = curve([(0, -0.6, 0), (0.12, -0.8, 0), (-0.06, -1.0, 0), (0.1, -1.25, 0)], 24)
    solid += tube(tail, 0.01, plain(third), steps=6)
    for at in tail[6::6]:
        for way in (-1, 1):
            solid += leaf(at, at + np.array([way * 0.13, 0.03, 0]), 0.11, 0, plain(third))
    return Thing(solid, (chance.between(-15, 15), chance.between(-25, 25), chance.between(-30, 30)))


OUTDOORS = {
    "carton": carton,
    "crate": crate,
    "barrel": barrel,
    "fence": fence,
    "pole": pole,
    "sign": sign,
    "cone": cone,
    "wheel": wheel,
    "bicycle": bicycle,
    "board": skateboard,
    "scooter": scooter,
    "bench": bench,
    "bin": bin_,
    "rock": rock,
    "wall": wall,
    "bush": bush,
    "tree": tree,
    "plant": plant,
    "cactus": cactus,
    "kite": kite,
}
