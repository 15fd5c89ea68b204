"""The 3DOH50K reader, on people of the embedded body laid out as 3DOH50K."""

import dataclasses
import json
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from layouts.threedoh import StudioPerson, in_units, pixels, write_threedoh

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.threedoh import ThreeDOH
from hpsbench.errors import DataError, UnknownNameError
from hpsbench.geometry import project, rotmat_to_rotvec, rotvec_to_rotmat
from hpsbench.image import encode_jpeg, square_of_box
from hpsbench.protocol import load_protocol
from hpsbench.types import CropSpec, Truth, View

SCALES = (6.71, 7.0, 7.24)


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


@pytest.fixture(scope="module")
def people(bodies):
    """Three people about 30 units from cameras of the capture's numbers, world frame turned against the camera."""
    rng, found = np.random.default_rng(5), []
    for i, scale in enumerate(SCALES):
        rotvecs, betas = rng.normal(0, 0.25, (24, 3)), rng.normal(0, 0.7, 10)
        extri = np.eye(4)
        extri[:3, :3] = rotvec_to_rotmat(torch.tensor([2.9, 0.2 * i, -0.3])).numpy()
        extri[:3, 3] = [0.5 * i, 1.0, 29.0 + 3 * i]
        intri = np.array([[2390.0 + 9 * i, 0, 1022 + 5 * i], [0, 2391.0 + 9 * i, 763 + 4 * i], [0, 0, 1]])
        posed = bodies.neutral(torch.from_numpy(betas)[None], rotvecs=torch.from_numpy(rotvecs)[None])
        found.append(
            StudioPerson(
                rotvecs=rotvecs,
                betas=betas,
                local=posed.joints[0].numpy(),
                lsp_local=bodies.joints(posed, "eval14")[0].numpy(),
                rest_pelvis=bodies.neutral.rest_joints(torch.from_numpy(betas)[None])[0, 0].numpy(),
                trans=rng.normal(0, 1.5, 3),
                scale=scale,
                extri=extri,
                intri=intri,
            )
        )
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory, people):
    """Both splits; nobody changes them."""
    root = tmp_path_factory.mktemp("3doh")
    write_threedoh(root, people)
    write_threedoh(root, people[:1], folder="trainset")
    return root


@pytest.fixture
def copy(written, tmp_path):
    """A folder of its own for a test that damages it."""
    return shutil.copytree(written, tmp_path / "3DOH")


def opened(root, *, split="test", frames="all", bbox="annotated", scale=1.0, bodies=None):
    return ThreeDOH(root, split=split, frames=frames, bbox=bbox, bbox_scale=scale, bodies=bodies)


def changed(root, change, key="00001"):
    """Rewrites the test annotations with one record changed; None takes an entry out."""
    path = root / "testset/annots.json"
    content = json.loads(path.read_text())
    content[key] = {name: value for name, value in {**content[key], **change}.items() if value is not None}
    path.write_text(json.dumps(content))


def checked(root, folder, bodies):
    """(Truth, View) of each record of a split's file in order, each made by the types' own checks out of that record alone.

    But for rotations and translations, which the loader makes of all people at once, as here.
    """
    content = json.loads((root / folder / "annots.json").read_text())
    columns = {name: np.array([content[key][name] for key in sorted(content)]) for name in content["00000"] if not name.endswith("_path")}
    R, t, scales = columns["extri"][:, :3, :3], columns["extri"][:, :3, 3], columns["scale"][:, 0]
    rotvecs, betas = columns["pose"].reshape(-1, 24, 3), columns["betas"][:, 0]
    rotvecs[:, 0] = rotmat_to_rotvec(torch.from_numpy(R) @ rotvec_to_rotmat(torch.from_numpy(rotvecs[:, 0].copy()))).numpy()
    J0 = bodies.neutral.rest_joints(torch.from_numpy(betas))[:, 0].numpy()
    trans = (np.einsum("nij,nj->ni", R, J0 + columns["trans"][:, 0]) + t) / scales[:, None] - J0
    for i, (joints, K) in enumerate(zip(columns["smpl_joints_3d"], columns["intri"], strict=True)):
        joints = joints / scales[i]
        truth = Truth(
            joints=joints,
            skeleton="smpl24",
            joints2d=project(torch.from_numpy(joints), torch.from_numpy(K)).numpy(),
            valid=np.ones(24, dtype=bool),
            rotvecs=rotvecs[i],
            betas=betas[i],
            trans=trans[i],
            keypoints2d=np.column_stack([columns["smpl_joints_2d"][i], np.ones(24)]),
            keypoints_skeleton="smpl24",
        )
        yield truth, View(lambda: None, "", columns["bbox"][i].reshape(4), K, reducible=True)


class TestRead:
    @pytest.mark.parametrize(("split", "folder"), [("test", "testset"), ("train", "trainset")])
    def test_samples_are_the_checked_records(self, written, bodies, split, folder):
        """To the last bit, field by field; and a record made without checks passes them."""
        samples, records = list(opened(written, split=split, bodies=bodies)), list(checked(written, folder, bodies))
        assert len(samples) == len(records)
        for sample, pair in zip(samples, records, strict=True):
            for found, wanted in zip((sample.truth, sample.view), pair, strict=True):
                for name in [field.name for field in dataclasses.fields(wanted) if field.name not in ("read", "image_key")]:
                    one, other = getattr(found, name), getattr(wanted, name)
                    if not isinstance(other, np.ndarray):
                        assert one == other, name
                        continue
                    assert (one.dtype, one.shape) == (other.dtype, other.shape), name
                    # A box is its centre and half its sides.
                    assert np.array_equal(one, other) or (name == "bbox_xyxy" and np.allclose(one, other, rtol=0, atol=1e-9)), name
            for record in (sample, sample.view, sample.truth):
                assert vars(dataclasses.replace(record)) == vars(record)

    def test_ids_order_and_counts(self, written):
        dataset = opened(written)
        assert dataset.ids == [f"3doh/test/images/{i:05d}/0" for i in range(3)]
        assert [sample.id for sample in dataset] == dataset.ids
        assert dataset.counts.total == dataset.counts.kept == 3
        assert dataset.frames() == [[0], [1], [2]]
        assert [len(dataset.track(track)) for track in list(dataset.track_lengths)] == [1, 1, 1]
        assert [name.split("/")[1] for name in opened(written, split="all").ids] == ["test", "test", "test", "train"]
        assert ThreeDOH.splits_in(written) == ("train", "test")

    def test_bodies_under_the_parameters_are_the_people_in_metres(self, written, people, bodies):
        """An ordinary SMPL call with the loader's parameters gives the body that went in, at its own size: 0.1 mm, float64."""
        for person, sample in zip(people, opened(written, bodies=bodies), strict=True):
            truth = sample.truth
            rows = {key: torch.from_numpy(getattr(truth, key))[None] for key in ("betas", "rotvecs", "trans")}
            joints = bodies.neutral(rows["betas"], rotvecs=rows["rotvecs"], trans=rows["trans"]).joints[0].numpy()
            np.testing.assert_allclose(joints, in_units(person, person.local) / person.scale, atol=1e-4)
            np.testing.assert_allclose(truth.joints, joints, atol=1e-4)
            bones = np.linalg.norm(truth.joints[1:] - truth.joints[:1], axis=1)
            np.testing.assert_allclose(bones, np.linalg.norm(person.local[1:] - person.local[:1], axis=1), atol=1e-9)
            assert truth.gender == "neutral"

    def test_projections(self, written, people):
        """The unchanged camera puts the metric joints on the annotated pixels: 0.1 px."""
        for person, sample in zip(people, opened(written), strict=True):
            np.testing.assert_allclose(sample.truth.joints2d, pixels(person, person.local), atol=0.1)
            np.testing.assert_allclose(sample.truth.keypoints2d[:, :2], pixels(person, person.local), atol=1e-9)
            np.testing.assert_array_equal(sample.view.intrinsics, person.intri)
            assert sample.image_size == (2048, 1536)

    def test_lsp_joints(self, written, people):
        dataset = opened(written)
        for i, person in enumerate(people):
            joints, joints2d = dataset.lsp(i)
            np.testing.assert_allclose(joints, in_units(person, person.lsp_local) / person.scale, atol=1e-4)
            np.testing.assert_allclose(joints2d, pixels(person, person.lsp_local), atol=1e-9)
            assert dataset.scale(i) == person.scale

    def test_boxes(self, written, people):
        points = pixels(people[1], people[1].local)
        low, high = points.min(0), points.max(0)
        seen = points[((points >= 0) & (points < (2048, 1536))).all(1)]
        np.testing.assert_allclose(opened(written)[1].view.bbox_xyxy, [*(low - 20), *(high + 20)])
        np.testing.assert_allclose(opened(written, bbox="joints-in-image")[1].view.bbox_xyxy, [*seen.min(0), *seen.max(0)])
        grown = opened(written, scale=2.0)[1].view.bbox_xyxy
        np.testing.assert_allclose(grown[2:] - grown[:2], 2 * (high - low + 40))

    def test_boxes_of_the_annotated_height(self, copy):
        """30 wide and 100 high about (65, 70), and 200 wide and 100 high: squares of side 100, of side 120 under a scale of 1.2."""
        changed(copy, {"bbox": [[50, 20], [80, 120]]}, "00000")
        changed(copy, {"bbox": [[100, 300], [300, 400]]}, "00001")
        boxes = [sample.view.bbox_xyxy.tolist() for sample in opened(copy, bbox="annotated-height")]
        assert boxes[:2] == [[15, 20, 115, 120], [150, 300, 250, 400]]
        assert opened(copy, bbox="annotated-height", scale=1.2)[1].view.bbox_xyxy.tolist() == [140, 290, 260, 410]
        changed(copy, {"bbox": [[100, 300], [300, 300]]}, "00001")
        assert opened(copy).counts.kept == 3
        assert opened(copy, bbox="annotated-height").counts.dropped == {"no box": 0, "box under one pixel": 1}

    def test_images_and_masks(self, written):
        assert abs(int(opened(written)[2].view.read()[0, 0, 0]) - 40) <= 1
        assert opened(written).mask(0) is None
        mask = opened(written, split="train").mask(0)
        assert mask.shape == (1536, 2048)
        assert mask[:, :1024].all()
        assert not mask[:, 1024:].any()

    def test_without_a_body_there_is_no_translation(self, written):
        assert opened(written)[0].truth.trans is None

    def test_an_image_of_another_name(self, copy):
        """A record's image is the one that it names."""
        changed(copy, {"img_path": "images\\00002.jpg"})
        dataset = opened(copy)
        assert [round(float(sample.view.read().mean()), -1) for sample in dataset] == [0, 40, 40]
        assert pickle.loads(pickle.dumps(dataset))[1].view.read()[0, 0, 0] == dataset[2].view.read()[0, 0, 0]

    @pytest.mark.parametrize("folder", ["test", "testset/testset"])
    def test_other_folders(self, copy, folder):
        (copy / "testset").rename(copy / "was")
        (copy / folder).parent.mkdir(exist_ok=True)
        (copy / "was").rename(copy / folder)
        assert len(opened(copy)) == 3

    def test_visibility_column_and_slashes(self, copy, people):
        points = np.column_stack([pixels(people[1], people[1].local), np.ones(24)])
        before = opened(copy)[1]
        changed(copy, {"smpl_joints_2d": points.tolist(), "img_path": "./images/00001.jpg"})
        np.testing.assert_array_equal(opened(copy)[1].truth.keypoints2d, before.truth.keypoints2d)

    def test_fingerprint_follows_the_file(self, copy):
        before = opened(copy).fingerprint
        changed(copy, {"scale": [7.01]})
        assert opened(copy).fingerprint != before

    def test_no_split_hides_another_in_the_fingerprint(self, copy):
        """Both files have the same name: each counts, and so does which is which."""
        before = {split: opened(copy, split=split).fingerprint for split in ("train", "test", "all")}
        assert len(set(before.values())) == 3
        first, second = (copy / folder for folder in ("trainset", "testset"))
        first.rename(copy / "was")
        second.rename(first)
        (copy / "was").rename(second)
        after = {split: opened(copy, split=split).fingerprint for split in before}
        assert not set(after.values()) & set(before.values())


class TestCrops:
    """The squares that a model gets by the protocols of PARE and NIKI, of boxes 30 px and 200 px wide and 100 px high."""

    @pytest.mark.parametrize(
        ("name", "margin", "sides"),
        [
            # PARE: 1.2 times the height.
            ("3doh-pare", 1.2, (120, 120)),
            # NIKI: 1.3 times the longer side.
            ("3doh-niki", CropSpec().box_scale, (130, 260)),
            ("3doh-test", CropSpec().box_scale, (125, 250)),
        ],
    )
    def test_sides(self, copy, name, margin, sides):
        changed(copy, {"bbox": [[50, 20], [80, 120]]}, "00000")
        changed(copy, {"bbox": [[100, 300], [300, 400]]}, "00001")
        rule = load_protocol(name).data
        dataset = opened(copy, split=rule.split, frames=rule.frames, bbox=rule.bbox, scale=rule.bbox_scale)
        for sample, centre, side in zip(dataset, ((65, 70), (200, 350)), sides, strict=False):
            square = square_of_box(sample.view.bbox_xyxy, margin)
            np.testing.assert_allclose(square[2:] - square[:2], side, rtol=1e-12)
            np.testing.assert_allclose((square[2:] + square[:2]) / 2, centre, rtol=1e-12)


class TestBadInput:
    def test_unknown_names(self, written):
        with pytest.raises(UnknownNameError, match="Known: all, test, train"):
            opened(written, split="validation")
        with pytest.raises(UnknownNameError, match="frame rule"):
            opened(written, frames="valid")
        with pytest.raises(UnknownNameError, match="Did you mean 'annotated'"):
            opened(written, bbox="anotated")
        with pytest.raises(ValueError, match="positive"):
            opened(written, scale=-1)

    def test_no_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"No testset/annots\.json or test/annots\.json .*no such folder.*Unpack testset\.zip"):
            opened(tmp_path / "nowhere")
        with pytest.raises(DataError, match=r"\(empty\)\. Unpack testset\.zip there"):
            ThreeDOH.splits_in(tmp_path)

    @pytest.mark.parametrize(
        ("below", "said"),
        [
            ("testset", "Name the folder above it, which holds trainset or testset: .*3DOH"),
            ("..", "Name the folder below it: .*3DOH"),
            ("trainset/images", r"annots\.json in .*images \(00000\.jpg\)\. Unpack testset\.zip there"),
        ],
    )
    def test_a_wrong_folder(self, copy, below, said):
        with pytest.raises(DataError, match=said):
            opened((copy / below).resolve())

    def test_3dpw_for_3doh(self, tmp_path):
        (tmp_path / "sequenceFiles/test").mkdir(parents=True)
        (tmp_path / "imageFiles").mkdir()
        with pytest.raises(DataError, match=r"No testset/annots\.json .* \(imageFiles, sequenceFiles\)\. Unpack testset\.zip"):
            opened(tmp_path)

    def test_a_split_that_is_there_twice(self, copy):
        shutil.copytree(copy / "testset", copy / "test")
        with pytest.raises(
            DataError, match=r"test is there twice: .*testset/annots\.json and .*test/annots\.json\. .* move the other away"
        ):
            opened(copy)
        shutil.rmtree(copy / "test")
        (copy / "test").symlink_to(copy / "testset")
        assert len(opened(copy)) == 3

    @pytest.mark.parametrize(("unit", "said"), [(1.0, "2.7"), (0.1, "0.0"), (100 / 7, "5.")])
    def test_joints_in_other_units(self, copy, people, unit, said):
        """As if the joints were in other units than ``scale`` says."""
        for i, person in enumerate(people):
            factor = unit if unit != 1.0 else person.scale
            changed(copy, {"smpl_joints_3d": (in_units(person, person.local) * factor).tolist()}, f"{i:05d}")
        with pytest.raises(DataError, match=rf"thighs of {said}.* m \(median\).*about 7 to the metre"):
            opened(copy)

    def test_odd_scale_is_told(self, copy, people):
        person = people[1]
        for i in range(3):
            joints = in_units(person, person.local) / person.scale * 12
            changed(copy, {"scale": [12.0], "smpl_joints_3d": joints.tolist()}, f"{i:05d}")
        levels = dict(reversed(line) for line in opened(copy).against_known())
        assert any("12.00 to 12.00" in text and level == "warning" for text, level in levels.items())

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"pose": None}, "'00001' lacks pose"),
            ({"pose": [[0.0] * 71]}, r"'pose' has shape \(1, 71\), expected shape \(1, 72\)"),
            ({"extri": [[1, 0], [0]]}, "'extri' has no numbers in rows of one length"),
            ({"trans": [[0.0, float("nan"), 0.0]]}, "'trans' holds NaN"),
            ({"scale": [0.0]}, "'scale' is 0.0"),
            ({"betas": "none"}, "'betas' has no numbers"),
            ({"trans": [[0.0, None, 0.0]]}, "'trans' holds NaN"),
            ({"scale": [10**400]}, "'scale' has no numbers"),
            ({"smpl_joints_3d": [[0.0, 0.0, 7.0]] * 23}, r"'smpl_joints_3d' has shape \(23, 3\), expected shape \(24, 3\)"),
        ],
    )
    def test_bad_entry(self, copy, change, match):
        changed(copy, change)
        with pytest.raises(DataError, match=match):
            opened(copy)

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ('{"00000": {', "no whole JSON"),
            ("[]", "holds a list"),
            ("{}", "holds nobody"),
            ("", "no whole JSON"),
            ("[" * 100_000, "no whole JSON"),
            ('{"a": {}}', "no record of an image"),
            ('{"0": {}}', "no record of an image, expected keys as 00000"),
            ('{"0000\u00b2": {}}', "no record of an image"),
            ('{"00000": 1}', "no record of an image"),
            ('{"00000": {}, "00000": {}}', "a key twice"),
            (b"\xff\xfe\x00", "no whole JSON"),
        ],
    )
    def test_bad_file(self, copy, text, match):
        (copy / "testset/annots.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(DataError, match=match):
            opened(copy)

    def test_missing_image(self, copy):
        (copy / "testset/images/00002.jpg").unlink()
        with pytest.raises(DataError, match=r"1 of 3 images .* the first is .*00002\.jpg"):
            opened(copy)
        shutil.rmtree(copy / "testset/images")
        with pytest.raises(DataError, match="3 of 3 images"):
            opened(copy)

    @pytest.mark.parametrize("kept", [0, 20, 5000])
    def test_cut_image(self, copy, kept):
        """The first one is looked at when the dataset is opened, the others when they are read."""
        for number, look in ((0, opened), (1, lambda root: opened(root)[1].view.read())):
            path = copy / f"testset/images/{number:05d}.jpg"
            whole = path.read_bytes()
            path.write_bytes(whole[:kept])
            if number or kept < 5000:
                with pytest.raises(DataError, match=rf"{number:05d}\.jpg is broken.*again"):
                    look(copy)
            path.write_bytes(whole)

    @pytest.mark.parametrize(
        ("change", "said"), [(lambda path: path.unlink(), "cannot be read"), (lambda path: path.write_bytes(b""), "broken")]
    )
    def test_bad_mask(self, copy, change, said):
        change(copy / "trainset/masks/00000.png")
        with pytest.raises(DataError, match=rf"00000\.png .*{said}"):
            opened(copy, split="train").mask(0)

    def test_nobody_has_a_box(self, copy):
        for i in range(3):
            changed(copy, {"bbox": [[7, 7], [7, 7]]}, f"{i:05d}")
        dataset = opened(copy)
        assert (len(dataset), dataset.counts.dropped["box under one pixel"]) == (0, 3)

    def test_resized_images(self, copy):
        path = copy / "testset/images/00000.jpg"
        original = path.read_bytes()
        path.write_bytes(encode_jpeg(np.zeros((768, 1024, 3), dtype=np.uint8)))
        with pytest.raises(DataError, match="1024 x 768 px, but its camera"):
            opened(copy)
        (copy / "testset/images/00001.jpg").write_bytes(path.read_bytes())
        path.write_bytes(original)
        with pytest.raises(DataError, match="1024 x 768 px, expected 2048 x 1536"):
            opened(copy)[1].view.read()


class TestTyped:
    """Through the command line: one message, exit status 1, no result."""

    @pytest.mark.parametrize(
        ("model", "damage", "said"),
        [
            ("mean-pose", shutil.rmtree, r"No testset/annots\.json .*\(no such folder\)"),
            ("mean-pose", lambda root: (root / "testset/annots.json").write_text('{"00000": {'), r"annots\.json is no whole JSON file"),
            ("mean-pose", lambda root: changed(root, {"extri": [[0.0] * 4] * 3}), r"'extri' has shape \(3, 4\), expected shape \(4, 4\)"),
            ("mean-pose", lambda root: (root / "testset/images/00002.jpg").unlink(), r"1 of 3 images .* the first is .*00002\.jpg"),
            ("niki", lambda root: (root / "testset/images/00002.jpg").write_bytes(b"\xff\xd8\xff"), r"00002\.jpg is broken: 3 bytes"),
            (
                "mean-pose",
                lambda root: [changed(root, {"bbox": [[7, 7], [7, 7]]}, f"{i:05d}") for i in range(3)],
                "3doh/test has nobody to evaluate: 0 of 3 person-frames kept",
            ),
        ],
        ids=["no folder", "cut", "shape", "no image", "cut image", "nobody"],
    )
    def test_eval(self, run, copy, tmp_path, model, damage, said):
        damage(copy)
        words = ("--protocol", "3doh-test", "--data", copy, "--body", "openhps", "--out", tmp_path / "out")
        status, out, err = run("eval", "--model", model, *words)
        lines = [line for line in err.splitlines() if line.startswith("hpsbench: ")]
        assert (status, out, len(lines)) == (1, "", 1), err
        assert re.search(said, lines[0]), err
        assert "Traceback" not in err
        assert not [path for path in tmp_path.rglob("*") if path.name in ("result.json", "errors.h5")]


def test_inspect(written):
    assert ThreeDOH.inspect(written) == [
        ("warning", "train: images: 1, where 50,310 are quoted"),
        ("warning", "test: images: 3, where 1,290 are quoted"),
    ]


def test_goes_to_worker_processes(written):
    dataset = opened(written)
    assert pickle.loads(pickle.dumps(dataset)).ids == dataset.ids
