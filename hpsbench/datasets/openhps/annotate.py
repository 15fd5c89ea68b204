"""The annotations of a scene in 3DPW's keys."""

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.openhps import appearance
from hpsbench.datasets.openhps.body_regressors import LANDMARKS
from hpsbench.datasets.openhps.picture import Stage, block_meshes, person_meshes
from hpsbench.datasets.openhps.scene import Scene
from hpsbench.render import hidden
from hpsbench.skeleton import JOINT_NAMES, joint_index

_FEWEST = 6


def annotations(scene: Scene, stage: Stage, bodies: Bodies) -> dict[str, Any]:
    """The record of a sequence file: P people, N images, 2N moments; world frame, metres and radians, all arrays float64.

    poses2d are as a detector's: noisy, zero with confidence zero for what others hide or the image cuts off, and all zero
    where fewer than 6 are left.
    """
    people, rng = scene.people, scene.outline.rng("annotations")
    moved = [_in_world(scene, person) for person in people]
    detected = _detections(scene, stage, rng)
    frames = scene.outline.frames
    return {
        "sequence": scene.outline.name,
        "img_frame_ids": 2 * np.arange(frames),
        "poses": [poses[::2].copy() for poses, _, _ in moved],
        "trans": [trans[::2].copy() for _, trans, _ in moved],
        "poses_60Hz": [poses for poses, _, _ in moved],
        "trans_60Hz": [trans for _, trans, _ in moved],
        "jointPositions": [joints[::2].reshape(frames, 72) for _, _, joints in moved],
        "poses2d": detected,
        "betas": [np.append(p.betas, np.zeros(290)) if rng.random() < 0.5 else p.betas for p in people],
        "betas_clothed": [p.betas for p in people],
        "v_template_clothed": [_clothed_template(scene, stage, bodies, k) for k in range(len(people))],
        "genders": [p.gender[0] for p in people],
        "texture_maps": [np.zeros((1, 1, 3), np.uint8) for _ in people],
        "cam_poses": scene.views @ np.linalg.inv(scene.world),
        "campose_valid": [(rng.random(frames) > 0.015).astype(np.int64) for _ in people],
        "cam_intrinsics": scene.intrinsics,
    }


def _in_world(scene: Scene, person: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses (M, 72), translations (M, 3) and joints (M, 24, 3) in the stored world: SMPL turns about its pelvis, not the origin."""
    R, t = scene.world[:3, :3], scene.world[:3, 3]
    rotvecs = person.rotvecs.copy()
    rotvecs[:, 0] = (Rotation.from_matrix(R) * Rotation.from_rotvec(rotvecs[:, 0])).as_rotvec()
    trans = (person.trans + person.pelvis) @ R.T + t - person.pelvis
    return rotvecs.reshape(-1, 72), trans, person.joints @ R.T + t


def _clothed_template(scene: Scene, stage: Stage, bodies: Bodies, k: int) -> np.ndarray:
    """The person's shaped template (V, 3) with its clothes on, float32."""
    person, body = scene.people[k], bodies[scene.people[k].gender]
    shaped = body.v_template.numpy() + body.shapedirs.numpy() @ person.betas
    return (shaped + stage.normals(shaped) * appearance.thickness(scene.looks[k], stage.rest)[:, None]).astype(np.float32)


def _detections(scene: Scene, stage: Stage, rng: np.random.Generator) -> list[np.ndarray]:
    """poses2d: for each person (N, 3, 18)."""
    out = [np.zeros((scene.outline.frames, 3, 18)) for _ in scene.people]
    for frame in range(scene.outline.frames):
        meshes, blocks = person_meshes(scene, stage, frame), block_meshes(scene, frame)
        view = scene.views[frame]
        for k, person in enumerate(scene.people):
            points = _keypoints(person.joints[2 * frame], person.vertices[2 * frame]) @ view[:3, :3].T + view[:3, 3]
            seen = ~hidden(points, [*meshes[:k], *meshes[k + 1 :], *blocks]) & (points[:, 2] > 0.1)
            out[k][frame] = _detected(scene, points, seen, rng)
    return out


def _detected(scene: Scene, points: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3, 18) x px, y px, confidence of camera-frame ``points`` (18, 3) that are ``seen`` (18,)."""
    image = points @ scene.intrinsics.T
    pixels = image[:, :2] / image[:, 2:]
    noisy = pixels + rng.normal(size=pixels.shape) * 0.012 * scene.intrinsics[0, 0] / np.maximum(points[:, 2:], 0.1)
    confidence = rng.uniform(0.55, 0.95, len(points))
    seen = seen & (noisy >= 0).all(1) & (noisy < scene.outline.size).all(1)
    found = np.vstack([noisy.T, confidence]) * seen
    return found if seen.sum() >= _FEWEST else np.zeros_like(found)


def _keypoints(joints: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """OpenPose's 18 (18, 3) of one person; the neck is midway between the shoulders."""
    rows = []
    for name in JOINT_NAMES["openpose18"]:
        if name in LANDMARKS:
            rows.append(vertices[LANDMARKS[name]])
        elif name == "neck":
            rows.append(joints[[joint_index("smpl24", "left_shoulder"), joint_index("smpl24", "right_shoulder")]].mean(0))
        else:
            rows.append(joints[joint_index("smpl24", name)])
    return np.array(rows, dtype=np.float64)
