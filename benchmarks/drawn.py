"""Checkpoints of the registry's networks in their published sizes, with drawn weights that make every layer fire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tcja_exporters.networks import NETWORKS
from tcja_exporters.networks.base import ShapeReader
from tcja_runtime.data.windows import random_windows

GAIN = {2: 8.0, 3: 6.0}
"""Of fully connected layers and of attention; convolutions have 1."""
SCALE = {"tet_cifar10dvs": 0.9, "tet_ncaltech101_vgg": 0.9, "ms_resnet": 0.9}
"""Of batch norms, where the neuron does not halve its input; the others have 1.6."""


def module(name: str, seed: int, sizes: Any = None) -> nn.Module:
    """A network with drawn weights, in eval mode; its batch norms have seen its own activity on drawn windows.

    Args:
        name: of the registry.
        seed: of the weights and the windows.
        sizes: the network's own; None for the published.
    """
    network = NETWORKS[name]
    sizes = sizes or network.sizes(ShapeReader({}, {}))
    found, contract = network.build(sizes), network.contract(sizes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.ndim > 1:
                gain = GAIN.get(parameter.ndim, 1.0)
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(drawn * gain / parameter[0].numel() ** 0.5)
        for norm in (m for m in found.modules() if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm1d))):
            norm.weight.copy_(SCALE.get(name, 1.6) + 0.1 * torch.randn(norm.weight.shape, generator=generator))
            norm.bias.copy_(0.1 * torch.randn(norm.bias.shape, generator=generator))
            norm.momentum = 1.0
        found.train()
        found(torch.from_numpy(random_windows(contract, 1, seed=seed).inputs))
    return found.eval()


def checkpoint(name: str, seed: int, path: Path) -> Path:
    """Save a checkpoint of such a network in its published sizes."""
    torch.save({"net": module(name, seed).state_dict(), "epoch": 0}, path)
    return path
