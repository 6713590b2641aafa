"""From a torch module to the two ONNX models of a bundle.

torch.onnx.export          one TcjaLif node a spiking layer, whatever T
steps                      or one step operator a call, joined to one node a layer
names                      nodes and tensors are called after their PyTorch modules
passes                     `tcja_exporters.passes`
model.onnx                 plus the functions that define TcjaLif
model.plain.onnx           the functions' place taken by standard operators
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import gc
import hashlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import torch
from onnx import external_data_helper, helper
from torch import nn

from tcja_exporters import custom_op, passes, steps, time_forms
from tcja_exporters.neurons import set_surrogate
from tcja_exporters.passes.done import Done
from tcja_exporters.passes.fold_batch_norm import norm_of
from tcja_exporters.time_forms import TimeForm
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL, WEIGHTS
from tcja_runtime.bundle.manifest import Weight
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor

EXTERNAL_FROM_BYTES = 1024
"""Tensors from this size on are stored in the shared weights file; shapes and scalars stay in the model."""
ALIGNMENT = 64
IR_VERSION = 10
"""The newest that TensorRT 10.3 (JetPack 6) reads."""

_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_SHORT_CONSTANTS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
"""How a Constant may hold numbers besides a tensor, and their type: graphsurgeon takes floats for float64."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """Both models of a network, what the passes did to it, and where its weights are in them."""

    model: onnx.ModelProto
    plain: onnx.ModelProto
    passes: list[dict[str, Any]]
    weights: list[Weight]


def export(network: nn.Module, contract: InputContract, output: str, metadata: dict[str, str]) -> Exported:
    """Export a network in eval mode, with a dynamic batch.

    Args:
        network: takes a batch [N, *contract.shape] and returns one tensor [N, ...].
        contract: its input.
        output: name for its output.
        metadata: properties to store in both models.

    Raises:
        BadInput: the network cannot take batches of any size, uses a neuron twice, draws random numbers, or needs an
            operation that ONNX has not.
    """
    set_surrogate(network, None)
    raw = _torch_export(network.eval(), contract, output)
    steps.join(raw, _module)
    _name_after_modules(raw)
    _spell_out_constants(raw)

    graph = gs.import_onnx(raw)
    del raw
    report = passes.run(graph)
    _refuse_random(graph)
    made = gs.export_onnx(graph)
    del graph
    gc.collect()  # its nodes are cycles, which hold the weights that it was made of
    model, plain = _models(made, metadata)
    return Exported(model, plain, report, _weights(network, model))


def rewritten(exported: Exported, name: str, change: Callable[[gs.Graph], Done], weights: list[Weight]) -> Exported:
    """An exported network after one more pass.

    Args:
        exported: the network.
        name: of the pass.
        change: the pass.
        weights: where the weights are then.
    """
    graph = graph_of(exported)
    done = change(graph)
    graph.cleanup().toposort()
    model, plain = _models(gs.export_onnx(graph), {prop.key: prop.value for prop in exported.model.metadata_props})
    report = [*exported.passes, {"name": name, **dataclasses.asdict(done)}]
    return Exported(model, plain, report, weights)


def graph_of(exported: Exported) -> gs.Graph:
    """The canonical model as a graph to change, without the functions that define TcjaLif."""
    bare = onnx.ModelProto()
    bare.CopyFrom(exported.model)
    del bare.functions[:]
    for node in bare.graph.node:
        node.overload = ""
    return gs.import_onnx(bare)


def laid_out(exported: Exported, forms: Mapping[str, TimeForm], *, pooled: bool = False) -> Exported:
    """An exported network whose plain model has other time forms; the arguments are those of `time_forms.lower`."""
    metadata = {prop.key: prop.value for prop in exported.model.metadata_props}
    return dataclasses.replace(exported, plain=_plain(exported.model, metadata, forms, pooled=pooled))


def _plain(
    model: onnx.ModelProto,
    metadata: dict[str, str],
    forms: Mapping[str, TimeForm] | None = None,
    *,
    pooled: bool = False,
) -> onnx.ModelProto:
    plain = finished(time_forms.lower(model, forms, pooled=pooled), metadata)
    _check(plain)
    return plain


def _models(made: onnx.ModelProto, metadata: dict[str, str]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The canonical and the plain model of one with TcjaLif nodes."""
    model = finished(made, metadata)
    custom_op.define(model)
    _check(model)
    return model, _plain(model, metadata)


def _check(model: onnx.ModelProto) -> None:
    """Check a model as if its weights were inputs: the checker makes two more copies of what it is given."""
    light, weights = _light(model)
    for tensor, _ in weights:
        light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        light.graph.initializer.remove(tensor)
    onnx.checker.check_model(light, full_check=True)


def _light(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[tuple[onnx.TensorProto, onnx.TensorProto]]]:
    """A copy of a model whose weights hold no values, and each of these weights with that which holds them."""
    light, without = _copied(model, "graph"), []
    light.graph.CopyFrom(_copied(model.graph, "initializer"))
    for tensor in model.graph.initializer:
        size = math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        if not tensor.HasField("raw_data") or size < EXTERNAL_FROM_BYTES:
            light.graph.initializer.append(tensor)
        else:
            light.graph.initializer.append(_copied(tensor, "raw_data"))
            without.append((light.graph.initializer[-1], tensor))
    return light, without


def _copied(message: Any, without: str) -> Any:
    """A copy of a protobuf message that lacks a field."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name == without:
            continue
        if field.is_repeated:
            getattr(copy, field.name).extend(value)
        elif field.message_type:
            getattr(copy, field.name).CopyFrom(value)
        else:
            setattr(copy, field.name, value)
    return copy


def save(exported: Exported, folder: Path, more: Mapping[str, onnx.ModelProto] | None = None) -> None:
    """Write both models, more that are made of the same weights, by the names of their files, and the weights."""
    stored: dict[bytes, tuple[int, int]] = {}
    with (folder / WEIGHTS).open("wb") as weights:
        for name, model in {MODEL: exported.model, PLAIN_MODEL: exported.plain, **(more or {})}.items():
            light, tensors = _light(model)
            for tensor, whole in tensors:
                content = whole.raw_data
                digest = hashlib.sha256(content).digest()
                if digest not in stored:
                    weights.write(b"\0" * (-weights.tell() % ALIGNMENT))
                    stored[digest] = (weights.tell(), len(content))
                    weights.write(content)
                tensor.raw_data = b""  # what is stored elsewhere must be there
                external_data_helper.set_external_data(tensor, WEIGHTS, *stored[digest])
                tensor.ClearField("raw_data")
            (folder / name).write_bytes(light.SerializeToString())


def _torch_export(network: nn.Module, contract: InputContract, output: str) -> onnx.ModelProto:
    # Two windows, because a batch of one would be taken for a constant.
    example = torch.zeros(2, *contract.shape)
    with _quiet(), _explained():
        program: Any = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=custom_op.OPSET,
            input_names=[contract.name],
            output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        )
    model: onnx.ModelProto = program.model_proto
    del program
    gc.collect()  # the exporter leaves cycles behind, which hold copies of the weights
    for value in (model.graph.input[0], model.graph.output[0]):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise BadInput(f"the network fixes the batch size of '{value.name}'; take it from the input's shape")
    return model


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say in a line what the exporter cannot do: the innermost cause of its error."""
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        line = next(iter(str(cause).strip().splitlines()), "")
        raise BadInput(f"torch.onnx cannot export the network: {type(cause).__name__}: {line}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter about packages that are not needed and about its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _name_after_modules(model: onnx.ModelProto) -> None:
    """Name each node MODULE/OPERATOR, its outputs alike, and a spiking layer's tensors as `tcja_runtime.model_file.subgraph` says.

    Whatever a runtime or an engine builder says of a node then names the PyTorch module it comes from.
    """
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    kept |= {tensor.name for tensor in model.graph.initializer}
    _separate_neurons(model, kept)
    renamed: dict[str, str] = {}
    used: dict[str, int] = {}
    for node in model.graph.node:
        module = _module(node)
        name = f"{module}/{node.op_type}" if module else node.op_type
        used[name] = used.get(name, 0) + 1
        node.name = name if used[name] == 1 else f"{name}_{used[name]}"
        if node.op_type == custom_op.NAME:
            if used[name] > 1:
                raise BadInput(f"the neuron '{module}' is used more than once in a forward pass; give each use its own")
            renamed[node.input[0]] = current_tensor(module)
            renamed[node.output[0]] = spikes_tensor(module)
            continue
        for i, tensor in enumerate(node.output):
            if tensor and tensor not in kept:
                renamed[tensor] = f"{node.name}:{i}" if i else node.name

    for node in model.graph.node:
        node.input[:] = [renamed.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [renamed.get(tensor, tensor) for tensor in node.output]
    for value in model.graph.value_info:
        value.name = renamed.get(value.name, value.name)


def _spell_out_constants(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name in _SHORT_CONSTANTS:
                value = np.asarray(helper.get_attribute_value(attribute), _SHORT_CONSTANTS[attribute.name])
                attribute.CopyFrom(helper.make_attribute("value", onnx.numpy_helper.from_array(value)))


def _refuse_random(graph: gs.Graph) -> None:
    for node in graph.nodes:
        if node.op in _RANDOM or (node.op == "Dropout" and len(node.inputs) == 3):
            raise BadInput(
                f"the network draws random numbers ({node.name}), so no two runs agree; take that out of its forward "
                "(a random encoding belongs before the network)"
            )


def _separate_neurons(model: onnx.ModelProto, kept: set[str]) -> None:
    """Give each neuron a current and spikes of its own: neither kept under their names nor another neuron's."""
    nodes: list[onnx.NodeProto] = []
    taken = set(kept)
    for node in model.graph.node:
        if node.op_type != custom_op.NAME:
            nodes.append(node)
            continue
        (current,), (spikes,) = node.input, node.output
        if current in taken:
            node.input[0] = f"{current} of {spikes}"
            nodes.append(helper.make_node("Identity", [current], [node.input[0]]))
        taken.add(current)
        nodes.append(node)
        if spikes in kept:
            node.output[0] = f"{spikes} fired"
            nodes.append(helper.make_node("Identity", [node.output[0]], [spikes]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _weights(network: nn.Module, model: onnx.ModelProto) -> list[Weight]:
    """The weights of a network's convolutions and matrix products, as far as they are its modules'."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    modules = dict(network.named_modules())
    found = []
    for node in model.graph.node:
        module = node.name.rpartition("/")[0]
        own = modules[module]._parameters.get("weight") if module in modules else None  # not one that is computed
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or own is None:
            continue
        tensor, *bias = node.input[1:]
        if not constants.keys() >= {tensor, *bias} or sorted(constants[tensor].dims) != sorted(own.shape):
            continue
        gemm = {a.name: a.i for a in node.attribute} if node.op_type == "Gemm" else {}
        found.append(
            Weight(
                module=module,
                norm=norm_of(tensor),
                tensor=tensor,
                bias=bias[0] if bias else None,
                shape=tuple(own.shape),
                transposed=node.op_type == "MatMul" or (node.op_type == "Gemm" and not gemm.get("transB")),
                outputs=int(np.prod(constants[bias[0]].dims)) if bias else 0,
            )
        )
    return found


def _module(node: onnx.NodeProto) -> str:
    scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
    modules: list[str] = ast.literal_eval(scopes)[:-1]  # the last is the operation itself
    return modules[-1] if modules else ""


def finished(model: onnx.ModelProto, metadata: dict[str, str]) -> onnx.ModelProto:
    """A model with the version and the properties that all models of a bundle have; it is changed in place."""
    model.ir_version = IR_VERSION
    model.producer_name = metadata["producer"]
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)
    return model
