"""The embedded bodies, and the parts of their making that need no anny."""

import sys

import numpy as np
import pytest
import torch

from hpsbench.body.bodies import load_bodies
from hpsbench.datasets.openhps.body_build import build_bodies, random_pose
from hpsbench.datasets.openhps.body_mesh import N_VERTICES, VERTEX_IDS, landmark_order
from hpsbench.datasets.openhps.body_regressors import LANDMARKS, wanted_points
from hpsbench.datasets.openhps.body_rig import global_rotations, joint_of_bone
from hpsbench.errors import MissingExtraError
from hpsbench.skeleton import J29_LEAF_VERTICES, JOINT_NAMES, joint_index


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None)


@pytest.mark.parametrize("gender", ["neutral", "male", "female"])
class TestBody:
    def test_leaf_vertices_are_the_ends_of_the_body(self, bodies, gender):
        rest = bodies[gender].v_template.numpy()
        crown, left, right, left_toe, right_toe = rest[list(J29_LEAF_VERTICES)]
        assert crown[1] == pytest.approx(rest[:, 1].max(), abs=5e-3)
        assert left[0] == pytest.approx(rest[:, 0].max(), abs=5e-3)
        assert right[0] == pytest.approx(rest[:, 0].min(), abs=5e-3)
        for toe, side in ((left_toe, 1), (right_toe, -1)):
            assert toe[0] * side > 0.1
            foot = rest[(rest[:, 0] * side > 0) & (rest[:, 1] < rest[:, 1].min() + 0.1)]
            assert toe[2] == pytest.approx(foot[:, 2].max(), abs=0.02)

    def test_a_tpose_in_metres_facing_z(self, bodies, gender):
        body = bodies[gender]
        rest = body.v_template.numpy()
        joints = body.rest_joints(torch.zeros(1, 10))[0].numpy()
        assert 1.6 < np.ptp(rest[:, 1]) < 1.9
        np.testing.assert_allclose(joints[0], [0, -0.24, 0.028], atol=0.01)
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
            left, right = (joints[joint_index("smpl24", f"{side}_{part}")] for side in ("left", "right"))
            assert left[0] > 0.05
            np.testing.assert_allclose(left, right * [-1, 1, 1], atol=0.01)
        assert rest[LANDMARKS["nose"], 2] > joints[joint_index("smpl24", "head"), 2] + 0.05

    def test_all_share_one_mesh(self, bodies, gender):
        np.testing.assert_array_equal(bodies[gender].faces, bodies["neutral"].faces)
        assert bodies[gender].n_vertices == 6890

    def test_one_beta_is_one_ordinary_person(self, bodies, gender):
        body = bodies[gender]
        away = np.linalg.norm(body.shapedirs.numpy(), axis=1).max(0)
        assert away.max() < 0.15
        assert (body.shapedirs.numpy()[411, 1, 0] - body.shapedirs.numpy()[3387, 1, 0]) > 0.02


@pytest.mark.parametrize("skeleton", ["h36m17", "coco17", "mpi17"])
def test_regressors_are_sparse_convex_and_well_placed(bodies, skeleton):
    rows = bodies.regressor(skeleton).numpy()
    assert rows.min() >= 0
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-5)
    assert (rows > 0).sum(1).max() <= 10
    generator = torch.Generator().manual_seed(0)
    betas, rotvecs = torch.randn(8, 10, generator=generator), 0.3 * torch.randn(8, 24, 3, generator=generator)
    output = bodies["female"](betas, rotvecs=rotvecs)
    vertices, joints = output.vertices.double().numpy(), output.joints.double().numpy()
    for row, name in zip(rows, JOINT_NAMES[skeleton], strict=True):
        away = np.linalg.norm(np.einsum("v,bvc->bc", row, vertices) - wanted_points(joints, vertices, name), axis=1)
        assert away.mean() < 0.022, name


class TestMaking:
    @pytest.mark.parametrize(
        ("bone", "joint"),
        [
            ("root", "pelvis"), ("spine05", "pelvis"), ("spine03", "spine1"), ("neck02", "neck"), ("eye.L", "head"), ("jaw", "head"),
            ("breast.R", "spine3"), ("upperleg02.L", "left_hip"), ("lowerleg01.R", "right_knee"), ("foot.L", "left_ankle"),
            ("toe3-1.R", "right_foot"), ("clavicle.L", "left_collar"), ("upperarm01.R", "right_shoulder"), ("wrist.L", "left_wrist"),
            ("metacarpal2.L", "left_wrist"), ("finger3-2.R", "right_hand"), ("pelvis.L", "pelvis"),
        ],
    )  # fmt: skip
    def test_bones_hang_on_joints(self, bone, joint):
        assert JOINT_NAMES["smpl24"][joint_of_bone(bone)] == joint

    def test_landmarks_come_to_their_places_and_nobody_is_lost(self):
        vertices = np.random.default_rng(0).permutation(N_VERTICES)[: len(VERTEX_IDS)]
        landmarks = dict(zip(VERTEX_IDS, vertices.tolist(), strict=True))
        order = landmark_order(landmarks)
        assert sorted(order) == list(range(N_VERTICES))
        assert all(order[VERTEX_IDS[name]] == vertex for name, vertex in landmarks.items())

    def test_landmarks_that_want_each_other_s_places(self):
        names = list(VERTEX_IDS)
        turned = dict(zip(names, [VERTEX_IDS[name] for name in (*names[1:], names[0])], strict=True))
        order = landmark_order(turned)
        assert all(order[VERTEX_IDS[name]] == vertex for name, vertex in turned.items())

    def test_global_rotations_multiply_down_the_tree(self):
        rotmats = np.tile(np.eye(3), (24, 1, 1))
        quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
        rotmats[0], rotmats[1] = quarter, quarter
        world = global_rotations(rotmats)
        np.testing.assert_allclose(world[2], quarter)
        np.testing.assert_allclose(world[10], quarter @ quarter)

    def test_random_poses_leave_the_whole_body_alone(self):
        pose = random_pose(np.random.default_rng(1))
        assert pose.shape == (24, 3)
        assert (pose[0] == 0).all()
        assert (pose[[22, 23]] == 0).all()

    def test_without_anny_the_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "anny", None)
        with pytest.raises(MissingExtraError, match=r"'anny'.*hpsbench\[body\]"):
            build_bodies(tmp_path / "out")
        assert not (tmp_path / "out").exists()
