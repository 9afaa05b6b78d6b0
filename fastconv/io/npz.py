"""NumPy's ``.npz`` archives, without pickle."""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import zipfile
from math import prod
from typing import Any, BinaryIO

import numpy as np

from . import tree


def write(f: BinaryIO, arrays: dict[str, np.ndarray], text: str | None) -> None:
    """Write one entry per array, and one for the text."""
    if text is not None:
        arrays = {**arrays, tree.TEXT: np.frombuffer(text.encode(), np.uint8)}
    with zipfile.ZipFile(f, "w") as z:
        for name, a in arrays.items():
            with z.open(name + ".npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, a, allow_pickle=False)


def read(archive: zipfile.ZipFile) -> Any:
    """The contents of an open archive."""
    arrays: dict[str, np.ndarray] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name in arrays:
            raise ValueError(f"{name} occurs twice")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed in a way that NumPy does not use")
        arrays[name] = _array(name, archive, entry)
    text = arrays.pop(tree.TEXT, None)
    return tree.unpack(arrays, None if text is None else text.tobytes().decode())


def _array(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """The array of one entry. Its bytes are read first, and must be as many as its header says."""
    with archive.open(entry) as f:  # it is read to its end, because zipfile verifies the checksum there
        version = np.lib.format.read_magic(f)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if header is None:
            raise ValueError(f"{name} is of version {version} of NumPy's format")
        shape, fortran, dtype = header(f)
        if dtype.kind not in "fiub":
            raise ValueError(f"{name} is of type {dtype}, and numbers and booleans are read")
        data = bytearray(f.read())
    if not all(type(n) is int and n >= 0 for n in shape) or prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{name} of shape {shape} and type {dtype} has {len(data)} bytes")
    array = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
    return array.reshape(shape, order="F" if fortran else "C")
