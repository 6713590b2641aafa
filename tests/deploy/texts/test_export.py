import numpy as np

from tcja_deploy.texts.export import neurons
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.neuron import NeuronSpec


def test_layers_share_a_line_if_all_their_constants_are_the_same():
    """Also constants by channel, whose text is only their range."""
    one, other = (
        NeuronSpec.linear(decay=np.array(decays).reshape(3, 1, 1), strict=True)
        for decays in ([0.5, 0.6, 0.9], [0.5, 0.8, 0.9])
    )
    layers = [Layer(name=name, shape=(3, 2, 2), neuron=spec) for name, spec in (("a", one), ("b", other), ("c", one))]
    assert one.rules == other.rules
    assert neurons(layers) == [f"Neurons of a, c: {one.rules}", f"Neurons of b: {other.rules}"]
