"""One clip of Human3.6M: what the files say of it, cut to a rule, checked, projected through the lens and boxed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import torch

from hpsbench.datasets.base_3dpw import boxes_of, inside
from hpsbench.datasets.base_h36m_camera import Camera
from hpsbench.datasets.base_h36m_frames import TAIL, Images, Pictures, Video
from hpsbench.datasets.base_h36m_names import FIX_SHIFT, S9_SHIFT_WORLD, S9_SHIFTED, Clip
from hpsbench.errors import DataError
from hpsbench.skeleton import joint_index, subset

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

BOX_REASONS = {
    "joints-in-image": "no joint inside the image",
    "keypoints": "no 2D joint of the annotation",
    "masks": "empty mask",
    "annotation": "no annotated box",
}
# Joints of one moment are the same points in all views, to a millimetre; frames of a take that are compared.
_APART_M = 0.05
_FRAMES_COMPARED = 50
TOO_SMALL, NO_PICTURE = "box under one pixel", "no picture of the last poses"


@dataclass(frozen=True)
class Rule:
    """How a dataset of name ``name`` cuts its clips: skeleton, box rule, scale of boxes, rule on bad sequences."""

    name: str
    skeleton: str
    bbox: str
    scale: float
    bad: str


@dataclass(frozen=True)
class Annotated:
    """What the files say of a clip, F frames in the camera frame.

    ``frames`` (F,) numbers from 0 in the video; ``joints`` (F, J, 3) m of ``skeleton``; ``keypoints`` (F, J, 2) px: its own 2D, if
    any; ``boxes`` gives (n, 4) xyxy px of some rows of it, if the form has boxes; ``rotvecs`` (F, 24, 3), ``betas`` (F, 10) and ``roots``
    (F, 3) m: SMPL fits and where their pelvis is.
    """

    clip: Clip
    camera: Camera
    frames: np.ndarray
    joints: np.ndarray
    skeleton: str
    keypoints: np.ndarray | None = None
    boxes: Callable[[np.ndarray], np.ndarray] | None = None
    rotvecs: np.ndarray | None = None
    betas: np.ndarray | None = None
    roots: np.ndarray | None = None


@dataclass(frozen=True)
class KeptClip:
    """The rows of a clip that the step of the frame rule keeps; ``joints2d`` (N, J, 2) px, ``boxes`` (N, 4) or NaN, ``keypoints``
    (N, J, 3) with confidence 0 or 1."""

    clip: Clip
    camera: Camera
    pictures: Images | Video
    frames: np.ndarray
    joints: np.ndarray
    joints2d: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray | None
    rotvecs: np.ndarray | None
    betas: np.ndarray | None
    trans: np.ndarray | None


def cut(found: Annotated, rows: np.ndarray, rule: Rule, pictures: Pictures, bodies: "Bodies | None") -> KeptClip:
    """The ``rows`` of a clip in the rule's skeleton, projected and boxed. Raises DataError where it shows no people or has no picture."""
    if (np.diff(found.frames) <= 0).any():
        raise DataError(
            f"{rule.name}: {found.clip.name} holds a frame twice, or frames out of order. Expected each once; get its file again."
        )
    joints = _in_skeleton(found, found.joints[rows], rule)
    _check_people(found.clip, joints, rule)
    if rule.bad == FIX_SHIFT and found.clip[:3] in S9_SHIFTED:
        joints = joints - _turn_of(found, rule.name) @ np.array(S9_SHIFT_WORLD)
    keypoints = None if found.keypoints is None else _in_skeleton(found, found.keypoints[rows], rule)
    joints2d = found.camera.project(joints)
    frames = found.frames[rows]
    source = pictures.find(found.clip, int(frames[0]))
    betas = None if found.betas is None else found.betas[rows]
    return KeptClip(
        clip=found.clip,
        camera=found.camera,
        pictures=source,
        frames=frames,
        joints=joints,
        joints2d=joints2d,
        boxes=_boxes(found, rows, rule, (joints2d, keypoints), source.size),
        keypoints=None if keypoints is None else np.concatenate([keypoints, np.isfinite(keypoints).all(-1, keepdims=True)], axis=-1),
        rotvecs=None if found.rotvecs is None else found.rotvecs[rows],
        betas=betas,
        trans=None if betas is None or bodies is None else found.roots[rows] - _rest_pelvis(bodies, betas),
    )


def _boxes(found: Annotated, rows: np.ndarray, rule: Rule, flat: tuple[np.ndarray, np.ndarray | None], size: tuple[int, int]) -> np.ndarray:
    joints2d, keypoints = flat
    if rule.bbox == "joints-in-image":
        return boxes_of(joints2d, inside(joints2d, size), rule.scale)
    if rule.bbox == "keypoints":
        return boxes_of(keypoints, np.isfinite(keypoints).all(-1), rule.scale)
    corners = found.boxes(rows).reshape(-1, 2, 2)
    return boxes_of(corners, np.isfinite(corners).all(-1), rule.scale)


def _check_people(clip: Clip, joints: np.ndarray, rule: Rule) -> None:
    """Raises DataError where a person is no person: NaN, another unit or another order of joints."""
    hip, knee = (joint_index(rule.skeleton, name) for name in ("right_hip", "right_knee"))
    thigh, depth = float(np.median(np.linalg.norm(joints[:, hip] - joints[:, knee], axis=-1))), float(np.median(joints[:, 0, 2]))
    if not np.isfinite(joints).all():
        raise DataError(f"{rule.name}: the joints of {clip.name} hold NaN or infinity, expected finite numbers. Unpack its file again.")
    if not 0.25 < thigh < 0.7:
        raise DataError(
            f"{rule.name}: the right thigh of {clip.name} is {thigh:.4g} m long, expected 0.25 to 0.7 m. The file is in another unit "
            "or another order of joints than its form has; get it again from where the card says."
        )
    if not 1 < depth < 15:
        raise DataError(
            f"{rule.name}: the people of {clip.name} are {depth:.2f} m in front of the camera, expected 1 to 15 m. The joints are not in "
            "the camera's frame, or its metadata is another's; get both again from where the card says."
        )


def rightly_sided(joints: np.ndarray, skeleton: str) -> dict[str, float]:
    """Of people (N, J, 3) the part whose left "hip" and "shoulder" are on the left, as nose and trunk tell it: 1 but for odd poses."""
    at = {name: joints[:, joint_index(skeleton, name)] for name in ("pelvis", "neck", "head", "head_top")}
    up, forward = at["neck"] - at["pelvis"], at["head"] - (at["neck"] + at["head_top"]) / 2
    left = np.cross(up, forward)
    parts = {}
    for part in ("hip", "shoulder"):
        across = joints[:, joint_index(skeleton, f"left_{part}")] - joints[:, joint_index(skeleton, f"right_{part}")]
        parts[part] = float(((across * left).sum(-1) > 0).mean())
    return parts


def apart(views: Mapping[str, tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]) -> list[str]:
    """Views of one take, and how many m off, whose people stand elsewhere in the room than the middle (median) of all views has them.

    ``views``: by name their frames (N,), ascending, and what gives the joints (n, J, 3) m in the room of some rows of them. Two views that
    disagree are both named.
    """
    common = reduce(np.intersect1d, [frames for frames, _ in views.values()]) if len(views) > 1 else np.empty(0, dtype=int)
    if not len(common):
        return []
    some = common[np.unique(np.linspace(0, len(common) - 1, _FRAMES_COMPARED).astype(int))]
    world = np.stack([in_room(np.searchsorted(frames, some)) for frames, in_room in views.values()])
    world = world[:, np.isfinite(world).all(axis=(0, 2, 3))]
    if not world.size:
        return []
    off = np.median(np.linalg.norm(world - np.median(world, axis=0), axis=-1), axis=(1, 2))
    return [f"{name} ({metres:.2f} m)" for name, metres in zip(views, off.tolist(), strict=True) if metres > _APART_M]


def extrinsics_line(split: str, wrong: Sequence[str]) -> list[tuple[str, str]]:
    """(level, message) on the views that ``apart`` found; none where it found none."""
    if not wrong:
        return []
    text = f"{split}: cameras put people elsewhere in the room than the other views of the take do: {', '.join(wrong[:4])}"
    return [("error", f"{text}; wrong extrinsics, of another camera, subject or take. Get the calibration of this release")]


def _in_skeleton(found: Annotated, points: np.ndarray, rule: Rule) -> np.ndarray:
    """``points`` (N, J, D) of the clip's skeleton, by name, in that asked for. Raises DataError where it lacks joints."""
    if found.skeleton != "h36m32" and rule.skeleton == "h36m32":
        raise DataError(
            f"'{rule.name}' holds {points.shape[1]} joints, expected 32 for the skeleton 'h36m32'. Use 'h36m17', or the raw release."
        )
    return points[:, list(subset(found.skeleton, rule.skeleton))].astype(np.float64)


def _turn_of(found: Annotated, name: str) -> np.ndarray:
    if found.camera.rotation is None:
        raise DataError(f"'{name}' does not say how its cameras stand, which '{FIX_SHIFT}' needs. Use 'drop-s9-shifted', or another form.")
    return found.camera.rotation


def usable_rows(clip: KeptClip, last: int, dropped: dict[str, int], no_box: str) -> np.ndarray:
    """The mask (N,) of rows with a picture and a box; counts the rest. Raises DataError where more than a tail has no picture."""
    has = clip.pictures.has(clip.frames)
    gaps = clip.frames[~has]
    if len(gaps) and gaps[0] <= last - TAIL:
        first = clip.pictures.path(int(gaps[0]))
        raise DataError(
            f"{len(gaps):,} of {len(clip.frames):,} pictures of {clip.clip.name} are missing, the first is {first}. "
            "Extract all frames, choose the frame rule that they were extracted by, or leave a damaged clip out by a 'drop' rule."
        )
    width, height = (clip.boxes[:, 2:] - clip.boxes[:, :2]).T
    usable = np.ones(len(has), dtype=bool)
    for reason, bad in ((NO_PICTURE, ~has), (no_box, np.isnan(width)), (TOO_SMALL, np.maximum(width, height) < 1)):
        dropped[reason] += int((usable & bad).sum())
        usable &= ~bad
    return usable


def _rest_pelvis(bodies: "Bodies", betas: np.ndarray) -> np.ndarray:
    """The neutral body's pelvis at rest (N, 3) m, which its ``trans`` is counted from."""
    return bodies.neutral.rest_joints(torch.from_numpy(betas))[:, 0].double().cpu().numpy()
