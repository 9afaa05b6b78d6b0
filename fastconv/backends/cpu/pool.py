"""Pooling in one to three dimensions: windows are tables of positions, channels are the vector.

    threads: equal shares of the output rows (image, depth, row)            (backward: of the input rows)
      for each output pixel
        for each input pixel of its window        (start, stop and step per dimension, clipped to the input beforehand)
          all channels: larger? / add

Pixels are runs of channels in flat arrays: a view per pixel would count references, atomically, on memory that all threads
share.

The average first adds whole rows, then along the row. Adaptive pooling is the same with other tables. Backward of the
average gathers: an input pixel adds up the gradients of the windows it is in, so no two threads write to one place.
"""

from __future__ import annotations

import numpy as np

from . import layout
from .jit import body, kernel, prange, share

CHANNEL_BLOCK = 16  # channels that one thread scatters at a time: a cache line of float32


class _Windows:
    """Per dimension: first and past-the-last input position of each output's window, their step, and its divisor."""

    def __init__(self, starts, stops, step, extents):
        self.starts, self.stops = np.array(starts, np.int64), np.array(stops, np.int64)
        self.step, self.extents = step, np.array(extents, np.float64)

    def covering(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """First and past-the-last window that contains each of ``size`` input positions (undilated windows)."""
        positions = np.arange(size)
        return np.searchsorted(self.stops, positions, "right"), np.searchsorted(self.starts, positions, "right")


def _windows(spec) -> list[_Windows]:
    spec = spec.lifted()
    result = []
    for size, out, k, s, d, (before, after) in zip(
        spec.in_size, spec.out_size, spec.kernel, spec.stride, spec.dilation, spec.padding
    ):
        starts = [j * s - before for j in range(out)]
        inside = [i + -(min(i, 0) // d) * d for i in starts]  # the first tap at or after 0
        stops = [min(i + d * (k - 1) + 1, size) for i in starts]
        if spec.count_include_pad:
            extents = [min(i + k, size + after) - i for i in starts]
        else:
            extents = [stop - i for i, stop in zip(inside, stops)]
        result.append(_Windows(inside, stops, d, extents))
    return result


def _adaptive_windows(spec) -> list[_Windows]:
    dims = [[(0, 1)], spec.windows(0), spec.windows(1)]
    return [_Windows([a for a, _ in w], [b for _, b in w], 1, [b - a for a, b in w]) for w in dims]


# ------------------------------------------------------------------------------------------------- maximum
@kernel
def _max(threads, x, starts, stops, steps, y, index):
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, _ = y.shape
    source, best, where = x.reshape(-1), y.reshape(-1), index.reshape(-1)
    for thread in prange(threads):
        first, end = share(thread, threads, images * od * oh)
        for r in range(first, end):
            n, i, j = r // oh // od, r // oh % od, r % oh
            for q in range(ow):
                out = (r * ow + q) * channels
                fresh = True
                for d in range(starts[0][i], stops[0][i], steps[0]):
                    for h in range(starts[1][j], stops[1][j], steps[1]):
                        for w in range(starts[2][q], stops[2][q], steps[2]):
                            at = (d * height + h) * width + w
                            pixel = (n * depth * height * width + at) * channels
                            if fresh:
                                for c in range(channels):
                                    best[out + c] = source[pixel + c]
                                    where[out + c] = at
                                fresh = False
                            else:
                                for c in range(channels):
                                    # The first maximum wins, and so does the first NaN.
                                    new, old = source[pixel + c], best[out + c]
                                    larger = (new > old) | ((new != new) & (old == old))
                                    best[out + c] = new if larger else old
                                    where[out + c] = at if larger else where[out + c]


@kernel
def _max_bwd(threads, gy, index, gx):
    # gy, index: N, outputs, C; gx: N, inputs, C
    images, outputs, channels = gy.shape
    blocks = (channels + CHANNEL_BLOCK - 1) // CHANNEL_BLOCK
    for thread in prange(threads):
        first, end = share(thread, threads, images * blocks)
        for job in range(first, end):
            n, c0 = job // blocks, job % blocks * CHANNEL_BLOCK
            c1 = min(c0 + CHANNEL_BLOCK, channels)
            for p in range(gx.shape[1]):
                for c in range(c0, c1):
                    gx[n, p, c] = 0
            for p in range(outputs):
                for c in range(c0, c1):
                    gx[n, index[n, p, c], c] += gy[n, p, c]


def _run_max(x, shape, windows):
    y, y5 = layout.empty(shape, x.dtype)
    index, index5 = layout.empty(shape, np.int64)
    if y.size:
        _max(layout.lift(x), tuple(w.starts for w in windows), tuple(w.stops for w in windows),
             tuple(w.step for w in windows), y5, index5)  # fmt: skip
    return y, index


def max_pool_fwd(x, spec):
    return _run_max(x, spec.y_shape, _windows(spec))


def adaptive_max_pool_fwd(x, spec):
    return _run_max(x, spec.y_shape, _adaptive_windows(spec))


def max_pool_bwd(gy, index, in_size):
    n, c = gy.shape[:2]
    gx, gx5 = layout.empty((n, c, *in_size), gy.dtype)
    if gx.size:
        _max_bwd(layout.lift(gy).reshape(n, -1, c), layout.lift(index).reshape(n, -1, c), gx5.reshape(n, -1, c))
    return gx


# ------------------------------------------------------------------------------------------------- average
@body
def element_windows(starts, stops, channels):
    """For every element of a row of pixels: where its window begins in a row of the input, and how many pixels it has."""
    first, length = np.empty(starts.size * channels, np.int64), np.empty(starts.size * channels, np.int64)
    for q in range(starts.size):
        for c in range(channels):
            first[q * channels + c] = starts[q] * channels + c
            length[q * channels + c] = stops[q] - starts[q]
    return first, length


@body
def add_windows(line, first, length, channels, out):
    """``out[e] = line[first[e]] + line[first[e] + channels] + ...``, ``length[e]`` terms."""
    longest = 0
    for e in range(out.size):
        longest = max(longest, length[e])
        out[e] = line[first[e]] if length[e] > 0 else line.dtype.type(0)
    for t in range(1, longest):
        for e in range(out.size):
            if t < length[e]:
                out[e] += line[first[e] + t * channels]


@kernel
def _average(threads, x, starts, stops, extents, divisor, y):
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, _ = y.shape
    source, out = x.reshape(-1), y.reshape(-1)
    line = width * channels
    for thread in prange(threads):
        first, end = share(thread, threads, images * od * oh)
        column_sums, by = np.empty(line, x.dtype), np.empty(ow * channels, x.dtype)
        for e in range(by.size):
            by[e] = divisor if divisor else extents[2, e // channels]
        windows, lengths = element_windows(starts[2], stops[2], channels)
        for r in range(first, end):
            n, i, j = r // oh // od, r // oh % od, r % oh
            column_sums[:] = 0
            for d in range(starts[0][i], stops[0][i]):
                for h in range(starts[1][j], stops[1][j]):
                    at = ((n * depth + d) * height + h) * line
                    for e in range(line):
                        column_sums[e] += source[at + e]
            row = out[r * by.size : (r + 1) * by.size]
            add_windows(column_sums, windows, lengths, channels, row)
            rest = x.dtype.type(1) if divisor else extents[0, i] * extents[1, j]
            for e in range(by.size):
                row[e] /= by[e] * rest


@kernel
def _average_bwd(threads, gy, firsts, lasts, extents, divisor, gx):
    _, od, oh, ow, channels = gy.shape
    images, depth, height, width, _ = gx.shape
    source, out = gy.reshape(-1), gx.reshape(-1)
    line = ow * channels
    for thread in prange(threads):
        first, end = share(thread, threads, images * depth * height)
        row_sums, scale = np.empty(line, gy.dtype), np.empty(line, gy.dtype)
        for e in range(line):
            scale[e] = 1 / (divisor if divisor else extents[2, e // channels])
        windows, lengths = element_windows(firsts[2], lasts[2], channels)
        for r in range(first, end):
            n, d, h = r // height // depth, r // height % depth, r % height
            row_sums[:] = 0
            for i in range(firsts[0][d], lasts[0][d]):
                for j in range(firsts[1][h], lasts[1][h]):
                    at = ((n * od + i) * oh + j) * line
                    by = gy.dtype.type(1 if divisor else 1 / (extents[0, i] * extents[1, j]))
                    for e in range(line):
                        row_sums[e] += source[at + e] * (scale[e] * by)
            add_windows(row_sums, windows, lengths, channels, out[r * width * channels : (r + 1) * width * channels])


def _extents(windows, dtype) -> np.ndarray:
    table = np.ones((3, max(len(w.extents) for w in windows)), dtype)
    for row, w in zip(table, windows):
        row[: len(w.extents)] = w.extents
    return table


def _run_average(x, shape, windows, divisor):
    y, y5 = layout.empty(shape, x.dtype)
    if y.size:
        _average(layout.lift(x), tuple(w.starts for w in windows), tuple(w.stops for w in windows),
                 _extents(windows, x.dtype), float(divisor or 0), y5)  # fmt: skip
    return y


def _run_average_bwd(gy, shape, windows, divisor):
    gx, gx5 = layout.empty(shape, gy.dtype)
    if gx.size:
        covering = [w.covering(size) for w, size in zip(windows, gx5.shape[1:4])]
        _average_bwd(layout.lift(gy), tuple(a for a, _ in covering), tuple(b for _, b in covering),
                     _extents(windows, gy.dtype), float(divisor or 0), gx5)  # fmt: skip
    return gx


def avg_pool_fwd(x, spec):
    return _run_average(x, spec.y_shape, _windows(spec), spec.divisor)


def avg_pool_bwd(gy, spec):
    return _run_average_bwd(gy, spec.x_shape, _windows(spec), spec.divisor)


def adaptive_avg_pool_fwd(x, spec):
    return _run_average(x, spec.y_shape, _adaptive_windows(spec), None)


def adaptive_avg_pool_bwd(gy, spec):
    return _run_average_bwd(gy, spec.x_shape, _adaptive_windows(spec), None)
