"""Person crops and labels, decoded once: training reads small arrays instead of pictures.

One pair of files per sequence: ``NAME.npy``, uint8 (N, side, side, 3) RGB, and ``NAME.npz``, the labels of ``LABELS``. A sequence that
is already there is not done again, so a killed run goes on and a growing dataset is caught up with.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hpsbench.body.bodies import Bodies
from hpsbench.body.kinematics import twist_angles
from hpsbench.datasets.base import open_dataset
from hpsbench.errors import DataError
from hpsbench.geometry import rotvec_to_rotmat
from hpsbench.image import crop_square, square_of_box
from hpsbench.skeleton import J29_LEAF_VERTICES
from hpsbench.store import whole_file
from hpsbench.types import Sample

CACHE_SIDE = 320
CACHE_SCALE = 1.75
# name, shape of one row: joints m and rotations in the camera frame, betas of the neutral body, boxes and squares in image px
LABELS = {
    "joints": (29, 3),
    "rotmats": (24, 3, 3),
    "betas": (10,),
    "twist": (23,),
    "bbox": (4,),
    "square": (4,),
    "intrinsics": (3, 3),
    "image_size": (2,),
}


class CropCache:
    """All cached people of a folder: ``crops`` by ``crop(i)``, labels as float32 arrays (N, ...) in ``labels``, ``ids`` and ``tracks``."""

    def __init__(self, folder: Path):
        self.folder = folder
        names = sorted(path.stem for path in folder.glob("*.npz"))
        if not names:
            raise DataError(f"No cached crops in {folder}: expected NAME.npy and NAME.npz per sequence. Build them with build_cache.")
        tables = [_load_table(folder / f"{name}.npz") for name in names]
        self.labels = {key: np.concatenate([table[key] for table in tables]) for key in LABELS}
        self.ids = [str(text) for table in tables for text in table["ids"]]
        self.tracks = [text.rsplit("/", 2)[0] + "/" + text.rsplit("/", 1)[1] for text in self.ids]
        self._crops = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]
        self._starts = np.cumsum([0] + [len(crops) for crops in self._crops])

    def __len__(self) -> int:
        return len(self.ids)

    def crop(self, index: int) -> np.ndarray:
        """The cached crop (side, side, 3) uint8 RGB of person ``index``; it shows the square ``labels["square"][index]``."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._crops[shard][index - self._starts[shard]]


def _load_table(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as table:
        return {key: table[key] for key in table.files}


def build_cache(data: Path, folder: Path, bodies: Bodies, *, split: str = "train", progress: Callable[[str], None] = print) -> CropCache:
    """The cache of a folder in 3DPW's layout, made or completed. Raises DataError where the folder holds no such dataset."""
    dataset = open_dataset("openhps", data, split=split, frames="campose-valid", bbox="joints-in-image", bbox_scale=1.0, bodies=bodies)
    sequences: dict[str, list[list[int]]] = {}
    for frame in dataset.frames():
        sequences.setdefault(dataset[frame[0]].sequence, []).append(frame)
    for name, frames in sequences.items():
        if not (folder / f"{name}.npz").exists():
            people = [[dataset[index] for index in frame] for frame in frames]
            _write_sequence(folder / name, people, bodies)
            progress(f"cached {name}: {sum(map(len, people))} people")
    return CropCache(folder)


def _write_sequence(stem: Path, frames: list[list[Sample]], bodies: Bodies) -> None:
    samples = [sample for frame in frames for sample in frame]
    squares = np.array([square_of_box(sample.view.bbox_xyxy, CACHE_SCALE) for sample in samples])
    crops, row = np.empty((len(samples), CACHE_SIDE, CACHE_SIDE, 3), np.uint8), 0
    for frame in frames:
        image = frame[0].view.read()
        for _ in frame:
            crops[row] = crop_square(image, squares[row], CACHE_SIDE)
            row += 1
    table = {key: np.asarray(value, np.float32) for key, value in label_rows(samples, bodies).items()}
    with whole_file(stem.with_name(f"{stem.name}.npy")) as stream:
        np.save(stream, crops)
    with whole_file(stem.with_name(f"{stem.name}.npz")) as stream:
        np.savez(stream, square=squares.astype(np.float32), ids=np.array([sample.id for sample in samples]), **table)


def label_rows(samples: list[Sample], bodies: Bodies) -> dict[str, np.ndarray]:
    """The labels of ``LABELS`` but the square: of each person's own gendered body, its shape told in betas of the neutral one."""
    truths = [sample.truth for sample in samples]
    if any(truth.rotvecs is None or truth.betas is None or truth.trans is None for truth in truths):
        raise DataError(
            "People without SMPL parameters: training needs rotvecs, betas and trans of everybody. Use a set such as OpenHPS or 3DPW."
        )
    dtype = bodies.neutral.dtype
    rotmats = rotvec_to_rotmat(torch.tensor(np.stack([truth.rotvecs for truth in truths]), dtype=dtype))
    betas = torch.tensor(np.stack([truth.betas for truth in truths]), dtype=dtype)
    trans = torch.tensor(np.stack([truth.trans for truth in truths]), dtype=dtype)
    genders = [truth.gender for truth in truths]
    leaves = torch.tensor(J29_LEAF_VERTICES)
    joints, twist = torch.empty(len(samples), 29, 3, dtype=dtype), torch.empty(len(samples), 23, dtype=dtype)
    for gender in sorted(set(genders)):
        rows, body = torch.tensor([row for row, one in enumerate(genders) if one == gender]), bodies[gender]
        output = body(betas[rows], rotmats[rows], trans[rows], vertex_ids=leaves)
        joints[rows] = torch.cat([output.joints, output.vertices], dim=1)
        twist[rows] = twist_angles(rotmats[rows], body.rest_joints29(betas[rows]))
    return {
        "joints": joints.numpy(),
        "rotmats": rotmats.numpy(),
        "betas": neutral_betas(betas, genders, bodies).numpy(),
        "twist": twist.numpy(),
        "bbox": np.stack([sample.view.bbox_xyxy for sample in samples]),
        "intrinsics": np.stack([sample.view.intrinsics for sample in samples]),
        "image_size": np.array([sample.image_size for sample in samples]),
    }


def neutral_betas(betas: torch.Tensor, genders: list[str], bodies: Bodies) -> torch.Tensor:
    """Betas (B, 10) of the neutral body whose rest shape is nearest to each person's gendered one (least squares over vertices)."""
    neutral, out = bodies.neutral, betas.clone()
    design = neutral.shapedirs
    design = (design - design.mean(0)).reshape(-1, betas.shape[1])
    for gender in sorted(set(genders) - {"neutral"}):
        rows = torch.tensor([index for index, one in enumerate(genders) if one == gender])
        kinds, inverse = torch.unique(betas[rows], dim=0, return_inverse=True)
        body = bodies[gender]
        shaped = body.v_template + torch.einsum("vcs,bs->bvc", body.shapedirs, kinds)
        target = shaped - neutral.v_template
        target = (target - target.mean(1, keepdim=True)).flatten(1).T
        out[rows] = torch.linalg.lstsq(design, target).solution.T[inverse]
    return out
