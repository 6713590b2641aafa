from tcja_runtime.neuron import NeuronSpec


def of_blink_lif(lif):
    return NeuronSpec.linear(decay=lif.decay, threshold=1.0, strict=False)
