"""Small correct networks that use their layers and weights in odd ways. Every export of them must meet parity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import Exported
from tcja_exporters.user_models.conversion import convert
from tcja_runtime.data.contract import InputContract

from .odd_graphs import GRAPHS
from .odd_norms import NORMS
from .odd_weights import WEIGHTS

NETWORKS = {**NORMS, **WEIGHTS, **GRAPHS}
"""Functions that make the networks, by name."""
ALONE = (
    "batch norm of snnTorch",
    "batch norm, T = 1",
    "batch norm, T = 2",
    "batch norm, T = 4, TN",
    "batch norm, step",
    "snnTorch in a Sequential, step",
)
"""The networks that `Together` does not take, as their windows have another form; and one for the quick tests."""


class Together(nn.Module):
    """Networks side by side, of one input, each with weights of its own; returns the sum of what they return.

    Most of the time of an export does not depend on the size of the network.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(made(name, seed) for seed, name in enumerate(names))
        ((self.shape, self.layout),) = {(part.shape, part.layout) for part in self.parts}

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([part(x) for part in self.parts]).sum(0)


def made(name: str, seed: int = 0) -> Any:
    """A network by name, with drawn weights and statistics with which it fires, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NETWORKS[name]()
        for module in network.modules():
            if getattr(module, "running_var", None) is not None:
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.3, 2)
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
                if module.bias is not None:
                    nn.init.normal_(module.bias, 0.3, 0.2)
    return network.eval()


def windows(network: Any, n: int) -> np.ndarray:
    """Event counts for a network, [N, T, 2, 5, 5]."""
    return np.random.default_rng(0).poisson(1.0, (n, *network.shape)).astype(np.float32)


def exported(name: str) -> tuple[nn.Module, Exported]:
    """A network by name, converted, and its models."""
    network = made(name)
    contract = InputContract.of(network.shape)
    model = convert(network, contract, windows(network, 2), layout=network.layout).model
    return model, export_onnx(model, contract, "rates", {"producer": "tests", "T": str(network.shape[0])})
