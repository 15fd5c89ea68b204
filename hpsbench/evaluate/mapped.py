"""What worker processes are given, without a copy of its arrays for each: they lie in one file, which all of them map.

Pickle hands out the arrays of an object as they are (protocol 5, PEP 574); here they go, with the rest of the pickle, into a file
without a name, which is gone as soon as nobody maps it any longer, however a process ends. Arrays in a worker share the pages of that file
until the worker writes to them, which is seen by nobody else.
"""

import mmap
import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from hpsbench.errors import HpsbenchError

_ALIGNED = 64


class Mapped:
    """An object on its way to worker processes: in each of them the object itself comes out. To be pickled while a process is started.

    Raises HpsbenchError where the folder for temporary files is full or cannot be written.
    """

    def __init__(self, value: Any):
        arrays: list[pickle.PickleBuffer] = []
        body = pickle.dumps(value, protocol=5, buffer_callback=arrays.append)
        blocks = [memoryview(body), *(array.raw() for array in arrays)]
        padded = [size + -size % _ALIGNED for size in (block.nbytes for block in blocks)]
        starts = [0, *accumulate(padded)]
        self.places = [(start, block.nbytes) for start, block in zip(starts, blocks, strict=False)]
        try:
            self._file = tempfile.TemporaryFile(prefix="hpsbench-")  # noqa: SIM115 (open until all processes were started)
            for (start, _), block in zip(self.places, blocks, strict=True):
                self._file.seek(start)
                self._file.write(block)
            self._file.flush()
        except OSError as error:
            raise HpsbenchError(
                f"The annotations for the worker processes need {starts[-1]:,} bytes in {tempfile.gettempdir()}, which could not be "
                f"written: {error.strerror or error}. Free some space there, name another folder by TMPDIR, or use --workers 0."
            ) from error

    def close(self) -> None:
        """No further process will be started; those that were keep the file."""
        self._file.close()

    def __reduce__(self):
        return _value_of, (DupFd(self._file.fileno()), self.places)


def _value_of(handle: Any, places: Sequence[tuple[int, int]]) -> Any:
    number = handle.detach()
    view = memoryview(mmap.mmap(number, 0, access=mmap.ACCESS_COPY))
    os.close(number)
    body, *arrays = (view[start : start + size] for start, size in places)
    return pickle.loads(body, buffers=arrays)


class PackedMapping(Mapping[str, Any]):
    """A mapping of text that is three arrays: sorted keys, and the pickles of the values one after the other. A value is made anew each
    time that it is asked for."""

    def __init__(self, content: Mapping[str, Any]):
        pairs = sorted((key.encode(), pickle.dumps(value, protocol=5)) for key, value in content.items())
        self._keys = np.array([key for key, _ in pairs], dtype=bytes)
        self._ends = np.cumsum([0, *(len(value) for _, value in pairs)])
        self._values = np.frombuffer(b"".join(value for _, value in pairs), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in self._keys.tolist())

    def __getitem__(self, key: str) -> Any:
        wanted = key.encode()
        place = int(np.searchsorted(self._keys, wanted)) if len(self) else 0
        if place == len(self) or self._keys[place] != wanted:
            raise KeyError(key)
        return pickle.loads(self._values[self._ends[place] : self._ends[place + 1]])


class PackedLists(Sequence[list[int]]):
    """A sequence of lists of numbers that is two arrays."""

    def __init__(self, lists: Sequence[Sequence[int]]):
        self._ends = np.cumsum([0, *map(len, lists)])
        self._flat = np.fromiter((number for some in lists for number in some), dtype=np.int64, count=int(self._ends[-1]))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, k: int) -> list[int]:
        k = range(len(self))[k]
        return self._flat[self._ends[k] : self._ends[k + 1]].tolist()
