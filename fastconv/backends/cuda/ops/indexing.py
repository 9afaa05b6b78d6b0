"""Elements chosen by index: reading, assigning, adding.

A key without arrays gives a view, if none of its axes runs backwards. Any other key becomes a table of places
in memory, made by NumPy on the host.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.checks import shape_str
from fastconv.spec import is_basic

from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import cuda, grid, kernel, launch
from .pointwise import binary_fwd, cast


def _basic_view(x, key):
    """``x[key]`` as a view if the key has no arrays in it and no axis runs backwards, else None."""
    parts = key if isinstance(key, tuple) else (key,)
    if not is_basic(key):
        return None
    # NumPy works out the geometry on an array of which no element is read
    shadow = np.lib.stride_tricks.as_strided(np.empty(1, x.dtype), x.shape, x.strides)
    view = shadow[parts if Ellipsis in parts else (*parts, Ellipsis)]
    if any(s < 0 for s in view.strides):
        return None
    return x.view(
        view.shape, view.strides, view.__array_interface__["data"][0] - shadow.__array_interface__["data"][0]
    )


def _places(x, key) -> np.ndarray:
    """Where in memory the elements of ``x[key]`` lie, counted from the first of ``x``."""
    places = np.zeros(x.shape, np.int64)
    for axis, (n, step) in enumerate(zip(x.shape, layout.steps(x))):
        places += (np.arange(n) * step).reshape(-1, *(1,) * (x.ndim - 1 - axis))
    return np.asarray(places[key])


@functools.cache
def _gather_kernel():
    @kernel
    def gather(x, places, y, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            y[i] = x[places[i]]

    return gather


def getitem(x: DeviceArray, key) -> DeviceArray:
    """``x[key]``: a view where there is one, else a copy."""
    view = _basic_view(x, key)
    if view is not None:
        return view
    places = _places(x, key)
    y = memory.empty(places.shape, x.dtype)
    launch(_gather_kernel(), *grid(y.size), x, memory.constant(places), y, y.size)
    return y


def _values(value, dtype, shape):
    """The assigned value as an array of ``shape``."""
    if not isinstance(value, DeviceArray):
        value = memory.constant(np.asarray(value, dtype))
    elif value.dtype != dtype:
        value = cast(value, dtype)
    lead = max(value.ndim - len(shape), 0)  # NumPy drops leading ones
    if prod(value.shape[:lead]) != 1 or any(
        n not in (1, m) for n, m in zip(reversed(value.shape[lead:]), reversed(shape))
    ):
        raise ValueError(
            f"setitem: a value of shape {shape_str(value.shape)} does not fit {shape_str(shape)}"
        )
    return layout.broadcast(value.view(value.shape[lead:], value.strides[lead:]), shape)


@functools.cache
def _scatter_kernel(add):
    def scatter(x, places, starts, items, values, count):
        # a thread takes one place of x, and the values for it one after the other
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            value = x[places[i]]
            for e in range(starts[i], starts[i + 1]):
                value = value + values[items[e]] if add else values[items[e]]
            x[places[i]] = value

    scatter.__name__ = "index_add" if add else "scatter"
    return kernel(scatter)


def _scatter(x, key, value, add):
    x.base.known.clear()
    places = _places(x, key)
    values = layout.dense(_values(value, x.dtype, places.shape))
    items = np.argsort(places, axis=None, kind="stable")
    places, starts = np.unique(places.reshape(-1)[items], return_index=True)
    starts = np.append(starts, items.size)
    tables = (memory.constant(t.astype(np.int64)) for t in (places, starts, items))
    launch(_scatter_kernel(add), *grid(places.size), x, *tables, values, places.size)


def setitem(x: DeviceArray, key, value) -> None:
    """``x[key] = value``; of several values for one element the last is kept."""
    view = _basic_view(x, key)
    if view is None:
        return _scatter(x, key, value, False)
    value = _values(value, x.dtype, view.shape)
    if isinstance(value, DeviceArray) and value.base is view.base:
        value = layout.copy(value)  # the two may overlap
    layout.copy_to(value, view)


def index_add(x: DeviceArray, key, value) -> None:
    """``x[key] += value``; all values for one element are added."""
    view = _basic_view(x, key)
    if view is None:
        return _scatter(x, key, value, True)
    layout.copy_to(binary_fwd("add", view, _values(value, x.dtype, view.shape)), view)
