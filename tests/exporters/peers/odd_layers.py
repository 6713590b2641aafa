"""What small odd networks are made of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

Step = Callable[[Any, Tensor, int], Tensor]


class Odd(nn.Module):
    """Calls `step(self, frame, t)` once a time step; returns the mean of what it returns.

    Args:
        step: one time step, from frames [N, 2, 5, 5] to scores [N, 3].
        steps: T.
        layout: the axes of the windows that forward takes: "NT", "TN", or "step" for one frame a call.
        modules: the attributes of the network: modules, parameters, tensors.
    """

    def __init__(self, step: Step, *, steps: int = 3, layout: str = "NT", **modules: Any) -> None:
        super().__init__()
        self.step, self.shape, self.layout = step, (steps, 2, 5, 5), layout
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        if self.layout == "step":
            return self.step(self, x, 0)
        frames = x.unbind(self.layout.index("T"))
        return torch.stack([self.step(self, frame, t) for t, frame in enumerate(frames)]).mean(0)


class Window(nn.Module):
    """Calls `whole(self, windows)` once, with all time steps.

    Args:
        whole: the network, from windows [N, T, 2, 5, 5] to scores [N, 3].
        modules: the attributes of the network.
    """

    def __init__(self, whole: Callable[[Any, Tensor], Tensor], **modules: Any) -> None:
        super().__init__()
        self.whole, self.shape, self.layout = whole, (3, 2, 5, 5), "NT"
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.whole(self, x)


def lif(mode: str = "s", threshold: float = 0.7) -> nn.Module:
    from spikingjelly.activation_based import neuron

    return neuron.LIFNode(tau=1.5, v_threshold=threshold, v_reset=None, step_mode=mode)


def leaky() -> nn.Module:
    import snntorch

    return snntorch.Leaky(beta=0.5, threshold=0.7, init_hidden=True)


def conv(inputs: int = 2, outputs: int = 4, size: int = 3, *, bias: bool = True, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias, **options)


def weight(*shape: int, scale: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * scale)


def flat(units: int = 100) -> nn.Linear:
    return nn.Linear(units, 3)


def chain(*names: str) -> Step:
    """Apply the attributes of these names in turn, then flatten, then `fc`."""

    def step(net: Any, x: Tensor, _t: int) -> Tensor:
        for name in names:
            x = getattr(net, name)(x)
        return net.fc(x.flatten(1))

    return step


def then(first: Callable[[Any, Tensor, int], Tensor]) -> Step:
    """Apply `first`, then `lif`, then flatten, then `fc`."""
    return lambda net, x, t: net.fc(net.lif(first(net, x, t)).flatten(1))


class Together(nn.Module):
    """A convolution and a batch norm in one module, both called as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.gain, self.shift = weight(4, 2, 3, 3, scale=0.4), weight(4), weight(4)
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv2d(x, self.weight, padding=1)
        return functional.batch_norm(y, self.running_mean, self.running_var, self.gain, self.shift)


class Kernel(nn.Module):
    """A convolution whose weight is computed from its parameters by `computed`."""

    def __init__(self, computed: Callable[[Any], Tensor], inputs: int = 2) -> None:
        super().__init__()
        self.weight, self.bias, self.scale = (
            weight(4, inputs, 3, 3, scale=0.4),
            weight(4, scale=0.3),
            weight(4, 1, 1, 1),
        )
        self.computed = computed

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.computed(self), self.bias, padding=1)


class Misnamed(nn.Module):
    """Uses `kernel`; its parameter `weight`, of the same shape, scales the result."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.kernel = weight(4, 4), weight(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.kernel) * self.weight[0]


class Half(nn.Module):
    """A parametrisation that halves."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0.5


def halved(module: nn.Module) -> nn.Module:
    parametrize.register_parametrization(module, "weight", Half())
    return module


def alike(module: nn.Module) -> nn.Module:
    """Another module of the same values."""
    return copy.deepcopy(module)


def shared(*modules: Any) -> nn.ModuleList:
    """Modules that share the parameter `weight` of the first."""
    for module in modules[1:]:
        module.weight = modules[0].weight
    return nn.ModuleList(modules)


def standardised(net: Any) -> Tensor:
    w = net.weight
    return (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)


def binary(net: Any) -> Tensor:
    return torch.sign(net.weight) * net.weight.abs().mean()
