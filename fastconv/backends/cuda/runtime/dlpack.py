"""DLPack: device memory lent to other libraries, and theirs borrowed, without a copy.

See https://dmlc.github.io/dlpack.
"""

from __future__ import annotations

import ctypes

import numpy as np

from . import device
from .array import Block, DeviceArray, implements

_NAME, _USED = b"dltensor", b"used_dltensor"
_HOST, _CUDA = 1, 2  # kinds of device; under the simulator memory is the host's
_CODES = {0: "i", 1: "u", 2: "f", 6: "b"}


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


def _function(name, result, *arguments):
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_new = _function("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)
_is_valid = _function("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_pointer = _function("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_rename = _function("PyCapsule_SetName", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)

#: What must live as long as another library holds it, by the address of its ``_Managed``.
lent: dict[int, tuple] = {}


@_Deleter
def _give_back(managed):
    lent.pop(ctypes.addressof(managed.contents), None)


@_Destructor
def _drop(capsule):
    if _is_valid(capsule, _NAME):  # nobody has consumed it
        lent.pop(_pointer(capsule, _NAME), None)


def device_of() -> tuple[int, int]:
    """Kind and number of the device that arrays are on."""
    return (_HOST, 0) if device.on_host else (_CUDA, device.number())


@implements("dlpack_device")
def _device_of_array(x: DeviceArray) -> tuple[int, int]:
    """``__dlpack_device__`` of a device array."""
    return device_of()


def _place(kind: int, number: int) -> str:
    """A device of DLPack in words."""
    if kind == _CUDA:
        return f"memory of GPU {number}"
    return "host memory" if kind == _HOST else f"memory of another kind (DLPack's device type {kind})"


@implements("dlpack")
def lend(x: DeviceArray) -> object:
    """A capsule that describes ``x``, whose memory lives as long as the consumer wants it."""
    x.base.share()
    shape, strides = ((ctypes.c_int64 * x.ndim)(*t) for t in (x.shape, (s // x.itemsize for s in x.strides)))
    code = next(code for code, kind in _CODES.items() if kind == x.dtype.kind)
    tensor = _Tensor(x.address, *device_of(), x.ndim, code, 8 * x.itemsize, 1, shape, strides, 0)
    managed = _Managed(tensor, None, _give_back)
    lent[ctypes.addressof(managed)] = managed, shape, strides, x
    return _new(ctypes.addressof(managed), _NAME, _drop)


class _Loan:
    """Memory of another library, which is told when nobody here uses it any more."""

    def __init__(self, managed):
        self.managed = managed

    def __del__(self):
        if self.managed.deleter:
            self.managed.deleter(self.managed)


def borrow(x) -> DeviceArray:
    """The device memory of any object with ``__dlpack__``.

    Raises
    ------
    TypeError
        If the memory is not that of the device that fastconv computes on, or its elements are neither real
        numbers nor bool.
    ValueError
        If an axis has a negative stride.
    """
    where, here = tuple(map(int, x.__dlpack_device__())), device_of()
    if where != here:
        raise TypeError(
            f"from_dlpack: the array is in {_place(*where)}, and fastconv computes on {_place(*here)}"
        )
    capsule = x.__dlpack__() if device.on_host else x.__dlpack__(stream=int(device.stream()))
    managed = _Managed.from_address(_pointer(id(capsule), _NAME))
    t = managed.tensor
    if t.code not in _CODES or t.lanes != 1:
        raise TypeError(
            f"from_dlpack: expected real numbers or bool, got type code {t.code} with {t.lanes} lanes"
        )
    dtype = np.dtype(f"{_CODES[t.code]}{t.bits // 8}")
    strides = tuple(s * dtype.itemsize for s in t.strides[: t.ndim]) if t.strides else None
    if strides and min(strides) < 0:
        raise ValueError("from_dlpack: an axis runs backwards; copy the array first")
    _rename(id(capsule), _USED)
    block = Block(t.data or 0, _Loan(managed))
    return DeviceArray(block, t.shape[: t.ndim], dtype, strides, t.offset)
