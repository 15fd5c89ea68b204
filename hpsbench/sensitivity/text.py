"""What a run says of itself to people."""

from pathlib import Path
from typing import Any

from hpsbench.metrics import METRICS
from hpsbench.sensitivity.cost import cost_text


def run_text(result: dict[str, Any], out: Path) -> str:
    """How a run went, a line for each thing: whom, what was not measured and why, what was saved, what it cost."""
    counts = result["counts"]
    lines = [
        f"{counts['people']:,} people at {counts['positions']:,} positions: {counts['passes']:,} passes. The field: {out / 'field.h5'}"
    ]
    if counts["failed"] or counts["clean_failed"]:
        lines.append(
            f"The model has no valid answer at {counts['failed']:,} positions, and for {counts['clean_failed']:,} people without occlusion."
        )
    lines += [f"Not possible: {count:,} positions ({reason})." for reason, count in counts["skipped"].items()]
    if result["refine"] is not None:
        rule, times = result["refine"], (counts["passes"] + counts["saved"]) / counts["passes"]
        lines.append(
            f"Refined: {counts['saved']:,} passes saved, {times:.1f} times fewer. The protocol's bound: each person's largest error within "
            f"{rule['bound_mm']:g} mm of the full grid's for {100 * rule['people']:g} % of people."
        )
    if result.get("deviation") is not None:
        told = result["deviation"]
        what = "bfloat16" if result["dtype"] == "bf16" else "The faster form"
        mean = "nothing" if told["mean_mm"] is None else f"{told['mean_mm']:.2g} mm on average"
        lines.append(
            f"{what} moves joints by {mean}, {told['largest_mm']:.2g} mm at most, and errors by {told['largest_error_mm']:.2g} mm at "
            f"most ({told['passes']:,} passes compared with the model as it is, in float32)."
        )
    if result["cost"] is not None:
        lines.append(cost_text(result["cost"]))
    return "\n".join(lines)


def scores_text(result: dict[str, Any]) -> str:
    """A table of the means over people: clean, over positions, at each one's worst position."""
    rows = [("metric, mm", "clean", "mean over positions", "worst position", "people")]
    for score in result["scores"]:
        values = ["-" if score[key] is None else f"{score[key]:.1f}" for key in ("clean_mm", "mean_mm", "worst_mm")]
        rows.append((METRICS[score["metric"]].title, *values, f"{score['mean_count']}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
