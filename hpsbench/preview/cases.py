"""Which of a protocol's cases a sheet shows: all of a few, else some that show how far each key goes."""

import re
from collections.abc import Sequence

_PLACE = re.compile(r"(\d+)-(\d+)")
# Of a grid that is cut into thirds, the places in the order in which they matter: the middle, the corners, the sides.
_GRID = ((1, 1), (0, 0), (0, 2), (2, 0), (2, 2), (1, 0), (1, 2), (0, 1), (2, 1))


def shown_cases(cases: Sequence[str], most: int) -> tuple[str, ...]:
    """At most ``most`` cases: all where they are no more, else a choice that depends on the cases alone.

    The first key ("level" of "level=1,on=neck") goes from end to end, the others resting at their middle value; then each other key is
    varied, the rest resting. Values "ROW-COLUMN" spread over their grid. Cases that do not have the same keys are taken evenly.
    """
    if len(cases) <= most:
        return tuple(cases)
    known = {tuple(tuple(pair.split("=", 1)) for pair in case.split(",")): case for case in cases}
    if len({tuple(pair[0] for pair in pairs) for pairs in known}) > 1:
        return tuple(cases[i] for i in evenly(len(cases), most))
    chosen = (known[pairs] for pairs in _varied(list(known), most) if pairs in known)
    return tuple(dict.fromkeys(chosen))


def _varied(known: Sequence[tuple[tuple[str, str], ...]], most: int) -> list[tuple[tuple[str, str], ...]]:
    """Cases as pairs (key, value): one key at a time from end to end."""
    values = [list(dict.fromkeys(pairs[k] for pairs in known)) for k in range(len(known[0]))]
    first = _some(values[0], max(1, most - sum(len(found) > 1 for found in values[1:])))
    resting = [_some(first, 1)[0], *(_some(found, 1)[0] for found in values[1:])]
    chosen = [(pair, *resting[1:]) for pair in first]
    for k in range(1, len(values)):
        others = [pair for pair in values[k] if pair != resting[k]]
        waiting = sum(len(found) > 1 for found in values[k + 1 :])
        chosen += [(*resting[:k], pair, *resting[k + 1 :]) for pair in _some(others, most - len(chosen) - waiting)]
    return chosen


def _some(pairs: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """So many of a key's pairs, in their order: the middle one, or from the first to the last; places spread over their grid."""
    if len(pairs) <= count:
        return list(pairs)
    if count == 1:
        return [pairs[len(pairs) // 2]]
    places = [_PLACE.fullmatch(value) for _, value in pairs]
    if all(places):
        return _on_grid(pairs, [(int(place[1]), int(place[2])) for place in places if place], count)
    return [pairs[i] for i in evenly(len(pairs), count)]


def _on_grid(pairs: Sequence[tuple[str, str]], places: Sequence[tuple[int, int]], count: int) -> list[tuple[str, str]]:
    """The pairs whose places are nearest to the middle, the corners and the sides of the grid, in their order."""
    rows, columns = (sorted(set(numbers)) for numbers in zip(*places, strict=True))
    chosen = {(_third(rows, row), _third(columns, column)) for row, column in _GRID[: max(count, 0)]}
    return [pair for pair, place in zip(pairs, places, strict=True) if place in chosen]


def _third(numbers: Sequence[int], part: int) -> int:
    return (numbers[0], numbers[len(numbers) // 2], numbers[-1])[part]


def evenly(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` places of ``count``, evenly from the first to the last."""
    if wanted < 2 or count < 2:
        return list(range(min(count, wanted)))
    number = min(count, wanted)
    return [round(k * (count - 1) / (number - 1)) for k in range(number)]
