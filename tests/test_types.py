import json

import numpy as np
import pytest
import torch

from hpsbench.types import Card, Errors, Occlusion, OcclusionPlan, Prediction, Truth, View


def test_a_plan_goes_through_json_and_back():
    plan = OcclusionPlan("a/b/0", "3dpw-xocc.v1", 3, (Occlusion("noise-patch", "image", {"box": [1, 2, 3, 4]}),))
    line = plan.to_json()
    assert OcclusionPlan.from_record(json.loads(line)) == plan
    assert "\n" not in line
    assert line == OcclusionPlan.from_record(json.loads(line)).to_json()


def test_a_plan_refuses_nan():
    plan = OcclusionPlan("a", "p", 0, (Occlusion("k", "image", {"x": float("nan")}),))
    with pytest.raises(ValueError, match="not JSON compliant"):
        plan.to_json()


def test_an_unknown_space_is_refused():
    with pytest.raises(ValueError, match="'image' or 'crop'"):
        Occlusion("k", "world", {})


def test_shapes_are_checked_and_named():
    with pytest.raises(ValueError, match=r"bbox_xyxy: expected shape \(4,\), but got \(3,\)"):
        View(lambda: None, "k", np.zeros(3), np.eye(3))
    with pytest.raises(ValueError, match="joints2d"):
        Truth(np.zeros((24, 3)), "smpl24", np.zeros((23, 2)), np.ones(24, bool))
    with pytest.raises(ValueError, match="gender"):
        Truth(np.zeros((24, 3)), "smpl24", np.zeros((24, 2)), np.ones(24, bool), gender="m")


def test_a_prediction_must_answer_something():
    failed = torch.zeros(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="needs joints"):
        Prediction(failed)
    with pytest.raises(ValueError, match="give both or neither"):
        Prediction(failed, joints=torch.zeros(2, 24, 3))
    with pytest.raises(ValueError, match=r"rotmats: expected shape \(2, 24, 3, 3\)"):
        Prediction(failed, rotmats=torch.zeros(3, 24, 3, 3), betas=torch.zeros(2, 10))


def test_errors_need_a_row_per_sample():
    with pytest.raises(ValueError, match="mpjpe: expected 1 rows, but got 2"):
        Errors(("a",), ("t",), np.zeros(1), np.zeros(1, bool), {"mpjpe": np.zeros((2, 14))})


def test_a_card_needs_its_licence():
    with pytest.raises(ValueError, match="licence"):
        Card("x", "a model", "somewhere", "")
