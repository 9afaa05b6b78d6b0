"""Writing PyTorch's file format without PyTorch; ``torch.load`` reads it, with ``weights_only=True`` too.

A file is a zip archive of these entries, all stored without compression::

    archive/data.pkl       a pickle of the containers; a tensor in it names its storage
    archive/data/0, 1, ..  the storages: the numbers of each array, in logical order
    archive/version        3
    archive/byteorder      the byte order of the storages, "little" or "big"

Only opcodes of pickle's protocol 2 are used. Python's own pickler is not used, because it cannot name classes
of a module that is not installed.
"""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import struct
import sys
import zipfile
from typing import Any, BinaryIO

import numpy as np

from ..checks import check
from ..tensor import Tensor
from . import pth, tree

_STORAGES = {code: name for name, code in pth.STORAGES.items() if not name.endswith("UntypedStorage")}


def write(f: BinaryIO, arrays: dict[str, np.ndarray], text: str | None) -> None:
    """Write the containers as a pickle, and one storage per array."""
    storages: list[np.ndarray] = []
    program = bytearray(b"\x80\x02")  # the protocol
    _value(tree.unpack(arrays, text), program, storages)
    program += b"."
    with zipfile.ZipFile(f, "w") as z:
        z.writestr("archive/data.pkl", bytes(program))
        z.writestr("archive/byteorder", sys.byteorder)
        for i, a in enumerate(storages):
            with z.open(f"archive/data/{i}", "w", force_zip64=True) as entry:
                entry.write(a.reshape(-1).view(np.uint8).data)
        z.writestr("archive/version", "3\n")


def _value(x: Any, out: bytearray, storages: list[np.ndarray]) -> None:
    """Append the opcodes that put ``x`` on the stack of a pickle's machine."""
    match x:
        case None:
            out += b"N"
        case bool():
            out += b"\x88" if x else b"\x89"
        case int():
            size = x.bit_length() // 8 + 1
            check(size < 256, "save", f"expected an int of less than 2040 bits, got {x.bit_length()} bits")
            out += b"\x8a" + bytes([size]) + x.to_bytes(size, "little", signed=True)
        case float():
            out += b"G" + struct.pack(">d", x)
        case str():
            data = x.encode("utf-8", "surrogatepass")
            out += b"X" + struct.pack("<I", len(data)) + data
        case Tensor():
            _tensor(x.numpy(), out, storages)
        case list() | tuple():
            out += b"(" if isinstance(x, tuple) else b"]("
            for item in x:
                _value(item, out, storages)
            out += b"t" if isinstance(x, tuple) else b"e"
        case _:
            out += b"}("
            for key, item in x.items():
                _value(key, out, storages)
                _value(item, out, storages)
            out += b"u"


def _tensor(a: np.ndarray, out: bytearray, storages: list[np.ndarray]) -> None:
    """Append the call that makes a tensor from a storage. Its arguments are the storage, offset, shape,
    strides, whether the tensor requires gradients, and an empty dict of hooks."""
    code = "?" if a.dtype.kind == "b" else f"{a.dtype.kind}{a.dtype.itemsize}"
    check(
        code in _STORAGES,
        "save",
        f"PyTorch's files hold no {a.dtype}; convert it, e.g. with .astype('int64'), or save as .npz",
        TypeError,
    )
    out += b"ctorch._utils\n_rebuild_tensor_v2\n(("
    _value("storage", out, storages)
    module, _, name = _STORAGES[code].rpartition(".")
    out += f"c{module}\n{name}\n".encode()
    for part in (str(len(storages)), "cpu", a.size):
        _value(part, out, storages)
    out += b"tQ"  # a persistent id, by which the reader finds the storage
    strides = tuple(int(np.prod(a.shape[i + 1 :], dtype=np.int64)) for i in range(a.ndim))
    for part in (0, a.shape, strides, False):
        _value(part, out, storages)
    out += b"ccollections\nOrderedDict\n)RtR"
    storages.append(a)
