"""A model whose networks compute in bfloat16: an option, and never the same numbers."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.errors import HpsbenchError
from hpsbench.models.base import Model


def in_bfloat16(model: Model, device: torch.device) -> Model:
    """A copy of the model whose networks (attributes that are torch modules) multiply and convolve in bfloat16, and answer in float32.

    What it computes beside them stays as it is. Raises HpsbenchError where it has no network.
    """
    networks = {name: value for name, value in vars(model).items() if isinstance(value, nn.Module)}
    if not networks:
        raise HpsbenchError(
            f"Model '{model.card.name}' has no torch network among its attributes that could run in bfloat16. Leave --dtype at float32."
        )
    model = copy.copy(model)
    for name, network in networks.items():
        network = copy.deepcopy(network)
        for module in (network, *network.children()):
            module.forward = _Autocast(module.forward, device.type)
        setattr(model, name, network)
    return model


class _Autocast:
    """Calls a module's forward under autocast, in whichever thread it is called: autocast is set for each thread alone."""

    def __init__(self, forward: Callable[..., Any], device: str):
        self.forward, self.device = forward, device

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(self.device, dtype=torch.bfloat16):
            answer = self.forward(*args, **kwargs)
        return _in_float32(answer)


def _in_float32(answer: Any) -> Any:
    """The answer of a network with every bfloat16 tensor in it as float32."""
    if isinstance(answer, Tensor):
        return answer.float() if answer.dtype == torch.bfloat16 else answer
    if isinstance(answer, tuple) and hasattr(answer, "_fields"):
        return type(answer)(*map(_in_float32, answer))
    if isinstance(answer, list | tuple):
        return type(answer)(map(_in_float32, answer))
    if isinstance(answer, Mapping):
        return {key: _in_float32(value) for key, value in answer.items()}
    if is_dataclass(answer):
        return replace(answer, **{name: _in_float32(getattr(answer, name)) for name in answer.__dataclass_fields__})
    return answer
