"""The evaluator's operations against the field's way of doing them, plain torch and with numba where that is installed."""

import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import seconds, show
from benchmarks.peers import angles_scipy, auc_loop, pa_mpjpe_batched, pa_mpjpe_loop, pve_numpy, smplx_layer, whole_evaluation
from hpsbench.body import people as fast
from hpsbench.body.bodies import load_bodies
from hpsbench.evaluate.scoring import Scorer
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.metrics.angles import mpjae
from hpsbench.metrics.joints import pa_mpjpe
from hpsbench.metrics.keypoints import auc_hits
from hpsbench.metrics.vertices import mean_pve
from hpsbench.protocol import load_protocol
from hpsbench.types import Prediction, Truth

PEOPLE = 35_515
_MESHES = 1024


@contextmanager
def numba_from(people: int) -> Iterator[None]:
    """Numba from so many people on, whatever the package holds to be worth while."""
    before, fast.ENOUGH = fast.ENOUGH, people
    try:
        yield
    finally:
        fast.ENOUGH = before


def both(
    operation: str, people: int, ours: Callable[[], object], peers: dict[str, float], at_least: dict[str, tuple[float, float]]
) -> None:
    """Rows for plain torch and, if it is there, numba: against each of ``peers`` (seconds), ``at_least`` (torch, numba) as fast."""
    for place, way in enumerate(("torch", "numba") if fast.numba_installed() else ("torch",)):
        with numba_from(0 if way == "numba" else sys.maxsize):
            took = seconds(ours)
        for name, peer in peers.items():
            show(f"{operation}, {way}", people, took, peer, name, at_least[name][place])


def alignment() -> None:
    """PA-MPJPE of 14 joints, float64 inside."""
    rng = np.random.default_rng(0)
    gt = rng.normal(0, 0.3, (PEOPLE, 14, 3)).astype(np.float32)
    pred = gt + rng.normal(0, 0.05, gt.shape).astype(np.float32)
    x, y = torch.from_numpy(pred), torch.from_numpy(gt)
    few = PEOPLE // 10
    peers = {
        "numpy loop, one SVD per person": seconds(lambda: pa_mpjpe_loop(pred[:few], gt[:few])) * PEOPLE / few,
        "one batched SVD": seconds(lambda: pa_mpjpe_batched(x, y)),
    }
    wanted = dict(zip(peers, ((40, 200), (2.5, 12)), strict=True))
    both("PA-MPJPE, 14 joints", PEOPLE, lambda: pa_mpjpe(x, y, x, y), peers, wanted)


def vertices() -> None:
    """PVE of two arrays of vertices, float32."""
    gt = torch.randn(_MESHES, 6890, 3, generator=torch.Generator().manual_seed(0))
    pred = gt + 0.05
    name = "numpy norm over all at once"
    both("PVE of two arrays", _MESHES, lambda: mean_pve(pred, gt), {name: seconds(lambda: pve_numpy(pred, gt))}, {name: (4, 10)})


@cache
def _parameters() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(betas, rotvecs) of a prediction and of the truth, float32."""
    draws = torch.Generator().manual_seed(0)
    betas, rotvecs = torch.randn(_MESHES, 10, generator=draws), 0.3 * torch.randn(_MESHES, 24, 3, generator=draws)
    return betas + 0.1, rotvecs + 0.05 * torch.randn(rotvecs.shape, generator=draws), betas, rotvecs


def bodies() -> None:
    """Vertices, and joints alone, from pose and shape, float32; then whole evaluations with and without vertices."""
    ours = load_bodies(None)
    betas, rotvecs, *_ = _parameters()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        layer = smplx_layer(ours.files["neutral"], Path(folder))
        batches = {n: list(zip(betas.split(n), rotvecs.split(n), strict=True)) for n in (64, 256)}
        rates = {n: seconds(lambda n=n: [layer(betas=b, pose=p) for b, p in batches[n]]) for n in batches}
        best = min(rates, key=rates.get)
        took = seconds(lambda: [ours.neutral(b, rotvecs=p) for b, p in batches[256]])
        for name, at_least in (("", 1.6), (", figure for packed weights", 2.5)):
            show(f"SMPL vertices{name}", _MESHES, took, rates[best], f"smplx, batch {best}", at_least)
        took = seconds(lambda: ours.forward_joints(betas, rotvecs=rotvecs, skeleton="eval14"))
        show("14 joints, no vertices", _MESHES, took, rates[256], "smplx, batch 256", 40)
        regressor = ours.regressor("h36m17")
        peer = seconds(lambda: whole_evaluation(layer, regressor, *_parameters(), batch=best), tries=2)
        name = f"smplx twice (batch {best}), batched SVD, norm"
        work = _scoring(("mpjpe", "pa_mpjpe", "pve"))
        both("whole evaluation with PVE", _MESHES, work, {name: peer}, {name: (2, 5)})
        work = _scoring(("mpjpe", "pa_mpjpe"))
        both("whole evaluation without PVE", _MESHES, work, {name: peer}, {name: (40, 40)})


def _scoring(metrics: tuple[str, ...], repeat: int = 1) -> Callable[[], object]:
    """A call that scores the parameters ``repeat`` times over by the rule of 3dpw-test, but for the metrics."""
    pred_betas, pred_rotvecs, betas, rotvecs = _parameters()
    prediction = Prediction(torch.zeros(_MESHES, dtype=torch.bool), rotmats=rotvec_to_rotmat(pred_rotvecs), betas=pred_betas)
    nowhere = {"joints": np.zeros((24, 3)), "skeleton": "smpl24", "valid": np.ones(24, dtype=bool), "trans": np.zeros(3), "joints2d": None}
    people = zip(rotvecs.double().numpy(), betas.double().numpy(), strict=True)
    truths = [Truth(rotvecs=pose, betas=shape, gender="neutral", **nowhere) for pose, shape in people]
    scorer = Scorer(load_bodies(None), replace(load_protocol("3dpw-test").score, metrics=metrics), torch.device("cpu"))
    return lambda: [scorer.measure(prediction, truths) for _ in range(repeat)]


def hits() -> None:
    """AUC over 31 thresholds of the errors of 14 joints."""
    errors = np.random.default_rng(0).gamma(2.0, 0.04, (PEOPLE, 14))
    took, peer = seconds(lambda: np.nanmean(auc_hits(errors))), seconds(lambda: auc_loop(errors), tries=2)
    show("PCK/AUC, 14 joints, 31 thresholds", PEOPLE, took, peer, "numpy, a loop over thresholds", 30)


def angles() -> None:
    """MPJAE of nine joints."""
    draws = torch.Generator().manual_seed(0)
    few = PEOPLE // 10
    pred, gt = (rotvec_to_rotmat(torch.randn(few, 24, 3, generator=draws, dtype=torch.float64)) for _ in range(2))
    show("joint angles, nine joints", few, seconds(lambda: mpjae(pred, gt)), seconds(lambda: angles_scipy(pred, gt)), "scipy Rotation", 25)


def memory() -> None:
    """The peak of a process of its own that scores everybody with vertices."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        people, peak = pool.apply(_peak)
    print(f"peak memory of scoring {people:,} people with PVE, all in all: {peak:,.0f} MB (at most 1,500)")


def _peak() -> tuple[int, float]:
    torch.set_num_threads(1)
    times = -(-PEOPLE // _MESHES)
    _scoring(("mpjpe", "pa_mpjpe", "pve"), times)()
    return times * _MESHES, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
