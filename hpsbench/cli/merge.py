"""``hpsbench merge``."""

from pathlib import Path

import click

from hpsbench.cli.options import out_option, talk


@click.command("merge")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@out_option
def merge_command(folders: tuple[Path, ...], out: Path) -> None:
    """Join the FOLDERS that `generate --shard`, `eval --shard` or `sensitivity --shard` wrote: the same bytes and numbers as one run."""
    from hpsbench.field import is_field_folder

    if all((folder / "manifest.json").is_file() for folder in folders):
        from hpsbench.generate import merge

        talk(f"{merge(folders, out)['counts']['written']} plans in {out}")
    elif any(map(is_field_folder, folders)):
        from hpsbench.cli.sensitivity import tell
        from hpsbench.sensitivity import merge_sensitivity

        tell(merge_sensitivity(folders, out), out)
    else:
        from hpsbench.evaluate import merge_results

        talk(f"{merge_results(folders, out).n_evaluated} people in {out}")
