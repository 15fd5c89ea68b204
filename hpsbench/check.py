"""Says in plain words what is there and what is missing: of a dataset's folder, of a folder of bodies, of a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hpsbench.body.bodies import GENDERS, REGRESSORS, Bodies, file_names, load_bodies
from hpsbench.datasets.base import Dataset, open_dataset
from hpsbench.errors import BodyError, DataError, HpsbenchError
from hpsbench.image import crop_square, square_of_box
from hpsbench.registry import load_plugin
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Prediction, Sample, ViewBatch

if TYPE_CHECKING:
    from hpsbench.models.base import Model

SMPL_SOURCE = "SMPL bodies: free registration at https://smpl.is.tue.mpg.de (non-commercial research licence, no redistribution)."
_REGRESSOR_SOURCE = "It is among the data files of SPIN, HybrIK and NIKI."
_MAX_SHOWN = 5
_SAME = 1e-4


@dataclass
class Report:
    """What a check found: ``lines`` of (level, message), level "ok", "warning" or "error"; ``ok`` where there is no error."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(level != "error" for level, _ in self.lines)

    def add(self, good: bool, message: str, otherwise: str = "error") -> None:
        """A line: "ok" where ``good``, else the level ``otherwise``."""
        self.lines.append(("ok" if good else otherwise, message))

    def __str__(self) -> str:
        return "\n".join(f"{level:<7} {message}" for level, message in self.lines)


def check_data(name: str, root: Path | str | None, bodies: Bodies | None = None, *, all_images: bool = False) -> Report:
    """What lies in a dataset's folder (None: its embedded set), split by split.

    The files and their number against the published ones; how many images open (one of each sequence, or ``all_images``); whether the
    joints land on the dataset's own 2D keypoints; with ``bodies``, whether they are the bodies that the annotations were made
    with. Raises UnknownNameError for an unknown dataset; everything about the files is a line of the report.
    """
    kind, report = load_plugin("dataset", name), Report()
    try:
        folder = kind.default_root() if root is None else Path(root)
        report.lines += kind.inspect(folder)
        splits = kind.splits_in(folder)
    except DataError as error:
        report.add(False, str(error))
        return report
    report.add(bool(splits), f"splits found: {', '.join(splits) or 'none'}")
    for split in splits:
        _check_split(report, kind, folder, split, bodies, all_images)
    if not report.ok:
        report.lines.append(("warning", f"{name}: {kind.where()}"))
    return report


def _check_split(report: Report, kind: type[Dataset], folder: Path, split: str, bodies: Bodies | None, all_images: bool) -> None:
    rules = {"frames": kind.frame_rules[-1], "bbox": kind.box_rules[0], "bbox_scale": 1.0}
    try:
        dataset = open_dataset(kind.name, folder, split=split, bodies=bodies, **rules)
    except HpsbenchError as error:
        report.add(False, f"{split}: {error}")
        return
    report.add(len(dataset) > 0, f"{split}: {dataset.counts} (frame rule '{rules['frames']}', boxes '{rules['bbox']}')")
    report.lines += dataset.against_known()
    _check_images(report, dataset, all_images)
    some = [dataset[i] for i in _spread(len(dataset), 500)]
    if some:
        _check_reprojection(report, split, some)
    if some and bodies is not None:
        _check_annotated_body(report, split, some, bodies)


def _spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` places, evenly over ``count``."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, wanted))}) if count else []


def _check_images(report: Report, dataset: Dataset, all_images: bool) -> None:
    chosen: dict[str, Sample] = {}
    for first, *_ in dataset.frames():
        sample = dataset[first]
        chosen.setdefault(sample.view.image_key if all_images else sample.sequence, sample)
    broken = list(_broken_images(chosen.values()))
    report.add(not broken, f"{dataset.split}: {len(chosen) - len(broken):,} of {len(chosen):,} images tried open")
    for message in broken[:_MAX_SHOWN]:
        report.add(False, message)


def _broken_images(samples: Sequence[Sample]) -> Iterator[str]:
    for sample in samples:
        try:
            sample.view.read()
        except DataError as error:
            yield str(error)


def _check_reprojection(report: Report, split: str, samples: Sequence[Sample]) -> None:
    """Median distance of the projected joints from the 2D keypoints of the same names, beside the longer side of the box."""
    distances, relative = [], []
    for sample in samples:
        truth = sample.truth
        if truth.keypoints2d is None:
            continue
        names, others = JOINT_NAMES[truth.skeleton], JOINT_NAMES[truth.keypoints_skeleton]
        shared = [name for name in names if name in others and name != "neck"]
        ours = truth.joints2d[[names.index(name) for name in shared]]
        theirs = truth.keypoints2d[[others.index(name) for name in shared]]
        found = (theirs[:, 2] > 0.3) & np.isfinite(ours).all(1)
        away = np.linalg.norm(ours - theirs[:, :2], axis=1)[found]
        x0, y0, x1, y1 = sample.view.bbox_xyxy
        distances += away.tolist()
        relative += (away / max(x1 - x0, y1 - y0)).tolist()
    if not distances:
        report.lines.append(("warning", f"{split}: no 2D keypoints to hold the projected joints against"))
        return
    text = (
        f"{split}: projected joints are {np.median(distances):.1f} px (median) from the 2D keypoints, {np.median(relative):.1%} of the box"
    )
    good = bool(np.median(relative) < 0.1)
    report.add(good, text + ("" if good else "; expected under 10 %: cameras, images and annotations are not of one release"))


def _check_annotated_body(report: Report, split: str, samples: Sequence[Sample], bodies: Bodies) -> None:
    """Joints of the bodies under the annotated parameters against the annotated joints; one body for both gives under a millimetre."""
    posed = [s.truth for s in samples if s.truth.rotvecs is not None and s.truth.trans is not None and s.truth.skeleton == "smpl24"]
    if not posed:
        return
    betas, rotvecs, trans = (torch.from_numpy(np.stack([getattr(t, key) for t in posed])) for key in ("betas", "rotvecs", "trans"))
    joints = bodies.forward_joints(betas, trans=trans, rotvecs=rotvecs, genders=[t.gender for t in posed], skeleton="smpl24")
    worst = 1000 * float(np.abs(joints.double().cpu().numpy() - np.stack([t.joints for t in posed])).max())
    text = f"{split}: joints of the bodies '{bodies.name}' are at most {worst:.2f} mm from the annotated ones"
    report.add(worst < 5, text + ("" if worst < 5 else f"; expected under 5: the annotations were made with other bodies. {SMPL_SOURCE}"))


def check_body(folder: Path | str | None) -> Report:
    """Which bodies and joint regressors a folder has (None: the embedded ones), and where what is missing has to be put."""
    report = Report()
    try:
        bodies = load_bodies(folder)
    except BodyError as error:
        report.add(False, f"{error} {SMPL_SOURCE}")
        return report
    for gender in GENDERS:
        _check_gender(report, bodies, gender)
    for name in REGRESSORS:
        try:
            report.add(True, f"joint regressor '{name}': {tuple(bodies.regressor(name).shape)}")
        except BodyError as error:
            needed = "Most protocols score its joints." if name == "h36m17" else "Only protocols that name it need it."
            report.add(False, f"{error} {needed} {_REGRESSOR_SOURCE}", "error" if name == "h36m17" else "warning")
    return report


def _check_gender(report: Report, bodies: Bodies, gender: str) -> None:
    if gender not in bodies.files:
        wanted = ", ".join(file_names(gender))
        needed = "predictions" if gender == "neutral" else f"the ground truth of {gender} people"
        report.add(
            False,
            f"{gender}: no body file in {bodies.folder} or its sub-folder smpl, looked for {wanted}; needed for {needed}. {SMPL_SOURCE}",
            "error" if gender == "neutral" else "warning",
        )
        return
    try:
        body = bodies[gender]
    except HpsbenchError as error:
        report.add(False, f"{gender}: {error}")
        return
    height = float(body.v_template[:, 1].max() - body.v_template[:, 1].min())
    text = f"{gender}: {bodies.files[gender]}, {body.n_vertices} vertices, {len(body.faces)} faces, 24 joints, {height:.2f} m tall"
    good = 1.4 < height < 2.2
    report.add(good, text + ("" if good else "; expected a standing adult in metres, y up"))


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
    return [dataset[i] for i in _spread(len(dataset), 6)]


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
