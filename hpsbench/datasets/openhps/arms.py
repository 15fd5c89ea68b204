"""Where people put their arms: named places of the hands, and free ones.

A place is (wrist target, spread, pole, sides): metres from the left shoulder in the chest's frame (+X outwards, +Y up,
+Z forward), its standard deviation, where the elbow points, and whether both arms do it ("both"), one ("one") or either.
"""

import numpy as np

from hpsbench.datasets.openhps import figure, quats

_PLACES = {
    "hanging": ((0.07, -0.47, 0.04), 0.05, (0.3, 0.0, -1.0), "any"),
    "hip": ((0.04, -0.36, 0.03), 0.02, (1.0, 0.0, -0.6), "any"),
    "crossed": ((-0.2, -0.17, 0.24), 0.03, (0.6, -1.0, 0.1), "both"),
    "phone-ear": ((0.03, 0.15, 0.12), 0.03, (0.5, -1.0, 0.3), "one"),
    "phone-front": ((-0.06, -0.12, 0.33), 0.05, (0.4, -1.0, -0.2), "any"),
    "pocket": ((0.05, -0.42, 0.08), 0.03, (0.6, 0.0, -1.0), "any"),
    "behind": ((-0.02, -0.38, -0.14), 0.03, (1.0, 0.0, -0.5), "any"),
    "chin": ((-0.08, 0.02, 0.22), 0.03, (0.3, -1.0, 0.1), "one"),
    "hair": ((0.0, 0.3, 0.1), 0.05, (1.0, 0.0, 0.2), "any"),
    "clasped-low": ((-0.14, -0.36, 0.2), 0.03, (1.0, -0.2, -0.4), "both"),
    "clasped-high": ((-0.14, -0.15, 0.28), 0.05, (0.7, -1.0, 0.0), "both"),
    "box": ((-0.02, -0.2, 0.33), 0.05, (0.4, -1.0, -0.3), "both"),
    "overhead": ((0.02, 0.42, 0.08), 0.06, (1.0, 0.0, 0.3), "both"),
    "strap": ((-0.06, -0.08, 0.2), 0.03, (0.5, -1.0, 0.0), "one"),
    "wave": ((0.16, 0.2, 0.14), 0.09, (0.8, -1.0, -0.1), "one"),
    "point": ((0.05, 0.0, 0.47), 0.14, (0.4, -1.0, 0.0), "one"),
    "sideways": ((0.46, 0.0, 0.04), 0.12, (0.2, -1.0, -0.4), "any"),
    "up": ((0.06, 0.46, 0.06), 0.1, (1.0, 0.0, 0.2), "any"),
    "explaining": ((0.06, -0.18, 0.3), 0.1, (0.5, -1.0, -0.3), "any"),
    "other-shoulder": ((-0.26, -0.06, 0.22), 0.03, (0.3, -1.0, 0.2), "one"),
    "lap": ((0.0, -0.3, 0.3), 0.05, (0.8, -0.4, -0.5), "any"),
    "knee": ((0.02, -0.27, 0.39), 0.05, (0.8, -0.4, -0.4), "any"),
    "table": ((-0.03, -0.22, 0.36), 0.06, (0.8, -0.8, -0.2), "any"),
    "armrest": ((0.1, -0.25, 0.24), 0.04, (0.6, -0.3, -1.0), "any"),
    "prop-behind": ((0.14, -0.42, -0.2), 0.05, (0.4, 0.0, -1.0), "any"),
}
_REACH = 0.49
_EYE = np.array([1.0, 0.0, 0.0, 0.0])


def draw_arms(rng: np.random.Generator, names: dict[str, float]) -> np.ndarray:
    """Local quaternions (2,4,4) of left and right collar, shoulder, elbow, wrist, as places drawn by the weights ``names``.

    "free" draws the wrist anywhere around the shoulder but behind and across the trunk.
    """
    first = _draw_name(rng, names)
    kind = _PLACES[first][3] if first != "free" else "any"
    if kind == "both" or (kind == "any" and first != "free" and rng.random() < 0.5):
        chosen = [first, first]
    else:
        others = {n: w for n, w in names.items() if n == "free" or _PLACES[n][3] != "both"}
        chosen = [first, _draw_name(rng, others)]
        chosen = chosen if rng.random() < 0.5 else chosen[::-1]
    targets, poles = (np.array(v) for v in zip(*(_draw_target(rng, n) for n in chosen), strict=True))
    return arms_to(rng, targets, poles, offset=chosen[0] == chosen[1])


def arms_to(rng: np.random.Generator, targets: np.ndarray, poles: np.ndarray, *, offset: bool = False) -> np.ndarray:
    """Arms (2,4,4) whose wrists are at ``targets`` (2,3), each as if it were the left one; ``offset`` parts two equal ones."""
    if offset:
        targets = targets + rng.choice([-1.0, 1.0]) * np.array([[0.0, 0.03, 0.03], [0.0, -0.03, -0.03]])
    shoulder, elbow = figure.reaching_arm(targets, poles)
    pronation = rng.normal(0.2, 0.45, 2)
    wrist = rng.normal(0.0, (0.0, 0.12, 0.25), (2, 3)) + 0.6 * pronation[:, None] * np.eye(3)[0]
    elbow = quats.multiply(elbow, quats.about("x", 0.4 * pronation))
    arms = np.stack([np.tile(_EYE, (2, 1)), shoulder, elbow, quats.from_rotvec(wrist)], axis=1)
    arms[1] *= np.array([1.0, 1.0, -1.0, -1.0])
    return arms


def shrugged(pose: np.ndarray) -> np.ndarray:
    """Poses (N,24,4) whose collars take a share of how far the upper arms are raised or brought forward; the arms' directions stay."""
    shared = pose.copy()
    for collar, shoulder, sign in ((13, 16, 1.0), (14, 17, -1.0)):
        arm = np.arcsin(np.clip(quats.apply(pose[:, shoulder], np.array([sign, 0.0, 0.0])), -1.0, 1.0))
        forward, raised = 0.2 * np.maximum(arm[:, 2], 0.0), 0.3 * np.maximum(arm[:, 1] + 0.3, 0.0)
        moved = quats.from_rotvec(sign * np.stack([0 * raised, -forward, raised], axis=1))
        shared[:, collar] = quats.multiply(pose[:, collar], moved)
        shared[:, shoulder] = quats.multiply(quats.conjugate(moved), pose[:, shoulder])
    return shared


def _draw_name(rng: np.random.Generator, names: dict[str, float]) -> str:
    weights = np.cumsum(list(names.values()))
    return list(names)[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]


def _draw_target(rng: np.random.Generator, name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "free":
        direction = rng.normal(size=3)
        direction[0], direction[2] = abs(direction[0]) * rng.choice([1.0, 1.0, 1.0, -0.4]), direction[2] * (1 if direction[2] > 0 else 0.4)
        direction /= np.linalg.norm(direction)
        return _REACH * rng.uniform(0.45, 1.0) * direction, np.array([0.5, -1.0, -0.4]) + rng.normal(0.0, 0.3, 3)
    target, spread, pole, _ = _PLACES[name]
    return np.array(target) + rng.normal(0.0, spread, 3), np.array(pole) + rng.normal(0.0, 0.15, 3)
