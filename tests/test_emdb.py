"""The EMDB reader, on people of the embedded body laid out as EMDB."""

import pickle
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from damage import cut, emptied
from layouts.emdb import Walk, record, write_emdb

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets import base_emdb
from hpsbench.datasets.emdb import Emdb
from hpsbench.errors import DataError, HpsbenchError, UnknownNameError, UnsafePickleError
from hpsbench.evaluate import evaluate
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.models.base import Model
from hpsbench.protocol import load_protocol
from hpsbench.types import Card, Prediction

N = 5


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


def make_walk(bodies, subject, sequence, gender, subsets, size, **more):
    """A person who walks through a world, z up, before a camera that turns and goes with them."""
    rng = np.random.default_rng(len(sequence) + int(subject[1:]))
    rotvecs = np.tile(rng.normal(0, 0.2, (24, 3)), (N, 1, 1)) + rng.normal(0, 0.03, (N, 24, 3))
    upright = cv2.Rodrigues(np.array([np.pi / 2, 0, 0]))[0]
    for i in range(N):
        rotvecs[i, 0] = cv2.Rodrigues(cv2.Rodrigues(np.array([0, 0, 0.4 * i]))[0] @ upright)[0][:, 0]
    betas = rng.normal(0, 0.6, 10)
    trans = np.stack([0.3 * np.arange(N), np.full(N, 2.0), np.full(N, 1.1)], axis=-1)
    output = bodies[gender](torch.from_numpy(np.tile(betas, (N, 1))), rotvecs=torch.from_numpy(rotvecs), trans=torch.from_numpy(trans))
    joints = output.joints.numpy()
    extrinsics = np.tile(np.eye(4), (N, 1, 1))
    look = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    extrinsics[:, :3, :3] = rotvec_to_rotmat(torch.from_numpy(rng.normal(0, 0.06, (N, 3)))).numpy() @ look
    extrinsics[:, :3, 3] = [0, 0, 4.5] - np.einsum("nij,nj->ni", extrinsics[:, :3, :3], joints[:, 0])
    K = np.array([[1.1 * size[1], 0, size[0] / 2 + 3], [0, 1.1 * size[1], size[1] / 2 - 2], [0, 0, 1]])
    return Walk(subject, sequence, gender, subsets, size, rotvecs, betas, trans, joints, extrinsics, K, **more)


@pytest.fixture(scope="module")
def walks(bodies):
    return [
        make_walk(bodies, "P0", "00_stairs", "male", ("emdb1",), (144, 192), bad=(1,), boxless=(3,)),
        make_walk(bodies, "P0", "09_outdoor_walk", "female", ("emdb1", "emdb2"), (144, 192)),
        make_walk(bodies, "P2", "20_park", "female", ("emdb2",), (192, 144)),
        make_walk(bodies, "P9", "77_neither", "neutral", (), (144, 192)),
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory, walks):
    root = tmp_path_factory.mktemp("emdb")
    write_emdb(root, walks)
    return root


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "EMDB")


def opened(root, *, split="all", frames="all", bbox="joints-in-image", scale=1.0, bodies=None):
    return Emdb(root, split=split, frames=frames, bbox=bbox, bbox_scale=scale, bodies=bodies)


def changed(root, walk, change):
    content = record(walk)
    change(content)
    walk.file(root).write_bytes(pickle.dumps(content))


class TestRead:
    def test_people_in_the_camera(self, written, walks, bodies):
        """Joints to 0.1 mm, projections to 0.1 px, against the people that went in."""
        dataset = opened(written, bodies=bodies)
        by_name = {f"{walk.subject}_{walk.sequence}": walk for walk in walks}
        assert len(dataset) == 4 * N
        for sample in dataset:
            walk = by_name[sample.sequence]
            np.testing.assert_allclose(sample.truth.joints, walk.seen()[sample.frame], atol=1e-4)
            np.testing.assert_allclose(sample.truth.joints2d, walk.pixels()[sample.frame], atol=0.1)
            np.testing.assert_allclose(sample.truth.keypoints2d[:, :2], walk.pixels()[sample.frame], atol=0.1)
            np.testing.assert_array_equal(sample.view.intrinsics, walk.intrinsics)
            assert sample.truth.gender == walk.gender
            assert sample.image_size == walk.size

    def test_ordinary_smpl_call_gives_the_joints(self, written, bodies):
        samples = list(opened(written, bodies=bodies))
        rows = {key: torch.from_numpy(np.stack([getattr(s.truth, key) for s in samples])) for key in ("betas", "rotvecs", "trans")}
        output = bodies.forward(**rows, genders=[s.truth.gender for s in samples])
        np.testing.assert_allclose(output.joints.numpy(), np.stack([s.truth.joints for s in samples]), atol=1e-6)

    def test_ids_and_subsets(self, written):
        dataset = opened(written, split="emdb1")
        names = ("P0_00_stairs", "P0_09_outdoor_walk")
        assert dataset.ids == [f"emdb/test/{name}/{i:05d}/0" for name in names for i in range(N)]
        assert list(dataset.track_lengths) == [f"emdb/test/{name}/0" for name in names]
        second = opened(written, split="emdb2")
        assert {sample.sequence for sample in second} == {"P0_09_outdoor_walk", "P2_20_park"}
        assert set(dataset.ids) & set(second.ids) == {name for name in dataset.ids if "outdoor" in name}
        assert set(dataset.ids) | set(second.ids) < set(opened(written).ids)
        assert dataset.fingerprint != second.fingerprint

    @pytest.mark.parametrize(
        ("frames", "bbox", "kept", "dropped"),
        [
            ("all", "joints-in-image", 10, {}),
            ("good", "joints-in-image", 9, {"not a good frame": 1}),
            ("good", "annotated", 8, {"not a good frame": 1, "no annotated box": 1}),
        ],
    )
    def test_rules(self, written, frames, bbox, kept, dropped):
        counts = opened(written, split="emdb1", frames=frames, bbox=bbox).counts
        assert (counts.total, counts.kept) == (10, kept)
        assert {reason: count for reason, count in counts.dropped.items() if count} == dropped

    def test_frames_that_are_not_good_have_no_valid_joint(self, written, bodies):
        dataset = opened(written, split="emdb1", bodies=bodies)
        assert [bool(sample.truth.valid.all()) for sample in dataset][:3] == [True, False, True]
        assert not dataset[1].truth.valid.any()

    def test_boxes(self, written, walks):
        flat = walks[1].pixels()[2]
        low, high = flat.min(0), flat.max(0)
        i = opened(written).index_of("emdb/test/P0_09_outdoor_walk/00002/0")
        np.testing.assert_allclose(opened(written)[i].view.bbox_xyxy, [*low, *high])
        annotated = opened(written, bbox="annotated", scale=2.0)
        box = annotated[annotated.index_of("emdb/test/P0_09_outdoor_walk/00002/0")].view.bbox_xyxy
        np.testing.assert_allclose(box[2:] - box[:2], 2 * (high - low + 16))

    def test_image_i_is_frame_i(self, written):
        image = opened(written)[3].view.read()
        assert image.shape == (192, 144, 3)
        assert abs(float(np.median(image)) - (30 + 25 * 3)) < 3

    def test_without_bodies_nothing_is_made_up(self, written, walks):
        sample = opened(written)[0]
        assert np.isnan(sample.truth.joints).all()
        assert not sample.truth.valid.any()
        assert sample.truth.trans is None
        np.testing.assert_allclose(sample.truth.joints2d, walks[0].pixels()[0])

    def test_rubbish_in_a_frame_that_is_not_good(self, copy, walks, bodies):
        def spoil(content):
            content["smpl"]["trans"][1] = np.nan
            content["kp2d"][1] = np.nan

        changed(copy, walks[0], spoil)
        counts = opened(copy, bodies=bodies).counts
        assert counts.dropped["no joint inside the image"] == 1
        assert opened(copy, frames="good", bodies=bodies).counts.kept == 4 * N - 1

    def test_goes_to_worker_processes(self, written):
        dataset = pickle.loads(pickle.dumps(opened(written)))
        assert dataset[2].view.read().shape == (192, 144, 3)


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "match"), [({"split": "emdb"}, "split"), ({"frames": "valid"}, "frame rule"), ({"bbox": "kp2d"}, "box rule")]
    )
    def test_unknown_names(self, written, change, match):
        with pytest.raises(UnknownNameError, match=match):
            opened(written, **change)

    def test_box_scale_is_positive(self, written):
        with pytest.raises(ValueError, match="bbox_scale"):
            opened(written, scale=-1)

    def test_no_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"No folder .*nowhere.*emdb\.ait\.ethz\.ch"):
            opened(tmp_path / "nowhere")
        with pytest.raises(DataError, match="holds nothing"):
            opened(tmp_path)

    def test_wrong_folder(self, written):
        with pytest.raises(DataError, match=r"holds 00_stairs, 09_outdoor_walk\. Name the folder above it"):
            opened(written / "P0")

    def test_missing_pickle(self, copy, walks):
        walks[1].file(copy).unlink()
        with pytest.raises(DataError, match=r"1 of 4 sequences .* lack their pickle, the first is .*P0_09_outdoor_walk_data\.pkl"):
            opened(copy)

    def test_subset_that_is_not_there(self, copy):
        for folder in ("P0", "P2"):
            shutil.rmtree(copy / folder)
        with pytest.raises(DataError, match=r"None of the 1 sequences .* is in emdb2"):
            opened(copy, split="emdb2")
        assert len(opened(copy)) == N

    def test_cut_pickle(self, copy, walks):
        path = walks[0].file(copy)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(DataError, match=r"P0_00_stairs_data\.pkl is not a whole pickle"):
            opened(copy)

    def test_pickle_that_runs_code(self, copy, walks):
        walks[0].file(copy).write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
        with pytest.raises(UnsafePickleError, match="system"):
            opened(copy)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda content: content.pop("kp2d"), "the pickle lacks kp2d"),
            (lambda content: content["smpl"].pop("betas"), "'smpl' lacks betas"),
            (lambda content: content.update(camera=[1]), "'camera' holds a list"),
            (lambda content: content.update(name="P0_other"), "says that it is sequence 'P0_other'"),
            (lambda content: content.update(gender="m"), "'gender' is 'm'"),
            (lambda content: content.update(n_frames=4), r"'good_frames_mask' has shape \(5,\), expected \(4,\)"),
            (lambda content: content.update(n_frames=None), "'n_frames'"),
            (lambda content: content["smpl"].update(trans="here"), "'trans' is no array of numbers"),
            (lambda content: content["camera"]["extrinsics"].__setitem__(0, np.nan), "'extrinsics' holds NaN"),
            (lambda content: content["bboxes"].update(invalid_idxs=np.array([5])), "'invalid_idxs' holds 5 to 5"),
            (lambda content: content["bboxes"].update(invalid_idxs="none"), "'invalid_idxs' is no array of numbers"),
            (lambda content: content["bboxes"].update(bboxes=np.zeros((5, 2))), r"'bboxes' has shape \(5, 2\), expected \(5, 4\)"),
            (lambda content: content.update(n_frames=0), "'n_frames' is 0, expected a whole number above 0"),
            (lambda content: content.update(n_frames=4.5), "'n_frames' is 4.5"),
            (lambda content: content.update(n_frames=10**400), "'n_frames' is no array of numbers"),
            (lambda content: content.update(emdb1=np.ones(3)), r"'emdb1' has shape \(3,\), expected \(\)"),
            (lambda content: content.update(kp2d=np.zeros((5, 17, 2))), r"'kp2d' has shape \(5, 17, 2\), expected \(5, 24, 2\)"),
            (lambda content: content.update(kp2d=[[1.0], [2.0, 3.0]]), "'kp2d' is no array of numbers"),
            (lambda content: content["smpl"].update(betas=np.zeros(300)), r"'betas' has shape \(300,\), expected \(10,\)"),
            (lambda content: content["smpl"]["poses_root"].__setitem__((0, 0), np.inf), "'poses_root' holds NaN or infinity"),
            (lambda content: content["camera"].update(width=0), "'width' is 0"),
            (lambda content: content["camera"].update(height=np.nan), "'height' holds NaN"),
            (lambda content: content["camera"].update(extrinsics=np.zeros((5, 3, 4))), r"'extrinsics' has shape \(5, 3, 4\)"),
            (lambda content: content["camera"].update(extrinsics=np.zeros((2, 5, 4, 4))), r"'extrinsics' has shape \(2, 5, 4, 4\)"),
        ],
    )
    def test_bad_entry(self, copy, walks, change, match):
        changed(copy, make_copy(walks[0]), change)
        with pytest.raises(DataError, match=match):
            opened(copy)

    def test_missing_images(self, copy, walks):
        (walks[2].folder(copy) / "images/00004.jpg").unlink()
        with pytest.raises(DataError, match=r"1 of 20 images of emdb/all are missing, the first is .*00004\.jpg"):
            opened(copy)
        shutil.rmtree(walks[0].folder(copy) / "images")
        with pytest.raises(DataError, match="6 of 20 images"):
            opened(copy)

    def test_resized_and_cut_images(self, copy, walks):
        folder = walks[0].folder(copy) / "images"
        original = (folder / "00000.jpg").read_bytes()
        (folder / "00001.jpg").write_bytes(original[:300])
        cv2.imwrite(str(folder / "00002.jpg"), np.zeros((96, 72, 3), dtype=np.uint8))
        dataset = opened(copy)
        with pytest.raises(DataError, match=r"00001\.jpg is broken"):
            dataset[1].view.read()
        with pytest.raises(DataError, match="72 x 96 px, expected 144 x 192"):
            dataset[2].view.read()
        cv2.imwrite(str(folder / "00000.jpg"), np.zeros((96, 72, 3), dtype=np.uint8))
        with pytest.raises(DataError, match="72 x 96 px, expected 144 x 192"):
            opened(copy)


class Knowing(Model):
    """Answers the neutral body with everybody's own pose and shape; who is in ``turned`` (sequences) by a further ``turn`` (3, 3)."""

    card = Card("fake.knowing", "knows the people", "tests", "Apache-2.0")
    crop = None
    weights_sha256 = "none"

    def __init__(self, bodies, walks, turned, turn):
        super().__init__((), bodies, torch.device("cpu"))
        self.walks = {f"{walk.subject}_{walk.sequence}": walk for walk in walks}
        self.turned, self.turn = turned, turn

    def predict(self, batch):
        rotmats, betas = [], []
        for name in batch.ids:
            sequence, frame = name.split("/")[2:4]
            walk = self.walks[sequence]
            local = np.stack([cv2.Rodrigues(rotvec)[0] for rotvec in walk.rotvecs[int(frame)]])
            local[0] = walk.extrinsics[int(frame), :3, :3] @ local[0]
            if sequence in self.turned:
                local[0] = self.turn @ local[0]
            rotmats.append(local)
            betas.append(walk.betas)
        failed = torch.zeros(len(batch), dtype=torch.bool)
        return Prediction(failed, rotmats=torch.from_numpy(np.stack(rotmats)), betas=torch.from_numpy(np.stack(betas)))


TURN = cv2.Rodrigues(np.radians(60.0) * np.array([2.0, 1.0, 2.0]) / 3)[0]


@pytest.fixture(scope="module")
def people(bodies):
    size = (144, 192)
    return [
        make_walk(bodies, "P3", "31_neutral", "neutral", ("emdb1",), size, bad=(1,), boxless=(3,)),
        make_walk(bodies, "P5", "50_female", "female", ("emdb1", "emdb2"), size, bad=(0,)),
        make_walk(bodies, "P6", "60_elsewhere", "male", ("emdb2",), size),
    ]


@pytest.fixture(scope="module")
def rows(people, bodies, tmp_path_factory):
    root = tmp_path_factory.mktemp("emdb-score")
    write_emdb(root / "EMDB", people)
    protocol = load_protocol("emdb-1")
    rule = protocol.data
    dataset = opened(root / "EMDB", split=rule.split, frames=rule.frames, bbox=rule.bbox, scale=rule.bbox_scale, bodies=bodies)
    result = evaluate(Knowing(bodies, people, {"P3_31_neutral"}, TURN), protocol, dataset, bodies, root / "out")
    # Five frames each; one is not good in both, one has no box.
    assert (result.n_expected, result.n_evaluated, result.n_failed) == (3 + 4, 7, 0)
    return {(row["metric"], row["split"]): row for row in result.scores}


class TestScore:
    """The protocol ``emdb-1`` on a neutral person, answered but for a turn, and on a female one, answered in the neutral body."""

    @staticmethod
    def posed(bodies, walk, gender):
        """(joints (N, 24, 3), vertices (N, V, 3)) m in the camera's frame but for a shift, relative to the middle of the hips."""
        betas, rotvecs = torch.from_numpy(np.tile(walk.betas, (N, 1))), torch.from_numpy(walk.rotvecs)
        output = bodies[gender](betas, rotvecs=rotvecs, trans=torch.zeros(N, 3, dtype=torch.float64))
        joints, vertices = output.joints.numpy()[:, :24], output.vertices.numpy()
        middle = (joints[:, 1:2] + joints[:, 2:3]) / 2
        return [np.einsum("nij,nkj->nki", walk.extrinsics[:, :3, :3], points - middle) for points in (joints, vertices)]

    def test_a_turn_moves_points_by_their_distance_from_its_axis(self, rows, people, bodies):
        """By 60 degrees, whose chord is as long as the radius; the angles of all nine joints are those 60, and no alignment leaves any."""
        axis, split = np.array([2.0, 1.0, 2.0]) / 3, "sequence:P3_31_neutral"
        for metric, points in zip(("mpjpe", "pve"), self.posed(bodies, people[0], "neutral"), strict=True):
            kept = points[[0, 2, 4]]
            away = np.linalg.norm(kept - (kept @ axis)[..., None] * axis, axis=-1)
            assert rows[metric, split]["value"] == pytest.approx(1000 * away.mean(), abs=1e-6)
            assert rows[metric, split]["count"] == 3
        assert rows["mpjae", split]["value"] == pytest.approx(60, abs=1e-6)
        assert rows["pa_mpjae", split]["value"] == pytest.approx(0, abs=1e-4)
        assert rows["pa_mpjpe", split]["value"] == pytest.approx(0, abs=1e-4)

    def test_the_truth_is_the_gendered_body(self, rows, people, bodies):
        split = "sequence:P5_50_female"
        truths, answers = (self.posed(bodies, people[1], gender) for gender in ("female", "neutral"))
        for metric, truth, answer in zip(("mpjpe", "pve"), truths, answers, strict=True):
            expected = 1000 * np.linalg.norm(truth - answer, axis=-1)[1:].mean()
            assert expected > 1
            assert rows[metric, split]["value"] == pytest.approx(expected, abs=1e-6)
        assert rows["mpjae", split]["value"] == pytest.approx(0, abs=1e-4)

    def test_all_frames_weigh_the_same(self, rows):
        neutral, female, every = (rows["mpjpe", split]["value"] for split in ("sequence:P3_31_neutral", "sequence:P5_50_female", "all"))
        assert every == pytest.approx((3 * neutral + 4 * female) / 7)
        assert rows["mpjae", "all"]["value"] == pytest.approx(60 * 3 / 7, abs=1e-4)


# A fault for the folder, and what is said of it.
FAULTS = {
    "empty folder": (lambda root: emptied(root), "which holds nothing"),
    "another dataset's folder": (lambda root: emptied(root, "imageFiles", "sequenceFiles"), "which holds imageFiles, sequenceFiles"),
    "people without sequences": (lambda root: emptied(root, "P0"), "which holds P0"),
    "empty pickle": (lambda root: cut(root / PICKLE, 0), "is not a whole pickle"),
    "pickle cut in its head": (lambda root: cut(root / PICKLE, 20), "is not a whole pickle"),
    "pickle without its end": (lambda root: cut(root / PICKLE, -1), "is not a whole pickle"),
    "pickle of another thing": (lambda root: (root / PICKLE).write_bytes(pickle.dumps([1])), "the pickle holds a list, expected a dict"),
    "no pickle": (lambda root: (root / PICKLE).write_text("hello"), "is not a whole pickle"),
    "code inside an array": (lambda root: (root / PICKLE).write_bytes(pickle.dumps({"kp2d": np.array([print], dtype=object)})), "print"),
    "no images": (lambda root: shutil.rmtree(root / "P0/00_stairs/images"), "5 of 20 images"),
    "an empty image": (lambda root: (root / "P0/00_stairs/images/00000.jpg").write_bytes(b""), "is broken"),
}
PICKLE = "P0/00_stairs/P0_00_stairs_data.pkl"


class TestEveryBadInput:
    """Each kind of bad input: one message of one line, and through the command exit 1 with nothing half written."""

    @pytest.mark.parametrize("fault", FAULTS)
    def test_folder(self, copy, fault):
        damage, match = FAULTS[fault]
        damage(copy)
        with pytest.raises(HpsbenchError, match=match) as error:
            opened(copy)
        assert "\n" not in str(error.value)

    def test_a_file_for_a_folder(self, tmp_path):
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(DataError, match="No folder"):
            opened(tmp_path / "file")

    @pytest.mark.parametrize(
        ("rule", "damage", "match"),
        [
            ("", lambda root: shutil.rmtree(root), "No folder"),
            ("", lambda root: emptied(root, "imageFiles"), "holds imageFiles"),
            ("", lambda root: cut(root / PICKLE, 0.5), "is not a whole pickle"),
            ("", lambda root: (root / PICKLE).write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR."), "asks for 'os.system'"),
            ("", lambda root: cut(root / "P0/00_stairs/images/00002.jpg", 300), "is broken"),
            ("", lambda root: (root / "P0/00_stairs/images/00002.jpg").unlink(), "1 of 9 images"),
            ("", lambda root: [shutil.rmtree(root / name) for name in ("P0", "P2")], "None of the 1 sequences .* is in emdb1"),
            ('split = "emdb"', lambda root: None, "Did you mean 'emdb"),
            ('frames = "god"', lambda root: None, "Did you mean 'good'"),
            ('bbox = "anotated"', lambda root: None, "Did you mean 'annotated'"),
        ],
    )
    def test_through_the_command(self, copy, run, tmp_path, rule, damage, match):
        damage(copy)
        keys = {"dataset": '"emdb"', "split": '"emdb1"', "frames": '"good"', "bbox": '"joints-in-image"'}
        keys |= dict(line.split(" = ") for line in rule.splitlines())
        text = "\n".join(f"{key} = {value}" for key, value in keys.items())
        (tmp_path / "mine.toml").write_text(f'name = "mine"\nversion = 1\nwhat = "w"\nsource = "s"\nbase = "3dpw-smpl24"\n[data]\n{text}\n')
        words = ("--protocol", "mine.toml", "--data", copy, "--body", "openhps", "--images", "--out", tmp_path / "out")
        status, out, err = run("generate", *words)
        assert status == 1
        assert re.search(match, err)
        assert len([line for line in err.splitlines() if line.startswith("hpsbench: ")]) == 1
        assert "Traceback" not in err
        assert out == ""
        assert not (tmp_path / "pwned").exists()
        assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith((".part", "manifest.json"))]


def make_copy(walk):
    """A walk with arrays of its own, for a test that writes into them."""
    return pickle.loads(pickle.dumps(walk))


class TestCheck:
    def test_splits_and_counts(self, written, copy):
        assert Emdb.splits_in(written) == ("emdb1", "emdb2")
        shutil.rmtree(copy / "P2")
        shutil.rmtree(copy / "P0/09_outdoor_walk")
        assert Emdb.splits_in(copy) == ("emdb1",)
        assert opened(written, split="emdb2").against_known() == [("warning", "emdb2: sequences: 2, where 25 are quoted")]

    def test_inspect(self, copy, walks):
        (walks[3].folder(copy) / "images/00002.jpg").unlink()
        assert Emdb.inspect(copy) == [
            ("warning", "all: sequences: 4, where 81 are quoted"),
            ("error", f"{walks[3].folder(copy)}: 4 images, but its pickle has 5 frames"),
        ]


class TestIndex:
    def test_each_pickle_is_parsed_once_whoever_asks(self, copy, bodies, monkeypatch):
        parsed, original = [], base_emdb.parse_world
        monkeypatch.setattr(base_emdb, "parse_world", lambda path: parsed.append(path.name) or original(path))
        first = opened(copy, bodies=bodies)
        Emdb.inspect(copy)
        assert Emdb.splits_in(copy) == ("emdb1", "emdb2")
        again = [opened(copy, bodies=bodies), opened(copy, split="emdb1"), opened(copy, split="emdb2", frames="good")]
        assert len(parsed) == len(set(parsed)) == 4
        assert (again[0].ids, again[0].fingerprint) == (first.ids, first.fingerprint)
        for one, other in zip(first, again[0], strict=True):
            np.testing.assert_array_equal(one.truth.joints, other.truth.joints)
            np.testing.assert_array_equal(one.truth.keypoints2d, other.truth.keypoints2d)
            np.testing.assert_array_equal(one.view.bbox_xyxy, other.view.bbox_xyxy)

    def test_a_pickle_that_is_replaced_is_parsed_again(self, copy, walks):
        before = opened(copy)
        changed(copy, walks[0], lambda content: content["smpl"].update(betas=np.zeros(10)))
        after = opened(copy)
        np.testing.assert_array_equal(after[0].truth.betas, np.zeros(10))
        assert before.fingerprint != after.fingerprint
