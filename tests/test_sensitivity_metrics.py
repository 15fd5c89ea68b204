import itertools

import numpy as np
import pytest

from hpsbench.errors import UnknownNameError
from hpsbench.metrics.sensitivity import (
    CLASSES,
    COVERAGE_EDGES,
    BodyGrid,
    Mean,
    body_map,
    break_points,
    class_means,
    coverage_curve,
    excess,
    joint_maxima,
    joint_means,
    over_joints,
    position_map,
    split,
    tail_mean,
    worst,
)
from hpsbench.metrics.sensitivity_chain import bones_between, damage_by_distance, influence
from hpsbench.metrics.sensitivity_confidence import Confidences
from hpsbench.skeleton import joint_names

NAN = float("nan")

# A planted model on a 20 px crop under a 10 px patch at the four quarters: its answers are 10, 20 and 30 mm off for joints 0, 1 and 2,
# 100 mm farther away from a joint under the patch, and 4 mm farther from the next joint of one under the patch.
CLEAN = np.array([[10.0, 20.0, 30.0], [10.0, 20.0, 30.0]])
HIDDEN = np.zeros((2, 4, 3), dtype=bool)
HIDDEN[0, 0, 0] = HIDDEN[0, 3, 1] = HIDDEN[0, 3, 2] = True  # joint 0 in the first quarter, joints 1 and 2 in the last
HIDDEN[1, 1, 0] = HIDDEN[1, 1, 1] = HIDDEN[1, 2, 2] = True
MOVED = 100.0 * HIDDEN + 4.0 * np.roll(HIDDEN & (np.arange(3) < 2), 1, axis=2)
ERRORS = CLEAN[:, None] + MOVED
OUTSIDE = np.zeros((2, 3), dtype=bool)


class TestMean:
    def test_nothing_measured_is_nan_beside_a_count_of_0(self):
        mean = Mean.over(np.array([[1.0, NAN], [4.0, NAN]]), 0)
        np.testing.assert_array_equal(mean.values, [5 / 2, NAN])
        np.testing.assert_array_equal(mean.counts, [2, 0])

    def test_where_leaves_out(self):
        mean = Mean.over(np.array([[1.0, 7.0], [4.0, NAN]]), 1, np.array([[True, False], [True, True]]))
        np.testing.assert_array_equal(mean.values, [1, 4])

    def test_parts_add_up(self):
        rng = np.random.default_rng(0)
        values = np.where(rng.random((7, 3)) < 0.3, NAN, rng.random((7, 3)))
        whole, parts = Mean.over(values, 0), Mean.over(values[:4], 0) + Mean.over(values[4:], 0)
        np.testing.assert_allclose(parts.values, whole.values, rtol=1e-12)
        np.testing.assert_array_equal(parts.counts, whole.counts)


class TestMaps:
    def test_the_planted_map(self):
        # Position 0: person 0 has 110 for joint 0 and 24 for its neighbour, person 1 the clean errors.
        expected = [
            [(110 + 10) / 2, (24 + 20) / 2, 30],
            [(10 + 110) / 2, (20 + 124) / 2, (30 + 34) / 2],
            [10, 20, (30 + 130) / 2],
            [10, (120 + 20) / 2, (134 + 30) / 2],
        ]
        found = position_map(ERRORS)
        np.testing.assert_array_equal(found.values, expected)
        np.testing.assert_array_equal(found.counts, 2)

    def test_a_failed_position_does_not_enter(self):
        errors = ERRORS.copy()
        errors[1, 1] = NAN
        found = position_map(errors)
        np.testing.assert_array_equal(found.values[1], [10, 20, 30])
        np.testing.assert_array_equal(found.counts[1], 1)

    def test_over_joints(self):
        np.testing.assert_allclose(over_joints(ERRORS)[0], [(110 + 24 + 30) / 3, 20, 20, (10 + 120 + 134) / 3], rtol=1e-12)
        np.testing.assert_array_equal(over_joints(ERRORS, ~HIDDEN)[0], [(24 + 30) / 2, 20, 20, 10])
        assert np.isnan(over_joints(np.array([[NAN, NAN]]))).all()


QUARTERS = np.array([[0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20], [10, 10, 20, 20]], dtype=float)


class TestBodyMap:
    def test_each_patch_lies_where_it_lay_on_the_person(self):
        # The box is the crop's left half: patches 0 and 2 cover its upper and lower half, 1 and 3 lie one box width to its right.
        errors = np.array([[[1.0], [2.0], [3.0], [4.0]]])
        found = body_map(errors, QUARTERS, np.array([[0.0, 0.0, 10.0, 20.0]]), BodyGrid(rows=4, columns=4, margin=0.5))
        # Middles of the columns at -1/4, 1/4, 3/4, 5/4 of the width, of the rows at the same of the height.
        expected = [[NAN] * 4, [NAN, 1, 1, 2], [NAN, 3, 3, 4], [NAN] * 4]
        np.testing.assert_allclose(found.values[..., 0], expected, atol=1e-12)
        np.testing.assert_array_equal(found.counts[..., 0] > 0, ~np.isnan(expected))

    def test_people_of_other_boxes_meet_in_box_sides(self):
        # Person 0's box is quarter 0, person 1's quarter 3: each has the patch on it at errors 6 and 8.
        errors = np.array([[[6.0], [0], [0], [0]], [[0], [0], [0], [8.0]]])
        found = body_map(errors, QUARTERS, QUARTERS[[0, 3]], BodyGrid(rows=2, columns=2, margin=0.0))
        np.testing.assert_allclose(found.values[..., 0], 7, atol=1e-12)
        np.testing.assert_array_equal(found.counts[..., 0], 2)

    def test_against_plain_loops(self):
        rng, grid = np.random.default_rng(3), BodyGrid(rows=9, columns=7, margin=0.3)
        errors = np.where(rng.random((5, 6, 2)) < 0.2, NAN, rng.random((5, 6, 2)))
        boxes = np.concatenate([corner := 20 * rng.random((6, 2)), corner + 1 + 9 * rng.random((6, 2))], axis=1)
        people = np.concatenate([corner := 10 * rng.random((5, 2)), corner + 2 + 9 * rng.random((5, 2))], axis=1)
        sums, counts = np.zeros((9, 7, 2)), np.zeros((9, 7, 2), dtype=int)
        for n, p, r, c in itertools.product(range(5), range(6), range(9), range(7)):
            x = people[n, 0] + (people[n, 2] - people[n, 0]) * ((c + 0.5) / 7 * 1.6 - 0.3)
            y = people[n, 1] + (people[n, 3] - people[n, 1]) * ((r + 0.5) / 9 * 1.6 - 0.3)
            if boxes[p, 0] <= x < boxes[p, 2] and boxes[p, 1] <= y < boxes[p, 3]:
                measured = ~np.isnan(errors[n, p])
                sums[r, c] += np.where(measured, errors[n, p], 0)
                counts[r, c] += measured
        found = body_map(errors, boxes, people, grid)
        assert counts.any()
        np.testing.assert_array_equal(found.counts, counts)
        np.testing.assert_allclose(found.sums, sums, atol=1e-12)

    def test_boxes_of_no_area_and_places_not_known_enter_nowhere(self):
        errors, grid = np.ones((2, 4, 1)), BodyGrid(rows=2, columns=2, margin=0.0)
        assert not body_map(errors, QUARTERS, np.array([[5.0, 5, 5, 9], [NAN] * 4]), grid).counts.any()
        assert not body_map(errors, np.full((4, 4), NAN), np.array([[0.0, 0, 9, 9]] * 2), grid).counts.any()


class TestJoints:
    def test_means_and_maxima_over_positions(self):
        np.testing.assert_array_equal(joint_means(ERRORS)[0], [10 + 100 / 4, 20 + (4 + 100) / 4, 30 + (100 + 4) / 4])
        np.testing.assert_array_equal(joint_maxima(ERRORS), [[110, 120, 134], [110, 124, 130]])
        np.testing.assert_array_equal(joint_means(excess(ERRORS, CLEAN))[0], [25, 26, 26])

    def test_only_where(self):
        where = np.array([[True, False, False, False], [False] * 4])
        np.testing.assert_array_equal(joint_means(ERRORS, where), [[110, 24, 30], [NAN] * 3])

    def test_not_measured(self):
        errors = np.where(np.arange(3) == 1, NAN, ERRORS)
        np.testing.assert_array_equal(joint_maxima(errors)[0], [110, NAN, 134])

    def test_pares_seven_classes(self):
        names = joint_names("eval14")
        values = np.arange(14.0)[None]
        means = dict(zip(CLASSES, class_means(values, names)[0], strict=True))
        place = names.index
        assert means["ankle"] == (place("right_ankle") + place("left_ankle")) / 2
        assert means["head"] == (place("neck") + place("head_top")) / 2
        assert len(means) == 7
        assert sum(name in members for members in CLASSES.values() for name in names) == 14
        only_a_knee = class_means(np.array([[3.0, NAN]]), ["left_knee", "right_knee"])
        np.testing.assert_array_equal(only_a_knee, [[NAN, 3, NAN, NAN, NAN, NAN, NAN]])


class TestSplit:
    def test_the_planted_split(self):
        parts = split(ERRORS, CLEAN, HIDDEN, OUTSIDE)
        # Person 0: joint 0 hidden once (110), joints 1 and 2 once, together (120; 30 + 100 + 4).
        np.testing.assert_allclose(parts.hidden.values, [(110 + 120 + 134) / 3, (110 + 124 + 130) / 3], rtol=1e-12)
        np.testing.assert_allclose(parts.hidden_excess.values, [304 / 3, 304 / 3], rtol=1e-12)
        # Nine visible pairs each, of which one has 4 mm: the neighbour of joint 0, of joint 1.
        np.testing.assert_allclose(parts.spill_over.values, [4 / 9, 4 / 9], rtol=1e-12)
        np.testing.assert_allclose(parts.visible.values, [(10 * 3 + 20 * 3 + 30 * 3 + 4) / 9] * 2, rtol=1e-12)
        np.testing.assert_array_equal(parts.hidden.counts, 3)
        np.testing.assert_array_equal(parts.visible.counts, 9)

    def test_joints_outside_the_crop_are_in_neither(self):
        outside = OUTSIDE.copy()
        outside[0, 0] = True
        parts = split(ERRORS, CLEAN, HIDDEN, outside)
        np.testing.assert_array_equal(parts.hidden.counts, [2, 3])
        np.testing.assert_array_equal(parts.visible.counts, [6, 9])

    def test_nobody_hidden_is_nan(self):
        parts = split(ERRORS, CLEAN, np.zeros_like(HIDDEN), OUTSIDE)
        assert np.isnan(parts.hidden.values).all()
        np.testing.assert_array_equal(parts.hidden.counts, 0)


class TestWorstCases:
    def test_the_planted_maximum(self):
        np.testing.assert_allclose(worst(over_joints(ERRORS)), [(10 + 120 + 134) / 3, (110 + 124 + 34) / 3], rtol=1e-12)
        np.testing.assert_array_equal(worst(over_joints(ERRORS, ~HIDDEN)), [27, 34])

    def test_failed_positions(self):
        np.testing.assert_array_equal(worst(np.array([[NAN, 3.0], [NAN, NAN]])), [3, NAN])

    def test_tail(self):
        errors = np.arange(36.0)[None]
        assert tail_mean(errors) == (35 + 34) / 2  # ceil(1.8) positions
        assert tail_mean(errors[:, :20]) == 19
        np.testing.assert_array_equal(tail_mean(np.array([[1.0, NAN, 5.0], [NAN, NAN, NAN]]), 0.5), [5, NAN])

    def test_tail_of_a_refined_field_is_a_share_of_all_positions(self):
        visited = np.where(np.arange(40) >= 30, np.arange(40.0), NAN)[None]
        assert tail_mean(visited, possible=np.array([40])) == (39 + 38) / 2
        assert tail_mean(visited) == 39


class TestBreakPoint:
    CLEAN = np.array([10.0, 10.0, NAN, 10.0])
    ERRORS = np.array([[12.0, 19.0, 20.0, 50.0], [10.0, 11.0, 12.0, 19.9], [99.0] * 4, [NAN] * 4])
    COVERAGE = np.array([[0.0, 0.1, 0.3, 0.2]] * 4)

    def test_the_first_coverage_that_doubles(self):
        points, known = break_points(self.ERRORS, self.CLEAN, self.COVERAGE)
        np.testing.assert_array_equal(points, [0.2, NAN, NAN, NAN])
        np.testing.assert_array_equal(known, [True, True, False, False])

    def test_curve_by_hand(self):
        curve = coverage_curve(self.ERRORS, self.CLEAN, self.COVERAGE, (0.0, 0.1, 0.25, 1.0))
        np.testing.assert_array_equal(curve.error.counts, [2, 2, 2, 2])
        np.testing.assert_allclose(curve.error.values, [(12 + 10) / 2, (19 + 11) / 2, (50 + 19.9) / 2, (20 + 12) / 2], rtol=1e-12)
        np.testing.assert_allclose(curve.coverage.values, [0, 0.1, 0.2, 0.3], rtol=1e-12)
        assert curve.break_point() == pytest.approx(0.2)
        assert np.isnan(curve.break_point(factor=4))

    def test_parts_of_a_curve_add_up(self):
        whole = coverage_curve(self.ERRORS, self.CLEAN, self.COVERAGE)
        parts = [coverage_curve(self.ERRORS[k], self.CLEAN[k], self.COVERAGE[k]) for k in (slice(1), slice(1, 4))]
        np.testing.assert_allclose((parts[0] + parts[1]).error.sums, whole.error.sums)
        assert len(whole.error.sums) == len(COVERAGE_EDGES)

    def test_edges_are_of_float32_shares(self):
        coverage = np.array([[0.025, 0.05, 0.0251]], dtype=np.float32)
        curve = coverage_curve(np.ones((1, 3)), np.ones(1), coverage)
        np.testing.assert_array_equal(curve.error.counts[:4], [0, 1, 2, 0])

    def test_coverage_beyond_the_edges(self):
        with pytest.raises(ValueError, match=r"at most 1, but got 1\.5"):
            coverage_curve(np.ones((1, 1)), np.ones(1), np.full((1, 1), 1.5))

    def test_an_empty_curve(self):
        curve = coverage_curve(np.ones((0, 4)), np.ones(0), np.ones((0, 4)))
        assert np.isnan(curve.break_point())


class TestInfluence:
    def test_the_planted_matrix(self):
        found = influence(excess(ERRORS, CLEAN), HIDDEN)
        # Joint 0 is hidden alone by person 0, with joint 1 by person 1; joint 1 also with joint 2 by person 0; joint 2 also alone.
        expected = [[100, (4 + 104) / 2, (0 + 4) / 2], [(0 + 100) / 2, (100 + 104) / 2, (104 + 4) / 2], [0, (100 + 0) / 2, (104 + 100) / 2]]
        np.testing.assert_array_equal(found.values, expected)
        np.testing.assert_array_equal(found.counts, 2)

    def test_against_plain_loops_with_nan(self):
        rng = np.random.default_rng(1)
        above = np.where(rng.random((3, 4, 5)) < 0.3, NAN, rng.standard_normal((3, 4, 5)))
        hidden = rng.random((3, 4, 5)) < 0.4
        found = influence(above, hidden)
        for i, j in itertools.product(range(5), range(5)):
            values = [above[n, p, j] for n in range(3) for p in range(4) if hidden[n, p, i] and not np.isnan(above[n, p, j])]
            assert found.counts[i, j] == len(values)
            assert found.values[i, j] == pytest.approx(np.mean(values))

    def test_a_joint_that_nothing_hid(self):
        found = influence(excess(ERRORS, CLEAN), HIDDEN & (np.arange(3) > 0))
        assert np.isnan(found.values[0]).all()

    def test_bones_between(self):
        names = joint_names("eval14")
        bones = bones_between(names, "h36m17")

        def way(a, b):
            return bones[names.index(a), names.index(b)]

        assert way("left_wrist", "left_wrist") == 0
        assert way("left_wrist", "left_elbow") == 1
        assert way("left_hip", "right_hip") == 2
        assert way("left_ankle", "left_hip") == 2
        assert way("left_hip", "neck") == 3  # pelvis, spine, neck
        assert way("left_wrist", "right_ankle") == 8
        np.testing.assert_array_equal(bones, bones.T)
        assert bones_between(("left_hand", "pelvis", "left_knee"), "smpl24").tolist() == [[0, 8, 10], [8, 0, 2], [10, 2, 0]]
        with pytest.raises(UnknownNameError, match="tail"):
            bones_between(("neck", "tail"), "smpl24")

    def test_damage_by_distance(self):
        matrix = influence(excess(ERRORS, CLEAN), HIDDEN)
        chain = np.array([[0, 1, 2], [1, 0, 1], [2, 1, 0]])
        found = damage_by_distance(matrix, chain)
        # On the diagonal 100, 102 and 102; one bone away 54, 50, 54, 50; two bones away 2 and 0: two pairs in each cell.
        np.testing.assert_allclose(found.values, [304 / 3, 208 / 4, 2 / 2], rtol=1e-12)
        np.testing.assert_array_equal(found.counts, [6, 8, 4])


class TestConfidence:
    def test_by_hand(self):
        confidence = np.array([0.1, 0.5, 0.5, 0.9, NAN, 0.2])
        hidden = np.array([True, True, False, False, True, False])
        visible = np.array([False, False, True, True, False, False])
        found = Confidences.of(confidence, hidden, visible)
        # Pairs: 0.1 below both, 0.5 ties with one and is below the other; the last is outside the crop, the one before gave none.
        assert found.auroc == (1 + 1 + 1 / 2 + 1) / 4
        assert found.mean("hidden") == pytest.approx(0.3)
        assert found.mean("visible") == pytest.approx(0.7)

    def test_against_all_pairs_in_parts(self):
        rng = np.random.default_rng(2)
        confidence = rng.integers(0, 9, 200).astype(np.float16) / 8
        hidden = rng.random(200) < 0.3
        parts = [Confidences.of(confidence[k], hidden[k], ~hidden[k]) for k in (slice(90), slice(90, 200))]
        low, high = confidence[hidden][:, None], confidence[~hidden][None]
        expected = ((low < high) + 0.5 * (low == high)).mean()
        assert (parts[0] + parts[1]).auroc == pytest.approx(expected, abs=1e-12)
        assert len((parts[0] + parts[1]).values) == 9

    def test_nothing_hidden(self):
        found = Confidences.of(np.array([0.5]), np.array([False]), np.array([True]))
        assert np.isnan(found.auroc)
        assert np.isnan(found.mean("hidden"))
