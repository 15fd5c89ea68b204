"""Exports, read back by readers that are written here from the formats' own descriptions, against the plans by hand."""

import dataclasses
import gzip
import io
import json
import shutil
import tarfile
from urllib.parse import unquote

import numpy as np
import pytest
from fakes import FakeDataset
from PIL import Image

from hpsbench.errors import DataError, ResultError, UnknownNameError
from hpsbench.export import export
from hpsbench.export.webdataset import key_of
from hpsbench.generate import generate
from hpsbench.generated import load_generated
from hpsbench.protocol import load_protocol

XOCC, CLEAN, PATCH = (load_protocol(name) for name in ("openhps-xocc", "openhps-test", "3dpw-xocc-patch@openhps-test"))


def two_circles():
    """HKMR's circles over two joints at two sizes: four cases, in crop space."""
    protocol = load_protocol("hkmr-circle@openhps-test")
    params = dataclasses.replace(protocol.occluders[0].params, joints=("left_hip", "neck"), sizes=(10.0, 40.0))
    return dataclasses.replace(protocol, occluders=(dataclasses.replace(protocol.occluders[0], params=params),))


class Changed(FakeDataset):
    """The people of FakeDataset with their truths changed by place: ``change(i, truth)``."""

    def __init__(self, change, **how):
        super().__init__(**how)
        self.change = change

    def __getitem__(self, i):
        sample = super().__getitem__(i)
        return dataclasses.replace(sample, truth=self.change(range(len(self))[i], sample.truth))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Generated folders, not to be changed: name -> (folder, dataset)."""
    root, dataset = tmp_path_factory.mktemp("made"), FakeDataset()
    generate(XOCC, dataset, root / "window", images=True)
    generate(PATCH, dataset, root / "patch", images=True)
    generate(CLEAN, dataset, root / "clean", images=True)
    generate(two_circles(), dataset, root / "circles", images=True)
    generate(two_circles(), dataset, root / "circles-plans")
    generate(XOCC, dataset, root / "window-plans")
    return {path.name: (path, dataset) for path in root.iterdir()}


def written(made, tmp_path, name, form, **settings):
    """(what was written, the message) of an export of one of the folders."""
    out = tmp_path / {"coco": "coco.json", "spin": "spin.npz", "webdataset": "tars"}[form]
    told = export(load_generated(*made[name]), form, out, **settings)
    return out, told


def lines_of(folder, name="plans.jsonl.gz"):
    return [json.loads(line) for line in gzip.decompress((folder / name).read_bytes()).splitlines()]


def view_id(record):
    return record["sample_id"] + ("@" + record["case"] if "case" in record else "")


def people_of(folder, dataset):
    """(plan's line, sample) of each view that is possible, by view id, and the px (factor, corner) that its image starts from."""
    found = {}
    for record in lines_of(folder):
        if "skipped" not in record:
            occlusions = {occlusion["kind"]: occlusion["params"] for occlusion in record["occlusions"]}
            factor, corner = 1.0, np.zeros(2)
            if "truncation-window" in occlusions:
                corner = np.floor(occlusions["truncation-window"]["window_xyxy"][:2])
            if "joint-shape" in occlusions:
                x0, y0, x1, _ = occlusions["joint-shape"]["canvas"]["square_xyxy"]
                factor, corner = 224 / (x1 - x0), np.array([x0, y0])
            found[view_id(record)] = (record, dataset[dataset.index_of(record["sample_id"])], factor, corner)
    return found


def seen_by_hand(record, sample, factor, corner, size):
    """Joints in px of the image, and COCO's visibility."""
    points = (np.asarray(sample.truth.joints2d, np.float64) - corner) * factor
    names = names_of(sample)
    visibility = []
    for name, (x, y) in zip(names, points, strict=True):
        lost = name in record["outside"] or not (0 <= x < size[0] and 0 <= y < size[1])
        visibility.append(0 if lost else 1 if name in record["occluded"] else 2)
    return points, np.array(visibility)


def names_of(sample):
    return SMPL24 if sample.truth.skeleton == "smpl24" else H36M17


SMPL24 = [
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
]
H36M17 = [
    "pelvis",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_hip",
    "right_knee",
    "right_ankle",
    "spine",
    "neck",
    "head",
    "head_top",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
]
COCO17 = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
]


def read_coco(path):
    """(category, [(annotation, its image)]) of a COCO file, with everything that the format demands checked."""
    coco = json.loads(path.read_text())
    assert {"info", "licenses", "categories", "images", "annotations"} <= set(coco)
    images = {image["id"]: image for image in coco["images"]}
    assert len(images) == len(coco["images"])
    assert len({image["file_name"] for image in coco["images"]}) == len(images)
    assert len({annotation["id"] for annotation in coco["annotations"]}) == len(coco["annotations"])
    (category,) = coco["categories"]
    count = len(category["keypoints"])
    assert all(1 <= joint <= count for bone in category["skeleton"] for joint in bone)
    for annotation in coco["annotations"]:
        assert annotation["category_id"] == category["id"]
        assert annotation["iscrowd"] == 0
        assert len(annotation["keypoints"]) == 3 * count
        assert annotation["num_keypoints"] == sum(v > 0 for v in annotation["keypoints"][2::3])
        assert annotation["area"] == pytest.approx(annotation["bbox"][2] * annotation["bbox"][3])
    return category, [(annotation, images[annotation["image_id"]]) for annotation in coco["annotations"]]


class TestCoco:
    @pytest.mark.parametrize("name", ["window", "patch", "clean", "circles"])
    def test_boxes_and_key_points_are_those_of_the_plans(self, made, tmp_path, name):
        folder, dataset = made[name]
        path, _ = written(made, tmp_path, name, "coco")
        category, people = read_coco(path)
        expected = people_of(folder, dataset)
        assert category["keypoints"] == SMPL24
        assert [view_id({"sample_id": a["sample_id"]} | ({"case": a["case"]} if a["case"] else {})) for a, _ in people] == list(expected)
        found = np.zeros(3, int)
        for (annotation, image), (record, sample, factor, corner) in zip(people, expected.values(), strict=True):
            with Image.open(folder / image["file_name"]) as picture:
                size = picture.size
            assert (image["width"], image["height"]) == size
            points, visibility = seen_by_hand(record, sample, factor, corner, size)
            keypoints = np.array(annotation["keypoints"]).reshape(-1, 3)
            np.testing.assert_array_equal(keypoints[:, 2], visibility)
            # Float64 algebra on numbers of a thousand px.
            np.testing.assert_allclose(keypoints[:, :2], np.where(visibility[:, None] > 0, points, 0), atol=1e-9)
            x0, y0, x1, y1 = (np.asarray(sample.view.bbox_xyxy).reshape(2, 2) - corner).ravel() * factor
            np.testing.assert_allclose(annotation["bbox"], [x0, y0, x1 - x0, y1 - y0], atol=1e-9)
            found += [(visibility == v).sum() for v in range(3)]
        assert found[2] > 0
        assert (found[0] > 0) == (name == "window")
        assert (found[1] > 0) == (name != "clean")

    def test_the_camera_sees_the_joints_where_they_are(self, made, tmp_path):
        folder, dataset = made["circles"]
        path, _ = written(made, tmp_path, "circles", "coco")
        for (annotation, image), (_, sample, _, _) in zip(read_coco(path)[1], people_of(folder, dataset).values(), strict=True):
            joints, camera = np.asarray(sample.truth.joints), image["cam_param"]
            projected = joints[:, :2] / joints[:, 2:] * camera["focal"] + camera["princpt"]
            keypoints = np.array(annotation["keypoints"]).reshape(-1, 3)
            np.testing.assert_allclose(keypoints[:, :2][keypoints[:, 2] > 0], projected[keypoints[:, 2] > 0], atol=1e-6)
            # The canvas alone is in the picture, and a model is shown all of it.
            assert annotation["window"] == [0, 0, 224, 224]

    def test_a_window_is_told_in_px_of_its_image(self, made, tmp_path):
        path, _ = written(made, tmp_path, "window", "coco")
        for annotation, image in read_coco(path)[1]:
            x, y, width, height = annotation["window"]
            assert 0 <= x < 1
            assert 0 <= y < 1
            assert width == pytest.approx(height)
            # Cut to whole px about the window, and one more for what a bilinear crop reads.
            assert image["width"] == np.ceil(x + width - 1e-9) + 1

    def test_people_of_one_frame_share_its_image(self, made, tmp_path):
        path, told = written(made, tmp_path, "clean", "coco")
        _, people = read_coco(path)
        assert len(people) == 16
        assert len({image["file_name"] for _, image in people}) == 13
        assert "16 people in 13 images, 24 key points of smpl24" in told
        assert "holds no 3D joints" in told
        assert "Image paths start from" in told

    def test_cocos_own_17(self, made, tmp_path):
        folder, dataset = made["patch"]
        path, told = written(made, tmp_path, "patch", "coco", keypoints="coco17")
        category, people = read_coco(path)
        assert category["keypoints"] == COCO17
        assert "no joint of that name: nose, left_eye, right_eye, left_ear, right_ear." in told
        for (annotation, image), (record, sample, factor, corner) in zip(people, people_of(folder, dataset).values(), strict=True):
            points, visibility = seen_by_hand(record, sample, factor, corner, (image["width"], image["height"]))
            keypoints = np.array(annotation["keypoints"]).reshape(-1, 3)
            assert not keypoints[:5].any()
            for name, triplet in zip(COCO17[5:], keypoints[5:], strict=True):
                place = SMPL24.index(name)
                np.testing.assert_allclose(triplet, [*points[place], visibility[place]] if visibility[place] else [0, 0, 0], atol=1e-9)

    def test_a_joint_that_is_not_annotated_is_not_labelled(self, tmp_path):
        def without_head(i, truth):
            joints2d, valid = np.array(truth.joints2d), np.array(truth.valid)
            valid[SMPL24.index("head")], joints2d[SMPL24.index("neck")] = False, np.nan
            return dataclasses.replace(truth, valid=valid, joints2d=joints2d)

        dataset = Changed(without_head)
        generate(CLEAN, dataset, tmp_path / "set", images=True)
        export(load_generated(tmp_path / "set", dataset), "coco", tmp_path / "coco.json")
        for annotation, _ in read_coco(tmp_path / "coco.json")[1]:
            keypoints = np.array(annotation["keypoints"]).reshape(-1, 3)
            assert not keypoints[[SMPL24.index("head"), SMPL24.index("neck")]].any()
            assert annotation["num_keypoints"] == 22

    def test_twice_the_same_bytes(self, made, tmp_path):
        first, _ = written(made, tmp_path, "circles", "coco")
        kept = first.read_bytes()
        first.unlink()
        written(made, tmp_path, "circles", "coco")
        assert first.read_bytes() == kept


class SpinLoader:
    """Reads the arrays as SPIN's base_dataset does: 25 + 24 key points, gender 0 for 'm', 1 for anything else, -1 without the key."""

    def __init__(self, path, folder):
        self.data = {}
        with np.load(path, allow_pickle=False) as arrays:
            self.data |= arrays
        self.folder, count = folder, len(self.data["imgname"])
        self.has_smpl = self.data["has_smpl"]
        self.has_pose_3d = "S" in self.data
        openpose = self.data.get("openpose", np.zeros((count, 25, 3)))
        self.keypoints = np.concatenate([openpose, self.data.get("part", np.zeros((count, 24, 3)))], axis=1)
        self.gender = [0 if str(g) == "m" else 1 for g in self.data["gender"]] if "gender" in self.data else [-1] * count

    def __len__(self):
        return self.data["scale"].shape[0]

    def image(self, i):
        with Image.open(self.folder / self.data["imgname"][i]) as picture:
            return np.array(picture)

    def square(self, i):
        """The square that is cut: SPIN's crop goes from the centre 100 * scale px each way."""
        (x, y), half = self.data["center"][i], 200 * self.data["scale"][i] / 2
        return [x - half, y - half, x + half, y + half]


class TestSpin:
    def test_rows_are_people_with_their_bodies(self, made, tmp_path):
        folder, dataset = made["window"]
        path, told = written(made, tmp_path, "window", "spin")
        loader = SpinLoader(path, folder)
        assert len(loader) == len(dataset) == 16
        for i, sample in enumerate(dataset):
            assert loader.data["sample_id"][i] == sample.id
            np.testing.assert_array_equal(loader.data["pose"][i], sample.truth.rotvecs.ravel())
            np.testing.assert_array_equal(loader.data["shape"][i], sample.truth.betas)
            np.testing.assert_array_equal(loader.data["trans_cam"][i], sample.truth.trans)
            assert loader.gender[i] == ["male", "female"].index(sample.truth.gender)
            assert loader.image(i).shape[2] == 3
        assert loader.data["pose"].shape == (16, 72)
        assert loader.data["shape"].shape == (16, 10)
        assert loader.has_smpl.tolist() == [1] * 16
        assert not loader.has_pose_3d
        assert "No S: its hips" in told
        assert "A hidden key point counts like a seen one" in told

    def test_the_square_is_the_window(self, made, tmp_path):
        folder, dataset = made["window"]
        path, _ = written(made, tmp_path, "window", "spin")
        loader = SpinLoader(path, folder)
        for i, (record, _, _, corner) in enumerate(people_of(folder, dataset).values()):
            window = np.array(record["occlusions"][0]["params"]["window_xyxy"])
            np.testing.assert_allclose(loader.square(i), window - np.tile(corner, 2), atol=1e-9)

    @pytest.mark.parametrize(("settings", "margin"), [({}, 1.2), ({"box_scale": 1.0}, 1.0)])
    def test_the_square_is_that_of_the_box_with_the_margin(self, made, tmp_path, settings, margin):
        folder, dataset = made["patch"]
        path, _ = written(made, tmp_path, "patch", "spin", **settings)
        loader = SpinLoader(path, folder)
        for i, sample in enumerate(dataset):
            x0, y0, x1, y1 = sample.view.bbox_xyxy
            np.testing.assert_allclose(loader.data["center"][i], [(x0 + x1) / 2, (y0 + y1) / 2])
            assert loader.data["scale"][i] == pytest.approx(margin * max(x1 - x0, y1 - y0) / 200)

    def test_of_crop_space_the_square_is_the_whole_picture(self, made, tmp_path):
        folder, dataset = made["circles"]
        path, told = written(made, tmp_path, "circles", "spin")
        loader = SpinLoader(path, folder)
        expected = people_of(folder, dataset)
        assert [f"{name}@{case}" for name, case in zip(loader.data["sample_id"], loader.data["case"], strict=True)] == list(expected)
        assert f"{len(expected)} people" in told
        for i in range(len(loader)):
            np.testing.assert_allclose(loader.square(i), [0, 0, 224, 224], atol=1e-9)
            assert loader.image(i).shape == (224, 224, 3)

    # SPIN's slots of SMPL's own joints, by its JOINT_MAP: (slot of 49, joint of SMPL).
    SMPL_SLOTS = (
        *((1, 12), (2, 17), (3, 19), (4, 21), (5, 16), (6, 18), (7, 20), (8, 0), (9, 2), (10, 5), (11, 8), (12, 1), (13, 4), (14, 7)),
        *((25, 8), (26, 5), (29, 4), (30, 7), (31, 21), (32, 19), (33, 17), (34, 16), (35, 18), (36, 20)),
    )

    @pytest.mark.parametrize("name", ["window", "circles"])
    def test_smpls_joints_stand_in_spins_slots(self, made, tmp_path, name):
        folder, dataset = made[name]
        path, _ = written(made, tmp_path, name, "spin")
        loader = SpinLoader(path, folder)
        lost = 0
        for i, (record, sample, factor, corner) in enumerate(people_of(folder, dataset).values()):
            points, visibility = seen_by_hand(record, sample, factor, corner, loader.image(i).shape[1::-1])
            expected = np.zeros((49, 3))
            for slot, joint in self.SMPL_SLOTS:
                if visibility[joint]:
                    expected[slot] = [*points[joint], 1]
            np.testing.assert_allclose(loader.keypoints[i], expected, atol=1e-9)
            assert loader.data["joint_names"][loader.data["occluded"][i]].tolist() == record["occluded"]
            assert loader.data["joint_names"][loader.data["outside"][i]].tolist() == record["outside"]
            lost += len(record["outside"])
            # The camera of the image sees them there.
            projected = np.asarray(sample.truth.joints) @ loader.data["cam_int"][i].T
            np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], points, atol=1e-6)
        assert (lost > 0) == (name == "window")

    def test_mocap_joints_are_given_from_the_pelvis(self, tmp_path):
        def one_lost(i, truth):
            valid = np.array(truth.valid)
            valid[H36M17.index("left_wrist")] = i != 3
            valid[H36M17.index("pelvis")] = i != 4
            return dataclasses.replace(truth, valid=valid)

        dataset = Changed(one_lost, with_body=False)
        generate(CLEAN, dataset, tmp_path / "set", images=True)
        told = export(load_generated(tmp_path / "set", dataset), "spin", tmp_path / "spin.npz")
        loader = SpinLoader(tmp_path / "spin.npz", tmp_path / "set")
        assert "16 people, 16 of them without SMPL parameters (has_smpl 0)" in told
        assert loader.gender == [-1] * 16
        assert not loader.data["pose"].any()
        assert loader.has_smpl.tolist() == [0] * 16
        assert np.isnan(loader.data["trans_cam"]).all()
        S = loader.data["S"]
        assert S.shape == (16, 24, 4)
        joints = np.asarray(dataset[0].truth.joints, np.float64)
        for slot, name in (
            (0, "right_ankle"),
            (3, "left_hip"),
            (6, "right_wrist"),
            (12, "neck"),
            (14, "pelvis"),
            (16, "spine"),
            (18, "head_top"),
        ):
            np.testing.assert_allclose(S[0, slot], [*(joints[H36M17.index(name)] - joints[0]), 1], atol=1e-12)
        assert S[0, :, 3].sum() == 17
        assert not S[0, [13, 15, 19, 20, 21, 22, 23]].any()
        assert not S[3, 11].any()
        assert S[3, :, 3].sum() == 16
        # Without the pelvis there is no root, and so no S.
        assert not S[4].any()
        assert not loader.keypoints[:, :25].any()
        np.testing.assert_allclose(loader.keypoints[0, 25 + 14, :2], dataset[0].truth.joints2d[0], atol=1e-9)

    def test_people_of_the_neutral_body_stand_apart(self, tmp_path):
        dataset = Changed(lambda i, truth: dataclasses.replace(truth, gender="neutral") if i < 5 else truth)
        generate(CLEAN, dataset, tmp_path / "set", images=True)
        told = export(load_generated(tmp_path / "set", dataset), "spin", tmp_path / "spin.npz")
        gendered, neutral = (SpinLoader(tmp_path / name, tmp_path / "set") for name in ("spin.npz", "spin-neutral.npz"))
        assert (len(gendered), len(neutral)) == (11, 5)
        assert set(gendered.gender) <= {0, 1}
        assert neutral.gender == [-1] * 5
        assert sorted([*gendered.data["sample_id"], *neutral.data["sample_id"]]) == sorted(dataset.ids)
        assert "second file" in told
        (tmp_path / "spin.npz").unlink()
        with pytest.raises(ResultError, match=r"spin-neutral\.npz is there already"):
            export(load_generated(tmp_path / "set", dataset), "spin", tmp_path / "spin.npz")
        assert not (tmp_path / "spin.npz").exists()

    def test_twice_the_same_bytes(self, made, tmp_path):
        first, _ = written(made, tmp_path, "window", "spin")
        kept = first.read_bytes()
        first.unlink()
        written(made, tmp_path, "window", "spin")
        assert first.read_bytes() == kept


def read_shard(data):
    """The samples of a shard as WebDataset groups them: a key ends at the first dot after the last slash, members of one key follow."""
    samples = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            assert member.isfile()
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            folder, _, name = member.name.rpartition("/")
            stem, _, extension = name.partition(".")
            key = f"{folder}/{stem}"
            if not samples or samples[-1]["__key__"] != key:
                samples.append({"__key__": key})
            assert extension not in samples[-1]
            samples[-1][extension] = tar.extractfile(member).read()
    assert len({sample["__key__"] for sample in samples}) == len(samples)
    return samples


class TestWebdataset:
    def test_samples_hold_what_was_generated(self, made, tmp_path):
        folder, dataset = made["circles"]
        out, told = written(made, tmp_path, "circles", "webdataset")
        assert [path.name for path in out.iterdir()] == ["000000.tar"]
        samples, expected = read_shard((out / "000000.tar").read_bytes()), people_of(folder, dataset)
        images = {view_id(line): line for line in lines_of(folder, "images.jsonl.gz")}
        assert f"{len(expected)} people in 1 shard" in told
        assert [unquote(sample["__key__"]) for sample in samples] == list(expected)
        for sample, (record, person, factor, corner) in zip(samples, expected.values(), strict=True):
            assert set(sample) == {"__key__", "png", "json"}
            about, line = json.loads(sample["json"]), images[view_id(record)]
            assert sample["png"] == (folder / line["image"]).read_bytes()
            assert about["plan"] == record
            assert {key: about[key] for key in ("bbox_xyxy", "window_xyxy", "intrinsics")} == {
                key: line[key] for key in ("bbox_xyxy", "window_xyxy", "intrinsics")
            }
            points, visibility = seen_by_hand(record, person, factor, corner, (224, 224))
            np.testing.assert_allclose(about["joints2d"], points, atol=1e-9)
            assert about["visibility"] == visibility.tolist()
            assert [name for name, hidden in zip(about["joint_names"], about["occluded"], strict=True) if hidden] == record["occluded"]
            np.testing.assert_array_equal(about["rotvecs"], person.truth.rotvecs)
            np.testing.assert_array_equal(about["betas"], person.truth.betas)
            np.testing.assert_array_equal(about["joints"], person.truth.joints)
            assert (about["gender"], about["skeleton"], about["image_size"]) == (person.truth.gender, "smpl24", [224, 224])
            np.testing.assert_allclose(
                np.array(about["keypoints2d"])[:, :2], (person.truth.keypoints2d[:, :2] - corner) * factor, atol=1e-9
            )

    def test_shards_of_so_many(self, made, tmp_path):
        out, told = written(made, tmp_path, "window", "webdataset", shard_size=7)
        shards = {path.name: read_shard(path.read_bytes()) for path in sorted(out.iterdir())}
        assert {name: len(samples) for name, samples in shards.items()} == {"000000.tar": 7, "000001.tar": 7, "000002.tar": 2}
        assert [unquote(sample["__key__"]) for samples in shards.values() for sample in samples] == made["window"][1].ids
        assert "16 people in 3 shards" in told

    @pytest.mark.parametrize("name", ["circles", "window"])
    def test_plans_alone_give_the_very_images(self, made, tmp_path, name):
        out, _ = written(made, tmp_path, name, "webdataset")
        drawn, told = written(made, tmp_path / "drawn", f"{name}-plans", "webdataset")
        assert (drawn / "000000.tar").read_bytes() == (out / "000000.tar").read_bytes()
        assert "images drawn from the plans" in told

    def test_twice_the_same_bytes(self, made, tmp_path):
        first, _ = written(made, tmp_path, "window", "webdataset")
        second, _ = written(made, tmp_path / "again", "window", "webdataset")
        assert (first / "000000.tar").read_bytes() == (second / "000000.tar").read_bytes()

    def test_a_key_has_no_dot_and_can_be_turned_back(self):
        name = "h36m/test/S9/Walking 1.54138969/000001/0@angle=22.5,on=neck"
        assert key_of(name) == "h36m/test/S9/Walking%201%2E54138969/000001/0@angle=22%2E5,on=neck"
        assert unquote(key_of(name)) == name
        assert key_of("../up") == "%2E%2E/up"

    def test_long_ids_are_kept_whole(self, tmp_path):
        class Long(FakeDataset):
            """People whose ids are longer than an old tar's names."""

            def __init__(self):
                super().__init__()
                self._entries = [entry._replace(id=entry.id + "x" * 280) for entry in self._entries[:2]]
                self._index = {entry.id: i for i, entry in enumerate(self._entries)}

        dataset = Long()
        generate(dataclasses.replace(CLEAN), dataset, tmp_path / "set")
        export(load_generated(tmp_path / "set", dataset), "webdataset", tmp_path / "tars")
        assert [unquote(sample["__key__"]) for sample in read_shard((tmp_path / "tars/000000.tar").read_bytes())] == dataset.ids

    def test_numbers_that_are_not_known_are_null(self, tmp_path):
        def unknown(i, truth):
            joints2d, joints, valid = np.array(truth.joints2d), np.array(truth.joints), np.array(truth.valid)
            joints2d[2], joints[2], valid[2] = np.nan, np.nan, False
            return dataclasses.replace(truth, joints2d=joints2d, joints=joints, valid=valid, trans=None)

        dataset = Changed(unknown)
        generate(CLEAN, dataset, tmp_path / "set")
        export(load_generated(tmp_path / "set", dataset), "webdataset", tmp_path / "tars")
        about = json.loads(read_shard((tmp_path / "tars/000000.tar").read_bytes())[0]["json"])
        assert about["joints2d"][2] == [None, None]
        assert about["joints"][2] == [None, None, None]
        assert about["visibility"][2] == 0
        assert about["trans"] is None


class TestBadInput:
    @pytest.mark.parametrize("form", ["coco", "spin"])
    def test_plans_alone_are_not_enough_where_images_are_named(self, made, tmp_path, form):
        with pytest.raises(ResultError, match=r"holds plans only.*--images, or export it as 'webdataset'"):
            written(made, tmp_path, "window-plans", form)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("form", ["coco", "spin", "webdataset"])
    @pytest.mark.parametrize(("harm", "said"), [("altered", "was altered: its hash"), ("missing", "cannot be read: No such file")])
    def test_an_image_that_is_altered_or_gone(self, made, tmp_path, form, harm, said):
        folder, dataset = made["patch"]
        shutil.copytree(folder, tmp_path / "set")
        image = sorted((tmp_path / "set/images").rglob("*.png"))[-1]
        image.write_bytes(image.read_bytes()[:-1] + b"x") if harm == "altered" else image.unlink()
        (tmp_path / "out").mkdir()
        with pytest.raises(ResultError, match=said):
            export(load_generated(tmp_path / "set", dataset), form, tmp_path / "out/it")
        assert list((tmp_path / "out").iterdir()) == []

    def test_an_image_that_cannot_be_drawn_leaves_nothing(self, made, tmp_path):
        dataset = FakeDataset(broken=[FakeDataset().ids[3]])
        with pytest.raises(DataError, match="is broken"):
            export(load_generated(made["window-plans"][0], dataset), "webdataset", tmp_path / "tars", shard_size=2)
        assert list(tmp_path.iterdir()) == []

    def test_another_format(self, made, tmp_path):
        with pytest.raises(UnknownNameError, match=r"No export format named 'cocos'\. Did you mean 'coco'\?"):
            export(load_generated(*made["window"]), "cocos", tmp_path / "out")

    @pytest.mark.parametrize("form", ["coco", "spin", "webdataset"])
    def test_nothing_is_written_over(self, made, tmp_path, form):
        out, _ = written(made, tmp_path, "clean", form)
        with pytest.raises(ResultError, match=r"is there already\. Name another place"):
            export(load_generated(*made["clean"]), form, out)
        taken = tmp_path / "taken"
        taken.write_text("mine")
        with pytest.raises(ResultError, match="is there already"):
            export(load_generated(*made["clean"]), form, taken)
        assert taken.read_text() == "mine"

    def test_an_empty_folder_may_be_filled(self, made, tmp_path):
        (tmp_path / "tars").mkdir()
        out, _ = written(made, tmp_path, "clean", "webdataset")
        assert [path.name for path in out.iterdir()] == ["000000.tar"]

    @pytest.mark.parametrize(
        ("form", "settings", "said"), [("spin", {"box_scale": 0.0}, "a number above 0"), ("webdataset", {"shard_size": 0}, "at least 1")]
    )
    def test_settings_that_make_no_sense(self, made, tmp_path, form, settings, said):
        with pytest.raises(ValueError, match=said):
            written(made, tmp_path, "clean", form, **settings)

    def test_cases_that_are_not_possible_are_left_out_and_counted(self, tmp_path):
        def no_neck(i, truth):
            valid = np.array(truth.valid)
            valid[SMPL24.index("neck")] = i > 0
            return dataclasses.replace(truth, valid=valid)

        dataset = Changed(no_neck)
        generate(two_circles(), dataset, tmp_path / "set", images=True)
        told = export(load_generated(tmp_path / "set", dataset), "coco", tmp_path / "coco.json")
        assert "62 people in 62 images" in told
        assert "left out: 2 not possible (joint not annotated)" in told

    def test_where_nothing_is_possible_there_is_nothing_to_export(self, tmp_path):
        dataset = Changed(lambda i, truth: dataclasses.replace(truth, valid=np.zeros(24, bool)))
        generate(two_circles(), dataset, tmp_path / "set")
        with pytest.raises(ResultError, match="64 plans, of which none is possible"):
            export(load_generated(tmp_path / "set", dataset), "webdataset", tmp_path / "tars")
        assert not (tmp_path / "tars").exists()

    def test_truths_of_two_skeletons(self, tmp_path):
        other = FakeDataset(with_body=False)
        dataset = Changed(lambda i, truth: other[i].truth if i == 7 else truth)
        generate(CLEAN, dataset, tmp_path / "set", images=True)
        with pytest.raises(ResultError, match=r"skeleton 'h36m17', those before it of 'smpl24'"):
            export(load_generated(tmp_path / "set", dataset), "coco", tmp_path / "coco.json")
        export(load_generated(tmp_path / "set", dataset), "webdataset", tmp_path / "tars")

    def test_a_shard_says_so(self, tmp_path):
        generate(XOCC, FakeDataset(), tmp_path / "set", images=True, shard=(1, 4))
        told = export(load_generated(tmp_path / "set", FakeDataset()), "coco", tmp_path / "coco.json")
        assert "This is shard 2 of 4 alone." in told


class TestCommand:
    @pytest.fixture(autouse=True)
    def _fake_data(self, monkeypatch):
        monkeypatch.setattr("hpsbench.datasets.base.open_dataset", lambda *args, **rule: FakeDataset())

    def test_each_format(self, made, run, tmp_path):
        folder, _ = made["clean"]
        for form, out in (("coco", "coco.json"), ("spin", "spin.npz"), ("webdataset", "tars")):
            status, stdout, stderr = run("export", folder, "--format", form, "--out", out)
            assert (status, stdout) == (0, "")
            assert f"{out}: 16 people" in stderr
        assert len(read_coco(tmp_path / "coco.json")[1]) == 16
        assert len(SpinLoader(tmp_path / "spin.npz", folder)) == 16
        assert len(read_shard((tmp_path / "tars/000000.tar").read_bytes())) == 16

    @pytest.mark.parametrize(
        ("words", "status", "said"),
        [
            (["--format", "voc", "--out", "o"], 2, "'voc' is not one of"),
            (["--format", "coco", "--shard-size", "3", "--out", "o"], 2, "--shard-size is for the format webdataset"),
            (["--format", "spin", "--keypoints", "coco17", "--out", "o"], 2, "--keypoints is for the format coco"),
            (["--format", "spin", "--box-scale", "0", "--out", "o"], 2, "box-scale"),
            (["--format", "coco", "--out", "."], 1, "is there already"),
        ],
    )
    def test_a_wrong_call_is_one_message(self, made, run, tmp_path, words, status, said):
        found, out, err = run("export", made["clean"][0], *words)
        assert found == status
        assert said in out + err
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_was_not_generated(self, run):
        status, _, err = run("export", "none", "--format", "coco", "--out", "o")
        assert status == 1
        assert "no finished generated folder" in err

    def test_data_that_must_be_named(self, run, tmp_path):
        protocol = dataclasses.replace(CLEAN, data=dataclasses.replace(CLEAN.data, dataset="3dpw"))
        generate(protocol, FakeDataset(), tmp_path / "set", images=True)
        status, _, err = run("export", tmp_path / "set", "--format", "coco", "--out", "o")
        assert status == 2
        assert "from '3dpw': name its data with --data or HPSBENCH_DATA" in err
