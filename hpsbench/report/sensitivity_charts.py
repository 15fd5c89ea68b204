"""Charts of error fields: bars by joint, the influence matrix, damage by distance, error by coverage, stages."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hpsbench.metrics import METRICS
from hpsbench.report.sensitivity import STATES, Reading
from hpsbench.report.sensitivity_draw import COLOURS, NOT_MEASURED, common_scale, line_look, look, new_figure
from hpsbench.report.sensitivity_tables import curve_table, distance_table, joints_table, stage_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS = 0.8


def joint_bars_figure(readings: Sequence[Reading]) -> "Figure":
    """The mean error under the occluder by PARE's seven classes and by joint, a bar per model; a line across it: the clean error."""
    table = joints_table({readings[0].metric: readings})
    table = table[table.scope == "all"]
    figure = new_figure(9.0, 6.4)
    panels = figure.subplots(2, 1)
    for axes, kind in zip(panels, ("class", "joint"), strict=True):
        own = table[table.kind == kind]
        labels = list(dict.fromkeys(own.joint))
        for place, reading in enumerate(readings):
            _bars(axes, own[own.model == reading.name], place, len(readings))
        axes.set_xticks(range(len(labels)), labels, rotation=0 if kind == "class" else 35, ha="center" if kind == "class" else "right")
        axes.set_ylabel(f"{METRICS[readings[0].metric].title} (mm)")
        axes.set_xlabel("joints, left and right together" if kind == "class" else "joint")
    handles, labels = panels[0].get_legend_handles_labels()  # lines come before bars
    order = {"ncols": len(readings) + 1, "loc": "lower left", "bbox_to_anchor": (0, 1.0), "frameon": False}
    panels[0].legend(handles[1:] + handles[:1], labels[1:] + labels[:1], **order)
    figure.suptitle(f"{_head(readings)}: mean over people and places of the patch, with 95 % intervals")
    return figure


def _bars(axes: "Axes", rows: pd.DataFrame, place: int, number: int) -> None:
    """One model's bars with intervals, and the clean errors as lines across them."""
    width = _BARS / number
    x = np.arange(len(rows)) + (place - (number - 1) / 2) * width
    values, low, high, clean = (rows[key].to_numpy(dtype=np.float64) for key in ("mean", "low", "high", "clean"))
    axes.bar(x, values, width, label=rows.model.iloc[0], **look(place))
    known = ~np.isnan(low) & ~np.isnan(high)
    spread = np.stack([values - low, high - values])[:, known]
    axes.errorbar(x[known], values[known], np.maximum(spread, 0.0), fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
    axes.hlines(clean, x - width / 2, x + width / 2, colors="black", linewidth=2.2, label="clean" if place == number - 1 else None)
    axes.hlines(clean, x - width / 2, x + width / 2, colors="white", linewidth=1.0)


def influence_figure(readings: Sequence[Reading]) -> "Figure":
    """The mean excess of each joint (column) while another one (row) is under the patch, a panel per model, one scale."""
    tables = [reading.sums["influence"].values for reading in readings]
    norm, names = common_scale(tables), readings[0].about.joints
    side = 1.6 + 0.19 * len(names)
    figure = new_figure(1.2 + side * len(readings), side + 0.9)
    panels = figure.subplots(1, len(readings), squeeze=False)[0]
    for axes, reading, table in zip(panels, readings, tables, strict=True):
        axes.set_facecolor(NOT_MEASURED)
        image = axes.imshow(np.ma.masked_invalid(table), cmap=COLOURS, norm=norm)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("damaged joint")
        axes.set_ylabel("joint under the patch")
        axes.set_title(reading.name)
        axes.label_outer()
    figure.colorbar(image, ax=list(panels), label=f"excess of {METRICS[readings[0].metric].title} over clean (mm)", shrink=0.85)
    figure.suptitle(f"{_head(readings)}: what hiding a joint does to the others")
    return figure


def distance_figure(readings: Sequence[Reading]) -> "Figure":
    """The mean excess by the number of bones between the joint under the patch and the damaged one."""
    table = distance_table({readings[0].metric: readings})
    figure = new_figure(5.2, 3.4)
    axes = figure.subplots()
    for place, reading in enumerate(readings):
        own = table[(table.model == reading.name) & (table.pairs > 0)]
        axes.plot(own.bones, own.excess, label=reading.name, markersize=4, **line_look(place))
    axes.axhline(0.0, color="0.6", linewidth=0.7)
    axes.set_xlabel("bones between the joint under the patch and the damaged one")
    axes.set_ylabel(f"excess of {METRICS[readings[0].metric].title} over clean (mm)")
    axes.legend(frameon=False)
    figure.suptitle(f"{_head(readings)}: how far damage travels")
    return figure


def coverage_figure(readings: Sequence[Reading]) -> "Figure":
    """The mean error by the covered share of the person's box, and the break point of each curve."""
    table = curve_table({readings[0].metric: readings})
    figure = new_figure(5.2, 3.6)
    axes = figure.subplots()
    for place, reading in enumerate(readings):
        own, point = table[table.model == reading.name], 100 * reading.sums["curve"].break_point()
        told = "error never doubles" if np.isnan(point) else f"error doubles at {point:.1f} %"
        style = line_look(place)
        axes.plot(own.coverage, own.error, label=f"{reading.name}: {told}", markersize=4, **style)
        axes.plot(own.coverage, own.clean, color=style["color"], linestyle=style["linestyle"], linewidth=0.8, alpha=0.7)
        if not np.isnan(point):
            axes.axvline(point, color=style["color"], linestyle=":", linewidth=1.0)
    axes.plot([], [], color="0.4", linewidth=0.8, label="thin: the clean error of the same people")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("covered share of the person's box (% of its px)")
    axes.set_ylabel(f"{METRICS[readings[0].metric].title} (mm)")
    axes.legend(frameon=False)
    figure.suptitle(f"{_head(readings)}: error by coverage")
    return figure


def stages_figure(readings: Sequence[Reading]) -> "Figure":
    """The mean error of each stage, by what the patch did to the joint; a panel per model that has stages."""
    table = stage_table({readings[0].metric: readings})
    models = list(dict.fromkeys(table.model))
    figure = new_figure(1.0 + 3.6 * len(models), 3.4)
    panels = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    for axes, model in zip(panels, models, strict=True):
        own = table[table.model == model]
        stages = list(dict.fromkeys(own.stage))
        width = _BARS / len(stages)
        for place, stage in enumerate(stages):
            rows = own[own.stage == stage].set_index("joints").loc[list(STATES)]
            values = rows.value.to_numpy(dtype=np.float64)
            axes.bar(np.arange(len(STATES)) + (place - (len(stages) - 1) / 2) * width, values, width, label=stage, **look(place))
        axes.set_xticks(range(len(STATES)), [f"{state} joints" for state in STATES])
        axes.set_xlabel("what the patch did to the joint")
        axes.set_ylabel("error (mm)")
        axes.set_title(model)
        axes.label_outer()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(stages), frameon=False)
    figure.suptitle(f"{_head(readings)}: error by stage")
    return figure


def _head(readings: Sequence[Reading]) -> str:
    return f"{readings[0].about.protocol_id}, {len(readings[0])} people"
