"""Published numbers beside measured ones, where they are of the same data and the same family of models."""

import csv
import io
from functools import cache
from importlib import resources
from typing import NamedTuple

from hpsbench.metrics import METRICS
from hpsbench.types import Result

# Protocols (without their version) whose data a published table was measured on too: (dataset, split) there.
PUBLISHED_DATA = {
    "3dpw-test": ("3DPW", "test"),
    "3dpw-niki": ("3DPW", "test"),
    "3dpw-niki-16": ("3DPW", "test"),
    "3dpw-xocc": ("3DPW-XOCC", "test"),
    "3dpw-occ": ("3DPW-OCC", "test"),
    "3doh-test": ("3DOH", "test"),
    "3doh-pare": ("3DOH", "test"),
    "3doh-niki": ("3DOH", "test"),
}


class Published(NamedTuple):
    """A printed number and where it is printed."""

    value: float
    source: str


@cache
def published_table() -> tuple[dict[str, str], ...]:
    """The rows of ``results/published.csv``."""
    text = resources.files("hpsbench.results_data").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text)))


def published_value(result: Result, metric: str) -> Published | None:
    """The published number of the result's protocol and model family for a metric, or None.

    The family is the model's name before its first dot. The paper's first table that has the number counts, not its
    ablations. Of several rows there, those come first whose backbone and variant the model's card names; then the lowest.
    None too for a model trained on OpenHPS, which is not the published one, and for a run of some of the samples only.
    """
    data = PUBLISHED_DATA.get(result.protocol["id"].rpartition(".v")[0])
    another = any(name.startswith("openhps") for name in result.model.trained_on)
    if data is None or metric not in METRICS or another or result.limit is not None:
        return None
    family, title = result.model.name.partition(".")[0].casefold(), METRICS[metric].title
    rows = [
        r for r in published_table() if (r["dataset"], r["split"]) == data and r["metric"] == title and r["method"].casefold() == family
    ]
    rows = [row for row in rows if (row["source"], row["table"]) == (rows[0]["source"], rows[0]["table"])]
    if not rows:
        return None
    card = " ".join([result.model.name, result.model.what, result.model.how]).casefold()
    named = [sum(bool(row[key]) and row[key].casefold() in card for key in ("backbone", "variant")) for row in rows]
    best = min(zip(named, rows, strict=True), key=lambda pair: (-pair[0], float(pair[1]["value"])))[1]
    details = (best["source"], best["table"], best["backbone"], best["variant"])
    return Published(float(best["value"]), ", ".join(part for part in details if part))
