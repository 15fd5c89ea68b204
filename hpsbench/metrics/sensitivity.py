"""What an error field says: maps over positions, breakdowns by joint, the hidden and visible split, worst cases, break points.

Everywhere ``errors`` (N, P, J) are those of N people, P positions of an occluder and J joints, and ``clean`` (N, J) those of the same
people unoccluded, in one unit (fields of hpsbench: mm), which the answers have too. NaN: not measured; it enters no mean. A field that
is larger than memory is taken in parts: what comes back with a person axis is joined, and every ``Mean`` is added up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# PARE's classes of joints: left and right together, neck and the top of the head as one.
# Source: PARE (Kocabas et al., ICCV 2021), the per-joint breakdown of its occlusion analysis.
CLASSES = {
    "ankle": ("right_ankle", "left_ankle"),
    "knee": ("right_knee", "left_knee"),
    "hip": ("right_hip", "left_hip"),
    "wrist": ("right_wrist", "left_wrist"),
    "elbow": ("right_elbow", "left_elbow"),
    "shoulder": ("right_shoulder", "left_shoulder"),
    "head": ("neck", "head", "head_top"),
}
TAIL = 0.05
FACTOR = 2.0
# Bins of coverage: none of the person's box at all, then 2.5 % of it each, the upper edge included.
COVERAGE_EDGES = tuple(k / 40 for k in range(41))


@dataclass(frozen=True)
class Mean:
    """Sums and the number of values in each, of equal shapes; the parts of a field add up."""

    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def over(cls, values: np.ndarray, axis: int | tuple[int, ...], where: np.ndarray | None = None) -> "Mean":
        """Over an axis of ``values``, of what is not NaN and, broadcast, ``where``."""
        measured = ~np.isnan(values) if where is None else ~np.isnan(values) & where
        return cls(np.where(measured, values, 0.0).sum(axis), measured.sum(axis))

    @property
    def values(self) -> np.ndarray:
        """The means; NaN where nothing was measured."""
        return np.divide(self.sums, self.counts, out=np.full(np.shape(self.sums), np.nan), where=self.counts > 0)

    def __add__(self, other: "Mean") -> "Mean":
        return Mean(self.sums + other.sums, self.counts + other.counts)


def excess(errors: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """By how much (N, P, J) the occluder raises each error over that of the same joint unoccluded; below 0: it helps."""
    return errors - clean[:, None, :]


def over_joints(errors: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """The mean over joints (..., J), of those ``where``; NaN where none is measured."""
    return Mean.over(errors, -1, where).values


def position_map(errors: np.ndarray) -> Mean:
    """PARE's map (P, J): the mean over people at each position; beside the J joints any further columns, as ``over_joints``.

    It belongs at the patch's centre. Source: PARE, figure 1.
    """
    return Mean.over(errors, 0)


@dataclass(frozen=True)
class BodyGrid:
    """Cells over the person's box and ``margin`` of its sides beyond each edge: ``rows`` by ``columns`` of them."""

    rows: int = 72
    columns: int = 72
    margin: float = 0.25

    def edges(self, number: int) -> np.ndarray:
        """The borders (number + 1,) of as many cells in box sides: 0 is the box's left or upper edge, 1 the other one."""
        return np.linspace(-self.margin, 1 + self.margin, number + 1)


def body_map(errors: np.ndarray, boxes: np.ndarray, person_boxes: np.ndarray, grid: BodyGrid) -> Mean:
    """The map (rows, columns, J) aligned by the person's box: in a cell the mean over the patches that cover its middle.

    ``boxes`` (P, 4) are the patches, cut to the crop, and ``person_boxes`` (N, 4) the people, xyxy px of the crop. Width goes to width
    and height to height, and every patch lies where it lay on the person: nothing is enlarged to fill the picture. A person without a
    box of an area, and a patch without a place (NaN), enter nowhere.
    """
    rows = _cells(boxes[:, (1, 3)], person_boxes[:, (1, 3)], grid.rows, grid.margin)  # N P 2
    columns = _cells(boxes[:, (0, 2)], person_boxes[:, (0, 2)], grid.columns, grid.margin)
    measured = ~np.isnan(errors)
    sums = _splat(np.where(measured, errors, 0.0), rows, columns, grid)
    return Mean(sums, np.rint(_splat(measured.astype(np.float64), rows, columns, grid)).astype(np.int64))


def _cells(spans: np.ndarray, people: np.ndarray, number: int, margin: float) -> np.ndarray:
    """The cells (N, P, 2), first and one past the last, whose middles spans (P, 2) px hold, of people with extents (N, 2) px."""
    start, length = people[:, None, :1], (people[:, 1] - people[:, 0])[:, None, None]
    known = (length > 0) & np.isfinite(spans)[None] & np.isfinite(start)
    share = np.divide(spans[None] - start, length, out=np.zeros((len(people), *spans.shape)), where=known)  # N P 2
    first = np.ceil((share + margin) / (1 + 2 * margin) * number - 0.5)
    return np.where(known.all(-1, keepdims=True), np.clip(first, 0, number), 0).astype(np.int64)


def _splat(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, grid: BodyGrid) -> np.ndarray:
    """Each value (N, P, J) added to all cells (R, C, J) of its rectangle: at its four corners, then summed up along rows and columns."""
    joints, width = values.shape[-1], grid.columns + 1
    flat = values.reshape(-1, joints)
    corners = np.zeros(((grid.rows + 1) * width, joints))
    for row, column, sign in ((0, 0, 1), (0, 1, -1), (1, 0, -1), (1, 1, 1)):
        place = (rows[..., row] * width + columns[..., column]).ravel()
        for joint in range(joints):
            corners[:, joint] += sign * np.bincount(place, flat[:, joint], minlength=len(corners))
    return corners.reshape(grid.rows + 1, width, joints).cumsum(0).cumsum(1)[:-1, :-1]


def joint_means(errors: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Each person's mean (N, J) over positions, of those ``where`` (N, P)."""
    return Mean.over(errors, 1, None if where is None else where[..., None]).values


def joint_maxima(errors: np.ndarray) -> np.ndarray:
    """Each person's largest error (N, J) over positions."""
    return _largest(errors, 1)


def class_means(by_joint: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The mean (N, 7) over the joints of each of ``CLASSES`` of values (N, J) of the joints ``names``; NaN for a class without any."""
    places = [[k for k, name in enumerate(names) if name in members] for members in CLASSES.values()]
    return np.stack([Mean.over(by_joint[:, some], 1).values for some in places], axis=1)


@dataclass(frozen=True)
class Split:
    """Each person's mean (N,) over pairs of a position and a joint, by what the patch did to the joint.

    ``hidden``: the errors of joints under the patch; ``visible``: of joints that are neither under it nor outside the crop;
    ``hidden_excess`` and ``spill_over``: what they are above the clean errors of the same joints. The spill-over is the damage that an
    occluder does to joints it does not touch.
    """

    hidden: Mean
    visible: Mean
    hidden_excess: Mean
    spill_over: Mean


def split(errors: np.ndarray, clean: np.ndarray, hidden: np.ndarray, outside: np.ndarray) -> Split:
    """The split of ``errors``; ``hidden`` (N, P, J) bool: joints under the patch, ``outside`` (N, J) bool: outside the crop anyway.

    A joint outside is in neither part.
    """
    inside = ~outside[:, None, :]
    under, seen, above = hidden & inside, ~hidden & inside, excess(errors, clean)
    parts = ((errors, under), (errors, seen), (above, under), (above, seen))
    return Split(*(Mean.over(values, (1, 2), where) for values, where in parts))


def worst(errors: np.ndarray) -> np.ndarray:
    """AdvOcc: each person's largest error (N,) over positions, of errors (N, P) that are means over joints.

    Source: 3DNBF (Zhang et al., ICCV 2023), which takes the visible joints alone.
    """
    return _largest(errors, 1)


def _largest(values: np.ndarray, axis: int) -> np.ndarray:
    """The maximum over an axis of what is not NaN; NaN of nothing."""
    most = np.where(np.isnan(values), -np.inf, values).max(axis, initial=-np.inf)
    return np.where(np.isneginf(most), np.nan, most)


def tail_mean(errors: np.ndarray, share: float = TAIL, *, possible: np.ndarray | None = None) -> np.ndarray:
    """CVaR: each person's mean (N,) over the worst ``share`` of positions, ceil(share x number) of them, of errors (N, P).

    ``possible`` (N,): of how many positions the share is taken where not all were visited (default: as many as are measured); if the
    worst ones are among those visited it is exact, and else too small. NaN where nothing is measured.
    """
    measured = ~np.isnan(errors)
    number = measured.sum(1) if possible is None else possible
    taken = np.minimum(np.ceil(share * number - 1e-9).astype(np.int64), measured.sum(1))
    ordered = -np.sort(np.where(measured, -errors, np.inf), axis=1)  # largest first, -inf last
    in_tail = np.arange(errors.shape[1]) < taken[:, None]
    return Mean.over(np.where(in_tail, ordered, np.nan), 1).values


def break_points(errors: np.ndarray, clean: np.ndarray, coverage: np.ndarray, factor: float = FACTOR) -> tuple[np.ndarray, np.ndarray]:
    """(points, known), both (N,): the smallest coverage at which a person's error is ``factor`` times the clean one or more.

    ``errors`` (N, P) and ``clean`` (N,) are means over the same joints, ``coverage`` (N, P) shares of the person's box. NaN for those
    whose error never gets there; ``known``: whose clean error and any occluded one are measured. Known and NaN: never.
    """
    measured = ~np.isnan(errors) & ~np.isnan(coverage) & ~np.isnan(clean)[:, None]
    broken = measured & (np.where(measured, errors, 0.0) >= factor * np.where(np.isnan(clean), 0.0, clean)[:, None])
    first = np.where(broken, coverage, np.inf).min(axis=1, initial=np.inf)
    return np.where(np.isinf(first), np.nan, first), measured.any(1)


@dataclass(frozen=True)
class Curve:
    """The error by coverage, in bins (B,) of pairs of a person and a position: their errors, clean errors and coverages."""

    error: Mean
    clean: Mean
    coverage: Mean

    def __add__(self, other: "Curve") -> "Curve":
        return Curve(self.error + other.error, self.clean + other.clean, self.coverage + other.coverage)

    def break_point(self, factor: float = FACTOR) -> float:
        """The mean coverage of the first bin whose mean error is ``factor`` times the mean clean error of its pairs; NaN: none."""
        error, clean, coverage = self.error.values, self.clean.values, self.coverage.values
        filled = self.error.counts > 0
        broken = filled & (np.where(filled, error, 0.0) >= factor * np.where(filled, clean, 0.0))
        return float(coverage[broken.argmax()]) if broken.any() else float("nan")


def coverage_curve(errors: np.ndarray, clean: np.ndarray, coverage: np.ndarray, edges: Sequence[float] = COVERAGE_EDGES) -> Curve:
    """The curve of errors (N, P) by ``coverage`` (N, P), ``clean`` (N,): bin 0 at most ``edges[0]``, bin k above edge k-1 up to edge k.

    A pair enters where all three are measured. Raises ValueError for coverage above the last edge.
    """
    measured = ~np.isnan(errors) & ~np.isnan(coverage) & ~np.isnan(clean)[:, None]
    shares = coverage[measured]
    if shares.size and shares.max() > edges[-1] + 1e-6:
        raise ValueError(f"coverage: expected shares of at most {edges[-1]:g}, but got {shares.max():g}. Give edges that reach so far.")
    place = np.minimum(np.searchsorted(edges, shares - 1e-7, side="left"), len(edges) - 1)
    counts = np.bincount(place, minlength=len(edges))
    pairs = errors[measured], np.broadcast_to(clean[:, None], errors.shape)[measured], shares
    return Curve(*(Mean(np.bincount(place, values, minlength=len(edges)), counts) for values in pairs))
