"""What TensorRT 10 says of the layers of an engine: one layer for each node, as no node is joined with another."""

from __future__ import annotations

import json

import onnx

_FORMATS = {1: "Float", 10: "Half", 3: "Int8", 6: "Int32", 7: "Int64", 9: "Bool"}


def _layers(model, shapes):
    """The fields of the layers. `shapes` are of the inputs; -1 is an open axis."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for value in (v for v in model.graph.input if v.name in shapes):
        for axis, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            axis.Clear()
            if size >= 0:
                axis.dim_value = size
            else:
                axis.dim_param = "batch"
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {t.name: (list(t.dims), t.data_type) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        sizes = [axis.dim_value if axis.HasField("dim_value") else -1 for axis in kind.shape.dim]
        known[value.name] = (sizes, kind.elem_type)

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
