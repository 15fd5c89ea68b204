"""The files of EMDB: where they lie, and one sequence pickle as checked arrays."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.datasets.base_index import Columns, indexed
from hpsbench.errors import DataError
from hpsbench.safeload import load_pickle
from hpsbench.store import sha256_of_file

# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 1
_AGAIN = "Get the sequence again."
_KEYS = ("gender", "name", "emdb1", "emdb2", "n_frames", "good_frames_mask", "camera", "smpl", "kp2d", "bboxes")
_PARTS = {
    "camera": ("intrinsics", "extrinsics", "width", "height"),
    "smpl": ("poses_root", "poses_body", "trans", "betas"),
    "bboxes": ("bboxes", "invalid_idxs"),
}


@dataclass(frozen=True)
class World:
    """One sequence as its pickle has it, one person and N images of ``size`` (width, height) px; metres, radians, world frame, float64.

    ``subsets``: those of "emdb1" and "emdb2" that it is in. ``good`` (N,) bool. ``poses`` (N, 24, 3) rotation vectors, ``trans`` (N, 3),
    ``betas`` (10,); ``extrinsics`` (N, 4, 4) world to camera; ``intrinsics`` (3, 3) px; ``keypoints`` (N, 24, 2) px; ``boxes`` (N, 4) xyxy
    px, NaN where none is valid. What is not ``good`` may hold NaN. ``sha256`` is the pickle's.
    """

    name: str
    folder: Path
    sha256: str
    subsets: tuple[str, ...]
    size: tuple[int, int]
    gender: str
    good: np.ndarray
    poses: np.ndarray
    trans: np.ndarray
    betas: np.ndarray
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray


def sequence_files(root: Path, where: str) -> list[Path]:
    """P0/<sequence>/P0_<sequence>_data.pkl and so on, sorted. Raises DataError, saying what was found instead and what to do."""
    if not root.is_dir():
        raise DataError(f"No folder {root}. Expected a folder that holds P0 to P9. {where}")
    folders = sorted(folder for folder in root.glob("P[0-9]*/*") if folder.is_dir() and folder.parent.name[1:].isdigit())
    if not folders:
        held = ", ".join(sorted(os.listdir(root))[:8])
        above = root.name[:1] == "P" and root.name[1:].isdigit()
        advice = f"Name the folder above it: {root.parent}." if above else where
        raise DataError(f"No P0/<sequence>/ or the like in {root}, which holds {held or 'nothing'}. {advice}")
    files = [folder / f"{folder.parent.name}_{folder.name}_data.pkl" for folder in folders]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(files)} sequences in {root} lack their pickle, the first is {missing[0]}. {_AGAIN} {where}"
        )
    return files


def load_world(path: Path) -> World:
    """The sequence of a pickle: out of its index, or parsed and indexed. Raises as ``parse_world``."""
    columns = indexed("emdb", _INDEX_VERSION, [path], lambda: _columns_of(parse_world(path)))
    name, sha256, gender = (str(text) for text in columns.pop("texts"))
    width, height = columns.pop("size").tolist()
    subsets = tuple(columns.pop("subsets").tolist())
    return World(name=name, folder=path.parent, sha256=sha256, subsets=subsets, size=(width, height), gender=gender, **columns)


def _columns_of(world: World) -> Columns:
    """A sequence as the arrays of an index."""
    columns = {key: value for key, value in vars(world).items() if isinstance(value, np.ndarray)}
    columns["texts"] = np.array([world.name, world.sha256, world.gender])
    return columns | {"size": np.array(world.size), "subsets": np.array(world.subsets, dtype=str)}


def parse_world(path: Path) -> World:
    """The arrays of one sequence pickle. Raises DataError where it is corrupt, lacks a key, or holds an array of another shape, or with NaN
    in a good frame; UnsafePickleError where it asks for more than arrays."""
    record = load_pickle(path)
    _check_keys(path, "the pickle", record, _KEYS)
    for part, keys in _PARTS.items():
        _check_keys(path, f"'{part}'", record[part], keys)
    name, gender = f"{path.parent.parent.name}_{path.parent.name}", str(record["gender"])
    if not name.endswith(str(record["name"])):
        raise DataError(f"{path} says that it is sequence '{record['name']}'. Expected that of its folder; give the folder its name back.")
    if gender not in ("male", "female", "neutral"):
        raise DataError(f"{path}: 'gender' is '{gender}', expected male, female or neutral. {_AGAIN}")
    count = _count(path, "n_frames", record["n_frames"])
    good = _array(path, "good_frames_mask", record["good_frames_mask"], count) != 0
    camera, smpl = record["camera"], record["smpl"]
    poses = [_array(path, key, smpl[key], count, width, where=good) for key, width in (("poses_root", 3), ("poses_body", 69))]
    return World(
        name=name,
        folder=path.parent,
        sha256=sha256_of_file(path),
        subsets=tuple(subset for subset in ("emdb1", "emdb2") if _array(path, subset, record[subset]) != 0),
        size=(_count(path, "width", camera["width"]), _count(path, "height", camera["height"])),
        gender=gender,
        good=good,
        poses=np.concatenate(poses, axis=1).reshape(count, 24, 3),
        trans=_array(path, "trans", smpl["trans"], count, 3, where=good),
        betas=_array(path, "betas", smpl["betas"], 10),
        extrinsics=_array(path, "extrinsics", camera["extrinsics"], count, 4, 4, where=good),
        intrinsics=_array(path, "intrinsics", camera["intrinsics"], 3, 3),
        keypoints=_array(path, "kp2d", record["kp2d"], count, 24, 2, where=good),
        boxes=_boxes(path, record["bboxes"], count),
    )


def _check_keys(path: Path, what: str, record: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(record, Mapping):
        raise DataError(f"{path}: {what} holds a {type(record).__name__}, expected a dict with {', '.join(keys)}. {_AGAIN}")
    missing = [key for key in keys if key not in record]
    if missing:
        raise DataError(f"{path}: {what} lacks {', '.join(missing)}, expected {', '.join(keys)}. {_AGAIN}")


def _count(path: Path, key: str, value: Any) -> int:
    """The entry as a whole number above 0."""
    found = float(_array(path, key, value))
    if found < 1 or found % 1:
        raise DataError(f"{path}: '{key}' is {found:g}, expected a whole number above 0. {_AGAIN}")
    return int(found)


def _array(path: Path, key: str, value: Any, *shape: int, where: np.ndarray | None = None) -> np.ndarray:
    """The entry as float64 of ``shape``, finite in the rows ``where`` (N,) bool (default: everywhere)."""
    try:
        found = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: '{key}' is no array of numbers ({error}). Expected shape {shape}. {_AGAIN}") from error
    if found.shape != shape:
        raise DataError(f"{path}: '{key}' has shape {found.shape}, expected {shape}. {_AGAIN}")
    if not np.isfinite(found if where is None else found[where]).all():
        raise DataError(f"{path}: '{key}' holds NaN or infinity, expected finite numbers in good frames. {_AGAIN}")
    return found


def _boxes(path: Path, record: Mapping[str, Any], count: int) -> np.ndarray:
    boxes = _array(path, "bboxes", record["bboxes"], count, 4, where=np.zeros(count, dtype=bool))
    invalid = _array(path, "invalid_idxs", record["invalid_idxs"], np.size(record["invalid_idxs"]))
    if ((invalid < 0) | (invalid >= count) | (invalid % 1 != 0)).any():
        raise DataError(
            f"{path}: 'invalid_idxs' holds {invalid.min():g} to {invalid.max():g}, expected numbers of {count} frames. {_AGAIN}"
        )
    boxes[invalid.astype(int)] = np.nan
    return boxes
