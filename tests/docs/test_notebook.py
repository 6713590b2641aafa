"""The blocks of the page on Python on the workstation are run, one after the other, as in a notebook."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from .. import networks
from .blocks import ROOT

DOCUMENT = (ROOT / "docs/how-to/notebook.md").read_text()
NETWORK = f"""{networks.OWN_LIF}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.lif1, self.lif2 = nn.Linear(128, 16), nn.Linear(16, 3), LIF(), LIF()

    def forward(self, x):
        return self.lif2(self.fc2(self.lif1(self.fc1(x.transpose(0, 1).flatten(2)))))

net = Net()
"""


@pytest.mark.slow
def test_the_blocks_run(tmp_path, monkeypatch, data, capsys):
    monkeypatch.chdir(tmp_path)
    networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    (tmp_path / "test.npz").write_bytes(data["fashion_mnist"].read_bytes())
    torch.manual_seed(0)
    windows = torch.rand(20, 4, 2, 8, 8).mul(4).floor()
    cells: dict[str, Any] = {"__name__": "notebook", "test_set": TensorDataset(windows, torch.arange(20) % 3)}
    exec(NETWORK, cells)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, cells)
    assert "Parity met" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("*.bundle")) == ["half.bundle", "model.bundle", "net.bundle"]
    assert cells["result"].parity.windows == 20
    assert cells["found"].met
