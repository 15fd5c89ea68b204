"""The commands as typed: what they print and where, how they end, and what they leave behind."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from hpsbench.cli.main import COMMANDS


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['hpsbench', '--help']\n"
        "from hpsbench.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'cv2', 'pandas', 'pyrender', 'OpenGL', 'anny', 'pybullet', 'requests'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert "Usage: hpsbench" in out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["evl"], 2, "No command named 'evl'. Did you mean 'eval'?"),
        (["eval", "--model", "niky", "--out", "o"], 1, "No model named 'niky'. Did you mean 'niki'?"),
        (["eval", "--model", "mean-pose", "--protocol", "openhps-tst", "--out", "o"], 1, "Did you mean 'openhps-test'?"),
        (["eval", "--model", "mean-pose", "--protocol", "3dpw-test", "--out", "o"], 2, "name its folder with --data or HPSBENCH_DATA"),
        (["eval", "--model", "mean-pose", "--data", ".", "--out", "o"], 2, "--data is given, but no --protocol"),
        (["eval", "--model", "mean-pose", "--shard", "3/2", "--out", "o"], 2, "'3/2' is no shard. Give I/N"),
        (["eval", "--model", "nowhere.py:Net", "--out", "o"], 1, "nowhere.py"),
        (["eval", "--model", "predictions:none.npz", "--out", "o"], 1, "There is no file none.npz"),
        (["eval", "--model", "mean-pose", "--protocol", "3dpw-test", "--data", "none", "--out", "o"], 2, "--body or HPSBENCH_BODY"),
        (["make-xocc", "--data", "none", "--body", "none", "--out", "o"], 1, "There is no folder none"),
        (["verify", "none"], 1, "no finished generated folder"),
        (["report", "none"], 1, "none"),
        (["check", "data", "none"], 1, "none"),
        (["list", "modles"], 2, "'modles' is not one of"),
        (["train", "hybrik", "--data", "none", "--out", "o"], 1, "No folder none"),
    ],
)
def test_a_wrong_call_is_one_message_and_no_file(run, tmp_path, words, status, said):
    found, out, err = run(*words)
    assert found == status
    assert said in out + err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("models", ["mean-pose", "hybrik", "niki", "predictions"]),
        ("datasets", ["3dpw", "openhps"]),
        ("protocols", ["3dpw-test.v1", "3dpw-xocc.v1", "openhps-test.v1", "openhps-xocc.v1"]),
        ("occluders", ["noise-patch", "truncation-window"]),
        ("metrics", ["mpjpe", "pa_mpjpe", "pve", "pa_pve", "mpjae", "accel"]),
        ("bodies", ["openhps"]),
    ],
)
def test_list_names_what_is_there(run, kind, names):
    status, out, err = run("list", kind)
    assert (status, err) == (0, "")
    assert set(names) <= {line.split()[0] for line in out.splitlines()}


def test_check_body_says_what_the_embedded_one_has(run):
    status, out, _ = run("check", "body")
    assert status == 0
    assert out.count("6890 vertices") == 3


def test_check_ends_with_1_on_an_error(run, tmp_path):
    (tmp_path / "empty").mkdir()
    status, out, _ = run("check", "body", "empty")
    assert status == 1
    assert "smpl.is.tue.mpg.de" in out


@pytest.mark.parametrize("model", ["mean-pose", "hybrik", "niki"])
def test_check_model_passes_the_built_in_ones(run, model):
    status, out, _ = run("check", "model", model)
    assert status == 0, out


def test_the_two_commands_of_the_design_work_just_so(run, tmp_path):
    status, out, err = run("make-xocc", "--out", "xocc")
    assert (status, out) == (0, "")
    assert "plans in xocc. Next: hpsbench verify xocc" in err
    assert run("verify", "xocc")[0] == 0
    status, out, err = run("eval", "--model", "niki", "--out", "clean", "--limit", "6")
    assert status == 0
    assert "6 of 6 evaluated, 0 failed" in err
    assert "PA-MPJPE" in out
    assert json.loads((tmp_path / "clean" / "result.json").read_text())["protocol"]["id"] == "openhps-test.v1"


def test_the_line_from_set_to_leaderboard(run, tmp_path):
    """Shards merged, folder against on the fly, report: one number each way."""
    assert run("generate", "--protocol", "openhps-xocc", "--out", "xocc", "--images", "--shard", "1/8")[0] == 0
    assert run("generate", "--protocol", "openhps-xocc", "--out", "plans")[0] == 0
    common = ("eval", "--model", "mean-pose", "--protocol", "openhps-xocc")
    assert run(*common, "--out", "fly")[0] == 0
    assert run(*common, "--out", "folder", "--generated", "plans")[0] == 0
    for part in ("1/2", "2/2"):
        assert run(*common, "--out", f"part{part[0]}", "--shard", part, "--batch-size", "7")[0] == 0
    assert run("merge", "part1", "part2", "--out", "merged")[0] == 0
    status, out, _ = run("report", "fly", "folder", "merged", "--csv", "leaderboard.csv", "--html", "report.html")
    assert status == 0
    assert "openhps-xocc.v1" in out
    table = pd.read_csv(tmp_path / "leaderboard.csv")
    rows = table[(table["metric"] == "pa_mpjpe") & (table["split"] == "all")]
    assert len(rows) == 3
    np.testing.assert_allclose(rows["value"], rows["value"].iloc[0], rtol=1e-12)
    assert "<table" in (tmp_path / "report.html").read_text()


def test_a_broken_image_of_a_set_ends_the_evaluation(run, tmp_path):
    from hpsbench.body.bodies import load_bodies
    from hpsbench.datasets.base import open_dataset

    root = open_dataset("openhps", None, split="test", frames="all", bbox="joints-in-image", bbox_scale=1.0, bodies=load_bodies(None)).root
    shutil.copytree(root, tmp_path / "set")
    first = sorted((tmp_path / "set" / "imageFiles").rglob("*.jpg"))[0]
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    words = ("eval", "--model", "hybrik", "--protocol", "openhps-test", "--data", "set", "--out", "o", "--limit", "3")
    status, _, err = run(*words)
    assert status == 1
    assert f"{first.name} is broken" in err
    assert not (tmp_path / "o" / "result.json").exists()
    first.write_bytes(whole)
    assert run(*words)[0] == 0


def test_check_data_of_the_embedded_set_and_its_overlay(run, tmp_path):
    status, out, _ = run("check", "data", "--dataset", "openhps", "--overlay", "sheet.png")
    assert status == 0, out
    assert "projected joints are" in out
    assert "overlay: sheet.png" in out
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_counts_of_a_root_with_the_embedded_set(run, tmp_path):
    from hpsbench.datasets.openhps import OpenHPS

    (tmp_path / "openhps").symlink_to(OpenHPS.default_root())
    status, out, err = run("list", "datasets", "--counts", "--data", ".")
    assert (status, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("openhps")]
    # 6 sequences with 240 person-frames, 16 of them without a camera pose or without keypoints.
    assert line.split() == ["openhps", "test", "campose-and-2d", "224", "240", "6", "10", "142", "smpl", "smpl24"]
