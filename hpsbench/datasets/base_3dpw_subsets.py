"""3DPW's subsets by occlusion: which sequences, and which frames of them. A sample keeps the id that it has in its split."""

from hpsbench.errors import UnknownNameError
from hpsbench.store import sha256_of_bytes

# {"split/sequence": (first frame, end), or None for all of it}, in the order of a dataset of all splits.
Listed = dict[str, tuple[int, int] | None]

# Zhang et al. 2020 name prefixes of sequences ("courtyard_basketball" without its number); PARE and ROMP have the same ones. This is what
# they stand for over all three splits. Training on 3DPW's train split is training on 13 of these 23 sequences.
_OCC = """train/courtyard_backpack_00 train/courtyard_basketball_00 train/courtyard_bodyScannerMotions_00 train/courtyard_box_00
    train/courtyard_golf_00 train/courtyard_jacket_00 train/courtyard_laceShoe_00 train/outdoors_climbing_00 train/outdoors_climbing_01
    train/outdoors_climbing_02 train/outdoors_freestyle_00 train/outdoors_slalom_00 train/outdoors_slalom_01
    validation/courtyard_basketball_01 validation/outdoors_crosscountry_00 validation/outdoors_freestyle_01 validation/outdoors_golf_00
    validation/outdoors_parcours_00 validation/outdoors_parcours_01
    test/downtown_stairs_00 test/flat_guitar_01 test/flat_packBags_00 test/outdoors_fencing_01"""

SUBSETS: dict[str, Listed] = {
    "occ": dict.fromkeys(_OCC.split()),
    # ROMP. Its code walks range(first, end): the end is not in. Of two ranges that it lists for one sequence the last one counts there.
    "pc": {
        "train/courtyard_basketball_00": (200, 280),
        "train/courtyard_captureSelfies_00": (500, 600),
        "train/courtyard_dancing_01": (60, 270),
        "validation/courtyard_dancing_00": (60, 370),
        "validation/courtyard_hug_00": (100, 500),
        "test/downtown_bus_00": (1620, 1900),
    },
    # 3DCrowdNet.
    "crowd": {"validation/courtyard_dancing_00": None, "validation/courtyard_hug_00": None},
}


def subset_sha256(name: str) -> str:
    """SHA-256 over the lines "train/courtyard_golf_00", or "test/downtown_bus_00 1620 1900", of a subset in order.

    Raises UnknownNameError.
    """
    if name not in SUBSETS:
        raise UnknownNameError(name, "subset of 3DPW", SUBSETS)
    lines = (" ".join(map(str, (sequence, *(frames or ())))) for sequence, frames in SUBSETS[name].items())
    return sha256_of_bytes("".join(f"{line}\n" for line in lines).encode())
