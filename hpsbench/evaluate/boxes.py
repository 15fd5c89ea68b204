"""AGORA's scores of an ordinary model, which is given the box of each person and answers each: it finds whom it does not fail on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
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
from hpsbench.evaluate.asking import Answered
from hpsbench.evaluate.overlap import Road
from hpsbench.evaluate.people import FrameReader, Person, person_batches
from hpsbench.evaluate.rows import Rows, check_each_once, joined
from hpsbench.evaluate.run import RunFolder
from hpsbench.evaluate.stopwatch import Watch
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
    road: Road,
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
    scorer = _Scorer(bodies, protocol.score, vertices.ids["body"], road.device, watch=road.scoring)
    answers = Answers(model, scorer, bodies, protocol.score.on_failure, road.device, watch=road.scoring)
    with road:
        for targets in _targets(dataset, left, vertices.ids["body"]):
            frames = _frames(dataset, {left[name] for name in targets})
            reader = FrameReader(dataset, frames, protocol, model.crop, None, watch=road.reader_watch)
            people = _with_targets(person_batches(reader, batch_size, workers, road.told), targets)
            with road.answers(model, people) as batches:
                parts.append(joined([_rows(answers, given, targets) for given in batches]))
            with road.scoring("write"):
                run.add(parts[-1])
            if progress is not None:
                progress(sum(len(part["ids"]) for part in parts), len(ids))
        with road.scoring("metrics"):
            rows = joined(parts)
            check_each_once(rows, ids, out)
        how = {"device": device_name(road.device), "dtype": str(bodies.dtype).removeprefix("torch.")}
        with road.scoring("write"):
            return finish_run(run, about, rows, dataset.model, 0, **how)


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


def _with_targets(batches: Iterator[list[Person]], targets: Mapping[str, _Target]) -> Iterator[list[Person]]:
    """The same people, each with the target as the truth."""
    with closing(batches):
        for people in batches:
            yield [replace(person, truth=targets[person.id]) for person in people]


def _rows(answers: Answers, given: Answered, targets: Mapping[str, _Target]) -> Rows:
    """The rows of a batch: its answers against the targets, and what AGORA tells of each person."""
    rows, own = answers.scored(given), [targets[person.id] for person in given.people]
    rows |= {"occlusion": np.array([target.occlusion for target in own]), "kid": np.array([target.kid for target in own], dtype=bool)}
    return rows | {"unanswered": np.zeros(len(own), dtype=bool)}


class _Scorer:
    """What ``Answers`` takes for a Scorer: AGORA's errors of the body against ``_Target``s, in float64, so that no number depends on the
    batch."""

    shapes: ClassVar[Mapping[str, tuple[int, ...]]] = {"values/mpjpe": (_JOINTS,), "values/pve": (1,)}

    def __init__(self, bodies: Bodies, rule: ScoreRule, vertices: np.ndarray, device: torch.device, *, watch: Watch):
        self.bodies, self.rule, self.watch = bodies.to(device, torch.float64), rule, watch
        self.vertices = torch.from_numpy(vertices).to(device)

    def measure(self, prediction: Prediction, targets: Sequence[_Target]) -> Rows:
        """{"values/mpjpe": (B, 24), "values/pve": (B, 1)} m; NaN for a mesh that the model does not give."""
        (body,) = parts_of("smpl")
        with self.watch("body"):
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
