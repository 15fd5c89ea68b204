"""Objects cut out of Pascal VOC: the bank of the published object pasting, for those who have the data.

Source: Sárándi et al., "How robust is 3D human pose estimation to occlusion?" (IROS 2018 workshop), by the documented facts of its
public code; 2638 objects of VOC2012's trainval pictures. Nothing of the pictures may be passed on with the package.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from hpsbench.errors import DataError
from hpsbench.image import read_image
from hpsbench.occluders.bank import Picture, write_bank

OBJECTS_OF_VOC2012 = 2638
_LEAST_PX = 500
_RIM_ALPHA = 192
_RIM_PX = 8
_PARTS = ("Annotations", "JPEGImages", "SegmentationObject")
_TERMS = "not free: terms of Pascal VOC and of Flickr (host.robots.ox.ac.uk/pascal/VOC)"

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class VocObject:
    """An object of an annotation file: its place in the file from 1, class, box xyxy as written (1-based), and why it is left out."""

    number: int
    name: str
    box: Box
    left_out: str | None


@dataclass(frozen=True)
class Extraction:
    """What came of an extraction: objects written; by reason, the objects of segmented pictures that were not."""

    kept: int
    left_out: dict[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items())) or "none"
        return f"{self.kept} objects; left out: {reasons}."

    @property
    def warning(self) -> str | None:
        """What is odd about the count; None where it is that of VOC2012."""
        if self.kept == OBJECTS_OF_VOC2012:
            return None
        return (
            f"{self.kept} objects found, but VOC2012's trainval pictures give {OBJECTS_OF_VOC2012}: "
            "another VOC, or one that was not all unpacked. Numbers made with this bank are not those of the published one."
        )


def extract_voc(voc: Path | str, out: Path | str, progress: Callable[[int, int], None] = lambda done, total: None) -> Extraction:
    """Cut the objects of a VOC folder out into a bank folder, in the order of the annotation files' names.

    ``voc`` holds Annotations, JPEGImages and SegmentationObject, itself or in VOC2012 or VOCdevkit/VOC2012; ``progress`` is told of
    annotation files done, and of all. Raises DataError where a part is missing, broken or does not fit the others; then nothing is
    written.
    """
    root = _root(Path(voc))
    left_out: Counter[str] = Counter()
    kept = write_bank(out, _pictures(root, left_out, progress))
    return Extraction(kept, dict(left_out))


def _root(voc: Path) -> Path:
    """The folder that holds the three parts."""
    for root in (voc, voc / "VOC2012", voc / "VOCdevkit" / "VOC2012"):
        missing = [part for part in _PARTS if not (root / part).is_dir()]
        if not missing:
            return root
        if len(missing) < len(_PARTS):
            raise DataError(
                f"No {' and no '.join(missing)} in {root}. Expected the folders {', '.join(_PARTS)}: "
                "unpack VOCtrainval_11-May-2012.tar there."
            )
    raise DataError(f"No VOC in {voc}: none of the folders {', '.join(_PARTS)}. Name the folder VOC2012 that holds them.")


def _pictures(root: Path, left_out: Counter[str], progress: Callable[[int, int], None]) -> Iterator[Picture]:
    """Every object that is kept; counts the others by reason."""
    paths, kept = sorted((root / "Annotations").glob("*.xml")), 0
    for done, path in enumerate(paths, start=1):
        found = _objects(path)
        left_out.update(thing.left_out for thing in found if thing.left_out is not None)
        wanted = [thing for thing in found if thing.left_out is None]
        if wanted:
            image, instances = _image_and_instances(root, path.stem)
            for thing in wanted:
                pixels = cut_out(image, instances, thing.number, _inside(thing.box, image.shape, path))
                if pixels is None:
                    left_out["small"] += 1
                    continue
                kept += 1
                name = f"{path.stem}-{thing.number:02d}-{thing.name}"
                yield Picture(name, thing.name, pixels, f"Pascal VOC picture {path.stem}, object {thing.number}", _TERMS)
        progress(done, len(paths))
    if kept == 0:
        raise DataError(
            f"No object to cut out among the {len(paths)} annotation files of {root}. "
            "Expected objects of files whose <segmented> is 1: unpack VOC again."
        )


def _objects(path: Path) -> list[VocObject]:
    """The objects of an annotation file; none where its picture is not segmented."""
    try:
        tree = ElementTree.parse(path).getroot()
        if not int(tree.findtext("segmented", "")):
            return []
        return [_object(number, element) for number, element in enumerate(tree.iterfind("object"), start=1)]
    except (ElementTree.ParseError, ValueError, OverflowError, OSError) as error:
        raise DataError(f"Annotation {path} is broken: {error}. Unpack it again.") from error


def _object(number: int, element: ElementTree.Element) -> VocObject:
    """One object. A flag that is not there is 0. Raises ValueError where a number or the name is missing."""
    name = element.findtext("name", "").strip()
    if not name.isidentifier():
        raise ValueError(f"object {number} has the name '{name}', but the word of a class was expected")
    xmin, ymin, xmax, ymax = (int(float(element.findtext(f"bndbox/{side}", ""))) for side in ("xmin", "ymin", "xmax", "ymax"))
    flags = [flag for flag in ("difficult", "truncated") if int(element.findtext(flag, "0"))]
    reasons = ["person"] if name == "person" else flags
    return VocObject(number, name, (xmin, ymin, xmax, ymax), reasons[0] if reasons else None)


def _image_and_instances(root: Path, stem: str) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) RGB and the number (H, W) of the object that each pixel belongs to; 0 background, 255 void."""
    from PIL import Image

    image, path = read_image(root / "JPEGImages" / f"{stem}.jpg"), root / "SegmentationObject" / f"{stem}.png"
    try:
        with Image.open(path) as picture:
            mode, instances = picture.mode, np.array(picture)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing, but the annotation says that the picture is segmented. Unpack VOC again.") from error
    except (OSError, SyntaxError) as error:
        raise DataError(f"Segmentation {path} is broken: {error}. Unpack it again.") from error
    if mode not in ("P", "L"):
        raise DataError(f"Segmentation {path} is a picture of mode {mode}, but one number a pixel (mode P) was expected. Unpack it again.")
    if instances.shape != image.shape[:2]:
        raise DataError(
            f"Segmentation {path} is {instances.shape[1]}x{instances.shape[0]} px, but its picture {image.shape[1]}x{image.shape[0]}. "
            "Unpack both again."
        )
    return image, instances


def _inside(box: Box, shape: tuple[int, ...], path: Path) -> Box:
    """The box, where it is one of the picture."""
    xmin, ymin, xmax, ymax = box
    if not (0 <= xmin < xmax <= shape[1] and 0 <= ymin < ymax <= shape[0]):
        raise DataError(f"Annotation {path} has the box {box}, which is none in a picture of {shape[1]}x{shape[0]} px. Unpack it again.")
    return box


def cut_out(image: np.ndarray, instances: np.ndarray, number: int, box: Box) -> np.ndarray | None:
    """Object ``number`` as RGBA (h, w, 4) uint8 at half size; None where it has fewer than 500 px.

    ``box``: xyxy as written in the annotation, 1-based and inclusive; it is sliced as it stands, rows ymin to ymax - 1 counted from 0, as
    published. Alpha is 255 inside, 192 in a rim of about 4 px (what an erosion by the 8x8 ellipse takes; the edge of the box takes
    nothing), then shrunk with the colour, which is not multiplied by it.
    """
    xmin, ymin, xmax, ymax = box
    mask = (instances[ymin:ymax, xmin:xmax] == number).astype(np.uint8) * 255
    if np.count_nonzero(mask) < _LEAST_PX:
        return None
    inner = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_RIM_PX, _RIM_PX)))
    alpha = np.where(inner < mask, np.uint8(_RIM_ALPHA), mask)
    rgba = np.dstack([image[ymin:ymax, xmin:xmax], alpha])
    height, width = (max(1, round(side / 2)) for side in alpha.shape)
    return cv2.resize(rgba, (width, height), interpolation=cv2.INTER_AREA)
