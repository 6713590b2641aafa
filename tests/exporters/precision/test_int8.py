"""Networks in INT8."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from .lowering import lower


def test_quantisers_are_symmetric_and_written_out(name, exports):
    low = lower(name, exports[name][0], "int8").exported
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in low.plain.graph.initializer}
    nodes = [node for node in low.plain.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    chosen = [weight for weight in low.weights if weight.type == "int8"]
    assert len(nodes) == 3 * len(chosen) > 0
    for node in nodes:
        zero_point = stored[node.input[2]]
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert (stored[node.input[1]] > 0).all()
    for weight in chosen:
        (node,) = (node for node in nodes if weight.tensor in node.output)
        integers, by_channel = (stored[tensor] for tensor in node.input[:2])
        assert integers.dtype == np.int8
        assert len(by_channel) == weight.shape[0]
        assert np.abs(integers).max() == 127
