"""Arrays in device memory: geometry on a block of memory, and what kernels see of it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastconv.checks import shape_str

from . import device

_F = TypeVar("_F", bound=Callable)


class _KeepsNothing(dict):
    """A dictionary that forgets: nothing is known of memory that others may write to at any time."""

    def __setitem__(self, name, value):
        pass


class Block:
    """A piece of device memory. The base class is for memory of another library, kept alive by ``owner``.

    Attributes
    ----------
    address : int
        Device pointer to the first byte.
    owner : object
        What keeps the memory alive.
    views : dict
        What kernels see of arrays in host memory, by offset, size and dtype (see :meth:`DeviceArray.flat`).
    known : dict
        What was computed from the values in memory, by name: ``"moments"`` of the channels of a convolution's
        result (see ``ops/channel_reduce.py``), ``"bf16"``, a rounded copy (see ``conv/bf16.py``),
        ``"range"`` of integers that the host wrote (see ``memory.py``). Code that writes to the memory
        clears it.
    """

    __slots__ = ("address", "owner", "views", "known", "__weakref__")

    def __init__(self, address: int, owner: object):
        self.address, self.owner = address, owner
        self.views: dict[tuple, Any] = {}
        self.known: dict[str, Any] = _KeepsNothing()

    def share(self) -> None:
        """Note that code outside of fastconv may write to the memory at any time from now on."""
        self.known = _KeepsNothing()


#: What arrays need and modules above this one implement, by name: "copy" (``layout.py``), "dlpack" and
#: "dlpack_device" (``dlpack.py``).
_implemented: dict[str, Callable] = {}


def implements(name: str) -> Callable[[_F], _F]:
    """Decorate the function that does ``name`` for :class:`DeviceArray`."""

    def register(function: _F) -> _F:
        _implemented[name] = function
        return function

    return register


def dense_strides(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a C-contiguous array."""
    strides, step = [], itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


class Flags(NamedTuple):
    """Those of NumPy's flags that code asks for."""

    c_contiguous: bool
    writeable: bool  #: no element is repeated


class Geometry(NamedTuple):
    """What follows from shape, strides and size of an element.

    Arrays of the same geometry share it, because Python would take longer to compute it than a small kernel
    runs.

    Attributes
    ----------
    strides : tuple of int
        In bytes.
    steps : tuple of int
        Strides in elements.
    ndim, size : int
        As in NumPy.
    span : int
        Elements from the first to the last in memory, both counted.
    order : tuple of int
        The axes from the slowest to the fastest varying in memory.
    flags : Flags
    channels_last : bool
        Whether ``N, C, *spatial`` lies in memory as a C-contiguous ``N, *spatial, C``.
    """

    strides: tuple[int, ...]
    steps: tuple[int, ...]
    ndim: int
    size: int
    span: int
    order: tuple[int, ...]
    flags: Flags
    channels_last: bool


def _contiguous(shape, strides, itemsize):
    dense = dense_strides(shape, itemsize)
    return 0 in shape or all(n == 1 or s == d for n, s, d in zip(shape, strides, dense))


@lru_cache(maxsize=1 << 14)
def _geometry(shape: tuple[int, ...], strides: tuple[int, ...] | None, itemsize: int) -> Geometry:
    shape = tuple(map(int, shape))
    strides = dense_strides(shape, itemsize) if strides is None else tuple(map(int, strides))
    size, ndim = prod(shape), len(shape)
    span = 1 + sum((n - 1) * s for n, s in zip(shape, strides)) // itemsize if size else 0
    repeats = any(s == 0 and n > 1 for n, s in zip(shape, strides))
    order = tuple(sorted(range(ndim), key=lambda i: (-strides[i], i)))
    steps = tuple(s // itemsize for s in strides)
    flags = Flags(_contiguous(shape, strides, itemsize), not repeats)
    to_memory = (0, *range(2, ndim), 1) if ndim > 1 else ()
    moved, their_strides = ([values[i] for i in to_memory] for values in (shape, strides))
    channels_last = ndim > 1 and _contiguous(moved, their_strides, itemsize)
    return Geometry(strides, steps, ndim, size, span, order, flags, channels_last)


class DeviceArray:
    """An array in device memory: what ``numpy.ndarray`` is to the other backends.

    Attributes
    ----------
    shape, dtype, ndim, size, nbytes, itemsize : as in NumPy
    strides : tuple of int
        In bytes, never negative; zero where ``broadcast_to`` repeats.
    geometry : Geometry
        What follows from these.
    base : Block
        Owner of the memory, shared by views.
    offset : int
        Bytes from the start of ``base`` to the first element.
    address : int
        Device pointer to the first element.
    """

    __slots__ = (
        "base",
        "offset",
        "address",
        "shape",
        "strides",
        "dtype",
        "ndim",
        "size",
        "geometry",
        "__weakref__",
    )

    def __init__(self, base: Block, shape, dtype, strides=None, offset: int = 0):
        self.base, self.offset, self.address = base, offset, base.address + offset
        self.dtype = dtype = np.dtype(dtype)
        self.shape: tuple[int, ...] = tuple(shape)
        self.geometry = known = _geometry(
            self.shape, None if strides is None else tuple(strides), dtype.itemsize
        )
        self.strides, self.ndim, self.size = known.strides, known.ndim, known.size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def flags(self) -> Flags:
        return self.geometry.flags

    @property
    def span(self) -> int:
        """Elements from the first to the last in memory, both counted."""
        return self.geometry.span

    def __len__(self) -> int:
        return self.shape[0]

    def __deepcopy__(self, memo) -> DeviceArray:
        return _implemented["copy"](self)

    def __repr__(self) -> str:
        return f"DeviceArray({shape_str(self.shape)}, {self.dtype})"

    def view(self, shape, strides, offset: int = 0) -> DeviceArray:
        """Other geometry on the same memory; ``offset`` in bytes from this array's first element."""
        return DeviceArray(self.base, shape, self.dtype, strides, self.offset + offset)

    def transpose(self, *axes: int) -> DeviceArray:
        """A view with the axes in another order."""
        return self.view([self.shape[a] for a in axes], [self.strides[a] for a in axes])

    def reshape(self, *shape: int) -> DeviceArray:
        """A view of a C-contiguous array under another shape; one extent may be -1."""
        assert self.flags.c_contiguous, "reshape: only of C-contiguous arrays; see views.reshape"
        if -1 in shape:
            known = prod(s for s in shape if s != -1)
            shape = tuple(self.size // max(known, 1) if s == -1 else s for s in shape)
        return self.view(shape, None)

    def flat(self) -> Flat:
        """The memory from the first to the last element, as kernels see it; only where it is host memory."""
        key = self.offset, self.span, self.dtype
        view = self.base.views.get(key)
        if view is None:
            view = self.base.views[key] = Flat(self.host_view())
        return view

    def host_view(self) -> np.ndarray:
        """The memory as a 1-D NumPy array; only where it is host memory (``device.on_host``)."""
        nbytes = self.span * self.itemsize
        memory: Any = (ctypes.c_byte * nbytes).from_address(self.address) if nbytes else b""
        return np.frombuffer(memory, self.dtype)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self.base.share()
        if device.on_host:
            raise AttributeError("__cuda_array_interface__: the simulator's arrays are not on a GPU")
        strides = None if self.flags.c_contiguous else self.strides
        return {
            "shape": self.shape,
            "strides": strides,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "stream": int(device.stream()),
            "version": 3,
        }

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("__dlpack__: shares memory where it is; use clone() or cpu() first")
        if stream != -1:  # -1: the consumer does not want to wait
            device.synchronize()
        return _implemented["dlpack"](self)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _implemented["dlpack_device"](self)


class Flat:
    """Host memory as kernels see an array's: one dimension, and checked bounds."""

    __slots__ = ("array", "dtype", "size", "shape", "itemsize")

    def __init__(self, array: np.ndarray):
        self.array, self.dtype, self.size, self.shape = array, array.dtype, array.size, array.shape
        self.itemsize = array.itemsize

    def __len__(self) -> int:
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

    def __init__(self, dtype: np.dtype, address: int):
        self.dtype, self.address = dtype, address
        self.kind = np.ctypeslib.as_ctypes_type(dtype)

    def _at(self, i):
        return self.kind.from_address(self.address + int(i) * self.dtype.itemsize)

    def __getitem__(self, i):
        return self.dtype.type(self._at(i).value)

    def __setitem__(self, i, value):
        self._at(i).value = self.dtype.type(value)


def window(arrays: Sequence[DeviceArray]) -> tuple[Window | DeviceArray, int]:
    """One kernel argument that reaches all of ``arrays``, and the address of its element 0.

    It is for kernels that follow a table of places. Kernels check no bounds, so an argument that starts at
    the first of the arrays in memory reaches every other one of that dtype.
    """
    first = min(arrays, key=attrgetter("address"))
    return Window(first.dtype, first.address) if device.on_host else first, first.address
