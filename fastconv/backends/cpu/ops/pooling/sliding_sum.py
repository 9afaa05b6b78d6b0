"""Weighted sums over large overlapping windows (the method: ``sliding.py``).

job:  one line, up to WIDE neighbouring elements of each position, a piece of the row of windows
  for each window
    at a new block:  suffixes of that block, right to left           float64, in the thread's scratch
    prefix of the block after it, up to the end of the window        one more row of the scratch
    y = scale * (suffix + prefix)
"""

from __future__ import annotations

import numpy as np

from ...codegen.jit import body, kernel, split_range
from ...runtime import memory
from ...runtime.scratch import per_thread
from .sliding import Block, Run, as_lines, passes, tiling

# A signed index may count from the end, and the test for that keeps loops from becoming vector code.
U = np.uint64


@body
def add_suffixes(source, weights, low, at, hop, first, end, width, totals):
    """Weighted sums from each of the positions ``first`` to ``end`` of the block that starts with ``low`` up
    to its end."""
    for j in range(end - 1, first - 1, -1):
        here, to, old, weight = at + j * hop, (j - low) * width, (j - low + 1) * width, np.float64(weights[j])
        if j == end - 1:
            for v in range(width):
                totals[U(to + v)] = source[U(here + v)] * weight
        else:
            for v in range(width):
                totals[U(to + v)] = totals[U(old + v)] + source[U(here + v)] * weight


@body
def add_prefix(source, weights, at, hop, first, end, fresh, width, totals, to):
    """Add positions ``first`` to ``end`` to the sums of a block so far, at ``to``; ``fresh``: there are none
    yet."""
    for j in range(first, end):
        here, weight = at + j * hop, np.float64(weights[j])
        if fresh:
            for v in range(width):
                totals[U(to + v)] = source[U(here + v)] * weight
            fresh = False
        else:
            for v in range(width):
                totals[U(to + v)] += source[U(here + v)] * weight


@body
def slide_sum(source, weights, start, firsts, lasts, scales, run, block, out, totals):
    """The sums of the windows of a :class:`Run`, of the line whose position 0 is at ``start`` of ``source``.

    Results are as far apart as positions, so ``run.jump`` serves for both.
    """
    hop, width, prefix = run.jump, block.width, block.prefix
    edge, held, prefix_from, upto = np.int64(0), False, np.int64(-1), np.int64(0)
    for q in range(run.first, run.end):
        s, e, here, scale = firsts[q], lasts[q], run.out + q * hop, np.float64(scales[q])
        if s >= e:  # a position that no window is at
            for v in range(width):
                out[U(here + v)] = 0
            continue
        if s >= edge:
            edge, held = (s // block.size + 1) * block.size, False
        low = edge - block.size
        alone = e <= edge and s > low  # a suffix, and no prefix
        if not alone:
            begin = edge if e > edge else low
            upto = upto if begin == prefix_from else begin
            add_prefix(source, weights, start, hop, upto, e, upto == begin, width, totals, prefix)
            prefix_from, upto = begin, max(upto, e)
        at = (s - low) * width
        if not held and (alone or e > edge):
            held = True
            add_suffixes(source, weights, low, start, hop, s, min(edge, block.length), width, totals)
        if alone or e <= edge:
            at = at if alone else prefix
            for v in range(width):
                out[U(here + v)] = totals[U(at + v)] * scale
        else:
            for v in range(width):
                out[U(here + v)] = (totals[U(prefix + v)] + totals[U(at + v)]) * scale


@kernel
def _slide_sum(thread, threads, x, weights, firsts, lasts, scales, tiles, y, totals):
    # x: lines, positions, elements -> y: lines, windows, elements. tiles: positions of a block, elements of a
    # job, pieces of a row of windows. totals: scratch of each thread.
    lines, size, inner = x.shape
    block, wide, pieces = tiles
    count = y.shape[1]
    source, out = x.reshape(-1), y.reshape(-1)
    parts = (inner + wide - 1) // wide
    own = totals[thread]
    job0, job1 = split_range(thread, threads, lines * parts * pieces)
    for job in range(job0, job1):
        piece, part, o = job % pieces, job // pieces % parts, job // pieces // parts
        q0, q1 = split_range(piece, pieces, count)
        run = Run(q0, q1, 1, o * count * inner + part * wide, inner)
        cut = Block(block, size, min(wide, inner - part * wide), block * wide)
        start = o * size * inner + part * wide
        slide_sum(source, weights, start, firsts, lasts, scales, run, cut, out, own)


def sums(x, dims, weights, scales, y) -> None:
    """Write ``scales`` times the weighted sums of all windows of ``x`` to ``y`` (both ``N, D, H, W, C``)."""
    plain = [w.trivial and (a == 1).all() and (b == 1).all() for w, a, b in zip(dims, weights, scales)]
    for w, axis, shape, last in passes(x.shape, y.shape, dims, plain):
        new = y if last else memory.empty(shape, y.dtype)
        source = as_lines(x, axis)
        wide, pieces = tiling(source.shape[0], source.shape[2], w)
        _slide_sum(
            source,
            weights[axis - 1],
            w.starts,
            w.stops,
            scales[axis - 1],
            (w.longest, wide, pieces),
            as_lines(new, axis),
            *per_thread(((w.longest + 1) * wide, np.float64)),
        )
        x = new
