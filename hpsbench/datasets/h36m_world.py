"""Human3.6M's joints in the world frame as lifting papers keep them: VideoPose3D's npz and Martinez's h5."""

import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpsbench.datasets.base_h36m import H36MLayout, card_of
from hpsbench.datasets.base_h36m_clips import Annotated
from hpsbench.datasets.base_h36m_files import held_in
from hpsbench.datasets.base_h36m_names import CAMERAS, SUBSETS, Clip, sequence_of
from hpsbench.datasets.base_index import Columns, indexed_with_hashes, narrowed
from hpsbench.errors import DataError
from hpsbench.safeload import load_pickle

_NPZ, _KEY = "data_3d_h36m.npz", "positions_3d"
_H5_FOLDER, _H5_KEY = "MyPoses/3D_positions", "3D_positions"
# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 1


class _WorldForm(H36MLayout):
    """Sequences in the world frame, seen by the four cameras of a metadata.xml beside them. Neither form holds cameras or pictures."""

    def _sequences(self, subject: int) -> Iterable[tuple[str, np.ndarray]]:
        """(name, joints (F, 32, 3) m) of a subject's sequences; adds the SHA-256 of the files that they are from to ``_hashes``."""
        raise NotImplementedError

    def _annotated(self, wanted: Sequence[Clip]) -> Iterable[Annotated]:
        cameras = self._cameras()
        chosen = set(wanted)
        for subject in sorted({clip.subject for clip in wanted}):
            for name, joints in self._sequences(subject):
                key = _known(self.root, subject, name)
                for c in range(len(CAMERAS)):
                    clip, camera = Clip(subject, *key, c), cameras[subject, c]
                    if clip in chosen:
                        yield Annotated(clip, camera, np.arange(len(joints)), camera.to_camera(joints), "h36m32")


def _known(where: Path, subject: int, name: str) -> tuple[int, int]:
    """(action, subaction) of a sequence's name. Raises DataError."""
    key = sequence_of(subject, name)
    if key is None:
        raise DataError(f"{where}: S{subject} has no sequence '{name}' in Human3.6M. Expected names as 'Directions 1'.")
    return key


def _clips_named(subject: int, names: Iterable[str]) -> set[Clip]:
    keys = (sequence_of(subject, name) for name in names)
    return {Clip(subject, *key, c) for key in keys if key for c in range(len(CAMERAS))}


class H36MNpz(_WorldForm):
    """``data_3d_h36m.npz`` of VideoPose3D: 32 joints in metres in the world frame, beside metadata.xml and pictures.

    Its pickled dict is read without running code. ``h36m``'s folders of videos or images go beside it.
    """

    name = "h36m-npz"
    card = card_of("h36m-npz", "VideoPose3D's data_3d_h36m.npz", "http://vision.imar.ro/human3.6m through VideoPose3D's DATASETS.md")

    def _expected(self) -> str:
        return f"{_NPZ} with the subjects as 'S9' and their sequences as 'Directions 1'"

    def _sequences(self, subject: int) -> Iterable[tuple[str, np.ndarray]]:
        path = self.root / _NPZ
        columns, self._hashes[path] = self._columns(self.root, lambda name: name.startswith(f"S{subject} "))
        return ((name.partition(" ")[2], joints.astype(np.float64)) for name, joints in columns.items())

    @classmethod
    def _columns(cls, root: Path, keep: Callable[[str], bool]) -> tuple[Columns, str]:
        """Of the npz what is wanted of ``_npz_columns``, out of its index or parsed and indexed, and its SHA-256."""
        path = root / _NPZ
        columns, hashes = indexed_with_hashes("h36m-npz", _INDEX_VERSION, [path], lambda: _npz_columns(path, cls.where()), keep=keep)
        return columns, hashes[path]

    @classmethod
    def _clips_in(cls, root: Path) -> set[Clip]:
        names = cls._columns(root, lambda name: name == "names")[0]["names"].tolist()
        keys = [name.partition(" ")[::2] for name in names]
        return set().union(*(_clips_named(int(subject[1:]), [sequence]) for subject, sequence in keys))


class H36MMartinez(_WorldForm):
    """Martinez's h36m folder: S9/MyPoses/3D_positions/Directions 1.h5, 32 joints in millimetres in the world frame."""

    name = "h36m-martinez"
    card = card_of(
        "h36m-martinez", "the h5 files of 3d-pose-baseline (Martinez)", "http://vision.imar.ro/human3.6m; h36m.zip was withdrawn"
    )

    def _expected(self) -> str:
        return f"S9/{_H5_FOLDER}/Directions 1.h5, and so on"

    def _sequences(self, subject: int) -> Iterable[tuple[str, np.ndarray]]:
        files = sorted((self.root / f"S{subject}" / _H5_FOLDER).glob("*.h5"))
        if files:
            columns, hashes = indexed_with_hashes(
                "h36m-martinez", _INDEX_VERSION, files, lambda: {path.stem: narrowed(_load_h5(path)) for path in files}
            )
            self._hashes |= hashes
            for name, joints in columns.items():
                yield name.replace("_", " "), joints.astype(np.float64).T.reshape(-1, 32, 3) / 1000

    @classmethod
    def _clips_in(cls, root: Path) -> set[Clip]:
        folders = {subject: root / f"S{subject}" / _H5_FOLDER for subject in SUBSETS["all"].subjects}
        found = set().union(*(_clips_named(s, (path.stem.replace("_", " ") for path in f.glob("*.h5"))) for s, f in folders.items()))
        if not found:
            raise DataError(f"No S*/{_H5_FOLDER}/*.h5 in {root}, which holds {held_in(root)}. {cls.where()}")
        return found


def load_npz(path: Path, where: str) -> Mapping[str, Mapping[str, Any]]:
    """{"S9": {"Directions 1": (F, 32, 3) m}} of a data_3d_h36m.npz, whose pickle can run nothing. Raises DataError, UnsafePickleError."""
    if not path.is_file():
        raise DataError(f"No {path}; {path.parent} holds {held_in(path.parent)}. {where}")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{_KEY}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read_header(stream)
            pickled = stream.read()
    except (OSError, KeyError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no npz with '{_KEY}' ({error}). It is cut off or another file: make it again.") from error
    if not dtype.hasobject or shape != ():
        raise DataError(f"{path}: '{_KEY}' is an array of {dtype} {shape}, expected one pickled dict of subjects. Make it again.")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"{path.name} {_KEY}"
        copy.write_bytes(pickled)
        content = load_pickle(copy)
    subjects = content.item() if isinstance(content, np.ndarray) and content.shape == () else content
    if not isinstance(subjects, dict) or not all(isinstance(actions, dict) for actions in subjects.values()):
        raise DataError(f"{path}: '{_KEY}' holds no dict of subjects, expected {{'S9': {{'Directions 1': ...}}}}. Make it again.")
    return subjects


def _npz_columns(path: Path, where: str) -> Columns:
    """The npz as the arrays of an index: "S9 Directions 1" and the like, (F, 32, 3) m, and their "names". Raises as ``load_npz``."""
    subjects, columns = load_npz(path, where), {}
    for subject in SUBSETS["all"].subjects:
        for name, joints in subjects.get(f"S{subject}", {}).items():
            _known(path.parent, subject, str(name))
            columns[f"S{subject} {name}"] = narrowed(_checked(path, f"S{subject} {name}", joints))
    return columns | {"names": np.array(list(columns), dtype=str)}


def _load_h5(path: Path) -> np.ndarray:
    """The joints (96, F) mm of one of Martinez's files. Raises DataError."""
    try:
        with h5py.File(path, "r") as file:
            joints = np.asarray(file[_H5_KEY][()], dtype=np.float64)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no h5 file with '{_H5_KEY}' ({error}). Copy it again.") from error
    if joints.ndim != 2 or len(joints) != 96 or not joints.size or not np.isfinite(joints).all():
        raise DataError(
            f"{path}: '{_H5_KEY}' has shape {joints.shape}, expected (96, frames) finite numbers of at least one frame. Copy it again."
        )
    return joints


def _checked(path: Path, name: str, joints: Any) -> np.ndarray:
    if not isinstance(joints, np.ndarray) or joints.dtype.kind != "f" or joints.ndim != 3 or joints.shape[1:] != (32, 3):
        found = f"{joints.dtype} of shape {joints.shape}" if isinstance(joints, np.ndarray) else f"a {type(joints).__name__}"
        raise DataError(f"{path}: {name} holds {found}, expected (frames, 32, 3) numbers with all 32 joints. Make it again.")
    if not len(joints) or not np.isfinite(joints).all():
        raise DataError(f"{path}: {name} holds {len(joints)} frames or NaN, expected finite numbers of at least one frame. Make it again.")
    return joints.astype(np.float64)
