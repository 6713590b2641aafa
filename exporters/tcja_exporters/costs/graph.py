"""An ONNX graph with the shape and type of every tensor, from which its costs are counted."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, TypeAlias

import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference

from tcja_runtime.errors import BadInput, first_line
from tcja_runtime.model_file.layer_tensors import exposed

Content: TypeAlias = Literal["spikes", "graded", "values"]
"""The content of a tensor.

"spikes" are 0 or 1. "graded" are graded spikes: 0 where no neuron fired, any number elsewhere; such as spikes after a
gate, or means of spikes. "values" are all other numbers.
"""

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The products: operators that multiply weights and add up."""

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "DequantizeLinear")
"""The operators whose output is the same memory as their input, with another name, shape or scale."""

FREE = ("Constant", "ConstantOfShape", "Shape")
"""The operators that neither compute nor move data."""

MOVES = ("Transpose", "Expand", "Slice", "Gather", "Split", "Concat", "Pad", "Cast", "Tile")
"""The operators that move data without computing."""

PARTS = ("Slice", "Gather")
"""The operators that read only a part of their input, of the same size as their output."""

POOLS = ("MaxPool", "AveragePool")
"""The pooling operators."""

_WEIGHTS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizedGraph:
    """A graph in which every tensor has a shape and a type.

    Attributes:
        nodes: the nodes, in the order in which they run.
        inputs: the names of the graph's inputs.
        outputs: the names of the graph's outputs.
        constants: the constant tensors by name.
        types: the types of the other tensors by name.
        makers: the node that makes each tensor, by the tensor's name.
    """

    nodes: list[onnx.NodeProto]
    inputs: list[str]
    outputs: list[str]
    constants: dict[str, onnx.TensorProto]
    types: dict[str, onnx.TypeProto.Tensor]
    makers: dict[str, onnx.NodeProto]

    @classmethod
    def of(cls, model: onnx.ModelProto, batch: int) -> SizedGraph:
        """Return the graph of a model with a fixed number of windows at a time.

        Args:
            model: the model.
            batch: the number of windows.

        Raises:
            BadInput: shape inference fails, more axes than the batch are open, or the model has another fixed batch.
        """
        graph = _inferred(model, batch).graph
        constants = {tensor.name: tensor for tensor in graph.initializer}
        constants |= {
            node.output[0]: found.t
            for node in graph.node
            for found in node.attribute
            if node.op_type == "Constant" and found.name == "value"
        }
        return cls(
            nodes=list(graph.node),
            inputs=[value.name for value in graph.input],
            outputs=[value.name for value in graph.output],
            constants=constants,
            types={
                value.name: value.type.tensor_type
                for values in (graph.value_info, graph.input, graph.output)
                for value in values
            },
            makers={tensor: node for node in graph.node for tensor in node.output},
        )

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor.

        Raises:
            BadInput: the shape is not known.
        """
        if tensor in self.constants:
            return tuple(self.constants[tensor].dims)
        found = self.types.get(tensor)
        dims = found.shape.dim if found else ()
        if found is None or not found.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
            raise BadInput(f"the costs of the model are not known: its tensor '{tensor}' has no known shape")
        return tuple(dim.dim_value for dim in dims)

    def size(self, tensor: str) -> int:
        """Return the number of values of a tensor."""
        return math.prod(self.shape(tensor))

    def type(self, tensor: str) -> int:
        """Return the type of a tensor's values, a number of `onnx.TensorProto.DataType`."""
        return int(self.constants[tensor].data_type if tensor in self.constants else self.types[tensor].elem_type)

    def stored(self, tensor: str) -> str:
        """Return the tensor whose memory a tensor uses: the tensor itself, or the one of which it is a view."""
        while tensor in self.makers and self.makers[tensor].op_type in VIEWS:
            tensor = self.makers[tensor].input[0]
        return tensor

    def bytes(self, tensor: str) -> int:
        """Return the size of a tensor in bytes."""
        return self.size(tensor) * int(helper.tensor_dtype_to_np_dtype(self.type(tensor)).itemsize)

    def values(self, tensor: str) -> npt.NDArray[Any]:
        """Return the values of a constant tensor.

        Raises:
            BadInput: the tensor is not constant.
        """
        if tensor not in self.constants:
            raise BadInput(f"the firing rate is not known: the tensor '{tensor}', an index, is not constant")
        return numpy_helper.to_array(self.constants[tensor])

    def is_weight(self, tensor: str) -> bool:
        """Whether a tensor is a weight: a constant of floats or int8 with at least one axis."""
        constant = self.constants.get(tensor)
        return constant is not None and len(constant.dims) > 0 and constant.data_type in _WEIGHTS


def _inferred(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Return a model with a fixed batch, and with the shapes of all tensors that shape inference finds.

    Raises:
        BadInput: as in `SizedGraph.of`.
    """
    fixed = onnx.ModelProto.FromString(exposed(model.SerializeToString()))
    axes = [dim for value in fixed.graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param]
    if len({dim.dim_param for dim in axes}) > 1:
        names = ", ".join(sorted({dim.dim_param for dim in axes}))
        raise BadInput(f"the costs of the model are not known: its inputs have more open axes than a batch ({names})")
    if not axes and batch != 1:
        raise BadInput(f"`batch` {batch}: the model has another fixed batch")
    for dim in axes:
        dim.dim_value = batch
    # The shapes in the file have a symbol for the batch.
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(fixed, data_prop=True)
    except Exception as error:  # the errors of onnx share no base class
        raise BadInput(f"the costs of the model are not known: shape inference fails ({first_line(error)})") from error


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return the value of a node's attribute; `default` if the node does not have it."""
    found = [helper.get_attribute_value(each) for each in node.attribute if each.name == name]
    return found[0] if found else default
