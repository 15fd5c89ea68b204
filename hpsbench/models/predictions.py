"""``predictions:FILE``: answers that were computed elsewhere, keyed by sample id.

The file is .npz or HDF5 with arrays of equal length N: ``ids`` (N,) text, and any of ``joints`` (N, J, 3) m with ``skeleton`` (one
text; in HDF5 a dataset or an attribute of the file), ``rotmats`` (N, 24, 3, 3) or ``rotvecs`` (N, 24, 3) with ``betas`` (N, 10),
``vertices`` (N, V, 3) m at translation 0, ``trans`` (N, 3) m, ``confidence`` (N, J). Metres, camera frame
(x right, y down, z forward), neutral body.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from hpsbench.body.bodies import Bodies
from hpsbench.errors import PredictionError
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.models.base import Model
from hpsbench.skeleton import joint_names
from hpsbench.store import sha256_of_file
from hpsbench.types import Card, Prediction, ViewBatch

_SHAPES = {
    "joints": (None, 3),
    "rotmats": (24, 3, 3),
    "rotvecs": (24, 3),
    "betas": (10,),
    "vertices": (None, 3),
    "trans": (3,),
    "confidence": (None,),
}


class Predictions(Model):
    """Rows of a file. Where it has none for a sample, two, or one with NaN, the sample is failed."""

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
        ids, self.skeleton, self.arrays = _read(self.path)
        seen = Counter(ids)
        self.duplicates = frozenset(key for key, count in seen.items() if count > 1)
        self.row_of = {key: row for row, key in enumerate(ids)}
        self.card = Card(f"predictions:{self.path.name}", self.card.what, self.card.source, self.card.licence, revision=self.weights_sha256)

    def id_counts(self, expected: Iterable[str]) -> dict[str, int]:
        """How many of the ``expected`` ids the file lacks ("missing") or holds more than once ("duplicate"), and how many ids it holds
        that are none of them ("unknown")."""
        wanted = set(expected)
        return {
            "missing": len(wanted - self.row_of.keys()),
            "duplicate": len(wanted & self.duplicates),
            "unknown": len(self.row_of.keys() - wanted),
        }

    def predict(self, batch: ViewBatch) -> Prediction:
        rows = [None if key in self.duplicates else self.row_of.get(key) for key in batch.ids]
        values = {name: self._rows(array, rows) for name, array in self.arrays.items()}
        if "rotvecs" in values:
            values["rotmats"] = rotvec_to_rotmat(values.pop("rotvecs"))
        answers = [value for name, value in values.items() if name != "confidence"]
        whole = torch.stack([value.flatten(1).isfinite().all(dim=1) for value in answers]).all(dim=0)
        return Prediction(
            failed=~whole.to(self.device), skeleton=self.skeleton, **{key: value.to(self.device) for key, value in values.items()}
        )

    def _rows(self, array: Any, rows: Sequence[int | None]) -> Tensor:
        out = np.full((len(rows), *array.shape[1:]), np.nan, dtype=np.float64)
        for place, row in enumerate(rows):
            if row is not None:
                out[place] = array[row]
        return torch.from_numpy(out)


def _read(path: Path) -> tuple[list[str], str | None, dict[str, Any]]:
    """(ids, skeleton, arrays by name) of a predictions file; arrays of HDF5 stay on disk. Raises PredictionError."""
    try:
        if h5py.is_hdf5(path):
            stream = h5py.File(path, "r")
            content: dict[str, Any] = dict(stream.items())
            skeleton = stream.attrs.get("skeleton", content.pop("skeleton", None))
            skeleton = skeleton[()] if isinstance(skeleton, h5py.Dataset) else skeleton
        else:
            with np.load(path, allow_pickle=False) as table:
                content = {name: table[name] for name in table.files}
            skeleton = content.pop("skeleton", None)
    except (OSError, ValueError, EOFError) as error:
        raise PredictionError(
            f"{path} is neither HDF5 nor a sound .npz of plain arrays: {error}. Write it with h5py or numpy.savez."
        ) from error
    if "ids" not in content:
        raise PredictionError(f"{path} has no 'ids', only {', '.join(sorted(content)) or 'nothing'}. Expected one sample id per row.")
    ids = [_text(key) for key in np.asarray(content.pop("ids")).ravel()]
    skeleton = None if skeleton is None else _text(np.asarray(skeleton).ravel()[0])
    _check(path, len(ids), content, skeleton)
    return ids, skeleton, content


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _check(path: Path, count: int, content: Mapping[str, Any], skeleton: str | None) -> None:
    unknown = sorted(content.keys() - _SHAPES.keys())
    if unknown:
        raise PredictionError(
            f"{path} has arrays that mean nothing here: {', '.join(unknown)}. Known: ids, skeleton, {', '.join(_SHAPES)}."
        )
    for name, array in content.items():
        found, wanted = tuple(array.shape), (count, *_SHAPES[name])
        fits = len(found) == len(wanted) and all(want in (None, got) for want, got in zip(wanted, found, strict=True))
        if not fits or array.dtype.kind not in "fiu":
            raise PredictionError(f"{path}: '{name}' is {array.dtype} of shape {found}. Expected numbers of shape {wanted} (None: any).")
    rotations = [name for name in ("rotmats", "rotvecs") if name in content]
    if len(rotations) > 1 or bool(rotations) != ("betas" in content):
        raise PredictionError(f"{path} has {', '.join(sorted(content))}. Expected betas together with either rotmats or rotvecs.")
    if not rotations and "joints" not in content and "vertices" not in content:
        raise PredictionError(f"{path} has nothing to score. Expected joints, vertices, or rotations and betas.")
    if ("joints" in content) != (skeleton is not None):
        raise PredictionError(f"{path}: joints and the name of their skeleton come together. Give both, or neither.")
    if skeleton is not None and len(joint_names(skeleton)) != content["joints"].shape[1]:
        expected = len(joint_names(skeleton))
        raise PredictionError(f"{path} has {content['joints'].shape[1]} joints, but skeleton '{skeleton}' has {expected}.")
