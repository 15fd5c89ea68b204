"""AGORA's own scores: the rules of its protocols, the vertices that they measure on, their rows in a result, and a table to read.

The scores themselves are those of ``metrics.agora``; ``detections`` makes them of a folder of prediction files, ``boxes`` of a model that
is given the boxes. Which protocol has which rule stands in ``RULES``, by its name; everything else is in the protocol file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.body.bodies import Bodies
from hpsbench.errors import BodyError, DataError, ProtocolError
from hpsbench.evaluate.rows import Rows, samples_sha256
from hpsbench.evaluate.run import RunFolder, versions
from hpsbench.metrics.agora import AgoraErrors, AgoraScores, agora_scores
from hpsbench.metrics.summary import mean_and_interval
from hpsbench.protocol import Protocol
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.store import sha256_of_bytes
from hpsbench.types import Result

VERTEX_FILE = "body_verts_smpl.npy"
_VERTICES, _BODY_VERTICES = 6890, 4010
# The joints whose vertices the rule "skinning" leaves out: AGORA's list too is the body without head and hands.
_NOT_BODY = ("head", "left_wrist", "right_wrist", "left_hand", "right_hand")


@dataclass(frozen=True)
class AgoraRule:
    """``literal``: with the faults of AGORA's evaluator (hpsbench/metrics/agora.py lists them). ``vertices``: what MVE is measured on:
    "file", AGORA's own list in body_verts_smpl.npy, or "skinning", the vertices that neither head, wrists nor hands move most."""

    literal: bool
    vertices: str


RULES = {
    "agora-validation": AgoraRule(literal=True, vertices="file"),
    "agora-validation-plain": AgoraRule(literal=False, vertices="file"),
    "agora-validation-skinning": AgoraRule(literal=False, vertices="skinning"),
}
# What a protocol file of such a name must say, since AGORA's scores are defined so.
_SCORE = {
    "metrics": ("mpjpe", "pve"),
    "joints": "smpl24",
    "regressor": "smpl24",
    "root": "hips",
    "gt_joints": "annotated",
    "gt_gender": "neutral",
    "pve_align": "root",
    "averaging": "pooled",
    "on_failure": "nan",
}
_DATA = {"dataset": ("agora", "agora-4k"), "split": ("validation", "train", "all"), "frames": ("valid",)}


@dataclass(frozen=True)
class BodyVertices:
    """The vertices that MVE is measured on: their numbers ``ids`` (n,), and where these come from."""

    ids: np.ndarray
    origin: str

    @property
    def sha256(self) -> str:
        return sha256_of_bytes(np.ascontiguousarray(self.ids, dtype="<u4").tobytes())


def agora_rule(protocol: Protocol) -> AgoraRule | None:
    """The rule of one of AGORA's protocols, None for any other. Raises ProtocolError where its file says what AGORA's scores are not."""
    rule = RULES.get(protocol.name)
    if rule is None:
        return None
    expected = [("score", protocol.score, key, (value,)) for key, value in _SCORE.items()]
    expected += [("data", protocol.data, key, values) for key, values in _DATA.items()]
    for table, part, key, values in expected:
        found = getattr(part, key)
        if found not in values:
            raise ProtocolError(
                f"Protocol {protocol.id}: {table}.{key}: {found!r} found, but {' or '.join(map(repr, values))} was expected: AGORA's "
                "scores are defined so. Give a protocol for another measure another name."
            )
    return rule


def body_vertices(rule: AgoraRule, folders: Sequence[Path], bodies: Bodies | None) -> BodyVertices:
    """The vertices of a rule: out of the first of ``folders`` that holds AGORA's list, or of the neutral body's skinning weights.

    Raises DataError where the list is nowhere or is not AGORA's, BodyError for bodies (if given) of another mesh than SMPL's.
    """
    if bodies is not None and bodies.neutral.n_vertices != _VERTICES:
        raise BodyError(
            f"The bodies in {bodies.folder} have {bodies.neutral.n_vertices} vertices, expected SMPL's {_VERTICES}, which AGORA's meshes "
            "have. Name the folder of SMPL."
        )
    if rule.vertices == "skinning":
        joint = bodies.neutral.weights.argmax(1).cpu().numpy()
        left_out = [JOINT_NAMES["smpl24"].index(name) for name in _NOT_BODY]
        return BodyVertices(np.flatnonzero(~np.isin(joint, left_out)), f"skinning weights of {bodies.name}, without {', '.join(_NOT_BODY)}")
    path = next((folder / VERTEX_FILE for folder in folders if (folder / VERTEX_FILE).is_file()), None)
    if path is None:
        raise DataError(
            f"No {VERTEX_FILE} in {', '.join(map(str, folders))}. It holds the numbers of the {_BODY_VERTICES:,} vertices that AGORA's "
            "evaluator measures MVE on: put it there from the folder utils of github.com/pixelite1201/agora_evaluation (its licence: "
            "non-commercial research), or use the protocol agora-validation-skinning, which needs no such file."
        )
    return BodyVertices(_vertex_ids(path), VERTEX_FILE)


def _vertex_ids(path: Path) -> np.ndarray:
    try:
        ids = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is no array of plain numbers: {error}. Take the file from AGORA's evaluation code again.") from error
    whole = ids.dtype.kind in "iu" and ids.shape == (_BODY_VERTICES,) and len(np.unique(ids)) == _BODY_VERTICES
    if not whole or ids.min() < 0 or ids.max() >= _VERTICES:
        raise DataError(
            f"{path} holds {ids.dtype} of shape {ids.shape}, expected {_BODY_VERTICES} different whole numbers from 0 to {_VERTICES - 1}. "
            "Take the file from AGORA's evaluation code again."
        )
    return ids.astype(np.int64)


def start_run(
    out: Path,
    protocol: Protocol,
    vertices: BodyVertices,
    about: Mapping[str, Any],
    ids: Sequence[str],
    *,
    answers: str,
    code: str,
    resume: bool,
) -> tuple[RunFolder, dict[str, Any]]:
    """(the folder of this run, the known part of its Result): ``about`` with protocol, versions and counts added.

    ``answers`` says whose answers are scored: it, the rule and the vertices enter the content and the hash of the protocol, so that no
    table puts different ones into one column. Raises ResultError where ``out`` belongs to another run.
    """
    rule = agora_rule(protocol)
    agora = {"literal": rule.literal, "answers": answers, "vertices": vertices.origin, "vertices_sha256": vertices.sha256}
    content = protocol.content | {"agora": agora | {"vertices_number": len(vertices.ids)}}
    sha256 = sha256_of_bytes(json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
    known = dict(about) | {
        "protocol": {"id": protocol.id, "sha256": sha256, "content": content},
        "versions": versions(),
        "n_expected": len(ids),
        "shard": (0, 1),
    }
    identity = {
        "model": known["model"].name,
        "model_code": code,
        "protocol": protocol.id,
        "protocol_sha256": sha256,
        "dataset": known["dataset_name"],
        **{f"{name}_fingerprint": value for name, value in known["fingerprints"].items()},
        "hpsbench": known["versions"]["hpsbench"],
        "limit": known["limit"],
        "shard": [0, 1],
        "samples_sha256": samples_sha256(ids),
    }
    columns = {"mpjpe": JOINT_NAMES["smpl24"], "pve": ("body",), "hidden": JOINT_NAMES["smpl24"]}
    return RunFolder(out, identity, columns, resume=resume), known


def finish_run(run: RunFolder, known: Mapping[str, Any], rows: Rows, false_positives: int, *, device: str, dtype: str) -> Result:
    """The result of all ``rows``, written with them."""
    errors = AgoraErrors(
        people=tuple((name, k) for k, name in enumerate(rows["ids"])),
        joints={"body": rows["values/mpjpe"]},
        vertices={"body": rows["values/pve"][:, 0]},
        missed=rows["failed"],
        unanswered=rows["unanswered"],
        kid=rows["kid"],
        occlusion=rows["occlusion"],
        false_positives=false_positives,
    )
    missed = int(errors.missed.sum())
    scores = agora_scores(errors, literal=known["protocol"]["content"]["agora"]["literal"])
    score_rows = tuple(row for name, group in scores.items() for row in _score_rows(_split(name), group, rows))
    result = Result(**known, n_evaluated=len(rows["ids"]) - missed, n_failed=missed, scores=score_rows, device=device, dtype=dtype)
    run.finish(rows, result)
    return result


def _split(group: str) -> str:
    """The name of a group as results have it, kind and label: "age:kid", "occlusion:0-10"; "all" is whole."""
    return {"all": "all", "kid": "age:kid"}.get(group, group.replace("-", ":", 1))


def _score_rows(split: str, group: AgoraScores, rows: Rows) -> list[dict[str, Any]]:
    """MPJPE and MVE ("pve") of a group of people as rows of a result, with what AGORA tells of the group beside each.

    ``low`` and ``high`` are of the mean over the people found, without the rounding of ``value``; ``normalised`` is NMJE or NMVE.
    """
    answer = []
    for key, means, normalised in (("mpjpe", group.mpjpe_mm, group.nmje_mm), ("pve", group.mve_mm, group.nmve_mm)):
        table = rows[f"values/{key}"][group.inside]
        measured = ~np.isnan(table)
        sums = np.where(measured, table, 0.0).sum(1)
        _, low, high = mean_and_interval(sums, measured.sum(1), rows["tracks"][group.inside], "pooled")
        row = {
            "metric": key,
            "split": split,
            "unit": "mm",
            "value": _number(means["body"]),
            "low": None if low is None else 1000 * low,
            "high": None if high is None else 1000 * high,
            "count": int(measured.any(1).sum()),
            "values": int(measured.sum()),
            "people": group.people,
            "missed": group.misses,
            "false_positives": group.false_positives,
            "normalised": _number(normalised["body"]),
        }
        answer.append(row | {name: _number(getattr(group, name)) for name in ("precision", "recall", "f1")})
    return answer


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


_COLUMNS = ("people", "found", "missed", "extra", "precision", "recall", "F1", "MPJPE", "MVE", "NMJE", "NMVE")


def agora_table(result: Result) -> str:
    """The scores of a result of AGORA's as text: a line for everybody, for kids and for each bin of occlusion; errors in mm."""
    rule = result.protocol["content"]["agora"]
    by = {(row["split"], row["metric"]): row for row in result.scores}
    splits = dict.fromkeys(row["split"] for row in result.scores)
    width = max(map(len, splits))
    lines = [
        f"{result.protocol['id']}  (sha256 {result.protocol['sha256'][:12]})  {'as its evaluator' if rule['literal'] else 'plain'}",
        f"model: {result.model.name}; data: {result.dataset_name}{'' if result.limit is None else f', only the first {result.limit}'}",
        f"answers: {rule['answers']}",
        f"MVE over {rule['vertices_number']:,} vertices: {rule['vertices']}",
        "",
        " ".join([" " * width, *(name.rjust(9) for name in _COLUMNS)]),
    ]
    for split in splits:
        joints, mesh = by[split, "mpjpe"], by[split, "pve"]
        counts = [joints["people"], joints["people"] - joints["missed"], joints["missed"], joints["false_positives"]]
        ratios = [joints["precision"], joints["recall"], joints["f1"]]
        errors = [joints["value"], mesh["value"], joints["normalised"], mesh["normalised"]]
        cells = (
            [_cell(value, "d") for value in counts] + [_cell(value, ".3f") for value in ratios] + [_cell(value, ".1f") for value in errors]
        )
        lines.append(" ".join([split.ljust(width), *(cell.rjust(9) for cell in cells)]))
    return "\n".join([*lines, "", "extra: predictions of nobody; -: nobody to measure, or not defined for the group"])


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
