"""Augmented training crops: numbers are drawn first (``draw_crop``), pixels (``cut_crop``) and labels (``crop_labels``) follow from them.

Rotation and mirroring are exact, not approximate: turning the crop about its own centre is turning the camera about its optical axis
together with its principal point, so joints and global orientation turn alike and ``offset`` (crop centre about the principal
point, in crops) turns with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np

from hpsbench.image import square_of_box
from hpsbench.models.nets.heads import DEPTH_UNIT
from hpsbench.occluders.noise_patch import PatchParams, noise_patch
from hpsbench.occluders.noise_patch import blended as blended_patches
from hpsbench.occluders.truncation_window import TruncationParams, base_window, truncation_window
from hpsbench.occluders.truncation_window import blended as blended_windows
from hpsbench.protocol import load_protocol
from hpsbench.skeleton import mirror
from hpsbench.train.cache import CACHE_SIDE, CropCache

# SMPL joints in the order of eval14, by which truncations aim; neck and head are never seen by XOCC's rule.
AIM_JOINTS = (8, 5, 2, 1, 4, 7, 21, 19, 17, 16, 18, 20, 12, 15)
UNDER_AIM = np.arange(14) < 12


@dataclass(frozen=True)
class Augmentation:
    """How crops are varied. ``occluded``: share of people given XOCC's truncation window and noise patch; the rest get box jitter.

    ``scale_std`` and ``shift_std`` are relative to the crop's side, ``jitter`` is the share of them that occluded crops get; ``angle_std``,
    ``angle_max`` degrees; ``colour``: largest relative change of a channel; ``recoloured``: share of crops whose channels change places;
    ``shrink``: crops are averaged over squares of so many px.
    """

    side: int = 256
    shrink: int = 1
    box_scale: float = 1.25
    occluded: float = 0.5
    scale_std: float = 0.12
    shift_std: float = 0.04
    jitter: float = 0.3
    rotated: float = 0.4
    angle_std: float = 20.0
    angle_max: float = 45.0
    flip: float = 0.5
    colour: float = 0.3
    recoloured: float = 0.3


def settled(rule: Augmentation) -> Augmentation:
    """The rule with crops as a test has them: hardly turned, moved or scaled, in their own colours."""
    return replace(rule, rotated=0.1, scale_std=0.04, shift_std=0.02, colour=0.1, recoloured=0.0)


@dataclass(frozen=True)
class CropDraw:
    """One drawn crop: a square in image px, turned by ``angle`` rad, mirrored last; ``patch_xyxy`` image px of noise.

    ``gains`` (3,) multiply the channels, which are then taken in the order ``channels``.
    """

    centre: np.ndarray
    side: float
    angle: float = 0.0
    flip: bool = False
    patch_xyxy: np.ndarray | None = None
    gains: np.ndarray | None = None
    channels: tuple[int, ...] = (0, 1, 2)
    noise_seed: int = 0


def draw_crop(rng: np.random.Generator, joints2d: np.ndarray, bbox: np.ndarray, image_size: np.ndarray, rule: Augmentation) -> CropDraw:
    """The numbers of one crop, for a person with ``joints2d`` (24+, 2) px and ``bbox`` (4,) xyxy in an image of (width, height)."""
    occluded = rng.random() < rule.occluded
    square, patch = square_of_box(bbox, rule.box_scale), None
    if occluded:
        square, patch = _xocc(rng, joints2d, bbox, image_size, xocc_rules())
    share = rule.jitter if occluded else 1.0
    side = (square[2] - square[0]) * float(np.clip(1 + share * rule.scale_std * rng.standard_normal(), 0.7, 1.3))
    centre = (square[:2] + square[2:]) / 2 + share * rule.shift_std * side * np.clip(rng.standard_normal(2), -2, 2)
    turned = rng.random() < rule.rotated * (share if occluded else 1.0)
    angle = float(np.clip(rule.angle_std * rng.standard_normal(), -rule.angle_max, rule.angle_max)) if turned else 0.0
    gains = 1 + rule.colour * (2 * rng.random(3) - 1)
    channels = tuple(rng.permutation(3).tolist()) if rng.random() < rule.recoloured else (0, 1, 2)
    return CropDraw(centre, side, np.deg2rad(angle), bool(rng.random() < rule.flip), patch, gains, channels, int(rng.integers(2**31)))


@dataclass(frozen=True)
class XoccRules:
    """The numbers of XOCC's two occluders."""

    window: TruncationParams
    patch: PatchParams


@cache
def xocc_rules() -> XoccRules:
    """The numbers of the protocol 3dpw-xocc: what is trained on is distributed as what is tested on, but drawn apart from it."""
    params = {rule.kind: rule.params for rule in load_protocol("3dpw-xocc").occluders}
    return XoccRules(params["truncation-window"], params["noise-patch"])


def _xocc(
    rng: np.random.Generator, joints2d: np.ndarray, bbox: np.ndarray, image_size: np.ndarray, rules: XoccRules
) -> tuple[np.ndarray, np.ndarray]:
    """A window (4,) and a noise patch (4,) xyxy px of XOCC's distribution, between two key frames that show the person alike."""
    points = joints2d[list(AIM_JOINTS)]
    seen = ((points >= 0) & (points < image_size)).all(1) & UNDER_AIM
    joints14 = np.concatenate([points, seen[:, None]], axis=1)
    base, zoom = base_window(bbox, rules.window.base_scale), float(image_size.max()) / rules.window.px_of_longer_side
    weight = int(rng.integers(rules.window.interval)) / rules.window.interval
    ends = [truncation_window(rng, joints14, base, rules.window, zoom=zoom) for _ in range(2)]
    square = blended_windows(*ends, weight).xyxy
    size = (int(image_size[0]), int(image_size[1]))
    left, top, width, height = blended_patches(*(noise_patch(rng, square, size, rules.patch) for _ in range(2)), weight)
    return square, np.array([left, top, left + width, top + height])


def crop_affine(draw: CropDraw) -> np.ndarray:
    """The affine map (2, 3) from image px to crop coordinates in [-0.5, 0.5]."""
    cos, sin = np.cos(draw.angle), np.sin(draw.angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    if draw.flip:
        turn = np.diag([-1.0, 1.0]) @ turn
    linear = turn / draw.side
    return np.concatenate([linear, (-linear @ draw.centre)[:, None]], axis=1)


def cut_crop(cached: np.ndarray, square: np.ndarray, draw: CropDraw, side: int) -> np.ndarray:
    """The drawn crop (side, side, 3) uint8 RGB out of a cached one that shows ``square``; zeros beyond it, noise in the patch."""
    to_image = np.array(
        [[(square[2] - square[0]) / CACHE_SIDE, 0, square[0]], [0, (square[2] - square[0]) / CACHE_SIDE, square[1]], [0, 0, 1]]
    )
    matrix = crop_affine(draw) @ to_image * side
    matrix[:, 2] += side / 2
    crop = cv2.warpAffine(cached, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    if draw.patch_xyxy is not None:
        _paint_noise(crop, draw)
    if draw.gains is not None:
        table = np.clip(np.arange(256)[:, None] * draw.gains, 0, 255).astype(np.uint8)[None]
        crop = cv2.LUT(crop, table)
    return crop if draw.channels == (0, 1, 2) else crop[..., list(draw.channels)]


def _paint_noise(crop: np.ndarray, draw: CropDraw) -> None:
    """Paint the patch into the crop, in place: uniform noise of the image's pixel size, upright in the crop also where that is turned."""
    side = len(crop)
    size = draw.patch_xyxy[2:] - draw.patch_xyxy[:2]
    centre = (crop_affine(draw) @ np.append(draw.patch_xyxy[:2] + size / 2, 1) + 0.5) * side
    width, height = np.round(size * side / draw.side).astype(int)
    x, y = np.round(centre - [width / 2, height / 2]).astype(int)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, side), min(y + height, side)
    if right <= left or bottom <= top:
        return
    pixels = np.maximum(np.round(np.array([bottom - top, right - left]) * draw.side / side), 1).astype(int)
    noise = np.random.default_rng(draw.noise_seed).integers(0, 255, (*pixels, 3), dtype=np.uint8)
    crop[top:bottom, left:right] = cv2.resize(noise, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)


def project_rows(joints: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Pixels (N, J, 2) of joints (N, J, 3) m in front of cameras (N, 3, 3)."""
    homogeneous = joints @ intrinsics.transpose(0, 2, 1)
    return homogeneous[..., :2] / np.maximum(homogeneous[..., 2:], 1e-3)


def crop_labels(labels: dict[str, np.ndarray], draws: Sequence[CropDraw]) -> dict[str, np.ndarray]:
    """The labels of drawn crops, from cached rows of the same people, float32.

    ``uvd`` (N, 29, 3): crop coordinates and depth from the root in units of 2.2 m; ``joints`` (N, 29, 3) m, root-relative, and
    ``rotmats`` (N, 24, 3, 3) in the turned and mirrored camera; ``phi`` (N, 23, 2), ``betas`` (N, 10), ``scale`` (N, 1) = 1 / (metres
    across the crop at the root's depth), ``offset`` (N, 2) and ``ratio`` (N, 1) of ``back_project``.
    """
    intrinsics, joints = labels["intrinsics"].astype(np.float64), labels["joints"].astype(np.float64)
    affine = np.stack([crop_affine(draw) for draw in draws])
    side = np.array([draw.side for draw in draws])
    flipped = np.array([draw.flip for draw in draws])
    uv = np.einsum("nij,nkj->nki", affine[:, :, :2], project_rows(joints, intrinsics)) + affine[:, None, :, 2]
    relative = joints - joints[:, :1]
    uvd = np.concatenate([uv, relative[..., 2:] / DEPTH_UNIT], axis=-1)
    turn = np.tile(np.eye(3), (len(side), 1, 1))
    turn[:, :2, :2] = affine[:, :, :2] * side[:, None, None]  # holds the mirror too: N 3 3
    relative = relative @ turn.transpose(0, 2, 1)
    rotmats, phi = _turned_pose(labels["rotmats"].astype(np.float64), labels["twist"], turn, flipped)
    swap = np.array(mirror("j29"))
    out = {
        "uvd": np.where(flipped[:, None, None], uvd[:, swap], uvd),
        "joints": np.where(flipped[:, None, None], relative[:, swap], relative),
        "rotmats": rotmats,
        "phi": phi,
        "betas": labels["betas"],
        "scale": (intrinsics[:, 0, 0] / (side * joints[:, 0, 2]))[:, None],
        "offset": -np.einsum("nij,nj->ni", affine[:, :, :2], intrinsics[:, :2, 2]) - affine[:, :, 2],
        "ratio": (side / intrinsics[:, 0, 0])[:, None],
    }
    return {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in out.items()}


def _turned_pose(rotmats: np.ndarray, twist: np.ndarray, turn: np.ndarray, flipped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (N, 24, 3, 3) and twists (N, 23, 2) of people seen after ``turn`` (N, 3, 3), which mirrors where ``flipped``."""
    swap, sign = np.array(mirror("smpl24")), np.diag([-1.0, 1.0, 1.0])
    mirrored = sign @ rotmats[:, swap] @ sign
    root = turn @ rotmats[:, 0]
    out = np.where(flipped[:, None, None, None], mirrored, rotmats)
    out[:, 0] = np.where(flipped[:, None, None], root @ sign, root)
    angle = np.where(flipped[:, None], -twist[:, swap[1:] - 1], twist)
    return out, np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def make_batch(
    cache: CropCache, rows: np.ndarray, rng: np.random.Generator, rule: Augmentation
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Augmented crops (N, side / shrink, side / shrink, 3) uint8 and their labels for cached people ``rows``."""
    labels = {key: value[rows] for key, value in cache.labels.items()}
    joints2d = project_rows(labels["joints"], labels["intrinsics"])
    draws = [draw_crop(rng, *row, rule) for row in zip(joints2d, labels["bbox"], labels["image_size"], strict=True)]
    crops = [cut_crop(cache.crop(row), square, draw, rule.side) for row, square, draw in zip(rows, labels["square"], draws, strict=True)]
    if rule.shrink > 1:
        small = (rule.side // rule.shrink,) * 2
        crops = [cv2.resize(crop, small, interpolation=cv2.INTER_AREA) for crop in crops]
    return np.stack(crops), crop_labels(labels, draws)
