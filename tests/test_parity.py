"""The reference evaluators of docs/parity.md, each written anew in float64 from its description, against the protocol that stands for it.

The people are drawn from a seed; the fit is Horn's by unit quaternions, where the package has the polar factor and the evaluators an SVD.
What hpsbench has of a person comes through the [score] rule of the protocol. Worked by hand, through whole evaluations:
test_scores_evaluators.py (3DHP, Human3.6M, the challenge, two alignments) and test_agora_scores.py.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from fakes import exact_bodies

from hpsbench.body.model import BodyOutput
from hpsbench.evaluate.scoring import Scorer, part_of
from hpsbench.metrics.agora import part_errors, parts_of
from hpsbench.protocol import load_protocol, protocol_names
from hpsbench.skeleton import joint_index
from hpsbench.types import Prediction, Truth

PEOPLE = 32
CLOSE_MM = 1e-4
# Rows of J_regressor_h36m that are LSP's 14 joints, as every code of the family lists them.
LSP14 = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
NINE = [0, 1, 2, 4, 5, 16, 17, 18, 19]
TWELVE = [1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21]


@dataclass(frozen=True)
class Side:
    """One side of a person in mm: ``vertices`` (6890, 3) at translation 0, ``joints24`` (24, 3), ``joints17`` (17, 3) of the H36M
    regressor; ``rotations`` (24, 3, 3) global."""

    vertices: np.ndarray
    joints24: np.ndarray
    joints17: np.ndarray
    rotations: np.ndarray


@dataclass(frozen=True)
class Golden:
    """Seeded people: predictions and truths as hpsbench takes them, and as the evaluators do (the truth in both bodies)."""

    prediction: Prediction
    truths: list[Truth]
    pred: list[Side]
    gendered: list[Side]
    neutral: list[Side]


def rotations(rotvecs):
    return np.array([[reference.rodrigues(one) for one in person] for person in rotvecs])


def sides(output: BodyOutput, relative: np.ndarray) -> list[Side]:
    regressor = exact_bodies().regressor("h36m17").numpy()
    points = zip(output.vertices.numpy(), output.joints.numpy(), relative, strict=True)
    return [Side(1000 * v, 1000 * j, 1000 * regressor @ v, reference.global_rotations(r, PARENTS)) for v, j, r in points]


@pytest.fixture(scope="module")
def golden() -> Golden:
    bodies, rng = exact_bodies(), np.random.default_rng(20)
    rotvecs = 0.3 * rng.normal(size=(PEOPLE, 24, 3))
    rotvecs[:, 0, 0] += np.pi
    betas = rng.normal(size=(PEOPLE, 10))
    answered = rotations(rotvecs + 0.15 * rng.normal(size=rotvecs.shape))
    shapes = torch.from_numpy(betas + 0.5 * rng.normal(size=betas.shape))
    genders = [("male", "female")[k] for k in rng.integers(0, 2, PEOPLE)]
    relative = rotations(rotvecs)
    given = (torch.from_numpy(betas), torch.from_numpy(relative))
    with torch.inference_mode():
        gendered, neutral = bodies.forward(*given, None, genders), bodies.neutral(*given)
        pred = bodies.neutral(shapes, torch.from_numpy(answered))
    seen, valid = np.zeros((24, 2)), np.ones(24, dtype=bool)
    truths = [
        Truth(joints, "smpl24", seen, valid, pose, shape, gender=gender)
        for joints, pose, shape, gender in zip(gendered.joints.numpy(), rotvecs, betas, genders, strict=True)
    ]
    prediction = Prediction(torch.zeros(PEOPLE, dtype=torch.bool), rotmats=torch.from_numpy(answered), betas=shapes)
    return Golden(prediction, truths, sides(pred, answered), sides(gendered, relative), sides(neutral, relative))


def scored(name: str, prediction: Prediction, truths: list[Truth], size: int = PEOPLE) -> dict[str, np.ndarray]:
    """{metric: (N, K)} m, rad and hits by the score rule of a protocol, in batches of ``size`` people."""
    scorer, parts = Scorer(exact_bodies(), load_protocol(name).score, torch.device("cpu")), []
    with torch.inference_mode():
        for start in range(0, len(truths), size):
            rows = slice(start, start + size)
            parts.append(scorer.measure(part_of(prediction, rows), truths[rows]))
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return {key.removeprefix("values/"): values for key, values in whole.items() if key.startswith("values/")}


def distances(first, second):
    return np.sqrt(((first - second) ** 2).sum(-1))


def horn(x, y):
    """(scale, rotation, translation) of the similarity that brings x (J, 3) nearest to y (J, 3). Source: Horn 1987, sections 2 to 4."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (x - x_mean).T @ (y - y_mean)
    N = np.array(
        [
            [xx + yy + zz, yz - zy, zx - xz, xy - yx],
            [yz - zy, xx - yy - zz, xy + yx, zx + xz],
            [zx - xz, xy + yx, -xx + yy - zz, yz + zy],
            [xy - yx, zx + xz, yz + zy, -xx - yy + zz],
        ]
    )
    values, vectors = np.linalg.eigh(N)
    w, i, j, k = vectors[:, -1]
    R = np.array(
        [
            [w * w + i * i - j * j - k * k, 2 * (i * j - w * k), 2 * (i * k + w * j)],
            [2 * (i * j + w * k), w * w - i * i + j * j - k * k, 2 * (j * k - w * i)],
            [2 * (i * k - w * j), 2 * (j * k + w * i), w * w - i * i - j * j + k * k],
        ]
    )
    scale = values[-1] / ((x - x_mean) ** 2).sum()
    return scale, R, y_mean - scale * R @ x_mean


def aligned(x, y):
    scale, R, translation = horn(x, y)
    return scale * x @ R.T + translation


def degrees(pred, gt, turn=None):
    """Angles of the nine joints between global rotations, the prediction's turned first."""
    turn = np.eye(3) if turn is None else turn
    return np.degrees([reference.rotation_angle(turn @ pred[joint], gt[joint]) for joint in NINE])


def spin(pred: Side, gt: Side) -> dict[str, np.ndarray]:
    """SPIN, PARE, 4D-Humans on 3DPW: 17 regressed joints minus the first of them, then LSP's 14; fit on these; meshes as they are."""
    ours, theirs = (side.joints17[LSP14] - side.joints17[0] for side in (pred, gt))
    return {
        "mpjpe": distances(ours, theirs),
        "pa_mpjpe": distances(aligned(ours, theirs), theirs),
        "pve": [distances(pred.vertices, gt.vertices).mean()],
    }


def hips_of_14(side: Side) -> np.ndarray:
    lsp = side.joints17[LSP14]
    return (lsp[2] + lsp[3]) / 2


def vibe(pred: Side, gt: Side) -> dict[str, np.ndarray]:
    """VIBE, mmhuman3d on 3DPW: LSP's 14 minus the middle of the hips among them; fit on these; meshes as they are."""
    ours, theirs = (side.joints17[LSP14] - hips_of_14(side) for side in (pred, gt))
    return spin(pred, gt) | {"mpjpe": distances(ours, theirs), "pa_mpjpe": distances(aligned(ours, theirs), theirs)}


def niki(pred: Side, gt: Side) -> dict[str, np.ndarray]:
    """NIKI: 17 joints minus the first, the fit on all of them, and the mean over 14."""
    ours, theirs = (side.joints17 - side.joints17[0] for side in (pred, gt))
    return spin(pred, gt) | {"pa_mpjpe": distances(aligned(ours, theirs), theirs)[LSP14]}


def emdb(pred: Side, gt: Side) -> dict[str, np.ndarray]:
    """EMDB: SMPL's 24 joints and all vertices minus the middle of joints 1 and 2; fit on the 24, whose rotation turns the angles."""
    roots = [(side.joints24[1] + side.joints24[2]) / 2 for side in (pred, gt)]
    (ours, theirs), (mesh, other) = (
        [getattr(side, key) - root for side, root in zip((pred, gt), roots, strict=True)] for key in ("joints24", "vertices")
    )
    return {
        "mpjpe": distances(ours, theirs),
        "pa_mpjpe": distances(aligned(ours, theirs), theirs),
        "pve": [distances(mesh, other).mean()],
        "mpjae": degrees(pred.rotations, gt.rotations),
        "pa_mpjae": degrees(pred.rotations, gt.rotations, horn(ours, theirs)[1]),
    }


def challenge(pred: Side, gt: Side) -> dict[str, np.ndarray]:
    """The 3DPW challenge: 24 joints minus the first; PCK at 50 mm (a joint at 50 hits) of twelve; the area under the line through the PCKs
    at 0, 1, ..., 199 mm."""
    ours, theirs = (side.joints24 - side.joints24[0] for side in (pred, gt))
    errors = distances(ours, theirs)
    curve = np.array([errors[TWELVE] <= limit for limit in range(200)], dtype=float)
    return {
        "mpjpe": errors,
        "pa_mpjpe": distances(aligned(ours, theirs), theirs),
        "pck": errors[TWELVE] <= 50,
        "auc": ((curve[1:] + curve[:-1]) / 2).sum(0) / 199,
        "mpjae": degrees(pred.rotations, gt.rotations),
        "pa_mpjae": degrees(pred.rotations, gt.rotations, horn(ours, theirs)[1]),
    }


# Protocol, evaluator, the body of its truth.
EVALUATORS = [
    ("3dpw-test", spin, "gendered"),
    ("3dpw-vibe", vibe, "neutral"),
    ("3dpw-hips", vibe, "gendered"),
    ("3dpw-niki", niki, "neutral"),
    ("3doh-niki", niki, "neutral"),
    ("3dpw-challenge", challenge, "gendered"),
    ("emdb-1", emdb, "gendered"),
]
FACTORS = {"mpjae": np.degrees(1), "pa_mpjae": np.degrees(1), "pck": 1, "auc": 1}


def assert_equal(found: dict[str, np.ndarray], wanted: list[dict[str, np.ndarray]]):
    """Every number of every person within 1e-4 mm (degrees, hits), and so the means that are printed."""
    for key in wanted[0]:
        values = FACTORS.get(key, 1000) * found[key]
        expected = np.array([one[key] for one in wanted], dtype=float)
        np.testing.assert_allclose(values, expected, rtol=0, atol=CLOSE_MM, err_msg=key)
        assert values.mean() == pytest.approx(expected.mean(), abs=CLOSE_MM)
        assert expected.mean() > 0


@pytest.mark.parametrize(("name", "evaluator", "body"), EVALUATORS)
class TestBodies:
    def test_each_number_of_each_person(self, golden, name, evaluator, body):
        found = scored(name, golden.prediction, golden.truths)
        assert_equal(found, [evaluator(pred, gt) for pred, gt in zip(golden.pred, getattr(golden, body), strict=True)])

    def test_batches_of_1_2_3_and_32_are_equal(self, golden, name, evaluator, body):
        del evaluator, body
        whole = scored(name, golden.prediction, golden.truths)
        few = slice(0, 6)
        for size in (1, 2, 3):
            parts = scored(name, part_of(golden.prediction, few), golden.truths[few], size)
            for key, values in parts.items():
                np.testing.assert_allclose(values, whole[key][few], rtol=1e-9, atol=1e-12, err_msg=f"{key} by {size}")


def people_of(joints: np.ndarray, skeleton: str) -> list[Truth]:
    """Truths that have annotated joints (N, J, 3) m, and no body."""
    seen, valid = np.zeros((joints.shape[1], 2)), np.ones(joints.shape[1], dtype=bool)
    return [Truth(one, skeleton, seen, valid) for one in joints]


def drawn(count: int, joints: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(pred, gt) (N, J, 3) m, far enough apart that a PCK at 150 mm has both hits and misses."""
    rng = np.random.default_rng(seed)
    gt = rng.normal(size=(count, joints, 3)) * [0.2, 0.5, 0.2] + [0.3, -0.2, 4]
    return gt + 0.1 * rng.normal(size=gt.shape), gt


class TestJoints:
    """Evaluators whose truth is motion capture: nobody has a body."""

    @pytest.mark.parametrize("size", [1, 2, 3, 32])
    def test_3dhp(self, size):
        """The MATLAB kit: 17 joints minus the 15th, the pelvis; PCK strictly below 150 mm and the mean of those at 0, 5, ..., 150, of all
        but pelvis, spine and head."""
        pred, gt = drawn(PEOPLE, 17, 7)
        prediction = Prediction(torch.zeros(PEOPLE, dtype=torch.bool), joints=torch.from_numpy(pred), skeleton="mpi17")
        errors = 1000 * distances(pred - pred[:, 14:15], gt - gt[:, 14:15])
        counted, limits = [joint_index("mpi17", name) for name in load_protocol("3dhp-test-14").score.pck_joints], np.arange(0, 151, 5)
        assert sorted(counted) == list(range(14))
        wanted = [{"mpjpe": e, "pck": e[counted] < 150, "auc": (e[counted, None] < limits).mean(-1)} for e in errors]
        assert 0.05 < np.mean([one["pck"] for one in wanted]) < 0.95
        assert_equal(scored("3dhp-test-14", prediction, people_of(gt, "mpi17"), size), wanted)

    @pytest.mark.parametrize(
        ("name", "root", "fitted"),
        [
            # SPIN and mmhuman3d: the pelvis, and the fit on the 14.
            ("h36m-p1-spin", [0], LSP14),
            # HMR and 4D-Humans: the middle of the hips.
            ("h36m-p1-hmr", [1, 4], LSP14),
            # HybrIK: the pelvis, and the fit on all 17.
            ("h36m-p2-hybrik", [0], list(range(17))),
        ],
    )
    @pytest.mark.parametrize("size", [1, 2, 3, 32])
    def test_human36m(self, name, root, fitted, size):
        pred, gt = drawn(PEOPLE, 17, 8)
        prediction = Prediction(torch.zeros(PEOPLE, dtype=torch.bool), joints=torch.from_numpy(pred), skeleton="h36m17")
        wanted = []
        for ours, theirs in zip(1000 * pred, 1000 * gt, strict=True):
            scale, R, translation = horn(ours[fitted], theirs[fitted])
            moved = scale * ours @ R.T + translation
            rooted = distances(ours - ours[root].mean(0), theirs - theirs[root].mean(0))
            wanted.append({"mpjpe": rooted[LSP14], "pa_mpjpe": distances(moved, theirs)[LSP14]})
        assert_equal(scored(name, prediction, people_of(gt, "h36m17"), size), wanted)


def test_agora(golden):
    """24 joints and the mesh minus the middle of the hips; which vertices count is told by a file. Its counts: test_metrics_agora.py."""
    (body,) = parts_of("smpl")
    for pred, gt in zip(golden.pred, golden.neutral, strict=True):
        joints, mesh = part_errors(body, pred.joints24, pred.vertices, gt.joints24, gt.vertices)
        wanted = emdb(pred, gt)
        np.testing.assert_allclose(joints, wanted["mpjpe"], rtol=0, atol=CLOSE_MM)
        assert mesh == pytest.approx(wanted["pve"][0], abs=CLOSE_MM)


def copied_procrustes(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The batched routine that went from code to code, written from its description: it takes (B, J, 3), and turns it to (B, 3, J) unless
    the FIRST axis counts 3 or 2, of which it concludes that the points are the other way round already."""
    swapped = first.shape[0] not in (2, 3)
    if swapped:
        first, second = first.swapaxes(1, 2), second.swapaxes(1, 2)
    x, y = (side - side.mean(-1, keepdims=True) for side in (first, second))
    U, _, Vh = np.linalg.svd(x @ y.swapaxes(1, 2))
    Z = np.tile(np.eye(U.shape[1]), (len(U), 1, 1))
    Z[:, -1, -1] = np.sign(np.linalg.det(U @ Vh))
    R = Vh.swapaxes(1, 2) @ Z @ U.swapaxes(1, 2)
    scale = np.einsum("bij,bji->b", R, x @ y.swapaxes(1, 2)) / (x**2).sum((1, 2))
    moved = scale[:, None, None] * (R @ x) + second.mean(-1, keepdims=True)
    return moved.swapaxes(1, 2) if swapped else moved


@pytest.fixture(scope="module")
def people():
    """(pred, gt) m, and the errors (N, 14) mm of the 14 after a fit of each person."""
    pred, gt = drawn(PEOPLE, 17, 9)
    right = np.array([distances(aligned(x, y), y) for x, y in zip(1000 * pred[:, LSP14], 1000 * gt[:, LSP14], strict=True)])
    return pred, gt, right


class TestLayoutByBatchSize:
    """Batches of two and three people: the copied routine fits 14 points as 14 coordinates of 3 points, and prints too small an error."""

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 32])
    def test_the_copied_way(self, people, size):
        pred, gt, right = people
        errors = distances(copied_procrustes(1000 * pred[:size, LSP14], 1000 * gt[:size, LSP14]), 1000 * gt[:size, LSP14])
        if size in (2, 3):
            assert (errors.mean(1) < 0.75 * right[:size].mean(1)).all()
        else:
            np.testing.assert_allclose(errors, right[:size], rtol=0, atol=CLOSE_MM)

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 32])
    def test_is_not_here(self, people, size):
        pred, gt, right = people
        prediction = Prediction(torch.zeros(PEOPLE, dtype=torch.bool), joints=torch.from_numpy(pred), skeleton="h36m17")
        found = scored("3dpw-test", prediction, people_of(gt, "h36m17"), size)["pa_mpjpe"]
        np.testing.assert_allclose(1000 * found, right, rtol=0, atol=CLOSE_MM)


def test_one_broken_person_costs_no_other():
    """Batched SVDs raise, or spread the NaN, for a whole batch."""
    pred, gt = drawn(PEOPLE, 17, 10)
    prediction = Prediction(torch.zeros(PEOPLE, dtype=torch.bool), joints=torch.from_numpy(pred), skeleton="h36m17")
    truths = people_of(gt, "h36m17")
    whole = scored("3dpw-test", prediction, truths)
    pred = pred.copy()
    pred[5, 3], pred[9, 1, 1] = np.nan, np.inf
    broken = Prediction(prediction.failed, joints=torch.from_numpy(pred), skeleton="h36m17")
    found = scored("3dpw-test", broken, truths)
    others = [k for k in range(PEOPLE) if k not in (5, 9)]
    np.testing.assert_allclose(found["pa_mpjpe"][others], whole["pa_mpjpe"][others], rtol=1e-9, atol=1e-12)
    assert np.isnan(found["pa_mpjpe"][[5, 9]]).all()


def test_the_page_names_protocols_that_are_there():
    page = (Path(__file__).parents[1] / "docs/parity.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:3dpw|3dhp|3doh|h36m|emdb|agora)-[a-z0-9-]+)`", page))
    assert named <= set(protocol_names())
    assert {name for name, *_ in EVALUATORS} <= named
