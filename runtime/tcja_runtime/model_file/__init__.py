"""ONNX files read and cut without the onnx package."""
