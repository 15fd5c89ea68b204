"""``hpsbench eval``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpsbench.cli.options import (
    body_for,
    body_option,
    data_option,
    dataset_for,
    device_option,
    out_option,
    progress_bar,
    protocol_for,
    shard_option,
    talk,
    workers_option,
)

if TYPE_CHECKING:
    from hpsbench.protocol import Protocol
    from hpsbench.types import Result


@click.command("eval")
@click.option("--model", required=True, help="A name (`hpsbench list models`), predictions:FILE (AGORA: or DIR), or path/to/file.py:Class.")
@click.option("--weights", type=click.Path(path_type=Path), multiple=True, help="The model's checkpoint; give it again for a second one.")
@click.option("--protocol", "name", help="A protocol's name or .toml file [default: openhps-test].")
@data_option
@body_option
@out_option
@click.option("--generated", type=click.Path(path_type=Path), help="A folder of `hpsbench generate`: use its plans and images.")
@device_option
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Crops to a batch; moves no number.")
@workers_option
@shard_option
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many samples, to try things out.")
@click.option("--resume/--restart", default=True, show_default=True, help="Go on with a run that was stopped, or start it anew.")
def eval_command(
    model: str, weights: tuple[Path, ...], name: str | None, data: Path | None, body: Path | None, out: Path, device: str, **how
):
    """Evaluate a model under a protocol: result.json and errors.h5 in the folder --out."""
    from hpsbench.evaluate import evaluate
    from hpsbench.evaluate.agora import agora_rule, agora_table
    from hpsbench.models.base import load_model, pick_device
    from hpsbench.report import result_table

    protocol = protocol_for(name, data, "openhps-test")
    if agora_rule(protocol) is not None:
        result = _agora(model, weights, protocol, data, body, out, device=device, **how)
        talk(f"{result.n_evaluated} of {result.n_expected} found, {result.n_failed} missed. Errors per person: {out / 'errors.h5'}")
        if any(result.id_counts.values()):
            counts = result.id_counts
            talk(
                f"Of what was to be answered (images of a folder, people of a file) {counts['missing']} have no answer and are missed, "
                f"{counts['duplicate']} have several; {counts['unknown']} answers are to something else and left out."
            )
        click.echo(agora_table(result))
        return
    bodies = body_for(protocol.data.dataset, body)
    plugin = load_model(model, weights=weights, bodies=bodies, device=pick_device(device))
    dataset = dataset_for(protocol, data, bodies)
    if how["resume"] and (out / "result.json").is_file():
        talk(f"{out} holds a finished result: where it is this very run, it is shown and nothing runs (--restart runs it anew).")
    result = evaluate(plugin, protocol, dataset, bodies, out, device=device, progress=progress_bar(f"eval {model}"), **how)
    talk(f"{result.n_evaluated} of {result.n_expected} evaluated, {result.n_failed} failed. Errors per person: {out / 'errors.h5'}")
    click.echo(result_table([result]))


def _agora(model: str, weights: tuple[Path, ...], protocol: "Protocol", data: Path, body: Path | None, out: Path, **how: Any) -> "Result":
    """AGORA's scores of a folder of its prediction files, or of a model that is given the boxes."""
    from hpsbench.errors import PredictionError
    from hpsbench.evaluate.agora import agora_rule, body_vertices
    from hpsbench.evaluate.boxes import score_boxes
    from hpsbench.evaluate.detections import score_folder
    from hpsbench.models.base import load_model, pick_device

    rule, given = agora_rule(protocol), how.pop("generated")
    if given is not None or how.pop("shard") != (0, 1):
        raise click.UsageError(f"Protocol '{protocol.id}' scores whole images of AGORA: leave out --generated and --shard.")
    folder, read = Path(model.removeprefix("predictions:")), model.startswith("predictions:")
    if read and not folder.exists():
        raise PredictionError(f"There is nothing at {folder}. Expected a folder of AGORA's prediction files, or a file of predictions.")
    of_folder = read and folder.is_dir()
    if of_folder and how["limit"] is not None:
        raise click.UsageError("A folder of predictions is scored whole: leave out --limit.")
    bodies = None if of_folder and rule.vertices == "file" else body_for(protocol.data.dataset, body)
    vertices = body_vertices(rule, [data, data / "utils", *([body, body / "smpl"] if body else [])], bodies)
    if of_folder:
        return score_folder(folder, protocol, data, out, vertices=vertices, bodies=bodies, resume=how["resume"])
    plugin = load_model(model, weights=weights, bodies=bodies, device=pick_device(how["device"]))
    dataset = dataset_for(protocol, data, bodies)
    return score_boxes(plugin, protocol, dataset, bodies, out, vertices=vertices, progress=progress_bar(f"eval {model}"), **how)
