"""Human3.6M's annotation files, made by others for pictures that were extracted: PoseNet's and HybrIK's json, h36m-fetch's h5."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpsbench.datasets.base_h36m import H36MLayout, card_of
from hpsbench.datasets.base_h36m_camera import Camera, lens_of, real_lens
from hpsbench.datasets.base_h36m_clips import Annotated
from hpsbench.datasets.base_h36m_names import ACTIONS, CAMERAS, RENAMED, SUBSETS, TEST, TRAIN, Clip, parse_clip
from hpsbench.errors import DataError

_CLIP_NAME = re.compile(rb"s_\d\d_act_\d\d_subact_\d\d_ca_\d\d")
_DEPTHS = (1.5, 10.0)


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


def _boxes_of(xywh: np.ndarray) -> Any:
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return lambda rows: corners[rows]


def _clips_in_text(files: Sequence[Path], where: str, root: Path) -> set[Clip]:
    """The clips that annotation files name, read as text."""
    if not files:
        raise DataError(f"No Human3.6M annotation file in {root / 'annotations'}. {where}")
    names = set().union(*(_CLIP_NAME.findall(path.read_bytes()) for path in files))
    return {clip for clip in (parse_clip(name.decode()) for name in names) if clip}


class _JsonForm(H36MLayout):
    """Annotation files that list images and annotations."""

    box_rules = ("joints-in-image", "annotation")

    def _rows(self, path: Path, wanted: set[Clip]) -> dict[Clip, list[tuple[int, dict[str, Any]]]]:
        """{clip: [(frame from 0, annotation)] by frame} of a file with parallel or linked lists of images and annotations."""
        content = load_json(path, "images", "annotations")
        self._files.append(path)
        try:
            clips: dict[Clip, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
            for name, annotation in self._pairs(path, content["images"], content["annotations"]):
                clip = parse_clip(name)
                if clip is None:
                    raise DataError(f"{path}: image '{name}' names no clip, expected s_09_act_02_subact_01_ca_04_000001.jpg.")
                if clip in wanted:
                    clips[clip].append((int(name.rpartition("_")[2].partition(".")[0]) - 1, annotation))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: an image or annotation lacks {error}. Download it again.") from error
        return {clip: sorted(rows, key=lambda row: row[0]) for clip, rows in sorted(clips.items())}

    @staticmethod
    def _pairs(path: Path, images: list, annotations: list) -> Iterable[tuple[str, dict[str, Any]]]:
        """(file name of the image, annotation) of each annotation, by the id of its image."""
        del path
        names = {image["id"]: image["file_name"] for image in images}
        return ((names[annotation["image_id"]], annotation) for annotation in annotations)

    @staticmethod
    def _numbers(path: Path, rows: Sequence[tuple[int, dict[str, Any]]], key: str, *shape: int) -> np.ndarray:
        """An entry of every annotation, (N, *shape) float64."""
        try:
            return np.array([np.asarray(annotation[key], dtype=np.float64).reshape(shape) for _, annotation in rows])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: '{key}' is missing or not of shape {shape} ({error}). Download it again.") from error


class H36MJson(_JsonForm):
    """annotations/Human36M_subject9_{data,camera,joint_3d}.json of PoseNet, I2L and Pose2Mesh: 17 joints, world frame, millimetres.

    Whether a camera's t is R X + t or R (X - t) differs between releases: the one that puts people 1.5 to 10 m in front
    of the camera is taken.
    """

    name = "h36m-json"
    card = card_of("h36m-json", "annotation files of PoseNet, I2L and Pose2Mesh", "https://github.com/mks0601/3DMPPE_POSENET_RELEASE")

    def _expected(self) -> str:
        return "annotations/Human36M_subject9_data.json, _camera.json and _joint_3d.json, and so on"

    def _annotated(self, wanted: Sequence[Clip]) -> Iterable[Annotated]:
        for subject in sorted({clip.subject for clip in wanted}):
            stem = f"annotations/Human36M_subject{subject}_"
            data, camera, joint_3d = (self.root / f"{stem}{kind}.json" for kind in ("data", "camera", "joint_3d"))
            if not data.is_file():
                continue
            clips = self._rows(data, {clip for clip in wanted if clip.subject == subject})
            cameras, joints = load_json(camera), load_json(joint_3d)
            self._files += [camera, joint_3d]
            for clip, rows in clips.items():
                yield self._clip(clip, rows, data, (camera, cameras), (joint_3d, joints))

    def _clip(self, clip: Clip, rows: list, data: Path, cameras: tuple[Path, Any], joints: tuple[Path, Any]) -> Annotated:
        frames = np.array([frame for frame, _ in rows])
        path, content = joints
        try:
            take = content[str(clip.action)][str(clip.subaction)]
            world = np.array([take[str(frame)] for frame in frames.tolist()], dtype=np.float64).reshape(-1, 17, 3) / 1000
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: no 17 joints of {clip.name} ({error}). Download it again.") from error
        camera = _camera_of(cameras[0], cameras[1], clip, world[:, 0])
        boxes = _boxes_of(self._numbers(data, rows, "bbox", 4))
        return Annotated(clip, camera, frames, camera.to_camera(world), "h36m17-mocap", boxes=boxes)

    @classmethod
    def _clips_in(cls, root: Path) -> set[Clip]:
        return _clips_in_text(sorted((root / "annotations").glob("Human36M_subject*_data.json")), cls.where(), root)


def _camera_of(path: Path, content: Any, clip: Clip, roots: np.ndarray) -> Camera:
    """The camera of a PoseNet json, by what it makes of the people's ``roots`` (F, 3) m in the world."""
    try:
        found = content[str(clip.camera + 1)]
        R, t, f, c = (np.array(found[key], dtype=np.float64).reshape(shape) for key, shape in (("R", (3, 3)), ("t", 3), ("f", 2), ("c", 2)))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: no camera '{clip.camera + 1}' with R, t, f, c ({error}). Download it again.") from error
    lens = lens_of(clip.camera_id, f, c, path)
    for translation in (t / 1000, -R @ (t / 1000)):
        camera = Camera(lens.intrinsics, lens.distortion, R, translation)
        if _DEPTHS[0] < np.median(camera.to_camera(roots)[:, 2]) < _DEPTHS[1] and _mostly_inside(camera, roots):
            return camera
    raise DataError(
        f"{path}: with neither meaning of t are the people of {clip.name} {_DEPTHS[0]} to {_DEPTHS[1]} m in front of the camera and in its "
        "picture. The cameras are those of another subject or in another unit: download them again."
    )


def _mostly_inside(camera: Camera, roots: np.ndarray) -> bool:
    pixels = camera.project(camera.to_camera(roots))
    return bool(((pixels > 0) & (pixels < 1002)).all(-1).mean() > 0.5)


class H36MHybrik(_JsonForm):
    """HybrIK's annotations/Sample_*_{train,test}_Human36M*_protocol_2.json: mocap joints of 17 in the camera frame, millimetres.

    The test file holds every 20th frame, the train file every 5th: the rule "all" keeps what is there.
    """

    name = "h36m-hybrik"
    card = card_of("h36m-hybrik", "HybrIK's annotation files, every 5th and 20th frame", "https://github.com/Jeff-sjtu/HybrIK")
    fits = False

    def _expected(self) -> str:
        return "annotations/Sample_20_test_Human36M_smpl_protocol_2.json and its train file"

    @staticmethod
    def _files_of(root: Path, half: str) -> list[Path]:
        return sorted((root / "annotations").glob(f"Sample_*_{half}_Human36M*_protocol_2.json"))

    def _annotated(self, wanted: Sequence[Clip]) -> Iterable[Annotated]:
        subjects = {clip.subject for clip in wanted}
        for half, group in (("train", TRAIN), ("test", TEST)):
            files = self._files_of(self.root, half)
            if subjects & set(group) and len(files) != 1:
                names = ", ".join(path.name for path in files) or "none"
                raise DataError(
                    f"{len(files)} files of the {half} half in {self.root} ({names}), expected one. {self._expected()}. {self.where()}"
                )
            for clip, rows in (self._rows(files[0], set(wanted)) if subjects & set(group) else {}).items():
                yield self._clip(clip, rows, files[0])

    @staticmethod
    def _pairs(path: Path, images: list, annotations: list) -> Iterable[tuple[str, dict[str, Any]]]:
        """The two lists run in parallel."""
        if len(images) != len(annotations):
            raise DataError(f"{path}: {len(images)} images and {len(annotations)} annotations, expected one for one. Download it again.")
        return ((image["file_name"], annotation) for image, annotation in zip(images, annotations, strict=True))

    def _clip(self, clip: Clip, rows: list, path: Path) -> Annotated:
        read = self._numbers
        first = rows[0][1].get("cam_param")
        try:
            f, c = (np.array(first[key], dtype=np.float64).reshape(2) for key in ("f", "c"))
            pose = [np.array(first[key], dtype=np.float64).reshape(shape) for key, shape in (("R", (3, 3)), ("t", 3)) if key in first]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: 'cam_param' of {clip.name} lacks f and c ({error}). Download it again.") from error
        lens = lens_of(clip.camera_id, f, c, path)
        R = pose[0] if len(pose) == 2 else None
        return Annotated(
            clip=clip,
            camera=Camera(lens.intrinsics, lens.distortion, R, None),
            frames=np.array([frame for frame, _ in rows]),
            joints=read(path, rows, "h36m_joints", 17, 3) / 1000,
            skeleton="h36m17",
            boxes=_boxes_of(read(path, rows, "bbox", 4)),
            rotvecs=read(path, rows, "thetas", 24, 3) if self.fits else None,
            betas=read(path, rows, "betas", 10) if self.fits else None,
            roots=read(path, rows, "root_coord", 3) / 1000 if self.fits else None,
        )

    @classmethod
    def _clips_in(cls, root: Path) -> set[Clip]:
        return _clips_in_text([*cls._files_of(root, "train"), *cls._files_of(root, "test")], cls.where(), root)


class H36MHybrikSmpl(H36MHybrik):
    """As ``h36m-hybrik``, with the SMPL fits of the file in the truth as well: an evaluator that poses bodies then scores by these."""

    name = "h36m-hybrik-smpl"
    card = card_of("h36m-hybrik-smpl", "HybrIK's annotation files with their SMPL fits", "https://github.com/Jeff-sjtu/HybrIK")
    fits = True


class H36MFetch(H36MLayout):
    """The folder ``processed`` of h36m-fetch: S9/Directions-1/annot.h5 and imageSequence/<camera>/img_000001.jpg.

    It holds every 64th frame of S9 and S11 and those of the others in which somebody moved: the rule "all" keeps what is there.
    ``pose/3d`` (camera frame, mm) is read, never ``pose/3d-univ``, which is another skeleton. Its intrinsics (fx, cx, fy, cy) were
    fitted to bent pixels as if there was no distortion: they are held against the real camera's, which is then used.
    """

    name = "h36m-fetch"
    card = card_of("h36m-fetch", "h36m-fetch's annot.h5 with extracted frames", "https://github.com/anibali/h36m-fetch")
    box_rules = ("joints-in-image", "keypoints")

    def _expected(self) -> str:
        return "S9/Directions-1/annot.h5, and so on: the folder 'processed' of h36m-fetch"

    def _annotated(self, wanted: Sequence[Clip]) -> Iterable[Annotated]:
        for (subject, action, subaction), path in self._paths(self.root).items():
            clips = [clip for clip in wanted if clip[:3] == (subject, action, subaction)]
            if clips:
                self._files.append(path)
                yield from _fetched(path, clips)

    @staticmethod
    def _paths(root: Path) -> dict[tuple[int, int, int], Path]:
        found = {}
        for subject in SUBSETS["all"].subjects:
            for path in sorted((root / f"S{subject}").glob("*-[12]/annot.h5")):
                action, _, subaction = path.parent.name.rpartition("-")
                if RENAMED.get(action, action) in ACTIONS:
                    found[subject, ACTIONS.index(RENAMED.get(action, action)) + 2, int(subaction)] = path
        return found

    @classmethod
    def _clips_in(cls, root: Path) -> set[Clip]:
        found = {Clip(*key, c) for key in cls._paths(root) for c in range(len(CAMERAS))}
        if not found:
            raise DataError(f"No S*/*-1/annot.h5 in {root}. {cls.where()}")
        return found


def _fetched(path: Path, clips: Sequence[Clip]) -> Iterable[Annotated]:
    try:
        with h5py.File(path, "r") as file:
            if "pose/3d" not in file and "pose/3d-univ" in file:
                raise DataError(
                    f"{path} holds pose/3d-univ alone, whose skeleton fits no picture. Run a newer h36m-fetch, which adds pose/3d."
                )
            joints, flat, frames, cameras = (np.asarray(file[key]) for key in ("pose/3d", "pose/2d", "frame", "camera"))
            lenses = {name: np.asarray(numbers, dtype=np.float64).reshape(4) for name, numbers in file["intrinsics"].items()}
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is no annot.h5 of h36m-fetch ({error}). Make it again.") from error
    if joints.shape != (len(frames), 32, 3) or flat.shape != (len(frames), 32, 2) or cameras.shape != frames.shape:
        raise DataError(f"{path}: pose/3d {joints.shape}, pose/2d {flat.shape} and frame {frames.shape} do not fit. Make it again.")
    for clip in clips:
        rows = np.flatnonzero(cameras == int(clip.camera_id))
        if len(rows):
            if clip.camera_id not in lenses:
                raise DataError(f"{path}: intrinsics lack camera {clip.camera_id}, which has frames. Make it again.")
            fx, cx, fy, cy = lenses[clip.camera_id]
            lens_of(clip.camera_id, np.array([fx, fy]), np.array([cx, cy]), path)
            camera = real_lens(clip.camera_id)
            yield Annotated(clip, camera, frames[rows] - 1, joints[rows] / 1000.0, "h36m32", keypoints=flat[rows])
