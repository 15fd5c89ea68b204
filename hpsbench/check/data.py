"""Says in plain words what lies in a dataset's folder, and whether its annotations, cameras and images fit one another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hpsbench.body.bodies import Bodies
from hpsbench.check.anatomy import check_motion, check_sides, check_units
from hpsbench.check.body import SMPL_SOURCE, check_regressors
from hpsbench.check.files import check_endings, check_images
from hpsbench.check.opened import open_split, plain_rules
from hpsbench.check.overlay import split_sheet, stacked
from hpsbench.check.report import Report
from hpsbench.check.reprojection import check_reprojection
from hpsbench.check.seen import look_at, places_looked_at, spread
from hpsbench.datasets.base import Dataset
from hpsbench.errors import HpsbenchError
from hpsbench.image import encode_jpeg, encode_png
from hpsbench.registry import load_plugin
from hpsbench.store import write_bytes
from hpsbench.types import Sample

_POSED = 500
_MAX_BODY_MM = 5


def check_data(
    name: str, root: Path | str | None, bodies: Bodies | None = None, *, all_images: bool = False, overlay: Path | None = None
) -> Report:
    """What lies in a dataset's folder (None: its embedded set), split by split.

    The files and their number against the published ones; how many images are whole and open (one of each sequence and some more, or
    ``all_images``); whether the 3D joints land on the dataset's own 2D annotation, by sequence, and what explains it where they do not;
    units, left and right, and motion of the people; with ``bodies``, whether they are the bodies that the annotations were made with, and
    whether their joint regressors have the order of joints that is scored.
    ``overlay``: a .png or .jpg to draw a few samples of each split into.

    Raises UnknownNameError for an unknown dataset and HpsbenchError for an ``overlay`` that cannot be written; everything about the files
    is a line of the report.
    """
    kind, report = load_plugin("dataset", name), Report()
    if overlay is not None and overlay.suffix.lower() not in (".png", ".jpg"):
        raise HpsbenchError(f"--overlay {overlay} is no picture. Expected a file that ends with .png or .jpg: give it such a name.")
    try:
        folder = kind.default_root() if root is None else Path(root)
        report.lines += kind.inspect(folder)
        splits = kind.splits_in(folder)
    except HpsbenchError as error:
        report.add(False, str(error))
        return report
    if isinstance(bodies, Bodies):
        check_regressors(report, bodies)
    check_endings(report, folder)
    report.add(bool(splits), f"splits found: {', '.join(splits) or 'none'}")
    datasets = (_check_split(report, kind, folder, split, bodies, all_images) for split in splits)
    sheets = [split_sheet(dataset, bodies) for dataset in datasets if dataset is not None and overlay is not None and len(dataset)]
    if overlay is not None:
        _write_overlay(report, overlay, sheets)
    if not report.ok:
        report.lines.append(("warning", f"{name}: {kind.where()}"))
    return report


def _check_split(report: Report, kind: type[Dataset], folder: Path, split: str, bodies: Bodies | None, all_images: bool) -> Dataset | None:
    """The split, looked at; None where it does not open."""
    rules = plain_rules(kind)
    try:
        dataset = open_split(kind, folder, split, bodies)
    except HpsbenchError as error:
        report.add(False, f"{split}: {error}")
        return None
    report.add(len(dataset) > 0, f"{split}: {dataset.counts} (frame rule '{rules['frames']}', boxes '{rules['bbox']}')")
    report.lines += dataset.against_known()
    check_images(report, dataset, all_images)
    if len(dataset):
        samples = [dataset[i] for i in places_looked_at(dataset)]
        seen = look_at(samples)
        check_reprojection(report, split, seen)
        check_units(report, split, seen)
        check_sides(report, split, seen)
        check_motion(report, split, seen)
        if bodies is not None:
            _check_annotated_body(report, split, [samples[i] for i in spread(len(samples), _POSED)], bodies)
    return dataset


def _check_annotated_body(report: Report, split: str, samples: Sequence[Sample], bodies: Bodies) -> None:
    """Joints of the bodies under the annotated parameters against the annotated joints; one body for both gives under a millimetre."""
    posed = [s.truth for s in samples if s.truth.rotvecs is not None and s.truth.trans is not None and s.truth.skeleton == "smpl24"]
    if not posed:
        return
    betas, rotvecs, trans = (torch.from_numpy(np.stack([getattr(t, key) for t in posed])) for key in ("betas", "rotvecs", "trans"))
    joints = bodies.forward_joints(betas, trans=trans, rotvecs=rotvecs, genders=[t.gender for t in posed], skeleton="smpl24")
    worst = 1000 * float(np.abs(joints.double().cpu().numpy() - np.stack([t.joints for t in posed])).max())
    good = worst < _MAX_BODY_MM
    text = f"{split}: joints of the bodies '{bodies.name}' are at most {worst:.2f} mm from the annotated ones"
    advice = f"; expected under {_MAX_BODY_MM}: the annotations were made with other bodies, or are damaged. {SMPL_SOURCE}"
    report.add(good, text + ("" if good else advice))


def _write_overlay(report: Report, path: Path, sheets: Sequence[np.ndarray]) -> None:
    if not sheets:
        report.lines.append(("warning", f"{path} is not written: no split opened, there is nothing to draw"))
        return
    picture = stacked(sheets)
    write_bytes(path, encode_png(picture) if path.suffix.lower() == ".png" else encode_jpeg(picture))
    report.add(True, f"overlay: {path}, {picture.shape[1]} x {picture.shape[0]} px. Look at it: joints on the limbs, left blue, right red")
