"""``hpsbench train hybrik | niki``."""

from pathlib import Path

import click

from hpsbench.cli.options import body_for, body_option, device_option, out_option, talk

train_data_option = click.option(
    "--data", type=click.Path(path_type=Path), required=True, envvar="HPSBENCH_DATA", help="A set of `hpsbench make-openhps --split train`."
)


@click.group("train")
def train_command() -> None:
    """Train the small models that ship with the package. Killed, the same command goes on."""


@train_command.command("hybrik")
@train_data_option
@body_option
@out_option
@click.option("--steps", type=click.IntRange(min=1), help="Batches to train on [default: what the bundled weights took].")
@click.option("--seed", type=int, default=0, show_default=True)
@device_option
def hybrik_command(data: Path, body: Path | None, out: Path, steps: int | None, seed: int, device: str) -> None:
    """The joint network: crops to joints, twists and shape."""
    from hpsbench.models.base import pick_device
    from hpsbench.train.hybrik import train_hybrik

    talk(f"weights: {train_hybrik(data, out, bodies=body_for('openhps', body), steps=steps, seed=seed, device=pick_device(device))}")


@train_command.command("niki")
@train_data_option
@body_option
@out_option
@click.option(
    "--hybrik", type=click.Path(path_type=Path), help="The HybrIK weights whose answers it learns from [default: the bundled ones]."
)
@click.option("--steps", type=click.IntRange(min=1), help="Batches to train on [default: what the bundled weights took].")
@click.option("--seed", type=int, default=0, show_default=True)
@device_option
def niki_command(data: Path, body: Path | None, out: Path, hybrik: Path | None, steps: int | None, seed: int, device: str) -> None:
    """The invertible network: joints and twists to rotations."""
    from hpsbench.models.base import pick_device
    from hpsbench.train.niki import train_niki

    bodies = body_for("openhps", body)
    talk(f"weights: {train_niki(data, out, bodies=bodies, hybrik_weights=hybrik, steps=steps, seed=seed, device=pick_device(device))}")
