"""Finding and reading results."""

from collections.abc import Iterable
from pathlib import Path

from hpsbench.errors import ResultError
from hpsbench.types import Result


def load_results(folders: Iterable[Path | str]) -> list[Result]:
    """The results in folders, each of one evaluation or of several below it; sorted by protocol, then model.

    Raises ResultError where a folder holds none, where a file is broken, and for a shard that was not merged.
    """
    paths: dict[Path, Path] = {}
    for folder in map(Path, folders):
        own = folder / "result.json"
        found = [own] if own.is_file() else sorted(folder.rglob("result.json"))
        if not found:
            raise ResultError(
                f"{folder} holds no result.json, nor does a folder in it. Expected the --out of `hpsbench eval`, run to its end."
            )
        paths |= {path.resolve(): path for path in found}
    return sorted(map(_read, paths.values()), key=lambda result: (result.protocol["id"], result.model.name))


def _read(path: Path) -> Result:
    try:
        result = Result.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ResultError(f"{path} is broken or of another version: {error}. Run the evaluation again.") from error
    index, number = result.shard
    if number != 1:
        raise ResultError(f"{path} is shard {index + 1} of {number}. Join the shards first: hpsbench merge FOLDER... --out DIR")
    return result
