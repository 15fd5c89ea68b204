"""The error field e(person, position, joint) of a sensitivity run: one HDF5 file, read part by part, whole or not at all.

N people, P positions (the cases of the protocol, in its order), J scored joints. Errors are mm; NaN: not measured (a failed answer, a case
that is not possible, a position that a refined run did not visit). In the file:

    ids tracks (N,) text, frames (N,)           who; sorted by id
    cases (P,) text                             "position=0-3", "level=1,on=neck,angle=0"
    boxes (P, 4), centres (P, 2)                of grids: the patch xyxy and its centre, px of the canvas; NaN for others
    squares (N, 4)                              the canvas on the image, px of the image
    person_boxes (N, 4), joints2d (N, J, 2)     the person's box and the scored joints, px of the canvas
    error/<metric> (N, P, J)                    mm, of the occluded crop
    clean/<metric> (N, J)                       mm, of the crop as it is
    hidden (N, P, J), outside (N, J)            scored joints under the patch; those beyond the image or the canvas anyway
    coverage (N, P)                             share of the person's box that is covered
    failed (N, P), clean_failed (N,)            no valid answer
    skipped (N, P)                              0, or k: not possible, for the reason k - 1 of the attribute skip_reasons
    visited (N, P)                              whether the model was asked: not where a case is not possible or --refine saved the pass
    confidence (N, P, J), clean_confidence      of models that give them for joints that are scored
    stage/<stage> (N, P, J)                     mm, of models with stages
    attributes                                  format, about (JSON), identity (JSON), skip_reasons (JSON), largest_mm, dtype

Errors are float16, whose steps are at most 0.5 mm, where every one is below 1024 mm, else float32 all of them. The parts of a run that goes
on, and shards, are files of the same kind, always float32, so that what is joined of them is rounded once.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpsbench.errors import ResultError
from hpsbench.store import check_same_run, sha256_of_bytes, whole_file, write_text

FORMAT = "hpsbench field 1"
NAME = "field.h5"
Rows = dict[str, np.ndarray]

# Below it float16 has steps of at most 0.5 mm.
_FLOAT16_MM = 1024.0
# Values of one person and position range in a chunk: some 64 KiB, of whole people.
_CHUNK_VALUES = 32768
_TEXT = ("ids", "tracks")
_MM = ("error/", "clean/", "stage/")
_OF_A_SHARD = ("shard", "samples_sha256")


@dataclass(frozen=True)
class FieldAbout:
    """What all people of a field share.

    ``boxes``: of grids the patch (x0, y0, x1, y1) of each case, px of a canvas of ``canvas_side``; () for others. ``regressor``: the
    skeleton that the scored ``joints`` are of.
    """

    cases: tuple[str, ...]
    joints: tuple[str, ...]
    regressor: str
    metrics: tuple[str, ...]
    model: str
    protocol_id: str
    protocol_sha256: str
    canvas_side: float = 0.0
    grid_rows: int = 0
    grid_columns: int = 0
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    stages: tuple[str, ...] = ()

    def __post_init__(self):
        if self.boxes and len(self.boxes) != len(self.cases):
            raise ValueError(f"boxes: expected one for each of {len(self.cases)} cases, but got {len(self.boxes)}")
        if self.grid_rows * self.grid_columns not in (0, len(self.cases)):
            raise ValueError(f"a grid of {self.grid_rows} x {self.grid_columns} does not hold {len(self.cases)} cases")

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Of each array but the optional ones what a person has of it: shape and dtype."""
        positions, joints = len(self.cases), len(self.joints)
        field = {f"error/{key}": ((positions, joints), "f4") for key in self.metrics}
        field |= {f"clean/{key}": ((joints,), "f4") for key in self.metrics}
        field |= {f"stage/{key}": ((positions, joints), "f4") for key in self.stages}
        return field | {
            "frames": ((), "i8"),
            "squares": ((4,), "f4"),
            "person_boxes": ((4,), "f4"),
            "joints2d": ((joints, 2), "f4"),
            "hidden": ((positions, joints), "?"),
            "outside": ((joints,), "?"),
            "coverage": ((positions,), "f4"),
            "failed": ((positions,), "?"),
            "clean_failed": ((), "?"),
            "skipped": ((positions,), "i2"),
            "visited": ((positions,), "?"),
        }

    @property
    def optional(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """The arrays that not every model gives."""
        positions, joints = len(self.cases), len(self.joints)
        return {"confidence": ((positions, joints), "f2"), "clean_confidence": ((joints,), "f2")}


@dataclass(frozen=True)
class Field:
    """Some or all people of a field file. The arrays of people are read when asked for, those of ``start`` to ``stop`` alone."""

    path: Path
    about: FieldAbout
    identity: Mapping[str, Any]
    skip_reasons: tuple[str, ...]
    largest_mm: float
    dtype: str
    names: frozenset[str]
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def blocks(self, people: int = 64) -> Iterator["Field"]:
        """The field part by part, at most so many people each, in order."""
        for start in range(self.start, self.stop, people):
            yield replace(self, start=start, stop=min(start + people, self.stop))

    def read(self, name: str) -> np.ndarray:
        """An array of these people as it stands in the file; text as str objects. Raises ResultError where there is none of that name."""
        if name not in self.names:
            raise ResultError(f"{self.path} holds no '{name}'. It holds: {', '.join(sorted(self.names))}.")
        with h5py.File(self.path, "r") as file:
            found = file[name][self.start : self.stop]
        return np.array([text.decode() for text in found], dtype=object) if name in _TEXT else found

    def error(self, metric: str) -> np.ndarray:
        """(N, P, J) float64 mm."""
        return self.read(f"error/{metric}").astype(np.float64)

    def clean(self, metric: str) -> np.ndarray:
        """(N, J) float64 mm, of the crops as they are."""
        return self.read(f"clean/{metric}").astype(np.float64)

    def stage(self, name: str) -> np.ndarray:
        """(N, P, J) float64 mm of a model's stage, one of ``about.stages``."""
        return self.read(f"stage/{name}").astype(np.float64)

    @property
    def ids(self) -> np.ndarray:
        """(N,) text."""
        return self.read("ids")

    @property
    def hidden(self) -> np.ndarray:
        """(N, P, J) bool: scored joints under the patch."""
        return self.read("hidden")

    @property
    def outside(self) -> np.ndarray:
        """(N, J) bool: scored joints beyond the image or the canvas."""
        return self.read("outside")

    @property
    def confidence(self) -> np.ndarray | None:
        """(N, P, J) float64; None where the model gives none."""
        return self.read("confidence").astype(np.float64) if "confidence" in self.names else None

    @property
    def clean_confidence(self) -> np.ndarray | None:
        """(N, J) float64; None where the model gives none."""
        return self.read("clean_confidence").astype(np.float64) if "clean_confidence" in self.names else None

    @property
    def boxes(self) -> np.ndarray:
        """(P, 4) px of the canvas; NaN where the patch's place depends on the person."""
        return _boxes_of(self.about)

    @property
    def centres(self) -> np.ndarray:
        """(P, 2) px of the canvas; NaN where the patch's place depends on the person."""
        return _centres_of(self.about)


def _boxes_of(about: FieldAbout) -> np.ndarray:
    return np.array(about.boxes, dtype=np.float64) if about.boxes else np.full((len(about.cases), 4), np.nan)


def _centres_of(about: FieldAbout) -> np.ndarray:
    boxes = _boxes_of(about)
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def read_field(path: Path | str) -> Field:
    """The field of a file, or of the folder that holds it; nothing of the people is read yet. Raises ResultError."""
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    if not path.is_file():
        raise ResultError(f"There is no error field {path}. Expected what `hpsbench sensitivity` writes; run it, or let it end.")
    try:
        with h5py.File(path, "r") as file:
            return _opened(path, file)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ResultError(f"{path} is no error field, or a broken one: {error}. Run `hpsbench sensitivity` again.") from error


def _opened(path: Path, file: h5py.File) -> Field:
    found = file.attrs["format"]
    if found != FORMAT:
        raise ResultError(f"{path} is of format '{found}', but this version reads '{FORMAT}'. Run `hpsbench sensitivity` again.")
    about = FieldAbout(**{key: _tuples(value) for key, value in json.loads(file.attrs["about"]).items()})
    names: set[str] = set()
    file.visititems(lambda name, node: names.add(name) if isinstance(node, h5py.Dataset) else None)
    people = names - {"cases", "boxes", "centres"}
    identity, reasons = json.loads(file.attrs["identity"]), tuple(json.loads(file.attrs["skip_reasons"]))
    largest, dtype = float(file.attrs["largest_mm"]), str(file.attrs["dtype"])
    return Field(path, about, identity, reasons, largest, dtype, frozenset(people), 0, len(file["ids"]))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


class FieldWriter:
    """The folder of one field: people are added as they are done, a run that was killed goes on, and ``field.h5`` appears when all are.

    ``identity`` (plain JSON, ``run.json``) is what decides the numbers; a folder of another identity is refused. ``identity["shard"]``:
    (index, number). Raises ResultError.
    """

    def __init__(self, folder: Path | str, about: FieldAbout, identity: Mapping[str, Any], *, resume: bool = True):
        self.folder, self.about, self.identity = Path(folder), about, json.loads(json.dumps(identity))
        self.parts = self.folder / "parts"
        if not resume:
            shutil.rmtree(self.parts, ignore_errors=True)
            for name in (NAME, "run.json", "result.json"):
                (self.folder / name).unlink(missing_ok=True)
        self._check()

    def _check(self) -> None:
        path = self.folder / "run.json"
        if not path.is_file():
            if any((self.folder / name).exists() for name in (NAME, "result.json", "manifest.json")):
                raise ResultError(f"{self.folder} holds something else (no run.json). Choose another folder.")
            return
        check_same_run(path, self.identity)

    def finished(self) -> Field | None:
        """The field, if this run ended here before."""
        return read_field(self.folder) if (self.folder / NAME).is_file() else None

    def done(self) -> set[str]:
        """The ids of people who are kept for good."""
        return {name for part in self._fields() for name in part.ids.tolist()}

    def _fields(self) -> list[Field]:
        return [read_field(path) for path in sorted(self.parts.glob("part-*.h5"))]

    def sign(self) -> None:
        """Make the folder this run's own."""
        if not (self.folder / "run.json").is_file():
            write_text(self.folder / "run.json", json.dumps(self.identity, indent=1, sort_keys=True) + "\n")

    def add(self, rows: Rows, skip_reasons: Sequence[str] = ()) -> None:
        """Keep some people for good: "ids", "tracks" and every array of ``about.shapes``, and what there is of ``about.optional``.

        Raises ValueError where an array is missing or mis-shaped.
        """
        self.sign()
        _check_rows(rows, self.about)
        path = self.parts / f"part-{len(list(self.parts.glob('part-*.h5'))):06d}.h5"
        attrs = {"identity": self.identity, "skip_reasons": list(skip_reasons), "largest_mm": _largest(rows), "dtype": "float32"}
        with _created(path, self.about, rows, len(rows["ids"]), attrs) as file:
            _put(file, rows, 0)

    def finish(self, ids: Sequence[str], *, exact: bool = False) -> Field:
        """The whole field of the people ``ids``, sorted; then the parts are dropped. ``exact``: errors stay float32.

        A shard's do in any case. Raises ResultError where the people added are not these.
        """
        parts = self._fields()
        exact = exact or tuple(self.identity.get("shard", (0, 1)))[1] > 1
        field = _joined(parts, self.folder / NAME, ids, self.identity, exact=exact)
        shutil.rmtree(self.parts, ignore_errors=True)
        return field


def merge_fields(folders: Sequence[Path | str], out: Path | str, *, exact: bool = False) -> Field:
    """The field whose shards lie in ``folders``, the same as that of one run, and ``run.json``, in ``out``.

    Raises ResultError where they are of different runs, or a shard is missing or there twice.
    """
    fields = [read_field(folder) for folder in folders]
    if not fields:
        raise ResultError("No shard to merge: expected the folders of all shards of one run.")
    first = fields[0]
    for field in fields:
        keys = first.identity.keys() | field.identity.keys()
        other = sorted(key for key in keys if key not in _OF_A_SHARD and field.identity.get(key) != first.identity.get(key))
        if other or field.about != first.about:
            raise ResultError(f"{field.path} and {first.path} belong to different runs (they differ in {', '.join(other) or 'about'}).")
    number, found = first.identity["shard"][1], sorted(field.identity["shard"][0] for field in fields)
    if found != list(range(number)):
        raise ResultError(f"Expected each of {number} shards once, but got {[index + 1 for index in found]}. Run those that are missing.")
    ids = sorted(name for field in fields for name in field.ids.tolist())
    whole = {"shard": [0, 1], "samples_sha256": sha256_of_bytes("\n".join(ids).encode())}
    identity = {**first.identity, **{key: value for key, value in whole.items() if key in first.identity}}
    writer = FieldWriter(out, first.about, identity)
    writer.sign()
    return _joined(fields, writer.folder / NAME, ids, identity, exact=exact)


def _joined(parts: Sequence[Field], path: Path, ids: Sequence[str], identity: Mapping[str, Any], *, exact: bool) -> Field:
    """The people of all parts in one file, sorted by id, some at a time, so that no order of work shows and memory does not grow."""
    places = _places(parts, ids, path)
    reasons = sorted({reason for part in parts for reason in part.skip_reasons})
    largest = max(part.largest_mm for part in parts)
    dtype = "float32" if exact or not largest < _FLOAT16_MM else "float16"
    about = parts[0].about
    attrs = {"identity": identity, "skip_reasons": reasons, "largest_mm": largest, "dtype": dtype}
    with _created(path, about, parts[0].names, len(places), attrs) as file:
        step = _people_in_chunk(about)
        for start in range(0, len(places), step):
            _put(file, _gathered(parts, places[start : start + step], reasons), start)
    return read_field(path)


def _places(parts: Sequence[Field], ids: Sequence[str], path: Path) -> list[tuple[int, int]]:
    """(part, row) of each id, sorted by id."""
    found: dict[str, tuple[int, int]] = {}
    count = 0
    for place, part in enumerate(parts):
        for row, name in enumerate(part.ids.tolist()):
            found[name] = (place, row)
            count += 1
    if count != len(found) or found.keys() != set(ids):
        missing = len(set(ids) - found.keys())
        raise ResultError(
            f"{path.parent}: of {len(set(ids))} people {missing} have no row, {count - len(found)} have several, and "
            f"{len(found.keys() - set(ids))} rows are of others; expected one each. Did two runs write here? Start over with --restart."
        )
    if any(part.names != parts[0].names for part in parts):
        raise ResultError(f"{path.parent}: the model gave other things to some people than to others. Start over with --restart.")
    return [found[name] for name in sorted(found)]


def _gathered(parts: Sequence[Field], places: Sequence[tuple[int, int]], reasons: Sequence[str]) -> Rows:
    """The rows at some places, in their order."""
    pieces, order = [], []
    for part in sorted({part for part, _ in places}):
        wanted = sorted((row, k) for k, (own, row) in enumerate(places) if own == part)
        rows = _some_rows(parts[part], [row for row, _ in wanted])
        codes = np.array([0, *(1 + reasons.index(reason) for reason in parts[part].skip_reasons)], dtype=np.int16)
        pieces.append(rows | {"skipped": codes[rows["skipped"]]})
        order += [k for _, k in wanted]
    back = np.argsort(order)
    return {name: np.concatenate([piece[name] for piece in pieces])[back] for name in pieces[0]}


def _some_rows(part: Field, rows: Sequence[int]) -> Rows:
    with h5py.File(part.path, "r") as file:
        return {name: file[name][rows] for name in part.names}


def _check_rows(rows: Rows, about: FieldAbout) -> None:
    count = len(rows["ids"])
    wanted = {name: (count, *shape) for name, (shape, _) in about.shapes.items()} | {"tracks": (count,)}
    optional = {name: (count, *shape) for name, (shape, _) in about.optional.items() if name in rows}
    for name, shape in (wanted | optional).items():
        if name not in rows or rows[name].shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, but got {rows[name].shape if name in rows else 'nothing'}")
    unknown = rows.keys() - wanted.keys() - optional.keys() - {"ids"}
    if unknown:
        raise ValueError(f"expected no {', '.join(sorted(unknown))}")


def _largest(rows: Rows) -> float:
    """The largest finite error in mm, 0 where nothing is measured."""
    tables = [table[np.isfinite(table)] for name, table in rows.items() if name.startswith(_MM)]
    return max((float(table.max()) for table in tables if table.size), default=0.0)


def _people_in_chunk(about: FieldAbout) -> int:
    return max(1, _CHUNK_VALUES // (len(about.cases) * len(about.joints)))


@contextmanager
def _created(path: Path, about: FieldAbout, names: Iterable[str], count: int, attrs: Mapping[str, Any]) -> Iterator[h5py.File]:
    """A field file of ``count`` people to be filled with the arrays ``names``; it takes its name when the block has ended well.

    ``attrs``: "identity", "skip_reasons", "largest_mm" and "dtype".
    """
    with whole_file(path, "w+b") as stream, h5py.File(stream, "w") as file:
        file.attrs["format"], file.attrs["about"] = FORMAT, json.dumps(asdict(about), sort_keys=True)
        for key, value in attrs.items():
            file.attrs[key] = value if isinstance(value, str | float) else json.dumps(value, sort_keys=True)
        file.create_dataset("cases", data=np.array(about.cases, dtype=object), dtype=h5py.string_dtype())
        file.create_dataset("boxes", data=_boxes_of(about).astype("f4"))
        file.create_dataset("centres", data=_centres_of(about).astype("f4"))
        people = min(count, _people_in_chunk(about))
        for name in sorted(names):
            if name in _TEXT:
                file.create_dataset(name, (count,), dtype=h5py.string_dtype())
                continue
            shape, kind = (about.shapes | about.optional)[name]
            kind = "f2" if name.startswith(_MM) and attrs["dtype"] == "float16" else kind
            how = {"chunks": (people, *shape), "compression": "gzip", "compression_opts": 4, "shuffle": True}
            file.create_dataset(name, (count, *shape), dtype=kind, **how)
        yield file


def _put(file: h5py.File, rows: Rows, start: int) -> None:
    for name, array in rows.items():
        file[name][start : start + len(array)] = array


def is_field_folder(folder: Path | str) -> bool:
    """Whether a folder is that of a sensitivity run."""
    return (Path(folder) / NAME).is_file()
