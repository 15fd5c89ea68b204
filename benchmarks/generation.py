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
from hpsbench.datasets.base import Dataset, open_dataset
from hpsbench.generate import Crops, generate_all
from hpsbench.image import encode_jpeg, encode_png, read_image
from hpsbench.occlude import Planner
from hpsbench.protocol import load_protocol
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


def _enlarged(size: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """The size at which the longer side has 3DPW's 1920 px, and how many times as large that is."""
    factor = 1920 / max(size)
    return (round(size[0] * factor), round(size[1] * factor)), factor


def _embedded() -> Dataset:
    rule = {"split": "test", "frames": "campose-valid", "bbox": "keypoints", "bbox_scale": 1.0}
    return open_dataset("openhps", None, **rule, bodies=load_bodies(None))


def generation() -> None:
    """Crops, frames and plans of two protocols in one pass."""
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
        whole, plans = seconds(made(images=True), tries=2), seconds(made())
        plain = seconds(lambda: [written_per_person(samples, Planner(protocol, dataset), next(places)) for protocol in protocols], tries=2)
        bare = seconds(lambda: _written(frames, next(places)), tries=2)
        decoded = seconds(lambda: [view.read() for view in frames])
    show("crops of 256 px, by the frame", len(frames), crops, bare, "decode, encode and write each frame once", 0.7)
    show("crops of 256 px, decoded reduced, by the frame", len(frames), reduced, bare, "decode, encode and write each frame once", 0.7)
    show("crops of 256 px, by the view", views, crops, plain, "read, paint, write a frame per view", 3)
    show("whole frames, by the view", views, whole, plain, "read, paint, write a frame per view", 3)
    show("plans only, of two protocols, by the view", views, plans, views / _ASKED_PLANS, "the rate asked for", 1)
    show("decoding alone, by the frame", len(frames), decoded, bare, "decode, encode and write each frame once")


def planning() -> None:
    """XOCC plans alone, without what they hid and without files."""
    dataset, protocol = _embedded(), load_protocol("openhps-xocc")
    samples = list(dataset)
    plans = seconds(lambda: list(map(Planner(protocol, dataset), samples)))
    show("XOCC plans, not written", len(samples), plans, len(samples) / _ASKED_PLANS, "the rate asked for", 1)


def _written(frames: Sequence, folder: Path) -> None:
    folder.mkdir()
    for k, view in enumerate(frames):
        (folder / f"{k}.png").write_bytes(encode_png(view.read()))
