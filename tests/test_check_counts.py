"""`hpsbench list datasets --counts` on the five layouts laid side by side."""

import shutil
import sys

import numpy as np
import pytest
import test_check_data as laid
import torch
from layouts import agora, h36m, mpi_inf_3dhp
from writers.threedpw import write_miniature

from hpsbench.body.bodies import load_bodies
from hpsbench.check.counts import count_datasets, table
from hpsbench.cli.main import main
from hpsbench.datasets.base_h36m import H36MLayout
from hpsbench.datasets.base_h36m_names import SUBSETS, Subset
from hpsbench.errors import DataError


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """ROOT with 3dpw, agora, 3doh, h36m and 3dhp."""
    root, bodies = tmp_path_factory.mktemp("all"), load_bodies(None, dtype=torch.float64)
    write_miniature(root / "3dpw", bodies, laid.MINIATURES)
    (root / "agora").mkdir()
    some = agora.shots(laid.TestAgora.people(bodies))
    agora.write_agora(root / "agora", some, missing=[some[6].image])
    (root / "3doh").mkdir()
    laid.write_studio(root / "3doh", bodies)
    h36m.write_raw(root / "h36m", [laid.make_take(bodies)], mono=False, pictures="images", cameras=(1, 3))
    (root / "3dhp").mkdir()
    mpi_inf_3dhp.write_test(root / "3dhp", 1, laid.seen_17(bodies), valid=[1] * 6 + [0] * 2, activities=[1] * laid.FRAMES)
    return root


@pytest.fixture(autouse=True)
def _s9_alone(monkeypatch):
    monkeypatch.setitem(SUBSETS, "test", Subset((9,), (1, 3), (1,)))
    monkeypatch.setattr(H36MLayout, "splits", ("test",))


@pytest.fixture
def typed(monkeypatch, capsys):
    def run(*words):
        monkeypatch.delenv("HPSBENCH_DATA", raising=False)
        monkeypatch.setattr(sys, "argv", ["hpsbench", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


# dataset, split, frame rule, kept, total, sequences, tracks, images, body, joints: each number is what was written.
EXPECTED = {
    "3dpw train campose-and-2d 2 2 1 1 2 smpl smpl24",
    "3dpw validation campose-and-2d 2 2 1 1 2 smpl smpl24",
    "3dpw test campose-and-2d 24 24 2 3 16 smpl smpl24",  # 8 images of two people and 8 of one
    "agora validation valid 12 14 6 12 6 smpl smpl24",  # 7 images of 7 scenes with two people, one image is missing
    "3doh test all 6 6 1 6 6 smpl smpl24",
    "h36m test all 16 16 2 2 16 - h36m17",  # 8 frames of two cameras
    "3dhp TS1 valid 6 8 1 1 6 - mpi17",  # 8 frames, of which 2 are flagged
}


class TestCounts:
    def test_five_layouts_in_one_table(self, typed, five):
        status, out, _ = typed("list", "datasets", "--counts", "--data", five)
        assert status == 0
        lines = {" ".join(line.split()) for line in out.splitlines()}
        assert lines >= EXPECTED, "\n".join(sorted(lines))
        assert sum(line.startswith(("3dpw occ does not open:", "3dpw pc does not", "3dpw crowd does not")) for line in lines) == 3
        assert {"emdb not found", "openhps not found", "h36m-npz not found"} <= lines
        assert "dataset split frame rule kept total sequences tracks images body joints" in lines

    def test_a_form_is_looked_for_in_the_folder_of_its_dataset(self, five):
        rows = [line for line in count_datasets(five) if line.dataset in ("3dhp-universal", "agora-smplx")]
        assert [(line.split, line.cells[-1]) for line in rows] == [("TS1", "mpi17"), ("validation", "smplx22")]

    def test_root_that_is_one_dataset(self, five):
        lines = count_datasets(five / "3doh")
        assert {line.dataset for line in lines if line.split} == {"3doh"}

    def test_split_that_does_not_open_is_a_line(self, five, tmp_path):
        shutil.copytree(five / "3doh", tmp_path / "3doh")
        next((tmp_path / "3doh/testset/images").glob("*.jpg")).unlink()
        text = table(count_datasets(tmp_path))
        assert "does not open: 1 of 6 images of" in text

    def test_bad_root(self, typed, tmp_path):
        status, out, err = typed("list", "datasets", "--counts", "--data", tmp_path / "nowhere")
        assert (status, out) == (1, "")
        assert "There is no folder" in err
        (tmp_path / "thing.txt").touch()
        with pytest.raises(DataError, match=r"holds no dataset, but thing\.txt"):
            count_datasets(tmp_path)

    @pytest.mark.parametrize("words", [("datasets", "--counts"), ("models", "--counts", "--data", ".")])
    def test_wrong_call(self, typed, words):
        status, _, err = typed("list", *words)
        assert status == 2
        assert "hpsbench list datasets --counts --data ROOT" in err

    def test_columns_are_aligned(self, five):
        rows = [line for line in table(count_datasets(five)).splitlines() if line.endswith(("joints", "smpl24", "mpi17", "h36m17"))]
        assert len(rows) > 7
        places = np.array([len(line) - len(line.split()[-1]) for line in rows])
        assert len(set(places.tolist())) == 1
