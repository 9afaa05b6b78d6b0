"""Whether a pooling layer is faster window by window or by sliding: estimates in nanoseconds of one thread.

The numbers are fitted to measurements with kernels of 5 to 65 positions in one dimension and 5 to 13 in two,
and 1 to 256 channels. Window by window costs as much as the windows have positions in all; sliding costs the
same whatever their size.
"""

from __future__ import annotations

from math import prod


def _passes(batch: int, channels: int, dims, element: float, run: float) -> float:
    """Sliding along one dimension after the other: ``element`` per number, ``run`` per run of neighbours."""
    shape, cost = [w.size for w in dims], 0.0
    for axis in (2, 1, 0):
        if not dims[axis].trivial:
            before, shape[axis] = prod(shape), dims[axis].count
            numbers = batch * channels * max(before, prod(shape))
            cost += numbers * (element + run / (channels * prod(shape[axis + 1 :])))
    return cost


def max_slides(batch: int, channels: int, dims, few: bool) -> bool:
    """Whether maxima are faster by sliding; ``few`` channels: the other way takes whole rows."""
    rows, w = batch * dims[0].total * dims[1].total, dims[2]
    first, end, _ = w.whole if few else (0, 0, 1)
    along = w.longest * ((end - first) * channels * 0.15 + 15) if end else 0.0
    alone = w.total - w.longest * (end - first)
    direct = rows * (along + alone * (channels * 0.15 + (4.5 if few else 1.8)))
    return 0 < _passes(batch, channels, dims, 3.3, 25.0) < direct


def sum_slides(batch: int, channels: int, dims, lanes: int) -> bool:
    """Whether sums are faster by sliding; ``lanes``: elements of a vector.

    Window by window, the rows of the windows are added up first, then positions along the row, each as whole
    vectors.
    """
    rows, w = batch * dims[0].total * dims[1].total, dims[2]
    pixels = batch * dims[0].count * dims[1].count * w.total
    direct = rows * w.size * channels * 0.1 + pixels * 0.7 * -(-channels // lanes)
    return 0 < _passes(batch, channels, dims, 0.8, 22.0) < direct
