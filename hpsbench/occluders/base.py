"""What every occluder is, and whom it is drawn for: key frames, seeds and the frame that it changes.

An occluder plans numbers and draws pixels. To plan it may look at the truth, to aim; to draw it has the plan alone, and no
randomness. It may hide pixels (``hides``, ``draw``) or fix a window, outside of which nothing is seen (``window``), or both.
"""

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple
from typing import Protocol as TypingProtocol

import numpy as np

from hpsbench.registry import load_plugin
from hpsbench.seeds import rng_of
from hpsbench.types import Card, Occlusion, Sample

IntBox = tuple[int, int, int, int]


class Draws(TypingProtocol):
    """Where numbers are drawn from: ``numpy.random.Generator`` and ``random.Random`` alike."""

    def random(self) -> float:
        """The next number, uniform on [0, 1)."""


class Keys(NamedTuple):
    """The two key frames that a frame lies between, by their seeds, and the weight of the second."""

    last: "Key"
    next: "Key"
    weight: float


@dataclass(frozen=True)
class Key:
    """A key frame: its sample (None where only its seed counts) and the words or the number that its draws start from."""

    sample: Sample | None
    seed: tuple[str | int, ...] | int

    def draws(self, kind: str) -> Draws:
        """Fresh draws for an occluder of this kind."""
        return random.Random(self.seed) if isinstance(self.seed, int) else rng_of(*self.seed, kind)


@dataclass(frozen=True)
class BySample:
    """Seeds from (protocol seed, id of the key sample, kind): the same in any order, batch, worker or shard."""

    seed: int

    def frame_keys(self, sample: Sample, track: Sequence[Sample], interval: int) -> Keys:
        """The key frames around a frame: the multiples of ``interval`` below and above its number, in its track.

        Each is clamped to the first and last kept frame; one that was dropped is replaced by the kept frame nearest to it
        (the earlier of two). The weight counts frame numbers from the lower one, over the whole interval. A
        frame whose number is such a multiple has itself alone.
        """
        over = sample.frame % interval
        if over == 0:
            return Keys(self._key(sample), self._key(sample), 0.0)
        last = max(sample.frame - over, track[0].frame)
        after = min(sample.frame - over + interval, track[-1].frame)
        weight = (sample.frame - last) / interval
        return Keys(self._key(_nearest(track, last)), self._key(_nearest(track, after)), weight)

    def index_keys(self, sample: Sample, track: Sequence[Sample], interval: int) -> Keys:
        """Where the published rule counts places in its database: here the same as ``frame_keys``."""
        return self.frame_keys(sample, track, interval)

    def _key(self, sample: Sample) -> Key:
        return Key(sample, (self.seed, sample.id))


@dataclass(frozen=True)
class Published:
    """Seeds as published: a sample's place in the database, where tracks follow one another; ``start`` is that of the track.

    Source: the occlusion helper of NIKI's public code.
    """

    start: int

    def frame_keys(self, sample: Sample, track: Sequence[Sample], interval: int) -> Keys:
        """Key frames by frame number, found by counting places; clamped to the track, the weight over the whole interval."""
        place, over = _place(sample, track), sample.frame % interval
        if over == 0:
            return Keys(self._key(track, place), self._key(track, place), 0.0)
        last, after = max(place - over, 0), min(place - over + interval, len(track) - 1)
        return Keys(self._key(track, last), self._key(track, after), (place - last) / interval)

    def index_keys(self, sample: Sample, track: Sequence[Sample], interval: int) -> Keys:
        """Key frames by place in the database, across the borders of tracks: seeds without a sample."""
        index = self.start + _place(sample, track)
        last = index - index % interval
        return Keys(Key(None, last), Key(None, last + interval), (index - last) / interval)

    def _key(self, track: Sequence[Sample], place: int) -> Key:
        return Key(track[place], self.start + place)


Seeding = BySample | Published


def _place(sample: Sample, track: Sequence[Sample]) -> int:
    return bisect_left(track, sample.frame, key=lambda other: other.frame)


def _nearest(track: Sequence[Sample], frame: int) -> Sample:
    """The sample of the track whose frame number is nearest, the earlier of two."""
    after = bisect_left(track, frame, key=lambda other: other.frame)
    return min(track[max(after - 1, 0) : after + 1], key=lambda other: abs(other.frame - frame))


@dataclass(frozen=True)
class Target:
    """Whom an occlusion is planned for: a sample, the kept samples of its track by frame, and the window fixed so far (or None)."""

    sample: Sample
    track: Sequence[Sample]
    window_xyxy: np.ndarray | None
    seed: int
    seeding: Seeding


class Occluder:
    """One kind of occluder. A subclass names its ``Params``, a frozen dataclass that protocol files fill in, and plans.

    Boxes are xyxy px of the whole image; an integer box holds the pixels [x0, x1) x [y0, y1).
    """

    kind: ClassVar[str]
    card: ClassVar[Card]
    Params: ClassVar[type]

    def plan(self, target: Target, params: Any) -> Occlusion:
        """What is drawn for this target: plain JSON numbers, from which pixels follow."""
        raise NotImplementedError

    def window(self, occlusion: Occlusion) -> np.ndarray | None:
        """The window (4,) float64 that the view is cut to; None: this kind does not cut."""
        del occlusion
        return None

    def hides(self, occlusion: Occlusion, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which pixels of the whole image, columns ``x`` and rows ``y`` (integers, broadcast), the occluder hides: bool."""
        del occlusion
        return np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=bool)

    def draw(self, canvas: np.ndarray, occlusion: Occlusion, origin: tuple[int, int]) -> None:
        """Paint into ``canvas`` (H, W, 3) uint8 in place; its first pixel is pixel ``origin`` (x, y) of the whole image."""


@cache
def occluder(kind: str) -> Occluder:
    """The occluder registered under a name. Raises UnknownNameError."""
    return load_plugin("occluder", kind)()


def whole_box(box_xyxy: np.ndarray) -> IntBox:
    """The smallest integer box around a box."""
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    return int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)), int(np.ceil(y1))


def overlap(box: IntBox, other: IntBox) -> IntBox | None:
    """The pixels that two integer boxes share; None where there are none."""
    x0, y0, x1, y1 = max(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), min(box[3], other[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
