"""How far each joint of a made-up pose may turn.

A joint's rotation is split into a twist about its bone and a swing square to it (``quats.swing_twist``). Its range is three
intervals in degrees for x, y and z: the twist angle along the bone's own axis, the swing's rotation vector along the others.
Ranges are those of a supple healthy adult, rounded; they are ours, made for SMPL's rest pose (a T).
"""

import numpy as np

from hpsbench.datasets.openhps import quats
from hpsbench.datasets.openhps.figure import MIRROR24

# joint: (bone axis, x range, y range, z range), left side and middle. The right side is their mirror image.
_RANGES = {
    1: ("y", (-140, 45), (-50, 75), (-35, 80)),  # hip: -x lifts the thigh forward, +z sideways
    3: ("y", (-25, 45), (-35, 35), (-25, 25)),  # spine: +x bends forward
    4: ("y", (-5, 155), (-35, 35), (-12, 12)),  # knee: +x flexes
    6: ("y", (-25, 45), (-35, 35), (-25, 25)),
    7: ("y", (-40, 60), (-30, 30), (-30, 30)),  # ankle: +x points the toes
    9: ("y", (-25, 45), (-35, 35), (-25, 25)),
    10: ("y", (-55, 30), (-10, 10), (-10, 10)),  # toes: -x lifts them
    12: ("y", (-40, 50), (-50, 50), (-35, 35)),
    13: ("x", (-20, 20), (-25, 25), (-15, 40)),  # collar: +z lifts the shoulder
    15: ("y", (-40, 45), (-50, 50), (-30, 30)),
    16: ("x", (-110, 110), (-150, 75), (-110, 110)),  # shoulder: -y brings the arm forward, -z down
    18: ("x", (-100, 100), (-155, 5), (-12, 12)),  # elbow: -y flexes
    20: ("x", (-75, 75), (-35, 35), (-80, 80)),
    22: ("x", (-20, 20), (-20, 20), (-40, 40)),
}


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    axes, low, high = np.tile([0.0, 1.0, 0.0], (24, 1)), np.full((24, 3), -np.inf), np.full((24, 3), np.inf)
    for joint, (axis, *ranges) in _RANGES.items():
        bounds = np.radians(np.array(ranges, float))
        axes[[joint, MIRROR24[joint]]] = np.eye(3)["xyz".index(axis)]
        low[joint], high[joint] = bounds.T
        if MIRROR24[joint] != joint:
            flipped = np.sort(bounds * np.array([[1.0], [-1.0], [-1.0]]), axis=1)
            low[MIRROR24[joint]], high[MIRROR24[joint]] = flipped.T
    return axes, low, high


AXES, LOW, HIGH = _tables()


def range_coordinates(pose: np.ndarray) -> np.ndarray:
    """Per joint the three angles (..., 24, 3) rad that ``LOW`` and ``HIGH`` bound, of local quaternions ``pose`` (..., 24, 4)."""
    swing, twist = quats.swing_twist(pose, AXES)
    return swing + twist[..., None] * AXES


def from_coordinates(coordinates: np.ndarray) -> np.ndarray:
    """Local quaternions (..., 24, 4) of ``range_coordinates`` (..., 24, 3)."""
    twist = np.sum(coordinates * AXES, axis=-1, keepdims=True) * AXES
    return quats.multiply(quats.from_rotvec(coordinates - twist), quats.from_rotvec(twist))


def clamp(pose: np.ndarray) -> np.ndarray:
    """The pose (..., 24, 4) with every joint but the root brought into its range; poses inside of them come back as they are."""
    clamped = from_coordinates(np.clip(range_coordinates(pose), LOW, HIGH))
    clamped[..., 0, :] = pose[..., 0, :]
    return clamped


def between(before: np.ndarray, after: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Poses (N,24,4) at fractions ``s`` (N,) of the way between poses (N,24,4), straight in ``range_coordinates``: two poses within
    the ranges have only such between them, which the shortest rotation (``quats.slerp``, taken for the root) does not grant.
    """
    start, end = range_coordinates(before), range_coordinates(after)
    pose = from_coordinates(start + s[:, None, None] * (end - start))
    pose[:, 0] = quats.slerp(before[:, 0], after[:, 0], s[:, None])
    return pose
