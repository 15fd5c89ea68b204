"""A file of predictions in the making: parts of some hundred people, each whole or not at all, and the file that they become."""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from hpsbench.errors import HpsbenchError, ResultError
from hpsbench.store import write_bytes, write_text

Rows = dict[str, np.ndarray]
_SCORED = ("rotmats", "betas", "joints", "vertices")
_CHUNK_BYTES = 1 << 19


class PredictionParts:
    """The file to be and the hidden folder beside it, which holds whole parts until all are there. ``about``: whose they are."""

    def __init__(self, out: Path, about: Mapping[str, str], *, resume: bool):
        self.out, self.about = out, dict(about)
        self.folder = out.with_name(f".{out.name}.parts")
        self.resume = resume
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)

    def finished(self) -> dict[str, str] | None:
        """The attributes of the file where it is there and this run's own; None where it is to be made. Raises ResultError."""
        run = self.folder / "run.json"
        if self.out.exists():
            found = _attributes(self.out)
            if self.resume:
                self._compare(self.out, found)
                return found
        elif run.is_file():
            self._compare(self.folder, json.loads(run.read_text(encoding="utf-8")))
        return None

    def _compare(self, where: Path, found: Mapping[str, str]) -> None:
        different = sorted(key for key, value in self.about.items() if found.get(key) != value)
        if different:
            raise ResultError(
                f"{where} belongs to another run of `hpsbench predict` (its {', '.join(different)} differ). Choose another file, or start "
                "over with --restart."
            )

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.h5"))

    def first(self) -> Rows | None:
        """The rows of the first part that an earlier attempt left."""
        return next(self._each(), None)

    def done(self) -> set[str]:
        """The ids that earlier attempts answered."""
        return {name for rows in self._each() for name in rows["ids"].tolist()}

    def _each(self) -> Iterator[Rows]:
        for path in self._paths():
            try:
                with h5py.File(path, "r") as file:
                    rows = {name: array[()] for name, array in file.items() if name != "ids"}
                    rows["ids"] = file["ids"].asstr()[()].astype(object)
                    if "skeleton" in file:
                        rows["skeleton"] = np.array(file["skeleton"].asstr()[()], dtype=object)
            except (OSError, KeyError) as error:
                raise ResultError(f"{path} cannot be read: {error}. Start over with --restart.") from error
            yield rows

    def add(self, rows: Rows) -> None:
        """Keep a part for good."""
        if not (self.folder / "run.json").is_file():
            write_text(self.folder / "run.json", json.dumps(self.about, sort_keys=True, indent=1) + "\n")
        memory = io.BytesIO()
        with h5py.File(memory, "w") as file:
            for name, array in rows.items():
                file.create_dataset(name, data=array, dtype=h5py.string_dtype() if array.dtype == object else None)
        write_bytes(self.folder / f"part-{len(self._paths()):06d}.h5", memory.getvalue())

    def finish(self, ids: Sequence[str]) -> dict[str, str]:
        """Join the parts to the whole file, then drop them. Raises ResultError where they are not one row for each of ``ids``."""
        whole = self.folder / "whole.h5"
        try:
            with h5py.File(whole, "w") as file:
                found = self._write(file, len(ids))
                _check_each_once(found, ids, self.folder)
            with open(whole, "rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(whole, self.out)
        except OSError as error:
            raise HpsbenchError(f"Could not write {self.out}: {error}. Free some space or choose another folder.") from error
        shutil.rmtree(self.folder, ignore_errors=True)
        return _attributes(self.out)

    def _write(self, file: h5py.File, count: int) -> list[str]:
        """Write all parts into the whole file, one after the other, and give their ids."""
        found: list[str] = []
        failed = 0
        for rows in self._each():
            skeleton, size = rows.pop("skeleton", None), len(rows["ids"])
            here = slice(len(found), len(found) + size)
            if here.stop > count:
                break
            for name, array in rows.items():
                _dataset(file, name, array, count)[here] = array
            found += rows["ids"].tolist()
            failed += int(np.any([np.isnan(rows[name]).reshape(size, -1).any(1) for name in _SCORED if name in rows], axis=0).sum())
            if skeleton is not None:
                file.attrs["skeleton"] = str(skeleton)
        file.attrs.update(self.about | {"n": str(count), "n_failed": str(failed)})
        return found


def _dataset(file: h5py.File, name: str, array: np.ndarray, count: int) -> h5py.Dataset:
    """The array of the whole file, made at its first part: in chunks of half a megabyte, with a check sum for each."""
    if name in file:
        return file[name]
    if array.dtype == object:
        return file.create_dataset(name, (count,), dtype=h5py.string_dtype())
    rows = max(1, min(count, _CHUNK_BYTES // max(array[:1].nbytes, 1)))
    return file.create_dataset(name, (count, *array.shape[1:]), dtype=array.dtype, chunks=(rows, *array.shape[1:]), fletcher32=True)


def _check_each_once(found: Sequence[str], ids: Sequence[str], where: Path) -> None:
    if len(found) != len(ids) or set(found) != set(ids):
        raise ResultError(
            f"{where}: {len(found)} answers are of {len(set(found))} of {len(ids)} views; expected one each. Did two runs write here at "
            "once? Start over with --restart."
        )


def _attributes(path: Path) -> dict[str, str]:
    """The texts that a file of this verb says of itself. Raises ResultError for any other file."""
    try:
        with h5py.File(path, "r") as file:
            found = {name: str(value) for name, value in file.attrs.items()}
    except OSError:
        found = {}
    if "views" not in found:
        raise ResultError(f"{path} is there already and was not written by `hpsbench predict`. Choose another file.")
    return found
