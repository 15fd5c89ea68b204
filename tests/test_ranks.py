"""``torchrun -m hpsbench eval``: ranks share the people, and their one result is that of one process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpsbench.evaluate.rows import read_rows

# The mean pose; writes down its batches, and the rank that the file "dies" names ends at the batch that it names.
MODEL = """
import os
from pathlib import Path
import torch
from hpsbench.models.mean_pose import MeanPose

class Noted(MeanPose):
    seen = 0
    def predict(self, batch):
        Noted.seen += 1
        here, rank = Path(__file__).parent, os.environ.get("RANK", "0")
        if (here / "dies").exists() and (here / "dies").read_text() == f"{rank} {Noted.seen}":
            os._exit(9)
        (here / f"batches-{rank}").write_text(str(Noted.seen))
        return super().predict(batch)
"""
FAILS = MODEL.replace("os._exit(9)", "from hpsbench.errors import PredictionError; raise PredictionError('rank 1 has no answer')")


def run(folder: Path, ranks: int, *words: str) -> subprocess.CompletedProcess:
    """``hpsbench eval`` of the model in a folder, by so many ranks (1: without torchrun), from another folder."""
    start = (
        [sys.executable, "-m"]
        if ranks == 1
        else [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
    )
    command = [*start, "hpsbench", "eval", "--model", f"{folder / 'model.py'}:Noted", "--device", "cpu", "--batch-size", "5", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    (folder / "model.py").write_text(MODEL)
    done = run(folder, 1, "--limit", "40", "--out", str(folder / "out"))
    assert done.returncode == 0, done.stderr
    return folder / "out"


def same(found: Path, wanted: Path) -> None:
    """Equal results and rows, but for the last digits that a batch of other people moves."""
    results = [json.loads((path / "result.json").read_text()) for path in (found, wanted)]
    scores = [result.pop("scores") for result in results]
    assert results[0] == results[1]
    for one, other in zip(*scores, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert value == (pytest.approx(other[key], rel=1e-9) if isinstance(value, float) else other[key])
    rows = [read_rows(path / "errors.h5")[0] for path in (found, wanted)]
    assert rows[0].keys() == rows[1].keys()
    for key in rows[0]:
        if rows[0][key].dtype.kind == "f":
            np.testing.assert_allclose(rows[0][key], rows[1][key], rtol=1e-9, atol=1e-12)
        else:
            np.testing.assert_array_equal(rows[0][key], rows[1][key])


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_result_is_that_of_one_process(folder, alone, ranks):
    done = run(folder, ranks, "--limit", "40", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("40 of 40 evaluated, 0 failed") == 1
    assert done.stdout.count("openhps-test.v1") == 1
    same(folder / "out", alone)
    assert not (folder / "out/ranks").exists()


def test_a_rank_that_dies_ends_the_run_which_then_goes_on(folder):
    # 280 ways to hide each of 4 people, two to a rank: 560 rows in batches of 5, kept by the 256.
    words = ("--protocol", "hkmr-bar@openhps-test", "--limit", "4", "--out")
    (folder / "dies").write_text("1 60")
    died = run(folder, 2, *words, "out")
    assert died.returncode != 0
    assert not (folder / "out/result.json").exists()
    assert len(list((folder / "out/ranks/2-of-2/parts").glob("*.h5"))) == 1
    (folder / "dies").unlink()
    done = run(folder, 2, *words, "out")
    assert done.returncode == 0, done.stderr
    assert int((folder / "batches-1").read_text()) < 62
    alone = run(folder, 1, *words, "alone")
    assert alone.returncode == 0, alone.stderr
    same(folder / "out", folder / "alone")


def test_the_message_of_a_rank_comes_out(folder):
    (folder / "model.py").write_text(FAILS)
    (folder / "dies").write_text("1 2")
    failed = run(folder, 2, "--limit", "40", "--out", "out")
    assert failed.returncode != 0
    assert "hpsbench: rank 1 has no answer" in failed.stderr


def test_what_one_process_began_is_not_mixed_with_ranks(folder):
    (folder / "out").mkdir()
    (folder / "out/run.json").write_text("{}")
    failed = run(folder, 2, "--limit", "10", "--out", "out")
    assert failed.returncode != 0
    assert "holds what one process began" in failed.stderr
