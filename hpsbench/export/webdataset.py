"""WebDataset's tar shards: per view an image, as its file's bytes are, and a json of everything that is known of it.

A key is the view's id, its dots and other special characters percent-encoded ("%2E"), because a key ends at the first dot of a file's name;
``urllib.parse.unquote`` gives the id back. Same folder, same bytes: times, owners and modes are fixed.
"""

import io
import tarfile
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from hpsbench.export.rows import Progress, Row, rows_of, told_of
from hpsbench.generated import Generated, canonical
from hpsbench.store import whole_file, whole_folder
from hpsbench.types import view_id_of


def write_webdataset(generated: Generated, out: Path, *, shard_size: int = 1000, progress: Progress | None = None) -> str:
    """Fill the folder ``out`` with shards 000000.tar, 000001.tar, ... of ``shard_size`` views each, and tell of it.

    Images that were not written are drawn as ``hpsbench generate --images`` draws them. Raises ValueError for an empty shard.
    """
    if shard_size < 1:
        raise ValueError(f"shard_size: expected at least 1, but got {shard_size}.")
    rows, views, shards = rows_of(generated, progress), 0, 0
    with whole_folder(out) as folder:
        for shards in count():
            first = next(rows, None)
            if first is None:
                break
            views += _write_shard(folder / f"{shards:06d}.tar", chain([first], islice(rows, shard_size - 1)))
    drawn = ", images drawn from the plans" if generated.manifest["images"] is None else ""
    return told_of(generated, out, f"{views:,} people in {shards:,} shard{'' if shards == 1 else 's'}{drawn}")


def _write_shard(path: Path, rows: Iterator[Row]) -> int:
    """Write one shard and give the number of its views."""
    views = 0
    with whole_file(path) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            view_id = view_id_of(row.record["sample_id"], row.case)
            extension = Path(row.name).suffix or ".png"
            for ending, data in ((extension, row.data), (".json", canonical(_about(row, view_id)).encode())):
                member = tarfile.TarInfo(key_of(view_id) + ending)
                member.size, member.mtime, member.mode = len(data), 0, 0o644
                tar.addfile(member, io.BytesIO(data))
            views += 1
    return views


def key_of(view_id: str) -> str:
    """A view's id as a key: safe in names of tar members, and free of dots."""
    return quote(view_id, safe="/@=,").replace(".", "%2E")


def _about(row: Row, view_id: str) -> dict[str, Any]:
    """The json of a view; px of its image, metres and radians in the camera frame, null where unknown."""
    truth, window = row.sample.truth, row.view.window_xyxy
    about = {
        "view_id": view_id,
        "plan": dict(row.record),
        "sequence": row.sample.sequence,
        "track": row.sample.track,
        "frame": row.sample.frame,
        "image_size": list(row.size),
        "bbox_xyxy": _plain(row.view.bbox_xyxy),
        "window_xyxy": _plain(window),
        "intrinsics": _plain(row.view.intrinsics),
        "skeleton": truth.skeleton,
        "joint_names": list(row.names),
        "joints2d": _plain(row.joints2d),
        "visibility": row.visibility.tolist(),
        "occluded": row.told("occluded").tolist(),
        "outside": row.told("outside").tolist(),
        "joints": _plain(truth.joints),
        "valid": np.asarray(truth.valid, dtype=bool).tolist(),
        "gender": truth.gender,
    }
    about |= {key: _plain(getattr(truth, key)) for key in ("rotvecs", "betas", "trans")}
    if truth.keypoints2d is not None:
        keypoints = np.array(truth.keypoints2d, dtype=np.float64)
        keypoints[:, :2] = row.points(keypoints[:, :2])
        about |= {"keypoints2d": _plain(keypoints), "keypoints_skeleton": truth.keypoints_skeleton}
    return about


def _plain(array: np.ndarray | None) -> Any:
    """An array as lists, None for it where it is None and for numbers that are not finite."""
    if array is None:
        return None
    values = np.asarray(array, dtype=np.float64)
    return np.where(np.isfinite(values), values.astype(object), None).tolist()
