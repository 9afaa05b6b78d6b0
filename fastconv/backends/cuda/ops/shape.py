"""Moving data: between host and device, between layouts, along axes, by index.

Padding and resizing are sparse matrices applied to one axis after the other, and their gradients the transposed matrices::

    y[o, j, :] = sum over the entries e of row j:  weight[e] * x[o, item[e], :]          (fill where row j is empty)
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.backends.common import resample
from fastconv.checks import shape_str
from fastconv.spec import is_basic

from ..runtime import layout, memory
from ..runtime.launch import cuda, grid, kernel, launch
from ..runtime.memory import DeviceArray


def asarray(x):
    """A host array as a device array with the same order of axes in memory."""
    if isinstance(x, DeviceArray):
        return x
    x = np.asarray(x)
    order = sorted(range(x.ndim), key=lambda i: (-abs(x.strides[i]), i))
    y = memory.upload(x.transpose(order))
    return y.transpose(*(order.index(i) for i in range(x.ndim)))


def to_host(x):
    """A copy on the host; a host array as it is."""
    if not isinstance(x, DeviceArray):
        return np.asarray(x)
    return memory.download(x if layout.is_dense(x) else layout.dense(x))


def zeros(shape, dtype):
    return layout.filled(shape, dtype, 0)


def copy(x):
    """A fresh array with the order of axes in memory of ``x``."""
    return layout.copy_to(x, layout.empty_like(x))


def reshape(x, shape):
    """The same elements in logical order; a view where strides allow."""
    strides = _reshaped_strides(x, shape) if x.size else None
    if strides is None:
        return layout.dense(x).reshape(*shape)
    return x.view(_completed(x, shape), strides)


def _completed(x, shape):
    known = prod(n for n in shape if n != -1)
    return tuple(x.size // known if n == -1 else n for n in shape)


def _reshaped_strides(x, shape):
    """Strides of ``x`` under another shape, or None where there are none."""
    shape = _completed(x, shape)
    strides, d = [0] * len(shape), len(shape) - 1
    for extent, step in zip(*map(reversed, layout.merged(x.shape, x.strides))):
        while extent > 1:
            while d >= 0 and shape[d] == 1:
                d -= 1
            if d < 0 or extent % shape[d]:
                return None
            strides[d] = step
            step, extent, d = step * shape[d], extent // shape[d], d - 1
    return tuple(strides)


def permute(x, axes):
    return x.transpose(*axes)


def broadcast_to(x, shape):
    return layout.broadcast(x, tuple(shape))


def concatenate(xs, axis):
    model = xs[0]
    shape = [sum(x.shape[axis] for x in xs) if i == axis else n for i, n in enumerate(model.shape)]
    order = layout.memory_order(model)
    y = memory.empty([shape[i] for i in order], np.result_type(*(x.dtype for x in xs)))
    y = y.transpose(*(order.index(i) for i in range(y.ndim)))
    start = 0
    for x in xs:
        part = y.view(x.shape, y.strides, start * y.strides[axis])
        layout.copy_to(x, part)
        start += x.shape[axis]
    return y


# ------------------------------------------------------------------------------------------------- by index
def _basic_view(x, key):
    """``x[key]`` as a view if the key has no arrays in it and no axis runs backwards, else None."""
    parts = key if isinstance(key, tuple) else (key,)
    if not is_basic(key):
        return None
    # geometry; no element is read
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


def getitem(x, key):
    view = _basic_view(x, key)
    if view is not None:
        return view
    places = _places(x, key)
    y = memory.empty(places.shape, x.dtype)
    launch(_gather_kernel(), *grid(y.size), x, memory.constant(places), y, y.size)
    return y


def _values(value, dtype, shape):
    """What is assigned, as an array of ``shape``."""
    if not isinstance(value, DeviceArray):
        value = memory.constant(np.asarray(value, dtype))
    elif value.dtype != dtype:
        from .pointwise import cast

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
        """Each place of x takes its items one after the other."""
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


def setitem(x, key, value):
    view = _basic_view(x, key)
    if view is None:
        return _scatter(x, key, value, False)
    value = _values(value, x.dtype, view.shape)
    if isinstance(value, DeviceArray) and value.base is view.base:
        value = copy(value)  # the two may overlap
    layout.copy_to(value, view)


def index_add(x, key, value):
    view = _basic_view(x, key)
    if view is None:
        return _scatter(x, key, value, True)
    from .pointwise import binary_fwd

    layout.copy_to(binary_fwd("add", view, _values(value, x.dtype, view.shape)), view)


# ------------------------------------------------------------------------------------------------- along one
# axis
@functools.cache
def _along_axis_kernel(real):
    zero = real(0)

    @kernel
    def along_axis(x, starts, items, weights, fill, y, before, after, inner, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            column = i // inner
            outer = column // after
            row = column - outer * after
            at = outer * before * inner + i - column * inner
            value = zero if starts[row] < starts[row + 1] else fill
            for e in range(starts[row], starts[row + 1]):
                value += weights[e] * x[at + items[e] * inner]
            y[i] = value

    return along_axis


def along_axis(x, axis, rows, fill=0.0):
    """Apply the sparse matrix ``rows`` to one axis; the result has the memory order of ``x``."""
    order = layout.memory_order(x)
    at = order.index(axis)
    dense = layout.dense(x.transpose(*order))
    shape, real = dense.shape, x.dtype.type
    y = memory.empty((*shape[:at], len(rows), *shape[at + 1 :]), x.dtype)
    tables = rows.starts, rows.items, rows.weights.astype(x.dtype)
    launch(
        _along_axis_kernel(real),
        *grid(y.size),
        dense,
        *map(memory.constant, tables),
        real(fill),
        y,
        shape[at],
        len(rows),
        prod(shape[at + 1 :]),
        y.size,
    )
    return y.transpose(*(order.index(i) for i in range(x.ndim)))


pad_fwd, pad_bwd, interpolate_fwd, interpolate_bwd = resample.ops(along_axis, copy)


# ------------------------------------------------------------------------------------------------- columns
@functools.cache
def _unfold_kernel(real):
    zero = real(0)

    @kernel
    def unfold_windows(x, cols, channels, size, kernel_size, stride, dilation, before, out_size, n):
        # x: N, H, W, C -> cols: N, C, kh, kw, oh, ow
        for item in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest = item // out_size[1]
            q = item - rest * out_size[1]
            p = rest % out_size[0]
            rest = rest // out_size[0]
            v = rest % kernel_size[1]
            rest = rest // kernel_size[1]
            u = rest % kernel_size[0]
            rest = rest // kernel_size[0]
            image = rest // channels
            c = rest - image * channels
            i = p * stride[0] + u * dilation[0] - before[0]
            j = q * stride[1] + v * dilation[1] - before[1]
            inside = i >= 0 and i < size[0] and j >= 0 and j < size[1]
            cols[item] = x[((image * size[0] + i) * size[1] + j) * channels + c] if inside else zero

    return unfold_windows


@functools.cache
def _fold_kernel(real):
    zero = real(0)

    @kernel
    def fold_windows(cols, x, channels, size, kernel_size, stride, dilation, before, out_size, n):
        for item in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest = item // channels
            c = item - rest * channels
            j = rest % size[1] + before[1]
            rest = rest // size[1]
            i = rest % size[0] + before[0]
            image = rest // size[0]
            value = zero
            for u in range(kernel_size[0]):
                a = i - u * dilation[0]
                p = a // stride[0]
                if a >= 0 and p * stride[0] == a and p < out_size[0]:
                    for v in range(kernel_size[1]):
                        b = j - v * dilation[1]
                        q = b // stride[1]
                        if b >= 0 and q * stride[1] == b and q < out_size[1]:
                            tap = ((image * channels + c) * kernel_size[0] + u) * kernel_size[1] + v
                            value += cols[(tap * out_size[0] + p) * out_size[1] + q]
            x[item] = value

    return fold_windows


def _windows(spec):
    return (
        spec.c_in,
        spec.in_size,
        spec.kernel,
        spec.stride,
        spec.dilation,
        tuple(b for b, _ in spec.padding),
        spec.out_size,
    )


def unfold(x, spec):
    cols = memory.empty((spec.batch, spec.c_in * prod(spec.kernel), prod(spec.out_size)), x.dtype)
    launch(
        _unfold_kernel(x.dtype.type), *grid(cols.size), layout.to_ndhwc(x), cols, *_windows(spec), cols.size
    )
    return cols


def fold(cols, spec):
    x, x5 = layout.empty(spec.x_shape, cols.dtype)
    launch(_fold_kernel(cols.dtype.type), *grid(x.size), layout.dense(cols), x5, *_windows(spec), x.size)
    return x
