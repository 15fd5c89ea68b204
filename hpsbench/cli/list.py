"""``hpsbench list``."""

from pathlib import Path

import click

KINDS = ("models", "datasets", "protocols", "occluders", "metrics", "bodies")


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--counts", is_flag=True, help="Of datasets: how much of each lies below ROOT.")
@click.option(
    "--data", "root", type=click.Path(path_type=Path), metavar="ROOT", envvar="HPSBENCH_DATA", help="For --counts. [env: HPSBENCH_DATA]"
)
def list_command(kind: str, counts: bool, root: Path | None) -> None:
    """List what is there: one line each, name first.

    `list datasets --counts --data ROOT` gives a line for each split of each dataset below ROOT: person-frames kept and in all, sequences,
    tracks, images, whether it has bodies, and its joints. A dataset is looked for in ROOT/NAME (a form of another, such as agora-4k,
    also in ROOT/agora), and in ROOT itself. A folder in the layout of 3DPW that no NAME tells apart is listed as all that it can be.
    """
    if counts:
        _echo_counts(kind, root)
        return
    rows = {
        "models": _plugins,
        "datasets": _plugins,
        "occluders": _plugins,
        "protocols": _protocols,
        "metrics": _metrics,
        "bodies": _bodies,
    }[kind](kind)
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")


def _echo_counts(kind: str, root: Path | None) -> None:
    if kind != "datasets" or root is None:
        raise click.UsageError("--counts goes with datasets and a folder: hpsbench list datasets --counts --data ROOT")
    from hpsbench.check.counts import count_datasets, table

    click.echo(table(count_datasets(root)))


def _plugins(kind: str) -> list[tuple[str, str]]:
    from hpsbench.registry import load_plugin, plugin_names

    single = kind.removesuffix("s")
    return [(name, _about(load_plugin(single, name))) for name in plugin_names(single)]


def _about(plugin) -> str:
    card = getattr(plugin, "card", None)
    if getattr(card, "what", None):
        return f"{card.what} [{card.licence}] {card.source}"
    return (plugin.__doc__ or "").strip().split("\n")[0]


def _protocols(_: str) -> list[tuple[str, str]]:
    from hpsbench.protocol import load_protocol, protocol_names

    protocols = [load_protocol(name) for name in protocol_names()]
    return [(p.id, f"{p.sha256[:12]}  {p.what}") for p in protocols]


def _metrics(_: str) -> list[tuple[str, str]]:
    from hpsbench.metrics import METRICS

    return [(name, f"[{metric.unit}] {metric.what}") for name, metric in METRICS.items()]


def _bodies(_: str) -> list[tuple[str, str]]:
    from hpsbench.body.bodies import load_bodies

    card = load_bodies(None).card
    return [
        ("openhps", f"{card.what} [{card.licence}] (embedded)"),
        ("DIR", "your own SMPL files: --body DIR or HPSBENCH_BODY (smpl.is.tue.mpg.de; non-commercial licence)"),
    ]
