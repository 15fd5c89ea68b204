"""Human3.6M's cameras: pinhole, lens distortion, and the metadata file that they come from."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsbench.datasets.base_h36m_files import held_in
from hpsbench.datasets.base_h36m_names import CAMERAS
from hpsbench.datasets.base_index import Columns, indexed_with_hashes
from hpsbench.errors import DataError

_SUBJECTS, _POSE, _LENS = 11, 6, 9
_NUMBERS = len(CAMERAS) * (_SUBJECTS * _POSE + _LENS)
# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 1
_FIELDS = ("intrinsics", "distortion", "rotation", "translation")
_PLACES = ("metadata.xml", "Release-v1.2/metadata.xml", "code-v1.2/Release-v1.2/metadata.xml", "code-v1.2/metadata.xml")
# fx, fy, cx, cy, k1, k2, k3, p1, p2 of the four cameras, the same for all subjects; as rounded in the metadata's descriptions.
LENSES = {
    "54138969": (1145.0494, 1143.7811, 512.5415, 515.4515, -0.2070989, 0.2477752, -0.0030752, -0.0014245, -0.0009757),
    "55011271": (1149.6757, 1147.5916, 508.8486, 508.0649, -0.1942136, 0.2404085, 0.0068200, -0.0027409, -0.0016190),
    "58860488": (1149.1407, 1148.7990, 519.8158, 501.4027, -0.2083382, 0.2554880, -0.0024605, -0.0007600, 0.0014844),
    "60457274": (1145.5113, 1144.7739, 514.9682, 501.8820, -0.1983841, 0.2183237, -0.0089478, -0.0018134, -0.0005872),
}


@dataclass(frozen=True)
class Camera:
    """``intrinsics`` (3, 3) px; ``distortion`` (5,) k1, k2, k3, p1, p2; X_cam = ``rotation`` (3, 3) X_world + ``translation`` (3,) m.

    ``distortion`` is what a View cannot say: a pixel of the image is that of ``project``, up to some pixels from that of the
    intrinsics alone towards the border.
    """

    intrinsics: np.ndarray
    distortion: np.ndarray
    rotation: np.ndarray | None = None
    translation: np.ndarray | None = None

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) m in the camera frame."""
        return points @ self.rotation.T + self.translation

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Camera-frame points (..., 3) m in the world."""
        return (points - self.translation) @ self.rotation

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of camera-frame points (..., 3) m through the lens; NaN at or behind the camera.

        Radial 1 + k1 r2 + k2 r2^2 + k3 r2^3. The tangential part is the release's own, without OpenCV's factor 2: with
        s = p1 y + p2 x it is (x s + p2 r2, y s + p1 r2). Source: Human3.6M's code, Release-v1.2.
        """
        k1, k2, k3, p1, p2 = self.distortion
        depth = np.where(points[..., 2] > 0, points[..., 2], np.nan)
        x, y = points[..., 0] / depth, points[..., 1] / depth
        r2 = x * x + y * y
        factor = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + p1 * y + p2 * x
        bent = np.stack([x * factor + p2 * r2, y * factor + p1 * r2, np.ones_like(x)], axis=-1)
        return (bent @ self.intrinsics.T)[..., :2]


def real_lens(camera_id: str) -> Camera:
    """The camera of an id as it is in the metadata, without its place."""
    fx, fy, cx, cy, *distortion = LENSES[camera_id]
    return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.array(distortion))


def lens_of(camera_id: str, f: np.ndarray, c: np.ndarray, path: Path) -> Camera:
    """The camera of a derived file, which gives ``f`` (2,) and ``c`` (2,) px but no distortion: that is the real camera's.

    Raises DataError where they are not that camera's within 20 px: resized images, or numbers in another order.
    """
    fx, fy, cx, cy, *distortion = LENSES[camera_id]
    if np.abs(np.concatenate([f, c]) - (fx, fy, cx, cy)).max() > 20:
        raise DataError(
            f"{path}: camera {camera_id} has focal lengths {f[0]:.1f}, {f[1]:.1f} and centre {c[0]:.1f}, {c[1]:.1f} px, expected about "
            f"{fx:.1f}, {fy:.1f} and {cx:.1f}, {cy:.1f}. Use annotations for images of the original size."
        )
    return Camera(np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1]]), np.array(distortion))


def find_metadata(root: Path, where: str) -> Path:
    """The metadata.xml below ``root``. Raises DataError saying where it was looked for."""
    found = [root / place for place in _PLACES if (root / place).is_file()]
    if not found:
        raise DataError(
            f"No metadata.xml in {root}, which holds {held_in(root)}; looked for {', '.join(_PLACES)}. It has the cameras, and is part "
            f"of Human3.6M's code-v1.2.zip: put it there. {where}"
        )
    return found[0]


def cameras_of(metadata: Path) -> tuple[dict[tuple[int, int], Camera], str]:
    """The cameras of ``load_metadata``, out of the file's index or parsed and indexed, and its SHA-256. Raises DataError."""
    columns, hashes = indexed_with_hashes("h36m-cameras", _INDEX_VERSION, [metadata], lambda: _columns_of(load_metadata(metadata)))
    fields = (columns[name] for name in _FIELDS)
    keys = ((subject, camera) for subject, camera in columns["subject and camera"].tolist())
    return {key: Camera(*numbers) for key, *numbers in zip(keys, *fields, strict=True)}, hashes[metadata]


def _columns_of(cameras: Mapping[tuple[int, int], Camera]) -> Columns:
    columns = {name: np.array([getattr(camera, name) for camera in cameras.values()]) for name in _FIELDS}
    return columns | {"subject and camera": np.array(list(cameras))}


def load_metadata(path: Path) -> dict[tuple[int, int], Camera]:
    """{(subject 1 to 11, camera 0 to 3): Camera} of a metadata.xml.

    Its ``w0`` is one bracketed list of 300: camera by camera and subject by subject three angles in radians with
    R = Rx Ry Rz and the camera's CENTRE in mm; then camera by camera fx, fy, cx, cy, k1, k2, k3, p1, p2. Raises DataError.
    """
    try:
        found = ElementTree.parse(path).getroot().find(".//w0")
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is no XML ({error}). Unpack code-v1.2.zip again.") from error
    words = re.split(r"[\s,;]+", (found.text or "").strip().strip("[]").strip()) if found is not None else []
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError as error:
        raise DataError(f"{path}: 'w0' holds something that is no number ({error}). Unpack code-v1.2.zip again.") from error
    if len(numbers) != _NUMBERS or not np.isfinite(numbers).all():
        raise DataError(f"{path}: 'w0' holds {len(numbers)} numbers, expected {_NUMBERS}, all finite. Unpack code-v1.2.zip again.")
    poses = numbers[: -len(CAMERAS) * _LENS].reshape(len(CAMERAS), _SUBJECTS, _POSE)
    lenses = numbers[-len(CAMERAS) * _LENS :].reshape(len(CAMERAS), _LENS)
    return {(s + 1, c): _camera(poses[c, s], lenses[c]) for c in range(len(CAMERAS)) for s in range(_SUBJECTS)}


def _camera(pose: np.ndarray, lens: np.ndarray) -> Camera:
    fx, fy, cx, cy, *distortion = lens
    (ca, cb, cc), (sa, sb, sc) = np.cos(pose[:3]), np.sin(pose[:3])
    Rx = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    Ry = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    Rz = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    R = Rx @ Ry @ Rz
    return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), np.array(distortion), R, -R @ (pose[3:] / 1000))
