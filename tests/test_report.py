import dataclasses
import json

import pandas as pd
import pytest
from fakes import CARD

from hpsbench.errors import ResultError
from hpsbench.report import leaderboard, load_results, result_table, write_csv, write_html
from hpsbench.report.leaderboard import recall, trained_on_test
from hpsbench.report.published import published_table, published_value
from hpsbench.types import Card, Result


def row(metric, split, value, unit="mm", low=None, high=None):
    none = value is None
    return {
        **{"metric": metric, "split": split, "unit": unit, "value": value, "low": low, "high": high},
        **{"count": 0 if none else 40, "values": 0 if none else 560},
    }


def result(model="niki.openhps", protocol="openhps-xocc.v1", value=70.0, **changes) -> Result:
    scores = (
        row("mpjpe", "all", value + 30, low=value + 25, high=value + 37),
        row("mpjpe", "occluded", value + 50),
        row("mpjpe", "visible", value + 10),
        row("pa_mpjpe", "all", value, low=value - 1, high=value + 1),
        row("pve", "all", None),
        row("accel", "all", 12.0, unit="mm/frame^2"),
    )
    whole = Result(
        model=Card(model, "a model (HRNet)", "tests", "Apache-2.0", trained_on=("openhps/train", "h36m")),
        dataset=CARD,
        dataset_name="openhps/test",
        body=Card("openhps", "a body", "tests", "Apache-2.0"),
        protocol={"id": protocol, "sha256": (protocol.encode().hex() * 8)[:64], "content": {}},
        fingerprints={"dataset": "d" * 64, "body": "b" * 64, "weights": "f" * 64},
        versions={"hpsbench": "0.1.0", "torch": "2.2"},
        device="cpu",
        dtype="float32",
        frames={"total": 50, "kept": 40, "dropped": {"camera": 10, "empty": 0}},
        n_expected=40,
        n_evaluated=40,
        n_failed=3,
        id_counts={},
        limit=None,
        shard=(0, 1),
        scores=scores,
    )
    return dataclasses.replace(whole, **changes)


def saved(folder, *results):
    for place, one in enumerate(results):
        (folder / str(place)).mkdir(parents=True)
        (folder / str(place) / "result.json").write_text(one.to_json())
    return folder


class TestLoad:
    def test_folders_and_folders_of_folders(self, tmp_path):
        saved(tmp_path / "many", result("b"), result("a"))
        saved(tmp_path / "more", result("c", "openhps-test.v1"))
        found = load_results([tmp_path / "many", tmp_path / "more" / "0", tmp_path / "many" / "1"])
        assert [(one.protocol["id"], one.model.name) for one in found] == [
            ("openhps-test.v1", "c"),
            ("openhps-xocc.v1", "a"),
            ("openhps-xocc.v1", "b"),
        ]
        assert found[1] == result("a")

    def test_a_result_named_twice_is_there_once(self, tmp_path, monkeypatch):
        saved(tmp_path, result())
        monkeypatch.chdir(tmp_path)
        assert load_results([tmp_path, ".", "0"]) == [result()]

    def test_bad_folders(self, tmp_path):
        with pytest.raises(ResultError, match=r"holds no result\.json"):
            load_results([tmp_path])
        broken = saved(tmp_path / "broken", result()) / "0" / "result.json"
        broken.write_text(broken.read_text()[:100])
        with pytest.raises(ResultError, match="broken or of another version"):
            load_results([tmp_path / "broken"])
        record = json.loads(result().to_json())
        del record["scores"]
        broken.write_text(json.dumps(record))
        with pytest.raises(ResultError, match="broken or of another version"):
            load_results([tmp_path / "broken"])

    def test_a_shard_is_no_result(self, tmp_path):
        with pytest.raises(ResultError, match=r"shard 2 of 3.*hpsbench merge"):
            load_results([saved(tmp_path, result(shard=(1, 3)))])


class TestLeaderboard:
    def test_a_row_per_model_protocol_metric_and_split(self, tmp_path):
        write_csv([result(), result("hybrik.openhps", value=80.0)], tmp_path / "leaderboard.csv")
        table = pd.read_csv(tmp_path / "leaderboard.csv")
        assert len(table) == 12
        first = table[(table.model == "niki.openhps") & (table.metric == "mpjpe") & (table.split == "all")].iloc[0]
        assert (first.value, first.low, first.high, first.unit, first["count"]) == (100, 95, 107, "mm", 40)
        assert (first.n_expected, first.n_evaluated, first.n_failed) == (40, 40, 3)
        assert table.recall.tolist() == [37 / 40] * 12
        assert set(table.better) == {"lower"}
        assert table[["precision", "f1", "false_positives", "normalised"]].isna().all(axis=None)
        assert (first.protocol, first.protocol_sha256) == ("openhps-xocc.v1", result().protocol["sha256"])
        assert (first.weights_sha256, first.dataset_fingerprint) == ("f" * 64, "d" * 64)
        assert first.versions == "hpsbench 0.1.0; torch 2.2"
        assert table.published.isna().all()
        assert table[table.metric == "pve"].value.isna().all()

    @pytest.mark.parametrize(
        ("seen", "flag"),
        [
            ((), False),
            (("openhps/train",), False),
            (("openhps/test",), True),
            (("openhps",), True),
            (("OpenHPS",), True),
            (("openhps2",), False),
            (("openhps/all",), True),
        ],
    )
    def test_overlap_with_the_test_data(self, seen, flag):
        one = dataclasses.replace(result(), model=Card("m", "w", "s", "l", trained_on=seen))
        assert trained_on_test(one) is flag
        assert set(leaderboard([one]).trained_on_test) == {"†" if flag else ""}
        assert ("m †" in result_table([one])) is flag

    def test_all_splits_hold_the_one_trained_on(self):
        for seen, flag in (("openhps/train", True), ("coco/train", False)):
            card = Card("m", "w", "s", "l", trained_on=(seen,))
            assert trained_on_test(dataclasses.replace(result(), model=card, dataset_name="openhps/all")) is flag

    def test_of_3dpw_takes_are_compared_and_named(self):
        """Of 3DPW-OCC's 23 sequences 13 are of the train split; test takes alone are in neither."""
        card = Card("m", "w", "s", "l", trained_on=("coco", "3DPW/train"))
        for name, shared in (("3dpw/occ", "3DPW/train"), ("3dpw/test", "")):
            table = leaderboard([dataclasses.replace(result(), model=card, dataset_name=name)])
            assert set(table.shared_data) == {shared}
            assert set(table.trained_on_test) == {"†" if shared else ""}

    def test_rows_of_agora_keep_their_own_recall(self):
        """Of 40 people 37 have an answer, of the kids one of two."""
        own = row("mpjpe", "kids", 80.0) | {"recall": 0.5, "precision": 0.25, "f1": 1 / 3, "false_positives": 3, "normalised": 240.0}
        table = leaderboard([result(scores=(row("mpjpe", "all", 70.0), own))])
        assert table.recall.tolist() == [37 / 40, 0.5]
        assert table.normalised.tolist()[1] == 80.0 / (1 / 3)
        assert (table.precision[1], table.f1[1], table.false_positives[1]) == (0.25, 1 / 3, 3)

    def test_recall_of_nobody_is_not_measured(self):
        assert recall(result(n_expected=0, n_failed=0)) is None
        assert recall(result(n_expected=3, n_failed=3)) == 0


class TestAgora:
    def agora(self, name, mpjpe, f1):
        counts = {"people": 40, "missed": 8, "false_positives": 2, "recall": 0.8, "precision": 0.9, "f1": f1}
        scores = (
            row("mpjpe", "all", mpjpe) | counts | {"normalised": mpjpe / f1},
            row("pve", "all", 90.0) | counts | {"normalised": 90 / f1},
            row("mpjpe", "age:kid", 84.0) | counts | dict.fromkeys(("precision", "f1", "false_positives", "normalised")),
            row("pve", "age:kid", None) | counts | dict.fromkeys(("precision", "f1", "false_positives", "normalised")),
        )
        rule = {"literal": False, "answers": "one each", "vertices_number": 4010, "vertices_from": "a list"}
        protocol = {"id": "agora-validation-plain.v1", "sha256": "a" * 64, "content": {"agora": rule}}
        counted = {"missing": 1, "duplicate": 0, "unknown": 0}
        whole = result(name, scores=scores, n_evaluated=32, n_failed=8, id_counts=counted)
        return dataclasses.replace(whole, protocol=protocol)

    def test_who_misses_people_stands_below(self, tmp_path):
        """71 mm over an F1 of 0.5 is worse than 80 over 0.8."""
        results = [self.agora("choosy", 71.0, 0.5), self.agora("finds", 80.0, 0.8)]
        text = result_table(results)
        lines = [" ".join(line.split()) for line in text.splitlines()]
        head = "model MPJPE mm PVE mm NMJE mm NMVE mm F1 precision evaluated failed extra recall %"
        assert lines[lines.index(head) + 1 :][:2] == [
            "finds 80.0 90.0 100.0 112.5 0.800 0.900 32 8 2 80.0",
            "choosy 71.0 90.0 142.0 180.0 0.500 0.900 32 8 2 80.0",
        ]
        assert lines.count("kid 84.0 - - - - - 32 8 - 80.0") == 2
        assert "scores: AGORA's, without the faults of its evaluator" in lines
        assert "answers: one each" in lines
        assert "PVE (AGORA's MVE) over 4,010 vertices: a list" in lines
        assert "extra: predictions of nobody" in text
        assert "finds: images in its folder, or sample ids in its file: 1 missing" in text
        write_html(results, tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        for part in ("<th>NMJE mm</th>", "<th>F1</th>", "<td>142.0</td>", "<td>0.500</td>", "answers: one each"):
            assert part in page

    def test_other_tables_have_none_of_it(self):
        text = result_table([result()])
        assert not [word for word in ("NMJE", "F1", "extra", "AGORA") if word in text]


class TestPublished:
    def test_the_table_holds_the_three_papers(self):
        rows = published_table()
        counts = {}
        for one in rows:
            counts[one["source"]] = counts.get(one["source"], 0) + 1
            float(one["value"])
        assert counts == {"NIKI (CVPR 2023, arXiv 2305.08590)": 159, "HKMR (ECCV 2020)": 117, "Skeleton2Mesh (ICCV 2021)": 90}

    @pytest.mark.parametrize(
        ("model", "what", "protocol", "metric", "value", "source"),
        [
            ("niki.official", "twist-and-swing", "3dpw-test.v1", "mpjpe", 71.3, "Tab.1, twist-and-swing"),
            ("niki.official", "one-stage", "3dpw-test.v1", "mpjpe", 71.7, "Tab.1, one-stage"),
            ("niki", "no more said", "3dpw-xocc.v2", "pa_mpjpe", 60.5, "Tab.2, twist-and-swing"),
            ("hybrik.official", "ResNet-34", "3dpw-test.v1", "pve", 89.1, "Tab.1, ResNet"),
            ("hybrik.official", "HRNet-W48", "3dpw-test.v1", "pa_mpjpe", 41.8, "Tab.1, HRNet"),
            ("hybrik.official", "HRNet-W48", "3dpw-xocc.v1", "mpjpe", 148.3, "Tab.2"),
        ],
    )
    def test_beside_the_same_data_and_family(self, model, what, protocol, metric, value, source):
        one = dataclasses.replace(result(protocol=protocol), model=Card(model, what, "s", "l"))
        found = published_value(one, metric)
        assert found.value == value
        assert found.source == f"NIKI (CVPR 2023, arXiv 2305.08590), {source}"

    @pytest.mark.parametrize(
        ("model", "protocol", "metric"),
        [("niki", "openhps-xocc.v1", "mpjpe"), ("mine", "3dpw-test.v1", "mpjpe"), ("niki", "3dpw-test.v1", "accel")],
    )
    def test_and_nowhere_else(self, model, protocol, metric):
        one = dataclasses.replace(result(protocol=protocol), model=Card(model, "a model", "s", "l"))
        assert published_value(one, metric) is None

    def test_not_beside_another_training_or_a_part_of_the_samples(self):
        official = Card("niki.official", "twist-and-swing", "s", "l", trained_on=("3dpw/train", "h36m"))
        one = dataclasses.replace(result(protocol="3dpw-test.v1"), model=official)
        assert published_value(one, "mpjpe").value == 71.3
        assert published_value(dataclasses.replace(one, limit=10), "mpjpe") is None
        small = dataclasses.replace(official, name="niki.openhps", trained_on=("openhps/train",))
        assert published_value(dataclasses.replace(one, model=small), "mpjpe") is None

    def test_in_the_leaderboard_and_under_the_table(self):
        one = dataclasses.replace(result(protocol="3dpw-xocc.v1"), model=Card("niki.official", "a model", "s", "l"))
        table = leaderboard([one])
        assert table[table.published.notna()][["metric", "split", "published"]].values.tolist() == [
            ["mpjpe", "all", 110.7],
            ["pa_mpjpe", "all", 60.5],
            ["pve", "all", 128.6],
        ]
        assert "published: niki.official PA-MPJPE 60.5 (NIKI (CVPR 2023, arXiv 2305.08590), Tab.2" in result_table([one])


class TestTables:
    def test_protocols_never_share_a_block(self):
        text = result_table([result("a", value=80.0), result("b"), result("a", "openhps-test.v1")])
        first, second = text.split("openhps-test.v1")
        assert first.index("\nb ") < first.index("\na ")
        assert "100.0 ±6.0" in first
        assert "occluded" in first
        assert "\na " in second
        assert "\nb " not in second

    @pytest.mark.parametrize("key", ["dataset", "body"])
    def test_nor_do_other_data_or_bodies(self, key):
        other = result("b", fingerprints={**result().fingerprints, key: "0" * 64})
        assert result_table([result("a"), other]).count("openhps-xocc.v1") == 2

    def test_one_name_for_several_weights_is_told_apart(self):
        other = result(fingerprints={**result().fingerprints, "weights": "e" * 64})
        text = result_table([result(), other, result("b")])
        assert text.count("\nniki.openhps [ffffffff] ") == text.count("\nniki.openhps [eeeeeeee] ") == 2
        assert "\nb " in text
        assert "[" not in result_table([result(), result("b")])

    def test_what_is_said(self):
        text = result_table([result(limit=40)])
        for part in (
            "40 people, only the first 40",
            "40 of 50 person-frames kept (dropped: 10 camera)",
            "people of a test",
            "body: openhps",
            "sha256",
        ):
            assert part in text
        line = next(line for line in text.splitlines() if line.startswith("niki.openhps"))
        assert line.split() == ["niki.openhps", "100.0", "±6.0", "70.0", "±1.0", "-", "12.0", "40", "3", "92.5"]

    def test_one_missed_person_of_many_shows(self):
        for failed, said in ((0, "100.0"), (1, "99.9"), (10_000, "0.0")):
            text = result_table([result(n_expected=10_000, n_failed=failed)])
            assert next(line for line in text.splitlines() if line.startswith("niki.openhps")).split()[-1] == said

    def test_higher_is_better(self):
        def model(name, value):
            return result(name, scores=(row("pck", "all", value, unit="%"), row("mpjpe", "all", 100 - value)))

        text = result_table([model("worse", 40.0), model("better", 90.0)])
        assert text.index("\nbetter ") < text.index("\nworse ")
        assert "higher is better: PCK" in text
        assert "higher is better" not in result_table([result()])
        table = leaderboard([model("m", 40.0)])
        assert dict(zip(table.metric, table.better, strict=True)) == {"pck": "higher", "mpjpe": "lower"}

    def test_rows_by_label_have_a_table_of_their_own(self, tmp_path):
        scores = (
            row("mpjpe", "all", 50.0),
            row("mpjpe", "action:Photo", 60.0),
            row("mpjpe", "action:<Walking>", 40.0),
            row("pck", "all", 80.0, unit="%"),
            row("pck", "action:Photo", None, unit="%"),
            row("pck", "joint:knee", 75.0, unit="%"),
        )
        text = result_table([result("m", scores=scores)])
        lines = [line.split() for line in text.splitlines()]
        assert ["m,", "by", "action:"] in lines
        assert ["Photo", "60.0", "-", "40"] in lines
        assert ["<Walking>", "40.0", "-", "40"] in lines
        assert ["knee", "-", "75.0", "40"] in lines
        table = leaderboard([result("m", scores=scores)])
        assert table.split.tolist()[1:3] == ["action:Photo", "action:<Walking>"]
        assert set(table.recall) == {37 / 40}
        write_html([result("m", scores=scores)], tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert "<h3>m, by action</h3>" in page
        assert "&lt;Walking&gt;" in page

    def test_ids_that_a_file_of_predictions_lacks(self):
        counted = {"missing": 3, "duplicate": 0, "unknown": 2}
        assert "mine: sample ids in its file: 3 missing, 0 duplicate, 2 unknown;" in result_table([result("mine", id_counts=counted)])
        assert "sample ids" not in result_table([result("mine", id_counts=dict.fromkeys(counted, 0))])

    def test_the_page_stands_alone_and_is_escaped(self, tmp_path):
        evil = dataclasses.replace(result(), model=Card("<script>x</script>", "w", "s", "l"), dataset=Card("d", "a <b> set", "s", "l"))
        write_html([evil, result()], tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert "<script>" not in page
        assert "a &lt;b&gt; set" in page
        assert "100.0 [95.0, 107.0]" in page
        assert "http" not in page
        assert page.count("<table") == 2


def test_results_keep_their_text():
    assert Result.from_json(result().to_json()) == result()
    assert result().to_json() == result().to_json()
