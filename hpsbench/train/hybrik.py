"""Training of the small HybrIK network that ships with the package."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from hpsbench.body.bodies import Bodies
from hpsbench.models.nets.checkpoint import write_weights
from hpsbench.models.nets.heads import expected_uvd, heatmap_probabilities
from hpsbench.models.nets.hybrik_net import HybrikConfig, HybrikNet, normalise_crops
from hpsbench.seeds import rng_of
from hpsbench.train.augment import Augmentation, make_batch, settled
from hpsbench.train.cache import CropCache, build_cache
from hpsbench.train.loop import Fit, Schedule, fit, made_by
from hpsbench.train.losses import hybrik_terms
from hpsbench.types import Card

STEPS = 9600
BATCH = 128
PARTS = 2
OCCLUDED, OCCLUDED_LATE = 0.2, 0.3
LEARNING_RATE = 8e-4
MUON = 25.0
SMALL = HybrikConfig(
    backbone="pyramid",
    layers=(1, 3, 3, 2),
    width=64,
    deconv=(),
    features=256,
    input_side=256,
    shrink=2,
    depth_bins=8,
    camera=1,
    intrinsics=True,
    flip=True,
)


def train_hybrik(
    data: Path,
    out: Path,
    *,
    bodies: Bodies,
    steps: int | None = None,
    batch_size: int = BATCH,
    seed: int = 0,
    device: torch.device | str = "cpu",
    resume: bool = True,
    config: HybrikConfig = SMALL,
    held_out: tuple[str, ...] = (),
    progress: Callable[[str], None] = print,
) -> Path:
    """The path of the weights trained on the train split of ``data`` (3DPW's layout); checkpoints, log and crops stay in ``out``.

    ``held_out`` names sequences that are not trained on.
    Run again after a kill, it goes on. Raises DataError where the data do not serve.
    """
    cache = build_cache(Path(data), Path(out) / "crops", bodies, progress=progress)
    people = People(cache, held_out)
    mean_betas = people.cache.labels["betas"][people.rows].mean(0)
    config = replace(config, init_betas=tuple(float(value) for value in mean_betas))
    schedule = Schedule(steps=steps or STEPS, lr=LEARNING_RATE, muon=MUON)
    torch.manual_seed(int(rng_of("hybrik-init", seed).integers(2**62)))
    model = _prepared(HybrikNet(config), torch.device(device))
    rule, cv_threads = Augmentation(side=config.input_side, shrink=config.shrink), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        run = fit(
            model,
            lambda step: people.parts(step, batch_size, seed, rule_at(step, schedule, rule)),
            lambda net, part: _terms(net, part, torch.device(device)),
            Path(out),
            schedule=schedule,
            seed=seed,
            resume=resume,
            progress=progress,
        )
    finally:
        cv2.setNumThreads(cv_threads)
    path = Path(out) / "hybrik.openhps.safetensors"
    model.load_state_dict(run.weights)
    card = hybrik_card(run, people.ids, seed=seed, batch_size=batch_size)
    write_weights(path, model, family="hybrik", config=config.to_record(), card=card)
    return path


def hybrik_card(run: Fit, ids: Sequence[str], *, seed: int, batch_size: int) -> Card:
    """What the weights are and how they were made."""
    how = made_by("hybrik", run, ids, seed=seed, batch_size=batch_size)
    return Card(
        name="hybrik.openhps",
        what="Small HybrIK (feature pyramid on 128 px, 16x16x8 heat maps, true camera) for OpenHPS: synthetic people only",
        source="hpsbench train hybrik",
        licence="Apache-2.0",
        paper="Li et al., HybrIK, CVPR 2021 (architecture and losses, without the rotation term)",
        trained_on=("openhps/train",),
        how=how,
    )


def rule_at(step: int, schedule: Schedule, rule: Augmentation) -> Augmentation:
    """The augmentation of a step; once the rate falls, more people are occluded and the crops are as tests cut them."""
    if step < schedule.fall:
        return replace(rule, occluded=OCCLUDED)
    return replace(settled(rule), occluded=OCCLUDED_LATE)


class People:
    """The cached people to train on, all but those of the sequences ``held_out``."""

    def __init__(self, cache: CropCache, held_out: tuple[str, ...] = ()):
        self.cache = cache
        self.rows = np.array([row for row, name in enumerate(cache.ids) if name.split("/")[2] not in held_out])

    @property
    def ids(self) -> list[str]:
        """The sample ids of the people."""
        return [self.cache.ids[row] for row in self.rows]

    def parts(self, step: int, size: int, seed: int, rule: Augmentation) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """The augmented batch of a step in ``PARTS`` parts: fixed by (seed, step) and the cached people."""
        rng = rng_of("hybrik-batch", seed, step)
        rows = self.rows[rng.choice(len(self.rows), size, replace=size > len(self.rows))]
        return [make_batch(self.cache, some, rng, rule) for some in np.array_split(rows, PARTS)]


def _prepared(model: HybrikNet, device: torch.device) -> HybrikNet:
    """The network ready for training, without dropout: nothing may be drawn beside the batch."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.to(device, memory_format=torch.channels_last).train()


def _terms(model: nn.Module, batch: tuple[np.ndarray, Mapping[str, np.ndarray]], device: torch.device) -> dict[str, Tensor]:
    """HybrIK's terms on one batch; the convolutions in bfloat16, all else in float32."""
    crops, labels = batch
    images = normalise_crops(torch.from_numpy(crops).permute(0, 3, 1, 2).to(device))
    truth = {key: torch.from_numpy(labels[key]).to(device) for key in ("uvd", "betas", "phi", "scale")}
    with torch.autocast(device.type, torch.bfloat16):
        logits, feature = model.encode(images)
    logits, feature = logits.float(), feature.float()
    heads = model.vector_heads(feature)
    seen = {"uvd": expected_uvd(heatmap_probabilities(logits))[0], "logits": logits}
    return hybrik_terms({**heads, **seen, "sigma": heads["sigma"][..., None], "scale": heads["camera"][:, :1]}, truth)
