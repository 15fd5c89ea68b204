"""``hpsbench preview``."""

from pathlib import Path

import click

from hpsbench.cli.options import body_option, data_option, dataset_for, progress_bar, protocol_for, talk

_EMBEDDED = "openhps-xocc"


@click.command("preview")
@click.option("--protocol", "name", help=f"A protocol's name or .toml file [default: {_EMBEDDED}].")
@data_option
@body_option
@click.option("--out", type=click.Path(path_type=Path), help="The picture to write, .png or .jpg.")
@click.option("--people", type=click.IntRange(1, 100), default=4, show_default=True, help="Rows of the sheet.")
@click.option("--gallery", type=click.Path(path_type=Path, file_okay=False), help="Write the page of all protocols into this folder.")
def preview_command(name: str | None, data: Path | None, body: Path | None, out: Path | None, people: int, gallery: Path | None) -> None:
    """Draw people under a protocol's cases, hidden joints marked: a contact sheet to look at.

    Without --data a protocol of any dataset is shown on people of the embedded set. --gallery DIR writes DIR/protocols.md with a picture
    of each protocol that comes with the package and hides people.
    """
    if (out is None) == (gallery is None) or (gallery is not None and name is not None):
        raise click.UsageError("Give --out FILE.png for a sheet of one protocol, or --gallery DIR alone for the page of all protocols.")
    if gallery is not None:
        _write_page(gallery)
    else:
        _write_sheet(name, data, body, out, people)


def _write_sheet(name: str | None, data: Path | None, body: Path | None, out: Path, people: int) -> None:
    from hpsbench.body.bodies import load_bodies
    from hpsbench.preview import check_picture_path, on_embedded, preview

    check_picture_path(out)
    protocol = on_embedded(name or _EMBEDDED) if data is None else protocol_for(name, data, _EMBEDDED)
    if "@" in protocol.name and protocol.name != name:
        talk(f"No --data: '{name}' is shown on the embedded people, as {protocol.name}.")
    bodies = None if body is None and protocol.data.dataset != "openhps" else load_bodies(body)
    dataset = dataset_for(protocol, data, bodies)
    sheet = preview(protocol, dataset, out, people=people, bodies=bodies)
    talk(f"{out}: {len(sheet.ids)} people, {len(sheet.cases)} of {len(protocol.cases)} cases.")


def _write_page(folder: Path) -> None:
    from hpsbench.preview import write_gallery

    for left in write_gallery(folder, progress_bar("preview")):
        talk(f"{left.name}: no picture. {left.reason}")
    talk(f"{folder}/protocols.md lists every protocol.")
