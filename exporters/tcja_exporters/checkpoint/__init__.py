"""Reads a checkpoint file and rebuilds the trained network."""
