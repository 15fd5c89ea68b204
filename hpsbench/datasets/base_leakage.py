"""Which of a model's training data hold people or takes of the data that it is tested on."""

from collections.abc import Iterable

from hpsbench.errors import HpsbenchError
from hpsbench.registry import load_plugin

# Other names that cards give the datasets.
_SYNONYMS = {
    "3doh50k": "3doh",
    "human3.6m": "h36m",
    "human36m": "h36m",
    "mpi-inf-3dhp": "3dhp",
    "mpi_inf_3dhp": "3dhp",
    "3dpw-occ": "3dpw/occ",
    "3dpw-pc": "3dpw/pc",
    "3dpw-crowd": "3dpw/crowd",
}


def leaking(trained_on: Iterable[str], tested_on: str) -> tuple[str, ...]:
    """Those entries of a Card's ``trained_on`` that share people or takes with ``tested_on`` ("3dpw/occ": a dataset, a split or subset).

    All forms of one dataset are one, and so are the names in use for it; case does not matter. An entry that names no split, or one that
    its dataset does not have, may hold anything of it, and counts. A dataset that is none of the registered ones shares with itself alone.
    Of 3DPW the takes are compared, of Human3.6M and MPI-INF-3DHP the subjects, of others the splits (``Dataset.holds``).
    """
    family, tested = _held(tested_on)
    found = []
    for entry in trained_on:
        other, seen = _held(entry)
        if other == family and (tested is None or seen is None or tested & seen):
            found.append(entry)
    return tuple(found)


def _held(name: str) -> tuple[str, frozenset[str] | None]:
    """(family of datasets, what it holds of it: None where that may be anything)."""
    name = name.casefold().strip()
    dataset, _, split = _SYNONYMS.get(name, name).partition("/")
    dataset = _SYNONYMS.get(dataset, dataset)
    try:
        kind = load_plugin("dataset", dataset)
    except HpsbenchError:
        return dataset, frozenset([split]) if split else None
    known = {each.casefold(): each for each in (*kind.splits, *kind.subsets, "all")}
    return kind.family or kind.name, kind.holds(known[split]) if split in known else None
