"""The first half of the line, written to disk: a dataset and a protocol to plans as data and, where asked for, images.

The folder's layout is in ``generated.py``. Work is done in parts of consecutive frames, each kept whole or not at all, so that
a run that was killed goes on; the same bytes come out of any number of workers, and of shards once merged.
"""

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hpsbench import __version__
from hpsbench.body.bodies import Bodies
from hpsbench.body.silhouette import silhouette_of
from hpsbench.datasets.base import Dataset
from hpsbench.errors import DataError, HpsbenchError, ResultError
from hpsbench.generated import (
    FORMAT,
    IMAGE_LINES,
    IMAGES,
    MANIFEST,
    PLANS,
    canonical,
    plan_record,
    read_manifest,
    sealed,
    verify,
    view_record,
    zipped,
)
from hpsbench.image import encode_png
from hpsbench.occlude import Planner, finished_view
from hpsbench.protocol import Protocol
from hpsbench.store import sha256_of_bytes, write_bytes, write_text
from hpsbench.types import OcclusionPlan, Sample, View

__all__ = ["generate", "merge", "verify"]

Progress = Callable[[int, int], None]
_PARTS, _RUN = "parts", "run.json"
_FRAMES_TO_A_PART = 64
_WAITING_TO_A_WORKER = 3
_SHARED = ("format", "version", "protocol", "dataset", "with_images", "with_masks")


def generate(
    protocol: Protocol,
    dataset: Dataset,
    out: Path | str,
    *,
    images: bool = False,
    masks: Bodies | None = None,
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The manifest of the folder ``out``, filled with the plans of every sample (with ``images``, with its image too).

    ``masks``: the bodies whose silhouettes are measured as well, for samples that have a body; some hundredths of a second for each.
    ``shard`` (index, number) does one part of the frames, to be joined by ``merge``. ``workers`` processes share the work, none
    or one: this process alone. A run that was killed goes on; one that is finished is left as it is. Raises ResultError where
    ``out`` belongs to another run or holds other files, and whatever the dataset raises.
    """
    out = Path(out)
    if not len(dataset):
        raise DataError(f"{dataset.name}/{dataset.split} has nobody to hide: {dataset.counts}. Check the data and the frame rule.")
    identity = _identity(protocol, dataset, images, masks, shard)
    frames = _of_shard(dataset.frames(), shard)
    total = sum(map(len, frames))
    if _finished(out, identity):
        _report(progress, total, total)
        return read_manifest(out)
    parts = [frames[start : start + _FRAMES_TO_A_PART] for start in range(0, len(frames), _FRAMES_TO_A_PART)]
    left = [k for k in range(len(parts)) if not _part(out, k, PLANS).is_file()]
    done = total - sum(len(frame) for k in left for frame in parts[k])
    _report(progress, done, total)
    for k in _work(_Writer(protocol, dataset, out, images, masks), [(k, parts[k]) for k in left], workers):
        done += sum(map(len, parts[k]))
        _report(progress, done, total)
    counts = {"total": dataset.counts.total, "kept": dataset.counts.kept, "dropped": dict(dataset.counts.dropped)}
    if len(protocol.cases) > 1:
        counts["cases"] = len(protocol.cases)
    return _finish(out, identity, counts, [(_lines(out, k, PLANS), _lines(out, k, IMAGE_LINES)) for k in range(len(parts))])


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _of_shard(frames: list[list[int]], shard: tuple[int, int]) -> list[list[int]]:
    index, number = shard
    if not 0 <= index < number:
        raise ResultError(f"There is no shard {index + 1} of {number}. Give (index, number) with 0 <= index < number.")
    return frames[index * len(frames) // number : (index + 1) * len(frames) // number]


def _identity(protocol: Protocol, dataset: Dataset, images: bool, masks: Bodies | None, shard: tuple[int, int]) -> dict[str, Any]:
    """What two runs share whose parts fit together."""
    return {
        "format": FORMAT,
        "version": __version__,
        "protocol": {"id": protocol.id, "sha256": protocol.sha256, "content": protocol.content},
        "dataset": {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint},
        "with_images": images,
        "with_masks": "" if masks is None else masks.fingerprint,
        "shard": list(shard),
    }


def _finished(out: Path, identity: Mapping[str, Any]) -> bool:
    """Whether this very run is finished already; else the folder is made ready. Raises ResultError where it is another's."""
    if (out / MANIFEST).is_file():
        _same_run(out, read_manifest(out), identity)
        return True
    run = out / _PARTS / _RUN
    if run.is_file():
        _same_run(out, _begun(run), identity)
    elif out.is_dir() and any(path.name != _PARTS for path in out.iterdir()):
        raise ResultError(f"{out} holds files that `hpsbench generate` did not write. Name a new or an empty folder.")
    else:
        write_text(run, canonical(identity))
    return False


def _begun(run: Path) -> dict[str, Any]:
    try:
        return json.loads(run.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultError(f"{run} is broken: {error}. Remove the folder {run.parent.parent}, or name another one.") from error


def _same_run(out: Path, found: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    different = [key for key, value in identity.items() if found.get(key) != value]
    if different:
        raise ResultError(
            f"{out} belongs to another run of `hpsbench generate`: its {' and '.join(different)} differ"
            f"{'s' if len(different) == 1 else ''} from what is asked for now ({_short(identity)}; found: {_short(found)}). "
            "Name another folder, or remove this one."
        )


def _short(run: Mapping[str, Any]) -> str:
    data, (index, number) = run["dataset"], run["shard"]
    kind = "images" if run["with_images"] else "plans only"
    return f"{run['protocol']['id']}, {data['name']}/{data['split']} {data['fingerprint'][:8]}, {kind}, shard {index + 1}/{number}"


def _part(out: Path, k: int, name: str) -> Path:
    return out / _PARTS / f"{k:06d}.{name.removesuffix('.gz')}"


def _lines(out: Path, k: int, name: str) -> bytes:
    path = _part(out, k, name)
    return path.read_bytes() if path.is_file() else b""


@dataclass(frozen=True)
class _Writer:
    """All that a process needs to write parts."""

    protocol: Protocol
    dataset: Dataset
    out: Path
    images: bool
    masks: Bodies | None

    @cached_property
    def planner(self) -> Planner:
        return Planner(self.protocol, self.dataset)

    def __call__(self, k: int, frames: Sequence[Sequence[int]]) -> int:
        """Write the ``k``-th part, images first and the plans last, and give ``k``."""
        plans: list[str] = []
        views: list[str] = []
        for frame in frames:
            samples = [self.dataset[i] for i in frame]
            planned = [(plan, sample) for sample in samples for plan in self.planner.all(sample)]
            shapes = {} if self.masks is None else {sample.id: silhouette_of(sample, self.masks) for sample in samples}
            plans += [canonical(plan_record(plan, sample, shapes.get(sample.id))) for plan, sample in planned]
            if self.images:
                views += [canonical(record) for record in self._write_images(planned)]
        if self.images:
            write_text(_part(self.out, k, IMAGE_LINES), "".join(f"{line}\n" for line in views))
        write_text(_part(self.out, k, PLANS), "".join(f"{line}\n" for line in plans))
        return k

    def _write_images(self, planned: Sequence[tuple[OcclusionPlan, Sample]]) -> Iterator[dict[str, Any]]:
        """Write the images of the people of one frame, which is decoded once; an image that people share is written once."""
        decoded: dict[str, np.ndarray] = {}
        written: dict[str, dict[str, Any]] = {}
        for plan, sample in planned:
            if plan.skipped:
                continue
            view = finished_view(_decoded_once(sample.view, decoded), plan)
            if view.image_key not in written:
                written[view.image_key] = self._write_image(view, plan.view_id)
            yield written[view.image_key] | view_record(view, plan)

    def _write_image(self, view: View, view_id: str) -> dict[str, Any]:
        image = view.read()
        name, data = f"{IMAGES}/{view_id}.png", encode_png(image)
        write_bytes(self.out / name, data)
        return {"image": name, "sha256": sha256_of_bytes(data), "size": [image.shape[1], image.shape[0]]}


def _decoded_once(view: View, decoded: dict[str, np.ndarray]) -> View:
    def read() -> np.ndarray:
        if view.image_key not in decoded:
            decoded[view.image_key] = view.read()
        return decoded[view.image_key]

    return replace(view, read=read)


def _work(writer: _Writer, jobs: Sequence[tuple[int, Sequence[Sequence[int]]]], workers: int) -> Iterator[int]:
    """Write parts and give the number of each, as they are done."""
    if workers <= 1 or len(jobs) <= 1:
        yield from (writer(*job) for job in jobs)
        return
    waiting, pending = list(reversed(jobs)), set()
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), _start_worker, (writer,)) as pool:
        try:
            while waiting or pending:
                while waiting and len(pending) < _WAITING_TO_A_WORKER * workers:
                    pending.add(pool.submit(_write_in_worker, *waiting.pop()))
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise HpsbenchError(
                "A worker process died (out of memory, or killed). Finished parts are kept: run the same command again, with fewer workers."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker(writer: _Writer) -> None:
    cv2.setNumThreads(0)
    _worker.append(writer)


def _write_in_worker(k: int, frames: Sequence[Sequence[int]]) -> int:
    return _worker[-1](k, frames)


# The writer of this process, where it is a worker.
_worker: list[_Writer] = []


def _finish(out: Path, identity: Mapping[str, Any], counts: Mapping[str, Any], texts: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Write the final files out of the texts of all parts, the manifest last; then the parts go."""
    plans, views = (b"".join(text) for text in zip(*texts, strict=True)) if texts else (b"", b"")
    counts = {**counts, "written": plans.count(b"\n")} | _skipped(plans)
    manifest = dict(identity) | {"counts": counts, "plans": _write_zipped(out / PLANS, plans)}
    manifest["images"] = None
    if identity["with_images"]:
        count = len({json.loads(line)["image"] for line in views.splitlines()})
        manifest["images"] = _write_zipped(out / IMAGE_LINES, views) | {"count": count}
    for torn in out.rglob(".*.part"):
        torn.unlink()
    manifest = sealed(manifest)
    write_text(out / MANIFEST, json.dumps(manifest, sort_keys=True, indent=1, allow_nan=False) + "\n")
    shutil.rmtree(out / _PARTS, ignore_errors=True)
    return manifest


def _skipped(plans: bytes) -> dict[str, dict[str, int]]:
    """How many plans say, and for which reasons, that their case is not possible; nothing where none does."""
    reasons = Counter(json.loads(line)["skipped"] for line in plans.splitlines() if b'"skipped"' in line)
    return {"skipped": dict(sorted(reasons.items()))} if reasons else {}


def _write_zipped(path: Path, text: bytes) -> dict[str, str]:
    """Write text gzipped; the hashes of the file, and of the text, which no version of zlib can change."""
    data = zipped(text)
    write_bytes(path, data)
    return {"sha256": sha256_of_bytes(data), "text_sha256": sha256_of_bytes(text)}


def merge(folders: Sequence[Path | str], out: Path | str) -> dict[str, Any]:
    """The manifest of ``out``, to which all shards of one run are joined: the same bytes as a run without shards.

    Raises ResultError where a shard is altered, missing, there twice or of another run.
    """
    shards = _read_shards([Path(folder) for folder in folders])
    out, first = Path(out), shards[0][1]
    identity = {key: first[key] for key in _SHARED} | {"shard": [0, 1]}
    if _finished(out, identity):
        return read_manifest(out)
    counts = {key: value for key, value in first["counts"].items() if key not in ("written", "skipped")}
    return _finish(out, identity, counts, [_texts_of(folder, out) for folder, _ in shards])


def _read_shards(folders: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """(folder, manifest) of each shard, checked and in order."""
    shards: dict[int, tuple[Path, dict[str, Any]]] = {}
    for folder in folders:
        verify(folder)
        manifest = read_manifest(folder)
        (index, number), (_, first) = manifest["shard"], next(iter(shards.values()), (folder, manifest))
        _same_run(folder, manifest, {key: first[key] for key in _SHARED} | {"shard": [index, first["shard"][1]]})
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
    for name in dict.fromkeys(json.loads(line)["image"] for line in lines.splitlines()):
        write_bytes(out / name, (folder / name).read_bytes())
    return gzip.decompress((folder / PLANS).read_bytes()), lines
