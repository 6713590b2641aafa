"""The CUDA driver, of which nothing is called: what a plugin computes, ONNX Runtime computes."""
