"""The committed protocols on the datasets' written layouts: a model that knows the people who went in has no error.

What it answers comes from the people that the writers were given, never from a loader.
"""

import re

import cv2
import numpy as np
import pytest
import test_threedoh
import torch
from fakes import exact_bodies
from layouts import h36m, mpi_inf_3dhp
from layouts.threedoh import write_threedoh
from test_h36m import make_take
from test_mpi_inf_3dhp import posed

from hpsbench.datasets.base import open_dataset
from hpsbench.evaluate import evaluate
from hpsbench.models.base import Model
from hpsbench.protocol import load_protocol
from hpsbench.types import Card, Prediction

# CDF, json and mat files hold float32 or millimetres: a hundredth of a millimetre.
CLOSE_MM = 0.01


class Knowing(Model):
    """Answers what ``answer`` (id -> joints (J, 3) of ``skeleton``, or rotvecs (24, 3) and betas (10,)) says."""

    card = Card("fake.knowing", "knows the people", "tests", "Apache-2.0", trained_on=("coco",))
    crop = None
    weights_sha256 = "none"

    def __init__(self, answer, skeleton=None):
        super().__init__((), exact_bodies(), torch.device("cpu"))
        self.answer, self.skeleton = answer, skeleton

    def predict(self, batch):
        failed, answers = torch.zeros(len(batch), dtype=torch.bool), [self.answer(name) for name in batch.ids]
        if self.skeleton:
            return Prediction(failed, joints=torch.from_numpy(np.stack(answers)), skeleton=self.skeleton)
        rotmats = np.stack([[cv2.Rodrigues(one)[0] for one in rotvecs] for rotvecs, _ in answers])
        return Prediction(failed, rotmats=torch.from_numpy(rotmats), betas=torch.from_numpy(np.stack([betas for _, betas in answers])))


def run(name, root, model, out):
    """(result, {(metric, split): row}) of a committed protocol on the data in ``root``."""
    protocol, bodies = load_protocol(name), exact_bodies()
    rule = protocol.data
    dataset = open_dataset(
        rule.dataset, root, split=rule.split, frames=rule.frames, bbox=rule.bbox, bbox_scale=rule.bbox_scale, bodies=bodies
    )
    result = evaluate(model, protocol, dataset, bodies, out, batch_size=64)
    return result, {(row["metric"], row["split"]): row for row in result.scores}


def turned(R, rotvecs):
    """``rotvecs`` (24, 3) whose first one is turned by ``R`` (3, 3)."""
    answer = rotvecs.copy()
    answer[0] = cv2.Rodrigues(R @ cv2.Rodrigues(rotvecs[0])[0])[0][:, 0]
    return answer


KEYS = ((9, 2, 1), (9, 5, 2), (11, 2, 2), (11, 12, 1))


@pytest.fixture(scope="module")
def takes():
    return {key: make_take(exact_bodies(), *key) for key in KEYS}


@pytest.fixture(scope="module")
def raw(tmp_path_factory, takes):
    root = tmp_path_factory.mktemp("h36m")
    h36m.write_raw(root, list(takes.values()), pictures="images")
    return root


@pytest.fixture(scope="module")
def hybrik(tmp_path_factory, takes):
    root = tmp_path_factory.mktemp("h36m-hybrik")
    h36m.write_hybrik(root, list(takes.values()))
    return root


class TestH36M:
    """Takes of S9 (one of them shifted) and S11 (one of them with the damaged clip), four cameras, 11 frames each."""

    @staticmethod
    def place(takes, name):
        """(take, camera from 0, frame) that a sample id names."""
        found = re.search(r"s_(\d+)_act_(\d+)_subact_(\d+)_ca_(\d+)/(\d+)/0$", name)
        subject, action, subaction, camera, frame = map(int, found.groups())
        return takes[subject, action, subaction], camera - 1, frame

    def mocap(self, takes):
        def answer(name):
            take, camera, frame = self.place(takes, name)
            return h36m.seen(take, camera)[frame][h36m.MOCAP_17].astype(np.float64)

        return Knowing(answer, "h36m17-mocap")

    @pytest.mark.parametrize(
        ("name", "people", "actions"),
        [
            # Frames 0, 5 and 10 of four takes by four cameras; without the damaged clip; the front camera; its first takes.
            ("h36m-p1-spin", 3 * 4 * 4, {"Directions": 24, "Greeting": 12, "Photo": 12}),
            ("h36m-p1-hmr", 3 * (4 * 4 - 1), {"Directions": 21, "Greeting": 12, "Photo": 12}),
            ("h36m-p2-spin", 3 * 4, {"Directions": 6, "Greeting": 3, "Photo": 3}),
            ("h36m-p2-hmr", 3 * 2, {"Directions": 3, "Photo": 3}),
            # All frames, without the take of the damaged clip; then the first frame of S11, and of both.
            ("h36m-p1-lifting", 11 * 3 * 4, {"Directions": 44, "Greeting": 44, "Photo": 44}),
            ("h36m-p2-lifting", 11 * 3 * 4, {"Directions": 44, "Greeting": 44, "Photo": 44}),
            ("h36m-p1-rootnet", 2 * 4, {"Directions": 4, "Photo": 4}),
            ("h36m-p2-rootnet", 4 * 4, {"Directions": 8, "Greeting": 4, "Photo": 4}),
        ],
    )
    def test_raw(self, takes, raw, tmp_path, name, people, actions):
        result, rows = run(name, raw, self.mocap(takes), tmp_path)
        assert (result.n_expected, result.n_evaluated, result.n_failed) == (people, people, 0)
        first = load_protocol(name).score.metrics[0]
        found = {
            split.partition(":")[2]: row["count"] for (key, split), row in rows.items() if key == first and split.startswith("action:")
        }
        assert found == actions
        assert max(row["value"] for row in rows.values() if row["value"] is not None) < CLOSE_MM

    def test_hybriks_file_without_the_shifted_take(self, takes, hybrik, tmp_path):
        result, rows = run("h36m-p2-hybrik", hybrik, self.mocap(takes), tmp_path)
        assert result.n_evaluated == 3 * 4
        assert rows["pa_mpjpe", "all"]["value"] < CLOSE_MM

    def test_its_fits(self, takes, hybrik, tmp_path):
        def answer(name):
            take, camera, frame = self.place(takes, name)
            return turned(h36m.euler(h36m.rig()[camera, take.subject - 1, :3]), take.rotvecs[frame]), take.betas

        _, rows = run("h36m-p2-fits", hybrik, Knowing(answer), tmp_path)
        for metric in ("mpjpe", "pa_mpjpe", "pve", "pa_pve"):
            assert rows[metric, "all"]["value"] < CLOSE_MM
            assert rows[metric, "all"]["count"] == 12


@pytest.fixture(scope="module")
def scenes():
    turn = np.diag([1.0, -1.0, -1.0])
    bodies = exact_bodies()
    relevant = list(mpi_inf_3dhp.RELEVANT)
    return {ts: posed(bodies, 4, 10 + ts)[:, relevant] @ turn + (0.1 * ts - 0.3, 1.2, 4.0) for ts in range(1, 7)}


@pytest.fixture(scope="module")
def written(tmp_path_factory, scenes):
    root = tmp_path_factory.mktemp("3dhp")
    for ts, joints in scenes.items():
        mpi_inf_3dhp.write_test(root / "mpi_inf_3dhp_test_set", ts, joints, valid=[1, 1, 0, 1], activities=[1, ts, 3, 7])
    return root


class Test3DHP:
    """TS1 (green screen) and TS5 (outdoors) and the rest of the six, three valid frames of four each."""

    @staticmethod
    def knowing(scenes):
        def answer(name):
            ts, frame = re.search(r"TS(\d)/(\d+)/0$", name).groups()
            return scenes[int(ts)][int(frame)]

        return Knowing(answer, "mpi17")

    @pytest.mark.parametrize("name", ["3dhp-test", "3dhp-test-14", "3dhp-test-metric", "3dhp-test-14-metric", "3dhp-test-pa"])
    def test_the_true_skeleton_hits_everywhere(self, scenes, written, tmp_path, name):
        truth = scenes if name.endswith("metric") else {ts: mpi_inf_3dhp.universal(joints, 14) for ts, joints in scenes.items()}
        result, rows = run(name, written, self.knowing(truth), tmp_path)
        assert (result.n_expected, result.n_failed) == (6 * 3, 0)
        pck, auc = ("pa_pck", "pa_auc") if name.endswith("pa") else ("pck", "auc")
        assert rows[pck, "all"]["value"] == 100
        assert rows[auc, "all"]["value"] == pytest.approx(100 * 30 / 31)
        counts = {
            split: row["count"] for (key, split), row in rows.items() if key == pck and split.partition(":")[0] in ("scene", "sequence")
        }
        assert counts == {f"scene:{scene}": 6 for scene in ("green-screen", "studio", "outdoor")} | {f"sequence:TS{ts}": 3 for ts in scenes}
        # Rows 0, 1 and 3 of each: the first activity, that of the scene's number, and the last.
        assert rows[pck, "activity:Miscellaneous"]["count"] == 6
        assert rows[pck, "activity:Standing/Walking"]["count"] == 6 + 1

    def test_the_two_skeletons_differ_by_their_factor(self, scenes, written, tmp_path):
        """A model true to size, scored against the universal people who are 1.09 times as large about the pelvis."""
        _, rows = run("3dhp-test", written, self.knowing(scenes), tmp_path)
        valid = np.concatenate([joints[[0, 1, 3]] for joints in scenes.values()])
        lengths = np.linalg.norm(valid - valid[:, 14:15], axis=-1)
        assert rows["mpjpe", "all"]["value"] == pytest.approx(1000 * (mpi_inf_3dhp.UNIVERSAL - 1) * lengths.mean(), abs=CLOSE_MM)
        assert rows["pa_mpjpe", "all"]["value"] < CLOSE_MM


@pytest.fixture(scope="module")
def bodies():
    return exact_bodies()


studio_people = test_threedoh.people


def test_3doh_has_the_fits_without_their_enlargement(studio_people, tmp_path):
    write_threedoh(tmp_path / "3doh", studio_people)

    def answer(name):
        person = studio_people[int(name.split("/")[3])]
        return turned(person.extri[:3, :3], person.rotvecs), person.betas

    result, rows = run("3doh-test", tmp_path / "3doh", Knowing(answer), tmp_path / "out")
    assert result.n_evaluated == len(studio_people)
    for metric in ("mpjpe", "pa_mpjpe", "pve", "pa_pve"):
        assert rows[metric, "all"]["value"] < CLOSE_MM
