"""All SMPL fits that a split of AGORA names, parsed once, and where their bodies stand before the cameras."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hpsbench.datasets.base_agora import load_fit
from hpsbench.datasets.base_index import Columns, indexed_with_hashes
from hpsbench.geometry import rotmat_to_rotvec, rotvec_to_rotmat

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

# To be raised whenever an index made before would hold something else.
_INDEX_VERSION = 1
_BETAS, _BETAS_OF_KIDS = 10, 11


@dataclass(frozen=True)
class CameraFits:
    """SMPL's parameters of R people in the camera frame, as ``SampleColumns`` takes them, None for those who have none.

    ``rotvecs`` (24, 3), ``betas`` (10,), ``trans`` (3,) m for each; a kid has rotvecs alone, since ten shape numbers cannot tell a kid.
    """

    rotvecs: list[np.ndarray | None]
    betas: list[np.ndarray | None]
    trans: list[np.ndarray | None]


class SmplFits:
    """The F fits that are there, of those that a dataset's tables name by paths below its folder; each in its scan's own frame.

    ``rows`` place by path; ``orient`` (F, 3), ``transl`` (F, 3), ``body_pose`` (F, 23, 3), ``betas`` (F, 11), whose last one is NaN but for
    kids; ``hashes`` SHA-256 by path.
    """

    def __init__(self, root: Path, names: Iterable[str]):
        """Raises DataError and UnsafePickleError as ``load_fit``."""
        there = sorted(name for name in set(names) if (root / name).is_file())
        files = [root / name for name in there]
        self.rows = {name: row for row, name in enumerate(there)}
        columns, hashes = indexed_with_hashes("agora-fits", _INDEX_VERSION, files, lambda: _parsed(files)) if files else (_parsed([]), {})
        self.orient, self.transl = columns["global_orient"], columns["transl"]
        self.body_pose, self.betas = columns["body_pose"], columns["betas"]
        self.hashes = dict(zip(there, hashes.values(), strict=True))

    def params(self, name: str) -> Mapping[str, np.ndarray] | None:
        """The parameters of one fit as ``load_fit`` gives them; None where it is not there."""
        if name not in self.rows:
            return None
        row = self.rows[name]
        betas = self.betas[row] if self._of_kids[row] else self.betas[row, :_BETAS]
        return {"global_orient": self.orient[row], "transl": self.transl[row], "body_pose": self.body_pose[row], "betas": betas}

    @property
    def _of_kids(self) -> np.ndarray:
        return ~np.isnan(self.betas[:, -1])

    def in_camera(self, names: list[str], rotations: np.ndarray, shifts: np.ndarray, bodies: "Bodies | None") -> CameraFits:
        """The fits ``names`` (R) of people who are placed by ``rotations`` A (R, 3, 3) and ``shifts`` s (R, 3) m: A v + s is in the camera
        frame. Without ``bodies`` nobody has a ``trans``."""
        rows = np.array([self.rows.get(name, -1) for name in names], dtype=np.int64)
        there = rows >= 0
        adult = there & ~self._of_kids[rows] if len(self.rows) else there
        rotvecs = np.concatenate([self._roots(rows, there, rotations)[:, None], self._of(self.body_pose, rows, there)], axis=1)
        trans = np.zeros((len(rows), 3)) if bodies is None else self._translations(rows, adult, rotations, shifts, bodies)
        return CameraFits(
            rotvecs=_some(rotvecs, there),
            betas=_some(self._of(self.betas, rows, there)[:, :_BETAS], adult),
            trans=_some(trans, adult & (bodies is not None)),
        )

    @staticmethod
    def _of(array: np.ndarray, rows: np.ndarray, there: np.ndarray) -> np.ndarray:
        found = np.zeros((len(rows), *array.shape[1:]))
        found[there] = array[rows[there]]
        return found

    def _roots(self, rows: np.ndarray, there: np.ndarray, rotations: np.ndarray) -> np.ndarray:
        """Rotation vectors (R, 3) of the roots in the camera frame."""
        own = rotvec_to_rotmat(torch.from_numpy(self._of(self.orient, rows, there))).numpy()
        return rotmat_to_rotvec(torch.from_numpy(rotations @ own)).numpy()

    def _translations(self, rows: np.ndarray, adult: np.ndarray, rotations: np.ndarray, shifts: np.ndarray, bodies: "Bodies") -> np.ndarray:
        """(R, 3) m, zeros for all but adults: a body turns about its own rest pelvis, which follows from its shape."""
        pelvis = np.zeros((len(rows), 3))
        found = {row: _rest_pelvis(bodies, self.betas[row, :_BETAS]) for row in np.unique(rows[adult]).tolist()}
        for k in np.flatnonzero(adult).tolist():
            pelvis[k] = found[int(rows[k])]
        moved = (rotations @ (self._of(self.transl, rows, adult) + pelvis)[..., None])[..., 0]
        return moved + shifts - pelvis


def _rest_pelvis(bodies: "Bodies", betas: np.ndarray) -> np.ndarray:
    """(3,) m; one body at a time, so that no number depends on the others."""
    return bodies.neutral.rest_joints(torch.from_numpy(betas)[None])[0, 0].double().cpu().numpy()


def _some(array: np.ndarray, there: np.ndarray) -> list[np.ndarray | None]:
    return [row if has else None for row, has in zip(array, there.tolist(), strict=True)]


def _parsed(files: list[Path]) -> Columns:
    """The fits of all files as the arrays of an index."""
    columns = {
        "global_orient": np.zeros((len(files), 3)),
        "transl": np.zeros((len(files), 3)),
        "body_pose": np.zeros((len(files), 23, 3)),
        "betas": np.full((len(files), _BETAS_OF_KIDS), np.nan),
    }
    nowhere = {"rotation": np.eye(3), "shift": np.zeros(3)}
    for row, file in enumerate(files):
        params = load_fit(file, "smpl", **nowhere).params
        for key, column in columns.items():
            column[row, : len(params[key])] = params[key]
    return columns
