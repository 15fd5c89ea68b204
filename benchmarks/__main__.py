"""``python -m benchmarks``: each operation as the field's code does it and as hpsbench does, on one thread, in one run.

The peers' ways are re-implemented here in a few lines each (a loop with one SVD per person; the reference body layer of smplx).
What is printed is measured: people per second, best of three, and the ratio.
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.peers import pa_mpjpe_loop, smplx_layer, written_per_person
from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.base import open_dataset
from hpsbench.generate import generate
from hpsbench.geometry import apply_similarity, similarity_align
from hpsbench.occlude import Planner
from hpsbench.protocol import load_protocol


def seconds(work: Callable[[], object], tries: int = 3) -> float:
    """The least of a few times that a call took, after one to warm up."""
    work()
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def show(name: str, people: int, ours: float, peer: float, peer_name: str) -> None:
    """One line: rates and their ratio."""
    print(f"{name:<28} ours {people / ours:>11,.0f}/s   {peer_name:<34} {people / peer:>9,.0f}/s   ratio {peer / ours:6.1f}")


def alignment(people: int = 20_000) -> None:
    """PA-MPJPE of 14 joints, float64 inside."""
    rng = np.random.default_rng(0)
    gt = rng.normal(0, 0.3, (people, 14, 3))
    pred = gt + rng.normal(0, 0.05, gt.shape)
    x, y = torch.from_numpy(pred), torch.from_numpy(gt)
    ours = seconds(lambda: (apply_similarity(x, *similarity_align(x, y)) - y).norm(dim=-1).mean(-1))
    few = people // 10
    peer = seconds(lambda: pa_mpjpe_loop(pred[:few], gt[:few])) * 10
    show("PA-MPJPE, 14 joints", people, ours, peer, "numpy loop, one SVD per person")


def body(people: int = 512) -> None:
    """Vertices, and joints alone, from pose and shape, float32."""
    bodies = load_bodies(None)
    torch.manual_seed(0)
    betas, rotvecs = torch.randn(people, 10), 0.3 * torch.randn(people, 24, 3)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        layer = smplx_layer(bodies.files["neutral"], Path(folder))
        peer = seconds(lambda: [layer(betas=betas[i : i + 256], pose=rotvecs[i : i + 256]) for i in range(0, people, 256)])
        ours = seconds(lambda: [bodies.neutral(betas[i : i + 64], rotvecs=rotvecs[i : i + 64]) for i in range(0, people, 64)])
        joints = seconds(lambda: bodies.forward_joints(betas, rotvecs=rotvecs, skeleton="eval14"))
    show("SMPL vertices", people, ours, peer, "smplx, batch 256")
    show("14 joints, no vertices", people, joints, peer, "smplx, batch 256")


def plans_and_frames() -> None:
    """XOCC plans of the embedded set, against decoding its frames once per person as loaders do."""
    protocol = load_protocol("openhps-xocc")
    dataset = open_dataset(
        "openhps", None, split="test", frames="campose-valid", bbox="keypoints", bbox_scale=1.0, bodies=load_bodies(None)
    )
    samples = list(dataset)
    plans = seconds(lambda: list(map(Planner(protocol, dataset), samples)))
    one_per_frame = {sample.view.image_key: sample.view for sample in samples}.values()
    per_person = seconds(lambda: [sample.view.read() for sample in samples])
    per_frame = seconds(lambda: [view.read() for view in one_per_frame])
    show("XOCC plans", len(samples), plans, per_person, "decoding one image per person")
    show("decoding once per frame", len(samples), per_frame, per_person, "decoding one image per person")


def generation(protocol: str = "openhps-xocc") -> None:
    """Whole generated sets of the embedded people, plans alone and with images, against a loop that reads, paints and writes per person."""
    rule = load_protocol(protocol)
    dataset = open_dataset(
        "openhps", None, split="test", frames="campose-valid", bbox="keypoints", bbox_scale=1.0, bodies=load_bodies(None)
    )
    samples = list(dataset)
    one_per_frame = {sample.view.image_key: sample.view for sample in samples}.values()
    with tempfile.TemporaryDirectory() as folder:
        places = (Path(folder) / str(k) for k in count())
        plans = seconds(lambda: generate(rule, dataset, next(places)))
        images = seconds(lambda: generate(rule, dataset, next(places), images=True), tries=1)
        plain = seconds(lambda: written_per_person(samples, Planner(rule, dataset), next(places)), tries=1)
    decoded = seconds(lambda: [view.read() for view in one_per_frame])
    show(f"{protocol}, plans only", len(samples), plans, plain, "read, paint, write per person")
    show(f"{protocol}, images", len(samples), images, plain, "read, paint, write per person")
    print(f"{'decoding alone':<28} {len(one_per_frame) / decoded:>16,.0f} frames/s")


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"one thread; torch {torch.__version__}, numpy {np.__version__}")
    alignment()
    body()
    plans_and_frames()
    generation()


if __name__ == "__main__":
    main()
