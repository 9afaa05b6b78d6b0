"""Arrays rounded to bfloat16, for convolutions in ``"medium"`` precision: half of the bytes on every way to
the tensor cores.

A rounded copy is kept with the memory it was made of until somebody writes there, so that a gradient is
rounded once for both backward passes, and what forward has rounded serves the weight gradient.
"""

from __future__ import annotations

import functools

import numpy as np

from ..codegen import ptx
from ..runtime import memory
from ..runtime.array import DeviceArray
from ..runtime.context import current
from ..runtime.launch import cuda, grid, kernel, launch


@functools.cache
def _round_kernel():
    load4, store4, pack = ptx.load4, ptx.store4, ptx.pack_bf16

    @kernel
    def round_bf16(x, y, n):
        # y: two numbers in each word
        for i in range(np.int64(cuda.grid(1)) * 8, n, np.int64(cuda.gridsize(1)) * 8):
            u, v = load4(x, i), load4(x, i + 4)
            store4(y, i // 2, pack(u[0], u[1]), pack(u[2], u[3]), pack(v[0], v[1]), pack(v[2], v[3]))

    return round_bf16


def rounded(x, keep: bool):
    """The C-contiguous float32 array ``x``, of a multiple of 8 elements, in bfloat16 (as uint16). ``keep``:
    it may be asked for again before it is written to by a kernel that does not say so, as an optimizer's does
    not."""
    step = current().step
    known = x.base.known.get("bf16")
    if known is not None and known[:3] == (step, x.offset, x.shape):
        return known[3]
    words = memory.empty((x.size // 2,), np.uint32)
    launch(_round_kernel(), *grid(x.size // 8), x, words, x.size)
    y = DeviceArray(words.base, x.shape, np.uint16)
    if keep:
        x.base.known["bf16"] = step, x.offset, x.shape, y
    return y
