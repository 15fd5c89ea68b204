"""What models answer for a few people, drawn: the clean and the occluded crop, each model's mesh over it, and the truth."""

from collections.abc import Sequence

import numpy as np
import torch

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.base import Dataset
from hpsbench.draw import paint_mesh, sheet
from hpsbench.evaluate.people import FrameReader, Person, view_batch
from hpsbench.models.base import Model
from hpsbench.protocol import Protocol
from hpsbench.types import CropSpec

_SIDE = 224
_TRUTH, _ANSWER = (120, 200, 120), (120, 160, 230)


def picture(
    models: Sequence[Model], clean: Protocol, occluded: Protocol, dataset: Dataset, bodies: Bodies, ids: Sequence[str], device: torch.device
) -> np.ndarray:
    """An RGB sheet, one row per sample id: clean crop, occluded crop, each model's mesh on it, the true mesh.

    A predicted mesh is placed with its pelvis on the true one, as MPJPE does. Models that give no rotations are left blank.
    """
    frames = [[dataset.index_of(name)] for name in ids]
    before = _people(dataset, frames, clean, CropSpec(_SIDE), bodies)
    after = _people(dataset, frames, occluded, CropSpec(_SIDE), bodies)
    columns = [[person.crop for person in before], [person.crop for person in after]]
    columns += [_answers(model, dataset, frames, occluded, bodies, after, device) for model in models]
    columns.append([_painted(person, _true_vertices(person, bodies), bodies.neutral.faces, _TRUTH) for person in after])
    captions = ["image", "occluded", *(model.card.name for model in models), "truth"]
    return sheet(list(zip(*columns, strict=True)), captions)


def _people(dataset: Dataset, frames: list[list[int]], protocol: Protocol, crop: CropSpec | None, bodies: Bodies) -> list[Person]:
    reader = FrameReader(dataset, frames, protocol, crop, None, bodies=bodies)
    found = [reader[k] for k in range(len(reader))]
    for people in found:
        if isinstance(people, Exception):
            raise people
    return [person for people in found for person in people]


def _answers(
    model: Model, dataset: Dataset, frames: list[list[int]], protocol: Protocol, bodies: Bodies, shown: list[Person], device: torch.device
) -> list[np.ndarray]:
    with torch.inference_mode():
        prediction = model.predict(view_batch(_people(dataset, frames, protocol, model.crop, bodies), device))
    if prediction.rotmats is None:
        return [person.crop for person in shown]
    body = bodies.forward(prediction.betas.to("cpu", bodies.dtype), prediction.rotmats.to("cpu", bodies.dtype))
    vertices = (body.vertices - body.joints[:, :1]).double().numpy()
    return [
        _painted(person, mesh + person.truth.joints[0], bodies.neutral.faces, _ANSWER) for person, mesh in zip(shown, vertices, strict=True)
    ]


def _true_vertices(person: Person, bodies: Bodies) -> np.ndarray:
    truth = person.truth
    betas, rotvecs, trans = (torch.as_tensor(a, dtype=bodies.dtype)[None] for a in (truth.betas, truth.rotvecs, truth.trans))
    return bodies.forward(betas, rotvecs=rotvecs, trans=trans, genders=[truth.gender]).vertices[0].double().numpy()


def _painted(person: Person, vertices: np.ndarray, faces: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    x0, y0, x1, _ = person.square_xyxy
    factor = _SIDE / (x1 - x0)
    to_crop = np.array([[factor, 0, -x0 * factor], [0, factor, -y0 * factor], [0, 0, 1]])
    return paint_mesh(person.crop, vertices, np.asarray(faces), to_crop @ person.intrinsics, colour=colour)
