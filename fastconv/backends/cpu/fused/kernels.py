"""Small networks, block of images by block of images: a run of layers whose activations never leave the
cache.

Where channels are few, the kernels of single layers have too little to do per pixel, and every layer sends
the whole batch
through memory. Here the images are the vector, and one thread takes a block of them through all layers::

    forward    threads: equal shares of the blocks
                 images in, transposed                             x: N, C, H, W  ->  [C][H][W][images]
                 for each layer                                    saved: one memory per block (training), per thread (not)
                   convolution, dense:  for each output row, each pixel:
                     tile:  <= 14 output channels x the images, sum over the taps inside the image and input channels
                     activation of the row, while it is in L1
                   pooling:  for each channel, each row
                 result out, transposed

    backward   threads: equal shares of the blocks
                 gradient of the result in
                 for each layer, last to first
                   convolution:  weight gradient, dot: 4 output channels x 5 columns of the kernel, sum over pixels and images
                                 gradient of its input: the same tiles with input and output channels swapped
                   slope of the activation, row by row
                 the first two layers, if they are a convolution and pooling: together, a band of rows at a
                 time, in L1
               -- all threads meet --
               threads: equal shares of the dense layers' weights: dot, sum over all images
                        equal shares of the convolutions' weights: sum of the threads' partial gradients, in
                        thread order

The weights are the tile's broadcast numbers and stay where and how they are. A pixel is one place in memory
for all images of a block, so its taps are exact, without masks and products with padding; a convolution's
input is stored with its padding as zeros all the same, since columns of the kernel that share a dot reach
over the edge at different pixels. A dense layer is a 1 x 1 convolution of a 1 x 1 image. An activation
belongs to the array it is applied to.

The parts of a pass are C functions: called by address they are compiled once; inside a parallel kernel LLVM
would go over all of it three times.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from fastconv.backends import settings

from ..codegen import dot_tile, emitter, gemm_tile, vector_math
from ..codegen.emitter import address
from ..codegen.jit import body, by_address, c_function, kernel, prange, split_range
from ..runtime import layout, memory
from .plan import AVERAGE, CONV, DOTS, RELU, SIGMOID, STEP, TANH, TAPS, VIEW

# a signed index may count from the end, and the test for that keeps loops from becoming vector code
U = np.uint64
#: What a pass works on: the plan's numbers, and addresses of its records and of the arrays. ``x`` goes in and
#: ``y`` (0: nothing) comes out, images or gradients; ``weights``, ``biases`` and their gradients ``gw``,
#: ``gb`` (0: not wanted) are tables of addresses, one entry per layer.
PASS = np.dtype(
    [
        *(
            (n, np.int64)
            for n in (
                "tile",
                "dot",
                "images",
                "batch",
                "blocks",
                "count",
                "lowest",
                "steps",
                "views",
                "taps",
                "dots",
                "table",
                "table_size",
                "weights",
                "biases",
                "gw",
                "gb",
                "x",
                "x_span",
                "y",
                "y_span",
                "saved",
                "saved_size",
                "slot",
                "keep",
                "spread",
                "spread_size",
                "work",
                "work_size",
                "area",
                "scratch",
                "partials",
                "parts",
                "partial",
            )
        ),
        ("x_strides", np.int64, 4),
        ("y_strides", np.int64, 4),
    ]
)
#: By their number: the axes of a weight or bias as the kernels read and write it (of gradients: back again).
AXES, BACK = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}, {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
_PASS, _STEP, _VIEW, _TAPS, _DOTS, _INT = (np.empty(0, t) for t in (PASS, STEP, VIEW, TAPS, DOTS, np.int64))


@body(inline=True)
def _records(p):
    """Steps, views, taps, dots and table of a PASS."""
    return (
        emitter.view1d(p.steps, p.count, _STEP),
        emitter.view1d(p.views, 2 * p.count, _VIEW),
        emitter.view1d(p.taps, 2 * p.count, _TAPS),
        emitter.view1d(p.dots, p.count, _DOTS),
        emitter.view1d(p.table, p.table_size, _INT),
    )


# ------------------------------------------------------------------------------------------------- pieces
@body
def _clear(x, start, n):
    # A function of its own: to Numba, what is stored to an array that only addresses read afterwards is dead
    # code.
    x[start : start + n] = 0


@body
def _load(x, strides, first, count, images, filled, flat, start, view):
    """Images ``first``... of ``x`` into a block; lanes past ``count`` repeat the last image, past ``filled``
    are zero."""
    for c in range(view.channels):
        for h in range(view.height):
            for w in range(view.width):
                source = c * strides[1] + h * strides[2] + w * strides[3]
                to = start + c * view.plane + h * view.pitch + w * images
                for n in range(images):
                    flat[U(to + n)] = x[U((first + min(n, count - 1)) * strides[0] + source)]
                for n in range(filled, images):
                    flat[U(to + n)] = 0


@body
def _store(flat, start, view, images, y, strides, first, count):
    for n in range(count):
        for c in range(view.channels):
            for h in range(view.height):
                at = start + c * view.plane + h * view.pitch + n
                to = (first + n) * strides[0] + c * strides[1] + h * strides[2]
                for w in range(view.width):
                    y[U(to + w * strides[3])] = flat[U(at + w * images)]


@body
def _activate(kind, x, start, n):
    if kind == RELU:
        zero = x.dtype.type(0)
        for e in range(n):
            v = x[U(start + e)]
            x[U(start + e)] = zero if v <= zero else v
    elif kind == SIGMOID:
        for e in range(n):
            x[U(start + e)] = vector_math.sigmoid(x[U(start + e)])
    elif kind == TANH:
        for e in range(n):
            x[U(start + e)] = vector_math.tanh(x[U(start + e)])


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


@body
def _slopes(view, flat, start, g, g_start, images, channel, channels, row, rows):
    """:func:`_slope` of some rows of some channels."""
    for c in range(channel, channel + channels if view.activation else channel):
        for h in range(row, row + rows):
            at = c * view.plane + h * view.pitch
            _slope(view.activation, flat, start + at, g, g_start + at, view.width * images)


@body
def _row_sums(g, start, view, row, rows, images, sums, at):
    """Add each channel's sum over some rows to ``sums[at...]``."""
    for c in range(view.channels):
        total = g.dtype.type(0)
        for h in range(row, row + rows):
            first = start + c * view.plane + h * view.pitch
            for e in range(view.width * images):
                total += g[U(first + e)]
        sums[at + c] += total


@body
def _convolve_row(tile, rows, taps, table, row, width, images, a, b, b_pitch, c, c_plane, init, size):
    """Row ``row`` of a convolution's result for all of its ``rows`` channels; addresses in bytes."""
    n_h, k_h, h = table[taps.rows + 3 * row], table[taps.rows + 3 * row + 1], table[taps.rows + 3 * row + 2]
    if n_h == 0:
        return
    for q in range(width):
        column = taps.columns + 3 * q
        n_w, k_w, w = table[column], table[column + 1], table[column + 2]
        if n_w:
            gemm_tile.tile(
                tile,
                rows,
                a + (k_h * taps.kernel_w + k_w) * taps.a_tap * size,
                taps.a_row,
                taps.a_step,
                address(table) + taps.ta * 8,
                b + (h * b_pitch + w * images) * size,
                taps.b_step,
                address(table) + taps.tb * 8,
                n_h * taps.per_row,
                taps.deep if taps.deep else n_w,
                c + q * images * size,
                c_plane,
                init,
                images,
                images,
                0,
                taps.relu,
            )


@body
def _dots(function, rows, d, first, taps, table, a, a_row, b, c, size):
    """For each of the ``d.outer`` pairs a matrix of ``rows`` x ``d.columns`` by :func:`dot_tile.dot`, from
    ``taps`` entries of its tables; addresses in bytes."""
    ta, tb = address(table) + (d.ta + first) * 8, address(table) + (d.tb + first) * 8
    row_blocks = (rows + dot_tile.DOT_ROWS - 1) // dot_tile.DOT_ROWS
    column_blocks = (d.columns + dot_tile.DOT_COLUMNS - 1) // dot_tile.DOT_COLUMNS
    for i in range(row_blocks):  # its channels stay in L2
        m0, m1 = gemm_tile.row_block(rows, i, dot_tile.DOT_ROWS)
        for o in range(d.outer):
            b_o, c_o = table[d.pairs + 2 * o], table[d.pairs + 2 * o + 1]
            for j in range(column_blocks):
                v0, v1 = gemm_tile.row_block(d.columns, j, dot_tile.DOT_COLUMNS)
                dot_tile.dot(
                    function,
                    m1 - m0,
                    v1 - v0,
                    a + m0 * a_row * size,
                    a_row,
                    d.b_step,
                    ta,
                    b + (b_o + v0 * d.b_col) * size,
                    d.b_col,
                    d.b_step,
                    tb,
                    taps,
                    d.depth,
                    c + (c_o + m0 + v0 * d.c_col) * size,
                    1,
                    d.c_col,
                )


@body
def _window(step, pitch, at, images, like):
    """The maximum or the sum of the window at address ``at``, for a vector of images."""
    result = emitter.load(at, like)
    for i in range(step.kernel_h):
        for j in range(step.kernel_w):
            value = emitter.load(at + (i * pitch + j * images) * like.itemsize, like)
            if step.kind != AVERAGE:
                result = emitter.maximum(result, value)
            elif i + j:
                result = emitter.add(result, value)
    return result


@body
def _pool_row(step, x_pitch, width, at, to, images, like):
    """A row of windows at address ``at`` becomes the row at ``to``."""
    scale = emitter.fill(like.dtype.type(step.scale))
    for q in range(width):
        for v in range(0, images * like.itemsize, emitter.VECTOR_BYTES):
            result = _window(step, x_pitch, at + q * step.stride_w * images * like.itemsize + v, images, like)
            if step.kind == AVERAGE:
                result = emitter.multiply(result, scale)
            emitter.store(result, to + q * images * like.itemsize + v)


@body
def _pool_row_back(step, x_pitch, width, at, g_at, g_to, images, like):
    """The gradients at ``g_to`` of a row of results go to those at ``g_at`` of their windows at ``at``."""
    scale, zero = emitter.fill(like.dtype.type(step.scale)), emitter.fill(like.dtype.type(0))
    for q in range(width):
        for v in range(0, images * like.itemsize, emitter.VECTOR_BYTES):
            inside, outside = q * step.stride_w * images * like.itemsize + v, q * images * like.itemsize + v
            left = emitter.load(g_to + outside, like)
            part = best = emitter.multiply(left, scale)
            if step.kind != AVERAGE:
                best = _window(step, x_pitch, at + inside, images, like)
            for i in range(step.kernel_h):
                for j in range(step.kernel_w):
                    place = inside + (i * x_pitch + j * images) * like.itemsize
                    if step.kind != AVERAGE:  # the first maximum, or the first NaN, takes what is left
                        value = emitter.load(at + place, like)
                        part, left = (
                            emitter.if_same(value, best, left, zero),
                            emitter.if_same(value, best, zero, left),
                        )
                    if step.overlap:
                        emitter.store(emitter.add(emitter.load(g_at + place, like), part), g_at + place)
                    else:
                        emitter.store(part, g_at + place)


# ------------------------------------------------------------------------------------------------- forward
@body
def _step_forward(tile, step, taps, table, x, y, flat, slot, images, weights, bias):
    size = flat.itemsize
    if y.padded:
        _clear(flat, slot + y.base, y.size)
    if step.kind == CONV:
        source, target = address(flat) + (slot + x.start) * size, address(flat) + (slot + y.start) * size
        for row in range(y.height):
            _convolve_row(
                tile,
                y.channels,
                taps,
                table,
                row,
                y.width,
                images,
                weights,
                source,
                x.pitch,
                target + row * y.pitch * size,
                y.plane,
                bias,
                size,
            )
            for c in range(0 if taps.relu else y.channels):
                _activate(y.activation, flat, slot + y.start + c * y.plane + row * y.pitch, y.width * images)
        return
    for c in range(y.channels):
        for row in range(y.height):
            at = slot + x.start + c * x.plane + row * step.stride_h * x.pitch
            to = slot + y.start + c * y.plane + row * y.pitch
            _pool_row(
                step, x.pitch, y.width, address(flat) + at * size, address(flat) + to * size, images, flat
            )
            _activate(y.activation, flat, to, y.width * images)


def _make_forward(like):
    def forward(words):
        thread, threads, arguments = words[0], words[1], words[2]
        p = emitter.view1d(arguments, 1, _PASS)[0]
        steps, views, taps, _, table = _records(p)
        weights, biases = emitter.view1d(p.weights, p.count, _INT), emitter.view1d(p.biases, p.count, _INT)
        flat, source, result = (
            emitter.view1d(p.saved, p.saved_size, like),
            emitter.view1d(p.x, p.x_span, like),
            emitter.view1d(p.y, p.y_span, like),
        )
        images, spread = p.images, p.spread + thread * p.spread_size * like.itemsize
        bias = emitter.view1d(spread, p.spread_size, like)
        for i in range(p.count):
            rows = views[2 * i + 1].channels if steps[i].kind == CONV else 0
            for e in range(rows * images):
                value = like.dtype.type(0)
                if biases[i]:
                    value = emitter.view1d(biases[i], rows, like)[e // images]
                bias[steps[i].bias + e] = value
        first, end = split_range(thread, threads, p.blocks)
        for block in range(first, end):
            slot = (block if p.keep else thread) * p.slot
            count = min(images, p.batch - block * images)
            view = views[0]
            if view.padded:
                _clear(flat, slot + view.base, view.size)
            _load(source, p.x_strides, block * images, count, images, images, flat, slot + view.start, view)
            for i in range(p.count):
                _step_forward(
                    p.tile,
                    steps[i],
                    taps[2 * i],
                    table,
                    views[2 * i],
                    views[2 * i + 1],
                    flat,
                    slot,
                    images,
                    weights[i],
                    spread + steps[i].bias * like.itemsize,
                )
            view = views[2 * p.count - 1]
            _store(flat, slot + view.start, view, images, result, p.y_strides, block * images, count)

    return forward


# ------------------------------------------------------------------------------------------------- backward
@body
def _gradient(view, block, scratch, area):
    """Place of the gradient that belongs to ``view``."""
    return view.gradient + (block * area if view.kept else scratch)


@body
def _pool_backward(step, x, y, flat, slot, g, gx, gy, images, first, end):
    """The gradient of the input, from rows ``first`` to ``end`` of the result; ``gx``, ``gy``: where the
    gradients start."""
    size, row, last = (
        flat.itemsize,
        first * step.stride_h,
        x.height if end == y.height else end * step.stride_h,
    )
    for c in range(y.channels):
        for h in range(row, last if step.clear else row):
            _clear(g, gx + c * x.plane + h * x.pitch, x.width * images)
        for h in range(first, end):
            at, to = c * x.plane + h * step.stride_h * x.pitch, c * y.plane + h * y.pitch
            _pool_row_back(
                step,
                x.pitch,
                y.width,
                address(flat) + (slot + x.start + at) * size,
                address(g) + (gx + at) * size,
                address(g) + (gy + to) * size,
                images,
                flat,
            )
        _slopes(x, flat, slot + x.start, g, gx, images, c, 1, row, last - row)


@body
def _conv_backward(tile, step, taps, table, x, y, flat, slot, g, gx, gy, images, weights):
    """The gradient of a convolution's input."""
    size = flat.itemsize
    for c in range(x.channels if step.clear else 0):
        for h in range(x.height):
            _clear(g, gx + c * x.plane + h * x.pitch, x.width * images)
    for row in range(x.height):
        _convolve_row(
            tile,
            x.channels,
            taps,
            table,
            row,
            x.width,
            images,
            weights,
            address(g) + gy * size,
            y.pitch,
            address(g) + (gx + row * x.pitch) * size,
            x.plane,
            np.int64(0),
            size,
        )
        _slopes(x, flat, slot + x.start, g, gx, images, 0, x.channels, row, 1)


@body
def _weight_gradient(dot, step, d, table, y, flat, slot, g, gy, images, row, rows, partial, weights, bias):
    """What some rows of the gradient ``gy`` of a convolution's result add to those of its weights and bias,
    if wanted."""
    size = flat.itemsize
    if weights:
        _dots(
            dot,
            y.channels,
            d,
            row * d.per_row,
            rows * d.per_row,
            table,
            address(g) + gy * size,
            y.plane,
            address(flat) + slot * size,
            address(partial) + step.weights * size,
            size,
        )
    if bias:
        _row_sums(g, gy, y, row, rows, images, partial, step.weights + d.size)


def _make_backward(like):
    def backward(words):
        """One thread's blocks, each from the last layer to the first; gradients of convolutions' weights go
        to a partial."""
        thread, threads, arguments = words[0], words[1], words[2]
        p = emitter.view1d(arguments, 1, _PASS)[0]
        steps, views, taps, dots, table = _records(p)
        weights, gw, gb = (
            emitter.view1d(p.weights, p.count, _INT),
            emitter.view1d(p.gw, p.count, _INT),
            emitter.view1d(p.gb, p.count, _INT),
        )
        flat, g, source = (
            emitter.view1d(p.saved, p.saved_size, like),
            emitter.view1d(p.work, p.work_size, like),
            emitter.view1d(p.x, p.x_span, like),
        )
        images, scratch = p.images, p.blocks * p.area + thread * p.scratch
        partial = emitter.view1d(p.partials + thread * p.partial * like.itemsize, p.partial, like)
        first, end = split_range(thread, threads, p.blocks)
        for block in range(first, end):
            slot, count = block * p.slot, min(images, p.batch - block * images)
            view = views[2 * p.count - 1]
            at = _gradient(view, block, scratch, p.area)
            _load(source, p.x_strides, block * images, count, images, count, g, at, view)
            _slopes(view, flat, slot + view.start, g, at, images, 0, view.channels, 0, view.height)
            banded = False
            for i in range(p.count - 1, p.lowest - 1, -1):
                step, x, y = steps[i], views[2 * i], views[2 * i + 1]
                to, at = _gradient(x, block, scratch, p.area), _gradient(y, block, scratch, p.area)
                if step.kind == CONV:
                    if not step.dense and not banded:
                        _weight_gradient(
                            p.dot,
                            step,
                            dots[i],
                            table,
                            y,
                            flat,
                            slot,
                            g,
                            at,
                            images,
                            0,
                            y.height,
                            partial,
                            gw[i],
                            gb[i],
                        )
                    if i > p.lowest or p.y:
                        _conv_backward(
                            p.tile,
                            step,
                            taps[2 * i + 1],
                            table,
                            x,
                            y,
                            flat,
                            slot,
                            g,
                            to,
                            at,
                            images,
                            weights[i],
                        )
                elif i == p.lowest + 1 and not p.y and step.band and steps[i - 1].kind == CONV:
                    banded = True
                    for row in range(0, y.height, step.band):
                        last, top = min(row + step.band, y.height), row * step.stride_h
                        rows = min(last * step.stride_h, x.height) - top
                        band = to - top * x.pitch  # all bands in the same memory
                        _pool_backward(step, x, y, flat, slot, g, band, at, images, row, last)
                        _weight_gradient(
                            p.dot,
                            steps[i - 1],
                            dots[i - 1],
                            table,
                            x,
                            flat,
                            slot,
                            g,
                            band,
                            images,
                            top,
                            rows,
                            partial,
                            gw[i - 1],
                            gb[i - 1],
                        )
                elif i > p.lowest or p.y:
                    _pool_backward(step, x, y, flat, slot, g, to, at, images, 0, y.height)
            if p.y:
                view = views[0]
                _store(
                    g,
                    _gradient(view, block, scratch, p.area),
                    view,
                    images,
                    emitter.view1d(p.y, p.y_span, like),
                    p.y_strides,
                    block * images,
                    count,
                )

    return backward


def _make_sums(like):
    def sums(words):
        """One thread's share of the weight gradients: of the dense layers from all blocks, of the others from
        the partials."""
        thread, threads, arguments = words[0], words[1], words[2]
        p = emitter.view1d(arguments, 1, _PASS)[0]
        steps, views, _, dots, table = _records(p)
        gw, gb = emitter.view1d(p.gw, p.count, _INT), emitter.view1d(p.gb, p.count, _INT)
        g, partials = (
            emitter.view1d(p.work, p.work_size, like),
            emitter.view1d(p.partials, p.parts * p.partial, like),
        )
        size = like.itemsize
        for i in range(p.count):
            step, y, d = steps[i], views[2 * i + 1], dots[i]
            if step.dense:
                first, end = split_range(thread, threads, y.channels)
                at = y.gradient + first * y.plane
                if gw[i] and end > first:
                    for v in range(d.columns):
                        _clear(emitter.view1d(gw[i], d.size, like), v * d.c_col + first, end - first)
                    _dots(
                        p.dot,
                        end - first,
                        d,
                        0,
                        d.taps,
                        table,
                        p.work + at * size,
                        y.plane,
                        p.saved,
                        gw[i] + first * size,
                        size,
                    )
                for c in range(end - first if gb[i] else 0):
                    total = like.dtype.type(0)
                    for block in range(p.blocks):
                        for e in range(p.images):
                            total += g[U(block * p.area + at + c * y.plane + e)]
                    emitter.view1d(gb[i], y.channels, like)[first + c] = total
            elif step.kind == CONV:
                for place, n, at in (
                    (gw[i], d.size, step.weights),
                    (gb[i], y.channels, step.weights + d.size),
                ):
                    first, end = split_range(thread, threads, n if place else 0)
                    for e in range(first, end):
                        total = partials[at + e]
                        for part in range(1, p.parts):
                            total += partials[part * p.partial + at + e]
                        emitter.view1d(place, n, like)[e] = total

    return sums


# ------------------------------------------------------------------------------------------------- running it
_MAKERS = {"forward": _make_forward, "backward": _make_backward, "sums": _make_sums}


@cache
def _function(name: str, dtype) -> int:
    """Address of one thread's part of a pass."""
    part = _MAKERS[name](np.empty(0, dtype))
    return c_function(part, f"fused_chain.{name}.{dtype}")


@kernel
def _launch(threads, function, arguments):
    for thread in prange(threads):
        emitter.call(function, (np.int64(thread), threads, address(arguments)))


def _strided(a: np.ndarray, array) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """``a`` (N x C x H x W, or flattened behind N), the elements it spans, and its strides in elements for N,
    C, H, W."""
    if any(s % a.itemsize or s < 0 for s in a.strides) or not a.flags.aligned:
        a = layout.dense(a)
    strides = tuple(s // a.itemsize for s in a.strides)
    span = 1 + sum((n - 1) * s for n, s in zip(a.shape, strides))
    if a.ndim == 2:
        h, w = array.size
        strides = (strides[0], strides[1] * h * w, strides[1] * w, strides[1])
    return a, span, strides


def _addresses(plan, arrays) -> tuple[list, np.ndarray]:
    """``arrays`` (or None), one for each layer with weights, in the kernels' order of axes, and a table of
    the addresses, with an entry (0: none) for every layer."""
    arrays = [a if a is None else layout.dense(a.transpose(AXES[a.ndim])) for a in arrays]
    table = np.zeros(len(plan.weights), np.int64)
    table[plan.heavy] = [0 if a is None else a.__array_interface__["data"][0] for a in arrays]
    return arrays, table


@lru_cache(256)
def _pass(plan, keep) -> np.ndarray:
    """The PASS, but for the arrays that change from call to call."""
    p = np.zeros(1, PASS)
    for name in ("images", "batch", "blocks", "area", "scratch", "partial"):
        p[name] = getattr(plan, name)
    for name, records in (
        ("views", plan.views[keep]),
        *((n, getattr(plan, n)) for n in ("steps", "taps", "dots", "table")),
    ):
        p[name] = records.ctypes.data
    p["slot"], p["keep"], p["count"], p["table_size"] = (
        plan.slot[keep],
        keep,
        len(plan.steps),
        plan.table.size,
    )
    p["tile"], p["dot"] = gemm_tile.tile_address(plan.dtype, plan.images), dot_tile.dot_address(plan.dtype)
    return p


def _run(names, plan, keep, x, y, **values) -> None:
    """Launch the parts ``names``; ``x`` and ``y`` are an array and the :class:`Array` it is outside of a
    block."""
    p = _pass(plan, keep).copy()
    for name, pair in (("x", x), ("y", y)):
        if pair[0] is not None:
            values[name], values[name + "_span"], values[name + "_strides"] = _strided(*pair)
    for name, value in values.items():
        p[name] = value.ctypes.data if isinstance(value, np.ndarray) else value
    by_address(values)
    for name in names:
        _launch(_function(name, plan.dtype), p)


def fused_chain_fwd(plan, x, weights, biases, keep):
    weights, w = _addresses(plan, weights)
    biases, b = _addresses(plan, biases)
    threads = settings.get_num_threads()
    saved = memory.empty((plan.blocks if keep else threads, plan.slot[keep]), plan.dtype)
    spread = memory.empty((threads, plan.spread), plan.dtype)
    y = (
        layout.empty(plan.y_shape, plan.dtype)[0]
        if len(plan.y_shape) == 4
        else memory.empty(plan.y_shape, plan.dtype)
    )
    _run(
        ["forward"],
        plan,
        keep,
        (x, plan.arrays[0]),
        (y, plan.arrays[-1]),
        weights=w,
        biases=b,
        saved=saved,
        saved_size=saved.size,
        spread=spread,
        spread_size=plan.spread,
    )
    return y, saved


def fused_chain_bwd(plan, gy, saved, weights, needs_x, needs_weights, needs_biases):
    dtype, threads, first = plan.dtype, settings.get_num_threads(), plan.arrays[0]

    def gradients(shapes, needs):
        return [
            memory.empty([s[i] for i in AXES[len(s)]], dtype).transpose(BACK[len(s)]) if need else None
            for s, need in zip(shapes, needs)
        ]

    shapes = [plan.weights[i] for i in plan.heavy]
    g_weights, g_biases = gradients(shapes, needs_weights), gradients([s[:1] for s in shapes], needs_biases)
    weights, w = _addresses(plan, weights)
    gw, gb = _addresses(plan, g_weights)[1], _addresses(plan, g_biases)[1]
    gx = layout.empty((plan.batch, first.channels, *first.size), dtype)[0] if needs_x else None
    work = memory.empty((plan.blocks * plan.area + threads * plan.scratch,), dtype)
    partials = memory.zeros((threads, plan.partial), dtype)
    _run(
        ["backward", "sums"],
        plan,
        True,
        (gy, plan.arrays[-1]),
        (gx, first),
        weights=w,
        gw=gw,
        gb=gb,
        lowest=0 if needs_x else int(np.argmax((gw != 0) | (gb != 0))),
        saved=saved,
        saved_size=saved.size,
        work=work,
        work_size=work.size,
        partials=partials,
        parts=threads,
    )
    return gx, g_weights, g_biases
