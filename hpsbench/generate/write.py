"""Plans and images of a stretch of frames, for all protocols of a pass: each frame is decoded once for its people and protocols."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hpsbench.body.bodies import Bodies
from hpsbench.body.silhouette import Silhouette, silhouette_of
from hpsbench.datasets.base import Dataset
from hpsbench.errors import HpsbenchError
from hpsbench.generate.crops import Crops, cropped_view
from hpsbench.generate.run import Run
from hpsbench.generated import IMAGES, canonical, plan_record, view_record
from hpsbench.image import decoded_once, encode_png
from hpsbench.occlude import Planner, finished_view
from hpsbench.protocol import Protocol
from hpsbench.store import sha256_of_bytes, write_bytes
from hpsbench.types import OcclusionPlan, Sample, View


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

    def _write(self, part: int) -> None:
        lacking = [k for k, run in enumerate(self.runs) if not run.has(part)]
        plans: dict[int, list[str]] = {k: [] for k in lacking}
        views: dict[int, list[str]] = {k: [] for k in lacking}
        for frame in self.parts[part]:
            samples, decoded = [self.dataset[i] for i in frame], {}
            seen = [replace(sample, view=decoded_once(sample.view, decoded)) for sample in samples]
            shapes = {} if self.masks is None else {sample.id: silhouette_of(sample, self.masks) for sample in samples}
            for k in lacking:
                planned = [(plan, sample) for sample in seen for plan in self._planners[k].all(sample)]
                plans[k] += _plan_lines(planned, shapes)
                if self.images:
                    views[k] += [canonical(record) for record in self._write_images(self.runs[k], planned)]
        for k in lacking:
            self.runs[k].add(part, plans[k], views[k])

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


def _plan_lines(planned: Sequence[tuple[OcclusionPlan, Sample]], shapes: Mapping[str, Silhouette | None]) -> list[str]:
    return [canonical(plan_record(plan, sample, shapes.get(sample.id))) for plan, sample in planned]


def _write_image(run: Run, view: View, view_id: str) -> dict[str, Any]:
    image = view.read()
    name, data = f"{IMAGES}/{view_id}.png", encode_png(image)
    write_bytes(run.out / name, data, sync=False)
    return {"image": name, "sha256": sha256_of_bytes(data), "size": [image.shape[1], image.shape[0]]}
