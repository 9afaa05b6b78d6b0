"""The ``onnx`` package, which is an extra, and the types of tensors that it knows."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

#: ONNX element type (``TensorProto.DataType``) -> the dtype that fastconv computes it in. fastconv has no
#: 16-bit floats and no unsigned integers beyond uint8, so wider types stand in for them.
DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.int32),  # uint16
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float32),  # float16
    11: np.dtype(np.float64),
    12: np.dtype(np.int64),  # uint32
    13: np.dtype(np.int64),  # uint64
    16: np.dtype(np.float32),  # bfloat16
}


def package(function: str) -> ModuleType:
    """The ``onnx`` package.

    Raises
    ------
    ImportError
        It is not installed; the message names ``function`` and says how to install it.
    """
    try:
        import onnx.checker  # a folder called onnx without this is not the package
        import onnx.inliner
    except ModuleNotFoundError as e:
        if e.name is None or e.name.partition(".")[0] != "onnx":
            raise
        raise ImportError(
            f'{function}: the onnx package is not installed; install it with: pip install "fastconv[onnx]"'
        ) from None
    return onnx


def type_name(elem_type: int) -> str:
    """The name of an ONNX element type, such as ``float16``."""
    onnx = package("onnx")
    names = {number: name for name, number in onnx.TensorProto.DataType.items()}
    return names.get(elem_type, f"type {elem_type}").lower()
