"""AGORA's scores from the command line: one image with five people, every score written as a fraction."""

import errno
import json
import os
import pickle
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from fakes import FakeDataset, FakeModel, exact_bodies
from layouts.agora import AgoraPerson, AgoraShot, table, write_image

import hpsbench.evaluate.boxes as boxes
from hpsbench.errors import BodyError, DataError, ProtocolError, ResultError
from hpsbench.evaluate import evaluate
from hpsbench.evaluate.agora_vertices import body_vertices
from hpsbench.evaluate.detections import score_folder
from hpsbench.evaluate.run import read_result
from hpsbench.models.base import load_model
from hpsbench.protocol import AgoraRule, load_protocol

IMAGE = "ag_validationset_renderpeople_bfh_hdri_50mm_5_10_00003"
ID = "agora/validation/ag_validationset_renderpeople_bfh_hdri_50mm_5_10/00003"
RNG = np.random.default_rng(8)
BODY_VERTICES = np.sort(RNG.permutation(6890)[:4010]).astype(np.uint32)
OTHERS = np.setdiff1d(np.arange(6890), BODY_VERTICES)
# An adult, a kid, one at 85 %, one more, and one whom nobody answers.
OCCLUSIONS, KIDS, MISSED = (10.0, 15.0, 85.0, 42.0, 0.0), (False, True, False, False, False), 4
# What each of the four found is off: mm, the mean of the 24 joints, and of the 4,010 vertices.
JOINTS_MM, VERTICES_MM = (24, 48, 12, 36), (10, 20, 40, 30)


def person(k: int) -> AgoraPerson:
    joints, vertices = RNG.uniform(-0.4, 0.4, (24, 3)), np.float32(RNG.uniform(-0.4, 0.4, (6890, 3)))
    place = (-2.8 + 1.4 * k, 0.1, 10.0)
    return AgoraPerson(np.zeros((24, 3)), np.zeros(10), np.zeros(3), joints, vertices, place, 90.0, "male", KIDS[k], OCCLUSIONS[k])


@pytest.fixture(scope="module")
def rows():
    """The one row of the table: what is annotated."""
    shot = AgoraShot(IMAGE, 50, (0, 0, 170), 0, 0, (0, 0, 0), tuple(map(person, range(5))))
    return table([shot], "smpl")


@pytest.fixture
def agora(tmp_path, rows):
    """AGORA's folder with that image alone, and the list of vertices in it."""
    root = tmp_path / "AGORA"
    (root / "SMPL").mkdir(parents=True)
    (root / "validation").mkdir()
    rows.to_pickle(root / "SMPL" / "validation_0_withjv.pkl")
    write_image(root / "validation", IMAGE, (1280, 720))
    np.save(root / "body_verts_smpl.npy", BODY_VERTICES)
    return root


def answer(rows, k: int) -> dict[str, np.ndarray]:
    """The prediction of person ``k``: moved as a whole, its errors at two joints and at the chosen vertices; the other vertices far off."""
    row = rows.iloc[0]
    joints, vertices = np.array(row["gt_joints_3d"][k][:24]), np.array(row["gt_verts"][k], dtype=np.float64)
    joints[5, 1] += JOINTS_MM[k] * 24 / 2 / 1000
    joints[23, 2] -= JOINTS_MM[k] * 24 / 2 / 1000
    vertices[BODY_VERTICES] += [0, VERTICES_MM[k] / 1000, 0]
    vertices[OTHERS] += 3.0
    shift = np.array([k, -2 * k, 0.5])
    return {"joints": row["gt_joints_2d"][k][:24] + 7.0, "verts": vertices + shift, "allSmplJoints3d": joints + shift}


@pytest.fixture
def folder(tmp_path, rows):
    """Its predictions, in another order, and one of nobody."""
    path = tmp_path / "predictions"
    path.mkdir()
    extra = answer(rows, 0)
    extra["joints"] = extra["joints"] + [0, 900.0]
    for number, record in enumerate([answer(rows, 3), answer(rows, 1), extra, answer(rows, 0), answer(rows, 2)]):
        (path / f"{IMAGE}_personId_{number}.pkl").write_bytes(pickle.dumps(record, 2))
    return path


@pytest.fixture
def run(run, monkeypatch, tmp_path):
    """Types a command in an empty folder beside the data; gives (exit status, stdout, stderr)."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return run


@pytest.fixture
def evaluated(run, agora, folder, tmp_path):
    """Scores the folder under a protocol; gives (result, stdout, stderr)."""

    def scored(protocol):
        status, out, err = run(
            "eval", "--model", f"predictions:{folder}", "--protocol", protocol, "--data", agora, "--out", tmp_path / "out"
        )
        assert status == 0, err
        return read_result(tmp_path / "out"), out, err

    return scored


def by_split(result):
    return {(row["split"], row["metric"]): row for row in result.scores}


def assert_row(row, *, people, found, extra, value, normalised, exact, precision=None, f1=None, recall=None):
    """One row against fractions; rounded numbers are exact."""
    assert (row["people"], row["missed"], row["false_positives"], row["count"]) == (people, people - found, extra, found)
    for key, wanted in {"value": value, "normalised": normalised, "precision": precision, "f1": f1, "recall": recall}.items():
        if wanted is None:
            assert row[key] is None, key
        else:
            assert row[key] == (float(wanted) if exact else pytest.approx(float(wanted), rel=1e-4)), key


def tenths(number: Fraction) -> float:
    return float(np.round(float(number), 1))


class TestFolder:
    def test_literally(self, evaluated):
        """F1 of all 4 / (4 + 1/2 (1 + 1)); of kids, with the false positive of all, 1 / (1 + 1/2) = 0.67, and so 48 / 0.67 = 71.6."""
        result, _, _ = evaluated("agora-validation")
        rows = by_split(result)
        for metric, errors in (("mpjpe", JOINTS_MM), ("pve", VERTICES_MM)):
            mean = Fraction(sum(errors), 4)
            ratio = Fraction(4, 5)
            whole = {"people": 5, "found": 4, "extra": 1, "precision": ratio, "recall": ratio, "f1": ratio}
            assert_row(rows["all", metric], **whole, value=mean, normalised=tenths(mean / ratio), exact=True)
            kid = {"people": 1, "found": 1, "extra": 1, "precision": Fraction(1, 2), "recall": 1, "f1": Fraction(67, 100)}
            assert_row(rows["age:kid", metric], **kid, value=errors[1], normalised=tenths(errors[1] / Fraction(67, 100)), exact=True)
        assert (rows["all", "mpjpe"]["normalised"], rows["age:kid", "mpjpe"]["normalised"]) == (37.5, 71.6)
        assert (rows["all", "pve"]["normalised"], rows["age:kid", "pve"]["normalised"]) == (31.2, 29.9)

    def test_without_the_faults(self, evaluated):
        rows = by_split(evaluated("agora-validation-plain")[0])
        for metric, errors in (("mpjpe", JOINTS_MM), ("pve", VERTICES_MM)):
            mean, ratio = Fraction(sum(errors), 4), Fraction(4, 5)
            whole = {"people": 5, "found": 4, "extra": 1, "precision": ratio, "recall": ratio, "f1": ratio}
            assert_row(rows["all", metric], **whole, value=mean, normalised=mean / ratio, exact=False)
            assert_row(rows["age:kid", metric], people=1, found=1, extra=None, recall=1, value=errors[1], normalised=None, exact=False)

    @pytest.mark.parametrize(
        ("protocol", "bins"),
        [
            # The two at 0 and 10 %: one found, NMJE 24 / (1/2). 10 % belongs to the bin that ends there.
            ("agora-validation", {0: (2, [0]), 10: (1, [1]), 40: (1, [3]), 80: (1, [2])}),
            ("agora-validation-plain", {0: (1, []), 10: (2, [0, 1]), 40: (1, [3]), 80: (1, [2])}),
        ],
    )
    def test_bins_of_occlusion(self, evaluated, protocol, bins):
        rows = by_split(evaluated(protocol)[0])
        for low in range(0, 90, 10):
            people, found = bins.get(low, (0, []))
            for metric, errors in (("mpjpe", JOINTS_MM), ("pve", VERTICES_MM)):
                mean = Fraction(sum(errors[k] for k in found), len(found)) if found else None
                recall = Fraction(len(found), people) if people else None
                normalised = mean / recall if protocol == "agora-validation" and found else None
                row = rows[f"occlusion:{low}-{low + 10}", metric]
                assert_row(row, people=people, found=len(found), extra=None, recall=recall, value=mean, normalised=normalised, exact=False)

    def test_result_and_errors_of_each_person(self, evaluated, tmp_path):
        result, out, err = evaluated("agora-validation")
        assert (result.n_expected, result.n_evaluated, result.n_failed) == (5, 4, 1)
        assert result.frames == {"total": 5, "kept": 5, "dropped": {"not valid": 0}}
        assert result.id_counts == {"missing": 0, "duplicate": 0, "unknown": 0}
        rule = result.protocol["content"]["agora"]
        assert (rule["literal"], rule["vertices"]) == (True, "file")
        assert (rule["vertices_from"], rule["vertices_number"]) == ("body_verts_smpl.npy", 4010)
        assert rule["answers"].startswith("prediction files")
        assert "4 of 5 evaluated, 1 failed" in err
        assert "PVE (AGORA's MVE) over 4,010 vertices: body_verts_smpl.npy" in out
        lines = [" ".join(word for word in line.split() if not word.startswith("±")) for line in out.splitlines()]
        assert "predictions:predictions 30.0 25.0 37.5 31.2 0.800 0.800 4 1 1 80.0" in lines
        assert "kid 48.0 20.0 71.6 29.9 0.670 0.500 1 0 1 100.0" in lines
        assert "0-10 24.0 10.0 48.0 20.0 - - 1 1 - 50.0" in lines
        assert "20-30 - - - - - - 0 0 - -" in lines
        with h5py.File(tmp_path / "out" / "errors.h5") as file:
            assert [name.decode() for name in file["ids"][:]] == [f"{ID}/{k}" for k in range(5)]
            assert file["failed"][:].tolist() == [False] * 4 + [True]
            assert file["kid"][:].tolist() == list(KIDS)
            np.testing.assert_array_equal(file["occlusion"][:], OCCLUSIONS)
            errors = file["values/mpjpe"][:]
            np.testing.assert_allclose(errors[:4].mean(1) * 1000, JOINTS_MM, rtol=1e-6)
            np.testing.assert_allclose(errors[0, [5, 23]] * 1000, [288, 288], rtol=1e-6)
            np.testing.assert_allclose(file["values/pve"][:4, 0] * 1000, VERTICES_MM, rtol=1e-4)
            assert np.isnan(errors[4]).all()
            assert np.isnan(file["values/pve"][4]).all()

    def test_the_order_of_files_does_not_matter(self, evaluated, folder, tmp_path):
        first = evaluated("agora-validation")[0]
        names = sorted(folder.iterdir())
        for path in names:
            path.rename(folder / path.name.replace("personId_", "personId_9"))
        (tmp_path / "out").rename(tmp_path / "before")
        second = evaluated("agora-validation")[0]
        assert first.scores == second.scores

    def test_the_same_command_again_shows_the_result(self, evaluated):
        assert evaluated("agora-validation") == evaluated("agora-validation")

    def test_an_image_without_predictions_is_missed_whole(self, evaluated, agora, rows):
        """The same image under another name: ten people, four found, F1 8 / 15 = 0.53 and so 30 / 0.53 = 56.6."""
        other = rows.copy()
        other["imgPath"] = pd.Series([f"{IMAGE[:-1]}4.png"], dtype=object)
        other.to_pickle(agora / "SMPL" / "validation_1_withjv.pkl")
        result, out, _ = evaluated("agora-validation")
        row, ratios = by_split(result)["all", "mpjpe"], {"precision": 0.8, "recall": 0.4, "f1": 0.53}
        assert_row(row, people=10, found=4, extra=1, **ratios, value=30, normalised=tenths(Fraction(3000, 53)), exact=True)
        assert (result.id_counts["missing"], row["normalised"]) == (1, 56.6)
        assert "images in its folder, or sample ids in its file: 1 missing" in out

    def test_predictions_of_other_images_are_counted(self, evaluated, folder):
        (folder / "ag_validationset_another_00001_personId_0.pkl").write_bytes(next(folder.glob("*_0.pkl")).read_bytes())
        assert evaluated("agora-validation")[0].id_counts == {"missing": 0, "duplicate": 0, "unknown": 1}

    def test_no_image_is_needed(self, evaluated, agora):
        for path in (agora / "validation").iterdir():
            path.unlink()
        assert evaluated("agora-validation")[0].n_evaluated == 4

    def test_vertices_by_skinning(self, run, agora, folder, tmp_path):
        (agora / "body_verts_smpl.npy").unlink()
        words = ("eval", "--model", f"predictions:{folder}", "--data", agora, "--body", "openhps", "--out", tmp_path / "out")
        status, out, err = run(*words, "--protocol", "agora-validation-skinning")
        assert status == 0, err
        rule = read_result(tmp_path / "out").protocol["content"]["agora"]
        assert 2000 < rule["vertices_number"] < 6000
        assert "without head, left_wrist" in out


@pytest.fixture
def file(tmp_path, rows):
    """The answers to the boxes as a file by sample id, one of them NaN: what an ordinary model gives."""
    answers = [answer(rows, k) for k in range(4)]
    joints = np.stack([record["allSmplJoints3d"] for record in answers] + [np.full((24, 3), np.nan)])
    vertices = np.stack([record["verts"] for record in answers] + [np.full((6890, 3), np.nan)])
    ids = np.array([f"{ID}/{k}" for k in range(5)])
    np.savez(tmp_path / "answers.npz", ids=ids, joints=joints, vertices=vertices, skeleton="smpl24")
    return tmp_path / "answers.npz"


class TestBoxes:
    @pytest.fixture
    def typed(self, run, agora, tmp_path):
        def typed(model, protocol="agora-validation", *more):
            words = ("--protocol", protocol, "--data", agora, "--body", "openhps", "--out", tmp_path / "out", *more)
            return run("eval", "--model", model, *words)

        return typed

    def test_failures_are_misses_and_nobody_is_extra(self, typed, file, tmp_path):
        """4 of 5 answered: recall 4/5, precision 1, F1 8/9 = 0.89; 30 / 0.89 = 33.7 literally, 30 / (8/9) = 135/4 plainly."""
        status, out, err = typed(f"predictions:{file}")
        assert status == 0, err
        assert "answers: one for each box of the ground truth" in out
        rows = by_split(read_result(tmp_path / "out"))
        counts = {"people": 5, "found": 4, "extra": 0, "precision": 1}
        wanted = counts | {"recall": Fraction(4, 5), "f1": Fraction(89, 100)}
        assert_row(rows["all", "mpjpe"], **wanted, value=30, normalised=tenths(Fraction(3000, 89)), exact=True)
        assert_row(rows["all", "pve"], **wanted, value=25, normalised=tenths(Fraction(2500, 89)), exact=True)
        assert rows["all", "mpjpe"]["normalised"] == 33.7
        assert typed(f"predictions:{file}", "agora-validation-plain", "--restart")[0] == 0
        rows = by_split(read_result(tmp_path / "out"))
        wanted = counts | {"recall": Fraction(4, 5), "f1": Fraction(8, 9)}
        assert_row(rows["all", "mpjpe"], **wanted, value=30, normalised=Fraction(135, 4), exact=False)
        bins = {k: rows[f"occlusion:{low}-{low + 10}", "mpjpe"]["value"] for k, low in ((1, 10), (2, 80), (3, 40))}
        assert bins == pytest.approx({1: Fraction(24 + 48, 2), 2: 12, 3: 36}, rel=1e-6)

    def test_the_result_says_whose_answers_they_were(self, typed, file, evaluated, tmp_path):
        folder = evaluated("agora-validation")[0]
        (tmp_path / "out").rename(tmp_path / "before")
        assert typed(f"predictions:{file}")[0] == 0
        given = read_result(tmp_path / "out")
        assert "nobody is a false positive" in given.protocol["content"]["agora"]["answers"]
        assert given.protocol["sha256"] != folder.protocol["sha256"]
        assert given.protocol["id"] == folder.protocol["id"]

    def test_a_model_without_pixels(self, typed, rows, tmp_path):
        """The mean pose against the annotation, in float64 and one by one."""
        assert typed("mean-pose")[0] == 0
        model = load_model("mean-pose", bodies=exact_bodies(), device=torch.device("cpu"))
        body = exact_bodies().neutral(model.betas.double()[None], model.rotmats.double()[None])
        joints, vertices = body.joints[0].numpy(), body.vertices[0].numpy()[BODY_VERTICES]
        row, table_of = rows.iloc[0], by_split(read_result(tmp_path / "out"))
        wanted = []
        for k in range(5):
            own, mesh = row["gt_joints_3d"][k][:24], np.float64(row["gt_verts"][k])[BODY_VERTICES]
            shift = own[1:3].mean(0) - joints[1:3].mean(0)
            pairs = ((joints, own), (vertices, mesh))
            wanted.append([1000 * np.sqrt(((pred + shift - gt) ** 2).sum(1)).mean() for pred, gt in pairs])
        assert table_of["all", "mpjpe"]["value"] == pytest.approx(np.mean(wanted, axis=0)[0], abs=0.051)
        assert table_of["all", "pve"]["value"] == pytest.approx(np.mean(wanted, axis=0)[1], abs=0.051)
        assert table_of["age:kid", "mpjpe"]["value"] == pytest.approx(wanted[1][0], abs=0.051)
        with h5py.File(tmp_path / "out" / "errors.h5") as stored:
            np.testing.assert_allclose(stored["values/pve"][:, 0] * 1000, np.array(wanted)[:, 1], rtol=1e-6)

    def test_joints_alone_have_no_mve(self, typed, file, tmp_path):
        with np.load(file) as content:
            arrays = {key: content[key] for key in ("ids", "joints", "skeleton")}
        np.savez(tmp_path / "joints.npz", **arrays)
        assert typed(f"predictions:{tmp_path / 'joints.npz'}")[0] == 0
        rows = by_split(read_result(tmp_path / "out"))
        assert (rows["all", "mpjpe"]["value"], rows["all", "pve"]["value"]) == (30, None)
        assert (rows["all", "pve"]["count"], rows["all", "pve"]["people"]) == (0, 5)

    def test_goes_on_where_it_was(self, typed, file, monkeypatch, tmp_path, agora, rows):
        """Two images, killed after the first: the second run asks for the second image alone, and the numbers are those of one run."""
        other = rows.copy()
        other["imgPath"] = pd.Series([f"{IMAGE[:-1]}4.png"], dtype=object)
        other.to_pickle(agora / "SMPL" / "validation_1_withjv.pkl")
        write_image(agora / "validation", f"{IMAGE[:-1]}4", (1280, 720))
        assert typed("mean-pose")[0] == 0
        whole = read_result(tmp_path / "out")
        monkeypatch.setattr(boxes, "_PEOPLE_KEPT", 1)
        asked, real = [], boxes._rows

        def killed(answers, people, targets):
            asked.append(sorted(targets))
            if len(asked) == 2:
                raise KeyboardInterrupt
            return real(answers, people, targets)

        monkeypatch.setattr(boxes, "_rows", killed)
        assert typed("mean-pose", "agora-validation", "--restart")[0] == 130
        assert not (tmp_path / "out" / "result.json").exists()
        assert typed("mean-pose")[0] == 0
        assert [names[0].split("/")[-2] for names in asked] == ["00003", "00004", "00004"]
        assert read_result(tmp_path / "out") == whole

    def test_first_few(self, typed, tmp_path):
        assert typed("mean-pose", "agora-validation", "--limit", "2")[0] == 0
        result = read_result(tmp_path / "out")
        assert (result.limit, result.n_expected) == (2, 2)

    @pytest.mark.parametrize("more", [{"shard": (0, 2)}, {"generated": "somewhere"}])
    def test_whole_runs_alone(self, more, tmp_path):
        model = FakeModel(exact_bodies())
        with pytest.raises(ResultError, match="of whole runs: leave out generated and shard"):
            evaluate(model, load_protocol("agora-validation"), FakeDataset(), exact_bodies(), tmp_path / "out", **more)

    def test_another_dataset(self, tmp_path):
        with pytest.raises(DataError, match=r"dataset is 'openhps'\. Expected AGORA with SMPL's fits"):
            evaluate(FakeModel(exact_bodies()), load_protocol("agora-validation"), FakeDataset(), exact_bodies(), tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"joints": np.zeros((14, 2))}, r"'joints' has shape (14, 2) a person, expected (24 or more, 2)"),
            ({"allSmplJoints3d": np.zeros((17, 3))}, r"'allSmplJoints3d' has shape (17, 3) a person, expected (24 or more, 3)"),
            ({"verts": np.full((6890, 3), np.nan)}, "'verts' holds NaN or infinity. Leave out the people who failed."),
            ({"verts": np.zeros((10475, 3))}, "has 10475 vertices a person, expected the 6890 of SMPL"),
            ({"verts": None, "params": {"betas": np.zeros((1, 10))}}, "lacks verts; it has joints, allSmplJoints3d, params"),
        ],
    )
    def test_of_one_person(self, refused, folder, change, said):
        for path in folder.iterdir():
            record = {**pickle.loads(path.read_bytes()), **change}
            path.write_bytes(pickle.dumps({key: value for key, value in record.items() if value is not None}, 2))
        assert said in refused()

    @pytest.mark.parametrize(
        ("keys", "factor", "said"),
        [
            (("verts", "allSmplJoints3d"), 1000, "and these look like millimetres. Write metres."),
            (("verts",), 1000, "'verts': the people measure"),
            (("allSmplJoints3d",), 0.01, "expected one to two metres. Write metres."),
            (("joints",), 1 / 3, "look like pixels of 1280 x 720: read so they fit 4 people, as they are 0."),
            (("joints",), 1 / np.array([3840, 2160]), "look like parts of the image: read so they fit 4 people"),
        ],
    )
    def test_units(self, refused, folder, keys, factor, said):
        for path in folder.iterdir():
            record = pickle.loads(path.read_bytes())
            path.write_bytes(pickle.dumps(record | {key: record[key] * factor for key in keys}, 2))
        assert said in refused()

    def test_foreign_folder(self, refused, folder, tmp_path):
        (folder / "weights.pkl").write_bytes(b"x")
        assert "files that are no predictions, the first is weights.pkl" in refused()
        for path in folder.iterdir():
            path.unlink()
        assert "Expected the folder of prediction files itself" in refused()

    def test_predictions_of_another_split(self, refused, folder):
        for path in folder.iterdir():
            path.rename(folder / path.name.replace("validationset", "testset"))
        said = refused()
        assert "none of them is annotated in this split" in said
        assert f"Expected names as {IMAGE}_personId_0.pkl" in said

    def test_pickles(self, refused, folder, tmp_path):
        path = sorted(folder.iterdir())[1]
        whole = path.read_bytes()
        for content, said in (
            (b"", "is not a whole pickle"),
            (whole[:1000], "is not a whole pickle"),
            (whole[:-1], "is not a whole pickle"),
            (b"cos\nsystem\n(S'touch pwned'\ntR.", "asks for 'os.system'"),
            (pickle.dumps({"joints": np.array([print], dtype=object)}), "asks for 'builtins.print'"),
            (pickle.dumps([1]), "holds a list, expected a dict of one person's prediction"),
            (pickle.dumps({}), "lacks joints, verts, allSmplJoints3d; it has nothing"),
        ):
            path.write_bytes(content)
            error = refused()
            assert said in error
            assert (error.count("\n"), str(path) in error) == (1, True)
        assert not list(tmp_path.rglob("pwned"))

    def test_data(self, refused, tmp_path, agora):
        assert "No folder" in refused("--data", tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        assert "which holds nothing. Unpack validation_SMPL.zip there" in refused("--data", tmp_path / "empty")
        table_file = agora / "SMPL" / "validation_0_withjv.pkl"
        table_file.write_bytes(table_file.read_bytes()[:5000])
        assert f"{table_file} is not a whole pickle" in refused()

    def test_names(self, refused):
        assert "Did you mean 'agora-validation'?" in refused("--protocol", "agora-validaton")

    def test_nobody_is_annotated(self, refused, agora, rows):
        empty = rows.copy()
        for column in ("X", "Y", "Z", "Yaw", "gender", "kid", "occlusion", "isValid", "gt_path_smpl"):
            empty[column] = pd.Series([[]], dtype=object)
        for column in ("gt_joints_2d", "gt_joints_3d", "gt_verts"):
            empty[column] = pd.Series([[]], dtype=object)
        empty.to_pickle(agora / "SMPL" / "validation_0_withjv.pkl")
        assert "is evaluated: 0 people are annotated in 1 images. Expected some who are valid" in refused()

    def test_a_body_of_wrong_shapes(self, refused, tmp_path):
        (tmp_path / "bodies").mkdir()
        np.savez(tmp_path / "bodies" / "SMPL_NEUTRAL.npz", v_template=np.zeros((5, 3)))
        said = refused("--protocol", "agora-validation-skinning", "--body", tmp_path / "bodies")
        assert "SMPL_NEUTRAL.npz lacks J_regressor" in said

    def test_disk_full(self, run, agora, folder, tmp_path, monkeypatch):
        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        words = ("--model", f"predictions:{folder}", "--protocol", "agora-validation", "--data", agora, "--out", tmp_path / "out")
        status, out, err = run("eval", *words)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "Could not write" in err
        assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]

    def test_no_such_folder(self, refused, tmp_path):
        assert "There is nothing at" in refused("--model", f"predictions:{tmp_path / 'nowhere'}")

    def test_no_list_of_vertices(self, refused, agora):
        (agora / "body_verts_smpl.npy").unlink()
        said = refused()
        assert "No body_verts_smpl.npy in" in said
        assert "agora-validation-skinning" in said

    @pytest.mark.parametrize(
        "ids", [BODY_VERTICES[:100], BODY_VERTICES + 3000, BODY_VERTICES / 2, np.zeros(4010, dtype=int), np.array(["a"], dtype=object)]
    )
    def test_wrong_list_of_vertices(self, refused, agora, ids):
        np.save(agora / "body_verts_smpl.npy", ids)
        assert "Take the file from where it is published again: in the folder utils of github.com/pixelite1201" in refused()

    def test_no_annotations(self, refused, agora):
        (agora / "SMPL" / "validation_0_withjv.pkl").unlink()
        assert "No SMPL/validation_*_withjv.pkl" in refused()

    @pytest.mark.parametrize("more", [("--limit", "2"), ("--shard", "1/2"), ("--generated", ".")])
    def test_parts_of_a_run(self, refused, more):
        assert "leave out" in refused(*more, status=2)

    def test_body_where_one_is_needed(self, refused):
        assert "--body or HPSBENCH_BODY" in refused("--model", "mean-pose", status=2)
        assert "--body or HPSBENCH_BODY" in refused("--protocol", "agora-validation-skinning", status=2)

    def test_joints_of_another_skeleton(self, refused, file, tmp_path):
        with np.load(file) as content:
            np.savez(tmp_path / "joints.npz", ids=content["ids"], joints=content["joints"][:, :17], skeleton="h36m17")
        said = refused("--model", f"predictions:{tmp_path / 'joints.npz'}", "--body", "openhps")
        assert "The answers are joints of 'h36m17'" in said

    def test_nothing_to_merge(self, evaluated, run, tmp_path):
        evaluated("agora-validation")
        status, out, err = run("merge", tmp_path / "out", "--out", tmp_path / "merged")
        assert (status, out, "Traceback" in err) == (1, "", False)
        assert "of whole runs and come in no shards" in err
        assert not (tmp_path / "merged").exists()

    def test_folder_of_another_run(self, evaluated, run, agora, folder, tmp_path):
        evaluated("agora-validation")
        before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        words = ("--protocol", "agora-validation-plain", "--data", agora, "--out", tmp_path / "out")
        status, _, err = run("eval", "--model", f"predictions:{folder}", *words)
        assert (status, "belongs to another run" in err) == (1, True)
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before

    @pytest.fixture
    def refused(self, run, agora, folder, tmp_path):
        """Types a command that must end with one message, and leave nothing behind; gives the message. Later options win."""

        def typed(*more, status=1):
            words = ("--model", f"predictions:{folder}", "--protocol", "agora-validation", "--data", agora, "--out", tmp_path / "out")
            found, out, err = run("eval", *words, *more)
            assert (found, out) == (status, "")
            assert "Traceback" not in err
            assert not (tmp_path / "out").exists()
            return err

        return typed


class TestProtocols:
    def test_plain_differs_in_its_rule_alone(self):
        literal, plain, skinning = (load_protocol(f"agora-validation{end}") for end in ("", "-plain", "-skinning"))
        for other in (plain, skinning):
            assert {key for key in literal.content if literal.content[key] != other.content[key]} == {"name", "agora"}
        assert [protocol.agora for protocol in (literal, plain, skinning)] == [
            AgoraRule(literal=True, vertices="file"),
            AgoraRule(literal=False, vertices="file"),
            AgoraRule(literal=False, vertices="skinning"),
        ]

    def test_no_name_decides(self, evaluated, tmp_path):
        """A protocol file of one's own, under a name of one's own, has the scores that its table [agora] asks for."""
        own = tmp_path / "mine.toml"
        own.write_text('name = "mine"\nversion = 1\nwhat = "w"\nsource = "s"\nbase = "agora-validation"\n[agora]\nliteral = false\n')
        mine, out, _ = evaluated(own)
        assert mine.protocol["id"] == "mine.v1"
        assert "AGORA's, without the faults" in out
        (tmp_path / "out").rename(tmp_path / "mine")
        assert mine.scores == evaluated("agora-validation-plain")[0].scores

    def test_a_folder_asks_for_the_rule(self, folder, agora, tmp_path):
        with pytest.raises(ProtocolError, match=r"'3dpw-test\.v1' has no table \[agora\].*Take agora-validation"):
            score_folder(folder, load_protocol("3dpw-test"), agora, tmp_path / "out")

    def test_several_cases(self, folder, agora, file, run, tmp_path):
        """Two windows for each person: neither a folder nor a model is scored."""
        own = tmp_path / "mine.toml"
        crop = '[[occluders]]\nkind = "vertical-crop"\nbox_scale = 1.0\nfactor = 0.5\ndraws = 2\n'
        own.write_text(f'name = "mine"\nversion = 1\nwhat = "w"\nsource = "s"\nbase = "agora-validation"\n{crop}')
        for model in (folder, file):
            words = ("--protocol", own, "--data", agora, "--body", "openhps", "--out", tmp_path / "out")
            status, _, err = run("eval", "--model", f"predictions:{model}", *words)
            assert status == 1
            assert "hides each person in 2 ways" in err
            assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("table_of", "change", "said"),
        [
            ("score", 'root = "pelvis"', r"score\.root: 'pelvis' found, but 'hips' was expected"),
            ("score", 'on_failure = "mean-pose"', r"score\.on_failure"),
            ("data", 'frames = "all"', r"data\.frames: 'all' found, but 'valid'"),
            ("data", 'split = "test"', r"data\.split: 'test' found, but 'validation' or 'train' or 'all'"),
        ],
    )
    def test_a_file_that_says_something_else(self, tmp_path, table_of, change, said):
        own = tmp_path / "mine.toml"
        own.write_text(
            f'name = "mine"\nversion = 1\nwhat = "w"\nsource = "s"\nbase = "agora-validation"\n[{table_of}]\n{change}\n', encoding="utf-8"
        )
        with pytest.raises(ProtocolError, match=said):
            load_protocol(own)

    def test_skinning_leaves_out_head_and_hands(self):
        bodies = exact_bodies()
        chosen = body_vertices(AgoraRule(literal=False, vertices="skinning"), "smpl", Path("nowhere"), bodies)
        moved = bodies.neutral.weights.argmax(1).numpy()
        assert set(moved[chosen.ids["body"]]) == set(range(24)) - {15, 20, 21, 22, 23}
        assert chosen.number == sum((moved == joint).sum() for joint in range(24) if joint not in (15, 20, 21, 22, 23))

    def test_skinning_without_bodies(self):
        with pytest.raises(BodyError, match="no bodies are given"):
            body_vertices(AgoraRule(literal=False, vertices="skinning"), "smpl", Path("nowhere"), None)

    @pytest.mark.parametrize("vertices", ["file", "skinning"])
    def test_bodies_of_another_mesh(self, vertices, tmp_path):
        other = SimpleNamespace(folder=tmp_path, neutral=SimpleNamespace(n_vertices=10475))
        with pytest.raises(BodyError, match="10475 vertices, expected SMPL's 6890"):
            body_vertices(AgoraRule(literal=True, vertices=vertices), "smpl", tmp_path, other)

    @pytest.mark.parametrize("place", ["AGORA", "AGORA/utils", "bodies", "bodies/smpl"])
    def test_where_the_list_may_lie(self, place, tmp_path):
        bodies = SimpleNamespace(folder=tmp_path / "bodies", neutral=SimpleNamespace(n_vertices=6890))
        (tmp_path / place).mkdir(parents=True)
        np.save(tmp_path / place / "body_verts_smpl.npy", BODY_VERTICES)
        chosen = body_vertices(AgoraRule(literal=True, vertices="file"), "smpl", tmp_path / "AGORA", bodies)
        np.testing.assert_array_equal(chosen.ids["body"], BODY_VERTICES)

    def test_hashes_tell_lists_apart(self, tmp_path):
        rule, hashes = AgoraRule(literal=True, vertices="file"), set()
        for name, ids in (("a", BODY_VERTICES), ("b", np.arange(4010)), ("c", BODY_VERTICES.astype(np.int64))):
            (tmp_path / name).mkdir()
            np.save(tmp_path / name / "body_verts_smpl.npy", ids)
            hashes.add(body_vertices(rule, "smpl", tmp_path / name, None).sha256)
        assert len(hashes) == 2
        with pytest.raises(DataError, match="put them there"):
            body_vertices(rule, "smpl", tmp_path, None)


def test_report_shows_the_errors(evaluated, run, tmp_path):
    """Tables and CSV have MPJPE and PVE of everybody and of each group, and the other scores beside."""
    evaluated("agora-validation")
    status, out, _ = run("report", tmp_path / "out", "--csv", tmp_path / "board.csv", "--html", tmp_path / "page.html")
    assert status == 0
    page = (tmp_path / "page.html").read_text()
    for part in ("<th>NMJE mm</th>", "<td>37.5</td>", "<td>71.6</td>", "<h3>predictions:predictions, by occlusion</h3>"):
        assert part in page
    assert "30.0" in out
    board = pd.read_csv(tmp_path / "board.csv")
    kid = board[(board["split"] == "age:kid") & (board["metric"] == "mpjpe")].iloc[0]
    keys = ("value", "precision", "recall", "f1", "false_positives", "normalised")
    assert [kid[key] for key in keys] == [48.0, 0.5, 1.0, 0.67, 1, 71.6]
    assert all(f"{low}-{low + 10}" in out for low in range(0, 90, 10))
    assert json.loads((tmp_path / "out" / "result.json").read_text())["scores"][0]["f1"] == 0.8
