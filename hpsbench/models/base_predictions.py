"""A file of predictions: opened, checked as a whole, and read by sample id.

The format is told in ``predictions.py``. What the numbers must look like is checked on some rows spread over the file, before anything is
scored: joints and vertices that are metres, rotations that are rotations.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from hpsbench.errors import PredictionError
from hpsbench.models.base_predictions_columns import Column, Columns, Ids, open_hdf5, open_npz
from hpsbench.skeleton import joint_names

SHAPES = {
    "joints": (None, 3),
    "rotmats": (24, 3, 3),
    "rotvecs": (24, 3),
    "betas": (10,),
    "vertices": (None, 3),
    "trans": (3,),
    "confidence": (None,),
    "squares_xyxy": (4,),
}
# Runs of consecutive rows that are looked at, and their length.
_RUNS, _RUN_ROWS = 8, 8
_LONGEST_THIGH_M = 2.0
_LARGEST_SPAN_M = 10.0
_LARGEST_ANGLE_RAD = 10.0
_LEAST_ROTATION = 0.1


class PredictionFile:
    """The rows of a file by sample id: ``ids``, the shapes of its ``arrays``, the name of its ``skeleton`` or None, and in ``about`` the
    texts that it says of itself. Raises PredictionError for a file that is none, or unsound."""

    def __init__(self, path: Path):
        self.path = path
        try:
            columns, ids, self.about = (open_hdf5 if h5py.is_hdf5(path) else open_npz)(path)
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise PredictionError(
                f"{path} is neither HDF5 nor a sound .npz of plain arrays: {error}. Write it with h5py or numpy.savez."
            ) from error
        if ids is None:
            raise PredictionError(f"{path} has no 'ids', only {', '.join(sorted(columns)) or 'nothing'}. Expected one sample id per row.")
        self.ids: Ids = ids
        self.skeleton: str | None = self.about.get("skeleton")
        _check(path, len(ids), columns, self.skeleton)
        self.arrays = tuple(columns)
        self._columns = Columns(path, columns)
        self._check_numbers()

    def rows(self, name: str, places: np.ndarray) -> np.ndarray:
        """(n, ...) float64 of the rows ``places`` (n,) of an array; NaN where one is negative."""
        return self._columns.rows(name, places)

    def _check_numbers(self) -> None:
        starts = np.linspace(0, max(len(self.ids) - _RUN_ROWS, 0), _RUNS).astype(np.int64)
        places = np.unique((starts[:, None] + np.arange(_RUN_ROWS)).clip(max=len(self.ids) - 1))
        checks: dict[str, Callable[[np.ndarray], str]] = {
            "joints": lambda joints: _wrong_joints(joints, joint_names(self.skeleton)),
            "vertices": _wrong_vertices,
            "rotmats": _wrong_rotmats,
            "rotvecs": _wrong_rotvecs,
        }
        for name in checks.keys() & set(self.arrays) if len(self.ids) else ():
            rows = self.rows(name, places)
            rows = rows[np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))]
            wrong = checks[name](rows) if len(rows) else ""
            if wrong:
                raise PredictionError(f"{self.path}: '{name}': {wrong}")


def _wrong_joints(joints: np.ndarray, names: Sequence[str]) -> str:
    """What is wrong with the unit of joints (n, J, 3) by the length of their thighs; "" where nothing is."""
    pairs = [[names.index(f"{side}_{joint}") for joint in ("hip", "knee")] for side in ("left", "right") if f"{side}_hip" in names]
    if not pairs:
        return ""
    thigh = float(np.median([np.linalg.norm(joints[:, hip] - joints[:, knee], axis=-1) for hip, knee in pairs]))
    if thigh <= _LONGEST_THIGH_M:
        return ""
    return (
        f"thighs measure {thigh:,.3g} (the median of {len(joints)} people), expected 0.2 to 0.6 metres{_unit(thigh / 0.4)}. Write metres."
    )


def _wrong_vertices(vertices: np.ndarray) -> str:
    span = float(np.median(np.linalg.norm(np.ptp(vertices, axis=1), axis=-1)))
    if span <= _LARGEST_SPAN_M:
        return ""
    return f"people span {span:,.3g} (the median of {len(vertices)}), expected 0.5 to 3 metres{_unit(span / 1.8)}. Write metres."


def _unit(factor: float) -> str:
    """What a length looks to be measured in that is ``factor`` times what it should be in metres."""
    guesses = {"centimetres": 100.0, "millimetres": 1000.0}
    return next((f", and these look like {unit}" for unit, size in guesses.items() if 0.5 < factor / size < 2), "")


def _wrong_rotmats(rotmats: np.ndarray) -> str:
    off = float(np.median(np.abs(rotmats @ rotmats.swapaxes(-1, -2) - np.eye(3)).max(axis=(1, 2, 3))))
    if off <= _LEAST_ROTATION:
        return ""
    return (
        f"these are no rotations: R R^T is off the identity by {off:.3g} (the median of {len(rotmats)} people), expected at most "
        f"{_LEAST_ROTATION}. Write the 24 relative rotation matrices (3, 3), or 'rotvecs' in radians."
    )


def _wrong_rotvecs(rotvecs: np.ndarray) -> str:
    angle = float(np.median(np.linalg.norm(rotvecs, axis=-1).max(axis=1)))
    if angle <= _LARGEST_ANGLE_RAD:
        return ""
    return (
        f"the largest angle of a person is {angle:.3g} (the median of {len(rotvecs)}), expected about 3 radians, and these look like "
        "degrees. Write radians."
    )


def _check(path: Path, count: int, content: Mapping[str, Column], skeleton: str | None) -> None:
    unknown = sorted(content.keys() - SHAPES.keys())
    if unknown:
        raise PredictionError(f"{path} has arrays that mean nothing here: {', '.join(unknown)}. Known: ids, skeleton, {', '.join(SHAPES)}.")
    for name, array in content.items():
        found, wanted = tuple(array.shape), (count, *SHAPES[name])
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
