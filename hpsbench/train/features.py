"""What a trained HybrIK says about varied training crops, stored: NIKI is trained on that and never on images."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsbench.body.bodies import Bodies
from hpsbench.body.kinematics import bone_axes, normalised_phi, twist_rotation
from hpsbench.geometry import rotmat_to_rot6d_rows
from hpsbench.models.ik.analytic import naive_pose
from hpsbench.models.nets.heads import expected_uvd, heatmap_probabilities
from hpsbench.models.nets.hybrik_net import HybrikHeads, HybrikNet, camera_state, normalise_crops
from hpsbench.seeds import rng_of
from hpsbench.store import whole_file
from hpsbench.train.augment import Augmentation, make_batch
from hpsbench.train.cache import CropCache

BATCH = 64
THREADS = 2
# what HybrIK saw, then what was true; shapes of one row
FEATURES = {
    "joints": (29, 3),
    "sigma": (29,),
    "phi": (23, 2),
    "betas": (10,),
    "gt_joints": (29, 3),
    "gt_rotmats": (24, 3, 3),
    "gt_phi": (23, 2),
    "gt_betas": (10,),
}


@dataclass(frozen=True)
class FeatureSet:
    """Rows of ``FEATURES`` (N, ...) float32, joints in metres relative to joint 0, and the cached person (N,) of each."""

    values: dict[str, Tensor]
    person: np.ndarray

    def __len__(self) -> int:
        return len(self.person)


def load_features(path: Path) -> FeatureSet:
    """The stored features of a file that ``make_features`` wrote."""
    with np.load(path, allow_pickle=False) as table:
        return FeatureSet({key: torch.from_numpy(table[key]) for key in FEATURES}, table["person"])


def make_features(
    cache: CropCache,
    rows: np.ndarray,
    net: HybrikNet,
    path: Path,
    *,
    rules: tuple[Augmentation, ...],
    seed: int,
    progress: Callable[[str], None] = print,
) -> FeatureSet:
    """Features of the cached people ``rows``, one pass for each rule; stored at ``path``, and read from there if it exists."""
    if path.exists():
        return load_features(path)
    chunks = [(number, start) for number in range(len(rules)) for start in range(0, len(rows), BATCH)]

    def chunk(place: tuple[int, int]) -> dict[str, np.ndarray]:
        number, start = place
        crops, labels = make_batch(cache, rows[start : start + BATCH], rng_of("niki-features", seed, number, start), rules[number])
        return _seen(net, crops, labels)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            answers = list(pool.map(chunk, chunks))
    finally:
        torch.set_num_threads(threads)
    table = {key: np.concatenate([answer[key] for answer in answers]) for key in FEATURES}
    progress(f"features: {len(rules)} passes over {len(rows)} people")
    with whole_file(path) as stream:
        np.savez(stream, person=np.tile(rows, len(rules)), **table)
    return load_features(path)


def _heads(net: HybrikNet, logits: Tensor, feature: Tensor) -> HybrikHeads:
    uvd, maxvals = expected_uvd(heatmap_probabilities(logits))
    return HybrikHeads(uvd, maxvals, **net.vector_heads(feature))


@torch.no_grad()
def _seen(net: HybrikNet, crops: np.ndarray, labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    device = net.init_shape.device
    images = normalise_crops(torch.from_numpy(crops).permute(0, 3, 1, 2).to(device))
    offset, ratio = (torch.from_numpy(labels[key]).to(device) for key in ("offset", "ratio"))
    with torch.autocast(device.type, torch.bfloat16):
        views = [net.encode(view) for view in ((images, images.flip(-1)) if net.config.flip else (images,))]
    views = [(logits.float(), feature.float()) for logits, feature in views]
    heads = net.average_flip(*views) if net.config.flip else _heads(net, *views[0])
    state = camera_state(heads, offset, ratio)
    seen = {"joints": state.joints29, "sigma": state.sigma, "phi": state.phi, "betas": state.betas}
    truth = {f"gt_{key}": labels[key] for key in ("joints", "rotmats", "phi", "betas")}
    return {**{key: value.float().cpu().numpy() for key, value in seen.items()}, **truth}


@torch.no_grad()
def truth_targets(values: dict[str, Tensor], bodies: Bodies) -> dict[str, Tensor]:
    """The labels of ``niki_terms`` for features: everything is known of everybody, so all weights are 1.

    The swing target is what the naive analytic IK makes of the true joints, betas and twists, its root the spine-based one.
    """
    count = len(values["gt_joints"])
    rest = bodies.neutral.rest_joints29(values["gt_betas"])
    naive = naive_pose(values["gt_joints"], values["gt_phi"], rest).rotmats
    twist = twist_rotation(bone_axes(rest)[:, 1:], normalised_phi(values["gt_phi"]))
    swing = torch.cat([naive[:, :1], naive[:, 1:] @ twist.mT], dim=1)
    return {
        "rot6d": rotmat_to_rot6d_rows(values["gt_rotmats"]),
        "swing6d": rotmat_to_rot6d_rows(swing),
        "joints": values["gt_joints"],
        "phi": values["gt_phi"],
        "rot_weight": torch.ones(count, 24, 1),
        "joint_weight": torch.ones(count, 29, 3),
        "phi_weight": torch.ones(count, 23, 2),
        "valid": torch.ones(count, 1),
    }
