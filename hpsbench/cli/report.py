"""``hpsbench report``."""

from pathlib import Path

import click


@click.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), help="Write the leaderboard: a row per model, protocol and metric.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the table as a page.")
def report_command(folders: tuple[Path, ...], csv: Path | None, html: Path | None) -> None:
    """Print the table of the results in FOLDERS (each one of `hpsbench eval`, or a folder of such)."""
    from hpsbench.report import load_results, result_table, write_csv, write_html

    results = load_results(folders)
    if csv is not None:
        write_csv(results, csv)
    if html is not None:
        write_html(results, html)
    click.echo(result_table(results))
