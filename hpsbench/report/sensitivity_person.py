"""One person of an error field: their map, and the picture that it lies on, out of the dataset."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from hpsbench.datasets.base import Dataset, open_dataset
from hpsbench.errors import DataError, ResultError, UnknownNameError
from hpsbench.field import Field
from hpsbench.image import crop_square
from hpsbench.metrics.sensitivity import over_joints
from hpsbench.report.sensitivity import patches

_NEAR = 20


@dataclass(frozen=True)
class PersonMap:
    """One person: by metric and field the mean error over joints (P,) mm, and by joint (P, J); true joints (J, 2) px of the canvas."""

    sample_id: str
    square: np.ndarray
    joints2d: np.ndarray
    errors: Mapping[str, Mapping[str, np.ndarray]]
    by_joint: Mapping[str, Mapping[str, np.ndarray]]

    def means(self, metric: str) -> list[np.ndarray]:
        """The mean errors (P,) of each field."""
        return list(self.errors[metric].values())


def person_map(fields: Mapping[str, Field], sample_id: str) -> PersonMap:
    """A person of fields of the same people. Raises UnknownNameError, ResultError where the places depend on the person (no grid)."""
    first = next(iter(fields.values()))
    if not first.about.boxes:
        raise ResultError(f"{first.path} is of a protocol without a grid, of which there is no map. Leave out --person.")
    ids = first.ids.tolist()
    if sample_id not in ids:
        raise UnknownNameError(sample_id, f"person in {first.path}", ids[:_NEAR], f"{len(ids)} people in all." if len(ids) > _NEAR else "")
    place = ids.index(sample_id)
    rows = {name: replace(field, start=field.start + place, stop=field.start + place + 1) for name, field in fields.items()}
    by_joint = {metric: {name: row.error(metric)[0] for name, row in rows.items()} for metric in first.about.metrics}
    errors = {metric: {name: over_joints(table) for name, table in own.items()} for metric, own in by_joint.items()}
    row = rows[next(iter(rows))]
    joints2d = row.read("joints2d")[0].astype(np.float64)
    return PersonMap(sample_id, row.read("squares")[0].astype(np.float64), joints2d, errors, by_joint)


def person_picture(field: Field, data: Path | str | None, person: PersonMap, side: int = 448) -> np.ndarray:
    """The canvas of a person, (side, side, 3) RGB uint8, out of the dataset in ``data`` (None: its embedded set).

    Raises ResultError where the field's folder does not say which data it is of, DataError where that person is not in it.
    """
    dataset = _dataset_of(field, data)
    if person.sample_id not in dataset.ids:
        raise DataError(
            f"{dataset.name}/{dataset.split} has no person '{person.sample_id}', although {field.path} does. Give the folder that the "
            "field was measured on with --data."
        )
    sample = dataset[dataset.index_of(person.sample_id)]
    return crop_square(sample.view.read(), person.square, side)


def _dataset_of(field: Field, data: Path | str | None) -> Dataset:
    path = field.path.with_name("result.json")
    try:
        rule = json.loads(path.read_text(encoding="utf-8"))["protocol"]["content"]["data"]
        how = {key: rule[key] for key in ("split", "frames", "bbox", "bbox_scale")}
        name = rule["dataset"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError(
            f"{path} does not say which data the field is of ({error}). Expected what `hpsbench sensitivity` writes: run it to its end."
        ) from error
    return open_dataset(name, data, **how, bodies=None)


def person_table(field: Field, person: PersonMap) -> pd.DataFrame:
    """A row per model, metric, position and joint ("all": the mean over joints): the error in mm, empty where not measured."""
    x0, y0, x1, y1 = patches(field.about).T
    names = ("all", *field.about.joints)
    frames = []
    for metric, models in person.by_joint.items():
        for model, table in models.items():
            wide = pd.DataFrame({"case": field.about.cases, "x": (x0 + x1) / 2, "y": (y0 + y1) / 2})
            frame = wide.loc[wide.index.repeat(len(names))].reset_index(drop=True)
            frame["joint"] = np.tile(names, len(wide))
            frame["error"] = np.concatenate([person.errors[metric][model][:, None], table], axis=1).ravel()
            for place, (key, value) in enumerate({"model": model, "person": person.sample_id, "metric": metric}.items()):
                frame.insert(place, key, value)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)
