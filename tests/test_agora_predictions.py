"""AGORA's prediction files, and the way from them and the dataset to its scores."""

import pickle
import shutil

import h5py
import numpy as np
import pytest
import torch
from layouts.agora import AgoraPerson, AgoraShot, shots, table, write_agora
from test_agora import make_people, opened

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.base_agora_posed import KID_TEMPLATE, PosedBodies
from hpsbench.datasets.base_agora_predictions import AgoraPredictions, load_predictions, write_predictions
from hpsbench.errors import BodyError, DataError, PredictionError, UnsafePickleError
from hpsbench.evaluate.run import read_result
from hpsbench.geometry import rotvec_to_rotmat
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


IMAGE = "ag_validationset_renderpeople_bfh_hdri_50mm_5_10_00003"


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


@pytest.fixture(scope="module")
def template(bodies):
    """A kid's template: everything at 0.6 of its size, about somewhere else."""
    return 0.6 * bodies.neutral.v_template.numpy() + [0.1, 0.2, 0.3]


@pytest.fixture(scope="module")
def parameters():
    """Of an adult, of another, and of a kid who turns as a whole alone: pose (24, 3), betas and translation."""
    found = [(RNG.normal(0, 0.2, (24, 3)), RNG.normal(0, 1, 10), np.array([k, -k, 5.0])) for k in range(2)]
    turned = np.zeros((24, 3))
    turned[0] = [0.3, -2.0, 0.4]
    return [*found, (turned, RNG.normal(0, 1, 11), np.array([2.0, 1.0, 4.0]))]


@pytest.fixture(scope="module")
def meshes(bodies, template, parameters):
    """(vertices, joints) under the parameters: adults by the body itself; the kid by hand, its rest shape turned about its own pelvis."""
    found = []
    for pose, betas, transl in parameters[:2]:
        output = bodies.neutral(*(torch.from_numpy(a)[None] for a in (betas,)), rotvecs=torch.from_numpy(pose)[None])
        found.append((output.vertices[0].numpy() + transl, output.joints[0].numpy() + transl))
    pose, betas, transl = parameters[2]
    adult, regressor = bodies.neutral.v_template.numpy(), bodies.neutral.J_regressor.numpy()
    rest = adult + bodies.neutral.shapedirs.numpy() @ betas[:10] + betas[10] * (template - template.mean(0) - adult)
    joints, R = regressor @ rest, rotvec_to_rotmat(torch.from_numpy(pose[0])).numpy()
    found.append(tuple((points - joints[0]) @ R.T + joints[0] + transl for points in (rest, joints)))
    return found


def as_vectors(pose, betas, transl):
    return {"params": {"global_orient": pose[None, :1], "body_pose": pose[None, 1:], "betas": betas[None], "transl": transl[None]}}


def as_matrices(pose, betas, transl):
    """As the fits have their names, with more shape numbers than count."""
    R = rotvec_to_rotmat(torch.from_numpy(pose)).numpy()
    params = {"root_pose": R[None, :1], "body_pose": R[None, 1:], "betas": np.append(betas, [9.0, 9.0])[None], "translation": transl[None]}
    return {"params": params, "pose2rot": False, "gender": "male", "num_betas": 12}


class TestParameters:
    """A mesh and the parameters that it is posed by are the same prediction."""

    @pytest.fixture
    def folders(self, tmp_path, bodies, template, parameters, meshes):
        """AGORA with three people in an image, and their predictions as meshes and as parameters."""
        people = []
        for k, (vertices, joints) in enumerate(meshes):
            noise, middle = RNG.normal(0, 0.02, (6890, 3)), joints[0]
            scan = (joints + noise[:24] - middle, np.float32(vertices + noise - middle))
            zeros = np.zeros((24, 3)), np.zeros(10), np.zeros(3)
            people.append(AgoraPerson(*zeros, *scan, (2.0 * k - 2, 0.0, 9.0), 90.0, "male", k == 2, 10.0 + k))
        rows = table([AgoraShot(IMAGE, 50, (0, 0, 170), 0, 0, (0, 0, 0), tuple(people))], "smpl")
        root = tmp_path / "AGORA"
        for name in ("SMPL", "utils"):
            (root / name).mkdir(parents=True)
        rows.to_pickle(root / "SMPL" / "validation_0_withjv.pkl")
        np.save(root / "body_verts_smpl.npy", np.arange(4010))
        np.save(root / "utils" / KID_TEMPLATE, template)
        forms = [as_vectors(*parameters[0]), as_matrices(*parameters[1]), as_vectors(*parameters[2]) | {"kid_flag": True}]
        for name in ("meshes", "params"):
            (tmp_path / name).mkdir()
            for k, (vertices, joints) in enumerate(meshes):
                flat = {"joints": rows.iloc[0]["gt_joints_2d"][k][:24] + 5.0}
                given = {"verts": vertices, "allSmplJoints3d": joints} if name == "meshes" else forms[k]
                (tmp_path / name / f"{IMAGE}_personId_{k}.pkl").write_bytes(pickle.dumps(flat | given, 4))
        return tmp_path

    def test_scores_are_those_of_the_meshes(self, run, folders, bodies):
        """Errors to 1e-6 m, and the scores; only of the parameters does the result name the body."""
        found = {}
        for name, more in (("meshes", ()), ("params", ("--body", "openhps"))):
            words = ("--protocol", "agora-validation-plain", "--data", folders / "AGORA", "--out", folders / f"out-{name}", *more)
            status, _, err = run("eval", "--model", f"predictions:{folders / name}", *words)
            assert status == 0, err
            with h5py.File(folders / f"out-{name}" / "errors.h5") as file:
                found[name] = read_result(folders / f"out-{name}"), {key: file["values"][key][:] for key in ("mpjpe", "pve")}
        (by_mesh, errors), (by_params, others) = found["meshes"], found["params"]
        assert by_mesh.n_evaluated == by_params.n_evaluated == 3
        for key in errors:
            assert np.nanmin(errors[key]) > 0
            np.testing.assert_allclose(others[key], errors[key], atol=1e-6, rtol=0)
        for row, other in zip(by_mesh.scores, by_params.scores, strict=True):
            assert (row["metric"], row["split"], row["people"]) == (other["metric"], other["split"], other["people"])
            assert row["value"] is None or other["value"] == pytest.approx(row["value"], abs=1e-3)
        assert (by_mesh.body.name, by_params.body.name) == ("none", "openhps")
        assert by_params.fingerprints["body"] not in ("", bodies.fingerprint)

    def test_the_meshes(self, folders, bodies, meshes):
        """The skinning weights of a file sum to 1 within 1e-7, and a translation by metres is multiplied by that sum."""
        (found,) = load_predictions(folders / "params", PosedBodies(bodies, [folders / "AGORA" / "utils"]))
        for k, (vertices, joints) in enumerate(meshes):
            np.testing.assert_allclose(found.vertices[k], vertices, atol=1e-6, rtol=0)
            np.testing.assert_allclose(found.joints[k], joints, atol=1e-9, rtol=0)

    def test_of_both_the_mesh_counts(self, folders, meshes):
        path = folders / "params" / f"{IMAGE}_personId_0.pkl"
        both = pickle.loads(path.read_bytes()) | {"verts": meshes[1][0], "allSmplJoints3d": meshes[1][1]}
        shutil.rmtree(folders / "params")
        path.parent.mkdir()
        path.write_bytes(pickle.dumps(both))
        np.testing.assert_array_equal(next(load_predictions(folders / "params")).vertices[0], meshes[1][0])

    @pytest.mark.parametrize(
        ("person", "change", "kind", "match"),
        [
            (0, {"betas": np.zeros((1, 9))}, PredictionError, r"'betas' has shape \(1, 9\), expected \(1, 10\) or more"),
            (2, {"betas": np.zeros((1, 10))}, PredictionError, r"expected \(1, 11\) or more of a kid"),
            (0, {"betas": np.zeros((2, 10))}, PredictionError, r"'betas' has shape \(2, 10\)"),
            (0, {"transl": np.zeros(2)}, PredictionError, r"'transl' has shape \(2,\), expected \(1, 3\)\. Write"),
            (
                0,
                {"body_pose": np.zeros((1, 23, 3, 3))},
                PredictionError,
                r"'body_pose' has shape .* \(rotation matrices go with pose2rot False\)",
            ),
            (0, {"body_pose": np.full((1, 69), np.nan)}, PredictionError, "'body_pose' holds NaN or infinity. Leave out"),
            (0, {"body_pose": "straight"}, PredictionError, "'body_pose' is no array of numbers"),
            (0, {"body_pose": None}, PredictionError, "'params' lacks body_pose; it has global_orient, betas, transl"),
            (1, {"body_pose": np.ones((1, 23, 3, 3))}, PredictionError, r"are no rotations \(R R\^T is off by up to 3\)"),
            (1, {"body_pose": -np.tile(np.eye(3), (1, 23, 1, 1))}, PredictionError, "are no rotations"),
            (0, {"expression": np.zeros((1, 10))}, PredictionError, r"are SMPL-X's \(expression found\)"),
        ],
    )
    def test_bad_ones(self, folders, bodies, person, change, kind, match):
        path = folders / "params" / f"{IMAGE}_personId_{person}.pkl"
        content = pickle.loads(path.read_bytes())
        content["params"] = {key: value for key, value in (content["params"] | change).items() if value is not None}
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(kind, match=match):
            list(load_predictions(folders / "params", PosedBodies(bodies, [folders / "AGORA" / "utils"])))

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (None, r"personId_2\.pkl gives the parameters of a kid, but there is no smpl_kid_template\.npy in .*agora\.is\.tue"),
            (np.zeros((100, 3)), r"holds float64 of shape \(100, 3\), expected finite numbers of shape \(6890, 3\)"),
            (np.full((6890, 3), np.nan), "expected finite numbers"),
            (np.array([None]), "is not a readable .npy array"),
        ],
    )
    def test_bad_template(self, folders, bodies, content, match):
        path = folders / "AGORA" / "utils" / KID_TEMPLATE
        path.unlink()
        if content is not None:
            np.save(path, content)
        with pytest.raises(BodyError, match=match):
            list(load_predictions(folders / "params", PosedBodies(bodies, [path.parent])))

    def test_no_bodies(self, run, folders):
        words = ("--protocol", "agora-validation", "--data", folders / "AGORA", "--out", folders / "out")
        status, out, err = run("eval", "--model", f"predictions:{folders / 'params'}", *words)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "gives a body's parameters in place of its mesh, and there are no bodies to pose. Name the folder" in err
        assert not (folders / "out").exists()

    def test_params_that_are_no_dict(self, folders):
        path = folders / "params" / f"{IMAGE}_personId_0.pkl"
        path.write_bytes(pickle.dumps({"joints": np.zeros((24, 2)), "params": [1]}))
        with pytest.raises(PredictionError, match="'params' is a list, expected a dict of SMPL's parameters"):
            list(load_predictions(folders / "params"))


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
