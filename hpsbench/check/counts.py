"""How much of every registered dataset lies below a folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from hpsbench.check.opened import open_split, plain_rules
from hpsbench.check.seen import spread
from hpsbench.datasets.base import Dataset
from hpsbench.errors import DataError, HpsbenchError
from hpsbench.registry import load_plugin, plugin_names

HEAD = ("dataset", "split", "frame rule", "kept", "total", "sequences", "tracks", "images", "body", "joints")
_LOOKED_AT = 50


@dataclass(frozen=True)
class Found:
    """One line: what a split of a dataset holds, ``cells`` as ``HEAD`` names them, or in words (``remark``) why there is nothing."""

    dataset: str
    split: str
    cells: tuple[str, ...] = ()
    remark: str = ""

    def row(self) -> tuple[str, ...]:
        return (self.dataset, self.split, *(self.cells or (self.remark,)))


def count_datasets(root: Path) -> list[Found]:
    """A line for each split of each dataset that lies below ``root``, and one "not found" for each other dataset.

    A dataset is looked for in ``root``/NAME, for a form of another ("agora-4k", "h36m-npz") also in that one's folder, and in ``root``
    itself. Subsets that draw on several splits have lines too where all splits are there. Raises DataError where ``root`` is no folder or
    holds no dataset.
    """
    names = plugin_names("dataset")
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. Expected one that holds datasets in folders of their names: {', '.join(names)}.")
    lines = [line for name in names for line in _lines(name, root)]
    if not any(line.split for line in lines):
        held = ", ".join(sorted(os.listdir(root))[:8]) or "nothing"
        raise DataError(
            f"{root} holds no dataset, but {held}. Expected datasets in folders of their names ({', '.join(names)}), or the folder of one "
            "dataset; `hpsbench check data --dataset NAME DIR` says what is missing in it."
        )
    return lines


def _lines(name: str, root: Path) -> list[Found]:
    try:
        kind = load_plugin("dataset", name)
    except HpsbenchError as error:
        return [Found(name, "", remark=str(error))]
    for folder in dict.fromkeys((root / name, root / name.partition("-")[0], root)):
        splits = _splits_in(kind, folder)
        if splits:
            subsets = kind.subsets if set(splits) == set(kind.splits) else ()
            return [_line(kind, folder, split) for split in (*splits, *subsets)]
    return [Found(name, "", remark="not found")]


def _splits_in(kind: type[Dataset], folder: Path) -> tuple[str, ...]:
    try:
        return kind.splits_in(folder) if folder.is_dir() else ()
    except HpsbenchError:
        return ()


def _line(kind: type[Dataset], folder: Path, split: str) -> Found:
    try:
        dataset = open_split(kind, folder, split, None)
    except HpsbenchError as error:
        return Found(kind.name, split, remark=f"does not open: {str(error).partition('. ')[0]}")
    some = [dataset[i].truth for i in spread(len(dataset), _LOOKED_AT)]
    body = any(truth.rotvecs is not None and truth.betas is not None for truth in some)
    joints = next((truth.skeleton for truth in some if truth.valid.any()), "-")
    tracks = dataset.track_lengths
    numbers = (dataset.counts.kept, dataset.counts.total, len(_sequences(dataset)), len(tracks), len(dataset.frames()))
    cells = (plain_rules(kind)["frames"], *(f"{number:,}" for number in numbers), "smpl" if body else "-", joints)
    return Found(kind.name, split, cells)


def _sequences(dataset: Dataset) -> set[str]:
    """Their names: an id is dataset/split/sequence/frame/person."""
    return {name.rsplit("/", 2)[0] for name in dataset.ids}


def table(lines: list[Found]) -> str:
    """The lines as text in columns, numbers to the right."""
    rows = [HEAD, *(line.row() for line in lines)]
    widths = [max((len(row[k]) for row in rows if len(row) == len(HEAD) or k < 2), default=0) for k in range(len(HEAD))]
    return "\n".join(_joined(row, widths) for row in rows)


def _joined(row: tuple[str, ...], widths: list[int]) -> str:
    right = set(range(3, 8)) if len(row) == len(HEAD) else set()
    cells = (cell.rjust(width) if k in right else cell.ljust(width) for k, (cell, width) in enumerate(zip(row, widths, strict=False)))
    return "  ".join(cells).rstrip()
