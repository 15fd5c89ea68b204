import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpsbench.body.silhouette import Silhouette
from hpsbench.errors import ProtocolError
from hpsbench.image import crop_square, encode_png, read_image
from hpsbench.occlude import Planner, apply_plan, apply_to_image, cut_box, hidden_by, hidden_by_all, make_plan, make_plans, plan_window
from hpsbench.protocol import load_protocol
from hpsbench.seeds import rng_of
from hpsbench.types import Occlusion, OcclusionPlan, Sample, Truth, View

DATA = Path(__file__).parent / "data/occlusion"
REWRITE = os.environ.get("HPSBENCH_REWRITE_GOLDENS") == "1"
XOCC, CLEAN = load_protocol("3dpw-xocc"), load_protocol("3dpw-test")


def picture(width, height):
    """An image whose pixels are all told apart: x in red, y in green, both in blue."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (7 * x + 13 * y) % 256], axis=-1).astype(np.uint8)


def patch(*box, words=(0, "a/b", "noise-patch", "pixels")):
    return Occlusion("noise-patch", "image", {"box_xyxy": list(box), "noise": list(words)})


def window(*box):
    numbers = {"window_xyxy": [float(value) for value in box], "hidden_groups": [0, 0], "key_frames": [0, 0], "weight": 0.0}
    return Occlusion("truncation-window", "image", numbers)


def plan_of(*occlusions):
    return OcclusionPlan("a/b", "p.v1", 0, occlusions)


def fixed_view(image, bbox=(10, 20, 40, 60)):
    intrinsics = np.array([[500.0, 0, 32], [0, 510, 24], [0, 0, 1]])
    return View(lambda: image, "seq/0", np.array(bbox, dtype=float), intrinsics)


def sample_with(joints2d, size=(64, 64), bbox=(10, 20, 40, 60), valid=None):
    joints2d = np.array(joints2d, dtype=float)
    valid = np.ones(len(joints2d), bool) if valid is None else np.array(valid)
    truth = Truth(np.zeros((len(joints2d), 3)), "smpl24", joints2d, valid)
    return Sample("a/b", fixed_view(picture(*size), bbox), truth, "seq", "a", 0, size)


def walker(frame):
    """A person of OpenPose key points who walks to the right."""
    shift = 4.0 * frame
    x = [300, 300, 270, 250, 240, 330, 350, 360, 280, 275, 270, 320, 325, 330, 295, 305, 285, 315]
    y = [80, 120, 120, 180, 240, 120, 180, 240, 260, 350, 440, 260, 350, 440, 75, 75, 80, 80]
    keypoints = np.column_stack([np.array(x) + shift, y, np.full(18, 0.9)])
    view = View(lambda: picture(960, 540), f"seq/{frame}", np.array([240 + shift, 75, 360 + shift, 440]), np.eye(3))
    joints2d = np.column_stack([np.linspace(240, 360, 24) + shift, np.linspace(75, 440, 24)])
    truth = Truth(np.zeros((24, 3)), "smpl24", joints2d, np.ones(24, bool), keypoints2d=keypoints, keypoints_skeleton="openpose18")
    return Sample(f"fake/test/seq/{frame:05d}/0", view, truth, "seq", "fake/test/seq/0", frame, (960, 540))


WALK = [walker(frame) for frame in (2, 3, 4, 7, 9, 12, 16, 17, 23, 25)]

GOLDEN_PLANS = {
    "patch": plan_of(patch(20, 10, 45, 50)),
    "patch-at-the-corner": plan_of(patch(50, 40, 64, 64)),
    "window": plan_of(window(10.25, 5.5, 62.75, 58.0)),
    "window-beyond-the-image": plan_of(window(-20, 30, 42, 92)),
    "xocc": plan_of(window(-8.5, 12.5, 53.5, 74.5), patch(30, 30, 60, 60)),
    "no-patch": plan_of(patch(0, 0, 0, 0)),
}


class TestGoldenPictures:
    @pytest.mark.parametrize("name", GOLDEN_PLANS)
    def test_byte_for_byte(self, name):
        path = DATA / f"{name}.png"
        found = apply_to_image(picture(64, 64), GOLDEN_PLANS[name])
        if REWRITE:
            path.write_bytes(encode_png(found))
        np.testing.assert_array_equal(found, read_image(path))

    def test_plans_to_the_last_digit(self):
        path = DATA / "plans.jsonl"
        lines = [make_plan(sample, XOCC, WALK).to_json() for sample in WALK]
        if REWRITE:
            path.write_text("\n".join(lines) + "\n")
        assert lines == path.read_text().splitlines()


class TestApply:
    def test_the_image_itself_stays(self):
        image = picture(64, 64)
        apply_to_image(image, GOLDEN_PLANS["patch"])
        np.testing.assert_array_equal(image, picture(64, 64))

    def test_only_the_patch_changes_and_it_is_noise(self):
        image = picture(640, 480)
        found = apply_to_image(image, plan_of(patch(200, 100, 400, 300)))
        changed = (found != image).any(axis=-1)
        assert changed[100:300, 200:400].mean() > 0.99
        assert changed.sum() == changed[100:300, 200:400].sum()
        noise = found[100:300, 200:400].astype(float)
        # floor(255 U): mean 127, deviation 73.6; 120,000 values.
        assert noise.mean() == pytest.approx(127, abs=1)
        assert noise.std() == pytest.approx(73.6, abs=1)
        assert noise.max() == 254

    def test_noise_differs_between_samples_and_not_between_calls(self):
        image = picture(64, 64)
        one, two = (plan_of(patch(0, 0, 9, 9, words=(0, name))) for name in ("a", "b"))
        np.testing.assert_array_equal(apply_to_image(image, one), apply_to_image(image, one))
        assert (apply_to_image(image, one) != apply_to_image(image, two)).any()

    def test_a_patch_half_out_of_the_window_is_the_same_noise(self):
        image = picture(64, 64)
        whole = apply_to_image(image, plan_of(patch(5, 5, 30, 30)))
        part = apply_to_image(image, plan_of(window(20, 20, 40, 40), patch(5, 5, 30, 30)))
        np.testing.assert_array_equal(part, whole[20:41, 20:41])

    def test_a_crop_of_the_view_is_a_crop_of_the_image(self):
        image = picture(200, 150)
        for box in [(20.3, 10.7, 120.9, 111.3), (-30.2, 60, 90.1, 180.3), (100, 100, 260, 260)]:
            view = apply_plan(fixed_view(image), plan_of(window(*box)))
            found, wanted = crop_square(view.read(), view.window_xyxy, 64), crop_square(image, np.array(box), 64)
            # The warp works in fixed point: an origin moved by whole pixels may round one grey level apart.
            assert np.abs(found.astype(int) - wanted).max() <= 1

    def test_box_camera_and_window_move_together(self):
        view = apply_plan(fixed_view(picture(64, 64)), plan_of(window(10.25, -5.5, 62.75, 47.0)))
        np.testing.assert_allclose(view.window_xyxy, [0.25, 0.5, 52.75, 53])
        np.testing.assert_allclose(view.bbox_xyxy, [0, 26, 30, 66])
        np.testing.assert_allclose(view.intrinsics, [[500, 0, 22], [0, 510, 30], [0, 0, 1]])
        assert view.read().shape == (54, 54, 3)

    def test_a_patch_alone_moves_nothing_and_shares_no_image(self):
        before = fixed_view(picture(64, 64))
        view = apply_plan(before, plan_of(patch(1, 1, 5, 5)))
        assert view.window_xyxy is None
        np.testing.assert_array_equal(view.bbox_xyxy, before.bbox_xyxy)
        assert view.image_key == "seq/0#a/b"

    def test_an_empty_plan_leaves_the_view(self):
        view = fixed_view(picture(64, 64))
        assert apply_plan(view, plan_of()) is view

    def test_nothing_is_read_before_it_is_asked_for(self):
        def never():
            raise AssertionError

        view = replace(fixed_view(None), read=never)
        apply_plan(view, GOLDEN_PLANS["xocc"])

    def test_a_view_travels_to_a_worker(self):
        view = replace(fixed_view(None), read=_small_picture)
        occluded = apply_plan(view, GOLDEN_PLANS["xocc"])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(occluded)).read(), occluded.read())


def _small_picture():
    return picture(64, 64)


class TestHidden:
    joints = ((5, 5), (20, 30), (29.99, 30), (30, 30), (45, 59.99), (45, 60), (70, 30), (-1, 30))

    def test_a_patch_hides_the_joints_on_its_pixels(self):
        hidden = hidden_by(plan_of(patch(30, 30, 50, 60)), sample_with(self.joints))
        np.testing.assert_array_equal(hidden.occluded, [0, 0, 0, 1, 1, 0, 0, 0])
        np.testing.assert_array_equal(hidden.outside, [0, 0, 0, 0, 0, 0, 1, 1])
        # The box is 10..40 x 20..60: 10 x 30 of its 1200 pixels.
        assert hidden.coverage == 300 / 1200

    def test_a_window_puts_the_rest_outside(self):
        hidden = hidden_by(plan_of(window(10, 20, 40, 50), patch(25, 25, 35, 35)), sample_with(self.joints))
        np.testing.assert_array_equal(hidden.outside, [1, 0, 0, 0, 1, 1, 1, 1])
        np.testing.assert_array_equal(hidden.occluded, [0, 0, 1, 1, 0, 0, 0, 0])
        assert hidden.coverage == 100 / 900

    def test_padding_is_outside_and_counts_as_uncovered(self):
        hidden = hidden_by(plan_of(window(-40, 0, 60, 100), patch(0, 0, 20, 20)), sample_with(((-10, 30), (10, 10))))
        np.testing.assert_array_equal(hidden.outside, [1, 0])
        assert hidden.coverage == 400 / 10000

    def test_without_occluders_only_the_image_counts(self):
        hidden = hidden_by(plan_of(), sample_with(self.joints))
        assert not hidden.occluded.any()
        np.testing.assert_array_equal(hidden.outside, [0, 0, 0, 0, 0, 0, 1, 1])
        assert hidden.coverage == 0

    def test_a_box_without_width_counts_as_one_pixel_wide(self):
        hidden = hidden_by(plan_of(patch(0, 0, 20, 30)), sample_with(self.joints, bbox=(10, 20, 10, 60)))
        assert hidden.coverage == 10 / 40

    def test_overlapping_patches_are_counted_once(self):
        hidden = hidden_by(plan_of(patch(10, 20, 25, 60), patch(20, 20, 40, 60)), sample_with(self.joints))
        assert hidden.coverage == 1

    def test_a_joint_that_is_unknown_is_neither(self):
        joints = ((70, 30), (np.nan, 30), (35, 35))
        hidden = hidden_by(plan_of(patch(30, 30, 50, 60)), sample_with(joints, valid=[False, True, False]))
        assert not hidden.occluded.any()
        assert not hidden.outside.any()


class TestPlans:
    def test_depend_on_the_sample_and_its_track_alone(self):
        forward = {sample.id: make_plan(sample, XOCC, WALK) for sample in WALK}
        backward = {sample.id: make_plan(sample, XOCC, [walker(s.frame) for s in WALK]) for sample in reversed(WALK)}
        assert forward == backward
        assert make_plan(WALK[0], replace(XOCC, seed=1), WALK) != forward[WALK[0].id]

    def test_survive_json(self):
        for sample in WALK:
            plan = make_plan(sample, XOCC, WALK)
            again = OcclusionPlan.from_record(json.loads(plan.to_json()))
            assert again == plan
            np.testing.assert_array_equal(apply_to_image(sample.view.read(), again), apply_to_image(sample.view.read(), plan))

    def test_the_patch_lies_in_the_window(self):
        for sample in WALK:
            plan = make_plan(sample, XOCC, WALK)
            left, top, right, bottom = plan.occlusions[1].params["box_xyxy"]
            x0, y0, x1, y1 = cut_box(plan_window(plan))
            assert x0 <= left <= right <= x1
            assert y0 <= top <= bottom <= y1

    def test_a_clean_protocol_plans_nothing(self):
        assert make_plan(WALK[0], CLEAN, ()).occlusions == ()

    def test_published_seeding_needs_the_place(self):
        published = replace(XOCC, seeding="published")
        with pytest.raises(ProtocolError, match="seeded by places"):
            make_plan(WALK[0], published, WALK)
        assert make_plan(WALK[0], published, WALK, start=0) != make_plan(WALK[0], published, WALK, start=1)


class FakeDataset:
    """Two tracks through the same frames."""

    def __init__(self):
        self.samples = {f"fake/test/seq/{k}": [replace(s, track=f"fake/test/seq/{k}", id=f"{s.id[:-1]}{k}") for s in WALK] for k in (0, 1)}
        self.track_lengths = {name: len(samples) for name, samples in self.samples.items()}

    def track(self, name):
        return self.samples[name]


class TestPlanner:
    def test_what_it_keeps_moves_no_plan(self, monkeypatch):
        wanted = [make_plan(sample, XOCC, WALK).to_json() for sample in WALK]
        for most in (1, 20_000):
            monkeypatch.setattr("hpsbench.occluders.base._MOST_KEPT", most)
            memo = {}
            for order in (WALK, WALK[::-1], WALK[3:] + WALK[:3]):
                found = {sample.id: make_plan(sample, XOCC, WALK, memo=memo).to_json() for sample in order}
                assert [found[sample.id] for sample in WALK] == wanted
            assert len(memo) <= most

    def test_is_make_plan(self):
        dataset = FakeDataset()
        planner = Planner(XOCC, dataset)
        for one, two in zip(*dataset.samples.values(), strict=True):
            assert planner(one) == make_plan(one, XOCC, dataset.samples[one.track])
            assert planner(two) == make_plan(two, XOCC, dataset.samples[two.track])

    def test_published_tracks_follow_one_another(self):
        dataset = FakeDataset()
        published = replace(XOCC, seeding="published")
        planner = Planner(published, dataset)
        second = dataset.samples["fake/test/seq/1"]
        assert planner(second[3]) == make_plan(second[3], published, second, start=len(WALK))


def stroller(frame, person, size=(960, 540)):
    """A person somewhere, also half out of the image (number 3: all of him), with a joint of unknown place and one that is not valid."""
    rng = rng_of("stroller", person, frame // 20)
    x, y = rng.random() * 900 - 100 + (2000 if person == 3 else 0), rng.random() * 300 - 60
    width, height = 40 + 300 * rng.random(), 90 + 400 * rng.random()
    shift = 3.0 * (frame % 20)
    points = rng.random((42, 2)) * [width, height] + [x + shift, y]
    keypoints = np.column_stack([points[24:], rng.random(18) ** 0.3])
    joints2d, valid = points[:24].copy(), np.ones(24, bool)
    joints2d[3], valid[5] = np.nan, False
    view = View(lambda: picture(*size), f"seq/{frame}", np.array([x + shift, y, x + shift + width, y + height]), np.eye(3))
    truth = Truth(np.zeros((24, 3)), "smpl24", joints2d, valid, keypoints2d=keypoints, keypoints_skeleton="openpose18")
    return Sample(f"fake/test/seq/{frame:05d}/{person}", view, truth, "seq", f"fake/test/seq/{person}", frame, size)


class Strollers:
    """Tracks with every frame, with many dropped ones, of one frame, and that begin between key frames."""

    frames = (range(40), (3, 4, 5, 9, 11, 14, 15, 22, 23, 24, 25, 31, 33, 50), (7,), (8,), range(100, 130, 3))

    def __init__(self):
        self.tracks = {f"fake/test/seq/{k}": [stroller(frame, k) for frame in frames] for k, frames in enumerate(self.frames)}
        self.track_lengths = {name: len(samples) for name, samples in self.tracks.items()}
        self.samples = sorted((sample for track in self.tracks.values() for sample in track), key=lambda sample: sample.frame)

    def track(self, name):
        return self.tracks[name]


class TestManyAtOnce:
    """The same as one by one, to the last digit."""

    @pytest.mark.parametrize(
        ("name", "seeding", "step"),
        [
            ("3dpw-xocc", "by-sample", 1),
            ("3dpw-xocc", "published", 1),
            ("3dpw-xocc-patch", "by-sample", 1),
            ("3dpw-xocc-window", "by-sample", 1),
            ("3dpw-test", "by-sample", 5),
            ("hmr2-part-crops", "by-sample", 9),
            ("random-erasing", "by-sample", 9),
            ("temporal-moving", "by-sample", 9),
            ("key-points-gvhmr", "by-sample", 9),
        ],
    )
    def test_plans_and_what_they_hide(self, name, seeding, step):
        dataset, protocol = Strollers(), replace(load_protocol(name), seeding=seeding)
        samples = dataset.samples[::step]
        wanted = [Planner(protocol, dataset).all(sample) for sample in samples]
        assert Planner(protocol, dataset).all_of(samples) == wanted
        pairs = [(plan, sample) for sample, plans in zip(samples, wanted, strict=True) for plan in plans]
        same_hidden(hidden_by_all(*zip(*pairs, strict=True)), [hidden_by(plan, sample) for plan, sample in pairs])

    def test_the_tracks_hold_what_can_go_wrong(self):
        dataset = Strollers()
        plans = [plan for (plan,) in Planner(XOCC, dataset).all_of(dataset.samples)]
        windows, patches = ([plan.occlusions[k].params for plan in plans] for k in (0, 1))
        assert {group for window in windows for group in window["hidden_groups"]} == {0, 1, None}
        assert any(len(set(window["hidden_groups"])) == 2 for window in windows)
        assert any(window["weight"] == 0 and window["key_frames"][0] != window["key_frames"][1] for window in windows)
        assert any(patch["box_xyxy"] == [0, 0, 0, 0] for patch in patches)
        boxes = np.array([patch["box_xyxy"] for patch in patches])
        assert (boxes[:, 2:] > boxes[:, :2]).all(axis=1).mean() > 0.5

    @pytest.mark.parametrize("size", [1, 7])
    def test_in_pieces_and_any_order(self, size):
        dataset = Strollers()
        wanted = {plan.sample_id: plan.to_json() for (plan,) in Planner(XOCC, dataset).all_of(dataset.samples)}
        planner, samples = Planner(XOCC, dataset), dataset.samples[::-1]
        for start in range(0, len(samples), size):
            for (plan,) in planner.all_of(samples[start : start + size]):
                assert plan.to_json() == wanted[plan.sample_id]

    def test_what_is_not_possible_is_drawn_no_further(self):
        protocol = replace(XOCC, occluders=(XOCC.occluders[0], *load_protocol("hkmr-bar").occluders, XOCC.occluders[1]))
        dataset = Strollers()
        samples = dataset.samples[::9]
        wanted = [[make_plan(s, protocol, dataset.track(s.track), case=case) for case in protocol.cases] for s in samples]
        assert any(plan.skipped for plans in wanted for plan in plans)
        assert any(len(plan.occlusions) == 3 for plans in wanted for plan in plans)
        assert Planner(protocol, dataset).all_of(samples) == wanted

    def test_nobody(self):
        assert make_plans([], XOCC, []) == []
        assert Planner(XOCC, Strollers()).all_of([]) == []
        assert hidden_by_all([], []) == []

    def test_published_seeding_needs_the_places(self):
        with pytest.raises(ProtocolError, match="seeded by places"):
            make_plans(WALK, replace(XOCC, seeding="published"), [WALK] * len(WALK))

    joints = (*TestHidden.joints, (np.nan, 30), (10.5, 5.5), (1e12, 3), (62.75, 58), (20, 10))
    boxes = ((10, 20, 40, 60), (-5.5, 3.2, 70.1, 20), (10, 20, 10, 60), (100, 100, 120, 130), (10.5, 5.5, 62.75, 58))

    @pytest.mark.parametrize("bbox", boxes)
    def test_boxes_and_windows_by_hand(self, bbox):
        sample = sample_with(self.joints, bbox=bbox, valid=[True] * 12 + [False])
        plans = [
            *GOLDEN_PLANS.values(),
            plan_of(),
            plan_of(patch(10, 20, 25, 60), patch(20, 20, 40, 60)),
            plan_of(patch(10, 20, 25, 60), patch(0, 0, 0, 0)),
            plan_of(window(10.5, 5.5, 10.5, 5.5), patch(5, 5, 20, 20)),
            plan_of(window(0, 0, 30, 30), patch(5, 5, 20, 20), window(10.5, 5.49, 62.51, 58)),
            plan_of(patch(-30, -20, 90, 100)),
            plan_of(window(200, 200, 230, 230), patch(5, 5, 20, 20)),
        ]
        same_hidden(hidden_by_all(plans, [sample] * len(plans)), [hidden_by(plan, sample) for plan in plans])
        shape = Silhouette((12, 9), np.tri(30, 20, 3, dtype=bool))
        shapes = [shape if k % 2 == 0 else None for k in range(len(plans))]
        found = hidden_by_all(plans, [sample] * len(plans), shapes)
        same_hidden(found, [hidden_by(plan, sample, given) for plan, given in zip(plans, shapes, strict=True)])
        assert [hidden.coverage_mask is None for hidden in found[:2]] == [False, True]


def same_hidden(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        for name in ("occluded", "outside"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == bool
        for name in ("coverage", "coverage_canvas", "coverage_box", "coverage_mask"):
            assert getattr(one, name) == getattr(other, name), name
            assert type(getattr(one, name)) is type(getattr(other, name))
