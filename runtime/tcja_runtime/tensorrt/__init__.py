"""TensorRT and TensorRT-RTX: engines are built, loaded and run here."""
