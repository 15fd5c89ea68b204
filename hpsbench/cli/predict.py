"""``hpsbench predict``."""

from pathlib import Path

import click

from hpsbench.cli.options import (
    body_for,
    body_option,
    data_option,
    dataset_for,
    device_option,
    profile_option,
    progress_bar,
    protocol_for,
    talk,
    workers_option,
)


@click.command("predict")
@click.option("--model", required=True, help="A name (`hpsbench list models`) or path/to/file.py:Class.")
@click.option("--weights", type=click.Path(path_type=Path), multiple=True, help="The model's checkpoint; give it again for a second one.")
@click.option("--protocol", "name", help="The protocol whose views are shown: a name or .toml file [default: openhps-test].")
@data_option
@body_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The HDF5 file to write.")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True, help="Joints stay float32.")
@click.option("--vertices", is_flag=True, help="Write the vertices of the neutral body too, for other software (80 KB a person).")
@device_option
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Crops to a batch; moves no number.")
@workers_option
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many samples, to try things out.")
@click.option("--resume/--restart", default=True, show_default=True, help="Go on with a run that was stopped, or start it anew.")
@profile_option
def predict_command(
    model: str,
    weights: tuple[Path, ...],
    name: str | None,
    data: Path | None,
    body: Path | None,
    out: Path,
    device: str,
    profiled: bool,
    **how,
) -> None:
    """Run a model once and keep its answers: `hpsbench eval --model predictions:FILE` scores them under every protocol of these views."""
    from hpsbench.evaluate.stopwatch import Profile
    from hpsbench.models.base import load_model, pick_device
    from hpsbench.predict import predict

    protocol, profile = protocol_for(name, data, "openhps-test"), Profile() if profiled else None
    bodies = body_for(protocol.data.dataset, body)
    plugin = load_model(model, weights=weights, bodies=bodies, device=pick_device(device))
    dataset = dataset_for(protocol, data, bodies)
    how |= {"device": device, "progress": progress_bar(f"predict {model}"), "profile": profile}
    about = predict(plugin, protocol, dataset, bodies, out, **how)
    if profile is not None:
        talk(profile.text())
    talk(
        f"{about['n']} answers, {about['n_failed']} of them none. Next: hpsbench eval --model predictions:{out} --protocol {protocol.name}"
    )
