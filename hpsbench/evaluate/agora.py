"""AGORA's own scores: the vertices that they measure on, and their rows in a result.

The scores themselves are those of ``metrics.agora``; ``detections`` makes them of a folder of prediction files, ``boxes`` of a model that
is given the boxes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.body.bodies import Bodies
from hpsbench.errors import BodyError, DataError
from hpsbench.evaluate.rows import Rows
from hpsbench.evaluate.run import RunFolder
from hpsbench.metrics.agora import AgoraErrors, AgoraScores, agora_scores
from hpsbench.metrics.summary import mean_and_interval
from hpsbench.protocol import AgoraRule, Protocol, sha256_of_content
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.store import sha256_of_bytes
from hpsbench.types import Result

VERTEX_FILE = "body_verts_smpl.npy"
VERTICES, _BODY_VERTICES = 6890, 4010
# The joints whose vertices the rule "skinning" leaves out: AGORA's list too is the body without head and hands.
_NOT_BODY = ("head", "left_wrist", "right_wrist", "left_hand", "right_hand")
# The names of the columns of the rows.
COLUMNS = {"mpjpe": JOINT_NAMES["smpl24"], "pve": ("body",), "hidden": JOINT_NAMES["smpl24"]}


@dataclass(frozen=True)
class BodyVertices:
    """The vertices that MVE is measured on: their numbers ``ids`` (n,), and where these come from."""

    ids: np.ndarray
    origin: str

    @property
    def sha256(self) -> str:
        return sha256_of_bytes(np.ascontiguousarray(self.ids, dtype="<u4").tobytes())


def body_vertices(rule: AgoraRule, root: Path, bodies: Bodies | None) -> BodyVertices:
    """The vertices of a rule: AGORA's list, out of its folder ``root`` or that of the bodies, or by the neutral body's skinning weights.

    ``bodies`` may be None where the rule is "file". Raises DataError where the list is nowhere or is not AGORA's, BodyError for bodies of
    another mesh than SMPL's, or where there are none and the rule needs them.
    """
    if bodies is not None and bodies.neutral.n_vertices != VERTICES:
        raise BodyError(
            f"The bodies in {bodies.folder} have {bodies.neutral.n_vertices} vertices, expected SMPL's {VERTICES}, which AGORA's meshes "
            "have. Name the folder of SMPL."
        )
    if rule.vertices == "skinning" and bodies is None:
        raise BodyError("MVE is to be over vertices by skinning weights, but no bodies are given. Give those of SMPL.")
    if rule.vertices == "skinning":
        joint = bodies.neutral.weights.argmax(1).cpu().numpy()
        left_out = [JOINT_NAMES["smpl24"].index(name) for name in _NOT_BODY]
        return BodyVertices(np.flatnonzero(~np.isin(joint, left_out)), f"skinning weights of {bodies.name}, without {', '.join(_NOT_BODY)}")
    folders = [root, root / "utils", *([] if bodies is None else [bodies.folder, bodies.folder / "smpl"])]
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
    if not whole or ids.min() < 0 or ids.max() >= VERTICES:
        raise DataError(
            f"{path} holds {ids.dtype} of shape {ids.shape}, expected {_BODY_VERTICES} different whole numbers from 0 to {VERTICES - 1}. "
            "Take the file from AGORA's evaluation code again."
        )
    return ids.astype(np.int64)


def agora_protocol(protocol: Protocol, vertices: BodyVertices, answers: str) -> dict[str, Any]:
    """A result's "protocol": whose ``answers`` were scored and on which vertices enters its content and hash, so that no table puts
    different ones into one column."""
    of_vertices = {"vertices_from": vertices.origin, "vertices_number": len(vertices.ids), "vertices_sha256": vertices.sha256}
    content = protocol.content | {"agora": protocol.content["agora"] | {"answers": answers} | of_vertices}
    return {"id": protocol.id, "sha256": sha256_of_content(content), "content": content}


def finish_run(run: RunFolder, about: Mapping[str, Any], rows: Rows, false_positives: int, *, device: str, dtype: str) -> Result:
    """The result of all ``rows``, whose known part is ``about``, written with them."""
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
    scores = agora_scores(errors, literal=about["protocol"]["content"]["agora"]["literal"])
    score_rows = tuple(row for name, group in scores.items() for row in _score_rows(_split(name), group, rows))
    result = Result(**about, n_evaluated=len(rows["ids"]) - missed, n_failed=missed, scores=score_rows, device=device, dtype=dtype)
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
