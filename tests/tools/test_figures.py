"""tools/figures.py draws what was measured."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tcja_runtime import Bundle, NeuronSpec

ROOT = Path(__file__).parents[2]
SPEC = NeuronSpec.leaky(tau=2.0, decay_input=True)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "tools" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "figures", module)
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def found(tool):
    """Two neurons in three steps; the first one's spike flips at the second step."""
    reference = np.array([[0.5, 1.2], [0.9999, 0.1], [0.3, 1.5]])
    exported = reference + np.array([[1e-5, 1e-5], [1e-4, 1e-5], [1e-5, 1e-5]])
    flips = np.zeros((3, 2), bool)
    flips[1, 0] = True
    return tool.Membranes(SPEC, reference, np.full((3, 2), 2e-4), exported, reference >= 1, flips)


def dots(svg: str, colour: str) -> int:
    return sum(each.get("fill") == colour for each in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle"))


def test_the_course_marks_the_step_that_flips(tool, found):
    svg = tool.course(found)
    assert dots(svg, tool.BLUE) == 3 + 1  # the steps, and the zoom
    assert "step 2: the distance from the threshold" in svg
    assert "float64: -1.0e-04" in svg
    assert "rounding bound ±2.0e-04" in svg


def test_the_scatter_counts_decided_undecided_and_flipped(tool, found):
    svg = tool.scatter(found)
    assert (dots(svg, tool.ORANGE), dots(svg, tool.BLUE)) == (1 + 1, 0 + 1)  # with the key
    assert "decided (100% drawn): 5" in svg
    assert "flipped: 1" in svg


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_what_is_measured_is_the_reference_of_the_bundle(tool, bundle):
    layer = Bundle.open(bundle).manifest.layers[0]
    found = tool.measured(bundle, layer.name)
    assert found.spikes.any()
    sure = found.distance > found.bound
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(layer.neuron.fires(found.reference)[sure], found.spikes[sure])
    assert (np.abs(found.exported - found.reference) <= found.bound).all()
    assert not found.flips[sure].any()
