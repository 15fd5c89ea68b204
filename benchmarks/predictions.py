"""``python -m benchmarks.predictions``: seconds and peak memory of scoring made-up files, of 3DPW's number of people and of 200,000.

The people are poses drawn once and repeated, in tracks of a thousand frames; the answers are written into a temporary folder, in the
dataset's order or shuffled. Each file is scored in a process of its own, whose peak resident memory is told; the first line has that of
the imports alone, to compare. ``--people`` scores one number of people only, ``--kind`` one kind of answer.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

PEOPLE = (35_515, 200_000)
KINDS = ("joints", "parameters", "vertices")
# Written and scored only where asked for: 83 KB a person.
_LARGE = ("vertices",)
_DRAWN = 256
_TRACK = 1000
_ROWS = 1024


def ids_of(people: int) -> list[str]:
    return [f"openhps/test/track{k // _TRACK:04d}/{k % _TRACK:05d}/0" for k in range(people)]


def write_file(path: Path, people: int, kind: str, shuffled: bool) -> None:
    """A file of ``people`` answers near the made-up truth."""
    rng = np.random.default_rng(1)
    ids = np.array(ids_of(people), dtype="S")
    order = rng.permutation(people) if shuffled else np.arange(people)
    rows = _answers(kind)
    with h5py.File(path, "w") as file:
        file["ids"] = ids[order]
        for name, drawn in rows.items():
            chunk = max(1, min(_ROWS, people, (1 << 19) // drawn[0].nbytes))
            array = file.create_dataset(name, (people, *drawn.shape[1:]), dtype="float32", chunks=(chunk, *drawn.shape[1:]))
            for start in range(0, people, _ROWS):
                array[start : start + _ROWS] = drawn[order[start : start + _ROWS] % _DRAWN]
        if kind == "joints":
            file.attrs["skeleton"] = "h36m17"


def _drawn() -> tuple[np.ndarray, np.ndarray]:
    """Rotation vectors (256, 24, 3) and shapes (256, 10) of the made-up people."""
    rng = np.random.default_rng(0)
    rotvecs = 0.2 * rng.normal(size=(_DRAWN, 24, 3))
    rotvecs[:, 0, 0] += np.pi
    return rotvecs, rng.normal(size=(_DRAWN, 10))


def _answers(kind: str) -> dict[str, np.ndarray]:
    import torch

    from hpsbench.body.bodies import load_bodies
    from hpsbench.geometry import rotvec_to_rotmat

    rotvecs, betas = _drawn()
    rotmats = rotvec_to_rotmat(torch.from_numpy(rotvecs + 0.1 * np.random.default_rng(2).normal(size=rotvecs.shape)))
    if kind == "parameters":
        return {"rotmats": rotmats.numpy().astype(np.float32), "betas": betas.astype(np.float32)}
    bodies = load_bodies(None, torch.float64)
    output = bodies.neutral(torch.from_numpy(betas), rotmats)
    points = output.vertices if kind == "vertices" else bodies.joints(output, "h36m17")
    return {kind: points.numpy().astype(np.float32)}


def _people(people: int):
    """The made-up dataset."""
    from hpsbench.datasets.base import Dataset, Entry, FrameCounts
    from hpsbench.types import Card, Sample, Truth, View

    rotvecs, betas = _drawn()
    joints, joints2d, valid = np.zeros((24, 3)), np.zeros((24, 2)), np.ones(24, dtype=bool)
    truths = [Truth(joints, "smpl24", joints2d, valid, pose, shape) for pose, shape in zip(rotvecs, betas, strict=True)]
    view = View(lambda: np.zeros((8, 8, 3), np.uint8), "none", np.array([0.0, 0, 8, 8]), np.eye(3))

    class People(Dataset):
        name, card = "openhps", Card("made up", "people of a benchmark", "benchmarks", "Apache-2.0")

        def sample_at(self, i: int) -> Sample:
            entry = self._entries[i]
            return Sample(entry.id, view, truths[i % _DRAWN], entry.track.rpartition("/")[0], entry.track, entry.frame, (8, 8))

    stems = [name.rsplit("/", 2) for name in ids_of(people)]
    entries = [Entry("/".join(parts), "/".join(parts[:2]), f"{parts[0]}/0", int(parts[1])) for parts in stems]
    return People(entries, split="test", counts=FrameCounts(people, people), fingerprint="made-up")


def score(path: Path | None, people: int, out: Path) -> tuple[float, float]:
    """(seconds, peak MB) of scoring a file, in this process; of nothing but the imports where there is none."""
    import torch

    from hpsbench.body.bodies import load_bodies
    from hpsbench.evaluate import evaluate
    from hpsbench.models.base import load_model
    from hpsbench.protocol import load_protocol

    seconds = 0.0
    if path is not None:
        dataset, bodies, start = _people(people), load_bodies(None), time.perf_counter()
        model = load_model(f"predictions:{path}", bodies=bodies, device=torch.device("cpu"))
        result = evaluate(model, load_protocol("openhps-test"), dataset, bodies, out, batch_size=256)
        seconds = time.perf_counter() - start
        assert (result.n_evaluated, result.n_failed) == (people, 0), result.id_counts
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_a_process(work: Callable[..., tuple[float, float]], *given) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(work, given)


def measure(numbers: Sequence[int], kinds: Sequence[str], orders: Sequence[bool]) -> None:
    """A line for each file."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print(f"{'imports alone':<44} {'':>22} peak {_in_a_process(score, None, 0, root / 'none')[1]:6,.0f} MB")
        for people in numbers:
            for kind in kinds:
                for shuffled in orders:
                    path = root / "p.h5"
                    write_file(path, people, kind, shuffled)
                    seconds, peak = _in_a_process(score, path, people, root / f"{people}-{kind}-{shuffled}")
                    what, size = f"{people:,} people, {kind}, {'shuffled' if shuffled else 'in order'}", path.stat().st_size / 2**20
                    print(f"{what:<44} {seconds:8.1f} s {people / seconds:9,.0f}/s peak {peak:6,.0f} MB, file {size:,.0f} MB", flush=True)
                    path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=int, help="one number of people in place of 35,515 and 200,000")
    parser.add_argument("--kind", choices=KINDS, help="one kind of answer [default: joints and parameters]")
    parser.add_argument("--shuffled", action="store_true", help="rows in no order, too")
    given = parser.parse_args()
    numbers = PEOPLE if given.people is None else (given.people,)
    kinds = [kind for kind in KINDS if kind not in _LARGE] if given.kind is None else [given.kind]
    measure(numbers, kinds, (False, True) if given.shuffled else (False,))


if __name__ == "__main__":
    main()
