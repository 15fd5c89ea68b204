"""From a window about the head to one about the whole person, in equal steps.

Source: EFT's multi-level crops of 3DPW (Joo et al., 3DV 2021), as the public code that writes those test sets has them.
"""

from dataclasses import dataclass

import numpy as np

from hpsbench.image import square_of_box
from hpsbench.occluders.base import NotPossible, Target, cases_of, check_joints
from hpsbench.occluders.base_crop import Crop, PointRule, named, points_of, seen_window, tight_box
from hpsbench.types import Card, Occlusion


@dataclass(frozen=True)
class CropLevelsParams:
    """Every number of the levels, as protocol files name them.

    Level 0 is the tight box of the ``joints`` ("a|b": the first that a source of points has; at least ``min_points`` of them labelled),
    level ``whole`` the person's box, and each corner of a level in between lies that far on a straight line. The window is the square about
    that box whose side is ``scale`` times the longer one. ``levels``: those that are cut.
    """

    points: PointRule
    joints: tuple[str, ...]
    min_points: int
    whole: int
    levels: tuple[int, ...]
    scale: float

    def __post_init__(self):
        check_joints(self.joints)
        if not self.joints or self.min_points < 2 or self.scale <= 0:
            raise ValueError(
                f"expected at least one joint, min_points of at least 2 and a scale above 0, but got {len(self.joints)}, "
                f"{self.min_points} and {self.scale:g}."
            )
        if self.whole < 1 or not self.levels or not all(0 <= level <= self.whole for level in self.levels):
            raise ValueError(f"expected levels from 0 to that of the whole, 1 or more, but got {list(self.levels)} of {self.whole}.")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"expected no level twice, but got {list(self.levels)}.")


class CropLevels(Crop):
    """One level at a time."""

    kind = "crop-levels"
    card = Card(
        name="crop-levels",
        what="EFT's crop levels: windows from the head (level 0) to the whole person (level 7), in equal steps",
        source="https://github.com/facebookresearch/eft (facts of its code; re-implemented)",
        licence="Apache-2.0 (this implementation)",
        paper="Joo et al., Exemplar Fine-Tuning for 3D Human Model Fitting Towards In-the-Wild 3D Human Pose Estimation, 3DV 2021",
    )
    Params = CropLevelsParams

    def cases(self, params: CropLevelsParams) -> tuple[str, ...]:
        """level=0 and so on, in the protocol's order."""
        return cases_of(level=params.levels)

    def plan(self, target: Target, params: CropLevelsParams) -> Occlusion:
        """The window of the case's level. Raises NotPossible where too few points of the smallest box are labelled or the window shows
        nothing of the image."""
        level = int(target.choice["level"])
        points = named(points_of(target.sample, params.points), params.joints)
        if len(points) < params.min_points:
            raise NotPossible(f"fewer than {params.min_points} points of the smallest box")
        box = level_box(tight_box(points), target.sample.view.bbox_xyxy, level / params.whole)
        if not (box[2:] - box[:2]).max() > 0:
            raise NotPossible("a box without extent")
        return Occlusion(self.kind, "image", {"window_xyxy": seen_window(square_of_box(box, params.scale), target.sample), "level": level})


def level_box(smallest_xyxy: np.ndarray, whole_xyxy: np.ndarray, share: float) -> np.ndarray:
    """The box (4,) whose corners lie ``share`` of the way from those of the smallest to those of the whole."""
    smallest = np.asarray(smallest_xyxy, dtype=np.float64)
    return smallest + (np.asarray(whole_xyxy, dtype=np.float64) - smallest) * share
