"""A folder of AGORA's prediction files against its annotations: who is whom, and AGORA's scores of everybody who is evaluated."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import FrameCounts
from hpsbench.datasets.base_3dpw_files import fingerprint_of
from hpsbench.datasets.base_agora import FULL_SIZE, split_name, table_files
from hpsbench.datasets.base_agora_predictions import AgoraPredictions, load_predictions
from hpsbench.datasets.base_agora_tables import AgoraPeople, load_people
from hpsbench.errors import DataError, PredictionError, ProtocolError
from hpsbench.evaluate.about import identity_of
from hpsbench.evaluate.agora import COLUMNS, VERTICES, agora_protocol, body_vertices, finish_run
from hpsbench.evaluate.rows import Rows, joined
from hpsbench.evaluate.run import RunFolder, versions
from hpsbench.metrics.agora import AgoraErrors, AgoraImage, agora_errors, match_people, parts_of
from hpsbench.protocol import Protocol
from hpsbench.registry import load_plugin
from hpsbench.store import sha256_of_bytes, sha256_of_file
from hpsbench.types import Card, Result

_HIPS = [1, 2]
# 2D joints in other units: what they look like, the largest x and y of most people, and what brings them to 4K.
_OTHER_PIXELS = (("pixels of 1280 x 720", (1280, 720), (3, 3)), ("parts of the image", (2, 2), FULL_SIZE))
# What the longer side of a box about a predicted person may measure, in the middle of all predictions; metres.
_PLAUSIBLE = (0.2, 20.0)
_MILLIMETRES = 300.0
_ANSWERS = "prediction files, matched with the people"
_WHAT = "Predictions made elsewhere, read from a folder of AGORA's prediction files"


def score_folder(folder: Path, protocol: Protocol, root: Path, out: Path, *, bodies: Bodies | None = None, resume: bool = True) -> Result:
    """AGORA's scores of the prediction files in ``folder``; ``errors.h5`` (a row per evaluated person) and ``result.json`` in ``out``.

    ``root`` is AGORA's folder; its images are not needed, and everybody evaluated in the tables counts. ``bodies``: for vertices by
    skinning weights; else AGORA's list of vertices may lie in their folder, and they decide no number. Raises what ``body_vertices`` and
    ``match_folder`` do, ProtocolError for a protocol without AGORA's scores, and ResultError where ``out`` belongs to another run; then
    nothing is written.
    """
    if protocol.agora is None:
        raise ProtocolError(
            f"Protocol '{protocol.id}' has no table [agora], but {folder} is a folder of AGORA's prediction files. Take agora-validation "
            "or another protocol with that table, or give the predictions as one file by sample id."
        )
    vertices = body_vertices(protocol.agora, root, bodies)
    kind = load_plugin("dataset", protocol.data.dataset)
    parts = ("train", "validation") if protocol.data.split == "all" else (protocol.data.split,)
    tables = [(part, file) for part in parts for file in table_files(root, "SMPL", part, kind.where())]
    matched = match_folder(folder, tables, vertices.ids, literal=protocol.agora.literal)
    rows = _rows(kind.name, matched)
    sha256, count = fingerprint_of_folder(folder), len(rows["ids"])
    posed = bodies if protocol.agora.vertices == "skinning" else None
    about = {
        "model": Card(f"predictions:{folder.resolve().name}", _WHAT, "user's own files", "that of the files", revision=sha256),
        "dataset": kind.card,
        "dataset_name": f"{kind.name}/{protocol.data.split}",
        "body": posed.card if posed else Card("none", "meshes as the files hold them", "user's own files", "that of the files"),
        "protocol": agora_protocol(protocol, vertices, _ANSWERS),
        "fingerprints": {
            "dataset": fingerprint_of([file for _, file in tables]),
            "body": posed.fingerprint if posed else "",
            "weights": sha256,
        },
        "versions": versions(),
        "frames": asdict(FrameCounts(matched.annotated, count, {"not valid": matched.annotated - count})),
        "n_expected": count,
        "id_counts": {"missing": matched.missing, "duplicate": 0, "unknown": matched.unknown},
        "limit": None,
        "shard": (0, 1),
    }
    run = RunFolder(out, identity_of(about, rows["ids"].tolist(), ""), COLUMNS, resume=resume)
    if (before := run.finished()) is not None:
        return before
    return finish_run(run, about, rows, matched.errors.false_positives, device="cpu", dtype="float64")


def _rows(name: str, matched: "Matched") -> Rows:
    """The table of what was matched; ids are those of the dataset's samples."""
    errors = matched.errors
    places = [(matched.part[image], *split_name(image), person) for image, person in errors.people]
    ids = np.array([f"{name}/{part}/{scene}/{frame:05d}/{person}" for part, scene, frame, person in places], dtype=object)
    rows = {
        "ids": ids,
        "tracks": ids,
        "frames": np.array([place[2] for place in places], dtype=np.int64),
        "failed": errors.missed,
        "unanswered": errors.unanswered,
        "occlusion": errors.occlusion,
        "kid": errors.kid,
        "values/mpjpe": errors.joints["body"],
        "values/pve": errors.vertices["body"][:, None],
    }
    return joined([rows])


@dataclass(frozen=True)
class Matched:
    """``errors`` of everybody evaluated; the split ``part`` of each image; how many people were annotated, how many images have evaluated
    people and no prediction, and how many images with predictions are none of the split."""

    errors: AgoraErrors
    part: dict[str, str]
    annotated: int
    missing: int
    unknown: int


def fingerprint_of_folder(folder: Path) -> str:
    """SHA-256 over names and content of the prediction files."""
    return sha256_of_bytes("".join(f"{path.name} {sha256_of_file(path)}\n" for path in sorted(folder.glob("*.pkl"))).encode())


def match_folder(folder: Path, tables: list[tuple[str, Path]], vertices: np.ndarray, *, literal: bool) -> Matched:
    """The predictions of ``folder`` matched with and measured on the people of ``tables`` (split, file), SMPL's.

    ``vertices`` are the numbers of the vertices that errors are measured on. Images without any prediction are missed whole. Raises
    PredictionError for a folder that holds something else, for predictions of other images, of another mesh, in other units, with too few
    joints or with NaN; DataError for broken tables.
    """
    answers = _answers(folder, vertices)
    seen = _Seen()
    images = _images(tables, answers.by_image, vertices, seen)
    errors = agora_errors(images, parts_of("smpl"), literal=literal)
    unknown = sorted(answers.by_image.keys() - seen.part.keys())
    if len(unknown) == len(answers.by_image):
        expected = next(iter(seen.part), "none")
        raise PredictionError(
            f"{folder} has predictions of {len(unknown)} images, the first is {unknown[0]}, and none of them is annotated in this split. "
            f"Expected names as {expected}_personId_0.pkl: take the predictions of this split, with the names of the 4K images."
        )
    _check_pixels(folder, seen)
    _check_bodies(folder, answers)
    return Matched(errors, seen.part, seen.annotated, seen.missing, len(unknown))


@dataclass
class _Answers:
    """Predictions by image, with the chosen vertices alone, moved so that the middle of the hips is the origin; and the longer side (N,) m
    of the boxes about everybody's joints and vertices as they were."""

    by_image: dict[str, AgoraPredictions] = field(default_factory=dict)
    joint_sides: list[float] = field(default_factory=list)
    vertex_sides: list[float] = field(default_factory=list)


@dataclass
class _Seen:
    """What is kept of the images that went by: of those with predictions of evaluated people the 2D joints alone."""

    part: dict[str, str] = field(default_factory=dict)
    annotated: int = 0
    missing: int = 0
    joints2d: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)


def _answers(folder: Path, vertices: np.ndarray) -> _Answers:
    foreign = sorted(path.name for path in folder.glob("*.pkl") if "_personId_" not in path.name)
    if foreign:
        raise PredictionError(
            f"{folder} has {len(foreign)} files that are no predictions, the first is {foreign[0]}. Expected <image>_personId_<k>.pkl "
            "alone: name the folder of the prediction files, or take the others out."
        )
    found = _Answers()
    for answer in load_predictions(folder):
        if answer.vertices.shape[1] != VERTICES:
            raise PredictionError(
                f"{answer.image}: 'verts' has {answer.vertices.shape[1]} vertices a person, expected the {VERTICES} of SMPL. Write "
                "SMPL's meshes (10475 would be SMPL-X, which this protocol does not score)."
            )
        found.joint_sides += _sides(answer.joints)
        found.vertex_sides += _sides(answer.vertices)
        hips = answer.joints[:, _HIPS].mean(axis=1, keepdims=True)
        near = (answer.vertices[:, vertices] - hips).astype(np.float32)
        found.by_image[answer.image] = AgoraPredictions(answer.image, answer.joints2d, answer.joints - hips, near)
    return found


def _sides(points: np.ndarray) -> list[float]:
    return (points.max(axis=1) - points.min(axis=1)).max(axis=1).tolist()


def _images(
    tables: list[tuple[str, Path]], answers: dict[str, AgoraPredictions], vertices: np.ndarray, seen: _Seen
) -> Iterator[AgoraImage]:
    nothing = AgoraPredictions("", np.empty((0, 24, 2)), np.empty((0, 24, 3)), np.empty((0, len(vertices), 3), np.float32))
    for part, file in tables:
        for people in load_people(file, "smpl", FULL_SIZE):
            if people.image in seen.part:
                raise DataError(f"{file}: image {people.image} is in two tables. Unpack the tables again.")
            answer = answers.get(people.image, nothing)
            seen.part[people.image] = part
            seen.annotated += len(people.evaluated)
            if people.evaluated.any():
                seen.missing += answer is nothing
                if answer is not nothing:
                    seen.joints2d.append((answer.joints2d, people.joints2d, people.evaluated))
            yield _image(people, answer, vertices)


def _image(people: AgoraPeople, answer: AgoraPredictions, vertices: np.ndarray) -> AgoraImage:
    return AgoraImage(
        name=people.image,
        pred_joints2d=answer.joints2d,
        pred_joints=answer.joints,
        pred_vertices=answer.vertices.astype(np.float64),
        gt_joints2d=people.joints2d,
        gt_joints=people.joints,
        gt_vertices=people.vertices[:, vertices].astype(np.float64),
        occlusion=people.occlusion,
        valid=people.evaluated,
        kid=people.kid,
    )


def _check_pixels(folder: Path, seen: _Seen) -> None:
    """Raises PredictionError for 2D joints that fit the people only when brought from smaller images, or from 0..1, to 4K."""
    if not seen.joints2d:
        return
    highest = np.median(np.concatenate([pred.max(axis=1) for pred, _, _ in seen.joints2d]), axis=0)
    found = _found(seen, np.ones(2))
    for name, largest, factor in _OTHER_PIXELS:
        if (highest <= largest).all() and (scaled := _found(seen, np.array(factor))) > found:
            raise PredictionError(
                f"{folder}: 2D joints reach ({highest[0]:.4g}, {highest[1]:.4g}) in the middle case and look like {name}: read so they fit "
                f"{scaled} people, as they are {found}. Expected pixels of 3840 x 2160: write 'joints' in those."
            )


def _found(seen: _Seen, factor: np.ndarray) -> int:
    return sum(len(match_people(pred * factor, gt, evaluated, literal=False).pairs) for pred, gt, evaluated in seen.joints2d)


def _check_bodies(folder: Path, answers: _Answers) -> None:
    """Raises PredictionError where most predicted bodies are far too small or too large to be in metres."""
    for key, sides in (("allSmplJoints3d", answers.joint_sides), ("verts", answers.vertex_sides)):
        middle = float(np.median(sides))
        if not _PLAUSIBLE[0] <= middle <= _PLAUSIBLE[1]:
            raise PredictionError(
                f"{folder}: '{key}': the people measure {middle:g} (the median of {len(sides)}), expected one to two metres"
                f"{', and these look like millimetres' if middle > _MILLIMETRES else ''}. Write metres."
            )
