"""AGORA's predictions that are given as SMPL's parameters: the meshes of the neutral body under them, as AGORA's evaluator makes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from hpsbench.body.model import BodyArrays, BodyModel
from hpsbench.datasets.base_agora import OTHER_NAMES
from hpsbench.errors import BodyError, PredictionError
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.store import sha256_of_bytes, sha256_of_file

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

KID_TEMPLATE = "smpl_kid_template.npy"
_JOINTS, _BETAS = 24, 10
# How far a rotation matrix may be off an orthonormal one.
_TOLERANCE = 1e-3
_OF_SMPLX = ("left_hand_pose", "right_hand_pose", "jaw_pose", "expression")


class Parameters(NamedTuple):
    """One person's: ``rotmats`` (24, 3, 3) relative, ``betas`` (10,) or of a kid (11,), ``transl`` (3,) m; the ``path`` is for messages."""

    path: Path
    rotmats: np.ndarray
    betas: np.ndarray
    transl: np.ndarray


def parameters_of(path: Path, content: Mapping[str, Any]) -> Parameters:
    """The parameters under "params" in a prediction file's ``content``; poses are rotation vectors, or matrices where pose2rot is False.

    As in the evaluator the body is always neutral, and only the first ten betas count, of a kid (by its kid_flag; by the documentation
    its age) the first eleven. Raises PredictionError.
    """
    given = content["params"]
    if not isinstance(given, Mapping):
        raise PredictionError(f"{path}: 'params' is a {type(given).__name__}, expected a dict of SMPL's parameters. Write it again.")
    given = {OTHER_NAMES.get(key, key): value for key, value in given.items()}
    if any(key in given for key in _OF_SMPLX):
        raise PredictionError(
            f"{path}: 'params' are SMPL-X's ({', '.join(key for key in _OF_SMPLX if key in given)} found), of which no body is read here. "
            "Write the mesh: 'verts' (10475, 3) and 'allSmplJoints3d' (127, 3)."
        )
    missing = [key for key in ("global_orient", "body_pose", "betas", "transl") if key not in given]
    if missing:
        raise PredictionError(f"{path}: 'params' lacks {', '.join(missing)}; it has {', '.join(map(str, given)) or 'nothing'}. Write them.")
    shape = (3,) if bool(content.get("pose2rot", True)) else (3, 3)
    poses = [_array(path, key, given[key], (number, *shape)) for key, number in (("global_orient", 1), ("body_pose", _JOINTS - 1))]
    rotations = np.concatenate(poses)
    if shape == (3, 3):
        _check_rotations(path, rotations)
    else:
        rotations = rotvec_to_rotmat(torch.from_numpy(rotations)).numpy()
    kid = bool(content.get("kid_flag", False)) or str(content.get("age", "adult")) == "kid"
    return Parameters(path, rotations, _betas(path, given["betas"], kid), _array(path, "transl", given["transl"], (3,)))


def _array(path: Path, key: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """As many numbers as ``shape`` has, in it."""
    array = _numbers(path, key, value)
    if array.size != np.prod(shape):
        hint = " (rotation matrices go with pose2rot False)" if key.endswith(("orient", "pose")) else ""
        raise PredictionError(f"{path}: '{key}' has shape {array.shape}, expected (1, {', '.join(map(str, shape))}){hint}. Write it again.")
    return array.reshape(shape)


def _numbers(path: Path, key: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionError(f"{path}: '{key}' is no array of numbers ({error}). Write it again.") from error
    if not np.isfinite(array).all():
        raise PredictionError(f"{path}: '{key}' holds NaN or infinity. Leave out the people who failed.")
    return array


def _betas(path: Path, value: Any, kid: bool) -> np.ndarray:
    betas, needed = _numbers(path, "betas", value), _BETAS + kid
    if betas.size != max(betas.shape, default=0) or betas.size < needed:
        raise PredictionError(
            f"{path}: 'betas' has shape {betas.shape}, expected (1, {needed}) or more{' of a kid' if kid else ''}. Write it again."
        )
    return betas.reshape(-1)[:needed]


def _check_rotations(path: Path, rotations: np.ndarray) -> None:
    off = np.abs(rotations @ rotations.swapaxes(-1, -2) - np.eye(3)).max()
    if off > _TOLERANCE or (np.linalg.det(rotations) < 0).any():
        raise PredictionError(
            f"{path}: the matrices of 'global_orient' and 'body_pose' are no rotations (R R^T is off by up to {off:.2g}). Write rotations, "
            "each (3, 3) with its rows in order."
        )


class PosedBodies:
    """The neutral body of ``bodies`` under predicted parameters, in float64; that of kids with the template in the first of ``folders``
    that has one."""

    def __init__(self, bodies: "Bodies", folders: Sequence[Path]):
        self.bodies, self.folders = bodies.to(dtype=torch.float64, device="cpu"), folders
        self.used = False
        self._template: tuple[Path, torch.Tensor] | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the meshes were made of so far."""
        if self._template is None:
            return self.bodies.fingerprint
        return sha256_of_bytes(f"{self.bodies.fingerprint} {KID_TEMPLATE} {sha256_of_file(self._template[0])}".encode())

    def meshes(self, people: Sequence[Parameters]) -> list[tuple[np.ndarray, np.ndarray]]:
        """(vertices (6890, 3), joints (24, 3)) m of each. Raises BodyError where a kid is among them and there is no kid's template."""
        self.used = True
        adults = [k for k, person in enumerate(people) if len(person.betas) == _BETAS]
        found = dict(zip(adults, self._posed(self.bodies.neutral, [people[k] for k in adults]), strict=True)) if adults else {}
        for k, person in enumerate(people):
            if k not in found:
                (found[k],) = self._posed(self._kid(person), [person._replace(betas=person.betas[:_BETAS])])
        return [found[k] for k in range(len(people))]

    @staticmethod
    def _posed(body: BodyModel, people: Sequence[Parameters]) -> list[tuple[np.ndarray, np.ndarray]]:
        betas, rotmats, transl = (torch.from_numpy(np.stack([getattr(p, key) for p in people])) for key in ("betas", "rotmats", "transl"))
        with torch.inference_mode():
            output = body(betas, rotmats, transl)
        return list(zip(output.vertices.numpy(), output.joints.numpy(), strict=True))

    def _kid(self, person: Parameters) -> BodyModel:
        """The neutral body whose template is moved towards the kid's by the eleventh shape number.

        Source: the smplx package, which takes the difference of the kid's template, moved so that the mean of its vertices is the origin,
        and the adult's for an eleventh shape direction.
        """
        body = self.bodies.neutral
        template = body.v_template + float(person.betas[_BETAS]) * (self._kid_template(person.path) - body.v_template)
        parts = (body.shapedirs, body.posedirs, body.J_regressor, body.weights)
        return BodyModel(BodyArrays(template.numpy(), *(part.numpy() for part in parts), faces=body.faces), torch.float64)

    def _kid_template(self, person: Path) -> torch.Tensor:
        if self._template is None:
            path = next((folder / KID_TEMPLATE for folder in self.folders if (folder / KID_TEMPLATE).is_file()), None)
            if path is None:
                raise BodyError(
                    f"{person} gives the parameters of a kid, but there is no {KID_TEMPLATE} in {', '.join(map(str, self.folders))}. Put "
                    "it there (it is among the downloads of agora.is.tue.mpg.de), or write 'verts' and 'allSmplJoints3d'."
                )
            self._template = path, torch.from_numpy(_load_template(path, self.bodies.neutral.n_vertices))
        return self._template[1]


def _load_template(path: Path, vertices: int) -> np.ndarray:
    """(V, 3) m, the mean of its vertices in the origin."""
    try:
        template = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BodyError(f"{path} is not a readable .npy array ({error}). Copy or download it again.") from error
    if template.dtype.kind != "f" or template.shape != (vertices, 3) or not np.isfinite(template).all():
        raise BodyError(
            f"{path} holds {template.dtype} of shape {template.shape}, expected finite numbers of shape ({vertices}, 3). Download it again."
        )
    return template.astype(np.float64) - template.mean(0, dtype=np.float64)
