"""Maxima over large overlapping windows, and their places (the method: ``sliding.py``).

job:  one line, up to WIDE neighbouring elements of each position, a piece of the row of windows
  for each window
    at a new block:  suffixes of that block, right to left         values and places, in the thread's scratch
    prefix of the block after it, up to the end of the window      one more row of the scratch
    y = the larger of the suffix that starts with the window and the prefix that ends with it
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from ...codegen.jit import body, kernel, split_range
from ...runtime import memory
from ...runtime.scratch import per_thread
from .sliding import Block, Run, as_lines, passes, tiling

# A signed index may count from the end, and the test for that keeps loops from becoming vector code.
U = np.uint64


class Line(NamedTuple):
    """In kernels: a line of positions; where its values are, and their places in the plane."""

    at: int  # element of position 0
    hop: int  # elements to the next position
    counted: int  # 0: places come from the pass before; else they are counted
    place: int  # place of position 0
    place_hop: int  # places to the next position


@body(inline=True)
def larger(value, place, old, old_place):
    """The larger of two values and where it is; the first maximum wins, and so does the first NaN."""
    keep = (value <= old) | (old != old)
    return (old if keep else value), (old_place if keep else place)


@body(inline=True)
def place_of(came, at, v, counted, start, columns):
    """The place in the plane of element ``v`` of the run at ``at``: counted from ``start``, or as it came."""
    return came.dtype.type(start + columns[U(v)]) if counted else came[U(at + v)]


@body
def fill_suffixes(source, came, line, columns, low, first, end, width, values, places):
    """Maxima from each of the positions ``first`` to ``end`` of a block up to its end, and their places.

    Positions count from ``low``, the start of the block.
    """
    at, start, counted = line.at + low * line.hop, line.place + low * line.place_hop, line.counted
    for j in range(end - 1, first - 1, -1):
        here, place, to, old = at + j * line.hop, start + j * line.place_hop, j * width, (j + 1) * width
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
def run_prefix(source, came, line, columns, first, end, fresh, width, values, places, to):
    """The maxima of a block so far, at ``to``, against positions ``first`` to ``end``; ``fresh``: there are
    none yet."""
    for j in range(first, end):
        here, place = line.at + j * line.hop, line.place + j * line.place_hop
        if fresh:
            for v in range(width):
                values[U(to + v)] = source[U(here + v)]
                places[U(to + v)] = place_of(came, here, v, line.counted, place, columns)
            fresh = False
        else:
            for v in range(width):
                values[U(to + v)], places[U(to + v)] = larger(
                    source[U(here + v)],
                    place_of(came, here, v, line.counted, place, columns),
                    values[U(to + v)],
                    places[U(to + v)],
                )


@body
def slide_max(source, came, line, columns, firsts, lasts, run, block, best, where, values, places):
    """The maxima of the windows of a :class:`Run`, of one line.

    ``firsts`` and ``lasts``: first position of each window and the one after its last; ``best`` and
    ``where``: results; ``values`` and ``places``: suffixes of a block and the prefix.
    """
    width, prefix = block.width, block.prefix
    edge, held, prefix_from, upto = np.int64(0), False, np.int64(-1), np.int64(0)
    for q in range(run.first, run.end, run.step):
        s, e, out = firsts[q], lasts[q], run.out + q * run.jump
        if s >= edge:
            edge, held = (s // block.size + 1) * block.size, False
        low = edge - block.size
        alone = e <= edge and s > low  # a suffix, and no prefix
        if not alone:
            begin = edge if e > edge else low
            upto = upto if begin == prefix_from else begin
            fresh = upto == begin
            run_prefix(source, came, line, columns, upto, e, fresh, width, values, places, prefix)
            prefix_from, upto = begin, max(upto, e)
        at = (s - low) * width
        if not held and (alone or e > edge):
            held = True
            last = min(edge, block.length) - low
            fill_suffixes(source, came, line, columns, low, s - low, last, width, values, places)
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
def _slide_max(thread, threads, x, came, counted, windows, tiles, y, index, scratch):
    # x, came: lines, positions, elements -> y, index: lines, windows, elements
    # counted: lines of a plane; pixels of a position, or 0 where the places of x are in came; channels of a
    # pixel windows: first positions and those after the last, as numbers on a line of positions `step` apart;
    # lines of the first windows (from then on they repeat); step. tiles: positions of a block, elements of a
    # job, pieces of a row of windows. scratch: values, places, columns, for each thread.
    lines, size, inner = x.shape
    planes, pixels, channels = counted
    firsts, lasts, lines_at, step = windows
    block, wide, pieces = tiles
    values, places, columns = scratch
    count, period = y.shape[1], lines_at.size
    source, before, best, where = x.reshape(-1), came.reshape(-1), y.reshape(-1), index.reshape(-1)
    parts = (inner + wide - 1) // wide
    column, own_values, own_places = columns[thread], values[thread], places[thread]
    job0, job1 = split_range(thread, threads, lines * parts * period * pieces)
    for job in range(job0, job1):
        piece, phase = job % pieces, job // pieces % period
        part, o = job // pieces // period % parts, job // pieces // period // parts
        c0, start = part * wide, lines_at[phase]
        width, place = min(wide, inner - c0), (o % planes * size + start) * pixels
        for v in range(width if pixels else 0):
            column[v] = (c0 + v) // channels
        i0, i1 = split_range(piece, pieces, (count - phase + period - 1) // period)
        line = Line((o * size + start) * inner + c0, step * inner, pixels, place, step * pixels)
        run = Run(phase + i0 * period, phase + i1 * period, period, o * count * inner + c0, inner)
        cut = Block(block, (size - start + step - 1) // step, width, block * wide)
        slide_max(source, before, line, column, firsts, lasts, run, cut, best, where, own_values, own_places)


def maximum(x, dims, y, index) -> None:
    """Write the maxima of all windows of ``x`` to ``y`` and their places in the plane to ``index``.

    All arrays are ``N, D, H, W, C``; ``dims``: the windows of D, H and W.
    """
    came = None
    for w, axis, shape, last in passes(x.shape, y.shape, dims, [w.trivial for w in dims]):
        new, new_index = (y, index) if last else (memory.empty(shape, a.dtype) for a in (y, index))
        source, target, target_index = (as_lines(a, axis) for a in (x, new, new_index))
        wide, pieces = tiling(source.shape[0], source.shape[2], w)
        counted = prod(x.shape[1:axis]), prod(x.shape[axis + 1 : 4]) if came is None else 0, x.shape[4]
        held = (w.longest + 1) * wide
        _slide_max(
            source,
            target_index if came is None else as_lines(came, axis),
            counted,
            (*w.on_lines, w.step),
            (w.longest, wide, pieces),
            target,
            target_index,
            tuple(per_thread((held, x.dtype), (held, index.dtype), (wide, np.int64))),
        )
        x, came = new, new_index
