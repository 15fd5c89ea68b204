"""The truncation window of XOCC: a square about the upper or the lower body, outside of which nothing is seen.

Source: NIKI (Li et al., CVPR 2023), section 4, and the helper functions of its public code.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from hpsbench.errors import DataError
from hpsbench.occluders.base import Draws, Key, Occluder, Target, Targets
from hpsbench.occluders.base_cover import NOTHING
from hpsbench.occluders.base_stencil import IntBox
from hpsbench.skeleton import joint_names
from hpsbench.types import Card, Occlusion

AIM = "eval14"
_SPIN49 = 25


@dataclass(frozen=True)
class TruncationParams:
    """Every number of the truncation window, as protocol files name them.

    ``groups``: joint names (of eval14) that one truncation hides together. ``unseen``: joints that never aim. ``min_side_px`` and
    ``shift_px`` are px of an image whose longer side is ``px_of_longer_side``, and scale with the image.
    """

    interval: int
    base_scale: float
    min_confidence: float
    unseen: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    probability: float
    visible_above: float
    group_share_above: float
    min_side_px: float
    shift_px: float
    px_of_longer_side: float
    side_scale: tuple[float, float]

    def __post_init__(self):
        for name in (*self.unseen, *(name for group in self.groups for name in group)):
            if name not in joint_names(AIM):
                raise ValueError(f"no joint named '{name}' in {AIM}. Known: {', '.join(joint_names(AIM))}.")
        if self.interval < 1 or not self.groups or not all(self.groups):
            raise ValueError("expected an interval of at least 1 and groups of at least one joint.")
        if self.px_of_longer_side <= 0 or not 0 < self.side_scale[0] <= self.side_scale[1]:
            raise ValueError("expected px_of_longer_side above 0 and side_scale as [smallest, largest] above 0.")


@dataclass(frozen=True)
class Window:
    """A square window: centre (x, y) px, side px, and which group it leaves out (None: no truncation)."""

    centre: tuple[float, float]
    side: float
    group: int | None = None

    @property
    def xyxy(self) -> np.ndarray:
        """The window (4,) float64 px."""
        centre = np.array(self.centre)
        return np.concatenate([centre - self.side / 2, centre + self.side / 2])


def aim_joints(keypoints: np.ndarray, skeleton: str, params: TruncationParams) -> np.ndarray:
    """2D key points (K, 3) x, y, confidence of a skeleton as (14, 3) float32 x, y, visibility in the order of eval14.

    Visibility is 1 where the confidence is above ``min_confidence``; 0 for joints that the skeleton lacks and for those named
    ``unseen``. Skeleton "spin49" is the 49-joint order of SPIN and VIBE.
    """
    rows, places = _aim(skeleton)
    out = np.zeros((len(joint_names(AIM)), 3), dtype=np.float32)
    out[rows] = keypoints[places]
    out[:, 2] = out[:, 2] > params.min_confidence
    out[_rows(params.unseen), 2] = 0
    return out


@cache
def _aim(skeleton: str) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of eval14 a skeleton has, and where they stand in it."""
    known = joint_names(AIM) if skeleton == "spin49" else joint_names(skeleton)
    pairs = [(row, known.index(name)) for row, name in enumerate(joint_names(AIM)) if name in known]
    rows, places = np.array(pairs).T
    return rows, places + _SPIN49 if skeleton == "spin49" else places


@cache
def _rows(names: tuple[str, ...]) -> np.ndarray:
    """Where joints stand in eval14."""
    return np.array([joint_names(AIM).index(name) for name in names], dtype=np.int64)


def base_window(bbox_xyxy: np.ndarray, scale: float) -> Window:
    """The square about a box whose side is ``scale`` times the longer one, in float32 as published."""
    x0, y0, x1, y1 = (float(value) for value in bbox_xyxy)
    side = np.float32(max(np.float32(x1 - x0), np.float32(y1 - y0)) * np.float32(scale))
    return Window((float(np.float32((x0 + x1) / 2)), float(np.float32((y0 + y1) / 2))), float(side))


def truncation_window(draws: Draws, joints14: np.ndarray, base: Window, params: TruncationParams, *, zoom: float = 1.0) -> Window:
    """The window of one key frame: ``base``, or with ``probability`` one that leaves a group of joints outside.

    ``joints14`` (14, 3) x px, y px, visibility; ``zoom``: image px to one px of ``params``. Draws, in the published order: which
    group, shift in x, shift in y, side; none where no group is visible enough, the first alone where there is no truncation.
    """
    members = [_rows(group) for group in params.groups]
    valid = [group for group, rows in enumerate(members) if joints14[rows, 2].sum() / len(rows) > params.group_share_above]
    if not valid:
        return base
    chosen = _chosen(draws.random(), len(valid), params.probability)
    if chosen is None:
        return base
    group = valid[chosen]
    kept = joints14[:, 2] > params.visible_above
    kept[members[group]] = False
    if not kept.any():
        return base
    points = joints14[kept, :2].astype(np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = high - low
    if min(width, height) < params.min_side_px * zoom:
        return base
    middle = (low + high) / 2
    shift_x = (draws.random() * 2 * params.shift_px - params.shift_px) * zoom
    shift_y = (draws.random() * 2 * params.shift_px - params.shift_px) * zoom
    smallest, largest = params.side_scale
    side = float(max(width, height)) * (smallest + draws.random() * (largest - smallest))
    return Window((float(middle[0]) + shift_x, float(middle[1]) + shift_y), side, group)


def _chosen(p: float, count: int, probability: float) -> int | None:
    """Which of ``count`` equal parts of [0, probability) holds p; an end belongs to the next part; None beyond the last."""
    ends = (probability / count * np.arange(1, count + 1)).tolist()
    return next((k for k, end in enumerate(ends) if end > p), None)


def blended(last: Window, after: Window, weight: float) -> Window:
    """The window between two, ``weight`` of the way from the first; no group is named."""
    mix = [(1 - weight) * a + weight * b for a, b in zip((*last.centre, last.side), (*after.centre, after.side), strict=True)]
    return Window((mix[0], mix[1]), mix[2])


class TruncationWindow(Occluder):
    """Cuts the view to a square that leaves out the legs, or the arms and the head, of a person in two thirds of the key frames."""

    kind = "truncation-window"
    card = Card(
        name="truncation-window",
        what="XOCC's truncation: a square window about the joints that stay, blended between key frames",
        source="https://github.com/Jeff-sjtu/NIKI (published functions; re-implemented from their facts)",
        licence="Apache-2.0 (this implementation)",
        paper="NIKI: Neural Inverse Kinematics with Invertible Neural Networks, CVPR 2023",
    )
    Params = TruncationParams

    def plan(self, target: Target, params: TruncationParams) -> Occlusion:
        """The window of the target: blended between the windows of its two key frames."""
        keys = target.seeding.frame_keys(target.sample, target.track, params.interval)
        last = self._key_window(target, keys.last, params)
        after = last if keys.weight == 0 else self._key_window(target, keys.next, params)
        window = last if keys.weight == 0 else blended(last, after, keys.weight)
        frames = keys.last.sample.frame, keys.next.sample.frame
        return self._occlusion(window.xyxy.tolist(), (last.group, after.group), frames, keys.weight)

    def _occlusion(self, window_xyxy: list[float], groups: tuple[int | None, ...], frames: tuple[int, ...], weight: float) -> Occlusion:
        numbers = {"window_xyxy": window_xyxy, "hidden_groups": list(groups), "key_frames": list(frames), "weight": weight}
        return Occlusion(self.kind, "image", numbers)

    def plan_many(self, targets: Targets, params: TruncationParams) -> list[Occlusion]:
        """The same windows, blended all at once."""
        keys = targets.frame_keys(params.interval)
        windows = [self._key_window(targets, key, params) for key in keys.keys]
        table = np.array([(*window.centre, window.side) for window in windows])
        mixed = keys.blended(table[keys.last], table[keys.next])
        centres, halves = mixed[:, :2], mixed[:, 2:] / 2
        boxes = np.concatenate([centres - halves, centres + halves], axis=1).tolist()
        groups, frames = [window.group for window in windows], [key.sample.frame for key in keys.keys]
        shown = np.where(keys.weights == 0, keys.last, keys.next).tolist()
        rows = zip(boxes, keys.last.tolist(), shown, keys.next.tolist(), keys.weights.tolist(), strict=True)
        return [self._occlusion(box, (groups[i], groups[j]), (frames[i], frames[k]), weight) for box, i, j, k, weight in rows]

    def _key_window(self, targets: Target | Targets, key: Key, params: TruncationParams) -> Window:
        return targets.once((self.kind, id(params), key.sample.id, key.seed), lambda: _key_window(key, params))

    def cover(self, occlusion: Occlusion) -> IntBox:
        """No pixel: what lies outside of the window is cut off."""
        del occlusion
        return NOTHING

    def window(self, occlusion: Occlusion) -> np.ndarray:
        """The planned square."""
        return np.array(occlusion.params["window_xyxy"], dtype=np.float64)


def _key_window(key: Key, params: TruncationParams) -> Window:
    truth = key.sample.truth
    if truth.keypoints2d is None or truth.keypoints_skeleton is None:
        raise DataError(
            f"Sample '{key.sample.id}' has no 2D key points, by which a truncation window aims. Choose a dataset that annotates them, "
            "or a protocol without truncation-window."
        )
    joints = aim_joints(truth.keypoints2d, truth.keypoints_skeleton, params)
    base = base_window(key.sample.view.bbox_xyxy, params.base_scale)
    zoom = max(key.sample.image_size) / params.px_of_longer_side
    return truncation_window(key.draws(TruncationWindow.kind), joints, base, params, zoom=zoom)
