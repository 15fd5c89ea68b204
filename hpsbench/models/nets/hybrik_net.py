"""The HybrIK network: crop to heat maps, twist, shape, camera scale and uncertainty, and from there to metres.

Source: Li et al., HybrIK, CVPR 2021; parameter names of the released models with camera (ResNet-34 and HRNet-W48).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.models.nets.heads import (
    CROP_OVER_FOCAL,
    back_project,
    distance_of,
    expected_uvd,
    fitted_scale,
    heatmap_probabilities,
    unflip_phi,
    unflip_probabilities,
    unflip_sigma,
)
from hpsbench.models.nets.hrnet import HRNet
from hpsbench.models.nets.pyramid import Pyramid
from hpsbench.models.nets.resnet import ResNet
from hpsbench.types import ViewBatch

JOINTS = 29
TWISTS = 23
CHANNEL_MEAN = (0.406, 0.457, 0.480)
CHANNEL_STD = (0.225, 0.224, 0.229)
MEAN_BETAS = (-0.1991602, 0.5863326, 0.4330769, 0.7364598, 0.3338683, 0.1040543, -0.5029887, 0.0009176723, 1.274554, 0.4925033)
REFINEMENTS = ("none", "hybrik", "niki")
# cells of the heat map per pixel of the network's input; the ResNet's depend on its up-sampling layers
BACKBONES = {"resnet": None, "hrnet": 4, "pyramid": 8}


@dataclass(frozen=True)
class HybrikConfig:
    """The shape of one HybrIK network; the defaults are the released ResNet-34 model.

    ``backbone``: "resnet" and "hrnet" as released, "pyramid" the small one. ``deconv`` (widths of the up-sampling layers) belongs to the
    ResNet; ``layers`` and ``features`` (width of the two linear layers) to it and to the pyramid.
    ``shrink``: crops of ``input_side`` px are averaged over squares of so many pixels first, a cheap small input without aliasing.
    ``camera``: outputs of the camera head, scale first. ``intrinsics``: use the true crop side / focal length instead of 0.256.
    ``refine``: how the camera scale is fitted after the first inverse kinematics, see ``camera_state``.
    ``init_betas``: what the shape head's answer is added to. ``flip``: average over the crop and its mirror image.
    """

    backbone: str = "resnet"
    layers: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    deconv: tuple[int, ...] = (256, 256, 256)
    features: int = 1024
    input_side: int = 256
    shrink: int = 1
    depth_bins: int = 64
    camera: int = 3
    intrinsics: bool = False
    refine: str = "none"
    init_betas: tuple[float, ...] = MEAN_BETAS
    init_scale: float = 0.9
    flip: bool = False

    def __post_init__(self):
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone: expected one of {tuple(BACKBONES)}, but got '{self.backbone}'")
        if self.refine not in REFINEMENTS:
            raise ValueError(f"refine: expected one of {REFINEMENTS}, but got '{self.refine}'")

    @property
    def heatmap_side(self) -> int:
        """Cells per side of a heat map."""
        side, cell = self.input_side // self.shrink, BACKBONES[self.backbone]
        return side // cell if cell else side // 32 * 2 ** len(self.deconv)

    def to_record(self) -> dict[str, Any]:
        """Plain JSON of all fields."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "HybrikConfig":
        """The configuration out of parsed JSON; an unknown field raises TypeError."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in record.items()})


RESNET34 = HybrikConfig()
HRNET48 = HybrikConfig(backbone="hrnet", width=48, camera=1, refine="hybrik")


@dataclass(frozen=True)
class HybrikHeads:
    """What the network says about a batch of crops.

    ``uvd`` (B, 29, 3) fractions; ``maxvals`` (B, 29) largest cell; ``phi`` (B, 23, 2) raw (cos, sin); ``betas`` (B, 10);
    ``camera`` (B, 1 or 3), scale first; ``sigma`` (B, 29) in (0, 1), low is sure.
    """

    uvd: Tensor
    maxvals: Tensor
    phi: Tensor
    betas: Tensor
    camera: Tensor
    sigma: Tensor

    def with_joints(self, other: "HybrikHeads", own: Tensor) -> "HybrikHeads":
        """These heads with the other's joints (where they are, and how sure), but for the joints that are True in ``own`` (B, 29)."""
        joints = {key: torch.where(own, vars(self)[key], vars(other)[key]) for key in ("maxvals", "sigma")}
        return replace(self, uvd=torch.where(own[..., None], self.uvd, other.uvd), **joints)


@dataclass(frozen=True)
class HybrikState:
    """What an IK solver starts from.

    ``joints29`` (B, 29, 3) m relative to joint 0; ``root`` (B, 3) m joint 0 in the camera frame; ``scale`` (B, 1) of the camera;
    ``sigma`` (B, 29), ``phi`` (B, 23, 2), ``betas`` (B, 10), ``uvd`` (B, 29, 3) as in HybrikHeads.
    """

    joints29: Tensor
    root: Tensor
    scale: Tensor
    sigma: Tensor
    phi: Tensor
    betas: Tensor
    uvd: Tensor


class HybrikNet(nn.Module):
    """Normalised crops (B, 3, S, S), S = input_side / shrink, to HybrikHeads."""

    def __init__(self, config: HybrikConfig = RESNET34):
        super().__init__()
        self.config = config
        channels = JOINTS * config.depth_bins
        self.register_buffer("init_shape", torch.tensor(config.init_betas, dtype=torch.float32))
        self.register_buffer("init_cam", torch.tensor([config.init_scale, 0.0, 0.0][: config.camera], dtype=torch.float32))
        features = config.features
        if config.backbone == "hrnet":
            self.preact = HRNet(config.width, channels)
            features = 2048
        elif config.backbone == "pyramid":
            self.preact = Pyramid(config.layers, config.width, channels)
            self._build_linear_layers(config.width * len(config.layers))
        else:
            self.preact = ResNet(config.layers, config.width)
            self._build_resnet_head(channels)
        self.decshape = nn.Linear(features, 10)
        self.decphi = nn.Linear(features, 2 * TWISTS)
        self.deccam = nn.Linear(features, config.camera)
        self.decsigma = nn.Linear(features, JOINTS)

    def _build_resnet_head(self, channels: int) -> None:
        config = self.config
        inputs = config.width * 2 ** (len(config.layers) - 1)
        layers, outputs = [], inputs
        for outputs, before in zip(config.deconv, (inputs, *config.deconv), strict=False):
            layers += [nn.ConvTranspose2d(before, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(outputs, channels, 1)
        self._build_linear_layers(inputs)

    def _build_linear_layers(self, inputs: int) -> None:
        self.fc1 = nn.Linear(inputs, self.config.features)
        self.drop1 = nn.Dropout()
        self.fc2 = nn.Linear(self.config.features, self.config.features)
        self.drop2 = nn.Dropout()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Heat-map logits (B, 29, depth, height, width) and the backbone's pooled feature (B, C)."""
        return self.encoded(self.preact(images))

    def encoded(self, found: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What ``encode`` gives, from what the backbone ``preact`` gave."""
        if self.config.backbone == "resnet":
            logits, feature = self.final_layer(self.deconv_layers(found)), found.mean(dim=(2, 3))
        else:
            logits, feature = found
        return logits.reshape(len(logits), JOINTS, self.config.depth_bins, *logits.shape[2:]), feature

    def vector_heads(self, feature: Tensor) -> dict[str, Tensor]:
        """``phi``, ``betas``, ``camera`` and ``sigma`` of HybrikHeads from a pooled feature (B, C)."""
        if self.config.backbone != "hrnet":
            feature = self.drop2(self.fc2(self.drop1(self.fc1(feature))))
        return {
            "phi": self.decphi(feature).reshape(-1, TWISTS, 2),
            "betas": self.decshape(feature) + self.init_shape,
            "camera": self.deccam(feature) + self.init_cam,
            "sigma": self.decsigma(feature).sigmoid(),
        }

    def forward(self, images: Tensor) -> HybrikHeads:
        return self.plain_heads(self.encode(images))

    def plain_heads(self, encoded: tuple[Tensor, Tensor]) -> HybrikHeads:
        """The heads from what ``encode`` gave."""
        logits, feature = encoded
        uvd, maxvals = expected_uvd(heatmap_probabilities(logits))
        return HybrikHeads(uvd, maxvals, **self.vector_heads(feature))

    def forward_flip(self, images: Tensor) -> HybrikHeads:
        """The heads averaged over the crop and its mirror image."""
        return self.average_flip(self.encode(images), self.encode(images.flip(-1)))

    def average_flip(self, plain: tuple[Tensor, Tensor], mirrored: tuple[Tensor, Tensor]) -> HybrikHeads:
        """The averaged heads from what ``encode`` gave for the crop and for its mirror image.

        Probabilities (made to sum to 1 again), betas, twists and sigmas are averaged arithmetically, camera scales harmonically.
        """
        probabilities = (heatmap_probabilities(plain[0]) + unflip_probabilities(heatmap_probabilities(mirrored[0]))) / 2
        uvd, maxvals = expected_uvd(probabilities / probabilities.sum(dim=(2, 3, 4), keepdim=True))
        one, two = self.vector_heads(plain[1]), self.vector_heads(mirrored[1])
        scale = 2 / (1 / one["camera"][:, :1] + 1 / two["camera"][:, :1])
        side = (one["camera"][:, 1:] + two["camera"][:, 1:] * one["camera"].new_tensor([-1.0, 1.0])[: self.config.camera - 1]) / 2
        return HybrikHeads(
            uvd=uvd,
            maxvals=maxvals,
            phi=(one["phi"] + unflip_phi(two["phi"])) / 2,
            betas=(one["betas"] + two["betas"]) / 2,
            camera=torch.cat([scale, side], dim=1),
            sigma=(one["sigma"] + unflip_sigma(two["sigma"])) / 2,
        )


def normalise_crops(crops: Tensor, shrink: int = 1) -> Tensor:
    """RGB uint8 crops (B, 3, S, S) as the float32 that HybrIK was trained on (its channel means are in reversed order).

    Averaged over squares of ``shrink`` px first.
    """
    mean = torch.tensor(CHANNEL_MEAN, device=crops.device).reshape(3, 1, 1)
    std = torch.tensor(CHANNEL_STD, device=crops.device).reshape(3, 1, 1)
    pixels = nn.functional.avg_pool2d(crops.float(), shrink) if shrink > 1 else crops.float()
    return (pixels / 255 - mean) / std


def crop_geometry(squares_xyxy: Tensor, intrinsics: Tensor, config: HybrikConfig) -> tuple[Tensor, Tensor | float]:
    """(offset (B, 2), ratio) for ``back_project``: where the crop lies about the principal point, and how wide its view is."""
    side = squares_xyxy[:, 2:3] - squares_xyxy[:, :1]
    centre = (squares_xyxy[:, :2] + squares_xyxy[:, 2:]) / 2
    offset = (centre - intrinsics[:, :2, 2]) / side
    return offset, side / intrinsics[:, :1, 0] if config.intrinsics else CROP_OVER_FOCAL


def camera_state(
    heads: HybrikHeads,
    offset: Tensor,
    ratio: Tensor | float = CROP_OVER_FOCAL,
    *,
    refine: str = "none",
    pose: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    shift: Tensor | None = None,
) -> HybrikState:
    """The heads in metres. ``offset``, ``ratio``, ``shift``: see ``back_project``.

    ``refine`` "hybrik" or "niki" fits the camera scale once to the posed skeleton (weights max(0, 1 - 10 sigma), or 1 - 5 sigma);
    ``pose`` (joints29, phi, betas) to posed joints (B, 24, 3) m, any translation, is then needed.
    """
    scale = heads.camera[:, :1]
    joints, root = back_project(heads.uvd, scale, offset, ratio=ratio, shift=shift)
    if refine != "none":
        assert pose is not None
        posed = pose(joints, heads.phi, heads.betas)
        near = torch.cat([root[:, :2], root[:, 2:] - distance_of(scale, ratio)], dim=-1)
        sigma = heads.sigma[:, :24]
        weights = (1 - 10 * sigma).clamp(min=0) if refine == "hybrik" else 1 - 5 * sigma
        placed = posed - posed[:, :1] + near[:, None]
        scale = fitted_scale(placed, heads.uvd[:, :24], weights, scale=scale, offset=offset, ratio=ratio)
        joints, root = back_project(heads.uvd, scale, offset, ratio=ratio, shift=shift)
    return HybrikState(joints, root, scale, heads.sigma, heads.phi, heads.betas, heads.uvd)


def crop_heads(net: HybrikNet, crops: Tensor) -> HybrikHeads:
    """What ``net`` says about crops (B, 3, S, S) uint8, averaged with their mirror images where its configuration says so."""
    images = normalise_crops(crops, net.config.shrink)
    return net.forward_flip(images) if net.config.flip else net(images)


def crop_state(
    heads: HybrikHeads, batch: ViewBatch, config: HybrikConfig, *, refine: str, pose: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> HybrikState:
    """The heads of a batch's crops in metres. ``refine`` and ``pose``: see ``camera_state``."""
    offset, ratio = crop_geometry(batch.squares_xyxy, batch.intrinsics, config)
    return camera_state(heads, offset, ratio, refine=refine, pose=pose)


def true_camera(root: Tensor, batch: ViewBatch, config: HybrikConfig) -> Tensor:
    """A point (B, 3) m of the network's own camera under the image's true intrinsics: at the depth where it is as large."""
    _, ratio = crop_geometry(batch.squares_xyxy, batch.intrinsics, config)
    side = batch.squares_xyxy[:, 2:3] - batch.squares_xyxy[:, :1]
    depth = root[:, 2:] * ratio * batch.intrinsics[:, :1, 0] / side
    return torch.cat([root[:, :2], depth], dim=-1)
