"""``hpsbench generate``."""

from pathlib import Path

import click

from hpsbench.cli.options import (
    body_for,
    body_option,
    data_option,
    dataset_for,
    out_option,
    progress_bar,
    protocol_for,
    shard_option,
    talk,
    workers_option,
)

images_option = click.option(
    "--images/--plans-only", default=False, help="Write the occluded images too, or the plans alone [default: plans only]."
)


masks_option = click.option(
    "--masks", is_flag=True, help="Measure how much of each person's silhouette is hidden, too (true bodies; some ms a person)."
)


def generate_options(command):
    """The options that ``generate`` and ``make-xocc`` share."""
    for option in (shard_option, workers_option, masks_option, images_option, out_option, body_option, data_option):
        command = option(command)
    return command


@click.command("generate")
@click.option("--protocol", "name", help="A protocol's name or .toml file [default: openhps-xocc].")
@generate_options
def generate_command(name: str | None, **settings) -> None:
    """Make the occluded test set of a protocol: plans as data, and its images where asked for."""
    run_generate(name, "openhps-xocc", **settings)


def run_generate(
    name: str | None, embedded: str, *, data: Path | None, body: Path | None, out: Path, images: bool, masks: bool, workers: int, shard
) -> None:
    """What ``generate`` and ``make-xocc`` do with their options."""
    from hpsbench.generate import generate

    protocol = protocol_for(name, data, embedded)
    bodies = body_for(protocol.data.dataset, body)
    dataset = dataset_for(protocol, data, bodies)
    how = {"workers": workers, "shard": shard, "progress": progress_bar("generate")}
    manifest = generate(protocol, dataset, out, images=images, masks=bodies if masks else None, **how)
    talk(f"{manifest['counts']['written']} plans{' and images' if images else ''} in {out}. Next: hpsbench verify {out}")
