"""``hpsbench check data | body | model``."""

from pathlib import Path

import click

from hpsbench.cli.options import body_for, body_option, device_option


@click.group("check")
def check_command() -> None:
    """Say in plain words what is missing, where to get it, and under which terms."""


def _print(report) -> None:
    for level, message in report.lines:
        click.echo(f"{level:<7} {message}")
    if not report.ok:
        raise click.exceptions.Exit(1)


@check_command.command("data")
@click.argument("folder", type=click.Path(path_type=Path), required=False, envvar="HPSBENCH_DATA")
@click.option("--dataset", default="3dpw", show_default=True, help="What the folder should be.")
@body_option
@click.option("--all-images", is_flag=True, help="Open every image rather than one per sequence and a hundred more.")
@click.option("--overlay", type=click.Path(path_type=Path, dir_okay=False), help="Draw a few samples of each split into this .png or .jpg.")
def check_data_command(folder: Path | None, dataset: str, body: Path | None, all_images: bool, overlay: Path | None) -> None:
    """Check a dataset's FOLDER: its files, counts and images, its joints against its cameras and 2D annotation, units, left and right.

    With the body files named too, its annotations are held against them. Images shifted against all annotations show in --overlay alone.
    """
    from hpsbench.body.bodies import load_bodies
    from hpsbench.check import check_data

    bodies = None if body is None and dataset != "openhps" else load_bodies(body)
    _print(check_data(dataset, folder, bodies, all_images=all_images, overlay=overlay))


@check_command.command("body")
@click.argument("folder", type=click.Path(path_type=Path), required=False, envvar="HPSBENCH_BODY")
def check_body_command(folder: Path | None) -> None:
    """Check a FOLDER of SMPL body files (without one: the embedded body)."""
    from hpsbench.check import check_body

    _print(check_body(folder))


@check_command.command("model")
@click.argument("model")
@click.option("--weights", type=click.Path(path_type=Path), multiple=True, help="The model's checkpoint; give it again for a second one.")
@body_option
@device_option
def check_model_command(model: str, weights: tuple[Path, ...], body: Path | None, device: str) -> None:
    """Run MODEL on a few people and check what it answers."""
    from hpsbench.check import check_model
    from hpsbench.models.base import load_model, pick_device

    bodies = body_for("openhps", body)
    _print(check_model(load_model(model, weights=weights, bodies=bodies, device=pick_device(device)), bodies))
