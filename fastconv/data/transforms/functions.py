"""Transforms of whole batches as functions: each returns a callable ``(batch, rng) -> batch``.

A batch is a float32 array N x C x H x W; no transform writes to it. All random numbers come from ``rng``, so
the loader can make the same batch again.
"""

# NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

import numpy as np

from fastconv.checks import check, check_rank, int_tuple
from fastconv.typing import Array, Floats, Ints

from .resample import resample

BatchFunction: TypeAlias = Callable[[Array, np.random.Generator], Array]


def compose(*transforms: BatchFunction) -> BatchFunction:
    """Apply transforms from left to right."""
    return lambda batch, rng: reduce(lambda b, t: t(b, rng), transforms, batch)


def normalize(mean: Floats, std: Floats) -> BatchFunction:
    """``(x - mean) / std``.

    Parameters
    ----------
    mean, std : float or sequence of float
        One number, or one per channel; ``std`` must be positive.

    Raises
    ------
    ValueError
        ``std`` is not positive, or, when called, the numbers do not fit the channels.
    """
    shift, scale = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (mean, std))
    check(bool((scale > 0).all()), "normalize", f"std must be positive, got {scale.ravel().tolist()}")

    def apply(batch: Array, rng: np.random.Generator | None = None) -> Array:
        check_rank("normalize", "batch", batch.shape, 4, "N x C x H x W")
        fits = all(len(v) in (1, batch.shape[1]) for v in (shift, scale))
        check(
            fits,
            "normalize",
            f"mean ({len(shift)}) and std ({len(scale)}) must be one number each or one for each of "
            f"the batch's {batch.shape[1]} channels",
        )
        return (batch - shift) / scale

    return apply


def pad_crop(padding: int) -> BatchFunction:
    """Pad each side with ``padding`` zeros, then crop to the old size at a random place in each image."""
    (p,) = int_tuple("pad_crop", "padding", padding, 1, 0)

    def apply(batch: Array, rng: np.random.Generator) -> Array:
        check_rank("pad_crop", "batch", batch.shape, 4, "N x C x H x W")
        padded = np.pad(batch, ((0, 0), (0, 0), (p, p), (p, p)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, batch.shape[2:], axis=(2, 3))
        top, left = rng.integers(0, 2 * p + 1, size=(2, len(batch)))
        return windows[np.arange(len(batch)), :, top, left]

    return apply


def horizontal_flip(p: float = 0.5) -> BatchFunction:
    """Mirror each image left to right with probability ``p``."""
    check(0 <= p <= 1, "horizontal_flip", f"p must be between 0 and 1, got {p}")

    def apply(batch: Array, rng: np.random.Generator) -> Array:
        return np.where(rng.random((len(batch), 1, 1, 1)) < p, batch[..., ::-1], batch)

    return apply


def resize(size: Ints) -> BatchFunction:
    """Resize to ``size``, an int or ``(H, W)``, as ``F.interpolate`` with ``mode="bilinear"`` does."""
    h, w = int_tuple("resize", "size", size, 2, 1)

    def apply(batch: Array, rng: np.random.Generator | None = None) -> Array:
        check_rank("resize", "batch", batch.shape, 4, "N x C x H x W")
        return resample(batch, (h, w), "bilinear", False)

    return apply


def cutout(size: int) -> BatchFunction:
    """Set a square of ``size`` x ``size`` around a random pixel to 0 (DeVries and Taylor, 2017).

    The part of the square outside the image is cut off.
    """
    (side,) = int_tuple("cutout", "size", size, 1, 1)

    def apply(batch: Array, rng: np.random.Generator) -> Array:
        check_rank("cutout", "batch", batch.shape, 4, "N x C x H x W")
        rows, cols = (_inside(n, rng.integers(0, n, size=len(batch)), side) for n in batch.shape[2:])
        return np.where((rows[:, :, None] & cols[:, None, :])[:, None], np.float32(0), batch)

    return apply


def _inside(n: int, centre: Array, size: int) -> Array:
    """Which of ``n`` positions are among the ``size`` ones around each centre: a bool array images x n."""
    offset = np.arange(n) - (centre - size // 2)[:, None]
    return (offset >= 0) & (offset < size)
