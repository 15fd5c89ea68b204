"""What every benchmark is written on: timing, one row per comparison, the table and the machine it was measured on."""

import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

README = Path(__file__).with_name("README.md")
_START, _END = "<!-- table: written by python -m benchmarks --write -->", "<!-- end of table -->"
_shown: list["Row"] = []


@dataclass(frozen=True)
class Row:
    """One operation over ``people``: what ours and the peers' way took, seconds, and the ratio asked for, if any."""

    operation: str
    people: int
    ours: float
    peer: float
    peer_name: str
    at_least: float | None = None

    @property
    def ratio(self) -> float:
        return self.peer / self.ours

    @property
    def verdict(self) -> str:
        """The ratio asked for, and whether it was reached."""
        return "" if self.at_least is None else f"{self.at_least:g} x: {'met' if self.ratio >= self.at_least else 'MISSED'}"


def seconds(work: Callable[[], object], tries: int = 3) -> float:
    """The least of a few times that a call took, after one to warm up."""
    work()
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def show(operation: str, people: int, ours: float, peer: float, peer_name: str, at_least: float | None = None) -> None:
    """Print one row and keep it for ``rows``."""
    row = Row(operation, people, ours, peer, peer_name, at_least)
    _shown.append(row)
    rates = f"ours {people / ours:>11,.0f}/s   {peer_name:<44} {people / peer:>9,.0f}/s"
    print(f"{operation:<44} {rates}   ratio {row.ratio:6.1f}   {row.verdict}", flush=True)


def rows(*benchmarks: Callable[[], None]) -> list[Row]:
    """What some benchmarks show."""
    _shown.clear()
    for benchmark in benchmarks:
        benchmark()
    return list(_shown)


def table(found: list[Row]) -> str:
    """The rows in Markdown, rates in people a second."""
    lines = ["| operation | people | ours, /s | the peers' way, /s | | ratio | at least |", "|---|---|---|---|---|---|---|"]
    for row in found:
        rates = f"{row.people / row.ours:,.0f} | {row.people / row.peer:,.0f}"
        lines.append(f"| {row.operation} | {row.people:,} | {rates} | {row.peer_name} | {row.ratio:.1f} | {row.verdict} |")
    return "\n".join(lines)


def machine() -> str:
    """The processor and the versions that a figure depends on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    names = ("torch", "numpy", "numba", "smplx", "scipy")
    load = f"load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else "load unknown"
    versions = ", ".join(f"{name} {_version(name)}" for name in names)
    return f"One thread of {model} ({os.cpu_count()} cores, {load}); {versions}, {torch.backends.cpu.get_cpu_capability()}."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def write(text: str) -> None:
    """Put the text between the markers of README.md."""
    page = README.read_text(encoding="utf-8")
    before, after = page.split(_START)[0], page.split(_END)[1]
    README.write_text(f"{before}{_START}\n\n{text}\n\n{_END}{after}", encoding="utf-8")
