"""Networks made faster with the same answers: folded, fused, and computed again only where a patch reaches."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from writers.batches import batch_of, patched
from writers.weights import SMALL_HYBRIK, SMALL_NIKI, small_hybrik, small_niki

from hpsbench.body.bodies import load_bodies
from hpsbench.errors import HpsbenchError
from hpsbench.models.base import load_model, rows_of
from hpsbench.models.nets.folding import folded
from hpsbench.models.nets.fused import FusedConv, fused, fused_graph
from hpsbench.models.nets.hrnet import HRNet
from hpsbench.models.nets.local import Box, LocalNet, Reach, changed_box, reach_of
from hpsbench.models.nets.pyramid import Pyramid
from hpsbench.models.nets.resnet import ResNet

CPU = torch.device("cpu")
# float32 sums of some thousand terms in another order.
ROUNDING = 1e-5


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network in evaluation mode, with batch norms that do something."""
    rng = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.track_running_stats:
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=rng) / 10)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=rng) / 2 + 0.5)
            if module.affine:
                module.weight.data.copy_(torch.rand(module.weight.shape, generator=rng) / 2 + 0.5)
                module.bias.data.copy_(torch.randn(module.bias.shape, generator=rng) / 10)
    return net.eval().requires_grad_(False)


def seeded(make, *given) -> nn.Module:
    torch.manual_seed(3)
    return lively(make(*given))


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in net.modules())


def image(side: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def flat(answer) -> torch.Tensor:
    return torch.cat([part.flatten() for part in answer]) if isinstance(answer, tuple) else answer.flatten()


class Shared(nn.Module):
    """Every pair that must not be folded, and one that may: ``open`` is used twice, ``often`` is called twice."""

    def __init__(self):
        super().__init__()
        self.open, self.open_norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.often, self.often_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.last, self.last_norm = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False)
        self.unmoved = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        x = self.open(x)
        x = x + self.open_norm(x)
        x = self.often_norm(self.often(x))
        x = self.often_norm(self.often(x))
        return self.unmoved(self.last_norm(self.last(x)))


class Untraceable(nn.Module):
    """Asks how many images there are, which a trace cannot know; its parts can be traced."""

    def __init__(self):
        super().__init__()
        self.size = 7
        self.part = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.up = nn.Sequential(nn.ConvTranspose2d(4, 2, 4, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Hardswish(inplace=True))
        self.head = nn.Linear(2, 5)

    def forward(self, x):
        return self.head(self.up(self.part(x)).mean((2, 3))).view(len(x), 5)


class Overwriting(nn.Module):
    """A ReLU in place on a map that is used again afterwards: the second use sees it rectified."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.one(x)
        return self.two(self.relu(x)) + x


class Sums(nn.Module):
    """Sums of every kind behind convolutions: in place, with a factor, of a map with itself, of one row for all, of two convolutions."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 if k == 0 else 4, 4, 3, padding=1) for k in range(6))
        self.shift = nn.AdaptiveAvgPool2d(1)
        self.smooth = nn.SiLU(inplace=True)

    def forward(self, x):
        a = F.relu(self.convs[0](x))
        b = self.convs[1](a)
        b += a
        c = torch.add(self.convs[2](b), b, alpha=2.0)
        d = self.convs[3](c)
        d = (d + d).relu_()
        d = self.convs[2](d) + d
        e = torch.relu(self.convs[4](d) + self.convs[5](c))
        return self.smooth(self.convs[1](e) + self.shift(e))


class TestFolding:
    @pytest.mark.parametrize(("make", "given"), [(ResNet, ((1, 2), 8)), (HRNet, (4, 6)), (Pyramid, ((1, 1, 1, 1), 8, 6))])
    def test_the_bundled_kinds_lose_every_norm_and_answer_the_same(self, make, given):
        net = seeded(make, *given)
        before, keys = copy.deepcopy(net.state_dict()), norms(net)
        quick, x = folded(net), image()
        assert (norms(quick), norms(net)) == (0, keys)
        assert type(quick) is make
        assert (flat(quick(x)) - flat(net(x))).abs().max() <= ROUNDING * flat(net(x)).abs().max()
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())

    def test_by_hand(self):
        """One cell, one channel: (3 x + 1 - 2) / sqrt(4 - eps + eps) * 6 + 5 = 9 x + 2, x = 7."""
        net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
        for tensor, value in zip(net.state_dict().values(), (3.0, 1.0, 6.0, 5.0, 2.0, 4.0 - 1e-5), strict=False):
            tensor.fill_(value)
        quick = folded(net)
        assert isinstance(quick[1], nn.Identity)
        assert quick[0].weight.item() == pytest.approx(9, rel=1e-7)
        assert quick[0].bias.item() == pytest.approx(2, rel=1e-7)
        assert quick(torch.full((1, 1, 1, 1), 7.0)).item() == pytest.approx(65)

    def test_pairs_that_are_shared_stay(self):
        net = seeded(Shared)
        quick, x = folded(net), image(8)
        assert [type(getattr(quick, f"{name}_norm")) for name in ("open", "often", "last")] == [nn.BatchNorm2d, nn.BatchNorm2d, nn.Identity]
        assert (quick(x) - net(x)).abs().max() < ROUNDING

    def test_a_norm_under_two_names_is_taken_out_under_both(self):
        class Twice(nn.Sequential):
            def __init__(self):
                super().__init__(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
                self.same = self[1]

            def forward(self, x):
                return self.same(self[0](x))

        net = seeded(Twice)
        assert (folded(net)(image(4)) - net(image(4))).abs().max() < ROUNDING

    def test_parts_of_what_cannot_be_traced(self):
        net = seeded(Untraceable)
        quick, x = folded(net), image(16)
        assert norms(quick) == 0
        assert quick.size == 7
        assert (quick(x) - net(x)).abs().max() < ROUNDING


class TestFused:
    @pytest.mark.parametrize(
        ("make", "given"),
        [
            (ResNet, ((1, 2), 8)),
            (HRNet, (4, 6)),
            (Pyramid, ((1, 1, 1, 1), 8, 6)),
            (Untraceable, ()),
            (Overwriting, ()),
            (Sums, ()),
            (Shared, ()),
        ],
    )
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_answers_are_those_of_the_network(self, make, given, dtype):
        net, x = seeded(make, *given).to(dtype), torch.cat([image(32), image(32, 2)]).to(dtype)
        tolerance = ROUNDING if dtype == torch.float32 else 1e-12
        quick = fused(net)
        assert type(quick) is make
        for images in (x, x[:1], x.flip(0)):
            expected = flat(net(images.clone()))
            assert (flat(quick(images.clone())) - expected).abs().max() <= tolerance * expected.abs().max()

    def test_sum_and_relu_are_done_by_the_convolution(self):
        graph = fused_graph(seeded(ResNet, (1, 2), 8))
        targets = {node.op for node in graph.graph.nodes} | {type(module).__name__ for module in graph.modules()}
        assert targets >= {"call_module", "FusedConv", "MaxPool2d"}
        assert not targets & {"call_function", "call_method", "ReLU", "BatchNorm2d", "Conv2d"}

    def test_a_window_is_not_padded(self):
        conv, x = nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False), image(6)
        assert torch.allclose(FusedConv(conv, relu=True).unpadded(x), F.relu(F.conv2d(x, conv.weight, conv.bias)), atol=1e-6)
        single = nn.Conv2d(3, 4, 1, stride=2, bias=False).requires_grad_(False)
        assert torch.allclose(FusedConv(single, relu=False).unpadded(x), single(x), atol=1e-6)

    def test_what_cannot_be_followed(self):
        assert fused_graph(seeded(Untraceable)) is None
        assert fused_graph(seeded(Overwriting)) is None
        with pytest.raises(HpsbenchError, match=r"A Overwriting cannot be followed .* its ordinary answers"):
            LocalNet(seeded(Overwriting))


class TestReach:
    def test_by_hand(self):
        """ResNet's first layer, 7 cells at a step of 2 with 3 zeros around: pixels 80 to 119 are seen by answers 39 to 61, which look at
        pixels 75 to 125."""
        reach = reach_of(FusedConv(nn.Conv2d(3, 1, 7, 2, 3), relu=True))
        assert reach.answers(Box(80, 120, 0, 40), (112, 112)) == Box(39, 62, 0, 22)
        assert reach.looked_at(Box(39, 62, 0, 22)) == Box(75, 126, -3, 46)

    @pytest.mark.parametrize(
        ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (1, 2, 0, 1), (3, 2, 1, 1), (5, 2, 1, 2), (2, 3, 1, 1), (4, 4, 0, 1)]
    )
    @pytest.mark.parametrize("span", [(0, 1), (4, 9), (13, 17)])
    def test_against_what_moves(self, kernel, stride, padding, dilation, span):
        """A convolution of ones on a row of 17 cells: exactly the answers that see the span move."""
        row, ones = torch.zeros(1, 1, 17, 17), torch.ones(1, 1, kernel, kernel)
        row[..., slice(*span)] = 1
        moved = F.conv2d(row, ones, stride=stride, padding=padding, dilation=dilation)[0, 0].sum(0).nonzero().flatten().tolist()
        count = F.conv2d(row, ones, stride=stride, padding=padding, dilation=dilation).shape[-1]
        reach = Reach((kernel,) * 2, (stride,) * 2, (padding,) * 2, (dilation,) * 2, 0.0)
        box = reach.answers(Box(0, 17, *span), (count, count))
        assert set(moved) <= set(range(box.left, box.right))
        if moved:
            assert (box.left, box.right) == (moved[0], moved[-1] + 1)
        assert box.left < box.right

    def test_unknown_operations_have_none(self):
        refused = (
            nn.Linear(2, 2),
            nn.Upsample(2),
            nn.AvgPool2d(2, padding=1),
            nn.MaxPool2d(2, return_indices=True),
            nn.Conv2d(1, 1, 1),
            None,
        )
        assert [reach_of(module) for module in refused] == [None] * 6

    def test_changed_box(self):
        one = torch.zeros(3, 9, 9, dtype=torch.uint8)
        two = one.clone()
        assert changed_box(one, two) is None
        two[2, 4, 1] = two[0, 6, 7] = 1
        assert changed_box(one, two) == Box(4, 7, 1, 8)


class Pools(nn.Module):
    """Pools of all kinds, sums and activations of maps that change in different boxes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 1, 2, dilation=2)
        self.most, self.mean = nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(2)
        self.wide, self.narrow, self.norm = nn.Conv2d(6, 6, 5, padding=2), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.act, self.scale = nn.SiLU(inplace=True), nn.Parameter(torch.full((1, 6, 1, 1), 0.5))

    def forward(self, x):
        x = self.mean(self.act(self.norm(self.most(self.stem(x)))))
        x = torch.relu(self.wide(x) + self.narrow(x)) + self.wide(x).relu()
        return (x * self.scale).flatten(1), x.sigmoid().mean()


BOXES = [Box(0, 16, 0, 16), Box(24, 40, 24, 40), Box(60, 64, 8, 24), Box(31, 32, 33, 34), Box(0, 64, 20, 22), Box(0, 64, 0, 64)]


class TestLocalNet:
    @pytest.mark.parametrize(
        ("make", "given"), [(ResNet, ((2, 2, 1), 8)), (HRNet, (4, 6)), (Pyramid, ((1, 1, 1, 1), 8, 6)), (Pools, ()), (Sums, ())]
    )
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_answers_are_those_of_the_network(self, make, given, dtype):
        net = seeded(make, *given).to(dtype)
        local, clean = LocalNet(net), image().to(dtype)
        kept = local.keep(clean)
        tolerance = ROUNDING if dtype == torch.float32 else 1e-12
        for box in BOXES:
            other = clean.clone()
            other[box.slices()] = 2.5
            expected = flat(net(other.clone()))
            assert (flat(local(other, kept, box)) - expected).abs().max() <= tolerance * expected.abs().max(), box
        assert (flat(net(clean.clone())) - flat(local(clean, kept, None))).abs().max() <= tolerance * expected.abs().max()

    def test_only_what_the_patch_reaches_is_computed(self, monkeypatch):
        """A patch of 16 px in a corner of 64 px: the first layer gives 10 x 10 of its 32 x 32 cells, the pool 6 x 6 of its 16 x 16, then
        the first block 7 x 7 and 8 x 8; the clean maps are left as they were."""
        local = LocalNet(seeded(ResNet, (1, 1), 8))
        clean = image()
        kept = local.keep(clean)
        before = {node: value.clone() for node, value in kept.items()}
        sizes, unpadded = [], FusedConv.unpadded
        monkeypatch.setattr(FusedConv, "unpadded", lambda self, *maps: sizes.append(unpadded(self, *maps)) or sizes[-1])
        other = clean.clone()
        other[..., :16, :16] = 0
        local(other, kept, Box(0, 16, 0, 16))
        assert [tuple(size.shape[2:]) for size in sizes[:3]] == [(10, 10), (7, 7), (8, 8)]
        assert all(torch.equal(value, before[node]) for node, value in kept.items())


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None)


@pytest.fixture(scope="module", params=["hybrik", "flipping", "pyramid", "niki"])
def model(request, bodies, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    config = {
        "flipping": replace(SMALL_HYBRIK, flip=True, input_side=128, shrink=2),
        "pyramid": replace(SMALL_HYBRIK, backbone="pyramid", deconv=(), flip=True),
    }.get(request.param, SMALL_HYBRIK)
    weights = [small_hybrik(folder / "hybrik.safetensors", config)]
    name = "niki" if request.param == "niki" else "hybrik"
    weights += [small_niki(folder / "niki.safetensors", SMALL_NIKI)] * (name == "niki")
    found = load_model(name, weights=weights, bodies=bodies, device=CPU)
    lively(found.net)
    return found


class TestModels:
    def near(self, model, one, two) -> bool:
        """Within 1e-6 m, and rotations too where they are made of more than rounding."""
        keys = ["betas", "trans", "confidence"] + (["rotmats"] if model.card.name == "niki" else []) + ["joints"] * (one.joints is not None)
        return all((vars(one)[key] - vars(two)[key]).abs().max() < 2e-5 for key in keys)

    def test_faster_and_slid_answers_are_the_ordinary_ones(self, model):
        clean = batch_of(2, model.crop.side)
        clean = rows_of(clean, [0, 1, 0, 1, 1])
        batch, quick = patched(clean), model.faster()
        expected = model.predict(batch)
        assert (quick.local is not None) == (model.net.config.backbone == "resnet")
        assert self.near(model, quick.predict(batch), expected)
        slid = quick.slide(clean, batch)
        assert self.near(model, slid, expected)
        order = [4, 0, 2]
        some = quick.slide(rows_of(clean, order), rows_of(batch, order))
        assert all(torch.equal(vars(some)[key], vars(slid)[key][order]) for key in ("betas", "rotmats", "trans", "confidence"))

    def test_the_ordinary_model_is_left_as_it_was(self, model):
        batch = patched(batch_of(2, model.crop.side))
        before = model.predict(batch)
        model.faster().predict(batch)
        after = model.slide(batch_of(2, model.crop.side), batch)
        assert torch.equal(before.betas, after.betas)
        assert torch.equal(before.trans, after.trans)

    def test_without_flips(self, model):
        batch = batch_of(2, model.crop.side)
        assert self.near(model, model.without_flips().faster().slide(batch, batch), model.without_flips().predict(batch))
        assert self.near(model, model.faster().without_flips().slide(batch, batch), model.without_flips().predict(batch))

    def test_views_of_other_people_are_refused(self, model):
        if model.net.config.backbone == "resnet":
            batch = batch_of(3, model.crop.side)
            with pytest.raises(ValueError, match="Give each occluded view beside its own clean one"):
                model.faster().slide(rows_of(batch, [1, 0, 2]), batch)


def test_a_model_without_networks_is_as_fast_as_before(bodies):
    model, batch = load_model("mean-pose", bodies=bodies, device=CPU), batch_of(3, None)
    assert torch.equal(model.faster().slide(batch, batch).rotmats, model.predict(batch).rotmats)
