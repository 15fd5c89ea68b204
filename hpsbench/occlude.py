"""Plan an occlusion and apply it: randomness is drawn once, as data, and pixels follow from that data.

plan = make_plan(sample, protocol, track)
plans = make_plans(samples, protocol, tracks)     the same of many samples, in a fraction of the time
view = apply_plan(sample.view, plan)     occluders of image space, and the window
apply_to_crop(crop, plan, square)        those of crop space, on what a model was cut
apply_to_joints(joints2d, confidence, plan, "coco17")    what a model gets that takes joints in place of pixels
hidden = hidden_by(plan, sample)         of many: hidden_by_all(plans, samples)
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpsbench.body.bodies import Bodies
from hpsbench.body.silhouette import Silhouette, silhouette_of
from hpsbench.datasets.base import Dataset
from hpsbench.errors import ProtocolError
from hpsbench.image import crop_square, cut
from hpsbench.occluders.base import NO_BODIES, BySample, Canvas, NotPossible, Published, Seeding, Target, Targets, occluder, whole_box
from hpsbench.occluders.base_cover import NOTHING, Cover, hidden_by_covers
from hpsbench.occluders.base_stencil import IntBox, Raster, Stencil, overlap, paste, paste_on_tensor
from hpsbench.protocol import Protocol
from hpsbench.skeleton import joint_names
from hpsbench.types import Hidden, Occlusion, OcclusionPlan, Sample, View

_SILHOUETTES_KEPT = 4


def make_plan(
    sample: Sample,
    protocol: Protocol,
    track: Sequence[Sample],
    *,
    case: str = "",
    start: int | None = None,
    memo: dict[Any, Any] | None = None,
    silhouettes: Callable[[Sample], Silhouette | None] | None = None,
) -> OcclusionPlan:
    """Everything drawn for one sample; ``track`` holds the kept samples of its track, ordered by frame.

    The plan depends on the protocol, the sample, its track and the ``case`` alone, which is one of ``protocol.cases``; where that is not
    possible for this sample, the plan is empty and says why (``skipped``). ``start``, the place of the track's first sample in
    a database, is needed (and read) by protocols of "published" seeding only. ``memo``, of one protocol and dataset, keeps what several
    samples share; it moves no number. ``silhouettes`` (``Silhouettes``, or a function of the same kind) is needed by protocols whose levels
    are shares of the person's silhouette; without it they raise ProtocolError.
    """
    seeding, memo = _seeding(protocol, start), {} if memo is None else memo
    occlusions: list[Occlusion] = []
    window = None
    for rule, own_case in zip(protocol.occluders, protocol.case_parts(case), strict=True):
        kind = occluder(rule.kind)
        try:
            occlusion = kind.plan(Target(sample, track, window, protocol.seed, seeding, own_case, memo, silhouettes), rule.params)
        except NotPossible as reason:
            return OcclusionPlan(sample.id, protocol.id, protocol.seed, (), case, str(reason))
        occlusions.append(occlusion)
        cut_to = kind.window(occlusion)
        window = window if cut_to is None else cut_to
    return OcclusionPlan(sample.id, protocol.id, protocol.seed, tuple(occlusions), case)


def make_plans(
    samples: Sequence[Sample],
    protocol: Protocol,
    tracks: Sequence[Sequence[Sample]],
    *,
    cases: Sequence[str] | None = None,
    starts: Sequence[int | None] | None = None,
    memo: dict[Any, Any] | None = None,
    silhouettes: Callable[[Sample], Silhouette | None] | None = None,
) -> list[OcclusionPlan]:
    """The plans that ``make_plan`` gives for samples one by one, made all at once; a track, a case and a start for each sample."""
    count, memo = len(samples), {} if memo is None else memo
    cases, starts = cases or [""] * count, starts or [None] * count
    of_start = {start: _seeding(protocol, start) for start in set(starts)}
    of_case = {case: protocol.case_parts(case) for case in set(cases)}
    seedings, parts = [of_start[start] for start in starts], [of_case[case] for case in cases]
    occlusions: list[list[Occlusion]] = [[] for _ in samples]
    windows: list[np.ndarray | None] = [None] * count
    left, keyed, skipped = range(count), {}, dict.fromkeys(range(count), "")
    for k, rule in enumerate(protocol.occluders):
        kind = occluder(rule.kind)
        columns = ([column[i] for i in left] for column in (samples, tracks, windows, seedings, [part[k] for part in parts]))
        found = kind.plan_many(Targets(*columns, protocol.seed, memo, silhouettes, keyed), rule.params) if left else []
        for i, one in zip(left, found, strict=True):
            if isinstance(one, NotPossible):
                occlusions[i], skipped[i] = [], str(one)
                continue
            occlusions[i].append(one)
            cut_to = kind.window(one)
            windows[i] = windows[i] if cut_to is None else cut_to
        if any(skipped[i] for i in left):
            left, keyed = [i for i in left if not skipped[i]], {}
    of_sample = zip(samples, occlusions, cases, skipped.values(), strict=True)
    return [OcclusionPlan(sample.id, protocol.id, protocol.seed, tuple(drawn), case, why) for sample, drawn, case, why in of_sample]


def _seeding(protocol: Protocol, start: int | None) -> Seeding:
    if protocol.seeding == "by-sample":
        return BySample(protocol.seed)
    if start is None:
        raise ProtocolError(
            f"Protocol '{protocol.id}' is seeded by places in a database, and none was given. Make its plans with `hpsbench generate`, "
            "or use a protocol with seeding = 'by-sample'."
        )
    return Published(start)


class Silhouettes:
    """The silhouettes of samples by their true bodies, in float64 on the CPU, so that plans are the same whatever bodies are used for.

    The last few are kept: the cases of a person come one after the other. To a worker process the bodies' files travel, not their arrays.
    """

    def __init__(self, bodies: Bodies):
        self.bodies, self._kept = bodies.to("cpu", torch.float64), {}

    def __call__(self, sample: Sample) -> Silhouette | None:
        """The silhouette of a sample, as ``silhouette_of`` gives it."""
        if sample.id not in self._kept:
            while len(self._kept) >= _SILHOUETTES_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[sample.id] = silhouette_of(sample, self.bodies)
        return self._kept[sample.id]

    def __reduce__(self):
        bodies = self.bodies
        return Silhouettes, (Bodies(bodies.name, bodies.folder, bodies.files, bodies.dtype, bodies.device),)


class Planner:
    """Plans for the samples of a dataset; ``bodies`` are those of ``silhouettes``, None where there are none.

    Raises ProtocolError where the protocol needs them.
    """

    def __init__(self, protocol: Protocol, dataset: Dataset, bodies: Bodies | None = None):
        if protocol.needs_silhouette and bodies is None:
            raise ProtocolError(f"Protocol '{protocol.id}' cannot be planned: {NO_BODIES}")
        self.protocol, self.dataset, self._memo = protocol, dataset, {}
        self.silhouettes = None if bodies is None else Silhouettes(bodies)
        self._starts = _starts(dataset) if protocol.seeding == "published" else {}

    def __call__(self, sample: Sample, case: str = "") -> OcclusionPlan:
        """The plan of a sample of this dataset."""
        track = self.dataset.track(sample.track) if self.protocol.occluders else ()
        start = self._starts.get(sample.track)
        return make_plan(sample, self.protocol, track, case=case, start=start, memo=self._memo, silhouettes=self.silhouettes)

    def all(self, sample: Sample) -> list[OcclusionPlan]:
        """The plans of a sample under every case of the protocol, in its order."""
        return [self(sample, case) for case in self.protocol.cases]

    def all_of(self, samples: Sequence[Sample]) -> list[list[OcclusionPlan]]:
        """``all`` of each of some samples, made at once."""
        cases = self.protocol.cases
        wanted = [sample for sample in samples for _ in cases]
        tracks = [self.dataset.track(sample.track) if self.protocol.occluders else () for sample in wanted]
        starts = [self._starts.get(sample.track) for sample in wanted]
        how = {"cases": cases * len(samples), "starts": starts, "memo": self._memo, "silhouettes": self.silhouettes}
        plans = iter(make_plans(wanted, self.protocol, tracks, **how))
        return [list(islice(plans, len(cases))) for _ in samples]


def _starts(dataset: Dataset) -> dict[str, int]:
    """Each track's first place in a database where tracks follow one another, in their order."""
    lengths = dataset.track_lengths
    return dict(zip(lengths, accumulate(lengths.values(), initial=0), strict=False))


def plan_window(plan: OcclusionPlan) -> np.ndarray | None:
    """The window (4,) float64 px of the whole image that a plan cuts the view to, the last one planned; None: no cut."""
    windows = [occluder(occlusion.kind).window(occlusion) for occlusion in plan.occlusions]
    return next((window for window in reversed(windows) if window is not None), None)


def cut_box(window_xyxy: np.ndarray) -> IntBox:
    """The integer box of the image that a view of this window holds: every pixel that a bilinear crop of the window reads."""
    x0, y0, x1, y1 = whole_box(window_xyxy)
    return x0, y0, x1 + 1, y1 + 1


def apply_to_image(image: np.ndarray, plan: OcclusionPlan) -> np.ndarray:
    """A new image (H, W, 3) uint8: ``image`` occluded and, where the plan has a window, cut to it; zeros beyond the image.

    Occluders of crop space are left to ``apply_to_crop``.
    """
    window = plan_window(plan)
    if window is None:
        picture, origin = image.copy(), (0, 0)
    else:
        box = cut_box(window)
        picture, origin = cut(image, box), (box[0], box[1])
    height, width = picture.shape[:2]
    paint(picture, plan, Raster(*origin, 1, width, height), "image")
    return picture


def apply_to_crop(crop: np.ndarray | Tensor, plan: OcclusionPlan, square_xyxy: np.ndarray) -> None:
    """Paint the occluders of crop space, in place, over a crop that shows ``square_xyxy`` px of the whole image.

    ``crop`` is an array (S, S, 3) or a tensor (..., 3, S, S) uint8 on any device: the same bytes. Sizes in px of a canvas are those of
    the crop where it is as wide, and scale with it.
    """
    side = crop.shape[-2]
    x0, y0, x1, _ = (float(value) for value in square_xyxy)
    paint(crop, plan, Raster(x0, y0, (x1 - x0) / side, side, side), "crop")


def paint(picture: np.ndarray | Tensor, plan: OcclusionPlan, raster: Raster, space: str) -> None:
    """Paint the occluders of one space ("image" or "crop"), in place, over a picture whose pixels are a raster of the whole image.

    ``picture`` is an array (H, W, 3) or a tensor (..., 3, H, W) uint8 on any device.
    """
    for stencil in _stencils(plan, raster, space):
        (paste_on_tensor if isinstance(picture, Tensor) else paste)(picture, stencil)


def _stencils(plan: OcclusionPlan, raster: Raster, space: str | None = None) -> Iterator[Stencil]:
    """What the occluders of a plan (those of one space) lay over a raster of the image, in their order."""
    for occlusion in plan.occlusions:
        if space in (None, occlusion.space):
            canvas = Canvas.of(occlusion)
            yield from occluder(occlusion.kind).stencils(occlusion, raster if canvas is None else canvas.raster(raster))


@dataclass(frozen=True)
class _ReadOccluded:
    """Reads an image and applies a plan to it; a class, so that views travel to worker processes."""

    read: Callable[[], np.ndarray]
    plan: OcclusionPlan

    def __call__(self) -> np.ndarray:
        return apply_to_image(self.read(), self.plan)


def apply_plan(view: View, plan: OcclusionPlan) -> View:
    """The view that a model gets: nothing is read yet; box, window and camera are those of the new image.

    The image belongs to this person alone, and so does its ``image_key``; a plan that touches no image leaves the view as it is.
    """
    if not any(occlusion.space == "image" and occluder(occlusion.kind).pixels for occlusion in plan.occlusions):
        return view
    read, key = _ReadOccluded(view.read, plan), f"{view.image_key}#{plan.view_id}"
    window = plan_window(plan)
    if window is None:
        return View(read, key, view.bbox_xyxy, view.intrinsics, view.window_xyxy)
    x, y = cut_box(window)[:2]
    shift = np.array([x, y, x, y], dtype=np.float64)
    intrinsics = np.array(view.intrinsics, dtype=np.float64)
    intrinsics[:2] -= np.outer([x, y], intrinsics[2])
    return View(read, key, np.asarray(view.bbox_xyxy, dtype=np.float64) - shift, intrinsics, window - shift)


def canvas_side(plan: OcclusionPlan) -> int | None:
    """How many px a side the canvas of a plan's occluders of crop space counts, rounded; None for a plan without any."""
    canvases = [Canvas.of(occlusion) for occlusion in plan.occlusions if occlusion.space == "crop"]
    return round(canvases[0].side) if canvases else None


def crop_view(view: View, plan: OcclusionPlan, side: int) -> View:
    """What a model gets of a plan that has occluders of crop space: a picture of the canvas alone, ``side`` px wide, finished.

    Its window is the whole of it, so that a model whose crop is as wide sees these very pixels.
    """
    square = next(filter(None, map(Canvas.of, plan.occlusions))).square_xyxy
    seen, window = apply_plan(view, plan), plan_window(plan)
    corner = np.zeros(2) if window is None else np.array(cut_box(window)[:2], dtype=np.float64)
    own, factor = np.array(square) - np.tile(corner, 2), side / (square[2] - square[0])
    to_crop = np.array([[factor, 0, -factor * own[0]], [0, factor, -factor * own[1]], [0, 0, 1]])
    bbox = (np.asarray(seen.bbox_xyxy, dtype=np.float64) - np.tile(own[:2], 2)) * factor

    def read() -> np.ndarray:
        crop = crop_square(seen.read(), own, side)
        apply_to_crop(crop, plan, np.array(square))
        return crop

    whole = np.array([0.0, 0.0, side, side])
    return View(read, f"{view.image_key}#{plan.view_id}", bbox, to_crop @ np.asarray(seen.intrinsics, dtype=np.float64), whole)


def finished_view(view: View, plan: OcclusionPlan) -> View:
    """What is written of a plan: the view that follows or, of occluders of crop space, the picture of their canvas."""
    side = canvas_side(plan)
    return apply_plan(view, plan) if side is None else crop_view(view, plan, side)


def hidden_by(plan: OcclusionPlan, sample: Sample, silhouette: Silhouette | None = None) -> Hidden:
    """What a plan hid of a sample (as the dataset gave it: the joints are those of the whole image).

    A joint is outside where its projection lies beyond the image or the window, occluded where it lies inside and its pixel is
    under an occluder, or the plan takes the joint of its name from models of joints; one that is not valid, or has no projection, is
    neither. Coverages are shares of whole pixels of the image, those beyond its borders among them.
    """
    window = plan_window(plan)
    joints = np.asarray(sample.truth.joints2d, dtype=np.float64)
    known = np.asarray(sample.truth.valid, dtype=bool) & np.isfinite(joints).all(axis=1)
    inside, under = _inside_and_under(plan, np.where(known[:, None], joints, 0.0), sample.truth.skeleton, sample.image_size)
    box = _raster_of(sample.view.bbox_xyxy)
    canvas = _canvas_of(plan, window, sample)
    within_box, within_canvas = _covered(plan, box, window), _covered(plan, canvas, None)
    return Hidden(
        occluded=known & inside & under,
        outside=known & ~inside,
        coverage=_covered(plan, box, None) if window is None else within_canvas,
        coverage_canvas=within_canvas,
        coverage_box=within_box,
        coverage_mask=None if silhouette is None else _masked(plan, silhouette, window),
    )


def hidden_by_all(
    plans: Sequence[OcclusionPlan], samples: Sequence[Sample], silhouettes: Sequence[Silhouette | None] | None = None
) -> list[Hidden]:
    """What ``hidden_by`` tells of plans, samples and silhouettes one by one: of plans that hide one box of pixels at most all at once."""
    silhouettes = silhouettes or [None] * len(plans)
    covers = [_cover(plan) for plan in plans]
    groups: dict[int, list[int]] = {}
    for i, cover in enumerate(covers):
        if cover is not None:
            groups.setdefault(len(samples[i].truth.valid), []).append(i)
    found: dict[int, Hidden] = {}
    for places in groups.values():
        found |= zip(places, hidden_by_covers([covers[i] for i in places], [samples[i] for i in places]), strict=True)
    rows = enumerate(zip(plans, samples, silhouettes, strict=True))
    return [_masked_too(found[i], plan, shape) if i in found else hidden_by(plan, sample, shape) for i, (plan, sample, shape) in rows]


def _masked_too(hidden: Hidden, plan: OcclusionPlan, silhouette: Silhouette | None) -> Hidden:
    return hidden if silhouette is None else replace(hidden, coverage_mask=_masked(plan, silhouette, plan_window(plan)))


def _cover(plan: OcclusionPlan) -> Cover | None:
    """A plan as a box and a window, where that is all of it."""
    box, window = NOTHING, None
    for occlusion in plan.occlusions:
        kind = occluder(occlusion.kind)
        hidden, cut_to = kind.cover(occlusion), kind.window(occlusion)
        if hidden is None or (box != NOTHING and hidden != NOTHING):
            return None
        box = box if hidden == NOTHING else hidden
        window = window if cut_to is None else cut_to
    return Cover(box, window)


def apply_to_joints(
    joints2d: np.ndarray | Tensor,
    confidence: np.ndarray | Tensor,
    plan: OcclusionPlan,
    skeleton: str,
    *,
    image_size: tuple[int, int] | None = None,
    hidden_as: float = float("nan"),
) -> tuple[np.ndarray | Tensor, np.ndarray | Tensor]:
    """(joints, confidences) as a model of joints gets them under a plan: new arrays or tensors of the same kind and device.

    ``joints2d`` (J, 2) px of the whole image and ``confidence`` (J,) are of ``skeleton``, numpy arrays or tensors. A joint that the plan
    takes by name, that lies under an occluder or outside of the window (with ``image_size`` (w, h) px: of the image) becomes ``hidden_as``
    with confidence 0; so does one whose place is NaN. An image that a plan cuts is not: places stay those of the whole image. Raises
    ValueError where the shapes are not the skeleton's.
    """
    count = len(joint_names(skeleton))
    if tuple(joints2d.shape) != (count, 2) or tuple(confidence.shape) != (count,):
        raise ValueError(
            f"expected joints ({count}, 2) and confidences ({count},) of skeleton '{skeleton}', but got {tuple(joints2d.shape)} and "
            f"{tuple(confidence.shape)}."
        )
    places = np.asarray(joints2d.detach().cpu().double().numpy() if isinstance(joints2d, Tensor) else joints2d, dtype=np.float64)
    known = np.isfinite(places).all(axis=1)
    inside, under = _inside_and_under(plan, np.where(known[:, None], places, 0.0), skeleton, image_size)
    gone = ~known | ~inside | under
    if isinstance(joints2d, Tensor):
        mask = torch.from_numpy(gone).to(joints2d.device)
        return joints2d.masked_fill(mask[:, None], hidden_as), confidence.masked_fill(mask.to(confidence.device), 0)
    return np.where(gone[:, None], np.array(hidden_as, joints2d.dtype), joints2d), np.where(
        gone, np.zeros((), confidence.dtype), confidence
    )


def check_for_pixels(protocol: Protocol, who: str) -> None:
    """Raises ProtocolError where the protocol hides joints without a pixel, of which ``who`` ("model 'niki'", "an image") shows nothing."""
    if protocol.key_points:
        raise ProtocolError(
            f"Protocol '{protocol.id}' takes joints from models that take joints, and hides no pixel: nothing is hidden from {who}. "
            "Give its plans to such a model (`hpsbench generate` without --images, hpsbench.occlude.apply_to_joints) and score its answers "
            "by --model predictions:FILE, or take a protocol that hides pixels."
        )


def _inside_and_under(
    plan: OcclusionPlan, points: np.ndarray, skeleton: str, image_size: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which joints of a skeleton at points (J, 2) px lie inside image and window, and which a plan hides, by pixels or name: bool (J,)."""
    window = plan_window(plan)
    inside = np.ones(len(points), dtype=bool) if image_size is None else _within(points, (0, 0, *image_size))
    if window is not None:
        inside &= _within(points, window)
    taken = {name for occlusion in plan.occlusions for name in occluder(occlusion.kind).joints(occlusion)}
    under = _under(plan, points)
    if taken:
        under |= np.array([name in taken for name in joint_names(skeleton)])
    return inside, under


def _canvas_of(plan: OcclusionPlan, window: np.ndarray | None, sample: Sample) -> Raster:
    """The pixels of what a plan was made for: of its window, else of its canvas, else of the whole image."""
    if window is not None:
        return _raster_of(window)
    canvas = next(filter(None, map(Canvas.of, plan.occlusions)), None)
    return Raster(0, 0, 1, *sample.image_size) if canvas is None else _raster_of(canvas.square_xyxy)


def _raster_of(box_xyxy: Sequence[float] | np.ndarray) -> Raster:
    x0, y0, x1, y1 = whole_box(box_xyxy)
    return Raster(x0, y0, 1, max(x1 - x0, 1), max(y1 - y0, 1))


def _within(points: np.ndarray, box: Sequence[float] | np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = box
    return (points[:, 0] >= x0) & (points[:, 1] >= y0) & (points[:, 0] < x1) & (points[:, 1] < y1)


def _under(plan: OcclusionPlan, points: np.ndarray) -> np.ndarray:
    """Which points (N, 2) px of the image lie on a pixel (of the plan's own) that some occluder hides: bool."""
    under = np.zeros(len(points), dtype=bool)
    for occlusion in plan.occlusions:
        canvas = Canvas.of(occlusion)
        pixels = np.floor(points if canvas is None else canvas.points(points)).astype(np.int64)
        low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
        for stencil in occluder(occlusion.kind).stencils(occlusion, Raster(*low.tolist(), 1, *(high - low).tolist())):
            under |= stencil.hides(*(pixels - low).T)
    return under


def _covered(plan: OcclusionPlan, raster: Raster, window: np.ndarray | None) -> float:
    """The share of a raster of the image that occluders hide or, where there is a window, that lies outside of it."""
    stencils, count = list(_stencils(plan, raster)), raster.width * raster.height
    seen = _seen(raster, window)
    if all(stencil.alpha is None for stencil in stencils) and len(stencils) < 2:
        return (count - _area(seen) + sum(_area(overlap(stencil.box, seen)) for stencil in stencils)) / count
    return float(_hidden_pixels(stencils, raster, seen).mean())


def _masked(plan: OcclusionPlan, silhouette: Silhouette, window: np.ndarray | None) -> float:
    """The share of a silhouette's pixels that occluders hide or that lie outside of the window."""
    height, width = silhouette.mask.shape
    raster = Raster(*silhouette.corner, 1, width, height)
    return float(_hidden_pixels(_stencils(plan, raster), raster, _seen(raster, window))[silhouette.mask].mean())


def _seen(raster: Raster, window: np.ndarray | None) -> IntBox:
    """The pixels of a raster that a window shows."""
    return (0, 0, raster.width, raster.height) if window is None else raster.pixels(tuple(window)) or (0, 0, 0, 0)


def _hidden_pixels(stencils: Iterable[Stencil], raster: Raster, seen: IntBox) -> np.ndarray:
    """Which pixels (H, W) of a raster stencils hide, or lie outside of ``seen``: bool."""
    hidden = np.ones((raster.height, raster.width), dtype=bool)
    hidden[seen[1] : seen[3], seen[0] : seen[2]] = False
    for stencil in stencils:
        stencil.mark(hidden)
    return hidden


def _area(box: IntBox | None) -> int:
    return 0 if box is None else (box[2] - box[0]) * (box[3] - box[1])
