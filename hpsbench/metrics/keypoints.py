"""PCK and AUC of joints in 3D: hits of each person and joint, reduced to percent at the very end, next to their count."""

from collections.abc import Mapping, Sequence

import numpy as np

PCK_THRESHOLD = 0.150
# 0, 5, ..., 150 mm in metres: divisions and no sums of steps, so that an error of exactly 150 mm compares as such.
AUC_THRESHOLDS = tuple(mm / 1000 for mm in range(0, 151, 5))
# The joint groups that MPI-INF-3DHP's evaluator counts, 14 joints of "mpi17": no pelvis, spine and head.
GROUPS_3DHP: dict[str, tuple[str, ...]] = {
    "Head": ("head_top",),
    "Neck": ("neck",),
    **{joint.capitalize(): (f"right_{joint}", f"left_{joint}") for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")},
}


def pck_hits(errors: np.ndarray, threshold: float = PCK_THRESHOLD) -> np.ndarray:
    """1 where an error (..., J) m is strictly below ``threshold`` m, else 0; NaN where the error is NaN. Its mean is the PCK.

    Alignment and joints are those of ``errors``. Source: MPI-INF-3DHP's test_util (Mehta et al. 2017): both sides relative to the pelvis.
    """
    errors = np.asarray(errors, dtype=np.float64)
    return np.where(np.isnan(errors), np.nan, errors < threshold)


def auc_hits(errors: np.ndarray, thresholds: Sequence[float] = AUC_THRESHOLDS) -> np.ndarray:
    """The part (..., J) of the ``thresholds`` m that an error (..., J) m is strictly below; NaN where it is NaN. Its mean is the AUC.

    Of the default 31 the first, 0, is never passed, so that a perfect person has 30/31. Source: MPI-INF-3DHP's test_util.
    """
    errors = np.asarray(errors, dtype=np.float64)
    passed = (errors[..., None] < np.asarray(thresholds)).mean(-1)
    return np.where(np.isnan(errors), np.nan, passed)


def percent(hits: np.ndarray) -> tuple[float, int]:
    """(mean in percent, count) over all measured ``hits`` of any shape, each with equal weight; (NaN, 0) where there is none."""
    measured = np.asarray(hits, dtype=np.float64)
    measured = measured[~np.isnan(measured)]
    return (100 * float(measured.mean()) if measured.size else float("nan")), measured.size


def percent_by_label(hits: np.ndarray, labels: Sequence[object]) -> Mapping[str, tuple[float, int]]:
    """{label: ``percent``} of the rows of ``hits`` (N, J), such as by scene or activity; labels in order of their first row."""
    hits = np.asarray(hits, dtype=np.float64)
    if len(hits) != len(labels):
        raise ValueError(f"percent_by_label: expected a label for each of {len(hits)} people, but got {len(labels)}")
    names = np.array([str(label) for label in labels], dtype=str)
    return {name: percent(hits[names == name]) for name in dict.fromkeys(names.tolist())}


def percent_by_group(
    hits: np.ndarray, columns: Sequence[str], groups: Mapping[str, Sequence[str]] = GROUPS_3DHP
) -> Mapping[str, tuple[float, int]]:
    """{group: ``percent``} of the columns of ``hits`` (N, J), whose joints are ``columns``, and "All" over all groups together.

    Columns of no group are left out, and a joint weighs the same in "All" whatever the size of its group. Raises ValueError
    where a group names a joint that is no column.
    """
    hits, names = np.asarray(hits, dtype=np.float64), list(columns)
    lost = [joint for joints in groups.values() for joint in joints if joint not in names]
    if lost or hits.shape[-1] != len(names):
        raise ValueError(f"percent_by_group: {hits.shape[-1]} columns named {names}, expected one for each name, and {lost} among them")
    places = {group: [names.index(joint) for joint in joints] for group, joints in groups.items()}
    places["All"] = [place for group in places.values() for place in group]
    return {group: percent(hits[..., columns]) for group, columns in places.items()}
