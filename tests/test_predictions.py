"""Files of predictions, large and unsound: read in blocks whatever holds them, and each bad number answered."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fakes import FakeDataset, FakeModel, exact_bodies
from test_evaluate import assert_same_summary, protocol_of, scores

import hpsbench.models.base_predictions_columns as room
from hpsbench.errors import PredictionError
from hpsbench.evaluate import evaluate
from hpsbench.models.base import load_model
from hpsbench.types import ViewBatch

CPU = torch.device("cpu")
COUNT = 40
IDS = [f"3dpw/test/walk{'ä' * (k % 3)}/{k:05d}/0" for k in range(COUNT)]


def content(**changes):
    """Forty people of whom the k-th stands k metres to the right, with thighs of 40 cm, in no order; None takes an array out."""
    rng = np.random.default_rng(3)
    joints = rng.normal(0, 0.1, (COUNT, 24, 3))
    joints[:, [4, 5]] = joints[:, [1, 2]] + [0, 0.4, 0]
    joints[..., 0] += np.arange(COUNT)[:, None]
    order = rng.permutation(COUNT)
    table = {"ids": np.array(IDS)[order], "joints": joints[order], "skeleton": np.array("smpl24"), "confidence": rng.random((COUNT, 24))}
    return {key: value for key, value in (table | changes).items() if value is not None}


def as_hdf5(path: Path, table, rows=None, **how) -> Path:
    """Written in chunks of ``rows`` rows, or as h5py does by itself."""
    with h5py.File(path, "w") as file:
        for key, value in table.items():
            if value.dtype.kind == "U":
                file[key] = value.astype(h5py.string_dtype())
            else:
                file.create_dataset(key, data=value, **how | ({"chunks": (rows, *value.shape[1:])} if rows else {}))
    return path


def in_fortran_order(path: Path, table) -> Path:
    np.savez(path, **{key: np.asfortranarray(value) for key, value in table.items()})
    return path


def as_npz(path: Path, table) -> Path:
    np.savez(path, **table)
    return path


def as_packed_npz(path: Path, table) -> Path:
    np.savez_compressed(path, **table)
    return path


FORMS = {
    "whole.h5": as_hdf5,
    "chunked.h5": lambda path, table: as_hdf5(path, table, chunks=True),
    "packed.h5": lambda path, table: as_hdf5(path, table, rows=2, compression="gzip", shuffle=True, fletcher32=True),
    "plain.npz": as_npz,
    "fortran.npz": in_fortran_order,
    "packed.npz": as_packed_npz,
}


def opened(path: Path):
    return load_model(f"predictions:{path}", bodies=exact_bodies(), device=CPU)


def batch_of(ids) -> ViewBatch:
    squares = torch.tensor([0.0, 0, 100, 100]).expand(len(ids), 4)
    return ViewBatch(tuple(ids), None, squares, torch.eye(3).expand(len(ids), 3, 3))


def refusal(path: Path) -> str:
    with pytest.raises(PredictionError) as error:
        opened(path)
    return str(error.value)


class TestBlocks:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch):
        """Blocks of three rows, of which a few are kept."""
        monkeypatch.setattr(room, "_BLOCK_BYTES", 3 * 24 * 3 * 8)
        monkeypatch.setattr(room, "_KEPT_BYTES", 4 * 3 * 24 * 3 * 8)

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("size", [1, 2, 3, 32])
    def test_rows_go_to_their_ids_in_any_order(self, tmp_path, form, size):
        table = content()
        model = opened(FORMS[form](tmp_path / form, table))
        wanted = dict(zip(table["ids"].tolist(), table["joints"], strict=True))
        asked = np.random.default_rng(size).permutation(IDS).tolist()
        for start in range(0, COUNT, size):
            some = asked[start : start + size]
            prediction = model.predict(batch_of(some))
            np.testing.assert_array_equal(prediction.joints.numpy(), np.stack([wanted[name] for name in some]))
            assert not prediction.failed.any()
            assert prediction.confidence.shape == (len(some), 24)

    @pytest.mark.parametrize("form", ["whole.h5", "packed.h5", "plain.npz", "fortran.npz"])
    def test_what_is_kept_has_a_limit(self, tmp_path, form, monkeypatch):
        model = opened(FORMS[form](tmp_path / form, content()))
        columns, sizes = model.file._columns, []
        keep = columns._keep
        monkeypatch.setattr(columns, "_keep", lambda key, block: (keep(key, block), sizes.append(columns._size)))
        for name in IDS:
            model.predict(batch_of([name]))
        assert len(sizes) > 5
        assert max(sizes) <= room._KEPT_BYTES
        assert columns._size == sum(block.nbytes for block in columns._kept.values())

    @pytest.mark.parametrize("form", ["whole.h5", "packed.h5", "plain.npz"])
    def test_of_rows_in_order_nothing_is_kept(self, tmp_path, form):
        table = content()
        model = opened(FORMS[form](tmp_path / form, table))
        for start in range(0, COUNT, 3):
            assert not model.predict(batch_of(table["ids"][start : start + 3].tolist())).failed.any()
        assert len(model.file._columns._kept) <= 2
        assert model.file._columns._kept.keys() == model.file._columns._unread.keys()

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_numbers_of_any_width(self, tmp_path, form, dtype):
        table = content()
        stored = table["joints"].astype(dtype)
        model = opened(FORMS[form](tmp_path / form, table | {"joints": stored}))
        prediction = model.predict(batch_of(table["ids"].tolist()))
        assert prediction.joints.dtype == torch.float64
        np.testing.assert_array_equal(prediction.joints.numpy(), stored.astype(np.float64))


class TestIds:
    @pytest.mark.parametrize("form", FORMS)
    def test_only_the_whole_id_is_that_id(self, tmp_path, form):
        model = opened(FORMS[form](tmp_path / form, content()))
        others = [IDS[0][:-1], IDS[0] + "x", IDS[2] + "x" * 300, ""]
        assert model.predict(batch_of([IDS[0], *others])).failed.tolist() == [False, True, True, True, True]

    @pytest.mark.parametrize("form", FORMS)
    def test_counts(self, tmp_path, form):
        table = content()
        table["ids"][[3, 7, 9]] = table["ids"][5]
        model = opened(FORMS[form](tmp_path / form, table))
        assert model.id_counts(IDS) == {"missing": 3, "duplicate": 1, "unknown": 0}
        some = [name for name in IDS if name != table["ids"][5]][:10]
        lost = len(set(some) - set(table["ids"].tolist()))
        assert model.id_counts([*some, *some]) == {"missing": lost, "duplicate": 0, "unknown": 37 - (10 - lost)}
        assert model.predict(batch_of([str(table["ids"][5]), str(table["ids"][0])])).failed.tolist() == [True, False]

    @pytest.mark.parametrize("form", ["whole.h5", "plain.npz", "packed.npz"])
    def test_nobody(self, tmp_path, form):
        table = {key: value if key == "skeleton" else value[:0] for key, value in content().items()}
        model = opened(FORMS[form](tmp_path / form, table))
        assert model.id_counts(IDS) == {"missing": COUNT, "duplicate": 0, "unknown": 0}
        assert model.predict(batch_of(IDS[:2])).failed.tolist() == [True, True]

    def test_a_text_is_no_id(self, tmp_path):
        table = content()
        table["ids"] = np.array([*table["ids"][1:], "x" * 2000])
        assert "an id of 2000 bytes, expected at most 1024" in refusal(as_npz(tmp_path / "p.npz", table))


class TestBadNumbers:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e20])
    def test_cost_their_person_alone(self, tmp_path, form, bad):
        table = content()
        stored = table["joints"].astype(np.float32)
        stored[11, 20, 2] = bad
        model = opened(FORMS[form](tmp_path / form, table | {"joints": stored}))
        failed = model.predict(batch_of(table["ids"].tolist())).failed
        assert failed.nonzero().flatten().tolist() == [11]

    @pytest.mark.parametrize("form", FORMS)
    def test_of_what_is_not_scored_cost_nobody(self, tmp_path, form):
        trans = np.full((COUNT, 3), np.nan)
        model = opened(FORMS[form](tmp_path / form, content(trans=trans, confidence=np.full((COUNT, 24), np.nan))))
        assert not model.predict(batch_of(IDS)).failed.any()

    @pytest.mark.parametrize("form", ["whole.h5", "plain.npz"])
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                {"joints": content()["joints"] * 1000},
                r"'joints': thighs measure 400 \(the median of 40 people\), expected 0.2 to 0.6 metres, ",
            ),
            ({"joints": content()["joints"] * 1000}, "these look like millimetres. Write metres."),
            ({"joints": content()["joints"] * 100}, "thighs measure 40 .*, and these look like centimetres. Write metres."),
            ({"joints": content()["joints"] * 20}, r"expected 0.2 to 0.6 metres\. Write metres."),
            (
                {"vertices": np.random.default_rng(0).uniform(0, 1000, (COUNT, 300, 3))},
                "'vertices': people span 1.72e.03 .*like millimetres",
            ),
            (
                {"rotvecs": np.full((COUNT, 24, 3), 60.0), "betas": np.zeros((COUNT, 10))},
                "'rotvecs': the largest angle .* degrees. Write radi",
            ),
            (
                {"rotmats": np.ones((COUNT, 24, 3, 3)), "betas": np.zeros((COUNT, 10))},
                "'rotmats': these are no rotations: R R.T is off .* by 3 ",
            ),
        ],
    )
    def test_of_another_unit_are_refused_before_any_work(self, tmp_path, form, change, said):
        path = FORMS[form](tmp_path / form, content(**change))
        with pytest.raises(PredictionError, match=said):
            opened(path)

    def test_a_few_people_do_not_make_a_unit(self, tmp_path):
        """Of the forty a third is NaN, a third lies in one point and a few are a thousand times as large: a poor model, and no unit."""
        table = content()
        table["joints"][::3] = np.nan
        table["joints"][1::3] = 0.5
        table["joints"][2:10:3] *= 1000
        assert opened(as_npz(tmp_path / "p.npz", table)).predict(batch_of(IDS)).failed.sum() == 14

    def test_a_file_of_which_nothing_is_finite(self, tmp_path):
        table = content()
        table["joints"][:] = np.nan
        assert opened(as_npz(tmp_path / "p.npz", table)).predict(batch_of(IDS)).failed.all()


class TestUnsoundFiles:
    def test_chunks_too_large_to_unpack(self, tmp_path, monkeypatch):
        monkeypatch.setattr(room, "_LARGEST_BLOCK", 20_000)
        path = as_hdf5(tmp_path / "p.h5", content(), chunks=True, maxshape=None)
        assert opened(path)
        table = content()
        with h5py.File(tmp_path / "q.h5", "w") as file:
            file["ids"], file["skeleton"] = table["ids"].astype(h5py.string_dtype()), "smpl24"
            file.create_dataset("joints", data=table["joints"], chunks=table["joints"].shape)
        said = refusal(tmp_path / "q.h5")
        assert "'joints' is stored in chunks of 40 rows, 0 MB, each of which has to be unpacked whole" in said
        assert "write it with smaller ones, for example chunks=(64, ...)" in said

    def test_a_packed_npz_too_large_to_hold(self, tmp_path, monkeypatch):
        monkeypatch.setattr(room, "_LARGEST_HELD", 20_000)
        said = refusal(as_packed_npz(tmp_path / "p.npz", content()))
        assert "holds confidence, joints compressed" in said
        assert "write HDF5 (h5py, in chunks), or leave them uncompressed (numpy.savez)" in said
        assert opened(as_npz(tmp_path / "q.npz", content()))

    def test_groups(self, tmp_path):
        with h5py.File(tmp_path / "p.h5", "w") as file:
            file["ids"], file["people/joints"] = ["a"], np.zeros((1, 24, 3))
        assert "has groups (people). Expected arrays alone" in refusal(tmp_path / "p.h5")

    @pytest.mark.parametrize("form", ["whole.h5", "packed.h5", "plain.npz", "packed.npz"])
    def test_cut_short(self, tmp_path, form):
        path = FORMS[form](tmp_path / form, content())
        path.write_bytes(path.read_bytes()[:-1000])
        assert "is neither HDF5 nor a sound .npz" in refusal(path)

    def test_a_damaged_chunk_is_named(self, tmp_path, monkeypatch):
        """The check sums tell of a block of which nothing is read before it is asked for."""
        monkeypatch.setattr(room, "_BLOCK_BYTES", 1)
        count = 2000
        joints = np.zeros((count, 24, 3))
        joints[:, [4, 5], 1] = 0.4
        joints[..., 0] += np.arange(count)[:, None]
        table = {"ids": np.array([f"{k}" for k in range(count)]), "joints": joints, "skeleton": np.array("smpl24")}
        path = as_hdf5(tmp_path / "p.h5", table, rows=100, fletcher32=True)
        with h5py.File(path, "r") as file:
            chunk = file["joints"].id.get_chunk_info_by_coord((100, 0, 0))
        data = bytearray(path.read_bytes())
        data[chunk.byte_offset + 100] ^= 255
        path.write_bytes(data)
        model = opened(path)
        assert not model.predict(batch_of(["10", "1990"])).failed.any()
        with pytest.raises(PredictionError, match=r"p\.h5: rows 100 and on of 'joints' cannot be read .* damaged: copy or write it again"):
            model.predict(batch_of(["150"]))

    def test_another_archive(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
            archive.writestr("ids.npy", "no array")
        assert "is neither HDF5 nor a sound .npz" in refusal(tmp_path / "p.npz")
        np.save(tmp_path / "p.npy", np.zeros(3))
        assert "is neither HDF5 nor a sound .npz" in refusal(tmp_path / "p.npy")


def assert_same_scores(result, other):
    """All rows, to what float64 sums of another order differ by."""
    for one, two in zip(result.scores, other.scores, strict=True):
        assert one == {key: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value for key, value in two.items()}


@pytest.fixture(scope="module")
def answers():
    """(ids, rotmats, betas) of the fake model, in no order."""
    dataset = FakeDataset()
    prediction = FakeModel(exact_bodies()).predict(batch_of_crops(dataset.ids))
    order = np.random.default_rng(0).permutation(len(dataset))
    return np.array(dataset.ids)[order], prediction.rotmats.numpy()[order], prediction.betas.numpy()[order]


class TestEvaluation:
    """The fake people of the other tests, answered from files."""

    def result(self, path, tmp_path, **how):
        return evaluate(opened(path), protocol_of("openhps-test"), FakeDataset(), exact_bodies(), tmp_path, **how)

    def test_shuffled_rows_of_any_form_and_width_give_the_same(self, answers, tmp_path):
        ids, rotmats, betas = answers
        table = {"ids": ids, "rotmats": rotmats, "betas": betas}
        first = self.result(as_npz(tmp_path / "exact.npz", table), tmp_path / "exact")
        back = np.argsort(ids)
        sorted_table = {key: value[back] for key, value in table.items()}
        second = self.result(FORMS["packed.h5"](tmp_path / "exact.npz.h5", sorted_table), tmp_path / "sorted", batch_size=3)
        assert_same_scores(second, first)
        for dtype, close_mm in (("float32", 1e-3), ("float16", 0.5)):
            narrow = {key: value if key == "ids" else value.astype(dtype) for key, value in table.items()}
            found = scores(self.result(as_hdf5(tmp_path / f"{dtype}.h5", narrow), tmp_path / dtype))
            for key in ("mpjpe", "pa_mpjpe", "pve"):
                assert found[key, "all"] == pytest.approx(scores(first)[key, "all"], abs=close_mm)

    def test_bad_rows_are_failures_and_counted(self, answers, tmp_path):
        ids, rotmats, betas = (array.copy() for array in answers)
        rotmats[0, 3, 1, 1], rotmats[1, 4, 0, 0], betas[2, 5] = np.nan, np.inf, 1e20
        ids[3], ids[4] = ids[5], "nobody"
        result = self.result(as_npz(tmp_path / "p.npz", {"ids": ids, "rotmats": rotmats, "betas": betas}), tmp_path / "out")
        assert (result.n_expected, result.n_failed) == (16, 3 + 3)
        assert result.id_counts == {"missing": 2, "duplicate": 1, "unknown": 1}
        assert all(row["value"] is None or np.isfinite(row["value"]) for row in result.scores)

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
    def test_batches_move_nothing(self, answers, tmp_path, batch_size):
        ids, rotmats, betas = answers
        path = as_hdf5(tmp_path / "p.h5", {"ids": ids, "rotmats": rotmats, "betas": betas}, compression="gzip")
        whole = self.result(path, tmp_path / "whole", batch_size=16)
        assert_same_summary(self.result(path, tmp_path / "parts", batch_size=batch_size), whole)


def batch_of_crops(ids) -> ViewBatch:
    batch = batch_of(ids)
    return ViewBatch(batch.ids, torch.full((len(ids), 3, 8, 8), 100, dtype=torch.uint8), batch.squares_xyxy, batch.intrinsics)
