"""The vertices that AGORA measures meshes on: lists of its evaluator and of SMPL-X, none of which can be shipped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.body.bodies import Bodies
from hpsbench.errors import BodyError, DataError
from hpsbench.protocol import AgoraRule
from hpsbench.safeload import load_pickle
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.store import sha256_of_bytes

VERTICES = {"smpl": 6890, "smplx": 10475}
TITLES = {"smpl": "SMPL", "smplx": "SMPL-X"}
_BODY_FILES = {"smpl": "body_verts_smpl.npy", "smplx": "body_verts_smplx.npy"}
_HANDS_FILE, _FACE_FILE = "MANO_SMPLX_vertex_ids.pkl", "SMPL-X__FLAME_vertex_ids.npy"
# How many vertices a list holds, where that is known: SMPL's body, MANO's hand, FLAME's head.
_NUMBERS = {_BODY_FILES["smpl"]: 4010, _HANDS_FILE: 778, _FACE_FILE: 5023}
_OF_AGORA = "in the folder utils of github.com/pixelite1201/agora_evaluation (its licence: non-commercial research)"
_OF_SMPLX = "under 'MANO and FLAME vertex indices' in the downloads of smpl-x.is.tue.mpg.de (free registration, non-commercial research)"
_WHERE = {_BODY_FILES["smpl"]: _OF_AGORA, _BODY_FILES["smplx"]: _OF_AGORA, _HANDS_FILE: _OF_SMPLX, _FACE_FILE: _OF_SMPLX}
# The joints whose vertices the rule "skinning" leaves out: AGORA's list too is the body without head and hands.
_NOT_BODY = ("head", "left_wrist", "right_wrist", "left_hand", "right_hand")


@dataclass(frozen=True)
class BodyVertices:
    """The vertices that MVE is measured on: their numbers ``ids`` (n,) by part, the body first, and where these come from."""

    ids: Mapping[str, np.ndarray]
    origin: str

    @property
    def number(self) -> int:
        """How many are the body's."""
        return len(self.ids["body"])

    @property
    def sha256(self) -> str:
        return sha256_of_bytes(b"|".join(np.ascontiguousarray(ids, dtype="<u4").tobytes() for ids in self.ids.values()))


def body_vertices(rule: AgoraRule, model: str, root: Path, bodies: Bodies | None) -> BodyVertices:
    """The vertices of a rule for "smpl" or "smplx": lists out of AGORA's folder ``root`` or that of the bodies, or, of SMPL, by the
    neutral body's skinning weights.

    ``bodies`` may be None where the rule is "file". Raises DataError where a list is nowhere or is not what its name says, BodyError for
    bodies of another mesh than SMPL's, or where there are none and the rule needs them; UnsafePickleError.
    """
    if model == "smpl" and bodies is not None and bodies.neutral.n_vertices != VERTICES[model]:
        raise BodyError(
            f"The bodies in {bodies.folder} have {bodies.neutral.n_vertices} vertices, expected SMPL's {VERTICES[model]}, which AGORA's "
            "meshes have. Name the folder of SMPL."
        )
    if rule.vertices == "skinning":
        return _by_skinning(model, bodies)
    below = () if bodies is None else (bodies.folder, bodies.folder / model)
    paths = _found((root, root / "utils", *below), [_BODY_FILES[model], *([] if model == "smpl" else [_HANDS_FILE, _FACE_FILE])])
    body = {"body": _loaded(paths[_BODY_FILES[model]], model)}
    if model == "smpl":
        return BodyVertices(body, _BODY_FILES[model])
    ids = body | _hands(paths[_HANDS_FILE]) | {"face": _loaded(paths[_FACE_FILE], model)}
    hands, face = (f"{_NUMBERS[name]:,}: {name}" for name in (_HANDS_FILE, _FACE_FILE))
    return BodyVertices(ids, f"{_BODY_FILES[model]}; of each hand {hands}; of the face {face}")


def _by_skinning(model: str, bodies: Bodies | None) -> BodyVertices:
    if model != "smpl":
        raise BodyError(
            f"MVE is to be over vertices by skinning weights, but the meshes are {TITLES[model]}'s, of which no body is read here. Say "
            'vertices = "file" under [agora].'
        )
    if bodies is None:
        raise BodyError("MVE is to be over vertices by skinning weights, but no bodies are given. Give those of SMPL.")
    joint = bodies.neutral.weights.argmax(1).cpu().numpy()
    left_out = [JOINT_NAMES["smpl24"].index(name) for name in _NOT_BODY]
    ids = np.flatnonzero(~np.isin(joint, left_out))
    return BodyVertices({"body": ids}, f"skinning weights of {bodies.name}, without {', '.join(_NOT_BODY)}")


def _found(folders: tuple[Path, ...], names: list[str]) -> dict[str, Path]:
    """The file of each name in the first of the folders that has it. Raises DataError, which says of all that lack where to get them."""
    paths = {name: next((folder / name for folder in folders if (folder / name).is_file()), None) for name in names}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        sources = "; ".join(f"{name}: {_WHERE[name]}" for name in missing)
        other = " Or use the protocol agora-validation-skinning, which needs no such file." if names == [_BODY_FILES["smpl"]] else ""
        raise DataError(
            f"No {', '.join(missing)} in {', '.join(map(str, folders))}. Expected the numbers of the vertices that AGORA's evaluator "
            f"measures MVE on, in files that cannot be shipped: put them there. They are published so: {sources}.{other}"
        )
    return paths


def _loaded(path: Path, model: str) -> np.ndarray:
    try:
        ids = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is no array of plain numbers: {error}. {_again(path)}") from error
    return _checked(path, "", ids, VERTICES[model])


def _hands(path: Path) -> dict[str, np.ndarray]:
    """The vertices of "left_hand" and "right_hand"."""
    content = load_pickle(path)
    missing = [part for part in ("left_hand", "right_hand") if not isinstance(content, dict) or part not in content]
    if missing:
        found = ", ".join(map(str, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise DataError(f"{path} lacks {' and '.join(missing)}; it holds {found or 'nothing'}. {_again(path)}")
    try:
        ids = {part: np.asarray(content[part]) for part in ("left_hand", "right_hand")}
    except ValueError as error:
        raise DataError(f"{path} holds no rows of numbers ({error}). {_again(path)}") from error
    return {part: _checked(path, f": '{part}'", numbers, VERTICES["smplx"]) for part, numbers in ids.items()}


def _checked(path: Path, what: str, ids: Any, vertices: int) -> np.ndarray:
    """Different vertices of the mesh, as many as the file is known to hold, as int64; ``what`` of the file they are is for the message."""
    number = _NUMBERS.get(path.name)
    whole = ids.dtype.kind in "iu" and ids.ndim == 1 and len(ids) > 0 and number in (None, len(ids)) and len(np.unique(ids)) == len(ids)
    if not whole or ids.min() < 0 or ids.max() >= vertices:
        raise DataError(
            f"{path}{what} holds {ids.dtype} of shape {ids.shape}, expected {number or 'a row of'} different whole numbers from 0 to "
            f"{vertices - 1}. {_again(path)}"
        )
    return ids.astype(np.int64)


def _again(path: Path) -> str:
    return f"Take the file from where it is published again: {_WHERE[path.name]}."
