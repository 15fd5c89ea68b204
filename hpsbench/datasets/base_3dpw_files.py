"""The files of a folder in 3DPW's layout: where they lie, and one sequence pickle as checked arrays."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.errors import DataError
from hpsbench.safeload import load_pickle
from hpsbench.store import sha256_of_file

GENDERS = {"m": "male", "f": "female", "n": "neutral", "male": "male", "female": "female", "neutral": "neutral"}
_KEYS = (
    "img_frame_ids", "poses", "trans", "jointPositions", "poses2d", "betas", "genders", "cam_poses", "campose_valid", "cam_intrinsics",
)  # fmt: skip


@dataclass(frozen=True)
class SequenceArrays:
    """One sequence as its pickle has it, P people and N images; metres, radians, world frame; float64.

    ``poses`` (P, N, 24, 3) rotation vectors, ``trans`` (P, N, 3), ``joints`` (P, N, 24, 3), ``keypoints`` (P, N, 18, 3): x px, y px,
    confidence; ``betas`` (P, 10); ``genders`` P of "male", "female", "neutral"; ``cam_poses`` (N, 4, 4) world to camera;
    ``camera_valid`` (P, N) bool; ``intrinsics`` (3, 3) px.
    """

    name: str
    poses: np.ndarray
    trans: np.ndarray
    joints: np.ndarray
    keypoints: np.ndarray
    betas: np.ndarray
    genders: tuple[str, ...]
    cam_poses: np.ndarray
    camera_valid: np.ndarray
    intrinsics: np.ndarray


def folder_of(root: Path, kind: str) -> Path:
    """``root/kind``, or ``root/kind/kind`` as some unpackers leave it; whether it exists is not asked."""
    doubled = root / kind / kind
    return doubled if doubled.is_dir() else root / kind


def find_sequence_folder(root: Path, where: str) -> Path:
    """The folder ``sequenceFiles`` of a dataset. Raises DataError, saying what was found instead and what to do (``where``)."""
    if not root.is_dir():
        raise DataError(f"No folder {root}. Expected a folder that holds sequenceFiles/ and imageFiles/. {where}")
    folder = folder_of(root, "sequenceFiles")
    if folder.is_dir():
        return folder
    inside = sorted(entry.name for entry in os.scandir(root))
    raise DataError(
        f"No sequenceFiles/ in {root}, which holds {_some(inside) or 'nothing'}. "
        f"Expected sequenceFiles/<split>/*.pkl and imageFiles/<sequence>/image_00000.jpg. {_advice(root, inside) or where}"
    )


def _advice(root: Path, inside: list[str]) -> str:
    if "sequenceFiles.zip" in inside:
        return "Unpack sequenceFiles.zip and imageFiles.zip there."
    if root.name == "sequenceFiles" or (root.parent / "sequenceFiles").is_dir():
        return f"Name the folder above it: {root.parent}."
    below = [name for name in inside if folder_of(root / name, "sequenceFiles").is_dir()]
    return f"Name the folder below it: {root / below[0]}." if below else ""


def sequence_files(folder: Path, split: str, where: str) -> list[Path]:
    """The pickles of a split, sorted by name. Raises DataError where the split is missing or empty."""
    if not (folder / split).is_dir():
        there = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        raise DataError(f"No split '{split}' in {folder}: found {', '.join(there) or 'no folder'}. Unpack that split too. {where}")
    files = sorted((folder / split).glob("*.pkl"))
    if not files:
        raise DataError(f"No sequence (*.pkl) in {folder / split}. Unpack sequenceFiles again. {where}")
    return files


def fingerprint_of(files: list[Path]) -> str:
    """SHA-256 over the lines "<split>/<file> <sha256>" of the annotation files, sorted."""
    return fingerprint_of_hashes({f"{path.parent.name}/{path.name}": sha256_of_file(path) for path in files})


def fingerprint_of_hashes(hashes: Mapping[str, str]) -> str:
    """``fingerprint_of`` where the hash of each "<split>/<file>" is known."""
    return hashlib.sha256("".join(sorted(f"{name} {sha256}\n" for name, sha256 in hashes.items())).encode()).hexdigest()


def load_sequence(path: Path) -> SequenceArrays:
    """The arrays of one sequence pickle, written by Python 2 or 3.

    Betas are cut to 10 (some files hold 300, zeros from the eleventh on). Raises DataError where the file is corrupt, lacks a
    key, or holds an array of another shape or with NaN; UnsafePickleError where it asks for more than arrays.
    """
    record = _unpickled(path)
    missing = [key for key in _KEYS if key not in record]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}: it holds {', '.join(map(str, sorted(record, key=str)[:8]))} ... "
            f"Expected the keys {', '.join(_KEYS)}. Unpack sequenceFiles again."
        )
    stem = str(record.get("sequence", path.stem))
    if stem != path.stem:
        raise DataError(f"{path} says that it is sequence '{stem}'. Expected the name of its file; give the file its name back.")
    return _arrays(path, record)


def _unpickled(path: Path) -> dict[str, Any]:
    record = load_pickle(path, encoding="latin1")
    if not isinstance(record, dict):
        raise DataError(f"{path} holds a {type(record).__name__}, expected a dict of one sequence. Unpack sequenceFiles again.")
    return record


def _arrays(path: Path, record: dict[str, Any]) -> SequenceArrays:
    people, images = _length(path, record, "poses", "person"), _length(path, record, "img_frame_ids", "image")

    def array(key: str, *shape: int) -> np.ndarray:
        """The entry as float64 of (people, *shape), or of ``shape`` where it is shared; every number finite."""
        shared = key.startswith("cam_")
        want = shape if shared else (people, *shape)
        try:
            found = np.array(record[key], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: '{key}' is no array of numbers ({error}). Expected shape {want}.") from error
        if found.shape != want:
            raise DataError(f"{path}: '{key}' has shape {found.shape}, expected {want}. Unpack sequenceFiles again.")
        if not np.isfinite(found).all():
            raise DataError(f"{path}: '{key}' holds NaN or infinity, expected finite numbers. Unpack sequenceFiles again.")
        return found

    return SequenceArrays(
        name=path.stem,
        poses=array("poses", images, 72).reshape(people, images, 24, 3),
        trans=array("trans", images, 3),
        joints=array("jointPositions", images, 72).reshape(people, images, 24, 3),
        keypoints=array("poses2d", images, 3, 18).transpose(0, 1, 3, 2),
        betas=_betas(path, record["betas"], people),
        genders=_genders(path, record["genders"], people),
        cam_poses=array("cam_poses", images, 4, 4),
        camera_valid=array("campose_valid", images) != 0,
        intrinsics=array("cam_intrinsics", 3, 3),
    )


def _length(path: Path, record: dict[str, Any], key: str, of: str) -> int:
    """The length of an entry that has a part for each person or image (``of``), one at least."""
    try:
        length = len(record[key])
    except TypeError as error:
        raise DataError(f"{path}: '{key}' is a {type(record[key]).__name__}, expected a part for each {of}. Unpack it again.") from error
    if length == 0:
        raise DataError(f"{path}: '{key}' is empty: there is no {of} in it, expected at least one. Unpack sequenceFiles again.")
    return length


def _betas(path: Path, entry: Any, people: int) -> np.ndarray:
    try:
        found = [np.array(betas, dtype=np.float64) for betas in entry]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: 'betas' is no list of arrays of numbers ({error}). Unpack sequenceFiles again.") from error
    shapes = [betas.shape for betas in found]
    if len(shapes) != people or any(len(shape) != 1 or shape[0] < 10 for shape in shapes):
        raise DataError(f"{path}: 'betas' has shapes {shapes}, expected {people} of 10 or 300 numbers. Unpack sequenceFiles again.")
    if not all(np.isfinite(betas).all() for betas in found):
        raise DataError(f"{path}: 'betas' holds NaN or infinity, expected finite numbers. Unpack sequenceFiles again.")
    return np.array([betas[:10] for betas in found])


def _genders(path: Path, entry: Any, people: int) -> tuple[str, ...]:
    genders = [str(gender) for gender in entry] if isinstance(entry, (list, tuple, np.ndarray)) else [str(entry)]
    if len(genders) != people or any(gender not in GENDERS for gender in genders):
        raise DataError(f"{path}: 'genders' is {genders}, expected {people} of 'm' or 'f'. Unpack sequenceFiles again.")
    return tuple(GENDERS[gender] for gender in genders)


def _some(names: Sequence[str]) -> str:
    """The first six names."""
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")


def names_against(split: str, names: Sequence[str], known: Mapping[str, object]) -> tuple[str, str]:
    """(level, message): the sequences of a split against the published list (empty: none is known)."""
    missing, more = sorted(set(known) - set(names)), sorted(set(names) - set(known)) if known else []
    text = f"{split}: {len(names)} sequences" + (f" of the published {len(known)}" if known else "")
    text += f"; {len(missing)} missing: {_some(missing)}" if missing else ""
    text += f"; not in the published list: {_some(more)}" if more else ""
    return ("error" if missing or more else "ok", text)


def images_against(split: str, names: Sequence[str], known: Mapping[str, tuple[int, int]], images: Path) -> list[tuple[str, str]]:
    """(level, message): the number of images of each sequence that lie in ``images``, against the published (people, images)."""
    lines, total = [], 0
    for name in names:
        found = len(list((images / name).glob("image_*.jpg")))
        total += found
        if found == 0:
            lines.append(("error", f"{split}: no image in {images / name}"))
        elif name in known and found != known[name][1]:
            lines.append(("error", f"{split}: {found:,} images in {images / name}, expected {known[name][1]:,}"))
    return [*lines, ("ok" if not lines else "error", f"{split}: {total:,} images")]


def number_against(what: str, found: int, known: int) -> tuple[str, str]:
    """(level, message): a count against the published one."""
    same = found == known
    return ("ok" if same else "error", f"{what}: {found:,}" + (" as published" if same else f", but {known:,} are published"))
