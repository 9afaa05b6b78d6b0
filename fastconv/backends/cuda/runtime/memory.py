"""Arrays on the device and the pool their memory comes from.

A block of memory goes back to the pool (see ``backends/common/blocks.py``) when its last array is gone, and
the next array of that size class takes it: kernels run one after the other on one stream, so whoever used it
before is done by then. A steady training step allocates nothing. Under the simulator blocks are host memory,
filled with NaN when they are taken, so that a kernel which reads what nobody wrote is found out.
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cached_property
from math import prod
from types import SimpleNamespace

import numpy as np
from numba import cuda
from numba.cuda import config

from fastconv.backends.common.blocks import Blocks
from fastconv.checks import shape_str

#: Whether blocks are host memory: under the simulator, and when kernels are compiled without a device.
on_host = bool(config.ENABLE_CUDASIM)

ALIGN = 512
_CONSTANTS = 16 << 20  # bytes of tables kept


class Nothing(dict):
    """What is known of memory that others may write to at any time: it keeps nothing."""

    def __setitem__(self, name, value):
        pass


class Block:
    """A piece of device memory. Base class: memory that belongs to somebody else, kept alive by ``owner``.

    ``known``: what was worked out from the values in it, by name; who writes to the memory clears it.
    ``"moments"``: of the channels of a convolution's result (see ``ops/channel_reduce.py``); ``"bf16"``: a
    rounded copy (see ``conv/bf16.py``).
    """

    __slots__ = ("address", "owner", "views", "known", "__weakref__")

    def __init__(self, address: int, owner):
        self.address, self.owner, self.views, self.known = address, owner, {}, Nothing()


class _Pooled(Block):
    __slots__ = ("pool", "size")

    def __init__(self, address, owner, pool, size):
        super().__init__(address, owner)
        self.pool, self.size, self.known = pool, size, {}

    def __del__(self):
        self.pool.give_block((self.address, self.owner, self.views), self.size)


class Pool(Blocks):
    """Blocks of device memory: address, owner, and the views that were made of it."""

    align = ALIGN

    def take(self, nbytes: int) -> Block:
        (address, owner, views), size = self.take_block(nbytes)
        if on_host:
            owner.fill(0xFF)
        block = _Pooled(address, owner, self, size)
        block.views = views
        return block

    def _fresh(self, size):
        if on_host:
            memory = np.empty(size, np.uint8)
            return memory.ctypes.data, memory, {}
        try:
            memory = cuda.device_array(size, np.uint8)
        except cuda.cudadrv.driver.CudaAPIError as e:
            if "OUT_OF_MEMORY" not in str(e):
                raise
            raise MemoryError from None
        return memory.device_ctypes_pointer.value, memory, {}

    def _release(self):
        close_graphs()
        self.trim()
        _shared.trim()

    def _shrink(self, most):
        if graph is not None and graph.phase == "record":
            return  # neither waiting nor giving back is possible
        if not on_host:
            cuda.synchronize()  # kernels may still be running on them
        super()._shrink(most)

    def _no_memory(self, size):
        if on_host:
            return super()._no_memory(size)
        free, total = (f"{n / 2**20:.1f} MiB" for n in cuda.current_context().get_memory_info())
        return super()._no_memory(size, "device memory", f"{free} of {total} free, ")


pool = _shared = Pool()  # a graph that is being made puts its own in the place of the first
graph = None  # the graph.Graph that is being rehearsed, recorded or refreshed
graphs: weakref.WeakSet = weakref.WeakSet()  # all there are


def close_graphs() -> None:
    """Give back the memory of graphs, which can be done without; unless one is just being made."""
    if graph is None:
        for g in list(graphs):
            g.close()


def dense_strides(shape, itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a C-contiguous array."""
    strides, step = [], itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


class DeviceArray:
    """An array in device memory: what ``numpy.ndarray`` is to the other backends.

    Attributes
    ----------
    shape, dtype, ndim, size, nbytes, itemsize : as in NumPy
    strides : tuple of int
        In bytes, never negative; zero where ``broadcast_to`` repeats.
    base : Block
        Owner of the memory, shared by views.
    offset : int
        Bytes from the start of ``base`` to the first element.
    address : int
        Device pointer to the first element.
    """

    __slots__ = ("base", "offset", "shape", "strides", "dtype", "ndim", "size", "__dict__", "__weakref__")

    def __init__(self, base: Block, shape, dtype, strides=None, offset: int = 0):
        self.base, self.offset, self.dtype = base, offset, np.dtype(dtype)
        self.shape = tuple(shape)
        self.strides = dense_strides(self.shape, self.dtype.itemsize) if strides is None else tuple(strides)
        self.ndim, self.size = len(self.shape), prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def address(self) -> int:
        return self.base.address + self.offset

    @cached_property
    def flags(self):
        contiguous = self.size == 0 or all(
            n == 1 or s == d
            for n, s, d in zip(self.shape, self.strides, dense_strides(self.shape, self.itemsize))
        )
        repeats = any(s == 0 and n > 1 for n, s in zip(self.shape, self.strides))
        return SimpleNamespace(c_contiguous=contiguous, writeable=not repeats)

    def __len__(self) -> int:
        return self.shape[0]

    def __deepcopy__(self, memo):
        from ..ops.shape import copy

        return copy(self)

    def __repr__(self):
        return f"DeviceArray({shape_str(self.shape)}, {self.dtype})"

    def view(self, shape, strides, offset: int = 0) -> DeviceArray:
        """Other geometry on the same memory; ``offset`` in bytes from this array's first element."""
        return DeviceArray(self.base, shape, self.dtype, strides, self.offset + offset)

    def transpose(self, *axes) -> DeviceArray:
        """A view with the axes in another order."""
        return self.view([self.shape[a] for a in axes], [self.strides[a] for a in axes])

    def reshape(self, *shape) -> DeviceArray:
        """A view of a C-contiguous array under another shape; one extent may be -1."""
        assert self.flags.c_contiguous, "reshape: only of C-contiguous arrays; see shape.reshape"
        if -1 in shape:
            known = prod(s for s in shape if s != -1)
            shape = tuple(self.size // max(known, 1) if s == -1 else s for s in shape)
        return self.view(shape, None)

    @property
    def span(self) -> int:
        """Elements from the first to the last in memory, both counted."""
        if self.size == 0:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides)) // self.itemsize

    def flat(self):
        """The memory from the first to the last element as what a kernel takes for a one-dimensional
        array."""
        key = self.offset, self.span, self.dtype
        view = self.base.views.get(key)
        if view is None:
            view = self.base.views[key] = self._flat()
        return view

    def _flat(self):
        if on_host:
            return Flat(self.host_view())
        description = {
            "shape": (self.span,),
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "version": 3,
        }
        return cuda.from_cuda_array_interface(description)  # whoever holds the array keeps its block

    def host_view(self) -> np.ndarray:
        """The memory itself, where it is host memory (``on_host``), as a 1-D array."""
        nbytes = self.span * self.itemsize
        memory = (ctypes.c_byte * nbytes).from_address(self.address) if nbytes else b""
        return np.frombuffer(memory, self.dtype)

    @property
    def __cuda_array_interface__(self):
        from . import launch

        self.base.known = Nothing()  # whoever asks may write
        if on_host:
            raise AttributeError("__cuda_array_interface__: the simulator's arrays are not on a GPU")
        strides = None if self.flags.c_contiguous else self.strides
        return {
            "shape": self.shape,
            "strides": strides,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "stream": int(launch.stream()),
            "version": 3,
        }

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        from . import dlpack, launch

        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("__dlpack__: shares memory where it is; use clone() or cpu() first")
        if stream != -1:  # the taker's stream need not wait then
            launch.synchronize()
        return dlpack.lend(self)

    def __dlpack_device__(self):
        from . import dlpack

        return dlpack.device(self)


class Flat:
    """Host memory as kernels see an array's: one dimension, and checked bounds."""

    __slots__ = ("array", "dtype", "size", "shape", "itemsize")

    def __init__(self, array: np.ndarray):
        self.array, self.dtype, self.size, self.shape = array, array.dtype, array.size, array.shape
        self.itemsize = array.itemsize

    def __len__(self):
        return self.size

    def _check(self, i):
        if i < 0:
            raise IndexError(f"index {i} is below zero")

    def __getitem__(self, i):
        self._check(i)
        return self.array[i]

    def __setitem__(self, i, value):
        self._check(i)
        self.array[i] = value


class Window:
    """Host memory from ``address`` on as an array without end (see :func:`window`)."""

    def __init__(self, dtype, address):
        self.dtype, self.address = dtype, address
        self.kind = np.ctypeslib.as_ctypes_type(dtype)

    def _at(self, i):
        return self.kind.from_address(self.address + int(i) * self.dtype.itemsize)

    def __getitem__(self, i):
        return self.dtype.type(self._at(i).value)

    def __setitem__(self, i, value):
        self._at(i).value = self.dtype.type(value)


def window(arrays):
    """All memory from the first of ``arrays`` on, for kernels that follow a table of places: a kernel
    argument, and the address of its element 0. Kernels check no bounds, so one argument reaches every array
    of that dtype."""
    first = min(arrays, key=lambda a: a.address)
    return Window(first.dtype, first.address) if on_host else first, first.address


def empty(shape, dtype) -> DeviceArray:
    """An uninitialised C-contiguous array from the pool."""
    dtype = np.dtype(dtype)
    return DeviceArray(pool.take(prod(shape) * dtype.itemsize), shape, dtype)


def upload(x: np.ndarray) -> DeviceArray:
    """A copy of a host array, C-contiguous."""
    x = np.ascontiguousarray(x).reshape(np.shape(x))
    if graph is not None:
        return graph.upload(x)
    y = empty(x.shape, x.dtype)
    write(y, x)
    return y


def write(y: DeviceArray, x: np.ndarray, stream=None) -> None:
    """Copy a host array into a device array of its size and dtype, both C-contiguous; on the stream of
    kernels if None."""
    y.base.known.clear()
    if x.size == 0:
        return
    if on_host:
        y.host_view()[:] = x.reshape(-1)
    else:
        from . import launch

        y.flat().copy_to_device(x.reshape(-1), stream=stream or launch.stream())


_constants: dict = {}


def constant(x: np.ndarray) -> DeviceArray:
    """A table on the device that nobody writes; an equal one that was uploaded before is used again."""
    x = np.ascontiguousarray(x).reshape(np.shape(x))
    key = x.dtype, x.shape, x.tobytes()
    if key not in _constants:
        while sum(a.nbytes for a in _constants.values()) > _CONSTANTS:
            del _constants[next(iter(_constants))]
        _constants[key] = upload(x)
    return _constants[key]


def download(x: DeviceArray) -> np.ndarray:
    """A copy of an array's memory from its first to its last element under its shape and strides, on the
    host."""
    if graph is not None:
        graph.read()
    if on_host:
        flat = x.host_view().copy()
    elif x.size:
        from . import launch

        flat = x.flat().copy_to_host(stream=launch.stream())
        launch.stream().synchronize()
    else:
        flat = np.empty(0, x.dtype)
    return np.ndarray(x.shape, x.dtype, flat, strides=x.strides)


def trim() -> None:
    """Give every free block back to the driver."""
    pool.trim()


def statistics() -> dict[str, int]:
    """Blocks taken, blocks that had to be fresh, and bytes free, in use and at the peak."""
    return pool.statistics()
