"""What TensorRT 10 says of the layers of an engine: one layer for each node, as no node is joined with another."""

from __future__ import annotations

import json

import numpy as np
import onnx

_FORMATS = {1: "Float", 10: "Half", 3: "Int8", 6: "Int32", 7: "Int64", 9: "Bool"}


def _inferred(model, shapes):
    """The shape and type of each tensor, -1 for what is not known. `shapes` are of the inputs."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for value in (v for v in model.graph.input if v.name in shapes):
        for axis, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if size < 0:
                axis.Clear()
                axis.dim_param = "batch"
            else:
                axis.dim_value = size
    graph = onnx.shape_inference.infer_shapes(model).graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        yield (
            value.name,
            [axis.dim_value if axis.HasField("dim_value") else -1 for axis in kind.shape.dim],
            kind.elem_type,
        )


def _computed(model, shapes):
    """The shape and type of each tensor that ONNX Runtime computes, and of the inputs."""
    import onnxruntime  # which not every process of the builder needs

    known = list(_inferred(model, shapes))
    every = onnx.ModelProto.FromString(model.SerializeToString())
    del every.graph.output[:]
    names = [name for node in every.graph.node for name in node.output if name]
    every.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(every.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {
        name: np.zeros(sizes, onnx.helper.tensor_dtype_to_np_dtype(kind))
        for name, sizes, kind in known
        if name in shapes
    }
    yield from ((name, list(value.shape), value.dtype) for name, value in feeds.items())
    for name, value in zip(names, session.run(names, feeds), strict=True):
        yield name, list(value.shape), value.dtype


def _layers(model, shapes):
    """The fields of the layers. `shapes` are of the inputs; -1 is an open axis."""
    graph = model.graph
    known = {t.name: (list(t.dims), t.data_type) for t in graph.initializer}
    find = _inferred if min(min(sizes) for sizes in shapes.values()) < 0 else _computed
    for name, sizes, kind in find(model, shapes):
        known[name] = sizes, kind if isinstance(kind, int) else onnx.helper.np_dtype_to_tensor_dtype(kind)

    def said(names):
        return [
            {"Name": n, "Location": "Device", "Dimensions": known[n][0], "Format/Datatype": _FORMATS[known[n][1]]}
            for n in names
            if n in known
        ]

    return [
        {
            "Name": f"{node.name}_myl0_{i}",
            "LayerType": "kgen",
            "Inputs": said(node.input),
            "Outputs": said(node.output),
            "TacticName": "simulated",
            "StreamId": 0,
            "Metadata": f"[ONNX Layer: {node.name}]",
        }
        for i, node in enumerate(graph.node)
    ]


def as_log(model, shapes) -> str:
    def tensors(listed):
        return ", ".join(
            f"{{ {', '.join(f'{k}: {str(v).replace(chr(32), str())}' for k, v in each.items())} }}" for each in listed
        )

    lines = [
        f"Name: {each['Name']}, LayerType: {each['LayerType']}, Inputs: [ {tensors(each['Inputs'])}], "
        f"Outputs: [ {tensors(each['Outputs'])}], TacticName: simulated, StreamId: 0, Metadata: {each['Metadata']}"
        for each in _layers(model, shapes)
    ]
    return "\n".join(["Layers:", *lines])


def as_json(model, shapes) -> str:
    return json.dumps({"Layers": _layers(model, shapes), "Bindings": list(shapes)})
