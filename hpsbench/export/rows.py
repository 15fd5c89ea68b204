"""What every format takes from a generated folder: one row for each view, its image's bytes checked, all numbers in px of that image."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.errors import ResultError
from hpsbench.generated import PLANS, Generated, read_lines
from hpsbench.image import encode_png
from hpsbench.occlude import finished_view
from hpsbench.skeleton import joint_names
from hpsbench.store import sha256_of_bytes
from hpsbench.types import OcclusionPlan, Sample, View

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Row:
    """One view of one person.

    ``record``: the line of plans.jsonl.gz; ``sample``: the dataset's own, in px of the whole image; ``view``: the finished one; ``size``:
    (width, height) px of its image; ``data``: that image's file; ``name``: its path in the folder, "" where it was drawn just now.
    """

    record: Mapping[str, Any]
    sample: Sample
    view: View
    size: tuple[int, int]
    data: bytes
    name: str

    @property
    def case(self) -> str:
        """The case of the protocol, "" where it has one only."""
        return self.record.get("case", "")

    @property
    def names(self) -> tuple[str, ...]:
        """The joints' names, in the truth's order."""
        return joint_names(self.sample.truth.skeleton)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2) px of the whole image in px of this one: both cameras see the same rays, so x' ~ K' K^-1 x."""
        before, after = (np.asarray(view.intrinsics, dtype=np.float64) for view in (self.sample.view, self.view))
        to_view = after @ np.linalg.inv(before)
        return np.asarray(points, dtype=np.float64) @ to_view[:2, :2].T + to_view[:2, 2]

    @cached_property
    def joints2d(self) -> np.ndarray:
        """The truth's joints (J, 2) px of this image; NaN where unknown."""
        points = self.points(self.sample.truth.joints2d)
        points[~np.asarray(self.sample.truth.valid, dtype=bool)] = np.nan
        return points

    @cached_property
    def visibility(self) -> np.ndarray:
        """As COCO counts it (J,): 2 seen, 1 labelled under an occluder, 0 not labelled, or outside the view or its image."""
        with np.errstate(invalid="ignore"):
            inside = ((self.joints2d >= 0) & (self.joints2d < self.size)).all(axis=1)
        return np.where(inside & ~self.told("outside"), np.where(self.told("occluded"), 1, 2), 0)

    def told(self, key: str) -> np.ndarray:
        """The joints (J,) bool that the plan's line names under "occluded" or "outside"."""
        return np.isin(self.names, self.record[key])


def rows_of(generated: Generated, progress: Progress | None) -> Iterator[Row]:
    """The views of a folder in its order, without those of cases that are not possible; written images as they are, others drawn.

    Raises ResultError where a written image is missing or altered, or where there is nothing at all.
    """
    total, read_once = generated.manifest["counts"]["written"], _LastImage()
    sample, count = None, 0
    for done, record in enumerate(read_lines(generated.folder / PLANS), 1):
        plan = OcclusionPlan.from_record(record)
        if not plan.skipped:
            if sample is None or sample.id != plan.sample_id:
                sample = read_once(generated.dataset[generated.dataset.index_of(plan.sample_id)])
            count += 1
            yield _row(generated, record, plan, sample)
        if progress is not None:
            progress(done, total)
    if not count:
        raise ResultError(f"{generated.folder} holds no view: {total} plans, of which none is possible. There is nothing to export.")


def _row(generated: Generated, record: Mapping[str, Any], plan: OcclusionPlan, sample: Sample) -> Row:
    line = generated.views.get(plan.view_id)
    if line is None:
        view = finished_view(sample.view, plan)
        image = view.read()
        return Row(record, sample, view, (image.shape[1], image.shape[0]), encode_png(image), "")
    data = _unaltered(generated.folder / line["image"], line["sha256"])
    return Row(record, sample, generated.view_of(sample, plan.case), tuple(line["size"]), data, line["image"])


def _unaltered(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}. Generate the folder again.") from error
    if sha256_of_bytes(data) != sha256:
        raise ResultError(f"{path} was altered: its hash is not that of images.jsonl.gz. Generate the folder again.")
    return data


class _LastImage:
    """Decodes the frame that samples share once, as long as they follow one another."""

    def __init__(self):
        self.key, self.image = "", None

    def __call__(self, sample: Sample) -> Sample:
        """The sample whose view reads through this."""
        view = sample.view

        def read() -> np.ndarray:
            if self.image is None or self.key != view.image_key:
                self.key, self.image = view.image_key, view.read()
            return self.image

        return replace(sample, view=replace(view, read=read))


def one_skeleton(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows, as long as their truths have one skeleton. Raises ResultError where one has another."""
    first = None
    for row in rows:
        skeleton = row.sample.truth.skeleton
        first = first or skeleton
        if skeleton != first:
            raise ResultError(
                f"'{row.record['sample_id']}' has joints of skeleton '{skeleton}', those before it of '{first}', and this format has one "
                "for all. Export it as 'webdataset', or generate such people apart."
            )
        yield row


def told_of(generated: Generated, out: Path, what: str) -> str:
    """The line that says what was written, and what of the folder was left out."""
    skipped = generated.manifest["counts"].get("skipped", {})
    left = "".join(f"; left out: {count:,} not possible ({reason})" for reason, count in skipped.items())
    index, number = generated.manifest["shard"]
    part = "" if number == 1 else f" This is shard {index + 1} of {number} alone."
    return f"{out}: {what}{left}.{part}"


def relative_images(generated: Generated, out: Path) -> str:
    """A sentence: where the images are that a file names."""
    return f"Image paths start from {os.path.relpath(generated.folder, out.parent)}."
