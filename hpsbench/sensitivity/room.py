"""How many people may be in hand at once, so that a run stays within the memory that it was given."""

from dataclasses import dataclass

from hpsbench.errors import HpsbenchError
from hpsbench.field import FieldAbout

# Crops of a batch at once: as they are, as they are painted, a copy for timing the model alone, and what painting needs on a GPU.
_BATCHES = 5
# Frames that each worker process has ready, and the one that it is at.
_AHEAD = 3
_MOST_WAITING = 256


@dataclass(frozen=True)
class Room:
    """``held`` people may be asked for at once, and ``waiting`` more to be written; together with those that readers have ready, and the
    batch, they take ``bytes`` at most."""

    held: int
    waiting: int
    bytes: int

    @classmethod
    def within(cls, memory: int, about: FieldAbout, *, side: int, batch_size: int, workers: int, crowd: int, refined: bool) -> "Room":
        """The room in ``memory`` bytes, of crops of ``side`` px (0: none) and frames of at most ``crowd`` people.

        It holds the crops of people and their rows until they are written, and the batch; the model, and one decoded image for each process
        that reads, come on top. Raises HpsbenchError where it is too small.
        """
        crop, person = 3 * side * side, person_bytes(about)
        batch = _BATCHES * batch_size * crop
        ready = crowd * (_AHEAD * workers if workers else 1) * (crop + person)
        free = (memory - batch - ready) // (crop + person)
        if free < 2:
            needed = batch + ready + 2 * (crop + person)
            raise HpsbenchError(
                f"{megabytes(memory)} of memory were given, but a batch of {batch_size} crops and the people of a frame or two take "
                f"{megabytes(needed)} here. Give more --memory, or a smaller --batch-size or fewer --workers."
            )
        wanted = 2 + batch_size * (1 if refined else 2) // (8 if refined else len(about.cases) + 1)
        held = min(wanted, free - 1)
        waiting = min(free - held, _MOST_WAITING)
        return cls(held, waiting, batch + ready + (held + waiting) * (crop + person))


def person_bytes(about: FieldAbout) -> int:
    """What the rows of one person take in memory, those on their way to the file included."""
    positions, joints = len(about.cases) + 1, len(about.joints)
    floats = len(about.metrics) + len(about.stages) + 1
    return 2 * positions * (joints * (4 * floats + 1) + 16) + positions * 48


def megabytes(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1e6:,.1f} MB"
