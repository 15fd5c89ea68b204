"""pandas DataFrames out of pickles as plain columns: pandas itself takes no part.

A DataFrame pickles as a BlockManager: two axes (column names, row labels) and blocks of like columns, each (columns, rows) with the
places of its columns. pandas before 1.3 keeps that in the manager's state, later ones in its arguments.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hpsbench.safeload import Record, _Resolver

# What a pickled DataFrame of numbers and Python objects may name: pandas 0.25 to 3.
KINDS: dict[tuple[str, str], str] = {
    ("builtins", "slice"): "slice",
    ("__builtin__", "slice"): "slice",
    ("pandas.core.frame", "DataFrame"): "frame",
    ("pandas", "DataFrame"): "frame",
    ("pandas.core.internals.managers", "BlockManager"): "blocks",
    ("pandas._libs.internals", "_unpickle_block"): "block",
    ("pandas.core.internals.blocks", "new_block"): "block",
    ("functools", "partial"): "partial",
    ("pandas.core.indexes.base", "_new_Index"): "index",
    ("pandas.core.indexes.base", "Index"): "index class",
    ("pandas", "Index"): "index class",
    ("pandas.core.indexes.range", "RangeIndex"): "index class",
    ("pandas", "RangeIndex"): "index class",
    ("pandas.core.indexes.numeric", "Int64Index"): "index class",
}


def _frame(resolver: "_Resolver", record: "Record") -> dict[str, np.ndarray]:
    """{column: its values (rows,)}."""
    manager = record.state.get("_mgr", record.state.get("_data"))
    if getattr(manager, "kind", "") != "blocks":
        raise ValueError("a pandas DataFrame without its blocks")
    axes, blocks = _parts(manager)
    names, rows = resolver.resolve(axes[0]), resolver.resolve(axes[1])
    blocks = [(resolver.resolve(values), resolver.resolve(places)) for values, places in blocks]
    if sum(len(values) for values, _ in blocks) != len(names):
        raise ValueError(f"a pandas DataFrame of {len(names)} columns whose blocks hold another number")
    names = np.array([str(name) for name in names], dtype=object)
    columns: dict[str, np.ndarray] = {}
    for values, places in blocks:
        chosen = names[places]
        if not isinstance(values, np.ndarray) or values.shape != (len(chosen), len(rows)):
            raise ValueError(f"a block of {len(chosen)} columns and {len(rows)} rows holds {getattr(values, 'shape', values)!r}")
        columns.update(zip(chosen, values, strict=True))
    if len(columns) != len(names):
        raise ValueError(f"a pandas DataFrame with a column name twice: {', '.join(names)}")
    return {name: columns[name] for name in names}


def _parts(manager: "Record") -> tuple[Any, list[tuple[Any, Any]]]:
    """(axes, [(values, places of the columns)]) of a block manager."""
    if isinstance(manager.state, tuple):
        state = manager.state[3]["0.14.1"]
        return state["axes"], [(block["values"], block["mgr_locs"]) for block in state["blocks"]]
    blocks, axes = manager.args
    return axes, [block.args[:2] for block in blocks]


def _index(resolver: "_Resolver", record: "Record") -> np.ndarray | range:
    """The labels of an axis."""
    state = record.args[1]
    if "data" in state:
        return np.asarray(resolver.resolve(state["data"]))
    return range(state["start"], state["stop"], state["step"])


MAKERS = {"frame": _frame, "index": _index, "slice": lambda _, record: slice(*record.args)}
