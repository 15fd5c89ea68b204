"""``hpsbench make-xocc``."""

from pathlib import Path

import click

from hpsbench.cli.generate import generate_options, run_generate


@click.command("make-xocc")
@generate_options
def make_xocc_command(data: Path | None, **settings) -> None:
    """Make the XOCC test set: 3DPW-XOCC with --data, else OpenHPS-XOCC of the embedded set."""
    run_generate((None if data is None else "3dpw-xocc",), "openhps-xocc", data=data, **settings)
