"""Human3.6M as released: CDF poses, metadata.xml, videos or frames extracted from them."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hpsbench.datasets.base_h36m import H36MLayout, card_of
from hpsbench.datasets.base_h36m_camera import Camera, find_metadata, load_metadata
from hpsbench.datasets.base_h36m_cdf import load_boxes, load_pose
from hpsbench.datasets.base_h36m_clips import Annotated
from hpsbench.datasets.base_h36m_names import CAMERAS, SUBSETS, Clip, sequence_of
from hpsbench.errors import DataError

_MONO, _WORLD, _FLAT = "D3_Positions_mono", "D3_Positions", "D2_Positions"
_MASKS = ("ground_truth_bb", "ground_truth_bs")


class H36M(H36MLayout):
    """S1 to S11 as unpacked from the release, beside Release-v1.2/metadata.xml.

    3D from D3_Positions_mono, or where a subject lacks it from D3_Positions through the cameras (mono_universal is never
    read: it is another skeleton, and fits no picture). ``keypoints2d`` and the box rule "keypoints" are D2_Positions, "masks" are
    the rectangles of MySegmentsMat.
    """

    name = "h36m"
    card = card_of("h36m", "the raw release: mocap joints, four calibrated cameras with lens distortion, videos")
    box_rules = ("joints-in-image", "keypoints", "masks")

    def _expected(self) -> str:
        return f"S9/MyPoseFeatures/{_MONO}/Directions 1.54138969.cdf or S9/MyPoseFeatures/{_WORLD}/Directions 1.cdf, and so on"

    def _annotated(self, wanted: Sequence[Clip]) -> Iterable[Annotated]:
        metadata = find_metadata(self.root, self.where())
        cameras = load_metadata(metadata)
        self._files.append(metadata)
        here = self._clips_in(self.root)
        for clip in wanted:
            if clip in here:
                yield self._clip(clip, cameras[clip.subject, clip.camera])

    def _clip(self, clip: Clip, camera: Camera) -> Annotated:
        features = self.root / f"S{clip.subject}" / "MyPoseFeatures"
        mono, world = features / _MONO / f"{clip.file_stem}.cdf", features / _WORLD / f"{clip.sequence}.cdf"
        path = mono if mono.is_file() else world
        joints = load_pose(path, 3) / 1000
        self._files.append(path)
        flat = features / _FLAT / f"{clip.file_stem}.cdf"
        return Annotated(
            clip=clip,
            camera=camera,
            frames=np.arange(len(joints)),
            joints=joints if path == mono else camera.to_camera(joints),
            skeleton="h36m32",
            keypoints=self._keypoints(flat, len(joints)),
            boxes=partial(load_boxes, self._masks(clip)),
        )

    def _keypoints(self, path: Path, count: int) -> np.ndarray | None:
        """D2_Positions (count, 32, 2) px, NaN past its end; None without the file, unless boxes are to be made from it."""
        if not path.is_file() and self.rules[1] != "keypoints":
            return None
        found = load_pose(path, 2)[:count]
        self._files.append(path)
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
            odd = sorted({name for name in poses if not name.startswith("_ALL") and not sequence_of(subject, name.split(".")[0])})
            if odd:
                lines.append(("warning", f"S{subject}: {len(odd)} pose files of no known sequence, the first is '{odd[0]}'"))
            videos = sum(not path.name.startswith("_ALL") for path in folder.glob("Videos/*.mp4"))
            if videos:
                lines.append(("ok" if videos == 120 else "warning", f"S{subject}: {videos} of 120 videos"))
        try:
            load_metadata(find_metadata(root, cls.where()))
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
            raise DataError(f"No Human3.6M poses in {root}, looked for S*/MyPoseFeatures/{_MONO}/*.cdf and {_WORLD}. {cls.where()}")
        return found
