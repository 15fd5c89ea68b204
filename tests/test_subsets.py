"""Subsets by name: their exact lists against the published counts, reading them, and which training data share people with which test."""

import hashlib
from typing import ClassVar

import numpy as np
import pytest
import torch
from writers.threedpw import Miniature, default_miniatures, write_miniature

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets import base_mpi_inf_3dhp
from hpsbench.datasets.agora import Agora
from hpsbench.datasets.base import FrameCounts, open_dataset
from hpsbench.datasets.base_3dpw import ThreeDPWLayout
from hpsbench.datasets.base_3dpw_subsets import SUBSETS, subset_sha256
from hpsbench.datasets.base_leakage import leaking
from hpsbench.datasets.threedpw import ThreeDPW
from hpsbench.errors import DataError, UnknownNameError

KNOWN = {f"{split}/{name}": counts for split, rows in ThreeDPW.known.items() for name, counts in rows.items()}
# As published: names without their number, matched over all splits.
OCC_PREFIXES = """courtyard_backpack courtyard_basketball courtyard_bodyScannerMotions courtyard_box courtyard_golf courtyard_jacket
    courtyard_laceShoe downtown_stairs flat_guitar flat_packBags outdoors_climbing outdoors_crosscountry outdoors_fencing
    outdoors_freestyle outdoors_golf outdoors_parcours outdoors_slalom"""


def sizes(name):
    """(sequences, images, person-frames) of a subset by the published numbers."""
    rows = [(KNOWN[sequence], frames) for sequence, frames in SUBSETS[name].items()]
    lengths = [(people, images if frames is None else frames[1] - frames[0]) for (people, images), frames in rows]
    return len(rows), sum(images for _, images in lengths), sum(people * images for people, images in lengths)


class TestThreeDPWLists:
    def test_occ_is_what_its_prefixes_stand_for(self):
        wanted = {name for name in KNOWN if name.partition("/")[2].rpartition("_")[0] in OCC_PREFIXES.split()}
        assert set(SUBSETS["occ"]) == wanted
        by_split = [name.partition("/")[0] for name in SUBSETS["occ"]]
        assert [by_split.count(split) for split in ("train", "validation", "test")] == [13, 6, 4]
        assert [name for name in SUBSETS["occ"] if KNOWN[name][0] == 2] == ["train/courtyard_basketball_00"]

    def test_sizes(self):
        """PC: 80 + 100 + 210 + 310 + 400 + 280 images, two people in each; crowd: 459 + 614."""
        assert {name: sizes(name) for name in SUBSETS} == {
            "occ": (23, 20_529, 20_997),
            "pc": (6, 1_380, 2 * 1_380),
            "crowd": (2, 1_073, 2 * 1_073),
        }

    def test_ranges_are_inside_their_sequences(self):
        for name, (first, end) in SUBSETS["pc"].items():
            assert 0 <= first < end <= KNOWN[name][1]

    def test_lists_are_in_the_order_of_a_dataset(self):
        for listed in SUBSETS.values():
            keys = [(ThreeDPW.splits.index(name.partition("/")[0]), name) for name in listed]
            assert keys == sorted(keys)

    def test_hashes(self):
        """Of lists written out by hand, by sha256sum."""
        crowd = b"validation/courtyard_dancing_00\nvalidation/courtyard_hug_00\n"
        assert {name: subset_sha256(name) for name in SUBSETS} == {
            "occ": "5a62df905c15c606a97726e9c3885b9d44eb3876c5a4a4c0e90bf57f76335d87",
            "pc": "a532386660ef145aab853cba87cb3a9edc978355367933816516d5502e114755",
            "crowd": hashlib.sha256(crowd).hexdigest(),
        }
        with pytest.raises(UnknownNameError, match="subset of 3DPW named 'oc'"):
            subset_sha256("oc")


class TestOtherLists:
    def test_3dhp_by_name(self):
        lengths = {name: len(clips) for name, clips in base_mpi_inf_3dhp.SUBSETS.items()}
        assert {name: lengths[name] for name in ("train", "train-chest", "test")} == {"train": 224, "train-chest": 128, "test": 6}
        scenes = [f"test-{scene}" for scene in ("green-screen", "studio", "outdoor")]
        assert [clip for name in scenes for clip in base_mpi_inf_3dhp.SUBSETS[name]] == list(base_mpi_inf_3dhp.SUBSETS["test"])
        assert base_mpi_inf_3dhp.subset_sha256("test") == hashlib.sha256(b"TS1\nTS2\nTS3\nTS4\nTS5\nTS6\n").hexdigest()
        chest = "".join(f"S{s}_Seq{q}_V{c}\n" for s in range(1, 9) for q in (1, 2) for c in (0, 1, 2, 4, 5, 6, 7, 8))
        assert base_mpi_inf_3dhp.subset_sha256("train-chest") == hashlib.sha256(chest.encode()).hexdigest()
        with pytest.raises(UnknownNameError, match="subset of MPI-INF-3DHP"):
            base_mpi_inf_3dhp.subset_sha256("TS7")

    def test_agora_has_a_rule_for_each_bin_of_occlusion(self):
        assert [rule for rule in Agora.frame_rules if rule.startswith("occlusion")] == [
            f"occlusion-{low}-{low + 10}" for low in range(0, 90, 10)
        ]


class Listed(ThreeDPWLayout):
    """3DPW with a subset of the miniature's sequences."""

    name = "3dpw"
    card = ThreeDPW.card
    subsets = ("some", "gone", "long")
    lists: ClassVar = {
        "some": {"train/courtyard_one_00": None, "test/downtown_pair_00": (1, 3)},
        "gone": {"test/downtown_pair_00": None, "test/flat_guitar_01": None},
        "long": {"test/downtown_pair_00": (1, 6)},
    }


RULES = {"frames": "campose-valid", "bbox": "joints-in-image", "bbox_scale": 1.0, "bodies": None}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The default miniature, and the two sequences of 3DPW-Crowd."""
    start = np.array([[-0.5, 0.1, 4.0], [0.6, 0.0, 5.0]])
    crowd = [
        Miniature(name, "validation", 2, (192, 108), ("m", "f"), start, (10, 10)) for name in ("courtyard_dancing_00", "courtyard_hug_00")
    ]
    root = tmp_path_factory.mktemp("3dpw")
    write_miniature(root, load_bodies(None, dtype=torch.float64), (*default_miniatures(), *crowd))
    return root


class TestReading:
    def test_samples_keep_the_ids_of_their_splits(self, root):
        dataset = Listed(root, split="some", **RULES)
        pair = "3dpw/test/downtown_pair_00"
        assert dataset.ids == [
            "3dpw/train/courtyard_one_00/00000/0",
            "3dpw/train/courtyard_one_00/00001/0",
            *(f"{pair}/0000{frame}/{person}" for frame, person in ((1, 1), (2, 0), (2, 1))),
        ]
        assert dataset.counts == FrameCounts(
            2 + 2 * 2, 5, {"camera pose not valid": 1, "no joint inside the image": 0, "box under one pixel": 0}
        )
        whole = Listed(root, split="test", **RULES)
        for sample in list(dataset)[2:]:
            other = whole[whole.index_of(sample.id)]
            np.testing.assert_array_equal(sample.truth.joints, other.truth.joints)
            np.testing.assert_array_equal(sample.truth.betas, other.truth.betas)
            np.testing.assert_array_equal(sample.view.read(), other.view.read())
            assert (sample.track, sample.truth.gender) == (other.track, other.truth.gender)
        assert dataset.fingerprint not in (whole.fingerprint, Listed(root, split="train", **RULES).fingerprint)

    def test_a_sequence_that_is_not_there(self, root):
        with pytest.raises(DataError, match=r"1 of the 2 sequences of 3dpw/gone .* the first is test/flat_guitar_01.*Unpack all"):
            Listed(root, split="gone", **RULES)

    def test_frames_that_are_not_there(self, root):
        with pytest.raises(DataError, match="test/downtown_pair_00 has 5 images, but frames 1 to 5 of it are listed"):
            Listed(root, split="long", **RULES)

    def test_3dpw_crowd_by_its_name(self, root):
        dataset = open_dataset("3dpw", root, split="crowd", **RULES)
        assert (dataset.split, dataset.counts.total) == ("crowd", 8)
        assert {sample.sequence for sample in dataset} == {"courtyard_dancing_00", "courtyard_hug_00"}

    @pytest.mark.parametrize(("split", "first"), [("occ", "train/courtyard_backpack_00"), ("pc", "train/courtyard_basketball_00")])
    def test_others_say_what_they_lack(self, root, split, first):
        with pytest.raises(DataError, match=f"sequences of 3dpw/{split} are not in .* the first is {first}"):
            open_dataset("3dpw", root, split=split, **RULES)

    def test_a_subset_is_no_split_of_a_dataset_without_it(self, root):
        with pytest.raises(UnknownNameError, match="Known: all, test, train"):
            open_dataset("openhps", root, split="occ", **RULES)


class TestLeakage:
    @pytest.mark.parametrize(
        ("tested_on", "trained_on", "found"),
        [
            ("3dpw/occ", ("coco", "3dpw/train", "h36m/train"), ("3dpw/train",)),
            ("3dpw/occ", ("3dpw/validation",), ("3dpw/validation",)),
            ("3dpw/test", ("3dpw/train", "3dpw/validation", "coco"), ()),
            ("3dpw/test", ("3dpw/occ", "3DPW-OCC"), ("3dpw/occ", "3DPW-OCC")),
            ("3dpw/test", ("3dpw",), ("3dpw",)),
            ("3dpw/test", ("3dpw/all",), ("3dpw/all",)),
            ("3dpw/test", ("3dpw/somewhere",), ("3dpw/somewhere",)),
            ("3dpw/crowd", ("3dpw/train", "3dpw/test"), ()),
            ("3dpw/crowd", ("3dpw/validation", "3dpw/pc"), ("3dpw/validation", "3dpw/pc")),
            ("3dpw/pc", ("3dpw/train",), ("3dpw/train",)),
            ("h36m/hmr-p2", ("h36m/train", "h36m/rootnet-p1-train"), ("h36m/rootnet-p1-train",)),
            ("h36m/rootnet-p1-test", ("h36m/rootnet-p1-train",), ()),
            ("h36m-hybrik/hmr-p2", ("Human3.6M/test", "h36m-npz/train"), ("Human3.6M/test",)),
            ("3dhp/test-outdoor", ("mpi-inf-3dhp/train", "3dhp/ts5", "3dhp/TS1"), ("3dhp/ts5",)),
            ("3dhp-universal/test", ("3dhp/test-studio", "mpi_inf_3dhp"), ("3dhp/test-studio", "mpi_inf_3dhp")),
            ("agora-smplx-4k/validation", ("agora/train", "agora/validation"), ("agora/validation",)),
            ("3doh/test", ("3DOH50K/train",), ()),
            ("emdb/emdb1", ("emdb/emdb2",), ("emdb/emdb2",)),
            ("openhps/test", ("openhps/train",), ()),
            ("openhps/train", ("openhps/train",), ("openhps/train",)),
            ("theirs/test", ("theirs/train", "theirs/test", "theirs"), ("theirs/test", "theirs")),
            ("3dpw/test", (), ()),
        ],
    )
    def test_who_shares_what(self, tested_on, trained_on, found):
        assert leaking(trained_on, tested_on) == found

    def test_what_the_splits_of_3dpw_hold(self):
        held = {split: ThreeDPW.holds(split) for split in (*ThreeDPW.splits, *ThreeDPW.subsets, "all")}
        assert {split: len(names) for split, names in held.items()} == {
            "train": 24, "validation": 12, "test": 24, "occ": 23, "pc": 6, "crowd": 2, "all": 60,
        }  # fmt: skip
        assert len(held["occ"] & held["train"]) == 13
        assert held["crowd"] < held["pc"]
