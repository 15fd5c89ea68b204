"""Plans and images of a stretch of frames, for all protocols of a pass: each frame is decoded once for its people and protocols."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

from hpsbench.body.bodies import Bodies
from hpsbench.body.silhouette import Silhouette, silhouette_of
from hpsbench.datasets.base import Dataset
from hpsbench.errors import HpsbenchError
from hpsbench.generate.crops import Crops, cropped_view
from hpsbench.generate.run import Run
from hpsbench.generated import IMAGES, canonical, plan_line, view_record
from hpsbench.image import Decoded, decoded_once, encode_png
from hpsbench.occlude import Planner, finished_view, hidden_by_all
from hpsbench.protocol import Protocol
from hpsbench.store import sha256_of_bytes, write_bytes
from hpsbench.types import OcclusionPlan, Sample, View

# The plans of one sample, under each case.
Plans = Sequence[OcclusionPlan]
_FRAMES_AT_ONCE = 1024


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let garbage collection rest: nothing here holds itself, and to look for what does takes a quarter of the time of planning."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@dataclass(frozen=True)
class Writer:
    """All that a process needs to write parts. ``runs`` are the folders of the ``protocols``, ``parts`` the frames of each part.

    ``images``: the views are written too, as whole frames or as ``crops``. ``bodies``: of whose silhouettes protocols hide a share.
    ``masks``: whose silhouettes are measured.
    """

    protocols: tuple[Protocol, ...]
    runs: tuple[Run, ...]
    dataset: Dataset
    parts: tuple[tuple[tuple[int, ...], ...], ...]
    images: bool
    crops: Crops | None
    bodies: Bodies | None
    masks: Bodies | None

    @cached_property
    def _planners(self) -> tuple[Planner, ...]:
        return tuple(Planner(protocol, self.dataset, self.bodies) for protocol in self.protocols)

    def __call__(self, part: int) -> int | HpsbenchError:
        """Write a part in every folder that lacks it, and give its number; an error of ours as a value, since engines wrap their texts."""
        try:
            self._write(part)
        except HpsbenchError as error:
            return error
        return part

    @_uncollected()
    def _write(self, part: int) -> None:
        lacking = [k for k, run in enumerate(self.runs) if not run.has(part)]
        plans: dict[int, list[str]] = {k: [] for k in lacking}
        views: dict[int, list[str]] = {k: [] for k in lacking}
        for frames in self._stretches(part, lacking):
            people = [[self.dataset[i] for i in frame] for frame in frames]
            made = self._add_plans(plans, list(chain.from_iterable(people)))
            if self.images:
                self._add_views(views, people, made)
        for k in lacking:
            self.runs[k].add(part, plans[k], views[k])

    def _stretches(self, part: int, lacking: Sequence[int]) -> Iterator[Sequence[tuple[int, ...]]]:
        """The frames of a part, as many together as are planned at once: silhouettes are there for those of one frame alone."""
        frames, cases = self.parts[part], max(len(self.protocols[k].cases) for k in lacking)
        size = 1 if self.masks is not None else max(_FRAMES_AT_ONCE // cases, 1)
        return (frames[start : start + size] for start in range(0, len(frames), size))

    def _add_plans(self, lines: dict[int, list[str]], samples: Sequence[Sample]) -> dict[int, list[Plans]]:
        """The plans of some samples under each protocol, whose lines are added."""
        shapes = [None if self.masks is None else silhouette_of(sample, self.masks) for sample in samples]
        made = {k: self._planners[k].all_of(samples) for k in lines}
        for k, plans in made.items():
            lines[k] += _plan_lines(plans, samples, shapes)
        return made

    def _add_views(self, views: dict[int, list[str]], people: Sequence[Sequence[Sample]], made: Mapping[int, Sequence[Plans]]) -> None:
        """Write the images of some frames' people under the plans made for them, and add their lines."""
        left = {k: iter(plans) for k, plans in made.items()}
        for frame in people:
            decoded: Decoded = {}
            seen = [replace(sample, view=decoded_once(sample.view, decoded)) for sample in frame]
            for k, plans in left.items():
                planned = [(plan, sample) for sample in seen for plan in next(plans)]
                views[k] += [canonical(record) for record in self._write_images(self.runs[k], planned)]

    def _write_images(self, run: Run, planned: Sequence[tuple[OcclusionPlan, Sample]]) -> Iterator[dict[str, Any]]:
        """Write the images of the people of one frame; one that people share is written once."""
        written: dict[str, dict[str, Any]] = {}
        for plan, sample in planned:
            if plan.skipped:
                continue
            view = finished_view(sample.view, plan) if self.crops is None else cropped_view(sample.view, plan, self.crops)
            if view.image_key not in written:
                written[view.image_key] = _write_image(run, view, plan.view_id)
            yield written[view.image_key] | view_record(view, plan)


def _plan_lines(made: Sequence[Plans], samples: Sequence[Sample], shapes: Sequence[Silhouette | None]) -> Iterator[str]:
    """The lines of the plans of some samples, measured all at once."""
    rows = [(plan, sample, shape) for plans, sample, shape in zip(made, samples, shapes, strict=True) for plan in plans]
    plans, people, silhouettes = zip(*rows, strict=True)
    hidden = hidden_by_all(plans, people, silhouettes)
    return (plan_line(plan, one, sample.truth.skeleton) for plan, one, sample in zip(plans, hidden, people, strict=True))


def _write_image(run: Run, view: View, view_id: str) -> dict[str, Any]:
    image = view.read()
    name, data = f"{IMAGES}/{view_id}.png", encode_png(image)
    write_bytes(run.out / name, data, sync=False)
    return {"image": name, "sha256": sha256_of_bytes(data), "size": [image.shape[1], image.shape[0]]}
