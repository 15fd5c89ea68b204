"""The leaderboard: one row per model, protocol, metric and split of joints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hpsbench.report.published import published_value
from hpsbench.store import write_text
from hpsbench.types import Result


def trained_on_test(result: Result) -> bool:
    """Whether the model's card names the data it was tested on: the same split, or the dataset without a split."""
    name = result.dataset_name.casefold()
    return any(seen.casefold() in (name, name.partition("/")[0]) for seen in result.model.trained_on)


def leaderboard(results: Sequence[Result]) -> pd.DataFrame:
    """A row per model, protocol, metric and split ("all", "visible", "occluded", "outside").

    ``value``, ``low`` and ``high`` (95 % interval) are in ``unit``; empty: not measured. ``published`` stands at split "all" only.
    """
    return pd.DataFrame([_row(result, score) for result in results for score in result.scores])


def _row(result: Result, score: dict[str, Any]) -> dict[str, Any]:
    published = published_value(result, score["metric"]) if score["split"] == "all" else None
    return {
        "model": result.model.name,
        "protocol": result.protocol["id"],
        "metric": score["metric"],
        "split": score["split"],
        "value": score["value"],
        "low": score["low"],
        "high": score["high"],
        "unit": score["unit"],
        "count": score["count"],
        "values": score["values"],
        "n_expected": result.n_expected,
        "n_evaluated": result.n_evaluated,
        "n_failed": result.n_failed,
        "limit": result.limit,
        "trained_on_test": "†" if trained_on_test(result) else "",
        "published": None if published is None else published.value,
        "published_source": "" if published is None else published.source,
        "dataset": result.dataset_name,
        "protocol_sha256": result.protocol["sha256"],
        "dataset_fingerprint": result.fingerprints["dataset"],
        "body": result.body.name,
        "body_fingerprint": result.fingerprints["body"],
        "weights_sha256": result.fingerprints["weights"],
        "device": result.device,
        "dtype": result.dtype,
        "versions": "; ".join(f"{name} {number}" for name, number in sorted(result.versions.items())),
    }


def write_csv(results: Sequence[Result], path: Path | str) -> None:
    """The leaderboard as CSV, numbers in full precision."""
    write_text(path, leaderboard(results).to_csv(index=False, lineterminator="\n"))
