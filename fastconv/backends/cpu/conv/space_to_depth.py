"""Kernels of stride 2 as kernels of half the size and stride 1: the pixels of 2 x 2 blocks become channels.

In one dimension, with 7 taps and an odd padding p (the zero before the taps is for odd paddings only)::

    taps            0 w0 | w1 w2 | w3 w4 | w5 w6        pixels     a b | a b | a b | a b | ...
    taps in pairs    q0     q1      q2      q3          in pairs    0     1     2     3

    y[o] = sum over t of x[2 o + t - p] w[t]
         = sum over q and the parities i = 0, 1 of x[2 (o + q - (p + 1) / 2) + i] w[2 q + i - 1]

So ``N x C x H x W`` becomes ``N x 4C x ceil(H/2) x ceil(W/2)``, and a 7x7 kernel becomes a 4x4 one, which
Winograd's method can take. It serves the first layer of networks for large images, whose 3 channels would
also fill tiles badly.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from fastconv.spec import ConvSpec

from ..codegen.jit import kernel, split_range
from ..runtime import layout, memory
from .weights import Prepacked, memoize_packed, to_hwio


@lru_cache(maxsize=1024)
def stride_one_spec(spec: ConvSpec) -> ConvSpec:
    """The convolution of stride 1 that a two-dimensional one of stride 2 becomes.

    Parameters
    ----------
    spec : ConvSpec

    Returns
    -------
    ConvSpec
        Its padding behind may be negative: there are pixels that it does not read.
    """
    size = tuple(-(-i // 2) for i in spec.in_size)
    before = [-(-b // 2) for b, _ in spec.padding]
    kernel = tuple((k + b % 2 + 1) // 2 for k, (b, _) in zip(spec.kernel, spec.padding))
    after = [o + k - 1 - i - b for o, k, i, b in zip(spec.out_size, kernel, size, before)]
    return replace(
        spec,
        c_in=4 * spec.c_in,
        in_size=size,
        kernel=kernel,
        stride=(1, 1),
        padding=tuple(zip(before, after)),
    )


@kernel
def _exchange(thread, threads, x, blocks, to_space):
    # x: N, 1, H, W, C; blocks: N, 1, ceil(H/2), ceil(W/2), (2, 2, C). to_space: from blocks to x.
    images, _, height, width, channels = x.shape
    _, _, rows, columns, deep = blocks.shape
    pixels, pairs = x.reshape(-1), blocks.reshape(-1)
    pair = 2 * channels
    first, end = split_range(thread, threads, images * rows * 2)
    for job in range(first, end):
        n, row = job // (2 * rows), job % (2 * rows)
        start = (n * height + row) * width * channels
        target = (n * rows + row // 2) * columns * deep + row % 2 * pair
        for j in range(columns):
            inside = 0 if row >= height else min(pair, (width - 2 * j) * channels)
            at, to = start + j * pair, target + j * deep
            if to_space:
                for c in range(inside):
                    pixels[at + c] = pairs[to + c]
            else:
                for c in range(inside):
                    pairs[to + c] = pixels[at + c]
                for c in range(inside, pair):
                    pairs[to + c] = 0


def space_to_depth(x: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """``x`` with the pixels of 2 x 2 blocks as channels; ``spec`` is from :func:`stride_one_spec`."""
    blocks, blocks5 = layout.empty(spec.x_shape, x.dtype)
    _exchange(layout.to_ndhwc(x), blocks5, False)
    return blocks


def depth_to_space(blocks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of :func:`space_to_depth`, for an ``x`` of ``shape``."""
    x, x5 = layout.empty(shape, blocks.dtype)
    _exchange(x5, layout.to_ndhwc(blocks), True)
    return x


def _zeros_before(spec) -> tuple[int, int]:
    """Zeros before the taps in each dimension."""
    return tuple(b % 2 for b, _ in spec.padding)


def weights_to_depth(w: np.ndarray | Prepacked, spec: ConvSpec) -> np.ndarray | Prepacked:
    """The weights of the convolution of stride 1, from those of ``spec``."""
    kernel = stride_one_spec(spec).kernel
    return _weights_to_depth(w, spec.kernel, kernel, _zeros_before(spec), spec.c_in, spec.c_out)


@memoize_packed
def _weights_to_depth(w, kernel_size, pairs, before, c, k):
    (kh, kw), (qh, qw), (top, left) = kernel_size, pairs, before
    padded = np.zeros((2 * qh, 2 * qw, c, k), w.dtype)
    padded[top : top + kh, left : left + kw] = to_hwio(w).reshape(kh, kw, c, k)
    hwio = memory.empty((qh, qw, 4 * c, k), w.dtype)
    blocks = padded.reshape(qh, 2, qw, 2, c, k).transpose(0, 2, 1, 3, 4, 5)
    hwio.reshape(qh, qw, 2, 2, c, k)[...] = blocks
    result = hwio.transpose(3, 2, 0, 1)
    return Prepacked(result) if isinstance(w, Prepacked) else result


def weights_to_space(gw: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """The gradient of the weights of ``spec``, from that of the convolution of stride 1."""
    (kh, kw), (qh, qw), (top, left) = spec.kernel, stride_one_spec(spec).kernel, _zeros_before(spec)
    c, k = spec.c_in, spec.c_out
    blocks = gw.transpose(2, 3, 1, 0).reshape(qh, qw, 2, 2, c, k)
    padded = blocks.transpose(0, 2, 1, 3, 4, 5).reshape(2 * qh, 2 * qw, c, k)
    hwio = memory.empty((kh, kw, c, k), gw.dtype)
    hwio[...] = padded[top : top + kh, left : left + kw]
    return hwio.transpose(3, 2, 0, 1)
