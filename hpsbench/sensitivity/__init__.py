"""Occlusion sensitivity: every position of a protocol's occluder for every person, as one error field. One call, ``sensitivity``."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset
from hpsbench.errors import HpsbenchError, ProtocolError, ResultError
from hpsbench.evaluate.about import about_run, device_name, identity_of
from hpsbench.evaluate.people import selected_frames
from hpsbench.field import Field, FieldAbout, FieldWriter, merge_fields
from hpsbench.models.base import STAGES, Model, pick_device
from hpsbench.protocol import Protocol
from hpsbench.sensitivity.cost import Cost
from hpsbench.sensitivity.half import in_bfloat16
from hpsbench.sensitivity.passes import Ask, Deviation, Found, Passes, Way, everything
from hpsbench.sensitivity.people import SubjectReader, check_slidable, subjects_of
from hpsbench.sensitivity.refine import Refinement
from hpsbench.sensitivity.room import Room
from hpsbench.sensitivity.rows import counts_of, rows_of, scores_of
from hpsbench.sensitivity.scoring import FieldScorer
from hpsbench.store import write_text
from hpsbench.tables import plain

__all__ = ["DTYPES", "MEMORY", "merge_sensitivity", "read_run", "sensitivity"]

DTYPES = ("float32", "bf16")
MEMORY = 2_000_000_000
FORMAT = "hpsbench sensitivity 1"
_RESULT = "result.json"
# People are kept for good when so many seconds have gone by, or their room is full.
_KEEP_AFTER = 20.0


def sensitivity(
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
    refine: bool = False,
    memory: int = MEMORY,
    dtype: str = "float32",
    stages: bool = False,
    fast: bool = False,
    exact: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What ``result.json`` says once ``field.h5`` (``hpsbench.field``) and it are in ``out``.

    A run that was killed goes on with the people who are not done; with ``resume`` False it starts over. ``limit`` and ``shard`` as in
    ``evaluate``; shards are joined by ``merge_sensitivity``. ``refine`` asks for some of a grid's places only, as the protocol's table
    [refine] says. ``memory`` bounds, in bytes, what is held of people at once: see ``room.Room``. ``dtype`` "bf16" computes the model's
    networks in bfloat16, and tells how far that is from float32. ``stages`` adds, of models with an IK stage, the errors of its answers to
    other joints (``Model.stages``); ``fast`` asks the model's ``faster`` form and lets it leave out what a patch does not reach, which
    moves errors by float32's rounding. ``exact`` keeps the field in float32. A failed answer is NaN and counted. ``device``,
    ``batch_size``, ``workers`` and ``memory`` move no number beyond the float noise of the model. Raises ProtocolError for a protocol
    without positions, ResultError where ``out`` belongs to another run, PredictionError for answers that cannot be scored, and whatever the
    dataset raises.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected {' or '.join(DTYPES)}, but got '{dtype}'")
    where = pick_device(device)
    _check(model, protocol)
    _check_way(model, dtype, stages=stages, fast=fast)
    if protocol.score.flips == "none" and isinstance(model, Model):
        model = model.without_flips()
    frames, all_ids = selected_frames(dataset, limit, shard), dataset.ids
    ids = [all_ids[i] for frame in frames for i in frame]
    reader = SubjectReader(dataset, frames, protocol, model.crop, bodies)
    rule = _refine_rule(protocol, reader, refine)
    about = about_run(model, protocol, dataset, bodies, ids, limit=limit, shard=shard)
    scorer = FieldScorer(bodies, protocol.score, where)
    field_about = replace(_field_about(model, protocol, reader, scorer), stages=STAGES if stages else ())
    crowd = max(map(len, frames))
    side = 0 if model.crop is None else model.crop.side
    room = Room.within(memory, field_about, side=side, batch_size=batch_size, workers=workers, crowd=crowd, refined=refine)
    identity = identity_of(about, ids, getattr(model, "code_sha256", "")) | {
        "verb": "sensitivity",
        "dtype": dtype,
        "refine": rule,
        "stages": stages,
    }
    writer = FieldWriter(out, field_about, identity, resume=resume)
    if writer.finished() is not None:
        return _finished(writer, about, identity)
    cost = Cost(where)
    asked = in_bfloat16(model, where) if dtype == "bf16" else model.faster() if fast else model
    alone = model if fast else asked
    deviation = None if asked is model else Deviation(model, scorer)
    done = writer.done()
    reader.frames = [rest for frame in frames if (rest := [i for i in frame if all_ids[i] not in done])]
    ask: Ask = everything if rule is None else Refinement(protocol.refine, reader.grid)
    way = Way(slid=fast, staged=stages)
    passes = Passes(asked, alone, scorer, where, protocol.cases, batch_size, room.held, ask, cost, way, deviation)
    with torch.inference_mode():
        _work(writer, passes.run(subjects_of(reader, workers)), scorer.metrics, room, _count_to(progress, len(done), len(ids)))
    field = writer.finish(ids, exact=exact)
    more = {"cost": cost.told(), "memory": {"given": memory, "bound": room.bytes}, "device": device_name(where)}
    if deviation is not None:
        more["deviation"] = deviation.told()
    return _write_result(field, about, identity, more)


def merge_sensitivity(folders: Sequence[Path | str], out: Path | str) -> dict[str, Any]:
    """The field and ``result.json`` of one run whose shards lie in ``folders``, written to ``out``. Raises ResultError."""
    results = [read_run(folder) for folder in folders]
    field = merge_fields(folders, out)
    first = results[0]
    id_counts = {key: sum(result["id_counts"][key] for result in results) for key in first["id_counts"]}
    about = {key: first[key] for key in first if key not in ("format", "counts", "scores", "cost", "memory", "device", "deviation")}
    about |= {"shard": [0, 1], "n_expected": sum(result["n_expected"] for result in results), "id_counts": id_counts}
    devices = " + ".join(sorted({result["device"] for result in results}))
    return _write_result(field, about, field.identity, {"cost": None, "memory": None, "device": devices})


def read_run(folder: Path | str) -> dict[str, Any]:
    """What the ``result.json`` of a sensitivity run says. Raises ResultError where there is none."""
    path = Path(folder) / _RESULT
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(
            f"{folder} holds no {_RESULT}. Expected the folder of a finished sensitivity run; run it, or let it end."
        ) from error
    except ValueError as error:
        raise ResultError(f"{path} is broken: {error}. Run `hpsbench sensitivity` again.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ResultError(f"{path} is no result of `hpsbench sensitivity` of this version. Name the folder of one, or run it again.")
    return found


def _check(model: Model, protocol: Protocol) -> None:
    """Raises HpsbenchError for a model, ProtocolError for a protocol that cannot be slid over people."""
    if hasattr(model, "check_views") or hasattr(model, "id_counts"):
        raise HpsbenchError(
            f"Model '{model.card.name}' reads answers from a file, and cannot be asked about crops that are made here. Give a model that "
            "runs; answers to a protocol's positions are scored by `hpsbench eval`."
        )
    check_slidable(protocol, f"model '{model.card.name}', which takes images")


def _check_way(model: Model, dtype: str, *, stages: bool, fast: bool) -> None:
    """Raises HpsbenchError for ways of asking that a model does not know, or that exclude one another."""
    if stages and getattr(model, "joint_stage", None) is None:
        raise HpsbenchError(f"Model '{model.card.name}' has no stage that is given joints (as hybrik and niki have). Leave --stages out.")
    if fast and not isinstance(model, Model):
        raise HpsbenchError(
            f"Model '{model.card.name}' is not derived from hpsbench.models.base.Model and has no faster form. Leave --fast out."
        )
    if fast and dtype != "float32":
        raise HpsbenchError("--fast is float32, and --dtype bf16 is not: give one of the two.")


def _refine_rule(protocol: Protocol, reader: SubjectReader, refine: bool) -> dict[str, Any] | None:
    """The rule of a run with --refine, in plain JSON; None of a full one. Raises ProtocolError where the protocol has none."""
    if not refine:
        return None
    if protocol.refine is None or reader.grid is None:
        raise ProtocolError(
            f"Protocol '{protocol.id}' names no bound that a refined run would keep (no table [refine]"
            f"{'' if reader.grid is not None else ', and its places are no grid'}). Leave --refine out, or take a protocol of a fine grid: "
            "pare-40-10 or 3dpw-advocc-40."
        )
    return plain(protocol.refine)


def _field_about(model: Model, protocol: Protocol, reader: SubjectReader, scorer: FieldScorer) -> FieldAbout:
    grid = reader.grid
    geometry = {}
    if grid is not None:
        boxes = tuple(tuple(box) for box in grid.seen.tolist())
        geometry = {"canvas_side": grid.side, "grid_rows": grid.rows, "grid_columns": grid.columns, "boxes": boxes}
    return FieldAbout(
        cases=protocol.cases,
        joints=scorer.names,
        regressor=protocol.score.regressor,
        metrics=scorer.metrics,
        model=model.card.name,
        protocol_id=protocol.id,
        protocol_sha256=protocol.sha256,
        **geometry,
    )


def _work(writer: FieldWriter, people: Iterator[Found], metrics: Sequence[str], room: Room, progress: Callable[[int], None]) -> None:
    """Keep people for good, some at a time, as they are done."""
    waiting: list[Found] = []
    since = monotonic()
    for found in people:
        waiting.append(found)
        if len(waiting) >= room.waiting or monotonic() - since > _KEEP_AFTER:
            writer.add(*rows_of(waiting, metrics))
            waiting, since = [], monotonic()
        progress(1)
    if waiting:
        writer.add(*rows_of(waiting, metrics))


def _count_to(progress: Callable[[int, int], None] | None, done: int, total: int) -> Callable[[int], None]:
    """A callback that counts people, those ``done`` before among them."""
    count = done

    def update(more: int) -> None:
        nonlocal count
        count += more
        if progress is not None:
            progress(count, total)

    return update


def _finished(writer: FieldWriter, about: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a run that ended before; written now, where it was killed between its two files."""
    if (writer.folder / _RESULT).is_file():
        return read_run(writer.folder)
    return _write_result(writer.finished(), about, identity, {"cost": None, "memory": None, "device": ""})


def _write_result(field: Field, about: Mapping[str, Any], identity: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    cards = {
        key: value if isinstance(value, Mapping) else asdict(value) for key, value in about.items() if key in ("model", "dataset", "body")
    }
    result = {"format": FORMAT, **about, **cards, "dtype": identity["dtype"], "refine": identity["refine"], **more}
    result = json.loads(json.dumps(result | {"counts": counts_of(field), "scores": scores_of(field)}))
    write_text(field.path.parent / _RESULT, json.dumps(result, sort_keys=True, indent=1, allow_nan=False) + "\n")
    return result
