"""Where parts are written: in this process, or in others through joblib, whose backends are the engines.

Everything that a task needs is pickled once into the run's own folder, which all processes (of a cluster too) have to see; a task is a
number.
"""

import pickle
import socket
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import cv2

from hpsbench.errors import HpsbenchError, MissingExtraError
from hpsbench.generate.write import Writer
from hpsbench.store import sha256_of_bytes, write_bytes

Engine = Literal["processes", "dask", "ray"]
ENGINES: tuple[Engine, ...] = ("processes", "dask", "ray")
_BACKENDS = {"processes": "loky", "dask": "dask", "ray": "ray"}
_WRITER = "writer.pkl"
_ROUND = 4
_SECONDS = 10


def written_parts(writer: Writer, parts: Sequence[int], *, engine: Engine, workers: int, address: str | None) -> Iterator[int]:
    """Write parts and give the number of each, as they are done. Raises what a part raises, and HpsbenchError where a worker dies."""
    if not parts:
        return
    if engine == "processes" and workers <= 1:
        yield from map(_unwrapped, map(writer, parts))
    else:
        with _closed(_in_others(writer, parts, engine=engine, workers=workers, address=address)) as results:
            yield from map(_unwrapped, results)


@contextmanager
def _closed(results: Generator[int | HpsbenchError, None, None]) -> Iterator[Iterator[int | HpsbenchError]]:
    """The results, closed at the end of the block: joblib's warning of tasks that it then cancels is left out."""
    try:
        yield results
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def _unwrapped(result: int | HpsbenchError) -> int:
    if isinstance(result, HpsbenchError):
        raise result
    return result


def _in_others(
    writer: Writer, parts: Sequence[int], *, engine: Engine, workers: int, address: str | None
) -> Generator[int | HpsbenchError, None, None]:
    from joblib import Parallel, delayed, parallel_config

    data = pickle.dumps(writer)
    path = writer.runs[0].parts / _WRITER
    write_bytes(path, data)
    tasks = [delayed(_write_part)(str(path.resolve()), sha256_of_bytes(data), part) for part in parts]
    with _ready(engine, workers, address) as number, parallel_config(_BACKENDS[engine], n_jobs=number):
        if engine == "ray":
            # Its backend gives no result before it has all of them: so in rounds.
            for start in range(0, len(tasks), _ROUND * number):
                yield from Parallel(batch_size=1)(tasks[start : start + _ROUND * number])
        else:
            yield from Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=_ROUND * number)(tasks)


def check_engine(engine: Engine, address: str | None) -> None:
    """Raises MissingExtraError where the package of an engine is not installed, HpsbenchError for an address at which nothing answers."""
    if engine == "processes" and address is not None:
        raise HpsbenchError("An address is that of a dask or ray cluster, but the engine is 'processes'. Name --engine dask or ray too.")
    package = {"processes": "joblib", "dask": "distributed", "ray": "ray"}[engine]
    try:
        import_module(package)
    except ImportError as error:
        raise MissingExtraError(package, engine, f"The engine '{engine}'") from error
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon:
        _check_answers(engine, address, host, port)


def _check_answers(engine: Engine, address: str, host: str, port: str) -> None:
    """Raises HpsbenchError where nothing listens: a library of a cluster would go on trying for minutes."""
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise HpsbenchError(
            f"No {engine} cluster answers at '{address}': {error}. Give the host:port of its scheduler or head, or leave "
            "--address out for a local one."
        ) from error


@lru_cache(maxsize=1)
def _writer_of(path: str, sha256: str) -> Writer:
    """The writer in a file of this run, read once by each process."""
    del sha256
    return pickle.loads(Path(path).read_bytes())


def _write_part(path: str, sha256: str, part: int) -> int | HpsbenchError:
    cv2.setNumThreads(0)
    return _writer_of(path, sha256)(part)


@contextmanager
def _ready(engine: Engine, workers: int, address: str | None) -> Iterator[int]:
    """How many tasks an engine, that runs within the block, takes at a time. Raises HpsbenchError where a worker dies in it."""
    try:
        with {"processes": _processes, "dask": _dask, "ray": _ray}[engine](workers, address) as number:
            yield number
    except _deaths(engine) as error:
        raise HpsbenchError(
            "A worker process died (out of memory, or killed). Finished parts are kept: run the same command again, with fewer workers."
        ) from error


def _deaths(engine: Engine) -> tuple[type[Exception], ...]:
    """What an engine raises where a worker dies."""
    if engine == "dask":
        from distributed.scheduler import KilledWorker

        return (KilledWorker,)
    if engine == "ray":
        from ray.exceptions import RayActorError, RaySystemError, WorkerCrashedError

        return RayActorError, RaySystemError, WorkerCrashedError
    return (BrokenProcessPool,)


@contextmanager
def _processes(workers: int, address: str | None) -> Iterator[int]:
    del address
    yield workers


@contextmanager
def _dask(workers: int, address: str | None) -> Iterator[int]:
    """The cluster at an address or, without one, a local one of so many processes."""
    from distributed import Client, LocalCluster

    if address is None:
        with LocalCluster(n_workers=max(workers, 1), threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
            yield max(workers, 1)
    else:
        try:
            client = Client(address)
        except (OSError, ValueError) as error:
            raise HpsbenchError(f"No dask cluster answers at '{address}': {error}. Check the address of its scheduler.") from error
        with client:
            yield sum(client.nthreads().values())


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[int]:
    """The cluster at an address or, without one, a local one of so many processes."""
    import ray
    from ray.util.joblib import register_ray

    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    try:
        if address is None:
            ray.init(num_cpus=max(workers, 1), include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except ConnectionError as error:
        raise HpsbenchError(f"No ray cluster answers at '{address}': {error}. Check the address of its head node.") from error
    try:
        register_ray()
        yield max(workers, 1) if address is None else int(ray.cluster_resources()["CPU"])
    finally:
        ray.shutdown()
