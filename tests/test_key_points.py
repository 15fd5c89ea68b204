"""Key points lost by chance and together, against draws made apart; what models of joints get; and who may not be measured so."""

import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeDataset, FakeModel, exact_bodies
from test_evaluate import rows_of
from test_occlude import patch, picture, plan_of, window
from test_scattered import person

from hpsbench.augment import occluded
from hpsbench.errors import ProtocolError
from hpsbench.evaluate import evaluate
from hpsbench.models.base import load_model
from hpsbench.occlude import Planner, apply_plan, apply_to_image, apply_to_joints, check_for_pixels, hidden_by, make_plan
from hpsbench.occluders.key_points import Entry, entry_of
from hpsbench.preview import preview_sheet
from hpsbench.protocol import load_protocol, protocol_names
from hpsbench.seeds import rng_of
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Occlusion, OcclusionPlan

DATA = Path(__file__).parent / "data/occlusion"
REWRITE = os.environ.get("HPSBENCH_REWRITE_GOLDENS") == "1"
NAMES = tuple(name for name in protocol_names() if name.startswith("key-points"))
COCO = JOINT_NAMES["coco17"]
# By hand: what each joint of COCO hangs on, itself among them.
CHAINS = {
    "nose": {"nose", "left_shoulder", "right_shoulder"},
    "left_ear": {"left_ear", "left_eye", "nose", "left_shoulder", "right_shoulder"},
    "right_eye": {"right_eye", "nose", "left_shoulder", "right_shoulder"},
    "left_shoulder": {"left_shoulder"},
    "right_wrist": {"right_wrist", "right_elbow", "right_shoulder"},
    "left_hip": {"left_hip"},
    "left_ankle": {"left_ankle", "left_knee", "left_hip"},
}
LEGS = [f"{side}_{joint}" for joint in ("hip", "knee", "ankle") for side in ("left", "right")]


def changed(name, **numbers):
    protocol = load_protocol(name)
    (rule,) = protocol.occluders
    return replace(protocol, occluders=(replace(rule, params=replace(rule.params, **numbers)),))


def lost_of(protocol, sample, track=None, case=""):
    (occlusion,) = make_plan(sample, protocol, track or [sample], case=case).occlusions
    return occlusion.params["joints"]


def taking(*joints):
    return plan_of(Occlusion("key-points", "image", {"joints": list(joints)}))


class TestRule:
    def test_entries(self):
        assert entry_of("nose<left_shoulder&right_shoulder") == Entry("nose", ("left_shoulder", "right_shoulder"))
        assert entry_of("left_hip") == Entry("left_hip", ())

    def test_is_that_of_coco(self):
        """GVHMR's numbers, as indices of COCO's 17."""
        tree = [(5, 6), (0,), (0,), (1,), (2,), (), (), (5,), (6,), (7,), (8,), (), (), (11,), (12,), (13,), (14,)]
        params = load_protocol("key-points-gvhmr").occluders[0].params
        assert [entry_of(text) for text in params.joints] == [
            Entry(joint, tuple(COCO[k] for k in needs)) for joint, needs in zip(COCO, tree, strict=True)
        ]
        assert (params.probability, params.together_probability, params.together_frames, params.stretch) == (0.03, 0.03, (30, 89), 120)
        assert params.together == COCO[11:]

    def test_one_draw_for_each_joint_in_order(self):
        protocol = changed("key-points-gvhmr-joints", probability=0.2)
        for number in range(20):
            rng = rng_of(0, person(number).id, "key-points", "")
            hit = {joint for joint in COCO if rng.random() < 0.2}
            found = lost_of(protocol, person(number))
            assert found == [joint for joint in COCO if joint in found]
            for joint, chain in CHAINS.items():
                assert (joint in found) == bool(hit & chain), joint

    def test_how_often(self):
        """1 - 0.97^n for a joint that hangs on n with itself; 4,000 people, four deviations."""
        protocol, count = load_protocol("key-points-gvhmr-joints"), 4000
        found = [lost_of(protocol, sample) for sample in (replace(person(), id=f"a/{k}") for k in range(count))]
        for joint, chain in CHAINS.items():
            share = 1 - 0.97 ** len(chain)
            assert np.mean([joint in lost for lost in found]) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / count))

    def test_gbt_each_by_itself(self):
        found = [lost_of(load_protocol("key-points-gbt"), replace(person(), id=f"a/{k}")) for k in range(2000)]
        assert np.mean([len(lost) for lost in found]) == pytest.approx(1.7, abs=4 * np.sqrt(17 * 0.09 / 2000))

    def test_legs_for_a_while_of_each_stretch(self):
        """Independently: of each 120 frames from the first kept one on, the start, the number and whether it happens are drawn."""
        protocol = load_protocol("key-points-gvhmr-legs")
        track = [person(frame) for frame in range(7, 300)]
        lost = [lost_of(protocol, sample, track) for sample in track]
        assert {tuple(joints) for joints in lost} == {(), tuple(LEGS)}
        expected = set()
        for number in range(3):
            rng = rng_of(0, "fake/test/seq/0", "key-points", "together", number, "")
            first = 7 + 120 * number + int(30 * rng.random())
            expected.update(range(first, first + 30 + int(60 * rng.random())))
        assert [sample.frame for sample, joints in zip(track, lost, strict=True) if joints] == sorted(expected & set(range(7, 300)))

    def test_all_lengths_come_and_none_leaves_its_stretch(self):
        protocol = load_protocol("key-points-gvhmr-legs")
        lengths, starts = set(), set()
        for number in range(400):
            track = [replace(person(frame), track=f"t/{number}") for frame in (0, 119)]
            frames = [frame for frame in range(120) if lost_of(protocol, replace(person(frame), track=f"t/{number}"), track)]
            assert all(after == before + 1 for before, after in pairwise(frames))
            lengths.add(len(frames))
            starts.add(frames[0])
        assert (min(lengths), max(lengths)) == (30, 89)
        assert starts == set(range(30))

    def test_dropped_frames_move_nothing(self):
        protocol, frames = load_protocol("key-points-gvhmr-legs"), [frame for frame in range(200) if frame % 7 != 3]
        whole = [person(frame) for frame in range(200)]
        some = [person(frame) for frame in frames]
        assert [lost_of(protocol, sample, some) for sample in some] == [lost_of(protocol, whole[frame], whole) for frame in frames]

    def test_several_draws_differ(self):
        protocol = changed("key-points-gvhmr", probability=0.5, draws=2)
        assert protocol.cases == ("draw=0", "draw=1")
        assert lost_of(protocol, person(), case="draw=0") != lost_of(protocol, person(), case="draw=1")

    def test_plans_to_the_last_digit(self):
        path, track = DATA / "key-points.jsonl", [person(frame) for frame in range(130)]
        lines = [make_plan(sample, load_protocol(name), track).to_json() for name in NAMES for sample in track[::13]]
        if REWRITE:
            path.write_text("\n".join(lines) + "\n")
        assert lines == path.read_text().splitlines()

    def test_the_three_of_gvhmr_differ_in_their_probabilities(self):
        whole = load_protocol("key-points-gvhmr").occluders[0].params
        assert load_protocol("key-points-gvhmr-joints").occluders[0].params == replace(whole, together_probability=0.0)
        assert load_protocol("key-points-gvhmr-legs").occluders[0].params == replace(whole, probability=0.0, together_probability=1.0)


class TestNoPixel:
    def test_the_image_and_the_view_stay(self):
        sample = person()
        plan = replace(taking("left_knee", "nose"), sample_id=sample.id)
        assert apply_plan(sample.view, plan) is sample.view
        np.testing.assert_array_equal(apply_to_image(picture(64, 64), plan), picture(64, 64))

    def test_hidden_are_the_joints_of_these_names(self):
        sample = person(bbox=(-300, 100, 500, 700))
        hidden = hidden_by(taking("left_knee", "nose", "right_wrist", "left_hip"), sample)
        names = [name for name, hit in zip(JOINT_NAMES["smpl24"], hidden.occluded, strict=True) if hit]
        # On the diagonal from (-220, 160) to (420, 640): hip and knee lie beyond the image.
        assert names == ["right_wrist"]
        assert hidden.outside[[1, 4]].all()
        assert (hidden.coverage, hidden.coverage_box, hidden.coverage_canvas) == (0, 0, 0)

    def test_the_protocols_say_so(self):
        assert all(load_protocol(name).key_points for name in NAMES)
        assert not any(load_protocol(name).key_points for name in ("3dpw-test", "h36m-occl-gbt", "3dpw-xocc"))

    def test_images_are_refused(self):
        check_for_pixels(load_protocol("3dpw-xocc"), "an image")
        with pytest.raises(ProtocolError, match=r"'key-points-gvhmr\.v1' takes joints .* nothing is hidden from an image\. Give its"):
            check_for_pixels(load_protocol("key-points-gvhmr"), "an image")

    def test_in_a_training_loop(self):
        image, joints = picture(160, 120), np.linspace((45, 15), (95, 105), 24)
        protocol = changed("key-points-gvhmr-joints", probability=0.5)
        seen = occluded(image, (40, 10, 100, 110), joints, protocol=protocol, seed=2)
        np.testing.assert_array_equal(seen.image, image)
        found = [name for name, hit in zip(JOINT_NAMES["smpl24"], seen.hidden.occluded, strict=True) if hit]
        assert found == [name for name in JOINT_NAMES["smpl24"] if name in seen.plan.occlusions[0].params["joints"]] != []


class TestApplyToJoints:
    JOINTS = np.column_stack([np.arange(17.0) * 10, np.full(17, 30.0)])
    SURE = np.linspace(0.5, 0.9, 17)

    def gone(self, plan, **how):
        joints, sure = apply_to_joints(self.JOINTS, self.SURE, plan, "coco17", **how)
        hidden = np.isnan(joints).any(axis=1)
        np.testing.assert_array_equal(hidden, sure == 0)
        np.testing.assert_array_equal(joints[~hidden], self.JOINTS[~hidden])
        np.testing.assert_array_equal(sure[~hidden], self.SURE[~hidden])
        return [COCO[k] for k in np.flatnonzero(hidden)]

    def test_by_name(self):
        assert self.gone(taking("nose", "left_knee")) == ["nose", "left_knee"]

    def test_names_of_another_skeleton_are_not_there(self):
        joints = np.zeros((24, 2))
        kept, sure = apply_to_joints(joints, np.ones(24), taking("nose", "left_knee"), "smpl24")
        assert np.flatnonzero(np.isnan(kept[:, 0])).tolist() == [JOINT_NAMES["smpl24"].index("left_knee")]
        assert sure.sum() == 23

    def test_under_an_occluder(self):
        """x = 0, 10, 20, ...: 20 and 30 lie in [20, 40)."""
        assert self.gone(plan_of(patch(20, 20, 40, 40))) == list(COCO[2:4])

    def test_outside_of_the_window(self):
        assert self.gone(plan_of(window(25, 0, 125, 100), patch(20, 20, 40, 40))) == [*COCO[:4], *COCO[13:]]

    def test_outside_of_the_image(self):
        assert self.gone(plan_of()) == []
        assert self.gone(plan_of(), image_size=(100, 50)) == list(COCO[10:])

    def test_as_zeros(self):
        joints, sure = apply_to_joints(self.JOINTS, self.SURE, taking("right_ear"), "coco17", hidden_as=0.0)
        assert joints[4].tolist() == [0, 0]
        assert sure[4] == 0
        assert np.isfinite(joints).all()

    def test_one_without_a_place_has_no_confidence(self):
        joints = self.JOINTS.copy()
        joints[3, 1] = np.nan
        kept, sure = apply_to_joints(joints, self.SURE, plan_of(), "coco17", hidden_as=0.0)
        assert kept[3].tolist() == [0, 0]
        assert sure[3] == 0

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_tensors_get_the_same(self, dtype):
        plan = plan_of(window(5, 0, 155, 100), patch(20, 20, 40, 40), Occlusion("key-points", "image", {"joints": ["left_hip"]}))
        joints, sure = torch.tensor(self.JOINTS, dtype=dtype), torch.tensor(self.SURE, dtype=dtype)
        found = apply_to_joints(joints, sure, plan, "coco17", hidden_as=-1.0)
        assert [tensor.dtype for tensor in found] == [dtype, dtype]
        for tensor, array in zip(found, apply_to_joints(joints.numpy(), sure.numpy(), plan, "coco17", hidden_as=-1.0), strict=True):
            assert array.dtype == tensor.numpy().dtype
            np.testing.assert_array_equal(tensor.numpy(), array)
        torch.testing.assert_close(joints, torch.tensor(self.JOINTS, dtype=dtype))

    def test_agrees_with_what_is_recorded(self):
        """Of a sample's own joints: those that hidden_by names."""
        dataset = FakeDataset()
        for name in ("openhps-xocc", "matched-bar@openhps-test", "key-points-gvhmr-legs@openhps-test"):
            planner = Planner(load_protocol(name), dataset)
            for sample in dataset:
                plan, truth = planner.all(sample)[-1], sample.truth
                hidden = hidden_by(plan, sample)
                kept, _ = apply_to_joints(truth.joints2d, np.ones(24), plan, "smpl24", image_size=sample.image_size)
                np.testing.assert_array_equal(np.isnan(kept).any(axis=1), hidden.occluded | hidden.outside)

    @pytest.mark.parametrize(("joints", "sure"), [((16, 2), (17,)), ((17, 3), (17,)), ((17, 2), (17, 1))])
    def test_wrong_shapes(self, joints, sure):
        with pytest.raises(ValueError, match=r"expected joints \(17, 2\) and confidences \(17,\) of skeleton 'coco17'"):
            apply_to_joints(np.zeros(joints), np.zeros(sure), plan_of(), "coco17")


class TestEvaluate:
    PROTOCOL = load_protocol("key-points-gvhmr-legs@openhps-test")

    def test_a_model_of_images_is_refused(self, tmp_path):
        bodies = exact_bodies()
        with pytest.raises(ProtocolError, match=r"nothing is hidden from model 'fake\.test', which takes images"):
            evaluate(FakeModel(bodies), self.PROTOCOL, FakeDataset(), bodies, tmp_path)
        assert not list(tmp_path.iterdir())

    def test_one_that_looks_at_no_image_is_measured(self, tmp_path):
        bodies, dataset = exact_bodies(), FakeDataset()
        model = load_model("mean-pose", bodies=bodies, device=torch.device("cpu"))
        result = evaluate(model, self.PROTOCOL, dataset, bodies, tmp_path)
        assert result.n_evaluated == 16
        planner, rows = Planner(self.PROTOCOL, dataset), rows_of(tmp_path)
        hidden = {sample.id.encode(): hidden_by(planner(sample), sample).occluded for sample in dataset}
        np.testing.assert_array_equal(rows["occluded"], [hidden[name] for name in rows["ids"]])

    def test_a_sheet_marks_them(self):
        sheet = preview_sheet(changed("key-points-gvhmr@openhps-test", probability=0.4), FakeDataset(), people=1, side=64)
        assert len(sheet.ids) == 1

    def test_plans_are_plain_json(self):
        plan = Planner(self.PROTOCOL, FakeDataset())(FakeDataset()[0])
        assert OcclusionPlan.from_record(json.loads(plan.to_json())) == plan


class TestBadNumbers:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("probability = 1.5", "probabilities from 0 to 1"),
            ("together_probability = -0.1", "probabilities from 0 to 1"),
            ("draws = 0", "at least one draw"),
            ("together_frames = [0, 9]", "together_frames as .fewest, most. above 0"),
            ("stretch = 89", "a longer stretch"),
            ('together = ["left_toe_end"]', "those needed and together among them"),
            ('joints = ["nose", "nose"]', "each joint once"),
            ('joints = ["nose<left_eye"]', "those needed and together among them"),
            ('joints = ["noze"]', r"no joint is named 'noze' \(did you mean nose\?\)"),
            ("probabilty = 0.1", "unknown key 'probabilty'. Did you mean 'probability'"),
        ],
    )
    def test_are_refused(self, tmp_path, change, message):
        path = tmp_path / "mine.toml"
        head = 'name = "mine"\nversion = 1\nbase = "key-points-gvhmr"\nwhat = "w"\nsource = "s"\n'
        path.write_text(f"{head}[occluders.key-points]\n{change}\n")
        with pytest.raises(ProtocolError, match=message):
            load_protocol(path)
