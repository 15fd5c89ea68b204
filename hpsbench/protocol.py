"""What is measured: one TOML file to one checked, hashed ``Protocol``. Nothing beside it decides a number.

A file may name another one by ``base``: it then starts from that file's content and overrides it key by key, table by table;
lists (the metrics, the occluders) are replaced whole. A table [occluders.KIND] changes single numbers of the base's occluder of that kind,
and KIND = false takes it away; refine = false does so with the table of that name.
A name "PROTOCOL@OTHER" is a protocol on another one's data: its people are those that OTHER measures on.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, Literal

from hpsbench.errors import ProtocolError, UnknownNameError
from hpsbench.metrics import METRICS
from hpsbench.occluders.base import occluder
from hpsbench.skeleton import joint_index, joint_names, subset
from hpsbench.store import sha256_of_bytes
from hpsbench.tables import plain, read_table

_TEXT_KEYS = ("what", "source")
_NOT_CONTENT = (*_TEXT_KEYS, "occluders", "refine")


@dataclass(frozen=True)
class DataRule:
    """Which samples: a dataset's name, its split, a frame rule and a box rule by name; boxes grow by ``bbox_scale``."""

    dataset: str
    split: str
    frames: str
    bbox: str
    bbox_scale: float


@dataclass(frozen=True)
class ScoreRule:
    """How errors are measured and averaged; every word is explained in protocols/3dpw-test.toml.

    Fields with a default came later: a protocol that leaves them out means what it meant before, and keeps its hash.
    """

    metrics: tuple[str, ...]
    joints: str
    regressor: str
    root: Literal["pelvis", "hips"]
    pa_fit: str
    gt_gender: Literal["gendered", "neutral"]
    pve_align: Literal["none", "root"]
    averaging: Literal["pooled", "sequences", "actions", "samples"]
    on_failure: Literal["mean-pose", "nan", "error"]
    pa_scale: Literal["fitted", "one"] = "fitted"
    gt_joints: Literal["body-if-any", "body", "annotated"] = "body-if-any"
    flips: Literal["own", "none"] = "own"
    regressor_sha256: str = ""
    accepts: tuple[str, ...] = ()
    pck_joints: tuple[str, ...] = ()
    pck_mm: float = 150.0
    pck_passes: Literal["below", "at-most"] = "below"
    auc_mm: float = 150.0
    auc_steps: int = 31
    auc_area: Literal["mean", "trapezoid"] = "mean"
    by: tuple[
        Literal["action", "activity", "scene", "sequence", "joint", "level", "on", "angle", "part", "position", "draw", "worst", "onset"],
        ...,
    ] = ()
    onset_before: int = 5
    onset_after: int = 30
    recovery_mm: float = 10.0

    def __post_init__(self):
        for metric in self.metrics:
            if metric not in METRICS:
                raise UnknownNameError(metric, "metric", METRICS)
        for joints in (self.joints, self.pa_fit):
            subset(self.regressor, joints)
        for root in ("left_hip", "right_hip") if self.root == "hips" else (self.root,):
            joint_index(self.regressor, root)
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics: expected at least one and none twice, but got {', '.join(self.metrics) or 'none'}.")
        for skeleton in self.accepts:
            joint_names(skeleton)
        for joint in self.pck_joints:
            joint_index(self.regressor, joint)
        for key in ("pck_joints", "by"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ValueError(f"{key}: expected none twice, but got {', '.join(getattr(self, key))}.")
        if self.pck_mm <= 0 or self.auc_mm <= 0 or self.auc_steps < 2:
            raise ValueError(
                f"pck_mm, auc_mm, auc_steps: expected two numbers above 0 and at least 2 steps, but got {self.pck_mm}, {self.auc_mm} and "
                f"{self.auc_steps}."
            )
        if self.onset_before < 1 or self.onset_after < 0 or self.recovery_mm <= 0:
            raise ValueError(
                f"onset_before, onset_after, recovery_mm: expected at least 1 frame, at least 0 and a number above 0, but got "
                f"{self.onset_before}, {self.onset_after} and {self.recovery_mm:g}."
            )

    @property
    def later(self) -> dict[str, Any]:
        """The fields with a default, plain, at their defaults."""
        return {field.name: plain(field.default) for field in fields(self) if field.default is not MISSING}


# What a protocol with AGORA's scores must say elsewhere: they are defined so.
_OF_AGORA = {
    "data": {"dataset": ("agora", "agora-4k"), "split": ("validation", "train", "all"), "frames": ("valid",)},
    "score": {
        "metrics": (("mpjpe", "pve"),),
        "joints": ("smpl24",),
        "regressor": ("smpl24",),
        "root": ("hips",),
        "gt_joints": ("annotated",),
        "gt_gender": ("neutral",),
        "pve_align": ("root",),
        "averaging": ("pooled",),
        "on_failure": ("nan",),
    },
}
# What differs where the fits are SMPL-X's.
_SMPLX = ("agora-smplx", "agora-smplx-4k")
_OF_AGORA_SMPLX = {
    "data": _OF_AGORA["data"] | {"dataset": _SMPLX, "frames": ("valid-bfh", "valid")},
    "score": _OF_AGORA["score"] | {"joints": ("smplx22",), "regressor": ("smplx22",), "gt_gender": ("gendered",)},
}


@dataclass(frozen=True)
class AgoraRule:
    """AGORA's own scores of people who may be missed or invented; both words are explained in protocols/agora-validation.toml."""

    literal: bool
    vertices: Literal["file", "skinning"]


@dataclass(frozen=True)
class RefineRule:
    """How `hpsbench sensitivity --refine` saves passes on a grid: which places it looks at first, and the bound that this keeps.

    First every ``coarse``-th place each way, then where the error changes or its maximum may lie, at most ``share`` of all places. Each
    person's largest error over places is then within ``bound_mm`` of that over all of them for the share ``people`` of people.
    """

    bound_mm: float
    people: float
    coarse: int
    share: float

    def __post_init__(self):
        if self.bound_mm <= 0 or not 0 < self.people <= 1 or self.coarse < 2 or not 0 < self.share < 1:
            raise ValueError(
                "bound_mm, people, coarse, share: expected a number above 0, one in (0, 1], at least 2 and one in (0, 1), but got "
                f"{self.bound_mm:g}, {self.people:g}, {self.coarse} and {self.share:g}."
            )


@dataclass(frozen=True)
class OccluderRule:
    """One occluder: its registered kind and its numbers, a frozen dataclass of that kind. They apply in the file's order."""

    kind: str
    params: Any


@dataclass(frozen=True)
class Protocol:
    """One protocol, checked. ``seeding`` "by-sample" or, where a database's order is the seed, "published".

    ``what`` and ``source`` are text for readers: the hash leaves them out. ``agora``: how AGORA's own scores are made, which then are
    the scores; None: the means of a table of errors. ``refine``: how passes may be saved; it decides nothing of a full run, and the hash
    leaves it out too.
    """

    name: str
    version: int
    what: str
    source: str
    seed: int
    seeding: Literal["by-sample", "published"]
    data: DataRule
    score: ScoreRule
    occluders: tuple[OccluderRule, ...] = ()
    agora: AgoraRule | None = None
    refine: RefineRule | None = None

    def __post_init__(self):
        if self.agora is not None:
            _check_agora(data=self.data, score=self.score)

    @property
    def id(self) -> str:
        """Name and version: "3dpw-xocc.v1"."""
        return f"{self.name}.v{self.version}"

    @property
    def needs_silhouette(self) -> bool:
        """Whether plans are made by the silhouette of the true mesh, so that bodies are needed."""
        return any(occluder(rule.kind).needs_silhouette(rule.params) for rule in self.occluders)

    @property
    def key_points(self) -> bool:
        """Whether joints are hidden from models that take joints, without a pixel: a model of images sees nothing of that."""
        return not all(occluder(rule.kind).pixels for rule in self.occluders)

    @cached_property
    def _cases(self) -> dict[str, tuple[str, ...]]:
        of_each = [occluder(rule.kind).cases(rule.params) for rule in self.occluders]
        return {",".join(filter(None, parts)): parts for parts in product(*of_each)}

    @property
    def cases(self) -> tuple[str, ...]:
        """The ways in which each person is hidden, one after the other: the cases of the occluders, combined; ("",) where there is one."""
        return tuple(self._cases)

    def case_parts(self, case: str) -> tuple[str, ...]:
        """What a case is for each occluder. Raises UnknownNameError."""
        if case not in self._cases:
            raise UnknownNameError(case, f"case of protocol '{self.id}'", self.cases)
        return self._cases[case]

    @cached_property
    def content(self) -> dict[str, Any]:
        """All that decides a number, with everything inherited written out, as plain JSON; later fields only where not at their default."""
        content = {key: value for key, value in plain(self).items() if key not in _NOT_CONTENT and value is not None}
        later = self.score.later
        content["score"] = {key: value for key, value in content["score"].items() if key not in later or value != later[key]}
        return content | {"occluders": [{"kind": rule.kind} | plain(rule.params) for rule in self.occluders]}

    @cached_property
    def sha256(self) -> str:
        """The hash of ``content``: equal where everything measured is equal, however the file was written."""
        return sha256_of_content(self.content)


def sha256_of_content(content: Mapping[str, Any]) -> str:
    """The hash of plain JSON, whatever the order of its keys."""
    return sha256_of_bytes(json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def _check_agora(**tables: DataRule | ScoreRule) -> None:
    rules = _OF_AGORA_SMPLX if tables["data"].dataset in _SMPLX else _OF_AGORA
    for table, key, expected in ((table, key, expected) for table, keys in rules.items() for key, expected in keys.items()):
        found = getattr(tables[table], key)
        if found not in expected:
            raise ValueError(
                f"{table}.{key}: {found!r} found, but {' or '.join(map(repr, expected))} was expected beside a table [agora]: AGORA's "
                "scores are defined so. Say that, or take the table out."
            )


def protocol_names() -> list[str]:
    """The names of the protocols that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in files("hpsbench.protocols_data").iterdir() if entry.name.endswith(".toml"))


def load_protocol(name_or_path: str | Path) -> Protocol:
    """The protocol of a name, of a path that ends in ".toml", or "PROTOCOL@OTHER": of the one, on the data of the other.

    Raises UnknownNameError for an unknown name, metric, skeleton or occluder; ProtocolError for a file that is missing, no
    TOML, or says too little, too much or something of the wrong type.
    """
    first, _, other = str(name_or_path).rpartition("@")
    if first and not Path(name_or_path).is_file():
        protocol, on = load_protocol(first), load_protocol(other)
        try:
            return replace(protocol, name=f"{protocol.name}@{on.name}", what=f"{protocol.what}; on the data of {on.name}", data=on.data)
        except ValueError as error:
            raise ProtocolError(f"Protocol {name_or_path}: {error}") from error
    table = _resolved(str(name_or_path), Path(), ())
    where = f"Protocol {name_or_path}"
    rules = table.pop("occluders", [])
    if table.get("refine") is False:
        del table["refine"]
    if not isinstance(rules, list):
        raise ProtocolError(f"{where}: occluders: {rules!r} found, but tables headed [[occluders]] were expected.")
    protocol = read_table(Protocol, table, where)
    if protocol.version < 1:
        raise ProtocolError(f"{where}: version: {protocol.version} found, but 1 or more was expected.")
    protocol = replace(protocol, occluders=tuple(_occluder_rule(rule, f"{where}: occluders[{i}]") for i, rule in enumerate(rules)))
    if "onset" in protocol.score.by and not any(occluder(rule.kind).tells_onset for rule in protocol.occluders):
        raise ProtocolError(
            f"{where}: score.by: 'onset' found, but no occluder whose plans tell one. Take it out, or a temporal occluder in."
        )
    return protocol


def _occluder_rule(table: Any, where: str) -> OccluderRule:
    kind = table.get("kind") if isinstance(table, Mapping) else None
    if not isinstance(kind, str):
        raise ProtocolError(f"{where}: {table!r} found, but a table with the key 'kind' was expected.")
    numbers = {key: value for key, value in table.items() if key != "kind"}
    return OccluderRule(kind, read_table(occluder(kind).Params, numbers, f"{where} ({kind})"))


def _resolved(name: str, folder: Path, above: tuple[str, ...]) -> dict[str, Any]:
    """A file's table over its base's. Name, version and text are never inherited."""
    if name in above:
        raise ProtocolError(f"Protocol {above[0]}: its bases go in a circle ({' -> '.join((*above, name))}). Break it.")
    text, folder = _text(name, folder)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"Protocol {name}: no TOML ({error}). Correct that line.") from error
    base = table.pop("base", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise ProtocolError(f"Protocol {name}: base: {base!r} found, but the name of a protocol was expected.")
    inherited = _resolved(base, folder, (*above, name))
    for key in ("name", "version", *_TEXT_KEYS):
        inherited.pop(key, None)
    changes = table.get("occluders")
    if isinstance(changes, dict):
        table["occluders"] = _changed(inherited.get("occluders", []), changes, f"Protocol {name}")
    return _over(inherited, table)


def _changed(rules: list[dict[str, Any]], changes: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The base's occluders with the numbers of some kinds changed, and without those that are set to false."""
    kinds = [rule.get("kind") for rule in rules]
    for kind, numbers in changes.items():
        if kinds.count(kind) != 1 or not (numbers is False or isinstance(numbers, dict)):
            found = ", ".join(map(str, kinds)) or "none"
            raise ProtocolError(
                f"{where}: occluders.{kind}: {numbers!r} found, but a table of changes, or false, for one of the base's occluders "
                f"({found}) was expected."
            )
    return [rule | changes.get(rule.get("kind"), {}) for rule in rules if changes.get(rule.get("kind")) is not False]


def _text(name: str, folder: Path) -> tuple[str, Path]:
    """The text of a protocol file and the folder that its own paths start from."""
    if not name.endswith(".toml"):
        if name not in protocol_names():
            raise UnknownNameError(name, "protocol", protocol_names(), "Or give the path of a .toml file.")
        return files("hpsbench.protocols_data").joinpath(f"{name}.toml").read_text(encoding="utf-8"), folder
    path = folder / name
    try:
        return path.read_text(encoding="utf-8"), path.parent
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"Protocol {path} cannot be read: {error}. Give a name or the path of a TOML file.") from error


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        out[key] = _over(below[key], value) if both else value
    return out
