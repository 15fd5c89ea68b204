"""The index of a dataset: what its annotation files hold, parsed once and kept as columns in one HDF5 file of a cache folder."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from hpsbench.errors import HpsbenchError
from hpsbench.store import sha256_of_bytes, sha256_of_file, whole_file

Columns = dict[str, np.ndarray]

_FORMAT = 2
_HASHES = "sha256 of the files"
# What h5py raises on files that are no whole HDF5, or hold something else than was written here.
_BROKEN = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, MemoryError, OverflowError)
_told: set[Path] = set()


def cache_folder() -> Path:
    """$HPSBENCH_CACHE, else "hpsbench" in $XDG_CACHE_HOME, else ~/.cache/hpsbench; whether it exists is not asked."""
    own, common = os.environ.get("HPSBENCH_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(common or Path("~/.cache").expanduser()) / "hpsbench"


def indexed(
    loader: str,
    version: int,
    files: Sequence[Path],
    build: Callable[[], Columns],
    *,
    rules: Mapping[str, object] | None = None,
    keep: Callable[[str], bool] | None = None,
) -> Columns:
    """The columns that ``build`` makes of the annotation ``files``: out of the index where it has them, else built now and stored.

    An index counts only if it was made by this ``version`` of this ``loader``, under the same ``rules`` (plain JSON), of files of the same
    paths, sizes and modification times, and if each column has the hash that it says; any other is built again. Columns are arrays of
    numbers, bool or text; no "/" is in their names. ``keep`` tells by its name whether a column is wanted (None: all are): all are stored,
    and of those alone that are wanted anything is read. Of a file that is not there ``build`` has to say so. A cache folder that cannot be
    written is told once by a warning; the columns come back all the same.
    """
    wanted = keep or (lambda name: True)
    paths = [path.resolve() for path in files]
    try:
        key = _key(loader, version, paths, rules)
    except OSError:
        return _only(build(), wanted)
    name = sha256_of_bytes(json.dumps([loader, rules, sorted({str(path.parent) for path in paths})]).encode())[:24]
    place = cache_folder() / f"{loader}-{name}.h5"
    columns = _read(place, key, wanted)
    if columns is not None:
        return columns
    columns = build()
    # A file that was changed meanwhile is indexed under neither of its states.
    if _key(loader, version, paths, rules) == key:
        _store(place, key, columns)
    return _only(columns, wanted)


def indexed_with_hashes(
    loader: str,
    version: int,
    files: Sequence[Path],
    build: Callable[[], Columns],
    *,
    rules: Mapping[str, object] | None = None,
    keep: Callable[[str], bool] | None = None,
) -> tuple[Columns, dict[Path, str]]:
    """As ``indexed``, and the SHA-256 of each of the ``files``, which then need not be read for it either."""

    def with_hashes() -> Columns:
        return build() | {_HASHES: np.array([sha256_of_file(path) for path in files], dtype=str)}

    columns = indexed(loader, version, files, with_hashes, rules=rules, keep=lambda name: name == _HASHES or keep is None or keep(name))
    return columns, dict(zip(files, columns.pop(_HASHES).tolist(), strict=True))


def narrowed(array: np.ndarray) -> np.ndarray:
    """Numbers as float32 where that holds each of them to the last bit, else as float64: half an index where a file has no more itself."""
    wide = np.ascontiguousarray(array, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        narrow = wide.astype(np.float32)
        return narrow if np.array_equal(narrow.astype(np.float64).view(np.uint64), wide.view(np.uint64)) else wide


def _only(columns: Columns, wanted: Callable[[str], bool]) -> Columns:
    return {name: array for name, array in columns.items() if wanted(name)}


def _key(loader: str, version: int, paths: Sequence[Path], rules: Mapping[str, object] | None) -> str:
    states = [(path, path.stat()) for path in paths]
    files = [[str(path), state.st_size, state.st_mtime_ns] for path, state in states]
    return json.dumps({"format": _FORMAT, "loader": loader, "version": version, "rules": rules, "files": files}, sort_keys=True)


def _digest(array: np.ndarray) -> str:
    """SHA-256 over type, shape and bytes."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}\n".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read(path: Path, key: str, wanted: Callable[[str], bool]) -> Columns | None:
    """The ``wanted`` columns stored in ``path`` under ``key``; None where there are none, or not these, or not whole."""
    try:
        with h5py.File(path, "r") as file:
            if file["key"][()] != key.encode():
                return None
            said, group = json.loads(file["sha256"][()]), file["columns"]
            if set(said) != set(group):
                return None
            stored = {name: group[name][...] for name in said if wanted(name)}
        if any(_digest(array) != said[name] for name, array in stored.items()):
            return None
        return {name: np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array for name, array in stored.items()}
    except _BROKEN:
        return None


def _store(path: Path, key: str, columns: Columns) -> None:
    """Write the index, whole or not at all."""
    stored = {name: np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array for name, array in columns.items()}
    try:
        with whole_file(path, "w+b") as stream, h5py.File(stream, "w") as file:
            file["key"] = key.encode()
            file["sha256"] = json.dumps({name: _digest(array) for name, array in stored.items()}).encode()
            group = file.create_group("columns")
            for name, array in stored.items():
                group.create_dataset(name, data=array)
    except (HpsbenchError, RuntimeError) as error:
        if path.parent not in _told:
            _told.add(path.parent)
            warnings.warn(
                f"No index is kept: {error} Annotations are parsed anew each time. Name a folder that can be written by HPSBENCH_CACHE.",
                stacklevel=2,
            )
