"""What NVIDIA's builder makes of networks. No GPU is needed."""
