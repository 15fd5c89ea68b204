"""The silhouette of a true mesh, worked by hand, and how much of it plans hide."""

import numpy as np
import pytest
from fakes import FakeDataset, exact_bodies
from test_occlude import patch, plan_of, sample_with, window
from test_shapes import small

from hpsbench.body.silhouette import Silhouette, silhouette, silhouette_of
from hpsbench.generate import generate
from hpsbench.generated import read_lines
from hpsbench.occlude import hidden_by
from hpsbench.types import OcclusionPlan

CAMERA = np.array([[10.0, 0, 16], [0, 10, 12], [0, 0, 1]])


class TestSilhouette:
    def test_a_square_facing_the_camera(self):
        # One metre wide, two away: 5 px a metre about (16, 12), so px 13.5 to 18.5 and 9.5 to 14.5 are touched.
        vertices = np.array([[-0.5, -0.5, 2], [0.5, -0.5, 2], [0.5, 0.5, 2], [-0.5, 0.5, 2]])
        found = silhouette(vertices, np.array([[0, 1, 2], [0, 2, 3]]), CAMERA, (32, 24))
        assert found.corner == (13, 9)
        assert found.mask.shape == (6, 6)
        assert found.mask.all()

    def test_what_lies_beyond_the_image_or_behind_the_camera_is_not_there(self):
        triangle = np.array([[-4.0, -4, 2], [4, -4, 2], [0, 4, 2]])
        found = silhouette(triangle, np.array([[0, 1, 2]]), CAMERA, (32, 24))
        assert found.corner == (0, 0)
        assert found.mask[0].all()
        assert not found.mask[-1].all()
        assert silhouette(triangle * [1, 1, -1], np.array([[0, 1, 2]]), CAMERA, (32, 24)) is None
        assert silhouette(triangle + np.array([100, 0, 0]), np.array([[0, 1, 2]]), CAMERA, (32, 24)) is None

    def test_a_body_lies_about_its_joints(self):
        sample = FakeDataset()[2]
        found = silhouette_of(sample, exact_bodies())
        inside = [sample.truth.joints2d[name] for name in (0, 1, 2, 3, 6, 9, 12, 15)]
        for x, y in inside:
            assert found.mask[int(y) - found.corner[1], int(x) - found.corner[0]]
        joints = np.asarray(sample.truth.joints2d)
        span = (joints.max(0) - joints.min(0)).prod()
        assert 0.15 * span < found.mask.sum() < 0.8 * span

    def test_nobody_without_a_body(self):
        assert silhouette_of(FakeDataset(with_body=False)[0], exact_bodies()) is None


class TestShares:
    # A person of 4 x 10 px from (10, 20) on.
    SHAPE = Silhouette((10, 20), np.ones((10, 4), bool))

    @pytest.mark.parametrize(
        ("occlusions", "share"),
        [
            ((patch(0, 0, 12, 64),), 20 / 40),
            ((patch(0, 0, 12, 64), patch(0, 25, 64, 30)), (20 + 10) / 40),
            ((window(11, 20, 21, 30),), 10 / 40),
            ((window(11, 20, 21, 30), patch(0, 20, 64, 22)), (10 + 6) / 40),
            ((), 0),
        ],
    )
    def test_by_hand(self, occlusions, share):
        hidden = hidden_by(plan_of(*occlusions), sample_with(((12, 22),)), self.SHAPE)
        assert hidden.coverage_mask == pytest.approx(share)

    def test_none_without_a_silhouette(self):
        assert hidden_by(plan_of(patch(0, 0, 9, 9)), sample_with(((12, 22),))).coverage_mask is None


def test_generated_plans_say_it_where_asked(tmp_path):
    protocol = small("hkmr-circle@openhps-test")
    dataset = FakeDataset()
    for name, masks in (("with", exact_bodies()), ("without", None)):
        generate(protocol, dataset, tmp_path / name, masks=masks)
    lines = {name: list(read_lines(tmp_path / name / "plans.jsonl.gz")) for name in ("with", "without")}
    shares = [line.pop("coverage_mask") for line in lines["with"]]
    assert lines["with"] == lines["without"]
    assert 0 < np.mean(shares) < 1
    sample = dataset[0]
    assert shares[1] == pytest.approx(
        hidden_by(OcclusionPlan.from_record(lines["without"][1]), sample, silhouette_of(sample, exact_bodies())).coverage_mask,
        abs=1e-6,
    )
