"""The straight line: samples, plans, views, predictions, errors, result. One call, ``evaluate``."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset
from hpsbench.errors import ResultError
from hpsbench.evaluate.about import about_run, device_name, identity_of
from hpsbench.evaluate.answers import Answers
from hpsbench.evaluate.boxes import score_boxes
from hpsbench.evaluate.labels import label_rows, labels_of
from hpsbench.evaluate.overlap import Road
from hpsbench.evaluate.people import FrameReader, Person, person_batches, selected_frames, still_to_do
from hpsbench.evaluate.rows import Rows, check_each_once, joined
from hpsbench.evaluate.run import RunFolder, read_result, read_shards
from hpsbench.evaluate.scoring import Scorer
from hpsbench.evaluate.stopwatch import Profile
from hpsbench.generated import Generated, load_generated
from hpsbench.metrics.joints import accel
from hpsbench.metrics.onset import Onsets
from hpsbench.metrics.summary import Flags, counts_of, summarise
from hpsbench.models.base import Model, pick_device
from hpsbench.occlude import check_for_pixels
from hpsbench.protocol import Protocol, ScoreRule
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.tables import read_table
from hpsbench.types import CropSpec, Errors, Result, view_id_of

__all__ = ["evaluate", "merge_results", "read_result"]

_PART_ROWS = 256


def evaluate(
    model: Model,
    protocol: Protocol,
    dataset: Dataset,
    bodies: Bodies,
    out: Path | str,
    *,
    device: str = "cpu",
    batch_size: int = 32,
    workers: int = 0,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    resume: bool = True,
    generated: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    overlap: bool | None = None,
    profile: Profile | None = None,
) -> Result:
    """The result of ``model`` under ``protocol``; ``errors.h5`` (a row per person) and ``result.json`` in ``out``.

    A run that was killed goes on where it was; with ``resume`` False it starts over. ``limit`` takes the first samples of the
    dataset only, ``shard`` (index, number) one part of them, to be joined by ``merge_results``. ``generated`` is a folder of
    ``generate``: its plans and images are used, and none are drawn. ``device``, ``batch_size`` and ``workers`` move no number
    beyond the float noise of the model, ``overlap`` (None: on a GPU only) none at all: with it the next batch is read and moved, and the
    last one scored and written, while the model runs. ``profile`` is filled in with where the time went. Under a protocol with AGORA's own
    scores the model is given everybody's box (``score_boxes``; folders of AGORA's prediction files go to ``detections.score_folder``).
    Raises ResultError where ``out`` belongs to another run, PredictionError for answers that cannot be scored, ProtocolError for a model of
    images under a protocol that hides nothing from it, and whatever the dataset raises.
    """
    where = pick_device(device)
    if model.crop is not None:
        check_for_pixels(protocol, f"model '{model.card.name}', which takes images")
    if protocol.score.flips == "none" and isinstance(model, Model):
        model = model.without_flips()
    if protocol.agora is not None and (generated is not None or tuple(shard) != (0, 1)):
        raise ResultError(f"Protocol '{protocol.id}' has AGORA's scores, which are of whole runs: leave out generated and shard.")
    frames, all_ids = selected_frames(dataset, limit, shard), dataset.ids
    ids = [view_id_of(all_ids[i], case) for frame in frames for i in frame for case in protocol.cases]
    about = about_run(model, protocol, dataset, bodies, ids, limit=limit, shard=shard)
    road = Road(where, workers=workers, overlap=overlap, profile=profile)
    if protocol.agora is not None:
        how = {"road": road, "batch_size": batch_size, "workers": workers, "resume": resume, "progress": progress}
        return score_boxes(model, protocol, dataset, bodies, Path(out), ids=ids, about=about, **how)
    scorer = Scorer(bodies, protocol.score, where, watch=road.scoring)
    labels = labels_of(dataset, protocol.score)
    columns = scorer.columns | {"hidden": JOINT_NAMES[dataset[frames[0][0]].truth.skeleton]}
    given = None if generated is None else _generated(generated, dataset, protocol, model.crop)
    folder = RunFolder(Path(out), identity_of(about, ids, getattr(model, "code_sha256", "")), columns, resume=resume)
    if (before := folder.finished()) is not None:
        return before
    parts = folder.done()
    done = frozenset(name for part in parts for name in part["ids"])
    left, partly = still_to_do(frames, all_ids, protocol.cases, done)
    answers = Answers(model, scorer, bodies, protocol.score.on_failure, where, watch=road.scoring)
    reader = FrameReader(dataset, left, protocol, model.crop, given, partly, bodies, watch=road.reader_watch)
    batches = person_batches(reader, batch_size, workers, road.told)
    with road:
        parts += _work(folder, answers, road, batches, progress=_count_to(progress, about["n_expected"], len(done)))
        with road.scoring("metrics"):
            rows = joined(parts)
            check_each_once(rows, ids, folder.out)
            rows |= label_rows(rows, labels, protocol.score)
            summary = _summary(rows, columns, protocol.score)
        result = Result(**about, **summary, device=device_name(where), dtype=str(bodies.dtype).removeprefix("torch."))
        with road.scoring("write"):
            folder.finish(rows, result)
    return result


def merge_results(folders: Sequence[Path | str], out: Path | str) -> Result:
    """The result of one evaluation whose shards lie in ``folders``, equal to that of one run; written to ``out``.

    Raises ResultError where they belong to different evaluations, where a shard is missing or there twice, and for AGORA's scores.
    """
    results, rows, identity, columns = read_shards(folders)
    first = results[0]
    if "agora" in first.protocol["content"]:
        raise ResultError(
            f"{folders[0]} holds AGORA's scores ({first.protocol['id']}), which are of whole runs and come in no shards: there is nothing "
            "to merge. Use the folder as it is."
        )
    rule = read_table(ScoreRule, first.protocol["content"]["score"], f"{first.protocol['id']}: score")
    merged = replace(
        first,
        n_expected=sum(result.n_expected for result in results),
        id_counts={
            key: count if key == "unknown" else sum(result.id_counts[key] for result in results) for key, count in first.id_counts.items()
        },
        shard=(0, 1),
        device=" + ".join(sorted({result.device for result in results})),
        **_summary(rows, columns, rule),
    )
    RunFolder(Path(out), identity, columns, resume=True).finish(rows, merged)
    return merged


def _generated(folder: Path | str, dataset: Dataset, protocol: Protocol, crop: CropSpec | None) -> Generated:
    """The generated folder, made by this very protocol; its crops, where it has such, are a model's own ``crop``."""
    given = load_generated(folder, dataset)
    if given.manifest["protocol"]["sha256"] != protocol.sha256:
        raise ResultError(
            f"{folder} was generated by protocol '{given.manifest['protocol']['id']}' ({given.manifest['protocol']['sha256'][:12]}), but "
            f"'{protocol.id}' ({protocol.sha256[:12]}) is to be measured. Generate it again, or name its own protocol."
        )
    crops, wanted = (
        given.manifest.get("crops"),
        None if crop is None else {"side": crop.side, "box_scale": crop.box_scale, "reduced": False},
    )
    if crops is not None and crops != wanted:
        raise ResultError(
            f"{folder} holds crops ({_of_crops(crops)}), but the model takes {_of_crops(wanted)}: it would see other pixels "
            "than the protocol means. Generate it with --images, or with the model's own crops."
        )
    return given


def _of_crops(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return "none"
    reduced = ", of images decoded at reduced size" if record["reduced"] else ""
    return f"{record['side']} px of {record['box_scale']:g} times the box{reduced}"


def _work(
    folder: RunFolder, answers: Answers, road: Road, batches: Iterator[list[Person]], *, progress: Callable[[int], None]
) -> list[Rows]:
    """Score every batch; parts of some hundred rows are kept for good as soon as they are full. ``progress`` is told how many came."""
    parts: list[Rows] = []
    fresh: list[Rows] = []
    with road.answers(answers.model, batches) as answered:
        for given in answered:
            fresh.append(answers.scored(given) | _onset_rows(given.people))
            if sum(len(rows["ids"]) for rows in fresh) >= _PART_ROWS:
                with road.scoring("write"):
                    parts.append(joined(fresh))
                    folder.add(parts[-1])
                fresh = []
            progress(len(given.people))
    return [*parts, *fresh]


def _onset_rows(people: Sequence[Person]) -> Rows:
    """The columns "since" and "durations" (N,) of people of a protocol that is scored by onset; none of another's."""
    told = [person.onset for person in people if person.onset is not None]
    return dict(zip(("since", "durations"), np.array(told, dtype=np.float64).T, strict=True)) if told else {}


def _count_to(progress: Callable[[int, int], None] | None, total: int, done: int) -> Callable[[int], None]:
    """What takes the number of people of each batch and tells ``progress`` how many are done, after the first ``done``."""

    def told(people: int) -> None:
        nonlocal done
        done += people
        if progress is not None:
            progress(done, total)

    return told


def _summary(rows: Rows, columns: Mapping[str, Sequence[str]], rule: ScoreRule) -> dict[str, Any]:
    """The counts and scores of a Result. Accelerations are measured here, where whole tracks are at hand."""
    metrics = rule.metrics
    cases = rows.get("cases", [""] * len(rows["ids"]))
    courses = np.array([view_id_of(track, case) for track, case in zip(rows["tracks"], cases, strict=True)], dtype=object)
    if "accel" in metrics:
        rows["values/accel"] = accel(rows["joints/pred"], rows["joints/gt"], courses, rows["frames"])
    errors = Errors(
        ids=tuple(rows["ids"]),
        tracks=tuple(rows["tracks"]),
        frames=rows["frames"],
        failed=rows["failed"],
        values={key: rows[f"values/{key}"] for key in metrics},
        columns={key: tuple(columns[key]) for key in metrics},
        parts={key: rows[f"parts/{key}"] for key in metrics if f"parts/{key}" in rows},
        part_names=tuple(columns["parts"]),
        part_sizes=tuple(columns["part_sizes"]),
    )
    flags = Flags(tuple(columns["hidden"]), rows["occluded"], rows["outside"])
    labels = {key.removeprefix("labels/"): rows[key] for key in rows if key.startswith("labels/")}
    if rule.averaging == "samples" or "worst" in rule.by:
        labels["sample"] = [name.removesuffix(f"@{case}") for name, case in zip(rows["ids"], cases, strict=True)]
    onsets = None
    if "onset" in rule.by:
        limits = {"before": rule.onset_before, "after": rule.onset_after, "tolerance": rule.recovery_mm / 1000}
        onsets = Onsets(courses.tolist(), rows["frames"], rows["since"], rows["durations"], **limits)
    skipped = Counter(reason for reason in rows.get("skipped", ()) if reason)
    return {
        "scores": tuple(summarise(errors, flags, metrics, rule.averaging, labels=labels, by=rule.by, onsets=onsets)),
        "skipped": dict(sorted(skipped.items())),
        **counts_of(errors),
    }
