"""ONNX files, read and cut into parts without the package onnx."""
