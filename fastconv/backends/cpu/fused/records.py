"""The records of a fused chain: what its kernels read in place of compiled-in numbers.

Everything is counted in elements of a block's memory, in which the images (one or two vectors) are
innermost::

    activation  [channel][row][column][image]    pitch: from row to row, plane: from channel to channel

A layer has two views (its input and its result) and two records of taps (forward and backward).
"""

from __future__ import annotations

import numpy as np

from ..codegen import emitter
from ..codegen.jit import body

CONV, AVERAGE, MAXIMUM = range(3)
NONE, RELU, SIGMOID, TANH = range(4)
KINDS = {"conv": CONV, "linear": CONV, "avg_pool": AVERAGE, "max_pool": MAXIMUM}
ACTIVATIONS = {"relu": RELU, "sigmoid": SIGMOID, "tanh": TANH}

IN, OUT = range(2)  # the views of a layer
FORWARD, BACKWARD = range(2)  # its taps
# An entry of the tables of rows and columns: how many taps meet the input, the first of them, and the
# position it meets.
COUNT, TAP, POSITION = range(3)
ENTRY = 3  # numbers of an entry
INT_BYTES = 8  # of a number in a table


def _record(*names: str, **others) -> np.dtype:
    return np.dtype([*((n, np.int64) for n in names), *others.items()])


#: An activation as the layer before it, or the layer after it, sees it. ``base`` and ``size`` include its
#: padding, which the convolution after it wants. ``gradient`` is the place of its gradient in a thread's
#: scratch, or, if ``kept`` (for the weights of a dense layer), in the block's part of the work area.
VIEW = _record(
    *("start", "base", "size", "padded"),
    *("channels", "height", "width", "plane", "pitch"),
    *("activation", "gradient", "kept"),
)
#: ``overlap``: windows share pixels; ``clear``: the gradient of the input has to be zero beforehand;
#: ``band``: rows of a pooling layer whose gradient goes on to the first convolution at once; ``weights``,
#: ``bias``: places in a thread's partial gradients (a convolution's) and in its spread biases.
STEP = _record(
    *("kind", "kernel_h", "kernel_w", "stride_h", "stride_w"),
    *("overlap", "clear", "band", "dense", "weights", "bias"),
    scale=np.float64,
)
#: Taps of a pass of a convolution, whose weights lie as kernel rows, kernel columns, input channels, output
#: channels. ``rows`` and ``columns``: places in the table of an entry for each row and column of the result;
#: ``ta`` and ``tb``: of the tile's tables, with ``per_row`` entries for a kernel row. The tile's inner loop
#: runs along the kernel row, or over ``deep`` channels where that row is one tap.
TAPS = _record(
    *("rows", "columns", "ta", "tb", "per_row", "deep"),
    *("kernel_w", "a_tap", "a_row", "a_step", "b_step", "relu"),
)
#: A weight gradient: for each of ``outer`` pairs (place in the input, place in the gradient) a matrix of
#: dots; ``per_row`` entries of the tables belong to an output row; ``size`` weights in all.
DOTS = _record(
    *("pairs", "outer", "ta", "tb", "taps", "per_row", "depth"),
    *("columns", "b_step", "b_col", "c_col", "size"),
)
#: What a pass works on: the plan's numbers, and addresses of its records and of the arrays. ``x`` goes in and
#: ``y`` (0: nothing) comes out, images or gradients; ``weights``, ``biases`` and their gradients ``gw``,
#: ``gb`` (0: not wanted) are tables of addresses, one entry per layer.
PASS = _record(
    *("tile", "dot", "images", "batch", "blocks", "count", "lowest"),
    *("steps", "views", "taps", "dots", "table", "table_size"),
    *("weights", "biases", "gw", "gb", "x", "x_span", "y", "y_span"),
    *("saved", "saved_size", "slot", "keep", "spread", "spread_size"),
    *("work", "work_size", "area", "scratch", "partials", "parts", "partial"),
    x_strides=(np.int64, 4),
    y_strides=(np.int64, 4),
)

# Empty arrays that give ``emitter.view1d`` the type of what is at an address.
A_PASS, _STEP, _VIEW, _TAPS, _DOTS = (np.empty(0, t) for t in (PASS, STEP, VIEW, TAPS, DOTS))
AN_INT = np.empty(0, np.int64)


@body(inline=True)
def records_of(p):
    """Steps, views, taps, dots and table of a PASS."""
    return (
        emitter.view1d(p.steps, p.count, _STEP),
        emitter.view1d(p.views, 2 * p.count, _VIEW),
        emitter.view1d(p.taps, 2 * p.count, _TAPS),
        emitter.view1d(p.dots, p.count, _DOTS),
        emitter.view1d(p.table, p.table_size, AN_INT),
    )
