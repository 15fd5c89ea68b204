"""Sequence files as 3DPW has them: a pickle as Python 2 wrote it, which Python 3 reads only when told an encoding."""

import io
import pickle
import struct
from types import BuiltinFunctionType, FunctionType
from typing import Any, ClassVar


class _Python2Pickler(pickle._Pickler):
    """Protocol 2 with Python 2's byte strings for all text and for the buffers of arrays, and numpy's modules by their old names."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def _save_binstring(self, data: bytes, obj: Any) -> None:
        short = len(data) < 256
        self.write(
            (pickle.SHORT_BINSTRING + struct.pack("<B", len(data)) if short else pickle.BINSTRING + struct.pack("<i", len(data))) + data
        )
        self.memoize(obj)

    def save_bytes(self, obj: bytes) -> None:
        self._save_binstring(obj, obj)

    def save_str(self, obj: str) -> None:
        self._save_binstring(obj.encode("ascii"), obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode("ascii"))
        self.memoize(obj)

    dispatch[bytes] = save_bytes
    dispatch[str] = save_str
    dispatch[FunctionType] = save_global
    dispatch[BuiltinFunctionType] = save_global
    dispatch[type] = save_global


def python2_pickle(record: dict[str, Any]) -> bytes:
    """``record`` of text, numbers, lists and numpy arrays as a protocol 2 pickle in Python 2's own opcodes.

    ``pickle.loads`` refuses it without an encoding; "latin1" gives str keys, "bytes" gives bytes keys.
    """
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=2).dump(record)
    return stream.getvalue()
