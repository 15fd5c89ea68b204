"""HybrIK's networks and heads against the released ones (tests/data/nets), geometry by hand, and checkpoints good and bad."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from writers.smpl import standin
from writers.weights import CARD, SMALL_HYBRIK, small_hybrik, small_niki

from hpsbench.body.model import BodyArrays, BodyModel
from hpsbench.errors import WeightsError
from hpsbench.models.base import build_network, checkpoints_by_family, family_of
from hpsbench.models.ik.analytic import AnalyticIK
from hpsbench.models.ik.niki import ONE_STAGE, TWIST_SWING
from hpsbench.models.nets.checkpoint import kind_of, read_checkpoint
from hpsbench.models.nets.heads import (
    DEPTH_UNIT,
    back_project,
    expected_uvd,
    fitted_scale,
    heatmap_probabilities,
    unflip_phi,
    unflip_probabilities,
    unflip_sigma,
)
from hpsbench.models.nets.hrnet import HRNet
from hpsbench.models.nets.hybrik_net import (
    CHANNEL_MEAN,
    CHANNEL_STD,
    HRNET48,
    RESNET34,
    HybrikConfig,
    HybrikHeads,
    HybrikNet,
    camera_state,
    crop_geometry,
    normalise_crops,
    true_camera,
)
from hpsbench.types import ViewBatch

DATA = Path(__file__).parent / "data" / "nets"
KEYS = json.loads((DATA / "state_dict_keys.json").read_text())
HEAD = {key: torch.from_numpy(value) for key, value in np.load(DATA / "hybrik_head.npz").items() if value.dtype.kind == "f"}
CPU = torch.device("cpu")
# float32 soft-argmax over 262144 cells: 2e-5 reached; positions in units of 2.2 m.
TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def body() -> BodyModel:
    arrays, _ = standin(7)
    names = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f")
    return BodyModel(BodyArrays(*(arrays[name] for name in names)))


def headed(config: HybrikConfig, weights: str) -> HybrikNet:
    """A released network without its backbone, its heads as in the golden file."""
    with torch.device("meta"):
        net = HybrikNet(config)
    state = {key.removeprefix(weights): value.float() for key, value in HEAD.items() if key.startswith(weights)}
    state |= {"init_shape": HEAD["init_shape"], "init_cam": torch.tensor([0.9, 0.0, 0.0][: config.camera])}
    net.load_state_dict(state, strict=False, assign=True)
    return net.eval().requires_grad_(False)


def logits(prefix: str) -> torch.Tensor:
    z, y, x = (HEAD[f"{prefix}logits_{axis}"] for axis in "zyx")
    return z[..., :, None, None] + y[..., None, :, None] + x[..., None, None, :]


def golden_offset() -> torch.Tensor:
    boxes = HEAD["bboxes"]
    return ((boxes[:, :2] + boxes[:, 2:]) / 2 - HEAD["img_center"]) / (boxes[:, 2:] - boxes[:, :2])


class TestKeys:
    @pytest.mark.parametrize(
        ("config", "name", "count", "parameters"),
        [(RESNET34, "hybrik_resnet34_cam", 259, 27_622_616), (HRNET48, "hybrik_hrnet48_cam", 1975, 75_688_022)],
    )
    def test_keys_are_the_released_ones(self, config, name, count, parameters):
        with torch.device("meta"):
            net = HybrikNet(config)
        ours = [[key, list(value.shape), str(value.dtype)[6:]] for key, value in net.state_dict().items()]
        assert len(KEYS[name]) == count
        assert ours == [entry for entry in KEYS[name] if not entry[0].startswith("smpl.")]
        assert sum(parameter.numel() for parameter in net.parameters()) == parameters

    def test_init_shape_is_the_released_one(self):
        assert torch.allclose(HybrikNet(SMALL_HYBRIK).init_shape, torch.tensor(RESNET34.init_betas))


class TestGolden:
    @pytest.mark.parametrize("boxes", ["bbox", "nobbox"])
    @pytest.mark.parametrize("flip", ["flip", "noflip"])
    @pytest.mark.parametrize("repository", ["hybrik", "niki"])
    def test_hrnet(self, repository, flip, boxes, body):
        name = f"{repository}_hrnet_{flip}_{boxes}__"
        net = headed(HRNET48, "hrnet_w__")
        if flip == "flip":
            heads = net.average_flip((logits(""), HEAD["feat"]), (logits("flip_"), HEAD["flip_feat"]))
        else:
            heads = HybrikHeads(*expected_uvd(heatmap_probabilities(logits(""))), **net.vector_heads(HEAD["feat"]))
        solver = AnalyticIK(body.rest_joints29, adaptive=repository == "niki")
        offset = golden_offset() if boxes == "bbox" else torch.zeros(2, 2)
        state = camera_state(heads, offset, refine=repository, pose=solver.posed)
        answers = {
            "pred_uvd_jts": heads.uvd,
            "maxvals": heads.maxvals,
            "pred_phi": heads.phi,
            "pred_shape": heads.betas,
            "pred_camera": heads.camera,
            "scores": 1 - heads.sigma,
            "pred_xyz_jts_29": state.joints29 / DEPTH_UNIT,
        }
        for key, answer in answers.items():
            assert (answer - HEAD[name + key].reshape(answer.shape)).abs().max() < TOLERANCE, key
        # Camera and rotations follow from positions that differ by 2e-5: 1e-3, as the goldens suggest.
        rotmats = AnalyticIK(body.rest_joints29).ik(state.joints29, state.sigma, state.phi, state.betas).rotmats
        for key, answer in {"cam_scale": state.scale, "cam_root": state.root, "pred_theta_mats": rotmats}.items():
            assert (answer - HEAD[name + key].reshape(answer.shape)).abs().max() < 1e-3, key

    @pytest.mark.parametrize("boxes", ["bbox", "nobbox"])
    def test_resnet34(self, boxes, body):
        name = f"hybrik_res34_noflip_{boxes}__"
        net = headed(RESNET34, "res34_w__")
        heads = HybrikHeads(*expected_uvd(heatmap_probabilities(logits(""))), **net.vector_heads(HEAD["res34_feat"].mean(dim=(2, 3))))
        if boxes == "bbox":
            state = camera_state(heads, golden_offset())
        else:
            state = camera_state(heads, torch.zeros(2, 2), shift=heads.camera[:, 1:])
        answers = {"cam_scale": state.scale, "cam_root": state.root, "pred_xyz_jts_29": state.joints29 / DEPTH_UNIT, "pred_phi": heads.phi}
        for key, answer in answers.items():
            assert (answer - HEAD[name + key].reshape(answer.shape)).abs().max() < TOLERANCE, key
        rotmats = AnalyticIK(body.rest_joints29).ik(state.joints29, state.sigma, state.phi, state.betas).rotmats
        assert (rotmats - HEAD[f"{name}pred_theta_mats"].reshape(rotmats.shape)).abs().max() < 1e-3


class TestHeads:
    def test_expected_place_of_one_cell(self):
        """All mass in bin (z, y, x) = (1, 2, 3) of (4, 8, 16): (3/16, 2/8, 1/4) - 1/2, in float64 exactly."""
        maps = torch.zeros(1, 1, 4, 8, 16, dtype=torch.float64)
        maps[0, 0, 1, 2, 3] = 1
        uvd, largest = expected_uvd(maps)
        assert uvd[0, 0].tolist() == [3 / 16 - 1 / 2, 2 / 8 - 1 / 2, 1 / 4 - 1 / 2]
        assert largest.item() == 1

    def test_probabilities_sum_to_one(self):
        maps = heatmap_probabilities(torch.randn(2, 3, 4, 5, 6, dtype=torch.float64))
        assert maps.sum(dim=(2, 3, 4)).numpy() == pytest.approx(1, abs=1e-12)

    def test_unflip_mirrors_moves_and_swaps(self):
        maps = torch.zeros(1, 29, 1, 1, 4)
        maps[0, 1, 0, 0, 0] = 1  # left hip at 0 of 4 in the mirror image: the right hip at 1 - 0/4, which is one beyond the last cell
        maps[0, 4, 0, 0, 1] = 1  # left knee at 1/4: right knee at 3/4
        maps[0, 0, 0, 0, 3] = 1  # pelvis at 3/4: at 1/4, and its own first column (now 1) repeated on the left
        back = unflip_probabilities(maps)[0, :, 0, 0]
        assert back[2].tolist() == [0, 0, 0, 0]
        assert back[5].tolist() == [0, 0, 0, 1]
        assert back[0].tolist() == [1, 1, 0, 0]

    def test_unflip_of_twist_and_sigma(self):
        phi = torch.arange(46.0).reshape(1, 23, 2)
        assert unflip_phi(phi)[0, 0].tolist() == [2, -3]
        assert torch.equal(unflip_phi(unflip_phi(phi)), phi)
        sigma = torch.arange(29.0)[None]
        assert unflip_sigma(sigma)[0, [0, 1, 28]].tolist() == [0, 2, 27]

    @pytest.mark.parametrize("ratio", [0.256, 0.4])
    def test_back_projection_projects_back(self, ratio):
        """Under a camera of focal length side / ratio, every joint falls on its place in the crop."""
        torch.manual_seed(0)
        uvd, scale, offset = torch.rand(3, 29, 3).double() - 0.5, torch.rand(3, 1).double() + 0.5, torch.rand(3, 2).double()
        joints, root = back_project(uvd, scale, offset, ratio=ratio)
        places = joints + root[:, None]
        seen = places[..., :2] / places[..., 2:] / ratio
        assert (seen - (uvd[..., :2] + offset[:, None])).abs().max() < 1e-9
        assert joints[:, 0].abs().max() == 0

    @pytest.mark.parametrize("ratio", [0.256, 0.4])
    def test_fitted_scale_finds_the_camera(self, ratio):
        torch.manual_seed(1)
        uvd, scale, offset = torch.rand(3, 24, 3).double() - 0.5, torch.rand(3, 1).double() + 0.5, torch.rand(3, 2).double()
        joints, root = back_project(uvd, scale, offset, ratio=ratio)
        near = joints + root[:, None]
        near[..., 2] -= 1 / (ratio * scale)
        weights = torch.rand(3, 24).double()
        found = fitted_scale(near, uvd, weights, scale=torch.ones(3, 1).double(), offset=offset, ratio=ratio)
        assert (found - scale).abs().max() < 1e-9

    def test_fitted_scale_without_weights_keeps_the_scale(self):
        found = fitted_scale(
            torch.rand(1, 24, 3), torch.rand(1, 24, 3), torch.zeros(1, 24), scale=torch.tensor([[0.7]]), offset=torch.zeros(1, 2)
        )
        assert found.item() == pytest.approx(0.7)


class TestNetwork:
    def test_hrnet_sizes(self):
        """A narrow HRNet: heat maps at a quarter, a feature of 2048."""
        net = HRNet(width=4, channels=29 * 2).eval()
        with torch.no_grad():
            maps, feature = net(torch.zeros(1, 3, 64, 64))
        assert maps.shape == (1, 58, 16, 16)
        assert feature.shape == (1, 2048)

    def test_small_resnet(self):
        torch.manual_seed(0)
        net = HybrikNet(SMALL_HYBRIK)
        assert net.config.heatmap_side == 16
        heads = net(torch.randn(2, 3, 64, 64))
        assert heads.uvd.shape == (2, 29, 3)
        assert heads.camera.shape == (2, 3)
        sum(value.sum() for value in vars(heads).values()).backward()
        assert all(parameter.grad is not None for parameter in net.parameters())

    def test_pyramid(self):
        """128 px crops halved to 64 px: heat maps of 8 x 8 cells; every parameter is learned."""
        config = HybrikConfig(
            backbone="pyramid", layers=(1, 2, 1, 1), width=8, deconv=(), features=16, input_side=128, shrink=2, depth_bins=4, camera=1
        )
        torch.manual_seed(0)
        net = HybrikNet(config)
        logits, feature = net.encode(torch.randn(2, 3, 64, 64))
        assert logits.shape == (2, 29, 4, config.heatmap_side, config.heatmap_side) == (2, 29, 4, 8, 8)
        assert feature.shape == (2, 32)
        (logits.sum() + sum(value.sum() for value in net.vector_heads(feature).values())).backward()
        assert all(parameter.grad is not None for parameter in net.parameters())
        assert HybrikConfig.from_record(json.loads(json.dumps(config.to_record()))) == config

    def test_crops_are_averaged_before_a_small_input(self):
        crops = torch.tensor([[0, 10, 255, 255], [20, 30, 255, 255]], dtype=torch.uint8).repeat(2, 1).expand(1, 3, 4, 4)
        wanted = torch.tensor([[15.0, 255.0], [15.0, 255.0]]).expand(1, 3, 2, 2)
        mean, std = (torch.tensor(value).reshape(3, 1, 1) for value in (CHANNEL_MEAN, CHANNEL_STD))
        assert torch.allclose(normalise_crops(crops, 2), (wanted / 255 - mean) / std)

    def test_flip_test_of_a_mirrored_crop_is_mirrored(self):
        torch.manual_seed(0)
        net = HybrikNet(SMALL_HYBRIK).eval()
        crops = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            one, two = net.forward_flip(crops), net.forward_flip(crops.flip(-1))
        assert (unflip_phi(two.phi) - one.phi).abs().max() < 1e-5
        assert (unflip_sigma(two.sigma) - one.sigma).abs().max() < 1e-5
        assert (two.camera * torch.tensor([1, -1, 1]) - one.camera).abs().max() < 1e-5
        assert (two.betas - one.betas).abs().max() < 1e-5

    def test_channels_are_normalised_as_released(self):
        crops = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
        crops[0, 1] = 255
        expected = [-0.406 / 0.225, (1 - 0.457) / 0.224, -0.480 / 0.229]
        assert normalise_crops(crops).flatten().tolist() == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("true_one", [False, True])
    def test_crop_geometry(self, true_one):
        """A 200 px square about (300, 150); principal point (250, 200), focal length 1000: a quarter right, a quarter up, 0.2."""
        squares = torch.tensor([[200.0, 50.0, 400.0, 250.0]])
        intrinsics = torch.tensor([[[1000.0, 0, 250], [0, 1000.0, 200], [0, 0, 1]]])
        config = replace(SMALL_HYBRIK, intrinsics=true_one)
        offset, ratio = crop_geometry(squares, intrinsics, config)
        assert offset.tolist() == [[0.25, -0.25]]
        assert float(ratio) == pytest.approx(0.2 if true_one else 0.256)
        moved = true_camera(
            torch.tensor([[0.1, 0.2, 5.0]]), ViewBatch(("a",), None, squares, intrinsics), replace(SMALL_HYBRIK, intrinsics=true_one)
        )
        assert moved[0].tolist() == pytest.approx([0.1, 0.2, 5.0 if true_one else 6.4])

    def test_wrong_configurations_are_refused(self):
        with pytest.raises(ValueError, match="resnet"):
            HybrikConfig(backbone="vgg")
        with pytest.raises(ValueError, match="refine"):
            HybrikConfig(refine="twice")
        assert HybrikConfig.from_record(json.loads(json.dumps(SMALL_HYBRIK.to_record()))) == SMALL_HYBRIK


def released_state(config: HybrikConfig = RESNET34) -> dict[str, torch.Tensor]:
    """A state_dict of the released keys; one number stands behind all entries of a tensor."""
    with torch.device("meta"):
        state = HybrikNet(config).state_dict()
    return {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()}


class TestCheckpoints:
    def test_a_released_checkpoint_is_recognised(self, tmp_path):
        """Wrapped under "model", with SMPL buffers inside: all accounted for."""
        names = [entry[0] for entry in KEYS["hybrik_resnet34_cam"] if entry[0].startswith("smpl.")]
        torch.save({"model": released_state() | {name: torch.zeros(1) for name in names}, "epoch": 3}, tmp_path / "official.pth")
        checkpoint = read_checkpoint(tmp_path / "official.pth")
        assert (checkpoint.kind, checkpoint.set_aside, family_of(checkpoint)) == ("hybrik-resnet34", 9, "hybrik")
        net = build_network(checkpoint, "hybrik", CPU)
        assert net.config == RESNET34
        assert not net.training

    @pytest.mark.parametrize(("name", "config"), [("niki_ts", TWIST_SWING), ("niki_1stage", ONE_STAGE)])
    def test_a_released_niki_checkpoint_is_recognised(self, tmp_path, name, config):
        """Bare, every key behind "regressor.", with SMPL buffers inside."""
        state = {key: torch.zeros((), dtype=getattr(torch, dtype)).expand(shape) for key, shape, dtype in KEYS[name]}
        torch.save(state, tmp_path / "official.pth")
        checkpoint = read_checkpoint(tmp_path / "official.pth")
        assert checkpoint.set_aside == 9
        assert len(checkpoint.state) == len(KEYS[name]) - 9
        assert build_network(checkpoint, "niki", CPU).config == config

    @pytest.mark.parametrize(("name", "kind"), [("hybrik_hrnet48_cam", "hybrik-hrnet48"), ("hybrik_resnet34_cam", "hybrik-resnet34")])
    def test_kinds_of_hybrik(self, name, kind):
        assert kind_of({entry[0]: torch.zeros(1) for entry in KEYS[name]}) == kind

    @pytest.mark.parametrize(("name", "kind"), [("niki_ts", "niki-twist-swing"), ("niki_1stage", "niki-one-stage")])
    def test_kinds_of_niki(self, name, kind):
        assert kind_of({entry[0].removeprefix("regressor."): torch.zeros(1) for entry in KEYS[name]}) == kind

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda state: state.pop("fc1.bias"), r"1 missing, e.g. 'fc1.bias'"),
            (lambda state: state.update({"fc3.bias": torch.zeros(3)}), r"1 unexpected, e.g. 'fc3.bias'"),
            (lambda state: state.update({"smpl.surprise": torch.zeros(3)}), r"unexpected, e.g. 'smpl.surprise'"),
            (lambda state: state.update({"fc1.bias": torch.zeros(3)}), r"'fc1.bias' \(3,\) where \(1024,\) is expected"),
            (lambda state: state.update({"fc1.bias": torch.full((1024,), torch.nan)}), "NaN"),
        ],
    )
    def test_loading_is_strict(self, tmp_path, spoil, message):
        state = released_state()
        spoil(state)
        torch.save(state, tmp_path / "spoilt.pth")
        with pytest.raises(WeightsError, match=message):
            build_network(read_checkpoint(tmp_path / "spoilt.pth"), "hybrik", CPU)

    def test_half_precision_round_trip(self, tmp_path):
        checkpoint = read_checkpoint(small_hybrik(tmp_path / "small.safetensors"))
        assert checkpoint.card == CARD
        net = build_network(checkpoint, "hybrik", CPU)
        torch.manual_seed(0)
        before = HybrikNet(SMALL_HYBRIK)
        assert net.config == SMALL_HYBRIK
        assert net.fc1.weight.dtype == torch.float32
        assert (net.fc1.weight - before.fc1.weight).abs().max() < 2**-11
        assert torch.equal(net.fc1.bias, before.fc1.bias)

    def test_a_checkpoint_of_another_model(self, tmp_path):
        torch.save({"layer4.0.conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match="looks like: torchvision ResNet"):
            checkpoints_by_family([tmp_path / "other.pth"], ["hybrik"])
        with pytest.raises(WeightsError, match="looks like: torchvision ResNet"):
            build_network(read_checkpoint(tmp_path / "other.pth"), "hybrik", CPU)
        with pytest.raises(WeightsError, match=r"looks like: niki"):
            checkpoints_by_family([small_niki(tmp_path / "n.safetensors")], ["hybrik"])

    def test_something_unknown_shows_its_keys(self, tmp_path):
        torch.save({"one.weight": torch.zeros(1)}, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=r"unknown \(1 tensors: 'one.weight'"):
            checkpoints_by_family([tmp_path / "other.pth"], ["hybrik"])

    def test_two_of_one_kind(self, tmp_path):
        paths = [small_hybrik(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (0, 1)]
        with pytest.raises(WeightsError, match="a second one"):
            checkpoints_by_family(paths, ["hybrik", "niki"])

    def test_a_released_niki_needs_its_hybrik(self, tmp_path):
        torch.save({"flow_j2s.jts_masks": torch.zeros(1), "flow_s2r.mask": torch.zeros(1)}, tmp_path / "niki-ts.pth")
        with pytest.raises(WeightsError, match="needs a checkpoint of hybrik beside it"):
            checkpoints_by_family([tmp_path / "niki-ts.pth"], ["hybrik", "niki"])

    def test_broken_files(self, tmp_path):
        (tmp_path / "cut.safetensors").write_bytes(small_hybrik(tmp_path / "whole.safetensors").read_bytes()[:5000])
        save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
        torch.save([1, 2], tmp_path / "list.pth")
        for name, message in {
            "cut.safetensors": "no whole",
            "foreign.safetensors": "not written by hpsbench",
            "list.pth": "no state_dict",
        }.items():
            with pytest.raises(WeightsError, match=message):
                read_checkpoint(tmp_path / name)
        with pytest.raises(WeightsError, match="no weights file"):
            read_checkpoint(tmp_path / "absent.pth")

    def test_weights_of_another_version(self, tmp_path):
        checkpoint = read_checkpoint(small_hybrik(tmp_path / "small.safetensors"))
        with pytest.raises(WeightsError, match="another version"):
            build_network(replace(checkpoint, config={"colour": 1}), "hybrik", CPU)
