"""From a NIR file to a trained network in PyTorch."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.modules.composed import SynapticNeuron
from tcja_exporters.modules.layers import Readout
from tcja_exporters.modules.neurons import Neuron, SpikingNeuron
from tcja_exporters.nir_graphs.constants import Constants
from tcja_exporters.nir_graphs.dialects import DIALECTS, Dialect
from tcja_exporters.nir_graphs.file import PACKAGES
from tcja_exporters.nir_graphs.graph import Graph, Node, load
from tcja_exporters.nir_graphs.layers import LAYERS, Shape, check_constant, layer
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.counting import counted, listed
from tcja_runtime.data.contract import LARGEST, InputContract
from tcja_runtime.errors import BadInput, first_line
from tcja_runtime.files.text import shown
from tcja_runtime.machine.versions import version

_NEURONS = {
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "LI": ("tau", "r", "v_leak"),
    "IF": ("r", "v_threshold", "v_reset"),
    "I": ("r",),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "Threshold": ("threshold",),
}
"""The types of nodes that are neurons, and the names of their constants."""
_TAKEN = frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph())))  # names of parts that torch.export uses itself


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """What is computed for a node: the sum of its sources, and then its part of the network.

    Attributes:
        node: the name of the node.
        part: the name of its part; empty for inputs and outputs.
        sources: the names of the nodes whose results are added.
    """

    node: str
    part: str
    sources: tuple[str, ...]


class GraphNetwork(nn.Module):
    """The network of a graph. It takes windows [N, T, ...] and returns the mean of its output over time.

    Args:
        parts: the modules of the nodes, by their names in the network.
        steps: the nodes in the order in which they are computed; the first is the input.
    """

    def __init__(self, parts: Mapping[str, nn.Module], steps: tuple[_Step, ...]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.readout = Readout()
        self.steps = steps

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = self.readout(self.over_time(inputs.transpose(0, 1)))
        return answer

    def over_time(self, windows: Tensor) -> Tensor:
        """Return the output at each time step, [T, N, ...], of windows [T, N, ...]."""
        made = {self.steps[0].node: windows}
        for step in self.steps[1:]:
            x = made[step.sources[0]]
            for source in step.sources[1:]:
                x = x + made[source]
            made[step.node] = _applied(self.get_submodule(step.part), x) if step.part else x
        return made[self.steps[-1].node]


def _applied(part: nn.Module, x: Tensor) -> Tensor:
    """Apply a part to x [T, N, ...]: neurons to the window, all else to each time step."""
    if isinstance(part, (Neuron, SynapticNeuron)):
        y: Tensor = part(x)
        return y
    y = part(x.flatten(0, 1))
    return y.reshape(*x.shape[:2], *y.shape[1:])


def from_nir(path: Path, contract: InputContract, settings: Mapping[str, str]) -> TrainedNetwork:
    """Return the network in a NIR file.

    Args:
        path: the file.
        contract: the input of the network; the first axis of its shape is time.
        settings: what the file does not say: "dialect", the training code that wrote it; "dt", the time step in
            seconds; "reset", the effect of a spike (`tcja_exporters.nir_graphs.dialects`).

    Raises:
        BadInput: the file or a setting cannot be used, or the network does not take such windows.
        Unavailable: a package that reads the file is missing.
    """
    graph, dialect = load(path), _dialect(settings)
    steps, *item = contract.shape
    network = _Builder(path, dialect).network(graph, tuple(item))
    with torch.no_grad():
        units = network(torch.zeros(1, 1, *item)).shape
    return TrainedNetwork(
        name=shown(path.stem),
        summary=f"a NIR graph of {counted(len(graph.nodes), 'node')}",
        dialect=dialect.NAME,
        model=network.eval(),
        contract=contract,
        output="rates",
        classes=tuple(map(str, range(units[1]))) if len(units) == 2 else (),
        time_steps=steps,
        source={"name": shown(path.name), "sha256": graph.sha256, "bytes": graph.bytes},
        evidence=_evidence(graph, dialect, settings),
        packages={name: version(name) or "" for name in PACKAGES},
    )


class _Builder:
    """Builds the network of a graph.

    Args:
        path: the file, for messages.
        dialect: the training code of its neurons.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self.path = path
        self.dialect = dialect

    def network(self, graph: Graph, item: Shape) -> GraphNetwork:
        """Return the network of a graph for inputs of this shape at each time step.

        Raises:
            BadInput: a node cannot be computed.
        """
        parts: dict[str, nn.Module] = {}
        shapes: dict[str, Shape] = {}
        steps = []
        for node in graph.nodes:
            shape, part = self._input_shape(node, shapes, item), ""
            if node.kind in ("Input", "Output"):
                self._check_declared(node, shape)
            else:
                part = _free_name(node.name, parts)
                parts[part], shape = self._part(node, shape)
            shapes[node.name] = shape
            steps.append(_Step(node=node.name, part=part, sources=node.sources))
        return GraphNetwork(parts, tuple(steps))

    def _input_shape(self, node: Node, shapes: Mapping[str, Shape], item: Shape) -> Shape:
        if not node.sources:
            return item
        first, *others = (shapes[source] for source in node.sources)
        wrong = next((shape for shape in others if shape != first), None)
        if wrong is not None:
            raise self._error(node, f"it adds inputs of the shapes {list(first)} and {list(wrong)}")
        return first

    def _check_declared(self, node: Node, shape: Shape) -> None:
        """Check the shape that an input or output declares. Some writers put axes of 1 before it, as for a batch."""
        types = node.values.input_type if node.kind == "Input" else node.values.output_type
        found = next(iter(types.values()), None)
        declared = shape if found is None or not len(found) else tuple(map(int, found))
        if shape == declared or _without_ones(shape) == _without_ones(declared):
            return
        if node.kind == "Output":
            raise self._error(node, f"it has the shape {list(declared)}, and what reaches it has {list(shape)}")
        sizes = ",".join(map(str, declared))
        batch = f", or T,{sizes[2:]} if its first axis is the batch" if declared[:1] == (1,) and declared[1:] else ""
        raise self._error(
            node, f"it has the shape {list(declared)}, and a time step {list(shape)}; give the `shape` T,{sizes}{batch}"
        )

    def _part(self, node: Node, item: Shape) -> tuple[nn.Module, Shape]:
        """Return the module of a node, and the shape of its result at one time step."""
        try:
            if node.kind in _NEURONS:
                for name in _NEURONS[node.kind]:
                    check_constant(name, getattr(node.values, name).shape, item)
                *synapse, last = (SpikingNeuron(spec) for spec in self.dialect.stages(Constants(node)))
                return (SynapticNeuron(synapse[0], last) if synapse else last), item
            if node.kind not in LAYERS:
                known = listed([*_NEURONS, *LAYERS], len(_NEURONS) + len(LAYERS))
                raise ValueError(f"this type is not supported; supported are {known}")
            part = layer(node, item)
            return part, _result_shape(part, item)
        except (ValueError, RuntimeError, BadInput) as error:
            raise self._error(node, first_line(error)) from error

    def _error(self, node: Node, why: str) -> BadInput:
        return BadInput(f"{self.path}: the node '{shown(node.name)}' ({node.kind}) cannot be exported: {why}")


def _without_ones(shape: Shape) -> Shape:
    """Return a shape without axes of 1 at its begin."""
    return shape[next((i for i, size in enumerate(shape) if size != 1), len(shape)) :]


def _result_shape(part: nn.Module, item: Shape) -> Shape:
    """Return the shape of what a module makes of an item, without computing values.

    Raises:
        RuntimeError: the module does not take such an item.
        ValueError: the result is too large.
    """
    values: Any = {name: value.to("meta") for name, value in part.state_dict().items()}
    made = torch.func.functional_call(part, values, (torch.empty(1, *item, device="meta"),)).shape[1:]
    if math.prod(made) > LARGEST:
        raise ValueError(f"its result has {math.prod(made):,} values at each time step, {LARGEST:,} is the most")
    return tuple(made)


def _free_name(name: str, parts: Mapping[str, nn.Module]) -> str:
    """Return a name for the part of a node: that of the node, in characters and words that torch.export takes."""
    free = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    while free in _TAKEN or free in parts or free in ("readout", "steps"):
        free += "_"
    return free


def _dialect(settings: Mapping[str, str]) -> Dialect:
    """Return the dialect that the settings choose.

    Raises:
        BadInput: a setting is unknown, or its value cannot be used.
    """
    known = {"dialect", "dt", "reset"}
    for name, value in settings.items():
        if name not in known:
            raise BadInput(f"`settings` {name}={value}: a NIR graph has no such setting; known are: dialect, dt, reset")
    chosen = settings.get("dialect", Dialect.NAME)
    if chosen not in DIALECTS:
        raise BadInput(f"`settings` dialect={chosen}: of a NIR graph it can be {' or '.join(DIALECTS)}")
    kind = DIALECTS[chosen]
    reset = settings.get("reset", next(iter(kind.RESETS)))
    if reset not in kind.RESETS:
        raise BadInput(f"`settings` reset={reset}: with the dialect {chosen} it can be {' or '.join(kind.RESETS)}")
    if kind.DT is None and "dt" in settings:
        raise BadInput(f"`settings` dt={settings['dt']}: {chosen} writes times in time steps; leave dt out")
    return kind(_seconds(settings.get("dt", str(kind.DT or 1.0))), reset)


def _seconds(text: str) -> float:
    try:
        dt = float(text)
    except ValueError:
        dt = 0.0
    if not 0.0 < dt < math.inf:
        raise BadInput(f"`settings` dt={text}: dt is the time step in seconds, such as 0.001")
    return dt


def _evidence(graph: Graph, dialect: Dialect, settings: Mapping[str, str]) -> list[str]:
    """Return the lines for the manifest that say how the graph was read, and what the file does not say."""
    given = {name: "as `settings` says" if name in settings else "assumed" for name in ("dialect", "dt", "reset")}
    doubt = {name: "" if name in settings else CHECK for name in given}
    if dialect.SEEN and "dt" not in settings:
        doubt["dt"], given["dt"] = "", dialect.SEEN
    lines = [
        f"{doubt['dialect']}the neurons compute {dialect.RULE}, {given['dialect']}: a NIR file does not say who wrote "
        f"it; `settings` dialect can be {' or '.join(DIALECTS)}",
        f"{doubt['dt']}dt = {dialect.dt:g} s, {given['dt']}: a NIR file does not store its time step"
        if dialect.DT is not None
        else f"times are in time steps, as {dialect.NAME} writes them",
    ]
    if dialect.ASSUMED:
        lines.append(f"{CHECK}{dialect.ASSUMED}: a NIR file does not store it")
    if len(dialect.RESETS) > 1:
        lines.append(
            f"{doubt['reset']}the reset is {dialect.reset}, {given['reset']}: a NIR file does not store it; `settings` "
            f"reset can be {' or '.join(dialect.RESETS)}"
        )
    if graph.unused:
        lines.append(f"{CHECK}nodes that do not reach the output are left out: {listed(graph.unused, 6)}")
    return lines
