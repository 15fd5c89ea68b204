"""One view of MPI-INF-3DHP: its annotation cut to the rules, checked, projected and boxed."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpsbench.datasets.base_3dpw import TOO_SMALL, boxes_of, inside
from hpsbench.datasets.base_h36m_frames import TAIL, Images, Video
from hpsbench.datasets.base_mpi_inf_3dhp import Camera, Clip, find_pictures
from hpsbench.datasets.base_mpi_inf_3dhp_files import Annotated
from hpsbench.errors import DataError
from hpsbench.skeleton import edges, joint_index, subset


class FrameRule(NamedTuple):
    """Every ``step``-th row of a view; only those flagged ``valid``; only people with all 17 joints ``inside`` the image."""

    step: int
    valid: bool
    inside: bool


FRAME_RULES = {
    "all": FrameRule(1, False, False),
    "valid": FrameRule(1, True, False),
    "valid-inside": FrameRule(1, True, True),
    "every-10th": FrameRule(10, True, False),
    "every-10th-inside": FrameRule(10, True, True),
}
BOX_RULES = {"joints-in-image": "no joint inside the image", "keypoints": "no 2D joint of the annotation"}
PAST, NOT_IN_STEP, _INVALID, _OUTSIDE = "past the usable frames", "not every 10th", "flagged invalid", "a joint outside the image"
_NO_PICTURE = "no picture of the last rows"
_THIGH_M = (0.25, 0.7)
_EVEN = 0.02
_LIMBS = ("hip", "knee", "ankle", "shoulder")


@dataclass(frozen=True)
class Rule:
    """How a dataset cuts its views: frame rule, box rule, scale of boxes, skeleton, and which of the two truths."""

    frames: str
    bbox: str
    scale: float
    skeleton: str
    universal: bool


@dataclass(frozen=True)
class Cut:
    """The N rows of a view that the step of the frame rule keeps; m in the camera frame and px, joints of the rule's skeleton.

    ``joints`` (N, J, 3) are the truth; ``joints2d`` (N, J, 2) the projection of the metric ones, whatever the truth; ``keypoints``
    (N, J, 3) with confidence 0 or 1, ``boxes`` (N, 4) or NaN; ``flags`` (N,) and ``valid`` (N, J) bool, ``activity`` (N,). Of all
    ``total`` rows ``flagged`` are valid.
    ``right_sided``: see ``rightly_sided``. ``even``: the part of the rows whose universal bones are one multiple of the metric ones.
    """

    clip: Clip
    camera: Camera
    pictures: Images | Video
    total: int
    flagged: int
    frames: np.ndarray
    joints: np.ndarray
    joints2d: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray
    flags: np.ndarray
    valid: np.ndarray
    activity: np.ndarray | None
    right_sided: dict[str, float]
    even: float


def reasons_of(rule: Rule) -> tuple[str, ...]:
    """Why a row may be dropped, in the order in which that is asked."""
    step, valid, all_inside = FRAME_RULES[rule.frames]
    by_rule = [NOT_IN_STEP] * (step > 1) + [_INVALID] * valid + [_OUTSIDE] * all_inside
    return (PAST, *by_rule, _NO_PICTURE, BOX_RULES[rule.bbox], TOO_SMALL)


def cut(found: Annotated, rows: np.ndarray, rule: Rule, folder: Path, listed: dict[Path, frozenset[str]]) -> Cut:
    """The ``rows`` of a view. Raises DataError where it shows no people or has no picture of the right size in ``folder``."""
    clip, flags, of17 = found.clip, found.valid[rows], list(subset(found.skeleton, "mpi17"))
    people, keypoints = found.joints[rows][:, of17], found.keypoints[rows][:, of17]
    _check_people(clip, people[flags])
    flat = found.camera.project(people)
    if rule.bbox == "keypoints":
        boxes = boxes_of(keypoints, np.isfinite(keypoints).all(-1), rule.scale)
    else:
        boxes = boxes_of(flat, inside(flat, clip.size), rule.scale)
    wanted = list(subset(found.skeleton, rule.skeleton))
    joints = (found.universal if rule.universal else found.joints)[rows][:, wanted]
    points = found.keypoints[rows][:, wanted]
    known = np.isfinite(points).all(-1) & flags[:, None]
    first = rows[flags][0] if flags.any() else 0
    return Cut(
        clip=clip,
        camera=found.camera,
        pictures=find_pictures(folder, clip, int(first), listed),
        total=len(found.joints),
        flagged=int(found.valid.sum()),
        frames=rows,
        joints=joints,
        joints2d=found.camera.project(found.joints[rows][:, wanted]),
        keypoints=np.concatenate([points, known[..., None]], axis=-1),
        boxes=boxes,
        flags=flags,
        valid=np.isfinite(joints).all(-1) & flags[:, None],
        activity=None if found.activity is None else found.activity[rows],
        right_sided=rightly_sided(people[flags]),
        even=1.0 if found.universal is None else _evenly_scaled(people[flags], found.universal[rows][flags][:, of17]),
    )


def usable_rows(made: Cut, usable: int, rule: Rule, dropped: dict[str, int]) -> np.ndarray:
    """The mask (N,) of rows to keep; counts the rest. Raises DataError where more than the last rows have no picture.

    ``usable``: how many rows should have a frame.
    """
    people = made.joints2d[:, list(subset(rule.skeleton, "mpi17"))]
    width, height = (made.boxes[:, 2:] - made.boxes[:, :2]).T
    masks = {
        _INVALID: ~made.flags,
        _OUTSIDE: ~inside(people, made.clip.size).all(-1),
        _NO_PICTURE: ~made.pictures.has(made.frames),
        BOX_RULES[rule.bbox]: np.isnan(width),
        TOO_SMALL: np.maximum(width, height) < 1,
    }
    kept = np.ones(len(made.frames), dtype=bool)
    for reason in (reason for reason in masks if reason in dropped):
        lost = kept & masks[reason]
        if reason == _NO_PICTURE:
            _check_pictures(made, made.frames[lost], usable)
        dropped[reason] += int(lost.sum())
        kept &= ~lost
    return kept


def _check_pictures(made: Cut, gaps: np.ndarray, usable: int) -> None:
    last = usable if made.clip.split == "test" else usable - TAIL
    if len(gaps) and gaps[0] < last:
        raise DataError(
            f"{len(gaps):,} of {len(made.frames):,} pictures of {made.clip.name} are missing, the first is "
            f"{made.pictures.path(int(gaps[0]))}. Extract all frames of its video, or download the video again."
        )


def _check_people(clip: Clip, people: np.ndarray) -> None:
    """Raises DataError where people (N, 17, 3) are no people: another unit, another order of joints, behind the camera."""
    hip, knee = (joint_index("mpi17", name) for name in ("right_hip", "right_knee"))
    bones = np.linalg.norm(people[:, hip] - people[:, knee], axis=-1)
    bones, depths = bones[np.isfinite(bones)], people[:, joint_index("mpi17", "pelvis"), 2]
    depths = depths[np.isfinite(depths)]
    if not len(bones) or not len(depths):
        raise DataError(f"{clip.name}: no row has a right thigh and a pelvis. Expected joints in mm; download the sequence again.")
    thigh, depth = float(np.median(bones)), float(np.median(depths))
    if not (_THIGH_M[0] < thigh < _THIGH_M[1] and 0.5 < depth < 20):
        raise DataError(
            f"{clip.name}: the right thigh is {thigh:.4g} m long and the pelvis {depth:.4g} m before the camera (medians), expected "
            f"{_THIGH_M[0]} to {_THIGH_M[1]} m and 0.5 to 20 m. The annotation is not in mm in the camera frame as published; get it again."
        )


def rightly_sided(people: np.ndarray) -> dict[str, float]:
    """Of people (N, 17, 3) the part whose left "hip" and "shoulder" are on the left, as trunk and bent knees tell it.

    A person weighs as much as the knees are bent. 0.5 where no knee is.
    """
    at = {name: people[:, joint_index("mpi17", name)] for name in ("pelvis", "neck")}
    sides = {(side, name): people[:, joint_index("mpi17", f"{side}_{name}")] for side in ("left", "right") for name in _LIMBS}
    forward = sum(sides[side, "knee"] - (sides[side, "hip"] + sides[side, "ankle"]) / 2 for side in ("left", "right"))
    left = np.cross(at["neck"] - at["pelvis"], forward)
    weight = np.nan_to_num(np.linalg.norm(forward, axis=-1))
    parts = {}
    for name in ("hip", "shoulder"):
        right = ((sides["left", name] - sides["right", name]) * left).sum(-1) > 0
        parts[name] = float((weight * right).sum() / weight.sum()) if weight.sum() > 0 else 0.5
    return parts


def _evenly_scaled(people: np.ndarray, universal: np.ndarray) -> float:
    """The part of the rows in which no bone's ratio universal to metric is 2 % off the median of all."""
    bones = np.array(edges("mpi17"))
    lengths = [np.linalg.norm(points[:, bones[:, 0]] - points[:, bones[:, 1]], axis=-1) for points in (people, universal)]
    ratios = lengths[1] / np.where(lengths[0] > 0, lengths[0], np.nan)
    if np.isnan(ratios).all():
        return 1.0
    off = np.abs(ratios / np.nanmedian(ratios) - 1) > _EVEN
    return float((~off.any(-1)).mean())
