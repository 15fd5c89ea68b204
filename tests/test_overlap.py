"""Reading, model and scoring at the same time: the same rows to the last bit, parts and errors; and what workers are given."""

import mmap
import os
import pickle
import re
import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from fakes import FakeDataset, FakeModel, exact_bodies
from test_cases import small
from test_evaluate import BAD, Killed, protocol_of, rows_of
from torch.utils.data import get_worker_info

import hpsbench.evaluate as room
from hpsbench.errors import DataError, HpsbenchError, PredictionError
from hpsbench.evaluate import evaluate
from hpsbench.evaluate.mapped import Mapped, PackedLists, PackedMapping
from hpsbench.evaluate.overlap import ahead
from hpsbench.evaluate.people import FrameReader, _for_the_way, person_batches, still_to_do
from hpsbench.evaluate.run import RunFolder
from hpsbench.evaluate.stopwatch import STAGES, Profile
from hpsbench.generate import generate
from hpsbench.generated import load_generated
from hpsbench.predict import predict
from hpsbench.types import CropSpec

ROADS = [False, True]


@pytest.fixture(scope="module")
def bodies():
    return exact_bodies()


@pytest.fixture
def added(monkeypatch):
    """The ids of every part that was kept, part by part, of four rows or more."""
    found, add = [], RunFolder.add
    monkeypatch.setattr(room, "_PART_ROWS", 4)
    monkeypatch.setattr(RunFolder, "add", lambda folder, rows: found.append(rows["ids"].tolist()) or add(folder, rows))
    return found


def assert_same_bits(folder, other):
    found, wanted = rows_of(folder), rows_of(other)
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert found[key].dtype == values.dtype
        np.testing.assert_array_equal(found[key], values, err_msg=key)
    assert (folder / "result.json").read_bytes() == (other / "result.json").read_bytes()


def no_thread_is_left():
    return not [thread for thread in threading.enumerate() if thread.name == "hpsbench"]


class Tabled(FakeDataset):
    """The fake people, and a table, of which a worker process has to have no copy of its own."""

    def __init__(self):
        super().__init__()
        self.table = np.arange(4096.0).reshape(64, 64)

    def sample_at(self, i):
        base = self.table
        while isinstance(base, np.ndarray):
            base = base.base
        if get_worker_info() is not None and not isinstance(getattr(base, "obj", None), mmap.mmap):
            raise DataError(f"The table is a copy: it lies in {base!r}.")
        if self.table[63, 63] != 4095:
            raise DataError("The table is another.")
        return super().sample_at(i)


class TestSameBits:
    def test_without_workers(self, bodies, tmp_path, added):
        for overlap in ROADS:
            how = {"batch_size": 3, "overlap": overlap}
            evaluate(FakeModel(bodies, bad=BAD), protocol_of(), FakeDataset(), bodies, tmp_path / f"{overlap}", **how)
        assert_same_bits(tmp_path / "True", tmp_path / "False")
        half = len(added) // 2
        assert added[:half] == added[half:]
        assert no_thread_is_left()

    def test_with_workers_which_share_one_table_and_tell_their_time(self, bodies, tmp_path, added):
        profile = Profile()
        evaluate(FakeModel(bodies), protocol_of(), Tabled(), bodies, tmp_path / "plain", batch_size=3)
        how = {"batch_size": 3, "workers": 2, "overlap": True, "profile": profile}
        evaluate(FakeModel(bodies), protocol_of(), Tabled(), bodies, tmp_path / "workers", **how)
        assert_same_bits(tmp_path / "workers", tmp_path / "plain")
        half = len(added) // 2
        assert added[:half] == added[half:]
        assert no_thread_is_left()
        assert (profile.workers, profile.people) == (2, 16)
        assert profile.in_workers.keys() == {"decode", "crop", "occlude"}
        assert all(profile.stages()[stage] > 0 for stage in STAGES)
        assert profile.text().count("summed over 2 worker processes") == 3
        assert "more than 100 %" in profile.text()

    def test_views_that_are_not_possible(self, bodies, tmp_path):
        for overlap in ROADS:
            protocol = small("hkmr-circle@openhps-test")
            evaluate(FakeModel(bodies), protocol, FakeDataset(), bodies, tmp_path / f"{overlap}", batch_size=5, overlap=overlap)
        assert_same_bits(tmp_path / "True", tmp_path / "False")

    def test_a_file_of_answers(self, bodies, tmp_path):
        for overlap in ROADS:
            predict(
                FakeModel(bodies, bad=BAD), protocol_of(), FakeDataset(), bodies, tmp_path / f"{overlap}.h5", batch_size=3, overlap=overlap
            )
        assert (tmp_path / "True.h5").read_bytes() == (tmp_path / "False.h5").read_bytes()
        assert no_thread_is_left()

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    @pytest.mark.parametrize("profiled", [False, True])
    def test_on_a_gpu(self, bodies, tmp_path, profiled):
        for overlap in ROADS:
            how = {"batch_size": 3, "overlap": overlap, "device": "cuda", "profile": Profile() if profiled else None}
            evaluate(FakeModel(bodies, bad=BAD), protocol_of(), FakeDataset(), bodies, tmp_path / f"{overlap}", **how)
        assert_same_bits(tmp_path / "True", tmp_path / "False")


class TestErrors:
    @pytest.mark.parametrize("overlap", ROADS)
    def test_of_the_model_come_after_what_was_answered_before(self, bodies, tmp_path, added, overlap):
        model = FakeModel(bodies)
        whole = model.predict

        def predict_once_less(batch):
            if len(model.batches) == 3:
                raise ZeroDivisionError("in the model")
            return whole(batch)

        model.predict = predict_once_less
        with pytest.raises(ZeroDivisionError) as error:
            evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path, batch_size=4, overlap=overlap)
        ids = FakeDataset().ids
        assert error.value.__notes__ == [f"fake.test was asked for 4 people, '{ids[12]}' to '{ids[15]}'."]
        assert added == [ids[:4], ids[4:8], ids[8:12]]
        assert no_thread_is_left()

    @pytest.mark.parametrize("overlap", ROADS)
    def test_of_the_reading_come_after_what_was_read_before(self, bodies, tmp_path, added, overlap):
        ids = FakeDataset().ids
        with pytest.raises(DataError, match=rf"^Image of {ids[10]} is broken\.$"):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(broken=ids[10:11]), bodies, tmp_path, batch_size=4, overlap=overlap)
        # Two people more were read, and fill no batch.
        assert added == [ids[:4], ids[4:8]]
        assert no_thread_is_left()

    @pytest.mark.parametrize("overlap", ROADS)
    def test_of_the_scoring_come_first(self, bodies, tmp_path, overlap):
        model = FakeModel(bodies, bad=FakeDataset().ids[:1])
        broken = FakeDataset(broken=FakeDataset().ids[2:3])
        with pytest.raises(PredictionError, match="has no valid answer"):
            evaluate(model, protocol_of(on_failure="error"), broken, bodies, tmp_path, batch_size=1, overlap=overlap)

    @pytest.mark.parametrize("overlap", ROADS)
    @pytest.mark.parametrize("end", [Killed, KeyboardInterrupt])
    def test_a_killed_run_goes_on(self, bodies, tmp_path, added, overlap, end):
        def die(done, total):
            if done >= 9:
                raise end

        with pytest.raises(end):
            evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "out", batch_size=3, progress=die, overlap=overlap)
        assert no_thread_is_left()
        assert list((tmp_path / "out/parts").iterdir())
        model = FakeModel(bodies)
        evaluate(model, protocol_of(), FakeDataset(), bodies, tmp_path / "out", batch_size=3, overlap=overlap)
        assert 0 < sum(map(len, model.batches)) < 16
        evaluate(FakeModel(bodies), protocol_of(), FakeDataset(), bodies, tmp_path / "whole", batch_size=3)
        assert_same_bits(tmp_path / "out", tmp_path / "whole")


class Odd(Exception):
    """An error that no pickle takes, whatever other libraries have taught pickle of errors."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")
        self.lock = threading.Lock()


class Failing(FakeDataset):
    """The fake people, of whom two have something else in the place of their image."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def sample_at(self, i):
        if self.ids[i] in BAD:
            raise self.error
        return super().sample_at(i)


class Ending(FakeDataset):
    """The fake people; a worker process that is asked for one of them ends, as the system ends one when memory is short."""

    def sample_at(self, i):
        if get_worker_info() is not None and self.ids[i] in BAD:
            os._exit(9)
        return super().sample_at(i)


class TestWhoseErrorItIs:
    """Errors have the id of their sample: ours in the text, all others in a note."""

    @staticmethod
    def people(dataset, workers):
        return list(person_batches(FrameReader(dataset, dataset.frames(), protocol_of("openhps-test"), CropSpec(16), None), 4, workers))

    def test_ours(self):
        with pytest.raises(DataError, match=rf"^Nothing there\. \(Sample '{BAD[0]}'\.\)$"):
            self.people(Failing(DataError("Nothing there.")), 0)

    @pytest.mark.parametrize("error", [ValueError("bad shape"), MemoryError(), KeyError("joints")])
    def test_any_other(self, error):
        with pytest.raises(type(error)) as found:
            self.people(Failing(error), 0)
        assert found.value.args == error.args
        assert found.value.__notes__ == [f"Sample '{BAD[0]}'."]

    def test_out_of_a_worker_process(self):
        with pytest.raises(ValueError, match="bad shape") as found:
            self.people(Failing(ValueError("bad shape")), 1)
        assert found.value.args == ("bad shape",)
        sample, where = found.value.__notes__
        assert sample == f"Sample '{BAD[0]}'."
        assert where.startswith("In a worker process:\n")
        assert "in sample_at" in where

    def test_that_cannot_leave_its_process(self):
        error = _for_the_way(Odd(1, 2))
        assert (type(error), str(error)) == (RuntimeError, "Odd: 1 and 2")
        assert error.__notes__[0].startswith("In a worker process:")

    def test_of_a_worker_process_that_ended(self):
        """It reads two frames ahead, so that the sample waited for may be one of these before."""
        with pytest.raises(HpsbenchError, match=r"^A worker process \(of 1\) ended before sample '[^']+' .* use fewer --workers") as found:
            self.people(Ending(), 1)
        ids = Ending().ids
        named = re.search("'(.+?)'", str(found.value))[1]
        assert 0 <= ids.index(BAD[0]) - ids.index(named) <= 2 * max(map(len, Ending().frames()))


class TestAhead:
    @staticmethod
    def numbers(seen, error=None):
        try:
            for k in range(9):
                seen.append(k)
                yield k
            if error is not None:
                raise error
        finally:
            seen.append("closed")

    def test_order_and_end(self):
        seen = []
        assert list(ahead(self.numbers(seen), nullcontext, lambda: None)) == list(range(9))
        assert seen == [*range(9), "closed"]

    def test_an_error_in_its_place(self):
        numbers = ahead(self.numbers([], KeyError("at the end")), nullcontext, lambda: None)
        assert [next(numbers) for _ in range(9)] == list(range(9))
        with pytest.raises(KeyError, match="at the end"):
            next(numbers)

    def test_closed_before_the_end(self):
        seen = []
        numbers = ahead(self.numbers(seen), nullcontext, lambda: None)
        assert next(numbers) == 0
        numbers.close()
        assert seen[-1] == "closed"
        # One in the making and two that wait, besides those taken.
        assert len(seen) - 1 <= 5
        assert no_thread_is_left()


class TestWhatWorkersAreGiven:
    @pytest.mark.parametrize("images", [None, False, True])
    def test_a_reader_is_the_same_on_the_other_side(self, tmp_path, images):
        protocol, dataset = small("hkmr-circle@openhps-test"), FakeDataset()
        if images is not None:
            generate(protocol, dataset, tmp_path, images=images)
        given = None if images is None else load_generated(tmp_path, dataset)
        reader = FrameReader(dataset, dataset.frames()[2:5], protocol, CropSpec(16), given, frozenset(["none"]))
        other = pickle.loads(pickle.dumps(reader))
        assert len(other) == len(reader) == 3
        for k in range(3):
            people = zip(reader[k], other[k], strict=True)
            for one, two in people:
                assert (one.id, one.case, one.skipped) == (two.id, two.case, two.skipped)
                assert (one.crop is None) == (two.crop is None)
                assert one.crop is None or np.array_equal(one.crop, two.crop)

    def test_a_mapping_in_arrays(self):
        content = {"b": [1, 2], "ä/1@x": {"k": "v"}, "a": None}
        packed = PackedMapping(content)
        assert dict(packed) == content
        assert ("c" in packed, "" in packed, "b" in packed, len(packed)) == (False, False, True, 3)
        assert dict(PackedMapping({})) == {}
        assert "a" not in PackedMapping({})
        buffers = []
        assert len(pickle.dumps(PackedMapping({f"{k:05d}": "x" * 99 for k in range(999)}), 5, buffer_callback=buffers.append)) < 999

    def test_lists_in_arrays(self):
        packed = PackedLists([[1, 2], [], [3]])
        assert list(packed) == [[1, 2], [], [3]]
        assert packed[-1] == [3]
        with pytest.raises(IndexError):
            packed[3]

    def test_no_room_for_the_table(self, monkeypatch):
        def full(**_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tempfile.TemporaryFile", full)
        with pytest.raises(HpsbenchError, match=r"need [\d,]+ bytes in .* No space left on device\. .* TMPDIR, or use --workers 0"):
            Mapped(np.zeros(4))

    def test_of_the_views_that_are_done_only_those_of_people_who_are_not(self):
        ids, cases = ["a", "b", "c"], ("1", "2")
        done = frozenset(["a@1", "a@2", "b@2"])
        assert still_to_do([[0, 1], [2]], ids, cases, done) == ([[1], [2]], {"b@2"})
        assert still_to_do([[0, 1], [2]], ids, cases, frozenset()) == ([[0, 1], [2]], frozenset())
