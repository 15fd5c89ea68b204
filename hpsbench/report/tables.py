"""Tables to read: one block per protocol and data, so that numbers of different protocols never share a column."""

import html
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from hpsbench.metrics import METRICS
from hpsbench.report.leaderboard import recall, trained_on_test
from hpsbench.report.published import published_value
from hpsbench.store import write_text
from hpsbench.types import Result

_SPLITS = ("visible", "occluded", "outside")
# What kinds of rows are called in tables, where that is not their own word.
_KINDS = {
    "on": "covered joint",
    "worst": "worst way of hiding each person, by the joints",
    "onset": "frames since an occlusion's onset (below 0: before it)",
    "recovery": "frames from an occlusion's end until the error is back",
    "unrecovered": "share not back so many frames after the end",
}
_OF_OCCLUSIONS = ("recovery", "unrecovered")
_INTERVALS = "In brackets: 95 % interval of the mean, whole tracks resampled"
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:right}
td:first-child,th:first-child{text-align:left}h2{margin-top:2em}p{color:#444}"""


class Block:
    """Results that may be compared: one protocol, one set of data, one body. The best model stands first."""

    def __init__(self, results: Sequence[Result]):
        first = results[0]
        self.metrics = list(dict.fromkeys(score["metric"] for result in results for score in result.scores))
        self.leading = "pa_mpjpe" if "pa_mpjpe" in self.metrics else self.metrics[0]
        self.results = sorted(results, key=self._rank)
        self.names = _told_apart(self.results)
        self.title = f"{first.protocol['id']}  (sha256 {first.protocol['sha256'][:12]})"
        part = "" if first.limit is None else f", only the first {first.limit}"
        people = f"{first.n_expected // first.cases} people" + (f", each in {first.cases} ways" if first.cases > 1 else "")
        self.facts = [
            f"data: {first.dataset_name}, {people}{part}; {_frames(first)}",
            f"      {first.dataset.what}",
            f"body: {first.body.name}",
            *_agora_facts(first),
            *_skipped(first),
        ]

    def _rank(self, result: Result) -> tuple[float, str]:
        score = _score(result, self.leading, "all")
        value = None if score is None else score.get("normalised", score["value"])
        sign = -1 if METRICS[self.leading].higher_is_better else 1
        return (float("inf") if value is None else sign * value, result.model.name)

    def means(self, *, brief: bool) -> pd.DataFrame:
        """A row per model: each metric's mean with its 95 % interval (``brief``: half its width), how many people, and for how many of
        the expected the model had an answer."""
        rows = []
        for name, result in zip(self.names, self.results, strict=True):
            row = {"model": name}
            row |= {
                f"{METRICS[key].title} {METRICS[key].unit}": (_brief if brief else _full)(_score(result, key, "all"))
                for key in self.metrics
            }
            counts = {"evaluated": result.n_evaluated, "failed": result.n_failed, "recall %": _percent(recall(result))}
            rows.append(row | (_found(result, "all") or counts))
        return pd.DataFrame(rows)

    def splits(self, *, brief: bool) -> pd.DataFrame | None:
        """A row per model: means over visible, occluded and outside joints (``brief``: of positions alone); None: nothing was hidden."""
        keys = [key for key in self.metrics if not brief or METRICS[key].needs == "joints"]
        columns = [(key, split) for key in keys for split in _SPLITS if self._measured(key, split)]
        if not any(split != "visible" for _, split in columns):
            return None
        rows = [
            {"model": name} | {f"{METRICS[key].title} {split}": _mean(_score(result, key, split)) for key, split in columns}
            for name, result in zip(self.names, self.results, strict=True)
        ]
        return pd.DataFrame(rows)

    def groups(self) -> list[tuple[str, pd.DataFrame]]:
        """(model and kind, table) for each kind of label that its rows are split by: a row per label, its means and its people."""
        tables = []
        for name, result in zip(self.names, self.results, strict=True):
            splits = list(dict.fromkeys(score["split"] for score in result.scores if ":" in score["split"]))
            for kind in dict.fromkeys(split.partition(":")[0] for split in splits):
                rows = [self._group_row(result, kind, split) for split in splits if split.partition(":")[0] == kind]
                tables.append((f"{name}, by {_KINDS.get(kind, kind)}", pd.DataFrame(rows)))
        return tables

    def _group_row(self, result: Result, kind: str, split: str) -> dict[str, object]:
        scores = {key: _score(result, key, split) for key in self.metrics}
        if kind in _OF_OCCLUSIONS:
            scores = {key: score for key, score in scores.items() if score is not None}
        means = {
            f"{METRICS[key].title} {METRICS[key].unit if score is None else score['unit']}": _mean(score) for key, score in scores.items()
        }
        counted = "occlusions" if kind in _OF_OCCLUSIONS else "views" if result.cases > 1 and kind != "worst" else "people"
        counts = {counted: max(score["count"] for score in scores.values() if score is not None)}
        return {kind: split.partition(":")[2]} | means | (_found(result, split) or counts)

    def _measured(self, key: str, split: str) -> bool:
        scores = (_score(result, key, split) for result in self.results)
        return any(score is not None and score["value"] is not None for score in scores)

    def notes(self) -> list[str]:
        """Lines under the tables: the meaning of the signs, and published numbers with their source."""
        lines = ["† trained on takes or people of this test, as far as its card says"] if any(map(trained_on_test, self.results)) else []
        higher = [METRICS[key].title for key in self.metrics if METRICS[key].higher_is_better]
        if higher:
            lines.append(f"higher is better: {', '.join(higher)}")
        agora = bool(_found(self.results[0], "all"))
        if agora:
            lines.append("extra: predictions of nobody; NMJE, NMVE: MPJPE, PVE over F1 (in the evaluator's bins of occlusion over recall)")
        for result in self.results:
            if any(result.id_counts.values()):
                found = ", ".join(f"{count} {what}" for what, count in result.id_counts.items())
                ids = "images in its folder, or sample ids in its file" if agora else "sample ids in its file"
                lines.append(f"{result.model.name}: {ids}: {found}; what is not there once is scored as failed")
            for key in self.metrics:
                published = published_value(result, key)
                if published is not None:
                    lines.append(f"published: {result.model.name} {METRICS[key].title} {published.value:g} ({published.source})")
        return lines


def blocks(results: Sequence[Result]) -> list[Block]:
    """The results by what may be compared: protocol, data and body."""
    groups: dict[tuple, list[Result]] = {}
    for result in results:
        prints = result.fingerprints
        key = (result.protocol["id"], result.protocol["sha256"], result.dataset_name, prints["dataset"], prints["body"], result.limit)
        groups.setdefault(key, []).append(result)
    return [Block(group) for group in groups.values()]


def result_table(results: Sequence[Result]) -> str:
    """The tables as text, a block per protocol and data."""
    return "\n\n".join("\n".join(_text_lines(block)) for block in blocks(results))


def _text_lines(block: Block) -> Iterator[str]:
    yield from (block.title, *block.facts, "")
    yield _aligned(block.means(brief=True))
    splits = block.splits(brief=True)
    if splits is not None:
        yield from ("", "by what the plan did to the joint (means, same units):", _aligned(splits))
    for title, frame in block.groups():
        yield from ("", f"{title}:", _aligned(frame))
    yield from ("", "±: half the 95 % interval of the mean, whole tracks resampled", *block.notes())


def _aligned(frame: pd.DataFrame) -> str:
    first = frame.columns[0]
    width = max(len(name) for name in [first, *frame[first]])
    frame = frame.rename(columns={first: first.ljust(width)})
    frame.iloc[:, 0] = frame.iloc[:, 0].str.ljust(width)
    return frame.to_string(index=False)


def write_html(results: Sequence[Result], path: Path | str) -> None:
    """The tables as one page that needs no other file."""
    body = "\n".join(_html_block(block) for block in blocks(results))
    page = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>hpsbench</title><style>{_STYLE}</style></head>'
    write_text(path, f"{page}<body><h1>hpsbench results</h1>\n{body}\n</body></html>\n")


def _html_block(block: Block) -> str:
    parts = [f"<h2>{html.escape(block.title)}</h2>", *(f"<p>{html.escape(fact)}</p>" for fact in block.facts)]
    parts += [frame.to_html(index=False, border=0) for frame in (block.means(brief=False), block.splits(brief=False)) if frame is not None]
    for title, frame in block.groups():
        parts += [f"<h3>{html.escape(title)}</h3>", frame.to_html(index=False, border=0)]
    return "\n".join([*parts, *(f"<p>{html.escape(note)}</p>" for note in [_INTERVALS, *block.notes()])])


def _told_apart(results: Sequence[Result]) -> list[str]:
    """The models' names; where one name stands for several weights, with the beginning of their hash."""
    weights = {(result.model.name, result.fingerprints["weights"]) for result in results}
    several = Counter(name for name, _ in weights)
    return [
        result.model.name
        + (f" [{result.fingerprints['weights'][:8] or 'no weights'}]" if several[result.model.name] > 1 else "")
        + (" †" if trained_on_test(result) else "")
        for result in results
    ]


def _score(result: Result, metric: str, split: str) -> dict | None:
    return next((score for score in result.scores if (score["metric"], score["split"]) == (metric, split)), None)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _mean(score: dict | None) -> str:
    return _number(None if score is None else score["value"], ".1f")


def _percent(part: float | None) -> str:
    """Percent, rounded down to a decimal: 100.0 of all alone, so that one missed person of many shows."""
    return "-" if part is None else f"{math.floor(1000 * part + 1e-9) / 10:.1f}"


def _found(result: Result, split: str) -> dict[str, object]:
    """What AGORA's scores tell of a split: errors over F1 and who was found. Nothing for a result of another kind."""
    joints, mesh = (_score(result, key, split) for key in ("mpjpe", "pve"))
    if joints is None or "normalised" not in joints:
        return {}
    return {
        "NMJE mm": _number(joints["normalised"], ".1f"),
        "NMVE mm": _number(mesh["normalised"], ".1f"),
        "F1": _number(joints["f1"], ".3f"),
        "precision": _number(joints["precision"], ".3f"),
        "evaluated": joints["people"] - joints["missed"],
        "failed": joints["missed"],
        "extra": _number(joints["false_positives"], "d"),
        "recall %": _percent(joints["recall"]),
    }


def _skipped(result: Result) -> list[str]:
    """How many of a protocol's ways of hiding were not possible; nothing where all were."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in result.skipped.items())
    return [f"not possible: {sum(result.skipped.values())} of {result.n_expected} ({reasons})"] if reasons else []


def _agora_facts(result: Result) -> list[str]:
    """How AGORA's scores were made; nothing for a result of another kind."""
    rule = result.protocol["content"].get("agora")
    if rule is None:
        return []
    return [
        f"scores: AGORA's, {'with' if rule['literal'] else 'without'} the faults of its evaluator",
        f"answers: {rule['answers']}",
        f"PVE (AGORA's MVE) over {rule['vertices_number']:,} vertices: {rule['vertices_from']}",
    ]


def _brief(score: dict | None) -> str:
    half = "" if score is None or score["low"] is None else f" ±{(score['high'] - score['low']) / 2:.1f}"
    return _mean(score) + half


def _full(score: dict | None) -> str:
    interval = "" if score is None or score["low"] is None else f" [{score['low']:.1f}, {score['high']:.1f}]"
    return _mean(score) + interval


def _frames(result: Result) -> str:
    frames = result.frames
    dropped = ", ".join(f"{count} {reason}" for reason, count in frames["dropped"].items() if count)
    return f"{frames['kept']} of {frames['total']} person-frames kept" + (f" (dropped: {dropped})" if dropped else "")
