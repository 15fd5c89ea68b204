"""What can be measured: one row per metric, the functions in the files beside."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric: its key in protocol files, its name in tables, the unit of tables and the factor to it from metres, radians or hits.

    ``needs``: what the prediction and the truth must both give: "joints", "mesh", "rotations" or "track" (joints of the
    neighbouring frames). Smaller is better for all but those with ``higher_is_better``.
    """

    key: str
    title: str
    unit: str
    factor: float
    needs: str
    what: str
    higher_is_better: bool = False


_MM = 1000.0
_DEGREES = 57.29577951308232
_PERCENT = 100.0

METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("mpjpe", "MPJPE", "mm", _MM, "joints", "distance of each joint, both sides relative to their own root"),
        Metric("pa_mpjpe", "PA-MPJPE", "mm", _MM, "joints", "distance of each joint after the similarity that fits the prediction best"),
        Metric("pve", "PVE", "mm", _MM, "mesh", "mean distance of the vertices of both meshes, translations left out"),
        Metric("pa_pve", "PA-PVE", "mm", _MM, "mesh", "mean distance of the vertices after the similarity that fits them best"),
        Metric("mpjae", "MPJAE", "deg", _DEGREES, "rotations", "angle between the global rotations of the challenge's nine joints"),
        Metric("pa_mpjae", "PA-MPJAE", "deg", _DEGREES, "rotations", "MPJAE after the rotation of the joints' best similarity"),
        Metric("accel", "ACCEL", "mm/frame^2", _MM, "track", "distance of the second differences over three consecutive frames"),
        Metric("pck", "PCK", "%", _PERCENT, "joints", "joints whose MPJPE is below the protocol's threshold", True),
        Metric("auc", "AUC", "%", _PERCENT, "joints", "mean of the PCKs over the protocol's range of thresholds", True),
        Metric("pa_pck", "PA-PCK", "%", _PERCENT, "joints", "PCK after the similarity of PA-MPJPE", True),
        Metric("pa_auc", "PA-AUC", "%", _PERCENT, "joints", "AUC after the similarity of PA-MPJPE", True),
    )
}
