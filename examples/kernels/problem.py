"""The convolution that every step computes, and the float64 answer that every step is compared with.

3x3, padding 1, 64 -> 64 channels, 56x56 pixels: the most frequent layer of ResNet-18. The channels are
constants, so that the compiler knows how long the inner loops are. The number of images is free, and so is
their size, a multiple of 4.
"""

import numpy as np

C = K = 64  # input and output channels
FASTMATH = {
    "contract",
    "reassoc",
    "nsz",
}  # a*b+c in one instruction, sums in any order; NaN and infinity stay


def make(images: int = 16, size: int = 56, channels: int = C, seed: int = 0):
    """x ``(N, C, H, W)``, w ``(K, C, 3, 3)``, bias ``(K,)`` and residual ``(N, K, H, W)``, float32."""
    rng = np.random.default_rng(seed)
    x, residual = rng.standard_normal((2, images, channels, size, size), np.float32)
    w = rng.standard_normal((channels, channels, 3, 3), np.float32) / np.float32(np.sqrt(9 * channels))
    return x, w, rng.standard_normal(channels, np.float32), residual


def oracle(x, w):
    """``y[n, k, i, j] = sum over c, p, q of x[n, c, i + p - 1, j + q - 1] * w[k, c, p, q]``, in float64."""
    height, width = x.shape[2:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    taps = [(p, q) for p in range(3) for q in range(3)]
    return sum(
        np.einsum("nchw,kc->nkhw", padded[:, :, p : p + height, q : q + width], w[:, :, p, q], optimize=True)
        for p, q in taps
    )


def channels_last(x, w):
    """x as ``(N, H + 2, W + 2, C)`` with a border of zeros, w as ``(3, 3, C, K)``, an empty result."""
    x = np.pad(x.transpose(0, 2, 3, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    w = np.ascontiguousarray(w.transpose(2, 3, 1, 0))
    return x, w, np.empty((len(x), x.shape[1] - 2, x.shape[2] - 2, w.shape[3]), np.float32)
