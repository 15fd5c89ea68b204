"""How OpenHPS people move: smooth tracks made of motion capture, everyday activities, their mixtures and perturbations.

Train and test share no clip segment (``mocap.SEGMENTS``) and no stream of parameters: the same generator state gives different
draws in either split.
"""

from dataclasses import dataclass

import numpy as np

from hpsbench.datasets.openhps import figure, limits, mocap, quats
from hpsbench.datasets.openhps.activities import activity_keys
from hpsbench.datasets.openhps.arms import shrugged
from hpsbench.datasets.openhps.gait import gait_keys
from hpsbench.datasets.openhps.keys import Keys
from hpsbench.datasets.openhps.resting import RESTING, resting_keys
from hpsbench.seeds import rng_of

SPLITS = ("train", "test")
UPPER = np.array([6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23])

# Shares of what people do, in percent: about 75 everyday, 25 athletic.
_SHARES = {
    "stand": 21, "walk": 7, "stride": 13, "sit": 12, "reach": 6, "crouch": 3.5, "squat": 2.5, "bend": 3.5, "carry": 2.5, "lunge": 1.5,
    "kneel": 1.2, "half-kneel": 1.2, "sit-crossed": 0.8, "sit-stretched": 0.8, "lie-back": 0.6, "lie-side": 0.4, "lie-front": 0.3,
    "dance_a": 4, "dance_b": 4, "punch": 3.2, "kick": 2.5, "jump": 2.5, "run": 2.8, "spinkick": 1.5, "crawl": 0.7,
    "getup_faceup": 0.7, "getup_facedown": 0.7, "cartwheel": 0.7, "backflip": 0.4, "roll": 0.4, "spin": 0.9,
}  # fmt: skip
# How often the upper body of another motion is put on these legs, and the shares of those motions.
_MIXED = {"walk": 0.5, "stride": 0.4, "run": 0.2, "jump": 0.2, "dance_a": 0.15, "dance_b": 0.15, "punch": 0.15}
_UPPER_SHARES = {"stand": 5, "carry": 2, "dance_a": 1, "dance_b": 1, "punch": 1}
_MAX_DEPTH = 0.03
# Standard deviation in radians of what is added to each joint: a constant per track, and half as much that moves slowly.
_SPREAD = np.array(
    [0.04, 0.06, 0.06, 0.05, 0.06, 0.06, 0.05, 0.07, 0.07, 0.05, 0.06, 0.06, 0.08, 0.05, 0.05, 0.08, 0.11, 0.11, 0.1, 0.1, 0.15, 0.15,
     0.1, 0.1]
)  # fmt: skip


@dataclass(frozen=True)
class MotionTrack:
    """``rotvecs`` (N,24,3) rad, joint 0 the orientation in a world with Y up; ``trans`` (N,3) m, where the pelvis of an average body is.

    The ground is near y = 0, the first frame near x = z = 0. ``label`` says what the person does.
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
    if n_frames < 1 or not fps > 0:
        raise ValueError(f"A track of {n_frames} frames at {fps} frames a second cannot be made; both must be positive.")
    mocap.clips()  # where they are missing, it shows at once and not at the first track that draws one
    rng = rng_of("openhps-motion", split, int(rng.integers(2**62)))
    name, times = _draw(rng, _shares_of(_SHARES, split)), np.arange(n_frames) / fps
    tries = [_try_track(rng, name, times, split)]
    while tries[-1][0] > _MAX_DEPTH and len(tries) < 4:
        tries.append(_try_track(rng, name, times, split))
    return min(tries, key=lambda result: result[0])[1]


def _try_track(rng: np.random.Generator, name: str, times: np.ndarray, split: str) -> tuple[float, MotionTrack]:
    """A track of motion ``name`` at ``times`` (N,) s from its start, and how deep, in metres, its arms get into trunk, head or thighs."""
    keys, label = _keys_of(rng, name, times[-1], split), name
    pose, place, clearance = keys.at(times + rng.uniform(0.0, max(keys.duration - times[-1], 0.0)))
    if rng.random() < _MIXED.get(name, 0.0):
        other = _draw(rng, _shares_of(_UPPER_SHARES, split))
        upper = _keys_of(rng, other, times[-1], split).at(times)[0]
        pose[:, UPPER] = upper[:, UPPER]
        pose[:, 3] = quats.slerp(pose[:, 3], upper[:, 3], np.array(0.5))
        label = f"{name} + {other}"
    pose = limits.clamp(quats.multiply(shrugged(pose), quats.from_rotvec(_drift(rng, times))))
    turn = quats.about("y", rng.uniform(-np.pi, np.pi))
    pose[:, 0] = quats.multiply(turn, pose[:, 0])
    joints, rotations = figure.forward(pose)
    path = place - place[0]
    trans = quats.apply(turn, np.stack([path[:, 0], 0 * clearance, path[:, 1]], axis=1))
    trans[:, 1] = clearance - figure.lowest(joints, rotations)
    return float(figure.penetration(joints, rotations).max()), MotionTrack(quats.to_rotvec(pose), trans, label)


def _draw(rng: np.random.Generator, weights: dict[str, float]) -> str:
    sums = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))]


def _shares_of(shares: dict[str, float], split: str) -> dict[str, float]:
    """The shares of the motions that there are in ``split``."""
    return {name: share for name, share in shares.items() if name not in mocap.SEGMENTS or mocap.SEGMENTS[name][split]}


def _keys_of(rng: np.random.Generator, name: str, seconds: float, split: str) -> Keys:
    """Keys of motion ``name`` that last at least ``seconds``."""
    if name in mocap.SEGMENTS:
        return _clip_keys(rng, name, seconds, split)
    if name == "stride":
        return gait_keys(rng, seconds)
    return (resting_keys if name in RESTING else activity_keys)(rng, name, seconds)


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
    """Rotation vectors (N,24,3): per joint a constant and three slow waves of 0.1 to 0.7 Hz, by ``_SPREAD`` times 0.4 to 1.6."""
    constant = rng.normal(size=(1, 24, 3))
    waves = rng.normal(size=(3, 1, 24, 3)) / np.sqrt(6)
    hertz, phase = rng.uniform(0.1, 0.7, (3, 1, 24, 3)), rng.uniform(0, 2 * np.pi, (3, 1, 24, 3))
    slow = (waves * np.sin(2 * np.pi * hertz * times[:, None, None] + phase)).sum(axis=0)
    return rng.uniform(0.4, 1.6) * _SPREAD[:, None] * (constant + slow)
