"""The gallery: a page that lists the protocols that come with the package, with a picture of each that hides people."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from hpsbench.body.bodies import Bodies, load_bodies
from hpsbench.datasets.base import Dataset, open_dataset
from hpsbench.errors import DataError, HpsbenchError, ProtocolError
from hpsbench.preview.sheet import FRAMES, MOST_CASES, preview_sheet
from hpsbench.protocol import DataRule, Protocol, load_protocol, protocol_names
from hpsbench.store import write_bytes, write_text

EMBEDDED = "openhps-test"
PAGE, PICTURES = "protocols.md", "protocols"
_PEOPLE = (3, 2, 1)
_WIDTH_PX, _SIDES = 1160, (112, 176)
# Of one picture, and of all.
_MOST_BYTES, _MOST_IN_ALL = 70_000, 4_000_000
_QUALITIES = (88, 80, 72, 64, 56, 50, 45)
_HEAD = """# Protocols

Every protocol that comes with the package: name, version, the first 12 digits of the hash over all that decides a number, and what it is.
`hpsbench preview --gallery docs` writes this page and its pictures from the protocol files: change those, not the page.

The pictures show people of the embedded set, OpenHPS (synthetic), as a model gets them; `hpsbench preview --protocol NAME --data DIR
--out FILE.png` draws the same of your data, larger. First column: the clean crop. Then the protocol's cases, some of them where there are
many; of a protocol without cases, some frames along a track. Dots are joints that are seen, crosses joints under an occluder (of key
points: joints that a model of joints does not get), diamonds joints outside of the image or window (those beyond the crop at its border).
Below each crop: how many are hidden and outside, and how much of the person's box, or of the mask where levels are shares of it, cannot be
seen. A grey tile says why a case is not possible for that person.
"""


class Left(NamedTuple):
    """A protocol without a picture, and why."""

    name: str
    reason: str


def on_embedded(name: str) -> Protocol:
    """A protocol on the embedded people: itself where it is measured on them, else "NAME@openhps-test".

    Raises ProtocolError where its scores are defined for one dataset alone, and what ``load_protocol`` raises.
    """
    protocol = load_protocol(name)
    if protocol.data.dataset == "openhps":
        return protocol
    if protocol.agora is not None:
        raise ProtocolError(
            f"Protocol '{protocol.id}' is defined for '{protocol.data.dataset}' alone, and cannot be put on the embedded people. Name the "
            "folder of that dataset with --data."
        )
    return load_protocol(f"{name}@{EMBEDDED}")


def write_gallery(folder: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Left]:
    """Write the page ``protocols.md`` into a folder, and a JPEG for each protocol that hides people into ``protocols/`` below it.

    Each file is whole or not there, and the page comes last. Gives the protocols that need what is not there (a bank of objects): the page
    says so in place of a picture. Raises HpsbenchError where the system refuses.
    """
    protocols = [load_protocol(name) for name in protocol_names()]
    hiding = [protocol for protocol in protocols if protocol.occluders]
    opened, left, bodies = {}, [], load_bodies(None)
    most_bytes = min(_MOST_BYTES, _MOST_IN_ALL // max(len(hiding), 1))
    for done, protocol in enumerate(hiding):
        shown = on_embedded(protocol.name)
        if shown.data not in opened:
            opened[shown.data] = _people_of(shown.data, bodies)
        try:
            write_bytes(folder / PICTURES / f"{protocol.name}.jpg", _small(shown, opened[shown.data], most_bytes, bodies))
        except DataError as error:
            left.append(Left(protocol.name, str(error)))
        progress(done + 1, len(hiding))
    write_text(folder / PAGE, gallery_page(protocols, dict(left)))
    return left


def _people_of(rule: DataRule, bodies: Bodies) -> Dataset:
    return open_dataset(rule.dataset, None, split=rule.split, frames=rule.frames, bbox=rule.bbox, bbox_scale=rule.bbox_scale, bodies=bodies)


def _small(protocol: Protocol, dataset: Dataset, most_bytes: int, bodies: Bodies) -> bytes:
    """A sheet as a JPEG of at most ``most_bytes``, with as many people and as good as that allows."""
    columns = 1 + (FRAMES if len(protocol.cases) == 1 else min(len(protocol.cases), MOST_CASES))
    side = int(np.clip(_WIDTH_PX // columns - 4, *_SIDES))
    pictures = (preview_sheet(protocol, dataset, people=people, side=side, bodies=bodies).picture for people in _PEOPLE)
    coded = (_jpeg(picture, quality) for picture in pictures for quality in _QUALITIES)
    found = next((data for data in coded if len(data) <= most_bytes), None)
    if found is None:
        raise HpsbenchError(f"The picture of '{protocol.id}' is larger than {most_bytes:,} bytes at any quality. Show fewer of its cases.")
    return found


def _jpeg(picture: np.ndarray, quality: int) -> bytes:
    """A picture as few JPEG bytes as the library can at this quality."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)[1].tobytes()


def gallery_page(protocols: Sequence[Protocol], left: Mapping[str, str]) -> str:
    """The page, Markdown: a section for each protocol that hides people, then a table of the others.

    ``left``: those without a picture, by name, and why.
    """
    hiding = [protocol for protocol in protocols if protocol.occluders]
    sections = [_section(protocol, left.get(protocol.name)) for protocol in hiding]
    rows = [_row(protocol) for protocol in protocols if not protocol.occluders]
    table = ["| protocol | version | hash | what | source |", "|---|---|---|---|---|", *rows]
    return "\n".join([_HEAD, "## Protocols that hide people\n", *sections, "## Protocols that leave people as they are\n", *table]) + "\n"


def _section(protocol: Protocol, reason: str | None) -> str:
    cases = len(protocol.cases)
    number = f"{cases} cases for each person. " if cases > 1 else ""
    picture = f"![{protocol.name}]({PICTURES}/{protocol.name}.jpg)" if reason is None else f"No picture: {reason}"
    return (
        f"### {protocol.name}\n\nVersion {protocol.version}, hash `{protocol.sha256[:12]}`. {protocol.what}. {number}"
        f"Source: {protocol.source}.\n\n{picture}\n"
    )


def _row(protocol: Protocol) -> str:
    cells = protocol.name, str(protocol.version), f"`{protocol.sha256[:12]}`", protocol.what, protocol.source
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
