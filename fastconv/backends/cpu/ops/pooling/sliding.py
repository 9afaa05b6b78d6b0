"""Large overlapping windows, for a few operations per element whatever the size of the windows.

One dimension after the other, by the method of van Herk (Pattern Recognition Letters 13, 1992) and of Gil and
Werman (IEEE PAMI 15, 1993). A line of positions is cut into blocks as long as the longest window, so a window
meets two blocks at most::

    blocks                 |. . . . . .|. . . . . .|
    a window                     [- - - - - -]
    its maximum                  suffix     prefix
                 from here to the end of the block,  from the start of the block up to here

Suffixes are worked out block by block, from right to left; the prefix runs along with the windows. A shorter
window starts or ends a block or the line, or it is shorter by one position only. Then it is one of the two
alone, or both as well. (This holds for the windows of adaptive pooling and for the windows that a position is
in, because their lengths differ by one.)

A sum is the same with + in place of the maximum. Nothing is ever subtracted, so no window sees what is
outside of it, whether that is large, infinite or not a number. Prefixes and suffixes of sums are float64.

    threads: equal shares of the jobs (line, run of neighbouring elements, piece of the row of windows)

This file has what maxima (``sliding_max.py``) and sums (``sliding_sum.py``) share: how the work is split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.backends import settings

from .windows import Windows

WIDE = 512  # neighbouring elements of a job at most
HELD = 1 << 15  # elements of the suffixes of a block that stay in the second-level cache


class Run(NamedTuple):
    """In kernels: the windows of a job, and where their results go."""

    first: int
    end: int
    step: int  # to the next window of the same line
    out: int  # element of window 0
    jump: int  # elements from one window's result to the next one's


class Block(NamedTuple):
    """In kernels: how a line is cut, and what of it a job holds."""

    size: int  # positions of a block
    length: int  # positions of the line
    width: int  # neighbouring elements
    prefix: int  # place of the prefix in the scratch; suffixes are before it


class Pass(NamedTuple):
    """One dimension of a pooling layer."""

    windows: Windows
    axis: int  # of N, D, H, W, C
    shape: tuple[int, ...]  # of the result
    last: bool  # whether the result is that of the layer


def as_lines(a: np.ndarray, axis: int) -> np.ndarray:
    """``N, D, H, W, C`` as ``lines, positions along axis, elements``."""
    return a.reshape(-1, a.shape[axis], prod(a.shape[axis + 1 :]))


def tiling(lines: int, inner: int, w: Windows) -> tuple[int, int]:
    """Neighbouring elements of a job, and pieces of the row of windows.

    There are only as many pieces as make jobs enough for the threads, because each piece works out the
    suffixes of its first block anew.
    """
    wide = min(inner, WIDE, max(HELD // w.longest, 16))
    jobs = lines * -(-inner // wide) * w.period
    return wide, max(1, min(-(-4 * settings.get_num_threads() // jobs), w.size // (4 * w.longest * w.step)))


def passes(
    shape: Sequence[int], out_shape: Sequence[int], dims: Sequence[Windows], trivial: Sequence[bool]
) -> Iterator[Pass]:
    """The dimensions that are not ``trivial``, in the order in which their windows are applied.

    The innermost dimension is first. So the first one in the plane wins among equal maxima.
    """
    axes = [axis for axis in (3, 2, 1) if not trivial[axis - 1]]
    current = list(shape)
    for axis in axes:
        current[axis] = out_shape[axis]
        yield Pass(dims[axis - 1], axis, tuple(current), axis == axes[-1])
