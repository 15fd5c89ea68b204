"""Heat maps: the error by the patch's place, over a mean figure of the people or over one person's image.

Every value lies where its patch lay, and nothing is enlarged to fill the picture. All models share one scale of colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from hpsbench.field import FieldAbout
from hpsbench.metrics import METRICS
from hpsbench.report.sensitivity import BODY_GRID, Reading
from hpsbench.report.sensitivity_draw import COLOURS, NOT_MEASURED, common_scale, new_figure
from hpsbench.report.sensitivity_people import bones_of
from hpsbench.report.sensitivity_tables import columns_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

KINDS = ("error", "excess")
_PANEL, _COLUMNS = 2.1, 5
# Outlines of the mean figure, at these shares of its densest place.
_OUTLINES = (0.3, 0.7)
_SMOOTH = 3.0
_OVER_IMAGE = 0.55


def cell_borders(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The borders (K + 1,) px of K cells in a row, of patches from ``starts`` to ``ends`` (K,): midway between neighbours' facing edges.

    Patches that meet are their own cells; of those that overlap a cell is as wide as the stride, and its middle that of the patch.
    """
    between = (starts[1:] + ends[:-1]) / 2
    if not len(between):
        return np.array([starts[0], ends[0]])
    centres = (starts + ends) / 2
    return np.array([2 * centres[0] - between[0], *between, 2 * centres[-1] - between[-1]])


def crop_borders(about: FieldAbout, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) borders px of a grid's cells; ``boxes`` (P, 4) are the patches, row by row."""
    grid = boxes.reshape(about.grid_rows, about.grid_columns, 4)
    return cell_borders(grid[0, :, 0], grid[0, :, 2]), cell_borders(grid[:, 0, 1], grid[:, 0, 3])


@dataclass(frozen=True)
class Layer:
    """A map and what lies on it, in px of the crop or, of bodies, of the mean person's box.

    ``x``, ``y``: the borders of its cells; ``values`` (rows, columns, 1 + J) mm; ``joints2d`` (J, 2) the mean places of the joints;
    ``figure`` (S, S) the mean figure over ``extent`` (x0, x1, y0, y1), which is what is shown.
    """

    x: np.ndarray
    y: np.ndarray
    values: np.ndarray
    joints2d: np.ndarray
    figure: np.ndarray
    extent: tuple[float, float, float, float]


def map_layer(reading: Reading, space: str, kind: str) -> Layer:
    """The map in a space ("crop", "body") of a kind: "error", or "excess" over the clean error."""
    about, sums = reading.about, reading.sums
    if space == "crop":
        x, y = crop_borders(about, reading.boxes)
        values = sums["map" if kind == "error" else "map_excess"].values.reshape(about.grid_rows, about.grid_columns, -1)
        return Layer(x, y, values, sums["joints2d"].values, sums["figure"].values, (0.0, about.canvas_side, 0.0, about.canvas_side))
    width, height = sums["box"].values
    x, y = BODY_GRID.edges(BODY_GRID.columns) * width, BODY_GRID.edges(BODY_GRID.rows) * height
    joints2d = sums["body_joints2d"].values * (width, height)
    values = sums["body" if kind == "error" else "body_excess"].values
    return Layer(x, y, values, joints2d, sums["body_figure"].values, (x[0], x[-1], y[0], y[-1]))


def models_figure(readings: Sequence[Reading], space: str) -> "Figure":
    """The maps of the mean over joints, a column per model: above the error, below what it is over the clean one, each on one scale."""
    figure = new_figure(1.6 + (2.9 if space == "crop" else 2.1) * len(readings), 6.0)
    panels = figure.subplots(2, len(readings), squeeze=False)
    for row, kind in zip(panels, KINDS, strict=True):
        layers = [map_layer(reading, space, kind) for reading in readings]
        norm = common_scale([layer.values[..., 0] for layer in layers])
        for axes, reading, layer in zip(row, readings, layers, strict=True):
            image = _panel(axes, layer, 0, norm)
            axes.set_title(f"{reading.name}\n{_range(layer.values[..., 0])}")
            _label(axes, space)
        _bar(figure, image, row, readings[0], kind)
    figure.suptitle(f"{_head(readings[0])}: all joints, {_where(space)}")
    return figure


def joints_figure(reading: Reading, space: str, kind: str, norm: "Normalize") -> "Figure":
    """One model's maps, a panel per joint after that of the mean over joints, on the scale ``norm``."""
    layer, names = map_layer(reading, space, kind), columns_of(reading)
    rows = -(-len(names) // _COLUMNS)
    figure = new_figure(1.2 + _PANEL * _COLUMNS * (1.0 if space == "crop" else 0.75), 0.6 + (_PANEL + 0.35) * rows)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for place, (axes, name) in enumerate(zip(panels, names, strict=False)):
        image = _panel(axes, layer, place, norm)
        axes.set_title(f"{'all joints' if name == 'all' else name}\n{_range(layer.values[..., place])}")
        _label(axes, space)
        axes.label_outer()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    _bar(figure, image, panels, reading, kind)
    figure.suptitle(f"{_head(reading)}: {reading.name}, {_where(space)}")
    return figure


def joints_scale(readings: Sequence[Reading], space: str, kind: str) -> "Normalize":
    """The one scale of the maps by joint of all models."""
    return common_scale([map_layer(reading, space, kind).values for reading in readings])


def person_figure(
    readings: Sequence[Reading], errors: Sequence[np.ndarray], joints2d: np.ndarray, picture: np.ndarray, sample_id: str
) -> "Figure":
    """One person's crop and, for each model, the map of their ``errors`` (P,) mm over it; ``picture`` (S, S, 3) shows the canvas.

    ``joints2d`` (J, 2): their true joints, px of the canvas. Positions that were not measured stay empty.
    """
    about = readings[0].about
    norm = common_scale(errors)
    figure = new_figure(1.4 + 2.9 * (len(readings) + 1), 3.3)
    panels = figure.subplots(1, len(readings) + 1, squeeze=False)[0]
    grey = picture.astype(np.float64) @ [0.299, 0.587, 0.114]
    extent = (0, about.canvas_side, about.canvas_side, 0)
    panels[0].imshow(picture, extent=extent)
    panels[0].set_title("the person\n")
    for axes, reading, values in zip(panels[1:], readings, errors, strict=True):
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent)
        borders = crop_borders(about, reading.boxes)
        image = _heat(axes, *borders, values.reshape(about.grid_rows, about.grid_columns), norm, alpha=_OVER_IMAGE)
        _stick(axes, joints2d, bones_of(about))
        axes.set_title(f"{reading.name}\n{_range(values)}")
    for axes in panels:
        axes.set_xlim(0, about.canvas_side)
        axes.set_ylim(about.canvas_side, 0)
        _label(axes, "crop")
    _bar(figure, image, panels, readings[0])
    figure.suptitle(f"{about.protocol_id}: {sample_id}, all joints")
    return figure


def _panel(axes: "Axes", layer: Layer, column: int, norm: "Normalize") -> "ScalarMappable":
    """One map under the outlines of the mean figure, the mean place of the joint in question marked."""
    axes.set_facecolor(NOT_MEASURED)
    image = _heat(axes, layer.x, layer.y, layer.values[..., column], norm)
    _outlines(axes, layer)
    if column:
        axes.plot(*layer.joints2d[column - 1], marker="o", color="white", markeredgecolor="black", markersize=5)
    x0, x1, y0, y1 = layer.extent
    axes.set_xlim(x0, x1)
    axes.set_ylim(y1, y0)
    axes.set_aspect("equal")
    return image


def _outlines(axes: "Axes", layer: Layer) -> None:
    """Where few and where most people's limbs are: white lines with a dark rim, so that they are seen on dark and on bright."""
    figure = cv2.GaussianBlur(np.nan_to_num(layer.figure), (0, 0), _SMOOTH)
    if not figure.max() > 0:
        return
    x0, x1, y0, y1 = layer.extent
    shares = (np.arange(len(figure)) + 0.5) / len(figure)
    for colour, width in (("black", 1.8), ("white", 0.8)):
        levels = [share * figure.max() for share in _OUTLINES]
        axes.contour(x0 + (x1 - x0) * shares, y0 + (y1 - y0) * shares, figure, levels=levels, colors=colour, linewidths=width)


def _heat(axes: "Axes", x: np.ndarray, y: np.ndarray, values: np.ndarray, norm: "Normalize", *, alpha: float = 1.0) -> "ScalarMappable":
    masked = np.ma.masked_invalid(values)
    return axes.pcolormesh(x, y, masked, cmap=COLOURS, norm=norm, alpha=alpha, rasterized=True, linewidth=0, antialiased=False)


def _stick(axes: "Axes", joints: np.ndarray, bones: Sequence[tuple[int, int]]) -> None:
    """A stick figure, white with a dark rim; bones with an end that is NaN are left out."""
    for colour, width in (("black", 2.4), ("white", 1.1)):
        for first, second in bones:
            axes.plot(*joints[[first, second]].T, color=colour, linewidth=width, solid_capstyle="round")


def _label(axes: "Axes", space: str) -> None:
    of = "crop" if space == "crop" else "mean box"
    axes.set_xlabel(f"x (px of the {of})")
    axes.set_ylabel(f"y (px of the {of})")


def _where(space: str) -> str:
    return (
        "error with the patch centred there" if space == "crop" else "aligned by the person's box, mean over the patches that cover a place"
    )


def _range(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"{known.min():.1f} to {known.max():.1f} mm" if known.size else "not measured"


def _bar(figure: "Figure", image: "ScalarMappable", panels: np.ndarray, reading: Reading, kind: str = "error") -> None:
    title = METRICS[reading.metric].title
    label = f"{title} (mm)" if kind == "error" else f"{title} above the clean one (mm)"
    figure.colorbar(image, ax=list(panels), label=label, shrink=0.85)


def _head(reading: Reading) -> str:
    return f"{reading.about.protocol_id}, {len(reading)} people"
