"""The command ``hpsbench``: every sub-command is imported when it is called, so that ``--help`` answers at once."""

import importlib
import sys

import click

from hpsbench.errors import HpsbenchError, UnknownNameError

COMMANDS = {
    "demo": "The whole loop on the embedded set: generate, evaluate, report.",
    "make-xocc": "Make the XOCC test set (short for: generate with the XOCC protocol).",
    "generate": "Make the occluded test set of any protocol.",
    "merge": "Join the shards of a generated set, of an evaluation or of a sensitivity run.",
    "preview": "Draw people under a protocol's cases, hidden joints marked.",
    "export": "Write a generated set as COCO json, SPIN's npz or WebDataset shards.",
    "verify": "Check a generated set against its manifest and hashes.",
    "eval": "Evaluate a model under a protocol.",
    "sensitivity": "Slide an occluder over every person: the error of every joint at every position.",
    "predict": "Run a model once and keep its answers, to be scored under many protocols.",
    "report": "Print the table of results and write the leaderboard.",
    "list": "List what is there: models, datasets, protocols, occluders, metrics, bodies.",
    "check": "Say in plain words what is missing of a dataset, body or model.",
    "make-openhps": "Render people of the open synthetic set.",
    "occluders": "Banks of objects to paste: cut them out of Pascal VOC, list them, draw ours.",
    "train": "Train the small models that ship with the package.",
}


class LazyGroup(click.Group):
    """A click group that imports ``hpsbench.cli.<name>`` when the command is used, and offers near names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        return getattr(importlib.import_module(f"hpsbench.cli.{name}"), f"{name}_command")

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = click.utils.make_str(args[0])
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(str(UnknownNameError(name, "command", COMMANDS)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hpsbench")
def cli() -> None:
    """What happens to a 3D human pose and shape model when the person is occluded or cut off."""


def main() -> None:
    """The entry point: a mistake that a user can mend ends with its message and exit status 1, a wrong call with 2."""
    try:
        status = cli(prog_name="hpsbench", standalone_mode=False)
    except HpsbenchError as error:
        click.echo(f"hpsbench: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("hpsbench: stopped. The same command goes on where it was.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
