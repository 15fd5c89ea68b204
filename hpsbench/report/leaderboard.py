"""The leaderboard: one row per model, protocol, metric and split of joints or people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hpsbench.datasets.base_leakage import leaking
from hpsbench.metrics import METRICS
from hpsbench.report.published import published_value
from hpsbench.store import write_text
from hpsbench.types import Result

_OF_DETECTIONS = ("precision", "f1", "false_positives", "normalised")


def trained_on_test(result: Result) -> bool:
    """Whether the model's card names data that share takes or people with those it was tested on, or a dataset without a split."""
    return bool(leaking(result.model.trained_on, result.dataset_name))


def recall(result: Result) -> float | None:
    """The part of the expected people for whom the model had an answer, 0 to 1, whatever the others were scored as; None of nobody."""
    return (result.n_expected - result.n_failed) / result.n_expected if result.n_expected else None


def leaderboard(results: Sequence[Result]) -> pd.DataFrame:
    """A row per model, protocol, metric and split ("all", "visible", "occluded", "outside"; "action:Walking" and the like).

    ``value``, ``low`` and ``high`` (95 % interval) are in ``unit``, better ``better`` ("lower", "higher"); empty: not measured.
    ``count`` people entered the row; ``n_expected``, ``n_evaluated``, ``n_failed`` and ``recall`` are of the whole run.
    AGORA's rows have a recall of their own, and with it ``precision``, ``f1``, ``false_positives`` and the error over F1,
    ``normalised``. ``shared_data``: which of the model's training data made the sign ``trained_on_test``. ``published`` stands at
    split "all" only.
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
        "better": "higher" if METRICS[score["metric"]].higher_is_better else "lower",
        "count": score["count"],
        "values": score["values"],
        "n_expected": result.n_expected,
        "n_evaluated": result.n_evaluated,
        "n_failed": result.n_failed,
        "recall": score.get("recall", recall(result)),
        **{key: score.get(key) for key in _OF_DETECTIONS},
        "limit": result.limit,
        "trained_on_test": "†" if trained_on_test(result) else "",
        "shared_data": ", ".join(leaking(result.model.trained_on, result.dataset_name)),
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
