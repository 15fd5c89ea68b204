import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import ThreePeople

from hpsbench.errors import ProtocolError
from hpsbench.generate import generate, verify
from hpsbench.generated import load_generated
from hpsbench.image import cut, encode_png, read_image
from hpsbench.occlude import apply_to_crop, apply_to_image, hidden_by, make_plan
from hpsbench.occluders.base import BySample, NotPossible, Target
from hpsbench.occluders.scattered_shapes import Bar, Circle, Object, Rectangle, ScatteredShapes
from hpsbench.protocol import load_protocol
from hpsbench.seeds import rng_of
from hpsbench.types import Sample, Truth, View

DATA = Path(__file__).parent / "data/occlusion"
REWRITE = os.environ.get("HPSBENCH_REWRITE_GOLDENS") == "1"
NAMES = ("sarandi-circles", "sarandi-rectangles", "sarandi-bars", "sarandi-mixture")
# Standing, lying, thin, crouching in a square, and far away (10 x 30 px), in an image of 1280 x 720.
BOXES = {
    "standing": (500, 100, 690, 620),
    "lying": (200, 300, 900, 430),
    "thin": (500, 100, 560, 620),
    "square": (400, 100, 900, 600),
    "far": (500.5, 300.25, 510.5, 330.25),
}


@pytest.fixture(autouse=True)
def _bank(monkeypatch):
    monkeypatch.setenv("HPSBENCH_VOC_BANK", str(DATA / "bank"))


def changed(name, **numbers):
    """A protocol with some of its numbers changed; the objects of a mixture are those of the tests."""
    protocol = load_protocol(name)
    (rule,) = protocol.occluders
    if rule.params.object is not None:
        numbers = {"object": replace(rule.params.object, bank="voc")} | numbers
    return replace(protocol, occluders=(replace(rule, params=replace(rule.params, **numbers)),))


def picture(width, height):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (7 * x + 13 * y) % 256], axis=-1).astype(np.uint8)


def person(number=0, bbox=BOXES["standing"], size=(1280, 720), name=None):
    """Someone whose joints lie on the diagonal of the box."""
    bbox = np.array(bbox, dtype=float)
    joints2d = bbox[:2] + np.linspace(0.1, 0.9, 24)[:, None] * (bbox[2:] - bbox[:2])
    view = View(lambda: picture(*size), f"seq/{number}", bbox, np.eye(3))
    truth = Truth(np.zeros((24, 3)), "smpl24", joints2d, np.ones(24, bool))
    return Sample(name or f"fake/test/seq/{number:05d}/0", view, truth, "seq", "fake/test/seq/0", number, size)


def planned(protocol, sample, case):
    plan = make_plan(sample, protocol, [sample], case=case)
    assert not plan.skipped
    return plan


def pixels_of(plan, side=256):
    """What is hidden of the canvas: (side, side) bool, out of the pixels."""
    square = np.array(plan.occlusions[0].params["canvas"]["square_xyxy"])
    crops = [np.full((side, side, 3), value, np.uint8) for value in (0, 255)]
    for crop in crops:
        apply_to_crop(crop, plan, square)
    # Where neither the black nor the white picture shows: noise and objects are the same on both.
    return (crops[0] == crops[1]).all(axis=-1)


def box_on_canvas(sample, side=256):
    """The px of the canvas whose centres lie in the person's box: bool."""
    x0, y0, x1, y1 = sample.view.bbox_xyxy
    scale = side / (1.25 * max(x1 - x0, y1 - y0))
    along = (np.arange(side) + 0.5 - side / 2) / scale
    return (np.abs(along)[None] < (x1 - x0) / 2) & (np.abs(along)[:, None] < (y1 - y0) / 2)


class TestLevels:
    @pytest.mark.parametrize("name", NAMES)
    def test_are_the_published_ones(self, name):
        params = load_protocol(name).occluders[0].params
        assert params.levels == (0, 10, 20, 30, 40, 50, 60, 70)
        assert (params.tolerance, params.tries, params.canvas_side, params.fill) == (2.5, 200, 256, "noise")
        assert load_protocol(name).cases[:2] == ("level=0", "level=10")

    @pytest.mark.parametrize("size", BOXES)
    @pytest.mark.parametrize("name", NAMES)
    def test_are_met_within_two_and_a_half_points(self, name, size):
        protocol = changed(name)
        for number in range(2):
            sample = person(number, BOXES[size])
            inside = box_on_canvas(sample)
            for case in protocol.cases:
                plan, level = planned(protocol, sample, case), float(case.removeprefix("level="))
                params = plan.occlusions[0].params
                assert params["level"] == level
                assert abs(100 * params["coverage"] - level) <= 2.5 + 1e-4
                if name != "sarandi-mixture":  # an object's rim hides less than a whole px
                    assert pixels_of(plan)[inside].mean() == pytest.approx(params["coverage"], abs=1e-6)

    @pytest.mark.parametrize("name", NAMES)
    def test_what_is_recorded_beside_the_plan_is_the_same_share(self, name):
        """Of whole px of the image there: of a box of 500 px a side a little apart from the canvas's."""
        protocol, sample = changed(name), person(1, BOXES["square"])
        for case in protocol.cases[1::3]:
            plan = planned(protocol, sample, case)
            assert hidden_by(plan, sample).coverage_box == pytest.approx(plan.occlusions[0].params["coverage"], abs=0.005)

    def test_no_per_cent_hides_nothing(self):
        plan = planned(changed("sarandi-mixture"), person(), "level=0")
        assert plan.occlusions[0].params["shapes"] == []
        assert not pixels_of(plan).any()
        assert not hidden_by(plan, person()).occluded.any()

    def test_levels_see_the_same_shapes(self):
        """Independently: the drawn circles in their order, each kept where it does not overshoot."""
        protocol, sample = changed("sarandi-circles"), person(4)
        inside = box_on_canvas(sample)
        y, x = np.mgrid[:256, :256] + 0.5
        for level in (0.1, 0.4, 0.7):
            rng, hidden, kept = rng_of(0, sample.id, "scattered-shapes", "0"), np.zeros((256, 256), bool), []
            while hidden[inside].mean() < level - 0.025:
                centre = [round(256 * rng.random(), 2), round(256 * rng.random(), 2)]
                radius = round((0.04 + 0.12 * rng.random()) * 256, 2)
                more = hidden | ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)
                if hidden[inside].mean() < more[inside].mean() <= level + 0.025:
                    hidden = more
                    kept.append({"shape": "disc", "centre": centre, "radius": radius})
            found = planned(protocol, sample, f"level={100 * level:g}").occlusions[0].params
            assert found["shapes"] == kept
            assert found["coverage"] == pytest.approx(hidden[inside].mean(), abs=1e-6)

    def test_several_draws_differ(self):
        protocol = changed("sarandi-circles", draws=2, levels=(30.0,))
        assert protocol.cases == ("level=30,draw=0", "level=30,draw=1")
        one, two = (planned(protocol, person(), case).occlusions[0].params for case in protocol.cases)
        assert one["shapes"] != two["shapes"]
        assert one["noise"] == [0, person().id, "scattered-shapes", "0", "pixels"]
        assert one["shapes"] == planned(changed("sarandi-circles"), person(), "level=30").occlusions[0].params["shapes"]


class TestNotPossible:
    def test_shapes_too_large_for_a_level(self):
        """A square of the canvas's size hides the whole box where it hides more than a little."""
        protocol = changed("sarandi-rectangles", rectangle=Rectangle((3.0, 3.0)), levels=(50.0, 100.0))
        plans = [make_plan(person(), protocol, [person()], case=case) for case in protocol.cases]
        assert [plan.skipped for plan in plans] == ["50 % of the box not met", ""]
        assert plans[1].occlusions[0].params["coverage"] == 1

    def test_shapes_too_small_for_a_level(self):
        protocol = changed("sarandi-circles", circle=Circle((0.001, 0.001)))
        assert make_plan(person(), protocol, [person()], case="level=60").skipped == "60 % of the box not met"

    def test_a_window_beside_the_person(self):
        params = changed("sarandi-circles").occluders[0].params
        target = Target(person(), [person()], np.array([0.0, 0, 100, 100]), 0, BySample(0), "level=10")
        with pytest.raises(NotPossible, match="person outside the canvas"):
            ScatteredShapes().plan(target, params)

    def test_are_counted(self, tmp_path):
        protocol = changed("sarandi-circles", circle=Circle((0.001, 0.001)))
        manifest = generate(protocol, ThreePeople(person), tmp_path / "out")
        assert manifest["counts"]["skipped"] == {f"{level} % of the box not met": 3 for level in range(10, 80, 10)}


class TestShapes:
    def shapes(self, name, count=30, case="level=70"):
        plans = [planned(changed(name), person(number), case).occlusions[0].params for number in range(count)]
        return [shape for plan in plans for shape in plan["shapes"]]

    def test_circles(self):
        radii = [shape["radius"] for shape in self.shapes("sarandi-circles")]
        assert 10.24 <= min(radii) < 12
        assert 38 < max(radii) <= 40.96

    def test_rectangles(self):
        found = self.shapes("sarandi-rectangles")
        sides = np.array([shape["size"] for shape in found])
        assert 17.92 <= sides.min() < 20
        assert 72 < sides.max() <= 76.8
        assert {shape["angle"] for shape in found} == {0.0}

    def test_bars_at_any_angle(self):
        found = self.shapes("sarandi-bars")
        length, width = np.array([shape["size"] for shape in found]).T
        assert 76.8 <= length.min() < 90
        assert 240 < length.max() <= 256
        assert 10.24 <= width.min() < 11
        assert 25 < width.max() <= 25.6
        angles = np.array([shape["angle"] for shape in found])
        assert np.histogram(angles, 6, (0, 180))[0].min() > 0.5 * len(angles) / 6

    def test_a_mixture_has_all_four_alike(self):
        found = self.shapes("sarandi-mixture", 40, "level=20")
        kinds = Counter("object" if "object" in shape else "disc" if "radius" in shape else str(shape["angle"] != 0) for shape in found)
        assert len(kinds) == 4
        assert min(kinds.values()) > 10

    def test_draws_of_a_mixture_in_their_order(self):
        """Which kind, x, y, then its own: radius; width, height; length, width, angle; which object, its scale."""
        protocol, sample = changed("sarandi-mixture", levels=(100.0,), tolerance=99.9), person(6)
        rng = rng_of(0, sample.id, "scattered-shapes", "0")
        kind = int(4 * rng.random())
        centre = [round(256 * rng.random(), 2), round(256 * rng.random(), 2)]
        (first, *rest) = planned(protocol, sample, "level=100").occlusions[0].params["shapes"]
        assert rest == []
        low, high = {0: ((0.04,), (0.16,)), 1: ((0.07, 0.07), (0.3, 0.3)), 2: ((0.3, 0.04), (1.0, 0.1))}[kind]
        sizes = [round((a + rng.random() * (b - a)) * 256, 2) for a, b in zip(low, high, strict=True)]
        assert first["centre"] == centre
        assert [first["radius"]] == sizes if kind == 0 else first["size"] == sizes

    def test_objects_lie_in_their_order(self):
        """A disc, then an object over it, then a disc over both."""
        protocol, sample = changed("sarandi-mixture", canvas_side=64.0, fill="white"), person(2, (7, 7, 57, 57), (64, 64))
        plan = planned(protocol, sample, "level=10")
        thing = {"object": "tall", "corner": [20, 5], "size": [6, 50]}
        shapes = [{"shape": "disc", "centre": [23.0, y], "radius": 4.0} for y in (15.0, 45.0)]
        params = dict(plan.occlusions[0].params) | {"shapes": [shapes[0], thing, shapes[1]]}
        crop = np.zeros((64, 64, 3), np.uint8)
        apply_to_crop(crop, replace(plan, occlusions=(replace(plan.occlusions[0], params=params),)), np.array([0.75, 0.75, 63.25, 63.25]))
        assert crop[16, 23].tolist() == [40, 200, 90]
        assert crop[16, 19].tolist() == [255, 255, 255]
        assert crop[46, 23].tolist() == [255, 255, 255]


class TestGoldens:
    def test_plans_to_the_last_digit(self):
        path, lines = DATA / "scattered.jsonl", []
        for name in NAMES:
            lines += [make_plan(person(1), changed(name), [person(1)], case=f"level={level}").to_json() for level in (0, 10, 40)]
        if REWRITE:
            path.write_text("\n".join(lines) + "\n")
        assert lines == path.read_text().splitlines()

    @pytest.mark.parametrize("name", NAMES)
    def test_pictures_byte_for_byte(self, name):
        sample = person(2, (7, 7, 57, 57), (64, 64))
        plan, found = planned(changed(name, canvas_side=64.0), sample, "level=40"), picture(64, 64)
        apply_to_crop(found, plan, np.array(plan.occlusions[0].params["canvas"]["square_xyxy"]))
        path = DATA / f"{name.replace('sarandi', 'scattered')}.png"
        if REWRITE:
            path.write_bytes(encode_png(found))
        np.testing.assert_array_equal(found, read_image(path))


class TestOnePictureInEveryForm:
    @pytest.mark.parametrize("name", NAMES)
    def test_arrays_and_tensors_to_the_byte(self, name):
        plan = planned(changed(name), person(3), "level=40")
        square = np.array(plan.occlusions[0].params["canvas"]["square_xyxy"])
        for side in (256, 224):
            array = picture(side, side)
            tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).contiguous()
            apply_to_crop(array, plan, square)
            apply_to_crop(tensor, plan, square)
            np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), array)

    @pytest.mark.parametrize("name", NAMES)
    def test_image_and_crop_agree(self, name):
        """A canvas of 250 px that is 250 px of the image: the square of a box of 200."""
        sample, image, box = person(3, (500, 300, 580, 500)), picture(1280, 720), (415, 275, 665, 525)
        plans = [planned(changed(name, canvas_side=250.0, space=space), sample, "level=40") for space in ("image", "crop")]
        crop = cut(image, box)
        apply_to_crop(crop, plans[1], np.array(box, dtype=float))
        np.testing.assert_array_equal(crop, cut(apply_to_image(image, plans[0]), box))
        assert hidden_by(plans[0], sample).coverage_box == pytest.approx(plans[0].occlusions[0].params["coverage"], abs=1e-6)


class TestGenerate:
    @pytest.mark.parametrize("name", NAMES)
    def test_written_verified_and_read_back(self, name, tmp_path):
        protocol, dataset = changed(name), ThreePeople(person)
        manifest = generate(protocol, dataset, tmp_path / "out", images=True)
        assert manifest["counts"]["written"] == 24
        assert "skipped" not in manifest["counts"]
        assert f"{protocol.id}, 24 plans, 24 images" in verify(tmp_path / "out")
        generated = load_generated(tmp_path / "out", dataset)
        assert generated.cases == protocol.cases
        assert np.ptp(generated.view_of(dataset[0], "level=0").read()) == 90  # zeros beyond the image
        assert np.ptp(generated.view_of(dataset[0], "level=70").read()) > 200


class TestBadNumbers:
    @pytest.mark.parametrize(
        ("numbers", "message"),
        [
            ({"levels": ()}, "per cents from 0 to 100, none twice"),
            ({"levels": (10.0, 10.0)}, "per cents from 0 to 100, none twice"),
            ({"levels": (120.0,)}, "per cents from 0 to 100, none twice"),
            ({"tolerance": 0.0}, "tolerance above 0"),
            ({"tries": 0}, "at least one try"),
            ({"draws": 0}, "one draw"),
            ({"canvas_scale": -1.0}, "canvas_side, canvas_scale and tolerance above 0"),
            ({"circle": None}, "at least one of the tables circle, rectangle, bar and object"),
        ],
    )
    def test_are_refused(self, numbers, message):
        with pytest.raises(ValueError, match=message):
            changed("sarandi-circles", **numbers)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Circle((0.0, 0.1)), r"radius: expected \[smallest, largest\], above 0, but got \[0.0, 0.1\]"),
            (lambda: Rectangle((0.2, 0.1)), "sides: expected"),
            (lambda: Bar((0.1, 0.2), (0.2, 0.1)), "width: expected"),
            (lambda: Object("hpsbench", (1.0, 0.5)), "scale: expected"),
        ],
    )
    def test_of_shapes_are_refused(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    def test_a_misspelt_table_is_told(self, tmp_path):
        path = tmp_path / "mine.toml"
        rule = '[[occluders]]\nkind = "scattered-shapes"\n[occluders.circel]\nradius = [0.1, 0.2]\n'
        path.write_text(f'name = "mine"\nversion = 1\nbase = "openhps-test"\nwhat = "w"\nsource = "s"\n{rule}')
        with pytest.raises(ProtocolError, match=r"unknown key 'circel'\. Did you mean 'circle'"):
            load_protocol(path)
