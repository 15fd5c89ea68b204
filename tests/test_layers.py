"""The drawing of the house: which room may import which. To change the house, change this table and the design."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "hpsbench"

FLOORS = [
    {"types", "errors"},
    {"skeleton", "geometry", "image", "seeds", "registry", "safeload", "store", "tables"},
    {"body", "draw", "render"},
    {"models/nets", "models/ik"},
    {"datasets", "occluders", "models", "metrics"},
    {"protocol"},
    {"occlude"},
    {"generated", "field"},
    {"augment", "evaluate", "export", "generate", "sensitivity", "check", "report", "train", "preview", "predict"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Pairs on one floor of which the first may know the second: torch-free helpers that others are written on, and the people of an evaluation.
SIDEWAYS = {
    ("safeload", "store"),
    ("geometry", "skeleton"),
    ("predict", "evaluate"),
    ("sensitivity", "evaluate"),
}
# In these rooms the files do not import one another, but for the room's shared part: __init__, base, base_* and the bank.
PLUGIN_ROOMS = {"datasets", "occluders", "models"}


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a module path below the package: 'models/nets' for ('models', 'nets', 'resnet')."""
    return "/".join(parts[:2]) if parts[:2] in (("models", "nets"), ("models", "ik")) else parts[0]


def imports_of(path: Path) -> list[tuple[tuple[str, ...], int]]:
    """Every import of an hpsbench module in a file: (path below the package, line)."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hpsbench":
            parts = tuple(node.module.split(".")[1:])
            for alias in node.names:
                below = PACKAGE.joinpath(*parts, alias.name)
                module = below.is_dir() or below.with_suffix(".py").is_file()
                found.append(((*parts, alias.name) if module else parts, node.lineno))
        elif isinstance(node, ast.Import):
            found += [(tuple(a.name.split(".")[1:]), node.lineno) for a in node.names if a.name.startswith("hpsbench.")]
    return [(parts, line) for parts, line in found if parts]


def violations(path: Path, parts: tuple[str, ...]) -> list[str]:
    """What a file imports against the drawing, one line each."""
    room, wrong = room_of(parts), []
    for target, line in imports_of(path):
        other = room_of(target)
        if other == "__init__":
            continue
        where = f"{'/'.join(parts)}.py:{line} imports hpsbench.{'.'.join(target)}"
        if other not in FLOOR_OF:
            wrong.append(f"{where}: '{other}' stands on no floor of the table")
        elif other == room:
            wrong += _between_plugins(room, parts, target, where)
        elif FLOOR_OF[other] >= FLOOR_OF[room] and (room, other) not in SIDEWAYS:
            wrong.append(f"{where}: '{room}' is on floor {FLOOR_OF[room]}, '{other}' on {FLOOR_OF[other]}")
    return wrong


def _between_plugins(room: str, parts: tuple[str, ...], target: tuple[str, ...], where: str) -> list[str]:
    if room not in PLUGIN_ROOMS or len(target) < 2 or target[1] == parts[1]:
        return []
    if target[1] in ("__init__", "base", "bank") or target[1].startswith("base_"):
        return []
    return [f"{where}: files inside '{room}' do not import one another"]


def test_imports_go_down():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            assert room_of(parts) in FLOOR_OF, f"{path} stands on no floor"
            wrong += violations(path, parts)
    assert not wrong, "\n".join(wrong)


def test_a_wrong_import_is_named(tmp_path):
    path = tmp_path / "seeds.py"
    path.write_text("from hpsbench.body.model import BodyModel\n")
    (line,) = violations(path, ("seeds",))
    assert line == "seeds.py:1 imports hpsbench.body.model: 'seeds' is on floor 1, 'body' on 2"
