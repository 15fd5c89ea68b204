"""The AGORA reader, on people of the embedded body laid out as AGORA."""

import json
import pickle
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from damage import cut, emptied
from layouts.agora import (
    FULL,
    SMALL,
    AgoraPerson,
    fit_path,
    in_camera,
    pixels,
    shots,
    smpl_fit,
    table,
    write_agora,
    write_image,
    write_test_split,
)

import hpsbench.datasets.base_agora as base_agora
from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.agora import Agora, Agora4K, AgoraX, AgoraX4K
from hpsbench.datasets.base_agora import intrinsics_of, load_fit
from hpsbench.errors import DataError, HpsbenchError, UnknownNameError, UnsafePickleError
from hpsbench.geometry import project, rotmat_to_rotvec
from hpsbench.types import Sample, Truth, View

OCCLUSIONS = (10.0, 85.0, 95.0, -1.0)


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


def make_people(bodies) -> list[AgoraPerson]:
    """Four people; the last is a kid of eleven betas and 0.6 of an adult's size; the third is 95 % occluded."""
    rng = np.random.default_rng(3)
    people = []
    for i, occlusion in enumerate(OCCLUSIONS):
        kid = i == 3
        rotvecs, betas = rng.normal(0, 0.2, (24, 3)), rng.normal(0, 0.8, 10)
        rotvecs, betas = np.float32(rotvecs).astype(float), np.float32(betas).astype(float)
        transl = np.array([0.0625, -0.125, 0.25 * i])
        posed = bodies.neutral(*(torch.from_numpy(a)[None] for a in (betas,)), rotvecs=torch.from_numpy(rotvecs)[None])
        joints, vertices = ((points[0].numpy() * (0.6 if kid else 1) + transl) for points in (posed.joints, posed.vertices))
        people.append(
            AgoraPerson(
                rotvecs=rotvecs,
                betas=np.append(betas, 0.8) if kid else betas,
                transl=transl,
                joints=joints,
                vertices=vertices,
                stand=(-1.0 + 0.9 * i, 0.3, 6.0 + i),
                yaw=-40.0 + 75 * i,
                gender=("male", "female", "male", "neutral")[i],
                kid=kid,
                occlusion=occlusion,
            )
        )
    return people


@pytest.fixture(scope="module")
def some(bodies):
    return shots(make_people(bodies))


@pytest.fixture(scope="module")
def written(tmp_path_factory, some):
    """The folder of the seven shots, one image of them missing; nobody changes it."""
    root = tmp_path_factory.mktemp("agora")
    write_agora(root, some, missing=[some[6].image])
    return root


@pytest.fixture(scope="module")
def whole(written, some):
    """The same folder with every image."""
    root = written.with_name("whole")
    root.mkdir()
    for name in ("SMPL", "SMPLX", "smpl_gt", "smplx_gt"):
        (root / name).symlink_to(written / name)
    (root / "validation").mkdir()
    for shot in some:
        write_image(root / "validation", shot.image, SMALL)
    return root


@pytest.fixture
def small(tmp_path, some):
    """A folder of two shots for a test that damages it."""
    write_agora(tmp_path / "AGORA", some[:2])
    return tmp_path / "AGORA"


def opened(root, *, kind=Agora, split="validation", frames="all", bbox="joints-in-image", scale=1.0, bodies=None):
    return kind(root, split=split, frames=frames, bbox=bbox, bbox_scale=scale, bodies=bodies)


def who(dataset, some, i):
    """(shot, person) that went in for sample ``i``."""
    told = dataset.person(i)
    shot = next(shot for shot in some if shot.image == told["image"])
    return shot, shot.people[told["person"]]


def smpl_of(root, path, place, bodies):
    """What ``Truth`` holds of a person whose fit is the file ``path``."""
    if not path.is_file():
        return {}
    fit = load_fit(path, "smpl", **place)
    root = rotmat_to_rotvec(torch.from_numpy(fit.orientation())).numpy()
    found = {"rotvecs": np.concatenate([root[None], fit.params["body_pose"]])}
    if len(fit.params["betas"]) == 10:
        pelvis = bodies.neutral.rest_joints(torch.from_numpy(fit.params["betas"])[None])[0, 0].double().numpy()
        found |= {"betas": fit.params["betas"], "trans": fit.transl(pelvis)}
    return found


def checked_record(dataset, sample, row, k, bodies):
    """The record that the types' own checks pass, made of person ``k`` of a table's ``row`` (4K px) alone, one field after the other."""
    count = 24 if dataset.model == "smpl" else 22
    skeleton, K, factor = f"{dataset.model}{count}", intrinsics_of(row.image, dataset.size), dataset.size[0] / FULL[0]
    keypoints = row.joints2d[k, :count] * factor
    px = keypoints[((keypoints >= 0) & (keypoints < dataset.size)).all(1)]
    low, high = px.min(0), px.max(0)
    centre, half = (low + high) / 2, (high - low) / 2
    place = {"rotation": row.rotations[k], "shift": row.shifts[k]}
    sequence, _, frame = row.image.rpartition("_")
    stem = f"{dataset.name}/validation/{sequence}/{frame}"
    joints = row.joints[k, :count]
    truth = Truth(
        joints=joints,
        skeleton=skeleton,
        joints2d=project(torch.from_numpy(joints), torch.from_numpy(K)).numpy(),
        valid=np.ones(count, dtype=bool),
        **(smpl_of(dataset.root, dataset.root / row.fits[k], place, bodies) if count == 24 else {"gender": row.genders[k]}),
        keypoints2d=np.concatenate([keypoints, np.ones((count, 1))], axis=1),
        keypoints_skeleton=skeleton,
    )
    view = View(sample.view.read, stem, np.concatenate([centre - half, centre + half]), K, reducible=True)
    return Sample(f"{stem}/{k}", view, truth, sequence, f"{stem}/{k}", int(frame), dataset.size)


def assert_same_record(found, wanted):
    """Field by field, arrays to the last bit."""
    assert vars(found).keys() == vars(wanted).keys()
    for name, value in vars(wanted).items():
        other = getattr(found, name)
        if isinstance(value, View | Truth):
            assert_same_record(other, value)
        elif isinstance(value, np.ndarray):
            assert (other.dtype, other.shape, other.tobytes()) == (value.dtype, value.shape, value.tobytes()), name
        elif name == "read":
            assert (other.func, other.args) == (value.func, value.args)
        else:
            assert type(other) is type(value), name
            assert other == value, name


class TestColumns:
    @pytest.mark.parametrize("kind", [Agora, AgoraX])
    def test_samples_are_the_checked_records_of_their_rows(self, written, kind, bodies):
        self.assert_checked(opened(written, kind=kind, bodies=bodies), bodies, 12)

    def test_those_who_have_no_fit(self, small, some, bodies):
        (small / fit_path(some[0], 1, "smpl")).with_suffix(".pkl").unlink()
        dataset = opened(small, bodies=bodies)
        assert sum(sample.truth.rotvecs is None for sample in dataset) == 1
        self.assert_checked(dataset, bodies, 4)

    @staticmethod
    def assert_checked(dataset, bodies, count):
        rows = {people.image: people for people in dataset.annotations()}
        assert len(dataset) == count
        for i, sample in enumerate(dataset):
            told = dataset.person(i)
            wanted = checked_record(dataset, sample, rows[told["image"]], told["person"], bodies)
            assert_same_record(sample, wanted)
            assert_same_record(dataset[i], wanted)

    def test_read_gives_the_image_of_the_frame(self, small, some):
        """Two images of one sequence, told apart by their reds."""
        other = replace(some[0], image=f"{some[0].image[:-1]}4")
        write_agora(small, [some[0], other])
        path = small / "validation" / f"{other.image}_1280x720.png"
        picture = np.full((720, 1280, 3), 200, dtype=np.uint8)
        path.unlink()
        write_image(small / "validation", other.image, SMALL, picture)
        dataset = opened(small)
        assert len({sample.sequence for sample in dataset}) == 1
        assert [int(sample.view.read().max()) for sample in dataset] == [64, 64, 200, 200]

    def test_fits_are_parsed_once(self, small, monkeypatch):
        first = opened(small)
        monkeypatch.setattr(base_agora, "load_pickle", None)
        again = opened(small)
        assert again.fingerprint == first.fingerprint
        np.testing.assert_array_equal(again[3].truth.rotvecs, first[3].truth.rotvecs)
        assert again.fit(3).params.keys() == {"global_orient", "transl", "body_pose", "betas"}


class TestRead:
    def test_ids_order_and_counts(self, written, some):
        dataset = opened(written)
        assert len(dataset) == 12
        assert dataset.counts.total == 14
        assert dataset.counts.dropped == {"image missing": 2, "nothing of them inside the image": 0, "box under one pixel": 0}
        assert dataset.ids[:3] == [
            "agora/validation/ag_validationset_3dpeople_bfh_archviz_5_10_cam00/00000/0",
            "agora/validation/ag_validationset_3dpeople_bfh_archviz_5_10_cam00/00000/1",
            "agora/validation/ag_validationset_3dpeople_bfh_archviz_5_10_cam01/00000/0",
        ]
        assert [sample.id for sample in dataset] == dataset.ids
        assert dataset.frames() == [[2 * i, 2 * i + 1] for i in range(6)]
        assert all(len(dataset.track(track)) == 1 for track in list(dataset.track_lengths))
        assert dataset[0].view.image_key == dataset[1].view.image_key != dataset[2].view.image_key

    @pytest.mark.parametrize("kind", [Agora, AgoraX])
    def test_joints_and_projections_are_those_of_the_people(self, whole, some, kind):
        """0.1 mm and 0.1 px for every kind of camera; the projection uses the loader's camera, the expected one the writer's."""
        dataset, cameras = opened(whole, kind=kind), set()
        for i, sample in enumerate(dataset):
            shot, person = who(dataset, some, i)
            cameras.add(shot.image)
            count = 24 if kind is Agora else 22
            expected = in_camera(shot, person, person.joints[:count])
            np.testing.assert_allclose(sample.truth.joints, expected, atol=1e-4)
            np.testing.assert_allclose(sample.truth.joints2d, pixels(shot, expected) / 3, atol=0.1)
            np.testing.assert_allclose(sample.truth.keypoints2d[:, :2], pixels(shot, expected) / 3, atol=1e-6)
            assert sample.truth.valid.all()
            assert sample.image_size == SMALL
            np.testing.assert_array_equal(sample.view.intrinsics[:2, 2], [640, 360])
        assert len(cameras) == 7

    def test_bodies_under_the_parameters_are_the_people(self, whole, some, bodies):
        """SMPL(betas, R_cam, body pose, trans_cam) gives the joints that went in: every camera, 0.1 mm (the fits are float32)."""
        dataset, checked = opened(whole, bodies=bodies), 0
        for i, sample in enumerate(dataset):
            shot, person = who(dataset, some, i)
            truth = sample.truth
            assert truth.gender == "neutral"
            if person.kid:
                assert truth.betas is None
                assert truth.trans is None
                assert len(dataset.fit(i).params["betas"]) == 11
                continue
            rows = {key: torch.from_numpy(getattr(truth, key))[None] for key in ("betas", "rotvecs", "trans")}
            joints = bodies.neutral(rows["betas"], rotvecs=rows["rotvecs"], trans=rows["trans"]).joints[0].numpy()
            np.testing.assert_allclose(joints, in_camera(shot, person, person.joints), atol=1e-4)
            checked += 1
        assert checked == 11

    def test_smplx_parameters_in_the_camera_frame(self, written, some, bodies):
        """The SMPL body stands in for SMPL-X: what is tested is the way of root and translation."""
        dataset = opened(written, kind=AgoraX)
        for i in range(len(dataset)):
            shot, person = who(dataset, some, i)
            if person.kid:
                continue
            fit = dataset.fit(i)
            assert fit.params["left_hand_pose"].shape == (15, 3)
            pelvis = bodies.neutral.rest_joints(torch.from_numpy(person.betas)[None])[0, 0].numpy()
            np.testing.assert_allclose(fit.transl(pelvis) + pelvis, in_camera(shot, person, person.joints)[0], atol=1e-4)
            assert dataset[i].truth.rotvecs is None
            assert dataset[i].truth.gender == person.gender
            assert dataset[i].truth.skeleton == "smplx22"

    def test_without_a_body_there_is_no_translation(self, written):
        sample = opened(written)[0]
        assert sample.truth.trans is None
        assert sample.truth.rotvecs.shape == (24, 3)

    def test_without_fits_there_are_joints(self, small):
        for path in small.glob("smpl_gt/**/*.pkl"):
            path.unlink()
        sample = opened(small)[0]
        assert sample.truth.rotvecs is None
        assert sample.truth.joints.shape == (24, 3)

    def test_4k(self, tmp_path, some):
        write_agora(tmp_path, some[:1], size=FULL)
        (tmp_path / "SMPL/validation_1_withjv.pkl").unlink(missing_ok=True)
        dataset, shot = opened(tmp_path, kind=Agora4K), some[0]
        assert dataset.ids[0].startswith("agora-4k/validation/")
        expected = in_camera(shot, shot.people[0], shot.people[0].joints)
        np.testing.assert_allclose(dataset[0].truth.joints2d, pixels(shot, expected), atol=0.1)
        assert dataset[0].view.read().shape == (2160, 3840, 3)
        assert opened(tmp_path, kind=AgoraX4K)[0].id.startswith("agora-smplx-4k/")
        with pytest.raises(DataError, match=r"None of the 1 images .*_1280x720\.png"):
            opened(tmp_path)

    @pytest.mark.parametrize(("place", "f_4k"), [(0, 16000 / 3), (1, 1920), (2, 1920), (3, 1920), (4, 1920), (5, 8960 / 3), (6, 8960 / 3)])
    def test_focal_length_by_name(self, some, place, f_4k):
        """50, 18 and 28 mm on 36 mm: 5333.333, 1920 and 2986.667 px at 3840; a third at 1280."""
        np.testing.assert_allclose(np.diag(intrinsics_of(some[place].image, FULL)), [f_4k, f_4k, 1], rtol=1e-12)
        np.testing.assert_allclose(np.diag(intrinsics_of(some[place].image, SMALL)), [f_4k / 3, f_4k / 3, 1], rtol=1e-12)

    def test_tokens_in_the_folder_name_choose_no_camera(self, tmp_path, some):
        write_agora(tmp_path / "hdri_cam00", some[5:6])
        np.testing.assert_allclose(opened(tmp_path / "hdri_cam00")[0].view.intrinsics[0, 0], 1280 * 28 / 36)


class TestRules:
    def test_valid(self, written, some):
        dataset = opened(written, frames="valid")
        assert {dataset.person(i)["occlusion"] for i in range(len(dataset))} == {10.0, 85.0}
        assert dataset.counts.dropped["not valid"] == sum(not 0 <= p.occlusion <= 90 for shot in some[:6] for p in shot.people) == 5

    @pytest.mark.parametrize(("rule", "expected"), [("occlusion-10-20", {10.0}), ("occlusion-80-90", {85.0}), ("occlusion-0-10", set())])
    def test_occlusion_bins(self, written, rule, expected):
        dataset = opened(written, frames=rule)
        assert {dataset.person(i)["occlusion"] for i in range(len(dataset))} == expected

    def test_bins_split_the_valid_people(self, tmp_path, some):
        people = [replace(some[0].people[0], occlusion=o) for o in (0.0, 9.999, 10.0, 79.99, 80.0, 90.0, 90.01, -1e-9)]
        write_agora(tmp_path, [replace(some[0], people=tuple(people))])
        bins = {rule: len(opened(tmp_path, frames=rule)) for rule in Agora.frame_rules if rule.startswith("occlusion")}
        assert {rule: n for rule, n in bins.items() if n} == {
            "occlusion-0-10": 2,
            "occlusion-10-20": 1,
            "occlusion-70-80": 1,
            "occlusion-80-90": 2,
        }
        assert len(opened(tmp_path, frames="valid")) == sum(bins.values()) == 6

    def test_person(self, written, some):
        dataset = opened(written)
        kid = next(i for i in range(len(dataset)) if dataset.person(i)["kid"])
        assert dataset.person(kid)["gender"] == "neutral"
        assert not dataset.person(kid)["valid"]

    def test_boxes(self, written, some):
        """All is in the image here: the tight boxes of 24 joints, 25 joints and vertices, and the scale about the centre."""
        boxes = {rule: opened(written, bbox=rule) for rule in ("joints-in-image", "joints25-in-image", "vertices-in-image")}
        for i in range(len(boxes["joints-in-image"])):
            shot, person = who(boxes["joints-in-image"], some, i)
            for rule, points in (("joints-in-image", person.joints), ("vertices-in-image", person.vertices)):
                px = pixels(shot, in_camera(shot, person, points)) / 3
                px = px[(px >= 0).all(1) & (px < SMALL).all(1)]
                np.testing.assert_allclose(boxes[rule][i].view.bbox_xyxy, [*px.min(0), *px.max(0)], atol=0.01)
        first = boxes["joints-in-image"][0].view.bbox_xyxy
        grown = opened(written, scale=1.2)[0].view.bbox_xyxy
        np.testing.assert_allclose(grown[2:] - grown[:2], 1.2 * (first[2:] - first[:2]))
        np.testing.assert_allclose(grown[2:] + grown[:2], first[2:] + first[:2])

    def test_person_outside_the_image(self, tmp_path, some):
        away = replace(some[0].people[0], stand=(30.0, 0.0, 5.0))
        write_agora(tmp_path, [replace(some[0], people=(some[0].people[0], away))])
        dataset = opened(tmp_path)
        assert len(dataset) == 1
        assert dataset.counts.dropped["nothing of them inside the image"] == 1

    def test_image_without_people(self, tmp_path, some):
        write_agora(tmp_path, [some[0], replace(some[1], people=())])
        assert len(opened(tmp_path)) == 2

    def test_train_and_all(self, small, bodies):
        write_agora(small, shots(make_people(bodies), "train")[:1], split="train")
        assert len(opened(small, split="train")) == 2
        assert {name.split("/")[1] for name in opened(small, split="all").ids} == {"train", "validation"}
        assert Agora.splits_in(small) == ("train", "validation")

    def test_fingerprint_follows_the_tables(self, small, some):
        before = opened(small).fingerprint
        assert opened(small).fingerprint == before
        table(some[:1], "smpl").to_pickle(small / "SMPL/validation_0_withjv.pkl")
        assert opened(small).fingerprint != before

    def test_fingerprint_follows_each_fit(self, small, some):
        """Two scans of one name in two folders, each with a sister of another pose: no change of either hides behind the other."""
        names = [small / "smpl_gt" / folder / "scan.pkl" for folder in ("validationset_a", "validationset_b")]
        frame = table(some[:1], "smpl")
        frame.at[0, "gt_path_smpl"] = [f"smpl_gt/{path.parent.name}/scan.obj" for path in names]
        frame.to_pickle(small / "SMPL/validation_0_withjv.pkl")
        fits = [smpl_fit(person) for person in some[0].people]
        prints = set()
        for pair in ((0, 0), (0, 1), (1, 0), (1, 1)):
            for path, fit in zip(names, pair, strict=True):
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(fits[fit] + bytes(len(prints)))
            prints.add(opened(small).fingerprint)
        assert len(prints) == 4

    def test_fingerprint_without_the_place_of_the_folder(self, small):
        before = opened(small).fingerprint
        moved = small.with_name("elsewhere")
        small.rename(moved)
        assert opened(moved).fingerprint == before


class TestTestSplit:
    NAME = "ag_testset_somebody_hdri_50mm_5_10_00009"

    def test_views_and_no_truth(self, tmp_path):
        write_test_split(tmp_path, {self.NAME: [[300, 600, 900, 1200], [3000, 300, 90, 30]]})
        dataset = opened(tmp_path, split="test", bbox="detections")
        assert dataset.ids == [f"agora/test/ag_testset_somebody_hdri_50mm_5_10/00009/{k}" for k in (0, 1)]
        np.testing.assert_allclose(dataset[0].view.bbox_xyxy, [100, 200, 400, 600])
        np.testing.assert_allclose(dataset[0].view.intrinsics[0, 0], 16000 / 9)
        assert np.isnan(dataset[0].truth.joints).all()
        assert not dataset[0].truth.valid.any()
        assert dataset[0].truth.rotvecs is None
        assert dataset[0].view.read().shape == (720, 1280, 3)
        with pytest.raises(DataError, match="no ground truth"):
            dataset.person(0)

    def test_fingerprint_is_that_of_the_boxes(self, tmp_path):
        prints = []
        for folder, x in (("a", 300), ("b", 300), ("c", 301)):
            write_test_split(tmp_path / folder, {self.NAME: [[x, 600, 900, 1200]]})
            prints.append(opened(tmp_path / folder, split="test", bbox="detections").fingerprint)
        assert prints[0] == prints[1] != prints[2]

    def test_ground_truth_rules_are_refused(self, tmp_path, small):
        write_test_split(tmp_path / "t", {self.NAME: [[0, 0, 9, 9]]})
        with pytest.raises(DataError, match="takes the box rule 'detections'"):
            opened(tmp_path / "t", split="test")
        with pytest.raises(DataError, match="the other splits take joints-in-image"):
            opened(small, bbox="detections")

    @pytest.mark.parametrize(
        ("content", "match"),
        [(None, "has no boxes of its own"), ("{", "no list of boxes"), ('{"a.png": [{"box": 1}]}', "KeyError"), ("[]", "no list of boxes")],
    )
    def test_bad_detections(self, tmp_path, content, match):
        write_test_split(tmp_path, {self.NAME: [[0, 0, 9, 9]]})
        (tmp_path / "AGORA_test_bbox.json").unlink()
        if content is not None:
            (tmp_path / "AGORA_test_bbox.json").write_text(content)
        with pytest.raises(DataError, match=match):
            opened(tmp_path, split="test", bbox="detections")

    def test_nan_in_detections(self, tmp_path):
        write_test_split(tmp_path, {self.NAME: [[0, 0, 9, 9]]})
        (tmp_path / "AGORA_test_bbox.json").write_text(json.dumps({self.NAME: [{"bbox": [0, 0, float("nan"), 1]}]}))
        with pytest.raises(DataError, match="not finite"):
            opened(tmp_path, split="test", bbox="detections")


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"split": "val"}, "No split of dataset 'agora' named 'val'"),
            ({"frames": "vaild"}, "Did you mean 'valid'"),
            ({"bbox": "tight"}, "No box rule"),
        ],
    )
    def test_unknown_names(self, written, change, match):
        with pytest.raises(UnknownNameError, match=match):
            opened(written, **change)

    def test_scale(self, written):
        with pytest.raises(ValueError, match="positive"):
            opened(written, scale=0.0)

    def test_no_folder_and_no_tables(self, tmp_path):
        with pytest.raises(DataError, match=r"No folder .*agora\.is\.tue\.mpg\.de"):
            opened(tmp_path / "nowhere")
        (tmp_path / "Cam").mkdir()
        with pytest.raises(DataError, match=r"which holds Cam\. Unpack validation_SMPL\.zip there"):
            opened(tmp_path)

    def test_no_images(self, small):
        for path in (small / "validation").iterdir():
            path.unlink()
        with pytest.raises(DataError, match="None of the 2 images of agora/validation"):
            opened(small)

    def test_pickle_that_runs_code(self, small):
        (small / "SMPL/validation_0_withjv.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
        with pytest.raises(UnsafePickleError, match="system"):
            opened(small)

    def test_cut_table(self, small):
        path = small / "SMPL/validation_0_withjv.pkl"
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(DataError, match=r"validation_0_withjv\.pkl is not a whole pickle"):
            opened(small)

    @pytest.mark.parametrize(
        ("column", "value", "match"),
        [
            ("gt_joints_3d", None, "lacks the columns gt_joints_3d"),
            ("gt_joints_3d", [np.zeros((44, 3))] * 2, r"'gt_joints_3d' has shape \(2, 44, 3\), expected \(2, 45, 3\)"),
            ("gt_joints_2d", [np.full((45, 2), np.nan)] * 2, "'gt_joints_2d' holds NaN"),
            ("occlusion", [1.0], "has 2 people in X, but 1 in occlusion"),
            ("gender", ["male", "m"], "'gender' is"),
            ("Yaw", ["a", "b"], "'Yaw' is no array"),
        ],
    )
    def test_bad_column(self, small, some, column, value, match):
        frame = table(some[:1], "smpl")
        frame = frame.drop(columns=column) if value is None else frame.assign(**{column: pd.Series([value], dtype=object)})
        frame.columns = pd.Index(list(frame.columns), dtype=object)
        frame.to_pickle(small / "SMPL/validation_0_withjv.pkl")
        with pytest.raises(DataError, match=match):
            opened(small)

    def test_table_twice(self, small):
        path = small / "SMPL/validation_0_withjv.pkl"
        path.with_name("validation_7_withjv.pkl").write_bytes(path.read_bytes())
        with pytest.raises(DataError, match="2 images of agora/validation are in two tables"):
            opened(small)

    @pytest.mark.parametrize(
        ("record", "match"),
        [
            ([1], "holds a list"),
            ({"root_pose": np.zeros((1, 1, 3))}, "lacks transl, body_pose, betas"),
            (
                {"root_pose": np.zeros(3), "translation": np.zeros(3), "body_pose": np.zeros(69), "betas": np.zeros(300)},
                "'betas' has 300 numbers",
            ),
            (
                {"root_pose": np.zeros(4), "translation": np.zeros(3), "body_pose": np.zeros(69), "betas": np.zeros(10)},
                "'global_orient' has",
            ),
        ],
    )
    def test_bad_fit(self, small, some, record, match):
        (small / fit_path(some[1], 0, "smpl")).with_suffix(".pkl").write_bytes(pickle.dumps(record))
        with pytest.raises(DataError, match=match):
            opened(small)

    def test_image_of_another_size(self, small, some):
        write_image(small / "validation", some[1].image, (640, 360))
        (small / "validation" / f"{some[1].image}_640x360.png").replace(small / "validation" / f"{some[1].image}_1280x720.png")
        with pytest.raises(DataError, match="640 x 360 px, expected 1280 x 720"):
            opened(small)[0].view.read()


TABLE = "SMPL/validation_0_withjv.pkl"
PICTURE = "validation/ag_validationset_renderpeople_bfh_hdri_50mm_5_10_00003_1280x720.png"


def changed(root, column, value, row=0):
    """One cell of the table is another."""
    frame = pd.read_pickle(root / TABLE)
    frame[column] = frame[column].astype(object)
    frame.at[row, column] = value
    frame.to_pickle(root / TABLE)


def without_people(root):
    frame = pd.read_pickle(root / TABLE)
    for column in frame.columns:
        if isinstance(frame.at[0, column], list):
            frame[column] = pd.Series([[] for _ in range(len(frame))], dtype=object)
    frame.to_pickle(root / TABLE)


def fit_of(root):
    return sorted(root.glob("smpl_gt/*/*.pkl"))[0]


HOSTILE = b"cos\nsystem\n(S'touch pwned'\ntR."
# A fault for the folder, and what is said of it.
FAULTS = {
    "empty folder": (lambda root: emptied(root), "which holds nothing"),
    "another dataset's folder": (lambda root: emptied(root, "imageFiles", "sequenceFiles"), "which holds imageFiles, sequenceFiles"),
    "tables of SMPL-X alone": (lambda root: shutil.rmtree(root / "SMPL"), r"No SMPL/validation_\*_withjv\.pkl in .*SMPLX.*Unpack"),
    "empty table": (lambda root: cut(root / TABLE, 0), "is not a whole pickle"),
    "table cut in its head": (lambda root: cut(root / TABLE, 20), "is not a whole pickle"),
    "table without its end": (lambda root: cut(root / TABLE, -1), "is not a whole pickle"),
    "table of another thing": (lambda root: (root / TABLE).write_bytes(pickle.dumps([1])), "holds a list, expected a pandas table"),
    "columns of several lengths": (
        lambda root: (root / TABLE).write_bytes(pickle.dumps({name: [1, 2] for name in COLUMNS} | {"Yaw": [1]})),
        "1 rows in Yaw, but 2 in imgPath",
    ),
    "columns that are none": (lambda root: (root / TABLE).write_bytes(pickle.dumps(dict.fromkeys(COLUMNS, 1))), "no rows in imgPath"),
    "no table": (lambda root: (root / TABLE).write_text("hello"), "is not a whole pickle"),
    "code in the table": (lambda root: changed(root, "age", [print]), "asks for 'builtins.print'"),
    "a name without a frame": (lambda root: changed(root, "imgPath", "ag_validationset_hdri.png"), "expected one as AGORA's"),
    "a camera without a place": (
        lambda root: [changed(root, "imgPath", "ag_validationset_forest_00001.png"), changed(root, "camX", float("nan"))],
        r"image ag_validationset_forest_00001: camX, camY, camZ, camYaw are .*nan.*expected four finite numbers",
    ),
    "a camera in words": (
        lambda root: [changed(root, "imgPath", "ag_validationset_forest_00001.png"), changed(root, "camYaw", "left")],
        "expected four finite numbers",
    ),
    "code in a fit": (lambda root: fit_of(root).write_bytes(HOSTILE), "asks for 'os.system'"),
    "a fit cut off": (lambda root: cut(fit_of(root), 100), "is not a whole pickle"),
    "a fit of NaN": (
        lambda root: fit_of(root).write_bytes(
            pickle.dumps({"root_pose": np.full(3, np.nan), "translation": np.zeros(3), "body_pose": np.zeros(69), "betas": np.zeros(10)})
        ),
        "'global_orient' has shape .*all numbers finite",
    ),
    "no image": (lambda root: emptied(root / "validation"), r"None of the 2 images .*Unpack the images of 1280 x 720 there"),
    "images of the other size": (
        lambda root: [path.rename(str(path).replace("_1280x720", "")) for path in sorted((root / "validation").iterdir())],
        "None of the 2 images",
    ),
}
COLUMNS = (
    *("imgPath", "camX", "camY", "camZ", "camYaw", "X", "Y", "Z", "Yaw", "gender", "kid", "occlusion", "isValid"),
    *("gt_joints_2d", "gt_joints_3d", "gt_verts", "gt_path_smpl"),
)


class TestEveryBadInput:
    """Each kind of bad input: one message of one line, and through the command exit 1 or 2 with nothing half written."""

    @pytest.mark.parametrize("fault", FAULTS)
    def test_folder(self, small, fault):
        damage, match = FAULTS[fault]
        damage(small)
        with pytest.raises(HpsbenchError, match=match) as error:
            opened(small)
        assert "\n" not in str(error.value)

    def test_a_file_for_a_folder(self, tmp_path):
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(DataError, match="No folder"):
            opened(tmp_path / "file")

    @pytest.mark.parametrize(
        ("damage", "match"),
        [
            (lambda path: path.unlink(), "cannot be read"),
            (lambda path: path.write_bytes(b""), "is broken"),
            (lambda path: path.write_text("no picture"), "is broken"),
            (lambda path: cut(path, 300), "is broken"),
            (lambda path: cut(path, -20), "is broken"),
        ],
    )
    def test_image(self, small, damage, match):
        dataset = opened(small)
        damage(small / PICTURE)
        with pytest.raises(DataError, match=match):
            next(sample for sample in dataset if "renderpeople" in sample.id).view.read()

    def test_zero_people(self, small):
        without_people(small)
        dataset = opened(small)
        assert (len(dataset), list(dataset), dataset.counts.total) == (0, [], 0)

    def test_zero_people_through_the_command(self, small, run, tmp_path):
        without_people(small)
        words = ("--protocol", "agora-validation", "--data", small, "--body", "openhps", "--out", tmp_path / "out")
        status, out, err = run("eval", "--model", "mean-pose", *words)
        assert (status, out) == (1, "")
        assert "agora/validation has nobody to evaluate: 0 of 0 person-frames kept" in err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("rule", "damage", "match"),
        [
            ("", lambda root: shutil.rmtree(root), "No folder"),
            ("", lambda root: emptied(root), "which holds nothing"),
            ("", lambda root: cut(root / TABLE, 5000), "is not a whole pickle"),
            ("", lambda root: (root / TABLE).write_bytes(HOSTILE), "asks for 'os.system'"),
            ("", lambda root: changed(root, "gt_joints_3d", [np.zeros((44, 3))] * 2), r"has shape \(2, 44, 3\), expected \(2, 45, 3\)"),
            ("", lambda root: changed(root, "gt_joints_2d", [np.full((45, 2), np.nan)] * 2), "'gt_joints_2d' holds NaN"),
            ("", lambda root: cut(root / PICTURE, 400), "is broken"),
            ("", lambda root: cut(fit_of(root), 100), "is not a whole pickle"),
            ("", lambda root: emptied(root / "validation"), "None of the 2 images"),
            ('dataset = "3dpw"\nframes = "all"', lambda root: None, "No sequenceFiles/ in .*which holds SMPL"),
            ('dataset = "agroa"', lambda root: None, "Did you mean 'agora'"),
            ('split = "vaildation"', lambda root: None, "Did you mean 'validation'"),
            ('frames = "vaild"', lambda root: None, "Did you mean 'valid'"),
            ('bbox = "joint-in-image"', lambda root: None, "Did you mean 'joints-in-image'"),
        ],
    )
    def test_through_the_command(self, small, run, tmp_path, rule, damage, match):
        damage(small)
        keys = {"dataset": '"agora"', "split": '"validation"', "frames": '"valid"', "bbox": '"joints-in-image"'}
        keys |= dict(line.split(" = ") for line in rule.splitlines())
        text = "\n".join(f"{key} = {value}" for key, value in keys.items())
        (tmp_path / "mine.toml").write_text(f'name = "mine"\nversion = 1\nwhat = "w"\nsource = "s"\nbase = "3dpw-smpl24"\n[data]\n{text}\n')
        words = ("--protocol", "mine.toml", "--data", small, "--body", "openhps", "--images", "--out", tmp_path / "out")
        status, out, err = run("generate", *words)
        assert status in (1, 2)
        assert re.search(match, err)
        assert len([line for line in err.splitlines() if line.startswith("hpsbench: ")]) == 1
        assert "Traceback" not in err
        assert out == ""
        assert not (tmp_path / "pwned").exists()
        assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith((".part", "manifest.json"))]


def test_inspect(written):
    lines = Agora.inspect(written)
    assert ("warning", "train: no SMPL/train_*_withjv.pkl") in lines
    assert ("warning", "validation: 6 images of 1280 x 720; about 1,225 are expected") in lines
    assert lines[-1] == ("ok", f"fits: {written / 'smpl_gt'}")


@pytest.mark.parametrize("kind", [Agora, Agora4K, AgoraX, AgoraX4K])
def test_card(kind):
    assert kind.card.paper
    assert "non-commercial" in kind.card.licence


def test_goes_to_worker_processes(written):
    dataset = opened(written)
    assert pickle.loads(pickle.dumps(dataset)).ids == dataset.ids
