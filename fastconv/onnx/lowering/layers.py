"""Convolutions, pools, normalisation and dense layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...checks import check
from ...graph.program import Value
from ...spec import AdaptivePoolSpec, ConvSpec, PoolSpec
from ..writer import NAME, Writer


def _geometry(spec: ConvSpec | PoolSpec) -> dict[str, Any]:
    before, after = zip(*spec.padding)
    return {
        "kernel_shape": spec.kernel,
        "strides": spec.stride,
        "dilations": spec.dilation,
        "pads": (*before, *after),
    }


# ------------------------------------------------------------------------------------------ convolutions
def conv(w: Writer, x: Value, weight: Value, bias: Value | None, spec: ConvSpec, *_: Any) -> str:
    """``conv_fwd``; an unfused program has neither residual nor activation."""
    inputs = [w[x], w[weight], *([] if bias is None else [w[bias]])]
    return w.node("Conv", *inputs, group=spec.groups, **_geometry(spec))


def conv_transpose(w: Writer, gy: Value, weight: Value, spec: ConvSpec, *_: Any) -> str:
    """``conv_bwd_data``: a transposed convolution."""
    extra = [
        n - ((o - 1) * s - sum(p) + d * (k - 1) + 1)
        for n, o, s, p, d, k in zip(
            spec.in_size, spec.out_size, spec.stride, spec.padding, spec.dilation, spec.kernel
        )
    ]
    return w.node(
        "ConvTranspose", w[gy], w[weight], group=spec.groups, output_padding=extra, **_geometry(spec)
    )


# ------------------------------------------------------------------------------------------ pools
def _ceil_mode(spec: PoolSpec) -> int:
    """Whether the last window of some dimension reaches beyond the padding."""
    return int(
        any(
            (o - 1) * s + d * (k - 1) + 1 > i + sum(p)
            for o, s, d, k, i, p in zip(
                spec.out_size, spec.stride, spec.dilation, spec.kernel, spec.in_size, spec.padding
            )
        )
    )


def max_pool(w: Writer, x: Value, spec: PoolSpec) -> tuple[str, None]:
    """``max_pool_fwd``; ONNX numbers the positions of maxima in another way."""
    return w.node("MaxPool", w[x], ceil_mode=_ceil_mode(spec), **_geometry(spec)), None


def avg_pool(w: Writer, x: Value, spec: PoolSpec) -> str:
    """``avg_pool_fwd``."""
    geometry, ceil_mode = _geometry(spec), _ceil_mode(spec)
    del geometry["dilations"]  # before opset 19 there are none
    check(max(spec.dilation) == 1, NAME, "an average pool with dilation has no operator in opset 18")
    if spec.divisor is None:
        with_padding = int(spec.count_include_pad)
        return w.node("AveragePool", w[x], ceil_mode=ceil_mode, count_include_pad=with_padding, **geometry)
    check(not ceil_mode, NAME, "an average pool with ceil_mode and divisor_override has no operator")
    mean = w.node("AveragePool", w[x], count_include_pad=1, **geometry)
    return w.node("Mul", mean, w.scalar(math.prod(spec.kernel) / spec.divisor, x))


def _even(spec: AdaptivePoolSpec) -> dict[str, Any] | None:
    """Kernel and strides if all windows have the same extent and none overlap."""
    if any(i % o for i, o in zip(spec.in_size, spec.out_size)):
        return None
    kernel = [i // o for i, o in zip(spec.in_size, spec.out_size)]
    return {"kernel_shape": kernel, "strides": kernel}


def adaptive_avg_pool(w: Writer, x: Value, spec: AdaptivePoolSpec) -> str:
    """``adaptive_avg_pool_fwd``; windows of several extents are a product with a matrix for each axis."""
    if max(spec.out_size) == 1:
        return w.node("GlobalAveragePool", w[x])
    if (even := _even(spec)) is not None:
        return w.node("AveragePool", w[x], **even)
    name, last = w[x], x.ndim - 1
    for dim in range(len(spec.in_size)):
        mean = np.zeros((spec.in_size[dim], spec.out_size[dim]), x.dtype)
        for j, (begin, end) in enumerate(spec.windows(dim)):
            mean[begin:end, j] = 1 / (end - begin)
        order = list(range(x.ndim))
        order[2 + dim], order[last] = last, 2 + dim
        turned = w.node("MatMul", w.node("Transpose", name, perm=order), w.constant(mean))
        name = w.node("Transpose", turned, perm=order)
    return name


def adaptive_max_pool(w: Writer, x: Value, spec: AdaptivePoolSpec) -> tuple[str, None]:
    """``adaptive_max_pool_fwd``."""
    if max(spec.out_size) == 1:
        return w.node("GlobalMaxPool", w[x]), None
    even = _even(spec)
    check(
        even is not None,
        NAME,
        f"adaptive_max_pool from {spec.in_size} to {spec.out_size} has no operator; the input must be a "
        "multiple of the result",
    )
    return w.node("MaxPool", w[x], **(even or {})), None


# ------------------------------------------------------------------------------------------ normalisation
def batch_norm(
    w: Writer,
    x: Value,
    mean: Value,
    invstd: Value,
    weight: Value | None,
    bias: Value | None,
    residual: Value | None,
    activation: str | None,
) -> str:
    """``batch_norm_fwd``: one operator if the statistics are constants, else arithmetic."""
    y = _normalised(w, x, mean, invstd, weight, bias)
    y = y if residual is None else w.node("Add", y, w[residual])
    return w.node("Relu", y) if activation == "relu" else y


def _normalised(
    w: Writer, x: Value, mean: Value, invstd: Value, weight: Value | None, bias: Value | None
) -> str:
    channels = x.shape[1]
    if mean.constant is not None and invstd.constant is not None:
        variance = w.host(invstd).astype(np.float64) ** -2
        scale = w[weight] if weight is not None else w.constant(np.ones(channels, x.dtype))
        shift = w[bias] if bias is not None else w.constant(np.zeros(channels, x.dtype))
        spread = w.constant(variance.astype(x.dtype))
        return w.node("BatchNormalization", w[x], scale, shift, w[mean], spread, epsilon=0.0)
    y = w.node("Sub", w[x], _per_channel(w, mean, x))
    y = w.node("Mul", y, _per_channel(w, invstd, x))
    return _affine(w, y, x, weight, bias)


def batch_norm_stats(w: Writer, x: Value) -> tuple[str, str]:
    """``batch_norm_stats``."""
    axes = tuple(i for i in range(x.ndim) if i != 1)
    mean, variance = moments(w, x, axes)
    return w.reshape(mean, (x.shape[1],)), w.reshape(variance, (x.shape[1],))


def moments(w: Writer, x: Value, axes: Sequence[int]) -> tuple[str, str]:
    """``moments``: mean and biased variance."""
    mean = w.node("ReduceMean", w[x], w.ints(*axes), keepdims=1)
    away = w.node("Sub", w[x], mean)
    return mean, w.node("ReduceMean", w.node("Mul", away, away), w.ints(*axes), keepdims=1)


def _per_channel(w: Writer, v: Value, x: Value) -> str:
    return w.reshape(w[v], (x.shape[1], *(1,) * (x.ndim - 2)))


def _affine(w: Writer, y: str, x: Value, weight: Value | None, bias: Value | None) -> str:
    """``y * weight + bias``, with a number for each channel of ``x``."""
    y = y if weight is None else w.node("Mul", y, _per_channel(w, weight, x))
    return y if bias is None else w.node("Add", y, _per_channel(w, bias, x))


def group_norm(
    w: Writer, x: Value, groups: int, weight: Value | None, bias: Value | None, eps: float
) -> tuple[str, None, None]:
    """``group_norm_fwd``: an instance norm of the groups as channels, then scale and shift."""
    check(x.ndim > 2 or groups < x.shape[1], NAME, "group_norm of single numbers has no operator")
    varying = w.varies(x)
    check(not any(varying[2:]), NAME, "group_norm needs fixed image sizes; export with dynamic_batch=False")
    ones, zeros = (w.constant(make(groups, x.dtype)) for make in (np.ones, np.zeros))
    parts = w.node("Reshape", w[x], w.ints(0, groups, -1))
    y = w.node("InstanceNormalization", parts, ones, zeros, epsilon=eps)
    y = w.reshape(y, x.shape, varying)
    return _affine(w, y, x, weight, bias), None, None


def layer_norm(
    w: Writer, x: Value, weight: Value | None, bias: Value | None, eps: float, centered: bool = True
) -> tuple[str, None, None]:
    """``layer_norm_fwd``; without ``centered`` (RMS norm), arithmetic."""
    n = x.shape[1]
    if centered:
        scale = w[weight] if weight is not None else w.constant(np.ones(n, x.dtype))
        inputs = [w[x], scale, *([] if bias is None else [w[bias]])]
        return w.node("LayerNormalization", *inputs, axis=-1, epsilon=eps), None, None
    square = w.node("ReduceMean", w.node("Mul", w[x], w[x]), w.ints(1), keepdims=1)
    y = w.node("Div", w[x], w.node("Sqrt", w.node("Add", square, w.scalar(eps, x))))
    y = y if weight is None else w.node("Mul", y, w[weight])
    return (y if bias is None else w.node("Add", y, w[bias])), None, None


def local_response_norm(
    w: Writer, x: Value, size: int, alpha: float, beta: float, k: float
) -> tuple[str, None]:
    """``local_response_norm_fwd``; for an even window, which LRN places differently, as a convolution."""
    if size % 2:
        return w.node("LRN", w[x], size=size, alpha=alpha, beta=beta, bias=k), None
    channels, places = x.shape[1], np.arange(x.shape[1])
    away = places - places[:, None]  # of each channel from the one that is computed
    filters = ((away >= -(size // 2)) & (away <= (size - 1) // 2)) * (alpha / size)
    filters = filters.astype(x.dtype).reshape(channels, channels, *(1,) * (x.ndim - 2))
    square = w.node("Mul", w[x], w[x])
    scale = w.node("Conv", square, w.constant(filters), w.constant(np.full(channels, k, x.dtype)))
    return w.node("Div", w[x], w.node("Pow", scale, w.scalar(beta, x))), None


# ------------------------------------------------------------------------------------------ dense layers
def linear(w: Writer, x: Value, weight: Value, bias: Value | None) -> str:
    """``linear_fwd``."""
    inputs = [w[x], w[weight], *([] if bias is None else [w[bias]])]
    return w.node("Gemm", *inputs, transB=1)


def matmul(w: Writer, a: Value, b: Value) -> str:
    """``matmul``."""
    return w.node("MatMul", w[a], w[b])


LOWERINGS: dict[str, Callable[..., Any]] = {
    "adaptive_avg_pool_fwd": adaptive_avg_pool,
    "adaptive_max_pool_fwd": adaptive_max_pool,
    "avg_pool_fwd": avg_pool,
    "batch_norm_fwd": batch_norm,
    "batch_norm_stats": batch_norm_stats,
    "conv_bwd_data": conv_transpose,
    "conv_fwd": conv,
    "group_norm_fwd": group_norm,
    "layer_norm_fwd": layer_norm,
    "linear_fwd": linear,
    "local_response_norm_fwd": local_response_norm,
    "matmul": matmul,
    "max_pool_fwd": max_pool,
    "moments": moments,
}
