"""AGORA's prediction files: one pickle per image and person, as its evaluator and its server take them."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.datasets.base_agora import FULL_SIZE
from hpsbench.datasets.base_agora_posed import PosedBodies, parameters_of
from hpsbench.errors import PredictionError
from hpsbench.safeload import load_pickle
from hpsbench.store import write_bytes

_FEWEST = 24
_MARK = "_personId_"
_MESH = ("verts", "allSmplJoints3d")


@dataclass(frozen=True)
class AgoraPredictions:
    """The P predictions for one image (4K name without .png): ``joints2d`` (P, J, 2) px of the 4K image, ``joints`` (P, K, 3) m and
    ``vertices`` (P, V, 3) m."""

    image: str
    joints2d: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray


def write_predictions(folder: Path, predictions: AgoraPredictions, *, size: tuple[int, int]) -> list[Path]:
    """Write ``folder``/<image>_personId_<k>.pkl for each person; 2D joints in pixels of images of ``size`` are brought to 4K.

    For the server, zip a folder named "predictions". Each file is a dict of float32 arrays: joints, verts, allSmplJoints3d. Raises
    PredictionError for NaN, or for fewer than 24 2D joints.
    """
    _check(predictions.image, {"joints": predictions.joints2d, "verts": predictions.vertices, "allSmplJoints3d": predictions.joints})
    factor, paths = FULL_SIZE[0] / size[0], []
    for k, joints2d in enumerate(predictions.joints2d):
        record = {"joints": joints2d * factor, "verts": predictions.vertices[k], "allSmplJoints3d": predictions.joints[k]}
        paths.append(folder / f"{predictions.image}{_MARK}{k}.pkl")
        write_bytes(paths[-1], pickle.dumps({key: np.asarray(value, dtype=np.float32) for key, value in record.items()}, 2))
    return paths


def prediction_files(folder: Path) -> dict[str, list[Path]]:
    """The prediction files of a folder by image, those of an image ordered by number. Raises PredictionError where there is none, or one
    of another name."""
    by_image: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.glob(f"*{_MARK}*.pkl")):
        image, _, number = path.stem.rpartition(_MARK)
        if not number.isdigit():
            raise PredictionError(f"{path}: its name does not end in {_MARK}<number>. Rename it.")
        by_image.setdefault(image, []).append((int(number), path))
    if not by_image:
        raise PredictionError(f"No *{_MARK}*.pkl in {folder}. Expected the folder of prediction files itself.")
    return {image: [path for _, path in sorted(found)] for image, found in by_image.items()}


def load_predictions(folder: Path, posed: PosedBodies | None = None) -> Iterator[AgoraPredictions]:
    """The predictions in a folder, image by image, each person once, ordered by number. Raises as ``prediction_files`` and
    ``load_image_predictions``."""
    for image, paths in prediction_files(folder).items():
        yield load_image_predictions(image, paths, posed)


def load_image_predictions(image: str, paths: Sequence[Path], posed: PosedBodies | None = None) -> AgoraPredictions:
    """The predictions for one image; where a file gives SMPL's parameters in place of a mesh, the mesh of ``posed`` under them.

    Raises PredictionError where a file is broken, mis-shaped or NaN, or gives parameters and no bodies are there to pose;
    UnsafePickleError where one asks for more than arrays.
    """
    records = [_record(path) for path in paths]
    given = {k: record.pop("params") for k, record in enumerate(records) if "params" in record}
    if given:
        if posed is None:
            raise PredictionError(
                f"{paths[next(iter(given))]} gives a body's parameters in place of its mesh, and there are no bodies to pose. Name the "
                "folder of SMPL's body files by --body or HPSBENCH_BODY, or write 'verts' and 'allSmplJoints3d'."
            )
        for k, (vertices, joints) in zip(given, posed.meshes(list(given.values())), strict=True):
            records[k] |= {"verts": vertices, "allSmplJoints3d": joints}
    arrays = {}
    for key in ("joints", *_MESH):
        shapes = {record[key].shape for record in records}
        if len(shapes) > 1:
            raise PredictionError(f"{image}: '{key}' has shapes {sorted(shapes)} for its people, expected one shape. Write them again.")
        arrays[key] = np.stack([record[key] for record in records])
    _check(image, arrays)
    return AgoraPredictions(image, arrays["joints"], arrays["allSmplJoints3d"], arrays["verts"])


def _record(path: Path) -> dict[str, Any]:
    """One person's arrays, a mesh under "verts" and "allSmplJoints3d" or parameters under "params"; of both the mesh counts."""
    content: Any = load_pickle(path)
    if not isinstance(content, dict):
        raise PredictionError(f"{path} holds a {type(content).__name__}, expected a dict of one person's prediction. Write it again.")
    posed = "params" in content and not any(key in content for key in _MESH)
    missing = [key for key in ("joints", *(() if posed else _MESH)) if key not in content]
    if missing:
        raise PredictionError(
            f"{path} lacks {', '.join(missing)}; it has {', '.join(map(str, content)) or 'nothing'}. Write 'joints', and the mesh as "
            "'verts' with its joints as 'allSmplJoints3d' (or, of SMPL, its parameters as 'params')."
        )
    record = _numbers(path, {key: content[key] for key in ("joints", *(() if posed else _MESH))})
    return record | ({"params": parameters_of(path, content)} if posed else {})


def _numbers(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    try:
        arrays = {key: np.asarray(value, dtype=np.float64) for key, value in content.items()}
    except (TypeError, ValueError) as error:
        raise PredictionError(f"{path} holds no arrays of numbers ({error}). Write it again.") from error
    return {key: array[0] if array.ndim == 3 and len(array) == 1 else array for key, array in arrays.items()}


def _check(image: str, arrays: Mapping[str, np.ndarray]) -> None:
    for key, width, fewest in (("joints", 2, _FEWEST), ("verts", 3, 1), ("allSmplJoints3d", 3, _FEWEST)):
        array = arrays[key]
        if array.ndim != 3 or array.shape[2] != width or array.shape[1] < fewest:
            raise PredictionError(
                f"{image}: '{key}' has shape {array.shape[1:]} a person, expected ({fewest} or more, {width}). Write them again."
            )
        if not np.isfinite(array).all():
            raise PredictionError(f"{image}: '{key}' holds NaN or infinity. Leave out the people who failed.")
