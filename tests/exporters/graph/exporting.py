"""Networks exported to a folder, and what runs them from there."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.networks import NETWORKS
from tcja_exporters.reference import recorder
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.network_signature import Layer, Tap
from tcja_runtime.data.contract import InputContract

from ... import networks


def layers(name: str) -> list[Layer]:
    return recorder.layers(networks.SMALL[name].module(), contract(name))


def contract(name: str) -> InputContract:
    return NETWORKS[name].contract(networks.SMALL[name].sizes)


def probe(folder, file: str, name: str, taps: Sequence[Tap] = ()) -> Probe:
    opened = functools.partial(OnnxRuntimeSession.open, folder / file)
    small = networks.SMALL[name]
    signature = recorder.signature(small.module(), contract(name), NETWORKS[name].output, small.sizes.time_steps)
    return Probe(file, "", opened, dataclasses.replace(signature, taps=taps))


def ran(model: Path, output: str, x: Tensor) -> np.ndarray:
    session = OnnxRuntimeSession.open(model)
    return session.run({session.inputs[0]: x.numpy()})[output]


def saved(folder, module: nn.Module, contract: InputContract) -> Exported:
    exported = export_onnx(module, contract, "spikes", {"producer": "tests"})
    save(exported, folder)
    return exported
