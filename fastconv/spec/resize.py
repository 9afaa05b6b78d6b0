"""Geometry of resizing and of padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import LIMIT, check, check_count, check_rank, int_tuple, number, one_of, shape_str
from .windows import Pairs


@dataclass(frozen=True)
class InterpolateSpec:
    """Resize of ``N x C x H x W``: ``mode`` is ``"nearest"`` or ``"bilinear"``."""

    batch: int
    channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    mode: str
    align_corners: bool
    # the user's scale_factor, if it was given: PyTorch maps coordinates with it and not with the sizes
    scale: tuple[float, float] | None

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the input: ``N, C, H, W``."""
        return (self.batch, self.channels, *self.in_size)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the output: ``N, C, H, W``."""
        return (self.batch, self.channels, *self.out_size)

    def taps(self, dim: int, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which input rows each output row reads, and how it weights them.

        Positions are rounded as PyTorch rounds them for images of ``dtype``. Otherwise a factor like 3.7
        would read another pixel at exact multiples. PyTorch's float32 kernels keep the ratio and the position
        in float32; its float64 kernels still choose the pixel by a position in float32.

        Returns
        -------
        lo, hi, frac : arrays, one entry per output row
            ``y = (1 - frac) * x[lo] + frac * x[hi]``; for ``"nearest"`` frac is 0.
        """
        i, o, place = self.in_size[dim], self.out_size[dim], np.arange(self.out_size[dim])
        dtype, few = np.dtype(dtype), sum(self.out_size) <= 128  # PyTorch has another kernel for few pixels
        if o == i and (few or self.mode == "bilinear"):
            return place, place, np.zeros(o, dtype)
        if self.mode == "nearest":
            if few and o == 2 * i:
                return place // 2, place // 2, np.zeros(o, dtype)
            position = (place * self._ratio(dim, np.dtype("float32") if few else dtype)).astype(np.float32)
            lo = np.minimum(position.astype(np.int64), i - 1)
            return lo, lo, np.zeros(o, dtype)
        if self.align_corners:
            position = place * (float(dtype.type(i - 1) / dtype.type(o - 1)) if o > 1 else 0.0)
        else:
            position = np.maximum((place + 0.5) * self._ratio(dim, dtype) - 0.5, 0)
        position = position.astype(dtype)
        lo = np.minimum(position.astype(np.float32).astype(np.int64), i - 1)
        return lo, np.minimum(lo + 1, i - 1), np.clip(position - lo.astype(dtype), 0, 1)

    def _ratio(self, dim: int, dtype: np.dtype) -> float:
        """Input rows per output row, rounded to ``dtype``."""
        real = dtype.type
        return float(
            real(1.0 / self.scale[dim]) if self.scale else real(self.in_size[dim]) / real(self.out_size[dim])
        )


def interpolate_spec(
    x_shape: Sequence[int], size: Any, scale_factor: Any, mode: str, align_corners: bool | None
) -> InterpolateSpec:
    """Validate an ``interpolate`` call: ``size`` or ``scale_factor`` is given, the other is None.

    >>> interpolate_spec((1, 3, 8, 8), None, 2, "nearest", False).out_size
    (16, 16)
    """
    name = "interpolate"
    check_rank(name, "input", x_shape, 4, "N x C x H x W")
    one_of(name, "mode", mode, ("nearest", "bilinear"))
    check(
        not (align_corners and mode == "nearest"),
        name,
        "align_corners applies to mode 'bilinear' only, got 'nearest'",
    )
    check((size is None) != (scale_factor is None), name, "give either size or scale_factor")
    check(min(x_shape[1:]) > 0, name, f"input must not be empty, got {shape_str(x_shape)}")
    scale = None
    if size is None:
        two = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * 2
        check(len(two) == 2, name, f"scale_factor must be a number or 2 numbers, got {scale_factor!r:.60}")
        scale = number(name, "scale_factor", two[0]), number(name, "scale_factor", two[1])
        good = all(0 < s < LIMIT for s in scale)
        check(good, name, f"scale_factor must be positive and below 2^40, got {scale_factor!r:.60}")
        size = tuple(int(i * s) for i, s in zip(x_shape[2:], scale))
    batch, channels, in_rows, in_columns = x_shape
    rows, columns = int_tuple(name, "size", size, 2, 1)
    check_count(name, "the output", (batch, channels, rows, columns))
    sizes = (in_rows, in_columns), (rows, columns)
    return InterpolateSpec(batch, channels, *sizes, mode, bool(align_corners), scale)


def pad_pairs(shape: Sequence[int], pad: Sequence[int], mode: str) -> Pairs:
    """``F.pad``'s flat list (last dimension first) as one ``(before, after)`` pair per axis.

    Negative numbers crop.

    >>> pad_pairs((3, 4), (1, 2), "constant")
    ((0, 0), (1, 2))
    """
    name = "pad"
    pad = int_tuple(name, "pad", pad, len(pad), -LIMIT) if len(pad) > 1 else tuple(pad)
    check(
        len(pad) % 2 == 0 and len(pad) // 2 <= len(shape),
        name,
        f"pad must hold 2 numbers for each of at most {len(shape)} dimensions, got {pad}",
    )
    one_of(name, "mode", mode, ("constant", "reflect", "replicate", "circular"))
    pairs = [(0, 0)] * len(shape)
    for j in range(len(pad) // 2):
        pairs[len(shape) - 1 - j] = pad[2 * j], pad[2 * j + 1]
    limit = {"reflect": lambda s: s - 1, "circular": lambda s: s}
    for s, (before, after) in zip(shape, pairs):
        check(
            s + before + after > 0 or s == 0,
            name,
            f"padding {pad} would leave nothing of input {shape_str(shape)}",
        )
        if mode in limit:
            check(
                max(before, after) <= limit[mode](s) or before == after == 0,
                name,
                f"{mode} padding {pad} must be at most {limit[mode](s)} for an extent of {s} "
                f"(input {shape_str(shape)})",
            )
    check_count(name, "the output", [s + before + after for s, (before, after) in zip(shape, pairs)])
    return tuple(pairs)
