"""Where a convolution reads and writes: its passes as sums over taps.

Forward and backward-data are one loop over output positions i and taps t, in each of three dimensions::

    out[out_offset + out_stride * i] = sum over t of in[in_stride * i + offset + step * t] * w[place +
    place_step * t]

Forward is one *phase*: in_stride = stride, offset = -padding, step = dilation. Backward-data with stride s is
s phases, one for each residue of the input position: in each only every s-th tap meets an output position.
Nothing is multiplied by inserted zeros.

Weights lie as ``*kernel, C/groups, K`` in memory, whatever the order they come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import gcd, prod

import numpy as np

from fastconv.checks import shape_str

from ..runtime import layout, memory


@dataclass(frozen=True)
class Line:
    """One dimension of a phase."""

    count: int
    in_stride: int
    offset: int
    taps: int
    step: int
    out_stride: int
    out_offset: int
    place: int
    place_step: int


def magic(d: int) -> tuple[int, int]:
    """Multiplier and shift by which kernels divide numbers below 2^31 by ``d``."""
    shift = 31 + max(d - 1, 0).bit_length()
    return -(-(1 << shift) // d), shift


# kernels number a batch's pixels, and those between taps and tiles beyond its end, in 32 bits; tests lower it
PIXELS = 2**31
_TILE = 1 << 12  # pixels of a tile at most


def too_many_pixels(spec) -> str | None:
    """Why kernels cannot number the pixels of a ConvSpec, or None."""
    steps = [d * k + s for d, k, s in zip(spec.dilation, spec.kernel, spec.stride)]
    for what, size in (("input", spec.in_size), ("output", spec.out_size)):
        reach = sum(step * prod(size[i + 1 :]) for i, step in enumerate(steps))
        if spec.batch * prod(size) + reach + _TILE > PIXELS:
            return (
                f"pixels are numbered in 32 bits, and the {what} has {spec.batch * prod(size)} in all "
                f"({shape_str((spec.batch, *size))}); use smaller batches or images"
            )
    return None


@dataclass(frozen=True)
class Phase:
    """One loop over taps of a lifted ConvSpec; ``swap``: from gy to gx."""

    spec: object
    lines: tuple[Line, ...]
    is_dgrad: bool

    @property
    def taps(self) -> int:
        return prod(line.taps for line in self.lines)

    @property
    def pixels(self) -> int:
        return self.spec.batch * prod(line.count for line in self.lines)

    @property
    def dense(self) -> bool:
        """Whether output positions lie in memory in their own order, without gaps."""
        out = self.spec.in_size if self.is_dgrad else self.spec.out_size
        return all(line.count == n for line, n in zip(self.lines, out))

    @property
    def channels(self) -> tuple[int, int]:
        """Per group, summed over and produced."""
        pair = self.spec.c_in // self.spec.groups, self.spec.c_out // self.spec.groups
        return pair[::-1] if self.is_dgrad else pair

    @cached_property
    def table(self):
        """The numbers kernels read, on the device."""
        spec, lines = self.spec, self.lines
        channels, columns = self.channels
        kernel, line = spec.kernel, spec.c_out
        in_size, out_size = (spec.out_size, spec.in_size) if self.is_dgrad else (spec.in_size, spec.out_size)
        # from one line of w (n; forward: channel), tap and group to the next
        w = (line, line * columns, channels) if self.is_dgrad else (line, line * channels, columns)
        tap_steps = kernel[1] * kernel[2], kernel[2], 1
        out = columns * spec.groups
        numbers = [
            self.pixels,
            columns,
            self.taps * channels,
            channels,
            channels * spec.groups,
            out,
            *w,
            spec.batch * prod(out_size) * out,
            *in_size,
            *(v.count for v in lines),
            *(v.taps for v in lines),
            *(v.step for v in lines),
            sum(v.place * s for v, s in zip(lines, tap_steps)),
            *(v.place_step * s for v, s in zip(lines, tap_steps)),
            *(v.in_stride for v in lines),
            *(v.offset for v in lines),
            *magic(lines[2].count),
            *magic(lines[1].count),
            *magic(lines[0].count),
            *out_size,
            *(v.out_stride for v in lines),
            *(v.out_offset for v in lines),
        ]
        return memory.upload(np.array(numbers, np.int64))


@lru_cache(maxsize=1024)
def forward(spec) -> list[Phase]:
    """The forward pass of a lifted ConvSpec."""
    lines = [
        Line(n, s, -before, k, d, 1, 0, 0, 1)
        for n, s, d, k, (before, _) in zip(
            spec.out_size, spec.stride, spec.dilation, spec.kernel, spec.padding
        )
    ]
    return [Phase(spec, tuple(lines), False)]


@lru_cache(maxsize=1024)
def backward(spec) -> list[Phase]:
    """The backward-data pass of a lifted ConvSpec; pixels that no output has seen are in no phase with
    taps."""
    dims = []
    for i, s, d, k, (before, _) in zip(spec.in_size, spec.stride, spec.dilation, spec.kernel, spec.padding):
        every = s // gcd(s, d)
        residues = []
        for r in range(min(s, i)):
            first = next((j for j in range(min(every, k)) if (r + before - d * j) % s == 0), None)
            taps = 0 if first is None else len(range(first, k, every))
            first = first or 0
            offset, step = (r + before - d * first) // s, -d * every // s
            residues.append(Line(-(-(i - r) // s), 1, offset, taps, step, s, r, first, every))
        dims.append(residues)
    return [Phase(spec, lines, True) for lines in product(*dims)]


def weights(w):
    """``K, C/groups, *kernel`` as a C-contiguous ``*kernel, C/groups, K``: a view where memory already is
    so."""
    return layout.dense(w.transpose(*range(2, w.ndim), 1, 0))


def empty_weights(shape, dtype):
    """A new array of a weight's logical ``shape``, and its memory in the order of :func:`weights`."""
    k, c, *kernel = shape
    made = memory.empty((*kernel, c, k), dtype)
    last = made.ndim - 1
    return made.transpose(last, last - 1, *range(last - 1)), made
