"""Quantised numbers. They are computed in float32: exact for products of 8-bit numbers up to sums of 2^24."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...tensor import Tensor
from ..node import Node, Operator, row
from ..package import DTYPES
from . import convolution

#: The range of the types that results are rounded to, by ONNX element type.
RANGES = {2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767)}
OF_DTYPE = {np.dtype(np.uint8): 2, np.dtype(np.int8): 3, np.dtype(np.int16): 5, np.dtype(np.int32): 4}


def _spread(node: Node, v: Tensor, x: Tensor) -> Tensor:
    """A scale or zero point in a shape that broadcasts with ``x``: of all, of an axis or of blocks of it."""
    if v.numel() == 1:
        return v.reshape(())
    axis, block = node.get("axis", 1) % x.ndim, node.get("block_size", 0)
    if block:
        return v.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return v.reshape([-1 if i == axis else 1 for i in range(x.ndim)])


def quantised(x: Tensor, scale: Tensor, zero: Tensor | float, elem_type: int) -> Tensor:
    """``round(x / scale) + zero``, limited to the range of the type."""
    low, high = RANGES[elem_type]
    y = (x / scale).round() + (zero.astype(x.dtype) if isinstance(zero, Tensor) else zero)
    return y.clamp(float(low), float(high)).astype(DTYPES[elem_type])


def quantize_linear(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """QuantizeLinear."""
    to = node.get("output_dtype", 0) or (2 if zero is None else OF_DTYPE.get(zero.dtype, 0))
    node.check(to in RANGES, "results are uint8, int8, uint16 or int16; other types are not supported")
    real = x.astype(np.float32)
    shift = 0.0 if zero is None else _spread(node, zero, x)
    return quantised(real, _spread(node, scale, x).astype(np.float32), shift, to)


def dequantize_linear(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """DequantizeLinear."""
    real = x.astype(scale.dtype)
    if zero is not None:
        real = real - _spread(node, zero, x).astype(scale.dtype)
    return real * _spread(node, scale, x)


def dynamic_quantize_linear(node: Node, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """DynamicQuantizeLinear: to uint8, by the range of the numbers."""
    low, high = x.amin().clamp(max=0.0), x.amax().clamp(min=0.0)
    scale = (high - low) / 255.0
    zero = (-low / scale).round().clamp(0.0, 255.0)
    return quantised(x, scale, zero, 2), scale, zero.astype(np.uint8)


def _shifted(x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """``x - zero`` in float32; a zero point of several numbers belongs to ``axis``."""
    real = x.astype(np.float32)
    if zero is None:
        return real
    shift = zero.astype(np.float32)
    if shift.ndim == 1 and shift.numel() > 1:
        shift = shift.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    return real - (shift.reshape(()) if shift.numel() == 1 else shift)


def conv_integer(
    node: Node, x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None
) -> Tensor:
    """ConvInteger."""
    y = convolution.conv(node, _shifted(x, x_zero, 1), _shifted(w, w_zero, 0))
    return y.round().astype(np.int32)


def qlinear_conv(
    node: Node,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """QLinearConv."""
    weight, shift = _shifted(w, w_zero, 0), None if bias is None else bias.astype(np.float32)
    y = convolution.conv(node, _shifted(x, x_zero, 1), weight, shift)
    scale = x_scale.reshape(()) * w_scale / y_scale.reshape(())
    scale = scale.reshape(-1, *(1,) * (x.ndim - 2)) if scale.numel() > 1 else scale.reshape(())
    return quantised(y * scale, scale * 0 + 1, y_zero.reshape(()), OF_DTYPE[y_zero.dtype])


def matmul_integer(
    node: Node, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    """MatMulInteger."""
    return (_shifted(a, a_zero, -2) @ _shifted(b, b_zero, -1)).round().astype(np.int32)


def qlinear_matmul(node: Node, *operands: Any) -> Tensor:
    """QLinearMatMul."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = operands
    y = _shifted(a, a_zero, -2) @ _shifted(b, b_zero, -1)
    scale = a_scale.astype(np.float32) * b_scale.astype(np.float32) / y_scale.astype(np.float32)
    return quantised(y * scale, scale * 0 + 1, y_zero, OF_DTYPE[y_zero.dtype])


OPERATORS: dict[str, Operator] = {
    "ConvInteger": row(conv_integer),
    "DequantizeLinear": row(dequantize_linear, fixed=(1, 2)),
    "DynamicQuantizeLinear": row(dynamic_quantize_linear),
    "MatMulInteger": row(matmul_integer),
    "QLinearConv": row(qlinear_conv, fixed=(1, 4, 6)),
    "QLinearMatMul": row(qlinear_matmul, fixed=(1, 4, 6)),
    "QuantizeLinear": row(quantize_linear, fixed=(1, 2)),
}
