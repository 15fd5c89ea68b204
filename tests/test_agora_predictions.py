"""AGORA's prediction files, and the way from them and the dataset to its scores."""

import pickle

import numpy as np
import pytest
import torch
from layouts.agora import shots, write_agora
from test_agora import make_people, opened

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.base_agora_predictions import AgoraPredictions, load_predictions, write_predictions
from hpsbench.errors import DataError, PredictionError, UnsafePickleError
from hpsbench.metrics.agora import AgoraImage, agora_errors, agora_scores, parts_of

RNG = np.random.default_rng(4)
ONE = AgoraPredictions(
    "ag_testset_a_hdri_00001", RNG.normal(500, 90, (11, 24, 2)), RNG.normal(0, 1, (11, 24, 3)), RNG.normal(0, 1, (11, 9, 3))
)


def test_what_is_written_is_read_in_4k_pixels(tmp_path):
    paths = write_predictions(tmp_path / "predictions", ONE, size=(1280, 720))
    assert paths[10].name == "ag_testset_a_hdri_00001_personId_10.pkl"
    with open(paths[10], "rb") as stream:
        content = pickle.load(stream)
    assert {key: (array.dtype, array.shape) for key, array in content.items()} == {
        "joints": (np.float32, (24, 2)),
        "verts": (np.float32, (9, 3)),
        "allSmplJoints3d": (np.float32, (24, 3)),
    }
    (found,) = load_predictions(tmp_path / "predictions")
    assert found.image == ONE.image
    np.testing.assert_allclose(found.joints2d, 3 * ONE.joints2d, rtol=1e-6)
    np.testing.assert_allclose(found.joints, ONE.joints, rtol=1e-6)
    np.testing.assert_allclose(found.vertices, ONE.vertices, rtol=1e-6)


def test_predictions_equal_to_the_truth_have_no_error(tmp_path):
    """The whole way, seven images with two people each, one of the seven evaluated left out."""
    some = shots(make_people(load_bodies(None, dtype=torch.float64)))
    write_agora(tmp_path, some)
    dataset = opened(tmp_path)
    people = list(dataset.annotations())
    assert sum(int(image.evaluated.sum()) for image in people) == 7
    for k, image in enumerate(people):
        kept = np.flatnonzero(image.evaluated)[int(k == 0) :]
        own = AgoraPredictions(image.image, image.joints2d[kept][:, :24], image.joints[kept][:, :24] + 1.0, image.vertices[kept] + 1.0)
        write_predictions(tmp_path / "predictions", own, size=(3840, 2160))
    answers = {answer.image: answer for answer in load_predictions(tmp_path / "predictions")}
    images = [_image(image, answers.get(image.image)) for image in people]
    for literal in (True, False):
        scores = agora_scores(agora_errors(images, parts_of("smpl"), literal=literal), literal=literal)["all"]
        assert (scores.people, scores.misses, scores.false_positives) == (7, 1, 0)
        assert scores.f1 == pytest.approx(12 / 13, abs=0.005 if literal else 1e-9)
        assert scores.mpjpe_mm["body"] == pytest.approx(0, abs=1e-2)
        assert scores.mve_mm["body"] == pytest.approx(0, abs=1e-2)


def _image(people, answer):
    empty = np.empty((0, 24, 2)), np.empty((0, 24, 3)), np.empty((0, 6890, 3))
    joints2d, joints, vertices = empty if answer is None else (answer.joints2d, answer.joints, answer.vertices)
    return AgoraImage(
        name=people.image,
        pred_joints2d=joints2d,
        pred_joints=joints,
        pred_vertices=vertices,
        gt_joints2d=people.joints2d,
        gt_joints=people.joints,
        gt_vertices=people.vertices,
        occlusion=people.occlusion,
        valid=people.evaluated,
        kid=people.kid,
    )


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"verts": None, "params": {}}, "lacks verts; it has joints, allSmplJoints3d, params"),
            ({"joints": np.zeros((14, 2))}, r"'joints' has shape \(14, 2\) a person, expected \(24 or more, 2\)"),
            ({"verts": np.full((9, 3), np.inf)}, "'verts' holds NaN"),
            ({"joints": "x"}, "no arrays of numbers"),
        ],
    )
    def test_file(self, tmp_path, change, match):
        good = {"joints": np.zeros((24, 2)), "verts": np.zeros((9, 3)), "allSmplJoints3d": np.zeros((24, 3))}
        record = {key: value for key, value in {**good, **change}.items() if value is not None}
        (tmp_path / "a_personId_0.pkl").write_bytes(pickle.dumps(record))
        with pytest.raises(PredictionError, match=match):
            list(load_predictions(tmp_path))

    def test_shapes_differ(self, tmp_path):
        for k in (0, 1):
            record = {"joints": np.zeros((24 + k, 2)), "verts": np.zeros((9, 3)), "allSmplJoints3d": np.zeros((24, 3))}
            (tmp_path / f"a_personId_{k}.pkl").write_bytes(pickle.dumps(record))
        with pytest.raises(PredictionError, match="expected one shape"):
            list(load_predictions(tmp_path))

    def test_nothing_there_and_odd_names(self, tmp_path):
        with pytest.raises(PredictionError, match="Expected the folder of prediction files"):
            list(load_predictions(tmp_path))
        (tmp_path / "a_personId_x.pkl").write_bytes(b"")
        with pytest.raises(PredictionError, match="Rename it"):
            list(load_predictions(tmp_path))

    @pytest.mark.parametrize(
        ("data", "kind", "match"),
        [
            (b"", DataError, "not a whole pickle"),
            (pickle.dumps([1]), PredictionError, "holds a list"),
            (b"cos\nsystem\n.", UnsafePickleError, "system"),
        ],
    )
    def test_pickles(self, tmp_path, data, kind, match):
        (tmp_path / "a_personId_0.pkl").write_bytes(data)
        with pytest.raises(kind, match=match):
            list(load_predictions(tmp_path))

    def test_nan_is_not_written(self, tmp_path):
        bad = AgoraPredictions(ONE.image, np.full((1, 24, 2), np.nan), ONE.joints[:1], ONE.vertices[:1])
        with pytest.raises(PredictionError, match="Leave out the people who failed"):
            write_predictions(tmp_path, bad, size=(1280, 720))
        assert not list(tmp_path.iterdir())
