"""Where the picture of a frame lies: among extracted images, or in a video."""

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from hpsbench.datasets.base_h36m_names import RENAMED, Clip
from hpsbench.errors import DataError
from hpsbench.image import image_size, read_sized

# Videos and poses differ in length by a frame or two; a picture that is missing before that is an error.
TAIL = 5
_OPEN_VIDEOS = 4
_OTHERWISE = " as the rest of its clip. Extract it again."


@dataclass(frozen=True)
class Images:
    """Extracted frames of a clip: frame i (from 0) lies in ``pattern`` with i + 1 put in. ``size`` (width, height) px."""

    pattern: str
    names: frozenset[str]
    size: tuple[int, int]
    reducible: ClassVar[bool] = True

    def has(self, frames: np.ndarray) -> np.ndarray:
        """Which of the frames (N,) have a picture."""
        return np.array([os.path.basename(self.path(i)) in self.names for i in frames.tolist()], dtype=bool)

    def path(self, frame: int) -> str:
        """The file of a frame."""
        return self.pattern.format(frame + 1)

    def read(self, frame: int, reduction: int = 1) -> np.ndarray:
        """The picture of a frame, (H, W, 3) RGB. Raises DataError."""
        return read_sized(self.path(frame), self.size, _OTHERWISE, reduction)


@dataclass(frozen=True)
class Video:
    """The frames of a clip in a video with ``count`` of them. ``size`` (width, height) px."""

    file: str
    count: int
    size: tuple[int, int]
    reducible: ClassVar[bool] = False

    def has(self, frames: np.ndarray) -> np.ndarray:
        """Which of the frames (N,) the video has."""
        return frames < self.count

    def path(self, frame: int) -> str:
        """The video, and the frame's number in it."""
        return f"{self.file}, frame {frame}"

    def read(self, frame: int) -> np.ndarray:
        """The picture of a frame, (H, W, 3) RGB. Raises DataError. Going forward in order is fastest."""
        return read_video_frame(self.file, frame, self.size)


class Pictures:
    """Finds the pictures of clips below ``root``, as videos or as frames in any of the spellings that are about.

    images/S9_Directions_1.54138969_000001.jpg, images/s_09_act_02_subact_01_ca_01/s_09_act_02_subact_01_ca_01_000001.jpg,
    S9/Directions-1/imageSequence/54138969/img_000001.jpg, S9/Videos/Directions 1.54138969.mp4; the first that exists is taken.
    """

    def __init__(self, root: Path):
        self.root = root
        self._listed: dict[Path, frozenset[str]] = {}

    def find(self, clip: Clip, frame: int) -> Images | Video:
        """The pictures of a clip, judged by those of ``frame``. Raises DataError where there are none."""
        patterns = self._patterns(clip)
        for pattern in patterns:
            path = Path(pattern.format(frame + 1))
            if path.name in self._names(path.parent):
                return Images(pattern, self._names(path.parent), image_size(path))
        video = self.root / f"S{clip.subject}" / "Videos" / f"{clip.file_stem}.mp4"
        if video.is_file():
            return open_video(video)
        tried = ", ".join([*(pattern.format(frame + 1) for pattern in patterns), str(video)])
        raise DataError(f"No picture of {clip.name}, looked for {tried}. Unpack the videos of S{clip.subject}, or extract their frames.")

    def _patterns(self, clip: Clip) -> list[str]:
        flat = f"S{clip.subject}_{clip.file_stem.replace(' ', '_')}"
        olds = [old for old, new in RENAMED.items() if new == clip.action_name]
        below = [f"images/{flat}_", f"images/{clip.name}/{clip.name}_"]
        for action in (clip.action_name, *olds):
            below.append(f"S{clip.subject}/{action}-{clip.subaction}/imageSequence/{clip.camera_id}/img_")
        return [str(self.root / text).replace("{", "{{").replace("}", "}}") + "{:06d}.jpg" for text in below]

    def _names(self, folder: Path) -> frozenset[str]:
        if folder not in self._listed:
            self._listed[folder] = frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()
        return self._listed[folder]


def _sized(image: np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    height, width = image.shape[:2]
    if (width, height) != size:
        raise DataError(f"{name} is {width} x {height} px, expected {size[0]} x {size[1]}{_OTHERWISE}")
    return image


def open_video(path: Path) -> Video:
    """A video by its header. Raises DataError where it is none."""
    capture = cv2.VideoCapture(str(path))
    keys = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    count, width, height = (int(capture.get(key)) for key in keys)
    opened = capture.isOpened()
    capture.release()
    if not opened or min(count, width, height) < 1:
        raise DataError(f"Video {path} cannot be opened. Expected frames and a size in its header; unpack it again.")
    return Video(str(path), count, (width, height))


class _OpenVideos:
    """The videos that were last read from in this process, each where it stands: opened anew in a forked one.

    A frame is found by counting from the start, never by seeking, which can be some frames off in a compressed video: going
    forward costs the frames between, going back all before.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.process = os.getpid()
        self.captures: OrderedDict[str, tuple[cv2.VideoCapture, int]] = OrderedDict()

    def take(self, path: str, frame: int) -> np.ndarray | None:
        """The frame in BGR, or None where the video does not have it."""
        with self.lock:
            if self.process != os.getpid():
                self.process, self.captures = os.getpid(), OrderedDict()
            capture, at = self.captures.pop(path, (None, 0))
            if capture is None or at > frame:
                capture, at = cv2.VideoCapture(path), 0
            found = all(capture.grab() for _ in range(frame + 1 - at))
            image = capture.retrieve()[1] if found else None
            if found:
                self.captures[path] = (capture, frame + 1)
            while len(self.captures) > _OPEN_VIDEOS:
                self.captures.popitem(last=False)[1][0].release()
            return image


_VIDEOS = _OpenVideos()


def read_video_frame(path: str, frame: int, size: tuple[int, int]) -> np.ndarray:
    """Frame ``frame`` (from 0) of a video, (H, W, 3) RGB uint8. Raises DataError where it has none or is of another ``size``."""
    image = _VIDEOS.take(path, frame)
    if image is None:
        raise DataError(f"Video {path} has no frame {frame}, although its header promises it. It is cut off or damaged: unpack it again.")
    return _sized(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), size, path)
