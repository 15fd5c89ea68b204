"""Occluders that come and go along a track, for video models: static, moving, key-framed and flickering.

Ours. A track is hidden again and again: a gap, an occlusion, the next gap, all in frame numbers from the track's first kept frame on, so
that a frame that was dropped moves nothing. The plan of a frame says how long ago the last onset was and how long that occlusion lasts,
from which ``hpsbench.metrics.onset`` makes errors against time since onset and the time that a model needs to recover.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from hpsbench.occluders.base import Draws, Occluder, Target
from hpsbench.occluders.base_stencil import Fill, IntBox, Raster, Stencil, filled, overlap
from hpsbench.seeds import rng_of
from hpsbench.types import Card, Occlusion

Range = tuple[float, float]
Frames = tuple[int, int]
# (x, y) of the centre, width and height, in widths and heights of the person's box, from its corner on.
Patch = tuple[float, float, float, float]

_OWN = {"static": (), "moving": ("speed",), "keyframed": ("interval",), "flickering": ("flicker",)}


@dataclass(frozen=True)
class TemporalParams:
    """Every number of the occluders, as protocol files name them; those drawn are uniform between both.

    ``gap``: frames without occlusion before each onset. ``duration``: frames from onset to end; of "moving" what its way takes. ``width``
    and ``height``: of the rectangle, over those of the person's box. "moving" has a ``speed``: widths of the box a frame (heights, where
    it crosses from the top or the bottom). "keyframed" is drawn anew every ``interval`` frames from the onset on, and blended in between.
    "flickering" shows the first of every so many frames, ``flicker`` = [shown, of].
    """

    motion: Literal["static", "moving", "keyframed", "flickering"]
    gap: Frames
    width: Range
    height: Range
    fill: Fill
    duration: Frames | None = None
    speed: Range | None = None
    interval: int | None = None
    flicker: Frames | None = None

    def __post_init__(self):
        own = ("speed",) if self.motion == "moving" else ("duration", *_OWN[self.motion])
        for name in ("duration", "speed", "interval", "flicker"):
            if (getattr(self, name) is not None) != (name in own):
                raise ValueError(f"{name}: {getattr(self, name)} found, but motion '{self.motion}' takes {' and '.join(own)} alone.")
        for name in ("gap", "duration", "width", "height", "speed"):
            between = getattr(self, name)
            if between is not None and not 0 < between[0] <= between[1]:
                raise ValueError(f"{name}: expected [smallest, largest], above 0, but got {list(between)}.")
        if self.interval is not None and self.interval < 1:
            raise ValueError(f"interval: expected at least 1 frame, but got {self.interval}.")
        if self.flicker is not None and not 0 < self.flicker[0] < self.flicker[1]:
            raise ValueError(f"flicker: expected [shown, of], at least 1 shown and fewer than all, but got {list(self.flicker)}.")


@dataclass(frozen=True)
class Event:
    """One occlusion of a track: its number, the frame of its onset, how many frames it lasts, its rectangle and how that moves.

    ``side``: where a moving one comes from, 0 left, 1 top, 2 right, 3 bottom; ``speed``: its own.
    """

    number: int
    onset: int
    duration: int
    patch: Patch
    side: int = 0
    speed: float = 0.0


@lru_cache(maxsize=64)
def events_of(words: tuple[str | int, ...], first: int, last: int, params: TemporalParams) -> tuple[Event, ...]:
    """The occlusions of a track whose kept frames go from ``first`` to ``last``, in their order; none has its onset at ``first``."""
    events: list[Event] = []
    free_from = first
    while True:
        event = _event(rng_of(*words, "event", len(events)), len(events), free_from, params)
        if event.onset > last:
            return tuple(events)
        events.append(event)
        free_from = event.onset + event.duration


def _event(draws: Draws, number: int, free_from: int, params: TemporalParams) -> Event:
    """Draws, in this order: the gap; the rectangle (width, height, x, y); then the duration or, of a moving one, its side and speed."""
    onset = free_from + _whole(draws, params.gap)
    patch = _patch(draws, params)
    if params.duration is not None:
        return Event(number, onset, _whole(draws, params.duration), patch)
    side = int(4 * draws.random())
    speed = round(_uniform(draws, params.speed), 6)
    way = 1 + (patch[2] if side in (0, 2) else patch[3])
    return Event(number, onset, max(math.ceil(way / speed - 0.5), 1), patch, side, speed)


def _patch(draws: Draws, params: TemporalParams) -> Patch:
    """A rectangle whose centre is uniform in the box. Draws: width, height, x, y."""
    width, height = (round(_uniform(draws, between), 6) for between in (params.width, params.height))
    return round(draws.random(), 6), round(draws.random(), 6), width, height


def patch_at(event: Event, since: int, words: tuple[str | int, ...], params: TemporalParams) -> Patch | None:
    """The rectangle ``since`` frames after the onset, in widths and heights of the box; None where it is over, or off."""
    if since >= event.duration:
        return None
    if params.flicker is not None and since % params.flicker[1] >= params.flicker[0]:
        return None
    if params.interval is not None:
        return _blended(event, since, words, params)
    return _moved(event, since) if params.speed is not None else event.patch


def _moved(event: Event, since: int) -> Patch:
    """A rectangle on its way across the box, from where it touches it to where it has left it; at half a frame's way at the onset."""
    x, y, width, height = event.patch
    way = (since + 0.5) * event.speed
    if event.side in (0, 2):
        place = -width / 2 + way
        return place if event.side == 0 else 1 - place, y, width, height
    place = -height / 2 + way
    return x, place if event.side == 1 else 1 - place, width, height


def _blended(event: Event, since: int, words: tuple[str | int, ...], params: TemporalParams) -> Patch:
    """The rectangle between those of the two key frames about a frame; that of the onset is the event's own."""
    key, over = divmod(since, params.interval)
    keys = [event.patch if k == 0 else _patch(rng_of(*words, "event", event.number, "key", k), params) for k in (key, key + 1)]
    weight = over / params.interval
    x, y, width, height = ((1 - weight) * a + weight * b for a, b in zip(*keys, strict=True))
    return x, y, width, height


class Temporal(Occluder):
    """A rectangle that comes and goes: it stays, crosses the person, wanders between key frames, or flickers."""

    kind = "temporal"
    card = Card(
        name="temporal",
        what="occlusions that come and go along a track: static, moving, key-framed or flickering",
        source="hpsbench",
        licence="Apache-2.0 (this implementation)",
    )
    Params = TemporalParams
    tells_onset = True

    def plan(self, target: Target, params: TemporalParams) -> Occlusion:
        """What is shown at the target's frame; all draws are the track's.

        "onset": frames since the last onset, "duration": how many that occlusion lasts, "event": its number; all None before the first
        one. "box_xyxy": the px of the image that are hidden, None where none are.
        """
        sample, words = target.sample, (target.seed, target.sample.track, self.kind)
        events = events_of(words, target.track[0].frame, target.track[-1].frame, params)
        numbers: dict[str, Any] = {"event": None, "onset": None, "duration": None, "box_xyxy": None, "fill": params.fill}
        event = next((event for event in reversed(events) if event.onset <= sample.frame), None)
        if event is None:
            return Occlusion(self.kind, "image", numbers)
        since = sample.frame - event.onset
        numbers |= {"event": event.number, "onset": since, "duration": event.duration}
        patch = patch_at(event, since, words, params)
        pixels = None if patch is None else _pixels_of(patch, target)
        if pixels is not None:
            numbers["box_xyxy"] = list(pixels)
            numbers |= {"noise": [*words, event.number, "pixels"]} if params.fill == "noise" else {}
        return Occlusion(self.kind, "image", numbers)

    def stencil(self, occlusion: Occlusion, raster: Raster) -> Stencil | None:
        """The pixels of the rectangle."""
        params = occlusion.params
        if params["box_xyxy"] is None:
            return None
        x0, y0, x1, y1 = params["box_xyxy"]
        pixels = raster.pixels((x0, y0, x1, y1))
        return None if pixels is None else Stencil(pixels, None, filled(params, raster, pixels, (x0, y0), (x1 - x0, y1 - y0)))


def _pixels_of(patch: Patch, target: Target) -> IntBox | None:
    """The integer box of a rectangle about the target's box, its corners rounded, then cut to the image; None where nothing is left."""
    x0, y0, x1, y1 = (float(value) for value in target.sample.view.bbox_xyxy)
    x, y, width, height = patch
    across, down = x1 - x0, y1 - y0
    left, right = (round(x0 + (x + half * width) * across) for half in (-0.5, 0.5))
    top, bottom = (round(y0 + (y + half * height) * down) for half in (-0.5, 0.5))
    return overlap((left, top, right, bottom), (0, 0, *target.sample.image_size))


def _whole(draws: Draws, between: Frames) -> int:
    """A whole number from the first to the second, each as likely."""
    return between[0] + int(draws.random() * (between[1] - between[0] + 1))


def _uniform(draws: Draws, between: Range) -> float:
    return between[0] + draws.random() * (between[1] - between[0])
