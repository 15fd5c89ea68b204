"""Everyday activities that the clips lack, as key poses drawn from parameters: standing, sitting, reaching, crouching, ...

A body on its feet is given by where pelvis and ankles are; hips and knees follow. ``_STANCES`` holds the intervals that
parameters are drawn from; the keys of one track are drawn near one another.
"""

from dataclasses import dataclass

import numpy as np

from hpsbench.datasets.openhps import figure, limits, quats
from hpsbench.datasets.openhps.arms import draw_arms
from hpsbench.datasets.openhps.keys import Keys

_ANKLE = 0.077
_STRAIGHT = _ANKLE + 0.855


@dataclass(frozen=True)
class Activity:
    """Intervals of a stance and the weights of what the arms do.

    ``height``: the pelvis, as part of its height with straight legs. ``width``, ``ahead``, ``split``: metres between the
    feet sideways, of both before the pelvis, and of one before the other. ``toes``, ``knees``: degrees that they point out.
    ``lean``: pelvis forward, ``bend``: spine forward, ``roll``, ``twist``, ``look``, ``look_down`` (the head): degrees.
    ``heel``: metres that the ankles are lifted.
    ``over``: how often one leg is laid over the other.
    """

    arms: dict[str, float]
    height: tuple[float, float] = (0.96, 1.0)
    width: tuple[float, float] = (0.1, 0.45)
    ahead: tuple[float, float] = (-0.03, 0.05)
    split: tuple[float, float] = (-0.15, 0.15)
    toes: tuple[float, float] = (0, 25)
    knees: tuple[float, float] = (0, 25)
    lean: tuple[float, float] = (-8, 8)
    bend: tuple[float, float] = (-10, 15)
    roll: tuple[float, float] = (-6, 6)
    twist: tuple[float, float] = (-25, 25)
    look: tuple[float, float] = (-45, 45)
    look_down: tuple[float, float] = (-20, 30)
    over: float = 0.0
    heel: tuple[float, float] = (0, 0)


_GESTURES = {
    "hanging": 5, "hip": 1.5, "crossed": 1.2, "phone-ear": 1, "phone-front": 1.5, "pocket": 1.5, "behind": 0.7, "chin": 0.7,
    "hair": 0.7, "clasped-low": 0.8, "clasped-high": 0.8, "strap": 0.5, "wave": 0.8, "point": 1, "sideways": 0.7, "up": 0.7,
    "explaining": 2, "other-shoulder": 0.4, "free": 5,
}  # fmt: skip
_SEATED = {
    "lap": 4, "knee": 3, "table": 3, "armrest": 1.5, "crossed": 0.7, "phone-front": 1.5, "phone-ear": 0.6, "chin": 1,
    "explaining": 1.5, "point": 0.4, "wave": 0.3, "hair": 0.4, "clasped-high": 0.7, "prop-behind": 0.4, "up": 0.2, "free": 2,
}  # fmt: skip
_WORKING = {"free": 4, "explaining": 1.5, "box": 1.5, "point": 1, "knee": 1.5, "hanging": 1, "clasped-high": 0.7}

ACTIVITIES = {
    "stand": Activity(_GESTURES),
    "reach": Activity(
        {"up": 3, "overhead": 1, "sideways": 2, "point": 2, "free": 3},
        height=(0.9, 1.0), split=(-0.35, 0.35), lean=(-10, 30), bend=(-15, 30), roll=(-12, 12), twist=(-40, 40), heel=(0, 0.05),
    ),
    "carry": Activity({"box": 5, "overhead": 1, "clasped-low": 1, "hanging": 1}, lean=(-12, 5), bend=(-10, 10), split=(-0.3, 0.3)),
    "bend": Activity(
        {"hanging": 1, "free": 2, "knee": 2, "box": 2, "point": 2},
        height=(0.8, 0.97), ahead=(0.0, 0.12), split=(-0.3, 0.3), lean=(30, 80), bend=(10, 70), knees=(0, 30),
    ),
    "crouch": Activity(
        _WORKING, height=(0.52, 0.8), ahead=(0.0, 0.15), split=(-0.35, 0.35), toes=(5, 35), knees=(10, 50), lean=(5, 40), bend=(0, 50),
        heel=(0, 0.06),
    ),
    "squat": Activity(
        _WORKING, height=(0.33, 0.5), ahead=(0.02, 0.15), split=(-0.25, 0.25), toes=(5, 35), knees=(10, 50), lean=(-5, 15),
        bend=(10, 50), heel=(0, 0.08),
    ),
    "lunge": Activity(_WORKING, height=(0.6, 0.9), split=(-0.9, 0.9), lean=(-5, 30), knees=(0, 20), heel=(0, 0.05)),
    "sit": Activity(
        _SEATED, height=(0.45, 0.62), width=(0.1, 0.5), ahead=(0.3, 0.62), split=(-0.2, 0.2), toes=(-5, 30), knees=(-5, 40),
        lean=(-25, 20), bend=(-5, 45), over=0.2,
    ),
    "kneel": Activity(
        _WORKING, height=(0.42, 0.56), width=(0.15, 0.4), ahead=(-0.45, -0.38), split=(-0.06, 0.06), lean=(-8, 25), bend=(-5, 40),
    ),
    "half-kneel": Activity(
        _WORKING, height=(0.44, 0.56), width=(0.12, 0.35), ahead=(-0.06, 0.0), split=(0.72, 0.88), lean=(-5, 25), bend=(-5, 40),
    ),
}  # fmt: skip
_PARTS = tuple(name for name in Activity.__dataclass_fields__ if name not in ("arms", "over"))
_FEET = np.array([name in ("width", "ahead", "split", "toes") for name in _PARTS])
_ANGLES = frozenset(("toes", "knees", "lean", "bend", "roll", "twist", "look", "look_down"))
_SIDES = np.array([1.0, -1.0])


def _bone(child: int) -> tuple[np.ndarray, float]:
    """The rotations (2,4) from straight down to the bones of both sides, and their length m."""
    bones = figure.OFFSETS[[child, child + 1]]
    length = float(np.linalg.norm(bones[0]))
    down = np.array([0.0, -1.0, 0.0])
    axes = quats.cross(np.tile(down, (2, 1)), bones / length)
    sine = np.linalg.norm(axes, axis=-1, keepdims=True)
    return quats.from_rotvec(axes / sine * np.arcsin(sine)), length


_THIGH, _THIGH_LENGTH = _bone(4)
_SHIN, _SHIN_LENGTH = _bone(7)


def _limb(direction: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Rotations (2,4) of a bone that hangs straight down, to ``direction`` (2,3), its front side turned to ``front`` (2,3)."""
    z = front - (front * direction).sum(-1, keepdims=True) * direction
    z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    return quats.from_columns(quats.cross(-direction, z), -direction, z)


def legs_to(root: np.ndarray, ankles: np.ndarray, knees: np.ndarray, feet: np.ndarray) -> np.ndarray:
    """Local quaternions (3,2,4) of hips, knees and ankles of a pelvis at the origin, oriented ``root`` (4,).

    ``ankles`` (2,3) m, left first; the knees point towards ``knees`` (2,3); ``feet`` (2,4) are the feet's global rotations,
    or where a shin lies on the ground, relaxed with pointed toes.
    """
    hips = quats.apply(root, figure.OFFSETS[[1, 2]])
    way = ankles - hips
    length = np.linalg.norm(way, axis=-1, keepdims=True)
    along, length = way / length, np.clip(length, 0.2, 0.993 * (_THIGH_LENGTH + _SHIN_LENGTH))
    side = knees - (knees * along).sum(-1, keepdims=True) * along
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    near = (length**2 + _THIGH_LENGTH**2 - _SHIN_LENGTH**2) / (2 * length)
    knee = near * along + np.sqrt(np.maximum(_THIGH_LENGTH**2 - near**2, 0.0)) * side
    thigh_down, shin_down = knee / _THIGH_LENGTH, (length * along - knee) / _SHIN_LENGTH
    thigh = quats.multiply(_limb(thigh_down, side), quats.conjugate(_THIGH))
    shin = quats.multiply(_limb(shin_down, side), quats.conjugate(_SHIN))
    pointed = quats.multiply(shin, quats.about("x", np.full(2, 0.85)))
    feet = np.where(shin_down[:, 1:2] > -0.35, pointed, feet)
    return quats.multiply(quats.conjugate(np.stack([np.stack([root, root]), thigh, shin])), np.stack([thigh, shin, feet]))


def stance(values: dict[str, float], arms: np.ndarray, *, over: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pose (24,4) and root place (2,) m of one set of stance values (degrees) and arms (2,4,4); the feet are around the origin.

    ``over`` (0 left, 1 right) is the leg that a sitting person lays over the other one.
    """
    v = {name: np.radians(x) if name in _ANGLES else x for name, x in values.items()}
    pose = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (24, 1))
    root = quats.from_rotvec(np.array([v["lean"], 0.3 * v["twist"], v["roll"]]))
    pitch = np.arcsin(min(v["heel"] / 0.15, 0.9))
    ankles = np.stack(
        [
            _SIDES * 0.5 * v["width"],
            np.full(2, _ANKLE + v["heel"] - _STRAIGHT * v["height"]),
            v["ahead"] + _SIDES * 0.5 * v["split"],
        ],
        axis=1,
    )
    if over is not None:
        ankles[over] += np.array([-0.3 * _SIDES[over], 0.22, 0.12])
    knees = np.stack([_SIDES * np.sin(v["knees"]), np.zeros(2), np.full(2, np.cos(v["knees"]))], axis=1)
    feet = quats.multiply(quats.about("y", _SIDES * v["toes"]), quats.about("x", np.full(2, pitch)))
    pose[0] = root
    pose[[1, 2, 4, 5, 7, 8]] = legs_to(root, ankles, knees, feet).reshape(6, 4)
    pose[[10, 11]] = quats.about("x", -pitch)
    pose[[3, 6, 9]] = quats.from_rotvec(np.array([v["bend"], 0.7 * v["twist"], -0.8 * v["roll"]]) / 3)
    upright = v["look_down"] - 0.45 * (v["lean"] + v["bend"])
    pose[[12, 15]] = quats.from_rotvec(np.array([upright, v["look"], 0.0]) / 2)
    pose[[13, 16, 18, 20]], pose[[14, 17, 19, 21]] = arms
    return pose, -ankles[:, [0, 2]].mean(axis=0)


def activity_keys(rng: np.random.Generator, name: str, seconds: float) -> Keys:
    """At least ``seconds`` of activity ``name``: key poses near one another, held and joined by moves from rest to rest."""
    activity = ACTIVITIES[name]
    base, sway = rng.random(len(_PARTS)), np.where(_FEET, 0.04, 0.25)
    rests, over = rng.random() < 0.3, int(rng.integers(2)) if rng.random() < activity.over else None
    poses, places, times, arms = [], [], [0.0], draw_arms(rng, activity.arms)
    while times[-1] < seconds or len(poses) < 2:
        now = ACTIVITIES["stand"] if rests and len(poses) % 4 else activity
        shares = np.clip(base + sway * rng.normal(size=len(_PARTS)), 0.0, 1.0)
        values = {}
        for part, share in zip(_PARTS, shares, strict=True):
            low, high = getattr(activity if part in ("width", "split", "toes") else now, part)
            values[part] = low + share * (high - low)
        if rng.random() < 0.6:
            arms = draw_arms(rng, now.arms)
        pose, place = stance(values, arms, over=over if now is activity else None)
        times += hold_after_move(rng, poses[-1], pose, times[-1]) if poses else [rng.uniform(0.1, 1.0)]
        poses += [pose, pose]
        places += [place, place]
    eased = np.ones(len(poses) - 1, bool)
    return Keys(np.array(times), limits.clamp(np.stack(poses)), np.stack(places), np.zeros(len(poses)), eased)


def hold_after_move(rng: np.random.Generator, before: np.ndarray, after: np.ndarray, start: float) -> list[float]:
    """When the move to ``after`` ends, at 0.8 to 2.6 rad/s of the joint that turns most, and when the hold after it does."""
    angle = np.linalg.norm(quats.to_rotvec(quats.multiply(quats.conjugate(before), after)), axis=-1).max()
    end = start + max(0.35, angle / rng.uniform(0.8, 2.6))
    return [end, end + rng.uniform(0.05, 1.0)]
