"""The first half of the line, written to disk: a dataset and protocols to plans as data and, where asked for, images.

A folder's layout is in ``generated.py``. Work is done in parts of consecutive frames, each kept whole or not at all, so that
a run that was killed goes on; the same bytes come out of any number of workers, of any engine, and of shards once merged.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpsbench import __version__
from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset
from hpsbench.errors import DataError, ProtocolError, ResultError
from hpsbench.generate.crops import Crops
from hpsbench.generate.engines import ENGINES, Engine, check_engine, written_parts
from hpsbench.generate.run import Run
from hpsbench.generate.shards import merge
from hpsbench.generate.write import Writer
from hpsbench.generated import FORMAT, verify
from hpsbench.occlude import Planner, check_for_pixels
from hpsbench.protocol import Protocol

__all__ = ["ENGINES", "Crops", "generate", "generate_all", "merge", "verify"]

Progress = Callable[[int, int], None]
_FRAMES_TO_A_PART, _PLANS_TO_A_PART = 64, 512


def generate(protocol: Protocol, dataset: Dataset, out: Path | str, **how: Any) -> dict[str, Any]:
    """The manifest of the folder ``out``, filled with the plans of every sample; ``how`` and errors as those of ``generate_all``."""
    return generate_all({Path(out): protocol}, dataset, **how)[Path(out)]


def generate_all(
    protocols: Mapping[Path, Protocol],
    dataset: Dataset,
    *,
    images: bool = False,
    crops: Crops | None = None,
    bodies: Bodies | None = None,
    masks: Bodies | None = None,
    workers: int = 0,
    engine: Engine = "processes",
    address: str | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
) -> dict[Path, dict[str, Any]]:
    """The manifests of some folders, each filled with the plans of its protocol for every sample, in one pass over the frames.

    ``images``: the occluded images too, as whole frames or, with ``crops``, as the crops of people (which are images by themselves).
    ``bodies`` are needed by protocols that hide shares of silhouettes. ``masks``: the bodies whose silhouettes are measured as well,
    for samples that have a body; some hundredths of a second for each.

    ``shard`` (index, number) does one part of the frames, to be joined by ``merge``. ``workers`` processes share the work, none
    or one: this process alone; ``engine`` "dask" or "ray" works on a cluster at ``address`` that sees the same files, or on a local
    one of so many workers. A run that was killed goes on; one that is finished is left as it is.

    Raises ResultError where a folder belongs to another run or holds other files, ProtocolError where protocols are of different data,
    need bodies or have no images, and whatever the dataset raises.
    """
    if not len(dataset):
        raise DataError(f"{dataset.name}/{dataset.split} has nobody to hide: {dataset.counts}. Check the data and the frame rule.")
    images = images or crops is not None
    _check(list(protocols.values()), dataset, bodies, images)
    check_engine(engine, address)
    size = _frames_to_a_part(list(protocols.values()), drawn=images or masks is not None)
    identities = {out: _identity(protocol, dataset, images, crops, bodies, masks, shard) for out, protocol in protocols.items()}
    runs = {out: Run(Path(out), identity, size) for out, identity in identities.items()}
    frames = _of_shard(dataset.frames(), shard)
    parts = tuple(tuple(map(tuple, frames[start : start + size])) for start in range(0, len(frames), size))
    manifests = {out: run.finished() for out, run in runs.items()}
    left = [out for out, manifest in manifests.items() if manifest is None]
    for out in left:
        runs[out].begin()
    aims = any(protocol.needs_silhouette for protocol in protocols.values())
    of_runs = tuple(protocols[out] for out in left), tuple(runs[out] for out in left)
    writer = Writer(*of_runs, dataset, parts, images, crops, bodies if aims else None, masks)
    _write(writer, len(protocols) * sum(map(len, frames)), {"engine": engine, "workers": workers, "address": address}, progress)
    for out in left:
        manifests[out] = runs[out].finish(_counts(protocols[out], dataset), [runs[out].lines(part) for part in range(len(parts))])
    return {out: manifest for out, manifest in manifests.items() if manifest is not None}


def _frames_to_a_part(protocols: Sequence[Protocol], *, drawn: bool) -> int:
    """Many where a frame takes microseconds, few where a run that is killed would lose minutes, or keep many plans in memory."""
    cases = sum(len(protocol.cases) for protocol in protocols)
    slow = drawn or any(protocol.needs_silhouette for protocol in protocols)
    return _FRAMES_TO_A_PART if slow else max(_FRAMES_TO_A_PART, _PLANS_TO_A_PART // cases)


def _write(writer: Writer, total: int, how: Mapping[str, Any], progress: Progress | None) -> None:
    """Write all parts that some folder lacks, and tell how many people of ``total`` are done."""
    people = [sum(map(len, part)) for part in writer.parts]
    lacking = {part: sum(not run.has(part) for run in writer.runs) for part in range(len(people))}
    lacking = {part: number for part, number in lacking.items() if number}
    done = total - sum(people[part] * number for part, number in lacking.items())
    report = progress or (lambda done, total: None)
    report(done, total)
    for part in written_parts(writer, list(lacking), **how):
        done += people[part] * lacking[part]
        report(done, total)


def _check(protocols: Sequence[Protocol], dataset: Dataset, bodies: Bodies | None, images: bool) -> None:
    first = protocols[0]
    for other in protocols:
        Planner(other, dataset, bodies)
        if images:
            check_for_pixels(other, "an image")
        if other.data != first.data:
            raise ProtocolError(
                f"Protocols '{first.id}' and '{other.id}' are of different people ({first.data}; {other.data}), and one pass has the same. "
                f"Name '{other.name}@{first.name}', or generate them one after the other."
            )


def _of_shard(frames: list[list[int]], shard: tuple[int, int]) -> list[list[int]]:
    index, number = shard
    if not 0 <= index < number:
        raise ResultError(f"There is no shard {index + 1} of {number}. Give (index, number) with 0 <= index < number.")
    return frames[index * len(frames) // number : (index + 1) * len(frames) // number]


def _identity(
    protocol: Protocol,
    dataset: Dataset,
    images: bool,
    crops: Crops | None,
    bodies: Bodies | None,
    masks: Bodies | None,
    shard: tuple[int, int],
) -> dict[str, Any]:
    """What two runs share whose parts fit together."""
    return {
        "format": FORMAT,
        "version": __version__,
        "protocol": {"id": protocol.id, "sha256": protocol.sha256, "content": protocol.content},
        "dataset": {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint},
        "with_images": images,
        "crops": None if crops is None else crops.record,
        "with_bodies": bodies.fingerprint if bodies is not None and protocol.needs_silhouette else "",
        "with_masks": "" if masks is None else masks.fingerprint,
        "shard": list(shard),
    }


def _counts(protocol: Protocol, dataset: Dataset) -> dict[str, Any]:
    counts = {"total": dataset.counts.total, "kept": dataset.counts.kept, "dropped": dict(dataset.counts.dropped)}
    return counts | ({"cases": len(protocol.cases)} if len(protocol.cases) > 1 else {})
