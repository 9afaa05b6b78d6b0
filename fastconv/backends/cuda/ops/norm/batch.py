"""Batch normalisation, and the running averages of its moments.

A thread keeps the numbers of its 4 channels in registers and walks down the rows of the matrix of images::

               channels
             +---------------+
    rows:    | t0 | t1 | ... |      first, threads side by side read neighbouring addresses
             | t8 | ...      |      then each jumps so far that it meets the same channels again
             +---------------+
"""

from __future__ import annotations

import functools

import numpy as np

from ...codegen import ptx
from ...conv import bf16
from ...runtime import layout, memory
from ...runtime.array import DeviceArray
from ...runtime.launch import cuda, grid, grid_over_channels, kernel, launch
from .. import channel_reduce
from ..block_reduce import OptionalArray, optional
from ..channel_reduce import MASK_FROM_X, MASK_FROM_Y, NO_MASK, Vectors, empty_matrix, matrix

#: In x, weight, bias and residual; the last is None where there is none.
Gradients = tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray | None]


def batch_norm_stats(x: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """Mean and variance of each channel."""
    if x.size == 0:
        return layout.filled(x.shape[1:2], x.dtype, 0), layout.filled(x.shape[1:2], x.dtype, 0)
    mean, variance, *_ = channel_reduce.moments(matrix(x))
    return mean, variance


@functools.cache
def _batch_norm_kernel(real, vector_width, half):
    """``half``: the result is written in bfloat16 as well."""
    zero, one = real(0), real(1)
    load, store = ptx.vector_access(vector_width)
    pack, store2 = ptx.pack_bf16, ptx.store2

    @kernel
    def batch_norm(x, mean, invstd, weight, bias, residual, relu, y, words, channels, n):
        # a thread meets the same channels every time
        first, step = np.int64(cuda.grid(1)) * vector_width, np.int64(cuda.gridsize(1)) * vector_width
        centre, scale, shift = (
            cuda.local.array(vector_width, real),
            cuda.local.array(vector_width, real),
            cuda.local.array(vector_width, real),
        )
        for k in range(vector_width):
            c = first % channels + k
            centre[k] = mean[c]
            scale[k] = invstd[c] * (weight.array[c] if weight.given else one)
            shift[k] = bias.array[c] if bias.given else zero
        out = cuda.local.array(vector_width, real)
        i = first
        while i < n:
            v, r = load(x, i), load(residual.array if residual.given else x, i)
            for k in range(vector_width):
                u = (v[k] - centre[k]) * scale[k] + shift[k]
                if residual.given:
                    u += r[k]
                out[k] = zero if relu and u <= zero else u
            store(y, i, out)
            if half:
                store2(words, i // 2, pack(out[0], out[1]), pack(out[2], out[3]))
            i += step

    return batch_norm


@functools.cache
def _batch_norm_bwd_kernel(real, vector_width, half):
    """``half``: the gradient in x is written in bfloat16 as well."""
    zero, one = real(0), real(1)
    load, store = ptx.vector_access(vector_width)
    pack, store2 = ptx.pack_bf16, ptx.store2

    @kernel
    def batch_norm_bwd(gy, x, y, mask, vectors, weight, gw, gb, share, gx, words, gres, channels, n):
        # share is 1 / count where mean and invstd depend on x, else 0; without a mask
        # gx = factor * (gy + level + tilt * (x - mean))
        first, step = np.int64(cuda.grid(1)) * vector_width, np.int64(cuda.gridsize(1)) * vector_width
        centre, factor = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        tilt, level = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        gain, shift = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        for k in range(vector_width):
            c = first % channels + k
            centre[k] = vectors.mean[c]
            gain[k] = vectors.gain[c] if mask == MASK_FROM_X else one
            shift[k] = vectors.shift[c] if mask == MASK_FROM_X else zero
            factor[k] = vectors.scale[c] * (weight.array[c] if weight.given else one)
            level[k] = -gb[c] * share
            tilt[k] = -gw[c] * share * vectors.scale[c]
        g, out = cuda.local.array(vector_width, real), cuda.local.array(vector_width, real)
        i = first
        while i < n:
            u, v, r = load(gy, i), load(x, i), load(y if mask == MASK_FROM_Y else x, i)
            for k in range(vector_width):
                w = r[k] if mask == MASK_FROM_Y else (v[k] - centre[k]) * gain[k] + shift[k]
                g[k] = zero if mask and w <= zero else u[k]
                out[k] = (g[k] + level[k] + tilt[k] * (v[k] - centre[k])) * factor[k]
            if gres.given:
                store(gres.array, i, g)
            store(gx, i, out)
            if half:
                store2(words, i // 2, pack(out[0], out[1]), pack(out[2], out[3]))
            i += step

    return batch_norm_bwd


def batch_norm_fwd(
    x: DeviceArray,
    mean: DeviceArray,
    invstd: DeviceArray,
    weight: DeviceArray | None,
    bias: DeviceArray | None,
    residual: DeviceArray | None,
    activation: str | None,
) -> DeviceArray:
    """``(x - mean) * invstd * weight + bias + residual`` per channel, then ReLU if ``activation`` says so."""
    (y, out), rows, channels = empty_matrix(x), matrix(x), x.shape[1]
    added = OptionalArray(rows, False) if residual is None else OptionalArray(matrix(residual), True)
    if x.size:
        vector_width = layout.vector_width(channels, rows, added.array)
        words = bf16.beside(out, vector_width)
        launch(
            _batch_norm_kernel(x.dtype.type, vector_width, words is not None),
            *grid_over_channels(x.size, channels, vector_width),
            rows,
            layout.dense(mean),
            layout.dense(invstd),
            optional(weight, mean),
            optional(bias, mean),
            added,
            activation == "relu",
            out,
            out if words is None else words,
            channels,
            x.size,
        )
    return y


def _gradients(gy, x, y, vectors, weight, share, with_residual, mask):
    """Gradients in x, weight, bias and residual.

    ``share`` is the share of one number in the mean of its channel, 0 where the mean is given.
    """
    real, channels = x.dtype.type, x.shape[1]
    (gx, gx_out), rows, grows = empty_matrix(x), matrix(x), matrix(gy)
    gres, gres_out = empty_matrix(x) if with_residual else (None, gx_out)
    if x.size == 0:
        return gx, *(layout.filled((channels,), x.dtype, 0) for _ in range(2)), gres
    y = matrix(y) if mask == MASK_FROM_Y else rows
    gbias, gweight = channel_reduce.sums("grad", rows, other=grows, y=y, vectors=vectors, mask=mask)
    vector_width = layout.vector_width(channels, rows, grows, y)
    words = bf16.beside(gx_out, vector_width)
    launch(
        _batch_norm_bwd_kernel(real, vector_width, words is not None),
        *grid_over_channels(x.size, channels, vector_width),
        grows,
        rows,
        y,
        mask,
        vectors,
        optional(weight, vectors.mean),
        gweight,
        gbias,
        real(share),
        gx_out,
        gx_out if words is None else words,
        OptionalArray(gres_out, with_residual),
        channels,
        x.size,
    )
    return gx, gweight, gbias, gres


def batch_norm_bwd(
    gy: DeviceArray,
    x: DeviceArray,
    y: DeviceArray | None,
    mean: DeviceArray,
    invstd: DeviceArray,
    weight: DeviceArray | None,
    training: bool,
    activation: str | None,
    with_residual: bool,
) -> Gradients:
    """Gradients of :func:`batch_norm_fwd` in x, weight, bias and residual."""
    share = x.shape[1] / x.size if training and x.size else 0
    mean, invstd = layout.dense(mean), layout.dense(invstd)
    mask = MASK_FROM_Y if activation == "relu" else NO_MASK
    vectors = Vectors(mean, invstd, mean, mean)
    return _gradients(gy, x, y, vectors, weight, share, with_residual, mask)


def batch_norm_train_fwd(
    x: DeviceArray,
    weight: DeviceArray | None,
    bias: DeviceArray | None,
    residual: DeviceArray | None,
    eps: float,
    activation: str | None,
    running: tuple[DeviceArray, DeviceArray] | None,
    momentum: float,
) -> tuple[DeviceArray, tuple]:
    """:func:`batch_norm_fwd` by the batch's own moments, and what its gradients need."""
    if x.size == 0:
        return empty_matrix(x)[0], (x, None, None, None, NO_MASK)
    mean, _, invstd, gain, shift = channel_reduce.moments(matrix(x), eps, weight, bias, running, momentum)
    y = batch_norm_fwd(x, mean, gain, None, shift, residual, activation)
    mask = NO_MASK if activation is None else MASK_FROM_X if residual is None else MASK_FROM_Y
    vectors = Vectors(mean, invstd, gain, shift)
    return y, (x, y if mask == MASK_FROM_Y else None, weight, vectors, mask)


def batch_norm_train_bwd(gy: DeviceArray, saved: tuple, with_residual: bool) -> Gradients:
    """Gradients of :func:`batch_norm_train_fwd` in x, weight, bias and residual."""
    x, y, weight, vectors, mask = saved
    vectors = vectors or Vectors(*[layout.filled(x.shape[1:2], x.dtype, 0)] * 4)
    share = x.shape[1] / max(x.size, 1)
    return _gradients(gy, x, y, vectors, weight, share, with_residual, mask)


@functools.cache
def _running_kernel(real):
    @kernel
    def running_average(running, value, single, keep, gain, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            running[i] = keep * running[i] + gain * value[0 if single else i]

    return running_average


def running_step(running: DeviceArray, value, keep: float, gain: float) -> None:
    """``running = keep * running + gain * value``, in place; ``value`` may be one number for all."""
    real = running.dtype.type
    if not isinstance(value, DeviceArray):
        value = memory.constant(np.asarray(value, running.dtype))
    value = layout.dense(value)
    launch(
        _running_kernel(real),
        *grid(running.size),
        running,
        value,
        value.size == 1 != running.size,
        real(keep),
        real(gain),
        running.size,
    )
