"""From a PyTorch module to ONNX models in each time form."""
