"""New arrays, and copies between host and device."""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.backends.common.pinned import owner

from . import device, driver, pinned, pool
from .array import DeviceArray
from .context import current

_CONSTANT_BYTES = 16 << 20  # of tables kept
_FEW = 1 << 14  # integers whose range is noted when they are copied to the device


def empty(shape, dtype) -> DeviceArray:
    """An uninitialised C-contiguous array from the pool of the context."""
    dtype, context = np.dtype(dtype), current()
    nbytes = prod(shape) * dtype.itemsize
    y = DeviceArray(context.pool.take(nbytes), shape, dtype)
    if nbytes and not device.on_host and settings.switch("FASTCONV_CUDA_POISON", False):
        # where launches go, so that a graph fills the memory in each replay
        driver.fill(y.address, nbytes, context.target or driver.main_stream())
    return y


def upload(x: np.ndarray, non_blocking: bool = False) -> DeviceArray:
    """A copy of a host array, C-contiguous; ``non_blocking`` as for :func:`write`.

    It does not lie in the memory of a graph, which each replay writes again: a recorded step finds it as it
    is now. Nor is the copy recorded, so other threads may use the array at once.
    """
    x = np.ascontiguousarray(x).reshape(np.shape(x))
    y = DeviceArray(pool.shared.take(x.nbytes), x.shape, x.dtype)
    write(y, x, non_blocking=non_blocking)
    return y


def from_host(x: np.ndarray, non_blocking: bool = False) -> DeviceArray:
    """A copy of a host array with the same order of axes in memory; ``non_blocking`` as for :func:`write`."""
    order = sorted(range(x.ndim), key=lambda i: (-abs(x.strides[i]), i))
    y = upload(x.transpose(order), non_blocking)
    return y.transpose(*(order.index(i) for i in range(x.ndim)))


def write(y: DeviceArray, x: np.ndarray, stream=None, non_blocking: bool = False) -> None:
    """Copy a host array into a device array of its size and dtype, both C-contiguous.

    From ordinary memory the driver returns when it has read all of it. From page-locked memory it returns at
    once, so this function waits for the copy, unless it is ``non_blocking``.

    Parameters
    ----------
    stream : stream of the driver, optional
        By default the stream of kernels.
    """
    y.base.known.clear()
    if x.size == 0:
        return
    if device.on_host:
        y.host_view()[:] = x.reshape(-1)
    else:
        stream = stream or device.stream()
        driver.copy_to_device(y.address, np.ascontiguousarray(x), stream)
        if owner(x) is not None:
            pinned.keep(x, stream) if non_blocking else stream.synchronize()
    if x.dtype.kind in "iu" and x.size <= _FEW:
        y.base.known["range"] = y.offset, y.size, int(x.min()), int(x.max())


def known_range(x: DeviceArray) -> tuple[int, int] | None:
    """The smallest and the largest of the integers in ``x``, if the host wrote them; None: it must look."""
    *where, least, most = x.base.known.get("range", (None, None, 0, 0))
    return (least, most) if where == [x.offset, x.size] else None


_constants: dict = {}


def constant(x: np.ndarray) -> DeviceArray:
    """A table on the device that nobody writes; an equal one that was uploaded before is used again."""
    x = np.ascontiguousarray(x).reshape(np.shape(x))
    key = x.dtype, x.shape, x.tobytes()
    found = _constants.get(key)
    if found is None:
        while sum(a.nbytes for a in list(_constants.values())) > _CONSTANT_BYTES:
            _constants.pop(next(iter(_constants)), None)
        found = _constants[key] = upload(x)
    return found


def download(x: DeviceArray) -> np.ndarray:
    """A copy on the host of an array's memory from first to last element, under its shape and strides."""
    graph = current().graph
    if graph is not None:
        graph.read()
    if device.on_host:
        flat = x.host_view().copy()
    elif x.size:
        flat = np.empty(x.span, x.dtype)
        driver.copy_to_host(flat, x.address, device.stream())
    else:
        flat = np.empty(0, x.dtype)
    return np.ndarray(x.shape, x.dtype, flat, strides=x.strides)


def trim() -> None:
    """Give every free block back to the driver."""
    pool.shared.trim()


def in_use() -> dict[str, int]:
    """Bytes in arrays now and at the peak, and bytes taken from the driver, graphs included."""
    found = [p.statistics() for p in list(pool.pools)]
    used, peak, free = (sum(s[n] for s in found) for n in ("used_bytes", "peak_bytes", "free_bytes"))
    return {"allocated": used, "peak": peak, "reserved": used + free}


def reset_peak() -> None:
    """Count the peak from now on."""
    for p in list(pool.pools):
        p.reset_peak()


def statistics() -> dict[str, int]:
    """Blocks taken, blocks that had to be fresh, and bytes free, in use and at the peak."""
    return pool.shared.statistics()
