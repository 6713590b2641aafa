"""From a checkpoint file to the trained network."""
