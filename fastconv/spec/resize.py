"""Geometry of resizing and of padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import DIMS, LIMIT, check, check_count, check_rank, int_tuple, number, one_of, shape_str
from .windows import Pairs

#: Mode of ``interpolate`` -> the ranks of the arrays that it takes.
MODES = {
    "nearest": (3, 4, 5),
    "nearest-exact": (3, 4, 5),
    "linear": (3,),
    "bilinear": (4,),
    "bicubic": (4,),
    "trilinear": (5,),
    "area": (3, 4, 5),
}
FLOAT32 = np.dtype(np.float32)


def cubic_weights(t: Any) -> tuple[Any, Any, Any, Any]:
    """The weights of four neighbours for a place ``t`` behind the second one, ``0 <= t < 1``.

    Cubic convolution with ``a = -0.75`` (R. Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1981).

    >>> cubic_weights(0.0)
    (0.0, 1.0, 0.0, 0.0)
    """
    a = -0.75

    def near(t):
        return ((a + 2) * t - (a + 3)) * t * t + 1

    def far(t):
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


@dataclass(frozen=True)
class InterpolateSpec:
    """Resize of ``N x C x spatial``; ``mode`` is one of :data:`MODES` except ``"area"``."""

    batch: int
    channels: int
    in_size: tuple[int, ...]
    out_size: tuple[int, ...]
    mode: str
    align_corners: bool
    # the user's scale_factor, if it was given: PyTorch maps coordinates with it and not with the sizes
    scale: tuple[float, ...] | None

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.in_size)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the input: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.in_size)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the output: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.out_size)

    def taps(self, dim: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """Which input rows each output row reads, and how it weights them.

        Positions are rounded as PyTorch rounds them for images of ``dtype``. Otherwise a factor like 3.7
        would read another pixel at exact multiples. PyTorch's float32 kernels keep the ratio and the position
        in float32; its float64 kernels still choose the pixel by a position in float32.

        Returns
        -------
        places, weights : arrays, one row per tap, one column per output row
            ``y`` is the sum over the taps of ``weights * x[places]``.
        """
        dtype = np.dtype(dtype if np.dtype(dtype).kind == "f" else FLOAT32)
        if self.mode.startswith("nearest"):
            places = self._nearest(dim, dtype)[None]
            return places, np.ones(places.shape, dtype)
        i, last = self.in_size[dim], self.in_size[dim] - 1
        position = self._position(dim, dtype)
        at = np.minimum(np.floor(position.astype(np.float32)).astype(np.int64), last)
        t = np.clip(position - at.astype(dtype), 0, 1)
        if self.mode == "bicubic":
            places = np.stack([np.clip(at + k, 0, last) for k in (-1, 0, 1, 2)])
            return places, np.stack(cubic_weights(t)).astype(dtype)
        return np.stack([at, np.minimum(at + 1, i - 1)]), np.stack([1 - t, t])

    def _position(self, dim: int, dtype: np.dtype) -> np.ndarray:
        """Where each output row lies in the input, between rows."""
        i, o, place = self.in_size[dim], self.out_size[dim], np.arange(self.out_size[dim])
        cubic = self.mode == "bicubic"
        if o == i and not cubic:
            return place.astype(dtype)
        if self.align_corners:
            return (place * (float(dtype.type(i - 1) / dtype.type(o - 1)) if o > 1 else 0.0)).astype(dtype)
        position = (place + 0.5) * self._ratio(dim, dtype) - 0.5
        return (position if cubic else np.maximum(position, 0)).astype(dtype)

    def _nearest(self, dim: int, dtype: np.dtype) -> np.ndarray:
        """The input row of each output row."""
        i, o, place = self.in_size[dim], self.out_size[dim], np.arange(self.out_size[dim])
        few = self.ndim == 2 and sum(self.out_size) <= 128  # PyTorch has another kernel for few pixels
        ratio = self._ratio(dim, FLOAT32 if few else dtype)
        if self.mode == "nearest":
            if few and o in (i, 2 * i):
                return place // (o // i)
            position = place * ratio
        elif few:
            position = (place + 0.5) * ratio
        else:
            position = np.maximum((place + 0.5) * ratio - 0.5, 0).astype(dtype) + dtype.type(0.5)
        return np.minimum(position.astype(np.float32).astype(np.int64), i - 1)

    def _ratio(self, dim: int, dtype: np.dtype) -> float:
        """Input rows per output row, rounded to ``dtype``."""
        real = dtype.type
        return float(
            real(1.0 / self.scale[dim]) if self.scale else real(self.in_size[dim]) / real(self.out_size[dim])
        )


def interpolate_spec(
    x_shape: Sequence[int],
    size: Any,
    scale_factor: Any,
    mode: str,
    align_corners: bool | None,
    recompute_scale_factor: bool | None = None,
    name: str = "interpolate",
) -> InterpolateSpec:
    """Validate an ``interpolate`` call: ``size`` or ``scale_factor`` is given, the other is None.

    >>> interpolate_spec((1, 3, 8, 8), None, 2, "nearest", None).out_size
    (16, 16)
    """
    one_of(name, "mode", mode, MODES)
    ranks = MODES[mode]
    n = ranks[0] - 2 if len(ranks) == 1 else min(max(len(x_shape) - 2, 1), 3)
    check_rank(name, "input", x_shape, ranks, f"N x C x {' x '.join(DIMS[n])} for mode {mode!r}")
    check(
        align_corners is None or "linear" in mode or mode == "bicubic",
        name,
        f"align_corners is for linear, bilinear, bicubic and trilinear, got {mode!r}; leave it out",
    )
    check((size is None) != (scale_factor is None), name, "give either size or scale_factor")
    check(
        not recompute_scale_factor or size is None,
        name,
        "recompute_scale_factor has no meaning with size; give scale_factor, or leave it out",
    )
    check(min(x_shape[1:]) > 0, name, f"input must not be empty, got {shape_str(x_shape)}")
    scale = None
    if size is None:
        each = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * n
        wanted = "a number" if n == 1 else f"a number or {n} numbers"
        check(len(each) == n, name, f"scale_factor must be {wanted}, got {scale_factor!r:.60}")
        scale = tuple(number(name, "scale_factor", s) for s in each)
        good = all(0 < s < LIMIT for s in scale)
        check(good, name, f"scale_factor must be positive and below 2^40, got {scale_factor!r:.60}")
        size = tuple(int(i * s) for i, s in zip(x_shape[2:], scale))
    size = int_tuple(name, "size", size, n, 1)
    check_count(name, "the output", (*x_shape[:2], *size))
    return InterpolateSpec(
        x_shape[0],
        x_shape[1],
        tuple(x_shape[2:]),
        size,
        mode,
        bool(align_corners),
        None if recompute_scale_factor or mode == "area" else scale,
    )


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
    for s, (before, after) in zip(shape, pairs):
        # circular padding repeats what cropping leaves
        kept = s + min(before, 0) + min(after, 0)
        most = {"reflect": s - 1, "circular": kept, "replicate": LIMIT if s else 0}.get(mode, LIMIT)
        check(
            s + before + after >= (0 if mode == "constant" else min(s, 1)),
            name,
            f"padding {pad} would leave nothing of input {shape_str(shape)}",
        )
        check(
            max(before, after) <= most or before == after == 0,
            name,
            f"{mode} padding {pad} must be at most {most} for an extent of {s} (input {shape_str(shape)})",
        )
    check_count(name, "the output", [s + before + after for s, (before, after) in zip(shape, pairs)])
    return tuple(pairs)
