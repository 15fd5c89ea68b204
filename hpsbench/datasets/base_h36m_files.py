"""Human3.6M's annotation files of others as the arrays of an index: columns by clip, "frames s_09_act_02_subact_01_ca_04" and the like."""

import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpsbench.datasets.base_h36m_names import CAMERAS, Clip, parse_clip
from hpsbench.datasets.base_index import Columns, indexed
from hpsbench.errors import DataError

_CLIP_NAME = re.compile(rb"s_\d\d_act_\d\d_subact_\d\d_ca_\d\d")
# To be raised whenever an index of names made before would hold something else.
_INDEX_VERSION = 1


def held_in(folder: Path) -> str:
    """What a folder holds, in words: its first entries by name."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "nothing"


def load_json(path: Path, *keys: str) -> dict[str, Any]:
    """The dict in a json file, which has to hold ``keys``. Raises DataError."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as json ({error}). It is missing or cut off: download it again.") from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}. Expected another annotation file; see the card of the dataset.")
    return content


def clips_in_text(files: Sequence[Path], where: str, root: Path) -> set[Clip]:
    """The clips that annotation files name, read as text, once: an index keeps them."""
    if not files:
        raise DataError(f"No Human3.6M annotation file in {root / 'annotations'}; {root} holds {held_in(root)}. {where}")
    rules = {"files": [path.name for path in files]}
    names = indexed("h36m-clips", _INDEX_VERSION, files, lambda: {"clips": _names_in_text(files)}, rules=rules)["clips"].tolist()
    return {clip for clip in map(parse_clip, names) if clip}


def _names_in_text(files: Sequence[Path]) -> np.ndarray:
    found = set().union(*(_CLIP_NAME.findall(path.read_bytes()) for path in files))
    return np.array(sorted(name.decode() for name in found), dtype=str)


def of_clips(wanted: Collection[str]) -> Callable[[str], bool]:
    """Whether a column, "frames s_09_act_02_subact_01_ca_04" and the like, is of a clip or sequence whose name is ``wanted``."""
    return lambda name: name.rpartition(" ")[2] in wanted


def clips_held(columns: Columns) -> list[Clip]:
    """The clips that columns have frames of, sorted."""
    names = (name.partition(" ")[2] for name in columns if name.startswith("frames "))
    return sorted(clip for clip in map(parse_clip, names) if clip)


def take_of(clip: Clip) -> str:
    """The name of its sequence, whatever the camera: "s_09_act_02_subact_01"."""
    return clip.name.rpartition("_ca_")[0]


def finite(numbers: np.ndarray) -> np.ndarray:
    """The same numbers. Raises ValueError where one is NaN or infinite."""
    if not np.isfinite(numbers).all():
        raise ValueError("NaN or infinity, expected finite numbers")
    return numbers


def world_of(path: Path, content: Any, clip: Clip, frames: Sequence[int]) -> np.ndarray:
    """The joints (F, 17, 3) mm of ``frames`` of a clip's sequence in the world. Raises DataError."""
    try:
        take = content[str(clip.action)][str(clip.subaction)]
        return finite(np.array([take[str(frame)] for frame in frames], dtype=np.float64).reshape(len(frames), 17, 3))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: no 17 joints of {clip.name} ({error}). Download it again.") from error


def camera_numbers(path: Path, content: Any, clip: Clip) -> np.ndarray:
    """The numbers (16,) of a clip's camera in a PoseNet json: R row by row, t, f, c. Raises DataError."""
    try:
        found = content[str(clip.camera + 1)]
        sizes = (("R", (3, 3)), ("t", 3), ("f", 2), ("c", 2))
        return finite(np.concatenate([np.array(found[key], dtype=np.float64).reshape(shape).reshape(-1) for key, shape in sizes]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: no camera '{clip.camera + 1}' with R, t, f, c ({error}). Download it again.") from error


def hybrik_camera(path: Path, clip: Clip, annotation: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """f and c (2, 2) px of an annotation's camera, and its rotation (3, 3) where the file has its place. Raises DataError."""
    first = annotation.get("cam_param")
    try:
        lens = finite(np.array([np.array(first[key], dtype=np.float64).reshape(2) for key in ("f", "c")]))
        pose = [finite(np.array(first[key], dtype=np.float64).reshape(shape)) for key, shape in (("R", (3, 3)), ("t", 3)) if key in first]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: 'cam_param' of {clip.name} lacks f and c ({error}). Download it again.") from error
    return lens, pose[0] if len(pose) == 2 else None


def fetched_columns(paths: Mapping[tuple[int, int, int], Path]) -> Columns:
    """Files by sequence as the arrays of an index, of each clip as they are: "frames" (F,) from 1, "joints" (F, 32, 3) mm, "flat" (F, 32,
    2) px and the "lens" (4,)."""
    columns: Columns = {}
    for key, path in paths.items():
        joints, flat, frames, cameras, lenses = _load_fetched(path)
        for clip in (Clip(*key, c) for c in range(len(CAMERAS))):
            rows = np.flatnonzero(cameras == int(clip.camera_id))
            if len(rows):
                some = {"frames": frames[rows], "joints": joints[rows], "flat": flat[rows], "lens": lenses.get(clip.camera_id)}
                columns |= {f"{name} {clip.name}": array for name, array in some.items() if array is not None}
    return columns


def _load_fetched(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Joints (N, 32, 3) mm, 2D (N, 32, 2) px, frames from 1 and cameras (N,) of a file, and its lenses by camera. Raises DataError."""
    try:
        with h5py.File(path, "r") as file:
            if "pose/3d" not in file and "pose/3d-univ" in file:
                raise DataError(
                    f"{path} holds pose/3d-univ alone, whose skeleton fits no picture. Run a newer h36m-fetch, which adds pose/3d."
                )
            joints, flat, frames, cameras = (file[key][()] for key in ("pose/3d", "pose/2d", "frame", "camera"))
            lenses = {name: finite(np.asarray(numbers, dtype=np.float64).reshape(4)) for name, numbers in file["intrinsics"].items()}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no annot.h5 of h36m-fetch ({error}). Make it again.") from error
    count = np.size(frames)
    shapes = {
        "pose/3d": (joints, (count, 32, 3)),
        "pose/2d": (flat, (count, 32, 2)),
        "frame": (frames, (count,)),
        "camera": (cameras, (count,)),
    }
    for key, (array, shape) in shapes.items():
        if not count or np.shape(array) != shape or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise DataError(
                f"{path}: {key} holds {getattr(array, 'dtype', type(array).__name__)} {np.shape(array)}, expected finite numbers "
                f"{('frames', *shape[1:])}, at least one frame. Make it again."
            )
    unknown = sorted({str(int(camera)) for camera in np.unique(cameras)} - set(CAMERAS))
    if unknown:
        raise DataError(f"{path} holds frames of camera {', '.join(unknown)}, expected {', '.join(CAMERAS)} alone. Make it again.")
    return joints, flat, frames, cameras, lenses
