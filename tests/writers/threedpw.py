"""A miniature of 3DPW in its real layout: Python 2 pickles and jpgs with the projected joints drawn in."""

import pickle
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch

from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.image import encode_jpeg
from hpsbench.skeleton import JOINT_NAMES

# poses2d is made of the smpl24 joint of the same name; these have none and take the head.
_STAND_INS = dict.fromkeys(("nose", "right_eye", "left_eye", "right_ear", "left_ear"), "head")


class Python2Pickler(pickle._Pickler):
    """Writes text, bytes and array buffers as Python 2's str, and numpy by its old module names: protocol 2."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def __init__(self, stream):
        super().__init__(stream, protocol=2)

    def _save_str(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = _save_str

    def save_global(self, obj, name=None):
        module = getattr(obj, "__module__", "")
        if not module.startswith("numpy._core"):
            super().save_global(obj, name)
            return
        self.write(f"c{module.replace('numpy._core', 'numpy.core')}\n{obj.__name__}\n".encode())
        self.memoize(obj)


def python2_pickle(value: object) -> bytes:
    """The bytes that Python 2's cPickle would leave for ``value``, but for memo numbers."""
    stream = BytesIO()
    Python2Pickler(stream).dump(value)
    return stream.getvalue()


@dataclass(frozen=True)
class Miniature:
    """One sequence to be written. ``starts`` (P, 3) m: where each person's body is put in the camera frame."""

    name: str
    split: str
    images: int
    size: tuple[int, int]
    genders: tuple[str, ...]
    starts: np.ndarray
    betas_lengths: tuple[int, ...]
    invalid_cameras: tuple[tuple[int, int], ...] = ()
    empty_keypoints: tuple[tuple[int, int], ...] = ()


def default_miniatures() -> tuple[Miniature, ...]:
    """Two people in landscape with every quirk of the format; one person in portrait, who walks out of the image; one each elsewhere."""
    pair = np.array([[-0.5, 0.1, 4.0], [0.6, 0.0, 5.0]])
    return (
        Miniature(
            "downtown_pair_00",
            "test",
            5,
            (192, 108),
            ("m", "f"),
            pair,
            (300, 10),
            invalid_cameras=((0, 1), (1, 4)),
            empty_keypoints=((1, 2),),
        ),
        Miniature("downtown_away_00", "test", 4, (108, 192), ("f",), np.array([[0.0, 0.0, 4.0]]), (10,), empty_keypoints=((0, 3),)),
        Miniature("courtyard_one_00", "train", 2, (192, 108), ("m",), pair[:1], (300,)),
        Miniature("outdoors_one_00", "validation", 2, (192, 108), ("f",), pair[1:], (10,)),
    )


def make_record(mini: Miniature, bodies) -> tuple[dict, np.ndarray]:
    """(the sequence's dict as it is pickled, the joints (P, N, 24, 2) px): poses of a seed, the rest computed from them in float64.

    In portrait the person moves so far in the last image that no joint is left inside.
    """
    rng = np.random.default_rng(len(mini.name) + mini.images)
    people, n = len(mini.genders), mini.images
    width, height = mini.size
    K = np.array([[200.0, 0, width / 2 + 1.5], [0, 200.0, height / 2 - 1.0], [0, 0, 1]])
    cameras = np.tile(np.eye(4), (n, 1, 1))
    turns = rng.normal(0, 0.4, (n, 3))
    cameras[:, :3, :3] = rotvec_to_rotmat(torch.from_numpy(turns)).numpy()
    cameras[:, :3, 3] = rng.normal(0, 0.5, (n, 3))
    betas = rng.normal(0, 0.7, (people, 10))
    poses = rng.normal(0, 0.15, (people, n, 24, 3))
    poses[:, :, 0] = [np.pi, 0, 0]
    wanted = np.tile(mini.starts[:, None], (1, n, 1))
    if height > width:
        wanted[:, -1, 0] += 6.0
    R, t = cameras[:, :3, :3], cameras[:, :3, 3]
    trans = np.einsum("nji,pnj->pni", R, wanted - t)
    joints = np.stack([_joints(bodies, g, b, p, t) for g, b, p, t in zip(mini.genders, betas, poses, trans, strict=True)])
    in_camera = np.einsum("nij,pnkj->pnki", R, joints) + t[:, None]
    joints2d = in_camera @ K.T
    joints2d = joints2d[..., :2] / joints2d[..., 2:]
    record = {
        "sequence": mini.name,
        "img_frame_ids": np.arange(0, 2 * n, 2),
        "poses": list(poses.reshape(people, n, 72)),
        "trans": list(trans),
        "poses_60Hz": list(np.repeat(poses.reshape(people, n, 72), 2, axis=1)),
        "trans_60Hz": list(np.repeat(trans, 2, axis=1)),
        "jointPositions": list(joints.reshape(people, n, 72)),
        "poses2d": list(_keypoints(mini, joints2d)),
        "betas": [np.pad(b, (0, length - 10)) for b, length in zip(betas, mini.betas_lengths, strict=True)],
        "betas_clothed": list(betas),
        "genders": list(mini.genders),
        "texture_maps": [],
        "cam_poses": cameras,
        "campose_valid": [np.array([int((p, i) not in mini.invalid_cameras) for i in range(n)]) for p in range(people)],
        "cam_intrinsics": K,
    }
    return record, joints2d


def _joints(bodies, gender: str, betas: np.ndarray, poses: np.ndarray, trans: np.ndarray) -> np.ndarray:
    body = bodies[{"m": "male", "f": "female"}[gender]]
    rows = torch.from_numpy(np.tile(betas, (len(poses), 1)))
    return body(rows, rotvecs=torch.from_numpy(poses), trans=torch.from_numpy(trans)).joints.double().numpy()


def _keypoints(mini: Miniature, joints2d: np.ndarray) -> np.ndarray:
    """poses2d (P, N, 3, 18): the joints of the same names, confidence 0.5 + 0.02 per joint."""
    columns = [JOINT_NAMES["smpl24"].index(_STAND_INS.get(name, name)) for name in JOINT_NAMES["openpose18"]]
    keypoints = np.concatenate(
        [joints2d[:, :, columns], np.broadcast_to(0.5 + 0.02 * np.arange(18)[:, None], (*joints2d.shape[:2], 18, 1))], -1
    )
    for person, image in mini.empty_keypoints:
        keypoints[person, image] = 0
    return keypoints.transpose(0, 1, 3, 2)


def write_miniature(root: Path, bodies, miniatures: tuple[Miniature, ...] | None = None) -> dict[str, tuple[dict, np.ndarray]]:
    """Write the miniatures below ``root``; {sequence: (record, joints (P, N, 24, 2) px)}. ``bodies`` in float64."""
    made = {}
    for mini in miniatures or default_miniatures():
        record, joints2d = made[mini.name] = make_record(mini, bodies)
        pickles, images = root / "sequenceFiles" / mini.split, root / "imageFiles" / mini.name
        pickles.mkdir(parents=True, exist_ok=True)
        images.mkdir(parents=True)
        (pickles / f"{mini.name}.pkl").write_bytes(python2_pickle(record))
        for i in range(mini.images):
            (images / f"image_{i:05d}.jpg").write_bytes(_picture(mini.size, joints2d[:, i], i))
    return made


@dataclass(frozen=True)
class SeenPerson:
    """One person in one image, camera frame: ``rotvecs`` (24, 3), ``betas`` (10,), ``trans`` (3,) m of a body whose pelvis at rest is
    ``rest_pelvis`` (3,) m, its ``joints`` (24, 3) m, its gender "m" or "f", and the box (4,) xyxy px that poses2d is to fill."""

    rotvecs: np.ndarray
    betas: np.ndarray
    trans: np.ndarray
    rest_pelvis: np.ndarray
    joints: np.ndarray
    gender: str
    box_xyxy: np.ndarray


def write_seen(root: Path, name: str, person: SeenPerson, jpeg: bytes, *, camera: np.ndarray, intrinsics: np.ndarray) -> None:
    """A test sequence ``name`` of one image and one person; ``camera`` (4, 4) world to camera, ``intrinsics`` (3, 3) px.

    poses2d is a detector's: two of its points stand on the corners of the box, the others in its middle.
    """
    R, t = camera[:3, :3], camera[:3, 3]
    poses = person.rotvecs.copy()
    poses[0] = cv2.Rodrigues(R.T @ cv2.Rodrigues(poses[0])[0])[0][:, 0]
    keypoints = np.tile([*(person.box_xyxy[:2] + person.box_xyxy[2:]) / 2, 0.8], (18, 1))
    keypoints[0, :2], keypoints[1, :2] = person.box_xyxy[:2], person.box_xyxy[2:]
    J0 = person.rest_pelvis
    trans = R.T @ (person.trans + J0 - t) - J0
    record = {
        "sequence": name,
        "img_frame_ids": np.array([0]),
        "poses": [poses.reshape(1, 72)],
        "trans": [trans[None]],
        "poses_60Hz": [np.repeat(poses.reshape(1, 72), 2, axis=0)],
        "trans_60Hz": [np.repeat(trans[None], 2, axis=0)],
        "jointPositions": [((person.joints - t) @ R).reshape(1, 72)],
        "poses2d": [keypoints.T[None]],
        "betas": [person.betas],
        "betas_clothed": [person.betas],
        "genders": [person.gender],
        "texture_maps": [],
        "cam_poses": camera[None],
        "campose_valid": [np.array([1])],
        "cam_intrinsics": intrinsics,
    }
    pickles, images = root / "sequenceFiles" / "test", root / "imageFiles" / name
    pickles.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True)
    (pickles / f"{name}.pkl").write_bytes(python2_pickle(record))
    (images / "image_00000.jpg").write_bytes(jpeg)


def _picture(size: tuple[int, int], joints2d: np.ndarray, number: int) -> bytes:
    """A grey level that tells the image's number, with the joints as small discs, as JPEG."""
    image = np.full((size[1], size[0], 3), 40 + 20 * number, dtype=np.uint8)
    for person, points in enumerate(joints2d):
        for x, y in points:
            if abs(x) < 1e4 and abs(y) < 1e4:
                cv2.circle(image, (int(x), int(y)), 1, ((255, 60, 60), (60, 60, 255))[person], -1)
    return encode_jpeg(image, 80)
