"""Renders an OpenHPS set in 3DPW's layout: sequence by sequence, in several processes, going on where a killed run stopped."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import torch

from hpsbench.body.bodies import Bodies, load_bodies
from hpsbench.datasets.openhps.annotate import annotations
from hpsbench.datasets.openhps.motion import SPLITS
from hpsbench.datasets.openhps.picture import Stage, picture
from hpsbench.datasets.openhps.scene import Outline, draw_scene, outline_of
from hpsbench.datasets.openhps.writer import python2_pickle
from hpsbench.errors import HpsbenchError, UnknownNameError
from hpsbench.image import encode_jpeg
from hpsbench.render import gl_platform
from hpsbench.store import write_bytes

Progress = Callable[[int, int], None]


def outlines(people: int, *, seed: int, split: str) -> Iterator[Outline]:
    """The first sequences that together hold at least ``people`` person-frames."""
    found = 0
    for index in count():
        if found >= people:
            return
        outline = outline_of(seed, split, index)
        found += outline.people * outline.frames
        yield outline


def making_command(names: Iterable[str]) -> str | None:
    """The command that makes exactly the sequences ``names``; None where they are not the first ones of one seed and split."""
    names = set(names)
    found = re.fullmatch(r"openhps_(test_)?s(\d+)_\d{5}", min(names, default=""))
    if not found:
        return None
    seed, split = int(found[2]), "test" if found[1] else "train"
    first = [outline_of(seed, split, index) for index in range(len(names))]
    if {outline.name for outline in first} != names:
        return None
    people = sum(outline.people * outline.frames for outline in first)
    return f"hpsbench make-openhps --people {people} --seed {seed} --split {split} --out DIR"


def make_openhps(
    out: Path | str,
    *,
    people: int,
    seed: int = 0,
    split: str = "train",
    workers: int | None = None,
    quality: int = 88,
    progress: Progress | None = None,
) -> int:
    """Render at least ``people`` person-frames into ``out``; how many it then holds of this seed and split.

    A sequence depends on (seed, split, its index) alone, so a larger set holds the smaller one, and sequences that are there
    already are left as they are. ``workers`` processes (default: one per core); ``progress(done, total)`` in person-frames.
    Raises HpsbenchError where OpenGL does not work or the disk is full, MissingExtraError without pyrender or pybullet,
    UnknownNameError for the split.
    """
    if split not in SPLITS:
        raise UnknownNameError(split, "split of OpenHPS", SPLITS)
    out = Path(out)
    todo = list(outlines(people, seed=seed, split=split))
    total = sum(o.people * o.frames for o in todo)
    missing = [o for o in todo if not _annotation_path(out, o).is_file()]
    done = total - sum(o.people * o.frames for o in missing)
    if progress:
        progress(done, total)
    if not missing:
        return total
    workers = max(min(workers or os.cpu_count() or 1, len(missing)), 1)
    for outline in _written(out, missing, quality, workers):
        done += outline.people * outline.frames
        if progress:
            progress(done, total)
    return total


def _written(out: Path, missing: list[Outline], quality: int, workers: int) -> Iterator[Outline]:
    """Each outline when its sequence has been written, in any order; one worker works in this process."""
    platform = gl_platform()
    if workers == 1:
        threads = torch.get_num_threads()
        try:
            _prepare(platform)
            for outline in missing:
                write_sequence(out, outline, quality)
                yield outline
        finally:
            torch.set_num_threads(threads)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_prepare, initargs=(platform,)) as pool:
        jobs = {pool.submit(write_sequence, out, outline, quality): outline for outline in missing}
        try:
            for job in as_completed(jobs):
                job.result()
                yield jobs[job]
        except BrokenProcessPool as error:
            raise HpsbenchError(
                "A rendering process has died, perhaps for want of memory; what it had finished is kept. "
                "Run the same command again, with fewer workers if it happens again."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _annotation_path(out: Path, outline: Outline) -> Path:
    return out / "sequenceFiles" / outline.split / f"{outline.name}.pkl"


def _prepare(platform: str) -> None:
    """A worker's start: the way to OpenGL that the parent found, and one thread, for speed and for equal sums everywhere."""
    os.environ["PYOPENGL_PLATFORM"] = platform
    torch.set_num_threads(1)


@cache
def _stage() -> tuple[Bodies, Stage]:
    bodies = load_bodies(None, dtype=torch.float32)
    return bodies, Stage(bodies)


def write_sequence(out: Path, outline: Outline, quality: int) -> None:
    """Render one sequence: the images first, then the annotations, whose presence says that it is complete."""
    bodies, stage = _stage()
    scene = draw_scene(outline, bodies)
    for frame in range(outline.frames):
        path = out / "imageFiles" / outline.name / f"image_{frame:05d}.jpg"
        write_bytes(path, encode_jpeg(picture(scene, stage, frame), quality))
    write_bytes(_annotation_path(out, outline), python2_pickle(annotations(scene, stage, bodies)))
