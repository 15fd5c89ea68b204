"""Invertible networks of affine coupling layers, exact in both directions.

The IK direction turns joints into a pose, the FK direction a pose into joints. For layer i with mask m, x kept = m x:
    IK, i = 0 .. n-1:   x <- kept + (1 - m) (x exp(s) + t)        logdet += sum s
    FK, i = n-1 .. 0:   x <- kept + (1 - m) ((x - t) exp(-s))     logdet -= sum s
with s = S_i(kept) (1 - m) and t = T_i(kept) (1 - m). Source: Li et al., NIKI, CVPR 2023, and its released code.
"""

import torch
from torch import Tensor, nn


def alternating_masks(couplings: int, size: int) -> Tensor:
    """Masks (couplings, size): 0, 1, 0, 1 ... in the even layers, 1, 0, 1, 0 ... in the odd ones."""
    return ((torch.arange(size) + 1 + torch.arange(couplings)[:, None]) % 2 == 0).float()


def coupling_net(inputs: int, hidden: int, outputs: int, *, bounded: bool, gap: bool, dropout: float = 0.0) -> nn.Sequential:
    """Three linear layers with leaky ReLU; ``bounded`` ends in tanh; ``gap`` leaves a place before each ReLU (dropout or nothing)."""
    layers: list[nn.Module] = []
    for before in (inputs, hidden):
        layers.append(nn.Linear(before, hidden))
        if gap:
            layers.append(nn.Dropout(dropout) if dropout else nn.Identity())
        layers.append(nn.LeakyReLU(0.01))
    layers.append(nn.Linear(hidden, outputs))
    return nn.Sequential(*layers, nn.Tanh()) if bounded else nn.Sequential(*layers)


class CouplingFlow(nn.Module):
    """Vectors (B, size) to vectors (B, size) and back; both directions give (vector, logdet (B,))."""

    def __init__(self, size: int, hidden: int = 512, couplings: int = 16, *, gap: bool = True, dropout: float = 0.0):
        super().__init__()
        self.register_buffer("mask", alternating_masks(couplings, size))
        kind = {"gap": gap, "dropout": dropout}
        self.t = nn.ModuleList(coupling_net(size, hidden, size, bounded=False, **kind) for _ in range(couplings))
        self.s = nn.ModuleList(coupling_net(size, hidden, size, bounded=True, **kind) for _ in range(couplings))

    def masks(self) -> Tensor:
        """The masks (couplings, size), one row per layer."""
        return self.mask

    def raw_scale_shift(self, layer: int, kept: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """S and T of a layer for the kept coordinates (B, size), before the mask is applied to them."""
        return self.s[layer](kept), self.t[layer](kept)

    def ik_layer(self, layer: int, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One layer in the IK direction: (x (B, size), logdet (B,))."""
        mask = self.masks()[layer]
        kept = x * mask
        s, t = (raw * (1 - mask) for raw in self.raw_scale_shift(layer, kept, condition))
        return kept + (1 - mask) * (x * s.exp() + t), s.sum(dim=-1)

    def fk_layer(self, layer: int, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One layer in the FK direction: (x (B, size), logdet (B,))."""
        mask = self.masks()[layer]
        kept = x * mask
        s, t = (raw * (1 - mask) for raw in self.raw_scale_shift(layer, kept, condition))
        return kept + (1 - mask) * ((x - t) * (-s).exp()), -s.sum(dim=-1)

    def ik(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Joint side (B, size) to pose side (B, size), and the log-determinant (B,)."""
        total = x.new_zeros(len(x))
        for layer in range(len(self.masks())):
            x, logdet = self.ik_layer(layer, x, condition)
            total = total + logdet
        return x, total

    def fk(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pose side (B, size) to joint side (B, size), and the log-determinant (B,): the exact inverse of ``ik``."""
        total = x.new_zeros(len(x))
        for layer in reversed(range(len(self.masks()))):
            x, logdet = self.fk_layer(layer, x, condition)
            total = total + logdet
        return x, total


class ShapedCouplingFlow(CouplingFlow):
    """A coupling flow whose layers also see ``shape_masks[i]`` times the betas (B, 10) given as ``condition``.

    The released models carry zeros in ``shape_masks``, so that betas change nothing there; ``shaped`` starts with ones instead. What a
    checkpoint holds is honoured.
    """

    def __init__(self, size: int, hidden: int = 512, couplings: int = 16, *, condition: int = 10, shaped: bool = False):
        nn.Module.__init__(self)
        self.register_buffer("jts_masks", alternating_masks(couplings, size))
        self.register_buffer("shape_masks", torch.full((couplings,), float(shaped)))

        def net(bounded: bool) -> nn.ModuleDict:
            return nn.ModuleDict({"encoder": coupling_net(size + condition, hidden, size, bounded=bounded, gap=True)})

        self.jts_nett = nn.ModuleList(net(False) for _ in range(couplings))
        self.jts_nets = nn.ModuleList(net(True) for _ in range(couplings))

    def masks(self) -> Tensor:
        return self.jts_masks

    def raw_scale_shift(self, layer: int, kept: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        assert condition is not None
        seen = torch.cat([kept, self.shape_masks[layer] * condition], dim=-1)
        return self.jts_nets[layer]["encoder"](seen), self.jts_nett[layer]["encoder"](seen)
