"""``hpsbench report``."""

from pathlib import Path

import click

from hpsbench.cli.options import data_option, talk


@click.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), help="Write the leaderboard: a row per model, protocol and metric.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the table as a page.")
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of error fields: write the maps and charts (PNG, SVG) and the numbers behind them (CSV) into this folder.",
)
@click.option("--person", help="Of error fields, with --figures: draw this person's map over their image too; the id of a sample.")
@data_option
def report_command(
    folders: tuple[Path, ...], csv: Path | None, html: Path | None, figures: Path | None, person: str | None, data: Path | None
) -> None:
    """Print the table of the results in FOLDERS: each one of `hpsbench eval` or `hpsbench sensitivity`, or a folder of such.

    The error fields of `hpsbench sensitivity` must be of one protocol and the same people; their models stand side by side.
    """
    from hpsbench.report.sensitivity import find_fields

    fields, others = find_fields(folders)
    if (csv is not None or html is not None) and not others:
        raise click.UsageError(
            "--csv and --html are of results of `hpsbench eval`, of which there is none here. Fields have --figures DIR."
        )
    if figures is not None and not fields:
        raise click.UsageError("--figures is of the error fields of `hpsbench sensitivity`, of which there is none here.")
    if person is not None and figures is None:
        raise click.UsageError("--person is drawn into the folder of --figures: give that too.")
    if others:
        _report_results(others, csv, html)
    if fields:
        if others:
            click.echo("")
        _report_fields(fields, figures, person, data)


def _report_results(folders: list[Path], csv: Path | None, html: Path | None) -> None:
    from hpsbench.report import load_results, result_table, write_csv, write_html

    results = load_results(folders)
    if csv is not None:
        write_csv(results, csv)
    if html is not None:
        write_html(results, html)
    click.echo(result_table(results))


def _report_fields(folders: list[Path], figures: Path | None, person: str | None, data: Path | None) -> None:
    from hpsbench.report.sensitivity import open_fields, read_metrics
    from hpsbench.report.sensitivity_files import write_field_figures, write_field_tables, write_person
    from hpsbench.report.sensitivity_text import field_text

    fields = open_fields(folders)
    readings = read_metrics(fields)
    if figures is not None:
        paths = write_field_tables(readings, figures) + write_field_figures(readings, figures)
        if person is not None:
            paths += write_person(fields, readings, person, data, figures)
        talk(f"{figures}: {len(paths)} files")
    click.echo(field_text(readings))
