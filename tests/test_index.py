"""The columnar index: samples out of it are those out of the files, and no other index than the right one is ever believed."""

import dataclasses
import hashlib
import json
import os
import pickle
import threading
import warnings
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from layouts import h36m, mpi_inf_3dhp
from layouts.agora import AgoraPerson, shots, write_agora
from layouts.threedoh import StudioPerson, write_threedoh
from writers.threedpw import default_miniatures, make_record, python2_pickle, write_miniature

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets import (
    base_3dpw_columns,
    base_agora_tables,
    base_h36m_camera,
    base_h36m_cdf,
    base_h36m_files,
    base_index,
    base_mpi_inf_3dhp_files,
    base_threedoh,
    h36m_annotations,
    h36m_world,
)
from hpsbench.datasets import h36m as h36m_raw
from hpsbench.datasets.agora import Agora
from hpsbench.datasets.base import Entry, open_dataset
from hpsbench.datasets.base_3dpw import ThreeDPWLayout
from hpsbench.datasets.base_agora import intrinsics_of
from hpsbench.datasets.base_agora_tables import AgoraPeople
from hpsbench.datasets.base_columns import SampleColumns
from hpsbench.datasets.base_h36m_frames import Pictures
from hpsbench.datasets.base_index import cache_folder, indexed, indexed_with_hashes, narrowed
from hpsbench.datasets.base_mpi_inf_3dhp import SUBSETS
from hpsbench.datasets.h36m import H36M
from hpsbench.datasets.h36m_annotations import H36MFetch, H36MHybrik, H36MHybrikSmpl, H36MJson
from hpsbench.datasets.h36m_world import H36MMartinez, H36MNpz
from hpsbench.datasets.mpi_inf_3dhp import Mpi3DHP, Mpi3DHPUniversal
from hpsbench.datasets.threedoh import ThreeDOH
from hpsbench.errors import DataError
from hpsbench.types import Sample, Truth, View, unchecked


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None, dtype=torch.float64)


@pytest.fixture
def root(tmp_path, bodies):
    write_miniature(tmp_path / "3DPW", bodies)
    return tmp_path / "3DPW"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HPSBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def parsed(monkeypatch):
    """The names of the pickles that were parsed, in order."""
    names = []
    original = base_3dpw_columns.load_sequence

    def load(path):
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(base_3dpw_columns, "load_sequence", load)
    return names


def opened(root, *, split="test", frames="all", bbox="joints-in-image", scale=1.0, bodies=None):
    return open_dataset("3dpw", root, split=split, frames=frames, bbox=bbox, bbox_scale=scale, bodies=bodies)


def flat(sample):
    """Every field of a sample, its view and its truth but for the image, by name."""
    records = (sample, sample.view, sample.truth)
    names = [(record, field.name) for record in records for field in dataclasses.fields(record)]
    return {name: getattr(record, name) for record, name in names if name not in ("view", "truth", "read")}


def assert_same(first, second):
    """Two datasets are equal to the last bit, sample by sample and field by field."""
    assert (first.counts, first.fingerprint, first.ids) == (second.counts, second.fingerprint, second.ids)
    for one, other in zip(map(flat, first), map(flat, second), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if isinstance(value, np.ndarray):
                assert (value.dtype, value.shape, value.tobytes()) == (other[name].dtype, other[name].shape, other[name].tobytes()), name
            else:
                assert value == other[name], name


class TestThreeDPW:
    @pytest.mark.parametrize("split", ["test", "all"])
    def test_samples_are_those_of_the_files(self, root, cache, parsed, bodies, split):
        """Built, then opened, against a reader that never has an index."""
        built = opened(root, split=split, bodies=bodies)
        count = len(parsed)
        again = opened(root, split=split, bodies=bodies)
        assert len(parsed) == count == (2 if split == "test" else 4)
        cache.rename(cache.with_name("away"))
        anew = opened(root, split=split, bodies=bodies)
        assert len(parsed) == 2 * count
        for dataset in (again, anew):
            assert_same(built, dataset)

    def test_one_index_serves_every_rule_split_and_body(self, root, cache, parsed, bodies):
        opened(root, split="all")
        assert sorted(parsed) == ["courtyard_one_00.pkl", "downtown_away_00.pkl", "downtown_pair_00.pkl", "outdoors_one_00.pkl"]
        for split in ("train", "validation", "test", "all"):
            for frames in ThreeDPWLayout.frame_rules:
                for bbox in ThreeDPWLayout.box_rules:
                    opened(root, split=split, frames=frames, bbox=bbox, scale=1.2, bodies=bodies)
        assert len(parsed) == 4
        assert len(list(cache.iterdir())) == 3

    def test_places_and_iteration_agree(self, root, cache):
        dataset = opened(root, frames="campose-valid")
        for i, sample in enumerate(dataset):
            one, other = flat(sample), flat(dataset[i])
            assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one if isinstance(one[name], np.ndarray))
            assert sample.id == dataset[i].id == dataset.ids[i]
            np.testing.assert_array_equal(sample.view.read(), dataset[i].view.read())

    def test_samples_are_what_the_types_make(self, root, cache, bodies):
        """A record made without checks passes them, has every field, and cannot be changed."""
        sample = next(iter(opened(root, bodies=bodies)))
        for record in (sample, sample.view, sample.truth):
            fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
            assert vars(type(record)(**fields)) == vars(record) == fields
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(record, next(iter(fields)), None)

    def test_a_changed_file_is_parsed_again(self, root, cache, parsed, bodies):
        before = opened(root)
        path = root / "sequenceFiles/test/downtown_away_00.pkl"
        os.utime(path, ns=(1, 1))
        assert_same(opened(root), before)
        assert len(parsed) == 4
        record = pickle.loads(path.read_bytes(), encoding="latin1")
        path.write_bytes(python2_pickle({**record, "trans": [np.asarray(record["trans"][0]) + 1.0]}))
        assert opened(root).fingerprint != before.fingerprint
        assert len(parsed) == 6
        assert len(list(cache.iterdir())) == 1

    def test_a_further_file_is_seen(self, root, cache, parsed, bodies):
        opened(root)
        source = root / "sequenceFiles/train/courtyard_one_00.pkl"
        source.rename(root / "sequenceFiles/test/courtyard_one_00.pkl")
        assert len(opened(root)) == 13 + 2

    def test_another_version_of_the_loader_parses_again(self, root, cache, parsed, monkeypatch):
        opened(root)
        monkeypatch.setattr(ThreeDPWLayout, "index_version", 2)
        opened(root)
        assert len(parsed) == 4

    def test_another_folder_has_another_index(self, root, cache, parsed):
        opened(root)
        opened(root.rename(root.with_name("moved")))
        assert len(parsed) == 4
        assert len(list(cache.iterdir())) == 2

    def test_a_missing_image_is_told_although_the_index_is_there(self, root, cache):
        opened(root)
        (root / "imageFiles/downtown_pair_00/image_00002.jpg").unlink()
        with pytest.raises(DataError, match=r"1 of 8 images .*image_00002\.jpg"):
            opened(root)

    @pytest.mark.parametrize("damage", ["cut", "flipped", "no HDF5", "empty", "other key", "a column less", "a column more", "a group"])
    def test_a_broken_index_is_built_again(self, root, cache, parsed, damage):
        before = opened(root)
        (path,) = cache.iterdir()
        _damage(path, damage)
        assert_same(opened(root), before)
        assert len(parsed) == 4
        assert_same(opened(root), before)
        assert len(parsed) == 4

    def test_without_a_cache_it_says_so_once(self, root, tmp_path, monkeypatch, parsed):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("HPSBENCH_CACHE", str(tmp_path / "file" / "below"))
        with pytest.warns(UserWarning, match=r"No index is kept: Could not write .*HPSBENCH_CACHE") as told:
            first = opened(root, split="all")
        assert len(told) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_same(opened(root, split="all"), first)
        assert len(parsed) == 8

    def test_workers_get_the_columns(self, root, cache):
        dataset = opened(root)
        assert_same(pickle.loads(pickle.dumps(dataset)), dataset)


def _damage(path: Path, how: str) -> None:
    if how in ("cut", "no HDF5", "empty"):
        path.write_bytes({"cut": path.read_bytes()[:-4000], "no HDF5": b"columns" * 99, "empty": b""}[how])
    elif how == "flipped":
        with h5py.File(path, "r") as file:
            place = file["columns/joints"].id.get_offset()
        data = bytearray(path.read_bytes())
        data[place + 11] ^= 1
        path.write_bytes(data)
    else:
        with h5py.File(path, "a") as file:
            if how == "other key":
                key = file["key"][()]
                del file["key"]
                file["key"] = key.replace(b"3dpw-layout", b"3dpw-layouts")
            elif how == "a column less":
                del file["columns/betas"]
            elif how == "a column more":
                file["columns/more"] = np.zeros(3)
            else:
                file.create_group("columns/group")


FOUND = {
    "text": np.array(["downtown_bar_00", "ä", "x"]),
    "flags": np.array([[True], [False]]),
    "numbers": np.arange(6, dtype=np.int32).reshape(2, 3),
    "exact": np.array([0.1, np.nan, -0.0]),
    "nothing": np.zeros((0, 24, 3)),
}


class TestIndexed:
    def test_columns_come_back_as_they_were(self, tmp_path, cache):
        file = tmp_path / "a.json"
        file.write_text("{}")
        indexed("test", 1, [file], lambda: dict(FOUND))
        back = indexed("test", 1, [file], pytest.fail)
        assert back.keys() == FOUND.keys()
        for name, array in FOUND.items():
            assert (back[name].dtype, back[name].shape, back[name].tobytes()) == (array.dtype, array.shape, array.tobytes()), name

    def test_wanted_columns_alone_are_read(self, tmp_path, cache):
        """Built and opened: those that are asked for; a fault in another column harms nobody who does not read it."""
        file = tmp_path / "a.json"
        file.write_text("{}")
        for build in (lambda: dict(FOUND), pytest.fail):
            found = indexed("test", 1, [file], build, keep=lambda name: name in ("exact", "text"))
            assert sorted(found) == ["exact", "text"]
            assert found["exact"].tobytes() == FOUND["exact"].tobytes()
        (path,) = cache.iterdir()
        with h5py.File(path) as stored:
            place = stored["columns/numbers"].id.get_offset()
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        assert indexed("test", 1, [file], pytest.fail, keep=lambda name: name == "exact").keys() == {"exact"}
        built = []
        assert indexed("test", 1, [file], lambda: built.append(1) or dict(FOUND))["numbers"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert built == [1]

    def test_hashes_of_the_files_are_kept(self, tmp_path, cache, monkeypatch):
        files = [tmp_path / name for name in ("a.json", "b.json")]
        for file in files:
            file.write_text(file.name)
        expected = {file: hashlib.sha256(file.name.encode()).hexdigest() for file in files}
        for build in (lambda: dict(FOUND), pytest.fail):
            columns, hashes = indexed_with_hashes("test", 1, files, build, keep=lambda name: name == "exact")
            assert (columns.keys(), hashes) == ({"exact"}, expected)
            monkeypatch.setattr(base_index, "sha256_of_file", pytest.fail)

    @pytest.mark.parametrize(
        ("numbers", "kind"),
        [
            ([0.5, -0.0, np.inf, np.nan, 2.0**-149, 16777216.0], np.float32),
            ([0.1], np.float64),
            ([16777217.0], np.float64),
            ([1e300], np.float64),
            ([2.0**-150], np.float64),
            ([], np.float32),
        ],
    )
    def test_narrowed_where_nothing_is_lost(self, numbers, kind):
        given = np.array(numbers)
        found = narrowed(given)
        assert found.dtype == kind
        assert found.astype(np.float64).tobytes() == given.tobytes()
        assert narrowed(np.asfortranarray(np.arange(6.0).reshape(2, 3))).tolist() == [[0, 1, 2], [3, 4, 5]]

    def test_loader_version_rules_and_files_are_the_key(self, tmp_path, cache):
        files = [tmp_path / name for name in ("a.json", "b.json")]
        for file in files:
            file.write_text("{}")
        keys = [("one", 1, files, None), ("two", 1, files, None), ("one", 1, files, {"view": 1}), ("one", 1, files[:1], None)]
        for number, (loader, version, some, rules) in enumerate([*keys, ("one", 2, files, None)]):
            found = indexed(loader, version, some, lambda number=number: {"number": np.array([number])}, rules=rules)
            assert found["number"].tolist() == [number]
        assert len(list(cache.iterdir())) == 3

    def test_a_file_changed_while_it_is_read_is_not_indexed(self, tmp_path, cache):
        file = tmp_path / "a.json"
        file.write_text("{}")

        def build():
            file.write_text("{ }")
            return {"number": np.array([1])}

        assert indexed("test", 1, [file], build)["number"].tolist() == [1]
        assert not cache.exists()

    def test_two_that_build_at_once_do_no_harm(self, tmp_path, cache):
        file = tmp_path / "a.json"
        file.write_text("{}")
        both, found = threading.Barrier(2, timeout=30), []

        def build():
            both.wait()
            return {"number": np.arange(1000)}

        threads = [threading.Thread(target=lambda: found.append(indexed("test", 1, [file], build))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [columns["number"].tolist() for columns in found] == [list(range(1000))] * 2
        assert [path.suffix for path in cache.iterdir()] == [".h5"]
        assert indexed("test", 1, [file], pytest.fail)["number"].tolist() == list(range(1000))

    def test_a_disk_that_fills_leaves_no_half_index(self, tmp_path, cache, monkeypatch):
        file = tmp_path / "a.json"
        file.write_text("{}")

        def no_space(descriptor):
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.warns(UserWarning, match="No space left"):
            indexed("test", 1, [file], lambda: {"number": np.array([1])})
        assert list(cache.iterdir()) == []

    def test_where_the_cache_lies(self, monkeypatch):
        monkeypatch.setenv("HPSBENCH_CACHE", "/own")
        monkeypatch.setenv("XDG_CACHE_HOME", "/common")
        assert cache_folder() == Path("/own")
        monkeypatch.delenv("HPSBENCH_CACHE")
        assert cache_folder() == Path("/common/hpsbench")
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", "/home/somebody")
        assert cache_folder() == Path("/home/somebody/.cache/hpsbench")


def _columns(**changes):
    """Three rows of two joints, of which the first and last are samples."""
    fields = {
        "entries": [Entry("d/s/q/00000/0", "d/s/q/00000", "d/s/q/0", 0), Entry("d/s/q/00002/0", "d/s/q/00002", "d/s/q/0", 2)],
        "rows": np.array([0, 2]),
        "sequence": "q",
        "image_size": (40, 30),
        "read": lambda frame: np.full((30, 40, 3), frame, dtype=np.uint8),
        "boxes_xyxy": np.arange(12.0).reshape(3, 4),
        "intrinsics": np.tile(np.eye(3), (3, 1, 1)),
        "skeleton": "test2",
        "joints": np.arange(18.0).reshape(3, 2, 3),
        "joints2d": np.arange(12.0).reshape(3, 2, 2),
        "valid": np.ones((3, 2), dtype=bool),
        "genders": ["male", "female", "neutral"],
    }
    return SampleColumns(**{**fields, **changes})


class TestSampleColumns:
    def test_a_sample_is_one_row(self):
        columns = _columns(trans=np.arange(9.0).reshape(3, 3))
        for sample in (columns[1], list(columns)[1]):
            assert isinstance(sample, Sample)
            assert (sample.id, sample.frame, sample.sequence, sample.image_size) == ("d/s/q/00002/0", 2, "q", (40, 30))
            assert (sample.truth.gender, sample.truth.skeleton, sample.truth.betas) == ("neutral", "test2", None)
            np.testing.assert_array_equal(sample.truth.joints, [[12, 13, 14], [15, 16, 17]])
            np.testing.assert_array_equal(sample.truth.trans, [6, 7, 8])
            np.testing.assert_array_equal(sample.view.bbox_xyxy, [8, 9, 10, 11])
            assert sample.view.read()[0, 0, 0] == 2
        assert len(columns) == len(list(columns)) == 2

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"joints2d": np.zeros((3, 1, 2))}, r"joints2d: expected shape \(2, 2\), but got \(1, 2\)"),
            ({"boxes_xyxy": np.zeros((3, 3))}, "bbox_xyxy"),
            ({"valid": np.ones((2, 2), dtype=bool)}, "a column has 2 rows, expected 3"),
            ({"genders": ["male", "x", "male"]}, "gender: expected neutral, male or female, but got 'x'"),
            ({"genders": ["male"]}, "a column has 1 rows"),
            ({"rows": np.array([1])}, "1 rows for 2 entries"),
            ({"betas": np.zeros((3, 300))}, "betas"),
        ],
    )
    def test_columns_are_checked_as_records_are(self, change, match):
        with pytest.raises(ValueError, match=match):
            _columns(**change)


def test_a_record_made_by_hand_is_still_checked():
    fields = {"read": None, "image_key": "k", "bbox_xyxy": np.zeros(3), "intrinsics": np.eye(3), "window_xyxy": None}
    assert unchecked(View, fields).bbox_xyxy.shape == (3,)
    with pytest.raises(ValueError, match="bbox_xyxy"):
        View(**fields)
    with pytest.raises(ValueError, match="joints2d"):
        dataclasses.replace(_columns()[0].truth, joints2d=np.zeros((1, 2)))
    assert isinstance(_columns()[0].truth, Truth)


def test_the_index_holds_what_the_pickle_says(root, cache, bodies):
    """Independent of the reader: the record as it was written, by the formulas of the format."""
    opened(root)
    record, joints2d = make_record(default_miniatures()[0], bodies)
    (path,) = cache.iterdir()
    with h5py.File(path) as file:
        columns = {name: node[...] for name, node in file["columns"].items()}
    assert columns["name"].tolist() == [b"downtown_away_00", b"downtown_pair_00"]
    assert (columns["people"].tolist(), columns["images"].tolist()) == ([1, 2], [4, 5])
    row = 4 + 3 * 2 + 1
    np.testing.assert_allclose(columns["joints2d"][row], joints2d[1, 3], atol=1e-9)
    np.testing.assert_array_equal(columns["trans_world"][row], record["trans"][1][3])
    np.testing.assert_array_equal(columns["keypoints"][row].T, record["poses2d"][1][3])
    np.testing.assert_array_equal(columns["camera_valid"][4:], np.transpose(record["campose_valid"]).reshape(-1) == 1)
    np.testing.assert_array_equal(columns["betas"][1], record["betas"][0][:10])
    assert columns["genders"].tolist() == [b"female", b"male", b"female"]


class TestOtherLoaders:
    """Opened twice, under every rule: parsed once, the same to the last bit; a broken index is no index."""

    def test_agora(self, tmp_path, cache, bodies, monkeypatch):
        rng = np.random.default_rng(0)
        people = [
            AgoraPerson(
                rotvecs=np.zeros((24, 3)),
                betas=np.zeros(10),
                transl=np.zeros(3),
                joints=rng.normal(0, 0.3, (24, 3)),
                vertices=rng.normal(0, 0.3, (6890, 3)),
                stand=(-0.5 + i, 0.3, 6.0),
                yaw=40.0 * i,
                gender=gender,
                kid=False,
                occlusion=30.0 * i,
            )
            for i, gender in enumerate(("male", "female"))
        ]
        write_agora(tmp_path / "agora", shots(people))
        tables, original = [], base_agora_tables.load_pickle
        monkeypatch.setattr(base_agora_tables, "load_pickle", lambda path: tables.append(path.name) or original(path))

        def read(bbox):
            return Agora(tmp_path / "agora", split="validation", frames="all", bbox=bbox, bbox_scale=1.1, bodies=bodies)

        built = {bbox: read(bbox) for bbox in Agora.box_rules[:-1]}
        assert tables == ["validation_0_withjv.pkl", "validation_1_withjv.pkl"]
        for bbox, first in built.items():
            assert_same(read(bbox), first)
        assert len(tables) == 2
        for person in next(built["vertices-in-image"].annotations()).vertices:
            assert person.shape == (6890, 3)
        for path in cache.iterdir():
            path.write_bytes(path.read_bytes()[:-4000])
        for bbox, first in built.items():
            assert_same(read(bbox), first)

    def test_agora_boxes_of_vertices(self, tmp_path, cache):
        """Of three points, one of them outside the image and one behind the camera, and of a person without any inside."""
        vertices = np.array([[[0.0, 0.0, 2.0], [0.1, 0.2, 4.0], [9.0, 0.0, 1.0]], [[0.0, 0.0, -1.0]] * 3])
        image = "ag_validationset_renderpeople_bfh_archviz_5_10_cam00_00000"
        nobody = np.zeros(0)
        found = AgoraPeople(image, nobody, nobody, vertices, nobody, nobody, nobody, (), (), nobody, nobody)
        K = intrinsics_of(image, (1280, 720))
        f, cx, cy = K[0, 0], K[0, 2], K[1, 2]
        corners = base_agora_tables._corners(found, (1280, 720))
        np.testing.assert_allclose(corners[0], [[cx, cy], [cx + f * 0.1 / 4, cy + f * 0.2 / 4]], rtol=1e-12)
        assert np.isnan(corners[1]).all()

    def test_3doh(self, tmp_path, cache, bodies, monkeypatch):
        rng = np.random.default_rng(1)
        posed = bodies.neutral(torch.zeros(1, 10, dtype=torch.float64), rotvecs=torch.zeros(1, 24, 3, dtype=torch.float64))
        person = StudioPerson(
            rotvecs=np.zeros((24, 3)),
            betas=np.zeros(10),
            local=posed.joints[0].numpy(),
            lsp_local=rng.normal(0, 0.3, (14, 3)),
            rest_pelvis=posed.joints[0, 0].numpy(),
            trans=np.zeros(3),
            scale=7.0,
            extri=np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 30], [0, 0, 0, 1]]),
            intri=np.array([[2390.0, 0, 1022], [0, 2391, 763], [0, 0, 1]]),
        )
        write_threedoh(tmp_path / "3doh", [person, person])
        parsed, original = [], base_threedoh.load_records
        monkeypatch.setattr(base_threedoh, "load_records", lambda file: parsed.append(file.name) or original(file))

        def read(bbox):
            return ThreeDOH(tmp_path / "3doh", split="test", frames="all", bbox=bbox, bbox_scale=1.0, bodies=bodies)

        built = {bbox: read(bbox) for bbox in ThreeDOH.box_rules}
        for bbox, first in built.items():
            assert_same(read(bbox), first)
        assert parsed == ["annots.json"]
        file = next((tmp_path / "3doh").rglob("annots.json"))
        records = {key: {**record, "scale": [6.9]} for key, record in json.loads(file.read_text()).items()}
        file.write_text(json.dumps(records))
        assert read("annotated").scale(0) == 6.9
        assert read("annotated").fingerprint != built["annotated"].fingerprint
        assert len(parsed) == 2
        file.write_text(json.dumps({key: {k: v for k, v in record.items() if k != "img_path"} for key, record in records.items()}))
        assert [len(read("annotated")) for _ in range(2)] == [2, 2]
        assert len(parsed) == 3


def counted(monkeypatch, module, *names):
    """The calls of functions of a module, in order, by the name of the function and of the file that they were given."""
    calls = []

    def watch(name, original):
        def call(first, *more):
            path = first if isinstance(first, Path) else first[0]
            calls.append((name, path.parent.name, path.name))
            return original(first, *more)

        monkeypatch.setattr(module, name, call)

    for name in names:
        watch(name, getattr(module, name))
    return calls


def studio_people(rows):
    """People of 28 joints (rows, 28, 3) m, y up: about as long as one, and otherwise of no shape."""
    rng = np.random.default_rng(rows)
    joints = rng.normal(0, 0.2, (rows, 28, 3)) + np.array([0, 1.0, 0])
    hip, knee = (mpi_inf_3dhp.TRAIN_28.index(f"right_{name}") for name in ("hip", "knee"))
    joints[:, knee] = joints[:, hip] - (0, 0.42, 0)
    return joints


class TestMpi3DHP:
    """Both skeletons, every subset and rule are served by one parsing of each file."""

    @pytest.fixture
    def root(self, tmp_path, monkeypatch):
        for sequence, rows in ((1, 12), (2, 3)):
            mpi_inf_3dhp.write_train(tmp_path, 1, sequence, studio_people(rows), pictures="spin", cameras=(0, 3))
        clips = [clip for clip in SUBSETS["S1"] if clip.camera in (0, 3)]
        monkeypatch.setitem(SUBSETS, "S1", tuple(clips))
        monkeypatch.setitem(SUBSETS, "train-chest", tuple(clip for clip in clips if clip.camera == 0))
        for scene in (1, 6):
            lens = mpi_inf_3dhp.OUTDOOR_LENS if scene == 6 else (0.0,) * 5
            seen = studio_people(4)[:, list(mpi_inf_3dhp.RELEVANT)] * (1, -1, -1) + (0, 1.0, 4.0)
            mpi_inf_3dhp.write_test(tmp_path, scene, seen, valid=[1, 0, 1, 1], activities=[1, 2, 3, 4], lens=lens)
        return tmp_path

    @pytest.fixture
    def read(self, monkeypatch):
        return counted(monkeypatch, base_mpi_inf_3dhp_files, "_mat5", "_mat7", "load_calibration", "fitted_camera")

    @staticmethod
    def every(root):
        """Every subset under every rule, by its name."""
        more = {"bbox_scale": 1.1, "bodies": None}
        for kind in (Mpi3DHP, Mpi3DHPUniversal):
            for split in ("train-chest", "S1", "TS1", "TS6"):
                for frames in kind.frame_rules:
                    for skeleton in ("mpi17", "mpi28") if split in ("train-chest", "S1") else ("mpi17",):
                        for bbox in kind.box_rules:
                            name = (kind.name, split, frames, skeleton, bbox)
                            yield name, kind(root, split=split, frames=frames, bbox=bbox, skeleton=skeleton, **more)
            kind.splits_in(root)
            kind.inspect(root)

    def test_parsed_once_and_never_again(self, root, cache, read):
        built = dict(self.every(root))
        train = [
            (name, f"Seq{s}", file) for s in (1, 2) for name, file in (("load_calibration", "camera.calibration"), ("_mat5", "annot.mat"))
        ]
        test = [(name, f"TS{s}", "annot_data.mat") for s in (1, 6) for name in ("_mat7", "fitted_camera")]
        assert read == [*train, *test]
        assert len(list(cache.iterdir())) == 4
        for name, again in self.every(root):
            assert_same(again, built[name])
        assert len(read) == 8

    def test_samples_are_those_of_the_files(self, root, cache, read):
        """Against a reader that never has an index: a fresh cache for each."""
        built = dict(self.every(root))
        for kind in (Mpi3DHP, Mpi3DHPUniversal):
            for number, split in enumerate(("S1", "TS6")):
                cache.rename(cache.with_name(f"{kind.name}{number}"))
                anew = kind(root, split=split, frames="all", bbox="keypoints", bbox_scale=1.1, bodies=None)
                assert_same(anew, built[kind.name, split, "all", "mpi17", "keypoints"])

    def test_places_and_iteration_agree(self, root, cache):
        dataset = Mpi3DHP(root, split="S1", frames="every-10th", bbox="keypoints", bbox_scale=1.0, bodies=None)
        assert [sample.id for sample in dataset] == [dataset[i].id for i in range(len(dataset))] == dataset.ids
        assert [len(dataset.scenes), len(dataset.activities)] == [len(dataset)] * 2 == [6, 6]
        assert dataset[-1].sequence == "S1_Seq2_V3"
        np.testing.assert_array_equal(dataset.camera_of(-1).intrinsics, dataset[-1].view.intrinsics)
        with pytest.raises(IndexError):
            dataset.camera_of(6)
        assert_same(pickle.loads(pickle.dumps(dataset)), dataset)

    def test_a_changed_file_is_parsed_again(self, root, cache, read):
        def fingerprint():
            return Mpi3DHP(root, split="S1", frames="all", bbox="keypoints", bbox_scale=1.0, bodies=None).fingerprint

        before = fingerprint()
        path = root / "S1/Seq2/camera.calibration"
        path.write_text(path.read_text() + "\n")
        assert fingerprint() == before
        assert read[4:] == [("load_calibration", "Seq2", "camera.calibration"), ("_mat5", "Seq2", "annot.mat")]
        content = scipy.io.loadmat(root / "S1/Seq2/annot.mat")
        scipy.io.savemat(root / "S1/Seq2/annot.mat", {key: content[key] for key in ("annot2", "annot3", "cameras")})
        assert fingerprint() != before
        assert len(read) == 8
        with pytest.raises(DataError, match="lacks univ_annot3"):
            Mpi3DHPUniversal(root, split="S1", frames="all", bbox="keypoints", bbox_scale=1.0, bodies=None)

    def test_every_file_is_in_the_fingerprint(self, root, cache):
        """Also where files of two sequences or subjects have the same name."""
        found, files = set(), [root / name for name in ("S1/Seq1/annot.mat", "S1/Seq2/annot.mat")]
        for path in (None, *files):
            if path:
                content = {key: value for key, value in scipy.io.loadmat(path).items() if key[0] != "_"}
                scipy.io.savemat(path, {**content, "more": 1})
            found.add(Mpi3DHP(root, split="S1", frames="all", bbox="keypoints", bbox_scale=1.0, bodies=None).fingerprint)
        assert len(found) == 3

    def test_float32_is_kept_as_float32(self, root, cache):
        """A file whose numbers are float32 has an index of float32, whatever type it writes them in."""
        path = root / "S1/Seq2/annot.mat"
        content = scipy.io.loadmat(path)
        for key in ("annot2", "annot3", "univ_annot3"):
            content[key] = mpi_inf_3dhp.cells([rows.astype(np.float32).astype(np.float64) for rows in content[key][:, 0]])
        scipy.io.savemat(path, {key: content[key] for key in ("annot2", "annot3", "univ_annot3", "cameras")})
        Mpi3DHP(root, split="S1", frames="all", bbox="keypoints", bbox_scale=1.0, bodies=None)
        kinds = []
        for index in cache.iterdir():
            with h5py.File(index) as file:
                kinds.append({file[f"columns/{key} {c}"].dtype for key in ("annot2", "annot3", "univ_annot3") for c in range(14)})
        assert sorted(kinds, key=str) == [{np.dtype(np.float32)}, {np.dtype(np.float64)}]


def walking(subject, action, subaction, frames=11):
    """A take of somebody with thighs of 0.42 m and no other shape, who crosses the middle of the room."""
    rng = np.random.default_rng(subject + action)
    joints = rng.normal(0, 0.2, (frames, 17, 3)) + np.array([0, 0, 1.0]) + np.linspace(-0.3, 0.3, frames)[:, None, None]
    joints[:, 5] = joints[:, 4] - np.array([0, 0, 0.42])
    fits = (np.zeros((frames, 24, 3)), rng.normal(0, 0.5, 10), joints[:, 0])
    return h36m.Take(subject, action, subaction, h36m.raw32(joints), *fits)


# Each form, how its files are written, the functions that parse them, and how many calls of those that is.
H36M_FORMS = {
    "mono": (
        H36M,
        lambda root, takes: h36m.write_raw(root, takes, pictures="none"),
        {h36m_raw: "load_pose", base_h36m_cdf: "_rectangles"},
        18,
    ),
    "world": (H36M, lambda root, takes: h36m.write_raw(root, takes, mono=False, pictures="none"), {h36m_raw: "load_pose"}, 10),
    "npz": (H36MNpz, h36m.write_npz, {h36m_world: "load_npz"}, 1),
    "martinez": (H36MMartinez, h36m.write_martinez, {h36m_world: "_load_h5"}, 2),
    "json": (H36MJson, partial(h36m.write_posenet, centre=True), {h36m_annotations: "load_json", base_h36m_files: "_names_in_text"}, 7),
    "hybrik": (H36MHybrik, h36m.write_hybrik, {h36m_annotations: "load_json", base_h36m_files: "_names_in_text"}, 2),
    "hybrik-smpl": (H36MHybrikSmpl, h36m.write_hybrik, {h36m_annotations: "load_json", base_h36m_files: "_names_in_text"}, 2),
    "fetch": (H36MFetch, partial(h36m.write_fetch, step=5), {base_h36m_files: "_load_fetched"}, 2),
}


def _is_read(form, path):
    """Whether the raw release's reader takes its numbers from a file."""
    return path.suffix != ".cdf" or path.parent.name in ("D2_Positions", "D3_Positions" if form == "world" else "D3_Positions_mono")


def _touched(path):
    """Changes the bytes of a file and nothing that it says."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            file.attrs["touched"] = 1
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("touched", "")
    else:
        path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("form", H36M_FORMS)
class TestH36M:
    """Every form, two sequences: every subset and rule is served by one parsing of each file."""

    @pytest.fixture
    def root(self, form, tmp_path):
        root = tmp_path / form
        H36M_FORMS[form][1](root, [walking(9, 2, 1), walking(11, 2, 1)])
        return root

    @pytest.fixture(autouse=True)
    def pictures(self, monkeypatch):
        """Every frame has a picture, which nobody opens."""
        images = SimpleNamespace(
            size=(1000, 1002), has=lambda frames: np.ones(len(frames), dtype=bool), path=str, read=np.zeros, reducible=False
        )
        monkeypatch.setattr(Pictures, "find", lambda self, clip, frame: images)

    @pytest.fixture
    def calls(self, form, monkeypatch):
        kind, _, parsers, _ = H36M_FORMS[form]
        watched = [counted(monkeypatch, module, name) for module, name in parsers.items()]
        if kind in (H36M, H36MNpz, H36MMartinez):
            metadata = counted(monkeypatch, base_h36m_camera, "load_metadata")
            return lambda: (sum(map(len, watched)), len(metadata))
        return lambda: (sum(map(len, watched)), 1)

    @staticmethod
    def every(form, root, bodies, splits=("test", "hmr-p2", "rootnet-p1-test")):
        """Every subset under every box rule, two frame rules and both skeletons, by its name."""
        kind = H36M_FORMS[form][0]
        kind.splits_in(root)
        kind.inspect(root)
        for split in splits:
            for bbox in kind.box_rules if form != "world" else kind.box_rules[:2]:
                for frames in ("all", "every-5th+drop-bad"):
                    for skeleton in ("h36m17", "h36m32") if form in ("mono", "npz", "martinez", "fetch") else ("h36m17",):
                        rules = {"split": split, "frames": frames, "bbox": bbox, "skeleton": skeleton}
                        if not (bbox == "masks" and split != "hmr-p2"):
                            yield tuple(rules.values()), kind(root, bbox_scale=1.1, bodies=bodies, **rules)

    def test_parsed_once_and_never_again(self, form, root, cache, calls, bodies):
        built = dict(self.every(form, root, bodies))
        assert calls() == (H36M_FORMS[form][3], 1)
        count = len(list(cache.iterdir()))
        for name, again in self.every(form, root, bodies):
            assert_same(again, built[name])
            assert again.actions == built[name].actions
        assert calls() == (H36M_FORMS[form][3], 1)
        assert len(list(cache.iterdir())) == count

    def test_samples_are_those_of_the_files(self, form, root, cache, bodies):
        """One index for all subsets against a fresh one for each of them."""
        built = dict(self.every(form, root, bodies))
        for split in ("rootnet-p1-test", "hmr-p2"):
            cache.rename(cache.with_name(split))
            for name, anew in self.every(form, root, bodies, [split]):
                assert_same(anew, built[name])

    def test_every_file_is_in_the_fingerprint(self, form, root, cache, bodies):
        """Also where files of two subjects have the same name."""
        kind = H36M_FORMS[form][0]
        files = sorted(path for path in root.rglob("*") if path.suffix in (".cdf", ".h5", ".npz", ".json", ".xml"))
        rules = {"split": "test", "frames": "all", "bbox": "joints-in-image", "bbox_scale": 1.0, "bodies": bodies}
        found = {kind(root, **rules).fingerprint}
        used = [path for path in files if not path.name.startswith("_ALL") and "_train_" not in path.name and _is_read(form, path)]
        for path in used:
            _touched(path)
            found.add(kind(root, **rules).fingerprint)
        assert len(found) == 1 + len(used)

    def test_places_and_iteration_agree(self, form, root, cache, bodies):
        dataset = next(dataset for _, dataset in self.every(form, root, bodies))
        assert [sample.id for sample in dataset] == [dataset[i].id for i in range(len(dataset))] == dataset.ids
        np.testing.assert_array_equal(dataset.camera_of(len(dataset) - 1).intrinsics, dataset[-1].view.intrinsics)
        assert len(dataset.actions) == len(dataset)
