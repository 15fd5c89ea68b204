"""Generated sets, two people to a frame of 3DPW's size and two protocols, against bare decoding and encoding and a plain loop."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import seconds, show
from benchmarks.peers import written_per_person
from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.base import Dataset, FrameCounts, open_dataset
from hpsbench.datasets.base_columns import ColumnDataset, SampleColumns
from hpsbench.generate import Crops, generate_all
from hpsbench.image import encode_jpeg, encode_png, read_image
from hpsbench.occlude import Planner
from hpsbench.protocol import Protocol, load_protocol
from hpsbench.types import CropSpec, Sample, View

_PROTOCOLS = ("openhps-xocc", "3dpw-xocc-patch@openhps-test")
_ASKED_PLANS = 20_000


class Pairs(Dataset):
    """The people of those frames of a dataset that show two; the frames are enlarged to 3DPW's size, in ``folder``."""

    def __init__(self, whole: Dataset, folder: Path):
        self.whole, self.name, self.card, self.folder = whole, whole.name, whole.card, folder
        self.places = [i for frame in whole.frames() if len(frame) == 2 for i in frame]
        super().__init__([whole._entries[i] for i in self.places], split=whole.split, counts=whole.counts, fingerprint=whole.fingerprint)

    def sample_at(self, i: int) -> Sample:
        small = self.whole[self.places[i]]
        size, factor = _enlarged(small.image_size)
        path = self.folder / f"{small.view.image_key.replace('/', '_')}.jpg"
        if not path.is_file():
            path.write_bytes(encode_jpeg(cv2.resize(small.view.read(), size)))
        camera = np.diag([factor, factor, 1]) @ small.view.intrinsics
        view = View(partial(read_image, path), small.view.image_key, factor * small.view.bbox_xyxy, camera, reducible=True)
        joints2d, keypoints2d = factor * small.truth.joints2d, small.truth.keypoints2d * [factor, factor, 1]
        return replace(small, view=view, truth=replace(small.truth, joints2d=joints2d, keypoints2d=keypoints2d), image_size=size)


class Again(ColumnDataset):
    """The people of a dataset so many times over, each time in sequences and tracks of their own."""

    def __init__(self, whole: ColumnDataset, times: int):
        self.name, self.card = whole.name, whole.card
        columns = [_renamed(part, f"{k}/") for k in range(times) for part in whole._columns]
        people = times * len(whole)
        super().__init__(columns, split=whole.split, counts=FrameCounts(people, people, {}), fingerprint=whole.fingerprint)


def _renamed(part: SampleColumns, stem: str) -> SampleColumns:
    """The samples of a sequence under ids, images and tracks that begin with a stem."""
    names = ("id", "image_key", "track")
    return replace(part, entries=[entry._replace(**{name: stem + getattr(entry, name) for name in names}) for entry in part.entries])


def _enlarged(size: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """The size at which the longer side has 3DPW's 1920 px, and how many times as large that is."""
    factor = 1920 / max(size)
    return (round(size[0] * factor), round(size[1] * factor)), factor


def _embedded() -> Dataset:
    rule = {"split": "test", "frames": "campose-valid", "bbox": "keypoints", "bbox_scale": 1.0}
    return open_dataset("openhps", None, **rule, bodies=load_bodies(None))


def generation() -> None:
    """Crops and frames of two protocols in one pass."""
    protocols = [load_protocol(name) for name in _PROTOCOLS]
    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder) / str(k) for k in count())
        dataset = Pairs(_embedded(), Path(folder))
        samples = list(dataset)
        frames = list({sample.view.image_key: sample.view for sample in samples}.values())
        views = len(samples) * len(protocols)

        def made(**how) -> Callable[[], object]:
            def work() -> None:
                place = next(places)
                generate_all({place / protocol.name: protocol for protocol in protocols}, dataset, **how)

            return work

        crops, reduced = (seconds(made(crops=Crops(CropSpec(256), reduced)), tries=2) for reduced in (False, True))
        whole = seconds(made(images=True), tries=2)
        plain = seconds(lambda: [written_per_person(samples, Planner(protocol, dataset), next(places)) for protocol in protocols], tries=2)
        bare = seconds(lambda: _written(frames, next(places)), tries=2)
        decoded = seconds(lambda: [view.read() for view in frames])
    show("crops of 256 px, by the frame", len(frames), crops, bare, "decode, encode and write each frame once", 0.7)
    show("crops of 256 px, decoded reduced, by the frame", len(frames), reduced, bare, "decode, encode and write each frame once", 0.7)
    show("crops of 256 px, by the view", views, crops, plain, "read, paint, write a frame per view", 3)
    show("whole frames, by the view", views, whole, plain, "read, paint, write a frame per view", 3)
    show("decoding alone, by the frame", len(frames), decoded, bare, "decode, encode and write each frame once")


def planning() -> None:
    """Plans alone: drawn, and written with what they hide."""
    dataset, protocols = Again(_embedded(), 20), [load_protocol(name) for name in _PROTOCOLS]
    samples, xocc = list(dataset), protocols[0]
    drawn = seconds(lambda: Planner(xocc, dataset).all_of(samples))
    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder) / str(k) for k in count())

        def written(some: Sequence[Protocol]) -> None:
            place = next(places)
            generate_all({place / protocol.name: protocol for protocol in some}, dataset)

        one, both = seconds(lambda: written(protocols[:1])), seconds(lambda: written(protocols))
    people, views = len(samples), len(samples) * len(protocols)
    show("XOCC plans, not written", people, drawn, people / _ASKED_PLANS, "the rate asked for", 1)
    show("XOCC plans only, written", people, one, people / _ASKED_PLANS, "the rate asked for", 1)
    show("plans only, of two protocols, by the view", views, both, views / _ASKED_PLANS, "the rate asked for", 1)


def _written(frames: Sequence, folder: Path) -> None:
    folder.mkdir()
    for k, view in enumerate(frames):
        (folder / f"{k}.png").write_bytes(encode_png(view.read()))
