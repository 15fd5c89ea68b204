"""AGORA's layout, written from its fact sheet for given people: tables, fits with CUDA tensors, images; no code of the loader."""

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pandas as pd
import torch

FULL, SMALL = (3840, 2160), (1280, 720)


@dataclass(frozen=True)
class AgoraPerson:
    """One scan: a body in its own frame (y up), and where in the camera's view (x, y, z) m its origin is to stand.

    ``joints`` (24, 3) and ``vertices`` (6890, 3) m of the body under ``rotvecs`` (24, 3), ``betas`` (10 or 11,), ``transl`` (3,).
    """

    rotvecs: np.ndarray
    betas: np.ndarray
    transl: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray
    stand: tuple[float, float, float]
    yaw: float
    gender: str = "neutral"
    kid: bool = False
    occlusion: float = 10.0


@dataclass(frozen=True)
class AgoraShot:
    """One image: its 4K name without .png, its camera as Unreal has it, and its people."""

    image: str
    focal_mm: float
    camera_cm: tuple[float, float, float]
    camera_yaw: float
    pitch: float
    ground: tuple[float, float, float]
    people: tuple[AgoraPerson, ...]
    in_file: bool = field(default=False)


def shots(people: Sequence[AgoraPerson], split: str = "validation") -> tuple[AgoraShot, ...]:
    """One image per kind of camera, two people in each, in turn."""
    rows = (
        (f"ag_{split}set_renderpeople_bfh_hdri_50mm_5_10_00003", 50, (0, 0, 170), 0, 0, (0, 0, 0), False),
        (f"ag_{split}set_3dpeople_bfh_archviz_5_10_cam00_00000", 18, (400, -275, 265), 135, 30, (0, 0, 0), False),
        (f"ag_{split}set_3dpeople_bfh_archviz_5_10_cam01_00000", 18, (400, 225, 265), -135, 30, (0, 0, 0), False),
        (f"ag_{split}set_3dpeople_body_archviz_5_10_cam02_00012", 18, (-490, 170, 265), -45, 30, (0, 0, 0), False),
        (f"ag_{split}set_3dpeople_body_archviz_5_10_cam03_00012", 18, (-490, -275, 265), 45, 30, (0, 0, 0), False),
        (f"ag_{split}set_humanalloy_ag2_5_15_00001", 28, (0, 0, 170), 0, 15, (0, 0, 0), False),
        (f"ag_{split}set_axyz_body_brushifyforest_5_15_00007", 28, (120.0, -310.0, 40.0), 77.0, 0, (0, -1.7, 0), True),
    )
    return tuple(AgoraShot(*row[:6], (people[i % len(people)], people[(i + 1) % len(people)]), row[6]) for i, row in enumerate(rows))


def _about(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.pi * degrees / 180), np.sin(np.pi * degrees / 180)
    turn = {0: [[1, 0, 0], [0, c, -s], [0, s, c]], 1: [[c, 0, s], [0, 1, 0], [-s, 0, c]]}
    return np.array(turn[axis])


def _unreal_to_opencv(xyz: Sequence[float]) -> np.ndarray:
    x, y, z = xyz
    return np.array([y, -z, x], dtype=np.float64) / 100


def _view(shot: AgoraShot) -> tuple[np.ndarray, np.ndarray]:
    """World to camera: v_cam = V (w - c)."""
    V = _about(0, shot.pitch) @ _about(1, -shot.camera_yaw)
    return V, _unreal_to_opencv(shot.camera_cm) + np.array(shot.ground)


def turn(shot: AgoraShot, yaw: float) -> np.ndarray:
    """(3, 3): directions of the frame of a scan of that yaw in the camera frame."""
    return _view(shot)[0] @ _about(1, yaw - 90) @ np.diag([1.0, -1.0, -1.0])


def position_cm(shot: AgoraShot, person: AgoraPerson) -> np.ndarray:
    """X, Y, Z (3,) cm of Unreal's world that put the scan's origin at ``stand`` in the camera's view."""
    V, c = _view(shot)
    w = V.T @ np.array(person.stand) + c
    return 100 * np.array([w[2], w[0], -w[1]])


def in_camera(shot: AgoraShot, person: AgoraPerson, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) m of the scan's frame in the camera frame: the chain of the fact sheet, step by step."""
    V, c = _view(shot)
    a = points * np.array([1.0, -1.0, -1.0])
    b = a @ _about(1, person.yaw - 90).T + _unreal_to_opencv(position_cm(shot, person))
    return (b - c) @ V.T


def pixels(shot: AgoraShot, points: np.ndarray) -> np.ndarray:
    """(..., 2) px of the 4K image of points (..., 3) in the camera frame."""
    focal = shot.focal_mm / 36 * FULL[0]
    return points[..., :2] / points[..., 2:] * focal + np.array(FULL) / 2


def _joints(person: AgoraPerson, model: str) -> np.ndarray:
    """(45, 3) or (127, 3): the body joints, then vertices in the place of the landmarks."""
    body, count = (24, 45) if model == "smpl" else (22, 127)
    return np.concatenate([person.joints[:body], person.vertices[:: 6890 // 127][: count - body]])


def _vertices(person: AgoraPerson, model: str) -> np.ndarray:
    return person.vertices if model == "smpl" else np.resize(person.vertices, (10475, 3))


def table(some: Sequence[AgoraShot], model: str) -> pd.DataFrame:
    """A table of the release: one row per image, lists in object columns, column names as plain objects."""
    rows = []
    for shot in some:
        places = [position_cm(shot, person) for person in shot.people]
        posed = [in_camera(shot, person, _joints(person, model)) for person in shot.people]
        camera = (*shot.camera_cm, shot.camera_yaw) if shot.in_file else (0.0, 0.0, 0.0, 0.0)
        rows.append(
            {
                "imgPath": f"{shot.image}.png",
                **{axis: [float(place[k]) for place in places] for k, axis in enumerate("XYZ")},
                "Yaw": [float(person.yaw) for person in shot.people],
                **dict(zip(("camX", "camY", "camZ", "camYaw"), camera, strict=True)),
                "gender": [person.gender for person in shot.people],
                "kid": [person.kid for person in shot.people],
                "occlusion": [person.occlusion for person in shot.people],
                "isValid": [np.bool_(0 <= person.occlusion <= 90) for person in shot.people],
                "age": ["31-50" for _ in shot.people],
                "ethnicity": ["unknown" for _ in shot.people],
                "gt_path_smpl": [fit_path(shot, k, "smpl") for k in range(len(shot.people))],
                "gt_path_smplx": [fit_path(shot, k, "smplx") for k in range(len(shot.people))],
                "gt_joints_2d": [pixels(shot, joints) for joints in posed],
                "gt_joints_3d": posed,
                "gt_verts": [in_camera(shot, person, _vertices(person, model)).astype(np.float32) for person in shot.people],
            }
        )
    frame = pd.DataFrame({key: pd.Series([row[key] for row in rows], dtype=None if key[:3] == "cam" else object) for key in rows[0]})
    frame.columns = pd.Index(list(frame.columns), dtype=object)
    return frame


def fit_path(shot: AgoraShot, k: int, model: str) -> str:
    split, vendor = shot.image.split("_")[1:3]
    return f"{model}_gt/{split}_{vendor}_adults/{shot.image.split('_', 2)[2]}_{k}.obj"


def cuda_pickle(value: object) -> bytes:
    """A pickle of ``value`` whose tensors say that they lie on cuda:0, as a machine with a GPU would write it."""
    with mock.patch("torch.serialization.location_tag", return_value="cuda:0"):
        return pickle.dumps(value, 4)


def smpl_fit(person: AgoraPerson) -> bytes:
    def tensor(array: np.ndarray, *shape: int) -> torch.Tensor:
        return torch.tensor(array.reshape(shape), dtype=torch.float32, requires_grad=True)

    return cuda_pickle(
        {
            "root_pose": tensor(person.rotvecs[0], 1, 1, 3),
            "body_pose": tensor(person.rotvecs[1:], 1, 23, 3),
            "translation": tensor(person.transl, 1, 3),
            "betas": tensor(person.betas, 1, len(person.betas)),
        }
    )


def smplx_fit(person: AgoraPerson) -> bytes:
    zeros = {"left_hand_pose": 45, "right_hand_pose": 45, "jaw_pose": 3, "leye_pose": 3, "reye_pose": 3, "expression": 10}
    record = {
        "global_orient": person.rotvecs[:1],
        "body_pose": person.rotvecs[1:22].reshape(1, 63),
        **{key: np.zeros((1, size)) for key, size in zeros.items()},
        "betas": person.betas[None],
        "transl": person.transl[None],
    }
    return pickle.dumps({key: array.astype(np.float32) for key, array in record.items()}, 4)


def write_agora(
    root: Path,
    some: Sequence[AgoraShot],
    *,
    size: tuple[int, int] = SMALL,
    split: str = "validation",
    missing: Sequence[str] = (),
    pictures: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Lay the shots out below ``root`` in two tables per model; images named in ``missing`` are left out.

    ``pictures``: {image: RGB of ``size``}; None: nearly empty ones.
    """
    folder = root / (f"{split}_0" if split == "train" else split)
    folder.mkdir(parents=True, exist_ok=True)
    for model, name in (("smpl", "SMPL"), ("smplx", "SMPLX")):
        (root / name).mkdir(exist_ok=True)
        for n, part in enumerate((some[:4], some[4:])):
            if part:
                table(part, model).to_pickle(root / name / f"{split}_{n}_withjv.pkl")
    for shot in some:
        for k, person in enumerate(shot.people):
            for model, fit in (("smpl", smpl_fit), ("smplx", smplx_fit)):
                path = (root / fit_path(shot, k, model)).with_suffix(".pkl")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(fit(person))
        if shot.image not in missing:
            write_image(folder, shot.image, size, None if pictures is None else pictures[shot.image])


def write_image(folder: Path, image: str, size: tuple[int, int], rgb: np.ndarray | None = None) -> None:
    """The picture ``rgb``, or a nearly empty one whose red tells the size."""
    suffix = "" if size == FULL else f"_{size[0]}x{size[1]}"
    if rgb is None:
        picture = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        picture[:, :, 2] = size[0] // 20
    else:
        assert rgb.shape == (size[1], size[0], 3)
        picture = rgb[..., ::-1]
    cv2.imwrite(str(folder / f"{image}{suffix}.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def write_test_split(root: Path, boxes: dict[str, list[list[float]]], *, size: tuple[int, int] = SMALL) -> None:
    """Images without any table, and a file of detections: {image: boxes xywh in 4K px}."""
    (root / "test").mkdir(parents=True)
    for image in boxes:
        write_image(root / "test", image, size)
    content = {f"{image}.png": [{"bbox": box, "score": 0.9} for box in rows] for image, rows in boxes.items()}
    (root / "AGORA_test_bbox.json").write_text(json.dumps(content))
