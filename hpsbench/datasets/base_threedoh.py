"""3DOH50K's files: where they lie, and an annotation file as checked records and as columns."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpsbench.datasets.base_index import Columns, indexed
from hpsbench.errors import DataError
from hpsbench.geometry import project
from hpsbench.store import sha256_of_file

ANNOTATIONS = "annots.json"
# The folder of each split, as unpacked and as PARE and ROMP rename it.
FOLDERS = {"train": ("trainset", "train"), "test": ("testset", "test")}
# The shapes of a record's arrays.
SHAPES: dict[str, tuple[int, ...]] = {
    "bbox": (2, 2),
    "intri": (3, 3),
    "extri": (4, 4),
    "pose": (1, 72),
    "betas": (1, 10),
    "trans": (1, 3),
    "scale": (1,),
    "smpl_joints_2d": (24, 2),
    "smpl_joints_3d": (24, 3),
    "lsp_joints_2d": (14, 2),
    "lsp_joints_3d": (14, 3),
}
# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 2
_WITH_VISIBILITY = ("smpl_joints_2d", "lsp_joints_2d")


def annotation_file(root: Path, split: str, where: str) -> Path:
    """The annotation file of a split. Raises DataError where there is none, or two: what was found, and what to do (``where``)."""
    found = annotation_files(root, split)
    if len(found) > 1:
        raise DataError(f"{split} is there twice: {' and '.join(map(str, found))}. Expected one of them: move the other away.")
    if found:
        return found[0]
    inside = sorted(os.listdir(root)) if root.is_dir() else []
    held = ", ".join(inside[:8]) or ("empty" if root.is_dir() else "no such folder")
    advice = _advice(root, inside) or f"Unpack {FOLDERS[split][0]}.zip there. {where}"
    raise DataError(f"No {' or '.join(f'{name}/{ANNOTATIONS}' for name in FOLDERS[split])} in {root} ({held}). {advice}")


def annotation_files(root: Path, split: str) -> list[Path]:
    """Those of a split that lie below ``root``, in its folder or, as some unpackers leave it, in one of the same name inside it."""
    places = [folder / ANNOTATIONS for name in FOLDERS[split] for folder in (root / name, root / name / name)]
    return list({path.resolve(): path for path in places if path.is_file()}.values())


def _advice(root: Path, inside: list[str]) -> str:
    if ANNOTATIONS in inside:
        return f"Name the folder above it, which holds {FOLDERS['train'][0]} or {FOLDERS['test'][0]}: {root.parent}."
    below = [name for name in inside if any(annotation_files(root / name, split) for split in FOLDERS)]
    return f"Name the folder below it: {root / below[0]}." if below else ""


def load_people(file: Path) -> Columns:
    """The N records of an annotation file, sorted by key, out of its index, or parsed and indexed.

    "keys" and "img_path" (N,) text ("" where a record has none), the arrays of ``SHAPES`` with N in front, the joints' projections
    "joints2d" (N, 24, 2) px (NaN behind the camera), and the file's "sha256" (1,). Raises DataError as ``load_records``.
    """
    return indexed("3doh", _INDEX_VERSION, [file], lambda: _columns_of(load_records(file)) | {"sha256": np.array([sha256_of_file(file)])})


def _columns_of(records: Mapping[str, Mapping[str, Any]]) -> Columns:
    columns = {name: np.array([record[name] for record in records.values()]).reshape(-1, *shape) for name, shape in SHAPES.items()}
    columns["joints2d"] = np.array([_joints2d(record) for record in records.values()]).reshape(-1, 24, 2)
    columns["keys"] = np.array(list(records), dtype=str)
    return columns | {"img_path": np.array([str(record.get("img_path", "")) for record in records.values()], dtype=str)}


def _joints2d(record: Mapping[str, Any]) -> np.ndarray:
    """(24, 2) px. Of one person alone: a product over all of them at once rounds the last bit otherwise."""
    return project(torch.from_numpy(record["smpl_joints_3d"] / record["scale"]), torch.from_numpy(record["intri"])).numpy()


def load_records(file: Path) -> dict[str, dict[str, Any]]:
    """{key: record} of an annotation file, sorted by key; a record has ``img_path`` and the arrays of its shapes, float64.

    Each record is turned into arrays as soon as it is parsed (the train file has tens of thousands). Raises DataError where the file is
    corrupt, lacks a key, or holds an array of another shape or with NaN.
    """

    def compact(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = {name: _numbers(value) if name in SHAPES else value for name, value in pairs}
        if len(record) < len(pairs):
            raise DataError(f"{file} has a key twice. Download it again.")
        return record

    try:
        content = json.loads(file.read_bytes(), object_pairs_hook=compact)
    except OSError as error:
        raise DataError(f"Could not read {file}: {error.strerror or error}. Unpack the zip again.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no whole JSON file ({error}). Unpack the zip again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} holds a {type(content).__name__}, expected one record per image. Unpack the zip again.")
    return {key: _checked(file, key, content[key]) for key in sorted(content)}


def _numbers(value: Any) -> Any:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return value


def _checked(file: Path, key: str, record: Any) -> dict[str, Any]:
    if not (len(key) == 5 and key.isascii() and key.isdigit() and isinstance(record, dict)):
        raise DataError(f"{file}: '{key}' is no record of an image, expected keys as 00000. Unpack the zip again.")
    missing = [name for name in SHAPES if name not in record]
    if missing:
        raise DataError(f"{file}: '{key}' lacks {', '.join(missing)}; it has {', '.join(record) or 'nothing'}. Unpack the zip again.")
    for name, shape in SHAPES.items():
        value = record[name]
        if name in _WITH_VISIBILITY and isinstance(value, np.ndarray) and value.shape == (shape[0], 3):
            value = record[name] = value[:, :2]
        if not isinstance(value, np.ndarray) or value.shape != shape:
            found = f"shape {value.shape}" if isinstance(value, np.ndarray) else "no numbers in rows of one length"
            raise DataError(f"{file}: '{key}': '{name}' has {found}, expected shape {shape}. Unpack the zip again.")
        if not np.isfinite(value).all():
            raise DataError(f"{file}: '{key}': '{name}' holds NaN or infinity, expected finite numbers. Unpack the zip again.")
    if not record["scale"][0] > 0:
        raise DataError(f"{file}: '{key}': 'scale' is {record['scale'][0]}, expected about 7 units per metre. Unpack the zip again.")
    return record
