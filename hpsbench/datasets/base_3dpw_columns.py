"""One split of 3DPW's layout as columns: sequences in the camera frame, to and from the arrays of an index."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hpsbench.datasets.base_3dpw_files import load_sequence
from hpsbench.datasets.base_index import Columns
from hpsbench.geometry import project, rotmat_to_rotvec, rotvec_to_rotmat
from hpsbench.store import sha256_of_file

# Arrays by what they have one row of.
_BY_ROW = ("joints", "joints2d", "rotvecs", "trans_world", "keypoints", "camera_valid")
_BY_PERSON = ("betas", "genders")
_BY_SEQUENCE = ("name", "sha256", "intrinsics")


@dataclass(frozen=True)
class StoredSequence:
    """One sequence of P people and N images in the camera frame, as far as its pickle alone decides it; float64.

    Each of the R = N P rows is one person in one image: row = image * P + person. ``joints`` (R, 24, 3) m, ``joints2d`` (R, 24, 2) px (NaN
    behind the camera), ``rotvecs`` (R, 24, 3), ``trans_world`` (R, 3) m in the world, ``keypoints`` (R, 18, 3), ``camera_valid`` (R,) bool;
    ``betas`` (P, 10), ``genders`` (P,) text; ``cam_poses`` (N, 4, 4) world to camera; ``intrinsics`` (3, 3) px. ``sha256`` is its pickle's.
    """

    name: str
    sha256: str
    joints: np.ndarray
    joints2d: np.ndarray
    rotvecs: np.ndarray
    trans_world: np.ndarray
    keypoints: np.ndarray
    camera_valid: np.ndarray
    betas: np.ndarray
    genders: np.ndarray
    cam_poses: np.ndarray
    intrinsics: np.ndarray

    @property
    def people(self) -> int:
        return len(self.genders)

    def copied(self) -> "StoredSequence":
        """The same in arrays of its own, so that those of the whole split can be let go."""
        return replace(self, **{key: np.array(value) for key, value in vars(self).items() if isinstance(value, np.ndarray)})


def parse_sequence(path: Path) -> StoredSequence:
    """The sequence of a pickle. Raises DataError and UnsafePickleError as ``load_sequence``."""
    world = load_sequence(path)
    R, t = world.cam_poses[:, :3, :3], world.cam_poses[:, :3, 3]
    joints = np.einsum("nij,pnkj->pnki", R, world.joints) + t[:, None]
    joints2d = project(torch.from_numpy(joints), torch.from_numpy(world.intrinsics)).numpy()
    rotvecs = world.poses.copy()
    rotvecs[:, :, 0] = rotmat_to_rotvec(torch.from_numpy(R) @ rotvec_to_rotmat(torch.from_numpy(world.poses[:, :, 0]))).numpy()
    return StoredSequence(
        name=world.name,
        sha256=sha256_of_file(path),
        joints=rows_of(joints),
        joints2d=rows_of(joints2d),
        rotvecs=rows_of(rotvecs),
        trans_world=rows_of(world.trans),
        keypoints=rows_of(world.keypoints),
        camera_valid=rows_of(world.camera_valid),
        betas=world.betas,
        genders=np.array(world.genders),
        cam_poses=world.cam_poses,
        intrinsics=world.intrinsics,
    )


def rows_of(array: np.ndarray) -> np.ndarray:
    """The rows (N P, ...) of an array (P, N, ...)."""
    people, images = array.shape[:2]
    return array.swapaxes(0, 1).reshape(images * people, *array.shape[2:])


def by_person(rows: np.ndarray, people: int) -> np.ndarray:
    """The array (P, N, ...), contiguous, of rows (N P, ...)."""
    return np.ascontiguousarray(rows.reshape(-1, people, *rows.shape[1:]).swapaxes(0, 1))


def columns_of(sequences: Sequence[StoredSequence]) -> Columns:
    """All sequences of a split in one array for each field, with the number of people and images of each."""
    columns = {key: np.concatenate([getattr(one, key) for one in sequences]) for key in (*_BY_ROW, *_BY_PERSON, "cam_poses")}
    columns |= {key: np.array([getattr(one, key) for one in sequences]) for key in _BY_SEQUENCE}
    columns["people"] = np.array([one.people for one in sequences])
    columns["images"] = np.array([len(one.cam_poses) for one in sequences])
    return columns


def sequences_of(columns: Columns) -> list[StoredSequence]:
    """The sequences of ``columns_of``, each a part of its arrays."""
    people, images = columns["people"], columns["images"]
    ends = {"row": np.cumsum(people * images), "person": np.cumsum(people), "image": np.cumsum(images)}
    fields = {**dict.fromkeys(_BY_ROW, "row"), **dict.fromkeys(_BY_PERSON, "person"), "cam_poses": "image"}
    parts = {key: np.split(columns[key], ends[kind][:-1]) for key, kind in fields.items()}
    return [
        StoredSequence(
            name=str(columns["name"][s]),
            sha256=str(columns["sha256"][s]),
            intrinsics=columns["intrinsics"][s],
            **{key: part[s] for key, part in parts.items()},
        )
        for s in range(len(people))
    ]
