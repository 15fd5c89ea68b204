"""One evaluation by several processes that ``torchrun`` started: each rank does its shard, and the first one joins them.

Ranks meet in the folder of the run, which all machines have to see: a rank's rows are kept there as it goes, so that a run of
which one rank died goes on when it is started again with as many ranks.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset
from hpsbench.errors import ResultError
from hpsbench.evaluate import evaluate, merge_results
from hpsbench.evaluate.run import read_result
from hpsbench.models.base import Model
from hpsbench.protocol import Protocol
from hpsbench.types import Result

_RANKS = "ranks"


def in_ranks() -> bool:
    """Whether ``torchrun`` started this process together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def first_rank() -> bool:
    """Whether this process is the one that writes and prints; true without ``torchrun``."""
    return int(os.environ.get("RANK", "0")) == 0


def own_device(device: str) -> str:
    """The device of this rank: of "auto" and "cuda" the GPU of its place on its machine."""
    if in_ranks() and device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    return device


def evaluate_in_ranks(
    model: Model,
    protocol: Protocol,
    dataset: Dataset,
    bodies: Bodies,
    out: Path | str,
    *,
    shard: tuple[int, int] = (0, 1),
    resume: bool = True,
    progress: Callable[[int, int], None] | None = None,
    **how: Any,
) -> Result:
    """The result of ``evaluate``, equal to that of one process; called by every rank, each does its part of the frames.

    Raises ResultError for shards (a rank is one already), and what ``evaluate`` raises; ``torchrun`` then ends the other ranks.
    """
    if tuple(shard) != (0, 1):
        raise ResultError("Ranks are shards already: leave out --shard, or start one process for each shard without torchrun.")
    out, rank, number = Path(out), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    folders = [out / _RANKS / f"{k + 1}-of-{number}" for k in range(number)]
    with _group():
        if resume and (out / "result.json").is_file():
            # This very run's result is given, another's refused.
            return evaluate(model, protocol, dataset, bodies, out, **how)
        if resume and (out / "run.json").is_file():
            raise ResultError(
                f"{out} holds what one process began. End it without torchrun, choose another folder, or start over (--restart)."
            )
        how |= {"shard": (rank, number), "resume": resume, "progress": progress if rank == 0 else None}
        evaluate(model, protocol, dataset, bodies, folders[rank], **how)
        dist.barrier()
        if rank == 0:
            if not resume:
                _forget(out)
            merge_results(folders, out)
            shutil.rmtree(out / _RANKS, ignore_errors=True)
        dist.barrier()
        return read_result(out)


def _forget(out: Path) -> None:
    for name in ("run.json", "result.json", "errors.h5"):
        (out / name).unlink(missing_ok=True)


@contextmanager
def _group():
    """The process group of all ranks: they only wait for one another, so that gloo does for CPU and GPU."""
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
