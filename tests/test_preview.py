"""Sheets of protocols: which people and cases they show, that marks lie where the plan says, and the gallery's page."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeDataset, exact_bodies

import hpsbench.preview.gallery as gallery
from hpsbench.cli.main import cli
from hpsbench.errors import DataError, HpsbenchError, ProtocolError, UnknownNameError
from hpsbench.evaluate.people import FrameReader
from hpsbench.image import read_image
from hpsbench.occlude import Planner, hidden_by
from hpsbench.occluders.base import cases_of
from hpsbench.preview import check_picture_path, on_embedded, preview, preview_sheet
from hpsbench.preview.cases import evenly, shown_cases
from hpsbench.preview.lettering import row_of, wrapped, written
from hpsbench.preview.tiles import OCCLUDED, OUTSIDE, SIDE, VISIBLE, clean_tile, marks, planned_crop, planned_tile
from hpsbench.protocol import load_protocol, protocol_names
from hpsbench.types import CropSpec

DOCS = Path(__file__).parents[1] / "docs"
# A level that is hidden in four ways, all at one joint of the fakes.
FEW = """
name = "few"
version = 1
base = "openhps-test"
what = "text"
source = "text"

[[occluders]]
kind = "joint-shape"
space = "crop"
canvas_side = 224.0
canvas_scale = 1.25
shape = "circle"
sizes = [10.0, 30.0]
joints = ["left_knee", "nose"]
angles = [0.0]
bar_length = 0.0
ratio = 1.0
fill = "black"
"""


@pytest.fixture
def few(tmp_path):
    (tmp_path / "few.toml").write_text(FEW)
    return load_protocol(tmp_path / "few.toml")


def near(image, point, colour, reach=2):
    """Whether a pixel within ``reach`` px of a point has a colour, but for what anti-aliasing takes."""
    x, y = (int(value) for value in point)
    part = image[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].astype(int)
    return bool((np.abs(part - colour).max(axis=-1) < 40).any())


class TestCases:
    def test_few_are_all_shown(self):
        cases = cases_of(level=range(3), on=("a", "b"))
        assert shown_cases(cases, 6) == cases
        assert shown_cases(("",), 9) == ("",)

    def test_each_key_is_varied_about_a_resting_case(self):
        cases = cases_of(level=range(1, 6), on="abcdefg", angle=(0, 45, 90))
        assert shown_cases(cases, 9) == (
            *(f"level={level},on=d,angle=45" for level in range(1, 6)),
            *(f"level=3,on={joint},angle=45" for joint in "acg"),
            "level=3,on=d,angle=90",
        )

    def test_places_spread_over_their_grid(self):
        cases = cases_of(position=[f"{row}-{column}" for row in range(5) for column in range(5)])
        assert shown_cases(cases, 9) == tuple(f"position={row}-{column}" for row in (0, 2, 4) for column in (0, 2, 4))
        assert shown_cases(cases, 5) == tuple(f"position={place}" for place in ("0-0", "0-4", "2-2", "4-0", "4-4"))

    def test_one_long_key_goes_from_end_to_end(self):
        assert shown_cases(cases_of(draw=range(21)), 5) == tuple(f"draw={k}" for k in (0, 5, 10, 15, 20))

    def test_cases_with_other_keys_are_taken_evenly(self):
        assert shown_cases(("a=1", "b=1", "b=2", "c=4,d=1", ""), 3) == ("a=1", "b=2", "")

    def test_never_more_than_asked_and_never_twice(self):
        of_keys = cases_of(a=range(4), b=range(5), c=range(6))
        of_places = cases_of(place=[f"{row}-{column}" for row in range(2) for column in range(9)], level=range(3))
        for most in range(1, 12):
            for cases in (of_keys, of_places):
                shown = shown_cases(cases, most)
                assert 0 < len(shown) == len(set(shown)) <= most
                assert set(shown) <= set(cases)

    @pytest.mark.parametrize(("count", "wanted", "places"), [(10, 4, [0, 3, 6, 9]), (3, 9, [0, 1, 2]), (5, 1, [0]), (0, 4, []), (5, 0, [])])
    def test_evenly(self, count, wanted, places):
        assert evenly(count, wanted) == places


class TestLettering:
    def test_no_letter_is_lost(self):
        text = "joint outside the canvas openhps_test_s1_00000/00019/0 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        lines = wrapped(text, 100)
        assert "".join("".join(lines).split()) == "".join(text.split())
        assert all(written([line], 100)[:, -2:].min() == 255 for line in lines)

    def test_breaks_at_spaces_and_behind_slashes(self):
        assert wrapped("one two", 200) == ["one two"]
        assert wrapped("sequence/00001/0", 70) == ["sequence/", "00001/0"]

    def test_rows_are_as_wide_as_their_pictures(self):
        black = np.zeros((8, 30, 3), dtype=np.uint8)
        row = row_of([black, black], [["a"], ["b", "c"]], 30, 4)
        assert row.shape[1] == 64
        assert (row[:8, :30] == 0).all()
        assert (row[:8, 30:34] == 255).all()


class TestTiles:
    def test_the_crop_is_what_a_model_gets(self):
        dataset, square = FakeDataset(), CropSpec(SIDE)
        for name in ("openhps-xocc", "pare-40-40@openhps-test", "hmr2-part-crops@openhps-test"):
            protocol = load_protocol(name)
            planner = Planner(protocol, dataset)
            for person in FrameReader(dataset, [[3]], protocol, square, None)[0][:12]:
                plan = planner(dataset[3], person.case)
                if not plan.skipped:
                    assert np.array_equal(planned_crop(dataset[3], plan, SIDE)[0], person.crop), person.id

    def test_marks_lie_on_the_joints(self, few):
        dataset = FakeDataset()
        sample = dataset[2]
        plan = Planner(few, dataset)(sample, "level=2,on=left_knee")
        tile = planned_tile(sample, plan, SIDE)
        x0, y0, x1, _ = np.array(plan.occlusions[0].params["canvas"]["square_xyxy"])
        points = (sample.truth.joints2d - (x0, y0)) * SIDE / (x1 - x0)
        hidden = hidden_by(plan, sample)
        assert hidden.occluded[4]  # the left knee of smpl24
        crosses = points[hidden.occluded]
        assert all(near(tile.picture, point, OCCLUDED) for point in crosses)
        apart = [p for p in points[~hidden.occluded & ~hidden.outside] if np.linalg.norm(crosses - p, axis=1).min() > 12]
        assert apart
        assert all(near(tile.picture, point, VISIBLE) and not near(tile.picture, point, OCCLUDED) for point in apart)
        assert tile.text[0] == f"{len(crosses)} hidden, {hidden.outside.sum()} out"

    def test_nothing_else_is_painted(self, few):
        dataset = FakeDataset()
        sample = dataset[2]
        plan = Planner(few, dataset)(sample, "level=2,on=left_knee")
        crop, square = planned_crop(sample, plan, SIDE)
        changed = (planned_tile(sample, plan, SIDE).picture != crop).any(axis=-1)
        points = (sample.truth.joints2d - square[:2]) * SIDE / (square[2] - square[0])
        rows, columns = np.nonzero(changed)
        away = np.linalg.norm(np.stack([columns, rows], axis=1)[:, None] - points, axis=2).min(axis=1)
        assert changed.any()
        assert away.max() < 12

    def test_joints_beyond_the_window_are_marked_at_its_border(self):
        dataset, protocol = FakeDataset(), load_protocol("hmr2-part-crops@openhps-test")
        sample = dataset[0]
        plan = Planner(protocol, dataset)(sample, "part=left_leg")
        hidden = hidden_by(plan, sample)
        _, square = planned_crop(sample, plan, SIDE)
        picture = planned_tile(sample, plan, SIDE).picture
        points = (sample.truth.joints2d - square[:2]) * SIDE / (square[2] - square[0])
        above = points[hidden.outside & (points[:, 1] < 0) & (points[:, 0] > 20) & (points[:, 0] < SIDE - 20)]
        assert len(above)
        assert all(near(picture, (x, 6), OUTSIDE, 6) for x, _ in above)

    def test_unknown_joints_have_no_mark(self, few):
        sample = FakeDataset()[2]
        truth = replace(sample.truth, valid=np.zeros(24, dtype=bool))
        plan = Planner(few, FakeDataset())(sample, "level=1,on=left_knee")
        unknown = replace(sample, truth=truth)
        tile = planned_tile(unknown, plan, SIDE)
        assert np.array_equal(tile.picture, planned_crop(unknown, plan, SIDE)[0])
        assert tile.text[0] == "0 hidden, 0 out"

    def test_marks_differ_in_shape_and_grey(self):
        blank = np.full((40, 40, 3), 128, dtype=np.uint8)
        centre, none = np.array([[20.0, 20.0]]), np.empty((0, 2))
        kinds = [marks(blank, *[centre if k == kind else none for k in range(3)], SIDE) for kind in range(3)]
        greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int) for image in kinds]
        for first in range(3):
            assert np.count_nonzero(np.abs(greys[first] - 128) > 60) >= 9
            for second in range(first):
                assert np.count_nonzero(np.abs(greys[first] - greys[second]) > 60) >= 9
        assert np.array_equal(marks(blank, none, none, none, SIDE), blank)

    def test_a_case_that_is_not_possible_is_grey_and_says_why(self, few):
        sample = FakeDataset()[2]
        tile = planned_tile(sample, Planner(few, FakeDataset())(sample, "level=1,on=nose"), 64)
        assert tile.text == ("no such joint in smpl24",)
        assert len(np.unique(tile.picture)) == 1

    def test_the_clean_tile_is_the_image(self):
        tile = clean_tile(FakeDataset()[0], 64)
        assert tile.picture.shape == (64, 64, 3)
        assert tile.text == ("a/00000/0",)


class TestSheet:
    def test_rows_and_columns(self, few):
        sheet = preview_sheet(few, FakeDataset(), people=4, side=64)
        assert sheet.ids == tuple(FakeDataset().ids[k] for k in (0, 5, 10, 15))
        assert sheet.cases == few.cases == ("level=1,on=left_knee", "level=1,on=nose", "level=2,on=left_knee", "level=2,on=nose")
        assert sheet.picture.shape[1] == 5 * 68 - 4
        # One column is grey from top to bottom: four tiles that are not possible.
        assert np.count_nonzero((sheet.picture[:, 2 * 68 + 32] == 160).all(axis=-1)) == 4 * 64

    def test_it_is_the_same_again_and_in_any_order(self, few):
        order = list(reversed(range(16)))
        sheets = [preview_sheet(few, FakeDataset(), people=2, side=64).picture for _ in range(2)]
        assert np.array_equal(*sheets)
        turned = preview_sheet(few, FakeDataset(order), people=2, side=64)
        assert turned.ids == tuple(reversed(preview_sheet(few, FakeDataset(), people=2, side=64).ids))

    def test_no_more_rows_than_people(self, few):
        assert len(preview_sheet(few, FakeDataset(), people=99, side=64).ids) == 16

    def test_one_case_is_shown_along_tracks(self):
        sheet = preview_sheet(load_protocol("openhps-xocc"), FakeDataset(), people=2, side=64)
        assert [name.split("/")[2] for name in sheet.ids] == ["a", "b"]
        assert sheet.picture.shape[1] == 5 * 68 - 4  # clean, and the four frames of the longer track

    def test_a_track_that_is_hidden_is_found(self, monkeypatch):
        def hides(self, sample, case=""):
            del case
            return seen if sample.frame not in (1, 2) or sample.track != "openhps/test/b/1" else hidden

        dataset, protocol = FakeDataset(), load_protocol("openhps-xocc")
        hidden = Planner(load_protocol("hard-erasing@openhps-test"), dataset)(dataset[0])
        seen = replace(hidden, occlusions=())
        monkeypatch.setattr(Planner, "__call__", hides)
        assert hidden_by(hidden, dataset[0]).coverage_box > 0
        assert preview_sheet(protocol, dataset, people=1, side=64).ids == ("openhps/test/b/00000/1",)

    def test_without_occluders_the_joints_are_shown(self):
        dataset = FakeDataset()
        sheet = preview_sheet(load_protocol("openhps-test"), dataset, people=1, side=SIDE)
        assert sheet.cases == ("",)
        assert sheet.picture.shape[1] == 2 * SIDE + 4
        clean, marked = sheet.picture[:, :SIDE], sheet.picture[:, SIDE + 4 :]
        assert any(np.array_equal(clean[y : y + SIDE], clean_tile(dataset[0], SIDE).picture) for y in range(60))
        assert (marked == 255).any()

    def test_nobody_to_show(self, few):
        with pytest.raises(HpsbenchError, match=r"0 people was asked for\. Expected at least 1"):
            preview_sheet(few, FakeDataset(), people=0)
        with pytest.raises(DataError, match="has no people to show"):
            preview_sheet(few, FakeDataset(order=[]), people=2)

    def test_a_broken_image_is_named(self, few):
        with pytest.raises(DataError, match="openhps/test/a/00000/0 is broken"):
            preview_sheet(few, FakeDataset(broken=["openhps/test/a/00000/0"]), people=2)


class TestFiles:
    @pytest.mark.parametrize("name", ["sheet.png", "sheet.jpg", "sheet.JPEG"])
    def test_written_and_read_back(self, few, tmp_path, name):
        sheet = preview(few, FakeDataset(), tmp_path / name, people=2)
        read = read_image(tmp_path / name)
        assert read.shape == sheet.picture.shape
        assert name != "sheet.png" or np.array_equal(read, sheet.picture)

    @pytest.mark.parametrize(
        ("name", "message"),
        [("a.gif", "ends with '.gif'. Expected a picture, .png or .jpg"), ("a", "ends with ''"), ("no/a.png", "No folder '.*no' to write")],
    )
    def test_names_that_are_none(self, tmp_path, name, message):
        with pytest.raises(HpsbenchError, match=message):
            check_picture_path(tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_a_folder_is_no_picture(self, tmp_path):
        (tmp_path / "a.png").mkdir()
        with pytest.raises(HpsbenchError, match="is a folder"):
            check_picture_path(tmp_path / "a.png")

    def test_nothing_is_left_of_one_that_fails(self, few, tmp_path):
        target = tmp_path / "out"
        target.mkdir()
        with pytest.raises(DataError):
            preview(few, FakeDataset(broken=["openhps/test/a/00000/0"]), target / "a.png", people=2)
        assert not list(target.iterdir())


class TestEmbedded:
    def test_a_protocol_of_other_data(self):
        assert on_embedded("hkmr-bar").name == "hkmr-bar@openhps-test"
        assert on_embedded("openhps-xocc").name == "openhps-xocc"

    def test_agora_scores_stay_where_they_are_defined(self):
        with pytest.raises(ProtocolError, match=r"defined for 'agora' alone.*--data"):
            on_embedded("agora-validation")

    def test_unknown(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'hkmr-bar'"):
            on_embedded("hkmr-barr")


class TestCommand:
    def test_a_sheet_of_the_embedded_people(self, tmp_path, monkeypatch):
        monkeypatch.delenv("HPSBENCH_DATA", raising=False)
        out = tmp_path / "a.png"
        result = CliRunner().invoke(cli, ["preview", "--protocol", "pare-40-40", "--out", str(out), "--people", "1"])
        assert result.exit_code == 0, result.output
        assert "as pare-40-40@openhps-test" in result.stderr
        assert "1 people, 9 of 36 cases" in result.stderr
        assert not result.stdout
        assert read_image(out).shape[1] == 10 * 228 - 4

    @pytest.mark.parametrize(
        "words", [[], ["--out", "a.png", "--gallery", "."], ["--gallery", ".", "--protocol", "x"], ["--out", "a.png", "--people", "0"]]
    )
    def test_wrong_calls(self, words):
        assert CliRunner().invoke(cli, ["preview", *words]).exit_code == 2

    def test_the_name_is_looked_at_before_the_work(self, tmp_path):
        result = CliRunner().invoke(cli, ["preview", "--protocol", "hkmr-bar", "--out", str(tmp_path / "a.bmp")])
        assert isinstance(result.exception, HpsbenchError)
        assert "'.bmp'" in str(result.exception)

    def test_data_that_are_none(self, tmp_path):
        words = ["preview", "--protocol", "openhps-xocc", "--data", str(tmp_path), "--out", str(tmp_path / "a.png")]
        assert isinstance(CliRunner().invoke(cli, words).exception, DataError)
        assert not list(tmp_path.iterdir())


class TestGallery:
    def test_pictures_and_page(self, tmp_path, monkeypatch):
        monkeypatch.delenv("HPSBENCH_VOC_BANK", raising=False)
        monkeypatch.setattr(gallery, "protocol_names", lambda: ["openhps-test", "voc-objects", "hybrik-half-body"])
        monkeypatch.setattr(gallery, "_people_of", lambda rule, bodies: FakeDataset())
        (left,) = gallery.write_gallery(tmp_path)
        assert left.name == "voc-objects"
        assert "HPSBENCH_VOC_BANK" in left.reason
        assert sorted(path.name for path in (tmp_path / "protocols").iterdir()) == ["hybrik-half-body.jpg"]
        assert (tmp_path / "protocols/hybrik-half-body.jpg").stat().st_size <= 70_000
        page = (tmp_path / "protocols.md").read_text()
        assert "![hybrik-half-body](protocols/hybrik-half-body.jpg)" in page
        assert "No picture: The bank 'voc'" in page
        assert "| openhps-test | 1 |" in page
        before = [path.read_bytes() for path in sorted(tmp_path.rglob("*.*"))]
        gallery.write_gallery(tmp_path)
        assert before == [path.read_bytes() for path in sorted(tmp_path.rglob("*.*"))]

    def test_a_picture_that_stays_too_large(self):
        with pytest.raises(HpsbenchError, match="larger than 100 bytes"):
            gallery._small(load_protocol("openhps-test"), FakeDataset(), 100, exact_bodies())

    def test_the_page_of_the_repository_is_that_of_the_protocols(self):
        page = (DOCS / "protocols.md").read_text(encoding="utf-8")
        protocols = [load_protocol(name) for name in protocol_names()]
        pictured = {protocol.name for protocol in protocols if f"({gallery.PICTURES}/{protocol.name}.jpg)" in page}
        left = {p.name: "-" for p in protocols if p.occluders and p.name not in pictured}
        ours = [line for line in page.splitlines() if not line.startswith("No picture: ")]
        expected = [line for line in gallery.gallery_page(protocols, left).splitlines() if not line.startswith("No picture: ")]
        assert ours == expected, "docs/protocols.md is not that of the protocol files: run `hpsbench preview --gallery docs`"
        assert {path.stem for path in (DOCS / "protocols").glob("*.jpg")} == pictured
