"""One sequence, drawn: its people, things, cameras, lights and looks. Numbers only; nothing here is a pixel.

Stage frame: metres, y up, the floor at y = 0. All draws depend on (seed, split, index) alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from hpsbench.body.bodies import Bodies
from hpsbench.datasets.openhps import appearance, backdrop, textures
from hpsbench.datasets.openhps.people import Person, draw_people
from hpsbench.render import Mesh, hidden
from hpsbench.seeds import rng_of

_LONG, _SHORT = 960, 540
_BOX_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
# The sides of a block as corners (bits x, y, z), anticlockwise from outside.
_SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


@dataclass(frozen=True)
class Outline:
    """What of a sequence is known before anything is drawn: ``size`` (width, height) px, ``fps`` the images per second."""

    seed: int
    split: str
    index: int
    people: int
    frames: int
    fps: float
    size: tuple[int, int]

    @property
    def name(self) -> str:
        return f"openhps_{'' if self.split == 'train' else 'test_'}s{self.seed}_{self.index:05d}"

    def rng(self, *words: str | int) -> np.random.Generator:
        """The generator of one part of this sequence."""
        return rng_of("openhps", self.seed, self.split, self.index, *words)


@dataclass(frozen=True)
class Block:
    """A thing: a box of half sides ``half`` (3,) m about ``centre`` (3,), turned by ``yaw`` about the vertical; texture (S, S, 3)."""

    centre: np.ndarray
    half: np.ndarray
    yaw: float
    texture: np.ndarray

    def corners(self) -> np.ndarray:
        """(8, 3) m."""
        return Rotation.from_rotvec([0, self.yaw, 0]).apply(_BOX_CORNERS * self.half) + self.centre

    def mesh(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vertices (24, 3) m, four to a side, faces (12, 3) and outward unit normals (24, 3)."""
        corners = self.corners()[_SIDES]  # (6, 4, 3)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0])
        normals = np.repeat(normals / np.linalg.norm(normals, axis=1, keepdims=True), 4, axis=0)
        faces = (np.arange(6)[:, None, None] * 4 + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
        return corners.reshape(-1, 3), faces, normals


@dataclass(frozen=True)
class Light:
    """``towards`` (3,) the key light; colours (3,) of the light from there and from all around; ``exposure`` multiplies the image."""

    towards: np.ndarray
    key: np.ndarray
    ambient: np.ndarray
    exposure: float


@dataclass(frozen=True)
class Scene:
    """A sequence of N images and 2N moments of motion: ``views`` (N, 4, 4) stage to camera, ``world`` (4, 4) stage to the stored world."""

    outline: Outline
    people: list[Person]
    looks: list[appearance.Look]
    blocks: list[Block]
    views: np.ndarray
    intrinsics: np.ndarray
    world: np.ndarray
    light: Light
    backdrop: backdrop.Backdrop
    blur: float
    grain: float


def outline_of(seed: int, split: str, index: int) -> Outline:
    """The outline of a sequence. Training: very many of two images a second or so apart, since a network learns people, places and poses by
    heart before it has seen them often; test: longer, smoother ones."""
    rng = rng_of("openhps", seed, split, index, "outline")
    if split == "train":
        people = int(rng.choice([1, 1, 1, 2, 2, 2, 3]))
        frames, fps, portrait = 2, rng.uniform(0.5, 1.5), rng.random() < 0.5
    else:
        people, frames, fps, portrait = 1 if index % 3 == 2 else 2, 24, 12.0, index % 2 == 1
    return Outline(seed, split, index, people, frames, float(fps), (_SHORT, _LONG) if portrait else (_LONG, _SHORT))


def draw_scene(outline: Outline, bodies: Bodies) -> Scene:
    """The whole sequence of an outline, with gendered ``bodies``."""
    moments = 2 * outline.frames
    people = draw_people(outline.rng("people"), bodies, number=outline.people, moments=moments, fps=2 * outline.fps, split=outline.split)
    rng = outline.rng("camera")
    intrinsics = _draw_intrinsics(rng, outline.size)
    views = _draw_views(rng, people, intrinsics, outline.size)
    looks = [appearance.draw_look(outline.rng("look", k), person.gender) for k, person in enumerate(people)]
    rng = outline.rng("light")
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = Rotation.random(random_state=rng).as_matrix(), rng.normal(scale=2, size=3)
    return Scene(
        outline=outline,
        people=people,
        looks=looks,
        blocks=_draw_blocks(outline.rng("blocks"), people, views),
        views=views,
        intrinsics=intrinsics,
        world=world,
        light=_draw_light(rng),
        backdrop=backdrop.draw_backdrop(outline.rng("backdrop")),
        blur=float(rng.uniform(0, 0.8)),
        grain=float(rng.uniform(0, 0.025) if outline.split == "train" else rng.uniform(0, 0.003)),
    )


def _draw_intrinsics(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """K (3, 3) px: as 3DPW's phone, the focal length about 1.02 times the long side and the centre near the middle."""
    focal = 1.02 * _LONG * rng.uniform(0.9, 1.15)
    centre = np.array(size) / 2 + rng.uniform(-6, 6, 2)
    return np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])


def _draw_views(rng: np.random.Generator, people: list[Person], intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N, 4, 4): a hand-held camera that goes along with the middle of the group, people mostly 250 to 500 px tall."""
    group = np.mean([person.joints[::2, 0] for person in people], axis=0)
    group = gaussian_filter1d(group, sigma=len(group) / 8, axis=0, mode="nearest") * [1, 0, 1]
    tall = rng.uniform(290, 510) if size[0] > size[1] else rng.uniform(290, 560)
    distance = 1.7 * intrinsics[0, 0] / (tall * (1.3 if rng.random() < 0.06 else 1.0))
    angle, height = _azimuth(rng, people), rng.uniform(0.5, 2.3)
    out = np.array([np.sin(angle), 0, np.cos(angle)])
    side = np.array([out[2], 0, -out[0]])
    room = max(size[0] / intrinsics[0, 0] * distance / 2 - 0.8, 0.1)
    aim = side * rng.uniform(-0.4, 0.4) * room + [0, rng.uniform(0.75, 1.05), 0]
    eyes = group + out * distance + [0, height, 0] + 0.12 * _sway(rng, len(group))
    targets = group + aim + 0.08 * _sway(rng, len(group))
    rolls = np.radians(3) * rng.normal() + np.radians(1) * _sway(rng, len(group))[:, 0]
    return np.stack([_look_at(*place) for place in zip(eyes, targets, rolls, strict=True)])


def _azimuth(rng: np.random.Generator, people: list[Person]) -> float:
    """Where the camera stands, rad: anywhere, or, half of the time that there are several people, about in line with two of them."""
    free = rng.uniform(0, 2 * np.pi)
    if len(people) == 1 or rng.random() < 0.5:
        return free
    gap = (people[1].joints[:, 0] - people[0].joints[:, 0]).mean(0) * (1 if rng.random() < 0.5 else -1)
    return float(np.arctan2(gap[0], gap[2]) + rng.uniform(-0.35, 0.35))


def _sway(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Slow smooth movement (N, 3) of about unit size."""
    time = np.linspace(0, 1, frames)[:, None]
    return sum(rng.normal(size=3) * np.sin(2 * np.pi * (f * time + rng.uniform(0, 1, 3))) / f for f in (0.5, 1.0, 2.0))


def _look_at(eye: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    """(4, 4) stage to camera (x right, y down, z forward), turned by ``roll`` rad about the line of sight."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 1.0, 0])
    right /= np.linalg.norm(right)
    R = Rotation.from_rotvec([0, 0, roll]).as_matrix() @ np.stack([right, np.cross(forward, right), forward])
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = R, -R @ eye
    return view


def _draw_light(rng: np.random.Generator) -> Light:
    angle, up = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.95)
    flat = np.sqrt(1 - up**2)
    warm = 1 + rng.uniform(-0.12, 0.12) * np.array([1, 0, -1])
    ambient = rng.uniform(0.5, 0.8)
    return Light(
        towards=np.array([flat * np.cos(angle), up, flat * np.sin(angle)]),
        key=warm * rng.uniform(0.35, 1.2 - ambient / 2),
        ambient=(2 - warm) * ambient,
        exposure=float(rng.uniform(0.9, 1.25)),
    )


def _draw_blocks(rng: np.random.Generator, people: list[Person], views: np.ndarray) -> list[Block]:
    """Seats below those who sit, a thing or two before people, and things about them."""
    blocks = [_seat(rng, person) for person in people if _needs_seat(person)]
    middle = len(views) // 2
    eye = -views[middle, :3, :3].T @ views[middle, :3, 3]
    for kind, number in (("before", int(rng.choice([0, 0, 1, 1, 2]))), ("about", int(rng.integers(0, 5)))):
        for _ in range(number):
            if kind == "before":
                person = people[int(rng.integers(len(people)))].joints[2 * middle, 0]
                spot = eye + rng.uniform(0.55, 0.85) * (person - eye) + rng.normal(scale=0.25, size=3)
            else:
                spot = np.append(rng.normal(scale=2.5, size=2), 0)[[0, 2, 1]]
            block = _block(rng, spot)
            if _fits(block, people, views):
                blocks.append(block)
    return blocks


def _fits(block: Block, people: list[Person], views: np.ndarray) -> bool:
    """Whether a block stands clear of the people and the camera, and hides at most two thirds of anybody, at three times."""
    eyes = -np.einsum("nji,nj->ni", views[:, :3, :3], views[:, :3, 3])
    roots = np.concatenate([person.joints[:, 0] for person in people])
    gaps = [np.linalg.norm((points - block.centre)[:, [0, 2]], axis=1).min() for points in (roots, eyes)]
    reach = np.linalg.norm(block.half[[0, 2]])
    if gaps[0] < reach + 0.45 or gaps[1] < reach + 1.0:
        return False
    vertices, faces, _ = block.mesh()
    for frame in (0, len(views) // 2, len(views) - 1):
        R, t = views[frame, :3, :3], views[frame, :3, 3]
        mesh = Mesh(vertices @ R.T + t, faces, np.zeros((len(vertices), 3), np.uint8))
        if any(hidden(person.joints[2 * frame] @ R.T + t, [mesh]).mean() > 0.67 for person in people):
            return False
    return True


def _block(rng: np.random.Generator, spot: np.ndarray) -> Block:
    """A column, a crate or a low wall that stands on the floor at ``spot``."""
    kind = int(rng.integers(0, 3))
    low, high = ([0.06, 0.7, 0.06], [0.16, 1.4, 0.16]) if kind == 0 else ([0.15, 0.15, 0.15], [0.35, 0.5, 0.35])
    half = rng.uniform(low, high) if kind < 2 else rng.uniform([0.4, 0.2, 0.05], [0.9, 0.5, 0.15])
    return Block(spot * [1, 0, 1] + [0, half[1], 0], half, rng.uniform(0, np.pi), textures.pattern(rng, 96, saturation=0.6))


def _needs_seat(person: Person) -> bool:
    """Whether someone sits higher than on the floor."""
    return person.label.startswith("sit") and float(np.quantile(person.joints[:, 0, 1], 0.1)) > 0.3


def _seat(rng: np.random.Generator, person: Person) -> Block:
    """A stool whose top is just below a sitting person's seat."""
    pelvis = person.joints[:, 0]
    lowest = np.quantile(pelvis[:, 1], 0.1)
    place = pelvis[pelvis[:, 1] < lowest + 0.06].mean(0)
    top = max(float(lowest) - 0.13, 0.1)
    half = np.array([rng.uniform(0.16, 0.24), top / 2, rng.uniform(0.14, 0.2)])
    return Block(place * [1, 0, 1] + [0, top / 2, 0], half, rng.uniform(0, np.pi), textures.pattern(rng, 96, saturation=0.6))
