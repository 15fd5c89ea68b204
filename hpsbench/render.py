"""Meshes to pixels, by pyrender off screen: the only room that knows OpenGL. And what hides a point, which needs no OpenGL.

Camera frame: x right, y down, z forward, metres; pixel i covers [i, i + 1).
"""

import os
import subprocess
import sys
import types
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from hpsbench.errors import HpsbenchError, MissingExtraError

_NEAR, _FAR = 0.05, 100.0
_PLATFORMS = ("egl", "osmesa")
_TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_PROBE = "from hpsbench.render import _canvas; _canvas().clear()"


@dataclass(frozen=True)
class Mesh:
    """``vertices`` (V, 3) m in the camera frame, ``faces`` (F, 3) either way round, ``values`` (V, 3) uint8 to paint."""

    vertices: np.ndarray
    faces: np.ndarray
    values: np.ndarray


class Painted(NamedTuple):
    """``values`` (H, W, 3) float32 of the nearest surface, ``coverage`` (H, W) 0 to 1, ``depth`` (H, W) m, 0 where nothing is."""

    values: np.ndarray
    coverage: np.ndarray
    depth: np.ndarray


def paint(meshes: Sequence[Mesh], intrinsics: np.ndarray, size: tuple[int, int]) -> Painted:
    """The meshes' values, interpolated over their faces and unlit, in an image of ``size`` (width, height) px.

    At an outline the values are those of the surface alone and ``coverage`` is its share of the pixel. Raises HpsbenchError
    where OpenGL does not work.
    """
    width, height = size
    out = Painted(np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32), np.zeros((height, width), np.float32))
    left, top, right, bottom = _reach(meshes, intrinsics, size)
    if left < right and top < bottom:
        shifted = intrinsics - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
        pixels, depth = _canvas().draw(meshes, shifted, (right - left, bottom - top), segments=False)
        part = np.s_[top:bottom, left:right]
        out.coverage[part] = pixels[..., 3] / np.float32(255)
        out.values[part] = pixels[..., :3] / np.maximum(out.coverage[part], np.float32(1 / 255))[..., None]
        out.depth[part] = depth
    return out


def _reach(meshes: Sequence[Mesh], intrinsics: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box xyxy of whole pixels outside of which no mesh is drawn: all of the image where one reaches behind the camera."""
    low, high = np.array(size), np.zeros(2, int)
    for mesh in meshes:
        if mesh.vertices[:, 2].min() < _NEAR:
            return 0, 0, *size
        image = mesh.vertices @ intrinsics.T
        image = image[:, :2] / image[:, 2:]
        low = np.minimum(low, np.clip(np.floor(image.min(0)) - 1, 0, size).astype(int))
        high = np.maximum(high, np.clip(np.ceil(image.max(0)) + 1, 0, size).astype(int))
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def label(meshes: Sequence[Mesh], intrinsics: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which mesh is nearest at each pixel's centre, (H, W) int16, -1 for none; and its depth (H, W) m."""
    # pyrender culls back faces here whatever it is told, so that each face is given both ways round.
    both = [Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:, ::-1]]), mesh.values) for mesh in meshes]
    pixels, depth = _canvas().draw(both, intrinsics, size, segments=True)
    return pixels[..., 0].astype(np.int16) - 1, depth


def hidden(points: np.ndarray, meshes: Sequence[Mesh]) -> np.ndarray:
    """Whether some mesh stands between the camera and each of ``points`` (N, 3) m: (N,) bool. Needs no OpenGL."""
    found = np.zeros(len(points), dtype=bool)
    for mesh in meshes:
        found |= _hidden_by(points, mesh)
    return found


def _hidden_by(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Rays from the origin to the points against the triangles in front of the camera: one inside test each, in image coordinates."""
    corners = mesh.vertices[mesh.faces]  # (F, 3, 3)
    corners = corners[(corners[..., 2] > _NEAR).all(1)]
    image = corners[..., :2] / corners[..., 2:]
    at = (points[:, :2] / points[:, 2:])[:, None]  # (N, 1, 2)
    near = ((at >= image.min(1)) & (at <= image.max(1))).all(-1)  # (N, F)
    hit, face = np.nonzero(near)
    a, b, c = (image[face, k] - points[hit, :2] / points[hit, 2:] for k in range(3))
    areas = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1)  # barycentric, unnormalised
    inside = (areas >= 0).all(1) | (areas <= 0).all(1)
    total = areas.sum(1)
    inside &= total != 0
    share = areas[inside] / total[inside, None]
    depth = 1 / (share / corners[face[inside], :, 2]).sum(1)
    out = np.zeros(len(points), dtype=bool)
    out[hit[inside][depth < points[hit[inside], 2]]] = True
    return out


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


@cache
def gl_platform() -> str:
    """The way to OpenGL that works here: "egl" or "osmesa", each tried in a process of its own; PYOPENGL_PLATFORM is obeyed.

    Raises MissingExtraError without pyrender, HpsbenchError where neither works.
    """
    wanted = os.environ.get("PYOPENGL_PLATFORM")
    failures = []
    for platform in (wanted,) if wanted else _PLATFORMS:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], env={**os.environ, "PYOPENGL_PLATFORM": platform}, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return platform
        lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        if "MissingExtraError" in lines[-1]:
            raise MissingExtraError("pyrender", "openhps", "Rendering")
        failures.append(f"{platform}: {lines[-1]}")
    raise HpsbenchError(
        f"No OpenGL to render with off screen ({'; '.join(failures)}). On Debian install libegl1 libgl1 libgl1-mesa-dri, "
        "or libosmesa6 (which needs PyOpenGL 3.1.4 or newer)."
    )


class _Canvas:
    """One OpenGL context, kept for the life of the process; image sizes may change between drawings."""

    def __init__(self, pyrender: Any):
        self._pyrender = pyrender
        self._renderer = pyrender.OffscreenRenderer(64, 64)
        self._material = pyrender.MetallicRoughnessMaterial(metallicFactor=0.0, doubleSided=True)

    def clear(self) -> None:
        """Draw nothing, to see that it works."""
        self.draw([], np.array([[64.0, 0, 32], [0, 64, 32], [0, 0, 1]]), (64, 64), segments=False)

    def draw(
        self, meshes: Sequence[Mesh], intrinsics: np.ndarray, size: tuple[int, int], *, segments: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (H, W, 4 or 3) uint8 and depth (H, W) m; ``segments``: the first channel is 1 + the index of the mesh."""
        pyrender = self._pyrender
        scene = pyrender.Scene(bg_color=np.zeros(4), ambient_light=np.zeros(3))
        meshes = meshes if segments or not meshes else [_joined(meshes)]
        nodes = {scene.add(self._mesh(mesh), pose=_TO_OPENGL): index + 1 for index, mesh in enumerate(meshes)}
        focal, centre = (intrinsics[0, 0], intrinsics[1, 1]), (intrinsics[0, 2], intrinsics[1, 2])
        scene.add(pyrender.IntrinsicsCamera(*focal, *centre, znear=_NEAR, zfar=_FAR), pose=np.eye(4))
        self._renderer.viewport_width, self._renderer.viewport_height = size
        flags = pyrender.RenderFlags.SEG if segments else pyrender.RenderFlags.FLAT | pyrender.RenderFlags.RGBA
        return self._renderer.render(scene, flags=flags | pyrender.RenderFlags.SKIP_CULL_FACES, seg_node_map=nodes if segments else None)

    def _mesh(self, mesh: Mesh) -> Any:
        colours = np.concatenate([mesh.values, np.full((len(mesh.values), 1), 255, np.uint8)], axis=1)
        primitive = self._pyrender.Primitive(
            positions=mesh.vertices.astype(np.float32),
            indices=mesh.faces.astype(np.uint32),
            color_0=colours.astype(np.float32) / 255,
            material=self._material,
            mode=4,
        )
        return self._pyrender.Mesh([primitive])


def _joined(meshes: Sequence[Mesh]) -> Mesh:
    """All meshes as one, which is drawn in one call."""
    starts = np.cumsum([0, *[len(mesh.vertices) for mesh in meshes[:-1]]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
        np.concatenate([mesh.values for mesh in meshes]),
    )


@cache
def _canvas() -> _Canvas:
    """This process's canvas. pyrender's viewer, and with it a window system, is kept out by an empty module in its place."""
    os.environ["PYOPENGL_PLATFORM"] = os.environ.get("PYOPENGL_PLATFORM") or gl_platform()
    if not hasattr(np, "infty"):
        np.infty = np.inf
    viewer = types.ModuleType("pyrender.viewer")
    viewer.Viewer = None
    sys.modules.setdefault("pyrender.viewer", viewer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pyrender
        except ModuleNotFoundError as error:
            raise MissingExtraError("pyrender", "openhps", "Rendering") from error
        return _Canvas(pyrender)
