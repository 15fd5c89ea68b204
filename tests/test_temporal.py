"""Occluders that come and go: their schedule by hand, each motion frame by frame, and what models' errors tell against it."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from test_generate import People
from test_scattered import person

from hpsbench.errors import ProtocolError
from hpsbench.generate import generate, verify
from hpsbench.generated import load_generated
from hpsbench.image import encode_png, read_image
from hpsbench.metrics.onset import error_since_onset, recovery, since_onset_of
from hpsbench.occlude import apply_plan, hidden_by, make_plan
from hpsbench.occluders.temporal import Event, TemporalParams, events_of, patch_at
from hpsbench.protocol import load_protocol
from hpsbench.seeds import rng_of
from hpsbench.types import Errors, OcclusionPlan

DATA = Path(__file__).parent / "data/occlusion"
REWRITE = os.environ.get("HPSBENCH_REWRITE_GOLDENS") == "1"
MOTIONS = ("static", "moving", "keyframed", "flickering")
WORDS = (0, "fake/test/seq/0", "temporal")
NAN = float("nan")


def changed(motion, **numbers):
    protocol = load_protocol(f"temporal-{motion}")
    (rule,) = protocol.occluders
    return replace(protocol, occluders=(replace(rule, params=replace(rule.params, **numbers)),))


def params_of(motion, **numbers):
    return changed(motion, **numbers).occluders[0].params


def track_of(frames, bbox=(500, 100, 700, 500), size=(1280, 720)):
    """One person's frames; all boxes are alike."""
    return [person(frame, bbox, size) for frame in frames]


def plans_of(protocol, track):
    return [make_plan(sample, protocol, track) for sample in track]


def numbers_of(plans):
    return [plan.occlusions[0].params for plan in plans]


class TestSchedule:
    def test_gaps_and_durations_follow_one_another(self):
        """Independently: of each occlusion the gap, width, height, x, y and the duration are drawn, in this order."""
        params, frame, expected = params_of("static"), 100, []
        while True:
            rng = rng_of(*WORDS, "event", len(expected))
            onset = frame + 6 + int(25 * rng.random())
            width, height = 0.4 + 0.4 * rng.random(), 0.3 + 0.25 * rng.random()
            patch = (rng.random(), rng.random(), width, height)
            duration = 4 + int(37 * rng.random())
            if onset > 1100:
                break
            expected.append((onset, duration, patch))
            frame = onset + duration
        found = events_of(WORDS, 100, 1100, params)
        assert len(found) > 10
        assert [(event.onset, event.duration) for event in found] == [(onset, duration) for onset, duration, _ in expected]
        np.testing.assert_allclose([event.patch for event in found], [patch for *_, patch in expected], atol=1e-6)

    def test_all_numbers_come(self):
        found = events_of(WORDS, 0, 20000, params_of("static", gap=(2, 4), duration=(3, 5)))
        gaps = {after.onset - before.onset - before.duration for before, after in pairwise(found)}
        assert gaps == {2, 3, 4}
        assert {event.duration for event in found} == {3, 4, 5}

    @pytest.mark.parametrize("motion", MOTIONS)
    def test_what_a_plan_says(self, motion):
        track = track_of(range(20, 200))
        events = events_of(WORDS, 20, 199, params_of(motion))
        for sample, params in zip(track, numbers_of(plans_of(changed(motion), track)), strict=True):
            last = [event for event in events if event.onset <= sample.frame]
            if not last:
                assert (params["event"], params["onset"], params["duration"], params["box_xyxy"]) == (None, None, None, None)
                continue
            assert params["event"] == last[-1].number
            assert params["onset"] == sample.frame - last[-1].onset
            assert params["duration"] == last[-1].duration
            assert (params["box_xyxy"] is None) or params["onset"] < params["duration"]

    @pytest.mark.parametrize("motion", MOTIONS)
    def test_dropped_frames_move_nothing(self, motion):
        """By frame numbers: what stays of a track is hidden as in the whole of it."""
        whole = plans_of(changed(motion), track_of(range(120)))
        some = [frame for frame in range(120) if frame == 0 or (frame % 7 and frame != 50)]
        assert plans_of(changed(motion), track_of(some)) == [whole[frame] for frame in some]

    def test_tracks_and_seeds_differ(self):
        params = params_of("static")
        assert len({events_of(words, 0, 300, params) for words in (WORDS, (1, *WORDS[1:]), (0, "fake/test/seq/1", "temporal"))}) == 3

    def test_a_track_shorter_than_its_first_gap_stays_clean(self):
        plans = plans_of(changed("static", gap=(50, 50)), track_of(range(50)))
        assert {params["onset"] for params in numbers_of(plans)} == {None}
        assert not any(hidden_by(plan, sample).occluded.any() for plan, sample in zip(plans, track_of(range(50)), strict=True))


class TestMotions:
    def one(self, motion, frames=200, **numbers):
        """Patches of the first occlusion, frame by frame, and the event."""
        params = params_of(motion, **numbers)
        event = events_of(WORDS, 0, frames, params)[0]
        return event, [patch_at(event, since, WORDS, params) for since in range(event.duration + 2)]

    def test_static_stays_at_one_place_of_the_box(self):
        event, patches = self.one("static")
        assert patches[: event.duration] == [event.patch] * event.duration
        assert patches[event.duration :] == [None, None]

    def test_static_follows_the_box(self):
        """A box twice as large has the rectangle at the same place and twice as large."""
        small, large = track_of(range(40), (100, 50, 200, 150)), track_of(range(40), (200, 100, 400, 300))
        for one, two in zip(numbers_of(plans_of(changed("static"), small)), numbers_of(plans_of(changed("static"), large)), strict=True):
            if one["box_xyxy"] is not None:
                np.testing.assert_allclose(np.array(two["box_xyxy"]) / 2, one["box_xyxy"], atol=1)

    @pytest.mark.parametrize("side", range(4))
    def test_moving_crosses_the_whole_box(self, side):
        """0.5 wide and 0.5 high at 0.25 a frame: 1.5 / 0.25 = 6 frames; the centre goes from -0.25 + 0.125 on in steps of 0.25."""
        params = params_of("moving", width=(0.5, 0.5), height=(0.5, 0.5), speed=(0.25, 0.25))
        found = next(event for event in events_of(WORDS, 0, 2000, params) if event.side == side)
        assert (found.duration, found.speed) == (6, 0.25)
        way = [-0.125, 0.125, 0.375, 0.625, 0.875, 1.125]
        patches = [patch_at(found, since, WORDS, params) for since in range(7)]
        along, across = (0, 1) if side in (0, 2) else (1, 0)
        assert [patch[along] for patch in patches[:6]] == pytest.approx(way if side < 2 else way[::-1])
        assert {patch[across] for patch in patches[:6]} == {found.patch[across]}
        assert patches[6] is None

    def test_moving_touches_the_box_in_every_frame(self):
        params = params_of("moving")
        for event in events_of(WORDS, 0, 5000, params):
            for since in range(event.duration):
                x, y, width, height = patch_at(event, since, WORDS, params)
                assert -width / 2 < x < 1 + width / 2
                assert -height / 2 < y < 1 + height / 2

    def test_keyframed_is_blended_between_its_keys(self):
        event, patches = self.one("keyframed", duration=(20, 20), interval=8)
        rng = rng_of(*WORDS, "event", 0, "key", 1)
        width, height = 0.4 + 0.4 * rng.random(), 0.3 + 0.25 * rng.random()
        key = np.array([rng.random(), rng.random(), width, height])
        np.testing.assert_allclose(patches[0], event.patch)
        np.testing.assert_allclose(patches[8], key, atol=1e-6)
        np.testing.assert_allclose(patches[2], 0.75 * np.array(event.patch) + 0.25 * key, atol=1e-6)
        assert np.abs(np.diff(patches[:20], axis=0)).max() < 1 / 8
        assert patches[20] is None

    def test_flickering_shows_three_of_six(self):
        event, patches = self.one("flickering", duration=(14, 14), flicker=(3, 6))
        assert [patch is not None for patch in patches] == [bool(int(on)) for on in "1110001110001100"]
        assert {patch for patch in patches if patch is not None} == {event.patch}

    def test_the_rectangle_in_px(self):
        """Centre (0.25, 0.5), 0.5 x 0.25 of a box of 200 x 400 px at (500, 100): x from 500 to 600, y from 250 to 350."""
        params = params_of("static", width=(0.5, 0.5), height=(0.25, 0.25))
        track = track_of(range(60))
        event = events_of(WORDS, 0, 59, params)[0]
        plan = make_plan(track[event.onset], changed("static", width=(0.5, 0.5), height=(0.25, 0.25)), track)
        x, y = 500 + 200 * event.patch[0], 100 + 400 * event.patch[1]
        assert plan.occlusions[0].params["box_xyxy"] == [round(x - 50), round(y - 50), round(x + 50), round(y + 50)]

    def test_is_cut_to_the_image(self):
        track = track_of(range(200), (-100, 100, 100, 500))
        boxes = [params["box_xyxy"] for params in numbers_of(plans_of(changed("moving"), track)) if params["box_xyxy"] is not None]
        assert boxes
        assert min(box[0] for box in boxes) == 0
        onset = events_of(WORDS, 0, 199, params_of("moving"))[0].onset
        plan = make_plan(track[onset], changed("moving"), track_of(range(200), (-900, 100, -700, 500)))
        assert plan.occlusions[0].params["onset"] == 0


class TestGoldens:
    def test_plans_to_the_last_digit(self):
        path, lines = DATA / "temporal.jsonl", []
        for motion in MOTIONS:
            plans = plans_of(changed(motion, fill="noise"), track_of(range(60)))
            lines += [plan.to_json() for plan in plans[::7]]
        if REWRITE:
            path.write_text("\n".join(lines) + "\n")
        assert lines == path.read_text().splitlines()

    @pytest.mark.parametrize("motion", MOTIONS)
    def test_pictures_byte_for_byte(self, motion):
        track, path = track_of(range(60), (7, 7, 57, 57), (64, 64)), DATA / f"temporal-{motion}.png"
        protocol = changed(motion, fill="noise" if motion == "static" else "mean")
        place = next(k for k, params in enumerate(numbers_of(plans_of(protocol, track))) if params["onset"] == 2)
        found = apply_plan(track[place].view, make_plan(track[place], protocol, track)).read()
        if REWRITE:
            path.write_bytes(encode_png(found))
        np.testing.assert_array_equal(found, read_image(path))


class TestGenerate:
    @pytest.mark.parametrize("motion", MOTIONS)
    def test_written_verified_and_read_back(self, motion, tmp_path):
        protocol = replace(changed(motion, gap=(1, 3)), data=load_protocol("openhps-test").data)
        dataset = People()
        manifest = generate(protocol, dataset, tmp_path / "out", images=True)
        assert manifest["counts"]["written"] == 28
        assert protocol.id in verify(tmp_path / "out")
        generated = load_generated(tmp_path / "out", dataset)
        shown = 0
        for sample in dataset:
            plan = make_plan(sample, protocol, dataset.track(sample.track))
            np.testing.assert_array_equal(generated.view_of(sample).read(), apply_plan(sample.view, plan).read())
            shown += plan.occlusions[0].params["box_xyxy"] is not None
        assert shown > 5


class TestBadNumbers:
    @pytest.mark.parametrize(
        ("motion", "change", "message"),
        [
            ("static", "gap = [0, 5]", "gap: expected .smallest, largest., above 0"),
            ("static", "duration = [9, 5]", "duration: expected .smallest, largest., above 0"),
            ("static", "width = [0.0, 0.5]", "width: expected"),
            ("static", "speed = [0.1, 0.2]", "speed: .* found, but motion 'static' takes duration alone"),
            ("moving", "duration = [5, 9]", "motion 'moving' takes speed alone"),
            ("moving", "speed = [0.0, 0.2]", "speed: expected .smallest, largest., above 0"),
            ("keyframed", "interval = 0", "interval: expected at least 1 frame"),
            ("flickering", "flicker = [6, 6]", "at least 1 shown and fewer than all"),
            ("flickering", "flicker = [0, 6]", "at least 1 shown and fewer than all"),
            ("flickering", 'motion = "keyframed"', "interval: None found, but motion 'keyframed' takes duration and interval alone"),
            ("static", "gap = [1.5, 5]", "a whole number was expected"),
            ("static", 'motion = "statik"', "Did you mean 'static'"),
        ],
    )
    def test_are_refused(self, tmp_path, motion, change, message):
        path = tmp_path / "mine.toml"
        head = f'name = "mine"\nversion = 1\nbase = "temporal-{motion}"\nwhat = "w"\nsource = "s"\n'
        path.write_text(f"{head}[occluders.temporal]\n{change}\n")
        with pytest.raises(ProtocolError, match=message):
            load_protocol(path)

    def test_an_event_needs_no_more_than_its_own_numbers(self):
        params = TemporalParams("static", (1, 1), (1.0, 1.0), (1.0, 1.0), "black", duration=(2, 2))
        assert [(event.onset, event.duration) for event in events_of(("w",), 0, 6, params)] == [(1, 2), (4, 2)]
        assert patch_at(Event(0, 1, 2, (0.5, 0.5, 1.0, 1.0)), 1, ("w",), params) == (0.5, 0.5, 1.0, 1.0)


class TestOnset:
    """One track of 14 frames with occlusions [3, 5) and [9, 11), and one of 4 frames with [2, 9)."""

    FRAMES = (*range(14), *range(4))
    TRACKS = ("a",) * 14 + ("b",) * 4
    SINCE = (NAN, NAN, NAN, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, NAN, NAN, 0, 1)
    LENGTH = (NAN, NAN, NAN, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, NAN, NAN, 7, 7)
    ERRORS = (10.0, 12, 14, 50, 60, 40, 15, 13, 11, 90, 80, 30, 20, 25, 4, 6, 8, 9)

    def table(self, **columns):
        names = {"errors": self.ERRORS, "frames": self.FRAMES, "since": self.SINCE, "durations": self.LENGTH} | columns
        arrays = {name: np.array(column, dtype=float) for name, column in names.items()}
        return {"tracks": self.TRACKS} | arrays

    def test_the_mean_at_each_time(self):
        found = error_since_onset(**self.table(), before=2, after=3)
        assert found.times.tolist() == [-2, -1, 0, 1, 2, 3]
        # Before: 12, 14 of the first, 13, 11 of the second (frames 7, 8), 4, 6 of the other track. It has no frame after time 1.
        expected = [(12 + 13 + 4) / 3, (14 + 11 + 6) / 3, (50 + 90 + 8) / 3, (60 + 80 + 9) / 3, (40 + 30) / 2, (15 + 20) / 2]
        np.testing.assert_allclose(found.means, expected)
        assert found.counts.tolist() == [3, 3, 3, 3, 2, 2]

    def test_before_an_onset_no_earlier_occlusion_counts(self):
        """Nine frames before the second onset lie the first occlusion and more: frames 5 to 8 alone count, at -4 to -1."""
        found = error_since_onset(**self.table(), before=9, after=0)
        assert found.counts.tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 3, 3]
        assert np.isnan(found.means[:5]).all()
        assert found.means[5] == 40

    def test_recovery(self):
        """Baselines of the last 3: 12, (15 + 13 + 11) / 3 = 13 and 5. Back within 4: at frame 6 (15 <= 16, the end is 5), and not by 13."""
        found = recovery(**self.table(), before=3, tolerance=4.0)
        assert found.tracks == ("a", "a", "b")
        assert found.onsets.tolist() == [3, 9, 2]
        np.testing.assert_array_equal(found.times, [1, NAN, NAN])
        assert found.censored.tolist() == [False, True, True]
        # Frames 5 to 8; 11 to 13; none, since the third ends after its track.
        assert found.followed.tolist() == [4, 3, 0]
        assert found.counts == {"recovered": 1, "censored": 2, "no_baseline": 0}
        assert found.mean == 1

    def test_shares_are_of_those_followed_so_long(self):
        found = recovery(**self.table(), before=3, tolerance=7.0)
        np.testing.assert_array_equal(found.times, [1, 1, NAN])
        assert [found.share_by(time) for time in (0, 1, 2, 3)] == [0, 1, 1, 1]
        strict = recovery(**self.table(), before=3, tolerance=4.0)
        assert [strict.share_by(time) for time in (0, 1, 2, 3)] == [0, 1 / 2, 1 / 2, 1]
        assert np.isnan(strict.share_by(4))

    def test_at_once(self):
        found = recovery(**self.table(), before=3, tolerance=100.0)
        np.testing.assert_array_equal(found.times, [0, 0, NAN])

    def test_frames_without_an_error_count_nowhere(self):
        errors = [*self.ERRORS]
        errors[0] = errors[1] = errors[2] = errors[6] = NAN
        found = recovery(**self.table(errors=errors), before=3, tolerance=4.0)
        assert found.no_baseline.tolist() == [True, False, False]
        assert not found.censored[0]
        # The second one's baseline is (13 + 11) / 2 = 12 now.
        assert found.counts == {"recovered": 0, "censored": 2, "no_baseline": 1}
        assert np.isnan(found.mean)
        course = error_since_onset(**self.table(errors=errors), before=1, after=3)
        assert course.counts.tolist() == [2, 3, 3, 2, 1]

    def test_rows_in_any_order(self):
        order = np.random.default_rng(3).permutation(len(self.FRAMES))
        table = self.table()
        shuffled = {name: [column[k] for k in order] if name == "tracks" else column[order] for name, column in table.items()}
        first, second = (recovery(**rows, before=3, tolerance=4.0) for rows in (table, shuffled))
        np.testing.assert_array_equal(first.times, second.times)
        first, second = (error_since_onset(**rows, before=3, after=5) for rows in (table, shuffled))
        np.testing.assert_allclose(first.means, second.means)

    def test_nobody_hidden(self):
        table = self.table(since=[NAN] * 18, durations=[NAN] * 18)
        assert recovery(**table, before=3, tolerance=1.0).counts == {"recovered": 0, "censored": 0, "no_baseline": 0}
        course = error_since_onset(**table, before=1, after=1)
        assert course.counts.tolist() == [0, 0, 0]
        assert np.isnan(course.means).all()

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"errors": [1.0]}, "errors: expected one number for each of 18 rows"),
            ({"frames": [0] * 18}, "two rows for one frame"),
            ({"durations": [NAN] * 18}, "a time since onset and no duration"),
            ({"durations": [*LENGTH[:4], 3, *LENGTH[5:]]}, "rows of one onset with different durations"),
        ],
    )
    def test_rows_that_do_not_fit(self, columns, message):
        with pytest.raises(ValueError, match=message):
            recovery(**self.table(**columns), before=3, tolerance=1.0)

    def test_out_of_plans(self):
        """A made-up model errs by 1, by 5 while something hides the person, and by 3 in the two frames after."""
        track = track_of(range(100))
        plans = plans_of(changed("static"), track)
        since, durations = since_onset_of(plans)
        errors = np.where(since < durations, 5.0, np.where(since < durations + 2, 3.0, 1.0))
        ids = tuple(sample.id for sample in track)
        table = Errors(ids, ("t",) * 100, np.arange(100), np.zeros(100, bool), {"mpjpe": np.stack([errors - 1, errors + 1], axis=1)})
        rows = {"errors": table.values["mpjpe"].mean(1), "tracks": table.tracks, "frames": table.frames}
        rows |= {"since": since, "durations": durations}
        found = recovery(**rows, before=3, tolerance=1.0)
        assert found.counts["recovered"] >= 2
        assert set(found.times[~np.isnan(found.times)]) == {2}
        course = error_since_onset(**rows, before=3, after=3)
        assert course.means.tolist() == [1, 1, 1, 5, 5, 5, 5]

    def test_plans_without_an_onset(self):
        with pytest.raises(ValueError, match="names no onset"):
            since_onset_of([OcclusionPlan("a/b", "p.v1", 0, ())])
