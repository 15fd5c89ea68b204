"""SMPL body files for tests: an SMPL-shaped stand-in, and pickles in the style of the official ones (Python 2, chumpy, scipy)."""

from io import BytesIO

import numpy as np
import scipy.sparse
from writers.threedpw import Python2Pickler

from hpsbench.skeleton import J29_LEAF_VERTICES, PARENTS

_JOINTS = np.array(
    [
        *([0, -0.24, 0.02], [0.06, -0.33, 0.01], [-0.06, -0.33, 0.01], [0, -0.12, -0.01], [0.11, -0.70, 0.01], [-0.11, -0.70, 0.01]),
        *([0, 0.02, 0.00], [0.10, -1.11, -0.03], [-0.10, -1.11, -0.03], [0, 0.08, 0.02], [0.12, -1.17, 0.09], [-0.12, -1.17, 0.09]),
        *([0, 0.29, -0.02], [0.08, 0.19, -0.01], [-0.08, 0.19, -0.01], [0, 0.36, 0.03], [0.17, 0.22, -0.02], [-0.17, 0.22, -0.02]),
        *([0.43, 0.21, -0.04], [-0.43, 0.21, -0.04], [0.68, 0.21, -0.05], [-0.68, 0.21, -0.05], [0.76, 0.20, -0.05], [-0.76, 0.20, -0.05]),
    ]
)
_LEAVES = np.array([[0.01, 0.52, 0.05], [0.87, 0.20, -0.04], [-0.87, 0.20, -0.04], [0.13, -1.19, 0.20], [-0.13, -1.19, 0.20]])
_LEAF_OWNERS = (15, 22, 23, 10, 11)


def standin(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(a body with SMPL's field names and sizes, an H36M-17 regressor (17, 6890)): the one that the golden files were made with."""
    count, parents = 6890, np.maximum(PARENTS["smpl24"], 0)
    streams = [np.random.RandomState(seed * 100 + k) for k in range(6)]
    owner = np.arange(count) % 24
    template = _JOINTS[owner] + 0.05 * (2 * streams[1].random_sample((count, 3)) - 1)
    template[list(J29_LEAF_VERTICES)] = _LEAVES
    owner[list(J29_LEAF_VERTICES)] = _LEAF_OWNERS
    owned = (owner == np.arange(24)[:, None]).astype(float)
    weights = np.zeros((count, 24))
    weights[np.arange(count), owner] += 0.75
    weights[np.arange(count), parents[owner]] += 0.25
    regressor = np.zeros((17, count))
    for row in regressor:
        ids, parts = (streams[4].random_sample(6) * count).astype(int), streams[4].random_sample(6) + 0.1
        np.add.at(row, ids, parts / parts.sum())
    body = {
        "v_template": template,
        "shapedirs": 0.02 * (2 * streams[2].random_sample((count, 3, 10)) - 1),
        "posedirs": 0.005 * (2 * streams[3].random_sample((count, 3, 207)) - 1),
        "J_regressor": owned / owned.sum(axis=1, keepdims=True),
        "weights": weights,
        "f": (streams[5].random_sample((13776, 3)) * count).astype(np.int64),
        "kintree_table": np.stack([parents, np.arange(24)]).astype(np.int64),
    }
    return body, regressor


class Ch:
    """chumpy's plain value."""

    def __init__(self, x: np.ndarray):
        self.x, self._dirty_vars, self._itr = x, {"x"}, None


class Select:
    """chumpy's selection out of another value."""

    def __init__(self, a: object, idxs: np.ndarray, preferred_shape: tuple[int, ...]):
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


class MatVecMult:
    """A chumpy value that is computed from others."""

    def __init__(self, mtx: object, vec: object):
        self.mtx, self.vec = mtx, vec


_NAMES = {
    Ch: ("chumpy.ch", "Ch"),
    Select: ("chumpy.reordering", "Select"),
    MatVecMult: ("chumpy.ch", "MatVecMult"),
    scipy.sparse.csc_matrix: ("scipy.sparse.csc", "csc_matrix"),
}


class _OfficialPickler(Python2Pickler):
    def save_global(self, obj, name=None):
        if obj not in _NAMES:
            super().save_global(obj, name)
            return
        module, own = _NAMES[obj]
        self.write(f"c{module}\n{own}\n".encode())
        self.memoize(obj)


def official_pickle(body: dict[str, np.ndarray]) -> bytes:
    """The bytes of a body in the official files' style: twelve shape components behind a chumpy selection, a sparse regressor."""
    many = np.concatenate([body["shapedirs"], np.full((6890, 3, 2), 9.0)], axis=2)
    ids = np.arange(many.size).reshape(many.shape)
    regressor = scipy.sparse.csc_matrix(body["J_regressor"])
    content = {
        **body,
        "shapedirs": Select(Ch(many[:, :, ::-1].copy()), ids[:, :, ::-1].ravel(), many.shape),
        "weights": Ch(body["weights"]),
        "posedirs": Ch(body["posedirs"]),
        "J_regressor": regressor,
        "J": MatVecMult(regressor, Ch(body["v_template"])),
        "f": body["f"].astype(np.uint32),
        "kintree_table": np.where(np.arange(48).reshape(2, 24) == 0, 2**32 - 1, body["kintree_table"]).astype(np.uint32),
        "bs_style": "lbs",
    }
    stream = BytesIO()
    _OfficialPickler(stream).dump(content)
    return stream.getvalue()
