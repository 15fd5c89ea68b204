"""``hpsbench export``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpsbench.cli.options import body_option, data_option, progress_bar, talk

if TYPE_CHECKING:
    from hpsbench.datasets.base import Dataset

# The options that belong to one format.
_OWN = {"keypoints": "coco", "box_scale": "spin", "shard_size": "webdataset"}


@click.command("export")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(sorted(_OWN.values())), required=True, help="What the reader is written for.")
@data_option
@body_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file (coco, spin) or folder (webdataset) to write.")
@click.option("--keypoints", type=click.Choice(["truth", "coco17"]), help="coco: the truth's own joints, or COCO's 17 [default: truth].")
@click.option(
    "--box-scale",
    type=click.FloatRange(min=0, min_open=True),
    help="spin: scale is so many times the box's longer side / 200 [default: 1.2].",
)
@click.option("--shard-size", type=click.IntRange(min=1), help="webdataset: people to a shard [default: 1000].")
def export_command(folder: Path, form: str, data: Path | None, body: Path | None, out: Path, **own: Any) -> None:
    """Write a generated FOLDER as others' code reads it: COCO json, SPIN's npz, WebDataset shards."""
    from hpsbench.export import export
    from hpsbench.generated import load_generated, read_manifest

    given = {key: value for key, value in own.items() if value is not None}
    for key in given:
        if _OWN[key] != form:
            raise click.UsageError(f"--{key.replace('_', '-')} is for the format {_OWN[key]}. Leave it out, or say --format {_OWN[key]}.")
    generated = load_generated(folder, _dataset_of(read_manifest(folder), data, body))
    talk(export(generated, form, out, progress=progress_bar("export"), **given))


def _dataset_of(manifest: Mapping[str, Any], data: Path | None, body: Path | None) -> "Dataset":
    """The dataset that a generated folder was made from. Without bodies (none are needed) samples have no translation."""
    from hpsbench.body.bodies import load_bodies
    from hpsbench.datasets.base import open_dataset

    rule = dict(manifest["protocol"]["content"]["data"])
    embedded = rule["dataset"] == "openhps"
    if data is None and not embedded:
        raise click.UsageError(f"The folder was generated from '{rule['dataset']}': name its data with --data or HPSBENCH_DATA.")
    bodies = load_bodies(body) if embedded or body is not None else None
    return open_dataset(rule.pop("dataset"), data, bodies=bodies, **rule)
