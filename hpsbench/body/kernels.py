"""Loops for numba; only imported where numba is installed."""

import numba


def jit(**more):
    """Compiled once per machine, or, where no folder is there to keep the code in, once per process."""

    def decorate(function):
        try:
            return numba.njit(cache=True, error_model="numpy", **more)(function)
        except RuntimeError:
            return numba.njit(error_model="numpy", **more)(function)

    return decorate


@jit(fastmath={"contract"})
def skin(template, offsets, moves, weights, points):
    """Vertices ``points`` (B, 3, n) of a ``template`` (3, n), ``offsets`` (B, 3, n), ``moves`` (B, 12, k) and ``weights`` (k, n)."""
    for b in range(points.shape[0]):
        _skin_one(template, offsets[b], moves[b], weights, points[b])


@jit(fastmath={"contract"})
def _skin_one(template, offsets, moves, weights, points):
    points[:] = 0.0
    for k in range(weights.shape[0]):
        a, b, c, d = moves[0, k], moves[1, k], moves[2, k], moves[3, k]
        e, f, g, h = moves[4, k], moves[5, k], moves[6, k], moves[7, k]
        i, j, m, n = moves[8, k], moves[9, k], moves[10, k], moves[11, k]
        for v in range(weights.shape[1]):
            x, y, z = template[0, v] + offsets[0, v], template[1, v] + offsets[1, v], template[2, v] + offsets[2, v]
            points[0, v] += weights[k, v] * (a * x + b * y + c * z + d)
            points[1, v] += weights[k, v] * (e * x + f * y + g * z + h)
            points[2, v] += weights[k, v] * (i * x + j * y + m * z + n)
