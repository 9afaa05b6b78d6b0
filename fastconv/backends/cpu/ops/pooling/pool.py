"""Pooling in one to three dimensions: windows are tables of positions, channels are the vector.

    threads: equal shares of the output rows (image, depth, row)            (backward: of the input rows)
      for each output pixel
        for each input pixel of its window        (start, stop and step per dimension, clipped to the input beforehand)
          all channels: larger? / add

Pixels are runs of channels in flat arrays: a view per pixel would count references, atomically, on memory
that all threads share.

The average first adds whole rows, then along the row. Adaptive pooling is the same with other tables, and so
is the average's backward: an input pixel adds up the gradients of the windows it is in, so no two threads
write to one place.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.common.positions import position_dtype
from fastconv.backends.cpu.codegen import emitter
from fastconv.backends.cpu.codegen.emitter import address, view1d
from fastconv.backends.cpu.codegen.jit import body, kernel, prange, split_range
from fastconv.backends.cpu.runtime import layout
from fastconv.backends.cpu.runtime.scratch import per_thread
from fastconv.backends.settings import get_num_threads
from fastconv.spec import PoolSpec

from . import cost, sliding
from .sliding import larger
from .windows import kept, windows

# a signed index may count from the end, and the test for that keeps loops from becoming vector code
U = np.uint64
SHORT = 32  # below that many channels, loops go over the pixels of a row instead of the channels of one pixel
PIECE = 2048  # elements of a row whose maxima one thread looks for at a time
LINE = 1 << 16  # elements of a row that one thread averages at a time
RUN = 4096  # elements that one thread scatters at a time, into pixels that stay in its cache meanwhile
CHANNEL_BLOCK = 16  # channels that one thread scatters where images are few: a cache line of float32


@body(inline=True)
def next_row(n, i, j, depth, height):
    """Image, plane and row after these, without the divisions that would cost as much as a short row's
    work."""
    j += 1
    if j == height:
        i, j = i + 1, 0
    if i == depth:
        n, i = n + 1, 0
    return n, i, j


# ------------------------------------------------------------------------------------------------- maximum
@body(inline=True)
def keep_larger(new, at, columns, best, where, o, fresh):
    """The elements of ``new``, from pixels ``at + columns``, against ``best`` and ``where`` from ``o`` on,
    which the first ones (``fresh``) only write."""
    if fresh:
        for e in range(new.size):
            v = U(o + e)
            best[v], where[v] = new[e], at + columns[e]
    else:
        for e in range(new.size):
            v = U(o + e)
            best[v], where[v] = larger(new[e], at + columns[e], best[v], where[v])


@body(inline=True)
def keep_largest(source, i, step, taps, at, dilation, best, where, o, channels, fresh):
    """Up to three pixels ``step`` apart against ``best`` and ``where``, which the first ones (``fresh``) only
    write.

    Where there are fewer the last counts again, which changes no maximum.
    """
    second, third = min(1, taps - 1), min(2, taps - 1)
    j, k = i + second * step, i + third * step
    at1, at2 = where.dtype.type(at + second * dilation), where.dtype.type(at + third * dilation)
    at = where.dtype.type(at)
    if fresh:
        for c in range(channels):
            v = U(o + c)
            value, place = larger(source[U(j + c)], at1, source[U(i + c)], at)
            best[v], where[v] = larger(source[U(k + c)], at2, value, place)
    else:
        for c in range(channels):
            v = U(o + c)
            value, place = larger(source[U(i + c)], at, best[v], where[v])
            value, place = larger(source[U(j + c)], at1, value, place)
            best[v], where[v] = larger(source[U(k + c)], at2, value, place)


@kernel
def _max(threads, x, starts, stops, steps, whole, run, elements, columns, lines, y, index):
    # whole: of the windows of a row, the first and the one behind the last that are computed for all channels
    # and pixels of a run at once; elements, columns: where these are, counted from the first window's first
    # element and column
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, _ = y.shape
    source, best, where = x.reshape(-1), y.reshape(-1), index.reshape(-1)
    (d_start, h_start, w_start), (d_stop, h_stop, w_stop) = starts, stops
    runs = (ow + run - 1) // run
    for thread in prange(threads):
        first, end = split_range(thread, threads, images * od * oh * runs)
        line = lines[thread]
        r, q0 = first // runs, first % runs * run - run
        n, i, j = r // oh // od, r // oh % od, r % oh
        for _ in range(first, end):
            q0 += run
            if q0 >= ow:
                r, q0 = r + 1, 0
                n, i, j = next_row(n, i, j, od, oh)
            q1 = min(q0 + run, ow)
            out, d0, d1, h0, h1 = r * ow * channels, d_start[i], d_stop[i], h_start[j], h_stop[j]
            lo = min(max(q0, whole[0]), q1)
            hi = max(min(q1, whole[1]), lo)
            count, fresh = (hi - lo) * channels, True
            for d in range(d0, d1 if count else d0, steps[0]):
                for h in range(h0, h1, steps[1]):
                    for w in range(w_start[lo], w_stop[lo], steps[2]):
                        at = (d * height + h) * width + w
                        begin = (n * depth * height * width + at) * channels
                        new = address(x) + begin * x.itemsize
                        if elements.size:
                            for e in range(count):
                                line[e] = source[U(begin + elements[e])]
                            new = address(line)
                        keep_larger(
                            view1d(new, count, x),
                            where.dtype.type(at),
                            columns,
                            best,
                            where,
                            out + lo * channels,
                            fresh,
                        )
                        fresh = False
            for other in range(q1 - q0 - (hi - lo)):
                q = q0 + other if q0 + other < lo else hi + other - (lo - q0)
                w0, w1, fresh = w_start[q], w_stop[q], True
                for d in range(d0, d1, steps[0]):
                    for h in range(h0, h1, steps[1]):
                        at = (d * height + h) * width
                        begin = (n * depth * height * width + at) * channels
                        for w in range(w0, w1, 3 * steps[2]):
                            taps, pixel, o = (
                                (w1 - w - 1) // steps[2] + 1,
                                begin + w * channels,
                                out + q * channels,
                            )
                            keep_largest(
                                source,
                                pixel,
                                steps[2] * channels,
                                taps,
                                at + w,
                                steps[2],
                                best,
                                where,
                                o,
                                channels,
                                fresh,
                            )
                            fresh = False


@body
def scatter(gy, index, start, stop, channels, c0, c1, plane):
    """Add gradients ``c0`` to ``c1`` of pixels ``start`` to ``stop`` to the same channels of the pixels in
    ``index``."""
    for p in range(start, stop):
        for c in range(c0, c1):
            e = U(p * channels + c)
            plane[U(np.int64(index[e]) * channels + c)] += gy[e]


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
    last = index.dtype.type(0)
    for e in range(index.size):
        last = index[e] if index[e] > last else last
    return last


@kernel
def _max_bwd(threads, gy, index, gx):
    # gy, index: N, outputs, C; gx: N, inputs, C, of which the part that is written next is cleared just
    # before
    images, outputs, channels = gy.shape
    inputs = gx.shape[1]
    sources, places, planes = gy.reshape(images, -1), index.reshape(images, -1), gx.reshape(images, -1)
    width = channels if images >= 4 * threads else CHANNEL_BLOCK
    blocks, run = (channels + width - 1) // width, max(RUN // width, 1)
    for thread in prange(threads):
        first, end = split_range(thread, threads, images * blocks)
        for job in range(first, end):
            n, c0 = job // blocks, job % blocks * width
            c1, cleared = min(c0 + width, channels), 0
            source, place, plane = sources[n], places[n], planes[n]
            for p in range(0, outputs, run):
                stop = min(p + run, outputs)
                last = (
                    np.int64(last_place(place[p * channels : stop * channels])) + 1 if blocks == 1 else inputs
                )
                clear(plane, cleared, last, channels, c0, c1)
                cleared = max(cleared, last)
                scatter(source, place, p, stop, channels, c0, c1, plane)
            clear(plane, cleared, inputs, channels, c0, c1)


@kept
def _max_plan(spec, dtype):
    """The windows if their maxima are found by sliding, else None; and what :func:`_max` takes besides
    arrays."""
    dims, channels = windows(spec), spec.channels
    few = channels < SHORT
    if cost.max_slides(spec.batch, channels, dims, few):
        return dims, ()
    run = min(max(PIECE // channels, 1), dims[2].count)
    first, end, distance = dims[2].whole if few else (0, 0, 1)
    columns = np.repeat(np.arange(run if end else 0) * distance, channels)
    elements = columns * channels + np.arange(columns.size) % channels if distance > 1 else columns[:0]
    tables = tuple([w.starts for w in dims]), tuple([w.stops for w in dims]), tuple([w.step for w in dims])
    return None, (*tables, (first, end), run, elements, columns.astype(dtype))


def max_pool_fwd(x, spec):
    y, y5 = layout.empty(spec.y_shape, x.dtype)
    index, index5 = layout.empty(spec.y_shape, position_dtype(spec.in_size))
    if y.size:
        slides, tables = _max_plan(spec, index.dtype)
        if slides:
            sliding.maximum(layout.to_ndhwc(x), slides, y5, index5)
        else:
            _max(layout.to_ndhwc(x), *tables, *per_thread((tables[-2].size, x.dtype)), y5, index5)
    return y, index


adaptive_max_pool_fwd = max_pool_fwd


def max_pool_bwd(gy, index, spec):
    n, c = gy.shape[:2]
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    if gx.size:
        _max_bwd(
            layout.to_ndhwc(gy).reshape(n, -1, c),
            layout.to_ndhwc(index).reshape(n, -1, c),
            gx5.reshape(n, -1, c),
        )
    return gx


# ------------------------------------------------------------------------------------------------- average
@body(inline=True)
def add_rows(plane, row, used, first, end, weights, factor, fresh, line):
    """``line`` += rows ``first`` to ``end`` at address ``plane``, ``row`` elements apart, each times its
    weight; or ``fresh`` ``line`` = that. Of each row ``used`` elements."""
    for k in range(first, end):
        x, weight = view1d(plane + k * row * line.itemsize, used, line), weights[k] * factor
        if k > first or not fresh:
            for e in range(used):
                line[e] += x[e] * weight
        else:
            for e in range(used):
                line[e] = x[e] * weight


@body(inline=True)
def piece_of(a, first, end):
    """Elements ``first`` to ``end`` of a 1-D array. Loops over all of it are vector code, and it counts no
    references."""
    return view1d(address(a) + first * a.itemsize, end - first, a)


@body(inline=True)
def add_pixels(line, first, begins, ends, weights, scales, factor, channels, out):
    """Pixels from address ``out`` on are each ``scales * factor`` times the weighted sum of a window of
    pixels in ``line``, which starts with pixel ``first``.

    Whole vectors: of a pixel's last one the next pixel overwrites what is not its own.
    """
    size, lanes = line.itemsize, emitter.VECTOR_BYTES // line.itemsize
    start, zero = address(line) - first * channels * size, line.dtype.type(0)
    for q in range(begins.size):
        begin, end = begins[q], ends[q]
        for c in range(0, channels, lanes):
            total = emitter.fill(zero)
            for w in range(begin, end):
                pixel = emitter.load(start + (w * channels + c) * size, line)
                total = emitter.add(total, emitter.multiply(pixel, emitter.fill(weights[U(w)])))
            emitter.store(
                emitter.multiply(total, emitter.fill(scales[q] * factor)), out + (q * channels + c) * size
            )


@kernel
def _average(threads, x, begins, ends, weights, scales, run, y, lines, lasts):
    # y[o] = scales[o] * sum of weights[i] * x[i] over begins[o] <= i < ends[o], in each dimension
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, _ = y.shape
    size, rows, lanes = x.itemsize, images * od * oh, emitter.VECTOR_BYTES // x.itemsize
    # elements of the next pixels that a pixel writes
    beyond = (channels + lanes - 1) // lanes * lanes - channels
    for thread in prange(threads):
        first, end = split_range(thread, threads, (ow + run - 1) // run * rows)
        line, last = lines[thread], lasts[thread]
        r, q0 = first % rows - 1, first // rows * run
        n, i, j = r // oh // od, r // oh % od, r % oh
        for job in range(first, end):
            r += 1
            n, i, j = next_row(n, i, j, od, oh)
            if r == rows:
                r, n, q0 = 0, 0, q0 + run
            q1 = min(q0 + run, ow)
            count, target = (q1 - q0) * channels, address(y) + (r * ow + q0) * channels * size
            out = view1d(target, count, y)
            h0, h1, factor = begins[1][j], ends[1][j], scales[0][i] * scales[1][j]
            if (
                j > 0
                and job > first
                and (begins[1][j - 1], ends[1][j - 1], scales[1][j - 1]) == (h0, h1, scales[1][j])
            ):
                before = view1d(target - ow * channels * size, count, y)  # whose windows are the same
                for e in range(count):
                    out[e] = before[e]
                continue
            d0, d1, w0, w1 = begins[0][i], ends[0][i], begins[2][q0], ends[2][q1 - 1]
            used = max(w1 - w0, 0) * channels
            if d0 >= d1 or h0 >= h1:
                line[:used] = 0
            for d in range(d0, d1):
                plane = address(x) + ((n * depth + d) * height * width + w0) * channels * size
                add_rows(plane, width * channels, used, h0, h1, weights[1], weights[0][d], d == d0, line)
            # elements behind these that this thread writes afterwards
            later = (end - job - 1) * count if run == ow else 0
            # or else they are another thread's, or not the array's
            to = target if later >= beyond else address(last)
            add_pixels(
                line,
                w0,
                piece_of(begins[2], q0, q1),
                piece_of(ends[2], q0, q1),
                weights[2],
                piece_of(scales[2], q0, q1),
                factor,
                channels,
                to,
            )
            if to != target:
                for e in range(count):
                    out[e] = last[e]


@kept
def _average_plan(spec, dtype, backward, threads):
    """Whether sums are found by sliding, windows, and per dimension weights of positions and scales of
    windows; for :func:`_average` how many windows of a row a job has, and elements of the part of a row they
    are in."""
    dims = windows(spec)
    divisors = [w.extents for w in dims]
    if isinstance(spec, PoolSpec) and spec.divisor:
        divisors = [np.full(w.count, v) for w, v in zip(dims, (1, 1, spec.divisor))]
    scales = tuple([(1 / d).astype(dtype) for d in divisors])
    ones = tuple([np.ones(w.size, dtype) for w in dims])
    weights = ones
    if backward:  # an input pixel collects from the windows it is in what their divisors left
        dims, weights, scales = tuple([w.covering() for w in dims]), scales, ones
    # Pieces of rows: they stay in the cache, and there are enough for the threads.
    rows, w, channels = spec.batch * dims[0].count * dims[1].count, dims[2], spec.channels
    run = -(-w.count // max(max(w.size, w.count) * channels // LINE, -(-2 * threads // rows)))
    firsts = np.arange(0, w.count, run)
    span = int((w.stops[np.minimum(firsts + run, w.count) - 1] - w.starts[firsts]).max()) * channels
    return cost.sum_slides(spec.batch, channels, dims, emitter.lanes(dtype)), dims, weights, scales, run, span


def _run_average(x, spec, shape, backward):
    y, y5 = layout.empty(shape, x.dtype)
    if not y.size:
        return y
    slides, dims, weights, scales, run, span = _average_plan(spec, x.dtype, backward, get_num_threads())
    x, lanes = layout.to_ndhwc(x), emitter.lanes(x.dtype)
    if slides:
        sliding.sums(x, dims, weights, scales, y5)
        return y
    _average(
        x,
        tuple([w.starts for w in dims]),
        tuple([w.stops for w in dims]),
        weights,
        scales,
        run,
        y5,
        *per_thread((span + lanes, x.dtype), (run * spec.channels + lanes, x.dtype)),
    )
    return y


def avg_pool_fwd(x, spec):
    return _run_average(x, spec, spec.y_shape, False)


def avg_pool_bwd(gy, spec):
    return _run_average(gy, spec, spec.x_shape, True)


adaptive_avg_pool_fwd, adaptive_avg_pool_bwd = avg_pool_fwd, avg_pool_bwd
