"""Real motion capture: the clips that lie in the pip package pybullet (zlib licence), as SMPL poses.

Source: pybullet_data/data/motions/humanoid3d_*.txt (the clips of DeepMimic, from the CMU and SFU motion capture databases).
A frame is [seconds to the next, root xyz, root quaternion wxyz, chest 4, neck 4, right hip 4, knee 1, ankle 4, shoulder 4,
elbow 1, the same of the left]; Y up, facing +X, arms hanging at rest.
"""

import importlib.util
import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from hpsbench.datasets.openhps import figure, quats
from hpsbench.datasets.openhps.keys import Keys
from hpsbench.errors import DataError, MissingExtraError

# name: ((first, last) parts of the clip for train, the same for test). The two never overlap, and a gap parts them. The second
# half of walk and run is the first one mirrored, and joined with a jerk: they are not split, and only the first half is used.
SEGMENTS: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "run": {"train": ((0.0, 0.46),), "test": ()},
    "walk": {"train": (), "test": ((0.0, 0.47),)},
    "dance_a": {"train": ((0.0, 0.60),), "test": ((0.66, 1.0),)},
    "dance_b": {"train": ((0.36, 1.0),), "test": ((0.0, 0.30),)},
    "jump": {"train": ((0.30, 1.0),), "test": ((0.0, 0.24),)},
    "punch": {"train": ((0.0, 0.55),), "test": ((0.62, 1.0),)},
    "kick": {"train": ((0.0, 0.62),), "test": ((0.70, 1.0),)},
    "spinkick": {"train": ((0.0, 0.55),), "test": ((0.62, 1.0),)},
    "crawl": {"train": ((0.0, 0.46),), "test": ((0.54, 1.0),)},
    "cartwheel": {"train": ((0.0, 1.0),), "test": ()},
    "backflip": {"train": ((0.0, 1.0),), "test": ()},
    "getup_faceup": {"train": ((0.0, 1.0),), "test": ()},
    "getup_facedown": {"train": (), "test": ((0.0, 1.0),)},
    "roll": {"train": (), "test": ((0.0, 1.0),)},
    "spin": {"train": (), "test": ((0.0, 1.0),)},
}
CYCLES = ("walk", "run")
_SIZE = 1.05
_BLOCKS = (
    ("chest", 4), ("neck", 4), ("hip_r", 4), ("knee_r", 1), ("ankle_r", 4), ("shoulder_r", 4), ("elbow_r", 1),
    ("hip_l", 4), ("knee_l", 1), ("ankle_l", 4), ("shoulder_l", 4), ("elbow_l", 1),
)  # fmt: skip


def clips_folder() -> Path:
    """Where pybullet keeps its clips, found without importing it. Raises MissingExtraError where it is not installed."""
    spec = importlib.util.find_spec("pybullet_data")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("pybullet", "openhps", "Making openhps people move")
    return Path(spec.submodule_search_locations[0]) / "data" / "motions"


def convert(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SMPL poses (N,24,4) and root positions (N,3) m, facing +Z, of DeepMimic frames (N,44)."""
    turned, offset = {}, 8
    for name, width in _BLOCKS:
        block = frames[:, offset : offset + width]
        turned[name] = _facing_z(block) if width == 4 else quats.about("x", -block[:, 0])
        offset += width
    pose = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (len(frames), 24, 1))
    pose[:, 0] = _facing_z(frames[:, 4:8])
    pose[:, [3, 6, 9]] = quats.from_rotvec(quats.to_rotvec(turned["chest"]) / 3)[:, None]
    pose[:, [12, 15]] = quats.from_rotvec(quats.to_rotvec(turned["neck"]) / 2)[:, None]
    for hip, knee, ankle, shoulder, elbow, side, hang in ((1, 4, 7, 16, 18, "l", -1), (2, 5, 8, 17, 19, "r", 1)):
        pose[:, hip], pose[:, knee], pose[:, ankle] = (turned[f"{part}_{side}"] for part in ("hip", "knee", "ankle"))
        to_hang = quats.about("z", hang * np.pi / 2)  # from SMPL's stretched arm to the hanging one
        pose[:, shoulder] = quats.multiply(turned[f"shoulder_{side}"], to_hang)
        pose[:, elbow] = quats.multiply(quats.conjugate(to_hang), quats.multiply(turned[f"elbow_{side}"], to_hang))
    x, y, z = frames[:, 1:4].T
    return pose, np.stack([-z, y, x], axis=1)


def _facing_z(q: np.ndarray) -> np.ndarray:
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    return np.stack([w, -z, y, x], axis=1)


@lru_cache(maxsize=1)
def clips() -> dict[str, Keys]:
    """Every clip of ``SEGMENTS`` as keys that start at the origin heading +Z."""
    return {name: _read(clips_folder() / f"humanoid3d_{name}.txt") for name in SEGMENTS}


def _read(path: Path) -> Keys:
    try:
        frames = np.array(json.loads(path.read_text())["Frames"], float)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"The motion clip {path} cannot be read ({error}); pybullet's own file was expected. Reinstall pybullet."
        ) from error
    pose, root = convert(frames)
    heights = _SIZE * root[:, 1] + figure.lowest(*figure.forward(pose))
    clearance = np.maximum(heights - np.percentile(heights, 10) - 0.03, 0.0)
    times = np.concatenate([[0.0], np.cumsum(frames[:-1, 0])])
    return Keys(times, pose, _SIZE * root[:, [0, 2]], clearance).straightened()


def segment(name: str, part: tuple[float, float]) -> Keys:
    """The part (first, last), fractions of its length, of clip ``name``; a half cycle of ``CYCLES`` is closed by its mirror image."""
    clip = clips()[name]
    first, last = (round(p * (len(clip.times) - 1)) for p in part)
    cut = clip[first : last + 1].straightened()
    return _closed(cut) if name in CYCLES else cut


def _closed(half: Keys) -> Keys:
    """A half cycle, going along +Z and bent so that its last pose mirrors its first one, and after it its mirror image."""
    way = half.place[-1] - half.place[0]
    half = half.moved(quats.about("y", -np.arctan2(way[0], way[1])), -half.place[0])
    goal = figure.mirrored(half.pose[0])
    miss = quats.to_rotvec(quats.multiply(quats.conjugate(half.pose[-1]), goal))
    share = np.linspace(0.0, 1.0, len(half.times))[:, None, None]
    bent = Keys(half.times, quats.multiply(half.pose, quats.from_rotvec(share * miss)), half.place, half.clearance)
    return bent.followed_by(bent.mirrored(), seconds=0.0)
