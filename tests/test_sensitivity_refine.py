from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeDataset, exact_bodies
from test_sensitivity import Tiny

from hpsbench.errors import ProtocolError
from hpsbench.field import read_field
from hpsbench.occlude import Planner
from hpsbench.protocol import RefineRule, load_protocol
from hpsbench.sensitivity import sensitivity
from hpsbench.sensitivity.covers import CLEAN
from hpsbench.sensitivity.passes import Found
from hpsbench.sensitivity.people import SubjectReader, grid_of
from hpsbench.sensitivity.refine import ROUND, Refinement, targets_of
from hpsbench.types import CropSpec

FINE = "3dpw-advocc-40@openhps-test"
PEOPLE, JOINTS = 20, 14


@pytest.fixture(scope="module")
def protocol():
    return load_protocol(FINE)


@pytest.fixture(scope="module")
def subject(protocol):
    return SubjectReader(FakeDataset(), [[3]], protocol, CropSpec(32, 1.25), exact_bodies())[0][0]


@pytest.fixture(scope="module")
def grid(protocol):
    dataset = FakeDataset()
    return grid_of(protocol, Planner(protocol, dataset), dataset[0])


def smooth(seed):
    """A field (20, 20) mm: bumps as wide as a patch of 4 steps makes them, over a plain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:20, :20]
    field = np.full((20, 20), 60.0)
    for _ in range(8):
        row, column = rng.uniform(1, 19, 2)
        field += rng.uniform(-15, 60) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * rng.uniform(1.3, 2.5) ** 2))
    return field


def walked(refinement, subject, field):
    """(which of the places were asked for, how often) where the answer at each place is that of a field, the same for all joints."""
    found, rounds = Found.nothing(subject, 2, JOINTS), 0
    while len(places := list(refinement(found))):
        values = np.array([0.0 if place == CLEAN else field.flat[place] for place in places])
        found.put(places, np.broadcast_to(values[:, None, None], (len(places), 2, JOINTS)), np.zeros(len(places), bool))
        rounds += 1
    return found.visited[:-1], rounds


class TestPlanted:
    def test_the_bound_at_a_quarter_of_the_passes(self, protocol, subject, grid):
        refinement = Refinement(protocol.refine, grid)
        gaps, passes = [], []
        for seed in range(PEOPLE):
            field = smooth(seed)
            seen, _ = walked(refinement, subject, field)
            gaps.append(field.max() - field.flat[np.flatnonzero(seen)].max())
            passes.append(seen.sum() + 1)
        assert np.mean(np.array(gaps) <= protocol.refine.bound_mm) >= protocol.refine.people
        assert PEOPLE * 401 / sum(passes) >= 4

    def test_a_flat_field_is_left_after_the_lattice(self, protocol, subject, grid):
        refinement = Refinement(protocol.refine, grid)
        seen, rounds = walked(refinement, subject, np.full((20, 20), 70.0))
        assert (seen == refinement.lattice(subject.person_box)).all()
        assert rounds == 1

    def test_a_field_of_noise_ends_at_its_share(self, protocol, subject, grid):
        refinement = Refinement(protocol.refine, grid)
        seen, _ = walked(refinement, subject, np.random.default_rng(1).uniform(0, 1000, (20, 20)))
        assert seen.sum() == refinement.most == 160


class TestSteps:
    def test_the_lattice_is_coarser_beside_the_person(self, grid):
        refinement = Refinement(RefineRule(2.0, 0.95, 3, 0.4), grid)
        whole = np.argwhere(refinement.lattice(np.array([0.0, 0, 224, 224])).reshape(20, 20))
        nobody = np.argwhere(refinement.lattice(np.array([-9.0, -9, -5, -5])).reshape(20, 20))
        assert whole.tolist() == [[row, column] for row in range(1, 20, 3) for column in range(1, 20, 3)]
        assert nobody.tolist() == [[row, column] for row in range(3, 20, 6) for column in range(3, 20, 6)]

    def test_a_round_is_of_the_most_promising_and_of_no_neighbours(self, grid):
        refinement = Refinement(RefineRule(2.0, 0.95, 3, 0.4), grid)
        targets = np.full((1, 400), np.nan)
        places = np.flatnonzero(refinement.fine)
        targets[0, places] = smooth(5).flat[places]
        chosen = refinement.promising(targets, ~refinement.fine, ROUND)
        gains = refinement.gains(targets)
        assert 0 < len(chosen) <= ROUND
        assert gains[chosen[0]] == gains[~refinement.fine].max()
        assert (np.diff(gains[chosen]) <= 0).all()
        assert all(refinement.distances[one, two] > 1 for one in chosen for two in chosen if one != two)
        np.testing.assert_allclose(gains[places], targets[0, places] - np.nanmax(targets), atol=5)

    def test_places_without_an_answer_tell_nothing(self, grid):
        refinement = Refinement(RefineRule(2.0, 0.95, 3, 0.4), grid)
        assert refinement.promising(np.full((4, 400), np.nan), np.ones(400, bool), ROUND) == []

    def test_errors_of_all_and_of_visible_joints(self, subject):
        found = Found.nothing(subject, 1, JOINTS)
        found.errors[:-1] = np.arange(JOINTS, dtype=np.float32)
        targets = targets_of(found)
        gone = subject.hidden | subject.outside
        assert targets.shape == (2, 400)
        assert (targets[0] == 6.5).all()
        place = int(gone.sum(1).argmax())
        assert targets[1, place] == np.arange(JOINTS)[~gone[place]].mean()


class TestRun:
    def test_the_run_tells_what_it_saved(self, protocol, tmp_path):
        bodies = exact_bodies()
        how = {"limit": 2, "exact": True}
        full = sensitivity(Tiny(bodies), protocol, FakeDataset(), bodies, tmp_path / "full", **how)
        some = sensitivity(Tiny(bodies), protocol, FakeDataset(), bodies, tmp_path / "some", refine=True, **how)
        assert full["counts"]["saved"] == 0
        assert some["refine"] == {"bound_mm": 2.0, "people": 0.9, "coarse": 3, "share": 0.4}
        assert some["counts"]["saved"] + some["counts"]["passes"] == full["counts"]["passes"] == 802
        one, two = read_field(tmp_path / "some"), read_field(tmp_path / "full")
        visited = one.read("visited")
        assert (~visited).sum() == some["counts"]["saved"] > 400
        np.testing.assert_allclose(one.error("mpjpe")[visited], two.error("mpjpe")[visited], rtol=0, atol=1e-3)
        assert np.isnan(one.error("mpjpe")[~visited]).all()

    def test_a_protocol_without_a_bound(self, tmp_path):
        with pytest.raises(ProtocolError, match=r"'pare-40-40@openhps-test\.v1' names no bound that a refined run would keep \(no table"):
            sensitivity(
                Tiny(exact_bodies()), load_protocol("pare-40-40@openhps-test"), FakeDataset(), exact_bodies(), tmp_path, refine=True
            )


class TestRule:
    def test_a_base_s_table_can_be_taken_away(self):
        assert load_protocol("3dpw-advocc-80").refine is None
        assert load_protocol("pare-40-10-black").refine == load_protocol("pare-40-10").refine

    def test_it_decides_nothing_of_a_full_run(self, protocol):
        without = replace(protocol, refine=None)
        assert without.sha256 == protocol.sha256
        assert "refine" not in protocol.content

    @pytest.mark.parametrize("change", [{"bound_mm": 0.0}, {"people": 1.5}, {"coarse": 1}, {"share": 1.0}])
    def test_a_rule_that_is_none(self, change):
        with pytest.raises(ValueError, match="bound_mm, people, coarse, share: expected"):
            RefineRule(**({"bound_mm": 2.0, "people": 0.95, "coarse": 3, "share": 0.4} | change))
