"""The mean figure of people, on which the maps of error fields lie."""

from collections.abc import Sequence

import numpy as np

from hpsbench.draw import paint_bones
from hpsbench.field import FieldAbout
from hpsbench.metrics.sensitivity import Mean
from hpsbench.skeleton import JOINT_NAMES, PARENTS, edges, joint_names

SIDE = 112
_LIMB = 7
_INK = (255,)


def bones_of(about: FieldAbout) -> list[tuple[int, int]]:
    """Pairs of joints to draw a line between: the bones of the skeleton of just these joints, else from each to its nearest ancestor."""
    for skeleton, names in JOINT_NAMES.items():
        if names == about.joints:
            return list(edges(skeleton))
    names, parents = joint_names(about.regressor), PARENTS[about.regressor]
    found = []
    for place, name in enumerate(about.joints):
        parent = parents[names.index(name)]
        while parent >= 0 and names[parent] not in about.joints:
            parent = parents[parent]
        if parent >= 0:
            found.append((about.joints.index(names[parent]), place))
    return found


def mean_figure(points: np.ndarray, bones: Sequence[tuple[int, int]]) -> Mean:
    """The share (SIDE, SIDE) of people who have a limb at each place of a picture; ``points`` (N, J, 2) are shares of its sides.

    Limbs are lines of a sixteenth of the picture. A picture and not the mean of joints, since the joints of people who face this way and
    that fall together in their middle. Bones with an end that is not known (NaN) are left out, and people without any other.
    """
    sums, count = np.zeros((SIDE, SIDE)), 0
    for person in points * SIDE:
        if np.isfinite(person[np.array(bones, dtype=np.int64)]).all(axis=(1, 2)).any() if len(bones) else False:
            sums += paint_bones(np.zeros((SIDE, SIDE), np.uint8), person, bones, [_INK] * len(person), _LIMB) / 255.0
            count += 1
    return Mean(sums, np.full(sums.shape, count, dtype=np.int64))
