import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import reference
import torch
from fakes import FakeDataset, FakeModel, exact_bodies

import hpsbench.sensitivity as room
from hpsbench.datasets.base import Dataset, FrameCounts
from hpsbench.errors import DataError, HpsbenchError, PredictionError, ProtocolError, ResultError
from hpsbench.evaluate import evaluate
from hpsbench.field import read_field
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.image import crop_square, square_of_box
from hpsbench.models.base import Model, load_model
from hpsbench.occlude import apply_to_crop, hidden_by, make_plan
from hpsbench.protocol import load_protocol
from hpsbench.sensitivity import merge_sensitivity, read_run, sensitivity
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Card, CropSpec, Prediction, ViewBatch, view_id_of

PARE = "pare-40-40@openhps-test"
HKMR = "hkmr-circle@openhps-test"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bodies():
    return exact_bodies()


class Tiny(Model):
    """A small network of random weights: pose and shape out of the crop."""

    card = Card("tiny", "a small network", "tests", "Apache-2.0")
    crop = CropSpec(48, 1.25)

    def __init__(self, bodies):
        super().__init__((), bodies, CPU)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 7, 4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(968, 82))
        self.net.requires_grad_(False)

    def predict(self, batch):
        answer = self.net(batch.crops.float() / 255)
        rotvecs = (
            answer[:, :72].reshape(-1, 24, 3).double() + torch.eye(24, 3, dtype=torch.float64) * torch.pi * (torch.arange(24) < 1)[:, None]
        )
        none = torch.zeros(len(batch), dtype=torch.bool)
        confidence = answer[:, :24].sigmoid()
        return Prediction(none, rotmats=rotvec_to_rotmat(rotvecs).float(), betas=answer[:, 72:], confidence=confidence)


class Planted(Model):
    """Answers the truth, each scored joint under the patch 100 mm off to the side. ``bad``: view ids that get NaN."""

    card = Card("planted", "the truth, moved where it is hidden", "tests", "Apache-2.0")
    crop = CropSpec(32, 1.25)

    def __init__(self, bodies, protocol, dataset, bad=()):
        super().__init__((), bodies, CPU)
        self.protocol, self.dataset, self.bad, self.asked = protocol, dataset, frozenset(bad), []

    def predict(self, batch):
        self.asked += batch.ids
        joints = torch.stack([self._answer(*name.partition("@")[::2]) for name in batch.ids])
        joints[[name in self.bad for name in batch.ids]] = torch.nan
        return Prediction(torch.zeros(len(batch), dtype=torch.bool), joints=joints, skeleton="h36m17")

    def _answer(self, name, case):
        sample = self.dataset[self.dataset.index_of(name)]
        truth = sample.truth
        rotmats = rotvec_to_rotmat(torch.from_numpy(truth.rotvecs)[None])
        joints = self.bodies.forward_joints(torch.from_numpy(truth.betas)[None], rotmats, None, [truth.gender], skeleton="h36m17")[0]
        if case:
            joints[[hidden_joint(sample, self.protocol, case, joint) for joint in JOINT_NAMES["h36m17"]], 0] += 0.1
        return joints


def hidden_joint(sample, protocol, case, joint):
    """Whether a case hides a scored joint; the top of the head by the head."""
    if joint not in JOINT_NAMES["eval14"]:
        return False
    plan = make_plan(sample, protocol, (), case=case)
    place = JOINT_NAMES["smpl24"].index({"head_top": "head"}.get(joint, joint))
    hidden = hidden_by(plan, sample)
    return hidden.occluded[place] and not hidden.outside[place]


def plain_field(model, protocol, sample, bodies):
    """One person's field {metric: (P + 1, J)} mm, the clean crop last: one position at a time, a batch of one, everything in numpy."""
    places = [JOINT_NAMES["h36m17"].index(name) for name in JOINT_NAMES["eval14"]]
    square = square_of_box(sample.view.bbox_xyxy, 1.0 if model.crop is None else model.crop.box_scale)
    truth = sample.truth
    body = bodies[truth.gender](torch.from_numpy(truth.betas)[None].double(), rotvecs=torch.from_numpy(truth.rotvecs)[None])
    gt = bodies.joints(body, "h36m17")[0].numpy()
    found = {"mpjpe": [], "pa_mpjpe": []}
    for case in (*protocol.cases, None):
        crops = None
        if model.crop is not None:
            crop = crop_square(sample.view.read(), square, model.crop.side)
            if case is not None:
                apply_to_crop(crop, make_plan(sample, protocol, (), case=case), square)
            crops = torch.from_numpy(crop).permute(2, 0, 1)[None].contiguous()
        squares = torch.from_numpy(square.astype(np.float32))[None]
        intrinsics = torch.from_numpy(sample.view.intrinsics.astype(np.float32))[None]
        answer = model.predict(ViewBatch((sample.id if case is None else f"{sample.id}@{case}",), crops, squares, intrinsics))
        pred = bodies.joints(bodies.neutral(answer.betas.double(), answer.rotmats.double()), "h36m17")[0].numpy()
        found["mpjpe"].append(1000 * reference.distances((pred - pred[0])[places], (gt - gt[0])[places]))
        aligned = reference.aligned(pred[places], pred[places], gt[places])
        found["pa_mpjpe"].append(1000 * reference.distances(aligned, gt[places]))
    return {metric: np.array(rows) for metric, rows in found.items()}


def only(*people):
    """Some of the fake people."""
    dataset = FakeDataset()
    entries = [dataset._entries[person] for person in people]
    Dataset.__init__(dataset, entries, split="test", counts=FrameCounts(16, len(people), {"camera": 16 - len(people)}), fingerprint="some")
    return dataset


def run(model, name, bodies, out, dataset=None, **how):
    return sensitivity(model, load_protocol(name), FakeDataset() if dataset is None else dataset, bodies, out, **how)


def arrays(folder):
    with h5py.File(Path(folder) / "field.h5") as file:
        found = {}
        file.visititems(lambda key, node: found.update({key: node[...]}) if isinstance(node, h5py.Dataset) else None)
        return found


def assert_same_file(folder, other):
    found, wanted = arrays(folder), arrays(other)
    assert found.keys() == wanted.keys()
    for key, array in wanted.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape), key
        assert (found[key].tolist() if array.dtype == object else found[key].tobytes()) == (
            array.tolist() if array.dtype == object else array.tobytes()
        ), key


@pytest.fixture(scope="module")
def whole(bodies, tmp_path_factory):
    """(result, folder) of the tiny model on PARE's 36 places, in float32."""
    out = tmp_path_factory.mktemp("whole")
    return run(Tiny(bodies), PARE, bodies, out, exact=True), out


class TestAgainstThePlainWay:
    @pytest.mark.parametrize(("name", "person"), [(PARE, 5), (HKMR, 9), ("3dpw-advocc-80@openhps-test", 2)])
    def test_one_position_at_a_time(self, name, person, bodies, tmp_path):
        dataset, protocol = only(person), replace(load_protocol(name), score=load_protocol(PARE).score)
        sensitivity(Tiny(bodies), protocol, dataset, bodies, tmp_path, batch_size=25, exact=True)
        field, plain = read_field(tmp_path), plain_field(Tiny(bodies), protocol, dataset[0], bodies)
        possible = field.read("skipped")[0] == 0
        for metric, wanted in plain.items():
            np.testing.assert_allclose(field.error(metric)[0][possible], wanted[:-1][possible], rtol=0, atol=1e-3)
            np.testing.assert_allclose(field.clean(metric)[0], wanted[-1], rtol=0, atol=1e-3)
            assert np.isnan(field.error(metric)[0][~possible]).all()

    def test_the_evaluator_says_the_same(self, whole, bodies, tmp_path):
        evaluate(Tiny(bodies), load_protocol(PARE), FakeDataset(), bodies, tmp_path)
        field = read_field(whole[1])
        with h5py.File(tmp_path / "errors.h5") as file:
            rows = {name.decode(): place for place, name in enumerate(file["ids"][...])}
            for i, person in enumerate(field.ids):
                places = [rows[f"{person}@{case}"] for case in field.about.cases]
                for metric in ("mpjpe", "pa_mpjpe"):
                    np.testing.assert_allclose(field.error(metric)[i], 1000 * file[f"values/{metric}"][...][places], rtol=0, atol=1e-3)
        result = json.loads((tmp_path / "result.json").read_text())
        means = {row["metric"]: row["value"] for row in result["scores"] if row["split"] == "all"}
        worst = {row["metric"]: row["value"] for row in result["scores"] if row["split"] == "worst:all"}
        for score in whole[0]["scores"]:
            assert score["mean_mm"] == pytest.approx(means[score["metric"]], abs=1e-3)
            assert score["worst_mm"] == pytest.approx(worst[score["metric"]], abs=1e-3)

    @pytest.mark.parametrize("how", [{"batch_size": 1, "limit": 2}, {"batch_size": 500}, {"batch_size": 33, "workers": 1}])
    def test_batches_and_workers_move_nothing(self, how, whole, bodies, tmp_path):
        run(Tiny(bodies), PARE, bodies, tmp_path, exact=True, **how)
        found, wanted = read_field(tmp_path), read_field(whole[1])
        assert found.ids.tolist() == wanted.ids.tolist()[: len(found)]
        for metric in ("mpjpe", "pa_mpjpe"):
            np.testing.assert_allclose(found.error(metric), wanted.error(metric)[: len(found)], rtol=0, atol=1e-3)

    def test_mean_pose_is_flat_to_the_last_digit(self, bodies, tmp_path):
        model = load_model("mean-pose", bodies=bodies, device=CPU)
        run(model, PARE, bodies, tmp_path, batch_size=50, exact=True)
        for block in read_field(tmp_path).blocks(5):
            for metric in ("mpjpe", "pa_mpjpe"):
                assert (block.error(metric) == block.clean(metric)[:, None]).all()
                assert (block.clean(metric) > 0).all()


class TestWhatIsBeside:
    def test_places_joints_and_what_each_position_hid(self, whole):
        field, dataset, protocol = read_field(whole[1]), FakeDataset(), load_protocol(PARE)
        assert (field.about.grid_rows, field.about.grid_columns, field.about.canvas_side) == (6, 6, 224.0)
        assert field.boxes[[0, 7, 35]].tolist() == [[0, 0, 40, 40], [40, 40, 80, 80], [200, 200, 224, 224]]
        place = [JOINT_NAMES["smpl24"].index({"head_top": "head"}.get(name, name)) for name in JOINT_NAMES["eval14"]]
        for i, name in enumerate(field.ids):
            sample = dataset[dataset.index_of(name)]
            square = square_of_box(sample.view.bbox_xyxy, 1.25)
            px = 224 / (square[2] - square[0])
            np.testing.assert_allclose(field.read("squares")[i], square, rtol=1e-6)
            np.testing.assert_allclose(field.read("joints2d")[i], (sample.truth.joints2d[place] - square[:2]) * px, rtol=1e-4)
            np.testing.assert_allclose(field.read("person_boxes")[i], (sample.view.bbox_xyxy - np.tile(square[:2], 2)) * px, rtol=1e-4)
            for k, case in enumerate(protocol.cases):
                hidden = hidden_by(make_plan(sample, protocol, (), case=case), sample)
                assert field.hidden[i, k].tolist() == (hidden.occluded & ~hidden.outside)[place].tolist()
                assert field.read("coverage")[i, k] == pytest.approx(hidden.coverage_box, abs=1e-7)
                assert field.outside[i].tolist() == hidden.outside[place].tolist()
        assert field.hidden.any()

    def test_confidences_of_joints_by_name(self, whole, bodies):
        field = read_field(whole[1])
        assert field.confidence.shape == (16, 36, 14)
        names = field.about.joints
        assert np.isnan(field.confidence[..., names.index("head_top")]).all()
        assert np.isfinite(field.clean_confidence[..., names.index("left_knee")]).all()

    def test_the_result_tells_the_run(self, whole):
        result, out = whole
        assert result == read_run(out)
        assert result["counts"] == {
            "people": 16,
            "positions": 36,
            "passes": 16 * 37,
            "failed": 0,
            "clean_failed": 0,
            "saved": 0,
            "skipped": {},
        }
        assert result["cost"]["passes"] == 16 * 37
        assert result["cost"]["people"] == 16
        assert result["cost"]["share_of_bare"] > 0
        assert (result["model"]["name"], result["protocol"]["id"], result["n_expected"]) == ("tiny", f"{PARE}.v1", 16)

    def test_shapes_on_joints_that_are_not_on_the_canvas_are_skipped(self, bodies, tmp_path):
        class OneAside(FakeDataset):
            def _made(self, entry):
                sample = super()._made(entry)
                far = sample.truth.joints2d.copy()
                far[JOINT_NAMES["smpl24"].index("left_wrist")] = (-500.0, 20.0)
                return replace(sample, truth=replace(sample.truth, joints2d=far))

        result = run(Tiny(bodies), HKMR, bodies, tmp_path, OneAside(), limit=2)
        assert result["counts"]["skipped"] == {"joint outside the canvas": 10}
        field = read_field(tmp_path)
        on_wrist = np.array(["on=left_wrist" in case for case in field.about.cases])
        assert (field.read("skipped") == on_wrist).all()
        assert (field.read("visited") == ~on_wrist).all()
        assert np.isnan(field.boxes).all()
        assert field.outside[:, field.about.joints.index("left_wrist")].all()


class TestPlanted:
    def test_exactly_the_planted_field(self, bodies, tmp_path):
        protocol, dataset = load_protocol(PARE), FakeDataset()
        model = Planted(bodies, protocol, dataset)
        result = run(model, PARE, bodies, tmp_path, dataset, batch_size=40)
        field = read_field(tmp_path)
        assert field.dtype == "float16"
        assert (field.error("mpjpe") == 100.0 * field.hidden).all()
        assert (field.clean("mpjpe") == 0).all()
        assert (field.hidden.sum((1, 2)) > 0).all()
        largest = np.array([max(100.0 * hidden.sum() / 14 for hidden in of_person) for of_person in field.hidden])
        score = result["scores"][0]
        assert score["worst_mm"] == pytest.approx(largest.mean(), abs=1e-9)
        assert score["mean_mm"] == pytest.approx(100 * field.hidden.mean(), abs=1e-9)
        assert set(model.asked) == {view_id_of(name, case) for name in dataset.ids for case in ("", *protocol.cases)}

    def test_nan_at_some_positions_is_counted(self, bodies, tmp_path):
        protocol, dataset = load_protocol(PARE), FakeDataset()
        bad = {f"{dataset.ids[3]}@position=2-2", f"{dataset.ids[3]}@position=2-3", dataset.ids[7]}
        result = run(Planted(bodies, protocol, dataset, bad), PARE, bodies, tmp_path, dataset)
        assert (result["counts"]["failed"], result["counts"]["clean_failed"]) == (2, 1)
        field = read_field(tmp_path)
        assert np.argwhere(field.read("failed")).tolist() == [[3, 14], [3, 15]]
        assert (np.isnan(field.error("mpjpe")).all(2) == field.read("failed")).all()
        assert np.isnan(field.clean("mpjpe")).all(1).tolist() == [i == 7 for i in range(16)]
        assert field.read("visited").all()

    def test_nan_everywhere_is_a_field_of_none(self, bodies, tmp_path):
        dataset = FakeDataset()
        model = FakeModel(bodies, bad=[f"{dataset.ids[0]}@{case}" for case in load_protocol(PARE).cases] + [dataset.ids[0]])
        result = run(model, PARE, bodies, tmp_path, dataset, limit=1)
        assert result["counts"]["failed"] == 36
        assert result["scores"][0]["mean_mm"] is None


class Stopped(Exception):
    pass


class TestRuns:
    def stopped(self, bodies, out, after):
        """A run that was killed when the model had been asked ``after`` times."""
        model, asked = Tiny(bodies), []
        predict = model.predict

        def some(batch):
            asked.append(len(batch))
            if sum(asked) > after:
                raise Stopped
            return predict(batch)

        model.predict = some
        with pytest.raises(Stopped):
            run(model, PARE, bodies, out, exact=True)

    def test_killed_at_sixty_percent_and_restarted(self, whole, bodies, tmp_path, monkeypatch):
        monkeypatch.setattr(room, "_KEEP_AFTER", 0.0)
        self.stopped(bodies, tmp_path, 0.6 * 592)
        assert not (tmp_path / "field.h5").exists()
        assert list((tmp_path / "parts").iterdir())
        result = run(Tiny(bodies), PARE, bodies, tmp_path, exact=True)
        assert 0 < result["cost"]["people"] < 16
        assert_same_file(tmp_path, whole[1])
        assert result["counts"] == whole[0]["counts"]

    def test_finished_is_finished(self, whole, bodies):
        class Mute(Tiny):
            def predict(self, batch):
                raise AssertionError

        assert run(Mute(bodies), PARE, bodies, whole[1], exact=True) == whole[0]

    def test_killed_between_its_two_files(self, whole, bodies, tmp_path):
        for name in ("run.json", "field.h5"):
            (tmp_path / name).write_bytes((whole[1] / name).read_bytes())
        result = run(Tiny(bodies), PARE, bodies, tmp_path)
        assert result["cost"] is None
        assert (result["scores"], result["counts"]) == (whole[0]["scores"], whole[0]["counts"])

    def test_another_run_is_refused(self, whole, bodies):
        with pytest.raises(ResultError, match=r"belongs to another run \(limit: there None, now 3"):
            run(Tiny(bodies), PARE, bodies, whole[1], limit=3)

    def test_three_shards_are_the_whole(self, bodies, tmp_path):
        one = run(Tiny(bodies), PARE, bodies, tmp_path / "one")
        for index in range(3):
            run(Tiny(bodies), PARE, bodies, tmp_path / f"{index}", shard=(index, 3))
        merged = merge_sensitivity([tmp_path / "2", tmp_path / "0", tmp_path / "1"], tmp_path / "merged")
        assert_same_file(tmp_path / "merged", tmp_path / "one")
        for key in ("counts", "scores", "n_expected", "shard", "model", "protocol", "limit", "refine"):
            assert merged[key] == one[key]
        assert (tmp_path / "merged/run.json").read_text() == (tmp_path / "one/run.json").read_text()
        with pytest.raises(ResultError, match="Expected each of 3 shards once"):
            merge_sensitivity([tmp_path / "0", tmp_path / "1"], tmp_path / "some")
        with pytest.raises(ResultError, match=r"holds no result\.json"):
            merge_sensitivity([tmp_path / "nowhere"], tmp_path / "some")


class TestMemory:
    def most_held(self, bodies, out, monkeypatch, **how):
        """The result, and how many people's rows were in memory at once at most."""
        import weakref

        from hpsbench.sensitivity.passes import Found

        nothing, alive, most = Found.nothing.__func__, weakref.WeakSet(), 0

        class Counted(Found):
            __hash__ = object.__hash__

        def counted(cls, *given):
            nonlocal most
            found = nothing(Counted, *given)
            alive.add(found)
            most = max(most, len(alive))
            return found

        monkeypatch.setattr(Found, "nothing", classmethod(counted))
        return run(Tiny(bodies), PARE, bodies, out, exact=True, **how), most

    def test_bounded_whatever_the_number_of_people(self, whole, bodies, tmp_path, monkeypatch):
        how = {"batch_size": 8, "memory": 400_000}
        most = [self.most_held(bodies, tmp_path / f"{limit}", monkeypatch, limit=limit, **how)[1] for limit in (8, None)]
        assert most[0] == most[1] <= 5
        found, wanted = read_field(tmp_path / "None"), read_field(whole[1])
        np.testing.assert_allclose(found.error("mpjpe"), wanted.error("mpjpe"), rtol=0, atol=1e-3)

    def test_the_bound_is_kept(self, bodies, tmp_path, monkeypatch):
        result, most = self.most_held(bodies, tmp_path, monkeypatch, batch_size=8, memory=900_000)
        assert result["memory"]["given"] == 900_000
        assert result["memory"]["bound"] <= 900_000
        assert most * (3 * 48 * 48 + 37 * 2 * 14 * 4) < 900_000

    def test_too_little_says_how_much(self, bodies, tmp_path):
        with pytest.raises(HpsbenchError, match=r"0\.1 MB of memory were given, but a batch of 32 crops .* take 1\.\d MB here\. Give more"):
            run(Tiny(bodies), PARE, bodies, tmp_path / "out", memory=100_000)
        assert not (tmp_path / "out").exists()


class Staged(Tiny):
    """Has stages: each answers with another shape, and what is hidden is told by the first numbers of its shape."""

    joint_stage = "j29"

    def faster(self):
        model = Staged(self.bodies)
        model.quick = True
        return model

    def slide(self, clean, batch):
        assert self.quick
        self.slid = torch.stack([(one != two).any() for one, two in zip(clean.crops, batch.crops, strict=True)])
        return self.predict(batch)

    def stages(self, clean, batch, hidden):
        own, other = self.predict(batch), self.predict(clean)
        mixed = replace(own, rotmats=torch.where(hidden.any(1)[:, None, None, None], own.rotmats, other.rotmats))
        return {"image": own, "clean": other, "clean-but-hidden": mixed}


class TestWays:
    def test_stages_are_kept_beside(self, whole, bodies, tmp_path):
        run(Staged(bodies), PARE, bodies, tmp_path, stages=True, exact=True, limit=2)
        field, wanted = read_field(tmp_path), read_field(whole[1])
        assert field.about.stages == ("image", "clean", "clean-but-hidden")
        np.testing.assert_allclose(field.error("mpjpe"), wanted.error("mpjpe")[:2], rtol=0, atol=1e-3)
        np.testing.assert_allclose(field.stage("image"), field.error("mpjpe"), rtol=0, atol=1e-3)
        np.testing.assert_allclose(field.stage("clean"), np.broadcast_to(field.clean("mpjpe")[:, None], (2, 36, 14)), rtol=0, atol=1e-3)
        of_nothing = ~field.hidden.any(2)
        assert of_nothing.any()
        assert not of_nothing.all()

    def test_faster_and_slid_is_the_same_field(self, whole, bodies, tmp_path):
        result = run(Staged(bodies), PARE, bodies, tmp_path, fast=True, exact=True, limit=2)
        np.testing.assert_allclose(read_field(tmp_path).error("mpjpe"), read_field(whole[1]).error("mpjpe")[:2], rtol=0, atol=1e-3)
        assert result["counts"]["passes"] == 74
        assert result["deviation"]["passes"] > 0
        assert result["deviation"]["largest_error_mm"] < 1e-3

    @pytest.mark.parametrize(
        ("how", "message"),
        [({"stages": True}, "'tiny' has no stage that is given joints"), ({"fast": True, "dtype": "bf16"}, "give one of the two")],
    )
    def test_what_a_model_does_not_know(self, how, message, bodies, tmp_path):
        with pytest.raises(HpsbenchError, match=message):
            run(Tiny(bodies), PARE, bodies, tmp_path / "out", **how)
        assert not (tmp_path / "out").exists()


class TestHalf:
    def test_it_says_how_far_off_it_is(self, whole, bodies, tmp_path):
        result = run(Tiny(bodies), PARE, bodies, tmp_path, dtype="bf16", exact=True)
        told = result["deviation"]
        assert 0 < told["mean_mm"] < told["largest_mm"] < 50
        assert told["passes"] == 32 * 5
        found, wanted = read_field(tmp_path).error("mpjpe"), read_field(whole[1]).error("mpjpe")
        assert 0 < np.abs(found - wanted).max() < 50
        assert result["dtype"] == "bf16"

    def test_a_model_without_a_network(self, bodies, tmp_path):
        model = load_model("mean-pose", bodies=bodies, device=CPU)
        with pytest.raises(HpsbenchError, match="'mean-pose' has no torch network among its attributes"):
            run(model, PARE, bodies, tmp_path / "out", dtype="bf16")
        assert not (tmp_path / "out").exists()

    def test_in_threads_too_and_float32_out(self, bodies):
        from concurrent.futures import ThreadPoolExecutor

        from hpsbench.sensitivity.half import in_bfloat16

        model = Tiny(bodies)
        half = in_bfloat16(model, CPU)
        crops = torch.arange(2 * 3 * 48 * 48).reshape(2, 3, 48, 48).remainder(251).float()
        with ThreadPoolExecutor(1) as pool:
            there = pool.submit(half.net, crops).result()
        assert there.dtype == torch.float32
        assert torch.equal(there, half.net(crops))
        assert not torch.equal(there, model.net(crops))


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("openhps-test", r"'openhps-test\.v1' has no positions: .* Protocols that do: .*3dpw-advocc-40, .*hkmr-bar, .*pare-40-40, "),
            ("openhps-xocc", "has no positions"),
            ("hmr2-part-crops@openhps-test", "has no positions"),
            ("matched-bar@openhps-test", "has no positions"),
            ("key-points-gbt@openhps-test", "hides no pixel"),
        ],
    )
    def test_a_protocol_without_positions(self, name, message, bodies, tmp_path):
        with pytest.raises(ProtocolError, match=message):
            run(Tiny(bodies), name, bodies, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("numbers", "message"),
        [("size = 225.0", "a size above 0 and at most that of the canvas, 224 px, but got 225 px"), ("stride = 0.0", "stride above 0")],
    )
    def test_a_grid_that_is_none(self, numbers, message, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text(f'name = "mine"\nversion = 1\nbase = "pare-40-40"\nwhat = "w"\nsource = "s"\n[occluders.grid-patch]\n{numbers}\n')
        with pytest.raises(ProtocolError, match=message):
            load_protocol(path)

    def test_nobody(self, bodies, tmp_path):
        dataset = only()
        with pytest.raises(DataError, match=r"openhps/test has nobody to evaluate: .*dropped: 16 \(camera\)"):
            run(Tiny(bodies), PARE, bodies, tmp_path / "out", dataset)
        assert not (tmp_path / "out").exists()

    def test_answers_of_a_file(self, bodies, tmp_path):
        path = tmp_path / "answers.npz"
        np.savez(path, ids=np.array(["a"]), joints=np.zeros((1, 17, 3)), skeleton=np.array("h36m17"))
        model = load_model(f"predictions:{path}", bodies=bodies, device=CPU)
        with pytest.raises(HpsbenchError, match="reads answers from a file, and cannot be asked about crops that are made here"):
            run(model, PARE, bodies, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_answers_of_other_joints(self, bodies, tmp_path):
        with pytest.raises(PredictionError, match="joints of 'coco17', but the protocol scores joints of"):
            run(FakeModel(bodies, only="joints", skeleton="coco17"), PARE, bodies, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_answers_that_are_none(self, bodies, tmp_path):
        class Wrong(Tiny):
            def predict(self, batch):
                return Prediction(torch.zeros(3, dtype=torch.bool), joints=torch.zeros(3, 17, 3), skeleton="h36m17")

        with pytest.raises(PredictionError, match="gave 3 answers for 32 people; expected one each"):
            run(Wrong(bodies), PARE, bodies, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_broken_image_names_itself(self, bodies, tmp_path):
        dataset = FakeDataset(broken=[FakeDataset().ids[4]])
        with pytest.raises(DataError, match="is broken"):
            run(Tiny(bodies), PARE, bodies, tmp_path, dataset)

    def test_only_metrics_of_joints(self, bodies, tmp_path):
        protocol = load_protocol(PARE)
        protocol = replace(protocol, score=replace(protocol.score, metrics=("pve", "mpjae")))
        with pytest.raises(ProtocolError, match="measures pve, mpjae, and an error field is of mpjpe or pa_mpjpe"):
            sensitivity(Tiny(bodies), protocol, FakeDataset(), bodies, tmp_path)


class TestCommand:
    def test_two_shards_and_merge(self, run, tmp_path):
        how = ("sensitivity", "--model", "mean-pose", "--limit", 4)
        for shard in ("1/2", "2/2"):
            status, out, err = run(*how, "--shard", shard, "--out", shard[0])
            assert status == 0, err
        assert "2 people at 36 positions: 74 passes" in err
        assert "The model alone on full batches of clean crops" in err
        assert out.startswith("metric, mm  clean")
        status, out, err = run("merge", "1", "2", "--out", "both")
        assert status == 0, err
        assert "4 people at 36 positions: 148 passes" in err
        (row,) = [line.split() for line in out.splitlines() if line.startswith("MPJPE")]
        assert row[1] == row[2] == row[3]
        assert read_field(tmp_path / "both").about.protocol_id == f"{PARE}.v1"

    @pytest.mark.parametrize(
        ("words", "status", "message"),
        [
            (("--memory", "12 apples"), 2, "'12 apples' is no size"),
            (("--protocol", "openhps-test"), 1, "has no positions"),
            (("--refine",), 1, "names no bound that a refined run would keep"),
            (("--protocol", "pare-40-40"), 2, "or use pare-40-40@openhps-test, which needs no data"),
            (("--dtype", "bf16"), 1, "has no torch network"),
        ],
    )
    def test_bad_input_ends_with_one_message(self, words, status, message, run, tmp_path):
        found, out, err = run("sensitivity", "--model", "mean-pose", "--out", "out", *words)
        assert (found, out) == (status, "")
        assert message in err
        assert not (tmp_path / "out").exists()
