"""Resizing of images: interpolation as a product with one matrix per dimension.

With ``antialias`` a row of the matrix has weights for all input pixels that an output pixel covers, as in
Pillow. Without it a row has weights for the 2 or 4 nearest input pixels, as in ``F.interpolate``.
"""

# NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.checks import check
from fastconv.typing import Array

from .images import as_float, rounded

BLOCK = 32  # output rows per matrix product, which reads only the input rows that they need


class InterpolationMode(Enum):
    """How values between pixels are computed; its string, such as ``"bilinear"``, is accepted too."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


#: The modes by Pillow's numbers 0 to 5.
PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")


def interpolation_mode(name: str, value: Any, allowed: tuple[str, ...]) -> InterpolationMode:
    """The :class:`InterpolationMode` for a mode, its string or Pillow's number."""
    word = value.value if isinstance(value, InterpolationMode) else value
    if isinstance(word, int) and 0 <= word < len(PILLOW):
        word = PILLOW[word]
    check(
        word in allowed,
        name,
        f"interpolation must be {', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}, got {value!r:.60}",
    )
    return InterpolationMode(word)


def _triangle(x: Array) -> Array:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: Array, a: float) -> Array:
    """The cubic kernel of R. Keys, "Cubic convolution interpolation for digital image processing", 1981."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


@lru_cache(128)
def matrix(extent: int, size: int, mode: str, antialias: bool) -> Array:
    """The weights of the input pixels for each output pixel, a float64 array ``size x extent``."""
    scale, out = extent / size, np.arange(size)
    centre, at = scale * (out + 0.5), np.arange(extent)
    if antialias:
        # As in PyTorch and Pillow: the kernel is scaled to the width of an output pixel, cut off at the
        # border, and its weights add up to 1.
        wide = max(scale, 1.0)
        reach = wide * (1 if mode == "bilinear" else 2)
        low, high = (
            (centre - reach + 0.5).astype(int).clip(0),
            (centre + reach + 0.5).astype(int).clip(None, extent),
        )
        distance = (at - centre[:, None] + 0.5) / wide
        weights = _triangle(distance) if mode == "bilinear" else _cubic(distance, -0.5)
        weights *= (at >= low[:, None]) & (at < high[:, None])
        return weights / weights.sum(1, keepdims=True)
    source = centre - 0.5
    if mode == "bilinear":
        source = source.clip(0)
    first = np.floor(source).astype(int)
    taps = range(2) if mode == "bilinear" else range(-1, 3)
    weights = np.zeros((size, extent))
    for t in taps:  # several taps at the border are the same pixel
        distance = source - first - t
        value = _triangle(distance) if mode == "bilinear" else _cubic(distance, -0.75)
        np.add.at(weights, (out, (first + t).clip(0, extent - 1)), value)
    return weights


def _nearest(extent: int, size: int, mode: str) -> Array:
    """The input pixel of each output pixel, rounded in float32 as PyTorch does."""
    at = np.arange(size, dtype=np.float32) + np.float32(0.5 if mode == "nearest-exact" else 0)
    return np.floor(at * np.float32(extent / size)).astype(int).clip(0, extent - 1)


def resample(x: Array, size: tuple[int, int], mode: str, antialias: bool) -> Array:
    """The images of a batch N x C x H x W resized to ``size`` (H, W); the dtype stays the same."""
    h, w = x.shape[2:]
    if (h, w) == size:
        return x
    if mode in ("nearest", "nearest-exact"):
        return x[:, :, _nearest(h, size[0], mode)[:, None], _nearest(w, size[1], mode)]
    y: Array = as_float(x)
    if w != size[1]:
        y = _rows(y.transpose(0, 1, 3, 2), matrix(w, size[1], mode, antialias)).transpose(0, 1, 3, 2)
    if h != size[0]:
        y = _rows(y, matrix(h, size[0], mode, antialias))
    return rounded(y, x.dtype)


def _rows(x: Array, weights: Array) -> Array:
    """The product of ``weights`` with the rows of each image, in blocks of output rows."""
    x = np.ascontiguousarray(x)
    out = np.empty((*x.shape[:2], len(weights), x.shape[3]), x.dtype)
    for start in range(0, len(weights), BLOCK):
        block = weights[start : start + BLOCK]
        used = np.flatnonzero(block.any(0))
        low, high = used[0], used[-1] + 1
        part = block[:, low:high].astype(x.dtype)
        np.matmul(part, x[:, :, low:high], out=out[:, :, start : start + BLOCK])
    return out
