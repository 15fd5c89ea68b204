"""One part of the body in a square window, one part after the other: the window is cut about the part's labelled points.

Sources: the part crops with which HMR2.0 and its family are trained (4D-Humans, Goel et al., ICCV 2023; TokenHMR; CameraHMR), the
upper-body crops of EFT (Joo et al., 3DV 2021) and the half bodies of HybrIK (Li et al., CVPR 2021), as their public code has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpsbench.image import square_of_box
from hpsbench.occluders.base import NotPossible, Target, cases_of, check_joints
from hpsbench.occluders.base_crop import Crop, PointRule, Points, named, points_of, seen_window, tight_box
from hpsbench.types import Card, Occlusion


@dataclass(frozen=True)
class People:
    """A kind of people: with all joints of ``labelled``, none of ``unlabelled``, and at least so many points of ``some_of``."""

    name: str
    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    some_of: tuple[str, ...]
    at_least: int

    def has(self, sources: Sequence[Points]) -> bool:
        """Whether a person of these points is one of them."""
        return (
            all(len(named(sources, [entry])) for entry in self.labelled)
            and len(named(sources, self.unlabelled)) == 0
            and len(named(sources, self.some_of)) >= self.at_least
        )


@dataclass(frozen=True)
class Part:
    """A part: the joints that stay, and its own factor of the window's side. It is cut of ``people`` only (none named: of anybody)."""

    name: str
    joints: tuple[str, ...]
    scale: float
    people: tuple[str, ...]


@dataclass(frozen=True)
class PartCropParams:
    """Every number of the part crops, as protocol files name them; "a|b" is the first of these joints that a source of points has.

    The window's side is ``padding`` times the part's scale times the longer side of the tight box of its points; its ``centre`` the middle
    of that box, or the mean of the points. A part of fewer than ``min_points`` points, or a side below ``min_side_px`` of the image: none.
    """

    points: PointRule
    padding: float
    centre: Literal["box", "mean"]
    min_points: int
    min_side_px: float
    people: tuple[People, ...]
    parts: tuple[Part, ...]

    def __post_init__(self):
        if self.padding <= 0 or self.min_points < 2 or self.min_side_px <= 0:
            raise ValueError(
                f"expected padding and min_side_px above 0, and min_points of at least 2, but got {self.padding:g}, {self.min_side_px:g} "
                f"and {self.min_points}."
            )
        for kind, names in (("part", [part.name for part in self.parts]), ("kind of people", [people.name for people in self.people])):
            if len(set(names)) < len(names):
                raise ValueError(f"expected no {kind} twice, but got {', '.join(names)}.")
        if not self.parts:
            raise ValueError("expected at least one part.")
        for people in self.people:
            check_joints([*people.labelled, *people.unlabelled, *people.some_of])
        for part in self.parts:
            self._check_part(part)

    def _check_part(self, part: Part) -> None:
        check_joints(part.joints)
        if not part.name or set(part.name) & set("=,@/"):
            raise ValueError(f"expected part names without = , @ and /, but got '{part.name}'.")
        if not part.joints or part.scale <= 0:
            raise ValueError(f"expected at least one joint and a scale above 0 of part '{part.name}'.")
        known = [people.name for people in self.people]
        for name in part.people:
            if name not in known:
                raise ValueError(f"part '{part.name}': no people are named '{name}'. Known: {', '.join(known) or 'none'}.")


class PartCrop(Crop):
    """One part of the body at a time."""

    kind = "part-crop"
    card = Card(
        name="part-crop",
        what="One part of the body in a square window, part by part (HMR2.0's nine, EFT's two, HybrIK's two)",
        source="https://github.com/shubham-goel/4D-Humans, https://github.com/facebookresearch/eft, https://github.com/Jeff-sjtu/HybrIK "
        "(facts of their code; re-implemented)",
        licence="Apache-2.0 (this implementation)",
        paper="Goel et al., Humans in 4D, ICCV 2023; Joo et al., EFT, 3DV 2021; Li et al., HybrIK, CVPR 2021",
    )
    Params = PartCropParams

    def cases(self, params: PartCropParams) -> tuple[str, ...]:
        """part=hips and so on, in the protocol's order."""
        return cases_of(part=[part.name for part in params.parts])

    def plan(self, target: Target, params: PartCropParams) -> Occlusion:
        """The window about the case's part. Raises NotPossible for people whom it is not cut of, where too little of it is labelled
        and where the window shows nothing of the image."""
        (part,) = (part for part in params.parts if part.name == target.choice["part"])
        sources = points_of(target.sample, params.points)
        allowed = [people for people in params.people if people.name in part.people]
        if allowed and not any(people.has(sources) for people in allowed):
            raise NotPossible(f"not {' or '.join(people.name for people in allowed)}")
        points = named(sources, part.joints)
        if len(points) < params.min_points:
            raise NotPossible(f"fewer than {params.min_points} points of the part")
        window = _window(points, params.padding * part.scale, params.centre)
        if window[2] - window[0] < params.min_side_px:
            raise NotPossible("too small a part")
        return Occlusion(self.kind, "image", {"window_xyxy": seen_window(window, target.sample), "part": part.name})


def _window(points: np.ndarray, scale: float, centre: str) -> np.ndarray:
    """The square (4,) whose side is ``scale`` times the longer side of the points' box."""
    square = square_of_box(tight_box(points), scale)
    if centre == "mean":
        square += np.tile(points.mean(axis=0) - (square[:2] + square[2:]) / 2, 2)
    return square
