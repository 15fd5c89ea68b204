"""Which of the scored joints a plan left visible, occluded or outside the view."""

from collections.abc import Sequence

import numpy as np

STATES = ("visible", "occluded", "outside")

# Joints of evaluation skeletons without a namesake among the 24 of SMPL, and the SMPL joint that lies nearest in the body.
NEAREST_SMPL = {
    "spine": "spine2",
    "nose": "head",
    "head_top": "head",
    "left_eye": "head",
    "right_eye": "head",
    "left_ear": "head",
    "right_ear": "head",
}


def joint_states(columns: Sequence[str], known: Sequence[str], occluded: np.ndarray, outside: np.ndarray) -> dict[str, np.ndarray]:
    """For each of "visible", "occluded" and "outside" a mask (N, K) bool of the scored joints ``columns``.

    ``occluded`` and ``outside`` (N, J) bool are of the joints ``known``. A scored joint takes the flags of its namesake, or
    of the joint that NEAREST_SMPL names. A joint outside the view is not counted as occluded too. A column with
    no such joint (a mean over vertices) is in no state.
    """
    place = {name: index for index, name in enumerate(known)}
    found = [place.get(name, place.get(NEAREST_SMPL.get(name, ""), -1)) for name in columns]
    has = np.array([index >= 0 for index in found])
    out = np.asarray(outside, dtype=bool)[:, found] & has
    hid = np.asarray(occluded, dtype=bool)[:, found] & has & ~out
    return {"visible": has & ~hid & ~out, "occluded": hid, "outside": out}
