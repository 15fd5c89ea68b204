"""The 3DPW reader, on a miniature in the dataset's real layout."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from writers.threedpw import Miniature, default_miniatures, make_record, python2_pickle, write_miniature

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.base import FrameCounts, open_dataset
from hpsbench.datasets.base_3dpw import boxes_of, inside
from hpsbench.datasets.threedpw import ThreeDPW
from hpsbench.errors import DataError, UnknownNameError, UnsafePickleError
from hpsbench.image import encode_jpeg


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


@pytest.fixture(scope="module")
def written(tmp_path_factory, bodies):
    """(folder, {sequence: (record, joints2d)}) of the miniature; nobody changes it."""
    root = tmp_path_factory.mktemp("3dpw")
    return root, write_miniature(root, bodies)


@pytest.fixture
def copy(written, tmp_path):
    """A miniature of its own for a test that damages it."""
    return shutil.copytree(written[0], tmp_path / "3DPW")


def opened(root, *, split="test", frames="all", bbox="joints-in-image", scale=1.0, bodies=None):
    return open_dataset("3dpw", root, split=split, frames=frames, bbox=bbox, bbox_scale=scale, bodies=bodies)


class TestRead:
    def test_order_ids_and_tracks(self, written):
        dataset = opened(written[0])
        pair = [f"3dpw/test/downtown_pair_00/{i:05d}/{p}" for i in range(5) for p in range(2)]
        assert dataset.ids == [f"3dpw/test/downtown_away_00/{i:05d}/0" for i in range(3)] + pair
        assert [sample.id for sample in dataset] == dataset.ids
        assert all(dataset.index_of(sample_id) == i for i, sample_id in enumerate(dataset.ids))
        tracks = ["3dpw/test/downtown_away_00/0", "3dpw/test/downtown_pair_00/0", "3dpw/test/downtown_pair_00/1"]
        assert list(dataset.track_lengths) == tracks
        assert dataset.track_lengths == {name: len(dataset.track(name)) for name in tracks}
        assert dataset.track(tracks[0]) is dataset.track(tracks[0])
        assert dataset.frames() == [[0], [1], [2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]
        assert dataset[3].view.image_key == dataset[4].view.image_key != dataset[5].view.image_key
        assert dataset[-1].id == dataset.ids[-1]

    def test_track_holds_kept_samples_by_frame(self, written):
        dataset = opened(written[0], frames="campose-valid")
        track = dataset.track("3dpw/test/downtown_pair_00/1")
        assert [sample.frame for sample in track] == [0, 1, 2, 3]
        assert {sample.track for sample in track} == {"3dpw/test/downtown_pair_00/1"}

    def test_all_splits_together(self, written):
        dataset = opened(written[0], split="all")
        assert dataset.counts.total == 14 + 2 + 2
        assert {sample_id.split("/")[1] for sample_id in dataset.ids} == {"train", "validation", "test"}

    def test_body_in_the_camera_frame_has_the_annotated_joints(self, written, bodies):
        """SMPL(betas, R_root_cam, body pose, trans_cam) = R joints + t: float64 algebra, metres."""
        samples = list(opened(written[0], bodies=bodies))
        stacked = {key: torch.from_numpy(np.stack([getattr(s.truth, key) for s in samples])) for key in ("betas", "rotvecs", "trans")}
        output = bodies.forward(**stacked, genders=[s.truth.gender for s in samples])
        expected = np.stack([s.truth.joints for s in samples])
        np.testing.assert_allclose(output.joints.numpy(), expected, atol=1e-6)
        assert {s.truth.gender for s in samples} == {"male", "female"}

    def test_joints_are_those_of_the_file_in_the_camera(self, written):
        root, made = written
        record, joints2d = made["downtown_pair_00"]
        sample = opened(root)[opened(root).index_of("3dpw/test/downtown_pair_00/00002/1")]
        camera = record["cam_poses"][2]
        world = record["jointPositions"][1][2].reshape(24, 3)
        np.testing.assert_allclose(sample.truth.joints, world @ camera[:3, :3].T + camera[:3, 3], atol=1e-12)
        np.testing.assert_allclose(sample.truth.joints2d, joints2d[1, 2], atol=1e-9)
        np.testing.assert_array_equal(sample.truth.rotvecs[1:], record["poses"][1][2].reshape(24, 3)[1:])

    def test_betas_are_cut_and_trans_needs_a_body(self, written):
        root, made = written
        sample = opened(root)[3]
        assert len(made["downtown_pair_00"][0]["betas"][0]) == 300
        np.testing.assert_array_equal(sample.truth.betas, made["downtown_pair_00"][0]["betas"][0][:10])
        assert sample.truth.trans is None

    def test_image_is_the_i_th_and_not_that_of_img_frame_ids(self, written):
        sample = opened(written[0])[opened(written[0]).index_of("3dpw/test/downtown_pair_00/00002/0")]
        image = sample.view.read()
        assert image.shape == (108, 192, 3)
        assert sample.image_size == (192, 108)
        assert abs(float(np.median(image)) - (40 + 20 * 2)) < 3

    def test_joints_are_where_the_picture_has_them(self, written):
        sample = opened(written[0])[3]
        image = sample.view.read().astype(int)
        x, y = sample.truth.joints2d[0].astype(int)
        assert image[y, x, 0] > image[y, x, 2] + 40

    def test_keypoints_are_transposed(self, written):
        root, made = written
        keypoints = opened(root)[3].truth.keypoints2d
        assert keypoints.shape == (18, 3)
        np.testing.assert_array_equal(keypoints.T, made["downtown_pair_00"][0]["poses2d"][0][0])

    def test_portrait(self, written):
        sample = opened(written[0])[0]
        assert sample.image_size == (108, 192)
        assert sample.view.read().shape == (192, 108, 3)

    def test_doubled_folders_of_some_unpackers(self, written, copy):
        for kind in ("sequenceFiles", "imageFiles"):
            (copy / kind).rename(copy / "inner")
            (copy / kind).mkdir()
            (copy / "inner").rename(copy / kind / kind)
        assert opened(copy).ids == opened(written[0]).ids

    def test_plain_unpickling_fails_as_on_the_real_files(self, written):
        data = (written[0] / "sequenceFiles/test/downtown_pair_00.pkl").read_bytes()
        assert b"numpy.core.multiarray" in data
        assert b"numpy._core" not in data
        with pytest.raises(UnicodeDecodeError):
            pickle.loads(data)

    def test_fingerprint_follows_the_annotations(self, written, copy):
        assert opened(copy).fingerprint == opened(written[0]).fingerprint != opened(copy, split="train").fingerprint
        path = copy / "sequenceFiles/test/downtown_pair_00.pkl"
        record = written[1]["downtown_pair_00"][0]
        path.write_bytes(python2_pickle({**record, "texture_maps": [1]}))
        assert opened(copy).fingerprint != opened(written[0]).fingerprint

    def test_same_words_for_samples_from_a_worker(self, written):
        dataset = pickle.loads(pickle.dumps(opened(written[0])))
        assert dataset[4].view.read().shape == (108, 192, 3)


class TestRules:
    @pytest.mark.parametrize(
        ("frames", "bbox", "kept", "dropped"),
        [
            ("all", "joints-in-image", 13, {"no joint inside the image": 1}),
            ("campose-valid", "joints-in-image", 11, {"camera pose not valid": 2, "no joint inside the image": 1}),
            (
                "campose-and-2d",
                "joints-in-image",
                10,
                {"camera pose not valid": 2, "2D keypoints all zero": 2, "no joint inside the image": 0},
            ),
            ("campose-valid", "keypoints", 10, {"camera pose not valid": 2, "no 2D keypoint": 2}),
        ],
    )
    def test_counts(self, written, frames, bbox, kept, dropped):
        dataset = opened(written[0], frames=frames, bbox=bbox)
        assert dataset.counts == FrameCounts(14, kept, {**dropped, "box under one pixel": 0})
        assert len(dataset) == kept

    def test_counts_say_so(self):
        counts = FrameCounts(40_219, 35_515, {"camera pose not valid": 4_704})
        assert str(counts) == "35,515 of 40,219 person-frames kept; dropped: 4,704 (camera pose not valid)"
        with pytest.raises(ValueError, match="do not add up"):
            FrameCounts(3, 1, {"x": 1})

    def test_box_by_hand(self):
        points = np.array([[[2.0, 3.0], [6.0, 13.0], [-1.0, 5.0], [np.nan, np.nan]], [[-5.0, 1.0]] * 4])
        used = inside(points, (10, 20))
        np.testing.assert_array_equal(used, [[True, True, False, False], [False] * 4])
        boxes = boxes_of(points, used, 1.5)
        np.testing.assert_array_equal(boxes[0], [1, 0.5, 7, 15.5])
        assert np.isnan(boxes[1]).all()

    def test_inside_is_half_open(self):
        assert inside(np.array([[0.0, 0.0], [9.99, 19.99], [10.0, 5.0], [5.0, 20.0]]), (10, 20)).tolist() == [True, True, False, False]

    def test_boxes_of_the_sample(self, written):
        root, made = written
        points = made["downtown_pair_00"][1][0, 0]
        tight = np.concatenate([points.min(0), points.max(0)])
        np.testing.assert_allclose(opened(root)[3].view.bbox_xyxy, tight, atol=1e-9)
        wide = opened(root, scale=1.2)[3].view.bbox_xyxy
        np.testing.assert_allclose(wide[2] - wide[0], 1.2 * (tight[2] - tight[0]), atol=1e-9)
        named = opened(root, bbox="keypoints")[3]
        np.testing.assert_allclose(named.view.bbox_xyxy[:2], named.truth.keypoints2d[:, :2].min(0), atol=1e-9)

    def test_a_point_is_no_box(self, tmp_path, bodies):
        mini = Miniature("far_00", "test", 1, (192, 108), ("m",), np.array([[0.0, 0.0, 900.0]]), (10,))
        write_miniature(tmp_path, bodies, (mini,))
        counts = opened(tmp_path).counts
        assert (counts.kept, counts.dropped["box under one pixel"]) == (0, 1)

    def test_behind_the_camera_is_outside(self, tmp_path, bodies):
        mini = Miniature("behind_00", "test", 1, (192, 108), ("m",), np.array([[0.0, 0.0, -4.0]]), (10,))
        write_miniature(tmp_path, bodies, (mini,))
        assert opened(tmp_path).counts.dropped["no joint inside the image"] == 1

    @pytest.mark.parametrize(
        ("change", "match"), [({"split": "val"}, "split"), ({"frames": "valid"}, "frame rule"), ({"bbox": "joint-in-image"}, "box rule")]
    )
    def test_unknown_names(self, written, change, match):
        with pytest.raises(UnknownNameError, match=match):
            opened(written[0], **change)

    def test_unknown_sample_and_track(self, written):
        dataset = opened(written[0])
        with pytest.raises(UnknownNameError, match="sample"):
            dataset.index_of("3dpw/test/nowhere/00000/0")
        with pytest.raises(UnknownNameError, match="track"):
            dataset.track("3dpw/test/downtown_pair_00/2")
        with pytest.raises(IndexError):
            dataset[13]

    def test_box_scale_is_positive(self, written):
        with pytest.raises(ValueError, match="bbox_scale"):
            opened(written[0], scale=0)


class TestBadInput:
    def test_no_folder_named(self):
        with pytest.raises(DataError, match=r"virtualhumans\.mpi-inf\.mpg\.de/3DPW.*--data"):
            opened(None)

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"No folder .*nowhere.*virtualhumans"):
            opened(tmp_path / "nowhere")

    @pytest.mark.parametrize(
        ("below", "match"),
        [
            ("sequenceFiles", "Name the folder above it"),
            ("sequenceFiles/test", "No sequenceFiles/ in .*virtualhumans"),
            ("imageFiles", "Name the folder above it"),
            ("..", "Name the folder below it: .*3DPW"),
        ],
    )
    def test_wrong_folder(self, copy, below, match):
        with pytest.raises(DataError, match=match):
            opened((copy / below).resolve())

    def test_not_unpacked(self, tmp_path):
        (tmp_path / "sequenceFiles.zip").touch()
        with pytest.raises(DataError, match=r"Unpack sequenceFiles\.zip"):
            opened(tmp_path)

    def test_missing_split(self, copy):
        shutil.rmtree(copy / "sequenceFiles/validation")
        assert len(opened(copy)) == 13
        for split in ("validation", "all"):
            with pytest.raises(DataError, match=r"No split 'validation'.*found test, train"):
                opened(copy, split=split)

    def test_empty_split(self, copy):
        (copy / "sequenceFiles/train/courtyard_one_00.pkl").unlink()
        with pytest.raises(DataError, match="No sequence"):
            opened(copy, split="train")

    def test_cut_pickle(self, copy):
        path = copy / "sequenceFiles/test/downtown_pair_00.pkl"
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(DataError, match=r"downtown_pair_00\.pkl"):
            opened(copy)

    def test_pickle_of_something_else(self, copy):
        (copy / "sequenceFiles/test/downtown_pair_00.pkl").write_bytes(python2_pickle([1, 2]))
        with pytest.raises(DataError, match="holds a list, expected a dict"):
            opened(copy)

    def test_pickle_that_runs_code(self, copy):
        (copy / "sequenceFiles/test/downtown_pair_00.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
        with pytest.raises(UnsafePickleError, match="system"):
            opened(copy)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"poses2d": None}, "lacks poses2d"),
            ({"sequence": "downtown_other_00"}, "sequence 'downtown_other_00'"),
            ({"cam_intrinsics": np.eye(4)}, r"'cam_intrinsics' has shape \(4, 4\), expected \(3, 3\)"),
            ({"poses": [np.zeros((4, 72))]}, r"'poses' has shape \(1, 4, 72\), expected \(1, 5, 72\)"),
            ({"trans": [np.zeros((5, 3)), np.zeros((4, 3))]}, "'trans' is no array"),
            ({"genders": ["m", "x"]}, "'genders' is"),
            ({"betas": [np.zeros(10), np.zeros(9)]}, "'betas' has shapes"),
            ({"jointPositions": [np.full((5, 72), np.nan)] * 2}, "NaN"),
        ],
    )
    def test_bad_entry(self, copy, written, change, match):
        record = {key: value for key, value in {**written[1]["downtown_pair_00"][0], **change}.items() if value is not None}
        (copy / "sequenceFiles/test/downtown_pair_00.pkl").write_bytes(python2_pickle(record))
        with pytest.raises(DataError, match=match):
            opened(copy)

    def test_missing_image_is_told_at_once(self, copy):
        (copy / "imageFiles/downtown_pair_00/image_00003.jpg").unlink()
        with pytest.raises(DataError, match=r"1 of 8 images of 3dpw/test are missing, the first is .*image_00003\.jpg"):
            opened(copy)

    def test_missing_image_folder(self, copy):
        shutil.rmtree(copy / "imageFiles")
        with pytest.raises(DataError, match="missing"):
            opened(copy)

    def test_cut_image(self, copy):
        path = copy / "imageFiles/downtown_pair_00/image_00001.jpg"
        path.write_bytes(path.read_bytes()[:700])
        dataset = opened(copy)
        with pytest.raises(DataError, match=r"image_00001\.jpg is broken"):
            dataset[dataset.index_of("3dpw/test/downtown_pair_00/00001/0")].view.read()

    def test_turned_images(self, copy):
        for path in (copy / "imageFiles/downtown_pair_00").iterdir():
            path.write_bytes(encode_jpeg(np.zeros((192, 108, 3), dtype=np.uint8)))
        with pytest.raises(DataError, match=r"108 x 192 px, but the camera .* principal point at \(98, 53\)"):
            opened(copy)

    def test_one_image_of_another_size(self, copy):
        (copy / "imageFiles/downtown_pair_00/image_00001.jpg").write_bytes(encode_jpeg(np.zeros((54, 96, 3), dtype=np.uint8)))
        dataset = opened(copy)
        with pytest.raises(DataError, match="96 x 54 px, expected 192 x 108"):
            dataset[5].view.read()


class TestPublishedNumbers:
    def test_sequences_tracks_images_and_person_frames(self):
        """Table of formats: sequences, tracks, images, person-frames."""
        sums = {
            split: (len(rows), sum(p for p, _ in rows.values()), sum(n for _, n in rows.values()), sum(p * n for p, n in rows.values()))
            for split, rows in ThreeDPW.known.items()
        }
        assert sums == {"train": (24, 34, 17_904, 23_543), "validation": (12, 16, 8_509, 10_858), "test": (24, 37, 26_240, 40_219)}
        assert ThreeDPW.known_valid["test"] == 35_515

    def test_inspect_names_what_is_missing(self, written, copy):
        shutil.rmtree(copy / "sequenceFiles/validation")
        text = "\n".join(message for _, message in ThreeDPW.inspect(copy))
        assert "24 missing: downtown_arguing_00" in text
        assert "not in the published list: downtown_away_00, downtown_pair_00" in text
        assert "test: 9 images" in text
        assert "validation: no folder" in text

    def test_counts_against_the_published(self, written):
        lines = opened(written[0]).against_known()
        assert lines == [
            ("error", "test: person-frames: 14, but 40,219 are published"),
            ("error", "test: of them with a valid camera pose: 12, but 35,515 are published"),
        ]


def test_miniature_is_as_small_as_it_says(bodies):
    record, joints2d = make_record(default_miniatures()[0], bodies)
    assert record["img_frame_ids"].tolist() == [0, 2, 4, 6, 8]
    assert record["poses_60Hz"][0].shape == (10, 72)
    assert joints2d.shape == (2, 5, 24, 2)
