"""Pooling in one to three dimensions: windows are tables of positions, channels are the vector.

    threads: equal shares of the output rows (image, depth, row)            (backward: of the input rows)
      for each output pixel
        for each input pixel of its window        (start, stop and step per dimension, clipped to the input beforehand)
          all channels: larger? / add

Pixels are runs of channels in flat arrays: a view per pixel would count references, atomically, on memory that all threads
share.

The average first adds whole rows, then along the row. Adaptive pooling is the same with other tables, and so is the
average's backward: an input pixel adds up the gradients of the windows it is in, so no two threads write to one place.
"""

from __future__ import annotations

import functools

import numpy as np

from ...spec import PoolSpec
from . import layout, simd
from .jit import body, kernel, prange, share
from .simd import address, view1d

SHORT = 32  # below that many channels, loops go over whole rows instead of the channels of one pixel
RUN = 4096  # elements that one thread scatters at a time, into pixels that stay in its cache meanwhile
CHANNEL_BLOCK = 16  # channels that one thread scatters where images are few: a cache line of float32


class _Windows:
    """Per dimension: first and past-the-last input position of each output's window, their step, and its divisor."""

    def __init__(self, starts, stops, step, extents):
        self.starts, self.stops = np.array(starts, np.int64), np.array(stops, np.int64)
        self.step, self.extents = step, np.array(extents, np.float64)

    def covering(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """First and past-the-last window that contains each of ``size`` input positions (undilated windows)."""
        positions = np.arange(size)
        return np.searchsorted(self.stops, positions, "right"), np.searchsorted(self.starts, positions, "right")


@functools.lru_cache(1024)
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


@functools.lru_cache(1024)
def _adaptive_windows(spec) -> list[_Windows]:
    dims = [[(0, 1)], spec.windows(0), spec.windows(1)]
    return [_Windows([a for a, _ in w], [b for _, b in w], 1, [b - a for a, b in w]) for w in dims]


# ------------------------------------------------------------------------------------------------- maximum
@body(inline=True)
def larger(value, place, old, old_place):
    """The larger of two values and where it is; the first maximum wins, and so does the first NaN."""
    keep = (value <= old) | (old != old)
    return (old if keep else value), (old_place if keep else place)


@body
def keep_larger(new, at, columns, best, where, o):
    """The elements of ``new``, from pixels ``at + columns``, against ``best`` and ``where`` from ``o`` on."""
    for e in range(columns.size):
        v = np.uint64(o + e)  # unsigned: a possibly negative index is not vectorised
        value, place = larger(new[e], at + columns[e], best[v], where[v])
        fresh = where[v] < 0
        best[v], where[v] = (new[e] if fresh else value), (at + columns[e] if fresh else place)


@body(inline=True)
def keep_largest(source, i, step, taps, at, dilation, best, where, o, channels, fresh):
    """Up to three pixels ``step`` apart against ``best`` and ``where``, which the first ones (``fresh``) only write.

    Where there are fewer the last counts again, which changes no maximum.
    """
    second, third = min(1, taps - 1), min(2, taps - 1)
    j, k = i + second * step, i + third * step
    at1, at2 = np.int32(at + second * dilation), np.int32(at + third * dilation)
    at = np.int32(at)
    if fresh:
        for c in range(channels):
            v = np.uint64(o + c)
            value, place = larger(source[np.uint64(j + c)], at1, source[np.uint64(i + c)], at)
            best[v], where[v] = larger(source[np.uint64(k + c)], at2, value, place)
    else:
        for c in range(channels):
            v = np.uint64(o + c)
            value, place = larger(source[np.uint64(i + c)], at, best[v], where[v])
            value, place = larger(source[np.uint64(j + c)], at1, value, place)
            best[v], where[v] = larger(source[np.uint64(k + c)], at2, value, place)


@body
def row_windows(starts, stops, step, channels):
    """Per tap along a row: the columns that the elements of an output row meet, and the elements in the input's row.

    No taps where channels are many. A window shorter than the longest meets its last tap again, which changes no maximum.
    """
    taps = (stops - starts).max() + step - 1 if channels < SHORT else 0
    columns = np.empty((taps // step, starts.size * channels), np.int32)
    elements = np.empty(columns.shape, np.int64)
    for t in range(columns.shape[0]):
        for e in range(columns.shape[1]):
            q = e // channels
            columns[t, e] = starts[q] + min(t, (stops[q] - starts[q] - 1) // step) * step
            elements[t, e] = columns[t, e] * channels + e % channels
    return columns, elements


@kernel
def _max(threads, x, starts, stops, steps, y, index):
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, _ = y.shape
    source, best, where = x.reshape(-1), y.reshape(-1), index.reshape(-1)
    (d_start, h_start, w_start), (d_stop, h_stop, w_stop) = starts, stops
    for thread in prange(threads):
        first, end = share(thread, threads, images * od * oh)
        columns, elements = row_windows(w_start, w_stop, steps[2], channels)
        line = np.empty(ow * channels, x.dtype)
        for r in range(first, end):
            n, i, j = r // oh // od, r // oh % od, r % oh
            out, d0, d1, h0, h1 = r * ow * channels, d_start[i], d_stop[i], h_start[j], h_stop[j]
            if columns.shape[0]:
                where[out : out + ow * channels] = -1
            for d in range(d0, d1, steps[0]):
                for h in range(h0, h1, steps[1]):
                    at = (d * height + h) * width
                    begin = (n * depth * height * width + at) * channels
                    for t in range(columns.shape[0]):
                        for e in range(line.size):
                            line[e] = source[np.uint64(begin + elements[t, e])]
                        keep_larger(line, np.int32(at), columns[t], best, where, out)
            for q in range(0 if columns.shape[0] else ow):
                w0, w1, fresh = w_start[q], w_stop[q], True
                for d in range(d0, d1, steps[0]):
                    for h in range(h0, h1, steps[1]):
                        at = (d * height + h) * width
                        begin = (n * depth * height * width + at) * channels
                        for w in range(w0, w1, 3 * steps[2]):
                            taps, i, o = (w1 - w - 1) // steps[2] + 1, begin + w * channels, out + q * channels
                            keep_largest(source, i, steps[2] * channels, taps, at + w, steps[2], best, where, o, channels,
                                         fresh)  # fmt: skip
                            fresh = False


@body
def scatter(gy, index, start, stop, channels, c0, c1, plane):
    """Add gradients ``c0`` to ``c1`` of pixels ``start`` to ``stop`` to the same channels of the pixels in ``index``."""
    for p in range(start, stop):
        for c in range(c0, c1):
            e = np.uint64(p * channels + c)
            plane[np.uint64(np.int64(index[e]) * channels + c)] += gy[e]


@body
def clear(plane, start, stop, channels, c0, c1):
    """Zero channels ``c0`` to ``c1`` of pixels ``start`` to ``stop``."""
    if c1 - c0 == channels:
        plane[start * channels : stop * channels] = 0
    else:
        for p in range(start, stop):
            plane[p * channels + c0 : p * channels + c1] = 0


@body
def last_place(index):
    """The largest of the indices."""
    last = np.int32(0)
    for e in range(index.size):
        last = index[e] if index[e] > last else last
    return last


@kernel
def _max_bwd(threads, gy, index, gx):
    # gy, index: N, outputs, C; gx: N, inputs, C, of which the part that is written next is cleared just before
    images, outputs, channels = gy.shape
    inputs = gx.shape[1]
    sources, places, planes = gy.reshape(images, -1), index.reshape(images, -1), gx.reshape(images, -1)
    width = channels if images >= 4 * threads else CHANNEL_BLOCK
    blocks, run = (channels + width - 1) // width, max(RUN // width, 1)
    for thread in prange(threads):
        first, end = share(thread, threads, images * blocks)
        for job in range(first, end):
            n, c0 = job // blocks, job % blocks * width
            c1, cleared = min(c0 + width, channels), 0
            source, place, plane = sources[n], places[n], planes[n]
            for p in range(0, outputs, run):
                stop = min(p + run, outputs)
                last = np.int64(last_place(place[p * channels : stop * channels])) + 1 if blocks == 1 else inputs
                clear(plane, cleared, last, channels, c0, c1)
                cleared = max(cleared, last)
                scatter(source, place, p, stop, channels, c0, c1, plane)
            clear(plane, cleared, inputs, channels, c0, c1)


def _run_max(x, shape, windows):
    y, y5 = layout.empty(shape, x.dtype)
    index, index5 = layout.empty(shape, np.int32)
    if y.size:
        _max(layout.lift(x), tuple(w.starts for w in windows), tuple(w.stops for w in windows),
             tuple(w.step for w in windows), y5, index5)  # fmt: skip
    return y, index


def max_pool_fwd(x, spec):
    return _run_max(x, spec.y_shape, _windows(spec))


def adaptive_max_pool_fwd(x, spec):
    return _run_max(x, spec.y_shape, _adaptive_windows(spec))


def max_pool_bwd(gy, index, spec):
    n, c = gy.shape[:2]
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    if gx.size:
        _max_bwd(layout.lift(gy).reshape(n, -1, c), layout.lift(index).reshape(n, -1, c), gx5.reshape(n, -1, c))
    return gx


# ------------------------------------------------------------------------------------------------- average
@body
def add_rows(plane, row, first, end, weights, factor, fresh, line):
    """``line`` += rows ``first`` to ``end`` at address ``plane``, each times its weight; or ``fresh`` ``line`` = that."""
    for k in range(first, end):
        x, weight = view1d(plane + k * row * line.itemsize, row, line), weights[k] * factor
        if k > first or not fresh:
            for e in range(row):
                line[e] += x[e] * weight
        else:
            for e in range(row):
                line[e] = x[e] * weight


@body
def add_pixels(line, begins, ends, weights, scales, factor, channels, out):
    """Each pixel from address ``out`` on is ``scales * factor`` times the weighted sum of a window of pixels in ``line``.

    Whole vectors: of a pixel's last one the next pixel overwrites what is not its own.
    """
    size, lanes = line.itemsize, simd.VECTOR_BYTES // line.itemsize
    start, zero = address(line), line.dtype.type(0)
    for q in range(begins.size):
        for c in range(0, channels, lanes):
            total = simd.fill(zero)
            for w in range(begins[q], ends[q]):
                pixel = simd.load(start + (w * channels + c) * size, line)
                total = simd.add(total, simd.multiply(pixel, simd.fill(weights[w])))
            simd.store(simd.multiply(total, simd.fill(scales[q] * factor)), out + (q * channels + c) * size)


@kernel
def _average(threads, x, begins, ends, weights, scales, y):
    # y[o] = scales[o] * sum of weights[i] * x[i] over begins[o] <= i < ends[o], in each dimension
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, _ = y.shape
    row, out_row, lanes = width * channels, ow * channels, simd.VECTOR_BYTES // x.itemsize
    for thread in prange(threads):
        first, end = share(thread, threads, images * od * oh)
        line, last = np.zeros(row + lanes, x.dtype), np.empty(out_row + lanes, x.dtype)
        for r in range(first, end):
            n, i, j = r // oh // od, r // oh % od, r % oh
            target = address(y) + r * out_row * y.itemsize
            out = view1d(target, out_row, y)
            h0, h1, factor = begins[1][j], ends[1][j], scales[0][i] * scales[1][j]
            if j > 0 and r > first and (begins[1][j - 1], ends[1][j - 1], scales[1][j - 1]) == (h0, h1, scales[1][j]):
                before = view1d(target - out_row * y.itemsize, out_row, y)  # whose windows are the same
                for e in range(out_row):
                    out[e] = before[e]
                continue
            d0, d1 = begins[0][i], ends[0][i]
            if d0 >= d1 or h0 >= h1:
                line[:] = 0
            for d in range(d0, d1):
                plane = address(x) + (n * depth + d) * height * row * x.itemsize
                add_rows(plane, row, h0, h1, weights[1], weights[0][d], d == d0, line)
            if (end - r - 1) * out_row >= lanes:
                add_pixels(line, begins[2], ends[2], weights[2], scales[2], factor, channels, target)
            else:  # what follows is another thread's, or not the array's
                add_pixels(line, begins[2], ends[2], weights[2], scales[2], factor, channels, address(last))
                for e in range(out_row):
                    out[e] = last[e]


@functools.lru_cache(1024)
def _average_tables(spec, dtype, backward):
    """What :func:`_average` takes besides arrays: per dimension begins and ends of windows, weights, scales."""
    adaptive = not isinstance(spec, PoolSpec)
    windows, sizes = (_adaptive_windows if adaptive else _windows)(spec), (1,) * (3 - len(spec.in_size)) + spec.in_size
    divisors = [w.extents for w in windows]
    if not adaptive and spec.divisor:
        divisors = [np.full(len(d), v) for d, v in zip(divisors, (1, 1, spec.divisor))]
    scales = tuple((1 / d).astype(dtype) for d in divisors)
    if backward:  # an input pixel collects from the windows it is in what their divisors left
        begins, ends = zip(*(w.covering(size) for w, size in zip(windows, sizes)))
        return begins, ends, scales, tuple(np.ones(size, dtype) for size in sizes)
    ones = tuple(np.ones(size, dtype) for size in sizes)
    return tuple(w.starts for w in windows), tuple(w.stops for w in windows), ones, scales


def avg_pool_fwd(x, spec):
    y, y5 = layout.empty(spec.y_shape, x.dtype)
    if y.size:
        _average(layout.lift(x), *_average_tables(spec, x.dtype, False), y5)
    return y


def avg_pool_bwd(gy, spec):
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    if gx.size:
        _average(layout.lift(gy), *_average_tables(spec, gy.dtype, True), gx5)
    return gx


adaptive_avg_pool_fwd, adaptive_avg_pool_bwd = avg_pool_fwd, avg_pool_bwd
