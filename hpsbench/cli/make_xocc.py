"""``hpsbench make-xocc``."""

from pathlib import Path

import click

from hpsbench.cli.generate import run_generate
from hpsbench.cli.options import body_option, data_option, out_option, shard_option, workers_option


@click.command("make-xocc")
@data_option
@body_option
@out_option
@click.option("--images/--plans-only", default=False, help="Write the occluded images too, or the plans alone [default: plans only].")
@workers_option
@shard_option
def make_xocc_command(data: Path | None, **settings) -> None:
    """Make the XOCC test set: 3DPW-XOCC with --data, else OpenHPS-XOCC of the embedded set."""
    run_generate(None if data is None else "3dpw-xocc", "openhps-xocc", data=data, **settings)
