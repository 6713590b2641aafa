"""The facts of a file: a checkpoint, a NIR graph, an ONNX model or a bundle, as plain values for text and for JSON."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tcja_deploy.formatting import part
from tcja_deploy.packages import needs
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import Engine, engines
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.counting import counted
from tcja_runtime.errors import BadInput, TcjaError, first_line
from tcja_runtime.files import limits
from tcja_runtime.files.reading import read_file
from tcja_runtime.files.staging import put_back
from tcja_runtime.files.text import shown
from tcja_runtime.records import argument, check_arguments

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from tcja_exporters.checkpoint.load import Checkpoint
    from tcja_exporters.checkpoint.weight_sets import WeightSet
    from tcja_exporters.nir_graphs.graph import Graph

Facts = dict[str, Any]
"""The facts by name: plain values, lists of values, and tables, which are lists of dictionaries with equal keys."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """The options for reading a checkpoint. For other files they have no effect.

    Attributes:
        weights: the path of keys to the weights; None takes the likeliest that fit.
        network: the name of the network; None finds it from the checkpoint.
        settings: settings of the network that the checkpoint does not store, by name, such as {"dialect": "tet"}.
        trust_checkpoint: whether to load a checkpoint that can run code.
    """

    weights: str | None = None
    network: str | None = None
    settings: Mapping[str, str] | None = None
    trust_checkpoint: bool = False

    def __post_init__(self) -> None:
        check_arguments(self)


@dataclasses.dataclass(frozen=True)
class OnnxFile:
    """An ONNX file.

    Attributes:
        path: its path, for messages.
        model: the model in it.
    """

    path: Path
    model: ModelProto


@dataclasses.dataclass(frozen=True)
class GraphFile:
    """A NIR file.

    Attributes:
        path: its path, for messages.
        graph: the graph in it.
    """

    path: Path
    graph: Graph


Opened: TypeAlias = "Bundle | OnnxFile | GraphFile | Checkpoint"
"""A file that was read. It is read once, so its facts and its costs are those of the same bytes."""


def inspect(path: Path | str, options: CheckpointOptions | None = None) -> Facts:
    """Return the facts of a file (`opened`, `facts`)."""
    options = argument("options", options, CheckpointOptions | None) or CheckpointOptions()
    return facts(opened(path, options), options)


def facts(found: Opened, options: CheckpointOptions) -> Facts:
    """Return the facts of a file.

    Args:
        found: the file.
        options: the options for a checkpoint.

    Raises:
        BadInput: the chosen network is not that of the checkpoint.
        Unavailable: a package is not installed.
    """
    if isinstance(found, Bundle):
        return _bundle(found)
    if isinstance(found, OnnxFile):
        return _onnx(found)
    return _graph(found) if isinstance(found, GraphFile) else _checkpoint(found, options)


def opened(path: Path | str, options: CheckpointOptions) -> Opened:
    """Read a file.

    Args:
        path: the folder of a bundle, an .onnx file, a NIR graph, or a checkpoint. Any other file is read as the last.
        options: the options for a checkpoint.

    Raises:
        BadInput: the file does not exist, is damaged, or is none of these.
        Unavailable: the package that reads the file, torch or onnx, is not installed.
    """
    path = argument("path", path, Path)
    if not path.exists():
        put_back(path)
    if not path.exists():
        raise BadInput(f"{path} does not exist")
    kind = "a bundle" if path.is_dir() else "an ONNX model" if path.suffix == ".onnx" else None
    is_graph = kind is None and _is_graph(path)
    kind = "a NIR graph" if is_graph else kind
    given = [f"`{name}`" for name, value in vars(options).items() if value]
    if kind and given:
        raise BadInput(f"{path} is {kind}, and {', '.join(given)} is for checkpoints; leave it out")
    if path.is_dir():
        return Bundle.open(path, check_signature=False)
    if path.suffix == ".onnx":
        return OnnxFile(path, _model(path))
    with needs("export"):
        from tcja_exporters.checkpoint.load import load_checkpoint
        from tcja_exporters.nir_graphs.graph import load
    if is_graph:
        return GraphFile(path, load(path))
    return load_checkpoint(path, trust_checkpoint=options.trust_checkpoint, weights=options.weights)


def _bundle(bundle: Bundle) -> Facts:
    manifest = bundle.manifest
    return {
        "kind": "bundle",
        "path": str(bundle.path),
        "network": manifest.network,
        "dialect": manifest.dialect,
        "evidence": manifest.evidence,
        "checkpoint": f"{manifest.checkpoint['name']} (sha256 {manifest.checkpoint['sha256']})",
        "time_steps": manifest.time_steps,
        "parameters": manifest.parameters,
        "input": dataclasses.asdict(manifest.input),
        "output": manifest.output,
        "output_shape": list(manifest.output_shape),
        "classes": manifest.classes,
        "labels": manifest.labels,
        "precision": manifest.precision,
        "targets": manifest.targets,
        "time_form": f"{manifest.time_form.form} ({manifest.time_form.why})",
        "streaming": _streaming(manifest),
        "parity": {k: v for k, v in vars(manifest.parity).items() if k not in ("backends", "anytime")},
        "created": manifest.created,
        "producer": manifest.producer,
        "tools": manifest.tools,
        "layers": [_layer(layer) for layer in manifest.layers],
        "integrators": [_layer(layer) for layer in manifest.integrators],
        "origin": bundle.origin.to_dict(manifest.engines),
        "engines": [_engine(engine) for engine in reversed(engines(bundle))],
        "files": [{"file": name, **fact} for name, fact in bundle.files.items()],
    }


def _engine(engine: Engine) -> Facts:
    info, refusal = engine.info, engine.refusal()
    here = "yes" if refusal is None else refusal.reason
    facts = {"precision": info.precision, "batch": info.batch, "layers": info.layers, "bytes": info.bytes}
    plan = {"plan": info.plan and dataclasses.asdict(info.plan), "plan_unread": info.plan_unread}
    return {"engine": engine.name, **facts, "origin": str(engine.origin), "runs_here": here, **plan}


def _streaming(manifest: Manifest) -> str:
    split = manifest.streaming
    if not split:
        return "no"
    spiking = {layer.name for layer in manifest.layers} & {state.layer for state in split.states}
    return (
        f"{part(len(spiking), len(manifest.layers), 'spiking layer')} a frame at a time, "
        f"{counted(split.bytes(manifest.time_steps), 'byte')} a stream"
    )


def _is_graph(path: Path) -> bool:
    with needs("export"):
        from tcja_exporters.nir_graphs.file import is_graph
    return is_graph(path)


def _graph(file: GraphFile) -> Facts:
    """Return the facts of a NIR graph: its nodes in the order in which they are computed."""
    with needs("export"):
        from tcja_exporters.nir_graphs.constants import described
    graph = file.graph
    nodes = [
        {"node": node.name, "type": node.kind, "from": ", ".join(node.sources), "values": described(node)}
        for node in graph.nodes
    ]
    said = {"kind": "nir", "path": str(file.path), "sha256": graph.sha256}
    return {**said, "nodes": nodes, "unused": list(graph.unused)}


def _checkpoint(loaded: Checkpoint, options: CheckpointOptions) -> Facts:
    """Return the facts of a checkpoint. If its network is not known, they say why."""
    with needs("export"):
        from tcja_exporters.checkpoint.identify import UnknownNetwork, identify
        from tcja_exporters.checkpoint.weight_sets import summary
        from tcja_exporters.reference import recorder
    facts: Facts = {"kind": "checkpoint", "path": str(loaded.path), "sha256": loaded.sha256}
    used: str | None
    try:
        trained = identify(loaded, options.network, options.settings)
    except UnknownNetwork as error:
        if options.network or options.settings:
            raise
        used = None
        facts |= {"network": None, "remark": str(error)}
    else:
        used = trained.source["weights"]
        facts |= {
            "network": trained.name,
            "summary": trained.summary,
            "dialect": trained.dialect,
            "evidence": trained.evidence,
            "time_steps": trained.time_steps,
            "parameters": trained.parameters,
            "input": dataclasses.asdict(trained.contract),
            "output": trained.output,
            "classes": list(trained.classes),
            "layers": [_layer(layer) for layer in recorder.layers(trained.model, trained.contract)],
        }
    shown = next((one for one in loaded.sets if one.key == used), loaded.sets[0])
    return {
        **facts,
        "sets_of_weights": [_weights(one, used) for one in (*loaded.sets, *loaded.others)],
        "not_weights": summary(loaded.beside),
        "tensors": [
            {"key": key, "shape": "x".join(map(str, value.shape)) or "scalar", "type": str(value.dtype)}
            for key, value in shown.state.items()
        ],
    }


def _weights(one: WeightSet, used: str | None) -> Facts:
    """Return the facts of a set of weights in a checkpoint."""
    return {
        "weights": one.key or "(bare)",
        "tensors": len(one.state),
        "values": sum(value.numel() for value in one.state.values()),
        "taken": "yes" if one.key == used else "no",
    }


def _model(path: Path) -> ModelProto:
    """Return the model in an ONNX file, which ONNX's own checker has checked."""
    with needs("export"):
        import onnx
    if not shown(str(path)) == str(path):
        raise BadInput(f"{path}: the package onnx reads no path that is not UTF-8; rename it, or copy the file")
    try:
        model = onnx.load_from_string(read_file(path, limits.ONNX))
        onnx.checker.check_model(path)
    except TcjaError:
        raise
    except Exception as error:  # the errors of protobuf and of the checker share no base class
        raise BadInput(f"{path} is not a valid ONNX model: {first_line(error)}") from error
    return model


def _onnx(file: OnnxFile) -> Facts:
    path, model = file.path, file.model

    def text(value: Any) -> str:
        if isinstance(value, bytes):  # so protobuf gives a text that is not UTF-8
            raise BadInput(f"{path} is not a valid ONNX model: a text in it is not UTF-8")
        return str(value)

    def shape(value: ValueInfoProto) -> str:
        return ", ".join(text(d.dim_param or d.dim_value) for d in value.type.tensor_type.shape.dim)

    operators = collections.Counter(
        f"{text(node.domain)}::{text(node.op_type)}".removeprefix("::") for node in model.graph.node
    )
    return {
        "kind": "onnx",
        "path": str(path),
        "ir_version": model.ir_version,
        "opsets": [f"{text(opset.domain) or 'ai.onnx'} {opset.version}" for opset in model.opset_import],
        "functions": [f"{text(function.domain)}::{text(function.name)}" for function in model.functions],
        "inputs": [{"name": text(value.name), "shape": shape(value)} for value in model.graph.input],
        "outputs": [{"name": text(value.name), "shape": shape(value)} for value in model.graph.output],
        "nodes": len(model.graph.node),
        "operators": [{"operator": name, "nodes": count} for name, count in operators.most_common()],
        "metadata": {text(prop.key): text(prop.value) for prop in model.metadata_props},
    }


def _layer(layer: Layer) -> Facts:
    neuron = layer.neuron
    return {
        "layer": layer.name,
        "neurons": "x".join(map(str, layer.shape)),
        "charge": neuron.charge_rule,
        "fires": neuron.fire_rule,
        "reset": neuron.reset_rule,
    }
