"""Images in RGB uint8: read, cut, crop, encode."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from hpsbench.errors import DataError
from hpsbench.types import View

# Images that were read, by the key of the image and the reduction.
Decoded = dict[tuple[str, int], np.ndarray]

REDUCTIONS = (1, 2, 4, 8)
_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}


def read_image(path: Path | str, reduction: int = 1) -> np.ndarray:
    """The image (H, W, 3) RGB uint8, its EXIF orientation applied, or 1/``reduction`` of it (see ``decode_image``).

    Raises DataError where the file is missing, truncated or no image.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"Image {path} cannot be read: {error.strerror}. Check that the dataset's images were all unpacked.") from error
    return decode_image(data, str(path), reduction)


def read_sized(path: Path | str, size: tuple[int, int], otherwise: str, reduction: int = 1) -> np.ndarray:
    """The image (H, W, 3), or 1/``reduction`` of it, that is ``size`` (width, height) px in full.

    Raises DataError where it is missing, broken or of another size; ``otherwise`` goes on "expected W x H": why, and what to do.
    """
    image = read_image(path, reduction)
    if image.shape[1::-1] != reduced_size(size, reduction):
        width, height = (side * reduction for side in image.shape[1::-1])
        raise DataError(f"{path} is {width} x {height} px, expected {size[0]} x {size[1]}{otherwise}")
    return image


def reduced_size(size: tuple[int, int], reduction: int) -> tuple[int, int]:
    """(width, height) of 1/``reduction`` of an image of ``size``: rounded up."""
    return -(-size[0] // reduction), -(-size[1] // reduction)


def decode_image(data: np.ndarray, name: str, reduction: int = 1) -> np.ndarray:
    """The image (H, W, 3) RGB uint8 in some encoded bytes; ``name`` is for the message of DataError.

    ``reduction`` 2, 4 or 8: at that part of its size, rounded up, as the JPEG decoder makes it out of fewer coefficients (in a fraction of
    the time); of other formats the means of so many pixels a side. Pixel k of it is about pixel ``reduction`` k + (``reduction`` - 1) / 2.
    """
    jpeg = data[:2].tobytes() == b"\xff\xd8"
    whole = _is_whole_jpeg(data) if jpeg else len(data) > 0
    image = cv2.imdecode(data, _FLAGS[reduction if jpeg else 1]) if whole else None
    if image is None:
        raise DataError(f"Image {name} is broken: {len(data)} bytes that do not decode to a picture. Unpack or download it again.")
    return image if jpeg or reduction == 1 else _means(image, reduction)


def _means(image: np.ndarray, reduction: int) -> np.ndarray:
    """The means of squares of pixels; those at the right and lower borders are filled up with the last ones."""
    height, width = image.shape[:2]
    columns, rows = reduced_size((width, height), reduction)
    filled = cv2.copyMakeBorder(image, 0, rows * reduction - height, 0, columns * reduction - width, cv2.BORDER_REPLICATE)
    return cv2.resize(filled, (columns, rows), interpolation=cv2.INTER_AREA)


def _is_whole_jpeg(data: np.ndarray) -> bool:
    """Whether a JPEG ends with its end marker (some writers pad behind it); decoders fill up a cut one with grey in silence."""
    return b"\xff\xd9" in data[-4096:].tobytes()


def image_size(path: Path | str) -> tuple[int, int]:
    """(width, height) px as ``read_image`` would give them, from the file's header where it is a JPEG or PNG."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except FileNotFoundError as error:
        raise DataError(f"Image {path} is missing. Check that the dataset's images were all unpacked.") from error
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"Image {path} is broken: {error}. Unpack or download it again.") from error
    return (height, width) if turned else (width, height)


def encode_png(image: np.ndarray) -> bytes:
    """An RGB image as PNG bytes (lossless), as fast as the library can: a twelfth larger than at its level 3, in half the time."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def encode_jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    """An RGB image as JPEG bytes."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def square_of_box(bbox_xyxy: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """The square (4,) xyxy about the box's centre whose side is ``scale`` times the box's longer side."""
    x0, y0, x1, y1 = np.asarray(bbox_xyxy, dtype=np.float64)
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    half = max(x1 - x0, y1 - y0) * scale / 2
    return np.concatenate([centre - half, centre + half])


def crop_square(image: np.ndarray, square_xyxy: np.ndarray, side: int) -> np.ndarray:
    """The square of the image as (side, side, 3) uint8: bilinear, zeros beyond the image, no area filter.

    A point p px of the image lands at (p - corner) * side / width. Source: HybrIK's crop (x' = (x - cx) * 256 / side + 128).
    """
    x0, y0, x1, _ = np.asarray(square_xyxy, dtype=np.float64)
    factor = side / (x1 - x0)
    matrix = np.array([[factor, 0, -x0 * factor], [0, factor, -y0 * factor]])
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def cut(image: np.ndarray, box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    """The pixels of an integer box as a new image; what lies beyond the image is zero."""
    x0, y0, x1, y1 = box_xyxy
    height, width = image.shape[:2]
    out = np.zeros((y1 - y0, x1 - x0, 3), dtype=np.uint8)
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if left < right and top < bottom:
        out[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    return out


def decoded_once(view: View, decoded: Decoded) -> View:
    """The same view, whose image is read at the first call for a reduction only and shared through ``decoded``."""

    def read(reduction: int = 1) -> np.ndarray:
        key = view.image_key, reduction
        if key not in decoded:
            decoded[key] = view.read() if reduction == 1 else view.read(reduction=reduction)
        return decoded[key]

    return replace(view, read=read)
