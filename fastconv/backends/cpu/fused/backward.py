"""The backward pass of one thread: its blocks, each from the last layer to the first; then sums over all.

for each block:  gradient of the result in
  for each layer, last to first
    convolution:  weight gradient (or, of a dense layer, its input's gradient kept); gradient of its input
    pooling:      gradient of its input; a band of rows at a time where a first convolution follows
    the slope of the activation of its input
-- all threads meet --
for each layer:   a range of its weights, summed over all blocks (dense) or threads (convolution)
"""

from __future__ import annotations

import numpy as np

from ..codegen import emitter
from ..codegen.emitter import address
from ..codegen.jit import body, split_range
from .block import activation_slopes, clear, load_images, row_sums, store_images
from .products import convolve_row, weight_dots
from .records import A_PASS, AN_INT, BACKWARD, CONV, IN, OUT, records_of
from .windows import pool_row_bwd

# A signed index may count from the end, and the test for that keeps loops from becoming vector code.
U = np.uint64


@body
def gradient_place(view, block, scratch, area):
    """Place of the gradient that belongs to ``view``."""
    return view.gradient + (block * area if view.kept else scratch)


@body
def pool_backward(step, x, y, flat, slot, g, gx, gy, images, first, end):
    """The gradient of a pooling layer's input, from rows ``first`` to ``end`` of its result.

    ``gx`` and ``gy``: places of the gradients of input and result.
    """
    size, row = flat.itemsize, first * step.stride_h
    last = x.height if end == y.height else end * step.stride_h
    for c in range(y.channels):
        for h in range(row, last if step.clear else row):
            clear(g, gx + c * x.plane + h * x.pitch, x.width * images)
        for h in range(first, end):
            at, to = c * x.plane + h * step.stride_h * x.pitch, c * y.plane + h * y.pitch
            pool_row_bwd(
                step,
                x.pitch,
                y.width,
                address(flat) + (slot + x.start + at) * size,
                address(g) + (gx + at) * size,
                address(g) + (gy + to) * size,
                images,
                flat,
            )
        activation_slopes(x, flat, slot + x.start, g, gx, images, c, 1, row, last - row)


@body
def conv_backward(tile, step, taps, table, x, y, flat, slot, g, gx, gy, images, weights):
    """The gradient of a convolution's input."""
    size = flat.itemsize
    for c in range(x.channels if step.clear else 0):
        for h in range(x.height):
            clear(g, gx + c * x.plane + h * x.pitch, x.width * images)
    for row in range(x.height):
        read, write = address(g) + gy * size, address(g) + gx * size
        convolve_row(tile, taps, table, row, y, x, images, weights, read, write, np.int64(0), size)
        activation_slopes(x, flat, slot + x.start, g, gx, images, 0, x.channels, row, 1)


@body
def weight_gradient(dot, step, d, table, y, flat, slot, g, gy, images, band, partial, wanted):
    """Add the part of some rows of a convolution's result to the gradients of its weights and bias.

    ``gy``: place of the result's gradient; ``band``: the first row and how many; ``wanted``: whether the
    gradients of weights and of bias are wanted.
    """
    size, (row, rows) = flat.itemsize, band
    if wanted[0]:
        weight_dots(
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
    if wanted[1]:
        row_sums(g, gy, y, row, rows, images, partial, step.weights + d.size)


def make_backward(like):
    """The pass for arrays of the type of ``like``.

    It is a function of three words: the thread, the number of threads, and the address of the PASS.
    """

    def backward(words):
        # Gradients of the convolutions' weights go to the thread's own partial.
        thread, threads, arguments = words[0], words[1], words[2]
        p = emitter.view1d(arguments, 1, A_PASS)[0]
        steps, views, taps, dots, table = records_of(p)
        weights, gw, gb = (
            emitter.view1d(p.weights, p.count, AN_INT),
            emitter.view1d(p.gw, p.count, AN_INT),
            emitter.view1d(p.gb, p.count, AN_INT),
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
            at = gradient_place(view, block, scratch, p.area)
            load_images(source, p.x_strides, block * images, count, images, count, g, at, view)
            activation_slopes(view, flat, slot + view.start, g, at, images, 0, view.channels, 0, view.height)
            banded = False
            for i in range(p.count - 1, p.lowest - 1, -1):
                step, x, y = steps[i], views[2 * i + IN], views[2 * i + OUT]
                to = gradient_place(x, block, scratch, p.area)
                at = gradient_place(y, block, scratch, p.area)
                if step.kind == CONV:
                    if not step.dense and not banded:
                        weight_gradient(
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
                            (0, y.height),
                            partial,
                            (gw[i], gb[i]),
                        )
                    if i > p.lowest or p.y:
                        conv_backward(
                            p.tile,
                            step,
                            taps[2 * i + BACKWARD],
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
                        pool_backward(step, x, y, flat, slot, g, band, at, images, row, last)
                        weight_gradient(
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
                            (top, rows),
                            partial,
                            (gw[i - 1], gb[i - 1]),
                        )
                elif i > p.lowest or p.y:
                    pool_backward(step, x, y, flat, slot, g, to, at, images, 0, y.height)
            if p.y:
                view = views[0]
                store_images(
                    g,
                    gradient_place(view, block, scratch, p.area),
                    view,
                    images,
                    emitter.view1d(p.y, p.y_span, like),
                    p.y_strides,
                    block * images,
                    count,
                )

    return backward


def make_sums(like):
    """The sums over all blocks and threads, as a function of the same words as a backward pass."""

    def sums(words):
        # A thread's range of the weights: of dense layers from all blocks, of others from the partials.
        thread, threads, arguments = words[0], words[1], words[2]
        p = emitter.view1d(arguments, 1, A_PASS)[0]
        steps, views, _, dots, table = records_of(p)
        gw, gb = emitter.view1d(p.gw, p.count, AN_INT), emitter.view1d(p.gb, p.count, AN_INT)
        g, partials = (
            emitter.view1d(p.work, p.work_size, like),
            emitter.view1d(p.partials, p.parts * p.partial, like),
        )
        size = like.itemsize
        for i in range(p.count):
            step, y, d = steps[i], views[2 * i + OUT], dots[i]
            if step.dense:
                first, end = split_range(thread, threads, y.channels)
                at = y.gradient + first * y.plane
                if gw[i] and end > first:
                    for v in range(d.columns):
                        clear(emitter.view1d(gw[i], d.size, like), v * d.c_col + first, end - first)
                    weight_dots(
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
