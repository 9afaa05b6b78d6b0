"""The engines that are compared, by name. A library is imported when its engine is made."""

from __future__ import annotations

from engines.base import Call, Engine, Unsupported
from engines.fastconv_engine import Fastconv
from engines.mobile_engines import Mnn, Ncnn
from engines.onnx_engines import OnnxRuntime, OpenVino
from engines.torch_engine import Torch

__all__ = ["ENGINES", "INSTALL", "Call", "Engine", "Fastconv", "Torch", "Unsupported", "reference"]


def reference(threads: int) -> Engine:
    """The engine in float64 that errors are measured against."""
    try:
        return Torch(threads, dtype="float64")
    except ImportError:
        return Fastconv(threads, "numpy", "float64")


#: How an engine that is missing is installed (fastconv's own need nothing more).
INSTALL = {
    "torch": "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu",
    "onnxruntime": "pip install onnx onnxruntime",
    "openvino": "pip install onnx openvino",
    "mnn": "pip install onnx MNN",
    "ncnn": "pip install onnx ncnn pnnx",
}
INSTALL |= {name: INSTALL["torch"] for name in ("torch-cl", "torch-bf16", "inductor", "fastconv-torch")}

ENGINES = {
    "fastconv": Fastconv,
    "numpy": lambda threads: Fastconv(threads, "numpy"),
    "torch": Torch,
    "torch-cl": lambda threads: Torch(threads, "channels_last"),
    "torch-bf16": lambda threads: Torch(threads, "channels_last", bf16=True),
    "inductor": lambda threads: Torch(threads, "channels_last", compiler="inductor"),
    "fastconv-torch": lambda threads: Torch(threads, "channels_last", compiler="fastconv"),
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "mnn": Mnn,
    "ncnn": Ncnn,
    "reference": reference,
}
