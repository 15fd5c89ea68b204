"""``hpsbench verify``."""

from pathlib import Path

import click


@click.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
def verify_command(folder: Path) -> None:
    """Check a generated FOLDER against its manifest and hashes."""
    from hpsbench.generate import verify

    click.echo(verify(folder))
