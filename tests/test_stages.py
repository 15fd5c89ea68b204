"""What damage comes from: models of two stages answer with joints of the clean image, too."""

from dataclasses import replace

import pytest
import torch
from writers.batches import batch_of, patched
from writers.weights import SMALL_HYBRIK, SMALL_NIKI, small_hybrik, small_niki

from hpsbench.body.bodies import load_bodies
from hpsbench.models.base import STAGES, Model, load_model, rows_of
from hpsbench.models.base_joint_stage import hidden_by_name
from hpsbench.models.nets.hybrik_net import HybrikHeads
from hpsbench.skeleton import joint_index, joint_names
from hpsbench.types import Prediction

CPU = torch.device("cpu")
CASES = ("hybrik", "niki", "one-stage")


@pytest.fixture(scope="module")
def bodies():
    return load_bodies(None)


@pytest.fixture(scope="module", params=CASES)
def model(request, bodies, tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("weights")
    refined = replace(SMALL_HYBRIK, refine="hybrik", camera=1, flip=True)
    weights = [small_hybrik(folder / "hybrik.safetensors", refined if request.param == "one-stage" else SMALL_HYBRIK)]
    if request.param != "hybrik":
        kind = replace(SMALL_NIKI, kind="one-stage") if request.param == "one-stage" else SMALL_NIKI
        weights.append(small_niki(folder / "niki.safetensors", kind))
    return load_model("hybrik" if request.param == "hybrik" else "niki", weights=weights, bodies=bodies, device=CPU)


def none_hidden(count: int) -> torch.Tensor:
    return torch.zeros(count, 29, dtype=torch.bool)


def same(one: Prediction, two: Prediction) -> bool:
    """To the last bit; NaN equals NaN."""
    pairs = [(vars(one)[key], vars(two)[key]) for key in vars(one) if key != "skeleton"]
    return one.skeleton == two.skeleton and all(
        (a is None and b is None) or torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in pairs
    )


def rows(prediction: Prediction, chosen: list[int]) -> Prediction:
    return Prediction(**{key: value[chosen] if isinstance(value, torch.Tensor) else value for key, value in vars(prediction).items()})


class TestStages:
    def test_the_images_own_joints_give_the_ordinary_answer(self, model):
        clean = batch_of(4)
        batch = patched(clean)
        found = model.stages(clean, batch, none_hidden(4))
        assert tuple(found) == STAGES
        assert same(found["image"], model.predict(batch))
        assert model.joint_stage == "j29"

    def test_with_nothing_hidden_all_joints_are_the_clean_ones(self, model):
        clean = batch_of(4)
        found = model.stages(clean, patched(clean), none_hidden(4))
        assert same(found["clean-but-hidden"], found["clean"])
        assert not same(found["clean"], found["image"])

    def test_with_everything_hidden_all_joints_are_the_images_own(self, model):
        clean = batch_of(4)
        found = model.stages(clean, patched(clean), ~none_hidden(4))
        assert same(found["clean-but-hidden"], found["image"])

    def test_equal_crops_give_equal_stages(self, model):
        clean, hidden = batch_of(3), torch.arange(3 * 29).reshape(3, 29) % 3 == 0
        expected = model.predict(clean)
        assert all(same(stage, expected) for stage in model.stages(clean, clean, hidden).values())

    def test_one_hidden_joint_alone_is_the_images_own(self, model):
        """Confidence is a joint's own: that of the hidden one is the image's, those of the others are the clean image's."""
        clean, hidden = batch_of(3), none_hidden(3)
        batch = patched(clean)
        hidden[:, joint_index("j29", "left_wrist")] = True
        mixed = model.stages(clean, batch, hidden)["clean-but-hidden"].confidence
        assert torch.equal(mixed, torch.where(hidden, model.predict(batch).confidence, model.predict(clean).confidence))

    def test_shape_and_twist_are_the_images_own(self, model):
        clean = batch_of(3)
        batch = patched(clean)
        found = model.stages(clean, batch, none_hidden(3))["clean"]
        assert torch.equal(found.betas, model.predict(batch).betas)

    def test_no_answer_depends_on_the_batch(self, model):
        """Bit for bit, whoever else is in it; people who come several times are looked at once."""
        clean = rows_of(batch_of(3), [0, 1, 1, 2, 0])
        batch, hidden = patched(clean), torch.arange(5 * 29).reshape(5, 29) % 2 == 0
        whole, order = model.stages(clean, batch, hidden), [3, 1, 4]
        some = model.stages(rows_of(clean, order), rows_of(batch, order), hidden[order])
        assert all(same(some[stage], rows(whole[stage], order)) for stage in STAGES)

    @pytest.mark.parametrize(
        ("hidden", "message"),
        [(torch.zeros(2, 24, dtype=torch.bool), r"bool of shape \(2, 29\)"), (torch.zeros(2, 29), "float32 of shape")],
    )
    def test_hidden_joints_of_another_skeleton(self, model, hidden, message):
        with pytest.raises(ValueError, match=message):
            model.stages(batch_of(2), batch_of(2), hidden)

    def test_other_peoples_clean_crops(self, model):
        with pytest.raises(ValueError, match="clean: 3 views, whose squares"):
            model.stages(batch_of(3), rows_of(batch_of(3), [0, 2, 1]), none_hidden(3))
        with pytest.raises(ValueError, match="batch's 2, row by row"):
            model.stages(batch_of(3), batch_of(2), none_hidden(2))


def test_a_model_of_one_stage_has_none(bodies):
    model = load_model("mean-pose", bodies=bodies, device=CPU)
    assert model.joint_stage is None
    assert model.stages(batch_of(2, None), batch_of(2, None), none_hidden(2)) is None


def test_joints_of_two_heads():
    """Joint 0 the first's own, the others the second's; what is no joint's is the first's."""
    shapes = {"uvd": (1, 29, 3), "maxvals": (1, 29), "phi": (1, 23, 2), "betas": (1, 10), "camera": (1, 1), "sigma": (1, 29)}
    one, two = (HybrikHeads(**{key: torch.full(shape, value) for key, shape in shapes.items()}) for value in (1.0, 2.0))
    own = torch.arange(29)[None] == 0
    mixed = one.with_joints(two, own)
    assert mixed.uvd[0, :, 2].tolist() == mixed.sigma[0].tolist() == mixed.maxvals[0].tolist() == [1.0] + [2.0] * 28
    assert all(torch.equal(vars(mixed)[key], vars(one)[key]) for key in ("phi", "betas", "camera"))


class TestHiddenByName:
    def told(self, names, *hidden) -> set[str]:
        row = torch.tensor([[name in hidden for name in names]])
        return {name for name, flag in zip(joint_names("j29"), hidden_by_name(row, names, "j29")[0].tolist(), strict=True) if flag}

    def test_joints_go_by_name_and_leaves_with_their_parents(self):
        assert self.told(joint_names("smpl24"), "left_hand", "pelvis") == {"left_hand", "left_middle_finger", "pelvis"}

    def test_joints_without_a_namesake_go_with_their_ancestors(self):
        """Of the 14 scored joints: the hand and its finger go with the wrist, the spine with nobody."""
        assert self.told(joint_names("eval14"), "right_wrist") == {"right_wrist", "right_hand", "right_middle_finger"}
        assert self.told(joint_names("eval14"), "neck") == {"neck", "head", "crown"}
        assert self.told(("pelvis",), "pelvis") == set(joint_names("j29"))
