"""Pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from ...creation import as_tensor, zeros
from ...nn import functional as F
from ...tensor import Tensor
from ..node import Node, Operator, ints, row
from .windows import Window, flat, pairs, per_dimension, spatial, window

MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
GLOBAL_AVG_POOL = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _is_plain(w: Window) -> bool:
    """Whether fastconv's pools take this padding, of which no window holds more than a half."""
    return all(max(p) <= e // 2 for p, e in zip(w.padding, w.extent)) and (
        max(w.dilation) == 1 or not any(map(any, w.padding))
    )


def _reached(w: Window, out: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Padding with which the last of ``out`` windows ends where the padding ends."""
    return tuple(
        (before, (o - 1) * s + e - i - before)
        for (before, _), o, s, e, i in zip(w.padding, out, w.stride, w.extent, w.size)
    )


# ------------------------------------------------------------------------------------------------- maxima
def max_pool(node: Node, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """MaxPool."""
    dtype = x.dtype
    if dtype.kind != "f":  # floats hold every number of the 8-bit types that the operator has
        x = x.astype(np.float32)
    w, ceil_mode = window(node, x, node.get("kernel_shape")), bool(node.get("ceil_mode", 0))
    pool, plain = MAX_POOL[spatial(node, x)], _is_plain(w)
    if plain:
        y, at = pool(x, w.kernel, w.stride, w.padding, w.dilation, ceil_mode, return_indices=True)
    else:
        around = _reached(w, w.out_size(ceil_mode))
        padded = F.pad(x, flat(around), value=-np.inf)
        y, at = pool(padded, w.kernel, w.stride, 0, w.dilation, return_indices=True)
        w = replace(w, padding=around)
    y = y if y.dtype == dtype else y.astype(dtype)
    return (y, _flat_positions(node, at, w, plain)) if node.wants(1) else y


def _flat_positions(node: Node, at: Tensor, w: Window, plain: bool) -> Tensor:
    """Positions in a plane, which may be a padded one, as positions in the whole input."""
    size = w.size if plain else tuple(i + b + a for i, (b, a) in zip(w.size, w.padding))
    coordinates: list[Tensor] = []
    for i, (before, _) in zip(reversed(size), reversed(w.padding)):
        coordinates.insert(0, at % i - (0 if plain else before))
        at = at // i
    order = list(range(len(size)))
    if node.get("storage_order", 0) == 0:
        order.reverse()
    position, step = coordinates[0] * 0, 1
    for d in order:
        position, step = position + coordinates[d] * step, step * w.size[d]
    n, c = at.shape[:2]
    first = np.arange(n * c).reshape(n, c, *(1,) * len(size)) * prod(w.size)
    return position + as_tensor(first).to(at.device)


def global_max_pool(node: Node, x: Tensor) -> Tensor:
    """GlobalMaxPool."""
    return x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)


def max_unpool(node: Node, x: Tensor, index: Tensor, output_shape: np.ndarray | None = None) -> Tensor:
    """MaxUnpool: the indices are positions in the whole result."""
    n = spatial(node, x)
    kernel, stride = per_dimension(node, "kernel_shape", n), per_dimension(node, "strides", n)
    size = [
        (i - 1) * s + k - sum(p) for i, s, k, p in zip(x.shape[2:], stride, kernel, pairs(node, "pads", n))
    ]
    inferred = (*x.shape[:2], *size)
    shape = inferred if output_shape is None else tuple(ints(output_shape))
    # The positions are those of the inferred shape, of which the result is a larger version.
    places, rest = [], index.reshape(-1)
    for extent in reversed(inferred):
        places.insert(0, rest % extent)
        rest = rest // extent
    position, step = places[0] * 0, 1
    for place, extent in zip(reversed(places), reversed(shape)):
        position, step = position + place * step, step * extent
    target = zeros(step, dtype=x.dtype, device=x.device)
    return target.scatter(0, position, x.reshape(-1)).reshape(shape)


# ------------------------------------------------------------------------------------------------- means
def average_pool(node: Node, x: Tensor) -> Tensor:
    """AveragePool."""
    w, ceil_mode = window(node, x, node.get("kernel_shape")), bool(node.get("ceil_mode", 0))
    with_padding = bool(node.get("count_include_pad", 0))
    if _is_plain(w) and max(w.dilation) == 1:
        return AVG_POOL[spatial(node, x)](x, w.kernel, w.stride, w.padding, ceil_mode, with_padding)
    counts = _counts(w, w.out_size(ceil_mode), with_padding).astype(x.dtype)
    return _sums(x, w, ceil_mode) / as_tensor(counts).to(x.device)


def _sums(x: Tensor, w: Window, ceil_mode: bool) -> Tensor:
    """The sum of each window, as a convolution of every channel with ones."""
    around = _reached(w, w.out_size(ceil_mode))
    planes = F.pad(x.reshape(-1, 1, *w.size), flat(around))
    ones = as_tensor(np.ones((1, 1, *w.kernel), x.dtype)).to(x.device)
    y = CONV[len(w.size)](planes, ones, None, w.stride, 0, w.dilation)
    return y.reshape(*x.shape[:2], *y.shape[2:])


def _counts(w: Window, out: Sequence[int], with_padding: bool) -> np.ndarray:
    """What each window is divided by: its elements inside the input, or inside the padding too."""
    result = np.ones((1,) * len(out))
    for dim, (o, k, s, d, i) in enumerate(zip(out, w.kernel, w.stride, w.dilation, w.size)):
        before, after = w.padding[dim] if with_padding else (0, 0)
        at = np.arange(o)[:, None] * s + np.arange(k) * d - w.padding[dim][0]
        inside = ((at >= -before) & (at < i + after)).sum(1)
        result = result * inside.reshape([-1 if j == dim else 1 for j in range(len(out))])
    return np.maximum(result, 1)


def global_average_pool(node: Node, x: Tensor) -> Tensor:
    """GlobalAveragePool."""
    if 1 <= x.ndim - 2 <= 3:
        return GLOBAL_AVG_POOL[x.ndim - 2](x, 1)
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


# ------------------------------------------------------------------------------------------------- norms
def lp_pool(node: Node, x: Tensor) -> Tensor:
    """LpPool: the p-norm of each window."""
    w, p = window(node, x, node.get("kernel_shape")), node.get("p", 2)
    return _sums(x.abs().pow(p), w, bool(node.get("ceil_mode", 0))).pow(1 / p)


def global_lp_pool(node: Node, x: Tensor) -> Tensor:
    """GlobalLpPool."""
    p = node.get("p", 2)
    return x.abs().pow(p).sum(dim=tuple(range(2, x.ndim)), keepdim=True).pow(1 / p)


OPERATORS: dict[str, Operator] = {
    "AveragePool": row(average_pool),
    "GlobalAveragePool": row(global_average_pool),
    "GlobalLpPool": row(global_lp_pool),
    "GlobalMaxPool": row(global_max_pool),
    "LpPool": row(lp_pool),
    "MaxPool": row(max_pool),
    "MaxUnpool": row(max_unpool, host=(2,)),
}
