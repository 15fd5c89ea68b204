"""SMPL-family body files, .npz or the official .pkl, to a BodyModel."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from hpsbench.body.model import BodyArrays, BodyModel
from hpsbench.errors import BodyError, DataError
from hpsbench.safeload import load_pickle
from hpsbench.skeleton import PARENTS

_V = 6890
_SHAPES: dict[str, tuple[int | None, ...]] = {
    "v_template": (_V, 3),
    "shapedirs": (_V, 3, None),
    "posedirs": (_V, 3, 207),
    "J_regressor": (24, _V),
    "weights": (_V, 24),
    "kintree_table": (2, 24),
    "f": (None, 3),
}
_WHAT_TO_DO = "Take an SMPL body file as published (10 or more shape components, 24 joints)."


def load_body(path: Path | str, dtype: torch.dtype = torch.float32) -> BodyModel:
    """The body of a .npz or .pkl file with SMPL's field names; shape components beyond the tenth are left out.

    Raises BodyError for a file that is missing, broken or of the wrong shape, UnsafePickleError for a pickle that asks for code.
    """
    path = Path(path)
    content = _read(path)
    missing = sorted(set(_SHAPES) - set(content))
    if missing:
        raise BodyError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(sorted(map(str, content))) or 'nothing'}. {_WHAT_TO_DO}")
    arrays = {name: _array(path, name, content[name], shape) for name, shape in _SHAPES.items()}
    _check(path, arrays)
    return BodyModel(
        BodyArrays(
            arrays["v_template"],
            arrays["shapedirs"][:, :, :10],
            arrays["posedirs"],
            arrays["J_regressor"],
            arrays["weights"],
            arrays["f"].astype(np.int64),
        ),
        dtype,
    )


def load_array(path: Path) -> np.ndarray:
    """The one float64 array of a .npy file. Raises BodyError."""
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise BodyError(f"{path} is not a readable .npy array ({error}). Copy or download it again.") from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BodyError(f"There is no body file {path}. {_WHAT_TO_DO}")
    try:
        if path.suffix == ".npz":
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files if name in _SHAPES}
        if path.suffix == ".pkl":
            content = load_pickle(path)
            if isinstance(content, dict):
                return content
            raise BodyError(f"{path} holds a {type(content).__name__}, expected a dictionary of arrays. {_WHAT_TO_DO}")
    except (DataError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BodyError(f"{path} could not be read as a body file: {error} Copy or download it again.") from error
    raise BodyError(f"{path}: a body file ends in .npz or .pkl, not in '{path.suffix}'. {_WHAT_TO_DO}")


def _array(path: Path, name: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """``value`` as float64 of ``shape`` (None: any length), else BodyError."""
    if scipy.sparse.issparse(value):
        value = value.toarray()
    wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise BodyError(
            f"{path}: {name} is not an array of numbers ({type(value).__name__}), expected one of shape {wanted}. {_WHAT_TO_DO}"
        )
    if value.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, value.shape, strict=True)):
        raise BodyError(f"{path}: {name} has shape {value.shape}, expected {wanted}. {_WHAT_TO_DO}")
    if not np.isfinite(value).all():
        raise BodyError(f"{path}: {name} holds NaN or infinity, expected finite numbers. Copy or download it again.")
    return value.astype(np.float64)


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    components = arrays["shapedirs"].shape[2]
    if components < 10:
        raise BodyError(f"{path}: shapedirs has {components} components, expected at least 10. {_WHAT_TO_DO}")
    parents = (-1, *(int(parent) for parent in arrays["kintree_table"][0, 1:]))
    if parents != PARENTS["smpl24"]:
        raise BodyError(f"{path}: kintree_table has parents {parents}, expected SMPL's {PARENTS['smpl24']}. {_WHAT_TO_DO}")
    faces = arrays["f"]
    if len(faces) and (faces.min() < 0 or faces.max() >= _V):
        raise BodyError(f"{path}: f names vertex {int(faces.max())}, expected 0 to {_V - 1}. {_WHAT_TO_DO}")
