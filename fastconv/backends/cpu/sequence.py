"""Small networks, block of images by block of images: a run of layers whose activations never leave the cache.

Where channels are few, the kernels of single layers have too little to do per pixel, and every layer sends the whole batch
through memory. Here the images are the vector, and one thread takes a block of them through all layers::

    activations of a block:   channel, row, column, image       image is innermost: one or two vectors

    forward    threads: equal shares of the blocks
                 images in, transposed                             x: N, C, H, W  ->  [C][H][W][images]
                 for each layer                                    saved: one area per block (training), per thread (not)
                   convolution, dense:  for each output row, each pixel:
                     tile:  <= 14 output channels x the images, sum over the taps inside the image and input channels
                     activation of the row, while it is in L1
                   pooling: for each channel
                 result out, transposed

    backward   threads: equal shares of the blocks
                 gradient of the result in
                 for each layer, last to first
                   convolution:  weight gradient, dot: 4 output channels x 5 columns of the kernel, sum over pixels and images
                                 gradient of its input: the same tiles as forward with input and output channels swapped
                   slope of the activation, row by row
               -- all threads meet --
               threads: equal shares of the dense layers' weights: dot, sum over all images
                        equal shares of the convolutions' weights: sum of the threads' partial gradients, in thread order

The weights are the tile's broadcast numbers and stay where and how they are. A pixel is one place in memory for all images of
a block, so its taps are exact, without masks and products with padding; a convolution's input is stored with its padding
as zeros all the same, since columns of the kernel that share a dot reach over the edge at different pixels.

A dense layer is a 1 x 1 convolution of a 1 x 1 image. An activation belongs to the array it is applied to. The plan is made of
records that one kernel interprets, so a new network compiles nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import prod

import numpy as np

from .. import settings
from . import layout, maths, memory, simd
from .dense import row_block
from .jit import body, c_function, kernel, prange, share, types
from .simd import address

CONV, AVERAGE, MAXIMUM = range(3)
NONE, RELU, SIGMOID, TANH = range(4)
KINDS = {"conv": CONV, "linear": CONV, "avg_pool": AVERAGE, "max_pool": MAXIMUM}
ACTIVATIONS = {"relu": RELU, "sigmoid": SIGMOID, "tanh": TANH}
WINDOWS = ((2, 2), (3, 3))  # of pooling: compiled each
U = np.uint64  # a signed index may count from the end, and the test for that keeps loops from becoming vector code


def _record(*names: str, **others) -> np.dtype:
    return np.dtype([*((n, np.int64) for n in names), *others.items()])


#: An activation as its producer or its consumer sees it. Everything is in elements, of a block's area; ``base`` and ``size``
#: include the padding. ``gradient`` is its place in a thread's scratch, or, if ``kept``, in the block's part of the work area.
VIEW = _record("start", "base", "size", "padded", "channels", "height", "width", "plane", "pitch", "activation", "gradient",
               "kept")  # fmt: skip
#: ``weights`` and ``bias`` are places in a thread's partial gradients (a convolution) and in its spread biases.
STEP = _record("kind", "window", "stride_h", "stride_w", "dense", "weights", "bias", scale=np.float64)
#: Taps of a convolution: ``rows`` and ``columns`` are places in the table of a (count, first tap, position) for each row and
#: column of the result; ``ta`` and ``tb`` of the tile's tables, with ``per_row`` entries for each kernel row. The tile's inner
#: loop runs along the kernel row, or over ``deep`` channels where that row is one tap.
TAPS = _record("rows", "columns", "ta", "tb", "per_row", "deep", "kernel_w", "a_row", "a_step", "b_step", "relu")
#: A convolution's weight gradient: for each of ``outer`` pairs (place in x, place in the gradient) a matrix of dots.
DOTS = _record("pairs", "outer", "ta", "tb", "taps", "depth", "a_step", "b_step", "columns", "b_col", "c_row", "c_col")
#: What a pass works on: the plan's numbers, and addresses of its records and of the arrays (``x`` and ``y``: what goes in and
#: comes out, images or gradients; ``weights``, ``biases``: tables of addresses, of gradients in the backward pass).
PASS = _record("tile", "dot", "images", "batch", "count", "lowest", "steps", "views", "taps", "dots", "table", "table_size",
               "weights", "g_weights", "g_biases", "biases", "x", "x_span", "y", "y_span", "saved", "saved_size", "slot",
               "keep", "spread", "spread_size", "work", "work_size", "area", "scratch", "partials", "parts", "partial",
               x_strides=(np.int64, 4), y_strides=(np.int64, 4))  # fmt: skip
#: Types for view1d.
_PASS, _STEP, _VIEW, _TAPS, _DOTS, _INT = (np.empty(0, t) for t in (PASS, STEP, VIEW, TAPS, DOTS, np.int64))


# ------------------------------------------------------------------------------------------------- rows and planes
@body
def _clear(x, start, n):
    # A function of its own: what a kernel stores to an array that only addresses read afterwards is dead code to Numba.
    x[start : start + n] = 0


@body
def _activate(kind, x, start, n):
    if kind == RELU:
        zero = x.dtype.type(0)
        for e in range(n):
            v = x[U(start + e)]
            x[U(start + e)] = zero if v <= zero else v
    elif kind == SIGMOID:
        for e in range(n):
            x[U(start + e)] = maths.sigmoid(x[U(start + e)])
    elif kind == TANH:
        for e in range(n):
            x[U(start + e)] = maths.tanh(x[U(start + e)])


@body
def _slope(kind, y, y_start, g, g_start, n):
    """``g`` times the activation's derivative, told from its result ``y``."""
    zero, one = g.dtype.type(0), g.dtype.type(1)
    if kind == RELU:
        for e in range(n):
            g[U(g_start + e)] = zero if y[U(y_start + e)] <= zero else g[U(g_start + e)]
    elif kind == SIGMOID:
        for e in range(n):
            s = y[U(y_start + e)]
            g[U(g_start + e)] = g[U(g_start + e)] * s * (one - s)
    elif kind == TANH:
        for e in range(n):
            s = y[U(y_start + e)]
            g[U(g_start + e)] = g[U(g_start + e)] * (one - s * s)


def _pooling(kh: int, kw: int):
    """The four passes for a window of ``kh x kw``: loops of known length vanish, and what is left is vector code."""

    @body
    def average(x, at, pitch, right, y, to, images, scale):
        for e in range(images):
            total = x.dtype.type(0)
            for i in range(kh):
                for j in range(kw):
                    total += x[U(at + i * pitch + j * right + e)]
            y[U(to + e)] = total * scale

    @body
    def maximum(x, at, pitch, right, y, to, images, scale):
        for e in range(images):
            best = x[U(at + e)]
            for i in range(kh):
                for j in range(kw):
                    value = x[U(at + i * pitch + j * right + e)]
                    best = best if (value <= best) | (best != best) else value
            y[U(to + e)] = best

    @body
    def average_back(x, at, y, to, g, g_at, pitch, right, gy, images, scale):
        for e in range(images):
            value = g[U(gy + e)] * scale
            for i in range(kh):
                for j in range(kw):
                    g[U(g_at + i * pitch + j * right + e)] += value

    @body
    def maximum_back(x, at, y, to, g, g_at, pitch, right, gy, images, scale):
        for e in range(images):
            value, best, found = g[U(gy + e)], y[U(to + e)], False
            for i in range(kh):
                for j in range(kw):
                    v = x[U(at + i * pitch + j * right + e)]
                    hit = ((v == best) | (v != v)) & (not found)  # the first maximum, or the first NaN
                    g[U(g_at + i * pitch + j * right + e)] += value if hit else g.dtype.type(0)
                    found = found | hit

    return average, maximum, average_back, maximum_back


_average2, _maximum2, _average_back2, _maximum_back2 = _pooling(*WINDOWS[0])
_average3, _maximum3, _average_back3, _maximum_back3 = _pooling(*WINDOWS[1])


@body
def _load(x, strides, first, count, images, filled, flat, start, view):
    """Images ``first``... of ``x`` into a block; lanes past ``count`` repeat the last image, past ``filled`` they are zero."""
    at = np.empty(images, np.int64)
    for e in range(images):
        at[e] = (first + min(e, count - 1)) * strides[0]
    for c in range(view.channels):
        for h in range(view.height):
            for w in range(view.width):
                source = c * strides[1] + h * strides[2] + w * strides[3]
                to = start + c * view.plane + h * view.pitch + w * images
                for e in range(images):
                    flat[U(to + e)] = x[U(at[e] + source)]
                for e in range(filled, images):
                    flat[U(to + e)] = 0


@body
def _store(flat, start, view, images, y, strides, first, count):
    for e in range(count):
        for c in range(view.channels):
            for h in range(view.height):
                at = start + c * view.plane + h * view.pitch + e
                to = (first + e) * strides[0] + c * strides[1] + h * strides[2]
                for w in range(view.width):
                    y[U(to + w * strides[3])] = flat[U(at + w * images)]


@body
def _convolve_row(tile, rows, taps, table, row, width, images, a, b, b_pitch, c, c_plane, init, size):
    """Row ``row`` of a convolution's result for all of its ``rows`` channels; all addresses in bytes."""
    n_h, k_h, h = table[taps.rows + 3 * row], table[taps.rows + 3 * row + 1], table[taps.rows + 3 * row + 2]
    if n_h == 0:
        return
    blocks = (rows + simd.MAX_ROWS - 1) // simd.MAX_ROWS
    for block in range(blocks):
        first, end = row_block(rows, block, simd.MAX_ROWS)
        for q in range(width):
            column = taps.columns + 3 * q
            n_w, k_w, w = table[column], table[column + 1], table[column + 2]
            if n_w:
                simd.tile(
                    tile, end - first,
                    a + (first * taps.a_row + k_h * taps.kernel_w + k_w) * size, taps.a_row, taps.a_step,
                    address(table) + taps.ta * 8,
                    b + (h * b_pitch + w * images) * size, taps.b_step, address(table) + taps.tb * 8,
                    n_h * taps.per_row, taps.deep if taps.deep else n_w,
                    c + (first * c_plane + q * images) * size, c_plane,
                    init + first * images * size if init else 0, images, images, 0, taps.relu,
                )  # fmt: skip


@body
def _dots(function, rows, d, a, a_row, tables, b, c, size):
    """A matrix of ``rows`` x ``d.columns`` by :func:`simd.dot`; addresses in bytes."""
    row_blocks = (rows + simd.DOT_ROWS - 1) // simd.DOT_ROWS
    column_blocks = (d.columns + simd.DOT_COLUMNS - 1) // simd.DOT_COLUMNS
    for i in range(row_blocks):
        m0, m1 = row_block(rows, i, simd.DOT_ROWS)
        for j in range(column_blocks):
            v0, v1 = row_block(d.columns, j, simd.DOT_COLUMNS)
            simd.dot(
                function, m1 - m0, v1 - v0,
                a + m0 * a_row * size, a_row, d.a_step, tables + d.ta * 8,
                b + v0 * d.b_col * size, d.b_col, d.b_step, tables + d.tb * 8, d.taps, d.depth,
                c + (m0 * d.c_row + v0 * d.c_col) * size, d.c_row, d.c_col,
            )  # fmt: skip


# ------------------------------------------------------------------------------------------------- forward
@body
def _step_forward(tile, step, taps, table, x, y, flat, slot, images, weights, bias):
    size = flat.itemsize
    if y.padded:
        _clear(flat, slot + y.base, y.size)
    if step.kind == CONV:
        for row in range(y.height):
            _convolve_row(tile, y.channels, taps, table, row, y.width, images, weights,
                          address(flat) + (slot + x.start) * size,
                          x.pitch, address(flat) + (slot + y.start + row * y.pitch) * size, y.plane, bias, size)  # fmt: skip
            for c in range(y.channels if y.activation != RELU else 0):
                _activate(y.activation, flat, slot + y.start + c * y.plane + row * y.pitch, y.width * images)
        return
    scale = flat.dtype.type(step.scale)
    for c in range(y.channels):
        for row in range(y.height):
            at = slot + x.start + c * x.plane + row * step.stride_h * x.pitch
            to = slot + y.start + c * y.plane + row * y.pitch
            for q in range(y.width):
                at_q, to_q = at + q * step.stride_w * images, to + q * images
                if step.kind == AVERAGE:
                    if step.window == 0:
                        _average2(flat, at_q, x.pitch, images, flat, to_q, images, scale)
                    else:
                        _average3(flat, at_q, x.pitch, images, flat, to_q, images, scale)
                elif step.window == 0:
                    _maximum2(flat, at_q, x.pitch, images, flat, to_q, images, scale)
                else:
                    _maximum3(flat, at_q, x.pitch, images, flat, to_q, images, scale)
            _activate(y.activation, flat, to, y.width * images)


def _make_forward(like):
    def forward(thread, threads, arguments):
        p = simd.view1d(arguments, 1, _PASS)[0]
        steps, views, taps = (simd.view1d(p.steps, p.count, _STEP), simd.view1d(p.views, 2 * p.count, _VIEW),
                              simd.view1d(p.taps, 2 * p.count, _TAPS))  # fmt: skip
        table, weights, biases = (simd.view1d(p.table, p.table_size, _INT), simd.view1d(p.weights, p.count, _INT),
                                  simd.view1d(p.biases, p.count, _INT))  # fmt: skip
        flat, source, result = (simd.view1d(p.saved, p.saved_size, like), simd.view1d(p.x, p.x_span, like),
                                simd.view1d(p.y, p.y_span, like))  # fmt: skip
        images, own = p.images, p.spread + thread * p.spread_size * like.itemsize
        bias = simd.view1d(own, p.spread_size, like)
        for i in range(p.count):
            rows = views[2 * i + 1].channels if steps[i].kind == CONV else 0
            for c in range(rows):
                value = simd.view1d(biases[i], rows, like)[c] if biases[i] else like.dtype.type(0)
                for e in range((steps[i].bias + c) * images, (steps[i].bias + c + 1) * images):
                    bias[e] = value
        first, end = share(thread, threads, (p.batch + images - 1) // images)
        for block in range(first, end):
            slot = (block if p.keep else thread) * p.slot
            count = min(images, p.batch - block * images)
            view = views[0]
            if view.padded:
                _clear(flat, slot + view.base, view.size)
            _load(source, p.x_strides, block * images, count, images, images, flat, slot + view.start, view)
            if view.activation:
                for c in range(view.channels):
                    for h in range(view.height):
                        at = slot + view.start + c * view.plane + h * view.pitch
                        _activate(view.activation, flat, at, view.width * images)
            for i in range(p.count):
                _step_forward(p.tile, steps[i], taps[2 * i], table, views[2 * i], views[2 * i + 1], flat, slot, images,
                              weights[i], own + steps[i].bias * images * like.itemsize)  # fmt: skip
            view = views[2 * p.count - 1]
            _store(flat, slot + view.start, view, images, result, p.y_strides, block * images, count)

    return forward


# ------------------------------------------------------------------------------------------------- backward
@body
def _gradient(view, block, scratch, area):
    """Place of the gradient that belongs to ``view``."""
    return view.gradient + (block * area if view.kept else scratch)


@body
def _step_backward(tile, step, taps, table, x, y, flat, slot, g, gx, gy, images, weights):
    """The gradient of a step's input."""
    size = flat.itemsize
    if step.kind != CONV or step.window:  # sums of several windows, or pixels that no window reaches
        for c in range(x.channels):
            for h in range(x.height):
                to = gx + c * x.plane + h * x.pitch
                _clear(g, to, x.width * images)
    if step.kind == CONV:
        for row in range(x.height):
            _convolve_row(tile, x.channels, taps, table, row, x.width, images, weights, address(g) + gy * size, y.pitch,
                          address(g) + (gx + row * x.pitch) * size, x.plane, np.int64(0), size)  # fmt: skip
    else:
        scale = flat.dtype.type(step.scale)
        for c in range(y.channels):
            for row in range(y.height):
                for q in range(y.width):
                    inside = c * x.plane + row * step.stride_h * x.pitch + q * step.stride_w * images
                    outside = c * y.plane + row * y.pitch + q * images
                    at, to = slot + x.start + inside, slot + y.start + outside
                    if step.kind == AVERAGE:
                        if step.window == 0:
                            _average_back2(flat, at, flat, to, g, gx + inside, x.pitch, images, gy + outside, images, scale)
                        else:
                            _average_back3(flat, at, flat, to, g, gx + inside, x.pitch, images, gy + outside, images, scale)
                    elif step.window == 0:
                        _maximum_back2(flat, at, flat, to, g, gx + inside, x.pitch, images, gy + outside, images, scale)
                    else:
                        _maximum_back3(flat, at, flat, to, g, gx + inside, x.pitch, images, gy + outside, images, scale)


@body
def _slopes(view, flat, start, g, g_start, images):
    if view.activation:
        for c in range(view.channels):
            for h in range(view.height):
                at = c * view.plane + h * view.pitch
                _slope(view.activation, flat, start + at, g, g_start + at, view.width * images)


@body
def _row_sums(g, start, view, images, sums, at):
    """Add each channel's sum to ``sums[at...]``."""
    for c in range(view.channels):
        total = g.dtype.type(0)
        for h in range(view.height):
            row = start + c * view.plane + h * view.pitch
            for e in range(view.width * images):
                total += g[U(row + e)]
        sums[at + c] += total


def _make_backward(like):
    def backward(thread, threads, arguments):
        """The blocks of one thread, each from the last layer to the first; convolutions' weight gradients are partial sums."""
        p = simd.view1d(arguments, 1, _PASS)[0]
        steps, views, taps, dots = (simd.view1d(p.steps, p.count, _STEP), simd.view1d(p.views, 2 * p.count, _VIEW),
                                    simd.view1d(p.taps, 2 * p.count, _TAPS), simd.view1d(p.dots, p.count, _DOTS))  # fmt: skip
        table, weights = simd.view1d(p.table, p.table_size, _INT), simd.view1d(p.weights, p.count, _INT)
        gw, gb = simd.view1d(p.g_weights, p.count, _INT), simd.view1d(p.g_biases, p.count, _INT)
        flat, g, gy = (simd.view1d(p.saved, p.saved_size, like), simd.view1d(p.work, p.work_size, like),
                       simd.view1d(p.x, p.x_span, like))  # fmt: skip
        size, images, blocks = like.itemsize, p.images, (p.batch + p.images - 1) // p.images
        scratch = blocks * p.area + thread * p.scratch
        partial = simd.view1d(p.partials + thread * p.partial * size, p.partial, like)
        _clear(partial, 0, p.partial)
        first, end = share(thread, threads, blocks)
        for block in range(first, end):
            slot, count = block * p.slot, min(images, p.batch - block * images)
            view = views[2 * p.count - 1]
            at = _gradient(view, block, scratch, p.area)
            _load(gy, p.x_strides, block * images, count, images, count, g, at, view)
            _slopes(view, flat, slot + view.start, g, at, images)
            for i in range(p.count - 1, p.lowest - 1, -1):
                step, x, y, d = steps[i], views[2 * i], views[2 * i + 1], dots[i]
                to, at = _gradient(x, block, scratch, p.area), _gradient(y, block, scratch, p.area)
                if step.kind == CONV and not step.dense:
                    for o in range(d.outer if gw[i] else 0):
                        b, c = table[d.pairs + 2 * o], table[d.pairs + 2 * o + 1]
                        _dots(p.dot, y.channels, d, p.work + at * size, y.plane, p.table, p.saved + (slot + b) * size,
                              address(partial) + (step.weights + c) * size, size)  # fmt: skip
                    if gb[i]:
                        _row_sums(g, at, y, images, partial, step.weights + y.channels * d.c_row)
                if i > p.lowest or p.y:
                    _step_backward(p.tile, step, taps[2 * i + 1], table, x, y, flat, slot, g, to, at, images, weights[i])
                    _slopes(x, flat, slot + x.start, g, to, images)
            if p.y:
                view = views[0]
                _store(g, _gradient(view, block, scratch, p.area), view, images, simd.view1d(p.y, p.y_span, like), p.y_strides,
                       block * images, count)  # fmt: skip

    return backward


def _make_sums(like):
    def sums(thread, threads, arguments):
        """One thread's share of the weight gradients: of the dense layers from all blocks, of the others from the partials."""
        p = simd.view1d(arguments, 1, _PASS)[0]
        steps, views, dots = (simd.view1d(p.steps, p.count, _STEP), simd.view1d(p.views, 2 * p.count, _VIEW),
                              simd.view1d(p.dots, p.count, _DOTS))  # fmt: skip
        gw, gb = simd.view1d(p.g_weights, p.count, _INT), simd.view1d(p.g_biases, p.count, _INT)
        g, partials = simd.view1d(p.work, p.work_size, like), simd.view1d(p.partials, p.parts * p.partial, like)
        size = like.itemsize
        for i in range(p.count):
            step, x, y, d = steps[i], views[2 * i], views[2 * i + 1], dots[i]
            if step.dense:
                first, end = share(thread, threads, y.channels)
                if gw[i] and end > first:
                    to = gw[i] + first * d.c_row * size
                    _clear(simd.view1d(to, (end - first) * d.c_row, like), 0, (end - first) * d.c_row)
                    _dots(p.dot, end - first, d, p.work + (y.gradient + first * y.plane) * size, y.plane, p.table,
                          p.saved + x.start * size, to, size)  # fmt: skip
                for c in range(first, end if gb[i] else first):
                    total = like.dtype.type(0)
                    for block in range((p.batch + p.images - 1) // p.images):
                        for e in range(p.images):
                            total += g[U(block * p.area + y.gradient + c * y.plane + e)]
                    simd.view1d(gb[i], y.channels, like)[c] = total
            elif step.kind == CONV:
                count = y.channels * d.c_row
                for place, n, at in ((gw[i], count, step.weights), (gb[i], y.channels, step.weights + count)):
                    first, end = share(thread, threads, n if place else 0)
                    for e in range(first, end):
                        total = partials[at + e]
                        for part in range(1, p.parts):
                            total += partials[part * p.partial + at + e]
                        simd.view1d(place, n, like)[e] = total

    return sums


_MAKERS = {"forward": _make_forward, "backward": _make_backward, "sums": _make_sums}


@cache
def _function(name: str, dtype) -> int:
    """Address of one thread's part of a pass. Called by address, it is compiled once; inside a parallel kernel LLVM would go
    over all of it three times."""
    function = _MAKERS[name](np.empty(0, dtype))
    return c_function(function, types.void(types.int64, types.int64, types.int64), f"sequence.{name}.{dtype}")


@kernel
def _launch(threads, function, arguments):
    for thread in prange(threads):
        simd.call(function, (np.int64(thread), threads, address(arguments)))


# ------------------------------------------------------------------------------------------------- the plan
@dataclass
class _Array:
    """An activation of a block: its extents, the padding that its consumer wants around it, and where it lies."""

    channels: int
    size: tuple[int, int]
    padding: tuple = ((0, 0), (0, 0))
    activation: int = NONE
    kept: bool = False  # its gradient, for a dense layer's weights

    def elements(self, images: int) -> int:
        return self.channels * images * prod(n + sum(p) for n, p in zip(self.size, self.padding))

    def view(self, images: int, base: int, gradient: int, flat: bool = False) -> tuple:
        (top, bottom), (left, right) = self.padding
        height, width = self.size
        pitch = (width + left + right) * images
        plane = (height + top + bottom) * pitch
        inset, size = top * pitch + left * images, self.elements(images)
        shape = (self.channels, height, width, plane, pitch)
        if flat:
            shape = (self.channels * height * width, 1, 1, images, images)
        padded = any(map(any, self.padding))
        return (base + inset, base, size, padded, *shape, self.activation, gradient + inset, self.kept)


@dataclass
class Plan:
    """The first ``count`` of the steps it was asked for, as the kernels take them.

    ``slot[keep]``: elements of a block's area, ``views[keep]`` what is where in it; ``area``: elements of the gradients kept
    per block, ``scratch``: of those that a thread needs for one block.
    """

    count: int
    dtype: np.dtype
    batch: int
    images: int
    y_shape: tuple[int, ...]
    arrays: list[_Array]
    weights: list[tuple[int, ...] | None]
    slot: dict[bool, int] = field(default_factory=dict)
    views: dict[bool, np.ndarray] = field(default_factory=dict)

    @property
    def blocks(self) -> int:
        return -(-self.batch // self.images)


def _able(kind: str, spec) -> bool:
    """Whether the kernels have this layer."""
    if spec.ndim != 2 or max(spec.dilation) > 1:
        return False
    if KINDS[kind] == CONV:
        return spec.groups == 1 and all(max(p) < k for p, k in zip(spec.padding, spec.kernel))
    inside = all((o - 1) * s + k <= i for i, o, s, k in zip(spec.in_size, spec.out_size, spec.stride, spec.kernel))
    return spec.kernel in WINDOWS and inside and not any(map(any, spec.padding))


def _forward_axis(out, size, k, s, pad):
    """For each result: number of taps inside the input, the first of them, and the position it meets."""
    first = [max(0, pad - p * s) for p in range(out)]
    return [(min(k, size + pad - p * s) - t, t, p * s - pad + t) for p, t in enumerate(first)]


def _backward_axis(out, size, k, s, pad):
    """The same for each input, of the results it went into; from one tap to the next the result's position falls by one."""
    found = []
    for p in range(size):
        last, tap = divmod(p + pad, s)
        first = max(0, last - out + 1)
        found.append((max(min(-(-(k - tap) // s), last + 1) - first, 0), tap + s * first, last - first))
    return found


class _Table:
    """Integers for the kernels, one list after the other."""

    def __init__(self):
        self.values: list[int] = []

    def add(self, values) -> int:
        """Append ``values``; the place of the first."""
        at = len(self.values)
        self.values += [int(v) for v in np.ravel(values)]
        return at


def _taps(spec, x, y, images, table, backward):
    """The TAPS record of one pass; ``x`` and ``y`` are the VIEW records of input and result."""
    (kh, kw), (sh, sw), k = spec.kernel, spec.stride, spec.kernel[0] * spec.kernel[1]
    axis = _backward_axis if backward else _forward_axis
    rows, columns = (
        table.add(axis(*dim[:4], dim[4][0]))
        for dim in zip(spec.out_size, spec.in_size, spec.kernel, spec.stride, spec.padding)
    )
    # the sum runs over `depth` channels, whose weights are `far` apart and whose planes are `plane` apart
    depth, far, plane = (spec.c_out, spec.c_in * k, y["plane"]) if backward else (spec.c_in, k, x["plane"])
    down, pitch, step = (sh * kw, -y["pitch"], sw) if backward else (kw, x["pitch"], 1)
    a_row = k if backward else spec.c_in * k
    relu = not backward and y["activation"] == RELU
    if kw == 1:
        ta, tb = [q * down for q in range(kh)], [q * pitch for q in range(kh)]
        return (rows, columns, table.add(ta), table.add(tb), 1, depth, kw, a_row, far, plane, relu)
    pairs = [(q, c) for q in range(kh) for c in range(depth)]
    ta, tb = [q * down + c * far for q, c in pairs], [q * pitch + c * plane for q, c in pairs]
    b_step = -images if backward else images
    return (rows, columns, table.add(ta), table.add(tb), depth, 0, kw, a_row, step, b_step, relu)


def _dot_plan(spec, x, y, images, lanes, table, dense, blocks):
    """The DOTS record; ``dense`` is None or (elements of a block's kept gradients, of its area)."""
    kh, kw = spec.kernel
    sh, sw = spec.stride
    vectors = images // lanes
    if dense:
        area, slot = dense
        ta, tb = [b * area for b in range(blocks)], [b * slot for b in range(blocks)]
        return (0, 0, table.add(ta), table.add(tb), blocks, vectors, lanes, lanes, spec.c_in, x["plane"], spec.c_in, 1)
    (oh, ow), corner = spec.out_size, x["start"] - spec.padding[0][0] * x["pitch"] - spec.padding[1][0] * images
    runs, depth = (1, ow * vectors) if sw == 1 else (ow, vectors)
    places = [(h, w) for h in range(oh) for w in range(runs)]
    ta, tb = [h * y["pitch"] + w * images for h, w in places], [h * sh * x["pitch"] + w * sw * images for h, w in places]
    if kw == 1:
        pairs, columns, b_col, c_col = [(i, 0) for i in range(kh)], spec.c_in, x["plane"], kh
    else:
        pairs, columns, b_col, c_col = [(i, c) for i in range(kh) for c in range(spec.c_in)], kw, images, 1
    pairs = [(corner + i * x["pitch"] + c * x["plane"], c * kh * kw + i * kw) for i, c in pairs]
    return (table.add(pairs), len(pairs), table.add(ta), table.add(tb), len(places), depth, lanes, lanes, columns, b_col,
            spec.c_in * kh * kw, c_col)  # fmt: skip


def _images_per_block(batch: int, lanes: int, threads: int) -> int:
    """Two vectors, or one where that ends sooner: time goes in rounds of one block per thread."""
    rounds = {n: -(-batch // (n * threads)) for n in (2 * lanes, lanes)}
    return min(rounds, key=lambda n: rounds[n] * n)


@lru_cache(256)
def _plan(steps, dtype, threads) -> Plan | None:
    layers, arrays, flat, count = [], [], False, 0
    for kind, spec in steps:
        if kind == "flatten":
            flat = True
        elif kind in ACTIVATIONS:
            if not arrays or arrays[-1].activation:
                break
            arrays[-1].activation = ACTIVATIONS[kind]
        elif _able(kind, spec):
            if not arrays:
                arrays.append(_Array(spec.x_shape[1], spec.in_size))
            if KINDS[kind] == CONV:
                arrays[-1].padding = spec.padding
            layers.append((kind, spec))
            arrays.append(_Array(spec.y_shape[1], spec.out_size, kept=kind == "linear"))
            flat = flat or kind == "linear"
        else:
            break
        count += 1
    lanes = simd.lanes(dtype)
    if not pays(layers, arrays, lanes):
        return None
    batch = layers[0][1].batch
    images = _images_per_block(batch, lanes, threads)
    c, h, w = arrays[-1].channels, *arrays[-1].size
    plan = Plan(count, dtype, batch, images, (batch, c * h * w) if flat else (batch, c, h, w), arrays,
                [(s.w_shape[:2] if k == "linear" else s.w_shape) if KINDS[k] == CONV else None
                 for k, s in layers])  # fmt: skip
    sizes = [a.elements(images) for a in arrays]
    ends = np.cumsum(sizes)
    kept = np.cumsum([n if a.kept else 0 for a, n in zip(arrays, sizes)])
    half = max(sizes)
    # without backward only two neighbours are alive at a time: one from the start of the area, one from its end
    pair = max(a + b for a, b in zip(sizes, sizes[1:]))
    plan.slot = {True: int(ends[-1]), False: pair}
    plan.area, plan.scratch = int(kept[-1]), 2 * half
    places = {True: ends - sizes, False: [0 if i % 2 == 0 else pair - n for i, n in enumerate(sizes)]}
    for keep, starts in places.items():
        views = []
        for i, (kind, _) in enumerate(layers):
            for j, a in ((i, arrays[i]), (i + 1, arrays[i + 1])):
                gradient = kept[j] - sizes[j] if a.kept else (j % 2) * half
                views.append(a.view(images, int(starts[j]), int(gradient), flat=kind == "linear" and j == i))
        plan.views[keep] = np.array(views, VIEW)
    table, views = _Table(), plan.views[True]
    plan.steps = np.zeros(len(layers), STEP)
    plan.taps, plan.dots = np.zeros(2 * len(layers), TAPS), np.zeros(len(layers), DOTS)
    plan.partial = plan.spread = 0
    for i, (kind, spec) in enumerate(layers):
        step, x, y = plan.steps[i], views[2 * i], views[2 * i + 1]
        step["kind"], (step["stride_h"], step["stride_w"]) = KINDS[kind], spec.stride
        if KINDS[kind] != CONV:
            step["window"] = WINDOWS.index(spec.kernel)
            step["scale"] = 1 / (getattr(spec, "divisor", None) or prod(spec.kernel))
            continue
        dense = kind == "linear"
        plan.taps[2 * i] = _taps(spec, x, y, images, table, False)
        at = len(table.values)
        plan.taps[2 * i + 1] = _taps(spec, x, y, images, table, True)
        counts = table.values[at : at + 3 * sum(spec.in_size) : 3]
        plan.dots[i] = _dot_plan(spec, x, y, images, lanes, table, dense and (plan.area, plan.slot[True]), plan.blocks)
        step["window"] = min(counts) == 0  # there are pixels without taps
        step["dense"], step["weights"], step["bias"] = dense, plan.partial, plan.spread
        plan.spread += spec.c_out
        plan.partial += 0 if dense else spec.c_out + prod(spec.w_shape)
    plan.table = np.array(table.values, np.int64)
    return plan


def pays(layers, arrays, lanes) -> bool:
    """Whether blocks of images beat the kernels of single layers."""
    return len(layers) > 1 and any(k == "conv" for k, _ in layers)


def sequence_plan(steps, dtype):
    """A plan for the first ``plan.count`` of ``steps``, or None where layer by layer is better."""
    return _plan(steps, np.dtype(dtype), settings.get_num_threads())


# ------------------------------------------------------------------------------------------------- running it
def _strided(a: np.ndarray, array: _Array) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """``a`` (N x C x H x W, or flattened behind N), the elements it spans, and its strides in elements for N, C, H, W."""
    if any(s % a.itemsize or s < 0 for s in a.strides) or not a.flags.aligned:
        a = layout.dense(a)
    strides = tuple(s // a.itemsize for s in a.strides)
    span = 1 + sum((n - 1) * s for n, s in zip(a.shape, strides))
    if a.ndim == 2:
        h, w = array.size
        strides = (strides[0], strides[1] * h * w, strides[1] * w, strides[1])
    return a, span, strides


def _addresses(arrays) -> np.ndarray:
    return np.array([0 if a is None else a.ctypes.data for a in arrays], np.int64)


def _by_layer(plan, arrays) -> list:
    """``arrays``, one for each layer with weights, with None for the others."""
    arrays = iter(arrays)
    found = [next(arrays) if w else None for w in plan.weights]
    return [layout.dense(a) if isinstance(a, np.ndarray) else a for a in found]


def _record_of(plan, keep, **values) -> np.ndarray:
    """The PASS record; an array's name stands for its address, and ``<name>_size`` for its elements."""
    p = np.zeros(1, PASS)
    arrays = {"steps": plan.steps, "views": plan.views[keep], "taps": plan.taps, "dots": plan.dots, "table": plan.table}
    values |= arrays | {"table_size": plan.table.size, "images": plan.images, "batch": plan.batch, "count": len(plan.steps),
                        "slot": plan.slot[keep], "keep": keep, "tile": simd.tile_address(plan.dtype, plan.images)}  # fmt: skip
    for name, value in values.items():
        p[name] = value.ctypes.data if isinstance(value, np.ndarray) else value
    return p


def sequence_fwd(plan, x, weights, biases, keep):
    weights, biases = _by_layer(plan, weights), _by_layer(plan, biases)
    threads = settings.get_num_threads()
    saved = memory.empty((plan.blocks if keep else threads, plan.slot[keep]), plan.dtype)
    spread = memory.empty((threads, plan.spread * plan.images), plan.dtype)
    x, x_span, x_strides = _strided(x, plan.arrays[0])
    y = layout.empty(plan.y_shape, plan.dtype)[0] if len(plan.y_shape) == 4 else memory.empty(plan.y_shape, plan.dtype)
    _, y_span, y_strides = _strided(y, plan.arrays[-1])
    addresses = _addresses(weights), _addresses(biases)
    arguments = _record_of(plan, keep, weights=addresses[0], biases=addresses[1], x=x, x_span=x_span, x_strides=x_strides, y=y,
                           y_span=y_span, y_strides=y_strides, saved=saved, saved_size=saved.size, spread=spread,
                           spread_size=spread.shape[1])  # fmt: skip
    _launch(_function("forward", plan.dtype), arguments)
    return y, saved


def sequence_bwd(plan, gy, saved, weights, needs_x, needs_weights, needs_biases):
    weights, dtype, threads = _by_layer(plan, weights), plan.dtype, settings.get_num_threads()
    gw = [memory.empty(w, dtype) if need else None for w, need in zip(plan.weights, _by_layer(plan, needs_weights))]
    gb = [memory.empty(w[:1], dtype) if need else None for w, need in zip(plan.weights, _by_layer(plan, needs_biases))]
    lowest = 0 if needs_x else min(i for i, pair in enumerate(zip(gw, gb)) if any(a is not None for a in pair))
    work = memory.empty((plan.blocks * plan.area + threads * plan.scratch,), dtype)
    partials = memory.empty((threads, plan.partial), dtype)
    gy, x_span, x_strides = _strided(gy, plan.arrays[-1])
    first, gx, outward = plan.arrays[0], None, {}
    if needs_x:
        gx = layout.empty((plan.batch, first.channels, *first.size), dtype)[0]
        outward = dict(zip(("y", "y_span", "y_strides"), _strided(gx, first)))
    addresses = _addresses(weights), _addresses(gw), _addresses(gb)
    arguments = _record_of(plan, True, dot=simd.dot_address(dtype), lowest=lowest, weights=addresses[0],
                           g_weights=addresses[1], g_biases=addresses[2], x=gy, x_span=x_span, x_strides=x_strides,
                           saved=saved, saved_size=saved.size, work=work, work_size=work.size, area=plan.area,
                           scratch=plan.scratch, partials=partials, parts=threads, partial=plan.partial,
                           **outward)  # fmt: skip
    _launch(_function("backward", dtype), arguments)
    _launch(_function("sums", dtype), arguments)
    has = [i for i, w in enumerate(plan.weights) if w]
    return gx, [gw[i] for i in has], [gb[i] for i in has]
