"""Batch norms folded into the convolutions before them: exact algebra, so answers move by the rounding of float32 and by nothing else."""

import copy
from collections import Counter
from collections.abc import Iterator

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def traced_parts(net: nn.Module) -> Iterator[tuple[nn.Module, fx.GraphModule]]:
    """The largest parts of a network that hold a convolution and can be traced, each with its graph, which shares its modules.

    What cannot be traced is left out, and its own parts are tried.
    """
    if not any(isinstance(module, CONVOLUTIONS) for module in net.modules()):
        return
    try:
        graph = fx.Tracer().trace(net)
    except Exception:  # the network's own code runs on stand-ins here, and may fail in any way
        for child in net.children():
            yield from traced_parts(child)
        return
    yield net, fx.GraphModule(net, graph)


def called_module(part: fx.GraphModule, node: object) -> nn.Module | None:
    """The module that a node of the graph calls, if it calls one."""
    return part.get_submodule(node.target) if isinstance(node, fx.Node) and node.op == "call_module" else None


def folded(net: nn.Module) -> nn.Module:
    """A copy of a network, in evaluation mode, in which every batch norm that follows a convolution lies in it.

    Folded in float64 by torch's own function. A pair stays as it is where something else uses the convolution's answer too, or where either
    is called more than once. Class, attributes and methods are those of ``net``.
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    parts = list(traced_parts(net))
    calls = Counter(id(called_module(part, node)) for _, part in parts for node in part.graph.nodes)
    for _, part in parts:
        for node in part.graph.nodes:
            conv, norm = _conv_before(part, node), called_module(part, node)
            if conv is not None and calls[id(conv)] == calls[id(norm)] == 1:
                _fold(conv, norm)
                _replace(net, norm, nn.Identity())
    return net


def _conv_before(part: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The convolution whose answer goes to this batch norm and nowhere else."""
    norm = called_module(part, node)
    if not isinstance(norm, _NORMS) or norm.running_var is None or len(node.args) != 1:
        return None
    conv = called_module(part, node.args[0])
    return conv if isinstance(conv, CONVOLUTIONS) and len(node.args[0].users) == 1 else None


def _fold(conv: nn.Module, norm: nn.Module) -> None:
    transposed = isinstance(conv, _TRANSPOSED)
    whole = fuse_conv_bn_eval(copy.deepcopy(conv).double(), copy.deepcopy(norm).double(), transpose=transposed)
    conv.weight, conv.bias = (nn.Parameter(value.to(conv.weight.dtype), requires_grad=False) for value in (whole.weight, whole.bias))


def _replace(net: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` hangs in a network."""
    for path, module in list(net.named_modules(remove_duplicate=False)):
        if module is old:
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, new)
