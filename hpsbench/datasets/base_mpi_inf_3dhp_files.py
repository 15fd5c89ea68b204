"""The annotation files of MPI-INF-3DHP as checked arrays: annot.mat of the train set, annot_data.mat of the test set."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsbench.datasets.base_index import Columns, indexed_with_hashes, narrowed
from hpsbench.datasets.base_mpi_inf_3dhp import CAMERAS, SCENES, VALID_FRAMES, Camera, Clip, annotation_file, bent, load_calibration
from hpsbench.errors import DataError

_OUTDOOR_LENS = (-0.276859611, 0.131125256, -0.000360494, -0.001149441, -0.049318332)
_SHARP_PX, _LOST_PX = 0.5, 5.0
_AGAIN = "Download the sequence again."
# Columns of a row of annot.mat; the last one only the universal skeleton needs.
_WIDTHS = {"annot2": 56, "annot3": 84, "univ_annot3": 84}
# The shape of a row of annot_data.mat.
_SHAPES = {"annot2": (1, 17, 2), "annot3": (1, 17, 3), "univ_annot3": (1, 17, 3), "valid_frame": (1,), "activity_annotation": (1,)}
# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 1


@dataclass(frozen=True)
class Annotated:
    """What the files say of a clip, F rows, row i being frame i.

    ``joints`` (F, J, 3) m in the camera frame of ``skeleton``, ``universal`` the same at the universal height, if asked for; ``keypoints``
    (F, J, 2) px; ``valid`` (F,) bool and ``activity`` (F,) 1 to 7: the test set's flags, for the train set all True and None.
    ``sha256`` is the annotation file's.
    """

    clip: Clip
    skeleton: str
    joints: np.ndarray
    universal: np.ndarray | None
    keypoints: np.ndarray
    valid: np.ndarray
    activity: np.ndarray | None
    camera: Camera
    sha256: str


def load_train(root: Path, clips: Sequence[Clip], *, universal: bool) -> Iterator[Annotated]:
    """The clips, all of one sequence, of an annot.mat (MATLAB v5), out of its index or parsed and indexed. Raises DataError.

    The index has all of the sequence's cameras in columns of their own, so that every subset is served, and is read for those wanted alone.
    """
    path = annotation_file(root, clips[0])
    calibration = path.parent / "camera.calibration"
    keys = ("annot2", "annot3", *(("univ_annot3",) if universal else ()))
    wanted = {"in mat", "calibrated", "intrinsics", "world_to_camera"} | {f"{key} {clip.camera}" for key in keys for clip in clips}
    columns, hashes = indexed_with_hashes(
        "3dhp-train", _INDEX_VERSION, [path, calibration], lambda: _train_columns(path, calibration), keep=wanted.__contains__
    )
    ids, calibrated = columns["in mat"].tolist(), columns["calibrated"].tolist()
    for clip in clips:
        if clip.camera not in ids or clip.camera not in calibrated:
            raise DataError(
                f"{path.parent}: camera {clip.camera} is not both in annot.mat ({ids}) and in camera.calibration ({calibrated})."
            )
        if f"{keys[-1]} {clip.camera}" not in columns:
            raise DataError(f"{path} lacks {keys[-1]}. Expected {', '.join(keys)}. {_AGAIN}")
        rows = {key: columns.pop(f"{key} {clip.camera}").astype(np.float64) for key in keys}
        place, count = calibrated.index(clip.camera), len(rows["annot3"])
        yield Annotated(
            clip=clip,
            skeleton="mpi28",
            joints=rows["annot3"].reshape(count, 28, 3) / 1000,
            universal=rows["univ_annot3"].reshape(count, 28, 3) / 1000 if universal else None,
            keypoints=rows["annot2"].reshape(count, 28, 2),
            valid=np.ones(count, dtype=bool),
            activity=None,
            camera=Camera(columns["intrinsics"][place], np.zeros(5), columns["world_to_camera"][place]),
            sha256=hashes[path],
        )


def _train_columns(path: Path, calibration: Path) -> Columns:
    """A sequence as the arrays of an index: "annot3 5" and the like, (F, width), for each of its cameras; and the cameras."""
    cameras = load_calibration(calibration)
    content = _mat5(path, ("annot2", "annot3", "cameras"), ("univ_annot3",))
    ids = _camera_ids(path, content)
    columns = {
        "in mat": np.array(ids),
        "calibrated": np.array(list(cameras)),
        "intrinsics": np.array([camera.intrinsics for camera in cameras.values()]),
        "world_to_camera": np.array([camera.world_to_camera for camera in cameras.values()]),
    }
    for camera in (camera for camera in CAMERAS if camera in ids and camera in cameras):
        place = ids.index(camera)
        rows = {key: _cell(path, content[key], (key, place), width) for key, width in _WIDTHS.items() if key in content}
        if len({len(row) for row in rows.values()}) != 1:
            raise DataError(
                f"{path}: camera {camera} has {[len(row) for row in rows.values()]} rows in {[*rows]}, expected as many in each."
            )
        columns |= {f"{key} {camera}": narrowed(row) for key, row in rows.items()}
    return columns


def _camera_ids(path: Path, content: Mapping[str, np.ndarray]) -> list[int]:
    """The cameras of an annot.mat in its own order, an entry of each annotation for each. Raises DataError."""
    try:
        ids = [int(np.ravel(entry)[0]) for entry in np.ravel(content["cameras"])]
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise DataError(f"{path}: 'cameras' holds no numbers ({error}), expected {CAMERAS[0]} to {CAMERAS[-1]}. {_AGAIN}") from error
    counts = {key: np.size(content[key]) for key in _WIDTHS if key in content}
    if len(set(ids)) < len(ids) or not set(ids) <= set(CAMERAS) or set(counts.values()) != {len(ids)}:
        held = ", ".join(f"{count} entries in {key}" for key, count in counts.items())
        raise DataError(
            f"{path}: cameras {ids} and {held}; expected each camera of {CAMERAS[0]} to {CAMERAS[-1]} once, and an entry for each. {_AGAIN}"
        )
    return ids


def _mat5(path: Path, keys: Sequence[str], more: Sequence[str]) -> Mapping[str, np.ndarray]:
    """The variables ``keys`` of a mat file, and of ``more`` those that are there."""
    import scipy.io
    from scipy.io.matlab import MatReadError

    try:
        content = scipy.io.loadmat(path, variable_names=[*keys, *more])
    except FileNotFoundError as error:
        raise DataError(f"No {path}. Expected the annotation of the sequence. {_AGAIN}") from error
    except NotImplementedError as error:
        raise DataError(f"{path} is a v7.3 mat (HDF5), expected MATLAB v5 as published. {_AGAIN}") from error
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        EOFError,
        AttributeError,
        MemoryError,
        OverflowError,
        zlib.error,
        MatReadError,
    ) as error:
        raise DataError(f"{path} is no whole mat file ({type(error).__name__}: {error}). {_AGAIN}") from error
    missing = [key for key in keys if key not in content]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}. Expected {', '.join(keys)}. {_AGAIN}")
    return content


def _cell(path: Path, cell: np.ndarray, key: tuple[str, int], width: int) -> np.ndarray:
    """Entry ``key`` (name, place) of a MATLAB cell as float64 (F, width)."""
    flat = np.ravel(cell)
    entry = flat[key[1]] if cell.dtype == object and key[1] < len(flat) else None
    if not isinstance(entry, np.ndarray) or entry.dtype.kind not in "iuf" or entry.ndim != 2 or entry.shape[1] != width:
        shape = getattr(entry, "shape", "nothing")
        raise DataError(f"{path}: '{key[0]}' holds {shape} for its camera number {key[1]}, expected (F, {width}). {_AGAIN}")
    return entry.astype(np.float64)


def load_test(root: Path, clip: Clip) -> Annotated:
    """A sequence of the test set of an annot_data.mat (HDF5), with the camera that fits it, out of its index or parsed and indexed.

    Raises DataError.
    """
    path = annotation_file(root, clip)
    columns, hashes = indexed_with_hashes("3dhp-test", _INDEX_VERSION, [path], lambda: _test_columns(path, clip), rules={"clip": clip.name})
    rows = {key: columns[key].astype(np.float64) for key in _SHAPES}
    return Annotated(
        clip=clip,
        skeleton="mpi17",
        joints=rows["annot3"] / 1000,
        universal=rows["univ_annot3"] / 1000,
        keypoints=rows["annot2"],
        valid=rows["valid_frame"] != 0,
        activity=np.nan_to_num(rows["activity_annotation"]).astype(int),
        camera=Camera(columns["intrinsics"], columns["distortion"]),
        sha256=hashes[path],
    )


def _test_columns(path: Path, clip: Clip) -> Columns:
    """A sequence of the test set as the arrays of an index: those of the file without their axis of one, and its camera."""
    rows = _mat7(path, clip)
    valid = rows["valid_frame"] != 0
    camera = fitted_camera(path, clip, (rows["annot3"] / 1000)[valid], rows["annot2"][valid])
    cameras = {"intrinsics": camera.intrinsics, "distortion": camera.distortion}
    return {**{key: narrowed(array) for key, array in rows.items()}, **cameras}


def _mat7(path: Path, clip: Clip) -> dict[str, np.ndarray]:
    import h5py

    again = "Get the test set again."
    try:
        with h5py.File(path, "r") as file:
            there = {key: file[key][()] for key in _SHAPES if isinstance(file.get(key), h5py.Dataset)}
    except FileNotFoundError as error:
        raise DataError(f"No {path}. Expected the annotation of {clip.name}. {again}") from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no whole mat file of v7.3, that is HDF5 ({error}). {again}") from error
    missing = [key for key in _SHAPES if key not in there]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}. Expected {', '.join(_SHAPES)}. {again}")
    for key, shape in _SHAPES.items():
        found = there[key]
        if found.dtype.kind not in "iuf" or found.shape != (*there["annot3"].shape[:1], *shape):
            raise DataError(f"{path}: '{key}' has shape {found.shape}, expected {('F', *shape)} of numbers. {again}")
    if not np.isfinite(there["valid_frame"]).all():
        raise DataError(f"{path}: 'valid_frame' holds NaN, expected 0 or 1 for each frame. {again}")
    return {key: array.astype(np.float64)[:, 0] for key, array in there.items()}


def fitted_camera(path: Path, clip: Clip, joints: np.ndarray, keypoints: np.ndarray) -> Camera:
    """The camera that takes ``joints`` (N, J, 3) m to ``keypoints`` (N, J, 2) px, least squares over focal lengths and centre.

    The release has no camera file for the test set. The lens is straight, or, where outdoors that leaves more than half a pixel
    (median) and it does better, the authors' outdoor lens. Raises DataError where neither fits within 5 px, or the focal lengths are
    further than 3 % from the authors' 7.325 mm and 8.771 mm on a sensor of 10 mm.
    """
    if not len(joints):
        raise DataError(f"{path}: 'valid_frame' flags no frame, expected {VALID_FRAMES[clip.subject]}. Get the test set again.")
    lenses = [np.zeros(5)] + [np.array(_OUTDOOR_LENS)] * (SCENES[clip.subject] == "outdoor")
    with np.errstate(over="ignore", invalid="ignore"):
        fits = [_fit(bent(joints, lens).reshape(-1, 2), keypoints.reshape(-1, 2), lens) for lens in lenses]
    (error, camera) = fits[0] if fits[0][0] <= _SHARP_PX else min(fits, key=lambda fit: np.nan_to_num(fit[0], nan=np.inf))
    width, height = clip.size
    focal = (8.770747185 if SCENES[clip.subject] == "outdoor" else 7.32506) / 10 * width
    fx, fy, cx, cy = camera.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]]
    off = max(abs(fx / focal - 1), abs(fy / focal - 1), abs(cx / width - 0.5), abs(cy / height - 0.5))
    if not (error <= _LOST_PX and off <= 0.03):
        raise DataError(
            f"{path}: annot3 lies {error:.1f} px (median) off annot2 under the best camera, focal lengths {fx:.0f}, {fy:.0f} and centre "
            f"{cx:.0f}, {cy:.0f} px; expected under {_LOST_PX:.0f} px, about {focal:.0f} px and the middle of {width} x {height}. The file "
            "is not the published one, or its numbers are not mm in the camera frame: get the test set again."
        )
    return camera


def _fit(points: np.ndarray, pixels: np.ndarray, lens: np.ndarray) -> tuple[float, Camera]:
    """(median error px, camera) for points (N, 2) behind the lens on the plane z = 1."""
    known = (np.abs(points) < 1e3).all(1) & (np.abs(pixels) < 1e6).all(1)
    points, pixels, K = points[known], pixels[known], np.eye(3)
    if len(points) < 3:
        return float("nan"), Camera(K * np.nan, lens)
    for axis in (0, 1):
        design = np.stack([points[:, axis], np.ones(len(points))], axis=-1)
        K[axis, axis], K[axis, 2] = np.linalg.lstsq(design, pixels[:, axis], rcond=None)[0]
    errors = np.linalg.norm(points @ K[:2, :2].T + K[:2, 2] - pixels, axis=1)
    return float(np.median(errors)), Camera(K, lens)
