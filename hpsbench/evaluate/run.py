"""The folder of one evaluation: whose it is, the parts done so far, and the finished result."""

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hpsbench.errors import ResultError
from hpsbench.evaluate.rows import Rows, joined, read_rows, samples_sha256, write_rows
from hpsbench.store import check_same_run, write_text
from hpsbench.types import Result

LIBRARIES = ("hpsbench", "torch", "numpy", "opencv-python-headless", "h5py")
_OF_A_SHARD = ("shard", "samples_sha256")


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that can move a number."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


class RunFolder:
    """``identity`` (plain JSON) is what decides the numbers; a folder of another identity is refused, never mixed."""

    def __init__(self, out: Path, identity: Mapping[str, Any], columns: Mapping[str, Sequence[str]], *, resume: bool):
        self.out, self.identity, self.columns = Path(out), json.loads(json.dumps(identity)), columns
        self.parts = self.out / "parts"
        if not resume:
            self._forget()
        self._claim()

    def _forget(self) -> None:
        shutil.rmtree(self.parts, ignore_errors=True)
        for name in ("run.json", "result.json", "errors.h5"):
            (self.out / name).unlink(missing_ok=True)

    def _claim(self) -> None:
        path = self.out / "run.json"
        if not path.is_file():
            if (self.out / "result.json").is_file():
                raise ResultError(f"{self.out} holds a result of another kind of run (no run.json). Choose another folder.")
            return
        check_same_run(path, self.identity)

    def finished(self) -> Result | None:
        """The result, if this run ended here before."""
        whole = (self.out / "result.json").is_file() and (self.out / "errors.h5").is_file()
        return read_result(self.out) if whole else None

    def done(self) -> list[Rows]:
        """The parts that earlier attempts left."""
        return [read_rows(path)[0] for path in sorted(self.parts.glob("part-*.h5"))]

    def _sign(self) -> None:
        if not (self.out / "run.json").is_file():
            write_text(self.out / "run.json", json.dumps(self.identity, indent=1, sort_keys=True) + "\n")

    def add(self, rows: Rows) -> None:
        """Keep a part for good."""
        self._sign()
        number = len(list(self.parts.glob("part-*.h5")))
        write_rows(self.parts / f"part-{number:06d}.h5", rows, self.identity, self.columns)

    def finish(self, rows: Rows, result: Result) -> None:
        """Write the whole table, then the result, then drop the parts."""
        self._sign()
        write_rows(self.out / "errors.h5", rows, self.identity, self.columns)
        write_text(self.out / "result.json", result.to_json())
        shutil.rmtree(self.parts, ignore_errors=True)


def read_result(folder: Path | str) -> Result:
    """The result of a folder. Raises ResultError where there is none or it is broken."""
    path = Path(folder) / "result.json"
    try:
        return Result.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"{folder} holds no result.json. Expected the folder of a finished evaluation; run it, or let it end.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ResultError(f"{path} is broken or of another version: {error}. Run the evaluation again.") from error


def read_shards(folders: Sequence[Path | str]) -> tuple[list[Result], Rows, dict[str, Any], dict[str, list[str]]]:
    """(results, joined rows, identity, columns) of folders that are all the shards of one evaluation. Raises ResultError."""
    if not folders:
        raise ResultError("No shard to merge: expected the folders of all shards of one evaluation.")
    results = [read_result(folder) for folder in folders]
    tables = [read_rows(Path(folder) / "errors.h5") for folder in folders]
    _, identity, columns = tables[0]
    for folder, (_, other, _) in zip(folders, tables, strict=True):
        different = sorted(key for key in identity.keys() | other.keys() if key not in _OF_A_SHARD and other.get(key) != identity.get(key))
        if different:
            raise ResultError(f"{folder} and {folders[0]} belong to different evaluations (they differ in {', '.join(different)}).")
    number = results[0].shard[1]
    found = sorted(result.shard[0] for result in results)
    if any(result.shard[1] != number for result in results) or found != list(range(number)):
        raise ResultError(
            f"Expected each of the {number} shards once, but got {[result.shard for result in results]}. Evaluate the missing ones."
        )
    rows = joined([table[0] for table in tables])
    return results, rows, identity | {"shard": [0, 1], "samples_sha256": samples_sha256(rows["ids"])}, columns
