"""People on the ground: lying on back, front or side, sitting with crossed or stretched legs."""

from collections.abc import Callable

import numpy as np

from hpsbench.datasets.openhps import limits, quats
from hpsbench.datasets.openhps.activities import hold_after_move
from hpsbench.datasets.openhps.arms import draw_arms
from hpsbench.datasets.openhps.keys import Keys

Range = tuple[float, float]


def _pose(
    rng: np.random.Generator, root: np.ndarray, arms: np.ndarray, *, flex: Range, knee: Range, out: Range, abduct: Range, bend: Range
) -> np.ndarray:
    """A pose (24,4) with hips, knees and spine drawn from intervals in degrees, each leg for itself about a common value,
    the knee with its hip."""
    pose = np.tile(np.array([1.0, 0.0, 0.0, 0.0]), (24, 1))
    common = rng.random(4)
    for side, sign in ((0, 1), (1, -1)):
        shares = np.clip(common + rng.normal(0.0, (0.15, 0.0, 0.15, 0.15)), 0.0, 1.0)
        shares[1] = np.clip(shares[0] + rng.normal(0.0, 0.08), 0.0, 1.0)
        hip, shin, yaw, wide = (
            np.radians(low + s * (high - low)) for s, (low, high) in zip(shares, (flex, knee, out, abduct), strict=True)
        )
        pose[1 + side] = quats.multiply(quats.about("x", -hip), quats.multiply(quats.about("z", sign * wide), quats.about("y", sign * yaw)))
        pose[4 + side], pose[7 + side] = quats.about("x", shin), quats.about("x", np.radians(rng.uniform(0, 35)))
    pose[0] = root
    pose[[3, 6, 9]] = quats.from_rotvec(np.radians([rng.uniform(*bend), rng.normal(0, 8), rng.normal(0, 6)]) / 3)
    pose[[12, 15]] = quats.from_rotvec(np.radians([rng.uniform(-10, 25), rng.normal(0, 20), 0.0]) / 2)
    pose[[13, 16, 18, 20]], pose[[14, 17, 19, 21]] = arms
    return pose


def _back(rng: np.random.Generator) -> np.ndarray:
    arms = draw_arms(rng, {"hanging": 3, "lap": 1, "sideways": 1, "up": 1, "hair": 1, "clasped-high": 1, "phone-front": 1})
    root = quats.about("x", np.radians(rng.normal(-90, 4)))
    return _pose(rng, root, arms, flex=(0, 65), knee=(0, 120), out=(0, 35), abduct=(0, 20), bend=(-5, 15))


def _front(rng: np.random.Generator) -> np.ndarray:
    arms = draw_arms(rng, {"sideways": 2, "up": 3, "hair": 1})
    root = quats.about("x", np.radians(rng.normal(88, 4)))
    return _pose(rng, root, arms, flex=(-8, 5), knee=(0, 60), out=(0, 30), abduct=(0, 25), bend=(-35, 0))


def _side(rng: np.random.Generator) -> np.ndarray:
    arms = draw_arms(rng, {"clasped-high": 2, "box": 2, "chin": 1, "explaining": 1})
    turn = quats.about("y", rng.choice([-1.0, 1.0]) * np.radians(rng.normal(85, 8)))
    root = quats.multiply(quats.about("x", -np.pi / 2), turn)
    return _pose(rng, root, arms, flex=(10, 95), knee=(10, 115), out=(-5, 5), abduct=(-3, 3), bend=(0, 45))


def _crossed(rng: np.random.Generator) -> np.ndarray:
    arms = draw_arms(rng, {"lap": 2, "knee": 3, "prop-behind": 1, "explaining": 1, "phone-front": 1, "clasped-high": 1})
    root = quats.about("x", np.radians(rng.uniform(-12, 12)))
    return _pose(rng, root, arms, flex=(70, 85), knee=(108, 128), out=(38, 52), abduct=(28, 42), bend=(0, 40))


def _stretched(rng: np.random.Generator) -> np.ndarray:
    lean = rng.uniform(-35, 10)
    arms = draw_arms(rng, {"prop-behind": 4} if lean < -12 else {"knee": 2, "lap": 2, "explaining": 1, "free": 1})
    root = quats.about("x", np.radians(lean))
    high = rng.uniform(0, 50)
    return _pose(
        rng, root, arms, flex=(88 + lean, 92 + lean + high), knee=(2 * high, 2 * high + 8), out=(-5, 20), abduct=(0, 25), bend=(0, 30)
    )


_POSES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "lie-back": _back, "lie-front": _front, "lie-side": _side, "sit-crossed": _crossed, "sit-stretched": _stretched,
}  # fmt: skip
RESTING = tuple(_POSES)


def resting_keys(rng: np.random.Generator, name: str, seconds: float) -> Keys:
    """At least ``seconds`` of lying or sitting on the ground: small moves about one pose, the arms between several."""
    first = _POSES[name](rng)
    poses, times = [first, first], [0.0, rng.uniform(0.3, 1.5)]
    while times[-1] < seconds or len(poses) < 4:
        pose = quats.slerp(first, _POSES[name](rng), np.array(0.3))
        pose[0] = first[0]
        times += hold_after_move(rng, poses[-1], pose, times[-1])
        poses += [pose, pose]
    count = len(poses)
    return Keys(np.array(times), limits.clamp(np.stack(poses)), np.zeros((count, 2)), np.zeros(count), np.ones(count - 1, bool))
