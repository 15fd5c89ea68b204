"""OpenHPS: scenes, annotations, files and the embedded set. No OpenGL is needed but for the pictures, no pybullet anywhere."""

import io
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.openhps import OpenHPS, appearance, make, people, textures
from hpsbench.datasets.openhps.annotate import annotations
from hpsbench.datasets.openhps.make import make_openhps, outlines
from hpsbench.datasets.openhps.motion import MotionTrack, make_track
from hpsbench.datasets.openhps.picture import Stage, picture
from hpsbench.datasets.openhps.scene import Outline, draw_scene, outline_of
from hpsbench.datasets.openhps.writer import python2_pickle
from hpsbench.errors import HpsbenchError, MissingExtraError, UnknownNameError
from hpsbench.image import read_image
from hpsbench.render import gl_platform
from hpsbench.safeload import load_pickle
from hpsbench.seeds import rng_of
from hpsbench.skeleton import joint_index

DATA = Path(OpenHPS.default_root()).parent


def strolling(rng, n_frames, *, fps, split):
    """A stand-in for the motions: someone who glides along with arms down, a little differently for every draw."""
    rotvecs = np.zeros((n_frames, 24, 3))
    rotvecs[:, 16, 2], rotvecs[:, 17, 2] = -1.2, 1.2
    rotvecs[:, 0, 1] = rng.uniform(-3, 3)
    rotvecs[:, [4, 5], 0] = 0.5 + 0.4 * np.sin(np.arange(n_frames) / fps * 6)[:, None]
    velocity = np.array([rng.normal(scale=0.3), 0, rng.normal(scale=0.3)])
    trans = np.arange(n_frames)[:, None] / fps * velocity + np.array([0, 0.95, 0])
    return MotionTrack(rotvecs, trans, "sit" if rng.random() < 0.2 else split)


@pytest.fixture(autouse=True)
def motions(monkeypatch):
    monkeypatch.setattr(people, "make_track", strolling)


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None)


@pytest.fixture(scope="module")
def stage(bodies):
    return Stage(bodies)


@pytest.fixture(scope="module")
def scene(bodies):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "make_track", strolling)
        return draw_scene(two_people(), bodies)


@pytest.fixture(scope="module")
def record(scene, stage, bodies):
    return annotations(scene, stage, bodies)


@pytest.fixture(scope="module")
def mini():
    return OpenHPS(OpenHPS.default_root(), split="test", frames="all", bbox="joints-in-image", bbox_scale=1.2, bodies=load_bodies(None))


def two_people(index: int = 0) -> Outline:
    return Outline(seed=3, split="train", index=index, people=2, frames=3, fps=4.0, size=(960, 540))


class TestOutlines:
    def test_a_larger_set_holds_the_smaller_one(self):
        few, many = (list(outlines(n, seed=5, split="train")) for n in (60, 200))
        assert many[: len(few)] == few
        assert sum(o.people * o.frames for o in few) >= 60 > sum(o.people * o.frames for o in few[:-1])

    def test_names_tell_seed_split_and_index(self):
        names = {outline_of(seed, split, i).name for seed in (1, 2) for split in ("train", "test") for i in (0, 1)}
        assert len(names) == 8

    def test_the_test_split_has_both_orientations_and_pairs(self):
        found = [outline_of(0, "test", i) for i in range(6)]
        assert {o.size for o in found} == {(960, 540), (540, 960)}
        assert [o.people for o in found] == [2, 2, 1, 2, 2, 1]
        assert all(o.frames >= 24 for o in found)


class TestScene:
    def test_the_words_alone_decide(self, bodies, stage):
        first, again = (python2_pickle(annotations(draw_scene(two_people(), bodies), stage, bodies)) for _ in range(2))
        other = python2_pickle(annotations(draw_scene(two_people(1), bodies), stage, bodies))
        assert first == again
        assert first != other

    def test_people_stand_on_the_floor_and_apart(self, bodies):
        scene = draw_scene(two_people(), bodies)
        for person in scene.people:
            assert person.vertices[..., 1].min() == pytest.approx(0, abs=0.01)
            assert person.vertices[..., 1].min(1).max() < 0.1
        gaps = np.linalg.norm((scene.people[0].joints[:, 0] - scene.people[1].joints[:, 0])[:, [0, 2]], axis=1)
        assert gaps.min() > 0.5

    def test_cameras_see_the_people_the_right_way_up(self, bodies):
        scene = draw_scene(two_people(), bodies)
        for view in scene.views:
            np.testing.assert_allclose(view[:3, :3] @ view[:3, :3].T, np.eye(3), atol=1e-12)
            assert np.linalg.det(view[:3, :3]) == pytest.approx(1)
            joints = scene.people[0].joints[0] @ view[:3, :3].T + view[:3, 3]
            assert joints[0, 2] > 1
            assert joints[joint_index("smpl24", "head"), 1] < joints[joint_index("smpl24", "left_ankle"), 1]

    def test_blocks_are_closed_boxes_with_outward_normals(self, bodies):
        blocks = [block for i in range(4) for block in draw_scene(two_people(i), bodies).blocks]
        assert blocks
        for block in blocks:
            vertices, faces, normals = block.mesh()
            assert ((vertices - block.centre) * normals).sum(1).min() > 0
            a, b, c = (vertices[faces[:, k]] for k in range(3))
            turned = np.einsum("fi,fi->f", np.cross(b - a, c - a), normals[faces[:, 0]])
            assert turned.min() > 0
            np.testing.assert_allclose(turned.sum() / 2, 8 * (block.half * np.roll(block.half, 1)).sum(), rtol=1e-9)


class TestAnnotations:
    def test_shapes(self, record):
        assert record["img_frame_ids"].tolist() == [0, 2, 4]
        shapes = {key: [np.shape(one) for one in record[key]] for key in ("poses", "trans", "poses_60Hz", "jointPositions", "poses2d")}
        assert shapes == {
            "poses": [(3, 72)] * 2, "trans": [(3, 3)] * 2, "poses_60Hz": [(6, 72)] * 2,
            "jointPositions": [(3, 72)] * 2, "poses2d": [(3, 3, 18)] * 2,
        }  # fmt: skip
        assert {len(betas) for betas in record["betas"]} <= {10, 300}
        assert all((betas[10:] == 0).all() for betas in record["betas"])
        assert set(record["genders"]) <= {"m", "f"}

    def test_images_are_every_second_moment(self, record):
        for key in ("poses", "trans"):
            for slow, fast in zip(record[key], record[f"{key}_60Hz"], strict=True):
                np.testing.assert_array_equal(slow, fast[::2])

    def test_joint_positions_are_the_gendered_body_s(self, record):
        exact = load_bodies(None, dtype=torch.float64)
        for k, gender in enumerate(record["genders"]):
            output = exact[{"m": "male", "f": "female"}[gender]](
                torch.from_numpy(record["betas"][k][None, :10]).expand(3, -1),
                rotvecs=torch.from_numpy(record["poses"][k].reshape(3, 24, 3)),
                trans=torch.from_numpy(record["trans"][k]),
            )
            np.testing.assert_allclose(output.joints.numpy().reshape(3, 72), record["jointPositions"][k], atol=1e-6)

    def test_the_world_is_turned_but_the_picture_is_not(self, scene, record):
        for frame in range(3):
            R, t = record["cam_poses"][frame, :3, :3], record["cam_poses"][frame, :3, 3]
            world = record["jointPositions"][0][frame].reshape(24, 3) @ R.T + t
            stage_frame = scene.people[0].joints[2 * frame] @ scene.views[frame, :3, :3].T + scene.views[frame, :3, 3]
            np.testing.assert_allclose(world, stage_frame, atol=1e-9)
        assert np.abs(scene.world[:3, :3] - np.eye(3)).max() > 0.01

    def test_detections_lie_near_the_projected_joints(self, record):
        K = record["cam_intrinsics"]
        seen = 0
        for k in range(2):
            for frame in range(3):
                R, t = record["cam_poses"][frame, :3, :3], record["cam_poses"][frame, :3, 3]
                joints = (record["jointPositions"][k][frame].reshape(24, 3) @ R.T + t) @ K.T
                x, y, confidence = record["poses2d"][k][frame]
                for name in ("left_knee", "right_wrist", "left_ankle"):
                    o, j = joint_index("openpose18", name), joint_index("smpl24", name)
                    if confidence[o] > 0:
                        seen += 1
                        assert np.hypot(x[o] - joints[j, 0] / joints[j, 2], y[o] - joints[j, 1] / joints[j, 2]) < 25
                assert ((x == 0) & (y == 0))[confidence == 0].all()
        assert seen > 5

    def test_what_somebody_hides_is_not_detected(self, scene, stage, bodies):
        front, back = scene.people[0], scene.people[1]
        eye = -scene.views[0, :3, :3].T @ scene.views[0, :3, 3]
        away = front.joints[0, 0] - eye
        shift = front.joints[0, 0] + away / np.linalg.norm(away) * 1.0 - back.joints[0, 0]
        shift[1] = 0
        moved = type(back)(**{**vars(back), "joints": back.joints + shift, "vertices": (back.vertices + shift).astype(np.float32)})
        lined_up = type(scene)(**{**vars(scene), "people": [front, moved], "blocks": []})
        free = type(scene)(**{**vars(scene), "people": [moved], "looks": scene.looks[1:], "blocks": []})
        behind = annotations(lined_up, stage, bodies)["poses2d"][1][0, 2]
        alone = annotations(free, stage, bodies)["poses2d"][0][0, 2]
        assert (behind > 0).sum() < (alone > 0).sum()

    def test_few_detections_are_none(self, scene, stage, bodies):
        far_left = scene.intrinsics - np.array([[0, 0, 1e4], [0, 0, 0], [0, 0, 0]])
        record = annotations(type(scene)(**{**vars(scene), "intrinsics": far_left}), stage, bodies)
        assert all((found == 0).all() for found in record["poses2d"])


RECORD = {"sequence": "walk_00", "poses": [np.arange(300.0).reshape(100, 3)], "genders": ["m"], "valid": np.array([1, 0]), "n": None}


class TestPython2Pickle:
    def test_it_needs_an_encoding_as_real_files_do(self):
        data = python2_pickle(RECORD)
        with pytest.raises(UnicodeDecodeError):
            pickle.loads(data)
        record = pickle.loads(data, encoding="latin1")
        np.testing.assert_array_equal(record["poses"][0], RECORD["poses"][0])
        assert record["genders"] == ["m"]
        assert sorted(pickle.loads(data, encoding="bytes"))[0] == b"genders"

    def test_only_python_2_s_opcodes_and_numpy_s_old_names(self):
        found = list(pickletools.genops(io.BytesIO(python2_pickle(RECORD))))
        names = {opcode.name for opcode, _, _ in found}
        assert not {name for name in names if "UNICODE" in name or "BINBYTES" in name or "FRAME" in name}
        assert {"SHORT_BINSTRING", "BINSTRING"} <= names
        asked = {argument for opcode, argument, _ in found if opcode.name == "GLOBAL"}
        assert asked == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}

    def test_our_own_safe_loader_reads_it(self, tmp_path):
        path = tmp_path / "walk_00.pkl"
        path.write_bytes(python2_pickle(RECORD))
        assert load_pickle(path)["sequence"] == "walk_00"


class TestMake:
    @pytest.fixture(autouse=True)
    def plain(self, monkeypatch):
        """Grey pictures and no OpenGL; three short sequences."""
        monkeypatch.setattr(make, "gl_platform", lambda: "egl")
        monkeypatch.setenv("PYOPENGL_PLATFORM", "egl")
        self.painted = []

        def grey(scene, stage, frame):
            self.painted.append((scene.outline.name, frame))
            return np.full((*scene.outline.size[::-1], 3), 128, np.uint8)

        monkeypatch.setattr(make, "picture", grey)

    @staticmethod
    def files(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    def test_the_layout_is_read_by_the_loader(self, tmp_path, bodies):
        seen = []
        made = make_openhps(tmp_path, people=20, seed=4, workers=1, progress=lambda *place: seen.append(place))
        data = OpenHPS(tmp_path, split="train", frames="all", bbox="joints-in-image", bbox_scale=1.2, bodies=bodies)
        assert made == data.counts.total >= 20
        assert seen[0] == (0, made)
        assert seen[-1] == (made, made)
        assert data[0].view.read().shape[:2] == data[0].image_size[::-1]

    def test_a_killed_run_goes_on(self, tmp_path, monkeypatch):
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        make_openhps(whole, people=30, seed=4, workers=1)
        self.painted.clear()
        fake = make.picture

        def dies(scene, stage, frame):
            if len(self.painted) == 10:
                raise KeyboardInterrupt
            return fake(scene, stage, frame)

        monkeypatch.setattr(make, "picture", dies)
        with pytest.raises(KeyboardInterrupt):
            make_openhps(broken, people=30, seed=4, workers=1)
        ended = {path.stem for path in (broken / "sequenceFiles" / "train").iterdir()}
        monkeypatch.setattr(make, "picture", fake)
        self.painted.clear()
        make_openhps(broken, people=30, seed=4, workers=1)
        assert not ended & {name for name, _ in self.painted}
        assert self.files(broken) == self.files(whole)

    def test_a_finished_set_is_left_alone(self, tmp_path):
        make_openhps(tmp_path, people=8, seed=4, workers=1)
        self.painted.clear()
        make_openhps(tmp_path, people=8, seed=4, workers=1)
        assert self.painted == []

    def test_no_opengl_leaves_nothing(self, tmp_path, monkeypatch):
        def none():
            raise HpsbenchError("No OpenGL to render with off screen. On Debian install libegl1")

        monkeypatch.setattr(make, "gl_platform", none)
        with pytest.raises(HpsbenchError, match="libegl1"):
            make_openhps(tmp_path / "out", people=8, workers=1)
        assert not (tmp_path / "out").exists()

    def test_a_worker_s_error_arrives_whole(self):
        for error in (MissingExtraError("pybullet", "openhps", "Motion"), UnknownNameError("tset", "split", ["test"]), HpsbenchError("no")):
            arrived = pickle.loads(pickle.dumps(error))
            assert type(arrived) is type(error)
            assert str(arrived) == str(error)

    def test_unknown_split(self, tmp_path):
        with pytest.raises(UnknownNameError, match=r"'tset'.*Did you mean 'test'"):
            make_openhps(tmp_path, people=8, split="tset")


class TestLooks:
    def test_colours_of_every_point_are_colours(self, stage):
        for k in range(6):
            look = appearance.draw_look(rng_of("look", k), ("male", "female")[k % 2])
            colours = appearance.albedo(look, stage.rest)
            assert colours.shape == (6890, 3)
            assert 0 <= colours.min() <= colours.max() <= 1
            assert 0 <= appearance.thickness(look, stage.rest).min() <= appearance.thickness(look, stage.rest).max() < 0.03

    def test_hands_and_nose_are_skin_and_feet_are_shod(self, stage):
        look = appearance.draw_look(rng_of("look", 0), "male")
        nose, toe = stage.rest[[332]], stage.rest[[3216]]
        np.testing.assert_allclose(appearance.albedo(look, nose)[0] / look.skin, 1, atol=0.1)
        np.testing.assert_allclose(appearance.albedo(look, toe)[0] / look.shoe, 1, atol=0.25)

    def test_every_pattern_is_a_picture(self):
        for k in range(24):
            pattern = textures.pattern(rng_of("pattern", k), 64, shares=tuple(float(i == k % 6) for i in range(6)))
            assert pattern.shape == (64, 64, 3)
            assert pattern.dtype == np.float32
            assert 0 <= pattern.min() <= pattern.max() <= 1

    def test_normals_point_outward(self, stage):
        turned = Rotation.from_euler("xyz", [0.3, 1, 2]).as_matrix()
        normals = stage.normals(stage.rest @ turned.T) @ turned
        ids = {"crown": (411, 1, 1), "left finger": (2445, 0, 1), "right finger": (5905, 0, -1), "nose": (332, 2, 1)}
        for vertex, axis, sign in ids.values():
            assert normals[vertex, axis] * sign > 0.3


class TestPicture:
    def test_people_are_where_their_annotations_say(self, bodies, stage):
        try:
            gl_platform()
        except (HpsbenchError, MissingExtraError) as error:
            pytest.skip(str(error))
        scene = draw_scene(two_people(), bodies)
        image = picture(scene, stage, 0)
        assert image.shape == (540, 960, 3)
        empty = picture(type(scene)(**{**vars(scene), "people": [], "looks": []}), stage, 0)
        changed = np.abs(image.astype(int) - empty).max(-1) > 12
        for found in annotations(scene, stage, bodies)["poses2d"]:
            x, y, confidence = found[0]
            inner = (confidence > 0) & (np.arange(18) < 14)
            assert changed[y[inner].astype(int), x[inner].astype(int)].mean() > 0.7
        np.testing.assert_array_equal(picture(scene, stage, 0), image)


class TestEmbeddedSet:
    def test_it_is_as_large_as_promised_and_no_larger(self, mini):
        assert mini.counts.total == 240
        samples = [mini[i] for i in range(len(mini))]
        tracks = {sample.id.rsplit("/", 2)[0] + sample.id[-1] for sample in samples}
        assert len(tracks) == 10
        assert len({sample.sequence for sample in samples}) == 6
        assert {sample.image_size for sample in samples} == {(960, 540), (540, 960)}
        assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 9_000_000

    def test_tracks_have_24_frames_in_a_row(self, mini):
        by_track: dict[str, list[int]] = {}
        for i in range(len(mini)):
            by_track.setdefault(mini[i].track, []).append(mini[i].frame)
        assert all(frames == list(range(24)) for frames in by_track.values())

    def test_people_hide_one_another_in_several_sequences(self, mini):
        hiding = set()
        for i in range(len(mini)):
            sample = mini[i]
            joints2d, found = sample.truth.joints2d, sample.truth.keypoints2d[8:14, 2] > 0
            legs = joints2d[[2, 5, 8, 1, 4, 7]]
            inside = ((legs > 20) & (legs < np.array(sample.image_size) - 20)).all(1)
            if (inside & ~found).sum() >= 2:
                hiding.add(sample.sequence)
        assert len(hiding) >= 2

    def test_images_decode(self, mini):
        sample = mini[0]
        assert read_image(next(DATA.glob("mini/imageFiles/*/image_00000.jpg"))).std() > 10
        assert sample.view.read().shape == (*sample.image_size[::-1], 3)

    def test_it_is_what_the_card_says_it_was_made_by(self, monkeypatch, bodies, stage):
        pytest.importorskip("pybullet_data", reason="pybullet, the source of the motions, is not installed")
        monkeypatch.setattr(people, "make_track", make_track)
        made = annotations(draw_scene(outline_of(1, "test", 2), bodies), stage, bodies)
        kept = load_pickle(DATA / "mini" / "sequenceFiles" / "test" / "openhps_test_s1_00002.pkl")
        assert kept.keys() == made.keys()
        # Sums of float32 differ between processors, and with them where the lowest vertex is.
        for key in ("poses", "trans", "jointPositions", "cam_poses", "cam_intrinsics", "campose_valid"):
            np.testing.assert_allclose(np.array(kept[key]), np.array(made[key]), atol=3e-4, err_msg=key)
        assert (np.abs(np.array(kept["poses2d"]) - made["poses2d"]).max(2) < 1).mean() > 0.98

    def test_truth_is_the_body_s(self, mini, bodies):
        for i in range(0, len(mini), 37):
            truth = mini[i].truth
            body = load_bodies(None, dtype=torch.float64)[truth.gender]
            output = body(*(torch.from_numpy(v)[None] for v in (truth.betas,)), rotvecs=torch.from_numpy(truth.rotvecs)[None])
            np.testing.assert_allclose(output.joints[0].numpy() + truth.trans, truth.joints, atol=2e-6)
