"""NVIDIA's builder ends: reductions behind the spikes of fused layers, one by one and in a user's own network.

As they are, none of these builds ends in minutes (`benchmarks/engines/patterns.py` has the list).
"""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarks.engines import patterns
from tcja_exporters.graph.export import export_onnx, with_time_forms
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec
from tcja_runtime.tensorrt import build as engine
from tcja_runtime.tensorrt.build import BuildOptions, BuildRequest

STEPS = 16

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tensorrt,
    pytest.mark.rtx,
]


def build(model: onnx.ModelProto, folder):
    """Build an engine for 1 to 8 windows; a builder that has not ended after a minute is an error."""
    onnx.save(model, folder / "model.onnx")
    options = BuildOptions(build_timeout=60)
    request = BuildRequest(
        model=folder / "model.onnx", engines=folder, target="tensorrt-rtx", precision="fp32", options=options
    )
    return engine.build(request).info


@pytest.mark.parametrize("pattern", ["mean over time", "softmax"])
def test_a_reduction_behind_the_spikes(tmp_path, pattern):
    assert build(patterns.model(pattern, STEPS), tmp_path).bytes > 0


class Attentive(nn.Module):
    """Attention to time, channels and places, by means and maxima, as MA-SNN has it; residual sums of spikes."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0.1, 0.5, generator=generator)
        self.lif1 = SpikingNeuron(NeuronSpec.leaky(decay_input=True, tau=2.0))
        self.lif2 = SpikingNeuron(NeuronSpec.leaky(decay_input=True, tau=2.0))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = frames.transpose(0, 1)
        t, n = x.shape[:2]
        s = self.lif1(self.first(x.flatten(0, 1)).unflatten(0, (t, n)))
        for axes in ((2, 3, 4), (0, 3, 4), (0, 2)):
            s = s * torch.sigmoid(s.mean(axes, keepdim=True) + s.amax(axes, keepdim=True))
        s = s + self.lif2(self.second(s.flatten(0, 1)).unflatten(0, (t, n)))
        return s.mean((3, 4)).sum(0) + s.amax((0, 3, 4)) + s.flatten(2).mean(0).mean(1, keepdim=True)


def test_a_network_of_a_user(tmp_path):
    contract = InputContract(name="frames", shape=(12, 2, 8, 8), scaling="counts", split=None, polarity=None)
    exported = export_onnx(Attentive(), contract, "scores", {"producer": "tests"})
    fused = with_time_forms(exported, {"lif1": "fused", "lif2": "fused"}).plain
    assert build(fused, tmp_path).bytes > 0
    frames = np.random.default_rng(0).poisson(0.5, (3, *contract.shape)).astype(np.float32)
    onnx.save(exported.plain, tmp_path / "scan.onnx")
    found, expected = (
        OnnxRuntimeSession.open(tmp_path / file).run({"frames": frames})["scores"]
        for file in ("model.onnx", "scan.onnx")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert expected.std() > 0
