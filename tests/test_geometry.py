import numpy as np
import pytest
import reference
import roma
import torch

from hpsbench.geometry import (
    apply_similarity,
    geodesic_angle,
    lengths,
    polar_rotation,
    project,
    rot6d_rows_to_rotmat,
    rotmat_to_rot6d_rows,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
    similarity_align,
    svd_rotation,
)

NAN = float("nan")


def people(count: int, joints: int = 14, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    gt = rng.normal(size=(count, joints, 3)) * [0.2, 0.5, 0.1] + [0.0, 0.0, 4.0]
    return torch.from_numpy(gt + 0.05 * rng.normal(size=gt.shape)), torch.from_numpy(gt)


class TestSimilarity:
    def test_by_hand(self):
        # A quarter turn about z, twice as large, shifted: a unit square's corners.
        gt = torch.tensor([[1.0, 1, 0], [1, 3, 0], [-1, 1, 0], [-1, 3, 0]])
        pred = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
        scale, rotation, translation = similarity_align(pred, gt)
        assert scale.item() == pytest.approx(2, abs=1e-12)
        torch.testing.assert_close(rotation, torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64), atol=1e-12, rtol=0)
        torch.testing.assert_close(translation, torch.tensor([1.0, 1, 0], dtype=torch.float64), atol=1e-12, rtol=0)

    @pytest.mark.parametrize("mirror", [1.0, -1.0])
    def test_equals_the_reference(self, mirror):
        pred, gt = people(50)
        pred = pred * torch.tensor([mirror, 1.0, 1.0])
        scale, rotation, translation = similarity_align(pred, gt)
        for i in range(len(pred)):
            c, R, t = reference.similarity(pred[i].numpy(), gt[i].numpy())
            np.testing.assert_allclose(scale[i], c, rtol=1e-9)
            np.testing.assert_allclose(rotation[i], R, atol=1e-9)
            np.testing.assert_allclose(translation[i], t, atol=1e-8)
        torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50, dtype=torch.float64), atol=1e-9, rtol=0)

    def test_undoes_a_similarity(self):
        _, gt = people(20)
        rotation = roma.random_rotmat(20, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        pred = apply_similarity(gt, torch.full((20,), 0.3, dtype=torch.float64), rotation, torch.ones(20, 3, dtype=torch.float64))
        torch.testing.assert_close(apply_similarity(pred, *similarity_align(pred, gt)), gt, atol=1e-9, rtol=0)

    @pytest.mark.parametrize("size", [1e-20, 1e-6, 1e6, 1e20])
    def test_any_size(self, size):
        _, gt = people(5)
        moved = apply_similarity(gt * size, *similarity_align(gt * size, gt))
        torch.testing.assert_close(moved, gt, atol=1e-9, rtol=0)

    def test_a_reflection_is_no_rotation(self):
        _, gt = people(10)
        pred = gt * torch.tensor([-1.0, 1.0, 1.0])
        error = (apply_similarity(pred, *similarity_align(pred, gt)) - gt).norm(dim=-1).mean(-1)
        assert (error > 0.01).all()

    def test_collinear(self):
        line = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
        pred = line * torch.tensor([1.0, 0, 0], dtype=torch.float64)
        gt = 3 * line * torch.tensor([0.6, 0.8, 0], dtype=torch.float64) + 1
        scale, rotation, translation = similarity_align(pred, gt)
        torch.testing.assert_close(apply_similarity(pred, scale, rotation, translation), gt, atol=1e-9, rtol=0)
        assert torch.linalg.det(rotation).item() == pytest.approx(1, abs=1e-9)

    def test_coplanar(self):
        _, gt = people(10)
        gt[..., 2] = 0
        torch.testing.assert_close(apply_similarity(gt * 2, *similarity_align(gt * 2, gt)), gt, atol=1e-9, rtol=0)

    @pytest.mark.parametrize("side", ["pred", "gt", "both"])
    def test_coincident_joints_fall_on_the_mean(self, side):
        pred, gt = (tensor[0] for tensor in people(1))
        pred, gt = (torch.full_like(pred, 0.3) if side != "gt" else pred), (torch.full_like(gt, 0.7) if side != "pred" else gt)
        scale, rotation, translation = similarity_align(pred, gt)
        assert scale.item() == 0
        torch.testing.assert_close(rotation, torch.eye(3, dtype=torch.float64))
        torch.testing.assert_close(translation, gt.mean(0))

    @pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
    @pytest.mark.parametrize("where", ["pred", "gt"])
    def test_one_bad_person_costs_only_itself(self, bad, where):
        pred, gt = people(4)
        clean = similarity_align(pred, gt)
        (pred if where == "pred" else gt)[2, 5, 1] = bad
        for now, before in zip(similarity_align(pred, gt), clean, strict=True):
            assert now[2].isnan().all()
            torch.testing.assert_close(now[[0, 1, 3]], before[[0, 1, 3]], atol=0, rtol=0)

    def test_only_the_used_joints_count(self):
        pred, gt = people(3)
        used = torch.ones(3, 14, dtype=torch.bool)
        used[:, 10:] = False
        pred[:, 12] = NAN
        for now, alone in zip(similarity_align(pred, gt, used), similarity_align(pred[:, :10], gt[:, :10]), strict=True):
            torch.testing.assert_close(now, alone, atol=1e-12, rtol=1e-12)
        assert similarity_align(pred, gt, torch.zeros(3, 14, dtype=torch.bool))[0].isnan().all()

    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_the_batch_moves_nothing(self, count):
        pred, gt = people(20)
        whole = similarity_align(pred, gt)
        for now, before in zip(similarity_align(pred[:count], gt[:count]), whole, strict=True):
            torch.testing.assert_close(now, before[:count], atol=1e-12, rtol=1e-12)

    def test_leading_axes_and_float32(self):
        pred, gt = people(6)
        scale, rotation, translation = similarity_align(pred.float().reshape(2, 3, 14, 3), gt.float().reshape(2, 3, 14, 3))
        assert (scale.shape, rotation.shape, translation.shape) == ((2, 3), (2, 3, 3, 3), (2, 3, 3))
        assert scale.dtype == torch.float64
        torch.testing.assert_close(scale.flatten(), similarity_align(pred, gt)[0], atol=1e-5, rtol=1e-5)

    def test_no_people(self):
        assert similarity_align(torch.zeros(0, 14, 3), torch.zeros(0, 14, 3))[1].shape == (0, 3, 3)

    def test_shapes_that_differ(self):
        with pytest.raises(ValueError, match=r"two equal shapes.*\(2, 14, 3\) and \(2, 17, 3\)"):
            similarity_align(torch.zeros(2, 14, 3), torch.zeros(2, 17, 3))

    def test_fast_and_plain_rotation_agree_where_the_fast_one_is_used(self):
        rng = np.random.default_rng(5)
        spread = 10.0 ** rng.uniform(-4, 0, size=(2000, 1, 3))
        covariance = torch.from_numpy(rng.normal(size=(2000, 3, 3)) * spread)
        covariance = covariance / covariance.abs().amax((1, 2), keepdim=True)
        ceiling = torch.full((2000,), torch.inf, dtype=torch.float64)
        rotation, trace, unique = polar_rotation(covariance.permute(1, 2, 0), ceiling)
        rotation = rotation.permute(2, 0, 1)
        exact, exact_trace = svd_rotation(covariance)
        assert 0.2 < unique.double().mean() < 1
        torch.testing.assert_close(trace[unique], exact_trace[unique], atol=1e-10, rtol=0)
        torch.testing.assert_close(rotation[unique], exact[unique], atol=1e-7, rtol=0)


class TestLengths:
    def test_by_hand(self):
        vectors = torch.tensor([[3.0, 0, 4], [1, 2, 2]])
        assert lengths(vectors).tolist() == lengths(vectors.t(), dim=0).tolist() == [5, 3]


class TestProjection:
    def test_by_hand(self):
        intrinsics = torch.tensor([[1000.0, 0, 320], [0, 900, 240], [0, 0, 1]])
        points = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.0, 5.0]])
        torch.testing.assert_close(project(points, intrinsics), torch.tensor([[320 + 1000 / 4, 240 - 900 / 2], [320, 240]]))

    def test_behind_the_camera_there_is_no_pixel(self):
        points = torch.tensor([[1.0, 1, 0], [1, 1, -1], [1, 1, 1]])
        assert project(points, torch.eye(3)).isnan().all(1).tolist() == [True, True, False]

    def test_a_camera_per_person(self):
        points = torch.ones(2, 5, 3)
        cameras = torch.eye(3).repeat(2, 1, 1)
        cameras[1, 0, 0] = 7
        assert project(points, cameras)[:, :, 0].tolist() == [[1.0] * 5, [7.0] * 5]


class TestRotations:
    def test_six_numbers_are_rows(self):
        rotmat = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        assert rotmat_to_rot6d_rows(rotmat).tolist() == [0, -1, 0, 1, 0, 0]
        torch.testing.assert_close(rot6d_rows_to_rotmat(torch.tensor([0.0, -2, 0, 5, 3, 0])), rotmat)

    def test_six_numbers_and_back(self):
        rotmats = roma.random_rotmat((2, 24), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(rot6d_rows_to_rotmat(rotmat_to_rot6d_rows(rotmats)), rotmats, atol=1e-12, rtol=0)

    def test_six_zeros_are_finite(self):
        assert rot6d_rows_to_rotmat(torch.zeros(6)).isfinite().all()

    def test_vectors_and_back(self):
        vectors = torch.from_numpy(np.random.default_rng(2).normal(size=(30, 3)))
        rotmats = rotvec_to_rotmat(vectors)
        for vector, rotmat in zip(vectors.numpy(), rotmats.numpy(), strict=True):
            np.testing.assert_allclose(rotmat, reference.rodrigues(vector), atol=1e-12)
        torch.testing.assert_close(rotvec_to_rotmat(rotmat_to_rotvec(rotmats)), rotmats, atol=1e-9, rtol=0)

    @pytest.mark.parametrize("angle", [0.0, 1e-7, 0.5, np.pi / 3, np.pi - 1e-4, np.pi])
    def test_angle(self, angle):
        first = rotvec_to_rotmat(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
        turn = rotvec_to_rotmat(torch.tensor([0.0, angle, 0.0], dtype=torch.float64))
        # The arc sine is flat at a half turn: float64 leaves 1e-7 there.
        assert geodesic_angle(first, first @ turn).item() == pytest.approx(angle, abs=1e-7)
