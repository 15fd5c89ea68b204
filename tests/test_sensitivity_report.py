import dataclasses
import json
import sys

import numpy as np
import pandas as pd
import pytest

from hpsbench.errors import DataError, MissingExtraError, ResultError, UnknownNameError
from hpsbench.field import FieldAbout, FieldWriter
from hpsbench.image import crop_square
from hpsbench.report import sensitivity_charts as charts
from hpsbench.report import sensitivity_maps as maps
from hpsbench.report.sensitivity import find_fields, open_fields, read_metric, read_metrics
from hpsbench.report.sensitivity_draw import common_scale, drawing, save
from hpsbench.report.sensitivity_people import SIDE, bones_of, mean_figure
from hpsbench.report.sensitivity_person import person_map, person_picture, person_table
from hpsbench.report.sensitivity_tables import tables
from hpsbench.report.sensitivity_text import field_text

NAN = float("nan")
IDS = ("set/test/a/00000/0", "set/test/b/00000/0")
ABOUT = FieldAbout(
    cases=tuple(f"position={row}-{column}" for row in range(2) for column in range(2)),
    joints=("left_knee", "left_ankle", "neck"),
    regressor="h36m17",
    metrics=("mpjpe",),
    model="planted",
    protocol_id="quarters.v1",
    protocol_sha256="ab" * 32,
    canvas_side=20.0,
    grid_rows=2,
    grid_columns=2,
    boxes=((0.0, 0.0, 10.0, 10.0), (10.0, 0.0, 20.0, 10.0), (0.0, 10.0, 10.0, 20.0), (10.0, 10.0, 20.0, 20.0)),
)
# Where the joints are: knees in the upper left quarter, ankles in the lower left one, necks in the upper right one; of person 1 to the
# other side. The planted model is 10, 20 and 30 mm off, and 100 mm more for a joint under the patch.
JOINTS = np.array([[[4.0, 6], [6, 16], [14, 3]], [[16.0, 6], [14, 16], [6, 3]]], dtype=np.float32)
QUARTER = np.array([[0, 2, 1], [1, 3, 0]])
HIDDEN = QUARTER[:, None, :] == np.arange(4)[None, :, None]
CLEAN = np.array([[10.0, 20, 30], [10, 20, 30]], dtype=np.float32)


def rows_of(about=ABOUT, moved=100.0, **over):
    rows = {name: np.zeros((2, *shape), dtype=kind) for name, (shape, kind) in about.shapes.items()}
    for metric in about.metrics:
        rows |= {f"error/{metric}": (CLEAN[:, None] + moved * HIDDEN).astype("f4"), f"clean/{metric}": CLEAN}
    rows |= {"ids": np.array(IDS, dtype=object), "tracks": np.array(["set/test/a/0", "set/test/b/0"], dtype=object)}
    rows |= {"person_boxes": np.array([[0, 0, 10, 20], [10, 0, 20, 20]], dtype="f4"), "joints2d": JOINTS, "hidden": HIDDEN}
    rows |= {"squares": np.array([[0, 0, 40, 40]] * 2, dtype="f4"), "visited": np.ones((2, 4), dtype=bool)}
    rows |= {"coverage": np.array([[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5]], dtype="f4")}
    return rows | over


def written(folder, about=ABOUT, identity=None, **over):
    writer = FieldWriter(folder, about, {"model": about.model, "shard": [0, 1]} | (identity or {}))
    writer.add(rows_of(about, **over))
    writer.finish(IDS)
    return folder


def named(model, **changes):
    return dataclasses.replace(ABOUT, model=model, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The planted model, and one that nothing moves and that tells no confidence."""
    root = tmp_path_factory.mktemp("fields")
    confidence = {"confidence": np.where(HIDDEN, 0.25, 0.75).astype("f2"), "clean_confidence": np.full((2, 3), 0.75, dtype="f2")}
    about = named("planted", stages=("image", "clean"))
    stages = {"stage/image": rows_of()["error/mpjpe"], "stage/clean": np.broadcast_to(CLEAN[:, None], (2, 4, 3)).astype("f4")}
    written(root / "planted", about, **confidence, **stages)
    written(root / "flat", named("flat"), moved=0.0)
    return root


@pytest.fixture(scope="module")
def fields(folder):
    return open_fields([folder / "planted", folder / "flat"])


@pytest.fixture(scope="module")
def readings(fields):
    return read_metrics(fields)


@pytest.fixture(scope="module")
def found(readings):
    return tables(readings)


def only(table, **wanted):
    """The one row of a table."""
    for key, value in wanted.items():
        table = table[table[key] == value]
    assert len(table) == 1
    return table.iloc[0]


class TestFinding:
    def test_fields_and_other_results_are_told_apart(self, folder, tmp_path):
        for path in (tmp_path / "eval", tmp_path / "eval" / "older"):
            path.mkdir()
            (path / "result.json").write_text("{}")
        (folder / "flat" / "result.json").write_text("{}")
        fields, others = find_fields([folder, folder / "flat", tmp_path / "eval", tmp_path / "nothing"])
        assert fields == [folder / "flat", folder / "planted"]
        assert others == [tmp_path / "eval", tmp_path / "nothing"]
        assert find_fields([tmp_path]) == ([], [tmp_path / "eval", tmp_path / "eval" / "older"])

    def test_two_of_one_name_are_told_apart_by_folder(self, tmp_path):
        assert list(open_fields([written(tmp_path / "one"), written(tmp_path / "two")])) == ["planted [one]", "planted [two]"]
        with pytest.raises(ResultError, match="Two folders of one name"):
            open_fields([tmp_path / "one", written(tmp_path / "other" / "one")])

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"protocol_sha256": "cd" * 32}, r"two protocols, quarters\.v1 \(abababab\) and quarters\.v1 \(cdcdcdcd\)"),
            ({"protocol_id": "halves.v1"}, "cannot stand side by side"),
            ({"joints": ("left_knee", "left_ankle", "head")}, "other joints or metrics"),
        ],
    )
    def test_protocols_are_not_mixed(self, changes, message, folder, tmp_path):
        with pytest.raises(ResultError, match=message):
            open_fields([folder / "flat", written(tmp_path, named("other", **changes))])

    def test_other_people(self, folder, tmp_path):
        writer = FieldWriter(tmp_path, named("other"), {"model": "other"})
        writer.add({key: array[:1] for key, array in rows_of().items()})
        writer.finish(IDS[:1])
        with pytest.raises(ResultError, match="other people: 2 and 1, 1 of them in both"):
            open_fields([folder / "flat", tmp_path])

    def test_a_shard_is_no_field(self, tmp_path):
        with pytest.raises(ResultError, match=r"shard 1 of 2.*hpsbench merge"):
            open_fields([written(tmp_path, identity={"shard": [0, 2]})])


class TestTables:
    def test_the_planted_scores(self, found):
        scores = found["scores"][found["scores"].model == "planted"]

        def value(score, scope=""):
            return only(scores, score=score, scope=scope).value

        assert value("clean") == 20
        # Each joint is hidden at one of four places: 100 / 4 above clean. On the person: two places, two of the six pairs hidden.
        assert value("mean", "all") == pytest.approx(45)
        assert value("excess", "all") == pytest.approx(25)
        assert value("excess", "on_person") == pytest.approx(100 / 3)
        assert value("hidden", "all") == pytest.approx(120)
        assert value("hidden_excess", "all") == pytest.approx(100)
        assert value("visible", "all") == pytest.approx(20)
        assert value("spill_over", "all") == 0
        assert value("worst") == pytest.approx(20 + 100 / 3)
        # With the knee hidden the ankle and the neck are left.
        assert value("worst_visible") == pytest.approx(25)
        assert value("cvar") == pytest.approx(20 + 100 / 3)
        # 53 mm is more than twice 20 mm: person 0 breaks where nothing of the box is covered, the neck lies beside it. So does person 1.
        assert value("break_point") == 0
        assert value("never_breaks") == 0
        assert value("auroc") == 1
        assert only(scores, score="hidden", scope="all")["values"] == 6
        assert only(scores, score="clean").people == 2

    def test_a_model_that_nothing_moves(self, found):
        scores = found["scores"][found["scores"].model == "flat"]
        assert only(scores, score="excess", scope="all").value == 0
        assert only(scores, score="never_breaks").value == 100
        broken = only(scores, score="break_point")
        assert pd.isna(broken.value)
        assert (broken.people, broken.of) == (0, 2)
        assert pd.isna(only(scores, score="curve_break_point").value)
        assert not (scores.score == "auroc").any()
        assert found["influence"][found["influence"].model == "flat"].excess.abs().max() == 0

    def test_flat_to_the_last_digit(self, tmp_path):
        clean = (np.random.default_rng(5).random((2, 3)) * 300).astype("f4")
        same = np.repeat(clean[:, None], 4, axis=1)
        found = tables(read_metrics(open_fields([written(tmp_path, **{"error/mpjpe": same, "clean/mpjpe": clean})])))
        for name in ("map", "body-map", "influence", "distance", "joints"):
            assert set(found[name].excess.dropna()) == {0}
        excess = found["scores"][found["scores"].score.isin(["excess", "spill_over", "hidden_excess"])]
        assert set(excess.value) == {0}

    def test_the_planted_map(self, found):
        planted = found["map"][(found["map"].model == "planted")]
        neck = planted[planted.joint == "neck"]
        assert neck["mean"].tolist() == [80, 80, 30, 30]  # above of one person at the left, of the other at the right
        assert planted[planted.joint == "all"]["mean"].tolist() == pytest.approx([20 + 100 / 3, 20 + 100 / 3, 20 + 50 / 3, 20 + 50 / 3])
        assert neck[["x", "y"]].to_numpy().tolist() == [[5, 5], [15, 5], [5, 15], [15, 15]]
        assert set(planted.people) == {2}

    def test_aligned_by_the_box_both_knees_are_in_one_place(self, found):
        body = found["body-map"]
        knee = body[(body.model == "planted") & (body.joint == "left_knee")]
        on_box = knee[(knee.u > 0) & (knee.u < 1)]
        assert set(on_box[(on_box.v > 0) & (on_box.v < 0.5)]["mean"].round(9)) == {110}
        assert set(on_box[(on_box.v > 0.5) & (on_box.v < 1)]["mean"].round(9)) == {10}
        assert on_box[on_box.v < 0]["mean"].isna().all()
        assert set(on_box[on_box.v < 0].patches) == {0}
        assert only(body, model="planted", joint="neck", u=knee.u.min(), v=knee.v.min()).x == pytest.approx(10 * knee.u.min())

    def test_the_planted_matrix_and_distances(self, found):
        influence = found["influence"][found["influence"].model == "planted"]
        for first in ABOUT.joints:
            for second in ABOUT.joints:
                row = only(influence, occluded=first, damaged=second)
                # The knee of person 0 is hidden at place 0, that of person 1 at place 1, each alone; and so on.
                assert (row.excess, row.pairs) == (100 if first == second else 0, 2)
        distance = found["distance"][found["distance"].model == "planted"].set_index("bones")
        assert distance.excess.dropna().to_dict() == {0: 100, 1: 0, 4: 0, 5: 0}
        assert distance.pairs.to_dict() == {0: 6, 1: 4, 2: 0, 3: 0, 4: 4, 5: 4}

    def test_joints_and_classes(self, found):
        joints = found["joints"][(found["joints"].model == "planted") & (found["joints"].scope == "all")]
        ankle = only(joints, kind="joint", joint="left_ankle")
        assert (ankle.clean, ankle["mean"], ankle.excess, ankle.maximum, ankle.people) == (20, 45, 25, 120, 2)
        assert only(joints, kind="class", joint="head")["mean"] == 55
        assert pd.isna(only(joints, kind="class", joint="wrist")["mean"])
        on_person = found["joints"][(found["joints"].model == "planted") & (found["joints"].scope == "on_person")]
        assert only(on_person, kind="joint", joint="left_knee")["mean"] == 60
        assert only(on_person, kind="joint", joint="neck")["mean"] == 30

    def test_coverage(self, found):
        curve = found["coverage"][found["coverage"].model == "planted"]
        assert curve.coverage.tolist() == [0, 50]
        # Beside the box: the neck at one place, nothing at the other.
        assert curve.error.tolist() == pytest.approx([20 + 100 / 6, 20 + 100 / 3])
        assert curve.pairs.tolist() == [4, 4]

    def test_stages(self, found):
        stages = found["stages"]
        assert set(stages.model) == {"planted"}
        assert only(stages, stage="image", joints="hidden").value == 120
        assert only(stages, stage="clean", joints="all").value == 20

    def test_what_is_printed(self, readings):
        text = field_text(readings)
        assert "quarters.v1   2 people, 4 positions, 3 joints" in text
        planted, flat = (next(line for line in text.splitlines() if line.split()[:1] == [name]) for name in ("planted", "flat"))
        assert planted.split()[-1] == "1.00"
        assert flat.split()[-1] == "-"
        assert "failed" not in text


class TestWhatIsMissing:
    def test_failed_answers_enter_no_mean_and_are_counted(self, tmp_path):
        error = rows_of()["error/mpjpe"]
        error[0, 0] = NAN
        failed = np.zeros((2, 4), dtype=bool)
        failed[0, 0] = True
        readings = read_metrics(open_fields([written(tmp_path, **{"error/mpjpe": error, "failed": failed})]))
        (reading,) = readings["mpjpe"]
        assert reading.sums["map"].counts[:, 0].tolist() == [1, 2, 2, 2]
        assert reading.rows["all/joints"][0, 0] == 10
        assert "planted: 1 of 8 occluded and 0 of 2 clean answers failed" in field_text(readings)

    def test_nobody_measured(self, tmp_path):
        nothing = {key: np.full_like(rows_of()[key], NAN) for key in ("error/mpjpe", "clean/mpjpe")}
        readings = read_metrics(open_fields([written(tmp_path, **nothing)]))
        scores = tables(readings)["scores"]
        assert scores[~scores.score.str.startswith("curve")].value.isna().all()
        assert set(scores[scores.score == "mean"].people) == {0}
        assert "-" in field_text(readings)

    def test_a_refined_field_is_averaged_where_all_were_seen(self, tmp_path):
        error, visited = rows_of()["error/mpjpe"], np.ones((2, 4), dtype=bool)
        visited[0, 2] = False
        error[0, 2] = NAN
        readings = read_metrics(open_fields([written(tmp_path, **{"error/mpjpe": error, "visited": visited})]))
        (reading,) = readings["mpjpe"]
        assert reading.common.tolist() == [True, True, False, True]
        assert reading.sums["map"].counts[2].tolist() == [0] * 4
        assert reading.rows["all/joints"].tolist() == pytest.approx(np.array([[130 / 3, 20, 190 / 3], [130 / 3, 160 / 3, 190 / 3]]))
        assert reading.rows["maxima"][1, 1] == 120
        assert "1 of 8 passes saved: means are over the 3 positions" in field_text(readings)

    def test_an_occluder_without_a_grid_has_no_maps(self, tmp_path):
        about = named("planted", boxes=(), grid_rows=0, grid_columns=0, canvas_side=0.0, cases=("on=a", "on=b", "on=c", "on=d"))
        fields = open_fields([written(tmp_path, about)])
        found = tables(read_metrics(fields))
        assert "body-map" not in found
        assert found["map"].x.isna().all()
        assert only(found["influence"], occluded="neck", damaged="neck").excess == 100
        with pytest.raises(ResultError, match="without a grid"):
            person_map(fields, IDS[0])

    def test_blocks_add_up_to_the_whole(self, fields, monkeypatch):
        whole = read_metric("planted", fields["planted"], "mpjpe")
        monkeypatch.setattr("hpsbench.report.sensitivity._VALUES_AT_ONCE", 1)
        parts = read_metric("planted", fields["planted"], "mpjpe")
        for key, array in whole.rows.items():
            np.testing.assert_array_equal(parts.rows[key], array)
        for key in ("map", "body", "influence", "figure"):
            np.testing.assert_allclose(parts.sums[key].sums, whole.sums[key].sums, atol=1e-9)
            np.testing.assert_array_equal(parts.sums[key].counts, whole.sums[key].counts)
        assert parts.sums["confidences"].auroc == 1


class TestMeanFigure:
    def test_bones_between_the_scored_joints_alone(self):
        assert bones_of(ABOUT) == [(0, 1)]  # knee to ankle; of the knee's and the neck's ancestors none is scored
        assert bones_of(named("leg", joints=("right_ankle", "right_hip", "pelvis"))) == [(1, 0), (2, 1)]

    def test_a_limb_where_half_of_the_people_have_one(self):
        points = np.array([[[0.5, 0.25], [0.5, 0.75]], [[NAN, NAN], [0.5, 0.5]], [[0.1, 0.25], [0.1, 0.75]]])
        found = mean_figure(points, [(0, 1)])
        assert found.values[SIDE // 2, SIDE // 2] == 0.5
        assert found.values[SIDE // 2, -1] == 0
        assert set(found.counts.ravel()) == {2}
        assert not mean_figure(points, []).counts.any()


class TestCells:
    def test_patches_that_meet_are_their_own_cells(self):
        # 40 px at every 40 px of 224: the last one is cut to 24 px.
        starts = np.arange(6) * 40.0
        assert maps.cell_borders(starts, np.minimum(starts + 40, 224)).tolist() == [0, 40, 80, 120, 160, 200, 224]

    def test_overlapping_ones_are_a_stride_wide_about_their_centres(self):
        starts = np.arange(20) * 10.0
        borders = maps.cell_borders(starts, np.minimum(starts + 40, 224))
        assert borders[:3].tolist() == [15, 25, 35]
        np.testing.assert_allclose((borders[1:] + borders[:-1])[:18] / 2, starts[:18] + 20)

    def test_a_single_patch(self):
        assert maps.cell_borders(np.array([3.0]), np.array([9.0])).tolist() == [3, 9]


class TestFigures:
    @pytest.mark.parametrize("space", ["crop", "body"])
    def test_models_side_by_side_on_one_scale(self, readings, space):
        with drawing():
            figure = maps.models_figure(readings["mpjpe"], space)
        error, excess = figure.axes[:2], figure.axes[2:4]
        assert [axes.get_title().split("\n")[0] for axes in error] == ["planted", "flat"]
        for row in (error, excess):
            limits = {axes.collections[0].get_clim() for axes in row}
            assert len(limits) == 1
        assert error[0].collections[0].get_clim() == pytest.approx((20, 20 + 100 / 3))
        of = {"crop": "crop", "body": "mean box"}[space]
        assert {axes.get_xlabel() for axes in (*error, *excess)} == {f"x (px of the {of})"}
        assert {axes.get_ylabel() for axes in (*error, *excess)} == {f"y (px of the {of})"}
        assert [axes.get_ylabel() for axes in figure.axes[4:]] == ["MPJPE (mm)", "MPJPE above the clean one (mm)"]
        assert error[1].get_title() == "flat\n20.0 to 20.0 mm"

    def test_values_lie_at_their_patches(self, readings):
        with drawing():
            figure = maps.models_figure(readings["mpjpe"], "crop")
        mesh = figure.axes[0].collections[0]
        assert mesh.get_coordinates()[:, :, 0].tolist() == [[0, 10, 20]] * 3
        assert mesh.get_array().ravel().tolist() == pytest.approx([20 + 100 / 3, 20 + 100 / 3, 20 + 50 / 3, 20 + 50 / 3])
        assert figure.axes[0].get_ylim() == (20, 0)

    def test_a_panel_per_joint(self, readings):
        own = readings["mpjpe"]
        with drawing():
            norm = maps.joints_scale(own, "crop", "error")
            figures = [maps.joints_figure(reading, "crop", "error", norm) for reading in own]
        assert (norm.vmin, norm.vmax) == (10, 80)
        for figure in figures:
            panels = figure.axes[:4]
            assert [axes.get_title().split("\n")[0] for axes in panels] == ["all joints", *ABOUT.joints]
            assert {axes.collections[0].get_clim() for axes in panels} == {(10, 80)}
        assert figures[0].axes[3].get_title() == "neck\n30.0 to 80.0 mm"

    def test_bars(self, readings):
        with drawing():
            figure = charts.joint_bars_figure(readings["mpjpe"])
        classes, joints = figure.axes
        assert [label.get_text() for label in joints.get_xticklabels()] == list(ABOUT.joints)
        assert len(classes.get_xticklabels()) == 7
        assert joints.get_ylabel() == "MPJPE (mm)"
        planted = joints.containers[0]
        assert [bar.get_height() for bar in planted] == [35, 45, 55]
        assert [text.get_text() for text in classes.get_legend().get_texts()] == ["planted", "flat", "clean"]

    def test_matrix_distance_and_coverage(self, readings):
        with drawing():
            matrix, distance, coverage = (
                draw(readings["mpjpe"]) for draw in (charts.influence_figure, charts.distance_figure, charts.coverage_figure)
            )
        assert matrix.axes[0].images[0].get_array().tolist() == (100 * np.eye(3)).tolist()
        assert matrix.axes[0].images[0].get_clim() == matrix.axes[1].images[0].get_clim() == (0, 100)
        assert matrix.axes[2].get_ylabel() == "excess of MPJPE over clean (mm)"
        assert distance.axes[0].lines[0].get_xydata().tolist() == [[0, 100], [1, 0], [4, 0], [5, 0]]
        told = [text.get_text() for text in coverage.axes[0].get_legend().get_texts()]
        assert told[:3] == [*told[:1], "flat: error never doubles", "thin: the clean error of the same people"]
        assert told[0] == "planted: error doubles at 50.0 %"

    def test_stages(self, readings):
        with drawing():
            figure = charts.stages_figure(readings["mpjpe"])
        (axes,) = figure.axes
        assert [[bar.get_height() for bar in bars] for bars in axes.containers] == [[45, 120, 20], [20, 20, 20]]
        assert axes.get_ylabel() == "error (mm)"

    def test_one_person_over_their_image(self, fields, readings):
        person = person_map(fields, IDS[1])
        picture = np.zeros((40, 40, 3), dtype=np.uint8)
        with drawing():
            figure = maps.person_figure(readings["mpjpe"], person.means("mpjpe"), person.joints2d, picture, IDS[1])
        planted = figure.axes[1].collections[0]
        assert planted.get_array().ravel().tolist() == pytest.approx([20 + 100 / 3] * 2 + [20, 20 + 100 / 3])
        assert planted.get_clim() == figure.axes[2].collections[0].get_clim()
        table = person_table(fields["planted"], person)
        assert only(table, model="planted", case="position=0-1", joint="left_knee").error == 110

    def test_the_same_bytes_again_and_no_settings_left(self, readings, tmp_path):
        import matplotlib

        before = dict(matplotlib.rcParams)
        written = []
        for name in ("one", "two"):
            with drawing():
                written.append(save(charts.distance_figure(readings["mpjpe"]), tmp_path / name, "distance"))
        assert dict(matplotlib.rcParams) == before
        assert [path.name for path in written[0]] == ["distance.png", "distance.svg"]
        for first, second in zip(*written, strict=True):
            assert first.read_bytes() == second.read_bytes()
        assert "<dc:date>" not in written[0][1].read_text()

    def test_a_scale_of_one_value_or_none(self):
        assert (common_scale([np.array([3.0, NAN])]).vmin, common_scale([np.array([3.0])]).vmax) == (2.5, 3.5)
        assert common_scale([np.array([NAN])]).vmax == 1


class TestPerson:
    def test_unknown(self, fields):
        with pytest.raises(UnknownNameError, match=r"Did you mean 'set/test/b/00000/0'\?"):
            person_map(fields, "set/test/b/00000/1")

    def test_the_picture_is_the_canvas(self, fields, folder, monkeypatch):
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (50, 50, 3), dtype=np.uint8)

        class View:
            read = staticmethod(lambda: image)

        class People(list):
            name, split, ids = "fake", "test", list(IDS)

            def index_of(self, name):
                return self.ids.index(name)

        asked = {}

        def opened(name, root, **how):
            asked.update(how, name=name, root=root)
            return People([type("Sample", (), {"view": View})] * 2)

        monkeypatch.setattr("hpsbench.report.sensitivity_person.open_dataset", opened)
        rule = {"dataset": "fake", "split": "test", "frames": "all", "bbox": "joints", "bbox_scale": 1.0}
        (folder / "planted" / "result.json").write_text(json.dumps({"protocol": {"content": {"data": rule}}}))
        person = person_map(fields, IDS[0])
        picture = person_picture(fields["planted"], "somewhere", person, side=20)
        np.testing.assert_array_equal(picture, crop_square(image, np.array([0.0, 0, 40, 40]), 20))
        assert asked == {key: value for key, value in rule.items() if key != "dataset"} | {
            "name": "fake",
            "root": "somewhere",
            "bodies": None,
        }
        People.ids = ["somebody"]
        with pytest.raises(DataError, match="has no person"):
            person_picture(fields["planted"], None, person)

    def test_a_folder_that_does_not_say(self, fields, folder):
        (folder / "planted" / "result.json").write_text("{}")
        with pytest.raises(ResultError, match="does not say which data"):
            person_picture(fields["planted"], None, person_map(fields, IDS[0]))


class TestCommand:
    def test_tables_and_figures(self, run, folder, tmp_path):
        status, out, err = run("report", folder / "planted", folder / "flat", "--figures", tmp_path / "figures")
        assert (status, "quarters.v1" in out) == (0, True), err
        names = {path.name for path in (tmp_path / "figures").iterdir()}
        csv = ("scores", "joints", "map", "body-map", "influence", "distance", "coverage", "stages")
        drawn = [f"{name}-mpjpe" for name in ("map", "body-map", "joints", "influence", "distance", "coverage")] + ["stages"]
        drawn += [f"{name}-joints-mpjpe-{model}" for name in ("map", "body-map") for model in ("planted", "flat")]
        assert names == {f"{name}.csv" for name in csv} | {f"{name}.{ending}" for name in drawn for ending in ("png", "svg")}
        assert f"{len(names)} files" in err
        scores = pd.read_csv(tmp_path / "figures" / "scores.csv")
        assert only(scores, model="planted", score="excess", scope="all").value == 25
        assert all((tmp_path / "figures" / name).stat().st_size for name in names)

    def test_without_matplotlib(self, run, folder, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        status, _, err = run("report", folder / "flat", "--figures", tmp_path / "figures")
        assert status == 1
        assert "needs the package 'matplotlib'" in err
        assert "pip install 'hpsbench[figures]'" in err
        assert run("report", folder / "flat")[0] == 0
        with pytest.raises(MissingExtraError), drawing():
            pass

    def test_wrong_calls(self, run, folder, tmp_path):
        assert run("report", folder, "--csv", tmp_path / "a.csv")[0] == 2
        assert run("report", folder, "--person", IDS[0])[0] == 2
        status, _, err = run("report", tmp_path / "nothing", "--figures", tmp_path / "figures")
        assert (status, "there is none here" in err) == (2, True)
