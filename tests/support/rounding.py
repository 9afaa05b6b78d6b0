"""Numbers as tensor cores read them, and how far results are from what they should be."""

from __future__ import annotations

import numpy as np

#: Bits of the mantissa of float32 that a mode rounds away before it multiplies.
BITS = {"fma": 0, "tf32": 13, "bf16_on_read": 16, "bf16": 16}


def rounded(x, bits):
    """float64 values of float32 numbers rounded to nearest with ``bits`` fewer of mantissa.

    Of two that are as near, TF32 takes the one away from zero (``cvt.rna``), the others the even one.
    """
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    scaled = mantissa * 2.0 ** (24 - bits)
    whole = np.trunc(scaled + np.copysign(0.5, scaled)) if bits == BITS["tf32"] else np.round(scaled)
    return np.ldexp(whole / 2.0 ** (24 - bits), exponent)


def distance(got, want) -> float:
    """Relative error in the L2 norm."""
    want = np.asarray(want, np.float64)
    return float(np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30))
