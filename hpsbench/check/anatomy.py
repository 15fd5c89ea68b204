"""Whether the annotated people are people: bones of plausible length in metres, left on the left, tracks that move as people do."""

from collections.abc import Sequence

import numpy as np

from hpsbench.check.report import Report
from hpsbench.check.reprojection import frame_step
from hpsbench.check.seen import Seen

# A median thigh m: children of AGORA to tall adults.
_THIGH_M = (0.2, 0.7)
_DEPTH_M = (0.3, 150.0)
# How many times too long, and what that is called.
_UNITS = {
    100.0: "centimetres, not metres: divide by 100",
    1000.0: "millimetres, not metres: divide by 1000",
    0.01: "metres divided by 100 once too often",
    0.001: "metres divided by 1000 once too often",
    7.0: "calibration units of a seventh of a metre (3DOH50K): divide by its 'scale'",
    3.28: "feet, not metres",
    39.37: "inches, not metres",
}
_TYPICAL_THIGH_M = 0.42
_TOES = ("left_toe", "left_big_toe", "left_toe_base", "left_foot")
# How far the parts that tell the front point forward, in m: less says nothing.
_FORWARD_M = 0.02
_LEAST = 0.5
_JUMP_M = 0.25
_DEPTH_JUMP_M = 1.0
_SHOWN = 4


def check_units(report: Report, split: str, seen: Sequence[Seen]) -> None:
    """A line on the bones' lengths and the people's distance, and one for each other unit that a sequence is in."""
    thighs = {one.name: _length(one, "hip", "knee") for one in seen}
    shins = {one.name: _length(one, "knee", "ankle") for one in seen}
    known = [length for length in thighs.values() if np.isfinite(length)]
    if not known:
        report.lines.append(("warning", f"{split}: no 3D joints to measure bones by: name the body files with --body"))
        return
    depths = np.concatenate([one.joints[..., 2].ravel() for one in seen])
    odd = {name: length for name, length in thighs.items() if not _THIGH_M[0] < length < _THIGH_M[1] and np.isfinite(length)}
    text = (
        f"{split}: thighs of {np.median(known):.3g} m and shins of {np.nanmedian(list(shins.values())):.3g} m (medians), people "
        f"{np.nanmedian(depths):.3g} m before the camera"
    )
    report.add(not odd, text + ("" if not odd else f"; expected thighs of {_THIGH_M[0]} to {_THIGH_M[1]} m"))
    for unit in dict.fromkeys(map(_unit, odd.values())):
        names = [name for name, length in odd.items() if _unit(length) == unit]
        report.add(False, f"{split}: joints are in {unit}: {_some(names)}. Take the annotations as they were published")
    _check_depths(report, split, seen)


def _check_depths(report: Report, split: str, seen: Sequence[Seen]) -> None:
    far = {one.name: float(np.nanmedian(one.joints[..., 2])) for one in seen if _any(one.joints)}
    odd = {name: depth for name, depth in far.items() if not _DEPTH_M[0] < depth < _DEPTH_M[1]}
    if odd:
        name, depth = next(iter(odd.items()))
        report.add(
            False,
            f"{split}: people are {depth:.3g} m before the camera in {name} ({len(odd)} sequences), expected {_DEPTH_M[0]} to "
            f"{_DEPTH_M[1]:.0f} m: "
            "the joints are not in the camera's frame or its unit. Get both of one release",
        )


def _any(points: np.ndarray) -> bool:
    return bool(np.isfinite(points).any())


def _length(seen: Seen, upper: str, lower: str) -> float:
    """The median length of a limb's bone over both sides; NaN where the skeleton lacks it."""
    bones = [_bone(seen, f"{side}_{upper}", f"{side}_{lower}") for side in ("left", "right")]
    lengths = np.concatenate([bone for bone in bones if bone is not None] or [np.empty(0)])
    return float(np.nanmedian(lengths)) if _any(lengths) else float("nan")


def _bone(seen: Seen, first: str, second: str) -> np.ndarray | None:
    """Distances (N,) of two joints."""
    a, b = seen.at(first), seen.at(second)
    return None if a is None or b is None else np.linalg.norm(a - b, axis=-1)


def _unit(thigh: float) -> str:
    """What a thigh of that length is measured in."""
    times = thigh / _TYPICAL_THIGH_M
    near = min(_UNITS, key=lambda factor: abs(np.log(times / factor)))
    return _UNITS[near] if abs(np.log(times / near)) < 0.45 else f"no known unit: their thighs are {times:.2g} times as long as people's"


def check_sides(report: Report, split: str, seen: Sequence[Seen]) -> None:
    """A line on how many sequences have left on the left, and one for each way in which others have not."""
    faults = {one.name: sides_fault(one) for one in seen if _any(one.joints)}
    if not faults:
        return
    wrong = {name: fault for name, fault in faults.items() if fault}
    report.add(not wrong, f"{split}: left and right as the bodies tell them in {len(faults) - len(wrong)} of {len(faults)} sequences")
    for fault in dict.fromkeys(wrong.values()):
        report.add(False, f"{split}: {fault}: {_some([name for name in wrong if wrong[name] == fault])}")


def sides_fault(seen: Seen) -> str:
    """What is wrong with a sequence's left and right, in words; empty where nothing is or nothing can be told."""
    crossed = [part for part, joints in {"legs": ("hip", "knee"), "arms": ("shoulder", "elbow")}.items() if _crossed(seen, *joints)]
    if crossed:
        return f"{' and '.join(crossed)} change sides between two joints, left hangs on right. Name the joints in the order of the release"
    hips, shoulders = _across(seen, "hip"), _across(seen, "shoulder")
    if hips is None or shoulders is None:
        return ""
    left, weight = _left(seen)
    share = {"legs": _share(hips, left, weight), "arms": _share(shoulders, left, weight)}
    wrong = [part for part, value in share.items() if value < _LEAST]
    if len(wrong) == 2:
        return (
            "people are mirrored: left and right are exchanged in all joints, or the camera turns right-handed axes into left-handed ones. "
            "Take axes (x right, y down, z forward) and the order of joints from the release"
        )
    if not _share(hips, shoulders, np.ones(len(seen))) < _LEAST:
        return ""
    part = wrong[0] if wrong else "legs or arms"
    return f"{part} are swapped, left for right, against the rest of the body. Use the order of joints of the release"


def _across(seen: Seen, part: str) -> np.ndarray | None:
    left, right = seen.at(f"left_{part}"), seen.at(f"right_{part}")
    return None if left is None or right is None else left - right


def _crossed(seen: Seen, upper: str, lower: str) -> bool:
    """Whether the lower joints of most people are nearer to the upper one of the other side."""
    own = [_bone(seen, f"{side}_{upper}", f"{side}_{lower}") for side in ("left", "right")]
    other = [_bone(seen, f"{a}_{upper}", f"{b}_{lower}") for a, b in (("left", "right"), ("right", "left"))]
    if any(bone is None for bone in own):
        return False
    longer = own[0] + own[1] - other[0] - other[1]
    return bool(np.nanmedian(longer) > 0) if _any(longer) else False


def _left(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """(directions (N, 3) to the left by trunk and front alone, what they weigh (N,)): knees bend and toes and nose point forward."""
    none = np.full((len(seen), 3), np.nan)
    hips = [seen.at("left_hip"), seen.at("right_hip")]
    up = (seen.at("left_shoulder") + seen.at("right_shoulder") - hips[0] - hips[1]) / 2
    parts = [_knees(seen), _feet(seen), _nose(seen)]
    forward = np.nansum([none if part is None else part for part in parts], axis=0)
    left = np.cross(up, forward)
    size = np.linalg.norm(left, axis=-1) / (np.linalg.norm(up, axis=-1) + 1e-12)
    return left, np.where(np.isfinite(size) & (size > _FORWARD_M * _scale(seen)), size, 0.0)


def _scale(seen: Seen) -> float:
    """How many units a metre has, by the thighs: a wrong unit must not hide a wrong side."""
    length = _length(seen, "hip", "knee")
    return length / _TYPICAL_THIGH_M if np.isfinite(length) else 1.0


def _knees(seen: Seen) -> np.ndarray | None:
    legs = [[seen.at(f"{side}_{joint}") for joint in ("hip", "knee", "ankle")] for side in ("left", "right")]
    return None if any(joint is None for leg in legs for joint in leg) else sum(knee - (hip + ankle) / 2 for hip, knee, ankle in legs)


def _feet(seen: Seen) -> np.ndarray | None:
    name = next((name for name in _TOES if seen.at(name) is not None), None)
    if name is None:
        return None
    toes = (seen.at(name), seen.at(name.replace("left", "right")))
    return toes[0] + toes[1] - seen.at("left_ankle") - seen.at("right_ankle")


def _nose(seen: Seen) -> np.ndarray | None:
    """Human3.6M's "head" is the nose."""
    if not seen.skeleton.startswith("h36m"):
        return None
    return seen.at("head") - (seen.at("neck") + seen.at("head_top")) / 2


def _share(across: np.ndarray, left: np.ndarray, weight: np.ndarray) -> float:
    """The part, by weight, of people whose ``across`` (N, 3), from right to left, points ``left`` (N, 3); 1 where nothing weighs."""
    agree = (across * left).sum(-1)
    weight = np.where(np.isfinite(agree), weight, 0.0)
    return float((weight * (np.nan_to_num(agree) > 0)).sum() / weight.sum()) if weight.sum() > 0 else 1.0


def check_motion(report: Report, split: str, seen: Sequence[Seen]) -> None:
    """A line on how people move from a frame to the next, and one naming where they jump or frames are missing inside a track.

    Poses are compared by the distances among joints and people by theirs from the camera, so that no turn of the camera counts.
    """
    steps = [_steps(one) for one in seen]
    rows = np.concatenate([np.stack([pose, away], axis=-1) for pose, away, _, _ in steps])
    gaps = sum(missing for *_, missing in steps)
    if not np.isfinite(rows).any():
        report.add(True, f"{split}: no two frames of a track follow each other: no motion to check")
        return
    jumps = [
        name for pose, away, names, _ in steps for p, a, name in zip(pose, away, names, strict=True) if p > _JUMP_M or a > _DEPTH_JUMP_M
    ]
    text = (
        f"{split}: from a frame to the next of a track a pose changes by {100 * np.nanmedian(rows[:, 0]):.1f} cm (median) and "
        f"{100 * np.nanmax(rows[:, 0]):.1f} cm (worst); {len(jumps):,} jumps, {gaps:,} gaps in {len(rows):,} steps"
    )
    advice = f"; look at {_some(jumps)}: frames out of order, or people exchanged" if jumps else ""
    report.add(not jumps, text + advice, "warning")


def _steps(seen: Seen) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    """(change of pose (n,) m, change of distance (n,) m, ids, number of gaps) of the n pairs of frames next to each other."""
    step, same = frame_step(seen), np.diff(seen.tracks) == 0
    pairs = np.flatnonzero(same & (np.diff(seen.frames) == step))
    gaps = int((same & (np.diff(seen.frames) > step)).sum())
    middle = np.nanmean(seen.joints, axis=1) if np.isfinite(seen.joints).any(axis=(1, 2)).all() else seen.joints.mean(axis=1)
    away = np.linalg.norm(middle, axis=-1)
    pose = np.array([_pose_change(seen.joints[i], seen.joints[i + 1]) for i in pairs])
    return pose, np.abs(away[pairs + 1] - away[pairs]), [seen.ids[i + 1] for i in pairs], gaps


def _pose_change(first: np.ndarray, second: np.ndarray) -> float:
    """The root mean square change of the distances among joints (J, 3), m; NaN for joints that are not known."""
    known = np.isfinite(first).all(-1) & np.isfinite(second).all(-1)
    if not known.any():
        return float("nan")
    tables = [np.linalg.norm(points[known][:, None] - points[known], axis=-1) for points in (first, second)]
    return float(np.sqrt(((tables[0] - tables[1]) ** 2).mean()))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
