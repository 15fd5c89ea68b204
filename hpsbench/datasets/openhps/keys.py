"""Key poses over time, and the motion between them."""

from dataclasses import dataclass, replace

import numpy as np

from hpsbench.datasets.openhps import figure, limits, quats


@dataclass(frozen=True)
class Keys:
    """K poses at ``times`` (K,) s, rising: local quaternions ``pose`` (K,24,4), root ``place`` (K,2) m along x and z, and
    ``clearance`` (K,) m between the lowest point of the skin and the ground. ``eased`` (K-1,) tells the moves from rest to rest
    (minimum jerk, ``limits.between``) from those that are sampled motion (linear, ``quats.slerp``); None: all are sampled.
    """

    times: np.ndarray
    pose: np.ndarray
    place: np.ndarray
    clearance: np.ndarray
    eased: np.ndarray | None = None

    @property
    def duration(self) -> float:
        return float(self.times[-1] - self.times[0])

    @property
    def is_eased(self) -> np.ndarray:
        return np.zeros(len(self.times) - 1, bool) if self.eased is None else self.eased

    def __getitem__(self, part: slice) -> "Keys":
        eased = self.is_eased[part.start : part.stop - 1]
        return Keys(self.times[part], self.pose[part], self.place[part], self.clearance[part], eased)

    def straightened(self) -> "Keys":
        """The same motion begun at time 0 and the origin, heading +Z."""
        turn = quats.conjugate(figure.heading(self.pose[0, 0]))
        return replace(self, times=self.times - self.times[0]).moved(turn, -self.place[0])

    def moved(self, turn: np.ndarray, shift: np.ndarray) -> "Keys":
        """Shifted by ``shift`` (2,) m and then turned about Y by the quaternion ``turn`` (4,)."""
        pose = self.pose.copy()
        pose[:, 0] = quats.multiply(turn, pose[:, 0])
        spots = np.stack([self.place[:, 0] + shift[0], 0 * self.place[:, 0], self.place[:, 1] + shift[1]], axis=1)
        return replace(self, pose=pose, place=quats.apply(turn, spots)[:, [0, 2]])

    def mirrored(self) -> "Keys":
        """The motion seen in a mirror that stands in the plane x = 0."""
        return replace(self, pose=figure.mirrored(self.pose), place=self.place * np.array([-1.0, 1.0]))

    def retimed(self, factor: float) -> "Keys":
        """The motion made to last ``factor`` times as long."""
        return replace(self, times=self.times * factor)

    def followed_by(self, other: "Keys", *, seconds: float, forward: float = 0.0) -> "Keys":
        """This motion, a move of ``seconds`` that brings the body ``forward`` m, and ``other``, begun where this one ends and heads.

        With 0 seconds the first pose of ``other`` is taken to be the last one of this motion.
        """
        turn = figure.heading(self.pose[-1, 0])
        step = quats.apply(turn, np.array([0.0, 0.0, forward]))[[0, 2]]
        other = other.straightened().moved(turn, np.zeros(2))
        skip = int(seconds == 0)
        joint = np.array([True] * (1 - skip))
        return Keys(
            np.concatenate([self.times, self.times[-1] + seconds + other.times[skip:]]),
            np.concatenate([self.pose, other.pose[skip:]]),
            np.concatenate([self.place, self.place[-1] + step + other.place[skip:]]),
            np.concatenate([self.clearance, other.clearance[skip:]]),
            np.concatenate([self.is_eased, joint, other.is_eased]).astype(bool),
        )

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pose (N,24,4), place (N,2) and clearance (N,) at ``times`` (N,), held before the first key and after the last one."""
        times = np.clip(times, self.times[0], self.times[-1])
        before = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, len(self.times) - 2)
        s = (times - self.times[before]) / (self.times[before + 1] - self.times[before])
        eased = self.is_eased[before]
        s = np.where(eased, s**3 * (10 - 15 * s + 6 * s**2), s)
        pose = quats.slerp(self.pose[before], self.pose[before + 1], s[:, None, None])
        if eased.any():
            pose[eased] = limits.between(self.pose[before[eased]], self.pose[before[eased] + 1], s[eased])
        place = self.place[before] + s[:, None] * (self.place[before + 1] - self.place[before])
        return pose, place, self.clearance[before] + s * (self.clearance[before + 1] - self.clearance[before])
