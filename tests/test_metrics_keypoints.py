"""PCK and AUC, worked by hand as fractions."""

from fractions import Fraction as F

import numpy as np
import pytest
import torch

from hpsbench.metrics.joints import mpjpe, pa_mpjpe
from hpsbench.metrics.keypoints import AUC_THRESHOLDS, GROUPS_3DHP, auc_hits, pck_hits, percent, percent_by_group, percent_by_label
from hpsbench.skeleton import JOINT_NAMES

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

    def test_hits_keep_leading_axes(self):
        assert auc_hits(np.zeros((2, 3, 14))).shape == pck_hits(np.zeros((2, 3, 14))).shape == (2, 3, 14)


class TestSummary:
    def test_nothing_measured_is_no_zero(self):
        for hits in (np.empty((0, 14)), np.full((3, 2), NAN)):
            value, count = percent(hits)
            assert np.isnan(value)
            assert count == 0

    def test_groups_are_the_14_of_the_evaluator(self):
        joints = [joint for group in GROUPS_3DHP.values() for joint in group]
        assert list(GROUPS_3DHP) == ["Head", "Neck", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle"]
        assert len(set(joints)) == 14
        assert set(JOINT_NAMES["mpi17"]) - set(joints) == {"pelvis", "spine", "head"}

    def test_groups_by_hand(self):
        """Two people. Head: one of 2. Right wrists miss, left ones hit: 2 of 4. One knee is not measured. The pelvis does not count."""
        names = JOINT_NAMES["mpi17"]
        errors = np.full((2, 17), 0.010)
        errors[0, names.index("head_top")] = 0.2
        errors[:, names.index("right_wrist")] = 0.151
        errors[1, names.index("left_knee")] = NAN
        errors[:, [names.index(name) for name in ("pelvis", "spine", "head")]] = 9.0
        table = percent_by_group(pck_hits(errors), names)
        assert table["Head"] == (approx(100 * F(1, 2)), 2)
        assert table["Wrist"] == (approx(100 * F(2, 4)), 4)
        assert table["Knee"] == (100, 3)
        assert table["All"] == (approx(100 * F(28 - 1 - 3, 28 - 1)), 27)
        assert percent(pck_hits(errors))[1] == 33

    def test_labels_by_hand(self):
        """Scenes weigh by their people: studio 3 of 4, outdoor 0 of 2; all 3 of 6."""
        hits = np.array([[1.0, 1], [0, 0], [1, 0]])
        table = percent_by_label(hits, ["studio", "outdoor", "studio"])
        assert table == {"studio": (75.0, 4), "outdoor": (0.0, 2)}
        assert list(table) == ["studio", "outdoor"]
        assert percent(hits) == (approx(100 * F(3, 6)), 6)

    def test_what_does_not_fit(self):
        with pytest.raises(ValueError, match="a label for each of 2 people, but got 1"):
            percent_by_label(np.zeros((2, 3)), ["a"])
        with pytest.raises(ValueError, match="head_top"):
            percent_by_group(np.zeros((2, 1)), ["neck"])
        with pytest.raises(ValueError, match="3 columns"):
            percent_by_group(np.zeros((2, 3)), JOINT_NAMES["mpi17"])


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
