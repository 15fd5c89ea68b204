"""``predictions:FILE``: answers that were computed elsewhere, keyed by sample id.

The file is .npz or HDF5 with arrays of equal length N: ``ids`` (N,) text, and any of ``joints`` (N, J, 3) m with ``skeleton`` (one
text; in HDF5 a dataset or an attribute of the file), ``rotmats`` (N, 24, 3, 3) or ``rotvecs`` (N, 24, 3) with ``betas`` (N, 10),
``vertices`` (N, V, 3) m at translation 0, ``trans`` (N, 3) m, ``confidence`` (N, J). Metres, camera frame
(x right, y down, z forward), neutral body; whole or floating numbers of any width, rows in any order.

Rows are read as they are asked for, so that a file may be larger than the memory: HDF5 by its chunks, .npz of numpy.savez by rows;
what numpy.savez_compressed wrote is held in memory, half a gigabyte of it at most. Files in the dataset's order are read the fastest.

A file of ``hpsbench predict`` says by its attributes which model answered which views of which data, and in ``squares_xyxy`` (N, 4) px
which square of the image it was shown of each person: it is scored under protocols that show the same.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpsbench.body.bodies import Bodies
from hpsbench.errors import PredictionError
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.models.base import Model
from hpsbench.models.base_predictions import PredictionFile
from hpsbench.models.base_predictions_views import check_same_views, check_squares, views_of
from hpsbench.store import sha256_of_file
from hpsbench.types import Card, Prediction, ViewBatch

# A number beyond which no joint in metres, rotation or shape can be: whoever has one overflowed, and has no answer.
LARGEST = 1e6
_SCORED = ("joints", "rotmats", "betas", "vertices")


class Predictions(Model):
    """Rows of a file. Where it has none for a sample, two, or one with NaN, Inf or a number beyond a million, the sample is failed."""

    card = Card(
        name="predictions",
        what="Predictions made elsewhere, read from predictions:FILE",
        source="user's own file",
        licence="that of the file",
    )

    def __init__(self, weights: Sequence[Path], bodies: Bodies, device: torch.device):
        super().__init__(weights, bodies, device)
        if len(weights) != 1:
            raise PredictionError(f"Model 'predictions' reads one file, but was given {len(weights)}. Name it as predictions:FILE.")
        self.path = Path(weights[0])
        self.weights_sha256 = sha256_of_file(self.path)
        self.file = PredictionFile(self.path)
        self.card = self._card()

    def _card(self) -> Card:
        """That of the model that answered, where the file has it."""
        if "model" not in self.file.about:
            name = f"predictions:{self.path.name}"
            return Card(name, self.card.what, self.card.source, self.card.licence, revision=self.weights_sha256)
        card = json.loads(self.file.about["model"])
        answered = Card(**card | {"trained_on": tuple(card["trained_on"])})
        return replace(answered, how=f"{answered.how} Answers of `hpsbench predict`, read from {self.path.name}.".strip())

    def id_counts(self, expected: Iterable[str]) -> dict[str, int]:
        """How many of the ``expected`` ids the file lacks ("missing") or holds more than once ("duplicate"), and how many ids it holds
        that are none of them ("unknown")."""
        return self.file.ids.counts(list(dict.fromkeys(expected)))

    def check_views(self, protocol_id: str, content: Mapping[str, Any], *, family: str, split: str, fingerprint: str) -> None:
        """Raises PredictionError where the file says that it holds answers to other views than those of a protocol's ``content``; one that
        says nothing is taken as it is.

        ``family`` (of a dataset without one its name), ``split`` and ``fingerprint`` are those of the data that is measured on.
        """
        about = self.file.about
        if "views" in about:
            body = self.bodies.fingerprint if json.loads(about["views"]).get("body") else ""
            check_same_views(self.path, about, protocol_id, views_of(content, family, body), (split, fingerprint))

    def predict(self, batch: ViewBatch) -> Prediction:
        places = self.file.ids.places(batch.ids)
        values = {name: self.file.rows(name, places) for name in self.file.arrays}
        squares = values.pop("squares_xyxy", None)
        if squares is not None:
            scale = float(self.file.about.get("box_scale", "1"))
            check_squares(self.path, batch.ids, scale, squares, batch.squares_xyxy.cpu().numpy().astype(np.float64))
        tensors = {name: torch.from_numpy(value) for name, value in values.items()}
        if "rotvecs" in tensors:
            tensors["rotmats"] = rotvec_to_rotmat(tensors.pop("rotvecs"))
        # Of NaN no comparison is true.
        good = torch.stack([(tensors[name].flatten(1).abs() <= LARGEST).all(dim=1) for name in _SCORED if name in tensors]).all(dim=0)
        return Prediction(
            failed=~good.to(self.device), skeleton=self.file.skeleton, **{key: value.to(self.device) for key, value in tensors.items()}
        )
