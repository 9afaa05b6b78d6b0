"""Maxima and sums over large overlapping windows, for a few operations per element whatever the size of the
windows.

One dimension after the other, by the method of van Herk (Pattern Recognition Letters 13, 1992) and of Gil and
Werman (IEEE
PAMI 15, 1993). A line of positions is cut into blocks as long as the longest window, which then meets two blocks at most::

    blocks                 |. . . . . .|. . . . . .|
    a window                     [- - - - - -]
    its maximum                  suffix     prefix
                 from here to the end of the block,  from the start of the block up to here

Suffixes are worked out block by block, from right to left; the prefix runs along with the windows. A shorter
window starts or ends a block or the line, or is shorter by one only, and then it is one of the two alone, or
both as well. (So are the windows of adaptive pooling and those that a position is in, whose lengths differ by
one.)

A sum is the same with + in place of the maximum: nothing is ever subtracted, so no window sees what is
outside of it, be it large, infinite or not a number. Prefixes and suffixes of sums are float64.

    threads: equal shares of (lines, blocks of neighbouring elements, pieces of the row of windows)
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.backends.cpu.codegen.jit import body, kernel, prange, split_range
from fastconv.backends.cpu.runtime import memory
from fastconv.backends.cpu.runtime.scratch import per_thread

from .windows import Windows

# a signed index may count from the end, and the test for that keeps loops from becoming vector code
U = np.uint64
WIDE = 512  # neighbouring elements of a job at most
HELD = 1 << 15  # elements of the suffixes of a block that stay in the second-level cache


@body(inline=True)
def larger(value, place, old, old_place):
    """The larger of two values and where it is; the first maximum wins, and so does the first NaN."""
    keep = (value <= old) | (old != old)
    return (old if keep else value), (old_place if keep else place)


@body(inline=True)
def place_of(came, at, v, counted, start, columns):
    """The place in the plane of element ``v`` of the run at ``at``: counted from its ``start``, or where it
    came from."""
    return came.dtype.type(start + columns[U(v)]) if counted else came[U(at + v)]


@body
def fill_suffixes(
    source, came, at, hop, counted, start, hop_place, columns, first, end, width, values, places
):
    """Maxima from each of the positions ``first`` to ``end`` of a block up to its end, and their places.
    Position 0 is at ``at`` of ``source``, the next one ``hop`` further."""
    for j in range(end - 1, first - 1, -1):
        here, place, to, old = at + j * hop, start + j * hop_place, j * width, (j + 1) * width
        if j == end - 1:
            for v in range(width):
                values[U(to + v)] = source[U(here + v)]
                places[U(to + v)] = place_of(came, here, v, counted, place, columns)
        else:
            for v in range(width):
                values[U(to + v)], places[U(to + v)] = larger(
                    values[U(old + v)],
                    places[U(old + v)],
                    source[U(here + v)],
                    place_of(came, here, v, counted, place, columns),
                )


@body
def run_prefix(
    source, came, at, hop, counted, start, hop_place, columns, first, end, fresh, width, values, places, to
):
    """The maxima of a block so far, at ``to``, against positions ``first`` to ``end``."""
    for j in range(first, end):
        here, place = at + j * hop, start + j * hop_place
        if fresh:
            for v in range(width):
                values[U(to + v)] = source[U(here + v)]
                places[U(to + v)] = place_of(came, here, v, counted, place, columns)
            fresh = False
        else:
            for v in range(width):
                values[U(to + v)], places[U(to + v)] = larger(
                    source[U(here + v)],
                    place_of(came, here, v, counted, place, columns),
                    values[U(to + v)],
                    places[U(to + v)],
                )


@body
def slide_max(
    source,
    came,
    start,
    hop,
    counted,
    place,
    hop_place,
    columns,
    firsts,
    lasts,
    q0,
    q1,
    period,
    block,
    length,
    width,
    best,
    where,
    to,
    jump,
    values,
    places,
    prefix,
):
    """The maxima of windows ``q0``, ``q0 + period``, ... below ``q1`` of one line, of ``width`` neighbouring
    elements.

    ``start`` and ``place``: of position 0 of the line; ``hop``, ``hop_place``: to the next one. Results go to
    ``best`` and ``where`` from ``to`` on, ``jump`` elements apart. ``values`` and ``places`` hold suffixes,
    and the prefix at ``prefix``.
    """
    edge, held, prefix_from, upto = np.int64(0), False, np.int64(-1), np.int64(0)
    for q in range(q0, q1, period):
        s, e, out = firsts[q], lasts[q], to + q * jump
        if s >= edge:
            edge, held = (s // block + 1) * block, False
        low = edge - block
        alone = e <= edge and s > low  # a suffix, and no prefix
        if not alone:
            begin = edge if e > edge else low
            upto = upto if begin == prefix_from else begin
            run_prefix(
                source,
                came,
                start,
                hop,
                counted,
                place,
                hop_place,
                columns,
                upto,
                e,
                upto == begin,
                width,
                values,
                places,
                prefix,
            )
            prefix_from, upto = begin, max(upto, e)
        at = (s - low) * width
        if not held and (alone or e > edge):
            held = True
            fill_suffixes(
                source,
                came,
                start + low * hop,
                hop,
                counted,
                place + low * hop_place,
                hop_place,
                columns,
                s - low,
                min(edge, length) - low,
                width,
                values,
                places,
            )
        if alone or e <= edge:
            at = at if alone else prefix
            for v in range(width):
                best[U(out + v)], where[U(out + v)] = values[U(at + v)], places[U(at + v)]
        else:
            for v in range(width):
                best[U(out + v)], where[U(out + v)] = larger(
                    values[U(prefix + v)], places[U(prefix + v)], values[U(at + v)], places[U(at + v)]
                )


@kernel
def _slide_max(
    threads,
    x,
    came,
    counted,
    firsts,
    lasts,
    lines_at,
    step,
    block,
    wide,
    pieces,
    y,
    index,
    values,
    places,
    columns,
):
    # x, came: lines, positions, elements -> y, index: lines, windows, elements. counted: how many lines a
    # plane is made of, the pixels of a position, or 0 where the places of x are not its own but in came, and
    # the channels of a pixel.
    lines, size, inner = x.shape
    count, period = y.shape[1], lines_at.size
    planes, pixels, channels = counted
    source, before, best, where = x.reshape(-1), came.reshape(-1), y.reshape(-1), index.reshape(-1)
    parts = (inner + wide - 1) // wide
    for thread in prange(threads):
        column = columns[thread]
        job0, job1 = split_range(thread, threads, lines * parts * period * pieces)
        for job in range(job0, job1):
            piece, phase, part, o = (
                job % pieces,
                job // pieces % period,
                job // pieces // period % parts,
                job // pieces // period // parts,
            )
            c0, line = part * wide, lines_at[phase]
            width, place = min(wide, inner - c0), (o % planes * size + line) * pixels
            for v in range(width if pixels else 0):
                column[v] = (c0 + v) // channels
            i0, i1 = split_range(piece, pieces, (count - phase + period - 1) // period)
            slide_max(
                source,
                before,
                (o * size + line) * inner + c0,
                step * inner,
                pixels,
                place,
                step * pixels,
                column,
                firsts,
                lasts,
                phase + i0 * period,
                phase + i1 * period,
                period,
                block,
                (size - line + step - 1) // step,
                width,
                best,
                where,
                o * count * inner + c0,
                inner,
                values[thread],
                places[thread],
                block * wide,
            )


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
    """Add positions ``first`` to ``end`` to the sums of a block so far, at ``to``."""
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
def slide_sum(
    source, weights, start, hop, firsts, lasts, q0, q1, scales, block, size, width, out, to, totals, prefix
):
    """The sums of windows ``q0`` to ``q1``, like :func:`slide_max`."""
    edge, held, prefix_from, upto = np.int64(0), False, np.int64(-1), np.int64(0)
    for q in range(q0, q1):
        s, e, here, scale = firsts[q], lasts[q], to + q * hop, np.float64(scales[q])
        if s >= e:  # a position that no window is at
            for v in range(width):
                out[U(here + v)] = 0
            continue
        if s >= edge:
            edge, held = (s // block + 1) * block, False
        low = edge - block
        alone = e <= edge and s > low
        if not alone:
            begin = edge if e > edge else low
            upto = upto if begin == prefix_from else begin
            add_prefix(source, weights, start, hop, upto, e, upto == begin, width, totals, prefix)
            prefix_from, upto = begin, max(upto, e)
        at = (s - low) * width
        if not held and (alone or e > edge):
            held = True
            add_suffixes(source, weights, low, start, hop, s, min(edge, size), width, totals)
        if alone or e <= edge:
            at = at if alone else prefix
            for v in range(width):
                out[U(here + v)] = totals[U(at + v)] * scale
        else:
            for v in range(width):
                out[U(here + v)] = (totals[U(prefix + v)] + totals[U(at + v)]) * scale


@kernel
def _slide_sum(threads, x, weights, firsts, lasts, scales, block, wide, pieces, y, totals):
    lines, size, inner = x.shape
    count = y.shape[1]
    source, out = x.reshape(-1), y.reshape(-1)
    parts = (inner + wide - 1) // wide
    for thread in prange(threads):
        job0, job1 = split_range(thread, threads, lines * parts * pieces)
        for job in range(job0, job1):
            piece, part, o = job % pieces, job // pieces % parts, job // pieces // parts
            q0, q1 = split_range(piece, pieces, count)
            slide_sum(
                source,
                weights,
                o * size * inner + part * wide,
                inner,
                firsts,
                lasts,
                q0,
                q1,
                scales,
                block,
                size,
                min(wide, inner - part * wide),
                out,
                o * count * inner + part * wide,
                totals[thread],
                block * wide,
            )


# ------------------------------------------------------------------------------------------------- running it
def _lined_up(a: np.ndarray, axis: int) -> np.ndarray:
    """``N, D, H, W, C`` as ``lines, positions along axis, elements``."""
    return a.reshape(-1, a.shape[axis], prod(a.shape[axis + 1 :]))


def _shares(lines: int, inner: int, w: Windows) -> tuple[int, int]:
    """Neighbouring elements of a job, and pieces of the row of windows: as few as make jobs enough, because
    each piece works out the suffixes of its first block anew."""
    wide = min(inner, WIDE, max(HELD // w.longest, 16))
    jobs = lines * -(-inner // wide) * w.period
    return wide, max(1, min(-(-4 * settings.get_num_threads() // jobs), w.size // (4 * w.longest * w.step)))


def _passes(x, y, dims, trivial):
    """The windows of one dimension after the other, as they are applied, with the axis, the shape of the
    result and whether it is the last one. The innermost dimension is first: of equal maxima the first one in
    the plane wins then."""
    axes = [axis for axis in (3, 2, 1) if not trivial[axis - 1]]
    shape = list(x.shape)
    for axis in axes:
        shape[axis] = y.shape[axis]
        yield dims[axis - 1], axis, tuple(shape), axis == axes[-1]


def maximum(x, dims, y, index) -> None:
    """Write the maxima of all windows of ``x`` to ``y`` and their places in a plane to ``index`` (all ``N, D,
    H, W, C``)."""
    came = None
    for w, axis, shape, last in _passes(x, y, dims, [w.trivial for w in dims]):
        new, new_index = (y, index) if last else (memory.empty(shape, a.dtype) for a in (y, index))
        source, target, target_index = (_lined_up(a, axis) for a in (x, new, new_index))
        wide, pieces = _shares(source.shape[0], source.shape[2], w)
        counted = prod(x.shape[1:axis]), prod(x.shape[axis + 1 : 4]) if came is None else 0, x.shape[4]
        held = (w.longest + 1) * wide
        _slide_max(
            source,
            target_index if came is None else _lined_up(came, axis),
            counted,
            *w.on_lines,
            w.step,
            w.longest,
            wide,
            pieces,
            target,
            target_index,
            *per_thread((held, x.dtype), (held, index.dtype), (wide, np.int64)),
        )
        x, came = new, new_index


def sums(x, dims, weights, scales, y) -> None:
    """Write ``scales`` times the weighted sums of all windows of ``x`` to ``y``."""
    plain = [w.trivial and (a == 1).all() and (b == 1).all() for w, a, b in zip(dims, weights, scales)]
    for w, axis, shape, last in _passes(x, y, dims, plain):
        new = y if last else memory.empty(shape, y.dtype)
        source = _lined_up(x, axis)
        wide, pieces = _shares(source.shape[0], source.shape[2], w)
        _slide_sum(
            source,
            weights[axis - 1],
            w.starts,
            w.stops,
            scales[axis - 1],
            w.longest,
            wide,
            pieces,
            _lined_up(new, axis),
            *per_thread(((w.longest + 1) * wide, np.float64)),
        )
        x = new
