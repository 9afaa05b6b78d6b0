"""Reading PyTorch's files without PyTorch and without trusting them.

Such a file holds a pickle (see ``pickled.py``) and storages, which are arrays of numbers. Since PyTorch 1.6
these are entries of a zip archive. In the format before that, the storages follow the pickle.
"""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from ..tensor import Tensor
from . import pickle_machine, pickled, raw
from .pickled import Refused, Unread

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the older format begins with these

#: Name of a storage's class -> its code for ``raw``.
STORAGES = {
    f"torch.{name}Storage": code
    for name, code in (
        ("Float", "f4"),
        ("Double", "f8"),
        ("Half", "f2"),
        ("BFloat16", "bf"),
        ("Long", "i8"),
        ("Int", "i4"),
        ("Short", "i2"),
        ("Char", "i1"),
        ("Byte", "u1"),
        ("Bool", "?"),
    )
} | {"torch.storage.UntypedStorage": "u1"}

#: Name -> the value that it stands for. Dtypes become NumPy's. NumPy has no bfloat16, so it stays a string.
CONSTANTS = (
    pickled.CONSTANTS
    | {
        f"torch.{name}": np.dtype(name)
        for name in (
            "float64",
            "float32",
            "float16",
            "int64",
            "int32",
            "int16",
            "int8",
            "uint64",
            "uint32",
            "uint16",
            "uint8",
            "bool",
        )
    }
    | {
        name: name
        for name in (
            "torch.bfloat16",
            "torch.Tensor",
            "torch.nn.parameter.Parameter",
            "torch.nn.parameter.Buffer",
            *STORAGES,
        )
    }
)


# ------------------------------------------------------------------------------------------------- calls
def _sized(size: Any, stride: Any, offset: Any) -> bool:
    """Whether ``size`` and ``stride`` are tuples of ints of one length, ``offset`` is an int, and none is
    negative."""
    return (
        isinstance(size, tuple)
        and isinstance(stride, tuple)
        and len(size) == len(stride)
        and all(type(n) is int and n >= 0 for n in (*size, *stride, offset))
    )


def _tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> Tensor:
    """A view of a storage, which must not leave its bounds."""
    array = storage.numpy()
    # The storage must be a whole array, because a view does not show how much memory there is.
    whole = array.ndim == 1 and array.flags.c_contiguous
    if not whole or not _sized(size, stride, offset):
        raise ValueError(
            "a tensor without a storage of its own, or with an invalid size, stride or offset, leaves its "
            "storage"
        )
    end = 1 + offset + sum((n - 1) * step for n, step in zip(size, stride))
    if offset > array.size or (0 not in size and end > array.size):
        raise ValueError(
            f"a tensor of size {size}, stride {stride} leaves its storage of {array.size} elements"
        )
    view = np.lib.stride_tricks.as_strided(array[offset:], size, [s * array.itemsize for s in stride])
    for bit, on in (metadata or {}).items():
        if on and bit != "neg":
            raise Refused(f"a tensor is marked {bit!r}")
    return Tensor(np.negative(view) if (metadata or {}).get("neg") else view)


def _tensor_of(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    """The same for dtypes that have no storage class; then ``storage`` holds bytes."""
    if not isinstance(dtype, np.dtype):
        raise Refused(f"a tensor is of type {dtype}")
    return _tensor(
        Tensor(storage.numpy().view(dtype.newbyteorder("<"))), offset, size, stride, metadata=metadata
    )


def _of_type(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor that was saved with Python attributes; these are left out."""
    if not isinstance(function, str) or function not in TENSORS:
        raise Refused(f"it calls {function if isinstance(function, str) else type(function).__name__}")
    if unread := [a for a in args if isinstance(a, Unread)]:
        return unread[0]
    return TENSORS[function](*args)


TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
}
CALLS: dict[str, Callable[..., Any]] = (
    pickled.CALLS
    | TENSORS
    | {
        "torch._tensor._rebuild_from_type_v2": _of_type,
        "torch.Size": tuple,
        "torch.device": lambda kind, *index: kind,
    }
)


def _unpickle(file: BinaryIO, storage: Callable[..., Any], strict: bool) -> Any:
    """The value of the pickle; ``storage(key, code, numel, ...)`` returns the 1-D Tensor of a storage."""

    def persistent(kind: Any, key: Any, location: Any, numel: Any, *view: Any) -> Any:
        if isinstance(kind, Unread):
            return kind
        if not isinstance(key, str) or type(numel) is not int:
            raise ValueError("a storage without a name or a size")
        if not isinstance(kind, str) or kind not in STORAGES:
            raise Refused(f"it takes {kind if isinstance(kind, str) else type(kind).__name__} for a storage")
        return storage(key, STORAGES[kind], numel, *view)

    return pickle_machine.unpickle(file, CALLS, CONSTANTS, persistent, strict)


# ------------------------------------------------------------------------------------------------- formats
def read_zip(archive: zipfile.ZipFile, strict: bool) -> Any:
    """The value of an open archive."""
    names = [n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"]
    if len(names) != 1:
        raise ValueError("there is no data.pkl in this zip archive")
    folder = names[0].removesuffix("data.pkl")
    _check_order(
        f"{folder}byteorder" not in archive.namelist() or archive.read(f"{folder}byteorder") == b"little"
    )
    found: dict[tuple[str, str], Tensor] = {}

    def storage(key: str, code: str, numel: int) -> Tensor:
        if (key, code) not in found:
            entry = archive.getinfo(f"{folder}data/{key}")
            _check_size(key, entry.file_size, numel * raw.itemsize(code), "bytes")
            found[key, code] = Tensor(raw.decode(archive.read(entry), code))
        _check_size(key, found[key, code].numel(), numel, "elements")
        return found[key, code]

    return _unpickle(BytesIO(archive.read(names[0])), storage, strict)


def read_legacy(f: BinaryIO, size: int, strict: bool) -> Any:
    """The value of a file in the format before PyTorch 1.6, of ``size`` bytes.

    It holds five pickles (magic number, protocol, properties of the system, value, the keys of the storages),
    and then the storages in the order of the keys.
    """
    found: dict[str, tuple[Tensor, str]] = {}
    total = 0

    def storage(key: str, code: str, numel: int, view: Any = None) -> Tensor:
        nonlocal total
        if key not in found:
            if numel < 0 or (total := total + numel * raw.itemsize(code)) > size:
                raise ValueError(f"storage {key} of {numel} elements is larger than the file")
            found[key] = Tensor(np.zeros(numel, raw.decode(b"", code).dtype)), code  # filled below
        whole, known = found[key]
        _check_size(key, numel, whole.numel(), "elements")
        if known != code:
            raise ValueError(f"storage {key} is used with two types of numbers")
        return whole if view is None else whole[view[1] : view[1] + view[2]]

    head = [_unpickle(f, storage, True) for _ in range(3)]
    if head[:2] != [MAGIC, PROTOCOL]:
        raise ValueError("it does not start with PyTorch's magic number")
    _check_order(head[2]["little_endian"])
    start = f.tell()
    _unpickle(f, storage, strict)  # this pass finds the types of the storages, whose numbers come later
    for key in _unpickle(f, storage, True):
        if not isinstance(key, str):
            raise ValueError("a storage without a name")
        numel = int.from_bytes(f.read(8), "little")
        if key not in found:
            raise ValueError(f"storage {key} is of a kind that is not read")
        whole, code = found[key]
        _check_size(key, numel, whole.numel(), "elements")
        data = f.read(numel * raw.itemsize(code))
        _check_size(key, len(data), numel * raw.itemsize(code), "bytes")
        whole.numpy()[:] = raw.decode(data, code)
    f.seek(start)
    return _unpickle(f, storage, strict)


def _check_order(little: bool) -> None:
    if not little:
        raise ValueError("its numbers are big-endian")


def _check_size(key: str, got: int, expected: int, unit: str) -> None:
    if got != expected:
        raise ValueError(f"storage {key} has {got} {unit}, but the file says {expected}")
