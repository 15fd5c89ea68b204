"""SMPL-family bodies: read safely, pose in torch, joints by name."""

from hpsbench.body.bodies import Bodies, load_bodies
from hpsbench.body.files import load_body
from hpsbench.body.model import BodyModel, BodyOutput

__all__ = ["Bodies", "BodyModel", "BodyOutput", "load_bodies", "load_body"]
