"""``python -m benchmarks.index``: what the index of a dataset costs and saves, on a made-up set of the size of 3DPW's test split.

The set has 3DPW's 24 test sequences with their numbers of people and images, 40,219 person-frames, of which 35,515 have a valid camera; the
numbers in it are drawn, and every image is a link to one small picture. Each step runs in a process of its own, on one core: parsing
and building, opening, opening with bodies, and walking over all samples without images. Nothing is left on the disk.
"""

import multiprocessing
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpsbench.datasets.threedpw import ThreeDPW
from hpsbench.image import encode_jpeg

_VALID = ThreeDPW.known_valid["test"]
_SIZE = (192, 108)
_RULES = {"split": "test", "frames": "campose-valid", "bbox": "keypoints", "bbox_scale": 1.0}


def write_set(root: Path) -> None:
    """The made-up set, in 3DPW's layout."""
    rng = np.random.default_rng(0)
    known = ThreeDPW.known["test"]
    flags = np.arange(sum(people * images for people, images in known.values())) < _VALID
    rng.shuffle(flags)
    (root / "sequenceFiles/test").mkdir(parents=True)
    picture = root / "picture.jpg"
    picture.write_bytes(encode_jpeg(np.zeros((_SIZE[1], _SIZE[0], 3), dtype=np.uint8)))
    for name, (people, images) in known.items():
        valid, flags = flags[: people * images].reshape(people, images), flags[people * images :]
        with open(root / f"sequenceFiles/test/{name}.pkl", "wb") as stream:
            pickle.dump(_record(rng, name, valid), stream, protocol=4)
        (root / "imageFiles" / name).mkdir(parents=True)
        for i in range(images):
            os.link(picture, root / f"imageFiles/{name}/image_{i:05d}.jpg")


def _record(rng: np.random.Generator, name: str, valid: np.ndarray) -> dict:
    """One sequence as its pickle holds it; ``valid`` (P, N) bool."""
    people, images = valid.shape
    poses, trans = rng.normal(0, 0.2, (people, images, 72)), rng.normal(0, 0.1, (people, images, 3))
    return {
        "sequence": name,
        "img_frame_ids": np.arange(0, 2 * images, 2),
        "poses": list(poses),
        "trans": list(trans),
        "poses_60Hz": list(np.repeat(poses, 2, axis=1)),
        "trans_60Hz": list(np.repeat(trans, 2, axis=1)),
        "jointPositions": list((rng.normal(0, 0.3, (people, images, 24, 3)) + np.array([0, 0, 4])).reshape(people, images, 72)),
        "poses2d": list(rng.uniform(1, 100, (people, images, 3, 18))),
        "betas": list(rng.normal(0, 1, (people, 10))),
        "genders": ["m", "f"][:people],
        "cam_poses": np.tile(np.eye(4), (images, 1, 1)),
        "campose_valid": list(valid.astype(int)),
        "cam_intrinsics": np.array([[200.0, 0, _SIZE[0] / 2], [0, 200.0, _SIZE[1] / 2], [0, 0, 1]]),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _open(root: Path) -> ThreeDPW:
    return ThreeDPW(root, bodies=None, **_RULES)


def _open_with_bodies(root: Path) -> ThreeDPW:
    from hpsbench.body.bodies import load_bodies

    return ThreeDPW(root, bodies=load_bodies(None), **_RULES)


def _walk(root: Path) -> int:
    """All samples of a set that is open already."""
    return sum(1 for _ in _walk.dataset)


def _measured(work: Callable[[Path], object], root: Path) -> tuple[float, float, float, float]:
    """(wall s, CPU s, peak MB of the process before, after) of one call, in a process that has imported everything."""
    import torch

    torch.set_num_threads(1)
    if work is _walk:
        _walk.dataset = _open(root)
    before, wall, cpu = _peak_mb(), time.perf_counter(), time.process_time()
    work(root)
    return time.perf_counter() - wall, time.process_time() - cpu, before, _peak_mb()


def measure(name: str, work: Callable[[Path], object], root: Path, *, tries: int = 1) -> None:
    """One line; of several tries the one that took least CPU time."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        wall, cpu, before, after = min((pool.apply(_measured, (work, root)) for _ in range(tries)), key=lambda row: row[1])
    rate = f"   {_VALID / cpu:>10,.0f} samples/s" if work is _walk else ""
    print(f"{name:<30} {wall:7.2f} s wall {cpu:7.2f} s CPU   peak memory {after:5.0f} MB, {after - before:4.0f} of them here{rate}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "3DPW")
        os.environ["HPSBENCH_CACHE"] = str(Path(folder, "cache"))
        write_set(root)
        measure("first use: parse and build", _open, root)
        print(f"index file: {sum(path.stat().st_size for path in Path(folder, 'cache').iterdir()) / 1e6:.0f} MB")
        measure("open", _open, root, tries=3)
        measure("open with bodies", _open_with_bodies, root, tries=3)
        measure(f"walk {_VALID:,} samples", _walk, root, tries=3)


if __name__ == "__main__":
    main()
