"""AGORA's SMPL-X scores from the command line: one image with five people, every score of every part written as a fraction."""

import pickle
from fractions import Fraction
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from layouts.agora import AgoraPerson, AgoraShot, table
from test_agora_scores import assert_row, by_split, tenths

from hpsbench.datasets.agora import AgoraX
from hpsbench.errors import BodyError, DataError, PredictionError, ProtocolError, UnsafePickleError
from hpsbench.evaluate.agora_vertices import body_vertices
from hpsbench.evaluate.boxes import score_boxes
from hpsbench.evaluate.detections import score_folder
from hpsbench.evaluate.run import read_result
from hpsbench.protocol import AgoraRule, load_protocol

IMAGE = "ag_validationset_renderpeople_bfh_hdri_50mm_5_10_00003"
# An image of scans without hands and face, which is left out.
WITHOUT = "ag_validationset_renderpeople_body_hdri_50mm_5_10_00003"
RNG = np.random.default_rng(21)
LISTS = dict(zip(("body", "left_hand", "right_hand", "face"), np.split(RNG.permutation(10475), np.cumsum((3896, 778, 778))), strict=True))
# An adult, a kid, one at 85 %, one more, and one whom nobody answers.
OCCLUSIONS, KIDS, MISSED = (10.0, 15.0, 85.0, 42.0, 0.0), (False, True, False, False, False), 4
# What each of the four found is off, mm: by part the mean of its joints (22, 16, 16 and 52) and of its vertices.
JOINTS_MM = {"body": (24, 48, 12, 36), "left_hand": (8, 16, 4, 12), "right_hand": (2, 4, 6, 12), "face": (5, 10, 15, 20)}
VERTICES_MM = {"body": (10, 20, 40, 30), "left_hand": (4, 8, 12, 16), "right_hand": (3, 6, 9, 12), "face": (2, 4, 6, 8)}
# A joint of each part that is no root, and how many joints the part has: the mean is that one's error over their number.
MOVED = {"body": (5, 22), "left_hand": (30, 16), "right_hand": (45, 16), "face": (100, 52)}
PARTS = ("body", "left_hand", "right_hand", "face")


def person(k: int) -> AgoraPerson:
    joints, vertices = RNG.uniform(-0.4, 0.4, (24, 3)), np.float32(RNG.uniform(-0.4, 0.4, (6890, 3)))
    place = (-2.8 + 1.4 * k, 0.1, 10.0)
    return AgoraPerson(np.zeros((24, 3)), np.zeros(10), np.zeros(3), joints, vertices, place, 90.0, "male", KIDS[k], OCCLUSIONS[k])


@pytest.fixture(scope="module")
def rows():
    """The table of both images; the second has two people."""
    five = tuple(map(person, range(5)))
    return table([AgoraShot(name, 50, (0, 0, 170), 0, 0, (0, 0, 0), some) for name, some in ((IMAGE, five), (WITHOUT, five[:2]))], "smplx")


@pytest.fixture(scope="module")
def answers(rows):
    """The predictions of the four: moved as a whole, each part off at one joint and at all of its vertices."""
    found = []
    for k in range(4):
        row = rows.iloc[0]
        joints, vertices = np.array(row["gt_joints_3d"][k]), np.array(row["gt_verts"][k], dtype=np.float64)
        for part, (joint, number) in MOVED.items():
            joints[joint, 1] += JOINTS_MM[part][k] * number / 1000
            vertices[LISTS[part]] += [0, VERTICES_MM[part][k] / 1000, 0]
        shift = np.array([k, -2 * k, 0.5])
        found.append({"joints": row["gt_joints_2d"][k][:24] + 7.0, "verts": vertices + shift, "allSmplJoints3d": joints + shift})
    return found


@pytest.fixture(scope="module")
def agora(tmp_path_factory, rows):
    """AGORA's folder without an image, and the three lists of vertices in it; nobody changes it."""
    root = tmp_path_factory.mktemp("smplx") / "AGORA"
    (root / "SMPLX").mkdir(parents=True)
    rows.to_pickle(root / "SMPLX" / "validation_0_withjv.pkl")
    write_lists(root)
    return root


def write_lists(folder):
    np.save(folder / "body_verts_smplx.npy", LISTS["body"].astype(np.uint32))
    np.save(folder / "SMPL-X__FLAME_vertex_ids.npy", LISTS["face"])
    hands = {part: LISTS[part] for part in ("left_hand", "right_hand")}
    (folder / "MANO_SMPLX_vertex_ids.pkl").write_bytes(pickle.dumps(hands, 2))


def write(folder, named):
    folder.mkdir(exist_ok=True)
    for name, record in named.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(record, 2))
    return folder


@pytest.fixture
def folder(tmp_path, answers):
    """The predictions in another order, one of nobody, and one of the image that is left out."""
    extra = answers[0] | {"joints": answers[0]["joints"] + [0, 900.0]}
    some = [answers[3], answers[1], extra, answers[0], answers[2]]
    named = {f"{IMAGE}_personId_{k}": record for k, record in enumerate(some)}
    return write(tmp_path / "predictions", named | {f"{WITHOUT}_personId_0": answers[0]})


@pytest.fixture
def evaluated(run, agora, folder, tmp_path):
    """Types the command; gives (result, stdout)."""

    def typed(protocol):
        status, out, err = run(
            "eval", "--model", f"predictions:{folder}", "--protocol", protocol, "--data", agora, "--out", tmp_path / "out"
        )
        assert status == 0, err
        return read_result(tmp_path / "out"), out

    return typed


def mean(errors, places=range(4), zeros=0):
    """The mean over the people at ``places``, and ``zeros`` of error 0."""
    return Fraction(sum(errors[k] for k in places), len(places) + zeros)


def by_part(errors, places=range(4), zeros=0):
    """{part: mean} with the full body's; ``zeros`` count in hands and face alone."""
    found = {part: mean(errors[part], places, zeros if part != "body" else 0) for part in PARTS}
    return found | {"full_body": found["body"] + (found["left_hand"] + found["right_hand"] + found["face"]) / 3}


def test_literally(evaluated):
    """Hands and face have a 0 for the missed: left hand 40/5 = 8, full body 30 + (8 + 24/5 + 10)/3 = 188/5, over F1 = 4/5 47. The kid's
    full body, 48 + (16 + 4 + 10)/3 = 58, is over everybody's F1, 58 / (4/5) = 72.5; its body over its own, 2/3 = 0.67."""
    result, out = evaluated("agora-validation-smplx")
    rows, ratio = by_split(result), Fraction(4, 5)
    whole = {"people": 5, "extra": 1, "precision": ratio, "recall": ratio, "f1": ratio, "exact": True}
    kids = {"people": 1, "found": 1, "extra": 1, "precision": Fraction(1, 2), "recall": 1, "f1": Fraction(67, 100), "exact": True}
    for metric, errors in (("mpjpe", JOINTS_MM), ("pve", VERTICES_MM)):
        all_of, kid = by_part(errors, zeros=1), by_part(errors, [1])
        for part in ("full_body", *PARTS):
            title, entering = part.replace("_", " "), 4 if part in ("body", "full_body") else 5
            normalised = tenths(all_of[part] / ratio) if "body" in part else None
            row = rows[f"part:{title}", metric]
            assert row["count"] == entering
            assert_row(row | {"count": 4}, **whole, found=4, value=tenths(all_of[part]), normalised=normalised)
            over = {"body": Fraction(67, 100), "full_body": ratio}.get(part)
            assert_row(rows[f"part of kids:{title}", metric], **kids, value=tenths(kid[part]), normalised=over and tenths(kid[part] / over))
        assert rows["all", metric] == rows["part:body", metric] | {"split": "all"}
        assert rows["age:kid", metric] == rows["part of kids:body", metric] | {"split": "age:kid"}
    found = [rows[f"part:{part}", "mpjpe"]["value"] for part in ("full body", "body", "left hand", "right hand", "face")]
    assert found == [37.6, 30.0, 8.0, 4.8, 10.0]
    assert (rows["part:full body", "mpjpe"]["normalised"], rows["part:full body", "pve"]["normalised"]) == (47.0, 38.8)
    assert (rows["part of kids:full body", "mpjpe"]["normalised"], rows["part of kids:full body", "pve"]["value"]) == (72.5, 26.0)
    assert rows["part:full body", "mpjpe"]["low"] is None
    assert rows["part:face", "pve"]["low"] <= 4 <= rows["part:face", "pve"]["high"]
    assert_bins(rows, {0: (2, [0]), 10: (1, [1]), 40: (1, [3]), 80: (1, [2])}, literal=True)
    lines = [" ".join(word for word in line.split() if not word.startswith("±")) for line in out.splitlines()]
    assert "full body 37.6 31.0 47.0 38.8 0.800 0.800 4 1 1 80.0" in lines
    assert "left hand 8.0 8.0 - - 0.800 0.800 4 1 1 80.0" in lines
    assert "PVE (AGORA's MVE) over 3,896 vertices: body_verts_smplx.npy; of each hand 778: MANO_SMPLX_vertex_ids.pkl; of the face" in out


def test_without_the_faults(evaluated, tmp_path):
    """Means over the four found: full body 30 + (10 + 6 + 25/2)/3 = 79/2, over F1 = 4/5 395/8. And who is counted, and every error."""
    result, _ = evaluated("agora-validation-smplx-plain")
    rows, ratio = by_split(result), Fraction(4, 5)
    for metric, errors in (("mpjpe", JOINTS_MM), ("pve", VERTICES_MM)):
        all_of, kid = by_part(errors), by_part(errors, [1])
        for part in ("full_body", *PARTS):
            title = part.replace("_", " ")
            whole = {"people": 5, "found": 4, "extra": 1, "precision": ratio, "recall": ratio, "f1": ratio, "exact": False}
            normalised = all_of[part] / ratio if "body" in part else None
            assert_row(rows[f"part:{title}", metric], **whole, value=all_of[part], normalised=normalised)
            kids = {"people": 1, "found": 1, "extra": None, "recall": 1, "exact": False}
            assert_row(rows[f"part of kids:{title}", metric], **kids, value=kid[part], normalised=None)
    assert rows["part:full body", "mpjpe"]["value"] == pytest.approx(39.5, rel=1e-6)
    assert rows["part:full body", "mpjpe"]["normalised"] == pytest.approx(float(Fraction(395, 8)), rel=1e-6)
    assert rows["part:full body", "mpjpe"]["low"] < 39.5 < rows["part:full body", "mpjpe"]["high"]
    assert_bins(rows, {0: (1, []), 10: (2, [0, 1]), 40: (1, [3]), 80: (1, [2])}, literal=False)
    assert (result.n_expected, result.n_evaluated, result.n_failed) == (5, 4, 1)
    assert result.frames == {"total": 7, "kept": 5, "dropped": {"image without hands and face": 2, "not valid": 0}}
    assert result.dataset_name == "agora-smplx/validation"
    with h5py.File(tmp_path / "out" / "errors.h5") as file:
        assert file["ids"][0].decode() == "agora-smplx/validation/ag_validationset_renderpeople_bfh_hdri_50mm_5_10/00003/0"
        for part, (_, number) in MOVED.items():
            errors = file["values/mpjpe" + ("" if part == "body" else f"_{part}")][:]
            assert errors.shape == (5, number)
            np.testing.assert_allclose(errors[:4].mean(1) * 1000, JOINTS_MM[part], rtol=1e-6)
            np.testing.assert_allclose(file["values/pve"][:4, PARTS.index(part)] * 1000, VERTICES_MM[part], rtol=1e-6)
        assert np.isnan(file["values/pve"][MISSED]).all()


def assert_bins(rows, bins, *, literal):
    """Of each bin of occlusion and each part: (people, who of them is found); literally 10 % is in the first bin, with the one missed."""
    for low in range(0, 90, 10):
        people, found = bins.get(low, (0, []))
        for metric, errors in (("mpjpe", JOINTS_MM), ("pve", VERTICES_MM)):
            means = by_part(errors, found, people - len(found) if literal else 0) if found else {}
            for part in ("full_body", *PARTS):
                kind = "occlusion" if part == "body" else f"occlusion ({part.replace('_', ' ')})"
                row, value = rows[f"{kind}:{low}-{low + 10}", metric], means.get(part)
                recall = Fraction(len(found), people) if people else None
                over = recall if literal and found and "body" in part else None
                wanted = {"people": people, "found": len(found), "extra": None, "recall": recall, "value": value, "exact": False}
                assert_row(row | {"count": len(found)}, **wanted, normalised=over and value / over)


class TestBadInput:
    """The function that the command calls, and the command where it says more."""

    @pytest.fixture
    def refused(self, folder, agora, tmp_path):
        """Scores what was spoilt; nothing may be left behind."""

        def scored(match, kind=PredictionError, *, root=agora, protocol="agora-validation-smplx", bodies=None):
            with pytest.raises(kind, match=match) as error:
                score_folder(folder, load_protocol(protocol), root, tmp_path / "out", bodies=bodies)
            assert "\n" not in str(error.value)
            assert not (tmp_path / "out").exists()

        return scored

    def spoil(self, folder, **change):
        for path in folder.iterdir():
            record = pickle.loads(path.read_bytes()) | change
            path.write_bytes(pickle.dumps({key: value for key, value in record.items() if value is not None}, 2))

    def test_meshes_and_joints_of_smpl(self, folder, refused):
        self.spoil(folder, verts=np.zeros((6890, 3)))
        refused("has 6890 vertices a person, expected the 10475 of SMPL-X.*Those are SMPL's, which the protocol agora-validation scores")
        self.spoil(folder, verts=np.ones((10475, 3)), allSmplJoints3d=np.ones((45, 3)))
        refused(r"'allSmplJoints3d' has shape \(45, 3\) a person, expected \(127 or more, 3\) of SMPL-X")

    def test_parameters(self, folder, refused):
        params = {"betas": np.zeros((1, 10)), "left_hand_pose": np.zeros((1, 45)), "jaw_pose": np.zeros((1, 3))}
        self.spoil(folder, verts=None, allSmplJoints3d=None, params=params)
        refused(r"'params' are SMPL-X's \(left_hand_pose, jaw_pose found\), of which no body is read here\. Write the mesh: 'verts'")

    def test_no_image_with_hands(self, agora, refused, rows, folder, tmp_path):
        root = tmp_path / "AGORA"
        (root / "SMPLX").mkdir(parents=True)
        rows.iloc[1:].to_pickle(root / "SMPLX" / "validation_0_withjv.pkl")
        write_lists(root)
        refused("Nobody in .* is evaluated: 2 people are annotated in 1 images, 2 of them without hands and face", DataError, root=root)

    @pytest.mark.parametrize("name", ["body_verts_smplx.npy", "MANO_SMPLX_vertex_ids.pkl", "SMPL-X__FLAME_vertex_ids.npy"])
    def test_no_list(self, tmp_path, name):
        write_lists(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(DataError, match=rf"^No {name} in .*utils.*put them there\. They are published so: {name}: (in|under) .*\.$"):
            lists(tmp_path)

    @pytest.mark.parametrize("place", ["AGORA/utils", "bodies", "bodies/smplx"])
    def test_where_the_lists_may_lie(self, place, tmp_path):
        (tmp_path / place).mkdir(parents=True)
        write_lists(tmp_path / place)
        found = lists(tmp_path / "AGORA", SimpleNamespace(folder=tmp_path / "bodies"))
        assert list(found.ids) == list(PARTS)
        for part in PARTS:
            np.testing.assert_array_equal(found.ids[part], LISTS[part])
        assert found.number == 3896

    @pytest.mark.parametrize(
        ("hands", "kind", "match"),
        [
            ({"left_hand": LISTS["left_hand"]}, DataError, "lacks right_hand; it holds left_hand"),
            ([1, 2], DataError, "lacks left_hand and right_hand; it holds a list"),
            ({"left_hand": LISTS["left_hand"], "right_hand": LISTS["face"]}, DataError, "'right_hand' holds int64 of shape .*expected 778"),
            ({"left_hand": LISTS["left_hand"] / 2, "right_hand": LISTS["right_hand"]}, DataError, "'left_hand' holds float64"),
            (b"cos\nsystem\n(S'touch pwned'\ntR.", UnsafePickleError, "asks for 'os.system'"),
            (pickle.dumps(LISTS, 2)[:-90], DataError, "is not a whole pickle"),
        ],
    )
    def test_hands_that_are_none(self, tmp_path, hands, kind, match):
        write_lists(tmp_path)
        content = hands if isinstance(hands, bytes) else pickle.dumps(hands, 2)
        (tmp_path / "MANO_SMPLX_vertex_ids.pkl").write_bytes(content)
        with pytest.raises(kind, match=match):
            lists(tmp_path)
        assert not (tmp_path / "pwned").exists()

    @pytest.mark.parametrize("ids", [LISTS["face"][:100], LISTS["face"] + 9000, np.zeros(5023, dtype=int), np.array(["a"], dtype=object)])
    def test_a_face_that_is_none(self, tmp_path, ids):
        write_lists(tmp_path)
        np.save(tmp_path / "SMPL-X__FLAME_vertex_ids.npy", ids)
        with pytest.raises(DataError, match=r"Take the file from where it is published again: under 'MANO and FLAME vertex indices'"):
            lists(tmp_path)

    def test_skinning(self, tmp_path):
        with pytest.raises(BodyError, match=r'of which no body is read here\. Say vertices = "file" under \[agora\]'):
            body_vertices(AgoraRule(literal=True, vertices="skinning"), "smplx", tmp_path, None)

    def test_a_model_that_is_given_boxes(self, tmp_path):
        how = {"ids": [], "about": {}, "road": None, "batch_size": 1, "workers": 0, "resume": True, "progress": None}
        with pytest.raises(ProtocolError, match=r"no model answers that is given boxes\. Give a folder of AGORA's prediction files"):
            score_boxes(None, load_protocol("agora-validation-smplx"), None, None, tmp_path / "out", **how)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            ('[score]\njoints = "smpl24"\nregressor = "smpl24"\npa_fit = "smpl24"\n', "score.joints: 'smpl24' found, but 'smplx22' was"),
            ('[data]\ndataset = "agora"\n', "data.frames: 'valid-bfh' found, but 'valid' was expected"),
        ],
    )
    def test_a_protocol_of_both_models(self, tmp_path, lines, said):
        own = tmp_path / "mine.toml"
        own.write_text(f'name = "mine"\nversion = 1\nwhat = "w"\nsource = "s"\nbase = "agora-validation-smplx"\n{lines}')
        with pytest.raises(ProtocolError) as error:
            load_protocol(own)
        assert said in str(error.value)

    def test_the_command(self, run, folder, agora, tmp_path):
        """Without the lists, exit 1 and one message."""
        bare = tmp_path / "AGORA"
        (bare / "SMPLX").mkdir(parents=True)
        (bare / "SMPLX" / "validation_0_withjv.pkl").symlink_to(agora / "SMPLX" / "validation_0_withjv.pkl")
        words = ("--model", f"predictions:{folder}", "--protocol", "agora-validation-smplx", "--data", bare, "--out", tmp_path / "out")
        status, out, err = run("eval", *words)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "No body_verts_smplx.npy, MANO_SMPLX_vertex_ids.pkl, SMPL-X__FLAME_vertex_ids.npy in" in err
        assert not (tmp_path / "out").exists()


def lists(root, bodies=None):
    return body_vertices(AgoraRule(literal=True, vertices="file"), "smplx", root, bodies)


def test_samples_of_that_frame_rule(agora, tmp_path):
    """Whom the protocol scores are the samples of its frame rule, where their images are there."""
    (tmp_path / "validation").mkdir()
    (tmp_path / "SMPLX").symlink_to(agora / "SMPLX")
    for image in (IMAGE, WITHOUT):
        (tmp_path / "validation" / f"{image}_1280x720.png").touch()
    dataset = AgoraX(tmp_path, split="validation", frames="valid-bfh", bbox="joints-in-image", bbox_scale=1.0, bodies=None)
    assert {dataset.person(i)["image"] for i in range(len(dataset))} == {IMAGE}
    assert dataset.counts.dropped["image without hands and face"] == 2
