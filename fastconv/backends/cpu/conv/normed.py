"""A 1x1 layer whose input is normalised first, as in DenseNet: BatchNorm, ReLU, convolution.

::

    threads: equal shares of the pixels of all images
      for each 28 pixels
        block <- max(0, (x - mean) * scale + shift)         (in L1 or L2)
        1x1 layer: block -> y (+ residual, activation)

The normalised input is not written to memory. (Huang et al.: Densely connected convolutional networks, 2017)
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen.emitter import address, lanes, view1d
from ..codegen.jit import body, by_address, kernel, split_range
from ..runtime import layout
from ..runtime.scratch import per_thread
from .activation import activation_argument
from .passes import L2, residual_offset
from .pointwise import Layer, layer_arguments, pointwise

PIXELS = 28  # of a block


@body
def _normalise(row, mean, scale, shift, least, out):
    for c in range(row.size):
        v = (row[c] - mean[c]) * scale[c] + shift[c]
        out[c] = least if v <= least else v  # NaN passes


@kernel
def _normed(thread, threads, x, norm, relu, layer, columns, y, residual, activation, blocks):
    x_address, x_pitch = x
    mean, scale, shift = norm
    pixels, y_pitch = y.shape
    channels, size = mean.size, y.itemsize
    pitch = blocks.shape[1] // PIXELS
    least = y.dtype.type(0 if relu else -np.inf)
    block = address(blocks[thread])
    first, end = split_range(thread, threads, pixels)
    for at in range(first, end, PIXELS):
        count = min(PIXELS, end - at)
        for p in range(count):
            row = view1d(x_address + (at + p) * x_pitch * size, channels, y)
            _normalise(row, mean, scale, shift, least, view1d(block + p * pitch * size, channels, y))
        into = address(y) + at * y_pitch * size, y_pitch
        pointwise(layer, (block, pitch), count, into, columns, residual, activation)


def normed_conv_pays(spec: ConvSpec, dtype: np.dtype) -> bool:
    """Whether :func:`normed_conv_fwd` is faster than a norm and a layer (see the contract).

    Every thread reads all weights for each block, so they must lie in its cache, and it must have blocks.
    """
    pixels = spec.batch * prod(spec.out_size)
    small = prod(spec.w_shape) * np.dtype(dtype).itemsize <= L2 // 2
    return small and pixels >= PIXELS * settings.get_num_threads()


def normed_conv_fwd(x: np.ndarray, norm: tuple, layer: tuple, residual: np.ndarray | None) -> np.ndarray:
    """The layer of the normalised ``x`` (see the contract)."""
    given, dtype = Layer(*layer), x.dtype
    mean, invstd, weight, bias, activation = norm
    y, y5 = (layout.result if residual is None else layout.empty)(given.spec.y_shape, dtype)
    if not y.size:
        return y
    added, offset = residual_offset(residual, y5)
    x, pitch = layout.pixels(x)
    by_address((x, added))
    scale = invstd if weight is None else invstd * weight
    shift = np.zeros_like(mean) if bias is None else bias
    line = lanes(dtype)
    _normed(
        (x.ctypes.data, pitch),
        tuple([layout.dense(v) for v in (mean, scale, shift)]),
        activation == "relu",
        layer_arguments(given, dtype),
        given.spec.c_out,
        y5.reshape(-1, y5.shape[-1]),
        offset,
        activation_argument(given.activation, dtype),
        *per_thread((PIXELS * -(-given.spec.c_in // line) * line, dtype)),
    )
    return y
