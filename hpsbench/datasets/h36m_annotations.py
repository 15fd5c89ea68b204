"""Human3.6M's annotation files, made by others for pictures that were extracted: PoseNet's and HybrIK's json, h36m-fetch's h5."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.datasets.base_h36m import H36MLayout, card_of
from hpsbench.datasets.base_h36m_camera import Camera, lens_of, real_lens
from hpsbench.datasets.base_h36m_clips import Annotated
from hpsbench.datasets.base_h36m_files import (
    camera_numbers,
    clips_held,
    clips_in_text,
    fetched_columns,
    finite,
    held_in,
    hybrik_camera,
    load_json,
    of_clips,
    take_of,
    world_of,
)
from hpsbench.datasets.base_h36m_names import ACTIONS, CAMERAS, RENAMED, SUBSETS, TEST, TRAIN, Clip, parse_clip
from hpsbench.datasets.base_index import Columns, indexed_with_hashes, narrowed
from hpsbench.errors import DataError

_DEPTHS = (1.5, 10.0)
# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 1
# HybrIK's SMPL fits.
_FITS = {"thetas": (24, 3), "betas": (10,), "root_coord": (3,)}
_Rows = dict[Clip, list[tuple[int, dict[str, Any]]]]


def _boxes_of(xywh: np.ndarray) -> Any:
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    return lambda rows: corners[rows]


class _JsonForm(H36MLayout):
    """Annotation files that list images and annotations."""

    box_rules = ("joints-in-image", "annotation")

    @classmethod
    def _rows(cls, path: Path) -> _Rows:
        """{clip: [(frame from 0, annotation)] by frame} of a file with parallel or linked lists of images and annotations."""
        content = load_json(path, "images", "annotations")
        try:
            clips: _Rows = defaultdict(list)
            for name, annotation in cls._pairs(path, content["images"], content["annotations"]):
                clip = parse_clip(name)
                if clip is None:
                    raise DataError(f"{path}: image '{name}' names no clip, expected s_09_act_02_subact_01_ca_04_000001.jpg.")
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
            return finite(np.array([np.asarray(annotation[key], dtype=np.float64).reshape(shape) for _, annotation in rows]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
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
        names = {name for clip in wanted for name in (clip.name, take_of(clip))}
        for subject in sorted({clip.subject for clip in wanted}):
            stem = f"annotations/Human36M_subject{subject}_"
            files = [self.root / f"{stem}{kind}.json" for kind in ("data", "camera", "joint_3d")]
            if not files[0].is_file():
                continue
            columns, hashes = indexed_with_hashes(
                "h36m-json", _INDEX_VERSION, files, partial(self._columns, *files), rules={"subject": subject}, keep=of_clips(names)
            )
            self._hashes |= hashes
            for clip in clips_held(columns):
                yield self._clip(clip, columns, files[1])

    @classmethod
    def _columns(cls, data: Path, camera: Path, joint_3d: Path) -> Columns:
        """A subject as the arrays of an index. Of each clip "frames" (F,), "bbox" (F, 4) xywh px and the numbers of its "camera"; of each
        sequence, which four cameras see, the "numbers" (M,) of the frames that any of them has, and its "world" (M, 17, 3) mm."""
        clips, cameras, joints = cls._rows(data), load_json(camera), load_json(joint_3d)
        columns: Columns = {}
        takes: dict[str, set[int]] = defaultdict(set)
        for clip, rows in clips.items():
            frames = [frame for frame, _ in rows]
            takes[take_of(clip)].update(frames)
            columns[f"frames {clip.name}"] = np.array(frames)
            columns[f"bbox {clip.name}"] = narrowed(cls._numbers(data, rows, "bbox", 4))
            columns[f"camera {clip.name}"] = camera_numbers(camera, cameras, clip)
        for clip in {take_of(clip): clip for clip in clips}.values():
            numbers = sorted(takes[take_of(clip)])
            columns[f"numbers {take_of(clip)}"] = np.array(numbers)
            columns[f"world {take_of(clip)}"] = narrowed(world_of(joint_3d, joints, clip, numbers))
        return columns

    def _clip(self, clip: Clip, columns: Columns, path: Path) -> Annotated:
        frames, take = columns[f"frames {clip.name}"], take_of(clip)
        rows = np.searchsorted(columns[f"numbers {take}"], frames)
        world = columns[f"world {take}"][rows].astype(np.float64) / 1000
        camera = _camera_of(path, columns[f"camera {clip.name}"], clip, world[:, 0])
        boxes = _boxes_of(columns[f"bbox {clip.name}"].astype(np.float64))
        return Annotated(clip, camera, frames, camera.to_camera(world), "h36m17-mocap", boxes=boxes)

    @classmethod
    def _clips_in(cls, root: Path) -> set[Clip]:
        return clips_in_text(sorted((root / "annotations").glob("Human36M_subject*_data.json")), cls.where(), root)


def _camera_of(path: Path, numbers: np.ndarray, clip: Clip, roots: np.ndarray) -> Camera:
    """The camera of ``camera_numbers``, by what it makes of the people's ``roots`` (F, 3) m in the world. Raises DataError."""
    R, t, f, c = numbers[:9].reshape(3, 3), numbers[9:12], numbers[12:14], numbers[14:]
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
            if subjects & set(group):
                yield from self._read_half(files[0], wanted)

    def _read_half(self, path: Path, wanted: Sequence[Clip]) -> Iterable[Annotated]:
        build, keep = partial(self._columns, path), of_clips({clip.name for clip in wanted})
        columns, hashes = indexed_with_hashes("h36m-hybrik", _INDEX_VERSION, [path], build, rules={"file": path.name}, keep=keep)
        self._hashes |= hashes
        for clip in clips_held(columns):
            yield self._clip(clip, columns, path)

    @staticmethod
    def _pairs(path: Path, images: list, annotations: list) -> Iterable[tuple[str, dict[str, Any]]]:
        """The two lists run in parallel."""
        if len(images) != len(annotations):
            raise DataError(f"{path}: {len(images)} images and {len(annotations)} annotations, expected one for one. Download it again.")
        return ((image["file_name"], annotation) for image, annotation in zip(images, annotations, strict=True))

    @classmethod
    def _columns(cls, path: Path) -> Columns:
        """A file as the arrays of an index, of each clip: "frames" (F,), "h36m_joints" (F, 17, 3) mm, "bbox" (F, 4) xywh px, f and c of its
        "lens" (2, 2), if the file has them the "rotation" (3, 3) of its camera and the SMPL fits."""
        columns: Columns = {}
        for clip, rows in cls._rows(path).items():
            lens, rotation = hybrik_camera(path, clip, rows[0][1])
            shapes = {"h36m_joints": (17, 3), "bbox": (4,)}
            shapes |= {key: shape for key, shape in _FITS.items() if all(key in annotation for _, annotation in rows)}
            columns[f"frames {clip.name}"] = np.array([frame for frame, _ in rows])
            columns |= {f"{key} {clip.name}": narrowed(cls._numbers(path, rows, key, *shape)) for key, shape in shapes.items()}
            columns |= {f"lens {clip.name}": lens} | ({} if rotation is None else {f"rotation {clip.name}": rotation})
        return columns

    def _clip(self, clip: Clip, columns: Columns, path: Path) -> Annotated:
        missing = [key for key in _FITS if f"{key} {clip.name}" not in columns] if self.fits else []
        if missing:
            raise DataError(f"{path}: '{missing[0]}' is missing in {clip.name}. Use 'h36m-hybrik', or download a file with SMPL fits.")

        def read(key: str) -> np.ndarray:
            return columns[f"{key} {clip.name}"].astype(np.float64)

        lens = lens_of(clip.camera_id, *columns[f"lens {clip.name}"], path)
        return Annotated(
            clip=clip,
            camera=Camera(lens.intrinsics, lens.distortion, columns.get(f"rotation {clip.name}"), None),
            frames=columns[f"frames {clip.name}"],
            joints=read("h36m_joints") / 1000,
            skeleton="h36m17",
            boxes=_boxes_of(read("bbox")),
            rotvecs=read("thetas") if self.fits else None,
            betas=read("betas") if self.fits else None,
            roots=read("root_coord") / 1000 if self.fits else None,
        )

    @classmethod
    def _clips_in(cls, root: Path) -> set[Clip]:
        return clips_in_text([*cls._files_of(root, "train"), *cls._files_of(root, "test")], cls.where(), root)


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
        paths = self._paths(self.root)
        for subject in sorted({clip.subject for clip in wanted}):
            clips = {clip: paths[clip[:3]] for clip in wanted if clip.subject == subject and clip[:3] in paths}
            files = [path for key, path in paths.items() if key[0] == subject]
            if clips:
                keep = of_clips({clip.name for clip in clips})
                build = partial(fetched_columns, {key: path for key, path in paths.items() if key[0] == subject})
                columns, hashes = indexed_with_hashes("h36m-fetch", _INDEX_VERSION, files, build, keep=keep)
                self._hashes |= {path: hashes[path] for path in clips.values()}
                yield from (_fetched(clip, columns, path) for clip, path in clips.items() if f"frames {clip.name}" in columns)

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
            raise DataError(f"No S*/*-1/annot.h5 in {root}, which holds {held_in(root)}. {cls.where()}")
        return found


def _fetched(clip: Clip, columns: Columns, path: Path) -> Annotated:
    if f"lens {clip.name}" not in columns:
        raise DataError(f"{path}: intrinsics lack camera {clip.camera_id}, which has frames. Make it again.")
    fx, cx, fy, cy = columns[f"lens {clip.name}"]
    lens_of(clip.camera_id, np.array([fx, fy]), np.array([cx, cy]), path)
    frames, joints, flat = (columns[f"{key} {clip.name}"] for key in ("frames", "joints", "flat"))
    return Annotated(clip, real_lens(clip.camera_id), frames - 1, joints / 1000.0, "h36m32", keypoints=flat)
