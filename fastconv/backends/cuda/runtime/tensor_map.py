"""Tensor maps: what the copies of boxes (``codegen/hopper.py``) know of an array, as the driver encodes it.

::

    tiled     dims (fastest first) x strides      a box of box[0] numbers and box[1] lines, anywhere; what is
                                                  outside of dims arrives as zeros
    im2col    channels, columns, rows, images     a box of box[0] channels and box[1] pixels, which walk in
                                                  steps of ``step`` from ``lower`` to ``dims - 1 + upper``
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from . import device, memory
from .array import DeviceArray

LINE = 128  #: bytes of a line of a box in shared memory
#: The driver's numbers of the kinds of elements, and their bytes.
KINDS = {"float32": (7, 4), "bf16": (9, 2), "tf32": (11, 4)}


class TensorMap(NamedTuple):
    """An array of numbers of ``kind`` in lines of 128 bytes, which the copies swizzle.

    With ``step`` it is for ``copy_im2col``; dims are then channels, columns, rows and images. ``tf32`` means
    float32 in memory, which copies round.
    """

    kind: str
    address: int
    dims: tuple[int, ...]
    strides: tuple[int, ...]  #: in bytes, of all dimensions but the first
    box: tuple[int, ...]  #: of im2col: channels and pixels
    lower: tuple[int, ...] = ()
    upper: tuple[int, ...] = ()
    step: tuple[int, ...] = ()


def table(*maps: TensorMap) -> DeviceArray:
    """The maps on the device, 128 bytes each."""
    encode = _encode if device.tensor_map is None else device.tensor_map
    return memory.constant(np.concatenate([encode(m) for m in maps]))


@functools.lru_cache(maxsize=4096)
def _encode(m: TensorMap) -> np.ndarray:
    from cuda.bindings import driver

    kind = driver.CUtensorMapDataType(KINDS[m.kind][0])
    dims, strides = [driver.cuuint64_t(n) for n in m.dims], [driver.cuuint64_t(n) for n in m.strides]
    rank = len(dims)
    rest = (
        driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
        driver.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
        driver.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    )
    one = [driver.cuuint32_t(1)]
    if m.step:
        step = one + [driver.cuuint32_t(n) for n in m.step] + one
        box = list(m.lower), list(m.upper), *m.box, step
        code, made = driver.cuTensorMapEncodeIm2col(kind, rank, m.address, dims, strides, *box, *rest)
    else:
        box = [driver.cuuint32_t(n) for n in m.box]
        code, made = driver.cuTensorMapEncodeTiled(
            kind, rank, m.address, dims, strides, box, one * rank, *rest
        )
    if code != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"no tensor map of {m}: {code.name}")
    return np.array([int(word) for word in made.opaque], np.uint64)
