"""Whether the images of a folder are whole and open."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpsbench.check.report import Report
from hpsbench.check.seen import spread
from hpsbench.datasets.base import Dataset
from hpsbench.errors import HpsbenchError

# The bytes that a whole file has near its end; some writers pad behind them.
_ENDS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}
_TAIL = 4096
_MAX_SHOWN = 5
# Images of a split that are opened besides the first of each sequence.
_TRIED = 100


def check_endings(report: Report, folder: Path) -> None:
    """A line on how many image files below ``folder`` end as whole ones do, which is quick, and one for each of the first that do not."""
    count, cut_off = 0, []
    for path in _image_files(folder):
        count += 1
        size = _size_of_cut(path)
        if size is not None:
            cut_off.append((path, size))
    if count:
        report.add(not cut_off, f"image files: {count - len(cut_off):,} of {count:,} end as whole ones do")
    for path, size in cut_off[:_MAX_SHOWN]:
        report.add(False, f"image file {path} is truncated: {size:,} bytes without an end. Unpack or download it again")


def _image_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names) if os.path.splitext(name)[1].lower() in _ENDS)


def _size_of_cut(path: Path) -> int | None:
    """The bytes of a file that lacks its end, 0 where it cannot be read; None for a whole one."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            return None if _ENDS[path.suffix.lower()] in stream.read() else size
    except OSError:
        return 0


def check_images(report: Report, dataset: Dataset, all_images: bool) -> None:
    """A line on how many images open of those tried (first ones of sequences and some more, or ``all_images``), then those that do not."""
    firsts = [places[0] for places in dataset.frames()]
    tried = firsts if all_images else _chosen(dataset, firsts)
    broken = list(_broken(dataset, tried))
    more = "" if len(tried) == len(firsts) else f" ({len(firsts):,} are there; --all-images opens every one)"
    report.add(not broken, f"{dataset.split}: {len(tried) - len(broken):,} of {len(tried):,} images tried open{more}")
    for message in broken[:_MAX_SHOWN]:
        report.add(False, message)


def _chosen(dataset: Dataset, firsts: Sequence[int]) -> list[int]:
    ids, by_sequence = dataset.ids, {}
    for i in firsts:
        by_sequence.setdefault(ids[i].rsplit("/", 2)[0], i)
    return sorted({*by_sequence.values(), *(firsts[k] for k in spread(len(firsts), _TRIED))})


def _broken(dataset: Dataset, places: Sequence[int]) -> Iterator[str]:
    for i in places:
        try:
            dataset[i].view.read()
        except HpsbenchError as error:
            yield str(error)
