import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.clock_driven import neuron

from tcja_exporters import reference
from tcja_exporters.networks import NETWORKS
from tcja_exporters.networks.network import ShapeReader

from .. import networks
from .published import PublishedDvs128, PublishedFashionMnist

PUBLISHED = {"dvs128": PublishedDvs128, "fashion_mnist": PublishedFashionMnist}
REFERENCE = Path(__file__).parents[3] / "shared" / "reference"


def test_every_layer_of_the_small_networks_fires(name):
    """What the tests compare must be alive."""
    rates = networks.firing_rates(networks.network(name), networks.inputs(name, 4))
    assert all(0.02 < rate < 0.7 for rate in rates.values()), rates


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spikes_are_those_of_the_published_code(name, dtype):
    ours = networks.network(name).to(dtype)
    theirs = PUBLISHED[name](**networks.SIZES[name]._asdict()).to(dtype).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    batch = networks.inputs(name, 3)
    expected: dict[str, torch.Tensor] = {}
    for layer, module in theirs.named_modules():
        if isinstance(module, neuron.MultiStepLIFNode):
            module.register_forward_hook(lambda _m, _i, out, layer=layer: expected.__setitem__(layer, out))
    with torch.no_grad():
        output = theirs(batch.to(dtype)).numpy()
    for _ in range(2):  # nothing is kept between runs
        trace = reference.run(ours, batch.numpy(), dtype)
        assert list(trace.spikes) == list(expected)
        for layer, spikes in expected.items():
            np.testing.assert_array_equal(trace.spikes[layer], spikes.bool().numpy())
        # The mean of spikes over voters may be summed in another order.
        np.testing.assert_allclose(trace.output, output, rtol=0, atol=2 * torch.finfo(dtype).eps)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_published_sizes_have_the_published_shapes(name):
    network = NETWORKS[name]
    sizes = network.sizes(ShapeReader({}))
    with torch.device("meta"):
        ours, theirs = network.build(sizes).state_dict(), PUBLISHED[name](**sizes._asdict()).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_parameters_of_dvs128():
    with torch.device("meta"):
        network = NETWORKS["dvs128"].build(NETWORKS["dvs128"].sizes(ShapeReader({})))
    assert sum(p.numel() for p in network.parameters()) == 1_832_576  # as published


def test_sizes_are_read_from_the_shapes(name):
    reader = ShapeReader({key: tuple(value.shape) for key, value in networks.state(name).items()})
    assert NETWORKS[name].sizes(reader) == networks.SIZES[name]
    assert not reader.conflicts


def test_layers_are_those_that_fire(name):
    network, contract = networks.network(name), NETWORKS[name].contract(networks.SIZES[name])
    batch = networks.inputs(name, 2)
    trace = reference.run(network, batch.numpy())
    layers = reference.layers(network, contract)
    assert [layer.name for layer in layers] == list(trace.spikes)
    for layer in layers:
        assert trace.spikes[layer.name].shape == (networks.SIZES[name].time_steps, 2, *layer.shape)
    np.testing.assert_array_equal(trace.output, network(batch).detach().numpy())


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE.exists(), reason="the published networks' recorded answers are not at hand")
@pytest.mark.parametrize("published", ["dvs128"])
def test_float64_spike_counts_are_the_recorded_ones(published, monkeypatch):
    """Answers of the published code in float64, for weights and inputs drawn from a seed."""
    monkeypatch.syspath_prepend(str(REFERENCE))
    import recipe

    case, state = recipe.checkpoint(REFERENCE, published)
    network = NETWORKS[published]
    module = network.build(network.sizes(ShapeReader({key: value.shape for key, value in state.items()})))
    module.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
    trace = reference.run(module.eval(), recipe.frames(case), torch.float64)
    assert list(trace.spikes) == case["spiking_layers"]
    with np.load(REFERENCE / f"{published}.npz") as recorded:
        np.testing.assert_array_equal(trace.spike_counts(), recorded["spike_counts"])
        np.testing.assert_allclose(trace.output, recorded["output"], rtol=0, atol=1e-14)
    del sys.modules["recipe"]
