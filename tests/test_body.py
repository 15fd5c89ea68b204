"""Bodies: against smplx and the golden files, files good and bad, joints by name, kinematics."""

import contextlib
import io
import pickle
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import roma
import smplx
import torch
from writers.smpl import official_pickle, standin

from hpsbench.body import BodyOutput, load_bodies, load_body
from hpsbench.body.bodies import GENDERS, REGRESSORS
from hpsbench.body.files import load_array
from hpsbench.body.kinematics import (
    bone_axes,
    forward_kinematics,
    join_swing_twist,
    normalised_phi,
    split_swing_twist,
    swing_rotation,
    twist_angles,
    twist_rotation,
)
from hpsbench.errors import BodyError, UnknownNameError, UnsafePickleError
from hpsbench.skeleton import J29_LEAF_VERTICES, JOINT_NAMES, PARENTS, joint_index, mirror, subset

DATA = Path(__file__).parent / "data"
EMBEDDED = load_bodies(None)


def people(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(betas, rotvecs, trans) of some people in strong poses."""
    draws = torch.Generator().manual_seed(seed)
    return tuple(
        scale * torch.randn(count, *shape, generator=draws, dtype=dtype) for scale, shape in ((1, (10,)), (0.5, (24, 3)), (2, (3,)))
    )


@pytest.fixture(scope="module")
def arrays() -> tuple[dict[str, np.ndarray], np.ndarray]:
    body, regressor = standin(7)
    return {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in body.items()}, regressor


@pytest.fixture(scope="module")
def folder(arrays, tmp_path_factory) -> Path:
    """A folder with the stand-in as neutral body, and its H36M regressor."""
    place = tmp_path_factory.mktemp("standin")
    np.savez(place / "SMPL_NEUTRAL.npz", **arrays[0])
    np.save(place / "J_regressor_h36m.npy", arrays[1])
    return place


class TestAgainstSmplx:
    @pytest.mark.parametrize("gender", GENDERS)
    def test_vertices_and_joints(self, tmp_path, gender):
        with np.load(EMBEDDED.files[gender]) as archive:
            content = {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in archive.items()}
        (tmp_path / "body.pkl").write_bytes(pickle.dumps(content))
        with contextlib.redirect_stdout(io.StringIO()):
            reference = smplx.SMPL(str(tmp_path / "body.pkl"), dtype=torch.float64)
        betas, rotvecs, trans = people(40)
        expected = reference(betas=betas, global_orient=rotvecs[:, 0], body_pose=rotvecs[:, 1:].flatten(1), transl=trans)
        for body in (load_body(tmp_path / "body.pkl"), load_body(tmp_path / "body.pkl", torch.float64), EMBEDDED[gender]):
            output = body(betas, trans=trans, rotvecs=rotvecs)
            assert output.vertices.dtype == body.dtype
            torch.testing.assert_close(output.vertices.double(), expected.vertices, atol=1e-5, rtol=0)
            torch.testing.assert_close(output.joints.double(), expected.joints[:, :24], atol=1e-5, rtol=0)
        np.testing.assert_array_equal(body.faces, reference.faces)


class TestAgainstGolden:
    golden: ClassVar = dict(np.load(DATA / "body" / "smpl_standin.npz"))

    def __getattr__(self, name):
        return torch.from_numpy(self.golden[name])

    def test_forward(self, folder):
        bodies = load_bodies(folder)
        output = bodies.forward(self.betas, self.pose_rotmat)
        torch.testing.assert_close(output.vertices[:, self.vert_ids], self.niki_fk_verts, atol=1e-5, rtol=0)
        torch.testing.assert_close(bodies.joints(output, "j29"), self.niki_fk_joints29, atol=1e-5, rtol=0)
        torch.testing.assert_close(bodies.joints(output, "h36m17"), self.niki_fk_joints17, atol=1e-5, rtol=0)
        torch.testing.assert_close(output.joints - output.joints[:, :1], self.hybrik_fk_joints24, atol=1e-5, rtol=0)
        torch.testing.assert_close(bodies.neutral.rest_joints(self.betas), self.rest_joints24, atol=1e-6, rtol=0)

    def test_rotation_vectors(self, folder):
        body = load_bodies(folder).neutral
        by_vector, by_matrix = body(self.betas, rotvecs=self.pose_axis_angle), body(self.betas, self.pose_rotmat)
        torch.testing.assert_close(by_vector.vertices, by_matrix.vertices, atol=1e-5, rtol=0)

    def test_swing_and_twist(self, folder):
        body = load_bodies(folder).neutral
        rest = body.rest_joints29(self.betas)
        swing, twist = split_swing_twist(self.pose_rotmat, rest)
        torch.testing.assert_close(swing, self.niki_swing_from_rot, atol=1e-5, rtol=0)
        torch.testing.assert_close(twist, self.niki_twist_from_rot, atol=1e-5, rtol=0)
        torch.testing.assert_close(twist_angles(self.pose_rotmat, rest), self.niki_twist_angle[..., 0], atol=1e-5, rtol=0)
        joined = join_swing_twist(self.niki_swing, self.phi, rest)
        torch.testing.assert_close(joined, self.niki_composite_rotmat, atol=1e-5, rtol=0)
        torch.testing.assert_close(body.joints29(body(self.betas, joined)), self.niki_composite_joints29, atol=1e-5, rtol=0)


class TestForward:
    def test_blocks_and_single_people_agree(self):
        betas, rotvecs, trans = people(70)
        body = load_bodies(None, torch.float64).neutral
        whole = body(betas, trans=trans, rotvecs=rotvecs).vertices
        for i in (0, 31, 32, 69):
            one = body(betas[i : i + 1], trans=trans[i : i + 1], rotvecs=rotvecs[i : i + 1]).vertices[0]
            torch.testing.assert_close(whole[i], one, atol=1e-12, rtol=0)

    def test_each_person_gets_the_body_of_their_gender(self):
        betas, rotvecs, trans = people(6, dtype=torch.float32)
        genders = ["male", "neutral", "female", "male", "female", "neutral"]
        together = EMBEDDED.forward(betas, None, trans, genders, rotvecs=rotvecs)
        for i, gender in enumerate(genders):
            one = EMBEDDED[gender](betas[i : i + 1], trans=trans[i : i + 1], rotvecs=rotvecs[i : i + 1])
            torch.testing.assert_close(together.vertices[i], one.vertices[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.joints[i], one.joints[0], atol=1e-5, rtol=0)

    def test_no_genders_means_neutral(self):
        betas, rotvecs, _ = people(2, dtype=torch.float32)
        torch.testing.assert_close(EMBEDDED.forward(betas, rotvecs=rotvecs).vertices, EMBEDDED.neutral(betas, rotvecs=rotvecs).vertices)

    def test_nobody(self):
        output = EMBEDDED.forward(torch.zeros(0, 10), torch.zeros(0, 24, 3, 3), None, [])
        assert output.vertices.shape == (0, 6890, 3)
        assert EMBEDDED.joints(output, "j29").shape == (0, 29, 3)

    def test_trans_moves_everything(self):
        betas, rotvecs, trans = people(2, dtype=torch.float32)
        at, moved = EMBEDDED.neutral(betas, rotvecs=rotvecs), EMBEDDED.neutral(betas, trans=trans, rotvecs=rotvecs)
        torch.testing.assert_close(moved.vertices, at.vertices + trans[:, None], atol=1e-5, rtol=0)
        torch.testing.assert_close(moved.joints, at.joints + trans[:, None], atol=1e-5, rtol=0)

    def test_root_rotation_turns_about_the_pelvis(self):
        betas, rotvecs, _ = people(1)
        body = load_bodies(None, torch.float64).neutral
        turned = rotvecs.clone()
        turned[:, 0] = 0
        R, pelvis = roma.rotvec_to_rotmat(rotvecs[:, 0]), body.rest_joints(betas)[:, :1]
        expected = (body(betas, rotvecs=turned).vertices - pelvis) @ R.transpose(1, 2) + pelvis
        # Skinning weights of the file sum to one within float32 only.
        torch.testing.assert_close(body(betas, rotvecs=rotvecs).vertices, expected, atol=1e-7, rtol=0)

    def test_only_some_vertices(self):
        betas, rotvecs, trans = people(3, dtype=torch.float32)
        ids = torch.tensor([5000, 3, 3])
        whole, some = (EMBEDDED.neutral(betas, trans=trans, rotvecs=rotvecs, vertex_ids=v) for v in (None, ids))
        torch.testing.assert_close(some.vertices, whole.vertices[:, ids], atol=1e-6, rtol=0)

    def test_rest_joints29_are_those_of_the_rest_pose(self):
        betas, _, _ = people(2)
        body = load_bodies(None, torch.float64).neutral
        rest = body(betas, torch.eye(3).expand(2, 24, 3, 3))
        torch.testing.assert_close(body.rest_joints29(betas), body.joints29(rest), atol=1e-12, rtol=0)
        regressed = torch.einsum("jv,bvc->bjc", body.J_regressor, body.v_template + torch.einsum("vcs,bs->bvc", body.shapedirs, betas))
        torch.testing.assert_close(body.rest_joints(betas), regressed, atol=1e-12, rtol=0)

    def test_gradients(self):
        betas, rotvecs, trans = (x.requires_grad_() for x in people(2))
        body, ids = load_bodies(None, torch.float64).neutral, torch.tensor([411, 2445])
        assert torch.autograd.gradcheck(
            lambda b, r, t: body(b, trans=t, rotvecs=r, vertex_ids=ids), (betas, rotvecs, trans), fast_mode=True
        )

    def test_gradients_at_the_rest_pose_are_finite(self):
        rotvecs = torch.zeros(1, 24, 3, requires_grad=True)
        EMBEDDED.neutral(torch.zeros(1, 10), rotvecs=rotvecs).vertices.square().sum().backward()
        assert rotvecs.grad.isfinite().all()
        assert rotvecs.grad.abs().max() > 0

    def test_wrong_shapes(self):
        body, betas, rotmats = EMBEDDED.neutral, torch.zeros(2, 10), torch.eye(3).expand(2, 24, 3, 3)
        with pytest.raises(ValueError, match=r"expected betas of shape \(B, 10\), but got \(2, 300\)"):
            body(torch.zeros(2, 300), rotmats)
        with pytest.raises(ValueError, match=r"expected rotvecs of shape \(B, 24, 3\), but got \(2, 72\)"):
            body(betas, rotvecs=torch.zeros(2, 72))
        with pytest.raises(ValueError, match="betas are of 2 people, rotations of 1"):
            body(betas, rotmats[:1])
        with pytest.raises(ValueError, match="either rotmats or rotvecs"):
            body(betas)
        with pytest.raises(ValueError, match="1 genders for 2 people"):
            EMBEDDED.forward(betas, rotmats, None, ["male"])

    def test_no_parameters_and_no_saved_buffers(self):
        assert not list(EMBEDDED.neutral.parameters())
        assert not EMBEDDED.neutral.state_dict()

    def test_to_leaves_the_original(self):
        double = EMBEDDED.to(dtype=torch.float64)
        assert (EMBEDDED.neutral.dtype, double.neutral.dtype) == (torch.float32, torch.float64)
        assert double.to(torch.device("cpu"), torch.float64) is double
        assert double.fingerprint == EMBEDDED.fingerprint

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_the_same_on_a_gpu(self):
        betas, rotvecs, trans = people(4)
        cpu, gpu = (EMBEDDED.to(device, torch.float64) for device in ("cpu", "cuda"))
        on_cpu, on_gpu = (b.forward(betas, None, trans, ["male", "female"] * 2, rotvecs=rotvecs) for b in (cpu, gpu))
        torch.testing.assert_close(on_gpu.vertices.cpu(), on_cpu.vertices, atol=1e-9, rtol=0)
        torch.testing.assert_close(gpu.joints(on_gpu, "eval14").cpu(), cpu.joints(on_cpu, "eval14"), atol=1e-9, rtol=0)


class TestJoints:
    @pytest.mark.parametrize("skeleton", ["smpl24", "j29", "eval14", *REGRESSORS])
    def test_computing_only_what_is_needed_gives_the_same(self, skeleton):
        betas, rotvecs, trans = people(4, dtype=torch.float32)
        genders = ["male", "female", "neutral", "male"]
        joints = EMBEDDED.joints(EMBEDDED.forward(betas, None, trans, genders, rotvecs=rotvecs), skeleton)
        assert joints.shape == (4, len(JOINT_NAMES[skeleton]), 3)
        direct = EMBEDDED.forward_joints(betas, None, trans, genders, skeleton=skeleton, rotvecs=rotvecs)
        torch.testing.assert_close(direct, joints, atol=1e-5, rtol=0)

    def test_j29(self):
        output = EMBEDDED.forward(torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3))
        joints = EMBEDDED.joints(output, "j29")
        torch.testing.assert_close(joints[:, :24], output.joints)
        torch.testing.assert_close(joints[:, 24:], output.vertices[:, list(J29_LEAF_VERTICES)])

    def test_a_regressor_is_a_matrix_product(self, folder, arrays):
        bodies = load_bodies(folder, torch.float64)
        vertices = torch.randn(2, 6890, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        output = BodyOutput(vertices, vertices[:, :0])
        expected = torch.from_numpy(arrays[1]) @ vertices
        torch.testing.assert_close(bodies.joints(output, "h36m17"), expected, atol=1e-12, rtol=0)
        torch.testing.assert_close(bodies.joints(output, "eval14"), expected[:, list(subset("h36m17", "eval14"))], atol=1e-12, rtol=0)
        np.testing.assert_array_equal(bodies.regressor("h36m17").numpy(), arrays[1])

    @pytest.mark.parametrize("name", REGRESSORS)
    def test_embedded_regressors(self, name):
        regressor = EMBEDDED.regressor(name)
        assert regressor.shape == (17, 6890)
        torch.testing.assert_close(regressor.sum(1), torch.ones(17), atol=1e-3, rtol=0)
        joints = regressor @ EMBEDDED.neutral.v_template
        flipped = joints[list(mirror(name))] * torch.tensor([-1.0, 1, 1])
        torch.testing.assert_close(joints, flipped, atol=0.02, rtol=0)
        assert joints[joint_index(name, "left_hip"), 0] > joints[joint_index(name, "right_hip"), 0]

    def test_unknown_names(self, folder):
        bodies = load_bodies(folder)
        with pytest.raises(UnknownNameError, match="Did you mean 'h36m17'"):
            bodies.regressor("h36m")
        with pytest.raises(UnknownNameError, match="No joint set of a body named 'openpose18'"):
            bodies.joints(bodies.forward(torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3)), "openpose18")
        with pytest.raises(UnknownNameError, match="Did you mean 'male'"):
            bodies["mal"]


class TestFolder:
    def test_missing_gender(self, folder):
        with pytest.raises(
            BodyError, match=r"has no female body.*SMPL_FEMALE\.npz, SMPL_FEMALE\.pkl, basicmodel_f_lbs_10_207_0_v1\.1\.0\.pkl"
        ):
            load_bodies(folder)["female"]

    def test_missing_regressor(self, folder):
        with pytest.raises(BodyError, match=r"no joint regressor for 'coco17'.*J_regressor_coco\.npy, an array \(17, 6890\). Put it there"):
            load_bodies(folder).regressor("coco17")

    def test_no_folder(self, tmp_path):
        with pytest.raises(BodyError, match=r"There is no folder .*nowhere"):
            load_bodies(tmp_path / "nowhere")

    def test_folder_without_a_body(self, tmp_path):
        (tmp_path / "SMPL_NEUTRAL.txt").write_text("")
        with pytest.raises(BodyError, match=r"holds no body file\. Looked there and in .*smpl for SMPL_NEUTRAL\.npz"):
            load_bodies(tmp_path)

    def test_official_names_in_the_sub_folder(self, tmp_path, folder):
        (tmp_path / "SMPL").mkdir()
        body, _ = standin(7)
        for name in ("basicModel_neutral_lbs_10_207_0_v1.0.0.pkl", "basicmodel_m_lbs_10_207_0_v1.1.0.pkl"):
            (tmp_path / "SMPL" / name).write_bytes(official_pickle(body))
        shutil.copy(folder / "J_regressor_h36m.npy", tmp_path / "SMPL" / "j_regressor_h36m.npy")
        bodies = load_bodies(tmp_path)
        assert sorted(bodies.files) == ["male", "neutral"]
        assert bodies.regressor("h36m17").shape == (17, 6890)
        betas, rotvecs, _ = people(2)
        expected = load_bodies(folder).neutral(betas, rotvecs=rotvecs)
        torch.testing.assert_close(bodies["male"](betas, rotvecs=rotvecs).vertices, expected.vertices, atol=1e-5, rtol=0)

    def test_the_modern_name_comes_before_the_official(self, tmp_path):
        for name in ("smpl_neutral.NPZ", "SMPL_NEUTRAL.pkl", "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"):
            (tmp_path / name).write_bytes(b"")
        assert load_bodies(tmp_path).files["neutral"].name == "smpl_neutral.NPZ"

    def test_fingerprint_is_of_the_content(self, tmp_path, folder):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        first = load_bodies(folder).fingerprint
        assert load_bodies(copy).fingerprint == first
        np.save(copy / "J_regressor_coco.npy", np.zeros((17, 6890)))
        assert load_bodies(copy).fingerprint != first

    def test_cards(self, folder):
        assert load_bodies(folder).card.revision == load_bodies(folder).fingerprint
        assert EMBEDDED.name == EMBEDDED.card.name == "openhps"
        assert load_bodies("openhps").fingerprint == EMBEDDED.fingerprint
        assert "CC0" in EMBEDDED.card.licence

    def test_a_folder_that_bears_the_embedded_name(self, tmp_path, folder):
        shutil.copytree(folder, tmp_path / "openhps")
        bodies = load_bodies(tmp_path / "openhps")
        assert bodies.regressor("h36m17").shape == (17, 6890)
        assert bodies.card.source == "user's own files"

    def test_swapped_legs_are_refused(self, tmp_path, folder):
        shutil.copy(folder / "SMPL_NEUTRAL.npz", tmp_path)
        body, regressor = standin(7)
        own = {"hip": 1, "knee": 4, "ankle": 7, "shoulder": 16, "elbow": 18, "wrist": 20}
        for joint, left in own.items():
            for side in (0, 1):
                swap = joint in ("hip", "knee", "ankle")
                name = ("left", "right")[side ^ swap]
                regressor[joint_index("h36m17", f"{name}_{joint}")] = body["J_regressor"][left + side]
        np.save(tmp_path / "J_regressor_h36m.npy", regressor)
        with pytest.raises(BodyError, match="right leg first, expected the order of 'h36m17': pelvis, left_hip"):
            load_bodies(tmp_path).regressor("h36m17")

    def test_regressor_of_the_wrong_shape(self, tmp_path, folder):
        shutil.copy(folder / "SMPL_NEUTRAL.npz", tmp_path)
        np.save(tmp_path / "J_regressor_h36m.npy", np.zeros((24, 6890)))
        with pytest.raises(BodyError, match=r"'h36m17' has shape \(24, 6890\), expected \(17, 6890\)"):
            load_bodies(tmp_path).regressor("h36m17")
        (tmp_path / "J_regressor_h36m.npy").write_bytes(b"no array")
        with pytest.raises(BodyError, match=r"is not a readable \.npy array"):
            load_array(tmp_path / "J_regressor_h36m.npy")


BAD = {
    "no faces": ({"f": None}, "lacks f; it holds J_regressor, kintree_table"),
    "fewer vertices": ({"v_template": np.zeros((6889, 3))}, r"v_template has shape \(6889, 3\), expected \(6890, 3\)"),
    "flat shapedirs": ({"shapedirs": np.zeros((6890, 30))}, r"shapedirs has shape \(6890, 30\), expected \(6890, 3, any\)"),
    "two shape components": ({"shapedirs": np.zeros((6890, 3, 2))}, "shapedirs has 2 components, expected at least 10"),
    "posedirs of hands": ({"posedirs": np.zeros((6890, 3, 459), np.float16)}, r"posedirs has shape \(6890, 3, 459\)"),
    "NaN": ({"weights": np.full((6890, 24), np.nan)}, "weights holds NaN or infinity"),
    "text": ({"weights": np.array(["a"])}, "weights is not an array of numbers"),
    "objects": ({"weights": np.array([None])}, "could not be read as a body file: Object arrays cannot be loaded"),
    "another tree": ({"kintree_table": np.zeros((2, 24), int)}, "kintree_table has parents .*expected SMPL's"),
    "faces beyond": ({"f": np.array([[0, 1, 6890]])}, "f names vertex 6890, expected 0 to 6889"),
}


class TestBadFiles:
    @pytest.mark.parametrize("name", sorted(BAD))
    def test_named_and_explained(self, tmp_path, arrays, name):
        changes, message = BAD[name]
        content = {key: a for key, a in {**arrays[0], **changes}.items() if a is not None}
        np.savez(tmp_path / "SMPL_NEUTRAL.npz", **content)
        with pytest.raises(BodyError, match=rf"SMPL_NEUTRAL\.npz.*{message}"):
            load_body(tmp_path / "SMPL_NEUTRAL.npz")

    def test_truncated(self, tmp_path, folder):
        data = (folder / "SMPL_NEUTRAL.npz").read_bytes()
        (tmp_path / "a.npz").write_bytes(data[: len(data) // 2])
        with pytest.raises(BodyError, match=r"a\.npz could not be read as a body file"):
            load_body(tmp_path / "a.npz")

    def test_truncated_pickle(self, tmp_path):
        (tmp_path / "a.pkl").write_bytes(official_pickle(standin(7)[0])[:100000])
        with pytest.raises(BodyError, match=r"a\.pkl could not be read as a body file: .*is not a whole pickle"):
            load_body(tmp_path / "a.pkl")

    def test_pickle_of_something_else(self, tmp_path):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
        with pytest.raises(BodyError, match=r"a\.pkl holds a list, expected a dictionary of arrays"):
            load_body(tmp_path / "a.pkl")

    def test_pickle_that_asks_for_code(self, tmp_path):
        (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        with pytest.raises(UnsafePickleError, match=r"'os\.system'"):
            _ = load_bodies(tmp_path).neutral

    def test_other_kinds_of_file(self, tmp_path):
        (tmp_path / "a.fbx").write_bytes(b"")
        with pytest.raises(BodyError, match=r"ends in \.npz or \.pkl, not in '\.fbx'"):
            load_body(tmp_path / "a.fbx")
        with pytest.raises(BodyError, match="There is no body file"):
            load_body(tmp_path / "b.npz")


class TestKinematics:
    golden: ClassVar = {name: torch.from_numpy(a) for name, a in np.load(DATA / "ik" / "hybrik_ik.npz").items()}

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_golden_joints_and_transforms(self, dtype):
        R, Q = self.golden["rotmat_gt"].to(dtype), self.golden["rest_joints"].to(dtype)
        joints, rotations = forward_kinematics(R, Q, PARENTS["j29"])
        assert joints.dtype == dtype
        torch.testing.assert_close(joints.float(), self.golden["joints_gt"], atol=1e-6, rtol=0)
        shifts = joints[:, :24] - (rotations[:, :24] @ Q[:, :24, :, None])[..., 0]
        transforms = torch.cat([rotations[:, :24], shifts[..., None]], dim=-1)
        torch.testing.assert_close(transforms.float(), self.golden["fk24_rel_transforms"][:, :, :3], atol=1e-6, rtol=0)

    def test_golden_swing_and_twist(self):
        R, Q = self.golden["rotmat_gt"], self.golden["rest_joints"]
        swing, twist = split_swing_twist(R, Q)
        angles = twist_angles(R, Q)
        torch.testing.assert_close(swing, self.golden["swing_gt"], atol=1e-5, rtol=0)
        torch.testing.assert_close(twist, self.golden["twist_gt"], atol=1e-5, rtol=0)
        torch.testing.assert_close(angles, self.golden["twist_angle_gt"][..., 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.stack([angles.cos(), angles.sin()], -1), self.golden["phi_gt"], atol=1e-5, rtol=0)
        torch.testing.assert_close(join_swing_twist(swing, self.golden["phi_gt"], Q), R, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("case", ["clean", "small_noise", "noisy"])
    def test_golden_twists_and_composites(self, case):
        Q, phi = self.golden["rest_joints"], self.golden[f"{case}_phi"]
        twist = twist_rotation(bone_axes(Q)[:, 1:], normalised_phi(phi))
        torch.testing.assert_close(twist, self.golden[f"{case}_twist_from_phi"], atol=1e-5, rtol=0)
        joined = join_swing_twist(self.golden[f"{case}_swing_from_joints"], phi, Q)
        torch.testing.assert_close(joined, self.golden[f"{case}_composite"], atol=1e-5, rtol=0)

    def test_an_elbow_by_hand(self):
        rest = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [3, 1, 0]])
        quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        joints, rotations = forward_kinematics(torch.stack([torch.eye(3), quarter]), rest, (-1, 0, 1, 2))
        assert joints.tolist() == [[0, 0, 0], [1, 0, 0], [1, 2, 0], [0, 2, 0]]
        torch.testing.assert_close(rotations[3], quarter)

    def test_any_leading_axes(self):
        R, Q = self.golden["rotmat_gt"], self.golden["rest_joints"]
        joints, _ = forward_kinematics(R.view(3, 4, 24, 3, 3), Q.view(3, 4, 29, 3), PARENTS["j29"])
        torch.testing.assert_close(joints.flatten(0, 1), forward_kinematics(R, Q, PARENTS["j29"])[0])
        torch.testing.assert_close(twist_angles(R[0], Q[0]), twist_angles(R, Q)[0])

    def test_children_before_parents_are_refused(self):
        with pytest.raises(ValueError, match="joint 1 has parent 2"):
            forward_kinematics(torch.eye(3).expand(3, 3, 3), torch.zeros(3, 3), (-1, 2, 0))

    def test_swing_turns_one_direction_into_the_other(self):
        a, b = torch.randn(2, 50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        R = swing_rotation(a, b)
        turned = (R @ a[..., None])[..., 0]
        torch.testing.assert_close(turned / turned.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True), atol=1e-6, rtol=0)
        torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3), atol=1e-6, rtol=0)

    @pytest.mark.parametrize("target", [[0.0, 0, 0], [1.0, 0, 0], [-1.0, 0, 0]])
    def test_swing_without_an_axis_is_the_identity(self, target):
        assert swing_rotation(torch.tensor([2.0, 0, 0]), torch.tensor(target)).tolist() == torch.eye(3).tolist()

    def test_twist_of_a_quarter_turn(self):
        R = twist_rotation(torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 1]))
        assert R.tolist() == [[0, -1, 0], [1, 0, 0], [0, 0, 1]]

    @pytest.mark.parametrize("angle", [-3.0, -1e-4, 0.0, 0.5, 3.1])
    def test_twist_angle_of_a_pure_twist(self, angle):
        rest = self.golden["rest_joints"][:1].double()
        R = roma.rotvec_to_rotmat(bone_axes(rest) * angle)
        expected = torch.full((1, 23), angle, dtype=torch.float64)
        torch.testing.assert_close(twist_angles(R, rest), expected, atol=1e-6, rtol=0)

    def test_gradients_are_finite_at_the_rest_pose(self):
        rest = self.golden["rest_joints"][:1].clone()
        R = torch.eye(3).repeat(1, 24, 1, 1).requires_grad_()
        swing, twist = split_swing_twist(R, rest)
        (swing.sum() + twist.sum() + twist_angles(R, rest).sum()).backward()
        assert R.grad.isfinite().all()
