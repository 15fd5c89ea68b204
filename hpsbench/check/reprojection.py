"""Holds projected joints against the 2D annotation: how far they are off, in which sequences, and what would explain it."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from hpsbench.check.report import Report
from hpsbench.check.seen import Seen

# Median distance allowed, as a part of the box's longer side: annotations of the same points, and detections of points nearby.
_ALLOWED = {True: 0.02, False: 0.10}
_SHIFTS = (-1, 1, -2, 2, -3, 3, -4, 4, -5, 5)
_LEGS, _ARMS = ("hip", "knee", "ankle", "foot", "toe"), ("shoulder", "elbow", "wrist", "hand", "clavicle", "collar")
_SIDES = {"the legs": _LEGS, "the arms": _ARMS, "left and right": (*_LEGS, *_ARMS, "eye", "ear")}
# Another explanation has to bring the distance down to this part of what it is.
_EXPLAINS = 0.35
_SHIFT_EXPLAINS = 0.7
# Part of the box by which two explanations may differ and count as equal.
_NO_MATTER = 0.002
_FEWEST_PAIRS = 4
_WORST_SHOWN = 5
_PNP_POINTS = 600


def check_reprojection(report: Report, split: str, seen: Sequence[Seen]) -> None:
    """Lines on the distance of the projected joints from the 2D annotation: of all, of the worst sequences, and of each that is wrong."""
    measured = [(one, distances(one)) for one in seen]
    measured = [(one, away) for one, away in measured if np.isfinite(away).any()]
    if not measured:
        report.lines.append(
            (
                "warning",
                f"{split}: no 2D annotation to hold the projected joints against (or no 3D joints without --body): a wrong camera or a "
                "shifted frame index shows in --overlay alone",
            )
        )
        return
    every = np.concatenate([away.ravel() for _, away in measured])
    relative = np.concatenate([(away / one.box_px[:, None]).ravel() for one, away in measured])
    allowed = max(_ALLOWED[one.exact] for one, _ in measured)
    middle = float(np.nanmedian(relative))
    text = (
        f"{split}: projected joints are {np.nanmedian(every):.1f} px (median) and {np.nanmax(every):.1f} px (worst) from the 2D "
        f"annotation, {middle:.1%} of the box, in {sum(len(one) for one, _ in measured):,} person-frames of {len(measured)} sequences"
    )
    good = middle < allowed
    advice = f"; expected under {100 * allowed:.0f} %: cameras, images and annotations are not of one release"
    report.add(good, text + ("" if good else advice))
    _add_worst(report, split, measured)
    telling = sum(_tells(one) for one, _ in measured)
    report.add(
        True,
        f"{split}: 3D against 2D a frame index shifted by one would show in {telling} of {len(measured)} sequences (where people "
        "move enough); images shifted against both show in --overlay alone",
    )


def _add_worst(report: Report, split: str, measured: Sequence[tuple[Seen, np.ndarray]]) -> None:
    """A line for each sequence with a fault, and for the worst ones of the others, up to some, worst first."""
    ranked = sorted(measured, key=lambda pair: -_relative(*pair))
    faults = [(one, away, fault_of(one)) for one, away in ranked]
    wrong = [row for row in faults if row[2]]
    sound = [row for row in faults if not row[2]][: max(0, _WORST_SHOWN - len(wrong))]
    width = max(len(one.name) for one, _, _ in [*wrong[:_WORST_SHOWN], *sound])
    for one, away, fault in [*wrong[:_WORST_SHOWN], *sound]:
        numbers = f"median {np.nanmedian(away):6.1f} px, worst {np.nanmax(away):6.1f} px, {_relative(one, away):5.1%} of the box"
        report.add(not fault, f"{split}:   {one.name:<{width}}  {numbers}" + (f": {fault}" if fault else ""))
    if len(wrong) > _WORST_SHOWN:
        report.add(False, f"{split}:   and {len(wrong) - _WORST_SHOWN} more sequences whose projected joints are off")


def distances(seen: Seen) -> np.ndarray:
    """(N, S) px from each projected joint to the 2D annotation, NaN where either is missing."""
    return np.linalg.norm(seen.joints2d - seen.keypoints, axis=-1)


def _relative(seen: Seen, away: np.ndarray) -> float:
    return float(np.nanmedian(away / seen.box_px[:, None]))


def fault_of(seen: Seen) -> str:
    """What is wrong between a sequence's joints, camera and 2D annotation, in words; empty where nothing is.

    Wrong is a joint whose median distance is too large: a swapped limb leaves the median of all joints small.
    """
    shifted = _shifted(seen)
    if _worst_joint(seen) < _ALLOWED[seen.exact]:
        return shifted[1] if shifted else ""
    found, box = _level(seen.joints2d - seen.keypoints), float(np.nanmedian(seen.box_px))
    told = [_exchanged(seen), shifted, _resized(seen), _moved(seen), _other_camera(seen), _other_cameras(seen)]
    told = [(left, fault) for left, fault in filter(None, told) if left < _EXPLAINS * found]
    if not told:
        allowed = f"expected under {100 * _ALLOWED[seen.exact]:.0f} % of the box for each joint"
        return f"{allowed}, and no one fault explains it. Get annotations, cameras and images of one release"
    # The simplest of those that explain about as much as the best does.
    enough = 2 * min(left for left, _ in told) + _NO_MATTER * box
    return next(fault for left, fault in told if left <= enough)


def _worst_joint(seen: Seen) -> float:
    """The largest median distance of a joint, as a part of the box."""
    away = distances(seen) / seen.box_px[:, None]
    return float(np.nanmedian(away[:, np.isfinite(away).any(axis=0)], axis=0).max())


def _exchanged(seen: Seen) -> tuple[float, str]:
    """Sides exchanged between the 3D joints and the 2D annotation."""
    best = {what: _level(seen.joints2d - seen.keypoints[:, _swapped(seen.shared, parts)]) for what, parts in _SIDES.items()}
    what = min(best, key=best.get)
    return best[what], f"{what} are exchanged between 3D and 2D ({best[what]:.1f} px off exchanged back). Get both from one release"


@cache
def _swapped(names: tuple[str, ...], parts: tuple[str, ...]) -> list[int]:
    """Places of ``names`` with left and right exchanged in those that name one of ``parts``."""
    swap = {"left": "right", "right": "left"}
    places = []
    for i, name in enumerate(names):
        side, bar, rest = name.partition("_")
        other = f"{swap.get(side, side)}{bar}{rest}"
        places.append(names.index(other) if other in names and any(part in rest for part in parts) else i)
    return places


def _by_shift(seen: Seen) -> dict[int, float]:
    """{shift in steps: px off} of the 3D joints of a frame from the 2D annotation so many steps later; enough pairs, 0 first."""
    at_place = {(int(track), int(frame)): i for i, (track, frame) in enumerate(zip(seen.tracks, seen.frames, strict=True))}
    step = frame_step(seen)
    levels = {0: _fluctuation(seen, seen.joints2d - seen.keypoints)}
    for shift in _SHIFTS:
        pairs = [(i, at_place.get((track, frame + shift * step), -1)) for (track, frame), i in at_place.items()]
        ours, theirs = np.array([pair for pair in pairs if pair[1] >= 0], dtype=np.int64).reshape(-1, 2).T
        if len(ours) >= _FEWEST_PAIRS:
            levels[shift] = _fluctuation(seen, seen.joints2d[ours] - seen.keypoints[theirs])
    return {shift: level for shift, level in levels.items() if np.isfinite(level)}


def _clearly_less(level: float, other: float, seen: Seen) -> bool:
    return level < _SHIFT_EXPLAINS * other - _NO_MATTER * float(np.nanmedian(seen.box_px))


def _tells(seen: Seen) -> bool:
    """Whether the motion is such that both neighbouring frames fit clearly worse or better than the own one."""
    levels = _by_shift(seen)
    return all(
        shift in levels and (_clearly_less(levels[0], levels[shift], seen) or _clearly_less(levels[shift], levels[0], seen))
        for shift in (-1, 1)
    )


def _shifted(seen: Seen) -> tuple[float, str] | None:
    """A frame index that is shifted between the 3D joints and the 2D annotation, wherever the motion shows it."""
    levels, step = _by_shift(seen), frame_step(seen)
    by = min(levels, key=levels.get)
    best, present = levels[by], levels[0]
    if not _clearly_less(best, present, seen):
        return None
    when = "later" if by > 0 else "earlier"
    fault = (
        f"the frame index is shifted: the 2D annotation fits best {abs(by) * step} frame{'s' * (abs(by) * step > 1)} {when} "
        f"({best:.1f} px off, {present:.1f} px as it is). Get annotations of one release; renumber no frames"
    )
    return best, fault


def frame_step(seen: Seen) -> int:
    """The commonest difference of two frame numbers that follow each other in a track; 1 where there are none."""
    steps = np.diff(seen.frames)[np.diff(seen.tracks) == 0]
    return int(np.bincount(steps[steps > 0]).argmax()) if (steps > 0).any() else 1


def _fluctuation(seen: Seen, off: np.ndarray) -> float:
    """``_level`` of the differences ``off`` (n, S, 2); for detections without each joint's own mean: they are off all the time."""
    if not seen.exact:
        off = off - np.nansum(off, axis=0) / np.maximum(np.isfinite(off).sum(axis=0), 1)
    return _level(off)


def _resized(seen: Seen) -> tuple[float, str] | None:
    """An annotation of images of another size."""
    known = np.isfinite(seen.joints2d) & np.isfinite(seen.keypoints)
    ours, theirs = seen.joints2d[known], seen.keypoints[known]
    factor = float((ours * theirs).sum() / (ours**2).sum())
    if abs(factor - 1) < 0.05 or factor <= 0:
        return None
    left = _level(seen.joints2d - seen.keypoints / factor)
    return left, f"the 2D annotation is that of images {factor:.2f} times the size ({left:.1f} px off then). Use the images as published"


def _moved(seen: Seen) -> tuple[float, str]:
    """A constant offset in the image."""
    off = np.nanmedian((seen.keypoints - seen.joints2d).reshape(-1, 2), axis=0)
    left = _level(seen.joints2d + off - seen.keypoints)
    fault = (
        f"the 2D annotation lies ({off[0]:+.0f}, {off[1]:+.0f}) px beside the joints ({left:.1f} px off then): images were cropped, "
        "or the camera's principal point is another's. Use images and cameras as they were published"
    )
    return left, fault


def _other_camera(seen: Seen) -> tuple[float, str] | None:
    """Extrinsics that are wrong: one other camera pose for all of the sequence fits."""
    rows, columns = np.nonzero(_known(seen))
    some = np.linspace(0, len(rows) - 1, min(len(rows), _PNP_POINTS)).astype(int)
    rows, columns = rows[some], columns[some]
    pose = _pose(seen.points[rows, columns], seen.keypoints[rows, columns], seen.intrinsics[0])
    if pose is None:
        return None
    angle, shift, left = pose
    fault = (
        f"wrong extrinsics: a camera turned by {angle:.1f} degrees and moved by {shift:.2f} m fits ({left:.1f} px off then). They are "
        "of another camera, subject or take; get the calibration of this release"
    )
    return left, fault


def _other_cameras(seen: Seen) -> tuple[float, str] | None:
    """Extrinsics that are wrong: another camera pose for each person-frame fits."""
    known = _known(seen)
    each = [_pose(seen.points[i, known[i]], seen.keypoints[i, known[i]], seen.intrinsics[i]) for i in _few(known)]
    left = [pose[2] for pose in each if pose is not None]
    if not left:
        return None
    fault = (
        f"wrong extrinsics: another camera in every frame fits ({np.median(left):.1f} px off then). The camera poses are shifted against "
        "the frames, or of another take; get the sequence again"
    )
    return float(np.median(left)), fault


def _known(seen: Seen) -> np.ndarray:
    return np.isfinite(seen.joints2d).all(-1) & np.isfinite(seen.points).all(-1)


def _few(known: np.ndarray) -> list[int]:
    rows = np.flatnonzero(known.sum(1) >= 8)
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), 20)).astype(int)].tolist() if len(rows) else []


def _pose(points: np.ndarray, pixels: np.ndarray, K: np.ndarray) -> tuple[float, float, float] | None:
    """(degrees, m, median px) of the motion of ``points`` (n, 3) that projects them onto ``pixels`` (n, 2); None where none is found."""
    if len(points) < 8:
        return None
    points, pixels, K = (np.ascontiguousarray(array, dtype=np.float64) for array in (points, pixels, K))
    try:
        found, turn, shift = cv2.solvePnP(points, pixels, K, None, flags=cv2.SOLVEPNP_SQPNP)
        if found:
            turn, shift = cv2.solvePnPRefineLM(points, pixels, K, None, turn, shift)
    except cv2.error:
        return None
    if not found:
        return None
    flat, _ = cv2.projectPoints(points, turn, shift, K, None)
    return float(np.degrees(np.linalg.norm(turn))), float(np.linalg.norm(shift)), _median(flat[:, 0] - pixels)


def _median(off: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(off, axis=-1)))


def _level(off: np.ndarray) -> float:
    """The mean over the joints of the median length of their differences ``off`` (n, S, 2); NaN where none is known."""
    lengths = np.linalg.norm(off, axis=-1)
    some = np.isfinite(lengths).any(axis=0)
    return float(np.nanmedian(lengths[:, some], axis=0).mean()) if some.any() else float("nan")
