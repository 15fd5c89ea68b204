"""The 3DOH50K reader, on people of the embedded body laid out as 3DOH50K."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from layouts.threedoh import StudioPerson, in_units, pixels, write_threedoh

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.threedoh import ThreeDOH
from hpsbench.errors import DataError, UnknownNameError
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.image import encode_jpeg

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


class TestRead:
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

    def test_images_and_masks(self, written):
        assert abs(int(opened(written)[2].view.read()[0, 0, 0]) - 40) <= 1
        assert opened(written).mask(0) is None
        mask = opened(written, split="train").mask(0)
        assert mask.shape == (1536, 2048)
        assert mask[:, :1024].all()
        assert not mask[:, 1024:].any()

    def test_without_a_body_there_is_no_translation(self, written):
        assert opened(written)[0].truth.trans is None

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
        with pytest.raises(DataError, match="empty"):
            ThreeDOH.splits_in(tmp_path)

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
            ('{"a": {}}', "no record of an image"),
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


def test_inspect(written):
    assert ThreeDOH.inspect(written) == [
        ("warning", "train: images: 1, where 50,310 are quoted"),
        ("warning", "test: images: 3, where 1,290 are quoted"),
    ]


def test_goes_to_worker_processes(written):
    dataset = opened(written)
    assert pickle.loads(pickle.dumps(dataset)).ids == dataset.ids
