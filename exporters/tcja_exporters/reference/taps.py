"""Finds the taps of a network: tensors that the parity tests compare, besides the spiking layers.

Taps are parts of attention blocks, pools, fully connected layers, and the step output, whose mean over time gives the
network's output. The step output is the input of the network's `Readout`. A user's network may compute the mean in its
own forward and have no `Readout`. If it is the mean of the last spiking layer, the step output is the spikes of that
layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from tcja_exporters import custom_op
from tcja_exporters.modules import attention
from tcja_exporters.modules.layers import PerStep, Readout, TetPerStep
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature, Tap
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor

_PER_STEP = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Linear)
_OPERATORS = ("Conv", "Sigmoid", "MaxPool", "AveragePool", "GlobalAveragePool", "Gemm", "MatMul")
_SIZES = ("Shape", "Size")
_MOVES = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze")


def find_taps(network: nn.Module, model: onnx.ModelProto, time_steps: int) -> list[Tap]:
    """Return the taps: tensors that can be read both in a network and in its exported model.

    Args:
        network: the network in PyTorch.
        model: the exported model of the network; its nodes are named after the network's modules.
        time_steps: the number of time steps, T.
    """
    found = []
    for name, (unfold, axes) in {**_attention(network), **_per_step(network, time_steps)}.items():
        tensors = [
            node.output[0]
            for node in model.graph.node
            if node.op_type in _OPERATORS and node.name.startswith((f"{name}/", f"{name}."))
        ]
        if len(tensors) == 1 and not _is_current(model, tensors[0]):
            found.append(Tap(name=name, tensor=tensors[0], unfold=unfold, axes=axes))
    return found


def signals_of_input(model: onnx.ModelProto, signature: NetworkSignature) -> list[str]:
    """Return the names of the layers and taps that depend on the network's input even if all spikes are given.

    Args:
        model: the exported model of the network, with a node TcjaLif for each spiking layer.
        signature: the signature of the network.
    """
    reached = {signature.input.name}
    for node in model.graph.node:
        if reached.intersection(node.input) and not custom_op.fires(node) and node.op_type not in _SIZES:
            reached.update(node.output)
    tensors = {layer.name: current_tensor(layer.name) for layer in signature.layers}
    tensors |= {tap.name: tap.tensor for tap in signature.taps}
    return [name for name, tensor in tensors.items() if tensor in reached]


def readout_input(network: nn.Module, model: onnx.ModelProto) -> Tap | None:
    """Return the tap of the input of a network's `Readout`; None without a `Readout`, or with an output per step."""
    readouts = [(name, each) for name, each in network.named_modules() if isinstance(each, Readout)]
    if len(readouts) != 1 or readouts[0][1].per_step:
        return None
    ((name, readout),) = readouts
    tensors = [node.input[0] for node in model.graph.node if node.name == f"{name}/ReduceMean"]
    axes = (0, 1, 2) if readout.time_axis == 0 else (1, 0, 2)
    return Tap(name=name, tensor=tensors[0], unfold=(), axes=axes) if len(tensors) == 1 else None


def fired_output(layer: Layer) -> Tap:
    """Return the tap of a layer's spikes, the step output of a network that returns the layer's firing rates."""
    return Tap(name=layer.name, tensor=spikes_tensor(layer.name), unfold=(), axes=(0, 1, 2))


@contextmanager
def read_steps(network: nn.Module, step_output: Tap | None) -> Iterator[list[Tensor]]:
    """In this context, the step output is appended to the yielded list as [T, N, units], if a `Readout` reads it."""
    kept: list[Tensor] = []
    if step_output is None or not isinstance(readout := network.get_submodule(step_output.name), Readout):
        yield kept
        return

    def keep(_module: nn.Module, inputs: tuple[Tensor]) -> None:
        with _disable_current_modes():
            kept.append(step_output.in_time(inputs[0]))

    handle = readout.register_forward_pre_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


@contextmanager
def tapped(network: nn.Module, taps: Iterable[Tap], keep: Callable[[Tap, Tensor], object]) -> Iterator[None]:
    """In this context, `keep` is called with each tap and the tap's tensor, as [T, N, ...].

    If `keep` returns a tensor, the network uses that tensor in place of the tapped one.
    """

    def hook(tap: Tap) -> Any:
        return lambda _module, _inputs, output: keep(tap, tap.in_time(output))

    handles = [network.get_submodule(tap.name).register_forward_hook(hook(tap)) for tap in taps]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


_Layout = tuple[tuple[int, ...], tuple[int, ...]]
"""The fields `unfold` and `axes` of a `Tap`."""


def _attention(network: nn.Module) -> dict[str, _Layout]:
    """Return the layouts of the parts of attention blocks, by module name."""
    return {name: ((), axes) for name, axes in attention.parts(network).items()}


def _is_current(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether a tensor is only reshaped into the current of a spiking layer. The current is compared anyway."""
    readers = [node for node in model.graph.node if tensor in node.input]
    while len(readers) == 1 and readers[0].op_type in _MOVES:
        tensor = readers[0].output[0]
        readers = [node for node in model.graph.node if tensor in node.input]
    return len(readers) == 1 and custom_op.fires(readers[0])


def _per_step(network: nn.Module, time_steps: int) -> dict[str, _Layout]:
    """Return the layouts of the pools and fully connected layers whose input has time and batch as one axis, by module.

    The result is empty if the network has another order of axes.
    """
    time_axes = {neuron.time_axis for neuron in network.modules() if isinstance(neuron, SpikingNeuron)}
    if time_axes not in ({0}, {1}):
        return {}
    unfold, first = ((time_steps, -1), (0, 1)) if time_axes == {0} else ((-1, time_steps), (1, 0))
    return {
        f"{outer}.{inner}": (unfold, (*first, 2) if isinstance(module, nn.Linear) else (*first, 2, 3, 4))
        for outer, per_step in network.named_modules()
        if isinstance(per_step, (PerStep, TetPerStep))
        for inner, module in per_step.named_modules()
        if isinstance(module, _PER_STEP)
    }
