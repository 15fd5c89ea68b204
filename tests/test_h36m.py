"""Human3.6M in all its forms, on people that the layout writers laid out."""

import json
import pickle
import re
import shutil
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
import torch
from damage import cut, emptied
from layouts import h36m as layout

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets import base_h36m_frames
from hpsbench.datasets.base import FrameCounts
from hpsbench.datasets.base_h36m import action_of
from hpsbench.datasets.base_h36m_camera import LENSES, Camera, load_metadata
from hpsbench.datasets.base_h36m_names import (
    ACTIONS,
    SUBSETS,
    Clip,
    Subset,
    clips_of,
    parse_clip,
    sequence_name,
    sequence_of,
    subset_sha256,
)
from hpsbench.datasets.h36m import H36M
from hpsbench.datasets.h36m_annotations import H36MFetch, H36MHybrik, H36MHybrikSmpl, H36MJson
from hpsbench.datasets.h36m_world import H36MMartinez, H36MNpz
from hpsbench.errors import DataError, HpsbenchError, MissingExtraError, UnknownNameError, UnsafePickleError
from hpsbench.evaluate.scoring import Scorer
from hpsbench.image import square_of_box
from hpsbench.protocol import load_protocol
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Card, Prediction, Truth

FRAMES = 11
MM, PX = 1e-4, 0.1
FORMS = (H36M, H36MNpz, H36MMartinez, H36MJson, H36MHybrik, H36MHybrikSmpl, H36MFetch)


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


def make_take(bodies, subject, action, subaction, frames=FRAMES):
    """A person of the embedded body who walks across the middle of the room, in the world frame."""
    rng = np.random.default_rng(100 * subject + 10 * action + subaction)
    rotvecs = np.tile(rng.normal(0, 0.15, (24, 3)), (frames, 1, 1))
    rotvecs[:, :, 0] += np.linspace(0, 0.2, frames)[:, None]
    rotvecs[:, 0] = cv2.Rodrigues(cv2.Rodrigues(np.array([0, 0, rng.normal()]))[0] @ cv2.Rodrigues(np.array([np.pi / 2, 0, 0]))[0])[0][:, 0]
    betas = rng.normal(0, 0.5, 10)
    trans = np.stack([np.linspace(-0.3, 0.3, frames), np.full(frames, 0.1), np.full(frames, 1.1)], axis=-1)
    output = bodies.neutral(torch.from_numpy(np.tile(betas, (frames, 1))), rotvecs=torch.from_numpy(rotvecs), trans=torch.from_numpy(trans))
    joints = bodies.joints(output, "h36m17").numpy()
    return layout.Take(subject, action, subaction, layout.raw32(joints), rotvecs, betas, output.joints[:, 0].numpy())


@pytest.fixture(scope="module")
def takes(bodies):
    keys = ((1, 12, 1), (9, 2, 1), (9, 5, 2), (11, 2, 2), (11, 12, 1))
    return {key: make_take(bodies, *key) for key in keys}


@pytest.fixture(scope="module")
def raw(tmp_path_factory, takes):
    """The release with videos; nobody changes it."""
    root = tmp_path_factory.mktemp("h36m")
    layout.write_raw(root, list(takes.values()))
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory, takes):
    """One sequence of S9 as images, seen by two cameras."""
    root = tmp_path_factory.mktemp("small")
    layout.write_raw(root, [takes[9, 2, 1]], pictures="images", cameras=(1, 3))
    return root


@pytest.fixture
def copy(small, tmp_path):
    return shutil.copytree(small, tmp_path / "h36m")


@pytest.fixture
def s9_alone(monkeypatch):
    """Subsets of S9 alone, so that a small tree opens."""
    monkeypatch.setitem(SUBSETS, "test", Subset((9,)))
    monkeypatch.setitem(SUBSETS, "spin-p2", Subset((9,), (3,)))


@pytest.fixture
def only_s9(copy, monkeypatch):
    """A tree of S9 alone, seen by two cameras, that a test may damage."""
    monkeypatch.setitem(SUBSETS, "test", Subset((9,), (1, 3), (1,)))
    assert len(opened(copy)) == 2 * FRAMES
    return copy


def opened(root, kind=H36M, *, split="test", frames="all", bbox="joints-in-image", scale=1.0, bodies=None, **more):
    return kind(root, split=split, frames=frames, bbox=bbox, bbox_scale=scale, bodies=bodies, **more)


def check_people(dataset, takes, joints=layout.LEFT_FIRST_17):
    """Every sample against the person that was laid out: joints to 0.1 mm, projections to 0.1 px."""
    cache = {}
    for sample in dataset:
        clip = parse_clip(sample.id)
        if clip not in cache:
            points = layout.seen(takes[clip[:3]], clip.camera)[:, joints]
            cache[clip] = points, layout.pixels(points, clip.camera)
        points, pixels = cache[clip]
        np.testing.assert_allclose(sample.truth.joints, points[sample.frame], atol=MM)
        np.testing.assert_allclose(sample.truth.joints2d, pixels[sample.frame], atol=PX)
        assert sample.truth.valid.all()
    return len(cache)


class TestRaw:
    def test_people_are_those_that_were_laid_out(self, raw, takes):
        dataset = opened(raw)
        assert len(dataset) == 4 * 4 * FRAMES
        assert check_people(dataset, takes) == 16
        assert {sample.truth.skeleton for sample in dataset} == {"h36m17"}

    def test_all_32_joints(self, raw, takes):
        dataset = opened(raw, split="hmr-p2", skeleton="h36m32")
        check_people(dataset, takes, list(range(32)))
        joints = dataset[0].truth.joints
        np.testing.assert_array_equal(joints[[0, 13, 13]], joints[[11, 16, 24]])

    def test_ids_order_and_tracks(self, raw):
        dataset = opened(raw, split="spin-p2", frames="every-5th")
        stems = ("s_09_act_02_subact_01", "s_09_act_05_subact_02", "s_11_act_02_subact_02", "s_11_act_12_subact_01")
        assert dataset.ids == [f"h36m/test/{stem}_ca_04/{frame:05d}/0" for stem in stems for frame in (0, 5, 10)]
        assert list(dataset.track_lengths) == [f"h36m/test/{stem}_ca_04/0" for stem in stems]
        assert [sample.frame for sample in dataset.track(list(dataset.track_lengths)[1])] == [0, 5, 10]
        assert dataset.frames() == [[i] for i in range(12)]

    def test_a_person_has_one_id_in_every_subset(self, raw):
        everybody = set(opened(raw).ids)
        for split in ("hmr-p1", "hmr-p2", "spin-p2", "rootnet-p1-test", "rootnet-p2-test"):
            assert set(opened(raw, split=split).ids) <= everybody

    def test_world_positions_give_the_same(self, raw, takes, tmp_path, s9_alone):
        """Without D3_Positions_mono the world positions go through the metadata: float32 millimetres of a room apart."""
        layout.write_raw(tmp_path, [takes[9, 2, 1]], mono=False, pictures="images", cameras=(1, 3))
        layout.write_images(
            tmp_path / "images", "S9_Directions_1.54138969_{:06d}.jpg", np.zeros((FRAMES, 0, 2)), (1000, 1002), range(FRAMES)
        )
        layout.write_images(
            tmp_path / "images", "S9_Directions_1.58860488_{:06d}.jpg", np.zeros((FRAMES, 0, 2)), (1000, 1000), range(FRAMES)
        )
        dataset = opened(tmp_path)
        assert check_people(dataset, takes) == 4
        other = opened(raw)
        for sample in dataset:
            np.testing.assert_allclose(sample.truth.joints, other[other.index_of(sample.id)].truth.joints, atol=2e-6)

    def test_a_frame_of_the_video_is_that_of_the_pose(self, raw):
        dataset = opened(raw, split="spin-p2")
        for i in (0, 1, 5, 9, 3, 30, 2, 10, 0):
            sample = dataset[i]
            image = sample.view.read()
            assert image.shape == (1002, 1000, 3)
            assert abs(float(np.median(image)) - (40 + 12 * sample.frame)) < 5
            x, y = sample.truth.joints2d[15].astype(int)
            assert int(image[y, x, 0]) > int(image[y, x, 2]) + 40

    def test_videos_are_closed_and_opened_again(self, raw, monkeypatch):
        monkeypatch.setattr(base_h36m_frames, "_OPEN_VIDEOS", 1)
        dataset = opened(raw, frames="every-5th")
        for i in (0, 20, 1, 21, 2, 0):
            assert abs(float(np.median(dataset[i].view.read())) - (40 + 12 * dataset[i].frame)) < 5

    def test_far_jumps_in_a_video(self, tmp_path):
        path = tmp_path / "long.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 50, (160, 64))
        for i in range(600):
            stripes = np.repeat([(i >> bit & 1) * 255 for bit in range(10)], 16).astype(np.uint8)
            writer.write(np.tile(stripes[None, :, None], (64, 1, 3)))
        writer.release()
        for frame in (599, 3, 320, 150, 580, 0, 64, 128):
            image = base_h36m_frames.read_video_frame(str(path), frame, (160, 64))
            assert sum(int(image[32, 8 + 16 * bit, 0] > 127) << bit for bit in range(10)) == frame
        with pytest.raises(DataError, match="no frame 600"):
            base_h36m_frames.read_video_frame(str(path), 600, (160, 64))

    def test_sizes_of_the_four_cameras(self, raw):
        sizes = {sample.id.split("_ca_")[1][:2]: sample.image_size for sample in opened(raw, frames="every-64th")}
        assert sizes == {"01": (1000, 1002), "02": (1000, 1000), "03": (1000, 1000), "04": (1000, 1002)}

    def test_keypoints_are_the_distorted_ones(self, raw):
        sample = opened(raw)[7]
        assert sample.truth.keypoints_skeleton == "h36m17"
        np.testing.assert_allclose(sample.truth.keypoints2d[:, :2], sample.truth.joints2d, atol=1e-2)
        assert (sample.truth.keypoints2d[:, 2] == 1).all()

    def test_distortion_is_told_and_matters(self, raw):
        dataset = opened(raw, split="spin-p2")
        camera = dataset.camera_of(0)
        np.testing.assert_allclose(camera.distortion, LENSES["60457274"][4:])
        np.testing.assert_array_equal(camera.intrinsics, dataset[0].view.intrinsics)
        point = np.array([1.6, 1.6, 4.0])
        plain = (camera.intrinsics @ point)[:2] / point[2]
        assert np.linalg.norm(camera.project(point) - plain) > 5

    def test_boxes(self, raw, takes):
        flat = layout.pixels(layout.seen(takes[9, 2, 1], 3), 3)[0]
        used = flat[layout.LEFT_FIRST_17]
        tight = [*used.min(0), *used.max(0)]
        np.testing.assert_allclose(opened(raw, split="spin-p2")[0].view.bbox_xyxy, tight, atol=PX)
        np.testing.assert_allclose(opened(raw, split="spin-p2", bbox="keypoints")[0].view.bbox_xyxy, tight, atol=PX)
        masked = opened(raw, split="spin-p2", bbox="masks", frames="every-5th")[0].view.bbox_xyxy
        np.testing.assert_array_equal(masked, layout.mask_box(flat, (1000, 1002)))
        wide = opened(raw, split="spin-p2", bbox="masks", frames="every-64th", scale=1.5)[0].view.bbox_xyxy
        np.testing.assert_allclose(wide[2] - wide[0], 1.5 * (masked[2] - masked[0]))

    def test_actions(self, raw, monkeypatch):
        monkeypatch.setitem(SUBSETS, "all", Subset((1, 9, 11)))
        dataset = opened(raw, split="all", frames="every-64th")
        assert dataset.ids[0] == "h36m/train/s_01_act_12_subact_01_ca_01/00000/0"
        assert dataset.actions == ["Photo"] * 4 + ["Directions"] * 4 + ["Greeting"] * 4 + ["Directions"] * 4 + ["Photo"] * 4
        assert [action_of(sample_id) for sample_id in dataset.ids] == dataset.actions
        with pytest.raises(UnknownNameError):
            action_of("3dpw/test/downtown_arguing_00/00000/0")

    def test_fingerprint_and_pickle(self, raw):
        dataset = opened(raw, frames="every-64th")
        assert dataset.fingerprint == opened(raw).fingerprint != opened(raw, split="spin-p2").fingerprint
        again = pickle.loads(pickle.dumps(dataset))
        assert again.ids == dataset.ids
        assert again[0].view.read().shape == (1002, 1000, 3)

    def test_card(self):
        for kind in FORMS:
            assert isinstance(kind.card, Card)
            assert kind.card.name == kind.name
            assert "academic" in kind.card.licence
            assert "543,344" in kind.card.what
        assert len({kind.name for kind in FORMS}) == len(FORMS)


class TestRules:
    """Four sequences of S9 and S11, 4 cameras, 11 frames: 176 person-frames."""

    @pytest.mark.parametrize(
        ("split", "frames", "kept", "dropped"),
        [
            ("test", "all", 176, {}),
            ("test", "every-5th", 4 * 4 * 3, {"not every-5th": 4 * 4 * 8}),
            ("hmr-p1", "every-5th", 4 * 4 * 3, {"not every-5th": 4 * 4 * 8}),
            ("spin-p2", "every-5th", 4 * 3, {"not every-5th": 4 * 8}),
            ("hmr-p2", "all", 2 * 11, {}),
            ("test", "every-64th", 16, {"not every-64th": 160}),
            ("test", "all+drop-s11-damaged", 165, {"bad sequence (drop-s11-damaged)": 11}),
            ("test", "all+drop-s11-directions", 132, {"bad sequence (drop-s11-directions)": 44}),
            ("test", "every-64th+drop-s9-shifted", 12, {"not every-64th": 120, "bad sequence (drop-s9-shifted)": 44}),
            ("test", "all+drop-bad", 121, {"bad sequence (drop-bad)": 55}),
            ("rootnet-p1-test", "all", 88, {}),
        ],
    )
    def test_counts(self, raw, split, frames, kept, dropped):
        rest = {"no picture of the last poses": 0, "no joint inside the image": 0, "box under one pixel": 0}
        assert opened(raw, split=split, frames=frames).counts == FrameCounts(kept + sum(dropped.values()), kept, {**dropped, **rest})

    def test_a_subset_needs_each_of_its_subjects(self, raw):
        with pytest.raises(DataError, match="No sequence of S5, S6, S7, S8 in"):
            opened(raw, split="rootnet-p1-train")

    def test_shifted_sequences_can_be_moved_back(self, raw, takes):
        plain, fixed = opened(raw), opened(raw, frames="all+fix-s9-shift")
        assert plain.ids == fixed.ids
        for a, b in zip(plain, fixed, strict=True):
            moved = a.truth.joints - b.truth.joints
            clip = parse_clip(a.id)
            expected = layout.euler(layout.rig()[clip.camera, clip.subject - 1, :3]) @ [0.2, 0, 0] if clip[:3] == (9, 5, 2) else 0
            np.testing.assert_allclose(moved, np.broadcast_to(expected, (17, 3)), atol=1e-9)

    def test_video_shorter_than_the_poses(self, takes, tmp_path, s9_alone):
        layout.write_raw(tmp_path, [takes[9, 2, 1]], cameras=(1, 3))
        path = tmp_path / "S9/Videos/Directions 1.60457274.mp4"
        flat = np.zeros((FRAMES, 0, 2))
        layout.write_video(path, flat, (1000, 1002), more=-2)
        counts = opened(tmp_path, split="spin-p2").counts
        assert (counts.kept, counts.dropped["no picture of the last poses"]) == (FRAMES - 2, 2)
        layout.write_video(path, flat[:4], (1000, 1002), more=0)
        with pytest.raises(DataError, match=r"7 of 11 pictures of s_09_act_02_subact_01_ca_04 are missing.*'drop' rule"):
            opened(tmp_path, split="spin-p2")

    def test_out_of_the_picture(self, takes, tmp_path, s9_alone):
        away = takes[9, 2, 1]
        moved = layout.Take(9, 2, 1, away.world.copy(), away.rotvecs, away.betas, away.roots)
        right = layout.euler(layout.rig()[3, 8, :3])[0]
        moved.world[0] += 6 * right
        layout.write_raw(tmp_path, [moved], pictures="images", cameras=(3,))
        counts = opened(tmp_path, split="spin-p2").counts
        assert (counts.kept, counts.dropped["no joint inside the image"]) == (FRAMES - 1, 1)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"split": "p1"}, "split"),
            ({"frames": "every-4th"}, "frame rule"),
            ({"bbox": "annotation"}, "box rule"),
            ({"skeleton": "h36m"}, "skeleton"),
        ],
    )
    def test_unknown_names(self, small, change, match):
        with pytest.raises(UnknownNameError, match=match):
            opened(small, **change)

    def test_box_scale_is_positive(self, small):
        with pytest.raises(ValueError, match="bbox_scale"):
            opened(small, scale=0)


class TestNames:
    def test_sequences_as_the_release_has_them(self):
        for key, name in layout.NAMES.items():
            assert sequence_name(*key) == name
            assert sequence_of(key[0], name) == key[1:]
        assert [sequence_name(8, 10, i) for i in (1, 2)] == ["SittingDown", "SittingDown 1"]
        assert [sequence_name(5, 3, i) for i in (1, 2)] == ["Discussion 2", "Discussion 3"]

    def test_names_are_unique_and_found_again(self):
        for subject in SUBSETS["all"].subjects:
            names = [sequence_name(subject, action, subaction) for action in range(2, 17) for subaction in (1, 2)]
            assert len(set(names)) == 30
            assert all(sequence_of(subject, sequence_name(subject, a, s)) == (a, s) for a in range(2, 17) for s in (1, 2))

    def test_renamed_and_unknown(self):
        assert sequence_of(1, "Photo 1") == sequence_of(1, "TakingPhoto 1") == (12, 1)
        assert sequence_of(1, "WalkDog") == (15, 2)
        assert sequence_of(9, "_ALL 1") is None
        assert sequence_of(9, "Directions 7") is None

    def test_clips(self):
        clip = Clip(9, 2, 1, 3)
        assert (clip.name, clip.file_stem, clip.action_name) == ("s_09_act_02_subact_01_ca_04", "Directions 1.60457274", "Directions")
        assert parse_clip(f"images/{clip.name}_000001.jpg") == clip
        assert parse_clip("s_02_act_02_subact_01_ca_04") is parse_clip("s_09_act_17_subact_01_ca_04") is parse_clip("x") is None
        assert len(ACTIONS) == 15

    def test_subsets(self):
        """Sequences x cameras: 15 actions of 2 subactions."""
        sizes = {name: len(clips_of(name)) for name in SUBSETS}
        assert sizes == {
            "train": 600, "test": 240, "hmr-p1": 240, "hmr-p2": 30, "spin-p2": 60, "rootnet-p1-train": 720, "rootnet-p1-test": 120,
            "rootnet-p2-train": 600, "rootnet-p2-test": 240, "all": 840,
        }  # fmt: skip
        assert set(clips_of("hmr-p2")) < set(clips_of("spin-p2")) < set(clips_of("hmr-p1"))
        assert {clip.camera_id for clip in clips_of("hmr-p2")} == {"60457274"}
        with pytest.raises(UnknownNameError, match="Did you mean 'hmr-p"):
            clips_of("hmr-p3")

    def test_hashes_of_the_lists(self):
        """Equal lists have equal hashes; a changed list is another subset, which this pins."""
        assert subset_sha256("test") == subset_sha256("hmr-p1") == subset_sha256("rootnet-p2-test")
        assert {name: subset_sha256(name)[:12] for name in ("train", "test", "hmr-p2", "spin-p2", "rootnet-p1-train")} == HASHES


# Over the lines "S9/Directions 1.54138969" in order of subject, action, subaction and camera.
HASHES = {
    "train": "d3a9e73e48de",
    "test": "5a41e27f9167",
    "hmr-p2": "7b8346888317",
    "spin-p2": "4967b1f40fe3",
    "rootnet-p1-train": "0b7237056efb",
}


class TestCamera:
    def test_the_real_first_camera(self, tmp_path):
        """Derived from the release's own file: S1, camera 54138969."""
        camera = load_metadata(layout.write_metadata(tmp_path))[1, 0]
        expected = [[-0.915362, 0.401808, 0.025747], [0.051548, 0.180374, -0.982246], [-0.399319, -0.897784, -0.185820]]
        np.testing.assert_allclose(camera.rotation, expected, atol=1e-6)
        np.testing.assert_allclose(camera.translation, [-0.3460508, 0.5469808, 5.4744811], atol=1e-6)
        np.testing.assert_allclose(camera.intrinsics, [[1145.0494, 0, 512.5415], [0, 1143.7811, 515.4515], [0, 0, 1]])

    def test_all_cameras_by_subject(self, tmp_path):
        cameras = load_metadata(layout.write_metadata(tmp_path))
        assert len(cameras) == 44
        for (subject, c), camera in cameras.items():
            pose = layout.rig()[c, subject - 1]
            np.testing.assert_allclose(camera.to_camera(pose[3:] / 1000), np.zeros(3), atol=1e-9)
            np.testing.assert_allclose(camera.rotation, layout.euler(pose[:3]), atol=1e-9)

    def test_projection_is_opencvs_but_for_half_the_tangential_part(self):
        fx, fy, cx, cy, k1, k2, k3, p1, p2 = LENSES["55011271"]
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        camera = Camera(K, np.array([k1, k2, k3, p1, p2]))
        points = np.random.default_rng(0).uniform([-1.5, -1.5, 4], [1.5, 1.5, 6], (50, 3))
        theirs = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array([k1, k2, p1, p2, k3]))[0][:, 0]
        x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
        shared = p1 * y + p2 * x
        np.testing.assert_allclose(theirs - camera.project(points), np.stack([fx * x * shared, fy * y * shared], -1), atol=1e-9)

    def test_behind_the_camera(self):
        camera = Camera(np.eye(3), np.zeros(5))
        assert np.isnan(camera.project(np.array([[0, 0, -1.0], [1, 1, 0]]))).all()
        np.testing.assert_array_equal(camera.project(np.array([2.0, 4.0, 2.0])), [1, 2])

    @pytest.mark.parametrize(
        ("old", "new", "match"),
        [
            ("<w0>[", "<w0>[1.0 ", "holds 301 numbers, expected 300"),
            ("<w0>[", "<w0>[x ", "no number"),
            ("w0>", "w1>", "holds 0 numbers"),
            ("</metadata>", "", "no XML"),
        ],
    )
    def test_bad_metadata(self, tmp_path, old, new, match):
        path = layout.write_metadata(tmp_path)
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(DataError, match=match):
            load_metadata(path)


@pytest.fixture(scope="module")
def derived(tmp_path_factory, takes):
    """{form: folder} of the derived forms, S9 and S11 alone in the larger ones."""
    roots = {kind: tmp_path_factory.mktemp(kind.name) for kind in FORMS[1:]}
    some = [takes[9, 2, 1], takes[11, 12, 1]]
    layout.write_npz(roots[H36MNpz], list(takes.values()))
    layout.write_martinez(roots[H36MMartinez], some)
    layout.write_posenet(roots[H36MJson], some, centre=False)
    layout.write_hybrik(roots[H36MHybrik], some)
    roots[H36MHybrikSmpl] = roots[H36MHybrik]
    layout.write_fetch(roots[H36MFetch], some, step=5)
    for kind in (H36MNpz, H36MMartinez):
        (roots[kind] / "images").symlink_to(roots[H36MJson] / "images")
    return roots


class TestDerived:
    @pytest.mark.parametrize(
        ("kind", "frames", "kept"),
        [(H36MMartinez, 11, 88), (H36MJson, 11, 88), (H36MHybrik, 1, 8), (H36MHybrikSmpl, 1, 8), (H36MFetch, 3, 24)],
    )
    def test_people_are_those_that_were_laid_out(self, derived, takes, kind, frames, kept):
        dataset = opened(derived[kind], kind)
        assert dataset.counts.total == len(dataset) == kept == 8 * frames
        assert check_people(dataset, takes) == 8
        assert dataset.ids[0] == f"{kind.name}/test/s_09_act_02_subact_01_ca_01/00000/0"
        image = dataset[-1].view.read()
        assert abs(float(np.median(image)) - (40 + 12 * dataset[-1].frame)) < 5

    def test_npz(self, derived, takes, tmp_path):
        """All subjects; the pictures of two sequences are there."""
        root = derived[H36MNpz]
        for clip in ("s_09_act_05_subact_02", "s_11_act_02_subact_02"):
            with pytest.raises(DataError, match=f"No picture of {clip}_ca_01"):
                opened(root, H36MNpz, frames="all" if clip.startswith("s_09") else "all+drop-s9-shifted")
        layout.write_npz(tmp_path, [takes[key] for key in ((9, 2, 1), (11, 12, 1))])
        (tmp_path / "images").symlink_to(root / "images")
        dataset = opened(tmp_path, H36MNpz)
        assert check_people(dataset, takes) == 8
        assert "train" not in H36MNpz.splits_in(root)
        assert Clip(1, 12, 1, 0) in H36MNpz._clips_in(root)

    def test_the_forms_agree(self, raw, derived):
        """The same person has the same id, camera and joints, but for the file's precision (float32 mm)."""
        reference = opened(raw)
        for kind in (H36MMartinez, H36MJson, H36MHybrik, H36MFetch):
            dataset = opened(derived[kind], kind, frames="every-5th")
            for i, sample in enumerate(dataset):
                other = reference.index_of("h36m/" + sample.id.partition("/")[2])
                np.testing.assert_allclose(sample.truth.joints, reference[other].truth.joints, atol=5e-6)
                np.testing.assert_allclose(dataset.camera_of(i).distortion, reference.camera_of(other).distortion)

    def test_older_posenet_files_hold_the_centre(self, takes, tmp_path, derived):
        layout.write_posenet(tmp_path, [takes[9, 2, 1], takes[11, 12, 1]], centre=True)
        assert check_people(opened(tmp_path, H36MJson, frames="every-5th"), takes) == 8

    def test_annotated_boxes(self, derived, takes):
        flat = layout.pixels(layout.seen(takes[9, 2, 1], 0), 0)[0]
        for kind in (H36MJson, H36MHybrik):
            box = opened(derived[kind], kind, bbox="annotation")[0].view.bbox_xyxy
            np.testing.assert_allclose(box, [*flat.min(0), *flat.max(0)], atol=1e-6)

    def test_smpl_fits_stand_where_the_person_does(self, derived, takes, bodies):
        plain = opened(derived[H36MHybrik], H36MHybrik, bodies=bodies)[0].truth
        assert plain.rotvecs is plain.betas is plain.trans is None
        sample = opened(derived[H36MHybrikSmpl], H36MHybrikSmpl, bodies=bodies)[0]
        truth = sample.truth
        output = bodies.neutral(*(torch.from_numpy(a)[None] for a in (truth.betas,)), rotvecs=torch.from_numpy(truth.rotvecs)[None])
        joints = bodies.joints(output, "h36m17")[0].numpy() + truth.trans
        np.testing.assert_allclose(joints, truth.joints, atol=MM)

    def test_only_32_joints_can_give_32(self, derived):
        assert len(opened(derived[H36MFetch], H36MFetch, skeleton="h36m32")[0].truth.joints) == 32
        with pytest.raises(DataError, match="holds 17 joints, expected 32"):
            opened(derived[H36MJson], H36MJson, skeleton="h36m32")

    def test_the_shift_needs_a_camera_that_stands_somewhere(self, takes, tmp_path, s9_alone):
        layout.write_hybrik(tmp_path, [takes[9, 5, 2]])
        with pytest.raises(DataError, match="does not say how its cameras stand"):
            opened(tmp_path, H36MHybrik, frames="all+fix-s9-shift")
        assert opened(tmp_path, H36MHybrik, frames="all+drop-s9-shifted").counts.kept == 0

    @pytest.mark.parametrize("kind", FORMS[1:])
    def test_nothing_there(self, kind, tmp_path):
        with pytest.raises(DataError, match=r"human3\.6m|github"):
            opened(tmp_path, kind)
        with pytest.raises(DataError):
            kind.inspect(tmp_path)

    def test_npz_that_runs_code(self, takes, tmp_path):
        layout.write_npz(tmp_path, [takes[9, 2, 1]])
        np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=np.array({"S9": print}, dtype=object))
        with pytest.raises(UnsafePickleError, match="print"):
            opened(tmp_path, H36MNpz)

    @pytest.mark.parametrize(
        ("positions", "match"),
        [
            ({"S9": {"Directions 1": np.zeros((3, 17, 3), np.float32)}}, r"\(3, 17, 3\), expected \(frames, 32, 3\)"),
            ({"S9": {"Directions 1": np.zeros((0, 32, 3), np.float32)}}, "holds 0 frames"),
            ({"S9": {"Directions 1": np.full((3, 32, 3), np.nan, np.float32)}}, "or NaN, expected finite numbers"),
            ({"S9": {"Directions 1": [[1.0], [2.0, 3.0]]}}, "holds a list, expected"),
            ({"S9": [1]}, "holds no dict of subjects"),
            ({}, "No sequence of S9, S11"),
            ({"S9": {"Dancing": np.zeros((3, 32, 3), np.float32)}}, "no sequence 'Dancing'"),
            ({"S11": {}}, "No sequence of S9"),
            ([1, 2], "an array of int64"),
        ],
    )
    def test_bad_npz(self, tmp_path, positions, match):
        layout.write_metadata(tmp_path)
        np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=positions)
        with pytest.raises(DataError, match=match):
            opened(tmp_path, H36MNpz)

    def test_cut_npz(self, takes, tmp_path):
        layout.write_npz(tmp_path, [takes[9, 2, 1]])
        path = tmp_path / "data_3d_h36m.npz"
        path.write_bytes(path.read_bytes()[:900])
        with pytest.raises(DataError, match="no npz"):
            opened(tmp_path, H36MNpz)

    @pytest.mark.parametrize(
        ("name", "change", "match"),
        [
            ("camera", lambda c: {k: {**v, "t": [1e4, 1e5, 1e6]} for k, v in c.items()}, "neither meaning of t"),
            ("camera", lambda c: {k: {**v, "f": [286.0, 286.0]} for k, v in c.items()}, "original size"),
            ("camera", lambda c: {}, "no camera '1'"),
            ("joint_3d", lambda c: {}, "no 17 joints"),
            ("data", lambda c: {"images": []}, "lacks annotations"),
            ("data", lambda c: {**c, "annotations": [{"image_id": -1}]}, "lacks"),
            ("data", lambda c: {**c, "annotations": [{**a, "bbox": [1]} for a in c["annotations"]]}, "'bbox'"),
            (
                "data",
                lambda c: {**c, "annotations": [{**a, "bbox": [0, 0, np.nan, 9]} for a in c["annotations"]]},
                "'bbox'.*NaN or infinity",
            ),
            ("data", lambda c: {"images": [], "annotations": []}, "No sequence of S9"),
            ("data", lambda c: {"images": None, "annotations": 3}, "lacks"),
            ("data", lambda c: [1], "lacks images, annotations"),
            ("camera", lambda c: {k: {**v, "R": np.full((3, 3), np.nan).tolist()} for k, v in c.items()}, "NaN or infinity"),
            ("camera", lambda c: [1], "no camera '1'"),
            ("joint_3d", lambda c: {"2": {"1": {frame: np.full((17, 3), np.inf).tolist() for frame in c["2"]["1"]}}}, "NaN or infinity"),
        ],
    )
    def test_bad_json(self, takes, tmp_path, s9_alone, name, change, match):
        layout.write_posenet(tmp_path, [takes[9, 2, 1]], centre=False)
        path = tmp_path / f"annotations/Human36M_subject9_{name}.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
        with pytest.raises(DataError, match=match):
            opened(tmp_path, H36MJson)

    def test_bad_hybrik(self, takes, tmp_path):
        layout.write_hybrik(tmp_path, [takes[9, 2, 1]])
        (path,) = tmp_path.glob("annotations/*test*")
        content = json.loads(path.read_text())
        path.write_text(json.dumps({key: [*rows, rows[-1]] for key, rows in content.items()}))
        with pytest.raises(DataError, match="s_09_act_02_subact_01_ca_04 holds a frame twice"):
            opened(tmp_path, H36MHybrik)
        path.write_text(json.dumps({**content, "images": content["images"][:-1]}))
        with pytest.raises(DataError, match="3 images and 4 annotations"):
            opened(tmp_path, H36MHybrik)
        shutil.copy(path, path.with_name(path.name.replace("20", "5")))
        with pytest.raises(DataError, match="2 files of the test half"):
            opened(tmp_path, H36MHybrik)

    def test_root_relative_hybrik(self, takes, tmp_path):
        layout.write_hybrik(tmp_path, [takes[9, 2, 1]])
        (path,) = tmp_path.glob("annotations/*test*")
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            joints = np.array(annotation["h36m_joints"])
            annotation["h36m_joints"] = (joints - joints[0]).tolist()
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=r"0\.00 m in front of the camera"):
            opened(tmp_path, H36MHybrik)

    def test_fetch_of_the_universal_skeleton(self, takes, tmp_path):
        layout.write_fetch(tmp_path, [takes[9, 2, 1]], step=64)
        with h5py.File(tmp_path / "S9/Directions-1/annot.h5", "a") as file:
            del file["pose/3d"]
        with pytest.raises(DataError, match="pose/3d-univ alone"):
            opened(tmp_path, H36MFetch)


class TestBadInput:
    def test_no_such_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"No folder .*vision\.imar\.ro"):
            opened(tmp_path / "nowhere")

    def test_no_metadata(self, copy):
        shutil.rmtree(copy / "Release-v1.2")
        with pytest.raises(DataError, match=r"No metadata\.xml .*code-v1\.2\.zip"):
            opened(copy)

    def test_no_subject(self, copy):
        with pytest.raises(DataError, match="No sequence of S11"):
            opened(copy, split="rootnet-p1-test")
        assert H36M.splits_in(copy) == ()
        with pytest.raises(DataError, match=r"No Human3\.6M poses"):
            H36M.splits_in(copy / "images")

    def test_inspect_names_what_is_missing(self, raw):
        lines = H36M.inspect(raw)
        assert ("error", "S9: 8 of 120 clips annotated; missing: " + ", ".join(c.name for c in clips_of("test")[4:8]) + " ...") in lines
        assert [level for level, text in lines if text.startswith("S5")] == ["warning"]
        assert ("warning", "S11: 8 of 120 videos") in lines
        assert not any("no known sequence" in text or "metadata" in text for _, text in lines)
        assert H36M.splits_in(raw) == ("test", "hmr-p1", "hmr-p2", "spin-p2", "rootnet-p1-test", "rootnet-p2-test")

    def test_inspect_names_what_is_unexpected(self, copy):
        (copy / "S9/MyPoseFeatures/D3_Positions/Dancing 1.cdf").touch()
        (copy / "S9/MyPoseFeatures/D3_Positions_mono/Directions 1.12345678.cdf").touch()
        shutil.rmtree(copy / "Release-v1.2")
        lines = H36M.inspect(copy)
        assert ("warning", "S9: 2 pose files of no known sequence or camera, the first is 'Dancing 1.cdf'") in lines
        assert [text for level, text in lines if level == "error"][-1].startswith("No metadata.xml")

    @pytest.mark.parametrize("kind", FORMS[1:])
    def test_inspect_of_derived_forms(self, derived, kind):
        lines = dict(text.split(":", 1) for _, text in kind.inspect(derived[kind]))
        assert " of 120 clips annotated" in lines["S9"]
        assert "test" in kind.splits_in(derived[kind])

    def test_against_known(self, raw):
        sides = [("ok", f"spin-p2: {part}s left and right as the head faces in 4 of 4 clips") for part in ("hip", "shoulder")]
        assert opened(raw, split="spin-p2", frames="every-5th").against_known() == [
            ("error", "spin-p2, every-5th: person-frames: 12, but 27,558 are published"),
            *sides,
        ]
        assert opened(raw, split="spin-p2").against_known() == sides

    def test_swapped_legs_are_told(self, only_s9, takes):
        """The mocap's order of legs in a file that has the other one."""
        assert {level for level, _ in opened(only_s9).against_known()} == {"ok"}
        joints = layout.seen(takes[9, 2, 1], 3)[:, [0, *range(6, 11), *range(1, 6), *range(11, 32)]] * 1000
        layout.write_cdf(only_s9 / "S9/MyPoseFeatures/D3_Positions_mono/Directions 1.60457274.cdf", joints.reshape(FRAMES, 96))
        hips = "test: hips left and right as the head faces in 1 of 2 clips; not in s_09_act_02_subact_01_ca_04"
        shoulders = "test: shoulders left and right as the head faces in 2 of 2 clips"
        assert opened(only_s9).against_known() == [("error", hips), ("ok", shoulders)]

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda path: path.write_bytes(path.read_bytes()[:400]), "no CDF"),
            (lambda path: path.write_text("Pose"), "no CDF"),
            (lambda path: layout.write_cdf(path, np.zeros((4, 96)), variable="Poze"), "no CDF with a variable 'Pose'"),
            (lambda path: layout.write_cdf(path, np.zeros((4, 51))), r"\(4, 51\), expected \(1, frames, 96\)"),
            (lambda path: layout.write_cdf(path, np.full((4, 96), np.nan)), "finite"),
        ],
    )
    def test_bad_cdf(self, only_s9, change, match):
        change(only_s9 / "S9/MyPoseFeatures/D3_Positions_mono/Directions 1.60457274.cdf")
        with pytest.raises(DataError, match=match):
            opened(only_s9)

    @pytest.mark.parametrize(
        ("factor", "match"), [(0.1, r"right thigh of s_09_act_02_subact_01_ca_02 is 0\.0\d+ m"), (1000, "another unit")]
    )
    def test_other_units(self, only_s9, takes, factor, match):
        joints = layout.seen(takes[9, 2, 1], 1).reshape(FRAMES, 96) * 1000 * factor
        layout.write_cdf(only_s9 / "S9/MyPoseFeatures/D3_Positions_mono/Directions 1.55011271.cdf", joints)
        with pytest.raises(DataError, match=match):
            opened(only_s9)

    def test_missing_pictures(self, only_s9):
        (only_s9 / "images/S9_Directions_1.60457274_000003.jpg").unlink()
        with pytest.raises(DataError, match=r"1 of 11 pictures .* the first is .*_000003\.jpg"):
            opened(only_s9)
        shutil.rmtree(only_s9 / "images")
        with pytest.raises(DataError, match=r"No picture of s_09.*Videos/Directions 1\.55011271\.mp4"):
            opened(only_s9)

    def test_cut_picture_and_another_size(self, only_s9):
        path = only_s9 / "images/S9_Directions_1.55011271_000002.jpg"
        path.write_bytes(path.read_bytes()[:700])
        with pytest.raises(DataError, match="broken"):
            opened(only_s9)[1].view.read()
        cv2.imwrite(str(path), np.zeros((500, 500, 3), np.uint8))
        with pytest.raises(DataError, match="500 x 500 px, expected 1000 x 1000"):
            opened(only_s9)[1].view.read()

    def test_broken_video(self, only_s9):
        shutil.rmtree(only_s9 / "images")
        video = only_s9 / "S9/Videos/Directions 1.55011271.mp4"
        video.parent.mkdir()
        video.write_bytes(b"no video")
        with pytest.raises(DataError, match="cannot be opened"):
            opened(only_s9)

    def test_no_masks(self, only_s9):
        with pytest.raises(DataError, match="Segments_mat_gt_bb"):
            opened(only_s9, bbox="masks")

    def test_no_flat_positions(self, only_s9):
        shutil.rmtree(only_s9 / "S9/MyPoseFeatures/D2_Positions")
        assert opened(only_s9)[0].truth.keypoints2d is None
        with pytest.raises(DataError, match=r"No pose file .*D2_Positions"):
            opened(only_s9, bbox="keypoints")

    def test_without_cdflib(self, only_s9, monkeypatch, tmp_path):
        """It is needed for parsing; what is indexed opens without it."""
        monkeypatch.setitem(__import__("sys").modules, "cdflib", None)
        assert len(opened(only_s9)) == 2 * FRAMES
        monkeypatch.setenv("HPSBENCH_CACHE", str(tmp_path / "empty"))
        with pytest.raises(MissingExtraError, match=r"hpsbench\[h36m\]"):
            opened(only_s9)


class TestProtocols:
    def test_rootnets_p1_is_rigid_and_over_17(self, bodies):
        """Somebody answered 1.1 times too large and turned by half a turn: what is left of each of the 17 joints is a tenth of its distance
        from their mean. With a scale, as SPIN's P2 measures it, nothing is left."""
        truth = np.random.default_rng(3).normal(0, 0.4, (17, 3)) + np.array([0, 0, 5])
        answer = 1.1 * truth @ np.diag([-1.0, 1, -1])
        order = [JOINT_NAMES["h36m17"].index(name) for name in JOINT_NAMES["h36m17-mocap"]]
        prediction = Prediction(torch.tensor([False]), joints=torch.from_numpy(answer[None, order]), skeleton="h36m17-mocap")
        known = Truth(truth, "h36m17", np.zeros((17, 2)), np.ones(17, dtype=bool))

        def errors(name):
            rule = load_protocol(name).score
            return Scorer(bodies, rule, torch.device("cpu")).measure(prediction, [known])["values/pa_mpjpe"][0]

        np.testing.assert_allclose(errors("h36m-p1-rootnet"), 0.1 * np.linalg.norm(truth - truth.mean(0), axis=1), atol=1e-9)
        np.testing.assert_allclose(errors("h36m-p2-spin"), np.zeros(14), atol=1e-9)

    def test_spins_crops_are_nine_tenths_of_the_masks(self, small, takes, monkeypatch):
        """By a model whose margin is 1.2, about the middle of the rectangle."""
        monkeypatch.setitem(SUBSETS, "spin-p2", Subset((9,), (3,), (1,)))
        rule = load_protocol("h36m-p2-spin-masks").data
        dataset = opened(small, split=rule.split, frames=rule.frames, bbox=rule.bbox, scale=rule.bbox_scale)
        flat = layout.pixels(layout.seen(takes[9, 2, 1], 3), 3)
        for sample in dataset:
            x0, y0, x1, y1 = layout.mask_box(flat[sample.frame], (1000, 1002))
            square = square_of_box(sample.view.bbox_xyxy, 1.2)
            np.testing.assert_allclose(square[2:] - square[:2], 0.9 * max(x1 - x0, y1 - y0))
            np.testing.assert_allclose(square[2:] + square[:2], [x0 + x1, y0 + y1])
        assert len(dataset) == 3
        assert load_protocol("h36m-p1-spin-masks").data == replace(rule, split="hmr-p1")


# A fault for the release below a folder, and what is said of it.
RAW_FAULTS = {
    "empty folder": (lambda root: emptied(root), "No Human3.6M poses in .*, which holds nothing; looked for"),
    "another dataset's folder": (lambda root: emptied(root, "imageFiles", "sequenceFiles"), "which holds imageFiles, sequenceFiles"),
    "no annotation": (lambda root: shutil.rmtree(root / "S9/MyPoseFeatures"), "No Human3.6M poses in .*, which holds Release-v1.2, S9"),
    "empty pose file": (lambda root: cut(root / MONO, 0), "no CDF"),
    "pose file cut in its head": (lambda root: cut(root / MONO, 100), "no CDF"),
    "pose file cut in its middle": (lambda root: cut(root / MONO, 0.5), "no CDF"),
    "pose file without its end": (lambda root: cut(root / MONO, -200), "no CDF"),
    "2D file cut": (lambda root: cut(root / FLAT, 0.5), "no CDF"),
    "2D of another width": (lambda root: layout.write_cdf(root / FLAT, np.zeros((FRAMES, 34))), r"expected \(1, frames, 64\)"),
    "2D that is NaN": (lambda root: layout.write_cdf(root / FLAT, np.full((FRAMES, 64), np.nan)), "finite numbers"),
    "metadata cut": (lambda root: cut(root / METADATA, 0.5), "is no XML"),
    "metadata in no known encoding": (
        lambda root: (root / METADATA).write_text('<?xml version="1.0" encoding="klingon"?><a/>'),
        "is no XML",
    ),
    "a camera that is NaN": (lambda root: replaced(root / METADATA, "<w0>[", "<w0>[nan ", 1), "expected 300, all finite"),
    "a camera too many": (lambda root: replaced(root / METADATA, "<w0>[", "<w0>[" + "1.0 " * 75, 1), "holds 375 numbers, expected 300"),
    "no picture at all": (lambda root: shutil.rmtree(root / "images"), "No picture of s_09"),
    "an empty picture": (lambda root: (root / FIRST).write_bytes(b""), "is broken"),
    "a missing picture": (lambda root: (root / FIRST).with_name("S9_Directions_1.60457274_000004.jpg").unlink(), "1 of 11 pictures"),
}
MONO = "S9/MyPoseFeatures/D3_Positions_mono/Directions 1.60457274.cdf"
FLAT = "S9/MyPoseFeatures/D2_Positions/Directions 1.60457274.cdf"
METADATA = "Release-v1.2/metadata.xml"
FIRST = "images/S9_Directions_1.60457274_000001.jpg"


def replaced(path, old, new, count=-1):
    path.write_text(path.read_text().replace(old, new, count))


def refused(make, match):
    """``make`` ends with one line that says ``match``."""
    with pytest.raises(HpsbenchError, match=match) as error:
        make()
    assert "\n" not in str(error.value)


class TestEveryBadInput:
    """Each kind of bad input, for each form: one message, and through the command exit 1 with nothing half written."""

    @pytest.mark.parametrize("fault", RAW_FAULTS)
    def test_raw(self, only_s9, fault):
        damage, match = RAW_FAULTS[fault]
        damage(only_s9)
        refused(lambda: opened(only_s9), match)

    @pytest.mark.parametrize(
        ("damage", "match"),
        [
            (lambda path: cut(path, 0.5), "is no v7.3 file of masks"),
            (lambda path: path.write_bytes(b"MATLAB"), "is no v7.3 file of masks"),
            (lambda path: masks_of(path, np.zeros((4, 4, 4))), r"a mask of shape \(4, 4, 4\), expected that of an image"),
            (lambda path: masks_of(path, None), "is no v7.3 file of masks"),
        ],
    )
    def test_masks(self, small, tmp_path, monkeypatch, damage, match):
        monkeypatch.setitem(SUBSETS, "test", Subset((9,), (3,), (1,)))
        root = shutil.copytree(small, tmp_path / "h36m")
        damage(root / "S9/MySegmentsMat/ground_truth_bb/Directions 1.60457274.mat")
        refused(lambda: opened(root, bbox="masks"), match)

    def test_a_cut_video(self, takes, tmp_path, s9_alone):
        """Half of its bytes: without its index it does not open, and what is said of a frame beyond its end is tested above."""
        layout.write_raw(tmp_path, [takes[9, 2, 1]], cameras=(3,))
        cut(tmp_path / "S9/Videos/Directions 1.60457274.mp4", 0.5)
        refused(lambda: opened(tmp_path, split="spin-p2"), "mp4 cannot be opened")

    @pytest.mark.parametrize(
        ("damage", "match"),
        [
            (lambda path: cut(path, 0.5), "is no npz"),
            (lambda path: flipped(path), "is no npz|is not a whole pickle"),
            (lambda path: np.savez(path, positions_2d=np.zeros(3)), "is no npz with 'positions_3d'"),
            (lambda path: path.write_bytes(b""), "is no npz"),
            (lambda path: path.unlink(), "No .*data_3d_h36m.npz; .* holds Release-v1.2"),
        ],
    )
    def test_npz(self, takes, tmp_path, damage, match):
        layout.write_npz(tmp_path, [takes[9, 2, 1]])
        damage(tmp_path / "data_3d_h36m.npz")
        refused(lambda: opened(tmp_path, H36MNpz), match)

    @pytest.mark.parametrize(
        ("damage", "match"),
        [
            (lambda path: cut(path, 0.5), "is no h5 file"),
            (lambda path: h5_of(path, np.zeros((51, 4))), r"shape \(51, 4\), expected \(96, frames\)"),
            (lambda path: h5_of(path, np.zeros((96, 0))), r"shape \(96, 0\), expected \(96, frames\) finite numbers of at least one"),
            (lambda path: h5_of(path, np.full((96, 4), np.nan)), "finite numbers"),
            (lambda path: h5_of(path, np.zeros((96, 4)), "poses"), "is no h5 file with '3D_positions'"),
            (lambda path: h5_of(path, np.array([b"a"] * 96)), "is no h5 file"),
            (lambda path: h5_of(path, np.zeros(3), "3D_positions/inner"), "is no h5 file"),
            (lambda path: path.rename(path.with_name("Dancing.h5")), "No S\\*/MyPoses|no sequence 'Dancing'"),
        ],
    )
    def test_martinez(self, takes, tmp_path, damage, match):
        layout.write_martinez(tmp_path, [takes[9, 2, 1]])
        damage(tmp_path / "S9/MyPoses/3D_positions/Directions 1.h5")
        refused(lambda: opened(tmp_path, H36MMartinez), match)

    @pytest.mark.parametrize("data", [b"", b'{"images": [', b"\xff\xfe", b"null", b"[" * 100_000])
    @pytest.mark.parametrize("kind", [H36MJson, H36MHybrik])
    def test_broken_json(self, takes, tmp_path, s9_alone, kind, data):
        if kind is H36MJson:
            layout.write_posenet(tmp_path, [takes[9, 2, 1]], centre=False)
        else:
            layout.write_hybrik(tmp_path, [takes[9, 2, 1]])
        (path,) = (path for path in tmp_path.glob("annotations/*") if "_data" in path.name or "_test_" in path.name)
        path.write_bytes(data)
        refused(lambda: opened(tmp_path, kind), r"annotations/.*(cannot be read as json|lacks images)")

    @pytest.mark.parametrize(
        ("key", "value", "match"),
        [
            ("h36m_joints", np.full((17, 3), np.nan).tolist(), "'h36m_joints' .*NaN or infinity"),
            ("h36m_joints", [[0.0] * 3] * 14, r"'h36m_joints' is missing or not of shape \(17, 3\)"),
            ("h36m_joints", "none", "'h36m_joints'"),
            ("cam_param", {"f": [1145.0, np.inf], "c": [512.0, 515.0]}, "'cam_param' .*NaN or infinity"),
            ("cam_param", None, "'cam_param'"),
        ],
    )
    def test_hybrik(self, takes, tmp_path, s9_alone, key, value, match):
        layout.write_hybrik(tmp_path, [takes[9, 2, 1]])
        (path,) = tmp_path.glob("annotations/*test*")
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            annotation[key] = value
        path.write_text(json.dumps(content))
        refused(lambda: opened(tmp_path, H36MHybrik), match)

    @pytest.mark.parametrize(
        ("key", "value", "match"),
        [
            (None, None, "is no annot.h5"),
            ("pose/2d", np.zeros((3, 17, 2)), r"pose/2d holds float64 \(3, 17, 2\), expected finite numbers"),
            ("pose/3d", np.full((4, 32, 3), np.nan), "pose/3d holds"),
            ("frame", np.array([b"one"] * 4), "frame holds"),
            ("frame", np.zeros(0), r"pose/3d holds .*at least one frame"),
            ("camera", np.full(4, 12345678), "holds frames of camera 12345678, expected 54138969"),
            ("intrinsics", np.zeros(4), "is no annot.h5"),
            ("pose/3d/inner", np.zeros(4), "is no annot.h5"),
        ],
    )
    def test_fetch(self, takes, tmp_path, s9_alone, key, value, match):
        layout.write_fetch(tmp_path, [takes[9, 2, 1]], step=64)
        path = tmp_path / "S9/Directions-1/annot.h5"
        if key is None:
            cut(path, 0.5)
        else:
            with h5py.File(path, "a") as file:
                del file[key.removesuffix("/inner")]
                file[key] = value
        refused(lambda: opened(tmp_path, H36MFetch), match)

    @pytest.mark.parametrize("kind", FORMS)
    def test_another_datasets_folder(self, tmp_path, kind):
        emptied(tmp_path / "3DPW", "imageFiles", "sequenceFiles")
        refused(lambda: opened(tmp_path / "3DPW", kind), r"(3DPW,? (which )?holds imageFiles, sequenceFiles|3DPW \(none\), expected one)")
        refused(lambda: opened(tmp_path / "3DPW/nowhere", kind), "No folder")
        (tmp_path / "file").write_text("no folder")
        refused(lambda: opened(tmp_path / "file", kind), "No folder")

    @pytest.mark.parametrize(
        ("rule", "damage", "match"),
        [
            ("", lambda root: shutil.rmtree(root), "No folder"),
            ("", lambda root: emptied(root, "imageFiles"), "which holds imageFiles"),
            ("", lambda root: cut(root / MONO, 0.5), "no CDF"),
            ("", lambda root: cut(root / FIRST, 700), "is broken"),
            ("", lambda root: (root / FIRST).unlink(), "pictures of s_09_act_02_subact_01_ca_04|No picture"),
            ('split = "tests"', lambda root: None, "Did you mean 'test'"),
            ('frames = "every-6th"', lambda root: None, "Did you mean 'every-"),
            ('bbox = "mask"', lambda root: None, "Did you mean 'masks'"),
            ('frames = "every-5th+drop-s11-damaged"\nsplit = "rootnet-p1-test"', lambda root: None, "No sequence of S11"),
        ],
    )
    def test_through_the_command(self, only_s9, run, tmp_path, rule, damage, match):
        damage(only_s9)
        keys = {"split": '"test"', "frames": '"every-5th"'} | dict(line.split(" = ") for line in rule.splitlines())
        text = "\n".join(f"{key} = {value}" for key, value in keys.items())
        (tmp_path / "mine.toml").write_text(
            f'name = "mine"\nversion = 1\nwhat = "w"\nsource = "s"\nbase = "h36m-p1-spin"\n[data]\n{text}\n'
        )
        status, out, err = run(
            "generate", "--protocol", "mine.toml", "--data", only_s9, "--body", "openhps", "--images", "--out", tmp_path / "out"
        )
        assert status == 1
        assert re.search(match, err)
        assert len([line for line in err.splitlines() if line.startswith("hpsbench: ")]) == 1
        assert "Traceback" not in err
        assert out == ""
        assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith((".part", "manifest.json"))]


def flipped(path):
    """A few bytes in the middle of a file are others."""
    data = bytearray(path.read_bytes())
    for i in range(len(data) // 2, len(data) // 2 + 40):
        data[i] ^= 0x5A
    path.write_bytes(data)


def h5_of(path, array, key="3D_positions"):
    with h5py.File(path, "w") as file:
        file[key] = array


def masks_of(path, image):
    """A file of one mask; None: that refers to nothing."""
    with h5py.File(path, "w") as file:
        masks = file.create_dataset("Masks", (1, 1), dtype=h5py.ref_dtype)
        if image is not None:
            masks[0, 0] = file.create_dataset("m", data=image).ref
