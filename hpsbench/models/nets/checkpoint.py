"""Checkpoints: read without running code, told apart by their keys, and loaded completely or not at all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hpsbench.errors import WeightsError
from hpsbench.safeload import load_torch
from hpsbench.store import sha256_of_file, write_bytes
from hpsbench.types import Card

_SMPL_PREFIXES = ("smpl.", "smpl_layer.")
_SMPL_BUFFERS = (
    *("faces_tensor", "v_template", "shapedirs", "posedirs", "J_regressor", "J_regressor_h36m"),
    *("children_map", "parents", "lbs_weights"),
)
# Kind of network, and keys that no other kind has. The released ones have names of their own.
_SIGNS = (
    ("hybrik-hrnet48", ("preact.stage4.0.fuse_layers.3.0.0.0.weight", "decsigma.weight")),
    ("hybrik-resnet34", ("preact.layer4.0.conv1.weight", "deconv_layers.0.weight", "decsigma.weight")),
    ("niki-twist-swing", ("flow_j2s.jts_masks", "flow_s2r.mask")),
    ("niki-one-stage", ("flow.mask", "camnet.init_cam")),
    ("HybrIK without camera or uncertainty", ("preact.conv1.weight", "decshape.weight")),
    ("torchvision ResNet", ("layer4.0.conv1.weight", "fc.weight")),
    ("HRNet image classifier", ("stage4.0.fuse_layers.3.0.0.0.weight", "classifier.weight")),
    ("SPIN or HMR", ("decpose.weight", "decshape.weight", "deccam.weight")),
    ("PARE", ("head.keypoint_deconv_layers.0.weight",)),
)


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds: ``state`` (floats as float32), its hash, and for our own files family, configuration and card.

    ``kind``: what the keys look like, in words. ``set_aside``: how many SMPL buffers inside were left out.
    """

    path: Path
    state: Mapping[str, Tensor]
    sha256: str
    kind: str
    set_aside: int = 0
    family: str | None = None
    config: Mapping[str, Any] | None = None
    card: Card | None = None


def kind_of(state: Mapping[str, Tensor]) -> str:
    """The kind of network whose parameters a state_dict holds, in words."""
    for kind, keys in _SIGNS:
        if all(key in state for key in keys):
            return kind
    some = ", ".join(f"'{key}'" for key in list(state)[:3])
    return f"unknown ({len(state)} tensors: {some}, ...)"


def read_checkpoint(path: Path | str) -> Checkpoint:
    """The content of a .safetensors file of ours or of a torch checkpoint. Raises WeightsError.

    A torch checkpoint is a state_dict, or a dictionary with one under "model"; the prefix "regressor." of the released NIKI models is taken
    off, their SMPL buffers are set aside.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}. Check the path.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    loaded = load_torch(path)
    if isinstance(loaded, Mapping) and isinstance(loaded.get("model"), Mapping):
        loaded = loaded["model"]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path} holds no state_dict. Expected parameters by name, or a dictionary with them under 'model'.")
    state = {str(key).removeprefix("regressor."): value for key, value in loaded.items()}
    kept = {key: _float32(value) for key, value in state.items() if not _is_smpl_buffer(key)}
    return Checkpoint(path, kept, sha256_of_file(path), kind_of(kept), set_aside=len(state) - len(kept))


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, "pt") as stream:
            metadata = stream.metadata() or {}
            names = list(stream.keys())
            state = {key: _float32(stream.get_tensor(key)) for key in names}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no whole safetensors file: {error}. Copy or download it again.") from error
    try:
        config, card = json.loads(metadata["config"]), json.loads(metadata["card"])
        card = Card(**card | {"trained_on": tuple(card.get("trained_on", ()))})
        family = config.pop("family")
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} was not written by hpsbench: its metadata lack a sound 'config' or 'card' ({error}).") from error
    return Checkpoint(path, state, sha256_of_file(path), f"{family} (small)", family=family, config=config, card=card)


def write_weights(path: Path | str, module: nn.Module, *, family: str, config: Mapping[str, Any], card: Card) -> None:
    """Write a module as safetensors with its configuration and card, whole or not at all.

    Matrices and kernels are stored as float16, vectors (biases, normalisation, masks) as they are.
    """
    state = {
        key: (value.half() if value.is_floating_point() and value.dim() > 1 else value).detach().cpu().contiguous()
        for key, value in module.state_dict().items()
    }
    metadata = {"config": json.dumps({"family": family, **config}), "card": json.dumps(asdict(card))}
    write_bytes(path, save(state, metadata))


def fill(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a module (may be on the meta device) the checkpoint's parameters. Raises WeightsError unless keys and shapes agree exactly."""
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in checkpoint.state.items()}
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = sorted(key for key in wanted.keys() & found.keys() if wanted[key] != found[key])
    faults = [f"{len(keys)} {word}, e.g. '{keys[0]}'" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    faults += [f"{len(other)} of another shape, e.g. '{other[0]}' {found[other[0]]} where {wanted[other[0]]} is expected"] if other else []
    if faults:
        raise WeightsError(
            f"{checkpoint.path} ({checkpoint.kind}) does not fit: {'; '.join(faults)} of {len(wanted)} entries. Nothing was loaded; "
            "give the checkpoint that belongs to this model."
        )
    broken = [key for key, value in checkpoint.state.items() if not torch.isfinite(value).all()]
    if broken:
        raise WeightsError(
            f"{checkpoint.path} holds NaN or infinite numbers in {len(broken)} entries, e.g. '{broken[0]}'. Use another checkpoint."
        )
    module.load_state_dict(checkpoint.state, strict=True, assign=True)


def _is_smpl_buffer(key: str) -> bool:
    return any(key == prefix + name for prefix in _SMPL_PREFIXES for name in _SMPL_BUFFERS)


def _float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
