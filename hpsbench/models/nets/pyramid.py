"""A small feature pyramid: what matrix units are fed well by, for networks that are trained and run without a GPU."""

from collections.abc import Sequence

from torch import Tensor, nn

from hpsbench.models.nets.resnet import BasicBlock, conv3x3

STEM_CELL = 4


class Pyramid(nn.Module):
    """Images (B, 3, S, S), S a multiple of 32, to maps (B, channels, S / 8, S / 8) and the mean of the last stage (B, 4 * width).

    Squares of 4 x 4 px become channels; four stages of basic blocks (``layers`` says how many in each) of 1, 2, 3 and 4 times ``width``,
    each but the first halving the size; then back up to the second stage's size, each stage's map added on the way.
    """

    def __init__(self, layers: Sequence[int], width: int, channels: int):
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(STEM_CELL)
        self.stem = _layer(3 * STEM_CELL**2, width)
        widths = [width * (stage + 1) for stage in range(len(layers))]
        self.stages = nn.ModuleList(
            nn.Sequential(BasicBlock(inputs, outputs, stride), *(BasicBlock(outputs, outputs) for _ in range(count - 1)))
            for inputs, outputs, stride, count in zip((width, *widths), widths, (1, 2, 2, 2), layers, strict=False)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(inputs, 2 * width, 1) for inputs in widths[1:])
        self.smooth = nn.ModuleList(_layer(2 * width, 2 * width) for _ in widths[1:-1])
        self.upsample = nn.Upsample(scale_factor=2)
        self.final = nn.Conv2d(2 * width, channels, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(self.unshuffle(images))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        y = self.lateral[-1](x)
        for level in reversed(range(len(self.smooth))):
            y = self.smooth[level](self.upsample(y) + self.lateral[level](maps[level + 1]))
        return self.final(y), x.mean(dim=(2, 3))


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv3x3(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
