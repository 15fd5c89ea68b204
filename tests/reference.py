"""Plain float64 numpy versions of the metrics, one person at a time, written from their definitions: the twins of the fast ones."""

import numpy as np


def similarity(pred: np.ndarray, gt: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Umeyama 1991, equations 39 to 43: (scale, rotation, translation) that bring pred (J, 3) to gt (J, 3)."""
    mean_x, mean_y = pred.mean(0), gt.mean(0)
    x, y = pred - mean_x, gt - mean_y
    variance = (x**2).sum() / len(x)
    if variance == 0 or not y.any():
        return 0.0, np.eye(3), mean_y
    U, d, Vt = np.linalg.svd(y.T @ x / len(x))
    S = np.diag([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    R = U @ S @ Vt
    c = np.trace(np.diag(d) @ S) / variance
    return c, R, mean_y - c * R @ mean_x


def aligned(points: np.ndarray, pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """``points`` (P, 3) moved by the similarity of pred to gt."""
    c, R, t = similarity(pred, gt)
    return np.array([c * R @ point + t for point in points])


def distances(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """(J,)"""
    return np.array([np.sqrt(((p - g) ** 2).sum()) for p, g in zip(pred, gt, strict=True)])


def rotation_angle(first: np.ndarray, second: np.ndarray) -> float:
    """Angle of first^T second by its trace and its skew part."""
    R = first.T @ second
    sine = np.linalg.norm([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]]) / 2
    return float(np.arctan2(sine, (np.trace(R) - 1) / 2))


def rodrigues(vector: np.ndarray) -> np.ndarray:
    """The rotation matrix of a rotation vector."""
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def global_rotations(relative: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:
    """(24, 3, 3): each joint's rotation after those of all its ancestors."""
    answer = []
    for joint, parent in enumerate(parents):
        answer.append(relative[joint] if parent < 0 else answer[parent] @ relative[joint])
    return np.array(answer)


def accelerations(pred: dict[tuple[str, int], np.ndarray], gt: dict[tuple[str, int], np.ndarray]) -> dict[tuple[str, int], np.ndarray]:
    """{(track, frame): (J,)} where the frames before and after are there too."""
    answer = {}
    for track, frame in pred:
        three = [(track, frame + shift) for shift in (-1, 0, 1)]
        if all(key in pred for key in three):
            a, b, c = (pred[key] for key in three)
            x, y, z = (gt[key] for key in three)
            answer[track, frame] = distances(a - 2 * b + c, x - 2 * y + z)
    return answer


def bootstrap_means(rows: list[tuple[str, list[float]]], draws: np.ndarray, averaging: str) -> np.ndarray:
    """The mean for each row of ``draws`` (R, C): clusters, by their place in sorted order, drawn with replacement."""
    clusters: dict[str, list[float]] = {}
    for track, values in rows:
        clusters.setdefault(track if averaging == "pooled" else track.rsplit("/", 1)[0], []).extend(values)
    lists = [clusters[name] for name in sorted(clusters)]
    if averaging == "sequences":
        lists = [[float(np.mean(values))] for values in lists]
    return np.array([np.mean([value for place in draw for value in lists[place]]) for draw in draws])
