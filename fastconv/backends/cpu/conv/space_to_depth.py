"""Kernels of stride 2 as kernels of half the size and stride 1: the pixels of 2 x 2 blocks become channels.

In one dimension, 7 taps and an odd padding p (the zero before the taps is for odd paddings only)::

    taps         0 w0 | w1 w2 | w3 w4 | w5 w6        pixels       a b | a b | a b | a b | ...
    folded taps   q0     q1      q2      q3          folded        0     1     2     3

    y[o] = sum over t of x[2 o + t - p] w[t]
         = sum over q and the parities i = 0, 1 of x[2 (o + q - (p + 1) / 2) + i] w[2 q + i - 1]

so ``N x C x H x W`` becomes ``N x 4C x ceil(H/2) x ceil(W/2)``, and a 7x7 kernel a 4x4 one, which Winograd's
method can take. It serves the first layer of networks for large images, whose 3 channels would also fill
tiles badly.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..codegen.jit import kernel, prange, split_range
from ..runtime import layout, memory
from .passes import Prepacked, arranged, keep


@lru_cache(maxsize=1024)
def folded(spec):
    """The :class:`ConvSpec` of stride 1 of a 2-D one of stride 2. Its padding behind may be negative: pixels
    not looked at."""
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
def _fold(threads, x, blocks, back):
    # x: N, 1, H, W, C; blocks: N, 1, ceil(H/2), ceil(W/2), (2, 2, C). back: from blocks to x.
    images, _, height, width, channels = x.shape
    _, _, rows, columns, deep = blocks.shape
    pixels, folded_pixels = x.reshape(-1), blocks.reshape(-1)
    pair = 2 * channels
    for thread in prange(threads):
        first, end = split_range(thread, threads, images * rows * 2)
        for job in range(first, end):
            n, row = job // (2 * rows), job % (2 * rows)
            start, target = (
                (n * height + row) * width * channels,
                (n * rows + row // 2) * columns * deep + row % 2 * pair,
            )
            for j in range(columns):
                inside = 0 if row >= height else min(pair, (width - 2 * j) * channels)
                at, to = start + j * pair, target + j * deep
                if back:
                    for c in range(inside):
                        pixels[at + c] = folded_pixels[to + c]
                else:
                    for c in range(inside):
                        folded_pixels[to + c] = pixels[at + c]
                    for c in range(inside, pair):
                        folded_pixels[to + c] = 0


def fold(x: np.ndarray, spec) -> np.ndarray:
    """``x`` with the pixels of 2 x 2 blocks as channels; ``spec`` is what :func:`folded` returned."""
    blocks, blocks5 = layout.empty(spec.x_shape, x.dtype)
    _fold(layout.to_ndhwc(x), blocks5, False)
    return blocks


def unfold(blocks: np.ndarray, shape) -> np.ndarray:
    """The inverse of :func:`fold`, for an ``x`` of ``shape``."""
    x, x5 = layout.empty(shape, blocks.dtype)
    _fold(x5, layout.to_ndhwc(blocks), True)
    return x


def _lead(spec) -> tuple[int, int]:
    """Zeros before the taps in each dimension."""
    return tuple(b % 2 for b, _ in spec.padding)


def fold_weights(w: np.ndarray | Prepacked, spec) -> np.ndarray | Prepacked:
    """The weights of the folded convolution, from those of ``spec``."""
    return _fold_weights(w, spec.kernel, folded(spec).kernel, _lead(spec), spec.c_in, spec.c_out)


@keep
def _fold_weights(w, kernel_size, folded_size, lead, c, k):
    (kh, kw), (qh, qw), (top, left) = kernel_size, folded_size, lead
    padded = np.zeros((2 * qh, 2 * qw, c, k), w.dtype)
    padded[top : top + kh, left : left + kw] = arranged(w).reshape(kh, kw, c, k)
    inside_out = memory.empty((qh, qw, 4 * c, k), w.dtype)
    inside_out.reshape(qh, qw, 2, 2, c, k)[...] = padded.reshape(qh, 2, qw, 2, c, k).transpose(
        0, 2, 1, 3, 4, 5
    )
    result = inside_out.transpose(3, 2, 0, 1)
    return Prepacked(result) if isinstance(w, Prepacked) else result


def unfold_weights(gw: np.ndarray, spec) -> np.ndarray:
    """The gradient of the weights of ``spec``, from that of the folded ones."""
    (kh, kw), (qh, qw), (top, left) = spec.kernel, folded(spec).kernel, _lead(spec)
    c, k = spec.c_in, spec.c_out
    blocks = gw.transpose(2, 3, 1, 0).reshape(qh, qw, 2, 2, c, k)
    padded = blocks.transpose(0, 2, 1, 3, 4, 5).reshape(2 * qh, 2 * qw, c, k)
    inside_out = memory.empty((kh, kw, c, k), gw.dtype)
    inside_out[...] = padded[top : top + kh, left : left + kw]
    return inside_out.transpose(3, 2, 0, 1)
