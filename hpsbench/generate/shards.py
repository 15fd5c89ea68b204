"""Shards of one run to the whole."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpsbench.errors import ResultError
from hpsbench.generate.run import Run, same_run
from hpsbench.generated import IMAGE_LINES, PLANS, read_manifest, verify
from hpsbench.store import sync_files, write_bytes

_SHARED = ("format", "version", "protocol", "dataset", "with_images", "with_bodies", "with_masks", "crops")


def merge(folders: Sequence[Path | str], out: Path | str) -> dict[str, Any]:
    """The manifest of ``out``, to which all shards of one run are joined: the same bytes as a run without shards.

    Raises ResultError where a shard is altered, missing, there twice or of another run.
    """
    shards = _read_shards([Path(folder) for folder in folders])
    first = shards[0][1]
    run = Run(Path(out), {key: first.get(key) for key in _SHARED} | {"shard": [0, 1]})
    if (manifest := run.finished()) is not None:
        return manifest
    run.begin()
    counts = {key: value for key, value in first["counts"].items() if key not in ("written", "skipped")}
    return run.finish(counts, [_texts_of(folder, run.out) for folder, _ in shards])


def _read_shards(folders: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """(folder, manifest) of each shard, checked and in order."""
    shards: dict[int, tuple[Path, dict[str, Any]]] = {}
    for folder in folders:
        verify(folder)
        manifest = read_manifest(folder)
        (index, number), (_, first) = manifest["shard"], next(iter(shards.values()), (folder, manifest))
        same_run(folder, manifest, {key: first.get(key) for key in _SHARED} | {"shard": [index, first["shard"][1]]})
        if index in shards:
            raise ResultError(f"{folder} and {shards[index][0]} both hold shard {index + 1}/{number}. Name each shard once.")
        shards[index] = (folder, manifest)
    missing = [f"{k + 1}/{number}" for k in range(number) if k not in shards]
    if missing:
        raise ResultError(f"Shard {', '.join(missing)} is missing. Name the folders of all {number} shards.")
    return [shards[k] for k in range(number)]


def _texts_of(folder: Path, out: Path) -> tuple[bytes, bytes]:
    """The plans and image lines of a shard, whose images are copied to ``out``."""
    lines = gzip.decompress((folder / IMAGE_LINES).read_bytes()) if (folder / IMAGE_LINES).is_file() else b""
    names = list(dict.fromkeys(json.loads(line)["image"] for line in lines.splitlines()))
    for name in names:
        write_bytes(out / name, (folder / name).read_bytes(), sync=False)
    sync_files(out / name for name in names)
    return gzip.decompress((folder / PLANS).read_bytes()), lines
