"""People posed by the bodies of their genders, and what is to be had of them: joints without vertices, vertices tile by tile."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hpsbench.body.model import BodyModel, Posed, moved

if TYPE_CHECKING:
    from hpsbench.body.bodies import Bodies

_ROWS = 8
# Importing numba and its compiled code takes as long as the plain ways do for some thousand people.
ENOUGH = 4096


@cache
def numba_installed() -> bool:
    """Whether the extra 'fast' is there."""
    return find_spec("numba") is not None


def worth_numba(people: int, *sides: Tensor | None) -> bool:
    """Whether there are enough people, in arrays that numba takes, and nobody wants gradients."""
    if people < ENOUGH or not numba_installed():
        return False
    return all(s is None or (s.device.type == "cpu" and s.dtype in (torch.float32, torch.float64) and not s.requires_grad) for s in sides)


class RegressedJoints(NamedTuple):
    """Joints that are weighted sums of vertices, without the vertices; exact but for rounding.

    joint_k = sum_v w_kv sum_j W_vj (R_j p_v + t_j) = sum_j (R_j q_kj + m_kj t_j), in which q_kj = sum_v w_kv W_vj p_v is as linear in
    betas and R - I as the vertices p_v of the rest pose, and m_kj = sum_v w_kv W_vj. A regressor of 17 joints touches some hundred
    vertices but has only some fifty such pairs, each moved by one joint: ``template`` (3, P), ``blend`` (217, 3, P), ``mover`` (P,)
    and ``mass`` (P,), which ``sums`` (P, K) adds up.
    """

    template: Tensor
    blend: Tensor
    mover: Tensor
    mass: Tensor
    sums: Tensor

    @classmethod
    def of(cls, body: BodyModel, ids: Tensor, weights: Tensor) -> "RegressedJoints":
        """The joints of a body that ``weights`` (K, N) make of its vertices ``ids`` (N,)."""
        skin = body.weights[ids]  # (N, 24)
        pairs = ((weights != 0).to(skin.dtype) @ (skin != 0).to(skin.dtype)).nonzero()  # (P, 2)
        share = (weights[pairs[:, 0]] * skin[:, pairs[:, 1]].t()).t()  # (N, P)
        sums = torch.nn.functional.one_hot(pairs[:, 0], len(weights)).to(skin.dtype)
        return cls(body.template[:, ids] @ share, body.blend[:, :, ids] @ share, pairs[:, 1], share.sum(0), sums)

    def joints(self, posed: Posed) -> Tensor:
        """(B, K, 3) m."""
        points = self.template + (posed.features @ self.blend.flatten(1)).unflatten(1, (3, -1))  # (B, 3, P)
        skin = posed.transforms[:, :, self.mover].unflatten(1, (3, 4))  # (B, 3, 4, P)
        whole = torch.cat([skin[:, :, :3], skin[:, :, 3:] * self.mass], dim=2)
        return (moved(whole, points) @ self.sums).transpose(1, 2)


class Tiles:
    """The vertices of a body at sets of numbers ``ids`` (n,), so that all of them need never be in memory, in float64.

    A set of vertices that lie close together is moved by few of the 24 joints.
    """

    def __init__(self, body: BodyModel, ids: Sequence[Tensor]):
        self.parts, self.people = [], 0
        for some in ids:
            joints = (body.weights[some] != 0).any(0).nonzero()[:, 0]
            weights = body.weights[some][:, joints].t().double().contiguous()  # (k, n)
            blend = body.blend[:, :, some].flatten(1).double().contiguous()  # (217, 3n)
            self.parts.append((body.template[:, some].double(), blend, joints, weights))

    def walk(self, posed: Posed) -> Iterator[Tensor]:
        """(B, 3, n) m for each set, in memory of their own."""
        count = len(posed.features)
        # Few rows are multiplied in another way by the library, which rounds differently: make them many.
        features = torch.nn.functional.pad(posed.features.double(), (0, 0, 0, -count % _ROWS))
        self.people += count
        skin = _skin_by_numba if worth_numba(self.people, posed.joints) else _skin
        for template, blend, joints, weights in self.parts:
            yield skin(template, (features @ blend)[:count], posed.transforms[:, :, joints], weights)


def _skin(template: Tensor, offsets: Tensor, moves: Tensor, weights: Tensor) -> Tensor:
    """Vertices (B, 3, n) of a ``template`` (3, n), ``offsets`` (B, 3n) from it, the ``moves`` (B, 12, k) of joints, ``weights`` (k, n)."""
    skin = (moves.flatten(0, 1) @ weights).unflatten(0, (-1, 3, 4))  # (B, 3, 4, n)
    x, y, z = offsets.unflatten(1, (3, -1)).add(template).unsqueeze(2).unbind(1)  # (B, 1, n) each
    return skin[:, :, 3].addcmul_(skin[:, :, 0], x).addcmul_(skin[:, :, 1], y).addcmul_(skin[:, :, 2], z)


def _skin_by_numba(template: Tensor, offsets: Tensor, moves: Tensor, weights: Tensor) -> Tensor:
    """The same without writing ``skin`` down: some five times as fast."""
    from hpsbench.body import kernels

    points = np.empty((len(offsets), *template.shape))
    kernels.skin(*(side.numpy() for side in (template, offsets.unflatten(1, (3, -1)), moves.contiguous(), weights)), points)
    return torch.from_numpy(points)


@dataclass(frozen=True)
class PosedPeople:
    """People in the order given, ``genders`` (B) and what their vertices are made of."""

    bodies: "Bodies"
    genders: list[str]
    posed: Posed

    @classmethod
    def of(cls, bodies: "Bodies", genders: list[str], inputs: Sequence[Tensor | None]) -> "PosedPeople":
        """``inputs``: betas, rotmats, trans, rotvecs, of which any but betas may be None."""

        def pose(gender: str, rows: Tensor | slice) -> Posed:
            betas, rotmats, trans, rotvecs = (part if part is None else part[rows] for part in inputs)
            return bodies[gender].pose(betas, rotmats, trans, rotvecs=rotvecs)

        return cls(bodies, genders, Posed(*_of_each_gender(genders, pose)))

    def joints(self, skeleton: str) -> Tensor:
        """The joints (B, J, 3) m of a skeleton, as ``Bodies.joints`` has them of the vertices."""

        def joints(gender: str, rows: Tensor | slice) -> tuple[Tensor]:
            some, recipe = self.posed.of(rows), self.bodies.regressed(gender, skeleton)
            if recipe is None:
                return (some.joints,)
            regressed = recipe.joints(some)
            return (torch.cat([some.joints, regressed], dim=1) if skeleton == "j29" else regressed,)

        return _of_each_gender(self.genders, joints)[0]

    def vertices(self, vertex_ids: Tensor | None = None) -> Tensor:
        """All vertices (B, V, 3) m, or those of some numbers (N,)."""

        def vertices(gender: str, rows: Tensor | slice) -> tuple[Tensor]:
            return (self.bodies[gender].vertices(self.posed.of(rows), vertex_ids),)

        return _of_each_gender(self.genders, vertices)[0]

    def tiles(self, rows: Tensor, ids: Sequence[Tensor]) -> Iterator[Tensor]:
        """The vertices (b, 3, n) float64 m of people ``rows`` (b,) of one gender at each of the sets ``ids`` (n,)."""
        (gender,) = {self.genders[row] for row in rows.tolist()}
        return self.bodies.tiled(gender, ids).walk(self.posed.of(rows.to(self.posed.joints.device)))


def _of_each_gender(genders: Sequence[str], of: Callable[[str, Tensor | slice], Sequence[Tensor]]) -> list[Tensor]:
    """What ``of`` gives for the rows of each gender, in the order of the people."""
    present = sorted(set(genders)) or ["neutral"]
    if len(present) == 1:
        return list(of(present[0], slice(None)))
    rows = [torch.tensor([i for i, g in enumerate(genders) if g == gender]) for gender in present]
    parts = [of(gender, some) for gender, some in zip(present, rows, strict=True)]
    back = torch.cat(rows).argsort()
    return [torch.cat(tensors)[back.to(tensors[0].device)] for tensors in zip(*parts, strict=True)]
