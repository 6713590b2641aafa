"""TensorRT and TensorRT-RTX: engines built, loaded and run."""
