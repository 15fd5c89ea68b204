"""What a model is, how one is found by name or file, and the networks that come from checkpoints."""

import copy
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.body.bodies import Bodies
from hpsbench.errors import HpsbenchError, UnknownNameError, WeightsError
from hpsbench.models.ik import niki
from hpsbench.models.nets import hybrik_net
from hpsbench.models.nets.checkpoint import Checkpoint, fill, read_checkpoint
from hpsbench.models.nets.fused import fused
from hpsbench.registry import load_plugin
from hpsbench.store import sha256_of_file
from hpsbench.types import Card, CropSpec, Prediction, ViewBatch

CPU_BLOCK = 1
GPU_BLOCK = 32
# Whose joints the IK stage is given: the image's own (the ordinary answer), the clean image's, or those but for the hidden ones.
STAGES = ("image", "clean", "clean-but-hidden")


class Model:
    """The contract of a model: a card, the crop that it wants (None: it looks at no pixels), and ``predict``.

    It is made as ``cls(weights, bodies, device)``: checkpoints in the order given, the bodies in use, the device that batches
    come on. Its answer for a person must not depend on who else is in the batch.
    """

    card: Card
    crop: CropSpec | None = None
    weights_sha256: str = ""
    # Of the file, where the model is one given as path/to/file.py:Class.
    code_sha256: str = ""
    # The skeleton of the joints that an IK stage of the model is given; None: it has no such stages.
    joint_stage: str | None = None

    def __init__(self, weights: Sequence[Path], bodies: Bodies, device: torch.device):
        self.bodies, self.device = bodies, device

    def predict(self, batch: ViewBatch) -> Prediction:
        """The answer for a batch, on its device."""
        raise NotImplementedError

    def without_flips(self) -> "Model":
        """The same model, answering without an average over the crop and its mirror image; itself where it takes none."""
        return self

    def faster(self) -> "Model":
        """The same model with the networks among its attributes ``fused``: answers within float32's rounding, not bit for bit the same.

        What cannot be traced stays as it is.
        """
        model = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, nn.Module):
                setattr(model, name, fused(value))
        return model

    def slide(self, clean: ViewBatch, batch: ViewBatch) -> Prediction:
        """The answer for a batch of crops that are those of ``clean``, row by row, but for a patch; like ``predict`` to float32's rounding.

        A model that can leave out the work beyond a patch's reach does so here, the more the longer one clean crop goes on from row to row.
        """
        return self.predict(batch)

    def stages(self, clean: ViewBatch, batch: ViewBatch, hidden: Tensor) -> dict[str, Prediction] | None:
        """The answers for a batch when its IK stage is given other joints, by the names in STAGES; None: the model has no such stages.

        ``clean`` and ``hidden`` as in ``JointStageModel.stages``; ``hidden`` is in the skeleton ``joint_stage``.
        """
        return None


def unflipped(net: nn.Module) -> nn.Module:
    """A network of the same weights whose configuration has no flip test."""
    net = copy.copy(net)
    net.config = replace(net.config, flip=False)
    return net


def pick_device(name: str) -> torch.device:
    """The device of a name; "auto" takes CUDA where there is one. Raises HpsbenchError where CUDA is asked for and absent."""
    available = torch.cuda.is_available()
    if name.startswith("cuda") and not available:
        raise HpsbenchError("Device 'cuda' was asked for, but torch sees none. Use --device cpu, or install a CUDA build of torch.")
    return torch.device("cuda" if name == "auto" and available else name.replace("auto", "cpu"))


def load_model(spec: str, *, weights: Sequence[Path | str] = (), bodies: Bodies, device: torch.device) -> Model:
    """The model of a spec: a registered name, ``name:FILE`` (FILE becomes its first weights) or ``path/to/file.py:Class``.

    Raises UnknownNameError, WeightsError, or HpsbenchError where the class is not a model.
    """
    path, _, class_name = spec.rpartition(":")
    code_sha256 = ""
    if path.endswith(".py") or spec.endswith(".py"):
        cls, given = _class_in_file(path, class_name), list(weights)
        code_sha256 = sha256_of_file(path)
    else:
        name, _, argument = spec.partition(":")
        cls, given = load_plugin("model", name), [argument] * bool(argument) + list(weights)
    given = tuple(Path(file) for file in given)
    for file in given:
        if not file.is_file():
            raise WeightsError(f"There is no file {file}, which was given to model '{spec}'. Check the path.")
    try:
        model = cls(given, bodies, device)
    except TypeError as error:
        raise HpsbenchError(
            f"Model '{spec}' could not be made: {error}. Expected a class called as Class(weights, bodies, device)."
        ) from error
    _check_contract(model, spec)
    model.code_sha256 = code_sha256
    if given and not model.weights_sha256:
        model.weights_sha256 = joint_sha256([sha256_of_file(file) for file in given])
    return model


def joint_sha256(hashes: Sequence[str]) -> str:
    """One hash for several files: of a single one its own, else the hash of theirs."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _class_in_file(path: str, name: str) -> type:
    if not Path(path).is_file() or not path.endswith(".py"):
        raise HpsbenchError(f"There is no model '{path}:{name}'. Expected path/to/file.py:Class, with a file that is there.")
    module_name = f"hpsbench_model_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise HpsbenchError(f"Model file {path} cannot be imported ({error!r}). Mend it, or install what it needs.") from error
    found = vars(module).get(name)
    if not isinstance(found, type):
        raise UnknownNameError(name, f"class in {path}", [key for key, value in vars(module).items() if isinstance(value, type)])
    return found


def _check_contract(model: Any, spec: str) -> None:
    if not isinstance(getattr(model, "card", None), Card) or not callable(getattr(model, "predict", None)):
        raise HpsbenchError(
            f"Model '{spec}' does not keep the contract. Expected an hpsbench.types.Card as 'card', a CropSpec or None as 'crop' and a "
            "method predict(batch); deriving it from hpsbench.models.base.Model is the easy way."
        )
    for key, default in (("crop", None), ("weights_sha256", ""), ("joint_stage", None)):
        if not hasattr(model, key):
            setattr(model, key, default)


@dataclass(frozen=True)
class Family:
    """A kind of network: how it is built of a configuration, how that is read, and the released ones by checkpoint kind."""

    build: Callable[[Any], nn.Module]
    from_record: Callable[[Mapping[str, Any]], Any]
    released: Mapping[str, Any]


FAMILIES = {
    "hybrik": Family(
        hybrik_net.HybrikNet,
        hybrik_net.HybrikConfig.from_record,
        {"hybrik-resnet34": hybrik_net.RESNET34, "hybrik-hrnet48": hybrik_net.HRNET48},
    ),
    "niki": Family(
        niki.build_niki,
        niki.NikiConfig.from_record,
        {"niki-twist-swing": niki.TWIST_SWING, "niki-one-stage": niki.ONE_STAGE},
    ),
}


# What tables call the released checkpoints, and what NIKI's two were trained on.
_RELEASED = {
    "hybrik-resnet34": ("ResNet-34", ()),
    "hybrik-hrnet48": ("HRNet-W48", ()),
    "niki-twist-swing": ("twist-and-swing", ("h36m/train", "3dpw/train", "3dhp/train")),
    "niki-one-stage": ("one-stage", ("h36m/train", "3dpw/train", "3dhp/train")),
}


def card_of(checkpoint: Checkpoint, family: Card) -> Card:
    """The card inside a checkpoint of ours; for a released one the card of its ``family``, with what this checkpoint is."""
    if checkpoint.card is not None:
        return checkpoint.card
    variant, trained_on = _RELEASED[checkpoint.kind]
    what = f"{family.what}; the released {variant} checkpoint"
    return replace(family, name=f"{family.name}.official", what=what, revision=checkpoint.sha256, trained_on=trained_on)


def family_of(checkpoint: Checkpoint) -> str | None:
    """The family ("hybrik", "niki") that a checkpoint belongs to, or None."""
    return checkpoint.family or next((name for name, family in FAMILIES.items() if checkpoint.kind in family.released), None)


def bundled(family: str) -> Path:
    """The weights that ship with the package. Raises WeightsError where this copy has none."""
    path = Path(str(files("hpsbench.models").joinpath("weights", f"{family}.openhps.safetensors")))
    if not path.is_file():
        raise WeightsError(
            f"This copy of hpsbench has no bundled weights {path.name}. Make them with `hpsbench train {family}`, or give --weights."
        )
    return path


def build_network(checkpoint: Checkpoint, family: str, device: torch.device) -> nn.Module:
    """The network of a checkpoint, in evaluation mode on the device. Raises WeightsError where it belongs to another family."""
    if family_of(checkpoint) != family:
        known = ", ".join(FAMILIES[family].released)
        raise WeightsError(
            f"{checkpoint.path} looks like: {checkpoint.kind}. Expected weights of {family}: a released checkpoint ({known}) or a "
            ".safetensors file of `hpsbench train`."
        )
    kind = FAMILIES[family]
    try:
        config = kind.from_record(checkpoint.config) if checkpoint.config is not None else kind.released[checkpoint.kind]
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"{checkpoint.path} was written by another version of hpsbench: {error}. Use the version that wrote it."
        ) from error
    with torch.device("meta"):
        network = kind.build(config)
    fill(network, checkpoint)
    return network.eval().requires_grad_(False).to(device)


def checkpoints_by_family(weights: Sequence[Path], families: Sequence[str]) -> dict[str, Checkpoint]:
    """The checkpoints a model was given, by family; the bundled ones where none were given.

    Raises WeightsError for a foreign checkpoint, two of one family, or a released checkpoint without its companions: those were trained on
    each other's output and mean nothing beside the bundled ones.
    """
    given = [read_checkpoint(path) for path in weights]
    found: dict[str, Checkpoint] = {}
    for checkpoint in given:
        family = family_of(checkpoint)
        if family not in families or family in found:
            reason = "a second one of that kind" if family in found else f"looks like: {checkpoint.kind}"
            raise WeightsError(f"{checkpoint.path}: {reason}. Expected one checkpoint of each of: {', '.join(families)}.")
        found[family] = checkpoint
    absent = [family for family in families if family not in found]
    if absent and any(checkpoint.card is None for checkpoint in given):
        raise WeightsError(
            f"{given[0].path} ({given[0].kind}) needs a checkpoint of {' and '.join(absent)} beside it: give --weights for each."
        )
    return {family: found.get(family) or read_checkpoint(bundled(family)) for family in families}


def in_blocks(answer: Callable[..., dict[str, Tensor]], batch: ViewBatch, *more: Tensor) -> dict[str, Tensor]:
    """``answer`` for the batch in blocks of one fixed size: one person on a CPU; 32 on a GPU, the last block filled up with copies.

    So nobody's numbers depend on the batch: which kernel a layer takes, hence the order in which it adds, changes with the shape.
    On a CPU each person has one thread, so they do not depend on the number of threads either. Without gradients. ``answer`` also gets
    its block's rows of ``more``.
    """
    cpu = batch.squares_xyxy.device.type == "cpu"
    size, last = CPU_BLOCK if cpu else GPU_BLOCK, len(batch) - 1
    chosen = [[min(row, last) for row in range(start, start + size)] for start in range(0, len(batch), size)]
    blocks = [(rows_of(batch, rows), *(tensor[rows] for tensor in more)) for rows in chosen]
    answer = torch.inference_mode()(answer)
    parts = _one_thread_each(answer, blocks) if cpu else [answer(*block) for block in blocks]
    return {key: torch.cat([part[key] for part in parts])[: len(batch)] for key in parts[0]}


def _one_thread_each(answer: Callable[..., dict[str, Tensor]], blocks: list[tuple]) -> list[dict[str, Tensor]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda block: answer(*block), blocks))
    finally:
        torch.set_num_threads(threads)


def rows_of(batch: ViewBatch, rows: list[int]) -> ViewBatch:
    """Some rows of a batch, in the order given."""
    crops = None if batch.crops is None else batch.crops[rows]
    return ViewBatch(tuple(batch.ids[row] for row in rows), crops, batch.squares_xyxy[rows], batch.intrinsics[rows])
