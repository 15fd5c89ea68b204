"""Options that several commands share, and what they stand for."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies
    from hpsbench.datasets.base import Dataset
    from hpsbench.protocol import Protocol

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="HPSBENCH_DATA",
    help="The dataset's folder [env: HPSBENCH_DATA; default: the embedded set].",
)
body_option = click.option(
    "--body",
    type=click.Path(path_type=Path),
    envvar="HPSBENCH_BODY",
    help="The folder of SMPL body files [env: HPSBENCH_BODY; default: the embedded body; none for AGORA's meshes].",
)
out_option = click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to write to.")
workers_option = click.option(
    "--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that read and draw images."
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where the model runs."
)
profile_option = click.option("--profile", "profiled", is_flag=True, help="Say at the end, on stderr, where the time went.")


class Shard(click.ParamType):
    """``I/N``: the I-th of N parts, I from 1."""

    name = "I/N"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        left, slash, right = value.partition("/")
        if not (slash and left.isdigit() and right.isdigit() and 1 <= int(left) <= int(right)):
            self.fail(f"'{value}' is no shard. Give I/N with 1 <= I <= N, for example 2/8.", param, ctx)
        return int(left) - 1, int(right)


shard_option = click.option("--shard", type=Shard(), default="1/1", help="Do only the I-th of N parts; `hpsbench merge` joins them.")


def body_for(dataset: str, folder: Path | None) -> "Bodies":
    """The bodies of a folder; the embedded ones where a set of the embedded kind is used and no folder is named."""
    from hpsbench.body.bodies import load_bodies

    if folder is None and dataset != "openhps":
        raise click.UsageError(
            f"People of '{dataset}' are scored with SMPL bodies: name the folder of the SMPL body files with --body or HPSBENCH_BODY "
            "(free registration at smpl.is.tue.mpg.de; `hpsbench check body DIR` says what is missing)."
        )
    return load_bodies(folder)


def protocol_for(name: str | None, data: Path | None, embedded: str) -> "Protocol":
    """The protocol of a name; with neither a name nor data, the one of the embedded set."""
    from hpsbench.protocol import load_protocol, protocol_names

    if name is None and data is not None:
        raise click.UsageError(f"--data is given, but no --protocol. Name one of: {', '.join(protocol_names())}, or a .toml file.")
    protocol = load_protocol(name or embedded)
    if data is None and protocol.data.dataset != "openhps":
        raise click.UsageError(
            f"Protocol '{protocol.id}' is measured on '{protocol.data.dataset}': name its folder with --data or HPSBENCH_DATA "
            f"(`hpsbench list datasets` says where to get it), or use {embedded}, which needs no data{_or_on_embedded(protocol)}."
        )
    return protocol


def _or_on_embedded(protocol: "Protocol") -> str:
    return f", or {protocol.name.partition('@')[0]}@openhps-test" if protocol.occluders else ""


def dataset_for(protocol: "Protocol", data: Path | None, bodies: "Bodies") -> "Dataset":
    """The samples that a protocol names, and on stderr how many were kept and dropped, and why."""
    from hpsbench.datasets.base import open_dataset

    rule = protocol.data
    dataset = open_dataset(
        rule.dataset, data, split=rule.split, frames=rule.frames, bbox=rule.bbox, bbox_scale=rule.bbox_scale, bodies=bodies
    )
    talk(f"{protocol.id} on {dataset.name}/{dataset.split}: {dataset.counts}")
    return dataset


def talk(text: str) -> None:
    """A line for the person at the screen: stderr, so that stdout holds data alone."""
    click.echo(text, err=True)


def progress_bar(label: str, unit: str = "person") -> Callable[[int, int], None]:
    """A callback (done, total) that draws a bar on stderr, and nothing where stderr is no terminal."""
    from tqdm import tqdm

    bar = tqdm(desc=label, unit=unit, disable=None, leave=False)

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return update
