"""Plug-ins by name: entry points, for ours and for anybody's package alike."""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hpsbench.errors import HpsbenchError, UnknownNameError


@cache
def _points(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"hpsbench.{kind}s")}


def plugin_names(kind: str) -> list[str]:
    """The names registered for a kind: "model", "dataset" or "occluder"."""
    return sorted(_points(kind))


def load_plugin(kind: str, name: str) -> Any:
    """The object behind a name. Raises UnknownNameError, or HpsbenchError where the plug-in's module cannot be imported."""
    point = _points(kind).get(name)
    if point is None:
        raise UnknownNameError(name, kind, plugin_names(kind))
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise HpsbenchError(
            f"The {kind} '{name}' is registered as '{point.value}', but that cannot be imported: {error}. "
            "Install what it needs, or remove the package that registers it."
        ) from error
