"""Holds a model's answers to the contract, on a few people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from hpsbench.body.bodies import Bodies
from hpsbench.check.report import Report
from hpsbench.check.seen import spread
from hpsbench.datasets.base import open_dataset
from hpsbench.image import crop_square, square_of_box
from hpsbench.registry import load_plugin
from hpsbench.types import Prediction, Sample, ViewBatch

if TYPE_CHECKING:
    from hpsbench.models.base import Model

_SAME = 1e-4


def check_model(model: "Model", bodies: Bodies, samples: Sequence[Sample] | None = None) -> Report:
    """Runs a model on a few people (None: of the embedded set) and holds its answers to the contract.

    Shapes; NaN only where ``failed``; metres; proper rotations; crops left as they were; the same answer twice, alone, and in
    another order (within 0.1 mm, 1e-4 of a rotation's entry).
    """
    report = Report()
    samples = samples or _embedded_samples(bodies)
    batch = view_batch(samples, model)
    before = None if batch.crops is None else batch.crops.clone()
    try:
        prediction = model.predict(batch)
    except Exception as error:
        report.add(False, f"predict failed on {len(batch)} people: {type(error).__name__}: {error}")
        return report
    if not isinstance(prediction, Prediction):
        report.add(False, f"predict gives a {type(prediction).__name__}, expected hpsbench.types.Prediction")
        return report
    report.add(len(prediction.failed) == len(batch), f"{len(prediction.failed)} answers for {len(batch)} people")
    if not report.ok:
        return report
    report.add(bool((~prediction.failed).any()), f"{int(prediction.failed.sum())} of {len(batch)} people failed", "warning")
    report.add(before is None or torch.equal(before, batch.crops), "the crops are left as they were given")
    _check_values(report, prediction, bodies)
    _check_repeats(report, model, batch, prediction)
    return report


def _embedded_samples(bodies: Bodies) -> list[Sample]:
    kind = load_plugin("dataset", "openhps")
    rules = {"split": "test", "frames": kind.frame_rules[-1], "bbox": kind.box_rules[0], "bbox_scale": 1.0}
    dataset = open_dataset("openhps", None, bodies=bodies, **rules)
    return [dataset[i] for i in spread(len(dataset), 6)]


def view_batch(samples: Sequence[Sample], model: "Model") -> ViewBatch:
    """The samples, not occluded, as the model gets them: cut by its CropSpec, on its device."""
    scale = 1.0 if model.crop is None else model.crop.box_scale
    squares = np.stack([square_of_box(sample.view.bbox_xyxy, scale) for sample in samples])
    crops = None
    if model.crop is not None:
        cut = [crop_square(s.view.read(), square, model.crop.side) for s, square in zip(samples, squares, strict=True)]
        crops = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).contiguous().to(model.device)
    intrinsics = np.stack([sample.view.intrinsics for sample in samples])
    numbers = (torch.from_numpy(array.astype(np.float32)).to(model.device) for array in (squares, intrinsics))
    return ViewBatch(tuple(sample.id for sample in samples), crops, *numbers)


def _answers(prediction: Prediction) -> dict[str, torch.Tensor]:
    keys = ("joints", "rotmats", "betas", "vertices", "trans", "confidence")
    return {key: getattr(prediction, key).double().cpu() for key in keys if getattr(prediction, key) is not None}


def _check_values(report: Report, prediction: Prediction, bodies: Bodies) -> None:
    good = ~prediction.failed.cpu()
    answers = {key: value[good] for key, value in _answers(prediction).items()}
    for key, value in answers.items():
        finite = bool(torch.isfinite(value).all())
        report.add(
            finite, f"{key} {tuple(value.shape)}: " + ("finite" if finite else "NaN or infinity for people that are not marked failed")
        )
    if not report.ok or not good.any():
        return
    points = dict(answers)
    if "rotmats" in answers:
        R = answers["rotmats"]
        off = (R @ R.transpose(-1, -2) - torch.eye(3, dtype=R.dtype)).abs().max()
        report.add(
            bool(off < 1e-3 and (torch.linalg.det(R) > 0).all()), f"rotmats are rotations to {float(off):.1e} (1e-3 allowed, det +1)"
        )
        points["body joints"] = bodies.to("cpu").forward_joints(answers["betas"], R, skeleton="smpl24").double()
    for key in ("joints", "vertices", "body joints"):
        if key in points:
            _check_metres(report, key, points[key])


def _check_metres(report: Report, key: str, points: torch.Tensor) -> None:
    """The diagonal of each person's joints or vertices is that of a person in metres."""
    spans = (points.amax(1) - points.amin(1)).norm(dim=-1)
    low, high = float(spans.min()), float(spans.max())
    advice = "; give metres, not millimetres" if high > 100 else "; expected 0.3 to 4 m"
    good = low > 0.3 and high < 4
    report.add(good, f"{key}: people span {low:.2f} to {high:.2f} m" + ("" if good else advice))


def _check_repeats(report: Report, model: "Model", batch: ViewBatch, prediction: Prediction) -> None:
    count = len(batch)
    first = _answers(prediction)
    for name, orders in {
        "asked twice": [list(range(count))],
        "in another order": [list(range(count))[::-1]],
        "each alone": [[i] for i in range(count)],
    }.items():
        worst = 0.0
        for order in orders:
            again = _answers(model.predict(_rows(batch, order)))
            if set(again) != set(first):
                report.add(False, f"{name}: the answer has {', '.join(sorted(again))}, before it had {', '.join(sorted(first))}")
                break
            worst = max([worst, *(_difference(first[key][order], again[key]) for key in first)])
        else:
            report.add(worst < _SAME, f"{name}: the largest difference is {worst:.1e} (allowed: {_SAME:.0e})")


def _rows(batch: ViewBatch, order: list[int]) -> ViewBatch:
    crops = None if batch.crops is None else batch.crops[order].clone()
    return ViewBatch(tuple(batch.ids[i] for i in order), crops, batch.squares_xyxy[order], batch.intrinsics[order])


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference of two answers; infinite where only one of them is NaN."""
    if a.shape != b.shape or bool((a.isnan() != b.isnan()).any()):
        return float("inf")
    return float((a - b).nan_to_num().abs().max()) if a.numel() else 0.0
