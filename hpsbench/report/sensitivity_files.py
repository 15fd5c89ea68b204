"""The tables and figures of error fields as files: CSV, PNG and SVG."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from hpsbench.field import Field
from hpsbench.report import sensitivity_charts as charts
from hpsbench.report import sensitivity_maps as maps
from hpsbench.report.sensitivity import Reading
from hpsbench.report.sensitivity_draw import drawing, file_word, save
from hpsbench.report.sensitivity_person import person_map, person_picture, person_table
from hpsbench.report.sensitivity_tables import Readings, tables
from hpsbench.store import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_field_tables(readings: Readings, folder: Path) -> list[Path]:
    """Every table as NAME.csv, to seven digits, as many as a field holds; the paths."""
    return [_write_csv(table, folder / f"{name}.csv") for name, table in tables(readings).items()]


def _write_csv(table: pd.DataFrame, path: Path) -> Path:
    write_text(path, table.to_csv(index=False, lineterminator="\n", float_format="%.7g"))
    return path


def write_field_figures(readings: Readings, folder: Path) -> list[Path]:
    """Every figure as PNG and SVG; the paths. Raises MissingExtraError where matplotlib is not installed."""
    with drawing():
        return [path for name, draw in _figures(readings) for path in save(draw(), folder, name)]


def _figures(readings: Readings) -> Iterator[tuple[str, Callable[[], "Figure"]]]:
    """(name, how to draw it) of each figure that there are numbers for."""
    for metric, own in readings.items():
        if own[0].has_places:
            yield from _map_figures(metric, own)
        yield f"joints-{metric}", partial(charts.joint_bars_figure, own)
        if any(reading.sums["influence"].counts.any() for reading in own):
            yield f"influence-{metric}", partial(charts.influence_figure, own)
            yield f"distance-{metric}", partial(charts.distance_figure, own)
        if any(reading.sums["curve"].error.counts.any() for reading in own):
            yield f"coverage-{metric}", partial(charts.coverage_figure, own)
    first = next(iter(readings.values()))
    if any(reading.about.stages for reading in first):
        yield "stages", partial(charts.stages_figure, first)


def _map_figures(metric: str, readings: list[Reading]) -> Iterator[tuple[str, Callable[[], "Figure"]]]:
    """In the crop the errors by joint, as published; aligned by the body what they are above the clean ones, which differ by joint."""
    for space, name, kind in (("crop", "map", "error"), ("body", "body-map", "excess")):
        norm = maps.joints_scale(readings, space, kind)
        yield f"{name}-{metric}", partial(maps.models_figure, readings, space)
        for reading in readings:
            yield f"{name}-joints-{metric}-{file_word(reading.name)}", partial(maps.joints_figure, reading, space, kind, norm)


def write_person(fields: Mapping[str, Field], readings: Readings, sample_id: str, data: Path | None, folder: Path) -> list[Path]:
    """One person's map over their image, of each metric, and its numbers; the paths. ``data`` as in ``person_picture``."""
    person, first = person_map(fields, sample_id), next(iter(fields.values()))
    picture = person_picture(first, data, person)
    name = f"person-{file_word(sample_id)}"
    paths = [_write_csv(person_table(first, person), folder / f"{name}.csv")]
    with drawing():
        for metric, own in readings.items():
            figure = maps.person_figure(own, person.means(metric), person.joints2d, picture, sample_id)
            paths += save(figure, folder, f"{name}-{metric}")
    return paths
