"""The format of the package safetensors: the length of a JSON header, the header, and then the arrays."""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import json
from math import prod
from typing import Any, BinaryIO

import numpy as np

from . import raw, tree

#: Dtype as the files name it -> code for ``raw``.
DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": "bf",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U64": "u8",
    "U32": "u4",
    "U16": "u2",
    "U8": "u1",
    "BOOL": "?",
}


def write(f: BinaryIO, arrays: dict[str, np.ndarray], text: str | None, under: str = tree.TEXT) -> None:
    """Write the header and the arrays, those with the widest numbers first, so that all are aligned.

    ``text`` is stored in the metadata under the name ``under``.
    """
    header: dict[str, Any] = {} if text is None else {"__metadata__": {under: text}}
    end = 0
    names = {np.dtype(code): name for name, code in DTYPES.items() if code != "bf"}
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    for name in order:
        a, start = arrays[name], end
        end += a.nbytes
        header[name] = {
            "dtype": names[a.dtype.newbyteorder("=")],
            "shape": a.shape,
            "data_offsets": [start, end],
        }
    words = json.dumps({name: header[name] for name in ("__metadata__", *arrays) if name in header}).encode()
    words += b" " * (-len(words) % 8)
    f.write(len(words).to_bytes(8, "little") + words)
    for name in order:
        f.write(
            np.ascontiguousarray(arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False)).data
        )


def read(f: BinaryIO, size: int) -> Any:
    """The contents of an open file of ``size`` bytes."""
    arrays, metadata = contents(f, size)
    return tree.unpack(arrays, metadata.get(tree.TEXT))


def contents(f: BinaryIO, size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the metadata in an open file of ``size`` bytes."""
    length = int.from_bytes(f.read(8), "little")
    if length > size - 8:
        raise ValueError(f"the file says that its header has {length} bytes")
    header = json.loads(f.read(length), object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ValueError(f"its header is a {type(header).__name__}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError(f"its metadata is a {type(metadata).__name__}")
    start = 8 + length
    arrays: dict[str, np.ndarray] = {}
    _check_order({name: _extent(name, entry) for name, entry in header.items()}, size - start)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        f.seek(start + begin)
        arrays[name] = raw.decode(f.read(end - begin), DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; a ValueError if a name occurs twice."""
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError(f"{next(n for i, (n, _) in enumerate(pairs) if n in dict(pairs[:i]))} occurs twice")
    return names


def _sizes(x: object) -> bool:
    return isinstance(x, list) and all(type(n) is int and n >= 0 for n in x)


def _extent(name: str, entry: Any) -> tuple[int, int]:
    """The byte offsets of the begin and the end of one array; everything in its entry is checked."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise ValueError(f"{name} has no dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in DTYPES:
        raise ValueError(f"{name} is of type {kind}, and {', '.join(DTYPES)} are read")
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name} has the shape {shape} and the offsets {offsets}")
    begin, end = offsets
    expected = prod(shape) * raw.itemsize(DTYPES[kind])
    if end - begin != expected:
        raise ValueError(
            f"{name} of shape {shape} and type {kind} takes {expected} bytes, its offsets {begin} to {end} "
            f"span {end - begin}"
        )
    return begin, end


def _check_order(extents: dict[str, tuple[int, int]], size: int) -> None:
    """Check that the arrays fill the rest of the file, one after the other."""
    at = 0
    for name, (begin, end) in sorted(extents.items(), key=lambda item: item[1]):
        if begin != at:
            raise ValueError(f"{name} begins at {begin}, but the array before it ends at {at}")
        at = end
    if at != size:
        raise ValueError(f"the arrays take {at} bytes, the file has {size} of them")
