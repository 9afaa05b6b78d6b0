"""Convolution on the CPU: the contract's three passes, and the algorithms they choose from."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from .. import select, settings
from . import conv_depthwise, conv_direct, conv_im2col, conv_winograd, simd
from .conv_plan import Prepacked

# What the rule of choice assumes of a core; only ratios matter.
PEAK = 117e9  # floating-point operations per second of a full float32 tile
COPY = 8e9  # bytes per second gathered into a matrix
LAUNCH = 20e-6  # seconds to pack weights and start the threads, per phase


def _is_depthwise(spec) -> bool:
    return spec.depthwise and spec.c_out == spec.c_in


def _route(name):
    """Direct convolution has a kernel of its own for depthwise layers."""
    general, depthwise = getattr(conv_direct, name), getattr(conv_depthwise, name)

    def run(*args):
        spec = args[3 if name == "fwd" else 2]
        return (depthwise if _is_depthwise(spec) else general)(*args)

    return run


def _never(spec, dtype):
    return None


def _size(spec, which):
    """Pixels per row, rows and phases of the output that pass ``which`` computes tiles for."""
    if which == "bwd_data":
        phases = prod(spec.stride)
        return -(-spec.in_size[-1] // spec.stride[-1]), spec.batch * prod(spec.in_size), phases
    return spec.out_size[-1], spec.batch * prod(spec.out_size), 1


def _tile_share(rows: int) -> float:
    """Share of peak of a tile with that many rows: short ones wait for the multiply-add's latency."""
    blocks = -(-rows // simd.MAX_ROWS)
    return min(1.0, 0.25 + 0.25 * rows / blocks)


def _flops(spec, dtype) -> float:
    """Operations in float32 units, with the columns that padding to whole vectors adds."""
    k = spec.c_out // spec.groups
    lanes = simd.lanes(dtype)
    return spec.flops * (-(-k // lanes) * lanes / k) * np.dtype(dtype).itemsize / 4


def _direct_cost(spec, which, dtype) -> float:
    threads = settings.get_num_threads()
    if _is_depthwise(spec):
        return LAUNCH + spec.flops / (0.1 * PEAK * threads)
    width, _, phases = _size(spec, which)
    share = _tile_share(width)
    if which == "bwd_weight":
        merged = spec.kernel[-1] if spec.groups == 1 and spec.dilation[-1] == 1 else 1
        share = _tile_share(merged * spec.c_in // spec.groups) * width / (width + 4)
    return phases * LAUNCH + _flops(spec, dtype) / (share * PEAK * threads)


def _im2col_cost(spec, which, dtype) -> float:
    threads = settings.get_num_threads()
    _, pixels, phases = _size(spec, which)
    depth = (spec.c_out if which == "bwd_data" else spec.c_in) * prod(spec.kernel) / phases
    gathered = pixels * depth * np.dtype(dtype).itemsize
    return phases * LAUNCH + _flops(spec, dtype) / (PEAK * threads) + gathered / (COPY * threads)


def _direct_workspace(spec, which, dtype) -> int:
    itemsize = np.dtype(dtype).itemsize
    weights = prod(spec.w_shape) * itemsize
    threads = settings.get_num_threads()
    if which == "bwd_weight":
        padded = prod(i + b + a for i, (b, a) in zip(spec.in_size, spec.padding)) * spec.batch * spec.c_in * itemsize
        return padded * any(b or a for b, a in spec.padding) + threads * weights
    return weights + threads * conv_direct.L2 // 4


def _im2col_workspace(spec, which, dtype) -> int:
    threads = settings.get_num_threads()
    weights = prod(spec.w_shape) * np.dtype(dtype).itemsize
    return (threads if which == "bwd_weight" else 1) * weights + threads * conv_direct.L2 // 2


# ------------------------------------------------------------------------------------------------- winograd
def _winograd_tile() -> int:
    """F(4x4, 3x3), or F(2x2, 3x3) where the precision setting asks for the accuracy of direct convolution."""
    return 2 if settings.get_float32_precision() == "highest" else 4


def _winograd(name):
    run = getattr(conv_winograd, name)
    return lambda *args: run(*args, _winograd_tile())


def _winograd_refuses(spec, dtype):
    if np.dtype(dtype) != np.float32:
        return f"its rounding errors are meant for float32, got {np.dtype(dtype)}"
    if spec.ndim != 2 or spec.kernel != (3, 3):
        return f"it needs a 3x3 kernel, got {'x'.join(map(str, spec.kernel))}"
    if spec.stride not in ((1, 1), (2, 2)) or spec.dilation != (1, 1):
        return f"it needs stride 1 or 2 and dilation 1, got stride {spec.stride}, dilation {spec.dilation}"
    if spec.stride == (2, 2) and (spec.padding[0][0] - spec.padding[1][0]) % 2:
        return f"with stride 2 it needs paddings before that are both even or both odd, got {spec.padding}"
    return None if spec.groups == 1 else f"it needs groups 1, got {spec.groups}"


def _winograd_tiles(spec, which):
    m, stride = _winograd_tile(), spec.stride[0]
    size, extent = (spec.in_size, m * stride) if which == "bwd_data" else (spec.out_size, m)
    return spec.batch * -(-size[0] // extent) * -(-size[1] // extent), (m + 2 if stride == 1 else 2 * m + 1) ** 2


def _winograd_cost(spec, which, dtype) -> float:
    threads = settings.get_num_threads()
    tiles, points = _winograd_tiles(spec, which)
    lanes = simd.lanes(dtype)
    products = 2 * points * tiles * spec.c_in * -(-spec.c_out // lanes) * lanes
    vectors = -(-spec.c_in // lanes) - (-spec.c_out // lanes)
    transformed = 4 * points * (tiles * vectors * lanes + spec.c_in * spec.c_out)
    return 2 * LAUNCH + products / (0.85 * PEAK * threads) + transformed / (3 * COPY * threads)


def _winograd_workspace(spec, which, dtype) -> int:
    tiles, points = _winograd_tiles(spec, which)
    return 4 * points * (min(tiles, 1024) * (spec.c_in + spec.c_out) + spec.c_in * spec.c_out)


CONV_ALGORITHMS = [
    select.Algorithm("winograd", _winograd("fwd"), _winograd("bwd_data"), _winograd("bwd_weight"), _winograd_refuses,
                     _winograd_cost, _winograd_workspace),
    select.Algorithm("direct", _route("fwd"), _route("bwd_data"), _route("bwd_weight"), _never, _direct_cost,
                     _direct_workspace),
    select.Algorithm("im2col", conv_im2col.fwd, conv_im2col.bwd_data, conv_im2col.bwd_weight, _never, _im2col_cost,
                     _im2col_workspace),
]  # fmt: skip


@lru_cache(maxsize=4096)
def _chosen(spec, which, dtype, name, *in_force):
    return select.choose(CONV_ALGORITHMS, spec, which, dtype, name)


def _choose(spec, which, dtype, name):
    return _chosen(spec, which, dtype, name, settings.get_num_threads(), settings.get_float32_precision())


def conv_prepack(w):
    return Prepacked(w)


def conv_fwd(x, w, b, spec, algorithm=None, residual=None, relu=False):
    return _choose(spec, "fwd", x.dtype, algorithm).fwd(x, w, b, spec, residual, relu)


def conv_bwd_data(gy, w, spec, algorithm=None):
    return _choose(spec, "bwd_data", gy.dtype, algorithm).bwd_data(gy, w, spec)


def conv_bwd_weight(x, gy, spec, algorithm=None):
    return _choose(spec, "bwd_weight", gy.dtype, algorithm).bwd_weight(x, gy, spec)
