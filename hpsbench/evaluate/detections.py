"""A folder of AGORA's prediction files against its annotations: who is whom, and AGORA's scores of everybody who is evaluated."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import FrameCounts
from hpsbench.datasets.base_3dpw_files import fingerprint_of
from hpsbench.datasets.base_agora import FULL_SIZE, split_name
from hpsbench.datasets.base_agora_posed import PosedBodies
from hpsbench.datasets.base_agora_predictions import AgoraPredictions, load_image_predictions, prediction_files
from hpsbench.datasets.base_agora_tables import AgoraPeople, has_hands, load_people
from hpsbench.errors import DataError, PredictionError, ProtocolError
from hpsbench.evaluate.about import identity_of
from hpsbench.evaluate.agora import agora_columns, agora_protocol, check_one_case, finish_run, value_rows
from hpsbench.evaluate.agora_vertices import TITLES, VERTICES, BodyVertices, body_vertices
from hpsbench.evaluate.rows import Rows, joined
from hpsbench.evaluate.run import RunFolder, versions
from hpsbench.metrics.agora import AgoraErrors, AgoraImage, agora_errors, match_people, parts_of
from hpsbench.protocol import Protocol
from hpsbench.registry import load_plugin
from hpsbench.store import sha256_of_bytes, sha256_of_file
from hpsbench.types import Card, Result

# How many 3D joints are measured at least, and the protocol that scores a model.
_JOINTS = {"smpl": 24, "smplx": 127}
_PROTOCOLS = {"smpl": "agora-validation", "smplx": "agora-validation-smplx"}
_ONLY_HANDS = "valid-bfh"
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
    skinning weights, and for files that give SMPL's parameters in place of a mesh; else AGORA's lists of vertices may lie in their folder,
    and they decide no number. Raises what ``body_vertices`` and ``match_folder`` do, ProtocolError for a protocol without AGORA's scores
    or of several cases, DataError where nobody is evaluated, and ResultError where ``out`` belongs to another run; then nothing is written.
    """
    if protocol.agora is None:
        raise ProtocolError(
            f"Protocol '{protocol.id}' has no table [agora], but {folder} is a folder of AGORA's prediction files. Take agora-validation "
            "or another protocol with that table, or give the predictions as one file by sample id."
        )
    check_one_case(protocol)
    kind = load_plugin("dataset", protocol.data.dataset)
    tables = kind.tables(root, protocol.data.split)
    vertices = body_vertices(protocol.agora, kind.model, root, bodies)
    posed = None
    if kind.model == "smpl" and bodies is not None:
        posed = PosedBodies(bodies, (root, root / "utils", bodies.folder, bodies.folder / "smpl"))
    how = {"only_hands": protocol.data.frames == _ONLY_HANDS, "literal": protocol.agora.literal, "posed": posed}
    matched = match_folder(folder, tables, kind.model, vertices, **how)
    rows = _rows(kind.name, matched)
    sha256, count = fingerprint_of_folder(folder), len(rows["ids"])
    used = bodies if protocol.agora.vertices == "skinning" or (posed is not None and posed.used) else None
    about = {
        "model": Card(f"predictions:{folder.resolve().name}", _WHAT, "user's own files", "that of the files", revision=sha256),
        "dataset": kind.card,
        "dataset_name": f"{kind.name}/{protocol.data.split}",
        "body": used.card if used else Card("none", "meshes as the files hold them", "user's own files", "that of the files"),
        "protocol": agora_protocol(protocol, vertices, _ANSWERS),
        "fingerprints": {
            "dataset": fingerprint_of([file for _, file in tables]),
            "body": "" if used is None else posed.fingerprint,
            "weights": sha256,
        },
        "versions": versions(),
        "frames": asdict(matched.counts),
        "n_expected": count,
        "id_counts": {"missing": matched.missing, "duplicate": 0, "unknown": matched.unknown},
        "limit": None,
        "shard": (0, 1),
    }
    run = RunFolder(out, identity_of(about, rows["ids"].tolist(), ""), agora_columns(kind.model), resume=resume)
    if (before := run.finished()) is not None:
        return before
    return finish_run(run, about, rows, kind.model, matched.errors.false_positives, device="cpu", dtype="float64")


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
    }
    return joined([rows | value_rows(errors)])


@dataclass(frozen=True)
class Matched:
    """``errors`` of everybody evaluated; the split ``part`` of each image; ``counts`` of the annotated people, how many images have
    evaluated people and no prediction, and how many images with predictions are none of the split."""

    errors: AgoraErrors
    part: dict[str, str]
    counts: FrameCounts
    missing: int
    unknown: int


def fingerprint_of_folder(folder: Path) -> str:
    """SHA-256 over names and content of the prediction files."""
    return sha256_of_bytes("".join(f"{path.name} {sha256_of_file(path)}\n" for path in sorted(folder.glob("*.pkl"))).encode())


def match_folder(
    folder: Path,
    tables: list[tuple[str, Path]],
    model: str,
    vertices: BodyVertices,
    *,
    only_hands: bool,
    literal: bool,
    posed: PosedBodies | None,
) -> Matched:
    """The predictions of ``folder`` matched with and measured on the people of ``tables`` (split, file) of "smpl" or "smplx".

    Images without any prediction are missed whole; with ``only_hands`` images of scans without hands and face are left out, and their
    predictions with them. One image is in memory at a time. Raises PredictionError for a folder that holds something else, for predictions
    of other images, of another mesh, in other units, with too few joints or with NaN; DataError for broken tables, and where nobody is
    evaluated.
    """
    files = _files(folder)
    seen = _Seen(only_hands)
    images = _images(tables, files, model, posed, seen)
    errors = agora_errors(images, parts_of(model, vertices.ids), literal=literal)
    unknown = sorted(files.keys() - seen.part.keys())
    if len(unknown) == len(files):
        expected = next(iter(seen.part), "none")
        raise PredictionError(
            f"{folder} has predictions of {len(unknown)} images, the first is {unknown[0]}, and none of them is annotated in this split. "
            f"Expected names as {expected}_personId_0.pkl: take the predictions of this split, with the names of the 4K images."
        )
    if not errors.people:
        counts = f"{seen.annotated:,} people are annotated in {len(seen.part):,} images"
        without = f", {seen.without_hands:,} of them without hands and face" if only_hands else ""
        raise DataError(
            f"Nobody in {', '.join(str(file) for _, file in tables)} is evaluated: {counts}{without}. Expected some who are valid and "
            "occluded by 0 to 90 percent: unpack all tables of the split."
        )
    _check_pixels(folder, seen)
    _check_bodies(folder, seen)
    return Matched(errors, seen.part, seen.counts(len(errors.people)), seen.missing, len(unknown))


@dataclass
class _Seen:
    """What is kept of the images that went by: of those with predictions of evaluated people the 2D joints, and the longer side (N,) m of
    the boxes about everybody's predicted joints and vertices."""

    only_hands: bool
    part: dict[str, str] = field(default_factory=dict)
    annotated: int = 0
    without_hands: int = 0
    missing: int = 0
    joints2d: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    joint_sides: list[float] = field(default_factory=list)
    vertex_sides: list[float] = field(default_factory=list)

    def counts(self, kept: int) -> FrameCounts:
        without = {"image without hands and face": self.without_hands} if self.only_hands else {}
        return FrameCounts(self.annotated, kept, without | {"not valid": self.annotated - self.without_hands - kept})


def _files(folder: Path) -> dict[str, list[Path]]:
    """The prediction files by image, of a folder that holds no other."""
    foreign = sorted(path.name for path in folder.glob("*.pkl") if "_personId_" not in path.name)
    if foreign:
        raise PredictionError(
            f"{folder} has {len(foreign)} files that are no predictions, the first is {foreign[0]}. Expected <image>_personId_<k>.pkl "
            "alone: name the folder of the prediction files, or take the others out."
        )
    return prediction_files(folder)


def _images(
    tables: list[tuple[str, Path]], files: dict[str, list[Path]], model: str, posed: PosedBodies | None, seen: _Seen
) -> Iterator[AgoraImage]:
    for part, file in tables:
        for people in load_people(file, model, FULL_SIZE):
            if people.image in seen.part:
                raise DataError(f"{file}: image {people.image} is in two tables. Unpack the tables again.")
            seen.part[people.image] = part
            seen.annotated += len(people.evaluated)
            if seen.only_hands and not has_hands(people.image):
                seen.without_hands += len(people.evaluated)
                continue
            answer = _answer(people.image, files, model, posed)
            _note(people, answer, seen)
            yield _image(people, answer)


def _answer(image: str, files: dict[str, list[Path]], model: str, posed: PosedBodies | None) -> AgoraPredictions:
    """The predictions for one image, meshes of ``model``; nobody where there is no file."""
    vertices = VERTICES[model]
    if image not in files:
        return AgoraPredictions(image, np.empty((0, _JOINTS[model], 2)), np.empty((0, _JOINTS[model], 3)), np.empty((0, vertices, 3)))
    answer = load_image_predictions(image, files[image], posed)
    found = answer.vertices.shape[1]
    if found != vertices:
        other = next((name for name in VERTICES if VERTICES[name] == found), None)
        hint = f" Those are {TITLES[other]}'s, which the protocol {_PROTOCOLS[other]} scores." if other else ""
        raise PredictionError(
            f"{image}: 'verts' has {found} vertices a person, expected the {vertices} of {TITLES[model]}. Write {TITLES[model]}'s "
            f"meshes.{hint}"
        )
    if answer.joints.shape[1] < _JOINTS[model]:
        raise PredictionError(
            f"{image}: 'allSmplJoints3d' has shape {answer.joints.shape[1:]} a person, expected ({_JOINTS[model]} or more, 3) of "
            f"{TITLES[model]}. Write them again."
        )
    return answer


def _note(people: AgoraPeople, answer: AgoraPredictions, seen: _Seen) -> None:
    some = len(answer.joints2d) > 0
    if people.evaluated.any():
        seen.missing += not some
        if some:
            seen.joints2d.append((answer.joints2d, people.joints2d, people.evaluated))
    if some:
        seen.joint_sides += _sides(answer.joints)
        seen.vertex_sides += _sides(answer.vertices)


def _sides(points: np.ndarray) -> list[float]:
    return (points.max(axis=1) - points.min(axis=1)).max(axis=1).tolist()


def _image(people: AgoraPeople, answer: AgoraPredictions) -> AgoraImage:
    return AgoraImage(
        name=people.image,
        pred_joints2d=answer.joints2d,
        pred_joints=answer.joints,
        pred_vertices=answer.vertices,
        gt_joints2d=people.joints2d,
        gt_joints=people.joints,
        gt_vertices=people.vertices,
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


def _check_bodies(folder: Path, seen: _Seen) -> None:
    """Raises PredictionError where most predicted bodies are far too small or too large to be in metres."""
    for key, sides in (("allSmplJoints3d", seen.joint_sides), ("verts", seen.vertex_sides)):
        middle = float(np.median(sides)) if sides else 1.0
        if not _PLAUSIBLE[0] <= middle <= _PLAUSIBLE[1]:
            raise PredictionError(
                f"{folder}: '{key}': the people measure {middle:g} (the median of {len(sides)}), expected one to two metres"
                f"{', and these look like millimetres' if middle > _MILLIMETRES else ''}. Write metres."
            )
