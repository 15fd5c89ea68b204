"""Only what a changed box of the image can reach is computed again: the rest of every map is kept from the clean image.

A convolution's answer changes no farther than its kernel reaches. So the changed box is followed through the network, each operation is run
on the box and what it looks at around it, and where the box has grown to most of a map the network goes on with whole maps. Exact: the same
sums, in another order at most.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from hpsbench.errors import HpsbenchError
from hpsbench.models.nets.folding import called_module
from hpsbench.models.nets.fused import FusedConv, fused_graph, in_order

# Boxes of more than this share of a map are no longer worth the cutting: the map is computed whole.
WHOLE = 0.8
_POINTWISE = (nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.BatchNorm2d)


@dataclass(frozen=True)
class Box:
    """Rows and columns of a map, half open; they may lie beyond it."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def cells(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def around(self, other: "Box") -> "Box":
        """The smallest box around both."""
        return Box(min(self.top, other.top), max(self.bottom, other.bottom), min(self.left, other.left), max(self.right, other.right))

    def within(self, other: "Box") -> "Box":
        """What both have in common."""
        return Box(max(self.top, other.top), min(self.bottom, other.bottom), max(self.left, other.left), min(self.right, other.right))

    def slices(self, origin: "Box | None" = None) -> tuple[Any, slice, slice]:
        """The index of the box in a tensor (B, C, H, W) that begins at ``origin``'s corner (None: that of the map)."""
        top, left = (origin.top, origin.left) if origin else (0, 0)
        return ..., slice(self.top - top, self.bottom - top), slice(self.left - left, self.right - left)


def changed_box(one: Tensor, two: Tensor) -> Box | None:
    """The smallest box outside of which two images (C, H, W) are equal; None where they are equal everywhere."""
    differs = (one != two).any(dim=0)
    rows, columns = (differs.any(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
    return Box(rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if rows else None


@dataclass(frozen=True)
class Reach:
    """What an operation looks at: (vertical, horizontal) pairs, and what stands beyond the map's border."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    beyond: float

    def answers(self, box: Box, shape: tuple[int, int]) -> Box:
        """The cells of an answer of (H, W) cells that look into a box; one of them where none does."""
        spans = []
        for axis, (first, last) in enumerate(((box.top, box.bottom - 1), (box.left, box.right - 1))):
            step, padding = self.stride[axis], self.padding[axis]
            low = -((self.dilation[axis] * (self.kernel[axis] - 1) - padding - first) // step)
            low = min(max(low, 0), shape[axis] - 1)
            spans += [low, max(low + 1, min((last + padding) // step + 1, shape[axis]))]
        return Box(*spans)

    def looked_at(self, box: Box) -> Box:
        """The cells that a box of the answer looks at; some may lie beyond the map."""
        spans = []
        for axis, (first, last) in enumerate(((box.top, box.bottom - 1), (box.left, box.right - 1))):
            step, padding = self.stride[axis], self.padding[axis]
            spans += [first * step - padding, last * step - padding + self.dilation[axis] * (self.kernel[axis] - 1) + 1]
        return Box(*spans)


def reach_of(module: nn.Module | None) -> Reach | None:
    """The reach of an operation on maps, or None where it has none that is known."""
    if isinstance(module, FusedConv):
        return Reach(module.kernel_size, module.stride, module.padding, module.dilation, 0.0)
    if isinstance(module, nn.MaxPool2d) and not module.return_indices:
        return Reach(*(_pair(value) for value in (module.kernel_size, module.stride, module.padding, module.dilation)), -math.inf)
    if isinstance(module, nn.AvgPool2d) and _pair(module.padding) == (0, 0) and not module.ceil_mode and module.divisor_override is None:
        return Reach(_pair(module.kernel_size), _pair(module.stride), (0, 0), (1, 1), 0.0)
    return None


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


@dataclass(frozen=True)
class _Patch:
    """The values (1, C, h, w) of a map inside a box; outside it is as in the clean image."""

    box: Box
    values: Tensor

    def filled(self, clean: Tensor) -> Tensor:
        """The whole map, given that of the clean image."""
        whole = clean.clone()
        whole[self.box.slices()] = self.values
        return whole

    def window(self, clean: Tensor, look: Box, beyond: float) -> Tensor:
        """The map inside a box that may lie partly beyond it, where ``beyond`` stands."""
        shared = self.box.within(look)
        if shared == look:
            return self.values[look.slices(self.box)]
        inside = look.within(Box(0, clean.shape[2], 0, clean.shape[3]))
        if inside == look:
            window = clean[look.slices()].clone(memory_format=torch.channels_last)
        else:
            shape = (*clean.shape[:2], look.bottom - look.top, look.right - look.left)
            window = torch.empty(shape, dtype=clean.dtype, device=clean.device, memory_format=torch.channels_last).fill_(beyond)
            window[inside.slices(look)] = clean[inside.slices()]
        if shared.top < shared.bottom and shared.left < shared.right:
            window[shared.slices(look)] = self.values[shared.slices(self.box)]
        return window


class LocalNet:
    """A network's answers for images that differ from a clean one inside a box, computed inside the box's reach.

    Raises HpsbenchError for a network that cannot be traced as a whole.
    """

    def __init__(self, net: nn.Module):
        graph = fused_graph(net)
        if graph is None:
            raise HpsbenchError(
                f"A {type(net).__name__} cannot be followed layer by layer. Expected a network whose forward torch.fx can trace and that "
                "changes no tensor in place which it uses again; use its ordinary answers."
            )
        self._graph, self._nodes = graph, list(graph.graph.nodes)
        self._modules = {node: called_module(graph, node) for node in self._nodes}
        self._reaches = {node: reach_of(module) for node, module in self._modules.items()}

    def keep(self, image: Tensor) -> dict[fx.Node, Any]:
        """Every value of the network for a clean image (1, C, H, W): what the answers for changed ones start from."""
        values: dict[fx.Node, Any] = {}
        for node in self._nodes:
            values[node] = self._whole(node, values, image)
        return values

    def __call__(self, image: Tensor, kept: Mapping[fx.Node, Any], box: Box | None) -> Any:
        """The network's answer for an image (1, C, H, W) that differs from the clean one in ``box`` only; None: nowhere."""
        if box is None:
            return in_order(kept[self._nodes[-1]])
        values: dict[fx.Node, Any] = {}
        for node in self._nodes:
            if node.op == "placeholder":
                values[node] = _Patch(box, image[box.slices()].contiguous(memory_format=torch.channels_last))
            else:
                values[node] = self._value(node, values, kept, image)
        return in_order(values[self._nodes[-1]])

    def _value(self, node: fx.Node, values: dict[fx.Node, Any], kept: Mapping[fx.Node, Any], image: Tensor) -> Any:
        """A node's value: a patch where its sources are patches and its own box is worth it, else whole."""
        box = self._box(node, values, kept)
        if box is not None:
            return _Patch(box, self._inside(node, box, values, kept))
        for source in node.all_input_nodes:
            if isinstance(values[source], _Patch):
                values[source] = values[source].filled(kept[source])
        return self._whole(node, values, image)

    def _box(self, node: fx.Node, values: Mapping[fx.Node, Any], kept: Mapping[fx.Node, Any]) -> Box | None:
        """Where a node's value changes; None where that is most of it, or not known."""
        clean, sources, reach = kept[node], node.args, self._reaches[node]
        if not sources or node.kwargs or not all(isinstance(source, fx.Node) and isinstance(values[source], _Patch) for source in sources):
            return None
        boxes = [values[source].box for source in sources]
        if reach is not None:
            boxes[0] = reach.answers(boxes[0], clean.shape[2:])
            sources = sources[1:]
        elif node.target not in (torch.relu, torch.add) and not isinstance(self._modules[node], _POINTWISE):
            return None
        if any(kept[source].shape != clean.shape for source in sources):
            return None
        box = reduce(Box.around, boxes)
        return box if box.cells <= WHOLE * clean.shape[2] * clean.shape[3] else None

    def _inside(self, node: fx.Node, box: Box, values: Mapping[fx.Node, Any], kept: Mapping[fx.Node, Any]) -> Tensor:
        """A node's value inside a box."""
        module, reach, sources = self._modules[node], self._reaches[node], node.args
        looks = [box if reach is None or k else reach.looked_at(box) for k in range(len(sources))]
        beyond = 0.0 if reach is None else reach.beyond
        windows = [values[source].window(kept[source], look, beyond) for source, look in zip(sources, looks, strict=True)]
        if isinstance(module, FusedConv):
            return module.unpadded(*windows)
        if isinstance(module, nn.MaxPool2d):
            return F.max_pool2d(windows[0], reach.kernel, reach.stride, 0, reach.dilation)
        if isinstance(module, nn.AvgPool2d):
            return F.avg_pool2d(windows[0], reach.kernel, reach.stride)
        return (node.target if module is None else module)(*windows)

    def _whole(self, node: fx.Node, values: Mapping[fx.Node, Any], image: Tensor) -> Any:
        """A node's value out of whole values."""
        if node.op == "placeholder":
            return image.contiguous(memory_format=torch.channels_last)
        if node.op == "get_attr":
            return attrgetter(node.target)(self._graph)
        args, kwargs = (fx.node.map_arg(given, values.__getitem__) for given in (node.args, node.kwargs))
        if node.op == "output":
            return args[0]
        if node.op == "call_method":
            return getattr(args[0], node.target)(*args[1:], **kwargs)
        return (node.target if node.op == "call_function" else self._modules[node])(*args, **kwargs)
