"""One image of a scene, and what of its people can be seen: the scene's numbers to pixels, with no randomness but the camera's grain."""

from functools import cache

import cv2
import numpy as np
from scipy.sparse import csr_matrix

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.openhps import appearance, backdrop
from hpsbench.datasets.openhps.scene import Block, Scene
from hpsbench.render import Mesh, paint
from hpsbench.seeds import rng_of

_LOW, _SPAN = np.array([-1.0, -1.25, -0.5]), np.array([2.0, 2.0, 1.0])
_STEP = 24


class Stage:
    """The bodies as drawn: faces, rest coordinates and the matrix that gathers face normals, once per process."""

    def __init__(self, bodies: Bodies):
        neutral = bodies["neutral"]
        self.faces = neutral.faces
        self.rest = neutral.v_template.double().cpu().numpy()
        count = len(self.faces)
        self._gather = csr_matrix(
            (np.ones(3 * count, np.float32), (self.faces.ravel(), np.repeat(np.arange(count), 3))), shape=(len(self.rest), count)
        )

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Outward unit normals (V, 3) of posed vertices (V, 3)."""
        a, b, c = (vertices[self.faces[:, k]] for k in range(3))
        total = self._gather @ np.cross(b - a, c - a)
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def person_meshes(scene: Scene, stage: Stage, frame: int) -> list[Mesh]:
    """The people of image ``frame`` in the camera frame, dressed; ``values``: key light, ambient light, index."""
    meshes = []
    for index, (person, look) in enumerate(zip(scene.people, scene.looks, strict=True)):
        vertices = person.vertices[2 * frame]
        normals = stage.normals(vertices)
        dressed = vertices + normals * appearance.thickness(look, stage.rest)[:, None]
        meshes.append(Mesh(_to_camera(scene, frame, dressed), stage.faces, _lit(scene, normals, index)))
    return meshes


def block_meshes(scene: Scene, frame: int) -> list[Mesh]:
    """The things of image ``frame``, likewise; their indices follow those of the people."""
    meshes = []
    for index, block in enumerate(scene.blocks, start=len(scene.people)):
        vertices, faces, normals = block.mesh()
        meshes.append(Mesh(_to_camera(scene, frame, vertices), faces, _lit(scene, normals, index)))
    return meshes


def _to_camera(scene: Scene, frame: int, points: np.ndarray) -> np.ndarray:
    view = scene.views[frame]
    return points @ view[:3, :3].T + view[:3, 3]


def _lit(scene: Scene, normals: np.ndarray, index: int) -> np.ndarray:
    """(V, 3) uint8: wrapped Lambert of the key light, sky light from above, and the index times a step."""
    key = np.clip((normals @ scene.light.towards + 0.2) / 1.2, 0, 1)
    around = 0.7 + 0.3 * normals[:, 1]
    return np.column_stack([255 * key, 255 * around, np.full(len(normals), _STEP * (index + 1))]).astype(np.uint8)


def _rest_values(rest: np.ndarray) -> np.ndarray:
    return np.round(np.clip((rest - _LOW) / _SPAN, 0, 1) * 255).astype(np.uint8)


@cache
def _block_rest() -> np.ndarray:
    """Texture coordinates of a block's 24 vertices: each face has the whole texture."""
    corners = np.array([[0, 0, 0], [255, 0, 0], [255, 255, 0], [0, 255, 0]], np.uint8)
    return np.tile(corners, (6, 1))


def picture(scene: Scene, stage: Stage, frame: int) -> np.ndarray:
    """Image ``frame`` of a scene, (H, W, 3) RGB uint8. Raises HpsbenchError where OpenGL does not work."""
    size, K = scene.outline.size, scene.intrinsics
    people, blocks = person_meshes(scene, stage, frame), block_meshes(scene, frame)
    light = paint([*people, *blocks], K, size)
    body = _rest_values(stage.rest)
    rest = [Mesh(m.vertices, m.faces, body) for m in people] + [Mesh(m.vertices, m.faces, _block_rest()) for m in blocks]
    where = paint(rest, K, size)
    image = _behind(scene, frame)
    front = light.coverage > 0
    colours = _colours(scene, light.values[front], where.values[front])
    image[front] += (colours - image[front]) * light.coverage[front][:, None]
    return _exposed(scene, image, frame)


def _behind(scene: Scene, frame: int) -> np.ndarray:
    view, K = scene.views[frame, :3], scene.intrinsics
    image = backdrop.draw(scene.backdrop, view, K, scene.outline.size) * np.float32(1 / 255)
    solid = [person.vertices[2 * frame] for person in scene.people] + [_filled(block) for block in scene.blocks]
    backdrop.shade_floor(image, solid, scene.light.towards, projection=K @ view, strength=scene.backdrop.shadow)
    image *= np.minimum(scene.light.key + scene.light.ambient, 1.1).astype(np.float32)
    return image


def _filled(block: Block) -> np.ndarray:
    """Points throughout a block, (N, 3) m."""
    shares = np.stack(np.meshgrid(*[np.linspace(0, 1, n) for n in (9, 30, 9)]), axis=-1).reshape(-1, 3)
    corners = block.corners()
    return corners[0] + shares @ np.stack([corners[4] - corners[0], corners[2] - corners[0], corners[1] - corners[0]])


def _colours(scene: Scene, light: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of pixels from their painted light values and rest coordinates (N, 3)."""
    index = np.round(light[:, 2] / _STEP).astype(int) - 1
    out = np.zeros((len(light), 3), np.float32)
    for k, look in enumerate(scene.looks):
        mine = index == k
        out[mine] = appearance.albedo(look, rest[mine] / 255 * _SPAN + _LOW)
    for k, block in enumerate(scene.blocks, start=len(scene.looks)):
        mine = index == k
        place = np.clip(rest[mine][:, :2] / 255 * len(block.texture), 0, len(block.texture) - 1).astype(int)
        out[mine] = block.texture[place[:, 1], place[:, 0]]
    return out * (light[:, :1] / 255 * scene.light.key + light[:, 1:2] / 255 * scene.light.ambient).astype(np.float32)


def _exposed(scene: Scene, image: np.ndarray, frame: int) -> np.ndarray:
    """The image as a camera gives it: exposed, a little soft, with grain; uint8. ``image`` is used up."""
    if scene.blur > 0.3:
        image = cv2.GaussianBlur(image, (5, 5), scene.blur)
    y, x = scene.outline.rng("grain", frame).integers(0, 64, 2)
    image *= 255 * scene.light.exposure
    image += 255 * np.float32(scene.grain) * _grain()[y : y + image.shape[0], x : x + image.shape[1], None]
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


@cache
def _grain() -> np.ndarray:
    """A field of normal noise larger than any image."""
    return rng_of("openhps", "grain").standard_normal((1024, 1024), dtype=np.float32)
