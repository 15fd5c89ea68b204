"""A generated folder in the forms that others' code reads: COCO-style json, SPIN's npz, WebDataset's tar shards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpsbench.errors import ResultError, UnknownNameError
from hpsbench.export.coco import write_coco
from hpsbench.export.rows import Progress
from hpsbench.export.spin import write_spin
from hpsbench.export.webdataset import write_webdataset
from hpsbench.generated import Generated

__all__ = ["FORMATS", "export"]

FORMATS: dict[str, Callable[..., str]] = {"coco": write_coco, "spin": write_spin, "webdataset": write_webdataset}
# Formats that name the images of the folder, and hold none themselves.
_NAME_IMAGES = ("coco", "spin")


def export(generated: Generated, form: str, out: Path | str, *, progress: Progress | None = None, **settings: Any) -> str:
    """Write a generated folder to ``out`` in the format ``form`` and say in a line or two what is there and what the format cannot hold.

    ``settings`` are those of the format's own writer. ``out`` appears whole or not at all. Raises UnknownNameError for another format;
    ResultError where ``out`` is there already, where the folder has no images and the format names them, or where an image was altered.
    """
    if form not in FORMATS:
        raise UnknownNameError(form, "export format", FORMATS)
    out = Path(out)
    if out.exists() and not (out.is_dir() and form not in _NAME_IMAGES and not any(out.iterdir())):
        raise ResultError(f"{out} is there already. Name another place for the export, or remove it.")
    if form in _NAME_IMAGES and generated.manifest["images"] is None:
        raise ResultError(
            f"{generated.folder} holds plans only, and a file of the format '{form}' names images. Generate it with --images, or export it "
            "as 'webdataset', which draws them."
        )
    return FORMATS[form](generated, out, progress=progress, **settings)
