"""Muon: momentum whose matrix is made orthogonal before it is taken, so that a step moves all directions of a layer alike.

Source: Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Of the quintic iteration, which takes singular values of at least a hundredth of the matrix's norm to about 0.7 to 1.2.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
MOMENTUM = 0.95


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U V^T of a matrix U S V^T (N, K), by way of bfloat16; much smaller singular values than the others stay below one."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


def is_kernel(parameter: Tensor) -> bool:
    """Whether Muon is for it: a convolution wider than one pixel, outputs by all else as a matrix."""
    return parameter.dim() == 4 and parameter.shape[-1] > 1


class Muon(torch.optim.Optimizer):
    """Nesterov momentum made orthogonal, for kernels (outputs, ...); ``lr`` is the step's spectral norm for a square one."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step on the gradients that are there; ``closure`` is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self._move(parameter, group["lr"], group["weight_decay"])

    def _move(self, parameter: nn.Parameter, lr: float, weight_decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].mul_(MOMENTUM).add_(parameter.grad)
        ahead = (parameter.grad + MOMENTUM * momentum).flatten(1)
        update = orthogonalised(ahead).reshape(parameter.shape)
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(update, alpha=-lr * max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5)
