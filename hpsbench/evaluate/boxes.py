"""AGORA's scores of an ordinary model, which is given the box of each person and answers each: it finds whom it does not fail on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.agora import Agora
from hpsbench.datasets.base_agora_tables import AgoraPeople
from hpsbench.errors import DataError, PredictionError, ProtocolError
from hpsbench.evaluate.about import device_name, identity_of
from hpsbench.evaluate.agora import agora_columns, agora_protocol, check_one_case, finish_run
from hpsbench.evaluate.agora_vertices import body_vertices
from hpsbench.evaluate.answers import Answers
from hpsbench.evaluate.people import FrameReader, Person, person_batches
from hpsbench.evaluate.rows import Rows, check_each_once, joined
from hpsbench.evaluate.run import RunFolder
from hpsbench.metrics.agora import part_errors, parts_of
from hpsbench.models.base import Model
from hpsbench.protocol import Protocol, ScoreRule
from hpsbench.types import Prediction, Result

_PEOPLE_KEPT = 1024
_JOINTS = 24
_ANSWERS = "one for each box of the ground truth; who gets none is missed, and nobody is a false positive"


def score_boxes(
    model: Model,
    protocol: Protocol,
    dataset: Agora,
    bodies: Bodies,
    out: Path,
    *,
    ids: Sequence[str],
    about: Mapping[str, Any],
    where: torch.device,
    batch_size: int,
    workers: int,
    resume: bool,
    progress: Callable[[int, int], None] | None,
) -> Result:
    """AGORA's scores of a model that is given the box of each evaluated person: a failure is a miss, and nobody is a false positive.

    All as ``evaluate`` has it, which calls this; ``ids`` are the samples and ``about`` the known part of the result. Only people with an
    image and a box can be asked for: ``frames`` of the result counts the others. Raises DataError for another dataset than AGORA with
    SMPL's fits, ProtocolError for a protocol of SMPL-X's scores or of several cases.
    """
    check_one_case(protocol)
    if "smplx" in protocol.score.joints:
        raise ProtocolError(
            f"Protocol '{protocol.id}' scores SMPL-X's meshes, hands and faces, with which no model answers that is given boxes. Give a "
            "folder of AGORA's prediction files (--model predictions:DIR), or take a protocol of SMPL's scores: agora-validation."
        )
    if not isinstance(dataset, Agora) or dataset.model != "smpl":
        raise DataError(
            f"Protocol '{protocol.id}' has AGORA's scores, but the dataset is '{dataset.name}'. Expected AGORA with SMPL's fits ('agora' "
            "or 'agora-4k'): open that, or take a protocol without a table [agora]."
        )
    vertices = body_vertices(protocol.agora, dataset.model, dataset.root, bodies)
    about = {**about, "protocol": agora_protocol(protocol, vertices, _ANSWERS)}
    run = RunFolder(out, identity_of(about, ids, getattr(model, "code_sha256", "")), agora_columns(dataset.model), resume=resume)
    if (before := run.finished()) is not None:
        return before
    parts = run.done()
    done = {name for part in parts for name in part["ids"]}
    left = {name: dataset.index_of(name) for name in ids if name not in done}
    answers = Answers(model, _Scorer(bodies, protocol.score, vertices.ids["body"], where), bodies, protocol.score.on_failure, where)
    for targets in _targets(dataset, left, vertices.ids["body"]):
        reader = FrameReader(dataset, _frames(dataset, {left[name] for name in targets}), protocol, model.crop, None)
        with torch.inference_mode():
            parts.append(joined([_rows(answers, people, targets) for people in person_batches(reader, batch_size, workers)]))
        run.add(parts[-1])
        if progress is not None:
            progress(sum(len(part["ids"]) for part in parts), len(ids))
    rows = joined(parts)
    check_each_once(rows, ids, out)
    return finish_run(run, about, rows, dataset.model, 0, device=device_name(where), dtype=str(bodies.dtype).removeprefix("torch."))


@dataclass(frozen=True)
class _Target:
    """What one person is scored against: ``joints`` (24, 3) and the chosen ``vertices`` (n, 3) m as annotated; occlusion in percent."""

    joints: np.ndarray
    vertices: np.ndarray
    occlusion: float
    kid: bool


def _targets(dataset: Agora, places: Mapping[str, int], vertices: np.ndarray) -> Iterator[dict[str, _Target]]:
    """The targets of the samples ``places`` by id, about a thousand people at a time, in the order of the tables."""
    told = {name: dataset.person(i) for name, i in places.items()}
    id_of = {(about["image"], about["person"]): name for name, about in told.items()}
    some: dict[str, _Target] = {}
    for people in dataset.annotations():
        for k in range(len(people.kid)):
            if (people.image, k) in id_of:
                some[id_of[people.image, k]] = _target(people, k, vertices)
        if len(some) >= _PEOPLE_KEPT:
            yield some
            some = {}
    if some:
        yield some


def _target(people: AgoraPeople, k: int, vertices: np.ndarray) -> _Target:
    mesh = people.vertices[k][vertices].astype(np.float64)
    return _Target(people.joints[k, :_JOINTS].copy(), mesh, float(people.occlusion[k]), bool(people.kid[k]))


def _frames(dataset: Agora, places: set[int]) -> list[list[int]]:
    return [rest for frame in dataset.frames() if (rest := [i for i in frame if i in places])]


def _rows(answers: Answers, people: Sequence[Person], targets: Mapping[str, _Target]) -> Rows:
    """The rows of a batch: its answers against the targets, and what AGORA tells of each person."""
    own = [targets[person.id] for person in people]
    rows = answers.rows([replace(person, truth=target) for person, target in zip(people, own, strict=True)])
    rows |= {"occlusion": np.array([target.occlusion for target in own]), "kid": np.array([target.kid for target in own], dtype=bool)}
    return rows | {"unanswered": np.zeros(len(own), dtype=bool)}


class _Scorer:
    """What ``Answers`` takes for a Scorer: AGORA's errors of the body against ``_Target``s, in float64, so that no number depends on the
    batch."""

    shapes: ClassVar[Mapping[str, tuple[int, ...]]] = {"values/mpjpe": (_JOINTS,), "values/pve": (1,)}

    def __init__(self, bodies: Bodies, rule: ScoreRule, vertices: np.ndarray, device: torch.device):
        self.bodies, self.rule = bodies.to(device, torch.float64), rule
        self.vertices = torch.from_numpy(vertices).to(device)

    def measure(self, prediction: Prediction, targets: Sequence[_Target]) -> Rows:
        """{"values/mpjpe": (B, 24), "values/pve": (B, 1)} m; NaN for a mesh that the model does not give."""
        (body,) = parts_of("smpl")
        joints, vertices = self._body(prediction)
        meshes = [None] * len(targets) if vertices is None else vertices.cpu().numpy()
        errors = [
            part_errors(body, own, mesh, target.joints, target.vertices)
            for own, mesh, target in zip(joints.cpu().numpy(), meshes, targets, strict=True)
        ]
        return {"values/mpjpe": np.stack([each[0] for each in errors]), "values/pve": np.array([[each[1]] for each in errors])}

    def _body(self, prediction: Prediction) -> tuple[Tensor, Tensor | None]:
        """(joints (B, 24, 3), chosen vertices (B, n, 3) or None) of the answers, those of the neutral body where they hold rotations."""
        if prediction.rotmats is not None:
            return self._posed(prediction)
        if prediction.skeleton not in ("smpl24", "j29"):
            gives = "meshes alone" if prediction.joints is None else f"joints of '{prediction.skeleton}'"
            raise PredictionError(
                f"The answers are {gives}, but AGORA's errors are those of SMPL's joints, relative to its hips. Give rotmats and betas, or "
                "joints of 'smpl24' (with vertices, for MVE)."
            )
        joints = prediction.joints[:, :_JOINTS].double()
        if prediction.vertices is None:
            return joints, None
        expected = self.bodies.neutral.n_vertices
        if prediction.vertices.shape[1] != expected:
            found = prediction.vertices.shape[1]
            raise PredictionError(f"Predicted meshes have {found} vertices, expected the {expected} of SMPL. Give SMPL's meshes.")
        return joints, prediction.vertices[:, self.vertices.to(prediction.vertices.device)].double()

    def _posed(self, prediction: Prediction) -> tuple[Tensor, Tensor]:
        output = self.bodies.neutral(prediction.betas.double(), prediction.rotmats.double(), vertex_ids=self.vertices)
        return output.joints, output.vertices
