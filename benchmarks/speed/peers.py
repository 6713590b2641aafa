"""What our exported networks are measured against: the same network as its training code has it, run in other ways.

    trained          the training code's own neurons in PyTorch: SpikingJelly's MultiStepLIFNode, or a loop over time as
                     TET's, MS-ResNet's and FSVAE's codes have it. Convolutions and attention are the same modules
    compiled         that, by torch.compile
    plain export     that, by torch.onnx.export(dynamo=True) with default options, in ONNX Runtime with default options
    floor            the network's convolutions, poolings and matrix products alone, exported and run likewise: batch
                     norms folded, neurons and attention left out. No exported network can be faster by other means than
                     faster convolutions

The loops of TET's, MS-ResNet's and FSVAE's neurons are written from their equations. Where their codes write each step
into a tensor made beforehand, the steps are stacked here, as an in-place write would cost the plain export a copy of
the whole window at each step: what is measured against is the better plain way.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from spikingjelly.clock_driven import functional, neuron
from torch import Tensor, nn

from tcja_exporters.modules.attention import CLA, TCJA, TLA
from tcja_exporters.modules.dialects import FSVAE, MS_RESNET, SPIKINGJELLY, TET
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_runtime.data.contract import Floats
from tcja_runtime.neuron import NeuronSpec


class HardReset(nn.Module):
    """TET's LIFSpike: the membrane leaks, is charged, fires above the threshold and is set to zero.

    Shapes: currents -> spikes of the same shape, time being their axis `time_axis`.
    """

    def __init__(self, spec: NeuronSpec, time_axis: int) -> None:
        super().__init__()
        self.decay, self.threshold, self.time_axis = spec.decay, spec.threshold, time_axis

    def forward(self, x: Tensor) -> Tensor:
        membrane: Tensor | float = 0.0
        spikes = []
        for current in x.unbind(self.time_axis):
            membrane = membrane * self.decay + current
            fired = (membrane - self.threshold > 0).to(x.dtype)
            membrane = (1 - fired) * membrane
            spikes.append(fired)
        return torch.stack(spikes, self.time_axis)


class ResetAtCharge(HardReset):
    """MS-ResNet's mem_update and FSVAE's LIFSpike: what fired is set to zero when it is charged next."""

    def forward(self, x: Tensor) -> Tensor:
        first, *others = x.unbind(self.time_axis)
        membrane, fired = first, (first > self.threshold).to(x.dtype)
        spikes = [fired]
        for current in others:
            membrane = membrane * self.decay * (1 - fired) + current
            fired = (membrane > self.threshold).to(x.dtype)
            spikes.append(fired)
        return torch.stack(spikes, self.time_axis)


def _spikingjelly(spec: NeuronSpec, time_axis: int) -> nn.Module:
    if time_axis != 0 or spec.tau is None:
        raise ValueError("SpikingJelly's LIF has a tau and takes [T, N, ...]")
    return neuron.MultiStepLIFNode(  # type: ignore[no-any-return]
        tau=spec.tau,
        decay_input=spec.charge_order == "decayed",
        v_threshold=spec.threshold,
        v_reset=spec.v_reset,
        detach_reset=True,
    )


NEURONS: dict[str, Callable[[NeuronSpec, int], nn.Module]] = {
    SPIKINGJELLY.name: _spikingjelly,
    TET.name: HardReset,
    MS_RESNET.name: ResetAtCharge,
    FSVAE.name: ResetAtCharge,
}
"""What makes a neuron of each dialect."""


def as_trained(model: nn.Module, dialect: str) -> nn.Module:
    """A copy of a network of the registry with the neurons of its training code."""

    def swapped(module: nn.Module) -> nn.Module | None:
        return NEURONS[dialect](module.spec, module.time_axis) if isinstance(module, SpikingNeuron) else None

    return _replaced(model, swapped)


def bare(model: nn.Module) -> nn.Module:
    """A copy of a network without neurons, attention and batch norms, its convolutions with the bias of those folded.

    Other weights than the folded ones take as long.
    """

    def swapped(module: nn.Module) -> nn.Module | None:
        left_out = (SpikingNeuron, TCJA, CLA, TLA, nn.BatchNorm1d, nn.BatchNorm2d)
        return nn.Identity() if isinstance(module, left_out) else None

    found = _replaced(model, swapped)
    for conv in (m for m in found.modules() if isinstance(m, nn.Conv2d) and m.bias is None):
        conv.bias = nn.Parameter(torch.full((conv.out_channels,), 0.01))
    return found


def _replaced(model: nn.Module, swapped: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    found = copy.deepcopy(model)
    for name, module in list(found.named_modules()):
        new = swapped(module)
        if new is not None:
            parent, _, child = name.rpartition(".")
            setattr(found.get_submodule(parent), child, new)
    return found.eval()


def check_numbers(model: nn.Module, windows: Floats) -> None:
    """Refuse a network in which numbers are infinite, or so small that a processor takes longer for them.

    Raises:
        ValueError: a module returns such a number.
    """

    def check(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            least = torch.finfo(output.dtype).tiny
            if not output.isfinite().all() or ((output.abs() < least) & (output != 0)).any():
                raise ValueError(f"module '{name}' returns numbers that are infinite or subnormal")

        return hook

    hooks = [module.register_forward_hook(check(name)) for name, module in model.named_modules()]
    with torch.no_grad():
        model(torch.from_numpy(windows))
    for hook in hooks:
        hook.remove()


class InTorch:
    """A network run by PyTorch; membranes are set back before each call, as they must be."""

    def __init__(self, model: nn.Module, call: Callable[[Tensor], Tensor] | None = None) -> None:
        self._model, self._call = model, model if call is None else call
        self._keeps = any(isinstance(module, neuron.MultiStepLIFNode) for module in model.modules())

    def run(self, windows: Floats) -> Floats:
        """What it answers for a batch [N, ...]."""
        if self._keeps:
            functional.reset_net(self._model)
        with torch.no_grad():
            answer: Floats = self._call(torch.from_numpy(windows)).numpy()
        return answer


class TooLong(Exception):
    """It took longer than it was given."""


def compiled(model: nn.Module, windows: Floats, patience: float) -> InTorch:
    """The network by torch.compile, ready: it was called until it compiles no more.

    Raises:
        Exception: whatever torch.compile says that it cannot do, or `TooLong` after so many seconds.
    """
    found = InTorch(model, torch.compile(model))
    with _no_longer_than(patience), _quiet():
        for _ in range(3):  # the first call meets membranes that are numbers, later ones might not
            found.run(windows)
    return found


@contextlib.contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    late = TooLong(f"it took longer than {seconds:g} s")

    def stop(_signal: int, _frame: Any) -> None:
        raise late

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    began = time.monotonic()
    try:
        yield
    except Exception as error:
        # A compiler that is interrupted makes an error of its own of it.
        raise late if time.monotonic() - began >= seconds else error from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def export(model: nn.Module, windows: Floats, out: Path) -> float:
    """Export for batches of this size, the plain way; returns seconds."""
    functional.reset_net(model)
    began = time.perf_counter()
    with torch.no_grad(), _quiet():
        torch.onnx.export(model, (torch.from_numpy(windows),), str(out), dynamo=True, verbose=False)
    return time.perf_counter() - began


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch logs, and warns of in SpikingJelly's code and in its own."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
