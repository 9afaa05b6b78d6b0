"""A 1x1 layer whose input is multiplied by a gate for each image and channel: squeeze and excitation.

::

    threads: equal shares of the pixels of all images
      for each 28 pixels of one image
        block <- the pixels times the image's gates         (in L1 or L2)
        1x1 layer: block -> y (+ residual, activation)

The product is not written to memory. (Hu et al.: Squeeze-and-excitation networks, 2018)
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.spec import ConvSpec

from ..codegen import emitter
from ..codegen.emitter import address, lanes
from ..codegen.jit import by_address, kernel, split_range
from ..runtime import layout
from ..runtime.scratch import per_thread
from .activation import activation_argument
from .passes import L2, residual_offset
from .pointwise import Layer, layer_arguments, pointwise

PIXELS = 28  # of a block


@kernel
def _gated(thread, threads, lanes, x, gates, layer, y, residual, activation, blocks):
    x_address, x_pitch = x
    images, channels = gates.shape
    pixels, out_channels = y.shape
    of_image, size = pixels // images, y.itemsize
    pitch = (channels + lanes - 1) // lanes * lanes
    block, rest = address(blocks[thread]), channels % lanes
    at, end = split_range(thread, threads, pixels)
    while at < end:
        image = at // of_image
        count = min(PIXELS, (image + 1) * of_image - at, end - at)
        gate = address(gates) + image * channels * size
        for p in range(count):
            source, target = x_address + (at + p) * x_pitch * size, block + p * pitch * size
            for c in range(0, (channels - rest) * size, lanes * size):
                product = emitter.multiply(emitter.load(source + c, gates), emitter.load(gate + c, gates))
                emitter.store(product, target + c)
            if rest:
                c = (channels - rest) * size
                product = emitter.multiply(
                    emitter.load_part(source + c, rest, gates), emitter.load_part(gate + c, rest, gates)
                )
                emitter.store_part(product, target + c, rest)
        into = address(y) + at * out_channels * size, out_channels
        pointwise(layer, (block, pitch), count, into, out_channels, residual, activation)
        at += count


def gated_conv_pays(spec: ConvSpec, dtype: np.dtype) -> bool:
    """Whether :func:`gated_conv_fwd` is faster than a product and a layer (see the contract).

    Every thread reads all weights for each block, so they must lie in its cache.
    """
    return prod(spec.w_shape) * np.dtype(dtype).itemsize <= L2 // 2


def gated_conv_fwd(x: np.ndarray, gate: np.ndarray, layer: tuple, residual: np.ndarray | None) -> np.ndarray:
    """The layer of ``x * gate`` (see the contract)."""
    given, dtype = Layer(*layer), x.dtype
    y, y5 = layout.empty(given.spec.y_shape, dtype)
    if not y.size:
        return y
    added, offset = residual_offset(residual, y5)
    x, pitch = layout.pixels(x)
    by_address((x, added))
    channels = -(-given.spec.c_in // lanes(dtype)) * lanes(dtype)
    _gated(
        lanes(dtype),
        (x.ctypes.data, pitch),
        layout.dense(gate.reshape(gate.shape[:2])),
        layer_arguments(given, dtype),
        layout.rows(y),
        offset,
        activation_argument(given.activation, dtype),
        *per_thread((PIXELS * channels, dtype)),
    )
    return y
