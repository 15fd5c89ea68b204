"""The people of a dataset as arrays, sequence by sequence: what the checks of its annotations look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpsbench.datasets.base import Dataset
from hpsbench.skeleton import JOINT_NAMES, same_points
from hpsbench.types import Sample

# Person-frames of a split that are looked at: all of 3DPW's, and a part of the largest splits.
LOOKED_AT = 40_000
_CONFIDENT = 0.3


@dataclass(frozen=True)
class Seen:
    """N person-frames of one sequence, ordered by track and frame; metres in the camera frame, pixels, float64.

    ``joints`` (N, J, 3) of ``skeleton``, NaN where not valid; ``joints2d`` (N, S, 2) and ``keypoints`` (N, S, 2): of the S joints
    ``shared`` that the 2D annotation has too, their projection by the dataset's own camera and the annotation, NaN where either is missing.
    ``points`` (N, S, 3): these joints. ``exact``: both are the same points by definition, no detections. ``box_px`` (N,) the longer side of
    the box; ``tracks`` (N,) numbers, ``frames`` (N,); ``intrinsics`` (N, 3, 3); ``ids`` N.
    """

    name: str
    skeleton: str
    joints: np.ndarray
    shared: tuple[str, ...]
    points: np.ndarray
    joints2d: np.ndarray
    keypoints: np.ndarray
    exact: bool
    box_px: np.ndarray
    tracks: np.ndarray
    frames: np.ndarray
    intrinsics: np.ndarray
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def at(self, name: str) -> np.ndarray | None:
        """A joint (N, 3) by name; None where the skeleton lacks it."""
        names = JOINT_NAMES[self.skeleton]
        return self.joints[:, names.index(name)] if name in names else None


class _Row(NamedTuple):
    """What ``Seen`` holds of one person-frame."""

    joints: np.ndarray
    points: np.ndarray
    joints2d: np.ndarray
    keypoints: np.ndarray


def spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` places, evenly over ``count``."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, wanted))}) if count else []


def places_looked_at(dataset: Dataset, wanted: int = LOOKED_AT) -> list[int]:
    """Places of at most about ``wanted`` samples: all, or as many consecutive ones from the middle of each track (of some tracks)."""
    if len(dataset) <= wanted:
        return list(range(len(dataset)))
    tracks: dict[str, list[int]] = {}
    for i, name in enumerate(dataset.ids):
        stem, _, person = name.rpartition("/")
        tracks.setdefault(f"{stem.rpartition('/')[0]}/{person}", []).append(i)
    every = list(tracks.values())
    some = [every[k] for k in spread(len(every), wanted)]
    each = max(1, wanted // len(some))
    return sorted(i for places in some for i in _middle(places, each))


def _middle(places: list[int], count: int) -> list[int]:
    first = max(0, (len(places) - count) // 2)
    return places[first : first + count]


def look_at(samples: Sequence[Sample]) -> list[Seen]:
    """The sequences of ``samples``, in order of their first one."""
    groups: dict[tuple[str, str, str | None], list[Sample]] = {}
    for sample in samples:
        truth = sample.truth
        groups.setdefault((sample.sequence, truth.skeleton, truth.keypoints_skeleton), []).append(sample)
    return [_stacked(name, *skeletons, found) for (name, *skeletons), found in groups.items()]


def _stacked(name: str, skeleton: str, other: str | None, samples: list[Sample]) -> Seen:
    samples = sorted(samples, key=lambda sample: (sample.track, sample.frame))
    numbers = {track: k for k, track in enumerate(dict.fromkeys(sample.track for sample in samples))}
    exact = other is not None and same_points(skeleton, other)
    names, others = JOINT_NAMES[skeleton], JOINT_NAMES.get(other, ())
    # A neck is between the shoulders for some annotators and a vertebra for others.
    shared = tuple(joint for joint in names if joint in others and (exact or joint != "neck"))
    ours, theirs = [names.index(joint) for joint in shared], [others.index(joint) for joint in shared]
    rows = [_row(sample, ours, theirs) for sample in samples]
    boxes = np.array([sample.view.bbox_xyxy for sample in samples], dtype=np.float64)
    return Seen(
        name=name,
        skeleton=skeleton,
        joints=np.stack([row.joints for row in rows]),
        shared=shared,
        points=np.stack([row.points for row in rows]),
        joints2d=np.stack([row.joints2d for row in rows]),
        keypoints=np.stack([row.keypoints for row in rows]),
        exact=exact,
        box_px=np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]),
        tracks=np.array([numbers[sample.track] for sample in samples]),
        frames=np.array([sample.frame for sample in samples]),
        intrinsics=np.stack([sample.view.intrinsics for sample in samples]),
        ids=tuple(sample.id for sample in samples),
    )


def _row(sample: Sample, ours: list[int], theirs: list[int]) -> _Row:
    truth = sample.truth
    joints = np.where(truth.valid[:, None], truth.joints, np.nan)
    if not ours:
        return _Row(joints, np.empty((0, 3)), np.empty((0, 2)), np.empty((0, 2)))
    points, flat, keypoints = joints[ours], truth.joints2d[ours], truth.keypoints2d[theirs]
    known = (keypoints[:, 2:] > _CONFIDENT) & np.isfinite(points).all(1, keepdims=True) & np.isfinite(flat).all(1, keepdims=True)
    return _Row(joints, points, np.where(known, flat, np.nan), np.where(known, keypoints[:, :2], np.nan))
