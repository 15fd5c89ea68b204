"""Joints that models of joints do not get: key-point-space occlusion, which leaves the image as it is.

Sources: the public training code of GVHMR (Shen et al., SIGGRAPH Asia 2024), after WHAM's: joints lost by chance, with all that hangs on
them, and both legs lost for a stretch of time; GBT (FG 2024) as later papers quote it: each joint lost by chance.
"""

from dataclasses import dataclass
from typing import NamedTuple

from hpsbench.occluders.base import Occluder, Target, cases_of, check_joints
from hpsbench.seeds import rng_of
from hpsbench.types import Card, Occlusion


class Entry(NamedTuple):
    """A joint, and those without any of which it is not seen either."""

    joint: str
    needs: tuple[str, ...]


def entry_of(text: str) -> Entry:
    """ "nose<left_shoulder&right_shoulder" is the nose, which needs both shoulders; "left_hip" needs nothing."""
    joint, _, needs = text.partition("<")
    return Entry(joint, tuple(needs.split("&")) if needs else ())


@dataclass(frozen=True)
class KeyPointsParams:
    """Every number of the rule, as protocol files name them.

    ``joints``: entries as of ``entry_of``, in the order in which they are drawn and then looked at; each is lost with ``probability``, and
    with any joint that it needs. ``together``: joints that are lost all at once, in every stretch of ``stretch`` frames of a track with
    ``together_probability``, from a frame drawn on, for as many frames as drawn from [fewest, most] of ``together_frames``. ``draws``: how
    often each person is hidden anew.
    """

    joints: tuple[str, ...]
    probability: float
    together: tuple[str, ...]
    together_probability: float
    together_frames: tuple[int, int]
    stretch: int
    draws: int

    def __post_init__(self):
        entries = [entry_of(text) for text in self.joints]
        names = [entry.joint for entry in entries]
        check_joints([*names, *(need for entry in entries for need in entry.needs), *self.together])
        if len(set(names)) < len(names) or not {*self.together, *(need for entry in entries for need in entry.needs)} <= {*names}:
            raise ValueError(
                f"joints: expected each joint once, and those needed and together among them, but got {', '.join(self.joints)}."
            )
        if not (0 <= self.probability <= 1 and 0 <= self.together_probability <= 1) or self.draws < 1:
            raise ValueError(
                f"expected probabilities from 0 to 1 and at least one draw, but got {self.probability:g}, {self.together_probability:g} "
                f"and {self.draws}."
            )
        fewest, most = self.together_frames
        if not 0 < fewest <= most < self.stretch:
            raise ValueError(
                f"expected together_frames as [fewest, most] above 0 and a longer stretch, but got {list(self.together_frames)} and "
                f"{self.stretch}."
            )


class KeyPoints(Occluder):
    """Joints lost by chance, frame by frame, and some lost together for a while."""

    kind = "key-points"
    card = Card(
        name="key-points",
        what="joints that models of joints do not get: by chance, with those that hang on them, and together for a while",
        source="https://github.com/zju3dv/GVHMR (facts of its code; re-implemented); GBT (FG 2024), as later papers quote it",
        licence="Apache-2.0 (this implementation)",
        paper="Shen et al., World-Grounded Human Motion Recovery via Gravity-View Coordinates, SIGGRAPH Asia 2024",
    )
    Params = KeyPointsParams
    pixels = False

    def cases(self, params: KeyPointsParams) -> tuple[str, ...]:
        """draw=0, draw=1 and so on; one without a name where there is one draw only."""
        return ("",) if params.draws == 1 else cases_of(draw=range(params.draws))

    def plan(self, target: Target, params: KeyPointsParams) -> Occlusion:
        """The names of the joints that are lost at the target's frame, in the order of ``params.joints``.

        One number is drawn for each joint, by the sample and the case. What is lost together follows from the track's own draws.
        """
        rng = rng_of(*target.words(self.kind, target.case))
        lost: set[str] = set()
        entries = [entry_of(text) for text in params.joints]
        lost.update(entry.joint for entry in entries if rng.random() < params.probability)
        for entry in entries:
            if lost.intersection(entry.needs):
                lost.add(entry.joint)
        if _together(target, params):
            lost.update(params.together)
        return Occlusion(self.kind, "image", {"joints": [entry.joint for entry in entries if entry.joint in lost]})

    def joints(self, occlusion: Occlusion) -> tuple[str, ...]:
        """Those of the plan."""
        return tuple(occlusion.params["joints"])


def _together(target: Target, params: KeyPointsParams) -> bool:
    """Whether the joints that go together are lost at the target's frame.

    A track is cut into stretches, counted in frame numbers from its first kept frame on; the last one is drawn for as if it were whole.
    Of each are drawn: the first frame, uniform from its start to where the longest loss and one frame more just fit; the number of frames;
    whether it happens.
    """
    if not params.together or params.together_probability == 0:
        return False
    number, frame = divmod(target.sample.frame - target.track[0].frame, params.stretch)
    rng = rng_of(target.seed, target.sample.track, KeyPoints.kind, "together", number, target.case)
    fewest, most = params.together_frames
    first = int(rng.random() * (params.stretch - most - 1))
    count = fewest + int(rng.random() * (most - fewest + 1))
    return rng.random() < params.together_probability and first <= frame < first + count
