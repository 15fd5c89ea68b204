"""Human3.6M as released: CDF poses, metadata.xml, videos or frames extracted from them."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hpsbench.datasets.base_h36m import H36MLayout, card_of
from hpsbench.datasets.base_h36m_camera import Camera, cameras_of, find_metadata
from hpsbench.datasets.base_h36m_cdf import load_boxes, load_pose, no_pose
from hpsbench.datasets.base_h36m_clips import Annotated
from hpsbench.datasets.base_h36m_files import held_in
from hpsbench.datasets.base_h36m_names import CAMERAS, SUBSETS, Clip, sequence_of
from hpsbench.datasets.base_index import Columns, indexed_with_hashes, narrowed
from hpsbench.errors import DataError

_MONO, _WORLD, _FLAT = "D3_Positions_mono", "D3_Positions", "D2_Positions"
_MASKS = ("ground_truth_bb", "ground_truth_bs")
# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 1


class H36M(H36MLayout):
    """S1 to S11 as unpacked from the release, beside Release-v1.2/metadata.xml.

    3D from D3_Positions_mono, or where a subject lacks it from D3_Positions through the cameras (mono_universal is never
    read: it is another skeleton, and fits no picture). ``keypoints2d`` and the box rule "keypoints" are D2_Positions, "masks" are
    the rectangles of MySegmentsMat.

    The index has all pose files of a subject as they are, each a column, and is read for those of the wanted clips alone.
    """

    name = "h36m"
    card = card_of("h36m", "the raw release: mocap joints, four calibrated cameras with lens distortion, videos")
    box_rules = ("joints-in-image", "keypoints", "masks")

    def _expected(self) -> str:
        return f"S9/MyPoseFeatures/{_MONO}/Directions 1.54138969.cdf or S9/MyPoseFeatures/{_WORLD}/Directions 1.cdf, and so on"

    def _annotated(self, wanted: Sequence[Clip]) -> Iterable[Annotated]:
        here = self._clips_in(self.root)
        cameras = self._cameras()
        for subject in sorted({clip.subject for clip in here.intersection(wanted)}):
            poses = {clip: self._pose(clip) for clip in sorted(here) if clip.subject == subject}
            flats = [self._flat(clip) for clip in poses]
            files = [*dict.fromkeys(poses.values()), *(path for path in flats if path.is_file())]
            clips = [clip for clip in wanted if clip in poses]
            names = {_column(path) for clip in clips for path in (poses[clip], self._flat(clip))}
            columns, hashes = indexed_with_hashes("h36m", _INDEX_VERSION, files, partial(_columns_of, files), keep=names.__contains__)
            for clip in clips:
                self._hashes |= {path: hashes[path] for path in (poses[clip], self._flat(clip)) if path in hashes}
                yield self._clip(clip, cameras[subject, clip.camera], poses[clip], columns)

    def _pose(self, clip: Clip) -> Path:
        """Where the joints of a clip are: in its camera's frame if there is such a file, else in the world."""
        features = self.root / f"S{clip.subject}" / "MyPoseFeatures"
        mono, world = features / _MONO / f"{clip.file_stem}.cdf", features / _WORLD / f"{clip.sequence}.cdf"
        return mono if mono.is_file() else world

    def _flat(self, clip: Clip) -> Path:
        return self.root / f"S{clip.subject}" / "MyPoseFeatures" / _FLAT / f"{clip.file_stem}.cdf"

    def _clip(self, clip: Clip, camera: Camera, pose: Path, columns: Columns) -> Annotated:
        joints = columns[_column(pose)].astype(np.float64) / 1000
        return Annotated(
            clip=clip,
            camera=camera,
            frames=np.arange(len(joints)),
            joints=joints if pose.parent.name == _MONO else camera.to_camera(joints),
            skeleton="h36m32",
            keypoints=self._keypoints(self._flat(clip), len(joints), columns),
            boxes=partial(load_boxes, self._masks(clip)),
        )

    def _keypoints(self, path: Path, count: int, columns: Columns) -> np.ndarray | None:
        """D2_Positions (count, 32, 2) px, NaN past its end; None without the file, unless boxes are to be made from it."""
        if _column(path) not in columns:
            if self.rules[1] == "keypoints":
                raise no_pose(path)
            return None
        found = columns[_column(path)][:count].astype(np.float64)
        return np.concatenate([found, np.full((count - len(found), 32, 2), np.nan)])

    def _masks(self, clip: Clip) -> Path:
        folder = self.root / f"S{clip.subject}" / "MySegmentsMat"
        paths = [folder / name / f"{clip.file_stem}.mat" for name in _MASKS]
        return next((path for path in paths if path.is_file()), paths[0])

    @classmethod
    def inspect(cls, root: Path) -> list[tuple[str, str]]:
        """As for every form, and: files of unknown names, the metadata, and the number of videos."""
        root, lines = Path(root), super().inspect(root)
        for subject in SUBSETS["all"].subjects:
            folder = root / f"S{subject}"
            poses = (path.name for kind in (_MONO, _WORLD, _FLAT) for path in (folder / "MyPoseFeatures" / kind).glob("*.cdf"))
            odd = sorted({name for name in poses if not name.startswith("_ALL") and not _is_known(subject, name)})
            if odd:
                lines.append(("warning", f"S{subject}: {len(odd)} pose files of no known sequence or camera, the first is '{odd[0]}'"))
            videos = sum(not path.name.startswith("_ALL") for path in folder.glob("Videos/*.mp4"))
            if videos:
                lines.append(("ok" if videos == 120 else "warning", f"S{subject}: {videos} of 120 videos"))
        try:
            cameras_of(find_metadata(root, cls.where()))
        except DataError as error:
            lines.append(("error", str(error)))
        return lines

    @classmethod
    def _clips_in(cls, root: Path) -> set[Clip]:
        found = set()
        for subject in SUBSETS["all"].subjects:
            features = root / f"S{subject}" / "MyPoseFeatures"
            for path in (*features.glob(f"{_MONO}/*.cdf"), *features.glob(f"{_WORLD}/*.cdf")):
                name, _, camera = path.stem.partition(".")
                key = sequence_of(subject, name)
                cameras = [CAMERAS.index(camera)] if camera in CAMERAS else range(len(CAMERAS)) if not camera else ()
                found |= {Clip(subject, *key, c) for c in cameras} if key else set()
        if not found:
            raise DataError(
                f"No Human3.6M poses in {root}, which holds {held_in(root)}; looked for S*/MyPoseFeatures/{_MONO}/*.cdf and {_WORLD}. "
                f"{cls.where()}"
            )
        return found


def _is_known(subject: int, name: str) -> bool:
    """Whether a pose file "Directions 1.cdf" or "Directions 1.54138969.cdf" is of a sequence and a camera of the release."""
    sequence, *camera, _ = name.split(".")
    return sequence_of(subject, sequence) is not None and (not camera or (len(camera) == 1 and camera[0] in CAMERAS))


def _column(path: Path) -> str:
    return f"{path.parent.name} {path.stem}"


def _columns_of(files: Sequence[Path]) -> Columns:
    """Pose files as the arrays of an index: (F, 32, 3) mm or (F, 32, 2) px by the name of folder and file."""
    return {_column(path): narrowed(load_pose(path, 2 if path.parent.name == _FLAT else 3)) for path in files}
