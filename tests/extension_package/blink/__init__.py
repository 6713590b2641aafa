"""A package with a neuron, a network and an event format of its own."""
