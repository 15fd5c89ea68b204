"""COCO-style json: images, person boxes and key points with a visibility of 2 seen, 1 hidden by an occluder, 0 not labelled or outside.

Source: the data format of cocodataset.org, "Keypoint Detection"; "cam_param" as I2L-MeshNet's tools have it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hpsbench import __version__
from hpsbench.export.rows import Progress, Row, one_skeleton, relative_images, rows_of, told_of
from hpsbench.generated import Generated, canonical
from hpsbench.skeleton import edges, joint_names
from hpsbench.store import whole_file

_PERSON = 1


def write_coco(
    generated: Generated, out: Path, *, keypoints: Literal["truth", "coco17"] = "truth", progress: Progress | None = None
) -> str:
    """Write the json file ``out`` and tell of it. Key points are the truth's joints, or COCO's 17: those of them whose names the truth has.

    An annotation has further keys, which readers of COCO leave alone: "sample_id", "case" and "window" (xywh px, null without one).
    Boxes are the protocol's, not clipped to the image, and "area" is that of the box, because nobody's outline is known.
    """
    images: dict[str, tuple[int, str]] = {}
    people: list[str] = []
    names: tuple[str, ...] = ()
    known = ""
    for row in one_skeleton(rows_of(generated, progress)):
        known = row.sample.truth.skeleton
        names = joint_names(known if keypoints == "truth" else "coco17")
        if row.name not in images:
            images[row.name] = (len(images) + 1, canonical(_image(row, len(images) + 1)))
        people.append(canonical(_annotation(row, names, len(people) + 1, images[row.name][0])))
    skeleton = known if keypoints == "truth" else "coco17"
    category = {"id": _PERSON, "name": "person", "supercategory": "person", "keypoints": list(names)}
    category["skeleton"] = [[parent + 1, child + 1] for parent, child in edges(skeleton)]
    _write(out, generated, [text for _, text in images.values()], people, category)
    lost = [name for name in names if name not in joint_names(known)]
    parts = [told_of(generated, out, f"{len(people):,} people in {len(images):,} images, {len(names)} key points of {skeleton}")]
    if lost:
        parts.append(f"Not labelled, because the truth ({known}) has no joint of that name: {', '.join(lost)}.")
    parts.append("COCO holds no 3D joints, bodies or hidden shares: those are in the formats 'spin' and 'webdataset'.")
    return " ".join([*parts, relative_images(generated, out)])


def _image(row: Row, number: int) -> dict[str, Any]:
    K = np.asarray(row.view.intrinsics, dtype=np.float64)
    camera = {"focal": [K[0, 0], K[1, 1]], "princpt": [K[0, 2], K[1, 2]]}
    return {"id": number, "file_name": row.name, "width": row.size[0], "height": row.size[1], "license": 1, "cam_param": camera}


def _annotation(row: Row, names: tuple[str, ...], number: int, image: int) -> dict[str, Any]:
    triplets = [_keypoint(row, name) for name in names]
    bbox = _xywh(row.view.bbox_xyxy)
    return {
        "id": number,
        "image_id": image,
        "category_id": _PERSON,
        "iscrowd": 0,
        "bbox": bbox,
        "area": bbox[2] * bbox[3],
        "keypoints": [value for triplet in triplets for value in triplet],
        "num_keypoints": sum(triplet[2] > 0 for triplet in triplets),
        "sample_id": row.record["sample_id"],
        "case": row.case,
        "window": None if row.view.window_xyxy is None else _xywh(row.view.window_xyxy),
    }


def _keypoint(row: Row, name: str) -> tuple[float, float, int]:
    """x, y, visibility; three zeros where it is not labelled or outside."""
    place = row.names.index(name) if name in row.names else None
    if place is None or row.visibility[place] == 0:
        return 0, 0, 0
    x, y = row.joints2d[place].tolist()
    return x, y, int(row.visibility[place])


def _xywh(box_xyxy: np.ndarray) -> list[float]:
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    return [x0, y0, x1 - x0, y1 - y0]


def _write(out: Path, generated: Generated, images: list[str], people: list[str], category: Mapping[str, Any]) -> None:
    manifest, card = generated.manifest, generated.dataset.card
    info = {
        "description": f"{manifest['dataset']['name']}/{manifest['dataset']['split']} under {manifest['protocol']['id']}",
        "version": __version__,
        "protocol_sha256": manifest["protocol"]["sha256"],
        "manifest_sha256": manifest["sha256"],
    }
    heads = {"info": info, "licenses": [{"id": 1, "name": card.licence, "url": card.source}], "categories": [category]}
    with whole_file(out, "w") as stream:
        stream.write("{" + "".join(f"{json.dumps(key)}:{canonical(value)},\n" for key, value in heads.items()))
        stream.write('"images":[\n' + ",\n".join(images) + '],\n"annotations":[\n' + ",\n".join(people) + "]}\n")
