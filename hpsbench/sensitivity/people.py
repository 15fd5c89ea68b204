"""From a dataset to people as they are slid over: each decoded and cropped once, with what every position hides of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset as PeopleDataset
from hpsbench.errors import HpsbenchError, ProtocolError
from hpsbench.image import Decoded, crop_square, decoded_once, square_of_box
from hpsbench.metrics.visibility import NEAREST_SMPL
from hpsbench.occlude import Planner, check_for_pixels, hidden_by
from hpsbench.occluders.base import Canvas, Occluder, occluder, whole_box
from hpsbench.occluders.base_stencil import Raster
from hpsbench.protocol import Protocol, load_protocol, protocol_names
from hpsbench.sensitivity.covers import Cover, Grid, PlannedCover, pixel_boxes
from hpsbench.sensitivity.scoring import OF_JOINTS
from hpsbench.skeleton import JOINT_NAMES, joint_names
from hpsbench.types import CropSpec, Sample, Truth

GRIDS = ("grid-patch",)


@dataclass(frozen=True)
class Subject:
    """One person: the crop (S, S, 3) as a model gets it (None: it takes none), and what every position does to it.

    ``canvas_xyxy`` px of the image; ``person_box`` and ``joints2d`` (J, 2) of the scored joints: px of the canvas, NaN where unknown.
    ``hidden`` (P, J), ``outside`` (J,) bool, ``hidden_joints`` (P, K) bool of the truth's own joints; ``coverage`` (P,) of the person's
    box; ``skipped`` (P,): why a position is not possible.
    """

    id: str
    track: str
    frame: int
    truth: Truth
    crop: np.ndarray | None
    square_xyxy: np.ndarray
    intrinsics: np.ndarray
    cover: Cover
    canvas_xyxy: np.ndarray
    person_box: np.ndarray
    joints2d: np.ndarray
    hidden: np.ndarray
    hidden_joints: np.ndarray
    outside: np.ndarray
    coverage: np.ndarray
    skipped: tuple[str, ...]


def slidable(protocol: Protocol) -> bool:
    """Whether a protocol hides people in several ways, one after the other, each on the crop that all of them share."""
    kinds = [occluder(rule.kind) for rule in protocol.occluders]
    cuts = any(type(kind).window is not Occluder.window or not kind.pixels for kind in kinds)
    on_crops = all(getattr(rule.params, "space", "image") == "crop" for rule in protocol.occluders)
    return protocol.cases != ("",) and on_crops and not cuts and protocol.agora is None


def check_slidable(protocol: Protocol, who: str) -> None:
    """Raises ProtocolError where a protocol has no positions on a crop, or no metric of joints."""
    check_for_pixels(protocol, who)
    if not slidable(protocol):
        names = [name for name in protocol_names() if slidable(load_protocol(name))]
        raise ProtocolError(
            f"Protocol '{protocol.id}' has no positions: it does not hide each person in several ways on one crop. "
            f"Protocols that do: {', '.join(names)}; on other data: NAME@PROTOCOL."
        )
    if not set(OF_JOINTS) & set(protocol.score.metrics):
        raise ProtocolError(
            f"Protocol '{protocol.id}' measures {', '.join(protocol.score.metrics)}, and an error field is of {' or '.join(OF_JOINTS)}. "
            "Take a protocol that measures one of them."
        )


def grid_of(protocol: Protocol, planner: Planner, sample: Sample) -> Grid | None:
    """The grid of a protocol, by the plans of anybody; None where places depend on the person."""
    if len(protocol.occluders) != 1 or protocol.occluders[0].kind not in GRIDS:
        return None
    return Grid.of(planner.all(sample), len(protocol.occluders[0].params.starts))


def subjects_of(reader: "SubjectReader", workers: int) -> Iterator[Subject]:
    """The people of a reader in order, read in ``workers`` processes, 0: in this one. Raises what the reader does."""
    loader = DataLoader(
        reader,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_one_thread,
    )
    for people in loader:
        if isinstance(people, HpsbenchError):
            raise people
        yield from people


def _as_it_is(people: list[Subject] | HpsbenchError) -> list[Subject] | HpsbenchError:
    return people


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class SubjectReader(Dataset[list[Subject] | HpsbenchError]):
    """The people of the k-th frame. An error of ours comes back as a value, since a worker would wrap its text."""

    def __init__(
        self,
        dataset: PeopleDataset,
        frames: Sequence[Sequence[int]],
        protocol: Protocol,
        crop: CropSpec | None,
        bodies: Bodies,
    ):
        self.dataset, self.frames, self.protocol, self.crop = dataset, frames, protocol, crop
        self.planner = Planner(protocol, dataset, bodies if protocol.needs_silhouette else None)
        self.grid = grid_of(protocol, self.planner, dataset[frames[0][0]]) if frames else None
        self.joints = JOINT_NAMES[protocol.score.joints]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, k: int) -> list[Subject] | HpsbenchError:
        try:
            images: Decoded = {}
            return [self.subject(self.dataset[i], images) for i in self.frames[k]]
        except HpsbenchError as error:
            return error

    def subject(self, sample: Sample, images: Decoded) -> Subject:
        """A person, whose image is read through ``images``."""
        view = decoded_once(sample.view, images)
        square = view.window_xyxy
        if square is None:
            square = square_of_box(view.bbox_xyxy, 1.0 if self.crop is None else self.crop.box_scale)
        square = np.asarray(square, dtype=np.float64)
        cover, canvas, hides = self._cover(sample, square)
        box = canvas.points(np.asarray(view.bbox_xyxy, dtype=np.float64).reshape(2, 2)).reshape(4)
        return Subject(
            id=sample.id,
            track=sample.track,
            frame=sample.frame,
            truth=sample.truth,
            crop=None if self.crop is None else crop_square(view.read(), square, self.crop.side),
            square_xyxy=square,
            intrinsics=view.intrinsics,
            cover=cover,
            canvas_xyxy=np.array(canvas.square_xyxy),
            person_box=box,
            **hides,
        )

    def _cover(self, sample: Sample, square: np.ndarray) -> tuple[Cover, Canvas, dict]:
        """What is laid over a person's crop, the canvas, and what that hides: the last fields of a Subject."""
        truth = _Joints.of(sample, self.joints)
        if self.grid is not None:
            first = self.planner(sample, self.protocol.cases[0]).occlusions[0]
            canvas, cover = Canvas.of(first), self.grid.cover(first, square, 1 if self.crop is None else self.crop.side)
            if cover is not None:
                return cover, canvas, truth.fields(*_hidden_by_grid(self.grid, canvas, sample, truth), canvas)
        plans = tuple(self.planner.all(sample))
        canvas = next((canvas for plan in plans for canvas in map(Canvas.of, plan.occlusions)), None)
        if canvas is None:
            canvas = Canvas(1.0, tuple(float(value) for value in square))
        hides = [None if plan.skipped else hidden_by(plan, sample) for plan in plans]
        nothing = np.zeros(len(truth.points), dtype=bool)
        occluded = np.stack([nothing if hidden is None else hidden.occluded for hidden in hides])
        coverage = np.array([np.nan if hidden is None else hidden.coverage_box for hidden in hides])
        return PlannedCover(plans, square), canvas, truth.fields(occluded, coverage, canvas, tuple(plan.skipped for plan in plans))


@dataclass(frozen=True)
class _Joints:
    """The truth's joints (K, 2) px of the image, which of them are known and in the image, and which of them each scored joint is."""

    points: np.ndarray
    known: np.ndarray
    inside: np.ndarray
    scored: np.ndarray

    @classmethod
    def of(cls, sample: Sample, scored: Sequence[str]) -> "_Joints":
        """Of a sample; a scored joint without a namesake is the one that is nearest in the body, as in ``metrics.visibility``."""
        points = np.asarray(sample.truth.joints2d, dtype=np.float64)
        known = np.asarray(sample.truth.valid, dtype=bool) & np.isfinite(points).all(axis=1)
        points = np.where(known[:, None], points, 0.0)
        inside = (points >= 0).all(axis=1) & (points < sample.image_size).all(axis=1)
        place = {name: k for k, name in enumerate(joint_names(sample.truth.skeleton))}
        return cls(points, known, inside, np.array([place.get(name, place.get(NEAREST_SMPL.get(name, ""), -1)) for name in scored]))

    def fields(self, occluded: np.ndarray, coverage: np.ndarray, canvas: Canvas, skipped: Sequence[str] = ()) -> dict:
        """Fields of a Subject, out of which joints (P, K) are occluded and how much of the box is covered (P,)."""
        places = canvas.points(self.points)
        on_canvas = (places >= 0).all(axis=1) & (places < canvas.side).all(axis=1)
        outside = self.known & ~(self.inside & on_canvas)
        has = self.scored >= 0
        return {
            "joints2d": np.where((self.known[self.scored] & has)[:, None], places[self.scored], np.nan),
            "hidden": (occluded & ~outside)[:, self.scored] & has,
            "hidden_joints": occluded & ~outside,
            "outside": outside[self.scored] & has,
            "coverage": coverage,
            "skipped": tuple(skipped) or ("",) * len(occluded),
        }


def _hidden_by_grid(grid: Grid, canvas: Canvas, sample: Sample, joints: _Joints) -> tuple[np.ndarray, np.ndarray]:
    """(occluded (P, K), coverage (P,)) of all positions at once, as ``occlude.hidden_by`` has them one by one."""
    pixels = np.floor(canvas.points(joints.points)).astype(np.int64)
    low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
    boxes = pixel_boxes(Raster(*low.tolist(), 1, *(high - low).tolist()), grid.seen)
    x, y = (pixels - low).T
    under = (x >= boxes[:, :1]) & (x < boxes[:, 2:3]) & (y >= boxes[:, 1:2]) & (y < boxes[:, 3:])
    x0, y0, x1, y1 = whole_box(sample.view.bbox_xyxy)
    width, height = max(x1 - x0, 1), max(y1 - y0, 1)
    covered = pixel_boxes(canvas.raster(Raster(x0, y0, 1, width, height)), grid.seen)
    areas = (covered[:, 2] - covered[:, 0]) * (covered[:, 3] - covered[:, 1])
    return joints.known & joints.inside & under, areas / (width * height)
