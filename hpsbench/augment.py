"""The protocols' occlusions for anybody's training loop: one image at a time, or a whole map-style dataset with fresh draws per epoch.

from hpsbench.augment import OccludedDataset
def get(item):  # RGB uint8 (H, W, 3); box xyxy px; joints (J, 2) px, or (J, 3) with a confidence
    return {"image": item["img"], "bbox_xyxy": item["box"], "joints2d": item["joints"], "skeleton": "smpl24"}
def put(item, seen):  # cut by the truncation window, by 1.25 times the box where there is none
    return {"img": seen.crop(256, box_scale=1.25), "hidden": seen.hidden.occluded | seen.hidden.outside}
data = OccludedDataset(people, "openhps-xocc", seed=1, get=get, put=put, p=0.5)
for epoch in range(epochs):
    data.set_epoch(epoch)  # other occluders; the same ones again for the same seed, epoch and index
    for batch in DataLoader(data, batch_size=32, shuffle=True):
        train(batch)
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from hpsbench.body.silhouette import Silhouette
from hpsbench.image import crop_square, square_of_box
from hpsbench.occlude import apply_plan, cut_box, hidden_by, make_plan, plan_window
from hpsbench.protocol import Protocol, load_protocol
from hpsbench.seeds import rng_of
from hpsbench.skeleton import joint_names
from hpsbench.types import Hidden, OcclusionPlan, Sample, Truth, View

Item, Seen = TypeVar("Item"), TypeVar("Seen")
_SEEDS = 2**53


@dataclass(frozen=True)
class Occluded:
    """An image as a plan leaves it, and where things are in it now.

    ``image`` (H, W, 3) uint8 RGB; ``bbox_xyxy`` (4,), ``joints2d`` (J, 2) or (J, 3), ``intrinsics`` (3, 3) and ``window_xyxy`` (4,) in px
    of that image, None where there is none; ``origin_px`` (2,) whole px: its corner in the image that was given, to move anything else
    by. ``hidden``: what the plan hid, by joints in the order given.
    """

    image: np.ndarray
    plan: OcclusionPlan
    hidden: Hidden
    bbox_xyxy: np.ndarray
    joints2d: np.ndarray | None
    intrinsics: np.ndarray | None
    window_xyxy: np.ndarray | None
    origin_px: np.ndarray

    def square_xyxy(self, box_scale: float) -> np.ndarray:
        """What a model is to be cut (4,): the window, else the square of ``box_scale`` times the longer side of the box."""
        return square_of_box(self.bbox_xyxy, box_scale) if self.window_xyxy is None else self.window_xyxy

    def crop(self, side: int, *, box_scale: float) -> np.ndarray:
        """That square as (side, side, 3) uint8: bilinear, zeros beyond the image, as hpsbench cuts crops for models."""
        return crop_square(self.image, self.square_xyxy(box_scale), side)


def occluded(
    image: np.ndarray,
    bbox_xyxy: Sequence[float] | np.ndarray,
    joints2d: np.ndarray | None = None,
    *,
    protocol: Protocol | str,
    seed: int,
    skeleton: str = "smpl24",
    intrinsics: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    name: str = "image",
) -> Occluded:
    """An image under what a protocol draws for this seed: equal seeds, equal pixels.

    ``image`` (H, W, 3) uint8 RGB; ``bbox_xyxy`` (4,) px of the person; ``joints2d`` (J, 2) px of ``skeleton``, NaN where unknown, or (J, 3)
    with a confidence, 0 where unknown; ``mask`` (H, W) bool, the person's pixels, for levels that are shares of them. ``seed`` takes the
    place of the protocol's own, which is a name or a loaded one. Of a protocol with cases one is drawn, by the seed too, among those that
    are possible; where none is, nothing is done and ``plan.skipped`` says why.
    The image is a track of its own, one frame long. Occluders of crop space are painted here in px of the image, over what that crop
    would show, so that models may cut crops of any size. Without an occluder the image is the very one given; so it is where a protocol
    takes joints from models of joints, which ``hidden`` names.

    Raises ValueError for arrays of another kind, DataError where the protocol aims by joints and none are given, ProtocolError for one
    that is seeded by places in a database, or needs a mask that is not given.
    """
    protocol = load_protocol(protocol) if isinstance(protocol, str) else protocol
    sample = _sample_of(image, bbox_xyxy, joints2d, skeleton, np.eye(3) if intrinsics is None else intrinsics, name)
    shape = None if mask is None else _silhouette(mask, image)
    plan = _in_image_space(_planned(sample, protocol, int(seed), (lambda _: shape) if mask is not None else None))
    view, window = apply_plan(sample.view, plan), plan_window(plan)
    origin = np.array((0, 0) if window is None else cut_box(window)[:2])
    return Occluded(
        image=view.read(),
        plan=plan,
        hidden=hidden_by(plan, sample, shape),
        bbox_xyxy=view.bbox_xyxy,
        joints2d=None if joints2d is None else _moved(joints2d, origin),
        intrinsics=None if intrinsics is None else view.intrinsics,
        window_xyxy=view.window_xyxy,
        origin_px=origin,
    )


def _sample_of(image: np.ndarray, bbox_xyxy: Any, joints2d: np.ndarray | None, skeleton: str, intrinsics: np.ndarray, name: str) -> Sample:
    """The record that occluders plan for: no 3D joints, and key points that are the 2D joints."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{getattr(image, 'dtype', type(image).__name__)} {tuple(getattr(image, 'shape', ()))}"
        raise ValueError(
            f"image: expected a numpy array (H, W, 3) of uint8, RGB, but got {found}. Occlude before scaling, normalising and ToTensor."
        )
    box = np.asarray(bbox_xyxy, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or not (box[:2] < box[2:]).all():
        raise ValueError(
            f"bbox_xyxy: expected x0 < x1 and y0 < y1 in px, but got {box.tolist()}. Boxes as x, y, width, height: add them up."
        )
    points = _points(joints2d, skeleton)
    known = np.isfinite(points[:, :2]).all(axis=1) & (points[:, 2] > 0)
    truth = Truth(
        joints=np.full((len(points), 3), np.nan),
        skeleton=skeleton,
        joints2d=points[:, :2],
        valid=known,
        keypoints2d=None if joints2d is None else np.where(known[:, None], points, 0.0),
        keypoints_skeleton=None if joints2d is None else skeleton,
    )
    view = View(lambda: image, name, box, np.asarray(intrinsics, dtype=np.float64))
    return Sample(name, view, truth, name, name, 0, (image.shape[1], image.shape[0]))


def _silhouette(mask: np.ndarray, image: np.ndarray) -> Silhouette | None:
    """The silhouette of a mask; None of an empty one. Raises ValueError where it is no mask of the image."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != image.shape[:2]:
        found = f"{getattr(mask, 'dtype', type(mask).__name__)} {tuple(getattr(mask, 'shape', ()))}"
        raise ValueError(f"mask: expected a numpy array {image.shape[:2]} of bool, the person's pixels, but got {found}.")
    return Silhouette((0, 0), mask) if mask.any() else None


def _points(joints2d: np.ndarray | None, skeleton: str) -> np.ndarray:
    """Joints as (J, 3) x, y, confidence. Raises ValueError where they are not the skeleton's."""
    count = len(joint_names(skeleton))
    if joints2d is None:
        return np.column_stack([np.full((count, 2), np.nan), np.zeros(count)])
    points = np.asarray(joints2d, dtype=np.float64)
    if points.shape not in ((count, 2), (count, 3)):
        raise ValueError(f"joints2d: expected ({count}, 2) or ({count}, 3) for skeleton '{skeleton}', but got {points.shape}.")
    return points if points.shape[1] == 3 else np.column_stack([points, np.ones(count)])


def _planned(sample: Sample, protocol: Protocol, seed: int, silhouettes: Callable[[Sample], Silhouette | None] | None) -> OcclusionPlan:
    """The plan of the first case that is possible, in an order drawn from the seed; the last one's where none is."""
    seeded, cases = replace(protocol, seed=seed), protocol.cases
    order = np.argsort(rng_of("augment-case", seed, sample.id).random(len(cases)), kind="stable")
    plans = (make_plan(sample, seeded, [sample], case=cases[k], silhouettes=silhouettes) for k in order)
    for plan in plans:
        if not plan.skipped:
            break
    return plan


def _in_image_space(plan: OcclusionPlan) -> OcclusionPlan:
    return replace(plan, occlusions=tuple(replace(occlusion, space="image") for occlusion in plan.occlusions))


def _moved(joints2d: np.ndarray, origin: np.ndarray) -> np.ndarray:
    points = np.array(joints2d, dtype=np.float64)
    points[:, :2] -= origin
    return points


class OccludedDataset(Dataset[Seen], Generic[Item, Seen]):
    """Anybody's map-style dataset under a protocol's occlusions, fresh ones in each epoch.

    ``get(item)`` names the arguments of ``occluded`` in an item of ``base``: image, bbox_xyxy and, where the protocol aims by joints,
    joints2d and skeleton, where its levels are shares of the person's pixels, mask. ``put(item, seen)`` gives what this dataset yields, of
    the item and its ``Occluded``. A part ``p`` of the items is occluded; the others come out the same way under a plan without occluders.
    What is drawn depends on (seed, epoch, index) alone, whatever the order, workers or batches; ``set_epoch`` reaches workers that are
    running (``persistent_workers``).
    """

    def __init__(
        self,
        base: Sequence[Item] | Dataset[Item],
        protocol: Protocol | str,
        seed: int,
        *,
        get: Callable[[Item], Mapping[str, Any]],
        put: Callable[[Item, Occluded], Seen],
        p: float = 1.0,
    ):
        if not 0 <= p <= 1:
            raise ValueError(f"p: expected a probability from 0 to 1, but got {p}.")
        self.base, self.seed, self.get, self.put, self.p = base, seed, get, put, p
        self.protocol = load_protocol(protocol) if isinstance(protocol, str) else protocol
        self._without = replace(self.protocol, occluders=())
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch that is drawn for, from 0 on."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: call it before each epoch. A stopped training that goes on with its epoch's number sees what it would have seen."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, i: int) -> Seen:
        i = range(len(self))[operator.index(i)]
        item = self.base[i]
        draws = rng_of("augment", self.seed, self.epoch, i)
        protocol = self.protocol if draws.random() < self.p else self._without
        return self.put(item, occluded(**self.get(item), protocol=protocol, seed=int(draws.random() * _SEEDS)))
