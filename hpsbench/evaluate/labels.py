"""What a dataset tells of its samples beside their truth, and a case of how they were hidden: the labels that rows are grouped by."""

from collections.abc import Mapping

import numpy as np

from hpsbench.datasets.base import Dataset
from hpsbench.errors import DataError
from hpsbench.evaluate.rows import Rows
from hpsbench.occluders.base import choice_of
from hpsbench.protocol import ScoreRule

# Kinds of label, and the attribute of a dataset that holds one for each sample, in order. A sequence is told by every track's name.
_ATTRIBUTES = {"action": "actions", "activity": "activities", "scene": "scenes"}
_SEQUENCE = "sequence"
# Kinds of row that need no label of people.
_UNLABELLED_KINDS = ("joint", "worst", "onset")
# Kinds that the cases of a protocol tell.
OF_CASES = ("level", "on", "angle", "part", "position", "draw")
UNLABELLED = "none"


def kinds_of(rule: ScoreRule) -> tuple[str, ...]:
    """The kinds of label that a score rule needs."""
    kinds = [kind for kind in rule.by if kind not in _UNLABELLED_KINDS]
    return tuple(dict.fromkeys([*kinds, "action"] if rule.averaging == "actions" else kinds))


def labels_of(dataset: Dataset, rule: ScoreRule) -> dict[str, Mapping[str, str]]:
    """{kind: {sample id: label}} of the kinds that a dataset itself has to tell; "none" for a sample that has no label.

    Raises DataError where the dataset does not tell a kind that the rule needs.
    """
    found: dict[str, Mapping[str, str]] = {}
    for kind in kinds_of(rule):
        if kind == _SEQUENCE or kind in OF_CASES:
            continue
        labels = getattr(dataset, _ATTRIBUTES[kind], None)
        if labels is None:
            raise DataError(
                f"The protocol groups people by {kind}, but the dataset '{dataset.name}' tells none. Expected an attribute "
                f"'{_ATTRIBUTES[kind]}' with a name for each sample: take a dataset that has it, or a protocol without '{kind}'."
            )
        found[kind] = {name: label or UNLABELLED for name, label in zip(dataset.ids, labels, strict=True)}
    return found


def label_rows(rows: Rows, labels: Mapping[str, Mapping[str, str]], rule: ScoreRule) -> Rows:
    """The columns "labels/<kind>" (N,) of text for ``rows``; a sequence is what stands before the person in a track's name."""
    answer = {}
    for kind in kinds_of(rule):
        if kind == _SEQUENCE:
            found = [track.split("/")[-2] if "/" in track else track for track in rows["tracks"]]
        elif kind in OF_CASES:
            found = [choice_of(case).get(kind, UNLABELLED) for case in rows.get("cases", [""] * len(rows["ids"]))]
        else:
            found = [labels[kind][name] for name in rows["ids"]]
        answer[f"labels/{kind}"] = np.array(found, dtype=object)
    return answer
