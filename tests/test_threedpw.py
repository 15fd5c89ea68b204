"""The 3DPW reader, on a miniature in the dataset's real layout."""

import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from writers.threedpw import Miniature, default_miniatures, make_record, python2_pickle, write_miniature

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.base import FrameCounts, open_dataset
from hpsbench.datasets.base_3dpw import boxes_of, inside
from hpsbench.datasets.base_3dpw_rules import in_pieces
from hpsbench.datasets.threedpw import ThreeDPW
from hpsbench.errors import DataError, UnknownNameError, UnsafePickleError
from hpsbench.image import encode_jpeg
from hpsbench.protocol import load_protocol
from hpsbench.skeleton import joint_index


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

    def test_the_same_in_another_process(self, written):
        dataset = opened(written[0])
        arrays: list[pickle.PickleBuffer] = []
        copies = [pickle.loads(pickle.dumps(dataset))]
        copies.append(pickle.loads(pickle.dumps(copies[0], 5, buffer_callback=arrays.append), buffers=arrays))
        for copy in copies:
            assert copy.ids == dataset.ids
            assert copy.track_lengths == dataset.track_lengths
            assert copy.frames() == dataset.frames()
            assert copy.index_of(dataset.ids[5]) == 5
            for name in dataset.track_lengths:
                assert [sample.id for sample in copy.track(name)] == [sample.id for sample in dataset.track(name)]
            for one, two in zip(copy, dataset, strict=True):
                assert (one.id, one.track, one.frame, one.sequence) == (two.id, two.track, two.frame, two.sequence)
                assert one.view.image_key == two.view.image_key
                np.testing.assert_array_equal(one.truth.joints, two.truth.joints)

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


LIMBS = [f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]


@pytest.fixture(scope="module")
def walk(tmp_path_factory, bodies):
    """35 images of two people and 10 of one. Of the first person three cameras are invalid, and of four frames these joints detected:

    frame 0 six of the limbs', 1 seven of them, 2 seven of which one has a confidence of 0.3 exactly, 3 six and all of the head's and the
    neck. The second person has no 2D key point in frame 2.
    """
    root, pair = tmp_path_factory.mktemp("walk"), np.array([[-0.5, 0.1, 4.0], [0.6, 0.0, 5.0]])
    cameras, empty = ((0, 3), (0, 4), (0, 20)), ((1, 2),)
    long = Miniature("downtown_walk_00", "test", 35, (192, 108), ("m", "f"), pair, (10, 10), cameras, empty)
    short = Miniature("downtown_short_00", "test", 10, (192, 108), ("m",), pair[:1], (10,))
    records = {mini.name: make_record(mini, bodies)[0] for mini in (long, short)}
    confidence = records[long.name]["poses2d"][0][:4, 2]
    columns = [joint_index("openpose18", name) for name in LIMBS]
    confidence[:, columns] = 0.1
    for frame, seen in enumerate((6, 7, 7, 6)):
        confidence[frame, columns[:seen]] = 0.31
    confidence[2, columns[0]] = 0.3
    (root / "sequenceFiles/test").mkdir(parents=True)
    jpeg = encode_jpeg(np.zeros((108, 192, 3), dtype=np.uint8))
    for name, record in records.items():
        (root / f"sequenceFiles/test/{name}.pkl").write_bytes(python2_pickle(record))
        (root / "imageFiles" / name).mkdir(parents=True)
        for i in range(len(record["img_frame_ids"])):
            (root / f"imageFiles/{name}/image_{i:05d}.jpg").write_bytes(jpeg)
    return root


class TestFramesOfVideoModels:
    """Worked by hand. Of 35 kept frames 2 * 16 fill pieces and 3 are left, of 10 none does."""

    ALL = ("no joint inside the image", "box under one pixel")

    @pytest.mark.parametrize(
        ("frames", "kept", "dropped"),
        [
            # Frames 0, 2 and 3 of the first person and 2 of the second.
            ("limbs-seen", 80 - 4, {"under seven of twelve limb joints detected": 3 + 1}),
            # 32 of the first's 32 and of the second's 34, and none of the third's 10.
            (
                "limbs-seen+pieces-of-16",
                32 + 32,
                {"under seven of twelve limb joints detected": 3 + 1, "not in a whole piece of 16 frames": 0 + 2 + 10},
            ),
            ("campose-valid", 80 - 3, {"camera pose not valid": 3}),
            # 32 of the first's 32 and of the second's 35.
            ("campose-valid+pieces-of-16", 32 + 32, {"camera pose not valid": 3, "not in a whole piece of 16 frames": 0 + 3 + 10}),
        ],
    )
    def test_counts(self, walk, frames, kept, dropped):
        dataset = opened(walk, frames=frames)
        assert dataset.counts == FrameCounts(2 * 35 + 10, kept, {**dict.fromkeys(self.ALL, 0), **dropped})
        assert len(dataset) == kept

    def test_pieces_are_of_kept_frames_and_bridge_gaps(self, walk):
        dataset = opened(walk, frames="campose-valid+pieces-of-16")
        numbers = {name[-1]: [sample.frame for sample in dataset.track(name)] for name in dataset.track_lengths}
        # By frame numbers the first person would have had the pieces 0 to 15 and 16 to 31, neither of them whole.
        assert numbers == {"0": [i for i in range(35) if i not in (3, 4, 20)], "1": list(range(32))}

    def test_a_person_without_a_box_is_not_in_a_piece(self, walk):
        """The second person has none in frame 2: 34 are left, of which 32 fill pieces."""
        dataset = opened(walk, frames="campose-valid+pieces-of-16", bbox="keypoints")
        lost = {"camera pose not valid": 3, "no 2D keypoint": 1, "box under one pixel": 0, "not in a whole piece of 16 frames": 2 + 10}
        assert dataset.counts == FrameCounts(80, 32 + 32, lost)
        assert [sample.frame for sample in dataset.track("3dpw/test/downtown_walk_00/1")] == [i for i in range(33) if i != 2]

    def test_pieces_of_three(self):
        """Of four kept rows three, of two none; rows of the two people by turns."""
        kept = np.array([[1, 0], [1, 1], [0, 0], [1, 1], [1, 0]], dtype=bool).reshape(-1)
        whole = [[1, 0], [1, 0], [0, 0], [1, 0], [0, 0]]
        assert in_pieces(kept, 2, 3).reshape(-1, 2).astype(int).tolist() == whole
        assert in_pieces(kept, 2, 1).tolist() == kept.tolist()

    @pytest.mark.parametrize(("name", "kept"), [("3dpw-niki-16", 64), ("3dpw-vibe", 64), ("3dpw-niki", 76), ("3dpw-hips", 76)])
    def test_protocols(self, walk, name, kept):
        rule = load_protocol(name).data
        assert len(opened(walk, split=rule.split, frames=rule.frames, bbox=rule.bbox, scale=rule.bbox_scale)) == kept

    def test_what_the_protocols_change(self):
        """NIKI's pieces are the only change to its first protocol; VIBE's root is that of 3dpw-hips."""
        for name, base, score in (("3dpw-niki-16", "3dpw-niki", {}), ("3dpw-vibe", "3dpw-hips", {"gt_gender": "neutral"})):
            ours, theirs = load_protocol(name).content, load_protocol(base).content
            assert {key for key in ours["data"] if ours["data"][key] != theirs["data"][key]} == {"frames"}
            assert {key: value for key, value in ours["score"].items() if theirs["score"].get(key) != value} == score


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

    def test_empty_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"No sequenceFiles/ in .*, which holds nothing\. Expected .*virtualhumans"):
            opened(tmp_path)

    def test_3doh_for_3dpw(self, tmp_path):
        (tmp_path / "testset").mkdir()
        with pytest.raises(DataError, match=r"No sequenceFiles/ in .*, which holds testset\. Expected sequenceFiles/<split>"):
            opened(tmp_path)

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

    @pytest.mark.parametrize("kept", [0, 1, 2000, -1])
    def test_cut_pickle(self, copy, kept):
        path = copy / "sequenceFiles/test/downtown_pair_00.pkl"
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(DataError, match=r"downtown_pair_00\.pkl is not a whole pickle .* download it again"):
            opened(copy)

    def test_no_file_of_that_name(self, copy):
        path = copy / "sequenceFiles/test/downtown_pair_00.pkl"
        path.unlink()
        path.symlink_to("nowhere")
        with pytest.raises(DataError, match=r"Could not read .*downtown_pair_00\.pkl: No such file"):
            opened(copy)
        path.unlink()
        path.mkdir()
        with pytest.raises(DataError, match=r"Could not read .*downtown_pair_00\.pkl: Is a directory"):
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
            ({"betas": [np.zeros(10), np.full(10, np.inf)]}, "'betas' holds NaN or infinity"),
            ({"betas": [np.zeros(10), "none"]}, "'betas' is no list of arrays of numbers"),
            ({"betas": 3}, "'betas' is no list of arrays of numbers"),
            ({"genders": 3}, r"'genders' is \['3'\], expected 2 of 'm' or 'f'"),
            ({"jointPositions": [np.full((5, 72), np.nan)] * 2}, "NaN"),
            ({"cam_poses": np.eye(4)}, r"'cam_poses' has shape \(4, 4\), expected \(5, 4, 4\)"),
            ({"cam_poses": np.full((5, 4, 4), np.inf)}, "'cam_poses' holds NaN or infinity"),
            ({"poses": []}, "'poses' is empty: there is no person in it"),
            ({"img_frame_ids": []}, "'img_frame_ids' is empty: there is no image in it"),
            ({"poses": 3}, "'poses' is a int, expected a part for each person"),
            ({"sequence": ["a", "b"]}, r"sequence '\['a', 'b'\]'"),
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

    @pytest.mark.parametrize("kept", [0, 20])
    def test_cut_first_image(self, copy, kept):
        path = copy / "imageFiles/downtown_pair_00/image_00000.jpg"
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(DataError, match=r"image_00000\.jpg is broken.*again"):
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


def invalid_cameras(copy, written):
    """No camera pose of the test split is valid."""
    for name in ("downtown_pair_00", "downtown_away_00"):
        record = written[1][name][0]
        changed = {**record, "campose_valid": [np.zeros_like(one) for one in record["campose_valid"]]}
        (copy / f"sequenceFiles/test/{name}.pkl").write_bytes(python2_pickle(changed))


class TestTyped:
    """Through the command line: one message, exit status 1, no result."""

    PAIR = "sequenceFiles/test/downtown_pair_00.pkl"

    @pytest.mark.parametrize(
        ("model", "damage", "said"),
        [
            ("mean-pose", lambda root, _: shutil.rmtree(root), "No folder .*3DPW. Expected a folder that holds sequenceFiles"),
            ("mean-pose", lambda root, _: shutil.rmtree(root / "sequenceFiles"), "No sequenceFiles/ in .*, which holds imageFiles"),
            ("mean-pose", lambda root, _: shutil.rmtree(root / "sequenceFiles/test"), "No split 'test' .* found train, validation"),
            ("mean-pose", lambda root, _: (root / TestTyped.PAIR).write_bytes(b"\x80\x02}"), "downtown_pair_00.pkl is not a whole pickle"),
            ("mean-pose", lambda root, _: (root / TestTyped.PAIR).write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR."), "'os.system'"),
            ("mean-pose", lambda root, _: (root / TestTyped.PAIR).write_bytes(python2_pickle({})), "downtown_pair_00.pkl lacks img_frame"),
            (
                "mean-pose",
                lambda root, _: (root / "imageFiles/downtown_pair_00/image_00002.jpg").unlink(),
                "1 of 8 images of 3dpw/test are",
            ),
            (
                "niki",
                lambda root, _: (root / "imageFiles/downtown_pair_00/image_00002.jpg").write_bytes(b"\xff\xd8\xff"),
                "image_00002.jpg is broken: 3 bytes",
            ),
            ("mean-pose", invalid_cameras, "3dpw/test has nobody to evaluate: 0 of 14 person-frames kept"),
        ],
        ids=["no folder", "no sequences", "no split", "cut", "hostile", "no keys", "no image", "cut image", "nobody"],
    )
    def test_eval(self, run, copy, written, tmp_path, model, damage, said):
        damage(copy, written)
        words = ("--protocol", "3dpw-test", "--data", copy, "--body", "openhps", "--out", tmp_path / "out")
        status, out, err = run("eval", "--model", model, *words)
        lines = [line for line in err.splitlines() if line.startswith("hpsbench: ")]
        assert (status, out, len(lines)) == (1, "", 1), err
        assert re.search(said, lines[0]), err
        assert "Traceback" not in err
        assert not [path for path in tmp_path.rglob("*") if path.name in ("result.json", "errors.h5", "pwned")]

    def test_a_split_that_there_is_not(self, run, written, tmp_path):
        (tmp_path / "mine.toml").write_text(
            'name = "mine"\nversion = 1\nbase = "3dpw-test"\nwhat = "w"\nsource = "s"\n[data]\nsplit = "val"\n'
        )
        words = ("--protocol", tmp_path / "mine.toml", "--data", written[0], "--body", "openhps", "--out", tmp_path / "out")
        status, out, err = run("eval", "--model", "mean-pose", *words)
        assert (status, out) == (1, "")
        assert "No split of dataset '3dpw' named 'val'." in err
        assert not (tmp_path / "out").exists()


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
