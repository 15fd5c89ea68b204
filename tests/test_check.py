"""What `hpsbench check` says of data, bodies and models."""

import shutil

import numpy as np
import pytest
import torch
from writers.threedpw import write_miniature

from hpsbench.body.bodies import load_bodies
from hpsbench.check import check_body, check_data, check_model
from hpsbench.datasets.base import open_dataset
from hpsbench.errors import UnknownNameError
from hpsbench.types import Card, CropSpec, Prediction


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


@pytest.fixture(scope="module")
def written(tmp_path_factory, bodies):
    root = tmp_path_factory.mktemp("3dpw")
    write_miniature(root, bodies)
    return root


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "3DPW")


@pytest.fixture(scope="module")
def samples(written, bodies):
    dataset = open_dataset("3dpw", written, split="test", frames="all", bbox="joints-in-image", bbox_scale=1.0, bodies=bodies)
    return [dataset[i] for i in (0, 3, 4)]


class TestData:
    def test_miniature_is_not_3dpw_but_sound(self, written, bodies):
        report = check_data("3dpw", written, bodies, all_images=True)
        text = str(report)
        assert not report.ok
        assert "test: 8 of 8 images tried open" in text
        assert "joints of the bodies 'openhps' are at most 0.00 mm" in text
        assert "projected joints are 0.0 px" in text
        assert "14, but 40,219 are published" in text
        assert "virtualhumans.mpi-inf.mpg.de/3DPW" in text
        errors = [message for level, message in report.lines if level == "error"]
        assert all("published" in message for message in errors)

    def test_one_image_of_each_sequence_and_some_more(self, written):
        assert "test: 8 of 8 images tried open" in str(check_data("3dpw", written))

    def test_broken_image_is_named(self, copy):
        path = copy / "imageFiles/downtown_pair_00/image_00001.jpg"
        path.write_bytes(path.read_bytes()[:700])
        text = str(check_data("3dpw", copy, all_images=True))
        assert "test: 7 of 8 images tried open" in text
        assert "image_00001.jpg is broken" in text

    def test_missing_image_is_a_line(self, copy):
        (copy / "imageFiles/downtown_pair_00/image_00001.jpg").unlink()
        text = str(check_data("3dpw", copy))
        assert "1 of 8 images of 3dpw/test are missing" in text
        assert "train: 2 of 2 images tried open" in text

    def test_other_body(self, written, bodies):
        class Swapped:
            name = "swapped"

            def __getitem__(self, gender):
                return bodies[gender]

            def forward_joints(self, *args, **kwargs):
                return bodies.forward_joints(*args, **kwargs) + 0.01

        report = check_data("3dpw", written, Swapped())
        assert "swapped' are at most 10.00 mm from the annotated ones; expected under 5" in str(report)

    def test_wrong_images_for_the_annotations(self, tmp_path, bodies):
        from writers.threedpw import default_miniatures, make_record, python2_pickle

        mini = default_miniatures()[0]
        write_miniature(tmp_path, bodies, (mini,))
        record, _ = make_record(mini, bodies)
        record["poses2d"] = [np.where([[True], [True], [False]], points + 40 * (points > 0), points) for points in record["poses2d"]]
        (tmp_path / "sequenceFiles/test/downtown_pair_00.pkl").write_bytes(python2_pickle(record))
        assert "expected under 10 %" in str(check_data("3dpw", tmp_path))

    def test_no_folder(self, tmp_path):
        report = check_data("3dpw", tmp_path / "nowhere")
        assert not report.ok
        assert len(report.lines) == 1
        assert "virtualhumans" in str(report)

    def test_no_root_and_none_embedded(self):
        assert "--data" in str(check_data("3dpw", None))

    def test_unknown_dataset(self):
        with pytest.raises(UnknownNameError, match="3dpw"):
            check_data("3dwp", None)


class TestBody:
    def test_embedded(self):
        report = check_body(None)
        assert report.ok, str(report)
        assert str(report).count("6890 vertices") == 3
        assert "'h36m17': (17, 6890)" in str(report)

    def test_folder_with_the_neutral_body_only(self, tmp_path):
        shutil.copy(load_bodies(None).files["neutral"], tmp_path / "SMPL_NEUTRAL.npz")
        report = check_body(tmp_path)
        levels = [level for level, _ in report.lines]
        assert levels == ["ok", "warning", "warning", "error", "warning", "warning"]
        assert "SMPL_MALE.npz" in str(report)
        assert "smpl.is.tue.mpg.de" in str(report)
        assert "J_regressor_h36m.npy" in str(report)

    @pytest.mark.parametrize("swapped", [False, True])
    def test_regressor_in_the_other_leg_order(self, tmp_path, bodies, swapped):
        shutil.copy(bodies.files["neutral"], tmp_path / "SMPL_NEUTRAL.npz")
        regressor = bodies.regressor("h36m17").numpy()
        np.save(tmp_path / "J_regressor_h36m.npy", regressor[[0, 4, 5, 6, 1, 2, 3, *range(7, 17)]] if swapped else regressor)
        report = check_body(tmp_path)
        assert report.ok != swapped
        told = [message for level, message in report.lines if level == "error"]
        if swapped:
            (message,) = told
            assert "J_regressor_h36m.npy: its leg rows are right leg first, expected the order of 'h36m17': pelvis, left_hip" in message
            assert "Reorder it." in message

    def test_broken_file(self, tmp_path):
        (tmp_path / "SMPL_NEUTRAL.npz").write_bytes(b"PK nothing")
        assert ("error", "neutral") in [(level, message[:7]) for level, message in check_body(tmp_path).lines]

    def test_no_folder(self, tmp_path):
        report = check_body(tmp_path / "nowhere")
        assert not report.ok
        assert "smpl.is.tue.mpg.de" in str(report)


class Sound:
    """A model whose answer depends on the crop alone."""

    card = Card(name="sound", what="a test", source="here", licence="Apache-2.0")
    crop = CropSpec(side=32)
    device = torch.device("cpu")
    weights_sha256 = ""

    def predict(self, batch):
        count = len(batch)
        betas = batch.crops.float().mean((1, 2, 3))[:, None].expand(count, 10) / 255
        eye = torch.eye(3).expand(count, 24, 3, 3)
        return Prediction(failed=torch.zeros(count, dtype=torch.bool), rotmats=eye, betas=betas)


class TestModel:
    def test_sound_model(self, samples, bodies):
        report = check_model(Sound(), bodies, samples)
        assert report.ok, str(report)
        assert "body joints: people span" in str(report)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda p, b: Prediction(p.failed, joints=torch.randn(len(b), 24, 3) * 500, skeleton="smpl24"), "give metres, not millimetres"),
            (lambda p, b: Prediction(p.failed, rotmats=p.rotmats, betas=p.betas * torch.nan), "NaN or infinity"),
            (lambda p, b: Prediction(p.failed, rotmats=-p.rotmats, betas=p.betas), "error   rotmats are rotations"),
            (lambda p, b: Prediction(p.failed, rotmats=p.rotmats, betas=p.betas - p.betas.mean(0)), "error   each alone"),
            (lambda p, b: Prediction(p.failed, rotmats=p.rotmats, betas=p.betas + torch.rand(1)), "error   asked twice"),
            (lambda p, b: Prediction(p.failed[:1], rotmats=p.rotmats[:1], betas=p.betas[:1]), "1 answers for 3 people"),
            (lambda p, b: p.betas, "expected hpsbench.types.Prediction"),
            (lambda p, b: b.nothing, "AttributeError"),
        ],
    )
    def test_broken_models(self, samples, bodies, change, expected):
        class Broken(Sound):
            def predict(self, batch):
                return change(super().predict(batch), batch)

        report = check_model(Broken(), bodies, samples)
        assert not report.ok
        assert expected in str(report)

    def test_crops_are_not_to_be_written_on(self, samples, bodies):
        class Writes(Sound):
            def predict(self, batch):
                answer = super().predict(batch)
                batch.crops.zero_()
                return answer

        assert "error   the crops are left as they were given" in str(check_model(Writes(), bodies, samples))

    def test_nan_is_allowed_where_failed(self, samples, bodies):
        class GivesUp(Sound):
            def predict(self, batch):
                answer = super().predict(batch)
                failed = torch.tensor([sample_id == samples[1].id for sample_id in batch.ids])
                betas = torch.where(failed[:, None], torch.nan, answer.betas)
                return Prediction(failed=failed, rotmats=answer.rotmats, betas=betas)

        report = check_model(GivesUp(), bodies, samples)
        assert report.ok, str(report)
        assert "1 of 3 people failed" in str(report)
