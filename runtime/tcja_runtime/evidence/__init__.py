"""The evidence that proves parity without PyTorch: recorded signals, their rounding bounds, stimuli and statistics."""
