"""Decoding of numbers in files, which are little-endian.

A ``code`` is NumPy's code of the dtype without the byte order, such as "f4", or "bf" for bfloat16.
"""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import numpy as np


def itemsize(code: str) -> int:
    """Bytes per number."""
    return 2 if code == "bf" else np.dtype(code).itemsize


def decode(data: bytes, code: str) -> np.ndarray:
    """The numbers in ``data`` as a writeable 1-D array.

    bfloat16 is the upper half of a float32, and becomes float32.
    """
    if code == "bf":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(bytearray(data), "<" + code)
