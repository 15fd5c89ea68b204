"""The fast ways against the plain ones: accuracy, the switch to the exact path, batches, memory, and numba."""

from dataclasses import replace

import numpy as np
import pytest
import reference
import roma
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hpsbench.body import load_bodies
from hpsbench.body import people as fast
from hpsbench.evaluate.scoring import Scorer, part_of
from hpsbench.geometry import UNIQUE
from hpsbench.metrics.aligned import aligned_errors
from hpsbench.metrics.angles import mpjae
from hpsbench.metrics.joints import pa_mpjpe, plain_pa_mpjpe
from hpsbench.metrics.keypoints import auc_hits, thresholds_to
from hpsbench.metrics.vertices import distance_sums, mean_pve, pve
from hpsbench.protocol import load_protocol
from hpsbench.types import Prediction, Truth

F64 = torch.float64
EMBEDDED = load_bodies(None)
WAYS = {"torch": 10**9, "numba": 0}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch) -> str:
    """Both ways of the loops, whatever the number of people."""
    monkeypatch.setattr(fast, "ENOUGH", WAYS[request.param])
    return request.param


def people(count: int, joints: int = 14, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    gt = rng.normal(size=(count, joints, 3)) * [0.2, 0.5, 0.1] + [0.0, 0.0, 4.0]
    return torch.from_numpy(gt + 0.05 * rng.normal(size=gt.shape)), torch.from_numpy(gt)


def _line(points: torch.Tensor) -> torch.Tensor:
    return points[..., 1:2] * torch.tensor([0.0, 0.6, 0.8], dtype=F64)


# What is done to prediction and truth, and the size of the truth in metres.
HARD = {
    "as they are": (lambda p, g: (p, g), 1),
    "both collinear": (lambda p, g: (_line(p), _line(g)), 1),
    "one collinear": (lambda p, g: (_line(p), g), 1),
    "coplanar": (lambda p, g: (p * torch.tensor([1.0, 1, 0]), g * torch.tensor([0.0, 1, 1])), 1),
    "coincident": (lambda p, g: (p[:, :1].expand_as(p), g), 1),
    "reflected": (lambda p, g: (g * torch.tensor([-1.0, 1, 1]), g), 1),
    "tiny": (lambda p, g: (p * 1e-6, g * 1e-6), 1e-6),
    "tiny against huge": (lambda p, g: (p * 1e-9, g * 1e6), 1e6),
    "beyond float64 in the fourth power": (lambda p, g: (p * 1e-30, g * 1e30), 1e30),
    "far away": (lambda p, g: (p + 1000, g - 1000), 1000),
} | {
    f"flat to 1e-{k}": (lambda p, g, k=k: (p * torch.tensor([1.0, 1, 10.0**-k]), g * torch.tensor([1.0, 10.0**-k, 1])), 1)
    for k in range(1, 13)
}


class TestAlignment:
    @pytest.mark.parametrize("case", HARD)
    def test_against_svd(self, way, case):
        """1e-6 mm, and never more than 1e-3 mm, for people of a metre."""
        change, size = HARD[case]
        pred, gt = change(*people(60))
        errors = pa_mpjpe(pred, gt, pred, gt)
        for i in range(60):
            moved = reference.aligned(pred[i].numpy(), pred[i].numpy(), gt[i].numpy())
            np.testing.assert_allclose(errors[i], reference.distances(moved, gt[i].numpy()), atol=1e-6 * size, rtol=0)
        exact = plain_pa_mpjpe(pred, gt, pred, gt)
        assert (errors - exact).abs().median() <= 1e-9 * size

    @pytest.mark.parametrize("scaled", [True, False])
    def test_other_joints_than_the_fitted_ones(self, way, scaled):
        pred, gt = people(50, joints=17)
        sides = pred, gt, pred[:, :14], gt[:, :14]
        torch.testing.assert_close(pa_mpjpe(*sides, scaled=scaled), plain_pa_mpjpe(*sides, scaled=scaled), atol=1e-12, rtol=1e-9)

    def test_who_goes_to_the_exact_path(self, way):
        """Spreads (1, s, s) of both sides: (h1+h2)(h2+h3)(h3+h1) / F^1.5 is about 2 s^2, and UNIQUE decides."""
        generator = torch.Generator().manual_seed(1)
        bases = torch.linalg.qr(torch.randn(400, 14, 4, generator=generator, dtype=F64)).Q[..., 1:]
        bases = torch.linalg.qr(bases - bases.mean(1, keepdim=True)).Q
        spread = torch.logspace(-4, 0, 400, dtype=F64)[:, None, None]
        gt = bases * torch.cat([torch.ones_like(spread), spread, spread], dim=-1)
        pred = gt + 1e-3 * spread * torch.randn(gt.shape, generator=generator, dtype=F64)
        _, sure = aligned_errors(pred, gt, pred, gt)
        singular = torch.linalg.svdvals((gt - gt.mean(1, keepdim=True)).mT @ (pred - pred.mean(1, keepdim=True)))
        a, b, c = singular.unbind(-1)
        measure = (a + b) * (b + c) * (c + a) / singular.square().sum(-1) ** 1.5
        near = (measure / UNIQUE - 1).abs() < 1e-3
        assert torch.equal(sure[~near], measure[~near] > UNIQUE)
        assert 0.2 < sure.double().mean() < 0.8
        torch.testing.assert_close(pa_mpjpe(pred, gt, pred, gt), plain_pa_mpjpe(pred, gt, pred, gt), atol=1e-9, rtol=0)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
    def test_one_bad_person_costs_only_itself(self, way, bad):
        pred, gt = people(5)
        clean = pa_mpjpe(pred, gt, pred, gt)
        pred[2, 3, 1] = bad
        errors = pa_mpjpe(pred, gt, pred, gt)
        others = [0, 1, 3, 4]
        torch.testing.assert_close(errors[others], clean[others], atol=0, rtol=0)
        assert bad == 1e300 or errors[2].isnan().all()

    @pytest.mark.parametrize("count", [1, 2, 3, 2047, 2049])
    def test_the_batch_moves_nothing(self, way, count):
        pred, gt = people(2100)
        whole = pa_mpjpe(pred, gt, pred, gt)[:count]
        torch.testing.assert_close(pa_mpjpe(pred[:count], gt[:count], pred[:count], gt[:count]), whole, atol=1e-14, rtol=1e-12)

    def test_numba_gives_the_same(self, monkeypatch):
        assert fast.numba_installed()
        for dtype in (torch.float32, F64):
            pred, gt = (side.to(dtype) for side in people(300))
            answers = []
            for enough in WAYS.values():
                monkeypatch.setattr(fast, "ENOUGH", enough)
                answers.append(pa_mpjpe(pred, gt, pred, gt))
            torch.testing.assert_close(*answers, atol=0, rtol=1e-9)

    def test_with_gradients_it_is_torch(self, way):
        pred, gt = people(3)
        pred.requires_grad_()
        pa_mpjpe(pred, gt, pred, gt).sum().backward()
        assert pred.grad.isfinite().all()


class TestVertices:
    @pytest.mark.parametrize("rooted", [True, False])
    @pytest.mark.parametrize("dtype", [torch.float32, F64])
    def test_the_mean_of_pve(self, way, dtype, rooted):
        """float32 lengths are good to 6e-8 each, and their mean over 700 vertices to 1e-8."""
        pred, gt = (side.to(dtype) for side in people(19, joints=700))
        roots = (pred[:, 0], gt[:, 0]) if rooted else (None, None)
        expected = pve(pred, gt, *roots).double().mean(-1)
        torch.testing.assert_close(mean_pve(pred, gt, *roots), expected, atol=0, rtol=1e-7 if dtype == torch.float32 else 1e-12)
        assert mean_pve(pred[0], gt[0], *(side if side is None else side[0] for side in roots)).shape == ()

    def test_numba_gives_the_same(self, monkeypatch):
        pred, gt = (side.float() for side in people(30, joints=6890))
        answers = []
        for enough in WAYS.values():
            monkeypatch.setattr(fast, "ENOUGH", enough)
            answers.append(mean_pve(pred, gt, pred[:, 0], gt[:, 1]))
        torch.testing.assert_close(*answers, atol=0, rtol=1e-12)

    def test_one_bad_person_and_the_batch(self, way):
        pred, gt = people(20, joints=50)
        clean = mean_pve(pred, gt)
        pred[2, 3, 1] = torch.nan
        errors = mean_pve(pred, gt)
        assert errors.isnan().nonzero().tolist() == [[2]]
        for count in (1, 2):
            torch.testing.assert_close(mean_pve(pred[:count], gt[:count]), clean[:count], atol=0, rtol=1e-12)

    def test_sums_of_distances_by_hand(self, way):
        first = torch.tensor([[[3.0, 0], [4, 0], [0, 1]]], dtype=F64)
        shift = torch.tensor([[[0.0], [0], [1]]], dtype=F64)
        assert distance_sums(first.clone(), torch.zeros_like(first)).tolist() == [5 + 1]
        assert distance_sums(first.clone(), torch.zeros_like(first), shift).tolist() == [pytest.approx(26**0.5)]


class TestHits:
    @pytest.mark.parametrize("at_most", [True, False])
    @pytest.mark.parametrize("trapezoid", [True, False])
    @pytest.mark.parametrize("steps", [2, 31, 200, 300])
    def test_against_all_thresholds_at_once(self, steps, at_most, trapezoid):
        thresholds = np.array(thresholds_to(150, steps))
        errors = np.random.default_rng(0).gamma(2.0, 0.04, (2000, 14))
        errors[::7] = thresholds[np.arange(14) % steps]
        errors[5, 3] = np.nan
        passed = errors[..., None] <= thresholds if at_most else errors[..., None] < thresholds
        weights = np.ones(steps)
        if trapezoid:
            weights[[0, -1]] = 1 / 2
        expected = np.where(np.isnan(errors), np.nan, passed @ weights / weights.sum())
        np.testing.assert_allclose(auc_hits(errors, thresholds, at_most=at_most, trapezoid=trapezoid), expected, rtol=1e-12)


def test_angles_of_many_people_are_those_of_each():
    draws = torch.Generator().manual_seed(8)
    pred, gt = roma.random_rotmat((2, 1030, 24), dtype=F64, generator=draws)
    turn = roma.random_rotmat(1030, dtype=F64, generator=draws)
    angles = mpjae(pred, gt, turn)
    for i in (0, 1023, 1024, 1029):
        torch.testing.assert_close(angles[i], mpjae(pred[i], gt[i], turn[i]), atol=1e-9, rtol=0)
    assert mpjae(pred[:0], gt[:0]).shape == (0, 9)


def test_joints_without_vertices_are_exact():
    bodies = EMBEDDED.to(dtype=F64)
    draws = torch.Generator().manual_seed(3)
    betas, rotvecs = torch.randn(5, 10, generator=draws, dtype=F64), torch.randn(5, 24, 3, generator=draws, dtype=F64)
    trans, genders = torch.randn(5, 3, generator=draws, dtype=F64), ["male", "female", "male", "neutral", "female"]
    output = bodies.forward(betas, None, trans, genders, rotvecs=rotvecs)
    for skeleton in ("eval14", "j29", "smpl24"):
        joints = bodies.forward_joints(betas, None, trans, genders, skeleton=skeleton, rotvecs=rotvecs)
        torch.testing.assert_close(joints, bodies.joints(output, skeleton), atol=1e-12, rtol=0)


def scene(count: int) -> tuple[Prediction, list[Truth]]:
    rng = np.random.default_rng(0)
    rotvecs, betas = 0.4 * rng.normal(size=(count, 24, 3)), rng.normal(size=(count, 10))
    rotmats = roma.rotvec_to_rotmat(torch.from_numpy(rotvecs + 0.1 * rng.normal(size=rotvecs.shape)).float())
    prediction = Prediction(torch.zeros(count, dtype=torch.bool), rotmats=rotmats, betas=torch.from_numpy(betas + 0.3).float())
    nowhere = {"joints": np.zeros((24, 3)), "skeleton": "smpl24", "valid": np.ones(24, dtype=bool), "trans": np.zeros(3), "joints2d": None}
    genders = ("male", "female", "neutral")
    truths = [Truth(rotvecs=rotvecs[i], betas=betas[i], gender=genders[i % 3], **nowhere) for i in range(count)]
    return prediction, truths


def scorer(*metrics: str, **more) -> Scorer:
    return Scorer(EMBEDDED, replace(load_protocol("3dpw-test").score, metrics=metrics, **more), torch.device("cpu"))


class TestScorer:
    @pytest.mark.parametrize("align", ["none", "root"])
    def test_vertices_against_float64(self, way, align):
        """Tile by tile the same as of whole meshes."""
        prediction, truths = scene(7)
        found = scorer("pve", "pa_pve", pve_align=align)
        errors = found.measure(prediction, truths)
        bodies = EMBEDDED.to(dtype=F64)
        pred = bodies.forward(prediction.betas, prediction.rotmats)
        rotvecs, betas = (torch.from_numpy(np.stack([getattr(truth, name) for truth in truths])) for name in ("rotvecs", "betas"))
        gt = bodies.forward(betas, None, None, [truth.gender for truth in truths], rotvecs=rotvecs)
        roots = [bodies.joints(side, "h36m17")[:, 0] for side in (pred, gt)] if align == "root" else (None, None)
        distances = pve(pred.vertices, gt.vertices, *roots)
        np.testing.assert_allclose(errors["values/pve"][:, 0], distances.mean(-1), atol=1e-13, rtol=0)
        joint, sizes = found.parts
        for part in range(24):
            expected = distances[:, joint == part].mean(-1) if sizes[part] else torch.full((7,), torch.nan)
            np.testing.assert_allclose(errors["parts/pve"][:, part], expected, atol=1e-7, rtol=0)
        given = Prediction(prediction.failed, vertices=pred.vertices)
        for key, values in found.measure(given, truths).items():
            np.testing.assert_allclose(values, errors[key], atol=1e-7, rtol=0, err_msg=key)

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_the_batch_moves_nothing(self, way, count):
        prediction, truths = scene(7)
        one = scorer("mpjpe", "pa_mpjpe", "pve")
        whole = one.measure(prediction, truths)
        for start in range(0, 7, count):
            rows = slice(start, start + count)
            for key, values in one.measure(part_of(prediction, rows), truths[rows]).items():
                np.testing.assert_allclose(values, whole[key][rows], rtol=1e-9, atol=1e-12, err_msg=key)

    def test_numba_gives_the_same(self, monkeypatch):
        prediction, truths = scene(7)
        answers = []
        for enough in WAYS.values():
            monkeypatch.setattr(fast, "ENOUGH", enough)
            answers.append(scorer("pve", "pa_pve", pve_align="root").measure(prediction, truths))
        for key, values in answers[0].items():
            np.testing.assert_allclose(answers[1][key], values, rtol=1e-9, atol=1e-15, err_msg=key)

    def test_one_bad_person_costs_only_itself(self, way):
        prediction, truths = scene(4)
        clean = scorer("pve").measure(prediction, truths)["values/pve"]
        prediction.rotmats[1, 5, 0, 0] = torch.nan
        errors = scorer("pve").measure(prediction, truths)["values/pve"]
        assert np.isnan(errors[:, 0]).tolist() == [False, True, False, False]
        np.testing.assert_allclose(errors[[0, 2, 3]], clean[[0, 2, 3]], rtol=1e-9)


class _Largest(TorchDispatchMode):
    """The bytes of the largest tensor that any step makes."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.largest = max([self.largest, *sizes])
        return out


class TestMemory:
    """Bounded by the chunk and not by the number of people."""

    def test_pve(self):
        pred, gt = (torch.full((1, 6890, 3), value).expand(200, 6890, 3) for value in (0.0, 1.0))
        with _Largest() as seen:
            means = mean_pve(pred, gt)
        torch.testing.assert_close(means, torch.full((200,), 3**0.5, dtype=F64))
        assert seen.largest < 2e6  # all at once: 16 MB

    def test_alignment(self):
        pred, gt = (side.expand(30000, 14, 3) for side in people(1))
        with _Largest() as seen:
            pa_mpjpe(pred, gt, pred, gt)
        assert seen.largest == 30000 * 14 * 8  # the answer

    def test_a_whole_evaluation(self):
        prediction, truths = scene(1)
        one, seen = scorer("mpjpe", "pa_mpjpe", "pve"), []
        one.measure(prediction, truths)
        for count in (140, 280):
            rows = [0] * count
            with _Largest() as mode:
                one.measure(part_of(prediction, rows), truths * count)
            seen.append(mode.largest)
        assert seen[0] == seen[1] < 12e6  # all vertices at once: 280 x 165 kB
