"""The PyTorch and ONNX side of tcja-deploy. Importing this package imports neither; its modules do."""
