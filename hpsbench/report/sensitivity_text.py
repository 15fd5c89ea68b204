"""What `hpsbench report` prints of error fields."""

from collections.abc import Iterator

import pandas as pd

from hpsbench.metrics import METRICS
from hpsbench.metrics.sensitivity import FACTOR, TAIL
from hpsbench.report.sensitivity import Reading
from hpsbench.report.sensitivity_tables import Readings, scores_table, stage_table

_BREAKS = f"break point: the smallest coverage of the person's box at which the error is {FACTOR:g} times the clean one"
NOTES = (
    "mean: over people of the mean over the patch's places and joints; excess: above the clean error",
    "±: half the 95 % interval of the mean, whole tracks resampled",
    "hidden, visible: joints under the patch and joints not under it; spill-over: excess of the visible ones",
    f"worst: mean over people of each one's worst place; CVaR: of the worst {100 * TAIL:g} % of places",
    f"{_BREAKS}, mean over those who get there; never: who does not",
    "AUROC: how well 1 - confidence finds hidden joints (0.5: not at all)",
)
_PRINTED = (
    ("clean", "clean", ""),
    ("mean", "mean", "all"),
    ("excess", "excess", "all"),
    ("hidden", "hidden", "all"),
    ("visible", "visible", "all"),
    ("spill-over", "spill_over", "all"),
    ("worst", "worst", ""),
    ("worst visible", "worst_visible", ""),
    ("CVaR", "cvar", ""),
    ("break point %", "break_point", ""),
    ("never %", "never_breaks", ""),
    ("AUROC", "auroc", ""),
)


def field_text(readings: Readings) -> str:
    """What is printed of fields: the protocol and counts, a table per metric, and what the columns mean."""
    first = next(iter(readings.values()))
    about = first[0].about
    lines = [f"{about.protocol_id}   {len(first[0])} people, {len(about.cases)} positions, {len(about.joints)} joints"]
    lines += [f"{reading.name}: {text}" for reading in first for text in _missing(reading)]
    scores = scores_table(readings)
    for metric in readings:
        own = scores[scores.metric == metric].set_index(["model", "score", "scope"])
        rows, told = [], set(own.index.get_level_values("score"))
        for reading in first:
            cells = {title: _cell(own, (reading.name, score, scope)) for title, score, scope in _PRINTED if score in told}
            rows.append({f"{METRICS[metric].title} mm": reading.name} | cells)
        lines += ["", pd.DataFrame(rows).to_string(index=False)]
    if len(stages := stage_table(readings)):
        wide = stages.pivot_table(index=["model", "stage"], columns="joints", values="value", sort=False)
        lines += ["", "stages, mm:", wide.round(1).to_string()]
    return "\n".join([*lines, "", *NOTES])


def _cell(own: pd.DataFrame, key: tuple[str, str, str]) -> str:
    """A score, "-" where the model has none."""
    if key not in own.index or pd.isna(own.loc[key].value):
        return "-"
    row, score = own.loc[key], key[1]
    half = f" ±{(row.high - row.low) / 2:.1f}" if score in ("clean", "mean") and not pd.isna(row.low) else ""
    return f"{row.value:.2f}" if score == "auroc" else f"{row.value:.1f}{half}"


def _missing(reading: Reading) -> Iterator[str]:
    """In words, what of the field is not there."""
    rows, total = reading.rows, len(reading) * len(reading.about.cases)
    if rows["failed"].any() or rows["clean_failed"].any():
        yield f"{rows['failed'].sum()} of {total} occluded and {rows['clean_failed'].sum()} of {len(reading)} clean answers failed"
    if rows["skipped"].any():
        yield f"{rows['skipped'].sum()} of {total} not possible"
    if rows["saved"].any():
        yield (
            f"refined, {rows['saved'].sum()} of {total} passes saved: means are over the {reading.common.sum()} positions that all were "
            "seen at, the worst case over all that were visited"
        )
