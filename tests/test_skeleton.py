"""Joint sets: orders against the field's tables, mirrors, bones and subsets by name."""

import numpy as np
import pytest

from hpsbench import skeleton
from hpsbench.errors import UnknownNameError

SKELETONS = sorted(skeleton.JOINT_NAMES)


def test_sizes():
    sizes = {name: len(joints) for name, joints in skeleton.JOINT_NAMES.items()}
    assert sizes == {
        "smpl24": 24,
        "smplx22": 22,
        "j29": 29,
        "h36m17": 17,
        "h36m17-mocap": 17,
        "h36m32": 32,
        "eval14": 14,
        "coco17": 17,
        "mpi17": 17,
        "mpi28": 28,
        "openpose18": 18,
    }


def test_j29_is_the_golden_tree(request):
    golden = np.load(request.path.parent / "data" / "ik" / "hybrik_ik.npz")
    assert skeleton.PARENTS["j29"] == tuple(golden["parents"])
    assert tuple(golden["children"]) == skeleton.J29_CHILDREN
    assert skeleton.PARENTS["j29"][:24] == skeleton.PARENTS["smpl24"]
    assert skeleton.JOINT_NAMES["j29"][:24] == skeleton.JOINT_NAMES["smpl24"]


def test_the_14_evaluation_joints():
    assert skeleton.subset("h36m17", "eval14") == (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)


def test_h36m_maps_to_3dhp_by_name():
    assert skeleton.subset("h36m17", "mpi17") == (10, 8, 14, 15, 16, 11, 12, 13, 4, 5, 6, 1, 2, 3, 0, 7, 9)


def test_3dhp_parents_are_the_official_ones():
    official = [2, 16, 2, 3, 4, 2, 6, 7, 15, 9, 10, 15, 12, 13, 15, 15, 2]
    assert [parent + 1 for parent in skeleton.PARENTS["mpi17"]] == [0 if i == 14 else parent for i, parent in enumerate(official)]


def test_3dhp_train_joints_hold_the_test_joints():
    """The official utility's "relevant" indices of the 28."""
    assert skeleton.subset("mpi28", "mpi17") == (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)


def test_raw_h36m_maps_by_name():
    """Index lists of the field: raw 32 to the mocap's 17, to SPIN's left-first 17 but for duplicates, and to the 14."""
    mocap = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
    assert skeleton.subset("h36m32", "h36m17-mocap") == mocap
    assert skeleton.subset("h36m32", "h36m17") == (0, 6, 7, 8, 1, 2, 3, *mocap[7:])
    assert skeleton.subset("h36m17-mocap", "h36m17") == (0, 4, 5, 6, 1, 2, 3, *range(7, 17))
    assert skeleton.subset("h36m32", "eval14") == (3, 2, 1, 6, 7, 8, 27, 26, 25, 17, 18, 19, 13, 15)


def test_a_subset_that_is_not_there_is_an_error():
    with pytest.raises(UnknownNameError, match="No joint of skeleton 'smpl24' named 'nose'"):
        skeleton.subset("smpl24", "coco17")
    with pytest.raises(UnknownNameError, match="head_top"):
        skeleton.subset("j29", "eval14")


@pytest.mark.parametrize("name", SKELETONS)
def test_mirror_swaps_sides_and_undoes_itself(name):
    names, mirror = skeleton.JOINT_NAMES[name], skeleton.mirror(name)
    assert [mirror[i] for i in mirror] == list(range(len(names)))
    for joint, other in zip(names, mirror, strict=True):
        assert ("left" in joint) == ("right" in names[other])
        assert joint.replace("left", "").replace("right", "") == names[other].replace("left", "").replace("right", "")


def test_mirror_of_j29_is_the_published_pairs():
    pairs = [(1, 2), (4, 5), (7, 8), (10, 11), (13, 14), (16, 17), (18, 19), (20, 21), (22, 23), (25, 26), (27, 28)]
    expected = list(range(29))
    for left, right in pairs:
        expected[left], expected[right] = right, left
    assert list(skeleton.mirror("j29")) == expected


@pytest.mark.parametrize("name", SKELETONS)
def test_edges_make_one_tree_with_mirrored_bones(name):
    edges, mirror = skeleton.edges(name), skeleton.mirror(name)
    assert len(edges) == len(skeleton.JOINT_NAMES[name]) - 1
    assert {(mirror[a], mirror[b]) for a, b in edges} == set(edges)


@pytest.mark.parametrize("call", [skeleton.joint_names, skeleton.mirror, skeleton.edges])
def test_unknown_skeleton(call):
    with pytest.raises(UnknownNameError, match="Did you mean 'h36m17'"):
        call("h36m17_")


def test_joint_index():
    assert skeleton.joint_index("coco17", "left_hip") == 11
    with pytest.raises(UnknownNameError, match="Did you mean 'left_hip'"):
        skeleton.joint_index("coco17", "lefthip")


def test_joints_of_one_name_are_one_point_only_within_a_family():
    assert skeleton.same_points("h36m17", "eval14")
    assert skeleton.same_points("j29", "smpl24")
    assert not skeleton.same_points("smpl24", "h36m17")
    assert not skeleton.same_points("h36m17", "h36m17-mocap")
