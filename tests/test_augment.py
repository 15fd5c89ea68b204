"""Occlusion in a training loop: what is drawn, by which seeds, and that images, boxes, joints and cameras stay together."""

import dataclasses
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_occlude import picture
from torch.utils.data import DataLoader

from hpsbench import augment
from hpsbench.augment import OccludedDataset, occluded
from hpsbench.errors import DataError, ProtocolError, UnknownNameError
from hpsbench.image import crop_square
from hpsbench.occlude import apply_to_image
from hpsbench.protocol import load_protocol
from hpsbench.seeds import rng_of
from hpsbench.skeleton import joint_index
from hpsbench.types import OcclusionPlan

XOCC = load_protocol("openhps-xocc")
WIDTH, HEIGHT = 160, 120
IMAGE = picture(WIDTH, HEIGHT)
BOX = np.array([40.0, 10.0, 100.0, 110.0])
K = np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]])
NECK = joint_index("smpl24", "neck")
# Windows and patches in image space; patches, shapes, objects and rectangles on a canvas of a crop; crops by cases.
SEVERAL = (
    *("openhps-xocc", "3dpw-xocc-window", "3dpw-xocc-patch", "hkmr-bar", "hkmr-circle-noise", "pare-40-40", "3dpw-advocc-80"),
    *("sarandi-objects", "random-erasing", "hmr2-part-crops", "eft-crop-levels", "vertical-half-crop", "hybrik-rectangle"),
)


def joints_of(name="a"):
    """24 joints (24, 2) px all over the box."""
    return BOX[:2] + rng_of("joints", name).random((24, 2)) * (BOX[2:] - BOX[:2])


def drawn(seed, protocol=XOCC, **how):
    return occluded(IMAGE, BOX, joints_of(), protocol=protocol, seed=seed, **how)


def same(first, second):
    return first.plan == second.plan and first.image.shape == second.image.shape and bool((first.image == second.image).all())


class TestOneImage:
    @pytest.mark.parametrize("name", SEVERAL)
    def test_the_seed_alone_decides(self, name):
        protocol = load_protocol(name)
        seen = [drawn(seed, protocol) for seed in range(6)]
        assert all(same(one, drawn(seed, protocol)) for seed, one in enumerate(seen))
        assert len({one.image.tobytes() for one in seen}) > 1
        for seed, one in enumerate(seen):
            assert (one.plan.seed, one.plan.skipped, one.plan.protocol_id) == (seed, "", protocol.id)
            assert one.plan.case in protocol.cases
            # The plan is data: sent as JSON and replayed it gives these very pixels.
            replayed = OcclusionPlan.from_record(json.loads(one.plan.to_json()))
            np.testing.assert_array_equal(apply_to_image(IMAGE, replayed), one.image)

    def test_a_name_is_the_protocol_of_that_name(self):
        assert same(drawn(3, "openhps-xocc"), drawn(3, XOCC))

    def test_the_image_given_is_left_as_it_is(self):
        before = IMAGE.copy()
        for seed in range(5):
            drawn(seed)
        np.testing.assert_array_equal(IMAGE, before)

    @pytest.mark.parametrize("seed", range(8))
    def test_a_window_moves_image_box_joints_and_camera(self, seed):
        seen = drawn(seed, "3dpw-xocc-window", intrinsics=K)
        window = np.array(seen.plan.occlusions[0].params["window_xyxy"])
        x, y = np.floor(window[:2])
        assert seen.origin_px.tolist() == [x, y]
        np.testing.assert_array_equal(seen.bbox_xyxy, BOX - [x, y, x, y])
        np.testing.assert_array_equal(seen.joints2d, joints_of() - [x, y])
        np.testing.assert_array_equal(seen.window_xyxy, window - [x, y, x, y])
        np.testing.assert_array_equal(seen.intrinsics, [[150, 0, 80 - x], [0, 150, 60 - y], [0, 0, 1]])
        np.testing.assert_array_equal(seen.square_xyxy(1.25), seen.window_xyxy)
        height, width = seen.image.shape[:2]
        assert (width, height) == tuple(np.ceil(window[2:]) + 1 - [x, y])
        for (x0, y0), (x1, y1), outside in zip(joints_of(), seen.joints2d, seen.hidden.outside, strict=True):
            assert outside == (not (window[0] <= x0 < window[2] and window[1] <= y0 < window[3]))
            if not outside:
                np.testing.assert_array_equal(seen.image[int(y1), int(x1)], IMAGE[int(y0), int(x0)])

    def test_some_windows_leave_joints_outside(self):
        assert {bool(drawn(seed).hidden.outside.any()) for seed in range(12)} == {True, False}

    def test_a_joint_is_hidden_under_the_patch(self):
        found = 0
        for seed in range(12):
            seen = drawn(seed, "3dpw-xocc-patch")
            x0, y0, x1, y1 = seen.plan.occlusions[0].params["box_xyxy"]
            under = [x0 <= np.floor(x) < x1 and y0 <= np.floor(y) < y1 for x, y in joints_of()]
            assert seen.hidden.occluded.tolist() == under
            assert seen.origin_px.tolist() == [0, 0]
            assert seen.window_xyxy is None
            outside = np.ones((HEIGHT, WIDTH), bool)
            outside[y0:y1, x0:x1] = False
            np.testing.assert_array_equal(seen.image[outside], IMAGE[outside])
            found += sum(under)
        assert found > 0

    def test_of_crop_space_the_circle_lies_in_the_image(self):
        seen = drawn(4, "hkmr-circle")
        (occlusion,) = seen.plan.occlusions
        assert occlusion.space == "image"
        # The canvas is the square of 1.25 times the box's longer side, 125 px, as 224 px.
        assert occlusion.params["canvas"]["square_xyxy"] == [7.5, -2.5, 132.5, 122.5]
        radius = occlusion.params["radius"] * 125 / 224
        centre = np.array(occlusion.params["centre"]) * 125 / 224 + [7.5, -2.5]
        y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        near = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
        np.testing.assert_array_equal(seen.image[near], 0)
        np.testing.assert_array_equal(seen.image[~near], IMAGE[~near])
        np.testing.assert_array_equal(seen.square_xyxy(1.25), [7.5, -2.5, 132.5, 122.5])

    def test_a_crop_is_that_of_the_square(self):
        for seen in (drawn(1), drawn(1, "pare-40-40")):
            np.testing.assert_array_equal(seen.crop(64, box_scale=1.1), crop_square(seen.image, seen.square_xyxy(1.1), 64))

    def test_cases_are_drawn(self):
        protocol = load_protocol("hkmr-circle")
        # 65 cases: of 60 draws at random a good half differ.
        cases = {drawn(seed, protocol).plan.case for seed in range(60)}
        assert len(cases) > 25
        assert cases < set(protocol.cases)

    def test_only_cases_that_are_possible_are_drawn(self):
        joints = np.full((24, 2), np.nan)
        joints[NECK] = 70, 30
        cases = {occluded(IMAGE, BOX, joints, protocol="hkmr-circle", seed=seed).plan.case for seed in range(20)}
        assert {case.partition("on=")[2] for case in cases} == {"neck"}
        assert len(cases) > 1

    def test_a_joint_without_confidence_is_unknown(self):
        joints = np.column_stack([joints_of(), np.zeros(24)])
        joints[NECK, 2] = 0.4
        seen = occluded(IMAGE, BOX, joints, protocol="hkmr-circle", seed=2)
        assert seen.plan.case.endswith("on=neck")
        assert seen.hidden.occluded.tolist() == [joint == NECK for joint in range(24)]
        np.testing.assert_array_equal(seen.joints2d, joints)

    def test_where_no_case_is_possible_the_image_comes_back(self):
        seen = occluded(IMAGE, BOX, protocol="hkmr-circle", seed=2)
        assert seen.plan.skipped == "joint not annotated"
        assert seen.image is IMAGE
        assert seen.joints2d is None
        assert seen.intrinsics is None
        assert not seen.hidden.occluded.any()

    def test_protocols_that_do_not_aim_need_no_joints(self):
        seen = occluded(IMAGE, BOX, protocol="pare-40-40", seed=0)
        assert seen.hidden.coverage > 0
        assert (seen.image != IMAGE).any()


class TestBadInput:
    @pytest.mark.parametrize(
        ("image", "said"),
        [
            (IMAGE.astype(np.float32) / 255, r"uint8, RGB, but got float32 \(120, 160, 3\)\. Occlude before scaling"),
            (torch.zeros(3, 8, 8, dtype=torch.uint8), r"numpy array .* but got torch\.uint8 \(3, 8, 8\)"),
            (IMAGE[..., 0], r"but got uint8 \(120, 160\)"),
            (IMAGE[:0], r"but got uint8 \(0, 160, 3\)"),
            ("person.jpg", "but got str"),
        ],
    )
    def test_images(self, image, said):
        with pytest.raises(ValueError, match=said):
            occluded(image, BOX, joints_of(), protocol=XOCC, seed=0)

    @pytest.mark.parametrize("box", [[40, 60, 20, 30], [0, 0, np.nan, 9], [1, 2, 3], [5, 5, 5, 9]])
    def test_boxes(self, box):
        with pytest.raises(ValueError, match="expected x0 < x1 and y0 < y1"):
            occluded(IMAGE, box, joints_of(), protocol=XOCC, seed=0)

    def test_joints(self):
        with pytest.raises(ValueError, match=r"expected \(17, 2\) or \(17, 3\) for skeleton 'coco17', but got \(24, 2\)"):
            drawn(0, skeleton="coco17")
        with pytest.raises(UnknownNameError, match=r"No skeleton named 'coco71'\. Did you mean 'coco17'\?"):
            drawn(0, skeleton="coco71")

    def test_a_protocol_that_aims_needs_joints(self):
        with pytest.raises(DataError, match="no 2D key points, by which a truncation window aims"):
            occluded(IMAGE, BOX, protocol=XOCC, seed=0)

    def test_places_in_a_database_are_no_seed(self):
        with pytest.raises(ProtocolError, match="seeded by places in a database"):
            drawn(0, dataclasses.replace(XOCC, seeding="published"))

    def test_unknown_protocols_and_probabilities(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'openhps-xocc'"):
            OccludedDataset([], "openhps-xoc", 0, get=get, put=put)
        with pytest.raises(ValueError, match=r"a probability from 0 to 1, but got 1\.5"):
            OccludedDataset([], XOCC, 0, get=get, put=put, p=1.5)


class People:
    """Anybody's dataset: dictionaries of an image, a box and joints, by place."""

    def __init__(self, count=6):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return {"img": IMAGE, "box": BOX, "joints": joints_of(str(i)), "place": i}


def get(item):
    return {"image": item["img"], "bbox_xyxy": item["box"], "joints2d": item["joints"]}


def put(item, seen):
    return item["place"], len(seen.plan.occlusions), torch.from_numpy(seen.crop(32, box_scale=1.25))


def crops(data):
    return [data[i][2].numpy().tobytes() for i in range(len(data))]


class TestDataset:
    def test_seed_epoch_and_place_decide(self):
        data, other = (OccludedDataset(People(), XOCC, 7, get=get, put=put) for _ in range(2))
        assert (len(data), data.epoch) == (6, 0)
        first = crops(data)
        assert len(set(first)) == 6
        data.set_epoch(1)
        assert data.epoch == 1
        second = crops(data)
        assert all(a != b for a, b in zip(first, second, strict=True))
        assert crops(other) == first
        # Gone on with after a stop: the same as without one, in any order.
        other.set_epoch(1)
        assert [other[i][2].numpy().tobytes() for i in reversed(range(6))] == second[::-1]
        data.set_epoch(0)
        assert crops(data) == first
        assert crops(OccludedDataset(People(), XOCC, 8, get=get, put=put)) != first

    def test_equal_items_get_unequal_occluders(self):
        data = OccludedDataset([People()[0]] * 5, XOCC, 7, get=get, put=put)
        assert len(set(crops(data))) == 5

    def test_a_part_is_left_as_it_is(self):
        data = OccludedDataset(People(200), "3dpw-xocc-patch", 7, get=get, put=put, p=0.25)
        occluded_places = [i for i in range(200) if data[i][1]]
        # Binomial: 50 of 200, within four standard deviations of 6.1.
        assert abs(len(occluded_places) - 50) < 25
        assert occluded_places == [i for i in range(200) if data[i][1]]
        clean = crop_square(IMAGE, [7.5, -2.5, 132.5, 122.5], 32)
        for i in range(20):
            assert bool((data[i][2].numpy() == clean).all()) == (i not in occluded_places)

    @pytest.mark.parametrize(("p", "count"), [(0.0, 0), (1.0, 30)])
    def test_none_and_all(self, p, count):
        data = OccludedDataset(People(30), "3dpw-xocc-patch", 7, get=get, put=put, p=p)
        assert sum(data[i][1] for i in range(30)) == count

    def test_places_are_those_of_a_list(self):
        data = OccludedDataset(People(), XOCC, 7, get=get, put=put)
        assert data[-1][0] == data[torch.tensor(5)][0] == 5
        assert bool((data[-1][2] == data[np.int64(5)][2]).all())
        with pytest.raises(IndexError):
            data[6]

    def test_workers_change_nothing_and_hear_of_the_epoch(self):
        data = OccludedDataset(People(), XOCC, 7, get=get, put=put, p=0.8)
        loader = DataLoader(
            data, batch_size=2, shuffle=True, num_workers=2, persistent_workers=True, multiprocessing_context="spawn",
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        for epoch in range(2):
            data.set_epoch(epoch)
            found = {int(i): crop.numpy().tobytes() for places, _, some in loader for i, crop in zip(places, some, strict=True)}
            assert found == dict(enumerate(crops(data)))


def test_the_example_runs():
    example = inspect.getdoc(augment).partition("\n\n")[2]
    assert len(example.splitlines()) == 10
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert example in "\n".join(line for line in readme.splitlines() if line)
    batches = []
    names = {"people": People(40), "epochs": 2, "DataLoader": DataLoader, "train": batches.append}
    exec(compile(example, "example", "exec"), names)
    assert [tuple(batch["img"].shape) for batch in batches] == [(32, 256, 256, 3), (8, 256, 256, 3)] * 2
    assert batches[0]["hidden"].shape == (32, 24)
    assert 0 < batches[0]["hidden"].float().mean() < 1
