"""Windows of pooling as tables of positions: one :class:`Windows` per dimension.

There are always three dimensions; the leading ones of a line or a plane are trivial.
"""

from __future__ import annotations

import functools
from functools import cached_property
from math import gcd

import numpy as np

from fastconv.spec import PoolSpec

MANY = 1 << 14  # positions along a dimension from which tables are computed again in every call


class Windows:
    """The windows of all outputs along a dimension, clipped to the input.

    Attributes
    ----------
    size, count : int
        Positions of the input, windows.
    starts, stops : arrays of int
        First position of each window, and the one after its last.
    extents : array of int or None
        The number of positions that an average divides by.
    step : int
        Positions from one tap of a window to the next.
    period : int
        Windows so far apart have their taps on the same line of positions ``step`` apart.
    """

    def __init__(self, size, starts, stops, extents=None, step=1, period=1):
        self.size, self.starts, self.stops, self.extents = size, starts, stops, extents
        self.step, self.period, self.count = step, period, len(starts)

    @property
    def taps(self) -> np.ndarray:
        """How many positions each window has."""
        return -((self.starts - self.stops) // self.step)

    @cached_property
    def longest(self) -> int:
        return int(self.taps.max(initial=0))

    @cached_property
    def total(self) -> int:
        """The positions of all windows."""
        return int(self.taps.sum())

    @cached_property
    def trivial(self) -> bool:
        """Whether each window is the one position of its own number."""
        return (
            self.count == self.size
            and self.longest == 1
            and bool((self.starts == np.arange(self.size)).all())
        )

    @cached_property
    def whole(self) -> tuple[int, int, int]:
        """The first window that nothing clips, the one after the last, and the distance between two of them.

        No windows, where these distances differ (adaptive windows).
        """
        found = np.flatnonzero(self.taps == self.longest)
        gaps = np.diff(self.starts[found])
        if len(found) == found[-1] + 1 - found[0] and (gaps == gaps[:1]).all():
            return int(found[0]), int(found[-1]) + 1, int(gaps[0]) if len(gaps) else 1
        return 0, 0, 1

    @property
    def on_lines(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First position of each window and the one after its last, as numbers on its line of positions
        ``step`` apart.

        Also the lines of the first windows; from then on they repeat.
        """
        if self.step == 1:
            return self.starts, self.stops, np.zeros(1, np.int64)
        firsts = self.starts // self.step
        return firsts, firsts + self.taps, self.starts[: self.period] % self.step

    def covering(self) -> Windows:
        """For each position the windows that it is in; the gradient of an undilated average is their sum."""
        positions = np.arange(self.size)
        firsts = np.searchsorted(self.stops, positions, "right")
        return Windows(
            self.count, firsts, np.maximum(np.searchsorted(self.starts, positions, "right"), firsts)
        )


def _adaptive(size: int, out: int) -> Windows:
    edges = np.arange(out + 1) * size
    starts, stops = edges[:-1] // out, -(-edges[1:] // out)
    return Windows(size, starts, stops, stops - starts)


def _sliding(size, out, k, s, d, before, after, count_padding) -> Windows:
    starts = np.arange(out) * s - before
    inside = starts - np.minimum(starts, 0) // d * d  # the first tap at or after 0
    stops = np.minimum(starts + (d * (k - 1) + 1), size)
    extents = np.minimum(starts + k, size + after) - starts if count_padding else stops - inside
    return Windows(size, inside, stops, extents, d, d // gcd(s, d))


def memoize_by_spec(make):
    """Keep the result of ``make(spec, *key)``; not of long dimensions, whose tables would fill memory."""
    cached = functools.lru_cache(1024)(make)

    @functools.wraps(make)
    def made(spec, *key):
        return (cached if max(spec.in_size) < MANY and max(spec.out_size) < MANY else make)(spec, *key)

    made.cache_clear = cached.cache_clear
    return made


def windows(spec) -> tuple[Windows, ...]:
    """The windows of a PoolSpec or AdaptivePoolSpec."""
    if not isinstance(spec, PoolSpec):
        ones = (1,) * (3 - len(spec.in_size))
        return tuple(map(_adaptive, ones + spec.in_size, ones + spec.out_size))
    spec = spec.as_3d()
    before, after = zip(*spec.padding)
    dims = zip(spec.in_size, spec.out_size, spec.kernel, spec.stride, spec.dilation, before, after)
    return tuple([_sliding(*dim, spec.count_include_pad) for dim in dims])
