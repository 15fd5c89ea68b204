import dataclasses
import hashlib
import json
import shutil

import h5py
import numpy as np
import pytest
import reference
import roma
import torch
from fakes import CARD, FakeDataset, FakeModel, exact_bodies

import hpsbench.evaluate as room
from hpsbench.datasets.base import FrameCounts, open_dataset
from hpsbench.errors import BodyError, DataError, HpsbenchError, PredictionError, ResultError
from hpsbench.evaluate import evaluate, merge_results, read_result
from hpsbench.evaluate.people import FrameReader, person_batches, view_batch
from hpsbench.generate import generate
from hpsbench.generated import load_generated
from hpsbench.image import read_image
from hpsbench.models.base import load_model
from hpsbench.protocol import load_protocol
from hpsbench.skeleton import JOINT_NAMES, PARENTS
from hpsbench.types import CropSpec, Prediction, Result

BAD = ("openhps/test/b/00001/0", "openhps/test/c/00004/0")


@pytest.fixture(scope="module")
def bodies():
    return exact_bodies()


def protocol_of(name="openhps-xocc", **score):
    protocol = load_protocol(name)
    return dataclasses.replace(protocol, score=dataclasses.replace(protocol.score, **score))


def scores(result: Result) -> dict[tuple[str, str], float | None]:
    return {(row["metric"], row["split"]): row["value"] for row in result.scores}


def rows_of(folder) -> dict[str, np.ndarray]:
    with h5py.File(folder / "errors.h5") as file:
        found = {}
        file.visititems(lambda key, node: found.update({key: node[...]}) if isinstance(node, h5py.Dataset) else None)
    return found


def assert_same_summary(result: Result, other: Result):
    assert [(row["metric"], row["split"], row["count"]) for row in result.scores] == [
        (row["metric"], row["split"], row["count"]) for row in other.scores
    ]
    for key in ("value", "low", "high"):
        one, two = ([row[key] for row in side.scores] for side in (result, other))
        np.testing.assert_allclose(np.array(one, float), np.array(two, float), rtol=1e-9)
    for key in ("n_expected", "n_evaluated", "n_failed", "protocol", "fingerprints", "versions", "model"):
        assert getattr(result, key) == getattr(other, key)


def assert_same_rows(folder, other):
    found, wanted = rows_of(folder), rows_of(other)
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found[key], values, rtol=1e-9, atol=1e-12, err_msg=key)
        else:
            np.testing.assert_array_equal(found[key], values, err_msg=key)


@pytest.fixture(scope="module")
def plain(bodies, tmp_path_factory):
    """(result, folder) of the fake model on the occluded protocol."""
    out = tmp_path_factory.mktemp("plain")
    return evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, out), out


class Flipping(FakeModel):
    """Answers otherwise where it may look into the mirror."""

    def predict(self, batch):
        return super().predict(dataclasses.replace(batch, crops=255 - batch.crops))

    def without_flips(self):
        return FakeModel(self.bodies)


class TestRegressors:
    def test_a_protocol_may_name_its_regressor_by_hash(self, bodies, plain, tmp_path):
        right = protocol_of(regressor_sha256=bodies.regressor_sha256("eval14"))
        result = evaluate(FakeModel(bodies), right, FakeDataset(), bodies, tmp_path / "right")
        assert scores(result) == scores(plain[0])
        with pytest.raises(BodyError, match=r"measures with 000000000000\. Put the file there"):
            evaluate(FakeModel(bodies), protocol_of(regressor_sha256="0" * 64), FakeDataset(), bodies, tmp_path / "wrong")
        assert not (tmp_path / "wrong").exists()

    def test_the_bodys_own_joints_have_none(self, bodies):
        assert bodies.regressor_sha256("smpl24") == bodies.regressor_sha256("j29") == ""


class TestFlips:
    def test_a_protocol_without_flips_takes_the_model_without(self, bodies, plain, tmp_path):
        own = evaluate(Flipping(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "own")
        none = evaluate(Flipping(bodies), protocol_of(flips="none"), FakeDataset(), bodies, tmp_path / "none")
        assert scores(none) == scores(plain[0])
        assert scores(own) != scores(plain[0])
        assert none.protocol["content"]["score"]["flips"] == "none"


class TestNumbers:
    def test_each_metric_of_one_person_by_its_definition(self, bodies, tmp_path):
        dataset, model = FakeDataset(), FakeModel(bodies)
        evaluate(model, protocol_of("openhps-test"), dataset, bodies, tmp_path)
        rows = rows_of(tmp_path)
        place = 5
        assert rows["ids"][place].decode() == dataset.ids[place]
        (batch,) = [ids for ids in model.batches if dataset.ids[place] in ids]
        assert len(batch) == 16
        (answer,) = [model.predict(_batch_of(dataset, [place]))]
        truth = dataset[place].truth
        pred = bodies.neutral(answer.betas, answer.rotmats)
        gt = bodies[truth.gender](torch.from_numpy(truth.betas)[None], rotvecs=torch.from_numpy(truth.rotvecs)[None])
        pv, gv = pred.vertices[0].numpy(), gt.vertices[0].numpy()
        pj, gj = (bodies.joints(side, "h36m17")[0].numpy() for side in (pred, gt))
        places = [JOINT_NAMES["h36m17"].index(name) for name in JOINT_NAMES["eval14"]]
        pr = reference.global_rotations(answer.rotmats[0].numpy(), PARENTS["smpl24"])
        gr = reference.global_rotations(np.array([reference.rodrigues(v) for v in truth.rotvecs]), PARENTS["smpl24"])
        turn = reference.similarity(pj[places], gj[places])[1]
        nine = (0, 1, 2, 4, 5, 16, 17, 18, 19)
        expected = {
            "mpjpe": reference.distances((pj - pj[0])[places], (gj - gj[0])[places]),
            "pa_mpjpe": reference.distances(reference.aligned(pj[places], pj[places], gj[places]), gj[places]),
            "pve": [reference.distances(pv, gv).mean()],
            "pa_pve": [reference.distances(reference.aligned(pv, pv, gv), gv).mean()],
            "mpjae": [reference.rotation_angle(pr[j], gr[j]) for j in nine],
            "pa_mpjae": [reference.rotation_angle(turn @ pr[j], gr[j]) for j in nine],
        }
        for key, values in expected.items():
            np.testing.assert_allclose(rows[f"values/{key}"][place], values, rtol=1e-7, err_msg=key)

    def test_the_protocol_decides(self, bodies, tmp_path, plain):
        base = scores(plain[0])
        for name, rule in {
            "hips": {"root": "hips"},
            "fit17": {"pa_fit": "h36m17"},
            "neutral": {"gt_gender": "neutral"},
            "rooted": {"pve_align": "root"},
            "sequences": {"averaging": "sequences"},
        }.items():
            other = scores(evaluate(FakeModel(bodies), protocol_of(**rule), FakeDataset(), bodies, tmp_path / name))
            moved = {key for key in base if base[key] != pytest.approx(other[key], rel=1e-9)}
            assert moved, name
            wanted = {"hips": {"mpjpe", "accel"}, "fit17": {"pa_mpjpe", "pa_mpjae"}, "rooted": {"pve"}}.get(name)
            assert wanted is None or {metric for metric, _ in moved} == wanted

    def test_kinematic_joints_as_the_challenge_scores_them(self, bodies, tmp_path):
        rule = {"joints": "smpl24", "regressor": "smpl24", "pa_fit": "smpl24", "metrics": ("mpjpe", "pa_mpjpe")}
        evaluate(FakeModel(bodies), protocol_of("openhps-test", **rule), FakeDataset(), bodies, tmp_path)
        rows = rows_of(tmp_path)
        assert rows["values/mpjpe"].shape == (16, 24)
        np.testing.assert_allclose(rows["values/mpjpe"][:, 0], 0, atol=1e-12)

    def test_splits_and_counts(self, plain):
        result, _ = plain
        by = {(row["metric"], row["split"]): row for row in result.scores}
        parts = [by["mpjpe", split] for split in ("visible", "occluded", "outside")]
        assert sum(part["values"] for part in parts) == by["mpjpe", "all"]["values"] == 16 * 14
        assert all(part["values"] > 0 for part in parts)
        for metric in ("pve", "pa_pve"):
            parts = [by[metric, split] for split in ("visible", "occluded", "outside")]
            assert sum(part["values"] for part in parts) == 16 * 6890
            total = sum(part["values"] * part["value"] for part in parts)
            assert total == pytest.approx(by[metric, "all"]["value"] * 16 * 6890, rel=1e-9)
        # Ten of the sixteen have both neighbours: 2 + 1 + 1 + 1 + 1.
        assert by["accel", "all"]["count"] == 2 + 1 + 1 + 1 + 1

    def test_result_says_all(self, plain):
        result, out = plain
        assert read_result(out) == result
        assert json.loads((out / "result.json").read_text())["protocol"]["sha256"] == protocol_of().sha256
        assert (result.n_expected, result.n_evaluated, result.n_failed) == (16, 16, 0)
        assert result.frames == {"total": 18, "kept": 16, "dropped": {"camera": 2}}
        regressor = exact_bodies().regressor_sha256("h36m17")
        assert result.fingerprints == {
            "dataset": "fake-fingerprint",
            "body": exact_bodies().fingerprint,
            "regressor": regressor,
            "weights": "fake-weights",
        }
        assert regressor == hashlib.sha256(exact_bodies().regressor("h36m17").numpy().astype("<f8").tobytes()).hexdigest()
        assert (result.device, result.dtype, result.dataset, result.dataset_name) == ("cpu", "float64", CARD, "openhps/test")
        assert {"hpsbench", "torch", "python"} <= result.versions.keys()
        assert not (out / "parts").exists()

    def test_no_truth_reaches_the_model_and_pixels_do(self, bodies, tmp_path, plain):
        clean = evaluate(FakeModel(bodies), protocol_of("openhps-test"), FakeDataset(), bodies, tmp_path)
        assert scores(clean)["pve", "all"] != scores(plain[0])["pve", "all"]


def _batch_of(dataset, places):
    reader = FrameReader(dataset, [[place] for place in places], protocol_of("openhps-test"), FakeModel.crop, None)
    return view_batch([reader[k][0] for k in range(len(places))], torch.device("cpu"))


class TestHowMovesNothing:
    @pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 64])
    def test_batches(self, bodies, tmp_path, plain, batch_size):
        model = FakeModel(bodies)
        result = evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path, batch_size=batch_size)
        assert {len(ids) for ids in model.batches[:-1]} <= {batch_size}
        assert_same_summary(result, plain[0])

    def test_shuffled(self, bodies, tmp_path, plain):
        order = np.random.default_rng(0).permutation(16)
        result = evaluate(FakeModel(bodies), protocol_of(), FakeDataset(order), bodies, tmp_path)
        assert_same_summary(result, plain[0])
        assert_same_rows(tmp_path, plain[1])

    @pytest.mark.parametrize("number", [2, 5, 13])
    def test_shards(self, bodies, tmp_path, plain, number):
        folders = [tmp_path / str(k) for k in range(number)]
        for k in range(number):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, folders[k], shard=(k, number))
        merged = merge_results(folders[::-1], tmp_path / "whole")
        assert_same_summary(merged, plain[0])
        assert merged.shard == (0, 1)
        assert read_result(tmp_path / "whole") == merged
        assert_same_rows(tmp_path / "whole", plain[1])

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_on_a_gpu(self, bodies, tmp_path, plain):
        result = evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path, device="cuda")
        assert result.device.startswith("cuda (")
        for key, value in scores(result).items():
            assert value == pytest.approx(scores(plain[0])[key], abs=1e-4), key

    def test_a_frame_is_decoded_once(self):
        dataset = FakeDataset()
        reads = []
        sample_at = dataset.sample_at

        def counted(i):
            sample = sample_at(i)
            view = dataclasses.replace(sample.view, read=lambda: reads.append(sample.view.image_key) or sample.view.read())
            return dataclasses.replace(sample, view=view)

        dataset.sample_at = counted
        reader = FrameReader(dataset, dataset.frames(), protocol_of(), CropSpec(16), None)
        assert sum(len(people) for people in person_batches(reader, 5, 0)) == 16
        assert len(reads) == len(set(reads)) == 13

    @pytest.mark.parametrize("images", [False, True])
    def test_a_generated_folder_gives_the_same_errors(self, bodies, tmp_path, plain, images):
        dataset = FakeDataset()
        generate(protocol_of(), dataset, tmp_path / "set", images=images)
        result = evaluate(FakeModel(bodies), protocol_of(), dataset, bodies, tmp_path / "out", generated=tmp_path / "set")
        assert_same_summary(result, plain[0])
        assert_same_rows(tmp_path / "out", plain[1])

    def test_an_image_that_people_share_is_read_once_from_a_folder_too(self, tmp_path, monkeypatch):
        dataset, reads = FakeDataset(), []
        clean = protocol_of("openhps-test")
        generate(clean, dataset, tmp_path, images=True)
        monkeypatch.setattr("hpsbench.generated.read_image", lambda path: reads.append(path) or read_image(path))
        reader = FrameReader(dataset, dataset.frames(), clean, CropSpec(16), load_generated(tmp_path, dataset))
        assert sum(len(people) for people in person_batches(reader, 5, 0)) == 16
        assert len(reads) == len(set(reads)) == 13

    @pytest.mark.parametrize("images", [False, True])
    def test_so_does_one_of_the_embedded_set(self, bodies, tmp_path, images):
        protocol = protocol_of()
        rule = protocol.data
        dataset = open_dataset(
            rule.dataset, None, split=rule.split, frames=rule.frames, bbox=rule.bbox, bbox_scale=rule.bbox_scale, bodies=bodies
        )
        generate(protocol, dataset, tmp_path / "set", images=images)
        fly = evaluate(FakeModel(bodies), protocol, dataset, bodies, tmp_path / "fly")
        folder = evaluate(FakeModel(bodies), protocol, dataset, bodies, tmp_path / "folder", generated=tmp_path / "set", batch_size=7)
        assert fly.n_evaluated == fly.n_expected == dataset.counts.kept
        assert_same_summary(folder, fly)
        assert_same_rows(tmp_path / "folder", tmp_path / "fly")

    def test_limit_takes_the_first_people(self, bodies, tmp_path):
        result = evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path, limit=6)
        assert (result.n_expected, result.limit) == (6, 6)
        assert [name.decode() for name in rows_of(tmp_path)["ids"]] == FakeDataset().ids[:6]

    def test_progress(self, bodies, tmp_path):
        seen = []
        evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path, batch_size=6, progress=lambda *now: seen.append(now))
        assert seen == [(6, 16), (12, 16), (16, 16)]


class Killed(Exception):
    """Not one of ours: the process ends here."""


class TestResume:
    def test_a_killed_run_goes_on(self, bodies, tmp_path, plain, monkeypatch):
        monkeypatch.setattr(room, "_PART_ROWS", 4)

        def die(done, total):
            if done >= 9:
                raise Killed

        with pytest.raises(Killed):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path, batch_size=3, progress=die)
        assert not (tmp_path / "result.json").exists()
        assert list((tmp_path / "parts").iterdir())
        model = FakeModel(bodies)
        result = evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path, batch_size=5)
        assert 0 < sum(map(len, model.batches)) < 16
        assert_same_summary(result, plain[0])

    def test_a_finished_run_is_not_run_again(self, bodies, tmp_path):
        first = evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path)
        model = FakeModel(bodies)
        assert evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path) == first
        assert not model.batches
        assert evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path, resume=False) == first
        assert model.batches

    @pytest.mark.parametrize("what", ["protocol", "model", "dataset", "limit"])
    def test_a_folder_of_another_run_is_refused(self, bodies, tmp_path, what):
        evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path)
        model, dataset = FakeModel(bodies), FakeDataset()
        model.weights_sha256 = "others" if what == "model" else model.weights_sha256
        dataset.fingerprint = "others" if what == "dataset" else dataset.fingerprint
        protocol = protocol_of("openhps-test" if what == "protocol" else "openhps-xocc")
        before = (tmp_path / "result.json").read_bytes()
        with pytest.raises(ResultError, match=r"belongs to another run.*Choose another folder, or start over"):
            evaluate(model, protocol, dataset, bodies, tmp_path, limit=3 if what == "limit" else None)
        assert (tmp_path / "result.json").read_bytes() == before

    def test_an_edited_model_file_is_another_model(self, bodies, tmp_path):
        model = FakeModel(bodies)
        evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path)
        model.code_sha256 = "edited"
        with pytest.raises(ResultError, match=r"another run \(model_code"):
            evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path)

    def test_rows_of_two_runs_at_once_are_not_counted_twice(self, bodies, tmp_path, monkeypatch):
        monkeypatch.setattr(room, "_PART_ROWS", 1)
        with pytest.raises(DataError):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(broken=BAD[1:]), bodies, tmp_path, batch_size=1)
        shutil.copy(tmp_path / "parts/part-000000.h5", tmp_path / "parts/part-000099.h5")
        with pytest.raises(ResultError, match=r"of 16 samples 0 have no row, 1 have several.*--restart"):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path)
        assert not (tmp_path / "result.json").exists()

    def test_starting_over_with_a_wrong_folder_keeps_the_old_result(self, bodies, tmp_path):
        out = tmp_path / "out"
        evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, out)
        with pytest.raises(ResultError, match="no finished generated folder"):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, out, resume=False, generated=tmp_path / "none")
        assert (out / "result.json").is_file()
        assert (out / "errors.h5").is_file()

    def test_a_broken_part_is_named(self, bodies, tmp_path, monkeypatch):
        monkeypatch.setattr(room, "_PART_ROWS", 1)
        with pytest.raises(DataError):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(broken=BAD[1:]), bodies, tmp_path, batch_size=1)
        (tmp_path / "parts" / "part-000000.h5").write_bytes(b"nothing")
        with pytest.raises(ResultError, match=r"part-000000\.h5 cannot be read"):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path)


class TestFailures:
    def test_mean_pose_takes_their_place_and_they_are_counted(self, bodies, tmp_path, plain):
        result = evaluate(FakeModel(bodies, bad=BAD), protocol_of(), FakeDataset(), bodies, tmp_path / "bad", batch_size=3)
        assert (result.n_expected, result.n_evaluated, result.n_failed) == (16, 16, 2)
        fallback = load_model("mean-pose", bodies=bodies, device=torch.device("cpu"))
        evaluate(fallback, protocol_of(), FakeDataset(), bodies, tmp_path / "mean")
        now, mean, good = (rows_of(folder) for folder in (tmp_path / "bad", tmp_path / "mean", plain[1]))
        replaced = np.array([name.decode() in BAD for name in now["ids"]])
        np.testing.assert_array_equal(now["failed"], replaced)
        for key in ("mpjpe", "pa_mpjpe", "pve", "mpjae"):
            np.testing.assert_allclose(now[f"values/{key}"][replaced], mean[f"values/{key}"][replaced], rtol=1e-9)
            np.testing.assert_allclose(now[f"values/{key}"][~replaced], good[f"values/{key}"][~replaced], rtol=1e-9)

    def test_nan_leaves_them_out_and_says_so(self, bodies, tmp_path):
        result = evaluate(FakeModel(bodies, bad=BAD), protocol_of(on_failure="nan"), FakeDataset(), bodies, tmp_path)
        assert (result.n_expected, result.n_evaluated, result.n_failed) == (16, 14, 2)
        by = {(row["metric"], row["split"]): row["count"] for row in result.scores}
        assert by["mpjpe", "all"] == 14
        # The three accelerations around frame 1 of b/0 and those at 5 of c, whose neighbour 4 is gone.
        assert by["accel", "all"] == 6 - 2

    def test_error_names_them(self, bodies, tmp_path):
        with pytest.raises(PredictionError, match=rf"fake\.test has no valid answer.*for 2 of 16 people: {BAD[0]}, {BAD[1]}\."):
            evaluate(FakeModel(bodies, bad=BAD), protocol_of(on_failure="error"), FakeDataset(), bodies, tmp_path)
        assert not (tmp_path / "result.json").exists()

    @pytest.mark.parametrize(
        ("given", "number", "dtype"), [("rotmats", 1e20, "float64"), ("joints", -2e6, "float32"), ("vertices", torch.inf, "float16")]
    )
    def test_numbers_that_nothing_is_as_large_as(self, bodies, tmp_path, given, number, dtype):
        """As the reader of prediction files has it: beyond a million of metres a model overflowed."""
        model = FakeModel(bodies, only=given)
        whole = model.predict

        def predict(batch):
            answer = whole(batch)
            tensor = getattr(answer, given).to(getattr(torch, dtype))
            tensor[[name in BAD for name in batch.ids], 3, ..., 1] = number
            return dataclasses.replace(answer, **{given: tensor})

        model.predict = predict
        result = evaluate(model, protocol_of(on_failure="nan"), FakeDataset(), bodies, tmp_path)
        assert (result.n_evaluated, result.n_failed) == (14, 2)
        assert [name.decode() for name in rows_of(tmp_path)["ids"][rows_of(tmp_path)["failed"]]] == sorted(BAD)
        assert scores(result)["mpjpe", "all"] < 1e6

    def test_all_fail(self, bodies, tmp_path):
        model = FakeModel(bodies, bad=FakeDataset().ids)
        result = evaluate(model, protocol_of(on_failure="nan"), FakeDataset(), bodies, tmp_path)
        assert (result.n_evaluated, result.n_failed) == (0, 16)
        assert set(scores(result).values()) == {None}

    def test_an_answer_of_another_kind(self, bodies, tmp_path):
        model = FakeModel(bodies)
        model.predict = lambda batch: {"rotmats": None}
        with pytest.raises(PredictionError, match=r"answered with a dict, expected hpsbench\.types\.Prediction"):
            evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path)

    def test_too_few_answers(self, bodies, tmp_path):
        model = FakeModel(bodies)
        whole = model.predict
        model.predict = lambda batch: room.answers.part_of(whole(batch), slice(1, None))
        with pytest.raises(PredictionError, match=r"gave 15 answers for 16 people"):
            evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_broken_image_keeps_its_message(self, bodies, tmp_path, workers):
        with pytest.raises(DataError, match=rf"^Image of {BAD[0]} is broken\.$"):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(broken=BAD[:1]), bodies, tmp_path, workers=workers)
        assert not list(tmp_path.glob("result.json"))


class TestWhatModelsGive:
    def test_vertices_alone_score_as_their_body(self, bodies, tmp_path):
        wanted = scores(evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "a"))
        given = scores(evaluate(FakeModel(bodies, only="vertices"), protocol_of(), FakeDataset(), bodies, tmp_path / "b"))
        for key, value in given.items():
            assert value == (None if "mpjae" in key[0] else pytest.approx(wanted[key], rel=1e-9))

    def test_joints_alone_have_no_mesh(self, bodies, tmp_path):
        wanted = scores(evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "a"))
        model = FakeModel(bodies, only="joints", bad=BAD)
        result = evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path / "b")
        assert result.n_failed == 2
        for (metric, split), value in scores(result).items():
            assert (value is None) == (metric in ("pve", "pa_pve", "mpjae", "pa_mpjae"))
            assert metric != "mpjpe" or value == pytest.approx(wanted[metric, split], rel=0.5)

    def test_vertices_and_the_kinematic_joints_that_no_vertices_tell(self, bodies, tmp_path):
        """With joints of its own beside them a model scores as its body; without, meshes cannot be moved by their root."""
        rule = {"joints": "smpl24", "regressor": "smpl24", "pa_fit": "smpl24", "pve_align": "root", "metrics": ("mpjpe", "pa_mpjpe", "pve")}
        protocol = protocol_of("openhps-test", **rule)
        wanted = scores(evaluate(FakeModel(bodies), protocol, FakeDataset(), bodies, tmp_path / "body"))
        alone, joints = FakeModel(bodies, only="vertices"), FakeModel(bodies, only="joints", skeleton="smpl24")
        with pytest.raises(
            PredictionError, match=r"vertices alone, .* root of smpl24's joints, which no vertices tell\. .* joints of 'smpl24'"
        ):
            evaluate(alone, protocol, FakeDataset(), bodies, tmp_path / "alone")
        whole = alone.predict
        alone.predict = lambda batch: dataclasses.replace(whole(batch), joints=joints.predict(batch).joints, skeleton="smpl24")
        found = scores(evaluate(alone, protocol, FakeDataset(), bodies, tmp_path / "both"))
        assert found == {key: None if value is None else pytest.approx(value, rel=1e-9) for key, value in wanted.items()}

    @pytest.mark.parametrize("skeleton", ["coco17", "smpl24"])
    def test_joints_of_another_skeleton_cannot_be_scored(self, bodies, tmp_path, skeleton):
        model = FakeModel(bodies, only="joints", skeleton=skeleton)
        with pytest.raises(PredictionError, match=f"joints of '{skeleton}', but .* of 'h36m17': .* centimetres apart"):
            evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path)

    def test_a_mesh_of_another_body(self, bodies, tmp_path):
        model = FakeModel(bodies)
        model.predict = lambda batch: Prediction(torch.zeros(len(batch), dtype=torch.bool), vertices=torch.zeros(len(batch), 10475, 3))
        with pytest.raises(PredictionError, match="10475 vertices, expected the 6890"):
            evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path)

    def test_a_truth_without_a_body_has_joints(self, bodies, tmp_path):
        result = evaluate(FakeModel(bodies), protocol_of("openhps-test"), FakeDataset(with_body=False), bodies, tmp_path)
        for (metric, split), value in scores(result).items():
            assert (value is None) == (metric in ("pve", "pa_pve", "mpjae", "pa_mpjae") or split in ("occluded", "outside"))

    def test_a_model_without_a_crop_reads_no_image(self, bodies, tmp_path):
        model = load_model("mean-pose", bodies=bodies, device=torch.device("cpu"))
        result = evaluate(model, protocol_of(), FakeDataset(broken=FakeDataset().ids), bodies, tmp_path)
        assert result.n_evaluated == 16

    def test_predictions_from_a_file(self, bodies, tmp_path, plain):
        dataset = FakeDataset()
        answer = FakeModel(bodies).predict(_batch_of(dataset, range(16)))
        ids = [*dataset.ids[:14], dataset.ids[14], dataset.ids[14], "nobody"]
        rows = [*range(15), 14, 0]
        np.savez(tmp_path / "p.npz", ids=ids, rotmats=answer.rotmats[rows].numpy(), betas=answer.betas[rows].numpy())
        folders = [tmp_path / "0", tmp_path / "1"]
        for k, folder in enumerate(folders):
            model = load_model(f"predictions:{tmp_path / 'p.npz'}", bodies=bodies, device=torch.device("cpu"))
            evaluate(model, protocol_of("openhps-test", on_failure="nan"), dataset, bodies, folder, shard=(k, 2))
        merged = merge_results(folders, tmp_path / "whole")
        assert (merged.n_expected, merged.n_evaluated, merged.n_failed) == (16, 14, 2)
        assert merged.id_counts == {"missing": 1, "duplicate": 1, "unknown": 1}
        assert plain[0].id_counts == {}

    def test_the_perfect_model_has_no_error(self, bodies, tmp_path):
        dataset, model = FakeDataset(), FakeModel(bodies)

        def predict(batch):
            truths = [dataset[dataset.index_of(name)].truth for name in batch.ids]
            rotvecs, betas = (torch.from_numpy(np.stack([getattr(t, key) for t in truths])) for key in ("rotvecs", "betas"))
            return Prediction(torch.zeros(len(batch), dtype=torch.bool), rotmats=roma.rotvec_to_rotmat(rotvecs), betas=betas)

        model.predict = predict
        result = evaluate(model, protocol_of(gt_gender="neutral"), dataset, bodies, tmp_path)
        # A tenth of a micrometre: float64 algebra on metres; angles lose half their digits near zero.
        assert all(value is None or value < 1e-4 for value in scores(result).values())


class TestBadInput:
    def test_nobody_to_evaluate(self, bodies, tmp_path):
        dataset = FakeDataset(order=())
        dataset.counts = FrameCounts(18, 0, {"camera": 18})
        with pytest.raises(DataError, match=r"has nobody to evaluate: 0 of 18 person-frames kept; dropped: 18 \(camera\)"):
            evaluate(FakeModel(bodies), protocol_of(), dataset, bodies, tmp_path)

    @pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 14)])
    def test_no_such_shard(self, bodies, tmp_path, shard):
        with pytest.raises(ResultError, match="at most one shard per frame"):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path, shard=shard)

    def test_merge_wants_every_shard_once(self, bodies, tmp_path):
        folders = [tmp_path / str(k) for k in range(2)]
        for k in range(2):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, folders[k], shard=(k, 2))
        for wrong in ([folders[0]], [folders[0], folders[0]], []):
            with pytest.raises(ResultError, match=r"each of the 2 shards once|No shard to merge"):
                merge_results(wrong, tmp_path / "whole")
        evaluate(FakeModel(bodies), protocol_of("openhps-test"), FakeDataset(), bodies, tmp_path / "other", shard=(1, 2))
        with pytest.raises(ResultError, match=r"different evaluations \(they differ in protocol, protocol_sha256\)"):
            merge_results([folders[0], tmp_path / "other"], tmp_path / "whole")
        assert not (tmp_path / "whole").exists()

    def test_no_result(self, tmp_path):
        with pytest.raises(ResultError, match=r"holds no result\.json"):
            read_result(tmp_path)
        (tmp_path / "result.json").write_text("{}")
        with pytest.raises(ResultError, match="broken or of another version"):
            read_result(tmp_path)

    def test_a_generated_folder_that_does_not_fit(self, bodies, tmp_path):
        dataset, out = FakeDataset(), tmp_path / "out"
        generate(protocol_of(), dataset, tmp_path / "half", shard=(0, 2))
        generate(protocol_of("openhps-test"), dataset, tmp_path / "other")
        for name, message in {
            "half": "holds no plan for",
            "other": r"generated by protocol 'openhps-test\.v1'",
            "none": "no finished",
        }.items():
            with pytest.raises(ResultError, match=message):
                evaluate(FakeModel(bodies), protocol_of(), dataset, bodies, out, generated=tmp_path / name)

    def test_a_full_disk_leaves_nothing_half_written(self, bodies, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(HpsbenchError, match="No space left on device"):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
