"""3DOH50K's annotation file as checked records."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.datasets.base_index import Columns, indexed
from hpsbench.errors import DataError
from hpsbench.store import sha256_of_file

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
_INDEX_VERSION = 1
_WITH_VISIBILITY = ("smpl_joints_2d", "lsp_joints_2d")


def load_people(file: Path) -> Columns:
    """The N records of an annotation file, sorted by key, out of its index, or parsed and indexed.

    "keys" and "img_path" (N,) text ("" where a record has none), the arrays of ``SHAPES`` with N in front, and the file's "sha256" (1,).
    Raises DataError as ``load_records``.
    """
    return indexed("3doh", _INDEX_VERSION, [file], lambda: _columns_of(load_records(file)) | {"sha256": np.array([sha256_of_file(file)])})


def _columns_of(records: Mapping[str, Mapping[str, Any]]) -> Columns:
    columns = {name: np.array([record[name] for record in records.values()]).reshape(-1, *shape) for name, shape in SHAPES.items()}
    columns["keys"] = np.array(list(records), dtype=str)
    return columns | {"img_path": np.array([str(record.get("img_path", "")) for record in records.values()], dtype=str)}


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
    except ValueError as error:
        raise DataError(f"{file} is no whole JSON file ({error}). Unpack the zip again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} holds a {type(content).__name__}, expected one record per image. Unpack the zip again.")
    return {key: _checked(file, key, content[key]) for key in sorted(content)}


def _numbers(value: Any) -> Any:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return value


def _checked(file: Path, key: str, record: Any) -> dict[str, Any]:
    if not key.isdigit() or not isinstance(record, dict):
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
