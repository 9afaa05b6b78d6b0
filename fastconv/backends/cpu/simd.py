"""The only LLVM code of the project: register-blocked multiply-add tiles for this machine's vectors.

Everything here works on plain byte addresses (``array.ctypes.data``) inside kernels, because a tile reads rows that are
no array's rows. Nothing checks bounds: the callers' drawings say why every access is inside.

The tile (:func:`tile`)::

            columns: NV vectors of LANES elements
            +---------+---------+
       row 0| acc 0,0 | acc 0,1 |    acc[m, v] = init + sum over taps t, sum over k < depth of
       row 1| acc 1,0 | acc 1,1 |        A[ta[t] + m * a_row + k * a_step]        (one number, broadcast)
        ... |   ...   |   ...   |      * B[tb[t] + k * b_step + v * LANES ...]    (one vector)
    row MR-1|         |         |
            +---------+---------+    all MR * NV accumulators stay in registers through both loops

With 32 vector registers the tile is 14 x 2 (28 accumulators, 2 for B, 1 for the broadcast): per step of k 16 loads feed
28 multiply-adds, which keeps the multiply-add unit busy every cycle. With 16 registers (AVX2) it is 6 x 2.
"""

from __future__ import annotations

import os

import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import body

I32, I64 = ir.IntType(32), ir.IntType(64)


def _host_features() -> dict[str, bool]:
    text = os.environ.get("NUMBA_CPU_FEATURES")
    if text:
        return {f[1:]: f[0] == "+" for f in text.split(",")}
    return dict(llvm.get_host_cpu_features())


def _vector() -> tuple[int, int]:
    """Bytes of a vector register and number of registers."""
    has = _host_features()
    if has.get("avx512f"):
        return 64, 32
    if has.get("avx"):
        return 32, 16
    return 16, 32 if has.get("neon") else 16


VECTOR_BYTES, REGISTERS = _vector()
#: Rows of the largest tile.
MAX_ROWS = 14 if REGISTERS == 32 else 6


def lanes(dtype) -> int:
    """Elements of ``dtype`` in one vector register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


# ------------------------------------------------------------------------------------------------- addresses
@intrinsic
def _pointer(typingctx, address, like):
    dtype = like.dtype if isinstance(like, types.Array) else like
    sig = types.CPointer(dtype)(address, like)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return sig, codegen


@body(inline=True)
def view1d(address, n, like):
    """The ``n`` elements at ``address`` as a 1-D array of ``like``'s dtype."""
    return carray(_pointer(address, like), (n,))
