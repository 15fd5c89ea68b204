"""The protocols of the datasets' own evaluators, end to end through evaluate(), worked by hand as fractions."""

import dataclasses
from fractions import Fraction as F
from typing import ClassVar

import numpy as np
import pytest
import torch
from fakes import CARD, FakeDataset, FakeModel, exact_bodies

from hpsbench.datasets.base import Dataset, Entry, FrameCounts
from hpsbench.errors import DataError, PredictionError
from hpsbench.evaluate import evaluate, merge_results
from hpsbench.evaluate.rows import read_rows
from hpsbench.models.base import Model
from hpsbench.protocol import load_protocol
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Card, Prediction, Sample, Truth, View

INTRINSICS = np.diag([500.0, 500.0, 1.0])


class People(Dataset):
    """People of a dict {id: joints (J, 3) m of ``skeleton``}, no body; ``labels`` are attributes such as ``actions``."""

    card = CARD
    splits = ("test",)

    def __init__(self, people, skeleton, **labels):
        entries = []
        for name in people:
            stem, frame, person = name.rsplit("/", 2)
            entries.append(Entry(name, f"{stem}/{frame}", f"{stem}/{person}", int(frame)))
        self.name = next(iter(people)).partition("/")[0]
        super().__init__(entries, split="test", counts=FrameCounts(len(people), len(people)), fingerprint="people")
        self.people, self.skeleton = people, skeleton
        vars(self).update(labels)

    def sample_at(self, i):
        entry = self._entries[i]
        joints = np.asarray(self.people[entry.id], dtype=np.float64)
        count = len(joints)
        truth = Truth(joints, self.skeleton, np.zeros((count, 2)), np.ones(count, dtype=bool))
        view = View(lambda: None, entry.image_key, np.array([0.0, 0, 100, 200]), INTRINSICS)
        return Sample(entry.id, view, truth, entry.track.split("/")[-2], entry.track, entry.frame, (640, 480))


class Answers(Model):
    """Answers the joints of a dict by id; None: no answer."""

    card = Card("fake.joints", "joints out of a table", "tests", "Apache-2.0", trained_on=("coco",))
    crop = None
    weights_sha256 = "table"

    def __init__(self, answers, skeleton):
        super().__init__((), exact_bodies(), torch.device("cpu"))
        self.answers, self.skeleton = answers, skeleton

    def predict(self, batch):
        empty = np.full((len(JOINT_NAMES[self.skeleton]), 3), np.nan)
        found = [self.answers.get(name) for name in batch.ids]
        joints = torch.from_numpy(np.stack([empty if one is None else np.asarray(one, dtype=np.float64) for one in found]))
        return Prediction(torch.zeros(len(batch), dtype=torch.bool), joints=joints, skeleton=self.skeleton)


def run(protocol, people, answers, out, *, truth, answer=None, labels=None, **how):
    """The rows {(metric, split): row} of a result, and the result."""
    dataset = People(people, truth, **(labels or {}))
    model = Answers(answers, answer or truth)
    result = evaluate(model, protocol, dataset, exact_bodies(), out, **how)
    return {(row["metric"], row["split"]): row for row in result.scores}, result


def is_(fraction):
    return pytest.approx(float(fraction), abs=1e-9)


def place_of(skeleton, name):
    return JOINT_NAMES[skeleton].index(name)


class TestTwoAlignments:
    """A cross of 14 joints at 100 mm, in pairs on both sides of the pelvis; the prediction puts one pair at 200 mm.

    It has the spine and the head, which are not scored, at 200 mm on both sides, where the truth has them on the pelvis. All means
    are 0 and all covariances diagonal, so that every fit is a scale alone, <gt, pred> / <pred, pred>, in units of 100 mm:
    14 joints: (12 + 2 * 2) / (12 + 2 * 4) = 4/5, and 17 joints: 16 / (20 + 2 * 4) = 4/7.
    """

    SCORED = JOINT_NAMES["eval14"]

    def pair(self):
        axes = np.eye(3)[[0, 0, 0, 1, 1, 2, 2]]
        gt, pred = np.zeros((17, 3)), np.zeros((17, 3))
        for k, axis in enumerate(axes):
            for sign, name in zip((1, -1), self.SCORED[2 * k : 2 * k + 2], strict=True):
                place = place_of("h36m17", name)
                gt[place] = sign * 0.1 * axis
                pred[place] = gt[place] * (2 if k == 0 else 1)
        pred[place_of("h36m17", "spine")] = [0.0, 0.2, 0]
        pred[place_of("h36m17", "head")] = [0.0, -0.2, 0]
        return gt, pred

    def scores(self, protocol, tmp_path):
        gt, pred = self.pair()
        rows, _ = run(
            protocol, {"3dpw/test/a/00000/0": gt + np.array([0.1, 0.2, 3])}, {"3dpw/test/a/00000/0": pred}, tmp_path, truth="h36m17"
        )
        return rows

    @pytest.mark.parametrize(
        ("name", "aligned"),
        [
            # Twelve arms at 4/5 of 1, two at 4/5 of 2.
            ("3dpw-test", (12 * (1 - F(4, 5)) + 2 * (2 * F(4, 5) - 1)) / 14),
            # The same with 4/7.
            ("3dpw-niki", (12 * (1 - F(4, 7)) + 2 * (2 * F(4, 7) - 1)) / 14),
        ],
    )
    def test_fit_on_14_or_17_score_on_14(self, tmp_path, name, aligned):
        rows = self.scores(load_protocol(name), tmp_path)
        assert aligned in (F(9, 35), F(19, 49))
        assert rows["pa_mpjpe", "all"]["value"] == is_(100 * aligned)
        assert rows["pa_mpjpe", "all"]["values"] == 14
        assert rows["mpjpe", "all"]["value"] == is_(F(100 * 2, 14))

    def test_without_scale(self, tmp_path):
        """Neither turned nor moved: the two arms are off by 100 mm, as without any alignment."""
        protocol = load_protocol("3dpw-test")
        protocol = dataclasses.replace(protocol, score=dataclasses.replace(protocol.score, pa_scale="one"))
        assert self.scores(protocol, tmp_path)["pa_mpjpe", "all"]["value"] == is_(F(100 * 2, 14))


TS = ("3dhp/test/TS1/00000/0", "3dhp/test/TS1/00007/0", "3dhp/test/TS5/00000/0")
OF_3DHP = {"scenes": ["green-screen", "green-screen", "outdoor"], "activities": ["Sitting", None, "Sports"]}


def off(people, millimetres):
    """``people`` {id: joints of mpi17} with joints moved along z by {id: {joint: mm}}."""
    moved = {name: joints.copy() for name, joints in people.items()}
    for name, joints in millimetres.items():
        for joint, mm in joints.items():
            moved[name][place_of("mpi17", joint), 2] += mm / 1000
    return moved


class Test3DHP:
    """Three people. One wrist is off by exactly 150 mm, which misses. A knee is off by 12 mm, a spine by a metre. All joints of the
    third but the pelvis are off by 100 mm. An exact joint passes 30 of 31 thresholds, 12 mm 28, 100 mm 10, 150 mm none."""

    PEOPLE: ClassVar = {name: np.random.default_rng(k).integers(-4, 4, (17, 3)) / 8 * [1, 1, 0] for k, name in enumerate(TS)}
    ERRORS: ClassVar = {
        TS[0]: {"left_wrist": 150},
        TS[1]: {"right_knee": 12, "spine": 1000},
        TS[2]: {name: 100 for name in JOINT_NAMES["mpi17"] if name != "pelvis"},
    }

    def rows(self, name, tmp_path, **how):
        return run(load_protocol(name), self.PEOPLE, off(self.PEOPLE, self.ERRORS), tmp_path, truth="mpi17", labels=OF_3DHP, **how)

    @pytest.mark.parametrize("name", ["3dhp-test", "3dhp-test-metric"])
    def test_17_joints(self, tmp_path, name):
        rows, _ = self.rows(name, tmp_path)
        assert rows["pck", "all"]["value"] == is_(100 * F(16 + 16 + 17, 51))
        assert rows["auc", "all"]["value"] == is_(100 * F((16 * 30) + (15 * 30 + 28) + (30 + 16 * 10), 51 * 31))
        assert rows["mpjpe", "all"]["value"] == is_(F(150 + 12 + 1000 + 1600, 51))
        assert (rows["pck", "all"]["unit"], rows["pck", "all"]["count"], rows["pck", "all"]["values"]) == ("%", 3, 51)

    @pytest.mark.parametrize("name", ["3dhp-test-14", "3dhp-test-14-metric"])
    def test_14_joints(self, tmp_path, name):
        rows, _ = self.rows(name, tmp_path)
        wanted = {
            "all": (13 + 14 + 14, 42),
            "scene:green-screen": (13 + 14, 28),
            "scene:outdoor": (14, 14),
            "sequence:TS1": (13 + 14, 28),
            "sequence:TS5": (14, 14),
            "activity:Sitting": (13, 14),
            "activity:Sports": (14, 14),
            "activity:none": (14, 14),
            "joint:wrist": (5, 6),
            "joint:knee": (6, 6),
            "joint:neck": (3, 3),
        }
        for split, (hits, count) in wanted.items():
            assert rows["pck", split]["value"] == is_(100 * F(hits, count)), split
            assert rows["pck", split]["values"] == count
        assert rows["auc", "all"]["value"] == is_(100 * F((13 * 30) + (13 * 30 + 28) + 14 * 10, 42 * 31))
        assert rows["auc", "joint:knee"]["value"] == is_(100 * F(3 * 30 + 28 + 2 * 10, 6 * 31))
        # MPJPE stays over 17, and tells of the joints that PCK leaves out.
        assert rows["mpjpe", "all"]["value"] == is_(F(150 + 12 + 1000 + 1600, 51))
        assert rows["mpjpe", "joint:spine"]["value"] == is_(F(1000 + 100, 3))
        assert ("pck", "joint:spine") not in rows

    def test_after_alignment(self, tmp_path):
        """Turned by a quarter, twice as large and moved: nothing but the pelvis hits, and after the similarity everything does."""
        people = {TS[0]: np.random.default_rng(9).normal(0, 0.4, (17, 3))}
        answers = {TS[0]: 2 * people[TS[0]] @ np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + [1.0, 2, 3]}
        labels = {key: values[:1] for key, values in OF_3DHP.items()}
        rows, _ = run(load_protocol("3dhp-test-pa"), people, answers, tmp_path / "pa", truth="mpi17", labels=labels)
        assert (rows["pa_pck", "all"]["value"], rows["pa_mpjpe", "all"]["value"]) == (is_(100), is_(0))
        assert rows["pa_auc", "all"]["value"] == is_(100 * F(30, 31))
        rows, _ = run(load_protocol("3dhp-test"), people, answers, tmp_path / "plain", truth="mpi17", labels=labels)
        assert rows["pck", "all"]["value"] == is_(100 * F(1, 17))

    def test_shards_have_the_labels_too(self, tmp_path):
        whole, result = self.rows("3dhp-test-14", tmp_path / "whole")
        for k in range(2):
            self.rows("3dhp-test-14", tmp_path / str(k), shard=(k, 2))
        merged = merge_results([tmp_path / "0", tmp_path / "1"], tmp_path / "merged")
        assert merged.scores == result.scores
        labels = read_rows(tmp_path / "merged" / "errors.h5")[0]
        assert labels["labels/scene"].tolist() == OF_3DHP["scenes"]
        assert labels["labels/sequence"].tolist() == ["TS1", "TS1", "TS5"]
        assert whole["pck", "scene:outdoor"]["count"] == 1

    def test_a_mesh_is_regressed_by_the_h36m_regressor(self, tmp_path):
        """The truth is what that regressor makes of the prediction's mesh, in 3DHP's order: no error."""
        bodies = exact_bodies()
        rotmats, betas = torch.eye(3, dtype=torch.float64).expand(1, 24, 3, 3).clone(), torch.zeros(1, 10, dtype=torch.float64)
        joints = bodies.joints(bodies.neutral(betas, rotmats), "h36m17")[0].numpy()
        truth = {TS[0]: joints[[place_of("h36m17", name) for name in JOINT_NAMES["mpi17"]]]}
        model = Answers({}, "mpi17")
        model.predict = lambda batch: Prediction(torch.zeros(1, dtype=torch.bool), rotmats=rotmats, betas=betas)
        dataset = People(truth, "mpi17", **{key: values[:1] for key, values in OF_3DHP.items()})
        result = evaluate(model, load_protocol("3dhp-test"), dataset, bodies, tmp_path)
        scores = {row["metric"]: row["value"] for row in result.scores if row["split"] == "all"}
        assert scores == {"mpjpe": is_(0), "pa_mpjpe": is_(0), "pck": is_(100), "auc": is_(100 * F(30, 31))}


H36M = [f"h36m/test/s_09_act_{action:02d}_subact_01_ca_04/{frame:05d}/0" for action, frame in ((2, 0), (2, 5), (2, 10), (14, 0))]
ACTIONS = {"actions": ["Directions", "Directions", "Directions", "Walking"]}


class TestH36M:
    """Three frames of Directions with one joint of 17 (one of the 14) off by 170, 340 and 0 mm, one of Walking by 850 mm."""

    PEOPLE: ClassVar = {name: np.random.default_rng(k).integers(-4, 4, (17, 3)) / 8 for k, name in enumerate(H36M)}
    OFF: ClassVar = dict(zip(H36M, (170, 340, 0, 850), strict=True))

    def answers(self, skeleton):
        """The people in the joint order of ``skeleton``, with one left ankle each moved."""
        answers = {}
        for name, joints in self.PEOPLE.items():
            moved = joints[[place_of("h36m17", joint) for joint in JOINT_NAMES[skeleton]]]
            moved[place_of(skeleton, "left_ankle"), 0] += self.OFF[name] / 1000
            answers[name] = moved
        return answers

    def rows(self, name, tmp_path, skeleton="h36m17"):
        return run(load_protocol(name), self.PEOPLE, self.answers(skeleton), tmp_path, truth="h36m17", answer=skeleton, labels=ACTIONS)[0]

    @pytest.mark.parametrize("skeleton", ["h36m17", "h36m17-mocap"])
    def test_lifting_means_actions(self, tmp_path, skeleton):
        """Directions (170 + 340 + 0) / 3 / 17 = 10, Walking 850 / 17 = 50; the order of the legs is told by the joints' names."""
        rows = self.rows("h36m-p1-lifting", tmp_path, skeleton)
        assert rows["mpjpe", "action:Directions"]["value"] == is_(F(170 + 340, 3 * 17))
        assert rows["mpjpe", "action:Walking"]["value"] == is_(F(850, 17))
        assert rows["mpjpe", "all"]["value"] == is_((F(510, 3 * 17) + F(850, 17)) / 2) == is_(30)
        assert (rows["mpjpe", "action:Directions"]["count"], rows["mpjpe", "all"]["count"]) == (3, 4)
        assert rows["mpjpe", "all"]["low"] is None

    def test_spin_pools_14_joints(self, tmp_path):
        rows = self.rows("h36m-p1-spin", tmp_path)
        assert rows["mpjpe", "all"]["value"] == is_(F(170 + 340 + 850, 4 * 14))
        assert rows["mpjpe", "action:Directions"]["value"] == is_(F(510, 3 * 14))

    def test_hmr_roots_at_the_hips(self, tmp_path):
        """Prediction and truth have the same hips, so a moved pelvis matters to SPIN's rule alone."""
        answers = self.answers("h36m17")
        for joints in answers.values():
            joints[place_of("h36m17", "pelvis"), 2] += 0.1
        found = {}
        for name in ("h36m-p1-hmr", "h36m-p1-spin"):
            rows, _ = run(load_protocol(name), self.PEOPLE, answers, tmp_path / name, truth="h36m17", labels=ACTIONS)
            found[name] = rows["mpjpe", "all"]["value"]
        assert found["h36m-p1-hmr"] == is_(F(170 + 340 + 850, 4 * 14))
        moved = sum((100**2 + mm**2) ** 0.5 for mm in self.OFF.values())
        assert found["h36m-p1-spin"] == is_((4 * 13 * 100 + moved) / (4 * 14))

    def test_a_dataset_without_actions_is_refused_before_any_work(self, tmp_path):
        with pytest.raises(DataError, match=r"groups people by action, but the dataset 'openhps' tells none.*'actions'"):
            evaluate(FakeModel(exact_bodies()), load_protocol("h36m-p1-spin"), FakeDataset(), exact_bodies(), tmp_path)
        assert not list(tmp_path.iterdir())

    def test_fits_are_not_mocap(self, tmp_path):
        with pytest.raises(DataError, match=r'4 of 4 people have annotated joints and no body.*gt_joints = "body"'):
            self.rows("h36m-p2-fits", tmp_path)

    def test_joints_of_neither_definition(self, tmp_path):
        answers = {name: np.zeros((24, 3)) for name in H36M}
        with pytest.raises(PredictionError, match="joints of 'smpl24', but the protocol scores joints of 'h36m17' or 'h36m17-mocap'"):
            run(load_protocol("h36m-p1-spin"), self.PEOPLE, answers, tmp_path, truth="h36m17", answer="smpl24", labels=ACTIONS)


def test_the_challenge_by_hand(tmp_path):
    """An elbow off by exactly 50 mm still hits, a hand off by half a metre is none of the twelve, a knee off by 60 mm misses.

    The elbow is within the thresholds 50 to 199, the knee within 60 to 199; the last of them weighs half, as does the first.
    """
    name = "3dpw/test/a/00000/0"
    gt = np.random.default_rng(0).integers(-4, 4, (24, 3)) / 8 * [1, 1, 0]
    pred = gt.copy()
    for joint, mm in (("left_elbow", 50), ("left_hand", 500), ("right_knee", 60)):
        pred[place_of("smpl24", joint), 2] = mm / 1000
    rows, result = run(load_protocol("3dpw-challenge"), {name: gt}, {name: pred}, tmp_path, truth="smpl24")
    assert rows["pck", "all"]["value"] == is_(100 * F(11, 12))
    elbow, knee = F(2 * (199 - 50) + 1, 2 * 199), F(2 * (199 - 60) + 1, 2 * 199)
    assert rows["auc", "all"]["value"] == is_(100 * (10 + elbow + knee) / 12)
    assert rows["mpjpe", "all"]["value"] == is_(F(50 + 500 + 60, 24))
    assert rows["mpjae", "all"]["value"] is None
    assert result.n_failed == 0


def test_annotated_joints_are_scored_where_the_protocol_says_so(tmp_path):
    """People with a body whose annotated joints are those of the body: the same joint errors, and no mesh in the truth."""
    rules = {"joints": "smpl24", "regressor": "smpl24", "pa_fit": "smpl24", "metrics": ("mpjpe", "pa_mpjpe", "pve")}
    found = {}
    for truth in ("body-if-any", "annotated", "body"):
        protocol = load_protocol("openhps-test")
        protocol = dataclasses.replace(protocol, score=dataclasses.replace(protocol.score, **rules, gt_joints=truth))
        result = evaluate(FakeModel(exact_bodies()), protocol, FakeDataset(), exact_bodies(), tmp_path / truth)
        found[truth] = {row["metric"]: row["value"] for row in result.scores if row["split"] == "all"}
    assert found["body"] == found["body-if-any"]
    assert found["annotated"].pop("pve") is None
    assert found["annotated"] == {key: pytest.approx(found["body"][key], rel=1e-9) for key in ("mpjpe", "pa_mpjpe")}


def test_missed_people_are_missed_in_hits_too(tmp_path):
    """Two of three have an answer: with "nan" the hits are theirs, and the result says that one has none."""
    protocol = load_protocol("3dhp-test-14")
    protocol = dataclasses.replace(protocol, score=dataclasses.replace(protocol.score, on_failure="nan"))
    answers = {**Test3DHP.PEOPLE, TS[2]: None}
    rows, result = run(protocol, Test3DHP.PEOPLE, answers, tmp_path, truth="mpi17", labels=OF_3DHP)
    assert (result.n_expected, result.n_evaluated, result.n_failed) == (3, 2, 1)
    assert (rows["pck", "all"]["value"], rows["pck", "all"]["count"]) == (is_(100), 2)
    assert (rows["pck", "scene:outdoor"]["value"], rows["pck", "scene:outdoor"]["count"]) == (None, 0)
