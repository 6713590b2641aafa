"""The PyTorch modules of the registered networks: neurons, attention, layers."""
