"""Neurons whose spikes depend on the current of the same time step alone: one comparison for all time steps."""

from __future__ import annotations

import onnx

from tcja_exporters import custom_op
from tcja_exporters.time_forms.nodes import Nodes


def add_instant(at: Nodes, node: onnx.NodeProto) -> None:
    """Add the nodes that replace a TcjaLif node whose neuron has no loop over time (`NeuronSpec.instant`)."""
    spec = custom_op.spec_of(node)
    at.nodes += custom_op.instant_nodes(
        spec, node.input[0], lambda name: at.constant(name, getattr(spec, name)), at.prefix
    )
