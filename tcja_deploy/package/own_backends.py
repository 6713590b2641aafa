"""Models for Triton's own backends: ONNX Runtime with a bundle's model, or TensorRT with its engine.

    NAME/1/model.onnx, weights.bin          `onnxruntime`: model.plain.onnx, for whole windows
    NAME_stream/1/model.onnx, weights.bin   `onnxruntime`: a frame a request (`tcja_deploy.package.onnx_stream`)
    NAME/1/model.plan                       `tensorrt`: an engine, for whole windows

These backends check no hash and no signature, and have options of their own for ONNX Runtime. So what can be checked is
checked here, when the bundle is packaged: a model for ONNX Runtime is written only if it gives the bundle's answers to
golden windows, to the bit, with the options of its configuration. An engine is not run here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.package import agreement
from tcja_deploy.package.agreement import Tensors
from tcja_deploy.package.configuration import (
    CONFIG,
    LABELS,
    protobuf,
    text,
    warm_up,
    write_data,
)
from tcja_deploy.package.engine import chosen_engine
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.repository import FIRST
from tcja_deploy.package.served import Request, Served
from tcja_runtime.backends.onnxruntime import EXACT, OnnxRuntimeSession
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.bundle.origin.origin import MANIFEST
from tcja_runtime.choices import PROVIDERS, Precision
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.evidence import golden
from tcja_runtime.files.folder import read_model, write_model
from tcja_runtime.model_file.tensor_names import SPIKE_COUNTS

MODEL, PLAN = "model.onnx", "model.plan"

_PROVEN = 2
"""The number of golden windows that a model is proven with."""
_BASIC = -1
"""The level of ONNX Runtime's optimisations that leaves quantised products in float32 (`onnxruntime.py`)."""


def write_onnx_windows(folder: Path, name: str, bundle: Bundle, options: TritonOptions) -> None:
    """Write the model NAME for whole windows in ONNX Runtime into a new folder.

    Raises:
        ParityNotMet: it does not give the bundle's answers.
        BadInput: the bundle contradicts itself.
        Unavailable: a package is missing.
    """
    config = new_config(name, options, "onnxruntime", MODEL)
    config.max_batch_size = options.max_batch or batch_size(bundle.manifest.signature)
    set_onnxruntime(config, bundle)
    _add_windows(config, folder, bundle, options)
    version = first_version(folder, bundle)
    write_model(read_model(bundle, PLAIN_MODEL), version / MODEL)
    write_config(config, folder, bundle, Tensors.of_onnx(parsed(bundle.read(PLAIN_MODEL))))
    served, source = Served.open(folder), bundle.manifest.input.name
    session = OnnxRuntimeSession.open(read_model(bundle, PLAIN_MODEL))
    for window in proving_windows(bundle)[:, None]:
        (found,) = served.run([Request({source: window})])
        expected = session.run({source: window})
        if not all(np.array_equal(found[each], expected[each]) for each in expected):
            raise unlike(name, bundle)


def write_plan_windows(folder: Path, name: str, bundle: Bundle, options: TritonOptions) -> None:
    """Write the model NAME for whole windows in TensorRT, with an engine, into a new folder.

    Raises:
        BadInput: the bundle has no engine that a server can load, or an option does not fit it.
    """
    engine = chosen_engine(bundle, bundle.path, options.engine)
    info = engine.info
    if info.batch[0] > 1:
        raise BadInput(
            f"engine {engine.name} takes {info.batch[0]} windows or more, and a server also runs single ones; build "
            "one that takes 1"
        )
    if options.max_batch is not None and options.max_batch > info.batch[2]:
        raise BadInput(
            f"`max_batch` {options.max_batch} is more than engine {engine.name} takes, which is {info.batch[2]}"
        )
    config = new_config(name, options, "tensorrt", PLAN)
    messages = protobuf()
    config.max_batch_size = options.max_batch or info.batch[2]
    config.instance_group[0].kind = messages.ModelInstanceGroup.KIND_GPU
    config.dynamic_batching.preferred_batch_size.append(min(info.batch[1], config.max_batch_size))
    _add_windows(config, folder, bundle, options)
    version = first_version(folder, bundle)
    (version / PLAN).write_bytes(engine.plan())
    write_config(config, folder, bundle, Tensors.of_engine(info))


def new_config(name: str, options: TritonOptions, backend: str, file: str) -> Any:
    """Return the start of a configuration.

    Args:
        name: the name of the model.
        options: how the model runs.
        backend: the name of the backend.
        file: the name of the model's file.
    """
    messages = protobuf()
    kind = messages.ModelInstanceGroup.KIND_CPU
    return messages.ModelConfig(
        name=name,
        backend=backend,
        default_model_filename=file,
        instance_group=[messages.ModelInstanceGroup(count=options.instances, kind=kind)],
    )


def first_version(folder: Path, bundle: Bundle) -> Path:
    """Make the folder of the first version of a model, with the bundle's manifest, which says what it is made of."""
    version = folder / FIRST
    version.mkdir()
    (version / MANIFEST).write_bytes(bundle.read(MANIFEST))
    return version


def set_onnxruntime(config: Any, bundle: Bundle) -> None:
    """Set the options of ONNX Runtime with which it computes as the bundle was proven.

    Those for a GPU are used if you change the kind of the instances. The backend has the search for algorithms twice,
    and its old name must say the same: otherwise that has its default.
    """
    if bundle.manifest.precision == Precision.INT8.value:
        config.optimization.graph.level = _BASIC
    cuda = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="cuda")
    for option, value in EXACT[PROVIDERS["onnxruntime-cuda"]].items():
        cuda.parameters[option] = value
    config.parameters["cudnn_conv_algo_search"].string_value = "2"  # DEFAULT


def output(messages: Any, bundle: Bundle) -> Any:
    """Return the network's output. Its classes have names, if it has one axis."""
    manifest = bundle.manifest
    named = len(manifest.output_shape) == 1 and manifest.classes
    return messages.ModelOutput(
        name=manifest.output,
        data_type=messages.TYPE_FP32,
        dims=list(manifest.output_shape),
        label_filename=LABELS if named else "",
    )


def proving_windows(bundle: Bundle) -> Floats:
    """Return the golden windows that a model is proven with, [N, ...]."""
    return golden.windows(bundle, bundle.manifest.input)[:_PROVEN]


def parsed(content: bytes) -> Any:
    """Return an ONNX model, without the weights in the file of weights."""
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(content)
    return model


def unlike(name: str, bundle: Bundle) -> ParityNotMet:
    """Return the error for a model with other answers than those of the bundle."""
    return ParityNotMet(
        f"the model {name} does not give the answers of {bundle.path} to its golden windows, so it is not written; "
        "choose `backend` python, and report this with the version of onnxruntime"
    )


def write_config(config: Any, folder: Path, bundle: Bundle, model: Tensors) -> None:
    """Write a configuration, and what it names.

    Raises:
        BadInput: it does not say what the model says, as the bundle contradicts itself.
    """
    wrong = agreement.disagreements(config, model)
    if wrong:
        raise BadInput(f"{bundle.path} cannot be packaged, as its model is not what its manifest says: {wrong[0]}")
    (folder / CONFIG).write_text(text(config), encoding="utf-8")


def _add_windows(config: Any, folder: Path, bundle: Bundle, options: TritonOptions) -> None:
    """Add the tensors of a network over whole windows, its batches, and its warm-up."""
    messages, manifest = protobuf(), bundle.manifest
    contract = manifest.input
    config.input.add(name=contract.name, data_type=messages.TYPE_FP32, dims=list(contract.shape))
    config.output.append(output(messages, bundle))
    if manifest.spike_counts:
        counts = [len(manifest.layers), manifest.time_steps]
        config.output.add(name=SPIKE_COUNTS, data_type=messages.TYPE_INT32, dims=counts)
    config.dynamic_batching.max_queue_delay_microseconds = options.delay
    config.model_warmup.extend(warm_up(messages, contract, (1, config.max_batch_size)))
    write_data(folder, bundle)
