import numpy as np
import pytest
import torch
from fakes import FakeDataset, exact_bodies

from hpsbench.evaluate.people import FrameReader
from hpsbench.protocol import load_protocol
from hpsbench.sensitivity.covers import CLEAN, GridCover, PlannedCover, paint, paint_at_once, paint_each
from hpsbench.sensitivity.people import SubjectReader
from hpsbench.types import CropSpec

PROTOCOLS = ("pare-40-40", "pare-40-40-black", "3dpw-advocc-80", "hkmr-bar", "hkmr-circle-noise")
# A model's crop as wide as the canvas, one of the canvas's margin and another size, and one of another margin.
CROPS = (CropSpec(224, 1.25), CropSpec(61, 1.25), CropSpec(64, 1.1))


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    return load_protocol(f"{request.param}@openhps-test")


@pytest.fixture(params=CROPS, ids=str)
def crop(request):
    return request.param


def people(protocol, crop):
    """Two people as subjects, and each as the evaluator shows them under every case."""
    frames = [[2], [11]]
    subjects = SubjectReader(FakeDataset(), frames, protocol, crop, exact_bodies())
    evaluator = FrameReader(FakeDataset(), frames, protocol, crop, None)
    return [(subjects[k][0], evaluator[k]) for k in range(2)]


def batch(pairs, every=1):
    """(crops as they are, what is to be shown, what the evaluator shows) of people, at every so many positions, each clean crop last."""
    clean, shown, wanted = [], [], []
    for subject, persons in pairs:
        places = [k for k in range(0, len(persons), every) if not persons[k].skipped]
        crop = torch.from_numpy(subject.crop).permute(2, 0, 1)
        clean += [crop] * (len(places) + 1)
        shown.append((subject.cover, [*places, CLEAN]))
        wanted += [torch.from_numpy(persons[k].crop).permute(2, 0, 1) for k in places] + [crop]
    return torch.stack(clean), shown, torch.stack(wanted)


class TestPixels:
    def test_the_very_pixels_that_the_evaluator_shows(self, protocol, crop):
        every = 1 if len(protocol.cases) < 80 else 13
        clean, shown, wanted = batch(people(protocol, crop), every)
        assert torch.equal(paint_each(clean.clone(), shown), wanted)
        assert torch.equal(paint_at_once(clean.clone(), shown), wanted)
        assert torch.equal(paint(clean.clone(), shown), wanted)
        assert (wanted != clean).any()

    def test_grids_are_painted_as_grids(self):
        for name in ("pare-40-40", "3dpw-advocc-80"):
            ((subject, _), _) = people(load_protocol(f"{name}@openhps-test"), CROPS[1])
            assert isinstance(subject.cover, GridCover)
        ((subject, _), _) = people(load_protocol("hkmr-bar@openhps-test"), CROPS[1])
        assert isinstance(subject.cover, PlannedCover)

    def test_people_of_all_kinds_in_one_batch(self):
        pairs = [people(load_protocol(f"{name}@openhps-test"), CROPS[1])[0] for name in ("pare-40-40", "3dpw-advocc-80", "hkmr-bar")]
        clean, shown, wanted = batch(pairs, 29)
        assert torch.equal(paint_at_once(clean.clone(), shown), wanted)
        assert torch.equal(paint_each(clean.clone(), shown), wanted)


class TestHidden:
    def test_as_the_evaluator_has_it_one_by_one(self, protocol):
        for subject, persons in people(protocol, CROPS[0]):
            for k, person in enumerate(persons):
                assert subject.skipped[k] == person.skipped
                if not person.skipped:
                    assert subject.coverage[k] == pytest.approx(person.hidden.coverage_box, abs=1e-12)
            assert np.isfinite(subject.joints2d).all()
