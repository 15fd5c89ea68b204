import json

import h5py
import numpy as np
import pytest

from hpsbench.errors import ResultError
from hpsbench.field import FieldAbout, FieldWriter, is_field_folder, merge_fields, read_field

ABOUT = FieldAbout(
    cases=("position=0-0", "position=0-1"),
    joints=("left_knee", "left_ankle", "neck"),
    regressor="h36m17",
    metrics=("mpjpe", "pa_mpjpe"),
    model="fake",
    protocol_id="p.v1",
    protocol_sha256="0" * 64,
    canvas_side=224.0,
    grid_rows=1,
    grid_columns=2,
    boxes=((0.0, 0.0, 40.0, 40.0), (40.0, 0.0, 80.0, 40.0)),
)
IDENTITY = {"model": "fake", "shard": [0, 1]}
IDS = tuple(f"set/test/a/{frame:05d}/0" for frame in range(5))


def rows_of(names, about=ABOUT, **over):
    """People whose numbers are told by their names: person k has the error 100 k + 10 position + joint."""
    people = np.array([IDS.index(name) for name in names], dtype=np.float64)
    positions, joints = len(about.cases), len(about.joints)
    table = 100 * people[:, None, None] + 10.0 * np.arange(positions)[:, None] + np.arange(joints)
    rows = {name: np.zeros((len(names), *shape), dtype=kind) for name, (shape, kind) in about.shapes.items()}
    rows |= {f"error/{key}": (table + place).astype("f4") for place, key in enumerate(about.metrics)}
    rows |= {f"clean/{key}": (100 * people[:, None] + np.arange(joints)).astype("f4") for key in about.metrics}
    rows |= {"ids": np.array(names, dtype=object), "tracks": np.array(["set/test/a/0"] * len(names), dtype=object)}
    rows |= {"frames": people.astype(np.int64), "visited": np.ones((len(names), positions), dtype=bool)}
    return rows | over


def content(folder):
    with h5py.File(folder / "field.h5") as file:
        found = {}
        file.visititems(lambda key, node: found.update({key: node[...].tobytes()}) if isinstance(node, h5py.Dataset) else None)
        found |= {key: node[...].tolist() for key in ("ids", "tracks", "cases") for node in [file[key]]}
        return found, {key: value for key, value in file.attrs.items() if key != "identity"}


@pytest.fixture
def plain(tmp_path):
    writer = FieldWriter(tmp_path / "plain", ABOUT, IDENTITY)
    writer.add(rows_of(IDS))
    writer.finish(IDS)
    return tmp_path / "plain"


class TestOneFile:
    def test_what_was_written_is_read(self, plain):
        field = read_field(plain)
        assert (len(field), field.about, field.identity, field.dtype) == (5, ABOUT, IDENTITY, "float16")
        assert field.ids.tolist() == list(IDS)
        assert field.error("pa_mpjpe")[3].tolist() == [[301, 302, 303], [311, 312, 313]]
        assert field.clean("mpjpe")[2].tolist() == [200, 201, 202]
        assert field.error("mpjpe").dtype == np.float64
        assert field.centres.tolist() == [[20, 20], [60, 20]]
        assert field.confidence is None
        assert is_field_folder(plain)
        assert not is_field_folder(plain.parent)

    def test_part_by_part(self, plain):
        blocks = list(read_field(plain).blocks(2))
        assert [len(block) for block in blocks] == [2, 2, 1]
        assert np.concatenate([block.error("mpjpe") for block in blocks]).tolist() == read_field(plain).error("mpjpe").tolist()
        assert [block.ids.tolist() for block in blocks[2].blocks(64)] == [[IDS[4]]]

    @pytest.mark.parametrize(("largest", "dtype"), [(1023.9, "float16"), (1024.0, "float32"), (np.nan, "float16")])
    def test_halves_where_half_a_millimetre_allows_it(self, largest, dtype, tmp_path):
        error = np.zeros((5, 2, 3), dtype="f4")
        error[1, 0, 2], error[2, 1, 0] = largest, 700.3
        writer = FieldWriter(tmp_path, ABOUT, IDENTITY)
        writer.add(rows_of(IDS, **{"error/mpjpe": error}))
        field = writer.finish(IDS)
        assert field.dtype == dtype
        np.testing.assert_allclose(field.error("mpjpe"), error, rtol=0, atol=0.25)

    def test_exact_is_never_halved(self, tmp_path):
        error = np.full((5, 2, 3), 1 / 3, dtype="f4")
        writer = FieldWriter(tmp_path, ABOUT, IDENTITY)
        writer.add(rows_of(IDS, **{"error/mpjpe": error}))
        assert (writer.finish(IDS, exact=True).error("mpjpe") == np.float64(np.float32(1 / 3))).all()

    def test_what_not_every_model_gives(self, tmp_path):
        sure = np.linspace(0, 1, 30, dtype="f4").reshape(5, 2, 3)
        writer = FieldWriter(tmp_path, ABOUT, IDENTITY)
        writer.add(rows_of(IDS, confidence=sure, clean_confidence=sure[:, 0]))
        field = writer.finish(IDS)
        np.testing.assert_allclose(field.confidence, sure, atol=5e-4)
        np.testing.assert_allclose(field.clean_confidence, sure[:, 0], atol=5e-4)

    def test_an_occluder_that_follows_the_joints_has_no_boxes(self, tmp_path):
        about = FieldAbout(("level=1,on=neck",), ("neck",), "h36m17", ("mpjpe",), "fake", "p.v1", "0")
        writer = FieldWriter(tmp_path, about, IDENTITY)
        writer.add(rows_of(IDS, about))
        field = writer.finish(IDS)
        assert np.isnan(field.boxes).all()
        assert field.centres.shape == (1, 2)


class TestRuns:
    def test_a_run_in_pieces_and_out_of_order_is_the_same_file(self, plain, tmp_path):
        first = FieldWriter(tmp_path / "two", ABOUT, IDENTITY)
        first.add(rows_of(IDS[3:]))
        first.add(rows_of(IDS[:1]))
        assert not (tmp_path / "two/field.h5").exists()
        second = FieldWriter(tmp_path / "two", ABOUT, IDENTITY)
        assert second.done() == {IDS[0], IDS[3], IDS[4]}
        second.add(rows_of([IDS[2], IDS[1]]))
        second.finish(IDS)
        assert content(tmp_path / "two") == content(plain)
        assert (tmp_path / "two/field.h5").read_bytes() == (plain / "field.h5").read_bytes()
        assert not (tmp_path / "two/parts").exists()

    def test_reasons_are_renumbered(self, tmp_path):
        writer = FieldWriter(tmp_path, ABOUT, IDENTITY)
        codes = np.array([[0, 1], [2, 0]], dtype=np.int16)
        writer.add(rows_of(IDS[:2], skipped=codes), ("outside", "absent"))
        writer.add(rows_of(IDS[2:4], skipped=codes[::-1]), ("absent", "blurred"))
        writer.add(rows_of(IDS[4:]))
        field = writer.finish(IDS)
        assert field.skip_reasons == ("absent", "blurred", "outside")
        assert field.read("skipped").tolist() == [[0, 3], [1, 0], [2, 0], [0, 1], [0, 0]]

    def test_another_runs_folder_is_refused(self, plain):
        with pytest.raises(ResultError, match=r"belongs to another run \(model: there 'fake', now 'other'\)"):
            FieldWriter(plain, ABOUT, IDENTITY | {"model": "other"})
        assert FieldWriter(plain, ABOUT, IDENTITY).finished().ids.tolist() == list(IDS)
        again = FieldWriter(plain, ABOUT, IDENTITY | {"model": "other"}, resume=False)
        assert again.finished() is None
        assert not list(plain.iterdir())

    def test_anothers_folder_is_refused(self, tmp_path):
        (tmp_path / "result.json").write_text("{}")
        with pytest.raises(ResultError, match=r"holds something else \(no run.json\)"):
            FieldWriter(tmp_path, ABOUT, IDENTITY)

    def test_everybody_once(self, tmp_path):
        writer = FieldWriter(tmp_path, ABOUT, IDENTITY)
        writer.add(rows_of(IDS[:3]))
        writer.add(rows_of(IDS[2:4]))
        with pytest.raises(ResultError, match=r"of 5 people 1 have no row, 1 have several, and 0 rows are of others"):
            writer.finish(IDS)
        assert not (tmp_path / "field.h5").exists()

    @pytest.mark.parametrize("change", [{"hidden": np.zeros((5, 3, 3), bool)}, {"more": np.zeros(5)}])
    def test_rows_of_another_shape(self, change, tmp_path):
        with pytest.raises(ValueError, match="expected"):
            FieldWriter(tmp_path, ABOUT, IDENTITY).add(rows_of(IDS, **change))


class TestShards:
    def shard(self, folder, index, names, number=2, **over):
        writer = FieldWriter(folder, ABOUT, IDENTITY | {"shard": [index, number]})
        writer.add(rows_of(names, **over))
        writer.finish(names)
        return folder

    def test_two_halves_are_the_whole(self, plain, tmp_path):
        one, two = self.shard(tmp_path / "1", 0, IDS[:2]), self.shard(tmp_path / "2", 1, IDS[2:])
        assert read_field(one).dtype == "float32"
        merge_fields([two, one], tmp_path / "both")
        assert content(tmp_path / "both") == content(plain)
        assert json.loads((tmp_path / "both/run.json").read_text()) == IDENTITY
        assert read_field(tmp_path / "both").identity == IDENTITY

    def test_one_large_error_anywhere_keeps_all_of_them_exact(self, tmp_path):
        error = np.full((3, 2, 3), 2000.0, dtype="f4")
        one, two = self.shard(tmp_path / "1", 0, IDS[:2]), self.shard(tmp_path / "2", 1, IDS[2:], **{"error/mpjpe": error})
        assert merge_fields([one, two], tmp_path / "both").dtype == "float32"

    def test_missing_twice_or_foreign(self, plain, tmp_path):
        one, two = self.shard(tmp_path / "1", 0, IDS[:2]), self.shard(tmp_path / "2", 1, IDS[2:])
        with pytest.raises(ResultError, match=r"Expected each of 2 shards once, but got \[1\]"):
            merge_fields([one], tmp_path / "both")
        with pytest.raises(ResultError, match=r"got \[1, 1, 2\]"):
            merge_fields([one, one, two], tmp_path / "both")
        other = FieldWriter(tmp_path / "3", ABOUT, {"model": "other", "shard": [1, 2]})
        other.add(rows_of(IDS[2:]))
        other.finish(IDS[2:])
        with pytest.raises(ResultError, match=r"belong to different runs \(they differ in model\)"):
            merge_fields([one, tmp_path / "3"], tmp_path / "both")
        with pytest.raises(ResultError, match="No shard to merge"):
            merge_fields([], tmp_path / "both")
        assert not (tmp_path / "both").exists()


class TestBadFiles:
    def test_none_there(self, tmp_path):
        with pytest.raises(ResultError, match=r"There is no error field .*field.h5. Expected what `hpsbench sensitivity` writes"):
            read_field(tmp_path)

    def test_broken(self, plain):
        path = plain / "field.h5"
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(ResultError, match="is no error field, or a broken one"):
            read_field(plain)

    def test_of_another_format(self, plain):
        with h5py.File(plain / "field.h5", "a") as file:
            file.attrs["format"] = "hpsbench field 9"
        with pytest.raises(ResultError, match="is of format 'hpsbench field 9', but this version reads 'hpsbench field 1'"):
            read_field(plain)

    def test_of_no_such_name(self, plain):
        with pytest.raises(ResultError, match=r"holds no 'error/pve'. It holds: clean/mpjpe, "):
            read_field(plain).error("pve")

    @pytest.mark.parametrize("change", [{"boxes": ((0.0, 0.0, 1.0, 1.0),)}, {"grid_rows": 3}])
    def test_a_geometry_that_is_none(self, change):
        with pytest.raises(ValueError, match="cases"):
            FieldAbout(**(vars(ABOUT) | change))
