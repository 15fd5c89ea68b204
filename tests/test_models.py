"""The model contract: finding models, the plug-ins, and predictions made elsewhere."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from writers.batches import batch_of
from writers.weights import CARD, SMALL_HYBRIK, SMALL_NIKI, small_hybrik, small_niki

from hpsbench.body.bodies import load_bodies
from hpsbench.errors import HpsbenchError, PredictionError, UnknownNameError, WeightsError
from hpsbench.models.base import card_of, joint_sha256, load_model, pick_device, rows_of
from hpsbench.models.hybrik import Hybrik
from hpsbench.models.nets.checkpoint import Checkpoint
from hpsbench.models.nets.hybrik_net import HybrikConfig
from hpsbench.models.niki import Niki
from hpsbench.store import sha256_of_file
from hpsbench.types import Prediction

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    one_stage = SMALL_NIKI.to_record() | {"kind": "one-stage"}
    refined = HybrikConfig.from_record(SMALL_HYBRIK.to_record() | {"refine": "hybrik", "camera": 1, "flip": True})
    return {
        "hybrik": small_hybrik(folder / "hybrik.safetensors"),
        "refined": small_hybrik(folder / "refined.safetensors", refined),
        "niki": small_niki(folder / "niki.safetensors"),
        "one-stage": small_niki(folder / "one.safetensors", type(SMALL_NIKI).from_record(one_stage)),
    }


def same(one: Prediction, two: Prediction) -> bool:
    pairs = [(vars(one)[key], vars(two)[key]) for key in vars(one) if key != "skeleton"]
    return all((a is None and b is None) or torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in pairs)


class TestFinding:
    def test_unknown_name(self, bodies):
        with pytest.raises(UnknownNameError, match="Did you mean 'niki'"):
            load_model("nikki", bodies=bodies, device=CPU)

    def test_missing_weights_file(self, bodies, tmp_path):
        with pytest.raises(WeightsError, match=r"no file .*absent.pth"):
            load_model("hybrik", weights=[tmp_path / "absent.pth"], bodies=bodies, device=CPU)

    def test_class_in_a_file(self, bodies, tmp_path):
        path = tmp_path / "mine.py"
        path.write_text(
            "import torch\n"
            "from hpsbench.models.base import Model\n"
            "from hpsbench.types import Card, Prediction\n"
            "class Mine(Model):\n"
            "    card = Card('mine', 'a test', 'here', 'none')\n"
            "    def predict(self, batch):\n"
            "        failed = torch.zeros(len(batch), dtype=torch.bool)\n"
            "        return Prediction(failed, joints=torch.zeros(len(batch), 24, 3), skeleton='smpl24')\n"
        )
        weights = tmp_path / "weights.bin"
        weights.write_bytes(b"abc")
        model = load_model(f"{path}:Mine", weights=[weights], bodies=bodies, device=CPU)
        assert (model.card.name, model.crop, model.weights_sha256) == ("mine", None, sha256_of_file(weights))
        assert model.predict(batch_of(3, None)).joints.shape == (3, 24, 3)
        assert model.code_sha256 == sha256_of_file(path)

    @pytest.mark.parametrize(
        ("text", "name", "message"),
        [
            ("class Mine: pass", "Nine", "Did you mean 'Mine'"),
            ("x = 1", "x", "Known: none"),
            ("import nothing_of_that_name", "Mine", "cannot be imported"),
            ("class Mine: pass", "Mine", "could not be made"),
            ("class Mine:\n    def __init__(self, *given): pass", "Mine", "does not keep the contract"),
        ],
    )
    def test_bad_class_files(self, bodies, tmp_path, text, name, message):
        path = tmp_path / "mine.py"
        path.write_text(text)
        with pytest.raises(HpsbenchError, match=message):
            load_model(f"{path}:{name}", bodies=bodies, device=CPU)

    @pytest.mark.parametrize("spec", ["absent.py:Mine", "absent.py"])
    def test_missing_class_file(self, bodies, spec):
        with pytest.raises(HpsbenchError, match=r"Expected path/to/file.py:Class"):
            load_model(spec, bodies=bodies, device=CPU)

    def test_devices(self):
        assert pick_device("cpu") == CPU
        if torch.cuda.is_available():
            assert pick_device("auto").type == "cuda"
        else:
            assert pick_device("auto") == CPU
            with pytest.raises(HpsbenchError, match="torch sees none"):
                pick_device("cuda")

    def test_joint_hash(self):
        assert joint_sha256(["a"]) == "a"
        assert joint_sha256(["a", "b"]) != joint_sha256(["b", "a"])


class TestMeanPose:
    def test_everybody_is_the_same_and_upright(self, bodies):
        model = load_model("mean-pose", bodies=bodies, device=CPU)
        prediction = model.predict(batch_of(3, None))
        assert torch.equal(prediction.rotmats[0], prediction.rotmats[2])
        assert not prediction.failed.any()
        assert len(model.weights_sha256) == 64
        assert (prediction.rotmats @ prediction.rotmats.mT - torch.eye(3)).abs().max() < 1e-5
        joints = bodies.forward(prediction.betas, prediction.rotmats).joints[0]
        assert joints[15, 1] < joints[0, 1] < joints[7, 1]  # head above pelvis above foot: y points down

    def test_takes_no_weights(self, bodies, weights):
        with pytest.raises(WeightsError, match="takes no weights"):
            load_model("mean-pose", weights=[weights["niki"]], bodies=bodies, device=CPU)


MODELS = {"hybrik": ["hybrik"], "refined": ["refined"], "niki": ["niki", "hybrik"], "one-stage": ["one-stage", "refined"]}


@pytest.mark.parametrize("case", MODELS)
class TestNetworks:
    def load(self, case, weights, bodies):
        name = "hybrik" if len(MODELS[case]) == 1 else "niki"
        return load_model(name, weights=[weights[key] for key in MODELS[case]], bodies=bodies, device=CPU)

    def test_answers(self, case, weights, bodies):
        model = self.load(case, weights, bodies)
        prediction = model.predict(batch_of(3))
        assert model.card == CARD
        assert model.crop.side == 64
        assert len(model.weights_sha256) == 64
        assert not prediction.failed.any()
        if len(MODELS[case]) == 2:  # the analytic IK of a random network's joints, all in one place, gives no rotations
            assert (prediction.rotmats @ prediction.rotmats.mT - torch.eye(3)).abs().max() < 1e-4
        assert prediction.trans.isfinite().all()
        assert ((prediction.confidence > 0) & (prediction.confidence < 1)).all()

    def test_no_answer_depends_on_the_batch(self, case, weights, bodies):
        """Bit for bit on a CPU, whoever else is in the batch, in whatever order and on however many threads."""
        model, batch = self.load(case, weights, bodies), batch_of(5)
        whole = model.predict(batch)
        assert same(whole, model.predict(batch))
        order = [3, 0, 4]
        some = model.predict(rows_of(batch, order))
        assert torch.equal(some.rotmats, whole.rotmats[order])
        assert torch.equal(some.trans, whole.trans[order])
        assert torch.equal(model.predict(rows_of(batch, [4])).betas, whole.betas[4:])
        threads = torch.get_num_threads()
        torch.set_num_threads(3 - min(threads, 2))
        try:
            assert same(whole, model.predict(batch))
        finally:
            torch.set_num_threads(threads)


def test_no_answer_depends_on_the_names_of_the_samples(weights, bodies):
    model, batch = load_model("niki", weights=[weights["hybrik"], weights["niki"]], bodies=bodies, device=CPU), batch_of(3)
    renamed = replace(batch, ids=tuple(f"another/test/{k}" for k in range(3)))
    assert same(model.predict(batch), model.predict(renamed))


class TestFlips:
    @pytest.mark.parametrize("name", ["hybrik", "niki"])
    def test_without_flips_the_crop_alone_counts(self, name, weights, bodies, tmp_path):
        flipping = HybrikConfig.from_record(SMALL_HYBRIK.to_record() | {"flip": True})
        files = [small_hybrik(tmp_path / "flipping.safetensors", flipping), *([weights["niki"]] if name == "niki" else [])]
        plain_files = [weights["hybrik"], *files[1:]]
        model, plain = (load_model(name, weights=some, bodies=bodies, device=CPU) for some in (files, plain_files))
        batch = batch_of(3)
        before = model.predict(batch)
        assert same(model.without_flips().predict(batch), plain.predict(batch))
        assert not same(before, plain.predict(batch))
        assert same(model.predict(batch), before)

    def test_a_model_that_takes_none_is_itself(self, bodies):
        model = load_model("mean-pose", bodies=bodies, device=CPU)
        assert model.without_flips() is model


def test_translation_puts_the_pelvis_where_the_network_saw_it(weights, bodies):
    model = load_model("hybrik", weights=[weights["hybrik"]], bodies=bodies, device=CPU)
    batch = batch_of(2)
    prediction = model.predict(batch)
    joints = bodies.forward(prediction.betas, prediction.rotmats, prediction.trans).joints
    assert (joints[:, 0] - prediction.joints[:, 0]).abs().max() < 1e-5


def table(count: int) -> dict[str, np.ndarray]:
    """Predictions whose numbers say which row they are: row k is all k, of persons 0, 1, ..."""
    numbers = np.arange(count, dtype=np.float32)
    return {
        "ids": np.array(batch_of(count, None).ids),
        "joints": np.broadcast_to(numbers[:, None, None], (count, 24, 3)).copy(),
        "skeleton": np.array("smpl24"),
    }


def written(path: Path, content: dict[str, np.ndarray]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **content)
        return path
    with h5py.File(path, "w") as stream:
        for key, value in content.items():
            stream[key] = value.astype(h5py.string_dtype()) if value.dtype.kind == "U" else value
    return path


@pytest.mark.parametrize("suffix", ["npz", "h5"])
class TestPredictions:
    def load(self, tmp_path, suffix, bodies, content):
        return load_model(f"predictions:{written(tmp_path / f'p.{suffix}', content)}", bodies=bodies, device=CPU)

    def test_rows_go_to_their_ids(self, tmp_path, suffix, bodies):
        model = self.load(tmp_path, suffix, bodies, table(5))
        prediction = model.predict(rows_of(batch_of(5, None), [4, 1]))
        assert prediction.joints[:, 0, 0].tolist() == [4, 1]
        assert prediction.skeleton == "smpl24"
        assert not prediction.failed.any()
        assert model.id_counts(batch_of(5, None).ids) == {"missing": 0, "duplicate": 0, "unknown": 0}
        assert model.weights_sha256 == sha256_of_file(tmp_path / f"p.{suffix}")

    def test_missing_duplicate_unknown_and_nan_fail(self, tmp_path, suffix, bodies):
        content = table(5)
        content["ids"][2] = content["ids"][1]
        content["ids"][3] = "someone/else"
        content["joints"][4, 7, 1] = np.nan
        model = self.load(tmp_path, suffix, bodies, content)
        prediction = model.predict(batch_of(5, None))
        assert prediction.failed.tolist() == [False, True, True, True, True]
        assert prediction.joints[1:4].isnan().all()
        assert model.id_counts(batch_of(5, None).ids) == {"missing": 2, "duplicate": 1, "unknown": 1}

    def test_rotvecs_become_rotmats(self, tmp_path, suffix, bodies):
        rotvecs = np.zeros((2, 24, 3))
        rotvecs[1, 0, 2] = np.pi / 2
        content = {"ids": table(2)["ids"], "rotvecs": rotvecs, "betas": np.zeros((2, 10)), "confidence": np.full((2, 3), np.nan)}
        prediction = self.load(tmp_path, suffix, bodies, content).predict(batch_of(3, None))
        assert prediction.failed.tolist() == [False, False, True]
        assert prediction.rotmats[1, 0].round(decimals=9).tolist() == [[0, -1, 0], [1, 0, 0], [0, 0, 1]]

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"ids": None}, PredictionError, "has no 'ids'"),
            ({"skeleton": None}, PredictionError, "Give both, or neither"),
            ({"skeleton": np.array("smpl25")}, UnknownNameError, "Did you mean 'smpl24'"),
            ({"skeleton": np.array("coco17")}, PredictionError, "skeleton 'coco17' has 17"),
            ({"joints": np.zeros((2, 24, 3))}, PredictionError, r"shape \(2, 24, 3\). Expected numbers of shape \(5, None, 3\)"),
            ({"joints": np.zeros((5, 24, 3), dtype=complex)}, PredictionError, "Expected numbers"),
            ({"joint": np.zeros((5, 24, 3))}, PredictionError, "Known: ids, skeleton, joints"),
            ({"betas": np.zeros((5, 10))}, PredictionError, "betas together with either"),
            ({"joints": None, "skeleton": None}, PredictionError, "nothing to score"),
        ],
    )
    def test_unsound_files(self, tmp_path, suffix, bodies, change, error, message):
        content = {key: value for key, value in (table(5) | change).items() if value is not None}
        with pytest.raises(error, match=message):
            self.load(tmp_path, suffix, bodies, content)


class TestPredictionFiles:
    def test_no_file(self, bodies):
        with pytest.raises(PredictionError, match="Name it as predictions:FILE"):
            load_model("predictions", bodies=bodies, device=CPU)

    def test_text_and_objects_are_refused(self, tmp_path, bodies):
        (tmp_path / "p.npz").write_text("not an archive")
        with pytest.raises(PredictionError, match="neither HDF5 nor"):
            load_model(f"predictions:{tmp_path / 'p.npz'}", bodies=bodies, device=CPU)
        np.savez(tmp_path / "q.npz", ids=np.array([{"a": 1}], dtype=object))
        with pytest.raises(PredictionError, match="neither HDF5 nor"):
            load_model(f"predictions:{tmp_path / 'q.npz'}", bodies=bodies, device=CPU)


class TestReleasedCards:
    @pytest.mark.parametrize(
        ("kind", "family", "name", "said", "trained_on"),
        [
            ("hybrik-resnet34", Hybrik, "hybrik.official", "ResNet-34", ()),
            ("hybrik-hrnet48", Hybrik, "hybrik.official", "HRNet-W48", ()),
            ("niki-twist-swing", Niki, "niki.official", "twist-and-swing", ("h36m/train", "3dpw/train", "3dhp/train")),
            ("niki-one-stage", Niki, "niki.official", "one-stage", ("h36m/train", "3dpw/train", "3dhp/train")),
        ],
    )
    def test_say_which_network_it_is(self, kind, family, name, said, trained_on):
        card = card_of(Checkpoint(Path("x.pth"), {}, "f" * 64, kind), family.card)
        assert (card.name, card.revision, card.trained_on) == (name, "f" * 64, trained_on)
        assert said in card.what
        assert card.paper == family.card.paper

    def test_a_card_inside_counts(self):
        assert card_of(Checkpoint(Path("x.safetensors"), {}, "f" * 64, "niki (small)", family="niki", card=CARD), Niki.card) == CARD
