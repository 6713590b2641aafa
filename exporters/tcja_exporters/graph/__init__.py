"""From a PyTorch module to an ONNX graph, and the layouts of time in it."""
