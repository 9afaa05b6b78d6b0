"""PyTorch's files, read without PyTorch and without trusting them.

Such a file is a pickle: a program for a small stack machine whose instructions can call any function by its name. The
machine here knows the instructions that build numbers, strings and containers, and the few names in :data:`CALLS`, with
functions of our own behind them, which make arrays and containers. Every other name or instruction is refused.

The numbers themselves lie beside the pickle: as entries of a zip archive, or behind it in the format before PyTorch 1.6.
"""

from __future__ import annotations

import zipfile
from io import BytesIO
from pickletools import genops

import numpy as np

from ..tensor import Tensor
from . import raw

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what the older format starts with

#: Name of a storage's class or of a dtype -> its code for ``raw``.
DTYPES = {f"torch.{name}Storage": code for name, code in (
    ("Float", "f4"), ("Double", "f8"), ("Half", "f2"), ("BFloat16", "bf"), ("Long", "i8"), ("Int", "i4"),
    ("Short", "i2"), ("Char", "i1"), ("Byte", "u1"), ("Bool", "?"),
)} | {"torch.storage.UntypedStorage": "u1", "torch.uint16": "u2", "torch.uint32": "u4", "torch.uint64": "u8"}  # fmt: skip


class Refused(ValueError):
    """A file asks for something that is no data."""


class _Name(str):
    """A name that :data:`CALLS` or :data:`DTYPES` knows, as the file spelled it; just a string if nobody calls it."""


# ------------------------------------------------------------------------------------------------- what may be called
def _tensor(storage, offset, size, stride, *_):
    """A view of a storage, inside its bounds."""
    array = storage.numpy()
    end = 1 + offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    whole = array.ndim == 1 and array.flags.c_contiguous  # a view of a tensor could hide how little memory there is
    if not whole or min(*size, *stride, offset, 0) < 0 or (0 not in size and end > array.size):
        raise ValueError(f"a tensor of size {size}, stride {stride} leaves its storage of {array.size} elements")
    return Tensor(np.lib.stride_tricks.as_strided(array[offset:], size, [s * array.itemsize for s in stride]))


def _tensor_of(storage, offset, size, stride, requires_grad, hooks, dtype, *_):
    """The same for dtypes without a storage class: ``storage`` is bytes."""
    return _tensor(Tensor(storage.numpy().view("<" + DTYPES[dtype])), offset, size, stride)


CALLS = {
    "collections.OrderedDict": dict,
    "collections.Counter": dict,
    "builtins.set": set,
    "__builtin__.set": set,
    "torch.Size": tuple,
    "torch.device": lambda kind, *index: kind,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
}


# ------------------------------------------------------------------------------------------------- the stack machine
LITERALS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
            "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
            "BINBYTES8"}  # fmt: skip
MAKERS = {"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple,
          "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}  # fmt: skip


def _known(name: str) -> _Name:
    if name not in CALLS and name not in DTYPES:
        raise Refused(f"it refers to {name}")
    return _Name(name)


def _unpickle(file, storage):
    """The value of the pickle that starts here in ``file``; ``storage`` makes a 1-D Tensor of what is named there."""
    stack, marks, memo = [], [], {}

    def since_mark():
        at = marks.pop()
        items = stack[at:]
        del stack[at:]
        return items

    def pairs():
        items = since_mark()
        return zip(items[::2], items[1::2], strict=True)

    for opcode, arg, _ in genops(file):
        match opcode.name:
            case op if op in LITERALS:
                stack.append(arg)
            case op if op in MAKERS:
                stack.append(MAKERS[op]())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as op:
                stack[-int(op[-1]) :] = [tuple(stack[-int(op[-1]) :])]
            case "LIST":
                stack.append(since_mark())
            case "DICT":
                stack.append(dict(pairs()))
            case "APPEND":
                value = stack.pop()
                stack[-1].append(value)
            case "APPENDS":
                values = since_mark()
                stack[-1].extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                items = dict(pairs())
                stack[-1].update(items)
            case "ADDITEMS":
                values = since_mark()
                stack[-1].update(values)
            case "GLOBAL":
                stack.append(_known(arg.replace(" ", ".")))
            case "STACK_GLOBAL":
                name = stack.pop()
                stack.append(_known(f"{stack.pop()}.{name}"))
            case "REDUCE":
                args, name = stack.pop(), stack.pop()
                if not isinstance(name, _Name) or name not in CALLS:
                    raise Refused(f"it calls {name!r}")
                stack.append(CALLS[name](*args))
            case "BUILD":  # attributes of a dict, such as the versions of modules
                stack.pop()
                if not isinstance(stack[-1], dict):
                    raise Refused(f"it sets attributes of {type(stack[-1]).__name__}")
            case "BINPERSID":
                kind, dtype, key, _, numel, *view = stack.pop()
                if kind != "storage":
                    raise Refused(f"it refers to {kind!r} outside it")
                stack.append(storage(key, DTYPES[dtype], numel, *view))
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case op:
                raise Refused(f"it uses the pickle instruction {op}")


# ------------------------------------------------------------------------------------------------- the two formats
def read(path):
    """The tensors, numbers, strings and containers of the file at ``path``."""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as f:
            return _read_legacy(f, path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"]
        if len(names) != 1:
            raise ValueError("there is no data.pkl in this zip archive")
        folder = names[0].removesuffix("data.pkl")
        _check_order(f"{folder}byteorder" not in archive.namelist() or archive.read(f"{folder}byteorder") == b"little")
        found = {}

        def storage(key, code, numel):
            if key not in found:
                found[key] = Tensor(raw.decode(archive.read(f"{folder}data/{key}"), code))
                _check_size(key, found[key].numel(), numel)
            return found[key]

        return _unpickle(BytesIO(archive.read(names[0])), storage)


def _read_legacy(f, size):
    """Four pickles (magic number, protocol, system, value), the keys of the storages, and these in that order."""
    found = {}

    def storage(key, code, numel, view=None):
        if key not in found:
            if not 0 <= numel * raw.itemsize(code) <= size:
                raise ValueError(f"storage {key} of {numel} elements is larger than the file")
            found[key] = Tensor(np.zeros(numel, raw.decode(b"", code).dtype)), code  # filled below
        whole = found[key][0]
        return whole if view is None else whole[view[1] : view[1] + view[2]]

    head = [_unpickle(f, storage) for _ in range(3)]
    if head[:2] != [MAGIC, PROTOCOL]:
        raise ValueError("it does not start with PyTorch's magic number")
    _check_order(head[2]["little_endian"])
    value = _unpickle(f, storage)
    for key in _unpickle(f, storage):
        whole, code = found[key]
        _check_size(key, int.from_bytes(f.read(8), "little"), whole.numel())
        whole.numpy()[:] = raw.decode(f.read(whole.numel() * raw.itemsize(code)), code)
    return value


def _check_order(little: bool) -> None:
    if not little:
        raise ValueError("its numbers are big-endian")


def _check_size(key, got: int, expected: int) -> None:
    if got != expected:
        raise ValueError(f"storage {key} has {got} elements, {expected} were announced")
