"""MPI-INF-3DHP's names, subsets and cameras, and where its files and pictures lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpsbench.datasets.base_3dpw_files import folder_of
from hpsbench.datasets.base_h36m_frames import Images, Video, open_video
from hpsbench.errors import DataError, UnknownNameError
from hpsbench.image import image_size
from hpsbench.store import sha256_of_bytes

TEST_FOLDER = "mpi_inf_3dhp_test_set"
CAMERAS = tuple(range(14))
CHEST_HIGH = (0, 1, 2, 4, 5, 6, 7, 8)
# Frames of each camera that are usable, by subject: (Seq1, Seq2).
USABLE = {
    1: (6416, 12430), 2: (6502, 6081), 3: (12488, 12283), 4: (6171, 6675), 5: (12820, 12312), 6: (6188, 6145), 7: (6239, 6320),
    8: (6468, 6054),
}  # fmt: skip
# One video is shorter than its sequence.
SHORT_VIDEOS = {(6, 2, 2): 3911}
AT_50_FPS = ((1, 2), (3, 1), (3, 2), (5, 1), (5, 2))
VALID_FRAMES = {1: 603, 2: 540, 3: 505, 4: 553, 5: 276, 6: 452}
SCENES = {1: "green-screen", 2: "green-screen", 3: "studio", 4: "studio", 5: "outdoor", 6: "outdoor"}
ACTIVITIES = ("Standing/Walking", "Exercising", "Sitting", "Crouching/Reaching", "On the Floor", "Sports", "Miscellaneous")


class Clip(NamedTuple):
    """One view of one sequence: "S1_Seq2_V0" of the train set, "TS1" of the test set (``sequence`` and ``camera`` 0)."""

    split: str
    subject: int
    sequence: int
    camera: int

    @property
    def name(self) -> str:
        return f"TS{self.subject}" if self.split == "test" else f"S{self.subject}_Seq{self.sequence}_V{self.camera}"

    @property
    def folder(self) -> str:
        """The folder of its sequence: "TS1" or "S1/Seq2"."""
        return f"TS{self.subject}" if self.split == "test" else f"S{self.subject}/Seq{self.sequence}"

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px as published."""
        return (1920, 1080) if SCENES.get(self.subject) == "outdoor" and self.split == "test" else (2048, 2048)

    @property
    def usable(self) -> int | None:
        """Rows of the annotation that have a frame; None where all do."""
        if self.split == "test":
            return None
        whole = USABLE[self.subject][self.sequence - 1]
        return SHORT_VIDEOS.get((self.subject, self.sequence, self.camera), whole)


def _train(subjects: Sequence[int], cameras: Sequence[int]) -> tuple[Clip, ...]:
    return tuple(Clip("train", subject, sequence, camera) for subject in subjects for sequence in (1, 2) for camera in cameras)


def _test(*scenes: str) -> tuple[Clip, ...]:
    return tuple(Clip("test", subject, 0, 0) for subject, scene in SCENES.items() if scene in scenes)


# Subsets by name. "train-chest" has the eight cameras at chest height that are commonly used (VNect, HMR, SPIN).
SUBSETS: dict[str, tuple[Clip, ...]] = {
    "train": _train(tuple(USABLE), CAMERAS),
    "train-chest": _train(tuple(USABLE), CHEST_HIGH),
    "test": _test("green-screen", "studio", "outdoor"),
    "test-green-screen": _test("green-screen"),
    "test-studio": _test("studio"),
    "test-outdoor": _test("outdoor"),
    **{f"S{subject}": _train((subject,), CAMERAS) for subject in USABLE},
    **{f"TS{subject}": (Clip("test", subject, 0, 0),) for subject in SCENES},
}


def subset_sha256(subset: str) -> str:
    """SHA-256 over the lines "S1_Seq2_V0" or "TS1" of a subset's clips in order. Raises UnknownNameError."""
    if subset not in SUBSETS:
        raise UnknownNameError(subset, "subset of MPI-INF-3DHP", SUBSETS)
    return sha256_of_bytes("".join(f"{clip.name}\n" for clip in SUBSETS[subset]).encode())


@dataclass(frozen=True)
class Camera:
    """``intrinsics`` (3, 3) px; ``distortion`` (5,) k1, k2, p1, p2, k3 as OpenCV has them; ``world_to_camera`` (4, 4) m, if known."""

    intrinsics: np.ndarray
    distortion: np.ndarray
    world_to_camera: np.ndarray | None = None

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of camera-frame points (..., 3) m through the lens; NaN at or behind the camera."""
        return bent(points, self.distortion) @ self.intrinsics[:2, :2].T + self.intrinsics[:2, 2]


def bent(points: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Camera-frame points (..., 3) on the plane z = 1 behind the lens, (..., 2); NaN at or behind the camera."""
    k1, k2, p1, p2, k3 = distortion
    depth = np.where(points[..., 2] > 0, points[..., 2], np.nan)
    x, y = points[..., 0] / depth, points[..., 1] / depth
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack([x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], axis=-1)


def sequence_folder(root: Path, clip: Clip) -> Path:
    """Where the sequence of a clip lies below ``root``; whether it is there is not asked."""
    inner = folder_of(root, TEST_FOLDER)
    return inner / clip.folder if clip.split == "test" and inner.is_dir() else root / clip.folder


def annotation_file(root: Path, clip: Clip) -> Path:
    """The annotation file of a clip's sequence."""
    return sequence_folder(root, clip) / ("annot_data.mat" if clip.split == "test" else "annot.mat")


def find_pictures(folder: Path, clip: Clip, frame: int, names: dict[Path, frozenset[str]]) -> Images | Video:
    """The pictures of a clip, judged by that of ``frame``: extracted in any of the usual spellings, or a video.

    ``names`` remembers the folders that were listed. Raises DataError where there are none, or of another size than published.
    """
    stem = f"{clip.name}/img_{clip.name}_"
    below = [f"imageFrames/video_{clip.camera}/frame_", f"images/{stem}", f"imageSequence/img_{clip.camera}_"]
    below = ["imageSequence/img_"] if clip.split == "test" else below
    patterns = [str(folder / text).replace("{", "{{").replace("}", "}}") + "{:06d}.jpg" for text in below]
    video = folder / "imageSequence" / f"video_{clip.camera}.avi"
    found: Images | Video | None = None
    for pattern in patterns:
        path = Path(pattern.format(frame + 1))
        if path.parent not in names:
            names[path.parent] = frozenset(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else frozenset()
        if found is None and path.name in names[path.parent]:
            found = Images(pattern, names[path.parent], image_size(path))
    if found is None and clip.split == "train" and video.is_file():
        found = open_video(video)
    if found is None:
        tried = [pattern.format(frame + 1) for pattern in patterns] + [str(video)] * (clip.split == "train")
        raise DataError(
            f"No picture of {clip.name}, looked for {', '.join(tried)}. Download its videos (conf.ig names the cameras) or extract "
            "their frames, or choose a split without this view."
        )
    if found.size != clip.size:
        raise DataError(
            f"{found.path(frame)} is {found.size[0]} x {found.size[1]} px, expected {clip.size[0]} x {clip.size[1]}. Use the pictures "
            "as they were published, not resized."
        )
    return found


def has_pictures(folder: Path, clip: Clip) -> bool:
    """Whether a view of the train set has a video, or its first frame extracted, in the ``folder`` of its sequence."""
    try:
        find_pictures(folder, clip, 0, {})
    except DataError:
        return False
    return True


def load_calibration(path: Path) -> dict[int, Camera]:
    """{camera: Camera} of a camera.calibration text: 4 x 4 intrinsics and extrinsics (world to camera, mm). Raises DataError."""
    again = "Download the sequence again."
    try:
        lines = path.read_text(encoding="latin1").splitlines()
    except OSError as error:
        raise DataError(f"Could not read {path}: {error.strerror}. Expected the cameras of the sequence. {again}") from error
    found: dict[int, dict[str, np.ndarray]] = {}
    name = None
    for number, line in enumerate(lines, 1):
        word, *rest = line.split() or [""]
        try:
            if word == "name":
                name = int(rest[0])
            elif word in ("intrinsic", "extrinsic"):
                if name is None:
                    raise ValueError("no line 'name' before it")
                matrix = np.array([float(text) for text in rest[-16:]]).reshape(4, 4)
                found.setdefault(name, {})[word] = matrix
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}, line {number}: '{word}' has not the numbers expected ({error}). {again}") from error
    whole = {
        name: matrices for name, matrices in found.items() if len(matrices) == 2 and all(np.isfinite(m).all() for m in matrices.values())
    }
    if not whole:
        raise DataError(f"{path} holds no camera. Expected for each the lines name, intrinsic and extrinsic of 16 numbers. {again}")
    for matrices in whole.values():
        matrices["extrinsic"][:3, 3] /= 1000
    return {name: Camera(m["intrinsic"][:3, :3], np.zeros(5), m["extrinsic"]) for name, m in whole.items()}
