"""A fused CUDA kernel for the neuron, and the TensorRT plugin that puts it in the place of TcjaLif."""
