"""The small networks in lower precision."""

from __future__ import annotations

import onnx

from tcja_exporters.graph.exported import Exported
from tcja_exporters.modules import attention
from tcja_exporters.precision import Lowered, calibrate, lowered, quantizable
from tcja_exporters.reference.recorder import layers

from ... import networks


def scales(name: str, exported: Exported) -> dict[str, float]:
    module = networks.SMALL[name].module()
    blocks = {part.rpartition(".")[0] for part in attention.parts(module)}
    modules = quantizable(exported.model, exported.weights, blocks)
    return calibrate(module, modules, [networks.SMALL[name].inputs(8).numpy()], lambda _n: None)


def lower(name: str, exported: Exported, precision: str, kept=frozenset()) -> Lowered:
    found = scales(name, exported) if precision == "int8" else {}
    return lowered(networks.SMALL[name].module(), exported, precision, set(kept), found)


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in inferred.graph.initializer}


def layers_of(name: str):
    small = networks.SMALL[name]
    return layers(networks.SMALL[name].module(), small.network.contract(small.sizes))
