"""What a model answers for people, as rows of the table: predicted, checked, scored, and failures replaced as the protocol says."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from hpsbench.body.bodies import Bodies
from hpsbench.errors import PredictionError
from hpsbench.evaluate.asking import Answered, answered, asked
from hpsbench.evaluate.people import Person
from hpsbench.evaluate.rows import Rows
from hpsbench.evaluate.scoring import Scorer, failed_people, part_of
from hpsbench.evaluate.stopwatch import Watch, untimed
from hpsbench.metrics import METRICS
from hpsbench.models.base import Model, load_model
from hpsbench.types import Prediction, ViewBatch

_SHOWN_IDS = 5


class Answers:
    """A model and a scorer: people in, rows out. ``on_failure``: "mean-pose", "nan" or "error". ``watch`` counts "metrics", and "model"
    for the answers of the mean pose."""

    def __init__(self, model: Model, scorer: Scorer, bodies: Bodies, on_failure: str, device: torch.device, *, watch: Watch = untimed):
        self.model, self.scorer, self.bodies = model, scorer, bodies
        self.on_failure, self.device, self.watch = on_failure, device, watch

    @cached_property
    def fallback(self) -> Model:
        """The model that always answers the mean pose."""
        return load_model("mean-pose", weights=(), bodies=self.bodies, device=self.device)

    def rows(self, people: Sequence[Person]) -> Rows:
        """A row per person, in their order; one whose case is not possible is not shown to the model, and measured as nothing.

        Raises PredictionError for answers that cannot be scored.
        """
        return self.scored(answered(self.model, asked(people, self.device)))

    def scored(self, given: Answered) -> Rows:
        """``rows`` of people whom the model has been asked for."""
        with self.watch("metrics"):
            return self._scored(given)

    def _scored(self, given: Answered) -> Rows:
        people = given.people
        failed, measured = np.zeros(len(people), dtype=bool), self._nothing(len(people))
        if given.prediction is not None:
            failed[given.shown] = failed_people(given.prediction).cpu().numpy()
            answers = self._measured(given.shown_people, given.batch, given.prediction, failed[given.shown])
            for key, some in answers.items():
                measured[key][given.shown] = some
        rows: Rows = {
            "ids": np.array([person.id for person in people], dtype=object),
            "tracks": np.array([person.track for person in people], dtype=object),
            "frames": np.array([person.frame for person in people], dtype=np.int64),
            "failed": failed,
            "coverage": np.array([person.hidden.coverage for person in people], dtype=np.float64),
            "occluded": np.stack([person.hidden.occluded for person in people]).astype(bool),
            "outside": np.stack([person.hidden.outside for person in people]).astype(bool),
        }
        if any(person.case for person in people):
            rows["cases"] = np.array([person.case for person in people], dtype=object)
            rows["skipped"] = np.array([person.skipped for person in people], dtype=object)
        return rows | measured

    def _nothing(self, count: int) -> Rows:
        return {key: np.full((count, *shape), np.nan) for key, shape in self.scorer.shapes.items()}

    def _measured(self, people: Sequence[Person], batch: ViewBatch, prediction: Prediction, failed: np.ndarray) -> Rows:
        """What was measured of each of these people, of whom those ``failed`` (N,) have no valid answer."""
        values = self._nothing(len(people))
        good, bad = np.flatnonzero(~failed), np.flatnonzero(failed)
        self._fill(values, good, people, part_of(prediction, good.tolist()))
        if len(good) and all(np.isnan(values[key][good]).all() for key in values if key != "joints/gt"):
            raise PredictionError(_unscorable(self.model.card.name, prediction, self.scorer))
        if len(bad) and self.on_failure == "error":
            names = ", ".join(people[row].id for row in bad[:_SHOWN_IDS]) + (", ..." if len(bad) > _SHOWN_IDS else "")
            raise PredictionError(
                f"{self.model.card.name} has no valid answer (NaN, beyond a million, or marked as failed) for {len(bad)} of {len(people)} "
                f"people: {names}. The protocol expects one for each: mend the model, or use a protocol that counts failures."
            )
        if len(bad) and self.on_failure == "mean-pose":
            some = bad.tolist()
            with self.watch("model"):
                instead = self.fallback.predict(_part_of_batch(batch, some))
            self._fill(values, bad, people, instead)
            for key in self.scorer.shapes:
                metric = METRICS.get(key.partition("/")[2])
                if metric is not None and not _gives(prediction, metric.needs):
                    values[key][bad] = np.nan
        return values

    def _fill(self, values: Rows, places: np.ndarray, people: Sequence[Person], prediction: Prediction) -> None:
        if len(places):
            for key, some in self.scorer.measure(prediction, [people[place].truth for place in places]).items():
                values[key][places] = some


def _gives(prediction: Prediction, need: str) -> bool:
    """Whether the model's answers hold what a metric needs."""
    if need == "rotations":
        return prediction.rotmats is not None
    return need != "mesh" or prediction.rotmats is not None or prediction.vertices is not None


def _part_of_batch(batch: ViewBatch, rows: list[int]) -> ViewBatch:
    crops = None if batch.crops is None else batch.crops[rows]
    return ViewBatch(tuple(batch.ids[row] for row in rows), crops, batch.squares_xyxy[rows], batch.intrinsics[rows])


def _unscorable(name: str, prediction: Prediction, scorer: Scorer) -> str:
    gives = prediction.skeleton or ("rotmats and betas" if prediction.rotmats is not None else "vertices alone")
    rule = scorer.rule
    return (
        f"{name} gives {gives}, of which nothing can be scored: the protocol measures {', '.join(rule.metrics)} on {rule.joints} out of "
        f"{rule.regressor}. Give rotmats and betas, or joints of '{rule.regressor}'."
    )
