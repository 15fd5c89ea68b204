"""AGORA's own scores: their rows in a result.

The scores themselves are those of ``metrics.agora``; ``detections`` makes them of a folder of prediction files, ``boxes`` of a model that
is given the boxes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hpsbench.errors import ProtocolError
from hpsbench.evaluate.agora_vertices import BodyVertices
from hpsbench.evaluate.rows import Rows
from hpsbench.evaluate.run import RunFolder
from hpsbench.metrics.agora import AgoraErrors, AgoraScores, agora_scores, parts_of
from hpsbench.metrics.summary import mean_and_interval
from hpsbench.protocol import Protocol, sha256_of_content
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Result

_FINGERS = tuple(f"{finger}{k}" for finger in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3))
# The joints of SMPL-X's parts beside the body, in the order of ``metrics.agora.parts_of``.
_OTHER_JOINTS = {
    "left_hand": ("left_wrist", *(f"left_{joint}" for joint in _FINGERS)),
    "right_hand": ("right_wrist", *(f"right_{joint}" for joint in _FINGERS)),
    "face": ("neck", *(f"landmark{k}" for k in range(51))),
}
_FULL_BODY = "full_body"


def check_one_case(protocol: Protocol) -> None:
    """Raises ProtocolError for a protocol that hides each person in several ways: AGORA's scores find or miss each person once."""
    if len(protocol.cases) > 1:
        raise ProtocolError(
            f"Protocol '{protocol.id}' hides each person in {len(protocol.cases)} ways, the first is '{protocol.cases[0]}', but AGORA's "
            "scores find or miss each person once. Take occluders of one case, or the table [agora] out."
        )


def agora_columns(model: str) -> dict[str, tuple[str, ...]]:
    """The names of the columns of the rows of "smpl" or "smplx": those of the body under the metrics' own names, then the other parts."""
    skeleton = "smpl24" if model == "smpl" else "smplx22"
    parts = tuple(part.name for part in parts_of(model))
    others = {f"mpjpe_{part}": _OTHER_JOINTS[part] for part in parts if part != "body"}
    return {"mpjpe": JOINT_NAMES[skeleton], "pve": parts, "hidden": JOINT_NAMES[skeleton], **others}


def value_rows(errors: AgoraErrors) -> Rows:
    """{"values/<column>": (N, K) m} of a table of errors, under the names of ``agora_columns``."""
    joints = {"values/mpjpe" + ("" if part == "body" else f"_{part}"): values for part, values in errors.joints.items()}
    return joints | {"values/pve": np.stack(list(errors.vertices.values()), axis=1)}


def agora_protocol(protocol: Protocol, vertices: BodyVertices, answers: str) -> dict[str, Any]:
    """A result's "protocol": whose ``answers`` were scored and on which vertices enters its content and hash, so that no table puts
    different ones into one column."""
    of_vertices = {"vertices_from": vertices.origin, "vertices_number": vertices.number, "vertices_sha256": vertices.sha256}
    content = protocol.content | {"agora": protocol.content["agora"] | {"answers": answers} | of_vertices}
    return {"id": protocol.id, "sha256": sha256_of_content(content), "content": content}


def finish_run(
    run: RunFolder, about: Mapping[str, Any], rows: Rows, model: str, false_positives: int, *, device: str, dtype: str
) -> Result:
    """The result of all ``rows`` of "smpl" or "smplx", whose known part is ``about``, written with them."""
    parts = [part.name for part in parts_of(model)]
    errors = AgoraErrors(
        people=tuple((name, k) for k, name in enumerate(rows["ids"])),
        joints={part: rows["values/mpjpe" + ("" if part == "body" else f"_{part}")] for part in parts},
        vertices={part: rows["values/pve"][:, k] for k, part in enumerate(parts)},
        missed=rows["failed"],
        unanswered=rows["unanswered"],
        kid=rows["kid"],
        occlusion=rows["occlusion"],
        false_positives=false_positives,
    )
    missed, literal = int(errors.missed.sum()), about["protocol"]["content"]["agora"]["literal"]
    scores = tuple(_score_rows(errors, rows["tracks"], literal=literal))
    result = Result(**about, n_evaluated=len(rows["ids"]) - missed, n_failed=missed, scores=scores, device=device, dtype=dtype)
    run.finish(rows, result)
    return result


def _score_rows(errors: AgoraErrors, tracks: np.ndarray, *, literal: bool) -> Iterator[dict[str, Any]]:
    """The rows of a result: the body of everybody, of kids and of the bins of occlusion, then the same of the other parts."""
    groups = agora_scores(errors, literal=literal)
    for name, group in groups.items():
        yield from _group_rows(errors, group, "body", _split(name), tracks, literal)
    if _FULL_BODY in groups["all"].mpjpe_mm:
        for part in (_FULL_BODY, *errors.joints):
            for name, group in groups.items():
                if part != "body" or not name.startswith("occlusion"):
                    yield from _group_rows(errors, group, part, _split(name, part), tracks, literal)


def _split(group: str, part: str | None = None) -> str:
    """The name of a group, of one of its parts where there are several, as results have it, kind and label: "age:kid",
    "occlusion:0-10", "part:left hand", "part of kids:face", "occlusion (full body):0-10"; "all" is whole."""
    if part is None:
        return {"all": "all", "kid": "age:kid"}.get(group, group.replace("-", ":", 1))
    title = part.replace("_", " ")
    return {"all": f"part:{title}", "kid": f"part of kids:{title}"}.get(group, group.replace("-", f" ({title}):", 1))


def _group_rows(
    errors: AgoraErrors, group: AgoraScores, part: str, split: str, tracks: np.ndarray, literal: bool
) -> Iterator[dict[str, Any]]:
    """MPJPE and MVE ("pve") of one part of a group of people as rows of a result, with what AGORA tells of the group beside each.

    ``low`` and ``high`` are of the mean over the people who enter it, without the rounding of ``value``; literally, the full body has
    none, since its hands and face are means over other people than its body. ``normalised`` is NMJE or NMVE, of body and full body.
    """
    for key, means, normalised in (("mpjpe", group.mpjpe_mm, group.nmje_mm), ("pve", group.mve_mm, group.nmve_mm)):
        table = _entering(errors, key, part, literal)[group.inside]
        measured = ~np.isnan(table)
        low = high = None
        if not (literal and part == _FULL_BODY):
            sums = np.where(measured, table, 0.0).sum(1)
            _, low, high = mean_and_interval(sums, measured.sum(1), tracks[group.inside], "pooled")
        row = {
            "metric": key,
            "split": split,
            "unit": "mm",
            "value": _number(means[part]),
            "low": None if low is None else 1000 * low,
            "high": None if high is None else 1000 * high,
            "count": int(measured.any(1).sum()),
            "values": int(measured.sum()),
            "people": group.people,
            "missed": group.misses,
            "false_positives": group.false_positives,
            "normalised": _number(normalised.get(part, np.nan)),
        }
        yield row | {name: _number(getattr(group, name)) for name in ("precision", "recall", "f1")}


def _entering(errors: AgoraErrors, key: str, part: str, literal: bool) -> np.ndarray:
    """(N, K) m: what enters the mean of a part, NaN for nothing. Literally, hands and face of the missed enter as 0 where their image has
    predictions; of the full body, what is there of those who were found."""
    tables = errors.joints if key == "mpjpe" else {name: values[:, None] for name, values in errors.vertices.items()}
    if part == _FULL_BODY:
        each = {name: table.mean(1) for name, table in tables.items()}
        return (each["body"] + (each["left_hand"] + each["right_hand"] + each["face"]) / 3)[:, None]
    if part == "body" or not literal:
        return tables[part]
    return np.where((errors.missed & ~errors.unanswered)[:, None], 0.0, tables[part])


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
