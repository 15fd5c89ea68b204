"""Files of the raw Human3.6M release: poses in NASA's CDF and person rectangles in MATLAB's v7.3."""

from pathlib import Path

import h5py
import numpy as np

from hpsbench.datasets.base_index import indexed, narrowed
from hpsbench.errors import DataError, MissingExtraError

# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 1


def load_pose(path: Path, width: int) -> np.ndarray:
    """The variable ``Pose`` of a CDF file, (F, 32, width) float64 as the file has it: mm for width 3, px for width 2.

    Raises DataError for a file that is no CDF, is cut off or holds something else, MissingExtraError without cdflib.
    """
    try:
        import cdflib
    except ImportError as error:
        raise MissingExtraError("cdflib", "h36m", "Reading Human3.6M's raw poses (CDF)") from error
    if not path.is_file():
        raise no_pose(path)
    try:
        with cdflib.CDF(str(path)) as file:
            pose = np.asarray(file.varget("Pose"), dtype=np.float64)
    except Exception as error:  # cdflib's own, and whatever its parser stumbles on in a cut file
        raise DataError(
            f"{path} is no CDF with a variable 'Pose' ({type(error).__name__}: {error}). It is cut off or damaged: unpack it again."
        ) from error
    if pose.ndim == 3 and len(pose) == 1:
        pose = pose[0]
    if pose.ndim != 2 or pose.shape[1] != 32 * width or not len(pose) or not np.isfinite(pose).all():
        raise DataError(
            f"{path}: 'Pose' has shape {pose.shape}, expected (1, frames, {32 * width}) finite numbers of a frame or more. Unpack it again."
        )
    return pose.reshape(-1, 32, width)


def no_pose(path: Path) -> DataError:
    """The error for a pose file that is not there."""
    return DataError(f"No pose file {path}. Unpack that subject's pose archives.")


def load_boxes(path: Path, frames: np.ndarray) -> np.ndarray:
    """The rectangles (N, 4) xyxy px of the ``frames`` (N,) in a mask file, min to max + 1 of its ones as SPIN; NaN: none.

    Out of the file's index, or read and indexed: of all its frames, of which each is an image, so that the first time is long. Frames
    beyond the last mask have none. Raises DataError.
    """
    columns = indexed("h36m-masks", _INDEX_VERSION, [path], lambda: {"boxes": narrowed(_rectangles(path))}, rules={"file": path.name})
    boxes, there = np.full((len(frames), 4), np.nan), frames < len(columns["boxes"])
    boxes[there] = columns["boxes"][frames[there]]
    return boxes


def _rectangles(path: Path) -> np.ndarray:
    """The rectangles (F, 4) of all ``Masks`` (F, 1), which refer to images that are stored transposed."""
    try:
        with h5py.File(path, "r") as file:
            masks = file["Masks"]
            boxes = [_rectangle(np.asarray(file[masks[frame, 0]]).T) for frame in range(masks.shape[0])]
    except (OSError, RuntimeError, KeyError, ValueError, AttributeError, TypeError, IndexError) as error:
        raise DataError(
            f"{path} is no v7.3 file of masks ({type(error).__name__}: {error}). Unpack Segments_mat_gt_bb of that subject again."
        ) from error
    return np.array(boxes).reshape(-1, 4)


def _rectangle(mask: np.ndarray) -> np.ndarray:
    """The rectangle (4,) of a mask (H, W), NaN where it is empty. Raises ValueError for another shape."""
    if mask.ndim != 2:
        raise ValueError(f"a mask of shape {mask.shape}, expected that of an image")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.full(4, np.nan)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)
