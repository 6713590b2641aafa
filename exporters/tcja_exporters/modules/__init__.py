"""The PyTorch modules that networks of the registry are made of."""
