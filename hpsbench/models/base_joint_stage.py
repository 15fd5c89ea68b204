"""Models of two stages: a HybrIK network says where the joints are, an inverse kinematics makes rotations of them."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hpsbench.models.base import STAGES, Model, in_blocks, rows_of, unflipped
from hpsbench.models.nets.hybrik_local import LocalHybrik
from hpsbench.models.nets.hybrik_net import HybrikHeads, HybrikNet, HybrikState, crop_heads, crop_state
from hpsbench.models.nets.local import LocalNet
from hpsbench.skeleton import PARENTS, joint_names
from hpsbench.types import Prediction, ViewBatch

# Backbones whose early maps are large and cheap to follow: with the others, cutting takes what it saves.
_FOLLOWED = ("resnet",)


class JointStageModel(Model):
    """A HybrIK network ``net`` and, in ``_answer``, what makes rotations of its joints.

    ``refine`` and ``pose``: how the camera scale is fitted, see ``camera_state``.
    """

    joint_stage = "j29"
    net: HybrikNet
    refine: str
    pose: Callable[[Tensor, Tensor, Tensor], Tensor]
    local: LocalHybrik | None = None

    def _answer(self, state: HybrikState, batch: ViewBatch) -> dict[str, Tensor]:
        """The fields of a Prediction, from the joints in metres."""
        raise NotImplementedError

    def predict(self, batch: ViewBatch) -> Prediction:
        return _prediction(in_blocks(lambda block: self._solved(crop_heads(self.net, block.crops), block), batch))

    def without_flips(self) -> Model:
        model = copy.copy(self)
        model.net, model.local = unflipped(self.net), None
        return model

    def faster(self) -> Model:
        """As of every model; on a CPU ``slide`` then recomputes what a patch reaches, where the backbone is one for which that pays."""
        model = super().faster()
        if self.device.type == "cpu" and self.net.config.backbone in _FOLLOWED:
            model.local = LocalHybrik(model.net, LocalNet(self.net.preact))
        return model

    def stages(self, clean: ViewBatch, batch: ViewBatch, hidden: Tensor) -> dict[str, Prediction]:
        """The answers for a batch by the joints that the IK stage is given: its own ("image": what ``predict`` says), those of the clean
        crops ("clean"), or the clean crops' but for the hidden ones ("clean-but-hidden").

        A joint is its place in the heat maps and its uncertainty; twists, shape and camera are the batch's own in all three.
        ``clean``: the same people and squares without the occluder, row by row; a crop of several rows in a row is looked at once.
        ``hidden`` (B, 29) bool in j29, see ``hidden_by_name``. Raises ValueError where these do not belong together.
        """
        _check_pair(clean, batch)
        if hidden.shape != (len(batch), 29) or hidden.dtype != torch.bool:
            raise ValueError(f"hidden: expected bool of shape ({len(batch)}, 29), but got {hidden.dtype} of shape {tuple(hidden.shape)}")
        people = _rows_by_crop(clean.crops)
        heads = in_blocks(lambda block: vars(crop_heads(self.net, block.crops)), rows_of(clean, [rows[0] for rows in people]))
        own = [k for k, rows in enumerate(people) for _ in rows]
        given = (hidden.to(batch.squares_xyxy.device), *(value[own] for value in heads.values()))
        answer = in_blocks(lambda block, hidden, *clean: self._staged(block, hidden, HybrikHeads(*clean)), batch, *given)
        fields = {stage: [key for key in answer if key.startswith(f"{stage}/")] for stage in STAGES}
        return {stage: _prediction({key.partition("/")[2]: answer[key] for key in keys}) for stage, keys in fields.items()}

    def slide(self, clean: ViewBatch, batch: ViewBatch) -> Prediction:
        if self.local is None:
            return self.predict(batch)
        _check_pair(clean, batch)
        parts = [self._slid(clean.crops[rows[0]], rows_of(batch, rows)) for rows in _rows_by_crop(clean.crops)]
        return _prediction({key: torch.cat([part[key] for part in parts]) for key in parts[0]})

    def _slid(self, crop: Tensor, batch: ViewBatch) -> dict[str, Tensor]:
        """The answers for one person's views, whose clean crop is (3, S, S)."""
        with torch.inference_mode():
            kept = self.local.keep(crop)
        return in_blocks(lambda block: self._solved(self.local.heads(block.crops[0], kept), block), batch)

    def _solved(self, heads: HybrikHeads, block: ViewBatch) -> dict[str, Tensor]:
        return self._answer(crop_state(heads, block, self.net.config, refine=self.refine, pose=self.pose), block)

    def _staged(self, block: ViewBatch, hidden: Tensor, clean: HybrikHeads) -> dict[str, Tensor]:
        heads = crop_heads(self.net, block.crops)
        given = (heads, heads.with_joints(clean, torch.zeros_like(hidden)), heads.with_joints(clean, hidden))
        answers = zip(STAGES, (self._solved(some, block) for some in given), strict=True)
        return {f"{stage}/{key}": value for stage, answer in answers for key, value in answer.items()}


def hidden_by_name(hidden: Tensor, names: Sequence[str], skeleton: str) -> Tensor:
    """Which joints of a skeleton are hidden (B, J), given which joints of other ``names`` are (B, N) bool.

    Joints belong together by name. One that has no namesake goes with its nearest ancestor that has; without one it is not hidden.
    """
    own, columns = joint_names(skeleton), []
    for joint in range(len(own)):
        while joint >= 0 and own[joint] not in names:
            joint = PARENTS[skeleton][joint]
        columns.append(torch.zeros_like(hidden[:, 0]) if joint < 0 else hidden[:, names.index(own[joint])])
    return torch.stack(columns, dim=1)


def _rows_by_crop(crops: Tensor) -> list[list[int]]:
    """The rows of crops (B, 3, S, S), neighbours with one crop together."""
    groups = [[0]]
    for row, again in enumerate((crops[1:] == crops[:-1]).flatten(1).all(dim=1).tolist(), start=1):
        if again:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _check_pair(clean: ViewBatch, batch: ViewBatch) -> None:
    """Raise ValueError unless the clean views are those of the batch's people."""
    if len(clean) != len(batch) or not torch.equal(clean.squares_xyxy, batch.squares_xyxy):
        raise ValueError(
            f"clean: {len(clean)} views, whose squares are expected to be those of the batch's {len(batch)}, row by row, but are not. "
            "Give each occluded view beside its own clean one."
        )


def _prediction(answer: dict[str, Tensor]) -> Prediction:
    finite = torch.stack([answer[key].flatten(1).isfinite().all(dim=1) for key in ("rotmats", "betas")]).all(dim=0)
    return Prediction(failed=~finite, skeleton="j29" if "joints" in answer else None, **answer)
