"""Opens the splits of a dataset for looking at them: by the rules that keep all that the dataset itself holds to be valid."""

from pathlib import Path
from typing import TYPE_CHECKING

from hpsbench.datasets.base import Dataset

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

# Frame rules that drop what the annotators themselves flagged, and no frame in between.
_FLAGGED = ("campose-and-2d", "good", "valid")


def plain_rules(kind: type[Dataset]) -> dict[str, str | float]:
    """The frame rule and box rule under which a dataset is looked at."""
    frames = next((name for name in _FLAGGED if name in kind.frame_rules), kind.frame_rules[0])
    return {"frames": frames, "bbox": kind.box_rules[0], "bbox_scale": 1.0}


def open_split(kind: type[Dataset], folder: Path, split: str, bodies: "Bodies | None") -> Dataset:
    """A split under ``plain_rules``. Raises DataError for its files."""
    return kind(folder, split=split, bodies=bodies, **plain_rules(kind))
