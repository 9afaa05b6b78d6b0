"""Augmentation of whole batches: each transform is a callable ``(batch, rng) -> batch``.

A batch is a float32 array N x C x H x W and is never written to; all chance comes from ``rng``, so the loader
can replay it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

import numpy as np

from ..checks import check, check_rank, int_tuple
from ..spec import interpolate_spec
from ..typing import Array, Floats, Ints

Transform: TypeAlias = Callable[[Array, np.random.Generator], Array]


def compose(*transforms: Transform) -> Transform:
    """Apply transforms from left to right."""
    return lambda batch, rng: reduce(lambda b, t: t(b, rng), transforms, batch)


def normalize(mean: Floats, std: Floats) -> Transform:
    """``(x - mean) / std`` with one number, or one per channel."""
    mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (mean, std))
    check((std > 0).all(), "normalize", f"std must be positive, got {std.ravel().tolist()}")

    def apply(batch, rng=None):
        check_rank("normalize", "batch", batch.shape, 4, "N x C x H x W")
        fits = all(len(v) in (1, batch.shape[1]) for v in (mean, std))
        check(
            fits,
            "normalize",
            f"mean ({len(mean)}) and std ({len(std)}) must be one number each or one for each of "
            f"the batch's {batch.shape[1]} channels",
        )
        return (batch - mean) / std

    return apply


def pad_crop(padding: int) -> Transform:
    """Pad each side with ``padding`` zeros and cut the old size out at a random place, image by image."""
    (p,) = int_tuple("pad_crop", "padding", padding, 1, 0)

    def apply(batch, rng):
        check_rank("pad_crop", "batch", batch.shape, 4, "N x C x H x W")
        padded = np.pad(batch, ((0, 0), (0, 0), (p, p), (p, p)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, batch.shape[2:], axis=(2, 3))
        top, left = rng.integers(0, 2 * p + 1, size=(2, len(batch)))
        return windows[np.arange(len(batch)), :, top, left]

    return apply


def horizontal_flip(p: float = 0.5) -> Transform:
    """Mirror each image left to right with probability ``p``."""
    check(0 <= p <= 1, "horizontal_flip", f"p must be between 0 and 1, got {p}")

    def apply(batch, rng):
        return np.where(rng.random((len(batch), 1, 1, 1)) < p, batch[..., ::-1], batch)

    return apply


def resize(size: Ints) -> Transform:
    """Bilinear resize to ``size``, an int or ``(H, W)``; corners not aligned, as ``F.interpolate``."""

    def apply(batch, rng=None):
        spec = interpolate_spec(batch.shape, size, None, "bilinear", False)
        for axis in (2, 3):
            low, high, fraction = spec.taps(axis - 2, np.float32)
            f = fraction.reshape((-1, 1) if axis == 2 else -1)
            batch = np.take(batch, low, axis) * (1 - f) + np.take(batch, high, axis) * f
        return batch

    return apply


def cutout(size: int) -> Transform:
    """Zero a ``size`` x ``size`` square round a random pixel, clipped at the border (DeVries and Taylor,
    2017)."""
    (size,) = int_tuple("cutout", "size", size, 1, 1)

    def apply(batch, rng):
        check_rank("cutout", "batch", batch.shape, 4, "N x C x H x W")
        rows, cols = (_inside(n, rng.integers(0, n, size=len(batch)), size) for n in batch.shape[2:])
        return np.where((rows[:, :, None] & cols[:, None, :])[:, None], np.float32(0), batch)

    return apply


def _inside(n: int, centre: np.ndarray, size: int) -> np.ndarray:
    offset = np.arange(n) - (centre - size // 2)[:, None]
    return (offset >= 0) & (offset < size)
