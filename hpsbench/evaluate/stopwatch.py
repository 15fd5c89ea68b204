"""Where the time of a run goes: a stopwatch for each thread that works on it, and what they say together."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")
# What is handed down to whoever works: ``with watch("crop"): ...``.
Watch = Callable[[str], AbstractContextManager[None]]

# In the order of the work: what a profile shows, and of these what a worker process does where there are any.
STAGES = ("decode", "crop", "occlude", "transfer", "model", "body", "metrics", "write")
IN_WORKERS = STAGES[:3]
# The model has nothing to do, since the first batch is not there (worker processes take seconds to start), or the next one.
FIRST, WAIT = "first", "wait"

_NOTHING: AbstractContextManager[None] = nullcontext()
_END = object()


def untimed(stage: str) -> AbstractContextManager[None]:
    """The watch of a run that nobody asked a profile of."""
    del stage
    return _NOTHING


class Stopwatch:
    """``seconds`` by stage of one thread. Where one stage lies inside another, its time is its own and not the outer one's.

    ``settle`` is called at both ends of a stage, before the clock is read: it waits for what the stage gave a device to do.
    """

    def __init__(self, settle: Callable[[], None] | None = None):
        self.seconds: Counter[str] = Counter()
        self._settle, self._open, self._since = settle, [], 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._count()
        self._open.append(stage)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def _count(self) -> None:
        """The time since the last call belongs to the innermost stage that is open."""
        if self._settle is not None:
            self._settle()
        now = perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def taken(self) -> dict[str, float]:
        """The seconds by stage since the last call of this."""
        seconds, self.seconds = self.seconds, Counter()
        return dict(seconds)


def timed(items: Iterator[Item], watch: Watch, stage: str, *, first: str | None = None) -> Iterator[Item]:
    """The items; the time that each of them takes to come is that of a stage, the first one's that of another if that is named."""
    now = first or stage
    while True:
        with watch(now):
            item = next(items, _END)
        if item is _END:
            return
        yield item
        now = stage


@dataclass
class Profile:
    """Where the time of a run went, filled in by the run: the stopwatches of its threads, what worker processes told (``in_workers``,
    seconds by stage, summed over all ``workers``), the ``people`` of whom the model was asked, the ``seconds`` that all of it took."""

    watches: list[Stopwatch] = field(default_factory=list)
    in_workers: Counter[str] = field(default_factory=Counter)
    workers: int = 0
    people: int = 0
    seconds: float = 0.0

    def stages(self) -> dict[str, float]:
        """Seconds by stage, "first" and "wait" among them, those in worker processes summed over all of them."""
        return dict(sum((watch.seconds for watch in self.watches), Counter()) + self.in_workers)

    def text(self) -> str:
        """A table for people: seconds and shares of each stage, and how long the model had nothing to do."""
        if not self.people:
            return "Where the time went: nothing was left to do."
        found, rate = self.stages(), self.people / self.seconds
        lines = [f"Where the time went: {self.people:,} people in {self.seconds:.2f} s, {rate:,.1f} people a second."]
        lines.append(f"{'stage':<10}{'seconds':>10}{'share':>9}")
        lines += [self._line(stage, found.get(stage, 0.0), stage in IN_WORKERS and self.workers > 0) for stage in STAGES]
        if len(self.watches) == 1:
            lines.append(self._line("other", max(self.seconds - self.watches[0].seconds.total(), 0.0), False))
        else:
            lines.append("Reading, model and scoring had a thread each and ran at the same time: their shares add up to more than 100 %.")
        first, waited = (f"{found.get(stage, 0.0):.2f} s ({100 * found.get(stage, 0.0) / self.seconds:.1f} %)" for stage in (FIRST, WAIT))
        return "\n".join([*lines, f"The first batch came after {first}; from then on the model waited {waited} for data."])

    def _line(self, stage: str, seconds: float, summed: bool) -> str:
        whole = self.seconds * (self.workers if summed else 1)
        line = f"{stage:<10}{seconds:>10.2f}{100 * seconds / whole:>7.1f} %"
        whose = "in a worker process" if self.workers == 1 else f"summed over {self.workers} worker processes, share of all their time"
        return f"{line}   {whose}" if summed else line
