"""HRNet with a heat-map output and a pooled feature, with the parameter names of the HybrIK release.

Source: Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from hpsbench.models.nets.resnet import BasicBlock, Bottleneck, conv3x3

HEAD_PLANES = (32, 64, 128, 256)
STAGE_MODULES = (1, 4, 3)


def _conv_bn_relu(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _upwards(inputs: int, outputs: int, factor: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.Upsample(scale_factor=factor))


def _downwards(inputs: int, outputs: int, steps: int) -> nn.Sequential:
    chain = [_conv_bn_relu(inputs, inputs, 2) for _ in range(steps - 1)]
    return nn.Sequential(*chain, nn.Sequential(conv3x3(inputs, outputs, 2), nn.BatchNorm2d(outputs)))


class FuseModule(nn.Module):
    """Four basic blocks per branch, then every branch added to every other one at its resolution."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*[BasicBlock(w, w) for _ in range(4)]) for w in widths)
        self.fuse_layers = nn.ModuleList(nn.ModuleList(self._link(widths, j, i) for j in range(len(widths))) for i in range(len(widths)))
        self.relu = nn.ReLU(inplace=True)

    @staticmethod
    def _link(widths: Sequence[int], source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source > target:
            return _upwards(widths[source], widths[target], 2 ** (source - target))
        return _downwards(widths[source], widths[target], target - source)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for links in self.fuse_layers:
            total = links[0](maps[0])
            for link, x in zip(links[1:], maps[1:], strict=True):
                total = total + link(x)
            fused.append(self.relu(total))
        return fused


class HRNet(nn.Module):
    """Images (B, 3, S, S) to heat-map logits (B, channels, S / 4, S / 4) and a feature (B, 2048)."""

    def __init__(self, width: int = 48, channels: int = 29 * 64):
        super().__init__()
        widths = [width * 2**k for k in range(4)]
        self.conv1 = conv3x3(3, 64, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = conv3x3(64, 64, 2)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Bottleneck(64, 64), *[Bottleneck(256, 64) for _ in range(3)])
        self.transition1 = nn.ModuleList([_conv_bn_relu(256, widths[0], 1), nn.Sequential(_conv_bn_relu(256, widths[1], 2))])
        for stage, count in enumerate(STAGE_MODULES, start=2):
            setattr(self, f"stage{stage}", nn.ModuleList(FuseModule(widths[:stage]) for _ in range(count)))
            if stage < 4:
                new = nn.Sequential(_conv_bn_relu(widths[stage - 1], widths[stage], 2))
                setattr(self, f"transition{stage}", nn.ModuleList([*[nn.Identity() for _ in range(stage)], new]))
        self._build_feature_head(widths)
        self.final_layer = nn.Conv2d(widths[0], channels, 1)

    def _build_feature_head(self, widths: Sequence[int]) -> None:
        outputs = [4 * planes for planes in HEAD_PLANES]
        self.incre_modules = nn.ModuleList(nn.Sequential(Bottleneck(w, p)) for w, p in zip(widths, HEAD_PLANES, strict=True))
        self.downsamp_modules = nn.ModuleList(
            nn.Sequential(conv3x3(outputs[i], outputs[i + 1], 2, bias=True), nn.BatchNorm2d(outputs[i + 1]), nn.ReLU(inplace=True))
            for i in range(3)
        )
        self.final_feat_layer = nn.Sequential(nn.Conv2d(outputs[3], 2048, 1), nn.BatchNorm2d(2048), nn.ReLU(inplace=True))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(images))))))
        x = self.layer1(x)
        maps = [transition(x) for transition in self.transition1]
        for stage in (2, 3, 4):
            for module in getattr(self, f"stage{stage}"):
                maps = module(maps)
            if stage < 4:
                maps = [*maps, getattr(self, f"transition{stage}")[stage](maps[-1])]
        feature = self.incre_modules[0](maps[0])
        for i in range(3):
            feature = self.incre_modules[i + 1](maps[i + 1]) + self.downsamp_modules[i](feature)
        return self.final_layer(maps[0]), self.final_feat_layer(feature).mean(dim=(2, 3))
