"""Engines that ONNX Runtime simulates: of the right model, of a mutated one, of one that adds up in another order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tcja_deploy.parity.engine import engine_parity
from tcja_deploy.parity.verdict import OutputParity
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.select import Backend
from tcja_runtime.bundle.bundle import GOLDEN, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.evidence import golden


def info(batch=(1, 1, 8), *, tf32=False) -> EngineInfo:
    return EngineInfo(
        module="tensorrt",
        version="10.3.0",
        device="simulated",
        precision="fp32",
        products={},
        tf32=tf32,
        version_compatible=False,
        hardware=None,
        level=3,
        workspace=0,
        batch=batch,
        model_sha256="",
        plugin=None,
        tensors=[],
        layers=1,
        build_seconds=0.0,
        bytes=0,
        created="",
        sha256="",
    )


def model_of(bundle: Path) -> onnx.ModelProto:
    """The plain model of a bundle, with its weights."""
    return onnx.load(bundle / PLAIN_MODEL)


def verdict(bundle: Path, model: onnx.ModelProto, folder: Path, **of_engine) -> OutputParity:
    """What is said of an engine that computes what a model does.

    Args:
        bundle: the bundle that the engine is in.
        model: the model.
        folder: a folder for the model's file.
        of_engine: the arguments of `info`.
    """
    manifest = Bundle.open(bundle).manifest
    vectors = golden.load(bundle / GOLDEN, manifest.input)
    onnx.save(model, folder / "engine.onnx")
    session = OnnxRuntimeSession.open(folder / "engine.onnx")
    engine = Backend(
        name="tensorrt", title="simulated", session=session, engine=Engine(folder / "an engine", info(**of_engine))
    )
    right = OnnxRuntimeSession.open(bundle / PLAIN_MODEL)
    parts = right.run({manifest.input.name: vectors.samples.inputs})[manifest.output]
    return engine_parity(engine, vectors, manifest, parts)


def reordered(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Let every convolution and matrix product add up in another order, which rounds otherwise.

    The input channels are exchanged, and those of the weight in the same way.
    """
    changed, generator = onnx.ModelProto(), np.random.default_rng(seed)
    changed.CopyFrom(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for i, node in enumerate(changed.graph.node):
        weight = stored.get(node.input[1]) if node.op_type in ("Conv", "MatMul", "Gemm") else None
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        if weight is not None and weight.dtype.kind == "f" and groups == 1:
            transposed = next((each.i for each in node.attribute if each.name == "transB"), 0)
            axis = 1 if node.op_type == "Conv" or transposed else weight.ndim - 2
            order = generator.permutation(weight.shape[axis])
            for name, values in ((f"w{i}", np.take(weight, order, axis)), (f"o{i}", order)):
                changed.graph.initializer.append(numpy_helper.from_array(values, name))
            along = 1 if node.op_type == "Conv" else -1
            nodes.append(helper.make_node("Gather", [node.input[0], f"o{i}"], [f"x{i}"], axis=along))
            node.input[0], node.input[1] = f"x{i}", f"w{i}"
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del changed.graph.node[:]
    changed.graph.node.extend(kept)
    return changed
