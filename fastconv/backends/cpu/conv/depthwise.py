"""Depthwise convolution (one filter per channel): no sum over channels, so no tile; channels are the vector.

Forward and backward-data, for every phase (see ``phases.py``)::

    threads: equal shares of the output rows (image, depth, row)
      for each output pixel
        for each tap inside the input
          y[pixel, :] += x[pixel + tap, :] * w[tap, :]        all channels at once, from the first-level cache

Backward-weight::

    threads: equal shares of the output rows
      for each output pixel, each tap inside the input
        partial[tap, :] += x[pixel + tap, :] * gy[pixel, :]   the thread's own table
    sum over threads
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen import emitter
from ..codegen.emitter import address
from ..codegen.jit import kernel, split_range
from ..codegen.record import make_record, record_type
from ..runtime import layout, memory
from .passes import backward_data, bias_argument, forward
from .phases import PHASE_FIELDS, forward_phases
from .weights import sum_partials, to_hwio

PHASE = record_type(**PHASE_FIELDS)


@kernel
def _convolve(thread, threads, phase, x, w, bias, y, residual, relu, offsets, taps):
    images, depth, height, width, channels = x.shape
    _, y_depth, y_height, y_width, _ = y.shape
    off_d, off_h, off_w = offsets
    # views per pixel would count references
    source, weight, out = x.reshape(-1), w.reshape(-1), y.reshape(-1)
    added = emitter.view1d(address(y) + residual, y.size, y)
    zero = y.dtype.type(0)
    g = phase[0]
    od, oh, ow = g.out_size[0], g.out_size[1], g.out_size[2]
    step_d, step_h, step_w = g.in_stride[0], g.in_stride[1], g.in_stride[2]
    out_step = g.out_stride[2]
    first, end = split_range(thread, threads, images * od * oh)
    for r in range(first, end):
        n, i, j = r // oh // od, r // oh % od, r % oh
        line = (n * y_depth + g.out_offset[0] + i * g.out_stride[0]) * y_height
        line += g.out_offset[1] + j * g.out_stride[1]
        start = line * y_width + g.out_offset[2]
        for q in range(ow):
            at = (start + q * out_step) * channels
            if bias.size:
                for c in range(channels):
                    out[at + c] = bias[c]
            else:
                out[at : at + channels] = 0
            t = -1
            for td in off_d:
                for th in off_h:
                    for tw in off_w:
                        t += 1
                        d, h, v = i * step_d + td, j * step_h + th, q * step_w + tw
                        if 0 <= d < depth and 0 <= h < height and 0 <= v < width:
                            pixel = (((n * depth + d) * height + h) * width + v) * channels
                            tap = taps[t] * channels
                            for c in range(channels):
                                out[at + c] += source[pixel + c] * weight[tap + c]
            if residual:
                for c in range(channels):
                    out[at + c] += added[at + c]
            if relu:
                for c in range(channels):
                    out[at + c] = zero if out[at + c] < zero else out[at + c]  # NaN passes


@lru_cache(maxsize=1024)
def _record(phase) -> tuple[np.ndarray, np.ndarray]:
    """The :data:`PHASE` and its taps."""
    return make_record(PHASE, **phase.fields), np.array(phase.taps, np.int64)


def _run(x, w, b, y, spec, phases, is_dgrad, residual, relu):
    """Sum over taps (see ``passes.py``). Backward-data is the same: a filter has one input and one output
    channel."""
    hwio = to_hwio(w)
    for phase in phases:
        record, taps = _record(phase)
        _convolve(record, x, hwio, bias_argument(b, x.dtype), y, residual, relu, phase.offsets, taps)


fwd, bwd_data = partial(forward, _run), partial(backward_data, _run)


@kernel
def _weight_gradient(thread, threads, x, gy, stride, offsets, partials):
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, _ = gy.shape
    off_d, off_h, off_w = offsets
    rows = images * od * oh
    source, upstream = x.reshape(-1), gy.reshape(-1)
    total = partials[thread].reshape(-1)
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
                        d, h, v = i * stride[0] + td, j * stride[1] + th, q * stride[2] + tw
                        if 0 <= d < depth and 0 <= h < height and 0 <= v < width:
                            pixel = (((n * depth + d) * height + h) * width + v) * channels
                            tap = t * channels
                            for c in range(channels):
                                total[tap + c] += source[pixel + c] * upstream[up + c]


def bwd_weight(x: np.ndarray, gy: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """The gradient of the weights.

    Parameters
    ----------
    x : ndarray, N x C x spatial
    gy : ndarray, N x C x spatial
    spec : ConvSpec

    Returns
    -------
    ndarray, C x 1 x kernel
    """
    as_3d = spec.as_3d()
    partials = memory.empty((settings.get_num_threads(), prod(spec.kernel), spec.c_out), x.dtype)
    offsets = forward_phases(as_3d)[0].offsets
    _weight_gradient(layout.to_ndhwc(x), layout.to_ndhwc(gy), as_3d.stride, offsets, partials)
    # one input channel, all output channels
    as_one_group = partials.reshape(len(partials), 1, -1, 1, spec.c_out)
    return sum_partials(as_one_group, as_3d, spec.w_shape)
