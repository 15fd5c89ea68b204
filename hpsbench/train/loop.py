"""The training loop that both networks share: prefetching, schedule, averaged weights, log, checkpoints, going on after a kill.

The batch of a step depends on (seed, step) alone, nothing else is drawn, and a checkpoint holds everything else: a run that was
killed and started again ends in the weights of an uninterrupted one.
"""

import contextlib
import copy
import ctypes
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.datasets.openhps.make import making_command
from hpsbench.errors import HpsbenchError
from hpsbench.safeload import load_torch
from hpsbench.store import whole_file, write_text
from hpsbench.train.muon import Muon, is_kernel

LOG_EVERY = 20
CHECKPOINT, BEFORE_FALL = "checkpoint.pt", "before-fall.pt"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: ``steps`` optimiser steps, never a span of time, so that a run is reproducible.

    The learning rate climbs to ``lr`` over ``warmup`` steps (at most a tenth of all), stays there, and falls to 0 over the last quarter, by
    1 - sqrt of its share that has passed (Haegele et al., Scaling laws and compute-optimal training beyond fixed training durations, 2024).
    So a longer run begins as a shorter one does, and can go on from where that one began to fall.
    Convolution kernels go by Muon at ``muon`` times that rate, where given; all else by AdamW.
    """

    steps: int
    lr: float = 1e-3
    muon: float | None = None
    warmup: int = 200
    weight_decay: float = 0.02
    ema: float = 0.998
    clip: float = 5.0
    checkpoint_seconds: float = 180.0

    @property
    def climb(self) -> int:
        """The step from which on the rate is whole."""
        return max(1, min(self.warmup, self.steps // 10))

    @property
    def fall(self) -> int:
        """The step from which on the rate falls."""
        return self.steps - self.steps // 4

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        passed = max(0, step - self.fall) / max(1, self.steps - self.fall)
        return self.lr * min(1.0, (step + 1) / self.climb) * (1 - math.sqrt(min(1.0, passed)))


@dataclass(frozen=True)
class Fit:
    """What a run came to: averaged weights, steps, seconds of training, and the means of the last logged terms."""

    weights: dict[str, Tensor]
    steps: int
    seconds: float
    terms: dict[str, float]


def made_by(network: str, run: Fit, ids: Sequence[str], *, seed: int, batch_size: int) -> str:
    """A sentence for a card: the commands that repeat a run on the samples ``ids``, its length and last losses."""
    terms = ", ".join(f"{key} {value:.4g}" for key, value in run.terms.items())
    return (
        f"hpsbench train {network} --data DIR --out DIR --steps {run.steps} --seed {seed} on {made_from(ids)}; "
        f"batch {batch_size}, {run.seconds:.0f} s, torch {torch.__version__}; last losses: {terms}."
    )


def made_from(ids: Sequence[str]) -> str:
    """How many samples ``ids`` are, and the command that makes their data where they are a set of ``hpsbench make-openhps``."""
    names = {sample.split("/")[2] for sample in ids}
    command = making_command(names)
    return f"{len(ids)} person-frames of " + (f"`{command}`" if command else f"{len(names)} sequences")


def fit(
    model: nn.Module,
    parts_of: Callable[[int], Sequence[Any]],
    terms_of: Callable[[nn.Module, Any], Mapping[str, Tensor]],
    out: Path,
    *,
    schedule: Schedule,
    seed: int,
    resume: bool = True,
    progress: Callable[[str], None] = print,
) -> Fit:
    """Train ``model`` in place. ``parts_of(step)``, called in threads ahead of the steps, gives the equal parts of a batch;
    ``terms_of(model, part)`` gives the terms whose sum is lost. Up to ``schedule.fall`` batches may not depend on the length of the run:
    then a folder's run can be made longer, with the weights of one that was as long from the start.

    Parts are worked on at the same time by copies of the model, one single-threaded thread each: on a busy machine several times
    as fast as many threads inside every operation. Writes ``checkpoint.pt``, ``before-fall.pt`` and ``log.csv``. Raises HpsbenchError
    where the loss is no longer finite.
    """
    keep_memory()
    run, threads = _Run(model, out, schedule, seed), torch.get_num_threads()
    if resume:
        run.load(progress)
    torch.set_num_threads(1)
    try:
        for parts in _ahead(parts_of, run.step, schedule.steps):
            if run.step == schedule.fall:
                run.save(BEFORE_FALL)
            run.advance(parts, terms_of)
            if run.step % LOG_EVERY == 0:
                run.log(progress)
            if time.monotonic() - run.saved_at > schedule.checkpoint_seconds:
                run.save()
    finally:
        torch.set_num_threads(threads)
    run.save()
    return Fit(run.average, run.step, run.seconds, run.last_terms)


def keep_memory() -> None:
    """Tell the C library to keep freed memory for the process: a step frees and takes gigabytes, and page faults can cost more than it.

    Up to ten times as fast on virtual machines; nothing is done where there is no glibc.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL("libc.so.6")
            library.mallopt(_M_MMAP_MAX, 0)
            library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            library.mallopt(_M_TOP_PAD, 2**26)


class _Run:
    """The state of a run between two steps."""

    def __init__(self, model: nn.Module, out: Path, schedule: Schedule, seed: int):
        self.model, self.out, self.schedule, self.seed = model, out, schedule, seed
        self.step, self.seconds = 0, 0.0
        self.replicas = [model]
        self.optimizers = _optimizers(model, schedule)
        self.average = {key: value.detach().clone() for key, value in model.state_dict().items()}
        self.sums: dict[str, float] = {}
        self.last_terms: dict[str, float] = {}
        self.rows: list[str] = []
        self.saved_at = self.stepped_at = time.monotonic()

    def advance(self, parts: Sequence[Any], terms_of: Callable[[nn.Module, Any], Mapping[str, Tensor]]) -> None:
        """One optimiser step."""
        rate = self.schedule.rate(self.step)
        for optimizer, times in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = times * rate
        while len(self.replicas) < len(parts):
            self.replicas.append(copy.deepcopy(self.model))
        with ThreadPoolExecutor(len(parts), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            answers = list(pool.map(_backward, self.replicas, parts, [terms_of] * len(parts)))
        terms = {key: sum(answer[key] for answer in answers) / len(parts) for key in answers[0]}
        if not math.isfinite(sum(terms.values())):
            raise HpsbenchError(
                f"The loss is no longer finite at step {self.step}: {terms}. Start again with a rate lower than {self.schedule.lr}."
            )
        self._gather(self.replicas[: len(parts)])
        nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        for optimizer, _ in self.optimizers:
            optimizer.step()
        self._average()
        for key, value in terms.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.step += 1
        now = time.monotonic()
        self.seconds, self.stepped_at = self.seconds + now - self.stepped_at, now

    @torch.no_grad()
    def _gather(self, replicas: Sequence[nn.Module]) -> None:
        """Give the model the mean of its copies' gradients and running statistics."""
        for params in zip(*(replica.parameters() for replica in replicas), strict=True):
            params[0].grad = sum(param.grad for param in params) / len(params)
        for buffers in zip(*(replica.buffers() for replica in replicas), strict=True):
            if buffers[0].is_floating_point():
                buffers[0].copy_(sum(buffers) / len(buffers))

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.schedule.ema, (1 + self.step) / (10 + self.step))
        state = self.model.state_dict()
        for key, value in state.items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - keep)
            else:
                self.average[key].copy_(value)
        for replica in self.replicas[1:]:
            for mine, theirs in zip(state.values(), replica.state_dict().values(), strict=True):
                theirs.copy_(mine)

    def log(self, progress: Callable[[str], None]) -> None:
        """Append the means since the last log to the log, and say them."""
        self.last_terms = {key: value / LOG_EVERY for key, value in self.sums.items()}
        self.sums = {}
        rate = self.schedule.rate(self.step)
        if not self.rows:
            self.rows.append(",".join(["step", "seconds", "lr", "loss", *self.last_terms]))
        values = [rate, sum(self.last_terms.values()), *self.last_terms.values()]
        self.rows.append(f"{self.step},{self.seconds:.1f}," + ",".join(f"{value:.6g}" for value in values))
        if self.step % (5 * LOG_EVERY) == 0:
            write_text(self.out / "log.csv", "\n".join(self.rows) + "\n")
            said = " ".join(f"{key} {value:.4f}" for key, value in self.last_terms.items())
            progress(f"step {self.step} {self.seconds:.0f} s lr {rate:.2e}: {said}")

    def save(self, name: str = CHECKPOINT) -> None:
        """Write a checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "seed": self.seed,
            "steps": self.schedule.steps,
            "climb": self.schedule.climb,
            "sums": self.sums,
            "last_terms": self.last_terms,
            "rows": self.rows,
        }
        with whole_file(self.out / name) as stream:
            torch.save(state, stream)
        if self.rows:
            write_text(self.out / "log.csv", "\n".join(self.rows) + "\n")
        self.saved_at = time.monotonic()

    def load(self, progress: Callable[[str], None]) -> None:
        """Take up the checkpoint of the folder, if there is one; of a run of another length the one before its rate fell.

        Raises HpsbenchError where it was begun with another seed, or is too far on for the length that is asked for now.
        """
        path = self.out / CHECKPOINT
        if not path.exists():
            return
        state = load_torch(path)
        if state["seed"] != self.seed:
            raise HpsbenchError(f"{path} was begun with seed {state['seed']}, not {self.seed}. Choose another folder, or that seed.")
        if not self._is_ours(state) and (self.out / BEFORE_FALL).exists():
            state = load_torch(self.out / BEFORE_FALL)
        if not self._is_ours(state):
            raise HpsbenchError(
                f"{path} is of a run of {state['steps']} steps, at step {state['step']}: too far on for one of {self.schedule.steps}. "
                "Choose another folder, or more steps."
            )
        self.model.load_state_dict(state["model"])
        self.replicas = [self.model]
        for (optimizer, _), stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.average = {key: value.to(self.average[key].device) for key, value in state["average"].items()}
        for key in ("step", "seconds", "sums", "last_terms", "rows"):
            setattr(self, key, state[key])
        progress(f"going on at step {self.step}")

    def _is_ours(self, state: Mapping[str, Any]) -> bool:
        """Whether a state is one that this very run comes by."""
        before_fall = state["step"] <= min(self.schedule.fall, Schedule(state["steps"]).fall) and state["climb"] == self.schedule.climb
        return state["steps"] == self.schedule.steps or before_fall


def _optimizers(model: nn.Module, schedule: Schedule) -> list[tuple[torch.optim.Optimizer, float]]:
    """The optimisers of a model's parameters, each with its rate in terms of the schedule's."""
    kernels = [parameter for parameter in model.parameters() if schedule.muon is not None and is_kernel(parameter)]
    taken = {id(parameter) for parameter in kernels}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    found = [(torch.optim.AdamW(rest, lr=schedule.lr, weight_decay=schedule.weight_decay, fused=True), 1.0)]
    return found + ([(Muon(kernels, schedule.muon * schedule.lr, schedule.weight_decay), schedule.muon)] if kernels else [])


def _backward(model: nn.Module, part: Any, terms_of: Callable[[nn.Module, Any], Mapping[str, Tensor]]) -> dict[str, float]:
    """The terms of one part; their gradients are left in the model."""
    model.zero_grad(set_to_none=True)
    terms = terms_of(model, part)
    sum(terms.values()).backward()
    return {key: value.item() for key, value in terms.items()}


def _ahead(batch_of: Callable[[int], Any], start: int, stop: int) -> Iterator[Any]:
    """The batches of steps ``start`` to ``stop`` in order, made by threads ahead of their turn; an error in one is raised here."""
    workers = max(1, (os.cpu_count() or 1) // 2)
    depth = workers + 2
    with ThreadPoolExecutor(workers) as pool:
        ready = deque(pool.submit(batch_of, step) for step in range(start, min(start + depth, stop)))
        try:
            for step in range(start, stop):
                batch = ready.popleft().result()
                if step + depth < stop:
                    ready.append(pool.submit(batch_of, step + depth))
                yield batch
        finally:
            for future in ready:
                future.cancel()
