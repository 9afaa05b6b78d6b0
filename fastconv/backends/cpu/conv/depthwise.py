"""Depthwise convolution (one filter per channel): no sum over channels, so no tile; channels are the vector.

    threads: equal shares of the output rows (image, depth, row)
      for each output pixel
        for each tap inside the input
          y[pixel, :] += x[pixel + tap, :] * w[tap, :]              all channels at once, from the first-level cache

Forward and backward-data are the same loop over the phases of conv_plan; backward-weight adds gy * x into one
[tap, channel] table per thread.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from fastconv.backends import settings

from ..codegen import emitter
from ..codegen.emitter import address
from ..codegen.jit import kernel, prange, split_range
from ..runtime import layout, memory
from .passes import arranged, backward_data, forward, forward_phases, sum_partials


@kernel
def _taps(
    threads,
    x,
    w,
    bias,
    has_bias,
    y,
    beside,
    relu,
    out_size,
    in_stride,
    out_stride,
    out_offset,
    off_d,
    off_h,
    off_w,
    taps,
):
    images, depth, height, width, channels = x.shape
    _, y_depth, y_height, y_width, _ = y.shape
    od, oh, ow = out_size
    rows = images * od * oh
    # views per pixel would count references
    source, weight, out = x.reshape(-1), w.reshape(-1), y.reshape(-1)
    residual = emitter.view1d(address(y) + beside, y.size, y)
    zero = y.dtype.type(0)
    for thread in prange(threads):
        first, end = split_range(thread, threads, rows)
        for r in range(first, end):
            n, i, j = r // oh // od, r // oh % od, r % oh
            for q in range(ow):
                at = (
                    (n * y_depth + out_offset[0] + i * out_stride[0]) * y_height
                    + out_offset[1]
                    + j * out_stride[1]
                )
                at = (at * y_width + out_offset[2] + q * out_stride[2]) * channels
                if has_bias:
                    for c in range(channels):
                        out[at + c] = bias[c]
                else:
                    out[at : at + channels] = 0
                t = -1
                for td in off_d:
                    for th in off_h:
                        for tw in off_w:
                            t += 1
                            d, h, v = i * in_stride[0] + td, j * in_stride[1] + th, q * in_stride[2] + tw
                            if 0 <= d < depth and 0 <= h < height and 0 <= v < width:
                                pixel, tap = (
                                    (((n * depth + d) * height + h) * width + v) * channels,
                                    taps[t] * channels,
                                )
                                for c in range(channels):
                                    out[at + c] += source[pixel + c] * weight[tap + c]
                if beside:
                    for c in range(channels):
                        out[at + c] += residual[at + c]
                if relu:
                    for c in range(channels):
                        out[at + c] = zero if out[at + c] < zero else out[at + c]  # NaN passes


def _run(x, w, b, y, spec, phases, is_dgrad, beside, relu):
    # swap changes nothing: a filter has one input and one output channel
    table = arranged(w)
    for phase in phases:
        _taps(
            x,
            table,
            layout.dense(b) if b is not None else table[0, 0],
            b is not None,
            y,
            beside,
            relu,
            phase.out_size,
            phase.in_stride,
            phase.out_stride,
            phase.out_offset,
            *phase.offsets,
            np.array(phase.taps, np.int64),
        )


fwd, bwd_data = partial(forward, _run), partial(backward_data, _run)


@kernel
def _weights(threads, x, gy, in_stride, off_d, off_h, off_w, partials):
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, _ = gy.shape
    rows = images * od * oh
    source, upstream = x.reshape(-1), gy.reshape(-1)
    for thread in prange(threads):
        total = partials[np.int64(thread)].reshape(-1)
        total[:] = 0
        first, end = split_range(thread, threads, rows)
        for r in range(first, end):
            n, i, j = r // oh // od, r // oh % od, r % oh
            for q in range(ow):
                up = (r * ow + q) * channels
                t = -1
                for td in off_d:
                    for th in off_h:
                        for tw in off_w:
                            t += 1
                            d, h, v = i * in_stride[0] + td, j * in_stride[1] + th, q * in_stride[2] + tw
                            if 0 <= d < depth and 0 <= h < height and 0 <= v < width:
                                pixel, tap = (
                                    (((n * depth + d) * height + h) * width + v) * channels,
                                    t * channels,
                                )
                                for c in range(channels):
                                    total[tap + c] += source[pixel + c] * upstream[up + c]


def bwd_weight(x, gy, spec):
    as_3d = spec.as_3d()
    partials = memory.empty((settings.get_num_threads(), prod(spec.kernel), spec.c_out), x.dtype)
    _weights(
        layout.to_ndhwc(x), layout.to_ndhwc(gy), as_3d.stride, *forward_phases(as_3d)[0].offsets, partials
    )
    # one input channel, all output channels
    as_one_group = partials.reshape(len(partials), 1, -1, 1, spec.c_out)
    return sum_partials(as_one_group, as_3d, spec.w_shape)
