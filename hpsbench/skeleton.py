"""Joint names and named joint sets: the only home of joint indices.

Left and right are the person's own. Equal names in two skeletons stand for the same joint as the field maps them, although
each annotation places it a little differently (the H36M hip is not the SMPL hip).
"""

from functools import cache

from hpsbench.errors import UnknownNameError

# joint<parent in the order of the set; a joint without a parent is the root.
_SMPL = """pelvis left_hip<pelvis right_hip<pelvis spine1<pelvis left_knee<left_hip right_knee<right_hip spine2<spine1
    left_ankle<left_knee right_ankle<right_knee spine3<spine2 left_foot<left_ankle right_foot<right_ankle neck<spine3
    left_collar<spine3 right_collar<spine3 head<neck left_shoulder<left_collar right_shoulder<right_collar
    left_elbow<left_shoulder right_elbow<right_shoulder left_wrist<left_elbow right_wrist<right_elbow
    left_hand<left_wrist right_hand<right_wrist"""
_LEAVES = """crown<head left_middle_finger<left_hand right_middle_finger<right_hand left_big_toe<left_foot
    right_big_toe<right_foot"""
_TREES = {
    # The kinematic joints of SMPL, 3DPW's jointPositions.
    "smpl24": _SMPL,
    # HybrIK's and NIKI's 29: the kinematic joints and five single mesh vertices.
    "j29": f"{_SMPL} {_LEAVES}",
    # The body joints that SMPL-X shares with SMPL, the first 22 of both.
    "smplx22": _SMPL.partition("left_hand")[0],
    # Rows of J_regressor_h36m as SPIN, HybrIK and NIKI ship it: left leg first, left arm first.
    "h36m17": """pelvis left_hip<pelvis left_knee<left_hip left_ankle<left_knee right_hip<pelvis right_knee<right_hip
        right_ankle<right_knee spine<pelvis neck<spine head<neck head_top<head left_shoulder<neck left_elbow<left_shoulder
        left_wrist<left_elbow right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow""",
    # The same 17 as the mocap has them: right leg first (VideoPose3D, PoseNet).
    "h36m17-mocap": """pelvis right_hip<pelvis right_knee<right_hip right_ankle<right_knee left_hip<pelvis left_knee<left_hip
        left_ankle<left_knee spine<pelvis neck<spine head<neck head_top<head left_shoulder<neck left_elbow<left_shoulder
        left_wrist<left_elbow right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow""",
    # Human3.6M's raw 32. spine_base lies on the pelvis, both collars on the neck.
    "h36m32": """pelvis right_hip<pelvis right_knee<right_hip right_ankle<right_knee right_toe_base<right_ankle
        right_toe_end<right_toe_base left_hip<pelvis left_knee<left_hip left_ankle<left_knee left_toe_base<left_ankle
        left_toe_end<left_toe_base spine_base<pelvis spine<spine_base neck<spine head<neck head_top<head left_collar<spine
        left_shoulder<left_collar left_elbow<left_shoulder left_wrist<left_elbow left_thumb<left_wrist left_thumb_end<left_thumb
        left_wrist_end<left_wrist left_hand_end<left_wrist_end right_collar<spine right_shoulder<right_collar
        right_elbow<right_shoulder right_wrist<right_elbow right_thumb<right_wrist right_thumb_end<right_thumb
        right_wrist_end<right_wrist right_hand_end<right_wrist_end""",
    # The 14 that SMPL methods are scored on, in LSP order.
    "eval14": """right_ankle<right_knee right_knee<right_hip right_hip<neck left_hip<neck left_knee<left_hip left_ankle<left_knee
        right_wrist<right_elbow right_elbow<right_shoulder right_shoulder<neck left_shoulder<neck left_elbow<left_shoulder
        left_wrist<left_elbow neck head_top<neck""",
    "coco17": """nose left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye left_shoulder<left_ear
        right_shoulder<right_ear left_elbow<left_shoulder right_elbow<right_shoulder left_wrist<left_elbow right_wrist<right_elbow
        left_hip<left_shoulder right_hip<right_shoulder left_knee<left_hip right_knee<right_hip left_ankle<left_knee
        right_ankle<right_knee""",
    # MPI-INF-3DHP's test joints: right arm first, right leg first.
    "mpi17": """head_top<neck neck<spine right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow left_shoulder<neck
        left_elbow<left_shoulder left_wrist<left_elbow right_hip<pelvis right_knee<right_hip right_ankle<right_knee left_hip<pelvis
        left_knee<left_hip left_ankle<left_knee pelvis spine<pelvis head<neck""",
    # MPI-INF-3DHP's train joints.
    "mpi28": """spine3<spine2 spine4<spine3 spine2<spine spine<pelvis pelvis neck<spine4 head<neck head_top<head left_clavicle<neck
        left_shoulder<left_clavicle left_elbow<left_shoulder left_wrist<left_elbow left_hand<left_wrist right_clavicle<neck
        right_shoulder<right_clavicle right_elbow<right_shoulder right_wrist<right_elbow right_hand<right_wrist left_hip<pelvis
        left_knee<left_hip left_ankle<left_knee left_foot<left_ankle left_toe<left_foot right_hip<pelvis right_knee<right_hip
        right_ankle<right_knee right_foot<right_ankle right_toe<right_foot""",
    # 3DPW's poses2d.
    "openpose18": """nose<neck neck right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow left_shoulder<neck
        left_elbow<left_shoulder left_wrist<left_elbow right_hip<neck right_knee<right_hip right_ankle<right_knee left_hip<neck
        left_knee<left_hip left_ankle<left_knee right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye""",
}


def _names(tree: str) -> tuple[str, ...]:
    return tuple(entry.split("<")[0] for entry in tree.split())


def _parents(tree: str) -> tuple[int, ...]:
    names = _names(tree)
    return tuple(names.index(entry.split("<")[1]) if "<" in entry else -1 for entry in tree.split())


JOINT_NAMES: dict[str, tuple[str, ...]] = {skeleton: _names(tree) for skeleton, tree in _TREES.items()}
PARENTS: dict[str, tuple[int, ...]] = {skeleton: _parents(tree) for skeleton, tree in _TREES.items()}

# The one child that gives each joint of j29 its bone direction in inverse kinematics; -1: none.
J29_CHILDREN = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 27, 28, 15, 16, 17, 24, 18, 19, 20, 21, 22, 23, 25, 26, -1, -1, -1, -1, -1)
# The mesh vertices behind joints 24 to 28 of j29.
J29_LEAF_VERTICES = (411, 2445, 5905, 3216, 6617)

# Skeletons whose joints of one name are the same points: one body's kinematic joints, one regressor, one motion capture system.
_SAME_POINTS = (
    {"smpl24", "j29", "smplx22"},
    {"h36m17", "eval14"},
    {"h36m17-mocap", "h36m32"},
    {"mpi17", "mpi28"},
)


def same_points(first: str, second: str) -> bool:
    """Whether joints of equal name are the same points in two skeletons: SMPL's own hip is centimetres off Human3.6M's regressed one."""
    return first == second or any({first, second} <= group for group in _SAME_POINTS)


def joint_names(skeleton: str) -> tuple[str, ...]:
    """The joint names of a skeleton, in its order. Raises UnknownNameError."""
    if skeleton not in JOINT_NAMES:
        raise UnknownNameError(skeleton, "skeleton", JOINT_NAMES)
    return JOINT_NAMES[skeleton]


def joint_index(skeleton: str, name: str) -> int:
    """The place of a joint in a skeleton. Raises UnknownNameError for either name."""
    names = joint_names(skeleton)
    if name not in names:
        raise UnknownNameError(name, f"joint of skeleton '{skeleton}'", names)
    return names.index(name)


@cache
def mirror(skeleton: str) -> tuple[int, ...]:
    """For each joint the index of its left-right counterpart (of itself on the midline): ``joints[mirror(s)]`` swaps sides."""
    swap = {"left": "right", "right": "left"}
    sides = (name.partition("_") for name in joint_names(skeleton))
    return tuple(joint_index(skeleton, swap.get(side, side) + bar + rest) for side, bar, rest in sides)


@cache
def edges(skeleton: str) -> tuple[tuple[int, int], ...]:
    """The bones as (parent, child) pairs of indices."""
    joint_names(skeleton)
    return tuple((parent, child) for child, parent in enumerate(PARENTS[skeleton]) if parent >= 0)


@cache
def subset(source: str, target: str) -> tuple[int, ...]:
    """Where the joints of ``target`` stand in ``source``, by name. Raises UnknownNameError where ``source`` lacks one."""
    return tuple(joint_index(source, name) for name in joint_names(target))
