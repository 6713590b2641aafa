"""Lowered networks in ONNX Runtime, against the same constants in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tcja_exporters.graph.exported import save
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL

from ... import networks
from .lowering import layers_of, lower


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("file", [MODEL, PLAIN_MODEL])
def test_the_model_computes_what_the_network_of_its_constants_does(tmp_path, name, exports, precision, file):
    """Up to the first neuron, where no spike has flipped yet: only rounding is left."""
    low = lower(name, exports[name][0], precision)
    save(low.exported, tmp_path)
    inputs = networks.SMALL[name].inputs(4)
    first = layers_of(name)[0].name
    taken: list[torch.Tensor] = []
    neuron = low.network.get_submodule(first)
    neuron.register_forward_pre_hook(lambda _module, args: taken.append(args[0]))
    with torch.no_grad():
        low.network.double()(inputs.double())
    session = OnnxRuntimeSession.open(tmp_path / file, [f"{first}/current"])
    (current,) = session.run({session.inputs[0]: inputs.numpy()}).values()
    # One rounding to half of the inputs, and one of the sum; or those of float32, and for INT8 nothing else.
    largest = {"fp16": 2.0**-9, "int8": 2.0**-19}[precision] * float(taken[0].abs().max())
    assert np.abs(current - taken[0].numpy()).max() <= largest


def test_both_models_agree_to_the_bit(tmp_path, name, exports):
    for precision in ("fp16", "int8"):
        folder = tmp_path / precision
        folder.mkdir()
        save(lower(name, exports[name][0], precision).exported, folder)
        sessions = [OnnxRuntimeSession.open(folder / file) for file in (MODEL, PLAIN_MODEL)]
        inputs = networks.SMALL[name].inputs(6).numpy()
        (one,), (other,) = (session.run({session.inputs[0]: inputs}).values() for session in sessions)
        assert (one == other).all()
