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
    profile_option,
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
@profile_option
def eval_command(
    model: str,
    weights: tuple[Path, ...],
    name: str | None,
    data: Path | None,
    body: Path | None,
    out: Path,
    device: str,
    profiled: bool,
    **how,
):
    """Evaluate a model under a protocol: result.json and errors.h5 in the folder --out.

    Started by torchrun (`torchrun --nproc-per-node 4 -m hpsbench eval ...`) its ranks share the people, each on a GPU of its own.
    """
    from hpsbench.evaluate import evaluate
    from hpsbench.evaluate.ranks import evaluate_in_ranks, first_rank, in_ranks, own_device
    from hpsbench.evaluate.stopwatch import Profile
    from hpsbench.models.base import load_model, pick_device
    from hpsbench.report import result_table

    protocol, profile = protocol_for(name, data, "openhps-test"), Profile() if profiled else None
    folder = _prediction_files(model, protocol)
    if folder is not None:
        if profiled:
            raise click.UsageError("No model runs for a folder of predictions: leave out --profile.")
        result = _score_folder(folder, protocol, data, body, out, **how)
    else:
        bodies = body_for(protocol.data.dataset, body)
        plugin = load_model(model, weights=weights, bodies=bodies, device=pick_device(own_device(device)))
        dataset = dataset_for(protocol, data, bodies)
        if how["resume"] and (out / "result.json").is_file():
            talk(f"{out} holds a finished result: where it is this very run, it is shown and nothing runs (--restart runs it anew).")
        verb = evaluate_in_ranks if in_ranks() else evaluate
        how |= {"device": device, "progress": progress_bar(f"eval {model}"), "profile": profile}
        result = verb(plugin, protocol, dataset, bodies, out, **how)
    if not first_rank():
        return
    talk(f"{result.n_evaluated} of {result.n_expected} evaluated, {result.n_failed} failed. Errors per person: {out / 'errors.h5'}")
    if profile is not None:
        talk(("Of the first of several processes. " if in_ranks() else "") + profile.text())
    click.echo(result_table([result]))


def _prediction_files(model: str, protocol: "Protocol") -> Path | None:
    """The folder of AGORA's prediction files that is to be scored; None for a model, and for a file of predictions."""
    from hpsbench.errors import PredictionError

    if protocol.agora is None or not model.startswith("predictions:"):
        return None
    path = Path(model.removeprefix("predictions:"))
    if not path.exists():
        raise PredictionError(f"There is nothing at {path}. Expected a folder of AGORA's prediction files, or a file of predictions.")
    return path if path.is_dir() else None


def _score_folder(folder: Path, protocol: "Protocol", data: Path, body: Path | None, out: Path, **how: Any) -> "Result":
    from hpsbench.evaluate.detections import score_folder

    if how["generated"] is not None or how["shard"] != (0, 1) or how["limit"] is not None:
        raise click.UsageError("A folder of predictions is scored whole: leave out --generated, --shard and --limit.")
    needed = body is not None or protocol.agora.vertices == "skinning"
    bodies = body_for(protocol.data.dataset, body) if needed else None
    return score_folder(folder, protocol, data, out, bodies=bodies, resume=how["resume"])
