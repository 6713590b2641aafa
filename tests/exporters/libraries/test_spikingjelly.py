import numpy as np
import pytest
import torch

from tcja_exporters import libraries
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec, fire

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def ties(spec: NeuronSpec, seed: int = 0) -> np.ndarray:
    halves = np.random.default_rng(seed).integers(-4, 9, (12, 500))
    return halves * spec.threshold / 2


@pytest.mark.parametrize("threshold", [1.0, 0.8])
@pytest.mark.parametrize("v_reset", [0.0, None, -0.25])
@pytest.mark.parametrize("mode", ["s", "m"])
def test_every_neuron_of_spikingjelly_alone(mode, v_reset, threshold):
    from spikingjelly.activation_based import neuron

    for node in (
        neuron.IFNode(threshold, v_reset, step_mode=mode),
        neuron.LIFNode(2.0, True, threshold, v_reset, step_mode=mode),
        neuron.LIFNode(3.0, False, threshold, v_reset, step_mode=mode),
        neuron.ParametricLIFNode(1.7, True, threshold, v_reset, step_mode=mode),
        neuron.ParametricLIFNode(2.2, False, threshold, v_reset, step_mode=mode),
    ):
        known = libraries.recognise("node", node.double().eval())
        x = torch.from_numpy(ties(known.spec))
        with torch.no_grad():
            fired = node(x) if mode == "m" else torch.stack([node(step) for step in x])
        assert known.calls == {"s": "step", "m": "window"}[mode]
        np.testing.assert_array_equal(fi := fire(known.spec, x.numpy()), fired.bool().numpy())
        assert 0.05 < fi.mean() < 0.95


def parallel_neurons(rng: np.random.Generator, steps: int) -> list[torch.nn.Module]:
    """One of each parallel neuron with drawn weights, for currents [T, ...]."""
    from spikingjelly.activation_based import neuron

    if not hasattr(neuron, "PSN"):
        pytest.skip("this release of SpikingJelly has no PSN")
    k = int(rng.integers(1, steps + 3))
    made = [
        neuron.PSN(steps),
        neuron.MaskedPSN(k, steps, lambda_init=1.0, step_mode="m"),
        neuron.SlidingPSN(k, step_mode="m"),
        neuron.SlidingPSN(k, exp_init=False, step_mode="m"),
    ]
    for node in made:
        if not isinstance(node, neuron.SlidingPSN) or rng.integers(2):
            node.weight.data = torch.from_numpy(rng.normal(0, 1, node.weight.shape).astype(np.float32))
        node.bias.data = torch.from_numpy(rng.choice([-1, -0.5, 0, 0.3], node.bias.shape).astype(np.float32))
    return made


@pytest.mark.parametrize("seed", range(10))
def test_every_parallel_neuron_alone(seed):
    """To the bit, in both types; also where sums of whole numbers are exactly at the threshold."""
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 12))
    for node in parallel_neurons(rng, steps):
        for dtype in (torch.float32, torch.float64):
            for x in (rng.normal(0, 1, (steps, 3, 40)), rng.integers(-2, 3, (steps, 3, 4, 10))):
                known = libraries.recognise("node", node.to(dtype))
                currents = torch.from_numpy(x).to(dtype)
                with torch.no_grad():
                    assert torch.equal(known.replacement()(currents), node(currents))
        assert (known.calls, known.spec.instant) == ("window", True)


def test_parallel_neurons_without_a_fixed_window_are_refused():
    _, masked, sliding, _ = parallel_neurons(np.random.default_rng(0), 4)
    masked.lambda_ = 0.5
    with pytest.raises(
        BadInput, match=r"MaskedPSN\) .*: its mask is not final \(lambda_ is 0.5\); train it to lambda_ = 1"
    ):
        libraries.recognise("node", masked)
    sliding.step_mode = "s"
    with pytest.raises(
        BadInput,
        match=r"in step mode 's' it keeps earlier currents in a queue; call functional.set_step_mode\(network, 'm'\)",
    ):
        libraries.recognise("node", sliding)
