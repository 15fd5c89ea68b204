"""What the evaluator reaches on a CUDA device, against the bandwidth at which the device copies memory."""

import time
from collections.abc import Callable

import torch

from hpsbench.body.bodies import load_bodies
from hpsbench.metrics.joints import pa_mpjpe
from hpsbench.metrics.vertices import mean_pve

_PEOPLE, _MESHES = 35_515, 8192


def seconds(work: Callable[[], object], tries: int = 5) -> float:
    """The least of a few times, the device waited for."""
    times = []
    for _ in range(tries + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def report() -> None:
    """PVE and skinning as parts of the copy bandwidth, and the time of an alignment of everybody."""
    pred, gt = (torch.randn(_MESHES, 6890, 3, device="cuda") for _ in range(2))
    size = pred.numel() * pred.element_size()
    room = torch.empty_like(pred)
    bandwidth = 2 * size / seconds(lambda: room.copy_(pred))
    print(f"{torch.cuda.get_device_name()}: copies at {bandwidth / 1e9:,.0f} GB/s")
    floor = 2 * size / bandwidth
    took = seconds(lambda: mean_pve(pred, gt))
    print(f"PVE of {_MESHES:,} people: {1e3 * took:.2f} ms, {100 * floor / took:.0f} % of the floor (asked for: 60 %)")
    body = load_bodies(None).to("cuda").neutral
    betas, rotvecs = torch.randn(_MESHES, 10, device="cuda"), 0.3 * torch.randn(_MESHES, 24, 3, device="cuda")
    with torch.inference_mode():
        took = seconds(lambda: body(betas, rotvecs=rotvecs).vertices)
    print(f"vertices of {_MESHES:,} people: {1e3 * took:.2f} ms, {100 * size / bandwidth / took:.0f} % of the floor (asked for: 60 %)")
    x, y = (torch.randn(_PEOPLE, 14, 3, device="cuda") for _ in range(2))
    print(f"PA-MPJPE of {_PEOPLE:,} people: {1e3 * seconds(lambda: pa_mpjpe(x, y, x, y)):.2f} ms (asked for: less than 5)")
