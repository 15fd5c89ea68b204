"""AGORA's scores: who was found, and how far off those are who were; as its evaluator has them, and without its faults.

The evaluator's faults, each kept by ``literal=True`` and left out by ``literal=False``:

1. Matching stops early: each pair with too little overlap counts against the number of predictions still to be placed, also where its
   prediction was placed long ago. A person can so be missed, and the prediction of them be a false positive.
2. Pairs are ordered by the largest singular value of the (24, 2) differences of their joints, not by its Euclidean norm.
3. A prediction of a person who is not evaluated (too occluded) is a false positive. Without: it is left out.
4. The means of hands and face have a 0 for every missed person of an image that has predictions.
5. Precision, recall, F1 (two digits), MPJPE and MVE (one) are rounded before they are divided by one another, and so are the quotients.
6. The scores of kids have the false positives of everybody. Without: no prediction is known to be of a kid, so there is no precision.
   The full body's normalised errors of kids are divided by everybody's F1.
7. Bins of occlusion hold their upper border and not their lower one. In a bin NMJE and NMVE are divided by the recall, and nothing is
   rounded. The evaluator's bins end at 80 %; the last one, 80 to 90, is ours. Without: a bin holds its lower border, and has no
   normalised errors, since no false positive is known to belong to it.

Source: Patel et al. 2021 and AGORA's evaluation code, of which nothing is copied.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hpsbench.errors import PredictionError

MATCHED_JOINTS = 24
SMALLEST_IOU = 0.1
HIGHEST_OCCLUSION = 90.0
_MM = 1000.0


@dataclass(frozen=True)
class AgoraImage:
    """One image: P predictions and G people, in the same pixels and the same frame.

    2D joints (P or G, J, 2) px with at least 24 joints, 3D joints (P or G, J, 3) m and vertices (P or G, V, 3) m, in SMPL's or
    SMPL-X's order; ``occlusion`` (G,) percent; ``valid`` (G,) bool: the annotation's isValid; ``kid`` (G,) bool.
    """

    name: str
    pred_joints2d: np.ndarray
    pred_joints: np.ndarray
    pred_vertices: np.ndarray
    gt_joints2d: np.ndarray
    gt_joints: np.ndarray
    gt_vertices: np.ndarray
    occlusion: np.ndarray
    valid: np.ndarray
    kid: np.ndarray

    def __post_init__(self):
        for side, names in (("pred", ("joints2d", "joints", "vertices")), ("gt", ("joints2d", "joints", "vertices"))):
            counts = {len(getattr(self, f"{side}_{name}")) for name in names}
            if len(counts) > 1:
                raise PredictionError(
                    f"AGORA image {self.name}: {side} joints2d, joints and vertices are of {counts} people, expected one number."
                )
        for name in ("joints2d", "joints", "vertices"):
            array = getattr(self, f"pred_{name}")
            if len(array) and name == "joints2d" and array.shape[1] < MATCHED_JOINTS:
                raise PredictionError(
                    f"AGORA image {self.name}: predictions with {array.shape[1]} 2D joints, expected {MATCHED_JOINTS} or more."
                )
            if not np.isfinite(array).all():
                raise PredictionError(f"AGORA image {self.name}: predicted {name} hold NaN or infinity. Leave out the people who failed.")
        sizes = self.pred_vertices.shape[1], self.gt_vertices.shape[1]
        if len(self.pred_vertices) and len(self.gt_vertices) and sizes[0] != sizes[1]:
            raise PredictionError(
                f"AGORA image {self.name}: predicted meshes of {sizes[0]} vertices, expected the {sizes[1]} of the annotated ones. "
                "Write meshes of that body."
            )

    @property
    def evaluated(self) -> np.ndarray:
        """(G,) bool: isValid and 0 <= occlusion <= 90."""
        return np.asarray(self.valid, dtype=bool) & (self.occlusion >= 0) & (self.occlusion <= HIGHEST_OCCLUSION)


@dataclass(frozen=True)
class Part:
    """What an error is measured on: ``joints`` and, of the mesh, ``vertices`` (None: all), both relative to the mean of ``root``."""

    name: str
    joints: tuple[int, ...]
    root: tuple[int, ...]
    vertices: np.ndarray | None = None


def parts_of(model: str, vertex_ids: Mapping[str, np.ndarray] | None = None) -> tuple[Part, ...]:
    """The parts of "smpl" (body) or "smplx" (body, left_hand, right_hand, face), with the vertices that ``vertex_ids`` gives by part.

    The body's root is the middle of the hips; its vertices are the 4,010 of AGORA's body_verts_*.npy. A hand is its wrist and 15
    joints, the face the neck and 51 landmarks: the root itself is among the joints, with no error.
    """
    ids = vertex_ids or {}
    if model == "smpl":
        return (Part("body", tuple(range(24)), (1, 2), ids.get("body")),)
    if model != "smplx":
        raise ValueError(f"parts_of: expected the model 'smpl' or 'smplx', but got '{model}'")
    return (
        Part("body", tuple(range(22)), (1, 2), ids.get("body")),
        Part("left_hand", (20, *range(25, 40)), (20,), ids.get("left_hand")),
        Part("right_hand", (21, *range(40, 55)), (21,), ids.get("right_hand")),
        Part("face", (12, *range(76, 127)), (12,), ids.get("face")),
    )


@dataclass(frozen=True)
class Matching:
    """``pairs`` (prediction, person); ``misses``: evaluated people without a prediction; ``false_positives``: predictions of nobody."""

    pairs: tuple[tuple[int, int], ...]
    misses: tuple[int, ...]
    false_positives: tuple[int, ...]


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of the boxes about points (J, 2) and (K, 2), borders counted as whole pixels (size = high - low + 1)."""
    low, high = np.maximum(a.min(0), b.min(0)), np.minimum(a.max(0), b.max(0))
    common = np.prod(np.maximum(high - low + 1, 0))
    areas = [np.prod(points.max(0) - points.min(0) + 1) for points in (a, b)]
    return float(common / (sum(areas) - common))


def match_people(pred_joints2d: np.ndarray, gt_joints2d: np.ndarray, evaluated: np.ndarray, *, literal: bool) -> Matching:
    """Who is whom: pairs of (P, J, 2) and (G, K, 2) px from the nearest on, each side once, with boxes that overlap by 0.1 or more.

    Distance: the norm of the (24, 2) differences of the first 24 joints, ``literal`` the spectral, else the Euclidean one; boxes: about
    all the joints. ``evaluated`` (G,) bool.
    """
    found, absorbed = (_literal_pairs if literal else _plain_pairs)(np.asarray(pred_joints2d), np.asarray(gt_joints2d), evaluated)
    predictions, people = {p for p, _ in found}, {g for _, g in found}
    misses = tuple(g for g in range(len(gt_joints2d)) if evaluated[g] and g not in people)
    return Matching(tuple(found), misses, tuple(p for p in range(len(pred_joints2d)) if p not in predictions | absorbed))


def _nearest_first(pred: np.ndarray, gt: np.ndarray, norm: int | str) -> list[tuple[int, int]]:
    """The pairs (prediction, person) by a matrix norm of the differences of their joints, the nearest first."""
    if not (len(pred) and len(gt)):
        return []
    distances = np.linalg.norm(pred[:, None, :MATCHED_JOINTS] - gt[None, :, :MATCHED_JOINTS], ord=norm, axis=(-2, -1))
    return [divmod(int(i), len(gt)) for i in np.argsort(distances, axis=None, kind="stable")]


def _literal_pairs(pred: np.ndarray, gt: np.ndarray, evaluated: np.ndarray) -> tuple[list[tuple[int, int]], set[int]]:
    pairs: list[tuple[int, int]] = []
    placed, taken, refused = set(), set(), 0
    for p, g in _nearest_first(pred, gt, 2):
        if len(taken) == len(gt) or len(placed) + refused >= len(pred):
            break
        overlaps = box_iou(pred[p], gt[g]) >= SMALLEST_IOU
        refused += not overlaps
        if not evaluated[g]:
            taken.add(g)
        elif overlaps and p not in placed and g not in taken:
            pairs.append((p, g))
            placed.add(p)
            taken.add(g)
    return pairs, set()


def _plain_pairs(pred: np.ndarray, gt: np.ndarray, evaluated: np.ndarray) -> tuple[list[tuple[int, int]], set[int]]:
    pairs: list[tuple[int, int]] = []
    placed, taken, absorbed = set(), set(), set()
    for p, g in _nearest_first(pred, gt, "fro"):
        if p in placed or g in taken or box_iou(pred[p], gt[g]) < SMALLEST_IOU:
            continue
        placed.add(p)
        taken.add(g)
        if evaluated[g]:
            pairs.append((p, g))
        else:
            absorbed.add(p)
    return pairs, absorbed


@dataclass(frozen=True)
class AgoraErrors:
    """The unreduced table: one row per evaluated person; metres by part, NaN for a missed person.

    ``people``: (image, place in it). ``joints`` {part: (N, J)} errors of the part's joints; ``vertices`` {part: (N,)} the mean over its
    vertices. ``missed``, ``unanswered`` (in an image without any prediction) and ``kid`` (N,) bool; ``occlusion`` (N,) percent;
    ``false_positives``: predictions of nobody, over all images.
    """

    people: tuple[tuple[str, int], ...]
    joints: Mapping[str, np.ndarray]
    vertices: Mapping[str, np.ndarray]
    missed: np.ndarray
    unanswered: np.ndarray
    kid: np.ndarray
    occlusion: np.ndarray
    false_positives: int


def agora_errors(images: Iterable[AgoraImage], parts: Sequence[Part], *, literal: bool) -> AgoraErrors:
    """The errors of every evaluated person of ``images``, in their order; of the images one is held at a time."""
    people, rows, unanswered, kid, occlusion, extra = [], [], [], [], [], 0
    for image in images:
        matching = match_people(image.pred_joints2d, image.gt_joints2d, image.evaluated, literal=literal)
        of = {g: p for p, g in matching.pairs}
        extra += len(matching.false_positives)
        for g in map(int, np.flatnonzero(image.evaluated)):
            people.append((image.name, g))
            rows.append([_of_pair(image, part, of.get(g), g) for part in parts])
            unanswered.append(not len(image.pred_joints2d))
            kid.append(bool(image.kid[g]))
            occlusion.append(float(image.occlusion[g]))
    joints = {part.name: np.array([row[k][0] for row in rows]).reshape(-1, len(part.joints)) for k, part in enumerate(parts)}
    return AgoraErrors(
        people=tuple(people),
        joints=joints,
        vertices={part.name: np.array([row[k][1] for row in rows], dtype=np.float64) for k, part in enumerate(parts)},
        missed=np.isnan(joints[parts[0].name]).all(axis=1),
        unanswered=np.array(unanswered, dtype=bool),
        kid=np.array(kid, dtype=bool),
        occlusion=np.array(occlusion, dtype=np.float64),
        false_positives=extra,
    )


def _of_pair(image: AgoraImage, part: Part, p: int | None, g: int) -> tuple[np.ndarray, float]:
    if p is None:
        return np.full(len(part.joints), np.nan), np.nan
    return part_errors(part, image.pred_joints[p], image.pred_vertices[p], image.gt_joints[g], image.gt_vertices[g])


def part_errors(
    part: Part, pred_joints: np.ndarray, pred_vertices: np.ndarray | None, gt_joints: np.ndarray, gt_vertices: np.ndarray
) -> tuple[np.ndarray, float]:
    """(errors (J,) of the part's joints, mean error of its vertices) m of one person, both sides relative to their own root.

    Joints (at least those of the part and its root, 3) and vertices (V, 3) m; NaN for vertices that are None.
    """
    pred_root, gt_root = (joints[list(part.root)].mean(0) for joints in (pred_joints, gt_joints))
    chosen = list(part.joints)
    joints = np.linalg.norm((pred_joints[chosen] - pred_root) - (gt_joints[chosen] - gt_root), axis=-1)
    if pred_vertices is None:
        return joints, np.nan
    pred, gt = (side if part.vertices is None else side[part.vertices] for side in (pred_vertices, gt_vertices))
    return joints, float(np.linalg.norm((pred - pred_root) - (gt - gt_root), axis=-1).mean())


@dataclass(frozen=True)
class AgoraScores:
    """The scores of a group of people. Errors in mm by part; "full_body" is body + (left hand + right hand + face) / 3.

    ``false_positives`` is None, and precision and F1 NaN, where no prediction can be told to be of the group. A mean over nobody is
    NaN. ``inside`` (N,) bool: who belongs to the group.
    """

    people: int
    misses: int
    false_positives: int | None
    precision: float
    recall: float
    f1: float
    mpjpe_mm: Mapping[str, float] = field(default_factory=dict)
    mve_mm: Mapping[str, float] = field(default_factory=dict)
    nmje_mm: Mapping[str, float] = field(default_factory=dict)
    nmve_mm: Mapping[str, float] = field(default_factory=dict)
    inside: np.ndarray | None = field(default=None, compare=False, repr=False)


def agora_scores(errors: AgoraErrors, *, literal: bool) -> dict[str, AgoraScores]:
    """Scores of "all", "kid" and each occlusion bin of ten percent, "occlusion-0-10" to "occlusion-80-90" (90 itself in the last).

    NMJE = MPJPE / F1 and NMVE = MVE / F1 for the body and the full body.
    """
    everybody = np.ones(len(errors.missed), dtype=bool)
    whole = _scores(errors, everybody, errors.false_positives, literal)
    extra_of_kids = errors.false_positives if literal and errors.kid.any() else None
    groups = {"all": whole, "kid": _scores(errors, errors.kid, extra_of_kids, literal, whole.f1)}
    for low in range(0, 90, 10):
        groups[f"occlusion-{low}-{low + 10}"] = _scores(errors, _in_bin(errors.occlusion, low, literal), None, literal)
    return groups


def _in_bin(occlusion: np.ndarray, low: int, literal: bool) -> np.ndarray:
    """Who is occluded by ``low`` to ``low`` + 10 percent: with the upper border (and 0 in the first), or with the lower one."""
    high = low + 10
    if literal:
        return (occlusion > (low or -1)) & (occlusion <= high)
    return (occlusion >= low) & ((occlusion < high) | (high == HIGHEST_OCCLUSION))


def _scores(errors: AgoraErrors, group: np.ndarray, extra: int | None, literal: bool, f1_of_all: float | None = None) -> AgoraScores:
    """The scores of ``group`` (N,) bool with ``extra`` false positives; None: they are not known, as of a bin."""
    people, misses = int(group.sum()), int((group & errors.missed).sum())
    right, rounds = people - misses, literal and extra is not None
    precision = np.nan if extra is None else _ratio(right, right + extra)
    f1 = np.nan if extra is None else _ratio(2 * right, 2 * right + extra + misses)
    recall = _ratio(right, people)
    if rounds:
        precision, recall, f1 = (round(value, 2) for value in (precision, recall, f1))
    mpjpe, mve = (_means(errors, table, group, literal, rounds) for table in (errors.joints, errors.vertices))
    by = dict.fromkeys(("body", "full_body"), recall if literal and extra is None else f1)
    if literal and f1_of_all is not None:
        by["full_body"] = f1_of_all
    nmje, nmve = ({name: _rounded(_ratio(means[name], by[name]), rounds) for name in by if name in means} for means in (mpjpe, mve))
    return AgoraScores(people, misses, extra, precision, recall, f1, mpjpe, mve, nmje, nmve, group)


def _means(errors: AgoraErrors, table: Mapping[str, np.ndarray], group: np.ndarray, literal: bool, rounds: bool) -> dict[str, float]:
    """{part: mean mm} over the people found; literally, hands and face of the missed count as 0 where their image has predictions."""
    means = {}
    for name, values in table.items():
        each = _MM * (values if values.ndim == 1 else values.mean(axis=1))
        zeros = literal and name != "body"
        each = np.nan_to_num(each[group & ~errors.unanswered]) if zeros else each[group & ~np.isnan(each)]
        means[name] = _rounded(each.mean(), rounds) if len(each) else np.nan
    if "face" in means:
        means["full_body"] = _rounded(means["body"] + (means["left_hand"] + means["right_hand"] + means["face"]) / 3, rounds)
    return means


def _ratio(over: float, under: float) -> float:
    return over / under if under else np.nan


def _rounded(value: float, rounds: bool) -> float:
    """One digit, as numpy rounds: the evaluator's means are numpy's numbers, its ratios Python's."""
    return float(np.round(value, 1)) if rounds else float(value)
