"""What a result says of its run beside the scores, and the identity that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset
from hpsbench.errors import BodyError
from hpsbench.evaluate.rows import samples_sha256
from hpsbench.evaluate.run import versions
from hpsbench.models.base import Model
from hpsbench.protocol import Protocol
from hpsbench.types import view_id_of


def about_run(
    model: Model, protocol: Protocol, dataset: Dataset, bodies: Bodies, ids: Sequence[str], *, limit: int | None, shard: tuple[int, int]
) -> dict[str, Any]:
    """The part of a Result that is known before any work on the samples ``ids``.

    Raises BodyError where the protocol names another joint regressor than these bodies have, PredictionError for answers to other views.
    """
    _check_regressor(protocol, bodies)
    _check_views(model, protocol, dataset)
    return {
        "model": model.card,
        "dataset": dataset.card,
        "dataset_name": f"{dataset.name}/{dataset.split}",
        "body": bodies.card,
        "protocol": {"id": protocol.id, "sha256": protocol.sha256, "content": protocol.content},
        "fingerprints": {
            "dataset": dataset.fingerprint,
            "body": bodies.fingerprint,
            "regressor": bodies.regressor_sha256(protocol.score.regressor),
            "weights": model.weights_sha256,
        },
        "versions": versions(),
        "frames": asdict(dataset.counts),
        "n_expected": len(ids),
        "cases": len(protocol.cases),
        "id_counts": _id_counts(model, protocol, dataset, ids),
        "limit": limit,
        "shard": tuple(shard),
    }


def _check_regressor(protocol: Protocol, bodies: Bodies) -> None:
    wanted, found = protocol.score.regressor_sha256, bodies.regressor_sha256(protocol.score.regressor)
    if wanted and wanted != found:
        raise BodyError(
            f"The joint regressor '{protocol.score.regressor}' of {bodies.folder} has the hash {found[:12] or '(there is none)'}, but "
            f"protocol '{protocol.id}' measures with {wanted[:12]}. Put the file there that the protocol was written for."
        )


def _check_views(model: Model, protocol: Protocol, dataset: Dataset) -> None:
    """Raises PredictionError where a model reads answers that were given to other views than those of the protocol."""
    check = getattr(model, "check_views", None)
    if check is not None:
        data = {"family": dataset.family or dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint}
        check(protocol.id, protocol.content, **data)


def _id_counts(model: Model, protocol: Protocol, dataset: Dataset, ids: Sequence[str]) -> dict[str, int]:
    """What a model that reads answers from a file says about its ids; "unknown" are those of no view of the whole dataset."""
    count = getattr(model, "id_counts", None)
    if count is None:
        return {}
    views = [view_id_of(name, case) for name in dataset.ids for case in protocol.cases]
    return count(ids) | {"unknown": count(views)["unknown"]}


def identity_of(about: Mapping[str, Any], ids: Sequence[str], code_sha256: str) -> dict[str, Any]:
    """What decides the numbers, in plain JSON: two runs with equal identities may share a folder."""
    return {
        "model": about["model"].name,
        "model_code": code_sha256,
        "protocol": about["protocol"]["id"],
        "protocol_sha256": about["protocol"]["sha256"],
        "dataset": about["dataset_name"],
        **{f"{name}_fingerprint": value for name, value in about["fingerprints"].items()},
        "hpsbench": about["versions"]["hpsbench"],
        "limit": about["limit"],
        "shard": list(about["shard"]),
        "samples_sha256": samples_sha256(ids),
    }


def device_name(device: torch.device) -> str:
    """As results say it: "cpu", or "cuda" with the name of the card."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
