"""Banks of things to paste: RGBA objects and opaque RGB textures, those that ship with the package or any folder of images."""

import csv
import difflib
import io
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from hpsbench.errors import DataError
from hpsbench.image import decode_image
from hpsbench.store import sha256_of_bytes, whole_folder, write_bytes, write_text

PACKAGED = "hpsbench"
CATALOGUE = "catalogue.csv"
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
_PNG_WITH_ALPHA = (b"\x04", b"\x06")  # the colour type in a PNG's header
_MOST_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Kind:
    """What a bank holds: the noun for messages, the packaged folder, the file suffixes read, and bytes to pixels."""

    noun: str
    packaged: str
    suffixes: frozenset[str]
    decode: Callable[[bytes, Path], np.ndarray]


@dataclass(frozen=True)
class BankFile:
    """One image of a bank: where it lies and the SHA-256 of its bytes."""

    path: Path
    sha256: str


@dataclass(frozen=True, eq=False)
class Bank:
    """Images by name.

    ``names``: paths below the folder with ``/`` and without suffix, sorted by code point. ``sha256``: over the names and the
    hashes of the files in that order, wherever the folder lies.
    """

    folder: Path
    kind: Kind
    files: Mapping[str, BankFile]
    sha256: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.files)

    def read(self, name: str) -> np.ndarray:
        """The pixels of an image, read-only uint8: (H, W, 4) RGBA of an object, (H, W, 3) RGB of a texture.

        The most recently read ones are kept in memory. Raises DataError where the name is unknown, or where the file has gone,
        has changed since the bank was loaded, or is no such image.
        """
        file = self.files.get(name)
        if file is None:
            near = difflib.get_close_matches(name, self.files, n=1, cutoff=0.5)
            guess = f" Did you mean '{near[0]}'?" if near else ""
            raise DataError(
                f"No {self.kind.noun} named '{name}' among the {len(self.files)} of {self.folder}.{guess} Take a name that is there."
            )
        return _RECENT.get((self.kind.noun, file.sha256), lambda: self._decoded(file))

    def _decoded(self, file: BankFile) -> np.ndarray:
        data = _bytes_of(file.path)
        if sha256_of_bytes(data) != file.sha256:
            raise DataError(f"{file.path} has changed since this run began. Put the old file back, or start again.")
        return self.kind.decode(data, file.path)


class _Recent:
    """Arrays by key; the least recently used ones go where all together fill more than ``most_bytes``."""

    def __init__(self, most_bytes: int):
        self._most_bytes, self._held_bytes = most_bytes, 0
        self._held: dict[tuple[str, str], np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str], make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a key, made where it is not held."""
        with self._lock:
            if key in self._held:
                self._held[key] = self._held.pop(key)
                return self._held[key]
        array = make()
        array.flags.writeable = False
        with self._lock:
            if key not in self._held and array.nbytes <= self._most_bytes:
                self._held[key] = array
                self._held_bytes += array.nbytes
            while self._held_bytes > self._most_bytes:
                self._held_bytes -= self._held.pop(next(iter(self._held))).nbytes
        return array


_RECENT = _Recent(_MOST_BYTES)


@cache
def load_bank(name_or_folder: str | Path) -> Bank:
    """The RGBA objects of the packaged bank ("hpsbench"), or of a folder of PNG images and all folders in it.

    Every image is opened once, here. A process loads a bank once: files added later are not seen. Raises DataError where the folder is
    missing or holds no images, or where an image is broken, has no alpha channel, or is fully transparent.
    """
    bank = _load(name_or_folder, _OBJECTS)
    for name in bank.names:
        bank.read(name)
    return bank


@cache
def load_textures(name_or_folder: str | Path) -> Bank:
    """The RGB textures of the packaged set ("hpsbench"), or of a folder of PNG or JPEG images and all folders in it (such as DTD's).

    An image is opened when it is read. A process loads a set once: files added later are not seen. Raises DataError where the folder
    is missing or holds no images.
    """
    return _load(name_or_folder, _TEXTURES)


def _load(name_or_folder: str | Path, kind: Kind) -> Bank:
    folder = packaged_folder() / kind.packaged if name_or_folder == PACKAGED else Path(name_or_folder)
    files: dict[str, BankFile] = {}
    for name, path in sorted((path.relative_to(folder).with_suffix("").as_posix(), path) for path in _images(folder, kind)):
        if name in files:
            raise DataError(f"{files[name].path} and {path} are two images of one name, '{name}'. Rename one of them.")
        files[name] = BankFile(path, sha256_of_bytes(_bytes_of(path)))
    lines = "".join(f"{name} {file.sha256}\n" for name, file in files.items())
    return Bank(folder, kind, files, sha256_of_bytes(lines.encode()))


def packaged_folder() -> Path:
    """The folder of the objects, textures and catalogue that ship with the package."""
    return Path(str(resources.files("hpsbench.occluder_assets")))


def _images(folder: Path, kind: Kind) -> list[Path]:
    """The image files below a folder, hidden ones aside. Raises DataError where there are none, or one of a kind that is not read."""
    if not folder.is_dir():
        raise DataError(f"No folder {folder}. Name a folder of {kind.noun}s, or '{PACKAGED}' for those that ship with the package.")
    below = [path for path in folder.rglob("*") if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    found = [path for path in below if path.suffix.lower() in _IMAGE_SUFFIXES and path.is_file()]
    wanted = " or ".join(sorted(kind.suffixes))
    if not found:
        raise DataError(f"No images in {folder}. Expected {wanted} files: {kind.noun}s to paste.")
    other = [path for path in found if path.suffix.lower() not in kind.suffixes]
    if other:
        raise DataError(f"{min(other)} found in a folder of {kind.noun}s (and {len(other) - 1} more). Save it as {wanted}, or take it out.")
    return found


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check that it is there and that you may read it.") from error


def _decode_object(data: bytes, path: Path) -> np.ndarray:
    """(H, W, 4) RGBA uint8 of a PNG's bytes. Raises DataError where it is broken, not 8-bit, without alpha, or fully transparent."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if image is None:
        raise DataError(f"Image {path} is broken: {len(data)} bytes that do not decode to a picture. Export it again.")
    if image.ndim != 3 or image.shape[2] != 4:
        raise DataError(
            f"Image {path} has no alpha channel. Expected an RGBA PNG: cut the object out, or take the image out of the folder."
        )
    if image.dtype != np.uint8:
        raise DataError(f"Image {path} has {8 * image.itemsize} bits a channel, but 8 were expected. Export it again with 8.")
    if not image[..., 3].any():
        raise DataError(f"Image {path} is transparent everywhere: nothing to paste. Export it again, or take it out of the folder.")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def _decode_texture(data: bytes, path: Path) -> np.ndarray:
    """(H, W, 3) RGB uint8 of a PNG's or JPEG's bytes. Raises DataError where it is broken or has pixels that are not opaque."""
    coded = np.frombuffer(data, np.uint8)
    image = decode_image(coded, str(path))
    alpha = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)[..., 3:] if data[25:26] in _PNG_WITH_ALPHA and data.startswith(b"\x89PNG") else None
    if alpha is not None and (alpha < np.iinfo(alpha.dtype).max).any():
        raise DataError(
            f"Image {path} has transparent pixels, but a texture is opaque. Save it without them, or take it out of the folder."
        )
    return image


_OBJECTS = Kind("object", "bank", frozenset({".png"}), _decode_object)
_TEXTURES = Kind("texture", "textures", frozenset({".png", ".jpg", ".jpeg"}), _decode_texture)


@dataclass(frozen=True)
class Picture:
    """An image to write: its name (a path below the folder, without suffix), what it shows, its pixels RGBA or RGB, origin and terms."""

    name: str
    shows: str
    pixels: np.ndarray
    source: str
    licence: str


def write_bank(folder: Path | str, pictures: Iterable[Picture]) -> int:
    """Write pictures as PNG files with a catalogue (``catalogue.csv``); gives their number.

    The folder appears when all is written, or not at all. Raises HpsbenchError where it is there and not empty, or where the system
    refuses.
    """
    rows = [("name", "class", "width", "height", "source", "licence", "sha256")]
    with whole_folder(folder) as part:
        for picture in pictures:
            data, (height, width) = _encoded(picture.pixels), picture.pixels.shape[:2]
            write_bytes(part / f"{picture.name}.png", data)
            rows.append((picture.name, picture.shows, str(width), str(height), picture.source, picture.licence, sha256_of_bytes(data)))
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(rows)
        write_text(part / CATALOGUE, lines.getvalue())
    return len(rows) - 1


def _encoded(pixels: np.ndarray) -> bytes:
    """An RGB or RGBA image as PNG bytes, as few as the library can."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png", optimize=True)
    return stream.getvalue()
