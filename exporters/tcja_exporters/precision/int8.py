"""INT8: adds symmetric quantisers to the inputs of products, and stores their weights in int8.

    x -> QuantizeLinear -> DequantizeLinear -> product        one scale for the tensor, from calibration
    W in int8 -> DequantizeLinear -> product                  one scale for each output channel: the largest |w| / 127

"Products" are convolutions and matrix products. Every zero point is 0, has the type int8, and is written into the
model. In ONNX, a missing zero point means uint8. TensorRT gives no error for a missing zero point or for one of type
uint8, but it quantises to int8 in both cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult
from tcja_exporters.precision.calibration import LARGEST


def to_int8(graph: gs.Graph, scales: Mapping[str, float]) -> PassResult:
    """Quantise the inputs and weights of products.

    Args:
        graph: the graph, which is changed in place.
        scales: the scale of a product's input, by the name of the tensor of its weight. Products without an entry stay
            in float32.
    """
    changes = 0
    names = Counter[str]()
    for node in [node for node in graph.nodes if len(node.inputs) > 1 and node.inputs[1].name in scales]:
        weight, scale = node.inputs[1], scales[node.inputs[1].name]
        node.inputs[0] = _quantized(graph, node, scale, names)
        if isinstance(weight, gs.Constant):
            axis = 0 if node.op == "Conv" or node.attrs.get("transB", 0) else weight.values.ndim - 1
            _dequantized(graph, weight, axis)
        changes += 1
    return PassResult(changes, exact=False, note="weights and inputs of products in 8 bits")


def _quantized(graph: gs.Graph, node: gs.Node, scale: float, names: Counter[str]) -> gs.Variable:
    """Add a quantiser and a dequantiser after the input of a product; return the dequantised tensor.

    Args:
        graph: the graph.
        node: the product.
        scale: the scale of the input.
        names: the number of quantisers that each module has so far, by module, for unique names. A network that loops
            over time uses a module once a time step.
    """
    x = node.inputs[0]
    constants = [
        gs.Constant(f"{node.name}/scale", np.array(scale, np.float32)),
        gs.Constant(f"{node.name}/zero_point", np.array(0, np.int8)),
    ]
    q = gs.Variable(f"{node.name}/quantized", np.int8, x.shape)
    y = gs.Variable(f"{node.name}/dequantized", np.float32, x.shape)
    module = node.name.rpartition("/")[0]
    names[module] += 1
    use = "" if names[module] == 1 else f"_{names[module]}"
    graph.nodes.append(gs.Node("QuantizeLinear", f"{module}/QuantizeLinear{use}", {}, [x, *constants], [q]))
    graph.nodes.append(gs.Node("DequantizeLinear", f"{module}/DequantizeLinear{use}", {}, [q, *constants], [y]))
    return y


def _dequantized(graph: gs.Graph, weight: gs.Constant, axis: int) -> None:
    """Replace a weight by an int8 tensor and a DequantizeLinear, whose output has the name of the weight."""
    integers, scales = in_8_bits(weight.values, axis)
    name, readers = weight.name, list(weight.outputs)
    made = gs.Variable(name, np.float32, weight.values.shape)
    inputs = [
        gs.Constant(f"{name}/int8", integers),
        gs.Constant(f"{name}/scale", scales),
        gs.Constant(f"{name}/zero_point", np.zeros(len(scales), np.int8)),
    ]
    for reader in readers:
        reader.inputs = [made if each is weight else each for each in reader.inputs]
    graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/DequantizeLinear", {"axis": axis}, inputs, [made]))


def in_8_bits(weight: npt.NDArray[np.float32], axis: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return a weight in int8, and its scales, one for each index of an axis."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others)
    scales = np.where(largest > 0, largest / LARGEST, 1.0).astype(np.float32)
    along = [-1 if i == axis else 1 for i in range(weight.ndim)]
    integers = np.clip(np.round(weight / scales.reshape(along)), -LARGEST, LARGEST).astype(np.int8)
    return integers, scales
