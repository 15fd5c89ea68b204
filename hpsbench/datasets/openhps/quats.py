"""Unit quaternions (w, x, y, z) as numpy arrays (..., 4), any leading axes: the algebra that poses are made with."""

import numpy as np


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rotation that does ``b`` first and then ``a``; leading axes broadcast."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def conjugate(q: np.ndarray) -> np.ndarray:
    """The inverse rotations."""
    return q * np.array([1.0, -1.0, -1.0, -1.0])


def from_rotvec(rotvecs: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4) of rotation vectors (..., 3) in radians."""
    rotvecs = np.asarray(rotvecs, float)
    half = 0.5 * np.linalg.norm(rotvecs, axis=-1, keepdims=True)
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * rotvecs], axis=-1)


def to_rotvec(q: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) of at most pi radians."""
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    return q[..., 1:] * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)


def apply(q: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) rotated by ``q`` (..., 4)."""
    w, v = q[..., :1], q[..., 1:]
    t = 2 * cross(v, points)
    return points + w * t + cross(v, t)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross product over the last axis; np.cross costs several times as much on small arrays."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def slerp(a: np.ndarray, b: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The rotations at fraction ``s`` of the shorter way from ``a`` to ``b``; ``s`` broadcasts against (..., 1)."""
    return multiply(a, from_rotvec(s * to_rotvec(multiply(conjugate(a), b))))


def about(axis: str, angle: np.ndarray | float) -> np.ndarray:
    """Rotations about one axis "x", "y" or "z" by angles (...) in radians."""
    angle = np.asarray(angle, float)
    rotvecs = np.zeros((*angle.shape, 3))
    rotvecs[..., "xyz".index(axis)] = angle
    return from_rotvec(rotvecs)


def from_columns(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Quaternions of the rotations whose matrix columns are the orthonormal ``x``, ``y``, ``z`` (..., 3)."""
    (m00, m10, m20), (m01, m11, m21), (m02, m12, m22) = (np.moveaxis(v, -1, 0) for v in (x, y, z))
    rows = np.stack(
        [
            np.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], -1),
            np.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], -1),
            np.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m21 + m12], -1),
            np.stack([m10 - m01, m02 + m20, m21 + m12, 1 - m00 - m11 + m22], -1),
        ],
        -2,
    )
    norms = np.linalg.norm(rows, axis=-1)
    best = np.take_along_axis(rows, norms.argmax(-1)[..., None, None], -2)[..., 0, :]
    return best / norms.max(-1)[..., None]


def swing_twist(q: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q = swing * twist: the rotation vectors of the swing (..., 3), square to ``axes``, and the twist angles (...) about them."""
    q = np.where(q[..., :1] < 0, -q, q)
    along = np.sum(q[..., 1:] * axes, axis=-1)
    twist = 2 * np.arctan2(along, q[..., 0])
    swing = to_rotvec(multiply(q, conjugate(from_rotvec(twist[..., None] * axes))))
    return swing, twist
