import dataclasses
import hashlib
import itertools

import numpy as np
import pytest

from tcja_runtime.bundle.network_signature import Layer, Weight
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.data.contract import InputContract
from tcja_runtime.evidence import stimulus
from tcja_runtime.neuron import NeuronSpec, fire


@pytest.mark.parametrize("shape", [(128, 9, 7), (6, 4, 4), (200,), (1, 5, 5)])
@pytest.mark.parametrize(("time_steps", "n"), [(4, 2), (20, 2), (1, 1), (10, 8)])
def test_drawn_spikes_are_sparse_and_reach_every_unit(shape, time_steps, n):
    spikes = stimulus.spikes("conv.1", shape, time_steps, n)
    assert spikes.shape == (time_steps, n, *shape)
    frames = spikes.swapaxes(0, 1).reshape(time_steps * n, *shape)
    groups = max(1, min(shape[0], len(frames) // stimulus.ROUNDS))
    if len(frames) >= 2 * groups:
        assert frames.any(axis=0).all()
    channels = frames.reshape(len(frames), shape[0], -1).any(axis=2).sum(axis=1)
    assert channels.max() <= -(-shape[0] // groups)


def test_what_is_drawn_is_the_same_everywhere():
    """The raw bits of PCG64 are part of what a bundle says: were they other, every golden scene would fail."""
    contract = InputContract.frames(5, 8, 8)
    weight = Weight(module="m", norm=None, tensor="m.weight", bias=None, shape=(4, 3), transposed=False, outputs=0)
    drawn = (
        np.packbits(stimulus.spikes("conv.1", (6, 3, 3), 5, 2)),
        stimulus.inputs(contract, 2),
        stimulus.exact_weight(weight),
        stimulus.places((6, 64, 64), 512),
    )
    digest = hashlib.sha256(b"".join(array.tobytes() for array in drawn)).hexdigest()
    assert digest == "88effa056f3081a4a22a357b47c8647b374a892e3484a87f51d7e6b610655d7c"


def test_drawn_weights_are_stored_as_the_model_has_them():
    linear = Weight(module="a", norm=None, tensor="w", bias="b", shape=(5, 3), transposed=True, outputs=5)
    conv = Weight(module="c", norm="d", tensor="d/w", bias=None, shape=(4, 2, 3, 3), transposed=False, outputs=0)
    drawn = stimulus.exact_weights([linear, conv])
    assert set(drawn) == {"w", "b", "d/w"}
    np.testing.assert_array_equal(drawn["w"], stimulus.exact_weight(linear).T)
    assert drawn["b"].shape == (5,)
    assert not drawn["b"].any()
    assert (drawn["d/w"] * 8 == np.round(drawn["d/w"] * 8)).all()
    assert len(np.unique(drawn["d/w"])) > 3


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.0])
def test_ties_are_at_every_threshold(threshold):
    """Beside them are the next normal numbers; a GPU may take smaller ones for 0."""
    spec = NeuronSpec.linear(decay=0.0, threshold=threshold, strict=False, reset="none")
    drawn = stimulus.ties(Layer(name="n", shape=(3, 2, 2), neuron=spec), 4)
    assert (drawn == threshold).mean() > 0.03
    assert ((drawn != threshold) & (abs(drawn - threshold) < 1e-6)).mean() > 0.02
    assert not ((drawn != 0) & (abs(drawn) < np.finfo(np.float32).smallest_normal)).any()
    assert np.ptp(stimulus.currents(Layer(name="n", shape=(3, 2, 2), neuron=spec), 4)) > 2


def test_the_bias_behind_a_left_factor_is_a_column():
    weight = Weight(module="n", norm=None, tensor="w", bias="b", shape=(4, 4), transposed=False, outputs=4, left=True)
    assert stimulus.exact_weights([weight])["b"].shape == (4, 1)


def test_all_tensors_of_a_parameter_have_the_same_drawn_weights():
    """In bundles of older versions, which name no parameters, each tensor has its own."""
    tensors = [("a.weight", False), ("norm_1/weight", False), ("a/Transpose", True)]
    fields = {"module": "a", "norm": None, "bias": None, "shape": (5, 3), "outputs": 0}
    drawn, older = (
        stimulus.exact_weights([Weight(tensor=t, transposed=way, **fields, **named) for t, way in tensors])
        for named in ({"parameter": "a.weight"}, {})
    )
    np.testing.assert_array_equal(drawn["norm_1/weight"], drawn["a.weight"])
    np.testing.assert_array_equal(drawn["a/Transpose"], drawn["a.weight"].T)
    np.testing.assert_array_equal(older["a.weight"], drawn["a.weight"])
    assert not np.array_equal(older["norm_1/weight"], older["a.weight"])


@pytest.mark.parametrize(
    ("contract", "values"),
    [
        (InputContract.frames(4, 6, 5), {0, 1, 2, 3}),
        (InputContract.images(3, 8, 8), {0, 0.25, 0.5, 0.75, 1}),
        (InputContract.latents(8, 30), {0, 1}),
    ],
)
def test_drawn_inputs_meet_the_contract(contract, values):
    inputs = stimulus.inputs(contract, 3)
    assert inputs.shape == (3, *contract.shape)
    assert inputs.dtype == np.float32
    assert set(np.unique(inputs)) == values


@pytest.mark.parametrize(("shape", "most"), [((128, 128, 128), 512), ((512, 11, 15), 2048), ((6, 5, 5), 100)])
def test_places_are_corners_and_edges_of_every_channel(shape, most):
    places = stimulus.places(shape, most)
    assert len(places) <= most
    assert len(np.unique(places)) == len(places)
    channel, row, column = np.unravel_index(places, shape)
    for edge in (0, shape[1] - 1):
        assert (row == edge).any()
    for edge in (0, shape[2] - 1):
        assert (column == edge).any()
    if most >= 8 * shape[0]:
        assert set(channel) == set(range(shape[0]))


@pytest.mark.parametrize(("shape", "most"), [((30,), 512), ((4, 3, 3), 36), ((5000,), 512)])
def test_places_of_few_are_all(shape, most):
    places = stimulus.places(shape, most)
    assert len(places) == min(np.prod(shape), most) or (shape == (5000,) and 100 < len(places) <= most)


@pytest.mark.parametrize(
    ("shapes", "time_steps", "n"),
    [([(128, 128, 128)], 20, 2), ([(10,)], 4, 8), ([(64, 4, 4), (11,)], 150, 2), ([(16, 4, 4)], 40, 4)],
)
def test_large_networks_and_long_windows_are_drawn_few(shapes, time_steps, n):
    assert stimulus.windows(shapes, time_steps) == n
    most = max(channels for channels, *_ in shapes)
    assert n == 8 or sum(map(np.prod, shapes)) > 2**20 or n * time_steps >= stimulus.ROUNDS * most


@pytest.mark.parametrize(
    ("shape", "time_steps", "of_stimulus", "of_window"),
    [
        ((64, 9, 9), 20, 2048, 512),
        ((64, 9, 9), 150, 273, 68),
        ((512, 9, 9), 150, 1024, 68),  # so that each channel is met
        ((64, 9, 9), 10_000, 128, 64),
    ],
)
def test_of_long_windows_fewer_places_are_recorded(shape, time_steps, of_stimulus, of_window):
    assert stimulus.most_places(shape, time_steps, stimulus.STIMULUS_PLACES) == of_stimulus
    assert stimulus.most_places(shape, time_steps, stimulus.WINDOW_PLACES) == of_window
    channels, *_ = np.unravel_index(stimulus.places(shape, of_stimulus), shape)
    assert set(channels) == set(range(shape[0]))


CHARGES, RESETS = ("linear", "decayed", "leaky"), ("hard", "soft", "none")


@pytest.mark.parametrize(
    ("charge", "reset"), [*itertools.product(CHARGES, RESETS), ("linear", "late"), ("linear", "refractory")]
)
def test_ties_tell_each_constant_of_each_neuron(charge, reset):
    """One of the values of a constant is 1 % off, or 0.01 if it is 0, and spikes of this neuron differ."""
    v_reset = np.linspace(-0.3, -0.1, 4) if reset == "hard" else 0.0
    common = {"threshold": np.linspace(0.5, 1.1, 4), "reset": reset, "strict": True, "v_initial": 0.07}
    if charge == "linear":
        neuron = NeuronSpec.linear(decay=np.linspace(0.3, 0.9, 4), gain=1.5, bias=0.05, v_reset=v_reset, **common)
    else:
        decayed = charge == "decayed"
        neuron = NeuronSpec.leaky(decay_input=decayed, tau=np.linspace(1.5, 3, 4), v_reset=v_reset, **common)
    x = stimulus.ties(Layer(name="lif", shape=(4,), neuron=neuron), 6)
    expected = fire(neuron, x)
    used = {"linear": ("decay", "gain", "bias")}.get(charge, ("tau", "v_rest"))
    for name in (*used, "threshold", "v_initial", *(("v_reset",) if reset == "hard" else ())):
        for k in range(4):
            values = np.broadcast_to(array_of(getattr(neuron, name)), 4).copy()
            values[k] += 0.01 * (values[k] or 1.0)
            wrong = {name: values, **({"v_rest": values} if (name, charge) == ("v_reset", "linear") else {})}
            differ = (fire(dataclasses.replace(neuron, **wrong), x) != expected).any(axis=(0, 1))
            assert differ.tolist() == [each == k for each in range(4)], (name, k)
