"""From a dataset to batches of people: each frame is read and decoded once, in worker processes if asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset as PeopleDataset
from hpsbench.errors import HpsbenchError
from hpsbench.generated import Generated
from hpsbench.image import Decoded, crop_square, decoded_once, square_of_box
from hpsbench.metrics.onset import onset_of
from hpsbench.occlude import Planner, apply_plan, apply_to_crop, cut_box, hidden_by, plan_window
from hpsbench.protocol import Protocol
from hpsbench.types import CropSpec, Hidden, OcclusionPlan, Sample, Truth, ViewBatch


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

    ``bodies`` are needed by protocols whose plans are made by silhouettes. An error of ours comes back as a value, since a worker would
    wrap its text.
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
    ):
        self.dataset, self.frames, self.crop, self.generated, self.done = dataset, frames, crop, generated, done
        self.planner = Planner(protocol, dataset, bodies)
        self.by_onset = "onset" in protocol.score.by

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, k: int) -> list[Person] | HpsbenchError:
        try:
            images: Decoded = {}
            return [person for i in self.frames[k] for person in self._people(self.dataset[i], images)]
        except HpsbenchError as error:
            return error

    def _people(self, sample: Sample, images: Decoded) -> Iterator[Person]:
        """A sample under every case; what they share is read and cropped once."""
        seen = replace(sample, view=decoded_once(sample.view, images))
        plans = self.planner.all(sample) if self.generated is None else self.generated.plans_of(sample)
        cropped: dict[str, np.ndarray] = {}
        for plan in plans:
            if plan.view_id not in self.done:
                yield self._person(seen, plan, images, cropped)

    def _person(self, sample: Sample, plan: OcclusionPlan, images: Decoded, cropped: dict[str, np.ndarray]) -> Person:
        finished = self.generated is not None and self.generated.has_image_of(plan)
        view = decoded_once(self.generated.view_of(sample, plan.case), images) if finished else apply_plan(sample.view, plan)
        square = view.window_xyxy
        if square is None:
            square = square_of_box(view.bbox_xyxy, 1.0 if self.crop is None else self.crop.box_scale)
        crop = None
        if self.crop is not None and not plan.skipped:
            if view.image_key not in cropped:
                cropped[view.image_key] = crop_square(view.read(), square, self.crop.side)
            crop = cropped[view.image_key].copy()
            if not finished:
                apply_to_crop(crop, plan, square + _shift_of(plan))
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


def person_batches(reader: FrameReader, batch_size: int, workers: int) -> Iterator[list[Person]]:
    """People in order, ``batch_size`` at a time whatever the number of people in a frame; the last batch may be smaller."""
    loader = DataLoader(
        reader,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_one_thread,
    )
    waiting: list[Person] = []
    for people in loader:
        if isinstance(people, HpsbenchError):
            raise people
        waiting += people
        while len(waiting) >= batch_size:
            yield waiting[:batch_size]
            waiting = waiting[batch_size:]
    if waiting:
        yield waiting


def _as_it_is(people: list[Person] | HpsbenchError) -> list[Person] | HpsbenchError:
    return people


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def view_batch(people: Sequence[Person], device: torch.device) -> ViewBatch:
    """The batch that a model gets, on its device."""
    crops = None
    if people[0].crop is not None:
        crops = torch.from_numpy(np.stack([person.crop for person in people])).permute(0, 3, 1, 2).contiguous().to(device)
    squares = torch.from_numpy(np.stack([person.square_xyxy for person in people]).astype(np.float32)).to(device)
    intrinsics = torch.from_numpy(np.stack([person.intrinsics for person in people]).astype(np.float32)).to(device)
    return ViewBatch(tuple(person.id for person in people), crops, squares, intrinsics)
