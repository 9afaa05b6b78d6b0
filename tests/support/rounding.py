"""Numbers as tensor cores read them, and how far results are from what they should be."""

from __future__ import annotations

import numpy as np

#: Bits of the mantissa of float32 that a mode rounds away before it multiplies.
BITS = {"fma": 0, "tf32": 13, "bf16_on_read": 16, "bf16": 16}


#: What kernels multiply numbers by and add before tensor cores cut them to TF32 (``tf32`` in codegen/ptx.py).
TF32_STEP = float(np.float32(np.log(2) / 2**11))


def rounded(x, bits):
    """float64 values of float32 numbers with ``bits`` fewer of mantissa, as a mode reads them.

    To the nearest, of two that are as near the even one. TF32: what makes up for a cut is added, then the
    bits are cut off.
    """
    x = np.asarray(x, np.float64)
    if bits == BITS["tf32"]:
        with np.errstate(over="ignore"):
            added = (x + x * TF32_STEP).astype(np.float32)
        return (added.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)
    return nearest(x, bits)


def nearest(x, bits):
    """The same to the nearest in any case, as the copies of Hopper round to TF32."""
    x = np.asarray(x, np.float64)
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 2.0 ** (24 - bits)) / 2.0 ** (24 - bits), exponent)


def distance(got, want) -> float:
    """Relative error in the L2 norm."""
    want = np.asarray(want, np.float64)
    return float(np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30))
