"""Average pooling in one to three dimensions: rows first, then along the row; its gradient is the same.

    threads: equal shares of the runs of windows (run of a row, image, depth, row)
      line  = sum of the rows that a row of windows covers, each times its weight     in the thread's scratch
      for each window of the run
        y = scale * (sum of the line's pixels in the window, each times its weight)    whole vectors

Windows are tables of positions (``windows.py``), so adaptive pooling is the same with other tables. So is the
gradient: an input pixel adds up the gradients of the windows that it is in, and no two threads write to one
place. Large overlapping windows go to ``sliding_sum.py``, where ``cost.py`` says so.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends.settings import get_num_threads
from fastconv.spec import PoolSpec

from ...codegen import emitter
from ...codegen.emitter import address, view1d
from ...codegen.jit import body, kernel, split_range
from ...runtime import layout
from ...runtime.scratch import per_thread
from ..reduce import reduce_fwd
from . import cost, sliding_sum
from .rows import next_row
from .windows import memoize_by_spec, windows

# A signed index may count from the end, and the test for that keeps loops from becoming vector code.
U = np.uint64
LINE = 1 << 16  # elements of a row that one thread averages at a time


@body(inline=True)
def add_rows(plane, row, used, first, end, weights, factor, fresh, line):
    """Add rows ``first`` to ``end``, each times its weight, to ``line``; ``fresh``: write them to ``line``.

    Rows begin at address ``plane`` and are ``row`` elements apart; ``used`` elements of each are read.
    """
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
    """Elements ``first`` to ``end`` of a 1-D array; a loop over them becomes vector code, and no references
    are counted."""
    return view1d(address(a) + first * a.itemsize, end - first, a)


@body(inline=True)
def add_pixels(line, first, begins, ends, weights, scales, factor, channels, step, out):
    """Write to address ``out`` a row of windows, each ``scales * factor`` times the weighted sum of its
    pixels. They lie ``step`` elements apart.

    ``line`` holds the pixels, and starts with pixel ``first``. Whole vectors are written: a pixel's last
    vector may reach into the next pixel, which is written afterwards.
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
                emitter.multiply(total, emitter.fill(scales[q] * factor)), out + (q * step + c) * size
            )


@kernel
def _average(thread, threads, x, begins, ends, weights, scales, run, y, lines, lasts):
    # y[o] = scales[o] * sum of weights[i] * x[i] over begins[o] <= i < ends[o], in each dimension
    # Of y the pixels may lie further apart than their channels, if these are whole vectors (see layout.wide).
    images, depth, height, width, channels = x.shape
    _, od, oh, ow, y_step = y.shape
    size, rows, lanes = x.itemsize, images * od * oh, emitter.VECTOR_BYTES // x.itemsize
    # elements of the next pixels that the last vector of a pixel writes to
    beyond = (channels + lanes - 1) // lanes * lanes - channels
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
        count, target = (q1 - q0) * channels, address(y) + (r * ow + q0) * y_step * size
        out = view1d(target, count, y)
        h0, h1, factor = begins[1][j], ends[1][j], scales[0][i] * scales[1][j]
        if (
            j > 0
            and job > first
            and y_step == channels
            and (begins[1][j - 1], ends[1][j - 1], scales[1][j - 1]) == (h0, h1, scales[1][j])
        ):
            before = view1d(target - ow * channels * size, count, y)  # a row of the same windows
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
        # Elements after these that this thread writes later. If they are fewer than the last vector
        # reaches into, that memory is another thread's, or not the array's: write to scratch first.
        later = (end - job - 1) * count if run == ow else 0
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
            y_step if to == target else channels,
            to,
        )
        if to != target:
            for e in range(count):
                out[e] = last[e]


@memoize_by_spec
def average_plan(spec, dtype, backward, threads):
    """How the averages of a pooling layer are found.

    Returns whether by sliding; the windows; per dimension the weights of positions and the scales of windows;
    and for :func:`_average` the windows of a job and the elements of the part of a row that they cover.
    """
    dims = windows(spec)
    divisors = [w.extents for w in dims]
    if isinstance(spec, PoolSpec) and spec.divisor:
        divisors = [np.full(w.count, v) for w, v in zip(dims, (1, 1, spec.divisor))]
    scales = tuple([(1 / d).astype(dtype) for d in divisors])  # pyright: ignore[reportOperatorIssue]
    ones = tuple([np.ones(w.size, dtype) for w in dims])
    weights = ones
    if backward:  # an input pixel adds up the gradients of the windows that it is in, over their divisors
        dims, weights, scales = tuple([w.covering() for w in dims]), scales, ones
    # Runs of a row are short enough to stay in the cache, and there are enough of them for the threads.
    rows, w, channels = spec.batch * dims[0].count * dims[1].count, dims[2], spec.channels
    run = -(-w.count // max(max(w.size, w.count) * channels // LINE, -(-2 * threads // rows)))
    firsts = np.arange(0, w.count, run)
    span = int((w.stops[np.minimum(firsts + run, w.count) - 1] - w.starts[firsts]).max()) * channels
    return cost.sum_slides(spec.batch, channels, dims, emitter.lanes(dtype)), dims, weights, scales, run, span


def _run_average(x, spec, shape, backward):
    if not prod(shape):
        return layout.empty(shape, x.dtype)[0]
    slides, dims, weights, scales, run, span = average_plan(spec, x.dtype, backward, get_num_threads())
    x, lanes = layout.to_ndhwc(x), emitter.lanes(x.dtype)
    in_slices = not slides and spec.channels % lanes == 0
    y, y5 = (layout.result if in_slices else layout.empty)(shape, x.dtype)
    if slides:
        sliding_sum.sums(x, dims, weights, scales, y5)
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


def adaptive_avg_pool_fwd(x, spec):
    """As ``avg_pool_fwd``; equal windows of images in NCHW memory are means of neighbours, which need no
    copy in another order."""
    steps = [n // o for n, o in zip(spec.in_size, spec.out_size) if o]
    equal = all(n == o * s for n, o, s in zip(spec.in_size, spec.out_size, steps)) and prod(spec.out_size)
    if not equal or not x.flags.c_contiguous or x.shape[1] == 1 or prod(spec.in_size) == 1:
        return avg_pool_fwd(x, spec)
    windows = x.reshape(*x.shape[:2], *(n for pair in zip(spec.out_size, steps) for n in pair))
    return reduce_fwd("mean", windows, tuple(range(3, windows.ndim, 2)), False)


adaptive_avg_pool_bwd = avg_pool_bwd
