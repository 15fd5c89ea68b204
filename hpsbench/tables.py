"""A parsed TOML table to a frozen dataclass, strictly: every key known, every field there, every value of its type."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from hpsbench.errors import ProtocolError

Record = TypeVar("Record")
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def read_table(kind: type[Record], table: Any, where: str) -> Record:
    """The dataclass ``kind`` filled from ``table``; ``where`` names the table in messages.

    Fields are str, int, float (finite; a whole number will do), bool, Literal words, tuples of these or a nested dataclass; a field
    with a default may be left out, and one of a type ``| None`` is of that type where it is there. Raises ProtocolError, which names
    the key; what a ``__post_init__`` refuses by ValueError too.
    """
    if not isinstance(table, Mapping):
        raise ProtocolError(f"{where}: {table!r} found, but a table of keys was expected.")
    known = [field.name for field in fields(kind)]
    for key in table:
        if key not in known:
            raise ProtocolError(f"{where}: unknown key '{key}'.{_guess(key, known)} Known: {', '.join(known)}. Correct it or take it out.")
    missing = [field.name for field in fields(kind) if field.name not in table and field.default is MISSING]
    if missing:
        raise ProtocolError(f"{where}: no value for {', '.join(missing)}. A protocol says everything that decides a number: add it.")
    hints = get_type_hints(kind)
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in table.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ProtocolError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) is UnionType:
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    if is_dataclass(hint):
        return read_table(hint, value, where)
    if get_origin(hint) is Literal:
        return _word(get_args(hint), value, where)
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, where)
    fits = isinstance(value, (int, float) if hint is float else hint) and isinstance(value, bool) == (hint is bool)
    if not fits or (hint is float and not math.isfinite(value)):
        raise ProtocolError(f"{where}: {value!r} found, but {_WORDS[hint]} was expected.")
    return hint(value)


def _word(words: tuple[str, ...], value: Any, where: str) -> str:
    if value not in words:
        raise ProtocolError(f"{where}: {value!r} found, but one of {', '.join(words)} was expected.{_guess(str(value), words)}")
    return value


def _tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ProtocolError(f"{where}: {value!r} found, but a list was expected.")
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise ProtocolError(f"{where}: {len(value)} values found, but {len(hints)} were expected.")
    return tuple(_value(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True)))


def _guess(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def plain(record: Any) -> Any:
    """A dataclass as the plain dicts, lists and numbers that JSON holds."""
    if is_dataclass(record):
        return {field.name: plain(getattr(record, field.name)) for field in fields(record)}
    if isinstance(record, tuple | list):
        return [plain(item) for item in record]
    return record
