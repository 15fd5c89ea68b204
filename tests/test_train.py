"""Training: the criteria against their goldens, augmentation that keeps labels true, runs that learn and that go on after a kill."""

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import roma
import torch

from hpsbench.body.bodies import load_bodies
from hpsbench.body.kinematics import forward_kinematics, join_swing_twist, twist_angles
from hpsbench.datasets.openhps.scene import outline_of
from hpsbench.errors import DataError, HpsbenchError
from hpsbench.geometry import rot6d_rows_to_rotmat, rotvec_to_rotmat
from hpsbench.models.base import build_network
from hpsbench.models.ik.niki import NikiConfig
from hpsbench.models.nets.checkpoint import read_checkpoint
from hpsbench.models.nets.heads import back_project
from hpsbench.skeleton import J29_LEAF_VERTICES, PARENTS, mirror
from hpsbench.train import hybrik, losses, niki
from hpsbench.train.augment import Augmentation, CropDraw, crop_affine, crop_labels, cut_crop, draw_crop, make_batch, project_rows
from hpsbench.train.cache import CACHE_SCALE, CACHE_SIDE, CropCache, build_cache
from hpsbench.train.features import FEATURES, FeatureSet, truth_targets
from hpsbench.train.loop import Schedule, fit, made_from
from hpsbench.train.mean_pose import chordal_mean, write_mean_pose
from hpsbench.train.muon import Muon, is_kernel, orthogonalised

DATA = Path(__file__).parent / "data" / "train"
TINY = replace(hybrik.SMALL, layers=(1, 1, 1, 1), width=8, features=16, depth_bins=4, input_side=64, shrink=1)
FOCAL, CENTRE = 979.0, (480.0, 270.0)


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None)


def make_people(bodies, folder: Path, count: int = 24, seed: int = 0) -> CropCache:
    """A cache of made-up people: coloured dots at their 29 joints on noise."""
    rng, body = np.random.default_rng(seed), bodies.neutral
    rotmats = rotvec_to_rotmat(torch.tensor(rng.normal(0, 0.2, (count, 24, 3)), dtype=torch.float32))
    rotmats[:, 0] = rotvec_to_rotmat(torch.tensor([math.pi, 0.0, 0.0])) @ rotmats[:, 0]
    betas = torch.tensor(rng.normal(0, 0.5, (count, 10)), dtype=torch.float32)
    trans = torch.tensor(np.stack([rng.uniform(-0.8, 0.8, count), rng.uniform(-0.2, 0.2, count), rng.uniform(3.5, 5, count)], 1)).float()
    posed = body(betas, rotmats, trans, vertex_ids=torch.tensor(J29_LEAF_VERTICES))
    joints = torch.cat([posed.joints, posed.vertices], 1).numpy()
    intrinsics = np.tile(np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]], np.float32), (count, 1, 1))
    uv = project_rows(joints, intrinsics)
    low, high = uv[:, :24].min(1), uv[:, :24].max(1)
    half = ((high - low).max(1) * CACHE_SCALE / 2)[:, None]
    squares = np.concatenate([(low + high) / 2 - half, (low + high) / 2 + half], 1)
    crops = rng.integers(60, 120, (count, CACHE_SIDE, CACHE_SIDE, 3)).astype(np.uint8)
    colours = rng.integers(0, 255, (29, 3))
    for crop, points in zip(crops, (uv - squares[:, None, :2]) * (CACHE_SIDE / 2 / half)[:, None], strict=True):
        for point, colour in zip(points, colours, strict=True):
            cv2.circle(crop, (round(float(point[0])), round(float(point[1]))), 6, colour.tolist(), -1)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "made.npy", crops)
    np.savez(
        folder / "made.npz",
        ids=np.array([f"openhps/train/made/{row:05d}/0" for row in range(count)]),
        joints=joints,
        rotmats=rotmats.numpy(),
        betas=betas.numpy(),
        twist=twist_angles(rotmats, body.rest_joints29(betas)).numpy(),
        bbox=np.concatenate([low, high], 1).astype(np.float32),
        square=squares.astype(np.float32),
        intrinsics=intrinsics,
        image_size=np.tile(np.float32([960, 540]), (count, 1)),
    )
    return CropCache(folder)


@pytest.fixture(scope="module")
def cache(bodies, tmp_path_factory):
    return make_people(bodies, tmp_path_factory.mktemp("crops"))


class TestLosses:
    @pytest.fixture
    def golden(self):
        with np.load(DATA / "loss_ts.npz", allow_pickle=False) as table:
            return {key: torch.from_numpy(table[key]) for key in table.files}

    @pytest.fixture
    def criterion_input(self, golden):
        def frames(key):
            return golden[key].flatten(0, 1)

        rotvecs = frames("lab__gt_theta").reshape(-1, 24, 3)
        names = {
            "pred_rot6d": "inv_pred2rot6d",
            "pred_swing6d": "inv_pred2swingrot6d",
            "pred_z_swing": "inv_pred2zes",
            "pred_z_rot": "inv_pred2zet",
            "pred_joints": "inv_pred_29joints",
            "gt_rot6d": "inv_gt2rot6d",
            "gt_swing6d": "inv_gt2swingrot6d",
            "gt_z_swing": "inv_gt2zes",
            "gt_z_rot": "inv_gt2zet",
            "gt_joints": "inv_gt2joints",
            "fk_joints": "fwd_gt_2_29joints",
            "fk_swing6d": "fwd_gt_2_swing6d",
            "fk_phi": "fwd_gt_2_phis",
            "fk_zx": "fwd_gt_2_zx",
        }
        gt = {
            "rot6d": roma.rotvec_to_rotmat(rotvecs)[..., :2, :].flatten(-2),
            "swing6d": golden["lab__gt_rot_swing_6d"].reshape(-1, 24, 6),
            "joints": losses.root_relative(frames("lab__gt_xyz_29")),
            "phi": frames("lab__gt_phi"),
            "rot_weight": frames("lab__theta_weight").reshape(-1, 24, 3).prod(-1, keepdim=True),
            "joint_weight": frames("lab__xyz_29_weight"),
            "phi_weight": frames("lab__phi_weight"),
            "valid": frames("lab__valid_smpl"),
        }
        return {key: frames(f"out__{name}") for key, name in names.items()}, gt, tuple(golden[f"noise{i}"] for i in range(4))

    def test_released_criterion(self, golden, criterion_input):
        terms = losses.niki_terms(*criterion_input)
        assert len(terms) == 13
        # float32 cancellation on the diagonal of the MMD's distances
        assert sum(terms.values()).item() == pytest.approx(golden["total"].item(), abs=3e-3)
        assert terms["ik_rot"].item() == pytest.approx(golden["l_i_rot"].item(), abs=1e-5)
        assert terms["fk_joints"].item() == pytest.approx(golden["l_f_xyz29"].item(), abs=1e-5)
        assert terms["gt_z"].item() == pytest.approx(0.1 * golden["l_i_0_ze"].item(), abs=1e-6)

    def test_mmd(self, golden):
        assert losses.mmd(golden["mmd_x"], golden["mmd_y"]).item() == pytest.approx(golden["mmd"].item(), abs=1e-4)
        assert losses.mmd(golden["mmd_x"], golden["mmd_x"]).item() == pytest.approx(0, abs=1e-6)
        assert losses.mmd(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0

    def test_independence_trains_only_the_latent(self, criterion_input):
        out, gt, noise = criterion_input
        for key in ("pred_rot6d", "pred_z_rot"):
            out[key].requires_grad_()
        losses.niki_terms(out, gt, noise)["independence"].backward()
        assert out["pred_rot6d"].grad is None
        assert out["pred_z_rot"].grad.abs().sum() > 0

    def test_laplace(self):
        sigma = torch.tensor([[1.0]])
        at_truth = losses.laplace_nll(torch.zeros(1, 1), sigma, torch.zeros(1, 1))
        assert at_truth.item() == pytest.approx(0.5 * math.log(2 * math.pi))
        off = losses.laplace_nll(torch.zeros(1, 1), sigma, torch.ones(1, 1))
        assert (off - at_truth).item() == pytest.approx(1 / (math.sqrt(2) + 1e-5), abs=1e-6)

    def test_cell_entropy(self):
        flat = torch.zeros(1, 1, 4, 4, 4)
        # at cells u 1 and v 2, between d 1 and 2
        at = torch.tensor([[[-0.25, 0.0, -0.125]]])
        assert losses.cell_entropy(flat, at).item() == pytest.approx(math.log(64))
        sharp = flat.clone()
        sharp[0, 0, 1, 2, 1] = sharp[0, 0, 2, 2, 1] = 30.0
        assert losses.cell_entropy(sharp, at).item() == pytest.approx(math.log(2), abs=1e-5)
        assert losses.cell_entropy(flat, torch.tensor([[[0.7, 0.0, 0.1]]])).item() == 0

    def test_weighted_mean(self):
        error = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
        assert losses.weighted_mean(error, torch.tensor([[1.0], [0.0]])).item() == 2
        assert losses.weighted_mean(error, torch.zeros(2, 1)).item() == 0

    def test_cycle_terms_are_distances(self):
        ones = {"cycle_joints": torch.ones(2, 29, 3), "cycle_phi": torch.ones(2, 23, 2)}
        terms = losses.cycle_terms(ones, {"joints": torch.zeros(2, 29, 3), "phi": torch.ones(2, 23, 2)})
        assert (terms["cycle_joints"].item(), terms["cycle_phi"].item()) == (1, 0)


class TestAugmentation:
    DRAWS = (
        CropDraw(np.array([480.0, 270.0]), 420.0),
        CropDraw(np.array([430.0, 300.0]), 380.0, angle=0.5),
        CropDraw(np.array([500.0, 250.0]), 400.0, flip=True),
        CropDraw(np.array([470.0, 290.0]), 450.0, angle=-0.7, flip=True),
    )

    def labels(self, cache, count=4):
        return {key: value[:count] for key, value in cache.labels.items()}

    def test_joints_come_back_from_crop_coordinates(self, cache):
        labels = {key: torch.from_numpy(value) for key, value in crop_labels(self.labels(cache), self.DRAWS).items()}
        joints, _ = back_project(labels["uvd"], labels["scale"], labels["offset"], ratio=labels["ratio"])
        assert torch.allclose(joints, labels["joints"], atol=1e-5)

    def test_pixels_and_labels_agree(self, cache):
        side, square = 256, np.array([200.0, -10.0, 760.0, 550.0])
        row = self.labels(cache, 1)
        for draw in self.DRAWS:
            point = project_rows(row["joints"], row["intrinsics"])[0, 0]
            cached = np.zeros((CACHE_SIDE, CACHE_SIDE, 3), np.uint8)
            x, y = (point - square[:2]) * CACHE_SIDE / 560
            cv2.circle(cached, (round(float(x) * 16), round(float(y) * 16)), 48, (255, 255, 255), -1, cv2.LINE_AA, 4)
            crop = cut_crop(cached, square, draw, side)[..., 0].astype(float)
            found = (crop[..., None] * np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1)).sum((0, 1)) / crop.sum()
            label = (crop_labels(row, [draw])["uvd"][0, 0, :2] + 0.5) * side
            assert np.abs(found - label).max() < 0.7

    def test_pose_labels_agree_with_joint_labels(self, cache, bodies):
        labels = {key: torch.from_numpy(value) for key, value in crop_labels(self.labels(cache), self.DRAWS).items()}
        joints = bodies.neutral(labels["betas"], labels["rotmats"]).joints
        # the open body's left and right differ by millimetres, which only the mirrored two see
        error = (joints - joints[:, :1] - labels["joints"][:, :24]).norm(dim=-1).amax(1)
        assert error[:2].max() < 1e-4
        assert error.max() < 0.012
        angles = twist_angles(labels["rotmats"], bodies.neutral.rest_joints29(labels["betas"]))
        assert torch.allclose(torch.stack([angles.cos(), angles.sin()], -1), labels["phi"], atol=0.03)

    def test_mirrored_twice_is_the_same(self, cache):
        row = self.labels(cache, 3)
        plain = [CropDraw(np.array(CENTRE), 400.0)] * 3
        flip = [replace(draw, flip=True) for draw in plain]
        once, straight = crop_labels(row, flip), crop_labels(row, plain)
        mirrored = row | {
            "joints": (row["joints"] * np.float32([-1, 1, 1]))[:, list(mirror("j29"))],
            "rotmats": once["rotmats"],
            "twist": np.arctan2(once["phi"][..., 1], once["phi"][..., 0]),
        }
        twice = crop_labels(mirrored, flip)
        for key, value in straight.items():
            assert np.allclose(twice[key], value, atol=1e-5), key
        assert np.abs(once["uvd"] - straight["uvd"]).max() > 0.1

    def test_mirror_image_of_a_symmetric_skeleton(self, cache, bodies):
        swap = list(mirror("smpl24"))
        rest = bodies.neutral.rest_joints(torch.zeros(1, 10))[0]
        rest = (rest + rest[swap] * torch.tensor([-1.0, 1.0, 1.0])) / 2
        row = self.labels(cache, 3)
        flip = crop_labels(row, [CropDraw(np.array(CENTRE), 400.0, flip=True)] * 3)
        plain, _ = forward_kinematics(torch.from_numpy(row["rotmats"]), rest.expand(3, 24, 3), PARENTS["smpl24"])
        other, _ = forward_kinematics(torch.from_numpy(flip["rotmats"]), rest.expand(3, 24, 3), PARENTS["smpl24"])
        turned = ((plain - plain[:, :1]) * torch.tensor([-1.0, 1.0, 1.0]))[:, swap]
        assert torch.allclose(other - other[:, :1], turned, atol=1e-5)

    def test_draws_repeat_and_stay_in_bounds(self, cache):
        row = self.labels(cache, 1)
        points = project_rows(row["joints"], row["intrinsics"])[0]
        arguments = (points, row["bbox"][0], row["image_size"][0], Augmentation(occluded=1.0))
        first, again = (draw_crop(np.random.default_rng(3), *arguments) for _ in range(2))
        assert np.array_equal(crop_affine(first), crop_affine(again))
        rng = np.random.default_rng(0)
        draws = [draw_crop(rng, *arguments) for _ in range(300)]
        low, high = row["bbox"][0][:2], row["bbox"][0][2:]
        base = (high - low).max() * 1.25
        assert all(0 < draw.side < 1.5 * base for draw in draws)
        assert 0.5 < np.mean([draw.side < 0.8 * base for draw in draws]) < 0.95
        patches = np.array([draw.patch_xyxy for draw in draws])
        assert (patches[:, :2] >= 0).all()
        assert (patches[:, 2:] < row["image_size"][0]).all()

    def test_noise_covers_the_patch(self):
        draw = CropDraw(np.array([100.0, 100.0]), 200.0, patch_xyxy=np.array([50.0, 50.0, 150.0, 100.0]), noise_seed=1)
        crop = cut_crop(np.zeros((CACHE_SIDE, CACHE_SIDE, 3), np.uint8), np.array([0.0, 0.0, 200.0, 200.0]), draw, 64)
        assert crop[16:32, 16:48].std() > 30
        crop[16:32, 16:48] = 0
        assert not crop.any()

    def test_shrunk_crops_are_means_of_squares(self, cache):
        whole, _ = make_batch(cache, np.arange(3), np.random.default_rng(0), Augmentation(side=64))
        small, labels = make_batch(cache, np.arange(3), np.random.default_rng(0), Augmentation(side=64, shrink=2))
        assert np.abs(small - whole.reshape(3, 32, 2, 32, 2, 3).mean((2, 4))).max() <= 0.5
        assert labels["uvd"].shape == (3, 29, 3)

    def test_once_the_rate_falls_crops_are_as_tests_cut_them_and_more_people_are_occluded(self):
        rule, schedule = Augmentation(), Schedule(steps=100)
        assert hybrik.rule_at(0, schedule, rule) == hybrik.rule_at(74, schedule, rule) == replace(rule, occluded=0.2)
        late = {"rotated": 0.1, "scale_std": 0.04, "shift_std": 0.02, "colour": 0.1, "recoloured": 0.0}
        assert hybrik.rule_at(75, schedule, rule) == replace(rule, occluded=0.3, **late)

    def test_channels_change_places(self):
        cached = np.zeros((CACHE_SIDE, CACHE_SIDE, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
        draw = CropDraw(np.array([50.0, 50.0]), 100.0, channels=(2, 0, 1))
        assert cut_crop(cached, np.array([0.0, 0.0, 100.0, 100.0]), draw, 8)[4, 4].tolist() == [30, 10, 20]


class TestMuon:
    @pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
    def test_singular_values_become_about_one(self, shape):
        U, _, Vh = torch.linalg.svd(torch.randn(*shape, generator=torch.Generator().manual_seed(1)), full_matrices=False)
        values = torch.linspace(0.05, 1, len(Vh))
        seen = U.T @ orthogonalised(300 * U @ values.diag() @ Vh) @ Vh.T
        assert seen.diagonal().min() > 0.6
        assert seen.diagonal().max() < 1.3
        assert (seen - seen.diagonal().diag()).abs().max() < 0.05

    def test_a_step(self):
        """A gradient that is already orthogonal is stepped along, times sqrt(outputs / inputs) for a tall kernel; decay comes first."""
        turned = torch.linalg.qr(torch.randn(36, 9, generator=torch.Generator().manual_seed(2)))[0].reshape(36, 1, 3, 3)
        kernel = torch.nn.Parameter(torch.ones(36, 1, 3, 3))
        kernel.grad = 7 * turned
        Muon([kernel], lr=0.1, weight_decay=0.5).step()
        moved = (kernel.detach() - 0.95) / -0.2
        assert ((moved - turned).abs() < 0.3 * turned.abs() + 0.02).all()

    def test_kernels_alone(self):
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
        assert [name for name, parameter in model.named_parameters() if is_kernel(parameter)] == ["0.weight"]


class TestCard:
    def test_it_names_the_command_that_makes_the_data(self):
        outlines = [outline_of(7, "train", index) for index in range(3)]
        ids = [f"openhps/train/{outline.name}/image_00000/0" for outline in outlines]
        people = sum(outline.people * outline.frames for outline in outlines)
        assert made_from(ids) == f"3 person-frames of `hpsbench make-openhps --people {people} --seed 7 --split train --out DIR`"

    @pytest.mark.parametrize("other", ["openhps_s7_00002", "openhps_s8_00001", "openhps_test_s7_00001", "mine"])
    def test_other_data_are_counted_only(self, other):
        ids = [f"openhps/train/{name}/image_00000/0" for name in ("openhps_s7_00000", other)]
        assert made_from(ids) == "2 person-frames of 2 sequences"


def tiny_run(cache, out: Path, bodies, monkeypatch, **options) -> Path:
    monkeypatch.setattr(hybrik, "build_cache", lambda *_, **__: cache)
    settings = {"steps": 24, "batch_size": 8, "config": TINY, "progress": lambda _: None} | options
    return hybrik.train_hybrik(Path("unused"), out, bodies=bodies, **settings)


class TestRuns:
    def test_hybrik_learns_and_its_weights_load(self, cache, bodies, tmp_path, monkeypatch):
        path = tiny_run(cache, tmp_path, bodies, monkeypatch, steps=60)
        rows = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
        assert list(rows["step"]) == [20, 40, 60]
        assert rows["loss"][-1] < rows["loss"][0] - 0.1
        checkpoint = read_checkpoint(path)
        assert "--steps 60 --seed 0" in checkpoint.card.how
        assert "24 person-frames of 1 sequences" in checkpoint.card.how
        net = build_network(checkpoint, "hybrik", torch.device("cpu"))
        crops, _ = make_batch(cache, np.arange(2), np.random.default_rng(0), Augmentation(side=64))
        assert net(torch.from_numpy(crops).permute(0, 3, 1, 2).float()).uvd.isfinite().all()

    def test_a_killed_run_ends_in_the_same_weights(self, cache, bodies, tmp_path, monkeypatch):
        whole = read_checkpoint(tiny_run(cache, tmp_path / "whole", bodies, monkeypatch)).state
        plain = hybrik.People.parts

        def killed(self, step, *arguments):
            if step == 13:
                raise KeyboardInterrupt
            return plain(self, step, *arguments)

        monkeypatch.setattr(hybrik, "Schedule", lambda **options: Schedule(**options, checkpoint_seconds=0.0))
        monkeypatch.setattr(hybrik.People, "parts", killed)
        with pytest.raises(KeyboardInterrupt):
            tiny_run(cache, tmp_path / "parts", bodies, monkeypatch)
        monkeypatch.setattr(hybrik.People, "parts", plain)
        said = []
        resumed = read_checkpoint(tiny_run(cache, tmp_path / "parts", bodies, monkeypatch, progress=said.append)).state
        assert said[0] == "going on at step 13"
        assert all(torch.equal(resumed[key], value) for key, value in whole.items())

    def test_another_seed_does_not_go_on(self, cache, bodies, tmp_path, monkeypatch):
        tiny_run(cache, tmp_path, bodies, monkeypatch, steps=2)
        with pytest.raises(HpsbenchError, match="begun with seed 0, not 1"):
            tiny_run(cache, tmp_path, bodies, monkeypatch, steps=2, seed=1)

    def test_a_loss_that_is_not_finite_stops_the_run(self, tmp_path):
        model = torch.nn.Linear(1, 1)
        with pytest.raises(HpsbenchError, match="no longer finite at step 0"):
            fit(
                model,
                lambda step: [torch.ones(2, 1)],
                lambda net, part: {"bad": net(part).sum() * math.nan},
                tmp_path,
                schedule=Schedule(steps=3),
                seed=0,
            )

    def test_parts_give_the_gradient_of_the_whole(self, tmp_path):
        torch.manual_seed(0)
        first = torch.nn.Linear(3, 1)
        second = torch.nn.Linear(3, 1)
        second.load_state_dict(first.state_dict())
        x, schedule = torch.randn(8, 3), Schedule(steps=5, warmup=1)

        def terms_of(net, part):
            return {"e": net(part).square().mean()}

        for name, model, parts in (("one", first, [x]), ("two", second, list(x.chunk(2)))):
            fit(model, lambda _, parts=parts: parts, terms_of, tmp_path / name, schedule=schedule, seed=0)
        assert torch.allclose(first.weight, second.weight, atol=1e-6)

    def test_schedule(self):
        schedule = Schedule(steps=100, lr=1.0, warmup=10)
        assert schedule.rate(0) == pytest.approx(0.1)
        assert schedule.rate(9) == schedule.rate(75) == 1
        # 9 of the last 25 steps have passed: 1 - sqrt(9/25).
        assert schedule.rate(84) == pytest.approx(2 / 5)
        assert schedule.rate(100) == 0
        assert [Schedule(steps=200, lr=1.0, warmup=10).rate(step) for step in range(75)] == [schedule.rate(step) for step in range(75)]

    def test_a_run_made_longer_is_as_one_that_was_long_from_the_start(self, tmp_path):
        def run(folder, steps):
            torch.manual_seed(0)
            model, said = torch.nn.Linear(3, 1), []
            schedule = Schedule(steps=steps, warmup=1)
            parts = [torch.from_numpy(np.random.default_rng(step).random((2, 3), np.float32)) for step in range(steps)]
            fit(
                model,
                lambda step: [parts[step]],
                lambda net, part: {"e": net(part).square().mean()},
                tmp_path / folder,
                schedule=schedule,
                seed=0,
                progress=said.append,
            )
            return model.weight.detach().clone(), said

        whole, _ = run("whole", 40)
        run("parts", 12)
        longer, said = run("parts", 40)
        assert said[0] == "going on at step 9"
        assert torch.equal(longer, whole)
        with pytest.raises(HpsbenchError, match="of a run of 40 steps, at step 30: too far on for one of 12"):
            run("parts", 12)

    def test_held_out_sequences(self, cache):
        with pytest.raises(ValueError, match="a must be"):
            hybrik.People(cache, ("made",)).parts(0, 2, 0, Augmentation(side=64))
        assert len(hybrik.People(cache).rows) == len(cache)


class TestNiki:
    def features(self, bodies, count=64):
        rng = np.random.default_rng(0)
        rotmats = rotvec_to_rotmat(torch.tensor(rng.normal(0, 0.3, (count, 24, 3)), dtype=torch.float32))
        betas = torch.zeros(count, 10)
        rest = bodies.neutral.rest_joints29(betas)
        joints, _ = forward_kinematics(rotmats, rest, PARENTS["j29"])
        joints = joints - joints[:, :1]
        angles = twist_angles(rotmats, rest)
        phi = torch.stack([angles.cos(), angles.sin()], -1)
        noisy = joints + torch.tensor(rng.normal(0, 0.02, joints.shape), dtype=torch.float32)
        values = {"joints": noisy, "sigma": torch.full((count, 29), 0.1), "phi": phi, "betas": betas}
        values |= {"gt_joints": joints, "gt_rotmats": rotmats, "gt_phi": phi, "gt_betas": betas}
        assert values.keys() == FEATURES.keys()
        return FeatureSet(values, np.arange(count))

    def test_swing_target_and_twist_make_the_rotation(self, bodies):
        values = self.features(bodies).values
        targets = truth_targets(values, bodies)
        # where the pose is exact, the naive inverse kinematics finds it again: below the root, limb by limb
        rest = bodies.neutral.rest_joints29(values["gt_betas"])
        rotmats = join_swing_twist(rot6d_rows_to_rotmat(targets["swing6d"]), values["gt_phi"], rest)
        joints, _ = forward_kinematics(rotmats, rest, PARENTS["j29"])
        knees = [4, 5, 7, 8]
        assert (joints - joints[:, :1] - values["gt_joints"])[:, knees].norm(dim=-1).mean() < 0.05

    @pytest.mark.parametrize("cycle", [0.0, 0.5])
    def test_niki_learns(self, bodies, cache, tmp_path, monkeypatch, cycle):
        features = self.features(bodies)
        monkeypatch.setattr(niki, "build_cache", lambda *_, **__: cache)
        monkeypatch.setattr(niki, "build_network", lambda *_: torch.nn.Module())
        monkeypatch.setattr(niki, "read_checkpoint", lambda _: None)
        monkeypatch.setattr(niki, "make_features", lambda *_, **__: features)
        monkeypatch.setattr(torch.nn.Module, "config", TINY, raising=False)
        path = niki.train_niki(
            Path("unused"),
            tmp_path,
            bodies=bodies,
            hybrik_weights=Path("unused"),
            steps=60,
            batch_size=16,
            config=NikiConfig(hidden=16, couplings=4, dropout=0.0),
            training=niki.NikiTraining(cycle=cycle),
            progress=lambda _: None,
        )
        rows = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
        assert rows["loss"][-1] < 0.9 * rows["loss"][0]
        checkpoint = read_checkpoint(path)
        assert ("equations 9 and 10 of the paper" in checkpoint.card.how) == bool(cycle)
        assert checkpoint.family == "niki"


class TestMeanPose:
    def test_chordal_mean_of_opposite_turns_is_the_middle(self):
        turns = rotvec_to_rotmat(torch.tensor([[0.0, 0.4, 0.0], [0.0, -0.2, 0.0]], dtype=torch.float64)).numpy()
        middle = rotvec_to_rotmat(torch.tensor([0.0, 0.1, 0.0], dtype=torch.float64)).numpy()
        assert np.allclose(chordal_mean(turns), middle, atol=1e-12)

    def test_written_file_is_what_the_model_reads(self, cache, tmp_path):
        record = json.loads(write_mean_pose(cache, tmp_path / "mean_pose.json").read_text())
        assert np.shape(record["rotvecs"]) == (24, 3)
        assert np.allclose(record["betas"], cache.labels["betas"].mean(0), atol=1e-4)


class TestCache:
    def test_no_crops(self, tmp_path):
        with pytest.raises(DataError, match="No cached crops"):
            CropCache(tmp_path)

    def test_wrong_folder(self, tmp_path, bodies):
        with pytest.raises(DataError):
            build_cache(tmp_path / "nowhere", tmp_path / "crops", bodies)

    def test_tracks_and_rows(self, cache):
        assert len(cache) == 24
        assert cache.tracks[5] == "openhps/train/made/0"
        assert cache.crop(5).shape == (CACHE_SIDE, CACHE_SIDE, 3)
