"""Lays given people out as Human3.6M: the raw release and the derived forms, byte for byte as its fact sheet has them.

Everything here is from the description of the data and nothing from the reader: names, orders, units and quirks are
written down a second time on purpose.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import cdflib.cdfwrite
import cv2
import h5py
import numpy as np

IDS = ("54138969", "55011271", "58860488", "60457274")
SIZES = ((1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002))
# fx, fy, cx, cy, k1, k2, k3, p1, p2.
LENSES = np.array([
    (1145.0494, 1143.7811, 512.5415, 515.4515, -0.2070989, 0.2477752, -0.0030752, -0.0014245, -0.0009757),
    (1149.6757, 1147.5916, 508.8486, 508.0649, -0.1942136, 0.2404085, 0.0068200, -0.0027409, -0.0016190),
    (1149.1407, 1148.7990, 519.8158, 501.4027, -0.2083382, 0.2554880, -0.0024605, -0.0007600, 0.0014844),
    (1145.5113, 1144.7739, 514.9682, 501.8820, -0.1983841, 0.2183237, -0.0089478, -0.0018134, -0.0005872),
])  # fmt: skip
# S1, camera 1: angles (rad), centre (mm).
S1_CAMERA_1 = ((-1.38382776, -3.16734304, 0.413636308), (1841.10703, 4955.28462, 1563.44540))
# Names of some sequences, quirks included: (subject, action, subaction).
NAMES = {
    (1, 4, 1): "Eating 2", (1, 12, 1): "TakingPhoto 1", (1, 15, 2): "WalkingDog", (5, 12, 2): "Photo 2", (6, 13, 1): "Waiting 3",
    (9, 2, 1): "Directions 1", (9, 5, 2): "Greeting", (9, 10, 2): "SittingDown 1", (9, 13, 1): "Waiting 1", (11, 2, 1): "Directions 1",
    (11, 2, 2): "Directions", (11, 6, 1): "Phoning 3", (11, 12, 1): "Photo 1",
}  # fmt: skip
ACTION_NAMES = [
    "_ALL",
    "Directions",
    "Discussion",
    "Eating",
    "Greeting",
    "Phoning",
    "Posing",
    "Purchases",
    "Sitting",
    "SittingDown",
    "Smoking",
    "Photo",
    "Waiting",
    "Walking",
    "WalkDog",
    "WalkTogether",
]
# Where each of the 32 raw joints is taken from among 17 that stand left leg first; None: made up beside another.
_RAW_FROM_17 = (
    0,
    4,
    5,
    6,
    None,
    None,
    1,
    2,
    3,
    None,
    None,
    0,
    7,
    8,
    9,
    10,
    8,
    11,
    12,
    13,
    None,
    None,
    None,
    None,
    8,
    14,
    15,
    16,
    *[None] * 4,
)
_BESIDE = {4: 3, 5: 3, 9: 8, 10: 8, 20: 19, 21: 19, 22: 19, 23: 19, 28: 27, 29: 27, 30: 27, 31: 27}
MOCAP_17 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
# Two of them that no score of the 14 joints takes.
SPINE, HEAD = 12, 14
LEFT_FIRST_17 = [0, 6, 7, 8, 1, 2, 3, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]


@dataclass(frozen=True)
class Take:
    """One sequence: ``world`` (F, 32, 3) m, z up; ``rotvecs`` (F, 24, 3) with the world's global orientation, ``betas`` (10,), and
    ``roots`` (F, 3) m: the SMPL pelvis."""

    subject: int
    action: int
    subaction: int
    world: np.ndarray
    rotvecs: np.ndarray
    betas: np.ndarray
    roots: np.ndarray

    @property
    def name(self) -> str:
        return NAMES[self.subject, self.action, self.subaction]

    def clip(self, camera: int) -> str:
        return f"s_{self.subject:02d}_act_{self.action:02d}_subact_{self.subaction:02d}_ca_{camera + 1:02d}"


@dataclass(frozen=True)
class Shown:
    """What one camera shows of a take: the JPEG of each frame, and the boxes (F, 4) xyxy px that the 2D annotation is to fill.

    The 2D of spine and head stand on the corners of the box, as no measured joint reaches it.
    """

    pictures: Sequence[bytes]
    boxes_xyxy: np.ndarray


def raw32(joints17: np.ndarray) -> np.ndarray:
    """32 raw joints (F, 32, 3) of 17 (F, 17, 3), left leg first: duplicates are exact, toes and thumbs lie near their limb's end."""
    out = np.empty((len(joints17), 32, 3))
    for i, source in enumerate(_RAW_FROM_17):
        if source is not None:
            out[:, i] = joints17[:, source]
    for i, source in _BESIDE.items():
        out[:, i] = out[:, source] + (0.02 * (i % 3), 0.03, -0.01 * (i % 2))
    return out


def euler(angles) -> np.ndarray:
    """Rx(a) Ry(b) Rz(c), each right-handed."""
    a, b, c = angles
    turns = [cv2.Rodrigues(np.array(axis) * angle)[0] for axis, angle in (((1.0, 0, 0), a), ((0, 1.0, 0), b), ((0, 0, 1.0), c))]
    return turns[0] @ turns[1] @ turns[2]


def rig() -> np.ndarray:
    """(4, 11, 6): for every camera and subject three angles and the centre in mm; around the origin, looking at it. S1's first is real."""
    poses = np.empty((4, 11, 6))
    for c in range(4):
        for s in range(11):
            around = np.pi / 4 + c * np.pi / 2 + 0.03 * s
            centre = np.array([4600 * np.cos(around), 4600 * np.sin(around), 1500 + 30 * c])
            z = (np.array([0, 0, 900.0]) - centre) / np.linalg.norm(np.array([0, 0, 900.0]) - centre)
            x = np.cross(z, [0, 0, 1.0]) / np.linalg.norm(np.cross(z, [0, 0, 1.0]))
            R = np.array([x, np.cross(z, x), z])
            angles = (np.arctan2(-R[1, 2], R[2, 2]), np.arcsin(R[0, 2]), np.arctan2(-R[0, 1], R[0, 0]))
            poses[c, s] = (*angles, *centre)
    poses[0, 0] = (*S1_CAMERA_1[0], *S1_CAMERA_1[1])
    return poses


def seen(take: Take, camera: int, points: np.ndarray | None = None) -> np.ndarray:
    """A take's joints, or world ``points``, in the frame of a camera, m: R (X - C)."""
    pose = rig()[camera, take.subject - 1]
    return ((take.world if points is None else points) - pose[3:] / 1000) @ euler(pose[:3]).T


def pixels(points: np.ndarray, camera: int, lenses: np.ndarray = LENSES) -> np.ndarray:
    """Camera-frame points on the picture: radial and tangential distortion by the release's formula, point by point."""
    fx, fy, cx, cy, k1, k2, k3, p1, p2 = lenses[camera]
    out = np.empty((*points.shape[:-1], 2))
    for place in np.ndindex(points.shape[:-1]):
        x, y = points[place][0] / points[place][2], points[place][1] / points[place][2]
        r2 = x**2 + y**2
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        tangential = p1 * y + p2 * x
        out[place] = fx * (x * (radial + tangential) + p2 * r2) + cx, fy * (y * (radial + tangential) + p1 * r2) + cy
    return out


def write_metadata(root: Path, lenses: np.ndarray = LENSES) -> Path:
    """Release-v1.2/metadata.xml: names, camera ids and ``w0``, its 300 numbers between brackets, a single space between two."""
    subjects = [f"S{s}" for s in range(1, 12)]
    rows = [["", "", *subjects]]
    for action in range(1, 17):
        for subaction in (1, 2):
            default = f"{ACTION_NAMES[action - 1]} 1" if subaction == 1 else ACTION_NAMES[action - 1]
            rows.append([str(action), str(subaction), *(NAMES.get((s, action, subaction), default) for s in range(1, 12))])
    mapping = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    numbers = np.concatenate([rig().reshape(-1), lenses.reshape(-1)])
    assert len(numbers) == 300
    text = (
        '<?xml version="1.0"?>\n<metadata>\n'
        f"<mapping>\n{mapping}</mapping>\n<actionnames>{''.join(f'<el>{name}</el>' for name in ACTION_NAMES)}</actionnames>\n"
        f"<dbcameras><index2id>{''.join(f'<el>{name}</el>' for name in IDS)}</index2id></dbcameras>\n"
        "<train_subjects>[1 7 8 9 11]</train_subjects><val_subjects>[5 6]</val_subjects>\n"
        f"<w0>[{' '.join(repr(float(number)) for number in numbers)}]</w0>\n</metadata>\n"
    )
    path = root / "Release-v1.2" / "metadata.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_cdf(path: Path, pose: np.ndarray, *, variable: str = "Pose", compress: int = 0) -> None:
    """A CDF with one float32 variable of shape (1, F, D)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb"):
        pass
    file = cdflib.cdfwrite.CDF(str(path), cdf_spec={"Majority": "row_major"}, delete=True)
    spec = {
        "Variable": variable,
        "Data_Type": 44,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(pose.shape),
        "Compress": compress,
    }
    file.write_var(spec, var_data=pose[None].astype(np.float32))
    file.close()


def write_raw(
    root: Path,
    takes: list[Take],
    *,
    mono: bool = True,
    pictures: str = "video",
    cameras=(0, 1, 2, 3),
    lenses: np.ndarray = LENSES,
    shown: Mapping[str, Shown] | None = None,
) -> None:
    """The release's tree. ``pictures``: "video" (one frame more than poses), "images" (SPIN's names), "none".

    ``lenses`` (4, 9): what the metadata says of the cameras. ``shown``: pictures and boxes by the clips' names, in the place of drawn ones.
    """
    write_metadata(root, lenses)
    for take in takes:
        features = root / f"S{take.subject}" / "MyPoseFeatures"
        frames = len(take.world)
        for name in ("_ALL", "_ALL 1"):
            write_cdf(features / "D3_Positions" / f"{name}.cdf", np.zeros((3, 96)))
        write_cdf(features / "D3_Positions" / f"{take.name}.cdf", take.world.reshape(frames, 96) * 1000, compress=6)
        for camera in cameras:
            joints = seen(take, camera)
            flat, stem = pixels(joints, camera, lenses), f"{take.name}.{IDS[camera]}"
            given = None if shown is None else shown[take.clip(camera)]
            if given is not None:
                flat[:, SPINE], flat[:, HEAD] = given.boxes_xyxy[:, :2], given.boxes_xyxy[:, 2:]
            if mono:
                write_cdf(features / "D3_Positions_mono" / f"{stem}.cdf", joints.reshape(frames, 96) * 1000)
            write_cdf(features / "D3_Positions_mono_universal" / f"{stem}.cdf", joints.reshape(frames, 96) * 1130)
            write_cdf(features / "D2_Positions" / f"{stem}.cdf", flat.reshape(frames, 64))
            if camera in (0, 3):
                write_masks(root / f"S{take.subject}" / "MySegmentsMat" / "ground_truth_bb" / f"{stem}.mat", flat, SIZES[camera])
            flat_name = f"S{take.subject}_{stem.replace(' ', '_')}"
            if given is not None:
                (root / "images").mkdir(exist_ok=True)
                for i, jpeg in enumerate(given.pictures):
                    (root / "images" / f"{flat_name}_{i + 1:06d}.jpg").write_bytes(jpeg)
            elif pictures == "video":
                write_video(root / f"S{take.subject}" / "Videos" / f"{stem}.mp4", flat, SIZES[camera])
            elif pictures == "images":
                write_images(root / "images", f"{flat_name}_{{:06d}}.jpg", flat, SIZES[camera], range(frames))


def mask_box(points: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The rectangle of whole pixels (x0, y0, x1, y1), ends excluded, that a mask marks for joints (J, 2), 10 px wider than they are."""
    low, high = np.floor(points.min(0)) - 10, np.ceil(points.max(0)) + 10
    return (*np.maximum(low, 0).astype(int).tolist(), *np.minimum(high, size).astype(int).tolist())


def write_masks(path: Path, flat: np.ndarray, size: tuple[int, int]) -> None:
    """A v7.3 mat: ``Masks`` (F, 1) of references to images that are stored transposed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        masks = file.create_dataset("Masks", (len(flat), 1), dtype=h5py.ref_dtype)
        masks.attrs["MATLAB_class"] = np.bytes_("cell")
        for i, points in enumerate(flat):
            image = np.zeros((size[1], size[0]), dtype=np.uint8)
            x0, y0, x1, y1 = mask_box(points, size)
            image[y0:y1, x0:x1] = 1
            stored = file.create_dataset(f"#refs#/m{i}", data=image.T, compression="gzip")
            stored.attrs["MATLAB_class"] = np.bytes_("logical")
            masks[i, 0] = stored.ref
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def picture(flat: np.ndarray, size: tuple[int, int], number: int) -> np.ndarray:
    """A grey level that tells the frame's number, with red joints, (H, W, 3) BGR."""
    image = np.full((size[1], size[0], 3), 40 + 12 * number, dtype=np.uint8)
    for x, y in flat:
        cv2.circle(image, (int(x), int(y)), 5, (0, 0, 255), -1)
    return image


def write_video(path: Path, flat: np.ndarray, size: tuple[int, int], more: int = 1) -> None:
    """An mp4 of 50 frames a second with ``more`` frames than there are poses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 50, size)
    for i in range(len(flat) + more):
        writer.write(picture(flat[min(i, len(flat) - 1)], size, i))
    writer.release()


def write_images(folder: Path, pattern: str, flat: np.ndarray, size: tuple[int, int], frames) -> None:
    """Frames as jpg whose number in the name is that of the frame plus 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in frames:
        cv2.imwrite(str(folder / pattern.format(i + 1)), picture(flat[i], size, i))


def write_npz(root: Path, takes: list[Take]) -> None:
    """VideoPose3D's data_3d_h36m.npz: {"S1": {"Directions 1": (F, 32, 3) float32 m, world}}, two actions of S1 renamed; metadata.xml."""
    positions: dict[str, dict[str, np.ndarray]] = {}
    for take in takes:
        name = take.name.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog")
        positions.setdefault(f"S{take.subject}", {})[name] = take.world.astype(np.float32)
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / "data_3d_h36m.npz", positions_3d=positions)
    write_metadata(root)


def write_martinez(root: Path, takes: list[Take]) -> None:
    """h36m/S9/MyPoses/3D_positions/Directions 1.h5: 3D_positions (96, F), mm, world; metadata.xml."""
    write_metadata(root)
    for take in takes:
        path = root / f"S{take.subject}" / "MyPoses" / "3D_positions" / f"{take.name}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["3D_positions"] = take.world.reshape(len(take.world), 96).T * 1000


def write_posenet(root: Path, takes: list[Take], *, centre: bool) -> None:
    """annotations/Human36M_subject#_{data,camera,joint_3d}.json and images/; ``centre``: t is the camera's centre, as in older releases."""
    for subject in sorted({take.subject for take in takes}):
        images, annotations, joints, cameras = [], [], {}, {}
        for camera in range(4):
            pose, lens = rig()[camera, subject - 1], LENSES[camera]
            R = euler(pose[:3])
            t = pose[3:] if centre else -R @ pose[3:]
            cameras[str(camera + 1)] = {"R": R.tolist(), "t": t.tolist(), "f": lens[:2].tolist(), "c": lens[2:4].tolist()}
        for take in (take for take in takes if take.subject == subject):
            at = joints.setdefault(str(take.action), {}).setdefault(str(take.subaction), {})
            at.update({str(i): (frame[MOCAP_17] * 1000).tolist() for i, frame in enumerate(take.world)})
            for camera in range(4):
                flat, clip, size = pixels(seen(take, camera), camera), take.clip(camera), SIZES[camera]
                write_images(root / "images" / clip, f"{clip}_{{:06d}}.jpg", flat, size, range(len(flat)))
                for i, points in enumerate(flat):
                    low, high = points.min(0), points.max(0)
                    name = {"id": len(images), "file_name": f"{clip}/{clip}_{i + 1:06d}.jpg", "width": size[0], "height": size[1]}
                    place = {"subject": subject, "action_name": ACTION_NAMES[take.action - 1], "action_idx": take.action}
                    images.append({**name, **place, "subaction_idx": take.subaction, "cam_idx": camera + 1, "frame_idx": i})
                    box = {"bbox": [*low.tolist(), *(high - low).tolist()], "keypoints_vis": [True] * 17}
                    annotations.append({"id": len(annotations), "image_id": len(annotations), **box})
        for kind, content in (("data", {"images": images, "annotations": annotations}), ("camera", cameras), ("joint_3d", joints)):
            _json(root / "annotations" / f"Human36M_subject{subject}_{kind}.json", content)


def write_hybrik(root: Path, takes: list[Take]) -> None:
    """annotations/Sample_20_test_Human36M_smpl_protocol_2.json and the train file of every 5th frame: parallel lists, mm, camera frame."""
    names = {"train": "Sample_5_train_Human36M_smpl_leaf_twist_protocol_2.json", "test": "Sample_20_test_Human36M_smpl_protocol_2.json"}
    for half, step in (("train", 5), ("test", 20)):
        images, annotations = [], []
        for take in (take for take in takes if (take.subject in (9, 11)) == (half == "test")):
            for camera in range(4):
                R, clip, size = euler(rig()[camera, take.subject - 1, :3]), take.clip(camera), SIZES[camera]
                joints, roots = seen(take, camera), seen(take, camera, take.roots)
                flat = pixels(joints, camera)
                frames = range(0, len(flat), step)
                write_images(root / "images" / clip, f"{clip}_{{:06d}}.jpg", flat, size, frames)
                for i in frames:
                    rotvecs = take.rotvecs[i].copy()
                    rotvecs[0] = cv2.Rodrigues(R @ cv2.Rodrigues(rotvecs[0])[0])[0][:, 0]
                    low, high = flat[i].min(0), flat[i].max(0)
                    number = 7 * len(images) + 3
                    images.append({"file_name": f"{clip}/{clip}_{i + 1:06d}.jpg", "width": size[0], "height": size[1], "id": number})
                    annotations.append({
                        "id": len(annotations),
                        "image_id": number,
                        "bbox": [*low.tolist(), *(high - low).tolist()],
                        "cam_param": {"f": LENSES[camera][:2].tolist(), "c": LENSES[camera][2:4].tolist()},
                        "h36m_joints": (joints[i][LEFT_FIRST_17] * 1000).tolist(),
                        "smpl_joints": (roots[i] * 1000 + np.zeros((29, 3))).tolist(),
                        "betas": take.betas.tolist(),
                        "thetas": rotvecs.reshape(72).tolist(),
                        "root_coord": (roots[i] * 1000).tolist(),
                        "angle_twist": {"angle": [-999.0] * 23, "cos": [-999.0] * 23, "sin": [-999.0] * 23},
                    })  # fmt: skip
        _json(root / "annotations" / names[half], {"images": images, "annotations": annotations})


def fitted_pinhole(points: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """fx, cx, fy, cy with Z u = fx X + cx Z and Z v = fy Y + cy Z, least squares."""
    depth = points[:, 2]
    fits = [np.linalg.lstsq(np.stack([points[:, i], depth], -1), flat[:, i] * depth, rcond=None)[0] for i in (0, 1)]
    return np.concatenate(fits)


def write_fetch(root: Path, takes: list[Take], step: int) -> None:
    """h36m-fetch's processed/: S9/Directions-1/annot.h5, frames below imageSequence; ``step`` frames apart (64 for S9 and S11).

    Intrinsics are fx, cx, fy, cy of the pinhole that fits the distorted pixels best. S11's damaged clip is left out.
    """
    for take in takes:
        folder = root / f"S{take.subject}" / f"{ACTION_NAMES[take.action - 1]}-{take.subaction}"
        rows = range(0, len(take.world), step)
        views = [seen(take, camera)[rows] for camera in range(4)]
        frames = np.tile(np.array(rows) + 1, 4)
        folder.mkdir(parents=True)
        with h5py.File(folder / "annot.h5", "w") as file:
            file["pose/3d"] = (np.concatenate(views) * 1000).astype(np.float32)
            file["pose/3d-univ"] = (np.concatenate(views) * 1130).astype(np.float32)
            file["pose/2d"] = np.concatenate([pixels(view, camera) for camera, view in enumerate(views)]).astype(np.float32)
            for camera, view in enumerate(views):
                file[f"intrinsics/{IDS[camera]}"] = fitted_pinhole(view.reshape(-1, 3), pixels(view, camera).reshape(-1, 2))
                file[f"intrinsics-univ/{IDS[camera]}"] = fitted_pinhole(view.reshape(-1, 3), pixels(view, camera).reshape(-1, 2))
            file["frame"] = frames
            file["camera"] = np.repeat([int(name) for name in IDS], len(rows))
            for key in ("subject", "action", "subaction"):
                file[key] = np.full(frames.shape, getattr(take, key))
        for camera in range(4):
            flat = pixels(seen(take, camera), camera)
            write_images(folder / "imageSequence" / IDS[camera], "img_{:06d}.jpg", flat, SIZES[camera], rows)


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
