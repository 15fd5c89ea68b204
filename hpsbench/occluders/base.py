"""What every occluder is, and whom it is drawn for: key frames, seeds and the frame that it changes.

An occluder plans numbers and draws pixels. To plan it may look at the truth, to aim; to draw it has the plan alone, and no
randomness. It may hide pixels (``stencil``) or fix a window, outside of which nothing is seen (``window``), or both. Where it hides
people in several ways, one after the other (joint by joint, place by place), each way is a case.
"""

import difflib
import random
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any, ClassVar, NamedTuple
from typing import Protocol as TypingProtocol

import numpy as np

from hpsbench.body.silhouette import Silhouette
from hpsbench.errors import ProtocolError
from hpsbench.image import square_of_box
from hpsbench.occluders.base_stencil import IntBox, Raster, Stencil
from hpsbench.registry import load_plugin
from hpsbench.seeds import rng_of
from hpsbench.skeleton import JOINT_NAMES, joint_names
from hpsbench.types import Card, Occlusion, Sample

_MOST_KEPT = 20_000
NO_BODIES = (
    "levels are shares of the person's silhouette, which is that of the true mesh, and no bodies were given. Name the folder of body files "
    "(--body; `bodies` of hpsbench.occlude.Planner; `mask` of hpsbench.augment.occluded), or take the protocol of the box or of the joints."
)


class NotPossible(Exception):
    """A case that an occluder cannot plan for a sample; its text is the reason, by which such cases are counted."""


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


class KeyRows(NamedTuple):
    """The key frames of N frames: the places in ``keys`` (N,) of each one's ``last`` and ``next``, the ``weights`` (N,) of the second."""

    keys: list[Key]
    last: np.ndarray
    next: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, found: Iterable[Keys]) -> "KeyRows":
        """The keys of some frames, one after the other; a key that is one object stands there once."""
        lasts, nexts, weights = zip(*found, strict=True)
        keys = {id(key): key for key in (*lasts, *nexts)}
        places = dict(zip(keys, range(len(keys)), strict=True))
        last, after = (np.array([places[id(key)] for key in some]) for some in (lasts, nexts))
        return cls(list(keys.values()), last, after, np.array(weights))

    def blended(self, last: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Rows (N, C) between those of the two key frames, by weight; those of the first alone where it is all."""
        weights = self.weights[:, None]
        return np.where(weights == 0, last, (1 - weights) * last + weights * after)


# What the frames between two key frames share, by their track and the frame that the first was asked at.
Ends = dict[tuple[int, int, int], tuple[Key, Key, int]]


@dataclass(frozen=True)
class BySample:
    """Seeds from (protocol seed, id of the key sample, kind): the same in any order, batch, worker or shard."""

    seed: int

    def frame_keys(self, sample: Sample, track: Sequence[Sample], interval: int, ends: Ends | None = None) -> Keys:
        """The key frames around a frame: the multiples of ``interval`` below and above its number, in its track.

        Each is clamped to the first and last kept frame; one that was dropped is replaced by the kept frame nearest to it
        (the earlier of two). The weight counts frame numbers from the lower one, over the whole interval. A
        frame whose number is such a multiple has itself alone. ``ends`` keeps what frames of one track share, while their tracks are there.
        """
        over = sample.frame % interval
        if over == 0:
            key = self._key(sample)
            return Keys(key, key, 0.0)
        ends, words = {} if ends is None else ends, (id(track), sample.frame - over, interval)
        if words not in ends:
            ends[words] = self._ends(track, sample.frame - over, interval)
        last, after, start = ends[words]
        return Keys(last, after, (sample.frame - start) / interval)

    def _ends(self, track: Sequence[Sample], frame: int, interval: int) -> tuple[Key, Key, int]:
        """The key frames at ``frame`` and ``interval`` later, and the number that weights count from."""
        last, after = max(frame, track[0].frame), min(frame + interval, track[-1].frame)
        return self._key(_nearest(track, last)), self._key(_nearest(track, after)), last

    def index_keys(self, sample: Sample, track: Sequence[Sample], interval: int, ends: Ends | None = None) -> Keys:
        """Where the published rule counts places in its database: here the same as ``frame_keys``."""
        return self.frame_keys(sample, track, interval, ends)

    def _key(self, sample: Sample) -> Key:
        return Key(sample, (self.seed, sample.id))


@dataclass(frozen=True)
class Published:
    """Seeds as published: a sample's place in the database, where tracks follow one another; ``start`` is that of the track.

    Source: the occlusion helper of NIKI's public code.
    """

    start: int

    def frame_keys(self, sample: Sample, track: Sequence[Sample], interval: int, ends: Ends | None = None) -> Keys:
        """Key frames by frame number, found by counting places; clamped to the track, the weight over the whole interval."""
        del ends
        place, over = _place(sample, track), sample.frame % interval
        if over == 0:
            return Keys(self._key(track, place), self._key(track, place), 0.0)
        last, after = max(place - over, 0), min(place - over + interval, len(track) - 1)
        return Keys(self._key(track, last), self._key(track, after), (place - last) / interval)

    def index_keys(self, sample: Sample, track: Sequence[Sample], interval: int, ends: Ends | None = None) -> Keys:
        """Key frames by place in the database, across the borders of tracks: seeds without a sample."""
        del ends
        index = self.start + _place(sample, track)
        last = index - index % interval
        return Keys(Key(None, last), Key(None, last + interval), (index - last) / interval)

    def _key(self, track: Sequence[Sample], place: int) -> Key:
        return Key(track[place], self.start + place)


Seeding = BySample | Published


class _Replayed:
    """Draws that repeat the numbers drawn before, and go on behind them."""

    def __init__(self, kept: tuple[Draws, list[float]]):
        self.source, self.drawn = kept
        self.place = 0

    def random(self) -> float:
        if self.place == len(self.drawn):
            self.drawn.append(self.source.random())
        self.place += 1
        return self.drawn[self.place - 1]


def _place(sample: Sample, track: Sequence[Sample]) -> int:
    return bisect_left(track, sample.frame, key=lambda other: other.frame)


def _nearest(track: Sequence[Sample], frame: int) -> Sample:
    """The sample of the track whose frame number is nearest, the earlier of two."""
    after = bisect_left(track, frame, key=lambda other: other.frame)
    return min(track[max(after - 1, 0) : after + 1], key=lambda other: abs(other.frame - frame))


class _Remembering:
    """What a target and many of them have in common: a ``memo`` that is kept from sample to sample of one planner."""

    memo: dict[Any, Any]

    def once(self, words: tuple[Hashable, ...], work: Callable[[], Any]) -> Any:
        """What ``work`` gave for these words the first time. They have to tell all that it depends on, within one protocol and dataset."""
        if words not in self.memo:
            if len(self.memo) >= _MOST_KEPT:
                self.memo.clear()
            self.memo[words] = work()
        return self.memo[words]

    def draws(self, key: Key, kind: str) -> Draws:
        """Fresh draws of a key frame, as ``key.draws(kind)`` gives them."""
        return _Replayed(self.once(("draws", kind, key.seed), lambda: (key.draws(kind), [])))


@dataclass(frozen=True)
class Target(_Remembering):
    """Whom an occlusion is planned for: a sample, the kept samples of its track by frame, the window fixed so far (or None), the case.

    ``memo`` is kept from sample to sample of one planner: what follows from a key frame alone is not worked out for each frame about it.
    ``silhouettes`` gives a sample's silhouette, None where it has none; it is asked by occluders that need one alone.
    """

    sample: Sample
    track: Sequence[Sample]
    window_xyxy: np.ndarray | None
    seed: int
    seeding: Seeding
    case: str = ""
    memo: dict[Any, Any] = field(default_factory=dict)
    silhouettes: Callable[[Sample], Silhouette | None] | None = None

    @property
    def silhouette(self) -> Silhouette:
        """The pixels of the image that the person covers. Raises NotPossible where there are none, ProtocolError where nobody can tell."""
        if self.silhouettes is None:
            raise ProtocolError(f"'{self.sample.id}' cannot be hidden: {NO_BODIES}")
        found = self.silhouettes(self.sample)
        if found is None:
            truth = self.sample.truth
            bodiless = any(part is None for part in (truth.rotvecs, truth.betas, truth.trans))
            raise NotPossible("no true body or mask" if bodiless else "silhouette outside the image")
        return found

    @property
    def choice(self) -> dict[str, str]:
        """The case by its keys: "level=3,on=neck" is {"level": "3", "on": "neck"}."""
        return choice_of(self.case)

    def canvas(self, side: float, box_scale: float) -> "Canvas":
        """The square about the person's box, or the window where one is fixed, as so many px a side."""
        square = self.window_xyxy
        if square is None:
            square = square_of_box(self.sample.view.bbox_xyxy, box_scale)
        return Canvas(float(side), tuple(float(value) for value in square))

    def joint(self, names: str) -> np.ndarray:
        """The projection (2,) px, in the whole image, of the first of the joints "a|b" that the truth has. Raises NotPossible."""
        truth = self.sample.truth
        for name in names.split("|"):
            if name in joint_names(truth.skeleton):
                place = joint_names(truth.skeleton).index(name)
                if not truth.valid[place] or not np.isfinite(truth.joints2d[place]).all():
                    raise NotPossible("joint not annotated")
                return np.asarray(truth.joints2d[place], dtype=np.float64)
        raise NotPossible(f"no such joint in {truth.skeleton}")

    def words(self, kind: str, *more: str | int) -> list[str | int]:
        """The words that draws for this sample start from, whatever its case: (protocol seed, sample id, kind, more)."""
        return [self.seed, self.sample.id, kind, *more]


@dataclass(frozen=True)
class Targets(_Remembering):
    """Many targets of one protocol and dataset, to be planned for at once: the fields of ``Target``, those of each one in a sequence.

    ``keyed`` is kept from occluder to occluder while the samples stay the same.
    """

    samples: Sequence[Sample]
    tracks: Sequence[Sequence[Sample]]
    windows_xyxy: Sequence[np.ndarray | None]
    seedings: Sequence[Seeding]
    cases: Sequence[str]
    seed: int
    memo: dict[Any, Any] = field(default_factory=dict)
    silhouettes: Callable[[Sample], Silhouette | None] | None = None
    keyed: dict[tuple[str, int], KeyRows] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Target]:
        for sample, track, window, seeding, case in self._rows(self.windows_xyxy, self.seedings, self.cases):
            yield Target(sample, track, window, self.seed, seeding, case, self.memo, self.silhouettes)

    def _rows(self, *columns: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        return zip(self.samples, self.tracks, *columns, strict=True)

    def frame_keys(self, interval: int) -> KeyRows:
        """The key frames of each by ``frame_keys`` of its seeding."""
        return self._keys("frame_keys", interval)

    def index_keys(self, interval: int) -> KeyRows:
        """The key frames of each by ``index_keys`` of its seeding."""
        return self._keys("frame_keys" if isinstance(self.seedings[0], BySample) else "index_keys", interval)

    def _keys(self, rule: str, interval: int) -> KeyRows:
        if (rule, interval) not in self.keyed:
            ends: Ends = {}
            rows = self._rows(self.seedings)
            found = (getattr(seeding, rule)(sample, track, interval, ends) for sample, track, seeding in rows)
            self.keyed[rule, interval] = KeyRows.of(found)
        return self.keyed[rule, interval]


@dataclass(frozen=True)
class Canvas:
    """A square of the image (xyxy px) that counts ``side`` px of its own a side, from (0, 0) at its corner on: what "40 px" is of."""

    side: float
    square_xyxy: tuple[float, float, float, float]

    @classmethod
    def of(cls, occlusion: Occlusion) -> "Canvas | None":
        """The canvas of a plan's numbers; None where they are px of the whole image."""
        record = occlusion.params.get("canvas")
        return None if record is None else cls(record["side"], tuple(record["square_xyxy"]))

    @property
    def record(self) -> dict[str, Any]:
        """As plans hold it, under the key "canvas"."""
        return {"side": self.side, "square_xyxy": list(self.square_xyxy)}

    @property
    def px(self) -> float:
        """Canvas px to one px of the image."""
        return self.side / (self.square_xyxy[2] - self.square_xyxy[0])

    def points(self, image_points: np.ndarray) -> np.ndarray:
        """Points (N, 2) of the image in canvas px."""
        return (np.asarray(image_points, dtype=np.float64) - self.square_xyxy[:2]) * self.px

    def raster(self, raster: Raster) -> Raster:
        """A raster of the image in canvas px; rounded to 1e-9 px, so that a crop of the very square has its pixels at whole numbers."""
        numbers = (raster.x0 - self.square_xyxy[0]) * self.px, (raster.y0 - self.square_xyxy[1]) * self.px, raster.step * self.px
        return Raster(*(round(number, 9) for number in numbers), raster.width, raster.height)


def check_joints(names: Sequence[str]) -> None:
    """Raises ValueError where one of the names, "a" or "a|b", is no joint of any skeleton."""
    known = {joint for joints in JOINT_NAMES.values() for joint in joints}
    for name in (part for entry in names for part in entry.split("|")):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(
                f"no joint is named '{name}'{f' (did you mean {near[0]}?)' if near else ''}: expected names of hpsbench.skeleton."
            )


def choice_of(case: str) -> dict[str, str]:
    """A case, or several joined by commas, by its keys."""
    return dict(pair.split("=", 1) for pair in case.split(",") if pair)


def cases_of(**choices: Sequence[str | int | float]) -> tuple[str, ...]:
    """All cases of some keys and their values, the last key varying first: level=1,on=neck; level=1,on=hip; ..."""
    return tuple(",".join(f"{key}={value}" for key, value in zip(choices, values, strict=True)) for values in product(*choices.values()))


class Occluder:
    """One kind of occluder. A subclass names its ``Params``, a frozen dataclass that protocol files fill in, and plans.

    Boxes are xyxy px of the whole image; an integer box holds the pixels [x0, x1) x [y0, y1). A kind whose ``pixels`` is False hides joints
    from models that take joints, and nothing of the image. One that ``tells_onset`` says in its plans when an occlusion began.
    """

    kind: ClassVar[str]
    card: ClassVar[Card]
    Params: ClassVar[type]
    pixels: ClassVar[bool] = True
    tells_onset: ClassVar[bool] = False

    def cases(self, params: Any) -> tuple[str, ...]:
        """The ways in which each person is hidden, as "key=value,key=value"; one without a name where there is one way only."""
        del params
        return ("",)

    def plan(self, target: Target, params: Any) -> Occlusion:
        """What is drawn for this target: plain JSON numbers, from which pixels follow. Raises NotPossible."""
        raise NotImplementedError

    def plan_many(self, targets: Targets, params: Any) -> list[Occlusion | NotPossible]:
        """``plan`` for each target, NotPossible as a value: here one by one. A kind may do it faster, to the same numbers."""
        return [self._planned(target, params) for target in targets]

    def _planned(self, target: Target, params: Any) -> Occlusion | NotPossible:
        try:
            return self.plan(target, params)
        except NotPossible as reason:
            return reason

    def needs_silhouette(self, params: Any) -> bool:
        """Whether planning with these numbers asks for the person's silhouette."""
        del params
        return False

    def joints(self, occlusion: Occlusion) -> tuple[str, ...]:
        """The names of the joints that a model of joints does not get; none for kinds that hide pixels."""
        del occlusion
        return ()

    def window(self, occlusion: Occlusion) -> np.ndarray | None:
        """The window (4,) float64 that the view is cut to; None: this kind does not cut."""
        del occlusion
        return None

    def cover(self, occlusion: Occlusion) -> IntBox | None:
        """The box of pixels of the whole image that is all it hides (empty: none), by which many plans are measured at once; None: what it
        hides is no such box, or beyond what is known."""
        del occlusion
        return None

    def stencil(self, occlusion: Occlusion, raster: Raster) -> Stencil | None:
        """What the occluder lays over a raster in the plan's coordinates; None where it covers none of its pixels."""
        del occlusion, raster
        return None

    def stencils(self, occlusion: Occlusion, raster: Raster) -> Iterable[Stencil]:
        """What the occluder lays over a raster, one thing after the other; a kind that lays down one at most has ``stencil`` alone."""
        found = self.stencil(occlusion, raster)
        return () if found is None else (found,)


@cache
def occluder(kind: str) -> Occluder:
    """The occluder registered under a name. Raises UnknownNameError."""
    return load_plugin("occluder", kind)()


def whole_box(box_xyxy: np.ndarray) -> IntBox:
    """The smallest integer box around a box."""
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    return int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)), int(np.ceil(y1))
