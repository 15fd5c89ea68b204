"""Files that appear whole under their final name or not at all, and hashes of what they hold."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hpsbench.errors import HpsbenchError, ResultError


@contextmanager
def whole_file(path: Path | str, mode: str = "wb", *, sync: bool = True) -> Iterator[IO[Any]]:
    """An open file beside ``path`` that takes its name only when the block has ended well.

    With ``sync`` it outlives a power cut too; without, ``sync_files`` is to be called for it. Raises HpsbenchError where the system
    refuses (no space, no permission); nothing is left behind then.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise HpsbenchError(f"Could not write {path}: {error.strerror or error}. Free some space or choose another folder.") from error
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """A hidden folder beside ``path`` that takes its name only when the block has ended well; ``path`` may be an empty folder.

    Raises HpsbenchError where ``path`` is there and is no empty folder, or the system refuses; nothing is left behind then.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise HpsbenchError(f"{path} is there already and is no empty folder. Name a new folder, or remove this one first.")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise HpsbenchError(f"Could not write {path}: {error.strerror or error}. Free some space or choose another folder.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove(path: str | None) -> None:
    if path is not None and os.path.exists(path):
        os.unlink(path)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def write_text(path: Path | str, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    with whole_file(path, "w") as stream:
        stream.write(text)


def write_bytes(path: Path | str, data: bytes, *, sync: bool = True) -> None:
    """Write bytes, whole or not at all; ``sync`` as in ``whole_file``."""
    with whole_file(path, sync=sync) as stream:
        stream.write(data)


def sync_files(paths: Iterable[Path]) -> None:
    """See to it that files written without ``sync`` outlive a power cut: in a row that takes half the time. Raises HpsbenchError."""
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise HpsbenchError(f"Could not write {path}: {error.strerror or error}. Free some space or choose another folder.") from error


def sha256_of_file(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def check_same_run(path: Path, identity: Mapping[str, Any]) -> None:
    """Raises ResultError where the file ``run.json`` at ``path`` is broken, or of a run with another ``identity`` (plain JSON)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultError(f"{path} is broken: {error}. Choose another folder, or start over with --restart.") from error
    different = sorted(key for key in identity.keys() | found.keys() if found.get(key) != identity.get(key))
    if different:
        lines = "; ".join(f"{key}: there {found.get(key)!r}, now {identity.get(key)!r}" for key in different)
        raise ResultError(f"{path.parent} belongs to another run ({lines}). Choose another folder, or start over with --restart.")
