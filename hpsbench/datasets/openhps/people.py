"""The people of one sequence: motion, shape, place on the floor. Everything in the stage frame: metres, y up, the floor at y = 0."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d, minimum_filter1d
from scipy.spatial.transform import Rotation

from hpsbench.body.bodies import Bodies
from hpsbench.body.kinematics import forward_kinematics
from hpsbench.datasets.openhps.motion import MotionTrack, make_track

_APART = 0.55
_TRIES = 12


@dataclass(frozen=True)
class Person:
    """One person over M moments: ``rotvecs`` (M, 24, 3) rad, ``trans`` (M, 3) m as SMPL takes it, ``betas`` (10,).

    ``joints`` (M, 24, 3) m float64 and ``vertices`` (M, V, 3) m float32 are the gendered body's; ``pelvis`` (3,) m its rest pelvis.
    """

    gender: str
    betas: np.ndarray
    rotvecs: np.ndarray
    trans: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray
    pelvis: np.ndarray
    label: str


def draw_people(rng: np.random.Generator, bodies: Bodies, *, number: int, moments: int, fps: float, split: str) -> list[Person]:
    """``number`` people who stay near one another, and near the origin in the middle of their time, without walking through each other."""
    tracks = [make_track(rng, moments, fps=fps, split=split) for _ in range(number)]
    tracks = [_gathered(track, tracks[0], first=k == 0) for k, track in enumerate(tracks)]
    genders = [str(rng.choice(["male", "female"])) for _ in tracks]
    betas = np.clip(rng.normal(size=(number, 10)), -2.5, 2.5)
    return [_person(bodies, gender, shape, track) for gender, shape, track in zip(genders, betas, _placed(rng, tracks), strict=True)]


def _gathered(track: MotionTrack, leader: MotionTrack, *, first: bool) -> MotionTrack:
    """The track about the origin; all but the first go, on the whole, where the first one goes."""
    trans = track.trans.copy()
    trans[:, [0, 2]] -= trans[:, [0, 2]].mean(0)
    if first:
        return MotionTrack(track.rotvecs, trans, track.label)
    own, other = (t[-1, [0, 2]] - t[0, [0, 2]] for t in (trans, leader.trans))
    rotvecs = track.rotvecs
    if np.linalg.norm(own) > 0.5 and np.linalg.norm(other) > 0.5:
        turn = Rotation.from_rotvec([0, np.arctan2(other[0], other[1]) - np.arctan2(own[0], own[1]), 0])
        trans, rotvecs = turn.apply(trans), rotvecs.copy()
        rotvecs[:, 0] = (turn * Rotation.from_rotvec(rotvecs[:, 0])).as_rotvec()
        own = trans[-1, [0, 2]] - trans[0, [0, 2]]
    trans[:, [0, 2]] += np.linspace(-0.5, 0.5, len(trans))[:, None] * (other - own)
    return MotionTrack(rotvecs, trans, track.label)


def _placed(rng: np.random.Generator, tracks: list[MotionTrack]) -> list[MotionTrack]:
    """The tracks moved apart on the floor, each at the first of several random places that keeps its distance from those before it."""
    placed: list[MotionTrack] = []
    for track in tracks:
        for attempt in range(_TRIES + 1):
            reach = 0.0 if not placed else rng.uniform(0.6, 1.3) + 0.15 * attempt
            angle = rng.uniform(0, 2 * np.pi)
            trans = track.trans + reach * np.array([np.cos(angle), 0, np.sin(angle)])
            if all(np.linalg.norm((trans - other.trans)[:, [0, 2]], axis=1).min() > _APART for other in placed):
                break
        placed.append(MotionTrack(track.rotvecs, trans, track.label))
    return placed


def _person(bodies: Bodies, gender: str, betas: np.ndarray, track: MotionTrack) -> Person:
    """The body on this motion: its lowest vertex touches the floor whenever the motion comes down."""
    body = bodies[gender]
    shape = torch.from_numpy(betas)[None]
    rest = body.rest_joints(shape.to(body.dtype)).double()
    pelvis = rest[0, 0].numpy()
    trans = track.trans - pelvis
    with torch.no_grad():
        output = body(shape.expand(len(trans), -1), rotvecs=torch.from_numpy(track.rotvecs), trans=torch.from_numpy(trans))
    vertices = output.vertices.numpy()
    lowest = minimum_filter1d(vertices[..., 1].min(1).astype(np.float64), size=5, mode="nearest")
    lift = -np.round(gaussian_filter1d(lowest, sigma=2, mode="nearest"), 4)[:, None] * np.array([0, 1.0, 0])
    trans = trans + lift
    rotmats = torch.from_numpy(Rotation.from_rotvec(track.rotvecs.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3))
    joints = forward_kinematics(rotmats, rest.expand(len(trans), -1, -1), body.parents)[0] + torch.from_numpy(trans)[:, None]
    return Person(
        gender=gender,
        betas=betas,
        rotvecs=track.rotvecs,
        trans=trans,
        joints=joints.numpy(),
        vertices=vertices + lift[:, None].astype(np.float32),
        pelvis=pelvis,
        label=track.label,
    )
