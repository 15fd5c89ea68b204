"""From what is known of people to the rows of the field, and from a field to the few numbers that a run tells at its end."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from hpsbench.field import Field, Rows
from hpsbench.models.base import STAGES
from hpsbench.sensitivity.passes import Found


def rows_of(people: Sequence[Found], metrics: Sequence[str]) -> tuple[Rows, tuple[str, ...]]:
    """(rows, skip_reasons) as ``FieldWriter.add`` takes them."""
    subjects = [found.subject for found in people]
    reasons = sorted({reason for subject in subjects for reason in subject.skipped if reason})
    errors = np.stack([found.errors for found in people])  # (N, P + 1, M, J)
    failed = np.stack([found.failed for found in people])
    rows: Rows = {
        "ids": np.array([subject.id for subject in subjects], dtype=object),
        "tracks": np.array([subject.track for subject in subjects], dtype=object),
        "frames": np.array([subject.frame for subject in subjects], dtype=np.int64),
        "squares": np.stack([subject.canvas_xyxy for subject in subjects]),
        "person_boxes": np.stack([subject.person_box for subject in subjects]),
        "joints2d": np.stack([subject.joints2d for subject in subjects]),
        "hidden": np.stack([subject.hidden for subject in subjects]),
        "outside": np.stack([subject.outside for subject in subjects]),
        "coverage": np.stack([subject.coverage for subject in subjects]),
        "skipped": np.array([[1 + reasons.index(r) if r else 0 for r in subject.skipped] for subject in subjects], dtype=np.int16),
        "failed": failed[:, :-1],
        "clean_failed": failed[:, -1],
        "visited": np.stack([found.visited for found in people])[:, :-1],
    }
    for place, key in enumerate(metrics):
        rows[f"error/{key}"], rows[f"clean/{key}"] = errors[:, :-1, place], errors[:, -1, place]
    if people[0].stages is not None:
        for place, key in enumerate(STAGES):
            rows[f"stage/{key}"] = np.stack([found.stages for found in people])[:, :-1, place]
    if people[0].confidence is not None:
        sure = np.where(failed[..., None], np.nan, np.stack([found.confidence for found in people]))
        rows["confidence"], rows["clean_confidence"] = sure[:, :-1], sure[:, -1]
    return rows, tuple(reasons)


def counts_of(field: Field) -> dict[str, Any]:
    """How many people and positions there are, and what became of them; read part by part."""
    total: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for block in field.blocks():
        visited, codes = block.read("visited"), block.read("skipped")
        total.update(people=len(block), passes=int(visited.sum()) + len(block))
        total.update(failed=int(block.read("failed").sum()), clean_failed=int(block.read("clean_failed").sum()))
        total.update(saved=int((~visited & (codes == 0)).sum()))
        skipped.update(field.skip_reasons[code - 1] for code in codes[codes > 0].tolist())
    names = ("people", "passes", "failed", "clean_failed", "saved")
    return {name: total[name] for name in names} | {"positions": len(field.about.cases), "skipped": dict(sorted(skipped.items()))}


def scores_of(field: Field) -> list[dict[str, Any]]:
    """For each metric the means over people, mm, of: the clean error, the mean over visited positions, the largest of any; with counts.

    A person's error at a position is the mean over the joints measured there. None where nobody has any.
    """
    return [{"metric": key, **_scores(field, key)} for key in field.about.metrics]


def _scores(field: Field, metric: str) -> dict[str, Any]:
    columns: dict[str, list[np.ndarray]] = {"clean": [], "mean": [], "worst": []}
    for block in field.blocks():
        positions = nanmean(block.error(metric))  # (n, P)
        columns["clean"].append(nanmean(block.clean(metric)))
        columns["mean"].append(nanmean(positions))
        columns["worst"].append(np.where(np.isnan(positions), -np.inf, positions).max(axis=1))
    answer: dict[str, Any] = {}
    for name, parts in columns.items():
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        answer |= {f"{name}_mm": float(values.mean()) if len(values) else None, f"{name}_count": len(values)}
    return answer


def nanmean(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is no NaN; NaN where all are."""
    known = ~np.isnan(values)
    counts = known.sum(-1)
    return np.divide(np.where(known, values, 0.0).sum(-1), counts, out=np.full(values.shape[:-1], np.nan), where=counts > 0)
