"""Lays given people out as EMDB, from its fact sheet: Python 3 pickles with the world's SMPL parameters, images counted from zero."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np


@dataclass(frozen=True)
class Walk:
    """One sequence: ``rotvecs`` (N, 24, 3), ``trans`` (N, 3) m and ``joints`` (N, 24, 3) m in the world; ``extrinsics`` (N, 4, 4)."""

    subject: str
    sequence: str
    gender: str
    subsets: tuple[str, ...]
    size: tuple[int, int]
    rotvecs: np.ndarray
    betas: np.ndarray
    trans: np.ndarray
    joints: np.ndarray
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    bad: tuple[int, ...] = ()
    boxless: tuple[int, ...] = ()

    def seen(self) -> np.ndarray:
        """Joints (N, 24, 3) m in the camera frame, point by point."""
        out = np.empty_like(self.joints)
        for i, pose in enumerate(self.extrinsics):
            for j, point in enumerate(self.joints[i]):
                out[i, j] = (pose @ [*point, 1.0])[:3]
        return out

    def pixels(self) -> np.ndarray:
        flat = self.seen() @ self.intrinsics.T
        return flat[..., :2] / flat[..., 2:]

    def folder(self, root: Path) -> Path:
        return root / self.subject / self.sequence

    def file(self, root: Path) -> Path:
        return self.folder(root) / f"{self.subject}_{self.sequence}_data.pkl"


def record(walk: Walk) -> dict:
    """The content of the pickle; frames that are not good and boxes that are not valid hold rubbish."""
    count, flat = len(walk.rotvecs), walk.pixels()
    good = np.ones(count, dtype=bool)
    good[list(walk.bad)] = False
    boxes = np.concatenate([flat.min(1) - 8, flat.max(1) + 8], axis=-1)
    boxes[list(walk.boxless)] = 0
    return {
        "gender": walk.gender,
        "name": f"{walk.subject}_{walk.sequence}",
        "emdb1": "emdb1" in walk.subsets,
        "emdb2": "emdb2" in walk.subsets,
        "n_frames": count,
        "good_frames_mask": good,
        "camera": {"intrinsics": walk.intrinsics, "extrinsics": walk.extrinsics, "width": walk.size[0], "height": walk.size[1]},
        "smpl": {
            "poses_root": walk.rotvecs[:, 0],
            "poses_body": walk.rotvecs[:, 1:].reshape(count, 69),
            "trans": walk.trans,
            "betas": walk.betas,
        },
        "kp2d": flat,
        "bboxes": {"bboxes": boxes, "invalid_idxs": np.array(walk.boxless, dtype=np.int64)},
    }


def write_emdb(root: Path, walks: list[Walk]) -> None:
    for walk in walks:
        (walk.folder(root) / "images").mkdir(parents=True)
        walk.file(root).write_bytes(pickle.dumps(record(walk)))
        (walk.folder(root) / f"{walk.subject}_{walk.sequence}_video.mp4").write_bytes(b"no input")
        for i in range(len(walk.rotvecs)):
            picture = np.full((walk.size[1], walk.size[0], 3), 30 + 25 * i, dtype=np.uint8)
            cv2.imwrite(str(walk.folder(root) / f"images/{i:05d}.jpg"), picture)
