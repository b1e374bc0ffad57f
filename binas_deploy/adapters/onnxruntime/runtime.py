"""ONNX Runtime as a package: how it is called, published and installed."""

from __future__ import annotations

from typing import Final

from binas_deploy.adapters.runtime import Runtime

RUNTIME: Final = Runtime(
    name="ONNX Runtime",
    package="onnxruntime",
    distributions=(
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-openvino",
        "onnxruntime-directml",
        "onnxruntime-qnn",
    ),
    extra="cpu",
    purpose="Running networks by ONNX Runtime",
)
