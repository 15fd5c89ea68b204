"""Analytic inverse kinematics and coupling flows against the released code's answers (tests/data, made in float32)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from writers.weights import fill_by_recipe

from hpsbench.body.kinematics import forward_kinematics, twist_angles
from hpsbench.geometry import geodesic_angle, rotvec_to_rotmat
from hpsbench.models.ik.analytic import AnalyticIK, adaptive_pose, bones, naive_pose, pelvis_by_spine, pelvis_by_svd
from hpsbench.models.ik.flow import CouplingFlow, ShapedCouplingFlow, alternating_masks
from hpsbench.skeleton import PARENTS

DATA = Path(__file__).parent / "data"
IK = {key: torch.from_numpy(value) for key, value in np.load(DATA / "ik" / "hybrik_ik.npz").items()}
LAYERS = {key: torch.from_numpy(value) for key, value in np.load(DATA / "nets" / "coupling_layer.npz").items()}


def rest_of(case: str) -> torch.Tensor:
    return IK["rest_joints"][:2] if case == "degen" else IK["rest_joints"]


class TestAnalytic:
    # The goldens were solved in float32. Where an elbow swings by nearly half a turn ("degen") they are 4e-5 off the exact solution.
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(("case", "tolerance"), [("clean", 1e-5), ("small_noise", 1e-5), ("noisy", 1e-5), ("degen", 1e-4)])
    def test_golden(self, case, dtype, tolerance):
        joints, phi, rest = IK[f"{case}_joints"].to(dtype), IK[f"{case}_phi"].to(dtype), rest_of(case).to(dtype)
        adaptive, naive = adaptive_pose(joints, phi, rest), naive_pose(joints, phi, rest)
        assert (adaptive.rotmats - IK[f"{case}_rotmat_adaptive"]).abs().max() < tolerance
        assert (naive.rotmats - IK[f"{case}_rotmat_naive"]).abs().max() < tolerance
        assert naive.chain is None
        if case != "degen":
            assert (adaptive.chain - IK[f"{case}_adaptive_chain_joints"][:, :24]).abs().max() < tolerance

    @pytest.mark.parametrize("kind", ["adaptive", "naive"])
    def test_posed_skeleton(self, kind):
        solver = AnalyticIK(lambda betas: IK["rest_joints"], adaptive=kind == "adaptive")
        posed = solver.posed(IK["noisy_joints"], IK["noisy_phi"], torch.zeros(12, 10))
        assert (posed - IK[f"noisy_fk_joints_{kind}"]).abs().max() < 1e-5
        pose = solver.ik(IK["noisy_joints"], torch.zeros(12, 29), IK["noisy_phi"], torch.zeros(12, 10))
        assert (pose.rotmats - IK[f"noisy_rotmat_{kind}"]).abs().max() < 1e-5

    def test_pelvis(self):
        p, q = bones(IK["noisy_joints"]), bones(IK["rest_joints"])
        assert (pelvis_by_svd(p, q) - IK["noisy_pelvis_svd"]).abs().max() < 1e-5
        assert (pelvis_by_spine(p, q) - IK["noisy_pelvis_spine"]).abs().max() < 1e-5

    def test_pelvis_without_bones_is_the_identity(self):
        assert torch.equal(pelvis_by_svd(torch.zeros(1, 29, 3), bones(IK["rest_joints"][:1])), torch.eye(3)[None])

    def test_exact_joints_give_the_rotations_back(self):
        """float64, small rotations: joints and twists of a pose lead to the pose, whose swings are all well defined."""
        rng = np.random.default_rng(0)
        rotmats = rotvec_to_rotmat(torch.from_numpy(rng.normal(0, 0.3, (5, 24, 3))))
        rest = IK["rest_joints"][:5].double()
        joints, _ = forward_kinematics(rotmats, rest, PARENTS["j29"])
        angles = twist_angles(rotmats, rest)
        phi = 3 * torch.stack([angles.cos(), angles.sin()], dim=-1)
        found = adaptive_pose(joints + 7, phi, rest).rotmats
        # The 1e-8 added to products of bone lengths (about 0.01 m2) add up along the chain.
        assert geodesic_angle(found, rotmats).max() < 1e-4

    def test_a_person_does_not_depend_on_the_others(self):
        whole = adaptive_pose(IK["noisy_joints"], IK["noisy_phi"], IK["rest_joints"]).rotmats
        broken = IK["noisy_joints"].clone()
        broken[0] = torch.nan
        others = adaptive_pose(broken[1:], IK["noisy_phi"][1:], IK["rest_joints"][1:]).rotmats
        assert (others - whole[1:]).abs().max() < 1e-6


PREFIX = {"j2s": "regressor.flow_j2s.", "s2r": "regressor.flow_s2r.", "one": "regressor.flow."}


def layer_flow(tag: str) -> tuple[torch.nn.Module, str]:
    """The released flow that a golden layer is from, its parameters undefined, and the prefix of its keys."""
    makers = {"j2s": lambda: ShapedCouplingFlow(176), "s2r": lambda: CouplingFlow(190), "one": lambda: CouplingFlow(176, gap=False)}
    with torch.device("meta"):
        flow = makers[tag[:3]]()
    flow.to_empty(device="cpu").requires_grad_(False)
    flow.masks().copy_(alternating_masks(*flow.masks().shape))
    return flow.eval(), PREFIX[tag[:3]]


class TestCouplingLayer:
    @pytest.mark.parametrize(
        ("tag", "variant"),
        [(f"j2s{layer}", f"shapemask{mask}_") for layer in "01" for mask in "01"] + [(tag, "") for tag in ("s2r0", "s2r1", "one0", "one1")],
    )
    def test_golden(self, tag, variant):
        flow, prefix = layer_flow(tag)
        layer, beta = int(tag[-1]), LAYERS.get(f"{tag}_beta")
        fill_by_recipe(flow, 4177, prefix, only=lambda key: key.split(".")[1] == str(layer))
        if variant:
            flow.shape_masks.fill_(float(variant[9]))
        x, mask = LAYERS[f"{tag}_x"], LAYERS[f"{tag}_mask"]
        assert torch.equal(flow.masks()[layer], mask)
        with torch.no_grad():
            s, t = flow.raw_scale_shift(layer, x * mask, beta)
            answers = {"s_raw": s, "t_raw": t}
            answers["inverse"], answers["inverse_logdet"] = flow.ik_layer(layer, x, beta)
            answers["forward"], answers["forward_logdet"] = flow.fk_layer(layer, x, beta)
        for name, answer in answers.items():
            assert (answer - LAYERS[f"{tag}_{variant}{name}"]).abs().max() < 1e-5, name

    def test_recipe_gives_the_stored_weights(self):
        flow, prefix = layer_flow("s2r0")
        fill_by_recipe(flow, 4177, prefix, only=lambda key: key.split(".")[1] == "0")
        stored = {key.split("_w__")[1]: value for key, value in LAYERS.items() if key.startswith("s2r0_w__")}
        assert len(stored) == 12
        for key, value in stored.items():
            assert torch.equal(flow.state_dict()[key], value.float())


def small_flow(shaped: bool) -> torch.nn.Module:
    torch.manual_seed(3)
    if shaped:
        return ShapedCouplingFlow(12, 16, 6, shaped=True).double().eval()
    return CouplingFlow(12, 16, 6, dropout=0.5).double().eval()


@pytest.mark.parametrize("shaped", [False, True])
class TestFlow:
    def test_fk_undoes_ik(self, shaped):
        flow, x, betas = small_flow(shaped), torch.randn(9, 12, dtype=torch.float64), torch.randn(9, 10, dtype=torch.float64)
        y, logdet = flow.ik(x, betas)
        back, minus = flow.fk(y, betas)
        assert (back - x).abs().max() < 1e-9
        assert (logdet + minus).abs().max() < 1e-9
        assert (y - x).abs().max() > 0.01

    def test_logdet_is_that_of_the_jacobian(self, shaped):
        flow, x, betas = small_flow(shaped), torch.randn(1, 12, dtype=torch.float64), torch.randn(1, 10, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda v: flow.ik(v[None], betas)[0][0], x[0])
        assert torch.linalg.slogdet(jacobian).logabsdet.item() == pytest.approx(flow.ik(x, betas)[1].item(), abs=1e-9)

    def test_betas_count_only_through_their_masks(self, shaped):
        flow, x = small_flow(shaped), torch.randn(4, 12, dtype=torch.float64)
        one, two = torch.zeros(4, 10, dtype=torch.float64), torch.ones(4, 10, dtype=torch.float64)
        assert torch.equal(flow.ik(x, one)[0], flow.ik(x, two)[0]) is not shaped
        if shaped:
            flow.shape_masks.zero_()
            assert torch.equal(flow.ik(x, one)[0], flow.ik(x, two)[0])

    def test_gradients_reach_every_parameter(self, shaped):
        flow = small_flow(shaped)
        x, betas = torch.randn(4, 12, dtype=torch.float64), torch.randn(4, 10, dtype=torch.float64)
        y, logdet = flow.ik(x, betas)
        (y.square().sum() + logdet.sum()).backward()
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in flow.parameters())


def test_masks_alternate():
    assert alternating_masks(2, 4).tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
