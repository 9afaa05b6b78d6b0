"""Chains of small layers, block of images by block of images: activations never leave the cache.

Where channels are few, the kernels of single layers have too little to do per pixel, and every layer sends
the whole batch through memory. Here the images are the vector, and one thread takes a block of them through
all layers::

    forward    threads: equal shares of the blocks
                 images in, transposed                  x: N, C, H, W  ->  [C][H][W][images]
                 for each layer                         saved: a memory per block (training) or per thread
                   convolution, dense:  for each output row, each pixel:
                     tile:  <= 14 output channels x the images, sum over taps and input channels
                     activation of the row, while it is in L1
                   pooling:  for each channel, each row
                 result out, transposed

    backward   threads: equal shares of the blocks
                 gradient of the result in
                 for each layer, last to first
                   convolution:  weight gradient, dot: 4 output channels x 5 columns of the kernel,
                                   sum over pixels and images
                                 gradient of its input: the same tiles, input and output channels swapped
                   slope of the activation, row by row
                 the first two layers, if they are a convolution and pooling: together, a band of rows at a
                 time, in L1
               -- all threads meet --
               threads: equal shares of the dense layers' weights: dot, sum over all images
                        equal shares of the convolutions' weights: sum of the threads' partial gradients, in
                        thread order

A pixel is one place in memory for all images of a block. So its taps are exact, without masks and products
with padding. The input of a convolution is stored with its padding as zeros all the same, because columns of
the kernel that share a dot reach over the edge at different pixels. A dense layer is a 1 x 1 convolution of a
1 x 1 image. An activation belongs to the array it is applied to.

The parts of a pass are C functions (``forward.py``, ``backward.py``). They are called by their address, so
they are compiled once; inside a parallel kernel LLVM would go over all of it three times.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from fastconv.backends import settings

from ..codegen import dot_tile, emitter, gemm_tile
from ..codegen.emitter import address
from ..codegen.jit import by_address, c_function, kernel
from ..runtime import layout, memory
from .backward import make_backward, make_sums
from .forward import make_forward
from .records import PASS

#: By their number: the axes of a weight or bias as the kernels read and write it (of gradients: back again).
AXES, BACK = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}, {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}

_MAKERS = {"forward": make_forward, "backward": make_backward, "sums": make_sums}


@cache
def _function(name: str, dtype) -> int:
    """Address of one thread's part of a pass."""
    part = _MAKERS[name](np.empty(0, dtype))
    return c_function(part, f"fused_chain.{name}.{dtype}")


@kernel
def _launch(thread, threads, function, arguments):
    emitter.call(function, (thread, threads, address(arguments)))


def _strided(a: np.ndarray, array) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """``a``, the elements it spans, and its strides in elements for N, C, H and W.

    ``a`` is N x C x H x W, or flattened from C on; ``array`` says how.
    """
    if any(s % a.itemsize or s < 0 for s in a.strides) or not a.flags.aligned:
        a = layout.dense(a)
    strides = tuple(s // a.itemsize for s in a.strides)
    span = 1 + sum((n - 1) * s for n, s in zip(a.shape, strides))
    if a.ndim == 2:
        h, w = array.size
        strides = (strides[0], strides[1] * h * w, strides[1] * w, strides[1])
    return a, span, strides


def _addresses(plan, arrays) -> tuple[list, np.ndarray]:
    """``arrays``, one or None for each layer with weights, in the kernels' order of axes; and their
    addresses.

    The table of addresses has an entry for every layer, 0 where there is no array.
    """
    arrays = [a if a is None else layout.dense(a.transpose(AXES[a.ndim])) for a in arrays]
    table = np.zeros(len(plan.weights), np.int64)
    table[plan.heavy] = [0 if a is None else a.__array_interface__["data"][0] for a in arrays]
    return arrays, table


@lru_cache(256)
def _pass(plan, keep) -> np.ndarray:
    """The PASS without the arrays that change from call to call."""
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
    """Launch the parts ``names``; ``x`` and ``y``: an array, or None, and the :class:`~.plan.Array` it is in
    a block."""
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
    return y, saved if keep else None  # else it is scratch, in part never written


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
