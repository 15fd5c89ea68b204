"""PCK and AUC of joints in 3D: hits of each person and joint, reduced to percent at the very end, next to their count."""

from collections.abc import Sequence

import numpy as np

PCK_THRESHOLD = 0.150
# 0, 5, ..., 150 mm in metres: divisions and no sums of steps, so that an error of exactly 150 mm compares as such.
AUC_THRESHOLDS = tuple(mm / 1000 for mm in range(0, 151, 5))

_CACHEFUL = 16384


def thresholds_to(last_mm: float, steps: int) -> tuple[float, ...]:
    """``steps`` thresholds in metres, evenly from 0 to ``last_mm``: AUC_THRESHOLDS for 150 and 31."""
    return tuple(last_mm * k / (steps - 1) / 1000 for k in range(steps))


def pck_hits(errors: np.ndarray, threshold: float = PCK_THRESHOLD, *, at_most: bool = False) -> np.ndarray:
    """1 where an error (..., J) m is strictly below ``threshold`` m, else 0; NaN where the error is NaN. Its mean is the PCK.

    ``at_most``: an error of exactly the threshold hits too. Alignment and joints are those of ``errors``. Source: MPI-INF-3DHP's
    test_util (Mehta et al. 2017), both sides relative to the pelvis; with ``at_most`` the 3DPW challenge's evaluator.
    """
    errors = np.asarray(errors, dtype=np.float64)
    return np.where(np.isnan(errors), np.nan, errors <= threshold if at_most else errors < threshold)


def auc_hits(
    errors: np.ndarray, thresholds: Sequence[float] = AUC_THRESHOLDS, *, at_most: bool = False, trapezoid: bool = False
) -> np.ndarray:
    """The part (..., J) of the ``thresholds`` m that an error (..., J) m passes as in ``pck_hits``; NaN where it is NaN.

    Its mean is the AUC. Of the default 31 the first, 0, is never passed, so that a perfect person has 30/31 (MPI-INF-3DHP's
    test_util). ``trapezoid``: the area under the curve of linear pieces over its width, in which the first and the last threshold
    weigh half (3DPW's challenge). Raises ValueError where the thresholds do not rise evenly.

    The threshold nearest to an error is told by a division, and by a comparison with it how many are passed: a tenth of the time of
    comparing with each.
    """
    errors, edges = np.ascontiguousarray(errors, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    step = (edges[-1] - edges[0]) / (len(edges) - 1) if len(edges) > 1 else 0.0
    if not (step > 0 and np.abs(np.diff(edges) - step).max() < 1e-6 * step):
        raise ValueError(f"thresholds: expected at least two that rise in equal steps, but got {list(thresholds)}.")
    passed = np.arange(len(edges), -1.0, -1.0)  # by the number of thresholds that are not
    if trapezoid:
        passed = passed - (passed == len(edges)) / 2 - (passed > 0) / 2
    scores = passed / (len(edges) - trapezoid)
    fails, flat, answer = np.greater if at_most else np.greater_equal, errors.ravel(), np.empty(errors.size)
    for rows in (slice(start, start + _CACHEFUL) for start in range(0, len(flat), _CACHEFUL)):
        some = flat[rows]
        place = np.fmin(some, edges[-1])
        place -= edges[0]
        place *= 1 / step
        place += 0.5
        nearest = np.maximum(place, 0.0, out=place).astype(np.intp)
        nearest += fails(some, edges.take(nearest))
        scores.take(nearest, out=answer[rows], mode="clip")
        np.copyto(answer[rows], np.nan, where=np.isnan(some))
    return answer.reshape(errors.shape)


def joint_groups(columns: Sequence[str]) -> dict[str, list[int]]:
    """{group: places of its joints in ``columns``}: left and right under one name, in order of the first one.

    Of the 14 joints that MPI-INF-3DHP's evaluator counts these are its groups: head_top, neck, shoulder, elbow, wrist, hip, knee, ankle.
    """
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(columns):
        groups.setdefault(name.removeprefix("left_").removeprefix("right_"), []).append(place)
    return groups
