"""The forward pass of one thread: its blocks, each through all layers.

biases, one number per image          spread once, the tile starts its sums with them
for each block:  images in
  for each layer:  each row of the result, then its activation while the row is in L1
  result out
"""

from __future__ import annotations

from ..codegen import emitter
from ..codegen.emitter import address
from ..codegen.jit import body, split_range
from .block import activate, clear, load_images, store_images
from .products import convolve_row
from .records import A_PASS, AN_INT, CONV, FORWARD, IN, OUT, records_of
from .windows import pool_row


@body
def step_forward(tile, step, taps, table, x, y, flat, slot, images, weights, bias):
    """One layer of a block, whose memory begins at element ``slot`` of ``flat``."""
    size = flat.itemsize
    if y.padded:
        clear(flat, slot + y.base, y.size)
    if step.kind == CONV:
        source, target = address(flat) + (slot + x.start) * size, address(flat) + (slot + y.start) * size
        for row in range(y.height):
            convolve_row(tile, taps, table, row, x, y, images, weights, source, target, bias, size)
            for c in range(0 if taps.relu else y.channels):
                activate(y.activation, flat, slot + y.start + c * y.plane + row * y.pitch, y.width * images)
        return
    for c in range(y.channels):
        for row in range(y.height):
            at = slot + x.start + c * x.plane + row * step.stride_h * x.pitch
            to = slot + y.start + c * y.plane + row * y.pitch
            pool_row(
                step, x.pitch, y.width, address(flat) + at * size, address(flat) + to * size, images, flat
            )
            activate(y.activation, flat, to, y.width * images)


def make_forward(like):
    """The pass for arrays of the type of ``like``.

    It is a function of three words: the thread, the number of threads, and the address of the PASS.
    """

    def forward(words):
        thread, threads, arguments = words[0], words[1], words[2]
        p = emitter.view1d(arguments, 1, A_PASS)[0]
        steps, views, taps, _, table = records_of(p)
        weights, biases = (
            emitter.view1d(p.weights, p.count, AN_INT),
            emitter.view1d(p.biases, p.count, AN_INT),
        )
        flat, source, result = (
            emitter.view1d(p.saved, p.saved_size, like),
            emitter.view1d(p.x, p.x_span, like),
            emitter.view1d(p.y, p.y_span, like),
        )
        images, spread = p.images, p.spread + thread * p.spread_size * like.itemsize
        bias = emitter.view1d(spread, p.spread_size, like)
        for i in range(p.count):
            rows = views[2 * i + OUT].channels if steps[i].kind == CONV else 0
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
                clear(flat, slot + view.base, view.size)
            start = slot + view.start
            load_images(source, p.x_strides, block * images, count, images, images, flat, start, view)
            for i in range(p.count):
                step_forward(
                    p.tile,
                    steps[i],
                    taps[2 * i + FORWARD],
                    table,
                    views[2 * i + IN],
                    views[2 * i + OUT],
                    flat,
                    slot,
                    images,
                    weights[i],
                    spread + steps[i].bias * like.itemsize,
                )
            view = views[2 * p.count - 1]
            store_images(flat, slot + view.start, view, images, result, p.y_strides, block * images, count)

    return forward
