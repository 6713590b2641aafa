"""A network that a user wrote: its neurons are replaced by ours, and the result is proven to be the same.

The neurons of known libraries, and those that were registered, become `SpikingNeuron` or `SteppedNeuron` with the same
constants; everything else stays as it is. Then both networks run in float64 on the same windows, and every spike of
every layer must agree.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tcja_exporters import reference
from tcja_exporters.checkpoint import Checkpoint, stripped
from tcja_exporters.layers import Readout
from tcja_exporters.libraries import recognise, reset
from tcja_exporters.libraries.recognised import Recognised, class_name
from tcja_exporters.neurons import SpikingNeuron, SteppedNeuron
from tcja_exporters.trained import TrainedNetwork
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.frames import Floats, InputContract
from tcja_runtime.neuron import fire
from tcja_runtime.trace import Spikes

Layout: TypeAlias = Literal["NT", "TN", "step"]
"""What a network's forward takes of frames: windows [N, T, ...], steps [T, N, ...], or [N, ...] once a time step."""
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

OUTPUT = 1e-9
"""Largest difference of an output in float64 where every spike agrees."""


def adopt(
    model: nn.Module,
    contract: InputContract,
    inputs: Floats,
    *,
    layout: Layout = "NT",
    name: str = "",
    source: Mapping[str, Any] | None = None,
) -> TrainedNetwork:
    """Take a user's network, trained and with its weights loaded.

    Args:
        model: the network. What its neurons hold from earlier runs is forgotten; nothing else of it changes.
        contract: what it takes in.
        inputs: windows [N, *contract.shape] to prove the replacement on.
        layout: how it takes frames; images are always [N, C, H, W].
        name: of the network; its class's otherwise.
        source: name, sha256 and bytes of its checkpoint; a hash of its weights otherwise.

    Raises:
        BadInput: it has no neurons, or some that cannot be replaced, or does not run on such windows.
        ParityNotMet: the replaced network does not do what the original does; the first layer and step is named.
    """
    if contract.name == "images" and layout != "NT":
        raise BadInput(f"layout {layout} is of frames; images are always [N, C, H, W]")
    reset(model)
    original = _Driven(copy.deepcopy(model).eval(), contract, layout)
    replaced = copy.deepcopy(original)
    found = _replaced(replaced.net)
    if not found:
        raise BadInput(f"{class_name(model)} has no spiking neurons that are known; register its own")
    steps, readout = _proven(original, replaced, inputs, found, contract)
    replaced.float().readout = readout
    try:
        reference.layers(replaced, contract)
    except Exception as error:  # a user's code can fail in any way
        line = next(iter(str(error).splitlines()), "")
        raise BadInput(f"the network looks at the values of tensors, which a model cannot: {line}") from error
    with torch.no_grad():
        units = replaced(torch.from_numpy(inputs[:1])).shape
    return TrainedNetwork(
        name=name or type(model).__name__,
        summary=f"a network of one's own ({class_name(model)})",
        dialect="+".join(sorted({known.library for known in found.values()})),
        model=replaced.eval(),
        contract=contract,
        output="rates",
        classes=tuple(map(str, range(units[1]))) if len(units) == 2 else (),
        time_steps=steps,
        source=dict(source or _hashed(model)),
        evidence=[
            f"{len(found)} spiking layers of {class_name(model)} replaced: "
            + ", ".join(f"{layer} ({kind})" for layer, kind in _kinds(model, found).items()),
            f"float64: all spikes agree with the original's, layer by layer, on {len(inputs)} windows; so do those of "
            "each layer's neurons alone, on currents that meet their threshold",
        ],
    )


def _proven(
    original: _Driven, replaced: _Driven, inputs: Floats, found: Mapping[str, Recognised], contract: InputContract
) -> tuple[int, nn.Module]:
    """Run both networks in float64 and compare every spike; T, and what makes one answer a window of the output."""
    inputs = inputs if len(inputs) > 1 else np.concatenate([inputs, inputs])
    expected, spikes = _observed(original, inputs, found)
    alone, spikes_alone = _observed(original, inputs[:1], found)
    output, ours = _observed(replaced, inputs, found)
    steps = _time_steps(spikes, contract)
    for layer, fired in spikes.items():
        if (fired[:, :1] != spikes_alone[layer]).any():
            raise BadInput(f"'{layer}' fires otherwise in a window alone: windows must not change with their batch")
    readout = _readout(alone.shape, expected.shape, steps)
    one, several = (readout(torch.from_numpy(answer))[0] for answer in (alone, expected))
    if not (one - several).abs().max() <= OUTPUT:
        raise BadInput("the network answers otherwise for a window alone: windows must not change with their batch")
    _check_same(spikes, ours, found)
    for layer, fired in spikes.items():
        _check_alone(layer, original.net.get_submodule(layer), found[layer], fired.shape)
    difference = float(np.abs(output - expected).max()) if output.shape == expected.shape else np.inf
    if not difference <= OUTPUT:
        raise ParityNotMet(
            f"all spikes agree after the neurons were replaced, but the output differs by {difference:.2g}: the "
            "network answers from more than its spikes"
        )
    return steps, readout


def from_factory(said: str) -> nn.Module:
    """The network that ``pkg.mod:factory`` makes; modules of the current folder are found.

    Raises:
        BadInput: there is no such factory, it fails, or makes something else.
    """
    module_name, _, attribute = said.partition(":")
    if not (module_name and attribute):
        raise BadInput(f"--model {said} is not MODULE:FACTORY, such as mypackage.networks:build")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module can fail in any way
        raise BadInput(f"--model {said}: importing {module_name} fails: {type(error).__name__}: {error}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise BadInput(f"--model {said}: {module_name} has no function or class {attribute}")
    try:
        model = factory()
    except (Exception, SystemExit) as error:
        raise BadInput(f"--model {said}: {attribute}() fails: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise BadInput(f"--model {said}: {attribute}() returns a {type(model).__name__}, not a torch.nn.Module")
    return model


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Load a checkpoint's weights into a user's network.

    Raises:
        BadInput: its keys or shapes are not the network's, or the network's are not known.
    """
    own, state = model.state_dict(), stripped(checkpoint.state)
    lazy = [key for key, value in own.items() if is_lazy(value)]
    if lazy:
        raise BadInput(f"{class_name(model)} has layers without a shape yet ({lazy[0]}); the factory must run it once")
    missing = [f"{key} is missing" for key in own if key not in state]
    strange = [f"{key} is not part of it" for key in state if key not in own]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, it should be {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    differences = missing + strange + shapes
    if differences:
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise BadInput(f"{checkpoint.path} is not of this {class_name(model)}: {'; '.join(differences[:3])}{more}")
    model.load_state_dict(state)


class _Driven(nn.Module):
    """A user's network behind the one input layout: batches [N, ...] in, whatever it returns out, from rest."""

    def __init__(self, net: nn.Module, contract: InputContract, layout: Layout) -> None:
        super().__init__()
        self.net = net
        self._steps = contract.shape[0] if contract.name == "frames" else 0
        self._layout = layout
        self.readout: nn.Module = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = self.readout(self._run(inputs))
        return answer

    def _run(self, inputs: Tensor) -> Tensor:
        for module in self.net.modules():
            if isinstance(module, SteppedNeuron):
                module.restart()
        if self._steps == 0 or self._layout == "NT":
            return _first(self.net(inputs))
        if self._layout == "TN":
            return _first(self.net(inputs.transpose(0, 1)))
        return torch.stack([_first(self.net(inputs[:, t])) for t in range(self._steps)])


def _first(returned: Any) -> Tensor:
    """What a network answers: the first of what it returns, the others being states."""
    answer = returned[0] if isinstance(returned, (tuple, list)) else returned
    if not isinstance(answer, Tensor):
        kind = type(answer).__name__
        raise BadInput(f"the network returns a {kind}; it must return a tensor, or a tuple that begins with it")
    return answer


def _replaced(model: nn.Module) -> dict[str, Recognised]:
    """Replace every neuron of a model, and say what each was."""
    found: dict[str, Recognised] = {}
    seen: dict[int, str] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        known = recognise(name, module)
        if known is None:
            continue
        if id(module) in seen:
            raise BadInput(
                f"the neuron '{name}' is the same module as '{seen[id(module)]}'; give each layer its own neuron"
            )
        seen[id(module)] = name
        found[name] = known
    for name, known in found.items():
        ours: nn.Module
        if known.calls == "window":
            ours = SpikingNeuron(known.spec, time_axis=known.time_axis, pairs=known.pairs)
        else:
            ours = SteppedNeuron(known.spec, pairs=known.pairs)
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, ours)
    return found


def _kinds(model: nn.Module, found: Mapping[str, Recognised]) -> dict[str, str]:
    return {name: class_name(model.get_submodule(name)) for name in found}


def _observed(driven: _Driven, inputs: Floats, found: Mapping[str, Recognised]) -> tuple[Any, dict[str, Spikes]]:
    """Output and spikes [T, N, ...] by layer, in float64, from rest."""
    network = driven.double()
    reset(network)
    fired: dict[str, list[Tensor]] = {}

    def hook(name: str) -> Any:
        def observe(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            known = found[name]
            # Some libraries' spikes are float32 whatever their input is, which the next layer would not take.
            spikes = (output[0] if known.pairs else output).double()
            window = spikes.movedim(known.time_axis, 0) if known.calls == "window" else spikes.unsqueeze(0)
            fired.setdefault(name, []).append(window)
            return (spikes, *output[1:]) if known.pairs else spikes

        return observe

    handles = [network.net.get_submodule(name).register_forward_hook(hook(name)) for name in found]
    try:
        with torch.no_grad():
            output = network(torch.from_numpy(inputs).double())
    except BadInput:
        raise
    except Exception as error:  # a user's code can fail in any way
        raise BadInput(
            f"the network fails on windows of shape {inputs.shape[1:]}: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}; see --shape and --layout"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return output.numpy(), {name: torch.cat(spikes).bool().numpy() for name, spikes in fired.items()}


def _time_steps(spikes: Mapping[str, Spikes], contract: InputContract) -> int:
    counts = {name: len(fired) for name, fired in spikes.items()}
    steps = contract.shape[0] if contract.name == "frames" else next(iter(counts.values()), 0)
    for name, count in counts.items():
        if count != steps:
            raise BadInput(f"the neuron '{name}' runs for {count} time steps, not {steps}; see --layout")
    return steps


def _check_same(theirs: Mapping[str, Spikes], ours: Mapping[str, Spikes], found: Mapping[str, Recognised]) -> None:
    for name, expected in theirs.items():  # in the order they fire
        fired = ours.get(name)
        if fired is None or fired.shape != expected.shape:
            raise ParityNotMet(f"'{name}' runs otherwise once its neurons are replaced")
        differs = (fired != expected).reshape(len(expected), -1)
        if differs.any():
            step = int(differs.any(axis=1).argmax())
            raise ParityNotMet(
                f"'{name}' does not do what its constants say ({found[name].library}): in float64 "
                f"it first fires otherwise at time step {step + 1}, in {int(differs[step].sum())} of "
                f"{differs.shape[1]} neurons; register a neuron of its own"
            )


def _check_alone(name: str, module: Any, known: Recognised, shape: tuple[int, ...]) -> None:
    """Run a library's neuron on multiples of half its threshold, where ties are common, whatever its network does."""
    spec = known.spec
    halves = np.random.default_rng(0).integers(-4, 9, shape)
    current = torch.from_numpy(halves * (spec.threshold / 2 / (spec.gain or 1.0)))
    reset(module)
    with torch.no_grad():
        if known.calls == "window":
            output = module(current.movedim(0, known.time_axis))
            fired = (output[0] if known.pairs else output).movedim(known.time_axis, 0)
        else:
            steps, state = [], ()
            for x in current:
                output = module(x, *state)
                steps.append(output[0] if known.pairs else output)
                state = output[1:] if known.pairs and getattr(module, "init_hidden", False) is False else ()
            fired = torch.stack(steps)
    reset(module)
    wrong = (fired.bool().numpy() != fire(spec, current.numpy())).reshape(len(current), -1).any(axis=1)
    if wrong.any():
        raise ParityNotMet(
            f"'{name}' does not do what its constants say ({known.library}: {spec.charge_rule}, {spec.fire_rule}, "
            f"reset {spec.reset_rule}): alone, in float64, it first fires otherwise at step {int(wrong.argmax()) + 1}"
        )


def _readout(alone: tuple[int, ...], together: tuple[int, ...], steps: int) -> nn.Module:
    """What makes one answer [N, ...] a window of what a network returns: an axis of T is averaged.

    Args:
        alone: shape of what it returns for one window.
        together: for several; the axis of the windows is where they differ.
        steps: T.

    Raises:
        BadInput: the windows are on no axis of their own.
    """
    axes = [i for i, (one, several) in enumerate(zip(alone, together, strict=False)) if one != several]
    if axes == [0]:
        return Readout(time_axis=1) if len(alone) == 3 and alone[1] == steps else nn.Identity()
    if axes == [1] and len(alone) == 3 and alone[0] == steps:
        return Readout(time_axis=0)
    raise BadInput(
        f"the network returns shape {list(together)} for windows of {steps} steps; it must return [N, classes], "
        "[T, N, classes] or [N, T, classes]"
    )


def _hashed(model: nn.Module) -> dict[str, Any]:
    """A hash over a network's weights, in place of a file's."""
    digest, size = hashlib.sha256(), 0
    for key, value in model.state_dict().items():
        content = value.detach().cpu().contiguous().numpy().tobytes()
        digest.update(key.encode() + content)
        size += len(content)
    return {"name": type(model).__name__, "sha256": digest.hexdigest(), "bytes": size}
