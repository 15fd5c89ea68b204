"""Where the time goes: stopwatches by hand, and what ``--profile`` prints."""

import re

import pytest
from fakes import FakeDataset, FakeModel, exact_bodies
from test_evaluate import protocol_of

from hpsbench.evaluate import evaluate
from hpsbench.evaluate.stopwatch import FIRST, STAGES, WAIT, Profile, Stopwatch, timed, untimed
from hpsbench.predict import predict


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr("hpsbench.evaluate.stopwatch.perf_counter", lambda: now[0])
    return now


def pass_by(clock, seconds):
    clock[0] += seconds


class TestStopwatch:
    def test_an_inner_stage_is_not_counted_twice(self, clock):
        watch = Stopwatch()
        pass_by(clock, 100)
        with watch("metrics"):
            pass_by(clock, 1)
            with watch("body"):
                pass_by(clock, 10)
            pass_by(clock, 2)
        pass_by(clock, 100)
        with watch("body"):
            pass_by(clock, 20)
        assert watch.seconds == {"metrics": 3, "body": 30}
        assert watch.taken() == {"metrics": 3, "body": 30}
        assert watch.taken() == {}

    def test_an_error_ends_the_stages(self, clock):
        watch = Stopwatch()
        with pytest.raises(ZeroDivisionError), watch("metrics"), watch("body"):
            pass_by(clock, 1 / 0)
        pass_by(clock, 5)
        with watch("write"):
            pass_by(clock, 2)
        assert watch.seconds == {"metrics": 0, "body": 0, "write": 2}

    def test_the_device_settles_at_both_ends(self, clock):
        """What was given to the device before a stage is not the stage's: here it takes 7 s, and what the stage gives it 3 s."""
        owed = [7.0]

        def settle():
            pass_by(clock, owed[0])
            owed[0] = 0

        watch = Stopwatch(settle)
        with watch("model"):
            pass_by(clock, 1)
            owed[0] = 3
        assert watch.seconds == {"model": 4}

    def test_items_that_take_time_to_come(self, clock):
        def items():
            for k in range(3):
                pass_by(clock, k)
                yield k

        watch = Stopwatch()
        for _ in timed(items(), watch, "body"):
            pass_by(clock, 50)
        assert watch.seconds == {"body": 3}
        for _ in timed(items(), watch, "wait", first="first"):
            pass_by(clock, 50)
        assert watch.seconds == {"body": 3, "first": 0, "wait": 3}

    def test_nobody_looks(self):
        with untimed("model"), untimed("model"):
            pass
        assert list(timed(iter("ab"), untimed, "body")) == ["a", "b"]


class TestText:
    def test_one_after_the_other(self):
        watch = Stopwatch()
        watch.seconds.update({"decode": 1, "model": 5, "write": 2, FIRST: 0.5, WAIT: 0.5})
        text = Profile([watch], people=50, seconds=10).text()
        assert text.splitlines() == [
            "Where the time went: 50 people in 10.00 s, 5.0 people a second.",
            "stage        seconds    share",
            "decode          1.00   10.0 %",
            "crop            0.00    0.0 %",
            "occlude         0.00    0.0 %",
            "transfer        0.00    0.0 %",
            "model           5.00   50.0 %",
            "body            0.00    0.0 %",
            "metrics         0.00    0.0 %",
            "write           2.00   20.0 %",
            "other           1.00   10.0 %",
            "The first batch came after 0.50 s (5.0 %); from then on the model waited 0.50 s (5.0 %) for data.",
        ]

    def test_at_the_same_time_with_workers(self):
        reading, model, scoring = Stopwatch(), Stopwatch(), Stopwatch()
        reading.seconds["transfer"], model.seconds["model"], scoring.seconds["body"] = 1, 9, 8
        profile = Profile([reading, model, scoring], workers=4, people=100, seconds=10)
        profile.in_workers.update({"decode": 20, "occlude": 4})
        lines = profile.text().splitlines()
        assert lines[2] == "decode         20.00   50.0 %   summed over 4 worker processes, share of all their time"
        assert lines[6] == "model           9.00   90.0 %"
        assert "their shares add up to more than 100 %" in lines[-2]
        assert profile.stages() == {"transfer": 1, "model": 9, "body": 8, "decode": 20, "occlude": 4}


class TestRuns:
    @pytest.mark.parametrize("overlap", [False, True])
    def test_an_evaluation(self, tmp_path, overlap):
        profile, bodies = Profile(), exact_bodies()
        evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path, batch_size=5, overlap=overlap, profile=profile)
        stages = profile.stages()
        assert all(stages[stage] > 0 for stage in STAGES)
        assert (profile.people, profile.workers, len(profile.watches)) == (16, 0, 3 if overlap else 1)
        assert all(watch.seconds.total() <= profile.seconds for watch in profile.watches)
        assert not profile.in_workers
        again = Profile()
        evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path, profile=again)
        assert again.text() == "Where the time went: nothing was left to do."

    def test_a_file_of_answers(self, tmp_path):
        profile, bodies = Profile(), exact_bodies()
        predict(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5", vertices=True, limit=3, profile=profile)
        stages = profile.stages()
        assert all(stages[stage] > 0 for stage in STAGES if stage != "metrics")
        assert profile.people == 3


class TestAsTyped:
    def test_evaluation(self, run):
        words = ("eval", "--model", "mean-pose", "--limit", "2", "--out")
        status, out, err = run(*words, "plain")
        assert status == 0
        assert "Where the time went" not in err
        status, profiled, err = run(*words, "profiled", "--profile")
        assert (status, profiled) == (0, out)
        assert re.search(r"Where the time went: 2 people in \d+\.\d\d s, .* people a second\.\nstage +seconds +share\n", err)
        shares = dict(re.findall(r"^(\w+) +[\d.]+ +([\d.]+) %", err, re.MULTILINE))
        assert [*shares] == [*STAGES, "other"]
        said = r"^The first batch came after [\d.]+ s \(([\d.]+) %\); from then on the model waited [\d.]+ s \(([\d.]+) %\) for data\.$"
        (waited,) = re.findall(said, err, re.MULTILINE)
        # Eleven figures, each rounded to a tenth.
        assert sum(map(float, [*shares.values(), *waited])) == pytest.approx(100, abs=0.6)

    def test_a_file_of_answers(self, run):
        status, out, err = run("predict", "--model", "mean-pose", "--limit", "2", "--out", "p.h5", "--profile")
        assert (status, out) == (0, "")
        assert "Where the time went: 2 people" in err
