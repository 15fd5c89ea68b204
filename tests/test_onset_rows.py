"""Rows by time since onset and of recovery: a worked example, and what evaluations of temporal protocols say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeDataset, FakeModel, exact_bodies
from test_evaluate import assert_same_rows, assert_same_summary, rows_of, scores

from hpsbench.datasets.base import open_dataset
from hpsbench.evaluate import evaluate, merge_results
from hpsbench.metrics.onset import Onsets, error_since_onset, onset_of
from hpsbench.metrics.summary import summarise
from hpsbench.occlude import Planner
from hpsbench.protocol import load_protocol
from hpsbench.report import result_table
from hpsbench.report.leaderboard import leaderboard
from hpsbench.types import Errors, OcclusionPlan

NAN = float("nan")
MOTIONS = ("static", "moving", "keyframed", "flickering")


def rows_of_summary(table, since, durations, tracks, frames, *, metrics=("mpjpe",), **limits):
    """The rows of a table (N, K) in mm, by (metric, split)."""
    values = np.array(table, dtype=float) / 1000
    errors = Errors(
        ids=tuple(f"{track}/{frame}" for track, frame in zip(tracks, frames, strict=True)),
        tracks=tuple(tracks),
        frames=np.array(frames),
        failed=np.zeros(len(tracks), bool),
        values=dict.fromkeys(metrics, values),
        columns=dict.fromkeys(metrics, tuple("abc"[: values.shape[1]])),
    )
    arrays = [np.array(column, dtype=float) for column in (frames, since, durations)]
    rows = summarise(errors, None, metrics, "pooled", by=("onset",), onsets=Onsets(list(tracks), *arrays, **limits))
    return {(row["metric"], row["split"]): row for row in rows}


class TestByHand:
    """Track a: occlusions [3, 5) and [9, 11) of 14 frames; track b: [2, 9), of which 4 frames are there."""

    FRAMES = (*range(14), *range(4))
    TRACKS = ("s/a",) * 14 + ("s/b",) * 4
    SINCE = (NAN, NAN, NAN, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, NAN, NAN, 0, 1)
    LENGTH = (NAN, NAN, NAN, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, NAN, NAN, 7, 7)
    ERRORS = (10, 12, 14, 50, 60, 40, 15, 13, 11, 90, 80, 30, 20, 25, 4, 6, 8, 9)

    def rows(self, table=None, **limits):
        table = np.array(self.ERRORS, dtype=float)[:, None] if table is None else table
        limits = {"before": 2, "after": 3, "tolerance": 0.004} | limits
        return rows_of_summary(table, self.SINCE, self.LENGTH, self.TRACKS, self.FRAMES, **limits)

    def test_the_mean_at_each_time(self):
        found = self.rows()
        expected = {
            -2: (12 + 13 + 4) / 3,
            -1: (14 + 11 + 6) / 3,
            0: (50 + 90 + 8) / 3,
            1: (60 + 80 + 9) / 3,
            2: (40 + 30) / 2,
            3: (15 + 20) / 2,
        }
        assert [split for _, split in found if split.startswith("onset")] == [f"onset:{time}" for time in expected]
        for time, mean in expected.items():
            row = found["mpjpe", f"onset:{time}"]
            assert (row["value"], row["unit"]) == (pytest.approx(mean), "mm")
            assert (row["count"], row["values"]) == ((3, 3) if time < 2 else (2, 2))
        # Track b has no frame after time 1: one track tells nothing of another.
        assert found["mpjpe", "onset:1"]["low"] is not None
        assert found["mpjpe", "onset:2"]["low"] is None
        assert found["mpjpe", "all"]["value"] == pytest.approx(sum(self.ERRORS) / 18)

    def test_values_are_pooled_over_joints_and_frames(self):
        """Two joints, the second measured in frame 9 alone: at the onsets (50 + 90 + 30 + 8) / 4."""
        table = np.column_stack([self.ERRORS, np.full(18, NAN)])
        table[9, 1] = 30
        row = self.rows(table)["mpjpe", "onset:0"]
        assert row["value"] == pytest.approx((50 + 90 + 30 + 8) / 4)
        assert (row["count"], row["values"]) == (3, 4)

    def test_recovery(self):
        """Baselines (12 + 14) / 2 = 13, (13 + 11) / 2 = 12 and 5; back within 4: the first one frame after its end, the others not."""
        found = self.rows()
        row = found["mpjpe", "recovery:frames"]
        assert (row["value"], row["unit"], row["count"]) == (1, "frames", 1)
        assert (row["censored"], row["no_baseline"]) == (2, 0)
        assert row["low"] is None
        late = {split: (row["value"], row["unit"], row["count"]) for (_, split), row in found.items() if split.startswith("unrecovered")}
        # Of the two that were followed for longer; the third ends after its track.
        assert late == {"unrecovered:0": (100, "%", 2), "unrecovered:1": (50, "%", 2), "unrecovered:2": (50, "%", 2)}

    def test_a_recovery_is_by_the_mean_of_a_frame(self):
        """With a second joint 20 above the first everywhere but in frame 6, where it is 1: (15 + 1) / 2 is back at a tolerance of 1 mm."""
        table = np.column_stack([self.ERRORS, np.add(self.ERRORS, 20.0)])
        table[6, 1] = 1
        assert self.rows(table, tolerance=0.001)["mpjpe", "recovery:frames"]["value"] == 1
        assert self.rows(tolerance=0.001)["mpjpe", "recovery:frames"]["value"] == 2

    def test_no_baseline_and_nobody(self):
        table = np.array(self.ERRORS, dtype=float)[:, None]
        table[:3] = NAN
        row = self.rows(table)["mpjpe", "recovery:frames"]
        assert (row["value"], row["count"], row["censored"], row["no_baseline"]) == (None, 0, 2, 1)
        never = rows_of_summary(np.ones((3, 1)), [NAN] * 3, [NAN] * 3, "aaa", range(3), before=1, after=1, tolerance=0.01)
        assert {row["count"] for (_, split), row in never.items() if split != "all"} == {0}
        assert {row["value"] for (_, split), row in never.items() if split != "all"} == {None}

    def test_hits_have_no_recovery(self):
        """Nor have angles and accelerations: a tolerance in mm says nothing of them."""
        found = rows_of_summary(
            np.ones((18, 1)), self.SINCE, self.LENGTH, self.TRACKS, self.FRAMES, metrics=("pck", "accel"), before=1, after=1, tolerance=0.01
        )
        assert ("pck", "onset:0") in found
        assert not [split for _, split in found if "recover" in split]

    def test_two_cases_of_a_track_are_two_courses_and_one_track(self):
        values = [10, 10, 90, 10, 10, 70]
        errors = Errors(
            ids=tuple("abcdef"),
            tracks=("t",) * 6,
            frames=np.arange(6) % 3,
            failed=np.zeros(6, bool),
            values={"mpjpe": np.array(values, dtype=float)[:, None] / 1000},
            columns={"mpjpe": ("a",)},
        )
        onsets = Onsets(["t@1"] * 3 + ["t@2"] * 3, errors.frames, np.array([NAN, NAN, 0] * 2), np.array([NAN, NAN, 1] * 2), 2, 0, 0.01)
        rows = {row["split"]: row for row in summarise(errors, None, ["mpjpe"], "pooled", by=("onset",), onsets=onsets)}
        assert (rows["onset:0"]["value"], rows["onset:0"]["count"], rows["onset:0"]["low"]) == (80, 2, None)
        assert rows["recovery:frames"]["censored"] == 2


@pytest.fixture(scope="module")
def protocol():
    protocol = load_protocol("openhps-temporal-static")
    (rule,) = protocol.occluders
    return replace(protocol, occluders=(replace(rule, params=replace(rule.params, gap=(1, 1), duration=(1, 1))),))


@pytest.fixture(scope="module")
def plain(protocol, tmp_path_factory):
    """(result, folder) of the fake model."""
    out, bodies = tmp_path_factory.mktemp("plain"), exact_bodies()
    return evaluate(FakeModel(bodies), protocol, FakeDataset(), bodies, out, batch_size=5), out


class TestEvaluation:
    """The fake people, whose tracks have 3 to 6 frames: an occlusion in each second one."""

    def test_rows_follow_from_the_table(self, plain, protocol):
        result, out = plain
        rows, dataset = rows_of(out), FakeDataset()
        planner = Planner(protocol, dataset)
        told = {sample.id.encode(): onset_of(planner(sample)) for sample in dataset}
        np.testing.assert_array_equal(np.column_stack([rows["since"], rows["durations"]]), [told[name] for name in rows["ids"]])
        assert set(rows["since"][~np.isnan(rows["since"])]) == {0, 1}
        course = error_since_onset(
            rows["values/mpjpe"].mean(1), rows["tracks"], rows["frames"], rows["since"], rows["durations"], before=3, after=12
        )
        for time, mean, count in zip(course.times, course.means, course.counts, strict=True):
            value = scores(result)["mpjpe", f"onset:{time}"]
            assert value == (pytest.approx(1000 * mean, rel=1e-9) if count else None)
        # Frames 1, 3 and 5 of the tracks that have them.
        assert dict(zip(course.times.tolist(), course.counts.tolist(), strict=True))[0] == 4 + 1 + 1

    def test_all_metrics_and_no_other_row_moves(self, plain, protocol, tmp_path):
        result, _ = plain
        without = replace(protocol, score=replace(protocol.score, by=()))
        bodies = exact_bodies()
        other = evaluate(FakeModel(bodies), without, FakeDataset(), bodies, tmp_path, batch_size=5)
        mine = [row for row in result.scores if ":" not in row["split"]]
        assert mine == list(other.scores)
        timed = {row["metric"] for row in result.scores if row["split"] == "onset:0"}
        assert timed == set(protocol.score.metrics)
        assert "since" not in rows_of(tmp_path)
        assert without.sha256 != protocol.sha256

    def test_shards_merge_to_the_same(self, plain, protocol, tmp_path):
        bodies = exact_bodies()
        for k in range(3):
            evaluate(FakeModel(bodies), protocol, FakeDataset(), bodies, tmp_path / str(k), shard=(k, 3))
        merged = merge_results([tmp_path / str(k) for k in range(3)], tmp_path / "all")
        assert_same_summary(merged, plain[0])
        assert_same_rows(tmp_path / "all", plain[1])
        assert json.loads(merged.to_json())["scores"]

    def test_tables_keep_them_apart(self, plain):
        text = result_table([plain[0]])
        whole, _, rest = text.partition("fake.test, by ")
        assert "onset" not in whole
        assert "recover" not in whole
        kinds = [line.partition(":")[0] for line in f"fake.test, by {rest}".splitlines() if line.startswith("fake.test, by")]
        assert len(kinds) == 3
        frame = leaderboard([plain[0]])
        units = frame[frame["metric"] == "mpjpe"].groupby("unit")["split"].apply(set)
        assert units["frames"] == {"recovery:frames"}
        assert {split.partition(":")[0] for split in units["%"]} == {"unrecovered"}


class TestProtocols:
    @pytest.mark.parametrize("motion", MOTIONS)
    def test_short_ones_differ_in_their_times(self, motion):
        whole, short = load_protocol(f"temporal-{motion}"), load_protocol(f"openhps-temporal-{motion}")
        times = {"gap", "duration", "speed", "interval", "flicker"}
        one, two = (vars(protocol.occluders[0].params) for protocol in (whole, short))
        assert {key for key in one if one[key] != two[key]} <= times
        assert whole.score.by == short.score.by == ("onset",)
        assert short.data == load_protocol("openhps-test").data
        assert short.score == replace(whole.score, onset_before=3, onset_after=12)
        assert short.score.onset_before <= short.occluders[0].params.gap[0]
        assert whole.score.onset_before <= whole.occluders[0].params.gap[0]

    def test_every_embedded_track_is_hidden_and_most_are_seen_again(self):
        rule = load_protocol("openhps-test").data
        dataset = open_dataset(
            rule.dataset, None, split=rule.split, frames=rule.frames, bbox=rule.bbox, bbox_scale=rule.bbox_scale, bodies=None
        )
        planner = Planner(load_protocol("openhps-temporal-static"), dataset)
        hidden, after = set(), set()
        for name in dataset.track_lengths:
            found = [onset_of(planner(sample)) for sample in dataset.track(name)]
            hidden.update({name} if any(since < duration for since, duration in found) else ())
            after.update({name} if any(since >= duration for since, duration in found) else ())
        assert hidden == set(dataset.track_lengths)
        assert len(after) >= 0.8 * len(hidden)


def test_a_case_that_is_not_possible_has_no_onset():
    plan = OcclusionPlan("a/b", "p.v1", 0, (), skipped="why")
    assert np.isnan(onset_of(plan)).all()
    with pytest.raises(ValueError, match="names no onset"):
        onset_of(replace(plan, skipped=""))
