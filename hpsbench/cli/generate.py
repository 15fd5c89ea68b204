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
crops_option = click.option(
    "--crops",
    type=click.IntRange(min=8),
    metavar="SIDE",
    help="Write the people's crops, SIDE px wide, as a model gets them, in the place of whole images.",
)
box_scale_option = click.option(
    "--box-scale",
    type=click.FloatRange(min=0, min_open=True),
    default=1.25,
    show_default=True,
    help="A crop's side over the box's longer side.",
)
reduced_option = click.option(
    "--reduced",
    is_flag=True,
    help="Decode images at 1/2, 1/4 or 1/8 where crops need no more: faster, other pixels than `hpsbench eval` sees.",
)
masks_option = click.option(
    "--masks", is_flag=True, help="Measure how much of each person's silhouette is hidden, too (true bodies; some ms a person)."
)
engine_option = click.option(
    "--engine",
    type=click.Choice(["processes", "dask", "ray"]),
    default="processes",
    show_default=True,
    help="What the workers are: processes of this machine, or of a cluster.",
)
address_option = click.option(
    "--address", help="The dask scheduler or ray head of a cluster that sees the same files [default: a local one of --workers]."
)


def generate_options(command):
    """The options that ``generate`` and ``make-xocc`` share."""
    parallel = (shard_option, address_option, engine_option, workers_option)
    written = (masks_option, reduced_option, box_scale_option, crops_option, images_option)
    for option in (*parallel, *written, out_option, body_option, data_option):
        command = option(command)
    return command


@click.command("generate")
@click.option(
    "--protocol", "names", multiple=True, help="A protocol's name or .toml file; several are done in one pass [default: openhps-xocc]."
)
@generate_options
def generate_command(names: tuple[str, ...], **settings) -> None:
    """Make the occluded test set of a protocol: plans as data, and its images where asked for.

    Of several protocols each gets a folder of its name below --out; their images are decoded once for all of them.
    """
    run_generate(names or (None,), "openhps-xocc", **settings)


def run_generate(
    names: tuple[str | None, ...], embedded: str, *, data: Path | None, body: Path | None, out: Path, masks: bool, **settings
) -> None:
    """What ``generate`` and ``make-xocc`` do with their options."""
    from hpsbench.generate import generate_all

    protocols = [protocol_for(name, data, embedded) for name in names]
    folders = _folders(out, [protocol.name for protocol in protocols])
    bodies = body_for(protocols[0].data.dataset, body)
    dataset = dataset_for(protocols[0], data, bodies)
    crops = _crops(settings.pop("crops"), settings.pop("box_scale"), settings.pop("reduced"))
    how = {"crops": crops, "bodies": bodies, "masks": bodies if masks else None, "progress": progress_bar("generate")}
    manifests = generate_all(dict(zip(folders, protocols, strict=True)), dataset, **how, **settings)
    for folder, manifest in manifests.items():
        what = "" if manifest["images"] is None else " and images" if manifest["crops"] is None else " and crops"
        talk(f"{manifest['counts']['written']} plans{what} in {folder}. Next: hpsbench verify {folder}")


def _folders(out: Path, names: list[str]) -> list[Path]:
    """Where each protocol goes: one into ``out`` itself, several below it."""
    if len(names) == 1:
        return [out]
    if len(set(names)) < len(names):
        raise click.UsageError(f"A protocol is named twice: {', '.join(names)}. Each gets a folder of its name: name each once.")
    return [out / name for name in names]


def _crops(side: int | None, box_scale: float, reduced: bool):
    from hpsbench.generate import Crops
    from hpsbench.types import CropSpec

    if side is None and reduced:
        raise click.UsageError("--reduced is for crops, and none are asked for. Name their width with --crops SIDE too.")
    return None if side is None else Crops(CropSpec(side, box_scale), reduced)
