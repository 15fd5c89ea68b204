"""Occlusion sensitivity: 36 places of a patch on one person, the published way and ours, on a network of the size of HMR's.

And what a run of `hpsbench sensitivity` costs beside its model alone: the bundled NIKI on the CPU, a HybrIK with HRNet-W48 on a GPU.
"""

import copy
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.harness import seconds, show
from benchmarks.peers import slid_one_by_one
from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.base import open_dataset
from hpsbench.models.base import Model, load_model
from hpsbench.models.hybrik import Hybrik
from hpsbench.models.nets.checkpoint import write_weights
from hpsbench.models.nets.folding import folded
from hpsbench.models.nets.fused import fused
from hpsbench.models.nets.hybrik_net import HRNET48, HybrikNet
from hpsbench.models.nets.local import Box, LocalNet, changed_box
from hpsbench.protocol import load_protocol
from hpsbench.sensitivity import sensitivity
from hpsbench.types import Card

SIDE, PATCH, STRIDE = 224, 40, 40
_BATCH = 12
_PEER = "batch 1, patch and metric on the host"
_PROTOCOL = "pare-40-40@openhps-test"


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, inputs: int, planes: int, stride: int):
        super().__init__()
        sizes = ((inputs, planes, 1, 1), (planes, planes, 3, stride), (planes, 4 * planes, 1, 1))
        self.convs = nn.ModuleList(nn.Conv2d(i, o, k, s, k // 2, bias=False) for i, o, k, s in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o, _, _ in sizes)
        self.relu = nn.ReLU(inplace=True)
        plain = stride == 1 and inputs == 4 * planes
        self.shortcut = (
            nn.Identity() if plain else nn.Sequential(nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norms[0](self.convs[0](x)))
        y = self.relu(self.norms[1](self.convs[1](y)))
        return self.relu(self.norms[2](self.convs[2](y)) + self.shortcut(x))


class ResNet50(nn.Module):
    """Images (B, 3, 224, 224) to 14 joints (B, 14, 3) m: the 4.1 GMAC of a regressor such as HMR's or SPIN's, with random weights."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        blocks, inputs = [], 64
        for planes, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for k in range(count):
                blocks.append(Bottleneck(inputs, planes, 1 if k else stride))
                inputs = 4 * planes
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(inputs, 42)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images)).mean(dim=(2, 3))).unflatten(1, (14, 3))


@cache
def network() -> ResNet50:
    """The network with random weights, its norms set by a few images; its joints are a body's, moved by 0.05 m by what it sees."""
    torch.manual_seed(0)
    net, images = ResNet50().requires_grad_(False), torch.randn(8, 3, SIDE, SIDE)
    for row, box in zip(images[::2], places(9), strict=True):
        row[box.slices()] = 0
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.weight.uniform_(0.3, 0.6)
            module.bias.normal_(0, 0.1)
    for block in net.blocks:  # small beside the shortcut, as trained ones are: else rounding grows from block to block
        block.norms[2].weight *= 0.4
    net(images)
    net.eval()
    net.head.weight *= 0.05 / (net(images[:2]) - net.head.bias[None].unflatten(1, (14, 3))).std()
    net.head.bias.normal_(0, 0.3)
    return net


def person() -> tuple[Tensor, Tensor]:
    """A normalised image (1, 3, 224, 224) and joints (14, 3) m to compare with, near those that the network gives."""
    torch.manual_seed(1)
    return torch.randn(1, 3, SIDE, SIDE), network().head.bias.unflatten(0, (14, 3)) + 0.05 * torch.randn(14, 3)


def places(step: int = 1) -> list[Box]:
    """The 36 places of PARE's patch, the last ones cut off by the border; every ``step``-th of them."""
    starts = range(0, SIDE, STRIDE)
    return [Box(y, min(y + PATCH, SIDE), x, min(x + PATCH, SIDE)) for y in starts for x in starts][::step]


@torch.inference_mode()
def batched(net: Callable[[Tensor], Tensor], image: Tensor, gt: Tensor, boxes: Sequence[Box], dtype: torch.dtype = torch.float32) -> Tensor:
    """The field (P, 14) mm in batches, patches and errors where the network is."""
    answers = []
    for start in range(0, len(boxes), _BATCH):
        some = boxes[start : start + _BATCH]
        images = image.to(dtype).repeat(len(some), 1, 1, 1).contiguous(memory_format=torch.channels_last)
        for row, box in enumerate(some):
            images[row][box.slices()] = 0
        answers.append(net(images).float())
    return errors_mm(torch.cat(answers), gt)


def reached(net: LocalNet, image: Tensor, gt: Tensor, boxes: Sequence[Box], threads: int = 1) -> Tensor:
    """The field (P, 14) mm, of each place what the patch reaches; places are shared out to threads."""

    @torch.inference_mode()
    def answer(box: Box) -> Tensor:
        changed = image.clone()
        changed[box.slices()] = 0
        return net(changed, kept, changed_box(image[0], changed[0]))

    with torch.inference_mode():
        kept = net.keep(image)
    with ThreadPoolExecutor(threads) as pool:
        return errors_mm(torch.cat(list(pool.map(answer, boxes))), gt)


def errors_mm(joints: Tensor, gt: Tensor) -> Tensor:
    """Distances (P, 14) in mm, relative to joint 0."""
    return 1000 * ((joints - joints[:, :1]) - (gt - gt[:1])).norm(dim=-1)


def ways() -> dict[str, Callable[[Sequence[Box]], Tensor]]:
    """The field by each way in float32, by name; the first is the published one."""
    net, (image, gt) = network(), person()
    light, quick, local = folded(net).to(memory_format=torch.channels_last), fused(net), LocalNet(net)
    return {
        _PEER: lambda boxes: slid_one_by_one(net, image, gt, boxes),
        "batched and folded": lambda boxes: batched(light, image, gt, boxes),
        "batched and fused": lambda boxes: batched(quick, image, gt, boxes),
        "only what the patch reaches": lambda boxes: reached(local, image, gt, boxes),
    }


def fields() -> None:
    """The error field of one person, exact float32 and bfloat16, on one thread; with what changes the numbers said."""
    boxes, found = places(), ways()
    exact = found[_PEER](boxes)
    peer = seconds(lambda: found[_PEER](boxes), tries=2)
    asked = {"batched and folded": 1.16, "batched and fused": 1.7, "only what the patch reaches": 2}
    for name, least in asked.items():
        print(f"{name}: {(found[name](boxes) - exact).abs().max():.1e} mm from the published way at most (asked for: 1e-3)")
        show(f"error field, {name}", len(boxes), seconds(lambda name=name: found[name](boxes), tries=2), peer, _PEER, least)
    net, (image, gt) = network(), person()
    half = folded(net).to(torch.bfloat16, memory_format=torch.channels_last)
    apart = (batched(half, image, gt, boxes, torch.bfloat16) - exact).abs()
    show("error field, bfloat16", len(boxes), seconds(lambda: batched(half, image, gt, boxes, torch.bfloat16), tries=2), peer, _PEER)
    print(f"bfloat16 moves errors by {apart.mean():.1f} mm, {apart.max():.1f} mm at most: an option, never the default")


def two_threads() -> None:
    """The same on two threads: the published way gives both to each pass, ours gives each its own places."""
    net, (image, gt), boxes, local = network(), person(), places(), LocalNet(network())
    torch.set_num_threads(2)
    try:
        peer = seconds(lambda: slid_one_by_one(net, image, gt, boxes), tries=2)
    finally:
        torch.set_num_threads(1)
    ours = seconds(lambda: reached(local, image, gt, boxes, threads=2), tries=2)
    show("error field, what is reached, two threads", len(boxes), ours, peer, f"{_PEER}, two threads", 2.5)


def compiled() -> None:
    """The same by torch.compile, which takes a minute or more before the first answer and needs a C++ compiler."""
    net, (image, gt), boxes = network(), person(), places()
    quick = torch.compile(copy.deepcopy(net).to(memory_format=torch.channels_last), dynamic=False, options={"freezing": True})
    ours = seconds(lambda: batched(quick, image, gt, boxes), tries=2)
    peer = seconds(lambda: slid_one_by_one(net, image, gt, boxes), tries=2)
    show("error field, torch.compile", len(boxes), ours, peer, _PEER, 1.7)


def runs() -> None:
    """Whole runs over people of the embedded set, against their model alone; on a GPU also against the published way."""
    bodies = load_bodies(None)
    show_run(load_model("niki", bodies=bodies, device=torch.device("cpu")), people=8)
    if torch.cuda.is_available():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "hrnet.safetensors"
            write_weights(path, HybrikNet(HRNET48), family="hybrik", config=HRNET48.to_record(), card=Card("HRNet-W48", *["random"] * 3))
            show_published(load_model("hybrik", weights=[path], bodies=bodies, device=torch.device("cuda")), people=64, batch_size=128)


def show_run(model: Model, *, people: int, batch_size: int = 32) -> float:
    """A row for the passes a second of a run and its model's crops a second on full batches, as the run itself tells them; the former."""
    protocol, bodies = load_protocol(_PROTOCOL), load_bodies(None)
    rule = protocol.data
    how = {"split": rule.split, "frames": rule.frames, "bbox": rule.bbox, "bbox_scale": rule.bbox_scale}
    dataset = open_dataset(rule.dataset, None, **how, bodies=bodies)
    with tempfile.TemporaryDirectory() as folder:
        device = model.device.type
        cost = sensitivity(model, protocol, dataset, bodies, folder, device=device, batch_size=batch_size, limit=people)["cost"]
    ours, bare = cost["passes_per_second"], cost["bare_crops_per_second"]
    where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    show(
        f"passes of a run, {model.card.name}, {where}", cost["passes"], cost["passes"] / ours, cost["passes"] / bare, "the model alone", 0.9
    )
    return ours


def show_published(model: Hybrik, *, people: int, batch_size: int) -> None:
    """``show_run``, and the same network's passes the published way."""
    ours, boxes = show_run(model, people=people, batch_size=batch_size), places()
    image, gt = torch.randn(1, 3, model.crop.side, model.crop.side), person()[1]

    def joints(images: Tensor) -> Tensor:
        return model.net(images.to(model.device)).uvd[:, :14].cpu()

    peer = seconds(lambda: slid_one_by_one(joints, image, gt, boxes), tries=2)
    show(f"passes of a run, {model.card.name}", len(boxes), len(boxes) / ours, peer, _PEER, 20)
