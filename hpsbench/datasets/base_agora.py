"""AGORA's cameras and files: no camera is published, so it is told from an image's name; people lie in pickled pandas tables."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hpsbench.errors import DataError
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.safeload import load_pickle

FULL_SIZE = (3840, 2160)
DETECTIONS = "AGORA_test_bbox.json"
SENSOR_WIDTH_MM = 36.0
SPLITS = ("train", "validation", "test")
_FLIP = np.diag([1.0, -1.0, -1.0])
_AGAIN = "Unpack it again."


class AgoraCamera(NamedTuple):
    """``focal_mm`` on a sensor 36 mm wide; ``position`` (3,) m in OpenCV axes of the world; ``yaw`` and ``pitch`` degrees."""

    focal_mm: float
    position: np.ndarray
    yaw: float
    pitch: float


def opencv_axes(x: Any, y: Any, z: Any) -> np.ndarray:
    """(..., 3) m, x right, y down, z forward, of Unreal's centimetres (x forward, y right, z up)."""
    return np.stack([np.asarray(axis, dtype=np.float64) for axis in (y, np.negative(z), x)], axis=-1) / 100


# What of an image's name tells the camera: focal length mm, position cm in Unreal's axes, yaw and pitch degrees. The first match wins.
_CAMERAS: dict[str, tuple[float, tuple[float, float, float], float, float]] = {
    "hdri": (50, (0, 0, 170), 0, 0),
    "cam00": (18, (400, -275, 265), 135, 30),
    "cam01": (18, (400, 225, 265), -135, 30),
    "cam02": (18, (-490, 170, 265), -45, 30),
    "cam03": (18, (-490, -275, 265), 45, 30),
    "ag2": (28, (0, 0, 170), 0, 15),
}
_OTHER_FOCAL_MM = 28.0
_OTHER_GROUND = np.array([0.0, -1.7, 0.0])


def camera_of(name: str, row: Mapping[str, Any]) -> AgoraCamera:
    """The camera of the image ``name`` (no folder); ``row`` gives camX, camY, camZ cm and camYaw degrees where the name says nothing.

    Source: the projection of AGORA's evaluation code.
    """
    for token, (focal, position, yaw, pitch) in _CAMERAS.items():
        if token in name:
            return AgoraCamera(focal, opencv_axes(*position), yaw, pitch)
    return AgoraCamera(_OTHER_FOCAL_MM, opencv_axes(row["camX"], row["camY"], row["camZ"]) + _OTHER_GROUND, float(row["camYaw"]), 0.0)


def intrinsics_of(name: str, size: tuple[int, int]) -> np.ndarray:
    """(3, 3) px of the image ``name`` at ``size`` (width, height): square pixels, principal point in the middle, no distortion."""
    focal_mm = next((camera[0] for token, camera in _CAMERAS.items() if token in name), _OTHER_FOCAL_MM)
    f = focal_mm / SENSOR_WIDTH_MM * size[0]
    return np.array([[f, 0, size[0] / 2], [0, f, size[1] / 2], [0, 0, 1]])


def placements(camera: AgoraCamera, positions: np.ndarray, yaws_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(A (P, 3, 3), s (P, 3) m): a point v of a scan's own frame (y up) is A v + s in the camera frame.

    ``positions`` (P, 3) m in OpenCV axes of the world.
    """
    world_to_camera = _turns("x", camera.pitch) @ _turns("y", -camera.yaw)
    A = world_to_camera @ _turns("y", np.asarray(yaws_deg, dtype=np.float64) - 90) @ _FLIP
    return A, (positions - camera.position) @ world_to_camera.T


def _turns(axis: str, degrees: Any) -> np.ndarray:
    """Rotations (..., 3, 3) about an axis."""
    rotvecs = np.zeros((*np.shape(degrees), 3))
    rotvecs[..., "xyz".index(axis)] = np.radians(degrees)
    return rotvec_to_rotmat(torch.from_numpy(rotvecs)).numpy()


@dataclass(frozen=True)
class AgoraFit:
    """A body model's parameters for one scan.

    ``model`` "smpl" or "smplx"; ``params`` by the model's own names, in the scan's own frame: global_orient (3,), transl (3,),
    betas (10,) or for a kid (11,) (the last one the weight of the kid template), body_pose (23 or 21, 3) rad, and for smplx the hands
    (15, 3), jaw, eyes (3,) and expression (10,). ``rotation`` A (3, 3) and ``shift`` s (3,) m: A v + s is in the camera frame.
    """

    model: str
    params: Mapping[str, np.ndarray]
    rotation: np.ndarray
    shift: np.ndarray

    def orientation(self) -> np.ndarray:
        """The root's rotation (3, 3) in the camera frame."""
        return self.rotation @ rotvec_to_rotmat(torch.from_numpy(self.params["global_orient"])).numpy()

    def transl(self, rest_pelvis: np.ndarray) -> np.ndarray:
        """The translation (3,) m in the camera frame of a body whose ``rest_pelvis`` (3,) m is that of this very shape."""
        return self.rotation @ (self.params["transl"] + rest_pelvis) + self.shift - rest_pelvis


_HEAD = {"global_orient": (3,), "transl": (3,)}
_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "smpl": {**_HEAD, "body_pose": (23, 3)},
    "smplx": {
        **_HEAD,
        "body_pose": (21, 3),
        **dict.fromkeys(("left_hand_pose", "right_hand_pose"), (15, 3)),
        **dict.fromkeys(("jaw_pose", "leye_pose", "reye_pose"), (3,)),
        "expression": (10,),
    },
}
OTHER_NAMES = {"root_pose": "global_orient", "translation": "transl"}


def load_fit(path: Path, model: str, *, rotation: np.ndarray, shift: np.ndarray) -> AgoraFit:
    """The fit of one scan, its tensors from whatever device. Raises DataError, UnsafePickleError."""
    record = load_pickle(path)
    if not isinstance(record, dict):
        raise DataError(f"{path} holds a {type(record).__name__}, expected a dict of one {model} fit. {_AGAIN}")
    record = {OTHER_NAMES.get(key, key): value for key, value in record.items()}
    shapes = _SHAPES[model]
    missing = [key for key in (*shapes, "betas") if key not in record]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(map(str, record)) or 'nothing'}. {_AGAIN}")
    params = {key: _fit_array(path, key, record[key], shape) for key, shape in shapes.items()}
    count = np.size(record["betas"])
    if count not in (10, 11):
        raise DataError(f"{path}: 'betas' has {count} numbers, expected 10, or 11 of a kid. {_AGAIN}")
    params["betas"] = _fit_array(path, "betas", record["betas"], (count,))
    return AgoraFit(model, params, rotation, shift)


def _fit_array(path: Path, key: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: '{key}' is no array of numbers ({error}). {_AGAIN}") from error
    if array.size != np.prod(shape) or not np.isfinite(array).all():
        raise DataError(f"{path}: '{key}' has shape {array.shape}, expected {shape}, all numbers finite. {_AGAIN}")
    return array.reshape(shape)


def table_files(root: Path, folder: str, split: str, where: str) -> list[Path]:
    """The tables of a split, ``folder/<split>_<n>_withjv.pkl`` by number. Raises DataError: what was found, and what to unpack."""
    if not root.is_dir():
        raise DataError(f"No folder {root}. Expected AGORA's, which holds {folder}/ and the images. {where}")
    files = (root / folder).glob(f"{split}_*_withjv.pkl")
    found = sorted(files, key=lambda path: (len(path.name), path.name))
    if not found:
        inside = ", ".join(sorted(os.listdir(root))[:8]) or "nothing"
        raise DataError(
            f"No {folder}/{split}_*_withjv.pkl in {root}, which holds {inside}. Unpack {split}_{folder}.zip there "
            f"({split}_Cam.zip alone has no joints). {where}"
        )
    return found


def image_paths(root: Path, split: str, size: tuple[int, int]) -> dict[str, Path]:
    """{4K name without .png: the file at ``size``} of all images in the folders of ``root`` whose names begin with ``split``."""
    suffix = ".png" if size == FULL_SIZE else f"_{size[0]}x{size[1]}.png"
    found: dict[str, Path] = {}
    for folder in sorted(entry.path for entry in os.scandir(root) if entry.is_dir() and entry.name.startswith(split)):
        names = (entry.name for entry in os.scandir(folder) if entry.name.startswith("ag_") and entry.name.endswith(suffix))
        found.update((name.removesuffix(suffix), Path(folder, name)) for name in names if "_mask_" not in name)
    if size == FULL_SIZE:
        return {name: path for name, path in found.items() if not name.endswith("_1280x720")}
    return found


def split_name(name: str) -> tuple[str, int]:
    """(scene, frame number) of an image's name without .png. Raises DataError where it does not end in a number."""
    scene, _, frame = name.rpartition("_")
    if not (scene and frame.isdigit()):
        raise DataError(f"Image name '{name}', expected one as AGORA's, ag_<split>set_..._<frame number>. {_AGAIN}")
    return scene, int(frame)


def load_detections(file: Path, where: str) -> dict[str, np.ndarray]:
    """{image name without .png: boxes (N, 4) xywh px of the 4K image}. Raises DataError."""
    try:
        content = json.loads(file.read_text())
        boxes = {name: [row["bbox"] for row in rows] for name, rows in content.items()}
        arrays = {_base(name): np.array(rows, dtype=np.float64).reshape(-1, 4) for name, rows in boxes.items()}
    except OSError as error:
        raise DataError(
            f"Could not read {file}: {error.strerror}. AGORA's test split has no boxes of its own: put a file there that maps each image "
            f"to [{{'bbox': [x, y, w, h]}}, ...] in pixels of 3840 x 2160. {where}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file} is no list of boxes by image ({type(error).__name__}: {error}). Expected {{image: [{{'bbox': [x, y, w, h]}}, ...]}}. "
            "Download it again."
        ) from error
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise DataError(f"{file} holds boxes that are not finite numbers. Download it again.")
    return arrays


def _base(name: str) -> str:
    stem = name.rpartition("/")[2].removesuffix(".png")
    return stem.removesuffix("_1280x720").removesuffix("_3840x2160")
