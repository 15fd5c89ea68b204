"""A small dataset and a model for tests of the verbs: people of the embedded body in pictures of noise."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import roma
import torch

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.base import Dataset, Entry, FrameCounts
from hpsbench.errors import DataError
from hpsbench.models.base import Model
from hpsbench.seeds import rng_of
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Card, CropSpec, Prediction, Sample, Truth, View

CARD = Card("fake", "people of a test", "tests", "Apache-2.0")
WIDTH, HEIGHT, FOCAL = 160, 120, 150.0
# (sequence, person, frames): two people share the frames of "b", one frame of "c" was dropped.
TRACKS = (("a", 0, range(4)), ("b", 0, range(3)), ("b", 1, range(3)), ("c", 0, (0, 1, 2, 4, 5, 6)))


@cache
def exact_bodies():
    """The embedded bodies in float64, read once."""
    return load_bodies(None, torch.float64)


@dataclass(frozen=True)
class Noise:
    """Reads an image that is fixed by its name; counts nothing, holds nothing."""

    name: str

    def __call__(self) -> np.ndarray:
        return rng_of("image", self.name).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


class FakeDataset(Dataset):
    """16 people in 13 frames of 3 sequences; ``order`` shuffles them."""

    name = "openhps"
    card = CARD
    splits = ("test",)

    def __init__(self, order=None, with_body=True, broken=()):
        found = []
        for sequence, person, frames in TRACKS:
            for frame in frames:
                stem = f"openhps/test/{sequence}"
                found.append(Entry(f"{stem}/{frame:05d}/{person}", f"{sequence}/{frame}", f"{stem}/{person}", frame))
        found.sort()
        entries = found if order is None else [found[i] for i in order]
        super().__init__(entries, split="test", counts=FrameCounts(18, 16, {"camera": 2}), fingerprint="fake-fingerprint")
        self.with_body, self.broken, self.samples = with_body, frozenset(broken), {}

    def __getstate__(self):
        return vars(self) | {"samples": {}}

    def track(self, name: str) -> list[Sample]:
        return sorted(super().track(name), key=lambda sample: sample.frame)

    def sample_at(self, i: int) -> Sample:
        entry = self._entries[i]
        if entry.id not in self.samples:
            self.samples[entry.id] = self._made(entry)
        return self.samples[entry.id]

    def _made(self, entry: Entry) -> Sample:
        rng = rng_of("person", entry.id)
        rotvecs = 0.2 * (rng.random((24, 3)) - 0.5)
        rotvecs[0] += [np.pi, 0, 0]
        betas, trans = rng.random(10) - 0.5, np.array([0.2 * rng.random(), 0.0, 3.0])
        gender = ("male", "female")[int(rng.random() < 0.5)]
        inputs = [torch.from_numpy(values)[None] for values in (betas, rotvecs, trans)]
        output = exact_bodies().forward(inputs[0], None, inputs[2], [gender], rotvecs=inputs[1])
        joints = exact_bodies().joints(output, "smpl24" if self.with_body else "h36m17")[0].numpy()
        K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])
        joints2d = (joints @ K.T)[:, :2] / joints[:, 2:]
        box = np.concatenate([joints2d.min(0), joints2d.max(0)])
        names = JOINT_NAMES["smpl24" if self.with_body else "h36m17"]
        seen = [names.index(name if name in names else "head") for name in JOINT_NAMES["openpose18"]]
        keypoints = np.concatenate([joints2d[seen], np.ones((18, 1))], axis=1)
        valid = np.ones(len(joints), dtype=bool)
        body = {"rotvecs": rotvecs, "betas": betas, "trans": trans, "gender": gender} if self.with_body else {}
        truth = Truth(
            joints,
            "smpl24" if self.with_body else "h36m17",
            joints2d,
            valid,
            keypoints2d=keypoints,
            keypoints_skeleton="openpose18",
            **body,
        )
        read = Broken(entry.id) if entry.id in self.broken else Noise(entry.image_key)
        view = View(read, entry.image_key, box, K)
        return Sample(entry.id, view, truth, entry.track.rpartition("/")[0], entry.track, entry.frame, (WIDTH, HEIGHT))


@dataclass(frozen=True)
class Grey:
    """Reads a picture of one colour, 96 x 72 px."""

    def __call__(self) -> np.ndarray:
        return np.full((72, 96, 3), 90, np.uint8)


class ThreePeople(Dataset):
    """Three people in three grey frames of one sequence, each as ``person(frame, bbox, size, name)`` makes them."""

    name = "openhps"
    card = CARD

    def __init__(self, person):
        entries = [Entry(f"fake/test/a/{frame:05d}/0", f"a/{frame}", "fake/test/a/0", frame) for frame in range(3)]
        super().__init__(entries, split="test", counts=FrameCounts(3, 3, {}), fingerprint="f" * 64)
        self.person = person

    def sample_at(self, i: int) -> Sample:
        entry = self._entries[i]
        sample = self.person(entry.frame, (20 + i, 5, 60 + i, 65), (96, 72), entry.id)
        return replace(sample, view=replace(sample.view, read=Grey(), image_key=entry.image_key), track=entry.track)


@dataclass(frozen=True)
class Broken:
    """An image that cannot be read."""

    name: str

    def __call__(self) -> np.ndarray:
        raise DataError(f"Image of {self.name} is broken.")


class FakeModel(Model):
    """Answers by the sample's id and the mean of its crop. ``bad``: ids that get NaN, ``only``: fields that it gives."""

    card = Card("fake.test", "answers by the id", "tests", "Apache-2.0", trained_on=("coco",))
    crop = CropSpec(32, 1.25)
    weights_sha256 = "fake-weights"

    def __init__(self, bodies, *, bad=(), only="rotmats", skeleton="h36m17"):
        super().__init__((), bodies, torch.device("cpu"))
        self.bad, self.only, self.skeleton, self.batches = frozenset(bad), only, skeleton, []

    def predict(self, batch):
        self.batches.append(batch.ids)
        rotvecs = torch.stack([torch.from_numpy(0.2 * (rng_of("answer", name).random((24, 3)) - 0.5)) for name in batch.ids])
        rotvecs[:, 0, 0] += torch.pi
        betas = torch.zeros(len(batch), 10, dtype=torch.float64)
        betas[:, 0] = batch.crops.cpu().double().mean((1, 2, 3)) / 255
        rotmats = roma.rotvec_to_rotmat(rotvecs)
        rotmats[[name in self.bad for name in batch.ids]] = torch.nan
        failed = torch.zeros(len(batch), dtype=torch.bool)
        if self.only == "rotmats":
            return Prediction(failed, rotmats=rotmats, betas=betas)
        output = exact_bodies().forward(betas, rotmats)
        if self.only == "vertices":
            return Prediction(failed, vertices=output.vertices)
        joints = exact_bodies().joints(output, self.skeleton)
        return Prediction(failed, joints=joints, skeleton=self.skeleton)
