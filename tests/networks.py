"""Small networks with weights that make them fire, for tests in all three packages."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.modules.attention import attention
from tcja_exporters.modules.layers import PerStep, Readout
from tcja_exporters.modules.neurons import SpikingNeuron, spiking_neurons
from tcja_exporters.networks import NETWORKS, fashion_mnist, fsvae, ms_resnet, tet_cifar10dvs
from tcja_exporters.networks.base import AnyNetwork, Attention
from tcja_exporters.networks.shared.event_sizes import EventSizes
from tcja_runtime.neuron import NeuronSpec


@dataclasses.dataclass(frozen=True)
class Small:
    """A network of the registry in a size that is quick to test.

    Attributes:
        name: the name of the network.
        sizes: its sizes, small ones.
        scale: the weights of its batch norms, so large that every layer fires.
    """

    name: str
    sizes: Any
    scale: float = 2.5

    @property
    def network(self) -> AnyNetwork:
        return NETWORKS[self.name]

    def inputs(self, n: int, seed: int = 0) -> Tensor:
        """A batch [N, ...] that meets the network's contract: event counts, intensities or spikes."""
        generator = torch.Generator().manual_seed(seed)
        contract = self.network.contract(self.sizes)
        uniform = torch.rand(n, *contract.shape, generator=generator)
        return {"unit": uniform, "counts": (uniform * 4).floor(), "spikes": (uniform < 0.3).float()}[contract.scaling]

    @functools.cache  # noqa: B019  # there are a dozen
    def state(self, seed: int = 0) -> dict[str, Tensor]:
        """A state_dict whose every layer fires at some 5 to 60 %."""
        network = self.network.build(self.sizes)
        generator = torch.Generator().manual_seed(seed)
        for key, value in network.state_dict().items():
            if key.endswith("coef"):
                continue
            if value.ndim > 1:
                gain = {2: 12.0, 3: 6.0}.get(value.ndim, 1.0)
                value.copy_(torch.randn(value.shape, generator=generator) * gain / value[0].numel() ** 0.5)
            elif key.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif key.endswith(("weight", "running_mean", "bias")):
                centre = self.scale if key.endswith("weight") else 0.0
                value.copy_(centre + 0.2 * torch.randn(value.shape, generator=generator))
        # A batch norm that has seen the network's own activity keeps deep layers awake.
        network.train()
        with torch.no_grad():
            for _ in range(20):
                network(self.inputs(8, seed=seed + 1))
        return {key: value.clone() for key, value in network.state_dict().items()}

    def module(self, seed: int = 0) -> nn.Module:
        """The small network, in eval mode."""
        module = self.network.build(self.sizes)
        module.load_state_dict(self.state(seed))
        return module.eval()

    def checkpoint(self, path: Path, seed: int = 0, **changed: Tensor | None) -> Path:
        """Save it in the layout of the published training scripts, some keys replaced, or left out for None."""
        weights = {key.replace(".", "__"): value for key, value in self.state(seed).items()}
        weights.update(changed)  # type: ignore[arg-type]
        kept = {key.replace("__", "."): value for key, value in weights.items() if value is not None}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"net": kept, "optimizer": {}, "lr_scheduler": {}, "epoch": 0, "max_test_acc": 0.0}, path)
        return path


def _event_sizes(t: int, kernels: tuple[tuple[int, int], ...], widths: tuple[int, ...], **sizes: int) -> EventSizes:
    return EventSizes(attention=Attention("tcja", "product", t, kernels), widths=widths, **sizes)


_VGG_WIDTHS = (4, 8, 16, 16, 32, 32, 32, 32)
_CALTECH = {"height": 64, "width": 64, "hidden": 32, "classes": 5}
_CIFAR = {"height": 48, "width": 48, "hidden": 0, "classes": 4}
_MS_RESNET_KERNELS = ((2, 3), (3, 2), (4, 2), (2, 4), (1, 1), (3, 3), (2, 2), (4, 3))
REGISTRY = {
    small.name: small
    for small in (
        Small("dvs128", _event_sizes(5, ((4, 2), (3, 4)), (6,) * 5, height=64, width=64, hidden=24, classes=3)),
        Small(
            "fashion_mnist",
            fashion_mnist.Sizes(attention=Attention("tcja", "product", 4, ((4, 2),)), channels=8, hidden=32),
        ),
        Small("cifar10dvs", _event_sizes(3, ((4, 3), (2, 4)), _VGG_WIDTHS, **_CIFAR)),
        Small("ncaltech101", _event_sizes(4, ((4, 4), (2, 4)), (4, 8, 16, 16, 32), **_CALTECH)),
        Small("tet_ncaltech101", _event_sizes(4, ((4, 4), (4, 4)), (4, 8, 16, 16, 32), **_CALTECH)),
        Small(
            "tet_cifar10dvs",
            tet_cifar10dvs.Sizes(_event_sizes(4, ((2, 3),), _VGG_WIDTHS, **_CIFAR)),
            scale=1.4,
        ),
        Small("tet_ncaltech101_vgg", _event_sizes(4, ((4, 3), (2, 4)), (4, 8, 16, 16, 32), **_CALTECH), scale=1.4),
        Small(
            "fsvae",
            fsvae.Sizes(Attention("tcja", "product", 4, ((2, 3),)), latent=12, widths=(16, 12, 10, 8), channels=3),
        ),
        Small(
            "ms_resnet",
            ms_resnet.Sizes(attention=Attention("tcja", "product", 4, _MS_RESNET_KERNELS), width=4, classes=5),
        ),
    )
}
"""Every network of the registry in a small size."""

SMALL = {name: REGISTRY[name] for name in ("dvs128", "fashion_mnist")}
"""The networks that tests of the whole flow run on: one that takes frames, one that takes images."""
BOTH = pytest.mark.parametrize("name", list(SMALL))
"""For a test that `make test` runs on both networks; else it runs on one, and `make test-all` on the other, too."""

OWN_LIF = """
import torch
from torch import nn
from tcja_exporters.libraries import register
from tcja_runtime.neuron import NeuronSpec

class LIF(nn.Module):
    def __init__(self, beta=0.5):
        super().__init__()
        self.beta = beta

    def forward(self, x):
        v, spikes = torch.zeros_like(x[0]), []
        for step in x:
            v = v * self.beta + step
            spikes.append((v > 1).to(x.dtype))
            v = v * (1 - spikes[-1])
        return torch.stack(spikes)

register(LIF, lambda lif: NeuronSpec.linear(decay=lif.beta, strict=True), calls="window", time_axis=0)

"""
"""The start of a user's own module: a leaky neuron with a hard reset, [T, N, ...] -> spikes, which is registered."""
OWN_NETWORK = (
    OWN_LIF
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(32, 16), nn.Linear(16, 3)
        self.lif1, self.lif2 = LIF(0.5), LIF(0.75)

    def forward(self, x):
        return self.lif2(self.b(self.lif1(self.a(x.flatten(2)))))
"""
)
"""A user's own module with a network of two layers of that neuron: frames [T, N, 2, 4, 4] -> [T, N, 3]."""


def with_time_steps(sizes: Any, time_steps: int) -> Any:
    """The same sizes with another T."""
    return sizes._replace(attention=sizes.attention._replace(time_steps=time_steps))


def firing_rates(module: nn.Module, batch: Tensor) -> dict[str, float]:
    """Spikes a neuron and step, by layer."""
    rates: dict[str, float] = {}
    for layer, spiking in spiking_neurons(module).items():
        spiking.register_forward_hook(lambda _m, _i, out, layer=layer: rates.__setitem__(layer, float(out.mean())))
    with torch.no_grad():
        module(batch)
    return rates


class Streamable(nn.Module):
    """Frames [N, T, P, H, W] -> logits [N, classes]: two spiking convolutions with a neuron of choice, TCJA, a pooling.

    The third spiking layer is behind the attention, where every step depends on all.
    """

    def __init__(self, spec: NeuronSpec, *, time_axis: int = 0, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.time_axis = time_axis
        self.body = nn.Sequential(
            PerStep(nn.Conv2d(2, 8, 3, padding=1)),
            SpikingNeuron(spec, time_axis=time_axis),
            PerStep(nn.Conv2d(8, 8, 3, padding=1)),
            SpikingNeuron(spec, time_axis=time_axis),
            *attention("tcja", (3, 2), STREAMED[0], 8, time_axis=time_axis),
            PerStep(pool or nn.MaxPool2d(2)),
            PerStep(nn.Conv2d(8, 8, 3, padding=1)),
            SpikingNeuron(spec, time_axis=time_axis),
            nn.Flatten(2),
            PerStep(nn.Linear(8 * 16, 3)),
        )
        self.readout = Readout(time_axis=time_axis)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.body(frames.transpose(0, 1) if self.time_axis == 0 else frames))
        return logits


STREAMED = (5, 2, 8, 8)
"""A window of a `Streamable` network: T, P, H, W."""


def streamable(spec: NeuronSpec, seed: int = 0, **options: Any) -> Streamable:
    """One with drawn weights that make it fire."""
    generator = torch.Generator().manual_seed(seed)
    module = Streamable(spec, **options).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 2 / max(1, parameter[0].numel()) ** 0.5)
    return module
