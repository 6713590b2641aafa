import dataclasses
import json

import numpy as np
import pytest
import torch

from tcja_runtime import records
from tcja_runtime.bundle.stepwise import State
from tcja_runtime.constant_arrays import MOST_VALUES, ConstantArray, check_fits, constant
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec

CHANNELS = constant("decay", np.array([0.5, 0.25, 1.0]).reshape(3, 1, 1))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(2, 2.0, id="a whole number"),
        pytest.param(np.float32(0.1), float(np.float32(0.1)), id="a number of numpy, exactly"),
        pytest.param(torch.tensor([0.1]), float(np.float32(0.1)), id="a tensor of one value"),
        pytest.param(torch.nn.Parameter(torch.full((3, 1), 0.5)), 0.5, id="equal values"),
        pytest.param(np.array([[0.5, 1.0]]), ConstantArray((2,), (0.5, 1.0)), id="axes of size 1 in front"),
        pytest.param(
            torch.nn.Parameter(torch.tensor([0.1, 0.5]).reshape(1, 2, 1, 1)),
            ConstantArray((2, 1, 1), (float(np.float32(0.1)), 0.5)),
            id="a parameter by channel",
        ),
    ],
)
def test_a_constant_is_a_number_or_an_array(value, expected):
    found = constant("decay", value)
    assert found == expected
    assert hash(found) == hash(expected)
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("0.5", "'0.5', and must be a number or an array of numbers"),
        ([0.5], "a value of type list, and must be"),
        (None, "a value of type NoneType, and"),
        (True, "a value of type bool, and"),
        (np.array(["a"]), "a value of type ndarray, and"),
        (torch.zeros(0), "an array without values"),
    ],
)
def test_what_is_no_number_is_refused(value, problem):
    with pytest.raises(BadInput, match=f"^`decay` of a neuron is {problem}"):
        constant("decay", value)


def test_an_array_is_shown_as_its_range():
    assert str(CHANNELS) == "0.25 to 1 (3 channels)"
    assert f"h >= {CHANNELS:.2g}" == "h >= (0.25 to 1, 3 channels)"
    assert str(ConstantArray((2, 2), (0.5, 1.0, 1.5, 2.0))) == "0.5 to 2 (4 values)"


def test_an_array_is_a_json_object_and_back():
    state = State(layer="neuron", shape=(3, 4, 4), start=CHANNELS)
    stored = json.loads(json.dumps(dataclasses.asdict(state)))
    assert stored["start"] == {"shape": [3, 1, 1], "values": [0.5, 0.25, 1.0]}
    assert records.read(State, stored) == state


@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 0, 1), (3,) * 3])
def test_an_array_whose_shape_does_not_fit_its_values_is_refused(shape):
    with pytest.raises(ValueError, match="has 3 values for the shape"):
        ConstantArray(shape, (0.5, 0.25, 1.0))


def test_an_array_fits_layers_that_it_broadcasts_to():
    check_fits("decay", 0.5, (7,))
    check_fits("decay", CHANNELS, (3, 4, 5))
    for shape in ((4, 4, 5), (3, 4), (1, 4, 5)):
        with pytest.raises(ValueError, match=r"decay has the shape \[3, 1, 1\], which does not"):
            check_fits("decay", CHANNELS, shape)


def test_a_layer_without_neurons_is_refused():
    with pytest.raises(ValueError, match=r"^its layer has the shape \[0, 4\], which has no neurons"):
        NeuronSpec.linear(decay=0.5, strict=True).check_fits((0, 4))


@pytest.mark.parametrize("value", [np.nan, torch.tensor(torch.nan), np.full(3, np.nan), np.array([0.5, np.nan])])
def test_a_constant_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="^neuron decay must be finite"):
        NeuronSpec.linear(decay=value, strict=True)


def test_a_manifest_has_a_limit_of_values():
    many = constant("decay", np.linspace(0, 1, MOST_VALUES + 1))
    with pytest.raises(ValueError, match="has 65,537 values, and a bundle holds up to 65,536 of a constant; train one"):
        check_fits("decay", many, (MOST_VALUES + 1,))
