"""Logical NCHW on channels-last memory: the views that kernels read, and the arrays that they write.

Kernels see 5-D ``N, D, H, W, C`` arrays (leading spatial extents 1 below three dimensions), C-contiguous and
aligned, so one kernel serves 1-D, 2-D and 3-D.
"""

from __future__ import annotations

import contextlib
import threading

import numpy as np

from fastconv.backends.common.pointwise import merged

from . import memory, strided_copy

# Rank -> the axes with channels last, and an index that inserts leading spatial extents 1; and rank -> the
# axes back to channels second.
_TO_NDHWC = {n: ((0, *range(2, n), 1), (slice(None), *(None,) * (5 - n))) for n in range(2, 6)}
_BACK = {n: (0, n - 1, *range(1, n - 1)) for n in range(2, 6)}


def to_ndhwc(x: np.ndarray) -> np.ndarray:
    """``N, C, *spatial`` as a C-contiguous ``N, D, H, W, C`` array: a view where the memory already is
    channels-last."""
    order, inserted = _TO_NDHWC[x.ndim]
    return dense(x.transpose(order)[inserted])


def pixels(x: np.ndarray) -> tuple[np.ndarray, int]:
    """``N, C, *spatial`` as an array whose pixels, in order, lie equally far apart, and their distance.

    Each pixel is a run of C elements, and the distance is in elements. The array is ``x`` itself where that
    is so, as in a slice of the channels of a channels-last array; else a copy.
    """
    moved = x.transpose(_TO_NDHWC[x.ndim][0])
    run = moved.shape[-1] == 1 or moved.strides[-1] == x.itemsize
    (count, *more), steps = merged(moved.shape[:-1], moved.strides[:-1])
    pitch, rest = divmod(steps[0], x.itemsize)
    if run and x.flags.aligned and not more and (count == 1 or pitch >= x.shape[1] and not rest):
        return x, x.shape[1] if count == 1 else pitch
    return to_ndhwc(x), x.shape[1]


def wide(x: np.ndarray) -> np.ndarray:
    """``N, C, *spatial`` as a C-contiguous ``N, D, H, W, P`` array: the first C numbers of a pixel are x's.

    P is the distance of the pixels in memory. It is C, or more if ``x`` is a slice of the channels of a
    channels-last array, which is not copied. The other numbers of a pixel belong to others. A kernel must not
    write to them, and must not read those of the last pixel.
    """
    order, inserted = _TO_NDHWC[x.ndim]
    moved = x.transpose(order)[inserted]
    if moved.flags.carray:  # the common case
        return moved
    found, pitch = pixels(x)
    return np.asarray(_Wide(x, (*moved.shape[:-1], pitch))) if found is x else found


class _Wide:
    """The memory of ``x`` as a C-contiguous array of another shape."""

    def __init__(self, x: np.ndarray, shape: tuple[int, ...]):
        self.base = x
        address = x.__array_interface__["data"][0]
        self.__array_interface__ = {
            **x.__array_interface__,
            "shape": shape,
            "strides": None,
            "data": (address, False),
        }


class _Writable:
    """The memory of a read-only array, presented as writable.

    Numba takes a read-only array for another type and would compile every kernel twice. Kernels do not write
    to their inputs.
    """

    def __init__(self, x: np.ndarray):
        self.keep = x
        self.__array_interface__ = {**x.__array_interface__, "data": (x.ctypes.data, False)}


def dense(x: np.ndarray) -> np.ndarray:
    """``x`` itself if C-contiguous and aligned, else a copy that is."""
    flags = x.flags
    if flags.carray:  # C-contiguous, aligned and writable
        return x
    if flags.c_contiguous and flags.aligned:
        return np.asarray(_Writable(x))
    y = memory.empty(x.shape, x.dtype)
    strided_copy.copy(y, x)
    return y


def rows(x: np.ndarray) -> np.ndarray:
    """``N, C, *spatial`` as a C-contiguous ``(N * spatial, C)`` array."""
    return to_ndhwc(x).reshape(-1, x.shape[1])


def empty(shape, dtype) -> tuple[np.ndarray, np.ndarray]:
    """A new channels-last array of logical ``shape``, and the 5-D ``N, D, H, W, C`` view kernels write."""
    order, inserted = _TO_NDHWC[len(shape)]
    memory_order = memory.empty([shape[i] for i in order], dtype)
    return memory_order.transpose(_BACK[len(shape)]), memory_order[inserted]


class _Offers(threading.local):
    place: np.ndarray | None = None


_offers = _Offers()


@contextlib.contextmanager
def result_in(place: np.ndarray):
    """Inside the ``with`` block, the first :func:`result` that has the shape of ``place`` is ``place``."""
    _offers.place = place
    try:
        yield
    finally:
        _offers.place = None


def result(shape, dtype) -> tuple[np.ndarray, np.ndarray]:
    """:func:`empty` for what an op returns, where the caller may have offered a slice of channels.

    The second array is then as :func:`wide` gives it. So this is for kernels that take the distance of pixels
    from its shape, and the number of channels from elsewhere.
    """
    place = _offers.place
    if place is None or place.shape != tuple(shape) or place.dtype != dtype:
        return empty(shape, dtype)
    _offers.place = None
    return place, wide(place)


def memory_order(x: np.ndarray) -> list[int]:
    """The axes from the slowest to the fastest varying in memory."""
    return sorted(range(x.ndim), key=lambda i: (-abs(x.strides[i]), i))


def empty_like(x: np.ndarray, dtype=None) -> np.ndarray:
    """A new array of ``x``'s shape, and dtype if no other is given, with its order of axes in memory."""
    order = memory_order(x)
    y = memory.empty([x.shape[i] for i in order], x.dtype if dtype is None else dtype)
    return y.transpose(sorted(range(x.ndim), key=order.__getitem__))


def copy(x: np.ndarray) -> np.ndarray:
    """A fresh dense array with the order of axes in memory of ``x``."""
    y = empty_like(x)
    strided_copy.copy(y, x)
    return y


def like(x: np.ndarray, model: np.ndarray) -> np.ndarray:
    """``x`` with the order of axes in memory of the equally shaped, dense ``model``; a copy only where it
    differs."""
    if x.strides == model.strides and x.itemsize == model.itemsize or flat(model, x) is not None:
        return x
    y = empty_like(model, x.dtype)
    strided_copy.copy(y, x)
    return y


def in_memory_order(x: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """``x`` in dense memory whose slowest axis is ``order[0]``; ``x`` itself if it is that already."""
    if x.transpose(order).flags.c_contiguous:
        return x
    y = memory.empty([x.shape[i] for i in order], x.dtype)
    strided_copy.copy(y, x.transpose(order))
    return y.transpose(sorted(range(x.ndim), key=order.__getitem__))


def flat(*arrays: np.ndarray) -> list[np.ndarray] | None:
    """1-D views of equally shaped arrays that are dense in the same order, else None."""
    if all(a.flags.c_contiguous for a in arrays):  # the common case needs no sort
        order = range(arrays[0].ndim)
    else:
        order = memory_order(arrays[0])
    views = []
    for a in arrays:
        a = a.transpose(order)
        if not (a.flags.c_contiguous and a.flags.aligned):
            return None
        views.append(dense(a).reshape(-1))
    return views
