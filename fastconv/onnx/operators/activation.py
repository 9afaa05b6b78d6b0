"""Activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backends.common.unary import SELU_ALPHA, SELU_SCALE
from ...nn import functional as F
from ...tensor import Tensor
from ..node import Node, Operator, row
from .elementwise import unary


def clip(node: Node, x: Tensor, low: np.ndarray | None = None, high: np.ndarray | None = None) -> Tensor:
    """Clip; the bounds are attributes before opset 11."""
    if node.opset < 11:
        low, high = node.get("min"), node.get("max")
    bounds = [None if b is None else np.asarray(b, x.dtype).item() for b in (low, high)]
    if bounds == [None, None]:
        return x
    return x.clamp(*bounds)


def leaky_relu(node: Node, x: Tensor) -> Tensor:
    """LeakyRelu."""
    return F.leaky_relu(x, node.get("alpha", 0.01))


def prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    """PRelu; the slope broadcasts."""
    per_channel = slope.ndim == x.ndim - 1 and slope.shape[0] == slope.numel() == x.shape[1]
    if per_channel or slope.numel() == 1:
        return F.prelu(x, slope.reshape(-1))
    return x.where(x > 0, x * slope)


def elu(node: Node, x: Tensor) -> Tensor:
    """Elu."""
    return F.elu(x, node.get("alpha", 1.0))


def celu(node: Node, x: Tensor) -> Tensor:
    """Celu."""
    return F.celu(x, node.get("alpha", 1.0))


def selu(node: Node, x: Tensor) -> Tensor:
    """Selu, with any two constants."""
    alpha, gamma = node.get("alpha", SELU_ALPHA), node.get("gamma", SELU_SCALE)
    if _near(alpha, SELU_ALPHA) and _near(gamma, SELU_SCALE):
        return F.selu(x)
    return F.elu(x, alpha) * gamma


def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    """HardSigmoid, of any slope."""
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if _near(alpha, 1 / 6) and beta == 0.5:
        return F.hardsigmoid(x)
    return (x * alpha + beta).clamp(0.0, 1.0)


def _near(a: float, b: float) -> bool:
    """Whether two attributes, which files hold in float32, mean the same number."""
    return np.float32(a) == np.float32(b)


def gelu(node: Node, x: Tensor) -> Tensor:
    """Gelu."""
    return F.gelu(x, node.get("approximate", "none"))


def swish(node: Node, x: Tensor) -> Tensor:
    """Swish."""
    alpha = node.get("alpha", 1.0)
    return F.silu(x) if alpha == 1 else x * (x * alpha).sigmoid()


def thresholded_relu(node: Node, x: Tensor) -> Tensor:
    """ThresholdedRelu."""
    return F.threshold(x, node.get("alpha", 1.0), 0.0)


def shrink(node: Node, x: Tensor) -> Tensor:
    """Shrink: 0 near 0, else moved by the bias."""
    limit, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    real = x.astype(np.float32) if x.dtype.kind != "f" else x
    small = real * 0.0
    moved = (real - bias).where(real > limit, (real + bias).where(real < -limit, small))
    return moved if moved.dtype == x.dtype else moved.astype(x.dtype)


def softmax(node: Node, x: Tensor) -> Tensor:
    """Softmax."""
    return _over_classes(node, x, F.softmax)


def log_softmax(node: Node, x: Tensor) -> Tensor:
    """LogSoftmax."""
    return _over_classes(node, x, F.log_softmax)


def hardmax(node: Node, x: Tensor) -> Tensor:
    """Hardmax: 1 at the first maximum."""

    def compute(x: Tensor, axis: int) -> Tensor:
        order = np.arange(x.shape[axis]).reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
        return (x.argmax(axis, keepdim=True) == order).astype(x.dtype)

    return _over_classes(node, x, compute)


def _over_classes(node: Node, x: Tensor, compute: Any) -> Tensor:
    """Along one axis; before opset 13, over all axes from one on."""
    if node.opset >= 13:
        return compute(x, node.get("axis", -1))
    axis = node.get("axis", 1) % max(x.ndim, 1)
    if axis == x.ndim - 1:
        return compute(x, axis)
    return compute(x.flatten(axis), axis).reshape(x.shape)


OPERATORS: dict[str, Operator] = {
    "Celu": row(celu),
    "Clip": row(clip, host=(1, 2)),
    "Elu": row(elu),
    "Gelu": row(gelu),
    "HardSigmoid": row(hard_sigmoid),
    "HardSwish": unary(F.hardswish),
    "Hardmax": row(hardmax),
    "LeakyRelu": row(leaky_relu),
    "LogSoftmax": row(log_softmax),
    "Mish": unary(F.mish),
    "PRelu": row(prelu),
    "Relu": unary(F.relu),
    "Selu": row(selu),
    "Shrink": row(shrink),
    "Sigmoid": unary(lambda x: x.sigmoid()),
    "Softmax": row(softmax),
    "Softplus": unary(F.softplus),
    "Softsign": unary(F.softsign),
    "Swish": row(swish),
    "Tanh": unary(lambda x: x.tanh()),
    "ThresholdedRelu": row(thresholded_relu),
}
