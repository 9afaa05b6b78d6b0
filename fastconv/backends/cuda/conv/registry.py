"""Convolution on the GPU: the contract's three passes, and the algorithms that they choose from.

::

    conv_fwd, conv_bwd_data, conv_bwd_weight
      choose             forced, or the lowest estimate (cost.py)
      layout             views of channels-last memory with three spatial dimensions, or copies
      run(phases, ...)   implicit_gemm.py, implicit_gemm_weight.py, depthwise.py or direct.py
"""

from __future__ import annotations

import numpy as np

from fastconv.backends import select, settings
from fastconv.spec import ConvSpec

from ..runtime import layout, memory
from . import cost, depthwise, direct, geometry, implicit_gemm, implicit_gemm_weight


# ------------------------------------------------------------------------------------------------- the passes
def _fwd(run):
    def fwd(x, w, b, spec, residual, activation):
        y, y5 = layout.empty(spec.y_shape, x.dtype)
        if y.size:
            residual = None if residual is None else layout.to_ndhwc(residual)
            b = None if b is None else layout.dense(b)
            phases = geometry.forward(spec.as_3d())
            run(phases, layout.to_ndhwc(x), geometry.weights(w), y5, b, residual, activation is not None)
        return y

    return fwd


def _bwd_data(run):
    def bwd_data(gy, w, spec, residual):
        gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
        phases = geometry.backward(spec.as_3d())
        if gx.size:
            residual = None if residual is None else layout.to_ndhwc(residual)
            if not all(p.taps for p in phases):
                _clear(gx5) if residual is None else layout.copy_to(residual, gx5)
            run(phases, layout.to_ndhwc(gy), geometry.weights(w), gx5, None, residual, False)
        return gx

    return bwd_data


def _clear(x):
    """Write zeros, by a copy of one zero."""
    zero = memory.constant(np.zeros(1, x.dtype))
    layout.copy_to(zero.view(x.shape, (0,) * x.ndim), x)


def _bwd_weight(run):
    def bwd_weight(x, gy, spec):
        gw, memory_order = geometry.empty_weights(spec.w_shape, x.dtype)
        if gy.size:
            run(geometry.forward(spec.as_3d())[0], layout.to_ndhwc(x), layout.to_ndhwc(gy), memory_order)
        else:
            _clear(memory_order)
        return gw

    return bwd_weight


# ------------------------------------------------------------------------------------------------- the list
def _refuses(spec: ConvSpec, dtype) -> str | None:
    return geometry.too_many_pixels(spec)


def _implicit_gemm_refuses(spec: ConvSpec, dtype) -> str | None:
    channels = spec.c_in // spec.groups, spec.c_out // spec.groups
    return geometry.too_many_pixels(spec) or cost.too_large_a_grid(spec.groups, *channels)


def _depthwise_refuses(spec: ConvSpec, dtype) -> str | None:
    groups, channels = spec.groups, (spec.c_in // spec.groups, spec.c_out // spec.groups)
    if not any(cost.has_narrow_groups(groups, c) for c in channels):
        return (
            f"it needs groups of fewer than {cost.OUTPUTS // 2} input or output channels, "
            f"got groups {groups} of {channels[0]} and {channels[1]} channels"
        )
    return geometry.too_many_pixels(spec)


# Where estimates are equal, the first one runs.
CONV_ALGORITHMS = [
    select.Algorithm(
        "implicit_gemm",
        _fwd(implicit_gemm.run),
        _bwd_data(implicit_gemm.run),
        _bwd_weight(implicit_gemm_weight.run),
        _implicit_gemm_refuses,
        cost.implicit_gemm,
        cost.implicit_gemm_workspace,
        aliases=("im2col",),  # the same matrix product, with the matrix in memory
    ),
    select.Algorithm(
        "depthwise",
        _fwd(depthwise.run),
        _bwd_data(depthwise.run),
        _bwd_weight(direct.run_weight),
        _depthwise_refuses,
        cost.depthwise,
        cost.direct_workspace,
    ),
    select.Algorithm(
        "direct",
        _fwd(direct.run),
        _bwd_data(direct.run),
        _bwd_weight(direct.run_weight),
        _refuses,
        cost.direct,
        cost.direct_workspace,
    ),
]


choose = select.chooser(CONV_ALGORITHMS, settings.get_float32_precision)


# ------------------------------------------------------------------------------------------ the contract
def conv_prepack(w):
    in_order = geometry.weights(w)
    last = in_order.ndim - 1
    return in_order.transpose(last, last - 1, *range(last - 1))


def conv_fwd(x, w, b, spec, algorithm=None, residual=None, activation=None):
    return choose(spec, "fwd", x.dtype, algorithm).fwd(x, w, b, spec, residual, activation)


def conv_bwd_data(gy, w, spec, algorithm=None, residual=None):
    return choose(spec, "bwd_data", gy.dtype, algorithm).bwd_data(gy, w, spec, residual)


def conv_bwd_weight(x, gy, spec, algorithm=None, out=None):
    return choose(spec, "bwd_weight", x.dtype, algorithm).bwd_weight(x, gy, spec)
