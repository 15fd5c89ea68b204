"""`hpsbench check data` finds each fault that is planted in a written layout, names it, and finds none in the sound one.

Which fault is planted in which layout, and why not in the others:

    fault                    3dpw  agora       3doh        h36m  3dhp               emdb
    a missing sequence       yes   an image    an image    yes   yes                yes: against the quoted number
    swapped legs             yes   yes         yes         yes   yes                in 2D: it has no joints in 3D
    centimetres for metres   yes   yes         yes         yes   yes                yes
    wrong extrinsics         yes   no          yes         yes   yes, train: (1)    yes
    a truncated image        yes   yes         yes         yes   yes                yes
    a shifted frame index    yes   no frames   no frames   yes   yes                yes
    the other leg order      yes: of the regressor beside the bodies; h36m-hybrik: of the joints in the file

AGORA's joints come in the camera's frame and its cameras are not read. (1) 3DHP's test set has no cameras: they are fitted, and 3D and 2D
that no camera joins are told.
"""

import json
import pickle
import shutil
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
import torch
from fakes import FakeDataset
from layouts import agora, emdb, h36m, mpi_inf_3dhp, threedoh
from writers.threedpw import Miniature, make_record, python2_pickle, write_miniature

from hpsbench.body.bodies import load_bodies
from hpsbench.check import check_data
from hpsbench.check.seen import places_looked_at
from hpsbench.datasets.base_h36m import H36MLayout
from hpsbench.datasets.base_h36m_names import SUBSETS, Subset
from hpsbench.datasets.base_mpi_inf_3dhp import SUBSETS as SUBSETS_3DHP
from hpsbench.datasets.threedpw import ThreeDPW
from hpsbench.errors import HpsbenchError
from hpsbench.skeleton import JOINT_NAMES, mirror

# What is said of a layout that is sound, but not all of the dataset.
_ONLY_SMALL = ("are published", "clips annotated", "of 6 sequences")
_LEGS = ("hip", "knee", "ankle", "foot", "toe")
FRAMES = 8


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


def exchanged(skeleton, parts):
    """Indices that exchange left and right in the joints that name one of ``parts``."""
    names = JOINT_NAMES[skeleton]
    return [other if any(part in names[i] for part in parts) else i for i, other in enumerate(mirror(skeleton))]


def faults(report):
    """The errors, without those that only say how much is missing of the published whole."""
    return [text for level, text in report.lines if level == "error" and not any(words in text for words in _ONLY_SMALL)]


def upright(bodies, seed, frames=1, **turn):
    """(rotvecs (F, 24, 3), betas (10,), output) of somebody with bent knees in a pose that changes a little."""
    rng = np.random.default_rng(seed)
    rotvecs = rng.normal(0, 0.12, (24, 3)) + rng.normal(0, 0.04, (frames, 24, 3))
    rotvecs[:, 4:6, 0] += 0.5
    rotvecs[:, 0] = turn.get("root", (0.0, 0.0, 0.0))
    betas = rng.normal(0, 0.5, 10)
    trans = torch.tensor(turn.get("trans", (0.0, 0.0, 0.0)), dtype=torch.float64).expand(frames, 3)
    output = bodies.neutral(torch.from_numpy(np.tile(betas, (frames, 1))), rotvecs=torch.from_numpy(rotvecs), trans=trans)
    return rotvecs, betas, output


def rigid(degrees, shift):
    """(4, 4): a turn about a slanted axis, then a shift m."""
    pose = np.eye(4)
    axis = np.array([2.0, 1.0, 2.0]) / 3
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(np.radians(degrees) * axis)[0], shift
    return pose


MINIATURES = (
    Miniature("downtown_pair_00", "test", FRAMES, (192, 108), ("m", "f"), np.array([[-0.5, 0.1, 4.0], [0.6, 0.0, 5.0]]), (300, 10)),
    Miniature("downtown_one_00", "test", FRAMES, (192, 108), ("f",), np.array([[0.2, 0.0, 4.0]]), (10,)),
    Miniature("courtyard_one_00", "train", 2, (192, 108), ("m",), np.array([[-0.5, 0.1, 4.0]]), (300,)),
    Miniature("outdoors_one_00", "validation", 2, (192, 108), ("f",), np.array([[0.6, 0.0, 5.0]]), (10,)),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory, bodies):
    root = tmp_path_factory.mktemp("3dpw")
    write_miniature(root, bodies, MINIATURES)
    return root


@pytest.fixture
def copy(written, tmp_path, monkeypatch):
    """A 3DPW whose published list is what was written, for a test that damages it."""
    known = {
        split: {mini.name: (len(mini.genders), mini.images) for mini in MINIATURES if mini.split == split} for split in ThreeDPW.splits
    }
    monkeypatch.setattr(ThreeDPW, "known", known)
    monkeypatch.setattr(ThreeDPW, "known_valid", {})
    return shutil.copytree(written, tmp_path / "3DPW")


def damage(root, bodies, change):
    """Rewrites downtown_pair_00 with its record changed."""
    record, _ = make_record(MINIATURES[0], bodies)
    change(record)
    (root / "sequenceFiles/test/downtown_pair_00.pkl").write_bytes(python2_pickle(record))


class TestThreeDPW:
    def test_sound(self, copy, bodies):
        report = check_data("3dpw", copy, bodies)
        assert report.ok, str(report)
        text = str(report)
        assert "test: projected joints are 0.0 px (median) and 0.0 px (worst) from the 2D annotation" in text
        assert "test: left and right as the bodies tell them in 2 of 2 sequences" in text
        assert "image files: 20 of 20 end as whole ones do" in text
        assert "test: thighs of 0." in text
        assert "0 jumps, 0 gaps in 21 steps" in text  # 3 tracks of 8 frames

    def test_errors_are_those_that_were_made_worst_sequence_first(self, copy, bodies):
        """Everything 3 px to the right and 4 px up: 5 px."""

        def change(record):
            for points in record["poses2d"]:
                points[:, :2] += np.array([[3.0], [-4.0]])

        damage(copy, bodies, change)
        lines = [text for _, text in check_data("3dpw", copy).lines if text.startswith("test:")]
        (place,) = [i for i, text in enumerate(lines) if "projected joints are" in text]
        assert "are 5.0 px (median) and 5.0 px (worst) from the 2D annotation" in lines[place]
        assert "in 24 person-frames of 2 sequences" in lines[place]
        assert lines[place + 1].split()[1:8] == ["downtown_pair_00", "median", "5.0", "px,", "worst", "5.0", "px,"]
        assert lines[place + 2].split()[1:4] == ["downtown_one_00", "median", "0.0"]

    def test_missing_sequence(self, copy):
        (copy / "sequenceFiles/test/downtown_one_00.pkl").unlink()
        text = str(check_data("3dpw", copy))
        assert "error   test: 1 sequences of the published 2; 1 missing: downtown_one_00" in text
        assert "unexpected: 1 folders of images without annotations: downtown_one_00" in text

    def test_a_link_to_nowhere_among_the_images(self, copy):
        path = copy / "imageFiles/downtown_one_00/image_00009.jpg"
        path.symlink_to(copy / "nowhere.jpg")
        assert f"{path} is truncated: 0 bytes" in str(check_data("3dpw", copy))

    def test_truncated_image(self, copy):
        path = copy / "imageFiles/downtown_one_00/image_00003.jpg"
        path.write_bytes(path.read_bytes()[:900])
        report = check_data("3dpw", copy)
        assert f"{path} is truncated: 900 bytes without an end" in str(report)
        assert "test: 15 of 16 images tried open" in str(report)

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            (_LEGS, "test: legs are swapped, left for right, against the rest of the body"),
            (("knee", "ankle", "foot"), "test: legs change sides between two joints"),
            (("shoulder", "elbow", "wrist", "hand", "collar"), "test: arms are swapped, left for right"),
            (("_",), "test: people are mirrored"),
        ],
    )
    def test_swapped_sides(self, copy, bodies, parts, expected):
        def change(record):
            order = exchanged("smpl24", parts)
            record["jointPositions"] = [rows.reshape(-1, 24, 3)[:, order].reshape(-1, 72) for rows in record["jointPositions"]]

        damage(copy, bodies, change)
        (line,) = [text for text in faults(check_data("3dpw", copy)) if expected in text]
        assert line.partition(": downtown")[2] == "_pair_00"

    def test_legs_exchanged_against_the_2d_annotation(self, copy, bodies):
        def change(record):
            order = exchanged("openpose18", _LEGS)
            record["poses2d"] = [points[:, :, order] for points in record["poses2d"]]

        damage(copy, bodies, change)
        (line,) = [text for text in faults(check_data("3dpw", copy)) if "the legs are exchanged between 3D and 2D" in text]
        assert "downtown_pair_00" in line

    def test_mirrored_camera(self, copy, bodies):
        def change(record):
            record["cam_poses"] = np.diag([-1.0, 1, 1, 1]) @ record["cam_poses"]

        damage(copy, bodies, change)
        assert any("people are mirrored" in text and "downtown_pair_00" in text for text in faults(check_data("3dpw", copy)))

    @pytest.mark.parametrize(("factor", "unit"), [(100, "centimetres"), (1000, "millimetres"), (0.001, "metres divided by 1000")])
    def test_units(self, copy, bodies, factor, unit):
        def change(record):
            for key in ("jointPositions", "trans"):
                record[key] = [factor * rows for rows in record[key]]
            record["cam_poses"][:, :3, 3] *= factor

        damage(copy, bodies, change)
        (line,) = [text for text in faults(check_data("3dpw", copy)) if "joints are in" in text]
        assert f"joints are in {unit}" in line
        assert ": downtown_pair_00." in line

    def test_wrong_extrinsics(self, copy, bodies):
        def change(record):
            record["cam_poses"] = rigid(10, (0.3, 0.0, 0.4)) @ record["cam_poses"]

        damage(copy, bodies, change)
        (line,) = [text for text in faults(check_data("3dpw", copy)) if "extrinsics" in text]
        assert "downtown_pair_00" in line
        assert "wrong extrinsics: a camera turned by 10.0 degrees and moved by" in line

    def test_camera_poses_of_other_frames(self, copy, bodies):
        def change(record):
            record["cam_poses"] = np.roll(record["cam_poses"], 1, axis=0)

        damage(copy, bodies, change)
        (line,) = [text for text in faults(check_data("3dpw", copy)) if "downtown_pair_00" in text]
        assert "wrong extrinsics: another camera in every frame fits" in line

    @pytest.mark.parametrize(("by", "words"), [(1, "1 frame later"), (-2, "2 frames earlier")])
    def test_shifted_frame_index(self, copy, bodies, by, words):
        def change(record):
            record["poses2d"] = [np.roll(points, by, axis=0) for points in record["poses2d"]]

        damage(copy, bodies, change)
        (line,) = [text for text in faults(check_data("3dpw", copy)) if "frame index" in text]
        assert "downtown_pair_00" in line
        assert f"the frame index is shifted: the 2D annotation fits best {words}" in line

    @pytest.mark.parametrize(
        ("factor", "off", "expected"),
        [(2.0, 0.0, "that of images 2.00 times the size"), (1.0, 60.0, "lies (+60, +60) px beside the joints")],
    )
    def test_annotation_of_other_images(self, copy, bodies, factor, off, expected):
        def change(record):
            for points in record["poses2d"]:
                points[:, :2] = factor * points[:, :2] + off

        damage(copy, bodies, change)
        assert any(expected in text for text in faults(check_data("3dpw", copy)))

    def test_frames_out_of_order_are_a_jump(self, copy, bodies):
        def change(record):
            record["jointPositions"][0] = record["jointPositions"][0].copy()
            joints = record["jointPositions"][0].reshape(-1, 24, 3)
            joints[4] = joints[4, :1] + 2.5 * (joints[4] - joints[4, :1])

        damage(copy, bodies, change)
        text = str(check_data("3dpw", copy))
        assert "warning test: from a frame to the next" in text
        assert "2 jumps" in text
        assert "3dpw/test/downtown_pair_00/00004/0" in text

    @pytest.mark.parametrize("swapped", [False, True])
    def test_regressor_in_the_other_leg_order(self, copy, bodies, tmp_path, swapped):
        """A folder of bodies whose J_regressor_h36m.npy has the right leg first."""
        folder = tmp_path / "bodies"
        folder.mkdir()
        for gender in ("neutral", "male", "female"):
            shutil.copy(bodies.files[gender], folder / f"SMPL_{gender.upper()}.npz")
        regressor = bodies.regressor("h36m17").numpy()
        np.save(folder / "J_regressor_h36m.npy", regressor[exchanged("h36m17", _LEGS)] if swapped else regressor)
        told = faults(check_data("3dpw", copy, load_bodies(folder)))
        assert len(told) == swapped
        if swapped:
            assert "J_regressor_h36m.npy: its leg rows are right leg first, expected the order of 'h36m17'" in told[0]


class TestPlaces:
    def test_all_of_a_small_set(self):
        assert places_looked_at(FakeDataset()) == list(range(16))

    def test_the_middle_of_each_track(self):
        """Tracks of 4, 3, 3 and 6 samples, two of each: those people share frames in "b" and the ids are sorted by frame."""
        dataset = FakeDataset()
        chosen = [dataset.ids[i].removeprefix("openhps/test/") for i in places_looked_at(dataset, 8)]
        assert chosen == [
            *("a/00001/0", "a/00002/0"),
            *("b/00000/0", "b/00000/1", "b/00001/0", "b/00001/1"),
            *("c/00002/0", "c/00004/0"),
        ]

    def test_some_of_many_tracks(self):
        dataset = FakeDataset()
        assert [dataset.ids[i][13:] for i in places_looked_at(dataset, 2)] == ["a/00001/0", "c/00002/0"]


class TestAgora:
    @staticmethod
    def people(bodies, change=lambda person: person):
        found = []
        for i in range(3):
            rotvecs, betas, output = upright(bodies, i)
            person = agora.AgoraPerson(
                rotvecs=rotvecs[0],
                betas=betas,
                transl=np.zeros(3),
                joints=output.joints[0].numpy(),
                vertices=output.vertices[0].numpy(),
                stand=(-1.0 + 0.9 * i, 0.3, 6.0 + i),
                yaw=-40.0 + 75 * i,
            )
            found.append(change(person))
        return found

    def test_sound(self, tmp_path, bodies):
        agora.write_agora(tmp_path, agora.shots(self.people(bodies)))
        report = check_data("agora", tmp_path, bodies)
        assert report.ok, str(report)
        assert "validation: no two frames of a track follow each other" in str(report)

    def test_missing_and_unexpected_images(self, tmp_path, bodies):
        some = agora.shots(self.people(bodies))
        agora.write_agora(tmp_path, some, missing=[some[6].image])
        agora.write_image(tmp_path / "validation", "ag_validationset_axyz_body_brushifyforest_5_15_00008", (1280, 720))
        text = str(check_data("agora", tmp_path))
        assert f"error   validation: 6 of 7 images of the tables are there; missing: {some[6].image}. Unpack all images" in text
        assert "warning validation: unexpected: 1 images in no table: ag_validationset_axyz_body_brushifyforest_5_15_00008" in text

    def test_swapped_legs(self, tmp_path, bodies):
        def swap(person):
            return replace(person, joints=person.joints[exchanged("smpl24", _LEGS)])

        agora.write_agora(tmp_path, agora.shots(self.people(bodies, swap)))
        assert any("legs are swapped" in text for text in faults(check_data("agora", tmp_path)))

    def test_centimetres(self, tmp_path, bodies):
        def enlarge(person):
            return replace(person, joints=100 * person.joints, stand=tuple(100 * np.array(person.stand)))

        agora.write_agora(tmp_path, agora.shots(self.people(bodies, enlarge)))
        assert any("joints are in centimetres" in text for text in faults(check_data("agora", tmp_path)))

    def test_truncated_image(self, tmp_path, bodies):
        some = agora.shots(self.people(bodies))
        agora.write_agora(tmp_path, some)
        path = tmp_path / "validation" / f"{some[2].image}_1280x720.png"
        path.write_bytes(path.read_bytes()[:-40])
        assert any(f"{path} is truncated" in text for text in faults(check_data("agora", tmp_path)))


def write_studio(root, bodies):
    people = []
    for i in range(6):
        rotvecs, betas, output = upright(bodies, 10 + i)
        extri = rigid(0, (0.5 * i, 1.0, 29.0 + i)) @ np.diag([1.0, -1, -1, 1])
        people.append(
            threedoh.StudioPerson(
                rotvecs=rotvecs[0],
                betas=betas,
                local=output.joints[0].numpy(),
                lsp_local=bodies.joints(output, "eval14")[0].numpy(),
                rest_pelvis=bodies.neutral.rest_joints(torch.from_numpy(betas)[None])[0, 0].numpy(),
                trans=np.zeros(3),
                scale=7.0,
                extri=extri,
                intri=np.array([[2390.0, 0, 1022], [0, 2391.0, 763], [0, 0, 1]]),
            )
        )
    threedoh.write_threedoh(root, people)


@pytest.fixture(scope="module")
def studio(tmp_path_factory, bodies):
    root = tmp_path_factory.mktemp("3doh")
    write_studio(root, bodies)
    return root


class TestThreeDOH:
    @staticmethod
    def damaged(studio, root, change):
        shutil.copytree(studio, root, dirs_exist_ok=True)
        path = root / "testset/annots.json"
        records = json.loads(path.read_text())
        for record in records.values():
            record["smpl_joints_3d"] = change(np.array(record["smpl_joints_3d"])).tolist()
        path.write_text(json.dumps(records))
        return check_data("3doh", root)

    def test_sound(self, studio, bodies):
        report = check_data("3doh", studio, bodies)
        assert report.ok, str(report)

    def test_swapped_legs(self, studio, tmp_path):
        report = self.damaged(studio, tmp_path, lambda joints: joints[exchanged("smpl24", _LEGS)])
        assert any("legs are swapped" in text for text in faults(report))
        assert any("the legs are exchanged between 3D and 2D" in text for text in faults(report))

    def test_unexpected_image(self, studio, tmp_path):
        images = shutil.copytree(studio, tmp_path / "3doh") / "testset/images"
        shutil.copy(images / "00000.jpg", images / "00077.jpg")
        assert "warning test: unexpected: 1 images that no record names: 00077.jpg" in str(check_data("3doh", tmp_path / "3doh"))

    def test_truncated_and_missing_image(self, studio, tmp_path):
        images = shutil.copytree(studio, tmp_path / "3doh") / "testset/images"
        path = images / "00003.jpg"
        path.write_bytes(path.read_bytes()[:-300])
        assert any(f"{path} is truncated" in text for text in faults(check_data("3doh", tmp_path / "3doh")))
        path.unlink()
        assert any("00003.jpg" in text and "missing" in text for text in faults(check_data("3doh", tmp_path / "3doh")))

    def test_another_unit(self, studio, tmp_path):
        report = self.damaged(studio, tmp_path, lambda joints: 100 * joints)
        assert any("not in the published units" in text for text in faults(report))

    def test_wrong_extrinsics(self, studio, tmp_path):
        pose = rigid(8, (1.0, 0.0, 2.0))
        report = self.damaged(studio, tmp_path, lambda joints: joints @ pose[:3, :3].T + pose[:3, 3])
        assert any("wrong extrinsics: a camera turned by 8.0 degrees" in text for text in faults(report))


@pytest.fixture
def s9_alone(monkeypatch):
    """One sequence of S9 seen by two cameras is all of the test set."""
    monkeypatch.setitem(SUBSETS, "test", Subset((9,), (1, 3), (1,)))
    monkeypatch.setattr(H36MLayout, "splits", ("test",))


def make_take(bodies):
    rotvecs, betas, output = upright(bodies, 7, FRAMES, root=(np.pi / 2, 0.0, 0.0), trans=(0.1, 0.1, 1.1))
    joints = bodies.joints(output, "h36m17").numpy()
    return h36m.Take(9, 2, 1, h36m.raw32(joints), rotvecs, betas, output.joints[:, 0].numpy())


@pytest.fixture(scope="module")
def room(tmp_path_factory, bodies):
    """World positions and D2_Positions, no D3_Positions_mono: the cameras are needed."""
    root = tmp_path_factory.mktemp("h36m")
    h36m.write_raw(root, [make_take(bodies)], mono=False, pictures="images", cameras=(1, 3))
    return root


@pytest.mark.usefixtures("s9_alone")
class TestH36M:
    @pytest.fixture
    def copy(self, room, tmp_path):
        return shutil.copytree(room, tmp_path / "h36m")

    def test_sound(self, room):
        report = check_data("h36m", room)
        assert not faults(report), str(report)
        assert "test: projected joints are 0.0 px (median)" in str(report)

    def test_swapped_legs(self, copy, bodies):
        take = make_take(bodies)
        world = take.world[:, exchanged("h36m32", _LEGS)]
        h36m.write_cdf(copy / "S9/MyPoseFeatures/D3_Positions/Directions 1.cdf", world.reshape(FRAMES, 96) * 1000)
        assert any("legs are swapped" in text for text in faults(check_data("h36m", copy)))

    def test_centimetres(self, copy, bodies):
        world = make_take(bodies).world
        h36m.write_cdf(copy / "S9/MyPoseFeatures/D3_Positions/Directions 1.cdf", world.reshape(FRAMES, 96) * 100)
        assert any("is in another unit" in text for text in faults(check_data("h36m", copy)))

    def test_wrong_extrinsics(self, copy, monkeypatch):
        real = h36m.rig()
        real[..., 5] += 400.0
        real[..., 3] -= 300.0
        monkeypatch.setattr(h36m, "rig", lambda: real)
        h36m.write_metadata(copy)
        found = [text for text in faults(check_data("h36m", copy)) if "wrong extrinsics: a camera turned by" in text]
        assert len(found) == 2
        # The pinhole that is fitted knows nothing of the lens: 0.5 m to a few centimetres.
        moved = [float(text.partition("moved by ")[2].split()[0]) for text in found]
        np.testing.assert_allclose(moved, 0.5, atol=0.03)

    def test_wrong_extrinsics_beside_joints_of_each_camera(self, tmp_path, bodies, monkeypatch):
        """D3_Positions_mono needs no place of a camera, so that none shows in the picture: the two views do not agree."""
        h36m.write_raw(tmp_path, [make_take(bodies)], pictures="images", cameras=(1, 3))
        assert not faults(check_data("h36m", tmp_path))
        real = h36m.rig()
        real[3, 8, 3] += 300.0
        monkeypatch.setattr(h36m, "rig", lambda: real)
        h36m.write_metadata(tmp_path)
        (told,) = faults(check_data("h36m", tmp_path))
        assert "s_09_act_02_subact_01_ca_02 (0.15 m), s_09_act_02_subact_01_ca_04 (0.15 m); wrong extrinsics" in told

    def test_shifted_frame_index(self, copy, bodies):
        take = make_take(bodies)
        for camera in (1, 3):
            flat = np.roll(h36m.pixels(h36m.seen(take, camera), camera), -1, axis=0)
            path = copy / f"S9/MyPoseFeatures/D2_Positions/Directions 1.{h36m.IDS[camera]}.cdf"
            h36m.write_cdf(path, flat.reshape(FRAMES, 64))
        assert sum("the frame index is shifted" in text and "1 frame earlier" in text for text in faults(check_data("h36m", copy))) == 2

    def test_joints_of_a_regressor_in_the_other_leg_order(self, tmp_path, bodies):
        """HybrIK's file is left leg first; here as the mocap's order and a regressor that circulates have it."""
        h36m.write_hybrik(tmp_path, [make_take(bodies)])
        assert not faults(check_data("h36m-hybrik", tmp_path))
        (path,) = tmp_path.glob("annotations/*test*")
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            annotation["h36m_joints"] = [annotation["h36m_joints"][i] for i in exchanged("h36m17", _LEGS)]
        path.write_text(json.dumps(content))
        told = faults(check_data("h36m-hybrik", tmp_path))
        assert any("legs are swapped, left for right" in text for text in told)
        assert any("hips left and right as the head faces in 0 of 2 clips" in text for text in told)

    def test_missing_sequence_and_truncated_image(self, copy):
        path = next((copy / "images").glob("*_000004.jpg"))
        path.write_bytes(path.read_bytes()[:-300])
        report = check_data("h36m", copy)
        assert any(f"{path} is truncated" in text for text in faults(report))
        assert any("S9: 4 of 120 clips annotated; missing: s_09_act_02_subact_02_ca_01" in text for _, text in report.lines)


def seen_17(bodies):
    """3DHP's test joints (F, 17, 3) m in the camera frame."""
    _, _, output = upright(bodies, 3, FRAMES, root=(np.pi, 0.0, 0.0), trans=(0.1, 0.2, 4.0))
    stand_ins = {"spine": "spine1", "head_top": "crown"}
    order = [JOINT_NAMES["j29"].index(stand_ins.get(name, name)) for name in mpi_inf_3dhp.TEST_17]
    return bodies.joints(output, "j29").numpy()[:, order]


@pytest.fixture(scope="module")
def green(tmp_path_factory, bodies):
    """TS1 of the test set."""
    root = tmp_path_factory.mktemp("3dhp")
    mpi_inf_3dhp.write_test(root, 1, seen_17(bodies), valid=[1] * FRAMES, activities=[1] * FRAMES)
    return root


class TestMpi3DHP:
    @pytest.fixture
    def copy(self, green, tmp_path):
        return shutil.copytree(green, tmp_path / "3dhp")

    @staticmethod
    def damaged(root, keys, change):
        with h5py.File(root / "TS1/annot_data.mat", "r+") as file:
            for name in keys.split():
                file[name][...] = change(np.asarray(file[name]))
        return check_data("3dhp", root)

    def test_sound(self, green):
        report = check_data("3dhp", green)
        assert not faults(report), str(report)
        assert "error   test: 1 of 6 sequences; missing: TS2" in str(report)

    def test_swapped_legs(self, copy):
        report = self.damaged(copy, "annot2 annot3", lambda rows: rows[:, :, exchanged("mpi17", _LEGS)])
        assert any("TS1: legs are swapped, left for right" in text for text in faults(report))

    def test_unexpected_folder(self, copy):
        (copy / "S1/Seq3").mkdir(parents=True)
        assert "warning unexpected: S1/Seq3. Expected S1/Seq1 to S8/Seq2" in str(check_data("3dhp", copy))

    def test_3d_and_2d_that_no_camera_joins(self, copy):
        report = self.damaged(copy, "annot2", lambda rows: np.roll(rows, 1, axis=2))
        assert any("annot3 lies" in text and "off annot2" in text for text in faults(report))

    def test_centimetres(self, copy):
        report = self.damaged(copy, "annot3", lambda rows: rows / 10)
        assert any("not in mm in the camera frame" in text for text in faults(report))

    def test_truncated_image(self, copy):
        path = copy / "TS1/imageSequence/img_000003.jpg"
        path.write_bytes(path.read_bytes()[:-300])
        assert any(f"{path} is truncated" in text for text in faults(check_data("3dhp", copy)))

    def test_shifted_frame_index(self, copy):
        """The camera is fitted to what is there: it takes up no shift."""
        report = self.damaged(copy, "annot2", lambda rows: np.roll(rows, 2, axis=0))
        assert any("the frame index is shifted" in text or "px (median) off annot2" in text for text in faults(report))

    def test_cameras_of_the_train_set(self, tmp_path, bodies, monkeypatch):
        """Three views; in the calibration one camera stands elsewhere, or looks through another's lens."""
        monkeypatch.setitem(SUBSETS_3DHP, "S1", tuple(clip for clip in SUBSETS_3DHP["S1"] if clip.sequence == 1 and clip.camera < 3))
        _, _, output = upright(bodies, 3, 4, trans=(0.0, 1.0, 0.0))
        order = [JOINT_NAMES["j29"].index(FROM_J29.get(name, name)) for name in mpi_inf_3dhp.TRAIN_28]
        world = bodies.joints(output, "j29").numpy()[:, order]
        mpi_inf_3dhp.write_train(tmp_path, 1, 1, world, pictures="spin", cameras=(0, 1, 2))
        assert not train_faults(tmp_path)
        text, path = mpi_inf_3dhp.calibration_text(), tmp_path / "S1/Seq1/camera.calibration"
        blocks = text.split("name  ")
        path.write_text("name  ".join([*blocks[:2], blocks[2].replace(extrinsic_of(blocks[2]), extrinsic_of(blocks[3])), *blocks[3:]]))
        (told,) = train_faults(tmp_path)
        assert "S1: cameras put people elsewhere in the room than the other views of the take do: S1_Seq1_V1 (" in told
        assert "wrong extrinsics" in told
        path.write_text(text.replace("1497.693", "1197.693"))
        assert any("S1_Seq1_V0" in told for told in train_faults(tmp_path))


FROM_J29 = {
    "spine": "spine1", "spine4": "neck", "head_top": "crown", "left_clavicle": "left_collar", "right_clavicle": "right_collar",
    "left_toe": "left_big_toe", "right_toe": "right_big_toe",
}  # fmt: skip


def extrinsic_of(block):
    """The line of a camera's block."""
    (line,) = [line for line in block.splitlines() if "extrinsic" in line]
    return line


def train_faults(root):
    """Of one sequence in which three of fourteen cameras are looked at."""
    return [text for text in faults(check_data("3dhp", root)) if "of 16 sequences" not in text and "pictures of" not in text]


def make_walk(bodies):
    """Somebody walks along before a camera that goes with them, z up."""
    rotvecs, betas, _ = upright(bodies, 5, FRAMES, root=(np.pi / 2, 0.0, 0.0))
    trans = np.stack([0.1 * np.arange(FRAMES), np.full(FRAMES, 2.0), np.full(FRAMES, 1.1)], axis=-1)
    rows = torch.from_numpy(np.tile(betas, (FRAMES, 1)))
    joints = bodies["male"](rows, rotvecs=torch.from_numpy(rotvecs), trans=torch.from_numpy(trans)).joints.numpy()
    extrinsics = np.tile(np.eye(4), (FRAMES, 1, 1))
    extrinsics[:, :3, :3] = [[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]
    # The camera sways, so that the pixels of a frame are not those of the next.
    sway = 0.15 * np.stack([np.sin(np.arange(FRAMES)), np.cos(2.0 * np.arange(FRAMES)), np.zeros(FRAMES)], axis=-1)
    extrinsics[:, :3, 3] = sway + np.array([0, 0, 4.5]) - np.einsum("nij,nj->ni", extrinsics[:, :3, :3], joints[:, 0])
    K = np.array([[210.0, 0, 75], [0, 210.0, 94], [0, 0, 1]])
    return emdb.Walk("P0", "09_walk", "male", ("emdb1",), (144, 192), rotvecs, betas, trans, joints, extrinsics, K)


def in_centimetres(content):
    """The places of people and cameras, not their pixels."""
    content["smpl"]["trans"] = 100 * content["smpl"]["trans"]
    content["camera"]["extrinsics"] = content["camera"]["extrinsics"] * np.array([1.0, 1, 1, 100])


class TestEmdb:
    def test_sound(self, tmp_path, bodies):
        emdb.write_emdb(tmp_path, [make_walk(bodies)])
        report = check_data("emdb", tmp_path, bodies)
        assert report.ok, str(report)
        assert "a frame index shifted by one would show in 1 of 1 sequences" in str(report)

    def test_without_bodies_there_is_nothing_to_measure(self, tmp_path, bodies):
        emdb.write_emdb(tmp_path, [make_walk(bodies)])
        report = check_data("emdb", tmp_path)
        assert report.ok, str(report)
        assert "emdb1: no 2D annotation to hold the projected joints against (or no 3D joints without --body)" in str(report)
        assert "emdb1: no 3D joints to measure bones by: name the body files with --body" in str(report)

    @pytest.mark.parametrize(
        ("key", "change", "expected"),
        [
            ("extrinsics", lambda poses: rigid(9, (0.2, 0.1, 0.3)) @ poses, "wrong extrinsics: a camera turned by 9.0 degrees"),
            ("extrinsics", lambda poses: np.roll(poses, 2, axis=0), "wrong extrinsics: another camera in every frame"),
        ],
    )
    def test_wrong_cameras(self, tmp_path, bodies, key, change, expected):
        walk = make_walk(bodies)
        emdb.write_emdb(tmp_path, [walk])
        content = emdb.record(walk)
        content["camera"][key] = change(content["camera"][key])
        walk.file(tmp_path).write_bytes(pickle.dumps(content))
        assert any(expected in text for text in faults(check_data("emdb", tmp_path, bodies)))

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (
                lambda content: content.update(kp2d=content["kp2d"][:, exchanged("smpl24", _LEGS)]),
                "the legs are exchanged between 3D and 2D",
            ),
            (lambda content: in_centimetres(content), "emdb1: people are 4"),
        ],
    )
    def test_other_annotations(self, tmp_path, bodies, change, expected):
        walk = make_walk(bodies)
        emdb.write_emdb(tmp_path, [walk])
        content = emdb.record(walk)
        change(content)
        walk.file(tmp_path).write_bytes(pickle.dumps(content))
        assert any(expected in text for text in faults(check_data("emdb", tmp_path, bodies)))

    def test_missing_sequence_and_truncated_image(self, tmp_path, bodies):
        """No list of the sequences is published: their number is held against the quoted ones."""
        walk = make_walk(bodies)
        emdb.write_emdb(tmp_path, [walk, replace(walk, sequence="10_walk")])
        path = walk.folder(tmp_path) / "images/00003.jpg"
        path.write_bytes(path.read_bytes()[:-200])
        report = check_data("emdb", tmp_path)
        assert any(f"{path} is truncated" in text for text in faults(report))
        assert ("warning", "emdb1: sequences: 2, where 17 are quoted") in report.lines
        walk.file(tmp_path).unlink()
        assert any("1 of 2 sequences" in text and "lack their pickle" in text for text in faults(check_data("emdb", tmp_path)))

    def test_shifted_frame_index(self, tmp_path, bodies):
        walk = make_walk(bodies)
        emdb.write_emdb(tmp_path, [walk])
        content = emdb.record(walk)
        content["kp2d"] = np.roll(content["kp2d"], 1, axis=0)
        walk.file(tmp_path).write_bytes(pickle.dumps(content))
        assert any("frame index is shifted" in text and "1 frame later" in text for text in faults(check_data("emdb", tmp_path, bodies)))


class TestOverlay:
    def test_sheet_of_every_split(self, copy, bodies, tmp_path):
        report = check_data("3dpw", copy, bodies, overlay=tmp_path / "out" / "sheet.png")
        assert report.ok, str(report)
        picture = cv2.imread(str(tmp_path / "out" / "sheet.png"))
        assert picture.shape[1] == 6 * (288 + 4) - 4
        assert picture.shape[0] == 3 * (22 + 2 * (288 + 18 + 4))  # three splits: a head, and two rows of labelled tiles
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["sheet.png"]

    def test_without_bodies_and_with_a_broken_image(self, copy, tmp_path):
        path = copy / "imageFiles/downtown_pair_00/image_00000.jpg"
        path.write_bytes(path.read_bytes()[:700])
        check_data("3dpw", copy, overlay=tmp_path / "sheet.jpg")
        assert cv2.imread(str(tmp_path / "sheet.jpg")).shape[1] == 1748

    def test_no_picture_name_and_nothing_to_draw(self, copy, tmp_path):
        with pytest.raises(HpsbenchError, match=r"sheet\.txt is no picture"):
            check_data("3dpw", copy, overlay=tmp_path / "sheet.txt")
        shutil.rmtree(copy / "imageFiles")
        report = check_data("3dpw", copy, overlay=tmp_path / "sheet.png")
        assert "no split opened" in str(report)
        assert not (tmp_path / "sheet.png").exists()
