import json
import pickle
from dataclasses import replace
from importlib.resources import files

import pytest

from hpsbench.errors import ProtocolError, UnknownNameError
from hpsbench.protocol import load_protocol, protocol_names
from hpsbench.store import sha256_of_bytes

# A changed hash is a changed measurement: give the protocol a new version, and pin that here.
PINNED = {
    "3dpw-test.v1": "09ff2046ae66237c25d1c9a10fd12b04be9da930337c6c1893362c2c89072671",
    "3dpw-xocc.v1": "8e85ae04a2718b642561af5d3c9ca72a81277bd30f007e4dbb3cfa0667278c57",
    "openhps-test.v1": "4b02fb529e0483760e9010241428826c4dce1d96bef6dd201025cdb86f56c346",
    "openhps-xocc.v1": "695a812f9c0ba3931cefac2641ce64256726035b0065b069d01476d3111ffb22",
}


def write(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path, message):
    with pytest.raises(ProtocolError, match=message):
        load_protocol(path)


def whole(**changes):
    """The text of a complete protocol file, with values replaced by key."""
    values = {
        "name": '"mine"',
        "version": "1",
        "what": '"w"',
        "source": '"s"',
        "seed": "0",
        "seeding": '"by-sample"',
        "bbox_scale": "1.0",
        "metrics": '["mpjpe"]',
        "root": '"pelvis"',
        "joints": '"eval14"',
        "regressor": '"h36m17"',
        "pa_fit": '"eval14"',
    } | changes
    head = "".join(f"{key} = {values[key]}\n" for key in ("name", "version", "what", "source", "seed", "seeding"))
    data = f'[data]\ndataset = "3dpw"\nsplit = "test"\nframes = "all"\nbbox = "keypoints"\nbbox_scale = {values["bbox_scale"]}\n'
    score = "".join(f"{key} = {values[key]}\n" for key in ("metrics", "root", "joints", "regressor", "pa_fit"))
    rest = 'gt_gender = "gendered"\npve_align = "none"\naveraging = "pooled"\non_failure = "nan"\n'
    return f"{head}{data}[score]\n{score}{rest}"


class TestCommittedProtocols:
    def test_each_is_pinned(self):
        assert {protocol.id: protocol.sha256 for protocol in map(load_protocol, protocol_names())} == PINNED

    @pytest.mark.parametrize("name", protocol_names())
    def test_name_is_the_files(self, name):
        protocol = load_protocol(name)
        assert protocol.name == name
        assert protocol.what
        assert protocol.source

    @pytest.mark.parametrize("rules", ["test", "xocc"])
    def test_openhps_differs_in_data_only(self, rules):
        theirs, ours = load_protocol(f"3dpw-{rules}").content, load_protocol(f"openhps-{rules}").content
        assert {key for key in theirs if theirs[key] != ours[key]} == {"name", "data"}

    def test_xocc_differs_from_the_clean_protocol_in_its_occluders_only(self):
        clean, hidden = load_protocol("3dpw-test").content, load_protocol("3dpw-xocc").content
        assert {key for key in clean if clean[key] != hidden[key]} == {"name", "occluders"}
        assert [rule["kind"] for rule in hidden["occluders"]] == ["truncation-window", "noise-patch"]


class TestHash:
    def test_is_of_the_canonical_content(self):
        protocol = load_protocol("3dpw-xocc")
        text = json.dumps(protocol.content, sort_keys=True, separators=(",", ":"))
        assert protocol.sha256 == sha256_of_bytes(text.encode())

    def test_text_does_not_count_and_numbers_do(self, tmp_path):
        first = load_protocol(write(tmp_path, whole()))
        assert load_protocol(write(tmp_path, whole(what='"other words"') + "# a comment")).sha256 == first.sha256
        assert load_protocol(write(tmp_path, whole(bbox_scale="1"))).sha256 == first.sha256
        assert load_protocol(write(tmp_path, whole(bbox_scale="1.2"))).sha256 != first.sha256
        assert load_protocol(write(tmp_path, whole(seed="1"))).sha256 != first.sha256

    def test_a_protocol_travels_to_a_worker(self):
        protocol = load_protocol("3dpw-xocc")
        assert pickle.loads(pickle.dumps(protocol)) == protocol
        assert replace(protocol, seed=1).sha256 != protocol.sha256


class TestBase:
    def test_tables_are_overridden_key_by_key_and_lists_whole(self, tmp_path):
        write(tmp_path, whole(), "below.toml")
        text = 'name = "above"\nversion = 2\nwhat = "w"\nsource = "s"\nbase = "below.toml"\n[score]\nmetrics = ["pve"]\n'
        protocol = load_protocol(write(tmp_path, text))
        assert protocol.id == "above.v2"
        assert protocol.score.metrics == ("pve",)
        assert protocol.score.on_failure == "nan"

    def test_name_and_version_are_not_inherited(self, tmp_path):
        refused(write(tmp_path, 'base = "3dpw-test"\nwhat = "w"\nsource = "s"\n'), "no value for name, version")

    def test_a_circle_is_named(self, tmp_path):
        write(tmp_path, f'base = "{tmp_path}/b.toml"\n', "a.toml")
        write(tmp_path, f'base = "{tmp_path}/a.toml"\n', "b.toml")
        refused(tmp_path / "a.toml", "circle")

    def test_an_unknown_base(self, tmp_path):
        with pytest.raises(UnknownNameError, match="Did you mean '3dpw-test'"):
            load_protocol(write(tmp_path, 'base = "3dpw-tset"\n'))


class TestBadFiles:
    def test_unknown_name(self):
        with pytest.raises(UnknownNameError, match=r"Did you mean '3dpw-xocc'\? Known: 3dpw-test"):
            load_protocol("3dpw-xoc")

    def test_missing_file(self, tmp_path):
        refused(tmp_path / "none.toml", r"none\.toml cannot be read")

    def test_no_toml(self, tmp_path):
        refused(write(tmp_path, "name = \n"), "no TOML")

    def test_unknown_key(self, tmp_path):
        refused(write(tmp_path, "sed = 1\n" + whole()), r"unknown key 'sed'\. Did you mean 'seed'\?")
        refused(write(tmp_path, whole() + "rooot = 1\n"), r"score: unknown key 'rooot'\. Did you mean 'root'\?")

    def test_missing_key(self, tmp_path):
        refused(write(tmp_path, whole().replace("bbox_scale = 1.0\n", "")), r"data: no value for bbox_scale")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"version": '"1"'}, "version: '1' found, but a whole number was expected"),
            ({"version": "0"}, "version: 0 found, but 1 or more"),
            ({"seed": "true"}, "seed: True found, but a whole number"),
            ({"seed": "1.5"}, "seed: 1.5 found, but a whole number"),
            ({"bbox_scale": "nan"}, "data.bbox_scale: nan found, but a number"),
            ({"seeding": '"by-smaple"'}, r"seeding: 'by-smaple' found.*Did you mean 'by-sample'\?"),
            ({"root": '"hip"'}, r"score.root: 'hip' found, but one of pelvis, hips was expected\. Did you mean 'hips'\?"),
            ({"metrics": '"mpjpe"'}, r"score.metrics: 'mpjpe' found, but a list"),
            ({"metrics": "[1]"}, r"score.metrics\[0\]: 1 found, but text"),
            ({"metrics": "[]"}, "expected at least one and none twice, but got none"),
        ],
    )
    def test_wrong_values(self, tmp_path, changes, message):
        refused(write(tmp_path, whole(**changes)), message)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"regressor": '"coco17"', "joints": '"coco17"', "pa_fit": '"coco17"'}, "No joint of skeleton 'coco17' named 'pelvis'"),
            ({"regressor": '"coco17"', "joints": '"eval14"'}, "No joint of skeleton 'coco17' named 'neck'"),
            ({"pa_fit": '"smpl24"'}, "No joint of skeleton 'h36m17' named"),
            ({"regressor": '"eval14"', "pa_fit": '"eval14"', "joints": '"eval14"'}, "No joint of skeleton 'eval14' named 'pelvis'"),
        ],
    )
    def test_joints_and_root_are_those_of_the_regressor(self, tmp_path, changes, message):
        with pytest.raises(UnknownNameError, match=message):
            load_protocol(write(tmp_path, whole(**changes)))

    def test_unknown_names_inside(self, tmp_path):
        with pytest.raises(UnknownNameError, match=r"No metric named 'mpjp'\. Did you mean 'mpjpe'\?"):
            load_protocol(write(tmp_path, whole(metrics='["mpjp"]')))
        with pytest.raises(UnknownNameError, match="No skeleton named 'eval15'"):
            load_protocol(write(tmp_path, whole(joints='"eval15"')))
        with pytest.raises(UnknownNameError, match=r"No occluder named 'noise-pach'\. Did you mean 'noise-patch'\?"):
            load_protocol(write(tmp_path, whole() + '[[occluders]]\nkind = "noise-pach"\n'))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ("kind = 3", "a table with the key 'kind'"),
            ('kind = "noise-patch"\ninterval = 8', r"occluders\[0\] \(noise-patch\): no value for box, base_scale"),
            ("", "a table with the key 'kind'"),
        ],
    )
    def test_wrong_occluders(self, tmp_path, changes, message):
        refused(write(tmp_path, f"{whole()}[[occluders]]\n{changes}\n"), message)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("interval = 8", "interval = 0", "an interval of at least 1"),
            ("ratio = [0.5, 2.0]", "ratio = [2.0, 0.5]", r"area and ratio as \[smallest, largest\]"),
            ("ratio = [0.5, 2.0]", "ratio = [0.5]", r"ratio: 1 values found, but 2"),
            ('unseen = ["neck", "head_top"]', 'unseen = ["nek"]', "no joint named 'nek' in eval14"),
            ("side_scale = [0.95, 1.35]", "side_scale = [0, 1]", "above 0"),
        ],
    )
    def test_wrong_numbers_of_xocc(self, tmp_path, old, new, message):
        text = files("hpsbench.protocols_data").joinpath("3dpw-xocc.toml").read_text(encoding="utf-8")
        assert load_protocol(write(tmp_path, text)) == load_protocol("3dpw-xocc")
        refused(write(tmp_path, text.replace(old, new)), message)

    def test_occluders_must_be_tables(self, tmp_path):
        refused(write(tmp_path, "occluders = 3\n" + whole()), r"tables headed \[\[occluders\]\]")
