"""Networks run faster with the same answers: each convolution does the batch norm, the sum and the ReLU behind it as well.

What a compiler does to a network in a minute, done in a moment by tracing it: float32 on CPUs goes through oneDNN's convolutions with
weights laid out beforehand (operators of torch that its own compiler calls); everything else through the plain operators.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from hpsbench.models.nets.folding import called_module, folded, traced_parts

_RELUS = (torch.relu, F.relu, "relu", "relu_")
_SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
_ALIASES = (nn.Identity, nn.Dropout, nn.Dropout2d)
_OPERATORS = torch.ops.mkldnn
_ONEDNN = torch.backends.mkldnn.is_available() and all(
    hasattr(_OPERATORS, name) for name in ("_convolution_pointwise", "_reorder_convolution_weight")
)


class FusedConv(nn.Module):
    """A 2D convolution with zeros around, plus another map if there is one, and a ReLU at the end if ``relu``.

    The weights are laid out for the first maps that come on a CPU.
    """

    def __init__(self, conv: nn.Conv2d, *, relu: bool):
        super().__init__()
        self.weight, self.bias, self.relu = conv.weight, conv.bias, relu
        self.kernel_size, self.stride, self.padding, self.dilation = conv.kernel_size, conv.stride, conv.padding, conv.dilation
        self.groups = conv.groups
        self._laid_out: Tensor | None = None

    @staticmethod
    def fits(module: nn.Module | None) -> bool:
        """Whether a module is a convolution of the kind that this can stand for."""
        return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """The map (B, C, H, W) of a map (B, C', H', W')."""
        return self._run(x, other, self.padding)

    def unpadded(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """The same without zeros around: of a window of a map, which may have any size.

        A kernel of one cell is a matrix product here: laid out for whole maps, its weights are in the wrong order for many a window, and
        putting them in order takes longer than the convolution.
        """
        if self.kernel_size != (1, 1) or self.groups != 1:
            return self._run(x, other, (0, 0))
        x = x[..., :: self.stride[0], :: self.stride[1]].permute(0, 2, 3, 1)  # B H W C'
        y = F.linear(x.reshape(-1, x.shape[-1]), self.weight.flatten(1), self.bias)  # B*H*W C
        y = y.reshape(*x.shape[:-1], -1).permute(0, 3, 1, 2)
        return self._finish(y if other is None else y.add_(other))

    def _run(self, x: Tensor, other: Tensor | None, padding: tuple[int, int]) -> Tensor:
        if not (_ONEDNN and x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32):
            return self._plain(x, other, padding)
        if self._laid_out is None:
            self._laid_out = _OPERATORS._reorder_convolution_weight(self.weight, *self._numbers(self.padding), list(x.shape))
        given = (self._laid_out, self.bias, *self._numbers(padding))
        relu = "relu" if self.relu else "none"
        if other is None:
            return _OPERATORS._convolution_pointwise(x, *given, relu, [], "")
        if other.shape != self._shape(x, padding):
            return self._finish(_OPERATORS._convolution_pointwise(x, *given, "none", [], "") + other)
        relu = "relu" if self.relu else None
        return _OPERATORS._convolution_pointwise.binary(x, other, *given, "add", 1.0, relu, [], "")

    def _numbers(self, padding: tuple[int, ...]) -> tuple[list[int], list[int], list[int], int]:
        return list(padding), list(self.stride), list(self.dilation), self.groups

    def _shape(self, x: Tensor, padding: tuple[int, int]) -> tuple[int, ...]:
        rows = zip(x.shape[2:], self.kernel_size, self.stride, padding, self.dilation, strict=True)
        sides = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows]
        return (len(x), len(self.weight), *sides)

    def _plain(self, x: Tensor, other: Tensor | None, padding: tuple[int, int]) -> Tensor:
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return self._finish(y if other is None else y + other)

    def _finish(self, y: Tensor) -> Tensor:
        return y.relu_() if self.relu else y


def fused(net: nn.Module) -> nn.Module:
    """``folded``, with convolutions that do the sum and the ReLU behind them too, in every part of the network that can be traced."""
    net = folded(net)
    for root, part in list(traced_parts(net)):
        fits = any(FusedConv.fits(called_module(part, node)) for node in part.graph.nodes)
        if fits and _works_on_copies(part):
            root.forward = _Called(_joined(part))
    return net


def fused_graph(net: nn.Module) -> fx.GraphModule | None:
    """``fused`` for a network that can be traced as a whole: its graph, in which nothing works in place; None for any other one."""
    net = folded(net)
    part = dict(traced_parts(net)).get(net)
    if part is None or not _works_on_copies(part):
        return None
    part = _joined(part)
    for module in part.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    return None if any(_in_place(part, node) for node in part.graph.nodes) else part.to(memory_format=torch.channels_last)


class _Called:
    """A graph whose maps have their channels side by side in memory, between maps in the usual order."""

    def __init__(self, part: fx.GraphModule):
        self.part = part.to(memory_format=torch.channels_last)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return in_order(self.part(*map(_side_by_side, args), **{key: _side_by_side(value) for key, value in kwargs.items()}))


def _side_by_side(value: Any) -> Any:
    return value.contiguous(memory_format=torch.channels_last) if isinstance(value, Tensor) and value.dim() == 4 else value


def in_order(value: Any) -> Any:
    """An answer whose tensors lie in memory in the usual order."""
    if isinstance(value, Tensor):
        return value.contiguous()
    return type(value)(map(in_order, value)) if type(value) in (tuple, list) else value


def _works_on_copies(part: fx.GraphModule) -> bool:
    """Whether every operation in place has its operand for itself, so that it may as well give a new tensor."""
    changed = [_source(part, node.args[0]) for node in part.graph.nodes if _in_place(part, node) and node.args]
    return all(len(node.users) == 1 and node.op != "placeholder" for node in changed)


def _in_place(part: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target.endswith("_")
    if node.op == "call_function":
        return node.target is operator.iadd or bool(node.kwargs.get("inplace")) or (node.target is F.relu and node.args[1:2] == (True,))
    return bool(getattr(called_module(part, node), "inplace", False))


def _source(part: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The node whose tensor a node gives on; itself where it makes one."""
    while isinstance(called_module(part, node), _ALIASES) and len(node.users) == 1:
        node = node.args[0]
    return node


def _joined(part: fx.GraphModule) -> fx.GraphModule:
    """The graph with convolutions joined with what follows, and no other sum or ReLU in place."""
    for node in list(part.graph.nodes):
        if isinstance(called_module(part, node), _ALIASES):
            node.replace_all_uses_with(node.args[0])
            part.graph.erase_node(node)
    for node in list(part.graph.nodes):
        if FusedConv.fits(called_module(part, node)):
            _join(part, node)
    for node in list(part.graph.nodes):
        if _is_relu(part, node):
            _exchange(part.graph, node, torch.relu, node.args[:1])
        elif _is_sum(node):
            _exchange(part.graph, node, torch.add, node.args)
    part.graph.lint()
    part.delete_all_unused_submodules()
    part.recompile()
    return part


def _join(part: fx.GraphModule, node: fx.Node) -> None:
    """Put a FusedConv in the place of a convolution, of the sum that its answer goes into and of the ReLU behind."""
    chain, maps = [node], [node.args[0]]
    after = _only_user(node)
    if after is not None and _is_sum(after):
        chain.append(after)
        maps += [value for value in after.args if value is not node]
        after = _only_user(after)
    relu = after is not None and _is_relu(part, after)
    chain += [after] * relu
    name = f"fused_{node.name}"
    part.add_module(name, FusedConv(called_module(part, node), relu=relu))
    _exchange(part.graph, chain.pop(), name, tuple(maps))
    for gone in reversed(chain):
        part.graph.erase_node(gone)


def _exchange(graph: fx.Graph, node: fx.Node, new: Any, args: tuple) -> None:
    """Put a call of a module (by name) or of a function in the place of a node."""
    with graph.inserting_before(node):
        call = graph.call_module if isinstance(new, str) else graph.call_function
        node.replace_all_uses_with(call(new, args))
    graph.erase_node(node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_relu(part: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(called_module(part, node), nn.ReLU) or (node.op in ("call_function", "call_method") and node.target in _RELUS)


def _is_sum(node: fx.Node) -> bool:
    """Whether a node is the sum of two different values of the graph, without a factor."""
    return (
        node.op in ("call_function", "call_method")
        and node.target in _SUMS
        and len(node.args) == 2
        and not node.kwargs
        and all(isinstance(value, fx.Node) for value in node.args)
        and node.args[0] is not node.args[1]
    )
