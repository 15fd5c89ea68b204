"""Poses of OpenHPS: rotation algebra, the stick figure, joint ranges, motion capture, activities and the tracks made of them."""

import importlib.util
import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsbench.datasets.openhps import activities, arms, figure, gait, limits, mocap, motion, quats, resting
from hpsbench.datasets.openhps.keys import Keys
from hpsbench.errors import DataError, MissingExtraError

needs_clips = pytest.mark.skipif(
    importlib.util.find_spec("pybullet_data") is None, reason="pybullet, the source of the clips, is not installed"
)
IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


def scipy_quats(seed: int, count: int = 50) -> tuple[Rotation, np.ndarray]:
    rotation = Rotation.from_quat(np.random.default_rng(seed).normal(size=(count, 4)))
    return rotation, rotation.as_quat()[:, [3, 0, 1, 2]]


def same_rotation(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(np.abs((a * b).sum(-1)) - 1).max() < 1e-9)


def rest_pose(count: int = 1) -> np.ndarray:
    return np.tile(IDENTITY, (count, 24, 1))


def speeds(rotvecs: np.ndarray, fps: float) -> np.ndarray:
    """Angular speed (N-1,24) rad/s of each joint."""
    pose = quats.from_rotvec(rotvecs)
    return fps * np.linalg.norm(quats.to_rotvec(quats.multiply(quats.conjugate(pose[:-1]), pose[1:])), axis=-1)


def tracks(count: int, n_frames: int = 30, fps: float = 30.0, split: str = "train") -> list[motion.MotionTrack]:
    return [motion.make_track(np.random.default_rng(i), n_frames, fps=fps, split=split) for i in range(count)]


class TestQuats:
    def test_against_scipy(self):
        (a, qa), (b, qb) = scipy_quats(0), scipy_quats(1)
        points = np.random.default_rng(2).normal(size=(50, 3))
        assert same_rotation(quats.multiply(qa, qb), (a * b).as_quat()[:, [3, 0, 1, 2]])
        np.testing.assert_allclose(quats.apply(qa, points), a.apply(points), atol=1e-12)
        np.testing.assert_allclose(quats.to_rotvec(qa), a.as_rotvec(), atol=1e-9)
        assert same_rotation(quats.from_rotvec(a.as_rotvec()), qa)
        columns = np.moveaxis(a.as_matrix(), -1, 0)
        assert same_rotation(quats.from_columns(*columns), qa)

    def test_small_angles_keep_their_digits(self):
        tiny = np.array([1e-12, -2e-12, 0.0])
        np.testing.assert_allclose(quats.to_rotvec(quats.from_rotvec(tiny)), tiny, rtol=1e-9)

    def test_slerp_goes_half_way(self):
        half = quats.slerp(quats.about("y", 0.2), quats.about("y", 1.0), np.array(0.5))
        np.testing.assert_allclose(quats.to_rotvec(half), [0, 0.6, 0], atol=1e-12)

    def test_swing_and_twist_compose(self):
        _, q = scipy_quats(3)
        axes = np.tile([0.0, 1.0, 0.0], (50, 1))
        swing, twist = quats.swing_twist(q, axes)
        np.testing.assert_allclose((swing * axes).sum(-1), 0, atol=1e-9)
        assert same_rotation(quats.multiply(quats.from_rotvec(swing), quats.from_rotvec(twist[:, None] * axes)), q)


class TestFigure:
    def test_rest_pose(self):
        joints, rotations = figure.forward(rest_pose())
        np.testing.assert_allclose(joints[0], figure.REST - figure.REST[0], atol=1e-12)
        assert 0.9 < -figure.lowest(joints, rotations)[0] < 0.95  # a pelvis of average height stands 93 cm above the ground

    def test_mirror_twice_is_identity_and_mirrors_joints(self):
        pose = quats.from_rotvec(np.random.default_rng(0).normal(0, 0.5, (3, 24, 3)))
        np.testing.assert_array_equal(figure.mirrored(figure.mirrored(pose)), pose)
        joints, seen = figure.forward(pose)[0], figure.forward(figure.mirrored(pose))[0]
        np.testing.assert_allclose(seen, joints[:, figure.MIRROR24] * [-1, 1, 1], atol=1e-12)

    def test_heading_takes_out_the_turn(self):
        root = quats.multiply(quats.about("y", 0.7), quats.about("x", 0.4))
        np.testing.assert_allclose(quats.to_rotvec(figure.heading(root)), [0, 0.7, 0], atol=1e-9)

    @pytest.mark.parametrize("target", [(0.1, -0.3, 0.2), (-0.2, -0.1, 0.3), (0.3, 0.2, 0.1)])
    def test_arm_reaches(self, target):
        pose = rest_pose()
        pose[0, 16], pose[0, 18] = figure.reaching_arm(np.array(target), np.array([0.5, -1.0, -0.3]))
        joints = figure.forward(pose)[0][0]
        np.testing.assert_allclose(joints[20] - joints[16], target, atol=1e-3)

    def test_arm_out_of_reach_is_stretched_towards_it(self):
        pose, target = rest_pose(), np.array([0.0, 0.6, 0.8])
        pose[0, 16], pose[0, 18] = figure.reaching_arm(target, np.array([1.0, 0.0, 0.0]))
        joints = figure.forward(pose)[0][0]
        np.testing.assert_allclose(joints[20] - joints[16], 0.99 * (figure.UPPER_ARM + figure.FOREARM) * target, atol=1e-3)

    def test_hand_in_the_belly_is_noticed(self):
        pose = rest_pose(2)
        pose[1, 16], pose[1, 18] = figure.reaching_arm(np.array([-0.15, -0.2, -0.03]), np.array([1.0, 0.0, 0.0]))
        depth = figure.penetration(*figure.forward(pose))
        assert depth[0] == 0
        assert depth[1] > 0.05


class TestLimits:
    def test_within_stays_and_beyond_is_brought_back(self):
        rng = np.random.default_rng(0)
        low, high = np.maximum(limits.LOW, -1.0), np.minimum(limits.HIGH, 1.0)
        inside = limits.from_coordinates(low + rng.random((20, 24, 3)) * (high - low))
        assert same_rotation(limits.clamp(inside), inside)
        clamped = limits.range_coordinates(limits.clamp(quats.from_rotvec(rng.normal(0, 1.0, (50, 24, 3)))))
        assert (clamped >= limits.LOW - 1e-9).all()
        assert (clamped <= limits.HIGH + 1e-9).all()

    def test_root_is_free(self):
        pose = rest_pose()
        pose[0, 0] = quats.about("x", 3.0)
        np.testing.assert_array_equal(limits.clamp(pose), pose)

    def test_knee_does_not_bend_forward(self):
        pose = rest_pose()
        pose[0, [4, 5]] = quats.about("x", np.array([-1.0, 1.0]))
        knees = quats.to_rotvec(limits.clamp(pose)[0, [4, 5]])[:, 0]
        np.testing.assert_allclose(knees, [np.radians(-5), 1.0], atol=1e-9)

    def test_ranges_are_symmetric(self):
        pose = quats.from_rotvec(np.random.default_rng(1).normal(0, 0.9, (10, 24, 3)))
        assert same_rotation(figure.mirrored(limits.clamp(pose)), limits.clamp(figure.mirrored(pose)))

    def test_ways_between_stay_within(self):
        rng = np.random.default_rng(2)
        ends = limits.clamp(quats.from_rotvec(rng.normal(0, 1.2, (2, 40, 24, 3))))
        way = limits.range_coordinates(limits.between(*ends, rng.random(40)))
        assert (way[:, 1:] >= limits.LOW[1:] - 1e-9).all()
        assert (way[:, 1:] <= limits.HIGH[1:] + 1e-9).all()


class TestKeys:
    def keys(self) -> Keys:
        pose = rest_pose(3)
        pose[:, 18] = quats.about("y", -np.array([0.0, 1.0, 1.0]))
        return Keys(np.array([0.0, 2.0, 3.0]), pose, np.array([[0.0, 0], [0, 1], [0, 1]]), np.zeros(3), np.array([True, True]))

    def test_minimum_jerk_and_held_ends(self):
        pose, place, _ = self.keys().at(np.array([-1.0, 0.5, 1.0, 9.0]))
        share = np.array([0.0, 0.25**3 * (10 - 15 * 0.25 + 6 * 0.25**2), 0.5, 1.0])
        np.testing.assert_allclose(quats.to_rotvec(pose[:, 18])[:, 1], -share, atol=1e-12)
        np.testing.assert_allclose(place[:, 1], share, atol=1e-12)

    def test_followed_by_goes_on_where_it_ended(self):
        turned = self.keys().moved(quats.about("y", np.pi / 2), np.zeros(2))
        both = turned.followed_by(self.keys(), seconds=0.5, forward=1.0)
        assert both.duration == pytest.approx(6.5)
        np.testing.assert_allclose(both.place[[2, 3, 5]], [[1, 0], [2, 0], [3, 0]], atol=1e-9)

    def test_mirrored_twice(self):
        keys = self.keys()
        np.testing.assert_array_equal(keys.mirrored().mirrored().pose, keys.pose)


class TestMocap:
    def test_convert_known_frame(self):
        """Arms hanging, left elbow bent by 90 degrees, right knee by 60, standing at x = 1 (ahead), z = 2 (right)."""
        frame = np.zeros((1, 44))
        frame[0, 1:4] = 1.0, 0.9, 2.0
        frame[0, [4, 8, 12, 16, 21, 25, 30, 35, 39]] = 1.0
        frame[0, 43], frame[0, 20] = np.pi / 2, -np.pi / 3
        pose, root = mocap.convert(frame)
        joints = figure.forward(pose)[0][0]
        np.testing.assert_allclose(root, [[-2.0, 0.9, 1.0]])
        np.testing.assert_allclose(joints[18] - joints[16], [0, -0.266, 0], atol=1e-9)
        np.testing.assert_allclose(joints[20] - joints[18], [0, 0, 0.237], atol=1e-9)
        np.testing.assert_allclose(joints[21] - joints[19], [0, -0.237, 0], atol=1e-9)
        np.testing.assert_allclose(quats.to_rotvec(pose[0, 5]), [np.pi / 3, 0, 0], atol=1e-9)

    @needs_clips
    def test_clips_stand_on_the_ground(self):
        walk = mocap.clips()["walk"]
        assert len(walk.times) == 39
        assert walk.place[-1, 1] > 1.0  # one cycle leads more than a metre ahead
        assert walk.clearance.max() < 0.05
        assert 0.2 < mocap.clips()["backflip"].clearance.max() < 1.0

    @needs_clips
    def test_closed_cycle_repeats(self):
        cycle = mocap.segment("walk", mocap.SEGMENTS["walk"]["test"][0])
        assert same_rotation(cycle.pose[0], cycle.pose[-1])
        assert abs(cycle.place[-1, 0]) < 0.02

    def test_segments_of_the_splits_are_disjoint(self):
        for name, parts in mocap.SEGMENTS.items():
            spans = sorted(parts["train"] + parts["test"])
            assert all(0 <= first < last <= 1 for first, last in spans), name
            assert all(after[0] - before[1] >= 0.05 for before, after in itertools.pairwise(spans)), name
        for cycle in mocap.CYCLES:
            assert not (mocap.SEGMENTS[cycle]["train"] and mocap.SEGMENTS[cycle]["test"])

    @needs_clips
    def test_no_test_pose_is_a_train_pose(self):
        """No frame of a test segment comes within a mean joint distance of 3 cm of a train frame or its mirror image."""

        def joints(split):
            parts = [mocap.segment(name, part).pose for name, parts in mocap.SEGMENTS.items() for part in parts[split]]
            pose = np.concatenate([*parts, *map(figure.mirrored, parts)] if split == "train" else parts)
            pose[:, 0] = quats.multiply(quats.conjugate(figure.heading(pose[:, 0])), pose[:, 0])
            return figure.forward(pose)[0]

        train, test = joints("train"), joints("test")[::4]
        assert min(np.linalg.norm(train - pose, axis=-1).mean(axis=1).min() for pose in test) > 0.03

    def test_missing_pybullet_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        mocap.clips.cache_clear()
        with pytest.raises(MissingExtraError, match=r"'pybullet'.*hpsbench\[openhps\]"):
            motion.make_track(np.random.default_rng(0), 2)

    def test_broken_clip(self, tmp_path, monkeypatch):
        monkeypatch.setattr(mocap, "clips_folder", lambda: tmp_path)
        (tmp_path / "humanoid3d_run.txt").write_text("{}")
        mocap.clips.cache_clear()
        with pytest.raises(DataError, match=r"humanoid3d_run\.txt.*Reinstall pybullet"):
            mocap.clips()


class TestActivities:
    @pytest.mark.parametrize("name", [*activities.ACTIVITIES, *resting.RESTING])
    def test_long_enough_and_within_ranges(self, name):
        make = resting.resting_keys if name in resting.RESTING else activities.activity_keys
        keys = make(np.random.default_rng(0), name, 4.0)
        assert keys.duration >= 4.0
        assert (np.diff(keys.times) > 0).all()
        coordinates = limits.range_coordinates(keys.pose)
        assert (coordinates >= limits.LOW - 1e-9).all()
        assert (coordinates <= limits.HIGH + 1e-9).all()

    def test_legs_reach_the_ankles(self):
        root = quats.from_rotvec(np.array([0.3, 0.1, -0.05]))
        ankles = np.array([[0.12, -0.6, 0.3], [-0.15, -0.7, -0.1]])
        pose = rest_pose()
        pose[0, 0] = root
        feet = np.tile(IDENTITY, (2, 1))
        pose[0, [1, 2, 4, 5, 7, 8]] = activities.legs_to(root, ankles, np.tile([0.0, 0.0, 1.0], (2, 1)), feet).reshape(6, 4)
        joints, rotations = figure.forward(pose)
        np.testing.assert_allclose(joints[0, [7, 8]], ankles, atol=2e-3)
        assert same_rotation(rotations[0, [7, 8]], feet)

    def test_sitting_faces_ahead_and_squatting_is_low(self):
        sitting = activities.activity_keys(np.random.default_rng(1), "sit", 0.0).pose[:1]
        joints, rotations = figure.forward(sitting)
        assert (joints[0, [4, 5], 2] > 0.25).all()  # the knees are before the pelvis
        assert 0.35 < -figure.lowest(joints, rotations)[0] < 0.65

    def test_collars_help_raised_arms_only(self):
        pose = rest_pose(2)
        pose[:, 16] = quats.about("z", np.array([-1.4, 1.2]))
        shared = arms.shrugged(pose)
        angles = np.linalg.norm(quats.to_rotvec(shared[:, 13]), axis=-1)
        assert angles[0] == pytest.approx(0, abs=1e-9)
        assert angles[1] == pytest.approx(0.3 * 1.5, abs=1e-9)
        np.testing.assert_allclose(figure.forward(shared)[1][:, 18], figure.forward(pose)[1][:, 18], atol=1e-12)

    def test_gait_moves_on_without_sliding(self):
        keys = gait.gait_keys(np.random.default_rng(3), 3.0)
        assert np.linalg.norm(keys.place[-1] - keys.place[0]) > 0.5
        ankles = figure.forward(keys.pose)[0][:, [7, 8]] + np.insert(keys.place, 1, 0.0, axis=1)[:, None]
        lower = ankles[:-1, :, 1].argmin(axis=1)
        slides = np.diff(ankles[..., [0, 2]], axis=0)[np.arange(len(lower)), lower]
        np.testing.assert_allclose(slides, 0, atol=1e-9)


@needs_clips
class TestTracks:
    @pytest.mark.parametrize(("n_frames", "fps"), [(1, 30.0), (2, 2.0), (45, 30.0)])
    def test_shapes(self, n_frames, fps):
        for track in tracks(15, n_frames, fps):
            assert track.rotvecs.shape == (n_frames, 24, 3)
            assert track.trans.shape == (n_frames, 3)
            assert track.rotvecs.dtype == track.trans.dtype == np.float64
            assert np.isfinite(track.rotvecs).all()
            assert np.isfinite(track.trans).all()
            np.testing.assert_allclose(track.trans[0, [0, 2]], 0, atol=1e-12)

    def test_deterministic_and_blind_to_global_state(self):
        first = motion.make_track(np.random.default_rng(5), 12, fps=5.0)
        np.random.seed(1)
        second = motion.make_track(np.random.default_rng(5), 12, fps=5.0)
        np.testing.assert_array_equal(first.rotvecs, second.rotvecs)
        np.testing.assert_array_equal(first.trans, second.trans)
        assert first.label == second.label

    def test_splits_draw_apart(self):
        pairs = zip(tracks(20, 2), tracks(20, 2, split="test"), strict=True)
        assert all(np.abs(a.rotvecs - b.rotvecs).max() > 0.05 for a, b in pairs)

    @pytest.mark.parametrize("split", motion.SPLITS)
    def test_smooth_and_within_ranges(self, split):
        for track in tracks(60, split=split):
            everyday = not any(clip in track.label for clip in mocap.SEGMENTS)
            fastest = speeds(track.rotvecs, 30.0).max()
            assert fastest < (16.0 if everyday else 40.0), track.label
            coordinates = limits.range_coordinates(quats.from_rotvec(track.rotvecs))
            assert (coordinates >= limits.LOW - 1e-6).all(), track.label
            assert (coordinates <= limits.HIGH + 1e-6).all(), track.label
            assert np.linalg.norm(np.diff(track.trans, axis=0), axis=1).max() < 0.3, track.label

    def test_three_of_four_are_everyday_and_vary(self):
        labels = [track.label.split(" + ")[0] for track in tracks(300, 1)]
        everyday = np.mean([name not in mocap.SEGMENTS or name == "walk" for name in labels])
        assert 0.66 < everyday < 0.84
        assert len(set(labels)) > 18

    def test_people_stand_on_the_ground(self):
        for track in tracks(40, 5, 5.0):
            joints, rotations = figure.forward(quats.from_rotvec(track.rotvecs))
            ground = figure.lowest(joints, rotations) + track.trans[:, 1]
            assert ground.min() > -1e-9, track.label
            assert ground.max() < 1.0, track.label

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="No split 'val'"):
            motion.make_track(np.random.default_rng(0), 3, split="val")
        with pytest.raises(ValueError, match="0 frames"):
            motion.make_track(np.random.default_rng(0), 0)
        with pytest.raises(ValueError, match="0 frames a second"):
            motion.make_track(np.random.default_rng(0), 3, fps=0)
