"""A protocol's sheet as a picture file."""

from pathlib import Path

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset
from hpsbench.errors import HpsbenchError
from hpsbench.image import encode_jpeg, encode_png
from hpsbench.preview.sheet import Sheet, preview_sheet
from hpsbench.protocol import Protocol
from hpsbench.store import write_bytes

_ENCODERS = {".png": encode_png, ".jpg": encode_jpeg, ".jpeg": encode_jpeg}
# The longest side of a JPEG.
_MOST_PX = 65_500


def check_picture_path(path: Path) -> None:
    """Raises HpsbenchError where a picture cannot be written under this name, for its ending or for want of the folder."""
    if path.suffix.lower() not in _ENCODERS:
        raise HpsbenchError(f"'{path}' ends with '{path.suffix}'. Expected a picture, .png or .jpg: give it such a name.")
    if not path.parent.is_dir():
        raise HpsbenchError(f"No folder '{path.parent}' to write '{path.name}' to. Make it first, or name a folder that is there.")
    if path.is_dir():
        raise HpsbenchError(f"'{path}' is a folder. Expected the name of a picture to write: add one.")


def preview(protocol: Protocol, dataset: Dataset, path: Path, *, people: int, bodies: Bodies | None = None) -> Sheet:
    """Write the sheet of a protocol as the picture ``path``, whole or not at all; what it shows.

    ``bodies`` are needed by protocols whose levels are shares of the silhouette. Raises HpsbenchError where the path is none for a
    picture, or the sheet would be larger than a picture can be; and what ``preview_sheet`` raises.
    """
    check_picture_path(path)
    sheet = preview_sheet(protocol, dataset, people=people, bodies=bodies)
    height, width = sheet.picture.shape[:2]
    if max(height, width) > _MOST_PX:
        raise HpsbenchError(f"The sheet is {width} x {height} px, but a picture has at most {_MOST_PX} a side. Ask for fewer people.")
    write_bytes(path, _ENCODERS[path.suffix.lower()](sheet.picture))
    return sheet
