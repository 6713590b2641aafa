r"""The costs of a network: operations, bytes, memory, time and energy of each module, and synaptic operations.

A node has an output of n_y values, an input of n_x values and a weight of n_W values:

    convolution      n_y n_W / C_out      multiply-adds; padded values count like others
    transposed       n_x n_W / C_in       multiply-adds
    matrix product   n_y K                multiply-adds; K is the number of terms of each sum
    neuron           o n_x                operations; o is the operations of a time step (5 for a LIF with hard reset)
    pool             n_y k                operations; k is the number of values of a pooling window
    mean or sum      n_x                  operations, over any axes
    any other        n_y                  operations

A multiply-add is two operations. A bias is one operation a value. For a batch of any size, a node reads its input once,
reads its weights once, and writes its output once. A reshape moves no bytes. Quantised data moves in 8 bits: a
DequantizeLinear counts as a part of the node that reads it. TensorRT fuses neighbouring nodes, so it moves fewer bytes.

The roofline (Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009) is a lower bound of the time of
nodes that run one after the other, at the peak speed and the highest bandwidth of the board:

    t = sum over nodes of max(operations / peak, bytes / bandwidth)        E = P t

The peak of a product is the peak speed of its precision; the peak of all other nodes is the one of float32. P is the
power budget of the power mode, so E is the largest energy that the module may use in the time t, not a measurement. The
memory is that of a runtime that fuses nothing and frees each tensor after its last use; the memory of the weights is
not included.

An engine has a roofline of its own, from the bytes that its kernels move (`KernelPlan`), with weights, and from the
operations of the model. Which kernel does which operations is not known, so it is no sum over kernels:

    t = max(sum over nodes of operations / peak, bytes / bandwidth)        E = P t

Synaptic operations are counted as in the literature on spiking networks. r is the share of a product's input that is
not zero, measured over all T time steps:

    spikes           r MACs accumulates, E_AC = 0.9 pJ each
    graded spikes    r MACs multiply-adds, E_MAC = 4.6 pJ each: spikes after a gate, or means of spikes
    other values     MACs multiply-adds: frames, means, and all values that are not known to be spikes

The energies are those of a 32-bit float addition and multiply-add at 45 nm: Horowitz, "Computing's energy problem",
ISSCC 2014. Rathi and Roy, "DIET-SNN", IEEE TNNLS (2021), count in the same way. If a pool is
between the spikes and the product, r is measured after the pool. r is a mean, so a spike at the border of a map counts
the same number of targets as a spike inside. These are the energies of the arithmetic in a chip that skips zeros,
without the energy of its memory; a GPU does not skip zeros.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import onnx

from tcja_exporters.costs import synapses
from tcja_exporters.costs.boards import Device
from tcja_exporters.costs.graph import Content, SizedGraph
from tcja_exporters.costs.nodes import NodeCost, node_costs
from tcja_exporters.costs.synapses import FiringRates, SynapticCost
from tcja_runtime.bundle.sidecar import KernelPlan
from tcja_runtime.evidence.golden import Golden


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModuleCost:
    """The costs of a PyTorch module for one batch.

    Attributes:
        module: the name of the module; empty for the whole network, and for nodes that belong to no module.
        macs: the number of multiply-adds.
        operations: the number of all operations; a multiply-add is two operations.
        parameters: the number of weights, after batch norms are folded into them.
        bytes_moved: the number of bytes that move between memory and GPU, including weights.
        activation_bytes: the largest size of the data in memory while the module runs, without weights, in bytes.
        seconds: the roofline time; None without a device.
        bound: what limits most of that time: "compute" or "memory"; None without a device.
        joules: the energy, which is that time multiplied by the power of the mode; None without a device.
    """

    module: str
    macs: int
    operations: int
    parameters: int
    bytes_moved: int
    activation_bytes: int
    seconds: float | None
    bound: Literal["compute", "memory"] | None
    joules: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineCost:
    """The costs of an engine on a device, from its kernel plan, for one batch of the tuned size.

    Attributes:
        engine: the name of the engine.
        batch: the number of windows at a time.
        kernels: the number of kernels.
        bytes_moved: the number of bytes that the kernels move, including weights.
        compute_seconds: the shortest possible time of the operations.
        memory_seconds: the shortest possible time to move the bytes.
        joules: the energy: the roofline time multiplied by the power of the mode.
    """

    engine: str
    batch: int
    kernels: int
    bytes_moved: int
    compute_seconds: float
    memory_seconds: float
    joules: float

    @property
    def seconds(self) -> float:
        """The roofline time."""
        return max(self.compute_seconds, self.memory_seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """The costs of a model for one size of its batch.

    Attributes:
        batch: the number of windows at a time.
        nodes: the costs of the nodes, in the order in which they run.
        model: the model.
        contents: the content of every tensor, by name.
    """

    batch: int
    nodes: tuple[NodeCost, ...]
    model: onnx.ModelProto
    contents: Mapping[str, Content]

    @classmethod
    def of(cls, model: onnx.ModelProto, batch: int = 1, *, spiking: bool = False) -> Costs:
        """Return the costs of a model.

        Args:
            model: a model with TcjaLif nodes or in standard operators; the values of its weights are not needed.
            batch: the number of windows at a time.
            spiking: whether the model's input is spikes.

        Raises:
            BadInput: an operator has no rule, a tensor has no known shape, the model has another fixed batch, or more
                axes than the batch are open.
        """
        graph = SizedGraph.of(model, batch)
        contents = synapses.contents(graph, spiking=spiking)
        return cls(batch=batch, nodes=tuple(node_costs(graph, contents)), model=model, contents=contents)

    @property
    def weight_bytes(self) -> int:
        """The size of all weights in bytes."""
        return sum(node.weight_bytes for node in self.nodes)

    def modules(self, device: Device | None = None) -> list[ModuleCost]:
        """Return the costs of each module, in the order in which the modules run; with time and energy for a device."""
        nodes: dict[str, list[NodeCost]] = {}
        for node in self.nodes:
            nodes.setdefault(node.module, []).append(node)
        return [_module_cost(module, found, device) for module, found in nodes.items()]

    def total(self, device: Device | None = None) -> ModuleCost:
        """Return the costs of the whole network; with time and energy for a device."""
        return _module_cost("", self.nodes, device)

    def engine(self, name: str, plan: KernelPlan, device: Device) -> EngineCost:
        """Return the costs of an engine of this model on a device.

        Args:
            name: the name of the engine.
            plan: its kernels, which move bytes for `batch` windows.
            device: the device.
        """
        compute = math.fsum(node.compute_seconds(device) for node in self.nodes)
        memory = plan.moved / device.bandwidth
        return EngineCost(
            engine=name,
            batch=self.batch,
            kernels=plan.kernels,
            bytes_moved=plan.moved,
            compute_seconds=compute,
            memory_seconds=memory,
            joules=max(compute, memory) * device.mode.watts,
        )

    def rates(self, golden: Golden) -> FiringRates:
        """Return the firing rates at the input of each product, over the windows and time steps of golden vectors.

        Raises:
            BadInput: the golden vectors have no spikes of a layer of the model, or the padding of an operator before a
                product has no rule.
        """
        return synapses.firing_rates(SizedGraph.of(self.model, 1), self.contents, golden)

    def synapses(self, rates: FiringRates) -> list[SynapticCost]:
        """Return the synaptic operations of each module's products, for one window.

        Args:
            rates: the firing rates that `rates` returns.
        """
        products: dict[tuple[str, Content], list[NodeCost]] = {}
        for node in self.nodes:
            if node.macs:
                products.setdefault((node.module, node.takes), []).append(node)
        return [synapses.synaptic_cost(nodes, self.batch, rates) for nodes in products.values()]


def _module_cost(module: str, nodes: Sequence[NodeCost], device: Device | None) -> ModuleCost:
    seconds, joules = None, None
    bound: Literal["compute", "memory"] | None = None
    if device is not None:
        times = [(node.compute_seconds(device), node.memory_seconds(device)) for node in nodes]
        seconds = math.fsum(map(max, times))
        computing = math.fsum(compute for compute, memory in times if compute > memory)
        bound = "compute" if computing > seconds / 2 else "memory"
        joules = seconds * device.mode.watts
    return ModuleCost(
        module=module,
        macs=sum(node.macs for node in nodes),
        operations=sum(node.operations for node in nodes),
        parameters=sum(node.parameters for node in nodes),
        bytes_moved=sum(node.moved for node in nodes),
        activation_bytes=max(node.live for node in nodes),
        seconds=seconds,
        bound=bound,
        joules=joules,
    )
