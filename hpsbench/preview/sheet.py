"""A contact sheet: people in rows, a protocol's cases (of one case: frames) in columns, hidden joints marked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset
from hpsbench.errors import DataError, HpsbenchError
from hpsbench.occlude import Planner, hidden_by
from hpsbench.preview.cases import evenly, shown_cases
from hpsbench.preview.lettering import row_of, wrapped, written
from hpsbench.preview.tiles import SIDE, Tile, clean_tile, marks, planned_tile
from hpsbench.protocol import Protocol
from hpsbench.types import Sample

MOST_CASES = 9
FRAMES = 6
_GAP = 4
_LEGEND = ("visible", "hidden", "outside (at the border)")
_LEGEND_PX = 20


@dataclass(frozen=True)
class Sheet:
    """A picture (H, W, 3) RGB uint8 and what it shows: ids of the first person of each row, and the cases."""

    picture: np.ndarray
    ids: tuple[str, ...]
    cases: tuple[str, ...]


def preview_sheet(
    protocol: Protocol, dataset: Dataset, *, people: int, side: int = SIDE, most: int = MOST_CASES, bodies: Bodies | None = None
) -> Sheet:
    """The sheet of a protocol, the same for the same protocol and dataset; tiles are ``side`` px wide and show what a model gets.

    Rows: ``people`` samples evenly from the dataset's first to its last; columns: at most ``most`` of the protocol's cases. Where it hides
    people in one way only, rows are tracks that it hides, and columns some frames along each. ``bodies`` are needed by protocols whose
    levels are shares of the silhouette. Raises HpsbenchError where no people are asked for, DataError where the dataset has none or an
    image does not open.
    """
    if people < 1:
        raise HpsbenchError(f"A sheet of {people} people was asked for. Expected at least 1: ask for some.")
    if not len(dataset):
        raise DataError(f"{dataset.name}/{dataset.split} has no people to show: {dataset.counts}. Choose another protocol or folder.")
    cases, planner = shown_cases(protocol.cases, most), Planner(protocol, dataset, bodies)
    along = bool(protocol.occluders) and len(protocol.cases) == 1
    rows = _tracks(planner, people) if along else [[sample] * len(cases) for sample in _samples(dataset, people)]
    columns = max(map(len, rows))
    tiles = [_row(planner, row, cases * columns if along else cases, side, along) for row in rows]
    captions = ["occluded along the track", *[""] * (columns - 1)] if along else [case or "joints" for case in cases]
    title = f"{protocol.id} on {dataset.name}/{dataset.split}: {len(cases)} of {len(protocol.cases)} case{'s' * (len(protocol.cases) > 1)}"
    picture = _joined(title, ["clean", *captions], tiles, side)
    return Sheet(picture, tuple(row[0].id for row in rows), cases)


def _samples(dataset: Dataset, people: int) -> list[Sample]:
    return [dataset[place] for place in evenly(len(dataset), people)]


def _tracks(planner: Planner, people: int) -> list[list[Sample]]:
    """Some tracks, of each part of the dataset the first of which something is hidden, and some frames of each, evenly."""
    names = list(planner.dataset.track_lengths)
    number = min(people, len(names))
    parts = [names[k * len(names) // number : (k + 1) * len(names) // number] for k in range(number)]
    rows = [next(filter(None, (_hit(planner, name) for name in part)), planner.dataset.track(part[0])) for part in parts]
    return [[row[place] for place in evenly(len(row), FRAMES)] for row in rows]


def _hit(planner: Planner, name: str) -> list[Sample]:
    """A track from just before the first frame of which something is hidden to the last such; empty where there is none."""
    track = planner.dataset.track(name)
    hidden = (hidden_by(planner(sample), sample) for sample in track)
    hit = [k for k, found in enumerate(hidden) if found.coverage_box > 0 or (planner.protocol.key_points and found.occluded.any())]
    return track[max(hit[0] - 1, 0) : hit[-1] + 1] if hit else []


def _row(planner: Planner, samples: Sequence[Sample], cases: Sequence[str], side: int, along: bool) -> list[Tile]:
    """The first sample clean, then each under its case; an image is decoded once for all."""
    decoded: dict[str, Sample] = {}
    for sample in samples:
        if sample.id not in decoded:
            decoded[sample.id] = replace(sample, view=replace(sample.view, read=cache(sample.view.read)))
    shown = [(decoded[sample.id], planner(sample, case)) for sample, case in zip(samples, cases, strict=False)]
    shapes = planner.silhouettes if planner.protocol.needs_silhouette else lambda sample: None
    tiles = [planned_tile(sample, plan, side, with_frame=along, silhouette=shapes(sample)) for sample, plan in shown]
    return [clean_tile(shown[0][0], side), *tiles]


def _joined(title: str, captions: Sequence[str], rows: Sequence[Sequence[Tile]], side: int) -> np.ndarray:
    """Title, captions (of "a,b" a line for each), rows of tiles, white where a row is shorter, and legend."""
    white = Tile(np.full((side, side, 3), 255, dtype=np.uint8))
    grid = [row_of([white.picture[:0]] * len(captions), [caption.split(",") for caption in captions], side, _GAP)]
    for row in rows:
        whole = [*row, *[white] * (len(captions) - len(row))]
        grid.append(row_of([tile.picture for tile in whole], [tile.text for tile in whole], side, _GAP))
    width = grid[0].shape[1]
    return np.concatenate([written(wrapped(title, width), width), *grid, _legend(width, side)])


def _legend(width: int, side: int) -> np.ndarray:
    """The three marks, each with its word."""
    strip, each = np.full((_LEGEND_PX, width, 3), 255, dtype=np.uint8), width // len(_LEGEND)
    for k, word in enumerate(_LEGEND):
        text = written([word], each - _LEGEND_PX)[:_LEGEND_PX]
        strip[: len(text), k * each + _LEGEND_PX : (k + 1) * each] = text
    spots = np.array([[(k * each + _LEGEND_PX / 2, _LEGEND_PX / 2 - 1)] for k in range(len(_LEGEND))])
    return marks(strip, *spots, side)
