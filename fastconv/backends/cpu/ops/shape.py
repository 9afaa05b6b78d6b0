"""Windows as columns, and the sum of columns into images.

::

    unfold   threads: equal shares of (image, channel, tap);  for each output pixel: one read, one write
    fold     threads: equal shares of (image, channel);       for each tap and output pixel: add to a pixel
"""

from __future__ import annotations

from math import prod

from ..codegen.jit import kernel, split_range
from ..runtime import layout, memory


# ------------------------------------------------------------------------------------------- unfold and fold
@kernel
def _unfold(thread, threads, x, kernel_size, stride, dilation, before, cols):
    # x: N, H, W, C -> cols: N, C, kh * kw, oh, ow
    images, height, width, channels = x.shape
    oh, ow = cols.shape[3], cols.shape[4]
    taps = kernel_size[0] * kernel_size[1]
    first, end = split_range(thread, threads, images * channels * taps)
    for job in range(first, end):
        n, c, t = job // taps // channels, job // taps % channels, job % taps
        i0 = t // kernel_size[1] * dilation[0] - before[0]
        j0 = t % kernel_size[1] * dilation[1] - before[1]
        for p in range(oh):
            i = i0 + p * stride[0]
            for q in range(ow):
                j = j0 + q * stride[1]
                cols[n, c, t, p, q] = x[n, i, j, c] if 0 <= i < height and 0 <= j < width else 0


@kernel
def _fold(thread, threads, cols, kernel_size, stride, dilation, before, x):
    # cols: N, C, kh * kw, oh, ow -> x: N, H, W, C
    images, height, width, channels = x.shape
    oh, ow = cols.shape[3], cols.shape[4]
    first, end = split_range(thread, threads, images * channels)
    for job in range(first, end):
        n, c = job // channels, job % channels
        for i in range(height):
            for j in range(width):
                x[n, i, j, c] = 0
        for t in range(kernel_size[0] * kernel_size[1]):
            i0 = t // kernel_size[1] * dilation[0] - before[0]
            j0 = t % kernel_size[1] * dilation[1] - before[1]
            for p in range(oh):
                i = i0 + p * stride[0]
                for q in range(ow):
                    j = j0 + q * stride[1]
                    if 0 <= i < height and 0 <= j < width:
                        x[n, i, j, c] += cols[n, c, t, p, q]


def _window(spec):
    return spec.kernel, spec.stride, spec.dilation, tuple(b for b, _ in spec.padding)


def _cols_shape(spec):
    return spec.batch, spec.c_in, prod(spec.kernel), *spec.out_size


def unfold(x, spec):
    cols = memory.empty(_cols_shape(spec), x.dtype)
    if cols.size:
        _unfold(layout.to_ndhwc(x)[:, 0], *_window(spec), cols)
    return cols.reshape(spec.batch, spec.c_in * prod(spec.kernel), prod(spec.out_size))


def fold(cols, spec):
    x, x5 = layout.empty(spec.x_shape, cols.dtype)
    if x.size:
        _fold(layout.dense(cols).reshape(_cols_shape(spec)), *_window(spec), x5[:, 0])
    return x
