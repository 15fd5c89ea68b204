"""One batch of predictions against its truths: both sides as bodies, then the protocol's metrics, nothing reduced."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpsbench.body.bodies import Bodies
from hpsbench.body.model import BodyOutput, people_at_once
from hpsbench.body.people import PosedPeople
from hpsbench.errors import DataError, PredictionError
from hpsbench.evaluate.stopwatch import Watch, timed, untimed
from hpsbench.geometry import blocks, rotvec_to_rotmat
from hpsbench.metrics import METRICS
from hpsbench.metrics.angles import MPJAE_JOINTS, mpjae
from hpsbench.metrics.joints import fit_similarity, mpjpe, pa_mpjpe, root_position
from hpsbench.metrics.keypoints import auc_hits, pck_hits, thresholds_to
from hpsbench.metrics.vertices import distance_sums, pa_pve, parts_of
from hpsbench.models.predictions import LARGEST
from hpsbench.protocol import ScoreRule
from hpsbench.skeleton import JOINT_NAMES, joint_index, same_points, subset
from hpsbench.types import Prediction, Truth

# People whose joints are measured at a time; of their meshes fewer, see people_at_once, and so many vertices.
_PEOPLE, _VERTICES = 1024, 256
_OF_HITS = ("pck", "auc", "pa_pck", "pa_auc")


@dataclass(frozen=True)
class Side:
    """One side of a comparison, float64: ``joints`` (B, J, 3) m of the protocol's regressor, ``rotations`` (B, 24, 3, 3) global, and
    ``tiles`` that gives the vertices (b, 3, n) m of some rows (b,) of one of ``genders`` (B) at each of some sets of numbers; NaN where
    one person has none, None where nobody has."""

    joints: Tensor | None
    tiles: Callable[[Tensor, Sequence[Tensor]], Iterator[Tensor]] | None = None
    rotations: Tensor | None = None
    genders: Sequence[str] = ()


class Scorer:
    """The metrics of a protocol's score rule, on bodies of its own in float64, so that no number depends on the batch.

    Joints are had without the vertices; vertices only where a metric wants them, and never all of them at once. ``watch`` counts "body",
    what it takes to pose both sides.
    """

    def __init__(self, bodies: Bodies, rule: ScoreRule, device: torch.device, *, watch: Watch = untimed):
        self.bodies = bodies.to(device, torch.float64)
        self.rule, self.device, self.watch = rule, device, watch
        self.scored = subset(rule.regressor, rule.joints)
        self.fitted = subset(rule.regressor, rule.pa_fit)
        self.scaled = rule.pa_scale == "fitted"
        self.hit_names = rule.pck_joints or JOINT_NAMES[rule.joints]
        self.hit_places = [joint_index(rule.regressor, name) for name in self.hit_names]
        self.seen = 0
        self.parts = parts_of(self.bodies.neutral.weights)
        members = self.parts[0].argsort(stable=True).split(self.parts[1].tolist())
        self.ids = [some for part in members for some in part.split(_VERTICES)]
        self.part_of_ids = [part for part, some in enumerate(members) for _ in some.split(_VERTICES)]

    @property
    def columns(self) -> dict[str, tuple[str | int, ...]]:
        """The names of the columns of each metric, of the joints kept for accelerations ("joints") and of the parts of meshes ("parts"),
        and the numbers of vertices of the latter ("part_sizes")."""
        joints = JOINT_NAMES[self.rule.joints]
        of_need = {
            "joints": joints,
            "track": joints,
            "mesh": ("mesh",),
            "rotations": tuple(JOINT_NAMES["smpl24"][joint] for joint in MPJAE_JOINTS),
        }
        names = {key: self.hit_names if key in _OF_HITS else of_need[METRICS[key].needs] for key in self.rule.metrics}
        return names | {"joints": joints, "parts": JOINT_NAMES["smpl24"], "part_sizes": tuple(self.parts[1].tolist())}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What ``measure`` gives for a person: names and shapes."""
        columns = self.columns
        shapes = {f"values/{key}": (len(columns[key]),) for key in self.rule.metrics}
        shapes |= {f"parts/{key}": (len(columns["parts"]),) for key in self.rule.metrics if METRICS[key].needs == "mesh"}
        return shapes | {key: (len(columns["joints"]), 3) for key in ("joints/pred", "joints/gt")}

    def measure(self, prediction: Prediction, truths: Sequence[Truth]) -> dict[str, np.ndarray]:
        """{"values/<metric>": (B, K), "parts/<metric of meshes>": (B, 24), "joints/pred", "joints/gt": (B, J, 3)} in metres,
        radians and hits; NaN: not measured.

        The prediction's mesh is the neutral body of its rotmats and betas, at translation 0; without those its ``vertices``
        as they are. Joints are regressed from the mesh; without a mesh, and where no mesh gives them (the kinematic ones of "smpl24"), they
        are the prediction's own. Raises PredictionError where those are not the points that the protocol scores or accepts, and where
        meshes are to be moved by a root that the prediction does not tell; DataError where it wants bodies and a truth has none.
        """
        parts = []
        for rows in blocks(len(truths), _PEOPLE):
            with self.watch("body"):
                sides = self._answer(part_of(prediction, rows)), self._truth(truths[rows])
            parts.append(self._errors(*sides))
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _answer(self, prediction: Prediction) -> Side:
        if prediction.rotmats is not None:
            rotmats = self._double(prediction.rotmats)
            return self._posed(self.bodies.pose(self._double(prediction.betas), rotmats))
        if prediction.vertices is not None:
            vertices = prediction.vertices.detach().to(self.device)
            expected = self.bodies.neutral.n_vertices
            if vertices.shape[1] != expected:
                raise PredictionError(f"Predicted meshes have {vertices.shape[1]} vertices, expected the {expected} of the body in use.")
            if self._regresses:
                joints = self.bodies.joints(BodyOutput(vertices, vertices[:, :0]), self.rule.regressor)
            else:
                joints = None if prediction.joints is None else self._own_joints(prediction)
            return Side(joints, lambda rows, ids: (vertices[rows][:, some].transpose(1, 2).double() for some in ids))
        return Side(self._own_joints(prediction))

    def _own_joints(self, prediction: Prediction) -> Tensor:
        """The joints (B, J, 3) that a prediction has itself, in the order of the protocol's regressor."""
        if not same_points(prediction.skeleton, self.rule.regressor) and prediction.skeleton not in self.rule.accepts:
            wanted = " or ".join(f"'{skeleton}'" for skeleton in (self.rule.regressor, *self.rule.accepts))
            raise PredictionError(
                f"The predictions are joints of '{prediction.skeleton}', but the protocol scores joints of {wanted}: "
                "joints of one name lie centimetres apart in the two. Give those joints, or vertices, or rotmats and betas."
            )
        return self._named(self._double(prediction.joints), prediction.skeleton)

    @property
    def _regresses(self) -> bool:
        return self.rule.regressor not in ("smpl24", "j29")

    def _truth(self, truths: Sequence[Truth]) -> Side:
        """A truth with a body is posed; one without keeps its annotated joints, and has neither mesh nor rotations.

        So do all where the protocol scores the annotated joints.
        """
        posed = [row for row, truth in enumerate(truths) if truth.rotvecs is not None and truth.betas is not None]
        if len(posed) < len(truths) and self.rule.gt_joints == "body":
            raise DataError(
                f"{len(truths) - len(posed)} of {len(truths)} people have annotated joints and no body, but the protocol scores against "
                'bodies (gt_joints = "body"). Take the form of the dataset that holds fits, or a protocol for annotated joints.'
            )
        if self.rule.gt_joints == "annotated":
            posed = []
        if len(posed) == len(truths):
            return self._truth_bodies(truths)
        joints = torch.stack([self._annotated(truth) for truth in truths])
        if not posed:
            return Side(joints)
        side = self._truth_bodies([truths[row] for row in posed])
        joints[posed] = side.joints

        def tiles(rows: Tensor, ids: Sequence[Tensor]) -> Iterator[Tensor]:
            return side.tiles(torch.searchsorted(torch.tensor(posed), rows), ids)

        genders = [""] * len(truths)
        for row, gender in zip(posed, side.genders, strict=True):
            genders[row] = gender
        return Side(joints, tiles, _spread(side.rotations, posed, len(truths)), genders)

    def _truth_bodies(self, truths: Sequence[Truth]) -> Side:
        rotvecs = torch.from_numpy(np.stack([truth.rotvecs for truth in truths])).to(self.device, torch.float64)
        betas = torch.from_numpy(np.stack([truth.betas for truth in truths])).to(self.device, torch.float64)
        genders = [truth.gender if self.rule.gt_gender == "gendered" else "neutral" for truth in truths]
        return self._posed(self.bodies.pose(betas, rotvec_to_rotmat(rotvecs), None, genders))

    def _annotated(self, truth: Truth) -> Tensor:
        joints = torch.from_numpy(np.where(truth.valid[:, None], truth.joints, np.nan)).to(self.device, torch.float64)
        return self._named(joints, truth.skeleton)

    def _named(self, joints: Tensor, skeleton: str) -> Tensor:
        """Joints (..., J, 3) of one skeleton in the order of the protocol's regressor; NaN for a joint that it lacks."""
        names = JOINT_NAMES[skeleton]
        wanted = JOINT_NAMES[self.rule.regressor]
        answer = joints.new_full((*joints.shape[:-2], len(wanted), 3), torch.nan)
        have = [place for place, name in enumerate(wanted) if name in names]
        answer[..., have, :] = joints[..., [names.index(wanted[place]) for place in have], :]
        return answer

    def _posed(self, people: PosedPeople) -> Side:
        return Side(people.joints(self.rule.regressor), people.tiles, people.posed.rotations, people.genders)

    def _double(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.device, torch.float64)

    def _errors(self, pred: Side, gt: Side) -> dict[str, np.ndarray]:
        count = len(gt.joints)
        answer = self._joint_errors(pred, gt)
        if pred.tiles is not None and gt.tiles is not None and {"pve", "pa_pve"} & set(self.rule.metrics):
            answer |= self._mesh_errors(pred, gt)
        if pred.rotations is not None and gt.rotations is not None and {"mpjae", "pa_mpjae"} & set(self.rule.metrics):
            answer["values/mpjae"] = mpjae(pred.rotations, gt.rotations)
            _, rotation, _ = fit_similarity(pred.joints[:, self.fitted], gt.joints[:, self.fitted])
            answer["values/pa_mpjae"] = mpjae(pred.rotations, gt.rotations, rotation)
        return {key: answer[key].cpu().numpy() if key in answer else np.full((count, *shape), np.nan) for key, shape in self.shapes.items()}

    def _mesh_errors(self, pred: Side, gt: Side) -> dict[str, Tensor]:
        """``_errors_of_meshes`` of all people that have both, gender by gender; NaN for the others."""
        rows = [torch.tensor([row for row, own in enumerate(gt.genders) if own == gender]) for gender in sorted(set(gt.genders) - {""})]
        some = [part for of_gender in rows for part in of_gender.split(people_at_once(self.device))]
        errors = [self._errors_of_meshes(pred, gt, part) for part in some]
        return {key: _spread(torch.cat([part[key] for part in errors]), torch.cat(some).tolist(), len(gt.genders)) for key in errors[0]}

    def _errors_of_meshes(self, pred: Side, gt: Side, rows: Tensor) -> dict[str, Tensor]:
        """The means of the errors of some people's meshes over all vertices (b, 1) and over each part (b, 24); a tile is of one part."""
        shift, answer = None, {}
        if self.rule.pve_align == "root":
            if pred.joints is None:
                raise PredictionError(
                    f"The predictions are vertices alone, but the protocol moves meshes by the root of {self.rule.regressor}'s joints, "
                    f"which no vertices tell. Give rotmats and betas, or joints of '{self.rule.regressor}' beside the vertices."
                )
            roots = [root_position(side.joints[rows], self.rule.regressor, self.rule.root) for side in (pred, gt)]
            shift = (roots[0] - roots[1])[..., None]
        tiles = timed(zip(pred.tiles(rows, self.ids), gt.tiles(rows, self.ids), strict=True), self.watch, "body")
        if "pa_pve" in self.rule.metrics:
            tiles = list(tiles)
            meshes = [torch.cat(side, dim=2).transpose(1, 2) for side in zip(*tiles, strict=True)]
            errors = pa_pve(*meshes, scaled=self.scaled).split([len(some) for some in self.ids], dim=1)
            answer |= self._of_mesh("pa_pve", [some.sum(-1) for some in errors])
        if "pve" in self.rule.metrics:
            answer |= self._of_mesh("pve", [distance_sums(*pair, shift, seen=self.seen) for pair in tiles])
        self.seen += len(rows)
        return answer

    def _of_mesh(self, key: str, tiles: Sequence[Tensor]) -> dict[str, Tensor]:
        """The means over all vertices and over those of each part, of the sums (b,) of the errors of each tile."""
        sums = torch.stack(tiles, dim=-1)  # (b, tiles)
        sizes = self.parts[1]
        by_part = sums.new_zeros(len(sums), len(sizes)).index_add(1, torch.tensor(self.part_of_ids, device=sums.device), sums)
        return {
            f"values/{key}": sums.sum(-1, keepdim=True) / sizes.sum(),
            f"parts/{key}": torch.where(sizes > 0, by_part / sizes, torch.nan),
        }

    def _joint_errors(self, pred: Side, gt: Side) -> dict[str, Tensor]:
        pred_joints = torch.full_like(gt.joints, torch.nan) if pred.joints is None else pred.joints
        roots = [root_position(joints, self.rule.regressor, self.rule.root) for joints in (pred_joints, gt.joints)]
        rooted = mpjpe(pred_joints, gt.joints, *roots)
        fitted = (side[:, self.fitted] for side in (pred_joints, gt.joints))
        aligned = pa_mpjpe(pred_joints, gt.joints, *fitted, scaled=self.scaled)
        return {
            "values/mpjpe": rooted[:, self.scored],
            "values/pa_mpjpe": aligned[:, self.scored],
            **self._hits("", rooted[:, self.hit_places]),
            **self._hits("pa_", aligned[:, self.hit_places]),
            "joints/pred": pred_joints[:, self.scored] - roots[0][:, None],
            "joints/gt": gt.joints[:, self.scored] - roots[1][:, None],
        }

    def _hits(self, prefix: str, errors: Tensor) -> dict[str, Tensor]:
        """PCK and AUC of errors (B, K) m, those of them that the protocol names."""
        rule, table, answer = self.rule, errors.cpu().numpy(), {}
        at_most = rule.pck_passes == "at-most"
        if f"{prefix}pck" in rule.metrics:
            answer[f"{prefix}pck"] = pck_hits(table, rule.pck_mm / 1000, at_most=at_most)
        if f"{prefix}auc" in rule.metrics:
            steps, trapezoid = thresholds_to(rule.auc_mm, rule.auc_steps), rule.auc_area == "trapezoid"
            answer[f"{prefix}auc"] = auc_hits(table, steps, at_most=at_most, trapezoid=trapezoid)
        return {f"values/{key}": torch.from_numpy(hits) for key, hits in answer.items()}


def part_of(prediction: Prediction, rows: slice | Sequence[int]) -> Prediction:
    """The prediction of some of the people."""
    fields = {name: getattr(prediction, name) for name in Prediction.__dataclass_fields__}
    return Prediction(**{name: value[rows] if isinstance(value, Tensor) else value for name, value in fields.items()})


def failed_people(prediction: Prediction) -> Tensor:
    """(B,) bool: the model says so, or any number of its answer is NaN or beyond what the reader of prediction files takes for one."""
    failed = prediction.failed.clone()
    for name in ("joints", "rotmats", "betas", "vertices"):
        value = getattr(prediction, name)
        if value is not None:
            # In float16 the limit itself would be infinite. Of NaN no comparison is true.
            wide = value.flatten(1).to(torch.promote_types(value.dtype, torch.float32))
            failed |= ~(wide.abs() <= LARGEST).all(1).to(failed.device)
    return failed


def _spread(values: Tensor, rows: Sequence[int], count: int) -> Tensor:
    """(count, ...) with ``values`` at ``rows`` and NaN elsewhere."""
    answer = values.new_full((count, *values.shape[1:]), torch.nan)
    answer[rows] = values
    return answer
