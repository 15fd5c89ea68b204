"""A stick figure of average size in SMPL's joint order: what pose making needs to know of a body.

Metres; Y up, the figure faces +Z, its left is +X (SMPL's rest pose: a T). Joints as hpsbench.skeleton 'smpl24'.
"""

import numpy as np

from hpsbench.datasets.openhps import quats
from hpsbench.skeleton import PARENTS, mirror

PARENTS24 = np.array(PARENTS["smpl24"])
MIRROR24 = np.array(mirror("smpl24"))
UPPER_ARM, FOREARM = 0.266, 0.237

# Rest joints of the neutral openhps body with mean shape, rounded to centimetres and made symmetric.
REST = np.array(
    [
        [0.0, -0.24, 0.03], [0.113, -0.255, 0.02], [-0.113, -0.255, 0.02], [0.0, -0.16, -0.01],
        [0.145, -0.655, 0.05], [-0.145, -0.655, 0.05], [0.0, -0.005, 0.0], [0.188, -1.09, 0.02],
        [-0.188, -1.09, 0.02], [0.0, 0.125, -0.01], [0.198, -1.14, 0.16], [-0.198, -1.14, 0.16],
        [0.0, 0.31, 0.03], [0.023, 0.235, 0.044], [-0.023, 0.235, 0.044], [0.0, 0.41, 0.06],
        [0.181, 0.222, 0.039], [-0.181, 0.222, 0.039], [0.447, 0.222, 0.039], [-0.447, 0.222, 0.039],
        [0.684, 0.222, 0.039], [-0.684, 0.222, 0.039], [0.787, 0.222, 0.039], [-0.787, 0.222, 0.039],
    ]
)  # fmt: skip
OFFSETS = REST - np.where(PARENTS24[:, None] < 0, 0.0, REST[PARENTS24])

# Points of the skin that may touch the ground: (joint, offset from it in the joint's frame).
_CONTACTS = (
    *((j, (0.0, -0.077, z)) for j in (7, 8) for z in (-0.05, 0.05)),
    *((j, (0.0, -0.03, z)) for j in (10, 11) for z in (-0.02, 0.06)),
    *((j, (0.0, -0.02, 0.06)) for j in (4, 5)),
    *((j, (0.0, -0.08, -0.1)) for j in (1, 2)),
    *((j, (0.0, y, z)) for j in (0, 3, 9) for y, z in ((0.0, -0.1), (0.0, 0.12))),
    *((j, (0.0, -0.04, 0.0)) for j in (18, 19)),
    *((j, (x, -0.025, 0.0)) for j, s in ((20, 1), (21, -1)) for x in (0.0, 0.18 * s)),
    *((j, (0.0, 0.0, z)) for j in (16, 17) for z in (-0.08, 0.08)),
    *((15, p) for p in ((0.0, 0.15, 0.03), (0.0, 0.06, -0.09), (0.0, 0.05, 0.12))),
)
_CONTACT_JOINTS = np.array([joint for joint, _ in _CONTACTS])
_CONTACT_OFFSETS = np.array([offset for _, offset in _CONTACTS])


def forward(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N,24,3) m with the pelvis at the origin, and global rotations (N,24,4), of local quaternions ``pose`` (N,24,4)."""
    joints, rotations = np.zeros((*pose.shape[:-1], 3)), np.empty_like(pose)
    rotations[:, 0] = pose[:, 0]
    for level in _LEVELS:
        parents = PARENTS24[level]
        rotations[:, level] = quats.multiply(rotations[:, parents], pose[:, level])
        joints[:, level] = joints[:, parents] + quats.apply(rotations[:, parents], OFFSETS[level])
    return joints, rotations


def _levels() -> list[np.ndarray]:
    depth = np.zeros(24, int)
    for joint in range(1, 24):
        depth[joint] = depth[PARENTS24[joint]] + 1
    return [np.flatnonzero(depth == d) for d in range(1, depth.max() + 1)]


_LEVELS = _levels()


def lowest(joints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Height (N,) m of the lowest point of the skin, of what ``forward`` gives."""
    return (joints[:, _CONTACT_JOINTS] + quats.apply(rotations[:, _CONTACT_JOINTS], _CONTACT_OFFSETS))[..., 1].min(axis=1)


def mirrored(pose: np.ndarray) -> np.ndarray:
    """Local quaternions (..., 24, 4) of the same pose seen in a mirror: left and right change places."""
    return pose[..., MIRROR24, :] * np.array([1.0, 1.0, -1.0, -1.0])


def heading(root: np.ndarray) -> np.ndarray:
    """Quaternions (...,4) of the turn about Y in root orientations (...,4): the rest, heading^-1 * root, leans but does not turn."""
    yaw = np.stack([root[..., 0], 0 * root[..., 0], root[..., 2], 0 * root[..., 0]], axis=-1)
    norm = np.linalg.norm(yaw, axis=-1, keepdims=True)
    return np.where(norm > 1e-6, yaw / np.maximum(norm, 1e-6), np.array([1.0, 0.0, 0.0, 0.0]))


def reaching_arm(target: np.ndarray, pole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left shoulder and elbow quaternions (...,4) that bring the wrist to ``target`` (...,3), with the elbow towards ``pole`` (...,3).

    The target is in the chest's frame at rest, metres from the left shoulder; one out of reach is drawn in along its direction.
    """
    distance = np.clip(np.linalg.norm(target, axis=-1, keepdims=True), 0.14, 0.99 * (UPPER_ARM + FOREARM))
    along = target / np.maximum(np.linalg.norm(target, axis=-1, keepdims=True), 1e-9)
    side = pole - np.sum(pole * along, axis=-1, keepdims=True) * along
    side = side / np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-9)
    near = (distance**2 + UPPER_ARM**2 - FOREARM**2) / (2 * distance)
    elbow = near * along + np.sqrt(np.maximum(UPPER_ARM**2 - near**2, 0.0)) * side
    x, forearm = elbow / UPPER_ARM, (distance * along - elbow) / FOREARM
    z = forearm - np.sum(forearm * x, axis=-1, keepdims=True) * x
    z = z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-9)
    bend = np.arccos(np.clip(np.sum(forearm * x, axis=-1), -1.0, 1.0))
    return quats.from_columns(x, quats.cross(z, x), z), quats.about("y", -bend)


def penetration(joints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Depth (N,) m of the deepest arm point inside of the trunk, head or thighs; 0 where none is."""
    arms = np.concatenate(
        [joints[:, [18, 19]], 0.5 * (joints[:, [18, 19]] + joints[:, [20, 21]]), joints[:, [20, 21]],
         joints[:, [22, 23]]], axis=1
    )  # fmt: skip
    depth = [0.1 - np.linalg.norm(arms - (joints[:, 15:16] + quats.apply(rotations[:, 15:16], np.array([0, 0.05, 0.02]))), axis=-1)]
    for joint, centre, half in ((9, (0, 0.0, 0.03), (0.16, 0.24, 0.11)), (3, (0, 0.0, 0.05), (0.15, 0.2, 0.12))):
        local = quats.apply(quats.conjugate(rotations[:, joint : joint + 1]), arms - joints[:, joint : joint + 1]) - np.array(centre)
        depth.append((1 - np.linalg.norm(local / np.array(half), axis=-1)) * half[2])
    for hip, knee in ((1, 4), (2, 5)):
        bone, rest = joints[:, knee : knee + 1] - joints[:, hip : hip + 1], arms - joints[:, hip : hip + 1]
        s = np.clip((bone * rest).sum(-1, keepdims=True) / (bone**2).sum(-1, keepdims=True), 0, 1)
        depth.append(0.075 - np.linalg.norm(rest - s * bone, axis=-1))
    return np.maximum(np.max(depth, axis=(0, 2)), 0.0)
