"""The MPI-INF-3DHP reader, on people of the embedded body laid out as MPI-INF-3DHP."""

import pickle
import re
import shutil

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from damage import cut, emptied
from layouts import mpi_inf_3dhp as layout

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets import base_mpi_inf_3dhp as names
from hpsbench.datasets.base_mpi_inf_3dhp import SUBSETS, Camera
from hpsbench.datasets.base_mpi_inf_3dhp_cut import rightly_sided
from hpsbench.datasets.mpi_inf_3dhp import Mpi3DHP, Mpi3DHPUniversal
from hpsbench.errors import DataError, HpsbenchError, UnknownNameError
from hpsbench.skeleton import JOINT_NAMES, mirror

MM, PX = 1e-4, 0.1
ROWS, FRAMES = 6, 4
# The 28 from HybrIK's 29 joints.
_FROM_J29 = {
    "spine": "spine1", "spine4": "neck", "head_top": "crown", "left_clavicle": "left_collar", "right_clavicle": "right_collar",
    "left_toe": "left_big_toe", "right_toe": "right_big_toe",
}  # fmt: skip


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


def posed(bodies, rows, seed):
    """``rows`` frames of a person with bent knees, upright at the origin (y up): 28 joints (F, 28, 3) m, floor near 0."""
    rng = np.random.default_rng(seed)
    rotvecs = np.tile(rng.normal(0, 0.12, (24, 3)), (rows, 1, 1))
    rotvecs[:, 4:6, 0] += 0.7
    rotvecs[:, 0] = np.stack([0 * np.arange(rows), 0.3 * np.arange(rows) + rng.normal(), 0 * np.arange(rows)], axis=-1)
    betas = np.tile(rng.normal(0, 0.5, 10), (rows, 1))
    trans = np.stack([np.linspace(-0.2, 0.2, rows), np.full(rows, 1.0), np.zeros(rows)], axis=-1)
    output = bodies.neutral(torch.from_numpy(betas), rotvecs=torch.from_numpy(rotvecs), trans=torch.from_numpy(trans))
    joints = bodies.joints(output, "j29").numpy()
    made = joints[:, [JOINT_NAMES["j29"].index(_FROM_J29.get(name, name)) for name in layout.TRAIN_28]]
    made[:, layout.TRAIN_28.index("spine4")] += (0, -0.06, 0.01)
    return made


@pytest.fixture(scope="module")
def worlds(bodies):
    """{(subject, sequence): world joints (F, 28, 3) m}; two sequences of S1."""
    return {(1, 1): posed(bodies, ROWS, 1), (1, 2): posed(bodies, 11, 2)}


@pytest.fixture(scope="module")
def scenes(bodies):
    """{scene: camera-frame joints (F, 17, 3) m}."""
    turn = np.diag([1.0, -1.0, -1.0])
    return {
        scene: posed(bodies, 4, 10 + scene)[:, list(layout.RELEVANT)] @ turn + (0.1 * scene - 0.3, 1.2, 4.0 + 0.1 * scene)
        for scene in range(1, 7)
    }


VALID = [1, 1, 0, 1]


@pytest.fixture(scope="module")
def train(tmp_path_factory, worlds):
    """S1: Seq1 as videos of 14 cameras, shorter than the annotation; Seq2 as frames of the two habits. Nobody changes it."""
    root = tmp_path_factory.mktemp("3dhp")
    layout.write_train(root, 1, 1, worlds[1, 1], frames=FRAMES)
    layout.write_train(root, 1, 2, worlds[1, 2], pictures="spin", cameras=(2,), frames=11)
    return root


@pytest.fixture(scope="module")
def test_set(tmp_path_factory, scenes):
    root = tmp_path_factory.mktemp("3dhp-test")
    for scene, joints in scenes.items():
        lens = layout.OUTDOOR_LENS if scene == 6 else (0.0,) * 5
        folder = root / "mpi_inf_3dhp_test_set"
        layout.write_test(folder, scene, joints, valid=VALID, activities=[1, scene, 3, 7], lens=lens)
    return root


@pytest.fixture
def copy(test_set, tmp_path):
    """TS1 and TS5 for a test that damages them."""
    for scene in (1, 5):
        shutil.copytree(test_set / f"mpi_inf_3dhp_test_set/TS{scene}", tmp_path / f"copy/TS{scene}")
    return tmp_path / "copy"


def only(monkeypatch, *clips):
    """A subset "S1" of these (sequence, camera) of S1."""
    monkeypatch.setitem(SUBSETS, "S1", tuple(clip for clip in SUBSETS["train"] if clip.subject == 1 and clip[2:] in clips))


@pytest.fixture
def one_view(train, monkeypatch, tmp_path):
    """Camera 2 of S1/Seq2, extracted frames, for a test that damages it."""
    only(monkeypatch, (2, 2))
    return shutil.copytree(train, tmp_path / "train", ignore=shutil.ignore_patterns("Seq1"))


def opened(root, kind=Mpi3DHP, *, split="TS1", frames="all", bbox="joints-in-image", scale=1.0, **more):
    return kind(root, split=split, frames=frames, bbox=bbox, bbox_scale=scale, bodies=None, **more)


def rewritten(path, change):
    """Writes an annot.mat again with ``change`` applied to its variables."""
    content = {key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")}
    change(content)
    scipy.io.savemat(path, content, format="5")


class TestTrain:
    def test_people_of_every_view(self, train, worlds, monkeypatch):
        """14 videos: joints to 0.1 mm, projections to 0.1 px, the 17 by name out of the 28."""
        only(monkeypatch, *((1, camera) for camera in range(14)))
        dataset = opened(train, split="S1")
        assert len(dataset) == 14 * FRAMES
        assert dataset.ids[:2] == ["3dhp/train/S1_Seq1_V0/00000/0", "3dhp/train/S1_Seq1_V0/00001/0"]
        assert list(dataset.track_lengths) == [f"3dhp/train/S1_Seq1_V{camera}/0" for camera in range(14)]
        for sample in dataset:
            camera = int(sample.sequence.partition("V")[2])
            joints = layout.train_seen(worlds[1, 1], camera)[sample.frame]
            flat = layout.pixels(joints, layout.train_intrinsics(camera))
            order = [layout.TRAIN_28.index(name) for name in layout.TEST_17]
            assert sample.truth.skeleton == "mpi17"
            np.testing.assert_allclose(sample.truth.joints, joints[order], atol=MM)
            np.testing.assert_allclose(sample.truth.joints2d, flat[order], atol=PX)
            np.testing.assert_allclose(sample.truth.keypoints2d[:, :2], flat[order], atol=PX)
            assert sample.truth.valid.all()
            assert sample.truth.rotvecs is None
            assert sample.image_size == (2048, 2048)

    def test_row_i_is_frame_i_of_the_video(self, train, monkeypatch):
        only(monkeypatch, (1, 5))
        dataset = opened(train, split="S1")
        for i in (3, 0, 2):
            image = dataset[i].view.read()
            assert image.shape == (2048, 2048, 3)
            assert abs(float(np.median(image)) - (40 + 15 * i)) < 3
        x, y = dataset[2].truth.joints2d[0].astype(int)
        image = dataset[2].view.read().astype(int)
        assert image[y, x, 0] > image[y, x, 2] + 60

    def test_more_rows_than_frames_are_counted(self, train, monkeypatch):
        only(monkeypatch, (1, 0))
        assert opened(train, split="S1").counts.dropped["no picture of the last rows"] == ROWS - FRAMES
        monkeypatch.setitem(names.USABLE, 1, (3, 12430))
        dropped = opened(train, split="S1").counts.dropped
        assert dropped["past the usable frames"] == ROWS - 3
        assert dropped["no picture of the last rows"] == 0

    @pytest.mark.parametrize("habit", ["spin", "hybrik", "ffmpeg"])
    def test_extracted_frames(self, one_view, worlds, habit):
        folder = one_view / "S1/Seq2"
        where = {"hybrik": ("images/S1_Seq2_V2", "img_S1_Seq2_V2_"), "ffmpeg": ("imageSequence", "img_2_")}.get(habit)
        if where:
            (folder / where[0]).mkdir(parents=True)
            for path in (folder / "imageFrames/video_2").iterdir():
                path.rename(folder / where[0] / path.name.replace("frame_", where[1]))
        dataset = opened(one_view, split="S1")
        assert len(dataset) == 11
        assert abs(float(np.median(dataset[4].view.read())) - (40 + 15 * 4)) < 3
        np.testing.assert_allclose(dataset[4].truth.joints, layout.train_seen(worlds[1, 2], 2)[4, [*layout.RELEVANT]], atol=MM)

    def test_all_28(self, one_view, worlds):
        sample = opened(one_view, split="S1", skeleton="mpi28")[3]
        assert JOINT_NAMES["mpi28"] == layout.TRAIN_28
        np.testing.assert_allclose(sample.truth.joints, layout.train_seen(worlds[1, 2], 2)[3], atol=MM)
        assert sample.truth.skeleton == sample.truth.keypoints_skeleton == "mpi28"
        plain = opened(one_view, split="S1")[3]
        np.testing.assert_array_equal(plain.view.bbox_xyxy, sample.view.bbox_xyxy)

    def test_camera_of_the_calibration(self, one_view):
        dataset = opened(one_view, split="S1")
        np.testing.assert_allclose(dataset[0].view.intrinsics, layout.train_intrinsics(2), atol=1e-6)
        pose = layout.train_extrinsics(2)
        np.testing.assert_allclose(dataset.camera_of(0).world_to_camera[:3, :3], pose[:3, :3], atol=1e-9)
        np.testing.assert_allclose(dataset.camera_of(0).world_to_camera[:3, 3], pose[:3, 3] / 1000, atol=1e-6)

    def test_every_10th(self, one_view):
        dataset = opened(one_view, split="S1", frames="every-10th")
        assert [sample.frame for sample in dataset] == [0, 10]
        assert dataset.counts.dropped["not every 10th"] == 9
        assert (dataset.counts.total, dataset.counts.kept) == (11, 2)

    def test_universal_skeleton(self, one_view, worlds):
        """Joints are enlarged about the pelvis; what is in the image stays."""
        metric, scaled = opened(one_view, split="S1")[5], opened(one_view, Mpi3DHPUniversal, split="S1")[5]
        joints = layout.universal(layout.train_seen(worlds[1, 2], 2), 4)[5, [*layout.RELEVANT]]
        np.testing.assert_allclose(scaled.truth.joints, joints, atol=MM)
        np.testing.assert_array_equal(scaled.truth.joints2d, metric.truth.joints2d)
        np.testing.assert_array_equal(scaled.view.bbox_xyxy, metric.view.bbox_xyxy)
        assert scaled.id == metric.id.replace("3dhp/", "3dhp-universal/")

    def test_frame_rates_and_scenes(self, train, monkeypatch):
        only(monkeypatch, (1, 2), (2, 2))
        dataset = opened(train, split="S1")
        assert dataset.frames_per_second(0) == 25
        assert dataset.frames_per_second(len(dataset) - 1) == 50
        assert set(dataset.scenes) == {"green-screen"}
        assert set(dataset.activities) == {None}


class TestTest:
    def test_people_of_every_scene(self, test_set, scenes):
        dataset = opened(test_set, split="test", frames="valid")
        assert dataset.ids[:3] == [f"3dhp/test/TS1/{i:05d}/0" for i in (0, 1, 3)]
        assert dataset.counts.dropped["flagged invalid"] == 6
        assert len(dataset) == 18
        for sample in dataset:
            scene = int(sample.sequence[2:])
            lens = layout.OUTDOOR_LENS if scene == 6 else (0.0,) * 5
            flat = layout.pixels(scenes[scene], layout.test_intrinsics(scene), lens)[sample.frame]
            np.testing.assert_allclose(sample.truth.joints, scenes[scene][sample.frame], atol=MM)
            np.testing.assert_allclose(sample.truth.joints2d, flat, atol=PX)
            np.testing.assert_allclose(sample.truth.keypoints2d[:, :2], flat, atol=PX)
            assert sample.truth.skeleton == "mpi17"
            assert JOINT_NAMES["mpi17"] == layout.TEST_17
            assert sample.image_size == ((2048, 2048) if scene < 5 else (1920, 1080))

    def test_fitted_cameras_are_those_of_the_scenes(self, test_set):
        dataset = opened(test_set, split="test", frames="valid")
        for i in range(0, 18, 3):
            camera = dataset.camera_of(i)
            np.testing.assert_allclose(camera.intrinsics, layout.test_intrinsics(i // 3 + 1), atol=0.1)
            np.testing.assert_allclose(camera.distortion, layout.OUTDOOR_LENS if i == 15 else np.zeros(5))
            np.testing.assert_array_equal(dataset[i].view.intrinsics, camera.intrinsics)

    def test_images_are_counted_from_one(self, test_set):
        image = opened(test_set, split="TS5", frames="valid")[2].view.read()
        assert image.shape == (1080, 1920, 3)
        assert abs(float(np.median(image)) - (40 + 15 * 3)) < 3

    def test_flags(self, test_set):
        dataset = opened(test_set, split="test", frames="valid")
        assert dataset.scenes == ["green-screen"] * 6 + ["studio"] * 6 + ["outdoor"] * 6
        assert dataset.activities[-3:] == ["Standing/Walking", "Sports", "Miscellaneous"]
        assert dataset.frames_per_second(0) is None

    def test_rows_that_are_not_valid_have_no_box_and_no_joint(self, test_set):
        """They hold zeros here, which are nowhere; with numbers they would be kept under "all", every joint not valid."""
        counts = opened(test_set, split="test").counts
        assert (counts.total, counts.kept, counts.dropped["no joint inside the image"]) == (24, 18, 6)
        dataset = opened(test_set, split="TS1", bbox="keypoints")
        assert dataset.counts.dropped["box under one pixel"] == 1

    def test_invalid_rows_with_numbers(self, copy, scenes):
        path = copy / "TS1"
        shutil.rmtree(path)
        layout.write_test(copy, 1, scenes[1], valid=[1, 1, 1, 1], activities=[1] * 4)
        import h5py

        with h5py.File(path / "annot_data.mat", "r+") as file:
            file["valid_frame"][2] = 0
        dataset = opened(copy)
        assert [sample.truth.valid.all() for sample in dataset] == [True, True, False, True]
        assert not dataset[2].truth.valid.any()
        assert not dataset[2].truth.keypoints2d[:, 2].any()
        assert len(opened(copy, frames="valid")) == 3

    def test_universal_is_the_evaluators_truth(self, test_set, scenes):
        dataset = opened(test_set, Mpi3DHPUniversal, split="TS3", frames="valid")
        np.testing.assert_allclose(dataset[0].truth.joints, layout.universal(scenes[3], 14)[0], atol=MM)
        assert dataset.card.name == "3dhp-universal"

    def test_subsets_share_ids(self, test_set):
        outdoor = opened(test_set, split="test-outdoor", frames="valid")
        assert outdoor.ids == [name for name in opened(test_set, split="test", frames="valid").ids if "TS5" in name or "TS6" in name]

    def test_test_set_folder_itself(self, test_set, tmp_path):
        inner = test_set / "mpi_inf_3dhp_test_set"
        assert opened(inner).ids == opened(test_set).ids
        (tmp_path / "mpi_inf_3dhp_test_set").mkdir()
        (tmp_path / "mpi_inf_3dhp_test_set/mpi_inf_3dhp_test_set").symlink_to(inner)
        assert opened(tmp_path).ids == opened(test_set).ids

    def test_boxes(self, test_set, scenes):
        flat = layout.pixels(scenes[1], layout.test_intrinsics(1))[0]
        tight = np.concatenate([flat.min(0), flat.max(0)])
        np.testing.assert_allclose(opened(test_set)[0].view.bbox_xyxy, tight, atol=PX)
        np.testing.assert_allclose(opened(test_set, bbox="keypoints")[0].view.bbox_xyxy, tight, atol=1e-6)
        grown = opened(test_set, scale=1.2)[0].view.bbox_xyxy
        np.testing.assert_allclose(grown[2:] - grown[:2], 1.2 * (tight[2:] - tight[:2]), atol=PX)

    def test_inside(self, copy, scenes):
        shutil.rmtree(copy / "TS1")
        moved = scenes[1] + np.array([0, 0, 0, 3.0])[:, None, None] * np.array([1.0, 0, 0])
        layout.write_test(copy, 1, moved, valid=[1] * 4, activities=[1] * 4)
        counts = opened(copy, frames="valid-inside").counts
        assert (counts.kept, counts.dropped["a joint outside the image"]) == (3, 1)

    def test_goes_to_worker_processes(self, test_set):
        dataset = opened(test_set)
        again = pickle.loads(pickle.dumps(dataset))
        assert again.ids == dataset.ids
        assert again[0].view.read().shape == (2048, 2048, 3)

    def test_fingerprint(self, copy):
        before = opened(copy).fingerprint
        assert before == opened(copy).fingerprint != opened(copy, split="TS5").fingerprint


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"split": "val"}, "split"),
            ({"frames": "valid-frames"}, "Did you mean 'valid"),
            ({"bbox": "annotated"}, "box rule"),
            ({"skeleton": "mpi28"}, "Known: mpi17"),
        ],
    )
    def test_unknown_names(self, test_set, change, match):
        with pytest.raises(UnknownNameError, match=match):
            opened(test_set, **change)

    def test_box_scale_is_positive(self, test_set):
        with pytest.raises(ValueError, match="bbox_scale"):
            opened(test_set, scale=0)

    def test_no_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"No folder .*nowhere.*conf\.ig"):
            opened(tmp_path / "nowhere")
        with pytest.raises(DataError, match="empty"):
            Mpi3DHP.splits_in(tmp_path)

    def test_wrong_folder(self, test_set):
        with pytest.raises(DataError, match=r"16 of 16 sequences are missing \(S1/Seq1, .*holds mpi_inf_3dhp_test_set"):
            opened(test_set, split="train")

    def test_missing_sequence(self, copy):
        with pytest.raises(DataError, match=r"4 of 6 sequences are missing \(TS2, TS3, TS4, TS6\)"):
            opened(copy, split="test")

    def test_missing_and_cut_image(self, copy):
        path = copy / "TS1/imageSequence/img_000002.jpg"
        path.write_bytes(path.read_bytes()[:900])
        with pytest.raises(DataError, match=r"img_000002\.jpg is broken"):
            opened(copy)[1].view.read()
        path.unlink()
        with pytest.raises(DataError, match=r"1 of 4 pictures of TS1 are missing, the first is .*img_000002\.jpg"):
            opened(copy)
        shutil.rmtree(copy / "TS1/imageSequence")
        with pytest.raises(DataError, match="No picture of TS1, looked for"):
            opened(copy)

    def test_resized_images(self, copy):
        for path in (copy / "TS5/imageSequence").iterdir():
            cv2.imwrite(str(path), np.zeros((540, 960, 3), dtype=np.uint8))
        with pytest.raises(DataError, match="960 x 540 px, expected 1920 x 1080"):
            opened(copy, split="TS5")

    def test_corrupt_hdf5(self, copy):
        path = copy / "TS1/annot_data.mat"
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(DataError, match=r"no whole mat file of v7\.3"):
            opened(copy)
        scipy.io.savemat(path, {"annot2": np.zeros(3)})
        with pytest.raises(DataError, match=r"no whole mat file of v7\.3"):
            opened(copy)

    @pytest.mark.parametrize(
        ("key", "change", "match"),
        [
            ("valid_frame", None, "lacks valid_frame"),
            ("annot2", lambda rows: rows[:, :, :14], r"'annot2' has shape \(4, 1, 14, 2\)"),
            ("annot3", lambda rows: rows.T, "has shape"),
            ("valid_frame", lambda rows: 0 * rows, "flags no frame, expected 603"),
            ("annot3", lambda rows: rows / 10, "annot3|thigh"),
            ("annot3", lambda rows: rows * [1, 1, 2], "under the best camera"),
            ("annot2", lambda rows: rows[..., ::-1], "under the best camera"),
            ("annot2", lambda rows: rows[::-1], "under the best camera"),
            ("annot3", lambda rows: rows * np.nan, "no row has|under the best camera"),
        ],
    )
    def test_bad_annotation(self, copy, key, change, match):
        import h5py

        path = copy / "TS1/annot_data.mat"
        with h5py.File(path, "r+") as file:
            rows = file[key][()]
            del file[key]
            if change is not None:
                file[key] = change(rows)
        with pytest.raises(DataError, match=match):
            opened(copy)

    def test_missing_files_of_the_train_set(self, one_view):
        (one_view / "S1/Seq2/camera.calibration").unlink()
        with pytest.raises(DataError, match=r"camera\.calibration: No such file"):
            opened(one_view, split="S1")
        (one_view / "S1/Seq2/annot.mat").unlink()
        with pytest.raises(DataError, match=r"1 of 1 sequences are missing \(S1/Seq2\)"):
            opened(one_view, split="S1")

    @pytest.mark.parametrize("text", ["", "name 0\n intrinsic 1 2 3\n", "name zero\n", "name 0\n  intrinsic " + "x " * 16])
    def test_bad_calibration(self, one_view, text):
        (one_view / "S1/Seq2/camera.calibration").write_text("Skeletool\n" + text)
        with pytest.raises(DataError, match=r"camera\.calibration"):
            opened(one_view, split="S1")

    @pytest.mark.parametrize("length", [0, 60, 200, 5000])
    def test_cut_mat(self, one_view, length):
        path = one_view / "S1/Seq2/annot.mat"
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(DataError, match=r"annot\.mat"):
            opened(one_view, split="S1")

    def test_mat_of_the_other_version(self, one_view):
        layout.write_hdf5(one_view / "S1/Seq2/annot.mat", {"annot2": np.zeros(3)})
        with pytest.raises(DataError, match=r"v7\.3 mat \(HDF5\), expected MATLAB v5"):
            opened(one_view, split="S1")

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda content: content.pop("annot2"), "lacks annot2"),
            (lambda content: content.update(annot3=np.zeros((14, 1))), "'annot3' holds nothing for its camera number 0"),
            (lambda content: content.update(annot2=content["annot3"]), r"'annot2' holds \(11, 84\) .* expected \(F, 56\)"),
            (lambda content: content.update(cameras=np.array([[0, 1]])), r"cameras \[0, 1\] and 14 entries in annot2"),
            (lambda content: content["annot3"].__setitem__((2, 0), content["annot3"][2, 0][:5]), r"camera 2 has \[11, 5, 11\] rows"),
            (lambda content: content["annot3"].__setitem__((2, 0), content["annot3"][2, 0] / 10), "thigh is 0.0"),
            (lambda content: content["annot3"].__setitem__((2, 0), -content["annot3"][2, 0]), "before the camera"),
            (lambda content: content["annot3"].__setitem__((2, 0), content["annot3"][2, 0] * np.nan), "no row has"),
        ],
    )
    def test_bad_train_annotation(self, one_view, change, match):
        rewritten(one_view / "S1/Seq2/annot.mat", change)
        with pytest.raises(DataError, match=match):
            opened(one_view, split="S1")

    def test_half_a_video(self, train, monkeypatch, tmp_path):
        only(monkeypatch, (1, 0))
        shutil.copytree(train / "S1/Seq1", tmp_path / "S1/Seq1", ignore=shutil.ignore_patterns("video_*"))
        folder = tmp_path / "S1/Seq1/imageSequence"
        monkeypatch.setattr("hpsbench.datasets.base_mpi_inf_3dhp_cut.TAIL", 3)
        layout.write_video(folder / "video_0.avi", [np.zeros((2048, 2048, 3), dtype=np.uint8)])
        with pytest.raises(DataError, match=r"5 of 6 pictures of S1_Seq1_V0 are missing, the first is .*video_0\.avi, frame 1"):
            opened(tmp_path, split="S1")
        (folder / "video_0.avi").write_bytes(b"RIFF")
        with pytest.raises(DataError, match=r"video_0\.avi cannot be opened"):
            opened(tmp_path, split="S1")

    def test_no_picture_of_a_view(self, train, monkeypatch):
        only(monkeypatch, (2, 2), (2, 3))
        with pytest.raises(DataError, match=r"No picture of S1_Seq2_V3, looked for .*frame_000001\.jpg.*video_3\.avi"):
            opened(train, split="S1")


# A fault for one view of the train set, and what is said of it; then the same for a scene of the test set.
TRAIN_FAULTS = {
    "empty folder": (lambda root: emptied(root), "holds nothing. Download them"),
    "another dataset's folder": (lambda root: emptied(root, "imageFiles", "sequenceFiles"), "holds imageFiles, sequenceFiles"),
    "empty annotation": (lambda root: cut(root / MAT, 0), r"annot\.mat is no whole mat file"),
    "annotation cut in its middle": (lambda root: cut(root / MAT, 0.5), r"annot\.mat is no whole mat file"),
    "annotation without its end": (lambda root: cut(root / MAT, -300), r"annot\.mat (is no whole mat file|lacks)"),
    "cameras that are no numbers": (lambda root: changed(root, cameras=np.array(["a"])), "'cameras' holds no numbers"),
    "cameras that are NaN": (lambda root: changed(root, cameras=np.full((1, 14), np.nan)), "'cameras' holds no numbers"),
    "a camera twice": (lambda root: changed(root, cameras=np.zeros((1, 14))), r"cameras \[0, 0, .* once, and an entry for each"),
    "a camera too many": (lambda root: changed(root, cameras=np.arange(15)[None]), r"cameras \[0, .*, 14\] and 14 entries"),
    "an unknown camera": (lambda root: changed(root, cameras=np.arange(1, 15)[None]), r"cameras \[1, .* expected each camera of 0 to 13"),
    "nobody": (lambda root: changed(root, **nobody()), "no row has a right thigh"),
    "no line of a camera's name": (lambda root: rewrite(root / TEXT, r"name +\d+\n", ""), "line 5: 'intrinsic' .*no line 'name' before it"),
    "calibration cut in its last camera": (lambda root: rewrite(root / TEXT, r"(?s)name +2\n.*", "name 2\n"), "camera 2 is not both"),
    "calibration that is NaN": (lambda root: rewrite(root / TEXT, r"intrinsic +\S+", "intrinsic nan"), "holds no camera"),
    "calibration of another kind": (lambda root: (root / TEXT).write_bytes(b"\x00\xff" * 50), "holds no camera"),
    "an empty picture": (lambda root: (root / PICTURE).write_bytes(b""), "is broken"),
    "a missing picture": (lambda root: (root / PICTURE).with_name("frame_000003.jpg").unlink(), "1 of 11 pictures of S1_Seq2_V2"),
}
TEST_FAULTS = {
    "empty folder": (lambda root: emptied(root), "holds nothing. Download them"),
    "another dataset's folder": (lambda root: emptied(root, "S1", "Release-v1.2"), "holds Release-v1.2, S1"),
    "empty annotation": (lambda root: cut(root / HDF5, 0), r"no whole mat file of v7\.3"),
    "annotation cut in its middle": (lambda root: cut(root / HDF5, 0.5), r"no whole mat file of v7\.3"),
    "annotation without its end": (lambda root: cut(root / HDF5, -8), r"no whole mat file of v7\.3"),
    "two cameras": (lambda root: stored(root, annot2=np.zeros((4, 2, 17, 2))), r"'annot2' has shape \(4, 2, 17, 2\), expected"),
    "text for numbers": (lambda root: stored(root, annot3=np.array([b"a"] * 4)), "'annot3' has shape"),
    "nobody": (lambda root: stored(root, **{key: np.zeros((0, *shape)) for key, shape in layout_shapes().items()}), "flags no frame"),
    "flags that are NaN": (lambda root: stored(root, valid_frame=np.full((4, 1), np.nan)), "'valid_frame' holds NaN"),
    "an empty picture": (lambda root: (root / IMAGE).write_bytes(b""), "is broken"),
}
MAT, TEXT, PICTURE = "S1/Seq2/annot.mat", "S1/Seq2/camera.calibration", "S1/Seq2/imageFrames/video_2/frame_000001.jpg"
HDF5, IMAGE = "TS1/annot_data.mat", "TS1/imageSequence/img_000001.jpg"


def rewrite(path, pattern, new):
    path.write_text(re.sub(pattern, new, path.read_text()))


def changed(root, **variables):
    rewritten(root / MAT, lambda content: content.update(variables))


def nobody():
    return {key: layout.cells([np.zeros((0, width))] * 14) for key, width in (("annot2", 56), ("annot3", 84), ("univ_annot3", 84))}


def layout_shapes():
    points = {"annot2": (1, 17, 2), "annot3": (1, 17, 3), "univ_annot3": (1, 17, 3)}
    return points | {"valid_frame": (1,), "activity_annotation": (1,)}


def stored(root, **variables):
    import h5py

    with h5py.File(root / HDF5, "r+") as file:
        for key, array in variables.items():
            del file[key]
            file[key] = array


class TestEveryBadInput:
    """Each kind of bad input: one message of one line, and through the command exit 1 with nothing half written."""

    @staticmethod
    def refused(make, match):
        with pytest.raises(HpsbenchError, match=match) as error:
            make()
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("fault", TRAIN_FAULTS)
    def test_train(self, one_view, fault):
        damage, match = TRAIN_FAULTS[fault]
        damage(one_view)
        self.refused(lambda: opened(one_view, Mpi3DHPUniversal, split="S1"), match)

    @pytest.mark.parametrize("fault", TEST_FAULTS)
    def test_test(self, copy, fault):
        damage, match = TEST_FAULTS[fault]
        damage(copy)
        self.refused(lambda: opened(copy), match)

    def test_a_cut_picture_of_the_train_set(self, one_view):
        cut(one_view / PICTURE, 900)
        self.refused(lambda: opened(one_view, split="S1")[0].view.read(), "is broken")

    def test_a_cut_video(self, train, monkeypatch, tmp_path):
        """Its header promises frames that are not there."""
        only(monkeypatch, (1, 0))
        root = shutil.copytree(train, tmp_path / "cut", ignore=shutil.ignore_patterns("Seq2", "video_1*", "video_[2-9]*"))
        cut(root / "S1/Seq1/imageSequence/video_0.avi", 0.6)
        self.refused(lambda: [sample.view.read() for sample in opened(root, split="S1")], r"video_0\.avi (has no frame|cannot be opened)")

    def test_a_file_for_a_folder(self, tmp_path):
        (tmp_path / "file").write_text("no folder")
        self.refused(lambda: opened(tmp_path / "file"), "No folder")
        self.refused(lambda: Mpi3DHP.inspect(tmp_path / "file"), "no such folder")

    def test_views_too_many_are_told(self, one_view):
        (one_view / "S1/Seq2/imageSequence").mkdir()
        (one_view / "S1/Seq2/imageSequence/video_14.avi").touch()
        (line,) = [text for level, text in Mpi3DHP.inspect(one_view) if level == "warning" and "unexpected" in text]
        assert line.startswith(
            "unexpected: S1/Seq2/imageSequence/video_14.avi. Expected S1/Seq1 to S8/Seq2, and in each video_0 to video_13"
        )

    @pytest.mark.parametrize(
        ("rule", "damage", "match"),
        [
            ("", lambda root: shutil.rmtree(root), "No folder"),
            ("", lambda root: emptied(root, "imageFiles"), "holds imageFiles"),
            ("", lambda root: cut(root / HDF5, 0.5), "no whole mat file"),
            ("", lambda root: cut(root / IMAGE, 900), "is broken"),
            ("", lambda root: (root / IMAGE).unlink(), r"1 of 4 pictures of TS1 are missing|No picture of TS1"),
            ('split = "TS9"', lambda root: None, "Did you mean 'TS"),
            ('split = "TS2"', lambda root: None, "1 of 1 sequences are missing"),
            ('frames = "valid-inner"', lambda root: None, "Did you mean 'valid-inside'"),
            ('bbox = "keypoint"', lambda root: None, "Did you mean 'keypoints'"),
        ],
    )
    def test_through_the_command(self, copy, run, tmp_path, rule, damage, match):
        damage(copy)
        keys = {"split": '"TS1"', "frames": '"valid"'} | dict(line.split(" = ") for line in rule.splitlines())
        text = "\n".join(f"{key} = {value}" for key, value in keys.items())
        (tmp_path / "mine.toml").write_text(f'name = "mine"\nversion = 1\nwhat = "w"\nsource = "s"\nbase = "3dhp-test"\n[data]\n{text}\n')
        words = ("--protocol", "mine.toml", "--data", copy, "--body", "openhps", "--images", "--out", tmp_path / "out")
        status, out, err = run("generate", *words)
        assert status == 1
        assert re.search(match, err)
        assert len([line for line in err.splitlines() if line.startswith("hpsbench: ")]) == 1
        assert "Traceback" not in err
        assert out == ""
        assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith((".part", "manifest.json"))]


class TestCheck:
    def test_published_numbers(self):
        """Fact sheet: sums of the tables, sequences and cameras."""
        assert sum(map(sum, names.USABLE.values())) == 131_592
        assert sum(names.VALID_FRAMES.values()) == 2_929
        assert len(SUBSETS["train"]) == 8 * 2 * 14
        assert len(SUBSETS["train-chest"]) == 8 * 2 * 8
        assert next(clip for clip in SUBSETS["train"] if clip.name == "S6_Seq2_V2").usable == 3_911

    def test_splits_in(self, test_set, train, copy):
        assert Mpi3DHP.splits_in(test_set) == ("test",)
        assert Mpi3DHP.splits_in(train) == ("S1",)
        assert Mpi3DHP.splits_in(copy) == ("TS1", "TS5")

    def test_inspect(self, test_set, train):
        lines = Mpi3DHP.inspect(train)
        assert lines[0][0] == "error"
        assert lines[0][1].startswith("train: 2 of 16 sequences; missing: S2/Seq1")
        assert ("warning", "test: 0 of 6 sequences; missing: TS1, TS2, TS3, TS4, TS5, TS6") in lines
        assert ("ok", "S1/Seq1: pictures of 14 of 14 views: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13") in lines
        assert ("warning", "S1/Seq2: pictures of 1 of 14 views: 2") in lines
        assert ("ok", "TS1: 4 images") in Mpi3DHP.inspect(test_set)

    def test_counts_against_the_published(self, test_set):
        lines = opened(test_set, split="TS1").against_known()
        assert lines[0] == ("error", "TS1: valid frames: 3, but 603 are published")
        assert lines[1:] == [
            ("ok", "TS1: hips left and right as the knees bend in 1 of 1 views"),
            ("ok", "TS1: shoulders left and right as the knees bend in 1 of 1 views"),
        ]

    def test_swapped_legs_are_found(self, copy, scenes):
        shutil.rmtree(copy / "TS1")
        legs = [8, 9, 10, 11, 12, 13]
        swapped = scenes[1].copy()
        swapped[:, legs] = scenes[1][:, [11, 12, 13, 8, 9, 10]]
        layout.write_test(copy, 1, swapped, valid=[1] * 4, activities=[1] * 4)
        lines = opened(copy).against_known()
        assert ("error", "TS1: hips left and right as the knees bend in 0 of 1 views; not in TS1") in lines
        parts = rightly_sided(scenes[1][:, list(mirror("mpi17"))])
        assert parts == {"hip": 0.0, "shoulder": 0.0}

    def test_uneven_universal_skeleton_is_told(self, copy):
        """As TS6 of one release: knees that are no constant multiple of the metric ones."""
        import h5py

        with h5py.File(copy / "TS5/annot_data.mat", "r+") as file:
            rows = file["univ_annot3"][()]
            rows[1, 0, 9] += 60
            file["univ_annot3"][...] = rows
        (level, text) = opened(copy, split="TS5").against_known()[-1]
        assert level == "warning"
        assert "no constant multiple in TS5 (33% of its frames)" in text


def test_lens_is_that_of_opencv():
    points = np.random.default_rng(1).normal(0, 0.4, (5, 17, 3)) + np.array([0, 0, 3])
    camera = Camera(layout.test_intrinsics(5), np.array(layout.OUTDOOR_LENS))
    np.testing.assert_allclose(camera.project(points), layout.pixels(points, layout.test_intrinsics(5), layout.OUTDOOR_LENS), atol=1e-9)
    assert np.isnan(camera.project(np.array([0.0, 0, -1]))).all()
