"""Walking of our own: joint angles over the gait cycle from parameters, from a stroll to long strides and climbing stairs."""

import numpy as np

from hpsbench.datasets.openhps import figure, quats
from hpsbench.datasets.openhps.keys import Keys

_KEYS_PER_CYCLE = 20


def _bump(phase: np.ndarray, centre: float, width: float) -> np.ndarray:
    away = (phase - centre + 0.5) % 1.0 - 0.5
    return np.exp(-0.5 * (away / width) ** 2)


def _leg(phase: np.ndarray, stride: float, lift: float, crouch: float) -> np.ndarray:
    """Hip, knee and ankle flexion (3,K) in degrees over ``phase`` (0 and 1: the heel strikes).

    Source: the shape of the curves follows the gait cycle of healthy adults as textbooks draw it (Perry, Gait Analysis).
    """
    swing = _bump(phase, 0.76, 0.1)
    hip = 9 + 21 * stride * np.cos(2 * np.pi * phase) + lift * swing + 0.6 * crouch
    knee = 6 + 12 * stride * _bump(phase, 0.14, 0.06) + (30 + 28 * stride) * _bump(phase, 0.72, 0.09) + lift * swing + crouch
    ankle = stride * (11 * _bump(phase, 0.44, 0.12) - 7 * _bump(phase, 0.08, 0.04) - 20 * _bump(phase, 0.62, 0.06)) + 0.4 * crouch
    return np.stack([hip, knee, ankle])


def gait_keys(rng: np.random.Generator, seconds: float) -> Keys:
    """At least ``seconds`` of walking along a curve, keys about 0.06 s apart; the foot that carries the body does not slide."""
    stride, period = rng.uniform(0.35, 1.4), rng.uniform(0.9, 1.6)
    lift, crouch = max(0.0, rng.uniform(-60, 60)), max(0.0, rng.uniform(-30, 35))
    count = int(np.ceil(max(seconds, period) / period * _KEYS_PER_CYCLE)) + 2
    phase = rng.random() + np.arange(count) / _KEYS_PER_CYCLE
    pose = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (count, 24, 1))
    width, toes = np.radians(rng.uniform(-3, 7)), np.radians(rng.uniform(-3, 18))
    arms = rng.uniform(0.3, 1.6) * stride, np.radians(rng.uniform(5, 90) if rng.random() < 0.4 else rng.uniform(5, 35))
    for side, shift in ((0, 0.0), (1, 0.5)):
        sign = 1 - 2 * side
        hip, knee, ankle = np.radians(_leg(phase + shift, stride, lift, crouch))
        pose[:, 1 + side] = quats.multiply(
            quats.about("y", sign * toes), quats.multiply(quats.about("x", -hip), quats.about("z", sign * width))
        )
        pose[:, 4 + side], pose[:, 7 + side] = quats.about("x", knee), quats.about("x", -ankle)
        pose[:, 16 + side], pose[:, 18 + side] = _arm(phase + shift + 0.5, sign, *arms)
    sway, lean = stride * np.cos(2 * np.pi * phase), np.radians(rng.uniform(-4, 12))
    course = np.cumsum(np.full(count, np.radians(rng.normal(0, 25)) / _KEYS_PER_CYCLE))
    drop = 0.05 * stride * np.sin(2 * np.pi * phase + 0.6)
    pose[:, 0] = quats.multiply(quats.about("y", course), quats.from_rotvec(np.stack([np.full(count, lean), -0.08 * sway, drop], axis=1)))
    pose[:, [3, 6, 9]] = quats.from_rotvec(np.stack([0 * sway, 0.2 * sway, -drop], axis=1) / 3)[:, None]
    pose[:, [12, 15]] = quats.from_rotvec(np.stack([0 * sway - 0.6 * lean, -0.1 * sway, 0 * sway], axis=1) / 2)[:, None]
    return Keys(np.arange(count) * period / _KEYS_PER_CYCLE, pose, _no_slip(pose), np.zeros(count))


def _arm(phase: np.ndarray, sign: int, swing: float, elbow: float) -> tuple[np.ndarray, np.ndarray]:
    """Shoulder and elbow (K,4) of an arm that swings in front at phase 0; ``sign`` 1 is the left one."""
    forward = np.radians(3 + 18 * swing * np.cos(2 * np.pi * phase))
    hang = quats.multiply(quats.about("x", -forward), quats.about("z", np.full(len(phase), -sign * 1.38)))
    return hang, quats.about("y", -sign * (elbow + 0.25 * swing * (1 + np.cos(2 * np.pi * phase))))


def _no_slip(pose: np.ndarray) -> np.ndarray:
    """Root places (K,2) m, from the origin on, that hold the lower ankle where it is from each key to the next."""
    ankles = figure.forward(pose)[0][:, [7, 8]]
    lower = ankles[:-1, :, 1].argmin(axis=1)
    moves = -np.diff(ankles[:, :, [0, 2]], axis=0)[np.arange(len(lower)), lower]
    return np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
