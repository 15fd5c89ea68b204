"""``hpsbench predict``: a file that scores as its model does, under the protocols that show the same views and no others."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
import torch
from fakes import FakeDataset, FakeModel, exact_bodies
from test_cases import Missing, small
from test_evaluate import BAD, Flipping, protocol_of, scores
from test_predictions import assert_same_scores

import hpsbench.predict as room
from hpsbench.errors import DataError, PredictionError, ProtocolError, ResultError
from hpsbench.evaluate import evaluate
from hpsbench.models.base import load_model
from hpsbench.predict import predict
from hpsbench.protocol import load_protocol
from hpsbench.store import sha256_of_file
from hpsbench.types import Prediction

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bodies():
    return exact_bodies()


def rows_of(path):
    """The arrays of a file by name, rows in the order of their ids; its attributes."""
    with h5py.File(path) as file:
        ids = file["ids"].asstr()[()].astype(str)
        order = np.argsort(ids)
        return {"ids": ids[order]} | {key: array[()][order] for key, array in file.items() if key != "ids"}, dict(file.attrs)


def opened(path, bodies):
    return load_model(f"predictions:{path}", bodies=bodies, device=CPU)


def check(model, protocol, dataset):
    model.check_views(
        protocol.id, protocol.content, family=dataset.family or dataset.name, split=dataset.split, fingerprint=dataset.fingerprint
    )


class Narrow(FakeModel):
    """The fake model with answers in float32, as networks give them."""

    def predict(self, batch):
        answer = super().predict(batch)
        fields = {name: getattr(answer, name) for name in Prediction.__dataclass_fields__}
        return Prediction(**{key: value.float() if hasattr(value, "float") and key != "failed" else value for key, value in fields.items()})


def scored_both_ways(model, protocol, dataset, bodies, folder, **how):
    """The result of a model, and that of its file under the same protocol."""
    direct = evaluate(model, protocol, dataset, bodies, folder / "direct")
    predict(model, protocol, dataset, bodies, folder / "p.h5", **how)
    read = opened(folder / "p.h5", bodies)
    check(read, protocol, dataset)
    return direct, evaluate(read, protocol, dataset, bodies, folder / "file", batch_size=5)


class TestSameNumbers:
    @pytest.mark.parametrize("name", ["openhps-test", "openhps-xocc"])
    def test_answers_in_float32_lose_nothing(self, bodies, tmp_path, name):
        direct, read = scored_both_ways(Narrow(bodies, bad=BAD), protocol_of(name), FakeDataset(), bodies, tmp_path)
        assert_same_scores(read, direct)
        assert (read.n_expected, read.n_evaluated, read.n_failed) == (16, 16, 2)
        assert read.id_counts == {"missing": 0, "duplicate": 0, "unknown": 0}

    @pytest.mark.parametrize(("dtype", "close_mm"), [("float32", 1e-3), ("float16", 0.5)])
    def test_wider_answers_are_rounded(self, bodies, tmp_path, dtype, close_mm):
        direct, read = scored_both_ways(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path, dtype=dtype)
        for key in ("mpjpe", "pa_mpjpe", "pve", "pa_pve"):
            assert scores(read)[key, "all"] == pytest.approx(scores(direct)[key, "all"], abs=close_mm)
        rows, _ = rows_of(tmp_path / "p.h5")
        assert rows["rotmats"].dtype == dtype

    @pytest.mark.parametrize("only", ["joints", "vertices"])
    def test_models_without_rotations(self, bodies, tmp_path, only):
        direct, read = scored_both_ways(Narrow(bodies, bad=BAD, only=only), protocol_of(), FakeDataset(), bodies, tmp_path, dtype="float16")
        found, attributes = rows_of(tmp_path / "p.h5")
        assert found[only].dtype == ("float32" if only == "joints" else "float16")
        assert attributes.get("skeleton") == ("h36m17" if only == "joints" else None)
        if only == "joints":
            assert_same_scores(read, direct)
        else:
            assert scores(read)["pve", "all"] == pytest.approx(scores(direct)["pve", "all"], abs=0.5)

    def test_several_cases_some_of_them_not_possible(self, bodies, tmp_path):
        direct, read = scored_both_ways(Narrow(bodies), small("hkmr-circle@openhps-test"), Missing(), bodies, tmp_path)
        assert_same_scores(read, direct)
        assert read.skipped == direct.skipped == {"joint not annotated": 2}
        rows, attributes = rows_of(tmp_path / "p.h5")
        skipped = [str(name) for name, row in zip(rows["ids"], rows["rotmats"], strict=True) if np.isnan(row).all()]
        assert skipped == [f"{Missing.UNKNOWN}@level={k},on=neck" for k in (1, 2)]
        assert (attributes["n"], attributes["n_failed"]) == ("64", "2")
        assert read.id_counts["missing"] == 0

    def test_one_file_under_many_protocols(self, bodies, tmp_path):
        """Root, fit, joints and the truth's body are no part of a view."""
        dataset = FakeDataset()
        predict(Narrow(bodies), protocol_of("openhps-test"), dataset, bodies, tmp_path / "p.h5")
        for name, rule in {
            "hips": {"root": "hips"},
            "fit17": {"pa_fit": "h36m17"},
            "neutral": {"gt_gender": "neutral"},
            "smpl24": {"joints": "smpl24", "regressor": "smpl24", "pa_fit": "smpl24"},
        }.items():
            protocol = protocol_of("openhps-test", **rule)
            read = opened(tmp_path / "p.h5", bodies)
            check(read, protocol, dataset)
            direct = evaluate(Narrow(bodies), protocol, dataset, bodies, tmp_path / name)
            assert_same_scores(evaluate(read, protocol, dataset, bodies, tmp_path / f"{name}-file"), direct)

    def test_a_protocol_without_flips_asks_the_model_without(self, bodies, tmp_path):
        protocol = protocol_of(flips="none")
        direct, read = scored_both_ways(Flipping(bodies), protocol, FakeDataset(), bodies, tmp_path)
        assert scores(read)["pve", "all"] == pytest.approx(scores(direct)["pve", "all"], abs=1e-3)
        with pytest.raises(PredictionError, match="flips: there none, now own"):
            check(opened(tmp_path / "p.h5", bodies), protocol_of(), FakeDataset())


class TestFile:
    def test_what_it_says(self, bodies, tmp_path):
        protocol, dataset = protocol_of(), FakeDataset()
        about = predict(FakeModel(bodies, bad=BAD), protocol, dataset, bodies, tmp_path / "p.h5", batch_size=3)
        rows, attributes = rows_of(tmp_path / "p.h5")
        assert about == attributes
        assert rows["ids"].tolist() == sorted(dataset.ids)
        assert rows.keys() == {"ids", "rotmats", "betas", "squares_xyxy"}
        assert (about["n"], about["n_failed"], about["protocol"], about["protocol_sha256"]) == (
            "16",
            "2",
            "openhps-xocc.v1",
            protocol.sha256,
        )
        assert (about["weights_sha256"], about["fingerprint"], about["split"]) == ("fake-weights", "fake-fingerprint", "test")
        assert (about["body_fingerprint"], about["box_scale"], about["dtype"]) == (bodies.fingerprint, "1.25", "float32")
        assert json.loads(about["views"])["occluders"] == protocol.content["occluders"]
        model = opened(tmp_path / "p.h5", bodies)
        assert (model.card.name, model.card.trained_on) == ("fake.test", ("coco",))
        assert "read from p.h5" in model.card.how
        assert model.weights_sha256 == sha256_of_file(tmp_path / "p.h5")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["p.h5"]

    def test_vertices_for_others(self, bodies, tmp_path):
        predict(Narrow(bodies), protocol_of("openhps-test"), FakeDataset(), bodies, tmp_path / "p.h5", vertices=True, limit=3)
        rows, about = rows_of(tmp_path / "p.h5")
        assert (rows["vertices"].shape, rows["vertices"].dtype, about["limit"]) == ((3, 6890, 3), "float32", "3")
        mesh = bodies.neutral(torch.from_numpy(rows["betas"]).double(), torch.from_numpy(rows["rotmats"]).double()).vertices
        np.testing.assert_allclose(rows["vertices"], mesh.numpy(), atol=1e-6)

    @pytest.mark.parametrize("how", [{"batch_size": 1}, {"batch_size": 7}, {"shuffled": True}])
    def test_how_moves_no_number(self, bodies, tmp_path, how):
        dataset = FakeDataset(np.random.default_rng(0).permutation(16) if how.pop("shuffled", False) else None)
        predict(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5")
        predict(FakeModel(bodies), protocol_of(), dataset, bodies, tmp_path / "q.h5", **how)
        (one, about), (two, other) = (rows_of(tmp_path / name) for name in ("p.h5", "q.h5"))
        assert about == other
        assert all(np.array_equal(one[key], two[key]) for key in one.keys() | two.keys())


class TestGoingOn:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        monkeypatch.setattr(room, "_PART_ROWS", 6)

    @staticmethod
    def killed(done, total):
        if done >= 40:
            raise KeyboardInterrupt

    def test_after_a_kill(self, bodies, tmp_path):
        protocol, dataset = small("hkmr-circle@openhps-test"), Missing()
        predict(FakeModel(bodies), protocol, dataset, bodies, tmp_path / "whole.h5")
        with pytest.raises(KeyboardInterrupt):
            predict(FakeModel(bodies), protocol, dataset, bodies, tmp_path / "p.h5", batch_size=3, progress=self.killed)
        assert not (tmp_path / "p.h5").exists()
        model = FakeModel(bodies)
        predict(model, protocol, dataset, bodies, tmp_path / "p.h5", batch_size=5)
        assert 0 < sum(map(len, model.batches)) <= 64 - 36
        (one, about), (two, other) = (rows_of(tmp_path / name) for name in ("whole.h5", "p.h5"))
        assert about == other
        assert all(np.array_equal(one[key], two[key], equal_nan=key != "ids") for key in one)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["p.h5", "whole.h5"]

    def test_a_finished_file_is_left_as_it_is(self, bodies, tmp_path):
        first = predict(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5")
        model, before = FakeModel(bodies), (tmp_path / "p.h5").read_bytes()
        assert predict(model, protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5") == first
        assert not model.batches
        assert (tmp_path / "p.h5").read_bytes() == before
        predict(model, protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5", resume=False)
        assert model.batches

    def test_another_run_is_refused(self, bodies, tmp_path):
        predict(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5")
        before = (tmp_path / "p.h5").read_bytes()
        other = FakeModel(bodies)
        other.weights_sha256 = "others"
        for model, protocol, how, said in (
            (other, protocol_of(), {}, "weights_sha256"),
            (FakeModel(bodies), protocol_of("openhps-test"), {}, "protocol, protocol_sha256, views"),
            (FakeModel(bodies), protocol_of(), {"dtype": "float16"}, "dtype"),
        ):
            with pytest.raises(ResultError, match=rf"another run of `hpsbench predict` \(its {said} differ\)"):
                predict(model, protocol, FakeDataset(), bodies, tmp_path / "p.h5", **how)
        with pytest.raises(KeyboardInterrupt):
            predict(FakeModel(bodies), small("hkmr-circle@openhps-test"), Missing(), bodies, tmp_path / "q.h5", progress=self.killed)
        with pytest.raises(ResultError, match=r"q\.h5\.parts belongs to another run"):
            predict(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "q.h5")
        assert (tmp_path / "p.h5").read_bytes() == before

    @pytest.mark.parametrize("resume", [True, False])
    def test_no_other_file_is_written_over(self, bodies, tmp_path, resume):
        (tmp_path / "p.h5").write_bytes(b"mine")
        with pytest.raises(ResultError, match="is there already and was not written by"):
            predict(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5", resume=resume)
        assert (tmp_path / "p.h5").read_bytes() == b"mine"

    def test_a_broken_part_is_named(self, bodies, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            predict(FakeModel(bodies), small("hkmr-circle@openhps-test"), Missing(), bodies, tmp_path / "q.h5", progress=self.killed)
        (tmp_path / ".q.h5.parts/part-000000.h5").write_bytes(b"nothing")
        with pytest.raises(ResultError, match=r"part-000000\.h5 cannot be read"):
            predict(FakeModel(bodies), small("hkmr-circle@openhps-test"), Missing(), bodies, tmp_path / "q.h5")


@pytest.fixture(scope="module")
def clean(bodies, tmp_path_factory):
    """A file of answers to the people as they are."""
    path = tmp_path_factory.mktemp("clean") / "p.h5"
    predict(FakeModel(bodies), protocol_of("openhps-test"), FakeDataset(), bodies, path)
    return path


class TestOtherViews:
    def test_under_an_occluder(self, bodies, clean):
        """One message: what was found, what was expected, what to do."""
        with pytest.raises(PredictionError) as error:
            check(opened(clean, bodies), protocol_of("openhps-xocc"), FakeDataset())
        said = str(error.value)
        assert "holds answers to the views of protocol 'openhps-test.v1', and 'openhps-xocc.v1' shows others" in said
        assert "occluders: there none, now truncation-window, noise-patch" in said
        assert "Run `hpsbench predict --protocol openhps-xocc` and score its file, or take a protocol of the views" in said

    def test_of_another_draw(self, bodies, tmp_path):
        predict(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5")
        with pytest.raises(PredictionError, match="seed: there 0, now 7"):
            check(opened(tmp_path / "p.h5", bodies), dataclasses.replace(protocol_of(), seed=7), FakeDataset())

    def test_over_silhouettes_of_other_bodies(self, bodies, tmp_path, monkeypatch):
        """A protocol whose occluders are measured on the true meshes shows other views with other bodies."""
        protocol = load_protocol("matched-bar-mask@openhps-test")
        predict(FakeModel(bodies), protocol, FakeDataset(), bodies, tmp_path / "p.h5", limit=1)
        check(opened(tmp_path / "p.h5", bodies), protocol, FakeDataset())
        others = exact_bodies().to(dtype=torch.float32)
        monkeypatch.setitem(vars(others), "fingerprint", "others")
        with pytest.raises(PredictionError, match=r"body: there [0-9a-f]{12}, now others"):
            check(opened(tmp_path / "p.h5", others), protocol, FakeDataset())

    @pytest.mark.parametrize("change", [{"bbox": "annotation"}, {"bbox_scale": 1.2}])
    def test_in_other_boxes(self, bodies, clean, change):
        protocol = protocol_of("openhps-test")
        protocol = dataclasses.replace(protocol, data=dataclasses.replace(protocol.data, **change))
        with pytest.raises(PredictionError, match=f"{next(iter(change))}: there"):
            check(opened(clean, bodies), protocol, FakeDataset())

    def test_of_other_annotations(self, bodies, clean):
        dataset = FakeDataset()
        dataset.fingerprint = "others"
        with pytest.raises(PredictionError, match="the data's fingerprint: there fake-fingerp, now others"):
            check(opened(clean, bodies), protocol_of("openhps-test"), dataset)

    def test_another_split_is_told_by_its_boxes(self, bodies, clean, tmp_path):
        """Ids and squares say which person it is, so that a file of all splits serves each of them; a moved box is an error."""

        class Moved(FakeDataset):
            split = "all"

            def sample_at(self, i):
                sample = super().sample_at(i)
                return dataclasses.replace(sample, view=dataclasses.replace(sample.view, bbox_xyxy=sample.view.bbox_xyxy + 3))

        protocol = protocol_of("openhps-test")
        with pytest.raises(PredictionError, match=r"another view of 'openhps/test/a/00000/0': its model was shown .* \(16 of 16 people"):
            evaluate(opened(clean, bodies), protocol, Moved(), bodies, tmp_path)

    def test_a_users_own_file_says_nothing(self, bodies, tmp_path):
        rotmats = np.broadcast_to(np.eye(3), (2, 24, 3, 3))
        np.savez(tmp_path / "p.npz", ids=["a", "b"], rotmats=rotmats, betas=np.zeros((2, 10)))
        check(opened(tmp_path / "p.npz", bodies), protocol_of("openhps-xocc"), FakeDataset())


class TestBadAnswers:
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (lambda whole, batch: {"rotmats": None}, r"answered with a dict, expected hpsbench\.types\.Prediction"),
            (lambda whole, batch: whole(dataclasses.replace(batch, ids=batch.ids[1:], crops=batch.crops[1:])), "15 answers for 16 people"),
        ],
    )
    def test_of_another_kind(self, bodies, tmp_path, answer, said):
        model = FakeModel(bodies)
        whole = model.predict
        model.predict = lambda batch: answer(whole, batch)
        with pytest.raises(PredictionError, match=said):
            predict(model, protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5")
        assert not (tmp_path / "p.h5").exists()

    def test_that_change(self, bodies, tmp_path):
        model, other = FakeModel(bodies), FakeModel(bodies, only="joints")
        first = model.predict
        model.predict = lambda batch: first(batch) if len(model.batches) < 2 else other.predict(batch)
        with pytest.raises(PredictionError, match=r"gave rotmats \(24, 3, 3\), betas \(10,\) at first and joints \(17, 3\) now"):
            predict(model, protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5", batch_size=3)

    def test_nobody_to_ask(self, bodies, tmp_path):
        with pytest.raises(DataError, match="has nobody to show"):
            predict(FakeModel(bodies), protocol_of(), FakeDataset(order=()), bodies, tmp_path / "p.h5")

    def test_joints_hidden_without_a_pixel(self, bodies, tmp_path):
        with pytest.raises(ProtocolError, match=r"nothing is hidden from model 'fake\.test', which takes images"):
            predict(FakeModel(bodies), load_protocol("key-points-gvhmr@openhps-test"), FakeDataset(), bodies, tmp_path / "p.h5")

    def test_an_unknown_dtype(self, bodies, tmp_path):
        with pytest.raises(ValueError, match="expected float32 or float16, but got 'float8'"):
            predict(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "p.h5", dtype="float8")


@pytest.mark.parametrize("model", ["mean-pose", "niki"])
def test_as_typed(run, tmp_path, model):
    """Two people of the embedded set: the bundled model, and its file, the same numbers."""
    status, out, err = run("predict", "--model", model, "--limit", "2", "--out", "p.h5")
    assert (status, out) == (0, "")
    assert "2 answers, 0 of them none. Next: hpsbench eval --model predictions:p.h5 --protocol openhps-test" in err
    for name in (model, "predictions:p.h5"):
        status, *_ = run("eval", "--model", name, "--limit", "2", "--out", name.partition(":")[0])
        assert status == 0
    direct, read = (json.loads((tmp_path / name / "result.json").read_text()) for name in (model, "predictions"))
    assert read["scores"] == direct["scores"]
    assert read["model"]["trained_on"] == direct["model"]["trained_on"]


class TestRefusedByEvaluation:
    """What ``evaluate`` asks of a file before any work."""

    def test_answers_to_clean_views_under_an_occluder(self, bodies, clean, tmp_path):
        with pytest.raises(PredictionError, match=r"'openhps-xocc\.v1' shows others"):
            evaluate(opened(clean, bodies), protocol_of("openhps-xocc"), FakeDataset(), bodies, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_ids_of_cases_are_known(self, bodies, tmp_path):
        protocol = small("hkmr-circle@openhps-test")
        predict(Narrow(bodies), protocol, Missing(), bodies, tmp_path / "p.h5")
        result = evaluate(opened(tmp_path / "p.h5", bodies), protocol, Missing(), bodies, tmp_path / "out", shard=(0, 2))
        assert result.id_counts == {"missing": 0, "duplicate": 0, "unknown": 0}
