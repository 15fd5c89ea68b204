"""Lays given people out as MPI-INF-3DHP: train set (annot.mat v5, camera.calibration, videos or frames) and test set (HDF5, frames).

Everything here is from the description of the data and nothing from the reader: names, orders, units and quirks are
written down a second time on purpose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import scipy.io

TRAIN_28 = (
    *("spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top"),
    *("left_clavicle", "left_shoulder", "left_elbow", "left_wrist", "left_hand"),
    *("right_clavicle", "right_shoulder", "right_elbow", "right_wrist", "right_hand"),
    *("left_hip", "left_knee", "left_ankle", "left_foot", "left_toe"),
    *("right_hip", "right_knee", "right_ankle", "right_foot", "right_toe"),
)
TEST_17 = (
    *("head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis", "spine", "head"),
)
RELEVANT = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)
UNIVERSAL = 1.09
CAMERAS = 14
SIDE = 2048
# fx, fy, cx, cy of S1 Seq1 camera 0; the others are made up beside it.
FIRST_K = (1497.693, 1497.103, 1024.704, 1051.394)
# The outdoor lens: k1, k2, then two tangential, then k3.
OUTDOOR_LENS = (-0.276859611, 0.131125256, -0.000360494, -0.001149441, -0.049318332)


# Two of the 28 that no score of the 14 joints takes.
SPINE, HEAD = 3, 6


@dataclass(frozen=True)
class Shown:
    """What camera 0 shows: the JPEG of each row, its intrinsics (fx, fy, cx, cy) px, and the boxes (F, 4) xyxy px that annot2 is to fill.

    The 2D of spine and head stand on the corners of the box, as no other joint reaches it. ``others``: the one JPEG of each other camera.
    """

    pictures: Sequence[bytes]
    intrinsics: tuple[float, float, float, float]
    boxes_xyxy: np.ndarray
    others: bytes


def train_intrinsics(camera: int, first: tuple[float, float, float, float] = FIRST_K) -> np.ndarray:
    fx, fy, cx, cy = first
    return np.array([[fx + 2 * camera, 0, cx - camera], [0, fy + 2 * camera, cy + camera], [0, 0, 1]])


def train_extrinsics(camera: int) -> np.ndarray:
    """World (y up) to camera, mm: on a ring about the middle of the room, some from above, all looking at it."""
    around = 2 * np.pi * camera / CAMERAS + 0.1
    centre = np.array([3600 * np.sin(around), 2600.0 if camera in (3, 9, 10, 11, 12, 13) else 1300.0, 3600 * np.cos(around)])
    z = np.array([0, 1000.0, 0]) - centre
    z /= np.linalg.norm(z)
    x = np.cross(z, [0, 1.0, 0])
    x /= np.linalg.norm(x)
    R = np.array([x, np.cross(z, x), z])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R, -R @ centre
    return pose


def train_seen(world: np.ndarray, camera: int) -> np.ndarray:
    """World joints (..., 3) m in the frame of a camera, m."""
    pose = train_extrinsics(camera)
    return world @ pose[:3, :3].T + pose[:3, 3] / 1000


def test_intrinsics(scene: int) -> np.ndarray:
    """TS1 to TS4: 7.32506 mm on 10 mm of 2048 px; TS5 and TS6: 8.770747185 mm on 10 mm of 1920 px."""
    if scene <= 4:
        fx, aspect, width, height, dx, dy = 7.32506 / 10 * 2048, 1.00044, 2048, 2048, -0.0322884, 0.0929296
    else:
        fx, aspect, width, height, dx, dy = 8.770747185 / 10 * 1920, 0.993236423, 1920, 1080, -0.104908645, 0.104899704
    return np.array([[fx, 0, width / 2 + dx / 10 * width], [0, fx * aspect, height / 2 + dy / 10 * width], [0, 0, 1]])


def test_size(scene: int) -> tuple[int, int]:
    return (2048, 2048) if scene <= 4 else (1920, 1080)


def pixels(joints: np.ndarray, K: np.ndarray, lens=(0.0, 0.0, 0.0, 0.0, 0.0)) -> np.ndarray:
    """Camera-frame points (..., 3) on the picture, by OpenCV's lens."""
    flat, _ = cv2.projectPoints(joints.reshape(-1, 1, 3).astype(np.float64), np.zeros(3), np.zeros(3), K, np.array(lens))
    return flat.reshape(*joints.shape[:-1], 2)


def universal(joints: np.ndarray, pelvis: int) -> np.ndarray:
    """The same pose at the universal height, about the pelvis."""
    root = joints[:, pelvis : pelvis + 1]
    return root + UNIVERSAL * (joints - root)


def cells(rows: list[np.ndarray]) -> np.ndarray:
    """A MATLAB cell (n, 1)."""
    cell = np.empty((len(rows), 1), dtype=object)
    for i, row in enumerate(rows):
        cell[i, 0] = row
    return cell


def train_annotations(world: np.ndarray, shown: Shown | None = None) -> dict[str, np.ndarray]:
    """The variables of annot.mat for world joints (F, 28, 3) m, y up."""
    views = [train_seen(world, camera) for camera in range(CAMERAS)]
    count, first = len(world), FIRST_K if shown is None else shown.intrinsics
    flat = [pixels(view, train_intrinsics(c, first)) for c, view in enumerate(views)]
    if shown is not None:
        flat[0][:, SPINE], flat[0][:, HEAD] = shown.boxes_xyxy[:, :2], shown.boxes_xyxy[:, 2:]
    return {
        "annot2": cells([points.reshape(count, 56) for points in flat]),
        "annot3": cells([1000 * view.reshape(count, 84) for view in views]),
        "univ_annot3": cells([1000 * universal(view, 4).reshape(count, 84) for view in views]),
        "cameras": np.arange(CAMERAS, dtype=np.uint8)[None],
        "frames": np.arange(count, dtype=np.int32)[:, None],
    }


def calibration_text(first: tuple[float, float, float, float] = FIRST_K) -> str:
    lines = ["Skeletool Camera Calibration File V1.0"]
    for camera in range(CAMERAS):
        K = np.eye(4)
        K[:3, :3] = train_intrinsics(camera, first)
        lines += [
            f"name          {camera}",
            "  sensor      10 10",
            f"  size        {SIDE} {SIDE}",
            "  animated    0",
            f"  intrinsic   {' '.join(f'{number:.10g}' for number in K.ravel())} ",
            f"  extrinsic   {' '.join(f'{number:.10g}' for number in train_extrinsics(camera).ravel())} ",
            "  radial      0",
        ]
    return "\n".join(lines) + "\n"


def write_train(
    root: Path,
    subject: int,
    sequence: int,
    world: np.ndarray,
    *,
    pictures: str = "video",
    cameras=range(CAMERAS),
    frames: int | None = None,
    shown: Shown | None = None,
) -> None:
    """One sequence. ``pictures``: "video" (avi), "spin" or "hybrik" (extracted frames), of the first ``frames`` rows of the annotation.

    ``shown``: what camera 0 shows, in the place of drawn pictures, as "spin" has them; the other cameras then have one picture each.
    """
    folder = root / f"S{subject}" / f"Seq{sequence}"
    folder.mkdir(parents=True)
    annotations = train_annotations(world, shown)
    scipy.io.savemat(folder / "annot.mat", annotations, format="5", do_compression=True)
    (folder / "camera.calibration").write_text(calibration_text(FIRST_K if shown is None else shown.intrinsics))
    if shown is not None:
        for camera in cameras:
            view = folder / "imageFrames" / f"video_{camera}"
            view.mkdir(parents=True)
            for i, jpeg in enumerate([shown.others] if camera else shown.pictures):
                (view / f"frame_{i + 1:06d}.jpg").write_bytes(jpeg)
        return
    for camera in cameras:
        flat = annotations["annot2"][camera, 0].reshape(len(world), 28, 2)[:frames]
        images = [picture(points, (SIDE, SIDE), i) for i, points in enumerate(flat)]
        if pictures == "video":
            write_video(folder / "imageSequence" / f"video_{camera}.avi", images)
        elif pictures == "spin":
            write_images(folder / "imageFrames" / f"video_{camera}", "frame_{:06d}.jpg", images)
        else:
            name = f"S{subject}_Seq{sequence}_V{camera}"
            write_images(folder / "images" / name, f"img_{name}_{{:06d}}.jpg", images)


def write_test(
    folder: Path, scene: int, joints: np.ndarray, *, valid: list[int], activities: list[int], lens=(0.0, 0.0, 0.0, 0.0, 0.0)
) -> None:
    """One TS folder of camera-frame joints (F, 17, 3) m. Rows that are not ``valid`` hold zeros; all frames exist as images."""
    folder = folder / f"TS{scene}"
    flat = pixels(joints, test_intrinsics(scene), lens)
    write_images(folder / "imageSequence", "img_{:06d}.jpg", [picture(points, test_size(scene), i) for i, points in enumerate(flat)])
    use = np.array(valid, dtype=np.float64)
    rows = {
        "annot2": flat[:, None] * use[:, None, None, None],
        "annot3": 1000 * joints[:, None] * use[:, None, None, None],
        "univ_annot3": 1000 * universal(joints, 14)[:, None] * use[:, None, None, None],
        "valid_frame": use[:, None],
        "activity_annotation": np.array(activities, dtype=np.float64)[:, None],
        "bb_crop": np.zeros((len(joints), 34)),
    }
    write_hdf5(folder / "annot_data.mat", rows)


def write_hdf5(path: Path, rows: dict[str, np.ndarray]) -> None:
    """A v7.3 mat as h5py sees it."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in rows.items():
            file.create_dataset(name, data=array).attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def picture(flat: np.ndarray, size: tuple[int, int], number: int) -> np.ndarray:
    """A grey level that tells the frame's number, with red joints, (H, W, 3) BGR."""
    image = np.full((size[1], size[0], 3), 40 + 15 * number, dtype=np.uint8)
    for x, y in flat:
        if abs(x) < 1e4 and abs(y) < 1e4:
            cv2.circle(image, (int(x), int(y)), 6, (0, 0, 255), -1)
    return image


def write_video(path: Path, images: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, images[0].shape[1::-1])
    for image in images:
        writer.write(image)
    writer.release()


def write_images(folder: Path, pattern: str, images: list[np.ndarray]) -> None:
    """Frame i lies under the number i + 1."""
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / pattern.format(i + 1)), image)
