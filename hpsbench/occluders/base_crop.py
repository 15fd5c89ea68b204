"""What crops share: the points of a person that they are cut about, and the window that they fix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hpsbench.errors import DataError
from hpsbench.occluders.base import NotPossible, Occluder
from hpsbench.skeleton import joint_names
from hpsbench.types import Occlusion, Sample


@dataclass(frozen=True)
class PointRule:
    """Which points of a person count as labelled.

    ``source``: the truth's joints, "projected"; the dataset's own 2D key points, "annotated"; or "both", annotated ones where the dataset
    has them. Annotated points are labelled where their confidence is above ``confidence_above``; projected ones where they are valid
    and at most ``beyond_image`` widths and heights of the image beyond it (0: inside of it).
    """

    source: Literal["projected", "annotated", "both"]
    confidence_above: float
    beyond_image: float

    def __post_init__(self):
        if self.beyond_image < 0:
            raise ValueError(f"expected beyond_image of at least 0, but got {self.beyond_image:g}.")


class Points(NamedTuple):
    """The points of one source: names (J), places (J, 2) px of the image, and which are labelled (J,) bool."""

    names: tuple[str, ...]
    places: np.ndarray
    labelled: np.ndarray

    def named(self, entry: str) -> np.ndarray:
        """The point of the first of the joints "a|b" that the source has: (1, 2), or (0, 2) where it has none or that is not labelled."""
        row = next((self.names.index(name) for name in entry.split("|") if name in self.names), None)
        return self.places[:0] if row is None or not self.labelled[row] else self.places[row : row + 1]


def points_of(sample: Sample, rule: PointRule) -> tuple[Points, ...]:
    """A person's points, a tuple for each source. Raises DataError where 2D key points are needed and the sample has none."""
    truth = sample.truth
    sources = []
    if rule.source != "projected" and truth.keypoints2d is not None and truth.keypoints_skeleton is not None:
        places = np.asarray(truth.keypoints2d, dtype=np.float64)
        labelled = (places[:, 2] > rule.confidence_above) & np.isfinite(places).all(axis=1)
        sources.append(Points(joint_names(truth.keypoints_skeleton), places[:, :2], labelled))
    elif rule.source == "annotated":
        raise DataError(
            f"Sample '{sample.id}' has no 2D key points, by which this crop aims. Choose a dataset that annotates them, or a protocol "
            'whose crop aims by projected joints (points.source = "projected").'
        )
    if rule.source != "annotated":
        places = np.asarray(truth.joints2d, dtype=np.float64)
        size = np.array(sample.image_size, dtype=np.float64)
        near = (places >= -rule.beyond_image * size) & (places < (1 + rule.beyond_image) * size)
        sources.append(Points(joint_names(truth.skeleton), places, np.asarray(truth.valid, dtype=bool) & near.all(axis=1)))
    return tuple(sources)


def named(sources: Sequence[Points], entries: Sequence[str]) -> np.ndarray:
    """The labelled points (N, 2) px of some joints, "a" or "a|b", from all sources."""
    return np.concatenate([points.named(entry) for points in sources for entry in entries] or [np.zeros((0, 2))])


def tight_box(points: np.ndarray) -> np.ndarray:
    """The box (4,) xyxy about points (N, 2), N at least 1."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def seen_window(window_xyxy: np.ndarray, sample: Sample) -> list[float]:
    """The window as plans hold it. Raises NotPossible where it shows nothing of the image."""
    if not ((window_xyxy[:2] < sample.image_size).all() and (window_xyxy[2:] > 0).all()):
        raise NotPossible("window outside the image")
    return [float(value) for value in window_xyxy]


class Crop(Occluder):
    """An occluder that fixes a window and hides nothing inside of it."""

    def window(self, occlusion: Occlusion) -> np.ndarray:
        """The planned window (4,) px."""
        return np.array(occlusion.params["window_xyxy"], dtype=np.float64)
