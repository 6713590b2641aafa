"""Small networks of every registry entry, with weights that make them fire, for tests in all three packages."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor, nn

from tcja_exporters.networks import NETWORKS, dvs128, fashion_mnist
from tcja_exporters.neurons import spiking_neurons

SIZES = {
    "dvs128": dvs128.Sizes(time_steps=5, channels=6, side=64, hidden=24, classes=3, kernels=((4, 2), (3, 4))),
    "fashion_mnist": fashion_mnist.Sizes(time_steps=4, channels=8, side=28, hidden=32, classes=10, kernels=(4, 2)),
}


def inputs(name: str, n: int, seed: int = 0) -> Tensor:
    """A batch [N, ...] that meets the network's contract: event counts or intensities."""
    generator = torch.Generator().manual_seed(seed)
    contract = NETWORKS[name].contract(SIZES[name])
    uniform = torch.rand(n, *contract.shape, generator=generator)
    return uniform if contract.scaling == "unit" else (uniform * 4).floor()


@functools.cache
def state(name: str, seed: int = 0) -> dict[str, Tensor]:
    """A state_dict whose every layer fires at some 5 to 60 %."""
    network = NETWORKS[name].build(SIZES[name])
    generator = torch.Generator().manual_seed(seed)
    for key, value in network.state_dict().items():
        if value.ndim > 1:
            gain = {2: 12.0, 3: 6.0, 4: 1.0}[value.ndim]
            value.copy_(torch.randn(value.shape, generator=generator) * gain / value[0].numel() ** 0.5)
        elif key.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif key.endswith(("weight", "running_mean", "bias")):
            centre = 2.5 if key.endswith("weight") else 0.0
            value.copy_(centre + 0.2 * torch.randn(value.shape, generator=generator))
    # A batch norm that has seen the network's own activity keeps deep layers awake.
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(inputs(name, 8, seed=seed + 1))
    return {key: value.clone() for key, value in network.state_dict().items()}


def network(name: str, seed: int = 0) -> nn.Module:
    """The small network, in eval mode."""
    module = NETWORKS[name].build(SIZES[name])
    module.load_state_dict(state(name, seed))
    return module.eval()


def checkpoint(path: Path, name: str, seed: int = 0, **changed: Tensor | None) -> Path:
    """Save it in the layout of the published training scripts, with some keys replaced, or left out for None."""
    weights = {key.replace(".", "__"): value for key, value in state(name, seed).items()}
    weights.update(changed)  # type: ignore[arg-type]
    kept = {key.replace("__", "."): value for key, value in weights.items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"net": kept, "optimizer": {}, "lr_scheduler": {}, "epoch": 0, "max_test_acc": 0.0}, path)
    return path


def firing_rates(module: nn.Module, batch: Tensor) -> dict[str, float]:
    """Spikes a neuron and step, by layer."""
    rates: dict[str, float] = {}
    for layer, spiking in spiking_neurons(module).items():
        spiking.register_forward_hook(lambda _m, _i, out, layer=layer: rates.__setitem__(layer, float(out.mean())))
    with torch.no_grad():
        module(batch)
    return rates
