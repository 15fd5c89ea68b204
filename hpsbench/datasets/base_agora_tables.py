"""One of AGORA's tables as checked people, image by image; and what an index keeps of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpsbench.datasets.base_3dpw import inside
from hpsbench.datasets.base_agora import FULL_SIZE, AgoraCamera, camera_of, intrinsics_of, opencv_axes, placements
from hpsbench.datasets.base_index import Columns, indexed
from hpsbench.errors import DataError
from hpsbench.geometry import project
from hpsbench.safeload import load_pickle
from hpsbench.store import sha256_of_file

_JOINTS = {"smpl": 45, "smplx": 127}
_VERTICES = {"smpl": 6890, "smplx": 10475}
_LISTS = ("X", "Y", "Z", "Yaw", "gender", "kid", "occlusion", "isValid", "gt_joints_2d", "gt_joints_3d", "gt_verts")
_NUMBERS = ("joints", "joints2d", "occlusion", "evaluated", "kid", "rotations", "shifts")
_TEXTS = ("genders", "fits")
_SCALARS = ("imgPath", "camX", "camY", "camZ", "camYaw")
_GENDERS = ("male", "female", "neutral")
# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 1
# The most that a box rule or a sample takes.
_JOINTS_KEPT = 25
_AGAIN = "Unpack the tables again."
_HIGHEST_OCCLUSION = 90.0
_NO_HANDS = "image without hands and face"


@dataclass(frozen=True)
class AgoraPeople:
    """The P people of one image, in the table's order; camera frame, metres.

    ``image`` is the 4K name without .png. ``joints`` (P, J, 3), ``joints2d`` (P, J, 2) px of the images in use, ``vertices`` (P, V, 3) or
    None; ``occlusion`` (P,) percent; ``evaluated`` (P,) bool: isValid and 0 <= occlusion <= 90; ``kid`` (P,) bool; ``fits`` paths of
    the fits below the dataset's folder; ``rotations`` (P, 3, 3) and ``shifts`` (P, 3): from a scan's own frame to the camera frame.
    ``corners`` (P, 2, 2) px, of what comes out of an index: those of the tight box of the vertices inside the image, NaN where none is.
    """

    image: str
    joints: np.ndarray
    joints2d: np.ndarray
    vertices: np.ndarray | None
    occlusion: np.ndarray
    evaluated: np.ndarray
    kid: np.ndarray
    genders: tuple[str, ...]
    fits: tuple[str, ...]
    rotations: np.ndarray
    shifts: np.ndarray
    corners: np.ndarray | None = None

    def slim(self, joints: int) -> "AgoraPeople":
        """Without vertices, with the first ``joints`` joints: what stays in memory."""
        kept = {"joints": self.joints[:, :joints].copy(), "joints2d": self.joints2d[:, :joints].copy()}
        return replace(self, **kept, vertices=None, corners=None)


def _bin(low: int) -> Callable[[AgoraPeople], np.ndarray]:
    """Whom the rule of one occlusion bin drops: [low, low + 10) percent, the last one up to 90 itself."""
    high = low + 10 if low < 80 else np.nextafter(_HIGHEST_OCCLUSION, 100)
    return lambda people: ~((people.occlusion >= low) & (people.occlusion < high))


def has_hands(image: str) -> bool:
    """Whether the scans in an image were fitted with hands and face, as its name tells: AGORA scores SMPL-X on those."""
    return "bfh" in image or "smplx" in image


# A frame rule: the reasons for dropping a person, each with the mask (P,) of whom it drops.
FRAME_RULES: dict[str, dict[str, Callable[[AgoraPeople], np.ndarray]]] = {
    "all": {},
    **{
        f"occlusion-{low}-{low + 10}": {
            "not valid": lambda people: ~people.evaluated,
            f"occlusion not in {low} to {low + 10} %": _bin(low),
        }
        for low in range(0, 90, 10)
    },
    "valid-bfh": {
        _NO_HANDS: lambda people: np.full(len(people.evaluated), not has_hands(people.image)),
        "not valid": lambda people: ~people.evaluated,
    },
    "valid": {"not valid": lambda people: ~people.evaluated},
}


def people_of(path: Path, model: str, size: tuple[int, int]) -> tuple[list[AgoraPeople], str]:
    """The people of each image of a table, with corners instead of vertices and the first 25 joints, and the table's SHA-256.

    Out of the table's index, or parsed and indexed. Raises as ``load_people``.
    """
    rules = {"table": path.name, "model": model, "size": list(size)}
    columns = indexed("agora", _INDEX_VERSION, [path], lambda: _columns_of(path, model, size), rules=rules)
    images, sha256 = columns.pop("image").tolist(), str(columns.pop("sha256")[0])
    if not images:
        return [], sha256
    ends = np.cumsum(columns.pop("count"))[:-1]
    parts = {name: np.split(column, ends) for name, column in columns.items()}
    return [_kept(image, {name: part[i] for name, part in parts.items()}) for i, image in enumerate(images)], sha256


def _kept(image: str, arrays: Mapping[str, np.ndarray]) -> AgoraPeople:
    texts = {name: tuple(arrays[name].tolist()) for name in _TEXTS}
    return AgoraPeople(image=image, vertices=None, **{**arrays, **texts})


def _columns_of(path: Path, model: str, size: tuple[int, int]) -> Columns:
    """A table as the arrays of an index: "image" and "count" have a row for each image, the fields of its people one for each."""
    images: list[str] = []
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (*_NUMBERS, *_TEXTS, "corners")}
    for people in load_people(path, model, size):
        images.append(people.image)
        slim = people.slim(_JOINTS_KEPT)
        for name in (*_NUMBERS, *_TEXTS):
            rows[name].append(np.array(getattr(slim, name), dtype=str if name in _TEXTS else None))
        rows["corners"].append(_corners(people, size))
    columns = {"image": np.array(images, dtype=str), "sha256": np.array([sha256_of_file(path)])}
    if images:
        columns |= {name: np.concatenate(parts) for name, parts in rows.items()}
        columns["count"] = np.array([len(part) for part in rows["corners"]])
    return columns


def _corners(people: AgoraPeople, size: tuple[int, int]) -> np.ndarray:
    points = project(torch.from_numpy(people.vertices.astype(np.float64)), torch.from_numpy(intrinsics_of(people.image, size))).numpy()
    used = inside(points, size)[..., None]
    corners = np.stack([np.where(used, points, np.inf).min(1), np.where(used, points, -np.inf).max(1)], axis=1)
    return np.where(np.isfinite(corners), corners, np.nan)


def load_people(path: Path, model: str, size: tuple[int, int]) -> Iterator[AgoraPeople]:
    """The people of each image of one table; ``model`` "smpl" or "smplx", ``size`` (width, height) of the images in use.

    Raises DataError where the file is corrupt, lacks a column or holds arrays of another shape or with NaN, UnsafePickleError where
    it asks for more than a table.
    """
    table, wanted = load_pickle(path), (*_SCALARS, *_LISTS, f"gt_path_{model}")
    if not isinstance(table, dict):
        raise DataError(f"{path} holds a {type(table).__name__}, expected a pandas table. {_AGAIN}")
    missing = [name for name in wanted if name not in table]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table)) or 'none'}. {_AGAIN}")
    lengths = {name: len(table[name]) if hasattr(table[name], "__len__") else "no" for name in wanted}
    count = lengths["imgPath"]
    uneven = [f"{length} rows in {name}" for name, length in lengths.items() if length != count or count == "no"]
    if uneven:
        raise DataError(f"{path} has {', '.join(uneven)}, but {count} in imgPath, expected the same in each. {_AGAIN}")
    for i in range(count):
        yield _people(path, {name: table[name][i] for name in wanted}, model, size)


def _people(path: Path, row: Mapping[str, Any], model: str, size: tuple[int, int]) -> AgoraPeople:
    image = str(row["imgPath"]).removesuffix(".png")
    lengths = {name: len(row[name]) if hasattr(row[name], "__len__") else 0 for name in (*_LISTS, f"gt_path_{model}")}
    count = lengths["X"]
    uneven = [f"{length} in {name}" for name, length in lengths.items() if length != count]
    if uneven:
        raise DataError(f"{path}: image {image} has {count} people in X, but {', '.join(uneven)}. {_AGAIN}")

    def array(name: str, *shape: int) -> np.ndarray:
        return _array(f"{path}: image {image}: '{name}'", row[name], (count, *shape))

    rotations, shifts = placements(_camera(path, image, row), opencv_axes(array("X"), array("Y"), array("Z")), array("Yaw"))
    occlusion, n = array("occlusion"), _JOINTS[model]
    return AgoraPeople(
        image=image,
        joints=array("gt_joints_3d", n, 3),
        joints2d=array("gt_joints_2d", n, 2) * (size[0] / FULL_SIZE[0]),
        vertices=array("gt_verts", _VERTICES[model], 3).astype(np.float32),
        occlusion=occlusion,
        evaluated=(array("isValid") != 0) & (occlusion >= 0) & (occlusion <= _HIGHEST_OCCLUSION),
        kid=array("kid") != 0,
        genders=_genders(path, image, row["gender"]),
        fits=tuple(str(fit).removesuffix(".obj").removesuffix(".pkl") + ".pkl" for fit in row[f"gt_path_{model}"]),
        rotations=rotations,
        shifts=shifts,
    )


def _camera(path: Path, image: str, row: Mapping[str, Any]) -> AgoraCamera:
    try:
        camera = camera_of(image, row)
        known = bool(np.isfinite([*camera.position, camera.yaw]).all())
    except (TypeError, ValueError):
        known = False
    if not known:
        names = ("camX", "camY", "camZ", "camYaw")
        found = ", ".join(str(row[name]) for name in names)
        raise DataError(f"{path}: image {image}: {', '.join(names)} are {found}, expected four finite numbers. {_AGAIN}")
    return camera


def _array(what: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        found = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is no array of numbers ({error}). Expected shape {shape}. {_AGAIN}") from error
    if found.size == 0 == shape[0]:
        return np.empty(shape)
    if found.shape != shape:
        raise DataError(f"{what} has shape {found.shape}, expected {shape}. {_AGAIN}")
    if not np.isfinite(found).all():
        raise DataError(f"{what} holds NaN or infinity, expected finite numbers. {_AGAIN}")
    return found


def _genders(path: Path, image: str, entry: Any) -> tuple[str, ...]:
    genders = tuple(str(gender) for gender in entry)
    if any(gender not in _GENDERS for gender in genders):
        raise DataError(f"{path}: image {image}: 'gender' is {list(genders)}, expected {', '.join(_GENDERS)}. {_AGAIN}")
    return genders
