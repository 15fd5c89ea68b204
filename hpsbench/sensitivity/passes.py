"""The engine: full batches of occluded crops across people, the model, errors on the device, and back to each person's rows."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hpsbench.errors import PredictionError
from hpsbench.models.base import STAGES, Model
from hpsbench.models.base_joint_stage import hidden_by_name
from hpsbench.sensitivity.cost import Cost
from hpsbench.sensitivity.covers import CLEAN, paint
from hpsbench.sensitivity.people import Subject
from hpsbench.sensitivity.scoring import FieldScorer, Measured
from hpsbench.skeleton import joint_names
from hpsbench.types import Prediction, ViewBatch, view_id_of


@dataclass
class Found:
    """What is known of one person so far. The last row of each array is that of the clean crop.

    ``errors`` (P + 1, M, J) float32 mm, NaN: not measured; ``failed`` and ``visited`` (P + 1,) bool; ``confidence`` (P + 1, J) float32,
    None where the model gives none; ``stages`` (P + 1, S, J) float32 mm of the first metric, None where no stages are asked for.
    """

    subject: Subject
    errors: np.ndarray
    failed: np.ndarray
    visited: np.ndarray
    confidence: np.ndarray | None = None
    stages: np.ndarray | None = None

    @classmethod
    def nothing(cls, subject: Subject, metrics: int, joints: int) -> "Found":
        """Of somebody whom the model was not asked for yet."""
        rows = len(subject.skipped) + 1
        return cls(subject, np.full((rows, metrics, joints), np.nan, dtype=np.float32), np.zeros(rows, bool), np.zeros(rows, bool))

    @property
    def possible(self) -> np.ndarray:
        """The positions that are possible for this person."""
        return np.flatnonzero([not reason for reason in self.subject.skipped])

    def put(self, positions: Sequence[int], errors: np.ndarray, failed: np.ndarray, **more: np.ndarray) -> None:
        """Take in what was measured at some positions, CLEAN among them; ``more``: "confidence", "stages"."""
        self.errors[positions], self.failed[positions], self.visited[positions] = errors, failed, True
        for name, values in more.items():
            if getattr(self, name) is None:
                setattr(self, name, np.full((len(self.failed), *values.shape[1:]), np.nan, dtype=np.float32))
            getattr(self, name)[positions] = values


# Which positions to ask for next, by what is known of a person; none: that was all. CLEAN is the crop as it is.
Ask = Callable[[Found], Sequence[int]]


def everything(found: Found) -> Sequence[int]:
    """Every position that is possible, and the clean crop."""
    return () if found.visited.any() else [*found.possible.tolist(), CLEAN]


@dataclass
class _Held:
    """A person in hand: ``crop`` (1, 3, S, S) uint8 and the rest of the view and the truth's joints on the device; ``waiting`` positions
    are asked for."""

    found: Found
    crop: Tensor | None
    square: Tensor
    intrinsics: Tensor
    truth: Tensor
    waiting: int = 0


class _Flying(NamedTuple):
    """A batch whose answers the device may still be working on: the people of its rows, and their positions."""

    rows: list[tuple[_Held, list[int]]]
    measured: Measured
    stages: Tensor | None


@dataclass
class Passes:
    """People in, people with their errors out, in batches of ``batch_size`` passes whatever the number of positions.

    At most ``most_held`` people are in hand at once. ``way``: what of the model is asked (see ``Way``); ``bare``: the model that is timed
    alone. ``deviation``: what its answers are compared with now and then. On a GPU a batch is collected after the next one was started.
    """

    model: Model
    bare: Model
    scorer: FieldScorer
    device: torch.device
    cases: Sequence[str]
    batch_size: int
    most_held: int
    ask: Ask
    cost: Cost
    way: "Way"
    deviation: "Deviation | None" = None
    _queue: deque[tuple[_Held, list[int]]] = field(default_factory=deque)
    _held: int = 0
    _bare: ViewBatch | None = None

    def run(self, subjects: Iterator[Subject]) -> Iterator[Found]:
        """Each person, as soon as nothing more is to be asked. Raises PredictionError for answers that cannot be scored."""
        self.cost.start()
        flying: _Flying | None = None
        while True:
            while self._ready < self.batch_size and self._held < self.most_held and (subject := next(subjects, None)) is not None:
                self._hold(subject)
            if not self._ready and flying is None:
                break
            started = self._start(self._taken()) if self._ready else None
            if flying is not None:
                yield from self._land(flying)
            if started is not None and self.device.type != "cuda":
                yield from self._land(started)
                started = None
            flying = started
        if self._bare is not None:
            self._time_bare(self._bare)

    @property
    def _ready(self) -> int:
        """How many passes could be made now."""
        return sum(len(positions) for _, positions in self._queue)

    def _hold(self, subject: Subject) -> None:
        found = Found.nothing(replace(subject, crop=None), len(self.scorer.metrics), len(self.scorer.names))
        positions = list(self.ask(found))
        crop = None
        if subject.crop is not None:
            crop = torch.from_numpy(subject.crop).to(self.device).permute(2, 0, 1)[None].contiguous()
        tensors = (torch.from_numpy(array.astype(np.float32)).to(self.device) for array in (subject.square_xyxy, subject.intrinsics))
        held = _Held(found, crop, *tensors, self.scorer.truth(subject.truth), len(positions))
        self._held += 1
        self._queue.append((held, positions))

    def _taken(self) -> list[tuple[_Held, list[int]]]:
        """A batch off the queue."""
        rows, left = [], self.batch_size
        while left and self._queue:
            held, positions = self._queue.popleft()
            rows.append((held, positions[:left]))
            if len(positions) > left:
                self._queue.appendleft((held, positions[left:]))
            left -= len(rows[-1][1])
        return rows

    def _start(self, rows: list[tuple[_Held, list[int]]]) -> _Flying:
        """Paint a batch and ask the model; nothing waits for the device, but where the model is timed by itself."""
        clean = self._batch(rows)
        if self.cost.wants_bare:
            self._time_bare(_repeated(clean, self.batch_size))
        self._bare = None if self.cost.bare_crops else _repeated(clean, self.batch_size)
        batch = clean
        if clean.crops is not None:
            crops = clean.crops.clone() if self.way.needs_clean else clean.crops
            batch = replace(clean, crops=paint(crops, [(held.found.subject.cover, positions) for held, positions in rows]))
        truths = torch.cat([held.truth.expand(len(positions), *held.truth.shape) for held, positions in rows])
        prediction, staged = self.way.ask(self.model, clean, batch, [(held.found.subject, positions) for held, positions in rows])
        measured, stages = self.scorer.measure_joints(prediction, truths), None
        if staged:
            stages = torch.stack([self.scorer.measure_joints(answer, truths).errors[:, 0] for answer in staged], dim=1)
        if self.deviation is not None:
            self.cost.aside(lambda: self.deviation.look(batch, truths, measured))
        return _Flying(rows, measured, stages)

    def _batch(self, rows: list[tuple[_Held, list[int]]]) -> ViewBatch:
        """The views of some rows, crops as they are."""
        ids = [view_id_of(held.found.subject.id, "" if p == CLEAN else self.cases[p]) for held, positions in rows for p in positions]

        def repeated(name: str) -> Tensor:
            return torch.cat([getattr(held, name).expand(len(p), *getattr(held, name).shape[name == "crop" :]) for held, p in rows])

        return ViewBatch(tuple(ids), None if rows[0][0].crop is None else repeated("crop"), repeated("square"), repeated("intrinsics"))

    def _time_bare(self, batch: ViewBatch) -> None:
        self.cost.time_bare(lambda: self.bare.predict(batch), len(batch))

    def _land(self, flying: _Flying) -> Iterator[Found]:
        """Hand out what a batch brought; people with nothing left to ask are done."""
        measured, start = flying.measured, 0
        errors, failed = measured.errors.float().cpu().numpy(), measured.failed.cpu().numpy()
        found = {"confidence": measured.confidence, "stages": flying.stages}
        more = {name: value.float().cpu().numpy() for name, value in found.items() if value is not None}
        self._check(errors, failed)
        self.cost.add(len(failed))
        for held, positions in flying.rows:
            some = slice(start, start + len(positions))
            held.found.put(positions, errors[some], failed[some], **{name: values[some] for name, values in more.items()})
            held.waiting -= len(positions)
            start = some.stop
            if not held.waiting:
                yield from self._go_on(held)

    def _go_on(self, held: _Held) -> Iterator[Found]:
        positions = list(self.ask(held.found))
        held.waiting = len(positions)
        if positions:
            self._queue.append((held, positions))
            return
        self._held -= 1
        self.cost.people += 1
        yield held.found

    def _check(self, errors: np.ndarray, failed: np.ndarray) -> None:
        """Raises PredictionError where the model answers and nothing of it can be scored."""
        if not failed.all() and np.isnan(errors[~failed]).all():
            rule = self.scorer.rule
            raise PredictionError(
                f"{self.model.card.name} gives nothing that can be scored: the protocol measures {', '.join(self.scorer.metrics)} on "
                f"{rule.joints} out of {rule.regressor}. Give rotmats and betas, or joints of '{rule.regressor}'."
            )


@dataclass(frozen=True)
class Way:
    """What of a model is asked: its plain answer, by ``slide`` where it can leave out what a patch does not reach (``slid``), or by
    ``stages``, with other joints given to its IK stage (``staged``)."""

    slid: bool = False
    staged: bool = False

    @property
    def needs_clean(self) -> bool:
        """Whether the model looks at the crops as they are, too."""
        return self.slid or self.staged

    def ask(
        self, model: Model, clean: ViewBatch, batch: ViewBatch, rows: Sequence[tuple[Subject, Sequence[int]]]
    ) -> tuple[Prediction, list[Prediction]]:
        """(the answer, those of each of STAGES where they are asked for). Raises PredictionError where it is none."""
        if self.staged:
            found = model.stages(clean, batch, _hidden_of(rows, model.joint_stage).to(batch.squares_xyxy.device))
            answers = [_checked(found[stage], model, batch) for stage in STAGES]
            return answers[STAGES.index("image")], answers
        return _checked(model.slide(clean, batch) if self.slid else model.predict(batch), model, batch), []


def _hidden_of(rows: Sequence[tuple[Subject, Sequence[int]]], skeleton: str) -> Tensor:
    """(B, K) bool: which joints of a skeleton are hidden in each row; none in a clean crop."""
    parts = []
    for subject, positions in rows:
        places = np.asarray(positions)
        hidden = subject.hidden_joints[places] & (places != CLEAN)[:, None]
        parts.append(hidden_by_name(torch.from_numpy(hidden), joint_names(subject.truth.skeleton), skeleton))
    return torch.cat(parts)


def _checked(prediction: Prediction, model: Model, batch: ViewBatch) -> Prediction:
    """An answer. Raises PredictionError where it is none, or one of other people."""
    if not isinstance(prediction, Prediction):
        raise PredictionError(
            f"{model.card.name} answered with a {type(prediction).__name__}, expected hpsbench.types.Prediction. Mend predict()."
        )
    if len(prediction.failed) != len(batch):
        raise PredictionError(f"{model.card.name} gave {len(prediction.failed)} answers for {len(batch)} people; expected one each.")
    return prediction


def _repeated(batch: ViewBatch, count: int) -> ViewBatch:
    """A batch of ``count`` rows: these, and from the first on again where they do not suffice. Crops are copied."""
    rows = [row % len(batch) for row in range(count)]
    crops = None if batch.crops is None else batch.crops[rows]
    return ViewBatch(tuple(batch.ids[row] for row in rows), crops, batch.squares_xyxy[rows], batch.intrinsics[rows])


@dataclass
class Deviation:
    """How far a model in another dtype is from the ``exact`` one, on some batches of the run: mm, scored joints relative to the root."""

    exact: Model
    scorer: FieldScorer
    passes: int = 0
    joints: int = 0
    total: float = 0.0
    largest: float = 0.0
    largest_error: float = 0.0
    _seen: int = 0

    _MOST = 8

    def look(self, batch: ViewBatch, truths: Tensor, measured: Measured) -> None:
        """Ask the exact model too, at the batches 1, 2, 4, 8 and so on, eight of them."""
        self._seen += 1
        if self._seen & (self._seen - 1) or self._seen >= 2**self._MOST:
            return
        other = self.scorer.measure_joints(_checked(self.exact.predict(batch), self.exact, batch), truths)
        apart = torch.linalg.vector_norm(measured.joints - other.joints, dim=-1)
        known = apart[apart.isfinite()]
        self.passes += len(batch)
        self.joints += known.numel()
        self.total += float(known.sum())
        self.largest = max(self.largest, float(known.max()) if known.numel() else 0.0)
        errors = (measured.errors - other.errors).abs()
        self.largest_error = max(self.largest_error, float(errors.nan_to_num(0.0).max()))

    def told(self) -> dict[str, float | int | None]:
        """As result.json has it."""
        mean = self.total / self.joints if self.joints else None
        return {"passes": self.passes, "mean_mm": mean, "largest_mm": self.largest, "largest_error_mm": self.largest_error}
