"""AGORA's scores: by hand, as fractions, on scenes small enough to draw."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from hpsbench.errors import PredictionError
from hpsbench.metrics.agora import AgoraImage, agora_errors, agora_scores, box_iou, match_people, parts_of

RNG = np.random.default_rng(11)
BODY = RNG.normal(0, 0.3, (45, 3))
MESH = RNG.normal(0, 0.3, (8, 3))
# The body subset of a mesh of eight vertices.
VERTICES = {"body": np.array([1, 3, 4, 6], dtype=np.uint32)}


def box(x0, y0, x1, y1):
    """45 2D joints on a diagonal: their box is the one given."""
    return np.linspace([x0, y0], [x1, y1], 45)


def image(pred, gt, **change):
    """An image of 2D joints only; everybody has the same joints and mesh, 10 % occlusion, and is valid."""
    pred, gt = (np.array(points, dtype=float).reshape(-1, 45, 2) for points in (pred, gt))
    return replace(
        AgoraImage(
            name="ag_validationset_3dpeople_bfh_archviz_5_10_cam00_00000",
            pred_joints2d=pred,
            pred_joints=np.tile(BODY, (len(pred), 1, 1)),
            pred_vertices=np.tile(MESH, (len(pred), 1, 1)),
            gt_joints2d=gt,
            gt_joints=np.tile(BODY, (len(gt), 1, 1)),
            gt_vertices=np.tile(MESH, (len(gt), 1, 1)),
            occlusion=np.full(len(gt), 10.0),
            valid=np.ones(len(gt), dtype=bool),
            kid=np.zeros(len(gt), dtype=bool),
        ),
        **change,
    )


def scored(images, literal, model="smpl"):
    return agora_scores(agora_errors(images, parts_of(model, VERTICES), literal=literal), literal=literal)


@pytest.fixture
def scene():
    """Five people in a row, 100 px apart: an adult, a kid, one at 85 %, one more, one missed. Five predictions, one of nobody.

    Joint errors of the four found (mm, mean of 24): 24, 48, 12, 36; all but the root-relative part is moved away by the
    prediction's own place. Vertex errors (mean of the 4 of the body): 10, 20, 40, 30; other vertices are metres off.
    """
    gt = [box(100 * k, 50, 100 * k + 60, 250) for k in range(5)]
    pred = [box(100 * k + 3, 52, 100 * k + 63, 252) for k in (3, 1, 0, 2)] + [box(800, 50, 860, 250)]
    whole = image(pred, gt, kid=np.array([False, True, False, False, False]), occlusion=np.array([10.0, 15, 85, 42, 0]))
    for p, (joint_mm, vertex_mm) in enumerate([(36, 30), (48, 20), (24, 10), (12, 40)]):
        joints, vertices = whole.pred_joints[p], whole.pred_vertices[p]
        joints[5, 1] += joint_mm * 24 / 2 / 1000
        joints[23, 2] -= joint_mm * 24 / 2 / 1000
        joints[24:] += 1.0
        vertices[VERTICES["body"]] += np.array([0, 0, vertex_mm / 1000])
        vertices[[0, 2, 5, 7]] += 2.0
        joints += [p, 2 * p, -p]
        vertices += [p, 2 * p, -p]
    return whole


class TestWorkedScene:
    @pytest.mark.parametrize("literal", [True, False])
    def test_who_is_whom(self, scene, literal):
        matching = match_people(scene.pred_joints2d, scene.gt_joints2d, scene.evaluated, literal=literal)
        assert sorted(matching.pairs) == [(0, 3), (1, 1), (2, 0), (3, 2)]
        assert matching.misses == (4,)
        assert matching.false_positives == (4,)

    @pytest.mark.parametrize("literal", [True, False])
    def test_all(self, scene, literal):
        scores = scored([scene], literal)["all"]
        assert (scores.people, scores.misses, scores.false_positives) == (5, 1, 1)
        assert scores.precision == scores.recall == scores.f1 == 4 / 5
        mpjpe, mve = Fraction(24 + 48 + 12 + 36, 4), Fraction(10 + 20 + 40 + 30, 4)
        assert scores.mpjpe_mm["body"] == pytest.approx(float(mpjpe))
        assert scores.mve_mm["body"] == pytest.approx(float(mve))
        assert scores.nmje_mm["body"] == pytest.approx(37.5 if literal else float(mpjpe / Fraction(4, 5)))
        assert scores.nmve_mm["body"] == pytest.approx(31.2 if literal else float(mve / Fraction(4, 5)))

    def test_kid_has_everybodys_false_positives(self, scene):
        scores = scored([scene], literal=True)["kid"]
        assert (scores.people, scores.misses, scores.false_positives) == (1, 0, 1)
        assert (scores.precision, scores.recall) == (1 / 2, 1)
        assert scores.f1 == 0.67
        assert scores.mpjpe_mm["body"] == 48.0
        assert Fraction(48) / Fraction(67, 100) == Fraction(4800, 67)
        assert scores.nmje_mm["body"] == 71.6

    def test_kid_without_the_faults(self, scene):
        scores = scored([scene], literal=False)["kid"]
        assert scores.false_positives is None
        assert np.isnan([scores.precision, scores.f1, scores.nmje_mm["body"]]).all()
        assert scores.recall == 1
        assert scores.mve_mm["body"] == pytest.approx(20)

    @pytest.mark.parametrize("literal", [True, False])
    def test_occlusion_bins(self, scene, literal):
        """By bin (people, MPJPE of each found): 10 % itself is in the first bin literally, in the second one plainly."""
        expected = {0: (2, [24]), 10: (1, [48])} if literal else {0: (1, []), 10: (2, [24, 48])}
        expected |= {40: (1, [36]), 80: (1, [12])}
        scores = scored([scene], literal)
        for low in range(0, 90, 10):
            people, found = expected.get(low, (0, []))
            row = scores[f"occlusion-{low}-{low + 10}"]
            assert (row.people, row.people - row.misses, row.false_positives) == (people, len(found), None)
            assert np.isnan([row.precision, row.f1]).all()
            if found:
                mpjpe, recall = Fraction(sum(found), len(found)), Fraction(len(found), people)
                assert row.recall == recall
                assert row.mpjpe_mm["body"] == pytest.approx(float(mpjpe))
                assert row.nmje_mm["body"] == pytest.approx(float(mpjpe / recall) if literal else np.nan, nan_ok=True)
            else:
                assert np.isnan([row.mpjpe_mm["body"], row.nmje_mm["body"]]).all()
                assert row.recall == 0 if people else np.isnan(row.recall)

    def test_bins_are_not_rounded(self):
        """Three people of 10 % in the first bin literally, one found with a joint 0.1 mm off: MPJPE 1/240, NMJE three times that."""
        gt = [box(100 * k, 0, 100 * k + 50, 90) for k in range(3)]
        whole = image(gt[:1], gt)
        whole.pred_joints[0, 7, 0] += 0.0001
        row = scored([whole], True)["occlusion-0-10"]
        assert row.mpjpe_mm["body"] == pytest.approx(float(Fraction(1, 240)))
        assert row.nmje_mm["body"] == pytest.approx(float(Fraction(3, 240)))

    def test_two_images_pool_their_people(self, scene):
        """The scene twice, the second time without predictions: 4 of 10 found, one extra: F1 = 8/15."""
        scores = {literal: scored([scene, image([], list(scene.gt_joints2d))], literal)["all"] for literal in (True, False)}
        assert (scores[True].precision, scores[True].recall, scores[True].f1) == (0.8, 0.4, 0.53)
        assert scores[False].f1 == pytest.approx(float(Fraction(8, 15)))
        assert Fraction(30) / Fraction(53, 100) == Fraction(3000, 53)
        assert scores[True].nmje_mm["body"] == 56.6
        assert scores[False].nmje_mm["body"] == pytest.approx(float(Fraction(30) / Fraction(8, 15)))


class TestFaults:
    def test_matching_stops_early(self):
        """Person 1 is 12 px beside person 0: the pair (0, 1), distance 12 sqrt(24), does not overlap and comes before (1, 1)."""
        gt = [box(0, 0, 10, 10), box(12, 0, 22, 10)]
        pred = [gt[0], box(12, 0, 62, 12)]
        assert box_iou(pred[1], gt[1]) == pytest.approx(float(Fraction(11 * 11, 51 * 13)))
        distances = [np.linalg.norm((p - g)[:24]) for p, g in ((pred[0], gt[1]), (pred[1], gt[1]))]
        assert distances[0] == pytest.approx(12 * np.sqrt(24))
        assert distances[0] < distances[1]
        whole = image(pred, gt)
        literal, plain = (match_people(whole.pred_joints2d, whole.gt_joints2d, whole.evaluated, literal=x) for x in (True, False))
        assert (literal.pairs, literal.misses, literal.false_positives) == (((0, 0),), (1,), (1,))
        assert (plain.pairs, plain.misses, plain.false_positives) == (((0, 0), (1, 1)), (), ())
        assert scored([whole], True)["all"].f1 == 1 / 2
        assert scored([whole], False)["all"].f1 == 1

    @pytest.mark.parametrize(
        "change", [{"occlusion": np.array([10.0, 95.0])}, {"valid": np.array([True, False])}, {"occlusion": np.array([0.0, -1])}]
    )
    def test_prediction_of_somebody_not_evaluated(self, change):
        boxes = [box(0, 0, 50, 90), box(200, 0, 250, 90)]
        whole = image(boxes, boxes, **change)
        literal, plain = (scored([whole], x)["all"] for x in (True, False))
        assert (literal.people, literal.misses, literal.false_positives, literal.precision) == (1, 0, 1, 0.5)
        assert (plain.people, plain.misses, plain.false_positives, plain.precision) == (1, 0, 0, 1)

    def test_prediction_stays_free_after_somebody_not_evaluated(self):
        """Nearest to an invalid person, but also over a valid one: literally it is the valid one's."""
        gt = [box(0, 0, 50, 90), box(10, 0, 60, 90)]
        whole = image([box(1, 0, 51, 90)], gt, valid=np.array([False, True]))
        literal, plain = (match_people(whole.pred_joints2d, whole.gt_joints2d, whole.evaluated, literal=x) for x in (True, False))
        assert (literal.pairs, literal.misses, literal.false_positives) == (((0, 1),), (), ())
        assert (plain.pairs, plain.misses, plain.false_positives) == ((), (1,), ())

    def test_hands_and_face_of_the_missed(self):
        """SMPL-X, two people, one found: its left hand's joint 30 is 32 mm off, a mean of 2 over 16; literally (2 + 0) / 2."""
        joints = np.random.default_rng(2).normal(0, 0.3, (127, 3))
        gt = [box(0, 0, 50, 90), box(200, 0, 250, 90)]
        whole = image(gt[:1], gt, pred_joints=joints[None].copy(), gt_joints=np.stack([joints, joints]))
        whole.pred_joints[0, 30, 0] += 0.032
        whole.pred_joints[0, 100, 2] += 0.104
        whole.pred_joints[0, 3, 1] += 0.022
        literal, plain = (scored([whole], x, "smplx")["all"].mpjpe_mm for x in (True, False))
        assert literal == {
            "body": 1,
            "left_hand": 1,
            "right_hand": 0,
            "face": 1,
            "full_body": 1.7,
        }
        assert plain == pytest.approx({"body": 1, "left_hand": 2, "right_hand": 0, "face": 2, "full_body": float(1 + Fraction(4, 3))})

    def test_an_image_without_predictions_has_no_zeros(self):
        """As above, and a second image of which nothing was answered: its two people enter the recall, not the mean of the hand."""
        joints = np.random.default_rng(2).normal(0, 0.3, (127, 3))
        gt = [box(0, 0, 50, 90), box(200, 0, 250, 90)]
        whole = image(gt[:1], gt, pred_joints=joints[None].copy(), gt_joints=np.stack([joints, joints]))
        whole.pred_joints[0, 30, 0] += 0.032
        blind = image([], gt, pred_joints=np.empty((0, 127, 3)), gt_joints=np.stack([joints, joints]))
        literal, plain = (scored([whole, blind], x, "smplx")["all"] for x in (True, False))
        assert (literal.recall, plain.recall) == (1 / 4, 1 / 4)
        assert (literal.mpjpe_mm["left_hand"], plain.mpjpe_mm["left_hand"]) == (pytest.approx(1), pytest.approx(2))

    def test_full_body_of_kids_is_divided_by_everybodys_f1(self):
        """A kid found, two adults missed: F1 of all 2/4, of kids 1. Its body is 2 mm off, hands and face not at all."""
        joints = np.random.default_rng(2).normal(0, 0.3, (127, 3))
        gt = [box(200 * k, 0, 200 * k + 50, 90) for k in range(3)]
        kid = np.array([True, False, False])
        whole = image(gt[:1], gt, pred_joints=joints[None].copy(), gt_joints=np.stack([joints] * 3), kid=kid)
        whole.pred_joints[0, 3, 1] += 0.044
        scores = scored([whole], True, "smplx")["kid"]
        assert (scores.mpjpe_mm["body"], scores.mpjpe_mm["full_body"], scores.f1) == (2, 2, 1)
        assert (scores.nmje_mm["body"], scores.nmje_mm["full_body"]) == (2, 4)

    def test_rounding(self):
        """Two of three found, no extra: precision 1, recall 2/3, F1 4/5; 1 mm / 3 a person."""
        gt = [box(100 * k, 0, 100 * k + 50, 90) for k in range(3)]
        whole = image(gt[:2], gt)
        whole.pred_joints[0, 7] += [0.024 / 3, 0, 0]
        literal, plain = (scored([whole], x)["all"] for x in (True, False))
        assert (literal.recall, literal.f1, literal.mpjpe_mm["body"]) == (0.67, 0.8, 0.2)
        assert plain.recall == pytest.approx(float(Fraction(2, 3)))
        assert plain.mpjpe_mm["body"] == pytest.approx(float(Fraction(1, 6)))
        # 0.2 / 0.8 = 0.25, of which numpy keeps 0.2.
        assert literal.nmje_mm["body"] == 0.2


class TestMatching:
    def test_iou_counts_whole_pixels(self):
        """11 x 11 and 11 x 11 moved by 5: 66 / (242 - 66) = 3/8; beside each other: 0; the same: 1."""
        a = box(0, 0, 10, 10)
        assert box_iou(a, a + np.array([5, 0])) == 3 / 8
        assert box_iou(a, a + np.array([11, 0])) == 0
        assert box_iou(a, a) == 1
        assert box_iou(a[:1], a[:1]) == 1

    @pytest.mark.parametrize("literal", [True, False])
    def test_overlap_of_a_tenth_decides(self, literal):
        """11 x 11 moved by 9: 22 / 220 = 1/10 is enough; by 10: 11 / 231 is not."""
        gt = box(0, 0, 10, 10)[None]
        assert match_people(gt + np.array([9, 0]), gt, np.array([True]), literal=literal).pairs == ((0, 0),)
        assert match_people(gt + np.array([10, 0]), gt, np.array([True]), literal=literal).misses == (0,)

    @pytest.mark.parametrize("literal", [True, False])
    def test_nearest_first_each_once(self, literal):
        gt = np.stack([box(0, 0, 50, 90), box(20, 0, 70, 90)])
        pred = np.stack([gt[1] - [9, 0], gt[1] + [2, 0], gt[1] + [1, 0]])
        matching = match_people(pred, gt, np.array([True, True]), literal=literal)
        assert (matching.pairs, matching.misses, matching.false_positives) == (((2, 1), (0, 0)), (), (1,))

    def test_nearest_is_by_the_largest_singular_value_literally(self):
        """To person 0 all joints are 5 px off in x: both norms 5 sqrt(24) = 24.5. To person 1 half of them 6 px in x, half 6 px in y:
        singular values 6 sqrt(12) = 20.8 twice, Euclidean 6 sqrt(24) = 29.4."""
        pred = box(0, 0, 50, 90)
        gt = np.stack([pred, pred])
        gt[0, :, 0] += 5
        gt[1, :24:2, 0] += 6
        gt[1, 1:24:2, 1] += 6
        spectral = [np.linalg.svd((pred - person)[:24], compute_uv=False)[0] for person in gt]
        np.testing.assert_allclose(spectral, [5 * np.sqrt(24), 6 * np.sqrt(12)])
        both = np.array([True, True])
        literal, plain = (match_people(pred[None], gt, both, literal=x).pairs for x in (True, False))
        assert (literal, plain) == (((0, 1),), ((0, 0),))

    @pytest.mark.parametrize("literal", [True, False])
    def test_nobody(self, literal):
        none = scored([image([], [])], literal)["all"]
        assert (none.people, none.false_positives) == (0, 0)
        assert np.isnan([none.precision, none.recall, none.f1, none.mpjpe_mm["body"]]).all()
        empty_room = scored([image([box(0, 0, 9, 9)], [])], literal)["all"]
        assert (empty_room.false_positives, empty_room.precision, empty_room.f1) == (1, 0, 0)
        assert np.isnan(empty_room.nmje_mm["body"])
        blind = scored([image([], [box(0, 0, 9, 9)])], literal)["all"]
        assert (blind.misses, blind.recall, blind.f1) == (1, 0, 0)

    def test_order_of_predictions_does_not_matter(self, scene):
        turned = replace(scene, **{f"pred_{name}": getattr(scene, f"pred_{name}")[::-1] for name in ("joints2d", "joints", "vertices")})
        assert scored([turned], True)["all"] == scored([scene], True)["all"]


class TestBadInput:
    def test_nan(self, scene):
        bad = scene.pred_joints.copy()
        bad[0, 0, 0] = np.nan
        with pytest.raises(PredictionError, match="predicted joints hold NaN"):
            replace(scene, pred_joints=bad)

    def test_few_joints(self, scene):
        with pytest.raises(PredictionError, match="14 2D joints, expected 24 or more"):
            replace(scene, pred_joints2d=scene.pred_joints2d[:, :14])

    def test_counts(self, scene):
        with pytest.raises(PredictionError, match="expected one number"):
            replace(scene, pred_vertices=scene.pred_vertices[:2])

    def test_other_mesh(self, scene):
        with pytest.raises(PredictionError, match="meshes of 7 vertices, expected the 8"):
            replace(scene, pred_vertices=scene.pred_vertices[:, :7])

    def test_model(self):
        with pytest.raises(ValueError, match="'smpl' or 'smplx'"):
            parts_of("mano")
