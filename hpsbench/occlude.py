"""Plan an occlusion and apply it: randomness is drawn once, as data, and pixels follow from that data.

plan = make_plan(sample, protocol, track)
view = apply_plan(sample.view, plan)
hidden = hidden_by(plan, sample)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from hpsbench.datasets.base import Dataset
from hpsbench.errors import ProtocolError
from hpsbench.image import cut
from hpsbench.occluders.base import BySample, IntBox, Published, Seeding, Target, occluder, whole_box
from hpsbench.protocol import Protocol
from hpsbench.types import Hidden, Occlusion, OcclusionPlan, Sample, View


def make_plan(sample: Sample, protocol: Protocol, track: Sequence[Sample], *, start: int | None = None) -> OcclusionPlan:
    """Everything drawn for one sample; ``track`` holds the kept samples of its track, ordered by frame.

    The plan depends on the protocol, the sample and its track alone. ``start``, the place of the track's first sample in
    a database, is needed (and read) by protocols of "published" seeding only.
    """
    seeding = _seeding(protocol, start)
    occlusions: list[Occlusion] = []
    window = None
    for rule in protocol.occluders:
        kind = occluder(rule.kind)
        occlusion = kind.plan(Target(sample, track, window, protocol.seed, seeding), rule.params)
        occlusions.append(occlusion)
        cut_to = kind.window(occlusion)
        window = window if cut_to is None else cut_to
    return OcclusionPlan(sample.id, protocol.id, protocol.seed, tuple(occlusions))


def _seeding(protocol: Protocol, start: int | None) -> Seeding:
    if protocol.seeding == "by-sample":
        return BySample(protocol.seed)
    if start is None:
        raise ProtocolError(
            f"Protocol '{protocol.id}' is seeded by places in a database, and none was given. Make its plans with `hpsbench generate`, "
            "or use a protocol with seeding = 'by-sample'."
        )
    return Published(start)


class Planner:
    """Plans for the samples of a dataset."""

    def __init__(self, protocol: Protocol, dataset: Dataset):
        self.protocol, self.dataset = protocol, dataset
        self._starts = _starts(dataset) if protocol.seeding == "published" else {}

    def __call__(self, sample: Sample) -> OcclusionPlan:
        """The plan of a sample of this dataset."""
        track = self.dataset.track(sample.track) if self.protocol.occluders else ()
        return make_plan(sample, self.protocol, track, start=self._starts.get(sample.track))


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
    """A new image (H, W, 3) uint8: ``image`` occluded and, where the plan has a window, cut to it; zeros beyond the image."""
    window = plan_window(plan)
    if window is None:
        canvas, origin = image.copy(), (0, 0)
    else:
        box = cut_box(window)
        canvas, origin = cut(image, box), (box[0], box[1])
    for occlusion in plan.occlusions:
        occluder(occlusion.kind).draw(canvas, occlusion, origin)
    return canvas


@dataclass(frozen=True)
class _ReadOccluded:
    """Reads an image and applies a plan to it; a class, so that views travel to worker processes."""

    read: Callable[[], np.ndarray]
    plan: OcclusionPlan

    def __call__(self) -> np.ndarray:
        return apply_to_image(self.read(), self.plan)


def apply_plan(view: View, plan: OcclusionPlan) -> View:
    """The view that a model gets: nothing is read yet; box, window and camera are those of the new image.

    The image belongs to this person alone, and so does its ``image_key``; a plan without occlusions leaves the view as it is.
    """
    if not plan.occlusions:
        return view
    read, key = _ReadOccluded(view.read, plan), f"{view.image_key}#{plan.sample_id}"
    window = plan_window(plan)
    if window is None:
        return View(read, key, view.bbox_xyxy, view.intrinsics, view.window_xyxy)
    x, y = cut_box(window)[:2]
    shift = np.array([x, y, x, y], dtype=np.float64)
    intrinsics = np.array(view.intrinsics, dtype=np.float64)
    intrinsics[:2] -= np.outer([x, y], intrinsics[2])
    return View(read, key, np.asarray(view.bbox_xyxy, dtype=np.float64) - shift, intrinsics, window - shift)


def hidden_by(plan: OcclusionPlan, sample: Sample) -> Hidden:
    """What a plan hid of a sample (as the dataset gave it: the joints are those of the whole image).

    A joint is outside where its projection lies beyond the image or the window, occluded where it lies inside and its pixel is
    under an occluder; one that is not valid, or has no projection, is neither. The coverage is the share of the pixels
    of the window (else of the person's box), those beyond the image among them, that lie under an occluder.
    """
    window = plan_window(plan)
    x0, y0, x1, y1 = whole_box(sample.view.bbox_xyxy if window is None else window)
    joints = np.asarray(sample.truth.joints2d, dtype=np.float64)
    known = np.asarray(sample.truth.valid, dtype=bool) & np.isfinite(joints).all(axis=1)
    points = np.where(known[:, None], joints, 0.0)
    inside = _within(points, (0, 0, *sample.image_size))
    if window is not None:
        inside &= _within(points, window)
    pixels = np.floor(points).astype(np.int64)
    occluded = known & inside & _under(plan, pixels[:, 0], pixels[:, 1])
    covered = _under(plan, np.arange(x0, max(x1, x0 + 1))[None], np.arange(y0, max(y1, y0 + 1))[:, None])
    return Hidden(occluded, known & ~inside, float(covered.mean()))


def _within(points: np.ndarray, box: Sequence[float] | np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = box
    return (points[:, 0] >= x0) & (points[:, 1] >= y0) & (points[:, 0] < x1) & (points[:, 1] < y1)


def _under(plan: OcclusionPlan, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which pixels of the whole image, columns ``x`` and rows ``y`` (broadcast), some occluder of the plan hides: bool."""
    under = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
    for occlusion in plan.occlusions:
        under |= occluder(occlusion.kind).hides(occlusion, x, y)
    return under
