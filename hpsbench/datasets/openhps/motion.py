"""How OpenHPS people move: smooth tracks made of motion capture, everyday activities, their mixtures and perturbations.

Train and test share no clip segment (``mocap.SEGMENTS``) and no stream of parameters: the same generator state gives different
draws in either split.
"""

from dataclasses import dataclass

import numpy as np

from hpsbench.datasets.openhps import figure, limits, mocap, quats
from hpsbench.datasets.openhps.activities import activity_keys
from hpsbench.datasets.openhps.keys import Keys
from hpsbench.seeds import rng_of

SPLITS = ("train", "test")
UPPER = np.array([6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23])

_EVERYDAY = {
    "stand": 0.22, "walk": 0.17, "sit": 0.12, "reach": 0.07, "crouch": 0.06, "bend": 0.045, "carry": 0.03, "lunge": 0.02,
    "kneel": 0.015, "half-kneel": 0.015,
}  # fmt: skip
_ATHLETIC = {
    "dance_a": 0.06, "dance_b": 0.06, "punch": 0.045, "kick": 0.035, "jump": 0.035, "run": 0.04, "spinkick": 0.02, "crawl": 0.01,
    "getup_faceup": 0.01, "getup_facedown": 0.01, "cartwheel": 0.01, "backflip": 0.005, "roll": 0.005, "spin": 0.01,
}  # fmt: skip
# Standard deviation in radians of what is added to each joint: a constant per track, and half as much that moves slowly.
_SPREAD = np.array(
    [0.04, 0.06, 0.06, 0.05, 0.06, 0.06, 0.05, 0.07, 0.07, 0.05, 0.06, 0.06, 0.08, 0.05, 0.05, 0.08, 0.11, 0.11, 0.1, 0.1, 0.15, 0.15, 0.1, 0.1]
)  # fmt: skip


@dataclass(frozen=True)
class MotionTrack:
    """``rotvecs`` (N,24,3) rad, joint 0 the orientation in a world with Y up, and ``trans`` (N,3) m, the pelvis, the ground near y = 0.

    ``label`` says what the person does.
    """

    rotvecs: np.ndarray
    trans: np.ndarray
    label: str


def make_track(rng: np.random.Generator, n_frames: int, *, fps: float = 30.0, split: str = "train") -> MotionTrack:
    """A track of ``n_frames`` poses at ``fps`` frames a second: about 3 of 4 show everyday activities, the others athletic clips.

    Raises MissingExtraError without the package pybullet, DataError where its clips cannot be read.
    """
    if split not in SPLITS:
        raise ValueError(f"No split '{split}'; expected one of {', '.join(SPLITS)}.")
    rng = rng_of("openhps-motion", split, int(rng.integers(2**62)))
    tries = [_try_track(rng, n_frames, fps, split) for _ in range(1)]
    while tries[-1][0] > 0.03 and len(tries) < 4:
        tries.append(_try_track(rng, n_frames, fps, split))
    return min(tries, key=lambda result: result[0])[1]


def _try_track(rng: np.random.Generator, n_frames: int, fps: float, split: str) -> tuple[float, MotionTrack]:
    """A track and how deep, in metres, its arms get into the trunk, head or thighs."""
    seconds = (n_frames - 1) / fps
    keys, label = _draw_motion(rng, seconds, split)
    times = np.arange(n_frames) / fps + rng.uniform(0.0, max(keys.duration - seconds, 0.0))
    pose, place, clearance = keys.at(times)
    if label in _MIXED and rng.random() < _MIXED[label]:
        other, other_label = _draw_upper(rng, seconds, split)
        upper = other.at(np.arange(n_frames) / fps)[0]
        pose[:, UPPER] = upper[:, UPPER]
        pose[:, 3] = quats.slerp(pose[:, 3], upper[:, 3], np.array(0.5))
        label = f"{label} + {other_label}"
    pose = limits.clamp(quats.multiply(pose, quats.from_rotvec(_drift(rng, times - times[0]))))
    turn = quats.about("y", rng.uniform(-np.pi, np.pi))
    pose[:, 0] = quats.multiply(turn, pose[:, 0])
    joints, rotations = figure.forward(pose)
    ground = quats.apply(turn, np.stack([place[:, 0], 0 * clearance, place[:, 1]], axis=1))
    ground[:, 1] = clearance - figure.lowest(joints, rotations)
    depth = float(figure.penetration(joints, rotations).max())
    return depth, MotionTrack(quats.to_rotvec(pose), ground, label)


# How often the upper body of another motion is put on the legs of a walk or run.
_MIXED = {"walk": 0.45, "run": 0.2, "jump": 0.2}


def _draw(rng: np.random.Generator, weights: dict[str, float]) -> str:
    sums = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))]


def _draw_motion(rng: np.random.Generator, seconds: float, split: str) -> tuple[Keys, str]:
    known = {name: w for name, w in (_EVERYDAY | _ATHLETIC).items() if name not in mocap.SEGMENTS or mocap.SEGMENTS[name][split]}
    label = _draw(rng, known)
    return (_clip_keys(rng, label, seconds, split) if label in mocap.SEGMENTS else activity_keys(rng, label, seconds)), label


def _draw_upper(rng: np.random.Generator, seconds: float, split: str) -> tuple[Keys, str]:
    label = _draw(rng, {"stand": 5, "carry": 2, "dance_a": 1, "dance_b": 1, "punch": 1})
    return (_clip_keys(rng, label, seconds, split) if label in mocap.SEGMENTS else activity_keys(rng, label, seconds)), label


def _clip_keys(rng: np.random.Generator, name: str, seconds: float, split: str) -> Keys:
    """At least ``seconds`` of clip ``name``, retimed, perhaps mirrored, and repeated with moves back to its start in between."""
    parts = mocap.SEGMENTS[name][split]
    part = mocap.segment(name, parts[int(rng.integers(len(parts)))]).retimed(rng.uniform(0.8, 1.4))
    part = part.mirrored() if rng.random() < 0.5 else part
    keys = part
    while keys.duration < seconds:
        if name in mocap.CYCLES:
            keys = keys.followed_by(part, seconds=0.0)
        else:
            keys = keys.followed_by(part.mirrored() if rng.random() < 0.5 else part, seconds=rng.uniform(0.6, 1.0))
    return keys


def _drift(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Rotation vectors (N,24,3): per joint a constant and three slow waves of 0.1 to 0.7 Hz, by ``_SPREAD``."""
    constant = rng.normal(size=(1, 24, 3))
    waves = rng.normal(size=(3, 1, 24, 3)) / np.sqrt(6)
    hertz, phase = rng.uniform(0.1, 0.7, (3, 1, 24, 3)), rng.uniform(0, 2 * np.pi, (3, 1, 24, 3))
    slow = (waves * np.sin(2 * np.pi * hertz * times[:, None, None] + phase)).sum(axis=0)
    return _SPREAD[:, None] * (constant + slow)
