"""Whether a model knows what it cannot see: its confidences of hidden joints against those of visible ones."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Confidences:
    """How often each confidence ``values`` (V,), ascending, was given to a ``hidden`` and to a ``visible`` joint (V,); parts add up.

    Exact, and small where confidences are kept as float16, of which there are 65536.
    """

    values: np.ndarray
    hidden: np.ndarray
    visible: np.ndarray

    @classmethod
    def of(cls, confidence: np.ndarray, hidden: np.ndarray, visible: np.ndarray) -> "Confidences":
        """Those of joints in arrays of one shape; NaN and joints that are neither hidden nor visible enter nowhere."""
        kept = ~np.isnan(confidence) & (hidden | visible)
        return cls._counted(confidence[kept], hidden[kept].astype(np.int64), (visible & ~hidden)[kept].astype(np.int64))

    @classmethod
    def _counted(cls, given: np.ndarray, hidden: np.ndarray, visible: np.ndarray) -> "Confidences":
        values, place = np.unique(given, return_inverse=True)
        counts = (np.bincount(place, times, minlength=len(values)).astype(np.int64) for times in (hidden, visible))
        return cls(values, *counts)

    def __add__(self, other: "Confidences") -> "Confidences":
        joined = (np.concatenate(pair) for pair in zip(self._arrays(), other._arrays(), strict=True))
        return self._counted(*joined)

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.values, self.hidden, self.visible

    @property
    def auroc(self) -> float:
        """The chance that a hidden joint has a lower confidence than a visible one, a tie counting half; NaN where either is missing.

        It is the area under the ROC curve of 1 - confidence as a detector of hidden joints: 1/2 says that confidence knows nothing of
        occlusion, below 1/2 that it is higher on hidden joints.
        """
        pairs = int(self.hidden.sum()) * int(self.visible.sum())
        if not pairs:
            return float("nan")
        above = self.visible.sum() - np.cumsum(self.visible)
        return float((self.hidden * (above + self.visible / 2)).sum() / pairs)

    def mean(self, state: str) -> float:
        """The mean confidence of "hidden" or "visible" joints; NaN of none."""
        counts = {"hidden": self.hidden, "visible": self.visible}[state]
        return float((self.values.astype(np.float64) * counts).sum() / counts.sum()) if counts.sum() else float("nan")
