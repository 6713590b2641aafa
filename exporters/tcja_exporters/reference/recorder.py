"""Runs the trained network in PyTorch: the reference with which exported models are compared.

`record` runs it in float64 and records spikes and signals with their rounding bounds. `run` records only the output and
the spikes, in any precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from tcja_exporters.modules.layers import Readout
from tcja_exporters.modules.neurons import Neuron, SteppedNeuron, all_neurons, spiking_neurons
from tcja_exporters.reference.bounds import OWN_ROUNDING, Bounds
from tcja_exporters.reference.layer_recorder import Integration, LayerRecorder, sampled_witnesses
from tcja_exporters.reference.propagation import Propagation
from tcja_exporters.reference.taps import fired_output, read_steps, readout_input, tapped
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature, Tap, Weight
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.rounding import FLOAT32, Arithmetic
from tcja_runtime.evidence.trace import Observation, Recording, Reference, Spikes, Values, Witnesses

_OUTPUT = "the output"
"""The name of the output in `Recording.estimated`, where signals have the names of layers and taps."""


def run(
    network: nn.Module, inputs: Floats, dtype: torch.dtype = torch.float32, step_output: Tap | None = None
) -> Observation:
    """Run a network on windows; return its output and every spike.

    Args:
        network: a network in eval mode. Its weights are converted to `dtype` and stay so.
        inputs: the windows [N, ...], float32.
        dtype: the type in which the network computes.
        step_output: the tensor whose mean over time gives the output, if it is to be recorded, too; otherwise None.
    """
    network.to(dtype)
    calls: dict[str, list[Spikes]] = {}

    def note(name: str, fired: Tensor) -> None:
        calls.setdefault(name, []).append(fired.bool().numpy())

    with torch.inference_mode(), _observed(spiking_neurons(network), note), read_steps(network, step_output) as read:
        output = network(torch.from_numpy(inputs).to(dtype))
    spikes = {name: fired[0] if len(fired) == 1 else np.concatenate(fired) for name, fired in calls.items()}
    return Observation(output=output.numpy(), spikes=spikes, signals={}, step_output=_steps(step_output, read, spikes))


def layers(network: nn.Module, contract: InputContract) -> list[Layer]:
    """Return the spiking layers in the order in which they fire, from a run without values (on the meta device)."""
    return [layer for layer in _outline(network, contract)[0] if not layer.neuron.integrates]


def signature(network: nn.Module, contract: InputContract, output: str, time_steps: int) -> NetworkSignature:
    """Return the network signature, without the entries that need an exported model: taps, step output, weights.

    Args:
        network: the network in PyTorch. It runs without values, on the meta device.
        contract: the contract of the network's input.
        output: the name of the network's output.
        time_steps: the number of time steps, T.
    """
    found, returned = _outline(network, contract)
    shape = tuple(returned.shape[1:])
    return NetworkSignature(
        input=contract,
        output=output,
        output_shape=shape,
        time_steps=time_steps,
        layers=[layer for layer in found if not layer.neuron.integrates],
        integrators=[layer for layer in found if layer.neuron.integrates],
    )


def _outline(network: nn.Module, contract: InputContract) -> tuple[list[Layer], Any]:
    """Return the spiking layers and integrators, and the output for one window as a tensor without values."""
    specs = {name: neuron.spec for name, neuron in all_neurons(network).items()}
    found: dict[str, Layer] = {}

    def note(name: str, spikes: Tensor) -> None:
        found[name] = Layer(name=name, shape=tuple(spikes.shape[2:]), neuron=specs[name])

    outline = _on_meta(network)
    with _observed(all_neurons(outline), note), torch.device("meta"):
        output = outline(torch.empty(1, *contract.shape))
    return list(found.values()), output


def record(
    network: nn.Module,
    inputs: Floats,
    signature: NetworkSignature,
    *,
    spikes: Mapping[str, Spikes] | None = None,
    arithmetic: Arithmetic = FLOAT32,
) -> Recording:
    """Run a network in float64; record its spikes and signals with bounds of the rounding in backends.

    A signal is a spiking layer's current or a tap. A witness is one element of a signal whose values over time are
    recorded. There are two cases:

    `spikes` is None: the neurons fire by their equations. The recording has the step output and, of the taps, only
    parts of attention blocks. A backend later gets the recorded spikes and gates as inputs of its layers. So the
    rounding of a gate is not included in the bounds of the signals that are computed from the gate.

    `spikes` are given: each layer fires the given spikes. The recording has all taps, with more witnesses for each.

    Args:
        network: a network in eval mode. Its weights are converted to float64 and stay so.
        inputs: the windows [N, ...], float32.
        signature: the signature of the network.
        spikes: the spikes [T, N, ...] that each layer is made to fire, by layer; None to let the neurons fire.
        arithmetic: the arithmetic of the backends.
    """
    network.to(torch.float64)
    recorder = _NetworkRecorder(signature, Bounds(arithmetic), spikes)
    frames = torch.from_numpy(inputs).to(torch.float64)
    recorder.bounds.mark_input(frames)
    with (
        torch.no_grad(),
        replaced(network, recorder.stand_in),
        tapped(network, recorder.taps, recorder.keep),
        read_steps(network, recorder.step_output) as read,
        Propagation(recorder.bounds),
    ):
        output = network(frames)
        bound = recorder.bounds.error(output) * OWN_ROUNDING
        recorder.note(_OUTPUT)
    reference = recorder.reference(output.numpy(), bound.numpy(), read)
    estimated = {name: operations for name, operations in recorder.estimated.items() if operations}
    return Recording(inputs, reference, estimated)


class _NetworkRecorder:
    """Records a network while it runs (see `record`).

    Args:
        signature: the signature of the network.
        bounds: the error bounds of the network's tensors.
        spikes: the spikes that each layer is made to fire, by layer; None to let the neurons fire.

    Attributes:
        bounds: the error bounds of the network's tensors.
        estimated: the names of the operations with estimated bounds, by signal, in the order of computation.
        taps: the taps that are recorded, without the membranes of integrators, which are recorded as they are computed.
        step_output: the tensor whose mean over time gives the output; None if it is not recorded.
    """

    def __init__(self, signature: NetworkSignature, bounds: Bounds, spikes: Mapping[str, Spikes] | None) -> None:
        self.bounds, self._free, given = bounds, spikes is None, spikes or {}
        self._time_steps = signature.time_steps
        integrators = {layer.name for layer in signature.integrators}
        taps = [tap for tap in signature.taps if tap.on_windows or spikes is not None]
        self.taps = [tap for tap in taps if tap.name not in integrators]
        self.step_output = signature.step_output if spikes is None else None
        self.estimated: dict[str, list[str]] = {}
        self._witnesses: dict[str, Witnesses] = {}
        self._layers = {
            layer.name: LayerRecorder(
                layer, signature.time_steps, bounds, given.get(layer.name), self._most_places(layer.shape)
            )
            for layer in signature.layers
        }
        self._integrations = {
            layer.name: Integration(layer.neuron, bounds, self._most_places(layer.shape))
            for layer in signature.integrators
        }

    def _most_places(self, shape: tuple[int, ...]) -> int:
        """Return the number of elements to record of a signal, by its shape without time and batch."""
        most = stimulus.WINDOW_PLACES if self._free else stimulus.STIMULUS_PLACES
        return stimulus.most_places(shape, self._time_steps, most)

    def note(self, signal: str) -> None:
        """Store in `estimated` the operations without a rule that ran after the previous signal and before this one."""
        self.estimated[signal] = sorted(self.bounds.estimated)
        self.bounds.estimated.clear()

    def stand_in(self, layer: str) -> Callable[[Tensor], Tensor] | None:
        """Return the function that runs in place of a layer's neurons; None for an integrator that nothing reads."""
        recorder = self._layers.get(layer) or self._integrations.get(layer)
        if recorder is None:
            return None

        def run(current: Tensor) -> Tensor:
            self.note(layer)
            return recorder.fire(current) if isinstance(recorder, LayerRecorder) else recorder.integrate(current)

        return run

    def keep(self, tap: Tap, value: Tensor) -> Tensor | None:
        """Record the value of a tap.

        Args:
            tap: the tap.
            value: the value, [T, N, ...].

        Returns:
            If the tap is a gate and the neurons fire: a copy of the gate that is marked as exact, which the network
            then uses. Otherwise None.
        """
        error = self.bounds.error(value)
        forced = tap.is_gate and self._free
        with _disable_current_modes():
            most = value[0, 0].numel() if forced else self._most_places(tuple(value.shape[2:]))
            self._witnesses[tap.name] = sampled_witnesses(value, error, most)
        self.note(tap.name)
        if not forced:
            return None
        with _disable_current_modes():
            gate: Tensor = tap.out_of_time(value).clone()
            self.bounds.mark_input(gate)
        return gate

    def reference(self, output: Values, bound: npt.NDArray[np.float32], read: Sequence[Tensor]) -> Reference:
        """Return the recording after the run.

        Args:
            output: the output [N, ...].
            bound: the error bound of the output, in its shape.
            read: a list with the step output if a `Readout` reads it; otherwise an empty list.
        """
        fired = {name: layer.spikes() for name, layer in self._layers.items()}
        found = {name: layer.recorded() for name, layer in self._layers.items()}
        witnesses = self._witnesses | {name: chosen for name, (_, chosen) in found.items()}
        witnesses |= {name: each.recorded() for name, each in self._integrations.items()}
        return Reference(
            output=output,
            output_bound=bound,
            spikes=fired,
            undecided={name: undecided for name, (undecided, _) in found.items()} if self._free else {},
            witnesses={name: witnesses[name] for name in self.estimated if name != _OUTPUT},
            step_output=_steps(self.step_output, read, fired),
        )


def with_weights(network: nn.Module, weights: Sequence[Weight], values: Mapping[str, Floats]) -> nn.Module:
    """Return a copy of a network with other weights.

    If a batch norm was folded into one of these weights at export, it changes nothing in the copy: its factor is
    exactly 1 in float64. A bias without a parameter becomes the attribute `bias` of the weight's module.

    Args:
        network: the network to copy.
        weights: the weights to replace; several tensors of one parameter must have the same new values.
        values: the new values of weights and biases, by the names of their tensors in the exported models.
    """
    changed = copy.deepcopy(network)
    for weight in weights:
        value = values[weight.tensor]
        _assign(changed, weight.parameter, np.ascontiguousarray(value.T) if weight.transposed else value)
        module: Any = changed.get_submodule(weight.module)
        bias = None if weight.bias is None else values[weight.bias]
        if bias is not None and weight.bias_parameter:
            _assign(changed, weight.bias_parameter, bias)
        elif bias is not None and (bias.any() or getattr(module, "bias", None) is not None):
            # A network of a lower precision has such a bias already; it must not stay where the new bias is 0.
            module.bias = nn.Parameter(torch.from_numpy(bias))
        if weight.norm:
            _assign_identity(changed, weight.norm)
    return changed


def _assign(network: nn.Module, name: str | None, value: npt.NDArray[Any]) -> None:
    """Set the values of a parameter or buffer in all modules that have it, with the type of the new values."""
    module, _, attribute = str(name).rpartition(".")
    getattr(network.get_submodule(module), attribute).data = torch.from_numpy(value)


def _assign_identity(network: nn.Module, norm: str) -> None:
    """Set the parameters and buffers of a batch norm so that it returns its input. Its factor is 1 in float64."""
    module: Any = network.get_submodule(norm)
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - module.eps}
    for name, value in values.items():
        if getattr(module, name) is not None:
            _assign(network, f"{norm}.{name}", np.full(getattr(module, name).shape, value))


def _steps(step_output: Tap | None, read: Sequence[Tensor], spikes: Mapping[str, Spikes]) -> Values | None:
    """Return the step output [T, N, units], from the spikes of a layer or from `read`; None without a step output."""
    if step_output is None:
        return None
    return spikes[step_output.name].astype(np.float64) if step_output.name in spikes else read[0].numpy()


def step_output(network: nn.Module, model: onnx.ModelProto, layers: Sequence[Layer], inputs: Floats) -> Tap | None:
    """Find the tensor whose mean over time gives a network's output (the step output).

    Args:
        network: a network in eval mode. If it has no `tcja_exporters.modules.layers.Readout`, its weights are converted
            to float64 and stay so.
        model: the exported model of the network.
        layers: the spiking layers of the network.
        inputs: windows [N, ...] to run a network without a `Readout` on, to see whether its output is the firing rates
            of the last layer.

    Returns:
        The tap of the tensor; None if it is not found, or if the output itself has an axis of time.
    """
    if any(isinstance(module, Readout) for module in network.modules()):
        return readout_input(network, model)
    last = fired_output(layers[-1])
    ran = run(network, inputs, torch.float64, last)
    fits = ran.output.ndim == 2 and len(layers[-1].shape) == 1 and layers[-1].shape[0] % ran.output.shape[1] == 0
    predictions = Predictions.of_output(ran.output, ran.step_output) if fits else None
    return last if predictions and predictions.tells_steps and ran.output.any() else None


def _on_meta(network: nn.Module) -> nn.Module:
    """Return a copy of a network with its parameters and buffers on the meta device (shapes, no values)."""
    for module in network.modules():
        if isinstance(module, SteppedNeuron):
            module.restart()  # what an export of torch 2.8 leaves in it cannot be copied
    values: dict[int, Any] = {id(tensor): tensor.detach().to("meta") for tensor in network.buffers()}
    for parameter in network.parameters():
        values[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    return copy.deepcopy(network, values)


@contextmanager
def _observed(neurons: Mapping[str, Neuron], note: Callable[[str, Tensor], object]) -> Iterator[None]:
    """In this context, `note` is called with a layer's name and result [steps, N, ...] at each call of the layer."""

    def hook(name: str) -> Any:
        return lambda neuron, _inputs, output: note(name, neuron.fired(output))

    handles = [neuron.register_forward_hook(hook(name)) for name, neuron in neurons.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced(network: nn.Module, stand_in: Callable[[str], Callable[[Tensor], Tensor] | None]) -> Iterator[None]:
    """In this context, each spiking layer and integrator runs by the function `stand_in` returns for its name.

    A layer for which it returns None runs by itself.
    """
    neurons = all_neurons(network)
    for name, neuron in neurons.items():
        neuron.stand_in = stand_in(name)
    try:
        yield
    finally:
        for neuron in neurons.values():
            neuron.stand_in = None
