"""Training of the small twist-and-swing NIKI network that ships with the package, on what a trained HybrIK says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hpsbench.body.bodies import Bodies
from hpsbench.body.kinematics import forward_kinematics
from hpsbench.body.model import BodyModel
from hpsbench.models.base import build_network, bundled
from hpsbench.models.ik.niki import NikiConfig, NikiTwistSwing
from hpsbench.models.nets.checkpoint import read_checkpoint, write_weights
from hpsbench.seeds import rng_of
from hpsbench.skeleton import PARENTS
from hpsbench.train.augment import Augmentation, settled
from hpsbench.train.cache import build_cache
from hpsbench.train.features import make_features, truth_targets
from hpsbench.train.hybrik import People
from hpsbench.train.loop import Fit, Schedule, fit, keep_memory, made_by
from hpsbench.train.losses import cycle_terms, draw_mmd_noise, niki_terms, root_relative
from hpsbench.types import Card

STEPS = 2500
BATCH = 256
PARTS = 2
SMALL = NikiConfig(hidden=192, couplings=8, dropout=0.0)
SIGMA_NOISE = 1e-3


@dataclass(frozen=True)
class NikiTraining:
    """``cycle``: weight of equations 9 and 10, not in the released criterion; ``passes``: over the crops, the share occluded in each."""

    cycle: float = 0.0
    passes: tuple[float, ...] = (0.0, 0.3, 1.0)

    def rules(self, side: int, shrink: int) -> tuple[Augmentation, ...]:
        """The augmentation of each pass over the training crops."""
        return tuple(settled(Augmentation(side=side, shrink=shrink, occluded=share)) for share in self.passes)


def train_niki(
    data: Path,
    out: Path,
    *,
    bodies: Bodies,
    hybrik_weights: Path | None = None,
    steps: int | None = None,
    batch_size: int = BATCH,
    seed: int = 0,
    device: torch.device | str = "cpu",
    resume: bool = True,
    config: NikiConfig = SMALL,
    training: NikiTraining | None = None,
    held_out: tuple[str, ...] = (),
    progress: Callable[[str], None] = print,
) -> Path:
    """The path of the weights trained on HybrIK's answers (``hybrik_weights``; None: the bundled ones) for the train split of ``data``.

    Crops, features, checkpoints and the log stay in ``out``; run again after a kill, it goes on. ``held_out``: sequences left out.
    """
    training, out = training or NikiTraining(), Path(out)
    net = build_network(read_checkpoint(hybrik_weights or bundled("hybrik")), "hybrik", torch.device(device))
    people = People(build_cache(Path(data), out / "crops", bodies, progress=progress), held_out)
    keep_memory()
    rules = training.rules(net.config.input_side, net.config.shrink)
    features = make_features(people.cache, people.rows, net, out / "features.npz", rules=rules, seed=seed, progress=progress)
    table = {**features.values, **{f"target_{key}": value for key, value in truth_targets(features.values, bodies).items()}}
    table = {key: value.to(device) for key, value in table.items()}
    torch.manual_seed(int(rng_of("niki-init", seed).integers(2**62)))
    model = NikiTwistSwing(config).to(device).train()
    criterion = Criterion(bodies.neutral.to(device), training.cycle)

    def parts(step: int) -> list[tuple[dict[str, Tensor], torch.Generator]]:
        rng = rng_of("niki-batch", seed, step)
        rows = torch.from_numpy(rng.choice(len(features), batch_size, replace=batch_size > len(features)))
        generators = [torch.Generator().manual_seed(int(rng.integers(2**62))) for _ in range(PARTS)]
        return [({key: value[some] for key, value in table.items()}, one) for some, one in zip(rows.chunk(PARTS), generators, strict=True)]

    schedule = Schedule(steps=steps or STEPS, weight_decay=1e-4, clip=1.0)
    run = fit(model, parts, criterion.terms, out, schedule=schedule, seed=seed, resume=resume, progress=progress)
    path = out / "niki.openhps.safetensors"
    model.load_state_dict(run.weights)
    card = niki_card(run, people.ids, seed=seed, batch_size=batch_size, cycle=training.cycle)
    write_weights(path, model, family="niki", config=config.to_record(), card=card)
    return path


def niki_card(run: Fit, ids: Sequence[str], *, seed: int, batch_size: int, cycle: float) -> Card:
    """What the weights are and how they were made."""
    forward = f"plus equations 9 and 10 of the paper with weight {cycle}" if cycle else "without equations 9 and 10, as released"
    return Card(
        name="niki.openhps",
        what="Small twist-and-swing NIKI for OpenHPS, on the answers of hybrik.openhps; synthetic people only",
        source="hpsbench train niki",
        licence="Apache-2.0",
        paper="Li et al., NIKI, CVPR 2023 (architecture and released criterion)",
        trained_on=("openhps/train",),
        how=f"{made_by('niki', run, ids, seed=seed, batch_size=batch_size)} Released criterion {forward}.",
    )


class Criterion:
    """The passes of one iteration and their terms; joints of a pose by forward kinematics, the five leaves rigid with their joint."""

    def __init__(self, body: BodyModel, cycle: float = 0.0):
        self.body, self.cycle = body, cycle

    def terms(self, net: nn.Module, batch: tuple[dict[str, Tensor], torch.Generator]) -> dict[str, Tensor]:
        """The weighted terms on one batch: features and targets, and the generator of all noise."""
        rows, generator = batch
        truth = {key.removeprefix("target_"): value for key, value in rows.items() if key.startswith("target_")}
        noise = _normal(generator, rows["joints"], (60, 60, 29))
        out = self.passes(net, rows, truth, noise)
        count = len(rows["joints"])
        normal = tuple(part.to(out["pred_z_rot"].device) for part in draw_mmd_noise(count, count, generator))
        terms = niki_terms(out, truth, normal)
        if self.cycle:
            observed = {"joints": root_relative(rows["joints"]), "phi": torch.nn.functional.normalize(rows["phi"], dim=-1)}
            terms |= {key: self.cycle * value for key, value in cycle_terms(out, observed).items()}
        return terms

    def passes(self, net: nn.Module, rows: dict[str, Tensor], truth: dict[str, Tensor], noise: list[Tensor]) -> dict[str, Tensor]:
        """What ``niki_terms`` and ``cycle_terms`` take, from the IK of the prediction, the IK and the FK of the truth."""
        betas = rows["gt_betas"]
        rest = self.body.rest_joints29(betas)
        pred = net.ik(rows["joints"], rows["sigma"], rows["phi"], betas, noise=noise[0])
        true = net.ik(truth["joints"], SIGMA_NOISE * noise[2], truth["phi"], betas, noise=noise[1], normalise_phi=False)
        back = net.fk(truth["rot6d"], betas)
        out = {"fk_joints": back.joints29, "fk_swing6d": back.swing6d, "fk_phi": back.phi, "fk_zx": back.padding}
        for name, pose in (("pred", pred), ("gt", true)):
            joints, _ = forward_kinematics(pose.rotmats, rest, PARENTS["j29"])
            out |= {f"{name}_rot6d": pose.rot6d, f"{name}_swing6d": pose.swing6d, f"{name}_joints": joints}
            out |= {f"{name}_z_swing": pose.z, f"{name}_z_rot": pose.z_twist}
        if self.cycle:
            cycled = net.fk(truth["rot6d"], betas, z=pred.z, z_twist=pred.z_twist)
            out |= {"cycle_joints": cycled.joints29, "cycle_phi": cycled.phi}
        return out


def _normal(generator: torch.Generator, like: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(len(like), size, generator=generator).to(like.device) for size in sizes]
