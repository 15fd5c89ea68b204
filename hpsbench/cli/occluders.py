"""``hpsbench occluders extract | list | draw``."""

from pathlib import Path

import click

from hpsbench.cli.options import out_option, progress_bar, talk


@click.group("occluders")
def occluders_command() -> None:
    """Banks of objects to paste: cut them out of Pascal VOC, list them, draw the ones that ship with the package."""


@occluders_command.command("extract")
@click.option("--voc", type=click.Path(path_type=Path), required=True, help="The folder VOC2012 of Pascal VOC.")
@out_option
def extract_command(voc: Path, out: Path) -> None:
    """Cut the objects out of Pascal VOC that the published object pasting takes (2638 of VOC2012)."""
    from hpsbench.occluders.voc import extract_voc

    extraction = extract_voc(voc, out, progress_bar("extract", "annotation"))
    click.echo(f"{out}: {extraction}")
    if extraction.warning:
        talk(f"Warning: {extraction.warning}")
    talk(f"Protocols with the bank 'voc' find it by: export HPSBENCH_VOC_BANK={out.resolve()}")


@occluders_command.command("list")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
def list_command(folder: Path | None) -> None:
    """List the objects of FOLDER (without one: those that ship with the package): name, size px, share covered, SHA-256 of the file."""
    from hpsbench.occluders.bank import PACKAGED, load_bank

    bank = load_bank(folder or PACKAGED)
    width = max(len(name) for name in bank.names)
    for name, file in bank.files.items():
        pixels = bank.read(name)
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        click.echo(f"{name:<{width}}  {size:>9}  {pixels[..., 3].mean() / 255:4.0%}  {file.sha256[:12]}")
    talk(f"{len(bank.names)} objects in {bank.folder}, sha256 {bank.sha256}")


@occluders_command.command("draw")
@out_option
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same things; 0 gives those of the package.")
def draw_command(out: Path, seed: int) -> None:
    """Draw a bank like the one that ships with the package: objects in OUT/bank, textures in OUT/textures, and a catalogue."""
    from hpsbench.occluders.drawn.make import draw_bank

    count = draw_bank(out, seed, progress_bar("draw", "image"))
    click.echo(f"{out}: {count} images of seed {seed}")
