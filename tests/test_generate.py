import errno
import gc
import gzip
import json
import os
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hpsbench import generate as room
from hpsbench.datasets.base import Dataset, Entry, FrameCounts
from hpsbench.errors import DataError, HpsbenchError, MissingExtraError, ResultError
from hpsbench.generate import generate, merge, verify, write
from hpsbench.generated import canonical, load_generated, plan_line, sealed, zipped
from hpsbench.image import read_image
from hpsbench.occlude import apply_plan, hidden_by, make_plan
from hpsbench.protocol import load_protocol
from hpsbench.seeds import rng_of
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.store import sha256_of_bytes
from hpsbench.types import Card, Hidden, Occlusion, OcclusionPlan, Sample, Truth, View

XOCC, CLEAN = load_protocol("openhps-xocc"), load_protocol("openhps-test")
WIDTH, HEIGHT = 96, 72
COVERAGES = ("coverage", "coverage_canvas", "coverage_box")
# (sequence, person, frames): two people share the frames of "b", where one frame of person 1 was dropped.
TRACKS = (("a", 0, range(11)), ("b", 0, range(9)), ("b", 1, (0, 1, 2, 4, 5, 6, 7, 8)))


@dataclass(frozen=True)
class Picture:
    """Reads an image fixed by its name and counts how often; an ``error`` is raised instead, ``dies`` ends the process."""

    name: str
    reads: list
    error: HpsbenchError | None = None
    dies: bool = False

    def __call__(self):
        if self.dies:
            os._exit(9)
        if self.error is not None:
            raise self.error
        self.reads.append(self.name)
        return rng_of("image", self.name).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


class People(Dataset):
    """28 people in 20 frames of 2 sequences."""

    name = "openhps"
    card = Card("fake", "people of a test", "tests", "Apache-2.0")

    def __init__(self, broken="", error=None, dies=False, fingerprint="f" * 64):
        entries = sorted(
            Entry(f"fake/test/{sequence}/{frame:05d}/{person}", f"{sequence}/{frame}", f"fake/test/{sequence}/{person}", frame)
            for sequence, person, frames in TRACKS
            for frame in frames
        )
        super().__init__(entries, split="test", counts=FrameCounts(29, 28, {"camera": 1}), fingerprint=fingerprint)
        self.broken, self.error, self.dies, self.reads = broken, error, dies, []

    def sample_at(self, i):
        entry = self._entries[i]
        rng = rng_of("person", entry.id)
        x, y = 20 + 20 * rng.random(), 5 + 5 * rng.random()
        joints2d = np.column_stack([x + 40 * rng.random(24), y + 60 * rng.random(24)])
        keypoints = np.column_stack([x + 40 * rng.random(18), y + 60 * rng.random(18), np.ones(18)])
        truth = Truth(np.zeros((24, 3)), "smpl24", joints2d, np.ones(24, bool), keypoints2d=keypoints, keypoints_skeleton="openpose18")
        bad = entry.id == self.broken
        read = Picture(entry.image_key, self.reads, self.error if bad else None, self.dies and bad)
        K = np.array([[90.0, 0, WIDTH / 2], [0, 90.0, HEIGHT / 2], [0, 0, 1]])
        view = View(read, entry.image_key, np.array([x, y, x + 40, y + 60]), K)
        return Sample(entry.id, view, truth, entry.id.split("/")[2], entry.track, entry.frame, (WIDTH, HEIGHT))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(room, "_FRAMES_TO_A_PART", 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished folder with images, not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "xocc"
    generate(XOCC, People(), folder, images=True)
    return folder


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copied(made, tmp_path):
    folder = tmp_path / "copy"
    for name, data in files_of(made).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def lines_of(folder, name="plans.jsonl.gz"):
    return [json.loads(line) for line in gzip.decompress((folder / name).read_bytes()).splitlines()]


class TestSameBytes:
    def test_twice(self, made, tmp_path):
        generate(XOCC, People(), tmp_path / "again", images=True)
        assert files_of(tmp_path / "again") == files_of(made)

    def test_with_two_workers(self, made, tmp_path):
        counts = []
        generate(XOCC, People(), tmp_path / "two", images=True, workers=2, progress=lambda done, total: counts.append((done, total)))
        assert files_of(tmp_path / "two") == files_of(made)
        assert counts[0] == (0, 28)
        assert counts[-1] == (28, 28)
        assert len(counts) == 8

    @pytest.mark.parametrize("number", [2, 30])
    def test_shards_merged(self, made, tmp_path, number):
        folders = [tmp_path / str(k) for k in range(number)]
        for k, folder in enumerate(folders):
            generate(XOCC, People(), folder, images=True, shard=(k, number))
            assert f"shard {k + 1} of {number}" in verify(folder)
        merge(folders[::-1], tmp_path / "merged")
        assert files_of(tmp_path / "merged") == files_of(made)

    def test_plans_are_the_same_without_images(self, made, tmp_path):
        manifest = generate(XOCC, People(), tmp_path / "plans")
        assert manifest["images"] is None
        assert sorted(files_of(tmp_path / "plans")) == ["manifest.json", "plans.jsonl.gz"]
        assert (tmp_path / "plans/plans.jsonl.gz").read_bytes() == (made / "plans.jsonl.gz").read_bytes()

    def test_gzip_holds_no_time(self):
        assert zipped(b"text")[4:8] == bytes(4)

    def test_stopped_and_started_again(self, made, tmp_path):
        stopped = People(broken="fake/test/b/00004/0", error=DataError("broken"))
        with pytest.raises(DataError, match="broken"):
            generate(XOCC, stopped, tmp_path / "out", images=True)
        assert not (tmp_path / "out/manifest.json").exists()
        for name in ("images/.torn.png.abc.part", ".plans.jsonl.gz.abc.part"):
            (tmp_path / "out" / name).write_bytes(b"what a killed process leaves")
        counts, dataset = [], People()
        generate(XOCC, dataset, tmp_path / "out", images=True, progress=lambda done, total: counts.append(done))
        assert files_of(tmp_path / "out") == files_of(made)
        # Frames 0 to 10 of "a" and 0 to 3 of "b" fill five parts; two people in each frame of "b" but the third.
        assert counts[0] == 11 + 7
        assert set(dataset.reads) == {f"b/{frame}" for frame in range(4, 9)}

    def test_started_again_in_parts_of_another_size(self, made, tmp_path, monkeypatch):
        with pytest.raises(DataError, match="broken"):
            generate(XOCC, People(broken="fake/test/b/00004/0", error=DataError("broken")), tmp_path / "out", images=True)
        monkeypatch.setattr(room, "_FRAMES_TO_A_PART", 4)
        dataset = People()
        generate(XOCC, dataset, tmp_path / "out", images=True)
        assert files_of(tmp_path / "out") == files_of(made)
        assert len(set(dataset.reads)) == 20

    @pytest.mark.parametrize(("how", "number"), [({}, 4), ({"images": True}, 7)])
    def test_plans_alone_are_made_in_larger_parts(self, tmp_path, monkeypatch, how, number):
        monkeypatch.setattr(room, "_PLANS_TO_A_PART", 6)
        told = []
        generate(XOCC, People(), tmp_path / "out", progress=lambda done, total: told.append(done), **how)
        assert len(told) == 1 + number

    def test_a_finished_run_is_left_as_it_is(self, made, tmp_path):
        folder = copied(made, tmp_path)
        dataset = People()
        manifest = generate(XOCC, dataset, folder, images=True)
        assert manifest == json.loads((made / "manifest.json").read_text())
        assert dataset.reads == []


class TestContent:
    def test_a_line_for_each_sample_with_its_plan_and_what_it_hid(self, made):
        dataset, names = People(), JOINT_NAMES["smpl24"]
        lines = lines_of(made)
        assert [line["sample_id"] for line in lines] == dataset.ids
        assert any(line["occluded"] for line in lines)
        assert any(line["outside"] for line in lines)
        for line, sample in zip(lines, dataset, strict=True):
            plan = make_plan(sample, XOCC, dataset.track(sample.track))
            hidden = hidden_by(plan, sample)
            assert line.items() >= json.loads(plan.to_json()).items()
            assert [line[key] for key in COVERAGES] == [round(getattr(hidden, key), 6) for key in COVERAGES]
            assert line["occluded"] == [name for name, flag in zip(names, hidden.occluded, strict=True) if flag]
            assert line["outside"] == [name for name, flag in zip(names, hidden.outside, strict=True) if flag]

    @pytest.mark.parametrize("case", ["", 'on="left"\u00e9'])
    @pytest.mark.parametrize("skipped", ["", "joint \\ not annotated"])
    @pytest.mark.parametrize("mask", [None, 2 / 3])
    def test_a_line_is_canonical(self, case, skipped, mask):
        numbers = {"b": [0.1, None, 1e-7], "a": {"z": 1, "text": "\u00e9"}}
        plan = OcclusionPlan("fake/\u00e9", "p.v1", 7, (Occlusion("noise-patch", "image", numbers),) if not skipped else (), case, skipped)
        flags = np.arange(24) % 3 == 0, np.arange(24) == 23
        line = plan_line(plan, Hidden(*flags, 1 / 3, 0.0, 1e-6, mask), "smpl24")
        record = json.loads(line)
        assert line == canonical(record)
        hidden = {"coverage": 0.333333, "coverage_canvas": 0.0, "coverage_box": 1e-6} | (
            {} if mask is None else {"coverage_mask": 0.666667}
        )
        names = JOINT_NAMES["smpl24"]
        assert record == plan.to_record() | hidden | {"occluded": list(names[::3]), "outside": [names[23]]}

    @pytest.mark.parametrize("at_once", [1, 5, 1024])
    def test_however_many_are_planned_at_once(self, made, tmp_path, monkeypatch, at_once):
        monkeypatch.setattr(write, "_FRAMES_AT_ONCE", at_once)
        monkeypatch.setattr(room, "_FRAMES_TO_A_PART", 64)
        generate(XOCC, People(), tmp_path / "out")
        assert (tmp_path / "out/plans.jsonl.gz").read_bytes() == (made / "plans.jsonl.gz").read_bytes()

    @pytest.mark.parametrize("collects", [True, False])
    def test_garbage_collection_is_left_as_it_was(self, tmp_path, collects):
        was = gc.isenabled()
        try:
            (gc.enable if collects else gc.disable)()
            with pytest.raises(DataError):
                generate(XOCC, People(broken="fake/test/b/00004/0", error=DataError("x")), tmp_path / "out", images=True)
            assert gc.isenabled() == collects
        finally:
            (gc.enable if was else gc.disable)()

    def test_manifest_says_what_it_is(self, made):
        manifest = json.loads((made / "manifest.json").read_text())
        assert manifest["protocol"] == {"id": "openhps-xocc.v1", "sha256": XOCC.sha256, "content": XOCC.content}
        assert manifest["dataset"] == {"name": "openhps", "split": "test", "fingerprint": "f" * 64}
        assert manifest["counts"] == {"total": 29, "kept": 28, "dropped": {"camera": 1}, "written": 28}
        assert manifest["images"]["count"] == 28
        assert verify(made) == f"{made}: whole. openhps-xocc.v1, 28 plans, 28 images."

    def test_each_frame_is_decoded_once(self, tmp_path):
        dataset = People()
        generate(XOCC, dataset, tmp_path / "out", images=True)
        assert len(dataset.reads) == len(set(dataset.reads)) == 20

    def test_people_of_an_unoccluded_frame_share_its_image(self, tmp_path):
        manifest = generate(CLEAN, People(), tmp_path / "clean", images=True)
        assert manifest["images"]["count"] == 20
        lines = lines_of(tmp_path / "clean", "images.jsonl.gz")
        assert [line["image"] for line in lines if "/b/00002/" in line["sample_id"]] == ["images/fake/test/b/00002/0.png"] * 2
        assert lines[0]["window_xyxy"] is None
        verify(tmp_path / "clean")

    def test_published_seeding_is_by_place(self, tmp_path):
        dataset, published = People(), replace(XOCC, seeding="published")
        generate(published, dataset, tmp_path / "published")
        second = dataset.track("fake/test/b/0")[3]
        wanted = make_plan(second, published, dataset.track(second.track), start=11)
        (line,) = (line for line in lines_of(tmp_path / "published") if line["sample_id"] == second.id)
        assert line.items() >= json.loads(wanted.to_json()).items()


class TestReadBack:
    @pytest.mark.parametrize("images", [True, False])
    def test_samples_are_those_made_on_the_fly(self, made, tmp_path, images):
        folder = made
        if not images:
            folder = tmp_path / "plans"
            generate(XOCC, People(), folder)
        dataset = People()
        generated = load_generated(folder, dataset)
        assert len(generated) == 28
        assert generated.ids == dataset.ids
        for i in range(0, 28, 3):
            found, sample = generated[i], dataset[i]
            wanted = apply_plan(sample.view, make_plan(sample, XOCC, dataset.track(sample.track)))
            assert generated.plan_of(sample) == make_plan(sample, XOCC, dataset.track(sample.track))
            np.testing.assert_array_equal(found.view.read(), wanted.read())
            for name in ("bbox_xyxy", "window_xyxy", "intrinsics"):
                np.testing.assert_array_equal(getattr(found.view, name), getattr(wanted, name))
            assert found.truth.gender == sample.truth.gender

    def test_clean_views_have_no_window(self, tmp_path):
        dataset = People()
        generate(CLEAN, dataset, tmp_path / "clean", images=True)
        view = load_generated(tmp_path / "clean", dataset)[27].view
        assert view.window_xyxy is None
        np.testing.assert_array_equal(view.read(), dataset[27].view.read())

    def test_other_data_is_refused(self, made):
        with pytest.raises(ResultError, match=r"fingerprint ffffffffffff, but the data given is openhps/test with gggggggggggg"):
            load_generated(made, People(fingerprint="g" * 64))

    @pytest.mark.parametrize("name", ["plans.jsonl.gz", "images.jsonl.gz"])
    @pytest.mark.parametrize(("change", "message"), [(zipped, "was altered"), (None, "is missing")])
    def test_altered_lines_are_refused(self, made, tmp_path, name, change, message):
        path = copied(made, tmp_path) / name
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(gzip.decompress(path.read_bytes()).replace(b"0", b"1", 1)))
        with pytest.raises(ResultError, match=f"{name} {message}"):
            load_generated(path.parent, People())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda plan: plan.pop("occlusions"), r"does not know \('occlusions'\); it was made by hpsbench 0\.0\.1"),
            (lambda plan: plan["occlusions"][1].update(kind="noise-pach"), r"does not know \(No occluder named.*made by hpsbench 0\.0\.1"),
        ],
    )
    def test_a_plan_of_another_version_is_refused(self, made, tmp_path, change, message):
        folder = copied(made, tmp_path)
        lines = lines_of(folder)
        change(lines[3])
        data = zipped("".join(f"{canonical(line)}\n" for line in lines).encode())
        (folder / "plans.jsonl.gz").write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["version"], manifest["plans"]["sha256"] = "0.0.1", sha256_of_bytes(data)
        (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
        with pytest.raises(ResultError, match=message):
            load_generated(folder, People())

    def test_a_folder_of_another_format_is_refused(self, made, tmp_path):
        folder = copied(made, tmp_path)
        manifest = json.loads((folder / "manifest.json").read_text()) | {"format": 2, "version": "9.0.0"}
        (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
        with pytest.raises(ResultError, match=r"another version, hpsbench 9\.0\.0: its format is 2, and this one.*reads format 1"):
            verify(folder)

    def test_an_altered_image_is_refused_when_it_is_read(self, made, tmp_path):
        folder, dataset = copied(made, tmp_path), People()
        (folder / f"images/{dataset.ids[3]}.png").write_bytes((folder / f"images/{dataset.ids[4]}.png").read_bytes())
        generated = load_generated(folder, dataset)
        generated[4].view.read()
        with pytest.raises(ResultError, match=rf"{dataset.ids[3]}\.png was altered"):
            generated[3].view.read()

    def test_a_shard_does_not_pass_for_the_whole(self, tmp_path):
        generate(XOCC, People(), tmp_path / "half", shard=(0, 2))
        generated = load_generated(tmp_path / "half", People())
        generated[0]
        with pytest.raises(ResultError, match=r"no plan for 'fake/test/b/00008/1'.*merge"):
            generated[27]


class Nobody(People):
    """Two people, both dropped."""

    def __init__(self):
        Dataset.__init__(self, [], split="test", counts=FrameCounts(2, 0, {"camera": 2}), fingerprint="f" * 64)


class TestRefused:
    def test_nobody_to_hide(self, tmp_path):
        with pytest.raises(DataError, match=r"openhps/test has nobody to hide: 0 of 2 person-frames kept; dropped: 2 \(camera\)"):
            generate(XOCC, Nobody(), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("protocol", "dataset", "images", "shard", "message"),
        [
            (CLEAN, {}, True, (0, 1), "its protocol differs.*openhps-test.v1"),
            (replace(XOCC, seed=1), {}, True, (0, 1), "its protocol differs"),
            (XOCC, {"fingerprint": "g" * 64}, True, (0, 1), "its dataset differs.*gggggggg"),
            (XOCC, {}, False, (0, 1), "its with_images differs.*plans only"),
            (XOCC, {}, True, (1, 2), "its shard differs.*shard 2/2"),
            (CLEAN, {}, False, (0, 1), "its protocol and with_images differ from"),
        ],
    )
    @pytest.mark.parametrize("finished", [True, False])
    def test_a_folder_of_another_run(self, made, tmp_path, protocol, dataset, images, shard, message, finished):
        folder = copied(made, tmp_path)
        if not finished:
            folder = tmp_path / "begun"
            with pytest.raises(DataError):
                generate(XOCC, People(broken="fake/test/b/00004/0", error=DataError("x")), folder, images=True)
        before = files_of(folder)
        with pytest.raises(ResultError, match=message):
            generate(protocol, People(**dataset), folder, images=images, shard=shard)
        assert files_of(folder) == before

    @pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
    def test_no_such_shard(self, tmp_path, shard):
        with pytest.raises(ResultError, match="There is no shard"):
            generate(XOCC, People(), tmp_path / "out", shard=shard)
        assert not (tmp_path / "out").exists()

    def test_a_broken_note_of_the_run(self, tmp_path):
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts/run.json").write_text("{")
        with pytest.raises(ResultError, match=r"run\.json is broken.*Remove the folder"):
            generate(XOCC, People(), tmp_path)

    def test_a_folder_of_something_else(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("x")
        with pytest.raises(ResultError, match="files that `hpsbench generate` did not write"):
            generate(XOCC, People(), tmp_path)
        assert list(files_of(tmp_path)) == ["thesis.tex"]

    def test_an_error_comes_out_of_a_worker_as_it_is(self, tmp_path):
        error = MissingExtraError("pybullet", "openhps", "Motion")
        with pytest.raises(type(error)) as caught:
            generate(XOCC, People(broken="fake/test/b/00004/0", error=error), tmp_path / "out", images=True, workers=2)
        assert str(caught.value) == str(error)
        assert not (tmp_path / "out/manifest.json").exists()

    def test_a_worker_that_dies(self, made, tmp_path):
        with pytest.raises(HpsbenchError, match="worker process died"):
            generate(XOCC, People(broken="fake/test/b/00004/0", dies=True), tmp_path / "out", images=True, workers=2)
        generate(XOCC, People(), tmp_path / "out", images=True)
        assert files_of(tmp_path / "out") == files_of(made)

    @pytest.mark.parametrize("write", range(0, 40, 6))
    def test_a_full_disk_leaves_nothing_half_written(self, made, tmp_path, monkeypatch, write):
        left = [write]

        def fsync(_):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(HpsbenchError, match="No space left on device"):
                generate(XOCC, People(), tmp_path / "out", images=True)
        whole = files_of(made)
        for name, data in files_of(tmp_path / "out").items():
            assert name.startswith("parts/") or data == whole[name]
        generate(XOCC, People(), tmp_path / "out", images=True)
        assert files_of(tmp_path / "out") == whole


class TestVerify:
    def altered(self, folder, name, change):
        path = folder / name
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(bytes(data))

    @pytest.mark.parametrize("name", ["plans.jsonl.gz", "images.jsonl.gz", "images/fake/test/b/00004/1.png"])
    @pytest.mark.parametrize("place", [4, 9, -1])
    def test_one_flipped_byte(self, made, tmp_path, name, place):
        folder = copied(made, tmp_path)
        self.altered(folder, name, lambda data: data.__setitem__(place, data[place] ^ 1))
        with pytest.raises(ResultError, match=f"{name} was altered"):
            verify(folder)

    @pytest.mark.parametrize("name", ["plans.jsonl.gz", "images.jsonl.gz", "images/fake/test/b/00004/1.png"])
    def test_a_missing_file(self, made, tmp_path, name):
        folder = copied(made, tmp_path)
        (folder / name).unlink()
        with pytest.raises(ResultError, match=f"{name} is missing"):
            verify(folder)

    def test_an_edited_plan(self, made, tmp_path):
        folder = copied(made, tmp_path)
        text = gzip.decompress((folder / "plans.jsonl.gz").read_bytes())
        (folder / "plans.jsonl.gz").write_bytes(zipped(text.replace(b'"seed":0', b'"seed":1', 1)))
        with pytest.raises(ResultError, match=r"plans\.jsonl\.gz was altered"):
            verify(folder)

    def test_a_file_too_many(self, made, tmp_path):
        folder = copied(made, tmp_path)
        (folder / "images/more.png").write_bytes(b"x")
        with pytest.raises(ResultError, match=r"images/more\.png was not generated"):
            verify(folder)

    def test_many_things_wrong_are_counted(self, made, tmp_path):
        folder = copied(made, tmp_path)
        for k in range(9):
            (folder / f"images/more{k}.png").write_bytes(b"x")
        with pytest.raises(ResultError, match="and 4 more"):
            verify(folder)

    def test_an_edited_manifest(self, made, tmp_path):
        folder = copied(made, tmp_path)
        path = folder / "manifest.json"
        path.write_text(path.read_text().replace('"kept": 28', '"kept": 29'))
        with pytest.raises(ResultError, match="was altered"):
            verify(folder)
        path.write_text("{")
        with pytest.raises(ResultError, match="is broken"):
            verify(folder)
        path.write_text("{}")
        with pytest.raises(ResultError, match="no manifest of format 1"):
            verify(folder)

    def test_an_unfinished_folder(self, tmp_path):
        with pytest.raises(ResultError, match="no finished generated folder"):
            verify(tmp_path)


class TestMerge:
    @pytest.fixture
    def halves(self, tmp_path):
        folders = [tmp_path / "1", tmp_path / "2"]
        for k, folder in enumerate(folders):
            generate(XOCC, People(), folder, shard=(k, 2))
        return folders

    def test_a_missing_shard(self, halves, tmp_path):
        with pytest.raises(ResultError, match="Shard 2/2 is missing"):
            merge(halves[:1], tmp_path / "out")

    def test_a_shard_twice(self, halves, tmp_path):
        with pytest.raises(ResultError, match="both hold shard 1/2"):
            merge([halves[0], halves[0]], tmp_path / "out")

    def test_a_shard_of_another_run(self, halves, tmp_path):
        generate(CLEAN, People(), tmp_path / "other", shard=(1, 2))
        with pytest.raises(ResultError, match="its protocol differs"):
            merge([halves[0], tmp_path / "other"], tmp_path / "out")
        generate(XOCC, People(), tmp_path / "third", shard=(2, 3))
        with pytest.raises(ResultError, match="its shard differs"):
            merge([halves[0], tmp_path / "third"], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_an_altered_shard(self, halves, tmp_path):
        (halves[1] / "plans.jsonl.gz").write_bytes(zipped(b""))
        with pytest.raises(ResultError, match="was altered"):
            merge(halves, tmp_path / "out")

    def test_twice_is_once(self, halves, tmp_path):
        assert merge(halves, tmp_path / "out") == merge(halves, tmp_path / "out")


def test_written_images_are_what_the_view_shows(made):
    line = lines_of(made, "images.jsonl.gz")[5]
    image = read_image(made / line["image"])
    assert [image.shape[1], image.shape[0]] == line["size"]
    x0, y0, x1, y1 = line["window_xyxy"]
    assert 0 <= x0 < 1
    assert 0 <= y0 < 1
    assert line["size"] == [int(np.ceil(x1)) + 1, int(np.ceil(y1)) + 1]
