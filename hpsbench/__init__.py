"""hpsbench: what happens to a 3D human pose and shape model when the person is occluded or cut off."""

from importlib.metadata import version

__version__ = version("hpsbench")
