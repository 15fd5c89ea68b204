"""3DOH50K's layout, written from its fact sheet for given people: one annots.json per split, backslashes, units of a seventh of a metre."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 2048, 1536


@dataclass(frozen=True)
class StudioPerson:
    """One record. ``local`` (24, 3) and ``lsp_local`` (14, 3) m: joints of SMPL under ``rotvecs`` and ``betas`` with no translation,
    ``rest_pelvis`` (3,) m. ``trans`` is in calibration units, world frame; ``extri`` (4, 4) world to camera in those units.
    ``box_xyxy`` (4,) px: the annotated box; None: 20 px about the joints."""

    rotvecs: np.ndarray
    betas: np.ndarray
    local: np.ndarray
    lsp_local: np.ndarray
    rest_pelvis: np.ndarray
    trans: np.ndarray
    scale: float
    extri: np.ndarray
    intri: np.ndarray
    box_xyxy: np.ndarray | None = None


def in_units(person: StudioPerson, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) of the SMPL body in the camera frame, in calibration units: enlarged about the rest pelvis, moved, seen."""
    J0 = person.rest_pelvis
    world = J0 + person.scale * (points - J0) + person.trans
    return world @ person.extri[:3, :3].T + person.extri[:3, 3]


def pixels(person: StudioPerson, points: np.ndarray) -> np.ndarray:
    """Their pixels (..., 2)."""
    seen = in_units(person, points) @ person.intri.T
    return seen[..., :2] / seen[..., 2:]


def record(key: str, person: StudioPerson) -> dict:
    joints2d, lsp2d = pixels(person, person.local), pixels(person, person.lsp_local)
    box = np.concatenate([joints2d.min(0) - 20, joints2d.max(0) + 20]) if person.box_xyxy is None else person.box_xyxy
    return {
        "img_path": f"images\\{key}.jpg",
        "mask_path": f"masks\\{key}.png",
        "bbox": box.reshape(2, 2).tolist(),
        "intri": person.intri.tolist(),
        "extri": person.extri.tolist(),
        "pose": person.rotvecs.reshape(1, 72).tolist(),
        "betas": person.betas[None].tolist(),
        "trans": person.trans[None].tolist(),
        "scale": [person.scale],
        "smpl_joints_2d": joints2d.tolist(),
        "smpl_joints_3d": in_units(person, person.local).tolist(),
        "lsp_joints_2d": lsp2d.tolist(),
        "lsp_joints_3d": in_units(person, person.lsp_local).tolist(),
    }


def write_threedoh(root: Path, people: Sequence[StudioPerson], *, folder: str = "testset", pictures: Sequence[bytes] | None = None) -> None:
    """One split of the people; masks (the left half visible) in a train folder only, though every record names one.

    ``pictures``: the JPEG of each person; None: grey ones.
    """
    (root / folder / "images").mkdir(parents=True)
    annotations = {f"{i:05d}": record(f"{i:05d}", person) for i, person in enumerate(people)}
    (root / folder / "annots.json").write_text(json.dumps(annotations))
    for i, key in enumerate(annotations):
        picture = np.full((HEIGHT, WIDTH, 3), 20 * i, dtype=np.uint8)
        path = root / folder / "images" / f"{key}.jpg"
        if pictures is None:
            cv2.imwrite(str(path), picture)
        else:
            path.write_bytes(pictures[i])
        if folder.startswith("train"):
            (root / folder / "masks").mkdir(exist_ok=True)
            mask = np.zeros_like(picture)
            mask[:, : WIDTH // 2] = 255
            cv2.imwrite(str(root / folder / "masks" / f"{key}.png"), mask)
