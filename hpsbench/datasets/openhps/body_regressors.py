"""Joint regressors of the open body: sparse, non-negative rows over its vertices, fitted to anatomical points of many posed bodies."""

import numpy as np
import torch
from scipy.optimize import nnls

from hpsbench.body.model import BodyModel
from hpsbench.skeleton import JOINT_NAMES, PARENTS, joint_index

# Vertices of the open body that are single landmarks (smplx's stock ids; 411 is the top of the head).
LANDMARKS = {"nose": 332, "left_eye": 2800, "right_eye": 6260, "left_ear": 583, "right_ear": 4071, "head_top": 411}
_CANDIDATES, _KEPT = 60, 10


def wanted_points(joints: np.ndarray, vertices: np.ndarray, name: str) -> np.ndarray:
    """Where joint ``name`` of h36m17, coco17 or mpi17 lies (B, 3) m, from kinematic joints (B, 24, 3) and vertices (B, V, 3)."""

    def at(joint: str) -> np.ndarray:
        return joints[:, joint_index("smpl24", joint)]

    if name in LANDMARKS:
        return vertices[:, LANDMARKS[name]]
    if name == "pelvis":
        return (at("left_hip") + at("right_hip")) / 2
    if name == "spine":
        return (at("spine1") + at("spine2")) / 2
    if name == "head":
        return 0.6 * at("head") + 0.4 * vertices[:, LANDMARKS["nose"]]
    return at(name)


def fit_regressor(body: BodyModel, skeleton: str, *, seed: int = 0, people: int = 48) -> np.ndarray:
    """The regressor (J, V) float32 of a skeleton: rows non-negative, summing to 1, at most 10 vertices each.

    Each row is fitted over random shapes and poses by non-negative least squares on the vertices nearest to the joint at rest
    that hang on bones next to it; landmarks on the surface are one vertex.
    """
    rng = np.random.default_rng(seed)
    betas = torch.as_tensor(rng.normal(size=(people, 10)))
    rotvecs = torch.as_tensor(rng.normal(scale=0.35, size=(people, 24, 3)))
    betas[0], rotvecs[0] = 0, 0
    output = body(betas, rotvecs=rotvecs)
    joints, vertices = output.joints.double().numpy(), output.vertices.double().numpy()
    weights = body.weights.double().numpy()
    rows = np.zeros((len(JOINT_NAMES[skeleton]), body.n_vertices), dtype=np.float32)
    for row, name in zip(rows, JOINT_NAMES[skeleton], strict=True):
        if name in LANDMARKS:
            row[LANDMARKS[name]] = 1
        else:
            points = wanted_points(joints, vertices, name)
            ids = _candidates(vertices[0], points[0], weights, _bones_of(name))
            chosen, values = _sparse_fit(vertices, points, ids)
            row[chosen] = values
    return rows


def _bones_of(name: str) -> list[int]:
    """The kinematic joints whose skin may carry a joint: itself, its parent and its children."""
    centre = joint_index("smpl24", {"spine": "spine1"}.get(name, name))
    parents = PARENTS["smpl24"]
    return [j for j in range(24) if j == centre or parents[j] == centre or (parents[centre] == j)]


def _candidates(rest: np.ndarray, point: np.ndarray, weights: np.ndarray, bones: list[int]) -> np.ndarray:
    """The vertices nearest to ``point`` in each of the eight octants about it, so that it lies inside of them."""
    hung = np.flatnonzero(weights[:, bones].sum(1) > 0.6)
    away = rest[hung] - point
    octant = (away > 0) @ np.array([1, 2, 4])
    order = np.argsort(np.linalg.norm(away, axis=1), kind="stable")
    picked = [hung[order[octant[order] == o]][: _CANDIDATES // 8] for o in range(8)]
    return np.concatenate(picked)


def _sparse_fit(vertices: np.ndarray, points: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best few of the vertices ``ids`` and their weights: fitted, cut to the heaviest, fitted again."""
    for keep in (_KEPT, None):
        some = vertices[:, ids].transpose(0, 2, 1).reshape(-1, len(ids))
        system = np.vstack([some, 100 * np.ones((1, len(ids)))])
        values, _ = nnls(system, np.concatenate([points.reshape(-1), [100.0]]), maxiter=100 * len(ids))
        if keep is not None:
            ids = ids[np.sort(np.argsort(-values, kind="stable")[:keep])]
    used = values > 0
    return ids[used], (values[used] / values[used].sum()).astype(np.float32)
