"""From a dataset to batches of people: each frame is read and decoded once, in worker processes if asked for.

Whatever fails in a worker comes out here as itself, with the id of the sample that it failed at.
"""

import pickle
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset as PeopleDataset
from hpsbench.errors import DataError, HpsbenchError, ResultError
from hpsbench.evaluate.mapped import Mapped, PackedLists, PackedMapping
from hpsbench.evaluate.stopwatch import Stopwatch, Watch, untimed
from hpsbench.generated import Generated
from hpsbench.image import Decoded, crop_square, decoded_once, square_of_box
from hpsbench.metrics.onset import onset_of
from hpsbench.occlude import Planner, apply_plan, apply_to_crop, cut_box, hidden_by, plan_window
from hpsbench.protocol import Protocol
from hpsbench.types import CropSpec, Hidden, OcclusionPlan, Sample, Truth, View, ViewBatch, unchecked, view_id_of


@dataclass(frozen=True)
class Person:
    """One person, occluded and cropped: what the model gets, what the score needs, and what the plan hid.

    ``onset``: of protocols that are scored by it, what ``metrics.onset.onset_of`` says of the plan.
    """

    id: str
    track: str
    frame: int
    truth: Truth
    hidden: Hidden
    crop: np.ndarray | None
    square_xyxy: np.ndarray
    intrinsics: np.ndarray
    case: str = ""
    skipped: str = ""
    onset: tuple[float, float] | None = None


class FrameReader(Dataset[list[Person] | HpsbenchError]):
    """The people of the k-th frame, each under every case of the protocol but those of the view ids ``done``.

    ``bodies`` are needed by protocols whose plans are made by silhouettes. ``watch`` counts "decode" (samples and images read), "crop" and
    "occlude" (plans made, painted and measured). An error of ours comes back as a value and names its sample, since a worker would wrap its
    text; to any other a note is added that does.
    """

    def __init__(
        self,
        dataset: PeopleDataset,
        frames: Sequence[Sequence[int]],
        protocol: Protocol,
        crop: CropSpec | None,
        generated: Generated | None,
        done: frozenset[str] = frozenset(),
        bodies: Bodies | None = None,
        *,
        watch: Watch = untimed,
    ):
        self.dataset, self.frames, self.crop, self.generated, self.done = dataset, frames, crop, generated, done
        self.planner = Planner(protocol, dataset, bodies)
        self.by_onset = "onset" in protocol.score.by
        self.watch = watch

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: long tables as arrays, which ``Mapped`` shares."""
        state = {**vars(self), "frames": PackedLists(self.frames)}
        if self.generated is not None:
            # Asked for here, so that no worker has to look at every plan for it.
            cases = self.generated.cases
            packed = {name: PackedMapping(getattr(self.generated, name)) for name in ("plans", "views")}
            state["generated"] = unchecked(Generated, {**vars(self.generated), **packed, "cases": cases})
        return state

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, k: int) -> list[Person] | HpsbenchError:
        images: Decoded = {}
        found: list[Person] = []
        for i in self.frames[k]:
            try:
                with self.watch("decode"):
                    sample = self.dataset[i]
                found += self._people(sample, images)
            except HpsbenchError as error:
                name = self.dataset.ids[i]
                if name not in str(error):
                    error.args = (f"{error} (Sample '{name}'.)",)
                return error
            except Exception as error:
                error.add_note(f"Sample '{self.dataset.ids[i]}'.")
                raise
        return found

    def _people(self, sample: Sample, images: Decoded) -> Iterator[Person]:
        """A sample under every case; what they share is read and cropped once."""
        seen = replace(sample, view=self._read_once(sample.view, images))
        with self.watch("occlude"):
            plans = self.planner.all(sample) if self.generated is None else self.generated.plans_of(sample)
        cropped: dict[str, np.ndarray] = {}
        for plan in plans:
            if plan.view_id not in self.done:
                yield self._person(seen, plan, images, cropped)

    def _read_once(self, view: View, images: Decoded) -> View:
        def read(**how: Any) -> np.ndarray:
            with self.watch("decode"):
                return view.read(**how)

        return decoded_once(replace(view, read=read), images)

    def _person(self, sample: Sample, plan: OcclusionPlan, images: Decoded, cropped: dict[str, np.ndarray]) -> Person:
        finished = self.generated is not None and self.generated.has_image_of(plan)
        view = self._read_once(self.generated.view_of(sample, plan.case), images) if finished else apply_plan(sample.view, plan)
        square = view.window_xyxy
        if square is None:
            square = square_of_box(view.bbox_xyxy, 1.0 if self.crop is None else self.crop.box_scale)
        crop = None
        if self.crop is not None and not plan.skipped:
            if view.image_key not in cropped:
                with self.watch("occlude"):
                    image = view.read()
                with self.watch("crop"):
                    cropped[view.image_key] = crop_square(image, square, self.crop.side)
            crop = cropped[view.image_key].copy()
            if not finished:
                with self.watch("occlude"):
                    apply_to_crop(crop, plan, square + _shift_of(plan))
        with self.watch("occlude"):
            hidden = hidden_by(plan, sample)
        return Person(
            plan.view_id,
            sample.track,
            sample.frame,
            sample.truth,
            hidden,
            crop,
            np.asarray(square),
            view.intrinsics,
            plan.case,
            plan.skipped,
            onset_of(plan) if self.by_onset else None,
        )


def _shift_of(plan: OcclusionPlan) -> np.ndarray:
    """From px of a plan's view to px of the whole image, for boxes."""
    window = plan_window(plan)
    return np.zeros(4) if window is None else np.tile(np.array(cut_box(window)[:2], dtype=np.float64), 2)


def still_to_do(
    frames: Sequence[Sequence[int]], ids: Sequence[str], cases: Sequence[str], done: frozenset[str]
) -> tuple[list[list[int]], frozenset[str]]:
    """(the frames without the people all of whose views are done, those of the views ``done`` that are of the people left in them)."""
    left = [rest for frame in frames if (rest := [i for i in frame if any(view_id_of(ids[i], case) not in done for case in cases)])]
    partly = done and done.intersection(view_id_of(ids[i], case) for frame in left for i in frame for case in cases)
    return left, partly


def person_batches(reader: FrameReader, batch_size: int, workers: int, told: Counter[str] | None = None) -> Iterator[list[Person]]:
    """People in order, ``batch_size`` at a time whatever the number of people in a frame; the last batch may be smaller.

    To ``told`` the seconds by stage are added that worker processes tell of, where the reader's watch is a ``Stopwatch``. Raises what the
    reader does, HpsbenchError where a worker process died.
    """
    waiting: list[Person] = []
    for people in _frames(reader, workers, told):
        waiting += people
        while len(waiting) >= batch_size:
            yield waiting[:batch_size]
            waiting = waiting[batch_size:]
    if waiting:
        yield waiting


def _frames(reader: FrameReader, workers: int, told: Counter[str] | None) -> Iterator[list[Person]]:
    """The people of each frame."""
    if not len(reader):
        return
    with closing(_Served(reader)) as served:
        loader = iter(
            DataLoader(
                served,
                batch_size=None,
                num_workers=workers,
                collate_fn=_as_it_is,
                multiprocessing_context="spawn" if workers else None,
                worker_init_fn=_one_thread,
            )
        )
        for k in range(len(reader)):
            try:
                people, error, seconds = next(loader)
            except RuntimeError as reason:
                raise _dead_worker(reader, k, workers) from reason
            if error is not None:
                raise error
            if told is not None:
                told.update(seconds)
            yield people


def _dead_worker(reader: FrameReader, k: int, workers: int) -> HpsbenchError:
    name = reader.dataset.ids[reader.frames[k][0]]
    return HpsbenchError(
        f"A worker process (of {workers}) ended before sample '{name}' or one near it was read; expected all to go on. Most often the "
        "machine is out of memory: use fewer --workers. With --workers 0 the cause shows itself."
    )


class _Piece(NamedTuple):
    """What is served of a frame: its people, or what went wrong; and the seconds by stage that it took in a worker process."""

    people: list[Person]
    error: Exception | None
    seconds: dict[str, float]


class _Served(Dataset[_Piece]):
    """A reader as worker processes get it: one file for all of them; what goes wrong there comes back as a value."""

    def __init__(self, reader: FrameReader):
        self._reader, self._mapped = reader, None

    def __reduce__(self):
        if self._mapped is None:
            self._mapped = Mapped(self._reader)
        return _Served, (self._mapped,)

    def close(self) -> None:
        """All workers were started, or none will be."""
        if self._mapped is not None:
            self._mapped.close()

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, k: int) -> _Piece:
        here = get_worker_info() is None
        try:
            people = self._reader[k]
        except Exception as error:
            return _Piece([], error if here else _for_the_way(error), {})
        if isinstance(people, HpsbenchError):
            return _Piece([], people, {})
        watch = self._reader.watch
        return _Piece(people, None, watch.taken() if isinstance(watch, Stopwatch) and not here else {})


def selected_frames(dataset: PeopleDataset, limit: int | None, shard: tuple[int, int]) -> list[list[int]]:
    """The places of people by frame: the first ``limit`` people, then one of ``shard[1]`` stretches of frames.

    Raises DataError for an empty set, ResultError for a shard that is none.
    """
    if not len(dataset):
        raise DataError(f"{dataset.name}/{dataset.split} has nobody to evaluate: {dataset.counts}. Check the data and the frame rule.")
    end = len(dataset) if limit is None else limit
    frames = [rest for frame in dataset.frames() if (rest := [i for i in frame if i < end])]
    index, number = shard
    if not 0 <= index < number or number > len(frames):
        raise ResultError(f"Shard {index + 1} of {number} of {len(frames)} frames is empty or no shard. Use at most one shard per frame.")
    first, last = (len(frames) * k // number for k in (index, index + 1))
    return frames[first:last]


def _for_the_way(error: Exception) -> Exception:
    """An error that can leave its process, with where it arose as a note; RuntimeError with its text where it cannot itself."""
    error.add_note("In a worker process:\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        stranger = RuntimeError(f"{type(error).__name__}: {error}")
        stranger.__notes__ = list(error.__notes__)
        return stranger
    return error


def _as_it_is(piece: _Piece) -> _Piece:
    return piece


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def view_batch(people: Sequence[Person], device: torch.device) -> ViewBatch:
    """The batch that a model gets, on its device."""
    crops = None
    if people[0].crop is not None:
        crops = _moved([person.crop for person in people], torch.uint8, device).permute(0, 3, 1, 2).contiguous()
    squares = _moved([person.square_xyxy for person in people], torch.float32, device)
    intrinsics = _moved([person.intrinsics for person in people], torch.float32, device)
    return ViewBatch(tuple(person.id for person in people), crops, squares, intrinsics)


def _moved(arrays: Sequence[np.ndarray], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The arrays on top of one another: for a GPU in pinned memory first, from where they go while this thread goes on."""
    host = torch.empty((len(arrays), *arrays[0].shape), dtype=dtype, pin_memory=device.type == "cuda")
    np.stack(arrays, out=host.numpy(), casting="same_kind")
    return host.to(device, non_blocking=True)
