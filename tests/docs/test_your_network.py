"""The lines that register a neuron, as they are printed in the document, and its command."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tcja_deploy.cli import app
from tcja_exporters import libraries
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.neuron import fire

from .blocks import ROOT, blocks

DOCUMENT = ROOT / "docs/how-to/your-network.md"

NETWORK = """
import torch
from torch import nn

class MyLIF(nn.Module):
    def __init__(self):
        super().__init__()
        self.beta, self.theta, self.v = 0.5, 1.0, None

    def reset(self):
        self.v = None

    def forward(self, x):
        self.v = x if self.v is None else self.beta * self.v + x
        spikes = (self.v > self.theta).float() if x.dtype == torch.float32 else (self.v > self.theta).to(x.dtype)
        self.v = self.v * (1 - spikes)
        return spikes

{registration}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.lif1, self.lif2 = nn.Linear(32, 16), nn.Linear(16, 3), MyLIF(), MyLIF()

    def forward(self, x):
        return torch.stack([self.lif2(self.fc2(self.lif1(self.fc1(step.flatten(1))))) for step in x])

def build():
    return Net()
"""


def snippet(contains: str) -> str:
    """The block of the document that contains a text."""
    (found,) = (block.code for block in blocks(DOCUMENT) if contains in block.code)
    return found


def test_the_printed_lines_register_a_neuron_that_is_called_in_a_loop(tmp_path, monkeypatch, capsys):
    lines = snippet("register(MyLIF")
    assert sum(1 for line in lines.splitlines() if line) == 3
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "networks.py").write_text(NETWORK.format(registration=lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    generator = torch.Generator().manual_seed(0)
    shapes = {"fc1.weight": (16, 32), "fc1.bias": (16,), "fc2.weight": (3, 16), "fc2.bias": (3,)}
    torch.save(
        {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}, tmp_path / "weights.pth"
    )
    command = snippet("export weights.pth --model mypackage.networks:build").split()[1:]
    assert snippet("check weights.pth --model mypackage.networks:build").split()[1:] == ["check", *command[1:]]
    command[command.index("--shape") + 1] = "4,2,4,4"
    assert app.run([*command, "--target", "onnx", "--anytime", "0"]) == 0, capsys.readouterr().err
    layers = Bundle.open(tmp_path / "weights.bundle").manifest.layers
    assert [layer.name for layer in layers] == ["lif1", "lif2"]


class IFCell(nn.Module):
    """The neuron of MA-SNN (Yao et al., "Attention Spiking Neural Networks", IEEE TPAMI 2023), written from its paper.

    The membrane that it keeps is already decayed, so that of the first step is 0 with any threshold.
    """

    def __init__(self, alpha: Any, threshold: Any) -> None:
        super().__init__()
        self.alpha, self.Vthres, self.h = alpha, threshold, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = x if self.h is None else self.h + x
        s = (u - self.Vthres >= 0).to(x.dtype)
        self.h = (s * self.Vthres + (1 - s) * u) * self.alpha
        return s

    def reset(self) -> None:
        self.h = None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("learned", [False, True], ids=["numbers", "by channel"])
def test_the_printed_neuron_of_ma_snn_fires_as_it_does(learned, dtype, monkeypatch):
    monkeypatch.setattr(libraries, "_registered", {})
    exec(snippet("register(\n    IFCell"), {"IFCell": IFCell})  # the block of the document
    constants = (torch.linspace(0.2, 0.9, 3), torch.linspace(0.3, 0.6, 3)) if learned else (0.3, 0.3)
    cell = IFCell(*(c.reshape(3, 1, 1) if learned else c for c in constants))
    known = libraries.recognise("cell", cell)
    x = torch.randn(12, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)
    spikes = torch.stack([cell(step) for step in x]).bool().numpy()
    assert 0.1 < spikes.mean() < 0.9
    np.testing.assert_array_equal(fire(known.spec, x.numpy()), spikes)
