"""The numbers of error fields as tables, the CSV behind each figure. Errors are in mm."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from hpsbench.metrics.sensitivity import CLASSES, COVERAGE_EDGES, Mean, class_means
from hpsbench.metrics.sensitivity_chain import bones_between, damage_by_distance
from hpsbench.metrics.summary import mean_and_interval
from hpsbench.report.sensitivity import BODY_GRID, SCOPES, STATES, Reading

Readings = Mapping[str, Sequence[Reading]]
PERCENT = "% of the box"
_SPLIT = ("hidden", "visible", "hidden_excess", "spill_over")


def person_mean(values: np.ndarray, tracks: np.ndarray) -> dict[str, float | int | None]:
    """{"value", "low", "high", "people"}: the mean of (N,) over those measured, its 95 % interval (whole tracks resampled), how many."""
    measured = ~np.isnan(values)
    value, low, high = mean_and_interval(np.where(measured, values, 0.0), measured.astype(np.int64), tracks.tolist(), "pooled")
    return {"value": value, "low": low, "high": high, "people": int(measured.sum())}


def scores_table(readings: Readings) -> pd.DataFrame:
    """A row per model, metric, score and scope. ``people`` entered with ``values`` values; ``of`` people it could have been.

    Empty: not measured. Scores: "clean", "mean", "excess", the split "hidden", "visible", "hidden_excess", "spill_over"; "worst",
    "worst_visible", "cvar" over all visited positions; "break_point" (over those who get there), "never_breaks", "curve_break_point" (of
    the curve of all pairs); "auroc", "confidence_hidden", "confidence_visible".
    """
    return pd.DataFrame([_named(reading) | row for some in readings.values() for reading in some for row in _scores(reading)])


def _named(reading: Reading) -> dict[str, str]:
    return {"model": reading.name, "protocol": reading.about.protocol_id, "metric": reading.metric}


def _scores(reading: Reading) -> Iterator[dict[str, object]]:
    rows, tracks = reading.rows, reading.rows["tracks"]
    joints, positions = len(reading.about.joints), int(reading.common.sum())

    def row(score: str, values: np.ndarray, counts: np.ndarray | int, scope: str = "", unit: str = "mm") -> dict[str, object]:
        number = int(np.where(np.isnan(values), 0, counts).sum())
        return {"score": score, "scope": scope, "unit": unit} | person_mean(values, tracks) | {"values": number, "of": len(reading)}

    yield row("clean", rows["clean_error"], joints)
    for scope in SCOPES:
        yield row("mean", rows[f"{scope}/error"], positions * joints, scope)
        yield row("excess", rows[f"{scope}/above"], positions * joints, scope)
        for part in _SPLIT:
            yield row(part, rows[f"{scope}/{part}"], rows[f"{scope}/{part}_values"], scope)
    for score, key in (("worst", "worst"), ("worst_visible", "worst_visible"), ("cvar", "tail")):
        yield row(score, rows[key], 1)
    known = rows["break_known"]
    never = np.where(known, 100.0 * np.isnan(rows["break_point"]), np.nan)
    yield row("break_point", 100 * rows["break_point"], 1, unit=PERCENT) | {"of": int(known.sum())}
    yield row("never_breaks", never, 1, unit="% of people") | {"of": int(known.sum())}
    for score, value, number in _pooled(reading):
        yield {"score": score, "scope": "", "unit": PERCENT if score.startswith("curve") else ""} | {
            **{"value": None if np.isnan(value) else value, "low": None, "high": None},
            **{"people": len(reading), "values": number, "of": len(reading)},
        }


def _pooled(reading: Reading) -> Iterator[tuple[str, float, int]]:
    """(score, value, number of values) of what is no mean over people."""
    curve = reading.sums["curve"]
    yield "curve_break_point", 100 * curve.break_point(), int(curve.error.counts.sum())
    if "confidences" in reading.sums:
        told = reading.sums["confidences"]
        hidden, visible = int(told.hidden.sum()), int(told.visible.sum())
        yield "auroc", told.auroc, hidden + visible
        yield "confidence_hidden", told.mean("hidden"), hidden
        yield "confidence_visible", told.mean("visible"), visible


def joints_table(readings: Readings) -> pd.DataFrame:
    """A row per model, metric, scope, joint (``kind`` "joint") and class of PARE's seven (``kind`` "class").

    ``clean``, ``mean`` (under the occluder, with ``low`` and ``high``), ``excess`` and ``maximum`` over positions, each the mean over
    ``people``. ``maximum`` is over all positions, whatever the scope.
    """
    rows = []
    for reading in (reading for some in readings.values() for reading in some):
        for scope in SCOPES:
            tables = {
                **{"clean": reading.rows["clean"], "mean": reading.rows[f"{scope}/joints"]},
                **{"excess": reading.rows[f"{scope}/excess"], "maximum": reading.rows["maxima"]},
            }
            rows += [_named(reading) | {"scope": scope} | row for row in _joint_rows(tables, reading)]
    return pd.DataFrame(rows)


def _joint_rows(tables: dict[str, np.ndarray], reading: Reading) -> Iterator[dict[str, object]]:
    names, tracks = reading.about.joints, reading.rows["tracks"]
    in_classes = {key: class_means(table, names) for key, table in tables.items()}
    for kind, labels, own in (("class", tuple(CLASSES), in_classes), ("joint", names, tables)):
        for place, label in enumerate(labels):
            means = {key: person_mean(table[:, place], tracks) for key, table in own.items()}
            yield {"kind": kind, "joint": label} | {
                **{"clean": means["clean"]["value"], "mean": means["mean"]["value"]},
                **{"low": means["mean"]["low"], "high": means["mean"]["high"]},
                **{"excess": means["excess"]["value"], "maximum": means["maximum"]["value"], "people": means["mean"]["people"]},
            }


def columns_of(reading: Reading) -> tuple[str, ...]:
    """The columns of maps: "all", the mean over joints, and each joint."""
    return ("all", *reading.about.joints)


def map_table(readings: Readings) -> pd.DataFrame:
    """A row per model, metric, position and joint ("all": the mean over joints): mean error and excess over ``people``.

    ``x``, ``y`` (px of the canvas, empty where the place depends on the person): the patch's centre, cut to the canvas, and its corners.
    """
    return pd.concat([_map_rows(reading) for some in readings.values() for reading in some], ignore_index=True)


def _map_rows(reading: Reading) -> pd.DataFrame:
    x0, y0, x1, y1 = reading.boxes.T
    places = pd.DataFrame({"case": reading.about.cases, "x": (x0 + x1) / 2, "y": (y0 + y1) / 2, "x0": x0, "y0": y0, "x1": x1, "y1": y1})
    mean, above = reading.sums["map"], reading.sums["map_excess"]
    return _long(reading, places, {"mean": mean.values, "excess": above.values, "people": mean.counts})


def body_map_table(readings: Readings) -> pd.DataFrame:
    """A row per model, metric, cell of the body's grid and joint: mean error and excess under patches over the middle of the cell.

    ``u``, ``v``: that middle in sides of the person's box, 0 its left or upper edge and 1 the other; ``x``, ``y`` the same in px of the
    mean box; ``patches``: how many pairs of a person and a position entered. Empty without a grid.
    """
    known = [reading for some in readings.values() for reading in some if reading.has_places]
    return pd.concat([_body_rows(reading) for reading in known], ignore_index=True) if known else pd.DataFrame()


def _body_rows(reading: Reading) -> pd.DataFrame:
    u, v = (middles(BODY_GRID.edges(number)) for number in (BODY_GRID.columns, BODY_GRID.rows))
    width, height = reading.sums["box"].values
    v, u = (axis.ravel() for axis in np.meshgrid(v, u, indexing="ij"))
    body, above = reading.sums["body"], reading.sums["body_excess"]
    columns = {"mean": body.values, "excess": above.values, "patches": body.counts}
    columns = {key: table.reshape(len(u), -1) for key, table in columns.items()}
    return _long(reading, pd.DataFrame({"u": u, "v": v, "x": u * width, "y": v * height}), columns)


def middles(edges: np.ndarray) -> np.ndarray:
    """The middles of cells between borders."""
    return (edges[1:] + edges[:-1]) / 2


def _long(reading: Reading, places: pd.DataFrame, tables: dict[str, np.ndarray]) -> pd.DataFrame:
    """A row per place and joint of tables (places, 1 + J)."""
    names = columns_of(reading)
    frame = places.loc[places.index.repeat(len(names))].reset_index(drop=True)
    frame["joint"] = np.tile(names, len(places))
    for key, table in tables.items():
        frame[key] = table.ravel()
    for place, (key, value) in enumerate(_named(reading).items()):
        frame.insert(place, key, value)
    return frame


def influence_table(readings: Readings) -> pd.DataFrame:
    """A row per model, metric, ``occluded`` joint and ``damaged`` joint: the mean excess over ``pairs``, and the bones between them."""
    rows = []
    for reading in (reading for some in readings.values() for reading in some):
        names, matrix = reading.about.joints, reading.sums["influence"]
        bones, values = bones_between(names, reading.about.regressor), matrix.values
        rows += [
            _named(reading)
            | {"occluded": first, "damaged": second, "bones": bones[i, j], "excess": values[i, j], "pairs": matrix.counts[i, j]}
            for i, first in enumerate(names)
            for j, second in enumerate(names)
        ]
    return pd.DataFrame(rows)


def distance_of(reading: Reading) -> Mean:
    """The mean excess of joints 0, 1, 2, ... bones away from an occluded one."""
    return damage_by_distance(reading.sums["influence"], bones_between(reading.about.joints, reading.about.regressor))


def distance_table(readings: Readings) -> pd.DataFrame:
    """A row per model, metric and number of bones: the mean excess over ``pairs``."""
    rows = []
    for reading in (reading for some in readings.values() for reading in some):
        found = distance_of(reading)
        rows += [
            _named(reading) | {"bones": bones, "excess": value, "pairs": count}
            for bones, (value, count) in enumerate(zip(found.values, found.counts, strict=True))
        ]
    return pd.DataFrame(rows)


def curve_table(readings: Readings) -> pd.DataFrame:
    """A row per model, metric and bin of coverage, in % of the person's box: mean coverage, error and clean error over ``pairs``."""
    rows = []
    lower = (0.0, *COVERAGE_EDGES[:-1])
    for reading in (reading for some in readings.values() for reading in some):
        curve = reading.sums["curve"]
        means = (mean.values for mean in (curve.coverage, curve.error, curve.clean))
        rows += [
            _named(reading) | {"from": 100 * low, "to": 100 * high, "coverage": 100 * share, "error": error, "clean": clean, "pairs": count}
            for low, high, share, error, clean, count in zip(lower, COVERAGE_EDGES, *means, curve.error.counts, strict=True)
            if count
        ]
    return pd.DataFrame(rows)


def stage_table(readings: Readings) -> pd.DataFrame:
    """A row per model, stage and state of joints ("all", "hidden", "visible"): the mean error over ``people``; empty without stages.

    A stage's error does not depend on the metrics of the field.
    """
    first = next(iter(readings.values()))
    rows = []
    for reading in first:
        for stage in reading.about.stages:
            for state in STATES:
                found = person_mean(reading.rows[f"stage/{stage}/{state}"], reading.rows["tracks"])
                named = {"model": reading.name, "protocol": reading.about.protocol_id}
                rows.append(named | {"stage": stage, "joints": state, "unit": "mm"} | found)
    return pd.DataFrame(rows)


def tables(readings: Readings) -> dict[str, pd.DataFrame]:
    """Every table that has a row, by the name of its file."""
    found = {
        "scores": scores_table(readings),
        "joints": joints_table(readings),
        "map": map_table(readings),
        "body-map": body_map_table(readings),
        "influence": influence_table(readings),
        "distance": distance_table(readings),
        "coverage": curve_table(readings),
        "stages": stage_table(readings),
    }
    return {name: table for name, table in found.items() if len(table)}
