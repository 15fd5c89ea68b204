"""The road of a run: reading, model and scoring one after the other, or each in a thread (and on a stream of the GPU) of its own.

Whichever it is, batches are the same, in the same order, and an error comes out where it would have without threads: what lies before it
is scored and kept first.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import fields, is_dataclass
from queue import Empty, Queue
from threading import Event, Thread
from time import perf_counter
from typing import Any, TypeVar

import torch
from torch import Tensor

from hpsbench.evaluate.asking import Answered, answered, asked
from hpsbench.evaluate.people import Person
from hpsbench.evaluate.stopwatch import FIRST, WAIT, Profile, Stopwatch, Watch, timed, untimed
from hpsbench.models.base import Model

Item = TypeVar("Item")

# Batches that wait for the model, and answers that wait to be scored.
_AHEAD = 2
_END = object()


class Road:
    """How the steps of a run follow one another; entered for as long as it works. The scoring is done by whoever enters it.

    ``overlap`` None: on a GPU only, since on a CPU the model already has every core, and reading has processes of its own (``workers``).
    ``profile``: to be filled in; on a GPU each stage then waits for its own work at its end. ``reading`` and ``scoring`` are the watches
    of these two steps.
    """

    def __init__(self, device: torch.device, *, workers: int = 0, overlap: bool | None = None, profile: Profile | None = None):
        self.device, self.profile = _with_number(device), profile
        self.overlap = device.type == "cuda" if overlap is None else overlap
        self.reading = self._asking = self.scoring = untimed
        if profile is not None:
            profile.workers = workers
            profile.watches = [Stopwatch(self._settle) for _ in range(3 if self.overlap else 1)]
            self.reading, self._asking, self.scoring = profile.watches if self.overlap else profile.watches * 3
        self._workers, self._stack = workers, ExitStack()

    @property
    def told(self) -> Counter[str] | None:
        """Where ``person_batches`` puts what worker processes tell of their time."""
        return None if self.profile is None else self.profile.in_workers

    @property
    def reader_watch(self) -> Watch:
        """The watch of a ``FrameReader``: in worker processes one of their own."""
        return Stopwatch() if self._workers and self.profile is not None else self.reading

    def __enter__(self) -> "Road":
        self._began = perf_counter()
        if self.overlap and self.device.type == "cuda":
            # Weights and bodies were put there by this thread; the others must find them.
            torch.cuda.synchronize(self.device)
        self._stack.enter_context(self._lane(own_stream=True))
        return self

    def __exit__(self, *error) -> None:
        self._stack.close()
        if self.profile is not None:
            self.profile.seconds += perf_counter() - self._began

    @contextmanager
    def answers(self, model: Model, batches: Iterator[list[Person]]) -> Iterator[Iterator[Answered]]:
        """What the model answers to each batch, in order. Raises what ``answered`` and the batches do.

        When the block ends, however it does, no thread is left.
        """
        moved = self._ahead(self._asked(batches), lambda: self._lane(own_stream=True))
        given = self._ahead(self._answered(model, moved), lambda: self._lane(own_stream=False))
        with closing(given):
            yield given

    def _asked(self, batches: Iterator[list[Person]]) -> Iterator[Any]:
        with closing(batches):
            for people in batches:
                with self.reading("transfer"):
                    one = asked(people, self.device)
                yield one

    def _answered(self, model: Model, batches: Iterator[Any]) -> Iterator[Answered]:
        with closing(batches):
            for one in timed(batches, self._asking, WAIT, first=FIRST):
                with self._asking("model"):
                    given = answered(model, one)
                if self.profile is not None:
                    self.profile.people += len(one.people)
                yield given

    @contextmanager
    def _lane(self, own_stream: bool) -> Iterator[None]:
        """Where one thread works: without gradients, on the road's GPU, on a stream of its own or the common one."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.device.type == "cuda":
                stack.enter_context(torch.cuda.device(self.device))
                if own_stream and self.overlap:
                    stack.enter_context(torch.cuda.stream(torch.cuda.Stream(self.device)))
            yield

    def _ahead(self, items: Iterator[Item], lane: Callable[[], AbstractContextManager[None]]) -> Iterator[Item]:
        """The items as they are or, on an overlapped road, made by a thread of their own before they are asked for."""
        return ahead(items, lane, self._mark) if self.overlap else items

    def _mark(self) -> "torch.cuda.Event | None":
        """The place in this thread's stream behind all that it was given so far."""
        return torch.cuda.current_stream(self.device).record_event() if self.device.type == "cuda" else None

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()


def _with_number(device: torch.device) -> torch.device:
    """The device that "cuda" means in this thread: others start with the first one."""
    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" and device.index is None else device


def ahead(items: Iterator[Item], lane: Callable[[], AbstractContextManager[None]], mark: Callable[[], Any]) -> Iterator[Item]:
    """The items in their order, made by a thread inside ``lane()``, a few before they are asked for.

    What is raised by ``items``, a generator, is raised here in its place. When this generator is closed so are they, and the thread has
    ended. ``mark`` gives, after each item, the event that whoever takes it has to wait for, or None.
    """
    ready: Queue = Queue(_AHEAD)
    gone = Event()

    def make() -> None:
        try:
            with lane(), closing(items):
                for item in items:
                    ready.put((item, mark(), None))
                    if gone.is_set():
                        return
            ready.put((_END, None, None))
        except BaseException as error:
            ready.put((_END, None, error))

    thread = Thread(target=make, name="hpsbench", daemon=True)
    thread.start()
    try:
        while True:
            item, event, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            if event is not None:
                _taken_over(item, event)
            yield item
    finally:
        gone.set()
        while thread.is_alive():
            with suppress(Empty):
                ready.get(timeout=0.02)


def _taken_over(item: Any, event: "torch.cuda.Event") -> None:
    """This thread's stream goes on when the item is there, and its memory is free again only when this stream is done with it."""
    stream = torch.cuda.current_stream()
    event.wait(stream)
    for tensor in _tensors(item):
        tensor.record_stream(stream)


def _tensors(record: Any) -> Iterator[Tensor]:
    """The tensors on a GPU in a record and in the records inside it."""
    for value in (getattr(record, each.name) for each in fields(record)):
        if isinstance(value, Tensor) and value.is_cuda:
            yield value
        elif is_dataclass(value):
            yield from _tensors(value)
