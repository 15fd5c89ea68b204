"""What people look like: skin, hair and clothes as functions of where on the body a point is, in the neutral body's rest pose.

Rest-pose coordinates: metres, y up, facing +z, arms along x; the pelvis is at y = -0.24, the crown at 0.56, the soles at -1.17.
"""

from dataclasses import dataclass

import numpy as np

from hpsbench.datasets.openhps import textures

_ARM_X, _WRIST_X, _NECK_Y, _CHIN_Y, _EYE_Y, _WAIST_Y, _SOLE_Y = 0.19, 0.68, 0.285, 0.345, 0.455, -0.16, -1.17
_SKINS = ((0.96, 0.81, 0.71), (0.92, 0.73, 0.6), (0.82, 0.61, 0.46), (0.68, 0.47, 0.33), (0.5, 0.33, 0.23), (0.35, 0.23, 0.17))
_HAIRS = (
    (0.1, 0.08, 0.07),
    (0.2, 0.13, 0.08),
    (0.36, 0.23, 0.13),
    (0.6, 0.46, 0.26),
    (0.8, 0.68, 0.42),
    (0.55, 0.55, 0.55),
    (0.48, 0.2, 0.1),
)
_TEXTURE = 192


@dataclass(frozen=True)
class Look:
    """One person's colours and cuts. Lengths in metres of rest-pose coordinates; textures (S, S, 3) repeat every ``repeat`` metres."""

    skin: np.ndarray
    hair: np.ndarray
    hair_style: str
    top: np.ndarray
    bottom: np.ndarray
    folds: np.ndarray
    repeat: tuple[float, float]
    sleeve_x: float
    hem_y: float
    neckline_y: float
    leg_y: float
    shoe_y: float
    shoe: np.ndarray
    gloves: bool
    thickness: np.ndarray


def draw_look(rng: np.random.Generator, gender: str) -> Look:
    """A random person's look."""
    skin = np.array(_SKINS[int(rng.integers(len(_SKINS)))]) * rng.uniform(0.92, 1.06)
    hair = np.array(_HAIRS[int(rng.integers(len(_HAIRS)))]) * rng.uniform(0.8, 1.2)
    styles = ("long", "long", "short", "bun", "hat") if gender == "female" else ("short", "short", "short", "bald", "hat", "long")
    dress = gender == "female" and rng.random() < 0.15
    return Look(
        skin=np.clip(skin, 0, 1),
        hair=textures.colour(rng) if rng.random() < 0.08 else np.clip(hair, 0, 1),
        hair_style=str(rng.choice(styles)),
        top=textures.pattern(rng, _TEXTURE, saturation=0.8, shares=(5, 2, 1.5, 0.3, 1, 0.8)),
        bottom=textures.pattern(rng, _TEXTURE, saturation=0.6, shares=(8, 0.7, 0.7, 0.1, 1, 0.2)),
        folds=textures.noise(rng, _TEXTURE, coarse=6, octaves=4),
        repeat=(rng.uniform(0.25, 0.9), rng.uniform(0.25, 0.9)),
        sleeve_x=float(rng.choice([0.17, rng.uniform(0.26, 0.42), rng.uniform(0.5, 0.7), 0.67])),
        hem_y=rng.uniform(-0.6, -0.4) if dress else rng.uniform(-0.36, -0.2),
        neckline_y=rng.uniform(0.22, 0.31),
        leg_y=float(rng.choice([rng.uniform(-0.7, -0.45), rng.uniform(-1.0, -0.75), -1.07, -1.09, -1.1])),
        shoe_y=float(rng.choice([-1.09, -1.06, rng.uniform(-1.03, -0.85)])),
        shoe=textures.colour(rng, saturation=0.5, value=(0.05, 0.9)),
        gloves=rng.random() < 0.05,
        thickness=rng.uniform([0.003, 0.003, 0.006], [0.015, 0.012, 0.022]),
    )


def _regions(look: Look, rest: np.ndarray) -> dict[str, np.ndarray]:
    """Which of the points ``rest`` (N, 3) lie in each part of the clothing, bool (N,), in the order in which they are painted."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    arm = (x > _ARM_X) & (y > 0.05)
    head = (y > _CHIN_Y) & (x < 0.14)
    line = _EYE_Y + 0.045 + 0.3 * np.maximum(z - 0.13, 0)
    scalp = head & ((y > line) | ((z < 0.06) & (y > _CHIN_Y + 0.03) & ((x < 0.075) | (y > _EYE_Y) | (z < 0.03))))
    neckline = look.neckline_y + 0.25 * np.maximum(x - 0.06, 0)
    out = {
        "bottom": (y < _WAIST_Y) & (y > look.leg_y) & ~arm,
        "top": (arm & (x < look.sleeve_x)) | (~arm & (y > look.hem_y) & (y < neckline)),
        "shoe": y < look.shoe_y,
        "glove": arm & (x > _WRIST_X) & look.gloves,
    }
    if look.hair_style == "bald":
        return out
    out["hair"] = head & (y > _EYE_Y + 0.03) if look.hair_style == "hat" else scalp
    if look.hair_style in ("long", "bun"):
        out["hair"] = out["hair"] | (head & (z < 0.045))
    if look.hair_style == "long":
        out["hair"] = out["hair"] | ((y > 0.16) & (x < 0.1) & (z < 0.0))
    return out


def thickness(look: Look, rest: np.ndarray) -> np.ndarray:
    """How far clothes and hair stand off the skin at each of ``rest`` (N, 3): metres (N,)."""
    parts, out = _regions(look, rest), np.zeros(len(rest))
    for name, amount in zip(("bottom", "top", "hair"), look.thickness[[1, 0, 2]], strict=True):
        if name in parts:
            out[parts[name]] = amount
    out[parts["shoe"]] = 0.005
    return out


def albedo(look: Look, rest: np.ndarray) -> np.ndarray:
    """The colour (N, 3) float32 of points ``rest`` (N, 3)."""
    colours = np.tile(look.skin.astype(np.float32), (len(rest), 1))
    folds = _sample(look.folds[..., None], rest, 0.8)
    colours *= 1 + 0.05 * folds
    _paint_face(look, rest, colours)
    inks = {"shoe": look.shoe, "glove": look.shoe, "hair": look.hair if look.hair_style != "hat" else look.top[0, 0]}
    for name, where in _regions(look, rest).items():
        if name in ("top", "bottom"):
            texture = look.top if name == "top" else look.bottom
            colours[where] = _sample(texture, rest[where], look.repeat[name == "bottom"]) * (1 + 0.14 * folds[where])
        else:
            colours[where] = inks[name] * (1 + 0.2 * folds[where])
    return np.clip(colours, 0.01, 1)


def _sample(texture: np.ndarray, rest: np.ndarray, repeat: float) -> np.ndarray:
    """A texture wrapped about the body: sideways coordinate x with depth mixed in, front and back apart; nearest pixel."""
    side = len(texture)
    across = rest[:, 0] + np.where(rest[:, 2] > 0.03, 0.6, -0.6) * (rest[:, 2] - 0.03)
    u = (across / repeat * side).astype(int) % side
    v = (-rest[:, 1] / repeat * side).astype(int) % side
    return texture[v, u]


def _paint_face(look: Look, rest: np.ndarray, colours: np.ndarray) -> None:
    """Eyes, brows and lips, in place."""
    front = rest[:, 2] > 0.1
    x, y = np.abs(rest[:, 0]), rest[:, 1]
    brow = front & (np.abs(x - 0.032) < 0.022) & (np.abs(y - _EYE_Y - 0.024) < 0.005)
    white = front & (((x - 0.031) / 0.015) ** 2 + ((y - _EYE_Y) / 0.009) ** 2 < 1)
    iris = front & ((x - 0.031) ** 2 + (y - _EYE_Y) ** 2 < 0.007**2)
    lips = front & ((x / 0.026) ** 2 + ((y - 0.372) / 0.009) ** 2 < 1)
    for where, ink in (
        (brow, look.hair * 0.8),
        (white, (0.85, 0.85, 0.85)),
        (iris, (0.1, 0.08, 0.07)),
        (lips, look.skin * [0.85, 0.6, 0.6]),
    ):
        colours[where] = ink
