"""``hpsbench sensitivity``."""

from pathlib import Path
from typing import Any

import click

from hpsbench.cli.options import (
    body_for,
    body_option,
    data_option,
    dataset_for,
    device_option,
    out_option,
    progress_bar,
    protocol_for,
    shard_option,
    talk,
    workers_option,
)

_UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9}


class Memory(click.ParamType):
    """A number of bytes: ``512MB``, ``2GB``."""

    name = "SIZE"

    def convert(self, value, param, ctx):
        if isinstance(value, int):
            return value
        number, unit = value[:-2].strip(), value[-2:].upper()
        try:
            size = float(number) * _UNITS[unit]
        except (KeyError, ValueError):
            size = 0.0
        if not 0 < size < float("inf"):
            self.fail(f"'{value}' is no size. Give a number above 0 with KB, MB or GB, for example 512MB.", param, ctx)
        return int(size)


@click.command("sensitivity")
@click.option("--model", required=True, help="A name (`hpsbench list models`) or path/to/file.py:Class.")
@click.option("--weights", type=click.Path(path_type=Path), multiple=True, help="The model's checkpoint; give it again for a second one.")
@click.option("--protocol", "name", help="A protocol with positions: a name or .toml file [default: pare-40-40@openhps-test].")
@data_option
@body_option
@out_option
@device_option
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Crops to a batch; moves no number.")
@workers_option
@shard_option
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many samples, to try things out.")
@click.option("--resume/--restart", default=True, show_default=True, help="Go on with a run that was stopped, or start it anew.")
@click.option("--refine", is_flag=True, help="Ask for some places of a fine grid only, within the bound that the protocol names.")
@click.option(
    "--memory",
    type=Memory(),
    default="2GB",
    show_default=True,
    help="The most that batches, and the crops and rows of people in hand, may take; the model and decoded images come on top.",
)
@click.option("--dtype", type=click.Choice(["float32", "bf16"]), default="float32", show_default=True, help="bf16 says how far it is off.")
@click.option("--stages", is_flag=True, help="Also the errors when a model's IK stage is given joints of the clean crop (hybrik, niki).")
@click.option("--fast", is_flag=True, help="Fuse the networks, recompute what a patch reaches; moves errors by float32's rounding.")
@click.option("--exact", is_flag=True, help="Keep the field in float32 (else float16, where every error is below 1024 mm).")
def sensitivity_command(
    model: str, weights: tuple[Path, ...], name: str | None, data: Path | None, body: Path | None, out: Path, device: str, **how
) -> None:
    """Slide a protocol's occluder over every person: the error of every joint at every position, in field.h5 of the folder --out."""
    from hpsbench.models.base import load_model, pick_device
    from hpsbench.sensitivity import sensitivity

    protocol = protocol_for(name, data, "pare-40-40@openhps-test")
    bodies = body_for(protocol.data.dataset, body)
    plugin = load_model(model, weights=weights, bodies=bodies, device=pick_device(device))
    dataset = dataset_for(protocol, data, bodies)
    result = sensitivity(plugin, protocol, dataset, bodies, out, device=device, progress=progress_bar(f"slide {model}"), **how)
    tell(result, out)


def tell(result: dict[str, Any], out: Path) -> None:
    """What came out: numbers on stdout, how it went on stderr."""
    from hpsbench.sensitivity.text import run_text, scores_text

    talk(run_text(result, out))
    click.echo(scores_text(result))
