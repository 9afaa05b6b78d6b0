"""Arrays rounded to bfloat16, for ``"medium"`` precision: half the bytes on the way to the tensor cores.

A rounded copy is kept with the memory that it was made of, until a kernel writes to that memory. So a
gradient is rounded once for both backward passes, and the weight gradient uses what forward has rounded.
Kernels whose results are likely to go to a convolution write the copy themselves (:func:`beside`).
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends import settings

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
        # y: two numbers per word
        for i in range(np.int64(cuda.grid(1)) * 8, n, np.int64(cuda.gridsize(1)) * 8):
            u, v = load4(x, i), load4(x, i + 4)
            store4(y, i // 2, pack(u[0], u[1]), pack(u[2], u[3]), pack(v[0], v[1]), pack(v[2], v[3]))

    return round_bf16


def rounded(x: DeviceArray, keep: bool) -> DeviceArray:
    """``x`` in bfloat16 (as uint16).

    Parameters
    ----------
    x : DeviceArray
        C-contiguous float32 of a multiple of 8 elements.
    keep : bool
        Whether to keep the copy for the next call. Not where a kernel may write to ``x`` without clearing
        ``base.known``, as an optimizer's does with weights.
    """
    step = current().step  # a graph rounds again at each replay, so it uses no copy of an ordinary step
    known = x.base.known.get("bf16")
    if known is not None and known[:3] == (step, x.offset, x.size):
        words = known[3]
    else:
        words = memory.empty((x.size // 2,), np.uint32)
        launch(_round_kernel(), *grid(x.size // 8), x, words, x.size)
        if keep:
            x.base.known["bf16"] = step, x.offset, x.size, words
    return DeviceArray(words.base, x.shape, np.uint16)


def beside(x: DeviceArray, vector_width: int) -> DeviceArray | None:
    """Memory for a rounded copy of ``x`` that the kernel writes which writes ``x``, two numbers per word.

    None where convolutions do not use one.

    Parameters
    ----------
    x : DeviceArray
        New and C-contiguous, channels last.
    vector_width : int
        How many numbers a thread writes at once.
    """
    wanted = settings.get_float32_precision() == "medium" and x.dtype == np.float32
    if not wanted or x.shape[-1] % 8 or vector_width % 4:
        return None
    words = memory.empty((x.size // 2,), np.uint32)
    x.base.known["bf16"] = current().step, x.offset, x.size, words
    return words
