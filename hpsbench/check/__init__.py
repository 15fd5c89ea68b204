"""Says in plain words what is there and what is missing: of a dataset's folder, of a folder of bodies, of a model."""

from hpsbench.check.body import check_body
from hpsbench.check.data import check_data
from hpsbench.check.model import check_model, view_batch
from hpsbench.check.report import Report

__all__ = ["Report", "check_body", "check_data", "check_model", "view_batch"]
