"""Backends, which run a network on this machine: ONNX Runtime, and the engines of a bundle."""
