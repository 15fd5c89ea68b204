"""Protocols that hide each person in several ways: rows, means over cases, worst cases, what is not possible, going on after a kill."""

import dataclasses

import numpy as np
import pytest
from fakes import FakeDataset, FakeModel, exact_bodies
from test_evaluate import assert_same_rows, assert_same_summary, rows_of, scores
from test_shapes import small

import hpsbench.evaluate as room
from hpsbench.evaluate import evaluate, merge_results, read_result
from hpsbench.generate import generate
from hpsbench.metrics.summary import Flags, summarise
from hpsbench.report import result_table
from hpsbench.types import Errors


def row_means(table):
    """The mean of each row (N, K), NaN where it has no value."""
    return np.array([row[~np.isnan(row)].mean() if (~np.isnan(row)).any() else np.nan for row in table])


@pytest.fixture(scope="module")
def bodies():
    return exact_bodies()


@pytest.fixture(scope="module")
def protocol():
    """Two joints at two levels; neck and hip of the fake people lie on the canvas, and one person's neck is made to be unknown."""
    return small("hkmr-circle@openhps-test")


class Missing(FakeDataset):
    """The fake people, one of whom has no neck."""

    UNKNOWN = "openhps/test/b/00001/0"

    def sample_at(self, i):
        sample = super().sample_at(i)
        if sample.id != self.UNKNOWN:
            return sample
        valid = sample.truth.valid.copy()
        valid[12] = False
        return dataclasses.replace(sample, truth=dataclasses.replace(sample.truth, valid=valid))


@pytest.fixture(scope="module")
def plain(bodies, protocol, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain")
    return evaluate(FakeModel(bodies), protocol, Missing(), bodies, out), out


class TestEvaluation:
    def test_a_row_for_each_case_and_none_is_lost(self, plain, protocol):
        result, out = plain
        rows = rows_of(out)
        assert result.n_expected == len(rows["ids"]) == 16 * 4
        assert set(rows["ids"][:4]) == {f"openhps/test/a/00000/0@{case}".encode() for case in protocol.cases}
        assert result.skipped == {"joint not annotated": 2}
        assert (result.n_evaluated, result.n_failed) == (62, 0)
        missing = [name for name, reason in zip(rows["ids"], rows["skipped"], strict=True) if reason]
        assert missing == [f"{Missing.UNKNOWN}@level={k},on=neck".encode() for k in (1, 2)]
        assert np.isnan(rows["values/mpjpe"]).all(1).sum() == 2

    def test_means_over_cases_then_over_people(self, plain):
        result, out = plain
        rows = rows_of(out)
        means = row_means(rows["values/mpjpe"])
        samples = np.array([name.decode().partition("@")[0] for name in rows["ids"]])
        by_hand = np.mean([np.nanmean(means[samples == name]) for name in np.unique(samples)])
        assert scores(result)["mpjpe", "all"] == pytest.approx(1000 * by_hand, rel=1e-12)
        levels = np.array(["level=1" in name.decode() for name in rows["ids"]])
        first = [np.nanmean(means[(samples == name) & levels]) for name in np.unique(samples)]
        assert scores(result)["mpjpe", "level:1"] == pytest.approx(1000 * np.mean(first), rel=1e-12)
        assert {split for _, split in scores(result)} >= {"level:1", "level:2", "on:left_hip", "on:neck"}

    def test_killed_between_two_cases_of_a_person_it_goes_on(self, bodies, protocol, plain, tmp_path, monkeypatch):
        monkeypatch.setattr(room, "_PART_ROWS", 6)

        def killed(done, total):
            if done >= 30:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(FakeModel(bodies), protocol, Missing(), bodies, tmp_path, batch_size=3, progress=killed)
        result = evaluate(FakeModel(bodies), protocol, Missing(), bodies, tmp_path, batch_size=5)
        assert_same_summary(result, plain[0])
        assert_same_rows(tmp_path, plain[1])

    def test_shards_and_batches_move_no_number(self, bodies, protocol, plain, tmp_path):
        folders = [tmp_path / str(k) for k in range(3)]
        for k, folder in enumerate(folders):
            evaluate(FakeModel(bodies), protocol, Missing(), bodies, folder, shard=(k, 3), batch_size=k + 1)
        merged = merge_results(folders, tmp_path / "all")
        assert_same_summary(merged, plain[0])
        assert merged.skipped == plain[0].skipped
        assert read_result(tmp_path / "all") == merged
        assert_same_rows(tmp_path / "all", plain[1])

    def test_from_generated_plans(self, bodies, protocol, plain, tmp_path):
        generate(protocol, Missing(), tmp_path / "set")
        result = evaluate(FakeModel(bodies), protocol, Missing(), bodies, tmp_path / "out", generated=tmp_path / "set")
        assert_same_summary(result, plain[0])

    def test_the_table_says_in_how_many_ways_and_what_was_not_possible(self, plain):
        text = result_table([plain[0]])
        assert "data: openhps/test, 16 people, each in 4 ways;" in text
        assert "not possible: 2 of 64 (2 joint not annotated)" in text
        assert "fake.test, by covered joint:" in text
        lines = [line.split() for line in text.splitlines()]
        assert ["neck", "30"] in [[line[0], line[-1]] for line in lines if line]

    def test_the_worst_case_of_each_person(self, bodies, protocol, tmp_path):
        worst = dataclasses.replace(protocol, score=dataclasses.replace(protocol.score, by=("worst",)))
        result = evaluate(FakeModel(bodies), worst, Missing(), bodies, tmp_path)
        rows = rows_of(tmp_path)
        samples = np.array([name.decode().partition("@")[0] for name in rows["ids"]])
        means = row_means(rows["values/pa_mpjpe"])
        by_hand = np.mean([np.nanmax(means[samples == name]) for name in np.unique(samples)])
        assert scores(result)["pa_mpjpe", "worst:all"] == pytest.approx(1000 * by_hand, rel=1e-12)
        assert scores(result)["pa_mpjpe", "worst:visible"] is not None


def test_summary_of_cases_by_hand():
    """Two people with three and one measured cases of two joints; the worst cases have means of 5 and 9."""
    nan = np.nan
    table = np.array([[1.0, 1], [2, 4], [nan, 5], [9, 9], [nan, nan]]) / 1000
    errors = Errors(
        ids=tuple("abcde"),
        tracks=("s/0", "s/0", "s/0", "s/1", "s/1"),
        frames=np.zeros(5, int),
        failed=np.zeros(5, bool),
        values={"mpjpe": table},
        columns={"mpjpe": ("neck", "left_hip")},
    )
    occluded = np.zeros((5, 2), bool)
    occluded[1, 1] = occluded[2, 1] = True
    flags = Flags(("neck", "left_hip"), occluded, np.zeros((5, 2), bool))
    rows = summarise(errors, flags, ["mpjpe"], "samples", labels={"sample": ["p", "p", "p", "q", "q"]}, by=("worst",))
    found = {row["split"]: (row["value"], row["count"]) for row in rows}
    # Values are pooled within a person first: (1 + 1 + 2 + 4 + 5) / 5 = 13 / 5.
    assert found["all"][0] == pytest.approx((13 / 5 + 9) / 2)
    assert found["worst:all"] == (pytest.approx((5 + 9) / 2), 2)
    # Visible: rows (1, 1), (2) and (9, 9): the first person's worst is 2.
    assert found["worst:visible"] == (pytest.approx((2 + 9) / 2), 2)
