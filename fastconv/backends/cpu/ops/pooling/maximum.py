"""Max pooling in one to three dimensions: window by window, and its gradient.

    forward     threads: equal shares of the runs of windows (image, depth, row, run of a row)
                  windows that the border does not clip, where channels are few: for each tap
                    all windows of the run and all channels in one loop: larger?
                  other windows: for each tap of a window, three at a time
                    all channels in one loop: larger?

    backward    threads: equal shares of the jobs (image, block of channels)
                  for each run of output pixels: clear the input pixels up to the last maximum,
                  then add each gradient to the pixel that its maximum came from

A tap is one position of the window. Windows are tables of positions (``windows.py``), so adaptive pooling is
the same with other tables. Large overlapping windows go to ``sliding_max.py``, where ``cost.py`` says so.

Pixels are runs of channels in flat arrays. A view per pixel would count references, atomically, in memory
that all threads share.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.common.positions import position_dtype

from ...codegen.emitter import address, view1d
from ...codegen.jit import body, kernel, split_range
from ...runtime import layout
from ...runtime.scratch import per_thread
from . import cost, sliding_max
from .rows import next_row
from .sliding_max import larger
from .windows import memoize_by_spec, windows

# A signed index may count from the end, and the test for that keeps loops from becoming vector code.
U = np.uint64
SHORT = 32  # below that many channels, loops run over the pixels of a row and not over the channels of one
PIECE = 2048  # elements of a row whose maxima one thread looks for at a time
RUN = 4096  # elements that one thread scatters at a time, into pixels that stay in its cache meanwhile
CHANNEL_BLOCK = 16  # channels that one thread scatters where images are few: a cache line of float32


# ------------------------------------------------------------------------------------------------- forward


@body(inline=True)
def keep_larger(new, at, columns, best, where, o, fresh):
    """Compare the elements of ``new``, from pixels ``at + columns``, with ``best`` and ``where`` from ``o``
    on.

    The first ones (``fresh``) are written without a comparison.
    """
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
    """Compare up to three pixels, ``step`` apart, with ``best`` and ``where``.

    The first ones (``fresh``) are written without a comparison. Where there are fewer than three pixels the
    last one counts again, which changes no maximum.
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
def _max(thread, threads, x, starts, stops, steps, whole, run, elements, columns, lines, y, index):
    # starts, stops, steps: the windows (see windows.py), per dimension. whole: the first and the one after
    # the last of a row's windows that are computed for all channels and pixels of a run at once; elements,
    # columns: where these are, counted from the first window's first element and column. lines: scratch.
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, _ = y.shape
    source, best, where = x.reshape(-1), y.reshape(-1), index.reshape(-1)
    (d_start, h_start, w_start), (d_stop, h_stop, w_stop) = starts, stops
    (d_step, h_step, w_step), (whole_first, whole_end) = steps, whole
    runs = (ow + run - 1) // run
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
        lo = min(max(q0, whole_first), q1)
        hi = max(min(q1, whole_end), lo)
        count, fresh = (hi - lo) * channels, True
        for d in range(d0, d1 if count else d0, d_step):
            for h in range(h0, h1, h_step):
                for w in range(w_start[lo], w_stop[lo], w_step):
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
            for d in range(d0, d1, d_step):
                for h in range(h0, h1, h_step):
                    at = (d * height + h) * width
                    begin = (n * depth * height * width + at) * channels
                    for w in range(w0, w1, 3 * w_step):
                        taps = (w1 - w - 1) // w_step + 1
                        pixel, o = begin + w * channels, out + q * channels
                        keep_largest(
                            source,
                            pixel,
                            w_step * channels,
                            taps,
                            at + w,
                            w_step,
                            best,
                            where,
                            o,
                            channels,
                            fresh,
                        )
                        fresh = False


@memoize_by_spec
def max_plan(spec, dtype):
    """How the maxima of a pooling layer are found.

    Returns the windows if by sliding, else None; and the arguments of :func:`_max` that are no arrays of the
    call.
    """
    dims, channels = windows(spec), spec.channels
    few = channels < SHORT
    if cost.max_slides(spec.batch, channels, dims, few):
        return dims, ()
    run = min(max(PIECE // channels, 1), dims[2].count)
    first, end, distance = dims[2].whole if few else (0, 0, 1)
    columns = np.repeat(np.arange(run if end else 0) * distance, channels)
    elements = columns * channels + np.arange(columns.size) % channels if distance != 1 else columns[:0]
    tables = tuple([w.starts for w in dims]), tuple([w.stops for w in dims]), tuple([w.step for w in dims])
    return None, (*tables, (first, end), run, elements, columns.astype(dtype))


def max_pool_fwd(x, spec):
    y, y5 = layout.empty(spec.y_shape, x.dtype)
    index, index5 = layout.empty(spec.y_shape, position_dtype(spec.in_size))
    if y.size:
        slides, tables = max_plan(spec, index.dtype)
        if slides:
            sliding_max.maximum(layout.to_ndhwc(x), slides, y5, index5)
        else:
            _max(layout.to_ndhwc(x), *tables, *per_thread((tables[-2].size, x.dtype)), y5, index5)
    return y, index


adaptive_max_pool_fwd = max_pool_fwd


# ------------------------------------------------------------------------------------------------- backward
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
def _max_bwd(thread, threads, gy, index, gx):
    # gy, index: N, outputs, C; gx: N, inputs, C. A part of gx is cleared just before it is written.
    images, outputs, channels = gy.shape
    inputs = gx.shape[1]
    sources, places, planes = gy.reshape(images, -1), index.reshape(images, -1), gx.reshape(images, -1)
    width = channels if images >= 4 * threads else CHANNEL_BLOCK
    blocks, run = (channels + width - 1) // width, max(RUN // width, 1)
    first, end = split_range(thread, threads, images * blocks)
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
