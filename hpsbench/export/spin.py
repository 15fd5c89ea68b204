"""The npz that SPIN and its descendants read: one row per person, arrays by name.

``imgname`` path from the generated folder; ``center`` (2,) px and ``scale``: the square of 200 * scale px about it is cut, with no
margin added; ``pose`` (72,) rotation vectors, the global one in the camera frame, and ``shape`` (10,), zeros where ``has_smpl`` is 0;
``gender`` "m" or "f". ``part`` (24, 3) and ``openpose`` (25, 3): x, y px and 1 where labelled and inside, hidden or not. ``S`` (24, 4):
m in the camera frame from the pelvis, and 1 where known. Beside them, which SPIN leaves alone: ``sample_id``, ``case``, ``cam_int``
(3, 3), ``trans_cam`` (3,) m (NaN: unknown), ``joint_names`` (J,), ``occluded`` and ``outside`` (J,) bool, ``protocol``,
``manifest_sha256``.

px are those of the image, the first pixel's centre at 0.5. Source: SPIN's constants.py (slots) and datasets/base_dataset.py (keys).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.errors import ResultError
from hpsbench.export.rows import Progress, Row, one_skeleton, relative_images, rows_of, told_of
from hpsbench.generated import Generated
from hpsbench.skeleton import joint_names
from hpsbench.store import whole_file
from hpsbench.types import Truth

_PX_OF_SCALE = 200
_GENDERS = {"male": "m", "female": "f"}
# SPIN's 24 slots by the joints that its own converters put there: ankles, knees and hips, wrists, elbows and shoulders, ...
_LEGS = ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
_ARMS = ("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist")
_UNUSED = ("",) * 5
_MOCAP = (*_LEGS, *_ARMS, "neck", "", "pelvis", "", "spine", "head", "head_top", *_UNUSED)
_LSP = (*_LEGS, *_ARMS, "neck", "head_top", "", "", "", "", "", *_UNUSED)
# Of SMPL's own joints the limbs alone: SPIN regresses hips, neck and pelvis of the 24 from the mesh, and they lie centimetres off.
_LIMBS = tuple("" if name.endswith("hip") else name for name in (*_LEGS, *_ARMS)) + ("",) * 12
# The 25 slots of OpenPose are SMPL's own joints in SPIN.
_OPENPOSE = (
    *("", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "pelvis"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", *(("",) * 10)),
)
_SLOTS: dict[str, dict[str, tuple[str, ...]]] = {
    **{skeleton: {"part": _MOCAP, "S": _MOCAP} for skeleton in ("h36m17", "h36m17-mocap", "h36m32", "mpi17", "mpi28")},
    "eval14": {"part": _LSP, "S": _LSP},
    **{skeleton: {"part": _LIMBS, "openpose": _OPENPOSE} for skeleton in ("smpl24", "smplx22", "j29")},
}


def write_spin(generated: Generated, out: Path, *, box_scale: float = 1.2, progress: Progress | None = None) -> str:
    """Write the npz file ``out`` and tell of it. ``scale`` is ``box_scale`` times the box's longer side, or the window's side, over 200.

    The box is the protocol's, which as a rule is tight: 1.2 is SPIN's own margin. SPIN's "gender" knows two: where people of the neutral
    body are among others they go to a second file, OUT-neutral.npz; where all are, there is no "gender". Raises ValueError for a scale not
    above 0, ResultError where the second file is there already.
    """
    if not box_scale > 0:
        raise ValueError(f"box_scale: expected a number above 0, but got {box_scale}.")
    groups: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    skeleton = ""
    for row in one_skeleton(rows_of(generated, progress)):
        skeleton = row.sample.truth.skeleton
        groups[row.sample.truth.gender == "neutral"].append(_columns(row, box_scale))
    second = out.with_name(f"{out.stem}-neutral{out.suffix}")
    files = {out: groups[False], second: groups[True]} if all(groups.values()) else {out: groups[False] or groups[True]}
    if second in files and second.exists():
        raise ResultError(f"{second} is there already. Name another place for the export, or remove it.")
    parts = []
    for path, rows in files.items():
        _write(path, generated, rows, joint_names(skeleton))
        parts.append(told_of(generated, path, _told(rows)))
    return " ".join([*parts, *_notes(skeleton, len(files)), relative_images(generated, out)])


def _columns(row: Row, box_scale: float) -> dict[str, Any]:
    """One person's entry in every array."""
    truth, window = row.sample.truth, row.view.window_xyxy
    x0, y0, x1, y1 = (float(value) for value in (row.view.bbox_xyxy if window is None else window))
    has_smpl = truth.rotvecs is not None and truth.betas is not None
    columns = {
        "imgname": row.name,
        "center": [(x0 + x1) / 2, (y0 + y1) / 2],
        "scale": max(x1 - x0, y1 - y0) * (box_scale if window is None else 1.0) / _PX_OF_SCALE,
        "pose": np.asarray(truth.rotvecs, dtype=np.float64).reshape(72) if has_smpl else np.zeros(72),
        "shape": np.asarray(truth.betas, dtype=np.float64) if has_smpl else np.zeros(10),
        "has_smpl": int(has_smpl),
        "sample_id": row.record["sample_id"],
        "case": row.case,
        "cam_int": np.asarray(row.view.intrinsics, dtype=np.float64),
        "trans_cam": np.full(3, np.nan) if truth.trans is None else np.asarray(truth.trans, dtype=np.float64),
        "occluded": row.told("occluded"),
        "outside": row.told("outside"),
    }
    if truth.gender != "neutral":
        columns["gender"] = _GENDERS[truth.gender]
    seen = np.column_stack([row.joints2d, row.visibility > 0])
    for key, slots in _SLOTS.get(truth.skeleton, {}).items():
        columns[key] = in_slots(_from_root(truth) if key == "S" else seen, row.names, slots)
    return columns


def in_slots(values: np.ndarray, names: Sequence[str], slots: Sequence[str]) -> np.ndarray:
    """Rows (J, C + 1), whose last column is a flag, in the order of slots; zeros in slots without a joint and where the flag is 0."""
    out = np.zeros((len(slots), values.shape[1]))
    for slot, name in enumerate(slots):
        if name in names and values[names.index(name), -1]:
            out[slot] = values[names.index(name)]
    return out


def _from_root(truth: Truth) -> np.ndarray:
    """Joints (J, 4) m from the pelvis, or from the middle of the hips where the skeleton has none, and a flag; no flag without a root."""
    names, joints = joint_names(truth.skeleton), np.asarray(truth.joints, dtype=np.float64)
    known = np.asarray(truth.valid, dtype=bool) & np.isfinite(joints).all(axis=1)
    roots = [names.index(name) for name in (("pelvis",) if "pelvis" in names else ("left_hip", "right_hip"))]
    return np.column_stack([joints - joints[roots].mean(axis=0), known & known[roots].all()])


def _write(path: Path, generated: Generated, rows: Sequence[Mapping[str, Any]], names: tuple[str, ...]) -> None:
    arrays = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    arrays |= {"joint_names": np.array(names)}
    arrays |= {"protocol": np.array(generated.manifest["protocol"]["id"]), "manifest_sha256": np.array(generated.manifest["sha256"])}
    with whole_file(path) as stream:
        np.savez(stream, **arrays)


def _told(rows: Sequence[Mapping[str, Any]]) -> str:
    without = sum(1 - row["has_smpl"] for row in rows)
    return f"{len(rows):,} people" + (f", {without:,} of them without SMPL parameters (has_smpl 0)" if without else "")


def _notes(skeleton: str, files: int) -> list[str]:
    """What the format cannot hold of these people."""
    notes = []
    if files > 1:
        notes.append("People of the neutral body stand in the second file, because SPIN's gender is 'm' or 'f'.")
    slots = _SLOTS.get(skeleton, {})
    if not slots:
        notes.append(f"No key points: SPIN has no slots for the joints of {skeleton}.")
    elif "S" not in slots:
        notes.append(f"No S: its hips, by which SPIN aligns, are other points than those of {skeleton}; pose and shape are the truth.")
    if slots:
        notes.append(
            "A hidden key point counts like a seen one: what was hidden stands under 'occluded' and 'outside', which SPIN leaves alone."
        )
    return notes
