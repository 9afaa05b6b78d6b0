"""Numbers as files hold them, little-endian. A code is NumPy's code of the dtype, or "bf" for bfloat16."""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import numpy as np


def itemsize(code: str) -> int:
    """Bytes per number."""
    return 2 if code == "bf" else np.dtype(code).itemsize


def decode(data: bytes, code: str) -> np.ndarray:
    """A writeable array; bfloat16, which is the upper half of a float32, becomes float32."""
    if code == "bf":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(bytearray(data), "<" + code)
