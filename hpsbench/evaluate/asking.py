"""From people to what a model answers for them: one batch on its device, one call, one check of what came back."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hpsbench.errors import PredictionError
from hpsbench.evaluate.people import Person, view_batch
from hpsbench.models.base import Model
from hpsbench.types import Prediction, ViewBatch


@dataclass(frozen=True)
class Asked:
    """People of a batch, the places of those ``shown`` to the model, and these as it gets them; None: nobody is shown."""

    people: Sequence[Person]
    shown: Sequence[int]
    batch: ViewBatch | None


@dataclass(frozen=True)
class Answered(Asked):
    """And what it answered; None: it was not asked."""

    prediction: Prediction | None

    @property
    def shown_people(self) -> list[Person]:
        return [self.people[place] for place in self.shown]


def asked(people: Sequence[Person], device: torch.device) -> Asked:
    """The batch of those people whose case is possible, on the device."""
    shown = [place for place, person in enumerate(people) if not person.skipped]
    return Asked(people, shown, view_batch([people[place] for place in shown], device) if shown else None)


def answered(model: Model, asked: Asked) -> Answered:
    """The model's answer, one for each person who was shown.

    Raises PredictionError where it is none; to what else a model raises a note is added that names the people.
    """
    if asked.batch is None:
        return Answered(asked.people, asked.shown, None, None)
    try:
        prediction = model.predict(asked.batch)
    except Exception as error:
        ids = asked.batch.ids
        error.add_note(f"{model.card.name} was asked for {len(ids)} people, '{ids[0]}' to '{ids[-1]}'.")
        raise
    _check(model.card.name, prediction, len(asked.shown))
    return Answered(asked.people, asked.shown, asked.batch, prediction)


def _check(name: str, prediction: object, count: int) -> None:
    if not isinstance(prediction, Prediction):
        raise PredictionError(f"{name} answered with a {type(prediction).__name__}, expected hpsbench.types.Prediction. Mend predict().")
    if len(prediction.failed) != count:
        raise PredictionError(f"{name} gave {len(prediction.failed)} answers for {count} people; expected one each.")
