"""3DPW, 3D Poses in the Wild: who it is, and how much of it there is."""

from typing import ClassVar

from hpsbench.datasets.base_3dpw import ThreeDPWLayout
from hpsbench.datasets.base_3dpw_subsets import SUBSETS
from hpsbench.types import Card

# sequence:people:images. Their sums are the published 87 tracks and 74,620 person-frames.
_SEQUENCES = {
    "train": """courtyard_arguing_00:2:765 courtyard_backpack_00:1:1262 courtyard_basketball_00:2:468 courtyard_bodyScannerMotions_00:1:1257
        courtyard_box_00:1:1041 courtyard_capoeira_00:2:435 courtyard_captureSelfies_00:2:750 courtyard_dancing_01:2:351
        courtyard_giveDirections_00:2:848 courtyard_golf_00:1:604 courtyard_goodNews_00:2:431 courtyard_jacket_00:1:1245
        courtyard_laceShoe_00:1:931 courtyard_rangeOfMotions_00:2:601 courtyard_relaxOnBench_00:1:558 courtyard_relaxOnBench_01:1:959
        courtyard_shakeHands_00:2:391 courtyard_warmWelcome_00:2:599 outdoors_climbing_00:1:1228 outdoors_climbing_01:1:1062
        outdoors_climbing_02:1:916 outdoors_freestyle_00:1:498 outdoors_slalom_00:1:333 outdoors_slalom_01:1:371""",
    "validation": """courtyard_basketball_01:1:958 courtyard_dancing_00:2:459 courtyard_drinking_00:2:689 courtyard_hug_00:2:614
        courtyard_jumpBench_01:1:619 courtyard_rangeOfMotions_01:2:587 downtown_walkDownhill_00:1:437 outdoors_crosscountry_00:1:544
        outdoors_freestyle_01:1:273 outdoors_golf_00:1:341 outdoors_parcours_00:1:1661 outdoors_parcours_01:1:1327""",
    "test": """downtown_arguing_00:2:898 downtown_bar_00:2:1403 downtown_bus_00:2:2178 downtown_cafe_00:2:1201 downtown_car_00:2:1020
        downtown_crossStreets_00:2:588 downtown_downstairs_00:1:857 downtown_enterShop_00:1:1449 downtown_rampAndStairs_00:2:984
        downtown_runForBus_00:2:731 downtown_runForBus_01:2:783 downtown_sitOnStairs_00:2:1337 downtown_stairs_00:1:1240
        downtown_upstairs_00:1:845 downtown_walkBridge_01:1:1372 downtown_walkUphill_00:1:388 downtown_walking_00:2:1387
        downtown_warmWelcome_00:2:589 downtown_weeklyMarket_00:1:1193 downtown_windowShopping_00:1:1948 flat_guitar_01:1:748
        flat_packBags_00:1:1279 office_phoneCall_00:2:880 outdoors_fencing_01:1:942""",
}


def _parsed(text: str) -> dict[str, tuple[int, int]]:
    """{sequence: (people, images)} of a table above."""
    rows = (row.split(":") for row in text.split())
    return {name: (int(people), int(images)) for name, people, images in rows}


class ThreeDPW(ThreeDPWLayout):
    """3DPW as unpacked from sequenceFiles.zip and imageFiles.zip: 60 sequences of one or two people.

    Subsets, out of all three splits: "occ" (3DPW-OCC, behind objects), "pc" (3DPW-PC) and "crowd" (3DPW-Crowd), where people hide people.
    """

    name = "3dpw"
    card = Card(
        name="3dpw",
        what="3DPW: people filmed in the wild with a moving camera, SMPL ground truth from IMUs and video",
        source="https://virtualhumans.mpi-inf.mpg.de/3DPW",
        licence="non-commercial scientific research; accept the terms at virtualhumans.mpi-inf.mpg.de/3DPW/license.html; no redistribution",
        paper="von Marcard et al., Recovering Accurate 3D Human Pose in the Wild Using IMUs and a Moving Camera, ECCV 2018",
    )
    subsets = tuple(SUBSETS)
    lists: ClassVar = SUBSETS
    known: ClassVar = {split: _parsed(text) for split, text in _SEQUENCES.items()}
    # Person-frames with a valid camera pose, where published (test: the list that SPIN and PARE score; train: SPIN's npz).
    known_valid: ClassVar = {"train": 22_735, "test": 35_515}
