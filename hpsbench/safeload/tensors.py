"""torch tensors out of plain pickles as numpy arrays, wherever they were when they were saved: no torch function is called.

Such a tensor is a view of a storage, and a storage is a byte string in torch's own older file format: five small pickles, then for
each storage its number of elements as int64 and the elements. The device stands in there as a word ("cuda:0") that nothing here obeys.
"""

import math
import pickle
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsbench.errors import UnsafePickleError

if TYPE_CHECKING:
    from hpsbench.safeload import Record, _Resolver

# What a pickled tensor may name.
KINDS: dict[tuple[str, str], str] = {
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    ("torch._utils", "_rebuild_parameter"): "parameter",
    ("torch.storage", "_load_from_bytes"): "storage",
}
_STORAGES = {"Float": "f4", "Double": "f8", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "?"}
_MAGIC = 0x1950A86A20F9469CFC6C
_HEADERS = 3
# Elements of a tensor that repeats its storage (stride 0): far more than any parameter has, and no strain on memory.
_LARGEST_REPEATED = 1 << 24


class _Blob(pickle.Unpickler):
    """The pickles inside a storage: plain values, and types of storages as dtypes; refuses everything else by name."""

    def find_class(self, module: str, name: str) -> Any:
        kind = name.removesuffix("Storage")
        if module == "torch" and name.endswith("Storage") and kind in _STORAGES:
            return np.dtype(_STORAGES[kind])
        raise UnsafePickleError(
            f"the pickle inside a torch storage asks for '{module}.{name}', expected a storage of numbers. Nothing of it was run."
        )

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _storage(resolver: "_Resolver", record: "Record") -> np.ndarray:
    """The elements (numel,) of one storage."""
    stream = BytesIO(resolver._bytes(record.args[0]))
    magic, _, system = (_Blob(stream).load() for _ in range(_HEADERS))
    if magic != _MAGIC:
        raise ValueError("a torch storage in a format other than torch's older one")
    (_, dtype, key, _, numel, *view), keys = _Blob(stream).load(), _Blob(stream).load()
    if not isinstance(dtype, np.dtype) or keys != [key] or any(part is not None for part in view):
        raise ValueError(f"a torch storage of keys {keys}, expected one whole storage")
    dtype = dtype.newbyteorder("<" if system["little_endian"] else ">")
    count = int(np.frombuffer(stream.read(8), dtype="<i8" if system["little_endian"] else ">i8")[0])
    data = stream.read()
    if count != numel or len(data) != count * dtype.itemsize:
        raise ValueError(f"a torch storage of {numel} elements with {len(data)} bytes")
    return np.frombuffer(data, dtype)


def _tensor(resolver: "_Resolver", record: "Record") -> np.ndarray:
    """The tensor as an array of its own."""
    storage, offset, size, stride = (resolver.resolve(part) for part in record.args[:4])
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    beyond = 0 not in size and last >= len(storage)
    if min((offset, *size, *stride)) < 0 or beyond or math.prod(size) > max(len(storage), _LARGEST_REPEATED):
        raise ValueError(f"a tensor of size {size} and stride {stride} at {offset} of a storage of {len(storage)}")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).astype(storage.dtype.newbyteorder("="))


MAKERS = {"storage": _storage, "tensor": _tensor, "parameter": lambda resolver, record: resolver.resolve(record.args[0])}
