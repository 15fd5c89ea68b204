import subprocess

import numpy as np
import pytest

from hpsbench import render
from hpsbench.errors import HpsbenchError, MissingExtraError
from hpsbench.render import Mesh, gl_platform, hidden, label, paint

K = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
SIZE = (100, 80)


def square(depth: float, *, half: float = 0.2, value: int = 200, centre: tuple[float, float] = (0, 0)) -> Mesh:
    """A square that faces the camera: 2 * half m wide, so 200 * half / depth px."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + centre
    vertices = np.column_stack([corners, np.full(4, depth)])
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), np.full((4, 3), value, np.uint8))


@pytest.fixture(scope="module")
def gl():
    try:
        return gl_platform()
    except (HpsbenchError, MissingExtraError) as error:
        pytest.skip(str(error))


class TestHidden:
    def test_behind_before_and_beside_a_square(self):
        points = np.array([[0, 0, 3.0], [0, 0, 1.0], [1, 0, 3.0], [0.3, 0, 3.0], [0.31, 0, 3.0]])
        assert hidden(points, [square(2)]).tolist() == [True, False, False, True, False]

    def test_winding_does_not_matter(self):
        mesh = square(2)
        back = Mesh(mesh.vertices, mesh.faces[:, ::-1], mesh.values)
        assert hidden(np.array([[0.05, 0.02, 3.0]]), [back]).all()

    def test_any_of_several(self):
        points = np.array([[0, 0, 3.0], [1, 0, 3.0], [2, 0, 3.0]])
        assert hidden(points, [square(2), square(2, centre=(0.667, 0))]).tolist() == [True, True, False]

    def test_nothing_hides_without_meshes_or_behind_the_camera(self):
        point = np.array([[0, 0, 3.0]])
        assert not hidden(point, []).any()
        assert not hidden(point, [square(-2)]).any()

    def test_a_face_seen_edge_on_hides_nothing(self):
        flat = Mesh(np.array([[0, 0, 1.0], [0, 0, 2], [0, 1, 2]]), np.array([[0, 1, 2]]), np.zeros((3, 3), np.uint8))
        assert not hidden(np.array([[0.001, 0.1, 3.0]]), [flat]).any()

    def test_a_tilted_face_has_its_own_depth_at_every_point(self):
        tilted = Mesh(np.array([[-1, -1, 1.0], [1, -1, 1], [0, 3, 5]]), np.array([[0, 1, 2]]), np.zeros((3, 3), np.uint8))
        # The plane z = y + 2 meets the ray of (0, 0.5, 1) at y / z = 1 / 2: z = 4.
        assert hidden(np.array([[0, 1.95, 3.9], [0, 2.05, 4.1]]), [tilted]).tolist() == [False, True]


@pytest.mark.usefixtures("gl")
class TestPixels:
    def test_a_square_covers_its_pixels(self):
        painted = paint([square(2)], K, SIZE)
        inside = np.zeros(SIZE[::-1], bool)
        inside[30:50, 40:60] = True
        np.testing.assert_array_equal(painted.coverage > 0.5, inside)
        np.testing.assert_allclose(painted.values[inside], 200, atol=0.5)
        np.testing.assert_allclose(painted.depth[inside], 2, atol=1e-3)
        assert (painted.values[~inside] == 0).all()
        assert (painted.depth[~inside] == 0).all()

    def test_values_at_an_outline_are_not_mixed_with_the_empty_background(self):
        painted = paint([square(2, half=0.205)], K, SIZE)
        partly = (painted.coverage > 0) & (painted.coverage < 1)
        assert partly.any()
        np.testing.assert_allclose(painted.values[partly], 200, atol=3)

    def test_the_nearer_of_two_is_seen_whatever_their_order(self):
        far, near = square(2, value=50), square(1, half=0.05, value=250)
        for meshes in ([far, near], [near, far]):
            painted = paint(meshes, K, SIZE)
            assert painted.values[40, 50, 0] == pytest.approx(250, abs=0.5)
            assert painted.values[33, 43, 0] == pytest.approx(50, abs=0.5)

    def test_labels(self):
        index, depth = label([square(2), square(1, half=0.05)], K, SIZE)
        assert index[40, 50] == 1
        assert index[33, 43] == 0
        assert index[0, 0] == -1
        assert depth[33, 43] == pytest.approx(2, abs=1e-3)

    def test_sizes_may_change_and_edges_cut(self):
        wide = paint([square(2, half=0.9)], K, (160, 30))
        tall = paint([square(2, half=0.9)], K, (30, 160))
        assert wide.coverage.shape == (30, 160)
        assert tall.coverage.shape == (160, 30)
        assert wide.coverage[:, 5:95].min() == 1
        assert wide.coverage[:, 96:].max() == 0

    def test_a_mesh_that_reaches_behind_the_camera(self):
        floor = Mesh(
            np.array([[-5, 0.5, -5.0], [5, 0.5, -5], [5, 0.5, 50], [-5, 0.5, 50]]), np.array([[0, 1, 2], [0, 2, 3]]), square(1).values
        )
        painted = paint([floor], K, SIZE)
        assert painted.coverage[70, 50] == 1
        assert painted.coverage[10].max() == 0

    def test_no_meshes_or_none_in_view(self):
        for meshes in ([], [square(2, centre=(50, 0))]):
            assert paint(meshes, K, SIZE).coverage.max() == 0


class TestPlatform:
    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch):
        monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
        monkeypatch.setattr(render, "gl_platform", gl_platform.__wrapped__)

    def probe(self, monkeypatch, answers: dict[str, tuple[int, str]]) -> list[str]:
        tried = []

        def run(command, *, env, **_):
            tried.append(env["PYOPENGL_PLATFORM"])
            code, words = answers[tried[-1]]
            return subprocess.CompletedProcess(command, code, "", words)

        monkeypatch.setattr(subprocess, "run", run)
        return tried

    def test_egl_first_then_osmesa(self, monkeypatch):
        tried = self.probe(monkeypatch, {"egl": (1, "ImportError: no libEGL"), "osmesa": (0, "")})
        assert render.gl_platform() == "osmesa"
        assert tried == ["egl", "osmesa"]

    def test_neither_names_the_debian_packages(self, monkeypatch):
        self.probe(monkeypatch, {"egl": (1, "Traceback\nImportError: no libEGL"), "osmesa": (-11, "")})
        with pytest.raises(HpsbenchError) as caught:
            render.gl_platform()
        for word in ("no libEGL", "status -11", "libegl1 libgl1 libgl1-mesa-dri", "libosmesa6"):
            assert word in str(caught.value)

    def test_the_environment_is_obeyed(self, monkeypatch):
        monkeypatch.setenv("PYOPENGL_PLATFORM", "osmesa")
        tried = self.probe(monkeypatch, {"osmesa": (0, "")})
        assert render.gl_platform() == "osmesa"
        assert tried == ["osmesa"]

    def test_without_pyrender_the_extra_is_named(self, monkeypatch):
        self.probe(monkeypatch, {"egl": (1, "hpsbench.errors.MissingExtraError: Rendering needs ...")})
        with pytest.raises(MissingExtraError, match=r"pip install 'hpsbench\[openhps\]'"):
            render.gl_platform()
