"""Pickles that cannot run code, and torch checkpoints.

``load_pickle`` lets a pickle build nothing but plain containers and the inert records below; arrays, sparse matrices, tables and
tensors are made from those records afterwards, from parts that were checked. No class or function of numpy, scipy, chumpy, pandas
or torch is ever called by the pickle itself, and chumpy and pandas need not be installed.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from hpsbench.errors import DataError, UnsafePickleError, WeightsError
from hpsbench.safeload import frames, tensors

_DTYPE = re.compile(r"[<>=|]?([?bBhHiIlLqQefdgFDSUaO]|[biufcSUaO]\d+)")
_PYTHON = {"set": set, "frozenset": frozenset, "list": list, "dict": dict, "tuple": tuple, "complex": complex}
_CONTAINERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _PYTHON.items()},
}
# What else a pickle may name, under the module names of Python 2 and 3 and of old and new numpy and scipy.
_KINDS: dict[tuple[str, str], str] = {
    ("builtins", "object"): "object",
    ("__builtin__", "object"): "object",
    ("builtins", "bytes"): "bytes",
    ("__builtin__", "bytes"): "bytes",
    ("_codecs", "encode"): "encoded",
    ("copyreg", "_reconstructor"): "rebuilt",
    ("copy_reg", "_reconstructor"): "rebuilt",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    **{(f"{core}.multiarray", "_reconstruct"): "array" for core in ("numpy.core", "numpy._core")},
    **{(f"{core}.multiarray", "scalar"): "scalar" for core in ("numpy.core", "numpy._core")},
    **{(f"{core}.numeric", "_frombuffer"): "buffer" for core in ("numpy.core", "numpy._core")},
    **{(f"scipy.sparse.{module}", "csc_matrix"): "csc" for module in ("csc", "_csc")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): "csr" for module in ("csr", "_csr")},
    **frames.KINDS,
    **tensors.KINDS,
}
# What pickle and numpy raise on bytes that are no whole pickle.
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, ImportError),
    *(LookupError, MemoryError, OverflowError, RuntimeError),
)


class Record:
    """Something that a pickle asked for: its kind, the arguments and the state it came with, and nothing done with either."""

    kind = ""

    def __new__(cls, *args: Any) -> "Record":
        record = super().__new__(cls)
        record.args, record.state = args, {}
        return record

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *args: Any) -> "Record":
        """A record of what a partial stands for, itself only another record: pandas 1.3 writes its blocks so."""
        if self.kind != "partial" or getattr(self.args[0], "kind", "") != "block":
            raise ValueError(f"a '{self.kind}' called like a function")
        return self.args[0](*args)


class _Unpickler(pickle.Unpickler):
    """Builds containers and records; refuses everything else by name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        chumpy = f"{module}.{name}" if module.split(".")[0] == "chumpy" and name.isidentifier() else None
        kind = _KINDS.get((module, name), chumpy)
        if kind is not None:
            return type("Record", (Record,), {"kind": kind})
        raise UnsafePickleError(
            f"the pickle asks for '{module}.{name}', which is not among the things that hpsbench lets a pickle build (plain containers, "
            "numpy arrays, scipy sparse matrices, chumpy values, pandas tables, torch tensors). Nothing of it was run. Do not use this "
            "file unless you know why it holds that."
        )


def load_pickle(path: Path | str, *, encoding: str = "latin1") -> Any:
    """The plain content of a pickle of Python 2 or 3: containers, numpy arrays and scalars, scipy csc and csr matrices.

    A chumpy ``Ch`` becomes its array, a ``Select`` the selected array; another chumpy value stays an inert Record. A pandas DataFrame
    becomes a dict of its columns (rows,), row labels left out; a torch tensor, of whatever device, an array. Raises
    UnsafePickleError for a pickle that asks for anything else, DataError for one that is missing, cut off or broken.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            raw = _Unpickler(stream, encoding=encoding).load()
        return _Resolver(encoding).resolve(raw)
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path}: {error}") from None
    except OSError as error:
        raise DataError(f"Could not read {path}: {error.strerror or error}. Expected a pickle file; check the path.") from error
    except _BROKEN as error:
        raise DataError(
            f"{path} is not a whole pickle ({type(error).__name__}: {error}). It is cut off or damaged: copy or download it again."
        ) from error


class _Resolver:
    """Turns records into the arrays that they describe, keeping shared values shared."""

    def __init__(self, encoding: str):
        self.encoding = encoding
        self.done: dict[int, Any] = {}
        self.kept: list[Any] = []

    def resolve(self, value: Any) -> Any:
        if isinstance(value, (str, bytes, bytearray, int, float, complex, type(None))):
            return value
        if id(value) not in self.done:
            self.kept.append(value)
            self.done[id(value)] = self._resolve(value)
        return self.done[id(value)]

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, dict):
            result = self.done[id(value)] = type(value)()
            result.update((self.resolve(key), self.resolve(item)) for key, item in value.items())
            return result
        if isinstance(value, list):
            result = self.done[id(value)] = []
            result.extend(self.resolve(item) for item in value)
            return result
        if isinstance(value, (tuple, set, frozenset)):
            return type(value)(self.resolve(item) for item in value)
        if isinstance(value, Record):
            return self._record(value.kind, value)
        raise ValueError(f"{value!r} stands where a value was expected")

    def _record(self, kind: str, record: Record) -> Any:
        if kind.startswith("chumpy."):
            return self._chumpy(kind, record)
        if kind == "rebuilt" and issubclass(record.args[0], Record):
            return self._record(record.args[0].kind, record)
        if kind not in _MAKERS:
            raise ValueError(f"a bare '{kind}' stands where a value was expected")
        return _MAKERS[kind](self, record)

    def _bytes(self, value: Any) -> bytes:
        value = self.resolve(value)
        return value.encode(self.encoding) if isinstance(value, str) else bytes(memoryview(value))

    def _encoded(self, record: Record) -> bytes:
        text, codec = record.args
        if codec not in ("latin1", "latin-1"):
            raise ValueError(f"bytes written through the codec {codec!r}, expected latin1")
        return text.encode("latin1")

    def _dtype(self, record: Any) -> np.dtype:
        if not (isinstance(record, Record) and record.kind == "dtype" and _DTYPE.fullmatch(record.args[0])):
            raise ValueError(f"array type {getattr(record, 'args', record)!r}, expected plain numbers, text or objects")
        dtype = np.dtype(record.args[0].replace("a", "S"))
        order = record.state[1] if record.state else "|"
        return dtype if order == "|" else dtype.newbyteorder(order)

    def _array(self, record: Record) -> np.ndarray:
        _, shape, dtype, fortran, data = record.state
        dtype, order = self._dtype(dtype), "F" if fortran else "C"
        if not dtype.hasobject:
            return self._filled(data, dtype, shape, order)
        flat = np.empty(len(data), dtype=object)
        for i, item in enumerate(data):
            flat[i] = self.resolve(item)
        return flat.reshape(shape, order=order)

    def _buffer(self, record: Record) -> np.ndarray:
        data, dtype, shape, order = record.args
        return self._filled(data, self._dtype(dtype), shape, order)

    def _filled(self, data: Any, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        if min(shape, default=0) < 0:
            raise ValueError(f"array of shape {shape}")
        return np.frombuffer(self._bytes(data), dtype).reshape(shape, order=order).copy(order)

    def _scalar(self, record: Record) -> np.generic:
        dtype, data = record.args
        return np.frombuffer(self._bytes(data), self._dtype(dtype))[0]

    def _sparse(self, record: Record, make: Callable[..., Any]) -> Any:
        state = self.resolve(record.state)
        shape = state["_shape"] if "_shape" in state else state["shape"]
        matrix = make((state["data"], state["indices"], state["indptr"]), shape=tuple(int(n) for n in shape))
        matrix.check_format(full_check=True)
        return matrix

    def _chumpy(self, kind: str, record: Record) -> Any:
        state = record.state
        if kind == "chumpy.ch.Ch" and "x" in state:
            return np.asarray(self.resolve(state["x"]))
        if kind == "chumpy.reordering.Select":
            source, chosen = self.resolve(state["a"]), np.asarray(self.resolve(state["idxs"]))
            return np.asarray(source).ravel()[chosen].reshape(self.resolve(state["preferred_shape"]))
        return record


_MAKERS: dict[str, Callable[[_Resolver, Record], Any]] = {
    "bytes": lambda _, record: b"",
    "encoded": _Resolver._encoded,
    "dtype": _Resolver._dtype,
    "array": _Resolver._array,
    "buffer": _Resolver._buffer,
    "scalar": _Resolver._scalar,
    "csc": lambda self, record: self._sparse(record, scipy.sparse.csc_matrix),
    "csr": lambda self, record: self._sparse(record, scipy.sparse.csr_matrix),
    **frames.MAKERS,
    **tensors.MAKERS,
}


def load_torch(path: Path | str) -> Any:
    """The content of a torch checkpoint, on the CPU: tensors and plain containers only. Raises WeightsError."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise WeightsError(f"Could not read {path}: {error.strerror or error}. Expected a torch checkpoint; check the path.") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a checkpoint of tensors and plain containers: it is damaged, or asks for code to be run. Nothing of it "
            f"was run. Expected a state_dict saved by torch.save. torch says: {_first_line(error)}"
        ) from error
    except (*_BROKEN, OSError) as error:
        raise WeightsError(
            f"{path} is not a whole torch checkpoint ({_first_line(error)}). Expected a file written by torch.save; "
            "copy or download it again."
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
