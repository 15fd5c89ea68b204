"""Run a model once and keep its answers, in a file that ``predictions:FILE`` scores under every protocol that shows the same views.

The file is HDF5: ``ids`` of views, and what the model gives (``rotmats`` with ``betas`` and ``trans``, or ``joints``, or ``vertices``;
``confidence``), NaN where it failed and for people whose case is not possible; ``squares_xyxy`` (N, 4) px that it was shown; and as
attributes, all text, which model answered which views of which data. Until all are answered, parts of some hundred people lie in a
hidden folder beside it, so that a run that was killed goes on.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from hpsbench import __version__
from hpsbench.body.bodies import Bodies
from hpsbench.body.model import BodyModel
from hpsbench.datasets.base import Dataset
from hpsbench.errors import DataError, PredictionError
from hpsbench.evaluate.asking import Answered
from hpsbench.evaluate.overlap import Road
from hpsbench.evaluate.people import FrameReader, Person, person_batches, still_to_do
from hpsbench.evaluate.stopwatch import Profile, Watch
from hpsbench.models.base import Model, pick_device
from hpsbench.models.base_predictions_parts import PredictionParts, Rows
from hpsbench.models.base_predictions_views import views_of
from hpsbench.occlude import check_for_pixels
from hpsbench.protocol import Protocol
from hpsbench.types import Prediction, view_id_of

__all__ = ["DTYPES", "predict"]

# Joints and translations keep float32 whatever is asked for: at four metres from the camera a step of float16 is 4 mm.
DTYPES = ("float32", "float16")
_HALVED = ("rotmats", "betas", "vertices", "confidence")
_GIVEN = ("rotmats", "betas", "trans", "joints", "vertices", "confidence")
_PART_ROWS = 256
_FORMAT = "1"


def predict(
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
    dtype: str = "float32",
    vertices: bool = False,
    resume: bool = True,
    progress: Callable[[int, int], None] | None = None,
    overlap: bool | None = None,
    profile: Profile | None = None,
) -> dict[str, str]:
    """What the file ``out`` says of itself, once it holds the answers of ``model`` to every view of ``protocol`` on ``dataset``.

    A run that was killed goes on where it was, and a finished one is left as it is; with ``resume`` False it starts over. ``limit`` takes
    the first samples only. ``dtype`` "float16" halves the file, but for joints and translations. ``vertices`` adds those of the neutral
    body where the model gives rotations. ``overlap`` and ``profile`` are those of ``evaluate``. Raises ResultError where ``out`` is
    another file or belongs to another run, PredictionError for answers that are none, ProtocolError for a model of images under a protocol
    that hides nothing from it, and whatever the dataset raises.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected {' or '.join(DTYPES)}, but got '{dtype}'")
    where = pick_device(device)
    if model.crop is not None:
        check_for_pixels(protocol, f"model '{model.card.name}', which takes images")
    if protocol.score.flips == "none" and isinstance(model, Model):
        model = model.without_flips()
    frames, all_ids = _frames(dataset, limit), dataset.ids
    ids = [view_id_of(all_ids[i], case) for frame in frames for i in frame for case in protocol.cases]
    about = _about(model, protocol, dataset, bodies) | {"limit": str(limit or ""), "dtype": dtype, "with_vertices": str(vertices)}
    parts = PredictionParts(Path(out), about, resume=resume)
    if (before := parts.finished()) is not None:
        return before
    done = parts.done()
    road = Road(where, workers=workers, overlap=overlap, profile=profile)
    left, partly = still_to_do(frames, all_ids, protocol.cases, frozenset(done))
    reader = FrameReader(dataset, left, protocol, model.crop, None, partly, bodies, watch=road.reader_watch)
    body, waiting, count = bodies.to(where).neutral if vertices else None, _Waiting(dtype, parts.first()), len(done)
    with road, road.answers(model, person_batches(reader, batch_size, workers, road.told)) as batches:
        for given in batches:
            waiting.add(given.people, _rows_of(given, body, road.scoring))
            count += len(given.people)
            if waiting.full:
                with road.scoring("write"):
                    parts.add(waiting.rows())
            if progress is not None:
                progress(count, len(ids))
        with road.scoring("write"):
            if waiting.ids:
                parts.add(waiting.rows())
            return parts.finish(ids)


def _frames(dataset: Dataset, limit: int | None) -> list[list[int]]:
    if not len(dataset):
        raise DataError(f"{dataset.name}/{dataset.split} has nobody to show: {dataset.counts}. Check the data and the frame rule.")
    end = len(dataset) if limit is None else limit
    return [rest for frame in dataset.frames() if (rest := [i for i in frame if i < end])]


def _about(model: Model, protocol: Protocol, dataset: Dataset, bodies: Bodies) -> dict[str, str]:
    """The attributes of the file that are known beforehand; two runs with the same ones may share it."""
    body = bodies.fingerprint if protocol.needs_silhouette else ""
    return {
        "format": _FORMAT,
        "hpsbench": __version__,
        "model": json.dumps(asdict(model.card), sort_keys=True),
        "weights_sha256": model.weights_sha256,
        "model_code_sha256": getattr(model, "code_sha256", ""),
        "box_scale": str(1.0 if model.crop is None else model.crop.box_scale),
        "protocol": protocol.id,
        "protocol_sha256": protocol.sha256,
        "views": json.dumps(views_of(protocol.content, dataset.family or dataset.name, body), sort_keys=True),
        "dataset": dataset.name,
        "split": dataset.split,
        "fingerprint": dataset.fingerprint,
        "body_fingerprint": bodies.fingerprint,
    }


def _rows_of(given: Answered, body: BodyModel | None, watch: Watch) -> Rows:
    """{array: (n, ...)} of the ``n`` people of a batch who were shown, NaN where the model fails; "skeleton" () of joints. Empty: nobody
    was shown. ``body`` adds its vertices."""
    if given.prediction is None:
        return {}
    with watch("body"):
        answers = _given(given.prediction, body)
    with watch("transfer"):
        rows = {name: tensor.detach().double().cpu().numpy() for name, tensor in answers.items()}
        failed = given.prediction.failed.cpu().numpy()
        squares = given.batch.squares_xyxy.double().cpu().numpy()
    for array in rows.values():
        array[failed] = np.nan
    return rows | {"squares_xyxy": squares} | ({"skeleton": np.array(given.prediction.skeleton, dtype=object)} if "joints" in rows else {})


def _given(prediction: Prediction, body: BodyModel | None) -> dict[str, Tensor]:
    """What is kept of an answer: of rotations neither joints nor other vertices than the ``body``'s are ever scored."""
    given = {name: getattr(prediction, name) for name in _GIVEN if getattr(prediction, name) is not None}
    if "rotmats" not in given:
        return given
    given = {name: tensor for name, tensor in given.items() if name not in ("joints", "vertices")}
    if body is None:
        return given
    return given | {"vertices": body(*(given[name].to(body.v_template) for name in ("betas", "rotmats"))).vertices}


class _Waiting:
    """People and answers that are no part yet. ``first``: rows of an earlier part, which tell what the model gives; None: there is none."""

    def __init__(self, dtype: str, first: Rows | None):
        self._dtype, self._known = dtype, first
        self.ids: list[str] = []
        self._shown: list[bool] = []
        self._answers: list[Rows] = []

    @property
    def full(self) -> bool:
        """Whether these are enough for a part; never, while nobody has told what the model gives."""
        return len(self.ids) >= _PART_ROWS and self._known is not None

    def add(self, people: Sequence[Person], answers: Rows) -> None:
        """Take in people and the answers for those of them who were shown. Raises PredictionError where these are of another kind."""
        self.ids += [person.id for person in people]
        self._shown += [not person.skipped for person in people]
        if answers:
            self._known = answers if self._known is None else self._known
            kinds = [{name: array.shape[1:] for name, array in rows.items() if name != "ids"} for rows in (self._known, answers)]
            if kinds[0] != kinds[1]:
                raise PredictionError(
                    f"The model gave {_told(kinds[0])} at first and {_told(kinds[1])} now. Expected the same for everybody."
                )
            self._answers.append(answers)

    def rows(self) -> Rows:
        """A row for each, in the dtype of the file; nobody waits any longer. Raises DataError where nobody at all could be shown."""
        if self._known is None:
            raise DataError(f"None of {len(self.ids)} views is possible: every case of the protocol was skipped. Take another protocol.")
        shown = np.array(self._shown)
        rows: Rows = {"ids": np.array(self.ids, dtype=object)}
        for name, example in self._known.items():
            if name == "skeleton":
                rows[name] = example
            elif name != "ids":
                rows[name] = np.full((len(shown), *example.shape[1:]), np.nan, dtype=self._dtype if name in _HALVED else "float32")
                with np.errstate(over="ignore"):
                    rows[name][shown] = np.concatenate([answers[name] for answers in self._answers]) if self._answers else np.nan
        self.ids, self._shown, self._answers = [], [], []
        return rows


def _told(kinds: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in kinds.items() if name not in ("skeleton", "squares_xyxy"))
