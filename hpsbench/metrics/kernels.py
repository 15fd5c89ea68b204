"""Loops for numba, person by person; only ``compiled`` imports this, where numba is installed."""

import math

import numpy as np

from hpsbench.body.kernels import jit
from hpsbench.geometry import APART, LARGEST, NEWTON_DONE, NEWTON_STEPS, SMALLEST, UNIQUE

_VERTICES = 512


# Only the sum may be reordered: each distance is rounded as in the plain way.
@jit(fastmath={"reassoc"})
def _sum(values):
    total = 0.0
    for value in values:
        total += value
    return total


@jit()
def mean_distances(pred, gt, pred_root, gt_root, means):
    """``mean_pve`` of (N, 3 V) and roots (N, 3) into (N,); the coordinates of a few vertices at a time, so that they are read in a row."""
    size = 3 * _VERTICES
    first_roots, second_roots = np.empty(size, pred.dtype), np.empty(size, gt.dtype)
    distances = np.empty(_VERTICES)
    squares = np.empty(size, pred.dtype)
    for n in range(pred.shape[0]):
        for k in range(size):
            first_roots[k], second_roots[k] = pred_root[n, k % 3], gt_root[n, k % 3]
        total = 0.0
        for start in range(0, pred.shape[1], size):
            p, g = pred[n, start : start + size], gt[n, start : start + size]
            for k in range(len(p)):
                off = (p[k] - first_roots[k]) - (g[k] - second_roots[k])
                squares[k] = off * off
            for v in range(len(p) // 3):
                distances[v] = np.sqrt(np.float64(squares[3 * v] + squares[3 * v + 1] + squares[3 * v + 2]))
            total += _sum(distances[: len(p) // 3])
        means[n] = 3 * total / pred.shape[1]


@jit(fastmath={"contract", "reassoc"})
def distance_sums(first, second, shift, sums):
    """``vertices.distance_sums`` of (B, 3, n) and (B, 3, 1) into (B,)."""
    for b in range(first.shape[0]):
        d, e, f = shift[b, 0, 0], shift[b, 1, 0], shift[b, 2, 0]
        total = 0.0
        for v in range(first.shape[2]):
            x = first[b, 0, v] - second[b, 0, v] - d
            y = first[b, 1, v] - second[b, 1, v] - e
            z = first[b, 2, v] - second[b, 2, v] - f
            total += math.sqrt(x * x + y * y + z * z)
        sums[b] = total


@jit(fastmath={"contract"})
def _mean(points):
    x = y = z = 0.0
    for j in range(points.shape[0]):
        x, y, z = x + points[j, 0], y + points[j, 1], z + points[j, 2]
    count = points.shape[0]
    return x / count, y / count, z / count


@jit(fastmath={"contract"})
def aligned_errors(pred, gt, pred_fit, gt_fit, scaled, errors, sure):
    """``aligned.aligned_errors`` of (N, J, 3) and (N, F, 3) into (N, J) and (N,)."""
    for n in range(pred.shape[0]):
        mx, my, mz = _mean(pred_fit[n])
        kx, ky, kz = _mean(gt_fit[n])
        a = b = c = d = e = f = g = h = i = x_spread = y_spread = 0.0
        for j in range(pred_fit.shape[1]):
            x, y, z = pred_fit[n, j, 0] - mx, pred_fit[n, j, 1] - my, pred_fit[n, j, 2] - mz
            u, v, w = gt_fit[n, j, 0] - kx, gt_fit[n, j, 1] - ky, gt_fit[n, j, 2] - kz
            a, b, c = a + u * x, b + u * y, c + u * z
            d, e, f = d + v * x, e + v * y, f + v * z
            g, h, i = g + w * x, h + w * y, i + w * z
            x_spread += x * x + y * y + z * z
            y_spread += u * u + v * v + w * w
        c00, c01, c02 = e * i - f * h, f * g - d * i, d * h - e * g
        c10, c11, c12 = c * h - b * i, a * i - c * g, b * g - a * h
        c20, c21, c22 = b * f - c * e, c * d - a * f, a * e - b * d
        D = a * c00 + b * c01 + c * c02
        p00, p11, p22 = a * a + b * b + c * c, d * d + e * e + f * f, g * g + h * h + i * i
        p01, p02, p12 = a * d + b * e + c * f, a * g + b * h + c * i, d * g + e * h + f * i
        F = p00 + p11 + p22
        G = c00 * c00 + c01 * c01 + c02 * c02 + c10 * c10 + c11 * c11 + c12 * c12 + c20 * c20 + c21 * c21 + c22 * c22
        root = min(math.sqrt(F + 2 * math.sqrt(3 * G)), math.sqrt(x_spread * y_spread))
        step = root
        for _ in range(NEWTON_STEPS):
            square = root * root
            value = (F * F - 4 * G) / 4 - 2 * D * root + (square / 4 - F / 2) * square
            step = value / (root * (square - F) - 2 * D)
            root -= step
            if not abs(step) > NEWTON_DONE * root:
                break
        half = (root * root + F) / 2
        denominator = root * (root * root - F) / 2 - D
        sure[n] = (
            denominator > UNIQUE * F * math.sqrt(F)
            and abs(step) < NEWTON_DONE * root
            and SMALLEST < F < LARGEST
            and x_spread > APART * (mx * mx + my * my + mz * mz)
            and y_spread > APART * (kx * kx + ky * ky + kz * kz)
        )
        size = (root / x_spread if scaled else 1.0) / denominator
        r00 = size * (root * c00 + half * a - (p00 * a + p01 * d + p02 * g))
        r01 = size * (root * c01 + half * b - (p00 * b + p01 * e + p02 * h))
        r02 = size * (root * c02 + half * c - (p00 * c + p01 * f + p02 * i))
        r10 = size * (root * c10 + half * d - (p01 * a + p11 * d + p12 * g))
        r11 = size * (root * c11 + half * e - (p01 * b + p11 * e + p12 * h))
        r12 = size * (root * c12 + half * f - (p01 * c + p11 * f + p12 * i))
        r20 = size * (root * c20 + half * g - (p02 * a + p12 * d + p22 * g))
        r21 = size * (root * c21 + half * h - (p02 * b + p12 * e + p22 * h))
        r22 = size * (root * c22 + half * i - (p02 * c + p12 * f + p22 * i))
        for j in range(pred.shape[1]):
            x, y, z = pred[n, j, 0] - mx, pred[n, j, 1] - my, pred[n, j, 2] - mz
            u = r00 * x + r01 * y + r02 * z - (gt[n, j, 0] - kx)
            v = r10 * x + r11 * y + r12 * z - (gt[n, j, 1] - ky)
            w = r20 * x + r21 * y + r22 * z - (gt[n, j, 2] - kz)
            errors[n, j] = math.sqrt(u * u + v * v + w * w)
