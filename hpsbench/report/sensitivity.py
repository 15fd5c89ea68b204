"""What error fields say: one pass over a field gives everything that its tables and figures show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.errors import ResultError
from hpsbench.field import NAME, Field, FieldAbout, is_field_folder, read_field
from hpsbench.metrics.sensitivity import (
    BodyGrid,
    Mean,
    body_map,
    break_points,
    coverage_curve,
    excess,
    joint_maxima,
    joint_means,
    over_joints,
    position_map,
    split,
    tail_mean,
    worst,
)
from hpsbench.metrics.sensitivity_chain import influence
from hpsbench.metrics.sensitivity_confidence import Confidences
from hpsbench.report.sensitivity_draw import file_word
from hpsbench.report.sensitivity_people import bones_of, mean_figure

# Over which positions of the patch a mean is taken: all of them, or those at which it covers any of the person's box.
SCOPES = ("all", "on_person")
STATES = ("all", "hidden", "visible")
BODY_GRID = BodyGrid(rows=36, columns=36, margin=0.25)
_VALUES_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Reading:
    """One metric of one field, in mm. ``rows``: an array per person, NaN where not measured; ``sums``: what the people add up to.

    rows: "tracks"; "clean" (N, J), "clean_error" (N,); per scope "<scope>/joints", "<scope>/excess" (N, J); "<scope>/error",
    "<scope>/above" (N,), the means of both over joints; the ``Split`` as "<scope>/hidden", "/visible", "/hidden_excess", "/spill_over",
    all (N,), each with its number of joints as "<...>_values"; "maxima" (N, J); "worst", "worst_visible", "tail", "break_point",
    "break_known" (N,); "failed", "skipped", "saved" (N,): how many positions; "clean_failed" (N,); "stage/<stage>/<state>" (N,).

    sums: "map", "map_excess" ``Mean`` (P, 1 + J), the mean over joints first; "body", "body_excess" ``Mean`` (rows, columns, 1 + J);
    "influence" ``Mean`` (J, J); "curve" ``Curve``; "joints2d", "body_joints2d" ``Mean`` (J, 2) in px of the canvas and in sides of the
    person's box; "figure", "body_figure" the pictures of ``mean_figure`` over canvas and grid; "box" ``Mean`` (2,) of the person's box,
    its width and height; "confidences" where the model gives them.

    Of a refined field all but the worst case ("maxima", "worst...", "tail", "break_...") is over the positions that every person was
    seen at, since those beyond were chosen for their errors; ``common`` (P,) bool says which.
    """

    name: str
    about: FieldAbout
    metric: str
    common: np.ndarray
    rows: Mapping[str, np.ndarray]
    sums: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.rows["tracks"])

    @property
    def has_places(self) -> bool:
        """Whether the patch is at the same places of the canvas for everybody, so that there are maps."""
        return bool(self.about.boxes)

    @cached_property
    def boxes(self) -> np.ndarray:
        """The patches (P, 4) px, cut to the canvas."""
        return patches(self.about)


def patches(about: FieldAbout) -> np.ndarray:
    """The patches (P, 4) px of a grid, cut to the canvas; NaN where the place depends on the person."""
    if not about.boxes:
        return np.full((len(about.cases), 4), np.nan)
    return np.clip(np.array(about.boxes, dtype=np.float64), 0.0, about.canvas_side)


def find_fields(folders: Iterable[Path | str]) -> tuple[list[Path], list[Path]]:
    """(folders of error fields, folders of anything else): each of ``folders`` itself where it is one, else those below it.

    A folder with neither is among the others.
    """
    fields: list[Path] = []
    others: list[Path] = []
    for folder in map(Path, folders):
        if is_field_folder(folder):
            fields.append(folder)
        elif (folder / "result.json").is_file():
            others.append(folder)
        else:
            within = {path.parent for path in folder.rglob(NAME)}
            results = {path.parent for path in folder.rglob("result.json")} - within
            fields += sorted(within)
            others += sorted(results) or ([] if within else [folder])
    return list(dict.fromkeys(fields)), list(dict.fromkeys(others))


def open_fields(folders: Sequence[Path | str]) -> dict[str, Field]:
    """The fields in folders, by the name of their model; of several of one name, with the name of the folder.

    Raises ResultError for one that is broken or a shard, and where they are not of one protocol, the same people and the same joints.
    """
    fields = [read_field(folder) for folder in folders]
    for field in fields:
        index, number = field.identity.get("shard", (0, 1))
        if number != 1:
            raise ResultError(f"{field.path} is shard {index + 1} of {number}. Join the shards first: hpsbench merge FOLDER... --out DIR")
    _check_comparable(fields)
    models = [field.about.model for field in fields]
    names = [field.about.model + (f" [{field.path.parent.name}]" if models.count(field.about.model) > 1 else "") for field in fields]
    if len({file_word(name) for name in names}) < len(names):
        raise ResultError(f"Two folders of one name hold fields of one model: {', '.join(names)}. Rename one, or leave it out.")
    return dict(zip(names, fields, strict=True))


def _check_comparable(fields: Sequence[Field]) -> None:
    first = fields[0]
    for field in fields[1:]:
        where = f"{first.path} and {field.path}"
        if (field.about.protocol_id, field.about.protocol_sha256) != (first.about.protocol_id, first.about.protocol_sha256):
            raise ResultError(
                f"{where} are of two protocols, {_protocol(first)} and {_protocol(field)}: their numbers cannot stand side by side. "
                "Give the fields of one protocol at a time."
            )
        if field.about.joints != first.about.joints or field.about.metrics != first.about.metrics:
            raise ResultError(f"{where} hold other joints or metrics, although their protocol is one. Run `hpsbench sensitivity` again.")
        if len(field) != len(first) or (field.ids != first.ids).any():
            shared = len(set(field.ids) & set(first.ids))
            raise ResultError(
                f"{where} are of other people: {len(first)} and {len(field)}, {shared} of them in both. Expected the same ones: run both "
                "models on the same data, with the same --limit."
            )


def _protocol(field: Field) -> str:
    return f"{field.about.protocol_id} ({field.about.protocol_sha256[:8]})"


def read_metric(name: str, field: Field, metric: str) -> Reading:
    """Everything that a field says of one of its metrics; memory does not grow with its people but by their rows."""
    about = field.about
    people = max(1, _VALUES_AT_ONCE // (len(about.cases) * len(about.joints)))
    blocks = list(field.blocks(people))
    common = np.ones(len(about.cases), dtype=bool)
    for block in blocks:
        common &= ~_saved(block).any(0)
    parts = [_part(block, metric, common) for block in blocks]
    if not parts:
        raise ResultError(f"{field.path} holds nobody. Expected one person or more: run `hpsbench sensitivity` on data that has some.")
    rows = {key: np.concatenate([own[key] for own, _ in parts]) for key in parts[0][0]}
    sums = {key: reduce(add, (own[key] for _, own in parts)) for key in parts[0][1]}
    return Reading(name, about, metric, common, rows, sums)


def _saved(field: Field) -> np.ndarray:
    """The passes (N, P) that a refined run did without."""
    return ~field.read("visited") & (field.read("skipped") == 0)


def _part(field: Field, metric: str, common: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(rows, sums) of some people."""
    errors, clean = field.error(metric), field.clean(metric)
    hidden, outside, coverage = field.hidden, field.outside, field.read("coverage").astype(np.float64)
    everywhere = np.where(common[:, None], errors, np.nan)
    rows = {"tracks": field.read("tracks").astype(str), "clean": clean, "clean_error": over_joints(clean)}
    for scope, where in (("all", np.ones_like(coverage, dtype=bool)), ("on_person", coverage > 0)):
        rows |= {f"{scope}/{key}": values for key, values in _scope_rows(everywhere, clean, hidden, outside, where).items()}
    rows |= _worst_rows(field, errors, clean, hidden | outside[:, None], coverage) | _stage_rows(field, common, hidden, outside)
    sums = _map_sums(field, everywhere, clean)
    sums["influence"] = influence(excess(everywhere, clean), hidden)
    sums["curve"] = coverage_curve(over_joints(everywhere), rows["clean_error"], coverage)
    if field.confidence is not None:
        inside = np.broadcast_to(common[:, None] & ~outside[:, None], hidden.shape)
        sums["confidences"] = Confidences.of(field.confidence, hidden & inside, ~hidden & inside)
    return rows, sums


def _scope_rows(errors: np.ndarray, clean: np.ndarray, hidden: np.ndarray, outside: np.ndarray, where: np.ndarray) -> dict[str, np.ndarray]:
    """Means over the positions ``where`` (N, P)."""
    errors = np.where(where[..., None], errors, np.nan)
    above = excess(errors, clean)
    rows = {"joints": joint_means(errors), "excess": joint_means(above)}
    rows |= {"error": joint_means(over_joints(errors)[..., None])[:, 0], "above": joint_means(over_joints(above)[..., None])[:, 0]}
    for key, mean in vars(split(errors, clean, hidden, outside)).items():
        rows |= {key: mean.values, f"{key}_values": mean.counts}
    return rows


def _worst_rows(field: Field, errors: np.ndarray, clean: np.ndarray, unseen: np.ndarray, coverage: np.ndarray) -> dict[str, np.ndarray]:
    """Worst cases, and how many positions are missing; ``unseen`` (N, P, J): hidden joints and those outside."""
    means, skipped = over_joints(errors), field.read("skipped") != 0
    points, known = break_points(means, over_joints(clean), coverage)
    saved, failed = _saved(field), field.read("failed")
    return {
        "maxima": joint_maxima(errors),
        "worst": worst(means),
        "worst_visible": worst(over_joints(errors, ~unseen)),
        "tail": tail_mean(means, possible=(~skipped & ~failed).sum(1)),
        "break_point": points,
        "break_known": known,
        "failed": failed.sum(1),
        "skipped": skipped.sum(1),
        "saved": saved.sum(1),
        "clean_failed": field.read("clean_failed"),
    }


def _stage_rows(field: Field, common: np.ndarray, hidden: np.ndarray, outside: np.ndarray) -> dict[str, np.ndarray]:
    """Each stage's mean over pairs of a position and a joint inside the crop."""
    inside = common[:, None] & ~outside[:, None] & np.ones_like(hidden)
    masks = {"all": inside, "hidden": inside & hidden, "visible": inside & ~hidden}
    return {
        f"stage/{stage}/{state}": Mean.over(field.stage(stage), (1, 2), where).values
        for stage in field.about.stages
        for state, where in masks.items()
    }


def _map_sums(field: Field, errors: np.ndarray, clean: np.ndarray) -> dict[str, Mean]:
    """Both maps and the mean figures that they lie on."""
    above = excess(errors, clean)
    all_and_each, above = (np.concatenate([over_joints(values)[..., None], values], axis=-1) for values in (errors, above))
    boxes, joints = field.read("person_boxes").astype(np.float64), field.read("joints2d").astype(np.float64)
    size = boxes[:, 2:] - boxes[:, :2]  # N 2
    size = np.where((size > 0).all(1, keepdims=True), size, np.nan)
    placed, patch = (joints - boxes[:, None, :2]) / size[:, None], patches(field.about)
    bones, margin = bones_of(field.about), BODY_GRID.margin
    return {
        "map": position_map(all_and_each),
        "map_excess": position_map(above),
        "body": body_map(all_and_each, patch, boxes, BODY_GRID),
        "body_excess": body_map(above, patch, boxes, BODY_GRID),
        "joints2d": Mean.over(joints, 0),
        "body_joints2d": Mean.over(placed, 0),
        "figure": mean_figure(joints / (field.about.canvas_side or np.nan), bones),
        "body_figure": mean_figure((placed + margin) / (1 + 2 * margin), bones),
        "box": Mean.over(size, 0),
    }


def read_metrics(fields: Mapping[str, Field]) -> dict[str, list[Reading]]:
    """{metric: the reading of each field}."""
    metrics = next(iter(fields.values())).about.metrics
    return {metric: [read_metric(name, field, metric) for name, field in fields.items()] for metric in metrics}
