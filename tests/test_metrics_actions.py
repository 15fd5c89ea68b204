"""The mean over actions, worked by hand."""

from fractions import Fraction as F

import numpy as np
import pytest

from hpsbench.metrics.actions import mean_of_action_means

NAN = float("nan")


def test_each_action_weighs_the_same():
    """Walking (10 + 20 + 60) / 3 = 30, Photo 50: their mean is 40, the mean over people 35."""
    mean, means = mean_of_action_means(np.array([10.0, 50.0, 20.0, 60.0]), ["Walking", "Photo", "Walking", "Walking"])
    assert means == {"Walking": (30.0, 3), "Photo": (50.0, 1)}
    assert list(means) == ["Walking", "Photo"]
    assert mean == 40


def test_joints_of_a_person_first():
    """People (1 + 2 + 6) / 3 = 3 and (4 + 5) / 2 with a joint not measured; Eating 1 / 7 thrice."""
    errors = np.array([[1, 2, 6], [4, NAN, 5], [1 / 7, 1 / 7, 1 / 7]])
    mean, means = mean_of_action_means(errors, ["Sitting", "Sitting", "Eating"])
    sitting = (F(9, 3) + F(9, 2)) / 2
    assert means["Sitting"] == pytest.approx((float(sitting), 2))
    assert mean == pytest.approx(float((sitting + F(1, 7)) / 2), abs=1e-12)


def test_nothing_measured_is_no_zero():
    mean, means = mean_of_action_means(np.array([[3.0, 5.0], [NAN, NAN], [NAN, NAN], [8.0, NAN]]), ["A", "A", "B", "C"])
    assert mean == (4 + 8) / 2
    assert means["A"] == (4.0, 1)
    assert means["B"][1] == 0
    assert np.isnan(means["B"][0])
    assert np.isnan(mean_of_action_means(np.array([NAN]), ["A"])[0])
    assert np.isnan(mean_of_action_means(np.empty((0, 14)), [])[0])


def test_order_of_people_does_not_matter():
    rng = np.random.default_rng(5)
    errors, actions = rng.uniform(0, 1, (60, 14)), [f"action {i % 7}" for i in range(60)]
    order = rng.permutation(60)
    shuffled, _ = mean_of_action_means(errors[order], [actions[i] for i in order])
    assert shuffled == pytest.approx(mean_of_action_means(errors, actions)[0], abs=1e-12)


def test_equal_counts_are_the_pooled_mean():
    errors = np.random.default_rng(6).uniform(0, 1, (30, 14))
    assert mean_of_action_means(errors, ["a", "b", "c"] * 10)[0] == pytest.approx(errors.mean(), abs=1e-12)


def test_an_action_for_each_person():
    with pytest.raises(ValueError, match="expected an action for each of 2 people, but got 1"):
        mean_of_action_means(np.zeros(2), ["A"])
