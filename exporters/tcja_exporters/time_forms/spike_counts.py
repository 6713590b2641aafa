"""Adds the output `spike_counts` to a plain model: the number of spikes of each layer at each time step.

    spike_counts [N, layers, T] int32        layers in the order in which they fire

So a deployed model tells what it fires (`tcja_deploy.parity.engine`). All sums are exact:

    for ONNX Runtime    one sum of the spikes in float32
    for TensorRT        If the spikes of a layer are packed into words (`tcja_exporters.time_forms.fused`), these are
                        read once more, unpacked and added up in one kernel. In other layers a convolution with ones
                        adds up the channels of each place, at most 2,048 of them in float16; then the places are added
                        up in float32.

Words are unpacked as w / 2^(t+1) - floor(w / 2^(t+1)), doubled and rounded down: other operations than those that
unpack them for the next layer, or TensorRT would compute both at once and write all spikes into memory. Any other sum
of spikes is fused into the kernel that fires them, and then the build does not end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tcja_exporters.time_forms.nodes import FLOAT_BITS, HALF_BITS, Nodes
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.model_file.tensor_names import PLACES, SPIKE_COUNTS, spikes_tensor

MOST_NEURONS = 2**FLOAT_BITS
"""The largest number of neurons of a layer whose spikes are counted: larger sums in float32 are rounded."""

_EXACT = {np.float16: 2**HALF_BITS, np.float32: MOST_NEURONS}
"""By type, the largest number of ones whose sum is exact in any order."""


def count_spikes(
    plain: onnx.ModelProto, layers: Sequence[Layer], time_steps: int, *, fuses: bool = False
) -> onnx.ModelProto:
    """Return a copy of a plain model that has the output `spike_counts`.

    Args:
        plain: a model in standard operators that has a tensor with the spikes of each layer. So no Scan may contain
            pooling.
        layers: the spiking layers, in the order in which they fire. Each has at most `MOST_NEURONS` neurons.
        time_steps: the number of time steps, T.
        fuses: whether the model is for TensorRT, which fuses sums.
    """
    counted = onnx.ModelProto()
    counted.CopyFrom(plain)
    graph = counted.graph
    batch = graph.output[0].type.tensor_type.shape.dim[0].dim_param
    rows = []
    for layer in layers:
        at = Nodes(f"{SPIKE_COUNTS}/{layer.name}/", f"{SPIKE_COUNTS}/{layer.name}/")
        words = words_of(graph, layer.name) if fuses else []
        if words:
            found = _sum_of_words(at, words, layer, time_steps)
        else:
            found = _sum_of_places(at, graph, layer) if fuses else _sum(at, layer)
        steps = at.op("Reshape", [found, at.constant("steps", [1, time_steps, -1], np.int64)], "by_step")
        rows.append(at.op("Transpose", [steps], "counts", perm=[2, 0, 1]))
        _add(graph, at)
    at = Nodes(f"{SPIKE_COUNTS}/", "")
    at.op("Cast", [at.op("Concat", rows, f"{SPIKE_COUNTS}/all", axis=1)], SPIKE_COUNTS, to=TensorProto.INT32)
    _add(graph, at)
    shape = [batch, len(layers), time_steps]
    graph.output.append(helper.make_tensor_value_info(SPIKE_COUNTS, TensorProto.INT32, shape))
    return counted


def _add(graph: onnx.GraphProto, at: Nodes) -> None:
    graph.node.extend(at.nodes)
    graph.initializer.extend(at.constants.values())


def _sum(at: Nodes, layer: Layer) -> str:
    """Add the nodes that add up a layer's spikes; return the name of the sums, float32 [T * N]."""
    rows = at.constant("rows", [-1, math.prod(layer.shape)], np.int64)
    flat = at.op("Reshape", [spikes_tensor(layer.name), rows], "by_window")
    return at.op("ReduceSum", [flat, at.constant("axes", [1], np.int64)], "sum", keepdims=0)


def words_of(graph: onnx.GraphProto, layer: str) -> list[str]:
    """Return the names of the words of a layer, block by block; none if its spikes are not packed."""
    made = {name for node in graph.node for name in node.output if name.startswith(f"{layer}/")}
    names = itertools.takewhile(made.__contains__, (f"{layer}/{block}/words" for block in itertools.count()))
    return list(names)


def _sum_of_words(at: Nodes, words: Sequence[str], layer: Layer, time_steps: int) -> str:
    """Add the nodes that add up a layer's packed spikes; return the name of the sums, float32 [T, N]."""
    blocks, sums = np.array_split(np.arange(time_steps), len(words)), []
    for block, word in enumerate(words):
        steps = len(blocks[block])
        by_window = at.constant("by_window", [1, -1, math.prod(layer.shape)], np.int64)
        rows = at.op("Reshape", [word, by_window], f"{block}/words")
        shares = at.constant(f"shares_{steps}", (0.5 ** np.arange(1, steps + 1)).reshape(-1, 1, 1))
        shifted = at.op("Mul", [rows, shares], f"{block}/shifted")
        rest = at.op("Sub", [shifted, at.op("Floor", [shifted], f"{block}/whole")], f"{block}/rest")
        spikes = at.op("Floor", [at.op("Add", [rest, rest], f"{block}/twice")], f"{block}/spikes")
        sums.append(at.op("ReduceSum", [spikes, at.constant("axes", [2], np.int64)], f"{block}/sum", keepdims=0))
    return at.op("Concat", sums, "sum", axis=0)


def _sum_of_places(at: Nodes, graph: onnx.GraphProto, layer: Layer) -> str:
    """Add the nodes that add up a layer's spikes for TensorRT; return the name of the sums, float32 [T * N]."""
    channels, *places = layer.shape
    spikes, kind = _spikes(graph, layer)
    groups = next(n for n in range(1, channels + 1) if channels % n == 0 and channels // n <= _EXACT[kind])
    maps = places if len(places) == 2 else [math.prod(places), 1]
    shaped = at.op("Reshape", [spikes, at.constant("maps", [-1, channels, *maps], np.int64)], "by_channel")
    ones = at.constant("ones", np.ones((groups, channels // groups, 1, 1)), kind)
    sums = at.op("Conv", [shaped, ones], PLACES, kernel_shape=[1, 1], group=groups)
    wide = at.op("Cast", [sums], "wide", to=TensorProto.FLOAT)
    return at.op("ReduceSum", [wide, at.constant("axes", [1, 2, 3], np.int64)], "sum", keepdims=0)


def _spikes(graph: onnx.GraphProto, layer: Layer) -> tuple[str, type[np.floating[Any]]]:
    """Return the name and the type of a layer's spikes in float16 if the model has them, or else in float32."""
    views = [spikes_tensor(layer.name)]
    for node in graph.node:
        if node.input and node.input[0] in views:
            if node.op_type == "Reshape":
                views.append(node.output[0])
            elif node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT16:
                return node.output[0], np.float16
    return views[0], np.float32
