"""What the figures of error fields share: matplotlib where it is installed, one style, one colour scale, and files that are the same bytes.

A figure is drawn and saved within ``drawing()``, which leaves matplotlib's settings as it found them; no window system is asked for.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsbench.errors import MissingExtraError
from hpsbench.store import write_bytes

if TYPE_CHECKING:
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

# Bright is large, and it stays so in grey.
COLOURS = "viridis"
NOT_MEASURED = "0.85"
DPI = 150
_STYLE = {
    "svg.hashsalt": "hpsbench",
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "figure.titlesize": 9.0,
    "legend.fontsize": 7.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
}
# The models of a chart, told apart without colours: a grey value, a hatch, a line and a mark each.
_SHADES = (0.1, 0.5, 0.85, 0.3, 0.7, 0.0, 1.0)
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---", "++")
_LINES = ("-", "--", "-.", ":")
_MARKS = "os^Dv<>"


@contextmanager
def drawing() -> Iterator[None]:
    """Our style of matplotlib, and afterwards the one that was there. Raises MissingExtraError where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("matplotlib", "figures", "Drawing the figures of an error field") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of some inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """NAME.png and NAME.svg in a folder, whole or not at all, the same bytes for the same figure; their paths."""
    paths = []
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once for both files
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        stream = BytesIO()
        figure.savefig(stream, format=ending, dpi=DPI, metadata=metadata, bbox_inches="tight", pad_inches=0.05)
        paths.append(folder / f"{name}.{ending}")
        write_bytes(paths[-1], stream.getvalue())
    return paths


def common_scale(tables: Iterable[np.ndarray]) -> "Normalize":
    """One scale of colours for several tables: from the smallest to the largest of their values; a mm wide where all are one."""
    from matplotlib.colors import Normalize

    values = np.concatenate([table[np.isfinite(table)].ravel() for table in tables])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return Normalize(low, high) if high - low > 1e-3 else Normalize(low - 0.5, high + 0.5)


def look(place: int) -> dict[str, Any]:
    """How the bars of the model at a place look."""
    from matplotlib import colormaps

    return {"facecolor": colormaps[COLOURS](_SHADES[place % len(_SHADES)]), "hatch": _HATCHES[place % len(_HATCHES)], "edgecolor": "white"}


def line_look(place: int) -> dict[str, Any]:
    """How the line of the model at a place looks."""
    from matplotlib import colormaps

    shade = min(_SHADES[place % len(_SHADES)], 0.8)
    return {"color": colormaps[COLOURS](shade), "linestyle": _LINES[place % len(_LINES)], "marker": _MARKS[place % len(_MARKS)]}


def file_word(text: str) -> str:
    """A text as part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in ".-_" else "-" for letter in text)
