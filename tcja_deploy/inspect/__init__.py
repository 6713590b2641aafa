"""`inspect`: the facts of a checkpoint, an ONNX model or a bundle, and its estimated costs on a board."""
