"""A handful of people of the embedded set, to be written as each of the five datasets, and what a test needs to compare them.

Each picture is brought to one focal length and cut to one window about its principal point: that of AGORA's 28 mm camera at 1280 x 720,
whose focal length follows from the image's name and whose principal point is the middle. The other four layouts tell their cameras in
their files, which then say the same. The window is put into a black image of each dataset's size, at corners that are multiples of 16
px: the blocks of a JPEG then hold the same pixels in all of them, and decode to the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from layouts import agora, h36m, mpi_inf_3dhp, threedoh
from writers import threedpw

from hpsbench.datasets.base import open_dataset
from hpsbench.image import cut, decode_image, encode_jpeg
from hpsbench.skeleton import JOINT_NAMES
from hpsbench.types import Sample

FOCAL = 28 / 36 * 1280
# (width, height) px of the window, and where the principal point is in it.
WINDOW, MIDDLE = (896, 672), np.array([448.0, 336.0])
# Size of the images and corner of the window of each layout; AGORA's are PNG and need no multiple of 16.
PLACES = {
    "3dpw": ((1920, 1080), (512, 208)),
    "agora": ((1280, 720), (192, 24)),
    "3doh": ((2048, 1536), (576, 432)),
    "h36m": ((1000, 1002), (48, 160)),
    "3dhp": ((2048, 2048), (576, 688)),
}
CHOSEN = (
    "openhps/test/openhps_test_s1_00002/00018/0",
    "openhps/test/openhps_test_s1_00003/00017/0",
    "openhps/test/openhps_test_s1_00004/00015/0",
    "openhps/test/openhps_test_s1_00005/00012/0",
)
UNITS = (6.71, 7.0, 7.24, 6.9)
# The front camera of Human3.6M, the fourth; it is the one of the split "spin-p2".
FRONT = 3


@dataclass(frozen=True)
class Person:
    """One person before the common camera, whose principal point is (0, 0): the neutral body of the pose and shape, camera frame, m.

    ``local`` (24, 3) of SMPL, ``local14`` (14, 3) of LSP and ``local17`` (17, 3) of the H36M regressor, and ``vertices`` (6890, 3): without
    translation. ``box_xyxy`` (4,) px: that of the vertices. ``picture`` (672, 896, 3) RGB.
    """

    rotvecs: np.ndarray
    betas: np.ndarray
    trans: np.ndarray
    gender: str
    rest_pelvis: np.ndarray
    local: np.ndarray
    local14: np.ndarray
    local17: np.ndarray
    vertices: np.ndarray
    box_xyxy: np.ndarray
    picture: np.ndarray


def chosen_people(bodies) -> list[Person]:
    """Four of the embedded set, two men and two women, out of two images in landscape and two in portrait; ``bodies`` in float64."""
    dataset = open_dataset("openhps", None, split="test", frames="campose-valid", bbox="keypoints", bbox_scale=1.0, bodies=bodies)
    return [person_of(dataset[dataset.index_of(name)], bodies) for name in CHOSEN]


def person_of(sample: Sample, bodies) -> Person:
    """The person of a sample in the neutral body, its pelvis where the sample has it."""
    truth, betas = sample.truth, torch.from_numpy(sample.truth.betas)[None]
    posed = bodies.neutral(betas, rotvecs=torch.from_numpy(truth.rotvecs)[None])
    trans = truth.joints[0] - posed.joints[0, 0].numpy()
    vertices = posed.vertices[0].numpy() + trans
    flat = FOCAL * vertices[:, :2] / vertices[:, 2:]
    box = np.concatenate([flat.min(0), flat.max(0)])
    assert (np.abs(box) < np.tile(MIDDLE - 8, 2)).all(), f"{sample.id} does not fit into the window"
    return Person(
        rotvecs=truth.rotvecs,
        betas=truth.betas,
        trans=trans,
        gender=truth.gender[0],
        rest_pelvis=bodies.neutral.rest_joints(betas)[0, 0].numpy(),
        local=posed.joints[0].numpy(),
        local14=bodies.joints(posed, "eval14")[0].numpy(),
        local17=bodies.joints(posed, "h36m17")[0].numpy(),
        vertices=posed.vertices[0].numpy(),
        box_xyxy=box,
        picture=_window(sample),
    )


def _window(sample: Sample) -> np.ndarray:
    """The sample's image at the common focal length, its principal point in the middle of the window; black beyond the image."""
    K = sample.view.intrinsics
    factor = FOCAL / K[0, 0]
    matrix = np.array([[factor, 0, MIDDLE[0] - factor * K[0, 2]], [0, factor, MIDDLE[1] - factor * K[1, 2]]])
    return cv2.warpAffine(sample.view.read(), matrix, WINDOW, flags=cv2.INTER_LINEAR)


def principal_point(layout: str) -> np.ndarray:
    """(2,) px in the images of a layout."""
    return np.array(PLACES[layout][1]) + MIDDLE


def intrinsics(layout: str) -> np.ndarray:
    """(3, 3) px of the images of a layout."""
    cx, cy = principal_point(layout)
    return np.array([[FOCAL, 0, cx], [0, FOCAL, cy], [0, 0, 1]])


def boxes(people: Sequence[Person], layout: str) -> np.ndarray:
    """(N, 4) xyxy px in the images of a layout."""
    return np.stack([person.box_xyxy for person in people]) + np.tile(principal_point(layout), 2)


def jpeg(picture: np.ndarray, layout: str) -> bytes:
    """The window in a black image of the layout's size."""
    (width, height), (x, y) = PLACES[layout]
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[y : y + WINDOW[1], x : x + WINDOW[0]] = picture
    return encode_jpeg(image, 90)


def write_3dpw(root: Path, people: Sequence[Person]) -> None:
    """A sequence for each of them, seen from somewhere."""
    for i, (person, box) in enumerate(zip(people, boxes(people, "3dpw"), strict=True)):
        camera = np.eye(4)
        camera[:3, :3], camera[:3, 3] = cv2.Rodrigues(np.array([0.3, -0.7 + i, 0.2]))[0], (0.4, -1.0, 2.0 + i)
        seen = threedpw.SeenPerson(
            rotvecs=person.rotvecs,
            betas=person.betas,
            trans=person.trans,
            rest_pelvis=person.rest_pelvis,
            joints=person.local + person.trans,
            gender=person.gender,
            box_xyxy=box,
        )
        name = f"same_{i}_00"
        threedpw.write_seen(root, name, seen, jpeg(person.picture, "3dpw"), camera=camera, intrinsics=intrinsics("3dpw"))


def turned(R: np.ndarray, rotvecs: np.ndarray) -> np.ndarray:
    """``rotvecs`` (24, 3) whose first one is turned by ``R`` (3, 3)."""
    answer = rotvecs.copy()
    answer[0] = cv2.Rodrigues(R @ cv2.Rodrigues(rotvecs[0])[0])[0][:, 0]
    return answer


def agora_shots(people: Sequence[Person]) -> list[agora.AgoraShot]:
    """One image for each of them: two before a camera that the file tells, two before one that the name tells."""
    rows = [("axyz_body_brushifyforest_5_15", (120.0, -310.0, 40.0), 77.0, 0, (0, -1.7, 0), True)] * 2
    rows += [("humanalloy_ag2_5_15", (0, 0, 170), 0, 15, (0, 0, 0), False)] * 2
    found = []
    for i, (person, row) in enumerate(zip(people, rows, strict=True)):
        shot = agora.AgoraShot(f"ag_validationset_{row[0]}_{i:05d}", 28, *row[1:5], (), row[5])
        found.append(replace(shot, people=(_scan(shot, person, -40.0 + 75 * i),)))
    return found


def _scan(shot: agora.AgoraShot, person: Person, yaw: float) -> agora.AgoraPerson:
    """The person as a scan: A v + stand is in the camera frame for v in the scan's own."""
    A, transl, J0 = agora.turn(shot, yaw), np.array([0.0625, -0.125, 0.25]), person.rest_pelvis
    return agora.AgoraPerson(
        rotvecs=turned(A.T, person.rotvecs),
        betas=person.betas,
        transl=transl,
        joints=(person.local - J0) @ A + J0 + transl,
        vertices=(person.vertices - J0) @ A + J0 + transl,
        stand=tuple(J0 + person.trans - A @ (J0 + transl)),
        yaw=yaw,
    )


def write_agora(root: Path, people: Sequence[Person], *, size: tuple[int, int] = agora.SMALL) -> None:
    """PNG of the pixels that the other layouts' JPEGs decode to; at the full size enlarged, so that pixel p lies at 3 p."""
    some = agora_shots(people)
    pictures = {shot.image: agora_picture(person, size) for shot, person in zip(some, people, strict=True)}
    agora.write_agora(root, some, size=size, pictures=pictures)


def agora_picture(person: Person, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) RGB."""
    decoded = decode_image(np.frombuffer(jpeg(person.picture, "3doh"), dtype=np.uint8), "the picture")
    x, y = (principal_point("3doh") - principal_point("agora")).astype(int)
    small = cut(decoded, (x, y, x + 1280, y + 720))
    if size == agora.SMALL:
        return small
    return cv2.warpAffine(small, np.array([[3.0, 0, 0], [0, 3.0, 0]]), size, flags=cv2.INTER_LINEAR)


def write_3doh(root: Path, people: Sequence[Person], units: Sequence[float] = UNITS) -> None:
    """Everybody in units of their own, so many to the metre."""
    found = [_studio_person(person, i, units[i], box) for i, (person, box) in enumerate(zip(people, boxes(people, "3doh"), strict=True))]
    threedoh.write_threedoh(root, found, pictures=[jpeg(person.picture, "3doh") for person in people])


def _studio_person(person: Person, i: int, scale: float, box: np.ndarray) -> threedoh.StudioPerson:
    extri, J0 = np.eye(4), person.rest_pelvis
    R, t = cv2.Rodrigues(np.array([2.9, 0.2 * i, -0.3]))[0], np.array([0.5 * i, 1.0, 29.0])
    extri[:3, :3], extri[:3, 3] = R, t
    return threedoh.StudioPerson(
        rotvecs=turned(R.T, person.rotvecs),
        betas=person.betas,
        local=(person.local - J0) @ R + J0,
        lsp_local=(person.local14 - J0) @ R + J0,
        rest_pelvis=J0,
        trans=R.T @ (scale * (J0 + person.trans) - t) - J0,
        scale=scale,
        extri=extri,
        intri=intrinsics("3doh"),
        box_xyxy=box,
    )


def write_h36m(root: Path, people: Sequence[Person], lens: Sequence[float] = (0.0,) * 5) -> None:
    """The raw release with one take of S9 and one of S11 before the front camera, a person to a frame, half of them in each.

    Mocap is the 17 joints that the regressor finds in the body. ``lens``: k1, k2, k3, p1, p2 of the camera, by which pictures and boxes
    are bent.
    """
    lenses = h36m.LENSES.copy()
    lenses[FRONT] = (FOCAL, FOCAL, *principal_point("h36m"), *lens)
    half, takes, shown = len(people) // 2, [], {}
    for subject, some in ((9, people[:half]), (11, people[half:])):
        pose = h36m.rig()[FRONT, subject - 1]
        R, C = h36m.euler(pose[:3]), pose[3:] / 1000
        world = (h36m.raw32(np.stack([person.local17 + person.trans for person in some]))) @ R + C
        roots = np.stack([person.rest_pelvis + person.trans for person in some]) @ R + C
        rotvecs = np.stack([turned(R.T, person.rotvecs) for person in some])
        take = h36m.Take(subject, 2, 1, world, rotvecs, some[0].betas, roots)
        takes.append(take)
        pictures = [jpeg(bent(person.picture, lens), "h36m") for person in some]
        shown[take.clip(FRONT)] = h36m.Shown(pictures, bent_boxes(some, lens))
    h36m.write_raw(root, takes, cameras=(FRONT,), lenses=lenses, shown=shown)


def bent_boxes(people: Sequence[Person], lens: Sequence[float]) -> np.ndarray:
    """Tight boxes (N, 4) px of the vertices through a lens of Human3.6M, in its images."""
    found = []
    for person in people:
        points = person.vertices + person.trans
        x, y = (points[:, :2] / points[:, 2:]).T
        flat = FOCAL * np.stack(_through(x, y, lens), axis=-1) + principal_point("h36m")
        found.append([*flat.min(0), *flat.max(0)])
    return np.array(found)


def _through(x: np.ndarray, y: np.ndarray, lens: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    k1, k2, k3, p1, p2 = lens
    r2 = x**2 + y**2
    factor = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * y + p2 * x
    return x * factor + p2 * r2, y * factor + p1 * r2


def bent(picture: np.ndarray, lens: Sequence[float]) -> np.ndarray:
    """The window as a lens shows it: each pixel looks where the straight picture has it, found by going back and forth ten times."""
    if not any(lens):
        return picture
    goal = (np.stack(np.meshgrid(np.arange(WINDOW[0]), np.arange(WINDOW[1])), axis=-1) - MIDDLE) / FOCAL
    straight = goal.copy()
    for _ in range(10):
        straight += goal - np.stack(_through(straight[..., 0], straight[..., 1], lens), axis=-1)
    places = (straight * FOCAL + MIDDLE).astype(np.float32)
    return cv2.remap(picture, places[..., 0], places[..., 1], cv2.INTER_LINEAR)


def write_3dhp(root: Path, people: Sequence[Person]) -> None:
    """S1 of the train set, whose calibration is in a file; camera 0 of Seq1 sees a person in each row, the others nobody.

    (The test set has no calibration: its cameras are fitted, and are of 1500 px or 1684 px, which AGORA has at neither size.)
    """
    pose = mpi_inf_3dhp.train_extrinsics(0)
    joints = np.stack([by_name(person, mpi_inf_3dhp.TRAIN_28) for person in people])
    world = (joints - pose[:3, 3] / 1000) @ pose[:3, :3]
    camera = (FOCAL, FOCAL, *principal_point("3dhp"))
    black = jpeg(np.zeros_like(people[0].picture), "3dhp")
    for sequence in (1, 2):
        pictures = [jpeg(person.picture, "3dhp") for person in people] if sequence == 1 else [black] * len(people)
        shown = mpi_inf_3dhp.Shown(pictures, camera, boxes(people, "3dhp"), black)
        mpi_inf_3dhp.write_train(root, 1, sequence, world, shown=shown)


_LIMB_ENDS = {"clavicle": "shoulder", "hand": "wrist", "foot": "ankle", "toe": "ankle"}


def by_name(person: Person, names: Sequence[str]) -> np.ndarray:
    """Joints (J, 3) m in the camera frame: those that the H36M regressor has of these names, and their neighbours for the others."""
    known, places = JOINT_NAMES["h36m17"], []
    for name in names:
        side, _, part = name.partition("_")
        near = {"spine4": "neck", "spine3": "spine", "spine2": "spine"}.get(name, f"{side}_{_LIMB_ENDS.get(part)}")
        places.append(known.index(name if name in known else near))
    return person.local17[places] + person.trans


WRITERS = {"3dpw": write_3dpw, "agora": write_agora, "3doh": write_3doh, "h36m": write_h36m, "3dhp": write_3dhp}
