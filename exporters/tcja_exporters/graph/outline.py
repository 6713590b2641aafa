"""The outline of a network for a drawing: its layers in the order in which they run, and what each of them reads.

A layer that a network runs several times on the same layers, as a loop over the time steps does, is there once.

A layer is a product with a weight, a spiking layer, a pooling, an attention block, or an operator that joins two
branches. All other operators, such as those that only change a shape, are part of the layer before them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

import onnx

from tcja_exporters import custom_op
from tcja_exporters.costs.graph import POOLS, PRODUCTS, SizedGraph, attribute
from tcja_runtime.bundle.network_signature import NetworkSignature

Kind = Literal["input", "product", "spiking", "pooling", "attention", "unjudged", "join", "output"]

_GATE = ".gate"
_JOINS = {"Add": "sum", "Sub": "difference", "Mul": "product", "Concat": "concatenation", "MatMul": "matrix product"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """A layer of an outline.

    Attributes:
        kind: what the layer is.
        name: the name of its PyTorch module, or of the input or output; empty for an operator without a module.
        about: what it does, such as "convolution 3 x 3".
        shape: the shape of what it returns, without time and batch; empty if it is not known.
        sources: the places, in the outline, of the layers that it reads; each is smaller than its own place.
    """

    kind: Kind
    name: str
    about: str
    shape: tuple[int, ...] = ()
    sources: tuple[int, ...] = ()


def outline(model: onnx.ModelProto, signature: NetworkSignature) -> list[Block]:
    """Return the layers of a network in the order in which they run: the input first, the output last.

    Args:
        model: the canonical model, with TcjaLif nodes.
        signature: its signature.

    Raises:
        BadInput: the shape of a tensor is not known.
    """
    return _Outline(SizedGraph.of(model, 1), signature).blocks()


class _Outline:
    """Makes the outline of a graph.

    Args:
        graph: the graph, with shapes for one window.
        signature: the signature of the network.
    """

    def __init__(self, graph: SizedGraph, signature: NetworkSignature) -> None:
        self._graph, self._signature = graph, signature
        contract = signature.input
        self._blocks = [Block(kind="input", name=contract.name, about="input", shape=contract.shape)]
        # For each tensor, the places of the layers that it is computed from, without layers in between.
        self._from: dict[str, frozenset[int]] = {name: frozenset((0,)) for name in graph.inputs}
        self._inside: dict[str, tuple[Kind, str]] = {
            **{each.name: ("unjudged", f"fires, is not judged ({each.kind})") for each in signature.unjudged},
            **{tap.name.removesuffix(_GATE): ("attention", "attention") for tap in signature.taps if tap.is_gate},
        }
        self._inside.pop("", None)  # the network itself
        self._places: dict[str, int] = {}
        self._times: dict[Block, int] = {}  # how many nodes each layer has

    def blocks(self) -> list[Block]:
        """Return the layers."""
        layers = {layer.name: layer.shape for layer in self._signature.layers}
        for node in self._graph.nodes:
            module, sources = node.name.rpartition("/")[0], self._sources(node.input)
            around = self._around(module)
            if around:
                self._add_inside(node, around, sources)
            elif node.op_type == custom_op.NAME and module in layers:
                self._add(node, Block(kind="spiking", name=module, about="spiking layer", shape=layers[module]))
            elif node.op_type in PRODUCTS and sum(bool(self._from.get(name)) for name in node.input[:2]) == 1:
                self._add(node, self._product(node, module))
            elif node.op_type in POOLS:
                self._add(node, self._pooling(node, module))
            elif len({self._from[name] for name in node.input if self._from.get(name)}) > 1:
                about = _JOINS.get(node.op_type, node.op_type)
                self._add(node, Block(kind="join", name=module, about=about))
            else:
                self._from.update(dict.fromkeys(node.output, sources))
        end = self._sources([self._signature.output])
        name, shape = self._signature.output, self._signature.output_shape
        self._blocks.append(Block(kind="output", name=name, about="output", shape=shape, sources=tuple(sorted(end))))
        return [self._told(block) for block in self._blocks]

    def _told(self, block: Block) -> Block:
        """Return a block that says how often its layer runs, if it runs several times."""
        times = self._times.get(block, 1)
        return block if times == 1 else dataclasses.replace(block, about=f"{block.about}, {times} times")

    def _sources(self, tensors: Iterable[str]) -> frozenset[int]:
        return frozenset().union(*(self._from.get(name, frozenset()) for name in tensors))

    def _add(self, node: onnx.NodeProto, block: Block) -> None:
        found = dataclasses.replace(block, sources=tuple(sorted(self._sources(node.input))))
        if found not in self._times:
            self._blocks.append(found)
        self._times[found] = self._times.get(found, 0) + 1
        self._from.update(dict.fromkeys(node.output, frozenset((self._blocks.index(found),))))

    def _around(self, module: str) -> str:
        """Return the module with a block of its own that a module is in; empty if there is none."""
        parts = module.split(".")
        names = (".".join(parts[:n]) for n in range(1, len(parts) + 1))
        return next((name for name in names if name in self._inside), "")

    def _add_inside(self, node: onnx.NodeProto, around: str, sources: frozenset[int]) -> None:
        """Add a node to the block of the module that it is in, which is made at the module's first node."""
        if not sources:  # a constant
            return
        if around not in self._places:
            kind, about = self._inside[around]
            self._places[around] = len(self._blocks)
            self._blocks.append(Block(kind=kind, name=around, about=about))
        place = self._places[around]
        before = {*self._blocks[place].sources, *(source for source in sources if source < place)}
        self._blocks[place] = dataclasses.replace(self._blocks[place], sources=tuple(sorted(before)))
        self._from.update(dict.fromkeys(node.output, frozenset((place,))))

    def _product(self, node: onnx.NodeProto, module: str) -> Block:
        shape = self._graph.shape(node.output[0])
        if node.op_type not in ("Conv", "ConvTranspose"):
            return Block(kind="product", name=module, about="linear", shape=shape[-1:])
        kernel, group = self._graph.shape(node.input[1])[2:], attribute(node, "group", 1)
        groups = f", {group} groups" if group > 1 else ""
        kind = "transposed convolution" if node.op_type == "ConvTranspose" else "convolution"
        about = f"{kind} {_by(kernel)}{groups}"
        return Block(kind="product", name=module, about=about, shape=shape[-1 - len(kernel) :])

    def _pooling(self, node: onnx.NodeProto, module: str) -> Block:
        kernel: Sequence[int] = attribute(node, "kernel_shape", [])
        kind = "max pooling" if node.op_type == "MaxPool" else "average pooling"
        shape = self._graph.shape(node.output[0])[-1 - len(kernel) :]
        return Block(kind="pooling", name=module, about=f"{kind} {_by(kernel)}", shape=shape)


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
