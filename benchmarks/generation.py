"""Generated sets of embedded people, two to a frame and under two protocols, against bare decoding and encoding and a plain loop."""

import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from benchmarks.harness import seconds, show
from benchmarks.peers import written_per_person
from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.base import Dataset, open_dataset
from hpsbench.generate import Crops, generate_all
from hpsbench.image import encode_png
from hpsbench.occlude import Planner
from hpsbench.protocol import load_protocol
from hpsbench.types import CropSpec, Sample

_PROTOCOLS = ("openhps-xocc", "sarandi-mixture@openhps-test")
_ASKED_PLANS = 20_000


class Pairs(Dataset):
    """The people of those frames of a dataset that show two."""

    def __init__(self, whole: Dataset):
        self.whole, self.name, self.card = whole, whole.name, whole.card
        self.places = [i for frame in whole.frames() if len(frame) == 2 for i in frame]
        super().__init__([whole._entries[i] for i in self.places], split=whole.split, counts=whole.counts, fingerprint=whole.fingerprint)

    def sample_at(self, i: int) -> Sample:
        return self.whole[self.places[i]]


def _embedded() -> Dataset:
    rule = {"split": "test", "frames": "campose-valid", "bbox": "keypoints", "bbox_scale": 1.0}
    return open_dataset("openhps", None, **rule, bodies=load_bodies(None))


def generation() -> None:
    """Crops, frames and plans of two protocols in one pass."""
    dataset, protocols = Pairs(_embedded()), [load_protocol(name) for name in _PROTOCOLS]
    samples = list(dataset)
    frames = list({sample.view.image_key: sample.view for sample in samples}.values())
    views = len(samples) * len(protocols)
    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder) / str(k) for k in count())

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
