"""The frame rules of 3DPW's layout: which people count in which frames, and why the others do not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hpsbench.datasets.base_3dpw_columns import StoredSequence
from hpsbench.skeleton import joint_index

_LIMBS = [
    joint_index("openpose18", f"{side}_{joint}")
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
]
_SEEN, _MOST_UNSEEN = 0.3, 6


@dataclass(frozen=True)
class FrameRule:
    """``reasons`` for dropping a person from a frame, each with the mask (R,) of the rows of a sequence that it drops.

    ``piece``: each track is walked in pieces of so many frames, and what is left at its end is dropped (0: it is not). Pieces are of the
    frames that are kept for that person by everything else, the box rule too: a gap lies inside a piece and starts no new one. (So do the
    codes of VIBE and NIKI, which cut the rows of their files.)
    """

    reasons: Mapping[str, Callable[[StoredSequence], np.ndarray]]
    piece: int = 0

    @property
    def rest(self) -> str:
        """The reason for dropping what fills no piece."""
        return f"not in a whole piece of {self.piece} frames"


def _camera_invalid(sequence: StoredSequence) -> np.ndarray:
    return ~sequence.camera_valid


def _no_keypoints(sequence: StoredSequence) -> np.ndarray:
    return (sequence.keypoints == 0).all((1, 2))


def _limbs_unseen(sequence: StoredSequence) -> np.ndarray:
    return (sequence.keypoints[:, _LIMBS, 2] > _SEEN).sum(1) <= _MOST_UNSEEN


_CAMERA = {"camera pose not valid": _camera_invalid}
_DETECTED = {"under seven of twelve limb joints detected": _limbs_unseen}
FRAME_RULES: dict[str, FrameRule] = {
    "all": FrameRule({}),
    "limbs-seen": FrameRule(_DETECTED),
    "limbs-seen+pieces-of-16": FrameRule(_DETECTED, piece=16),
    "campose-valid": FrameRule(_CAMERA),
    "campose-valid+pieces-of-16": FrameRule(_CAMERA, piece=16),
    "campose-and-2d": FrameRule({**_CAMERA, "2D keypoints all zero": _no_keypoints}),
}


def in_pieces(kept: np.ndarray, people: int, piece: int) -> np.ndarray:
    """Those of the ``kept`` rows (R,) bool, row = image * people + person, that fill whole pieces of their person's; (R,) bool."""
    by_image = kept.reshape(-1, people)
    whole = by_image.sum(0) // piece * piece
    return (by_image & (by_image.cumsum(0) <= whole)).reshape(-1)
