"""The lines that register a neuron, as they are printed in the document, and its command."""

import sys

import torch

from tcja_deploy.cli import app
from tcja_runtime.bundle.bundle import Bundle

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
    lines = snippet("register(")
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
