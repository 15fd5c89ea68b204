"""Ladders over the person's own pixels: what each level hides of silhouettes by hand and of true meshes, what is kept, what is refused."""

import json
import math
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeDataset, FakeModel, exact_bodies
from test_evaluate import assert_same_summary
from test_matched import FAMILIES, LEVELS, SHAPES, SQUARE, changed, hidden_px, person
from test_preview import near

import hpsbench.occlude as room
from hpsbench.augment import occluded
from hpsbench.body.bodies import load_bodies
from hpsbench.body.silhouette import Silhouette
from hpsbench.datasets.base import open_dataset
from hpsbench.errors import ProtocolError
from hpsbench.evaluate import evaluate, merge_results
from hpsbench.evaluate.people import FrameReader
from hpsbench.occlude import Planner, Silhouettes, hidden_by, make_plan
from hpsbench.occluders.base import BySample, NotPossible, Target
from hpsbench.occluders.base_matched import Mask, Seen
from hpsbench.occluders.matched import MatchedShape
from hpsbench.preview.tiles import VISIBLE, planned_tile
from hpsbench.protocol import load_protocol
from hpsbench.seeds import rng_of
from hpsbench.types import CropSpec, OcclusionPlan

DATA = Path(__file__).parent / "data/occlusion"
REWRITE = os.environ.get("HPSBENCH_REWRITE_GOLDENS") == "1"
# 40 x 100 px inside of the box SQUARE.
BLOCK = Silhouette((580, 150), np.ones((100, 40), bool))


@pytest.fixture(autouse=True)
def _bank(monkeypatch):
    monkeypatch.setenv("HPSBENCH_VOC_BANK", str(DATA / "bank"))


@pytest.fixture(scope="module")
def embedded():
    """(the embedded people, their bodies)"""
    bodies, rule = load_bodies(None), load_protocol("openhps-test").data
    how = {"split": rule.split, "frames": rule.frames, "bbox": rule.bbox, "bbox_scale": rule.bbox_scale}
    return open_dataset(rule.dataset, None, bodies=bodies, **how), bodies


def planned(protocol, sample, level, shape=BLOCK):
    plan = make_plan(sample, protocol, [sample], case=f"level={level:g}", silhouettes=lambda _: shape)
    assert not plan.skipped, plan.skipped
    return plan


def blob(number):
    """A silhouette of its own: some overlapping discs, with holes, partly beyond the box."""
    rng = rng_of("blob", number)
    y, x = np.mgrid[:220, :260]
    discs = [(x - 260 * rng.random()) ** 2 + (y - 220 * rng.random()) ** 2 < (20 + 40 * rng.random()) ** 2 for _ in range(6)]
    return Silhouette((470, 90), np.any(discs[:5], axis=0) & ~discs[5])


class TestMask:
    def test_holds_what_a_picture_shows(self):
        shape = blob(1)
        found = Mask.of(shape, (500, 100, 600, 200))
        assert found.box == (500, 100, 600, 200)
        np.testing.assert_array_equal(found.px, shape.mask[10:110, 30:130])
        assert found.count == shape.mask[10:110, 30:130].sum()
        assert Mask.of(shape, (0, 0, 470, 720)) is None
        assert Mask.of(Silhouette((0, 0), np.eye(9, dtype=bool)), (0, 5, 3, 9)) is None

    def test_is_equal_where_its_px_are(self):
        one, two = (Mask.of(blob(1), (0, 0, 1280, 720)) for _ in range(2))
        assert one == two
        assert hash(one) == hash(two)
        assert one != Mask.of(blob(2), (0, 0, 1280, 720))

    def test_what_lies_outside_of_windows(self):
        shape, rng = blob(3), rng_of("windows")
        seen = Seen((0, 0, 9, 9), (), Mask.of(shape, (0, 0, 1280, 720)))
        y, x = np.nonzero(shape.mask)
        centres = np.column_stack([x, y]) + np.array(shape.corner) + 0.5
        for _ in range(40):
            x0, y0 = 400 + 300 * rng.random(), 50 + 250 * rng.random()
            window = (x0, y0, x0 + 250 * rng.random(), y0 + 250 * rng.random())
            inside = ((centres >= window[:2]) & (centres < window[2:])).all(axis=1)
            assert seen.outside(window, "mask") == len(centres) - inside.sum()


class TestByHand:
    def test_a_standing_bar(self):
        """10 of 40 columns are a quarter, whatever the box holds beside them."""
        protocol = changed("matched-bar-mask", angles=(90.0, 90.0), levels=(25.0,))
        plan = planned(protocol, person(3, SQUARE), 25)
        assert plan.occlusions[0].params["share"] == 10 / 40
        assert plan.occlusions[0].params["of"] == "mask"
        assert hidden_px(plan, person())[150:250, 580:620].all(axis=0).sum() == 10

    def test_a_circle_hides_two_separate_parts(self):
        """Two squares of 20 px at 100 px from one another: at half, a disc hides 400 of their 800 px."""
        mask = np.zeros((20, 120), bool)
        mask[:, :20] = mask[:, 100:] = True
        plan = planned(changed("matched-circle-mask", levels=(50.0,)), person(3, SQUARE), 50, Silhouette((540, 190), mask))
        assert hidden_px(plan, person())[190:210, 540:660][mask].sum() == pytest.approx(400, abs=8)

    def test_a_window(self):
        """The window's own corner: of 100 rows, 30 % lie beyond it at a place drawn as for the box."""
        plan = planned(changed("matched-crop-mask"), person(3, SQUARE), 30)
        x0, y0, x1, y1 = plan.occlusions[0].params["window_xyxy"]
        columns = np.clip([x0, x1], 580, 620).round()
        rows = np.clip([y0, y1], 150, 250).round()
        assert 1 - np.ptp(columns) * np.ptp(rows) / 4000 == pytest.approx(plan.occlusions[0].params["share"])
        assert plan.occlusions[0].params["share"] == pytest.approx(0.3, abs=0.01)

    def test_what_a_window_has_cut_off_is_not_counted(self):
        """A window that shows 20 of the 40 columns: half of them are 10."""
        window = np.array([600.0, 100, 800, 300])
        target = Target(person(3, SQUARE), [], window, 0, BySample(0), "level=50", silhouettes=lambda _: BLOCK)
        params = changed("matched-bar-mask", angles=(90.0, 90.0), levels=(50.0,)).occluders[0].params
        assert MatchedShape().plan(target, params).params["share"] == 10 / 20

    def test_a_silhouette_that_the_canvas_does_not_hold(self):
        """All but a fifth lies beyond the canvas, where nothing is painted: 20 % are met, 30 % are not."""
        mask = np.zeros((100, 1000), bool)
        mask[:, :40] = mask[:, -160:] = True
        shape, protocol = (
            Silhouette((240, 150), mask),
            changed("matched-bar-mask", canvas_side=256.0, canvas_scale=1.25, levels=(15.0, 30.0)),
        )
        sample = person(3, (200, 100, 400, 300))
        plan = planned(protocol, sample, 15, shape)
        assert hidden_px(plan, person())[150:250, 240:1240][mask].mean() == pytest.approx(0.15, abs=0.01)
        skipped = make_plan(sample, protocol, [sample], case="level=30", silhouettes=lambda _: shape).skipped
        assert skipped == "30 % of the silhouette is not reached by a bar of 600 px"

    @pytest.mark.parametrize("name", FAMILIES)
    def test_the_share_is_that_of_the_pixels(self, name):
        """Out of the picture that follows, and as it is recorded beside the plan."""
        protocol = changed(f"{name}-mask")
        for number in range(4):
            shape, level = blob(number), LEVELS[number]
            sample = person(number, (500.3, 100.6, 698.2, 301.1))
            plan = planned(protocol, sample, level, shape)
            share = plan.occlusions[0].params["share"]
            (x, y), (height, width) = shape.corner, shape.mask.shape
            assert hidden_px(plan, person())[y : y + height, x : x + width][shape.mask].mean() == pytest.approx(share, abs=1e-6)
            assert hidden_by(plan, sample, shape).coverage_mask == pytest.approx(share, abs=1e-6)
            assert 100 * share == pytest.approx(level, abs=1)

    @pytest.mark.parametrize("name", FAMILIES)
    def test_differs_from_the_ladder_of_the_box_in_few_words(self, name):
        box, mask = load_protocol(name), load_protocol(f"{name}-mask")
        scale = {"box_scale": 4.0} if name == "matched-crop" else {"canvas_side": 256 * 4 / 1.25, "canvas_scale": 4.0}
        assert replace(box.occluders[0].params, of="mask", **scale) == mask.occluders[0].params
        assert (box.score, box.data, box.needs_silhouette) == (mask.score, mask.data, False)
        assert mask.needs_silhouette

    def test_the_place_is_that_of_the_box(self):
        sample = person(4, SQUARE)
        centres = [planned(changed(f"{name}-mask"), sample, 30).occlusions[0].params["centre"] for name in SHAPES]
        assert all(centre == centres[0] for centre in centres)
        u, v = (rng_of(0, sample.id, "matched", "0", "place").random(2) * 0.5 + 0.25) * 200 + (500, 100) - (200, -200)
        # The canvas of 4 times the box begins at (600 - 400, 200 - 400), and has 1.024 px to one of the image.
        assert centres[0] == pytest.approx([u * 1.024, v * 1.024], abs=0.02)

    def test_plans_to_the_last_digit(self):
        path = DATA / "matched-mask.jsonl"
        lines = [planned(changed(f"{name}-mask"), person(1, SQUARE), level, blob(1)).to_json() for name in FAMILIES for level in (10, 40)]
        if REWRITE:
            path.write_text("\n".join(lines) + "\n")
        assert lines == path.read_text().splitlines()


class TestEmbeddedPeople:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_within_a_point_for_ninety_nine_in_a_hundred(self, embedded, name):
        dataset, bodies = embedded
        planner = Planner(load_protocol(f"{name}-mask@openhps-test"), dataset, bodies)
        people, missed = list(dataset)[:: 40 if name == "matched-object" else 20], 0
        for sample in people:
            shape = planner.silhouettes(sample)
            for plan in planner.all(sample):
                if plan.skipped:
                    assert plan.skipped.startswith(plan.case.removeprefix("level=") + " % of the silhouette is not")
                    missed += 1
                    continue
                level, share = float(plan.case.removeprefix("level=")), plan.occlusions[0].params["share"]
                assert abs(100 * share - level) <= 1
                assert hidden_by(plan, sample, shape).coverage_mask == pytest.approx(share, abs=1e-6)
        assert missed <= 0.01 * 7 * len(people)


class TestPlanner:
    PROTOCOL = load_protocol("matched-bar-mask@openhps-test")

    def test_a_silhouette_is_made_once_for_all_levels_and_few_are_kept(self, monkeypatch):
        made = []

        def counted(sample, bodies):
            made.append(sample.id)
            return BLOCK

        monkeypatch.setattr(room, "silhouette_of", counted)
        dataset = FakeDataset()
        planner = Planner(self.PROTOCOL, dataset, exact_bodies())
        for i in range(8):
            planner.all(dataset[i])
        assert made == [dataset[i].id for i in range(8)]
        assert list(planner.silhouettes._kept) == made[4:]

    def test_nothing_is_made_where_none_is_asked_for(self, monkeypatch):
        monkeypatch.setattr(room, "silhouette_of", None)
        dataset = FakeDataset()
        assert Planner(load_protocol("matched-bar@openhps-test"), dataset, exact_bodies()).all(dataset[0])

    def test_bodies_in_float32_give_the_same_plans(self):
        dataset = FakeDataset()
        one, two = (Planner(self.PROTOCOL, dataset, bodies) for bodies in (exact_bodies(), load_bodies(None, torch.float32)))
        assert [plan.to_json() for plan in one.all(dataset[3])] == [plan.to_json() for plan in two.all(dataset[3])]

    def test_travels_to_a_worker_without_its_arrays(self):
        dataset = FakeDataset()
        reader = FrameReader(dataset, dataset.frames()[:1], self.PROTOCOL, CropSpec(16), None, bodies=exact_bodies())
        here = reader[0]
        assert len(pickle.dumps(reader.planner.silhouettes)) < 10_000
        there = pickle.loads(pickle.dumps(reader))
        assert not there.planner.silhouettes._kept
        for one, two in zip(here, there[0], strict=True):
            np.testing.assert_array_equal(one.crop, two.crop)

    def test_without_bodies_it_says_what_to_do(self):
        with pytest.raises(ProtocolError, match=r"'matched-bar-mask@openhps-test.v1' cannot be planned: levels are shares.*--body"):
            Planner(self.PROTOCOL, FakeDataset())
        sample = person()
        with pytest.raises(ProtocolError, match=f"'{sample.id}' cannot be hidden: levels are shares of the person's silhouette"):
            make_plan(sample, self.PROTOCOL, [sample], case="level=10")

    def test_people_without_a_silhouette_are_counted(self):
        sample = person()
        assert make_plan(sample, self.PROTOCOL, [sample], case="level=10", silhouettes=lambda _: None).skipped == "no true body or mask"
        dataset = FakeDataset(with_body=False)
        reasons = {plan.skipped for plan in Planner(self.PROTOCOL, dataset, exact_bodies()).all(dataset[0])}
        assert reasons == {"no true body or mask"}
        whole = FakeDataset()[0]
        gone = replace(whole, truth=replace(whole.truth, trans=np.array([50.0, 0, 3])))
        assert Planner(self.PROTOCOL, FakeDataset(), exact_bodies())(gone, "level=10").skipped == "silhouette outside the image"

    def test_a_silhouette_outside_of_the_window(self):
        target = Target(person(3, SQUARE), [], np.array([630.0, 100, 800, 300]), 0, BySample(0), "level=50", silhouettes=lambda _: BLOCK)
        with pytest.raises(NotPossible, match="silhouette outside the window"):
            MatchedShape().plan(target, self.PROTOCOL.occluders[0].params)


class TestVerbs:
    def test_evaluate_plans_with_its_bodies(self, tmp_path):
        protocol, bodies = load_protocol("matched-crop-mask@openhps-test"), exact_bodies()
        whole = evaluate(FakeModel(bodies), protocol, FakeDataset(), bodies, tmp_path / "whole", limit=4)
        assert whole.n_expected == 28
        assert {row["split"] for row in whole.scores} >= {"level:10", "level:70"}
        for k in range(2):
            evaluate(FakeModel(bodies), protocol, FakeDataset(), bodies, tmp_path / str(k), limit=4, shard=(k, 2))
        assert_same_summary(merge_results([tmp_path / "0", tmp_path / "1"], tmp_path / "all"), whole)

    def test_a_tile_tells_the_share_of_the_mask(self):
        dataset, protocol = FakeDataset(), load_protocol("matched-bar-mask@openhps-test")
        planner, sample = Planner(protocol, dataset, exact_bodies()), dataset[2]
        tile = planned_tile(sample, planner(sample, "level=40"), 64, silhouette=planner.silhouettes(sample))
        assert tile.text[1] == "mask 40%"
        assert near(tile.picture, (32, 32), VISIBLE, reach=32)

    def test_silhouettes_are_those_of_the_true_body(self):
        sample = FakeDataset()[1]
        kept = Silhouettes(load_bodies(None))
        assert kept(sample) is kept(sample)
        np.testing.assert_array_equal(kept(sample).mask, room.silhouette_of(sample, exact_bodies()).mask)


class TestAugment:
    IMAGE = np.full((120, 160, 3), 90, np.uint8)
    BOX = (40.0, 10.0, 100.0, 110.0)

    def mask(self):
        mask = np.zeros((120, 160), bool)
        mask[20:100, 50:90] = True
        return mask

    def test_levels_are_of_the_mask_given(self):
        for seed in range(4):
            seen = occluded(self.IMAGE, self.BOX, protocol="matched-rectangle-mask", seed=seed, mask=self.mask())
            level = float(seen.plan.case.removeprefix("level="))
            changed_px = (seen.image != self.IMAGE).any(axis=-1)
            assert 100 * changed_px[self.mask()].mean() == pytest.approx(level, abs=1)
            assert 100 * seen.hidden.coverage_mask == pytest.approx(level, abs=1)
            assert OcclusionPlan.from_record(json.loads(seen.plan.to_json())) == seen.plan

    def test_without_a_mask(self):
        with pytest.raises(ProtocolError, match=r"`mask` of hpsbench\.augment\.occluded"):
            occluded(self.IMAGE, self.BOX, protocol="matched-rectangle-mask", seed=1)

    def test_an_empty_mask_is_left_alone(self):
        seen = occluded(self.IMAGE, self.BOX, protocol="matched-rectangle-mask", seed=1, mask=np.zeros((120, 160), bool))
        assert seen.plan.skipped == "no true body or mask"
        assert seen.image is self.IMAGE
        assert seen.hidden.coverage_mask is None

    @pytest.mark.parametrize("mask", [np.ones((120, 160)), np.ones((160, 120), bool), [[True]]])
    def test_what_is_no_mask(self, mask):
        with pytest.raises(ValueError, match=r"mask: expected a numpy array \(120, 160\) of bool"):
            occluded(self.IMAGE, self.BOX, protocol="matched-rectangle-mask", seed=1, mask=mask)


def test_a_quarter_of_a_disc():
    """A disc of 30 px about (600, 200) under a circle about a drawn place: pixels against the areas."""
    y, x = np.mgrid[:100, :100]
    shape = Silhouette((550, 150), (x + 0.5 - 50) ** 2 + (y + 0.5 - 50) ** 2 < 30**2)
    plan = planned(changed("matched-circle-mask", levels=(25.0,)), person(7, SQUARE), 25, shape)
    assert plan.occlusions[0].params["share"] * shape.mask.sum() == pytest.approx(math.pi * 900 / 4, rel=0.02)
