"""The NIKI networks against the released ones: keys, whole passes in both directions, the camera head (tests/data/nets)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from writers.smpl import standin
from writers.weights import fill_by_recipe

from hpsbench.body.model import BodyArrays, BodyModel
from hpsbench.geometry import rotmat_to_rot6d_rows, rotvec_to_rotmat
from hpsbench.models.ik.niki import (
    ONE_STAGE,
    PADDING,
    TWIST_SWING,
    NikiConfig,
    build_niki,
    placed_translation,
    projected_uv,
)

DATA = Path(__file__).parent / "data" / "nets"
KEYS = json.loads((DATA / "state_dict_keys.json").read_text())
SHAPE_MASKS = {"zero_noise_shapemask1": [1, 0.5, 0, 1] * 4}
# What a pose's parts are called in the golden files, by pass.
POSE_NAMES = {
    "pred": {"inv_pred2rot6d": "rot6d", "rotmat": "rotmats", "inv_pred2swingrot6d": "swing6d"}
    | {"inv_pred2zes": "z", "inv_pred2zet": "z_twist"},
    "gt": {"inv_gt2rot6d": "rot6d", "inv_gt2rotmat": "rotmats", "inv_gt2swingrot6d": "swing6d"}
    | {"inv_gt2zes": "z", "inv_gt2zet": "z_twist"},
}
# Reached here: 8e-5 on values up to 50 (float32); the goldens' own suggestion is 2e-4.
TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def body() -> BodyModel:
    arrays, _ = standin(7)
    names = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f")
    return BodyModel(BodyArrays(*(arrays[name] for name in names)))


def load(kind: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor], int]:
    raw = np.load(DATA / f"{kind}_io.npz")
    golden = {}
    for key in raw.files:
        if raw[key].dtype.kind in "fi":
            value = torch.from_numpy(raw[key])
            golden[key] = value.flatten(0, 1) if value.shape[:2] == (2, 4) else value
    network = build_niki(TWIST_SWING if kind == "niki_ts" else ONE_STAGE).eval().requires_grad_(False)
    return network, golden, fill_by_recipe(network, int(raw["weight_seed"]), "regressor.")


@pytest.fixture(scope="module")
def twist_swing():
    return load("niki_ts")


@pytest.fixture(scope="module")
def one_stage():
    return load("niki_1stage")


def near(answer: torch.Tensor, golden: torch.Tensor) -> bool:
    return (answer - golden.reshape(answer.shape)).abs().max().item() < TOLERANCE


@pytest.mark.parametrize(("config", "name", "entries"), [(TWIST_SWING, "niki_ts", 396), (ONE_STAGE, "niki_1stage", 211)])
def test_keys_are_the_released_ones(config, name, entries):
    with torch.device("meta"):
        network = build_niki(config)
    ours = [["regressor." + key, list(value.shape), str(value.dtype)[6:]] for key, value in network.state_dict().items()]
    smpl = [entry for entry in KEYS[name] if ".smpl_layer." in entry[0]]
    assert len(KEYS[name]) == entries
    assert len(smpl) == 9
    assert ours == [entry for entry in KEYS[name] if entry not in smpl]


def test_parameter_counts():
    with torch.device("meta"):
        counts = [sum(p.numel() for p in build_niki(config).parameters()) for config in (TWIST_SWING, ONE_STAGE)]
    assert counts == [29_011_392, 16_478_723]


class TestTwistSwing:
    def test_weights_follow_the_recipe(self, twist_swing):
        assert twist_swing[2] == twist_swing[1]["check_total_q"]

    @pytest.mark.parametrize("variant", ["zero_noise", "given_noise", "zero_noise_shapemask1"])
    def test_golden(self, twist_swing, variant, body):
        network, golden, _ = twist_swing
        network.flow_j2s.shape_masks.copy_(torch.tensor(SHAPE_MASKS.get(variant, [0.0] * 16)))
        noisy = variant == "given_noise"
        pose = network.ik(
            golden["in__pred_xyz_29"],
            golden["in__pred_sigma"][..., 0],
            golden["in__pred_phi"],
            golden["in__pred_beta"],
            noise=golden["noise__zx_pred"] if noisy else None,
        )
        names = POSE_NAMES["pred"]
        assert all(near(getattr(pose, ours), golden[f"{variant}__{name}"]) for name, ours in names.items())
        posed = body(golden["in__pred_beta"], pose.rotmats)
        assert near(body.joints29(posed), golden[f"{variant}__standin__inv_pred_29joints"])
        assert near(posed.vertices[:, golden["vert_ids"]], golden[f"{variant}__standin__verts_sel"])

    @pytest.mark.parametrize("variant", ["zero_noise", "given_noise", "zero_noise_shapemask1"])
    def test_golden_of_the_truth(self, twist_swing, variant):
        network, golden, _ = twist_swing
        network.flow_j2s.shape_masks.copy_(torch.tensor(SHAPE_MASKS.get(variant, [0.0] * 16)))
        noisy = float(variant == "given_noise")
        pose = network.ik(
            golden["target__gt_xyz_29"],
            1e-3 * noisy * golden["noise__sigma_gt"],
            golden["target__gt_phi"],
            golden["target__gt_betas"],
            noise=noisy * golden["noise__zx_gt"],
            normalise_phi=False,
        )
        names = POSE_NAMES["gt"]
        assert all(near(getattr(pose, ours), golden[f"{variant}__{name}"]) for name, ours in names.items())
        rotmats = rotvec_to_rotmat(golden["target__gt_theta"].reshape(-1, 24, 3))
        joints = network.fk(rotmat_to_rot6d_rows(rotmats), golden["target__gt_betas"])
        names = {"fwd_gt_2_29joints": "joints29", "fwd_gt_2_zx": "padding", "fwd_gt_2_swing6d": "swing6d", "fwd_gt_2_phis": "phi"}
        assert all(near(getattr(joints, ours), golden[f"{variant}__{name}"]) for name, ours in names.items())

    def test_single_flows(self, twist_swing):
        network, golden, _ = twist_swing
        network.flow_j2s.shape_masks.zero_()
        for name, flow in (("j2s", network.flow_j2s), ("s2r", network.flow_s2r)):
            x, beta = golden[f"raw__{name}_in"], golden.get(f"raw__{name}_beta")
            for direction, answer in (("inverse", flow.ik(x, beta)), ("forward", flow.fk(x, beta))):
                assert near(answer[0], golden[f"raw__{name}_{direction}"])
                assert near(answer[1], golden[f"raw__{name}_{direction}_logdet"])


class TestOneStage:
    @pytest.mark.parametrize("variant", ["zero_noise", "given_noise"])
    def test_golden(self, one_stage, variant, body):
        network, golden, total = one_stage
        assert total == golden["check_total_q"]
        noise = golden["noise__zx_pred"] if variant == "given_noise" else None
        betas, sigma = golden["in__pred_beta"], golden["in__pred_sigma"][..., 0]
        pose = network.ik(golden["in__pred_xyz_29"], sigma, golden["in__pred_phi"], betas, noise=noise)
        for name, answer in (("inv_pred2rot6d", pose.rot6d), ("rotmat", pose.rotmats), ("inv_pred2ze", pose.z)):
            assert near(answer, golden[f"{variant}__{name}"])
        posed = body(betas, pose.rotmats)
        joints29 = body.joints29(posed)
        assert near(joints29, golden[f"{variant}__standin__inv_pred_29joints"])
        camera = network.camnet(golden["in__pred_uv"], joints29, sigma, golden["in__pred_cam"])
        uv = projected_uv(joints29, camera)
        trans = placed_translation(joints29, uv, sigma, camera, golden["in__img_center"])
        for name, answer in (("inv_pred2cam", camera), ("inv_pred2uv", uv), ("transl", trans)):
            assert near(answer, golden[f"{variant}__standin__getcam_{name}"])

    def test_golden_of_the_truth(self, one_stage):
        network, golden, _ = one_stage
        betas = golden["target__gt_betas"]
        sigma = 1e-6 * golden["noise__sigma_gt"].clamp(min=0)
        pose = network.ik(golden["target__gt_xyz_29"], sigma, golden["target__gt_phi"], betas, noise=golden["noise__zx_gt"])
        for name, answer in (("inv_gt2rot6d", pose.rot6d), ("inv_gt2rotmat", pose.rotmats), ("inv_gt2ze", pose.z)):
            assert near(answer, golden[f"given_noise__{name}"])
        rotmats = rotvec_to_rotmat(golden["target__gt_theta"].reshape(-1, 24, 3))
        joints = network.fk(rotmat_to_rot6d_rows(rotmats), betas)
        names = {"fwd_gt_2_29joints": "joints29", "fwd_gt_2_zx": "padding", "fwd_gt_2_sigma": "sigma", "log_det_J": "logdet"}
        assert all(near(getattr(joints, ours), golden[f"given_noise__{name}"]) for name, ours in names.items())

    def test_camera_head(self, one_stage):
        network, golden, _ = one_stage
        uv, xyz, sigma, camera = (golden[f"camnet_in__{name}"] for name in ("uv", "xyz", "sigma", "cam"))
        assert near(network.camnet(uv, xyz, sigma[..., 0], camera), golden["zero_noise__camnet_out"])
        projected = projected_uv(golden["camnet_in__project_xyz"], golden["camnet_in__project_cam"])
        assert near(projected, golden["zero_noise__project_out"])


@pytest.mark.parametrize("kind", ["twist-swing", "one-stage"])
class TestSmall:
    def test_fk_undoes_ik(self, kind):
        """float64: the joints come back out of the pose and the latents, whatever the weights are."""
        torch.manual_seed(0)
        network = build_niki(NikiConfig(kind=kind, hidden=16, couplings=4)).double().eval()
        joints, sigma, betas = torch.randn(3, 29, 3).double(), torch.rand(3, 29).double(), torch.randn(3, 10).double()
        phi = torch.nn.functional.normalize(torch.randn(3, 23, 2), dim=-1).double()
        noise = torch.randn(3, PADDING).double()
        pose = network.ik(joints + 5, sigma, phi, betas, noise=noise)
        latents = {"z": pose.z} if pose.z_twist is None else {"z": pose.z, "z_twist": pose.z_twist}
        back = network.fk(pose.rot6d, betas, **latents)
        assert (back.joints29 - (joints - joints[:, :1])).abs().max() < 1e-9
        assert (back.sigma - sigma).abs().max() < 1e-9
        assert (back.padding - 1e-3 * noise).abs().max() < 1e-9
        if back.phi is not None:
            assert (back.phi - phi).abs().max() < 1e-7

    def test_answers_are_rotations_and_gradients_flow(self, kind):
        torch.manual_seed(0)
        network = build_niki(NikiConfig(kind=kind, hidden=16, couplings=4))
        pose = network.ik(torch.randn(3, 29, 3), torch.rand(3, 29), torch.randn(3, 23, 2), torch.randn(3, 10))
        assert (pose.rotmats @ pose.rotmats.mT - torch.eye(3)).abs().max() < 1e-5
        (pose.rotmats.sum() + pose.z.sum()).backward()
        used = [parameter for key, parameter in network.named_parameters() if not key.startswith("camnet")]
        assert all(parameter.grad is not None for parameter in used)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of"):
        NikiConfig(kind="three-stage")


def test_config_round_trip():
    assert NikiConfig.from_record(TWIST_SWING.to_record()) == TWIST_SWING
