"""The scale of a quantizer, from the values that it quantizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tcja_exporters.modules.quantizer import quantized
from tcja_exporters.precision import calibrate

from .lowering import scales


def test_the_scale_of_spikes_is_one(name, exports):
    exported = exports[name][0]
    found = scales(name, exported)
    makers = {tensor: node for node in exported.model.graph.node for tensor in node.output}
    modules = {weight.tensor: weight.module for weight in exported.weights}
    fed_by_spikes = set()
    for node in exported.model.graph.node:
        tensor = node.input[0]
        while tensor in makers and makers[tensor].op_type in ("Reshape", "MaxPool", "Transpose"):
            tensor = makers[tensor].input[0]
        if len(node.input) > 1 and node.input[1] in modules and tensor.endswith("/spikes"):
            fed_by_spikes.add(modules[node.input[1]])
    assert fed_by_spikes
    assert {found[module] for module in fed_by_spikes} == {1.0}


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0, 1, 1], 1.0),
        ([0, 3, 127], 1.0),
        ([0, 0.25, 0.75], 0.25),
        ([0, 0.25, 100], None),
        ([0, 128], None),
        ([0, 0], 1.0),
        ([-0.5, 1.0], 0.5),
    ],
)
def test_scales(values, scale):
    linear = torch.nn.Linear(len(values), 1)
    found = calibrate(linear, [""], [np.array([values], np.float32)], lambda _n: None)[""]
    if scale is not None:
        assert found == scale
        assert quantized(torch.tensor(values, dtype=torch.float64), found).tolist() == values
    else:
        assert 0.3 * max(values) / 127 <= found <= max(values) / 127 * (1 + 1e-6)


def test_a_few_large_values_are_cut_off_where_that_serves_the_many():
    random = np.random.default_rng(0)
    values = np.append(random.normal(0, 1, 2**15), [12.0]).astype(np.float32)
    linear = torch.nn.Linear(len(values), 1)
    found = calibrate(linear, [""], [values[None]], lambda _n: None)[""]
    assert found < 12 / 127

    def error(scale: float) -> float:
        return float(((quantized(torch.from_numpy(values), scale) - torch.from_numpy(values)) ** 2).mean())

    assert error(found) < 0.95 * error(12 / 127)
