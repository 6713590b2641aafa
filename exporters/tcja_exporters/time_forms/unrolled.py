"""The time form unrolled: the operations of each time step, one step after the other.

One HardSigmoid computes the spikes of all steps, from the membranes of all steps, if the neuron's reset needs none.
An integrator returns the membranes of all steps.
"""

from __future__ import annotations

import onnx

from tcja_exporters import custom_op
from tcja_exporters.time_forms.neuron_step import NeuronStep
from tcja_exporters.time_forms.nodes import Nodes


def add_unrolled(at: Nodes, node: onnx.NodeProto, steps: int) -> None:
    """Add the nodes of all time steps that replace a TcjaLif node.

    Args:
        at: the nodes to which they are added.
        node: the TcjaLif node.
        steps: the number of time steps.
    """
    neuron, (current,) = NeuronStep.of(custom_op.spec_of(node)), node.input
    currents = at.out_of("Split", [current], [f"x_{t}" for t in range(steps)], axis=0, num_outputs=steps)
    v: str | None = None
    charged, made = [], []
    for t, x in enumerate(currents):
        step = at.step(t)
        h, s, v = neuron.step(step, v, x, last=t == steps - 1)
        charged.append(h)
        made.append(s)
        at.take(step)
    if neuron.fires_apart:
        neuron.fire(at, at.op("Concat", charged, "h", axis=0), "spikes")
    else:
        at.op("Concat", made, "membranes" if neuron.spec.integrates else "spikes", axis=0)
