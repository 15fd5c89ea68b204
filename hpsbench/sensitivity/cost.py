"""What a run costs: passes, passes a second, seconds a person, and how fast the model alone is on full batches of clean crops."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch

# The model alone is timed now and then, for so small a share of the run, twice at least.
_SHARE, _FEWEST = 1 / 32, 2


@dataclass
class Cost:
    """The clock of one attempt; it runs from ``start`` on, and stands still while the model alone is timed, and ``aside``.

    The first batch, in which libraries get ready, counts in ``passes`` and not in what is told of a second.
    """

    device: torch.device
    passes: int = 0
    people: int = 0
    bare_crops: int = 0
    bare_seconds: float = 0.0
    aside_seconds: float = 0.0
    _bare_runs: int = 0
    _since: float = field(default_factory=perf_counter)
    _first: tuple[int, float] = (0, 0.0)

    def start(self) -> None:
        """The work begins now."""
        self._since = perf_counter()

    @property
    def seconds(self) -> float:
        """Since the start, without the model alone and what was done aside."""
        return perf_counter() - self._since - self.bare_seconds - self.aside_seconds

    def add(self, passes: int) -> None:
        """A batch is through."""
        if not self.passes:
            self._first = passes, self.seconds
        self.passes += passes

    @property
    def wants_bare(self) -> bool:
        """Whether the model alone is to be timed now: not before the first batch."""
        return self.passes > 0 and (self._bare_runs < _FEWEST or self.bare_seconds < _SHARE * self.seconds)

    def time_bare(self, ask: Callable[[], Any], crops: int) -> None:
        """Time the model alone on a batch of so many crops."""
        self._settle()
        before = perf_counter()
        ask()
        self._settle()
        self.bare_seconds += perf_counter() - before
        self.bare_crops += crops
        self._bare_runs += 1

    def aside(self, work: Callable[[], None]) -> None:
        """Do what is no part of the run's own work."""
        self._settle()
        before = perf_counter()
        work()
        self._settle()
        self.aside_seconds += perf_counter() - before

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def told(self) -> dict[str, Any]:
        """As result.json has it; None: too little was done to tell. ``share``: passes a second over the model's own crops a second."""
        seconds, (first, first_seconds) = self.seconds, self._first
        rest = self.passes - first
        counted, over = (rest, seconds - first_seconds) if rest else (self.passes, seconds)
        rate = counted / over if counted and over > 0 else None
        bare = self.bare_crops / self.bare_seconds if self.bare_seconds > 0 else None
        return {
            "passes": self.passes,
            "people": self.people,
            "seconds": seconds,
            "passes_per_second": rate,
            "seconds_per_person": seconds / self.people if self.people else None,
            "bare_crops": self.bare_crops,
            "bare_crops_per_second": bare,
            "share_of_bare": rate / bare if rate and bare else None,
        }


def cost_text(cost: dict[str, Any]) -> str:
    """What ``Cost.told`` says, as a sentence or two for people."""
    if not cost["passes"]:
        return "No pass was left to do."
    text = f"{cost['passes']:,} passes in {cost['seconds']:,.1f} s: {cost['passes_per_second']:,.1f} a second"
    if cost["seconds_per_person"] is not None:
        text += f", {cost['seconds_per_person']:,.2f} s a person"
    if cost["share_of_bare"] is None:
        return f"{text}."
    return (
        f"{text}. The model alone on full batches of clean crops: {cost['bare_crops_per_second']:,.1f} a second ({cost['bare_crops']:,} "
        f"timed in this run), of which that is {100 * cost['share_of_bare']:.0f} %."
    )
