"""Pickles that cannot run code, and torch checkpoints.

``load_pickle`` lets a pickle build nothing but plain containers and the inert records below; arrays and sparse matrices are made
from those records afterwards, from parts that were checked. No class or function of numpy, scipy or chumpy is ever called by
the pickle itself, and chumpy need not be installed.
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

_DTYPE = re.compile(r"[<>=|]?([?bBhHiIlLqQefdgFDSUaO]|[biufcSUaO]\d+)")
_CONTAINERS = {"set": set, "frozenset": frozenset, "list": list, "dict": dict, "tuple": tuple, "bytes": bytes, "complex": complex}


class _Sealed(type):
    """Classes that a pickle cannot write attributes on."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise UnsafePickleError(f"The pickle tries to set '{name}' on a class. Do not use this file.")


class _Record(metaclass=_Sealed):
    """Something that a pickle asked for: the arguments and the state it came with, nothing done with either."""

    def __new__(cls, *args: Any) -> "_Record":
        record = super().__new__(cls)
        record.__dict__["args"] = args
        return record

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state


class _Dtype(_Record): ...


class _Array(_Record): ...


class _Scalar(_Record): ...


class _Buffer(_Record): ...


class _Ndarray(_Record): ...


class _Encoded(_Record): ...


class _Csc(_Record): ...


class _Csr(_Record): ...


class _Object(_Record): ...


class Chumpy(_Record):
    """A chumpy value with no plain array in it: ``kind`` says which; it cannot be computed with."""

    kind = "chumpy"


class _Rebuild(metaclass=_Sealed):
    """copyreg._reconstructor for the records only."""

    def __new__(cls, wanted: type, base: type = _Object, state: object = None) -> Any:
        if not (isinstance(wanted, _Sealed) and issubclass(wanted, _Record)) or base is not _Object or state is not None:
            raise UnsafePickleError("The pickle rebuilds an object in a way that is not allowed. Do not use this file.")
        return wanted()


def _allowed() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {("collections", "OrderedDict"): OrderedDict, ("_codecs", "encode"): _Encoded}
    for module in ("builtins", "__builtin__"):
        table |= {(module, name): kind for name, kind in _CONTAINERS.items()}
        table |= {(module, "object"): _Object, (module, "bytearray"): bytearray}
    for module in ("copyreg", "copy_reg"):
        table[module, "_reconstructor"] = _Rebuild
    table |= {("numpy", "ndarray"): _Ndarray, ("numpy", "dtype"): _Dtype}
    for core in ("numpy.core", "numpy._core"):
        table |= {(f"{core}.multiarray", "_reconstruct"): _Array, (f"{core}.multiarray", "scalar"): _Scalar}
        table[f"{core}.numeric", "_frombuffer"] = _Buffer
    for letter, kind in {"c": _Csc, "r": _Csr}.items():
        for module in (f"cs{letter}", f"_cs{letter}"):
            table[f"scipy.sparse.{module}", f"cs{letter}_matrix"] = kind
    return table


class _Unpickler(pickle.Unpickler):
    """Finds what is on the list, and a record for every chumpy class; refuses everything else by name."""

    allowed = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.allowed:
            return self.allowed[module, name]
        if module.split(".")[0] == "chumpy" and name.isidentifier():
            return _Sealed(name, (Chumpy,), {"kind": f"{module}.{name}"})
        raise UnsafePickleError(
            f"The pickle asks for '{module}.{name}', which is not among the things that hpsbench lets a pickle build (plain "
            "containers, numpy arrays, scipy sparse matrices, chumpy values). Nothing of it was run. Do not use this file "
            "unless you know why it holds that."
        )


def load_pickle(path: Path | str, *, encoding: str = "latin1") -> Any:
    """The plain content of a pickle of Python 2 or 3: containers, numpy arrays and scalars, scipy csc and csr matrices.

    A chumpy ``Ch`` becomes its array, a ``Select`` the selected array; another chumpy value stays a ``Chumpy``. Raises
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


# What pickle and numpy raise on bytes that are no whole pickle.
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, ImportError),
    *(LookupError, MemoryError, OverflowError, RecursionError),
)


class _Resolver:
    """Turns records into the arrays that they describe, keeping shared values shared."""

    def __init__(self, encoding: str):
        self.encoding = encoding
        self.done: dict[int, Any] = {}
        self.kept: list[Any] = []

    def resolve(self, value: Any) -> Any:
        if isinstance(value, (str, bytes, int, float, complex, bool, type(None))):
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
        if isinstance(value, Chumpy):
            return self._chumpy(value)
        return _MAKERS[type(value)](self, value) if type(value) in _MAKERS else value

    def _bytes(self, value: Any) -> bytes:
        value = self.resolve(value)
        return value.encode(self.encoding) if isinstance(value, str) else bytes(value)

    def _encoded(self, record: _Record) -> bytes:
        text, codec = record.args
        if codec not in ("latin1", "latin-1"):
            raise ValueError(f"bytes written through the codec '{codec}', expected latin1")
        return text.encode("latin1")

    def _dtype(self, record: Any) -> np.dtype:
        if not isinstance(record, _Dtype) or not isinstance(record.args[0], str) or not _DTYPE.fullmatch(record.args[0]):
            raise ValueError(f"array type {getattr(record, 'args', record)!r}, expected plain numbers, text or objects")
        order = record.__dict__.get("state", (None, "="))[1]
        return np.dtype(record.args[0].replace("a", "S")).newbyteorder("=" if order == "|" else order)

    def _array(self, record: _Record) -> np.ndarray:
        _, shape, dtype, fortran, data = record.state
        dtype, order = self._dtype(dtype), "F" if fortran else "C"
        if not dtype.hasobject:
            return np.frombuffer(self._bytes(data), dtype).reshape(shape, order=order).copy(order)
        flat = np.empty(len(data), dtype=object)
        for i, item in enumerate(data):
            flat[i] = self.resolve(item)
        return flat.reshape(shape, order=order)

    def _buffer(self, record: _Record) -> np.ndarray:
        data, dtype, shape, order = record.args
        return np.frombuffer(bytes(data), self._dtype(dtype)).reshape(shape, order=order).copy(order)

    def _scalar(self, record: _Record) -> np.generic:
        dtype, data = record.args
        return np.frombuffer(self._bytes(data), self._dtype(dtype))[0]

    def _sparse(self, record: _Record) -> Any:
        state = self.resolve(record.state)
        shape = state["_shape"] if "_shape" in state else state["shape"]
        kind = scipy.sparse.csc_matrix if isinstance(record, _Csc) else scipy.sparse.csr_matrix
        matrix = kind((state["data"], state["indices"], state["indptr"]), shape=tuple(int(n) for n in shape))
        matrix.check_format(full_check=True)
        return matrix

    def _chumpy(self, record: Chumpy) -> Any:
        state = record.__dict__.get("state", {})
        if record.kind == "chumpy.ch.Ch" and "x" in state:
            return np.asarray(self.resolve(state["x"]))
        if record.kind == "chumpy.reordering.Select":
            source, chosen = self.resolve(state["a"]), np.asarray(self.resolve(state["idxs"]))
            return np.asarray(source).ravel()[chosen].reshape(self.resolve(state["preferred_shape"]))
        return record


_MAKERS: dict[type, Callable[[_Resolver, Any], Any]] = {
    _Encoded: _Resolver._encoded,
    _Dtype: _Resolver._dtype,
    _Array: _Resolver._array,
    _Buffer: _Resolver._buffer,
    _Scalar: _Resolver._scalar,
    _Csc: _Resolver._sparse,
    _Csr: _Resolver._sparse,
}


def load_torch(path: Path | str) -> Any:
    """The content of a torch checkpoint, on the CPU: tensors and plain containers only. Raises WeightsError."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise WeightsError(f"Could not read {path}: {error.strerror or error}. Expected a torch checkpoint; check the path.") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is not a checkpoint of tensors and plain containers: it is damaged, or asks for code to be run. Nothing of it "
            f"was run. Expected a state_dict saved by torch.save. torch says: {str(error).splitlines()[0]}"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is not a whole torch checkpoint ({str(error).splitlines()[0]}). Expected a file written by torch.save; "
            "copy or download it again."
        ) from error
