"""The evidence from which parity is proved without PyTorch: recorded signals, rounding bounds, stimuli, statistics."""
