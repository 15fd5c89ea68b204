import json
import os
from dataclasses import replace
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from hpsbench.datasets.base import open_dataset
from hpsbench.errors import DataError, ProtocolError
from hpsbench.generate import generate, verify
from hpsbench.image import encode_png, read_image, square_of_box
from hpsbench.occlude import apply_to_image, hidden_by, make_plan
from hpsbench.occluders.base import BySample, NotPossible, Target, occluder
from hpsbench.occluders.base_crop import PointRule, named, points_of
from hpsbench.occluders.crop_levels import level_box
from hpsbench.occluders.vertical_crop import vertical_corner
from hpsbench.protocol import load_protocol
from hpsbench.skeleton import joint_names
from hpsbench.types import Sample, Truth, View

DATA = Path(__file__).parent / "data/occlusion"
REWRITE = os.environ.get("HPSBENCH_REWRITE_GOLDENS") == "1"
NAMES = ("hmr2-part-crops", "eft-crop-levels", "eft-upper-crops", "vertical-half-crop", "hybrik-half-body")
HMR2, LEVELS, UPPER, VERTICAL, HALVES = (load_protocol(name) for name in NAMES)

# Someone who stands with the right arm out, in px of the image, by joint.
STANDING = {
    "head": (300, 100),
    "neck": (300, 130),
    "spine2": (300, 220),
    "pelvis": (300, 290),
    "right_shoulder": (270, 140),
    "right_elbow": (220, 140),
    "right_wrist": (170, 150),
    "left_shoulder": (330, 140),
    "left_elbow": (335, 200),
    "left_wrist": (340, 250),
    "right_hip": (285, 300),
    "right_knee": (280, 380),
    "right_ankle": (275, 460),
    "right_foot": (265, 475),
    "left_hip": (315, 300),
    "left_knee": (320, 380),
    "left_ankle": (325, 460),
    "left_foot": (335, 475),
}
FACE = {"nose": (300, 92), "right_eye": (295, 86), "left_eye": (305, 86), "right_ear": (288, 90), "left_ear": (312, 90)}


def table_of(skeleton, points):
    """(J, 2) px, NaN for joints that have no place."""
    return np.array([points.get(name, (np.nan, np.nan)) for name in joint_names(skeleton)], dtype=np.float64)


def person(points=None, *, detected=None, confidence=0.9, size=(640, 480), bbox=(170, 80, 340, 475), skeleton="smpl24"):
    """A sample of projected joints, and of detections of openpose18 where there are any."""
    joints2d = table_of(skeleton, STANDING if points is None else points)
    keypoints = None
    if detected is not None:
        places = table_of("openpose18", detected)
        keypoints = np.column_stack([np.nan_to_num(places), np.where(np.isnan(places[:, 0]), 0.0, confidence)])
    count = len(joints2d)
    truth = Truth(np.zeros((count, 3)), skeleton, joints2d, np.ones(count, bool), keypoints2d=keypoints, keypoints_skeleton="openpose18")
    view = View(lambda: picture(*size), "seq/0", np.array(bbox, dtype=np.float64), np.eye(3))
    return Sample("fake/test/seq/00000/0", view, truth, "seq", "fake/test/seq/0", 0, size)


def picture(width, height):
    """An image whose pixels are all told apart."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (7 * x + 13 * y) % 256], axis=-1).astype(np.uint8)


def window(protocol, sample, case):
    """The planned window of a case; the reason where there is none."""
    plan = make_plan(sample, protocol, (), case=case)
    return plan.skipped or plan.occlusions[0].params["window_xyxy"]


def square(centre, side):
    return [float(Fraction(value) + sign * Fraction(side) / 2) for sign in (-1, 1) for value in centre]


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


class TestPoints:
    rule = PointRule("both", 0.3, 0.0)

    def test_the_first_name_that_a_source_has(self):
        sources = points_of(person(detected=FACE | {"neck": (301, 141)}), self.rule)
        close(named(sources, ["neck"]), [(301, 141), (300, 130)])
        close(named(sources, ["spine|spine2"]), [(300, 220)])
        close(named(sources, ["nose", "right_wrist"]), [(300, 92), (170, 150)])
        assert named(sources, ["head_top|crown"]).shape == (0, 2)

    def test_the_first_name_counts_even_where_it_is_not_labelled(self):
        points = {name: place for name, place in STANDING.items() if name != "right_hip"}
        sources = points_of(person(points), self.rule)
        assert len(named(sources, ["right_hip|left_hip"])) == 0
        assert len(named(sources, ["nose|left_hip"])) == 1

    def test_confidence_is_a_threshold(self):
        for confidence, count in ((0.3, 0), (0.31, 5)):
            sources = points_of(person(detected=FACE, confidence=confidence), self.rule)
            assert len(named(sources, list(FACE))) == count

    def test_the_image_and_so_much_around_it(self):
        points = {"neck": (-1, 50), "head": (0, 0), "left_hip": (640, 50), "right_hip": (1279.9, -479.9), "pelvis": (1280, 0)}
        sample = person(points)
        found = {
            beyond: {name for name in points if len(named(points_of(sample, PointRule("projected", 0.0, beyond)), [name]))}
            for beyond in (0.0, 1.0)
        }
        assert found == {0.0: {"head"}, 1.0: {"neck", "head", "left_hip", "right_hip"}}

    def test_only_detections(self):
        sources = points_of(person(detected=FACE), replace(self.rule, source="annotated"))
        assert len(sources) == 1
        with pytest.raises(DataError, match=r"'fake/test/seq/00000/0' has no 2D key points.*points\.source = \"projected\""):
            points_of(person(), replace(self.rule, source="annotated"))

    def test_invalid_joints_are_not_labelled(self):
        sample = person()
        valid = np.array([name != "neck" for name in joint_names("smpl24")])
        sources = points_of(replace(sample, truth=replace(sample.truth, valid=valid)), self.rule)
        assert len(named(sources, ["neck"])) == 0
        assert len(named(sources, ["head"])) == 1


class TestPublishedNumbers:
    def test_nine_parts_with_their_factors_on_top_of_the_padding(self):
        params = HMR2.occluders[0].params
        factors = {"hips": 1.1, "shoulders": 1.2, "head": 1.3} | dict.fromkeys(
            ("torso", "right_arm", "left_arm", "legs", "right_leg", "left_leg"), 1.1
        )
        assert {part.name: part.scale for part in params.parts} == factors
        assert (params.padding, params.min_side_px) == (1.2, 4.0)

    def test_who_is_cut_where(self):
        params = HMR2.occluders[0].params
        of_upper = [part.name for part in params.parts if len(part.people) == 2]
        assert of_upper == ["shoulders", "head", "torso", "right_arm", "left_arm"]
        whole, upper = params.people
        assert len(whole.labelled) == 10
        assert upper.at_least == 2

    def test_every_part_is_a_case_and_no_probability_is_left(self):
        assert HMR2.cases == tuple(f"part={part.name}" for part in HMR2.occluders[0].params.parts)
        assert len(HMR2.cases) == 9
        assert HALVES.cases == ("part=upper", "part=lower")
        assert UPPER.cases == ("part=upper_body", "part=face")
        assert VERTICAL.cases == tuple(f"draw={k}" for k in (1, 2, 3, 4, 5))
        assert LEVELS.cases == tuple(f"level={k}" for k in range(8))

    def test_eft_and_hybrik(self):
        upper, halves = UPPER.occluders[0].params, HALVES.occluders[0].params
        assert (upper.padding, upper.min_points, upper.points.confidence_above) == (1.2, 3, 0.3)
        assert (halves.padding, halves.min_points, halves.centre) == (1.5, 3, "mean")
        (nine,) = halves.people
        assert (len(nine.some_of), nine.at_least) == (17, 9)
        assert [len(part.joints) for part in halves.parts] == [10, 7]
        levels = LEVELS.occluders[0].params
        assert (levels.whole, levels.scale) == (7, 1.2)
        vertical = VERTICAL.occluders[0].params
        assert (vertical.factor, vertical.box_scale) == (0.5, 1.2)

    def test_eft_drops_by_number_what_we_name(self):
        """Of the 24 joints of SPIN's order: without 0, 1, 4, 5 and, for the face, without 2, 3, 6, 11 and 14."""
        order = "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow right_shoulder left_shoulder"
        spin = [*order.split(), "left_elbow", "left_wrist", "neck", "head_top", "pelvis", "thorax", "spine", "jaw", "head"]
        spin += ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]
        held = {*range(12), *range(19, 24)}
        upper, face = ({*part.joints} for part in UPPER.occluders[0].params.parts)
        assert upper == {spin[k] for k in held - {0, 1, 4, 5}}
        assert face == {spin[k] for k in held - {0, 1, 4, 5, 2, 3, 14, 6, 11}}

    @pytest.mark.parametrize("protocol", [HMR2, LEVELS, UPPER, VERTICAL, HALVES], ids=NAMES)
    def test_they_differ_from_the_clean_protocol_in_crops_and_rows_only(self, protocol):
        clean, cropped = load_protocol("3dpw-test").content, protocol.content
        assert {key for key in clean if clean[key] != cropped[key]} == {"name", "score", "occluders"}
        changed = {key for key in cropped["score"] if cropped["score"][key] != clean["score"].get(key)}
        assert changed == {"averaging", "by"}
        assert protocol.score.averaging == "samples"
        assert protocol.score.by == (protocol.cases[0].partition("=")[0],)


class TestPartCrops:
    def test_an_arm_worked_by_hand(self):
        # 170..270 x 140..150: centre (220, 145), side 100 * 1.2 * 1.1.
        close(window(HMR2, person(), "part=right_arm"), square((220, 145), Fraction(100 * 12 * 11, 100)))
        # 330..340 x 140..250: centre (335, 195), side 110 * 1.32.
        close(window(HMR2, person(), "part=left_arm"), square((335, 195), Fraction(110 * 132, 100)))

    def test_all_nine(self):
        sample = person(detected=FACE)
        wanted = {
            # 170..340 x 86..300
            "hips": ((255, 193), 214 * Fraction(132, 100)),
            # 270..330 x 86..140
            "shoulders": ((300, 113), 60 * Fraction(144, 100)),
            # 288..312 x 86..130
            "head": ((300, 108), 44 * Fraction(156, 100)),
            # 270..330 x 130..300
            "torso": ((300, 215), 170 * Fraction(132, 100)),
            "right_arm": ((220, 145), 132),
            "left_arm": ((335, 195), 110 * Fraction(132, 100)),
            # 265..335 x 290..475
            "legs": ((300, Fraction(765, 2)), 185 * Fraction(132, 100)),
            # 265..285 x 300..475
            "right_leg": ((275, Fraction(775, 2)), 175 * Fraction(132, 100)),
            # 315..335 x 300..475
            "left_leg": ((325, Fraction(775, 2)), 175 * Fraction(132, 100)),
        }
        for part, (centre, side) in wanted.items():
            close(window(HMR2, sample, f"part={part}"), square(centre, side))

    def test_someone_cut_off_below_the_knees_is_neither_kind(self):
        sample = person(size=(640, 400))
        reasons = [window(HMR2, sample, case) for case in HMR2.cases]
        of_all = "not a whole body or an upper body alone"
        assert reasons == ["not a whole body", *[of_all] * 5, *["not a whole body"] * 3]

    def test_someone_cut_off_above_the_knees_has_five_parts(self):
        sample = person(size=(640, 350))
        possible = [case for case in HMR2.cases if isinstance(window(HMR2, sample, case), list)]
        assert possible == [f"part={part}" for part in ("shoulders", "head", "torso", "right_arm", "left_arm")]
        assert window(HMR2, sample, "part=legs") == "not a whole body"

    def test_a_detection_labels_a_joint_that_lies_beyond_the_image(self):
        below = {name: STANDING[name] for name in ("right_ankle", "left_ankle")}
        inside = {name: (x, 395) for name, (x, _) in below.items()}
        assert window(HMR2, person(size=(640, 400)), "part=hips") == "not a whole body"
        assert isinstance(window(HMR2, person(size=(640, 400), detected=inside), "part=hips"), list)

    def test_one_point_is_no_part(self):
        points = {name: place for name, place in STANDING.items() if name not in ("head", "spine2")}
        assert window(HMR2, person(points), "part=head") == "fewer than 2 points of the part"
        assert isinstance(window(HMR2, person(points, detected=FACE), "part=head"), list)

    def test_a_side_below_four_px_is_too_small(self):
        small = {name: (x / 34, y / 34) for name, (x, y) in STANDING.items()}
        # The right arm is 100 / 34 px wide: 3.88 with padding and factor. At 1/33 it is exactly 4.
        assert window(HMR2, person(small), "part=right_arm") == "too small a part"
        exact = {name: (x / 33 + 1e-9 * x, y / 33) for name, (x, y) in STANDING.items()}
        assert isinstance(window(HMR2, person(exact), "part=right_arm"), list)

    def test_windows_reach_beyond_the_image(self):
        left = {name: (x - 165, y) for name, (x, y) in STANDING.items()}
        found = window(HMR2, person(left), "part=right_arm")
        assert found[0] < 0
        plan = make_plan(person(left), HMR2, (), case="part=right_arm")
        image = apply_to_image(picture(640, 480), plan)
        assert not image[:, : int(-found[0])].any()
        assert image[:, int(-found[0]) + 1 :].any()

    def test_what_stays_is_told(self):
        hidden = hidden_by(make_plan(person(), HMR2, (), case="part=right_leg"), person())
        inside = {name for name, out in zip(joint_names("smpl24"), hidden.outside, strict=True) if not out and name in STANDING}
        assert inside == {"pelvis", *(f"{side}_{name}" for name in ("hip", "knee", "ankle", "foot") for side in ("left", "right"))}


class TestUpperCrops:
    joints = ("right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "right_hip", "left_hip")
    detected = FACE | {name: STANDING[name] for name in (*joints, "right_knee", "left_knee", "right_ankle", "left_ankle")}

    def test_by_detections_alone(self):
        # 170..340 x 86..300 and, without hips and wrists, 220..335 x 86..200.
        sample = person({}, detected=self.detected | {"neck": (300, 0)})
        close(window(UPPER, sample, "part=upper_body"), square((255, 193), 214 * Fraction(6, 5)))
        close(window(UPPER, sample, "part=face"), square((Fraction(555, 2), 143), 115 * Fraction(6, 5)))

    def test_two_points_are_too_few(self):
        sample = person(detected={name: FACE[name] for name in ("nose", "left_ear")})
        assert window(UPPER, sample, "part=face") == "fewer than 3 points of the part"

    def test_a_dataset_without_detections_is_refused(self):
        with pytest.raises(DataError, match="has no 2D key points"):
            make_plan(person(), UPPER, (), case="part=face")


class TestHalves:
    def test_the_centre_is_the_mean_and_the_side_of_the_box(self):
        lower = ("pelvis", "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle")
        x, y = (Fraction(sum(STANDING[name][k] for name in lower), 7) for k in (0, 1))
        # 275..325 x 290..460
        close(window(HALVES, person(), "part=lower"), square((x, y), 170 * Fraction(3, 2)))
        upper = ("spine2", "neck", "head", *(f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "elbow", "wrist")))
        x, y = (Fraction(sum(STANDING[name][k] for name in upper), 9) for k in (0, 1))
        # 170..340 x 100..250
        close(window(HALVES, person(), "part=upper"), square((x, y), 170 * Fraction(3, 2)))

    def test_detections_do_not_count(self):
        assert window(HALVES, person(detected=FACE), "part=upper") == window(HALVES, person(), "part=upper")

    def test_eight_joints_are_too_few_and_nine_are_enough(self):
        upper = [name for name in STANDING if name.partition("_")[2] in ("shoulder", "elbow", "wrist")]
        eight = {name: STANDING[name] for name in (*upper, "left_hip", "left_knee")}
        assert window(HALVES, person(eight), "part=upper") == "not nine joints"
        nine = eight | {"pelvis": STANDING["pelvis"]}
        assert isinstance(window(HALVES, person(nine), "part=upper"), list)
        assert isinstance(window(HALVES, person(nine), "part=lower"), list)
        ten_without_legs = {name: STANDING[name] for name in (*upper, "neck", "head", "spine2", "pelvis", "left_hip")}
        assert window(HALVES, person(ten_without_legs), "part=lower") == "fewer than 3 points of the part"

    def test_legs_below_the_image_show_its_edge_or_nothing(self):
        assert window(HALVES, person(size=(640, 280)), "part=lower")[3] > 280
        # It starts at 239.6: the joints' mean 367.1 less half of 255.
        assert window(HALVES, person(size=(640, 239)), "part=lower") == "window outside the image"


class TestLevels:
    def test_the_published_example(self):
        """A box in a comment of EFT's code, with its centre and its scale, in units of 200 px."""
        x, y, width, height = 995.412413595738, 374.69671840965594, 98.54587305319353, 81.94162583240131
        ends = {"nose": (x, y), "left_ear": (x + width, y + height)}
        sample = person({}, detected=ends, size=(1920, 1080), bbox=(900, 300, 1300, 1000))
        found = np.array(window(LEVELS, sample, "level=0"))
        close((found[:2] + found[2:]) / 2, [1044.6853501223347, 415.6675313258566])
        close((found[2:] - found[:2]) / 200, [0.5912752383191612] * 2)

    def test_corners_go_in_sevenths(self):
        sample = person(detected=FACE)
        # Smallest: 288..312 x 86..130; whole: 170..340 x 80..475.
        for level in range(8):
            share = Fraction(level, 7)
            x0, x1 = 288 + share * (170 - 288), 312 + share * (340 - 312)
            y0, y1 = 86 + share * (80 - 86), 130 + share * (475 - 130)
            side = max(x1 - x0, y1 - y0) * Fraction(6, 5)
            close(window(LEVELS, sample, f"level={level}"), square(((x0 + x1) / 2, (y0 + y1) / 2), side))

    def test_the_last_level_is_the_crop_of_spin(self):
        sample = person(detected=FACE)
        close(window(LEVELS, sample, "level=7"), square_of_box(sample.view.bbox_xyxy, 1.2))

    def test_ends_are_the_boxes_themselves(self):
        small, whole = np.array([1.0, 2, 3, 4]), np.array([-5.0, 0, 10, 30])
        np.testing.assert_array_equal(level_box(small, whole, 0), small)
        np.testing.assert_array_equal(level_box(small, whole, 1), whole)
        close(level_box(small, whole, 0.5), [-2, 1, 6.5, 17])

    def test_too_few_points_of_the_head(self):
        assert window(LEVELS, person({"neck": (300, 130)}), "level=3") == "fewer than 2 points of the smallest box"

    def test_points_in_one_place_are_a_box_without_extent(self):
        assert window(LEVELS, person({"neck": (300, 130), "head": (300, 130)}), "level=0") == "a box without extent"
        assert isinstance(window(LEVELS, person({"neck": (300, 130), "head": (300, 130)}), "level=1"), list)

    def test_a_head_above_the_image(self):
        above = {name: (x, y - 200) for name, (x, y) in STANDING.items()}
        sample = person(above, bbox=(170, 0, 340, 275))
        assert window(LEVELS, sample, "level=0") == "window outside the image"
        assert window(LEVELS, sample, "level=6")[1] < 0


def published_crop(centre, scale, factor, height):
    """An independent form of the published function: the new centre and scale, for the vertical axis."""
    size = int(scale * 200.0)
    part = int(size * (1 - factor))
    corner = [int(value - size / 2.0) for value in centre]
    along, across = int((size - part) * height), int((size - part) * 0.5)
    return (corner[0] + across + part / 2, corner[1] + along + part / 2), part / 200.0


class TestVerticalCrop:
    def test_worked_by_hand(self):
        # The square of side 101 about (60.75, 70.25) starts at 10.25, 19.75; both lose their fraction, as do 0.5 * 51 and 0.9 * 51.
        assert vertical_corner((60.75, 70.25), 101, 50, 0.9) == (10 + 25, 19 + 45)
        # Towards 0 where negative.
        assert vertical_corner((10.0, 10.0), 101, 50, 0.0) == (-40 + 25, -40)

    def test_is_the_published_function(self):
        sample = person()
        x0, y0, x1, y1 = sample.view.bbox_xyxy
        for case in VERTICAL.cases:
            numbers = make_plan(sample, VERTICAL, (), case=case).occlusions[0].params
            scale = 1.2 * max(x1 - x0, y1 - y0) / 200
            centre, side = published_crop(((x0 + x1) / 2, (y0 + y1) / 2), scale, 0.5, numbers["height"])
            close(numbers["window_xyxy"], square(centre, round(side * 200)))

    def test_the_window_is_half_the_square_and_inside_of_it(self):
        sample = person()
        whole = square_of_box(sample.view.bbox_xyxy, 1.2)
        for case in VERTICAL.cases:
            x0, y0, x1, y1 = window(VERTICAL, sample, case)
            assert x1 - x0 == y1 - y0 == int(395 * 1.2) // 2
            assert whole[1] - 1 <= y0
            assert y1 <= whole[3] + 1
            assert abs((x0 + x1) / 2 - (whole[0] + whole[2]) / 2) <= 1

    def test_heights_are_uniform_and_each_draws_its_own(self):
        heights = [
            make_plan(replace(person(), id=f"fake/test/seq/{k:05d}/0"), VERTICAL, (), case=case).occlusions[0].params["height"]
            for k in range(200)
            for case in VERTICAL.cases
        ]
        assert len(set(heights)) == 1000
        # Uniform on [0, 1): the mean of 1000 has a deviation of 0.009, a tenth of them 0.0095.
        assert np.mean(heights) == pytest.approx(0.5, abs=0.04)
        np.testing.assert_allclose(np.histogram(heights, 10, (0, 1))[0] / 1000, 0.1, atol=0.04)

    def test_depends_on_seed_sample_and_draw_alone(self):
        first = make_plan(person(), VERTICAL, (), case="draw=3")
        assert make_plan(person(), VERTICAL, (person(), person()), case="draw=3") == first
        assert make_plan(person(), replace(VERTICAL, seed=1), (), case="draw=3") != first

    def test_too_small_and_outside(self):
        assert window(VERTICAL, person(bbox=(5, 5, 6, 6)), "draw=1") == "too small a person"
        assert window(VERTICAL, person(bbox=(-99, 5, -59, 30)), "draw=1") == "window outside the image"


class TestAnyCrop:
    def test_a_case_that_is_not_possible_says_so_in_its_plan(self):
        plan = make_plan(person(size=(640, 400)), HMR2, (), case="part=hips")
        assert (plan.occlusions, plan.skipped) == ((), "not a whole body")

    def test_an_occluder_raises_it(self):
        target = Target(person(size=(640, 400)), (), None, 0, BySample(0), "part=hips")
        with pytest.raises(NotPossible):
            occluder("part-crop").plan(target, HMR2.occluders[0].params)

    @pytest.mark.parametrize("protocol", [HMR2, LEVELS, UPPER, VERTICAL, HALVES], ids=NAMES)
    def test_nothing_inside_the_window_is_hidden(self, protocol):
        sample = person(detected=TestUpperCrops.detected)
        for case in protocol.cases:
            hidden = hidden_by(make_plan(sample, protocol, (), case=case), sample)
            assert not hidden.occluded.any()
            assert hidden.coverage == 0


def little():
    """The standing person in an image of 64 x 64 px, with detections."""

    def shrunk(points):
        return {name: (x / 8, y / 8) for name, (x, y) in points.items()}

    return person(shrunk(STANDING), detected=shrunk(TestUpperCrops.detected), size=(64, 64), bbox=(21.25, 10, 42.5, 59.375))


GOLDEN = ("hmr2-part-crops@part=right_arm", "hybrik-half-body@part=lower", "eft-crop-levels@level=7", "vertical-half-crop@draw=1")


class TestGoldens:
    @pytest.mark.parametrize("name", GOLDEN)
    def test_pictures_byte_for_byte(self, name):
        protocol, _, case = name.partition("@")
        path = DATA / f"{name.replace('@', '-').replace('=', '-')}.png"
        found = apply_to_image(picture(64, 64), make_plan(little(), load_protocol(protocol), (), case=case))
        if REWRITE:
            path.write_bytes(encode_png(found))
        np.testing.assert_array_equal(found, read_image(path))

    def test_plans_to_the_last_digit(self):
        path = DATA / "crops.jsonl"
        protocols = (HMR2, LEVELS, UPPER, VERTICAL, HALVES)
        lines = [make_plan(little(), protocol, (), case=case).to_json() for protocol in protocols for case in protocol.cases]
        if REWRITE:
            path.write_text("\n".join(lines) + "\n")
        assert len(lines) == 9 + 8 + 2 + 5 + 2
        assert lines == path.read_text().splitlines()


@pytest.fixture(scope="module")
def embedded():
    rule = load_protocol("openhps-test").data
    return open_dataset("openhps", None, split=rule.split, frames=rule.frames, bbox=rule.bbox, bbox_scale=rule.bbox_scale, bodies=None)


class TestOnTheEmbeddedSet:
    @pytest.mark.parametrize("name", NAMES)
    def test_generates_and_verifies(self, name, embedded, tmp_path):
        protocol = replace(load_protocol(name), data=load_protocol("openhps-test").data)
        manifest = generate(protocol, embedded, tmp_path / "out", images=True, shard=(0, 40))
        assert manifest["counts"]["cases"] == len(protocol.cases)
        written, skipped = manifest["counts"]["written"], sum(manifest["counts"].get("skipped", {}).values())
        assert written % len(protocol.cases) == 0
        assert manifest["images"]["count"] == written - skipped > 0
        assert f"{written} plans" in verify(tmp_path / "out")

    def test_truncated_people_are_counted_by_reason(self, embedded):
        protocol = replace(HMR2, data=load_protocol("openhps-test").data)
        reasons = [make_plan(sample, protocol, (), case=case).skipped for sample in embedded for case in protocol.cases]
        # 20 of the 224 people are cut off between knee and ankle by the image: 4 parts of whole bodies each, and 5 others.
        assert {reason: reasons.count(reason) for reason in set(reasons)} == {
            "": 204 * 9,
            "not a whole body": 20 * 4,
            "not a whole body or an upper body alone": 20 * 5,
        }


def changed(tmp_path, name, old, new):
    text = files("hpsbench.protocols_data").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


class TestBadNumbers:
    @pytest.mark.parametrize(
        ("name", "old", "new", "message"),
        [
            ("hmr2-part-crops", "padding = 1.2", "padding = 0", "padding and min_side_px above 0, and min_points of at least 2, but got 0"),
            ("hmr2-part-crops", "min_points = 2", "min_points = 1", "min_points of at least 2"),
            ("hmr2-part-crops", "min_side_px = 4.0", "min_side_px = 0.0", "min_side_px above 0"),
            ("hmr2-part-crops", 'name = "shoulders"', 'name = "hips"', "no part twice, but got hips, hips, head"),
            ("hmr2-part-crops", 'name = "an upper body alone"', 'name = "a whole body"', "no kind of people twice"),
            ("hmr2-part-crops", 'name = "head"', 'name = "he=ad"', "part names without = , @ and /, but got 'he=ad'"),
            ("hmr2-part-crops", 'people = ["a whole body"]', 'people = ["a body"]', "'hips': no people are named 'a body'. Known: a whole"),
            ("hmr2-part-crops", '"right_elbow", "right_wrist"]', '"right_elbow", "rigt_wrist"]', r"did you mean right_wrist\?"),
            ("hmr2-part-crops", "scale = 1.3", "scale = 0", "a scale above 0 of part 'head'"),
            ("hmr2-part-crops", "scale = 1.3\n", "", r"parts\[2\]: no value for scale"),
            ("hmr2-part-crops", 'source = "both"', 'source = "all"', "'all' found, but one of projected, annotated, both was expected"),
            ("hmr2-part-crops", "beyond_image = 0.0", "beyond_image = -1", "beyond_image of at least 0, but got -1"),
            ("hybrik-half-body", 'centre = "mean"', 'centre = "means"', r"Did you mean 'mean'\?"),
            (
                "eft-crop-levels",
                "whole = 7",
                "whole = 6",
                r"levels from 0 to that of the whole, .* but got \[0, .*, 7\] of 6",
            ),
            ("eft-crop-levels", "levels = [0, 1,", "levels = [1, 1,", "no level twice"),
            ("eft-crop-levels", "scale = 1.2", "scale = -1.2", "a scale above 0, but got 8, 2 and -1.2"),
            ("eft-crop-levels", '"nose", ', '"nos", ', r"no joint is named 'nos' \(did you mean nose\?\)"),
            ("vertical-half-crop", "factor = 0.5", "factor = 1.0", "a factor from 0 to below 1"),
            ("vertical-half-crop", "draws = 5", "draws = 0", "at least one draw, but got 1.2, 0.5 and 0"),
            ("vertical-half-crop", "draws = 5", "draw = 5", r"unknown key 'draw'\. Did you mean 'draws'\?"),
        ],
    )
    def test_are_refused(self, tmp_path, name, old, new, message):
        with pytest.raises(ProtocolError, match=message):
            load_protocol(changed(tmp_path, name, old, new))

    def test_there_must_be_parts(self, tmp_path):
        head = 'base = "3dpw-test"\nname = "mine"\nversion = 1\nwhat = "w"\nsource = "s"\n[[occluders]]\nkind = "part-crop"\nparts = []\n'
        rest = 'padding = 1\ncentre = "box"\nmin_points = 2\nmin_side_px = 1\npeople = []\n'
        points = '[occluders.points]\nsource = "both"\nconfidence_above = 0\nbeyond_image = 0\n'
        path = tmp_path / "mine.toml"
        path.write_text(head + rest + points)
        with pytest.raises(ProtocolError, match="at least one part"):
            load_protocol(path)

    def test_plans_are_plain_json(self):
        for name in NAMES:
            protocol = load_protocol(name)
            record = json.loads(make_plan(little(), protocol, (), case=protocol.cases[0]).to_json())
            assert record["case"] == protocol.cases[0]
            assert len(record["occlusions"][0]["params"]["window_xyxy"]) == 4
