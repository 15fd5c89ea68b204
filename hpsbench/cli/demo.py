"""``hpsbench demo``."""

from pathlib import Path

import click

from hpsbench.cli.options import dataset_for, device_option, progress_bar, talk, workers_option

MODELS = ("mean-pose", "hybrik", "niki")
SHOWN_PEOPLE = 5


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("hpsbench-demo"),
    show_default=True,
    help="The folder to write to.",
)
@device_option
@workers_option
def demo_command(out: Path, device: str, workers: int) -> None:
    """The whole loop on the embedded set: an occluded test set, three models on it and on the clean one, a leaderboard."""
    from hpsbench.body.bodies import load_bodies
    from hpsbench.evaluate import evaluate
    from hpsbench.generate import generate, verify
    from hpsbench.models.base import load_model, pick_device
    from hpsbench.protocol import load_protocol
    from hpsbench.report import result_table, write_csv, write_html

    where, bodies = pick_device(device), load_bodies(None)
    clean, occluded = load_protocol("openhps-test"), load_protocol("openhps-xocc")
    dataset = dataset_for(clean, None, bodies)
    generate(occluded, dataset, out / "xocc", images=True, workers=workers, progress=progress_bar("make-xocc"))
    talk(str(verify(out / "xocc")))
    models = [load_model(name, weights=(), bodies=bodies, device=where) for name in MODELS]
    results = []
    for name, model in zip(MODELS, models, strict=True):
        for protocol, generated in ((clean, None), (occluded, out / "xocc")):
            folder = out / "results" / protocol.name / name
            bar = progress_bar(f"{name} on {protocol.name}")
            results.append(
                evaluate(model, protocol, dataset, bodies, folder, device=device, workers=workers, generated=generated, progress=bar)
            )
    write_csv(results, out / "leaderboard.csv")
    write_html(results, out / "report.html")
    _draw(models[1:], clean, occluded, dataset, bodies, where, out / "picture.png")
    click.echo(result_table(results))
    talk(f"Leaderboard: {out / 'leaderboard.csv'}   page: {out / 'report.html'}   picture: {out / 'picture.png'}")


def _draw(models, clean, occluded, dataset, bodies, device, path: Path) -> None:
    from hpsbench.evaluate.picture import picture
    from hpsbench.image import encode_png
    from hpsbench.store import write_bytes

    people = dataset.ids[:: max(1, len(dataset) // SHOWN_PEOPLE)][:SHOWN_PEOPLE]
    write_bytes(path, encode_png(picture(models, clean, occluded, dataset, bodies, people, device)))
