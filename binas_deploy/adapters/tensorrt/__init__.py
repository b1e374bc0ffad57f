"""NVIDIA GPUs by TensorRT 10 and 11, and by TensorRT for RTX."""
