from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import reference
import roma
import torch

from hpsbench.metrics import METRICS
from hpsbench.metrics.angles import MPJAE_JOINTS, mpjae
from hpsbench.metrics.joints import accel, joint_errors, mpjpe, pa_mpjpe, root_position
from hpsbench.metrics.summary import RESAMPLES, Flags, counts_of, mean_and_interval, summarise
from hpsbench.metrics.vertices import pa_pve, part_means, parts_of, pve
from hpsbench.metrics.visibility import joint_states
from hpsbench.seeds import rng_of
from hpsbench.skeleton import JOINT_NAMES, PARENTS
from hpsbench.types import Errors

F64 = torch.float64
HITS = ("pck", "auc", "pa_pck", "pa_auc")


def people(count: int, joints: int = 17, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    gt = rng.normal(size=(count, joints, 3)) * [0.2, 0.5, 0.1]
    return torch.from_numpy(gt + 0.05 * rng.normal(size=gt.shape)), torch.from_numpy(gt)


def random_similarity(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(4)
    return (
        0.5 + torch.rand(count, generator=draws, dtype=F64),
        roma.random_rotmat(count, dtype=F64, generator=draws),
        torch.ones(count, 3, dtype=F64),
    )


class TestTable:
    def test_keys_units_and_needs(self):
        assert list(METRICS) == ["mpjpe", "pa_mpjpe", "pve", "pa_pve", "mpjae", "pa_mpjae", "accel", *HITS]
        for key, metric in METRICS.items():
            assert metric.key == key
            assert metric.needs in ("joints", "mesh", "rotations", "track")
            assert metric.factor == pytest.approx({"mm": 1000, "deg": 180 / np.pi, "mm/frame^2": 1000, "%": 100}[metric.unit])
            assert metric.higher_is_better == (metric.unit == "%")


class TestMpjpe:
    def test_by_hand(self):
        # Roots differ by (1, 0, 0); joint 1 is then off by (0, 3, 4), joint 0 by nothing.
        pred = torch.tensor([[[1.0, 0, 0], [1.0, 3, 4]]], dtype=F64)
        gt = torch.zeros(1, 2, 3, dtype=F64)
        errors = mpjpe(pred, gt, pred[:, 0], gt[:, 0])
        assert errors.tolist() == [[0, 5]]
        assert errors.mean().item() == 5 / 2

    def test_equals_the_reference(self):
        pred, gt = people(9)
        errors = mpjpe(pred, gt, pred[:, 0], gt[:, 0])
        for i in range(9):
            expected = reference.distances(pred[i].numpy() - pred[i, 0].numpy(), gt[i].numpy() - gt[i, 0].numpy())
            np.testing.assert_allclose(errors[i], expected, rtol=1e-12)

    def test_a_shift_is_nothing_and_a_rotation_is_not(self):
        pred, gt = people(4)
        plain = mpjpe(pred, gt, pred[:, 0], gt[:, 0])
        torch.testing.assert_close(mpjpe(pred + 3, gt, pred[:, 0] + 3, gt[:, 0]), plain)
        turned = pred @ random_similarity(4)[1]
        assert (mpjpe(turned, gt, turned[:, 0], gt[:, 0]) - plain).abs().max() > 0.01

    def test_nan_stays_where_it_is(self):
        pred, gt = people(3)
        gt[1, 5] = torch.nan
        missing = mpjpe(pred, gt, pred[:, 0], gt[:, 0]).isnan()
        assert missing.nonzero().tolist() == [[1, 5]]

    def test_roots(self):
        _, gt = people(2)
        left, right = (JOINT_NAMES["h36m17"].index(f"{side}_hip") for side in ("left", "right"))
        assert torch.equal(root_position(gt, "h36m17", "pelvis"), gt[:, 0])
        torch.testing.assert_close(root_position(gt, "h36m17", "hips"), (gt[:, left] + gt[:, right]) / 2)


class TestPaMpjpe:
    def test_by_hand(self):
        # Four corners of a cross in a plane against the same with one arm pair twice as long. The symmetry makes the rotation
        # the identity; the best scale is <x, y> / <x, x> = (2 + 4) / 4 = 3/2: every joint is off by 1/2.
        pred = torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]], dtype=F64)
        gt = torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0]]], dtype=F64)
        torch.testing.assert_close(pa_mpjpe(pred, gt, pred, gt), torch.full((1, 4), 1 / 2, dtype=F64), atol=1e-12, rtol=0)

    @pytest.mark.parametrize("fitted", [slice(0, 17), slice(0, 14)])
    def test_equals_the_reference(self, fitted):
        pred, gt = people(9)
        errors = pa_mpjpe(pred[:, :14], gt[:, :14], pred[:, fitted], gt[:, fitted])
        for i in range(9):
            moved = reference.aligned(pred[i, :14].numpy(), pred[i, fitted].numpy(), gt[i, fitted].numpy())
            np.testing.assert_allclose(errors[i], reference.distances(moved, gt[i, :14].numpy()), rtol=1e-9, atol=1e-12)

    def test_no_similarity_of_the_prediction_matters(self):
        pred, gt = people(6)
        scale, rotation, shift = random_similarity(6)
        moved = scale[:, None, None] * pred @ rotation + shift[:, None]
        torch.testing.assert_close(pa_mpjpe(moved, gt, moved, gt), pa_mpjpe(pred, gt, pred, gt), atol=1e-10, rtol=1e-9)

    def test_without_scale_by_hand(self):
        """A cross twice as large, turned and moved: the similarity hides it, the rigid motion leaves each arm off by 1."""
        gt = torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]], dtype=F64)
        _, turn, shift = random_similarity(1)
        pred = 2 * gt @ turn.transpose(1, 2) + 3 * shift[:, None]
        torch.testing.assert_close(pa_mpjpe(pred, gt, pred, gt), torch.zeros(1, 4, dtype=F64), atol=1e-12, rtol=0)
        torch.testing.assert_close(pa_mpjpe(pred, gt, pred, gt, scaled=False), torch.ones(1, 4, dtype=F64), atol=1e-12, rtol=0)
        torch.testing.assert_close(pa_pve(pred, gt, scaled=False), torch.ones(1, 4, dtype=F64), atol=1e-12, rtol=0)

    def test_without_scale_equals_the_reference(self):
        pred, gt = people(4)
        gt[0, 3] = torch.nan
        for i, errors in enumerate(pa_mpjpe(pred, gt, pred, gt, scaled=False)):
            known = ~gt[i, :, 0].isnan().numpy()
            p, g = pred[i].numpy()[known], gt[i].numpy()[known]
            R = reference.similarity(p, g)[1]
            moved = (p - p.mean(0)) @ R.T + g.mean(0)
            np.testing.assert_allclose(errors[known], reference.distances(moved, g), rtol=1e-9)

    def test_a_mirrored_person_is_wrong(self):
        _, gt = people(5)
        pred = gt * torch.tensor([-1.0, 1, 1], dtype=F64)
        errors = pa_mpjpe(pred, gt, pred, gt)
        assert (errors.mean(1) > 0.01).all()
        for i in range(5):
            moved = reference.aligned(pred[i].numpy(), pred[i].numpy(), gt[i].numpy())
            np.testing.assert_allclose(errors[i], reference.distances(moved, gt[i].numpy()), rtol=1e-9)

    def test_collinear_people_have_an_error(self):
        line = torch.tensor([0.0, 1, 3], dtype=F64)[:, None]
        pred, gt = line * torch.tensor([1.0, 0, 0], dtype=F64), 2 * line * torch.tensor([0, 1.0, 0], dtype=F64)
        torch.testing.assert_close(pa_mpjpe(pred, gt, pred, gt), torch.zeros(3, dtype=F64), atol=1e-12, rtol=0)

    def test_coincident_people_stand_on_the_mean(self):
        _, gt = people(1)
        pred = torch.ones_like(gt)
        torch.testing.assert_close(pa_mpjpe(pred, gt, pred, gt), (gt - gt.mean(1, keepdim=True)).norm(dim=-1))

    def test_unknown_joints_leave_the_fit_and_few_leave_nothing(self):
        pred, gt = people(2)
        gt[0, 14:] = torch.nan
        gt[1, 2:] = torch.nan
        errors = pa_mpjpe(pred, gt, pred, gt)
        torch.testing.assert_close(errors[0, :14], pa_mpjpe(pred[0, :14], gt[0, :14], pred[0, :14], gt[0, :14]))
        assert errors[0, 14:].isnan().all()
        assert errors[1].isnan().all()

    @pytest.mark.parametrize("count", [1, 2, 3, 14])
    def test_the_layout_of_the_batch_is_nothing(self, count):
        """The copied routine of the field mistakes (3, J, 3) batches for transposed points."""
        pred, gt = people(14, joints=3)
        whole = pa_mpjpe(pred, gt, pred, gt)
        torch.testing.assert_close(pa_mpjpe(pred[:count], gt[:count], pred[:count], gt[:count]), whole[:count], atol=1e-12, rtol=1e-9)


class TestVertices:
    def test_by_hand(self):
        pred = torch.tensor([[[0.0, 0, 0], [0, 0, 2], [3, 4, 0]]], dtype=F64)
        assert pve(pred, torch.zeros_like(pred)).tolist() == [[0, 2, 5]]

    def test_parts_by_hand(self):
        weights = torch.tensor([[0.1, 0.9, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0]])
        joint, sizes = parts_of(weights)
        assert (joint.tolist(), sizes.tolist()) == ([1, 0, 1], [1, 2, 0])
        means = part_means(torch.tensor([[2.0, 3, 7], [1, torch.nan, 1]], dtype=F64), joint, sizes)
        assert means[0, :2].tolist() == [3, (2 + 7) / 2]
        assert means.isnan().tolist() == [[False, False, True], [True, False, True]]

    def test_roots_are_taken_off_if_given(self):
        pred, gt = people(3, joints=50)
        torch.testing.assert_close(pve(pred + 1, gt, pred[:, 0] + 1, gt[:, 0]), pve(pred, gt, pred[:, 0], gt[:, 0]))
        assert (pve(pred + 1, gt) - pve(pred, gt)).abs().min() > 0.1

    def test_aligned_equals_the_reference(self):
        pred, gt = people(3, joints=50)
        for i, errors in enumerate(pa_pve(pred, gt)):
            moved = reference.aligned(pred[i].numpy(), pred[i].numpy(), gt[i].numpy())
            np.testing.assert_allclose(errors, reference.distances(moved, gt[i].numpy()), rtol=1e-9)

    def test_one_nan_costs_its_person(self):
        pred, gt = people(3, joints=50)
        pred[1, 7, 2] = torch.nan
        for errors in (pve(pred, gt), pa_pve(pred, gt)):
            assert errors.mean(-1).isnan().tolist() == [False, True, False]


class TestMpjae:
    def test_by_hand(self):
        gt = torch.eye(3, dtype=F64).repeat(1, 24, 1, 1)
        pred = gt.clone()
        pred[0, 4] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=F64)
        pred[0, 23] = pred[0, 4]
        errors = mpjae(pred, gt)
        assert errors.shape == (1, 9)
        assert errors.mean().item() == pytest.approx(np.pi / 2 / 9, abs=1e-12)
        assert errors[0, MPJAE_JOINTS.index(4)].item() == pytest.approx(np.pi / 2)

    def test_equals_the_reference(self):
        draws = torch.Generator().manual_seed(8)
        relative = roma.random_rotmat((2, 3, 24), dtype=F64, generator=draws).numpy()
        pred, gt = (np.stack([reference.global_rotations(person, PARENTS["smpl24"]) for person in side]) for side in relative)
        errors = mpjae(torch.from_numpy(pred), torch.from_numpy(gt))
        for i in range(3):
            expected = [reference.rotation_angle(pred[i, j], gt[i, j]) for j in MPJAE_JOINTS]
            np.testing.assert_allclose(errors[i], expected, atol=1e-6)

    def test_aligned_by_the_common_turn(self):
        gt = roma.random_rotmat((4, 24), dtype=F64, generator=torch.Generator().manual_seed(9))
        turn = roma.random_rotmat(4, dtype=F64, generator=torch.Generator().manual_seed(10))
        assert mpjae(turn[:, None] @ gt, gt).min() > 0.01
        torch.testing.assert_close(mpjae(turn[:, None] @ gt, gt, turn.mT), torch.zeros(4, 9, dtype=F64), atol=1e-7, rtol=0)


class TestAccel:
    def test_by_hand(self):
        # x(f) = f^2 / 2 against rest: the second difference is 1 everywhere inside.
        pred = np.zeros((5, 1, 3))
        pred[:, 0, 0] = np.arange(5) ** 2 / 2
        errors = accel(pred, np.zeros_like(pred), ["s/0"] * 5, np.arange(5))
        np.testing.assert_array_equal(errors[:, 0], [np.nan, 1, 1, 1, np.nan])

    def test_never_across_a_cut_or_another_track(self):
        tracks = ["s/0"] * 5 + ["s/1"] * 2 + ["t/0"] * 3
        frames = np.array([0, 1, 2, 5, 6, 7, 8, 0, 1, 2])
        rng = np.random.default_rng(0)
        pred, gt = rng.normal(size=(2, 10, 4, 3))
        errors = accel(pred, gt, tracks, frames)
        assert np.flatnonzero(~np.isnan(errors[:, 0])).tolist() == [1, 8]
        rows = list(zip(tracks, frames.tolist(), strict=True))
        expected = reference.accelerations(dict(zip(rows, pred, strict=True)), dict(zip(rows, gt, strict=True)))
        assert sorted(expected) == [("s/0", 1), ("t/0", 1)]
        np.testing.assert_allclose(errors[[1, 8]], [expected["s/0", 1], expected["t/0", 1]])

    def test_the_step_of_a_track_is_its_own(self):
        pred = np.random.default_rng(1).normal(size=(6, 2, 3))
        errors = accel(pred, np.zeros_like(pred), ["s/0"] * 6, np.array([0, 5, 10, 20, 25, 30]))
        assert np.flatnonzero(~np.isnan(errors[:, 0])).tolist() == [1, 4]

    def test_order_is_nothing_and_nan_spreads_to_its_neighbours_only(self):
        rng = np.random.default_rng(2)
        pred, gt = rng.normal(size=(2, 8, 3, 3))
        pred[4] = np.nan
        tracks, order = np.array(["s/0"] * 8), rng.permutation(8)
        errors = accel(pred, gt, tracks, np.arange(8))
        assert np.flatnonzero(np.isnan(errors[:, 0])).tolist() == [0, 3, 4, 5, 7]
        np.testing.assert_array_equal(accel(pred[order], gt[order], tracks, np.arange(8)[order]), errors[order])


class TestStates:
    def test_by_hand(self):
        known = ("head", "left_hand", "right_hand")
        occluded = np.array([[True, True, False], [False, False, False]])
        outside = np.array([[False, True, False], [True, False, False]])
        states = joint_states(("left_hand", "head_top", "right_hand", "mesh"), known, occluded, outside)
        assert states["visible"].tolist() == [[False, False, True, False], [True, False, True, False]]
        assert states["occluded"].tolist() == [[False, True, False, False], [False, False, False, False]]
        assert states["outside"].tolist() == [[True, False, False, False], [False, True, False, False]]

    @pytest.mark.parametrize("skeleton", ["eval14", "h36m17", "coco17", "mpi17", "smpl24"])
    def test_every_scored_joint_has_a_place_in_smpl(self, skeleton):
        nothing = np.zeros((1, 24), dtype=bool)
        states = joint_states(JOINT_NAMES[skeleton], JOINT_NAMES["smpl24"], nothing, nothing)
        assert states["visible"].all()


def errors_of(values: dict[str, np.ndarray], tracks: list[str], columns: dict[str, tuple[str, ...]] | None = None) -> Errors:
    count = len(tracks)
    columns = columns or {key: tuple(map(str, range(table.shape[1]))) for key, table in values.items()}
    return Errors(tuple(map(str, range(count))), tuple(tracks), np.arange(count), np.zeros(count, dtype=bool), values, columns)


class TestSummary:
    def test_by_hand(self):
        tracks = ["d/s/a/0", "d/s/a/1", "d/s/b/0", "d/s/b/0"]
        table = np.array([[1, 3], [2, np.nan], [4, 6], [np.nan, np.nan]]) / 1000
        (pooled,) = summarise(errors_of({"mpjpe": table}, tracks), None, ["mpjpe"], "pooled")
        assert (pooled["metric"], pooled["split"], pooled["unit"], pooled["count"], pooled["values"]) == ("mpjpe", "all", "mm", 3, 5)
        assert pooled["value"] == pytest.approx((1 + 3 + 2 + 4 + 6) / 5)
        (by_sequence,) = summarise(errors_of({"mpjpe": table}, tracks), None, ["mpjpe"], "sequences")
        assert by_sequence["value"] == pytest.approx(((1 + 3 + 2) / 3 + (4 + 6) / 2) / 2)

    def test_angles_are_in_degrees(self):
        (row,) = summarise(errors_of({"mpjae": np.array([[np.pi / 2]])}, ["s/0"]), None, ["mpjae"], "pooled")
        assert (row["value"], row["unit"]) == (pytest.approx(90), "deg")

    def test_splits_partition_the_joints(self):
        rng = np.random.default_rng(0)
        table = rng.random((6, 14))
        names = JOINT_NAMES["smpl24"]
        flags = Flags(names, rng.random((6, 24)) < 0.4, rng.random((6, 24)) < 0.3)
        errors = errors_of({"mpjpe": table}, ["s/0"] * 6, {"mpjpe": JOINT_NAMES["eval14"]})
        rows = {(row["metric"], row["split"]): row for row in summarise(errors, flags, ["mpjpe"], "pooled")}
        assert list(rows) == [("mpjpe", "all"), ("mpjpe", "visible"), ("mpjpe", "occluded"), ("mpjpe", "outside")]
        parts = [rows["mpjpe", split] for split in ("visible", "occluded", "outside")]
        assert sum(part["values"] for part in parts) == rows["mpjpe", "all"]["values"] == 6 * 14
        total = sum(part["value"] * part["values"] for part in parts)
        assert total == pytest.approx(rows["mpjpe", "all"]["value"] * 6 * 14)

    def test_meshes_split_by_the_joints_of_their_vertices(self):
        parts = np.array([[1.0, 2, 5], [np.nan, 4, 8]]) / 1000
        whole = np.array([[(1 * 10 + 2 * 20 + 5 * 30) / 60], [(4 * 20 + 8 * 30) / 50]]) / 1000
        errors = errors_of({"pve": whole}, ["s/0", "s/1"], {"pve": ("mesh",)})
        errors = replace(errors, parts={"pve": parts}, part_names=("pelvis", "head", "neck"), part_sizes=(10, 20, 30))
        flags = Flags(("neck", "head", "pelvis"), np.array([[1, 0, 0], [0, 1, 0]], bool), np.array([[0, 0, 0], [0, 0, 1]], bool))
        rows = {row["split"]: row for row in summarise(errors, flags, ["pve"], "pooled")}
        assert (rows["all"]["values"], rows["all"]["count"]) == (2, 2)
        assert rows["visible"]["value"] == pytest.approx((1 * 10 + 2 * 20 + 8 * 30) / 60)
        assert rows["occluded"]["value"] == pytest.approx((5 * 30 + 4 * 20) / 50)
        assert rows["outside"]["value"] is None
        assert [rows[split]["values"] for split in ("visible", "occluded", "outside")] == [60, 50, 0]

    def test_all_joints_invisible(self):
        flags = Flags(JOINT_NAMES["smpl24"], np.ones((2, 24), dtype=bool), np.zeros((2, 24), dtype=bool))
        errors = errors_of({"mpjpe": np.ones((2, 14))}, ["s/0"] * 2, {"mpjpe": JOINT_NAMES["eval14"]})
        rows = {row["split"]: row for row in summarise(errors, flags, ["mpjpe"], "pooled")}
        assert rows["occluded"]["value"] == pytest.approx(1000)
        for split in ("visible", "outside"):
            assert (rows[split]["value"], rows[split]["low"], rows[split]["count"]) == (None, None, 0)

    def test_nothing_measured_is_none_and_not_zero(self):
        (row,) = summarise(errors_of({"pve": np.full((3, 1), np.nan)}, ["s/0", "s/1", "s/2"]), None, ["pve"], "pooled")
        assert (row["value"], row["low"], row["high"], row["count"]) == (None, None, None, 0)

    @pytest.mark.parametrize("averaging", ["pooled", "sequences"])
    def test_the_interval_is_the_bootstrap_over_tracks(self, averaging):
        rng = np.random.default_rng(3)
        tracks = [f"d/s/{sequence}/{person}" for sequence in "abc" for person in "01" for _ in range(int(rng.integers(1, 5)))]
        table = rng.random((len(tracks), 3))
        table[rng.random(table.shape) < 0.2] = np.nan
        value, low, high = mean_and_interval(np.nansum(table, 1), (~np.isnan(table)).sum(1), tracks, averaging)
        rows = [(track, [v for v in values if not np.isnan(v)]) for track, values in zip(tracks, table.tolist(), strict=True)]
        rows = [(track, values) for track, values in rows if values]
        count = len({track if averaging == "pooled" else track.rsplit("/", 1)[0] for track, _ in rows})
        assert value == pytest.approx(reference.bootstrap_means(rows, np.arange(count)[None], averaging)[0])
        draws = np.floor(rng_of("bootstrap", RESAMPLES).random((RESAMPLES, count)) * count).astype(int)
        expected = np.quantile(reference.bootstrap_means(rows, draws, averaging), [0.025, 0.975])
        np.testing.assert_allclose([low, high], expected, rtol=1e-9)
        assert low < value < high

    def test_by_label_and_joint(self):
        """Percent as fractions: of six knees four hit, in the studio four of six joints, outdoors one of the two that are measured."""
        table = np.array([[1, 0, 1], [1, 1, 0], [0, 1, np.nan]])
        columns = {"pck": ("left_knee", "right_knee", "neck")}
        errors = errors_of({"pck": table}, ["d/s/a/0", "d/s/a/1", "d/s/b/0"], columns)
        found = summarise(errors, None, ["pck"], "pooled", labels={"scene": ["studio", "studio", "outdoor"]}, by=("scene", "joint"))
        rows = {row["split"]: row for row in found}
        assert list(rows) == ["all", "scene:outdoor", "scene:studio", "joint:knee", "joint:neck"]
        wanted = {"all": (5, 8), "scene:outdoor": (1, 2), "scene:studio": (4, 6), "joint:knee": (4, 6), "joint:neck": (1, 2)}
        for split, (hits, values) in wanted.items():
            assert rows[split]["value"] == pytest.approx(float(100 * Fraction(hits, values)), abs=1e-10), split
            assert rows[split]["values"] == values
        assert rows["scene:studio"]["count"] == 2
        assert rows["scene:outdoor"]["low"] is None

    def test_a_mesh_has_no_rows_by_joint(self):
        rows = summarise(errors_of({"pve": np.ones((2, 1))}, ["s/0", "s/1"]), None, ["pve"], "pooled", by=("joint",))
        assert [row["split"] for row in rows] == ["all"]

    def test_actions_weigh_the_same(self):
        """Walking (10 + 20 + 60) / 3 = 30 and Photo (40 + 60) / 2 = 50: 40, where the pooled mean is 190 / 5 = 38."""
        table = np.array([[10], [40], [20], [60], [60]]) / 1000
        tracks, actions = ["d/a/0", "d/b/0", "d/c/0", "d/c/0", "d/e/0"], ["Walking", "Photo", "Walking", "Walking", "Photo"]
        labels = {"action": actions}
        found = summarise(errors_of({"mpjpe": table}, tracks), None, ["mpjpe"], "actions", labels=labels, by=("action",))
        rows = {row["split"]: row for row in found}
        assert list(rows) == ["all", "action:Photo", "action:Walking"]
        assert rows["all"]["value"] == pytest.approx(float(Fraction(Fraction(10 + 20 + 60, 3) + Fraction(40 + 60, 2), 2)))
        assert rows["action:Walking"]["value"] == pytest.approx(30)
        # Tracks are drawn within their action: 10 (one person) or 40 (two) for Walking, 40 or 60 for Photo, so that all lies in 25 to 50.
        assert 25 <= rows["all"]["low"] < 40 < rows["all"]["high"] <= 50
        (pooled,) = summarise(errors_of({"mpjpe": table}, tracks), None, ["mpjpe"], "pooled")
        assert pooled["value"] == pytest.approx(float(Fraction(190, 5)))

    def test_an_action_of_one_track_gives_no_interval(self):
        tracks, table = ["d/a/0", "d/b/0", "d/c/0"], np.array([[1.0], [2], [np.nan]])
        (row,) = summarise(errors_of({"mpjpe": table}, tracks), None, ["mpjpe"], "actions", labels={"action": ["A", "B", "C"]})
        assert (row["value"], row["low"], row["count"]) == (1500, None, 2)

    def test_one_track_gives_no_interval(self):
        value, low, high = mean_and_interval(np.array([2.0, 4.0]), np.array([1, 1]), ["s/0", "s/0"], "pooled")
        assert (value, low, high) == (3, None, None)

    def test_many_tracks_are_resampled_in_bounded_memory(self):
        sums = np.random.default_rng(4).random(9000)
        value, low, high = mean_and_interval(sums, np.ones(9000), [f"s{i}/0" for i in range(9000)], "sequences")
        # The standard error of a mean of 9000 numbers uniform on [0, 1) is 0.00304.
        assert high - low == pytest.approx(2 * 1.96 * 0.00304, rel=0.1)
        assert value == pytest.approx(sums.mean())

    def test_unknown_averaging(self):
        with pytest.raises(ValueError, match="expected one of pooled, sequences, actions, samples, but got 'median'"):
            mean_and_interval(np.ones(2), np.ones(2), ["s/0", "s/1"], "median")

    def test_counts(self):
        errors = errors_of({"mpjpe": np.array([[1.0], [np.nan], [2.0]]), "pve": np.array([[1.0], [np.nan], [np.nan]])}, ["s/0"] * 3)
        assert counts_of(errors) == {"n_evaluated": 2, "n_failed": 0}


def test_errors_without_alignment_are_plain_distances():
    assert joint_errors(torch.tensor([[1.0, 2, 2]]), torch.zeros(1, 3)).tolist() == [3]
