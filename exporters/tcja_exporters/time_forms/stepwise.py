"""The time form stepwise: one time step of a TcjaLif node (`tcja_exporters.graph.stepwise` makes the models of it)."""

from __future__ import annotations

import onnx

from tcja_exporters import custom_op
from tcja_exporters.time_forms.neuron_step import NeuronStep
from tcja_exporters.time_forms.nodes import Nodes


def one_step(node: onnx.NodeProto, v: str, v_next: str) -> Nodes:
    """Return the nodes of one time step of a TcjaLif node, with the membranes as an input and an output.

    At the first step, `v` is filled with the neuron's v_initial. At each later step, `v` is the `v_next` of the step
    before. The values must not be used for anything else, because some neurons store the negative of the membrane
    (`tcja_exporters.time_forms.neuron_step`).

    Args:
        node: the TcjaLif node; its input is the current of one step [N, ...], its output the spikes in the same shape.
        v: the name of the membranes before the step, which have the same shape.
        v_next: the name of the membranes after the step.
    """
    neuron, prefix = NeuronStep.of(custom_op.spec_of(node)), node.name.removesuffix(custom_op.NAME)
    at = Nodes(prefix, prefix)
    h, s, last = neuron.step(at, v, node.input[0])
    names = {last: v_next, s or neuron.fire(at, h): node.output[0]}
    for each in at.nodes:
        each.input[:] = [names.get(name, name) for name in each.input]
        each.output[:] = [names.get(name, name) for name in each.output]
    return at
