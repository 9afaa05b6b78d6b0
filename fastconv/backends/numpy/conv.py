"""Convolution (cross-correlation) in 1 to 3 dimensions by two algorithms, each with its three passes.

``im2col`` writes all windows as columns and multiplies once; ``direct`` multiplies tap by tap and needs no
columns. Groups are an axis of a batched matrix product: weights ``G x C_out/G x ...``, images
``N x G x C/G x outputs``.
"""

from functools import partial
from math import prod

import numpy as np

from ..common.unary import UNARY
from ..select import Algorithm, chooser
from .pointwise import unary_fwd
from .reduce import reduce_fwd
from .windows import fold, padded, taps, unfold, unpadded


def channel_sum(x):
    """Sum over every axis but axis 1: the gradient of a bias."""
    return reduce_fwd("sum", x, (0, *range(2, x.ndim)), False)


def _grouped(a, spec):
    return a.reshape(spec.batch, spec.groups, a.shape[1] // spec.groups, prod(spec.out_size))


def _rows(w, spec):
    """Weights that multiply columns: ``G x C_out/G x (C_in/G taps)``."""
    return w.reshape(spec.groups, spec.c_out // spec.groups, -1)


def _per_tap(w, spec):
    """Weights ``G x C_out/G x C_in/G x taps``, so that ``[..., tap]`` multiplies the slice of one tap."""
    return w.reshape(spec.groups, spec.c_out // spec.groups, spec.c_in // spec.groups, -1)


def _im2col_fwd(x, w, b, spec, residual, activation):
    y = _rows(w, spec) @ _grouped(unfold(x, spec), spec)
    return _finished(y, b, spec, residual, activation)


def _im2col_bwd_data(gy, w, spec):
    return fold(_rows(w, spec).swapaxes(1, 2) @ _grouped(gy, spec), spec)


def _im2col_bwd_weight(x, gy, spec):
    gw = _grouped(gy, spec) @ _grouped(unfold(x, spec), spec).swapaxes(2, 3)
    return gw.sum(axis=0).reshape(spec.w_shape)


def _direct_fwd(x, w, b, spec, residual, activation):
    w, xp = _per_tap(w, spec), padded(x, spec)
    y = sum(w[..., k] @ _grouped(xp[window], spec) for k, window in enumerate(taps(spec)))
    return _finished(y, b, spec, residual, activation)


def _direct_bwd_data(gy, w, spec):
    w, gy = _per_tap(w, spec), _grouped(gy, spec)
    gxp = padded(np.zeros(spec.x_shape, gy.dtype), spec)
    for k, window in enumerate(taps(spec)):
        gxp[window] += (w[..., k].swapaxes(1, 2) @ gy).reshape(spec.batch, spec.c_in, *spec.out_size)
    return unpadded(gxp, spec)


def _direct_bwd_weight(x, gy, spec):
    xp, gy = padded(x, spec), _grouped(gy, spec)
    gw = [(gy @ _grouped(xp[window], spec).swapaxes(2, 3)).sum(axis=0) for window in taps(spec)]
    return np.stack(gw, axis=-1).reshape(spec.w_shape)


def _finished(y, b, spec, residual, activation):
    y = y.reshape(spec.y_shape)
    y = y if b is None else y + b.reshape(-1, *(1,) * spec.ndim)
    y = y if residual is None else y + residual
    if activation is None:
        return y
    name, *numbers = (activation,) if isinstance(activation, str) else activation
    return unary_fwd(name, y, *numbers)


def _workspace(columns, spec, which, dtype):
    """Bytes of the padded copy, of the windows in use at a time (of all taps or one) and their product."""
    n_taps = prod(spec.kernel)
    held = n_taps if columns else 1
    size = [i + before + after for i, (before, after) in zip(spec.in_size, spec.padding, strict=True)]
    windows = spec.c_in * held * prod(spec.out_size)
    gw = prod(spec.w_shape) * held // n_taps
    product = {"fwd": spec.c_out * prod(spec.out_size), "bwd_data": 0, "bwd_weight": gw}[which]
    return np.dtype(dtype).itemsize * spec.batch * (spec.c_in * prod(size) + windows + product)


def _cost(columns, spec, which, dtype):
    """Seconds at 20 G multiply-adds per second; twice that tap by tap, ten times beyond 2 GiB of scratch."""
    overflow = _workspace(columns, spec, which, dtype) > 2**31
    return spec.macs / 20e9 * (1 if columns else 2) * (10 if overflow else 1)


def _algorithm(name, columns, *passes):
    takes_every_case = lambda spec, dtype: None  # noqa: E731
    fwd, bwd_data, bwd_weight = passes
    cost, workspace = partial(_cost, columns), partial(_workspace, columns)
    return Algorithm(name, fwd, bwd_data, bwd_weight, takes_every_case, cost, workspace)


CONV_ALGORITHMS = [
    _algorithm("im2col", True, _im2col_fwd, _im2col_bwd_data, _im2col_bwd_weight),
    _algorithm("direct", False, _direct_fwd, _direct_bwd_data, _direct_bwd_weight),
]

_choose = chooser(CONV_ALGORITHMS)
#: Ops that :func:`conv_fwd` can end with.
CONV_ACTIVATIONS = frozenset(UNARY)


def conv_fwd(x, w, b, spec, algorithm=None, residual=None, activation=None):
    """Cross-correlation, then ``residual`` added, then ``activation`` (each of the two where asked for)::

    y[n, o, p] = b[o] + sum over c and taps of w[o, c, tap] * x[n, c, p * stride + tap * dilation - before]
    """
    return _choose(spec, "fwd", x.dtype, algorithm).fwd(x, w, b, spec, residual, activation)


def conv_prepack(w):
    """The weights themselves: nothing is packed here."""
    return w


def conv_bwd_data(gy, w, spec, algorithm=None, residual=None):
    """The adjoint of ``conv_fwd`` in ``x``, plus ``residual``; forward pass of a transposed convolution."""
    gx = _choose(spec, "bwd_data", gy.dtype, algorithm).bwd_data(gy, w, spec)
    return gx if residual is None else gx + residual


def conv_bwd_weight(x, gy, spec, algorithm=None, out=None):
    """The adjoint of ``conv_fwd`` in ``w``."""
    return _choose(spec, "bwd_weight", x.dtype, algorithm).bwd_weight(x, gy, spec)
