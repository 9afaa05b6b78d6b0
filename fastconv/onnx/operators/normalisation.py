"""Normalisation and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...nn import functional as F
from ...tensor import Tensor
from ..node import Node, Operator, row


def batch_norm(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor | tuple[Tensor, ...]:
    """BatchNormalization; in training mode the running statistics are results."""
    node.check(node.get("spatial", 1) == 1, "spatial=0, statistics of every pixel, is not supported")
    eps = node.get("epsilon", 1e-5)
    if not node.get("training_mode", 0):
        node.check(
            node.opset >= 14 or not node.wants(1),
            "statistics of the batch (training) are not supported before opset 14; export it for inference",
        )
        return F.batch_norm(x, mean, variance, scale, bias, False, eps=eps)
    y = F.batch_norm(x, None, None, scale, bias, True, eps=eps)
    axes, keep = [i for i in range(x.ndim) if i != 1], node.get("momentum", 0.9)
    now = x.mean(dim=axes), x.var(dim=axes, correction=0)
    return (y, *(old * keep + new * (1 - keep) for old, new in zip((mean, variance), now)))


def instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """InstanceNormalization: groups of one channel."""
    return F.group_norm(x, x.shape[1], scale, bias, node.get("epsilon", 1e-5))


def group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """GroupNormalization; before opset 21 scale and bias have one number per group."""
    groups = node.get("num_groups")
    if node.opset < 21:
        node.check(x.shape[1] % groups == 0, f"{x.shape[1]} channels must be divisible by {groups} groups")
        scale, bias = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


def layer_norm(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor | tuple[Tensor, ...]:
    """LayerNormalization over the axes from ``axis`` on."""
    axis, eps = node.get("axis", -1) % x.ndim, node.get("epsilon", 1e-5)
    shape = x.shape[axis:]
    if scale.shape == shape and (bias is None or bias.shape == shape):
        y = F.layer_norm(x, shape, scale, bias, eps)
    else:
        y = F.layer_norm(x, shape, None, None, eps) * scale
        y = y if bias is None else y + bias
    if not (node.wants(1) or node.wants(2)):
        return y
    axes = list(range(axis, x.ndim))
    variance = x.var(dim=axes, correction=0, keepdim=True)
    return y, x.mean(dim=axes, keepdim=True), (variance + eps).rsqrt()


def rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    """RMSNormalization over the axes from ``axis`` on."""
    shape = x.shape[node.get("axis", -1) % x.ndim :]
    eps = node.get("epsilon", 1e-5)
    if scale.shape == shape:
        return F.rms_norm(x, shape, scale, eps)
    return F.rms_norm(x, shape, None, eps) * scale


def local_response_norm(node: Node, x: Tensor) -> Tensor:
    """LRN. The longer half of an even window is at the end, in fastconv (as in PyTorch) at the beginning."""
    size = node.get("size")
    numbers = size, node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    if size % 2:
        return F.local_response_norm(x, *numbers)
    return F.local_response_norm(x.flip(1), *numbers).flip(1)


def mean_variance_norm(node: Node, x: Tensor) -> Tensor:
    """MeanVarianceNormalization."""
    axes = list(node.get("axes", (0, 2, 3)))
    mean = x.mean(dim=axes, keepdim=True)
    return (x - mean) / (x.var(dim=axes, correction=0, keepdim=True).sqrt() + 1e-9)


def lp_norm(node: Node, x: Tensor) -> Tensor:
    """LpNormalization; what has the norm 0 stays 0."""
    norm = x.norm(node.get("p", 2), dim=node.get("axis", -1), keepdim=True)
    return x / norm.where(norm != 0, 1.0)


def dropout(
    node: Node, x: Tensor, ratio: np.ndarray | None = None, training: np.ndarray | None = None
) -> Any:
    """Dropout: nothing is dropped, except if the graph itself asks for training."""
    if training is not None and bool(training):
        p = 0.5 if ratio is None else float(ratio)
        keep = F.dropout(x * 0 + 1, p) != 0
        y = x * keep.astype(x.dtype) * (1 / (1 - p) if p < 1 else 0.0)
        return (y, keep) if node.wants(1) else y
    return (x, (x == x) | (x != x)) if node.wants(1) else x


OPERATORS: dict[str, Operator] = {
    "BatchNormalization": row(batch_norm, fixed=(3, 4)),
    "Dropout": row(dropout, host=(1, 2)),
    "GroupNormalization": row(group_norm),
    "InstanceNormalization": row(instance_norm),
    "LRN": row(local_response_norm),
    "LayerNormalization": row(layer_norm),
    "LpNormalization": row(lp_norm),
    "MeanVarianceNormalization": row(mean_variance_norm),
    "RMSNormalization": row(rms_norm),
}
