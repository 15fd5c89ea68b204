"""What a HybrIK network says about crops that differ from a clean one in a box, without doing the rest of the work again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from hpsbench.models.nets.hybrik_net import HybrikHeads, HybrikNet, normalise_crops
from hpsbench.models.nets.local import Box, LocalNet, changed_box


@dataclass(frozen=True)
class KeptCrop:
    """A clean crop (3, S, S) uint8 and the backbone's values for it and, where the network averages both, for its mirror image."""

    crop: Tensor
    values: tuple[Mapping[fx.Node, Any], ...]


class LocalHybrik:
    """A HybrIK network whose backbone recomputes what the changed box of a crop can reach.

    ``backbone`` is the network's own, without anything joined; ``net`` does the rest. Raises HpsbenchError where the backbone cannot be
    followed layer by layer.
    """

    def __init__(self, net: HybrikNet, backbone: LocalNet):
        self.net, self.backbone = net, backbone

    def keep(self, crop: Tensor) -> KeptCrop:
        """What the answers for changed crops start from, of a clean crop (3, S, S) uint8."""
        return KeptCrop(crop, tuple(self.backbone.keep(image) for image in self._images(crop)))

    def heads(self, crop: Tensor, kept: KeptCrop) -> HybrikHeads:
        """The heads of one changed crop (3, S, S) uint8."""
        box, images = changed_box(kept.crop, crop), self._images(crop)
        boxes = [box and _shrunk(box, self.net.config.shrink)]
        boxes += [box and _mirrored(boxes[0], images[0].shape[-1])] * (len(images) - 1)
        encoded = [self.net.encoded(self.backbone(*given)) for given in zip(images, kept.values, boxes, strict=True)]
        return self.net.average_flip(*encoded) if self.net.config.flip else self.net.plain_heads(*encoded)

    def _images(self, crop: Tensor) -> list[Tensor]:
        image = normalise_crops(crop[None], self.net.config.shrink)
        return [image, image.flip(-1)] if self.net.config.flip else [image]


def _shrunk(box: Box, shrink: int) -> Box:
    """A box of the crop in pixels that are squares of ``shrink`` px."""
    return Box(box.top // shrink, -(-box.bottom // shrink), box.left // shrink, -(-box.right // shrink))


def _mirrored(box: Box, side: int) -> Box:
    return Box(box.top, box.bottom, side - box.right, side - box.left)
