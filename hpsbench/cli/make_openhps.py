"""``hpsbench make-openhps``."""

from pathlib import Path

import click

from hpsbench.cli.options import out_option, progress_bar, talk


@click.command("make-openhps")
@click.option("--people", type=click.IntRange(min=1), required=True, help="Person-frames to render, at least.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same people.")
@out_option
@click.option("--split", type=click.Choice(["train", "test"]), default="train", show_default=True, help="Whose poses to take.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes that render.")
def make_openhps_command(people: int, seed: int, out: Path, split: str, workers: int) -> None:
    """Render people of the open synthetic set, laid out as 3DPW is. Killed, the same command goes on."""
    from hpsbench.datasets.openhps.make import make_openhps

    made = make_openhps(out, people=people, seed=seed, split=split, workers=workers, progress=progress_bar("render"))
    use = f"hpsbench train hybrik --data {out}" if split == "train" else f"hpsbench eval --protocol openhps-test --data {out}"
    talk(f"{made} person-frames in {out}. Use them: {use} ...")
