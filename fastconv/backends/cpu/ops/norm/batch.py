"""Batch norm: statistics and passes for any mode, and training as a whole.

    pass by pass             a launch for the statistics or sums; a few numbers per channel by NumPy;
                             a launch that reads and writes all pixels

    training as a whole      one launch per direction, because a small batch is all overhead:
      forward                  threads: sums and squared deviations of their parts            (``moments.py``)
                               -- all threads meet --
                               one thread: mean, variance, running statistics, scale and bias of each channel
                               threads: y = relu((x - mean) * scale + bias + residual)        (``affine.py``),
                                        or another pointwise op instead of relu            (``activated.py``)
      backward                 threads: sums of gz and gz * (x - mean) of their parts
                               -- all threads meet --
                               one thread: gradients of weight and bias, offset and slope of each channel
                               threads: gx = scale * gz + offset + slope * (x - mean), gresidual = gz

Ioffe, Szegedy: Batch normalization, 2015.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.common.unary import UNARY

from ...codegen.jit import in_parallel, stages
from ...runtime import layout
from ..pointwise import PERIODIC
from . import activated, affine
from .affine import FROM_X, FROM_Y, NO_MASK, apply_part, gradient_part, gradient_sums_part
from .finish import add_up, finish_gradients, finish_moments
from .moments import merge_parts, moments, moments_part
from .pixels import one_image, part_count, scratch, vector


# ----------------------------------------------------------------------------------------------- pass by pass
@np.errstate(all="ignore")
def batch_norm_stats(x):
    if not x.size:
        return np.zeros(x.shape[1], x.dtype), np.zeros(x.shape[1], x.dtype)
    mean, variance = moments(one_image(x), x.shape[1])
    return mean[0].astype(x.dtype), variance[0].astype(x.dtype)


def batch_norm_fwd(x, mean, invstd, weight, bias, residual, activation):
    made, read = (layout.result, layout.wide) if residual is None else (layout.empty, layout.to_ndhwc)
    (y, y5), x5 = made(x.shape, x.dtype), read(x)
    scale = invstd * vector(weight, x.shape[1], x.dtype, 1)
    bias = vector(bias, x.shape[1], x.dtype, 0)
    if max(x5.shape[-1], y5.shape[-1]) > x.shape[1]:  # slices of channels
        pixels, out = (a.reshape(1, -1, a.shape[-1]) for a in (x5, y5))
        affine.scale_and_shift_slices(pixels, mean[None], scale[None], bias, activation, out)
        return y
    pixels = one_image(x5.transpose(0, 4, 1, 2, 3))
    residual = None if residual is None else one_image(residual)
    affine.scale_and_shift(pixels, mean[None], scale[None], bias, residual, activation, y5)
    return y


@np.errstate(all="ignore")
def batch_norm_bwd(gy, x, y, mean, invstd, weight, training, activation, with_residual):
    if training:  # one launch does all of it
        scale = invstd * vector(weight, x.shape[1], x.dtype, 1)
        lines = np.tile(np.stack([mean, scale, scale]), one_image(x).shape[2] // len(mean))
        out, mask = (y, FROM_Y) if activation else (None, NO_MASK)
        saved = x, out, np.stack([mean, mean, invstd]), lines[:, None], mask, activation
        return batch_norm_train_bwd(gy, saved, with_residual)
    pixels, up, mean, mask = one_image(x), one_image(gy), mean[None], FROM_Y if activation else NO_MASK
    out = one_image(y) if mask else pixels
    plain, scaled = affine.gradient_sums(up, pixels, out, mean, mask)
    scale = (invstd * vector(weight, x.shape[1], x.dtype, 1))[None]
    offset, slope = np.zeros_like(scale), np.zeros_like(scale)
    gx, gx5 = layout.empty(x.shape, x.dtype)
    gresidual, gresidual5 = layout.empty(x.shape, x.dtype) if with_residual else (None, None)
    affine.gradient(up, pixels, out, (mean, scale, offset, slope), mask, gx5, gresidual5)
    return gx, (scaled[0] * invstd).astype(x.dtype), plain[0].astype(x.dtype), gresidual


# ---------------------------------------------------------------------------------------- training as a whole
@stages
def _train_fwd(threads, x, affine, numbers, ends, running, stats, vectors, work, y):
    # affine, numbers, running, stats, vectors: see finish_moments; ends: residual, whether there is one,
    # whether relu follows; work: scratch of the threads, totals
    part, totals = work
    parts, channels = totals.shape[0] - 1, stats.shape[1]
    residual, has_residual, relu = ends
    in_parallel(moments_part, threads, (x, part, totals))
    merge_parts(totals, 0, x.shape[1], channels)
    finish_moments(totals[parts, 0, 0], totals[parts, 0, 1], affine, numbers, running, stats, vectors)
    lines = vectors[0], vectors[1], vectors[2, 0]
    in_parallel(apply_part, threads, (x, parts, lines, residual, has_residual, relu, y))


@stages
def _train_bwd(threads, gy, x, y, count, stats, vectors, mask, work, grads, gx, gresidual, with_residual):
    # stats, vectors: see finish_moments; work: scratch of the threads, totals, and lines (see
    # finish_gradients)
    part, totals, lines = work
    parts = totals.shape[0] - 1
    given = vectors[0], vectors[1], vectors[2, 0]
    in_parallel(gradient_sums_part, threads, (gy, x, y, given, mask, part, totals))
    add_up(totals, stats.shape[1])
    finish_gradients(totals[parts, 0, 0], totals[parts, 0, 1], count, stats, vectors, lines, grads)
    given = vectors[0], vectors[1], vectors[2, 0], lines[0], lines[1]
    in_parallel(gradient_part, threads, (gy, x, parts, y, given, mask, gx, gresidual, with_residual))


def batch_norm_train_fwd(x, weight, bias, residual, eps, activation, running, momentum):
    y, y5 = layout.empty(x.shape, x.dtype)
    pixels, channels = one_image(x), x.shape[1]
    stats, vectors = np.zeros((3, channels), x.dtype), np.empty((3, 1, pixels.shape[2]), x.dtype)
    if x.size:
        other = pixels if residual is None else one_image(residual)
        totals = np.empty((part_count(1) + 1, 1, 2, pixels.shape[2]))
        # The kernel writes running statistics to contiguous arrays, which are thrown away if none were given.
        running = np.empty((2, channels), x.dtype) if running is None else running
        moved = [r if r.flags.carray else np.array(r) for r in running]
        ends = other, residual is not None, activation == "relu"
        run = _train_fwd
        if isinstance(activation, tuple):
            run, ends = (
                activated.train_fwd(activation[0], x.dtype.type),
                activated.numbers(activation, x.dtype),
            )
        run(
            pixels,
            (vector(weight, channels, x.dtype, 1), vector(bias, channels, x.dtype, 0)),
            (x.size // channels, eps, momentum),
            ends,
            tuple(moved),
            stats,
            vectors,
            (scratch(3, pixels), totals),
            y5.reshape(pixels.shape),
        )
        for r, m in zip(running, moved):
            if r is not m:
                r[...] = m
    mask = NO_MASK if activation is None else FROM_X if residual is None else FROM_Y
    return y, (x, y if mask == FROM_Y else None, stats, vectors, mask, activation)


def batch_norm_train_stats(saved):
    _, _, stats, *_ = saved
    return stats[0], stats[2]


def batch_norm_train_bwd(gy, saved, with_residual):
    x, y, stats, vectors, mask, activation = saved
    gx, gx5 = layout.empty(x.shape, x.dtype)
    gresidual, gresidual5 = layout.empty(x.shape, x.dtype) if with_residual else (None, gx5)
    grads = np.zeros((2, x.shape[1]), x.dtype)
    if x.size:
        pixels = one_image(x)
        totals = np.empty((part_count(1) + 1, 1, 2, pixels.shape[2]))
        lines = np.empty((2, 1, pixels.shape[2]), x.dtype)
        work, up, out = (scratch(2, pixels), totals, lines), one_image(gy), gx5.reshape(pixels.shape)
        if isinstance(activation, tuple):
            numbers = activated.numbers(activation, x.dtype)
            run = activated.train_bwd(activation[0], x.dtype.type)
            run(up, pixels, x.size // x.shape[1], numbers, stats, vectors, work, grads, out)
        else:
            _train_bwd(
                up,
                pixels,
                pixels if y is None else one_image(y),
                x.size // x.shape[1],
                stats,
                vectors,
                mask,
                work,
                grads,
                out,
                gresidual5.reshape(pixels.shape),
                with_residual,
            )
    return gx, grads[0], grads[1], gresidual


#: Ops that ``batch_norm_train_fwd`` can put behind the norm.
BATCH_NORM_ACTIVATIONS = frozenset(n for n, row in UNARY.items() if row.backward and n not in PERIODIC)
