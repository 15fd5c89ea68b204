"""Unit quaternions (w, x, y, z) as numpy arrays (..., 4), any leading axes: the algebra that poses are made with."""

import numpy as np


def _product_table(terms: str, size: int) -> np.ndarray:
    """(size * size, size): what each product a_i b_j adds to each component; "+00 -11" is a_0 b_0 - a_1 b_1, components part by "|"."""
    table = np.zeros((size * size, size))
    for component, row in enumerate(terms.split("|")):
        for sign, i, j in row.split():
            table[size * int(i) + int(j), component] = 1.0 if sign == "+" else -1.0
    return table


_QUATERNION = _product_table("+00 -11 -22 -33|+01 +10 +23 -32|+02 -13 +20 +31|+03 +12 -21 +30", 4)
_CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])
_CROSS = _product_table("+12 -21|+20 -02|+01 -10", 3)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The rotation that does ``b`` first and then ``a``; leading axes broadcast."""
    products = a[..., :, None] * b[..., None, :]
    return products.reshape(*products.shape[:-2], 16) @ _QUATERNION


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross product over the last axis; np.cross costs several times as much on small arrays."""
    products = a[..., :, None] * b[..., None, :]
    return products.reshape(*products.shape[:-2], 9) @ _CROSS


def _norm(v: np.ndarray) -> np.ndarray:
    return np.sqrt((v * v).sum(axis=-1, keepdims=True))


def conjugate(q: np.ndarray) -> np.ndarray:
    """The inverse rotations."""
    return q * _CONJUGATE


def from_rotvec(rotvecs: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4) of rotation vectors (..., 3) in radians."""
    rotvecs = np.asarray(rotvecs, float)
    half = 0.5 * _norm(rotvecs)
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * rotvecs], axis=-1)


def to_rotvec(q: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) of at most pi radians."""
    q = np.where(q[..., :1] < 0, -q, q)
    sine = _norm(q[..., 1:])
    angle = 2 * np.arctan2(sine, q[..., :1])
    return q[..., 1:] * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)


def apply(q: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) rotated by ``q`` (..., 4)."""
    w, v = q[..., :1], q[..., 1:]
    t = 2 * cross(v, points)
    return points + w * t + cross(v, t)


def slerp(a: np.ndarray, b: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The rotations at fraction ``s`` of the shorter way from ``a`` to ``b``; ``s`` broadcasts against (..., 1)."""
    return multiply(a, from_rotvec(s * to_rotvec(multiply(conjugate(a), b))))


def about(axis: str, angle: np.ndarray | float) -> np.ndarray:
    """Rotations about one axis "x", "y" or "z" by angles (...) in radians."""
    angle = np.asarray(angle, float)
    rotvecs = np.zeros((*angle.shape, 3))
    rotvecs[..., "xyz".index(axis)] = angle
    return from_rotvec(rotvecs)


def _column_table() -> np.ndarray:
    """(9, 16): 4 q q^T - 1, row by row, as a linear function of a rotation matrix's columns."""
    table = np.zeros((9, 4, 4))
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        table[4 * i, np.arange(4), np.arange(4)] = [1.0, *(1.0 if axis == i else -1.0 for axis in range(3))]
        table[3 * j + k, 0, 1 + i] = table[3 * j + k, 1 + i, 0] = 1.0
        table[3 * k + j, 0, 1 + i] = table[3 * k + j, 1 + i, 0] = -1.0
        for column, row in ((j, k), (k, j)):
            table[3 * column + row, 1 + j, 1 + k] = table[3 * column + row, 1 + k, 1 + j] = 1.0
    return table.reshape(9, 16)


_FROM_COLUMNS = _column_table()


def from_columns(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Quaternions of the rotations whose matrix columns are the orthonormal ``x``, ``y``, ``z`` (..., 3)."""
    entries = np.concatenate([x, y, z], axis=-1)
    rows = (entries @ _FROM_COLUMNS).reshape(*entries.shape[:-1], 4, 4) + np.eye(4)
    norms = _norm(rows)
    best = norms.argmax(-2)[..., None]
    return np.take_along_axis(rows, best, -2)[..., 0, :] / np.take_along_axis(norms, best, -2)[..., 0]


def swing_twist(q: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q = swing * twist: the rotation vectors of the swing (..., 3), square to ``axes``, and the twist angles (...) about them."""
    q = np.where(q[..., :1] < 0, -q, q)
    along = np.sum(q[..., 1:] * axes, axis=-1)
    twist = 2 * np.arctan2(along, q[..., 0])
    swing = to_rotvec(multiply(q, conjugate(from_rotvec(twist[..., None] * axes))))
    return swing, twist
