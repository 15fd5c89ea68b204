import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fakes import ThreePeople

from hpsbench.errors import DataError, ProtocolError
from hpsbench.generate import generate, verify
from hpsbench.generated import load_generated
from hpsbench.image import cut, encode_png, read_image
from hpsbench.occlude import apply_to_crop, apply_to_image, hidden_by, make_plan
from hpsbench.occluders.bank import load_bank
from hpsbench.occluders.base_objects import object_bank, placed
from hpsbench.occluders.base_stencil import Raster
from hpsbench.occluders.joint_squares import JointSquares, JointSquaresParams
from hpsbench.occluders.pasted_objects import PastedObjects, PastedObjectsParams, Views
from hpsbench.occluders.random_rectangle import RandomRectangleParams
from hpsbench.protocol import load_protocol
from hpsbench.seeds import rng_of
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Occlusion, OcclusionPlan, Sample, Truth, View

DATA = Path(__file__).parent / "data/occlusion"
# Two objects: "round" 40x30, a disc with a rim of alpha 192; "tall" 6x50, opaque.
BANK = DATA / "bank"
REWRITE = os.environ.get("HPSBENCH_REWRITE_GOLDENS") == "1"
OBJECTS = ("sarandi-objects", "voc-objects", "3dcrowdnet-objects", "h36m-occluded")
RECTANGLES = ("hybrik-rectangle", "hard-erasing", "random-erasing", "random-erasing-metro")
EVERY = (*OBJECTS, *RECTANGLES, "h36m-occl-gbt")
SQUARE = (100.0, 50.0, 300.0, 250.0)


@pytest.fixture(autouse=True)
def _bank(monkeypatch):
    monkeypatch.setenv("HPSBENCH_VOC_BANK", str(BANK))


def changed(name, **numbers):
    """A protocol with some of its one occluder's numbers changed; its objects are those of the tests."""
    protocol = load_protocol(name)
    (rule,) = protocol.occluders
    if hasattr(rule.params, "bank"):
        numbers = {"bank": "voc"} | numbers
    return replace(protocol, occluders=(replace(rule, params=replace(rule.params, **numbers)),))


def picture(width, height):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (7 * x + 13 * y) % 256], axis=-1).astype(np.uint8)


def person(number=0, bbox=SQUARE, size=(640, 480), name=None, skeleton="h36m17"):
    """Someone whose joints lie on the diagonal of the box."""
    bbox = np.array(bbox, dtype=float)
    count = len(JOINT_NAMES[skeleton])
    joints2d = bbox[:2] + np.linspace(0.1, 0.9, count)[:, None] * (bbox[2:] - bbox[:2])
    view = View(lambda: picture(*size), f"seq/{number}", bbox, np.eye(3))
    truth = Truth(np.zeros((count, 3)), skeleton, joints2d, np.ones(count, bool))
    return Sample(name or f"fake/test/seq/{number:05d}/0", view, truth, "seq", "fake/test/seq/0", number, size)


def plans_of(name, count=40, **numbers):
    """The numbers planned for as many people, each under its first case."""
    protocol = changed(name, **numbers)
    people = [person(number) for number in range(count)]
    plans = [make_plan(sample, protocol, [sample], case=protocol.cases[0]) for sample in people]
    return [plan.occlusions[0].params for plan in plans]


def centres(thing):
    """Between which (x, y) the centre lay that an object's corner comes from, to half a px."""
    return [corner + side // 2 for corner, side in zip(thing["corner"], thing["size"], strict=True)]


def canvas_plan(params, kind, space="crop", side=64, square=(0, 0, 64, 64)):
    canvas = {"canvas": {"side": float(side), "square_xyxy": [float(value) for value in square]}}
    return OcclusionPlan("a/b", "p.v1", 0, (Occlusion(kind, space, canvas | params),))


def pasted(*things, bank=None):
    bank = bank or {"bank": "voc", "bank_sha256": load_bank(str(BANK)).sha256[:16]}
    return bank | {"objects": [{"object": name, "corner": list(corner), "size": list(size)} for name, corner, size in things]}


class TestNumbersOfObjects:
    @pytest.mark.parametrize(
        ("name", "count", "scale", "scale_of", "centre_in", "margin"),
        [
            ("sarandi-objects", (1, 7), (0.2, 1.0), "object", "canvas", 0),
            ("voc-objects", (1, 7), (0.2, 1.0), "object", "canvas", 0),
            ("3dcrowdnet-objects", (1, 4), (0.2, 0.5), "canvas", "canvas", 1 / 8),
            ("h36m-occluded", (2, 2), (0.5, 1.0), "person", "person", 0),
        ],
    )
    def test_are_the_published_ones(self, name, count, scale, scale_of, centre_in, margin):
        params = load_protocol(name).occluders[0].params
        found = (params.count, params.scale, params.scale_of, params.centre_in, params.margin)
        assert found == (count, scale, scale_of, centre_in, margin)

    def test_which_bank(self):
        banks = {name: load_protocol(name).occluders[0].params.bank for name in OBJECTS}
        assert banks.pop("sarandi-objects") == "hpsbench"
        assert set(banks.values()) == {"voc"}

    def test_draws_in_the_published_order(self):
        """How many; then of each: which one, its scale, x, y."""
        protocol, sample = changed("sarandi-objects"), person(3)
        rng = rng_of(0, sample.id, "pasted-objects", "draw=2")
        sizes, wanted = {"round": (40, 30), "tall": (6, 50)}, []
        for _ in range(1 + int(7 * rng.random())):
            name = ("round", "tall")[int(2 * rng.random())]
            factor, x, y = 0.2 + 0.8 * rng.random(), 256 * rng.random(), 256 * rng.random()
            width, height = (round(side * factor) for side in sizes[name])
            wanted.append({"object": name, "size": [width, height], "corner": [round(x) - width // 2, round(y) - height // 2]})
        found = make_plan(sample, protocol, [sample], case="draw=2").occlusions[0].params
        assert found["objects"] == wanted
        assert found["canvas"] == {"side": 256.0, "square_xyxy": [75.0, 25.0, 325.0, 275.0]}

    def test_one_to_seven_of_their_own_size(self):
        plans = plans_of("sarandi-objects", 120)
        assert set(Counter(len(plan["objects"]) for plan in plans)) == set(range(1, 8))
        things = [thing for plan in plans for thing in plan["objects"]]
        heights = [thing["size"][1] for thing in things if thing["object"] == "tall"]
        # 0.2 to 1.0 times 50 px on a canvas of 256.
        assert 10 <= min(heights) < 15
        assert 45 < max(heights) <= 50
        places = np.array([centres(thing) for thing in things])
        assert places.min() >= 0
        assert places.max() <= 256
        assert (places < 16).any()
        assert (places > 240).any()

    def test_they_grow_with_the_canvas(self):
        small, large = (plans_of("sarandi-objects", 5, canvas_side=side) for side in (256.0, 512.0))
        for one, two in zip(small, large, strict=True):
            for thing, twice in zip(one["objects"], two["objects"], strict=True):
                assert np.abs(2 * np.array(thing["size"]) - twice["size"]).max() <= 1

    def test_3dcrowdnet_by_the_canvas_and_towards_its_middle(self):
        plans = plans_of("3dcrowdnet-objects", 120)
        assert set(Counter(len(plan["objects"]) for plan in plans)) == {1, 2, 3, 4}
        things = [thing for plan in plans for thing in plan["objects"]]
        longest = [max(thing["size"]) for thing in things]
        assert 51 <= min(longest) < 56  # 0.2 and 0.5 of 256
        assert 123 < max(longest) <= 128
        places = np.array([centres(thing) for thing in things])
        assert 32 <= places.min() < 45  # 1/8 and 7/8 of 256
        assert 211 < places.max() <= 224

    def test_h36m_by_the_person_and_in_the_box(self):
        box = (200.0, 100.0, 260.0, 300.0)
        protocol = changed("h36m-occluded")
        people = [person(number, box) for number in range(60)]
        found = [make_plan(sample, protocol, [sample]).occlusions[0].params for sample in people]
        things = [thing for plan in found for thing in plan["objects"]]
        assert {len(plan["objects"]) for plan in found} == {0, 2}
        shorter = [min(thing["size"]) for thing in things]
        assert 30 <= min(shorter) < 34  # 0.5 and 1.0 of 60
        assert 56 < max(shorter) <= 60
        places = np.array([centres(thing) for thing in things])
        assert (places >= [200, 100]).all()
        assert (places <= [260, 300]).all()

    def test_a_whole_image_is_a_canvas_of_its_shorter_side(self):
        """480 of 640x480: objects are 480/256 times as large as on a canvas of 256."""
        numbers = {"space": "image", "canvas_side": None, "canvas_scale": None}
        plans = plans_of("sarandi-objects", 60, **numbers)
        things = [thing for plan in plans for thing in plan["objects"] if thing["object"] == "tall"]
        assert "canvas" not in plans[0]
        assert max(thing["size"][1] for thing in things) <= round(50 * 480 / 256)
        assert max(thing["size"][1] for thing in things) > 50
        assert max(centres(thing)[0] for thing in things) > 480


class TestViews:
    protocol_views = Views("_ca_", ("01", "02", "03", "04"), 3)

    def test_three_of_the_four_views_of_each_moment(self):
        protocol, clean = changed("h36m-occluded"), Counter()
        assert protocol.occluders[0].params.views == self.protocol_views
        for frame in range(0, 64 * 40, 64):
            names = [f"h36m/test/s_09_act_02_subact_01_ca_{view:02d}/{frame:05d}/0" for view in range(1, 5)]
            people = [person(frame, name=name) for name in names]
            hidden = [bool(make_plan(sample, protocol, [sample]).occlusions[0].params["objects"]) for sample in people]
            assert sum(hidden) == 3
            clean[hidden.index(False)] += 1
        assert set(clean) == {0, 1, 2, 3}

    def test_a_view_alone_is_as_likely(self):
        plans = plans_of("h36m-occluded", 200)
        share = sum(bool(plan["objects"]) for plan in plans) / 200
        assert share == pytest.approx(0.75, abs=0.1)  # standard deviation 0.03

    def test_an_unknown_view_is_refused(self):
        sample = person(name="h36m/test/s_09_act_02_subact_01_ca_05/00000/0")
        with pytest.raises(DataError, match="a view behind '_ca_' that is none of 01, 02, 03, 04"):
            make_plan(sample, changed("h36m-occluded"), [sample])


class TestPastedPixels:
    def test_sides_are_rounded_and_the_corner_is_by_the_centre(self):
        """Half to even: 10.5 is 10, 11.5 is 12; 7 x 0.5 = 3.5 is 4; the corner half the side before, rounded down."""
        thing = placed("round", (7, 4), 0.5, (10.5, 11.5))
        assert thing == {"object": "round", "size": [4, 2], "corner": [8, 11]}
        assert placed("round", (5, 100), 0.02, (0, 0))["size"] == [1, 2]

    def test_area_where_it_shrinks_and_bilinear_where_it_grows(self):
        whole = load_bank(str(BANK)).read("round")
        for size, how in (((20, 15), cv2.INTER_AREA), ((60, 45), cv2.INTER_LINEAR)):
            occlusion = canvas_plan(pasted(("round", (1, 2), size)), "pasted-objects").occlusions[0]
            (stencil,) = PastedObjects().stencils(occlusion, Raster(0, 0, 1, 64, 64))
            wanted = cv2.resize(whole, size, interpolation=how)
            np.testing.assert_array_equal(np.dstack([stencil.colour(), stencil.alpha]), wanted[: 64 - 2, : 64 - 1])

    def test_alpha_is_blended_and_cut_down(self):
        """Alpha 192, colour 200 over 10: (192 x 200 + 63 x 10) / 255 = 153.06, and over 20 with colour 10: 3180 / 255 = 12.47."""
        crop = np.zeros((64, 64, 3), np.uint8)
        crop[:] = (10, 20, 255)
        apply_to_crop(crop, canvas_plan(pasted(("round", (0, 0), (40, 30))), "pasted-objects"), np.array([0, 0, 64, 64]))
        whole = load_bank(str(BANK)).read("round").astype(int)
        alpha = whole[..., 3:]
        wanted = (alpha * whole[..., :3] + (255 - alpha) * np.array([10, 20, 255])) // 255
        np.testing.assert_array_equal(crop[:30, :40], wanted)
        assert whole[15, 2].tolist() == [200, 10, 60, 192]
        assert crop[15, 2].tolist() == [153, 12, 108]  # 192 x 60 + 63 x 255 = 27585, / 255 = 108.18
        assert (crop[30:] == [10, 20, 255]).all()

    def test_later_ones_lie_over_earlier_ones(self):
        two = [("tall", (10, 0), (6, 50)), ("round", (0, 0), (40, 30))]
        crops = [np.zeros((64, 64, 3), np.uint8) for _ in range(2)]
        for crop, things in zip(crops, (two, two[::-1]), strict=True):
            apply_to_crop(crop, canvas_plan(pasted(*things), "pasted-objects"), np.array([0, 0, 64, 64]))
        tall = load_bank(str(BANK)).read("tall")[0, 0, :3]
        assert (crops[1][15, 10:16] == tall).all()
        assert (crops[0][15, 10:16] != tall).any()

    @pytest.mark.parametrize("corner", [(-20, -10), (50, 60), (-60, 0), (70, 70)])
    def test_what_lies_beyond_is_cut_off(self, corner):
        large, small = np.zeros((192, 192, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
        whole = canvas_plan(
            pasted(("round", (corner[0] + 64, corner[1] + 64), (40, 30))), "pasted-objects", side=192, square=(0, 0, 192, 192)
        )
        apply_to_crop(large, whole, np.array([0, 0, 192, 192]))
        apply_to_crop(small, canvas_plan(pasted(("round", corner, (40, 30))), "pasted-objects"), np.array([0, 0, 64, 64]))
        np.testing.assert_array_equal(small, large[64:128, 64:128])

    def test_half_covered_counts_as_hidden(self):
        """The person's box is the canvas: hidden are the px whose alpha is at least 128."""
        plan = canvas_plan(pasted(("round", (3, 4), (40, 30))), "pasted-objects")
        hidden = hidden_by(plan, person(bbox=(0, 0, 64, 64), size=(64, 64)))
        count = np.count_nonzero(load_bank(str(BANK)).read("round")[..., 3] >= 128)
        assert hidden.coverage_box == hidden.coverage_canvas == count / 64**2
        assert hidden.occluded.any()


class TestBanks:
    def test_the_folder_of_voc_must_be_named(self, monkeypatch):
        monkeypatch.delenv("HPSBENCH_VOC_BANK")
        with pytest.raises(DataError, match=r"HPSBENCH_VOC_BANK names no folder.*occluders extract --voc"):
            object_bank("voc")
        monkeypatch.setenv("HPSBENCH_VOC_BANK", str(DATA / "nowhere"))
        with pytest.raises(DataError, match="No folder"):
            object_bank("voc")

    def test_any_folder_is_a_bank(self):
        assert object_bank(str(BANK)).names == ("round", "tall")
        assert object_bank("voc") is object_bank(str(BANK))

    @pytest.mark.parametrize("name", ["sarandi-objects", "sarandi-mixture"])
    def test_the_one_that_ships_serves(self, name):
        protocol, sample = load_protocol(name), person()
        plan = make_plan(sample, protocol, [sample], case=protocol.cases[4])
        params, bank = plan.occlusions[0].params, load_bank("hpsbench")
        assert (params["bank"], params["bank_sha256"]) == ("hpsbench", bank.sha256[:16])
        things = [thing for thing in params.get("objects", params.get("shapes")) if "object" in thing]
        assert things
        assert {thing["object"] for thing in things} <= set(bank.names)
        assert hidden_by(plan, sample).coverage_box > 0

    def test_plans_of_another_bank_are_refused(self):
        plan = canvas_plan(pasted(("round", (0, 0), (40, 30)), bank={"bank": "voc", "bank_sha256": "0" * 16}), "pasted-objects")
        with pytest.raises(DataError, match="are not those that the plan was made with"):
            apply_to_crop(np.zeros((64, 64, 3), np.uint8), plan, np.array([0, 0, 64, 64]))


class TestSquares:
    def test_numbers(self):
        params = load_protocol("h36m-occl-gbt").occluders[0].params
        assert (params.probability, params.fill, params.side) == (0.1, "white", 0.15)
        assert sorted(params.joints) == sorted(JOINT_NAMES["h36m17"])

    def test_a_tenth_of_the_joints_each_by_itself(self):
        plans = plans_of("h36m-occl-gbt", 400)
        number = np.array([len(plan["squares"]) for plan in plans])
        # Binomial of 17 joints: mean 1.7, standard deviation 1.24, of the mean of 400 people 0.06.
        assert number.mean() == pytest.approx(1.7, abs=0.25)
        assert number.min() == 0
        assert number.max() >= 4

    def test_a_square_about_the_joint(self):
        """0.15 of 200 px; one draw for each joint in the protocol's order."""
        sample, protocol = person(5), changed("h36m-occl-gbt")
        found = make_plan(sample, protocol, [sample]).occlusions[0].params
        rng, names = rng_of(0, sample.id, "joint-squares", ""), protocol.occluders[0].params.joints
        hit = [name for name in names if rng.random() < 0.1]
        rows = [JOINT_NAMES["h36m17"].index(name) for name in hit]
        assert [square["centre"] for square in found["squares"]] == sample.truth.joints2d[rows].tolist()
        assert {tuple(square["size"]) for square in found["squares"]} <= {(30.0, 30.0)}
        assert found["unknown"] == []

    def test_pixels_are_white_where_a_centre_lies_in(self):
        square = {"shape": "box", "centre": [20.25, 30.0], "size": [5.0, 5.0], "angle": 0.0}
        plan = OcclusionPlan(
            "a/b", "p.v1", 0, (Occlusion("joint-squares", "image", {"fill": "white", "squares": [square], "unknown": []}),)
        )
        found = apply_to_image(np.zeros((64, 64, 3), np.uint8), plan)
        # x 17.75 to 22.75, y 27.5 to 32.5: the centres 18.5 to 22.5, and 27.5 to 31.5 (a far side is not inside).
        wanted = np.zeros((64, 64, 3), np.uint8)
        wanted[27:32, 18:23] = 255
        np.testing.assert_array_equal(found, wanted)

    def test_joints_that_are_not_annotated_are_named(self):
        sample = person(skeleton="smpl24")
        found = make_plan(sample, changed("h36m-occl-gbt", probability=1.0), [sample]).occlusions[0].params
        assert found["unknown"] == ["spine", "head_top"]
        assert len(found["squares"]) == 15
        nobody = replace(sample, truth=replace(sample.truth, valid=np.zeros(24, bool)))
        assert make_plan(nobody, changed("h36m-occl-gbt"), [nobody]).skipped == "no joint annotated"


class TestRectangles:
    def test_numbers_of_hybrik(self):
        """Its two branches; a frame by itself; the square of 1.25 times the box."""
        soft, hard = (load_protocol(name).occluders[0] for name in ("hybrik-rectangle", "hard-erasing"))
        assert {rule.kind for rule in (soft, hard)} == {"noise-patch"}
        assert (soft.params.area, soft.params.ratio, hard.params.area, hard.params.ratio) == ((0, 0.3), (0.5, 2), (0, 0.7), (0.3, 1 / 0.3))
        for params in (soft.params, hard.params):
            assert (params.interval, params.box, params.base_scale) == (1, "base", 1.25)
        assert hard.params.tries == 1

    def test_numbers_of_random_erasing(self):
        timm, metro = (load_protocol(name).occluders[0].params for name in ("random-erasing", "random-erasing-metro"))
        assert (timm.area, timm.ratio, timm.ratio_law, timm.tries, timm.fill) == ((0.02, 1 / 3), (0.3, 1 / 0.3), "log", 10, "mean")
        assert metro.area == pytest.approx((0, 0.8 / 3), abs=1e-15)
        assert (metro.ratio, metro.ratio_law, metro.place, metro.fill) == ((0.3, 1 / 0.3), "uniform", "anywhere", "noise")

    def test_a_person_by_itself_has_its_own_rectangle(self):
        """The frame's own draws are the published rule's, whatever the track."""
        protocol, people = load_protocol("hybrik-rectangle"), [person(number) for number in range(9)]
        alone = [make_plan(sample, protocol, [sample]) for sample in people]
        assert [make_plan(sample, protocol, people) for sample in people] == alone
        assert len({tuple(plan.occlusions[0].params["box_xyxy"]) for plan in alone}) == 9

    def test_rounded_sides_inside(self):
        """Area, ratio, x and y in this order; the sides rounded, the corner any px where they fit."""
        sample, protocol = person(1), changed("random-erasing")
        rng = rng_of(0, sample.id, "random-rectangle", "draw=0")
        area, ratio = (0.02 + rng.random() * (1 / 3 - 0.02)) * 256**2, np.exp(np.log(0.3) + rng.random() * 2 * np.log(1 / 0.3))
        height, width = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        assert max(height, width) < 256
        left, top = int(rng.random() * (256 - width + 1)), int(rng.random() * (256 - height + 1))
        found = make_plan(sample, protocol, [sample], case="draw=0").occlusions[0].params
        assert found["centre"] == [left + width / 2, top + height / 2]
        assert found["size"] == [width, height]

    def test_drawn_anywhere_until_it_fits(self):
        sample, protocol = person(1), changed("random-erasing-metro")
        rng = rng_of(0, sample.id, "random-rectangle", "draw=4")
        while True:
            area, ratio = rng.random() * 0.8 / 3 * 256**2, 0.3 + rng.random() * (1 / 0.3 - 0.3)
            width, height, left, top = (area / ratio) ** 0.5, (area * ratio) ** 0.5, 256 * rng.random(), 256 * rng.random()
            if left + width < 256 and top + height < 256:
                break
        x0, y0, x1, y1 = int(left), int(top), int(left + width), int(top + height)
        found = make_plan(sample, protocol, [sample], case="draw=4").occlusions[0].params
        assert found["centre"] == [(x0 + x1) / 2, (y0 + y1) / 2]
        assert found["size"] == [x1 - x0, y1 - y0]

    @pytest.mark.parametrize(("law", "median"), [("log", 1.0), ("uniform", (0.3 + 1 / 0.3) / 2)])
    def test_the_law_of_the_ratio(self, law, median):
        plans = plans_of("random-erasing", 200, ratio_law=law, area=(0.05, 0.05))
        ratios = [plan["size"][1] / plan["size"][0] for plan in plans]
        assert np.median(ratios) == pytest.approx(median, abs=0.25)
        assert min(ratios) > 0.29
        assert max(ratios) < 3.45

    def test_where_none_fits(self):
        sample = person()
        too_large = {"area": (2.0, 2.0), "tries": 3}
        skipped = make_plan(sample, changed("random-erasing-metro", **too_large), [sample], case="draw=0")
        assert skipped.skipped == "no rectangle fits in 3 tries"
        plan = make_plan(sample, changed("random-erasing", **too_large), [sample], case="draw=0")
        assert plan.occlusions[0].params["size"] == [0, 0]
        crop = picture(256, 256)
        apply_to_crop(crop, plan, np.array(plan.occlusions[0].params["canvas"]["square_xyxy"]))
        np.testing.assert_array_equal(crop, picture(256, 256))

    def test_in_the_persons_box(self):
        """The box fills 0.8 of the canvas: 26 to 230 of 256, rounded."""
        for plan in plans_of("random-erasing", 60, within="person"):
            x, y, width, height = *plan["centre"], *plan["size"]
            assert min(x - width / 2, y - height / 2) >= 26
            assert max(x + width / 2, y + height / 2) <= 230
            assert width * height <= 0.35 * 204**2


GOLDEN = {
    "pasted": ("sarandi-objects", "draw=1", {"canvas_side": 64.0}),
    "pasted-large": ("3dcrowdnet-objects", "draw=0", {"canvas_side": 64.0}),
    "squares": ("h36m-occl-gbt", "", {"probability": 0.5}),
    "erased": ("random-erasing", "draw=0", {"canvas_side": 64.0}),
    "erased-noise": ("random-erasing-metro", "draw=0", {"canvas_side": 64.0}),
}


class TestGoldens:
    def test_plans_to_the_last_digit(self):
        path, lines = DATA / "pasting.jsonl", []
        for name in EVERY:
            protocol = changed(name)
            lines += [make_plan(person(number), protocol, [person(number)], case=protocol.cases[-1]).to_json() for number in (0, 1)]
        if REWRITE:
            path.write_text("\n".join(lines) + "\n")
        assert lines == path.read_text().splitlines()

    @pytest.mark.parametrize("name", GOLDEN)
    def test_pictures_byte_for_byte(self, name):
        protocol, case, numbers = GOLDEN[name]
        sample = person(2, (7, 7, 57, 57), (64, 64))
        plan = make_plan(sample, changed(protocol, **numbers), [sample], case=case)
        found = picture(64, 64)
        if plan.occlusions[0].space == "crop":
            apply_to_crop(found, plan, np.array(plan.occlusions[0].params["canvas"]["square_xyxy"]))
        else:
            found = apply_to_image(found, plan)
        if REWRITE:
            (DATA / f"{name}.png").write_bytes(encode_png(found))
        np.testing.assert_array_equal(found, read_image(DATA / f"{name}.png"))


class TestOnePictureInEveryForm:
    @pytest.mark.parametrize("name", ["sarandi-objects", "3dcrowdnet-objects", "random-erasing", "random-erasing-metro"])
    def test_arrays_and_tensors_to_the_byte(self, name):
        protocol = changed(name)
        for number in range(3):
            sample = person(number)
            plan = make_plan(sample, protocol, [sample], case=protocol.cases[0])
            square = np.array(plan.occlusions[0].params["canvas"]["square_xyxy"])
            for side in (256, 224):
                array = picture(side, side)
                tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).contiguous()
                apply_to_crop(array, plan, square)
                apply_to_crop(tensor, plan, square)
                np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), array)

    @pytest.mark.parametrize("name", ["sarandi-objects", "3dcrowdnet-objects", "random-erasing", "random-erasing-metro"])
    def test_image_and_crop_agree(self, name):
        """A canvas of 250 px that is 250 px of the image: the square of a box of 200."""
        sample, image = person(3), picture(640, 480)
        plans = [make_plan(sample, changed(name, canvas_side=250.0, space=space), [sample], case="draw=0") for space in ("image", "crop")]
        box = (75, 25, 325, 275)
        crop = cut(image, box)
        apply_to_crop(crop, plans[1], np.array(box, dtype=float))
        np.testing.assert_array_equal(crop, cut(apply_to_image(image, plans[0]), box))
        assert hidden_by(plans[0], sample).coverage_box == hidden_by(plans[1], sample).coverage_box


class TestGenerate:
    @pytest.mark.parametrize("name", EVERY)
    def test_written_verified_and_read_back(self, name, tmp_path):
        protocol, dataset = changed(name), ThreePeople(person)
        manifest = generate(protocol, dataset, tmp_path / "out", images=True)
        cases = len(protocol.cases)
        assert manifest["counts"]["written"] == 3 * cases
        assert f"{protocol.id}, {3 * cases} plans" in verify(tmp_path / "out")
        generated = load_generated(tmp_path / "out", dataset)
        assert generated.cases == protocol.cases
        views = [generated.view_of(sample, case).read() for sample in dataset for case in protocol.cases]
        assert max(np.ptp(view) for view in views) > 0


class TestBadNumbers:
    @pytest.mark.parametrize(
        ("name", "numbers", "message"),
        [
            ("sarandi-objects", {"count": (0, 7)}, "count and scale as"),
            ("sarandi-objects", {"count": (7, 1)}, "count and scale as"),
            ("sarandi-objects", {"scale": (0.0, 1.0)}, "count and scale as"),
            ("sarandi-objects", {"margin": 0.5}, "a margin of at least 0 and below 0.5"),
            ("sarandi-objects", {"draws": 0}, "at least one draw"),
            ("sarandi-objects", {"canvas_side": None}, "both canvas_side and canvas_scale, or neither"),
            ("sarandi-objects", {"canvas_side": None, "canvas_scale": None}, "space 'crop' needs a canvas"),
            ("sarandi-objects", {"canvas_scale": 0.0}, "canvas_side and canvas_scale above 0"),
            ("h36m-occl-gbt", {"probability": 0.0}, "a probability above 0"),
            ("h36m-occl-gbt", {"joints": ("left_ancle",)}, "did you mean left_ankle"),
            ("h36m-occl-gbt", {"joints": ()}, "at least one joint"),
            ("random-erasing", {"area": (0.5, 0.1)}, "area and ratio as"),
            ("random-erasing", {"ratio": (0.0, 1.0)}, "area and ratio as"),
            ("random-erasing", {"tries": 0}, "at least one try"),
        ],
    )
    def test_are_refused(self, name, numbers, message):
        with pytest.raises(ValueError, match=message):
            changed(name, **numbers)

    def test_views(self):
        with pytest.raises(ValueError, match="occluded from 0 to the number of names, 2, but got 3"):
            Views("_ca_", ("1", "2"), 3)
        with pytest.raises(ValueError, match="none empty and none twice"):
            Views("_ca_", ("1", "1"), 1)

    def test_a_misspelt_key_is_told(self, tmp_path):
        path = tmp_path / "mine.toml"
        rule = '[[occluders]]\nkind = "random-rectangle"\nspase = "crop"\n'
        path.write_text(f'name = "mine"\nversion = 1\nbase = "openhps-test"\nwhat = "w"\nsource = "s"\n{rule}')
        with pytest.raises(ProtocolError, match=r"unknown key 'spase'. Did you mean 'space'"):
            load_protocol(path)

    def test_params_are_plain(self):
        for kind in (PastedObjectsParams, RandomRectangleParams, JointSquaresParams):
            assert kind.__doc__
        assert JointSquares().cases(load_protocol("h36m-occl-gbt").occluders[0].params) == ("",)
        assert json.loads(json.dumps(load_protocol("h36m-occluded").content)) == load_protocol("h36m-occluded").content
