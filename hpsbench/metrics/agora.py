"""AGORA's scores: who was found, and how far off those are who were; as its evaluator has them, and without its faults.

The evaluator's faults, each kept by ``literal=True`` and left out by ``literal=False``:

1. Matching stops early: each pair with too little overlap counts against the number of predictions still to be placed, also where its
   prediction was placed long ago. A person can so be missed, and the prediction of them be a false positive.
2. A prediction of a person who is not evaluated (too occluded) is a false positive. Without: it is left out.
3. The means of hands and face have a 0 for every missed person.
4. Precision, recall, F1 (two digits), MPJPE and MVE (one) are rounded before they are divided by one another.
5. The scores of kids have the false positives of everybody. Without: no prediction is known to be of a kid, so there is no precision.

Source: Patel et al. 2021 and AGORA's evaluation code, of which nothing is copied.
"""

from collections.abc import Mapping, Sequence
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


def only_bfh(images: Sequence[AgoraImage]) -> list[AgoraImage]:
    """The images whose scans were fitted with hands and face, by name: those that AGORA scores SMPL-X on."""
    return [image for image in images if "bfh" in image.name or "smplx" in image.name]


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

    Distance: the norm of the difference of the first 24 joints as one vector; boxes: about all the joints. ``evaluated`` (G,) bool.
    """
    found, absorbed = (_literal_pairs if literal else _plain_pairs)(pred_joints2d, gt_joints2d, evaluated)
    predictions, people = {p for p, _ in found}, {g for _, g in found}
    misses = tuple(g for g in range(len(gt_joints2d)) if evaluated[g] and g not in people)
    return Matching(tuple(found), misses, tuple(p for p in range(len(pred_joints2d)) if p not in predictions | absorbed))


def _nearest_first(pred: np.ndarray, gt: np.ndarray) -> list[tuple[int, int]]:
    if not (len(pred) and len(gt)):
        return []
    difference = pred[:, None, :MATCHED_JOINTS] - gt[None, :, :MATCHED_JOINTS]
    distances = np.linalg.norm(difference.reshape(len(pred), len(gt), -1), axis=-1)
    return [divmod(int(i), len(gt)) for i in np.argsort(distances, axis=None, kind="stable")]


def _literal_pairs(pred: np.ndarray, gt: np.ndarray, evaluated: np.ndarray) -> tuple[list[tuple[int, int]], set[int]]:
    pairs: list[tuple[int, int]] = []
    placed, taken, refused = set(), set(), 0
    for p, g in _nearest_first(pred, gt):
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
    for p, g in _nearest_first(pred, gt):
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
    """The unreduced table: one row per evaluated person, one column per part; metres, NaN for a missed person.

    ``joints`` and ``vertices`` (N, parts): the mean over the part's joints, over its vertices; ``missed``, ``kid`` (N,) bool;
    ``occlusion`` (N,) percent; ``false_positives``: predictions of nobody, over all images.
    """

    parts: tuple[str, ...]
    joints: np.ndarray
    vertices: np.ndarray
    missed: np.ndarray
    kid: np.ndarray
    occlusion: np.ndarray
    false_positives: int


def agora_errors(images: Sequence[AgoraImage], parts: Sequence[Part], *, literal: bool) -> AgoraErrors:
    """The errors of every evaluated person of ``images``, in their order."""
    joints, vertices, kid, occlusion, extra = [], [], [], [], 0
    for image in images:
        matching = match_people(image.pred_joints2d, image.gt_joints2d, image.evaluated, literal=literal)
        of = {g: p for p, g in matching.pairs}
        extra += len(matching.false_positives)
        for g in np.flatnonzero(image.evaluated):
            rows = [_part_errors(image, part, of.get(int(g)), int(g)) for part in parts]
            joints.append([row[0] for row in rows])
            vertices.append([row[1] for row in rows])
            kid.append(bool(image.kid[g]))
            occlusion.append(float(image.occlusion[g]))
    shape = (len(kid), len(parts))
    table = np.array(joints, dtype=np.float64).reshape(shape)
    return AgoraErrors(
        parts=tuple(part.name for part in parts),
        joints=table,
        vertices=np.array(vertices, dtype=np.float64).reshape(shape),
        missed=np.isnan(table).all(axis=1),
        kid=np.array(kid, dtype=bool),
        occlusion=np.array(occlusion, dtype=np.float64),
        false_positives=extra,
    )


def _part_errors(image: AgoraImage, part: Part, p: int | None, g: int) -> tuple[float, float]:
    """(mean joint error, mean vertex error) m of a part, both sides relative to their own root; NaN for a missed person."""
    if p is None:
        return np.nan, np.nan
    roots = [joints[list(part.root)].mean(0) for joints in (image.pred_joints[p], image.gt_joints[g])]
    pairs = ((image.pred_joints[p], image.gt_joints[g], list(part.joints)), (image.pred_vertices[p], image.gt_vertices[g], part.vertices))
    answers = []
    for pred, gt, chosen in pairs:
        pred, gt = (points if chosen is None else points[chosen] for points in (pred, gt))
        answers.append(float(np.linalg.norm((pred - roots[0]) - (gt - roots[1]), axis=-1).mean()))
    return answers[0], answers[1]


@dataclass(frozen=True)
class AgoraScores:
    """The scores of a group of people. Errors in mm by part; "full_body" is body + (left hand + right hand + face) / 3.

    ``false_positives`` is None, and precision, F1 and the normalised errors NaN, where no prediction can be told to be of the
    group. A mean over nobody is NaN.
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


def agora_scores(errors: AgoraErrors, *, literal: bool) -> dict[str, AgoraScores]:
    """Scores of "all", "kid" and each occlusion bin of ten percent, "occlusion-0-10" to "occlusion-80-90" (90 itself in the last).

    NMJE = MPJPE / F1 and NMVE = MVE / F1 for the body and the full body.
    """
    everybody = np.ones(len(errors.missed), dtype=bool)
    groups = {
        "all": _scores(errors, everybody, errors.false_positives, literal),
        "kid": _scores(errors, errors.kid, errors.false_positives if literal else None, literal),
    }
    for low in range(0, 90, 10):
        inside = (errors.occlusion >= low) & ((errors.occlusion < low + 10) | (low == 80))
        groups[f"occlusion-{low}-{low + 10}"] = _scores(errors, inside, None, literal)
    return groups


def _scores(errors: AgoraErrors, group: np.ndarray, extra: int | None, literal: bool) -> AgoraScores:
    people, misses = int(group.sum()), int((group & errors.missed).sum())
    right = people - misses
    precision = np.nan if extra is None else _ratio(right, right + extra)
    f1 = np.nan if extra is None else _ratio(2 * right, 2 * right + extra + misses)
    precision, recall, f1 = (_rounded(value, 2, literal) for value in (precision, _ratio(right, people), f1))
    mpjpe, mve = (
        {name: _rounded(value, 1, literal) for name, value in _means(errors, table[group], literal).items()}
        for table in (errors.joints, errors.vertices)
    )
    whole = [name for name in ("body", "full_body") if name in mpjpe]
    nmje, nmve = ({name: _ratio(means[name], f1) for name in whole} for means in (mpjpe, mve))
    return AgoraScores(people, misses, extra, precision, recall, f1, mpjpe, mve, nmje, nmve)


def _means(errors: AgoraErrors, table: np.ndarray, literal: bool) -> dict[str, float]:
    """{part: mean mm} over the people found; literally, a missed person's hands and face count as 0."""
    means = {}
    for name, column in zip(errors.parts, table.T, strict=True):
        column = np.nan_to_num(column) if literal and name != "body" else column[~np.isnan(column)]
        means[name] = _MM * float(column.mean()) if len(column) else np.nan
    if "face" in means:
        means["full_body"] = means["body"] + (means["left_hand"] + means["right_hand"] + means["face"]) / 3
    return means


def _ratio(over: float, under: float) -> float:
    return over / under if under else np.nan


def _rounded(value: float, digits: int, literal: bool) -> float:
    return round(value, digits) if literal else value
