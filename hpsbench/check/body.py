"""Says in plain words what a folder of bodies has and lacks."""

from pathlib import Path

from hpsbench.body.bodies import GENDERS, REGRESSORS, Bodies, file_names, load_bodies
from hpsbench.check.report import Report
from hpsbench.errors import BodyError, HpsbenchError

SMPL_SOURCE = "SMPL bodies: free registration at https://smpl.is.tue.mpg.de (non-commercial research licence, no redistribution)."
_REGRESSOR_SOURCE = "It is among the data files of SPIN, HybrIK and NIKI."


def check_body(folder: Path | str | None) -> Report:
    """Which bodies and joint regressors a folder has (None: the embedded ones), and where what is missing has to be put."""
    report = Report()
    try:
        bodies = load_bodies(folder)
    except BodyError as error:
        report.add(False, f"{error} {SMPL_SOURCE}")
        return report
    for gender in GENDERS:
        _check_gender(report, bodies, gender)
    check_regressors(report, bodies)
    return report


def check_regressors(report: Report, bodies: Bodies) -> None:
    """A line for each joint regressor: there and of the right order of joints, or what is wrong with it."""
    for name in REGRESSORS:
        try:
            report.add(True, f"joint regressor '{name}': {tuple(bodies.regressor(name).shape)}")
        except BodyError as error:
            needed = "Most protocols score its joints." if name == "h36m17" else "Only protocols that name it need it."
            report.add(False, f"{error} {needed} {_REGRESSOR_SOURCE}", "error" if name == "h36m17" else "warning")


def _check_gender(report: Report, bodies: Bodies, gender: str) -> None:
    if gender not in bodies.files:
        wanted = ", ".join(file_names(gender))
        needed = "predictions" if gender == "neutral" else f"the ground truth of {gender} people"
        report.add(
            False,
            f"{gender}: no body file in {bodies.folder} or its sub-folder smpl, looked for {wanted}; needed for {needed}. {SMPL_SOURCE}",
            "error" if gender == "neutral" else "warning",
        )
        return
    try:
        body = bodies[gender]
    except HpsbenchError as error:
        report.add(False, f"{gender}: {error}")
        return
    height = float(body.v_template[:, 1].max() - body.v_template[:, 1].min())
    text = f"{gender}: {bodies.files[gender]}, {body.n_vertices} vertices, {len(body.faces)} faces, 24 joints, {height:.2f} m tall"
    good = 1.4 < height < 2.2
    report.add(good, text + ("" if good else "; expected a standing adult in metres, y up"))
