"""The records that the rooms of hpsbench hand to one another: frozen, self-checking, and nothing else.

Metres, radians and pixels. Camera frame: x right, y down, z forward (OpenCV). Boxes are xyxy in pixels of the image that
they belong to, with pixel (0, 0) covering [0, 1) x [0, 1): the centre of the first pixel is at 0.5.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

Record = TypeVar("Record")


def _check_shape(name: str, array: Any, shape: tuple[int | None, ...]) -> None:
    if array is None:
        return
    found = tuple(array.shape)
    if len(found) != len(shape) or any(want not in (None, got) for want, got in zip(shape, found, strict=True)):
        raise ValueError(f"{name}: expected shape {shape}, but got {found}")


def unchecked(kind: type[Record], fields: dict[str, Any]) -> Record:
    """A record that holds ``fields``, every one of its kind, as they are, without its checks.

    For collections that have checked their columns as a whole (a row of each is one record) and make records by the hundred thousand;
    anybody else calls ``kind`` itself. ``fields`` becomes the record's own.
    """
    record = object.__new__(kind)
    object.__setattr__(record, "__dict__", fields)
    return record


@dataclass(frozen=True)
class View:
    """All that a model may see of one person.

    ``read`` gives the image (H, W, 3) RGB uint8 and, where ``reducible``, with ``reduction=2``, 4 or 8 that part of its size in less time
    (``image.decode_image``); ``image_key`` is equal for the people of one frame, so that it is decoded
    once. ``bbox_xyxy`` (4,) is the person's box. Where a truncation has fixed what may be seen, ``window_xyxy`` (4,) is
    that square: models then crop exactly it, and no box scale of theirs is applied.
    """

    read: Callable[..., np.ndarray]
    image_key: str
    bbox_xyxy: np.ndarray
    intrinsics: np.ndarray
    window_xyxy: np.ndarray | None = None
    reducible: bool = False

    def __post_init__(self):
        _check_shape("bbox_xyxy", self.bbox_xyxy, (4,))
        _check_shape("window_xyxy", self.window_xyxy, (4,))
        _check_shape("intrinsics", self.intrinsics, (3, 3))


@dataclass(frozen=True)
class Truth:
    """All that a metric may see of one person, in the camera frame.

    ``rotvecs`` (24, 3) relative rotations (joint 0: global orientation), ``betas`` (10,), ``trans`` (3,) m, ``gender``
    "neutral", "male" or "female"; ``joints`` (J, 3) m of skeleton ``skeleton``; ``joints2d`` (J, 2) px their projections;
    ``valid`` (J,) bool. ``keypoints2d`` (K, 3): x, y, confidence of the dataset's own 2D annotation of skeleton
    ``keypoints_skeleton``; an occluder may aim by it, a metric never reads it.
    """

    joints: np.ndarray
    skeleton: str
    joints2d: np.ndarray
    valid: np.ndarray
    rotvecs: np.ndarray | None = None
    betas: np.ndarray | None = None
    trans: np.ndarray | None = None
    gender: str = "neutral"
    keypoints2d: np.ndarray | None = None
    keypoints_skeleton: str | None = None

    def __post_init__(self):
        _check_shape("joints", self.joints, (None, 3))
        count = len(self.joints)
        _check_shape("joints2d", self.joints2d, (count, 2))
        _check_shape("valid", self.valid, (count,))
        _check_shape("rotvecs", self.rotvecs, (24, 3))
        _check_shape("betas", self.betas, (10,))
        _check_shape("trans", self.trans, (3,))
        _check_shape("keypoints2d", self.keypoints2d, (None, 3))
        if self.gender not in ("neutral", "male", "female"):
            raise ValueError(f"gender: expected neutral, male or female, but got '{self.gender}'")


@dataclass(frozen=True)
class Sample:
    """One person in one frame. ``id`` is stable text: dataset/split/sequence/frame/person, never a place in a list.

    ``image_size`` is (width, height) px; ``frame`` the number of the frame in its sequence; ``track`` names one person
    through one sequence (dataset/split/sequence/person).
    """

    id: str
    view: View
    truth: Truth
    sequence: str
    track: str
    frame: int
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Occlusion:
    """One drawn occluder: its kind, the space that its numbers live in ("image" or "crop") and its plain-JSON numbers."""

    kind: str
    space: str
    params: Mapping[str, Any]

    def __post_init__(self):
        if self.space not in ("image", "crop"):
            raise ValueError(f"space: expected 'image' or 'crop', but got '{self.space}'")


@dataclass(frozen=True)
class OcclusionPlan:
    """Everything that was drawn for one sample; pixels follow from it with no randomness left.

    ``case``: which of the protocol's ways of hiding people this is. ``skipped``: why this case is not possible for the sample; there is
    nothing to show then, and nothing to score.
    """

    sample_id: str
    protocol_id: str
    seed: int
    occlusions: tuple[Occlusion, ...]
    case: str = ""
    skipped: str = ""

    @property
    def view_id(self) -> str:
        """What the view that follows is called: the sample's id and, where the protocol has several, the case."""
        return view_id_of(self.sample_id, self.case)

    def to_json(self) -> str:
        """One line of plain JSON, the same bytes for the same plan."""
        return json.dumps(self.to_record(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    def to_record(self) -> dict[str, Any]:
        """What ``from_record`` takes: plain dicts, lists and numbers."""
        record = {key: value for key, value in (("case", self.case), ("skipped", self.skipped)) if value}
        return record | {
            "sample_id": self.sample_id,
            "protocol_id": self.protocol_id,
            "seed": self.seed,
            "occlusions": [{"kind": o.kind, "space": o.space, "params": dict(o.params)} for o in self.occlusions],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "OcclusionPlan":
        """The plan out of one parsed line; further keys (what was measured beside the plan) are left alone."""
        occlusions = tuple(Occlusion(o["kind"], o["space"], o["params"]) for o in record["occlusions"])
        return cls(
            record["sample_id"], record["protocol_id"], record["seed"], occlusions, record.get("case", ""), record.get("skipped", "")
        )


def view_id_of(sample_id: str, case: str) -> str:
    """What a sample under one case of a protocol is called."""
    return f"{sample_id}@{case}" if case else sample_id


@dataclass(frozen=True)
class Hidden:
    """What a plan hid of one person.

    ``occluded`` (J,) bool: joints of the truth's skeleton under an occluder; ``outside`` (J,) bool: joints outside the new
    view. ``coverage``: share of the window, of the person's box where there is no window, that occluders cover; ``coverage_canvas``: of
    the window, else the canvas, else the image; ``coverage_box``: of the person's box, hidden or outside the window; ``coverage_mask``: of
    the person's silhouette, likewise, None where none was given.
    """

    occluded: np.ndarray
    outside: np.ndarray
    coverage: float
    coverage_canvas: float
    coverage_box: float
    coverage_mask: float | None = None


@dataclass(frozen=True)
class CropSpec:
    """The crop that a model declares: ``side`` px, ``box_scale`` times the longer side of the box, zeros beyond the image."""

    side: int = 256
    box_scale: float = 1.25


@dataclass(frozen=True)
class ViewBatch:
    """A batch as a model gets it: ids, crops and cameras, on the model's device.

    ``crops`` (B, 3, S, S) uint8 RGB, None for a model without a CropSpec; ``squares_xyxy`` (B, 4) float32: the square of
    the image that each crop shows; ``intrinsics`` (B, 3, 3) float32 px of that image.
    """

    ids: tuple[str, ...]
    crops: Tensor | None
    squares_xyxy: Tensor
    intrinsics: Tensor

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Prediction:
    """What a model answers for a batch; None means "this model does not give it".

    ``joints`` (B, J, 3) m of ``skeleton``; ``rotmats`` (B, 24, 3, 3) relative and ``betas`` (B, 10) of the neutral body;
    ``vertices`` (B, V, 3) m at translation 0, scored as they are; ``trans`` (B, 3) m in the camera frame; ``confidence`` (B, J) of
    the model's own joints, higher is surer; ``failed`` (B,) bool: no answer for this person.
    """

    failed: Tensor
    joints: Tensor | None = None
    skeleton: str | None = None
    rotmats: Tensor | None = None
    betas: Tensor | None = None
    vertices: Tensor | None = None
    trans: Tensor | None = None
    confidence: Tensor | None = None

    def __post_init__(self):
        count = len(self.failed)
        _check_shape("joints", self.joints, (count, None, 3))
        _check_shape("rotmats", self.rotmats, (count, 24, 3, 3))
        _check_shape("betas", self.betas, (count, 10))
        _check_shape("vertices", self.vertices, (count, None, 3))
        _check_shape("trans", self.trans, (count, 3))
        if (self.joints is None) != (self.skeleton is None):
            raise ValueError("joints and skeleton: give both or neither")
        if (self.rotmats is None) != (self.betas is None):
            raise ValueError("rotmats and betas: give both or neither")
        if self.joints is None and self.rotmats is None and self.vertices is None:
            raise ValueError("a Prediction needs joints, vertices, or rotmats and betas")


@dataclass(frozen=True)
class Card:
    """Where a model, dataset, occluder set or body comes from, and under which terms.

    ``revision`` is a version or sha256. ``trained_on`` names datasets (a split after a slash where it matters).
    """

    name: str
    what: str
    source: str
    licence: str
    paper: str = ""
    revision: str = ""
    trained_on: tuple[str, ...] = ()
    how: str = ""

    def __post_init__(self):
        for key in ("name", "what", "source", "licence"):
            if not getattr(self, key):
                raise ValueError(f"a Card needs '{key}'")


@dataclass(frozen=True)
class Errors:
    """The unreduced score: one row per sample, NaN where nothing was measured.

    ``values`` maps a metric to (N, K) float64 in metres, radians or hits (K: joints, or 1). ``columns`` maps a metric to the names of its K
    columns. ``tracks`` (N,) and ``frames`` (N,) place each row in time. ``failed`` (N,) bool. ``parts`` maps a metric of meshes to its
    means (N, P) over the vertices of the parts ``part_names`` (P), which have ``part_sizes`` (P) vertices.
    """

    ids: tuple[str, ...]
    tracks: tuple[str, ...]
    frames: np.ndarray
    failed: np.ndarray
    values: Mapping[str, np.ndarray]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    part_names: tuple[str, ...] = ()
    part_sizes: tuple[int, ...] = ()

    def __post_init__(self):
        count = len(self.ids)
        tables = [*self.values.items(), *self.parts.items()]
        for name, rows in (("tracks", self.tracks), ("frames", self.frames), ("failed", self.failed), *tables):
            if len(rows) != count:
                raise ValueError(f"{name}: expected {count} rows, but got {len(rows)}")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Result:
    """What came out of one model under one protocol: the whole of ``result.json``.

    ``protocol``: "id", "sha256" and the resolved "content". ``fingerprints`` of "dataset", "body", "regressor" and "weights". ``frames``:
    person-frames "total", "kept" and "dropped" (by reason) of the dataset's frame rule. ``id_counts``: for a model that reads
    answers from a file, how many ids were "missing", "duplicate" and "unknown"; empty for one that runs. ``scores``: the rows
    of ``metrics.summary.summarise``. ``shard``: (index, number); only (0, 1) is a whole result. ``cases``: in how many ways each person
    was hidden, each of which counts in ``n_expected``; ``skipped``: how many of them were not possible, by reason.
    """

    model: Card
    dataset: Card
    dataset_name: str
    body: Card
    protocol: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    versions: Mapping[str, str]
    device: str
    dtype: str
    frames: Mapping[str, Any]
    n_expected: int
    n_evaluated: int
    n_failed: int
    id_counts: Mapping[str, int]
    limit: int | None
    shard: tuple[int, int]
    scores: tuple[Mapping[str, Any], ...]
    cases: int = 1
    skipped: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """Indented JSON with sorted keys; the same text for the same result."""
        return json.dumps(asdict(self), sort_keys=True, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """The result in such a text. Raises ValueError, TypeError or KeyError where it is none."""
        record = json.loads(text)
        for key in ("model", "dataset", "body"):
            card = record[key]
            record[key] = Card(**{**card, "trained_on": tuple(card["trained_on"])})
        return cls(**{**record, "shard": tuple(record["shard"]), "scores": tuple(record["scores"])})
