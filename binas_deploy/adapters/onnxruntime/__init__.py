"""ONNX Runtime: its CPU and any of its execution providers."""

from binas_deploy.adapters.onnxruntime.device import OnnxRuntimeDevice

__all__ = ["OnnxRuntimeDevice"]
