"""Human3.6M by name: subjects, actions, file names of sequences, cameras, subsets and the rules on frames."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from hpsbench.errors import UnknownNameError
from hpsbench.store import sha256_of_bytes

TRAIN, TEST = (1, 5, 6, 7, 8), (9, 11)
CAMERAS = ("54138969", "55011271", "58860488", "60457274")
FRONT = 3
# Actions 2 to 16 of the metadata; action 1 is "_ALL".
ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting", "SittingDown", "Smoking", "Photo",
    "Waiting", "Walking", "WalkDog", "WalkTogether",
)  # fmt: skip
RENAMED = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}
# The names of subactions 1 and 2 where they are not "<Action> 1" and "<Action>"; "_" alone: no number.
_NUMBERS = {
    1: "Eating 2 _, Sitting 1 2, SittingDown 2 _",
    5: "Directions 1 2, Discussion 2 3, Greeting 1 2, SittingDown _ 1, Photo _ 2, Waiting 1 2",
    6: "Eating 1 2, Posing 2 _, Sitting 1 2, SittingDown 1 _, Photo _ 1, Waiting 3 _",
    7: "Phoning 2 _, SittingDown _ 1, Photo _ 1, Waiting 1 2, Walking 1 2",
    8: "SittingDown _ 1, WalkTogether 1 2",
    9: "Discussion 1 2, SittingDown _ 1",
    11: "Discussion 1 2, Greeting 2 _, Phoning 3 2, SittingDown _ 1, Smoking 2 _",
}
_NUMBER_OF = {
    (subject, name): numbers
    for subject, text in _NUMBERS.items()
    for name, *numbers in (entry.split() for entry in text.split(","))
}  # fmt: skip
_CLIP = re.compile(r"s_(\d\d)_act_(\d\d)_subact_(\d\d)_ca_(\d\d)")


class Clip(NamedTuple):
    """One sequence seen by one camera: subject 1 to 11, action 2 to 16, subaction 1 or 2, camera 0 to 3."""

    subject: int
    action: int
    subaction: int
    camera: int

    @property
    def name(self) -> str:
        """As the derived sets write it: "s_09_act_02_subact_01_ca_04"."""
        return f"s_{self.subject:02d}_act_{self.action:02d}_subact_{self.subaction:02d}_ca_{self.camera + 1:02d}"

    @property
    def split(self) -> str:
        """The half that the subject belongs to, whatever the subset: "train" or "test"."""
        return "train" if self.subject in TRAIN else "test"

    @property
    def action_name(self) -> str:
        """Such as "Photo", the same for all subjects."""
        return ACTIONS[self.action - 2]

    @property
    def camera_id(self) -> str:
        """Such as "60457274"."""
        return CAMERAS[self.camera]

    @property
    def sequence(self) -> str:
        """The name of its pose file without camera and ending, with its space: "Directions 1"."""
        return sequence_name(self.subject, self.action, self.subaction)

    @property
    def file_stem(self) -> str:
        """The name of its video or per-camera pose file without ending: "Directions 1.54138969"."""
        return f"{self.sequence}.{self.camera_id}"


def parse_clip(text: str) -> Clip | None:
    """The clip that a text such as "s_09_act_02_subact_01_ca_04_000001.jpg" names, or None."""
    found = _CLIP.search(text)
    if not found:
        return None
    subject, action, subaction, camera = map(int, found.groups())
    known = subject in (*TRAIN, *TEST) and 2 <= action <= 16 and subaction in (1, 2) and 1 <= camera <= 4
    return Clip(subject, action, subaction, camera - 1) if known else None


def sequence_name(subject: int, action: int, subaction: int) -> str:
    """The name that the release gives a sequence of a public subject: "Directions 1", "SittingDown"."""
    name = ACTIONS[action - 2]
    number = _NUMBER_OF.get((subject, name), ("1", "_"))[subaction - 1]
    if subject == 1:
        name = {new: old for old, new in RENAMED.items()}.get(name, name)
    return name if number == "_" else f"{name} {number}"


def sequence_of(subject: int, name: str) -> tuple[int, int] | None:
    """(action, subaction) of a sequence's name, also where TakingPhoto and WalkingDog were renamed; None for an unknown name."""
    wanted = _modern(name)
    every = ((action, subaction) for action in range(2, 17) for subaction in (1, 2))
    return next((key for key in every if _modern(sequence_name(subject, *key)) == wanted), None)


def _modern(name: str) -> str:
    head, _, number = name.partition(" ")
    return f"{RENAMED.get(head, head)} {number}".strip()


@dataclass(frozen=True)
class Subset:
    """Clips by subject, camera (0 to 3) and subaction."""

    subjects: tuple[int, ...]
    cameras: tuple[int, ...] = (0, 1, 2, 3)
    subactions: tuple[int, ...] = (1, 2)


# P1 and P2 of the field's families. In lifting both are "test", and differ in the alignment alone.
SUBSETS = {
    "train": Subset(TRAIN),
    "test": Subset(TEST),
    "hmr-p1": Subset(TEST),
    "hmr-p2": Subset(TEST, (FRONT,), (1,)),
    "spin-p2": Subset(TEST, (FRONT,)),
    "rootnet-p1-train": Subset((*TRAIN, 9)),
    "rootnet-p1-test": Subset((11,)),
    "rootnet-p2-train": Subset(TRAIN),
    "rootnet-p2-test": Subset(TEST),
    "all": Subset((*TRAIN, *TEST)),
}


def clips_of(subset: str) -> tuple[Clip, ...]:
    """Every clip of a subset, sorted: the exact list, whatever lies on disk. Raises UnknownNameError."""
    if subset not in SUBSETS:
        raise UnknownNameError(subset, "subset of Human3.6M", SUBSETS)
    chosen = SUBSETS[subset]
    every = (
        Clip(subject, action, subaction, camera)
        for subject in chosen.subjects
        for action in range(2, 17)
        for subaction in chosen.subactions
        for camera in chosen.cameras
    )
    return tuple(sorted(every))


def subset_sha256(subset: str) -> str:
    """SHA-256 over the lines "S9/Directions 1.54138969" of a subset's clips in order."""
    return sha256_of_bytes("".join(f"S{clip.subject}/{clip.file_stem}\n" for clip in clips_of(subset)).encode())


STEPS = {"all": 1, "every-5th": 5, "every-20th": 20, "every-64th": 64}
# Mocap about 200 mm off along world x against the images (subject, action, subaction), and a clip whose video is damaged.
S9_SHIFTED = frozenset({(9, 5, 2), (9, 10, 2), (9, 13, 1)})
S9_SHIFT_WORLD = (0.2, 0.0, 0.0)
_S11_DAMAGED = Clip(11, 2, 2, 0)
FIX_SHIFT = "fix-s9-shift"
BAD_RULES = {
    "": lambda clip: False,
    # The three are kept and moved back by 0.2 m along world x (posepile).
    FIX_SHIFT: lambda clip: False,
    # HMR.
    "drop-s11-damaged": lambda clip: clip == _S11_DAMAGED,
    # VideoPose3D: the sequence of the damaged clip, for all cameras.
    "drop-s11-directions": lambda clip: clip[:3] == _S11_DAMAGED[:3],
    # HybrIK, in testing.
    "drop-s9-shifted": lambda clip: clip[:3] in S9_SHIFTED,
    "drop-bad": lambda clip: clip[:3] in S9_SHIFTED or clip == _S11_DAMAGED,
}
FRAME_RULES = tuple(f"{step}+{bad}" if bad else step for step in STEPS for bad in BAD_RULES)


def frame_rule(name: str) -> tuple[int, str]:
    """(step, name of the rule on bad sequences, "" for none) of a frame rule such as "every-5th+drop-s9-shifted"."""
    step, _, bad = name.partition("+")
    return STEPS[step], bad
