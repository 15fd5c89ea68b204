import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpsbench.errors import DataError
from hpsbench.occluders.base import BySample, Published, Target, occluder, whole_box
from hpsbench.occluders.base_stencil import overlap
from hpsbench.occluders.noise_patch import blended, noise_patch, pixels_of
from hpsbench.occluders.truncation_window import AIM, Window, aim_joints, base_window, truncation_window
from hpsbench.protocol import load_protocol
from hpsbench.skeleton import joint_names
from hpsbench.types import Sample, Truth, View

GOLDEN = json.loads((Path(__file__).parent / "data/occlusion/xocc_golden.json").read_text())
TOLERANCE_PX = GOLDEN["meta"]["tolerance_px"]
WINDOW, PATCH = (rule.params for rule in load_protocol("3dpw-xocc").occluders)


def cases(kind):
    return [pytest.param(case, id=f"{kind}-{case['img_idx']}") for case in GOLDEN["cases"] if case["kind"] == kind]


def xyxy(cxcywh):
    x, y, w, h = cxcywh
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE_PX)


def published_patch(index, box, size):
    """The patch of a frame by the published rule: key frames and seeds by place in the database."""
    last = index - index % PATCH.interval
    patches = [noise_patch(random.Random(seed), box, size, PATCH) for seed in (last, last + PATCH.interval)]
    return blended(*patches, (index - last) / PATCH.interval)


class TestPublishedGoldens:
    @pytest.mark.parametrize("case", cases("single"))
    def test_window_and_patch(self, case):
        out, size = case["out"], (case["img_w"], case["img_h"])
        base = base_window(xyxy(case["bbox_cxcywh"]), case["scale_mult"])
        close(base.centre, out["adjusted_center"])
        close([base.side, base.side], out["adjusted_size"])
        close(base.xyxy, out["adjusted_xyxy"])
        close(noise_patch(random.Random(case["img_idx"]), base.xyxy, size, PATCH), out["synth_size_xywh"])
        close(published_patch(case["img_idx"], base.xyxy, size), out["synth_sizes_xywh"])
        joints = np.column_stack([case["kp14_xy"], case["kp14_vis"]]).astype(np.float32)
        window = truncation_window(random.Random(case["clip_seed"]), joints, base, WINDOW)
        close(window.centre, out["clip_center"])
        close([window.side, window.side], out["clip_size"])
        assert (window.group is not None) == out["clip_applied"]

    @pytest.mark.parametrize("case", cases("synth_only"))
    def test_patch_on_awkward_boxes(self, case):
        size = (case["img_w"], case["img_h"])
        close(noise_patch(random.Random(case["img_idx"]), case["box_xyxy"], size, PATCH), case["out"]["synth_size_xywh"])
        close(published_patch(case["img_idx"], case["box_xyxy"], size), case["out"]["synth_sizes_xywh"])

    @pytest.mark.parametrize("case", cases("sequence"))
    def test_window_and_patch_along_a_track(self, case):
        db = GOLDEN["dbs"][case["db"]]
        track = golden_track(db)
        sample = track[case["img_idx"] - db["first_idx"]]
        assert sample.frame == case["frame_idx"]
        target = Target(sample, track, None, 0, Published(db["first_idx"]))
        window = np.array(occluder("truncation-window").plan(target, WINDOW).params["window_xyxy"])
        close((window[:2] + window[2:]) / 2, case["out"]["center"])
        close(window[2:] - window[:2], case["out"]["size"])
        wanted = case["out"]["synth_sizes_on_clip_xywh"]
        close(published_patch(case["img_idx"], window, sample.image_size), wanted)
        patch = occluder("noise-patch").plan(replace(target, window_xyxy=window), PATCH)
        assert tuple(patch.params["box_xyxy"]) == pixels_of(tuple(wanted), sample.image_size)


def golden_track(db):
    """The one track of a golden database as samples; its key points come as eval14 with visibility for confidence."""
    places = range(db["first_idx"], db["last_idx"] + 1)
    return [
        make_sample(db["first_frame_id"] + i, (db["img_w"], db["img_h"]), xyxy(db["bbox_cxcywh"][place]), np.array(db["kp"][place]))
        for i, place in enumerate(places)
    ]


def make_sample(frame, size=(1920, 1080), bbox=(600, 100, 1000, 900), keypoints=None, skeleton="eval14", person=0):
    view = View(lambda: None, f"seq/{frame}", np.array(bbox, dtype=float), np.eye(3))
    joints2d = np.zeros((24, 2))
    truth = Truth(np.zeros((24, 3)), "smpl24", joints2d, np.ones(24, bool), keypoints2d=keypoints, keypoints_skeleton=skeleton)
    return Sample(f"fake/test/seq/{frame:05d}/{person}", view, truth, "seq", f"fake/test/seq/{person}", frame, size)


def standing(legs=1.0, arms=1.0):
    """(14, 3) key points of someone standing in the box 600..1000 x 100..900, with confidences of legs and arms."""
    xy = [(700, 880), (700, 700), (740, 500), (860, 500), (900, 700), (900, 880)]
    xy += [(620, 520), (640, 400), (700, 250), (900, 250), (960, 400), (980, 520), (800, 220), (800, 120)]
    confidence = [legs] * 6 + [arms] * 2 + [1.0] * 2 + [arms] * 2 + [1.0] * 2
    return np.column_stack([xy, confidence]).astype(np.float32)


class Counting:
    """Draws that give one number for ever, and count."""

    def __init__(self, value):
        self.value, self.count = value, 0

    def random(self):
        self.count += 1
        return self.value


class TestAim:
    def test_openpose_is_taken_by_name_and_lacks_the_top_of_the_head(self):
        keypoints = np.column_stack([np.arange(18), np.arange(18) + 100, np.ones(18)])
        joints = aim_joints(keypoints, "openpose18", replace(WINDOW, unseen=()))
        # OpenPose order: right ankle 10, right knee 9, right hip 8, left 11 12 13, right wrist 4 3 2, left 5 6 7, neck 1.
        np.testing.assert_array_equal(joints[:13, 0], [10, 9, 8, 11, 12, 13, 4, 3, 2, 5, 6, 7, 1])
        np.testing.assert_array_equal(joints[:, 2], [1] * 13 + [0])

    def test_the_named_joints_never_aim_and_confidence_is_a_threshold(self):
        keypoints = standing(legs=0.3, arms=0.31)
        visible = aim_joints(keypoints, AIM, WINDOW)[:, 2]
        np.testing.assert_array_equal(visible, [0] * 6 + [1] * 6 + [0, 0])

    def test_spins_49_hold_the_14_from_25_on(self):
        keypoints = np.zeros((49, 3))
        keypoints[25:39] = standing()
        np.testing.assert_array_equal(aim_joints(keypoints, "spin49", WINDOW), aim_joints(standing(), AIM, WINDOW))


class TestTruncationWindow:
    base = base_window(np.array([600, 100, 1000, 900]), 1.25)

    def test_base_window_is_the_longer_side_scaled(self):
        assert self.base == Window((800.0, 500.0), 1000.0)

    def test_without_legs_the_window_is_about_arms_and_head(self):
        draws = Counting(0.25)  # below 0.667 / 2: the first group, legs; shifts 0.25 * 200 - 100 = -50
        window = truncation_window(draws, standing(), self.base, WINDOW)
        # Joints that stay: x 620..980, y 120..520, so the middle is (800, 320) and the longer side 400.
        assert window.group == 0
        assert draws.count == 4
        np.testing.assert_allclose([*window.centre, window.side], [750, 270, 400 * (0.95 + 0.25 * 0.4)])

    def test_an_end_of_the_intervals_belongs_to_the_next(self):
        assert truncation_window(Counting(0.667 / 2), standing(), self.base, WINDOW).group == 1
        assert truncation_window(Counting(np.nextafter(0.667, 0)), standing(), self.base, WINDOW).group == 1
        untouched = Counting(0.667)
        assert truncation_window(untouched, standing(), self.base, WINDOW) == self.base
        assert untouched.count == 1

    def test_half_of_a_group_is_not_enough_and_none_draws_nothing(self):
        joints = standing()
        joints[[0, 1, 2, 6, 7, 10], 2] = 0
        draws = Counting(0.1)
        assert truncation_window(draws, joints, self.base, WINDOW) == self.base
        assert draws.count == 0
        joints[[6, 7], 2] = 1
        assert truncation_window(draws, joints, self.base, WINDOW).group == 1

    def test_few_px_are_not_cut_and_px_scale_with_the_image(self):
        joints = standing()
        joints[6:, :2] = joints[6:, :2] / 16 + 500  # what stays without legs is 22.5 x 25 px
        assert truncation_window(Counting(0.1), joints, self.base, WINDOW) == self.base
        half = truncation_window(Counting(0.25), joints, self.base, WINDOW, zoom=0.5)
        assert half.group == 0
        np.testing.assert_allclose(half.centre, [550 - 25, 520 - 25], atol=0.01)

    def test_nobody_left_is_not_cut(self):
        joints = standing()
        joints[6:, 2] = 0
        assert truncation_window(Counting(0.1), joints, self.base, WINDOW) == self.base

    def test_two_thirds_are_cut_evenly(self):
        rng = random.Random(0)
        groups = Counter(truncation_window(rng, standing(), self.base, WINDOW).group for _ in range(3000))
        # Binomial, 3000 draws: standard deviation below 0.9 %.
        assert groups[0] / 3000 == pytest.approx(0.3335, abs=0.03)
        assert groups[1] / 3000 == pytest.approx(0.3335, abs=0.03)

    def test_a_sample_without_keypoints_is_refused(self):
        sample = make_sample(0)
        with pytest.raises(DataError, match="fake/test/seq/00000/0' has no 2D key points"):
            occluder("truncation-window").plan(Target(sample, [sample], None, 0, BySample(0)), WINDOW)


class TestNoisePatch:
    def test_lies_in_the_box_with_the_ratio_and_area_drawn(self):
        # area 0.5 * 0.3 * 200 * 100 = 3000, ratio 0.5 * 1.5 + 0.5 = 1.25: height 61.2, width 48.9.
        left, top, width, height = noise_patch(Counting(0.5), (100, 100, 300, 200), (640, 480), PATCH)
        assert (width, height) == (48, 61)
        assert (left, top) == (int(0.5 * (200 - 48.99 - 1) + 100), int(0.5 * (100 - 61.24 - 1) + 100))

    def test_gives_up_after_its_tries(self):
        draws = Counting(0.5)
        assert noise_patch(draws, (-900, 0, -800, 100), (640, 480), PATCH) == (0, 0, 0, 0)
        assert draws.count == 4 * 200

    def test_area_is_at_most_three_tenths_of_the_box(self):
        rng = random.Random(1)
        patches = [noise_patch(rng, (0, 0, 100, 100), (640, 480), PATCH) for _ in range(500)]
        areas = [w * h for _, _, w, h in patches]
        assert max(areas) <= 3000
        assert np.mean(areas) == pytest.approx(1450, abs=150)

    def test_pixels_are_cut_to_whole_ones_and_to_the_image(self):
        assert pixels_of((10.9, 20.9, 5.2, 5.0), (100, 100)) == (10, 20, 16, 25)
        assert pixels_of((90, 95, 20, 20), (100, 100)) == (90, 95, 100, 100)
        assert pixels_of((0, 0, 0, 0), (100, 100)) == (0, 0, 0, 0)

    def test_the_base_box_can_be_asked_for(self):
        sample = make_sample(0, keypoints=standing())
        window = np.array([700.0, 100, 900, 300])
        target = Target(sample, [sample], window, 0, BySample(0))
        inside = occluder("noise-patch").plan(target, PATCH).params["box_xyxy"]
        assert overlap(tuple(inside), whole_box(window)) == tuple(inside)
        base = occluder("noise-patch").plan(target, replace(PATCH, box="base"))
        assert base == occluder("noise-patch").plan(replace(target, window_xyxy=None), PATCH)
        assert base.params["box_xyxy"] != inside


class TestKeyFrames:
    def frames_of(self, frame, kept, seeding=None, interval=8):
        track = [make_sample(number) for number in kept]
        keys = (seeding or BySample(0)).frame_keys(track[kept.index(frame)], track, interval)
        return keys.last.sample.frame, keys.next.sample.frame, keys.weight

    def test_multiples_of_the_interval(self):
        kept = list(range(30))
        assert self.frames_of(8, kept) == (8, 8, 0)
        assert self.frames_of(11, kept) == (8, 16, 3 / 8)
        assert self.frames_of(27, kept) == (24, 29, 3 / 8)

    def test_clamped_below_the_weight_starts_at_the_first_frame(self):
        assert self.frames_of(5, list(range(3, 30))) == (3, 8, 2 / 8)

    def test_a_dropped_key_frame_is_replaced_by_the_nearest(self):
        assert self.frames_of(11, [6, 7, 11, 15, 17, 20]) == (7, 15, 3 / 8)
        assert self.frames_of(11, [6, 10, 11, 18, 20]) == (6, 18, 3 / 8)
        assert self.frames_of(5, [5]) == (5, 5, 0)

    def test_with_every_frame_kept_both_seedings_take_the_same_frames(self):
        for first in (0, 3, 8):
            kept = list(range(first, first + 21))
            for frame in kept:
                assert self.frames_of(frame, kept) == self.frames_of(frame, kept, Published(1000))

    def test_published_counts_places(self):
        kept = [0, 1, 2, 3, 9, 10]
        assert self.frames_of(10, kept, Published(50)) == (3, 10, 2 / 8)
        track = [make_sample(number) for number in kept]
        keys = Published(50).index_keys(track[3], track, 8)
        assert (keys.last.seed, keys.next.seed, keys.weight) == (48, 56, 5 / 8)

    def test_our_seed_is_the_sample_and_the_kind(self):
        sample = make_sample(0)
        key = BySample(3).frame_keys(sample, [sample], 8).last
        assert key.draws("a").random() == key.draws("a").random()
        assert key.draws("a").random() != key.draws("b").random()
        assert key.draws("a").random() != BySample(4).frame_keys(sample, [sample], 8).last.draws("a").random()


def test_joint_names_of_the_aim_are_the_published_order():
    assert joint_names(AIM)[:6] == ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
