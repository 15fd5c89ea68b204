"""Coverage-matched ladders: what each level hides, by hand and by pixels, and what is refused or counted."""

import math
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes import ThreePeople
from test_scattered import person, picture

from hpsbench.errors import ProtocolError
from hpsbench.generate import generate, verify
from hpsbench.generated import load_generated
from hpsbench.image import encode_png, read_image
from hpsbench.occlude import apply_plan, apply_to_image, hidden_by, make_plan
from hpsbench.occluders.base import BySample, Canvas, NotPossible, Target
from hpsbench.occluders.matched import MatchedCrop, MatchedShape
from hpsbench.protocol import load_protocol
from hpsbench.seeds import rng_of
from hpsbench.types import Truth

DATA = Path(__file__).parent / "data/occlusion"
REWRITE = os.environ.get("HPSBENCH_REWRITE_GOLDENS") == "1"
SHAPES = ("matched-bar", "matched-circle", "matched-rectangle", "matched-noise")
FAMILIES = (*SHAPES, "matched-object", "matched-crop")
# 200 px a side: its square of 1.25 times that has 256 canvas px, 1.024 to a px of the image.
SQUARE, PX = (500, 100, 700, 300), 1.024
LEVELS = (10, 20, 30, 40, 50, 60, 70)


@pytest.fixture(autouse=True)
def _bank(monkeypatch):
    monkeypatch.setenv("HPSBENCH_VOC_BANK", str(DATA / "bank"))


def changed(name, **numbers):
    """A protocol with some of its occluder's numbers changed; its objects are those of the tests."""
    protocol = load_protocol(name)
    (rule,) = protocol.occluders
    if hasattr(rule.params, "bank"):
        numbers = {"bank": "voc"} | numbers
    return replace(protocol, occluders=(replace(rule, params=replace(rule.params, **numbers)),))


def planned(protocol, sample, level):
    plan = make_plan(sample, protocol, [sample], case=f"level={level:g}")
    assert not plan.skipped, plan.skipped
    return plan


def params_of(protocol, sample, level):
    return planned(protocol, sample, level).occlusions[0].params


def hidden_px(plan, sample):
    """Which px of the image are hidden or outside of the window: (height, width) bool, out of the pixels."""
    width, height = sample.image_size
    if "window_xyxy" in plan.occlusions[0].params:
        x0, y0, x1, y1 = plan.occlusions[0].params["window_xyxy"]
        x, y = np.arange(width)[None] + 0.5, np.arange(height)[:, None] + 0.5
        return ~((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
    pictures = [apply_to_image(np.full((height, width, 3), value, np.uint8), plan) for value in (0, 255)]
    return (pictures[0].astype(int) + 127 >= pictures[1]).all(axis=-1)  # at least half covered


def whole(box):
    return (*(math.floor(value) for value in box[:2]), *(math.ceil(value) for value in box[2:]))


def crowd(count, smallest, largest):
    """People of many sizes and shapes all over the image, some of them partly beyond it."""
    rng = rng_of("crowd", count, smallest, largest)
    for number in range(count):
        size, ratio = smallest * (largest / smallest) ** rng.random(), 4 ** (2 * rng.random() - 1)
        width, height = max(size * min(ratio, 1), smallest), max(size * min(1 / ratio, 1), smallest)
        x, y = 640 * rng.random() - width / 4, 480 * rng.random() - height / 4
        x, y = min(x, 640 - width / 2), min(y, 480 - height / 2)
        yield person(number, (x, y, x + width, y + height), (640, 480), f"crowd/{number}")


class TestEveryLevelIsMet:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_within_a_point_for_ninety_nine_in_a_hundred(self, name):
        protocol, people = load_protocol(name), list(crowd(100 if name == "matched-object" else 250, 40, 300))
        missed = 0
        for number, sample in enumerate(people):
            for level in LEVELS[number % 3 :: 3]:
                plan = make_plan(sample, protocol, [sample], case=f"level={level}")
                missed += bool(plan.skipped)
                if not plan.skipped:
                    assert abs(100 * plan.occlusions[0].params["share"] - level) <= 1
        assert missed <= 0.01 * 7 / 3 * len(people)

    @pytest.mark.parametrize("name", FAMILIES)
    def test_the_share_is_that_of_the_pixels(self, name):
        """Of the box's whole px in the image; out of the picture that follows."""
        protocol = changed(name)
        for number, sample in enumerate(crowd(8, 60, 300)):
            plan = planned(protocol, sample, LEVELS[number % 7])
            x0, y0, x1, y1 = whole(sample.view.bbox_xyxy)
            part = hidden_px(plan, sample)[max(y0, 0) : y1, max(x0, 0) : x1]
            assert part.mean() == pytest.approx(plan.occlusions[0].params["share"], abs=1e-6)

    @pytest.mark.parametrize("name", FAMILIES)
    def test_what_is_recorded_beside_the_plan_is_the_same_share(self, name):
        sample = person(1, (400.3, 100.6, 520.2, 480.9))
        for level in (10, 50):
            plan = planned(changed(name), sample, level)
            assert hidden_by(plan, sample).coverage_box == pytest.approx(plan.occlusions[0].params["share"], abs=1e-6)

    @pytest.mark.parametrize("name", [name for name in FAMILIES if name != "matched-object"])
    def test_each_contains_the_one_before(self, name):
        for sample in crowd(6, 50, 250):
            masks = [hidden_px(planned(changed(name), sample, level), sample) for level in LEVELS]
            for small, large in pairwise(masks):
                assert not (small & ~large).any()
                assert small.sum() < large.sum()

    @pytest.mark.parametrize("name", FAMILIES)
    def test_of_the_joints_the_nearest_whole_number(self, name):
        """Of 24: 2.4, 4.8, 7.2, 9.6, 12, 14.4 and 16.8."""
        protocol, sample = changed(name, of="joints"), person(5, SQUARE)
        for level, joints in zip(LEVELS, (2, 5, 7, 10, 12, 14, 17), strict=True):
            plan = make_plan(sample, protocol, [sample], case=f"level={level}")
            hidden = hidden_by(plan, sample)
            assert (hidden.occluded | hidden.outside).sum() == joints
            assert plan.occlusions[0].params["share"] == pytest.approx(joints / 24, abs=1e-6)


class TestByHand:
    def test_a_standing_bar(self):
        """50 of the box's 200 columns are a quarter, whatever its height."""
        params = params_of(changed("matched-bar", angles=(90.0, 90.0), levels=(25.0,)), person(3, SQUARE), 25)
        assert params["share"] == 50 / 200
        assert 49 * PX < params["width"] < 51 * PX

    def test_a_lying_bar(self):
        """Of a box of 100 x 200 px, 60 of 200 rows are 30 %."""
        params = params_of(changed("matched-bar", angles=(0.0, 0.0)), person(4, (500, 100, 600, 300)), 30)
        assert params["share"] == 60 / 200
        assert 59 * PX < params["width"] < 61 * PX

    def test_a_circle(self):
        """A tenth of 200^2 px: pi r^2 = 4000, r = 35.68 px of the image."""
        params = params_of(changed("matched-circle"), person(3, SQUARE), 10)
        assert params["radius"] == pytest.approx(math.sqrt(4000 / math.pi) * PX, abs=0.1)

    @pytest.mark.parametrize(("angle", "exact"), [(0.0, 2.0), (30.0, 0.3)])
    def test_a_rectangle(self, angle, exact):
        """A tenth, across half as long as along: 89.44 x 44.72 px (an upright one grows by whole columns); inside the box at any place."""
        protocol = changed("matched-rectangle", angles=(angle, angle), ratio=(0.5, 0.5))
        assert params_of(protocol, person(3, SQUARE), 10)["size"] == pytest.approx([89.443 * PX, 44.721 * PX], abs=exact)

    def test_an_object(self):
        """ "tall" of 6 x 50 px is opaque: n px long, 0.12 n wide; 10 % of 200^2 are 4000 px, 4194 px of the canvas: n = 186.96."""
        protocol = changed("matched-object", levels=(10.0,))
        found = [params_of(protocol, person(number, SQUARE), 10) for number in range(8)]
        tall = [params for params in found if params["object"] == "tall"]
        assert tall
        for params in tall:
            width, height = params["size"]
            assert width == round(0.12 * height)
            left, top = params["corner"]
            rows, columns = (np.clip([a, a + b], 25.6, 230.4) for a, b in ((top, height), (left, width)))
            assert np.ptp(rows) * np.ptp(columns) == pytest.approx(4194, rel=0.1)

    def test_a_window(self):
        """All of a square box of scale 1 shrinks to the square root of what stays: 0.3 at 70 %."""
        x0, y0, x1, y1 = params_of(changed("matched-crop", box_scale=1.0), person(3, SQUARE), 70)["window_xyxy"]
        assert x1 - x0 == pytest.approx(y1 - y0)
        assert x1 - x0 == pytest.approx(200 * math.sqrt(0.3), abs=1)

    def test_what_lies_beyond_the_image_is_not_counted(self):
        """A box of 200 x 200 px half beyond the left border: a standing bar of half of what is seen has 50 columns."""
        protocol = changed("matched-bar", angles=(90.0, 90.0), levels=(50.0,))
        plan = planned(protocol, person(3, (-100, 100, 100, 300)), 50)
        assert plan.occlusions[0].params["share"] == 0.5
        assert hidden_px(plan, person())[100:300, :100].all(axis=0).sum() == 50
        assert hidden_px(plan, person())[100:300, :100].any(axis=0).sum() == 50

    def test_nor_is_what_a_window_has_cut_off(self):
        target = Target(person(3, SQUARE), [], np.array([600.0, 100, 800, 300]), 0, BySample(0), "level=50")
        params = changed("matched-bar", angles=(90.0, 90.0), levels=(50.0,)).occluders[0].params
        found = MatchedShape().plan(target, params).params
        assert found["share"] == 0.5
        # The canvas is the window: 256 px for 200, and 50 columns of the 100 that are seen.
        assert 49 * 1.28 < found["width"] < 51 * 1.28


class TestDraws:
    def test_families_share_their_place(self):
        sample = person(4, SQUARE)
        rng = rng_of(0, sample.id, "matched", "0", "place")
        place = [corner + 200 * (0.25 + 0.5 * rng.random()) for corner in (500, 100)]
        for name in SHAPES:
            params = params_of(changed(name), sample, 30)
            assert params["centre"] == pytest.approx([(place[0] - 475) * PX, (place[1] - 75) * PX], abs=0.02)
        window = np.array(params_of(changed("matched-crop"), sample, 30)["window_xyxy"]).reshape(2, 2)
        whole_square = np.array([[475, 75], [725, 325]])
        # The place is where the window and the whole square agree.
        np.testing.assert_allclose((window - place) / (whole_square - place), (window[1, 0] - window[0, 0]) / 250, atol=1e-3)
        thing = params_of(changed("matched-object"), sample, 30)
        centre = np.array(thing["corner"]) + np.array(thing["size"]) // 2
        np.testing.assert_allclose(centre, (np.array(place) - (475, 75)) * PX, atol=0.51)

    def test_angle_then_ratio(self):
        sample = person(4, SQUARE)
        rng = rng_of(0, sample.id, "matched", "0", "form")
        angle, ratio = 180 * rng.random(), 0.5 * 4 ** rng.random()
        params = params_of(changed("matched-rectangle"), sample, 20)
        assert params["angle"] == pytest.approx(angle, abs=0.005)
        assert params["size"][1] / params["size"][0] == pytest.approx(ratio, abs=1e-4)
        assert params_of(changed("matched-bar"), sample, 20)["angle"] == params["angle"]

    def test_noise_differs_from_the_rectangle_in_its_fill_alone(self):
        for level in LEVELS:
            grey, noise = (dict(params_of(changed(f"matched-{name}"), person(4), level)) for name in ("rectangle", "noise"))
            assert noise.pop("noise") == [0, person(4).id, "matched", "0", "pixels"]
            assert grey | {"fill": "noise"} == noise

    def test_all_levels_have_one_place_and_one_object(self):
        for name in FAMILIES[:-1]:
            found = [params_of(changed(name), person(2), level) for level in LEVELS]
            keys = ("object",) if name == "matched-object" else ("centre", "canvas", "fill")
            assert all(params[key] == found[0][key] for params in found for key in keys)

    def test_several_draws_differ(self):
        protocol = changed("matched-circle", draws=2, levels=(30.0,))
        assert protocol.cases == ("level=30,draw=0", "level=30,draw=1")
        one, two = (make_plan(person(), protocol, [], case=case).occlusions[0].params for case in protocol.cases)
        assert one["centre"] != two["centre"]
        assert one == params_of(changed("matched-circle"), person(), 30)

    def test_an_object_of_holes_is_passed_over(self):
        """A long box: even at 1024 px "tall" is 123 px wide, of 205 px, so that all of these take "round"."""
        lying = [person(number, (200, 300, 900, 330)) for number in range(6)]
        assert {params_of(changed("matched-object"), sample, 10)["object"] for sample in lying} == {"round"}


class TestNotPossible:
    def reason(self, protocol, sample, level):
        return make_plan(sample, protocol, [sample], case=f"level={level}").skipped

    @pytest.mark.parametrize(
        ("name", "numbers", "reason"),
        [
            ("matched-bar", {"largest": 10.0}, "60 % of the box is not reached by a bar of 10 px"),
            ("matched-circle", {"largest": 10.0}, "60 % of the box is not reached by a circle of 10 px"),
            ("matched-object", {"largest": 10}, "60 % of the box is not reached by an object of 10 px"),
            ("matched-crop", {"smallest": 400.0}, "60 % of the box is not reached by a window of 400 px"),
        ],
    )
    def test_an_impossible_ladder_says_so(self, name, numbers, reason):
        assert self.reason(changed(name, **numbers), person(), 60) == reason

    def test_and_is_counted(self, tmp_path):
        manifest = generate(changed("matched-bar", largest=10.0), ThreePeople(person), tmp_path / "out")
        # 10 canvas px of 204.8 are less than a tenth of a box as wide as high, and a little more of these (40 x 60 px).
        assert manifest["counts"]["skipped"] == {f"{level} % of the box is not reached by a bar of 10 px": 3 for level in LEVELS}

    def test_a_level_between_two_columns(self):
        """Of 16 columns, 1 is 6.25 % and 2 are 12.5 %: 10 % is neither, 50 % are 8."""
        protocol, sample = changed("matched-bar", angles=(90.0, 90.0)), person(0, (500, 100, 516, 200))
        assert self.reason(protocol, sample, 10) == "10 % of the box is not met: a size more is too much, a size less too little"
        assert params_of(protocol, sample, 50)["share"] == 0.5

    @pytest.mark.parametrize("name", FAMILIES)
    def test_somebody_outside_the_image(self, name):
        assert self.reason(changed(name), person(0, (1300, 100, 1400, 300)), 10) == "person outside the image"

    def test_somebody_outside_the_window(self):
        target = Target(person(), [], np.array([0.0, 0, 100, 90]), 0, BySample(0), "level=10")
        with pytest.raises(NotPossible, match="person outside the window"):
            MatchedShape().plan(target, changed("matched-circle").occluders[0].params)

    @pytest.mark.parametrize("name", FAMILIES)
    def test_no_joint_in_the_picture(self, name):
        sample = person()
        sample = replace(sample, truth=replace(sample.truth, valid=np.zeros(24, bool)))
        expected = "10 % of the visible joints is less than one" if name == "matched-crop" else "no joint in the picture"
        assert self.reason(changed(name, of="joints"), sample, 10) == expected

    def test_joints_far_from_the_box_do_not_count(self):
        """Nor those beyond the image: 10 of 12 are left, which are hidden one by one."""
        sample = person(2, SQUARE)
        joints2d = np.column_stack([np.linspace(510, 690, 12), np.linspace(110, 290, 12)])
        joints2d[[0, 1]] = [(300, 200), (600, -5)]
        sample = replace(sample, truth=Truth(np.zeros((12, 3)), "smpl24", joints2d, np.ones(12, bool)))
        for name in FAMILIES:
            for level in LEVELS:
                plan = planned(changed(name, of="joints"), sample, level)
                assert plan.occlusions[0].params["share"] == level / 100
                hidden = hidden_by(plan, sample)
                assert (hidden.occluded | hidden.outside)[2:].sum() == level / 10

    def test_few_joints(self):
        """4 joints: 10 % is none of them, 20 % is nearer to one."""
        sample = person(2, SQUARE)
        joints2d = np.array([[520, 120], [560, 250], [640, 160], [np.nan, 0], [690, 290], [9999, 5]], float)
        truth = Truth(np.zeros((6, 3)), "smpl24", joints2d, np.ones(6, bool))
        sample = replace(sample, truth=truth)
        protocol = changed("matched-circle", of="joints")
        assert self.reason(protocol, sample, 10) == "10 % of the visible joints is less than one"
        assert [round(4 * params_of(protocol, sample, level)["share"]) for level in LEVELS[1:]] == [1, 1, 2, 2, 2, 3]


class TestGoldens:
    def test_plans_to_the_last_digit(self):
        path, lines = DATA / "matched.jsonl", []
        for name in FAMILIES:
            lines += [planned(changed(name, of=of), person(1), level).to_json() for of in ("box", "joints") for level in (10, 40)]
        if REWRITE:
            path.write_text("\n".join(lines) + "\n")
        assert lines == path.read_text().splitlines()

    @pytest.mark.parametrize("name", FAMILIES)
    def test_pictures_byte_for_byte(self, name):
        sample, path = person(2, (7, 7, 57, 57), (64, 64)), DATA / f"{name}.png"
        found = apply_plan(sample.view, planned(changed(name), sample, 40)).read()
        if REWRITE:
            path.write_bytes(encode_png(found))
        np.testing.assert_array_equal(found, read_image(path))

    @pytest.mark.parametrize("name", SHAPES)
    def test_crop_space_has_the_same_shape(self, name):
        one, two = (planned(changed(name, space=space), person(3), 40).occlusions[0] for space in ("image", "crop"))
        assert (one.params, one.space, two.space) == (two.params, "image", "crop")
        assert Canvas.of(two).side == 256


class TestOfTheJoints:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_differs_in_what_its_levels_are_of(self, name):
        """The protocols of joints say nothing else."""
        box, joints = load_protocol(name), load_protocol(f"{name}-joints")
        assert replace(box.occluders[0].params, of="joints") == joints.occluders[0].params
        assert box.score == joints.score
        assert box.data == joints.data


class TestGenerate:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_written_verified_and_read_back(self, name, tmp_path):
        protocol, dataset = changed(name), ThreePeople(person)
        manifest = generate(protocol, dataset, tmp_path / "out", images=True)
        skipped = sum(manifest["counts"].get("skipped", {}).values())
        assert manifest["counts"]["written"] + skipped == 21
        assert skipped <= 1
        assert protocol.id in verify(tmp_path / "out")
        assert load_generated(tmp_path / "out", dataset).cases == protocol.cases == tuple(f"level={level}" for level in LEVELS)

    def test_the_window_is_what_a_model_sees(self):
        sample = person(2)
        plan = planned(changed("matched-crop"), sample, 40)
        found = MatchedCrop().window(plan.occlusions[0])
        np.testing.assert_array_equal(found, plan.occlusions[0].params["window_xyxy"])
        x, y = np.floor(found[:2]).astype(int)
        seen = apply_plan(sample.view, plan)
        np.testing.assert_allclose(seen.window_xyxy, found - (x, y, x, y))
        np.testing.assert_array_equal(seen.read()[:20, :20], picture(1280, 720)[y : y + 20, x : x + 20])


class TestBadNumbers:
    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("bar", "levels = []", "per cents above 0 and below 100"),
            ("bar", "levels = [20.0, 10.0]", "each above the one before"),
            ("bar", "levels = [10.0, 10.0]", "each above the one before"),
            ("bar", "levels = [10.0, 10.0000001]", "each above the one before"),
            ("bar", "levels = [0.0]", "per cents above 0 and below 100"),
            ("crop", "levels = [100.0]", "per cents above 0 and below 100"),
            ("crop", "tolerance = 0.0", "a tolerance above 0"),
            ("crop", "margin = 0.5", "a margin of at least 0 and below 0.5"),
            ("crop", "draws = 0", "at least one draw"),
            ("crop", "box_scale = 0.9", "box_scale and smallest of at least 1"),
            ("crop", "smallest = 0.0", "box_scale and smallest of at least 1"),
            ("circle", "largest = 0.0", "largest above 0"),
            ("circle", "canvas_scale = 0.5", "canvas_scale of at least 1"),
            ("circle", 'of = "masc"', "'masc' found, but one of box, joints, mask was expected.*Did you mean 'mask'"),
            ("circle", 'shape = "cirkle"', "Did you mean 'circle'"),
            ("rectangle", "angles = [90.0, 0.0]", "angles as .smallest, largest. from 0 to 180"),
            ("rectangle", "ratio = [0.0, 1.0]", "ratio as .smallest, largest. above 0"),
            ("object", "tries = 0", "at least one try"),
            ("object", "largest = 10.5", "a whole number was expected"),
            ("object", "bigest = 10", "unknown key 'bigest'. Did you mean 'largest'"),
        ],
    )
    def test_are_refused(self, tmp_path, name, change, message):
        kind = {"object": "matched-object", "crop": "matched-crop"}.get(name, "matched-shape")
        path = tmp_path / "mine.toml"
        head = f'name = "mine"\nversion = 1\nbase = "matched-{name}"\nwhat = "w"\nsource = "s"\n'
        path.write_text(f"{head}[occluders.{kind}]\n{change}\n")
        with pytest.raises(ProtocolError, match=message):
            load_protocol(path)
