"""Arrays of a file of predictions, read in blocks of consecutive rows: none is held whole that the file's format lets one read in part.

HDF5: as many rows as its chunks hold, about a megabyte at the least. An array of an .npz that is not compressed (numpy.savez): likewise,
mapped out of the archive for as long as one block takes. One that is compressed (numpy.savez_compressed) is one stream that can only be
unpacked whole: it is held in memory, up to a limit.
"""

import math
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpsbench.errors import PredictionError

_BLOCK_BYTES = 1 << 20
_LARGEST_BLOCK = 512 << 20
_LARGEST_HELD = 512 << 20
# What blocks may take, of all arrays of a file together. One stays until each of its rows was asked for, or others need the place: of rows
# in order hardly any is kept, of shuffled ones many.
_KEPT_BYTES = 192 << 20
_LONGEST_ID = 1024
_IDS_AT_ONCE = 1 << 14
_NOWHERE, _SEVERAL = -1, -2


@dataclass(frozen=True)
class Column:
    """One array of a file: its shape and dtype, how its rows from ``start`` to ``stop`` are read, and how many are read at once."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[int, int], np.ndarray]
    block: int


class Columns:
    """The columns of a file by name. Raises PredictionError, with the file's name, for rows that cannot be read."""

    def __init__(self, path: Path, columns: Mapping[str, Column]):
        self.path, self.columns = path, columns
        self._kept: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._unread: dict[tuple[str, int], int] = {}
        self._size = 0

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        """(n, ...) float64 of ``rows`` (n,) in any order; NaN where one is negative."""
        column = self.columns[name]
        out = np.full((len(rows), *column.shape[1:]), np.nan)
        numbers = rows // column.block
        for number in np.unique(numbers[rows >= 0]).tolist():
            places = rows[numbers == number] - number * column.block
            out[numbers == number] = self._taken((name, number), places)
        return out

    def _taken(self, key: tuple[str, int], places: np.ndarray) -> np.ndarray:
        """The rows ``places`` of a block, which goes when all of it was taken."""
        if key not in self._kept:
            self._keep(key, self._read(*key))
        self._kept.move_to_end(key)
        rows = self._kept[key][places]
        self._unread[key] -= len(places)
        if self._unread[key] <= 0:
            self._drop(key)
        return rows

    def _keep(self, key: tuple[str, int], block: np.ndarray) -> None:
        while self._kept and self._size + block.nbytes > _KEPT_BYTES:
            self._drop(next(iter(self._kept)))
        self._kept[key], self._unread[key] = block, len(block)
        self._size += block.nbytes

    def _drop(self, key: tuple[str, int]) -> None:
        self._size -= self._kept.pop(key).nbytes
        del self._unread[key]

    def _read(self, name: str, number: int) -> np.ndarray:
        column = self.columns[name]
        start = number * column.block
        try:
            return column.read(start, min(start + column.block, column.shape[0]))
        except (OSError, ValueError) as error:
            raise PredictionError(
                f"{self.path}: rows {start} and on of '{name}' cannot be read ({error}). The file is damaged: copy or write it again."
            ) from error


def open_hdf5(path: Path) -> tuple[dict[str, Column], "Ids | None", dict[str, Any]]:
    """(columns, ids, texts) of an HDF5 file: its arrays, "ids" and "skeleton" apart, and its attributes. The file stays open."""
    stream = h5py.File(path, "r")
    arrays: dict[str, Any] = dict(stream.items())
    texts = {name: _text(value) for name, value in stream.attrs.items() if isinstance(value, str | bytes)}
    skeleton = stream.attrs.get("skeleton", arrays.pop("skeleton", None))
    if skeleton is not None:
        texts["skeleton"] = _text(np.asarray(skeleton[()] if isinstance(skeleton, h5py.Dataset) else skeleton).ravel()[0])
    groups = sorted(name for name, array in arrays.items() if not isinstance(array, h5py.Dataset))
    if groups:
        raise PredictionError(f"{path} has groups ({', '.join(groups)}). Expected arrays alone, at the top of the file.")
    ids = arrays.pop("ids", None)
    columns = {name: _column_of_hdf5(path, name, array) for name, array in arrays.items()}
    return columns, None if ids is None else Ids(path, _in_pieces(ids)), texts


def _in_pieces(ids: h5py.Dataset) -> Iterator[np.ndarray]:
    if not ids.shape:
        yield np.asarray(ids[()]).ravel()
        return
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[start : start + _IDS_AT_ONCE].ravel()


def _column_of_hdf5(path: Path, name: str, array: h5py.Dataset) -> Column:
    rows = array.chunks[0] if array.chunks else 1
    size = rows * array.dtype.itemsize * math.prod(array.shape[1:])
    if size > _LARGEST_BLOCK:
        raise PredictionError(
            f"{path}: '{name}' is stored in chunks of {rows} rows, {size / 2**20:,.0f} MB, each of which has to be unpacked whole. "
            f"Expected at most {_LARGEST_BLOCK >> 20} MB: write it with smaller ones, for example chunks=(64, ...)."
        )
    return Column(array.shape, array.dtype, lambda start, stop: array[start:stop], rows * max(1, _BLOCK_BYTES // max(size, 1)))


def open_npz(path: Path) -> tuple[dict[str, Column], "Ids | None", dict[str, Any]]:
    """What ``open_hdf5`` gives, of an .npz. Raises ValueError or BadZipFile where it is none, PredictionError where it is too large."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    with np.load(path, allow_pickle=False) as table:
        texts = {"skeleton": _text(_array(table, "skeleton").ravel()[0])} if "skeleton" in members else {}
        ids = Ids(path, [_array(table, "ids").ravel()]) if "ids" in members else None
        arrays = {name: info for name, info in members.items() if name not in ("ids", "skeleton")}
        packed = {name for name, info in arrays.items() if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1}
        size = sum(arrays[name].file_size for name in packed)
        if size > _LARGEST_HELD:
            raise PredictionError(
                f"{path} holds {', '.join(sorted(packed))} compressed, {size / 2**20:,.0f} MB that can only be unpacked whole. Expected "
                f"at most {_LARGEST_HELD >> 20} MB of these: write HDF5 (h5py, in chunks), or leave them uncompressed (numpy.savez)."
            )
        columns = {name: _held(_array(table, name)) if name in packed else _mapped(path, info) for name, info in arrays.items()}
    return columns, ids, texts


def _array(table: Mapping[str, Any], name: str) -> np.ndarray:
    array = table[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"'{name}' is no array of numpy's")
    return array


def _held(array: np.ndarray) -> Column:
    return Column(array.shape, array.dtype, lambda start, stop: array[start:stop], max(len(array) if array.ndim else 1, 1))


def _mapped(path: Path, info: zipfile.ZipInfo) -> Column:
    """A member of an archive that lies in it as it is: the local header's 30 bytes, two texts whose lengths end it, numpy's header, data.

    Source: APPNOTE.TXT of the zip format, 4.3.7; numpy.lib.format.
    """
    with open(path, "rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(30)
        stream.seek(info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"))
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        offset = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"'{info.filename}' holds Python objects")
    order = "F" if fortran else "C"
    read = partial(_read_mapped, path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order)
    return Column(shape, dtype, read, max(1, _BLOCK_BYTES // max(dtype.itemsize * math.prod(shape[1:]), 1)))


def _read_mapped(path: Path, start: int, stop: int, **where: Any) -> np.ndarray:
    return np.array(np.memmap(path, **where)[start:stop])


class Ids:
    """The ids of a file's rows, once, as sorted bytes of one width. Raises PredictionError for one that is far too long."""

    def __init__(self, path: Path, pieces: Sequence[np.ndarray] | Iterator[np.ndarray]):
        parts = [np.array([_text(key).encode() for key in piece.tolist()], dtype=bytes) for piece in pieces]
        widest = max((part.dtype.itemsize for part in parts), default=0)
        if widest > _LONGEST_ID:
            raise PredictionError(f"{path} has an id of {widest} bytes, expected at most {_LONGEST_ID}. Give the samples' ids as they are.")
        ids = np.concatenate(parts) if parts else np.empty(0, dtype="S1")
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]
        fresh = np.append(self._sorted[1:] != self._sorted[:-1], True) if len(ids) else np.empty(0, dtype=bool)
        self._followed = ~fresh
        self._different = int(fresh.sum())

    def __len__(self) -> int:
        return len(self._sorted)

    def places(self, ids: Sequence[str]) -> np.ndarray:
        """The row (n,) of each id; negative where there is none, or several."""
        keys = [name.encode() for name in ids]
        fits = np.array([len(key) <= self._sorted.dtype.itemsize for key in keys], dtype=bool)
        if not len(self) or not len(keys):
            return np.full(len(keys), _NOWHERE)
        wanted = np.array([key if fit else b"" for key, fit in zip(keys, fits.tolist(), strict=True)], dtype=self._sorted.dtype)
        places = np.searchsorted(self._sorted, wanted).clip(max=len(self) - 1)
        found = fits & (self._sorted[places] == wanted)
        return np.where(found, np.where(self._followed[places], _SEVERAL, self._order[places]), _NOWHERE)

    def counts(self, expected: Sequence[str]) -> dict[str, int]:
        """How many of the ``expected`` ids, no two equal, are "missing" or "duplicate", and how many others there are ("unknown")."""
        places = self.places(expected)
        missing = int((places == _NOWHERE).sum())
        return {
            "missing": missing,
            "duplicate": int((places == _SEVERAL).sum()),
            "unknown": self._different - (len(expected) - missing),
        }


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
