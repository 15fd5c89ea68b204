"""The table of per-person rows: in memory a dict of arrays of equal length, on disk one HDF5 file, whole or not at all.

Keys: "ids", "tracks", "frames", "failed", "coverage"; of protocols with cases "cases" and "skipped" (why a case is not possible for the
sample; "": it is), and ids are those of views; "labels/<kind>" text; "occluded" and "outside" (N, J) of the truth's skeleton;
"values/<metric>" (N, K) in metres, radians or hits; "parts/<metric>" (N, 24) m of meshes, the mean over the vertices that each joint
moves most; "joints/pred" and "joints/gt" (N, J, 3) m, relative to their roots. Of
protocols scored by onset: "since" and "durations", frames, NaN before the first onset. Of AGORA's scores: "occlusion" percent, "kid", and
"unanswered": in an image without any prediction.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpsbench.errors import ResultError
from hpsbench.store import sha256_of_bytes, whole_file

Rows = dict[str, np.ndarray]


def _is_text(key: str) -> bool:
    return key in ("ids", "tracks", "cases", "skipped") or key.startswith("labels/")


def write_rows(path: Path, rows: Rows, identity: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> None:
    """Write rows with the identity of the run and the names of the columns of each (N, K) array."""
    with whole_file(path, "w+b") as stream, h5py.File(stream, "w") as file:
        file.attrs["identity"] = json.dumps(identity, sort_keys=True)
        file.attrs["columns"] = json.dumps({key: list(names) for key, names in columns.items()}, sort_keys=True)
        for key, array in rows.items():
            if _is_text(key):
                file.create_dataset(key, data=array.astype(object), dtype=h5py.string_dtype())
            else:
                file.create_dataset(key, data=array, compression="gzip", shuffle=True)


def read_rows(path: Path) -> tuple[Rows, dict[str, Any], dict[str, list[str]]]:
    """(rows, identity, columns) of a file of ``write_rows``. Raises ResultError where it is missing or broken."""
    try:
        with h5py.File(path, "r") as file:
            rows: Rows = {}
            file.visititems(lambda key, node: rows.update({key: node[...]}) if isinstance(node, h5py.Dataset) else None)
            identity, columns = json.loads(file.attrs["identity"]), json.loads(file.attrs["columns"])
    except (OSError, KeyError, ValueError) as error:
        raise ResultError(f"{path} cannot be read: {error}. Expected the rows of an evaluation: run it again with --restart.") from error
    for key in filter(_is_text, rows):
        rows[key] = np.array([text.decode() for text in rows[key]], dtype=object)
    return rows, identity, columns


def joined(parts: Sequence[Rows]) -> Rows:
    """All parts below one another, ordered by sample id, so that no order of work can show in the result.

    The parts are taken apart: what of them was joined is no longer held twice.
    """
    order = np.argsort(np.concatenate([part["ids"] for part in parts]).astype(str), kind="stable")
    return {key: np.concatenate([part.pop(key) for part in parts])[order] for key in list(parts[0])}


def check_each_once(rows: Rows, ids: Sequence[str], where: Path | str) -> None:
    """Raises ResultError where the rows are not exactly one for each of the samples ``ids``."""
    found, wanted = Counter(rows["ids"].tolist()), set(ids)
    missing, twice = wanted - found.keys(), [name for name, count in found.items() if count > 1]
    unknown = found.keys() - wanted
    if missing or twice or unknown:
        raise ResultError(
            f"{where}: of {len(wanted)} samples {len(missing)} have no row, {len(twice)} have several, and {len(unknown)} rows are of "
            "other samples; expected one row each. Did two runs write to this folder at once? Start over with --restart."
        )


def samples_sha256(ids: Iterable[str]) -> str:
    """A hash of which samples there are, in whatever order."""
    return sha256_of_bytes("\n".join(sorted(ids)).encode())
