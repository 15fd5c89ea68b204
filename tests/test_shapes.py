"""Shapes, fills and pasting, worked by hand on small rasters; HKMR's, PARE's and AdvOcc's plans by their published numbers."""

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeDataset
from test_occlude import fixed_view, picture, plan_of

from hpsbench.errors import DataError, HpsbenchError, ProtocolError, UnknownNameError
from hpsbench.evaluate.people import FrameReader
from hpsbench.generate import generate, verify
from hpsbench.generated import load_generated
from hpsbench.image import crop_square, encode_png, read_image
from hpsbench.occlude import apply_to_crop, apply_to_image, crop_view, hidden_by, make_plan
from hpsbench.occluders.base import Canvas, cases_of, choice_of
from hpsbench.occluders.base_shapes import box, disc, inside, shape_stencil, strip
from hpsbench.occluders.base_stencil import Raster, Stencil, paste, paste_on_tensor
from hpsbench.protocol import load_protocol
from hpsbench.types import CropSpec, Occlusion, OcclusionPlan, Sample, Truth

DATA = Path(__file__).parent / "data/occlusion"
REWRITE = os.environ.get("HPSBENCH_REWRITE_GOLDENS") == "1"
UNIT = Raster(0, 0, 1, 8, 8)


def shaped(shape, fill="black", side=None, space="image", square=(0, 0, 64, 64)):
    canvas = {} if side is None else {"canvas": {"side": float(side), "square_xyxy": [float(value) for value in square]}}
    return Occlusion("joint-shape", space, canvas | shape | {"fill": fill})


def covered(shape, raster=UNIT, side=None):
    """The pixels that a shape hides of a raster, as rows of text."""
    stencil = shape_stencil(shaped(shape, side=side), raster)
    mask = np.zeros((raster.height, raster.width), bool)
    if stencil is not None:
        stencil.mark(mask)
    return ["".join(".#"[int(value)] for value in row) for row in mask]


class TestShapes:
    def test_a_disc_holds_the_centres_that_are_nearer_than_its_radius(self):
        # About the corner (4, 4) of four pixels: centres at 0.5, 1.5, 2.5 away along each axis; 2.5 of radius 2 is out in a corner:
        # 0.5^2 + 1.5^2 = 2.5 < 4 and 1.5^2 + 1.5^2 = 4.5 > 4.
        assert covered(disc((4, 4), 2)) == ["........", "........", "...##...", "..####..", "..####..", "...##...", "........", "........"]

    def test_a_box_ends_before_its_far_edge(self):
        # [1.5, 4.5) holds the centres 1.5, 2.5, 3.5 and not 4.5.
        assert covered(box((3, 2.5), (3, 1)))[2] == ".###...."
        assert sum(row.count("#") for row in covered(box((3, 3), (3, 3)))) == 9

    def test_a_standing_box_is_the_lying_one_turned(self):
        lying, standing = (np.array([list(row) for row in covered(box((4, 4), (6, 2), angle))]) for angle in (0.0, 90.0))
        np.testing.assert_array_equal(standing, lying.T)

    def test_a_strip_at_half_a_right_angle(self):
        # |y - x| / sqrt(2) < 0.5 holds for the diagonal's centres alone: the next ones are 0.71 away.
        assert covered(strip((4, 4), 1, 45.0)) == ["." * k + "#" + "." * (7 - k) for k in range(8)]

    def test_a_strip_ends_with_its_canvas(self):
        stencil = shape_stencil(shaped(strip((3, 3), 2, 0.0), side=6, square=(0, 0, 6, 6)), UNIT)
        assert stencil.box == (0, 2, 6, 4)
        assert stencil.alpha is None

    def test_outside_the_raster_there_is_nothing(self):
        assert shape_stencil(shaped(disc((-9, -9), 3)), UNIT) is None

    def test_a_raster_twice_as_fine_has_four_pixels_for_one(self):
        fine = Raster(0, 0, 0.5, 16, 16)
        for shape in (box((4, 3), (4, 2)), strip((4, 4), 2, 90.0)):
            small, large = (shape_stencil(shaped(shape, side=8, square=(0, 0, 8, 8)), raster).area() for raster in (UNIT, fine))
            assert large == 4 * small

    def test_area_of_a_turned_box(self):
        raster = Raster(0, 0, 0.05, 160, 160)
        for angle in (0.0, 30.0, 45.0, 117.0):
            found = shape_stencil(shaped(box((4, 4), (4, 1.5), angle)), raster).area() * 0.05**2
            assert found == pytest.approx(6, rel=0.02)

    def test_inside_is_the_same_for_numbers_and_arrays(self):
        assert inside(disc((0, 0), 1), np.float64(0.5), np.float64(0.5))


class TestPasting:
    def test_alpha_is_cut_to_whole_levels(self):
        # (192 * 200 + 63 * 101) / 255 = 175.54: 175.
        canvas = np.full((1, 1, 3), 101, np.uint8)
        paste(canvas, Stencil((0, 0, 1, 1), np.full((1, 1), 192, np.uint8), lambda: np.full((1, 1, 3), 200, np.uint8)))
        assert canvas.tolist() == [[[175, 175, 175]]]

    def test_arrays_and_tensors_to_the_byte(self):
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        alpha, colour = rng.integers(0, 256, (6, 9), dtype=np.uint8), rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        for one_alpha, one_colour in ((alpha, colour), (None, colour), (alpha, colour[0, 0]), (None, colour[0, 0])):
            stencil = Stencil((3, 4, 12, 10), one_alpha, lambda one_colour=one_colour: one_colour)
            array, tensor = image.copy(), torch.from_numpy(image).permute(2, 0, 1).expand(2, 3, 20, 30).clone()
            paste(array, stencil)
            paste_on_tensor(tensor, stencil)
            for crop in tensor:
                np.testing.assert_array_equal(crop.permute(1, 2, 0).numpy(), array)

    @pytest.mark.parametrize("side", [64, 32, 96])
    def test_crops_as_arrays_and_as_tensors(self, side):
        occlusions = [
            shaped(disc((20.3, 30.1), 9.7), "noise", 64, "crop", (3.5, -4.5, 83.5, 75.5)),
            shaped(strip((40, 40), 5, 30.0), "mean", 64, "crop", (3.5, -4.5, 83.5, 75.5)),
        ]
        occlusions[0] = dataclasses.replace(occlusions[0], params={**occlusions[0].params, "noise": ["a"]})
        plan, square = plan_of(*occlusions), np.array([3.5, -4.5, 83.5, 75.5])
        array = crop_square(picture(100, 90), square, side)
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].contiguous()
        apply_to_crop(array, plan, square)
        apply_to_crop(tensor, plan, square)
        np.testing.assert_array_equal(tensor[0].permute(1, 2, 0).numpy(), array)

    def test_image_and_crop_have_the_same_geometry(self):
        """A canvas that is the image: painted before or after a crop of the same size, the same bytes."""
        image = picture(64, 64)
        for shape in (disc((20, 30), 11), box((30, 30), (20, 8), 30.0), strip((32, 32), 6, 90.0)):
            plan = plan_of(shaped(shape, "mean", 64, "image"))
            crop = image.copy()
            apply_to_crop(crop, plan_of(shaped(shape, "mean", 64, "crop")), np.array([0.0, 0, 64, 64]))
            np.testing.assert_array_equal(apply_to_image(image, plan), crop)

    def test_crop_space_leaves_the_image_alone(self):
        image = picture(64, 64)
        np.testing.assert_array_equal(apply_to_image(image, plan_of(shaped(disc((20, 30), 11), "mean", 64, "crop"))), image)

    def test_noise_is_as_coarse_as_the_canvas(self):
        noise = {"fill": "noise", "noise": ["words"]}
        occlusion = Occlusion("joint-shape", "crop", {"canvas": {"side": 8.0, "square_xyxy": [0.0, 0, 8, 8]}} | box((4, 4), (8, 8)) | noise)
        small, large = np.zeros((8, 8, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
        for crop in (small, large):
            apply_to_crop(crop, plan_of(occlusion), np.array([0.0, 0, 8, 8]))
        np.testing.assert_array_equal(large, small.repeat(2, axis=0).repeat(2, axis=1))


GOLDEN = {
    "shape-disc": shaped(disc((30.5, 20.25), 13.7), "mean", 64),
    "shape-bar": shaped(strip((30, 34), 9, 45.0), "black", 64),
    "shape-box": shaped(box((40, 25), (30, 12), 20.0), "white", 64),
    "shape-noise": Occlusion("joint-shape", "image", {"canvas": {"side": 32.0, "square_xyxy": [0.0, 0, 64, 64]}}
                             | box((16, 16), (20, 10)) | {"fill": "noise", "noise": [0, "a/b", "shape"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_pictures_byte_for_byte(name):
    found, path = apply_to_image(picture(64, 64), plan_of(GOLDEN[name])), DATA / f"{name}.png"
    if REWRITE:
        path.write_bytes(encode_png(found))
    np.testing.assert_array_equal(found, read_image(path))


def person(joints2d, bbox=(10, 20, 40, 60), valid=None, size=(64, 64)):
    joints2d = np.array(joints2d, dtype=float)
    valid = np.ones(len(joints2d), bool) if valid is None else np.array(valid)
    truth = Truth(np.zeros((len(joints2d), 3)), "eval14", joints2d, valid)
    return Sample("a/b", fixed_view(picture(*size), bbox), truth, "seq", "a", 0, size)


class TestHkmr:
    # The box's square is 1.25 * 40 = 50 px wide about (25, 40): from (0, 15) on, 224 / 50 canvas px to a px.
    JOINTS = np.column_stack([np.linspace(5, 45, 14), np.linspace(20, 60, 14)])

    def plan(self, name, case, sample=None):
        return make_plan(sample or person(self.JOINTS), load_protocol(name), (), case=case)

    @pytest.mark.parametrize(
        ("name", "key", "sizes"), [("hkmr-bar", "width", (10, 20, 30, 40, 50)), ("hkmr-circle", "radius", (10, 20, 30, 40, 50))]
    )
    def test_published_sizes(self, name, key, sizes):
        angle = ",angle=45" if name == "hkmr-bar" else ""
        found = [self.plan(name, f"level={k},on=neck{angle}").occlusions[0].params for k in range(1, 6)]
        assert tuple(params[key] for params in found) == sizes
        assert all(params["canvas"] == {"side": 224.0, "square_xyxy": [0.0, 15.0, 50.0, 65.0]} for params in found)
        assert found[0]["centre"] == pytest.approx(((5 + 40 * 12 / 13) * 224 / 50, (20 + 40 * 12 / 13 - 15) * 224 / 50))

    def test_published_areas(self):
        for level in range(1, 6):
            width, height = self.plan("hkmr-rectangle", f"level={level},on=left_hip").occlusions[0].params["size"]
            assert width == height
            assert width * height == pytest.approx(3000 * level)

    @pytest.mark.parametrize(("name", "cases"), [("hkmr-bar", 14 * 5 * 4), ("hkmr-circle", 14 * 5), ("hkmr-rectangle", 14 * 5)])
    def test_joints_by_levels_one_at_a_time(self, name, cases):
        assert len(load_protocol(name).cases) == cases
        assert len({choice_of(case)["on"] for case in load_protocol(name).cases}) == 14

    def test_the_joint_under_the_shape_is_hidden_and_no_other_at_the_smallest(self):
        sample = person(self.JOINTS)
        hidden = hidden_by(self.plan("hkmr-circle", "level=1,on=left_knee", sample), sample)
        assert np.flatnonzero(hidden.occluded).tolist() == [4]
        # A disc of 10 of 224 px: pi 100 of 50176, counted in image px of 4.48 canvas px.
        assert hidden.coverage_canvas == pytest.approx(math.pi * 100 / 224**2, rel=0.3)

    def test_a_joint_that_is_not_there_is_skipped_with_the_reason(self):
        joints, valid = self.JOINTS.copy(), np.ones(14, bool)
        joints[0] = (60, 20)
        valid[1] = False
        sample = person(joints, valid=valid)
        for on, reason in (("right_ankle", "joint outside the canvas"), ("right_knee", "joint not annotated")):
            plan = self.plan("hkmr-circle", f"level=3,on={on}", sample)
            assert (plan.occlusions, plan.skipped) == ((), reason)
            assert OcclusionPlan.from_record(json.loads(plan.to_json())) == plan

    def test_smpl_has_a_head_in_place_of_its_top(self):
        sample = next(iter(FakeDataset()))
        plan = make_plan(sample, load_protocol("hkmr-circle"), (), case="level=2,on=head_top")
        canvas = Canvas.of(plan.occlusions[0])
        np.testing.assert_allclose(plan.occlusions[0].params["centre"], canvas.points(sample.truth.joints2d[15][None])[0])

    def test_fills_differ_and_nothing_else(self):
        black, mean, noise = (self.plan(f"hkmr-circle{end}", "level=2,on=neck").occlusions[0].params for end in ("", "-mean", "-noise"))
        assert black | {"fill": "mean"} == mean
        assert {key: value for key, value in noise.items() if key not in ("fill", "noise")} == {
            key: value for key, value in black.items() if key != "fill"
        }

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("sizes = []", "at least one size"),
            ("sizes = [-1.0]", "at least one size"),
            ("canvas_side = 0.0", "above 0"),
            ('joints = ["right_nee"]', "did you mean right_knee"),
            ("size = [10.0]", "unknown key 'size'. Did you mean 'sizes'?"),
        ],
    )
    def test_bad_numbers(self, tmp_path, change, message):
        path = tmp_path / "mine.toml"
        head = 'name = "mine"\nversion = 1\nbase = "hkmr-circle"\nwhat = "w"\nsource = "s"\n'
        path.write_text(f"{head}[occluders.joint-shape]\n{change}\n")
        with pytest.raises(ProtocolError, match=message.replace("?", r"\?")):
            load_protocol(path)


class TestGrids:
    @pytest.mark.parametrize(
        ("name", "places"),
        [
            ("pare-40-40", 6),
            ("pare-40-20", 11),
            ("pare-40-10", 20),
            ("pare-80-10", 16),
            ("3dpw-advocc-40", 20),
            ("3dpw-advocc-80", 16),
        ],
    )
    def test_published_numbers_of_places(self, name, places):
        protocol = load_protocol(name)
        assert len(protocol.cases) == places**2
        starts = protocol.occluders[0].params.starts
        last = 224 - protocol.occluders[0].params.size
        assert starts[:2] == (0, protocol.occluders[0].params.stride)
        assert starts[-1] == (last if name.startswith("3dpw") else (places - 1) * protocol.occluders[0].params.stride)

    def test_the_last_one_is_cut_as_published(self):
        plan = make_plan(person(TestHkmr.JOINTS), load_protocol("pare-40-40"), (), case="position=5-0")
        crop = np.full((224, 224, 3), 7, np.uint8)
        apply_to_crop(crop, plan, np.array([0.0, 15, 50, 65]))
        changed = (crop != 7).any(-1)
        assert changed[200:, :40].all()
        assert changed.sum() == 24 * 40
        assert crop[210, 10].tolist() == [124, 116, 104]

    def test_black_differs_in_its_fill_alone(self):
        for name in ("pare-40-40", "pare-40-20", "pare-40-10", "pare-80-10"):
            grey, black = (load_protocol(one).occluders[0].params for one in (name, f"{name}-black"))
            assert dataclasses.replace(grey, fill="black") == black

    @pytest.mark.parametrize(("change", "message"), [("size = 300.0", "at most that of the canvas, 224 px"), ("stride = 0.0", "above 0")])
    def test_bad_numbers(self, tmp_path, change, message):
        path = tmp_path / "mine.toml"
        path.write_text(f'name = "mine"\nversion = 1\nbase = "pare-40-40"\nwhat = "w"\nsource = "s"\n[occluders.grid-patch]\n{change}\n')
        with pytest.raises(ProtocolError, match=message):
            load_protocol(path)


class TestTextures:
    @pytest.fixture
    def protocol(self, tmp_path):
        folder = tmp_path / "textures"
        folder.mkdir()
        for name, colour in (("a", (255, 0, 0)), ("b", (0, 255, 0))):
            image = np.zeros((30, 60, 3), np.uint8) + np.array(colour, np.uint8)
            image[:, :, 2] = np.arange(60)
            (folder / f"{name}.png").write_bytes(encode_png(image))
        path = tmp_path / "mine.toml"
        path.write_text(
            'name = "mine"\nversion = 1\nbase = "3dpw-advocc-40"\nwhat = "w"\nsource = "s"\n[occluders.grid-patch]\nsize = 50.0\n'
            f'stride = 90.0\ntextures = "{folder}"\n'
        )
        return load_protocol(path)

    def test_all_places_of_a_person_show_one_window_of_one_picture(self, protocol):
        sample, shown = person(TestHkmr.JOINTS), []
        for case in protocol.cases:
            crop = np.zeros((224, 224, 3), np.uint8)
            plan = make_plan(sample, protocol, (), case=case)
            apply_to_crop(crop, plan, np.array([0.0, 15, 50, 65]))
            row, column = (int(number) for number in choice_of(case)["position"].split("-"))
            left, top = (min(90 * number, 174) for number in (column, row))
            shown.append(crop[top : top + 50, left : left + 50].copy())
            crop[top : top + 50, left : left + 50] = 0
            assert not crop.any()
        assert all((one == shown[0]).all() for one in shown)
        assert {tuple(value) for value in shown[0][..., :2].reshape(-1, 2).tolist()} in ({(255, 0)}, {(0, 255)})

    def test_pictures_that_were_changed_are_refused(self, protocol):
        plan = make_plan(person(TestHkmr.JOINTS), protocol, (), case=protocol.cases[0])
        (occlusion,) = plan.occlusions
        other = dataclasses.replace(occlusion, params={**occlusion.params, "textures_sha256": "0" * 16})
        with pytest.raises(DataError, match="not those that the plan was made with"):
            apply_to_crop(np.zeros((224, 224, 3), np.uint8), plan_of(other), np.array([0.0, 15, 50, 65]))

    def test_a_folder_without_pictures(self, tmp_path):
        target = person(TestHkmr.JOINTS)
        path = tmp_path / "mine.toml"
        path.write_text(
            'name = "mine"\nversion = 1\nbase = "3dpw-advocc-40"\nwhat = "w"\nsource = "s"\n[occluders.grid-patch]\n'
            f'textures = "{tmp_path / "none"}"\n'
        )
        with pytest.raises(HpsbenchError, match="none"):
            make_plan(target, load_protocol(path), (), case="position=0-0")


class TestProtocolsOfCases:
    def test_cases_of_two_occluders_are_combined(self):
        assert cases_of(level=(1, 2), on=("a", "b")) == ("level=1,on=a", "level=1,on=b", "level=2,on=a", "level=2,on=b")
        assert choice_of("level=1,on=a") == {"level": "1", "on": "a"}
        assert load_protocol("3dpw-xocc").cases == ("",)

    def test_an_unknown_case(self):
        with pytest.raises(UnknownNameError, match="level=9,on=neck"):
            make_plan(person(TestHkmr.JOINTS), load_protocol("hkmr-circle"), (), case="level=9,on=neck")

    def test_on_other_data(self):
        protocol, plain = load_protocol("hkmr-bar@openhps-test"), load_protocol("hkmr-bar")
        assert protocol.data == load_protocol("openhps-test").data
        assert (protocol.score, protocol.occluders, protocol.id) == (plain.score, plain.occluders, "hkmr-bar@openhps-test.v1")
        assert protocol.sha256 != plain.sha256

    def test_agoras_scores_stay_with_its_data(self):
        with pytest.raises(ProtocolError, match=r"agora-validation@openhps-test: .*'openhps' found"):
            load_protocol("agora-validation@openhps-test")

    def test_halves_of_xocc(self):
        window, patch = (load_protocol(f"3dpw-xocc-{half}").occluders for half in ("window", "patch"))
        assert (*window, *patch) == load_protocol("3dpw-xocc").occluders

    @pytest.mark.parametrize("change", ["[occluders.grid-patch]\nsize = 1.0", "[occluders]\nnoise-patch = true"])
    def test_changes_of_what_the_base_lacks(self, tmp_path, change):
        path = tmp_path / "mine.toml"
        path.write_text(f'name = "mine"\nversion = 1\nbase = "3dpw-xocc"\nwhat = "w"\nsource = "s"\n{change}\n')
        with pytest.raises(ProtocolError, match="truncation-window, noise-patch"):
            load_protocol(path)


class TestGenerated:
    def test_each_case_is_a_plan_and_a_picture_of_the_canvas(self, tmp_path):
        protocol, dataset = small("hkmr-circle@openhps-test"), FakeDataset()
        manifest = generate(protocol, dataset, tmp_path / "set", images=True)
        assert manifest["counts"]["cases"] == 4
        assert manifest["counts"]["written"] == 4 * len(dataset)
        skipped = sum(manifest["counts"].get("skipped", {}).values())
        assert manifest["images"]["count"] == 4 * len(dataset) - skipped
        assert "64 plans" in verify(tmp_path / "set")
        generated, sample = load_generated(tmp_path / "set", dataset), dataset[5]
        plan = generated.plan_of(sample, "level=2,on=left_hip")
        view = generated.view_of(sample, plan.case)
        wanted = crop_square(sample.view.read(), np.array(plan.occlusions[0].params["canvas"]["square_xyxy"]), 224)
        apply_to_crop(wanted, plan, np.array(plan.occlusions[0].params["canvas"]["square_xyxy"]))
        np.testing.assert_array_equal(view.read(), wanted)
        np.testing.assert_array_equal(view.window_xyxy, [0, 0, 224, 224])

    def test_the_camera_of_a_canvas_is_that_of_its_picture(self):
        sample = FakeDataset()[3]
        plan = make_plan(sample, load_protocol("hkmr-circle"), (), case="level=1,on=neck")
        view, canvas = crop_view(sample.view, plan, 224), Canvas.of(plan.occlusions[0])
        joints = np.asarray(sample.truth.joints)
        projected = joints @ view.intrinsics.T
        np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], canvas.points(sample.truth.joints2d), atol=1e-6)

    def test_a_model_sees_the_same_from_a_set_as_without(self, tmp_path):
        protocol, dataset = small("hkmr-circle@openhps-test"), FakeDataset()
        generate(protocol, dataset, tmp_path / "plans")
        generate(protocol, dataset, tmp_path / "images", images=True)
        frames = dataset.frames()[:2]
        readers = [
            FrameReader(dataset, frames, protocol, CropSpec(224, 1.25), given)
            for given in (None, load_generated(tmp_path / "plans", dataset), load_generated(tmp_path / "images", dataset))
        ]
        for k in range(2):
            for people in zip(*(reader[k] for reader in readers), strict=True):
                assert len({one.id for one in people}) == 1
                for other in people[1:]:
                    assert (other.crop is None) == (people[0].crop is None)
                    if other.crop is not None:
                        np.testing.assert_array_equal(other.crop, people[0].crop)


def small(name):
    """A protocol of joint shapes with two joints and two levels."""
    protocol = load_protocol(name)
    params = dataclasses.replace(protocol.occluders[0].params, joints=("left_hip", "neck"), sizes=(10.0, 40.0))
    return dataclasses.replace(protocol, occluders=(dataclasses.replace(protocol.occluders[0], params=params),))
