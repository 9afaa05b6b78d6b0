"""Geometry of resizing and of padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..checks import LIMIT, check, check_count, check_rank, int_tuple, number, one_of, shape_str


@dataclass(frozen=True)
class InterpolateSpec:
    """Resize of ``N x C x H x W``: ``mode`` is ``"nearest"`` or ``"bilinear"``."""

    batch: int
    channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    mode: str
    align_corners: bool
    # the user's scale_factor: PyTorch maps coordinates with it, not with sizes
    scale: tuple[float, float] | None

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.in_size)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.out_size)

    def taps(self, dim: int, dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``lo, hi, frac`` of each output row: ``y = (1 - frac) * x[lo] + frac * x[hi]`` (nearest: frac 0).

        Positions are rounded as PyTorch rounds them for images of ``dtype``, or a factor like 3.7 would read
        another pixel at exact multiples: its float32 kernels keep the ratio and the position in float32, and
        those for float64 still take the pixel from a position in float32.
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


def interpolate_spec(x_shape, size, scale_factor, mode, align_corners) -> InterpolateSpec:
    """Validate an ``interpolate`` call."""
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
        scale = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * 2
        check(len(scale) == 2, name, f"scale_factor must be a number or 2 numbers, got {scale_factor!r:.60}")
        scale = tuple(number(name, "scale_factor", s) for s in scale)
        good = all(0 < s < LIMIT for s in scale)
        check(good, name, f"scale_factor must be positive and below 2^40, got {scale_factor!r:.60}")
        size = tuple(int(i * s) for i, s in zip(x_shape[2:], scale))
    size = int_tuple(name, "size", size, 2, 1)
    check_count(name, "the output", (*x_shape[:2], *size))
    return InterpolateSpec(x_shape[0], x_shape[1], tuple(x_shape[2:]), size, mode, bool(align_corners), scale)


def pad_pairs(shape, pad, mode: str) -> tuple[tuple[int, int], ...]:
    """``F.pad``'s flat list (last dimension first) as one ``(before, after)`` pair per axis; negative
    crops."""
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
        pairs[len(shape) - 1 - j] = pad[2 * j : 2 * j + 2]
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
