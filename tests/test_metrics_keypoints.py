"""PCK and AUC, worked by hand as fractions."""

from fractions import Fraction as F

import numpy as np
import pytest
import torch

from hpsbench.metrics.joints import mpjpe, pa_mpjpe
from hpsbench.metrics.keypoints import AUC_THRESHOLDS, auc_hits, joint_groups, pck_hits, thresholds_to
from hpsbench.metrics.summary import summarise
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Errors

NAN = float("nan")
MM = 1000


def approx(fraction):
    return pytest.approx(float(fraction), abs=1e-10)


class TestPck:
    def test_by_hand(self):
        """149.9 is in, 150 is not: strictly below. 4 of 5 measured, 1 not measured."""
        hits = pck_hits(np.array([[0, 149.9, 150], [12, 140, NAN]]) / MM)
        np.testing.assert_array_equal(hits, [[1, 1, 0], [1, 1, NAN]])
        assert percent(hits) == (approx(100 * F(4, 5)), 5)

    def test_exactly_at_the_threshold_is_a_miss_at_every_threshold(self):
        for mm in range(5, 151, 5):
            assert pck_hits(np.array([mm / MM]), mm / MM) == 0
            assert pck_hits(np.array([(mm - 1e-6) / MM]), mm / MM) == 1

    def test_other_threshold(self):
        assert pck_hits(np.array([[60.0, 40, 50]]) / MM, 0.050).tolist() == [[0, 1, 0]]


class TestAuc:
    def test_thresholds(self):
        assert len(AUC_THRESHOLDS) == 31
        assert AUC_THRESHOLDS[0] == 0
        assert AUC_THRESHOLDS[-1] == 0.150
        assert thresholds_to(150, 31) == AUC_THRESHOLDS

    def test_by_hand(self):
        """0 mm passes 5 to 150: 30 of 31. 12 mm passes 15 to 150: 28. 100 mm passes 105 to 150: 10. 149 mm passes one, 150 none."""
        hits = auc_hits(np.array([[0, 12, 100], [149, 150, 4000]]) / MM)
        np.testing.assert_allclose(hits * 31, [[30, 28, 10], [1, 0, 0]], atol=1e-12)
        assert percent(hits) == (approx(100 * F(30 + 28 + 10 + 1, 31 * 6)), 6)

    def test_is_the_mean_of_the_pcks(self):
        errors = np.random.default_rng(3).gamma(2.0, 0.04, (50, 14))
        pcks = [percent(pck_hits(errors, threshold))[0] for threshold in AUC_THRESHOLDS]
        assert percent(auc_hits(errors))[0] == pytest.approx(np.mean(pcks), abs=1e-10)

    def test_not_measured(self):
        assert np.isnan(auc_hits(np.array([[NAN, 0.01]]))).tolist() == [[True, False]]

    @pytest.mark.parametrize("thresholds", [(), (0.1,), (0.1, 0.1), (0.2, 0.1), (0.0, 0.1, 0.3)])
    def test_thresholds_rise_evenly(self, thresholds):
        with pytest.raises(ValueError, match=r"thresholds: expected at least two that rise in equal steps"):
            auc_hits(np.zeros((1, 2)), thresholds)

    def test_hits_keep_leading_axes(self):
        assert auc_hits(np.zeros((2, 3, 14))).shape == pck_hits(np.zeros((2, 3, 14))).shape == (2, 3, 14)


class TestChallenge:
    """The 3DPW challenge: an error of exactly the threshold hits, and the AUC is the area under the curve from 0 to 199 mm."""

    def test_at_most(self):
        assert pck_hits(np.array([49.9, 50, 50.1]) / MM, 0.050, at_most=True).tolist() == [1, 1, 0]

    def test_area_by_hand(self):
        """0, 1, ..., 199 mm, the first and the last weigh half. 0 mm passes all, 1 mm all but the first, 199 mm the last, 200 mm none."""
        steps = thresholds_to(199, 200)
        assert steps[:3] == (0, 0.001, 0.002)
        hits = auc_hits(np.array([0, 1, 198.5, 199, 200, NAN]) / MM, steps, at_most=True, trapezoid=True)
        wanted = [1, F(397, 398), F(1, 398), F(1, 398), 0]
        np.testing.assert_allclose(hits[:5], [float(part) for part in wanted], atol=1e-12)
        assert np.isnan(hits[5])

    def test_area_is_the_integral_of_the_curve(self):
        errors, steps = np.random.default_rng(3).gamma(2.0, 0.03, (50, 12)), np.array(thresholds_to(199, 200))
        curve = [np.mean(errors <= step) for step in steps]
        area = float(np.sum((np.array(curve[1:]) + curve[:-1]) / 2 * np.diff(steps)) / steps[-1])
        assert auc_hits(errors, steps, at_most=True, trapezoid=True).mean() == pytest.approx(area, abs=1e-12)


class TestGroups:
    def test_of_the_14_are_those_of_the_evaluator(self):
        joints = [name for name in JOINT_NAMES["mpi17"] if name not in ("pelvis", "spine", "head")]
        groups = joint_groups(joints)
        assert list(groups) == ["head_top", "neck", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]
        assert {joints[place] for place in groups["wrist"]} == {"left_wrist", "right_wrist"}
        assert sorted(place for places in groups.values() for place in places) == list(range(14))


def percent(hits):
    """(mean in percent, count) of the measured hits, as ``summarise`` gives it."""
    names = tuple(map(str, range(hits.shape[-1])))
    count = len(hits)
    errors = Errors(("",) * count, ("t/0",) * count, np.arange(count), np.zeros(count, bool), {"pck": hits}, {"pck": names})
    (row,) = summarise(errors, None, ["pck"], "pooled")
    assert row["unit"] == "%"
    return row["value"], row["values"]


def test_from_joints_to_percent():
    """A person turned about the pelvis by a quarter and moved: of 17 joints only those within 150 mm / sqrt 2 of the axis hit;
    after the similarity all do, with 30 of 31 thresholds passed."""
    names = JOINT_NAMES["mpi17"]
    gt = torch.from_numpy(np.random.default_rng(2).normal(0, 0.3, (1, 17, 3)))
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    pelvis = names.index("pelvis")
    gt = gt - gt[:, pelvis : pelvis + 1]
    pred = gt @ turn.T + torch.tensor([1.0, 2, 3], dtype=torch.float64)
    near = (gt[..., :2].norm(dim=-1) < 0.150 / 2**0.5).sum().item()
    assert 1 <= near < 17
    assert percent(pck_hits(mpjpe(pred, gt, pred[:, pelvis], gt[:, pelvis]).numpy())) == (approx(100 * F(near, 17)), 17)
    assert percent(auc_hits(pa_mpjpe(pred, gt, pred, gt).numpy())) == (approx(100 * F(30, 31)), 17)
