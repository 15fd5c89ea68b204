"""What a model was shown: what a file of predictions says of it, and whether a protocol shows the same.

``hpsbench predict`` writes into its file which views were answered: the part of a protocol that decides them (``views_of``), the data's
fingerprint, and the square of the image about each person. A file that says nothing of it is taken as it is.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.errors import PredictionError

# A hundredth of a crop's side: boxes are kept in float32, and no rule of boxes differs from another by so little.
_SAME_SQUARE = 0.01


def views_of(content: Mapping[str, Any], family: str, body: str) -> dict[str, Any]:
    """The part of a protocol's content that decides what a model is shown, and how it is asked.

    ``family`` is the data's, whose forms show the same images. Without occluders a view is a person and a box; with them it depends on
    the draws too, these on which frames of a track are kept and, where silhouettes are measured, on the bodies: ``body`` is their
    fingerprint then, and "" otherwise. Which joints are scored, and how, is no part of it.
    """
    data = content["data"]
    views = {"dataset": family, "bbox": data["bbox"], "bbox_scale": data["bbox_scale"], "flips": content["score"].get("flips", "own")}
    views |= {"occluders": content["occluders"], "body": body}
    if content["occluders"]:
        views |= {"split": data["split"], "frames": data["frames"], "seed": content["seed"], "seeding": content["seeding"]}
    return views


def check_same_views(path: Path, about: Mapping[str, Any], protocol_id: str, views: Mapping[str, Any], data: tuple[str, str]) -> None:
    """Raises PredictionError where the views that a file says of itself are not those of a protocol.

    ``about`` are the attributes of the file; ``data`` the (split, fingerprint) that the protocol is measured on: within one split a file is
    of the same annotations, across splits the ids and boxes of the people tell.
    """
    made = json.loads(about["views"])
    different = [
        f"{key}: there {_said(key, made.get(key))}, now {_said(key, views.get(key))}"
        for key in made.keys() & views.keys()
        if made.get(key) != views.get(key)
    ]
    if not different and about.get("split") == data[0] and about.get("fingerprint") != data[1]:
        different = [f"the data's fingerprint: there {about['fingerprint'][:12]}, now {data[1][:12]}"]
    if different:
        raise PredictionError(
            f"{path} holds answers to the views of protocol '{about.get('protocol')}', and '{protocol_id}' shows others "
            f"({'; '.join(sorted(different))}). Run `hpsbench predict --protocol {protocol_id.rpartition('.')[0]}` and score its file, or "
            "take a protocol of the views that were answered."
        )


def _said(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(rule["kind"] for rule in value) or "none"
    return str(value)[:12] if key == "body" else str(value)


def check_squares(path: Path, ids: Sequence[str], box_scale: float, answered: np.ndarray, shown: np.ndarray) -> None:
    """Raises PredictionError for a person whose square of the file, ``answered`` (n, 4) xyxy px, is not that of the protocol's view.

    ``shown`` (n, 4) are the squares about the boxes; a model's own margin, ``box_scale``, makes its squares larger, unless a window cuts
    the view, which everybody sees as it is. Rows with NaN say nothing.
    """
    centre, half = (shown[:, :2] + shown[:, 2:]) / 2, (shown[:, 2:] - shown[:, :2]) / 2
    grown = np.concatenate([centre - half * box_scale, centre + half * box_scale], axis=1)
    off = np.minimum(np.abs(answered - shown).max(1), np.abs(answered - grown).max(1))
    wrong = np.flatnonzero(off > _SAME_SQUARE * 2 * half.max(1))
    if len(wrong):
        first = wrong[0]
        raise PredictionError(
            f"{path} holds an answer to another view of '{ids[first]}': its model was shown the square {_rounded(answered[first])}, and "
            f"the protocol's is {_rounded(grown[first])} ({len(wrong)} of {len(ids)} people of this batch differ). Run `hpsbench predict` "
            "under this protocol, on this data."
        )


def _rounded(square: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in square) + ") px"
